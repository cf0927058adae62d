/* GET /leaderboard. */
#include "http.h"

#include <assay/value.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000
#define WITH_MAX 100

int lb_id_param(struct assay_request *rq, struct assay_response *rs, const char *name, struct assay_str *out,
                struct assay_err *err)
{
    int rc = assay_query(rq, name, out, err);
    if (rc == 0 && out->p && !assay_id_valid(*out) && !assay_slug_valid(*out))
        rc = assay_fault(rq, rs, err, "", "the query parameter \"%s\" is not an id", name);
    return rc;
}

int lb_admit(const struct leaderboard *s, struct assay_request *rq, struct assay_response *rs, const struct lb_viewer *v,
             struct assay_str id, struct lb_shown *out, struct assay_err *err)
{
    struct assay_str view;
    bool enters = false;
    *out = (struct lb_shown){.scores = true, .board = id, .until_ms = INT64_MAX};
    int rc = assay_query(rq, "view", &view, err);
    if (rc == 0 && view.p && !assay_str_is(view, "public") && !assay_str_is(view, "jury"))
        rc = assay_fault(rq, rs, err, "", "the query parameter \"view\" must be \"public\" or \"jury\"");
    if (rc == 0)
        rc = lb_benchmark_get(s->host->store, id, rq->arena, &out->b, err);
    if (rc == 0 && !lb_visible(v, &out->b, false))
        rc = lb_enters(s->host->store, id, v, rq->arena, &enters, err);
    if (rc < 0)
        return rc;
    if (!lb_visible(v, &out->b, enters))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such benchmark");
    bool jury = lb_is_jury(v, &out->b);
    if (!jury && assay_str_is(view, "jury"))
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "the jury's view is for staff and the benchmark's owner");
    out->scores = lb_scores_visible(v, &out->b);
    out->frozen = lb_frozen(&out->b, v->now_ms);
    if (out->frozen && (!jury || assay_str_is(view, "public"))) {
        out->board = assay_arena_fmt(rq->arena, "%.*s" LB_FROZEN, ASSAY_FMT(id));
        out->until_ms = out->b.freezes_ms;
        if (!out->board.p)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a leaderboard");
    }
    return 0;
}

/* with=problems,metrics */
static int with_param(struct assay_request *rq, struct assay_response *rs, struct lb_shown *out, struct assay_err *err)
{
    struct assay_str with;
    int rc = assay_query(rq, "with", &with, err);
    while (rc == 0 && with.n > 0) {
        const char *comma = memchr(with.p, ',', with.n);
        struct assay_str word = {with.p, comma ? (size_t)(comma - with.p) : with.n};
        if (assay_str_is(word, "problems"))
            out->problems = true;
        else if (assay_str_is(word, "metrics"))
            out->metrics = true;
        else
            return assay_fault(rq, rs, err, "", "the query parameter \"with\" is a list of \"problems\" and \"metrics\"");
        with.p += word.n + (comma != NULL);
        with.n -= word.n + (comma != NULL);
    }
    return rc;
}

/* A row with what is asked for beside it. */
static int row_write(const struct leaderboard *s, struct assay_request *rq, const struct lb_viewer *v, const struct lb_shown *sh,
                     struct lb_entry *e, struct assay_str benchmark_id, int64_t rank, struct assay_jw *w, struct assay_err *err)
{
    int rc = 0;
    if (benchmark_id.p)
        e->benchmark_id = benchmark_id; /* without the mark of the frozen board */
    lb_entry_write(w, v, benchmark_id.p ? &sh->b : NULL, e, rank);
    if (benchmark_id.p && sh->problems) {
        struct lb_cell *c;
        size_t n;
        rc = lb_cells(s->host->store, sh->board, e->agent_id, rq->arena, &c, &n, err);
        if (rc == 0)
            lb_cells_write(w, &sh->b, c, n);
    }
    if (rc == 0 && benchmark_id.p && sh->metrics) {
        struct assay_rows rows;
        rc = lb_metrics(s->host->store, benchmark_id, e->agent_id, sh->until_ms, rq->arena, &rows, err);
        if (rc == 0)
            lb_metrics_write(w, &rows);
    }
    assay_jw_end(w);
    return rc;
}

/* An agent's entry, or its entries on all boards, with their ranks. */
static int of_agent(const struct leaderboard *s, struct assay_request *rq, const struct lb_viewer *v, const struct lb_shown *sh,
                    struct assay_str benchmark_id, struct assay_str agent_id, int64_t limit, struct assay_jw *w,
                    struct assay_err *err)
{
    struct lb_entry one = {.benchmark_id = sh->board}, *list = &one;
    size_t n = 1;
    int rc = 0;
    if (!benchmark_id.p)
        rc = lb_boards_of_agent(s->host->store, v, agent_id, limit, rq->arena, &list, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct lb_entry e;
        struct lb_benchmark b;
        int64_t rank;
        bool found;
        rc = lb_of_agent(s->host->store, list[i].benchmark_id, agent_id, rq->arena, &e, &rank, &found, err);
        if (rc == 0 && found && benchmark_id.p)
            rc = row_write(s, rq, v, sh, &e, benchmark_id, rank, w, err);
        else if (rc == 0 && found && (rc = lb_benchmark_get(s->host->store, list[i].benchmark_id, rq->arena, &b, err)) == 0) {
            lb_entry_write(w, v, &b, &e, rank);
            assay_jw_end(w);
        }
    }
    return rc;
}

int leaderboard_http_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct leaderboard *s = self;
    static const char *const known[] = {"benchmark_id", "agent_id", "view", "with", "limit", "cursor", NULL};
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
        rc = lb_id_param(rq, rs, "benchmark_id", &benchmark_id, err);
    if (rc == 0)
        rc = lb_id_param(rq, rs, "agent_id", &agent_id, err);
    if (rc < 0)
        return rc;

    struct lb_viewer v = lb_viewer_of(rq->who, s->host->now_ms(s->host->ctx));
    struct lb_shown sh = {.scores = true};
    if (benchmark_id.p)
        rc = lb_admit(s, rq, rs, &v, benchmark_id, &sh, err);
    if (rc == 0)
        rc = with_param(rq, rs, &sh, err);
    if (rc == 0 && !benchmark_id.p && (sh.problems || sh.metrics))
        rc = assay_fault(rq, rs, err, "", "the query parameter \"with\" is only taken with benchmark_id");
    if (rc == 0 && (sh.problems || sh.metrics) && limit > WITH_MAX)
        limit = WITH_MAX; /* the page is shorter, and the cursor says so */
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    struct assay_str next = ASSAY_STR_NULL;
    assay_jw_object(w);
    assay_jw_key(w, "items");
    assay_jw_array(w);
    if (sh.scores && agent_id.p) {
        rc = of_agent(s, rq, &v, &sh, benchmark_id, agent_id, limit, w, err);
    } else if (sh.scores) {
        struct lb_entry *e;
        size_t n;
        /* one more tells whether there is a next page */
        rc = benchmark_id.p
                 ? lb_top(s->host->store, sh.board, &from, limit + 1, rq->arena, &e, &n, err)
                 : lb_top_of_all(s->host->store, &v, &from, limit + 1, rq->arena, &e, &n, err);
        for (size_t i = 0; rc == 0 && i < n && i < (size_t)limit; i++)
            rc = row_write(s, rq, &v, &sh, &e[i], benchmark_id, from.rank + 1 + (int64_t)i, w, err);
        if (rc == 0 && n > (size_t)limit) {
            const struct lb_entry *last = &e[limit - 1];
            struct lb_place place = {from.rank + limit, 0 - last->down, last->tie, last->submission_id};
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
    if (!sh.scores)
        assay_jw_kbool(w, "hidden", true);
    if (benchmark_id.p)
        lb_rules_write(w, &sh.b, sh.frozen && sh.until_ms != INT64_MAX);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}
