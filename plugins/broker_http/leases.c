/* Leases: asking for them, renewing them, and hearing that they are gone. */
#include "local.h"

#include <stdio.h>

#define REST_STEP_MS 50

struct given_job {
    struct assay_str submission_id, script, traceparent;
    int64_t fence, attempt;
};
struct given {
    int64_t lease_ms;
    struct assay_json_array jobs;
};
struct told {
    struct assay_str submission_id;
    int64_t fence;
    int state;
};
struct answer {
    struct assay_json_array leases;
};
static const char *const states[] = {"held", "cancelled", "lost", NULL};

#define ROW(st, name_, type_, member, ...)                                                                             \
    {                                                                                                                  \
        .name = (name_), .type = (type_), .offset = offsetof(struct st, member), .has_offset = -1, __VA_ARGS__         \
    }
#define REST {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1}, {.name = NULL}

static const struct assay_json_field job_fields[] = {
    ROW(given_job, "submission_id", ASSAY_JSON_STRING, submission_id, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = ASSAY_ID_SIZE - 1),
    ROW(given_job, "fence", ASSAY_JSON_INT, fence, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 9e15),
    ROW(given_job, "attempt", ASSAY_JSON_INT, attempt, .min = 1, .max = 9e15),
    ROW(given_job, "script", ASSAY_JSON_RAW, script, .flags = ASSAY_JSON_REQUIRED, .max = 64 << 20),
    ROW(given_job, "traceparent", ASSAY_JSON_STRING, traceparent, .max = 256),
    REST};
static const struct assay_json_field given_fields[] = {
    ROW(given, "lease_ms", ASSAY_JSON_INT, lease_ms, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 86400e3),
    ROW(given, "jobs", ASSAY_JSON_ARRAY, jobs, .flags = ASSAY_JSON_REQUIRED, .max = BH_ASK_MAX, .fields = job_fields, .elem_size = sizeof(struct given_job)),
    REST};
static const struct assay_json_field told_fields[] = {
    ROW(told, "submission_id", ASSAY_JSON_STRING, submission_id, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    ROW(told, "fence", ASSAY_JSON_INT, fence, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 9e15),
    ROW(told, "state", ASSAY_JSON_ENUM, state, .flags = ASSAY_JSON_REQUIRED, .names = states),
    REST};
static const struct assay_json_field answer_fields[] = {
    ROW(answer, "leases", ASSAY_JSON_ARRAY, leases, .flags = ASSAY_JSON_REQUIRED, .max = BH_LEASES_MAX, .fields = told_fields, .elem_size = sizeof(struct told)),
    REST};
static const struct assay_json_limits deep = {BH_ANSWER_MAX, 48};

struct bh_lease *bh_find(struct bh_driver *d, uint64_t tag)
{
    for (size_t i = 0; tag != 0 && i < BH_LEASES_MAX; i++) {
        if (d->lease[i].tag == tag)
            return &d->lease[i];
    }
    return NULL;
}

void bh_forget(struct bh_driver *d, uint64_t tag)
{
    pthread_mutex_lock(&d->lock);
    struct bh_lease *l = bh_find(d, tag);
    if (l != NULL) {
        *l = (struct bh_lease){.tag = 0};
        d->n_leases--;
        pthread_cond_broadcast(&d->cond);
    }
    pthread_mutex_unlock(&d->lock);
}

static uint64_t enter(struct bh_driver *d, const struct given_job *g)
{
    uint64_t tag = 0;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < BH_LEASES_MAX && tag == 0; i++) {
        struct bh_lease *l = &d->lease[i];
        if (l->tag != 0)
            continue;
        *l = (struct bh_lease){.tag = tag = ++d->next_tag, .fence = g->fence};
        memcpy(l->id, g->submission_id.p, g->submission_id.n);
        d->n_leases++;
    }
    pthread_mutex_unlock(&d->lock);
    atomic_store(&d->fresh, true);
    return tag;
}

/* Offers it until it is taken, lost meanwhile, or the end has come; then it goes back. */
static void offer(struct bh_driver *d, const struct given_job *g)
{
    char name[120];
    uint64_t tag = enter(d, g);
    int n = snprintf(name, sizeof name, "http:%.*s:%lld", ASSAY_FMT(g->submission_id), (long long)g->fence);
    struct assay_message m = {.name = {name, (size_t)n},
                              .key = g->submission_id,
                              .body = g->script,
                              .reply_to = ASSAY_STR(""),
                              .correlation = ASSAY_STR(""),
                              .traceparent = g->traceparent.p != NULL ? g->traceparent : ASSAY_STR(""),
                              .deliveries = g->attempt};
    while (tag != 0 && !atomic_load(&d->stop) && !atomic_load(&d->quiet)) {
        if (d->sink.deliver(d->sink.arg, tag, &m) == ASSAY_OK)
            return;
        bh_sleep(d, 200);
        pthread_mutex_lock(&d->lock);
        const struct bh_lease *l = bh_find(d, tag);
        bool lost = l == NULL || l->told;
        pthread_mutex_unlock(&d->lock);
        if (lost) {
            bh_forget(d, tag);
            return;
        }
    }
    bh_settle(d, tag, ASSAY_SETTLE_AGAIN, ASSAY_STR("the runner is stopping"));
}

static int ask_body(struct bh_driver *d, size_t max, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_jw_object(w);
    assay_jw_kint(w, "max", (int64_t)max);
    assay_jw_kint(w, "wait_s", BH_WAIT_S);
    if (d->languages.n != 0) {
        assay_jw_key(w, "languages");
        assay_jw_array(w);
        for (size_t i = 0; i < d->languages.n; i++)
            assay_jw_str(w, d->languages.items[i]);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_buf_reset(out);
    return assay_jw_finish(w, out, err);
}

/* Waits until there is room; 0 at the end. */
static size_t room(struct bh_driver *d)
{
    pthread_mutex_lock(&d->lock);
    while (d->n_leases >= d->in_flight && !atomic_load(&d->stop) && !atomic_load(&d->quiet))
        pthread_cond_wait(&d->cond, &d->lock);
    size_t n = d->n_leases < d->in_flight ? d->in_flight - d->n_leases : 0;
    pthread_mutex_unlock(&d->lock);
    return atomic_load(&d->stop) || atomic_load(&d->quiet) ? 0 : n < BH_ASK_MAX ? n : BH_ASK_MAX;
}

static int ask(struct bh_driver *d, struct bh_call *c, size_t max, struct assay_buf *body, struct assay_buf *out, struct assay_err *err)
{
    char path[200];
    struct given g;
    memset(&g, 0, sizeof g);
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(2 * BH_ANSWER_MAX);
    (void)snprintf(path, sizeof path, "/agents/%s/lease", d->agent);
    int rc = arena != NULL ? ask_body(d, max, body, err) : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (rc < 0)
        return rc;
    struct assay_str text = assay_buf_view(body);
    rc = bh_call(c, path, &text, (BH_WAIT_S + 20) * 1000, BH_ANSWER_MAX, out, err);
    if (rc != 200)
        return rc;
    int bad = assay_json_decode(assay_buf_view(out), given_fields, &g, &deep, arena, NULL, err);
    if (bad < 0)
        return assay_err_set(err, ASSAY_E_IO, "the gateway's answer is none: %.120s", err->msg);
    pthread_mutex_lock(&d->lock);
    d->lease_ms = g.lease_ms;
    pthread_mutex_unlock(&d->lock);
    const struct given_job *job = g.jobs.items;
    bh_trouble(d, "lease", 200, err);
    for (size_t i = 0; i < g.jobs.n; i++)
        offer(d, &job[i]);
    return rc;
}

void *bh_lease_main(void *driver)
{
    struct bh_driver *d = driver;
    struct assay_err err;
    struct bh_call *c = bh_call_new(d, &err);
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    int64_t delay = 200;
    for (size_t n; c != NULL && (n = room(d)) != 0;) {
        int rc = ask(d, c, n, &body, &out, &err);
        if (rc == 200) {
            delay = 200;
            continue;
        }
        bh_trouble(d, "lease", rc, &err);
        bh_sleep(d, delay);
        delay = delay < 5000 ? delay * 2 : 5000;
    }
    bh_call_free(c);
    return NULL;
}

/* ---- renewing ----------------------------------------------------------------------------------------------- */

static size_t beat_body(struct bh_driver *d, struct bh_lease held[BH_LEASES_MAX], struct assay_buf *out, struct assay_err *err)
{
    size_t n = 0;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < BH_LEASES_MAX; i++) {
        if (d->lease[i].tag != 0 && !d->lease[i].told)
            held[n++] = d->lease[i];
    }
    pthread_mutex_unlock(&d->lock);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_buf_reset(out);
    if (w == NULL)
        return 0;
    assay_jw_object(w);
    assay_jw_kz(w, "status", atomic_load(&d->quiet) ? "draining" : n != 0 ? "busy" : "idle");
    assay_jw_kint(w, "capacity", (int64_t)d->in_flight);
    assay_jw_kint(w, "running", (int64_t)n);
    assay_jw_kz(w, "version", d->host->version != NULL && d->host->version[0] != '\0' ? d->host->version : "unknown");
    assay_jw_key(w, "leases");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        assay_jw_object(w);
        assay_jw_kz(w, "submission_id", held[i].id);
        assay_jw_kint(w, "fence", held[i].fence);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err) < 0 ? 0 : n;
}

/* It is ours no longer; or it was cancelled, and goes back so that the gateway can end it. */
static void lose(struct bh_driver *d, const struct bh_lease *l, bool cancelled)
{
    pthread_mutex_lock(&d->lock);
    struct bh_lease *mine = bh_find(d, l->tag);
    bool tell = mine != NULL && !mine->told;
    if (tell)
        mine->told = true;
    pthread_mutex_unlock(&d->lock);
    if (!tell)
        return;
    assay_log(d->host, ASSAY_LOG_WARN, cancelled ? "lease_cancelled" : "lease_lost", ASSAY_KZ("submission_id", l->id), ASSAY_KI("fence", l->fence));
    d->sink.lost(d->sink.arg, l->tag);
    if (cancelled)
        bh_settle(d, l->tag, ASSAY_SETTLE_AGAIN, ASSAY_STR("cancelled"));
    else
        bh_forget(d, l->tag);
}

/* Until it is time for the next beat, or there is something new. */
static void rest(struct bh_driver *d, int64_t ms)
{
    for (; ms > 0 && !atomic_load(&d->stop) && !atomic_load(&d->fresh); ms -= REST_STEP_MS)
        bh_sleep(d, ms < REST_STEP_MS ? ms : REST_STEP_MS);
}

void *bh_beat_main(void *driver)
{
    struct bh_driver *d = driver;
    struct assay_err err;
    struct bh_call *c = bh_call_new(d, &err);
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    char path[200];
    (void)snprintf(path, sizeof path, "/agents/%s/heartbeat", d->agent);
    while (c != NULL && !atomic_load(&d->stop)) {
        struct bh_lease held[BH_LEASES_MAX];
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct answer a = {.leases = {NULL, 0}};
        atomic_store(&d->fresh, false); /* before the table is read: what comes after is for the next beat */
        size_t n = beat_body(d, held, &body, &err);
        struct assay_str text = assay_buf_view(&body);
        int rc = text.n != 0 && arena != NULL ? bh_call(c, path, &text, 10000, 1 << 20, &out, &err) : ASSAY_E_NOMEM;
        if (rc == 200 && assay_json_decode(assay_buf_view(&out), answer_fields, &a, NULL, arena, NULL, &err) >= 0) {
            const struct told *t = a.leases.items;
            for (size_t i = 0; i < a.leases.n && i < n; i++) {
                if (t[i].state != 0 && assay_str_is(t[i].submission_id, held[i].id) && t[i].fence == held[i].fence)
                    lose(d, &held[i], t[i].state == 1);
            }
        } else if (rc != 200) {
            bh_trouble(d, "heartbeat", rc, &err);
        }
        pthread_mutex_lock(&d->lock);
        int64_t pause = d->lease_ms / 3;
        pthread_mutex_unlock(&d->lock);
        rest(d, rc == 200 ? (pause < 300 ? 300 : pause > 20000 ? 20000 : pause) : 500);
    }
    bh_call_free(c);
    return NULL;
}
