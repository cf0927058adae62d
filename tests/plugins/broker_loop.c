/*
 * A broker in one process, for the tests of assay simulate: what is published as work is answered at once with
 * the status that an option names, and the third message meets a fault.
 *
 * publish runs on the caller's thread; confirmations and results come on the one thread of the driver, in the
 * order of publishing, as a real driver gives them.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <assay/broker.h>
#include <assay/plugin.h>

#define BODY_MAX 65536

struct work {
    struct work *next;
    assay_published done;
    void *arg;
    char id[300];
    size_t body_n;
};

struct loop {
    const struct assay_host *host;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t more;
    pthread_t thread;
    bool running, stop;
    struct assay_broker_sink sink;
    struct work *first, **end;
    int64_t count, tags, settled, busy;
};

static const struct assay_option options[] = {
    {.name = "loop_status", .env = "LOOP_STATUS", .type = ASSAY_OPT_STRING, .default_text = "OK", .help = "What comes of everything."},
    {.name = "loop_fault", .type = ASSAY_OPT_CHOICE, .choices = "none|lose|double|repeat|wrong|again|refuse|busy|foreign|garbage|error",
     .default_text = "none", .help = "What happens to the third message."},
    {.name = "loop_delay", .type = ASSAY_OPT_DURATION, .default_text = "0", .min = 0, .max = 60000, .help = "How long judging takes."},
};

static bool fault(const struct loop *l, const char *name)
{
    return strcmp(l->host->option_str(l->host->ctx, "loop_fault"), name) == 0;
}

static void result(struct loop *l, const char *id, const char *status, int event)
{
    char body[1000];
    struct assay_message m = {.name = ASSAY_STR("results:0:1")};

    if (strcmp(status, "error") == 0)
        snprintf(body, sizeof body, "{\"id\":\"%s\",\"error\":\"no such language\",\"timestamp\":\"2026-11-28T00:00:00Z\"}", id);
    else if (strcmp(status, "garbage") == 0)
        snprintf(body, sizeof body, "{\"id\":");
    else
        snprintf(body, sizeof body, "{\"id\":\"%s\",\"status\":\"%s\",\"exit_code\":0,\"event_id\":\"%s-%d\"}", id, status, id, event);
    m.body = assay_str(body);
    if (l->sink.deliver(l->sink.arg, (uint64_t)++l->tags, &m) != ASSAY_OK)
        abort();
}

static void answer(struct loop *l, struct work *w)
{
    const char *status = l->host->option_str(l->host->ctx, "loop_status");
    int64_t n = ++l->count;

    if (n == 3 && fault(l, "again")) { /* it arrived, and the confirmation did not */
        result(l, w->id, status, 1);
        w->done(w->arg, ASSAY_E_TIMEOUT, NULL);
        return;
    }
    if (n == 3 && fault(l, "refuse")) {
        struct assay_err err = {.code = ASSAY_E_GONE, .msg = "larger than the broker takes"};
        w->done(w->arg, ASSAY_E_GONE, &err);
        return;
    }
    w->done(w->arg, ASSAY_OK, NULL);
    if (n == 3 && fault(l, "lose"))
        return;
    if (n == 3 && fault(l, "error")) {
        result(l, w->id, "error", 1);
        return;
    }
    if (n == 3 && fault(l, "garbage"))
        result(l, w->id, "garbage", 1);
    if (n == 3 && fault(l, "foreign"))
        result(l, "somebody-else-1", "OK", 1);
    result(l, w->id, n == 3 && fault(l, "wrong") ? "RE" : status, 1);
    if (n == 3 && (fault(l, "double") || fault(l, "repeat")))
        result(l, w->id, status, fault(l, "repeat") ? 1 : 2);
}

static void *run(void *arg)
{
    struct loop *l = arg;
    int64_t delay = l->host->option_int(l->host->ctx, "loop_delay");

    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        struct work *w = l->first;
        if (w == NULL) {
            pthread_cond_wait(&l->more, &l->lock);
            continue;
        }
        l->first = w->next;
        if (l->first == NULL)
            l->end = &l->first;
        pthread_mutex_unlock(&l->lock);
        struct timespec t = {delay / 1000, delay % 1000 * 1000000};
        nanosleep(&t, NULL);
        answer(l, w);
        free(w);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct loop *l = calloc(1, sizeof *l);

    *self = l;
    if (l == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    l->host = host;
    l->end = &l->first;
    if (pthread_mutex_init(&l->lock, NULL) != 0 || pthread_cond_init(&l->more, NULL) != 0)
        abort();
    return ASSAY_OK;
}

static int consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight, struct assay_err *err)
{
    struct loop *l = self;

    (void)in_flight;
    if (channel != ASSAY_CHANNEL_RESULTS)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "only results come out of the loop");
    l->sink = *sink;
    l->running = pthread_create(&l->thread, NULL, run, l) == 0;
    return l->running ? ASSAY_OK : assay_err_set(err, ASSAY_E_NOMEM, "no thread");
}

static void settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason)
{
    struct loop *l = self;

    (void)tag, (void)reason;
    l->settled += how == ASSAY_SETTLE_DONE;
}

static int publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err)
{
    struct loop *l = self;

    if (p->channel != ASSAY_CHANNEL_WORK || p->key.n == 0 || p->key.n >= sizeof((struct work *)0)->id || p->body.n > BODY_MAX)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "not taken");
    pthread_mutex_lock(&l->lock);
    bool busy = fault(l, "busy") && ++l->busy % 2 == 0;
    pthread_mutex_unlock(&l->lock);
    if (busy)
        return assay_err_set(err, ASSAY_E_BUSY, "too many under way");
    struct work *w = calloc(1, sizeof *w);
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    *w = (struct work){.done = done, .arg = arg, .body_n = p->body.n};
    snprintf(w->id, sizeof w->id, "%.*s", ASSAY_FMT(p->key));
    pthread_mutex_lock(&l->lock);
    *l->end = w;
    l->end = &w->next;
    pthread_cond_signal(&l->more);
    pthread_mutex_unlock(&l->lock);
    return ASSAY_OK;
}

static void quiet(void *self)
{
    (void)self;
}

static int health(void *self, struct assay_err *err)
{
    (void)self;
    return assay_err_set(err, ASSAY_E_IO, "the loop is only a loop");
}

static void fini(void *self)
{
    struct loop *l = self;

    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->more);
    pthread_mutex_unlock(&l->lock);
    if (l->running)
        pthread_join(l->thread, NULL);
    if (l->settled != l->tags)
        fprintf(stderr, "broker_loop: %lld of %lld messages settled\n", (long long)l->settled, (long long)l->tags);
    while (l->first != NULL) {
        struct work *w = l->first;
        l->first = w->next;
        free(w);
    }
    pthread_cond_destroy(&l->more);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static const struct assay_broker_ops ops = {.size = sizeof ops, .consume = consume, .settle = settle, .publish = publish, .quiet = quiet,
                                            .health = health};

ASSAY_PLUGIN_EXPORT const struct assay_plugin assay_plugin = {ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_BROKER),
    .name = "broker_loop", .version = "1", .summary = "answers what it is given", .options = ASSAY_TABLE(options), .driver = &ops,
    .init = init, .fini = fini};
