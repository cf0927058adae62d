/*
 * The ring.  Theory of operation.
 *
 * This is Dmitry Vyukov's bounded MPMC queue (https://www.1024cores.net/home/lock-free-algorithms/
 * queues/bounded-mpmc-queue), with claims of several neighbouring places at once.
 *
 * Places are numbered 0, 1, 2, ... for ever; place p lives in cell p & mask.  Each cell carries a
 * sequence number that says whose turn it is there:
 *     seq == p           place p is free: a producer may fill it
 *     seq == p + 1       place p is filled: a consumer may empty it
 *     seq == p + size    place p was emptied, which is: place p + size is free
 * Cells start with seq == their index.  `tail` is the next place to fill, `head` the next to empty.
 *
 * Push looks at the cells from tail on while they are free, say k of them, and claims the k places
 * by moving tail from p to p + k with one CAS.  Why that is sound for k > 1: a cell that was seen
 * free for place p + i changes only by the hand of the producer that claims p + i; claims happen by
 * moving tail away from a value <= p + i, tail never falls, and our CAS proves that it still was p.
 * So what was free stayed free until it became ours.  (64-bit places do not come round: at 10^9 a
 * second they last 584 years, so the CAS has no ABA.)  Pop mirrors this with head and filled cells.
 *
 * Full and empty are judged from the first cell alone.  A producer that claimed a place and has not
 * filled it yet makes the ring look empty from there on, and a slow consumer makes it look full: the
 * operations never wait for each other's second half.  Whoever sleeps on "empty" is woken by that
 * producer's doorbell, which it rings after filling (see bell.h).
 *
 * Memory ordering.  What must be ordered is the item: the producer writes it before it stores
 * seq = p + 1 with release; the consumer loads that seq with acquire and then reads the item.  Back
 * again, the consumer reads the item before it stores seq = p + size with release, and the next
 * producer there acquires that before it overwrites.  head and tail carry no data: they only decide
 * who owns a place, for which the atomicity of the CAS is enough, so they are relaxed.  A stale tail
 * read costs a retry.  The one subtle case is a first cell that is *behind* (seq < p): that is full
 * only if p still is the tail, which need not be re-checked, since cells only advance: with a stale
 * p the cell would be *ahead*, never behind.  Likewise for empty.
 *
 * head, tail and the cells start on cache lines of their own, so that producers do not slow down
 * consumers.  (Two lines apart: the spatial prefetcher of x86 pulls lines in pairs.)  Neighbouring
 * cells do share lines: measured with bench/ring_bench, spreading them costs more in batch mode than
 * it gives one by one.
 */
#include "ring.h"

#include <assert.h>
#include <stdatomic.h>

#define MAGIC 0x72696e67u /* "ring" */
#define APART 128

struct cell {
    _Atomic uint64_t seq;
    uint64_t item;
};

struct assay_ring {
    unsigned magic;
    uint64_t mask;
    _Alignas(APART) _Atomic uint64_t tail;
    _Alignas(APART) _Atomic uint64_t head;
    _Alignas(APART) struct cell cell[];
};

static void check(const struct assay_ring *r)
{
    assert(r != NULL && r->magic == MAGIC);
}

struct assay_ring *assay_ring_new(size_t size, struct assay_err *err)
{
    size_t n = 2;
    while (n < size && n < (size_t)1 << 20)
        n *= 2;
    size_t bytes = sizeof(struct assay_ring) + n * sizeof(struct cell);
    bytes = (bytes + APART - 1) / APART * APART;
    struct assay_ring *r = aligned_alloc(APART, bytes);
    if (r == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for a ring of %zu items", n);
        return NULL;
    }
    r->magic = MAGIC;
    r->mask = n - 1;
    atomic_init(&r->tail, 0);
    atomic_init(&r->head, 0);
    for (size_t i = 0; i < n; i++) {
        atomic_init(&r->cell[i].seq, i);
        r->cell[i].item = 0;
    }
    return r;
}

void assay_ring_free(struct assay_ring *r)
{
    if (r == NULL)
        return;
    check(r);
    r->magic = 0;
    free(r);
}

size_t assay_ring_push_n(struct assay_ring *r, const uint64_t *items, size_t n, uint64_t *pos)
{
    check(r);
    uint64_t p = atomic_load_explicit(&r->tail, memory_order_relaxed);
    while (n > 0) {
        size_t k = 0;
        int64_t first = 0; /* of the first cell: 0 free, < 0 still filled, > 0 we read an old tail */
        while (k < n && k <= r->mask) {
            uint64_t seq = atomic_load_explicit(&r->cell[(p + k) & r->mask].seq, memory_order_acquire);
            int64_t diff = (int64_t)(seq - (p + k));
            if (k == 0)
                first = diff;
            if (diff != 0)
                break;
            k++;
        }
        if (k == 0) {
            if (first < 0)
                return 0;
            p = atomic_load_explicit(&r->tail, memory_order_relaxed);
            continue;
        }
        if (!atomic_compare_exchange_weak_explicit(&r->tail, &p, p + k, memory_order_relaxed, memory_order_relaxed))
            continue; /* p is the tail of now */
        for (size_t i = 0; i < k; i++) {
            struct cell *c = &r->cell[(p + i) & r->mask];
            c->item = items[i];
            atomic_store_explicit(&c->seq, p + i + 1, memory_order_release);
        }
        if (pos != NULL)
            *pos = p;
        return k;
    }
    return 0;
}

size_t assay_ring_pop_n(struct assay_ring *r, uint64_t *items, size_t n, uint64_t *pos)
{
    check(r);
    uint64_t p = atomic_load_explicit(&r->head, memory_order_relaxed);
    while (n > 0) {
        size_t k = 0;
        int64_t first = 0; /* 0 filled, < 0 not yet, > 0 we read an old head */
        while (k < n && k <= r->mask) {
            uint64_t seq = atomic_load_explicit(&r->cell[(p + k) & r->mask].seq, memory_order_acquire);
            int64_t diff = (int64_t)(seq - (p + k + 1));
            if (k == 0)
                first = diff;
            if (diff != 0)
                break;
            k++;
        }
        if (k == 0) {
            if (first < 0)
                return 0;
            p = atomic_load_explicit(&r->head, memory_order_relaxed);
            continue;
        }
        if (!atomic_compare_exchange_weak_explicit(&r->head, &p, p + k, memory_order_relaxed, memory_order_relaxed))
            continue;
        for (size_t i = 0; i < k; i++) {
            struct cell *c = &r->cell[(p + i) & r->mask];
            items[i] = c->item;
            atomic_store_explicit(&c->seq, p + i + r->mask + 1, memory_order_release);
        }
        if (pos != NULL)
            *pos = p;
        return k;
    }
    return 0;
}

bool assay_ring_push(struct assay_ring *r, uint64_t item)
{
    return assay_ring_push_n(r, &item, 1, NULL) == 1;
}

bool assay_ring_pop(struct assay_ring *r, uint64_t *item)
{
    return assay_ring_pop_n(r, item, 1, NULL) == 1;
}

size_t assay_ring_size(const struct assay_ring *r)
{
    check(r);
    return (size_t)r->mask + 1;
}

uint64_t assay_ring_pushed(const struct assay_ring *r)
{
    check(r);
    return atomic_load_explicit(&r->tail, memory_order_relaxed);
}

uint64_t assay_ring_popped(const struct assay_ring *r)
{
    check(r);
    return atomic_load_explicit(&r->head, memory_order_relaxed);
}

size_t assay_ring_depth(const struct assay_ring *r)
{
    /* head first: then tail >= head, unless the two loads were reordered; hence the clamp */
    uint64_t head = assay_ring_popped(r), tail = assay_ring_pushed(r);
    uint64_t d = tail > head ? tail - head : 0;
    return d > r->mask ? (size_t)r->mask + 1 : (size_t)d;
}
