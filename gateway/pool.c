/*
 * The worker pool.  Theory of operation.
 *
 * One lock guards a circular array of jobs and a binary heap of timers; it is held for a few dozen
 * instructions at a time, never while a job runs.  (What the pool carries are database and file
 * calls, some hundred a second to some ten thousand: the lock is not what they wait for.)
 *
 * There is no timer thread.  Of the idle workers at most one, the leader, sleeps with a time-out
 * until the first timer is due; the others sleep without one.  A worker that leaves the lead to run
 * something wakes a follower, which becomes the leader if there is something to wait for.  A timer
 * that becomes the first wakes the leader, so that it sleeps shorter.  When all workers are busy a
 * due timer waits for the first that comes back, and goes before queued jobs, since it has waited
 * longer already.
 */
#include "gateway/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <assay/value.h>

#define MAGIC 0x706f6f6cu /* "pool" */

struct job {
    void (*fn)(void *arg);
    void *arg;
    int64_t since_ns; /* submitted, or due */
};

struct timer {
    int64_t due_ns;
    uint64_t serial; /* timers of one instant keep their order */
    void (*fn)(void *arg);
    void (*dropped)(void *arg);
    void *arg;
};

struct assay_pool {
    unsigned magic;
    unsigned n_threads;
    pthread_t *thread;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t follow; /* idle workers but the leader */
    pthread_cond_t lead;   /* the leader */
    pthread_cond_t calm;   /* drain waits for nothing queued, nothing running */
    bool leader;
    unsigned followers;
    bool draining, stopping;
    struct job *job;
    size_t n_jobs, first_job, max_jobs;
    struct timer *timer; /* heap: the first due on top */
    size_t n_timers, room_timers, max_timers;
    uint64_t serial;
    struct assay_pool_stats st;
};

static void check(const struct assay_pool *p)
{
    assert(p != NULL && p->magic == MAGIC);
}

static void lock(struct assay_pool *p)
{
    int r = pthread_mutex_lock(&p->lock);
    assert(r == 0);
}

static void unlock(struct assay_pool *p)
{
    int r = pthread_mutex_unlock(&p->lock);
    assert(r == 0);
}

static bool before(const struct timer *a, const struct timer *b)
{
    return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->serial < b->serial);
}

static void swap(struct timer *a, struct timer *b)
{
    struct timer t = *a;
    *a = *b;
    *b = t;
}

static void heap_push(struct assay_pool *p, struct timer t)
{
    size_t i = p->n_timers++;
    p->timer[i] = t;
    while (i > 0 && before(&p->timer[i], &p->timer[(i - 1) / 2])) {
        swap(&p->timer[i], &p->timer[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static struct timer heap_pop(struct assay_pool *p)
{
    struct timer top = p->timer[0];
    p->timer[0] = p->timer[--p->n_timers];
    for (size_t i = 0;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++)
            if (child < p->n_timers && before(&p->timer[child], &p->timer[least]))
                least = child;
        if (least == i)
            return top;
        swap(&p->timer[i], &p->timer[least]);
        i = least;
    }
}

/* Somebody idle shall look again. */
static void wake_one(struct assay_pool *p)
{
    if (p->followers > 0)
        (void)pthread_cond_signal(&p->follow);
    else if (p->leader)
        (void)pthread_cond_signal(&p->lead);
}

static bool next_job(struct assay_pool *p, struct job *out)
{
    if (p->n_timers > 0 && p->timer[0].due_ns <= assay_mono_ns()) {
        struct timer t = heap_pop(p);
        *out = (struct job){.fn = t.fn, .arg = t.arg, .since_ns = t.due_ns};
        return true;
    }
    if (p->n_jobs > 0) {
        *out = p->job[p->first_job];
        p->first_job = (p->first_job + 1) % p->max_jobs;
        p->n_jobs--;
        return true;
    }
    return false;
}

static void wait_for_work(struct assay_pool *p)
{
    if (p->n_timers > 0 && !p->leader) {
        p->leader = true;
        int64_t due = p->timer[0].due_ns;
        struct timespec ts = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)};
        int r = pthread_cond_timedwait(&p->lead, &p->lock, &ts);
        assert(r == 0 || r == ETIMEDOUT);
        p->leader = false;
    } else {
        p->followers++;
        int r = pthread_cond_wait(&p->follow, &p->lock);
        assert(r == 0);
        p->followers--;
    }
}

static void *worker(void *arg)
{
    struct assay_pool *p = arg;
    lock(p);
    for (;;) {
        struct job j;
        if (next_job(p, &j)) {
            /* the lead may be vacant, or more may be queued than was signalled for */
            if (p->n_jobs > 0 || (p->n_timers > 0 && !p->leader))
                wake_one(p);
            int64_t t0 = assay_mono_ns();
            uint64_t waited = t0 > j.since_ns ? (uint64_t)(t0 - j.since_ns) : 0;
            p->st.wait_ns += waited;
            if (waited > p->st.wait_ns_max)
                p->st.wait_ns_max = waited;
            p->st.running++;
            unlock(p);
            j.fn(j.arg);
            int64_t t1 = assay_mono_ns();
            lock(p);
            p->st.running--;
            p->st.finished++;
            p->st.run_ns += (uint64_t)(t1 - t0);
            if (p->draining && p->st.running == 0 && p->n_jobs == 0)
                (void)pthread_cond_broadcast(&p->calm);
        } else if (p->stopping) {
            break;
        } else {
            wait_for_work(p);
        }
    }
    unlock(p);
    return NULL;
}

static int cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;
    int r = pthread_condattr_init(&a);
    if (r != 0)
        return r;
    r = pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    if (r == 0)
        r = pthread_cond_init(c, &a);
    (void)pthread_condattr_destroy(&a);
    return r;
}

struct assay_pool *assay_pool_new(unsigned threads, size_t queue, size_t timers, struct assay_err *err)
{
    assert(threads > 0 && queue > 0);
    struct assay_pool *p = calloc(1, sizeof *p);
    if (p == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for the worker pool");
        return NULL;
    }
    p->magic = MAGIC;
    p->max_jobs = queue;
    p->max_timers = timers > 0 ? timers : 65536;
    p->job = calloc(queue, sizeof *p->job);
    p->thread = calloc(threads, sizeof *p->thread);
    if (p->job == NULL || p->thread == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for %u workers and a queue of %zu", threads, queue);
        free(p->job);
        free(p->thread);
        free(p);
        return NULL;
    }
    int r = pthread_mutex_init(&p->lock, NULL);
    assert(r == 0);
    r = cond_init(&p->follow);
    assert(r == 0);
    r = cond_init(&p->lead);
    assert(r == 0);
    r = cond_init(&p->calm);
    assert(r == 0);

    /* signals are the main thread's business */
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    while (r == 0 && p->n_threads < threads) {
        r = pthread_create(&p->thread[p->n_threads], NULL, worker, p);
        if (r == 0) {
            (void)pthread_setname_np(p->thread[p->n_threads], "assay-worker");
            p->n_threads++;
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0) {
        (void)assay_err_errno(err, ASSAY_E_BUSY, r, "starting worker thread %u of %u", p->n_threads + 1, threads);
        assay_pool_free(p);
        return NULL;
    }
    return p;
}

int assay_pool_submit(struct assay_pool *p, void (*fn)(void *arg), void *arg)
{
    check(p);
    int64_t now = assay_mono_ns();
    int r = 0;
    lock(p);
    if (p->draining || p->n_jobs == p->max_jobs) {
        p->st.refused++;
        r = ASSAY_E_BUSY;
    } else {
        p->job[(p->first_job + p->n_jobs++) % p->max_jobs] = (struct job){.fn = fn, .arg = arg, .since_ns = now};
        wake_one(p);
    }
    unlock(p);
    return r;
}

int assay_pool_after(struct assay_pool *p, int64_t delay_ms, void (*fn)(void *arg), void (*dropped)(void *arg), void *arg)
{
    check(p);
    const int64_t most_ms = (int64_t)366 * 86400 * 1000; /* keeps the sum below far from overflow */
    int64_t ms = delay_ms < 0 ? 0 : delay_ms > most_ms ? most_ms : delay_ms;
    struct timer t = {.due_ns = assay_mono_ns() + ms * 1000000, .fn = fn, .dropped = dropped, .arg = arg};
    int r = 0;
    lock(p);
    if (p->n_timers == p->room_timers && p->n_timers < p->max_timers) {
        size_t room = p->room_timers > 0 ? 2 * p->room_timers : 64;
        if (room > p->max_timers)
            room = p->max_timers;
        struct timer *bigger = reallocarray(p->timer, room, sizeof *bigger);
        if (bigger != NULL) {
            p->timer = bigger;
            p->room_timers = room;
        }
    }
    if (p->draining || p->n_timers == p->room_timers) {
        p->st.refused++;
        r = ASSAY_E_BUSY;
    } else {
        t.serial = p->serial++;
        heap_push(p, t);
        if (p->timer[0].serial == t.serial) { /* the first: whoever sleeps until the one before must know */
            if (p->leader)
                (void)pthread_cond_signal(&p->lead);
            else
                wake_one(p);
        }
    }
    unlock(p);
    return r;
}

int assay_pool_drain(struct assay_pool *p, int64_t timeout_ms, struct assay_err *err)
{
    check(p);
    int64_t end = assay_mono_ns() + timeout_ms * 1000000;
    struct timespec ts = {.tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000)};
    lock(p);
    p->draining = true;
    struct timer *left = p->timer;
    size_t n_left = p->n_timers;
    p->timer = NULL;
    p->n_timers = p->room_timers = 0;
    unlock(p);
    for (size_t i = 0; i < n_left; i++)
        if (left[i].dropped != NULL)
            left[i].dropped(left[i].arg);
    free(left);
    lock(p);
    int r = 0;
    while (r == 0 && (p->st.running > 0 || p->n_jobs > 0))
        r = pthread_cond_timedwait(&p->calm, &p->lock, &ts);
    bool calm = p->st.running == 0 && p->n_jobs == 0;
    uint64_t running = p->st.running;
    size_t jobs = p->n_jobs;
    unlock(p);
    if (calm)
        return 0;
    return assay_err_set(err, ASSAY_E_TIMEOUT, "%llu jobs still run and %zu wait", (unsigned long long)running, jobs);
}

void assay_pool_free(struct assay_pool *p)
{
    if (p == NULL)
        return;
    check(p);
    struct assay_err err;
    while (assay_pool_drain(p, 60000, &err) != 0) {
        /* a job that never ends is a bug that must not be hidden by freeing under it */
    }
    lock(p);
    p->stopping = true;
    (void)pthread_cond_broadcast(&p->follow);
    (void)pthread_cond_broadcast(&p->lead);
    unlock(p);
    for (unsigned i = 0; i < p->n_threads; i++) {
        int r = pthread_join(p->thread[i], NULL);
        assert(r == 0);
    }
    (void)pthread_cond_destroy(&p->calm);
    (void)pthread_cond_destroy(&p->lead);
    (void)pthread_cond_destroy(&p->follow);
    (void)pthread_mutex_destroy(&p->lock);
    free(p->thread);
    free(p->job);
    p->magic = 0;
    free(p);
}

void assay_pool_stats(struct assay_pool *p, struct assay_pool_stats *out)
{
    check(p);
    lock(p);
    *out = p->st;
    out->threads = p->n_threads;
    out->queued = p->n_jobs;
    out->timers = p->n_timers;
    unlock(p);
}
