/* The queue to a store's one writer; assay/store_driver.h says how it works. */
#include <assay/store_driver.h>

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define GROUP_MAX 256

struct assay_store_queue {
    const struct assay_store_queue_ops *ops;
    void *self;
    size_t room, group_max;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    struct assay_store_item *ring;
    size_t head, n;
    bool running, stopping, waiting, nudged, thread_made;
    pthread_t thread;
};

int assay_store_queue_new(size_t room, size_t group_max, const struct assay_store_queue_ops *ops, void *self,
                          struct assay_store_queue **out, struct assay_err *err)
{
    struct assay_store_queue *q = calloc(1, sizeof *q);
    struct assay_store_item *ring = room != 0 ? calloc(room, sizeof *ring) : NULL;
    pthread_condattr_t attr;
    if (q == NULL || ring == NULL || group_max == 0 || pthread_condattr_init(&attr) != 0) {
        free(q);
        free(ring);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the store's queue, or a bound of 0");
    }
    *q = (struct assay_store_queue){
        .ops = ops, .self = self, .room = room, .group_max = group_max < GROUP_MAX ? group_max : GROUP_MAX, .ring = ring};
    if (pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 || pthread_cond_init(&q->wake, &attr) != 0 ||
        pthread_mutex_init(&q->lock, NULL) != 0) {
        free(q);
        free(ring);
        return assay_err_set(err, ASSAY_E_NOMEM, "no locks for the store's queue");
    }
    (void)pthread_condattr_destroy(&attr);
    *out = q;
    return 0;
}

/* Waits for work, for idle's time, or for the end. True: idle's time has come. The lock is held. */
static void wait_for_work(struct assay_store_queue *q)
{
    while (q->n == 0 && !q->stopping && !q->nudged) {
        (void)pthread_mutex_unlock(&q->lock);
        int64_t until = q->ops->wake_ns(q->self);
        (void)pthread_mutex_lock(&q->lock);
        if (q->n != 0 || q->stopping || q->nudged)
            break;
        q->waiting = true;
        int late = 0;
        if (until == INT64_MAX) {
            (void)pthread_cond_wait(&q->wake, &q->lock);
        } else {
            struct timespec ts = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
            late = pthread_cond_timedwait(&q->wake, &q->lock, &ts);
        }
        q->waiting = false;
        if (late != 0)
            break;
    }
    q->nudged = false;
}

static void *writer_main(void *arg)
{
    struct assay_store_queue *q = arg;
    struct assay_store_item batch[GROUP_MAX];
    for (;;) {
        (void)pthread_mutex_lock(&q->lock);
        wait_for_work(q);
        size_t n = q->n < q->group_max ? q->n : q->group_max;
        for (size_t i = 0; i < n; i++)
            batch[i] = q->ring[(q->head + i) % q->room];
        q->head = (q->head + n) % q->room;
        q->n -= n;
        bool end = n == 0 && q->stopping;
        (void)pthread_mutex_unlock(&q->lock);
        if (end)
            return NULL;
        if (n > 0)
            q->ops->group(q->self, batch, n);
        q->ops->idle(q->self);
    }
}

int assay_store_queue_start(struct assay_store_queue *q, const char *name, struct assay_err *err)
{
    (void)pthread_mutex_lock(&q->lock);
    bool again = q->running || q->stopping;
    int rc = again ? 0 : pthread_create(&q->thread, NULL, writer_main, q);
    if (!again && rc == 0)
        q->running = q->thread_made = true;
    (void)pthread_mutex_unlock(&q->lock);
    if (again)
        return assay_err_set(err, ASSAY_E_INTERNAL, "the writer starts once");
    if (rc != 0)
        return assay_err_errno(err, ASSAY_E_IO, rc, "starting the writer thread");
    (void)pthread_setname_np(q->thread, name); /* only a name */
    return 0;
}

bool assay_store_queue_running(struct assay_store_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    bool yes = q->running;
    (void)pthread_mutex_unlock(&q->lock);
    return yes;
}

static int check_tx(const struct assay_tx *tx, struct assay_err *err)
{
    if (tx->failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "%s: the transaction could not be built", tx->name);
    for (size_t i = 0; i < tx->n_events; i++) {
        const struct assay_event *e = &tx->event[i];
        if (e->if_op > 0 && (size_t)e->if_op > tx->n_ops)
            return assay_err_set(err, ASSAY_E_INTERNAL, "%s: event %.*s waits for an operation that is not there", tx->name,
                                 ASSAY_FMT(e->topic));
        if (e->topic.n == 0 ||
            e->topic.n + e->subject.n + e->owner.n + e->benchmark.n + e->payload.n > ASSAY_STORE_EVENT_MAX)
            return assay_err_set(err, ASSAY_E_TOO_LARGE, "%s: event %.*s is over %zu bytes or has no topic", tx->name,
                                 ASSAY_FMT(e->topic), ASSAY_STORE_EVENT_MAX);
    }
    return 0;
}

int assay_store_queue_push(struct assay_store_queue *q, struct assay_tx *tx, assay_tx_done done, void *arg, struct assay_err *err)
{
    int st = check_tx(tx, err);
    if (st != 0)
        return st;
    (void)pthread_mutex_lock(&q->lock);
    if (!q->running || q->stopping) {
        st = assay_err_set(err, ASSAY_E_BUSY, "the store is not taking writes");
    } else if (q->n == q->room) {
        st = assay_err_set(err, ASSAY_E_BUSY, "%zu transactions are waiting", q->n);
    } else {
        q->ring[(q->head + q->n) % q->room] = (struct assay_store_item){tx, done, arg};
        q->n++;
        if (q->waiting)
            (void)pthread_cond_signal(&q->wake);
    }
    (void)pthread_mutex_unlock(&q->lock);
    return st;
}

struct waiter {
    pthread_mutex_t lock; /* guards done */
    pthread_cond_t cond;
    bool done;
};

static void wake_waiter(struct assay_tx *tx, void *arg)
{
    (void)tx;
    struct waiter *w = arg;
    (void)pthread_mutex_lock(&w->lock);
    w->done = true;
    /* signalled under the lock: the waiter's frame may be gone right after it is released */
    (void)pthread_cond_signal(&w->cond);
    (void)pthread_mutex_unlock(&w->lock);
}

int assay_store_queue_exec(struct assay_store_queue *q, struct assay_tx *tx, struct assay_err *err)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    (void)pthread_mutex_lock(&q->lock);
    bool self = q->thread_made && pthread_equal(q->thread, pthread_self());
    (void)pthread_mutex_unlock(&q->lock);
    if (self)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: a completion must not wait for another commit", tx->name);
    int st = assay_store_queue_push(q, tx, wake_waiter, &w, err);
    if (st != 0)
        return st;
    (void)pthread_mutex_lock(&w.lock);
    while (!w.done)
        (void)pthread_cond_wait(&w.cond, &w.lock);
    (void)pthread_mutex_unlock(&w.lock);
    (void)pthread_cond_destroy(&w.cond);
    (void)pthread_mutex_destroy(&w.lock);
    if (tx->status != 0 && err)
        *err = tx->err;
    return tx->status;
}

void assay_store_queue_nudge(struct assay_store_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->nudged = true;
    if (q->waiting)
        (void)pthread_cond_signal(&q->wake);
    (void)pthread_mutex_unlock(&q->lock);
}

void assay_store_queue_stop(struct assay_store_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->stopping = true;
    bool join = q->running;
    q->running = false;
    (void)pthread_cond_signal(&q->wake);
    (void)pthread_mutex_unlock(&q->lock);
    if (join)
        (void)pthread_join(q->thread, NULL); /* joined once: running was set and is cleared */
}

void assay_store_queue_free(struct assay_store_queue *q)
{
    if (q == NULL)
        return;
    (void)pthread_cond_destroy(&q->wake);
    (void)pthread_mutex_destroy(&q->lock);
    free(q->ring);
    free(q);
}

void assay_store_fail_all(const struct assay_store_item *it, size_t n, int status, const struct assay_err *err)
{
    for (size_t i = 0; i < n; i++) {
        it[i].tx->status = status;
        it[i].tx->last_seq = 0;
        it[i].tx->err = *err;
    }
}
