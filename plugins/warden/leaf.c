/*
 * A leaf: the cgroup (version 2) or the three cgroups (version 1: memory, cpuacct, pids) in which one
 * box's program tree is accounted and limited.  The boxkeeper makes them and passes descriptors of
 * their files; the warden sees no cgroup file system and needs no right to one.
 *
 * Only the program joins, or is born in it (init.c), not the box's init: so what setting up a box costs is charged to
 * nobody's program, and the OOM killer cannot choose the init.
 *
 * A version 1 leaf is used over and over.  CPU time, OOM kills and memory in use only ever rise or
 * linger, so each box is measured against what was read before it; only the peak has to be written.
 * What lingers in memory is page cache that an earlier box was charged for; the peak is reported
 * above as much of it as is still there at the end (what was reclaimed made room for this box). A version 2 leaf's peak cannot be reset (before 6.12), so it serves one box.
 *
 * The program's own memory.  Both versions' peaks count page cache, which belongs to whoever first read a
 * file: the same program has 2 MB more or less of it as the machine happens to have its libraries in
 * memory.  When all processes are gone, what is still charged is just that: page cache, and the files that
 * the program left in its scratch (whose size the scratch tells).  So the peak, less what lingers, plus those
 * files, is what was the program's: anonymous memory, files in memory, and what the kernel needed for
 * them (page tables).  It errs low when cache was read after the peak; so the statistics are looked at
 * whenever the limits are, and the larger of the two is reported.  The statistics alone would not do: a
 * short program ends between two looks, and the kernel lets them lag by up to 64 pages for each processor.
 * The percpu stocks of charges (64 pages each) are in the peak and in what lingers alike.
 */
#include "warden.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void leaf_init(struct leaf *l)
{
    *l = (struct leaf){.set_memory = -2, .set_pids = -2};
    for (size_t i = 0; i < ASSAY_LEAF_FD_COUNT; i++)
        l->fd[i] = -1;
}

void leaf_drop(struct leaf *l)
{
    for (size_t i = 0; i < ASSAY_LEAF_FD_COUNT; i++)
        close_fd(&l->fd[i]);
    uint64_t generation = l->generation;
    leaf_init(l);
    l->generation = generation + 1;
}

/* One small file of a cgroup, from its start. The text is NUL-terminated; "" when it cannot be read. */
static void slurp(int fd, char *text, size_t room)
{
    ssize_t n = fd < 0 ? -1 : pread(fd, text, room - 1, 0);
    text[n > 0 ? n : 0] = 0;
}

static int64_t number(const char *p)
{
    if (*p < '0' || *p > '9')
        return -1;
    errno = 0;
    long long v = strtoll(p, NULL, 10);
    return errno ? -1 : v;
}

/* The value behind "name " at the start of a line, or -1. */
static int64_t keyed(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
        if (strncmp(p, name, n) == 0 && p[n] == ' ')
            return number(p + n + 1);
    return -1;
}

static int64_t read_number(int fd)
{
    char text[64];
    slurp(fd, text, sizeof text);
    return number(text);
}

static bool write_number(int fd, int64_t value, const char *none)
{
    char text[32];
    int n = value < 0 ? snprintf(text, sizeof text, "%s", none) : snprintf(text, sizeof text, "%lld", (long long)value);
    return fd >= 0 && pwrite(fd, text, (size_t)n, 0) == n;
}

static void read_cpu(const struct leaf *l, int64_t *cpu_ns, int64_t *user_us, int64_t *system_us, bool split)
{
    char text[1024];
    *cpu_ns = *user_us = *system_us = -1;
    if (l->version == 2) {
        slurp(l->fd[ASSAY_LEAF_CPU_USAGE], text, sizeof text);
        int64_t us = keyed(text, "usage_usec");
        *cpu_ns = us < 0 ? -1 : us * 1000;
        *user_us = keyed(text, "user_usec");
        *system_us = keyed(text, "system_usec");
        return;
    }
    *cpu_ns = read_number(l->fd[ASSAY_LEAF_CPU_USAGE]);
    if (split && l->fd[ASSAY_LEAF_CPU_STAT] >= 0) {
        int64_t tick_us = 1000000 / sysconf(_SC_CLK_TCK);
        slurp(l->fd[ASSAY_LEAF_CPU_STAT], text, sizeof text);
        int64_t user = keyed(text, "user"), system = keyed(text, "system");
        *user_us = user < 0 ? -1 : user * tick_us;
        *system_us = system < 0 ? -1 : system * tick_us;
    }
}

static int64_t read_oom(const struct leaf *l)
{
    char text[512];
    slurp(l->fd[ASSAY_LEAF_MEMORY_EVENTS], text, sizeof text);
    return keyed(text, "oom_kill");
}

uint32_t leaf_precision(const struct leaf *l)
{
    uint32_t bits = 0;
    if (!l->held)
        return 0;
    bool one = l->version == 2; /* one directory: joining it is joining all */
    bool mem = l->fd[ASSAY_LEAF_MEMORY_PROCS] >= 0;
    if (l->fd[ASSAY_LEAF_CPU_USAGE] >= 0 && (one ? mem : l->fd[ASSAY_LEAF_CPU_PROCS] >= 0))
        bits |= PRECISE_CPU;
    if (mem && l->fd[ASSAY_LEAF_MEMORY_MAX] >= 0 && l->fd[ASSAY_LEAF_MEMORY_EVENTS] >= 0)
        bits |= PRECISE_MEMORY;
    if (l->fd[ASSAY_LEAF_PIDS_MAX] >= 0 && (one ? mem : l->fd[ASSAY_LEAF_PIDS_PROCS] >= 0))
        bits |= PRECISE_PIDS;
    return bits;
}

int leaf_receive(struct leaf *l, int control, struct note *why)
{
    struct assay_warden_leaf m;
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 16)];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {&m, sizeof m};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof ancillary.bytes};
    if (l->held)
        return 1;
    ssize_t n = recvmsg(control, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        return note_errno(why, "control socket");
    if (n == 0)
        return note_set(why, "the control socket was closed");
    int fd[16];
    size_t n_fd = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k && n_fd < 16; i++)
            memcpy(&fd[n_fd++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    struct leaf fresh;
    leaf_init(&fresh);
    size_t used = 0;
    bool good = (size_t)n == sizeof m && !(h.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) && m.type == ASSAY_WARDEN_LEAF &&
                (m.version == 1 || m.version == 2) && !(m.present >> ASSAY_LEAF_FD_COUNT) &&
                (size_t)__builtin_popcount(m.present) == n_fd && !(m.flags & ~ASSAY_LEAF_REUSABLE);
    for (size_t i = 0; good && i < ASSAY_LEAF_FD_COUNT; i++)
        if (m.present & ASSAY_LEAF_BIT(i))
            fresh.fd[i] = fd[used++];
    if (!good) {
        for (size_t i = 0; i < n_fd; i++)
            close_fd(&fd[i]);
        return note_set(why, "a malformed message on the control socket");
    }
    fresh.held = true;
    fresh.generation = l->generation + 1;
    fresh.id = m.id;
    fresh.version = m.version;
    fresh.flags = m.flags;
    fresh.present = m.present;
    *l = fresh;
    return 1;
}

/* Memory+swap may never be below memory: so its old value is in the way of a raise, and the other's of a
 * cut. The first attempt may fail, the last must not. */
static bool set_v1(int max, int swap, int64_t want)
{
    bool ok = write_number(max, want, "-1");
    if (swap >= 0)
        ok = write_number(swap, want, "-1") && (ok || write_number(max, want, "-1"));
    return ok;
}

int leaf_prepare(struct leaf *l, int64_t memory, int64_t pids, struct note *why)
{
    const char *none = l->version == 2 ? "max" : "-1";
    uint32_t bits = leaf_precision(l);
    int64_t want = memory > 0 ? memory : -1;
    if ((bits & PRECISE_MEMORY) && want != l->set_memory) {
        int max = l->fd[ASSAY_LEAF_MEMORY_MAX], swap = l->fd[ASSAY_LEAF_MEMORY_SWAP];
        bool ok;
        l->set_memory = want;
        if (l->version == 2) {
            ok = write_number(max, want, none) && (swap < 0 || write_number(swap, 0, none));
        } else {
            ok = set_v1(max, swap, want);
            if (!ok && want > 0) {
                /* More lingers in the leaf than this limit, and the kernel cannot reclaim it (its own
                 * objects): the program gets its limit above that, and next time we try again. */
                int64_t lingers = read_number(l->fd[ASSAY_LEAF_MEMORY_USAGE]);
                ok = lingers > 0 && set_v1(max, swap, want + lingers);
                l->set_memory = -2;
            }
        }
        if (!ok)
            return note_errno(why, "cannot set the leaf's memory limit");
    }
    if ((bits & PRECISE_PIDS) && pids != l->set_pids) {
        if (!write_number(l->fd[ASSAY_LEAF_PIDS_MAX], pids, "max"))
            return note_errno(why, "cannot set the leaf's limit of processes");
        l->set_pids = pids;
    }
    if (l->version == 1 && l->fd[ASSAY_LEAF_MEMORY_PEAK] >= 0 && !write_number(l->fd[ASSAY_LEAF_MEMORY_PEAK], 0, "0"))
        return note_errno(why, "cannot reset the leaf's peak");
    l->base_usage = read_number(l->fd[ASSAY_LEAF_MEMORY_USAGE]);
    l->base_oom = read_oom(l);
    read_cpu(l, &l->base_cpu_ns, &l->base_user_us, &l->base_system_us, true);
    if (((bits & PRECISE_CPU) && l->base_cpu_ns < 0) || ((bits & PRECISE_MEMORY) && l->base_oom < 0))
        return note_set(why, "the leaf's counters cannot be read");
    return 0;
}

void leaf_raise(const struct leaf *l, int64_t memory)
{
    if (!(leaf_precision(l) & PRECISE_MEMORY))
        return;
    if (l->version == 2)
        (void)write_number(l->fd[ASSAY_LEAF_MEMORY_MAX], memory > 0 ? memory : -1, "max");
    else
        (void)set_v1(l->fd[ASSAY_LEAF_MEMORY_MAX], l->fd[ASSAY_LEAF_MEMORY_SWAP], memory > 0 ? memory : -1);
}

int64_t leaf_cpu_ns(const struct leaf *l)
{
    int64_t cpu, user, system;
    if (!(leaf_precision(l) & PRECISE_CPU))
        return -1;
    read_cpu(l, &cpu, &user, &system, false);
    return cpu < 0 ? -1 : cpu - l->base_cpu_ns;
}

int64_t leaf_usage(const struct leaf *l)
{
    return leaf_precision(l) & PRECISE_MEMORY ? read_number(l->fd[ASSAY_LEAF_MEMORY_USAGE]) : -1;
}

int64_t leaf_own_now(const struct leaf *l)
{
    char text[1024]; /* the lines asked for are among the first ten */
    if (!l->held || l->fd[ASSAY_LEAF_MEMORY_STAT] < 0)
        return -1;
    slurp(l->fd[ASSAY_LEAF_MEMORY_STAT], text, sizeof text);
    int64_t anonymous = keyed(text, l->version == 2 ? "anon" : "rss"), shared = keyed(text, "shmem");
    return anonymous < 0 ? -1 : anonymous + (shared > 0 ? shared : 0);
}

int64_t leaf_oom_kills(const struct leaf *l)
{
    if (!(leaf_precision(l) & PRECISE_MEMORY))
        return -1;
    int64_t kills = read_oom(l);
    return kills < 0 ? -1 : kills - l->base_oom;
}

void leaf_read(const struct leaf *l, struct leaf_figures *ret)
{
    struct leaf_figures f = {-1, -1, -1, -1, -1, -1};
    uint32_t bits = leaf_precision(l);
    if (bits & PRECISE_CPU) {
        int64_t cpu, user, system;
        read_cpu(l, &cpu, &user, &system, true);
        f.cpu_ns = cpu < 0 ? -1 : cpu - l->base_cpu_ns;
        if (user >= 0 && system >= 0 && l->base_user_us >= 0) {
            f.user_us = user - l->base_user_us;
            f.system_us = system - l->base_system_us;
        }
    }
    if (bits & PRECISE_MEMORY) {
        f.peak = f.raw_peak = read_number(l->fd[ASSAY_LEAF_MEMORY_PEAK]);
        if (f.peak >= 0 && l->base_usage > 0) {
            int64_t usage = read_number(l->fd[ASSAY_LEAF_MEMORY_USAGE]);
            int64_t older = usage >= 0 && usage < l->base_usage ? usage : l->base_usage;
            f.peak = f.peak > older ? f.peak - older : 0;
        }
        f.oom_kills = leaf_oom_kills(l);
    }
    *ret = f;
}

bool leaf_empty(const struct leaf *l)
{
    /* the one that a version 1 task joins last, and so leaves with all others */
    int fd = l->fd[ASSAY_LEAF_PIDS_PROCS] >= 0 ? l->fd[ASSAY_LEAF_PIDS_PROCS] : l->fd[ASSAY_LEAF_MEMORY_PROCS];
    char text[32];
    if (fd < 0)
        return true;
    slurp(fd, text, sizeof text);
    return !text[0];
}

void leaf_finish(struct leaf *l, int control, bool dirty)
{
    if (!l->held || ((l->flags & ASSAY_LEAF_REUSABLE) && !dirty))
        return;
    struct assay_warden_spent m = {.type = ASSAY_WARDEN_SPENT, .dirty = dirty, .id = l->id};
    /* A boxkeeper that does not read has died; that shows on the socket soon enough. */
    (void)send(control, &m, sizeof m, MSG_DONTWAIT | MSG_NOSIGNAL);
    leaf_drop(l);
}
