/* GET /leaderboard/statistics, /compare and /history: how sure a board is, two agents, one agent over time. */
#include "http.h"
#include "stats.h"

#include <assay/value.h>

#include <math.h>
#include <stdlib.h>

#define AGENTS_MAX 200 /* of whom intervals are computed at once */
#define DRAWS_DEFAULT 1000
#define DRAWS_MAX 10000
#define HISTORY_MAX 1000

/* How intervals are made: what the request says of it. */
struct how {
    double confidence;
    int64_t draws, seed;
    double *room;
};

static int number(struct assay_request *rq, struct assay_response *rs, const char *name, int64_t dflt, int64_t min, int64_t max,
                  int64_t *out, struct assay_err *err)
{
    struct assay_str text;
    int rc = assay_query(rq, name, &text, err);
    *out = dflt;
    if (rc == 0 && text.p && assay_parse_i64(text, min, max, out, NULL) != 0)
        rc = assay_fault(rq, rs, err, "", "the query parameter \"%s\" must be a number from %lld to %lld", name, (long long)min,
                         (long long)max);
    return rc;
}

static int how_param(struct assay_request *rq, struct assay_response *rs, struct how *out, struct assay_err *err)
{
    struct assay_str text;
    char word[16], *end = word;
    *out = (struct how){.confidence = 0.95};
    int rc = assay_query(rq, "confidence", &text, err);
    if (rc == 0 && text.p) {
        if (text.n < sizeof word) {
            memcpy(word, text.p, text.n);
            word[text.n] = '\0';
            out->confidence = strtod(word, &end);
        }
        if (end == word || *end != '\0' || !(out->confidence >= 0.5 && out->confidence <= 0.999))
            rc = assay_fault(rq, rs, err, "", "the query parameter \"confidence\" must be a number from 0.5 to 0.999");
    }
    if (rc == 0)
        rc = number(rq, rs, "draws", DRAWS_DEFAULT, 100, DRAWS_MAX, &out->draws, err);
    if (rc == 0)
        rc = number(rq, rs, "seed", 1, 0, INT64_MAX, &out->seed, err);
    if (rc == 0 && !(out->room = assay_arena_array(rq->arena, (size_t)out->draws, sizeof *out->room)))
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    return rc;
}

static void how_write(struct assay_jw *w, const struct how *how)
{
    assay_jw_kreal(w, "confidence", how->confidence);
    assay_jw_kint(w, "draws", how->draws);
    assay_jw_kint(w, "seed", how->seed);
}

static void interval_write(struct assay_jw *w, const char *key, double estimate, struct lb_interval i)
{
    assay_jw_key(w, key);
    assay_jw_object(w);
    assay_jw_kreal(w, "estimate", estimate);
    assay_jw_kreal(w, "low", i.low);
    assay_jw_kreal(w, "high", i.high);
    assay_jw_end(w);
}

static int required(struct assay_request *rq, struct assay_response *rs, const char *name, struct assay_str *out, struct assay_err *err)
{
    int rc = lb_id_param(rq, rs, name, out, err);
    return rc == 0 && !out->p ? assay_fault(rq, rs, err, "", "the query parameter \"%s\" is required", name) : rc;
}

/* The board that is asked for, when its scores may be seen. */
static int open_board(const struct leaderboard *s, struct assay_request *rq, struct assay_response *rs, struct lb_viewer *v,
                      struct assay_str *benchmark_id, struct lb_shown *sh, struct assay_err *err)
{
    *v = lb_viewer_of(rq->who, s->host->now_ms(s->host->ctx));
    int rc = required(rq, rs, "benchmark_id", benchmark_id, err);
    if (rc == 0)
        rc = lb_admit(s, rq, rs, v, *benchmark_id, sh, err);
    if (rc == 0 && !sh->scores)
        rc = assay_err_set(err, ASSAY_E_FORBIDDEN, "the benchmark's feedback keeps scores from you");
    return rc;
}

/* ---- statistics ------------------------------------------------------------------------------------- */

struct estimate {
    int64_t samples, correct, solved;
    size_t problems;
    double mean;
    struct lb_interval pass, of_mean;
};

/* Every problem is a cluster of the scores of the agent's submissions to it. */
static int estimate_of(struct assay_request *rq, const struct lb_cell *c, size_t n, const struct how *how, struct estimate *out,
                       struct assay_err *err)
{
    struct lb_cluster *x = assay_arena_array(rq->arena, n + 1, sizeof *x);
    *out = (struct estimate){.samples = 0};
    if (!x)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    for (size_t i = 0; i < n; i++) {
        if (c[i].n == 0)
            continue;
        out->samples += c[i].n;
        out->correct += c[i].correct;
        out->solved += c[i].correct > 0;
        x[out->problems++] = (struct lb_cluster){c[i].total, (double)c[i].n};
    }
    out->mean = lb_ratio(x, out->problems);
    out->pass = lb_wilson(out->correct, out->samples, how->confidence);
    out->of_mean = lb_bootstrap(x, out->problems, how->confidence, (size_t)how->draws, (uint64_t)how->seed, how->room);
    return 0;
}

int leaderboard_http_statistics(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct leaderboard *s = self;
    static const char *const known[] = {"benchmark_id", "view", "confidence", "draws", "seed", NULL};
    struct assay_str benchmark_id;
    struct lb_viewer v;
    struct lb_shown sh;
    struct how how;
    struct lb_entry *e = NULL;
    struct lb_place top = {.rank = 0};
    size_t n = 0;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == 0)
        rc = how_param(rq, rs, &how, err);
    if (rc == 0)
        rc = open_board(s, rq, rs, &v, &benchmark_id, &sh, err);
    if (rc == 0)
        rc = lb_top(s->host->store, sh.board, &top, AGENTS_MAX, rq->arena, &e, &n, err);
    struct estimate *x = rc < 0 ? NULL : assay_arena_array(rq->arena, n + 1, sizeof *x);
    struct lb_interval *of = rc < 0 ? NULL : assay_arena_array(rq->arena, n + 1, sizeof *of);
    struct lb_ranks *ranks = rc < 0 ? NULL : assay_arena_array(rq->arena, n + 1, sizeof *ranks);
    if (rc == 0 && (!x || !of || !ranks))
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct lb_cell *c;
        size_t cells;
        rc = lb_cells(s->host->store, sh.board, e[i].agent_id, rq->arena, &c, &cells, err);
        if (rc == 0)
            rc = estimate_of(rq, c, cells, &how, &x[i], err);
        of[i] = x[i].of_mean;
    }
    if (rc == 0 && lb_rank_intervals(of, n, ranks) != 0)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    assay_jw_object(w);
    how_write(w, &how);
    assay_jw_key(w, "items");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        assay_jw_object(w);
        assay_jw_kint(w, "rank", (int64_t)i + 1);
        assay_jw_kint(w, "rank_best", (int64_t)ranks[i].best);
        assay_jw_kint(w, "rank_worst", (int64_t)ranks[i].worst);
        assay_jw_kstr(w, "agent_id", e[i].agent_id);
        assay_jw_kint(w, "problems", (int64_t)x[i].problems);
        assay_jw_kint(w, "solved", x[i].solved);
        assay_jw_kint(w, "submissions", x[i].samples);
        assay_jw_kint(w, "correct", x[i].correct);
        interval_write(w, "pass_rate", x[i].samples > 0 ? (double)x[i].correct / (double)x[i].samples : NAN, x[i].pass);
        interval_write(w, "mean_score", x[i].mean, x[i].of_mean);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

/* ---- two agents -------------------------------------------------------------------------------------- */

int leaderboard_http_compare(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct leaderboard *s = self;
    static const char *const known[] = {"benchmark_id", "a", "b", "view", "confidence", "draws", "seed", NULL};
    struct assay_str benchmark_id, id[2];
    struct lb_viewer v;
    struct lb_shown sh;
    struct how how;
    struct lb_cell *c[2] = {NULL, NULL};
    size_t n[2] = {0, 0};
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == 0)
        rc = how_param(rq, rs, &how, err);
    if (rc == 0)
        rc = required(rq, rs, "a", &id[0], err);
    if (rc == 0)
        rc = required(rq, rs, "b", &id[1], err);
    if (rc == 0)
        rc = open_board(s, rq, rs, &v, &benchmark_id, &sh, err);
    for (size_t k = 0; rc == 0 && k < 2; k++)
        rc = lb_cells(s->host->store, sh.board, id[k], rq->arena, &c[k], &n[k], err);
    double *a = rc < 0 ? NULL : assay_arena_array(rq->arena, 2 * n[0] + 1, sizeof *a), *b = a ? a + n[0] : NULL;
    if (rc == 0 && !a)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    if (rc < 0)
        return rc;
    size_t pairs = 0;
    int64_t both = 0, only[2] = {0, 0}, neither = 0;
    double difference = 0;
    for (size_t i = 0, k = 0; i < n[0]; i++) { /* both in the order of problems' ids, as the database sorts them */
        for (k = 0; k < n[1] && !assay_str_eq(c[0][i].problem_id, c[1][k].problem_id); k++)
            ;
        if (k == n[1] || c[0][i].n == 0 || c[1][k].n == 0)
            continue;
        bool solved[2] = {c[0][i].correct > 0, c[1][k].correct > 0};
        both += solved[0] && solved[1];
        only[0] += solved[0] && !solved[1];
        only[1] += !solved[0] && solved[1];
        neither += !solved[0] && !solved[1];
        a[pairs] = c[0][i].value;
        b[pairs] = c[1][k].value;
        difference += a[pairs] - b[pairs];
        pairs++;
    }
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    assay_jw_object(w);
    how_write(w, &how);
    assay_jw_kstr(w, "a", id[0]);
    assay_jw_kstr(w, "b", id[1]);
    assay_jw_kint(w, "problems", (int64_t)pairs);
    assay_jw_kint(w, "solved_by_both", both);
    assay_jw_kint(w, "solved_by_a_alone", only[0]);
    assay_jw_kint(w, "solved_by_b_alone", only[1]);
    assay_jw_kint(w, "solved_by_neither", neither);
    assay_jw_kreal(w, "mcnemar_p", lb_mcnemar_exact(only[0], only[1]));
    interval_write(w, "score_difference", pairs > 0 ? difference / (double)pairs : NAN,
                   lb_paired_bootstrap(a, b, pairs, how.confidence, (size_t)how.draws, (uint64_t)how.seed, how.room));
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

/* ---- one agent over time ------------------------------------------------------------------------------ */

int leaderboard_http_history(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct leaderboard *s = self;
    static const char *const known[] = {"benchmark_id", "agent_id", "view", NULL};
    struct assay_str benchmark_id, agent_id;
    struct lb_viewer v;
    struct lb_shown sh;
    struct lb_submission *x = NULL;
    size_t n = 0;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == 0)
        rc = required(rq, rs, "agent_id", &agent_id, err);
    if (rc == 0)
        rc = open_board(s, rq, rs, &v, &benchmark_id, &sh, err);
    if (rc == 0)
        rc = lb_submissions(s->host->store, benchmark_id, agent_id, sh.until_ms, HISTORY_MAX + 1, rq->arena, &x, &n, err);
    if (rc == 0 && n > HISTORY_MAX)
        rc = assay_err_set(err, ASSAY_E_CONFLICT, "the agent has more than %d submissions there: list them with GET /scores", HISTORY_MAX);
    struct lb_standing *at = rc < 0 ? NULL : assay_arena_array(rq->arena, n + 1, sizeof *at);
    if (rc == 0 && !at)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for a history");
    if (rc == 0)
        rc = lb_replay(&sh.b, x, n, rq->arena, at, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    double scale = sh.b.rules.ranking == ASSAY_RANKING_PASS_AT_K ? 100 / (double)(sh.b.problems > 0 ? sh.b.problems : 1) : 1;
    assay_jw_object(w);
    assay_jw_key(w, "items");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        assay_jw_object(w);
        assay_jw_ktime(w, "at", x[i].created_ms);
        assay_jw_kstr(w, "submission_id", x[i].submission_id);
        assay_jw_kstr(w, "problem_id", x[i].problem_id);
        assay_jw_kstr(w, "verdict", x[i].verdict);
        assay_jw_kreal(w, "submission_score", x[i].score);
        assay_jw_kreal(w, "score", scale * at[i].score);
        assay_jw_kint(w, "solved", at[i].solved);
        if (sh.b.rules.ranking == ASSAY_RANKING_ICPC)
            assay_jw_kint(w, "penalty_minutes", at[i].penalty_minutes);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    lb_rules_write(w, &sh.b, sh.frozen && sh.until_ms != INT64_MAX);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}
