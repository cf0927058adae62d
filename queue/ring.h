/*
 * The ring: a bounded queue of 64-bit items, many producers, many consumers, no locks.
 *
 * A push on a full ring and a pop on an empty one return at once: what to do then (refuse, rescan,
 * sleep on a doorbell) is the caller's.  Items come out in the order in which their places were
 * claimed; one producer's items keep their order.
 *
 * Threads: push and pop from any thread; new and free while nobody else uses the ring.
 */
#ifndef ASSAY_QUEUE_RING_H
#define ASSAY_QUEUE_RING_H

#include <stddef.h>
#include <stdint.h>

#include <assay/err.h>

struct assay_ring;

/* size is rounded up to a power of two, between 2 and 2^20. NULL on no memory. */
struct assay_ring *assay_ring_new(size_t size, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_ring_free(struct assay_ring *r); /* items that are left are forgotten; NULL is fine */

bool assay_ring_push(struct assay_ring *r, uint64_t item) ASSAY_MUST_CHECK; /* false: full */
bool assay_ring_pop(struct assay_ring *r, uint64_t *item) ASSAY_MUST_CHECK; /* false: empty */

/* The first k of n items in neighbouring places, with one claim; returns k (0: full).  *pos, when
 * not NULL, is the place of the first: places count from 0 and never wrap in practice. */
size_t assay_ring_push_n(struct assay_ring *r, const uint64_t *items, size_t n, uint64_t *pos) ASSAY_MUST_CHECK;
size_t assay_ring_pop_n(struct assay_ring *r, uint64_t *items, size_t n, uint64_t *pos) ASSAY_MUST_CHECK;

size_t assay_ring_size(const struct assay_ring *r);
/* A moment's view, at most size. */
size_t assay_ring_depth(const struct assay_ring *r);
/* Places claimed so far by producers and by consumers. */
uint64_t assay_ring_pushed(const struct assay_ring *r);
uint64_t assay_ring_popped(const struct assay_ring *r);

#endif
