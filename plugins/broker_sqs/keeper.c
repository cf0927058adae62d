/*
 * The keeper: one thread that tells SQS what became of the messages here.
 *
 * Settled ones are deleted, given back (a visibility of a few seconds, or none at the end), or sent to the dead-letter queue
 * and then deleted.  The visibility of all others is renewed when half of it is over.  Ten a request.  What cannot
 * be told is tried again with a growing pause: a message whose deletion is never heard comes again, and its receiver
 * knows it.  A receipt that SQS does not know any more, or a visibility that ended before it could be renewed, is lost: somebody else
 * may have the message, so the sink is told before it publishes.
 */
#include "local.h"

#include <stdlib.h>

#define TICK_MS 250
#define TRY_MS 10000
#define PAUSE_MIN_MS 250
#define PAUSE_MAX_MS 10000
#define AGAIN_S 5
#define FORGET_NS ((int64_t)600 * 1000000000) /* so long after its visibility a deletion is still tried */

enum what { W_DELETE, W_AGAIN, W_DEAD, W_RENEW, WHATS };

struct batch {
    enum what what;
    enum assay_channel channel;
    size_t n;
    uint64_t tag[BQ_BATCH];
};

static bool wants(const struct bq_broker *b, const struct bq_held *h, enum what what, int64_t now)
{
    if (h->due_ns > now || h->lost)
        return false;
    switch (what) {
    case W_DELETE: return h->phase == BQ_DELETE && !h->delivering;
    case W_AGAIN: return h->phase == BQ_AGAIN && !h->delivering;
    case W_DEAD: return h->phase == BQ_DEAD && !h->delivering;
    case W_RENEW:
        return (h->phase == BQ_OFFERED || h->phase == BQ_HELD || h->phase == BQ_DEAD) &&
               h->until_ns - now < b->visibility_s * 500000000;
    case WHATS: break;
    }
    return false;
}

static bool gather(struct bq_broker *b, enum what what, int64_t now, struct batch *out)
{
    *out = (struct batch){.what = what};
    for (const struct bq_held *h = b->held; h != NULL && out->n < (what == W_DEAD ? 1 : BQ_BATCH); h = h->next)
        if (wants(b, h, what, now) && (out->n == 0 || h->channel == out->channel)) {
            out->channel = h->channel;
            out->tag[out->n++] = h->tag;
        }
    return out->n > 0;
}

static int64_t later(int tries)
{
    int64_t ms = tries < 6 ? (int64_t)PAUSE_MIN_MS << tries : PAUSE_MAX_MS;
    return assay_mono_ns() + (ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS) * 1000000;
}

/* ---- the dead-letter queue ---- */

/* The one that the queue itself names, when no option does. */
static int look_for_dead(struct bq_broker *b, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_JW struct assay_jw *v = assay_jw_new();
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new((size_t)1 << 20);
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""}, a2 = {.code = ""};
    char name[128], account[32];
    if (w == NULL || v == NULL || arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to look for the dead-letter queue");
    assay_jw_object(w);
    assay_jw_kz(w, "QueueUrl", b->queue[ASSAY_CHANNEL_WORK].url);
    assay_jw_key(w, "AttributeNames");
    assay_jw_array(w);
    assay_jw_z(w, "RedrivePolicy");
    assay_jw_end(w);
    assay_jw_end(w);
    int rc = bq_request(b, b->client, "GetQueueAttributes", w, TRY_MS, 2, &a, err);
    if (rc == 0)
        rc = bq_decode_redrive(assay_buf_view(&a.http.body), name, account, err);
    if (rc != 0)
        return rc;
    assay_jw_object(v);
    assay_jw_kz(v, "QueueName", name);
    if (account[0] != '\0')
        assay_jw_kz(v, "QueueOwnerAWSAccountId", account);
    assay_jw_end(v);
    struct assay_str url;
    rc = bq_request(b, b->client, "GetQueueUrl", v, TRY_MS, 2, &a2, err);
    if (rc == 0)
        rc = bq_decode_url(assay_buf_view(&a2.http.body), arena, &url, err);
    if (rc != 0)
        return rc == ASSAY_E_NOT_FOUND ? ASSAY_E_CONFIG : rc; /* it is named and not there: not the same as none */
    char *z = strndup(url.p, url.n);
    if (z == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a queue's URL");
    pthread_mutex_lock(&b->lock);
    b->queue[ASSAY_CHANNEL_DEAD] = (struct bq_queue){z, assay_str_ends(assay_str(z), ".fifo")};
    pthread_mutex_unlock(&b->lock);
    return 0;
}

/* 0: sent, or there is nowhere to send it: then it goes. */
static int bury(struct bq_broker *b, uint64_t tag, struct assay_err *err)
{
    int rc = 0;
    if (b->queue[ASSAY_CHANNEL_DEAD].url == NULL && !b->dead_known) {
        rc = look_for_dead(b, err);
        if (rc != 0 && rc != ASSAY_E_NOT_FOUND)
            return rc;
        b->dead_known = true;
    }
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new((size_t)16 << 20);
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    char deliveries[24], dedup[ASSAY_SHA256_HEX];
    if (w == NULL || arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a dead letter");
    pthread_mutex_lock(&b->lock);
    const struct bq_queue *q = &b->queue[ASSAY_CHANNEL_DEAD];
    struct bq_held *h = bq_find(b, tag);
    if (h == NULL || q->url == NULL) {
        if (h != NULL)
            assay_log(b->host, ASSAY_LOG_ERROR, "sqs_dead_letter_dropped", ASSAY_KZ("name", h->name), ASSAY_KZ("reason", h->reason));
        pthread_mutex_unlock(&b->lock);
        return 0;
    }
    assay_sha256_hex(assay_str(h->name), dedup);
    (void)snprintf(deliveries, sizeof deliveries, "%lld", (long long)h->deliveries);
    assay_jw_object(w);
    assay_jw_kz(w, "QueueUrl", q->url);
    assay_jw_key(w, "Entries");
    assay_jw_array(w);
    bq_entry(w, 0, q, (struct assay_str){h->body, h->body_n}, assay_str(h->key), dedup);
    assay_jw_key(w, "MessageAttributes");
    assay_jw_object(w);
    bq_attribute(w, "reason", assay_str(h->reason[0] != '\0' ? h->reason : "not said"));
    bq_attribute(w, "message_id", assay_str(h->name));
    bq_attribute(w, "deliveries", assay_str(deliveries));
    bq_attribute(w, "key", assay_str(h->key));
    bq_attribute(w, "correlation", assay_str(h->correlation));
    bq_attribute(w, "traceparent", assay_str(h->traceparent));
    assay_jw_end(w);
    assay_jw_end(w);
    assay_jw_end(w);
    assay_jw_end(w);
    pthread_mutex_unlock(&b->lock);
    rc = bq_request(b, b->client, "SendMessageBatch", w, TRY_MS, 3, &a, err);
    struct bq_result r[BQ_BATCH];
    if (rc == 0)
        rc = bq_decode_batch(assay_buf_view(&a.http.body), arena, 1, r, err);
    if (rc == 0 && !r[0].ok)
        rc = assay_err_set(err, ASSAY_E_BUSY, "SQS does not take a dead letter: %.*s %.*s", ASSAY_FMT(r[0].code), ASSAY_FMT(r[0].message));
    if (rc == 0)
        bq_count(b, "dead", 1);
    return rc;
}

/* ---- batches ---- */

static void write_batch(struct bq_broker *b, const struct batch *t, struct assay_jw *w)
{
    assay_jw_object(w);
    assay_jw_kz(w, "QueueUrl", b->queue[t->channel].url);
    assay_jw_key(w, "Entries");
    assay_jw_array(w);
    for (size_t i = 0; i < t->n; i++) {
        const struct bq_held *h = bq_find(b, t->tag[i]);
        char id[2] = {(char)('0' + i), '\0'};
        assay_jw_object(w);
        assay_jw_kz(w, "Id", id);
        assay_jw_kz(w, "ReceiptHandle", h->receipt); /* only this thread removes, and it does not now */
        if (t->what != W_DELETE)
            assay_jw_kint(w, "VisibilityTimeout", t->what == W_RENEW ? b->visibility_s : h->now ? 0 : AGAIN_S);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
}

/* The lock is held. ok: SQS did it; never: it will not, the receipt is no good; else it was not heard. */
static void apply(struct bq_broker *b, const struct batch *t, uint64_t tag, bool ok, bool never, int64_t asked_ns)
{
    struct bq_held *h = bq_find(b, tag);
    int64_t now = assay_mono_ns();
    if (h == NULL)
        return;
    if (t->what == W_RENEW) {
        if (ok) {
            h->until_ns = asked_ns + b->visibility_s * 1000000000;
            h->tries = 0;
            h->due_ns = 0;
        } else {
            h->lost = never || now >= h->until_ns;
            h->due_ns = later(h->tries++);
        }
        return;
    }
    bool over = t->what == W_DELETE ? now > h->until_ns + FORGET_NS : now > h->until_ns;
    if (ok || never || over) {
        if (!ok)
            assay_log(b->host, ASSAY_LOG_WARN, "sqs_not_settled", ASSAY_KZ("name", h->name),
                      ASSAY_KZ("why", never ? "the receipt is not valid any more" : "SQS did not answer"));
        bq_remove(b, h);
        return;
    }
    h->due_ns = later(h->tries++);
}

static void run(struct bq_broker *b, const struct batch *t)
{
    struct assay_err err = {0, ""};
    if (t->what == W_DEAD) {
        int rc = bury(b, t->tag[0], &err);
        if (rc == ASSAY_E_GONE)
            return;
        bq_trouble(b, BQ_SETTLING, rc, &err);
        pthread_mutex_lock(&b->lock);
        struct bq_held *h = bq_find(b, t->tag[0]);
        if (h != NULL && rc == 0) {
            h->phase = BQ_DELETE;
            h->due_ns = 0;
            h->tries = 0;
        } else if (h != NULL) {
            h->due_ns = later(h->tries++);
        }
        pthread_mutex_unlock(&b->lock);
        return;
    }
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new((size_t)16 << 20);
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct bq_result r[BQ_BATCH];
    int64_t asked = assay_mono_ns();
    int rc = w != NULL && arena != NULL ? 0 : assay_err_set(&err, ASSAY_E_NOMEM, "no memory to settle messages");
    if (rc == 0) {
        pthread_mutex_lock(&b->lock);
        write_batch(b, t, w);
        pthread_mutex_unlock(&b->lock);
        rc = bq_request(b, b->client, t->what == W_DELETE ? "DeleteMessageBatch" : "ChangeMessageVisibilityBatch", w, TRY_MS, 1, &a, &err);
    }
    if (rc == 0)
        rc = bq_decode_batch(assay_buf_view(&a.http.body), arena, t->n, r, &err);
    if (rc == ASSAY_E_GONE)
        return;
    bq_trouble(b, BQ_SETTLING, rc, &err);
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < t->n; i++)
        apply(b, t, t->tag[i], rc == 0 && r[i].ok, rc == 0 && r[i].theirs, asked);
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    if (rc == 0 && t->what != W_RENEW)
        bq_count(b, t->what == W_DELETE ? "deleted" : "given_back", t->n);
}

/* Tells the sinks of what is lost, and forgets it. The sink's lock goes before ours. */
static bool tell_lost(struct bq_broker *b)
{
    int64_t now = assay_mono_ns();
    pthread_mutex_lock(&b->lock);
    struct bq_held *h = b->held;
    while (h != NULL && !((h->lost || (h->until_ns <= now && h->phase != BQ_DELETE)) && !h->delivering))
        h = h->next;
    uint64_t tag = h != NULL ? h->tag : 0;
    struct bq_consumer *c = h != NULL ? &b->consumer[h->channel] : NULL;
    pthread_mutex_unlock(&b->lock);
    if (c == NULL)
        return false;
    pthread_mutex_lock(&c->call);
    pthread_mutex_lock(&b->lock);
    h = bq_find(b, tag);
    bool tell = h != NULL && h->phase == BQ_HELD;
    if (h != NULL && !h->delivering) {
        if (tell)
            assay_log(b->host, ASSAY_LOG_WARN, "sqs_message_lost", ASSAY_KZ("name", h->name));
        bq_remove(b, h);
    }
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    if (tell) {
        c->sink.lost(c->sink.arg, tag);
        bq_count(b, "lost", 1);
    }
    pthread_mutex_unlock(&c->call);
    return true;
}

void *bq_keep(void *broker)
{
    struct bq_broker *b = broker;
    for (;;) {
        struct batch t;
        bool found = false;
        while (tell_lost(b))
            ;
        pthread_mutex_lock(&b->lock);
        int64_t now = assay_mono_ns();
        /* renewals first: they alone cannot wait */
        static const enum what order[] = {W_RENEW, W_DELETE, W_AGAIN, W_DEAD};
        for (size_t i = 0; i < 4 && !found; i++)
            found = gather(b, order[i], now, &t);
        if (!found && b->stop) {
            bool left = false;
            for (const struct bq_held *h = b->held; h != NULL; h = h->next)
                left = left || h->phase == BQ_DELETE || h->phase == BQ_AGAIN || h->phase == BQ_DEAD;
            if (!left || b->keeper_idle)
                break;
        }
        if (b->keeper_idle)
            break;
        if (!found)
            bq_wait_ms(b, TICK_MS);
        pthread_mutex_unlock(&b->lock);
        if (found)
            run(b, &t);
    }
    b->keeper_runs = false;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}
