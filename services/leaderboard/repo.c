/*
 * The SQL of the leaderboard service.
 *
 * An agent's entry is derived from its scores by one statement in the transaction that changed
 * them, through an index that has the best first: incremental, and equal to a full recomputation
 * whatever happens to a score (judged again, removed).  A deleted agent leaves the boards; its
 * scores stay, and bring it back if it is restored.
 */
#include "local.h"

#define ENTRY_COLUMNS                                                                                                  \
    "e.benchmark_id, e.agent_id, COALESCE(a.name, ''), e.owner_id, e.submission_id, e.problem_id, e.score, e.created_ms"
#define ENTRY_LETTERS "ttttttri"
#define ENTRY_FROM " FROM leaderboard_entries e LEFT JOIN leaderboard_agents a ON a.id = e.agent_id"
#define ENTRY_ORDER " ORDER BY e.score DESC, e.created_ms, e.submission_id"
/* behind ($s score, $c created, $i submission) in the order of a board */
#define BEHIND(s, c, i)                                                                                                \
    "(e.score < " s " OR (e.score = " s " AND (e.created_ms > " c " OR (e.created_ms = " c                            \
    " AND e.submission_id > " i "))))"
#define BEFORE(s, c, i)                                                                                                \
    "(e.score > " s " OR (e.score = " s " AND (e.created_ms < " c " OR (e.created_ms = " c                            \
    " AND e.submission_id < " i "))))"
#define S2 "CAST($2 AS DOUBLE PRECISION)"
#define C3 "CAST($3 AS BIGINT)"
#define I4 "CAST($4 AS TEXT)"
/* boards of all benchmarks: $1 staff, $5 user ("" for an agent's token) */
#define BOARD_SEEN                                                                                                     \
    " b.deleted = 0 AND (CAST($1 AS BIGINT) = 1 OR b.owner_id = CAST($5 AS TEXT)"                                      \
    " OR (b.visibility = 0 AND b.feedback > 0))"

static const struct assay_stmt top = {
    .name = "leaderboard.top",
    /* the bare bound lets the index seek; the full one cuts within equals */
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " WHERE e.benchmark_id = $1 AND e.score <= " S2 " AND " BEHIND(S2, C3, I4)
               ENTRY_ORDER " LIMIT $5",
    .params = "triti",
    .columns = ENTRY_LETTERS};
static const struct assay_stmt top_of_all = {
    .name = "leaderboard.top_of_all",
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " JOIN leaderboard_benchmarks b ON b.id = e.benchmark_id"
           " WHERE e.score <= " S2 " AND " BEHIND(S2, C3, I4) " AND" BOARD_SEEN ENTRY_ORDER " LIMIT $6",
    .params = "iritti",
    .columns = ENTRY_LETTERS};
static const struct assay_stmt of_agent = {
    .name = "leaderboard.of_agent",
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " WHERE e.benchmark_id = $1 AND e.agent_id = $2",
    .params = "tt",
    .columns = ENTRY_LETTERS};
static const struct assay_stmt better = {
    .name = "leaderboard.better",
    .sql = "SELECT COUNT(*) FROM leaderboard_entries e WHERE e.benchmark_id = $1 AND e.score >= " S2
           " AND " BEFORE(S2, C3, I4),
    .params = "trit",
    .columns = "i"};
static const struct assay_stmt boards_of_agent = {
    .name = "leaderboard.boards_of_agent",
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " JOIN leaderboard_benchmarks b ON b.id = e.benchmark_id"
           " WHERE e.agent_id = $2 AND b.deleted = 0 AND (CAST($1 AS BIGINT) = 1 OR b.owner_id = CAST($3 AS TEXT)"
           " OR (b.feedback > 0 AND (b.visibility = 0 OR e.agent_id = CAST($4 AS TEXT)"
           " OR e.owner_id = CAST($3 AS TEXT)))) ORDER BY e.benchmark_id LIMIT $5",
    .params = "ittti",
    .columns = ENTRY_LETTERS};
static const struct assay_stmt benchmark_get = {
    .name = "leaderboard.benchmark",
    .sql = "SELECT owner_id, visibility, feedback, deleted FROM leaderboard_benchmarks WHERE id = $1",
    .params = "t",
    .columns = "tiii"};
static const struct assay_stmt enters = {
    .name = "leaderboard.enters",
    .sql = "SELECT 1 FROM leaderboard_entries WHERE benchmark_id = $1 AND"
           " ((CAST($3 AS TEXT) <> '' AND agent_id = CAST($3 AS TEXT))"
           " OR (CAST($3 AS TEXT) = '' AND owner_id = CAST($2 AS TEXT))) LIMIT 1",
    .params = "ttt",
    .columns = "i"};

static const struct assay_stmt score_put = {
    .name = "leaderboard.score_put",
    .sql = "INSERT INTO leaderboard_scores (submission_id, benchmark_id, problem_id, agent_id, owner_id, score, created_ms)"
           " VALUES ($1, $2, $3, $4, $5, $6, $7)"
           " ON CONFLICT (submission_id) DO UPDATE SET score = excluded.score",
    .params = "tttttri",
    .columns = "",
    .write = true};
/* An agent's first in the order of a board. */
#define FIRST(which)                                                                                                   \
    "(SELECT t.submission_id FROM leaderboard_scores t WHERE " which                                                   \
    " ORDER BY t.score DESC, t.created_ms, t.submission_id LIMIT 1)"
#define ENTER                                                                                                          \
    "INSERT INTO leaderboard_entries (benchmark_id, agent_id, submission_id, problem_id, owner_id, score, created_ms)"  \
    " SELECT s.benchmark_id, s.agent_id, s.submission_id, s.problem_id, s.owner_id, s.score, s.created_ms"             \
    " FROM leaderboard_scores s WHERE "
#define NOT_LEFT " AND NOT EXISTS (SELECT 1 FROM leaderboard_agents a WHERE a.id = s.agent_id AND a.deleted = 1)"
#define REPLACE                                                                                                        \
    " ON CONFLICT (benchmark_id, agent_id) DO UPDATE SET submission_id = excluded.submission_id,"                      \
    " problem_id = excluded.problem_id, owner_id = excluded.owner_id, score = excluded.score,"                         \
    " created_ms = excluded.created_ms WHERE "
#define IF_OTHER                                                                                                       \
    "leaderboard_entries.submission_id <> excluded.submission_id OR leaderboard_entries.score <> excluded.score"
/* $1 becomes its agent's entry if it is the agent's best */
static const struct assay_stmt promote = {
    .name = "leaderboard.promote",
    .sql = ENTER "s.submission_id = $1 AND s.submission_id = " FIRST("t.benchmark_id = $2 AND t.agent_id = $3") NOT_LEFT
               REPLACE IF_OTHER,
    .params = "ttt",
    .columns = "",
    .write = true};
/* whatever is the agent's best becomes its entry: after its former best was judged again */
static const struct assay_stmt settle = {
    .name = "leaderboard.settle",
    .sql = ENTER "s.submission_id = " FIRST("t.benchmark_id = $1 AND t.agent_id = $2") NOT_LEFT REPLACE IF_OTHER,
    .params = "tt",
    .columns = "",
    .write = true};
/* if $1 is an entry, the agent's next best takes its place */
static const struct assay_stmt succeed = {
    .name = "leaderboard.succeed",
    .sql = ENTER "s.submission_id = (SELECT t.submission_id FROM leaderboard_scores t JOIN leaderboard_scores gone"
                 " ON t.benchmark_id = gone.benchmark_id AND t.agent_id = gone.agent_id"
                 " WHERE gone.submission_id = $1 AND t.submission_id <> $1"
                 " ORDER BY t.score DESC, t.created_ms, t.submission_id LIMIT 1)" NOT_LEFT REPLACE
                 "leaderboard_entries.submission_id = $1",
    .params = "t",
    .columns = "",
    .write = true};
static const struct assay_stmt entry_drop = {.name = "leaderboard.entry_drop",
                                             .sql = "DELETE FROM leaderboard_entries WHERE submission_id = $1",
                                             .params = "t",
                                             .columns = "",
                                             .write = true};
static const struct assay_stmt score_drop = {.name = "leaderboard.score_drop",
                                             .sql = "DELETE FROM leaderboard_scores WHERE submission_id = $1",
                                             .params = "t",
                                             .columns = "",
                                             .write = true};
static const struct assay_stmt agent_leave = {.name = "leaderboard.agent_leave",
                                              .sql = "DELETE FROM leaderboard_entries WHERE agent_id = $1",
                                              .params = "t",
                                              .columns = "",
                                              .write = true};
static const struct assay_stmt agent_return = {
    .name = "leaderboard.agent_return",
    .sql = ENTER "s.agent_id = $1 AND s.submission_id = "
               FIRST("t.benchmark_id = s.benchmark_id AND t.agent_id = s.agent_id") " ON CONFLICT DO NOTHING",
    .params = "t",
    .columns = "",
    .write = true};
static const struct assay_stmt project_benchmark = {
    .name = "leaderboard.project_benchmark",
    .sql = "INSERT INTO leaderboard_benchmarks (id, owner_id, visibility, feedback, deleted) VALUES ($1, $2, $3, $4, $5)"
           " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, visibility = excluded.visibility,"
           " feedback = excluded.feedback, deleted = excluded.deleted",
    .params = "ttiii",
    .columns = "",
    .write = true};
static const struct assay_stmt project_agent = {
    .name = "leaderboard.project_agent",
    .sql = "INSERT INTO leaderboard_agents (id, owner_id, name, deleted) VALUES ($1, $2, $3, $4)"
           " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, name = excluded.name, deleted = excluded.deleted",
    .params = "ttti",
    .columns = "",
    .write = true};

const struct assay_stmt *const leaderboard_statements[LEADERBOARD_STATEMENTS] = {
    &top,     &top_of_all, &of_agent,   &better,     &boards_of_agent, &benchmark_get, &enters,            &score_put,    &promote,
    &settle,  &succeed,    &entry_drop, &score_drop, &agent_leave,     &agent_return,  &project_benchmark, &project_agent};

static struct assay_str or_empty(struct assay_str s)
{
    return s.p ? s : ASSAY_STR("");
}

/* ---- reading ------------------------------------------------------------------------------------ */

int lb_benchmark_get(const struct assay_store *st, struct assay_str id, struct assay_arena *arena,
                     struct lb_benchmark *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &benchmark_get, arena, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such benchmark");
    const struct assay_val *c = rows.row[0].col;
    *out = (struct lb_benchmark){.owner_id = c[0].s, .visibility = c[1].i, .feedback = c[2].i, .deleted = c[3].i != 0};
    return 0;
}

int lb_enters(const struct assay_store *st, struct assay_str benchmark_id, const struct lb_viewer *v,
              struct assay_arena *arena, bool *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &enters, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VT(v->user_id),
                         ASSAY_VT(v->agent_id));
    if (rc == 0)
        *out = rows.n > 0;
    return rc;
}

static int entries(const struct assay_rows *rows, struct assay_arena *arena, struct lb_entry **out, size_t *n,
                   struct assay_err *err)
{
    struct lb_entry *list = assay_arena_array(arena, rows->n, sizeof *list);
    if (rows->n && !list)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a leaderboard");
    for (size_t i = 0; i < rows->n; i++) {
        const struct assay_val *c = rows->row[i].col;
        list[i] = (struct lb_entry){.benchmark_id = c[0].s,
                                    .agent_id = c[1].s,
                                    .agent_name = c[2].s,
                                    .owner_id = c[3].s,
                                    .submission_id = c[4].s,
                                    .problem_id = c[5].s,
                                    .score = c[6].r,
                                    .created_ms = c[7].i};
    }
    *out = list;
    *n = rows->n;
    return 0;
}

/* Before the first of any board: more than any score. */
static struct lb_place begin(const struct lb_place *from)
{
    return from->rank > 0 ? *from : (struct lb_place){.score = 1e300, .created_ms = -1, .submission_id = ASSAY_STR("")};
}

int lb_top(const struct assay_store *st, struct assay_str benchmark_id, const struct lb_place *from, int64_t limit,
           struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    struct lb_place at = begin(from);
    int rc = ASSAY_QUERY(st, &top, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VR(at.score), ASSAY_VI(at.created_ms),
                         ASSAY_VT(at.submission_id), ASSAY_VI(limit));
    return rc < 0 ? rc : entries(&rows, arena, out, n, err);
}

int lb_top_of_all(const struct assay_store *st, const struct lb_viewer *v, const struct lb_place *from, int64_t limit,
                  struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    struct lb_place at = begin(from);
    int rc = ASSAY_QUERY(st, &top_of_all, arena, &rows, err, ASSAY_VI(v->staff), ASSAY_VR(at.score),
                         ASSAY_VI(at.created_ms), ASSAY_VT(at.submission_id),
                         ASSAY_VT(v->agent_id.n ? ASSAY_STR("") : v->user_id), ASSAY_VI(limit));
    return rc < 0 ? rc : entries(&rows, arena, out, n, err);
}

int lb_of_agent(const struct assay_store *st, struct assay_str benchmark_id, struct assay_str agent_id,
                struct assay_arena *arena, struct lb_entry *out, int64_t *rank, bool *found, struct assay_err *err)
{
    struct assay_rows rows;
    struct lb_entry *e;
    size_t n;
    int rc = ASSAY_QUERY(st, &of_agent, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VT(agent_id));
    if (rc == 0)
        rc = entries(&rows, arena, &e, &n, err);
    if (rc < 0)
        return rc;
    if (n == 0) {
        *found = false;
        return 0;
    }
    rc = ASSAY_QUERY(st, &better, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VR(e->score), ASSAY_VI(e->created_ms),
                     ASSAY_VT(e->submission_id));
    if (rc < 0)
        return rc;
    *out = *e;
    *rank = rows.n ? rows.row[0].col[0].i + 1 : 1;
    *found = true;
    return 0;
}

int lb_boards_of_agent(const struct assay_store *st, const struct lb_viewer *v, struct assay_str agent_id, int64_t limit,
                       struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &boards_of_agent, arena, &rows, err, ASSAY_VI(v->staff), ASSAY_VT(agent_id),
                         ASSAY_VT(v->agent_id.n ? ASSAY_STR("") : v->user_id), ASSAY_VT(v->agent_id), ASSAY_VI(limit));
    return rc < 0 ? rc : entries(&rows, arena, out, n, err);
}

/* ---- writing ------------------------------------------------------------------------------------- */

/* Told when operation `op` of the transaction changed an entry. */
static int tell(struct assay_tx *tx, int op, struct assay_str benchmark_id, struct assay_str agent_id,
                struct assay_str submission_id, double score, struct assay_err *err)
{
    struct assay_event ev = {.topic = ASSAY_STR("leaderboard.updated"),
                             .subject = benchmark_id,
                             .owner = ASSAY_STR(""),
                             .benchmark = benchmark_id,
                             .if_op = op + 1};
    int rc = lb_updated_encode(agent_id, submission_id, score, tx->arena, &ev.payload, err);
    if (rc == 0)
        assay_tx_event(tx, ev);
    return rc;
}

int lb_score(struct assay_tx *tx, const struct assay_ev_score *score, struct assay_err *err)
{
    struct assay_val benchmark = ASSAY_VT(score->benchmark_id), agent = ASSAY_VT(score->agent_id),
                     submission = ASSAY_VT(score->submission_id);
    ASSAY_TX(tx, &score_put, ASSAY_EXPECT_ONE, submission, benchmark, ASSAY_VT(or_empty(score->problem_id)), agent,
             ASSAY_VT(or_empty(score->owner_id)), ASSAY_VR(score->score), ASSAY_VI(score->created_ms));
    int first = ASSAY_TX(tx, &promote, ASSAY_EXPECT_ANY, submission, benchmark, agent);
    int other = ASSAY_TX(tx, &settle, ASSAY_EXPECT_ANY, benchmark, agent);
    int rc = tell(tx, first, score->benchmark_id, score->agent_id, score->submission_id, score->score, err);
    if (rc == 0)
        rc = tell(tx, other, score->benchmark_id, score->agent_id, ASSAY_STR(""), 0, err);
    return rc;
}

int lb_remove_submission(struct assay_tx *tx, struct assay_str submission_id, struct assay_str benchmark_id,
                         struct assay_err *err)
{
    struct assay_val submission = ASSAY_VT(submission_id);
    int next = ASSAY_TX(tx, &succeed, ASSAY_EXPECT_ANY, submission);
    int none = ASSAY_TX(tx, &entry_drop, ASSAY_EXPECT_ANY, submission);
    ASSAY_TX(tx, &score_drop, ASSAY_EXPECT_ANY, submission);
    int rc = tell(tx, next, or_empty(benchmark_id), ASSAY_STR(""), ASSAY_STR(""), 0, err);
    if (rc == 0)
        rc = tell(tx, none, or_empty(benchmark_id), ASSAY_STR(""), ASSAY_STR(""), 0, err);
    return rc;
}

void lb_project_benchmark(struct assay_tx *tx, struct assay_str id, const struct assay_ev_benchmark *b)
{
    ASSAY_TX(tx, &project_benchmark, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(b->owner_id)),
             ASSAY_VI(b->visibility), ASSAY_VI(b->feedback), ASSAY_VI(b->deleted));
}

void lb_project_agent(struct assay_tx *tx, struct assay_str id, const struct assay_ev_agent *a)
{
    ASSAY_TX(tx, &project_agent, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(a->owner_id)),
             ASSAY_VT(or_empty(a->name)), ASSAY_VI(a->deleted));
    ASSAY_TX(tx, a->deleted ? &agent_leave : &agent_return, ASSAY_EXPECT_ANY, ASSAY_VT(id));
}
