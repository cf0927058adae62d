/*
 * The driver's table, and what it tells of itself: health, logs, metrics.
 *
 * librdkafka says when no broker answers, and nothing when one does again.  So while it is down, and at the start, a
 * question goes out every second (bk_state_probe) on the thread that has nothing else to do then.
 */
#include "local.h"

#include <stdarg.h>
#include <stdio.h>

int bk_state_init(struct bk_state *s, struct bk_driver *d, const char *word, struct assay_err *err)
{
    *s = (struct bk_state){.d = d, .word = word, .down = true, .reason = "no broker has answered yet"};
    return pthread_mutex_init(&s->lock, NULL) == 0 ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no lock for Kafka's state");
}

void bk_state_free(struct bk_state *s)
{
    (void)pthread_mutex_destroy(&s->lock);
}

void bk_state_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void)rk;
    struct bk_state *s = opaque;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        pthread_mutex_lock(&s->lock);
        bool was = s->down;
        s->down = true;
        pthread_mutex_unlock(&s->lock);
        if (!was)
            assay_log(s->d->host, ASSAY_LOG_WARN, "kafka_down", ASSAY_KZ("handle", s->word), ASSAY_KZ("reason", reason));
    } else if (code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__RESOLVE || code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
               code == RD_KAFKA_RESP_ERR__SSL || code == RD_KAFKA_RESP_ERR__AUTHENTICATION) {
        pthread_mutex_lock(&s->lock);
        snprintf(s->reason, sizeof s->reason, "%s", reason);
        pthread_mutex_unlock(&s->lock);
    } else {
        assay_log(s->d->host, ASSAY_LOG_WARN, "kafka_error", ASSAY_KZ("handle", s->word),
                  ASSAY_KZ("code", rd_kafka_err2name((rd_kafka_resp_err_t)code)), ASSAY_KZ("reason", reason));
        bk_state_trouble(s, "%s", reason);
    }
}

void bk_state_up(struct bk_state *s)
{
    pthread_mutex_lock(&s->lock);
    bool was = !s->down;
    s->down = false;
    s->reason[0] = '\0';
    pthread_mutex_unlock(&s->lock);
    if (was)
        return;
    assay_log(s->d->host, ASSAY_LOG_INFO, "kafka_up", ASSAY_KZ("handle", s->word));
    bk_gauge(s->d, BK_METRIC_CONNECTED, s->word, NULL, 1);
}

void bk_state_trouble(struct bk_state *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&s->lock);
    (void)vsnprintf(s->trouble, sizeof s->trouble, fmt, ap);
    pthread_mutex_unlock(&s->lock);
    va_end(ap);
}

bool bk_state_is_down(struct bk_state *s)
{
    pthread_mutex_lock(&s->lock);
    bool down = s->down;
    pthread_mutex_unlock(&s->lock);
    return down;
}

void bk_state_probe(struct bk_state *s, rd_kafka_t *rk, int64_t *next_ns)
{
    int64_t now = assay_mono_ns();
    const struct rd_kafka_metadata *md = NULL;
    if (now < *next_ns || !bk_state_is_down(s))
        return;
    bk_gauge(s->d, BK_METRIC_CONNECTED, s->word, NULL, 0);
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, NULL, &md, 200);
    if (md)
        rd_kafka_metadata_destroy(md);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        bk_state_up(s);
    *next_ns = assay_mono_ns() + 1000 * BK_NS_MS;
}

/* What librdkafka says of itself. It knows no secrets but the configuration's, which it does not say. */
void bk_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    const struct bk_state *s = rk ? rd_kafka_opaque(rk) : NULL;
    enum assay_log_level to = level <= 3 ? ASSAY_LOG_ERROR : level == 4 ? ASSAY_LOG_WARN : level <= 6 ? ASSAY_LOG_INFO : ASSAY_LOG_DEBUG;
    if (!s)
        return;
    if (strcmp(facility, "CONFWARN") == 0 && strstr(text, " property and will be ignored by this ")) /* meant for the other side */
        return;
    if (strcmp(facility, "FAIL") == 0 || strcmp(facility, "ERROR") == 0 || strcmp(facility, "FATAL") == 0)
        to = ASSAY_LOG_WARN; /* it tries again, or is made anew, by itself */
    assay_log(s->d->host, to, "kafka", ASSAY_KZ("handle", s->word), ASSAY_KZ("facility", facility), ASSAY_KZ("text", text));
}

void bk_count(struct bk_driver *d, int metric, const char *a, const char *b, double by)
{
    const char *labels[] = {a, b};
    d->host->metric_add(d->host->ctx, &bk_metrics[metric], labels, by);
}

void bk_gauge(struct bk_driver *d, int metric, const char *a, const char *b, double to)
{
    const char *labels[] = {a, b};
    d->host->metric_set(d->host->ctx, &bk_metrics[metric], labels, to);
}

static void quiet(void *self)
{
    struct bk_driver *d = bk_self(self);
    for (int i = 0; i < ASSAY_CHANNELS; i++) {
        struct bk_consumer *c = atomic_load(&d->consumer[i]);
        if (c)
            bk_consumer_quiet(c);
    }
}

static int state_health(struct bk_state *s, const char *brokers, struct assay_err *err)
{
    struct bk_state now;
    pthread_mutex_lock(&s->lock);
    now.down = s->down;
    snprintf(now.reason, sizeof now.reason, "%s", s->reason);
    snprintf(now.trouble, sizeof now.trouble, "%s", s->trouble);
    pthread_mutex_unlock(&s->lock);
    if (now.down)
        return assay_err_set(err, ASSAY_E_IO, "kafka: no broker of %.100s answers: %s", brokers, now.reason[0] ? now.reason : "the connection is lost");
    if (now.trouble[0])
        return assay_err_set(err, ASSAY_E_IO, "kafka, %s: %s", s->word, now.trouble);
    return 0;
}

static int health(void *self, struct assay_err *err)
{
    struct bk_driver *d = bk_self(self);
    int st = state_health(&d->producer.state, d->brokers, err);
    const struct bk_consumer *without = NULL;
    for (int i = 0; st == 0 && i < ASSAY_CHANNELS; i++) {
        struct bk_consumer *c = atomic_load(&d->consumer[i]);
        if (!c)
            continue;
        st = state_health(&c->state, d->brokers, err);
        if (atomic_load(&c->parts_n) == 0 && !atomic_load(&c->quiet))
            without = c;
    }
    if (st == 0 && without && err) /* a note: err->code stays */
        snprintf(err->msg, sizeof err->msg, "kafka: no partition of %s is assigned to this process (the group %s is rebalancing, or has more members than partitions)",
                 without->topic, without->group);
    return st;
}

const struct assay_broker_ops bk_ops = {
    .size = sizeof(struct assay_broker_ops),
    .consume = bk_consume,
    .settle = bk_settle,
    .publish = bk_publish,
    .quiet = quiet,
    .health = health,
};
