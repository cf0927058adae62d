/*
 * store_postgres: what its files share.
 *
 * One struct pg_store per loaded driver.  One write connection, used by the main thread until start() and
 * by the writer thread alone from then until stop(); reading connections in a pool, each used by one thread
 * at a time.  Only these files include libpq-fe.h.
 */
#ifndef STORE_POSTGRES_LOCAL_H
#define STORE_POSTGRES_LOCAL_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <assay/plugin.h>
#include <assay/store.h>
#include <assay/store_driver.h>
#include <assay/value.h>

#define PG_MAGIC 0x50677371u
#define PG_MAX_PARAMS 64
#define PG_OLDEST 130000 /* pg_xact_status of xid8, which settles a commit whose answer was lost */
#define PG_LOCK_MIGRATE 0x61737361790001 /* advisory locks: "assay", 1 and 2 */
#define PG_LOCK_PRUNE 0x61737361790002
#define PG_XID 24

/* ---- conn.c: connections, prepared statements, values ------------------------------------------------- */

/* A connection with the statements that are prepared on it, found by the address of their struct assay_stmt. */
struct pg_conn {
    PGconn *db; /* NULL: closed */
    const struct assay_stmt **known; /* open addressing; room is a power of two; the place is the name */
    size_t n, room;
    struct pg_conn *next; /* in the pool's free list */
};
enum pg_use { PG_WRITE, PG_READ, PG_MIGRATE };

struct pg_store;
int pg_open(struct pg_store *s, struct pg_conn *c, enum pg_use use, struct assay_err *err) ASSAY_MUST_CHECK;
void pg_close(struct pg_conn *c);
/* The house's code for what PostgreSQL said. res may be NULL: the connection is to blame. Never a value in the message. */
int pg_error(const struct pg_conn *c, const PGresult *res, struct assay_err *err, const char *what);
/* True when nothing more can be asked of the connection. */
bool pg_broken(const struct pg_conn *c);

/* Prepares the statement on the connection unless it is. Not in a pipeline. */
int pg_prepared(struct pg_store *s, struct pg_conn *c, const struct assay_stmt *stmt, struct assay_err *err) ASSAY_MUST_CHECK;
/* The same, and checks it against its declaration. */
int pg_check(struct pg_store *s, struct pg_conn *c, const struct assay_stmt *stmt, struct assay_err *err) ASSAY_MUST_CHECK;
/* Queues the execution of a prepared statement; the arguments are copied. */
int pg_send(struct pg_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Queues a text without arguments. */
int pg_send_text(struct pg_conn *c, const char *sql, struct assay_err *err) ASSAY_MUST_CHECK;
/* The next result, NULL at the end of one statement's; ASSAY_E_IO or ASSAY_E_TIMEOUT when none will come. */
int pg_next(struct pg_store *s, struct pg_conn *c, PGresult **out, struct assay_err *err) ASSAY_MUST_CHECK;
/* What a result holds. rows and touched may be NULL; touched counts returned rows where there are columns. */
int pg_result(const struct pg_conn *c, const PGresult *res, const struct assay_stmt *stmt, struct assay_arena *arena,
              struct assay_rows *rows, int64_t *touched, struct assay_err *err) ASSAY_MUST_CHECK;
/* Prepares, sends, waits. Not in a pipeline. */
int pg_run(struct pg_store *s, struct pg_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
           struct assay_arena *arena, struct assay_rows *rows, int64_t *touched, struct assay_err *err) ASSAY_MUST_CHECK;
#define PG_RUN(s, c, stmt, touched, err, ...)                                                                          \
    pg_run((s), (c), (stmt), (const struct assay_val[]){__VA_ARGS__},                                                  \
           sizeof((const struct assay_val[]){__VA_ARGS__}) / sizeof(struct assay_val), NULL, NULL, (touched), (err))
/* One int64 of one row; dflt when there is no row or it is NULL. */
int pg_int(struct pg_store *s, struct pg_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
           int64_t dflt, int64_t *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* One or more statements as text, without arguments or results. */
int pg_text(struct pg_store *s, struct pg_conn *c, const char *sql, const char *what, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- the store --------------------------------------------------------------------------------------------- */

struct pg_store {
    uint32_t magic;
    const struct assay_host *host;
    struct assay_secret *dsn; /* it may hold a password */

    /* options */
    int64_t timeout_ms, settle_ms, keep, keep_age_ms;
    size_t readers_max;

    struct pg_conn w; /* main thread before start and after stop, else the writer thread only */
    const struct assay_stmt **registered; /* by prepare; main thread */
    size_t n_registered, room_registered;

    struct assay_store_queue *queue; /* to the writer */
    void (*committed)(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n);
    void *committed_arg;
    /* the writer thread's */
    struct assay_event *group_ev; /* events of the group under way */
    size_t n_group_ev, room_group_ev;
    int64_t retry_ns; /* when a lost connection is tried next */
    int64_t prune_ns; /* when old events are looked for next */

    _Atomic int64_t head;   /* the last seq that this process has seen */
    _Atomic int health;     /* 0, or why commits fail */

    pthread_mutex_t pool_lock; /* guards what follows */
    pthread_cond_t pool_free;
    struct pg_conn *pool;
    size_t n_readers;
};

static inline struct pg_store *pg_self(void *self)
{
    struct pg_store *s = self;
    if (!s || s->magic != PG_MAGIC)
        __builtin_trap();
    return s;
}

/* driver.c */
extern const struct assay_store_ops pg_ops;

/* migrate.c: on a connection of its own, under an advisory lock */
int pg_migrate(struct pg_store *s, const char *component, const struct assay_migration *m, size_t n, struct assay_err *err)
    ASSAY_MUST_CHECK;
int pg_migrate_own(struct pg_store *s, struct assay_err *err) ASSAY_MUST_CHECK;

/* writer.c */
extern const struct assay_store_queue_ops pg_writer_ops;
int pg_writer_start(struct pg_store *s, struct assay_err *err) ASSAY_MUST_CHECK;

/* pool.c */
/* Runs fn on a reading connection; once more on a fresh one when the first turns out to be dead. */
int pg_read(struct pg_store *s, int (*fn)(struct pg_store *s, struct pg_conn *c, void *arg, struct assay_err *err), void *arg,
            struct assay_err *err) ASSAY_MUST_CHECK;
void pg_readers_close(struct pg_store *s);

/* events.c: the outbox */
int pg_events_load(struct pg_store *s, struct assay_err *err) ASSAY_MUST_CHECK;
extern const struct assay_stmt pg_st_head_move, pg_st_append, pg_st_seq_of, pg_st_cursor_new, pg_st_park;
int pg_events_prune(struct pg_store *s, bool *more, struct assay_err *err) ASSAY_MUST_CHECK;
int pg_events_probe(struct pg_store *s, struct assay_err *err) ASSAY_MUST_CHECK;
int pg_events_read(struct pg_store *s, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                   struct assay_event_row **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
int pg_events_head(struct pg_store *s, int64_t *seq, struct assay_err *err) ASSAY_MUST_CHECK;
int pg_cursor_get(struct pg_store *s, struct assay_str group, int64_t *seq, struct assay_err *err) ASSAY_MUST_CHECK;

extern const struct assay_metric pg_metrics[];
enum { PG_METRIC_COMMITS, PG_METRIC_GROUP, PG_METRIC_SECONDS, PG_METRIC_ERRORS, PG_METRIC_PRUNED, PG_METRIC_CONNECTS, PG_METRIC_SETTLED,
       PG_METRIC_COUNT };

#endif
