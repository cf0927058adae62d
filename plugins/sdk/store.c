/* Building transactions, and the short forms of the store's calls. */
#include <assay/store.h>

#include <assert.h>

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
