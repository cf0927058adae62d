/*
 * What store drivers have in common: the queue to the one writer, and the rules of migrations.
 *
 * Theory of the queue.  Callers on any thread push transactions into a bounded ring; a full ring
 * refuses with ASSAY_E_BUSY.  One writer thread takes what waits, up to group_max, and hands it to the
 * driver's `group`, which commits all of it durably and completes each.  There is no delay to let a
 * group grow: while one commit waits for the disk the next group collects, so groups are as large as
 * the load makes them.  Between groups the driver's `idle` is called when its time has come.
 *
 * For drivers (plugins/store_*) only; services see assay/store.h.
 */
#ifndef ASSAY_STORE_DRIVER_H
#define ASSAY_STORE_DRIVER_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/store.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_STORE_EVENT_MAX ((size_t)64 << 10) /* text of one event in all */

/* ---- the queue to the writer ------------------------------------------------------------------- */

struct assay_store_item {
    struct assay_tx *tx;
    assay_tx_done done;
    void *arg;
};

struct assay_store_queue_ops { /* all on the writer thread */
    /* Commits and completes each of the n items (at most group_max): status, err, last_seq, then done. */
    void (*group)(void *self, const struct assay_store_item *it, size_t n);
    /* When idle is wanted next, on the monotonic clock; INT64_MAX: not. */
    int64_t (*wake_ns)(void *self);
    void (*idle)(void *self);
};

struct assay_store_queue;
/* room: how many transactions may wait; group_max: at most 256. */
int assay_store_queue_new(size_t room, size_t group_max, const struct assay_store_queue_ops *ops, void *self,
                          struct assay_store_queue **out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Once. name: of the thread, at most 15 bytes. */
int assay_store_queue_start(struct assay_store_queue *q, const char *name, struct assay_err *err) ASSAY_MUST_CHECK;
bool assay_store_queue_running(struct assay_store_queue *q);
int assay_store_queue_push(struct assay_store_queue *q, struct assay_tx *tx, assay_tx_done done, void *arg,
                           struct assay_err *err) ASSAY_MUST_CHECK;
/* Pushes and waits; refused on the writer thread itself, which would wait for itself. */
int assay_store_queue_exec(struct assay_store_queue *q, struct assay_tx *tx, struct assay_err *err) ASSAY_MUST_CHECK;
/* The writer looks at wake_ns again. Any thread. */
void assay_store_queue_nudge(struct assay_store_queue *q);
/* Works off what waits, ends the thread; further pushes are refused. May be called again, and without a start. */
void assay_store_queue_stop(struct assay_store_queue *q);
void assay_store_queue_free(struct assay_store_queue *q); /* stopped, or never started; NULL is fine */

/* Whether an event of a transaction whose operations have run is to be appended. */
static inline bool assay_event_due(const struct assay_tx *tx, const struct assay_event *e)
{
    return e->if_op <= 0 || tx->op[e->if_op - 1].touched > 0;
}

/* Gives all n items the same end; done is not called. */
void assay_store_fail_all(const struct assay_store_item *it, size_t n, int status, const struct assay_err *err);

/* ---- migrations ---------------------------------------------------------------------------------- */

/* <0, 0, >0 for dotted versions; a missing part counts as 0, a suffix such as "-rc1" says nothing. */
int assay_version_cmp(const char *a, const char *b);

/*
 * Holds a component's migrations against what a database has had (rows of number, name, oldest_program in
 * the order of numbers).  Refused: numbers with gaps, another migration of the same number, and a newer
 * schema that says this program is too old for it.  Then migrations applied.n .. n-1 are to be applied, each in
 * a transaction with its row.
 */
int assay_migrations_check(const char *component, const struct assay_migration *m, size_t n, const struct assay_rows *applied,
                           const char *program_version, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- what the stores that speak SQL say and decide alike ---------------------------------------------- */

extern const struct assay_stmt assay_st_cursor, assay_st_cursor_move, assay_st_cursor_slowest;
extern const struct assay_stmt assay_st_events_last_old, assay_st_events_prune, assay_st_events_pruned, assay_st_events_pruned_set;
extern const struct assay_stmt assay_st_migrations, assay_st_migration_record;

#define ASSAY_PRUNE_BITE 500 /* events that one transaction of pruning takes at most */

/*
 * Up to which event one bite of pruning goes; from or less: nothing is to be pruned.  from: how far it went before.  head: the
 * last event.  keep: how many of the newest stay, 0: this bounds nothing.  old: the last event that is too old, 0 when
 * none is.  slowest: of the durable cursors.  more: another bite is wanted at once.
 */
int64_t assay_prune_to(int64_t from, int64_t head, int64_t keep, int64_t old, int64_t slowest, bool *more);

#ifdef __cplusplus
}
#endif
#endif
