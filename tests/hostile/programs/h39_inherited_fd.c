#include "hostile.h"

#include <dirent.h>

int main(void)
{
    char c;
    for (int fd = 3; fd < 4096; fd++) {
        refused("an inherited descriptor", fcntl(fd, F_GETFD));
        if (fcntl(fd, F_GETFD) >= 0)
            printf("%d reads %zd\n", fd, pread(fd, &c, 1, 0));
    }
    DIR *d = opendir("/proc/self/fd");
    const struct dirent *e;
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.' && atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(d))
            refused(e->d_name, 0);
    /* the three that there are lead to pipes, and to nothing that has a place */
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        refused("a standard descriptor that is no pipe", fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) ? -1 : 0);
        refused("fchdir", fchdir(fd));
    }
    return held(4000);
}
