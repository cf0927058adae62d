/*
 * The writer: group commit in a pipeline.
 *
 *     1  BEGIN · the transaction's id · every operation of every transaction of the group      (one round trip)
 *     2  the sequence, the events, COMMIT                                                       (one more)
 *
 * Between the two the guards are looked at.  If all hold, the second half goes out.  If one does not and its
 * transaction has touched nothing, that one fails alone and the rest goes on.  Else the group is rolled back and each of its
 * transactions is run again in a group of its own; there an error or a guard is its own.
 *
 * A lost connection before COMMIT was sent means that nothing was committed.  After that it is open, and it is
 * not guessed: the transaction's id is asked about (pg_xact_status) on a new connection until the answer is there, and
 * only then are the group's transactions completed.  If the server does not come back within store_settle they are
 * completed with an error that says so; a client's retry under its idempotency key is what settles it then.
 */
#include "local.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUSY_TRIES 5
#define RETRY_NS 200000000LL
#define SETTLE_PAUSE_NS 50000000L
#define PRUNE_EVERY_NS 60000000000LL
#define PRUNE_PAUSE_NS 20000000LL

/* ---- health ------------------------------------------------------------------------------------------------ */

static void note_failure(struct pg_store *s, int status, const struct assay_err *err)
{
    s->host->metric_add(s->host->ctx, &pg_metrics[PG_METRIC_ERRORS], (const char *const[]){assay_err_word(status), NULL}, 1);
    if (status == ASSAY_E_TIMEOUT)
        status = ASSAY_E_IO;
    if (status != ASSAY_E_FULL && status != ASSAY_E_IO && status != ASSAY_E_CORRUPT)
        return;
    s->retry_ns = assay_mono_ns() + RETRY_NS;
    if (atomic_exchange(&s->health, status) != status)
        assay_log(s->host, ASSAY_LOG_ERROR, "store_cannot_commit", ASSAY_KZ("reason", assay_err_word(status)),
                  ASSAY_KZ("error", err->msg));
}

static void note_success(struct pg_store *s)
{
    if (atomic_exchange(&s->health, 0) != 0)
        assay_log(s->host, ASSAY_LOG_WARN, "store_commits_again", ASSAY_KI("head", atomic_load(&s->head)));
}

/* 0, or why no transaction can be begun now. */
static int ready(struct pg_store *s, struct assay_err *err)
{
    if (!pg_broken(&s->w))
        return 0;
    if (assay_mono_ns() < s->retry_ns)
        return assay_err_set(err, ASSAY_E_BUSY, "PostgreSQL is away; the connection is tried again in a moment");
    int st = pg_open(s, &s->w, PG_WRITE, err);
    if (st != 0)
        note_failure(s, ASSAY_E_IO, err);
    return st != 0 ? ASSAY_E_BUSY : 0;
}

/* ---- the first half ------------------------------------------------------------------------------------------- */

static const struct assay_stmt st_xid = {
    .name = "store.xid", .sql = "SELECT CAST(pg_current_xact_id() AS TEXT)", .params = "", .columns = "t"};
static const struct assay_stmt st_fate = {
    .name = "store.fate", .sql = "SELECT pg_xact_status(CAST($1 AS xid8))", .params = "t", .columns = "t"};

static bool new_cursor(const struct assay_tx *tx)
{
    return tx->cursor_from == 0;
}

/* Calls for each statement of a transaction, in the order of its results. index: of the operation, or -1. */
typedef int (*each_fn)(struct pg_store *s, const struct assay_tx *tx, const struct assay_stmt *stmt, const struct assay_val *args,
                       size_t n, struct assay_err *err);

static int each_statement(struct pg_store *s, const struct assay_tx *tx, each_fn fn, struct assay_err *err)
{
    int64_t now = s->host->now_ms(s->host->ctx);
    int st = 0;
    if (tx->cursor_to > 0 && new_cursor(tx)) {
        struct assay_val v[] = {ASSAY_VT(tx->cursor_group), ASSAY_VI(tx->cursor_to), ASSAY_VI(now)};
        st = fn(s, tx, &pg_st_cursor_new, v, 3, err);
    } else if (tx->cursor_to > 0) {
        struct assay_val v[] = {ASSAY_VT(tx->cursor_group), ASSAY_VI(tx->cursor_from), ASSAY_VI(tx->cursor_to), ASSAY_VI(now)};
        st = fn(s, tx, &assay_st_cursor_move, v, 4, err);
    }
    if (st == 0 && tx->dead_letter.seq > 0) {
        const struct assay_dead_letter *d = &tx->dead_letter;
        struct assay_val v[] = {ASSAY_VT(d->group), ASSAY_VI(d->seq), ASSAY_VT(d->error), ASSAY_VI(now)};
        st = fn(s, tx, &pg_st_park, v, 4, err);
    }
    for (size_t i = 0; st == 0 && i < tx->n_ops; i++)
        st = fn(s, tx, tx->op[i].stmt, tx->op[i].args, tx->op[i].n_args, err);
    return st;
}

static int prepare_one(struct pg_store *s, const struct assay_tx *tx, const struct assay_stmt *stmt, const struct assay_val *args,
                       size_t n, struct assay_err *err)
{
    (void)tx, (void)args, (void)n;
    return pg_prepared(s, &s->w, stmt, err);
}

static int send_one(struct pg_store *s, const struct assay_tx *tx, const struct assay_stmt *stmt, const struct assay_val *args,
                    size_t n, struct assay_err *err)
{
    (void)tx;
    return pg_send(&s->w, stmt, args, n, err);
}

static int check_cursor(const struct assay_tx *tx, struct assay_err *err)
{
    if (tx->cursor_to > 0 && (tx->cursor_group.n == 0 || tx->cursor_to < tx->cursor_from))
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: a cursor needs a group and goes forward", tx->name);
    return 0;
}

/* Takes one statement's result and its end out of the pipeline. lost: the connection is of no use any more. */
static int take(struct pg_store *s, const struct assay_stmt *stmt, struct assay_arena *arena, struct assay_rows *rows,
                int64_t *touched, bool *lost, struct assay_err *err)
{
    PGresult *res = NULL, *end = NULL;
    int st = pg_next(s, &s->w, &res, err);
    if (st == 0 && !res)
        st = pg_error(&s->w, NULL, err, stmt ? stmt->name : "pipeline");
    if (st != 0) {
        *lost = true;
        return st;
    }
    ExecStatusType status = PQresultStatus(res);
    if (status == PGRES_PIPELINE_ABORTED)
        st = ASSAY_E_AGAIN; /* one before it failed */
    else if (stmt)
        st = pg_result(&s->w, res, stmt, arena, rows, touched, err);
    else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_PIPELINE_SYNC)
        st = pg_error(&s->w, res, err, "the transaction");
    PQclear(res);
    if (status == PGRES_PIPELINE_SYNC)
        return 0; /* has no end of its own */
    struct assay_err later;
    if (pg_next(s, &s->w, &end, &later) != 0)
        *lost = true;
    PQclear(end);
    if (PQstatus(s->w.db) != CONNECTION_OK)
        *lost = true;
    return st;
}

/* COMMIT of a transaction that has failed answers ROLLBACK, and is no error. */
static int take_commit(struct pg_store *s, bool *lost, struct assay_err *err)
{
    PGresult *res = NULL, *end = NULL;
    int st = pg_next(s, &s->w, &res, err);
    if (st == 0 && !res)
        st = pg_error(&s->w, NULL, err, "COMMIT");
    if (st != 0) {
        *lost = true;
        return st;
    }
    ExecStatusType status = PQresultStatus(res);
    if (status == PGRES_PIPELINE_ABORTED)
        st = ASSAY_E_AGAIN;
    else if (status != PGRES_COMMAND_OK)
        st = pg_error(&s->w, res, err, "COMMIT");
    else if (strcmp(PQcmdStatus(res), "COMMIT") != 0)
        st = assay_err_set(err, ASSAY_E_INTERNAL, "COMMIT was answered %.20s", PQcmdStatus(res));
    bool gone = st != 0 && PQresultErrorField(res, PG_DIAG_SQLSTATE) == NULL && status == PGRES_FATAL_ERROR;
    PQclear(res);
    struct assay_err later;
    if (pg_next(s, &s->w, &end, &later) != 0 || gone || PQstatus(s->w.db) != CONNECTION_OK)
        *lost = true;
    PQclear(end);
    return st;
}

static void roll_back(struct pg_store *s)
{
    struct assay_err ignored;
    if (!pg_broken(&s->w) && PQpipelineStatus(s->w.db) != PQ_PIPELINE_OFF && PQexitPipelineMode(s->w.db) != 1) {
        pg_close(&s->w);
        return;
    }
    if (!pg_broken(&s->w) && PQtransactionStatus(s->w.db) != PQTRANS_IDLE && pg_text(s, &s->w, "ROLLBACK", "rollback", &ignored) != 0)
        pg_close(&s->w);
}

struct first {
    char xid[PG_XID];
    bool lost;
    size_t failed;  /* item at which an error came, or n */
    int status;     /* its status */
};

/* Notes what the guards say. True: the transaction holds. touched: all that it has touched. */
static bool guards_hold(struct assay_tx *tx, int64_t cursor, int64_t parked, int64_t *touched)
{
    *touched = cursor + parked;
    for (size_t i = 0; i < tx->n_ops; i++)
        *touched += tx->op[i].touched;
    if (tx->cursor_to > 0 && cursor != 1) {
        tx->status = assay_err_set(&tx->err, ASSAY_E_GUARD, "%s: the cursor of %.*s is no longer at %lld", tx->name,
                                   ASSAY_FMT(tx->cursor_group), (long long)tx->cursor_from);
        return false;
    }
    if (tx->dead_letter.seq > 0 && parked != 1) {
        tx->status = assay_err_set(&tx->err, ASSAY_E_GUARD, "%s: there is no event %lld to park", tx->name,
                                   (long long)tx->dead_letter.seq);
        return false;
    }
    for (size_t i = 0; i < tx->n_ops; i++) {
        const struct assay_op *op = &tx->op[i];
        if (op->expect == ASSAY_EXPECT_ANY || (op->expect == ASSAY_EXPECT_SOME ? op->touched >= 1 : op->touched == op->expect))
            continue;
        tx->status = assay_err_set(&tx->err, ASSAY_E_GUARD, "%s: %s touched %lld rows", tx->name, op->stmt->name, (long long)op->touched);
        tx->failed_op = (int)i;
        return false;
    }
    return true;
}

/* Results of one transaction. 0, the status of its error, or ASSAY_E_AGAIN when an earlier one's has stopped the pipeline. */
static int take_tx(struct pg_store *s, struct assay_tx *tx, int64_t *cursor, int64_t *parked, bool *lost)
{
    int st = 0, first = 0;
    struct assay_err err = {0};
    *cursor = *parked = 0;
    if (tx->cursor_to > 0)
        first = take(s, new_cursor(tx) ? &pg_st_cursor_new : &assay_st_cursor_move, tx->arena, NULL, cursor, lost, &err);
    if (!*lost && tx->dead_letter.seq > 0) {
        st = take(s, &pg_st_park, tx->arena, NULL, parked, lost, first == 0 ? &err : NULL);
        first = first != 0 ? first : st;
    }
    for (size_t i = 0; !*lost && i < tx->n_ops; i++) {
        struct assay_op *op = &tx->op[i];
        op->touched = 0;
        st = take(s, op->stmt, tx->arena, op->stmt->columns[0] ? &op->rows : NULL, &op->touched, lost, first == 0 ? &err : NULL);
        if (st != 0 && first == 0)
            tx->failed_op = (int)i;
        first = first != 0 ? first : st;
    }
    if (first != 0 && first != ASSAY_E_AGAIN)
        tx->err = err;
    return first;
}

enum outcome {
    COMMITTED, /* each transaction has its own status */
    REFUSED,   /* likewise, and none was committed */
    AGAIN,     /* nothing was committed for the sake of one: try each alone */
};

/* Nothing of it was committed. That the database is away is no fault of ours: who asks is told to come again. */
static enum outcome refuse_all(struct pg_store *s, const struct assay_store_item *it, size_t n, int status, const struct assay_err *err)
{
    struct assay_err told = *err;
    note_failure(s, status, err);
    told.code = status == ASSAY_E_IO || status == ASSAY_E_TIMEOUT ? ASSAY_E_BUSY : status;
    assay_store_fail_all(it, n, told.code, &told);
    return REFUSED;
}

/* What concerns this transaction alone. n > 1: it is to be found out which. */
static enum outcome blame(struct pg_store *s, const struct assay_store_item *it, size_t n, int status, const struct assay_err *err)
{
    roll_back(s);
    if (status == ASSAY_E_IO || status == ASSAY_E_TIMEOUT || status == ASSAY_E_CORRUPT)
        return refuse_all(s, it, n, status == ASSAY_E_TIMEOUT ? ASSAY_E_IO : status, err);
    if (n > 1)
        return AGAIN;
    if (status != ASSAY_E_GUARD)
        note_failure(s, status, err);
    struct assay_err copy = *err;
    assay_store_fail_all(it, 1, status, &copy);
    return REFUSED;
}

/* ---- the second half -------------------------------------------------------------------------------------------- */

static int keep_event(struct pg_store *s, const struct assay_event *e, struct assay_err *err)
{
    if (s->n_group_ev == s->room_group_ev) {
        size_t room = s->room_group_ev ? s->room_group_ev * 2 : 64;
        struct assay_event *grown = reallocarray(s->group_ev, room, sizeof *grown);
        if (!grown)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a group's events");
        s->group_ev = grown;
        s->room_group_ev = room;
    }
    s->group_ev[s->n_group_ev++] = *e;
    return 0;
}

struct second {
    int64_t head;  /* after it; 0: no events */
    bool asked;    /* COMMIT may have reached the server */
    bool lost;
    char (*id)[ASSAY_ID_SIZE]; /* of each event */
};

static int send_second(struct pg_store *s, struct second *two, struct assay_err *err)
{
    int64_t total = (int64_t)s->n_group_ev, now = s->host->now_ms(s->host->ctx);
    int st = 0;
    if (total > 0)
        st = pg_send(&s->w, &pg_st_head_move, &ASSAY_VI(total), 1, err);
    for (int64_t i = 0; st == 0 && i < total; i++) {
        const struct assay_event *e = &s->group_ev[i];
        struct assay_val v[] = {ASSAY_VI(total - 1 - i), ASSAY_VI(now), ASSAY_VZ(two->id[i]), ASSAY_VT(e->topic),
                                ASSAY_VT(e->subject), ASSAY_VT(e->owner), ASSAY_VT(e->benchmark), ASSAY_VT(e->payload)};
        st = pg_send(&s->w, &pg_st_append, v, 8, err);
    }
    if (st == 0)
        st = pg_send_text(&s->w, "COMMIT", err);
    if (st == 0) {
        two->asked = true;
        if (PQpipelineSync(s->w.db) != 1)
            st = pg_error(&s->w, NULL, err, "COMMIT");
    }
    return st;
}

static int take_second(struct pg_store *s, struct second *two, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows = {0};
    int st = 0, first = 0;
    if (s->n_group_ev > 0 && arena) {
        first = take(s, &pg_st_head_move, arena, &rows, NULL, &two->lost, err);
        if (first == 0 && rows.n == 1)
            two->head = rows.row[0].col[0].i;
    }
    for (size_t i = 0; !two->lost && i < s->n_group_ev; i++) {
        int64_t one = 0;
        st = take(s, &pg_st_append, arena, NULL, &one, &two->lost, first == 0 ? err : NULL);
        if (st == 0 && one != 1)
            st = assay_err_set(first == 0 ? err : NULL, ASSAY_E_CORRUPT, "the outbox has lost its sequence (assay_store, head)");
        first = first != 0 ? first : st;
    }
    if (!two->lost) {
        st = take_commit(s, &two->lost, first == 0 ? err : NULL);
        first = first != 0 ? first : st;
    }
    if (!two->lost)
        (void)take(s, NULL, NULL, NULL, NULL, &two->lost, NULL); /* the synchronisation */
    return first;
}

/* ---- a commit without an answer ----------------------------------------------------------------------------------- */

static int ask_fate(struct pg_store *s, const char *xid, bool *known, bool *committed, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows = {0};
    if (!arena)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int st = pg_broken(&s->w) ? pg_open(s, &s->w, PG_WRITE, err) : 0;
    if (st == 0)
        st = pg_run(s, &s->w, &st_fate, &ASSAY_VZ(xid), 1, arena, &rows, NULL, err);
    if (st != 0 || rows.n != 1)
        return st;
    struct assay_str fate = rows.row[0].col[0].s;
    *committed = assay_str_is(fate, "committed");
    *known = *committed || assay_str_is(fate, "aborted");
    return 0;
}

/* True: it is known now whether the transaction was committed. */
static bool settle(struct pg_store *s, const char *xid, bool *committed, struct assay_err *err)
{
    int64_t until = assay_mono_ns() + s->settle_ms * 1000000;
    bool known = false;
    pg_close(&s->w);
    assay_log(s->host, ASSAY_LOG_WARN, "commit_unanswered", ASSAY_KZ("transaction", xid), ASSAY_KZ("error", err->msg));
    while (!known && assay_mono_ns() < until) {
        struct timespec pause = {0, SETTLE_PAUSE_NS};
        if (ask_fate(s, xid, &known, committed, err) == 0 && known)
            break;
        (void)nanosleep(&pause, NULL);
    }
    s->host->metric_add(s->host->ctx, &pg_metrics[PG_METRIC_SETTLED],
                        (const char *const[]){!known ? "unknown" : *committed ? "committed" : "aborted", NULL}, 1);
    assay_log(s->host, known ? ASSAY_LOG_WARN : ASSAY_LOG_ERROR, "commit_settled", ASSAY_KZ("transaction", xid),
              ASSAY_KZ("fate", !known ? "unknown" : *committed ? "committed" : "aborted"));
    return known;
}

/* ---- one group -------------------------------------------------------------------------------------------------------- */

static void number_events(struct pg_store *s, const struct assay_store_item *it, size_t n, int64_t head)
{
    int64_t seq = head - (int64_t)s->n_group_ev;
    for (size_t i = 0; i < n; i++) {
        struct assay_tx *tx = it[i].tx;
        for (size_t k = 0; tx->status == 0 && k < tx->n_events; k++)
            if (assay_event_due(tx, &tx->event[k]))
                tx->last_seq = ++seq;
    }
}

static enum outcome finish_group(struct pg_store *s, const struct assay_store_item *it, size_t n, const struct first *one)
{
    struct assay_err err = {0};
    struct second two = {.id = s->n_group_ev ? calloc(s->n_group_ev, sizeof *two.id) : NULL};
    if (s->n_group_ev && !two.id) {
        roll_back(s);
        return refuse_all(s, it, n, assay_err_set(&err, ASSAY_E_NOMEM, "no memory for a group's events"), &err);
    }
    for (size_t i = 0; i < s->n_group_ev; i++)
        assay_id_new(two.id[i]);
    int st = send_second(s, &two, &err);
    if (st == 0)
        st = take_second(s, &two, &err);
    else
        two.lost = true;
    bool committed = st == 0;
    if (two.lost && two.asked) {
        if (!settle(s, one->xid, &committed, &err)) {
            free(two.id);
            (void)assay_err_set(&err, ASSAY_E_IO, "the database did not say whether it has committed, and is away");
            note_failure(s, ASSAY_E_IO, &err);
            assay_store_fail_all(it, n, ASSAY_E_IO, &err);
            return REFUSED;
        }
        st = committed ? 0 : ASSAY_E_IO;
        if (committed && s->n_group_ev > 0) { /* the last event tells the number of all */
            struct assay_val v[] = {ASSAY_VI(atomic_load(&s->head)), ASSAY_VZ(two.id[s->n_group_ev - 1])};
            if (pg_int(s, &s->w, &pg_st_seq_of, v, 2, 0, &two.head, &err) != 0)
                two.head = 0; /* the poll of the outbox's head finds them */
        }
    }
    free(two.id);
    if (!committed)
        return blame(s, it, n, st == ASSAY_E_AGAIN ? ASSAY_E_INTERNAL : st, &err);
    if (PQpipelineStatus(s->w.db) != PQ_PIPELINE_OFF && PQexitPipelineMode(s->w.db) != 1)
        pg_close(&s->w);
    if (two.head > 0)
        number_events(s, it, n, two.head);
    note_success(s);
    return COMMITTED;
}

static int begin(struct pg_store *s, const struct assay_store_item *it, size_t n, size_t *at, struct assay_err *err)
{
    *at = n;
    int st = pg_prepared(s, &s->w, &st_xid, err);
    if (st == 0)
        st = pg_prepared(s, &s->w, &pg_st_head_move, err);
    if (st == 0)
        st = pg_prepared(s, &s->w, &pg_st_append, err);
    for (size_t i = 0; st == 0 && i < n; i++) {
        st = check_cursor(it[i].tx, err);
        if (st == 0)
            st = each_statement(s, it[i].tx, prepare_one, err);
        if (st != 0)
            *at = i;
    }
    if (st != 0)
        return st;
    if (PQenterPipelineMode(s->w.db) != 1)
        return pg_error(&s->w, NULL, err, "pipeline");
    st = pg_send_text(&s->w, "BEGIN", err);
    if (st == 0)
        st = pg_send(&s->w, &st_xid, NULL, 0, err);
    for (size_t i = 0; st == 0 && i < n; i++) {
        st = each_statement(s, it[i].tx, send_one, err);
        if (st != 0)
            *at = i;
    }
    if (PQpipelineSync(s->w.db) != 1 && st == 0)
        st = pg_error(&s->w, NULL, err, "pipeline");
    return st;
}

static enum outcome group_run(struct pg_store *s, const struct assay_store_item *it, size_t n)
{
    struct assay_err err = {0};
    struct first one = {.xid = ""};
    size_t at, good = 0;
    bool again = false;
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
    st = begin(s, it, n, &at, &err);
    if (st != 0) { /* an argument or a statement of ours; what has been sent is of no use */
        if (PQpipelineStatus(s->w.db) != PQ_PIPELINE_OFF || pg_broken(&s->w))
            pg_close(&s->w);
        return blame(s, it, n, st, &err);
    }
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows = {0};
    st = take(s, NULL, NULL, NULL, NULL, &one.lost, &err); /* BEGIN */
    if (st == 0 && arena) {
        st = take(s, &st_xid, arena, &rows, NULL, &one.lost, &err);
        if (st == 0 && rows.n == 1 && rows.row[0].col[0].s.n < sizeof one.xid)
            memcpy(one.xid, rows.row[0].col[0].s.p, rows.row[0].col[0].s.n);
    }
    for (size_t i = 0; !one.lost && i < n; i++) {
        struct assay_tx *tx = it[i].tx;
        int64_t cursor, parked, touched;
        int rc = take_tx(s, tx, &cursor, &parked, &one.lost);
        if (rc != 0 && st == 0) {
            st = rc;
            err = tx->err;
            /* a statement that fails because the one before it did nothing: the guard is the cause */
            if (rc != ASSAY_E_AGAIN && tx->failed_op > 0 && !one.lost) {
                size_t failed = (size_t)tx->failed_op, n_ops = tx->n_ops;
                tx->n_ops = failed;
                if (!guards_hold(tx, cursor, parked, &touched)) {
                    st = ASSAY_E_GUARD;
                    err = tx->err;
                }
                tx->n_ops = n_ops;
                tx->status = 0;
            }
        }
        if (st != 0 || one.lost)
            continue;
        if (guards_hold(tx, cursor, parked, &touched)) {
            good++;
            for (size_t k = 0; st == 0 && k < tx->n_events; k++)
                if (assay_event_due(tx, &tx->event[k]))
                    st = keep_event(s, &tx->event[k], &err);
        } else if (touched > 0) {
            again = true;
        }
    }
    if (!one.lost)
        (void)take(s, NULL, NULL, NULL, NULL, &one.lost, NULL); /* the synchronisation */
    if (one.lost) {
        pg_close(&s->w);
        if (err.msg[0] == '\0')
            (void)assay_err_set(&err, ASSAY_E_IO, "the connection to PostgreSQL was lost");
        return refuse_all(s, it, n, ASSAY_E_IO, &err);
    }
    if (st != 0)
        return blame(s, it, n, st, &err);
    if (again && n > 1) {
        roll_back(s);
        return AGAIN;
    }
    if (good == 0) {
        roll_back(s);
        return REFUSED;
    }
    return finish_group(s, it, n, &one);
}

static void group(void *self, const struct assay_store_item *it, size_t n)
{
    struct pg_store *s = pg_self(self);
    int64_t begun = assay_mono_ns();
    enum outcome outcome = group_run(s, it, n);
    /* a deadlock with another gateway's writer is nobody's fault, and over when one has given way */
    for (int tries = 0; n == 1 && tries < BUSY_TRIES && outcome == REFUSED && it->tx->status == ASSAY_E_BUSY; tries++)
        outcome = group_run(s, it, n);
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
        h->metric_add(h->ctx, &pg_metrics[PG_METRIC_COMMITS], NULL, 1);
        h->metric_observe(h->ctx, &pg_metrics[PG_METRIC_GROUP], NULL, (double)n);
        h->metric_observe(h->ctx, &pg_metrics[PG_METRIC_SECONDS], NULL, (double)(assay_mono_ns() - begun) / 1e9);
    }
}

/* ---- between groups ------------------------------------------------------------------------------------------------ */

static int64_t next_wake_ns(void *self)
{
    const struct pg_store *s = pg_self(self);
    if (atomic_load(&s->health) != 0)
        return s->retry_ns;
    return s->keep > 0 || s->keep_age_ms > 0 ? s->prune_ns : INT64_MAX;
}

static void housekeeping(void *self)
{
    struct pg_store *s = pg_self(self);
    struct assay_err err = {0};
    int64_t now = assay_mono_ns();
    if (now < next_wake_ns(s))
        return;
    if (atomic_load(&s->health) != 0) {
        if (ready(s, &err) != 0)
            return; /* noted there, with the time of the next try */
        int st = pg_events_probe(s, &err);
        if (st == 0) {
            note_success(s);
            return;
        }
        if (st == ASSAY_E_TIMEOUT || st == ASSAY_E_IO)
            pg_close(&s->w);
        note_failure(s, st, &err);
        s->retry_ns = assay_mono_ns() + RETRY_NS;
        return;
    }
    bool more = false;
    int st = ready(s, &err);
    if (st == 0)
        st = pg_events_prune(s, &more, &err);
    if (st != 0) {
        note_failure(s, st, &err);
        assay_log(s->host, ASSAY_LOG_WARN, "events_prune_failed", ASSAY_KZ("error", err.msg));
    }
    s->prune_ns = now + (more ? PRUNE_PAUSE_NS : PRUNE_EVERY_NS);
}

const struct assay_store_queue_ops pg_writer_ops = {.group = group, .wake_ns = next_wake_ns, .idle = housekeeping};

int pg_writer_start(struct pg_store *s, struct assay_err *err)
{
    s->prune_ns = assay_mono_ns() + PRUNE_EVERY_NS / 10;
    return assay_store_queue_start(s->queue, "store-writer", err);
}
