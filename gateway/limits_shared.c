#include "limits_shared.h"

#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <assay/value.h>

#define PAUSE_MS 2         /* between two exchanges: what comes meanwhile goes together */
#define AWAY_PAUSE_MS 100  /* after one that failed */
#define MS_NS INT64_C(1000000)

struct assay_limits_shared {
    struct assay_limits *limits;
    struct assay_sessions driver;
    struct assay_metrics *metrics;
    struct assay_logger *log;
    pthread_t thread;
    pthread_mutex_t lock; /* guards due and stop */
    pthread_cond_t wake;
    bool due, stop;
    bool away; /* of the thread */
};

enum { M_SHARED, M_EXCHANGES };
static const struct assay_metric metric[] = {
    [M_SHARED] = {"assay_http_limits_shared", ASSAY_METRIC_GAUGE,
                  "1: rate limits count what all gateways let through; 0: the session driver's server is away, and each gateway counts for itself.", "", NULL},
    [M_EXCHANGES] = {"assay_http_limit_exchanges_total", ASSAY_METRIC_COUNTER,
                     "Times that what was let through was brought to the shared count, by outcome: ok, failed.", "outcome", NULL},
};

bool assay_limits_can_share(const struct assay_session_ops *ops)
{
    return ops->size >= offsetof(struct assay_session_ops, charge) + sizeof ops->charge && ops->charge != NULL;
}

/* On an event loop: a lock that is held for a few instructions. */
static void noted(void *arg)
{
    struct assay_limits_shared *s = arg;
    int r = pthread_mutex_lock(&s->lock);
    assert(r == 0);
    s->due = true;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
}

/* Said when it changes. */
static void state(struct assay_limits_shared *s, bool away, const char *why)
{
    assay_metrics_add(s->metrics, &metric[M_EXCHANGES], (const char *const[]){away ? "failed" : "ok"}, 1);
    if (away == s->away)
        return;
    s->away = away;
    assay_limits_alone(s->limits, away);
    assay_metrics_set(s->metrics, &metric[M_SHARED], NULL, away ? 0 : 1);
    if (away)
        ASSAY_LOG(s->log, ASSAY_LOG_WARN, "limits", "rate_limits_alone", ASSAY_KZ("reason", why));
    else
        ASSAY_LOG(s->log, ASSAY_LOG_INFO, "limits", "rate_limits_shared", ASSAY_KZ("driver", "session"));
}

static void exchange(struct assay_limits_shared *s, struct assay_limit_due *due, size_t n)
{
    struct assay_session_cell cell[ASSAY_SESSION_CELLS];
    struct assay_err err = {0, ""};
    int64_t sent_ns = assay_mono_ns();
    for (size_t i = 0; i < n; i++)
        cell[i] = (struct assay_session_cell){.key = assay_str(due[i].name), .add_us = due[i].add_ns / 1000 + (due[i].add_ns % 1000 != 0),
                                              .most_us = due[i].most_ns / 1000, .least_us = due[i].least_ns / 1000};
    int rc = s->driver.ops->charge(s->driver.self, cell, n, &err);
    int64_t took_ns = assay_mono_ns() - sent_ns;
    for (size_t i = 0; rc == 0 && i < n; i++)
        assay_limits_learn(s->limits, &due[i], sent_ns, took_ns, cell[i].ahead_us * 1000);
    state(s, rc != 0, err.msg);
}

/* Waits for something to do, at most until then (0: without end); false: to stop. */
static bool wait_for_work(struct assay_limits_shared *s, int64_t until_ns)
{
    struct timespec at = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    int r = pthread_mutex_lock(&s->lock);
    assert(r == 0);
    if (until_ns != 0)
        while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock, &at) == 0)
            continue;
    else
        while (!s->stop && !s->due)
            (void)pthread_cond_wait(&s->wake, &s->lock);
    s->due = false;
    bool go_on = !s->stop;
    (void)pthread_mutex_unlock(&s->lock);
    return go_on;
}

static void *run(void *arg)
{
    struct assay_limits_shared *s = arg;
    struct assay_limit_due due[ASSAY_SESSION_CELLS];
    bool idle = true;
    for (;;) {
        int64_t pause = s->away ? AWAY_PAUSE_MS : PAUSE_MS;
        if (!wait_for_work(s, idle ? 0 : assay_mono_ns() + pause * MS_NS))
            return NULL;
        size_t n = assay_limits_due(s->limits, assay_mono_ns(), due, ASSAY_SESSION_CELLS);
        if (n != 0)
            exchange(s, due, n);
        idle = n == 0;
    }
}

int assay_limits_shared_start(struct assay_limits *limits, struct assay_sessions driver, struct assay_metrics *metrics, struct assay_logger *log,
                              struct assay_limits_shared **ret, struct assay_err *err)
{
    int rc = assay_metrics_register(metrics, (struct assay_table)ASSAY_TABLE(metric), err);
    if (rc != 0)
        return rc;
    struct assay_limits_shared *s = calloc(1, sizeof *s);
    if (s == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the shared rate limits");
    pthread_condattr_t attr;
    int r = pthread_condattr_init(&attr);
    assert(r == 0);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    r = pthread_cond_init(&s->wake, &attr);
    assert(r == 0);
    (void)pthread_condattr_destroy(&attr);
    r = pthread_mutex_init(&s->lock, NULL);
    assert(r == 0);
    s->limits = limits;
    s->driver = driver;
    s->metrics = metrics;
    s->log = log;
    assay_metrics_set(metrics, &metric[M_SHARED], NULL, 1);
    r = pthread_create(&s->thread, NULL, run, s);
    if (r != 0) {
        (void)pthread_cond_destroy(&s->wake);
        (void)pthread_mutex_destroy(&s->lock);
        free(s);
        return assay_err_errno(err, ASSAY_E_INTERNAL, r, "cannot start the thread of the shared rate limits");
    }
    assay_limits_share(limits, noted, s);
    *ret = s;
    return 0;
}

void assay_limits_shared_free(struct assay_limits_shared *s)
{
    if (s == NULL)
        return;
    int r = pthread_mutex_lock(&s->lock);
    assert(r == 0);
    s->stop = true;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
    r = pthread_join(s->thread, NULL);
    assert(r == 0);
    assay_limits_share(s->limits, NULL, NULL);
    (void)pthread_cond_destroy(&s->wake);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}
