/* Memory that belongs to no process: memfd, shared mappings, System V segments. */
#include "hostile.h"

#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
    const char *what = word();
    const size_t step = (size_t)4 << 20;
    long total = 0;
    for (int i = 0; i < 1000; i++) {
        char *p = MAP_FAILED;
        if (strcmp(what, "memfd") == 0) {
            int fd = memfd_create("bomb", 0);
            if (fd >= 0 && ftruncate(fd, (off_t)step) == 0)
                p = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        } else if (strcmp(what, "shared") == 0) {
            p = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        } else {
            int id = shmget(0x4100 + i, step, IPC_CREAT | 0666);
            p = id < 0 ? MAP_FAILED : shmat(id, NULL, 0);
        }
        if (p == MAP_FAILED)
            break;
        memset(p, 1, step);
        total += (long)step;
    }
    printf("%ld %s\n", total, strerror(errno));
    return 1;
}
