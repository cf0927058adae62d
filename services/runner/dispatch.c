/*
 * Dispatch: work that goes out through a broker, and results that come back through it.
 *
 * A job is leased to the holder "broker:<name>" for dispatch_timeout, published with all that is needed to judge it (test
 * data too, since whoever takes it may share no blob store with us), and ended by the first result that names its lease.  A job without a
 * result in that time is leased again under a new fence and published again; the older message's result is then late.
 * So nothing here is kept that a restart would lose: what is out is what its rows say.
 *
 *   bell, tick ─▶ send (a worker: lease, export, publish) ─▶ published ─▶ (the broker) ─▶ deliver ─▶ take (a worker: import, settle)
 *
 * The table of what is out only bounds how much that is.  The lock guards it and the queue of results; nothing blocks
 * under it.
 */
#include "remote.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 1000
#define RESULTS_MAX 64
#define LEASE_AT_ONCE 16

struct out_job {
    char id[ASSAY_ID_SIZE];
    int64_t fence, until_mono_ms;
};
struct came {
    struct came *next;
    uint64_t tag;
    char *body;
    size_t n;
};
struct dispatch {
    struct runner *r;
    char name[64], holder[80], kinds[16];
    struct assay_broker broker;
    int64_t timeout_ms;
    size_t max;
    pthread_mutex_t lock; /* guards all below */
    struct out_job *out;
    size_t n_out;
    struct came *first, *last;
    size_t n_came;
    bool sending, again, taking, draining, ticking;
};

static int64_t mono_ms_of(struct runner *r)
{
    return r->host->mono_ns(r->host->ctx) / 1000000;
}

/* ---- out ------------------------------------------------------------------------------------------------------ */

struct published {
    struct dispatch *d;
    char id[ASSAY_ID_SIZE];
    int64_t fence;
    char why[200];
    struct published_job traced;
};

static void forget(struct dispatch *d, struct assay_str id, int64_t fence)
{
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->n_out; i++) {
        if (assay_str_is(id, d->out[i].id) && (fence == 0 || d->out[i].fence == fence)) {
            d->out[i] = d->out[--d->n_out];
            break;
        }
    }
    pthread_mutex_unlock(&d->lock);
}

static void not_published(void *arg)
{
    struct published *p = arg;
    struct assay_err err;
    char why[240];
    snprintf(why, sizeof why, "broker %.60s: %.160s", p->d->name, p->why);
    (void)away_return(p->d->r, assay_str(p->d->holder), assay_str(p->id), p->fence, false, assay_str(why), &err);
    free(p);
}

static void on_published(void *arg, int status, const struct assay_err *err)
{
    struct published *p = arg;
    struct dispatch *d = p->d;
    traced_published(d->r, &p->traced, status == ASSAY_OK ? NULL : err != NULL ? err->msg : "not published");
    if (status == ASSAY_OK) {
        free(p);
        return;
    }
    snprintf(p->why, sizeof p->why, "%.190s", err != NULL ? err->msg : "not published");
    forget(d, assay_str(p->id), p->fence);
    assay_log(d->r->host, ASSAY_LOG_WARN, "dispatch_failed", ASSAY_KZ("submission_id", p->id), ASSAY_KZ("error", p->why));
    if (d->r->host->offload(d->r->host->ctx, not_published, p) < 0)
        free(p); /* then its lease expires */
}

static int publish(struct dispatch *d, const struct assay_job *job, struct assay_str script, struct assay_err *err)
{
    struct published *p = calloc(1, sizeof *p);
    char context[ASSAY_TRACEPARENT];
    if (p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    p->d = d;
    p->fence = job->fence;
    snprintf(p->id, sizeof p->id, "%.*s", ASSAY_FMT(job->submission_id));
    struct assay_publication pub = {.channel = ASSAY_CHANNEL_WORK,
                                    .key = job->submission_id,
                                    .body = script,
                                    .reply_to = ASSAY_STR(""),
                                    .correlation = job->submission_id,
                                    .traceparent = traced_out(d->r, job, context)};
    p->traced = (struct published_job){.broker = d->name, .id = p->id, .start_ms = d->r->host->now_ms(d->r->host->ctx)};
    if (pub.traceparent.p == context) {
        memcpy(p->traced.context, context, sizeof context);
        (void)snprintf(p->traced.parent, sizeof p->traced.parent, "%.*s", ASSAY_FMT(job->traceparent));
    }
    pthread_mutex_lock(&d->lock);
    if (d->n_out < d->max) {
        d->out[d->n_out] = (struct out_job){.fence = job->fence, .until_mono_ms = mono_ms_of(d->r) + d->timeout_ms + 5000};
        memcpy(d->out[d->n_out++].id, p->id, sizeof p->id);
    }
    pthread_mutex_unlock(&d->lock);
    int rc = d->broker.ops->publish(d->broker.self, &pub, on_published, p, err);
    if (rc >= 0)
        return rc;
    forget(d, job->submission_id, job->fence);
    free(p);
    return rc;
}

/* One lease's worth. *more: there may be more at once. */
static int send_some(struct dispatch *d, bool *more, struct assay_err *err)
{
    struct runner *r = d->r;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_job *list;
    size_t n = 0;
    pthread_mutex_lock(&d->lock);
    size_t room = d->draining ? 0 : d->max - d->n_out;
    pthread_mutex_unlock(&d->lock);
    *more = false;
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (room == 0 || d->broker.ops->health(d->broker.self, err) < 0)
        return ASSAY_OK; /* what cannot go out now waits in the queue, where a cancel finds it */
    struct assay_lease_ask ask = {.holder = assay_str(d->holder),
                                  .languages = ASSAY_STR(""),
                                  .kinds = assay_str(d->kinds),
                                  .max = room < LEASE_AT_ONCE ? room : LEASE_AT_ONCE,
                                  .lease_ms = d->timeout_ms};
    int rc = r->jobs->lease_away(r->jobs_self, &ask, arena, &list, &n, err);
    if (rc >= 0 && n != 0)
        repo_catch_up(r);
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        struct assay_str script;
        struct assay_err why, ignored;
        int sent = away_export(r, &list[i], true, arena, &script, &why);
        bool ours = sent < 0; /* the job cannot be put into a message */
        if (sent >= 0)
            sent = publish(d, &list[i], script, &why);
        if (sent < 0)
            (void)away_return(r, ask.holder, list[i].submission_id, list[i].fence, ours, assay_str(why.msg), &ignored);
        else
            r->host->metric_add(r->host->ctx, &runner_metrics[METRIC_AWAY_LEASED], NULL, 1);
        *more = sent >= 0 && n == ask.max;
    }
    return rc;
}

static void send_all(void *arg)
{
    struct dispatch *d = arg;
    for (;;) {
        struct assay_err err;
        bool more = false;
        int rc = send_some(d, &more, &err);
        if (rc < 0)
            assay_log(d->r->host, ASSAY_LOG_WARN, "dispatch_failed", ASSAY_KZ("broker", d->name), ASSAY_KZ("error", err.msg));
        pthread_mutex_lock(&d->lock);
        bool go_on = !d->draining && (more || d->again);
        d->again = false;
        d->sending = go_on;
        pthread_mutex_unlock(&d->lock);
        if (!go_on)
            return;
    }
}

static void start_sending(struct dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    bool start = !d->sending && !d->draining;
    d->again = d->sending;
    d->sending = d->sending || start;
    pthread_mutex_unlock(&d->lock);
    if (!start || d->r->host->offload(d->r->host->ctx, send_all, d) >= 0)
        return;
    pthread_mutex_lock(&d->lock); /* the tick tries again */
    d->sending = false;
    pthread_mutex_unlock(&d->lock);
}

/* ---- in ------------------------------------------------------------------------------------------------------- */

static enum assay_settle import(struct dispatch *d, const struct came *c, struct assay_err *err)
{
    struct runner *r = d->r;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_script_result res;
    struct away_result a;
    const char *outcome[1] = {"taken"};
    memset(&res, 0, sizeof res);
    if (arena == NULL)
        return ASSAY_SETTLE_AGAIN;
    int rc = assay_script_result_decode((struct assay_str){c->body, c->n}, arena, &res, err);
    if (rc < 0)
        return rc == ASSAY_E_INVALID ? ASSAY_SETTLE_DEAD : ASSAY_SETTLE_AGAIN;
    if (!assay_id_valid(res.id))
        return ASSAY_SETTLE_DONE; /* somebody else's: the broker is not ours alone */
    int64_t fence = 0;
    if (res.assay.n != 0 && away_result_decode(res.assay, arena, &a, err) >= 0)
        fence = a.fence;
    rc = away_import(r, assay_str(d->holder), res.id, fence, &res, err);
    if (rc == ASSAY_E_INVALID) {
        struct assay_err ignored;
        outcome[0] = "refused";
        (void)away_return(r, assay_str(d->holder), res.id, fence, true, assay_str(err->msg), &ignored);
    } else if (rc == ASSAY_E_GUARD) {
        outcome[0] = "late";
    } else if (rc < 0) {
        return ASSAY_SETTLE_AGAIN;
    }
    forget(d, res.id, fence);
    r->host->metric_add(r->host->ctx, &runner_metrics[METRIC_AWAY_RESULTS], outcome, 1);
    return rc == ASSAY_E_INVALID ? ASSAY_SETTLE_DEAD : ASSAY_SETTLE_DONE;
}

static void take(void *arg)
{
    struct dispatch *d = arg;
    for (;;) {
        struct assay_err err = {0, ""};
        pthread_mutex_lock(&d->lock);
        struct came *c = d->first;
        if (c != NULL) {
            d->first = c->next;
            d->n_came--;
            if (d->first == NULL)
                d->last = NULL;
        } else {
            d->taking = false;
        }
        pthread_mutex_unlock(&d->lock);
        if (c == NULL)
            break;
        enum assay_settle how = import(d, c, &err);
        d->broker.ops->settle(d->broker.self, c->tag, how, how == ASSAY_SETTLE_DONE ? ASSAY_STR("") : assay_str(err.msg));
        free(c->body);
        free(c);
    }
    start_sending(d); /* there is room again */
}

static void start_taking(struct dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    bool start = d->first != NULL && !d->taking;
    d->taking = d->taking || start;
    pthread_mutex_unlock(&d->lock);
    if (!start || d->r->host->offload(d->r->host->ctx, take, d) >= 0)
        return;
    pthread_mutex_lock(&d->lock);
    d->taking = false;
    pthread_mutex_unlock(&d->lock);
}

static int deliver(void *arg, uint64_t tag, const struct assay_message *m)
{
    struct dispatch *d = arg;
    struct came *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ASSAY_E_NOMEM;
    *c = (struct came){.tag = tag, .body = malloc(m->body.n + 1), .n = m->body.n};
    pthread_mutex_lock(&d->lock);
    bool full = c->body == NULL || d->n_came >= RESULTS_MAX || d->draining;
    if (!full) {
        memcpy(c->body, m->body.p, m->body.n);
        if (d->last != NULL)
            d->last->next = c;
        else
            d->first = c;
        d->last = c;
        d->n_came++;
    }
    pthread_mutex_unlock(&d->lock);
    if (full) {
        free(c->body);
        free(c);
        return ASSAY_E_BUSY;
    }
    start_taking(d);
    return ASSAY_OK;
}

/* It comes again, here or elsewhere; importing it twice does no harm. */
static void lost(void *arg, uint64_t tag)
{
    (void)arg;
    (void)tag;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static void tick(void *arg)
{
    struct dispatch *d = arg;
    int64_t now = mono_ms_of(d->r);
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->n_out;) {
        if (now >= d->out[i].until_mono_ms)
            d->out[i] = d->out[--d->n_out];
        else
            i++;
    }
    bool draining = d->draining;
    pthread_mutex_unlock(&d->lock);
    if (draining)
        return;
    start_taking(d);
    start_sending(d);
    (void)d->r->host->after(d->r->host->ctx, TICK_MS, tick, d);
}

static int open_one(struct runner *r, const char *name, const char *kinds, struct assay_err *err)
{
    const struct assay_host *host = r->host;
    struct dispatch *d = calloc(1, sizeof *d);
    if (d == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    r->dispatch[r->n_dispatch++] = d;
    pthread_mutex_init(&d->lock, NULL);
    d->r = r;
    snprintf(d->name, sizeof d->name, "%s", name);
    snprintf(d->holder, sizeof d->holder, "broker:%s", d->name);
    snprintf(d->kinds, sizeof d->kinds, "%s", kinds);
    d->timeout_ms = host->option_int(host->ctx, "dispatch_timeout");
    d->max = (size_t)host->option_int(host->ctx, "dispatch_max");
    d->out = calloc(d->max, sizeof *d->out);
    if (d->out == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (host->size < offsetof(struct assay_host, quit) + sizeof host->quit)
        return assay_err_set(err, ASSAY_E_CONFIG, "this server lends no brokers");
    return host->broker(host->ctx, assay_str(name), &d->broker, err);
}

_Static_assert(ASSAY_JOB_BENCHMARK == 0 && ASSAY_JOB_TASK == 1 && ASSAY_JOB_PROJECT == 3 && ASSAY_JOB_FILTER == 5, "as they stand below");

int dispatch_open(struct runner *r, struct assay_err *err)
{
    const struct assay_host *host = r->host;
    /* the kinds of jobs that may go out, each through one broker; scripts (2) and projects that a broker brought (4) stay here; filters (5) are tasks too */
    static const struct {
        const char *option;
        const char *kinds;
        bool http; /* where no broker has it, runners elsewhere may lease it over HTTP */
    } of[] = {{"dispatch", "0", true}, {"dispatch_tasks", "1 5", true}, {"dispatch_projects", "3", false}};
    const char *broker[3];
    char here[32] = " 2 4 ", http[sizeof r->away_kinds] = " - ";
    bool any = false;
    int rc = ASSAY_OK;
    for (size_t i = 0; i < 3; i++)
        broker[i] = host->option_str(host->ctx, of[i].option);
    if (broker[1][0] == '\0')
        broker[1] = broker[0];
    for (size_t i = 0; rc >= 0 && i < 3; i++) {
        char kinds[16] = " ";
        bool first = broker[i][0] != '\0';
        any = any || first;
        for (size_t k = 0; k < 3 && first; k++) {
            if (strcmp(broker[i], broker[k]) != 0)
                continue;
            first = k >= i; /* else it is open already */
            (void)snprintf(kinds + strlen(kinds), sizeof kinds - strlen(kinds), "%s ", of[k].kinds);
        }
        if (first)
            rc = open_one(r, broker[i], kinds, err);
        if (broker[i][0] == '\0')
            (void)snprintf(here + strlen(here), sizeof here - strlen(here), "%s ", of[i].kinds);
        if (broker[i][0] == '\0' && of[i].http)
            (void)snprintf(http + strlen(http), sizeof http - strlen(http), "%s ", of[i].kinds);
    }
    if (rc < 0)
        return rc;
    memcpy(r->away_kinds, http, sizeof http);
    return r->jobs->keep_local(r->jobs_self, any ? here : "", err);
}

int dispatch_start(struct runner *r, struct assay_err *err)
{
    for (size_t i = 0; i < r->n_dispatch; i++) {
        struct dispatch *d = r->dispatch[i];
        struct assay_broker_sink sink = {d, deliver, lost};
        int rc = d->broker.ops->consume(d->broker.self, ASSAY_CHANNEL_RESULTS, &sink, RESULTS_MAX, err);
        if (rc < 0)
            return assay_err_prefix(err, "results from the broker %s", d->name);
        rc = r->host->after(r->host->ctx, 0, tick, d);
        if (rc < 0)
            return assay_err_set(err, rc, "no timer is to be had");
    }
    return ASSAY_OK;
}

void dispatch_ring(struct runner *r)
{
    for (size_t i = 0; i < r->n_dispatch; i++)
        start_sending(r->dispatch[i]);
}

void dispatch_drain(struct runner *r)
{
    for (size_t i = 0; i < r->n_dispatch; i++) {
        struct dispatch *d = r->dispatch[i];
        pthread_mutex_lock(&d->lock);
        d->draining = true;
        pthread_mutex_unlock(&d->lock);
    }
}

void dispatch_free(struct runner *r)
{
    for (size_t i = 0; i < r->n_dispatch; i++) {
        struct dispatch *d = r->dispatch[i];
        while (d->first != NULL) { /* unsettled: they come again */
            struct came *c = d->first;
            d->first = c->next;
            free(c->body);
            free(c);
        }
        free(d->out);
        pthread_mutex_destroy(&d->lock);
        free(d);
    }
    r->n_dispatch = 0;
}
