/*
 * cgroup leaves: what both versions share.
 *
 * Theory of operation.  All leaves of one data directory stand in a group, a directory called
 * assay-<hash of the data directory>, so that the next boxkeeper of the same data directory finds
 * what this one left when it was killed.  Leaves are called <life>-<id>, life being of this process:
 * a dying boxkeeper that still cleans up and its successor never touch the same directory.
 *
 * A leaf is made before it is needed and removed after its warden is done with it, both off the way
 * of a run.  Before removal everything inside is killed: on version 2 by cgroup.kill, on version 1
 * by forbidding new tasks (pids.max 0) and killing until the list is empty.
 */
#include "leaves_local.h"

#include <assay/value.h>
#include <assay/warden_wire.h>

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const assay_leaves_controllers[ASSAY_LEAVES_CONTROLLERS] = {"memory", "cpuacct", "pids"};

#define LIFE_DIGITS 8

bool assay_leaves_join(char out[ASSAY_LEAVES_PATH], const char *dir, const char *name)
{
    char tmp[ASSAY_LEAVES_PATH]; /* out may be dir */
    int n = snprintf(tmp, sizeof(tmp), "%s/%s", dir, name);

    if (n < 0 || (size_t)n >= sizeof(tmp))
        return false;
    memcpy(out, tmp, (size_t)n + 1);
    return true;
}

int assay_leaves_write(const char *dir, const char *file, const char *text)
{
    char path[ASSAY_LEAVES_PATH];
    ssize_t n;
    int fd, e;

    if (!assay_leaves_join(path, dir, file))
        return -ENAMETOOLONG;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = write(fd, text, strlen(text));
    e = errno;
    close(fd);
    return n < 0 ? -e : 0;
}

/* Undoes the octal escapes of mountinfo (\040 for a space). */
static void unescape(char *s)
{
    char *to = s;

    for (; *s != '\0'; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

bool assay_leaves_mount_find(int version, const char *controller, struct assay_leaves_mount *out)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    if (f == NULL)
        return false;
    while (!found && getline(&line, &room, f) > 0) {
        char type[32], root[ASSAY_LEAVES_PATH], point[ASSAY_LEAVES_PATH], options[254], mark[48];
        const char *rest = strstr(line, " - ");

        /* id parent major:minor root point options [fields] - type source super-options */
        if (rest == NULL || sscanf(line, "%*d %*d %*s %511s %511s", root, point) != 2 ||
            sscanf(rest, " - %31s %*s %253s", type, options) != 2)
            continue;
        if (strcmp(type, version == 1 ? "cgroup" : "cgroup2") != 0)
            continue;
        snprintf(out->options, sizeof(out->options), ",%s,", options);
        snprintf(mark, sizeof(mark), ",%s,", controller);
        if (version == 1 && strstr(out->options, mark) == NULL)
            continue;
        unescape(root);
        unescape(point);
        memcpy(out->root, root, sizeof(root));
        memcpy(out->point, point, sizeof(point));
        found = true; /* the first: later ones are mounted over or elsewhere */
    }
    free(line);
    fclose(f);
    return found;
}

bool assay_leaves_own_cgroup(const struct assay_leaves_mount *m, const char *controller, char out[ASSAY_LEAVES_PATH])
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    if (f == NULL)
        return false;
    while (!found && getline(&line, &room, f) > 0) {
        char list[256], mark[48];
        char *a = strchr(line, ':');
        char *b = a != NULL ? strchr(a + 1, ':') : NULL;
        size_t root_len = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
        const char *path;

        if (b == NULL)
            continue;
        *b = '\0';
        line[strcspn(b + 1, "\n") + (size_t)(b + 1 - line)] = '\0';
        path = b + 1;
        snprintf(list, sizeof(list), ",%s,", a + 1);
        snprintf(mark, sizeof(mark), ",%s,", controller);
        if (controller[0] == '\0' ? a[1] != '\0' : strstr(list, mark) == NULL)
            continue;
        if (strncmp(path, m->root, root_len) != 0 || strlen(path + root_len) >= ASSAY_LEAVES_PATH)
            break; /* outside of what is mounted here */
        path += root_len;
        snprintf(out, ASSAY_LEAVES_PATH, "%s", strcmp(path, "/") == 0 ? "" : path);
        found = strstr(out, "/..") == NULL;
    }
    free(line);
    fclose(f);
    return found;
}

static size_t kill_listed(const char *dir)
{
    char path[ASSAY_LEAVES_PATH];
    FILE *f = assay_leaves_join(path, dir, "cgroup.procs") ? fopen(path, "re") : NULL;
    size_t n = 0;
    int pid;

    if (f == NULL)
        return 0;
    while (fscanf(f, "%d", &pid) == 1) {
        n++;
        if (pid > 1 && pid != getpid() && kill((pid_t)pid, SIGKILL) != 0 && errno != ESRCH)
            break;
    }
    fclose(f);
    return n;
}

bool assay_leaves_kill_inside(const char *dir, int version)
{
    if (version == 2 && assay_leaves_write(dir, "cgroup.kill", "1") != 0) {
        /* kernels before 5.14 */
        if (assay_leaves_write(dir, "cgroup.freeze", "1") == 0) {
            size_t n = kill_listed(dir);

            (void)assay_leaves_write(dir, "cgroup.freeze", "0"); /* a failure shows as a leaf that does not empty */
            return n == 0;
        }
        return kill_listed(dir) == 0;
    }
    if (version == 1)
        (void)assay_leaves_write(dir, "pids.max", "0"); /* only the pids hierarchy has it */
    return kill_listed(dir) == 0;
}

static bool is_life_name(const char *s)
{
    for (size_t i = 0; i < LIFE_DIGITS; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    return s[LIFE_DIGITS] == '-';
}

/* One pass over a group: kills and removes leaves of other lives. The number that remain. */
static size_t reap_group(struct assay_leaves *l, const char *group, int version, size_t *removed)
{
    DIR *d = opendir(group);
    size_t left = 0;

    if (d == NULL)
        return 0;
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        char leaf[ASSAY_LEAVES_PATH];

        if (!is_life_name(e->d_name) || strncmp(e->d_name, l->life, LIFE_DIGITS) == 0 || !assay_leaves_join(leaf, group, e->d_name))
            continue;
        (void)assay_leaves_kill_inside(leaf, version); /* rmdir below is the judge of it */
        if (rmdir(leaf) == 0)
            (*removed)++;
        else if (errno != ENOENT)
            left++;
    }
    closedir(d);
    return left;
}

struct places {
    char dir[ASSAY_LEAVES_CONTROLLERS * 2 + 3][ASSAY_LEAVES_PATH];
    int version[ASSAY_LEAVES_CONTROLLERS * 2 + 3];
    size_t n;
};

static void place_add(struct places *p, const char *dir, const char *name, int version)
{
    char path[ASSAY_LEAVES_PATH];
    struct stat st;

    if (!assay_leaves_join(path, dir, name) || stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return;
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->dir[i], path) == 0)
            return;
    if (p->n < sizeof(p->version) / sizeof(p->version[0])) {
        memcpy(p->dir[p->n], path, sizeof(path));
        p->version[p->n++] = version;
    }
}

/* A parent is looked at itself, at its mount's top, and (for "keeper") one up. */
static void places_of(struct places *p, const struct assay_leaves_mount *m, const char *controller, const char *name, int version)
{
    char own[ASSAY_LEAVES_PATH], dir[ASSAY_LEAVES_PATH];
    int n;

    place_add(p, m->point, name, version);
    if (!assay_leaves_own_cgroup(m, controller, own))
        return;
    n = snprintf(dir, sizeof(dir), "%s%s", m->point, own);
    if (n < 0 || (size_t)n >= sizeof(dir))
        return;
    place_add(p, dir, name, version);
    if (version == 2 && strrchr(own, '/') != NULL) {
        *strrchr(dir, '/') = '\0';
        place_add(p, dir, name, version);
    }
}

size_t assay_leaves_reap(struct assay_leaves *l, size_t *left)
{
    struct places p = {.n = 0};
    struct assay_leaves_mount m;
    size_t removed = 0;

    for (int i = 0; i < ASSAY_LEAVES_CONTROLLERS; i++) {
        if (assay_leaves_mount_find(1, assay_leaves_controllers[i], &m))
            places_of(&p, &m, assay_leaves_controllers[i], l->name, 1);
        if (l->group[i][0] != '\0') { /* a configured parent */
            char dir[ASSAY_LEAVES_PATH];

            memcpy(dir, l->group[i], sizeof(dir));
            *strrchr(dir, '/') = '\0';
            place_add(&p, dir, l->name, l->version);
        }
    }
    if (assay_leaves_mount_find(2, "", &m))
        places_of(&p, &m, "", l->name, 2);
    /* what was killed needs a moment to be gone */
    for (int turn = 0; turn < 50; turn++) {
        *left = 0;
        for (size_t i = 0; i < p.n; i++)
            *left += reap_group(l, p.dir[i], p.version[i], &removed);
        if (*left == 0)
            break;
        usleep(turn < 10 ? 2000 : 20000);
    }
    for (size_t i = 0; i < p.n; i++) {
        bool ours = false;

        for (int c = 0; c < ASSAY_LEAVES_CONTROLLERS; c++)
            ours = ours || strcmp(p.dir[i], l->group[c]) == 0;
        if (!ours && rmdir(p.dir[i]) != 0 && errno != ENOENT)
            assay_log(l->host, ASSAY_LOG_WARN, "old_group_stays", ASSAY_KZ("path", p.dir[i]), ASSAY_KI("errno", errno));
    }
    return removed;
}

void assay_leaves_open(struct assay_leaves *l, const struct assay_host *host, const char *hash, const char *parent,
                       const char *parent_option, size_t wardens)
{
    struct assay_leaves_mount m;

    *l = (struct assay_leaves){
        .host = host, .parent_option = parent_option, .limit = wardens * (ASSAY_LEAF_AHEAD + 2), .next_id = 1};
    snprintf(l->name, sizeof(l->name), "assay-%.16s", hash);
    assay_random_hex(l->life, LIFE_DIGITS / 2);
    /* hybrid machines mount version 2 too, but without the controllers: where memory is decides */
    if (assay_leaves_mount_find(1, "memory", &m))
        assay_leaves_v1_open(l, parent);
    else if (assay_leaves_mount_find(2, "", &m))
        assay_leaves_v2_open(l, parent);
    else {
        snprintf(l->trouble, sizeof(l->trouble), "no cgroup hierarchy is mounted");
        snprintf(l->remedy, sizeof(l->remedy), "mount cgroup2 at /sys/fs/cgroup (systemd and containers do it by default)");
    }
}

void assay_leaves_close(struct assay_leaves *l)
{
    for (int c = 0; c < ASSAY_LEAVES_CONTROLLERS; c++)
        if (l->group[c][0] != '\0' && rmdir(l->group[c]) != 0 && errno != ENOENT)
            assay_log(l->host, ASSAY_LOG_WARN, "group_stays", ASSAY_KZ("path", l->group[c]), ASSAY_KI("errno", errno));
    l->version = 0;
}

static bool leaf_dir(const struct assay_leaves *l, const struct assay_leaf *leaf, int controller, char out[ASSAY_LEAVES_PATH])
{
    char name[40];

    snprintf(name, sizeof(name), "%s-%llu", l->life, (unsigned long long)leaf->id);
    return l->group[controller][0] != '\0' && assay_leaves_join(out, l->group[controller], name);
}

static int leaf_make(struct assay_leaves *l, struct assay_leaf *out, struct assay_err *err)
{
    struct assay_leaf leaf = {.id = l->next_id};
    char dir[ASSAY_LEAVES_PATH];

    if (l->count >= l->limit)
        return assay_err_set(err, ASSAY_E_BUSY, "all %zu cgroup leaves are in use", l->limit);
    l->next_id++;
    for (int c = 0; c < ASSAY_LEAVES_CONTROLLERS; c++) {
        bool made;

        if (!leaf_dir(l, &leaf, c, dir))
            continue;
        made = mkdir(dir, 0755) == 0;
        if (!made && errno == ENOENT) /* the group was emptied and removed by a predecessor that was still ending */
            made = (mkdir(l->group[c], 0755) == 0 || errno == EEXIST) &&
                   (l->version != 2 || assay_leaves_write(l->group[c], "cgroup.subtree_control", "+memory +pids") == 0) &&
                   mkdir(dir, 0755) == 0;
        if (!made) {
            int e = errno;

            while (c-- > 0)
                if (leaf_dir(l, &leaf, c, dir) && rmdir(dir) != 0)
                    assay_log(l->host, ASSAY_LOG_WARN, "leaf_stays", ASSAY_KZ("path", dir), ASSAY_KI("errno", errno));
            return assay_err_errno(err, ASSAY_E_IO, e, "cannot make a cgroup leaf in %s", l->name);
        }
    }
    l->count++;
    *out = leaf;
    return 0;
}

struct file {
    enum assay_leaf_fd bit;
    int controller; /* enum assay_leaves_controller */
    const char *name;
    int flags;
};
/* In ascending order of the bits, as the wire demands. */
static const struct file files_v1[] = {
    {ASSAY_LEAF_MEMORY_PROCS, ASSAY_LEAVES_MEMORY, "tasks", O_RDWR},
    {ASSAY_LEAF_MEMORY_MAX, ASSAY_LEAVES_MEMORY, "memory.limit_in_bytes", O_RDWR},
    {ASSAY_LEAF_MEMORY_SWAP, ASSAY_LEAVES_MEMORY, "memory.memsw.limit_in_bytes", O_RDWR},
    {ASSAY_LEAF_MEMORY_PEAK, ASSAY_LEAVES_MEMORY, "memory.max_usage_in_bytes", O_RDWR},
    {ASSAY_LEAF_MEMORY_USAGE, ASSAY_LEAVES_MEMORY, "memory.usage_in_bytes", O_RDONLY},
    {ASSAY_LEAF_MEMORY_EVENTS, ASSAY_LEAVES_MEMORY, "memory.oom_control", O_RDONLY},
    {ASSAY_LEAF_CPU_PROCS, ASSAY_LEAVES_CPU, "tasks", O_RDWR},
    {ASSAY_LEAF_CPU_USAGE, ASSAY_LEAVES_CPU, "cpuacct.usage", O_RDWR},
    {ASSAY_LEAF_CPU_STAT, ASSAY_LEAVES_CPU, "cpuacct.stat", O_RDONLY},
    {ASSAY_LEAF_PIDS_PROCS, ASSAY_LEAVES_PIDS, "tasks", O_RDWR},
    {ASSAY_LEAF_PIDS_MAX, ASSAY_LEAVES_PIDS, "pids.max", O_RDWR},
    {ASSAY_LEAF_MEMORY_STAT, ASSAY_LEAVES_MEMORY, "memory.stat", O_RDONLY},
};
static const struct file files_v2[] = {
    {ASSAY_LEAF_MEMORY_PROCS, ASSAY_LEAVES_MEMORY, "cgroup.procs", O_RDWR},
    {ASSAY_LEAF_MEMORY_MAX, ASSAY_LEAVES_MEMORY, "memory.max", O_RDWR},
    {ASSAY_LEAF_MEMORY_SWAP, ASSAY_LEAVES_MEMORY, "memory.swap.max", O_RDWR},
    {ASSAY_LEAF_MEMORY_PEAK, ASSAY_LEAVES_MEMORY, "memory.peak", O_RDONLY},
    {ASSAY_LEAF_MEMORY_USAGE, ASSAY_LEAVES_MEMORY, "memory.current", O_RDONLY},
    {ASSAY_LEAF_MEMORY_EVENTS, ASSAY_LEAVES_MEMORY, "memory.events", O_RDONLY},
    {ASSAY_LEAF_CPU_USAGE, ASSAY_LEAVES_MEMORY, "cpu.stat", O_RDONLY},
    {ASSAY_LEAF_PIDS_MAX, ASSAY_LEAVES_MEMORY, "pids.max", O_RDWR},
    {ASSAY_LEAF_DIR, ASSAY_LEAVES_MEMORY, ".", O_RDONLY | O_DIRECTORY},
    {ASSAY_LEAF_MEMORY_STAT, ASSAY_LEAVES_MEMORY, "memory.stat", O_RDONLY},
};

static int leaf_send(struct assay_leaves *l, const struct assay_leaf *leaf, int control, struct assay_err *err)
{
    const struct file *files = l->version == 1 ? files_v1 : files_v2;
    size_t n_files = l->version == 1 ? sizeof(files_v1) / sizeof(files_v1[0]) : sizeof(files_v2) / sizeof(files_v2[0]);
    struct assay_warden_leaf msg = {.type = ASSAY_WARDEN_LEAF, .version = (uint32_t)l->version, .id = leaf->id,
                                    .flags = l->version == 1 ? ASSAY_LEAF_REUSABLE : 0};
    int fds[ASSAY_LEAF_FD_COUNT];
    size_t n = 0;
    union {
        char bytes[CMSG_SPACE(sizeof(fds))];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {&msg, sizeof(msg)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *c;
    ssize_t sent = -1;
    int rc = 0;

    for (size_t i = 0; i < n_files && rc == 0; i++) {
        char path[ASSAY_LEAVES_PATH];
        int fd;

        if (!leaf_dir(l, leaf, files[i].controller, path) || !assay_leaves_join(path, path, files[i].name))
            continue;
        fd = open(path, files[i].flags | O_CLOEXEC);
        if (fd >= 0) {
            fds[n++] = fd;
            msg.present |= ASSAY_LEAF_BIT(files[i].bit);
        } else if (errno != ENOENT && errno != EACCES) { /* this kernel does not have it: precision is lost, and reported */
            rc = assay_err_errno(err, ASSAY_E_IO, errno, "cannot open %s", path);
        }
    }
    if (rc == 0 && n == 0)
        rc = assay_err_set(err, ASSAY_E_IO, "nothing of a cgroup leaf could be opened");
    if (rc == 0) {
        memset(&ancillary, 0, sizeof(ancillary));
        mh.msg_control = ancillary.bytes;
        mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&mh);
        assert(c != NULL); /* the buffer has room for one */
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
        do
            sent = sendmsg(control, &mh, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent != (ssize_t)sizeof(msg))
            rc = assay_err_errno(err, errno == EAGAIN ? ASSAY_E_AGAIN : ASSAY_E_IO, errno, "sending a leaf to a warden");
    }
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    return rc;
}

static bool leaf_remove(struct assay_leaves *l, struct assay_leaf *leaf)
{
    bool gone = true;
    char dir[ASSAY_LEAVES_PATH];

    if (leaf->id == 0)
        return true;
    /* pids first: no new task comes up while the others are emptied */
    for (int c = ASSAY_LEAVES_CONTROLLERS; c-- > 0;) {
        if (!leaf_dir(l, leaf, c, dir))
            continue;
        if (rmdir(dir) == 0 || errno == ENOENT) /* mostly empty already */
            continue;
        (void)assay_leaves_kill_inside(dir, l->version); /* rmdir is the judge of it */
        if (rmdir(dir) != 0 && errno != ENOENT)
            gone = false;
    }
    if (gone) {
        l->count--;
        leaf->id = 0;
    }
    return gone;
}

/* ---- a warden's leaves ---- */

#define DYING_MAX (sizeof(((struct assay_leaf_set *)NULL)->dying) / sizeof(struct assay_leaf))

static size_t wanted(const struct assay_leaves *l)
{
    return l->version == 0 ? 0 : l->version == 1 ? 1 : ASSAY_LEAF_AHEAD;
}

/* Gives the leaf up; false when there is no room to remember that it still has something inside. */
static bool retire(struct assay_leaves *l, struct assay_leaf_set *s, struct assay_leaf *leaf)
{
    if (leaf_remove(l, leaf))
        return true;
    for (size_t i = 0; i < DYING_MAX; i++)
        if (s->dying[i].id == 0) {
            s->dying[i] = *leaf;
            leaf->id = 0;
            return true;
        }
    return false;
}

int assay_leaf_set_fill(struct assay_leaves *l, struct assay_leaf_set *s, int control, struct assay_err *err)
{
    for (size_t i = 0; i < wanted(l); i++) {
        struct assay_leaf fresh;
        int rc;

        if (s->held[i].id != 0)
            continue;
        rc = leaf_make(l, &fresh, err);
        if (rc != 0)
            return rc;
        rc = leaf_send(l, &fresh, control, err);
        if (rc != 0) {
            if (!retire(l, s, &fresh)) /* nothing can be in it, so rmdir fails only when the machine is in trouble */
                assay_log(l->host, ASSAY_LOG_ERROR, "leaf_lost", ASSAY_KI("leaf", fresh.id));
            return rc;
        }
        s->held[i] = fresh;
    }
    return 0;
}

bool assay_leaf_set_has(const struct assay_leaf_set *s, uint64_t id)
{
    for (size_t i = 0; i < ASSAY_LEAF_AHEAD; i++)
        if (id != 0 && s->held[i].id == id)
            return true;
    return false;
}

bool assay_leaf_set_spent(struct assay_leaves *l, struct assay_leaf_set *s, uint64_t id)
{
    for (size_t i = 0; i < ASSAY_LEAF_AHEAD; i++)
        if (id != 0 && s->held[i].id == id)
            return retire(l, s, &s->held[i]);
    return true;
}

void assay_leaf_set_sweep(struct assay_leaves *l, struct assay_leaf_set *s)
{
    for (size_t i = 0; i < DYING_MAX; i++)
        (void)leaf_remove(l, &s->dying[i]); /* stays listed until it is empty */
}

bool assay_leaf_set_empty(struct assay_leaves *l, struct assay_leaf_set *s)
{
    bool gone = true;

    for (size_t i = 0; i < ASSAY_LEAF_AHEAD; i++)
        gone = leaf_remove(l, &s->held[i]) && gone;
    for (size_t i = 0; i < DYING_MAX; i++)
        gone = leaf_remove(l, &s->dying[i]) && gone;
    return gone;
}
