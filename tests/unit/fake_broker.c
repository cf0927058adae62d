/*
 * Theory of operation.  One thread does what a driver's thread would: it hands ready messages to the sink and calls back
 * for publications, never with the lock held.  A message that is to come more often than it is settled has `extra`
 * deliveries; each taken delivery has a tag of its own.
 */
#include "fake_broker.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <assay/value.h>

#define MESSAGES_MAX 4096
#define TAGS_MAX 16384
#define WAIT_MS 60000

struct message {
    enum assay_channel channel;
    char *key, *body, *reply_to, *correlation, name[32];
    enum fake_state state;
    int deliveries, extra;
    int64_t not_before_ns;
};
struct tag {
    size_t message;
    bool open;    /* delivered, neither settled nor lost */
    bool settled;
    bool lost;    /* to be told */
};
struct publication {
    struct fake_publication p;
    enum assay_channel channel;
    bool there, told;
    int status;
    assay_published done;
    void *arg;
};

struct fake_broker {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool connected, stop, calling, paused, greedy, confirms_held, quiet;
    unsigned seed;
    struct {
        bool wanted;
        struct assay_broker_sink sink;
        size_t in_flight, open;
    } channel[ASSAY_CHANNELS];
    struct message message[MESSAGES_MAX];
    size_t n_messages;
    struct tag tag[TAGS_MAX];
    size_t n_tags;
    struct publication publication[TAGS_MAX];
    size_t n_publications;
    int refuse, fail, fail_status;
    bool fail_there;
    size_t busy;
    char why[120];
};

static _Noreturn void die(const char *fmt, ...) ASSAY_PRINTF(1, 2);
static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("Bail out! fake_broker: ", stdout);
    vprintf(fmt, ap);
    fputc('\n', stdout);
    va_end(ap);
    fflush(stdout);
    _exit(99);
}

static char *copy(struct assay_str s)
{
    char *z = malloc(s.n + 1);
    if (z == NULL)
        die("no memory");
    if (s.n != 0)
        memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return z;
}

/* ---- the broker's thread --------------------------------------------------------------------------------- */

/* With the lock held; given up while the client is called. */
static bool tell_losses(struct fake_broker *b)
{
    for (size_t i = 0; i < b->n_tags; i++) {
        struct tag *t = &b->tag[i];
        if (!t->lost)
            continue;
        t->lost = false;
        struct assay_broker_sink sink = b->channel[b->message[t->message].channel].sink;
        b->calling = true;
        pthread_mutex_unlock(&b->lock);
        sink.lost(sink.arg, i + 1);
        pthread_mutex_lock(&b->lock);
        b->calling = false;
        return true;
    }
    return false;
}

static bool confirm_one(struct fake_broker *b)
{
    for (size_t i = 0; !b->confirms_held && i < b->n_publications; i++) {
        struct publication *p = &b->publication[i];
        if (p->told)
            continue;
        p->told = true;
        struct assay_err err = {p->status, "the fake broker was told to fail"};
        b->calling = true;
        pthread_mutex_unlock(&b->lock);
        p->done(p->arg, p->status, p->status != 0 ? &err : NULL);
        pthread_mutex_lock(&b->lock);
        b->calling = false;
        return true;
    }
    return false;
}

static bool may_come(const struct fake_broker *b, const struct message *m, int64_t now)
{
    return b->channel[m->channel].wanted && (b->greedy || b->channel[m->channel].open < b->channel[m->channel].in_flight) &&
           now >= m->not_before_ns && (m->state == FAKE_READY || m->extra > 0);
}

static bool deliver_one(struct fake_broker *b)
{
    size_t list[MESSAGES_MAX], n = 0;
    int64_t now = assay_mono_ns();
    if (b->paused || b->quiet)
        return false;
    for (size_t i = 0; i < b->n_messages; i++) {
        if (may_come(b, &b->message[i], now))
            list[n++] = i;
    }
    if (n == 0)
        return false;
    size_t at = list[b->seed != 0 ? (size_t)rand_r(&b->seed) % n : 0];
    struct message *m = &b->message[at];
    if (b->n_tags == TAGS_MAX)
        die("too many deliveries");
    uint64_t tag = ++b->n_tags;
    b->tag[tag - 1] = (struct tag){.message = at, .open = true};
    b->channel[m->channel].open++;
    enum fake_state before = m->state;
    bool extra = before != FAKE_READY;
    if (!extra)
        m->state = FAKE_HELD;
    struct assay_message view = {.name = assay_str(m->name), .key = assay_str(m->key), .body = assay_str(m->body),
                                 .reply_to = assay_str(m->reply_to), .correlation = assay_str(m->correlation),
                                 .traceparent = ASSAY_STR(""), .deliveries = m->deliveries + 1};
    struct assay_broker_sink sink = b->channel[m->channel].sink;
    b->calling = true;
    pthread_mutex_unlock(&b->lock);
    int rc = sink.deliver(sink.arg, tag, &view);
    pthread_mutex_lock(&b->lock);
    b->calling = false;
    if (rc == ASSAY_OK) {
        m->deliveries++;
        m->extra -= extra;
    } else {
        if (!b->tag[tag - 1].open)
            die("tag %llu was settled though it was not taken", (unsigned long long)tag);
        b->tag[tag - 1].open = false;
        b->channel[m->channel].open--;
        b->busy++;
        if (!extra)
            m->state = FAKE_READY;
        m->not_before_ns = assay_mono_ns() + 20000000;
    }
    pthread_cond_broadcast(&b->changed);
    return true;
}

static void *work(void *arg)
{
    struct fake_broker *b = arg;
    pthread_mutex_lock(&b->lock);
    while (!b->stop) {
        if (b->connected && (tell_losses(b) || confirm_one(b) || deliver_one(b))) {
            pthread_cond_broadcast(&b->changed);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        (void)pthread_cond_timedwait(&b->changed, &b->lock, &until);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* ---- the driver -------------------------------------------------------------------------------------------- */

static int consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight, struct assay_err *err)
{
    struct fake_broker *b = self;
    (void)err;
    pthread_mutex_lock(&b->lock);
    if (b->channel[channel].wanted)
        die("consume was called twice for a channel");
    b->channel[channel].sink = *sink;
    b->channel[channel].in_flight = in_flight;
    b->channel[channel].wanted = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return ASSAY_OK;
}

static void settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason)
{
    struct fake_broker *b = self;
    (void)reason;
    pthread_mutex_lock(&b->lock);
    struct tag *t = tag != 0 && tag <= b->n_tags ? &b->tag[tag - 1] : NULL;
    if (t != NULL && t->settled)
        die("tag %llu of message %zu was settled twice", (unsigned long long)tag, t->message);
    if (t != NULL && t->open) {
        struct message *m = &b->message[t->message];
        t->open = false;
        t->settled = true;
        b->channel[m->channel].open--;
        if (how != ASSAY_SETTLE_AGAIN)
            m->state = how == ASSAY_SETTLE_DEAD ? FAKE_DEAD : FAKE_DONE;
        else if (m->state == FAKE_HELD)
            m->state = FAKE_READY;
        if (how == ASSAY_SETTLE_AGAIN)
            m->not_before_ns = assay_mono_ns() + 20000000;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
}

static int publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err)
{
    struct fake_broker *b = self;
    int rc = ASSAY_OK;
    pthread_mutex_lock(&b->lock);
    if (!b->connected || b->refuse > 0) {
        b->refuse -= b->refuse > 0;
        rc = assay_err_set(err, ASSAY_E_BUSY, "the fake broker was told to refuse");
    } else {
        if (b->n_publications == TAGS_MAX)
            die("too many publications");
        struct publication *x = &b->publication[b->n_publications++];
        *x = (struct publication){.channel = p->channel, .there = true, .done = done, .arg = arg};
        x->p = (struct fake_publication){assay_str(copy(p->key)), {copy(p->body), p->body.n}, assay_str(copy(p->reply_to)),
                                         assay_str(copy(p->correlation)), p->answers};
        if (b->fail > 0) {
            b->fail--;
            x->status = b->fail_status;
            x->there = b->fail_there;
        }
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static void quiet(void *self)
{
    struct fake_broker *b = self;
    pthread_mutex_lock(&b->lock);
    b->quiet = true;
    pthread_mutex_unlock(&b->lock);
}

static int health(void *self, struct assay_err *err)
{
    struct fake_broker *b = self;
    pthread_mutex_lock(&b->lock);
    int rc = b->why[0] != '\0' ? assay_err_set(err, ASSAY_E_IO, "%s", b->why) : ASSAY_OK;
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static const struct assay_broker_ops ops = {
    .size = sizeof ops, .consume = consume, .settle = settle, .publish = publish, .quiet = quiet, .health = health};

struct assay_broker fake_broker_lend(struct fake_broker *b)
{
    return (struct assay_broker){&ops, b};
}

/* ---- its life ------------------------------------------------------------------------------------------------ */

struct fake_broker *fake_broker_new(void)
{
    struct fake_broker *b = calloc(1, sizeof *b);
    if (b == NULL)
        die("no memory");
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    if (pthread_create(&b->thread, NULL, work, b) != 0)
        die("no thread");
    return b;
}

void fake_broker_free(struct fake_broker *b)
{
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    for (size_t i = 0; i < b->n_messages; i++) {
        free(b->message[i].key);
        free(b->message[i].body);
        free(b->message[i].reply_to);
        free(b->message[i].correlation);
    }
    for (size_t i = 0; i < b->n_publications; i++) {
        const struct assay_str text[] = {b->publication[i].p.key, b->publication[i].p.body, b->publication[i].p.reply_to,
                                         b->publication[i].p.correlation};
        for (size_t k = 0; k < 4; k++)
            free((void *)(uintptr_t)text[k].p);
    }
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void fake_broker_connect(struct fake_broker *b)
{
    pthread_mutex_lock(&b->lock);
    b->connected = true;
    b->quiet = false;
    pthread_mutex_unlock(&b->lock);
}

void fake_broker_disconnect(struct fake_broker *b)
{
    pthread_mutex_lock(&b->lock);
    b->connected = false;
    while (b->calling)
        pthread_cond_wait(&b->changed, &b->lock);
    for (size_t i = 0; i < b->n_tags; i++)
        b->tag[i].open = b->tag[i].lost = false;
    for (size_t i = 0; i < b->n_messages; i++) {
        if (b->message[i].state == FAKE_HELD)
            b->message[i].state = FAKE_READY;
    }
    for (size_t i = 0; i < b->n_publications; i++)
        b->publication[i].told = true;
    memset(b->channel, 0, sizeof b->channel);
    pthread_mutex_unlock(&b->lock);
}

/* ---- what tests do to it ---------------------------------------------------------------------------------------- */

size_t fake_broker_send_from(struct fake_broker *b, enum assay_channel channel, const char *key, const char *body,
                             const char *reply_to, const char *correlation)
{
    pthread_mutex_lock(&b->lock);
    if (b->n_messages == MESSAGES_MAX)
        die("too many messages");
    size_t at = b->n_messages;
    struct message *m = &b->message[at];
    *m = (struct message){.channel = channel, .key = copy(assay_str(key)), .body = copy(assay_str(body)),
                          .reply_to = copy(assay_str(reply_to)), .correlation = copy(assay_str(correlation))};
    snprintf(m->name, sizeof m->name, "fake:0:%zu", at);
    b->n_messages++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return at;
}

size_t fake_broker_send(struct fake_broker *b, enum assay_channel channel, const char *key, const char *body)
{
    return fake_broker_send_from(b, channel, key, body, "", "");
}

#define SET(statement)                                                                                                 \
    do {                                                                                                               \
        pthread_mutex_lock(&b->lock);                                                                                  \
        statement;                                                                                                     \
        pthread_cond_broadcast(&b->changed);                                                                           \
        pthread_mutex_unlock(&b->lock);                                                                                \
    } while (0)

void fake_broker_pause(struct fake_broker *b, bool paused)
{
    SET(b->paused = paused);
}
void fake_broker_greedy(struct fake_broker *b)
{
    SET(b->greedy = true);
}
void fake_broker_shuffle(struct fake_broker *b, unsigned seed)
{
    SET(b->seed = seed != 0 ? seed : 1);
}
void fake_broker_repeat(struct fake_broker *b, size_t message)
{
    SET(b->message[message].extra++);
}
void fake_broker_refuse(struct fake_broker *b, int n)
{
    SET(b->refuse = n);
}
void fake_broker_fail(struct fake_broker *b, int n, int status, bool there)
{
    SET((b->fail = n, b->fail_status = status, b->fail_there = there));
}
void fake_broker_hold_confirms(struct fake_broker *b, bool held)
{
    SET(b->confirms_held = held);
}
void fake_broker_sick(struct fake_broker *b, const char *why)
{
    SET((void)snprintf(b->why, sizeof b->why, "%s", why != NULL ? why : ""));
}

void fake_broker_lose(struct fake_broker *b, size_t message, bool come_again)
{
    pthread_mutex_lock(&b->lock);
    struct message *m = &b->message[message];
    for (size_t i = 0; i < b->n_tags; i++) {
        struct tag *t = &b->tag[i];
        if (t->message == message && t->open) {
            t->open = false;
            t->lost = true;
            b->channel[m->channel].open--;
        }
    }
    if (m->state == FAKE_HELD)
        m->state = come_again ? FAKE_READY : FAKE_DONE;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

#define GET(type, expression)                                                                                          \
    pthread_mutex_lock(&b->lock);                                                                                      \
    type got = (expression);                                                                                           \
    pthread_mutex_unlock(&b->lock);                                                                                    \
    return got

static size_t published(const struct fake_broker *b, enum assay_channel channel)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_publications; i++)
        n += b->publication[i].channel == channel && b->publication[i].there;
    return n;
}

size_t fake_broker_published(struct fake_broker *b, enum assay_channel channel)
{
    GET(size_t, published(b, channel));
}
enum fake_state fake_broker_state(struct fake_broker *b, size_t message)
{
    GET(enum fake_state, b->message[message].state);
}
int fake_broker_deliveries(struct fake_broker *b, size_t message)
{
    GET(int, b->message[message].deliveries);
}
size_t fake_broker_busy(struct fake_broker *b)
{
    GET(size_t, b->busy);
}
bool fake_broker_quiet(struct fake_broker *b)
{
    GET(bool, b->quiet);
}

const struct fake_publication *fake_broker_publication(struct fake_broker *b, enum assay_channel channel, size_t n)
{
    const struct fake_publication *p = NULL;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; p == NULL && i < b->n_publications; i++) {
        const struct publication *x = &b->publication[i];
        if (x->channel == channel && x->there && n-- == 0)
            p = &x->p;
    }
    pthread_mutex_unlock(&b->lock);
    if (p == NULL)
        die("there is no such publication");
    return p;
}

/* ---- waits ---------------------------------------------------------------------------------------------------------- */

#define WAIT(condition, ...)                                                                                           \
    do {                                                                                                               \
        int64_t until_ = assay_mono_ns() + (int64_t)WAIT_MS * 1000000;                                                 \
        pthread_mutex_lock(&b->lock);                                                                                  \
        while (!(condition)) {                                                                                         \
            if (assay_mono_ns() > until_)                                                                              \
                die(__VA_ARGS__);                                                                                      \
            struct timespec t_;                                                                                        \
            clock_gettime(CLOCK_REALTIME, &t_);                                                                        \
            t_.tv_sec++;                                                                                               \
            (void)pthread_cond_timedwait(&b->changed, &b->lock, &t_);                                                  \
        }                                                                                                              \
        pthread_mutex_unlock(&b->lock);                                                                                \
    } while (0)

void fake_broker_wait_published(struct fake_broker *b, enum assay_channel channel, size_t n)
{
    WAIT(published(b, channel) >= n, "%zu publications came, not %zu", published(b, channel), n);
}
void fake_broker_wait_settled(struct fake_broker *b, size_t message)
{
    WAIT(b->message[message].state == FAKE_DONE || b->message[message].state == FAKE_DEAD, "message %zu was never settled", message);
}
static bool idle(const struct fake_broker *b)
{
    bool none = !b->calling;
    for (size_t c = 0; c < ASSAY_CHANNELS; c++)
        none = none && b->channel[c].open == 0;
    for (size_t i = 0; i < b->n_messages; i++)
        none = none && b->message[i].extra <= 0 && b->message[i].state != FAKE_READY && b->message[i].state != FAKE_HELD;
    return none;
}

void fake_broker_wait_idle(struct fake_broker *b)
{
    WAIT(idle(b), "deliveries stayed unsettled");
}
void fake_broker_wait_taken(struct fake_broker *b, size_t message, int deliveries)
{
    WAIT(b->message[message].deliveries >= deliveries, "message %zu was never taken", message);
}
