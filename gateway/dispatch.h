/*
 * The event dispatcher: feeds subscriptions (struct assay_subscription) from the store's outbox.
 *
 * Each subscription is an actor: at most one delivery at a time, on a worker of the pool; a bell
 * (the store's `committed` callback, through queue/topics) only marks it runnable.  What to deliver
 * is always read from the outbox, so a bell that is lost to a full ring, a crash or another process
 * costs time and never an event; as a net, the outbox's head is polled once per poll_ms.
 *
 * DURABLE: events after the group's cursor, in batches; effects and the cursor's move are one
 * transaction, so each event has its effect once, however often the server dies.  A failing event
 * holds its group back and is tried again after 50 ms, doubling up to 30 s; ASSAY_E_INVALID parks it
 * as a dead letter in the same transaction that moves the cursor over it.  A group whose cursor has
 * expired (what comes next is no longer kept) stands still and says so until a person resets it.
 * LOCAL: every event from the start of this process on.  BELL: a call without an event, coalesced.
 *
 * Order of life: new, add*, (store start with assay_dispatch_committed), start, drain, free.  new,
 * add, start, drain and free on the main thread; committed on the store's writer; the rest from any
 * thread.  Everything in assay_dispatch_deps is borrowed and must outlive the dispatcher.
 */
#ifndef ASSAY_GATEWAY_DISPATCH_H
#define ASSAY_GATEWAY_DISPATCH_H

#include <assay/plugin.h>

struct assay_logger;
struct assay_metrics;
struct assay_pool;
struct assay_topics;

struct assay_dispatch;

struct assay_dispatch_deps {
    const struct assay_store *store;
    struct assay_pool *pool;
    struct assay_topics *topics;
    struct assay_metrics *metrics; /* may be NULL */
    struct assay_logger *log;      /* may be NULL */
    int64_t poll_ms;               /* of the outbox's head; 0: 1000 */
    int64_t retry_min_ms, retry_max_ms; /* 0: 50 and 30000 */
};

struct assay_dispatch *assay_dispatch_new(const struct assay_dispatch_deps *deps, struct assay_err *err) ASSAY_MUST_CHECK;

/* The row is copied, what it points to is not.  plugin: name for logs.  ASSAY_E_CONFLICT when a durable group is there already, ASSAY_E_CONFIG
 * for a row without deliver, topics or a known kind. */
int assay_dispatch_add(struct assay_dispatch *d, const struct assay_subscription *sub, void *self, const char *plugin,
                       struct assay_err *err) ASSAY_MUST_CHECK;

/* Reads cursors and head (blocks), then begins to deliver. The store must have been started. */
int assay_dispatch_start(struct assay_dispatch *d, struct assay_err *err) ASSAY_MUST_CHECK;

/* The store's callback, with the dispatcher as arg. Only rings bells. */
void assay_dispatch_committed(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n);

/* Whether a durable group has taken all events up to seq.  Answers from memory when it can, else
 * asks the store (a group of another process): worker threads only. */
int assay_dispatch_caught_up(struct assay_dispatch *d, struct assay_str group, int64_t seq, bool *ret,
                             struct assay_err *err) ASSAY_MUST_CHECK;

/* 0, or ASSAY_E_GONE with the durable groups whose cursor has expired and what a person does about it.
 * Any thread. */
int assay_dispatch_health(struct assay_dispatch *d, struct assay_err *err) ASSAY_MUST_CHECK;

/* Begins no more deliveries and waits for those in hand, at most timeout_ms: ASSAY_E_TIMEOUT.
 * Before the pool and the store are stopped. */
int assay_dispatch_drain(struct assay_dispatch *d, int64_t timeout_ms, struct assay_err *err) ASSAY_MUST_CHECK;
/* Drains without bound if that was not done. NULL is fine.  No exposition of the metrics after this:
 * the numbers of the topics' groups are read at each. */
void assay_dispatch_free(struct assay_dispatch *d);

#endif
