/*
 * POST /benchmarks/import: a problem package becomes a benchmark, or a problem of one that there is.
 *
 * A package is translated into the JSON that the other routes take, and goes their way: one place decides what a benchmark may
 * be, keeps bytes, commits, and answers a repeated Idempotency-Key.  Around their answer stand the notes and the jury's
 * submissions, which whoever imports may have judged: POST /submissions with "jury".
 */
#include "package.h"

#include "local.h"

static bool is_zip(struct assay_str type)
{
    return assay_str_starts(type, "application/zip") || assay_str_starts(type, "application/x-zip-compressed") ||
           assay_str_starts(type, "application/octet-stream");
}

static int wrap(struct assay_response *rs, const char *what, const struct package *p, struct assay_str submissions,
                struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    struct assay_buf inner = rs->body;
    rs->body = (struct assay_buf)ASSAY_BUF_INIT;
    assay_jw_object(w);
    assay_jw_kraw(w, what, assay_buf_view(&inner));
    assay_jw_key(w, "notes");
    assay_jw_array(w);
    for (size_t i = 0; i < p->n_notes; i++)
        assay_jw_str(w, p->note[i]);
    assay_jw_end(w);
    assay_jw_kraw(w, "submissions", submissions);
    assay_jw_end(w);
    assay_buf_free(&inner);
    return assay_reply_json(rs, rs->status, w, err);
}

static int into_arena(struct assay_jw *w, struct assay_arena *a, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    int rc = assay_jw_finish(w, &b, err);
    if (rc < 0)
        return rc;
    *out = assay_arena_take(a, &b);
    return out->p != NULL ? ASSAY_OK : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

int benchmarks_do_import(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"id", "benchmark_id", NULL};
    struct assay_str id, benchmark;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query(rq, "id", &id, err);
    if (rc == ASSAY_OK)
        rc = assay_query(rq, "benchmark_id", &benchmark, err);
    if (rc < 0)
        return rc;
    if (!is_zip(rq->content_type)) {
        rs->status = 415;
        return assay_err_set(err, ASSAY_E_INVALID, "a problem package is sent as a ZIP with the content type application/zip");
    }
    struct package p = {.arena = rq->arena, .faults = assay_faults(rq, rs)};
    ASSAY_CLEANUP_JW struct assay_jw *body = assay_jw_new(), *jury = assay_jw_new();
    if (body == NULL || jury == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    struct assay_str text, submissions;
    rc = package_unzip(rq->body, &p, err);
    if (rc == ASSAY_OK)
        rc = package_translate(&p, id.p != NULL ? id : ASSAY_STR(""), benchmark.n == 0, body, err);
    if (rc == ASSAY_OK)
        rc = into_arena(body, rq->arena, &text, err);
    if (rc < 0)
        return rc;
    package_submissions(&p, jury);
    rc = into_arena(jury, rq->arena, &submissions, err);
    if (rc < 0)
        return rc;
    rq->body = text;
    rq->content_type = ASSAY_STR("application/json");
    rq->query = ASSAY_STR("");
    rq->param[0] = benchmark;
    rc = benchmark.n != 0 ? benchmarks_do_problem_create(self, rq, rs, err) : benchmarks_do_create(self, rq, rs, err);
    return rc < 0 ? rc : wrap(rs, benchmark.n != 0 ? "problem" : "benchmark", &p, submissions, err);
}
