/*
 * Runners elsewhere: who of them is there, and requests for work that wait for some.
 *
 * A request that finds no work waits in a list.  The bell (new work), and a tick of a second for what no bell was
 * rung for, start the one task that goes through the list, oldest first, leases for each and answers it; so there is
 * one such task at a time, however many wait, and a request whose time is up is answered empty.
 *
 * The lock guards everything; nothing blocks under it.  A waiting request belongs to whoever has taken it off the
 * list, who alone may answer it.
 */
#include "remote.h"

#include <stdatomic.h>
#include <stdlib.h>

#define TICK_MS 1000
#define WORKERS_MAX 512
#define ALIVE_MS 120000
#define WAITING_MAX 1024

struct seen {
    char id[65];
    int64_t mono_ms;
};
struct remote {
    pthread_mutex_t lock;
    struct poll *first, *last;
    size_t n_waiting;
    struct seen worker[WORKERS_MAX];
    size_t n_workers;
    bool serving, again, draining;
};

static int64_t mono_ms_of(struct runner *r)
{
    return r->host->mono_ns(r->host->ctx) / 1000000;
}

int remote_new(struct runner *r, struct assay_err *err)
{
    r->remote = calloc(1, sizeof *r->remote);
    if (r->remote == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    pthread_mutex_init(&r->remote->lock, NULL);
    return ASSAY_OK;
}

void remote_free(struct runner *r)
{
    if (r->remote == NULL)
        return;
    while (r->remote->first != NULL) {
        struct poll *p = r->remote->first;
        r->remote->first = p->next;
        free(p);
    }
    pthread_mutex_destroy(&r->remote->lock);
    free(r->remote);
    r->remote = NULL;
}

void remote_seen(struct runner *r, struct assay_str agent_id)
{
    struct remote *m = r->remote;
    int64_t now = mono_ms_of(r);
    pthread_mutex_lock(&m->lock);
    size_t at = 0, oldest = 0;
    while (at < m->n_workers && !assay_str_is(agent_id, m->worker[at].id)) {
        if (m->worker[at].mono_ms < m->worker[oldest].mono_ms)
            oldest = at;
        at++;
    }
    if (at == m->n_workers && at < WORKERS_MAX)
        m->n_workers++;
    else if (at == WORKERS_MAX)
        at = oldest;
    if (agent_id.n < sizeof m->worker[at].id) {
        memcpy(m->worker[at].id, agent_id.p, agent_id.n);
        m->worker[at].id[agent_id.n] = '\0';
        m->worker[at].mono_ms = now;
    }
    pthread_mutex_unlock(&m->lock);
    r->host->metric_set(r->host->ctx, &runner_metrics[METRIC_WORKERS], NULL, (double)remote_workers(r));
}

int64_t remote_workers(struct runner *r)
{
    struct remote *m = r->remote;
    int64_t n = 0, now = mono_ms_of(r);
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_workers; i++)
        n += now - m->worker[i].mono_ms < ALIVE_MS;
    pthread_mutex_unlock(&m->lock);
    return n;
}

/* ---- leases ---------------------------------------------------------------------------------------------------- */

/* What others hear when a job has left: that it runs. Best effort: its end says so as well. */
static void announce(struct runner *r, const struct assay_job *list, size_t n, struct assay_arena *arena)
{
    struct assay_err err;
    struct assay_tx *tx = assay_tx_new(arena, "runner.away_running");
    int64_t now = r->host->now_ms(r->host->ctx);
    int rc = tx != NULL ? ASSAY_OK : ASSAY_E_NOMEM;
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        struct job j = {.lease = list[i], .started_ms = now};
        struct assay_str text;
        rc = running_event_encode(&j, arena, &text, &err);
        if (rc >= 0)
            rc = r->jobs->progress(r->jobs_self, &list[i], "submission.running", text, tx, &err);
    }
    if (rc >= 0 && n != 0)
        rc = assay_store_exec(r->host->store, tx, &err);
    (void)rc;
}

int remote_lease(struct runner *r, const struct poll *p, struct assay_response *rs, bool *some, struct assay_err *err)
{
    const struct assay_host *host = r->host;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    struct assay_lease_ask ask = {.holder = p->holder,
                                  .languages = p->languages,
                                  .kinds = assay_str(r->away_kinds),
                                  .max = (size_t)p->max,
                                  .lease_ms = r->lease_ms};
    struct assay_job *list;
    size_t n, given = 0;
    *some = false;
    if (arena == NULL || w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = r->jobs->lease_away(r->jobs_self, &ask, arena, &list, &n, err);
    if (rc < 0)
        return rc;
    if (n != 0)
        repo_catch_up(r);
    assay_jw_object(w);
    assay_jw_kint(w, "lease_ms", r->lease_ms);
    assay_jw_key(w, "jobs");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        struct assay_str script;
        struct assay_err why;
        if (away_export(r, &list[i], false, arena, &script, &why) < 0) {
            struct assay_err ignored; /* then its lease expires */
            (void)away_return(r, p->holder, list[i].submission_id, list[i].fence, true, assay_str(why.msg), &ignored);
            continue;
        }
        assay_jw_object(w);
        assay_jw_kstr(w, "submission_id", list[i].submission_id);
        assay_jw_kint(w, "fence", list[i].fence);
        assay_jw_kint(w, "attempt", list[i].attempt);
        assay_jw_kraw(w, "script", script);
        struct assay_str trace = list[i].traceparent;
        if (assay_trace_valid(trace))
            assay_jw_kstr(w, "traceparent", trace);
        assay_jw_end(w);
        count_waited(r, &list[i], host->now_ms(host->ctx));
        list[given++] = list[i];
    }
    assay_jw_end(w);
    assay_jw_end(w);
    if (given == 0)
        return ASSAY_OK;
    announce(r, list, given, arena);
    host->metric_add(host->ctx, &runner_metrics[METRIC_AWAY_LEASED], NULL, (double)given);
    *some = true;
    return assay_reply_json(rs, 200, w, err);
}

void remote_no_jobs(struct runner *r, struct assay_response *rs)
{
    rs->status = 200;
    assay_buf_fmt(&rs->body, "{\"lease_ms\":%lld,\"jobs\":[]}", (long long)r->lease_ms);
}

/* ---- those that wait --------------------------------------------------------------------------------------------- */

static void serve(void *arg);

static void start_serving(struct runner *r)
{
    struct remote *m = r->remote;
    pthread_mutex_lock(&m->lock);
    bool start = m->first != NULL && !m->serving;
    m->again = m->serving;
    m->serving = m->serving || start;
    pthread_mutex_unlock(&m->lock);
    if (!start || r->host->offload(r->host->ctx, serve, r) >= 0)
        return;
    pthread_mutex_lock(&m->lock); /* the tick tries again */
    m->serving = false;
    pthread_mutex_unlock(&m->lock);
}

static void tick(void *arg)
{
    struct runner *r = arg;
    start_serving(r);
    pthread_mutex_lock(&r->remote->lock);
    bool more = r->remote->first != NULL || r->remote->serving;
    pthread_mutex_unlock(&r->remote->lock);
    if (more)
        (void)r->host->after(r->host->ctx, TICK_MS, tick, r);
}

void remote_ring(struct runner *r)
{
    if (r->remote != NULL)
        start_serving(r);
}

static void answer(struct runner *r, struct poll *p, struct assay_response *rs, int rc, const struct assay_err *err)
{
    r->host->resume(r->host->ctx, p->ticket, rc, rs, rc < 0 ? err : NULL);
    free(p);
}

/* Takes the oldest off the list; NULL at the end of it. */
static struct poll *take(struct remote *m)
{
    struct poll *p = m->first;
    if (p == NULL)
        return NULL;
    m->first = p->next;
    if (m->first == NULL)
        m->last = NULL;
    m->n_waiting--;
    return p;
}

static void put(struct remote *m, struct poll *p)
{
    p->next = NULL;
    if (m->last != NULL)
        m->last->next = p;
    else
        m->first = p;
    m->last = p;
    m->n_waiting++;
}

static void serve(void *arg)
{
    struct runner *r = arg;
    struct remote *m = r->remote;
    for (;;) {
        pthread_mutex_lock(&m->lock);
        size_t n = m->n_waiting;
        m->again = false;
        pthread_mutex_unlock(&m->lock);
        for (size_t i = 0; i < n; i++) {
            struct assay_response rs = {.status = 0};
            struct assay_err err;
            bool some = false;
            pthread_mutex_lock(&m->lock);
            struct poll *p = take(m);
            bool draining = m->draining;
            pthread_mutex_unlock(&m->lock);
            if (p == NULL)
                break;
            int rc = draining ? ASSAY_OK : remote_lease(r, p, &rs, &some, &err);
            if (rc >= 0 && !some && !draining && mono_ms_of(r) < p->until_mono_ms) {
                pthread_mutex_lock(&m->lock);
                put(m, p);
                pthread_mutex_unlock(&m->lock);
                continue;
            }
            if (rc >= 0 && !some)
                remote_no_jobs(r, &rs);
            answer(r, p, &rs, rc, &err);
        }
        pthread_mutex_lock(&m->lock);
        bool again = m->again || (m->draining && m->first != NULL);
        if (!again)
            m->serving = false;
        pthread_mutex_unlock(&m->lock);
        if (!again)
            return;
    }
}

int remote_wait(struct runner *r, const struct poll *p, struct assay_err *err)
{
    struct remote *m = r->remote;
    struct poll *own = malloc(sizeof *own);
    if (own == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    *own = *p;
    pthread_mutex_lock(&m->lock);
    bool refused = m->draining || m->n_waiting >= WAITING_MAX, first = m->first == NULL;
    if (!refused)
        put(m, own);
    pthread_mutex_unlock(&m->lock);
    if (refused) {
        free(own);
        return assay_err_set(err, ASSAY_E_BUSY, "too many wait for work, or the server is stopping");
    }
    if (first)
        (void)r->host->after(r->host->ctx, TICK_MS, tick, r);
    start_serving(r); /* for what came between the look and now */
    return ASSAY_OK;
}

void remote_drain(struct runner *r)
{
    struct remote *m = r->remote;
    if (m == NULL)
        return;
    pthread_mutex_lock(&m->lock);
    m->draining = true;
    pthread_mutex_unlock(&m->lock);
    for (;;) {
        pthread_mutex_lock(&m->lock);
        struct poll *p = take(m);
        pthread_mutex_unlock(&m->lock);
        if (p == NULL)
            return;
        struct assay_response rs = {.status = 0};
        remote_no_jobs(r, &rs);
        answer(r, p, &rs, ASSAY_OK, NULL);
    }
}
