/*
 * Boxes from the warden's side: making an init ahead of its request, letting it go, ending it.
 *
 * Measured with bench/box_bench (2 CPUs in a virtual machine, Linux 6.18, a static no-op mounted as
 * an artefact, output captured, medians of 1,000 interleaved rounds): posix_spawn + wait 0.44 ms, a box 0.91 ms with a version 1
 * leaf and 0.78 ms without: ratios 2.05 and 1.82; CPU time of all processes involved 0.40 and 1.05 ms.  What that rests on:
 *
 *   - the init of the next box is made, with its namespaces, proc and scratch, while nothing runs,
 *     and a request reaches it through memory that is shared already: on the way of a run there are
 *     one futex wake, the artefact's mount and one vfork-like clone;
 *   - the result is sent when init has reaped the last process (ECHILD in its namespace): the
 *     kernel's taking down of namespaces and mounts goes on beside the runner's next step;
 *   - no ipc namespace (root.c), no copy of page tables for the program (CLONE_VM | CLONE_VFORK),
 *     few mounts to copy, large requests in shared memory.
 *
 * Tried without gain: fewer bind mounts of the scratch (no difference that could be told from noise).
 * Proc costs 0.1 ms of CPU and cannot be had without, since its content is the namespace's.  Joining
 * the three version 1 cgroups takes 20 us, through tasks or cgroup.procs alike on this kernel.
 */
#include "warden.h"

#include "sys.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
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
    bool reduced = w->options->mode == MODE_REDUCED;
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
        .flags = CLONE_PIDFD | (reduced ? 0u : CLONE_NEWPID | CLONE_NEWNS) | (w->own_ipc ? CLONE_NEWIPC : 0u),
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    /* From its first moment a cancel's SIGTERM waits for init (init.c), and does not run our handler (reduced.c), which ends the stream. */
    sigset_t term, before;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, &before);
    pid_t pid = sys_clone3(&args);
    if (pid == 0) {
        if (!reduced)
            (void)sigprocmask(SIG_SETMASK, &before, NULL);
        init_main(w, s, ours, theirs);
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        (void)note_errno(why, "cannot make a box's namespaces");
    close_three(theirs);
    if (pid < 0) {
        close_three(ours);
        return -1;
    }
    *b = (struct box){.slot = s, .pid = pid, .pidfd = pidfd, .in = ours[0], .out = ours[1], .err = ours[2],
                      .leaf_generation = w->leaf->generation, .zygote_generation = w->zygote->generation, .gentle = reduced};
    return 0;
}

void box_go(struct box *b)
{
    atomic_store(&b->slot->go, 1);
    (void)sys_futex(&b->slot->go, FUTEX_WAKE, 1);
}

void box_kill(struct box *b)
{
    /* an init that still waits has nothing to end, and hears only this */
    if (b->pidfd >= 0)
        (void)sys_pidfd_kill(b->pidfd, b->gentle && atomic_load(&b->slot->go) ? SIGTERM : SIGKILL);
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
