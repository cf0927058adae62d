/*
 * Readers: a bounded pool of read-only connections.
 *
 * Last in, first out, so that few of them are warm and an idle server holds little memory.  A
 * connection that met an I/O error or corruption is closed rather than trusted again.
 */
#include "local.h"

#include <stdlib.h>
#include <time.h>

int sq_reader_get(struct sq_store *s, struct sq_conn **out, struct assay_err *err)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail with this clock */
    until.tv_sec += (time_t)(s->busy_ms / 1000) + 1;
    struct sq_conn *c = NULL;
    (void)pthread_mutex_lock(&s->pool_lock);
    while (!s->pool && s->n_readers >= s->readers_max)
        if (pthread_cond_timedwait(&s->pool_free, &s->pool_lock, &until) != 0 && !s->pool &&
            s->n_readers >= s->readers_max) {
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
    if (c) {
        *out = c;
        return 0;
    }
    c = calloc(1, sizeof *c);
    int st = c ? sq_open_reader(s, c, err) : assay_err_set(err, ASSAY_E_NOMEM, "no memory for a reading connection");
    if (st != 0) {
        free(c);
        (void)pthread_mutex_lock(&s->pool_lock);
        s->n_readers--;
        (void)pthread_cond_signal(&s->pool_free);
        (void)pthread_mutex_unlock(&s->pool_lock);
        return st;
    }
    *out = c;
    return 0;
}

void sq_reader_put(struct sq_store *s, struct sq_conn *c, int status)
{
    bool broken = status == ASSAY_E_IO || status == ASSAY_E_CORRUPT;
    if (broken)
        sq_conn_close(c);
    /* one who sees the damage first tells everybody: nothing is written to a damaged file */
    if (status == ASSAY_E_CORRUPT && atomic_exchange(&s->health, ASSAY_E_CORRUPT) != ASSAY_E_CORRUPT)
        assay_log(s->host, ASSAY_LOG_ERROR, "store_damaged", ASSAY_KZ("path", s->path));
    (void)pthread_mutex_lock(&s->pool_lock);
    if (broken) {
        s->n_readers--;
    } else {
        c->next = s->pool;
        s->pool = c;
    }
    (void)pthread_cond_signal(&s->pool_free);
    (void)pthread_mutex_unlock(&s->pool_lock);
    if (broken)
        free(c);
}

/* Only when no reader is out: at fini. */
void sq_readers_close(struct sq_store *s)
{
    while (s->pool) {
        struct sq_conn *c = s->pool;
        s->pool = c->next;
        sq_conn_close(c);
        free(c);
        s->n_readers--;
    }
}

int sq_query(struct sq_store *s, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
             struct assay_arena *arena, struct assay_rows *out, struct assay_err *err)
{
    if (stmt->write)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: a write is not a query", stmt->name);
    struct sq_conn *c;
    int st = sq_reader_get(s, &c, err);
    if (st != 0)
        return st;
    st = sq_run(c, stmt, args, n, arena, out, NULL, err);
    sq_reader_put(s, c, st);
    return st;
}
