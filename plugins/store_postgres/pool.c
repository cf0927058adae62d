/*
 * Reading connections: a bounded pool, last in, first out.  A read has no effect, so one that finds its connection
 * dead (the server was restarted since) is done once more on a fresh one.
 */
#include "local.h"

#include <stdlib.h>
#include <time.h>

static int get(struct pg_store *s, struct pg_conn **out, struct assay_err *err)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail with this clock */
    until.tv_sec += (time_t)(s->timeout_ms / 1000) + 1;
    struct pg_conn *c = NULL;
    (void)pthread_mutex_lock(&s->pool_lock);
    while (!s->pool && s->n_readers >= s->readers_max)
        if (pthread_cond_timedwait(&s->pool_free, &s->pool_lock, &until) != 0 && !s->pool && s->n_readers >= s->readers_max) {
            (void)pthread_mutex_unlock(&s->pool_lock);
            return assay_err_set(err, ASSAY_E_BUSY, "all %zu reading connections are in use", s->readers_max);
        }
    if (s->pool) {
        c = s->pool;
        s->pool = c->next;
        c->next = NULL;
    } else {
        s->n_readers++;
    }
    (void)pthread_mutex_unlock(&s->pool_lock);
    if (c == NULL)
        c = calloc(1, sizeof *c);
    if (c != NULL) {
        *out = c;
        return 0;
    }
    (void)pthread_mutex_lock(&s->pool_lock);
    s->n_readers--;
    (void)pthread_cond_signal(&s->pool_free);
    (void)pthread_mutex_unlock(&s->pool_lock);
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a reading connection");
}

static void put(struct pg_store *s, struct pg_conn *c)
{
    bool keep = !pg_broken(c);
    if (!keep)
        pg_close(c);
    (void)pthread_mutex_lock(&s->pool_lock);
    if (keep) {
        c->next = s->pool;
        s->pool = c;
    } else {
        s->n_readers--;
    }
    (void)pthread_cond_signal(&s->pool_free);
    (void)pthread_mutex_unlock(&s->pool_lock);
    if (!keep)
        free(c);
}

int pg_read(struct pg_store *s, int (*fn)(struct pg_store *s, struct pg_conn *c, void *arg, struct assay_err *err), void *arg,
            struct assay_err *err)
{
    struct pg_conn *c = NULL;
    int st = get(s, &c, err);
    if (st != 0)
        return st;
    for (int attempt = 0; attempt < 2; attempt++) {
        bool fresh = pg_broken(c);
        st = fresh ? pg_open(s, c, PG_READ, err) : 0;
        if (st == 0)
            st = fn(s, c, arg, err);
        if (st == ASSAY_E_TIMEOUT || st == ASSAY_E_IO) /* its answer may still be under way */
            pg_close(c);
        if (st != ASSAY_E_IO || fresh)
            break;
    }
    put(s, c);
    if ((st == ASSAY_E_IO || st == ASSAY_E_TIMEOUT) && err) /* as in the writer: to be asked again */
        err->code = ASSAY_E_BUSY;
    return st == ASSAY_E_IO || st == ASSAY_E_TIMEOUT ? ASSAY_E_BUSY : st;
}

/* Only when no reader is out: at fini. */
void pg_readers_close(struct pg_store *s)
{
    while (s->pool) {
        struct pg_conn *c = s->pool;
        s->pool = c->next;
        pg_close(c);
        free(c);
        s->n_readers--;
    }
}
