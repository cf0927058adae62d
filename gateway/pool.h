/*
 * The worker pool: a fixed number of threads for calls that block (drivers, handlers, deliveries).
 *
 * Bounded on purpose: a full queue answers ASSAY_E_BUSY and the caller refuses its client or comes
 * back later; nothing ever waits for room.  Timers run on the same threads, before queued work, and
 * are bounded too.
 *
 * Threads: submit, after and stats from any thread, workers included.  drain and free from the one
 * thread that made the pool, never from a worker.
 * Ownership: arg stays the caller's; fn is called exactly once unless the pool was drained first
 * (see assay_pool_after).
 */
#ifndef ASSAY_GATEWAY_POOL_H
#define ASSAY_GATEWAY_POOL_H

#include <stddef.h>
#include <stdint.h>

#include <assay/err.h>

struct assay_pool;

struct assay_pool_stats {
    unsigned threads;
    uint64_t queued;   /* jobs that wait now */
    uint64_t running;  /* now */
    uint64_t timers;   /* not due yet */
    uint64_t finished; /* since the start; also the two below */
    uint64_t refused;
    uint64_t wait_ns;  /* sum over finished and running jobs of the time between submit (or due) and start */
    uint64_t wait_ns_max; /* the longest of them */
    uint64_t run_ns;   /* sum over finished jobs */
};

/* queue: most jobs that wait (>= 1); timers: most timers pending, 0 for 65536. NULL on failure. */
struct assay_pool *assay_pool_new(unsigned threads, size_t queue, size_t timers, struct assay_err *err) ASSAY_MUST_CHECK;

/* 0, or ASSAY_E_BUSY when the queue is full or the pool is draining; fn then is not called. */
int assay_pool_submit(struct assay_pool *p, void (*fn)(void *arg), void *arg) ASSAY_MUST_CHECK;

/* Runs fn(arg) once, delay_ms (>= 0) from now.  dropped, when not NULL, is called with arg instead
 * if the pool is drained before that, on the draining thread.  ASSAY_E_BUSY as above. */
int assay_pool_after(struct assay_pool *p, int64_t delay_ms, void (*fn)(void *arg), void (*dropped)(void *arg), void *arg)
    ASSAY_MUST_CHECK;

/* Takes no more work, drops the timers that are not due, and waits until what is queued and running
 * has finished.  ASSAY_E_TIMEOUT when that took longer: jobs go on and drain may be called again. */
int assay_pool_drain(struct assay_pool *p, int64_t timeout_ms, struct assay_err *err) ASSAY_MUST_CHECK;

/* Joins the threads; waits for running jobs without bound, so drain first. NULL is fine. */
void assay_pool_free(struct assay_pool *p);

void assay_pool_stats(struct assay_pool *p, struct assay_pool_stats *out);

#endif
