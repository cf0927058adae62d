/* The routes of projects.  All run on workers. */
#include "project.h"

#include <stdio.h>

#define LOG_READ_MAX ((size_t)64 << 20)

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

/* The PIT that was asked for, or the one that stands for none. title: what to call it. */
static int known_pit(struct submissions *s, struct assay_str *id, struct assay_arena *arena, struct assay_str *title, struct assay_err *err)
{
    struct assay_pit pit = {.title = ASSAY_STR("")};
    if (id->n == 0)
        *id = assay_str(s->host->option_str(s->host->ctx, "default_pit_id"));
    if (id->n == 0)
        return assay_err_set(err, ASSAY_E_INVALID, "pitId is required: this server has no default_pit_id");
    int rc = s->pits != NULL ? s->pits->get(s->pits_self, *id, arena, &pit, err) : ASSAY_OK;
    *title = pit.title.n != 0 ? pit.title : *id;
    return rc;
}

int http_project_request(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    const struct assay_host *host = s->host;
    struct upload_body in = {.pit_id = ASSAY_STR("")};
    struct assay_str title, secret;
    int rc = rq->body.n != 0 ? assay_body_json(rq, rs, upload_fields, &in, err) : ASSAY_OK;
    if (rc >= 0)
        rc = known_pit(s, &in.pit_id, rq->arena, &title, err);
    if (rc < 0)
        return rc;
    struct assay_str key = upload_key(rq->arena, rq->who->user_id, in.pit_id, host->now_ms(host->ctx));
    ASSAY_CLEANUP_BUF struct assay_buf url = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (key.p == NULL || w == NULL)
        return no_memory(err);
    rc = assay_blob_presign(host->blobs, key, "PUT", UPLOAD_TTL_S, ASSAY_STR(""), &url, err);
    if (rc == ASSAY_E_UNSUPPORTED) { /* only this server reaches the blobs */
        char signature[UPLOAD_SIGNATURE];
        int64_t until = host->now_ms(host->ctx) / 1000 + UPLOAD_TTL_S;
        struct assay_str base = upload_base(rq->arena, host->option_str(host->ctx, "public_url"), rq->header(rq, ":scheme"), rq->header(rq, "host"));
        rc = base.p == NULL ? no_memory(err) : repo_upload_secret(s, rq->arena, &secret, err);
        if (rc < 0)
            return rc;
        upload_sign(secret, key, until, signature);
        assay_buf_fmt(&url, "%.*s/submissions/uploads/%.*s?expires=%lld&signature=%s", ASSAY_FMT(base),
                      (int)(key.n - (sizeof "submissions/" - 1)), key.p + sizeof "submissions/" - 1, (long long)until, signature);
    }
    if (rc >= 0)
        rc = repo_upload_given(s, key, rq->arena, err);
    if (rc < 0)
        return rc;
    assay_jw_object(w);
    assay_jw_kstr(w, "uploadUrl", assay_buf_view(&url));
    assay_jw_kstr(w, "fileKey", key);
    assay_jw_kint(w, "expiresIn", UPLOAD_TTL_S);
    assay_jw_end(w);
    assay_reply_header(rs, ASSAY_STR("Cache-Control"), ASSAY_STR("no-store"));
    return assay_reply_json(rs, 201, w, err);
}

int http_project_put(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"expires", "signature", NULL};
    struct submissions *s = self;
    const struct assay_host *host = s->host;
    struct assay_str expires, signature, secret, id, user, pit;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc >= 0)
        rc = assay_query(rq, "expires", &expires, err);
    if (rc >= 0)
        rc = assay_query(rq, "signature", &signature, err);
    if (rc >= 0)
        rc = repo_upload_secret(s, rq->arena, &secret, err);
    if (rc < 0)
        return rc;
    struct assay_str key = assay_arena_fmt(rq->arena, "submissions/%.*s/%.*s/%.*s", ASSAY_FMT(rq->param[0]), ASSAY_FMT(rq->param[1]), ASSAY_FMT(rq->param[2]));
    if (key.p == NULL)
        return no_memory(err);
    rc = upload_check(secret, key, expires, signature, host->now_ms(host->ctx) / 1000, err);
    if (rc >= 0 && !assay_project_key(key, &user, &pit))
        rc = assay_err_set(err, ASSAY_E_FORBIDDEN, "this is no key of an upload");
    if (rc < 0)
        return rc;
    rc = repo_project_by_file(s, key, rq->arena, &id, err);
    if (rc == ASSAY_OK)
        return assay_err_set(err, ASSAY_E_CONFLICT, "this upload was confirmed already, and cannot be changed any more");
    if (rc != ASSAY_E_NOT_FOUND)
        return rc;
    if (!upload_is_zip(rq->body))
        return assay_err_set(err, ASSAY_E_INVALID, "the body is no ZIP archive");
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    rc = host->blobs->ops->put(host->blobs->self, key, rq->body, err);
    if (rc < 0)
        return rc;
    assay_jw_object(w);
    assay_jw_kz(w, "status", "ok");
    assay_jw_kstr(w, "fileKey", key);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

static int confirmed(struct assay_response *rs, struct assay_str id, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_jw_object(w);
    assay_jw_kz(w, "status", "ok");
    assay_jw_kstr(w, "submissionId", id);
    assay_jw_end(w);
    return assay_reply_json(rs, 201, w, err);
}

/* Whether something of a fit size is there. */
static int uploaded(struct submissions *s, struct assay_str key, struct assay_err *err)
{
    const struct assay_blobs *b = s->host->blobs;
    int64_t bytes;
    int rc = b->ops->stat(b->self, key, &bytes, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, ASSAY_E_CONFLICT, "nothing was uploaded under that fileKey yet: PUT the ZIP to its uploadUrl first");
    if (rc >= 0 && bytes > (int64_t)UPLOAD_MAX)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "a project's ZIP has at most %zu MiB", UPLOAD_MAX >> 20);
    return rc;
}

static int submit(struct submissions *s, struct assay_request *rq, struct assay_response *rs, const struct confirm_body *in, struct assay_str title,
                  struct assay_err *err)
{
    const struct assay_host *host = s->host;
    struct draft d = {.kind = ASSAY_JOB_PROJECT,
                      .owner_id = rq->who->user_id,
                      .agent_id = rq->who->agent_id,
                      .staff = assay_is_staff(rq->who) && rq->who->agent_id.n == 0,
                      .has_payload = true,
                      .request_id = rq->request_id,
                      .traceparent = rq->traceparent,
                      .now_ms = host->now_ms(host->ctx),
                      .benchmark_id = ASSAY_STR(""),
                      .problem_id = ASSAY_STR(""),
                      .language = ASSAY_STR("")};
    char at[ASSAY_TIME_SIZE];
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_id_new(d.id);
    assay_time_format(d.now_ms, at);
    struct assay_project p = {.submission_id = assay_str(d.id), .file_key = in->file_key, .user_id = rq->who->user_id, .pit_id = in->pit_id,
                              .created_at = assay_str(at), .assay = ASSAY_STR("")};
    int rc = assay_project_encode(&p, &b, err);
    d.payload = rc >= 0 ? assay_arena_take(rq->arena, &b) : ASSAY_STR_NULL;
    assay_buf_free(&b);
    if (rc >= 0)
        rc = d.payload.p == NULL ? no_memory(err) : draft_submitter(&d, rq->arena, err);
    if (rc < 0)
        return rc;
    struct place place = {.submitter = d.submitter, .benchmark_id = ASSAY_STR(""), .bytes = (int64_t)draft_bytes(&d)};
    struct admission_refusal why;
    if (!admission_enter(s->admission, &place, host->mono_ns(host->ctx) / 1000000, &why))
        return refusal_reply(s, &why, rq, rs, err);
    rc = repo_project_insert(s, &d, &p, title, rq->arena, err);
    admission_written(s->admission, &place, rc >= 0);
    struct assay_str id = assay_str(d.id);
    if (rc == ASSAY_E_GUARD) /* the same confirmation at the same time */
        rc = repo_project_by_file(s, in->file_key, rq->arena, &id, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, ASSAY_E_CONFLICT, "this upload was not confirmed in time and has been removed: ask for another with request-upload");
    return rc < 0 ? rc : confirmed(rs, id, err);
}

int http_project_confirm(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct confirm_body in = {.pit_id = ASSAY_STR("")};
    struct assay_str user, pit, id, title;
    int rc = assay_body_json(rq, rs, confirm_fields, &in, err);
    if (rc < 0)
        return rc;
    if (!assay_project_key(in.file_key, &user, &pit) || !assay_str_eq(user, rq->who->user_id))
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "fileKey is none of yours: it must be the one that request-upload gave");
    if (in.pit_id.n != 0 && !assay_str_eq(in.pit_id, pit))
        return assay_fault(rq, rs, err, "/pitId", "is another PIT than that of the fileKey");
    in.pit_id = pit;
    rc = repo_project_by_file(s, in.file_key, rq->arena, &id, err);
    if (rc == ASSAY_OK)
        return confirmed(rs, id, err);
    if (rc != ASSAY_E_NOT_FOUND)
        return rc;
    rc = known_pit(s, &in.pit_id, rq->arena, &title, err);
    if (rc >= 0)
        rc = uploaded(s, in.file_key, err);
    return rc < 0 ? rc : submit(s, rq, rs, &in, title, err);
}

int http_project_feedback(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct viewer v = viewer_of(rq->who);
    struct project_row r;
    int rc = repo_project_get(self, &v, rq->param[0], rq->arena, &r, err);
    ASSAY_CLEANUP_JW struct assay_jw *w = rc >= 0 ? assay_jw_new() : NULL;
    if (rc < 0)
        return rc;
    if (w == NULL)
        return no_memory(err);
    project_write(w, &r, true);
    return assay_reply_json(rs, 200, w, err);
}

int http_project_log(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    const struct assay_blobs *b = s->host->blobs;
    struct viewer v = viewer_of(rq->who);
    struct project_row r;
    struct assay_str log;
    int rc = repo_project_get(s, &v, rq->param[0], rq->arena, &r, err);
    if (rc < 0)
        return rc;
    struct assay_str key = assay_arena_fmt(rq->arena, "logs/%.*s/run.log", ASSAY_FMT(r.id));
    rc = key.p == NULL ? no_memory(err) : b->ops->get(b->self, key, LOG_READ_MAX, rq->arena, &log, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, rc, "there is no log: it has not been run to its end, or its log was kept no longer (logs_keep)");
    if (rc < 0)
        return rc;
    rs->content_type = "text/plain; charset=utf-8";
    assay_buf_utf8(&rs->body, log);
    return rs->body.failed ? no_memory(err) : ASSAY_OK;
}

int http_project_mine(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"pitId", "pit_id", "limit", "cursor", NULL};
    struct submissions *s = self;
    struct assay_str pit, pit_too, cursor, before;
    struct project_row *row;
    size_t n;
    int64_t limit;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc >= 0)
        rc = assay_query_page(rq, rs, 100, 200, &limit, &cursor, err);
    if (rc >= 0)
        rc = assay_cursor_decode(rq, rs, cursor, &before, err);
    if (rc >= 0)
        rc = assay_query(rq, "pitId", &pit, err);
    if (rc >= 0)
        rc = assay_query(rq, "pit_id", &pit_too, err);
    if (rc < 0)
        return rc;
    pit = pit.n != 0 ? pit : pit_too.n != 0 ? pit_too : ASSAY_STR("");
    struct viewer v = viewer_of(rq->who);
    rc = repo_project_mine(s, v.user_id, v.agent_id, pit, before.n != 0 ? before : ASSAY_STR(""), limit + 1, rq->arena, &row, &n, err);
    if (rc < 0)
        return rc;
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_jw_array(w); /* bare, as the clients of the older platform have it; the next page is in a header */
    for (size_t i = 0; i < shown; i++)
        project_write(w, &row[i], false);
    assay_jw_end(w);
    if (n > shown) {
        struct assay_str next = assay_cursor_encode(rq->arena, row[shown - 1].id);
        if (next.p == NULL)
            return no_memory(err);
        assay_reply_header(rs, ASSAY_STR("X-Next-Cursor"), next);
    }
    return assay_reply_json(rs, 200, w, err);
}
