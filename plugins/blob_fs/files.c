/*
 * Blobs as files: durable, atomic, and never through a link.
 *
 * put writes a file in the temporary folder, fsyncs it, renames it to its place and fsyncs the
 * folder it went to: a reader sees a whole blob or none, and what put has answered survives a power
 * cut.  A content-addressed blob that is already there is compared and left alone; its bytes were
 * synced before its name appeared, but whether the name is on disk nobody can tell, so its folder
 * is synced all the same (free when there is nothing to write).  If its bytes differ, the disk has
 * rotted, and the good bytes that the caller holds take its place.
 *
 * Every folder and file is opened relative to its parent with O_NOFOLLOW, so a link that somebody
 * puts below the root leads nowhere.  The 256 folders of sha256/ are made at start, synced once;
 * folders of other names are synced on each put, since the thread that made one may not have got
 * that far yet.  What a crash leaves in the temporary folder is removed at a later start, when it
 * is an hour old: another process may be working there.
 *
 * A failed fsync is final for that file: it is removed and written afresh at the next try.
 * Thread-safe: nothing is kept but two descriptors.
 */
#include "local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define TMP_OLD_S 3600
#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* read-only, or synced before: nothing is left to fail */
    *fd = -1;
}
#define CLEANUP_FD __attribute__((cleanup(close_fd)))

static struct bf_store *checked(void *self)
{
    struct bf_store *s = self;
    if (!s || s->magic != BF_MAGIC)
        __builtin_trap();
    return s;
}

static int sys_error(struct assay_err *err, int e, const char *what, const struct bf_place *p)
{
    int code = ASSAY_E_IO;
    if (e == ENOSPC || e == EDQUOT)
        code = ASSAY_E_FULL;
    else if (e == ENOENT)
        code = ASSAY_E_NOT_FOUND;
    else if (e == EMFILE || e == ENFILE)
        code = ASSAY_E_BUSY;
    else if (e == ENOMEM)
        code = ASSAY_E_NOMEM;
    return assay_err_errno(err, code, e, "%s blob %s", what, p ? p->text + p->part[p->depth - 1] : "folder");
}

/* The folder of a place; with make, folders that are missing are made and their parents synced. */
static int open_folder(struct bf_store *s, const struct bf_place *p, bool make, int *out, struct assay_err *err)
{
    CLEANUP_FD int at = fcntl(s->root_fd, F_DUPFD_CLOEXEC, 0);
    if (at < 0)
        return sys_error(err, errno, "opening the folder of", p);
    for (unsigned i = 0; i + 1 < p->depth; i++) {
        const char *part = p->text + p->part[i];
        if (make && mkdirat(at, part, 0700) != 0 && errno != EEXIST)
            return sys_error(err, errno, "making a folder of", p);
        if (make && fsync(at) != 0)
            return sys_error(err, errno, "syncing a folder of", p);
        int next = openat(at, part, OPEN_DIR);
        if (next < 0)
            return sys_error(err, errno, "opening the folder of", p);
        close_fd(&at);
        at = next;
    }
    *out = at;
    at = -1;
    return 0;
}

static const char *leaf(const struct bf_place *p)
{
    return p->text + p->part[p->depth - 1];
}

/* Opens a blob's file; anything but a regular file is not ours. O_NONBLOCK: a fifo must not hang us. */
static int open_file(int folder, const struct bf_place *p, int *out, int64_t *size, struct assay_err *err)
{
    CLEANUP_FD int fd = openat(folder, leaf(p), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat sb;
    if (fd < 0 || fstat(fd, &sb) != 0)
        return sys_error(err, errno, "opening", p);
    if (!S_ISREG(sb.st_mode))
        return assay_err_set(err, ASSAY_E_IO, "blob %s is not a regular file", leaf(p));
    *size = sb.st_size;
    *out = fd;
    fd = -1;
    return 0;
}

static int write_all(int fd, struct assay_str b)
{
    while (b.n > 0) {
        ssize_t n = write(fd, b.p, b.n > ((size_t)1 << 30) ? (size_t)1 << 30 : b.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return EIO;
        b.p += n;
        b.n -= (size_t)n;
    }
    return 0;
}

/* Reads exactly n bytes; EIO when there are fewer. */
static int read_all(int fd, char *p, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, p, n > ((size_t)1 << 30) ? (size_t)1 << 30 : n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            return EIO;
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

static bool same_bytes(int folder, const struct bf_place *p, struct assay_str bytes)
{
    CLEANUP_FD int fd = -1;
    int64_t size;
    if (open_file(folder, p, &fd, &size, NULL) != 0 || size != (int64_t)bytes.n)
        return false;
    char part[65536];
    for (size_t done = 0; done < bytes.n;) {
        size_t n = bytes.n - done < sizeof part ? bytes.n - done : sizeof part;
        if (read_all(fd, part, n) != 0 || memcmp(part, bytes.p + done, n) != 0)
            return false;
        done += n;
    }
    return true;
}

int bf_put(void *self, struct assay_str name, struct assay_str bytes, struct assay_err *err)
{
    struct bf_store *s = checked(self);
    struct bf_place p;
    int st = bf_place(name, &p, err);
    if (st != 0)
        return st;
    if (p.hashed) {
        char hex[ASSAY_SHA256_HEX];
        assay_sha256_hex(bytes, hex);
        if (strcmp(hex, leaf(&p)) != 0)
            return assay_err_set(err, ASSAY_E_INVALID, "blob %s does not hash to its name", leaf(&p));
    }
    CLEANUP_FD int folder = -1;
    st = open_folder(s, &p, !p.hashed, &folder, err);
    if (st != 0)
        return st;
    if (p.hashed) {
        if (same_bytes(folder, &p, bytes)) {
            if (fsync(folder) != 0)
                return sys_error(err, errno, "syncing the folder of", &p);
            return 0;
        }
        if (faccessat(folder, leaf(&p), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            assay_log(s->host, ASSAY_LOG_WARN, "blob_mended", ASSAY_KZ("name", leaf(&p)));
    }
    char tmp[40];
    assay_random_hex(tmp, 16);
    CLEANUP_FD int fd = openat(s->tmp_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return sys_error(err, errno, "making", &p);
    const char *step = "writing";
    int e = write_all(fd, bytes);
    if (e == 0) {
        step = "syncing";
        e = fsync(fd) != 0 ? errno : 0;
    }
    if (e == 0) {
        step = "naming";
        e = renameat(s->tmp_fd, tmp, folder, leaf(&p)) != 0 ? errno : 0;
    }
    if (e != 0) {
        (void)unlinkat(s->tmp_fd, tmp, 0); /* else it goes at a later start */
        st = sys_error(err, e, step, &p);
        return st == ASSAY_E_NOT_FOUND ? assay_err_set(err, ASSAY_E_IO, "the blob folder %s has gone", s->root) : st;
    }
    if (fsync(folder) != 0)
        return sys_error(err, errno, "syncing the folder of", &p);
    return 0;
}

int bf_get(void *self, struct assay_str name, size_t max, struct assay_arena *arena, struct assay_str *out,
           struct assay_err *err)
{
    struct bf_store *s = checked(self);
    struct bf_place p;
    int64_t size = 0;
    CLEANUP_FD int folder = -1;
    CLEANUP_FD int fd = -1;
    int st = bf_place(name, &p, err);
    if (st == 0)
        st = open_folder(s, &p, false, &folder, err);
    if (st == 0)
        st = open_file(folder, &p, &fd, &size, err);
    if (st != 0)
        return st;
    if ((uint64_t)size > max)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "blob %s has %lld bytes, over %zu", leaf(&p), (long long)size, max);
    struct assay_str bytes = ASSAY_STR("");
    if (size > 0) {
        char *to = assay_arena_alloc(arena, (size_t)size + 1);
        if (!to)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for blob %s of %lld bytes", leaf(&p), (long long)size);
        int e = read_all(fd, to, (size_t)size);
        if (e != 0)
            return sys_error(err, e, "reading", &p);
        bytes = (struct assay_str){to, (size_t)size};
    }
    if (p.hashed) {
        char hex[ASSAY_SHA256_HEX];
        assay_sha256_hex(bytes, hex);
        if (strcmp(hex, leaf(&p)) != 0) {
            assay_log(s->host, ASSAY_LOG_ERROR, "blob_damaged", ASSAY_KZ("name", leaf(&p)));
            return assay_err_set(err, ASSAY_E_CORRUPT, "blob %s no longer hashes to its name", leaf(&p));
        }
    }
    *out = bytes;
    return 0;
}

int bf_stat(void *self, struct assay_str name, int64_t *bytes, struct assay_err *err)
{
    struct bf_store *s = checked(self);
    struct bf_place p;
    int64_t size = 0;
    CLEANUP_FD int folder = -1;
    CLEANUP_FD int fd = -1;
    int st = bf_place(name, &p, err);
    if (st == 0)
        st = open_folder(s, &p, false, &folder, err);
    if (st == 0)
        st = open_file(folder, &p, &fd, &size, err);
    if (st == 0)
        *bytes = size;
    return st;
}

int bf_del(void *self, struct assay_str name, struct assay_err *err)
{
    struct bf_store *s = checked(self);
    struct bf_place p;
    CLEANUP_FD int folder = -1;
    int st = bf_place(name, &p, err);
    if (st == 0)
        st = open_folder(s, &p, false, &folder, err);
    if (st == ASSAY_E_NOT_FOUND)
        return 0;
    if (st == 0 && unlinkat(folder, leaf(&p), 0) != 0 && errno != ENOENT)
        st = sys_error(err, errno, "removing", &p);
    /* so that a secret somebody wanted gone does not come back with the power */
    if (st == 0 && fsync(folder) != 0)
        st = sys_error(err, errno, "syncing the folder of", &p);
    return st;
}

int bf_health(void *self, struct assay_err *err)
{
    struct bf_store *s = checked(self);
    struct statvfs v;
    struct stat sb;
    if (fstatvfs(s->root_fd, &v) != 0 || fstat(s->root_fd, &sb) != 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "the blob folder %s", s->root);
    if (sb.st_nlink == 0)
        return assay_err_set(err, ASSAY_E_IO, "the blob folder %s has been removed", s->root);
    if (v.f_flag & ST_RDONLY)
        return assay_err_set(err, ASSAY_E_IO, "the blob folder %s is read-only", s->root);
    if (v.f_bavail == 0 || (v.f_files > 0 && v.f_favail == 0))
        return assay_err_set(err, ASSAY_E_FULL, "no room is left for blobs in %s", s->root);
    return 0;
}

static void sweep(struct bf_store *s)
{
    int fd = openat(s->root_fd, BF_TMP_FOLDER, OPEN_DIR);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        close_fd(&fd);
        return; /* litter is all that stays */
    }
    struct dirent *e;
    while ((e = readdir(d)) != NULL) {
        struct stat sb;
        if (fstatat(s->tmp_fd, e->d_name, &sb, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(sb.st_mode) &&
            sb.st_mtime < time(NULL) - TMP_OLD_S)
            (void)unlinkat(s->tmp_fd, e->d_name, 0);
    }
    (void)closedir(d);
}

int bf_open(struct bf_store *s, struct assay_err *err)
{
    if (mkdir(s->root, 0700) != 0 && errno != EEXIST)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "making the blob folder %s", s->root);
    /* the root itself may be a link: that is the operator's choice */
    s->root_fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd < 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "opening the blob folder %s", s->root);
    static const char digits[] = "0123456789abcdef";
    const char *step = BF_TMP_FOLDER;
    CLEANUP_FD int up = openat(s->root_fd, "..", OPEN_DIR);
    CLEANUP_FD int hashed = -1;
    bool ok = (mkdirat(s->root_fd, BF_TMP_FOLDER, 0700) == 0 || errno == EEXIST) &&
              (s->tmp_fd = openat(s->root_fd, BF_TMP_FOLDER, OPEN_DIR)) >= 0;
    if (ok) {
        step = "sha256";
        ok = (mkdirat(s->root_fd, "sha256", 0700) == 0 || errno == EEXIST) &&
             (hashed = openat(s->root_fd, "sha256", OPEN_DIR)) >= 0;
    }
    for (int i = 0; ok && i < 256; i++) {
        char two[3] = {digits[i >> 4], digits[i & 15], '\0'};
        ok = mkdirat(hashed, two, 0700) == 0 || errno == EEXIST;
    }
    /* the parent of the root may not be ours to open; then its owner made the root, not we */
    if (ok)
        ok = fsync(hashed) == 0 && fsync(s->root_fd) == 0 && (up < 0 || fsync(up) == 0);
    if (!ok)
        return assay_err_errno(err, errno == ENOSPC || errno == EDQUOT ? ASSAY_E_FULL : ASSAY_E_CONFIG, errno,
                               "preparing %s/%s", s->root, step);
    sweep(s);
    return 0;
}

void bf_close(struct bf_store *s)
{
    close_fd(&s->root_fd);
    close_fd(&s->tmp_fd);
}
