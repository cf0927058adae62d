/* The SQL of the runner: results and their tests, and the feedback policies they are shown under. */
#include "local.h"

#include <math.h>

const struct assay_migration runner_migrations[RUNNER_MIGRATIONS] = {
    {1, "runner",
#include "schema/001_runner.h"
     , "0.1.0"},
    {2, "build_cached",
#include "schema/002_build_cached.h"
     , "0.1.0"},
    {3, "measured",
#include "schema/003_measured.h"
     , "0.1.0"},
    {4, "environments",
#include "schema/004_environments.h"
     , "0.1.0"},
    {5, "warm_interpreters",
#include "schema/005_warm_interpreters.h"
     , "0.1.0"},
    {6, "runner_elsewhere",
#include "schema/006_runner_elsewhere.h"
     , "0.1.0"},
    {7, "checkers",
#include "schema/007_checkers.h"
     , "0.1.0"},
    {8, "points",
#include "schema/008_points.h"
     , "0.1.0"},
    {9, "compiler_options",
#include "schema/009_compiler_options.h"
     , "0.1.0"},
    {10, "fetched",
#include "schema/010_fetched.h"
     , "0.1.0"},
};

static const struct assay_stmt put_result = {
    .name = "runner.put_result",
    .sql = "INSERT INTO runner_results (submission_id, kind, owner_id, benchmark_id, problem_id, agent_id, language, verdict,"
           " score, passed, total, first_number, first_verdict, cpu_ms, wall_ms, memory_peak, build_ms, build_output, mode,"
           " precision_bits, fault, fence, finished_ms, build_cached, cpu_us, memory_own, time_limit_ms, hard_time_limit_ms,"
           " wall_limit_ms, memory_limit_bytes, environment, runner, points, points_awarded, groups_json, compiler_options) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
           " $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)"
           " ON CONFLICT (submission_id) DO UPDATE SET"
           " language = excluded.language, verdict = excluded.verdict, score = excluded.score, passed = excluded.passed,"
           " total = excluded.total, first_number = excluded.first_number, first_verdict = excluded.first_verdict,"
           " cpu_ms = excluded.cpu_ms, wall_ms = excluded.wall_ms, memory_peak = excluded.memory_peak,"
           " build_ms = excluded.build_ms, build_output = excluded.build_output, mode = excluded.mode,"
           " precision_bits = excluded.precision_bits, fault = excluded.fault, fence = excluded.fence,"
           " finished_ms = excluded.finished_ms, build_cached = excluded.build_cached,"
           " cpu_us = excluded.cpu_us, memory_own = excluded.memory_own, time_limit_ms = excluded.time_limit_ms,"
           " hard_time_limit_ms = excluded.hard_time_limit_ms, wall_limit_ms = excluded.wall_limit_ms,"
           " memory_limit_bytes = excluded.memory_limit_bytes, environment = excluded.environment, runner = excluded.runner,"
           " points = excluded.points, points_awarded = excluded.points_awarded, groups_json = excluded.groups_json, compiler_options = excluded.compiler_options"
           " WHERE runner_results.fence < excluded.fence",
    .params = "titttttt" "riii" "tiiii" "btitiii" "iiiiii" "tt" "rrtt",
    .columns = "",
    .write = true};
static const struct assay_stmt put_test = {
    .name = "runner.put_test",
    .sql = "INSERT INTO runner_tests (submission_id, fence, number, name, sample, points, verdict, ran, exit_code, signal,"
           " cpu_ms, wall_ms, memory_peak, stdout, stdout_bytes, stderr, stderr_bytes, message, cpu_us, user_us,"
           " system_us, wall_us, memory_own, max_rss, oom_kills, voluntary_switches, forced_switches, over_limit, finished,"
           " reruns, judge_message, team_message, transcript, group_name, part) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,"
           " $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32,"
           " $33, $34, $35)",
    .params = "tiitirtiii" "iiibibit" "iiiiiiiiiiii" "bbb" "tr",
    .columns = "",
    .write = true};
static const struct assay_stmt drop_tests = {.name = "runner.drop_tests",
                                             .sql = "DELETE FROM runner_tests WHERE submission_id = $1 AND fence < $2",
                                             .params = "ti",
                                             .columns = "",
                                             .write = true};
static const struct assay_stmt drop_attempt = {.name = "runner.drop_attempt",
                                               .sql = "DELETE FROM runner_tests WHERE submission_id = $1 AND fence = $2",
                                               .params = "ti",
                                               .columns = "",
                                               .write = true};
static const struct assay_stmt get_rules = {.name = "runner.get_rules",
                                            .sql = "SELECT feedback, toolchains, warm_interpreters FROM runner_benchmarks WHERE id = $1",
                                            .params = "t",
                                            .columns = "iti"};
static const struct assay_stmt put_environment = {
    .name = "runner.put_environment",
    .sql = "INSERT INTO runner_environments (id, body) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
    .params = "tt",
    .columns = "",
    .write = true};
static const struct assay_stmt get_environment = {.name = "runner.get_environment",
                                                  .sql = "SELECT body FROM runner_environments WHERE id = $1",
                                                  .params = "t",
                                                  .columns = "t"};

/* $1 viewer, $2 staff, $3 the agent that a token is for or '', $4 before, $5 limit, $6 benchmark, $7 problem,
 * $8 agent, $9 verdict, $10 since, $11 submission.  What the policy hides is not found by a filter. */
#define FEEDBACK "(CASE WHEN s.benchmark_id = '' THEN 4 ELSE COALESCE(b.feedback, 0) END)"
#define EVERYTHING "(CASE WHEN CAST($2 AS BIGINT) = 1 OR b.owner_id = $1 THEN 1 ELSE 0 END)"
#define RESULTS(where)                                                                                                 \
    "SELECT s.submission_id, s.kind, s.owner_id, s.benchmark_id, s.problem_id, s.agent_id, s.language, s.verdict,"     \
    " s.score, s.passed, s.total, s.first_number, s.first_verdict, s.cpu_ms, s.wall_ms, s.memory_peak, s.build_ms,"    \
    " s.build_output, s.mode, s.precision_bits, s.fault, s.fence, s.finished_ms, " FEEDBACK ", " EVERYTHING            \
    ", s.build_cached, s.cpu_us, s.memory_own, s.time_limit_ms, s.hard_time_limit_ms, s.wall_limit_ms,"                \
    " s.memory_limit_bytes, s.environment, s.runner, s.points, s.points_awarded, s.groups_json, s.compiler_options"                     \
    " FROM runner_results s LEFT JOIN runner_benchmarks b ON b.id = s.benchmark_id WHERE " where                       \
    " AND (" EVERYTHING " = 1 OR s.owner_id = $1) AND (CAST($3 AS TEXT) = '' OR s.agent_id = $3)"                      \
    " AND s.submission_id < $4 AND (CAST($6 AS TEXT) = '' OR s.benchmark_id = $6)"                                     \
    " AND (CAST($7 AS TEXT) = '' OR s.problem_id = $7) AND (CAST($8 AS TEXT) = '' OR s.agent_id = $8)"                 \
    " AND (CAST($9 AS TEXT) = '' OR (s.verdict = $9 AND (" EVERYTHING " = 1 OR " FEEDBACK " >= 1)))"                   \
    " AND s.finished_ms >= $10 AND (CAST($11 AS TEXT) = '' OR s.submission_id = $11)"                                  \
    " ORDER BY s.submission_id DESC LIMIT $5"
#define RESULTS_PARAMS "tittittttit"
#define RESULTS_COLUMNS "titttttt" "riiitiiiibtitiiiii" "iiiiii" "tt" "rrtt"
static const struct assay_stmt results_one = {.name = "runner.results_one",
                                              .sql = RESULTS("s.submission_id = $11"),
                                              .params = RESULTS_PARAMS,
                                              .columns = RESULTS_COLUMNS};
static const struct assay_stmt results_owner = {.name = "runner.results_owner",
                                                .sql = RESULTS("s.owner_id = $1"),
                                                .params = RESULTS_PARAMS,
                                                .columns = RESULTS_COLUMNS};
static const struct assay_stmt results_benchmark = {.name = "runner.results_benchmark",
                                                    .sql = RESULTS("s.benchmark_id = $6"),
                                                    .params = RESULTS_PARAMS,
                                                    .columns = RESULTS_COLUMNS};
static const struct assay_stmt results_agent = {.name = "runner.results_agent",
                                                .sql = RESULTS("s.agent_id = $8"),
                                                .params = RESULTS_PARAMS,
                                                .columns = RESULTS_COLUMNS};
static const struct assay_stmt results_all = {
    .name = "runner.results_all", .sql = RESULTS("1 = 1"), .params = RESULTS_PARAMS, .columns = RESULTS_COLUMNS};

static const struct assay_stmt tests_stmt = {
    .name = "runner.tests",
    .sql = "SELECT number, name, sample, points, verdict, ran, exit_code, signal, cpu_ms, wall_ms, memory_peak, stdout,"
           " stdout_bytes, stderr, stderr_bytes, message, cpu_us, user_us, system_us, wall_us, memory_own, max_rss, oom_kills,"
           " voluntary_switches, forced_switches, over_limit, finished, reruns, judge_message,"
           " team_message, transcript, group_name, part FROM runner_tests WHERE submission_id = $1 AND fence = $2"
           " ORDER BY number",
    .params = "ti",
    .columns = "itirtiiiiiibibit" "iiiiiiiiiiii" "bbb" "tr"};

static const struct assay_stmt project_benchmark = {
    .name = "runner.project_benchmark",
    .sql = "INSERT INTO runner_benchmarks (id, owner_id, visibility, feedback, toolchains, warm_interpreters)"
           " VALUES ($1, $2, $3, $4, $5, $6)"
           " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, visibility = excluded.visibility,"
           " feedback = excluded.feedback, toolchains = excluded.toolchains,"
           " warm_interpreters = excluded.warm_interpreters",
    .params = "ttiiti",
    .columns = "",
    .write = true};

/* A copy of a submission, judged in a set of rejudging, gives its result to the submission, whose lease was the fence $3; or goes. */
#define COPY_IS_THERE " AND EXISTS (SELECT 1 FROM runner_results w WHERE w.submission_id = $2)"
static const struct assay_stmt replaced_tests = {.name = "runner.replaced_tests",
                                                 .sql = "DELETE FROM runner_tests WHERE submission_id = $1 AND fence = $3" COPY_IS_THERE,
                                                 .params = "tti",
                                                 .columns = "",
                                                 .write = true};
static const struct assay_stmt replaced_result = {.name = "runner.replaced_result",
                                                  .sql = "DELETE FROM runner_results WHERE submission_id = $1 AND fence = $3" COPY_IS_THERE,
                                                  .params = "tti",
                                                  .columns = "",
                                                  .write = true};
#define NONE_IS_LEFT " AND NOT EXISTS (SELECT 1 FROM runner_results o WHERE o.submission_id = $1)"
static const struct assay_stmt take_tests = {.name = "runner.take_tests",
                                             .sql = "UPDATE runner_tests SET submission_id = $1, fence = $3 WHERE submission_id = $2"
                                                    " AND fence = (SELECT w.fence FROM runner_results w WHERE w.submission_id = $2)" NONE_IS_LEFT,
                                             .params = "tti",
                                             .columns = "",
                                             .write = true};
static const struct assay_stmt take_result = {.name = "runner.take_result",
                                              .sql = "UPDATE runner_results SET submission_id = $1, fence = $3, agent_id = $4, owner_id = $5"
                                                     " WHERE submission_id = $2" NONE_IS_LEFT,
                                              .params = "ttitt",
                                              .columns = "",
                                              .write = true};
static const struct assay_stmt forget_tests = {.name = "runner.forget_tests",
                                               .sql = "DELETE FROM runner_tests WHERE submission_id = $1",
                                               .params = "t",
                                               .columns = "",
                                               .write = true};
static const struct assay_stmt forget_result = {.name = "runner.forget_result",
                                                .sql = "DELETE FROM runner_results WHERE submission_id = $1",
                                                .params = "t",
                                                .columns = "",
                                                .write = true};

const struct assay_stmt *const runner_statements[RUNNER_STATEMENTS] = {
    &fetched_get_stmt, &fetched_put_stmt, &fetched_old_stmt, &fetched_mark_stmt, &fetched_gone_stmt,
    &put_result,  &put_test,      &drop_tests,        &get_rules,     &results_one,
    &results_all, &results_owner, &results_benchmark, &results_agent, &tests_stmt,
    &project_benchmark, &put_environment, &get_environment, &drop_attempt,
    &replaced_tests, &replaced_result, &take_tests, &take_result, &forget_tests, &forget_result,
};

static int tx_check(const struct assay_tx *tx, struct assay_err *err)
{
    return tx == NULL || tx->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for the transaction") : ASSAY_OK;
}

static struct assay_str or_empty(struct assay_str s)
{
    return s.p == NULL ? ASSAY_STR("") : s;
}

static struct assay_str or_none(const struct assay_val *v)
{
    return v->type != ASSAY_VAL_NULL ? v->s : ASSAY_STR("");
}

int repo_rules(struct runner *r, struct assay_str benchmark_id, struct assay_arena *arena, struct rules *out, struct assay_err *err)
{
    struct assay_rows rows;
    *out = (struct rules){.feedback = ASSAY_FEEDBACK_NONE, .toolchains = ASSAY_STR("")}; /* not known yet: tell nothing */
    int rc = ASSAY_QUERY(r->host->store, &get_rules, arena, &rows, err, ASSAY_VT(or_empty(benchmark_id)));
    if (rc >= 0 && rows.n != 0) {
        out->feedback = (int)rows.row[0].col[0].i;
        out->toolchains = rows.row[0].col[1].s;
        out->warm_interpreters = (int)rows.row[0].col[2].i;
    }
    return rc;
}

int repo_environment(struct runner *r, struct assay_str id, struct assay_arena *arena, struct assay_str *body,
                     struct assay_err *err)
{
    struct assay_rows rows;
    *body = ASSAY_STR("");
    int rc = id.n != 0 ? ASSAY_QUERY(r->host->store, &get_environment, arena, &rows, err, ASSAY_VT(id)) : ASSAY_OK;
    if (rc >= 0 && id.n != 0 && rows.n != 0)
        *body = rows.row[0].col[0].s;
    return rc;
}

int repo_drop_attempt(struct assay_tx *tx, const struct job *j, struct assay_err *err)
{
    if (tx != NULL)
        ASSAY_TX(tx, &drop_attempt, ASSAY_EXPECT_ANY, ASSAY_VT(j->lease.submission_id), ASSAY_VI(j->lease.fence));
    return tx_check(tx, err);
}

int repo_add_tests(struct assay_tx *tx, const struct job *j, size_t from, size_t to, struct assay_err *err)
{
    for (size_t i = from; i < to; i++) {
        const struct test *t = &j->test[i];
        const struct assay_box_outcome *o = &t->outcome;
        bool tree_known = o->memory_peak_bytes > 0, in_box = t->ran && j->language != NULL;
        ASSAY_TX(tx, &put_test, ASSAY_EXPECT_ONE, ASSAY_VT(j->lease.submission_id), ASSAY_VI(j->lease.fence),
                 ASSAY_VI(t->def.number), ASSAY_VT(or_empty(t->def.name)), ASSAY_VI(t->def.sample ? 1 : 0),
                 ASSAY_VR(t->def.points), ASSAY_VZ(verdict_name(t->verdict)), ASSAY_VI(t->ran ? 1 : 0),
                 ASSAY_VI(o->end == ASSAY_BOX_EXITED ? o->exit_code : 0),
                 ASSAY_VI(o->end == ASSAY_BOX_SIGNALLED ? o->signal : 0), ASSAY_VI(o->cpu_us / 1000),
                 ASSAY_VI(o->wall_us / 1000), ASSAY_VI(tree_known ? o->memory_peak_bytes : o->max_rss_bytes > 0 ? o->max_rss_bytes : 0),
                 ASSAY_VB(or_empty(t->out)), ASSAY_VI(o->stdout_bytes), ASSAY_VB(or_empty(t->err)),
                 ASSAY_VI(o->stderr_bytes), ASSAY_VZ(o->message), ASSAY_VI(o->cpu_us), ASSAY_VI(o->cpu_user_us),
                 ASSAY_VI(o->cpu_system_us), ASSAY_VI(o->wall_us), ASSAY_VI(in_box ? o->memory_own_bytes : -1),
                 ASSAY_VI(in_box ? o->max_rss_bytes : -1), ASSAY_VI(in_box ? o->oom_kills : -1),
                 ASSAY_VI(in_box ? o->voluntary_switches : -1), ASSAY_VI(in_box ? o->forced_switches : -1),
                 ASSAY_VI(over_limit_of(o)), ASSAY_VI(o->finished ? 1 : 0), ASSAY_VI(t->reruns),
                 ASSAY_VB(or_empty(t->judge_message)), ASSAY_VB(or_empty(t->team_message)), ASSAY_VB(or_empty(t->transcript)),
                 ASSAY_VT(or_empty(t->def.group)), ASSAY_VR(isnan(t->part) ? -1 : t->part));
    }
    return tx_check(tx, err);
}

int repo_add_result(struct assay_tx *tx, const struct job *j, int64_t now_ms, struct assay_err *err)
{
    int64_t passed = 0, cpu = 0, wall = 0, peak = 0, own = -1, first = 0;
    int64_t precision = 31, boxes = 0;
    enum verdict first_verdict = VERDICT_NONE;
    for (size_t i = 0; i < j->n_tests; i++) {
        const struct test *t = &j->test[i];
        const struct assay_box_outcome *o = &t->outcome;
        int64_t memory = o->memory_peak_bytes > 0 ? o->memory_peak_bytes : o->max_rss_bytes;
        passed += t->verdict == VERDICT_OK;
        cpu += o->cpu_us;
        wall += o->wall_us;
        peak = memory > peak ? memory : peak;
        if (t->ran && j->language != NULL) {
            precision &= o->precision | (o->warm ? 16 : 0);
            own = o->memory_own_bytes > own ? o->memory_own_bytes : own;
            boxes++;
        }
        if (first == 0 && t->verdict != VERDICT_OK && t->verdict != VERDICT_NONE) {
            first = t->def.number;
            first_verdict = t->verdict;
        }
    }
    const struct assay_job *l = &j->lease;
    bool judged = j->verdict != VERDICT_IE;
    struct assay_str mode = j->mode_text[0] != '\0' ? assay_arena_str(tx->arena, assay_str(j->mode_text)) : ASSAY_STR("");
    struct assay_str made = j->environment[0] != '\0' ? assay_arena_str(tx->arena, assay_str(j->environment)) : ASSAY_STR("");
    struct assay_str groups, options;
    int rc = groups_encode(j, tx->arena, &groups, err);
    if (rc >= 0)
        rc = assay_options_join(&j->options, tx->arena, &options, err);
    if (rc < 0)
        return rc;
    if (made.n != 0 && j->environment_body.n != 0)
        ASSAY_TX(tx, &put_environment, ASSAY_EXPECT_ANY, ASSAY_VT(made), ASSAY_VT(j->environment_body));
    if (l->fence > 1)
        ASSAY_TX(tx, &drop_tests, ASSAY_EXPECT_ANY, ASSAY_VT(l->submission_id), ASSAY_VI(l->fence));
    ASSAY_TX(tx, &put_result, ASSAY_EXPECT_ONE, ASSAY_VT(l->submission_id), ASSAY_VI(l->kind), ASSAY_VT(or_empty(l->owner_id)),
             ASSAY_VT(or_empty(l->benchmark_id)), ASSAY_VT(or_empty(l->problem_id)), ASSAY_VT(or_empty(l->agent_id)),
             ASSAY_VT(or_empty(l->language)), ASSAY_VZ(verdict_name(j->verdict)), judged ? ASSAY_VR(j->score) : ASSAY_VNULL,
             ASSAY_VI(passed), ASSAY_VI((int64_t)j->n_tests), ASSAY_VI(first), ASSAY_VZ(verdict_name(first_verdict)),
             ASSAY_VI(cpu / 1000), ASSAY_VI(wall / 1000), ASSAY_VI(peak), ASSAY_VI(job_build_ms(j)),
             ASSAY_VB(or_empty(j->build_output)), ASSAY_VT(or_empty(mode)), ASSAY_VI(boxes > 0 ? precision : precision & 7),
             ASSAY_VT(assay_arena_str(tx->arena, assay_str(j->fault))), ASSAY_VI(l->fence), ASSAY_VI(now_ms),
             ASSAY_VI(j->cached ? 1 : 0), ASSAY_VI(cpu), ASSAY_VI(own), ASSAY_VI(j->limits.cpu_ms), ASSAY_VI(j->limits.cpu_hard_ms),
             ASSAY_VI(j->limits.wall_ms), ASSAY_VI(j->limits.memory_bytes), ASSAY_VT(or_empty(made)), ASSAY_VT(or_empty(j->made_by)),
             ASSAY_VR(j->points.all), ASSAY_VR(j->points.awarded), ASSAY_VT(groups), ASSAY_VT(options));
    return tx_check(tx, err);
}

int repo_results(struct runner *r, const struct result_filter *f, struct assay_str id, struct assay_arena *arena,
                 struct result **out, size_t *n, struct assay_err *err)
{
    const struct assay_stmt *stmt = id.n != 0               ? &results_one
                                    : f->agent_id.n != 0    ? &results_agent
                                    : f->benchmark_id.n != 0 ? &results_benchmark
                                    : f->staff              ? &results_all
                                                            : &results_owner;
    struct assay_rows rows;
    struct assay_str before = f->before.n != 0 ? f->before : ASSAY_STR("~"); /* behind every UUID */
    int rc = ASSAY_QUERY(r->host->store, stmt, arena, &rows, err, ASSAY_VT(or_empty(f->user_id)), ASSAY_VI(f->staff ? 1 : 0),
                         ASSAY_VT(or_empty(f->agent_only)), ASSAY_VT(before), ASSAY_VI(f->limit),
                         ASSAY_VT(or_empty(f->benchmark_id)), ASSAY_VT(or_empty(f->problem_id)),
                         ASSAY_VT(or_empty(f->agent_id)), ASSAY_VT(or_empty(f->verdict)), ASSAY_VI(f->since_ms),
                         ASSAY_VT(or_empty(id)));
    if (rc < 0)
        return rc;
    struct result *list = assay_arena_array(arena, rows.n != 0 ? rows.n : 1, sizeof *list);
    if (list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct result){.submission_id = c[0].s,
                                  .kind = c[1].i,
                                  .owner_id = c[2].s,
                                  .benchmark_id = c[3].s,
                                  .problem_id = c[4].s,
                                  .agent_id = c[5].s,
                                  .language = c[6].s,
                                  .verdict = c[7].s,
                                  .scored = c[8].type != ASSAY_VAL_NULL,
                                  .score = c[8].r,
                                  .passed = c[9].i,
                                  .total = c[10].i,
                                  .first_number = c[11].i,
                                  .first_verdict = c[12].s,
                                  .cpu_ms = c[13].i,
                                  .wall_ms = c[14].i,
                                  .memory_peak = c[15].i,
                                  .build_ms = c[16].i,
                                  .build_output = c[17].s,
                                  .mode = c[18].s,
                                  .precision = c[19].i,
                                  .fault = c[20].s,
                                  .fence = c[21].i,
                                  .finished_ms = c[22].i,
                                  .feedback = c[23].i,
                                  .all = c[24].i != 0,
                                  .build_cached = c[25].i,
                                  .cpu_us = c[26].i,
                                  .memory_own = c[27].i,
                                  .time_limit_ms = c[28].i,
                                  .hard_time_limit_ms = c[29].i,
                                  .wall_limit_ms = c[30].i,
                                  .memory_limit_bytes = c[31].i,
                                  .environment_id = c[32].s,
                                  .runner = c[33].s,
                                  .points = c[34].r,
                                  .points_awarded = c[35].r,
                                  .groups = c[36].s,
                                  .compiler_options = c[37].s,
                                  .staff = f->staff};
    }
    *out = list;
    *n = rows.n;
    return ASSAY_OK;
}

int repo_tests(struct runner *r, const struct result *res, struct assay_arena *arena, struct result_test **out, size_t *n,
               struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(r->host->store, &tests_stmt, arena, &rows, err, ASSAY_VT(res->submission_id), ASSAY_VI(res->fence));
    if (rc < 0)
        return rc;
    struct result_test *list = assay_arena_array(arena, rows.n != 0 ? rows.n : 1, sizeof *list);
    if (list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct result_test){.number = c[0].i,
                                       .name = c[1].s,
                                       .sample = c[2].i != 0,
                                       .points = c[3].r,
                                       .verdict = c[4].s,
                                       .ran = c[5].i != 0,
                                       .exit_code = c[6].i,
                                       .signal = c[7].i,
                                       .cpu_ms = c[8].i,
                                       .wall_ms = c[9].i,
                                       .memory_peak = c[10].i,
                                       .out = c[11].s,
                                       .stdout_bytes = c[12].i,
                                       .err = c[13].s,
                                       .stderr_bytes = c[14].i,
                                       .message = c[15].s,
                                       .cpu_us = c[16].i,
                                       .user_us = c[17].i,
                                       .system_us = c[18].i,
                                       .wall_us = c[19].i,
                                       .memory_own = c[20].i,
                                       .max_rss = c[21].i,
                                       .oom_kills = c[22].i,
                                       .voluntary = c[23].i,
                                       .forced = c[24].i,
                                       .over_limit = c[25].i,
                                       .finished = c[26].i != 0,
                                       .reruns = c[27].i,
                                       .judge_message = or_none(&c[28]),
                                       .team_message = or_none(&c[29]),
                                       .transcript = or_none(&c[30]),
                                       .group = c[31].s,
                                       .part = c[32].r};
    }
    *out = list;
    *n = rows.n;
    return ASSAY_OK;
}

struct rejudged {
    struct assay_str copy_id, agent_id, owner_id;
    int64_t fence;
};

static int rejudged(const struct assay_event_row *row, struct assay_tx *tx, struct assay_err *err)
{
#define MEMBER(m, t) {.name = #m, .type = (t), .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct rejudged, m), .has_offset = -1}
    static const struct assay_json_field fields[] = {MEMBER(copy_id, ASSAY_JSON_STRING), MEMBER(agent_id, ASSAY_JSON_STRING),
                                                     MEMBER(owner_id, ASSAY_JSON_STRING), MEMBER(fence, ASSAY_JSON_INT),
                                                     {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1}, {.name = NULL}};
#undef MEMBER
    struct rejudged r;
    struct assay_str id = assay_arena_str(tx->arena, row->ev.subject);
    memset(&r, 0, sizeof r);
    if (id.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (assay_str_is(row->ev.topic, "rejudging.dropped")) {
        ASSAY_TX(tx, &forget_tests, ASSAY_EXPECT_ANY, ASSAY_VT(id));
        ASSAY_TX(tx, &forget_result, ASSAY_EXPECT_ANY, ASSAY_VT(id));
        return tx_check(tx, err);
    }
    int rc = assay_json_decode(row->ev.payload, fields, &r, NULL, tx->arena, NULL, err);
    if (rc < 0)
        return rc;
    struct assay_val to = ASSAY_VT(id), from = ASSAY_VT(r.copy_id), fence = ASSAY_VI(r.fence);
    ASSAY_TX(tx, &replaced_tests, ASSAY_EXPECT_ANY, to, from, fence);
    ASSAY_TX(tx, &replaced_result, ASSAY_EXPECT_ANY, to, from, fence);
    ASSAY_TX(tx, &take_tests, ASSAY_EXPECT_ANY, to, from, fence);
    ASSAY_TX(tx, &take_result, ASSAY_EXPECT_ANY, to, from, fence, ASSAY_VT(r.agent_id), ASSAY_VT(r.owner_id));
    return tx_check(tx, err);
}

void repo_catch_up(struct runner *r)
{
    static const char *const topics[] = {"benchmark.changed", NULL};
    struct assay_err err;
    if (assay_store_catch_up(r->host->store, ASSAY_STR(RUNNER_GROUP), topics, CATCH_UP_MS, &err) < 0)
        assay_log(r->host, ASSAY_LOG_WARN, "projection_unknown", ASSAY_KZ("error", err.msg));
}

int repo_project(void *self, const struct assay_event_row *row, struct assay_tx *tx, struct assay_err *err)
{
    (void)self;
    if (!assay_str_is(row->ev.topic, "benchmark.changed"))
        return rejudged(row, tx, err);
    struct assay_ev_benchmark b;
    memset(&b, 0, sizeof b);
    struct assay_str id = assay_arena_str(tx->arena, row->ev.subject);
    int rc = assay_ev_benchmark_decode(row->ev.payload, tx->arena, &b, err);
    if (rc < 0)
        return rc;
    if (id.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    ASSAY_TX(tx, &project_benchmark, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(b.owner_id)), ASSAY_VI(b.visibility),
             ASSAY_VI(b.feedback), ASSAY_VT(or_empty(b.toolchains)), ASSAY_VI(b.warm_interpreters));
    return tx_check(tx, err);
}
