/*
 * The routes of submissions.
 *
 * Taking a submission is the hot path: it is decoded on the event loop, handed to the store's writer
 * as one guarded transaction, and answered from the writer's completion, so no thread waits for the
 * disk.  A worker comes in only where something may block: a source that becomes a blob, a large body,
 * a lost race for an idempotency key, and the search for the reason of a refused insert.
 *
 * A pending request is held by one reference of the request's own way and, with ?wait, by one of the
 * waiter in live.c.  Whoever drops the last one answers; so an end that comes back before the insert's
 * completion has run can neither be lost nor answer twice.
 */
#include "local.h"

#include <stdio.h>

#define ON_LOOP_MAX ((size_t)128 << 10) /* larger bodies are decoded by a worker */
#define CATCH_UP_MS 1000
#define SETTLE_TRIES 3

struct pending {
    struct submissions *s;
    struct assay_request *rq;
    struct assay_arena *arena;
    assay_ticket ticket;
    struct assay_response rs;
    struct draft draft;
    struct assay_idem idem;
    struct assay_tx *tx;
    struct latch *latch; /* batch: who waits for the first try */
    struct admission_refusal refusal;
    int64_t wait_ms;
    uint64_t waiter;
    atomic_int refs;
    bool task, waiting, replayed, placed, refused;
    atomic_bool woken;
    int status;
    struct assay_err err;
};

struct latch {
    pthread_mutex_t lock; /* guards left */
    pthread_cond_t zero;
    size_t left;
};

/* ---- from a body to a draft ---------------------------------------------------------------------- */

static int resolve_language(struct pending *p, const char *pointer, struct assay_str name, struct assay_err *err)
{
    struct assay_err why;
    int rc = languages_resolve(p->s, name, &p->draft.language, &why);
    if (rc == ASSAY_OK)
        return ASSAY_OK;
    if (rc == ASSAY_E_NOT_FOUND || rc == ASSAY_E_UNSUPPORTED)
        return assay_fault(p->rq, &p->rs, err, pointer, "%s", why.msg);
    if (err != NULL)
        *err = why;
    return rc;
}

static void draft_common(struct pending *p)
{
    const struct assay_principal *who = p->rq->who;
    struct draft *d = &p->draft;
    assay_id_new(d->id);
    d->owner_id = who->user_id;
    d->staff = assay_is_staff(who) && who->agent_id.n == 0;
    d->request_id = p->rq->request_id;
    d->traceparent = p->rq->traceparent;
    d->now_ms = p->s->host->now_ms(p->s->host->ctx);
}

static int draft_from(struct pending *p, const struct submit_body *b, const char *prefix, struct assay_err *err)
{
    struct draft *d = &p->draft;
    draft_common(p);
    d->kind = ASSAY_JOB_BENCHMARK;
    d->benchmark_id = b->benchmark_id;
    d->problem_id = b->problem_id;
    d->agent_id = b->agent_id.n != 0 ? b->agent_id : p->rq->who->agent_id;
    d->jury = b->jury;
    if (d->jury)
        d->agent_id = ASSAY_STR("");
    d->has_payload = b->has_payload;
    d->payload = b->payload;
    d->metrics = b->metrics;
    if (b->has_source) {
        d->source_kind = SOURCE_TEXT;
        d->source = b->source;
    } else if (b->has_files) {
        d->source_kind = SOURCE_FILES;
        int rc = files_encode(&b->files, p->arena, &d->source, err);
        if (rc < 0)
            return rc;
    }
    if (d->source_kind == SOURCE_NONE)
        return ASSAY_OK;
    d->options = b->compiler_options;
    char at[64];
    snprintf(at, sizeof at, "%s/language", prefix);
    return resolve_language(p, at, b->language, err);
}

static int draft_of_submission(struct pending *p, struct assay_err *err)
{
    struct submit_body b;
    memset(&b, 0, sizeof b);
    int rc = assay_body_json(p->rq, &p->rs, submit_fields, &b, err);
    if (rc < 0)
        return rc;
    struct assay_json_faults *faults = assay_faults(p->rq, &p->rs);
    draft_check(&b, p->rq->who, "", faults, p->arena);
    if (faults->n != 0)
        return assay_err_set(err, ASSAY_E_INVALID, "the submission breaks a rule");
    return draft_from(p, &b, "", err);
}

/* No code but a filter, and what it is to be applied to. */
static int draft_of_filter(struct pending *p, const struct task_body *b, struct assay_err *err)
{
    static const char *const code[] = {"/code", "/translator", "/lang", "/language", "/input"};
    const bool given[] = {b->has_code, b->translator.n != 0, b->lang.n != 0, b->language.n != 0, b->input.n != 0};
    struct assay_json_faults *faults = assay_faults(p->rq, &p->rs), own = {.n = 0};
    struct draft *d = &p->draft;
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        if (given[i])
            assay_json_fault(faults, p->arena, code[i], "a task is code or a filter, and not both");
    }
    if (!b->has_filter)
        assay_json_fault(faults, p->arena, "/filter", "is required with an image: GET /filters lists them");
    if (!b->has_image)
        assay_json_fault(faults, p->arena, "/image", "is required: the image that the filter is to be applied to, in base64");
    int rc = b->has_filter ? filters_resolve(p->s, b->filter, p->arena, &own, &d->source, err) : ASSAY_OK;
    if (rc < 0 && rc != ASSAY_E_INVALID)
        return rc;
    for (size_t i = 0; i < own.n; i++) {
        struct assay_str at = assay_arena_fmt(p->arena, "/filter%.*s", ASSAY_FMT(own.item[i].pointer));
        assay_json_fault(faults, p->arena, at.p != NULL ? at.p : "/filter", "%.*s", ASSAY_FMT(own.item[i].detail));
    }
    if (faults->n != 0)
        return assay_err_set(err, ASSAY_E_INVALID, "the task breaks a rule");
    draft_common(p);
    d->kind = ASSAY_JOB_FILTER;
    d->agent_id = p->rq->who->agent_id;
    d->language = ASSAY_STR("");
    d->source_kind = SOURCE_TEXT;
    d->has_payload = true;
    d->payload = b->image;
    return ASSAY_OK;
}

static int draft_of_task(struct pending *p, struct assay_err *err)
{
    struct task_body b;
    memset(&b, 0, sizeof b);
    int rc = assay_body_json(p->rq, &p->rs, task_fields, &b, err);
    if (rc < 0)
        return rc;
    if (b.has_filter || b.has_image)
        return draft_of_filter(p, &b, err);
    if (!b.has_code)
        return assay_fault(p->rq, &p->rs, err, "/code", "is required");
    struct assay_str name[] = {b.translator, b.lang, b.language};
    const char *const pointer[] = {"/translator", "/lang", "/language"};
    int given = -1;
    for (int i = 0; i < 3; i++) {
        if (name[i].n == 0)
            continue;
        if (given >= 0)
            return assay_fault(p->rq, &p->rs, err, pointer[i], "only one of translator, lang and language may be given");
        given = i;
    }
    if (given < 0)
        return assay_fault(p->rq, &p->rs, err, "/translator", "is required");
    struct draft *d = &p->draft;
    draft_common(p);
    d->kind = ASSAY_JOB_TASK;
    d->agent_id = p->rq->who->agent_id; /* an agent's token sees what that agent has made, and nothing else */
    d->source_kind = SOURCE_TEXT;
    d->source = b.code;
    d->has_payload = true;
    d->payload = b.input;
    d->options = b.compiler_options;
    return resolve_language(p, pointer[given], name[given], err);
}

/* The answer and the idempotency key; after it the draft is ready to be written. */
static int draft_done(struct pending *p, struct assay_str scope, struct assay_err *err)
{
    int rc = draft_submitter(&p->draft, p->arena, err);
    if (rc >= 0)
        rc = accepted_encode(&p->draft, &p->rs, err);
    if (rc < 0)
        return rc;
    struct assay_str location =
        assay_arena_fmt(p->arena, p->task ? "/status/%s" : "/submissions/%s", p->draft.id);
    if (location.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_reply_header(&p->rs, ASSAY_STR("Location"), location);
    return assay_idem_prepare(&p->idem, &submissions_idem, p->rq, scope, ASSAY_STR_NULL, err);
}

static bool needs_blob(const struct draft *d)
{
    return d->source.n >= INLINE_MAX || d->payload.n >= INLINE_MAX;
}

/* Blocks when there are any. */
static int check_options(struct pending *p, struct assay_err *err)
{
    struct draft *d = &p->draft;
    struct assay_json_array problem = {NULL, 0};
    struct assay_err why;
    if (d->options.n == 0)
        return ASSAY_OK;
    bool known = p->task;
    int rc = p->task ? ASSAY_OK : repo_problem_options(p->s, d, p->arena, &problem, &known, err);
    if (rc >= 0 && !known) { /* a problem that was just made; one that there is not the insert refuses */
        rc = repo_catch_up(p->s, CATCH_UP_MS, err);
        if (rc >= 0)
            rc = repo_problem_options(p->s, d, p->arena, &problem, &known, err);
    }
    if (rc < 0)
        return rc;
    rc = languages_options(p->s, d->language, &d->options, &problem, &why);
    if (rc == ASSAY_E_INVALID)
        return assay_fault(p->rq, &p->rs, err, "/compiler_options", "%s", why.msg);
    if (rc < 0) {
        *err = why;
        return rc;
    }
    return assay_options_join(&d->options, p->arena, &d->options_text, err);
}

static int put_blobs(struct pending *p, struct assay_err *err)
{
    struct draft *d = &p->draft;
    struct {
        struct assay_str bytes, *ref;
    } part[] = {{d->source, &d->source_ref}, {d->payload, &d->payload_ref}};
    for (size_t i = 0; i < 2; i++) {
        if (part[i].bytes.n < INLINE_MAX || part[i].ref->n != 0)
            continue;
        char ref[ASSAY_BLOB_REF];
        int rc = assay_blob_put(p->s->host->blobs, part[i].bytes, ref, err);
        if (rc < 0)
            return rc;
        *part[i].ref = assay_arena_str(p->arena, assay_str(ref));
        if (part[i].ref->p == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    return ASSAY_OK;
}

/* ---- a place in the queue ------------------------------------------------------------------------- */

static struct place place_of(const struct draft *d)
{
    return (struct place){.submitter = d->submitter, .benchmark_id = d->benchmark_id, .bytes = (int64_t)draft_bytes(d)};
}

/* Before anything of the draft is written. False: a bound is reached, which p->refusal names. */
static bool place_take(struct pending *p)
{
    const struct assay_host *host = p->s->host;
    struct place place = place_of(&p->draft);
    p->placed = admission_enter(p->s->admission, &place, host->mono_ns(host->ctx) / 1000000, &p->refusal);
    return p->placed;
}

/* At the end of the draft's way, however it ended. */
static void place_settle(struct pending *p)
{
    struct place place = place_of(&p->draft);
    if (p->placed)
        admission_written(p->s->admission, &place, p->status >= 0 && !p->replayed);
    p->placed = false;
}

/* A request that is sent again under its key: p->replayed with the first answer when it was accepted then. Blocks. */
static int look_back(struct pending *p, struct assay_err *err)
{
    int rc = p->idem.active ? assay_idem_lookup(&p->idem, p->s->host->store, p->rq, &p->rs, err) : ASSAY_OK;
    p->replayed = rc == ASSAY_IDEM_ANSWERED;
    return rc < 0 ? rc : ASSAY_OK;
}

static int no_place(struct pending *p, struct assay_err *err)
{
    char text[ADMISSION_TEXT];
    admission_refusal_text(&p->refusal, text, sizeof text);
    p->refused = true;
    return assay_err_set(err, admission_refusal_code(&p->refusal), "%s", text);
}

/* What found no place was perhaps accepted when it was sent before, and then it is never refused. Blocks. */
static int accepted_before(struct pending *p, struct assay_err *err)
{
    int rc = look_back(p, err);
    return rc < 0 || p->replayed ? rc : no_place(p, err);
}

/* ---- from a draft to a row ------------------------------------------------------------------------- */

static int build(struct pending *p, struct assay_err *err)
{
    p->tx = assay_tx_new(p->arena, p->task ? "task.create" : "submission.create");
    assay_idem_add(&p->idem, p->tx, &p->rs, false);
    return repo_insert(p->tx, &p->draft, err);
}

/* After a failed guard: waits for news that the projections have not seen yet, then says what is wrong,
 * or (when nothing is) that another try is worth it: ASSAY_OK. Blocks. */
static int diagnose(struct pending *p, struct assay_err *err)
{
    struct facts f;
    int rc = repo_catch_up(p->s, CATCH_UP_MS, err);
    if (rc >= 0)
        rc = repo_facts(p->s, &p->draft, p->arena, &f, err);
    if (rc < 0)
        return rc;
    struct refusal r = draft_refusal(&p->draft, &f);
    if (r.status == ASSAY_OK)
        return ASSAY_OK;
    assay_json_fault(assay_faults(p->rq, &p->rs), p->arena, r.pointer, "%s", r.detail);
    return assay_err_set(err, r.status, "%s", r.detail);
}

/* What follows a first try that ended with `rc`. Blocks: worker threads only. */
static int settle(struct pending *p, int rc, struct assay_err *err)
{
    for (int i = 0; rc == ASSAY_E_GUARD && i < SETTLE_TRIES; i++) {
        if (assay_idem_lost(&p->idem, p->tx)) {
            rc = assay_idem_lookup(&p->idem, p->s->host->store, p->rq, &p->rs, err);
            if (rc == ASSAY_IDEM_ANSWERED) {
                p->replayed = true;
                return ASSAY_OK;
            }
            if (rc < 0)
                return rc;
        } else {
            rc = diagnose(p, err);
            if (rc >= 0)
                rc = check_options(p, err);
            if (rc < 0)
                return rc;
        }
        rc = build(p, err);
        if (rc >= 0)
            rc = assay_store_exec(p->s->host->store, p->tx, err);
    }
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_BUSY, "the benchmark is changing; send it again");
    return rc;
}

static int write_now(struct pending *p, struct assay_err *err)
{
    int rc = p->draft.options.n != 0 ? look_back(p, err) : ASSAY_OK; /* what was taken stays so, whatever the problem says now */
    if (rc < 0 || p->replayed)
        return rc;
    rc = check_options(p, err);
    if (rc >= 0)
        rc = put_blobs(p, err);
    if (rc >= 0)
        rc = build(p, err);
    if (rc >= 0)
        rc = assay_store_exec(p->s->host->store, p->tx, err);
    return settle(p, rc, err);
}

/* ---- answering a deferred request ------------------------------------------------------------------- */

static void resume(struct pending *p)
{
    const struct assay_host *host = p->s->host;
    /* p lives in the request's arena, which resume ends */
    host->resume(host->ctx, p->ticket, p->status, &p->rs, p->status < 0 ? &p->err : NULL);
}

/* ?wait came to its end: answers the submission as it is now. Blocks. */
static void answer_ended(void *arg)
{
    struct pending *p = arg;
    struct viewer v = viewer_of(p->rq->who);
    struct view view;
    struct assay_err err;
    int rc = repo_get(p->s, &v, assay_str(p->draft.id), p->arena, &view, &err);
    if (rc >= 0) {
        ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
        view_write(w, &view, true);
        rc = assay_reply_json(&p->rs, 200, w, &err);
    }
    if (rc < 0) { /* it is accepted all the same, and its place is in the answer */
        assay_log(p->s->host, ASSAY_LOG_WARN, "wait_unanswered", ASSAY_KZ("submission_id", p->draft.id),
                  ASSAY_KZ("error", err.msg));
        struct assay_err ignored;
        if (accepted_encode(&p->draft, &p->rs, &ignored) < 0) {
            p->status = rc;
            p->err = err;
        }
    }
    resume(p);
}

int refusal_reply(struct submissions *s, const struct admission_refusal *why, struct assay_request *rq,
                         struct assay_response *rs, struct assay_err *err)
{
    const char *labels[] = {admission_bound_names[why->bound]};
    s->host->metric_add(s->host->ctx, &submissions_metrics[METRIC_REFUSED], labels, 1);
    assay_buf_free(&rs->body);
    rs->n_headers = 0;
    return refusal_encode(why, rq, rs, err);
}

static void release(struct pending *p, bool may_block)
{
    if (atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    const struct assay_host *host = p->s->host;
    if (p->status < 0 || !atomic_load(&p->woken))
        resume(p);
    else if (may_block)
        answer_ended(p);
    else if (host->offload(host->ctx, answer_ended, p) < 0)
        resume(p); /* 202 instead of 200: true, too */
}

static void on_wait(void *arg, bool woken)
{
    struct pending *p = arg;
    if (woken)
        atomic_store(&p->woken, true);
    release(p, true);
}

/* Kept in a list, since a host that stops drops the timers that have not run. */
struct wait_timer {
    struct wait_timer *next, **at;
    struct submissions *s;
    uint64_t waiter;
};

static void timer_free(struct wait_timer *t)
{
    struct submissions *s = t->s;
    pthread_mutex_lock(&s->lock);
    *t->at = t->next;
    if (t->next != NULL)
        t->next->at = t->at;
    pthread_mutex_unlock(&s->lock);
    free(t);
}

static struct wait_timer *timer_new(struct submissions *s, uint64_t waiter)
{
    struct wait_timer *t = malloc(sizeof *t);
    if (t == NULL)
        return NULL;
    *t = (struct wait_timer){.s = s, .waiter = waiter};
    pthread_mutex_lock(&s->lock);
    t->next = s->timers;
    t->at = &s->timers;
    if (t->next != NULL)
        t->next->at = &t->next;
    s->timers = t;
    pthread_mutex_unlock(&s->lock);
    return t;
}

void http_free_timers(struct submissions *s)
{
    while (s->timers != NULL)
        timer_free(s->timers);
}

static void on_wait_timer(void *arg)
{
    struct wait_timer *t = arg;
    live_wait_over(t->s->live, t->waiter);
    timer_free(t);
}

/* The request's own way is at its end. */
static void conclude(struct pending *p, int status, bool may_block)
{
    p->status = status;
    place_settle(p);
    if (p->refused)
        p->status = refusal_reply(p->s, &p->refusal, p->rq, &p->rs, &p->err);
    if (p->waiting) {
        struct submissions *s = p->s;
        uint64_t waiter = p->waiter;
        struct wait_timer *t = NULL;
        if (status >= 0 && !p->replayed && !p->refused)
            t = timer_new(s, waiter);
        if (t != NULL && s->host->after(s->host->ctx, p->wait_ms, on_wait_timer, t) < 0) {
            timer_free(t);
            t = NULL;
        }
        if (t == NULL) /* nothing to wait for, or no clock to end it */
            live_wait_over(s->live, waiter);
    }
    release(p, may_block);
}

static void settle_work(void *arg)
{
    struct pending *p = arg;
    conclude(p, settle(p, ASSAY_E_GUARD, &p->err), true);
}

static void on_insert(struct assay_tx *tx, void *arg)
{
    struct pending *p = arg;
    const struct assay_host *host = p->s->host;
    if (tx->status == ASSAY_E_GUARD) {
        if (host->offload(host->ctx, settle_work, p) >= 0)
            return;
        conclude(p, assay_err_set(&p->err, ASSAY_E_BUSY, "the server is busy; send it again"), false);
        return;
    }
    if (tx->status < 0)
        p->err = tx->err;
    conclude(p, tx->status, false);
}

static int draft_all(struct pending *p, struct assay_err *err)
{
    int rc = p->task ? draft_of_task(p, err) : draft_of_submission(p, err);
    return rc < 0 ? rc : draft_done(p, ASSAY_STR_NULL, err);
}

/* Enters the waiter before the insert, so that no end can slip through between the two. */
static void start_waiting(struct pending *p)
{
    if (p->wait_ms == 0)
        return;
    atomic_fetch_add(&p->refs, 1);
    if (live_wait(p->s->live, assay_str(p->draft.id), on_wait, p, &p->waiter) < 0)
        atomic_fetch_sub(&p->refs, 1); /* too many wait already: 202 at once */
    else
        p->waiting = true;
}

static void write_work(void *arg)
{
    struct pending *p = arg;
    int rc = p->draft.id[0] == '\0' ? draft_all(p, &p->err) : ASSAY_OK;
    if (rc >= 0 && !p->placed && !place_take(p)) {
        rc = accepted_before(p, &p->err);
    } else if (rc >= 0) {
        start_waiting(p);
        rc = write_now(p, &p->err);
    }
    conclude(p, rc, true);
}

static void refused_work(void *arg)
{
    struct pending *p = arg;
    conclude(p, accepted_before(p, &p->err), true);
}

static int create(void *self, struct assay_request *rq, struct assay_response *rs, bool task, int64_t wait_ms,
                  struct assay_err *err)
{
    struct submissions *s = self;
    const struct assay_host *host = s->host;
    struct pending *p = assay_arena_alloc(rq->arena, sizeof *p);
    if (p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    p->s = s;
    p->rq = rq;
    p->arena = rq->arena;
    p->task = task;
    p->wait_ms = wait_ms;
    atomic_init(&p->refs, 1);
    atomic_init(&p->woken, false);
    bool small = rq->body.n <= ON_LOOP_MAX;
    if (small) {
        int rc = draft_all(p, err);
        if (rc < 0) {
            rs->faults = p->rs.faults;
            rs->status = p->rs.status;
            assay_buf_free(&p->rs.body);
            return rc;
        }
        if (!place_take(p)) {
            if (!p->idem.active) {
                *rs = p->rs;
                return refusal_reply(s, &p->refusal, rq, rs, err);
            }
            p->ticket = host->defer(host->ctx, rq);
            if (host->offload(host->ctx, refused_work, p) < 0)
                conclude(p, assay_err_set(&p->err, ASSAY_E_BUSY, "the server is busy; send it again"), false);
            return ASSAY_DEFERRED;
        }
    }
    p->ticket = host->defer(host->ctx, rq);
    if (!small || needs_blob(&p->draft) || p->draft.options.n != 0) {
        if (host->offload(host->ctx, write_work, p) < 0)
            conclude(p, assay_err_set(&p->err, ASSAY_E_BUSY, "the server is busy; send it again"), false);
        return ASSAY_DEFERRED;
    }
    start_waiting(p);
    int rc = build(p, &p->err);
    if (rc >= 0)
        rc = assay_store_exec_async(host->store, p->tx, on_insert, p, &p->err);
    if (rc < 0)
        conclude(p, rc, false);
    return ASSAY_DEFERRED;
}

int http_submissions_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"wait", NULL};
    int rc = assay_query_only(rq, rs, known, err);
    if (rc < 0)
        return rc;
    struct assay_str text;
    rc = assay_query(rq, "wait", &text, err);
    if (rc < 0)
        return rc;
    int64_t wait_s = 0;
    struct assay_err why;
    if (text.p != NULL && assay_parse_i64(text, 0, WAIT_MAX_S, &wait_s, &why) < 0)
        return assay_fault(rq, rs, err, "", "the query parameter \"wait\" (seconds): %s", why.msg);
    return create(self, rq, rs, false, wait_s * 1000, err);
}

int http_task_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    return create(self, rq, rs, true, 0, err);
}

/* ---- batch ------------------------------------------------------------------------------------------ */

static void latch_down(struct latch *l)
{
    pthread_mutex_lock(&l->lock);
    if (--l->left == 0)
        pthread_cond_signal(&l->zero);
    pthread_mutex_unlock(&l->lock);
}

static void on_batch_insert(struct assay_tx *tx, void *arg)
{
    struct pending *p = arg;
    p->status = tx->status;
    if (tx->status < 0)
        p->err = tx->err;
    latch_down(p->latch);
}

static void write_item(struct assay_jw *w, struct pending *p)
{
    assay_jw_object(w);
    if (p->status >= 0) {
        assay_jw_kint(w, "status", p->rs.status);
        assay_jw_kraw(w, "submission", assay_buf_view(&p->rs.body));
    } else {
        assay_jw_kint(w, "status", assay_err_http(p->status));
        assay_jw_key(w, "error");
        assay_jw_object(w);
        assay_jw_kz(w, "title", assay_err_word(p->status));
        /* what is ours is in the log, not in an answer */
        assay_jw_kz(w, "detail", p->status > ASSAY_E_NOMEM ? p->err.msg : "the server could not take it");
        if (p->refused)
            refusal_write(w, &p->refusal);
        assay_jw_key(w, "errors");
        assay_jw_array(w);
        for (size_t i = 0; p->rs.faults != NULL && i < p->rs.faults->n; i++) {
            assay_jw_object(w);
            assay_jw_kstr(w, "pointer", p->rs.faults->item[i].pointer);
            assay_jw_kstr(w, "detail", p->rs.faults->item[i].detail);
            assay_jw_end(w);
        }
        assay_jw_end(w);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

/* Each item is a transaction of its own, all of them handed to the writer at once, so that they share
 * its commits.  Syntax is judged for the whole body (400), everything else for each item; so is whether there is
 * a place in the queue, but when no item finds one the whole is refused as one submission would be. */
int http_submissions_batch(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct batch_body body;
    memset(&body, 0, sizeof body);
    int rc = assay_body_json(rq, rs, batch_fields, &body, err);
    if (rc < 0)
        return rc;
    size_t n = body.items.n;
    const struct submit_body *item = body.items.items;
    struct assay_json_faults *faults = assay_faults(rq, rs);
    for (size_t i = 0; i < n; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "/items/%zu", i);
        draft_check(&item[i], rq->who, prefix, faults, rq->arena);
    }
    if (faults->n != 0)
        return assay_err_set(err, ASSAY_E_INVALID, "an item breaks a rule");

    struct latch latch = {.lock = PTHREAD_MUTEX_INITIALIZER, .zero = PTHREAD_COND_INITIALIZER, .left = 1};
    struct pending *list = assay_arena_array(rq->arena, n, sizeof *list);
    if (list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < n; i++) {
        struct pending *p = &list[i];
        char scope[32];
        snprintf(scope, sizeof scope, "item %zu", i);
        *p = (struct pending){.s = s, .rq = rq, .latch = &latch};
        /* the writer fills rows into a transaction's arena while this thread builds the next one */
        p->arena = assay_arena_new(0);
        rc = p->arena != NULL ? draft_from(p, &item[i], "", &p->err) : assay_err_set(&p->err, ASSAY_E_NOMEM, "no memory");
        if (rc >= 0)
            rc = draft_done(p, assay_str(scope), &p->err);
        if (rc >= 0) /* what was taken before must not hold the place of what was not */
            rc = look_back(p, &p->err);
        if (rc >= 0 && !p->replayed)
            rc = check_options(p, &p->err);
        if (rc >= 0 && !p->replayed && !place_take(p))
            rc = no_place(p, &p->err);
        if (rc >= 0 && p->placed)
            rc = put_blobs(p, &p->err);
        if (rc >= 0 && p->placed)
            rc = build(p, &p->err);
        p->status = rc;
    }
    for (size_t i = 0; i < n; i++) {
        if (list[i].status < 0 || !list[i].placed)
            continue;
        pthread_mutex_lock(&latch.lock);
        latch.left++;
        pthread_mutex_unlock(&latch.lock);
        rc = assay_store_exec_async(s->host->store, list[i].tx, on_batch_insert, &list[i], &list[i].err);
        if (rc < 0) {
            list[i].status = rc;
            latch_down(&latch);
        }
    }
    latch_down(&latch);
    pthread_mutex_lock(&latch.lock);
    while (latch.left != 0)
        pthread_cond_wait(&latch.zero, &latch.lock);
    pthread_mutex_unlock(&latch.lock);

    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_key(w, "items");
    assay_jw_array(w);
    size_t refused = 0;
    struct admission_refusal last = {.retry_after_s = 0}; /* the one that lasts longest */
    int other_body = ASSAY_OK; /* the same key with another body: the whole request is wrong */
    for (size_t i = 0; i < n; i++) {
        struct pending *p = &list[i];
        if (p->status == ASSAY_E_GUARD)
            p->status = settle(p, p->status, &p->err);
        place_settle(p);
        if (p->refused) {
            refused++;
            if (p->refusal.retry_after_s > last.retry_after_s)
                last = p->refusal;
        }
        if (p->status == ASSAY_E_UNPROCESSABLE && other_body == ASSAY_OK) {
            other_body = p->status;
            if (err != NULL)
                *err = p->err;
        }
        write_item(w, p);
        assay_buf_free(&p->rs.body);
        assay_arena_free(p->arena);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    if (other_body < 0)
        return other_body;
    if (refused == n)
        return refusal_reply(s, &last, rq, rs, err);
    if (refused != 0)
        assay_reply_header(rs, ASSAY_STR("Retry-After"), assay_arena_fmt(rq->arena, "%lld", (long long)last.retry_after_s));
    return assay_reply_json(rs, 200, w, err);
}

/* ---- events ------------------------------------------------------------------------------------------ */

int http_on_event(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    struct submissions *s = self;
    (void)tx;
    if (assay_str_is(ev->ev.topic, "submission.created")) {
        admission_seen(s->admission);
        return ASSAY_OK;
    }
    live_ended(s->live, ev->ev.subject);
    if (assay_str_is(ev->ev.topic, "submission.queued"))
        return jobs_queued_again(s, ev, err);
    admission_ended(s->admission, s->host->mono_ns(s->host->ctx) / 1000000);
    live_wake(s->live, ev->ev.subject);
    intake_ended(s, ev->ev.subject);
    return ASSAY_OK;
}
