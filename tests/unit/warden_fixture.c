#include "warden_fixture.h"

#include <assay/warden_wire.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const hierarchy[3] = {"memory", "cpuacct", "pids"};

static const struct {
    int dir;
    const char *file;
    int flags;
} leaf_file[ASSAY_LEAF_FD_COUNT] = {
    [ASSAY_LEAF_MEMORY_PROCS] = {0, "tasks", O_RDWR},
    [ASSAY_LEAF_MEMORY_MAX] = {0, "memory.limit_in_bytes", O_RDWR},
    [ASSAY_LEAF_MEMORY_SWAP] = {0, "memory.memsw.limit_in_bytes", O_RDWR},
    [ASSAY_LEAF_MEMORY_PEAK] = {0, "memory.max_usage_in_bytes", O_RDWR},
    [ASSAY_LEAF_MEMORY_USAGE] = {0, "memory.usage_in_bytes", O_RDONLY},
    [ASSAY_LEAF_MEMORY_EVENTS] = {0, "memory.oom_control", O_RDONLY},
    [ASSAY_LEAF_CPU_PROCS] = {1, "tasks", O_RDWR},
    [ASSAY_LEAF_CPU_USAGE] = {1, "cpuacct.usage", O_RDWR},
    [ASSAY_LEAF_CPU_STAT] = {1, "cpuacct.stat", O_RDONLY},
    [ASSAY_LEAF_PIDS_PROCS] = {2, "tasks", O_RDWR},
    [ASSAY_LEAF_PIDS_MAX] = {2, "pids.max", O_RDWR},
    [ASSAY_LEAF_MEMORY_STAT] = {0, "memory.stat", O_RDONLY},
};

static bool leaf_make(struct fixture *f)
{
    static unsigned serial;
    serial++;
    for (int i = 0; i < 3; i++) {
        (void)snprintf(f->leaf_dir[i], sizeof f->leaf_dir[i], "/sys/fs/cgroup/%s/assay-test-%d-%u", hierarchy[i], getpid(), serial);
        if (mkdir(f->leaf_dir[i], 0755) < 0) {
            while (i-- > 0)
                (void)rmdir(f->leaf_dir[i]);
            return false;
        }
    }
    struct assay_warden_leaf m = {.type = ASSAY_WARDEN_LEAF, .version = 1, .id = serial, .flags = ASSAY_LEAF_REUSABLE};
    int fd[ASSAY_LEAF_FD_COUNT];
    size_t n = 0;
    for (unsigned i = 0; i < ASSAY_LEAF_FD_COUNT; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/%s", f->leaf_dir[leaf_file[i].dir], leaf_file[i].file);
        fd[n] = open(path, leaf_file[i].flags | O_CLOEXEC);
        if (fd[n] >= 0) {
            n++;
            m.present |= ASSAY_LEAF_BIT(i);
        }
    }
    union {
        char bytes[CMSG_SPACE(sizeof fd)];
        struct cmsghdr align;
    } anc;
    memset(&anc, 0, sizeof anc);
    struct iovec iov = {&m, sizeof m};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = anc.bytes, .msg_controllen = CMSG_SPACE(n * sizeof *fd)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (!c)
        return false;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof *fd);
    memcpy(CMSG_DATA(c), fd, n * sizeof *fd);
    bool ok = sendmsg(f->control, &h, 0) == (ssize_t)sizeof m;
    while (n-- > 0)
        (void)close(fd[n]);
    return ok;
}

bool fixture_start(struct fixture *f, const char *mode, const char *const *extra, bool want_leaf, bool ordinary)
{
    static const struct assay_box_events none;
    const char *path = getenv("ASSAY_WARDEN");
    char mode_option[64], uid_option[32], gid_option[32];
    const char *argv[32];
    size_t n = 0;
    int stream[2], control[2];
    *f = (struct fixture){.control = -1, .uid = 200000 + (unsigned)getpid()};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
        return false;
    f->control = control[0];
    if (want_leaf)
        f->leaf = leaf_make(f);
    if (!path)
        path = "./assay-warden";
    argv[n++] = path;
    (void)snprintf(mode_option, sizeof mode_option, "--mode=%s", mode);
    argv[n++] = mode_option;
    (void)snprintf(uid_option, sizeof uid_option, "--uid=%u", f->uid);
    (void)snprintf(gid_option, sizeof gid_option, "--gid=%u", f->uid);
    argv[n++] = uid_option;
    argv[n++] = gid_option;
    if (f->leaf)
        argv[n++] = "--leaf=required";
    while (extra && *extra && n < 31)
        argv[n++] = *extra++;
    argv[n] = NULL;
    /* the descriptor is opened now: the path may not be reachable for the other user */
    int exe = open(path, O_RDONLY | O_CLOEXEC);
    f->pid = exe < 0 ? -1 : fork();
    if (f->pid == 0) {
        int s = fcntl(stream[1], F_DUPFD_CLOEXEC, 20), c = fcntl(control[1], F_DUPFD_CLOEXEC, 20);
        int e = fcntl(exe, F_DUPFD_CLOEXEC, 20);
        char *args[32];
        memcpy(args, argv, sizeof args);
        if (dup2(s, ASSAY_WARDEN_STREAM_FD) < 0 || dup2(c, ASSAY_WARDEN_CONTROL_FD) < 0)
            _exit(90);
        if (ordinary && (setgid(f->uid) < 0 || setuid(f->uid) < 0))
            _exit(91);
        (void)fexecve(e, args, (char *[]){NULL});
        _exit(92);
    }
    (void)close(exe);
    (void)close(stream[1]);
    (void)close(control[1]);
    if (f->pid < 0)
        return false;
    f->client = assay_box_client_new(stream[0], &none, NULL);
    while (f->client && !assay_box_client_hello(f->client)) {
        struct pollfd p = {.fd = stream[0], .events = POLLIN};
        struct assay_err err;
        if (poll(&p, 1, 10000) < 1 || assay_box_client_on_ready(f->client, &err) < 0)
            return false;
    }
    return f->client != NULL;
}

bool fixture_stop(struct fixture *f, int *wait_status)
{
    int status = -1;
    bool clean = true;
    assay_box_client_free(f->client);
    f->client = NULL;
    if (f->pid > 0)
        (void)waitpid(f->pid, &status, 0);
    if (f->control >= 0)
        (void)close(f->control);
    for (int i = 0; f->leaf && i < 3; i++) {
        /* a cgroup whose last task has just been reaped may be busy for a moment */
        int tries = 0;
        while (rmdir(f->leaf_dir[i]) < 0 && errno == EBUSY && tries++ < 200)
            (void)usleep(5000);
        clean = clean && access(f->leaf_dir[i], F_OK) < 0;
    }
    if (wait_status)
        *wait_status = status;
    return clean;
}

struct assay_str fixture_read(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return ASSAY_STR_NULL;
    char *p = malloc((size_t)st.st_size + 1);
    size_t have = 0;
    ssize_t n;
    while (p && have < (size_t)st.st_size && (n = read(fd, p + have, (size_t)st.st_size - have)) > 0)
        have += (size_t)n;
    (void)close(fd);
    return (struct assay_str){p, have};
}
