/*
 * The store: portable SQL, group-committed writes, the event outbox.
 *
 * A service lists all its SQL as const statements; arguments are $1..$n, types are given by a
 * letter each ("t" text, "i" int64, "r" double, "b" bytes; any may be NULL at run time).  The text
 * must PREPARE on SQLite 3.40 and PostgreSQL 15 alike: TEXT, BIGINT, DOUBLE PRECISION and BYTEA
 * columns, CAST($1 AS TEXT) where a bare parameter has no context, ON CONFLICT, RETURNING.  The
 * marker comment in a SELECT inside a leasing UPDATE, slash-star "+skip_locked" star-slash, becomes
 * FOR UPDATE SKIP LOCKED on PostgreSQL.
 *
 * Writing: a transaction is a list of guarded statements with the row counts they must touch, and
 * the events to append to the outbox in the same commit.  Any guard that fails rolls the whole
 * transaction back (the others of its commit group are untouched) with ASSAY_E_GUARD and the index
 * of the statement; a violated UNIQUE, PRIMARY KEY or FOREIGN KEY counts as such a guard, a violated
 * CHECK or NOT NULL as a fault of ours.  Never read in C what the next write relies on.
 *
 * Threads: exec_async and exec may be called from any thread; the completion runs on the store's
 * writer thread and must not block (hand over, or resume a ticket).  query and exec block: worker
 * threads only, never an event loop.  The caller owns the transaction, arguments and arena until
 * the completion has been called.
 */
#ifndef ASSAY_STORE_H
#define ASSAY_STORE_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>
#include <assay/value.h>

#ifdef __cplusplus
extern "C" {
#endif

enum assay_val_type { ASSAY_VAL_NULL = 0, ASSAY_VAL_INT, ASSAY_VAL_REAL, ASSAY_VAL_TEXT, ASSAY_VAL_BLOB };

struct assay_val {
    enum assay_val_type type;
    int64_t i;
    double r;
    struct assay_str s;
};
#define ASSAY_VNULL ((struct assay_val){.type = ASSAY_VAL_NULL})
#define ASSAY_VI(v) ((struct assay_val){.type = ASSAY_VAL_INT, .i = (v)})
#define ASSAY_VR(v) ((struct assay_val){.type = ASSAY_VAL_REAL, .r = (v)})
#define ASSAY_VT(str) ((struct assay_val){.type = ASSAY_VAL_TEXT, .s = (str)})
#define ASSAY_VZ(z) ((struct assay_val){.type = ASSAY_VAL_TEXT, .s = assay_str(z)})
#define ASSAY_VB(str) ((struct assay_val){.type = ASSAY_VAL_BLOB, .s = (str)})
/* NULL for an empty view */
#define ASSAY_VT_OR_NULL(str) ((str).n ? ASSAY_VT(str) : ASSAY_VNULL)

struct assay_stmt {
    const char *name;    /* "submissions.insert": unique in the process */
    const char *sql;
    const char *params;  /* one letter each */
    const char *columns; /* letters of the rows it returns, "" for none */
    bool write;
};

struct assay_row {
    const struct assay_val *col;
};
struct assay_rows {
    struct assay_row *row;
    size_t n;
    size_t n_cols;
};

enum assay_expect {
    ASSAY_EXPECT_ANY = -1,  /* any number of rows */
    ASSAY_EXPECT_SOME = -2, /* one or more */
    ASSAY_EXPECT_ONE = 1,   /* exactly that many, as is any number >= 0 */
    ASSAY_EXPECT_NONE = 0,
};

struct assay_op {
    const struct assay_stmt *stmt;
    const struct assay_val *args;
    size_t n_args;
    int expect;
    /* out, valid in the completion: rows touched, and rows returned (RETURNING) in tx->arena */
    int64_t touched;
    struct assay_rows rows;
};

/* An event as it is appended. Text fields are at most 64 KiB in all. */
struct assay_event {
    struct assay_str topic;      /* "submission.done" */
    struct assay_str subject;    /* id of what it is about */
    struct assay_str owner;      /* user id of the owner, "" for none: decides who may see it */
    struct assay_str benchmark;  /* benchmark id, or "" */
    struct assay_str payload;    /* JSON object */
    int if_op; /* 0: always; k > 0: appended only when operation k - 1 of its transaction touched a row */
};

/* An event as it is read. seq follows commit order and never has a gap that fills later. */
struct assay_event_row {
    int64_t seq;
    int64_t at_ms;
    char id[37]; /* the same id at every delivery, for consumers outside */
    struct assay_event ev;
};

/* An event that a durable subscriber can never take: kept aside in assay_dead_letters, for a person. */
struct assay_dead_letter {
    struct assay_str group;
    int64_t seq; /* of the event; 0: no dead letter */
    struct assay_str error; /* why, one line */
};

/* A transaction under construction; lives in its arena. */
#define ASSAY_TX_OPS 1024
struct assay_tx {
    struct assay_arena *arena;
    const char *name; /* for logs and metrics: "submission.finish" */
    struct assay_op *op;
    size_t n_ops, room_ops;
    struct assay_event *event;
    size_t n_events, room_events;
    struct assay_str cursor_group; /* with cursor_to > 0: moves that group's cursor from..to */
    int64_t cursor_from, cursor_to;
    struct assay_dead_letter dead_letter; /* with seq > 0: written in the same commit (the host's dispatcher sets it) */
    bool failed; /* sticky: no memory, or over ASSAY_TX_OPS */
    /* out */
    int status;     /* 0, ASSAY_E_GUARD, ... */
    int failed_op;  /* index, or -1 */
    int64_t last_seq; /* of this transaction's events; 0 without any */
    struct assay_err err;
};

typedef void (*assay_tx_done)(struct assay_tx *tx, void *arg);

/* tx builder (sdk library; the tx is allocated in the arena; NULL on no memory) */
struct assay_tx *assay_tx_new(struct assay_arena *arena, const char *name);
/* Copies the array of values (not the bytes they point to). Returns the op's index, or -1 (sticky). */
int assay_tx_add(struct assay_tx *tx, const struct assay_stmt *stmt, int expect, const struct assay_val *args, size_t n);
#define ASSAY_TX(tx, stmt, expect, ...)                                                                                \
    assay_tx_add((tx), (stmt), (expect), (const struct assay_val[]){__VA_ARGS__},                                      \
                 sizeof((const struct assay_val[]){__VA_ARGS__}) / sizeof(struct assay_val))
void assay_tx_event(struct assay_tx *tx, struct assay_event ev);

struct assay_migration {
    uint32_t number;  /* 1, 2, 3, ... per component, without gaps */
    const char *name;
    const char *sql;  /* one or more portable statements separated by ';' */
    const char *oldest_program; /* oldest program version that may run on it: "0.1.0" */
};

/* Driver operations (kind ASSAY_PLUGIN_STORE). Read a member only if size covers it. */
struct assay_host;

struct assay_store_ops {
    uint32_t size;
    /* Brings one component's schema up to its last migration. Before start; blocks. */
    int (*migrate)(void *self, const char *component, const struct assay_migration *m, size_t n, struct assay_err *err);
    /* Registers statements so that a faulty one stops the start. Blocks. */
    int (*prepare)(void *self, const struct assay_stmt *const *stmts, size_t n, struct assay_err *err);
    /* Starts the writer. `committed` is called on the writer thread after each commit that appended
     * events, and before the completions of its transactions, with the outbox's last seq: it must only
     * ring bells. The events' bytes are those of the transactions: gone when it returns. */
    int (*start)(void *self, void (*committed)(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n),
                 void *arg, struct assay_err *err);
    int (*exec_async)(void *self, struct assay_tx *tx, assay_tx_done done, void *arg, struct assay_err *err);
    int (*exec)(void *self, struct assay_tx *tx, struct assay_err *err);
    int (*query)(void *self, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
                 struct assay_arena *arena, struct assay_rows *out, struct assay_err *err);
    /* Events with seq > after, oldest first, at most max. topics: NULL-terminated list of exact names
     * or "prefix.*", NULL for all. ASSAY_E_GONE when events after `after` have been pruned. */
    int (*events)(void *self, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                  struct assay_event_row **out, size_t *n, struct assay_err *err);
    int (*events_head)(void *self, int64_t *seq, struct assay_err *err);
    int (*cursor_get)(void *self, struct assay_str group, int64_t *seq, struct assay_err *err); /* 0 for a new group */
    /* Flushes what waits and stops the writer; further exec answer ASSAY_E_BUSY. */
    void (*stop)(void *self);
    /* One line of health: 0, or why it cannot commit (ASSAY_E_FULL, ASSAY_E_IO, ...). Any thread. */
    int (*health)(void *self, struct assay_err *err);
    /* Or NULL, where the database has tools of its own for it. Without an instance: host's options say where the database is.
     * backup writes the database as it is at one moment to `folder`, durably, beside a running server, and says what the file hashes to.
     * restore makes the database from there, with no server on it; ASSAY_E_CONFLICT when there is one already, ASSAY_E_CORRUPT when what
     * lies there does not hash to sha256. */
    int (*backup)(const struct assay_host *host, const char *folder, char sha256[ASSAY_SHA256_HEX], struct assay_err *err);
    int (*restore)(const struct assay_host *host, const char *folder, const char *sha256, struct assay_err *err);
};

/* What a plugin sees: the driver behind a borrowed handle. */
struct assay_store {
    const struct assay_store_ops *ops;
    void *self;
};

/* Short forms (sdk library). */
int assay_store_exec(const struct assay_store *st, struct assay_tx *tx, struct assay_err *err) ASSAY_MUST_CHECK;
int assay_store_exec_async(const struct assay_store *st, struct assay_tx *tx, assay_tx_done done, void *arg,
                           struct assay_err *err) ASSAY_MUST_CHECK;
int assay_store_query(const struct assay_store *st, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
                      struct assay_arena *arena, struct assay_rows *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Waits until a durable group has taken the events of its topics that the outbox holds now, at most
 * max_ms; then look again. For a row of another service that a client has just made and that the
 * group's projection does not show yet. Gives 0 after a wait in vain too. Worker threads only. */
int assay_store_catch_up(const struct assay_store *st, struct assay_str group, const char *const *topics, int64_t max_ms,
                         struct assay_err *err) ASSAY_MUST_CHECK;
/* Whether the outbox holds an event of the topics behind seq, up to `head`. Blocks. */
int assay_store_behind(const struct assay_store *st, int64_t seq, const char *const *topics, int64_t head, bool *ret,
                       struct assay_err *err) ASSAY_MUST_CHECK;
#define ASSAY_QUERY(st, stmt, arena, out, err, ...)                                                                    \
    assay_store_query((st), (stmt), (const struct assay_val[]){__VA_ARGS__},                                           \
                      sizeof((const struct assay_val[]){__VA_ARGS__}) / sizeof(struct assay_val), (arena), (out), (err))

#ifdef __cplusplus
}
#endif
#endif
