/*
 * Starting a warden.  The child has descriptors 0 to 4 and no other, an empty signal mask, its own
 * session (the terminal's interrupts are for the supervisor), and a fixed environment.  A pipe that
 * closes on exec tells the parent whether exec went well, so a missing program is an error here and
 * not a warden that dies.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define WITH_ASAN 1
#endif

#define HIGH_FD 16 /* above every number that the child's descriptors get */

static void child_fail(int report)
{
    int e = errno;

    if (write(report, &e, sizeof(e)) != (ssize_t)sizeof(e))
        _exit(126);
    _exit(127);
}

static void child(const char *path, char *const argv[], int stream, int control, int report, pid_t parent)
{
    static char env_path[] = "PATH=/usr/bin:/bin", env_lang[] = "LC_ALL=C";
#ifdef WITH_ASAN
    /* the leak checker looks for its process in a /proc that a warden does not have, and would end it with status 1 */
    static char env_asan[] = "ASAN_OPTIONS=detect_leaks=0";
    char *const env[] = {env_path, env_lang, env_asan, NULL};
#else
    char *const env[] = {env_path, env_lang, NULL};
#endif
    sigset_t none;
    int null;

    /* out of the way first: the descriptors may be any of 0 to 5 themselves */
    report = fcntl(report, F_DUPFD_CLOEXEC, HIGH_FD);
    if (report < 0)
        _exit(126);
    stream = fcntl(stream, F_DUPFD_CLOEXEC, HIGH_FD);
    if (stream < 0)
        child_fail(report);
    if (control >= 0) {
        control = fcntl(control, F_DUPFD_CLOEXEC, HIGH_FD);
        if (control < 0)
            child_fail(report);
    }
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        child_fail(report);
    if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(stream, ASSAY_WARDEN_STREAM_FD) < 0)
        child_fail(report);
    if (control >= 0) {
        if (dup2(control, ASSAY_WARDEN_CONTROL_FD) < 0)
            child_fail(report);
    } else {
        close(ASSAY_WARDEN_CONTROL_FD);
    }
    if (syscall(SYS_close_range, ASSAY_WARDEN_CONTROL_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
        for (int fd = ASSAY_WARDEN_CONTROL_FD + 1; fd < 20000; fd++) /* kernels before 5.11 */
            if (fd != report)
                close(fd);
    }
    setsid();
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        child_fail(report);
    if (getppid() != parent) /* it died before the line above */
        _exit(126);
    execve(path, argv, env);
    child_fail(report);
}

int sn_spawn(const char *path, char *const argv[], int stream, int control, pid_t *pid, struct assay_err *err)
{
    int report[2];
    int failed = 0;
    pid_t parent = getpid(), p;
    ssize_t n;

    if (pipe2(report, O_CLOEXEC) != 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "pipe for a warden");
    p = fork();
    if (p == 0)
        child(path, argv, stream, control, report[1], parent);
    close(report[1]);
    if (p < 0) {
        int e = errno;

        close(report[0]);
        return assay_err_errno(err, ASSAY_E_IO, e, "fork of a warden");
    }
    do
        n = read(report[0], &failed, sizeof(failed));
    while (n < 0 && errno == EINTR);
    close(report[0]);
    if (n == 0) {
        *pid = p;
        return 0;
    }
    while (waitpid(p, NULL, 0) < 0 && errno == EINTR)
        ;
    return assay_err_errno(err, ASSAY_E_UNSUPPORTED, n == (ssize_t)sizeof(failed) ? failed : EIO, "cannot start %s", path);
}
