/*
 * Receiving: one thread for each channel that is consumed, which asks SQS with a long poll for as many messages as there is
 * room for, and offers them to the sink until it takes them.
 *
 * SQS gives a message twice now and then, and again when its visibility has ended.  One that is still here is not
 * offered a second time: its newer receipt, which alone is sure to delete it, takes the older one's place.
 */
#include "local.h"

#include <stdlib.h>

#define PAUSE_MIN_MS 200
#define PAUSE_MAX_MS 30000
#define OFFER_AGAIN_MS 500

static char *copy(struct assay_str s, bool *failed)
{
    char *z = malloc(s.n + 1);
    if (z == NULL) {
        *failed = true;
        return NULL;
    }
    if (s.n > 0)
        memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return z;
}

/* What is unsettled, and so counts against in_flight. The lock is held. */
static size_t unsettled(const struct bq_broker *b, enum assay_channel channel)
{
    size_t n = 0;
    for (const struct bq_held *h = b->held; h != NULL; h = h->next)
        n += h->channel == channel && (h->phase == BQ_OFFERED || h->phase == BQ_HELD);
    return n;
}

static bool known(struct bq_broker *b, enum assay_channel channel, const struct bq_message *m, int64_t until_ns)
{
    for (struct bq_held *h = b->held; h != NULL; h = h->next)
        /* one that was just given back is nobody's: here it comes again */
        if (h->channel == channel && !h->lost && h->phase != BQ_AGAIN && assay_str_is(m->name, h->name)) {
            bool failed = false;
            char *fresh = copy(m->receipt, &failed);
            if (failed)
                return true; /* the older one may still do; else the message comes again */
            free(h->receipt);
            h->receipt = fresh;
            h->until_ns = until_ns;
            return true;
        }
    return false;
}

static void take_in(struct bq_consumer *c, const struct bq_message *m, int64_t until_ns)
{
    struct bq_broker *b = c->b;
    bool failed = false;
    pthread_mutex_lock(&b->lock);
    if (known(b, c->channel, m, until_ns)) {
        pthread_mutex_unlock(&b->lock);
        bq_count(b, "repeated", 1);
        return;
    }
    struct bq_held *h = calloc(1, sizeof *h);
    if (h != NULL) {
        *h = (struct bq_held){.channel = c->channel, .phase = BQ_OFFERED, .until_ns = until_ns, .body_n = m->body.n,
                              .name = copy(m->name, &failed), .receipt = copy(m->receipt, &failed), .body = copy(m->body, &failed),
                              .key = copy(m->key, &failed), .correlation = copy(m->correlation, &failed),
                              .traceparent = copy(m->traceparent, &failed)};
        if (assay_parse_i64(m->deliveries_text, 0, INT64_MAX, &h->deliveries, NULL) != 0)
            h->deliveries = 0;
        if (failed) {
            bq_held_free(h); /* its visibility ends, and it comes again */
            h = NULL;
        }
    }
    if (h != NULL) {
        struct bq_held **at = &b->held;
        h->tag = ++b->last_tag;
        while (*at != NULL)
            at = &(*at)->next;
        *at = h;
    }
    pthread_mutex_unlock(&b->lock);
    bq_count(b, "received", 1);
}

static int poll_once(struct bq_consumer *c, size_t most, struct assay_err *err)
{
    struct bq_broker *b = c->b;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new((size_t)128 << 20);
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    if (w == NULL || arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to receive");
    assay_jw_object(w);
    assay_jw_kz(w, "QueueUrl", b->queue[c->channel].url);
    assay_jw_kint(w, "MaxNumberOfMessages", (int64_t)(most < BQ_BATCH ? most : BQ_BATCH));
    assay_jw_kint(w, "WaitTimeSeconds", b->wait_s);
    assay_jw_kint(w, "VisibilityTimeout", b->visibility_s);
    /* the older name of MessageSystemAttributeNames, which every server knows */
    assay_jw_key(w, "AttributeNames");
    assay_jw_array(w);
    assay_jw_z(w, "ApproximateReceiveCount");
    assay_jw_end(w);
    assay_jw_key(w, "MessageAttributeNames");
    assay_jw_array(w);
    assay_jw_z(w, "All");
    assay_jw_end(w);
    assay_jw_end(w);
    int rc = bq_request(b, b->poll_client, "ReceiveMessage", w, b->wait_s * 1000 + 10000, 1, &a, err);
    if (rc != 0)
        return rc;
    struct bq_message *m = NULL;
    size_t n = 0;
    rc = bq_decode_messages(assay_buf_view(&a.http.body), arena, &m, &n, err);
    int64_t until = assay_mono_ns() + b->visibility_s * 1000000000;
    for (size_t i = 0; i < n && rc == 0; i++)
        take_in(c, &m[i], until);
    return rc;
}

/* Offers one message. false: there is none that waits. */
static bool offer(struct bq_consumer *c, bool *busy)
{
    struct bq_broker *b = c->b;
    pthread_mutex_lock(&c->call);
    pthread_mutex_lock(&b->lock);
    struct bq_held *h = b->quiet ? NULL : b->held;
    while (h != NULL && (h->channel != c->channel || h->phase != BQ_OFFERED || h->lost))
        h = h->next;
    if (h != NULL) {
        h->delivering = true;
        h->phase = BQ_HELD; /* so that a settle from within finds it */
    }
    pthread_mutex_unlock(&b->lock);
    if (h != NULL) {
        const struct assay_message m = {.name = assay_str(h->name), .key = assay_str(h->key), .body = {h->body, h->body_n},
                                        .reply_to = ASSAY_STR(""), .correlation = assay_str(h->correlation),
                                        .traceparent = assay_str(h->traceparent), .deliveries = h->deliveries};
        int rc = c->sink.deliver(c->sink.arg, h->tag, &m);
        pthread_mutex_lock(&b->lock);
        h->delivering = false;
        if (rc != 0 && h->phase == BQ_HELD)
            h->phase = BQ_OFFERED;
        *busy = rc != 0;
        pthread_mutex_unlock(&b->lock);
    }
    pthread_mutex_unlock(&c->call);
    return h != NULL;
}

static bool going(struct bq_broker *b)
{
    pthread_mutex_lock(&b->lock);
    bool is = !b->quiet && !b->stop;
    pthread_mutex_unlock(&b->lock);
    return is;
}

void *bq_receive(void *consumer)
{
    struct bq_consumer *c = consumer;
    struct bq_broker *b = c->b;
    int64_t pause = PAUSE_MIN_MS;
    while (going(b)) {
        bool busy = false;
        if (offer(c, &busy) && !busy)
            continue;
        pthread_mutex_lock(&b->lock);
        size_t used = unsettled(b, c->channel);
        if (busy || used >= c->in_flight) { /* settle wakes us */
            if (!b->quiet && !b->stop)
                bq_wait_ms(b, OFFER_AGAIN_MS);
            pthread_mutex_unlock(&b->lock);
            continue;
        }
        pthread_mutex_unlock(&b->lock);
        struct assay_err err = {0, ""};
        int rc = poll_once(c, c->in_flight - used, &err);
        if (rc == ASSAY_E_GONE)
            break;
        bq_trouble(b, BQ_RECEIVING, rc, &err);
        if (rc == 0) {
            pause = PAUSE_MIN_MS;
            continue;
        }
        int64_t until = assay_mono_ns() + pause * 1000000;
        pthread_mutex_lock(&b->lock);
        while (!b->quiet && !b->stop && assay_mono_ns() < until)
            bq_wait_ms(b, pause);
        pthread_mutex_unlock(&b->lock);
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
    }
    pthread_mutex_lock(&b->lock);
    c->running = false;
    for (struct bq_held *h = b->held; h != NULL; h = h->next)
        if (h->channel == c->channel && h->phase == BQ_OFFERED) { /* somebody else may have what nobody took here */
            h->phase = BQ_AGAIN;
            h->now = true;
            h->due_ns = 0;
        }
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}
