/*
 * The init of one box: pid 1 of its pid namespace, a fork of the warden, made ahead of the request.
 *
 *   prepare  what no request changes: proc, the scratch tmpfs (one file system, seen as /box, /tmp
 *            and /dev/shm, so that one size bounds them all), then wait on the futex in the slot
 *   go       scratch size, artefacts, files, then the program: a child that shares our memory until
 *            it executes (so it costs no copy of page tables) and gives up everything on its way
 *   reap     until the program has ended; then kill and reap all that is left in the namespace;
 *            ECHILD here means that the box is empty, since no one can enter it from outside
 *   collect  only after a clean exit, and only now: nothing is left that could race with it
 *
 * When the warden decides that the run is over it kills init, and the kernel kills and reaps the rest
 * of the namespace before init's own end shows.
 *
 * Order in the child: leave (own session), join the leaf, processors, limits, chroot, ids, capabilities,
 * descriptors, seccomp last, since the filter need not allow any of the former.  The bounding set is
 * empty and no_new_privs set since the warden's start (main.c).
 */
#include "warden.h"

#include "sys.h"
#include "zygote.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define SCRATCH "/scratch"
#define DEFAULT_SCRATCH_BYTES (INT64_C(64) << 20)
#define DEFAULT_SCRATCH_FILES 4096

struct maker {
    const struct box_world *w;
    struct slot *s;
    const int *theirs;
    int box;        /* of the scratch's box directory */
    int64_t given;  /* bytes of the scratch before the program ran: charged to init */
    int scratch_fs; /* the tmpfs' configuration */
    int ns[3];      /* pid, mount, ipc: for an order to the zygote; -1 without one */
    bool born_inside; /* the program's child need not join the leaf */
    bool reduced;     /* no namespaces (reduced.c), and then: */
    unsigned turn;
    int ruleset;      /* Landlock's, or -1 */
    char **argv, **env;
};

static _Noreturn void finish(const struct maker *m, int code)
{
    uint64_t one = 1;
    if (write(m->w->event, &one, sizeof one) < 0)
        code = 1;
    _exit(code);
}

/* s->note says why. */
static _Noreturn void fail(const struct maker *m)
{
    atomic_store(&m->s->failed, 1);
    finish(m, 1);
}

static _Noreturn void fail_errno(const struct maker *m, const char *what)
{
    (void)note_errno(&m->s->note, "%s", what);
    fail(m);
}

/* A change of the file system's user id clears the death signal (prctl(2)), so this is said after each. */
static void die_with_warden(const struct maker *m)
{
    /* in the reduced mode the tree has to be ended before us, once there may be one */
    if (prctl(PR_SET_PDEATHSIG, m->reduced && atomic_load(&m->s->go) ? SIGTERM : SIGKILL) < 0)
        fail_errno(m, "prctl");
    /* one that died before has left the program's stdout without a reader */
    struct pollfd gone = {.fd = m->theirs[1], .events = 0};
    if (poll(&gone, 1, 0) == 1 && (gone.revents & POLLERR))
        _exit(1);
}

/* Files are made as the box's user. */
static void become_box(const struct maker *m)
{
    (void)setfsgid(m->w->options->gid);
    (void)setfsuid(m->w->options->uid);
}

static void become_init(const struct maker *m)
{
    (void)setfsuid(geteuid());
    (void)setfsgid(getegid());
    die_with_warden(m);
}

/* ---- prepare ---- */

static void attach(const struct maker *m, int tree, const char *where)
{
    if (tree < 0 || sys_move_mount(tree, where) < 0)
        fail_errno(m, where);
    (void)close(tree);
}

static void mount_proc(const struct maker *m)
{
    CLEANUP_FD int fs = sys_fsopen("proc");
    if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "hidepid", "invisible") < 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "subset", "pid") < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        fail_errno(m, "proc");
    attach(m, sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC), ROOT_BOX "/proc");
    if (m->w->options->mode != MODE_NATIVE && sys_umount2(ROOT_ANCHOR, MNT_DETACH) < 0)
        fail_errno(m, ROOT_ANCHOR);
    /* In a user namespace a process that cannot be dumped may not even write to its own files in proc:
     * there the warden has done it for all of us (root.c). */
    if (m->w->options->mode == MODE_NATIVE) {
        CLEANUP_FD int adj = open(ROOT_BOX "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (adj < 0 || write(adj, "1000", 4) != 4)
            fail_errno(m, "oom_score_adj");
    }
    /* From here on nobody writes there: a program without root's or a machine's say might still lower that score to
     * where its warden's began, which without CAP_SYS_RESOURCE is 0; and a magic link is no way to a file's inside. */
    struct mount_attr frozen = {.attr_set = MOUNT_ATTR_RDONLY};
    if (sys_mount_setattr(AT_FDCWD, ROOT_BOX "/proc", 0, &frozen) < 0)
        fail_errno(m, "proc");
}

static void set_number(const struct maker *m, const char *key, int64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    if (sys_fsconfig(m->scratch_fs, FSCONFIG_SET_STRING, key, text) < 0)
        fail_errno(m, "scratch");
}

static void mount_scratch(struct maker *m)
{
    const struct options *o = m->w->options;
    m->scratch_fs = sys_fsopen("tmpfs");
    if (m->scratch_fs < 0)
        fail_errno(m, "scratch");
    set_number(m, "size", DEFAULT_SCRATCH_BYTES);
    set_number(m, "nr_inodes", DEFAULT_SCRATCH_FILES);
    set_number(m, "uid", o->uid);
    set_number(m, "gid", o->gid);
    if (sys_fsconfig(m->scratch_fs, FSCONFIG_SET_STRING, "mode", "0755") < 0 ||
        sys_fsconfig(m->scratch_fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        fail_errno(m, "scratch");
    int top = sys_fsmount(m->scratch_fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (top < 0 || sys_move_mount(top, SCRATCH) < 0)
        fail_errno(m, "scratch");
    /* umask is 0 here */
    become_box(m);
    if (mkdirat(top, "box", 0755) < 0 || mkdirat(top, "tmp", 01777) < 0 || mkdirat(top, "shm", 01777) < 0)
        fail_errno(m, "scratch");
    become_init(m);
    attach(m, sys_open_tree(top, "box", OPEN_TREE_CLONE), ROOT_BOX "/box");
    attach(m, sys_open_tree(top, "tmp", OPEN_TREE_CLONE), ROOT_BOX "/tmp");
    attach(m, sys_open_tree(top, "shm", OPEN_TREE_CLONE), ROOT_BOX "/dev/shm");
    (void)close(top);
    m->box = open(ROOT_BOX "/box", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->box < 0)
        fail_errno(m, "scratch");
}

/* ---- go ---- */

static void write_files(const struct maker *m)
{
    if (m->w->request->head.n_files + m->w->request->head.n_mounts == 0)
        return;
    become_box(m);
    int rc = files_write(m->box, m->w->request, &m->s->note);
    if (rc == 0 && m->reduced) /* links, which the box's user has to be able to remove */
        rc = files_mount(m->box, m->w->request, &m->s->note);
    become_init(m);
    if (rc < 0 || (!m->reduced && files_mount(m->box, m->w->request, &m->s->note) < 0))
        fail(m);
}

/* Without namespaces: what the request says of the box's paths becomes the turn's own. */
static void fill_reduced(struct maker *m)
{
    const struct request *q = m->w->request;
    become_init(m); /* asks for the other death signal, now that there is something to end */
    write_files(m);
    m->argv = reduced_map(m->turn, q, q->argv);
    m->env = reduced_map(m->turn, q, q->env);
    if (!m->argv || !m->env) {
        errno = ENOMEM;
        fail_errno(m, "paths");
    }
    m->ruleset = reduced_ruleset(m->turn, q, &m->s->note);
    if (m->ruleset < -1)
        fail(m);
}

static void fill_scratch(const struct maker *m)
{
    const struct options *o = m->w->options;
    const struct request *q = m->w->request;
    const struct assay_warden_run *h = &q->head;
    int64_t bytes = h->scratch_bytes ? h->scratch_bytes : DEFAULT_SCRATCH_BYTES;
    int64_t files = h->scratch_files ? h->scratch_files : DEFAULT_SCRATCH_FILES;
    if (bytes > (int64_t)o->scratch_bytes)
        bytes = (int64_t)o->scratch_bytes;
    if (bytes != DEFAULT_SCRATCH_BYTES || files != DEFAULT_SCRATCH_FILES) {
        set_number(m, "size", bytes);
        set_number(m, "nr_inodes", files + 4); /* its own directories */
        if (sys_fsconfig(m->scratch_fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL) < 0)
            fail_errno(m, "scratch size");
    }
    (void)close(m->scratch_fs);
    write_files(m);
}

/* ---- the program's child, up to execve ---- */

static _Noreturn void child_fail(struct maker *m, const char *stage)
{
    m->s->stage = stage;
    m->s->error = errno;
    _exit(127);
}

int64_t request_stack(const struct assay_warden_run *h)
{
    const int64_t usual = INT64_C(64) << 20;
    return h->stack_bytes ? h->stack_bytes : h->memory_bytes && h->memory_bytes < usual ? h->memory_bytes : usual;
}

/* What a program's limits are, however it begins. */
static uint32_t limits_of(const struct maker *m, struct zygote_limit ret[ZYGOTE_LIMITS_MAX])
{
    const struct assay_warden_run *h = &m->w->request->head;
    int64_t files = h->open_files ? h->open_files : 256, stack = request_stack(h);
    int64_t file_bytes = h->file_bytes ? h->file_bytes : h->scratch_bytes ? h->scratch_bytes : DEFAULT_SCRATCH_BYTES;
    uint32_t n = 0;
    if (h->cpu_ms && !(leaf_precision(m->w->leaf) & PRECISE_CPU)) {
        /* Only a backstop, per process and in whole seconds: the watching decides. Where the leaf counts there is none: with this
         * limit set, the kernel answers CLOCK_PROCESS_CPUTIME_ID from a sum that only its tick (4 ms at 250 Hz) brings up to
         * date, so that programs could not measure themselves (measured: up to 4 ms behind, and 0.2 without). */
        int64_t seconds = ((h->cpu_hard_ms ? h->cpu_hard_ms : h->cpu_ms) + 999) / 1000 + 1;
        ret[n++] = (struct zygote_limit){.what = RLIMIT_CPU, .soft = seconds, .hard = seconds + 1};
    }
    ret[n++] = (struct zygote_limit){.what = RLIMIT_FSIZE, .soft = file_bytes, .hard = file_bytes};
    ret[n++] = (struct zygote_limit){.what = RLIMIT_STACK, .soft = stack, .hard = stack};
    ret[n++] = (struct zygote_limit){.what = RLIMIT_NOFILE, .soft = files, .hard = files};
    /* Counted per user: exact only when the leaf does not count. In a user namespace the warden, the
     * inits and the nursery are of the same user, and everywhere a zygote. */
    if (!(leaf_precision(m->w->leaf) & PRECISE_PIDS)) {
        int64_t others = m->reduced ? reduced_tasks() : m->w->options->mode == MODE_NATIVE ? 0 : 3;
        others += !m->reduced && m->w->options->mode != MODE_NATIVE && m->w->zygote->nursery >= 0;
        others += m->w->zygote->order >= 0;
        int64_t processes = (h->processes ? h->processes : 64) + others;
        ret[n++] = (struct zygote_limit){.what = RLIMIT_NPROC, .soft = processes, .hard = processes};
    }
    return n;
}

static void child_limits(struct maker *m)
{
    struct zygote_limit list[ZYGOTE_LIMITS_MAX];
    uint32_t n = limits_of(m, list);
    for (uint32_t i = 0; i < n; i++) {
        __rlimit_resource_t what = (__rlimit_resource_t)list[i].what;
        struct rlimit r = {(rlim_t)list[i].soft, (rlim_t)list[i].hard}, now;
        if (setrlimit(what, &r) == 0)
            continue;
        /* Without privilege the hard limit that we were started with cannot be raised: the stricter holds. */
        if (errno != EPERM || getrlimit(what, &now) < 0)
            child_fail(m, "rlimit");
        r.rlim_max = now.rlim_max;
        r.rlim_cur = r.rlim_cur < r.rlim_max ? r.rlim_cur : r.rlim_max;
        if (setrlimit(what, &r) < 0)
            child_fail(m, "rlimit");
    }
}

static void child_join(struct maker *m)
{
    static const int order[] = {ASSAY_LEAF_MEMORY_PROCS, ASSAY_LEAF_CPU_PROCS, ASSAY_LEAF_PIDS_PROCS};
    const struct leaf *l = m->w->leaf;
    for (size_t i = 0; l->held && !m->born_inside && i < sizeof order / sizeof *order; i++)
        if (l->fd[order[i]] >= 0 && write(l->fd[order[i]], "0", 1) != 1)
            child_fail(m, "joining the leaf");
}

static bool to_be_pinned(const struct maker *m)
{
    bool any = false;
    for (size_t i = 0; i < ASSAY_WARDEN_CPU_WORDS; i++)
        any = any || m->w->request->head.cpus[i] != 0;
    return any;
}

/* Inherited by all that the program starts; the filter keeps it from changing it. A processor that is not
 * ours (a container's cpuset) is passed over, and when none is left the box runs where it may. */
static void child_pin(struct maker *m)
{
    const uint64_t *cpus = m->w->request->head.cpus;
    m->s->pinned = to_be_pinned(m) && syscall(SYS_sched_setaffinity, 0, sizeof m->w->request->head.cpus, cpus) == 0;
}

static void child_ids(struct maker *m)
{
    const struct options *o = m->w->options;
    /* By number: the library's wrappers look for other threads to change as well. */
    if (o->mode == MODE_NATIVE || (m->reduced && geteuid() == 0)) {
        if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, o->gid, o->gid, o->gid) < 0 ||
            syscall(SYS_setresuid, o->uid, o->uid, o->uid) < 0)
            child_fail(m, "user and group");
    }
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    if (syscall(SYS_capset, &head, none) < 0)
        child_fail(m, "capabilities");
}

/* A request's bytes are not aligned for it; the kernel copies without asking for that. */
static const void *filter_of(const struct request *q, unsigned short *count)
{
    if (q->seccomp_count == 0)
        return seccomp_floor(count);
    *count = (unsigned short)q->seccomp_count;
    return q->seccomp;
}

static int child_main(void *arg)
{
    struct maker *m = arg;
    const struct request *q = m->w->request;
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    sigemptyset(&none);
    if (setsid() < 0 || sigaction(SIGPIPE, &plain, NULL) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        child_fail(m, "session");
    child_join(m);
    child_pin(m);
    child_limits(m);
    const char *workdir = request_workdir(q);
    if (m->reduced ? fchdir(m->box) < 0 : chroot(ROOT_BOX) < 0 || chdir(workdir ? workdir : "/box") < 0)
        child_fail(m, "chroot");
    child_ids(m);
    if (m->reduced) {
        uint16_t count;
        const struct sock_filter *top = seccomp_reduced(&count);
        struct sock_fprog more = {.len = count};
        memcpy(&more.filter, &top, sizeof more.filter);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || reduced_confine(m->ruleset) < 0)
            child_fail(m, "landlock");
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &more) < 0)
            child_fail(m, "seccomp");
    }
    int err = q->head.flags & FLAG_STDERR_TO_STDOUT ? m->theirs[1] : m->theirs[2];
    /* all of theirs are above 2 (main.c), so none of these overwrites one that is still needed */
    if (dup2(m->theirs[0], 0) < 0 || dup2(m->theirs[1], 1) < 0 || dup2(err, 2) < 0 || sys_close_range(3, ~0u) < 0)
        child_fail(m, "descriptors");
    (void)umask(022);
    struct sock_fprog filter = {.filter = NULL};
    const void *instructions = filter_of(q, &filter.len);
    memcpy(&filter.filter, &instructions, sizeof filter.filter);
    atomic_store(&m->s->started_ns, now_ns());
    atomic_store(&m->s->phase, PHASE_STARTED);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
        child_fail(m, "seccomp");
    (void)syscall(SYS_execve, m->argv[0], m->argv, m->env);
    if (errno == EAGAIN) /* ours: the uid had its tasks already, before this program was one (execve(2)) */
        child_fail(m, "exec");
    m->s->error = errno; /* theirs: there is no such program, or it cannot be executed */
    _exit(m->s->error == ENOENT || m->s->error == ENOTDIR ? 127 : 126);
}

/*
 * The child has begun its program, or has failed, when this returns.
 *
 * A version 2 leaf is entered by birth where its directory was given: a move through cgroup.procs takes
 * the lock that all forks of the machine share, and waits for a grace period to get it (kernels
 * before 6.18; milliseconds).  That call cannot be told a stack from C, so the child gets a copy of our little
 * memory; in all other cases it shares it.
 */
static pid_t start(struct maker *m)
{
    static _Alignas(16) char stack[65536];
    int dir = m->w->leaf->fd[ASSAY_LEAF_DIR];
    if (m->w->leaf->held && dir >= 0) {
        struct clone_args args = {
            .flags = CLONE_VFORK | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned)dir};
        m->born_inside = true;
        pid_t pid = sys_clone3(&args);
        if (pid == 0)
            _exit(child_main(m));
        if (pid > 0)
            return pid;
        m->born_inside = false; /* not allowed there, perhaps: the descriptor of cgroup.procs may still be */
    }
    return clone(child_main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, m);
}

/* ---- or a fork of the zygote ---- */

/* Opened ahead, while the warden has a zygote: a process that cannot be dumped is closed to setns by pidfd. */
static void open_namespaces(struct maker *m)
{
    static const char *const name[3] = {"pid", "mnt", "ipc"};
    for (int i = 0; i < 3; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, ROOT_BOX "/proc/self/ns/%s", name[i]);
        m->ns[i] = m->w->zygote->order < 0 || (i == 2 && !m->w->own_ipc) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    }
}

static enum ordered order(struct maker *m, struct made *ret)
{
    static const int join[3] = {ASSAY_LEAF_MEMORY_PROCS, ASSAY_LEAF_CPU_PROCS, ASSAY_LEAF_PIDS_PROCS};
    const struct leaf *l = m->w->leaf;
    struct zygote_order o = {.present = 0};
    int fd[ZYGOTE_FD_COUNT];
    for (int i = 0; i < ZYGOTE_FD_COUNT; i++)
        fd[i] = -1;
    fd[ZYGOTE_FD_PID_NS] = m->ns[0];
    fd[ZYGOTE_FD_MOUNT_NS] = m->ns[1];
    fd[ZYGOTE_FD_IPC_NS] = m->ns[2];
    fd[ZYGOTE_FD_IN] = m->theirs[0];
    fd[ZYGOTE_FD_OUT] = m->theirs[1];
    fd[ZYGOTE_FD_ERR] = m->theirs[m->w->request->head.flags & FLAG_STDERR_TO_STDOUT ? 1 : 2];
    if (l->held && l->fd[ASSAY_LEAF_DIR] >= 0)
        fd[ZYGOTE_FD_LEAF_DIR] = l->fd[ASSAY_LEAF_DIR];
    for (int i = 0; l->held && l->fd[ASSAY_LEAF_DIR] < 0 && i < 3; i++)
        fd[ZYGOTE_FD_JOIN + i] = l->fd[join[i]];
    if (m->ns[0] < 0 || m->ns[1] < 0)
        return ORDER_REFUSED;
    unsigned short count;
    const void *filter = filter_of(m->w->request, &count);
    o.n_limits = limits_of(m, o.limit);
    o.n_filter = count;
    o.pin = to_be_pinned(m);
    memcpy(o.cpus, m->w->request->head.cpus, sizeof o.cpus);
    atomic_store(&m->s->warm, 1);
    atomic_store(&m->s->started_ns, now_ns());
    atomic_store(&m->s->phase, PHASE_STARTED);
    return zygote_give_order(m->w->zygote->order, &o, fd, filter, ret, &m->s->note);
}

static pid_t begin(struct maker *m)
{
    struct made made = {-1, false};
    if (!*m->w->warm)
        return start(m);
    switch (order(m, &made)) {
    case ORDER_MADE:
        m->s->pinned = made.pinned;
        return made.program;
    case ORDER_FAILED:
        fail(m);
    case ORDER_REFUSED:
        break;
    }
    m->s->note.text[0] = 0;
    atomic_store(&m->s->warm, 0);
    atomic_store(&m->s->refused, 1);
    leaf_raise(m->w->leaf, m->w->request->head.memory_bytes);
    return start(m);
}

/* ---- reap ---- */

/* A process's share of the shared memory that it has mapped, by the kernel's walk through its pages. */
static int64_t shared_share(int proc, const char *pid)
{
    char path[300], text[2048];
    (void)snprintf(path, sizeof path, "%s/smaps_rollup", pid);
    CLEANUP_FD int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    const char *p = strstr(text, "Pss_Shmem:");
    return p ? strtoll(p + strlen("Pss_Shmem:"), NULL, 10) * 1024 : 0;
}

/* Without a leaf: what the live processes have used, from proc, for the warden to judge. */
static void look_around(const struct maker *m)
{
    static pid_t tree[4096];
    size_t n_tree = m->reduced ? reduced_tree(getpid(), tree, sizeof tree / sizeof *tree) : 0;
    DIR *d = opendir(m->reduced ? "/proc" : ROOT_BOX "/proc");
    if (!d)
        return;
    int64_t ticks = 0, pages = 0, tasks = 0, mapped = 0;
    const struct dirent *e;
    while ((e = readdir(d))) {
        char path[300], text[1024];
        if (!isdigit((unsigned char)e->d_name[0]) || strcmp(e->d_name, "1") == 0)
            continue;
        bool ours = !m->reduced;
        for (size_t i = 0; i < n_tree && !ours; i++)
            ours = tree[i] == (pid_t)strtol(e->d_name, NULL, 10);
        if (!ours)
            continue;
        (void)snprintf(path, sizeof path, "%s/stat", e->d_name);
        CLEANUP_FD int stat_fd = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC);
        ssize_t n = stat_fd < 0 ? -1 : read(stat_fd, text, sizeof text - 1);
        if (n <= 0)
            continue;
        text[n] = 0;
        const char *p = strrchr(text, ')'); /* the name may hold anything */
        long long v[18] = {0};
        for (size_t i = 0; p && i < 18; i++) {
            p = strchr(p, ' ');
            if (!p)
                break;
            p++;
            if (i > 0) /* field 3 is a letter */
                v[i] = strtoll(p, NULL, 10);
        }
        ticks += v[11] + v[12] + v[13] + v[14]; /* utime stime cutime cstime */
        tasks += v[17];
        (void)snprintf(path, sizeof path, "%s/statm", e->d_name);
        CLEANUP_FD int statm_fd = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC);
        n = statm_fd < 0 ? -1 : read(statm_fd, text, sizeof text - 1);
        if (n <= 0)
            continue;
        text[n] = 0;
        char *rest;
        (void)strtoll(text, &rest, 10);
        long long resident = strtoll(rest, &rest, 10), shared = strtoll(rest, &rest, 10);
        pages += resident > shared ? resident - shared : 0;
        /* Libraries are in that figure too. Only when they cannot be all of it is the walk worth its time. */
        if (m->w->request->head.memory_bytes > 0 && shared * sysconf(_SC_PAGESIZE) > m->w->request->head.memory_bytes / 8)
            mapped += shared_share(dirfd(d), e->d_name);
    }
    (void)closedir(d);
    struct rusage gone;
    (void)getrusage(RUSAGE_CHILDREN, &gone);
    int64_t cpu = ticks * (1000000000 / sysconf(_SC_CLK_TCK)) + (gone.ru_utime.tv_sec + gone.ru_stime.tv_sec) * INT64_C(1000000000) +
                  (gone.ru_utime.tv_usec + gone.ru_stime.tv_usec) * INT64_C(1000);
    atomic_store(&m->s->seen_cpu_ns, cpu);
    atomic_store(&m->s->seen_memory, pages * sysconf(_SC_PAGESIZE) + mapped);
    atomic_store(&m->s->seen_tasks, tasks);
}

static int64_t scratch_used(const struct maker *m)
{
    struct statfs fs;
    return m->reduced || fstatfs(m->box, &fs) < 0 ? 0 : /* reduced: a disk that others use too */
           (int64_t)(fs.f_blocks - fs.f_bfree) * fs.f_bsize;
}

static void wait_program(const struct maker *m, pid_t program)
{
    uint32_t need = PRECISE_CPU | PRECISE_MEMORY;
    bool watch = m->reduced || (leaf_precision(m->w->leaf) & need) != need;
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (m->reduced)
        sigaddset(&chld, SIGTERM);
    for (;;) {
        pid_t pid = wait4(-1, &m->s->status, __WALL | (watch ? WNOHANG : 0), &m->s->usage);
        if (pid == program)
            break;
        if (pid < 0 && errno != EINTR)
            fail_errno(m, "wait");
        if (pid != 0)
            continue;
        look_around(m);
        struct timespec pause = {0, 5000000};
        if (sigtimedwait(&chld, NULL, &pause) == SIGTERM)
            reduced_kill(getpid(), 0); /* the warden, or its death, says that it is over */
    }
    atomic_store(&m->s->ended_ns, now_ns());
    atomic_store(&m->s->phase, PHASE_ENDED);
    /* Each pass kills all that exist; a fork that was under way sees its signal and fails. */
    for (;;) {
        if (m->reduced)
            reduced_kill(getpid(), 0); /* -1 would be all of the machine here */
        else
            (void)kill(-1, SIGKILL);
        pid_t pid = wait4(-1, NULL, __WALL, NULL);
        if (pid < 0 && errno == ECHILD)
            break;
    }
    (void)getrusage(RUSAGE_CHILDREN, &m->s->reaped);
    int64_t usage = leaf_usage(m->w->leaf), files = scratch_used(m) - m->given;
    atomic_store(&m->s->lingers, usage < 0 ? -1 : usage - (files < 0 ? 0 : files < usage ? files : usage));
}

void init_main(const struct box_world *w, struct slot *s, const int ours[3], const int theirs[3])
{
    struct maker m = {.w = w, .s = s, .theirs = theirs, .reduced = w->options->mode == MODE_REDUCED, .turn = (unsigned)(s - w->slots),
                      .ruleset = -1};
    for (int i = 0; i < 3; i++)
        (void)close(ours[i]);
    (void)close(w->stream);
    if (w->control >= 0)
        (void)close(w->control);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (m.reduced)
        sigaddset(&chld, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &chld, NULL);

    die_with_warden(&m);
    if (m.reduced) {
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
            fail_errno(&m, "prctl");
        m.box = reduced_scratch(m.turn, &s->note);
        die_with_warden(&m);
        if (m.box < 0)
            fail(&m);
    } else {
        mount_proc(&m);
        mount_scratch(&m);
        open_namespaces(&m);
    }
    atomic_store(&s->phase, PHASE_READY);
    while (atomic_load(&s->go) == 0)
        (void)sys_futex(&s->go, FUTEX_WAIT, 0);

    m.argv = w->request->argv;
    m.env = w->request->env;
    if (m.reduced)
        fill_reduced(&m);
    else
        fill_scratch(&m);
    m.given = scratch_used(&m);
    pid_t program = begin(&m);
    if (program < 0)
        fail_errno(&m, "fork");
    /* In the leaf already, and not even room to start: that is the program's limit. */
    s->starved = s->error == ENOMEM && w->request->head.memory_bytes > 0 && (leaf_precision(w->leaf) & PRECISE_MEMORY);
    if (s->stage && !s->starved) {
        errno = s->error;
        fail_errno(&m, s->stage);
    }
    if (s->error) {
        errno = s->error;
        (void)note_errno(&s->note, "exec %.100s", w->request->argv[0]);
    }
    for (int i = 0; i < 3; i++)
        (void)close(theirs[i]); /* or the warden would never see their end */
    wait_program(&m, program);
    bool kept = WIFEXITED(s->status) && (WEXITSTATUS(s->status) == 0 || (w->request->head.flags & FLAG_COLLECT_ALWAYS));
    if (w->request->head.n_collect > 0 && kept) {
        char hex[65];
        if (files_collect(m.box, w->request, hex, &s->artefact_bytes, &s->note) == 0)
            memcpy(s->artefact, hex, sizeof hex);
    }
    atomic_store(&s->phase, PHASE_EMPTY);
    if (m.reduced)
        reduced_clear(m.turn); /* nothing of it is left when the answer goes out */
    finish(&m, 0);
}
