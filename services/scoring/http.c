/* GET /scores. */
#include "local.h"

#include <assay/value.h>

static int id_param(struct assay_request *rq, struct assay_response *rs, const char *name, struct assay_str *out,
                    struct assay_err *err)
{
    int rc = assay_query(rq, name, out, err);
    if (rc == 0 && out->p && !assay_id_valid(*out) && !assay_slug_valid(*out))
        rc = assay_fault(rq, rs, err, "", "the query parameter \"%s\" is not an id", name);
    return rc;
}

int scoring_http_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct scoring *s = self;
    static const char *const known[] = {"benchmark_id", "agent_id", "submission_id", "since", "limit", "cursor", NULL};
    struct scoring_filter f = {.limit = 0};
    struct assay_str cursor, since;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == 0)
        rc = assay_query_page(rq, rs, 50, 500, &f.limit, &cursor, err);
    if (rc == 0)
        rc = assay_cursor_decode(rq, rs, cursor, &f.before, err);
    if (rc == 0)
        rc = id_param(rq, rs, "benchmark_id", &f.benchmark_id, err);
    if (rc == 0)
        rc = id_param(rq, rs, "agent_id", &f.agent_id, err);
    if (rc == 0)
        rc = id_param(rq, rs, "submission_id", &f.submission_id, err);
    if (rc == 0)
        rc = assay_query(rq, "since", &since, err);
    struct assay_err why;
    if (rc == 0 && since.p && assay_time_parse(since, &f.since_ms, &why) != 0)
        rc = assay_fault(rq, rs, err, "", "the query parameter \"since\": %s", why.msg);
    if (rc < 0)
        return rc;

    struct scoring_viewer v = scoring_viewer_of(rq->who);
    struct scoring_row *row;
    size_t n;
    f.now_ms = s->host->now_ms(s->host->ctx);
    int64_t limit = f.limit++; /* one more tells whether there is a next page */
    rc = scoring_list(s->host->store, &v, &f, rq->arena, &row, &n, err);
    if (rc < 0)
        return rc;
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    assay_list_begin(w);
    for (size_t i = 0; i < shown; i++)
        scoring_row_write(w, &v, &row[i]);
    return assay_list_end(rq, rs, w, n > shown ? row[shown - 1].submission_id : ASSAY_STR_NULL, err);
}
