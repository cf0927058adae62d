/* The kernel's own memory, by way of full pipes and sockets. */
#include "hostile.h"

#include <sys/socket.h>

int main(void)
{
    static char block[65536];
    const int sockets = strcmp(word(), "sockets") == 0;
    int made = 0;
    for (;;) {
        int p[2];
        if (sockets ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p) : pipe2(p, O_NONBLOCK))
            break;
        if (!sockets)
            fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
        while (write(p[1], block, sizeof block) > 0)
            ;
        made++;
    }
    printf("%d %s\n", made, strerror(errno));
    return 1;
}
