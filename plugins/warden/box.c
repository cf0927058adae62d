/*
 * Boxes from the warden's side: making an init ahead of its request, letting it go, ending it.
 */
#include "warden.h"

#include "sys.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>

static void close_three(int fd[3])
{
    for (int i = 0; i < 3; i++)
        close_fd(&fd[i]);
}

int box_prepare(struct box *b, const struct box_world *w, struct slot *s, struct note *why)
{
    int ours[3] = {-1, -1, -1}, theirs[3] = {-1, -1, -1};
    memset(s, 0, sizeof *s);
    for (int i = 0; i < 3; i++) {
        int p[2];
        if (pipe2(p, O_CLOEXEC) < 0) {
            (void)note_errno(why, "pipe");
            close_three(ours);
            close_three(theirs);
            return -1;
        }
        ours[i] = p[i == 0];
        theirs[i] = p[i != 0];
    }
    int pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_PIDFD | (w->own_ipc ? CLONE_NEWIPC : 0u),
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    pid_t pid = sys_clone3(&args);
    if (pid == 0)
        init_main(w, s, ours, theirs);
    if (pid < 0)
        (void)note_errno(why, "cannot make a box's namespaces");
    close_three(theirs);
    if (pid < 0) {
        close_three(ours);
        return -1;
    }
    *b = (struct box){.slot = s, .pid = pid, .pidfd = pidfd, .in = ours[0], .out = ours[1], .err = ours[2],
                      .leaf_generation = w->leaf->generation};
    return 0;
}

void box_go(struct box *b)
{
    atomic_store(&b->slot->go, 1);
    (void)sys_futex(&b->slot->go, FUTEX_WAKE, 1);
}

void box_kill(struct box *b)
{
    if (b->pidfd >= 0)
        (void)sys_pidfd_kill(b->pidfd);
}

bool box_reap(struct box *b, bool wait, struct rusage *ru)
{
    siginfo_t info = {.si_pid = 0};
    if (b->pidfd < 0)
        return true;
    while (sys_waitid_fd(b->pidfd, &info, WEXITED | (wait ? 0 : WNOHANG), ru) < 0)
        if (errno != EINTR)
            return false;
    if (info.si_pid == 0)
        return false;
    box_close(b);
    return true;
}

void box_close(struct box *b)
{
    close_fd(&b->pidfd);
    close_fd(&b->in);
    close_fd(&b->out);
    close_fd(&b->err);
}
