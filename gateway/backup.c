/*
 * Theory of operation.
 *
 * A row that names a blob is written after the blob is durable, and blobs go only when no row names them any
 * more.  So the blobs are copied first (the bulk), then the database as it is at one moment, then the blobs that have come
 * meanwhile: each blob that the copied rows name was there when the database was copied, hence in one of the two
 * passes, unless it went in the moments between them, which pruning leaves to what is older than that.
 *
 * The folder holds assay.db (SQLite), blobs/, jwt.secret and, written last, backup.json: what was copied, by which drivers, and the
 * hash of the database.  Without backup.json it is not a backup.  What a driver leaves to its service's own tools (PostgreSQL, S3) is said
 * to be missing from it.
 *
 * A restore writes the blobs first and the database last, under the data directory's lock, so a server that
 * is started in the middle finds no database that lacks blobs.
 */
#include "backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <assay/copy.h>
#include <assay/json.h>
#include <assay/value.h>

#include "setup.h"

#define MANIFEST "backup.json"
#define MANIFEST_MAX ((size_t)64 << 10)
#define SECRET "jwt.secret"

struct work {
    struct assay_setup setup;
    struct assay_host host;
    const struct assay_plugin *store, *blobs;
    char folder[PATH_MAX], blob_folder[PATH_MAX + 16];
};

/* ---- what the drivers are lent ---------------------------------------------------------------- */

static const char *lent_str(void *ctx, const char *name)
{
    return assay_config_str(((struct work *)ctx)->setup.config, name);
}
static int64_t lent_int(void *ctx, const char *name)
{
    return assay_config_int(((struct work *)ctx)->setup.config, name);
}
static int64_t lent_now(void *ctx)
{
    (void)ctx;
    return assay_now_ms();
}
static int64_t lent_mono(void *ctx)
{
    (void)ctx;
    return assay_mono_ns();
}
static void lent_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    (void)ctx, (void)kv, (void)n;
    if (level >= ASSAY_LOG_WARN)
        (void)fprintf(stderr, "assayd: %s\n", event);
}

static int complain(const struct work *w, int rc, const struct assay_err *err)
{
    const char *faults = rc == ASSAY_E_CONFIG && w->setup.config != NULL ? assay_config_problems(w->setup.config) : "";
    if (faults[0] == '\0')
        (void)fprintf(stderr, "assayd: %s\n", err->msg);
    for (const char *p = faults; *p != '\0';) {
        size_t n = strcspn(p, "\n");
        (void)fprintf(stderr, "assayd: %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
    return rc == ASSAY_E_CONFIG ? ASSAY_EXIT_CONFIG : 1;
}

static int prepare(struct work *w, char *const *flags, char *const *env, const char *folder, struct assay_err *err)
{
    (void)umask(077);
    int rc = assay_setup_core(&w->setup, err);
    if (rc == 0)
        rc = assay_setup_resolve(&w->setup, flags, env, err);
    if (rc == 0)
        rc = assay_setup_plugins(&w->setup, err);
    if (rc != 0)
        return rc;
    if (strlen(folder) >= sizeof w->folder - 64)
        return assay_err_set(err, ASSAY_E_CONFIG, "the folder's name is too long");
    (void)snprintf(w->folder, sizeof w->folder, "%s", folder);
    (void)snprintf(w->blob_folder, sizeof w->blob_folder, "%s/blobs", folder);
    w->store = assay_plugins_find(&w->setup.plugins, w->setup.store)->p;
    w->blobs = assay_plugins_find(&w->setup.plugins, w->setup.blobs)->p;
    w->host = (struct assay_host){
        .size = sizeof w->host, .abi_major = ASSAY_ABI_MAJOR, .abi_minor = ASSAY_ABI_MINOR, .ctx = w, .log = lent_log, .now_ms = lent_now,
        .mono_ns = lent_mono, .option_str = lent_str, .option_int = lent_int, .version = PACKAGE_VERSION, .instance_id = ""};
    return 0;
}

static const struct assay_store_ops *store_ops(const struct work *w)
{
    const struct assay_store_ops *ops = w->store->driver;
    bool has = ops->size >= offsetof(struct assay_store_ops, restore) + sizeof ops->restore && ops->backup != NULL && ops->restore != NULL;
    return has ? ops : NULL;
}

static const struct assay_blob_ops *blob_ops(const struct work *w)
{
    const struct assay_blob_ops *ops = w->blobs->driver;
    bool has = ops->size >= offsetof(struct assay_blob_ops, restore) + sizeof ops->restore && ops->backup != NULL && ops->restore != NULL;
    return has ? ops : NULL;
}

static void say_what_is_elsewhere(const struct work *w, bool restore)
{
    if (store_ops(w) == NULL)
        (void)fprintf(stderr, "assayd: note: the database (%s) is not in it; %s\n", w->store->name,
                      restore ? "restore the dump that was made before this backup, with the database's own tools, before the server starts"
                              : "dump it with the database's own tools before each backup (docs/operating.md, Backup)");
    if (blob_ops(w) == NULL)
        (void)fprintf(stderr, "assayd: note: the blobs (%s) are not in it; they are kept, and backed up, by their own service\n", w->blobs->name);
}

/* ---- files -------------------------------------------------------------------------------------- */

static int open_folder(const char *path, int *fd, struct assay_err *err)
{
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd >= 0 ? 0 : assay_err_errno(err, ASSAY_E_CONFIG, errno, "opening the folder %s", path);
}

static int empty_folder(const char *path, struct assay_err *err)
{
    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "making the folder %s", path);
    DIR *d = opendir(path);
    if (d == NULL)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "opening the folder %s", path);
    bool empty = true;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        empty = empty && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
    (void)closedir(d);
    return empty ? 0 : assay_err_set(err, ASSAY_E_CONFIG, "%s is not empty: each backup takes a folder of its own", path);
}

/* The secret that signs tokens, where it is a file: with it, sessions that are open go on after a restore. */
static int copy_secret(const char *from, const char *to, struct assay_err *err)
{
    int in = -1, out = -1;
    char hex[ASSAY_SHA256_HEX];
    struct assay_copy_count count = {0, 0};
    int rc = open_folder(from, &in, err);
    if (rc == 0)
        rc = open_folder(to, &out, err);
    if (rc == 0) {
        rc = assay_file_copy(in, SECRET, out, SECRET, hex, &count, err);
        if (rc == ASSAY_E_NOT_FOUND || rc == ASSAY_E_CONFLICT)
            rc = 0; /* one that is configured, or was there first, stays */
    }
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
    return rc;
}

/* ---- the manifest --------------------------------------------------------------------------------- */

struct manifest {
    int64_t format, made_ms, files, bytes;
    struct assay_str program, store, blobs, sha256;
};
#define F(type_, member_, flags_) {.name = #member_, .type = type_, .flags = flags_, .offset = offsetof(struct manifest, member_), .has_offset = -1}
static const struct assay_json_field manifest_fields[] = {
    F(ASSAY_JSON_INT, format, ASSAY_JSON_REQUIRED),
    F(ASSAY_JSON_STRING, program, ASSAY_JSON_REQUIRED),
    F(ASSAY_JSON_STRING, store, ASSAY_JSON_REQUIRED),
    F(ASSAY_JSON_STRING, blobs, ASSAY_JSON_REQUIRED),
    F(ASSAY_JSON_STRING, sha256, ASSAY_JSON_REQUIRED),
    F(ASSAY_JSON_INT, files, ASSAY_JSON_REQUIRED),
    F(ASSAY_JSON_INT, bytes, ASSAY_JSON_REQUIRED),
    {.name = "made_at", .type = ASSAY_JSON_TIME, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct manifest, made_ms), .has_offset = -1},
    {.name = "*"},
    {.name = NULL},
};

static int write_manifest(const struct work *w, const struct manifest *m, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_JW struct assay_jw *j = assay_jw_new();
    if (j == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for " MANIFEST);
    assay_jw_object(j);
    assay_jw_kint(j, "format", m->format);
    assay_jw_kstr(j, "program", m->program);
    assay_jw_ktime(j, "made_at", m->made_ms);
    assay_jw_kstr(j, "store", m->store);
    assay_jw_kstr(j, "sha256", m->sha256);
    assay_jw_kstr(j, "blobs", m->blobs);
    assay_jw_kint(j, "files", m->files);
    assay_jw_kint(j, "bytes", m->bytes);
    assay_jw_end(j);
    int rc = assay_jw_finish(j, &text, err);
    assay_buf_putc(&text, '\n');
    if (rc != 0 || text.failed)
        return rc != 0 ? rc : assay_err_set(err, ASSAY_E_NOMEM, "no memory for " MANIFEST);
    int folder = -1;
    rc = open_folder(w->folder, &folder, err);
    if (rc != 0)
        return rc;
    int fd = openat(folder, MANIFEST ".part", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    /* everything else first: what it names must be on disk when it is */
    bool ok = fd >= 0 && syncfs(folder) == 0 && write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0 &&
              renameat(folder, MANIFEST ".part", folder, MANIFEST) == 0 && fsync(folder) == 0;
    int e = errno;
    if (fd >= 0)
        (void)close(fd);
    (void)close(folder);
    return ok ? 0 : assay_err_errno(err, e == ENOSPC ? ASSAY_E_FULL : ASSAY_E_IO, e, "writing %s/" MANIFEST, w->folder);
}

static int read_manifest(const struct work *w, struct assay_arena *arena, struct manifest *m, struct assay_err *err)
{
    char path[PATH_MAX + 16];
    (void)snprintf(path, sizeof path, "%s/" MANIFEST, w->folder);
    char *text = assay_arena_alloc(arena, MANIFEST_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "%s is not a whole backup: it has no " MANIFEST, w->folder);
    ssize_t n = text != NULL ? read(fd, text, MANIFEST_MAX) : -1;
    (void)close(fd);
    struct assay_json_faults faults = {.n = 0};
    if (n < 0)
        return assay_err_set(err, ASSAY_E_IO, "cannot read %s", path);
    int rc = assay_json_decode((struct assay_str){text, (size_t)n}, manifest_fields, m, NULL, arena, &faults, err);
    if (rc == ASSAY_E_INVALID && faults.n > 0)
        return assay_err_set(err, ASSAY_E_CORRUPT, "%s: %.*s %.*s", path, ASSAY_FMT(faults.item[0].pointer), ASSAY_FMT(faults.item[0].detail));
    if (rc == 0 && m->format != 1)
        rc = assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s: a backup of format %lld, made by assayd %.*s, which this one cannot read", path,
                           (long long)m->format, ASSAY_FMT(m->program));
    return rc;
}

/* ---- the two commands ------------------------------------------------------------------------------- */

static int back_up(struct work *w, struct assay_err *err)
{
    int64_t begun = assay_mono_ns();
    struct assay_copy_count count = {0, 0};
    char sha256[ASSAY_SHA256_HEX] = "";
    const struct assay_store_ops *store = store_ops(w);
    const struct assay_blob_ops *blobs = blob_ops(w);
    const char *data_dir = assay_config_str(w->setup.config, "data_dir");
    if (access(data_dir, R_OK | X_OK) != 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "cannot read the data directory %s", data_dir);
    int rc = empty_folder(w->folder, err), damaged = 0;
    if (rc == 0)
        rc = empty_folder(w->blob_folder, err);
    struct assay_err about_damage = {0, ""};
    for (int pass = 0; rc == 0 && pass < 2; pass++) {
        if (blobs != NULL) {
            rc = blobs->backup(&w->host, w->blob_folder, &count, err);
            if (rc == ASSAY_E_CORRUPT) {
                /* what is whole is worth having: gone on with, and told at the end */
                about_damage = *err;
                damaged = 1;
                rc = 0;
            }
        }
        if (rc == 0 && pass == 0 && store != NULL)
            rc = store->backup(&w->host, w->folder, sha256, err);
    }
    if (rc == 0)
        rc = copy_secret(data_dir, w->folder, err);
    if (rc == 0) {
        struct manifest m = {.format = 1, .made_ms = assay_now_ms(), .files = count.files, .bytes = count.bytes, .program = assay_str(PACKAGE_VERSION),
                             .store = assay_str(w->store->name), .blobs = assay_str(w->blobs->name), .sha256 = assay_str(sha256)};
        rc = write_manifest(w, &m, err);
    }
    if (rc != 0)
        return rc;
    say_what_is_elsewhere(w, false);
    if (printf("assayd: backup of %s in %s: %s%lld blobs of %lld bytes, in %.1f s\n", data_dir, w->folder, store != NULL ? "the database, " : "",
               (long long)count.files, (long long)count.bytes, (double)(assay_mono_ns() - begun) / 1e9) < 0)
        return assay_err_set(err, ASSAY_E_IO, "cannot write to standard output");
    if (damaged != 0)
        *err = about_damage;
    return damaged != 0 ? ASSAY_E_CORRUPT : 0;
}

/* As the supervisor does: whoever holds this uses the data directory. */
static int lock_data_dir(struct work *w, const char *data_dir, int *lock, struct assay_err *err)
{
    char path[PATH_MAX + 8];
    uid_t uid;
    gid_t gid;
    int rc = assay_setup_identity(assay_config_str(w->setup.config, "server_user"), &uid, &gid, err);
    if (rc != 0)
        return rc;
    bool made = mkdir(data_dir, 0750) == 0;
    if (!made && errno != EEXIST)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "making the data directory %s", data_dir);
    if (made && geteuid() == 0 && chown(data_dir, uid, gid) != 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "giving %s to uid %u", data_dir, (unsigned)uid);
    (void)snprintf(path, sizeof path, "%s/lock", data_dir);
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (*lock < 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "opening %s", path);
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "a server uses the data directory %s: stop it first, or restore into another one (--data-dir)", data_dir);
    struct stat sb;
    if (geteuid() == 0 && (stat(data_dir, &sb) != 0 || fchown(*lock, sb.st_uid, sb.st_gid) != 0))
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "giving %s to its folder's owner", path);
    return 0;
}

static int fits(const struct work *w, const struct manifest *m, struct assay_err *err)
{
    if (store_ops(w) != NULL && !assay_str_is(m->store, w->store->name))
        return assay_err_set(err, ASSAY_E_CONFIG, "the backup was made with %.*s and this server is configured for %s (storage_dsn)",
                             ASSAY_FMT(m->store), w->store->name);
    if (blob_ops(w) != NULL && !assay_str_is(m->blobs, w->blobs->name))
        return assay_err_set(err, ASSAY_E_CONFIG, "the backup was made with %.*s and this server is configured for %s (blob_driver)",
                             ASSAY_FMT(m->blobs), w->blobs->name);
    return 0;
}

static int put_back(struct work *w, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct manifest m = {.format = 0};
    struct assay_copy_count count = {0, 0};
    const struct assay_store_ops *store = store_ops(w);
    const struct assay_blob_ops *blobs = blob_ops(w);
    const char *data_dir = assay_config_str(w->setup.config, "data_dir");
    int lock = -1;
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a restore");
    int rc = read_manifest(w, arena, &m, err);
    if (rc == 0)
        rc = fits(w, &m, err);
    if (rc == 0)
        rc = lock_data_dir(w, data_dir, &lock, err);
    char *sha256 = assay_arena_z(arena, m.sha256);
    if (rc == 0 && sha256 == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for a restore");
    if (rc == 0 && blobs != NULL)
        rc = blobs->restore(&w->host, w->blob_folder, &count, err);
    if (rc == 0 && blobs != NULL && count.files < m.files)
        rc = assay_err_set(err, ASSAY_E_CORRUPT, "%s lacks blobs: it holds %lld, and %lld were backed up", w->folder, (long long)count.files,
                           (long long)m.files);
    if (rc == 0)
        rc = copy_secret(w->folder, data_dir, err);
    if (rc == 0 && store != NULL)
        rc = store->restore(&w->host, w->folder, sha256, err);
    if (lock >= 0)
        (void)close(lock);
    if (rc != 0)
        return rc;
    char made[ASSAY_TIME_SIZE];
    assay_time_format(m.made_ms, made);
    say_what_is_elsewhere(w, true);
    if (printf("assayd: %s is as it was at %s: %s%lld blobs of %lld bytes\n", data_dir, made, store != NULL ? "the database, " : "",
               (long long)count.files, (long long)count.bytes) < 0)
        return assay_err_set(err, ASSAY_E_IO, "cannot write to standard output");
    return 0;
}

static int run(char *const *flags, char *const *env, const char *folder, int (*work)(struct work *w, struct assay_err *err))
{
    static struct work w;
    struct assay_err err = {0, ""};
    int rc = prepare(&w, flags, env, folder, &err);
    if (rc == 0)
        rc = work(&w, &err);
    int status = rc == 0 ? 0 : complain(&w, rc, &err);
    assay_setup_free(&w.setup);
    return status;
}

int assay_backup_main(char *const *flags, char *const *env, const char *folder)
{
    return run(flags, env, folder, back_up);
}

int assay_restore_main(char *const *flags, char *const *env, const char *folder)
{
    return run(flags, env, folder, put_back);
}
