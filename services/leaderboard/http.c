/* GET /leaderboard. */
#include "local.h"

#include <assay/value.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000

static int id_param(struct assay_request *rq, struct assay_response *rs, const char *name, struct assay_str *out,
                    struct assay_err *err)
{
    int rc = assay_query(rq, name, out, err);
    if (rc == 0 && out->p && !assay_id_valid(*out) && !assay_slug_valid(*out))
        rc = assay_fault(rq, rs, err, "", "the query parameter \"%s\" is not an id", name);
    return rc;
}

/* Whether the board may be read, and whether there is anything on it for this viewer. */
static int admit(const struct leaderboard *s, struct assay_request *rq, const struct lb_viewer *v, struct assay_str id,
                 bool *scores, struct assay_err *err)
{
    struct lb_benchmark b;
    bool enters = false;
    int rc = lb_benchmark_get(s->host->store, id, rq->arena, &b, err);
    if (rc == 0 && !lb_visible(v, &b, false))
        rc = lb_enters(s->host->store, id, v, rq->arena, &enters, err);
    if (rc < 0)
        return rc;
    if (!lb_visible(v, &b, enters))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such benchmark");
    *scores = lb_scores_visible(v, &b);
    return 0;
}

/* An agent's entry, or its entries on all boards, with their ranks. */
static int of_agent(const struct leaderboard *s, struct assay_request *rq, const struct lb_viewer *v,
                    struct assay_str benchmark_id, struct assay_str agent_id, int64_t limit, struct assay_jw *w,
                    struct assay_err *err)
{
    struct lb_entry one = {.benchmark_id = benchmark_id}, *list = &one;
    size_t n = 1;
    int rc = 0;
    if (!benchmark_id.p)
        rc = lb_boards_of_agent(s->host->store, v, agent_id, limit, rq->arena, &list, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct lb_entry e;
        int64_t rank;
        bool found;
        rc = lb_of_agent(s->host->store, list[i].benchmark_id, agent_id, rq->arena, &e, &rank, &found, err);
        if (rc == 0 && found)
            lb_entry_write(w, v, &e, rank);
    }
    return rc;
}

int leaderboard_http_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct leaderboard *s = self;
    static const char *const known[] = {"benchmark_id", "agent_id", "limit", "cursor", NULL};
    struct assay_str benchmark_id, agent_id, cursor, key;
    struct lb_place from = {.rank = 0};
    int64_t limit;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == 0)
        rc = assay_query_page(rq, rs, LIMIT_DEFAULT, LIMIT_MAX, &limit, &cursor, err);
    if (rc == 0)
        rc = assay_cursor_decode(rq, rs, cursor, &key, err);
    if (rc == 0 && key.n && lb_place_parse(key, &from, NULL) != 0)
        rc = assay_fault(rq, rs, err, "", "the query parameter \"cursor\" is not one that this server gave out");
    if (rc == 0)
        rc = id_param(rq, rs, "benchmark_id", &benchmark_id, err);
    if (rc == 0)
        rc = id_param(rq, rs, "agent_id", &agent_id, err);
    if (rc < 0)
        return rc;

    struct lb_viewer v = lb_viewer_of(rq->who);
    bool scores = true;
    if (benchmark_id.p)
        rc = admit(s, rq, &v, benchmark_id, &scores, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    struct assay_str next = ASSAY_STR_NULL;
    assay_jw_object(w);
    assay_jw_key(w, "items");
    assay_jw_array(w);
    if (scores && agent_id.p) {
        rc = of_agent(s, rq, &v, benchmark_id, agent_id, limit, w, err);
    } else if (scores) {
        struct lb_entry *e;
        size_t n;
        /* one more tells whether there is a next page */
        rc = benchmark_id.p
                 ? lb_top(s->host->store, benchmark_id, &from, limit + 1, rq->arena, &e, &n, err)
                 : lb_top_of_all(s->host->store, &v, &from, limit + 1, rq->arena, &e, &n, err);
        for (size_t i = 0; rc == 0 && i < n && i < (size_t)limit; i++)
            lb_entry_write(w, &v, &e[i], from.rank + 1 + (int64_t)i);
        if (rc == 0 && n > (size_t)limit) {
            const struct lb_entry *last = &e[limit - 1];
            struct lb_place place = {from.rank + limit, last->score, last->created_ms, last->submission_id};
            next = assay_cursor_encode(rq->arena, lb_place_text(&place, rq->arena));
        }
    }
    if (rc < 0)
        return rc;
    assay_jw_end(w);
    if (next.p)
        assay_jw_kstr(w, "next_cursor", next);
    else
        assay_jw_kz(w, "next_cursor", NULL);
    /* so that an empty board is told from one that is not shown */
    if (!scores)
        assay_jw_kbool(w, "hidden", true);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}
