/*
 * A copy of the database beside a running server, and the way back.
 *
 * SQLite's own backup copies all pages in one step, so under one read transaction: the copy is the database as it
 * was at one commit, the writer goes on meanwhile, and only the log grows by what it commits until the copy is
 * done.  The copy is read through before it counts.  The connection that makes it is one of its own, without the limits of the
 * server's, and belongs to no instance of the driver.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <assay/copy.h>

#define COPY_NAME "assay.db"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}
#define CLEANUP_FD __attribute__((cleanup(close_fd)))
static void close_db(sqlite3 **db)
{
    (void)sqlite3_close(*db);
    *db = NULL;
}
#define CLEANUP_DB __attribute__((cleanup(close_db)))
static void free_text(char **p)
{
    free(*p);
}
#define CLEANUP_TEXT __attribute__((cleanup(free_text)))

static int database_of(const struct assay_host *host, char **path, struct assay_err *err)
{
    bool ignored;
    return sq_dsn_path(assay_str(host->option_str(host->ctx, "storage_dsn")), host->option_str(host->ctx, "data_dir"), path, &ignored, err);
}

static int open_db(const char *path, int flags, int64_t busy_ms, sqlite3 **db, struct assay_err *err)
{
    int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (rc != SQLITE_OK)
        return sq_error(*db, rc, err, path);
    (void)sqlite3_extended_result_codes(*db, 1);
    (void)sqlite3_busy_timeout(*db, (int)busy_ms);
    return 0;
}

static int whole(sqlite3 *db, const char *path, struct assay_err *err)
{
    sqlite3_stmt *q = NULL;
    char says[200] = "";
    int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &q, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(q);
    int st = 0;
    if (rc == SQLITE_ROW)
        (void)snprintf(says, sizeof says, "%s", (const char *)sqlite3_column_text(q, 0));
    else
        st = sq_error(db, rc, err, path);
    (void)sqlite3_finalize(q);
    if (st == 0 && strcmp(says, "ok") != 0)
        st = assay_err_set(err, ASSAY_E_CORRUPT, "%s is damaged: %s", path, says);
    return st;
}

static int sync_path(const char *path, struct assay_err *err)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "syncing %s", path);
    return 0;
}

static int hash_file(const char *path, char sha256[ASSAY_SHA256_HEX], struct assay_err *err)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct assay_sha256 *h = assay_sha256_new();
    char piece[65536];
    ssize_t n = -1;
    while (fd >= 0 && h != NULL && ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0)
            assay_sha256_add(h, (struct assay_str){piece, (size_t)n});
    int e = errno;
    if (h == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to hash %s", path);
    assay_sha256_end(h, sha256);
    return n == 0 ? 0 : assay_err_errno(err, ASSAY_E_IO, e, "reading %s", path);
}

static int copy_pages(sqlite3 *from, sqlite3 *to, const char *path, struct assay_err *err)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    int rc = b != NULL ? sqlite3_backup_step(b, -1) : sqlite3_errcode(to);
    (void)sqlite3_backup_finish(b);
    return rc == SQLITE_DONE ? 0 : sq_error(to, rc == SQLITE_OK ? SQLITE_ERROR : rc, err, path);
}

int sq_backup(const struct assay_host *host, const char *folder, char sha256[ASSAY_SHA256_HEX], struct assay_err *err)
{
    CLEANUP_TEXT char *path = NULL;
    ASSAY_CLEANUP_BUF struct assay_buf to = ASSAY_BUF_INIT;
    int64_t busy_ms = host->option_int(host->ctx, "store_busy");
    assay_buf_fmt(&to, "%s/" COPY_NAME, folder);
    if (to.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a path");
    int st = database_of(host, &path, err);
    if (st == 0 && access(path, F_OK) != 0)
        st = assay_err_errno(err, ASSAY_E_CONFIG, errno, "there is no database %s", path);
    if (st == 0) {
        CLEANUP_DB sqlite3 *source = NULL;
        CLEANUP_DB sqlite3 *copy = NULL;
        st = open_db(path, SQLITE_OPEN_READONLY, busy_ms, &source, err);
        if (st == 0)
            st = open_db(to.p, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, busy_ms, &copy, err);
        if (st == 0)
            st = copy_pages(source, copy, to.p, err);
        /* its header says write-ahead log as the source's does; read as it lies, it leaves no log beside it */
        if (st == 0 && sqlite3_exec(copy, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL) != SQLITE_OK)
            st = sq_error(copy, sqlite3_errcode(copy), err, to.p);
        if (st == 0)
            st = whole(copy, to.p, err);
    }
    if (st == 0)
        st = sync_path(to.p, err);
    if (st == 0)
        st = sync_path(folder, err);
    if (st == 0)
        st = hash_file(to.p, sha256, err);
    return st;
}

int sq_restore(const struct assay_host *host, const char *folder, const char *sha256, struct assay_err *err)
{
    static const char *const beside[] = {"", "-wal", "-journal"};
    CLEANUP_TEXT char *path = NULL;
    char is[ASSAY_SHA256_HEX];
    int st = database_of(host, &path, err);
    if (st != 0)
        return st;
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        ASSAY_CLEANUP_BUF struct assay_buf name = ASSAY_BUF_INIT;
        assay_buf_fmt(&name, "%s%s", path, beside[i]);
        if (name.failed)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a path");
        if (access(name.p, F_OK) == 0)
            return assay_err_set(err, ASSAY_E_CONFLICT, "there is a database already: %s; move it away, or restore into another data directory", name.p);
    }
    char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    if (slash != NULL)
        *slash = '\0';
    const char *above = slash == NULL ? "." : path[0] != '\0' ? path : "/";
    CLEANUP_FD int from = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int to = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from < 0 || to < 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "opening the folder %s", from < 0 ? folder : above);
    ASSAY_CLEANUP_BUF struct assay_buf part = ASSAY_BUF_INIT;
    assay_buf_fmt(&part, "%s.restoring", name);
    if (part.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a path");
    struct assay_copy_count count = {0, 0};
    (void)unlinkat(to, part.p, 0); /* of a try that was cut short */
    st = assay_file_copy(from, COPY_NAME, to, part.p, is, &count, err);
    if (st != 0)
        return st;
    if (strcmp(is, sha256) != 0)
        st = assay_err_set(err, ASSAY_E_CORRUPT, "%s/" COPY_NAME " is not what was backed up: it hashes to another value", folder);
    CLEANUP_FD int fd = st == 0 ? openat(to, part.p, O_RDONLY | O_CLOEXEC) : -1;
    if (st == 0 && (fd < 0 || fsync(fd) != 0 || renameat(to, part.p, to, name) != 0 || fsync(to) != 0))
        st = assay_err_errno(err, ASSAY_E_IO, errno, "placing the database in %s", above);
    if (st != 0)
        (void)unlinkat(to, part.p, 0);
    return st;
}
