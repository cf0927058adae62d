/*
 * The publishing link: a publication waits in `queued` (other threads add), goes over to `sent` with the number that RabbitMQ
 * counts it by, and is over with the broker's confirmation.  A lost connection ends what was sent and not confirmed as "not
 * known"; what was not sent yet waits for the next connection, for amqp_publish_timeout.
 *
 * An answer goes to the reply_to of the message it answers, marked mandatory: where that queue is gone (an asker's own, which
 * dies with it), RabbitMQ hands it back before it confirms it, and it goes to the results queue instead.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

#define MS ((int64_t)1000000)
#define BYTES_MAX ((size_t)256 << 20) /* of publications that wait or are under way */
#define SHORT_MAX 255 /* of AMQP's short strings */
#define UNCONFIRMED_MS 300000         /* a broker that is there, and blocks */

static struct aq_out *out_of(struct aq_link *l)
{
    return (struct aq_out *)l; /* its first member */
}

static void list_init(struct aq_list *q)
{
    q->first = NULL;
    q->last = &q->first;
}

static void list_add(struct aq_list *q, struct aq_item *i)
{
    i->next = NULL;
    *q->last = i;
    q->last = &i->next;
}

static void list_join(struct aq_list *to, struct aq_list *from)
{
    if (!from->first)
        return;
    *to->last = from->first;
    to->last = from->last;
    list_init(from);
}

static struct aq_item *list_take(struct aq_list *q, struct aq_item **at)
{
    struct aq_item *i = *at;
    *at = i->next;
    if (!*at)
        q->last = at;
    return i;
}

void aq_out_init(struct aq_out *out)
{
    list_init(&out->queued);
    list_init(&out->ready);
    list_init(&out->sent);
}

void aq_out_free(struct aq_out *out)
{
    struct aq_list *all[] = {&out->queued, &out->ready, &out->sent};
    for (size_t k = 0; k < 3; k++)
        while (all[k]->first)
            free(list_take(all[k], &all[k]->first));
}

static size_t weight(const struct aq_item *i)
{
    return i->key.n + i->body.n + i->reply_to.n + i->correlation.n + i->traceparent.n + sizeof *i;
}

static struct assay_str keep(char **at, struct assay_str s)
{
    struct assay_str out = {*at, s.n};
    if (s.n != 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return out;
}

int aq_publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err)
{
    struct aq_driver *d = aq_self(self);
    struct aq_out *out = &d->out;
    if ((unsigned)p->channel >= ASSAY_CHANNELS)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "no such channel");
    char digest[ASSAY_SHA256_HEX];
    struct assay_str key = p->key;
    if (key.n > SHORT_MAX) { /* the same for the same key all the same */
        assay_sha256_hex(key, digest);
        key = assay_str(digest);
    }
    if (p->reply_to.n > SHORT_MAX || p->correlation.n > SHORT_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "a reply_to or correlation id has more than 255 bytes");
    if (aq_queue_of(d, p->channel)[0] == '\0' && !(p->channel == ASSAY_CHANNEL_RESULTS && p->reply_to.n != 0))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "no queue is configured for %s", aq_channel_name(p->channel));
    size_t text = key.n + p->body.n + p->reply_to.n + p->correlation.n + p->traceparent.n;
    struct aq_item *i = calloc(1, sizeof *i + text);
    if (!i)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a publication");
    char *at = i->text;
    i->ch = p->channel;
    i->key = keep(&at, key);
    i->body = keep(&at, p->body);
    i->reply_to = keep(&at, p->reply_to);
    i->correlation = keep(&at, p->correlation);
    i->traceparent = keep(&at, p->traceparent);
    i->to_reply = p->channel == ASSAY_CHANNEL_RESULTS && p->reply_to.n != 0;
    i->done = done;
    i->arg = arg;
    i->late_ns = assay_mono_ns() + d->publish_timeout_ms * MS;
    int st = aq_link_start(&out->l, err);
    (void)pthread_mutex_lock(&out->l.lock);
    bool was_empty = out->queued.first == NULL;
    if (st == 0 && (atomic_load(&out->l.stopping) || out->count >= d->publish_max || (out->count > 0 && out->bytes + weight(i) > BYTES_MAX)))
        st = assay_err_set(err, ASSAY_E_BUSY, "%zu publications of %zu bytes are under way to RabbitMQ", out->count, out->bytes);
    if (st == 0) {
        out->count++;
        out->bytes += weight(i);
        list_add(&out->queued, i);
    }
    (void)pthread_mutex_unlock(&out->l.lock);
    if (st != 0)
        free(i);
    else if (was_empty)
        aq_link_wake(&out->l);
    return st;
}

static void finish(struct aq_out *out, struct aq_item *i, int status, const struct assay_err *err)
{
    (void)pthread_mutex_lock(&out->l.lock);
    out->count--;
    out->bytes -= weight(i);
    size_t count = out->count;
    (void)pthread_mutex_unlock(&out->l.lock);
    struct aq_driver *d = out->l.d;
    aq_count(d, AQ_M_PUBLISHED, aq_channel_name(i->ch), status == 0 ? "ok" : assay_err_word(status));
    d->host->metric_set(d->host->ctx, &aq_metrics[AQ_M_WAITING], NULL, (double)count);
    i->done(i->arg, status, err);
    free(i);
}

static void fail(struct aq_out *out, struct aq_item *i, int status, const char *why)
{
    struct assay_err err = {0};
    finish(out, i, assay_err_set(&err, status, "%s", why), &err);
}

void aq_out_end(struct aq_out *out)
{
    struct aq_list *all[] = {&out->sent, &out->ready, &out->queued};
    for (size_t k = 0; k < 3; k++)
        while (all[k]->first)
            fail(out, list_take(all[k], &all[k]->first), ASSAY_E_BUSY, "the program ends");
}

/* ---- the link ------------------------------------------------------------------------------------------------------------ */

static int opened(struct aq_link *l, struct assay_err *err)
{
    struct aq_out *out = out_of(l);
    out->seq = 0;
    memset(out->declared, 0, sizeof out->declared);
    (void)amqp_channel_open(l->conn, AQ_OUT_CHANNEL);
    int st = aq_reply(amqp_get_rpc_reply(l->conn), NULL, err, "opening a channel");
    if (st != 0)
        return st;
    (void)amqp_confirm_select(l->conn, AQ_OUT_CHANNEL);
    return aq_reply(amqp_get_rpc_reply(l->conn), NULL, err, "confirm mode");
}

static void closed(struct aq_link *l, const struct assay_err *why)
{
    struct aq_out *out = out_of(l);
    while (out->sent.first) {
        struct aq_item *i = list_take(&out->sent, &out->sent.first);
        bool too_large = i->body.n > atomic_load(&l->d->message_max);
        fail(out, i, too_large ? ASSAY_E_GONE : ASSAY_E_IO, too_large ? "the message is larger than RabbitMQ takes" : why->msg);
    }
}

static int send(struct aq_out *out, struct aq_item *i, struct assay_err *err)
{
    struct aq_link *l = &out->l;
    char seq[24];
    amqp_table_entry_t header[2] = {{.key = amqp_cstring_bytes("x-assay-sequence")}, {.key = amqp_cstring_bytes("traceparent")}};
    (void)snprintf(seq, sizeof seq, "%llu", (unsigned long long)(out->seq + 1));
    header[0].value.kind = header[1].value.kind = AMQP_FIELD_KIND_UTF8;
    header[0].value.value.bytes = amqp_cstring_bytes(seq);
    header[1].value.value.bytes = aq_bytes(i->traceparent);
    amqp_basic_properties_t p = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_TIMESTAMP_FLAG |
                  AMQP_BASIC_APP_ID_FLAG,
        .content_type = amqp_cstring_bytes("application/json"),
        .delivery_mode = AMQP_DELIVERY_PERSISTENT,
        .headers = {.num_entries = i->traceparent.n != 0 ? 2 : 1, .entries = header},
        .timestamp = (uint64_t)(l->d->host->now_ms(l->d->host->ctx) / 1000),
        .app_id = amqp_cstring_bytes("assay"),
    };
    struct assay_str reply = i->ch == ASSAY_CHANNEL_WORK && i->reply_to.n == 0 ? assay_str(l->d->results) : i->reply_to;
    if (i->key.n != 0) {
        p._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
        p.message_id = aq_bytes(i->key);
    }
    if (i->correlation.n != 0) {
        p._flags |= AMQP_BASIC_CORRELATION_ID_FLAG;
        p.correlation_id = aq_bytes(i->correlation);
    }
    if (i->ch == ASSAY_CHANNEL_WORK && reply.n != 0) {
        p._flags |= AMQP_BASIC_REPLY_TO_FLAG;
        p.reply_to = aq_bytes(reply);
    }
    const char *exchange = i->ch == ASSAY_CHANNEL_WORK ? l->d->exchange : i->ch == ASSAY_CHANNEL_DEAD ? l->d->dead_exchange : "";
    amqp_bytes_t to = i->to_reply ? aq_bytes(i->reply_to) : amqp_cstring_bytes(aq_queue_of(l->d, i->ch));
    int st = aq_status(amqp_basic_publish(l->conn, AQ_OUT_CHANNEL, amqp_cstring_bytes(exchange), to, 1, 0, &p, aq_bytes(i->body)), err, "publishing");
    i->seq = ++out->seq; /* sent or not: who can tell */
    return st;
}

static int work(struct aq_link *l, int64_t *wait_ms, struct assay_err *err)
{
    struct aq_out *out = out_of(l);
    (void)pthread_mutex_lock(&l->lock);
    list_join(&out->ready, &out->queued);
    size_t count = out->count;
    bool blocked = l->blocked;
    (void)pthread_mutex_unlock(&l->lock);
    int64_t now = assay_mono_ns();
    l->d->host->metric_set(l->d->host->ctx, &aq_metrics[AQ_M_WAITING], NULL, (double)count);
    for (struct aq_item **at = &out->ready.first; *at;) {
        struct aq_item *i = *at;
        if (i->body.n > atomic_load(&l->d->message_max)) {
            fail(out, list_take(&out->ready, at), ASSAY_E_GONE, "the message is over amqp_message_max, or over what RabbitMQ takes");
        } else if (i->late_ns <= now) {
            fail(out, list_take(&out->ready, at), ASSAY_E_TIMEOUT, "RabbitMQ was away for longer than amqp_publish_timeout");
        } else if (l->conn && !blocked) {
            int st = 0;
            if (!out->declared[i->ch] && !i->to_reply && (i->ch != ASSAY_CHANNEL_WORK || l->d->exchange[0] == '\0'))
                st = aq_declare(l, i->ch, err);
            if (st != 0)
                return st;
            out->declared[i->ch] = out->declared[i->ch] || !i->to_reply;
            i = list_take(&out->ready, at);
            list_add(&out->sent, i);
            i->late_ns = now + UNCONFIRMED_MS * MS;
            st = send(out, i, err);
            if (st != 0)
                return st;
        } else {
            int64_t left = (i->late_ns - now) / MS + 1;
            if (left < *wait_ms)
                *wait_ms = left;
            at = &i->next;
        }
    }
    if (out->sent.first && out->sent.first->late_ns <= now)
        return assay_err_set(err, ASSAY_E_TIMEOUT, "RabbitMQ has confirmed nothing for %d s", UNCONFIRMED_MS / 1000);
    return 0;
}

static bool idle(struct aq_link *l)
{
    struct aq_out *out = out_of(l);
    (void)pthread_mutex_lock(&l->lock);
    bool none = out->queued.first == NULL;
    (void)pthread_mutex_unlock(&l->lock);
    return none && !out->ready.first && !out->sent.first;
}

static void confirmed(struct aq_out *out, uint64_t seq, bool many, bool taken)
{
    for (struct aq_item **at = &out->sent.first; *at;) {
        struct aq_item *i = *at;
        if (i->seq > seq || (!many && i->seq != seq)) {
            at = &i->next;
            continue;
        }
        i = list_take(&out->sent, at);
        if (!taken) {
            fail(out, i, ASSAY_E_IO, "RabbitMQ could not keep the message");
        } else if (i->returned && i->to_reply && out->l.d->results[0] != '\0') {
            i->to_reply = i->returned = false; /* where the asker's own queue has gone */
            i->late_ns = assay_mono_ns() + out->l.d->publish_timeout_ms * MS;
            list_add(&out->ready, i);
        } else if (i->returned && i->to_reply) {
            fail(out, i, ASSAY_E_GONE, "the queue that the sender wants its answer in is gone");
        } else if (i->returned) {
            out->declared[i->ch] = false;
            fail(out, i, ASSAY_E_IO, "the queue is gone; it is made again before the next try");
        } else {
            finish(out, i, ASSAY_OK, NULL);
        }
    }
}

static int returned(struct aq_out *out, struct assay_err *err)
{
    amqp_message_t m;
    uint64_t seq = 0;
    int st = aq_reply(amqp_read_message(out->l.conn, AQ_OUT_CHANNEL, &m, 0), NULL, err, "reading what RabbitMQ hands back");
    if (st != 0)
        return st;
    if (m.properties._flags & AMQP_BASIC_HEADERS_FLAG)
        for (int i = 0; i < m.properties.headers.num_entries; i++) {
            const amqp_table_entry_t *e = &m.properties.headers.entries[i];
            int64_t v;
            if (assay_str_is(aq_str(e->key), "x-assay-sequence") && e->value.kind == AMQP_FIELD_KIND_UTF8 &&
                assay_parse_i64(aq_str(e->value.value.bytes), 1, INT64_MAX, &v, NULL) == 0)
                seq = (uint64_t)v;
        }
    amqp_destroy_message(&m);
    amqp_maybe_release_buffers_on_channel(out->l.conn, AQ_OUT_CHANNEL);
    for (struct aq_item *i = out->sent.first; i; i = i->next)
        if (i->seq == seq)
            i->returned = true;
    return 0;
}

/* "message size 200000 is larger than configured max size 100000": the last number is the bound from now on. */
static void learn_bound(struct aq_out *out, const char *text)
{
    const char *at = strstr(text, "larger than");
    if (!at)
        return;
    at += strcspn(at, "0123456789");
    int64_t v;
    if (assay_parse_i64((struct assay_str){at, strspn(at, "0123456789")}, 1, INT64_MAX, &v, NULL) != 0)
        return;
    if ((size_t)v < atomic_load(&out->l.d->message_max)) {
        atomic_store(&out->l.d->message_max, (size_t)v);
        aq_link_note(&out->l, "RabbitMQ takes messages of at most %lld bytes", (long long)v);
    }
}

static int frame(struct aq_link *l, const amqp_frame_t *f, struct assay_err *err)
{
    struct aq_out *out = out_of(l);
    switch (f->payload.method.id) {
    case AMQP_BASIC_ACK_METHOD: {
        const amqp_basic_ack_t *a = f->payload.method.decoded;
        confirmed(out, a->delivery_tag, a->multiple != 0, true);
        return 0;
    }
    case AMQP_BASIC_NACK_METHOD: {
        const amqp_basic_nack_t *a = f->payload.method.decoded;
        confirmed(out, a->delivery_tag, a->multiple != 0, false);
        return 0;
    }
    case AMQP_BASIC_RETURN_METHOD:
        return returned(out, err);
    case AMQP_CHANNEL_CLOSE_METHOD: {
        int code = 0, st = aq_closed_by(f, &code, err);
        if (code == AMQP_PRECONDITION_FAILED && f->channel == AQ_OUT_CHANNEL)
            learn_bound(out, err->msg);
        return st;
    }
    default:
        return 0;
    }
}

const struct aq_link_ops aq_out_ops = {.name = "out", .opened = opened, .closed = closed, .work = work, .frame = frame, .idle = idle};
