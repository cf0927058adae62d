/*
 * Whether an ordinary user can do here what some tests ask of one: make a user namespace, and reach a
 * file.  In a chroot the kernel refuses the first (user_namespaces(7)); below root's home, the second.
 */
#ifndef ASSAY_TEST_ORDINARY_H
#define ASSAY_TEST_ORDINARY_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static inline bool ordinary_user_can(const char *path)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(1);
        _exit(access(path, X_OK) == 0 && unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif
