/* The leaderboard service: its tables, its beginning and end. */
#include "local.h"

#include <math.h>
#include <stdlib.h>

static const struct assay_route routes[] = {
    {ASSAY_GET, "/leaderboard", ASSAY_ROLES_ANY, "leaderboard:read", ASSAY_ROUTE_PAGED, 0, leaderboard_http_get,
     "leaderboard_get", "The places of agents, of one benchmark or of all that the caller may see"},
    {ASSAY_GET, "/leaderboard/statistics", ASSAY_ROLES_ANY, "leaderboard:read", 0, 0, leaderboard_http_statistics,
     "leaderboard_statistics", "How sure a board is: intervals of scores, and ranks as intervals"},
    {ASSAY_GET, "/leaderboard/compare", ASSAY_ROLES_ANY, "leaderboard:read", 0, 0, leaderboard_http_compare,
     "leaderboard_compare", "Two agents on the problems that both tried"},
    {ASSAY_GET, "/leaderboard/history", ASSAY_ROLES_ANY, "leaderboard:read", 0, 0, leaderboard_http_history,
     "leaderboard_history", "An agent's score on a board after each of its submissions"},
};

static const double seconds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 0};
const struct assay_metric lb_metric_rows[LB_METRICS] = {
    [LB_METRIC_SCORES] = {"assay_board_scores_total", ASSAY_METRIC_COUNTER, "Scores that boards took, those of verdicts that changed too.", "", NULL},
    [LB_METRIC_CELLS] = {"assay_board_cells_total", ASSAY_METRIC_COUNTER,
                         "Times that an agent's submissions to a problem were put together, once for all scores of a batch.", "", NULL},
    [LB_METRIC_PLACES] = {"assay_board_places_total", ASSAY_METRIC_COUNTER, "Times that an agent's place was made anew after scores.", "", NULL},
    [LB_METRIC_INTERVALS] = {"assay_board_intervals_seconds", ASSAY_METRIC_HISTOGRAM, "Time to compute the intervals of a board.", "", seconds},
};

static const char *const topics[] = {"score.calculated", "submission.created", "submission.deleted", "benchmark.changed", "problem.changed", "agent.changed", "user.changed", NULL};

static int score_of(const struct assay_event_row *ev, struct assay_arena *arena, struct assay_ev_score *out, struct assay_err *err)
{
    *out = (struct assay_ev_score){.cpu_ms = -1};
    int rc = assay_ev_score_decode(ev->ev.payload, arena, out, err);
    if (rc == 0 && (out->submission_id.n == 0 || out->agent_id.n == 0 || out->benchmark_id.n == 0 || !isfinite(out->score) ||
                    out->created_ms < 0))
        rc = assay_err_set(err, ASSAY_E_INVALID, "a score names its submission, agent and benchmark");
    return rc;
}

static int on_event(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)self;
    if (assay_str_is(ev->ev.topic, "benchmark.changed")) {
        struct assay_ev_benchmark b = {.visibility = ASSAY_VISIBLE_PRIVATE,
                                       .rules = {.penalty_minutes = ASSAY_PENALTY_MINUTES, .pass_k = 1}};
        int rc = assay_ev_benchmark_decode(ev->ev.payload, tx->arena, &b, err);
        return rc == 0 ? lb_project_benchmark(tx, ev->ev.subject, &b, err) : rc;
    }
    if (assay_str_is(ev->ev.topic, "problem.changed")) {
        struct assay_ev_problem p = {.deleted = false};
        int rc = assay_ev_problem_decode(ev->ev.payload, tx->arena, &p, err);
        return rc == 0 ? lb_project_problem(tx, ev->ev.subject, &p, err) : rc;
    }
    if (assay_str_is(ev->ev.topic, "agent.changed")) {
        struct assay_ev_agent a = {.deleted = false};
        int rc = assay_ev_agent_decode(ev->ev.payload, tx->arena, &a, err);
        if (rc == 0)
            lb_project_agent(tx, ev->ev.subject, &a);
        return rc;
    }
    if (assay_str_is(ev->ev.topic, "user.changed")) {
        struct assay_ev_user u = {.erased = false};
        int rc = assay_ev_user_decode(ev->ev.payload, tx->arena, &u, err);
        if (rc == 0 && u.erased)
            lb_owner_erased(tx, ev->ev.subject);
        return rc;
    }
    if (assay_str_is(ev->ev.topic, "submission.created")) {
        struct assay_ev_reported r = {{NULL, 0}};
        int rc = assay_ev_reported_decode(ev->ev.payload, tx->arena, &r, err);
        return rc == 0 ? lb_reported(tx, ev->ev.subject, &r, err) : rc;
    }
    if (assay_str_is(ev->ev.topic, "submission.deleted"))
        return lb_remove_submission(tx, ev->ev.subject, ev->ev.benchmark, err);
    struct assay_ev_score score;
    int rc = score_of(ev, tx->arena, &score, err);
    return rc == 0 ? lb_score(tx, &score, err) : rc;
}

static bool is_score(const struct assay_event_row *ev)
{
    return assay_str_is(ev->ev.topic, "score.calculated");
}

/* What became of each submission last: a score is settled, and what was removed has been seen to already. */
static int on_batch(void *self, const struct assay_event_row *ev, size_t n, struct assay_tx *tx, struct assay_err *err)
{
    const struct assay_host *host = ((struct leaderboard *)self)->host;
    size_t n_touch = 0, places = 0, cells = 0;
    struct lb_touch *touch = assay_arena_array(tx->arena, n, sizeof *touch);
    if (touch == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a batch of scores");
    for (size_t i = 0; i < n; i++) {
        bool stands = is_score(&ev[i]);
        for (size_t k = i + 1; k < n && stands; k++)
            stands = !((is_score(&ev[k]) || assay_str_is(ev[k].ev.topic, "submission.deleted")) &&
                       assay_str_eq(ev[k].ev.subject, ev[i].ev.subject));
        struct assay_ev_score s;
        int rc = stands ? score_of(&ev[i], tx->arena, &s, err) : ASSAY_OK;
        if (rc < 0)
            return rc;
        if (stands)
            touch[n_touch++] = (struct lb_touch){s.submission_id, s.benchmark_id, s.agent_id, s.problem_id.p != NULL ? s.problem_id : ASSAY_STR(""),
                                                 s.score};
    }
    if (n_touch == 0)
        return ASSAY_OK;
    int rc = lb_settle(tx, touch, n_touch, err);
    if (rc < 0 || tx->failed)
        return rc;
    for (size_t i = 0; i < n_touch; i++) { /* sorted by now */
        bool place = i == 0 || !assay_str_eq(touch[i].agent_id, touch[i - 1].agent_id) || !assay_str_eq(touch[i].benchmark_id, touch[i - 1].benchmark_id);
        places += place;
        cells += place || !assay_str_eq(touch[i].problem_id, touch[i - 1].problem_id);
    }
    host->metric_add(host->ctx, &lb_metric_rows[LB_METRIC_SCORES], NULL, (double)n_touch);
    host->metric_add(host->ctx, &lb_metric_rows[LB_METRIC_CELLS], NULL, (double)cells);
    host->metric_add(host->ctx, &lb_metric_rows[LB_METRIC_PLACES], NULL, (double)places);
    return ASSAY_OK;
}

/* More would take long to commit.  What touches too many agents to fit is halved by the host. */
#define BATCH 200

static const struct assay_subscription subscriptions[] = {
    {.group = "leaderboard", .topics = topics, .kind = ASSAY_SUB_DURABLE, .batch = BATCH, .deliver = on_event, .settle = on_batch},
};

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct leaderboard *s = calloc(1, sizeof *s);
    if (!s)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    s->magic = LEADERBOARD_MAGIC;
    s->host = host;
    *self = s;
    return 0;
}

static void fini(void *self)
{
    free(self);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "leaderboard",
    .version = "0.1.0",
    .summary = "Keeps the place of each agent on the board of each benchmark",
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = {leaderboard_migrations, LEADERBOARD_MIGRATIONS, sizeof leaderboard_migrations[0]},
    .statements = {leaderboard_statements, LEADERBOARD_STATEMENTS, sizeof leaderboard_statements[0]},
    .metrics = ASSAY_TABLE(lb_metric_rows),
    .init = init,
    .fini = fini,
};
