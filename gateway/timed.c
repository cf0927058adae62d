/* Operations of drivers, timed. Each wrapper is the driver's operation between two looks at the clock. */
#include "gateway/timed.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <assay/value.h>

#define MAGIC 0x74696d65u /* "time" */
#define BROKERS 8

struct timed_broker {
    struct assay_timed *t;
    const char *name;
    struct assay_broker real;
    struct assay_broker_ops ops;
};

struct assay_timed {
    unsigned magic;
    struct assay_metrics *m;
    struct assay_store store;
    struct assay_store_ops store_ops;
    struct assay_blobs blobs;
    struct assay_blob_ops blob_ops;
    struct timed_broker broker[BROKERS];
    size_t n_brokers;
};

static const double seconds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 0};
enum { M_STORE, M_BLOB, M_PUBLISH };
static const struct assay_metric metric[] = {
    [M_STORE] = {"assay_store_operation_seconds", ASSAY_METRIC_HISTOGRAM,
                 "Time of a service's call of the store: query, events, write (until it is durable).", "operation", seconds},
    [M_BLOB] = {"assay_blob_operation_seconds", ASSAY_METRIC_HISTOGRAM,
                "Time of a service's call of the blobs, by what came of it: ok, absent, failed.", "operation,outcome", seconds},
    [M_PUBLISH] = {"assay_broker_publish_seconds", ASSAY_METRIC_HISTOGRAM,
                   "From a publication's hand-over to the broker's word on it: ok, gone (never to be accepted), failed.",
                   "broker,channel,outcome", seconds},
};

static struct assay_timed *check(void *self)
{
    struct assay_timed *t = self;
    assert(t != NULL && t->magic == MAGIC);
    return t;
}

/* ---- the store ----------------------------------------------------------------------------------- */

static void stored(struct assay_timed *t, const char *operation, int64_t begun_ns)
{
    assay_metrics_observe(t->m, &metric[M_STORE], &operation, (double)(assay_mono_ns() - begun_ns) / 1e9);
}

static int store_migrate(void *self, const char *component, const struct assay_migration *m, size_t n, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    return t->store.ops->migrate(t->store.self, component, m, n, err);
}

static int store_prepare(void *self, const struct assay_stmt *const *stmts, size_t n, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    return t->store.ops->prepare(t->store.self, stmts, n, err);
}

static int store_start(void *self, void (*committed)(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n), void *arg,
                       struct assay_err *err)
{
    struct assay_timed *t = check(self);
    return t->store.ops->start(t->store.self, committed, arg, err);
}

struct write { /* lives in its transaction's arena */
    struct assay_timed *t;
    assay_tx_done done;
    void *arg;
    int64_t begun_ns;
};

static void written(struct assay_tx *tx, void *arg)
{
    const struct write *w = arg;
    stored(w->t, "write", w->begun_ns);
    w->done(tx, w->arg);
}

static int store_exec_async(void *self, struct assay_tx *tx, assay_tx_done done, void *arg, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    struct write *w = assay_arena_alloc(tx->arena, sizeof *w);
    if (w == NULL) /* it is done, and not counted */
        return t->store.ops->exec_async(t->store.self, tx, done, arg, err);
    *w = (struct write){t, done, arg, assay_mono_ns()};
    return t->store.ops->exec_async(t->store.self, tx, written, w, err);
}

static int store_exec(void *self, struct assay_tx *tx, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    int64_t begun = assay_mono_ns();
    int rc = t->store.ops->exec(t->store.self, tx, err);
    stored(t, "write", begun);
    return rc;
}

static int store_query(void *self, const struct assay_stmt *stmt, const struct assay_val *args, size_t n, struct assay_arena *arena,
                       struct assay_rows *out, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    int64_t begun = assay_mono_ns();
    int rc = t->store.ops->query(t->store.self, stmt, args, n, arena, out, err);
    stored(t, "query", begun);
    return rc;
}

static int store_events(void *self, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                        struct assay_event_row **out, size_t *n, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    int64_t begun = assay_mono_ns();
    int rc = t->store.ops->events(t->store.self, after, topics, max, arena, out, n, err);
    stored(t, "events", begun);
    return rc;
}

static int store_events_head(void *self, int64_t *seq, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    return t->store.ops->events_head(t->store.self, seq, err);
}

static int store_cursor_get(void *self, struct assay_str group, int64_t *seq, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    return t->store.ops->cursor_get(t->store.self, group, seq, err);
}

static void store_stop(void *self)
{
    struct assay_timed *t = check(self);
    t->store.ops->stop(t->store.self);
}

static int store_health(void *self, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    return t->store.ops->health(t->store.self, err);
}

struct assay_store assay_timed_store(struct assay_timed *t, struct assay_store of)
{
    check(t);
    assert(t->store.ops == NULL || t->store.self == of.self);
    t->store = of;
    t->store_ops = (struct assay_store_ops){
        .size = sizeof t->store_ops,
        .migrate = store_migrate,
        .prepare = store_prepare,
        .start = store_start,
        .exec_async = store_exec_async,
        .exec = store_exec,
        .query = store_query,
        .events = store_events,
        .events_head = store_events_head,
        .cursor_get = store_cursor_get,
        .stop = store_stop,
        .health = store_health,
    };
    return (struct assay_store){&t->store_ops, t};
}

/* ---- blobs --------------------------------------------------------------------------------------- */

static int blob_done(struct assay_timed *t, const char *operation, int64_t begun_ns, int rc)
{
    const char *label[] = {operation, rc >= 0 ? "ok" : rc == ASSAY_E_NOT_FOUND ? "absent" : "failed"};
    assay_metrics_observe(t->m, &metric[M_BLOB], label, (double)(assay_mono_ns() - begun_ns) / 1e9);
    return rc;
}

static int blob_put(void *self, struct assay_str name, struct assay_str bytes, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    int64_t begun = assay_mono_ns();
    return blob_done(t, "put", begun, t->blobs.ops->put(t->blobs.self, name, bytes, err));
}

static int blob_get(void *self, struct assay_str name, size_t max, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    int64_t begun = assay_mono_ns();
    return blob_done(t, "get", begun, t->blobs.ops->get(t->blobs.self, name, max, arena, out, err));
}

static int blob_stat(void *self, struct assay_str name, int64_t *bytes, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    int64_t begun = assay_mono_ns();
    return blob_done(t, "stat", begun, t->blobs.ops->stat(t->blobs.self, name, bytes, err));
}

static int blob_del(void *self, struct assay_str name, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    int64_t begun = assay_mono_ns();
    return blob_done(t, "delete", begun, t->blobs.ops->del(t->blobs.self, name, err));
}

static int blob_health(void *self, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    return t->blobs.ops->health(t->blobs.self, err);
}

static int blob_presign(void *self, struct assay_str name, const char *method, int64_t expires_s, struct assay_str content_type,
                        struct assay_buf *out, struct assay_err *err)
{
    struct assay_timed *t = check(self);
    return t->blobs.ops->presign(t->blobs.self, name, method, expires_s, content_type, out, err);
}

struct assay_blobs assay_timed_blobs(struct assay_timed *t, struct assay_blobs of)
{
    check(t);
    assert(t->blobs.ops == NULL || t->blobs.self == of.self);
    const size_t with_presign = offsetof(struct assay_blob_ops, presign) + sizeof of.ops->presign;
    t->blobs = of;
    t->blob_ops = (struct assay_blob_ops){
        .size = sizeof t->blob_ops,
        .put = blob_put,
        .get = blob_get,
        .stat = blob_stat,
        .del = blob_del,
        .health = of.ops->health != NULL ? blob_health : NULL,
        .presign = of.ops->size >= with_presign && of.ops->presign != NULL ? blob_presign : NULL,
    };
    return (struct assay_blobs){&t->blob_ops, t};
}

/* ---- brokers ------------------------------------------------------------------------------------- */

static const char *channel_name(enum assay_channel c)
{
    static const char *const name[ASSAY_CHANNELS] = {"work", "results", "dead"};
    return (unsigned)c < ASSAY_CHANNELS ? name[c] : "other";
}

static int broker_consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight,
                          struct assay_err *err)
{
    const struct timed_broker *b = self;
    return b->real.ops->consume(b->real.self, channel, sink, in_flight, err);
}

static void broker_settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason)
{
    const struct timed_broker *b = self;
    b->real.ops->settle(b->real.self, tag, how, reason);
}

struct publication {
    const struct timed_broker *b;
    enum assay_channel channel;
    assay_published done;
    void *arg;
    int64_t begun_ns;
};

static void published(void *arg, int status, const struct assay_err *err)
{
    struct publication *p = arg;
    const struct timed_broker *b = p->b;
    const char *label[] = {b->name, channel_name(p->channel), status >= 0 ? "ok" : status == ASSAY_E_GONE ? "gone" : "failed"};
    assay_metrics_observe(b->t->m, &metric[M_PUBLISH], label, (double)(assay_mono_ns() - p->begun_ns) / 1e9);
    assay_published done = p->done;
    void *its = p->arg;
    free(p);
    done(its, status, err);
}

static int broker_publish(void *self, const struct assay_publication *what, assay_published done, void *arg, struct assay_err *err)
{
    const struct timed_broker *b = self;
    struct publication *p = malloc(sizeof *p);
    if (p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a publication");
    *p = (struct publication){b, what->channel, done, arg, assay_mono_ns()};
    int rc = b->real.ops->publish(b->real.self, what, published, p, err);
    if (rc < 0)
        free(p); /* then it is not called */
    return rc;
}

static void broker_quiet(void *self)
{
    const struct timed_broker *b = self;
    b->real.ops->quiet(b->real.self);
}

static int broker_health(void *self, struct assay_err *err)
{
    const struct timed_broker *b = self;
    return b->real.ops->health(b->real.self, err);
}

static int broker_fetch(void *self, struct assay_str ref, size_t max, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    const struct timed_broker *b = self;
    return b->real.ops->fetch(b->real.self, ref, max, arena, out, err);
}

int assay_timed_broker(struct assay_timed *t, const char *name, struct assay_broker of, struct assay_broker *out, struct assay_err *err)
{
    check(t);
    for (size_t i = 0; i < t->n_brokers; i++)
        if (strcmp(t->broker[i].name, name) == 0) {
            *out = (struct assay_broker){&t->broker[i].ops, &t->broker[i]};
            return 0;
        }
    if (t->n_brokers == BROKERS)
        return assay_err_set(err, ASSAY_E_BUSY, "more than %d brokers", BROKERS);
    struct timed_broker *b = &t->broker[t->n_brokers++];
    const size_t with_fetch = offsetof(struct assay_broker_ops, fetch) + sizeof of.ops->fetch;
    *b = (struct timed_broker){.t = t, .name = name, .real = of, .ops = {
        .size = sizeof b->ops,
        .consume = broker_consume,
        .settle = broker_settle,
        .publish = broker_publish,
        .quiet = broker_quiet,
        .health = broker_health,
        .fetch = of.ops->size >= with_fetch && of.ops->fetch != NULL ? broker_fetch : NULL,
    }};
    *out = (struct assay_broker){&b->ops, b};
    return 0;
}

/* ---- life ---------------------------------------------------------------------------------------- */

struct assay_timed *assay_timed_new(struct assay_metrics *m, struct assay_err *err)
{
    struct assay_timed *t = calloc(1, sizeof *t);
    if (t == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        return NULL;
    }
    t->magic = MAGIC;
    t->m = m;
    if (assay_metrics_register(m, (struct assay_table)ASSAY_TABLE(metric), err) != 0) {
        assay_timed_free(t);
        return NULL;
    }
    return t;
}

void assay_timed_free(struct assay_timed *t)
{
    if (t == NULL)
        return;
    check(t);
    t->magic = 0;
    free(t);
}
