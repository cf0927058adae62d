/*
 * The routes of submissions that are there already: reading, changing, and the short form.  Worker threads: these
 * may block.
 */
#include "local.h"

/* ---- reading ------------------------------------------------------------------------------------------ */

int http_submissions_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    static const char *const known[] = {"benchmark_id", "problem_id", "agent_id", "status", "verdict",
                                        "since",        "limit",      "cursor",   NULL};
    struct list_filter f = {.limit = 0};
    struct assay_str cursor, since;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc >= 0)
        rc = assay_query_page(rq, rs, 50, 500, &f.limit, &cursor, err);
    if (rc >= 0)
        rc = assay_cursor_decode(rq, rs, cursor, &f.before, err);
    const struct {
        const char *name;
        struct assay_str *to;
    } text[] = {{"benchmark_id", &f.benchmark_id}, {"problem_id", &f.problem_id}, {"agent_id", &f.agent_id},
                {"status", &f.status},             {"verdict", &f.verdict},       {"since", &since}};
    for (size_t i = 0; rc >= 0 && i < sizeof text / sizeof text[0]; i++)
        rc = assay_query(rq, text[i].name, text[i].to, err);
    if (rc < 0)
        return rc;
    static const char *const states[] = {"queued", "running", "done", "error", "cancelled"};
    bool state_known = f.status.n == 0;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        state_known = state_known || assay_str_is(f.status, states[i]);
    if (!state_known)
        return assay_fault(rq, rs, err, "", "the query parameter \"status\" is one of queued, running, done, error, cancelled");
    if (f.verdict.n != 0 && !verdict_known(f.verdict))
        return assay_fault(rq, rs, err, "", "the query parameter \"verdict\" is one of OK, WA, TL, ML, OL, RE, BF, IE");
    struct assay_err why;
    if (since.p != NULL && assay_time_parse(since, &f.since_ms, &why) < 0)
        return assay_fault(rq, rs, err, "", "the query parameter \"since\": %s", why.msg);

    struct viewer v = viewer_of(rq->who);
    struct view *list;
    size_t n;
    int64_t limit = f.limit++; /* one more tells whether there is a next page */
    rc = repo_list(s, &v, &f, rq->arena, &list, &n, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_list_begin(w);
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    for (size_t i = 0; i < shown; i++)
        view_write(w, &list[i], false);
    return assay_list_end(rq, rs, w, n > shown ? list[shown - 1].id : ASSAY_STR_NULL, err);
}

static int find(struct submissions *s, struct assay_request *rq, struct assay_str id, struct view *out,
                struct assay_err *err)
{
    struct viewer v = viewer_of(rq->who);
    return repo_get(s, &v, id, rq->arena, out, err);
}

static int reply_view(struct submissions *s, struct assay_request *rq, struct assay_response *rs, struct assay_str id,
                      int status, struct assay_err *err)
{
    struct view view;
    int rc = find(s, rq, id, &view, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    view_write(w, &view, true);
    return assay_reply_json(rs, status, w, err);
}

int http_submissions_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    return reply_view(self, rq, rs, rq->param[0], 200, err);
}

int http_submissions_source(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct view view;
    struct sent sent;
    int rc = find(s, rq, rq->param[0], &view, err);
    if (rc >= 0)
        rc = repo_sent(s, view.id, rq->arena, &sent, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    sent_write(w, &view, &sent);
    return assay_reply_json(rs, 200, w, err);
}

/* ---- changing ------------------------------------------------------------------------------------------ */

/* Queued: over at once. Running: asked for, and the runner ends it. *ended says which. */
static int cancel(struct submissions *s, const struct view *v, bool and_delete, bool *ended, const struct assay_request *rq, struct assay_err *err)
{
    /* it may be leased, or come back, between two of these statements */
    for (int i = 0; i < 4; i++) {
        int rc = repo_cancel_queued(s, v, rq, err);
        *ended = rc >= 0;
        if (rc != ASSAY_E_GUARD)
            return rc;
        rc = repo_cancel_running(s, v, and_delete, rq, err);
        if (rc >= 0)
            live_cancel(s->live, v->id);
        if (rc != ASSAY_E_GUARD)
            return rc;
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct held h;
        rc = arena != NULL ? repo_held(s, v->id, arena, &h, err) : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        if (rc < 0)
            return rc;
        if (state_ended(h.state))
            return assay_err_set(err, ASSAY_E_CONFLICT, "the submission has ended: it is %.*s", ASSAY_FMT(h.state));
    }
    return assay_err_set(err, ASSAY_E_BUSY, "the submission is changing; send it again");
}

int http_submissions_cancel(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct view view;
    bool ended = false;
    int rc = find(s, rq, rq->param[0], &view, err);
    if (rc >= 0)
        rc = cancel(s, &view, false, &ended, rq, err);
    return rc < 0 ? rc : reply_view(s, rq, rs, rq->param[0], ended ? 200 : 202, err);
}

int http_submissions_rejudge(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct view view;
    int rc = find(s, rq, rq->param[0], &view, err);
    if (rc < 0)
        return rc;
    /* it takes its place when its event comes; here it is only asked whether there is one */
    struct place place = {.submitter = ASSAY_STR(""), .benchmark_id = view.benchmark_id, .bytes = 0};
    struct admission_refusal why;
    if (!admission_enter(s->admission, &place, s->host->mono_ns(s->host->ctx) / 1000000, &why))
        return refusal_reply(s, &why, rq, rs, err);
    admission_written(s->admission, &place, false);
    rc = repo_rejudge(s, &view, rq, err);
    if (rc == ASSAY_E_GUARD && view.kind == ASSAY_JOB_PROJECT && (assay_str_is(view.state, "done") || assay_str_is(view.state, "error")))
        return assay_err_set(err, ASSAY_E_CONFLICT, "its upload is kept no longer (uploads_keep), so it cannot be judged again");
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_CONFLICT, "only what has ended is judged again; the submission is %.*s",
                             ASSAY_FMT(view.state));
    return rc < 0 ? rc : reply_view(s, rq, rs, rq->param[0], 202, err);
}

int http_submissions_delete(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct view view;
    int rc = find(s, rq, rq->param[0], &view, err);
    if (rc >= 0)
        rc = repo_delete_ended(s, &view, rq, err);
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_CONFLICT, "the submission has not ended; cancel it first");
    if (rc >= 0)
        rs->status = 204;
    return rc;
}

/* ---- the short form -------------------------------------------------------------------------------------- */

static int find_task(struct submissions *s, struct assay_request *rq, struct assay_str id, struct view *out,
                     struct assay_err *err)
{
    if (!assay_id_valid(id))
        return assay_err_set(err, ASSAY_E_INVALID, "a task's id is a UUID");
    int rc = find(s, rq, id, out, err);
    if (rc == ASSAY_E_NOT_FOUND || (rc >= 0 && out->kind != ASSAY_JOB_TASK && out->kind != ASSAY_JOB_FILTER))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such task of yours");
    return rc;
}

int http_task_status(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct view view;
    int rc = find_task(self, rq, rq->param[0], &view, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kz(w, "status", state_ended(view.state) ? "ready" : "in_progress");
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

/* The result's bytes are a blob; why there are none is the output itself. */
static int filter_result(struct submissions *s, struct assay_response *rs, const struct view *view, struct assay_str output,
                         struct assay_arena *arena, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    struct assay_str bytes = ASSAY_STR("");
    bool good = view->has_verdict && assay_str_is(view->verdict, "OK");
    int rc = good ? assay_blob_get(s->host->blobs, output, PART_READ_MAX, arena, &bytes, err) : ASSAY_OK;
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, ASSAY_E_CORRUPT, "the result of %.*s is not stored", ASSAY_FMT(view->id));
    if (rc < 0)
        return rc;
    assay_buf_puts(&text, "");
    assay_buf_base64(&text, bytes);
    if (text.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "result", assay_buf_view(&text));
    if (state_ended(view->state) && !good)
        assay_jw_kstr(w, "error", output.n != 0 ? output : assay_str_is(view->state, "cancelled") ? ASSAY_STR("cancelled") : ASSAY_STR("failed: this server could not apply it"));
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

int http_task_result(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct view view;
    struct assay_str output = ASSAY_STR("");
    int rc = find_task(s, rq, rq->param[0], &view, err);
    if (rc >= 0 && state_ended(view.state))
        rc = repo_output(s, view.id, rq->arena, &output, err);
    if (rc >= 0 && view.kind == ASSAY_JOB_FILTER)
        return filter_result(s, rs, &view, output, rq->arena, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "result", output);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

int http_task_delete(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    static const char *const known[] = {"id", NULL};
    struct assay_str id;
    struct view view;
    bool ended = false;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc >= 0)
        rc = assay_query(rq, "id", &id, err);
    if (rc >= 0 && id.p == NULL)
        return assay_fault(rq, rs, err, "", "the query parameter \"id\" is required");
    if (rc >= 0)
        rc = find_task(s, rq, id, &view, err);
    if (rc < 0)
        return rc;
    rc = cancel(s, &view, true, &ended, rq, err);
    if (rc == ASSAY_E_CONFLICT || (rc >= 0 && ended)) { /* ended, before or now */
        rc = repo_delete_ended(s, &view, rq, err);
        if (rc == ASSAY_E_GUARD) /* somebody else deleted it */
            rc = ASSAY_OK;
    }
    if (rc >= 0)
        rs->status = 204;
    return rc;
}
