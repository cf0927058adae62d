/*
 * The sender: one thread that publishes, ten messages a request, and tells each publisher what SQS said.
 *
 * A queue whose name ends in .fifo wants a group and an id that tells repetitions apart: the key is the group, so that the
 * results of one submission keep their order, and a hash of key and body is the id, so that a publication that is repeated within
 * SQS's five minutes is taken once.
 */
#include "local.h"

#include <stdlib.h>

#define SEND_MS 30000
#define GROUP_MAX 128

static bool may_be_group(struct assay_str key)
{
    bool good = key.n > 0 && key.n <= GROUP_MAX;
    for (size_t i = 0; i < key.n && good; i++)
        good = key.p[i] > ' ' && key.p[i] < 127;
    return good;
}

void bq_entry(struct assay_jw *w, size_t index, const struct bq_queue *q, struct assay_str body, struct assay_str key, const char *dedup)
{
    char id[2] = {(char)('0' + index), '\0'}, hash[ASSAY_SHA256_HEX];
    assay_jw_object(w);
    assay_jw_kz(w, "Id", id);
    assay_jw_kstr(w, "MessageBody", body);
    if (q->fifo) {
        assay_sha256_hex(key, hash);
        if (key.n == 0)
            assay_jw_kz(w, "MessageGroupId", "assay");
        else
            assay_jw_kstr(w, "MessageGroupId", may_be_group(key) ? key : assay_str(hash));
        assay_jw_kz(w, "MessageDeduplicationId", dedup);
    }
}

void bq_open_free(struct bq_open *o)
{
    free(o->body);
    free(o->key);
    free(o->correlation);
    free(o->traceparent);
    free(o->dedup);
    free(o);
}

/* Takes up to ten of one channel that fit into one request. The lock is held. */
static size_t gather(struct bq_broker *b, struct bq_open *out[BQ_BATCH])
{
    size_t n = 0, bytes = 0;
    for (struct bq_open **at = &b->first_open; *at != NULL && n < BQ_BATCH;) {
        struct bq_open *o = *at;
        if (n > 0 && (o->refused || out[0]->refused))
            break;
        if (n > 0 && (o->channel != out[0]->channel || bytes + o->bytes > b->message_max)) {
            if (o->channel == out[0]->channel)
                break; /* the order within a channel is kept */
            at = &o->next;
            continue;
        }
        *at = o->next;
        out[n++] = o;
        bytes += o->bytes;
    }
    b->last_open = b->first_open;
    while (b->last_open != NULL && b->last_open->next != NULL)
        b->last_open = b->last_open->next;
    return n;
}

static void finish(struct bq_broker *b, struct bq_open *o, int status, const struct assay_err *err)
{
    o->done(o->arg, status, status == 0 ? NULL : err);
    pthread_mutex_lock(&b->lock);
    b->n_open--;
    b->open_bytes -= o->bytes;
    pthread_mutex_unlock(&b->lock);
    bq_open_free(o);
}

static void publish(struct bq_broker *b, struct bq_open *o[BQ_BATCH], size_t n)
{
    const struct bq_queue *q = &b->queue[o[0]->channel];
    if (o[0]->refused) {
        struct assay_err why = {0, ""};
        int gone = assay_err_set(&why, ASSAY_E_GONE, "%s", o[0]->body);
        bq_count(b, "not_published", 1);
        finish(b, o[0], gone, &why);
        return;
    }
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new((size_t)16 << 20);
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct bq_result r[BQ_BATCH];
    struct assay_err err = {0, ""};
    int rc = w != NULL && arena != NULL ? 0 : assay_err_set(&err, ASSAY_E_NOMEM, "no memory to publish");
    if (rc == 0) {
        assay_jw_object(w);
        assay_jw_kz(w, "QueueUrl", q->url);
        assay_jw_key(w, "Entries");
        assay_jw_array(w);
        for (size_t i = 0; i < n; i++) {
            bq_entry(w, i, q, assay_str(o[i]->body), assay_str(o[i]->key), o[i]->dedup);
            assay_jw_key(w, "MessageAttributes");
            assay_jw_object(w);
            bq_attribute(w, "key", assay_str(o[i]->key));
            bq_attribute(w, "correlation", assay_str(o[i]->correlation));
            bq_attribute(w, "traceparent", assay_str(o[i]->traceparent));
            assay_jw_end(w);
            assay_jw_end(w);
        }
        assay_jw_end(w);
        assay_jw_end(w);
        rc = bq_request(b, b->client, "SendMessageBatch", w, SEND_MS, 0, &a, &err);
    }
    if (rc == 0)
        rc = bq_decode_batch(assay_buf_view(&a.http.body), arena, n, r, &err);
    if (rc == ASSAY_E_GONE) /* we were stopped: not known, and not "never" */
        rc = assay_err_set(&err, ASSAY_E_TIMEOUT, "the server is stopping");
    else
        bq_trouble(b, BQ_SENDING, rc, &err);
    for (size_t i = 0; i < n; i++) {
        int status = rc;
        struct assay_err why = err;
        if (rc == 0 && !r[i].ok)
            status = assay_err_set(&why, r[i].theirs ? ASSAY_E_GONE : ASSAY_E_IO, "SQS does not take the message: %.*s %.*s",
                                   ASSAY_FMT(r[i].code), ASSAY_FMT(r[i].message));
        bq_count(b, status == 0 ? "published" : "not_published", 1);
        finish(b, o[i], status, &why);
    }
}

void *bq_send(void *broker)
{
    struct bq_broker *b = broker;
    struct bq_open *o[BQ_BATCH];
    pthread_mutex_lock(&b->lock);
    for (;;) {
        size_t n = b->sender_idle ? 0 : gather(b, o);
        if (n == 0 && (b->stop || b->sender_idle))
            break;
        if (n == 0) {
            bq_wait_ms(b, 1000);
            continue;
        }
        pthread_mutex_unlock(&b->lock);
        publish(b, o, n);
        pthread_mutex_lock(&b->lock);
    }
    while (b->first_open != NULL) {
        struct bq_open *left = b->first_open;
        b->first_open = left->next;
        pthread_mutex_unlock(&b->lock);
        const struct assay_err why = {ASSAY_E_TIMEOUT, "the server is stopping"};
        finish(b, left, ASSAY_E_TIMEOUT, &why);
        pthread_mutex_lock(&b->lock);
    }
    b->last_open = NULL;
    b->sender_runs = false;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}
