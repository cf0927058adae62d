/*
 * All blobs into a folder of the same shape, and back.
 *
 * Blobs are whole whenever they have a name, and those named by their hash never change, so they are copied beside
 * a running server without a lock.  A blob that goes while it is looked at was wanted by nobody any more.  Others may be
 * written anew under the same name: they are copied again when time or size say so.
 *
 * Each level is read by a descriptor of its own, without following links, as deep as a name may be.
 */
#include "local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)

struct trip {
    bool back; /* a restore: what lies in the backup goes before what is there */
    struct assay_copy_count *count;
    int64_t damaged;
    char example[80];
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}
#define CLEANUP_FD __attribute__((cleanup(close_fd)))

static int io_error(struct assay_err *err, const char *what, const char *name)
{
    int e = errno;
    return assay_err_errno(err, e == ENOSPC || e == EDQUOT ? ASSAY_E_FULL : ASSAY_E_IO, e, "%s %s", what, name);
}

static bool same(int from, int to, const char *name)
{
    struct stat a, b;
    return fstatat(from, name, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstatat(to, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_size == b.st_size &&
           a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

static int one(struct trip *t, int from, int to, const char *name, bool hashed, struct assay_err *err)
{
    char hex[ASSAY_SHA256_HEX];
    struct assay_copy_count was = *t->count;
    if (faccessat(to, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!t->back && (hashed || same(from, to, name)))
            return 0;
        if (unlinkat(to, name, 0) != 0)
            return io_error(err, "replacing", name);
    }
    int st = assay_file_copy(from, name, to, name, hex, t->count, err);
    if (st == ASSAY_E_NOT_FOUND && !t->back)
        return 0;
    if (st == 0 && hashed && strcmp(hex, name) != 0) {
        *t->count = was;
        if (t->damaged++ == 0)
            (void)snprintf(t->example, sizeof t->example, "%.70s", name);
        if (unlinkat(to, name, 0) != 0)
            return io_error(err, "removing", name);
    }
    return st;
}

static int level(struct trip *t, int from, int to, unsigned depth, bool hashed, struct assay_err *err)
{
    int again = openat(from, ".", OPEN_DIR);
    DIR *d = again >= 0 ? fdopendir(again) : NULL;
    if (d == NULL) {
        close_fd(&again);
        return io_error(err, "reading a folder of", "blobs");
    }
    int st = 0;
    struct dirent *e;
    errno = 0;
    while (st == 0 && (e = readdir(d)) != NULL) {
        struct stat sb;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || (depth == 0 && strcmp(e->d_name, BF_TMP_FOLDER) == 0))
            continue;
        if (fstatat(from, e->d_name, &sb, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno != ENOENT)
                st = io_error(err, "looking at", e->d_name);
        } else if (S_ISREG(sb.st_mode)) {
            st = one(t, from, to, e->d_name, hashed && depth == 2, err);
        } else if (S_ISDIR(sb.st_mode) && depth < BF_DEPTH_MAX) {
            struct stat above;
            CLEANUP_FD int in = openat(from, e->d_name, OPEN_DIR);
            bool made = mkdirat(to, e->d_name, 0700) == 0;
            CLEANUP_FD int out = made || errno == EEXIST ? openat(to, e->d_name, OPEN_DIR) : -1;
            if (in < 0 || out < 0 || (made && geteuid() == 0 && (fstat(to, &above) != 0 || fchown(out, above.st_uid, above.st_gid) != 0)))
                st = io_error(err, "making the folder", e->d_name);
            else
                st = level(t, in, out, depth + 1, depth == 0 ? strcmp(e->d_name, "sha256") == 0 : hashed, err);
        }
        errno = 0;
    }
    if (st == 0 && errno != 0)
        st = io_error(err, "reading a folder of", "blobs");
    (void)closedir(d);
    return st;
}

static int travel(const char *from, const char *to, bool back, struct assay_copy_count *count, struct assay_err *err)
{
    struct trip t = {.back = back, .count = count};
    CLEANUP_FD int in = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int out = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (in < 0 || out < 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "opening the folder %s", in < 0 ? from : to);
    int st = level(&t, in, out, 0, false, err);
    if (st == 0 && syncfs(out) != 0)
        st = io_error(err, "syncing", to);
    if (st == 0 && t.damaged > 0)
        st = assay_err_set(err, ASSAY_E_CORRUPT, "%lld blob%s in %s no longer hash%s to %s name, such as %s; all others have been copied",
                           (long long)t.damaged, t.damaged == 1 ? "" : "s", from, t.damaged == 1 ? "es" : "", t.damaged == 1 ? "its" : "their",
                           t.example);
    return st;
}

/* As root it is given to whom the folder above belongs, as all that is put below it then is. */
static int make_root(const char *root, struct assay_err *err)
{
    struct stat above;
    if (mkdir(root, 0700) != 0)
        return errno == EEXIST ? 0 : io_error(err, "making the blob folder", root);
    CLEANUP_FD int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstatat(fd, "..", &above, 0) != 0 || (geteuid() == 0 && fchown(fd, above.st_uid, above.st_gid) != 0))
        return io_error(err, "making the blob folder", root);
    return 0;
}

int bf_backup(const struct assay_host *host, const char *folder, struct assay_copy_count *count, struct assay_err *err)
{
    char *root = NULL;
    int st = bf_root(host, &root, err);
    if (st == 0)
        st = travel(root, folder, false, count, err);
    free(root);
    return st;
}

int bf_restore(const struct assay_host *host, const char *folder, struct assay_copy_count *count, struct assay_err *err)
{
    char *root = NULL;
    int st = bf_root(host, &root, err);
    if (st == 0)
        st = make_root(root, err);
    if (st == 0)
        st = travel(folder, root, true, count, err);
    free(root);
    return st;
}
