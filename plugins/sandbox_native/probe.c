/*
 * What the kernel lets this process do, tried in a child that is thrown away: reading sysctls would
 * only tell what one distribution's switches say, and AppArmor or a container's seccomp profile would stay unseen.
 */
#include "local.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum step { STEP_USER = 1, STEP_MAP, STEP_UNSHARE, STEP_PRIVATE, STEP_TMPFS, STEP_FORK };
static const char *const step_words[] = {
    "", "a user namespace", "writing its uid map", "mount, pid, net, ipc and uts namespaces", "making mounts private",
    "mounting a tmpfs", "a process in a new pid namespace"};

struct finding {
    int step, error;
};

static void tell(int fd, int step, int error)
{
    struct finding f = {step, error};

    if (write(fd, &f, sizeof(f)) != (ssize_t)sizeof(f))
        _exit(2);
    _exit(1);
}

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -1;
    n = write(fd, text, strlen(text));
    close(fd);
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* As the warden does it: in a plain chroot "/" is no mount, and joining one's own mount namespace leads
 * to that namespace's root. */
static int make_private(void)
{
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        return 0;
    if (errno != EINVAL)
        return -1;
    int self = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    return self >= 0 && setns(self, CLONE_NEWNS) == 0 ? mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) : -1;
}

static void try_namespaces(int fd, bool root)
{
    pid_t p;

    if (!root) {
        char map[64];
        unsigned uid = (unsigned)getuid(), gid = (unsigned)getgid();

        if (unshare(CLONE_NEWUSER) != 0)
            tell(fd, STEP_USER, errno);
        snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
        if (put("/proc/self/uid_map", map) != 0)
            tell(fd, STEP_MAP, errno);
        snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
        if (put("/proc/self/setgroups", "deny") != 0 || put("/proc/self/gid_map", map) != 0)
            tell(fd, STEP_MAP, errno);
    }
    if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
        tell(fd, STEP_UNSHARE, errno);
    if (make_private() != 0)
        tell(fd, STEP_PRIVATE, errno);
    if (mount("assay-probe", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k") != 0)
        tell(fd, STEP_TMPFS, errno);
    p = fork();
    if (p == 0)
        _exit(0);
    if (p < 0)
        tell(fd, STEP_FORK, errno);
    waitpid(p, NULL, 0);
    _exit(0);
}

void sn_probe_run(struct sn_probe *p, bool root)
{
    struct finding f = {0, 0};
    int fds[2];
    pid_t pid;
    ssize_t n;

    /* a request with no attributes and this flag asks for the version (landlock(7)) */
    long landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, 1u);

    p->landlock = landlock < 0 ? 0 : (int)landlock;
    p->namespaces = false;
    p->seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 && access("/proc/sys/kernel/seccomp/actions_avail", R_OK) == 0;
    snprintf(p->seccomp_why, sizeof(p->seccomp_why), "%s",
             p->seccomp ? "filters are available" : "the kernel has no seccomp filters");
    if (pipe2(fds, O_CLOEXEC) != 0) {
        snprintf(p->namespaces_why, sizeof(p->namespaces_why), "could not be tried (no pipe)");
        return;
    }
    pid = fork();
    if (pid == 0)
        try_namespaces(fds[1], root);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        snprintf(p->namespaces_why, sizeof(p->namespaces_why), "could not be tried (no process)");
        return;
    }
    do
        n = read(fds[0], &f, sizeof(f));
    while (n < 0 && errno == EINTR);
    close(fds[0]);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (n == (ssize_t)sizeof(f) && f.step > 0 && f.step <= STEP_FORK) {
        char text[64];

        snprintf(p->namespaces_why, sizeof(p->namespaces_why), "%s refused: %s", step_words[f.step],
                 strerror_r(f.error, text, sizeof(text)));
        return;
    }
    p->namespaces = n == 0;
    snprintf(p->namespaces_why, sizeof(p->namespaces_why), "%s",
             p->namespaces ? (root ? "made as root" : "made inside a user namespace") : "the trial ended oddly");
}

/* Reads /proc/<pid>/cmdline; arguments are separated by NULs. */
static bool is_stray(const char *pid, const char *mark)
{
    char path[64], line[4096];
    size_t used = 0;
    int fd;

    snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (ssize_t n; used < sizeof(line) - 1 && (n = read(fd, line + used, sizeof(line) - 1 - used)) > 0;)
        used += (size_t)n;
    close(fd);
    line[used] = '\0';
    return used > 0 && memmem(line, strlen(line), "assay-warden", 12) != NULL &&
           memmem(line, used, mark, strlen(mark)) != NULL;
}

size_t sn_probe_strays(const char *name)
{
    DIR *d = opendir("/proc");
    char mark[ASSAY_LEAVES_NAME + 16];
    size_t ended = 0;

    if (d == NULL)
        return 0;
    snprintf(mark, sizeof(mark), "--name=%s-", name);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        pid_t pid;

        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        pid = (pid_t)strtol(e->d_name, NULL, 10);
        if (pid > 1 && pid != getpid() && is_stray(e->d_name, mark) && kill(pid, SIGKILL) == 0)
            ended++;
    }
    closedir(d);
    return ended;
}
