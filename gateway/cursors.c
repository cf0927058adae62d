#include "gateway/cursors.h"

#define TRIES 8 /* pruning may go on between a look and a move */

static int readable(const struct assay_store *st, int64_t after, bool *ret, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to read an event");
    struct assay_event_row *row;
    struct assay_err why = {0, ""};
    size_t n;
    int r = st->ops->events(st->self, after, NULL, 1, arena, &row, &n, &why);
    if (r != 0 && r != ASSAY_E_GONE) {
        *err = why;
        return r;
    }
    *ret = r == 0;
    return 0;
}

/* A store answers only whether a place can be read from, so the oldest one is found by halves. */
int assay_cursor_find(const struct assay_store *st, struct assay_str group, struct assay_cursor_place *ret, struct assay_err *err)
{
    struct assay_cursor_place p = {0, 0, 0};
    int r = st->ops->cursor_get(st->self, group, &p.at, err);
    if (r == 0)
        r = st->ops->events_head(st->self, &p.head, err);
    int64_t gone = -1, kept = p.head; /* nothing is asked of the head: no event after it can be gone */
    while (r == 0 && gone + 1 < kept) {
        int64_t middle = gone + (kept - gone) / 2;
        bool ok = false;
        r = readable(st, middle, &ok, err);
        if (ok)
            kept = middle;
        else
            gone = middle;
    }
    p.oldest = kept;
    if (r == 0)
        *ret = p;
    return r;
}

int assay_cursor_reset(const struct assay_store *st, struct assay_str group, struct assay_cursor_place *ret, struct assay_err *err)
{
    struct assay_cursor_place p;
    int r = 0;
    for (int i = 0; i < TRIES; i++) {
        r = assay_cursor_find(st, group, &p, err);
        if (r != 0)
            return r;
        if (p.at >= p.oldest)
            return assay_err_set(err, ASSAY_E_CONFLICT,
                                 "the cursor of %.*s has not expired: it is at event %lld of %lld, and events from %lld on are kept",
                                 ASSAY_FMT(group), (long long)p.at, (long long)p.head, (long long)p.oldest + 1);
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "cursor.reset") : NULL;
        if (tx == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a transaction");
        tx->cursor_group = group;
        tx->cursor_from = p.at;
        tx->cursor_to = p.oldest;
        r = assay_store_exec(st, tx, err);
        bool ok = false;
        if (r == 0)
            r = readable(st, p.oldest, &ok, err);
        if (r == 0 && ok) {
            *ret = p;
            return 0;
        }
        if (r != 0 && r != ASSAY_E_GUARD)
            return r;
    }
    return r != 0 ? r : assay_err_set(err, ASSAY_E_BUSY, "events are pruned faster than the cursor can be moved; try again");
}
