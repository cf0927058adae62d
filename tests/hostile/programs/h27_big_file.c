/* A file that claims more than the box has: by a seek, by truncation, by allocation, by writing. */
#include "hostile.h"

int main(void)
{
    const char *what = word();
    int fd = open("big", O_RDWR | O_CREAT, 0644);
    if (strcmp(what, "killed") != 0)
        signal(SIGXFSZ, SIG_IGN);
    refused("a byte at 2 GiB", pwrite(fd, "x", 1, (off_t)2 << 30));
    refused("ftruncate to 1 TiB", ftruncate(fd, (off_t)1 << 40));
    refused("fallocate of 1 TiB", fallocate(fd, 0, 0, (off_t)1 << 40));
    held(3);
    return 1;
}
