/*
 * Theory of operation of a consumer.
 *
 * One thread serves librdkafka's queue (messages, rebalances, commits' answers) and offers messages to the receiver, one
 * call at a time.  It sleeps on one descriptor, which librdkafka writes to when its queue is no longer empty and settle
 * writes to when something has ended; so nothing is polled for, yet the queue is served at least every second and
 * max.poll.interval.ms is kept however long the work takes.
 *
 * A message is an entry of its partition's ledger from the moment it is fetched: waiting, given, ended, settled.  The
 * receiver knows a given one by a tag, which names a slot and its generation; there are as many slots as messages may be in
 * flight.  Whoever settles only marks the entry and puts it on the list of ends; the thread alone frees and moves
 * entries.  A message keeps its bytes until it is settled: settling it for another try, or for the dead-letter topic,
 * then needs nothing of the broker.
 *
 * Partitions are paused when enough waits here, and when one's window is full (an early message that is not settled holds up the offset).
 *
 * Commits go out when something was settled, one at a time: what is settled meanwhile travels with the next.
 */
#include "local.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAITING_MAX 2000u
#define SLOTS_MAX ((size_t)1 << 20)
#define TAG_SLOT 22 /* bits: slot, channel, then the generation */
#define TAG_GENERATION 24

struct bk_burial {
    struct bk_consumer *c;
    struct bk_entry *entry; /* guarded by the consumer's lock; NULL: its partition is gone */
};

void bk_queue_push(struct bk_queue *q, struct bk_entry *e)
{
    e->q_next = NULL;
    if (q->last)
        q->last->q_next = e;
    else
        q->first = e;
    q->last = e;
    q->n++;
}

struct bk_entry *bk_queue_pop(struct bk_queue *q)
{
    struct bk_entry *e = q->first;
    if (!e)
        return NULL;
    q->first = e->q_next;
    if (!q->first)
        q->last = NULL;
    q->n--;
    e->q_next = NULL;
    return e;
}

static void queue_push_front(struct bk_queue *q, struct bk_entry *e)
{
    e->q_next = q->first;
    q->first = e;
    if (!q->last)
        q->last = e;
    q->n++;
}

static void queue_without(struct bk_queue *q, const struct bk_part *p)
{
    struct bk_queue kept = {0};
    struct bk_entry *e;
    while ((e = bk_queue_pop(q)) != NULL)
        if (e->part != p)
            bk_queue_push(&kept, e);
    *q = kept;
}

bool bk_wait(int fd, int64_t ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    uint64_t n;
    if (poll(&pfd, 1, (int)(ms > 1000 ? 1000 : ms < 0 ? 0 : ms)) <= 0)
        return false;
    return read(fd, &n, sizeof n) == sizeof n;
}

void bk_wake(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) /* EAGAIN: it is awake */
        ;
}

/* ---- tags ---------------------------------------------------------------------------------------------- */

/* With the lock. */
static bool slot_take(struct bk_consumer *c, struct bk_entry *e)
{
    if (c->free_slot == 0)
        return false;
    uint32_t i = c->free_slot - 1;
    struct bk_slot *s = &c->slot[i];
    c->free_slot = s->next_free;
    s->entry = e;
    s->generation++;
    e->tag = s->generation << TAG_GENERATION | (uint64_t)c->channel << TAG_SLOT | i;
    atomic_fetch_add(&c->given, 1);
    return true;
}

/* With the lock: the entry that a tag names, or NULL. */
static struct bk_entry *slot_find(struct bk_consumer *c, uint64_t tag)
{
    uint64_t i = tag & ((UINT64_C(1) << TAG_SLOT) - 1);
    return i < c->slots && c->slot[i].entry && c->slot[i].entry->tag == tag ? c->slot[i].entry : NULL;
}

/* With the lock. */
static void slot_give(struct bk_consumer *c, struct bk_entry *e)
{
    uint32_t i = (uint32_t)(e->tag & ((UINT64_C(1) << TAG_SLOT) - 1));
    c->slot[i].entry = NULL;
    c->slot[i].next_free = c->free_slot;
    c->free_slot = i + 1;
    e->tag = 0;
    atomic_fetch_sub(&c->given, 1);
}

static struct bk_consumer *consumer_of(struct bk_driver *d, uint64_t tag)
{
    uint64_t channel = tag >> TAG_SLOT & 3;
    return tag != 0 && channel < ASSAY_CHANNELS ? atomic_load(&d->consumer[channel]) : NULL;
}

void bk_settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason)
{
    struct bk_consumer *c = consumer_of(bk_self(self), tag);
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    struct bk_entry *e = slot_find(c, tag);
    if (e) {
        slot_give(c, e);
        e->at = BK_ENDED;
        e->how = how;
        if (how != ASSAY_SETTLE_DONE && reason.n > 0)
            e->reason = strndup(reason.p, reason.n < 1000 ? reason.n : 1000); /* without it if there is no memory */
        bk_queue_push(&c->ends, e);
    }
    pthread_mutex_unlock(&c->lock);
    if (e)
        bk_wake(c->wake_fd);
}

int bk_answer_begins(struct bk_driver *d, uint64_t tag, struct assay_err *err)
{
    struct bk_consumer *c = consumer_of(d, tag);
    struct bk_entry *e = NULL;
    if (c) {
        pthread_mutex_lock(&c->lock);
        e = slot_find(c, tag);
        if (e)
            e->publishing++;
        pthread_mutex_unlock(&c->lock);
    }
    return e ? 0 : assay_err_set(err, ASSAY_E_GONE, "the message was taken away: its partition is somebody else's now");
}

void bk_answer_ends(struct bk_driver *d, uint64_t tag, bool ok)
{
    struct bk_consumer *c = consumer_of(d, tag);
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    struct bk_entry *e = slot_find(c, tag);
    if (e) {
        e->publishing--;
        e->published |= ok;
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- partitions ---------------------------------------------------------------------------------------------- */

struct bk_part *bk_part_find(struct bk_consumer *c, const char *topic, int32_t number)
{
    for (struct bk_part *p = c->parts; p; p = p->next_part)
        if (p->number == number && strcmp(p->topic, topic) == 0)
            return p;
    return NULL;
}

void bk_part_lose(struct bk_consumer *c, struct bk_part *p)
{
    for (struct bk_entry *e = p->first; e; e = e->next) {
        uint64_t tag = 0;
        pthread_mutex_lock(&c->lock);
        if (e->at == BK_GIVEN) {
            tag = e->tag;
            slot_give(c, e);
            e->at = BK_WAITING;
        }
        pthread_mutex_unlock(&c->lock);
        if (tag != 0 && !atomic_load(&c->dead))
            c->sink.lost(c->sink.arg, tag);
    }
}

void bk_part_empty(struct bk_consumer *c, struct bk_part *p)
{
    queue_without(&c->waiting, p);
    queue_without(&c->later, p);
    pthread_mutex_lock(&c->lock);
    queue_without(&c->ends, p);
    for (struct bk_entry *e = p->first; e; e = e->next)
        if (e->burial)
            e->burial->entry = NULL;
    pthread_mutex_unlock(&c->lock);
    while (p->first) {
        struct bk_entry *e = p->first;
        p->first = e->next;
        c->held -= e->bytes ? e->size : 0;
        bk_entry_free(e);
    }
    p->last = NULL;
    p->n = 0;
    p->next = -1;
}

static void settled(struct bk_consumer *c, struct bk_entry *e)
{
    c->held -= e->bytes ? e->size : 0;
    bk_part_settle(e->part, e);
}

/* ---- dead letters -------------------------------------------------------------------------------------------------- */

static void buried(void *arg, int status, const struct assay_err *err)
{
    struct bk_burial *b = arg;
    struct bk_consumer *c = b->c;
    pthread_mutex_lock(&c->lock);
    if (b->entry) {
        b->entry->burial = NULL;
        b->entry->published = status == 0;
        bk_queue_push(&c->ends, b->entry);
    }
    pthread_mutex_unlock(&c->lock);
    if (status != 0)
        bk_state_trouble(&c->state, "a dead letter cannot be written to %s: %s", c->d->dead_topic, err ? err->msg : "");
    free(b);
    bk_wake(c->wake_fd);
}

static void put_off(struct bk_consumer *c, struct bk_entry *e)
{
    int64_t ms = e->tries < 5 ? INT64_C(1000) << e->tries : 30000;
    e->tries++;
    e->not_before_ns = assay_mono_ns() + ms * BK_NS_MS;
    bk_queue_push(&c->later, e);
}

static void bury(struct bk_consumer *c, struct bk_entry *e)
{
    struct assay_err err = {0, ""};
    char name[320];
    struct bk_burial *b = malloc(sizeof *b);
    e->at = BK_DYING;
    int st = b ? 0 : assay_err_set(&err, ASSAY_E_NOMEM, "no memory for a dead letter");
    if (st == 0) {
        *b = (struct bk_burial){.c = c, .entry = e};
        snprintf(name, sizeof name, "%s:%d:%lld", e->part->topic, (int)e->part->number, (long long)e->offset);
        const struct bk_head heads[] = {{"assay-source", assay_str(name)},
                                        {"assay-reason", assay_str(e->reason ? e->reason : "")},
                                        {"traceparent", e->traceparent}};
        e->burial = b;
        st = bk_send(c->d, ASSAY_CHANNEL_DEAD, e->key, e->body, heads, e->traceparent.n > 0 ? 3 : 2, 0, buried, b, &err);
        if (st != 0)
            e->burial = NULL;
    }
    if (st != 0) {
        free(b);
        put_off(c, e);
    }
}

/* ---- what has ended -------------------------------------------------------------------------------------------------- */

void bk_ends_process(struct bk_consumer *c)
{
    pthread_mutex_lock(&c->lock);
    struct bk_queue ends = c->ends;
    c->ends = (struct bk_queue){0};
    pthread_mutex_unlock(&c->lock);
    struct bk_entry *e;
    while ((e = bk_queue_pop(&ends)) != NULL) {
        if (e->at == BK_DYING) { /* its publication is over */
            if (e->published) {
                bk_state_trouble(&c->state, "%s", "");
                settled(c, e);
            } else {
                put_off(c, e);
            }
        } else if (e->how == ASSAY_SETTLE_AGAIN) {
            e->at = BK_WAITING;
            e->published = false;
            put_off(c, e);
        } else if (e->how == ASSAY_SETTLE_DEAD) {
            assay_log(c->d->host, ASSAY_LOG_WARN, "kafka_dead_letter", ASSAY_KZ("topic", e->part->topic), ASSAY_KI("partition", e->part->number),
                      ASSAY_KI("offset", e->offset), ASSAY_KZ("to", c->d->dead_topic), ASSAY_KZ("reason", e->reason ? e->reason : ""));
            bury(c, e);
        } else {
            settled(c, e);
        }
    }
}

static void later_process(struct bk_consumer *c, int64_t now)
{
    struct bk_queue all = c->later;
    struct bk_entry *e;
    c->later = (struct bk_queue){0};
    while ((e = bk_queue_pop(&all)) != NULL) {
        if (e->not_before_ns > now)
            bk_queue_push(&c->later, e);
        else if (e->at == BK_DYING)
            bury(c, e);
        else
            bk_queue_push(&c->waiting, e);
    }
}

/* ---- messages in -------------------------------------------------------------------------------------------------------- */

static struct bk_entry *entry_new(const rd_kafka_message_t *m)
{
    const void *trace = NULL;
    size_t trace_n = 0;
    rd_kafka_headers_t *heads = NULL;
    if (rd_kafka_message_headers(m, &heads) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        (rd_kafka_header_get_last(heads, "traceparent", &trace, &trace_n) != RD_KAFKA_RESP_ERR_NO_ERROR || trace_n > 100))
        trace_n = 0;
    struct bk_entry *e = calloc(1, sizeof *e);
    char *bytes = malloc(m->key_len + m->len + trace_n + 1);
    if (!e || !bytes) {
        free(e);
        free(bytes);
        return NULL;
    }
    *e = (struct bk_entry){.offset = m->offset, .at = BK_WAITING, .bytes = bytes, .size = sizeof *e + m->key_len + m->len + trace_n + 1};
    if (m->key_len > 0)
        memcpy(bytes, m->key, m->key_len);
    if (m->len > 0)
        memcpy(bytes + m->key_len, m->payload, m->len);
    if (trace_n > 0)
        memcpy(bytes + m->key_len + m->len, trace, trace_n);
    e->key = (struct assay_str){bytes, m->key_len};
    e->body = (struct assay_str){bytes + m->key_len, m->len};
    e->traceparent = (struct assay_str){bytes + m->key_len + m->len, trace_n};
    return e;
}

static void failed(struct bk_consumer *c, const rd_kafka_message_t *m)
{
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return;
    const char *text = rd_kafka_message_errstr(m);
    assay_log(c->d->host, ASSAY_LOG_WARN, "kafka_error", ASSAY_KZ("handle", c->state.word), ASSAY_KZ("code", rd_kafka_err2name(m->err)),
              ASSAY_KZ("reason", text));
    if (m->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        bk_state_trouble(&c->state, "the topic %s does not exist (it is taken up as soon as it does)", c->topic);
    else
        bk_state_trouble(&c->state, "%s", text);
}

/* False when there is no memory for it: it is to be tried again. */
static bool take(struct bk_consumer *c, const rd_kafka_message_t *m)
{
    struct bk_part *p = bk_part_find(c, rd_kafka_topic_name(m->rkt), m->partition);
    if (!p)
        return true; /* of a partition that is ours no more */
    if (p->skip && m->offset < p->skip_base) { /* the log begins anew: what was known of it does not count */
        free(p->skip);
        p->skip = NULL;
        p->skip_n = 0;
    }
    struct bk_entry *e = entry_new(m);
    if (!e)
        return false;
    bool known = bk_part_known(p, e->offset);
    if (!bk_part_add(p, e)) {
        assay_log(c->d->host, ASSAY_LOG_WARN, "kafka_offset_back", ASSAY_KZ("topic", p->topic), ASSAY_KI("partition", p->number),
                  ASSAY_KI("offset", e->offset), ASSAY_KI("expected", p->last ? p->last->offset + 1 : p->next));
        bk_part_lose(c, p);
        bk_part_empty(c, p);
        if (!bk_part_add(p, e)) { /* a negative offset: not a message */
            bk_entry_free(e);
            return true;
        }
    }
    c->held += e->size;
    bk_count(c->d, BK_METRIC_MESSAGES, c->state.word, known ? "known" : "new", 1);
    if (known)
        settled(c, e);
    else
        bk_queue_push(&c->waiting, e);
    return true;
}

static void fetch(struct bk_consumer *c)
{
    if (c->stuck) {
        if (!take(c, c->stuck))
            return;
        rd_kafka_message_destroy(c->stuck);
        c->stuck = NULL;
    }
    for (;;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(c->rk, 0);
        if (!m)
            return;
        if (m->err) {
            failed(c, m);
        } else if (!take(c, m)) {
            c->stuck = m;
            return;
        }
        rd_kafka_message_destroy(m);
    }
}

/* ---- messages to the receiver ----------------------------------------------------------------------------------------------- */

static bool offer(struct bk_consumer *c, struct bk_entry *e)
{
    char name[320];
    snprintf(name, sizeof name, "%s:%d:%lld", e->part->topic, (int)e->part->number, (long long)e->offset);
    const struct assay_message m = {.name = assay_str(name), .key = e->key, .body = e->body, .traceparent = e->traceparent};
    pthread_mutex_lock(&c->lock);
    bool room = slot_take(c, e);
    uint64_t tag = e->tag;
    if (room)
        e->at = BK_GIVEN;
    pthread_mutex_unlock(&c->lock);
    if (!room) {
        queue_push_front(&c->waiting, e);
        return false;
    }
    if (c->sink.deliver(c->sink.arg, tag, &m) == 0) {
        c->refusals = 0;
        return true;
    }
    pthread_mutex_lock(&c->lock);
    bool still = slot_find(c, tag) == e; /* unless it was settled all the same */
    if (still) {
        slot_give(c, e);
        e->at = BK_WAITING;
    }
    pthread_mutex_unlock(&c->lock);
    if (still)
        queue_push_front(&c->waiting, e);
    int64_t ms = c->refusals < 5 ? INT64_C(20) << c->refusals : 500;
    c->refusals++;
    c->offer_ns = assay_mono_ns() + ms * BK_NS_MS;
    return false;
}

static void offer_all(struct bk_consumer *c, int64_t now)
{
    if (atomic_load(&c->quiet) || now < c->offer_ns)
        return;
    struct bk_entry *e;
    while ((e = bk_queue_pop(&c->waiting)) != NULL)
        if (!offer(c, e) || atomic_load(&c->quiet))
            return;
}

static void pause_as_needed(struct bk_consumer *c)
{
    if (c->paused)
        c->paused = atomic_load(&c->quiet) || c->held > c->d->buffer / 2 || c->waiting.n > WAITING_MAX / 4;
    else
        c->paused = atomic_load(&c->quiet) || c->held >= c->d->buffer || c->waiting.n >= WAITING_MAX;
    for (int to = 0; to < 2; to++) {
        rd_kafka_topic_partition_list_t *list = NULL;
        for (struct bk_part *p = c->parts; p; p = p->next_part) {
            bool full = p->paused ? p->first && p->last->offset - p->first->offset > BK_WINDOW / 2 : !bk_part_room(p);
            if ((c->paused || full) != (to == 1) || p->paused == (to == 1))
                continue;
            if (!list)
                list = rd_kafka_topic_partition_list_new(8);
            rd_kafka_topic_partition_list_add(list, p->topic, p->number);
            p->paused = to == 1;
        }
        if (!list)
            continue;
        (void)(to == 1 ? rd_kafka_pause_partitions(c->rk, list) : rd_kafka_resume_partitions(c->rk, list));
        for (int i = 0; i < list->cnt; i++) {
            struct bk_part *p = bk_part_find(c, list->elems[i].topic, list->elems[i].partition);
            if (p && list->elems[i].err)
                p->paused = to != 1; /* the next round tries again */
        }
        rd_kafka_topic_partition_list_destroy(list);
    }
}

/* ---- commits ---------------------------------------------------------------------------------------------------------------- */

rd_kafka_topic_partition_list_t *bk_commit_list(struct bk_consumer *c, const rd_kafka_topic_partition_list_t *only)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    for (struct bk_part *p = c->parts; p; p = p->next_part) {
        ASSAY_CLEANUP_BUF struct assay_buf mark = ASSAY_BUF_INIT;
        int64_t offset = bk_part_offset(p);
        if (!p->dirty || offset < 0 || (only && !rd_kafka_topic_partition_list_find(only, p->topic, p->number)))
            continue;
        if (!list)
            list = rd_kafka_topic_partition_list_new(8);
        rd_kafka_topic_partition_t *t = rd_kafka_topic_partition_list_add(list, p->topic, p->number);
        t->offset = offset;
        if (bk_part_mark(p, &mark, NULL) == 0 && mark.n > 0)
            t->metadata = assay_buf_steal(&mark, &t->metadata_size);
        p->dirty = false;
    }
    return list;
}

void bk_committed(struct bk_consumer *c, rd_kafka_resp_err_t code, const rd_kafka_topic_partition_list_t *list)
{
    bool all = code == RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; list && i < list->cnt; i++) {
        struct bk_part *p = bk_part_find(c, list->elems[i].topic, list->elems[i].partition);
        bool ok = code == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR;
        all = all && ok;
        if (p && ok)
            p->committed = list->elems[i].offset;
        else if (p)
            p->dirty = true;
    }
    bk_count(c->d, BK_METRIC_COMMITS, all ? "ok" : "failed", NULL, 1);
    if (all)
        return;
    c->commit_ns = assay_mono_ns() + 500 * BK_NS_MS;
    assay_log(c->d->host, ASSAY_LOG_INFO, "kafka_commit_failed", ASSAY_KZ("handle", c->state.word),
              ASSAY_KZ("reason", code ? rd_kafka_err2str(code) : "some partitions"));
}

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void)rk;
    struct bk_consumer *c = (struct bk_consumer *)(void *)((char *)opaque - offsetof(struct bk_consumer, state));
    c->committing = false;
    bk_committed(c, code, list);
}

static void commit(struct bk_consumer *c, int64_t now)
{
    if (c->committing || now < c->commit_ns)
        return;
    rd_kafka_topic_partition_list_t *list = bk_commit_list(c, NULL);
    if (!list)
        return;
    rd_kafka_resp_err_t code = rd_kafka_commit(c->rk, list, 1);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        c->committing = true;
    else
        bk_committed(c, code, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (c->committing)
        c->commit_ns = now + 10 * BK_NS_MS;
}

static void measure(struct bk_consumer *c, int64_t now)
{
    if (now < c->lag_ns)
        return;
    c->lag_ns = now + 5000 * BK_NS_MS;
    for (const struct bk_part *p = c->parts; p; p = p->next_part) {
        int64_t low = -1, high = -1, at = bk_part_offset(p);
        char number[16];
        if (at < 0)
            at = p->committed;
        if (rd_kafka_get_watermark_offsets(c->rk, p->topic, p->number, &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR || high < 0)
            continue;
        if (at < low)
            at = low;
        snprintf(number, sizeof number, "%d", (int)p->number);
        bk_gauge(c->d, BK_METRIC_LAG, p->topic, number, (double)(high > at && at >= 0 ? high - at : 0));
    }
}

/* ---- the thread ---------------------------------------------------------------------------------------------------------------- */

static int64_t until(const struct bk_consumer *c, int64_t now)
{
    int64_t at = now + 1000 * BK_NS_MS;
    if (c->waiting.n > 0 && c->free_slot != 0 && !atomic_load(&c->quiet) && c->offer_ns < at)
        at = c->offer_ns;
    for (const struct bk_entry *e = c->later.first; e; e = e->q_next)
        if (e->not_before_ns < at)
            at = e->not_before_ns;
    if (!c->committing && c->commit_ns < at)
        for (const struct bk_part *p = c->parts; p; p = p->next_part)
            if (p->dirty)
                at = c->commit_ns;
    if (c->stuck && at > now + 50 * BK_NS_MS)
        at = now + 50 * BK_NS_MS;
    return at > now ? (at - now) / BK_NS_MS + 1 : 0;
}

static bool idle(struct bk_consumer *c)
{
    pthread_mutex_lock(&c->lock);
    bool none = atomic_load(&c->given) == 0 && c->ends.n == 0;
    pthread_mutex_unlock(&c->lock);
    for (const struct bk_part *p = c->parts; none && p; p = p->next_part)
        for (const struct bk_entry *e = p->first; none && e; e = e->next)
            none = e->at == BK_WAITING || e->at == BK_SETTLED;
    return none;
}

/* Leaves the group, within stop_wait_ms. */
static void leave(struct bk_consumer *c)
{
    int64_t deadline = assay_mono_ns() + c->d->stop_wait_ms * BK_NS_MS;
    rd_kafka_error_t *e = rd_kafka_consumer_close_queue(c->rk, c->queue);
    if (e) {
        assay_log(c->d->host, ASSAY_LOG_WARN, "kafka_close", ASSAY_KZ("reason", rd_kafka_error_string(e)));
        rd_kafka_error_destroy(e);
    }
    while (!rd_kafka_consumer_closed(c->rk) && assay_mono_ns() < deadline) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(c->rk, 20);
        if (m)
            rd_kafka_message_destroy(m);
        bk_ends_process(c);
    }
    if (!rd_kafka_consumer_closed(c->rk))
        assay_log(c->d->host, ASSAY_LOG_WARN, "kafka_close", ASSAY_KZ("handle", c->state.word),
                  ASSAY_KZ("reason", "the broker did not answer in time; the group notices by its session timeout"));
    for (struct bk_part *p = c->parts; p; p = p->next_part) /* where no rebalance has */
        bk_part_lose(c, p);
}

static void *run(void *arg)
{
    struct bk_consumer *c = arg;
    while (!atomic_load(&c->stop) && !c->leave) {
        fetch(c);
        bk_ends_process(c);
        int64_t now = assay_mono_ns();
        later_process(c, now);
        offer_all(c, now);
        bk_ends_process(c); /* settled while it was offered */
        pause_as_needed(c);
        now = assay_mono_ns();
        commit(c, now);
        bk_state_probe(&c->state, c->rk, &c->probe_ns);
        measure(c, now);
        c->leave = atomic_load(&c->quiet) && idle(c);
        if (!c->leave)
            (void)bk_wait(c->wake_fd, until(c, assay_mono_ns()));
    }
    leave(c);
    return NULL;
}

void bk_consumer_quiet(struct bk_consumer *c)
{
    atomic_store(&c->quiet, true);
    bk_wake(c->wake_fd);
}

void bk_consumer_stop(struct bk_consumer *c)
{
    atomic_store(&c->quiet, true);
    atomic_store(&c->stop, true);
    bk_wake(c->wake_fd);
    if (c->started)
        (void)pthread_join(c->thread, NULL);
    c->started = false;
    atomic_store(&c->dead, true);
}

void bk_consumer_free(struct bk_consumer *c)
{
    if (!c)
        return;
    if (c->stuck)
        rd_kafka_message_destroy(c->stuck);
    if (c->queue) {
        rd_kafka_queue_io_event_enable(c->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(c->queue);
    }
    if (c->rk)
        rd_kafka_destroy_flags(c->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    while (c->parts) {
        struct bk_part *p = c->parts;
        c->parts = p->next_part;
        bk_part_empty(c, p);
        bk_part_free(p);
    }
    if (c->wake_fd >= 0)
        (void)close(c->wake_fd);
    free(c->slot);
    (void)pthread_mutex_destroy(&c->lock);
    bk_state_free(&c->state);
    free(c);
}

static int open_handle(struct bk_consumer *c, struct assay_err *err)
{
    static const uint64_t one = 1;
    ASSAY_CLEANUP_BUF struct assay_buf faults = ASSAY_BUF_INIT;
    char why[300];
    rd_kafka_conf_t *conf = bk_conf(c->d, BK_CONSUMER, c->group, false, &faults);
    if (!conf)
        return assay_err_set(err, ASSAY_E_CONFIG, "kafka: %.*s", ASSAY_FMT(assay_buf_view(&faults)));
    rd_kafka_conf_set_opaque(conf, &c->state);
    rd_kafka_conf_set_log_cb(conf, bk_log);
    rd_kafka_conf_set_error_cb(conf, bk_state_error);
    rd_kafka_conf_set_rebalance_cb(conf, bk_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
    c->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!c->rk) {
        rd_kafka_conf_destroy(conf);
        return assay_err_set(err, ASSAY_E_CONFIG, "kafka: %s", why);
    }
    (void)rd_kafka_poll_set_consumer(c->rk);
    c->queue = rd_kafka_queue_get_consumer(c->rk);
    if (!c->queue)
        return assay_err_set(err, ASSAY_E_INTERNAL, "kafka: the consumer has no queue");
    rd_kafka_queue_io_event_enable(c->queue, c->wake_fd, &one, sizeof one);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, c->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(c->rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return code ? assay_err_set(err, ASSAY_E_CONFIG, "kafka: cannot subscribe to %s: %s", c->topic, rd_kafka_err2str(code)) : 0;
}

int bk_consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight, struct assay_err *err)
{
    struct bk_driver *d = bk_self(self);
    if (channel != ASSAY_CHANNEL_WORK && channel != ASSAY_CHANNEL_RESULTS)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "kafka: dead letters are only written");
    if (in_flight == 0 || in_flight > SLOTS_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "kafka: 1 to %zu messages in flight", SLOTS_MAX);
    struct bk_consumer *c = calloc(1, sizeof *c);
    if (!c)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a consumer");
    bool work = channel == ASSAY_CHANNEL_WORK;
    *c = (struct bk_consumer){.d = d, .channel = channel, .topic = work ? d->topic : d->results_topic,
                              .group = work ? d->group : d->results_group, .sink = *sink, .slots = (uint32_t)in_flight};
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->slot = calloc(in_flight, sizeof *c->slot);
    int st = bk_state_init(&c->state, d, work ? "work" : "results", err);
    if (st != 0 || pthread_mutex_init(&c->lock, NULL) != 0) {
        if (c->wake_fd >= 0)
            (void)close(c->wake_fd);
        free(c->slot);
        free(c);
        return st ? st : assay_err_set(err, ASSAY_E_NOMEM, "no lock for a consumer");
    }
    if (c->wake_fd < 0 || !c->slot)
        st = assay_err_set(err, ASSAY_E_NOMEM, "no descriptor or memory for a consumer");
    for (uint32_t i = 0; st == 0 && i < c->slots; i++)
        c->slot[i].next_free = i + 1 < c->slots ? i + 2 : 0;
    c->free_slot = 1;
    if (st == 0)
        st = open_handle(c, err);
    pthread_mutex_lock(&d->lock);
    if (st == 0 && (d->stopped || atomic_load(&d->consumer[channel])))
        st = assay_err_set(err, ASSAY_E_CONFLICT, "kafka: this channel is consumed already");
    if (st == 0) {
        sigset_t all, old;
        atomic_store(&d->consumer[channel], c);
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        if (pthread_create(&c->thread, NULL, run, c) != 0) {
            atomic_store(&d->consumer[channel], NULL);
            st = assay_err_set(err, ASSAY_E_NOMEM, "no thread for a consumer");
        } else {
            c->started = true;
            (void)pthread_setname_np(c->thread, work ? "kafka-work" : "kafka-results");
        }
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    pthread_mutex_unlock(&d->lock);
    if (st != 0)
        bk_consumer_free(c);
    return st;
}
