/*
 * What this process knows about running work, in memory: its runner's leases with their deadlines, and
 * the requests that wait for an end.
 *
 * The row says that a submission is running and under which fence; how long its lease lasts is only
 * here, on the monotonic clock, so that renewing costs no write and a changed wall clock expires
 * nothing.  A process that dies takes its leases with it, which is why they are void at the next start.
 *
 * A lease leaves the table when its end has come back in the events (live_ended), but only if its end
 * was being written: a submission may have been requeued and leased again before the older event is
 * seen.  What is left over expires, and the guarded statement of the sweep then changes nothing.
 *
 * One mutex guards everything; no call blocks and wait functions run outside it.
 */
#include "local.h"

#include <assert.h>

#define BUCKETS 256u
#define WAITERS_MAX 4096u

struct lease {
    struct lease *next;
    char id[ASSAY_ID_SIZE];
    int64_t fence; /* 0: only a cancel that came before the lease was entered */
    int64_t deadline_ms;
    bool cancel, ending;
};
struct waiter {
    struct waiter *next;
    char id[ASSAY_ID_SIZE];
    uint64_t serial;
    live_wait_fn fn;
    void *arg;
};
struct live {
    pthread_mutex_t lock; /* guards all below */
    struct lease *lease[BUCKETS];
    struct waiter *waiter[BUCKETS]; /* by id */
    size_t n_waiters;
    uint64_t next_serial;
};

static uint32_t bucket_of(struct assay_str id)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < id.n; i++)
        h = (h ^ (unsigned char)id.p[i]) * 16777619u;
    return h % BUCKETS;
}

static bool is_id(const char *z, struct assay_str id)
{
    return assay_str_eq(assay_str(z), id);
}

static bool copy_id(char out[ASSAY_ID_SIZE], struct assay_str id)
{
    if (id.n == 0 || id.n >= ASSAY_ID_SIZE)
        return false;
    memcpy(out, id.p, id.n);
    out[id.n] = '\0';
    return true;
}

struct live *live_new(void)
{
    struct live *l = calloc(1, sizeof *l);
    if (l != NULL)
        pthread_mutex_init(&l->lock, NULL);
    return l;
}

void live_free(struct live *l)
{
    if (l == NULL)
        return;
    for (size_t b = 0; b < BUCKETS; b++) {
        while (l->lease[b] != NULL) {
            struct lease *e = l->lease[b];
            l->lease[b] = e->next;
            free(e);
        }
        while (l->waiter[b] != NULL) {
            struct waiter *w = l->waiter[b];
            l->waiter[b] = w->next;
            free(w);
        }
    }
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct lease *find(struct live *l, struct assay_str id)
{
    for (struct lease *e = l->lease[bucket_of(id)]; e != NULL; e = e->next) {
        if (is_id(e->id, id))
            return e;
    }
    return NULL;
}

static struct lease *find_or_add(struct live *l, struct assay_str id)
{
    struct lease *e = find(l, id);
    if (e != NULL)
        return e;
    e = calloc(1, sizeof *e);
    if (e == NULL || !copy_id(e->id, id)) {
        free(e);
        return NULL;
    }
    uint32_t b = bucket_of(id);
    e->next = l->lease[b];
    l->lease[b] = e;
    return e;
}

static void remove_lease(struct live *l, struct assay_str id)
{
    for (struct lease **at = &l->lease[bucket_of(id)]; *at != NULL; at = &(*at)->next) {
        if (is_id((*at)->id, id)) {
            struct lease *e = *at;
            *at = e->next;
            free(e);
            return;
        }
    }
}

int live_lease(struct live *l, struct assay_str id, int64_t fence, int64_t deadline_ms)
{
    int rc = ASSAY_OK;
    pthread_mutex_lock(&l->lock);
    struct lease *e = find_or_add(l, id);
    if (e == NULL) {
        rc = ASSAY_E_NOMEM;
    } else {
        if (e->fence != 0) /* an older lease: its cancel was for that one */
            e->cancel = false;
        e->fence = fence;
        e->deadline_ms = deadline_ms;
        e->ending = false;
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

int live_renew(struct live *l, struct assay_str id, int64_t fence, int64_t deadline_ms)
{
    int rc = ASSAY_E_GUARD;
    pthread_mutex_lock(&l->lock);
    struct lease *e = find(l, id);
    if (e != NULL && e->fence == fence) {
        e->deadline_ms = deadline_ms;
        rc = ASSAY_OK;
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

bool live_has(struct live *l, struct assay_str id, int64_t fence)
{
    pthread_mutex_lock(&l->lock);
    const struct lease *e = find(l, id);
    bool yes = e != NULL && e->fence == fence;
    pthread_mutex_unlock(&l->lock);
    return yes;
}

void live_ending(struct live *l, struct assay_str id, int64_t fence)
{
    pthread_mutex_lock(&l->lock);
    struct lease *e = find(l, id);
    if (e != NULL && e->fence == fence)
        e->ending = true;
    pthread_mutex_unlock(&l->lock);
}

void live_ended(struct live *l, struct assay_str id)
{
    pthread_mutex_lock(&l->lock);
    struct lease *e = find(l, id);
    if (e != NULL && (e->ending || e->fence == 0))
        remove_lease(l, id);
    pthread_mutex_unlock(&l->lock);
}

void live_forget(struct live *l, struct assay_str id, int64_t fence)
{
    pthread_mutex_lock(&l->lock);
    struct lease *e = find(l, id);
    if (e != NULL && e->fence == fence)
        remove_lease(l, id);
    pthread_mutex_unlock(&l->lock);
}

void live_cancel(struct live *l, struct assay_str id)
{
    pthread_mutex_lock(&l->lock);
    struct lease *e = find_or_add(l, id); /* no memory: the sweep ends it when its lease comes back */
    if (e != NULL)
        e->cancel = true;
    pthread_mutex_unlock(&l->lock);
}

bool live_cancelled(struct live *l, struct assay_str id)
{
    pthread_mutex_lock(&l->lock);
    const struct lease *e = find(l, id);
    bool yes = e != NULL && e->cancel;
    pthread_mutex_unlock(&l->lock);
    return yes;
}

size_t live_expired(struct live *l, int64_t now_ms, struct live_expired *out, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&l->lock);
    for (size_t b = 0; b < BUCKETS && n < max; b++) {
        for (const struct lease *e = l->lease[b]; e != NULL && n < max; e = e->next) {
            if (e->fence != 0 && e->deadline_ms <= now_ms) {
                memcpy(out[n].id, e->id, sizeof e->id);
                out[n].fence = e->fence;
                n++;
            }
        }
    }
    pthread_mutex_unlock(&l->lock);
    return n;
}

size_t live_leases(struct live *l)
{
    size_t n = 0;
    pthread_mutex_lock(&l->lock);
    for (size_t b = 0; b < BUCKETS; b++) {
        for (const struct lease *e = l->lease[b]; e != NULL; e = e->next)
            n += e->fence != 0 && !e->ending;
    }
    pthread_mutex_unlock(&l->lock);
    return n;
}

int live_wait(struct live *l, struct assay_str id, live_wait_fn fn, void *arg, uint64_t *serial)
{
    struct waiter *w = calloc(1, sizeof *w);
    if (w == NULL || !copy_id(w->id, id)) {
        free(w);
        return ASSAY_E_NOMEM;
    }
    w->fn = fn;
    w->arg = arg;
    pthread_mutex_lock(&l->lock);
    if (l->n_waiters >= WAITERS_MAX) {
        pthread_mutex_unlock(&l->lock);
        free(w);
        return ASSAY_E_BUSY;
    }
    l->n_waiters++;
    w->serial = *serial = ++l->next_serial;
    uint32_t b = bucket_of(id);
    w->next = l->waiter[b];
    l->waiter[b] = w;
    pthread_mutex_unlock(&l->lock);
    return ASSAY_OK;
}

static struct waiter *take_serial(struct live *l, uint64_t serial)
{
    pthread_mutex_lock(&l->lock);
    for (size_t b = 0; b < BUCKETS; b++) {
        for (struct waiter **at = &l->waiter[b]; *at != NULL; at = &(*at)->next) {
            struct waiter *w = *at;
            if (w->serial != serial)
                continue;
            *at = w->next;
            l->n_waiters--;
            pthread_mutex_unlock(&l->lock);
            return w;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

bool live_wait_cancel(struct live *l, uint64_t serial)
{
    struct waiter *w = take_serial(l, serial);
    free(w);
    return w != NULL;
}

void live_wait_over(struct live *l, uint64_t serial)
{
    struct waiter *w = take_serial(l, serial);
    if (w != NULL)
        w->fn(w->arg, false);
    free(w);
}

/* all: of every id */
static void wake(struct live *l, struct assay_str id, bool all)
{
    struct waiter *taken = NULL;
    size_t first = all ? 0 : bucket_of(id), last = all ? BUCKETS - 1 : first;
    pthread_mutex_lock(&l->lock);
    for (size_t b = first; b <= last; b++) {
        struct waiter **at = &l->waiter[b];
        while (*at != NULL) {
            struct waiter *w = *at;
            if (!all && !is_id(w->id, id)) {
                at = &w->next;
                continue;
            }
            *at = w->next;
            l->n_waiters--;
            w->next = taken;
            taken = w;
        }
    }
    pthread_mutex_unlock(&l->lock);
    while (taken != NULL) {
        struct waiter *w = taken;
        taken = w->next;
        w->fn(w->arg, !all);
        free(w);
    }
}

void live_wake(struct live *l, struct assay_str id)
{
    wake(l, id, false);
}

void live_wake_all(struct live *l)
{
    wake(l, ASSAY_STR_NULL, true);
}
