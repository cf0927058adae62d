/* Results and returns, on their way to the gateway. */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

#define POSTS_MAX 1024

void bh_post_add(struct bh_driver *d, struct bh_post *p)
{
    pthread_mutex_lock(&d->lock);
    p->next = NULL;
    if (d->last != NULL)
        d->last->next = p;
    else
        d->first = p;
    d->last = p;
    d->n_posts++;
    pthread_cond_broadcast(&d->cond);
    pthread_mutex_unlock(&d->lock);
}

static void post_free(struct bh_post *p)
{
    free(p->body);
    free(p);
}

static struct bh_post *post_new(const struct bh_lease *l, struct assay_buf *body)
{
    struct bh_post *p = calloc(1, sizeof *p);
    if (p == NULL || body->failed) {
        free(p);
        return NULL;
    }
    p->body = malloc(body->n + 1);
    if (p->body == NULL) {
        free(p);
        return NULL;
    }
    memcpy(p->body, body->p, body->n);
    p->n = body->n;
    if (l != NULL) {
        p->tag = l->tag;
        p->fence = l->fence;
        memcpy(p->id, l->id, sizeof p->id);
    }
    return p;
}

static bool copy_lease(struct bh_driver *d, uint64_t tag, struct bh_lease *out)
{
    pthread_mutex_lock(&d->lock);
    const struct bh_lease *l = bh_find(d, tag);
    bool there = l != NULL;
    if (there)
        *out = *l;
    pthread_mutex_unlock(&d->lock);
    return there;
}

int bh_publish(void *self, const struct assay_publication *pub, assay_published done, void *arg, struct assay_err *err)
{
    struct bh_driver *d = self;
    struct bh_lease l = {.tag = 0};
    if (pub->channel != ASSAY_CHANNEL_RESULTS)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "a gateway takes results only");
    pthread_mutex_lock(&d->lock);
    bool full = d->n_posts >= POSTS_MAX;
    pthread_mutex_unlock(&d->lock);
    if (full || atomic_load(&d->stop))
        return assay_err_set(err, ASSAY_E_BUSY, "too many results are on their way");
    bool held = copy_lease(d, pub->answers, &l) && !l.told;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_fmt(&b, "{\"submission_id\":\"%s\",\"fence\":%lld,\"result\":", l.id, (long long)l.fence);
    if (held)
        assay_buf_str(&b, pub->body);
    assay_buf_putc(&b, '}');
    struct bh_post *p = post_new(held ? &l : NULL, &b);
    if (p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a result");
    p->gone = !held;
    p->done = done;
    p->arg = arg;
    bh_post_add(d, p);
    return ASSAY_OK;
}

static void give_back(struct bh_driver *d, const struct bh_lease *l, bool charge, struct assay_str reason)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    struct assay_err err;
    struct assay_str why = reason.n == 0 ? ASSAY_STR("handed back") : (struct assay_str){reason.p, reason.n > 300 ? 300 : reason.n};
    struct bh_post *p = NULL;
    if (w != NULL) {
        assay_jw_object(w);
        assay_jw_kz(w, "submission_id", l->id);
        assay_jw_kint(w, "fence", l->fence);
        assay_jw_key(w, "returned");
        assay_jw_object(w);
        assay_jw_kstr(w, "reason", why);
        assay_jw_kbool(w, "charge", charge);
        assay_jw_end(w);
        assay_jw_end(w);
        if (assay_jw_finish(w, &b, &err) >= 0)
            p = post_new(l, &b);
    }
    if (p != NULL)
        bh_post_add(d, p);
    else
        bh_forget(d, l->tag); /* then it expires */
}

void bh_settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason)
{
    struct bh_driver *d = self;
    struct bh_lease l;
    if (!copy_lease(d, tag, &l))
        return;
    if (how == ASSAY_SETTLE_DONE)
        bh_forget(d, tag);
    else
        give_back(d, &l, how == ASSAY_SETTLE_DEAD, reason);
}

static void finish(struct bh_driver *d, struct bh_post *p, int status, const struct assay_err *err)
{
    if (p->done != NULL)
        p->done(p->arg, status, err);
    else if (p->tag != 0)
        bh_forget(d, p->tag);
    post_free(p);
}

/* The gateway has answered for good. */
static void answered(struct bh_driver *d, struct bh_post *p, int status, const struct assay_buf *out)
{
    struct assay_err err = {.msg = ""};
    bool late = status == 409, refused = !late && status >= 300;
    if (late || refused)
        assay_log(d->host, late ? ASSAY_LOG_WARN : ASSAY_LOG_ERROR, late ? "result_late" : "result_refused", ASSAY_KZ("submission_id", p->id),
                  ASSAY_KI("fence", p->fence), ASSAY_KI("status", status),
                  ASSAY_KS("answer", ((struct assay_str){out->p, out->n > 300 ? 300 : out->n})));
    if (refused && p->done != NULL) { /* it will be refused again: let somebody else try */
        struct bh_lease l = {.tag = p->tag, .fence = p->fence};
        memcpy(l.id, p->id, sizeof l.id);
        give_back(d, &l, true, ASSAY_STR("the gateway refused the result"));
    } else {
        bh_forget(d, p->tag);
    }
    finish(d, p, late || refused ? assay_err_set(&err, ASSAY_E_GONE, "the gateway answers %d", status) : ASSAY_OK, &err);
}

static void bring(struct bh_driver *d, struct bh_call *c, struct bh_post *p, struct assay_buf *out)
{
    struct assay_err err = {.msg = ""};
    int64_t delay = 200;
    if (p->gone) {
        finish(d, p, assay_err_set(&err, ASSAY_E_GONE, "the lease is somebody else's now"), &err);
        return;
    }
    struct assay_str body = {p->body, p->n};
    for (;;) {
        int rc = bh_call(c, "/results", &body, 60000, 1 << 20, out, &err);
        if (rc >= 200 && rc < 500 && rc != 401 && rc != 403 && rc != 408 && rc != 429) {
            answered(d, p, rc, out);
            return;
        }
        if (atomic_load(&d->stop)) {
            finish(d, p, assay_err_set(&err, ASSAY_E_TIMEOUT, "the runner is stopping"), &err);
            return;
        }
        bh_trouble(d, "result", rc, &err);
        bh_sleep(d, delay);
        delay = delay < 5000 ? delay * 2 : 5000;
    }
}

void *bh_post_main(void *driver)
{
    struct bh_driver *d = driver;
    struct assay_err err;
    struct bh_call *c = bh_call_new(d, &err);
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    while (c != NULL) {
        pthread_mutex_lock(&d->lock);
        while (d->first == NULL && !atomic_load(&d->stop))
            pthread_cond_wait(&d->cond, &d->lock);
        struct bh_post *p = d->first;
        if (p != NULL) {
            d->first = p->next;
            if (d->first == NULL)
                d->last = NULL;
            d->n_posts--;
        }
        pthread_mutex_unlock(&d->lock);
        if (p == NULL)
            break;
        bring(d, c, p, &out);
    }
    bh_call_free(c);
    return NULL;
}

void bh_posts_end(struct bh_driver *d)
{
    for (;;) {
        struct assay_err err;
        pthread_mutex_lock(&d->lock);
        struct bh_post *p = d->first;
        if (p != NULL)
            d->first = p->next;
        pthread_mutex_unlock(&d->lock);
        if (p == NULL)
            return;
        finish(d, p, assay_err_set(&err, ASSAY_E_TIMEOUT, "the runner is stopping"), &err);
    }
}
