/*
 * The one writer: group commit.
 *
 * What waits in the queue (assay/store_driver.h) runs inside one BEGIN IMMEDIATE ... COMMIT with
 * synchronous=FULL.
 *
 * A failed guard takes back its own transaction only.  Most often it is the first statement that
 * fails, and there is nothing to take back.  Else the whole group is taken back and run again with a
 * savepoint around each transaction; so are the CAREFUL_GROUPS after it, since what fails comes in
 * swarms.  Savepoints from the start would cost every transaction a copy of each page it touches
 * (a tenth of a submission's insert).
 *
 * After COMMIT the head of the outbox is published, the bells are rung (the events' bytes belong
 * to the callers and are only valid until their completion), then every transaction is completed.
 *
 * When something fails:
 *   a guard, or any error that leaves the SQLite transaction open   that transaction fails alone
 *   anything that takes the whole group back (disk full, memory,     each is run again in a group of
 *   a deferred constraint at COMMIT)                                 its own, so that one cannot fail others
 *   an I/O error or corruption, at COMMIT or before                  the whole group fails with it
 * After an I/O error nothing that this connection or the page cache believes is trusted: a kernel
 * that failed an fsync has marked the pages clean, so frames that are readable in the log may never
 * reach the disk, and a later fsync would not say so.  The connection is made anew, the file is
 * checked, and the log is checkpointed into the database and restarted, which writes those pages
 * afresh under an fsync of their own, before any transaction is accepted again.  Until then
 * everything is answered with the error.  A full disk needs none of that: each group just tries,
 * and while nothing comes a probe write finds out when there is room again.  Corruption is final:
 * every write is refused until an operator has looked.
 */
#include "local.h"

#include <stdlib.h>
#include <string.h>

#define CAREFUL_GROUPS 16
#define RETRY_NS 200000000LL
#define PRUNE_EVERY_NS 60000000000LL
#define PRUNE_PAUSE_NS 20000000LL

const struct assay_stmt sq_st_begin = {"store.begin", "BEGIN IMMEDIATE", "", "", true};
const struct assay_stmt sq_st_commit = {"store.commit", "COMMIT", "", "", true};
const struct assay_stmt sq_st_rollback = {"store.rollback", "ROLLBACK", "", "", true};
static const struct assay_stmt st_savepoint = {"store.savepoint", "SAVEPOINT one", "", "", true};
static const struct assay_stmt st_release = {"store.release", "RELEASE one", "", "", true};
static const struct assay_stmt st_rollback_to = {"store.rollback_to", "ROLLBACK TO one", "", "", true};

/* ---- health --------------------------------------------------------------------------------- */

static void note_failure(struct sq_store *s, int status, const struct assay_err *err)
{
    const char *labels[] = {assay_err_word(status)};
    s->host->metric_add(s->host->ctx, &sq_metrics[SQ_METRIC_ERRORS], labels, 1);
    if (status != ASSAY_E_FULL && status != ASSAY_E_IO && status != ASSAY_E_CORRUPT)
        return;
    if (status == ASSAY_E_IO)
        s->reopen = true;
    int before = atomic_load(&s->health);
    do {
        if (before == ASSAY_E_CORRUPT)
            return;
    } while (!atomic_compare_exchange_weak(&s->health, &before, status));
    s->retry_ns = assay_mono_ns() + RETRY_NS;
    s->retry_for = status;
    if (before != status)
        assay_log(s->host, ASSAY_LOG_ERROR, "store_cannot_commit", ASSAY_KZ("reason", assay_err_word(status)),
                  ASSAY_KZ("error", err->msg), ASSAY_KZ("path", s->path));
}

static void note_success(struct sq_store *s)
{
    int before = atomic_load(&s->health);
    if (before == 0 || before == ASSAY_E_CORRUPT || !atomic_compare_exchange_strong(&s->health, &before, 0))
        return;
    assay_log(s->host, ASSAY_LOG_WARN, "store_commits_again", ASSAY_KZ("path", s->path));
}

/* The first error is the one to tell; a rollback that fails too leaves the connection unusable. */
static void roll_back(struct sq_store *s)
{
    struct assay_err ignored;
    if (!sqlite3_get_autocommit(s->w.db) && SQ_RUN0(&s->w, &sq_st_rollback, &ignored) != 0 &&
        !sqlite3_get_autocommit(s->w.db))
        s->reopen = true;
}

static int make_anew(struct sq_store *s, struct assay_err *err)
{
    if (s->w.db) {
        int was = 0;
        (void)sqlite3_db_config(s->w.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, &was);
        sq_conn_close(&s->w);
    }
    int st = sq_open_writer(s, err);
    if (st == 0)
        st = sq_events_load(s, err);
    int in_log = 0, moved = 0;
    if (st == 0) {
        int rc = sqlite3_wal_checkpoint_v2(s->w.db, NULL, SQLITE_CHECKPOINT_RESTART, &in_log, &moved);
        if (rc != SQLITE_OK)
            st = sq_error(s->w.db, rc, err, "checkpoint after an I/O error");
    }
    if (st != 0)
        return st;
    s->reopen = false;
    assay_log(s->host, ASSAY_LOG_WARN, "store_reopened", ASSAY_KZ("path", s->path),
              ASSAY_KI("head", atomic_load(&s->head)), ASSAY_KI("frames", moved));
    return 0;
}

/* 0, or why no transaction can be begun on the connection now. */
static int ready(struct sq_store *s, struct assay_err *err)
{
    if (atomic_load(&s->health) == ASSAY_E_CORRUPT)
        return assay_err_set(err, ASSAY_E_CORRUPT, "the database is damaged: it takes no writes until it is restored");
    if (!s->reopen && s->w.db)
        return 0;
    if (assay_mono_ns() < s->retry_ns)
        /* nothing was tried, so it may be asked for again at once */
        return assay_err_set(err, ASSAY_E_BUSY, "the database is being reopened %s",
                             s->retry_for == ASSAY_E_NOMEM ? "when there is memory" : "after an I/O error");
    int st = make_anew(s, err);
    if (st != 0) {
        s->reopen = true;
        note_failure(s, st, err);
        s->retry_ns = assay_mono_ns() + RETRY_NS;
        s->retry_for = st;
    }
    return st;
}

/* ---- one group ------------------------------------------------------------------------------ */

static int tx_apply(struct sq_store *s, struct assay_tx *tx, struct assay_err *err)
{
    int st = sq_cursor_move(s, tx, err);
    if (st == 0)
        st = sq_dead_letter(s, tx, err);
    for (size_t i = 0; st == 0 && i < tx->n_ops; i++) {
        struct assay_op *op = &tx->op[i];
        st = sq_run(&s->w, op->stmt, op->args, op->n_args, tx->arena, op->stmt->columns[0] ? &op->rows : NULL,
                    &op->touched, err);
        if (st == 0 && op->expect != ASSAY_EXPECT_ANY &&
            (op->expect == ASSAY_EXPECT_SOME ? op->touched < 1 : op->touched != op->expect))
            st = assay_err_set(err, ASSAY_E_GUARD, "%s: %s touched %lld rows", tx->name, op->stmt->name,
                               (long long)op->touched);
        if (st != 0)
            tx->failed_op = (int)i;
    }
    if (st == 0)
        st = sq_events_append(s, tx, err);
    return st;
}

static int keep_events(struct sq_store *s, const struct assay_tx *tx, struct assay_err *err)
{
    size_t need = s->n_group_ev + tx->n_events;
    if (need > s->room_group_ev) {
        size_t room = s->room_group_ev ? s->room_group_ev : 64;
        while (room < need)
            room *= 2;
        struct assay_event *grown = reallocarray(s->group_ev, room, sizeof *grown);
        if (!grown)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a group's events");
        s->group_ev = grown;
        s->room_group_ev = room;
    }
    for (size_t i = 0; i < tx->n_events; i++)
        if (assay_event_due(tx, &tx->event[i]))
            s->group_ev[s->n_group_ev++] = tx->event[i];
    return 0;
}

enum outcome {
    COMMITTED, /* each transaction has its own status */
    REFUSED,   /* likewise, and none was committed */
    CAREFULLY, /* everything was taken back for the sake of one: try with savepoints */
    AGAIN,     /* likewise, and savepoints are of no use: try each alone */
};

static bool one_is_to_blame(int status)
{
    return status != ASSAY_E_IO && status != ASSAY_E_CORRUPT && status != ASSAY_E_BUSY;
}

static enum outcome group_run(struct sq_store *s, const struct assay_store_item *it, size_t n, bool careful)
{
    bool savepoints = careful && n > 1; /* one alone is taken back by ROLLBACK */
    struct assay_err err = {0};
    for (size_t i = 0; i < n; i++) {
        it[i].tx->status = 0;
        it[i].tx->failed_op = -1;
        it[i].tx->last_seq = 0;
    }
    s->n_group_ev = 0;
    int st = ready(s, &err);
    if (st != 0) {
        assay_store_fail_all(it, n, st, &err);
        return REFUSED;
    }
    st = SQ_RUN0(&s->w, &sq_st_begin, &err);
    if (st != 0) {
        note_failure(s, st, &err);
        assay_store_fail_all(it, n, st, &err);
        return REFUSED;
    }
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        struct assay_tx *tx = it[i].tx;
        sqlite3_int64 changes = sqlite3_total_changes64(s->w.db);
        if (savepoints)
            st = SQ_RUN0(&s->w, &st_savepoint, &tx->err);
        if (st == 0)
            st = tx_apply(s, tx, &tx->err);
        if (st == 0)
            st = keep_events(s, tx, &tx->err);
        if (st == 0 && savepoints)
            st = SQ_RUN0(&s->w, &st_release, &tx->err);
        if (st == 0) {
            good++;
            continue;
        }
        tx->status = st;
        tx->last_seq = 0;
        err = tx->err;
        if (n > 1 && !savepoints && !sqlite3_get_autocommit(s->w.db) && one_is_to_blame(st)) {
            if (st == ASSAY_E_GUARD && sqlite3_total_changes64(s->w.db) == changes) {
                st = 0;
                continue;
            }
            roll_back(s);
            return CAREFULLY;
        }
        if (st != ASSAY_E_GUARD)
            note_failure(s, st, &err);
        int undo = 0;
        if (savepoints && !sqlite3_get_autocommit(s->w.db)) {
            struct assay_err undo_err;
            undo = SQ_RUN0(&s->w, &st_rollback_to, &undo_err);
            if (undo == 0)
                undo = SQ_RUN0(&s->w, &st_release, &undo_err);
        }
        if (n > 1 && (!savepoints || undo != 0 || sqlite3_get_autocommit(s->w.db))) {
            /* SQLite has rolled everything back, or there is no savepoint within reach */
            roll_back(s);
            if (one_is_to_blame(st))
                return AGAIN;
            assay_store_fail_all(it, n, st, &err);
            return REFUSED;
        }
        st = 0;
    }
    if (good == 0) {
        roll_back(s);
        return REFUSED;
    }
    st = SQ_RUN0(&s->w, &sq_st_commit, &err);
    if (st != 0) {
        roll_back(s);
        if (st != ASSAY_E_GUARD)
            note_failure(s, st, &err);
        if (n > 1 && one_is_to_blame(st))
            return AGAIN;
        for (size_t i = 0; i < n; i++)
            if (it[i].tx->status == 0)
                assay_store_fail_all(&it[i], 1, st, &err);
        return REFUSED;
    }
    note_success(s);
    return COMMITTED;
}

static void group(void *self, const struct assay_store_item *it, size_t n)
{
    struct sq_store *s = sq_self(self);
    int64_t begun = assay_mono_ns();
    enum outcome outcome = group_run(s, it, n, s->careful > 0);
    s->careful -= s->careful > 0;
    if (outcome == CAREFULLY) {
        s->careful = CAREFUL_GROUPS;
        outcome = group_run(s, it, n, true);
    }
    if (outcome == AGAIN) {
        for (size_t i = 0; i < n; i++)
            group(s, &it[i], 1);
        return;
    }
    bool committed = outcome == COMMITTED;
    int64_t last = 0;
    for (size_t i = 0; i < n; i++)
        if (it[i].tx->status == 0 && it[i].tx->last_seq > last)
            last = it[i].tx->last_seq;
    if (committed && last > 0) {
        atomic_store(&s->head, last);
        if (s->committed)
            s->committed(s->committed_arg, last, s->group_ev, s->n_group_ev);
    }
    for (size_t i = 0; i < n; i++)
        it[i].done(it[i].tx, it[i].arg);
    if (committed) {
        const struct assay_host *h = s->host;
        h->metric_add(h->ctx, &sq_metrics[SQ_METRIC_COMMITS], NULL, 1);
        h->metric_observe(h->ctx, &sq_metrics[SQ_METRIC_GROUP], NULL, (double)n);
        h->metric_observe(h->ctx, &sq_metrics[SQ_METRIC_SECONDS], NULL, (double)(assay_mono_ns() - begun) / 1e9);
    }
}

/* ---- between groups ------------------------------------------------------------------------- */

static int64_t next_wake_ns(void *self)
{
    const struct sq_store *s = sq_self(self);
    int health = atomic_load(&s->health);
    if (health == ASSAY_E_CORRUPT)
        return INT64_MAX;
    if (health != 0)
        return s->retry_ns;
    return s->keep > 0 || s->keep_age_ms > 0 ? s->prune_ns : INT64_MAX;
}

static void housekeeping(void *self)
{
    struct sq_store *s = sq_self(self);
    struct assay_err err = {0};
    int64_t now = assay_mono_ns();
    if (now < next_wake_ns(s))
        return;
    int health = atomic_load(&s->health);
    if (health != 0) {
        if (ready(s, &err) != 0)
            return; /* noted there, with the time of the next try */
        int st = sq_events_probe(s, &err);
        if (st == 0)
            note_success(s);
        else
            note_failure(s, st, &err);
        return;
    }
    bool more = false;
    int st = ready(s, &err);
    if (st == 0)
        st = sq_events_prune(s, &more, &err);
    if (st != 0) {
        note_failure(s, st, &err);
        assay_log(s->host, ASSAY_LOG_WARN, "events_prune_failed", ASSAY_KZ("error", err.msg));
    }
    s->prune_ns = now + (more ? PRUNE_PAUSE_NS : PRUNE_EVERY_NS);
}

const struct assay_store_queue_ops sq_writer_ops = {.group = group, .wake_ns = next_wake_ns, .idle = housekeeping};

int sq_writer_start(struct sq_store *s, struct assay_err *err)
{
    s->prune_ns = assay_mono_ns() + PRUNE_EVERY_NS / 10;
    return assay_store_queue_start(s->queue, "store-writer", err);
}
