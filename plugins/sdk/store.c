/* Building transactions, and the short forms of the store's calls. */
#include <assay/store.h>

#include <assay/value.h>

#include <assert.h>
#include <time.h>

struct assay_tx *assay_tx_new(struct assay_arena *arena, const char *name)
{
    struct assay_tx *tx = assay_arena_alloc(arena, sizeof *tx);
    if (tx) {
        tx->arena = arena;
        tx->name = name;
        tx->failed_op = -1;
    }
    return tx;
}

/* Makes room for one more row in an array of the arena; the old one is left to the arena. */
static void *grown(struct assay_arena *arena, void *old, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return old;
    size_t more = *room ? *room * 2 : 4;
    void *p = assay_arena_array(arena, more, size);
    if (!p)
        return NULL;
    if (n)
        memcpy(p, old, n * size);
    *room = more;
    return p;
}

int assay_tx_add(struct assay_tx *tx, const struct assay_stmt *stmt, int expect, const struct assay_val *args, size_t n)
{
    if (!tx)
        return -1;
    assert(strlen(stmt->params) == n);
    if (tx->failed || tx->n_ops == ASSAY_TX_OPS) {
        tx->failed = true;
        return -1;
    }
    struct assay_op *ops = grown(tx->arena, tx->op, tx->n_ops, &tx->room_ops, sizeof *ops);
    struct assay_val *copy = assay_arena_array(tx->arena, n, sizeof *copy);
    if (!ops || !copy) {
        tx->failed = true;
        return -1;
    }
    if (n)
        memcpy(copy, args, n * sizeof *copy);
    tx->op = ops;
    ops[tx->n_ops] = (struct assay_op){.stmt = stmt, .args = copy, .n_args = n, .expect = expect};
    return (int)tx->n_ops++;
}

void assay_tx_event(struct assay_tx *tx, struct assay_event ev)
{
    if (!tx || tx->failed)
        return;
    struct assay_event *events = grown(tx->arena, tx->event, tx->n_events, &tx->room_events, sizeof *events);
    if (!events) {
        tx->failed = true;
        return;
    }
    tx->event = events;
    events[tx->n_events++] = ev;
}

static int usable(struct assay_tx *tx, struct assay_err *err)
{
    if (!tx || tx->failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to build the transaction");
    return 0;
}

int assay_store_exec(const struct assay_store *st, struct assay_tx *tx, struct assay_err *err)
{
    int rc = usable(tx, err);
    return rc ? rc : st->ops->exec(st->self, tx, err);
}

int assay_store_exec_async(const struct assay_store *st, struct assay_tx *tx, assay_tx_done done, void *arg, struct assay_err *err)
{
    int rc = usable(tx, err);
    return rc ? rc : st->ops->exec_async(st->self, tx, done, arg, err);
}

int assay_store_query(const struct assay_store *st, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
                      struct assay_arena *arena, struct assay_rows *out, struct assay_err *err)
{
    assert(strlen(stmt->params) == n);
    return st->ops->query(st->self, stmt, args, n, arena, out, err);
}

#define CATCH_UP_POLL_NS 5000000

int assay_store_behind(const struct assay_store *st, int64_t seq, const char *const *topics, int64_t head, bool *ret,
                       struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_event_row *ev;
    size_t n = 0;
    if (!arena)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = seq >= head ? ASSAY_OK : st->ops->events(st->self, seq, topics, 1, arena, &ev, &n, err);
    if (rc == 0)
        *ret = n > 0 && ev[0].seq <= head;
    return rc;
}

int assay_store_catch_up(const struct assay_store *st, struct assay_str group, const char *const *topics, int64_t max_ms,
                         struct assay_err *err)
{
    int64_t head = 0, until = assay_mono_ns() + max_ms * 1000000;
    int rc = st->ops->events_head(st->self, &head, err);
    while (rc == 0) {
        int64_t at = 0;
        rc = st->ops->cursor_get(st->self, group, &at, err);
        if (rc != 0 || at >= head)
            break;
        /* a cursor may rest behind events that are none of the group's: those are nothing to wait for */
        bool behind = false;
        rc = assay_store_behind(st, at, topics, head, &behind, err);
        if (rc != 0 || !behind || assay_mono_ns() >= until)
            break;
        (void)nanosleep(&(struct timespec){.tv_nsec = CATCH_UP_POLL_NS}, NULL); /* woken early: looks once more */
    }
    return rc;
}
