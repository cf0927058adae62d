/*
 * The receiving link.
 *
 * Each consumed channel is in transaction mode: acknowledgements, and the copies that stamp and dead-letter make, take effect
 * together at a commit.  While one is under way nothing else is sent on the channel (the broker would not take it);
 * what comes up meanwhile goes into the next one.
 *
 * A message goes STAMP → (away; its copy comes) or WAITING → TAKEN by the sink → settled, perhaps after a time as RETRY.  All of
 * these are unsettled at the broker and count against its prefetch, so a sink that has no room stops the flow by itself.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

#define MS ((int64_t)1000000)
#define OFFER_FIRST_MS 20
#define OFFER_MAX_MS 500
#define OFFERS 32 /* in a row, before settlements have their turn */

static struct aq_in *in_of(struct aq_link *l)
{
    return (struct aq_in *)l; /* its first member */
}

void aq_in_init(struct aq_in *in)
{
    in->last = &in->first;
    in->todo_last = &in->todo;
}

static void drop_commands(struct aq_command **first, struct aq_command ***last)
{
    while (*first) {
        struct aq_command *next = (*first)->next;
        free(*first);
        *first = next;
    }
    *last = first;
}

static void forget(struct aq_in *in, size_t at)
{
    struct aq_held *h = in->held[at];
    amqp_destroy_message(&h->m);
    free(h);
    memmove(&in->held[at], &in->held[at + 1], (in->n - at - 1) * sizeof *in->held);
    in->n--;
}

void aq_in_free(struct aq_in *in)
{
    while (in->n > 0)
        forget(in, in->n - 1);
    free(in->held);
    drop_commands(&in->first, &in->last);
    drop_commands(&in->todo, &in->todo_last);
}

/* ---- what other threads ask ----------------------------------------------------------------------------------------- */

int aq_consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight, struct assay_err *err)
{
    struct aq_driver *d = aq_self(self);
    if (channel != ASSAY_CHANNEL_WORK && channel != ASSAY_CHANNEL_RESULTS)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "dead letters are only published to");
    if (aq_queue_of(d, channel)[0] == '\0')
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "there is no results queue: amqp_results_queue is empty");
    struct aq_consumer *c = &d->in.c[channel];
    (void)pthread_mutex_lock(&d->in.l.lock);
    bool again = c->wanted;
    if (!again) {
        c->sink = *sink;
        c->in_flight = (uint16_t)(in_flight == 0 ? 1 : in_flight > UINT16_MAX ? UINT16_MAX : in_flight);
        c->wanted = true;
    }
    (void)pthread_mutex_unlock(&d->in.l.lock);
    if (again)
        return assay_err_set(err, ASSAY_E_CONFLICT, "this channel is consumed already");
    int st = aq_link_start(&d->in.l, err);
    aq_link_wake(&d->in.l);
    return st;
}

void aq_settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason)
{
    struct aq_driver *d = aq_self(self);
    if (reason.n > 1000)
        reason.n = 1000;
    struct aq_command *c = calloc(1, sizeof *c + reason.n + 1);
    if (!c) { /* it stays unsettled and comes again when this process ends */
        assay_log(d->host, ASSAY_LOG_ERROR, "amqp_settle_lost", ASSAY_KZ("reason", "no memory"));
        return;
    }
    c->tag = tag;
    c->how = how;
    if (reason.n != 0)
        memcpy(c->reason, reason.p, reason.n);
    (void)pthread_mutex_lock(&d->in.l.lock);
    bool was_empty = d->in.first == NULL;
    *d->in.last = c;
    d->in.last = &c->next;
    (void)pthread_mutex_unlock(&d->in.l.lock);
    if (was_empty)
        aq_link_wake(&d->in.l);
}

void aq_quiet(void *self)
{
    struct aq_driver *d = aq_self(self);
    atomic_store(&d->in.quiet, true);
    aq_link_wake(&d->in.l);
}

static void take_commands(struct aq_in *in)
{
    (void)pthread_mutex_lock(&in->l.lock);
    if (in->first) {
        *in->todo_last = in->first;
        in->todo_last = in->last;
        in->first = NULL;
        in->last = &in->first;
    }
    (void)pthread_mutex_unlock(&in->l.lock);
}

/* ---- the channels ------------------------------------------------------------------------------------------------------ */

static amqp_channel_t number_of(enum assay_channel ch)
{
    return (amqp_channel_t)(ch + 1);
}

static int open_channel(struct aq_in *in, enum assay_channel ch, struct assay_err *err)
{
    struct aq_consumer *c = &in->c[ch];
    struct aq_link *l = &in->l;
    amqp_channel_t n = number_of(ch);
    int st = aq_declare(l, ch, err);
    if (st == 0 && ch == ASSAY_CHANNEL_WORK && !l->d->dead_reject)
        st = aq_declare(l, ASSAY_CHANNEL_DEAD, err);
    if (st != 0)
        return st;
    (void)amqp_channel_open(l->conn, n);
    st = aq_reply(amqp_get_rpc_reply(l->conn), NULL, err, "opening a channel");
    if (st == 0) {
        (void)amqp_tx_select(l->conn, n);
        st = aq_reply(amqp_get_rpc_reply(l->conn), NULL, err, "transaction mode");
    }
    if (st == 0) {
        (void)amqp_basic_qos(l->conn, n, 0, c->in_flight, 0);
        st = aq_reply(amqp_get_rpc_reply(l->conn), NULL, err, "the prefetch");
    }
    if (st == 0) {
        (void)amqp_basic_consume(l->conn, n, amqp_cstring_bytes(aq_queue_of(l->d, ch)), amqp_cstring_bytes(aq_channel_name(ch)), 0, 0, 0,
                                 amqp_empty_table);
        st = aq_reply(amqp_get_rpc_reply(l->conn), NULL, err, "consuming");
    }
    if (st == 0) {
        c->open = true;
        c->pause_ms = 0;
        c->offer_ns = 0;
    }
    return st;
}

static int opened(struct aq_link *l, struct assay_err *err)
{
    (void)l, (void)err; /* channels are opened as they are wanted */
    return 0;
}

static size_t find(const struct aq_in *in, uint64_t tag)
{
    size_t i = 0;
    while (i < in->n && in->held[i]->tag != tag)
        i++;
    return i;
}

static void closed(struct aq_link *l, const struct assay_err *why)
{
    struct aq_in *in = in_of(l);
    (void)why;
    take_commands(in);
    for (struct aq_command *c = in->todo; c; c = c->next) { /* settled already, as far as the sink is concerned */
        size_t at = find(in, c->tag);
        if (at < in->n)
            in->held[at]->state = AQ_RETRY;
    }
    drop_commands(&in->todo, &in->todo_last);
    for (size_t i = 0; i < in->n; i++)
        if (in->held[i]->state == AQ_TAKEN) {
            struct aq_consumer *c = &in->c[in->held[i]->ch];
            aq_count(l->d, AQ_M_LOST, aq_channel_name(in->held[i]->ch), NULL);
            c->sink.lost(c->sink.arg, in->held[i]->tag);
        }
    while (in->n > 0)
        forget(in, in->n - 1);
    for (int i = 0; i < 2; i++)
        in->c[i].open = in->c[i].cancelled = in->c[i].dirty = in->c[i].committing = false;
}

/* ---- settling ------------------------------------------------------------------------------------------------------------ */

static int acknowledge(struct aq_in *in, size_t at, struct assay_err *err)
{
    struct aq_held *h = in->held[at];
    int st = aq_status(amqp_basic_ack(in->l.conn, number_of(h->ch), h->delivery, 0), err, "acknowledging");
    in->c[h->ch].dirty = true;
    if (st == 0)
        forget(in, at);
    return st;
}

static int give_back(struct aq_in *in, size_t at, bool again, struct assay_err *err)
{
    struct aq_held *h = in->held[at];
    int st = aq_status(amqp_basic_nack(in->l.conn, number_of(h->ch), h->delivery, 0, again), err, "giving a message back");
    in->c[h->ch].dirty = true;
    if (st == 0)
        forget(in, at);
    return st;
}

static int dead_letter(struct aq_in *in, size_t at, struct assay_str reason, struct assay_err *err)
{
    struct aq_held *h = in->held[at];
    assay_log(in->l.d->host, ASSAY_LOG_WARN, "amqp_dead_letter", ASSAY_KZ("message", h->name), ASSAY_KS("reason", reason));
    if (in->l.d->dead_reject)
        return give_back(in, at, false, err);
    if (h->ch != ASSAY_CHANNEL_WORK || in->l.d->dead[0] == '\0')
        return acknowledge(in, at, err);
    int st = aq_bury(&in->l, h, reason, err);
    return st != 0 ? st : acknowledge(in, at, err);
}

static int apply(struct aq_in *in, size_t at, const struct aq_command *c, struct assay_err *err)
{
    struct aq_held *h = in->held[at];
    static const char *const word[] = {[ASSAY_SETTLE_DONE] = "done", [ASSAY_SETTLE_AGAIN] = "again", [ASSAY_SETTLE_DEAD] = "dead"};
    aq_count(in->l.d, AQ_M_SETTLED, aq_channel_name(h->ch), word[c->how]);
    switch (c->how) {
    case ASSAY_SETTLE_DONE:
        return acknowledge(in, at, err);
    case ASSAY_SETTLE_DEAD:
        return dead_letter(in, at, assay_str(c->reason), err);
    case ASSAY_SETTLE_AGAIN:
        break;
    }
    h->state = AQ_RETRY;
    h->due_ns = assay_mono_ns() + in->l.d->retry_ms * MS;
    return 0;
}

/* Applies what it may; what belongs to a channel that commits stays. */
static int settle_all(struct aq_in *in, struct assay_err *err)
{
    struct aq_command **at = &in->todo;
    while (*at) {
        struct aq_command *c = *at;
        size_t k = find(in, c->tag);
        if (k < in->n && in->c[in->held[k]->ch].committing) {
            at = &c->next;
            continue;
        }
        int st = k < in->n && in->held[k]->state == AQ_TAKEN ? apply(in, k, c, err) : 0;
        if (st != 0)
            return st;
        *at = c->next;
        free(c);
    }
    in->todo_last = at;
    return 0;
}

static void lower(int64_t *wait_ms, int64_t until_ns, int64_t now)
{
    int64_t left = until_ns <= now ? 0 : (until_ns - now) / MS + 1;
    if (left < *wait_ms)
        *wait_ms = left;
}

/* Stamps, gives back, commits. */
static int channel_work(struct aq_in *in, enum assay_channel ch, int64_t now, int64_t *wait_ms, struct assay_err *err)
{
    struct aq_consumer *c = &in->c[ch];
    bool quiet = atomic_load(&in->quiet) || atomic_load(&in->l.stopping);
    if (quiet && !c->cancelled) {
        amqp_basic_cancel_t m = {.consumer_tag = amqp_cstring_bytes(aq_channel_name(ch)), .nowait = 0};
        int st = aq_status(amqp_send_method(in->l.conn, number_of(ch), AMQP_BASIC_CANCEL_METHOD, &m), err, "ending to consume");
        if (st != 0)
            return st;
        c->cancelled = true;
    }
    if (c->committing)
        return 0;
    for (size_t i = 0; i < in->n;) {
        struct aq_held *h = in->held[i];
        int st = 0;
        bool gone = true;
        if (h->ch != ch)
            gone = false;
        else if (h->state == AQ_RETRY && (quiet || h->due_ns <= now))
            st = give_back(in, i, true, err);
        else if ((h->state == AQ_WAITING || h->state == AQ_STAMP) && quiet)
            st = give_back(in, i, true, err);
        else if (h->state == AQ_STAMP) {
            st = aq_stamp(&in->l, h, err);
            if (st == 0)
                st = acknowledge(in, i, err);
        } else
            gone = false;
        if (st != 0)
            return st;
        if (!gone) {
            if (h->ch == ch && h->state == AQ_RETRY)
                lower(wait_ms, h->due_ns, now);
            i++;
        }
    }
    if (!c->dirty)
        return 0;
    amqp_tx_commit_t m = {.dummy = 0};
    c->dirty = false;
    c->committing = true;
    return aq_status(amqp_send_method(in->l.conn, number_of(ch), AMQP_TX_COMMIT_METHOD, &m), err, "committing");
}

static void offer(struct aq_in *in, enum assay_channel ch, int64_t now, int64_t *wait_ms)
{
    struct aq_consumer *c = &in->c[ch];
    int left = OFFERS;
    if (atomic_load(&in->quiet) || atomic_load(&in->l.stopping))
        return;
    for (size_t i = 0; i < in->n; i++) {
        struct aq_held *h = in->held[i];
        if (h->ch != ch || h->state != AQ_WAITING)
            continue;
        if (c->offer_ns > now) {
            lower(wait_ms, c->offer_ns, now);
            return;
        }
        if (left-- == 0) {
            *wait_ms = 0;
            return;
        }
        struct assay_message m;
        aq_message(in->l.d, h, &m);
        h->state = AQ_TAKEN; /* it may be settled before deliver returns */
        if (c->sink.deliver(c->sink.arg, h->tag, &m) == ASSAY_OK) {
            c->pause_ms = 0;
            continue;
        }
        h->state = AQ_WAITING;
        c->pause_ms = c->pause_ms == 0 ? OFFER_FIRST_MS : c->pause_ms * 2 > OFFER_MAX_MS ? OFFER_MAX_MS : c->pause_ms * 2;
        c->offer_ns = assay_mono_ns() + c->pause_ms * MS;
        lower(wait_ms, c->offer_ns, assay_mono_ns());
        return;
    }
}

static int work(struct aq_link *l, int64_t *wait_ms, struct assay_err *err)
{
    struct aq_in *in = in_of(l);
    take_commands(in);
    if (!l->conn) { /* what was settled since is for messages that are lost */
        drop_commands(&in->todo, &in->todo_last);
        return 0;
    }
    int64_t now = assay_mono_ns();
    for (int ch = 0; ch < 2; ch++) {
        (void)pthread_mutex_lock(&l->lock);
        bool wanted = in->c[ch].wanted;
        (void)pthread_mutex_unlock(&l->lock);
        if (wanted && !in->c[ch].open && !atomic_load(&in->quiet) && !atomic_load(&l->stopping)) {
            int st = open_channel(in, (enum assay_channel)ch, err);
            if (st != 0)
                return st;
        }
    }
    int st = settle_all(in, err);
    for (int ch = 0; ch < 2 && st == 0; ch++)
        if (in->c[ch].open) {
            st = channel_work(in, (enum assay_channel)ch, now, wait_ms, err);
            if (st == 0)
                offer(in, (enum assay_channel)ch, now, wait_ms);
        }
    return st;
}

static bool idle(struct aq_link *l)
{
    struct aq_in *in = in_of(l);
    (void)pthread_mutex_lock(&l->lock);
    bool none = in->first == NULL;
    (void)pthread_mutex_unlock(&l->lock);
    for (int ch = 0; ch < 2; ch++)
        none = none && !in->c[ch].dirty && !in->c[ch].committing;
    return none && !in->todo;
}

/* ---- what comes ----------------------------------------------------------------------------------------------------------- */

static int receive(struct aq_in *in, const amqp_frame_t *f, struct assay_err *err)
{
    const amqp_basic_deliver_t *deliver = f->payload.method.decoded;
    amqp_channel_t n = f->channel;
    struct aq_held *h = calloc(1, sizeof *h);
    if (h && in->n == in->room) {
        size_t room = in->room ? in->room * 2 : 64;
        struct aq_held **more = realloc(in->held, room * sizeof *more);
        if (more) {
            in->held = more;
            in->room = room;
        }
    }
    if (!h || in->n == in->room) {
        free(h);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a message");
    }
    h->delivery = deliver->delivery_tag;
    h->redelivered = deliver->redelivered != 0;
    h->ch = (enum assay_channel)(n - 1);
    h->tag = ++in->next_tag;
    int st = aq_reply(amqp_read_message(in->l.conn, n, &h->m, 0), NULL, err, "reading a message");
    amqp_maybe_release_buffers_on_channel(in->l.conn, n);
    if (st != 0) {
        free(h);
        return st;
    }
    aq_count(in->l.d, AQ_M_RECEIVED, aq_channel_name(h->ch), h->redelivered ? "again" : "first");
    in->held[in->n++] = h;
    bool stamp = in->l.d->stamp && h->ch == ASSAY_CHANNEL_WORK && !aq_has_id(h);
    h->state = stamp ? AQ_STAMP : AQ_WAITING;
    aq_name(in->l.d, h);
    if (h->m.body.len > atomic_load(&in->l.d->message_max)) { /* nobody is asked about it */
        struct aq_command *c = calloc(1, sizeof *c + 100);
        if (!c)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        h->state = AQ_TAKEN;
        c->tag = h->tag;
        c->how = ASSAY_SETTLE_DEAD;
        (void)snprintf(c->reason, 100, "the message has %zu bytes, more than amqp_message_max", h->m.body.len);
        *in->todo_last = c;
        in->todo_last = &c->next;
    }
    return 0;
}

static int frame(struct aq_link *l, const amqp_frame_t *f, struct assay_err *err)
{
    struct aq_in *in = in_of(l);
    bool ours = f->channel == 1 || f->channel == 2;
    switch (f->payload.method.id) {
    case AMQP_BASIC_DELIVER_METHOD:
        return ours ? receive(in, f, err) : 0;
    case AMQP_TX_COMMIT_OK_METHOD:
        if (ours)
            in->c[f->channel - 1].committing = false;
        return 0;
    case AMQP_BASIC_CANCEL_METHOD:
        return assay_err_set(err, ASSAY_E_IO, "RabbitMQ has ended our consumer: its queue was removed, or moved to another node");
    case AMQP_CHANNEL_CLOSE_METHOD:
        return aq_closed_by(f, NULL, err);
    default:
        return 0; /* the answer to a cancel */
    }
}

const struct aq_link_ops aq_in_ops = {.name = "in", .opened = opened, .closed = closed, .work = work, .frame = frame, .idle = idle};
