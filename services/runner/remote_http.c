/* The routes for runners elsewhere: they pull work, fetch what it names, and bring results. */
#include "remote.h"

#define TEST_BLOB_MAX TEST_READ_MAX

static struct assay_str holder_of(struct assay_request *rq)
{
    return assay_arena_fmt(rq->arena, "agent:%.*s", ASSAY_FMT(rq->who->agent_id));
}

static bool word_ok(struct assay_str s)
{
    return s.n <= 64 && memchr(s.p, ' ', s.n) == NULL && assay_utf8_valid(s);
}

/* ' c python ', in the names that rows have; "" for any. */
static int words_of(struct runner *r, struct assay_request *rq, struct assay_response *rs, const struct assay_strs *in,
                    struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    for (size_t i = 0; i < in->n; i++) {
        const struct language *l = languages_find(&r->languages, in->items[i]);
        if (in->items[i].n == 0 || !word_ok(in->items[i])) {
            struct assay_str at = assay_arena_fmt(rq->arena, "/languages/%zu", i);
            return assay_fault(rq, rs, err, at.p != NULL ? at.p : "/languages", "must be the name of a language");
        }
        if (b.n == 0)
            assay_buf_putc(&b, ' ');
        assay_buf_str(&b, l != NULL ? l->name : in->items[i]);
        assay_buf_putc(&b, ' ');
    }
    *out = b.n != 0 ? assay_arena_take(rq->arena, &b) : ASSAY_STR("");
    return out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

int http_lease(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct runner *r = self;
    struct lease_body body = {.max = 1};
    struct poll p = {.arena = rq->arena, .agent_id = rq->who->agent_id, .holder = holder_of(rq)};
    bool some = false;
    if (rq->who->agent_id.n == 0 || !assay_str_eq(rq->who->agent_id, rq->param[0]))
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "only the agent itself may lease work for it, with its own token");
    int rc = rq->body.n != 0 ? assay_body_json(rq, rs, lease_fields, &body, err) : ASSAY_OK;
    if (rc >= 0)
        rc = words_of(r, rq, rs, &body.languages, &p.languages, err);
    if (rc < 0)
        return rc;
    if (p.holder.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    p.max = body.max;
    remote_seen(r, rq->who->agent_id);
    rc = remote_lease(r, &p, rs, &some, err);
    if (rc < 0 || some)
        return rc;
    if (body.wait_s == 0) {
        remote_no_jobs(r, rs);
        return ASSAY_OK;
    }
    p.until_mono_ms = r->host->mono_ns(r->host->ctx) / 1000000 + body.wait_s * 1000;
    p.ticket = r->host->defer(r->host->ctx, rq);
    rc = remote_wait(r, &p, err);
    if (rc >= 0)
        return ASSAY_DEFERRED;
    struct assay_response busy = {.status = 0};
    struct assay_err why = *err;
    r->host->resume(r->host->ctx, p.ticket, rc, &busy, &why);
    return ASSAY_DEFERRED;
}

static int result_in(struct runner *r, struct assay_request *rq, struct assay_response *rs, const struct result_body *body,
                     struct assay_str id, struct assay_err *err)
{
    struct assay_script_result res;
    memset(&res, 0, sizeof res);
    int rc = assay_script_result_decode(body->result, rq->arena, &res, err);
    if (rc >= 0)
        rc = away_import(r, holder_of(rq), id, body->fence, &res, err);
    if (rc == ASSAY_E_INVALID)
        return assay_fault(rq, rs, err, "/result", "%s", err->msg);
    return rc;
}

int http_results_put(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct runner *r = self;
    static const char *const outcome[][1] = {{"taken"}, {"returned"}, {"late"}, {"refused"}};
    struct result_body body = {.fence = 0};
    if (rq->who->agent_id.n == 0)
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "only a worker agent may bring results, with its own token");
    int rc = assay_body_json(rq, rs, result_fields, &body, err);
    if (rc < 0)
        return rc;
    struct assay_str id = body.submission_id.n != 0 ? body.submission_id : body.task_id.n != 0 ? body.task_id : body.id;
    if (!assay_id_valid(id))
        (void)assay_fault(rq, rs, err, "/submission_id", "must be the id of the submission, as its lease said");
    if (body.fence == 0)
        (void)assay_fault(rq, rs, err, "/fence", "must be the fence of the lease");
    if ((body.result.n != 0) == body.has_returned)
        (void)assay_fault(rq, rs, err, "", "must have either \"result\" or \"returned\"");
    rc = assay_faults_end(rq, rs, ASSAY_OK, err);
    if (rc < 0)
        return rc;
    remote_seen(r, rq->who->agent_id);
    rc = body.has_returned ? away_return(r, holder_of(rq), id, body.fence, body.returned.charge, body.returned.reason, err)
                           : result_in(r, rq, rs, &body, id, err);
    r->host->metric_add(r->host->ctx, &runner_metrics[METRIC_AWAY_RESULTS],
                        outcome[rc == ASSAY_E_GUARD ? 2 : rc < 0 ? 3 : body.has_returned ? 1 : 0], 1);
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_CONFLICT, "the lease is over: it expired, or the submission has ended; nothing was changed");
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "submission_id", id);
    assay_jw_kbool(w, "accepted", true);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

int http_blob(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct runner *r = self;
    struct assay_str ref = rq->param[0], bytes;
    bool hex = ref.n == ASSAY_BLOB_REF - 1;
    for (size_t i = 0; hex && i < ref.n; i++)
        hex = (ref.p[i] >= '0' && ref.p[i] <= '9') || (ref.p[i] >= 'a' && ref.p[i] <= 'f');
    if (rq->who->agent_id.n == 0)
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "only worker agents fetch blobs, with their own token");
    if (!hex)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "a blob is named by the 64 hexadecimal digits of its SHA-256");
    int rc = assay_blob_get(r->host->blobs, ref, TEST_BLOB_MAX, rq->arena, &bytes, err);
    if (rc < 0)
        return rc;
    rs->status = 200;
    rs->content_type = "application/octet-stream";
    assay_buf_str(&rs->body, bytes);
    assay_reply_header(rs, ASSAY_STR("Cache-Control"), ASSAY_STR("private, immutable, max-age=31536000"));
    return rs->body.failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}
