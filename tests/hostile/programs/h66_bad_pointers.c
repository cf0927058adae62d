#include "hostile.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

int main(void)
{
    static char path[5000];
    char *const nowhere = (char *)(uintptr_t)-4096;
    memset(path, 'a', sizeof path - 1);
    refused("open of NULL", syscall(SYS_open, NULL, O_RDONLY));
    refused("open of a bad pointer", syscall(SYS_open, nowhere, O_RDONLY));
    refused("open of 5,000 characters", open(path, O_RDONLY));
    refused("open of bytes that are no text", open("\xff\xfe\xc0\xaf/\x80", O_RDONLY));
    refused("stat into the kernel", syscall(SYS_stat, "/", nowhere));
    refused("read into the kernel", syscall(SYS_read, open("/dev/zero", O_RDONLY), (char *)(uintptr_t)0xffffffff81000000u, 16));
    refused("write from the kernel", syscall(SYS_write, 1, (char *)(uintptr_t)0xffffffff81000000u, 16));
    refused("execve of NULL", syscall(SYS_execve, NULL, NULL, NULL));
    refused("execve with bad arguments", syscall(SYS_execve, "/usr/bin/env", nowhere, nowhere));
    refused("writev of too much", syscall(SYS_writev, 1, nowhere, 1 << 30));
    refused("mmap of everything", (long)mmap(NULL, SIZE_MAX - 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -1 : 0);
    refused("getdents into nowhere", syscall(SYS_getdents64, open("/", O_RDONLY), nowhere, 4096));
    refused("futex at nowhere", syscall(SYS_futex, nowhere, 0, 0, NULL, NULL, 0));
    refused("sigaction at nowhere", syscall(SYS_rt_sigaction, SIGUSR1, nowhere, NULL, 8));
    refused("recvmsg at nowhere", syscall(SYS_recvmsg, 0, nowhere, 0));
    /* every number there might be, with nonsense: each in a child, for some of them end it */
    for (int n = 0; n < 470; n++) {
        if (n == SYS_fork || n == SYS_vfork || n == SYS_pause || n == SYS_rt_sigsuspend || n == SYS_clone || n == 435)
            continue;
        pid_t p = fork();
        if (p == 0) {
            alarm(1);
            syscall(n, -1L, (long)(uintptr_t)nowhere, (long)(uintptr_t)nowhere, -1L, (long)(uintptr_t)nowhere, -1L);
            _exit(0);
        }
        while (p > 0 && waitpid(p, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    return held(15);
}
