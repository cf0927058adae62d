/* The SQL of the scoring service. */
#include "local.h"

/* $1 staff, $2 user, $3 agent of a token; $4 before; $5 benchmark, $6 agent, $7 submission; $8 since; $9 limit; $10 now: what others
 * submitted behind a freeze is not shown before the thaw.
 * The filter that finds the rows stands bare, so that its index is used; the others may be NULL. */
#define ANY_BENCHMARK "(CAST($5 AS TEXT) IS NULL OR s.benchmark_id = CAST($5 AS TEXT))"
#define ANY_AGENT "(CAST($6 AS TEXT) IS NULL OR s.agent_id = CAST($6 AS TEXT))"
#define ANY_SUBMISSION "(CAST($7 AS TEXT) IS NULL OR s.submission_id = CAST($7 AS TEXT))"
#define LIST(found)                                                                                                    \
    "SELECT s.submission_id, s.problem_id, s.agent_id, s.owner_id, s.benchmark_id, s.verdict, s.score, s.attempt,"      \
    " s.created_ms, s.finished_ms, COALESCE(b.feedback, 0), COALESCE(b.owner_id, '')"                                  \
    " FROM scoring_scores s LEFT JOIN scoring_benchmarks b ON b.id = s.benchmark_id"                                   \
    " WHERE " found " AND (CAST($4 AS TEXT) IS NULL OR s.submission_id < CAST($4 AS TEXT))"                            \
    " AND s.created_ms >= CAST($8 AS BIGINT)"                                                                          \
    " AND (CAST($1 AS BIGINT) = 1"                                                                                     \
    " OR (CAST($3 AS TEXT) <> '' AND s.agent_id = CAST($3 AS TEXT))"                                                   \
    " OR (CAST($3 AS TEXT) = '' AND (s.owner_id = CAST($2 AS TEXT) OR (b.deleted = 0 AND b.owner_id = CAST($2 AS TEXT))))" \
    " OR (b.deleted = 0 AND b.visibility = 0 AND NOT (b.freezes_ms > 0 AND s.created_ms >= b.freezes_ms"               \
    " AND b.freezes_ms <= CAST($10 AS BIGINT) AND (b.thaws_ms = 0 OR b.thaws_ms > CAST($10 AS BIGINT)))))"                                                                        \
    " ORDER BY s.submission_id DESC LIMIT $9"
#define LIST_PARAMS "ittttttiii"
#define LIST_COLUMNS "ttttttriiiit"

static const struct assay_stmt list_all = {.name = "scoring.list",
                                           .sql = LIST(ANY_BENCHMARK " AND " ANY_AGENT " AND " ANY_SUBMISSION),
                                           .params = LIST_PARAMS,
                                           .columns = LIST_COLUMNS};
static const struct assay_stmt list_benchmark = {
    .name = "scoring.list_benchmark",
    .sql = LIST("s.benchmark_id = CAST($5 AS TEXT) AND " ANY_AGENT " AND " ANY_SUBMISSION),
    .params = LIST_PARAMS,
    .columns = LIST_COLUMNS};
static const struct assay_stmt list_agent = {
    .name = "scoring.list_agent",
    .sql = LIST("s.agent_id = CAST($6 AS TEXT) AND " ANY_BENCHMARK " AND " ANY_SUBMISSION),
    .params = LIST_PARAMS,
    .columns = LIST_COLUMNS};
static const struct assay_stmt list_submission = {
    .name = "scoring.list_submission",
    .sql = LIST("s.submission_id = CAST($7 AS TEXT) AND " ANY_BENCHMARK " AND " ANY_AGENT),
    .params = LIST_PARAMS,
    .columns = LIST_COLUMNS};
static const struct assay_stmt add = {
    .name = "scoring.add",
    .sql = "INSERT INTO scoring_scores (submission_id, problem_id, agent_id, owner_id, benchmark_id, verdict, score,"
           " attempt, created_ms, finished_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
           /* judged again: the later verdict stands */
           " ON CONFLICT (submission_id) DO UPDATE SET verdict = excluded.verdict, score = excluded.score,"
           " attempt = excluded.attempt, finished_ms = excluded.finished_ms",
    .params = "ttttttriii",
    .columns = "",
    .write = true};
static const struct assay_stmt remove_one = {.name = "scoring.remove",
                                             .sql = "DELETE FROM scoring_scores WHERE submission_id = $1",
                                             .params = "t",
                                             .columns = "",
                                             .write = true};
static const struct assay_stmt project_benchmark = {
    .name = "scoring.project_benchmark",
    .sql = "INSERT INTO scoring_benchmarks (id, owner_id, visibility, feedback, deleted, freezes_ms, thaws_ms)"
           " VALUES ($1, $2, $3, $4, $5, $6, $7)"
           " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, visibility = excluded.visibility,"
           " feedback = excluded.feedback, deleted = excluded.deleted, freezes_ms = excluded.freezes_ms,"
           " thaws_ms = excluded.thaws_ms",
    .params = "ttiiiii",
    .columns = "",
    .write = true};

const struct assay_stmt *const scoring_statements[SCORING_STATEMENTS] = {&list_all,        &list_benchmark, &list_agent,
                                                       &list_submission, &add,            &remove_one,
                                                       &project_benchmark};

static struct assay_str or_empty(struct assay_str s)
{
    return s.p ? s : ASSAY_STR("");
}

int scoring_list(const struct assay_store *st, const struct scoring_viewer *v, const struct scoring_filter *f,
                 struct assay_arena *arena, struct scoring_row **out, size_t *n, struct assay_err *err)
{
    const struct assay_stmt *stmt = f->submission_id.p  ? &list_submission
                                    : f->agent_id.p     ? &list_agent
                                    : f->benchmark_id.p ? &list_benchmark
                                                        : &list_all;
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, stmt, arena, &rows, err, ASSAY_VI(v->staff), ASSAY_VT(v->user_id), ASSAY_VT(v->agent_id),
                         ASSAY_VT_OR_NULL(f->before), ASSAY_VT_OR_NULL(f->benchmark_id), ASSAY_VT_OR_NULL(f->agent_id),
                         ASSAY_VT_OR_NULL(f->submission_id), ASSAY_VI(f->since_ms), ASSAY_VI(f->limit), ASSAY_VI(f->now_ms));
    if (rc < 0)
        return rc;
    struct scoring_row *list = assay_arena_array(arena, rows.n, sizeof *list);
    if (rows.n && !list)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for scores");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct scoring_row){.submission_id = c[0].s,
                                       .problem_id = c[1].s,
                                       .agent_id = c[2].s,
                                       .owner_id = c[3].s,
                                       .benchmark_id = c[4].s,
                                       .verdict = c[5].s,
                                       .score = c[6].r,
                                       .attempt = c[7].i,
                                       .created_ms = c[8].i,
                                       .finished_ms = c[9].i,
                                       .feedback = c[10].i,
                                       .benchmark_owner = c[11].s};
    }
    *out = list;
    *n = rows.n;
    return 0;
}

int scoring_add(struct assay_tx *tx, struct assay_str submission_id, const struct assay_ev_done *done,
                struct assay_err *err)
{
    struct scoring_summary summary;
    int rc = scoring_summary_read(done->summary, tx->arena, &summary, err);
    if (rc < 0)
        return rc;
    ASSAY_TX(tx, &add, ASSAY_EXPECT_ONE, ASSAY_VT(submission_id), ASSAY_VT(or_empty(done->problem_id)),
             ASSAY_VT(done->agent_id), ASSAY_VT(or_empty(done->owner_id)), ASSAY_VT(done->benchmark_id),
             ASSAY_VT(done->verdict), ASSAY_VR(done->score), ASSAY_VI(done->attempt), ASSAY_VI(done->created_ms),
             ASSAY_VI(done->finished_ms));
    struct assay_ev_score score = {.submission_id = submission_id,
                                   .problem_id = or_empty(done->problem_id),
                                   .agent_id = done->agent_id,
                                   .owner_id = or_empty(done->owner_id),
                                   .benchmark_id = done->benchmark_id,
                                   .verdict = done->verdict,
                                   .score = done->score,
                                   .created_ms = done->created_ms,
                                   .cpu_ms = summary.cpu_ms,
                                   .groups = summary.groups};
    ASSAY_CLEANUP_BUF struct assay_buf payload = ASSAY_BUF_INIT;
    rc = assay_ev_score_encode(&score, &payload, err);
    if (rc < 0)
        return rc;
    struct assay_event ev = {.topic = ASSAY_STR("score.calculated"),
                             .subject = submission_id,
                             .owner = or_empty(done->owner_id),
                             .benchmark = done->benchmark_id,
                             .payload = assay_arena_take(tx->arena, &payload)};
    if (!ev.payload.p)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for an event");
    assay_tx_event(tx, ev);
    return 0;
}

void scoring_remove(struct assay_tx *tx, struct assay_str submission_id)
{
    ASSAY_TX(tx, &remove_one, ASSAY_EXPECT_ANY, ASSAY_VT(submission_id));
}

void scoring_project_benchmark(struct assay_tx *tx, struct assay_str id, const struct assay_ev_benchmark *b)
{
    ASSAY_TX(tx, &project_benchmark, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(b->owner_id)),
             ASSAY_VI(b->visibility), ASSAY_VI(b->feedback), ASSAY_VI(b->deleted), ASSAY_VI(b->freezes_ms), ASSAY_VI(b->rules.thaws_ms));
}
