/* What one case leaves, the next one of the same submission must not find. */
#include "hostile.h"

#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/shm.h>

int main(void)
{
    static const char *const names[] = {"/tmp/case", "/dev/shm/case", "/box/case", "case", "/box/app/case", "/var/tmp/case"};
    int found = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stat st;
        found += stat(names[i], &st) == 0;
    }
    found += shmget(0x37, 4096, 0) >= 0;
    found += msgget(0x37, 0) >= 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int fd = open(names[i], O_WRONLY | O_CREAT, 0666);
        if (fd >= 0 && write(fd, "case", 4) != 4)
            return 1;
    }
    shmget(0x37, 4096, IPC_CREAT | 0666);
    msgget(0x37, IPC_CREAT | 0666);
    puts(found ? "found what the case before left" : "held");
    return 0;
}
