/* The intake: deliveries of brokers, and the steps that they take (theory of operation: intake.h). */
#include "intake.h"

#include <assay/pit.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_MS 200
#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 10000
#define LOOK_AGAIN_MS 30000 /* an end whose event was missed is found so */
#define SWEEP_MS 60000
#define DRAIN_MAX_MS 5000

void intake_count(struct source *from, const char *outcome)
{
    const struct assay_host *host = from->in->s->host;
    const char *labels[] = {from->name, outcome};
    host->metric_add(host->ctx, &submissions_metrics[METRIC_MESSAGES], labels, 1);
}

static int64_t mono_ms(const struct intake *in)
{
    return in->s->host->mono_ns(in->s->host->ctx) / 1000000;
}

void intake_stage(struct entry *e, enum stage stage)
{
    pthread_mutex_lock(&e->from->in->lock);
    e->stage = stage;
    pthread_mutex_unlock(&e->from->in->lock);
}

/* ---- entries --------------------------------------------------------------------------------------------- */

/*
 * The event id of a message: a UUID of version 8 (RFC 9562, 5.8) of the digest of where it stands and what it says, so
 * that every worker gives the same message the same one, whatever store it has.
 */
static void event_id_of(const char *broker, const struct assay_message *m, char out[ASSAY_ID_SIZE])
{
    char hex[ASSAY_SHA256_HEX];
    struct assay_sha256 *h = assay_sha256_new();
    memset(hex, '0', sizeof hex);
    if (h != NULL) {
        assay_sha256_add(h, assay_str(broker));
        assay_sha256_add(h, (struct assay_str){"", 1});
        assay_sha256_add(h, m->name);
        assay_sha256_add(h, (struct assay_str){"", 1});
        assay_sha256_add(h, m->body);
        assay_sha256_end(h, hex);
    }
    hex[12] = '8';
    hex[16] = "89ab"[(hex[16] <= '9' ? hex[16] - '0' : hex[16] - 'a' + 10) & 3];
    (void)snprintf(out, ASSAY_ID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

static void entry_free(struct entry *e)
{
    struct assay_arena *arena = e->arena;
    free(e);
    assay_arena_free(arena);
}

static struct entry *entry_new(struct source *from, const struct assay_message *m)
{
    struct entry *e = calloc(1, sizeof *e);
    struct assay_arena *arena = assay_arena_new(0);
    if (e == NULL || arena == NULL) {
        free(e);
        assay_arena_free(arena);
        return NULL;
    }
    e->arena = arena;
    e->from = from;
    e->due_ms = INT64_MAX;
    e->taken_ns = from->in->s->host->mono_ns(from->in->s->host->ctx);
    const struct assay_str trace = assay_trace_valid(m->traceparent) ? m->traceparent : ASSAY_STR("");
    const struct assay_str *text[] = {&m->name, &m->key, &m->body, &m->reply_to, &m->correlation, &trace};
    struct assay_str *to[] = {&e->name, &e->key, &e->body, &e->reply_to, &e->correlation, &e->traceparent};
    bool ok = true;
    for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
        *to[i] = text[i]->n != 0 ? assay_arena_str(arena, *text[i]) : ASSAY_STR("");
        ok = ok && to[i]->p != NULL;
    }
    if (!ok) {
        entry_free(e);
        return NULL;
    }
    return e;
}

/* With the lock held. */
static void held(struct source *from, bool more)
{
    const struct assay_host *host = from->in->s->host;
    const char *label[] = {from->name};
    from->held += more ? 1 : (size_t)-1;
    host->metric_set(host->ctx, &submissions_metrics[METRIC_HELD], label, (double)from->held);
}

static struct entry *find(struct intake *in, const char *event_id)
{
    for (struct entry *e = in->entries; e != NULL; e = e->next) {
        if (strcmp(e->event_id, event_id) == 0)
            return e;
    }
    return NULL;
}

static void unlink_entry(struct intake *in, struct entry *e)
{
    for (struct entry **p = &in->entries; *p != NULL; p = &(*p)->next) {
        if (*p == e) {
            *p = e->next;
            break;
        }
    }
    held(e->from, false);
}

/* ---- steps -------------------------------------------------------------------------------------------------- */

static void run_entry(void *arg);

/* With the lock held: a worker goes on with it, now or when there is one. */
static void kick(struct intake *in, struct entry *e)
{
    const struct assay_host *host = in->s->host;
    if (e->working) {
        e->again = true;
        return;
    }
    e->working = true;
    e->due_ms = INT64_MAX;
    if (host->offload(host->ctx, run_entry, e) < 0) {
        e->working = false;
        e->due_ms = mono_ms(in) + RETRY_MIN_MS;
    }
}

/* Why a filter cannot be asked for, or NULL. */
static const char *filter_fault(struct submissions *s, const struct assay_script *c, struct assay_arena *arena, char *text, size_t room)
{
    struct assay_err err = {0, ""};
    struct assay_json_faults faults = {.n = 0};
    struct assay_str canonical;
    if (c->language.n != 0 || c->source.n != 0 || c->files.n != 0)
        return "code and a filter cannot be given both";
    if (c->image.n == 0)
        return "the filter has no image";
    int rc = filters_resolve(s, c->filter, arena, &faults, &canonical, &err);
    if (rc >= 0)
        return NULL;
    if (faults.n != 0)
        (void)snprintf(text, room, "filter%.*s: %.*s", ASSAY_FMT(faults.item[0].pointer), ASSAY_FMT(faults.item[0].detail));
    else
        (void)snprintf(text, room, "%.*s", (int)room - 1, err.msg);
    return text;
}

/* Why a script cannot become a submission, or NULL. */
static const char *script_fault(struct submissions *s, const struct assay_script *c, struct assay_arena *arena, struct assay_str *language,
                                char *text, size_t room)
{
    struct assay_err err = {0, ""};
    size_t total = 0;
    if (c->filter.n != 0)
        return filter_fault(s, c, arena, text, room);
    if (c->assay.n != 0 && c->language.n == 0)
        return NULL; /* a gateway's job of which only a payload is judged */
    if (c->assay.n == 0 && c->source.n == 0 && c->files.n == 0)
        return "empty source";
    if (c->source.n != 0 && c->files.n != 0)
        return "source and files cannot be given both";
    for (size_t i = 0; i < c->files.n; i++) {
        const char *fault = draft_path_fault(c->files.items[i].key);
        total += c->files.items[i].value.n;
        if (fault != NULL)
            return fault;
    }
    if (total > ASSAY_SCRIPT_SOURCE_MAX)
        return "the files are too large";
    if (c->language.n == 0)
        return "no language is named";
    int rc = languages_resolve(s, c->language, language, &err);
    if (rc == ASSAY_E_NOT_FOUND)
        (void)snprintf(text, room, "unknown language: %.*s", ASSAY_FMT(c->language));
    else if (rc < 0)
        (void)snprintf(text, room, "%.*s", (int)room - 1, err.msg);
    return rc < 0 ? text : NULL;
}

/* The message is answered with an error and nothing is judged. */
static enum next poison(struct entry *e, struct assay_str id, const char *why, bool dead)
{
    struct assay_err err = {0, ""};
    e->poison = true;
    e->dead = dead;
    intake_count(e->from, "poison");
    assay_log(e->from->in->s->host, ASSAY_LOG_WARN, "intake_poison", ASSAY_KZ("broker", e->from->name), ASSAY_KS("message", e->name),
              ASSAY_KS("id", id), ASSAY_KZ("reason", why));
    if (outlet_error(e, id, why, &err) < 0) {
        e->poison = e->dead = false;
        return NEXT_LATER;
    }
    intake_stage(e, STAGE_PUBLISH);
    return NEXT_NOW;
}

static enum next store(struct entry *e)
{
    struct intake *in = e->from->in;
    struct submissions *s = in->s;
    const struct assay_host *host = s->host;
    struct assay_err err = {0, ""};
    struct assay_script c = {.type = ASSAY_SCRIPT_RUN};
    struct draft d = {.kind = ASSAY_JOB_SCRIPT, .has_payload = true};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    if (arena == NULL)
        return NEXT_LATER;
    struct assay_project p;
    int project = assay_project_decode(e->body, arena, &p, &err);
    if (project == ASSAY_E_NOMEM)
        return NEXT_LATER;
    if (project == ASSAY_E_INVALID) {
        char why[560];
        (void)snprintf(why, sizeof why, "the message asks for a project, but %s", err.msg);
        return poison(e, p.submission_id.n != 0 ? p.submission_id : e->name, why, true);
    }
    int rc = project >= 0 ? ASSAY_OK : assay_script_decode(e->body, arena, &c, &err);
    if (rc == ASSAY_E_NOMEM)
        return NEXT_LATER;
    if (project >= 0) {
        c.id = p.submission_id;
        d.kind = ASSAY_JOB_PROJECT_MESSAGE;
        d.language = ASSAY_STR("");
    }
    struct assay_str id = c.id.n != 0 ? c.id : e->key.n != 0 && e->key.n <= ASSAY_SCRIPT_ID_MAX ? e->key : e->name;
    if (rc < 0) {
        char why[560];
        (void)snprintf(why, sizeof why, "the message is no script: %s", err.msg);
        return poison(e, id, why, true);
    }
    if (c.type == ASSAY_SCRIPT_DONE) {
        pthread_mutex_lock(&in->lock);
        bool stop = in->done_exits;
        e->stage = STAGE_DONE_MESSAGE;
        in->closing = in->closing || stop;
        pthread_mutex_unlock(&in->lock);
        assay_log(host, ASSAY_LOG_INFO, "intake_done", ASSAY_KZ("broker", e->from->name), ASSAY_KZ("stops", stop ? "yes" : "no"));
        return stop ? NEXT_WAIT : NEXT_SETTLE;
    }
    char text[400];
    const char *fault = project >= 0 ? NULL : script_fault(s, &c, arena, &d.language, text, sizeof text);
    if (fault != NULL)
        return poison(e, id, fault, false);
    assay_id_new(d.id);
    d.owner_id = d.benchmark_id = d.problem_id = d.agent_id = ASSAY_STR("");
    d.submitter = assay_str(e->from->name);
    d.payload = e->body;
    d.request_id = id;
    d.traceparent = e->traceparent;
    d.now_ms = host->now_ms(host->ctx);
    pthread_mutex_lock(&in->lock); /* the end may come before the commit is told */
    memcpy(e->submission_id, d.id, sizeof e->submission_id);
    (void)snprintf(e->hold, sizeof e->hold, "%s/%llu", host->instance_id, (unsigned long long)++in->serial);
    pthread_mutex_unlock(&in->lock);
    rc = repo_message_insert(s, e, &d, arena, &err);
    pthread_mutex_lock(&in->lock);
    e->stage = rc >= 0 ? STAGE_WAIT : rc == ASSAY_E_GUARD ? STAGE_ATTACH : STAGE_STORE;
    if (rc < 0)
        e->submission_id[0] = '\0';
    pthread_mutex_unlock(&in->lock);
    if (rc >= 0 || rc == ASSAY_E_GUARD)
        return rc >= 0 ? NEXT_WAIT : NEXT_NOW;
    assay_log(host, ASSAY_LOG_WARN, "intake_unstored", ASSAY_KZ("broker", e->from->name), ASSAY_KS("message", e->name), ASSAY_KZ("error", err.msg));
    return NEXT_LATER;
}

static enum next attach(struct entry *e)
{
    struct intake *in = e->from->in;
    struct assay_err err = {0, ""};
    char id[ASSAY_ID_SIZE];
    int rc = repo_message_find(in->s, e, id, &err);
    if (rc == ASSAY_E_NOT_FOUND) { /* pruned a moment ago */
        intake_stage(e, STAGE_STORE);
        return NEXT_LATER;
    }
    if (rc >= 0) {
        pthread_mutex_lock(&in->lock); /* before its state is looked at, so that no end is missed */
        memcpy(e->submission_id, id, sizeof e->submission_id);
        pthread_mutex_unlock(&in->lock);
        rc = repo_message_attach(in->s, e, &err);
    }
    if (rc == ASSAY_E_GUARD) {
        intake_count(e->from, "again");
        return NEXT_SETTLE; /* answered */
    }
    if (rc < 0) {
        assay_log(in->s->host, ASSAY_LOG_WARN, "intake_unattached", ASSAY_KZ("broker", e->from->name), ASSAY_KS("message", e->name),
                  ASSAY_KZ("error", err.msg));
        return NEXT_LATER;
    }
    intake_count(e->from, "again");
    intake_stage(e, STAGE_LOOK);
    return NEXT_NOW;
}

static enum next step(struct entry *e)
{
    switch (e->stage) {
    case STAGE_STORE:
        return store(e);
    case STAGE_ATTACH:
        return attach(e);
    case STAGE_WAIT:
    case STAGE_LOOK:
        intake_stage(e, STAGE_WAIT);
        return outlet_look(e);
    case STAGE_CONFIRM: /* not confirmed: once more */
    case STAGE_PUBLISH:
        return outlet_publish(e);
    case STAGE_MARK:
        return outlet_mark(e);
    case STAGE_DONE_MESSAGE:
        return NEXT_SETTLE;
    }
    return NEXT_DROP;
}

static void quit_when_over(struct intake *in);

/* Out of the list, and told to the broker. */
static void settled(struct entry *e, enum assay_settle how)
{
    struct intake *in = e->from->in;
    const struct assay_host *host = in->s->host;
    const struct assay_broker *b = &e->from->broker;
    const char *label[] = {e->from->name};
    struct assay_str why = e->reason.p != NULL ? e->reason : ASSAY_STR("");
    pthread_mutex_lock(&in->lock);
    unlink_entry(in, e);
    bool answer = how != ASSAY_SETTLE_AGAIN && e->answer.n != 0;
    in->published += answer;
    pthread_mutex_unlock(&in->lock);
    for (size_t i = 0; i < e->n_tags; i++)
        b->ops->settle(b->self, e->tag[i], how, why);
    if (answer) {
        intake_count(e->from, e->dead ? "dead" : "answered");
        host->metric_observe(host->ctx, &submissions_metrics[METRIC_ANSWER_SECONDS], label, (double)(host->mono_ns(host->ctx) - e->taken_ns) / 1e9);
    }
    entry_free(e);
    quit_when_over(in);
}

static void drop(struct entry *e)
{
    struct intake *in = e->from->in;
    struct assay_err err = {0, ""};
    if (e->submission_id[0] != '\0' && e->hold[0] != '\0' && e->answer.n == 0 && repo_message_release(in->s, e, &err) < 0)
        assay_log(in->s->host, ASSAY_LOG_WARN, "intake_unreleased", ASSAY_KZ("submission_id", e->submission_id), ASSAY_KZ("error", err.msg));
    settled(e, ASSAY_SETTLE_AGAIN);
}

static void run_entry(void *arg)
{
    struct entry *e = arg;
    struct intake *in = e->from->in;
    for (;;) {
        pthread_mutex_lock(&in->lock);
        bool lost = e->n_tags == 0 && e->stage != STAGE_MARK;
        e->again = false;
        pthread_mutex_unlock(&in->lock);
        enum next next = lost ? NEXT_DROP : step(e);
        if (next == NEXT_NOW)
            continue;
        if (next == NEXT_CALLBACK) /* the entry is the callback's now */
            return;
        if (next == NEXT_SETTLE || next == NEXT_DROP) {
            if (next == NEXT_DROP)
                drop(e);
            else
                settled(e, e->dead ? ASSAY_SETTLE_DEAD : ASSAY_SETTLE_DONE);
            return;
        }
        pthread_mutex_lock(&in->lock);
        if (e->again) {
            pthread_mutex_unlock(&in->lock);
            continue;
        }
        e->working = false;
        int64_t delay = next == NEXT_WAIT ? LOOK_AGAIN_MS : RETRY_MIN_MS << (e->tries < 6 ? e->tries : 6);
        e->tries = next == NEXT_WAIT ? 0 : e->tries + 1;
        e->due_ms = e->stage == STAGE_DONE_MESSAGE ? INT64_MAX : mono_ms(in) + (delay > RETRY_MAX_MS && next != NEXT_WAIT ? RETRY_MAX_MS : delay);
        pthread_mutex_unlock(&in->lock);
        quit_when_over(in);
        return;
    }
}

void intake_confirmed(struct entry *e, enum stage stage)
{
    struct intake *in = e->from->in;
    pthread_mutex_lock(&in->lock);
    e->stage = stage;
    e->working = false;
    if (stage == STAGE_CONFIRM) {
        e->due_ms = mono_ms(in) + (RETRY_MIN_MS << (e->tries < 5 ? e->tries : 5));
        e->tries++;
    } else {
        kick(in, e);
    }
    pthread_mutex_unlock(&in->lock);
}

/* ---- the sink ------------------------------------------------------------------------------------------------ */

static int deliver(void *arg, uint64_t tag, const struct assay_message *m)
{
    struct source *from = arg;
    struct intake *in = from->in;
    char event_id[ASSAY_ID_SIZE];
    event_id_of(from->name, m, event_id);
    pthread_mutex_lock(&in->lock);
    struct entry *e = find(in, event_id);
    int rc = ASSAY_OK;
    bool again = e != NULL;
    if (in->draining || in->closing || in->quitting || (again ? e->n_tags == INTAKE_TAGS : from->held >= in->in_flight)) {
        rc = ASSAY_E_BUSY;
    } else if (again) {
        e->tag[e->n_tags++] = tag;
    } else if ((e = entry_new(from, m)) == NULL) {
        rc = ASSAY_E_NOMEM;
    } else {
        memcpy(e->event_id, event_id, sizeof e->event_id);
        e->tag[e->n_tags++] = tag;
        e->next = in->entries;
        in->entries = e;
        held(from, true);
        kick(in, e);
    }
    pthread_mutex_unlock(&in->lock);
    intake_count(from, rc != ASSAY_OK ? "held_back" : again ? "again" : "taken");
    return rc;
}

static void lost(void *arg, uint64_t tag)
{
    struct source *from = arg;
    struct intake *in = from->in;
    bool was = false;
    pthread_mutex_lock(&in->lock);
    for (struct entry *e = in->entries; e != NULL && !was; e = e->next) {
        for (size_t i = 0; e->from == from && i < e->n_tags; i++) {
            if (e->tag[i] != tag)
                continue;
            e->tag[i] = e->tag[--e->n_tags];
            was = true;
            if (e->n_tags == 0 && e->stage != STAGE_CONFIRM)
                kick(in, e);
            break;
        }
    }
    pthread_mutex_unlock(&in->lock);
    if (was)
        intake_count(from, "lost");
}

/* ---- ends ----------------------------------------------------------------------------------------------------- */

void intake_ended(struct submissions *s, struct assay_str id)
{
    struct intake *in = s->intake;
    if (in == NULL || in->n_sources == 0)
        return;
    pthread_mutex_lock(&in->lock);
    for (struct entry *e = in->entries; e != NULL; e = e->next) {
        if (assay_str_is(id, e->submission_id)) {
            kick(in, e);
            break;
        }
    }
    pthread_mutex_unlock(&in->lock);
}

/* Whether all has been done that was to be done: so many results, or all that came before the end of the stream. */
static void quit_when_over(struct intake *in)
{
    const struct assay_host *host = in->s->host;
    bool enough = false, over = false;
    pthread_mutex_lock(&in->lock);
    bool closing = in->closing;
    if (!in->quitting && !in->draining) {
        enough = in->expected > 0 && in->published >= in->expected;
        over = closing;
        for (struct entry *e = in->entries; e != NULL && over; e = e->next)
            over = e->stage == STAGE_DONE_MESSAGE && !e->working;
        in->quitting = enough || over;
        for (struct entry *e = in->entries; e != NULL && over; e = e->next)
            kick(in, e); /* to be settled, last of all */
    }
    pthread_mutex_unlock(&in->lock);
    if (closing || enough) {
        for (size_t i = 0; i < in->n_sources; i++)
            in->source[i].broker.ops->quiet(in->source[i].broker.self);
    }
    if (enough || over)
        host->quit(host->ctx, enough ? "as many results as script_expected says have been published" : "a message said that there is no more to come");
}

static void sweep(struct intake *in)
{
    struct assay_err err = {0, ""};
    size_t n = 1;
    for (int i = 0; in->keep_ms > 0 && n != 0 && i < 50; i++) {
        if (repo_message_prune(in->s, in->s->host->now_ms(in->s->host->ctx) - in->keep_ms, &n, &err) < 0) {
            assay_log(in->s->host, ASSAY_LOG_WARN, "intake_unpruned", ASSAY_KZ("error", err.msg));
            return;
        }
    }
}

static void tick(void *arg)
{
    struct intake *in = arg;
    const struct assay_host *host = in->s->host;
    int64_t now = mono_ms(in);
    bool sweeping = now - in->swept_ms >= SWEEP_MS;
    pthread_mutex_lock(&in->lock);
    bool over = in->draining;
    for (struct entry *e = in->entries; e != NULL && !over; e = e->next) {
        if (!e->working && e->due_ms <= now)
            kick(in, e);
    }
    pthread_mutex_unlock(&in->lock);
    if (over)
        return;
    if (sweeping) {
        in->swept_ms = now;
        sweep(in);
    }
    if (host->after(host->ctx, TICK_MS, tick, in) < 0)
        assay_log(host, ASSAY_LOG_ERROR, "intake_stopped", ASSAY_KZ("error", "no timer is to be had"));
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

int intake_new(struct submissions *s, struct assay_err *err)
{
    const struct assay_host *host = s->host;
    struct intake *in = calloc(1, sizeof *in);
    if (in == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    pthread_mutex_init(&in->lock, NULL);
    s->intake = in;
    in->s = s;
    in->strict = host->option_int(host->ctx, "broker_strict") != 0;
    in->expected = host->option_int(host->ctx, "script_expected");
    in->keep_ms = host->option_int(host->ctx, "intake_keep");
    in->result_max = assay_script_result_max(host->option_int(host->ctx, "result_max"), host->option_str(host->ctx, "intake"));
    const char *done = host->option_str(host->ctx, "script_done");
    in->done_exits = strcmp(done, "exit") == 0 || (strcmp(done, "ignore") != 0 && host->option_str(host->ctx, "only")[0] != '\0');
    int64_t flight = host->option_int(host->ctx, "intake_in_flight"), lanes = host->option_int(host->ctx, "runner_max_parallel");
    if (lanes <= 0)
        lanes = sysconf(_SC_NPROCESSORS_ONLN) > 0 ? sysconf(_SC_NPROCESSORS_ONLN) : 1;
    in->in_flight = (size_t)(flight > 0 ? flight : 2 * lanes);
    struct assay_str rest = assay_str(host->option_str(host->ctx, "intake"));
    while (rest.n != 0) {
        size_t skip = strspn(rest.p, ", ");
        rest.p += skip;
        rest.n -= skip;
        size_t n = strcspn(rest.p, ", ");
        struct source *from = &in->source[in->n_sources];
        if (n == 0)
            break;
        if (in->n_sources == INTAKE_BROKERS || n >= sizeof from->name)
            return assay_err_set(err, ASSAY_E_CONFIG, "intake names too many brokers, or one with too long a name");
        memcpy(from->name, rest.p, n);
        from->name[n] = '\0';
        from->in = in;
        rest.p += n;
        rest.n -= n;
        bool twice = false;
        for (size_t i = 0; i < in->n_sources; i++)
            twice = twice || strcmp(in->source[i].name, from->name) == 0;
        if (twice)
            continue;
        if (host->size < offsetof(struct assay_host, quit) + sizeof host->quit)
            return assay_err_set(err, ASSAY_E_CONFIG, "this server lends no brokers");
        int rc = host->broker(host->ctx, assay_str(from->name), &from->broker, err);
        if (rc < 0)
            return rc;
        in->n_sources++;
    }
    return ASSAY_OK;
}

int intake_start(struct submissions *s, struct assay_err *err)
{
    struct intake *in = s->intake;
    int rc = ASSAY_OK;
    if (in->n_sources == 0)
        return rc;
    in->swept_ms = mono_ms(in);
    for (size_t i = 0; rc >= 0 && i < in->n_sources; i++) {
        struct source *from = &in->source[i];
        struct assay_broker_sink sink = {from, deliver, lost};
        rc = from->broker.ops->consume(from->broker.self, ASSAY_CHANNEL_WORK, &sink, in->in_flight, err);
        if (rc < 0)
            return assay_err_prefix(err, "the broker %s", from->name);
        assay_log(s->host, ASSAY_LOG_INFO, "intake_open", ASSAY_KZ("broker", from->name), ASSAY_KI("in_flight", in->in_flight));
    }
    rc = s->host->after(s->host->ctx, TICK_MS, tick, in);
    return rc < 0 ? assay_err_set(err, rc, "no timer is to be had") : ASSAY_OK;
}

int intake_ready(struct submissions *s, struct assay_err *why)
{
    struct intake *in = s->intake;
    char note[300] = "";
    for (size_t i = 0; i < in->n_sources; i++) {
        struct assay_err err = {0, ""};
        const struct assay_broker *b = &in->source[i].broker;
        int rc = b->ops->health(b->self, &err);
        if (rc < 0)
            return assay_err_set(why, rc, "broker %s: %.300s", in->source[i].name, err.msg);
        if (err.msg[0] != '\0')
            (void)snprintf(note, sizeof note, "broker %s: %.200s", in->source[i].name, err.msg);
    }
    if (note[0] != '\0')
        (void)snprintf(why->msg, sizeof why->msg, "%s", note);
    return ASSAY_OK;
}

/* Whether something can still be answered by waiting a little. */
static bool on_its_way(struct intake *in, int64_t now)
{
    bool any = false;
    pthread_mutex_lock(&in->lock);
    for (struct entry *e = in->entries; e != NULL; e = e->next) {
        bool answer = e->stage == STAGE_PUBLISH || e->stage == STAGE_CONFIRM || e->stage == STAGE_MARK;
        if (!e->working && answer && e->due_ms <= now)
            kick(in, e);
        any = any || e->working || answer;
    }
    pthread_mutex_unlock(&in->lock);
    return any;
}

void intake_drain(struct submissions *s)
{
    struct intake *in = s->intake;
    if (in == NULL || in->n_sources == 0)
        return;
    int64_t most = s->host->option_int(s->host->ctx, "drain_timeout"), until = mono_ms(in) + (most < DRAIN_MAX_MS ? most : DRAIN_MAX_MS);
    for (size_t i = 0; i < in->n_sources; i++)
        in->source[i].broker.ops->quiet(in->source[i].broker.self);
    pthread_mutex_lock(&in->lock);
    in->draining = true;
    for (struct entry *e = in->entries; e != NULL; e = e->next) { /* what the runner has just ended */
        if (e->stage == STAGE_WAIT)
            kick(in, e);
    }
    pthread_mutex_unlock(&in->lock);
    while (mono_ms(in) < until && on_its_way(in, mono_ms(in)))
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    /* the rest goes back at once, and not when somebody misses us */
    for (;;) {
        struct entry *e;
        pthread_mutex_lock(&in->lock);
        for (e = in->entries; e != NULL && e->working;)
            e = e->next;
        if (e != NULL)
            e->working = true;
        pthread_mutex_unlock(&in->lock);
        if (e == NULL)
            break;
        drop(e);
    }
}

void intake_free(struct submissions *s)
{
    struct intake *in = s->intake;
    if (in == NULL)
        return;
    while (in->entries != NULL) {
        struct entry *e = in->entries;
        in->entries = e->next;
        entry_free(e);
    }
    pthread_mutex_destroy(&in->lock);
    free(in);
    s->intake = NULL;
}
