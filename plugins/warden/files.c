/*
 * Files into a box and out of it.  All of it is done by the box's init: before the program exists,
 * and after the last process of the box has been reaped, so nothing races with it.
 *
 * Into: the scratch is empty and ours, the paths are checked (wire.c), the files are made with the
 * box's own user id as the file system's, so that its owner and its quota are right from the start.
 *
 * Out: everything found in the scratch is hostile.  A name is opened beneath the scratch without
 * following any link or mount; what is no regular file with a single name, or is too large, ends the
 * collection, and nothing is kept.  Sizes are taken from the open descriptor and read exactly: a
 * sparse file costs what it claims, and that is bounded first.
 *
 * An artefact's id is the SHA-256 of its encoding (assay/warden_wire.h), which is also what PUT and GET
 * carry: what comes in by PUT is checked, unpacked, and named by what it is, never by what it is said to be.
 */
#include "warden.h"

#include "sys.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

const char *store_dir = ROOT_STORE;
bool mounts_are_links;

/* Makes the directories that lead to path below dir and opens the last of them; *ret_name is the last part. */
static int make_parents(int dir, const char *path, const char **ret_name)
{
    int here = openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *slash;
    while (here >= 0 && (slash = strchr(path, '/'))) {
        char part[256];
        size_t n = (size_t)(slash - path);
        memcpy(part, path, n); /* n <= 255: path_ok */
        part[n] = 0;
        if (mkdirat(here, part, 0755) < 0 && errno != EEXIST) {
            close_fd(&here);
            return -1;
        }
        int next = openat(here, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close_fd(&here);
        here = next;
        path = slash + 1;
    }
    *ret_name = path;
    return here;
}

int files_write(int box, const struct request *q, struct note *why)
{
    const uint8_t *p = q->files;
    for (uint32_t i = 0; i < q->head.n_files; i++) {
        struct request_file f;
        const char *name;
        p = request_file_next(p, &f);
        CLEANUP_FD int dir = make_parents(box, f.path, &name);
        if (dir < 0)
            return note_errno(why, "cannot make the directory of file %u", i);
        CLEANUP_FD int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, f.mode);
        if (fd < 0)
            return note_errno(why, "cannot make file %u", i);
        for (uint64_t done = 0; done < f.size;) {
            ssize_t n = write(fd, f.data + done, (size_t)(f.size - done));
            if (n <= 0)
                return note_errno(why, "cannot write file %u of %llu bytes", i, (unsigned long long)f.size);
            done += (uint64_t)n;
        }
    }
    return 0;
}

/* Shows the scratch's box directory, with what is mounted in it, at a directory of the box's root too. */
static int mount_self(int box, const char *path, struct note *why)
{
    if (mounts_are_links)
        return 0; /* where the request says this path, its argv and env say where the directory is (reduced.c) */
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    CLEANUP_FD int root = open(ROOT_BOX, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int target = root < 0 ? -1 : sys_openat2(root, path, &how);
    if (target < 0)
        return note_errno(why, "the working directory %.100s, which has to be in the box's root", path);
    CLEANUP_FD int tree = sys_open_tree(box, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE);
    if (tree < 0 || sys_move_mount_fd(tree, target) < 0)
        return note_errno(why, "the working directory %.100s", path);
    return 0;
}

int files_mount(int box, const struct request *q, struct note *why)
{
    const uint8_t *p = q->mounts;
    for (uint32_t i = 0; i < q->head.n_mounts; i++) {
        struct request_mount m;
        const char *name;
        char src[STORE_PATH];
        p = request_mount_next(p, &m);
        if (strcmp(m.artefact, ASSAY_WARDEN_SELF) == 0)
            return mount_self(box, m.path, why); /* the last: wire.c */
        bool warm = m.path[0] == '/'; /* there is one such path only: wire.c */
        if (!store_path(m.artefact, src))
            return note_errno(why, "artefact of mount %u", i);
        if (mounts_are_links && warm)
            continue; /* where the request says "/warm", its argv and env say where it is (reduced.c) */
        CLEANUP_FD int dir = make_parents(box, warm ? "warm" : m.path, &name);
        if (mounts_are_links) {
            if (dir < 0 || symlinkat(src, dir, name) < 0)
                return note_errno(why, "cannot make the link of mount %u", i);
            continue;
        }
        if (dir < 0 || (!warm && mkdirat(dir, name, 0755) < 0 && errno != EEXIST))
            return note_errno(why, "cannot make the place of mount %u", i);
        CLEANUP_FD int target = warm ? open(ROOT_BOX ASSAY_WARDEN_WARM, O_PATH | O_DIRECTORY | O_CLOEXEC)
                                     : openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        CLEANUP_FD int tree = sys_open_tree(AT_FDCWD, src, OPEN_TREE_CLONE | AT_SYMLINK_NOFOLLOW);
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
        if (target < 0 || tree < 0 || sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr) < 0 ||
            sys_move_mount_fd(tree, target) < 0)
            return note_errno(why, "cannot mount artefact %u", i);
    }
    return 0;
}

struct found {
    char *path;
    bool executable;
    int64_t size;
};
struct collection {
    int box;
    struct found *file;
    size_t n, room;
    int64_t bytes, cap;
    struct note *why;
};

static int open_hostile(int box, const char *path, uint64_t flags)
{
    /* O_NONBLOCK: the open of a FIFO must not wait for a writer that will never come */
    struct open_how how = {.flags = flags | O_NOFOLLOW | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    return sys_openat2(box, path, &how);
}

static int gather(struct collection *c, const char *path, unsigned depth);

static int gather_dir(struct collection *c, int fd, const char *path, unsigned depth)
{
    if (depth > 64)
        return note_set(c->why, "collect: directories are nested too deeply");
    DIR *d = fdopendir(fd); /* takes fd */
    if (!d) {
        close_fd(&fd);
        return note_errno(c->why, "collect: directory");
    }
    const struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *below = NULL;
        if (asprintf(&below, "%s/%s", path, e->d_name) < 0)
            rc = note_set(c->why, "collect: no memory");
        else if (strlen(below) > ASSAY_WARDEN_PATH_MAX)
            rc = note_set(c->why, "collect: a path is too long");
        else
            rc = gather(c, below, depth + 1);
        free(below);
    }
    (void)closedir(d);
    return rc;
}

static int gather(struct collection *c, const char *path, unsigned depth)
{
    struct stat st;
    /* looked at before it is opened for reading: opening a device can have effects */
    CLEANUP_FD int look = open_hostile(c->box, path, O_PATH);
    if (look < 0 || fstat(look, &st) < 0)
        return note_errno(c->why, "collect: %.64s", path);
    if (S_ISDIR(st.st_mode)) {
        int fd = open_hostile(c->box, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
            return note_errno(c->why, "collect: %.64s", path);
        return gather_dir(c, fd, path, depth);
    }
    if (!S_ISREG(st.st_mode))
        return note_set(c->why, "collect: %.64s is not a regular file", path);
    if (st.st_nlink != 1)
        return note_set(c->why, "collect: %.64s has more than one name", path);
    if (st.st_size > c->cap - c->bytes)
        return note_set(c->why, "collect: %.64s makes it more than %lld bytes", path, (long long)c->cap);
    if (c->n == ASSAY_WARDEN_FILES_MAX)
        return note_set(c->why, "collect: more than %u files", ASSAY_WARDEN_FILES_MAX);
    if (c->n == c->room) {
        size_t room = c->room ? 2 * c->room : 16;
        struct found *grown = reallocarray(c->file, room, sizeof *grown);
        if (!grown)
            return note_set(c->why, "collect: no memory");
        c->file = grown;
        c->room = room;
    }
    char *copy = strdup(path);
    if (!copy)
        return note_set(c->why, "collect: no memory");
    c->file[c->n++] = (struct found){copy, (st.st_mode & 0111) != 0, st.st_size};
    c->bytes += st.st_size;
    return 0;
}

static int by_path(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static int copy_in(struct collection *c, const struct found *f, int fresh, struct sha256 *hash)
{
    static uint8_t block[65536];
    const char *name;
    char size[32];
    CLEANUP_FD int from = open_hostile(c->box, f->path, O_RDONLY);
    if (from < 0)
        return note_errno(c->why, "collect: %.64s", f->path);
    CLEANUP_FD int dir = make_parents(fresh, f->path, &name);
    if (dir < 0)
        return note_errno(c->why, "collect: cannot keep %.64s", f->path);
    CLEANUP_FD int to = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, f->executable ? 0755 : 0644);
    if (to < 0)
        return note_errno(c->why, "collect: cannot keep %.64s", f->path);
    sha256_add(hash, f->path, strlen(f->path) + 1);
    sha256_add(hash, f->executable ? "755" : "644", 4);
    int digits = snprintf(size, sizeof size, "%lld", (long long)f->size);
    sha256_add(hash, size, (size_t)digits + 1);
    for (int64_t left = f->size; left > 0;) {
        size_t want = left < (int64_t)sizeof block ? (size_t)left : sizeof block;
        ssize_t n = read(from, block, want);
        if (n <= 0)
            return note_set(c->why, "collect: %.64s cannot be read", f->path);
        sha256_add(hash, block, (size_t)n);
        if (write(to, block, (size_t)n) != n)
            return note_errno(c->why, "collect: cannot keep %.64s", f->path);
        left -= n;
    }
    return 0;
}

/* The same bytes may be there already: then the older directory stays, boxes may have it mounted. */
static int name_fresh(int store, const char *hex, struct note *why)
{
    if (renameat(store, STORE_FRESH, store, hex) < 0 && errno != ENOTEMPTY && errno != EEXIST)
        return note_errno(why, "the store");
    return 0;
}

static int keep(struct collection *c, char hex[65])
{
    struct sha256 hash;
    CLEANUP_FD int store = open(store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store < 0 || mkdirat(store, STORE_FRESH, 0755) < 0)
        return note_errno(c->why, "collect: the store");
    CLEANUP_FD int fresh = openat(store, STORE_FRESH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fresh < 0)
        return note_errno(c->why, "collect: the store");
    sha256_init(&hash);
    sha256_add(&hash, ASSAY_ARTEFACT_MAGIC, sizeof ASSAY_ARTEFACT_MAGIC - 1);
    for (size_t i = 0; i < c->n; i++)
        if (copy_in(c, &c->file[i], fresh, &hash) < 0)
            return -1;
    sha256_hex(&hash, hex);
    return name_fresh(store, hex, c->why);
}

static void collection_free(struct collection *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->file[i].path);
    free(c->file);
}

int files_collect(int box, const struct request *q, char hex[65], int64_t *bytes, struct note *why)
{
    struct collection c = {.box = box, .cap = q->head.collect_bytes, .why = why};
    const uint8_t *p = q->collect;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < q->head.n_collect; i++) {
        const char *path;
        p = request_string_next(p, &path);
        rc = gather(&c, path, 0);
    }
    if (rc == 0 && c.n > 1) {
        qsort(c.file, c.n, sizeof *c.file, by_path);
        for (size_t i = 1; rc == 0 && i < c.n; i++)
            if (strcmp(c.file[i - 1].path, c.file[i].path) == 0)
                rc = note_set(why, "collect: %.64s is named twice", c.file[i].path);
    }
    if (rc == 0)
        rc = keep(&c, hex);
    *bytes = c.bytes + (int64_t)c.n * 4096; /* the store's tmpfs counts whole pages */
    collection_free(&c);
    return rc;
}

/* ---- encodings from and for the runner ---- */

struct entry {
    const char *path;
    bool executable;
    uint64_t size;
    const uint8_t *data;
};

/* One NUL-terminated piece of at most max bytes, or NULL. */
static const char *piece(const uint8_t **p, size_t *n, size_t max)
{
    const uint8_t *start = *p, *nul = memchr(start, 0, *n < max + 1 ? *n : max + 1);
    if (!nul)
        return NULL;
    *n -= (size_t)(nul - start) + 1;
    *p = nul + 1;
    return (const char *)start;
}

static int entry_next(const uint8_t **p, size_t *n, struct entry *ret)
{
    const char *path = piece(p, n, ASSAY_WARDEN_PATH_MAX), *mode = path ? piece(p, n, 3) : NULL;
    const char *size = mode ? piece(p, n, 19) : NULL;
    if (!size || !path_ok(path) || (strcmp(mode, "755") != 0 && strcmp(mode, "644") != 0) ||
        !parse_u64(size, *n, &ret->size) || (size[0] == '0' && size[1]))
        return -1;
    ret->path = path;
    ret->executable = mode[0] == '7';
    ret->data = *p;
    *p += ret->size;
    *n -= (size_t)ret->size;
    return 0;
}

int files_measure(const uint8_t *p, size_t n, int64_t *bytes, size_t *count, struct note *why)
{
    size_t magic = sizeof ASSAY_ARTEFACT_MAGIC - 1;
    const char *last = NULL;
    *bytes = 0;
    *count = 0;
    if (n < magic || memcmp(p, ASSAY_ARTEFACT_MAGIC, magic) != 0)
        return note_set(why, "an artefact of another kind");
    p += magic;
    n -= magic;
    while (n > 0) {
        struct entry e;
        if (entry_next(&p, &n, &e) < 0)
            return note_set(why, "file %zu of the artefact is malformed", *count);
        if (last && strcmp(last, e.path) >= 0)
            return note_set(why, "file %zu of the artefact is out of order", *count);
        if (++*count > ASSAY_WARDEN_FILES_MAX)
            return note_set(why, "an artefact of more than %u files", ASSAY_WARDEN_FILES_MAX);
        last = e.path;
        *bytes += (int64_t)e.size;
    }
    return 0;
}

int files_unpack(const uint8_t *p, size_t n, char hex[65], struct note *why)
{
    struct sha256 hash;
    CLEANUP_FD int store = open(store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store < 0 || mkdirat(store, STORE_FRESH, 0755) < 0)
        return note_errno(why, "the store");
    CLEANUP_FD int fresh = openat(store, STORE_FRESH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fresh < 0)
        return note_errno(why, "the store");
    sha256_init(&hash);
    sha256_add(&hash, p, n);
    sha256_hex(&hash, hex);
    p += sizeof ASSAY_ARTEFACT_MAGIC - 1;
    n -= sizeof ASSAY_ARTEFACT_MAGIC - 1;
    while (n > 0) {
        struct entry e;
        const char *name;
        if (entry_next(&p, &n, &e) < 0)
            return note_set(why, "a malformed artefact");
        CLEANUP_FD int dir = make_parents(fresh, e.path, &name);
        CLEANUP_FD int to = dir < 0 ? -1
                                    : openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC,
                                             e.executable ? 0755 : 0644);
        if (to < 0)
            return note_errno(why, "cannot keep a file of the artefact");
        for (uint64_t done = 0; done < e.size;) {
            ssize_t k = write(to, e.data + done, (size_t)(e.size - done));
            if (k <= 0)
                return note_errno(why, "cannot keep a file of the artefact");
            done += (uint64_t)k;
        }
    }
    return name_fresh(store, hex, why);
}

static int pack_file(struct collection *c, const struct found *f, int (*give)(void *, const void *, size_t), void *arg)
{
    static uint8_t block[65536];
    char head[ASSAY_WARDEN_PATH_MAX + 64];
    CLEANUP_FD int from = open_hostile(c->box, f->path, O_RDONLY);
    if (from < 0)
        return note_errno(c->why, "the store");
    /* %c with 0: the pieces end in NUL */
    int n = snprintf(head, sizeof head, "%s%c%s%c%lld%c", f->path, 0, f->executable ? "755" : "644", 0, (long long)f->size, 0);
    if (give(arg, head, (size_t)n) < 0)
        return -1;
    for (int64_t left = f->size; left > 0;) {
        ssize_t k = read(from, block, left < (int64_t)sizeof block ? (size_t)left : sizeof block);
        if (k <= 0)
            return note_set(c->why, "the store cannot be read");
        if (give(arg, block, (size_t)k) < 0)
            return -1;
        left -= k;
    }
    return 0;
}

int files_pack(const char *hex, int (*give)(void *arg, const void *p, size_t n), void *arg, struct note *why)
{
    struct collection c = {.cap = INT64_MAX, .why = why};
    CLEANUP_FD int store = open(store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int box = store < 0 ? -1 : openat(store, hex, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = box < 0 ? NULL : fdopendir(fcntl(box, F_DUPFD_CLOEXEC, 0));
    if (!d)
        return note_errno(why, "the store");
    c.box = box;
    const struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = gather(&c, e->d_name, 0);
    (void)closedir(d);
    if (rc == 0 && c.n > 1)
        qsort(c.file, c.n, sizeof *c.file, by_path);
    if (rc == 0)
        rc = give(arg, ASSAY_ARTEFACT_MAGIC, sizeof ASSAY_ARTEFACT_MAGIC - 1);
    for (size_t i = 0; rc == 0 && i < c.n; i++)
        rc = pack_file(&c, &c.file[i], give, arg);
    collection_free(&c);
    return rc;
}
