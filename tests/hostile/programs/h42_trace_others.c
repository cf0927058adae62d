#include "hostile.h"

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

int main(void)
{
    char mine[16], theirs[16] = "x";
    struct iovec here = {mine, sizeof mine}, there = {theirs, sizeof theirs};
    struct rlimit r = {1, 1};
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    for (pid_t p = 1; p < 100; p++) {
        if (p == getpid() || p == child)
            continue;
        refused("attach", ptrace(PTRACE_ATTACH, p, NULL, NULL));
        refused("seize", ptrace(PTRACE_SEIZE, p, NULL, NULL));
        refused("process_vm_readv", process_vm_readv(p, &here, 1, &there, 1, 0));
        refused("process_vm_writev", process_vm_writev(p, &here, 1, &there, 1, 0));
        refused("prlimit", prlimit(p, RLIMIT_CPU, &r, NULL));
        refused("kcmp", syscall(SYS_kcmp, p, getpid(), 0, 0, 0));
        refused("pidfd_getfd", syscall(438, syscall(SYS_pidfd_open, p, 0), 0, 0));
        refused("process_madvise", syscall(440, syscall(SYS_pidfd_open, p, 0), &there, 1, 21, 0));
        refused("setpriority", setpriority(PRIO_PROCESS, (id_t)p, 19));
        refused("migrate_pages", syscall(SYS_migrate_pages, p, 0, NULL, NULL));
        refused("move_pages", syscall(SYS_move_pages, p, 0, NULL, NULL, NULL, 0));
    }
    /* nor its own child: a tracer sees every call before the filter does */
    refused("attach to a child", ptrace(PTRACE_ATTACH, child, NULL, NULL));
    refused("traceme", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    kill(child, SIGKILL);
    return held(900);
}
