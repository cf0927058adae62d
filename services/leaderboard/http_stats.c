/* GET /leaderboard/statistics, /compare and /history: how sure a board is, two agents, one agent over time. */
#include "http.h"
#include "stats.h"

#include <assay/value.h>

#include <math.h>
#include <stdlib.h>

#define AGENTS_DEFAULT 200
#define AGENTS_MAX 10000 /* of whom intervals are computed at once */
#define CELLS_PAGE 2000
#define CELLS_MAX 2000000 /* agents times problems of a board that is read whole */
#define WORK_MAX 400000000 /* problems drawn for one answer; some 2 ns each */
#define WORK_LARGE 20000000 /* what is more than this is done one at a time */
#define TABLE_MAX 4000000 /* of draws that are kept for others */
#define DRAWS_DEFAULT 1000
#define DRAWS_MIN 100
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
        rc = number(rq, rs, "draws", DRAWS_DEFAULT, DRAWS_MIN, DRAWS_MAX, &out->draws, err);
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
    struct lb_cluster *cluster; /* a problem's scores: in the arena */
    size_t problems, room;
    double mean;
    struct lb_interval pass, of_mean;
};

static int by_agent(const void *x, const void *y)
{
    const struct lb_entry *const *a = x, *const *b = y;
    return assay_str_cmp((*a)->agent_id, (*b)->agent_id);
}

/* Every problem is a cluster of the scores of the agent's submissions to it. */
static int cell_add(struct estimate *x, double total, int64_t n, int64_t correct, struct assay_arena *arena)
{
    if (n == 0)
        return 0;
    if (x->problems == x->room) {
        size_t room = x->room > 0 ? x->room * 2 : 8;
        struct lb_cluster *more = assay_arena_array(arena, room, sizeof *more);
        if (!more)
            return -1;
        if (x->problems > 0)
            memcpy(more, x->cluster, x->problems * sizeof *more);
        x->cluster = more;
        x->room = room;
    }
    x->cluster[x->problems++] = (struct lb_cluster){total, (double)n};
    x->samples += n;
    x->correct += correct;
    x->solved += correct > 0;
    return 0;
}

/* The cells of the n agents e, into x in the same order: of many, by pages of the whole board. */
static int cells_of_board(const struct leaderboard *s, struct assay_request *rq, struct assay_str board, const struct lb_entry *e, size_t n,
                      struct estimate *x, struct assay_err *err)
{
    const struct lb_entry **of = assay_arena_array(rq->arena, n + 1, sizeof *of);
    char at[2][ASSAY_ID_SIZE + 64] = {"", ""};
    if (!of)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    for (size_t i = 0; i < n; i++)
        of[i] = &e[i];
    qsort(of, n, sizeof *of, by_agent);
    for (int64_t read = 0;;) {
        ASSAY_CLEANUP_ARENA struct assay_arena *page = assay_arena_new(0);
        struct assay_rows rows;
        if (!page)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
        int rc = lb_cells_of_all(s->host->store, board, assay_str(at[0]), assay_str(at[1]), CELLS_PAGE, page, &rows, err);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < rows.n; i++) {
            const struct assay_val *c = rows.row[i].col;
            const struct lb_entry key = {.agent_id = c[0].s}, *k = &key, **found = n > 0 ? bsearch(&k, of, n, sizeof *of, by_agent) : NULL;
            if (found && cell_add(&x[*found - e], (double)c[2].i / 1e6, c[3].i, c[4].i, rq->arena) < 0)
                return assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
        }
        if (rows.n < CELLS_PAGE)
            return 0;
        if ((read += CELLS_PAGE) >= CELLS_MAX)
            return assay_err_set(err, ASSAY_E_CONFLICT, "the board has more than %d cells (agents times problems): ask for a limit of %d agents",
                                 CELLS_MAX, AGENTS_DEFAULT);
        for (size_t k = 0; k < 2; k++) {
            struct assay_str last = rows.row[rows.n - 1].col[k].s;
            if (last.n >= sizeof at[0])
                return assay_err_set(err, ASSAY_E_CORRUPT, "an id of %zu bytes", last.n);
            memcpy(at[k], last.p, last.n);
            at[k][last.n] = '\0';
        }
    }
}

static int cells_of_each(const struct leaderboard *s, struct assay_request *rq, struct assay_str board, const struct lb_entry *e, size_t n,
                         struct estimate *x, struct assay_err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct lb_cell *c;
        size_t cells;
        rc = lb_cells(s->host->store, board, e[i].agent_id, rq->arena, &c, &cells, err);
        for (size_t k = 0; rc == 0 && k < cells; k++)
            if (cell_add(&x[i], c[k].total, c[k].n, c[k].correct, rq->arena) < 0)
                rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    }
    return rc;
}

static int by_problems(const void *x, const void *y)
{
    const struct estimate *const *a = x, *const *b = y;
    return ((*a)->problems > (*b)->problems) - ((*a)->problems < (*b)->problems);
}

/* The intervals of all: those with as many problems share the draws. */
static int intervals(struct assay_request *rq, struct estimate *x, size_t n, const struct how *how, struct assay_err *err)
{
    struct estimate **of = assay_arena_array(rq->arena, n + 1, sizeof *of);
    size_t draws = (size_t)how->draws, most = 1;
    for (size_t i = 0; of && i < n; i++) {
        of[i] = &x[i];
        if (x[i].problems * draws <= TABLE_MAX && x[i].problems * draws > most)
            most = x[i].problems * draws;
    }
    uint16_t *index = of ? assay_arena_array(rq->arena, most, sizeof *index) : NULL;
    if (!index)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    qsort(of, n, sizeof *of, by_problems);
    size_t made = 0;
    for (size_t i = 0; i < n; i++) {
        struct estimate *e = of[i];
        e->mean = lb_ratio(e->cluster, e->problems);
        e->pass = lb_wilson(e->correct, e->samples, how->confidence);
        bool table = e->problems > 0 && e->problems * draws <= TABLE_MAX && e->problems <= UINT16_MAX;
        if (table && made != e->problems)
            lb_draws_make(index, made = e->problems, draws, (uint64_t)how->seed);
        e->of_mean = table ? lb_bootstrap_drawn(e->cluster, e->problems, how->confidence, index, draws, how->room)
                           : lb_bootstrap(e->cluster, e->problems, how->confidence, draws, (uint64_t)how->seed, how->room);
    }
    return 0;
}

/* How many draws the answer may take, and how much work that is. */
static int affordable(struct assay_request *rq, struct assay_response *rs, const struct estimate *x, size_t n, struct how *how, int64_t *work,
                      struct assay_err *err)
{
    struct assay_str asked;
    int64_t drawn = 1;
    int rc = assay_query(rq, "draws", &asked, err);
    for (size_t i = 0; i < n; i++)
        drawn += (int64_t)x[i].problems;
    int64_t most = WORK_MAX / drawn > DRAWS_MIN ? WORK_MAX / drawn : DRAWS_MIN;
    if (rc == 0 && how->draws > most && asked.p)
        return assay_fault(rq, rs, err, "", "the query parameter \"draws\" is at most %lld for so many agents and problems: ask for fewer, or for fewer agents (limit)",
                           (long long)most);
    how->draws = how->draws > most ? most : how->draws;
    *work = how->draws * drawn;
    return rc;
}

static void statistics_write(struct assay_jw *w, const struct how *how, const struct lb_entry *e, const struct estimate *x,
                             const struct lb_ranks *ranks, size_t n, bool whole)
{
    assay_jw_object(w);
    how_write(w, how);
    assay_jw_kbool(w, "whole", whole);
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
}

static int statistics(struct assay_request *rq, struct estimate *x, size_t n, const struct how *how, struct lb_ranks *ranks,
                      struct assay_err *err)
{
    struct lb_interval *of = assay_arena_array(rq->arena, n + 1, sizeof *of);
    int rc = of ? intervals(rq, x, n, how, err) : assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    for (size_t i = 0; rc == 0 && i < n; i++)
        of[i] = x[i].of_mean;
    if (rc == 0 && lb_rank_intervals(of, n, ranks) != 0)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    return rc;
}

static int alone(struct leaderboard *s, bool *large, struct assay_err *err)
{
    if (!*large && atomic_exchange(&s->counting, true))
        return assay_err_set(err, ASSAY_E_BUSY, "the intervals of a large board are being computed for somebody else");
    *large = true;
    return 0;
}

int leaderboard_http_statistics(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct leaderboard *s = self;
    static const char *const known[] = {"benchmark_id", "view", "limit", "confidence", "draws", "seed", NULL};
    struct assay_str benchmark_id;
    struct lb_viewer v;
    struct lb_shown sh;
    struct how how;
    struct lb_entry *e = NULL;
    struct lb_place top = {.rank = 0};
    int64_t limit = 0;
    size_t n = 0;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == 0)
        rc = how_param(rq, rs, &how, err);
    if (rc == 0)
        rc = number(rq, rs, "limit", AGENTS_DEFAULT, 1, AGENTS_MAX, &limit, err);
    if (rc == 0)
        rc = open_board(s, rq, rs, &v, &benchmark_id, &sh, err);
    if (rc == 0)
        rc = lb_top(s->host->store, sh.board, &top, limit + 1, rq->arena, &e, &n, err);
    bool whole = n <= (size_t)limit, large = false;
    n = whole ? n : (size_t)limit;
    struct estimate *x = rc < 0 ? NULL : assay_arena_array(rq->arena, n + 1, sizeof *x);
    struct lb_ranks *ranks = rc < 0 ? NULL : assay_arena_array(rq->arena, n + 1, sizeof *ranks);
    if (rc == 0 && (!x || !ranks))
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for statistics");
    if (rc == 0 && n > AGENTS_DEFAULT)
        rc = alone(s, &large, err);
    if (rc == 0) {
        memset(x, 0, (n + 1) * sizeof *x);
        rc = n > AGENTS_DEFAULT ? cells_of_board(s, rq, sh.board, e, n, x, err) : cells_of_each(s, rq, sh.board, e, n, x, err);
    }
    int64_t work = 0;
    if (rc == 0)
        rc = affordable(rq, rs, x, n, &how, &work, err);
    if (rc == 0 && work > WORK_LARGE)
        rc = alone(s, &large, err);
    int64_t began = s->host->mono_ns(s->host->ctx);
    if (rc == 0)
        rc = statistics(rq, x, n, &how, ranks, err);
    if (rc == 0)
        s->host->metric_observe(s->host->ctx, &lb_metric_rows[LB_METRIC_INTERVALS], NULL, (double)(s->host->mono_ns(s->host->ctx) - began) / 1e9);
    if (large)
        atomic_store(&s->counting, false);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    statistics_write(w, &how, e, x, ranks, n, whole);
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
