/* The SQL of the leaderboard service that reads; how boards come about is in repo_board.c. */
#include "repo.h"

#include <float.h>

#define ENTRY_COLUMNS                                                                                                  \
    "e.benchmark_id, e.agent_id, e.agent_name, e.owner_id, e.submission_id, e.problem_id, e.score, e.at_ms,"       \
    " e.down, e.created_ms, e.solved, e.penalty"
#define ENTRY_LETTERS "ttttttriri" "ii"
#define ENTRY_FROM " FROM leaderboard_entries e"
/* Boards of all benchmarks, those whose scores are on one scale: $1 staff, $5 user ("" for an agent's token), $7 now.  One that is
 * frozen has nothing here for those who may not see behind the freeze. */
#define FROZEN_NOW(now) "(b.freezes_ms > 0 AND b.freezes_ms <= CAST(" now " AS BIGINT) AND (b.thaws_ms = 0 OR b.thaws_ms > CAST(" now " AS BIGINT)))"
#define BOARD_SEEN                                                                                                     \
    " b.deleted = 0 AND b.ranking = 0 AND (CAST($1 AS BIGINT) = 1 OR b.owner_id = CAST($5 AS TEXT)"                                      \
    " OR (b.visibility = 0 AND b.feedback > 0 AND NOT " FROZEN_NOW("$7") "))"

const struct assay_stmt lb_q_top = {
    .name = "leaderboard.top",
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " WHERE e.benchmark_id = $1 AND " KEY("e") " > ($2, $3, $4)" KEY_ASC("e")
           " LIMIT $5",
    .params = "triti",
    .columns = ENTRY_LETTERS};
const struct assay_stmt lb_q_top_of_all = {
    .name = "leaderboard.top_of_all",
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " JOIN leaderboard_benchmarks b ON b.id = e.benchmark_id"
           " WHERE " KEY("e") " > ($2, $3, $4) AND" BOARD_SEEN KEY_ASC("e") " LIMIT $6",
    .params = "irittii",
    .columns = ENTRY_LETTERS};
const struct assay_stmt lb_q_of_agent = {
    .name = "leaderboard.of_agent",
    .sql = "SELECT " ENTRY_COLUMNS ", 1 + CAST(COALESCE((SELECT SUM(p.n) FROM leaderboard_buckets p"
           " WHERE p.benchmark_id = e.benchmark_id AND " KEY("p") " < " KEY_OF("k") "), 0) AS BIGINT)"
           " + (SELECT COUNT(*) FROM leaderboard_entries f WHERE f.benchmark_id = e.benchmark_id"
           " AND " KEY("f") " >= " KEY_OF("k") " AND " KEY("f") " < " KEY_OF("e") ")" ENTRY_FROM JOIN_BUCKET
           " WHERE e.benchmark_id = $1 AND e.agent_id = $2",
    .params = "tt",
    .columns = ENTRY_LETTERS "i"};
const struct assay_stmt lb_q_boards_of_agent = {
    .name = "leaderboard.boards_of_agent",
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " JOIN leaderboard_benchmarks b ON b.id = e.benchmark_id"
           " WHERE e.agent_id = $2 AND b.deleted = 0 AND (CAST($1 AS BIGINT) = 1 OR b.owner_id = CAST($3 AS TEXT)"
           " OR (b.feedback > 0 AND NOT " FROZEN_NOW("$6") " AND (b.visibility = 0 OR e.agent_id = CAST($4 AS TEXT)"
           " OR e.owner_id = CAST($3 AS TEXT)))) ORDER BY e.benchmark_id LIMIT $5",
    .params = "itttii",
    .columns = ENTRY_LETTERS};
const struct assay_stmt lb_q_benchmark_get = {
    .name = "leaderboard.benchmark",
    .sql = "SELECT b.owner_id, b.visibility, b.feedback, b.deleted, b.scoring, b.ranking, b.penalty_minutes, b.pass_k, b.starts_ms,"
           " b.freezes_ms, b.thaws_ms, (SELECT COUNT(*) FROM leaderboard_problems p WHERE p.benchmark_id = b.id AND p.deleted = 0)"
           " FROM leaderboard_benchmarks b WHERE b.id = $1",
    .params = "t",
    .columns = "tiiiiiiiiiii"};
/* two seeks: an OR of them would read the whole board */
const struct assay_stmt lb_q_enters = {
    .name = "leaderboard.enters",
    .sql = "SELECT 1 FROM leaderboard_entries WHERE benchmark_id = $1 AND agent_id = $3 AND CAST($3 AS TEXT) <> ''"
           " UNION ALL SELECT 1 FROM leaderboard_entries WHERE benchmark_id = $1 AND owner_id = $2"
           " AND CAST($3 AS TEXT) = '' LIMIT 1",
    .params = "ttt",
    .columns = "i"};

const struct assay_stmt lb_q_problems = {
    .name = "leaderboard.problems",
    .sql = "SELECT id, name, position FROM leaderboard_problems WHERE benchmark_id = $1 AND deleted = 0 ORDER BY position, id",
    .params = "t",
    .columns = "tti"};
const struct assay_stmt lb_q_cells = {
    .name = "leaderboard.cells",
    .sql = "SELECT c.problem_id, c.submission_id, c.value, c.value_ms, c.n, c.correct, c.total, COALESCE(c.ok_ms, 0), c.rejected,"
           " c.pending, COALESCE(c.cpu_ms, -1) FROM leaderboard_cells c WHERE c.board = $1 AND c.agent_id = $2 ORDER BY c.problem_id",
    .params = "tt",
    .columns = "ttiiiiiiiii"};
const struct assay_stmt lb_q_cells_of_all = {
    .name = "leaderboard.cells_of_all",
    .sql = "SELECT c.agent_id, c.problem_id, c.total, c.n, c.correct FROM leaderboard_cells c WHERE c.board = $1"
           " AND (c.agent_id, c.problem_id) > ($2, $3) ORDER BY c.agent_id, c.problem_id LIMIT $4",
    .params = "ttti",
    .columns = "ttiii"};
/* $3: what was submitted before it */
const struct assay_stmt lb_q_metrics = {
    .name = "leaderboard.metrics",
    .sql = "SELECT m.name, COUNT(*), SUM(m.value) FROM leaderboard_scores s JOIN leaderboard_numbers m"
           " ON m.submission_id = s.submission_id AND m.kind = 1 WHERE s.benchmark_id = $1 AND s.agent_id = $2"
           " AND s.gone = 0 AND s.created_ms < $3 GROUP BY m.name ORDER BY m.name",
    .params = "tti",
    .columns = "tir"};

/* $3 as above; $4 limit; those that came first first */
const struct assay_stmt lb_q_submissions = {
    .name = "leaderboard.submissions",
    .sql = "SELECT s.submission_id, s.problem_id, s.verdict, s.score, s.created_ms, s.cpu_ms FROM leaderboard_scores s"
           " WHERE s.benchmark_id = $1 AND s.agent_id = $2 AND s.gone = 0 AND s.created_ms < $3"
           " AND NOT EXISTS (SELECT 1 FROM leaderboard_problems d WHERE d.id = s.problem_id AND d.deleted = 1)"
           " ORDER BY s.created_ms, s.submission_id LIMIT $4",
    .params = "ttii",
    .columns = "tttrii"};
const struct assay_stmt lb_q_groups = {
    .name = "leaderboard.groups",
    .sql = "SELECT m.name, m.value FROM leaderboard_numbers m WHERE m.submission_id = $1 AND m.kind = 0 ORDER BY m.name",
    .params = "t",
    .columns = "tr"};

/* ---- reading ------------------------------------------------------------------------------------ */

int lb_benchmark_get(const struct assay_store *st, struct assay_str id, struct assay_arena *arena,
                     struct lb_benchmark *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &lb_q_benchmark_get, arena, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such benchmark");
    const struct assay_val *c = rows.row[0].col;
    *out = (struct lb_benchmark){.owner_id = c[0].s, .visibility = c[1].i, .feedback = c[2].i, .deleted = c[3].i != 0,
                                 .rules = {.scoring = (int)c[4].i, .ranking = (int)c[5].i, .penalty_minutes = c[6].i,
                                           .pass_k = c[7].i, .thaws_ms = c[10].i},
                                 .starts_ms = c[8].i, .freezes_ms = c[9].i, .problems = c[11].i};
    return 0;
}

int lb_enters(const struct assay_store *st, struct assay_str benchmark_id, const struct lb_viewer *v,
              struct assay_arena *arena, bool *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &lb_q_enters, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VT(v->user_id),
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
                                    .created_ms = c[7].i,
                                    .down = c[8].r,
                                    .tie = c[9].i,
                                    .solved = c[10].i,
                                    .penalty_minutes = c[11].i};
    }
    *out = list;
    *n = rows->n;
    return 0;
}

/* Before the first of any board: more than any score. */
static struct lb_place begin(const struct lb_place *from)
{
    return from->rank > 0 ? *from : (struct lb_place){.score = DBL_MAX, .created_ms = -1, .submission_id = ASSAY_STR("")};
}

int lb_top(const struct assay_store *st, struct assay_str benchmark_id, const struct lb_place *from, int64_t limit,
           struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    struct lb_place at = begin(from);
    int rc = ASSAY_QUERY(st, &lb_q_top, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VR(0 - at.score), ASSAY_VI(at.created_ms),
                         ASSAY_VT(at.submission_id), ASSAY_VI(limit));
    return rc < 0 ? rc : entries(&rows, arena, out, n, err);
}

int lb_top_of_all(const struct assay_store *st, const struct lb_viewer *v, const struct lb_place *from, int64_t limit,
                  struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    struct lb_place at = begin(from);
    int rc = ASSAY_QUERY(st, &lb_q_top_of_all, arena, &rows, err, ASSAY_VI(v->staff), ASSAY_VR(0 - at.score),
                         ASSAY_VI(at.created_ms), ASSAY_VT(at.submission_id),
                         ASSAY_VT(v->agent_id.n ? ASSAY_STR("") : v->user_id), ASSAY_VI(limit), ASSAY_VI(v->now_ms));
    return rc < 0 ? rc : entries(&rows, arena, out, n, err);
}

int lb_of_agent(const struct assay_store *st, struct assay_str benchmark_id, struct assay_str agent_id,
                struct assay_arena *arena, struct lb_entry *out, int64_t *rank, bool *found, struct assay_err *err)
{
    struct assay_rows rows;
    struct lb_entry *e;
    size_t n;
    int rc = ASSAY_QUERY(st, &lb_q_of_agent, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VT(agent_id));
    if (rc == 0)
        rc = entries(&rows, arena, &e, &n, err);
    if (rc < 0)
        return rc;
    *found = n > 0;
    if (n > 0) {
        *out = e[0];
        *rank = rows.row[0].col[12].i;
    }
    return 0;
}

int lb_boards_of_agent(const struct assay_store *st, const struct lb_viewer *v, struct assay_str agent_id, int64_t limit,
                       struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &lb_q_boards_of_agent, arena, &rows, err, ASSAY_VI(v->staff), ASSAY_VT(agent_id),
                         ASSAY_VT(v->agent_id.n ? ASSAY_STR("") : v->user_id), ASSAY_VT(v->agent_id), ASSAY_VI(limit),
                         ASSAY_VI(v->now_ms));
    return rc < 0 ? rc : entries(&rows, arena, out, n, err);
}


int lb_problems(const struct assay_store *st, struct assay_str benchmark_id, struct assay_arena *arena, struct lb_problem **out,
                size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &lb_q_problems, arena, &rows, err, ASSAY_VT(benchmark_id));
    struct lb_problem *list = rc < 0 ? NULL : assay_arena_array(arena, rows.n + 1, sizeof *list);
    if (rc < 0 || !list)
        return rc < 0 ? rc : assay_err_set(err, ASSAY_E_NOMEM, "no memory for a leaderboard");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct lb_problem){.id = c[0].s, .name = c[1].s, .position = c[2].i};
    }
    *out = list;
    *n = rows.n;
    return 0;
}

int lb_cells(const struct assay_store *st, struct assay_str board, struct assay_str agent_id, struct assay_arena *arena,
             struct lb_cell **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &lb_q_cells, arena, &rows, err, ASSAY_VT(board), ASSAY_VT(agent_id));
    struct lb_cell *list = rc < 0 ? NULL : assay_arena_array(arena, rows.n + 1, sizeof *list);
    if (rc < 0 || !list)
        return rc < 0 ? rc : assay_err_set(err, ASSAY_E_NOMEM, "no memory for a leaderboard");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct lb_cell){.problem_id = c[0].s, .submission_id = c[1].s, .value = (double)c[2].i / 1e6, .value_ms = c[3].i,
                                   .n = c[4].i, .correct = c[5].i, .total = (double)c[6].i / 1e6, .ok_ms = c[7].i,
                                   .rejected = c[8].i, .pending = c[9].i, .cpu_ms = c[10].i};
    }
    *out = list;
    *n = rows.n;
    return 0;
}

int lb_cells_of_all(const struct assay_store *st, struct assay_str board, struct assay_str agent_id, struct assay_str problem_id,
                    int64_t limit, struct assay_arena *arena, struct assay_rows *out, struct assay_err *err)
{
    return ASSAY_QUERY(st, &lb_q_cells_of_all, arena, out, err, ASSAY_VT(board), ASSAY_VT(agent_id), ASSAY_VT(problem_id), ASSAY_VI(limit));
}

int lb_metrics(const struct assay_store *st, struct assay_str benchmark_id, struct assay_str agent_id, int64_t until_ms,
               struct assay_arena *arena, struct assay_rows *out, struct assay_err *err)
{
    return ASSAY_QUERY(st, &lb_q_metrics, arena, out, err, ASSAY_VT(benchmark_id), ASSAY_VT(agent_id), ASSAY_VI(until_ms));
}

int lb_submissions(const struct assay_store *st, struct assay_str benchmark_id, struct assay_str agent_id, int64_t until_ms,
                   int64_t limit, struct assay_arena *arena, struct lb_submission **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows, groups;
    int rc = ASSAY_QUERY(st, &lb_q_submissions, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VT(agent_id), ASSAY_VI(until_ms),
                         ASSAY_VI(limit));
    struct lb_submission *list = rc < 0 ? NULL : assay_arena_array(arena, rows.n + 1, sizeof *list);
    if (rc < 0 || !list)
        return rc < 0 ? rc : assay_err_set(err, ASSAY_E_NOMEM, "no memory for a history");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        rc = ASSAY_QUERY(st, &lb_q_groups, arena, &groups, err, ASSAY_VT(c[0].s));
        struct assay_ev_number *g = rc < 0 ? NULL : assay_arena_array(arena, groups.n + 1, sizeof *g);
        if (rc < 0 || !g)
            return rc < 0 ? rc : assay_err_set(err, ASSAY_E_NOMEM, "no memory for a history");
        for (size_t k = 0; k < groups.n; k++)
            g[k] = (struct assay_ev_number){groups.row[k].col[0].s, groups.row[k].col[1].r};
        list[i] = (struct lb_submission){.submission_id = c[0].s, .problem_id = c[1].s, .verdict = c[2].s, .score = c[3].r,
                                         .created_ms = c[4].i, .cpu_ms = c[5].i, .group = g, .n_groups = groups.n};
    }
    *out = list;
    *n = rows.n;
    return 0;
}
