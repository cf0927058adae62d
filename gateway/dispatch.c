/*
 * The event dispatcher.  Theory of operation.
 *
 * Actors.  A subscription is IDLE, QUEUED (its job is in the pool's queue), RUNNING (a worker is in
 * it) or WAITING (for a point in time).  All changes of state are made under d->lock; everything else
 * in a subscription belongs to the worker that runs it, and passes from one run to the next by that
 * lock.  A run handles one batch and then queues itself again if there is more, so that a long
 * backlog of one subscription does not keep a worker from the others.
 *
 * Bells.  The store's callback publishes to the topics; one thread of ours sleeps on the doorbells of
 * all subscriptions, empties their rings (the items say nothing that the outbox does not say better)
 * and marks the actors.  The same thread ends waits, and once per poll_ms has a worker look at the
 * outbox's head: a head that no bell announced comes from another process, and marks everybody.
 *
 * The position of a durable subscription is two numbers.  `cursor` is what the store has: each
 * transaction moves it from..to under guard, so that of two processes on one database, only one
 * commits a batch; the loser reads the cursor again.  `seen` runs ahead of it over events that the
 * subscription did not ask for: to store each of those moves would cost a commit each, so they are
 * stored with the next effects, or SKIP_MS after the last move.  They must be stored at some time,
 * since others wait for the cursor to reach a sequence number (read-your-writes across services):
 * SKIP_MS after a commit a sweep marks every actor that is behind the head, its topics or not.  The
 * head is read before the events, and sequence follows commit order, so a batch that came out short
 * has seen all up to that head.
 *
 * Under load a durable subscription gathers: after a run that stored something, bells wait until GATHER_MS
 * have passed, so that its events come in batches.  Each run costs a worker's wake-up, two reads and a
 * share of a commit, whatever the number of its events; without gathering the reaction to each
 * submission's end cost as much as taking it.  The first event after a rest is delivered at once, and
 * subscriptions that answer a waiting client are not durable ones.
 *
 * Failures.  deliver fails on an event that is not the first of its batch: what it had added is cut
 * off, the events before it are committed, and it will be the first next time.  It fails as the
 * first: INVALID parks it, anything else waits with growing delay.  The commit fails: if another
 * process moved the cursor, read on from there; if the store could not (busy, full, I/O), wait; else
 * one of the effects is to blame, and the batch is done again one event at a time to find it.
 */
#include "gateway/dispatch.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include <assay/value.h>

#include "gateway/log.h"
#include "gateway/metrics.h"
#include "gateway/pool.h"
#include "queue/bell.h"
#include "queue/topics.h"

#define MAGIC 0x64697370u /* "disp" */
#define BATCH 64
#define BATCH_MAX 1000
#define SKIP_MS 50
#define GATHER_MS 50
#define POOL_FULL_MS 10

static const double delay_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 0};
enum { M_LAG, M_DELIVERIES, M_FAILURES, M_DEAD, M_DELAY };
static const struct assay_metric metric_rows[] = {
    [M_LAG] = {"assay_dispatch_lag_events", ASSAY_METRIC_GAUGE, "Events in the outbox that a subscription has not taken yet.",
               "group", NULL},
    [M_DELIVERIES] = {"assay_dispatch_deliveries_total", ASSAY_METRIC_COUNTER, "Events (or bells) taken by a subscription.",
                      "group", NULL},
    [M_FAILURES] = {"assay_dispatch_failures_total", ASSAY_METRIC_COUNTER,
                    "Deliveries or their commits that failed and are tried again.", "group", NULL},
    [M_DEAD] = {"assay_dispatch_dead_letters_total", ASSAY_METRIC_COUNTER, "Events that a subscription refused for good.",
                "group", NULL},
    [M_DELAY] = {"assay_dispatch_delay_seconds", ASSAY_METRIC_HISTOGRAM, "From an event's commit to its effects' commit.",
                 "group", delay_bounds},
};

/* of every consumer group of the topics, read at each scrape */
enum { Q_DEPTH, Q_SIZE, Q_PUBLISHED, Q_REFUSED, Q_RESCANS, Q_BELLS, Q_WAIT, Q_WAIT_COUNT, Q_WAIT_MAX };
static const struct assay_metric queue_rows[] = {
    [Q_DEPTH] = {"assay_queue_depth_items", ASSAY_METRIC_GAUGE, "Items on a consumer group's ring.", "group", NULL},
    [Q_SIZE] = {"assay_queue_size_items", ASSAY_METRIC_GAUGE, "Items that a consumer group's ring holds.", "group", NULL},
    [Q_PUBLISHED] = {"assay_queue_published_total", ASSAY_METRIC_COUNTER, "Items put on a group's ring.", "group", NULL},
    [Q_REFUSED] = {"assay_queue_refused_total", ASSAY_METRIC_COUNTER, "Items that found a group's ring full.", "group", NULL},
    [Q_RESCANS] = {"assay_queue_rescans_total", ASSAY_METRIC_COUNTER, "Rescans that followed a full ring.", "group", NULL},
    [Q_BELLS] = {"assay_queue_bells_total", ASSAY_METRIC_COUNTER, "Times a sleeping consumer was woken.", "group", NULL},
    [Q_WAIT] = {"assay_queue_wait_seconds_total", ASSAY_METRIC_COUNTER,
                "Time on the ring, summed over the timed sample of items.", "group", NULL},
    [Q_WAIT_COUNT] = {"assay_queue_timed_items_total", ASSAY_METRIC_COUNTER, "Items whose time on the ring was taken.", "group",
                      NULL},
    [Q_WAIT_MAX] = {"assay_queue_wait_max_seconds", ASSAY_METRIC_GAUGE, "Longest time on the ring in the sample.", "group", NULL},
};

enum state { IDLE, QUEUED, RUNNING, WAITING };

struct sub {
    struct assay_dispatch *d;
    const struct assay_subscription *row; /* kept */
    struct assay_subscription kept;
    void *self;
    const char *plugin;
    const char *group;         /* for logs and metrics */
    char *tx_name;
    const char *const *topics; /* for reading: NULL for all */
    struct assay_group *bell;
    size_t batch;
    /* guarded by d->lock */
    enum state state;
    bool again;      /* rung while running or held back */
    bool held;       /* WAITING after a failure: bells do not shorten it */
    int64_t until_ns;
    int64_t committed_ns; /* when a run of a durable one last stored something; 0: never */
    /* the running worker's */
    int64_t cursor;
    int64_t moved_ns;   /* when the cursor was last stored */
    size_t alone;       /* that many events one at a time */
    unsigned failures;  /* in a row */
    atomic_bool expired; /* the events after the cursor are no longer kept */
    _Atomic int64_t seen; /* written by the running worker, read by caught_up and the lag */
};

struct assay_dispatch {
    unsigned magic;
    struct assay_dispatch_deps deps;
    struct sub *sub[ASSAY_TOPICS_GROUPS];
    size_t n_subs;
    _Atomic int64_t head; /* highest sequence that a bell or a poll told of */
    struct assay_bell wake; /* of the thread, when a wait begins or at the end */
    pthread_t thread;
    bool thread_runs;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t calm;
    bool draining, polling; /* guarded by lock */
};

static void lock(struct assay_dispatch *d)
{
    int r = pthread_mutex_lock(&d->lock);
    assert(r == 0);
}

static void unlock(struct assay_dispatch *d)
{
    int r = pthread_mutex_unlock(&d->lock);
    assert(r == 0);
}

static void check(const struct assay_dispatch *d)
{
    assert(d != NULL && d->magic == MAGIC);
}

static void count(const struct sub *s, int metric, double by)
{
    if (s->d->deps.metrics != NULL)
        assay_metrics_add(s->d->deps.metrics, &metric_rows[metric], &s->group, by);
}

static void raise_head(struct assay_dispatch *d, int64_t seq)
{
    int64_t old = atomic_load_explicit(&d->head, memory_order_relaxed);
    while (old < seq && !atomic_compare_exchange_weak_explicit(&d->head, &old, seq, memory_order_relaxed, memory_order_relaxed)) {
    }
}

static void show_lag(const struct sub *s)
{
    if (s->d->deps.metrics == NULL || s->row->kind == ASSAY_SUB_BELL)
        return;
    int64_t lag = atomic_load_explicit(&s->d->head, memory_order_relaxed) - atomic_load_explicit(&s->seen, memory_order_relaxed);
    assay_metrics_set(s->d->deps.metrics, &metric_rows[M_LAG], &s->group, lag > 0 ? (double)lag : 0);
}

/* ---- states; d->lock is held ---- */

static void run(void *arg);

static void wait_until(struct sub *s, int64_t delay_ms, bool held)
{
    s->state = WAITING;
    s->held = held;
    s->until_ns = assay_mono_ns() + delay_ms * 1000000;
    assay_bell_force(&s->d->wake);
}

static void enqueue(struct sub *s)
{
    s->state = QUEUED;
    if (assay_pool_submit(s->d->deps.pool, run, s) != 0)
        wait_until(s, POOL_FULL_MS, true);
}

/* The next run after a bell: at once when the last is some time ago, else when GATHER_MS have passed since. */
static void gather(struct sub *s)
{
    int64_t since_ms = (assay_mono_ns() - s->committed_ns) / 1000000;
    if (s->committed_ns != 0 && since_ms < GATHER_MS)
        wait_until(s, GATHER_MS - since_ms, true);
    else
        enqueue(s);
}

static void mark(struct sub *s)
{
    if (s->d->draining)
        return;
    switch (s->state) {
    case IDLE:
        gather(s);
        break;
    case QUEUED:
        break;
    case RUNNING:
        s->again = true;
        break;
    case WAITING:
        if (!s->held)
            enqueue(s);
        break;
    }
}

static bool in_hand(const struct assay_dispatch *d)
{
    if (d->polling)
        return true;
    for (size_t i = 0; i < d->n_subs; i++)
        if (d->sub[i]->state == QUEUED || d->sub[i]->state == RUNNING)
            return true;
    return false;
}

/* ---- one run of an actor ---- */

/* What comes after a run: nothing until the next bell, another run, or one after delay_ms. */
struct next {
    enum { REST, MORE, LATER } what;
    int64_t delay_ms;
    bool held;
};
static const struct next rest = {REST, 0, false}, more = {MORE, 0, false};

static struct next failed(struct sub *s, const struct assay_event_row *ev, const struct assay_err *err, const char *what)
{
    const struct assay_dispatch_deps *deps = &s->d->deps;
    int64_t delay = deps->retry_min_ms;
    for (unsigned i = 0; i < s->failures && delay < deps->retry_max_ms; i++)
        delay *= 2;
    if (delay > deps->retry_max_ms)
        delay = deps->retry_max_ms;
    s->failures++;
    count(s, M_FAILURES, 1);
    if (deps->log != NULL)
        ASSAY_LOG(deps->log, s->failures > 5 ? ASSAY_LOG_ERROR : ASSAY_LOG_WARN, "dispatch", what, ASSAY_KZ("plugin", s->plugin),
                  ASSAY_KZ("group", s->group), ASSAY_KI("seq", ev != NULL ? ev->seq : 0),
                  ASSAY_KS("topic", ev != NULL ? ev->ev.topic : ASSAY_STR("")), ASSAY_KZ("code", assay_err_word(err->code)),
                  ASSAY_KZ("error", err->msg), ASSAY_KI("failures", s->failures), ASSAY_KR("retry_seconds", (double)delay / 1000));
    return (struct next){LATER, delay, true};
}

static int deliver(struct sub *s, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    struct assay_log_context c = {.component = s->plugin};
    if (ev != NULL && ev->ev.topic.n > 11 && memcmp(ev->ev.topic.p, "submission.", 11) == 0)
        c.submission_id = ev->ev.subject;
    const struct assay_log_context *before = assay_log_enter(&c);
    *err = (struct assay_err){0};
    int r = s->row->deliver(s->self, ev, tx, err);
    (void)assay_log_enter(before);
    if (r > 0) /* a delivery cannot be deferred */
        r = assay_err_set(err, ASSAY_E_INTERNAL, "deliver returned %d", r);
    if (r < 0 && err->code == 0)
        (void)assay_err_set(err, r, "deliver returned %s without a message", assay_err_word(r));
    return r;
}

static bool draining(struct assay_dispatch *d)
{
    lock(d);
    bool b = d->draining;
    unlock(d);
    return b;
}

/* The store said that it, not the effects, is at fault. */
static bool of_the_store(int code)
{
    return code == ASSAY_E_BUSY || code == ASSAY_E_IO || code == ASSAY_E_FULL || code == ASSAY_E_TIMEOUT ||
           code == ASSAY_E_NOMEM || code == ASSAY_E_CORRUPT || code == ASSAY_E_AGAIN;
}

static void took(struct sub *s, const struct assay_event_row *ev, size_t n)
{
    s->failures = 0;
    count(s, M_DELIVERIES, (double)n);
    if (s->d->deps.metrics == NULL)
        return;
    int64_t now = assay_now_ms();
    for (size_t i = 0; i < n; i++) {
        int64_t ms = now > ev[i].at_ms ? now - ev[i].at_ms : 0; /* clocks of two machines may disagree */
        assay_metrics_observe(s->d->deps.metrics, &metric_rows[M_DELAY], &s->group, (double)ms / 1000);
    }
}

static int commit(struct sub *s, struct assay_tx *tx, int64_t to, struct assay_err *err)
{
    if (tx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a transaction");
    tx->cursor_group = assay_str(s->row->group);
    tx->cursor_from = s->cursor;
    tx->cursor_to = to;
    int r = assay_store_exec(s->d->deps.store, tx, err);
    if (r != 0)
        return r;
    s->cursor = to;
    s->moved_ns = assay_mono_ns();
    atomic_store_explicit(&s->seen, to, memory_order_relaxed);
    return 0;
}

/* After ASSAY_E_GUARD: true when the cursor was moved by somebody else, and is known again. */
static bool moved_by_another(struct sub *s)
{
    const struct assay_store *st = s->d->deps.store;
    int64_t now = 0;
    struct assay_err err;
    if (st->ops->cursor_get(st->self, assay_str(s->row->group), &now, &err) != 0 || now == s->cursor)
        return false;
    /* forward: what we have skipped beyond it stays skipped; backward: a person's explicit reset */
    if (now < s->cursor || now > atomic_load_explicit(&s->seen, memory_order_relaxed))
        atomic_store_explicit(&s->seen, now, memory_order_relaxed);
    s->cursor = now;
    return true;
}

/* Nothing to deliver up to head: remember that, and store it when that is due. */
static struct next skip(struct sub *s, int64_t head, struct assay_arena *arena)
{
    if (head > atomic_load_explicit(&s->seen, memory_order_relaxed))
        atomic_store_explicit(&s->seen, head, memory_order_relaxed);
    int64_t seen = atomic_load_explicit(&s->seen, memory_order_relaxed);
    s->failures = 0;
    if (seen <= s->cursor)
        return rest;
    int64_t since_ms = (assay_mono_ns() - s->moved_ns) / 1000000;
    if (since_ms < SKIP_MS)
        return (struct next){LATER, SKIP_MS - since_ms, false};
    struct assay_err err = {0};
    int r = commit(s, assay_tx_new(arena, s->tx_name), seen, &err);
    if (r == 0)
        return rest;
    if (r == ASSAY_E_GUARD && moved_by_another(s))
        return more;
    return failed(s, NULL, &err, "cursor_move_failed");
}

static struct next park(struct sub *s, const struct assay_event_row *ev, const struct assay_err *why, struct assay_arena *arena)
{
    struct assay_err err = {0};
    struct assay_tx *tx = assay_tx_new(arena, s->tx_name);
    if (tx != NULL)
        tx->dead_letter = (struct assay_dead_letter){assay_str(s->row->group), ev->seq, assay_str(why->msg)};
    int r = commit(s, tx, ev->seq, &err);
    if (r == ASSAY_E_GUARD && moved_by_another(s))
        return more;
    if (r != 0)
        return failed(s, ev, &err, "dead_letter_failed");
    s->failures = 0;
    if (s->alone > 0)
        s->alone--;
    count(s, M_DEAD, 1);
    if (s->d->deps.log != NULL)
        ASSAY_LOG(s->d->deps.log, ASSAY_LOG_ERROR, "dispatch", "event_parked", ASSAY_KZ("plugin", s->plugin),
                  ASSAY_KZ("group", s->group), ASSAY_KI("seq", ev->seq), ASSAY_KS("topic", ev->ev.topic),
                  ASSAY_KS("subject", ev->ev.subject), ASSAY_KZ("error", why->msg));
    return more;
}

struct mark {
    size_t ops, events; /* of a transaction, behind an event */
};

static void cut(struct assay_tx *tx, struct mark at)
{
    tx->n_ops = at.ops;
    tx->n_events = at.events;
    tx->failed = false;
}

static int over(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory, or more than %d statements", ASSAY_TX_OPS);
}

/* Settles the *taken events, or as many of the first of them as can be together; *taken 0 and an error when not even one can. */
static int settle(struct sub *s, const struct assay_event_row *ev, size_t *taken, struct assay_tx *tx, const struct mark *behind,
                  struct assay_err *err)
{
    for (;;) {
        int r = s->row->settle(s->self, ev, *taken, tx, err);
        if (r == 0 && tx->failed)
            r = over(err);
        if (r == 0)
            return 0;
        *taken /= 2;
        cut(tx, behind[*taken]);
        if (*taken == 0)
            return r;
    }
}

static struct next durable(struct sub *s, struct assay_arena *arena, int64_t head, const struct assay_event_row *ev, size_t n,
                           size_t max)
{
    struct assay_err err = {0};
    struct assay_tx *tx = assay_tx_new(arena, s->tx_name);
    if (tx == NULL) {
        (void)assay_err_set(&err, ASSAY_E_NOMEM, "no memory for a transaction");
        return failed(s, NULL, &err, "delivery_failed");
    }
    struct mark *behind = assay_arena_array(arena, n + 1, sizeof *behind);
    if (behind == NULL) {
        (void)assay_err_set(&err, ASSAY_E_NOMEM, "no memory for a transaction");
        return failed(s, NULL, &err, "delivery_failed");
    }
    size_t taken = 0;
    int r = 0;
    behind[0] = (struct mark){tx->n_ops, tx->n_events};
    while (taken < n && (taken == 0 || !draining(s->d))) {
        r = deliver(s, &ev[taken], tx, &err);
        if (r == 0 && tx->failed)
            r = over(&err);
        if (r != 0) {
            cut(tx, behind[taken]);
            break;
        }
        behind[++taken] = (struct mark){tx->n_ops, tx->n_events};
    }
    if (taken > 0 && s->row->settle != NULL)
        r = settle(s, ev, &taken, tx, behind, &err);
    if (taken == 0)
        return r == ASSAY_E_INVALID ? park(s, &ev[0], &err, arena) : failed(s, &ev[0], &err, "delivery_failed");

    bool all = taken == n && n < max;
    int64_t to = all && head > ev[taken - 1].seq ? head : ev[taken - 1].seq;
    r = commit(s, tx, to, &err);
    if (r == 0) {
        took(s, ev, taken);
        s->alone -= s->alone < taken ? s->alone : taken;
        return all ? rest : more;
    }
    if (r == ASSAY_E_GUARD && moved_by_another(s))
        return more;
    if (of_the_store(r) || taken == 1)
        return r == ASSAY_E_INVALID ? park(s, &ev[0], &err, arena) : failed(s, &ev[0], &err, "delivery_not_committed");
    count(s, M_FAILURES, 1);
    s->alone = taken;
    return more;
}

static struct next local(struct sub *s, int64_t head, const struct assay_event_row *ev, size_t n, size_t max)
{
    struct assay_err err = {0};
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && draining(s->d))
            return more;
        int r = deliver(s, &ev[i], NULL, &err);
        if (r != 0 && r != ASSAY_E_INVALID)
            return failed(s, &ev[i], &err, "delivery_failed");
        if (r != 0) {
            count(s, M_DEAD, 1);
            if (s->d->deps.log != NULL)
                ASSAY_LOG(s->d->deps.log, ASSAY_LOG_ERROR, "dispatch", "event_refused", ASSAY_KZ("plugin", s->plugin),
                          ASSAY_KZ("group", s->group), ASSAY_KI("seq", ev[i].seq), ASSAY_KS("topic", ev[i].ev.topic),
                          ASSAY_KZ("error", err.msg));
            s->failures = 0;
        } else {
            took(s, &ev[i], 1);
        }
        atomic_store_explicit(&s->seen, ev[i].seq, memory_order_relaxed);
    }
    if (n == max)
        return more;
    if (head > atomic_load_explicit(&s->seen, memory_order_relaxed))
        atomic_store_explicit(&s->seen, head, memory_order_relaxed);
    s->failures = 0;
    return rest;
}

#define REMEDY "stop the server and run: assayd --reset-cursor="

/* A durable cursor that has expired is reset by a person, never passed over; on a database of several processes that
 * may happen while we run. */
static struct next expired(struct sub *s, const struct assay_err *gone)
{
    if (moved_by_another(s))
        return more;
    struct assay_err err;
    (void)assay_err_set(&err, ASSAY_E_GONE, "%s: " REMEDY "%s", gone->msg, s->row->group);
    atomic_store_explicit(&s->expired, true, memory_order_relaxed);
    return failed(s, NULL, &err, "cursor_expired");
}

static struct next run_once(struct sub *s)
{
    struct assay_err err = {0};
    if (s->row->kind == ASSAY_SUB_BELL) {
        if (deliver(s, NULL, NULL, &err) != 0)
            return failed(s, NULL, &err, "delivery_failed");
        took(s, NULL, 0);
        count(s, M_DELIVERIES, 1);
        return rest;
    }
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    if (arena == NULL) {
        (void)assay_err_set(&err, ASSAY_E_NOMEM, "no memory for a delivery");
        return failed(s, NULL, &err, "delivery_failed");
    }
    const struct assay_store *st = s->d->deps.store;
    size_t max = s->alone > 0 ? 1 : s->batch, n = 0;
    int64_t head = 0, seen = atomic_load_explicit(&s->seen, memory_order_relaxed);
    struct assay_event_row *ev = NULL;
    int r = st->ops->events_head(st->self, &head, &err);
    if (r == 0)
        r = st->ops->events(st->self, seen, s->topics, max, arena, &ev, &n, &err);
    if (r == ASSAY_E_GONE && s->row->kind == ASSAY_SUB_LOCAL && head > seen) {
        /* a process that slept through the outbox's whole retention: nothing of this is stored, go on */
        if (s->d->deps.log != NULL)
            ASSAY_LOG(s->d->deps.log, ASSAY_LOG_ERROR, "dispatch", "events_missed", ASSAY_KZ("plugin", s->plugin),
                      ASSAY_KZ("group", s->group), ASSAY_KI("from", seen), ASSAY_KI("to", head));
        atomic_store_explicit(&s->seen, head, memory_order_relaxed);
        return more;
    }
    if (r == ASSAY_E_GONE && s->row->kind == ASSAY_SUB_DURABLE)
        return expired(s, &err);
    if (r != 0)
        return failed(s, NULL, &err, "outbox_not_read");
    atomic_store_explicit(&s->expired, false, memory_order_relaxed);
    raise_head(s->d, head);
    if (s->row->kind == ASSAY_SUB_LOCAL)
        return local(s, head, ev, n, max);
    return n > 0 ? durable(s, arena, head, ev, n, max) : skip(s, head, arena);
}

static void run(void *arg)
{
    struct sub *s = arg;
    struct assay_dispatch *d = s->d;
    lock(d);
    assert(s->state == QUEUED);
    bool go = !d->draining;
    s->state = go ? RUNNING : IDLE;
    s->again = false;
    if (!go)
        (void)pthread_cond_broadcast(&d->calm);
    unlock(d);
    if (!go)
        return;

    int64_t before = s->moved_ns;
    struct next next = run_once(s);
    show_lag(s);

    lock(d);
    if (s->moved_ns != before)
        s->committed_ns = s->moved_ns;
    s->state = IDLE;
    if (d->draining)
        (void)pthread_cond_broadcast(&d->calm);
    else if (next.what == LATER && (next.held || !s->again))
        wait_until(s, next.delay_ms, next.held);
    else if (next.what != REST)
        enqueue(s);
    else if (s->again)
        gather(s);
    unlock(d);
}

/* ---- the thread of the bells ---- */

static void poll_head(void *arg)
{
    struct assay_dispatch *d = arg;
    const struct assay_store *st = d->deps.store;
    int64_t head = 0, known = atomic_load_explicit(&d->head, memory_order_relaxed);
    struct assay_err err;
    int r = st->ops->events_head(st->self, &head, &err);
    if (r == 0)
        raise_head(d, head);
    for (size_t i = 0; i < d->n_subs; i++)
        show_lag(d->sub[i]);
    lock(d);
    if (r == 0 && head > known)
        for (size_t i = 0; i < d->n_subs; i++)
            mark(d->sub[i]);
    d->polling = false;
    if (d->draining)
        (void)pthread_cond_broadcast(&d->calm);
    unlock(d); /* nothing of d after this: drain may be over */
}

static void empty_ring(struct sub *s)
{
    uint64_t items[64];
    bool rescan = false;
    while (assay_group_take(s->bell, items, 64, &rescan) > 0 || rescan) {
    }
}

/* The bell of one that is held back is left rung, so that nobody rings it again or wakes us for it. */
static int64_t end_waits(struct assay_dispatch *d, struct pollfd *fd, int64_t next_poll_ns)
{
    int64_t now = assay_mono_ns(), soonest = next_poll_ns;
    lock(d);
    for (size_t i = 0; i < d->n_subs; i++) {
        struct sub *s = d->sub[i];
        if (s->state == WAITING && s->until_ns <= now && !d->draining) {
            if (s->held)
                empty_ring(s);
            enqueue(s);
        }
        fd[i].fd = s->state == WAITING && s->held ? -1 : assay_group_fd(s->bell);
        if (s->state == WAITING && s->until_ns < soonest)
            soonest = s->until_ns;
    }
    unlock(d);
    return soonest;
}

/* Those whom no bell concerned move their positions too, so that "has the group seen seq?" has an answer. */
static void sweep(struct assay_dispatch *d, int64_t head)
{
    lock(d);
    for (size_t i = 0; i < d->n_subs; i++) {
        struct sub *s = d->sub[i];
        if (s->row->kind != ASSAY_SUB_BELL && atomic_load_explicit(&s->seen, memory_order_relaxed) < head)
            mark(s);
    }
    unlock(d);
}

static void *bells(void *arg)
{
    struct assay_dispatch *d = arg;
    struct pollfd fd[ASSAY_TOPICS_GROUPS + 1];
    for (size_t i = 0; i < d->n_subs; i++) {
        fd[i] = (struct pollfd){.fd = assay_group_fd(d->sub[i]->bell), .events = POLLIN};
        /* The bell is armed by this, and only then does the actor's first run begin: an event that came
         * before is in the outbox that it reads, and one that comes later rings. The other way round, an
         * event between a first run and the arming would wait for the next one. */
        empty_ring(d->sub[i]);
        lock(d);
        mark(d->sub[i]);
        unlock(d);
    }
    fd[d->n_subs] = (struct pollfd){.fd = d->wake.fd, .events = POLLIN};
    int64_t next_poll = assay_mono_ns() + d->deps.poll_ms * 1000000;
    int64_t swept = atomic_load_explicit(&d->head, memory_order_relaxed), sweep_ns = 0;
    while (!atomic_load_explicit(&d->stop, memory_order_acquire)) {
        if (sweep_ns == 0) {
            assay_bell_arm(&d->wake);
            if (atomic_load_explicit(&d->head, memory_order_relaxed) > swept)
                sweep_ns = assay_mono_ns() + SKIP_MS * 1000000;
        }
        int64_t soonest = end_waits(d, fd, sweep_ns != 0 && sweep_ns < next_poll ? sweep_ns : next_poll);
        int64_t left = soonest - assay_mono_ns();
        int ms = left <= 0 ? 0 : left / 1000000 >= INT_MAX ? INT_MAX : (int)((left + 999999) / 1000000);
        int n = poll(fd, (nfds_t)d->n_subs + 1, ms);
        assert(n >= 0 || errno == EINTR);
        if (n < 0)
            continue;
        if (fd[d->n_subs].revents != 0)
            assay_bell_silence(&d->wake);
        for (size_t i = 0; i < d->n_subs; i++)
            if (fd[i].revents != 0) {
                struct sub *s = d->sub[i];
                lock(d);
                if (s->state != WAITING || !s->held) {
                    empty_ring(s);
                    mark(s);
                }
                unlock(d);
            }
        if (sweep_ns != 0 && assay_mono_ns() >= sweep_ns) {
            swept = atomic_load_explicit(&d->head, memory_order_relaxed);
            sweep_ns = 0;
            sweep(d, swept);
        }
        if (assay_mono_ns() >= next_poll) {
            lock(d);
            if (!d->draining && !d->polling)
                d->polling = assay_pool_submit(d->deps.pool, poll_head, d) == 0; /* full: the next time */
            unlock(d);
            next_poll = assay_mono_ns() + d->deps.poll_ms * 1000000;
        }
    }
    return NULL;
}

void assay_dispatch_committed(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n)
{
    struct assay_dispatch *d = arg;
    check(d);
    raise_head(d, last_seq);
    for (size_t i = 0; i < n; i++) {
        /* a group commit holds few topics many times; one bell for each does */
        bool said = false;
        for (size_t k = i < 16 ? 0 : i - 16; !said && k < i; k++)
            said = assay_str_eq(ev[k].topic, ev[i].topic);
        if (!said && assay_topics_publish(d->deps.topics, ev[i].topic, (uint64_t)last_seq) != 0) {
            /* a full ring: its rescan flag is set, and its reader looks at the outbox all the same */
        }
    }
    assay_bell_ring(&d->wake); /* for the sweep; a system call at most once in SKIP_MS */
}

static void scrape_queues(void *arg)
{
    struct assay_dispatch *d = arg;
    check(d);
    struct assay_metrics *m = d->deps.metrics;
    struct assay_group *g;
    for (size_t i = 0; (g = assay_topics_group(d->deps.topics, i)) != NULL; i++) {
        struct assay_group_stats st;
        assay_group_stats(g, &st);
        const char *name = assay_group_name(g);
        assay_metrics_set(m, &queue_rows[Q_DEPTH], &name, (double)st.depth);
        assay_metrics_set(m, &queue_rows[Q_SIZE], &name, (double)st.size);
        assay_metrics_count_to(m, &queue_rows[Q_PUBLISHED], &name, (double)st.published);
        assay_metrics_count_to(m, &queue_rows[Q_REFUSED], &name, (double)st.refused);
        assay_metrics_count_to(m, &queue_rows[Q_RESCANS], &name, (double)st.rescans);
        assay_metrics_count_to(m, &queue_rows[Q_BELLS], &name, (double)st.rings);
        assay_metrics_count_to(m, &queue_rows[Q_WAIT], &name, (double)st.wait_ns / 1e9);
        assay_metrics_count_to(m, &queue_rows[Q_WAIT_COUNT], &name, (double)st.timed);
        assay_metrics_set(m, &queue_rows[Q_WAIT_MAX], &name, (double)st.wait_ns_max / 1e9);
    }
}

/* ---- life ---- */

static int metrics_begin(struct assay_dispatch *d, struct assay_err *err)
{
    struct assay_metrics *m = d->deps.metrics;
    if (m == NULL)
        return 0;
    int r = assay_metrics_register(m, (struct assay_table)ASSAY_TABLE(metric_rows), err);
    if (r == 0)
        r = assay_metrics_register(m, (struct assay_table)ASSAY_TABLE(queue_rows), err);
    return r != 0 ? r : assay_metrics_on_scrape(m, scrape_queues, d, err);
}

struct assay_dispatch *assay_dispatch_new(const struct assay_dispatch_deps *deps, struct assay_err *err)
{
    assert(deps->store != NULL && deps->pool != NULL && deps->topics != NULL);
    struct assay_dispatch *d = aligned_alloc(_Alignof(struct assay_dispatch), sizeof *d);
    if (d == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for the dispatcher");
        return NULL;
    }
    memset(d, 0, sizeof *d);
    d->magic = MAGIC;
    d->deps = *deps;
    if (d->deps.poll_ms <= 0)
        d->deps.poll_ms = 1000;
    if (d->deps.retry_min_ms <= 0)
        d->deps.retry_min_ms = 50;
    if (d->deps.retry_max_ms < d->deps.retry_min_ms)
        d->deps.retry_max_ms = d->deps.retry_min_ms > 30000 ? d->deps.retry_min_ms : 30000;
    d->wake.fd = -1;
    int r = pthread_mutex_init(&d->lock, NULL);
    assert(r == 0);
    pthread_condattr_t attr;
    r = pthread_condattr_init(&attr);
    assert(r == 0);
    r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    assert(r == 0);
    r = pthread_cond_init(&d->calm, &attr);
    assert(r == 0);
    (void)pthread_condattr_destroy(&attr);
    if (assay_bell_init(&d->wake, err) != 0 || metrics_begin(d, err) != 0) {
        assay_dispatch_free(d);
        return NULL;
    }
    return d;
}

static void sub_free(struct sub *s)
{
    free(s->tx_name);
    free(s);
}

int assay_dispatch_add(struct assay_dispatch *d, const struct assay_subscription *row, void *self, const char *plugin,
                       struct assay_err *err)
{
    check(d);
    assert(!d->thread_runs);
    if (row->deliver == NULL || row->topics == NULL || row->topics[0] == NULL ||
        (row->kind != ASSAY_SUB_DURABLE && row->kind != ASSAY_SUB_LOCAL && row->kind != ASSAY_SUB_BELL) ||
        (row->kind == ASSAY_SUB_DURABLE && (row->group == NULL || row->group[0] == '\0')))
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: a subscription needs deliver, topics, a known kind, and a group if durable",
                             plugin);
    for (size_t i = 0; row->kind == ASSAY_SUB_DURABLE && i < d->n_subs; i++)
        if (d->sub[i]->row->kind == ASSAY_SUB_DURABLE && strcmp(d->sub[i]->row->group, row->group) == 0)
            return assay_err_set(err, ASSAY_E_CONFLICT, "%s: the durable group \"%s\" belongs to %s", plugin, row->group,
                                 d->sub[i]->plugin);
    if (d->n_subs == ASSAY_TOPICS_GROUPS)
        return assay_err_set(err, ASSAY_E_BUSY, "%s: more than %d subscriptions", plugin, ASSAY_TOPICS_GROUPS);

    struct sub *s = calloc(1, sizeof *s);
    if (s == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a subscription");
    s->d = d;
    s->kept = *row;
    s->row = &s->kept;
    s->self = self;
    s->plugin = plugin;
    s->group = row->group != NULL && row->group[0] != '\0' ? row->group : plugin;
    s->batch = row->batch == 0 ? BATCH : row->batch > BATCH_MAX ? BATCH_MAX : row->batch;
    s->topics = row->topics;
    for (size_t i = 0; row->topics[i] != NULL; i++)
        if (strcmp(row->topics[i], "*") == 0)
            s->topics = NULL;
    char name[160];
    (void)snprintf(name, sizeof name, "%.60s/%.60s#%zu", plugin, s->group, d->n_subs); /* unique by its number */
    if (asprintf(&s->tx_name, "dispatch.%s", s->group) < 0) {
        s->tx_name = NULL;
        sub_free(s);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a subscription");
    }
    int r = assay_topics_subscribe(d->deps.topics, name, row->topics, &s->bell, err);
    if (r != 0) {
        sub_free(s);
        return r;
    }
    d->sub[d->n_subs++] = s;
    return 0;
}

int assay_dispatch_start(struct assay_dispatch *d, struct assay_err *err)
{
    check(d);
    assert(!d->thread_runs);
    const struct assay_store *st = d->deps.store;
    int64_t head = 0;
    int r = st->ops->events_head(st->self, &head, err);
    for (size_t i = 0; r == 0 && i < d->n_subs; i++) {
        struct sub *s = d->sub[i];
        if (s->row->kind == ASSAY_SUB_DURABLE)
            r = st->ops->cursor_get(st->self, assay_str(s->row->group), &s->cursor, err);
        atomic_store_explicit(&s->seen, s->row->kind == ASSAY_SUB_DURABLE ? s->cursor : head, memory_order_relaxed);
    }
    if (r != 0)
        return assay_err_prefix(err, "dispatcher: reading the outbox");
    raise_head(d, head);
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&d->thread, NULL, bells, d);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0)
        return assay_err_errno(err, ASSAY_E_BUSY, r, "starting the dispatcher's thread");
    d->thread_runs = true;
    (void)pthread_setname_np(d->thread, "assay-dispatch");
    return 0;
}

int assay_dispatch_caught_up(struct assay_dispatch *d, struct assay_str group, int64_t seq, bool *ret, struct assay_err *err)
{
    check(d);
    for (size_t i = 0; i < d->n_subs; i++) {
        struct sub *s = d->sub[i];
        if (s->row->kind == ASSAY_SUB_DURABLE && assay_str_is(group, s->row->group) &&
            atomic_load_explicit(&s->seen, memory_order_relaxed) >= seq) {
            *ret = true;
            return 0;
        }
    }
    int64_t cursor = 0;
    int r = d->deps.store->ops->cursor_get(d->deps.store->self, group, &cursor, err);
    if (r == 0)
        *ret = cursor >= seq;
    return r;
}

int assay_dispatch_health(struct assay_dispatch *d, struct assay_err *err)
{
    check(d);
    char names[200] = "";
    size_t at = 0;
    for (size_t i = 0; i < d->n_subs && at < sizeof names; i++)
        if (atomic_load_explicit(&d->sub[i]->expired, memory_order_relaxed))
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at != 0 ? ", " : "", d->sub[i]->group);
    if (at == 0)
        return 0;
    return assay_err_set(err, ASSAY_E_GONE, "events that these groups have not taken are no longer kept: %s; for each, " REMEDY "GROUP",
                         names);
}

static void stop_thread(struct assay_dispatch *d)
{
    if (!d->thread_runs)
        return;
    atomic_store_explicit(&d->stop, true, memory_order_release);
    assay_bell_force(&d->wake);
    int r = pthread_join(d->thread, NULL);
    assert(r == 0);
    d->thread_runs = false;
}

int assay_dispatch_drain(struct assay_dispatch *d, int64_t timeout_ms, struct assay_err *err)
{
    check(d);
    int64_t end = assay_mono_ns() + timeout_ms * 1000000;
    struct timespec ts = {.tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000)};
    lock(d);
    d->draining = true;
    int r = 0;
    while (r == 0 && in_hand(d))
        r = pthread_cond_timedwait(&d->calm, &d->lock, &ts);
    bool calm = !in_hand(d);
    unlock(d);
    if (!calm)
        return assay_err_set(err, ASSAY_E_TIMEOUT, "a delivery is still in hand after %lld ms", (long long)timeout_ms);
    stop_thread(d);
    return 0;
}

void assay_dispatch_free(struct assay_dispatch *d)
{
    if (d == NULL)
        return;
    check(d);
    struct assay_err err;
    while (assay_dispatch_drain(d, 60000, &err) != 0) {
        /* a delivery that never ends is a bug that must not be hidden by freeing under it */
    }
    for (size_t i = 0; i < d->n_subs; i++)
        sub_free(d->sub[i]);
    assay_bell_fini(&d->wake);
    (void)pthread_cond_destroy(&d->calm);
    (void)pthread_mutex_destroy(&d->lock);
    d->magic = 0;
    free(d);
}
