/*
 * Theory of operation.  Hashing a password takes tens of milliseconds and tens of megabytes, so only a
 * few requests may be at it; and a class of two hundred that signs in within a second must neither be
 * refused nor hold a worker thread each while it waits.  So there are SLOTS places.  A request that
 * finds one free is handled at once by the worker that has it; any other takes its ticket and stands
 * in line, holding nothing but its own memory, until a slot is left: whoever leaves sends the first in
 * line to the worker pool.  The line is bounded; beyond that clients are told to come back.
 */
#include "local.h"

#include <pthread.h>
#include <stdlib.h>

#define SLOTS (ASSAY_PASSWORD_PARALLEL + 1) /* one more than hash at a time: it reads and commits meanwhile */
#define WAITING_MAX 512
#define RETRY_MS 10 /* when the worker pool is full at the moment of handing over */

struct waiter {
    struct waiter *next;
    struct auth_line *line;
    assay_handler handle;
    void *self;
    struct assay_request *rq;
    assay_ticket ticket;
};

struct auth_line {
    const struct assay_host *host;
    pthread_mutex_t lock; /* guards what follows */
    int taken;
    size_t n_waiting;
    bool closed;
    struct waiter *first, **last;
};

struct auth_line *auth_line_new(const struct assay_host *host)
{
    struct auth_line *l = calloc(1, sizeof *l);
    if (l != NULL) {
        l->host = host;
        pthread_mutex_init(&l->lock, NULL);
        l->last = &l->first;
    }
    return l;
}

void auth_line_free(struct auth_line *l)
{
    if (l == NULL)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct waiter *take_first(struct auth_line *l) /* lock held */
{
    struct waiter *w = l->first;
    if (w != NULL) {
        l->first = w->next;
        if (l->first == NULL)
            l->last = &l->first;
        l->n_waiting--;
    }
    return w;
}

static int full(struct assay_response *rs, struct assay_err *err)
{
    assay_reply_header(rs, ASSAY_STR("Retry-After"), ASSAY_STR("2"));
    return assay_err_set(err, ASSAY_E_BUSY, "too many sign-ins at this moment; try again shortly");
}

static void answer_full(struct waiter *w)
{
    struct assay_response rs = {.status = 0};
    struct assay_err err;
    int rc = full(&rs, &err);
    w->line->host->resume(w->line->host->ctx, w->ticket, rc, &rs, &err);
}

static void run_waiter(void *arg);

/* Gives the caller's slot to the first in line, or frees it. */
static void leave(struct auth_line *l)
{
    for (;;) {
        pthread_mutex_lock(&l->lock);
        struct waiter *w = take_first(l);
        if (w == NULL)
            l->taken--;
        pthread_mutex_unlock(&l->lock);
        if (w == NULL || l->host->offload(l->host->ctx, run_waiter, w) == ASSAY_OK ||
            l->host->after(l->host->ctx, RETRY_MS, run_waiter, w) == ASSAY_OK)
            return;
        answer_full(w); /* no worker is to be had: the slot goes to the next */
    }
}

static void run_waiter(void *arg)
{
    struct waiter *w = arg;
    struct auth_line *l = w->line;
    struct assay_response rs = {.status = 0};
    struct assay_err err = {0, ""};
    int rc = w->handle(w->self, w->rq, &rs, &err);
    assay_ticket ticket = w->ticket; /* w lives in the request, which goes with resume */
    leave(l);
    l->host->resume(l->host->ctx, ticket, rc, &rs, rc < 0 ? &err : NULL);
}

int auth_line_through(struct auth_line *l, assay_handler handle, void *self, struct assay_request *rq,
                      struct assay_response *rs, struct assay_err *err)
{
    struct waiter *w = NULL;
    pthread_mutex_lock(&l->lock);
    bool now = l->taken < SLOTS && !l->closed;
    if (now) {
        l->taken++;
    } else if (!l->closed && l->n_waiting < WAITING_MAX) {
        w = assay_arena_alloc(rq->arena, sizeof *w);
        if (w != NULL) {
            *w = (struct waiter){.line = l, .handle = handle, .self = self, .rq = rq};
            w->ticket = l->host->defer(l->host->ctx, rq);
            *l->last = w;
            l->last = &w->next;
            l->n_waiting++;
        }
    }
    pthread_mutex_unlock(&l->lock);
    if (now) {
        int rc = handle(self, rq, rs, err);
        leave(l);
        return rc;
    }
    return w != NULL ? ASSAY_DEFERRED : full(rs, err);
}

void auth_line_close(struct auth_line *l)
{
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    struct waiter *w = l->first;
    l->first = NULL;
    l->last = &l->first;
    l->n_waiting = 0;
    pthread_mutex_unlock(&l->lock);
    while (w != NULL) {
        struct waiter *next = w->next;
        answer_full(w);
        w = next;
    }
}
