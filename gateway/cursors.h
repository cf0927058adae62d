/*
 * The event cursor of a durable group, when it has expired: events that the group has not taken are no
 * longer kept.  That happens to a group that is new on an old store, or that comes back after its cursor
 * was lost.  Going on from the oldest kept event skips what the group will never see, so it is a person's
 * decision (assayd --reset-cursor=GROUP), never the dispatcher's.
 */
#ifndef ASSAY_GATEWAY_CURSORS_H
#define ASSAY_GATEWAY_CURSORS_H

#include <assay/store.h>

struct assay_cursor_place {
    int64_t at;     /* the group's cursor */
    int64_t oldest; /* the smallest cursor from which events can still be read */
    int64_t head;   /* the last event */
};

/* Where a group's cursor stands; it has expired when at < oldest. Blocks. */
int assay_cursor_find(const struct assay_store *st, struct assay_str group, struct assay_cursor_place *ret,
                      struct assay_err *err) ASSAY_MUST_CHECK;
/* Moves an expired cursor to the oldest kept event; *ret is where it stood. ASSAY_E_CONFLICT when it has not
 * expired, and nothing is changed. The store's writer must run. Blocks. */
int assay_cursor_reset(const struct assay_store *st, struct assay_str group, struct assay_cursor_place *ret,
                       struct assay_err *err) ASSAY_MUST_CHECK;

#endif
