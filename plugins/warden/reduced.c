/*
 * The reduced box: for places without namespaces (a plain `docker run` of our image, a managed container
 * service), where an operator has asked for it by name.
 *
 * What holds a program here: Landlock (which files it may read and write, whom it may signal, no abstract sockets),
 * a uid of its own where the warden is root, seccomp with a second filter on top (no sockets, no System V
 * ipc, since both reach across boxes here), rlimits, no capabilities, no_new_privs, and the watching loop
 * of init.c.  What is missing beside a real box: it sees the container's own file system as far as the rules
 * go (of the rest, names, sizes and times, which Landlock does not hide), its own entry in /proc and the container's process ids, shares the container's network namespace
 * (and cannot make a socket in it), and its scratch is a directory on the container's disk, bounded per
 * file and not in all.  So this mode opens boxes only with a uid of their own or with Landlock that scopes
 * signals (ABI 6, Linux 6.12): with neither, a program could end the warden.
 *
 *     DIR/assay-reduced-XXXXXX   in mount_at
 *         store/                 artefacts; a box gets at the ones that it mounts
 *         0/ 1/                  by turns: box/ (the working directory) and tmp/ of one box, emptied and not made
 *                                anew, since the warden keeps no right to give files away
 *
 * A request speaks of /box and /tmp; in argv and env those are rewritten to the box's own directories
 * (reduced_map), and a mount is a symbolic link to the artefact.
 *
 * Ending a box.  There is no pid namespace whose end the kernel carries out, so init makes itself a subreaper:
 * whatever a program leaves behind becomes init's child.  Passes of stop-then-kill over the descendants go on until
 * there are none, and RLIMIT_NPROC bounds the race.  (One kill(-1) as the box's uid would be quicker, and would reach
 * the boxes of another server on the same machine that was given the same uids.)  The warden is a subreaper too and sweeps after every box, in case
 * an init was killed.
 *
 * Landlock's numbers are written out: the headers of the systems that we build on are older than the kernels
 * that we run on.
 */
#include "warden.h"

#include "sys.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define LEFT_PREFIX "assay-reduced-"
#define TREE_MAX 4096 /* processes of a box that one look takes in; RLIMIT_NPROC is far below */

/* ---- Landlock: linux/landlock.h of ABI 6 ---- */

struct ruleset_attr {
    uint64_t access_fs, access_net, scoped;
};
struct beneath_attr {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));
enum {
    FS_EXECUTE = 1 << 0, FS_WRITE_FILE = 1 << 1, FS_READ_FILE = 1 << 2, FS_READ_DIR = 1 << 3, FS_REFER = 1 << 13,
    FS_TRUNCATE = 1 << 14, FS_IOCTL_DEV = 1 << 15,
    FS_ABI1 = (1 << 13) - 1, /* the thirteen rights of the first version */
    FS_READ = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
};
enum { NET_BIND_TCP = 1 << 0, NET_CONNECT_TCP = 1 << 1 };
enum { SCOPE_ABSTRACT_UNIX = 1 << 0, SCOPE_SIGNAL = 1 << 1 };
#define RULE_PATH_BENEATH 1
#define CREATE_VERSION 1u
#define ABI_SCOPES 6

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

static struct {
    char dir[PATH_MAX];
    int abi; /* of Landlock; 0: none */
    bool own_uid;
    const struct options *options;
} here;

static uint64_t handled_fs(void)
{
    return FS_ABI1 | (here.abi >= 2 ? FS_REFER : 0u) | (here.abi >= 3 ? FS_TRUNCATE : 0u) | (here.abi >= 5 ? FS_IOCTL_DEV : 0u);
}

static int ruleset_make(void)
{
    struct ruleset_attr attr = {handled_fs(), here.abi >= 4 ? NET_BIND_TCP | NET_CONNECT_TCP : 0u,
                                here.abi >= ABI_SCOPES ? SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL : 0u};
    size_t size = here.abi >= ABI_SCOPES ? 24 : here.abi >= 4 ? 16 : 8;
    return (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
}

/* Allows what is wanted of the file or directory at path; one that is not there needs no rule. */
static int allow(int ruleset, int dir, const char *path, uint64_t wanted)
{
    struct stat st;
    CLEANUP_FD int fd = openat(dir, path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    if (fstat(fd, &st) < 0)
        return -1;
    uint64_t fits = S_ISDIR(st.st_mode) ? handled_fs() : FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV;
    struct beneath_attr rule = {wanted & fits & handled_fs(), fd};
    return (int)syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
}

static bool hidden(const char *path)
{
    const struct options *o = here.options;
    for (size_t i = 0; i < o->n_binds; i++)
        if (strcmp(o->binds[i].dst, path) == 0)
            return false;
    for (size_t i = 0; i < o->n_hides; i++)
        if (strcmp(o->hides[i], path) == 0)
            return true;
    return strcmp(path, "/usr/local") == 0;
}

static const char *const top_dirs[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == 0);
}

bool reduced_hides(const char *path)
{
    const struct options *o = here.options;
    const char *part_end = is_below(path, "/usr") && path[4] ? strchr(path + 5, '/') : NULL;
    char part[PATH_MAX];
    for (size_t i = 0; i < o->n_binds; i++)
        if (is_below(path, o->binds[i].dst))
            return false;
    for (size_t i = 0; i < sizeof top_dirs / sizeof *top_dirs; i++)
        if (is_below(path, top_dirs[i]))
            return false;
    if (!part_end || (size_t)(part_end - path) >= sizeof part)
        return true;
    memcpy(part, path, (size_t)(part_end - path));
    part[part_end - path] = 0;
    return hidden(part);
}

/* A rule cannot be taken back below another, so of /usr each part that is not hidden gets its own. */
static int allow_usr(int ruleset)
{
    DIR *d = opendir("/usr");
    const struct dirent *e;
    int rc = d ? 0 : -1;
    while (rc == 0 && (e = readdir(d))) {
        char path[sizeof e->d_name + 8];
        (void)snprintf(path, sizeof path, "/usr/%s", e->d_name);
        if (e->d_name[0] != '.' && !hidden(path))
            rc = allow(ruleset, AT_FDCWD, path, FS_READ);
    }
    if (d)
        (void)closedir(d);
    return rc;
}

int reduced_ruleset(unsigned turn, const struct request *q, struct note *why)
{
    static const char *const etc[] = {"/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ld.so.cache",
                                      "/etc/localtime"};
    static const char *const device[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    const struct options *o = here.options;
    char path[STORE_PATH];
    if (here.abi == 0)
        return -1;
    int set = ruleset_make(), rc = set < 0 ? -1 : allow_usr(set);
    for (size_t i = 0; rc == 0 && i < sizeof top_dirs / sizeof *top_dirs; i++)
        rc = allow(set, AT_FDCWD, top_dirs[i], FS_READ);
    for (size_t i = 0; rc == 0 && i < sizeof etc / sizeof *etc; i++)
        rc = allow(set, AT_FDCWD, etc[i], FS_READ_FILE);
    for (size_t i = 0; rc == 0 && i < sizeof device / sizeof *device; i++)
        rc = allow(set, AT_FDCWD, device[i], FS_READ_FILE | FS_WRITE_FILE);
    for (size_t i = 0; rc == 0 && i < o->n_binds; i++)
        rc = allow(set, AT_FDCWD, o->binds[i].src, FS_READ);
    (void)snprintf(path, sizeof path, "%s/%u", here.dir, turn);
    CLEANUP_FD int mine = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rc == 0)
        rc = mine < 0 ? -1 : allow(set, mine, "box", handled_fs() & ~(uint64_t)FS_IOCTL_DEV);
    if (rc == 0)
        rc = allow(set, mine, "tmp", handled_fs() & ~(uint64_t)FS_IOCTL_DEV);
    const uint8_t *p = q->mounts;
    for (uint32_t i = 0; rc == 0 && i < q->head.n_mounts; i++) {
        struct request_mount m;
        p = request_mount_next(p, &m);
        if (strcmp(m.artefact, ASSAY_WARDEN_SELF) == 0)
            break; /* the last */
        rc = store_path(m.artefact, path) ? allow(set, AT_FDCWD, path, FS_READ) : -1;
    }
    if (rc == 0)
        return set;
    (void)note_errno(why, "landlock");
    close_fd(&set);
    return -2;
}

int reduced_confine(int ruleset)
{
    if (ruleset < 0)
        return 0;
    /* its own entry only, and that of its threads: the other processes' are none of its business */
    if (allow(ruleset, AT_FDCWD, "/proc/self", FS_READ_FILE | FS_READ_DIR) < 0)
        return -1;
    return (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
}

/* ---- directories ---- */

/*
 * Empties a directory of the box's user, whatever a program made of it, as that user (so that what it closed
 * can be opened again).  No depth is walked into: a directory below a directory is first moved up beside it.
 */
static void empty(int top)
{
    /* what cannot be opened or moved after its chmod shows at once, as no progress */
    unsigned long counter = 0;
    for (bool progress = true; progress;) {
        char found[NAME_MAX + 1] = "";
        const struct dirent *e;
        (void)fchmod(top, 0700);
        DIR *d = fdopendir(openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        progress = false;
        while (d && (e = readdir(d))) {
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            if (unlinkat(top, e->d_name, 0) == 0 || unlinkat(top, e->d_name, AT_REMOVEDIR) == 0)
                progress = true;
            else if (!found[0])
                memcpy(found, e->d_name, strlen(e->d_name) + 1);
        }
        if (d)
            (void)closedir(d);
        if (!found[0])
            continue; /* and look again: entries may be passed over while others go */
        if (fchmodat(top, found, 0700, 0) < 0)
            continue;
        CLEANUP_FD int sub = openat(top, found, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        d = sub < 0 ? NULL : fdopendir(openat(sub, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        while (d && (e = readdir(d))) {
            char name[48];
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            if (unlinkat(sub, e->d_name, 0) == 0 || unlinkat(sub, e->d_name, AT_REMOVEDIR) == 0) {
                progress = true;
                continue;
            }
            (void)snprintf(name, sizeof name, ".up%lu", counter++);
            /* a directory that cannot be written cannot be moved either: its ".." would change */
            progress = (fchmodat(sub, e->d_name, 0700, 0) == 0 && renameat(sub, e->d_name, top, name) == 0) || progress;
        }
        if (d)
            (void)closedir(d);
        progress = unlinkat(top, found, AT_REMOVEDIR) == 0 || progress;
    }
}

static int open_part(unsigned turn, const char *part)
{
    char path[PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/%u/%s", here.dir, turn, part);
    /* the last box may have closed it; its parent is ours, so this is no link to elsewhere */
    (void)!chmod(path, 0755);
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

void reduced_clear(unsigned turn)
{
    (void)setfsgid(here.options->gid);
    (void)setfsuid(here.options->uid);
    CLEANUP_FD int box = open_part(turn, "box");
    CLEANUP_FD int tmp = open_part(turn, "tmp");
    if (box >= 0)
        empty(box);
    if (tmp >= 0)
        empty(tmp);
    if (box >= 0)
        (void)fchmod(box, 0755);
    (void)setfsuid(geteuid());
    (void)setfsgid(getegid());
}

int reduced_scratch(unsigned turn, struct note *why)
{
    reduced_clear(turn);
    int box = open_part(turn, "box");
    return box < 0 ? note_errno(why, "scratch") : box;
}

/* The value after a name and "=", or the whole word; NULL when it does not begin with a path of the box. */
static const char *box_path(const char *word, const char *dir)
{
    size_t n = strlen(dir);
    const char *eq = strchr(word, '=');
    const char *at = word[0] == '/' || !eq ? word : eq + 1;
    return strncmp(at, dir, n) == 0 && (at[n] == 0 || at[n] == '/') ? at : NULL;
}

char **reduced_map(unsigned turn, const struct request *q, char *const *words)
{
    char box[PATH_MAX + 32], tmp[PATH_MAX + 32], warm[STORE_PATH] = "";
    const char *workdir = request_workdir(q);
    const struct {
        const char *from, *to;
    } place[] = {{workdir ? workdir : "/box", box}, {"/box", box}, {"/tmp", tmp}, {ASSAY_WARDEN_WARM, warm}};
    const uint8_t *p = q->mounts;
    size_t n = 0;
    (void)snprintf(box, sizeof box, "%s/%u/box", here.dir, turn);
    (void)snprintf(tmp, sizeof tmp, "%s/%u/tmp", here.dir, turn);
    for (uint32_t i = 0; i < q->head.n_mounts; i++) {
        struct request_mount m;
        p = request_mount_next(p, &m);
        if (strcmp(m.path, ASSAY_WARDEN_WARM) == 0 && !store_path(m.artefact, warm))
            warm[0] = 0;
    }
    while (words[n])
        n++;
    char **mapped = calloc(n + 1, sizeof *mapped);
    for (size_t i = 0; mapped && i < n; i++) {
        mapped[i] = words[i];
        for (size_t k = 0; k < sizeof place / sizeof *place; k++) {
            const char *at = place[k].to[0] ? box_path(words[i], place[k].from) : NULL;
            if (!at)
                continue;
            if (asprintf(&mapped[i], "%.*s%s%s", (int)(at - words[i]), words[i], place[k].to, at + strlen(place[k].from)) < 0)
                return NULL;
            break;
        }
    }
    return mapped;
}

/* ---- processes ---- */

struct process {
    pid_t pid, parent;
};

/* All processes that this one can see. Names may hold anything, so fields are counted from the last ')'. */
static size_t look(struct process *list, size_t room)
{
    DIR *d = opendir("/proc");
    const struct dirent *e;
    size_t n = 0;
    if (!d)
        return 0;
    while (n < room && (e = readdir(d))) {
        char path[300], text[512];
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        (void)snprintf(path, sizeof path, "%s/stat", e->d_name);
        CLEANUP_FD int fd = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (got <= 0)
            continue;
        text[got] = 0;
        const char *p = strrchr(text, ')');
        if (p && strlen(p) > 4)
            list[n++] = (struct process){(pid_t)strtol(e->d_name, NULL, 10), (pid_t)strtol(p + 4, NULL, 10)};
    }
    (void)closedir(d);
    return n;
}

size_t reduced_tree(pid_t root, pid_t *out, size_t room)
{
    static struct process all[4 * TREE_MAX];
    size_t n = look(all, sizeof all / sizeof *all), found = 0;
    bool grew = true;
    while (grew) { /* children before parents, too: the list has no order */
        grew = false;
        for (size_t i = 0; i < n; i++) {
            bool ours = all[i].parent == root;
            for (size_t k = 0; k < found && !ours; k++)
                ours = all[i].parent == out[k];
            if (!ours || all[i].pid == 0 || found == room)
                continue;
            out[found++] = all[i].pid;
            all[i].pid = all[i].parent = 0; /* taken */
            grew = true;
        }
    }
    return found;
}

void reduced_kill(pid_t root, pid_t except)
{
    static pid_t tree[TREE_MAX];
    size_t n = reduced_tree(root, tree, TREE_MAX);
    for (size_t i = 0; i < n; i++)
        if (tree[i] != except)
            (void)kill(tree[i], SIGSTOP);
    n = reduced_tree(root, tree, TREE_MAX);
    for (size_t i = 0; i < n; i++)
        if (tree[i] != except)
            (void)kill(tree[i], SIGKILL);
}

void reduced_sweep(pid_t except)
{
    static pid_t tree[TREE_MAX];
    pid_t self = getpid();
    for (int pass = 0; pass < 100; pass++) {
        size_t n = reduced_tree(self, tree, TREE_MAX), left = 0;
        for (size_t i = 0; i < n; i++)
            left += tree[i] != except;
        if (left == 0)
            return;
        reduced_kill(self, except);
        for (size_t i = 0; i < n; i++)
            if (tree[i] != except)
                (void)waitpid(tree[i], NULL, __WALL | WNOHANG);
        struct timespec pause = {0, 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

int64_t reduced_tasks(void)
{
    int64_t n = 0;
    DIR *d = here.own_uid ? NULL : opendir("/proc");
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        char path[300];
        struct stat st;
        (void)snprintf(path, sizeof path, "%s/task", e->d_name);
        if (isdigit((unsigned char)e->d_name[0]) && strtol(e->d_name, NULL, 10) != getpid() && fstatat(dirfd(d), path, &st, 0) == 0 && st.st_uid == geteuid())
            n += (int64_t)st.st_nlink - 2; /* a directory for each task */
    }
    if (d)
        (void)closedir(d);
    return n;
}

/* ---- start and end of the warden ---- */

/* uid -1: stays ours. */
static void make(const char *name, mode_t mode, uid_t uid)
{
    char path[PATH_MAX + 16];
    (void)snprintf(path, sizeof path, "%s/%s", here.dir, name);
    if (mkdir(path, mode) < 0 || (here.own_uid && chown(path, uid, here.options->gid) < 0) || chmod(path, mode) < 0)
        die("%s", path);
}

/* At exit; the processes of boxes leave by _exit. */
static void remove_all(void)
{
    static const char *const part[] = {"0/box", "0/tmp", "0", "1/box", "1/tmp", "1"};
    CLEANUP_FD int dir = open(here.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    reduced_clear(0);
    reduced_clear(1);
    for (size_t i = 0; dir >= 0 && i < sizeof part / sizeof *part; i++)
        (void)unlinkat(dir, part[i], AT_REMOVEDIR);
    if (dir >= 0)
        tree_remove(dir, "store"); /* ours: as deep as a collection may be */
    (void)rmdir(here.dir);
}

static void end_stream(int signal)
{
    (void)signal;
    (void)shutdown(ASSAY_WARDEN_STREAM_FD, SHUT_RDWR);
}

/* What wardens left that were killed; a driver gives each of its places to one warden, and one user, at a time. */
static void clear_leftovers(const struct options *o)
{
    DIR *d = opendir(o->mount_at);
    const struct dirent *e;
    while (strcmp(o->mount_at, "/tmp") != 0 && d && (e = readdir(d))) {
        if (strncmp(e->d_name, LEFT_PREFIX, sizeof LEFT_PREFIX - 1) == 0 &&
            snprintf(here.dir, sizeof here.dir, "%s/%s", o->mount_at, e->d_name) < (int)sizeof here.dir)
            remove_all();
    }
    if (d)
        (void)closedir(d);
}

void reduced_make(struct options *o, struct root_facts *ret)
{
    static char store[PATH_MAX + 16];
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    here.options = o;
    here.abi = abi < 0 ? 0 : (int)abi;
    here.own_uid = geteuid() == 0;
    errno = 0;
    if (strcmp(o->base, "/") != 0)
        die("a reduced box has no root of its own: --base is not for it");
    if (o->n_links > 0)
        die("a reduced box has no root of its own: --link is not for it");
    for (size_t i = 0; i < o->n_binds; i++)
        if (strcmp(o->binds[i].src, o->binds[i].dst) != 0)
            die("a reduced box sees %s where it is, not at %s", o->binds[i].src, o->binds[i].dst);
    if (!here.own_uid && here.abi < ABI_SCOPES)
        die("a reduced box needs a user of its own (start as root) or Landlock with signal scopes (Linux 6.12); "
            "this kernel's Landlock is version %d",
            here.abi);
    if (!here.own_uid) {
        o->uid = geteuid();
        o->gid = getegid();
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        die("prctl");
    clear_leftovers(o);
    /* a driver ends us by this signal, and what follows is the orderly end of a stream */
    struct sigaction told = {.sa_handler = end_stream};
    if (sigaction(SIGTERM, &told, NULL) < 0)
        die("sigaction");
    if (snprintf(here.dir, sizeof here.dir, "%s/" LEFT_PREFIX "XXXXXX", o->mount_at) >= (int)sizeof here.dir)
        die("%s is too long", o->mount_at);
    if (!mkdtemp(here.dir) || chmod(here.dir, 0711) < 0)
        die("%s", here.dir);
    if (atexit(remove_all) != 0)
        die("no memory");
    /* for the group alone: what another warden's box cannot even walk into */
    make("store", 0710, (uid_t)-1);
    make("0", 0710, (uid_t)-1);
    make("1", 0710, (uid_t)-1);
    make("0/box", 0755, o->uid);
    make("1/box", 0755, o->uid);
    make("0/tmp", 0700, o->uid);
    make("1/tmp", 0700, o->uid);
    (void)snprintf(store, sizeof store, "%s/store", here.dir);
    store_dir = store;
    /* like the host's: nothing of this can be shut away here */
    CLEANUP_FD int adj = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (adj >= 0 && write(adj, "1000", 4) != 4)
        errno = 0; /* a container may forbid it: then the kernel chooses by size, which is the program mostly */
    mounts_are_links = true;
    *ret = (struct root_facts){.ipc_closed = true, .own_uid = here.own_uid, .landlock = here.abi > 0};
}
