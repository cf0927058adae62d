/*
 * The root that boxes see, made once when the warden starts.
 *
 * The warden cuts itself loose from the host (mount, net, ipc and uts namespaces; a user namespace
 * too when it is not root), builds a new root on a tmpfs and pivots into it, so that from then on
 * nothing of the host can be named, neither by a box nor by a mistake of ours:
 *
 *     /root    what a box sees as /: usr read-only from the base, bin lib ... likewise, a small etc,
 *              dev with five nodes, empty proc, tmp, box, warm
 *     /store   tmpfs with the artefacts; a box gets at one only by a read-only bind mount
 *     /shared  artefacts of the machine, when --shared names a directory: the same
 *     /scratch where an init puts its box's tmpfs; /covers, /anchor: see hide() and root_make()
 *
 * The box's root is a directory below the namespace's root and is entered by chroot, on purpose: the
 * kernel refuses a user namespace to a chrooted process (user_namespaces(7), EPERM), which closes
 * the largest door out of a box even where a request brings no seccomp filter.
 *
 * Mounts are few, since every box copies them all: plain files (ld.so.cache, passwd) are copied and
 * not bound, device nodes are made with mknod where that is allowed.
 */
#include "warden.h"

#include "sys.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Opens dst (absolute) below the box's root, following links only inside it. */
static int open_inside(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return sys_openat2(root, path, &how);
}

/* mkdir -p below the box's root; what exists is kept. `leaf_is_file` makes the last part a plain file. */
static int make_target(int root, const char *path, bool leaf_is_file)
{
    char part[4096];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part || path[0] != '/')
        die("%s is not an absolute path", path);
    for (size_t i = 1; i <= n; i++) {
        if (i < n && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        CLEANUP_FD int here = open_inside(root, part, O_PATH);
        if (here >= 0)
            continue;
        const char *slash = strrchr(part, '/');
        char parent[4096];
        size_t up = (size_t)(slash - part);
        memcpy(parent, part, up);
        parent[up] = 0;
        CLEANUP_FD int dir = open_inside(root, up ? parent : "/", O_PATH | O_DIRECTORY);
        if (dir < 0)
            die("%s in the box's root", up ? parent : "/");
        if (leaf_is_file && i == n) {
            CLEANUP_FD int made = openat(dir, slash + 1, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
            if (made < 0)
                die("cannot make %s in the box's root", part);
        } else if (mkdirat(dir, slash + 1, 0755) < 0) {
            die("cannot make %s in the box's root", part);
        }
    }
    int fd = open_inside(root, path, O_PATH);
    if (fd < 0)
        die("%s in the box's root", path);
    return fd;
}

/* A private copy of the mounts at src, all of them read-only. -1 with errno ENOENT when src is missing. */
static int clone_tree(int dir, const char *src, bool devices)
{
    int tree = sys_open_tree(dir, src, OPEN_TREE_CLONE | AT_RECURSIVE);
    if (tree < 0)
        return -1;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | (devices ? 0u : MOUNT_ATTR_NODEV),
                              .propagation = 1 << 18 /* MS_PRIVATE */};
    if (sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr) < 0)
        die("cannot make %s read-only (Linux 5.12 or later is needed)", src);
    return tree;
}

struct tree {
    int fd; /* -1: passed over */
    bool directory;
};

static struct tree take_tree(int dir, const char *src, bool optional, bool devices)
{
    struct stat st;
    struct tree t = {-1, false};
    if (fstatat(dir, src, &st, 0) < 0) {
        if (errno == ENOENT && optional)
            return t;
        die("bind of %s", src);
    }
    t.directory = S_ISDIR(st.st_mode);
    t.fd = clone_tree(dir, src, devices);
    if (t.fd < 0)
        die("bind of %s", src);
    return t;
}

static void place_tree(int root, struct tree *t, const char *dst)
{
    if (t->fd < 0)
        return;
    CLEANUP_FD int target = make_target(root, dst, !t->directory);
    if (sys_move_mount_fd(t->fd, target) < 0)
        die("bind onto %s", dst);
    close_fd(&t->fd);
}

static void write_file(int dir, const char *name, const char *text)
{
    CLEANUP_FD int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        die("cannot write %s", name);
}

static void copy_file(int base, const char *src, int dir, const char *name)
{
    CLEANUP_FD int from = openat(base, src, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return; /* a base without it does without */
    CLEANUP_FD int to = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    char buf[65536];
    ssize_t n;
    while ((n = read(from, buf, sizeof buf)) > 0)
        if (to < 0 || write(to, buf, (size_t)n) != n)
            die("cannot copy %s", src);
}

static void make_dir(int dir, const char *name, mode_t mode)
{
    if (mkdirat(dir, name, mode) < 0 || fchmodat(dir, name, mode, 0) < 0)
        die("cannot make the directory %s", name);
}

static void make_devices(int root, bool may_mknod)
{
    static const struct {
        const char *name;
        unsigned minor_number;
    } device[] = {{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};
    make_dir(root, "dev", 0755);
    CLEANUP_FD int dev = openat(root, "dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dev < 0)
        die("dev");
    for (size_t i = 0; i < sizeof device / sizeof *device; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/dev/%s", device[i].name);
        if (may_mknod) {
            if (mknodat(dev, device[i].name, S_IFCHR | 0666, makedev(1, device[i].minor_number)) < 0 ||
                fchmodat(dev, device[i].name, 0666, 0) < 0)
                die("cannot make %s", path);
        } else {
            struct tree t = take_tree(AT_FDCWD, path, false, true);
            place_tree(root, &t, path);
        }
    }
    make_dir(dev, "shm", 0755);
    if (symlinkat("/proc/self/fd", dev, "fd") < 0 || symlinkat("/proc/self/fd/0", dev, "stdin") < 0 ||
        symlinkat("/proc/self/fd/1", dev, "stdout") < 0 || symlinkat("/proc/self/fd/2", dev, "stderr") < 0)
        die("cannot make the links in dev");
}

static void make_etc(const struct options *o, int base, int root)
{
    char text[512];
    make_dir(root, "etc", 0755);
    CLEANUP_FD int etc = openat(root, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (etc < 0)
        die("etc");
    (void)snprintf(text, sizeof text,
                   "root:x:0:0:root:/root:/bin/sh\nbox:x:%u:%u:box:/box:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
                   o->uid, o->gid);
    write_file(etc, "passwd", text);
    (void)snprintf(text, sizeof text, "root:x:0:\nbox:x:%u:\nnogroup:x:65534:\n", o->gid);
    write_file(etc, "group", text);
    write_file(etc, "hosts", "127.0.0.1 localhost box\n::1 localhost box\n");
    write_file(etc, "nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
    copy_file(base, "etc/ld.so.cache", etc, "ld.so.cache");
}

/* usr, and the top-level names that are links into it (merged /usr) or directories of their own. */
static void make_base(int base, int root, bool usr_needed)
{
    static const char *const top[] = {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"};
    char dst[64], link[4096];
    for (size_t i = 0; i < sizeof top / sizeof *top; i++) {
        struct stat st;
        (void)snprintf(dst, sizeof dst, "/%s", top[i]);
        if (fstatat(base, top[i], &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno != ENOENT || (i == 0 && usr_needed))
                die("%s of the base directory", top[i]);
        } else if (S_ISLNK(st.st_mode)) {
            ssize_t n = readlinkat(base, top[i], link, sizeof link - 1);
            if (n < 0)
                die("%s of the base directory", top[i]);
            link[n] = 0;
            if (symlinkat(link, root, top[i]) < 0)
                die("cannot make the link %s", dst);
        } else {
            struct tree t = take_tree(base, top[i], false, false);
            place_tree(root, &t, dst);
        }
    }
}

/* Covers path with an empty directory or file of our own, read-only in the end like all the rest. */
static void hide(int root, int covers, unsigned number, const char *path)
{
    struct stat st;
    char name[32];
    CLEANUP_FD int target = open_inside(root, path, O_PATH);
    if (target < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return;
        die("cannot hide %s", path);
    }
    (void)snprintf(name, sizeof name, "%u", number);
    if (fstat(target, &st) < 0)
        die("cannot hide %s", path);
    if (S_ISDIR(st.st_mode))
        make_dir(covers, name, 0755);
    else
        write_file(covers, name, "");
    CLEANUP_FD int tree = sys_open_tree(covers, name, OPEN_TREE_CLONE);
    if (tree < 0 || sys_move_mount_fd(tree, target) < 0)
        die("cannot hide %s", path);
}

static bool bound(const struct options *o, const char *dst)
{
    for (size_t i = 0; i < o->n_binds; i++)
        if (strcmp(o->binds[i].dst, dst) == 0)
            return true;
    return false;
}

static int tmpfs_make(unsigned attr, const char *mode, uint64_t bytes, uint64_t inodes)
{
    char size[32], count[32];
    (void)snprintf(size, sizeof size, "%llu", (unsigned long long)bytes);
    (void)snprintf(count, sizeof count, "%llu", (unsigned long long)inodes);
    CLEANUP_FD int fs = sys_fsopen("tmpfs");
    if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "mode", mode) < 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "size", size) < 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", count) < 0 ||
        sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        die("cannot make a tmpfs");
    int mnt = sys_fsmount(fs, attr);
    if (mnt < 0)
        die("cannot mount a tmpfs");
    return mnt;
}

static void write_proc(const char *path, const char *text)
{
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        die("%s", path);
}

/*
 * In an ipc namespace where no object can be made there is nothing to leave behind for the next box,
 * so boxes need none of their own: 0.07 ms of CPU saved on each (the kernel ends ipc namespaces in a worker
 * thread, which would also disturb the box that runs next).
 */
static bool close_ipc(void)
{
    static const char *const knob[][2] = {
        {"/proc/sys/kernel/shmmni", "0"},         {"/proc/sys/kernel/msgmni", "0"},
        {"/proc/sys/kernel/sem", "0 0 0 0"},      {"/proc/sys/fs/mqueue/queues_max", "0"},
    };
    for (size_t i = 0; i < sizeof knob / sizeof *knob; i++) {
        CLEANUP_FD int fd = open(knob[i][0], O_WRONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue; /* a kernel without that kind of object */
        if (fd < 0 || write(fd, knob[i][1], strlen(knob[i][1])) < 0)
            return false;
    }
    return true;
}

static void enter_userns(const struct options *o)
{
    char text[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (syscall(SYS_unshare, CLONE_NEWUSER) < 0)
        die("cannot make a user namespace (is it allowed to ordinary users here?)");
    /* Without setgroups the one line of our own id may be written without privilege (user_namespaces(7)). */
    write_proc("/proc/self/setgroups", "deny");
    (void)snprintf(text, sizeof text, "%u %u 1", o->uid, uid);
    write_proc("/proc/self/uid_map", text);
    (void)snprintf(text, sizeof text, "%u %u 1", o->gid, gid);
    write_proc("/proc/self/gid_map", text);
}

/*
 * Makes all mounts private, so that nothing that is mounted from here on shows up on the host.
 *
 * In a plain chroot (a build root, a rescue system) "/" is no mount and can be neither made private nor
 * pivoted away from. Joining one's own mount namespace puts the process at that namespace's root
 * (setns(2)), and there both can be done; the chroot was no wall to root anyway.
 */
static void make_private(void)
{
    struct mount_attr private = {.propagation = 1 << 18 /* MS_PRIVATE */};
    if (sys_mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private) == 0)
        return;
    int why = errno;
    CLEANUP_FD int self = sys_pidfd_open(getpid());
    if (why != EINVAL || self < 0 || sys_setns(self, CLONE_NEWNS) < 0) {
        errno = why;
        die("cannot make the mounts private (Linux 5.12 or later is needed)");
    }
    if (sys_mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private) < 0)
        die("cannot make the mounts private outside the chroot");
}

void root_make(const struct options *o, struct root_facts *ret)
{
    struct root_facts f = {.userns = o->mode != MODE_NATIVE, .netns = true, .own_uid = o->mode == MODE_NATIVE};
    if (f.userns) {
        write_proc("/proc/self/oom_score_adj", "1000"); /* inherited by every box */
        enter_userns(o);
    }
    if (syscall(SYS_unshare, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        die("cannot make namespaces");
    if (sethostname("box", 3) < 0)
        die("sethostname");
    f.ipc_closed = close_ipc();

    /* Taken before anything moves: base and what is to be bound may lie below mount_at, and all these
     * paths are meant as this process was started. Copies that are attached nowhere yet. */
    CLEANUP_FD int base = open(o->base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (base < 0)
        die("base directory %s", o->base);
    CLEANUP_FD int mount_at = open(o->mount_at, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (mount_at < 0)
        die("%s", o->mount_at);
    struct tree bound_tree[OPTION_LIST_MAX];
    for (size_t i = 0; i < o->n_binds; i++)
        bound_tree[i] = take_tree(AT_FDCWD, o->binds[i].src, o->binds[i].optional, false);
    struct tree shared = {-1, true};
    if (o->shared)
        shared = take_tree(AT_FDCWD, o->shared, true, false);
    make_private();

    CLEANUP_FD int top = tmpfs_make(MOUNT_ATTR_NOSUID, "0755", 8u << 20, 16384);
    if (sys_move_mount_fd(top, mount_at) < 0)
        die("cannot mount on %s", o->mount_at);
    make_dir(top, "root", 0755);
    make_dir(top, "store", 0700);
    make_dir(top, "covers", 0755);
    make_dir(top, "scratch", 0755); /* where an init puts its box's tmpfs (init.c) */
    make_dir(top, "old", 0700);
    CLEANUP_FD int root = openat(top, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int covers = openat(top, "covers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || covers < 0)
        die("cannot open the new root");

    make_base(base, root, o->mode != MODE_DOCKER); /* an image may hold nothing but /bin */
    make_devices(root, !f.userns);
    make_etc(o, base, root);
    make_dir(root, "proc", 0555);
    make_dir(root, "tmp", 0755);
    make_dir(root, "box", 0755);
    make_dir(root, "warm", 0755);
    f.shared = shared.fd >= 0 && shared.directory;
    if (f.shared)
        place_tree(top, &shared, ROOT_SHARED);
    close_fd(&shared.fd);
    unsigned number = 0;
    /* On a host it is what administrators install by hand; in an image it belongs to the image. */
    if (o->mode != MODE_DOCKER && strcmp(o->base, "/") == 0 && !bound(o, "/usr/local"))
        hide(root, covers, number++, "/usr/local");
    for (size_t i = 0; i < o->n_binds; i++)
        place_tree(root, &bound_tree[i], o->binds[i].dst);
    for (size_t i = 0; i < o->n_links; i++) {
        const char *slash = strrchr(o->links[i].dst, '/');
        char parent[4096];
        size_t up = slash ? (size_t)(slash - o->links[i].dst) : 0;
        if (!slash || up >= sizeof parent)
            die("%s is not an absolute path", o->links[i].dst);
        memcpy(parent, o->links[i].dst, up);
        parent[up] = 0;
        CLEANUP_FD int dir = up ? make_target(root, parent, false) : open_inside(root, "/", O_PATH);
        if (dir < 0 || symlinkat(o->links[i].src, dir, slash + 1) < 0)
            die("cannot make the link %s", o->links[i].dst);
    }
    for (size_t i = 0; i < o->n_hides; i++)
        hide(root, covers, number++, o->hides[i]);

    if (f.userns) {
        /* The kernel lets a user namespace mount a proc only where one is fully visible already
         * (mount_namespaces(7)); each init takes this one out of its box's namespace again. */
        make_dir(top, "anchor", 0700);
        CLEANUP_FD int at = openat(top, "anchor", O_PATH | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FD int tree = sys_open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | AT_RECURSIVE);
        if (at < 0 || tree < 0 || sys_move_mount_fd(tree, at) < 0)
            die("cannot keep a proc for the boxes' own");
    }
    CLEANUP_FD int store = tmpfs_make(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, "0700", o->artefact_bytes + (4u << 20),
                                      o->artefact_count * 1024 + 16384);
    CLEANUP_FD int store_at = openat(top, "store", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (store_at < 0 || sys_move_mount_fd(store, store_at) < 0)
        die("cannot mount the artefact store");

    if (fchdir(top) < 0 || sys_pivot_root(".", "old") < 0 || chdir("/") < 0)
        die("cannot change the root");
    if (sys_umount2("/old", MNT_DETACH) < 0)
        die("cannot detach the old root");
    if (unlinkat(AT_FDCWD, "/old", AT_REMOVEDIR) < 0)
        die("cannot remove the old root's place");
    struct mount_attr frozen = {.attr_set = MOUNT_ATTR_RDONLY}, thawed = {.attr_clr = MOUNT_ATTR_RDONLY};
    if (sys_mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &frozen) < 0 ||
        sys_mount_setattr(AT_FDCWD, ROOT_STORE, 0, &thawed) < 0)
        die("cannot make the root read-only");
    *ret = f;
}
