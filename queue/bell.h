/*
 * A doorbell for lock-free queues: an eventfd that is written only when a consumer went to sleep on
 * an empty queue, so a busy queue costs no system call.
 *
 * The protocol, and why no wake-up is lost.
 *   producer:  publish the item; assay_bell_ring().
 *              ring is: fence; if `armed` then exchange it for 0, and whoever got 1 writes the eventfd.
 *   consumer:  while the queue gives items, work.  On empty: assay_bell_arm(), which is: armed = 1;
 *              fence; then look at the queue ONCE MORE; only if it is still empty, sleep on the
 *              descriptor.  When it is readable: assay_bell_silence(), and look at the queue again.
 * Claim: no consumer sleeps for ever beside an item.  Let A be the last arming, by consumer C, before
 * C sleeps, and X an item that was published and is never taken.  The fence of X's producer and the
 * fence of A have a place in the single order of sequentially consistent fences.
 *   Producer's first: C's second look, behind A's fence, sees X, so C does not sleep.
 *   A's first: the producer's load, behind its fence, sees A's 1 or something later.  Consumers
 *   write only 1, so either it finds 1 and its exchange decides, or another producer's exchange
 *   came after A: in both cases somebody's exchange gets a 1 after A, and writes the eventfd after A.
 *   C silences the eventfd only between waking and arming again, so nobody takes that write away:
 *   C wakes.                                                                                  QED
 * (Dekker's pattern, as in event counts: each side stores its own word, fences, loads the other's.)
 *
 * Several consumers that sleep on one bell need a baton on top, since one of them may silence a ring
 * and leave armed == 0 while others sleep.  Each counts itself as a sleeper before it arms.  Whoever
 * returns with work and sees other sleepers arms once more and, if the queue is not empty, rings.
 * Claim: X is not left beside sleepers.  Let A be the last arming of all.  If A's author sees the
 * queue non-empty behind it, it rings, or returns with work and passes the baton, which is a later
 * arming: contradiction.  Else, as above, a write of the eventfd follows A.  Unless it wakes the
 * sleepers, somebody silenced it, and looks at the queue, and then either arms before it sleeps
 * or passes the baton to the sleepers, whose counting came before A and so is seen: again a later
 * arming.                                                                                   QED
 *
 * Threads: ring from any; arm and silence from consumers; init and fini alone.
 */
#ifndef ASSAY_QUEUE_BELL_H
#define ASSAY_QUEUE_BELL_H

#include <stdatomic.h>
#include <stdint.h>

#include <assay/err.h>

struct assay_bell {
    int fd;
    _Alignas(64) atomic_uint armed;
    _Atomic uint64_t rings; /* writes of the eventfd, for metrics */
};

int assay_bell_init(struct assay_bell *b, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_bell_fini(struct assay_bell *b);

void assay_bell_ring(struct assay_bell *b);   /* if somebody sleeps or is about to */
void assay_bell_force(struct assay_bell *b);  /* in any case: to end a sleep for another reason */
void assay_bell_arm(struct assay_bell *b);
void assay_bell_silence(struct assay_bell *b);
/* Sleeps until the bell rings (true) or timeout_ms has passed (false; -1: never). Any number of threads. */
bool assay_bell_sleep(const struct assay_bell *b, int64_t timeout_ms);

#endif
