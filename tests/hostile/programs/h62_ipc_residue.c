/* Leaves keys, queues, segments and semaphores, and looks for what the case before left. */
#include "hostile.h"

#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

int main(void)
{
    int found = 0;
    found += shmget(0x62, 4096, 0) >= 0;
    found += msgget(0x62, 0) >= 0;
    found += semget(0x62, 1, 0) >= 0;
    found += mq_open("/h62", O_RDWR) != (mqd_t)-1;
    found += syscall(SYS_keyctl, 10 /* search */, -4, "user", "h62", 0) >= 0;
    found += syscall(SYS_request_key, "user", "h62", NULL, -4) >= 0;
    shmget(0x62, 4096, IPC_CREAT | 0666);
    msgget(0x62, IPC_CREAT | 0666);
    semget(0x62, 1, IPC_CREAT | 0666);
    mq_open("/h62", O_CREAT | O_RDWR, 0666, NULL);
    for (int ring = -1; ring >= -5; ring--)
        syscall(SYS_add_key, "user", "h62", "x", 1, ring);
    puts(found ? "found what the case before left" : "held");
    return 0;
}
