#include "hostile.h"

#include <sched.h>

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

int main(void)
{
    static char stack[65536];
    static const int flags[] = {CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP,
                                CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        refused("unshare", unshare(flags[i]));
        refused("clone", clone(nothing, stack + sizeof stack, flags[i] | SIGCHLD, NULL));
        uint64_t args[11] = {(uint64_t)flags[i], 0, 0, 0, SIGCHLD};
        long pid = syscall(435, args, sizeof args);
        if (pid == 0)
            _exit(0);
        refused("clone3", pid);
    }
    refused("unshare of the time namespace", unshare(0x80));
    refused("setns", syscall(SYS_setns, open("/proc/1/ns/user", O_RDONLY), 0));
    refused("setns to its own", syscall(SYS_setns, open("/proc/self/ns/user", O_RDONLY), CLONE_NEWUSER));
    return held(26);
}
