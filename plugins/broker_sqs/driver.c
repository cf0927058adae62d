/*
 * Amazon SQS as a broker: the operations, and what its three kinds of threads share.
 *
 * A receiver for each channel that is consumed (receive.c), a keeper that settles and renews (keeper.c), a sender (sender.c).
 * They meet in two lists under one lock: the messages that are here, and the publications under way.  No operation touches the
 * network; the lock is never held over a request nor over a call of the sink.
 *
 * At the end (drain): no more is received, publications and settlements have a few seconds, and what is still the sink's is given
 * back without a pause, so that another worker has it at once and not when its visibility ends.  That comes first, while a long
 * poll may still be open: the poll returns with the messages, which are then given back for good.  The other way round, a poll that was
 * broken off takes them at the server, for nobody, and hides them for as long as their visibility.
 */
#include "local.h"

#include <stdlib.h>
#include <time.h>

#define DRAIN_POLL_MS 500
#define DRAIN_GIVEN_MS 3000
#define DRAIN_MS 5000

static struct bq_broker *checked(void *self)
{
    struct bq_broker *b = self;
    if (!b || b->magic != BQ_MAGIC)
        __builtin_trap();
    return b;
}

void bq_trouble(struct bq_broker *b, int which, int rc, const struct assay_err *err)
{
    static const char *const names[] = {"receiving", "settling", "sending"};
    pthread_mutex_lock(&b->lock);
    bool was = b->trouble[which].code != 0;
    b->trouble[which] = rc == 0 ? (struct assay_err){0, ""} : *err;
    b->trouble[which].code = rc;
    pthread_mutex_unlock(&b->lock);
    if (rc != 0 && !was)
        assay_log(b->host, ASSAY_LOG_WARN, "sqs_trouble", ASSAY_KZ("with", names[which]), ASSAY_KZ("error", err->msg));
    else if (rc == 0 && was)
        assay_log(b->host, ASSAY_LOG_INFO, "sqs_works_again", ASSAY_KZ("with", names[which]));
}

void bq_count(struct bq_broker *b, const char *what, size_t n)
{
    b->host->metric_add(b->host->ctx, &bq_metrics[BQ_METRIC_MESSAGES], (const char *const[]){what}, (double)n);
}

void bq_wait_ms(struct bq_broker *b, int64_t ms)
{
    int64_t until = assay_mono_ns() + ms * 1000000;
    const struct timespec t = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    (void)pthread_cond_timedwait(&b->wake, &b->lock, &t);
}

int bq_request(struct bq_broker *b, struct aws_client *client, const char *operation, struct assay_jw *body, int64_t timeout_ms, int tries,
               struct aws_answer *a, struct assay_err *err)
{
    (void)b;
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    char target[64];
    int rc = assay_jw_finish(body, &text, err);
    if (rc != 0)
        return rc;
    (void)snprintf(target, sizeof target, "AmazonSQS.%s", operation);
    const struct aws_pair headers[] = {{ASSAY_STR("content-type"), ASSAY_STR("application/x-amz-json-1.0")},
                                       {ASSAY_STR("x-amz-target"), assay_str(target)}};
    const struct aws_call call = {.operation = operation, .method = "POST", .path = ASSAY_STR("/"), .headers = headers, .n_headers = 2,
                                  .body = assay_buf_view(&text), .timeout_ms = timeout_ms, .reply_max = BQ_ANSWER_MAX, .tries = tries};
    return aws_call(client, &call, a, err);
}

/* ---- the list of messages; the lock is held ---- */

void bq_held_free(struct bq_held *h)
{
    free(h->name);
    free(h->receipt);
    free(h->key);
    free(h->correlation);
    free(h->traceparent);
    free(h->body);
    free(h);
}

struct bq_held *bq_find(struct bq_broker *b, uint64_t tag)
{
    struct bq_held *h = b->held;
    while (h != NULL && h->tag != tag)
        h = h->next;
    return h;
}

void bq_remove(struct bq_broker *b, struct bq_held *h)
{
    for (struct bq_held **at = &b->held; *at != NULL; at = &(*at)->next)
        if (*at == h) {
            *at = h->next;
            bq_held_free(h);
            return;
        }
}

/* ---- operations ---- */

static int consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight, struct assay_err *err)
{
    struct bq_broker *b = checked(self);
    if (channel == ASSAY_CHANNEL_DEAD || b->queue[channel].url == NULL)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "SQS: %s", channel == ASSAY_CHANNEL_RESULTS ?
                             "sqs_results_queue_url (AWS_SQS_RESULTS_QUEUE_URL) is not set" : "dead letters are only sent");
    struct bq_consumer *c = &b->consumer[channel];
    pthread_mutex_lock(&b->lock);
    int rc = c->used ? assay_err_set(err, ASSAY_E_CONFLICT, "SQS: this channel is consumed already") : 0;
    if (rc == 0) {
        c->b = b;
        c->channel = channel;
        c->sink = *sink;
        c->in_flight = in_flight > 0 ? in_flight : 1;
        c->used = c->running = true;
        if (pthread_create(&c->thread, NULL, bq_receive, c) != 0) {
            c->used = c->running = false;
            rc = assay_err_set(err, ASSAY_E_NOMEM, "SQS: no thread to receive with");
        }
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static void settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason)
{
    struct bq_broker *b = checked(self);
    pthread_mutex_lock(&b->lock);
    struct bq_held *h = bq_find(b, tag);
    if (h != NULL && h->phase == BQ_HELD) {
        h->phase = how == ASSAY_SETTLE_DONE ? BQ_DELETE : how == ASSAY_SETTLE_AGAIN ? BQ_AGAIN : BQ_DEAD;
        h->now = b->quiet;
        h->due_ns = 0;
        h->tries = 0;
        (void)snprintf(h->reason, sizeof h->reason, "%.*s", (int)(reason.n < BQ_REASON ? reason.n : BQ_REASON - 1), reason.n > 0 ? reason.p : "");
        pthread_cond_broadcast(&b->wake);
    }
    pthread_mutex_unlock(&b->lock);
}

static char *dup_of(struct assay_str s, bool *failed)
{
    char *z = strndup(s.n > 0 ? s.p : "", s.n);
    *failed = *failed || z == NULL;
    return z;
}

static int publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err)
{
    struct bq_broker *b = checked(self);
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT, unique = ASSAY_BUF_INIT;
    char dedup[ASSAY_SHA256_HEX];
    bool failed = false;
    pthread_mutex_lock(&b->lock);
    bool there = b->queue[p->channel].url != NULL;
    pthread_mutex_unlock(&b->lock);
    if (!there)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "SQS: %s is not set", p->channel == ASSAY_CHANNEL_RESULTS ?
                             "sqs_results_queue_url (AWS_SQS_RESULTS_QUEUE_URL)" : "sqs_dead_queue_url (AWS_SQS_DEAD_QUEUE_URL)");
    /* names and types of the attributes count too: "correlation" and "String" are the longest */
    size_t more = p->key.n + p->correlation.n + p->traceparent.n + (size_t)3 * 17;
    struct assay_err why = {0, ""};
    int rc = bq_body(p->body, b->message_max > more ? b->message_max - more : 0, &body, &why);
    if (rc != 0 && rc != ASSAY_E_GONE)
        return assay_err_set(err, rc, "%s", why.msg);
    if (rc == ASSAY_E_GONE) { /* told on a thread of ours, as all ends of publications are */
        assay_buf_free(&body);
        assay_buf_puts(&body, why.msg);
    }
    assay_buf_str(&unique, p->key);
    assay_buf_putc(&unique, '\0');
    assay_buf_str(&unique, p->body);
    assay_sha256_hex(assay_buf_view(&unique), dedup);
    struct bq_open *o = unique.failed ? NULL : calloc(1, sizeof *o);
    if (o == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to publish");
    *o = (struct bq_open){.channel = p->channel, .done = done, .arg = arg, .bytes = body.n + more, .refused = rc == ASSAY_E_GONE, .body = dup_of(assay_buf_view(&body), &failed),
                          .key = dup_of(p->key, &failed), .correlation = dup_of(p->correlation, &failed),
                          .traceparent = dup_of(p->traceparent, &failed), .dedup = dup_of(assay_str(dedup), &failed)};
    if (failed) {
        bq_open_free(o);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to publish");
    }
    pthread_mutex_lock(&b->lock);
    if (b->stop || b->n_open >= BQ_OPEN_MAX || b->open_bytes + o->bytes > BQ_OPEN_BYTES) {
        bool stop = b->stop;
        pthread_mutex_unlock(&b->lock);
        bq_open_free(o);
        return assay_err_set(err, ASSAY_E_BUSY, stop ? "the server is stopping" : "SQS: too many publications are under way");
    }
    if (b->last_open != NULL)
        b->last_open->next = o;
    else
        b->first_open = o;
    b->last_open = o;
    b->n_open++;
    b->open_bytes += o->bytes;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    return 0;
}

static void quiet(void *self)
{
    struct bq_broker *b = checked(self);
    pthread_mutex_lock(&b->lock);
    b->quiet = true;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

static int health(void *self, struct assay_err *err)
{
    struct bq_broker *b = checked(self);
    int rc = 0;
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < 3 && rc == 0; i++)
        if (b->trouble[i].code != 0)
            rc = assay_err_set(err, ASSAY_E_BUSY, "%s", b->trouble[i].msg);
    pthread_mutex_unlock(&b->lock);
    return rc;
}

const struct assay_broker_ops bq_ops = {.size = sizeof(struct assay_broker_ops), .consume = consume, .settle = settle, .publish = publish,
                                        .quiet = quiet, .health = health};

/* ---- life ---- */

int bq_start(struct bq_broker *b, struct assay_err *err)
{
    pthread_mutex_lock(&b->lock);
    b->keeper_runs = pthread_create(&b->keeper, NULL, bq_keep, b) == 0;
    b->sender_runs = b->keeper_runs && pthread_create(&b->sender, NULL, bq_send, b) == 0;
    bool started = b->sender_runs;
    pthread_mutex_unlock(&b->lock);
    return started ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "SQS: no threads to settle and publish with");
}

/* Waits until which(b) is false, at most ms. The lock is held. */
static void wait_while(struct bq_broker *b, bool (*which)(const struct bq_broker *b), int64_t ms)
{
    int64_t until = assay_mono_ns() + ms * 1000000;
    while (which(b) && assay_mono_ns() < until)
        bq_wait_ms(b, 50);
}

static bool receivers_run(const struct bq_broker *b)
{
    return b->consumer[0].running || b->consumer[1].running;
}

static bool work_runs(const struct bq_broker *b)
{
    return b->keeper_runs || b->sender_runs;
}

void bq_drain(struct bq_broker *b)
{
    if (b->client == NULL)
        return;
    quiet(b);
    pthread_mutex_lock(&b->lock);
    bool receiving = b->consumer[0].used || b->consumer[1].used, given = false;
    for (struct bq_held *h = b->held; h != NULL; h = h->next)
        if ((h->phase == BQ_HELD || h->phase == BQ_OFFERED) && !h->delivering) {
            h->phase = BQ_AGAIN;
            h->now = given = true;
            h->due_ns = 0;
        }
    pthread_cond_broadcast(&b->wake);
    wait_while(b, receivers_run, given ? DRAIN_GIVEN_MS : DRAIN_POLL_MS);
    pthread_mutex_unlock(&b->lock);
    aws_client_stop(b->poll_client);
    for (int i = 0; i < 2 && receiving; i++)
        if (b->consumer[i].used) {
            (void)pthread_join(b->consumer[i].thread, NULL);
            b->consumer[i].used = false;
        }
    pthread_mutex_lock(&b->lock);
    bool keeper = b->keeper_runs, sender = b->sender_runs;
    for (struct bq_held *h = b->held; h != NULL; h = h->next)
        if (h->phase == BQ_HELD || h->phase == BQ_OFFERED) { /* taken just before the receivers ended */
            h->phase = BQ_AGAIN;
            h->now = true;
            h->due_ns = 0;
        }
    b->stop = true;
    pthread_cond_broadcast(&b->wake);
    wait_while(b, work_runs, DRAIN_MS);
    b->keeper_idle = b->sender_idle = true;
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    aws_client_stop(b->client);
    if (keeper)
        (void)pthread_join(b->keeper, NULL);
    if (sender)
        (void)pthread_join(b->sender, NULL);
    while (b->held != NULL)
        bq_remove(b, b->held);
}
