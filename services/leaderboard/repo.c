/*
 * The SQL of the leaderboard service.
 *
 * An agent's entry is derived from its scores by one statement in the transaction that changed
 * them, through an index that has the best first: incremental, and equal to a full recomputation
 * whatever happens to a score (judged again, removed).  A deleted agent leaves the boards; its
 * scores stay, and bring it back if it is restored.
 *
 * Ranks.  Counting the entries before one takes 90 ms on a board of a million.  So a board is cut
 * into buckets: a bucket begins at a key (down, created_ms, submission_id), ends where the next one
 * begins, and holds the number n of entries between.  A rank is the sum of n over the buckets before
 * the entry's own plus the entries before it within its own: some 700 and at most BUCKET_MAX rows
 * for a million.  The first bucket of a board begins before any key (submission_id '').  All of it
 * is kept by statements in the transaction that moves the entry:
 *
 *   uncount   one off the bucket of the entry as it is
 *   ...       the entry changes, or does not
 *   count     one onto the bucket of the entry as it is now
 *   fold      if that bucket is over BUCKET_MAX, the smallest two neighbours of the board become one,
 *   sweep     and buckets without entries go;
 *   split     then the bucket is cut behind its first BUCKET_HALF entries
 *
 * Every split pays for itself with a fold, as long as there are two neighbours of at most BUCKET_HALF
 * together; so there are never more than about 2 N / BUCKET_HALF buckets, N the most entries that the
 * board ever had, however long scores drift upwards.  Only the sums must be exact; where a bucket
 * begins is free.
 *
 * Why in the tables and not a counted tree in memory: a million agents would cost some 100 MB in each
 * process and seconds to load, where a rank from the buckets takes a fraction of a millisecond
 * (bench/leaderboard_bench.c), costs an idle server nothing, is the same on every gateway in the
 * instant of the commit, and cannot part from the entries, since both change in one transaction.
 * Buckets of fixed score ranges would not do: half of a board may have full marks.
 *
 * Entries carry the score negated ("down"), so that the order of a board is one ascending row value,
 * which both engines seek in an index.
 */
#include "local.h"

#include <float.h>

/* a test takes smaller ones */
#ifndef BUCKET_MAX
#define BUCKET_MAX "2048"
#define BUCKET_HALF "1024"
#endif

#define KEY(t) "(" t ".down, " t ".created_ms, " t ".submission_id)"
/* The same to compare KEY with.  Beside a bare column of another table SQLite seeks by the first member
 * only and then reads all that are equal in it, which may be half of the board: what has no affinity
 * of its own takes the index's. */
#define KEY_OF(t) "(" t ".down, +" t ".created_ms, " t ".submission_id || '')"
#define KEY_ASC(t) " ORDER BY " t ".down, " t ".created_ms, " t ".submission_id"
#define KEY_DESC(t) " ORDER BY " t ".down DESC, " t ".created_ms DESC, " t ".submission_id DESC"

#define ENTRY_COLUMNS                                                                                                  \
    "e.benchmark_id, e.agent_id, e.agent_name, e.owner_id, e.submission_id, e.problem_id, 0 - e.down, e.created_ms"
#define ENTRY_LETTERS "ttttttri"
#define ENTRY_FROM " FROM leaderboard_entries e"
/* joins the bucket k that entry e is in */
#define JOIN_BUCKET                                                                                                    \
    " JOIN leaderboard_buckets k ON k.benchmark_id = e.benchmark_id AND " KEY("k") " = (SELECT q.down, q.created_ms,"   \
    " q.submission_id FROM leaderboard_buckets q WHERE q.benchmark_id = e.benchmark_id AND " KEY("q") " <= " KEY_OF("e")   \
    KEY_DESC("q") " LIMIT 1)"
/* boards of all benchmarks: $1 staff, $5 user ("" for an agent's token) */
#define BOARD_SEEN                                                                                                     \
    " b.deleted = 0 AND (CAST($1 AS BIGINT) = 1 OR b.owner_id = CAST($5 AS TEXT)"                                      \
    " OR (b.visibility = 0 AND b.feedback > 0))"

static const struct assay_stmt top = {
    .name = "leaderboard.top",
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " WHERE e.benchmark_id = $1 AND " KEY("e") " > ($2, $3, $4)" KEY_ASC("e")
           " LIMIT $5",
    .params = "triti",
    .columns = ENTRY_LETTERS};
static const struct assay_stmt top_of_all = {
    .name = "leaderboard.top_of_all",
    .sql = "SELECT " ENTRY_COLUMNS ENTRY_FROM " JOIN leaderboard_benchmarks b ON b.id = e.benchmark_id"
           " WHERE " KEY("e") " > ($2, $3, $4) AND" BOARD_SEEN KEY_ASC("e") " LIMIT $6",
    .params = "iritti",
    .columns = ENTRY_LETTERS};
static const struct assay_stmt of_agent = {
    .name = "leaderboard.of_agent",
    .sql = "SELECT " ENTRY_COLUMNS ", 1 + CAST(COALESCE((SELECT SUM(p.n) FROM leaderboard_buckets p"
           " WHERE p.benchmark_id = e.benchmark_id AND " KEY("p") " < " KEY_OF("k") "), 0) AS BIGINT)"
           " + (SELECT COUNT(*) FROM leaderboard_entries f WHERE f.benchmark_id = e.benchmark_id"
           " AND " KEY("f") " >= " KEY_OF("k") " AND " KEY("f") " < " KEY_OF("e") ")" ENTRY_FROM JOIN_BUCKET
           " WHERE e.benchmark_id = $1 AND e.agent_id = $2",
    .params = "tt",
    .columns = ENTRY_LETTERS "i"};
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
/* two seeks: an OR of them would read the whole board */
static const struct assay_stmt enters = {
    .name = "leaderboard.enters",
    .sql = "SELECT 1 FROM leaderboard_entries WHERE benchmark_id = $1 AND agent_id = $3 AND CAST($3 AS TEXT) <> ''"
           " UNION ALL SELECT 1 FROM leaderboard_entries WHERE benchmark_id = $1 AND owner_id = $2"
           " AND CAST($3 AS TEXT) = '' LIMIT 1",
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
/* the first bucket of a board; $2: less than any key */
static const struct assay_stmt bucket_open = {
    .name = "leaderboard.bucket_open",
    .sql = "INSERT INTO leaderboard_buckets (benchmark_id, down, created_ms, submission_id, n) VALUES ($1, $2, -1, '', 0)"
           " ON CONFLICT DO NOTHING",
    .params = "tr",
    .columns = "",
    .write = true};

/* Best first among scores t. */
#define SCORE_ORDER " ORDER BY t.score DESC, t.created_ms, t.submission_id"
#define ENTER                                                                                                          \
    "INSERT INTO leaderboard_entries (benchmark_id, agent_id, agent_name, submission_id, problem_id, owner_id, down,"   \
    " created_ms) SELECT s.benchmark_id, s.agent_id, COALESCE((SELECT g.name FROM leaderboard_agents g"                \
    " WHERE g.id = s.agent_id), ''), s.submission_id, s.problem_id, s.owner_id, 0 - s.score, s.created_ms"             \
    " FROM leaderboard_scores s WHERE "
#define NOT_LEFT " AND NOT EXISTS (SELECT 1 FROM leaderboard_agents a WHERE a.id = s.agent_id AND a.deleted = 1)"
#define REPLACE                                                                                                        \
    " ON CONFLICT (benchmark_id, agent_id) DO UPDATE SET submission_id = excluded.submission_id,"                      \
    " problem_id = excluded.problem_id, owner_id = excluded.owner_id, down = excluded.down,"                           \
    " created_ms = excluded.created_ms WHERE "
#define IF_OTHER                                                                                                       \
    "leaderboard_entries.submission_id <> excluded.submission_id OR leaderboard_entries.down <> excluded.down"
/* Submission o's agent's best on o's board. */
#define BEST_BESIDE                                                                                                    \
    "(SELECT t.submission_id FROM leaderboard_scores o JOIN leaderboard_scores t"                                      \
    " ON t.benchmark_id = o.benchmark_id AND t.agent_id = o.agent_id WHERE o.submission_id = $1"
/* $1 becomes its agent's entry if it is the agent's best */
static const struct assay_stmt promote = {
    .name = "leaderboard.promote",
    .sql = ENTER "s.submission_id = $1 AND s.submission_id = " BEST_BESIDE SCORE_ORDER " LIMIT 1)" NOT_LEFT REPLACE IF_OTHER,
    .params = "t",
    .columns = "",
    .write = true};
/* whatever is the best of $1's agent becomes its entry: after its former best was judged again */
static const struct assay_stmt settle = {
    .name = "leaderboard.settle",
    .sql = ENTER "s.submission_id = " BEST_BESIDE SCORE_ORDER " LIMIT 1)" NOT_LEFT REPLACE IF_OTHER,
    .params = "t",
    .columns = "",
    .write = true};
/* if $1 is an entry, the agent's next best takes its place */
static const struct assay_stmt succeed = {
    .name = "leaderboard.succeed",
    .sql = ENTER "s.submission_id = " BEST_BESIDE " AND t.submission_id <> $1" SCORE_ORDER " LIMIT 1)" NOT_LEFT REPLACE
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
/* the name stands in the entries: a page of a board then reads half as many pages of the file */
static const struct assay_stmt agent_rename = {
    .name = "leaderboard.agent_rename",
    .sql = "UPDATE leaderboard_entries SET agent_name = $2 WHERE agent_id = $1 AND agent_name <> $2",
    .params = "tt",
    .columns = "",
    .write = true};
static const struct assay_stmt agent_return = {
    .name = "leaderboard.agent_return",
    .sql = ENTER "s.agent_id = $1 AND s.submission_id = (SELECT t.submission_id FROM leaderboard_scores t"
                 " WHERE t.benchmark_id = s.benchmark_id AND t.agent_id = s.agent_id" SCORE_ORDER " LIMIT 1)"
                 " ON CONFLICT DO NOTHING",
    .params = "t",
    .columns = "",
    .write = true};

/* Buckets: of the entry of $1's agent on $1's board, or of all entries of the agent $1. An agent has
 * one entry on a board, so a bucket is met once. */
#define OF_SUBMISSION                                                                                                  \
    "(e.benchmark_id, e.agent_id) = (SELECT s.benchmark_id, s.agent_id FROM leaderboard_scores s"                      \
    " WHERE s.submission_id = $1)"
#define OF_AGENT "e.agent_id = $1"
#define IN_BUCKETS_OF(which)                                                                                           \
    "(benchmark_id, down, created_ms, submission_id) IN (SELECT k.benchmark_id, k.down, k.created_ms, k.submission_id" \
    " FROM leaderboard_entries e" JOIN_BUCKET " WHERE " which ")"
#define FULL(which) " FROM leaderboard_entries e" JOIN_BUCKET " WHERE " which " AND k.n > " BUCKET_MAX
#define BUCKETS "leaderboard_buckets (benchmark_id, down, created_ms, submission_id, n)"
#define SET_N " ON CONFLICT (benchmark_id, down, created_ms, submission_id) DO UPDATE SET n = excluded.n"
#define NEXT(column) "LEAD(b." column ") OVER (PARTITION BY b.benchmark_id" KEY_ASC("b") ")"

#define COUNT_SQL(which) "UPDATE leaderboard_buckets SET n = n + 1 WHERE " IN_BUCKETS_OF(which)
#define UNCOUNT_SQL(which) "UPDATE leaderboard_buckets SET n = n - 1 WHERE " IN_BUCKETS_OF(which)
/* the later of the two is left with none, for the sweep */
#define FOLD_SQL(which)                                                                                                \
    "INSERT INTO " BUCKETS " WITH pairs AS (SELECT b.benchmark_id, b.down, b.created_ms, b.submission_id, b.n, "        \
    NEXT("down") " AS down2, " NEXT("created_ms") " AS created2, " NEXT("submission_id") " AS submission2, "           \
    NEXT("n") " AS n2 FROM leaderboard_buckets b WHERE b.benchmark_id IN (SELECT k.benchmark_id" FULL(which) ")),"      \
    " chosen AS (SELECT x.*, ROW_NUMBER() OVER (PARTITION BY x.benchmark_id ORDER BY x.n + x.n2, x.down, x.created_ms," \
    " x.submission_id) AS i FROM pairs x WHERE x.n + x.n2 <= " BUCKET_HALF ")"                                         \
    " SELECT c.benchmark_id, c.down, c.created_ms, c.submission_id, c.n + c.n2 FROM chosen c WHERE c.i = 1"            \
    " UNION ALL SELECT c.benchmark_id, c.down2, c.created2, c.submission2, 0 FROM chosen c WHERE c.i = 1" SET_N
#define SWEEP_SQL(which)                                                                                               \
    "DELETE FROM leaderboard_buckets WHERE n = 0 AND submission_id <> ''"                                              \
    " AND benchmark_id IN (SELECT k.benchmark_id" FULL(which) ")"
#define SPLIT_SQL(which)                                                                                               \
    "INSERT INTO " BUCKETS " WITH over AS (SELECT k.benchmark_id, k.down, k.created_ms, k.submission_id, k.n"           \
    FULL(which) ")"                                                                                                    \
    " SELECT k.benchmark_id, k.down, k.created_ms, k.submission_id, " BUCKET_HALF " FROM over k"                       \
    " UNION ALL SELECT m.benchmark_id, m.down, m.created_ms, m.submission_id, k.n - " BUCKET_HALF                      \
    " FROM over k JOIN leaderboard_entries m ON m.submission_id = (SELECT f.submission_id FROM leaderboard_entries f"  \
    " WHERE f.benchmark_id = k.benchmark_id AND " KEY("f") " >= " KEY_OF("k") KEY_ASC("f")                                \
    " LIMIT 1 OFFSET " BUCKET_HALF ") WHERE m.benchmark_id = k.benchmark_id" SET_N

enum moved { BY_SUBMISSION, BY_AGENT, MOVES };
#define BUCKET_STMT(what, sql_)                                                                                        \
    {                                                                                                                  \
        {.name = "leaderboard." what, .sql = sql_(OF_SUBMISSION), .params = "t", .columns = "", .write = true},        \
        {.name = "leaderboard." what "_agent", .sql = sql_(OF_AGENT), .params = "t", .columns = "", .write = true},     \
    }
static const struct assay_stmt uncount[MOVES] = BUCKET_STMT("uncount", UNCOUNT_SQL);
static const struct assay_stmt count[MOVES] = BUCKET_STMT("count", COUNT_SQL);
static const struct assay_stmt fold[MOVES] = BUCKET_STMT("fold", FOLD_SQL);
static const struct assay_stmt sweep[MOVES] = BUCKET_STMT("sweep", SWEEP_SQL);
static const struct assay_stmt split[MOVES] = BUCKET_STMT("split", SPLIT_SQL);

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
    &top,        &top_of_all, &of_agent,    &boards_of_agent, &benchmark_get,     &enters,       &score_put, &bucket_open,
    &promote,    &settle,     &succeed,     &entry_drop,      &score_drop,        &agent_leave,  &agent_rename, &agent_return,
    &uncount[0], &uncount[1], &count[0],    &count[1],        &fold[0],           &fold[1],      &sweep[0],  &sweep[1],
    &split[0],   &split[1],   &project_benchmark, &project_agent};

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
    return from->rank > 0 ? *from : (struct lb_place){.score = DBL_MAX, .created_ms = -1, .submission_id = ASSAY_STR("")};
}

int lb_top(const struct assay_store *st, struct assay_str benchmark_id, const struct lb_place *from, int64_t limit,
           struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    struct lb_place at = begin(from);
    int rc = ASSAY_QUERY(st, &top, arena, &rows, err, ASSAY_VT(benchmark_id), ASSAY_VR(0 - at.score), ASSAY_VI(at.created_ms),
                         ASSAY_VT(at.submission_id), ASSAY_VI(limit));
    return rc < 0 ? rc : entries(&rows, arena, out, n, err);
}

int lb_top_of_all(const struct assay_store *st, const struct lb_viewer *v, const struct lb_place *from, int64_t limit,
                  struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    struct lb_place at = begin(from);
    int rc = ASSAY_QUERY(st, &top_of_all, arena, &rows, err, ASSAY_VI(v->staff), ASSAY_VR(0 - at.score),
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
    *found = n > 0;
    if (n > 0) {
        *out = e[0];
        *rank = rows.row[0].col[8].i;
    }
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

static void counted(struct assay_tx *tx, enum moved by, struct assay_str id)
{
    ASSAY_TX(tx, &count[by], ASSAY_EXPECT_ANY, ASSAY_VT(id));
    ASSAY_TX(tx, &fold[by], ASSAY_EXPECT_ANY, ASSAY_VT(id));
    ASSAY_TX(tx, &sweep[by], ASSAY_EXPECT_ANY, ASSAY_VT(id));
    ASSAY_TX(tx, &split[by], ASSAY_EXPECT_ANY, ASSAY_VT(id));
}

int lb_score(struct assay_tx *tx, const struct assay_ev_score *score, struct assay_err *err)
{
    struct assay_val submission = ASSAY_VT(score->submission_id), benchmark = ASSAY_VT(score->benchmark_id);
    ASSAY_TX(tx, &score_put, ASSAY_EXPECT_ONE, submission, benchmark, ASSAY_VT(or_empty(score->problem_id)),
             ASSAY_VT(score->agent_id), ASSAY_VT(or_empty(score->owner_id)), ASSAY_VR(score->score),
             ASSAY_VI(score->created_ms));
    ASSAY_TX(tx, &bucket_open, ASSAY_EXPECT_ANY, benchmark, ASSAY_VR(-DBL_MAX));
    ASSAY_TX(tx, &uncount[BY_SUBMISSION], ASSAY_EXPECT_ANY, submission);
    int first = ASSAY_TX(tx, &promote, ASSAY_EXPECT_ANY, submission);
    int other = ASSAY_TX(tx, &settle, ASSAY_EXPECT_ANY, submission);
    counted(tx, BY_SUBMISSION, score->submission_id);
    int rc = tell(tx, first, score->benchmark_id, score->agent_id, score->submission_id, score->score, err);
    if (rc == 0)
        rc = tell(tx, other, score->benchmark_id, score->agent_id, ASSAY_STR(""), 0, err);
    return rc;
}

int lb_remove_submission(struct assay_tx *tx, struct assay_str submission_id, struct assay_str benchmark_id,
                         struct assay_err *err)
{
    struct assay_val submission = ASSAY_VT(submission_id);
    ASSAY_TX(tx, &uncount[BY_SUBMISSION], ASSAY_EXPECT_ANY, submission);
    int next = ASSAY_TX(tx, &succeed, ASSAY_EXPECT_ANY, submission);
    int none = ASSAY_TX(tx, &entry_drop, ASSAY_EXPECT_ANY, submission);
    counted(tx, BY_SUBMISSION, submission_id); /* by its score: which goes last */
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
    ASSAY_TX(tx, &agent_rename, ASSAY_EXPECT_ANY, ASSAY_VT(id), ASSAY_VT(or_empty(a->name)));
    ASSAY_TX(tx, &uncount[BY_AGENT], ASSAY_EXPECT_ANY, ASSAY_VT(id));
    ASSAY_TX(tx, a->deleted ? &agent_leave : &agent_return, ASSAY_EXPECT_ANY, ASSAY_VT(id));
    counted(tx, BY_AGENT, id);
}
