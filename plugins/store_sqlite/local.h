/*
 * store_sqlite: what its files share.
 *
 * One struct sq_store per loaded driver.  One write connection, used by the main thread until
 * start() and by the writer thread alone from then until stop() has joined it; read-only
 * connections in a pool, each used by one thread at a time.  Only these files include sqlite3.h.
 */
#ifndef STORE_SQLITE_LOCAL_H
#define STORE_SQLITE_LOCAL_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdint.h>

#include <assay/plugin.h>
#include <assay/store.h>
#include <assay/store_driver.h>
#include <assay/value.h>

#define SQ_MAGIC 0x53714c69u
#define SQ_MAX_PARAMS 64
#define SQ_WRITER_STATEMENTS 1024
#define SQ_READER_STATEMENTS 96
#define SQ_GROUP_MAX 256

/* ---- bind.c: connections, cached statements, values ------------------------------------------- */

struct sq_cached {
    const struct assay_stmt *stmt;
    sqlite3_stmt *st;
    size_t n_params, n_cols;
    int index[SQ_MAX_PARAMS]; /* SQLite's number of $1, $2, ... */
};

/* A connection with its statements, found by the address of their struct assay_stmt. */
struct sq_conn {
    sqlite3 *db;
    struct sq_cached **slot; /* open addressing; room is a power of two */
    size_t n, room, max;
    struct sq_conn *next; /* in the pool's free list */
};

/* The house's code for SQLite's. The message names what was done, never a value. */
int sq_error(sqlite3 *db, int rc, struct assay_err *err, const char *what);
void sq_conn_close(struct sq_conn *c);
int sq_cached_get(struct sq_conn *c, const struct assay_stmt *stmt, struct sq_cached **out, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Compiles a statement, checks it against its declaration, and drops it again. */
int sq_check(sqlite3 *db, const struct assay_stmt *stmt, struct assay_err *err) ASSAY_MUST_CHECK;
int sq_bind(struct sq_conn *c, const struct sq_cached *q, const struct assay_val *args, size_t n,
            struct assay_err *err) ASSAY_MUST_CHECK;
int sq_column(struct sq_conn *c, const struct sq_cached *q, size_t col, struct assay_arena *arena, struct assay_val *out,
              struct assay_err *err) ASSAY_MUST_CHECK;
/* Ends a run: no lock is held and no argument is referred to any more. */
void sq_done(const struct sq_cached *q);
/* Runs to the end. rows and touched may be NULL; touched counts returned rows where there are columns. */
int sq_run(struct sq_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
           struct assay_arena *arena, struct assay_rows *rows, int64_t *touched, struct assay_err *err) ASSAY_MUST_CHECK;
#define SQ_RUN(c, stmt, touched, err, ...)                                                                             \
    sq_run((c), (stmt), (const struct assay_val[]){__VA_ARGS__},                                                       \
           sizeof((const struct assay_val[]){__VA_ARGS__}) / sizeof(struct assay_val), NULL, NULL, (touched), (err))
#define SQ_RUN0(c, stmt, err) sq_run((c), (stmt), NULL, 0, NULL, NULL, NULL, (err))
/* One int64 of one row; dflt when there is no row or it is NULL. */
int sq_int(struct sq_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n, int64_t dflt,
           int64_t *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- the store ---------------------------------------------------------------------------------- */

struct sq_store {
    uint32_t magic;
    const struct assay_host *host;
    char *path;

    /* options */
    int64_t busy_ms, cache_bytes, mmap_bytes, check_ms, keep, keep_age_ms;
    size_t readers_max;

    /* the write connection: main thread before start and after stop, else the writer thread only */
    struct sq_conn w;
    const struct assay_stmt **registered; /* by prepare; main thread */
    size_t n_registered, room_registered;

    struct assay_store_queue *queue; /* to the writer */
    void (*committed)(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n);
    void *committed_arg;
    struct assay_event *group_ev; /* events of the group under way; writer thread */
    size_t n_group_ev, room_group_ev;
    unsigned careful;      /* so many groups more with savepoints; writer thread */
    bool reopen;           /* writer thread: the connection may not be used before it is made anew */
    int64_t retry_ns;      /* when a broken connection or a full disk is tried next */
    int retry_for;         /* the status of the try before that */
    int64_t prune_ns;      /* when old events are looked for next */

    _Atomic int64_t head;      /* last committed seq of the outbox */
    _Atomic int64_t pruned_to; /* events up to here are gone */
    _Atomic int health;        /* 0, or why commits fail */

    /* readers */
    pthread_mutex_t pool_lock; /* guards what follows */
    pthread_cond_t pool_free;
    struct sq_conn *pool;
    size_t n_readers;
};

static inline struct sq_store *sq_self(void *self)
{
    struct sq_store *s = self;
    if (!s || s->magic != SQ_MAGIC)
        __builtin_trap();
    return s;
}

/* driver.c */
int sq_open_writer(struct sq_store *s, struct assay_err *err) ASSAY_MUST_CHECK;
int sq_open_reader(struct sq_store *s, struct sq_conn *c, struct assay_err *err) ASSAY_MUST_CHECK;
extern const struct assay_store_ops sq_ops;

/* dsn.c: the file that a DSN names; malloc'ed. *ignored is set for an older DSN that is not taken literally. */
int sq_dsn_path(struct assay_str dsn, const char *data_dir, char **path, bool *ignored, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* backup.c */
int sq_backup(const struct assay_host *host, const char *folder, char sha256[ASSAY_SHA256_HEX], struct assay_err *err) ASSAY_MUST_CHECK;
int sq_restore(const struct assay_host *host, const char *folder, const char *sha256, struct assay_err *err) ASSAY_MUST_CHECK;

/* wal.c: whether the log beside a database is damaged, before SQLite drops what it cannot read; looks for check_ms at most */
int sq_wal_check(const char *database, int64_t check_ms, struct assay_err *err) ASSAY_MUST_CHECK;

/* migrate.c */
int sq_migrate(struct sq_store *s, const char *component, const struct assay_migration *m, size_t n,
               struct assay_err *err) ASSAY_MUST_CHECK;
int sq_migrate_own(struct sq_store *s, struct assay_err *err) ASSAY_MUST_CHECK;

/* writer.c */
int sq_writer_start(struct sq_store *s, struct assay_err *err) ASSAY_MUST_CHECK;
extern const struct assay_store_queue_ops sq_writer_ops;

/* reader.c */
int sq_reader_get(struct sq_store *s, struct sq_conn **out, struct assay_err *err) ASSAY_MUST_CHECK;
void sq_reader_put(struct sq_store *s, struct sq_conn *c, int status);
void sq_readers_close(struct sq_store *s);
int sq_query(struct sq_store *s, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
             struct assay_arena *arena, struct assay_rows *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* events.c: the outbox. Writing side on the write connection inside a transaction. */
int sq_events_load(struct sq_store *s, struct assay_err *err) ASSAY_MUST_CHECK; /* head and pruned_to from the file */
int sq_events_append(struct sq_store *s, struct assay_tx *tx, struct assay_err *err) ASSAY_MUST_CHECK;
int sq_cursor_move(struct sq_store *s, const struct assay_tx *tx, struct assay_err *err) ASSAY_MUST_CHECK;
int sq_dead_letter(struct sq_store *s, const struct assay_tx *tx, struct assay_err *err) ASSAY_MUST_CHECK;
int sq_events_prune(struct sq_store *s, bool *more, struct assay_err *err) ASSAY_MUST_CHECK;
int sq_events_probe(struct sq_store *s, struct assay_err *err) ASSAY_MUST_CHECK;
int sq_events_read(struct sq_store *s, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                   struct assay_event_row **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
int sq_cursor_get(struct sq_store *s, struct assay_str group, int64_t *seq, struct assay_err *err) ASSAY_MUST_CHECK;

extern const struct assay_metric sq_metrics[];
enum { SQ_METRIC_COMMITS, SQ_METRIC_GROUP, SQ_METRIC_SECONDS, SQ_METRIC_ERRORS, SQ_METRIC_PRUNED };

/* begin and end of a transaction of the writer's own, also used by migrations */
extern const struct assay_stmt sq_st_begin, sq_st_commit, sq_st_rollback;

#endif
