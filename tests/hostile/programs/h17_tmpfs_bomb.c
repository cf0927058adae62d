/* Fills a file system in memory: counted as memory, or full before that. */
#include "hostile.h"

int main(void)
{
    static char block[1 << 20];
    char path[256];
    snprintf(path, sizeof path, "%s/fill", word());
    signal(SIGXFSZ, SIG_IGN);
    memset(block, 'x', sizeof block);
    long total = 0;
    for (int i = 0;; i++) {
        char name[300];
        snprintf(name, sizeof name, "%s%d", path, i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
        ssize_t n = -1;
        for (int k = 0; fd >= 0 && k < 16 && (n = write(fd, block, sizeof block)) > 0; k++)
            total += n;
        if (fd >= 0)
            close(fd);
        if (n < 0)
            break;
    }
    printf("%ld %s\n", total, strerror(errno));
    return 1;
}
