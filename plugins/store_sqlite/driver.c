/*
 * Opening and closing, and the table of driver operations.
 *
 * The file is made with mode 0600 and its directory is fsynced before SQLite sees it.  What a
 * connection must have (WAL, synchronous=FULL) is read back, since a file system may refuse WAL
 * without an error.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- connections ---------------------------------------------------------------------------- */

static int pragma_text(sqlite3 *db, const char *sql, char *out, size_t room, struct assay_err *err)
{
    sqlite3_stmt *q = NULL;
    errno = 0;
    int rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(q);
    if (rc == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(q, 0);
        (void)snprintf(out, room, "%s", text ? (const char *)text : "");
        rc = SQLITE_DONE;
    }
    int st = rc == SQLITE_DONE ? 0 : sq_error(db, rc, err, sql);
    (void)sqlite3_finalize(q); /* repeats the step's error */
    return st;
}

static int run_sql(sqlite3 *db, const char *sql, struct assay_err *err)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sq_error(db, rc, err, sql);
}

static int open_conn(struct sq_store *s, struct sq_conn *c, int flags, size_t max, struct assay_err *err)
{
    c->max = max;
    /* no mutex: each connection is used by one thread at a time, by our own rules */
    int rc = sqlite3_open_v2(s->path, &c->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (rc != SQLITE_OK) {
        int st = sq_error(c->db, rc, err, s->path);
        sq_conn_close(c);
        return st;
    }
    (void)sqlite3_extended_result_codes(c->db, 1);
    (void)sqlite3_busy_timeout(c->db, (int)s->busy_ms);
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_limit(c->db, SQLITE_LIMIT_ATTACHED, 0);
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "PRAGMA cache_size=-%lld; PRAGMA mmap_size=%lld; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;"
                   "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON",
                   (long long)(s->cache_bytes / 1024), (long long)s->mmap_bytes);
    int st = run_sql(c->db, sql, err);
    if (st != 0)
        sq_conn_close(c);
    return st;
}

static int make_file(const char *path, struct assay_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0
                               : assay_err_errno(err, errno == ENOSPC ? ASSAY_E_FULL : ASSAY_E_CONFIG, errno,
                                                 "making the database %s", path);
    (void)close(fd);
    char *dir = strdup(path);
    if (!dir)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a path");
    char *slash = strrchr(dir, '/');
    if (slash == dir)
        slash[1] = '\0';
    else if (slash)
        slash[0] = '\0';
    int at = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int st = 0;
    if (at < 0 || fsync(at) != 0)
        st = assay_err_errno(err, ASSAY_E_IO, errno, "syncing the folder of %s", path);
    if (at >= 0)
        (void)close(at);
    free(dir);
    return st;
}

struct deadline {
    int64_t at_ns;
    bool passed;
};

static int past_deadline(void *arg)
{
    struct deadline *d = arg;
    d->passed = assay_mono_ns() > d->at_ns;
    return d->passed;
}

/* Reads as much of the file as the time allows: a large one must not hold up a restart for minutes. */
static int check_file(struct sq_store *s, struct assay_err *err)
{
    if (s->check_ms <= 0)
        return 0;
    struct deadline d = {assay_mono_ns() + s->check_ms * 1000000, false};
    char text[200] = "";
    struct assay_err why = {0};
    sqlite3_progress_handler(s->w.db, 20000, past_deadline, &d);
    int st = pragma_text(s->w.db, "PRAGMA quick_check(1)", text, sizeof text, &why);
    sqlite3_progress_handler(s->w.db, 0, NULL, NULL);
    if (st == ASSAY_E_TIMEOUT && d.passed) {
        assay_log(s->host, ASSAY_LOG_INFO, "store_check_cut_short", ASSAY_KI("after_ms", s->check_ms));
        return 0;
    }
    if (st != 0)
        return assay_err_set(err, st, "checking %s: %s", s->path, why.msg);
    if (strcmp(text, "ok") != 0)
        return assay_err_set(err, ASSAY_E_CORRUPT, "%s is damaged: %s", s->path, text);
    return 0;
}

int sq_open_writer(struct sq_store *s, struct assay_err *err)
{
    int st = make_file(s->path, err);
    if (st == 0)
        st = sq_wal_check(s->path, s->check_ms, err);
    if (st == 0)
        st = open_conn(s, &s->w, SQLITE_OPEN_READWRITE, SQ_WRITER_STATEMENTS, err);
    if (st != 0)
        return st;
    char mode[32] = "", sync[32] = "";
    st = pragma_text(s->w.db, "PRAGMA journal_mode=WAL", mode, sizeof mode, err);
    if (st == 0)
        st = run_sql(s->w.db, "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864", err);
    if (st == 0)
        st = pragma_text(s->w.db, "PRAGMA synchronous", sync, sizeof sync, err);
    if (st == 0 && (strcmp(mode, "wal") != 0 || strcmp(sync, "2") != 0))
        st = assay_err_set(err, ASSAY_E_CONFIG, "%s: the file system gives no write-ahead log (journal_mode=%s)",
                           s->path, mode);
    if (st == 0)
        st = check_file(s, err);
    if (st != 0)
        sq_conn_close(&s->w);
    return st;
}

int sq_open_reader(struct sq_store *s, struct sq_conn *c, struct assay_err *err)
{
    return open_conn(s, c, SQLITE_OPEN_READONLY, SQ_READER_STATEMENTS, err);
}

/* ---- operations ------------------------------------------------------------------------------ */

static int op_migrate(void *self, const char *component, const struct assay_migration *m, size_t n,
                      struct assay_err *err)
{
    struct sq_store *s = sq_self(self);
    if (assay_store_queue_running(s->queue))
        return assay_err_set(err, ASSAY_E_INTERNAL, "migrations run before the writer starts");
    return sq_migrate(s, component, m, n, err);
}

static int op_prepare(void *self, const struct assay_stmt *const *stmts, size_t n, struct assay_err *err)
{
    struct sq_store *s = sq_self(self);
    if (assay_store_queue_running(s->queue))
        return assay_err_set(err, ASSAY_E_INTERNAL, "statements are registered before the writer starts");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s->n_registered; k++)
            if (s->registered[k] != stmts[i] && strcmp(s->registered[k]->name, stmts[i]->name) == 0)
                return assay_err_set(err, ASSAY_E_INTERNAL, "two statements are named %s", stmts[i]->name);
        int st = sq_check(s->w.db, stmts[i], err);
        if (st != 0)
            return st;
        if (s->n_registered == s->room_registered) {
            size_t room = s->room_registered ? s->room_registered * 2 : 64;
            const struct assay_stmt **grown = reallocarray(s->registered, room, sizeof *grown);
            if (!grown)
                return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the list of statements");
            s->registered = grown;
            s->room_registered = room;
        }
        s->registered[s->n_registered++] = stmts[i];
    }
    return 0;
}

static int op_start(void *self, void (*committed)(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n),
                    void *arg, struct assay_err *err)
{
    struct sq_store *s = sq_self(self);
    s->committed = committed;
    s->committed_arg = arg;
    return sq_writer_start(s, err);
}

static int op_exec_async(void *self, struct assay_tx *tx, assay_tx_done done, void *arg, struct assay_err *err)
{
    return assay_store_queue_push(sq_self(self)->queue, tx, done, arg, err);
}

static int op_exec(void *self, struct assay_tx *tx, struct assay_err *err)
{
    return assay_store_queue_exec(sq_self(self)->queue, tx, err);
}

static int op_query(void *self, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
                    struct assay_arena *arena, struct assay_rows *out, struct assay_err *err)
{
    return sq_query(sq_self(self), stmt, args, n, arena, out, err);
}

static int op_events(void *self, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                     struct assay_event_row **out, size_t *n, struct assay_err *err)
{
    return sq_events_read(sq_self(self), after, topics, max, arena, out, n, err);
}

static int op_events_head(void *self, int64_t *seq, struct assay_err *err)
{
    (void)err; /* kept in memory: cannot fail */
    *seq = atomic_load(&sq_self(self)->head);
    return 0;
}

static int op_cursor_get(void *self, struct assay_str group, int64_t *seq, struct assay_err *err)
{
    return sq_cursor_get(sq_self(self), group, seq, err);
}

static void op_stop(void *self)
{
    assay_store_queue_stop(sq_self(self)->queue);
}

static int op_health(void *self, struct assay_err *err)
{
    struct sq_store *s = sq_self(self);
    int st = atomic_load(&s->health);
    return st == 0 ? 0 : assay_err_set(err, st, "the database cannot commit: %s", assay_err_word(st));
}

const struct assay_store_ops sq_ops = {
    .size = sizeof(struct assay_store_ops),
    .migrate = op_migrate,
    .prepare = op_prepare,
    .start = op_start,
    .exec_async = op_exec_async,
    .exec = op_exec,
    .query = op_query,
    .events = op_events,
    .events_head = op_events_head,
    .cursor_get = op_cursor_get,
    .stop = op_stop,
    .health = op_health,
    .backup = sq_backup,
    .restore = sq_restore,
};
