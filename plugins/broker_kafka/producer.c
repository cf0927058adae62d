/*
 * Theory of operation of the producer.
 *
 * One handle, one thread, which serves the delivery reports; `publish` only puts into librdkafka's queue, from any thread.
 * Publications are idempotent (librdkafka numbers them, the broker drops repetitions) where the broker can: one that
 * cannot makes the handle fail for good, and it is made anew without, once, which the log says.  Any other fatal error
 * makes it anew as it was.  What was under way then is reported as not known to be there, and its owner publishes it again.
 *
 * A publication that can never be accepted (too large) ends on the thread too, so that `done` never runs inside publish.
 */
#include "local.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define UNDER_WAY_MAX 20000u
#define AGAIN_NS (1000 * BK_NS_MS)

static const char *const channel_words[ASSAY_CHANNELS] = {"work", "results", "dead"};

static void over(struct bk_pub *p, int status, const char *why)
{
    struct bk_driver *d = p->d;
    struct assay_err err = {0, ""};
    if (status != 0)
        (void)assay_err_set(&err, status, "kafka: %s", why);
    bk_count(d, BK_METRIC_PUBLISHED, channel_words[(int)p->channel], status == 0 ? "ok" : status == ASSAY_E_GONE ? "refused" : "unknown", 1);
    if (p->answers)
        bk_answer_ends(d, p->answers, status == 0);
    p->done(p->arg, status, status ? &err : NULL);
    pthread_mutex_lock(&d->producer.lock);
    d->producer.under_way--;
    pthread_mutex_unlock(&d->producer.lock);
    free(p);
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk;
    struct bk_state *s = opaque;
    struct bk_pub *p = m->_private;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        bk_state_up(s);
        over(p, 0, "");
        return;
    }
    bool never = m->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || m->err == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE ||
                 m->err == RD_KAFKA_RESP_ERR_INVALID_RECORD;
    if (m->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || m->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
        m->err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
        bk_state_trouble(s, "the topic %s does not exist: make it, or let the broker make topics by itself", rd_kafka_topic_name(m->rkt));
    else if (m->err != RD_KAFKA_RESP_ERR__PURGE_QUEUE && m->err != RD_KAFKA_RESP_ERR__PURGE_INFLIGHT && !never)
        bk_state_trouble(s, "%s", rd_kafka_err2str(m->err));
    over(p, never ? ASSAY_E_GONE : m->err == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT ? ASSAY_E_TIMEOUT : ASSAY_E_IO, rd_kafka_err2str(m->err));
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    struct bk_state *s = opaque;
    char why[300];
    if (code != RD_KAFKA_RESP_ERR__FATAL) {
        bk_state_error(rk, code, reason, opaque);
        return;
    }
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(rk, why, sizeof why);
    atomic_store(&s->d->producer.fatal, fatal ? (int)fatal : (int)RD_KAFKA_RESP_ERR__FATAL);
    if (fatal != RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE || bk_props_get(&s->d->props, BK_PRODUCER, "enable.idempotence"))
        bk_state_trouble(s, "%s", why);
}

static int open_handle(struct bk_driver *d, bool idempotent, struct assay_err *err)
{
    static const uint64_t one = 1;
    struct bk_producer *p = &d->producer;
    ASSAY_CLEANUP_BUF struct assay_buf faults = ASSAY_BUF_INIT;
    char why[300];
    rd_kafka_conf_t *conf = bk_conf(d, BK_PRODUCER, NULL, idempotent, &faults);
    if (!conf)
        return assay_err_set(err, ASSAY_E_CONFIG, "kafka: %.*s", ASSAY_FMT(assay_buf_view(&faults)));
    rd_kafka_conf_set_opaque(conf, &p->state);
    rd_kafka_conf_set_log_cb(conf, bk_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return assay_err_set(err, ASSAY_E_CONFIG, "kafka: %s", why);
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(rk);
    rd_kafka_queue_io_event_enable(queue, p->wake_fd, &one, sizeof one);
    pthread_mutex_lock(&p->lock);
    p->rk = rk;
    p->queue = queue;
    p->idempotent = idempotent;
    pthread_mutex_unlock(&p->lock);
    return 0;
}

/* Ends what is under way and the handle; each `done` has been called then. */
static void close_handle(struct bk_driver *d)
{
    struct bk_producer *p = &d->producer;
    pthread_mutex_lock(&p->lock);
    rd_kafka_t *rk = p->rk;
    rd_kafka_queue_t *queue = p->queue;
    p->rk = NULL;
    p->queue = NULL;
    pthread_mutex_unlock(&p->lock);
    if (!rk)
        return;
    (void)rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    for (int i = 0; i < 100 && rd_kafka_outq_len(rk) > 0; i++)
        (void)rd_kafka_poll(rk, 20);
    (void)rd_kafka_poll(rk, 0);
    rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

static void early_ends(struct bk_producer *p)
{
    pthread_mutex_lock(&p->lock);
    struct bk_pub *list = p->early;
    p->early = p->early_last = NULL;
    pthread_mutex_unlock(&p->lock);
    while (list) {
        struct bk_pub *next = list->next;
        over(list, list->status, list->why);
        list = next;
    }
}

static void make_anew(struct bk_driver *d)
{
    struct bk_producer *p = &d->producer;
    struct assay_err err = {0, ""};
    int64_t now = assay_mono_ns();
    if (now < p->again_ns)
        return;
    int fatal = atomic_exchange(&p->fatal, 0);
    bool idempotent = p->idempotent;
    if (fatal == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE && idempotent && !bk_props_get(&d->props, BK_PRODUCER, "enable.idempotence")) {
        idempotent = false;
        assay_log(d->host, ASSAY_LOG_WARN, "kafka_not_idempotent",
                  ASSAY_KZ("reason", "the broker cannot drop repeated publications (before Kafka 0.11): after a lost connection a result "
                                     "may be there twice, with the same event id"));
    } else if (fatal) {
        assay_log(d->host, ASSAY_LOG_ERROR, "kafka_producer_anew", ASSAY_KZ("reason", rd_kafka_err2str((rd_kafka_resp_err_t)fatal)));
    }
    close_handle(d);
    p->again_ns = now + AGAIN_NS;
    if (open_handle(d, idempotent, &err) != 0)
        bk_state_trouble(&p->state, "%s", err.msg);
    else if (!idempotent)
        bk_state_trouble(&p->state, "%s", "");
}

static void *run(void *arg)
{
    struct bk_driver *d = arg;
    struct bk_producer *p = &d->producer;
    while (!atomic_load(&p->stop)) {
        if (!p->rk || atomic_load(&p->fatal) != 0)
            make_anew(d);
        early_ends(p);
        while (p->rk && rd_kafka_poll(p->rk, 0) > 0)
            ;
        if (p->rk)
            bk_state_probe(&p->state, p->rk, &p->probe_ns);
        (void)bk_wait(p->wake_fd, atomic_load(&p->fatal) || !p->rk ? 50 : 1000);
    }
    return NULL;
}

int bk_producer_start(struct bk_driver *d, struct assay_err *err)
{
    struct bk_producer *p = &d->producer;
    const char *wish = bk_props_get(&d->props, BK_PRODUCER, "enable.idempotence");
    sigset_t all, old;
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake_fd < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "no descriptor for the producer");
    int st = open_handle(d, !wish || strcmp(wish, "false") != 0, err);
    if (st != 0)
        return st;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&p->thread, NULL, run, d) != 0)
        st = assay_err_set(err, ASSAY_E_NOMEM, "no thread for the producer");
    else
        p->started = true;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (p->started)
        (void)pthread_setname_np(p->thread, "kafka-out");
    return st;
}

static void end_early(struct bk_producer *p, struct bk_pub *pub, int status, const char *why)
{
    pub->status = status;
    snprintf(pub->why, sizeof pub->why, "%s", why);
    if (p->early_last)
        p->early_last->next = pub;
    else
        p->early = pub;
    p->early_last = pub;
}

int bk_send(struct bk_driver *d, enum assay_channel channel, struct assay_str key, struct assay_str body, const struct bk_head *heads,
            size_t n_heads, uint64_t answers, assay_published done, void *arg, struct assay_err *err)
{
    struct bk_producer *p = &d->producer;
    const char *topic = channel == ASSAY_CHANNEL_WORK ? d->topic : channel == ASSAY_CHANNEL_RESULTS ? d->results_topic : d->dead_topic;
    struct bk_pub *pub = calloc(1, sizeof *pub);
    rd_kafka_headers_t *hs = n_heads > 0 ? rd_kafka_headers_new(n_heads) : NULL;
    if (!pub || (n_heads > 0 && !hs)) {
        free(pub);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a publication");
    }
    *pub = (struct bk_pub){.d = d, .done = done, .arg = arg, .answers = answers, .channel = (char)channel};
    for (size_t i = 0; i < n_heads; i++)
        (void)rd_kafka_header_add(hs, heads[i].name, -1, heads[i].value.p, (ssize_t)heads[i].value.n);
    int st = 0;
    pthread_mutex_lock(&p->lock);
    if (!p->rk || atomic_load(&p->fatal) != 0 || atomic_load(&p->stop) || p->under_way >= UNDER_WAY_MAX) {
        st = assay_err_set(err, ASSAY_E_BUSY, "kafka: %s", p->under_way >= UNDER_WAY_MAX ? "too many publications are under way" : "the producer is being made anew");
    } else {
        rd_kafka_vu_t v[] = {
            {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
            {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
            {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)(key.n ? key.p : NULL), key.n}},
            {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)body.p, body.n}},
            {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = pub},
            {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = hs},
        };
        rd_kafka_error_t *e = rd_kafka_produceva(p->rk, v, hs ? 6 : 5);
        rd_kafka_resp_err_t code = e ? rd_kafka_error_code(e) : RD_KAFKA_RESP_ERR_NO_ERROR;
        if (!e)
            hs = NULL; /* librdkafka's now */
        if (!e || code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
            p->under_way++;
        if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
            end_early(p, pub, ASSAY_E_GONE, rd_kafka_error_string(e));
        else if (e)
            /* a fatal error is known here, under its own code, before its callback has run; the thread then makes the producer anew */
            st = assay_err_set(err, code == RD_KAFKA_RESP_ERR__QUEUE_FULL || rd_kafka_fatal_error(p->rk, NULL, 0) ? ASSAY_E_BUSY : ASSAY_E_IO,
                               "kafka: %s", rd_kafka_error_string(e));
        if (e)
            rd_kafka_error_destroy(e);
    }
    bool early = p->early != NULL;
    pthread_mutex_unlock(&p->lock);
    if (hs)
        rd_kafka_headers_destroy(hs);
    if (st != 0)
        free(pub);
    else if (early)
        bk_wake(p->wake_fd);
    return st;
}

int bk_publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err)
{
    struct bk_driver *d = bk_self(self);
    if ((int)p->channel < 0 || (int)p->channel >= ASSAY_CHANNELS)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "kafka: no such channel");
    int st = p->answers ? bk_answer_begins(d, p->answers, err) : 0;
    if (st != 0)
        return st;
    const struct bk_head head = {"traceparent", p->traceparent};
    st = bk_send(d, p->channel, p->key, p->body, &head, p->traceparent.n > 0 ? 1 : 0, p->answers, done, arg, err);
    if (st != 0 && p->answers)
        bk_answer_ends(d, p->answers, false);
    return st;
}

void bk_producer_stop(struct bk_driver *d, int64_t wait_ms)
{
    struct bk_producer *p = &d->producer;
    int64_t deadline = assay_mono_ns() + wait_ms * BK_NS_MS;
    for (;;) { /* the thread still serves the reports */
        pthread_mutex_lock(&p->lock);
        size_t left = p->under_way;
        pthread_mutex_unlock(&p->lock);
        if (!p->started || left == 0 || assay_mono_ns() >= deadline)
            break;
        const struct timespec nap = {0, 5 * BK_NS_MS};
        (void)nanosleep(&nap, NULL);
    }
    atomic_store(&p->stop, true);
    if (p->started) {
        bk_wake(p->wake_fd);
        (void)pthread_join(p->thread, NULL);
        p->started = false;
    }
    early_ends(p);
    close_handle(d);
}

void bk_producer_free(struct bk_driver *d)
{
    if (d->producer.wake_fd >= 0)
        (void)close(d->producer.wake_fd);
    d->producer.wake_fd = -1;
}
