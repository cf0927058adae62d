/*
 * How boards follow scores: the SQL that writes.
 *
 * Three layers, each derived from the one before it by one statement in the transaction that changed that, and equal to a
 * full recomputation whatever happens to a score (judged again, removed) or to the rules:
 *
 *   leaderboard_scores   what counts: one row for each submission that was judged; never `IE`
 *   leaderboard_cells    an agent's submissions to one problem, aggregated for every rule at once
 *   leaderboard_entries  an agent's place: down, created_ms and submission_id are the key of the board's order
 *
 * A change of the rules derives cells, entries and buckets of the board anew, by the same statements.  A benchmark that
 * freezes has a second board behind its own, under its id and "#frozen", whose cells count what was submitted before the
 * freeze, and in `pending` how much came after.  Which of the two is shown is decided when it is read.
 *
 * Sums are of integers (millionths of a point, billionths of a probability), so that they do not depend on the order in which
 * rows are read and are the same on both engines.
 *
 * The key, by ranking (smaller is better):
 *   score      0 - score                       when it was submitted
 *   sum, ioi   0 - sum                         when the last submission that made it was
 *   icpc       penalty minutes - solved * 2^32 when the last accepted one was
 *   pass_at_k  0 - sum of pass@k               as sum
 *   mean_time  0 - solved                      mean CPU time of the fastest correct, in microseconds
 * All of them are exact in a double.
 *
 * A score changes its own row at once.  The cell, the entry and the buckets follow when all scores of a batch have been taken,
 * once for each cell and each agent that they touched: a cell is read whole to be made, so ten thousand submissions of one
 * agent that are judged again cost some ten thousand rows for each batch of them, and not for each of them.
 *
 * A deleted agent leaves the boards; its cells stay, and bring it back if it is restored.
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
 */
#include "cells.h"
#include "repo.h"

#include <assay/value.h>

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

/* a test takes smaller ones */
#ifndef BUCKET_MAX
#define BUCKET_MAX "2048"
#define BUCKET_HALF "1024"
#endif

/* ---- scores ------------------------------------------------------------------------------------- */

static const struct assay_stmt score_put = {
    .name = "leaderboard.score_put",
    .sql = "INSERT INTO leaderboard_scores (submission_id, benchmark_id, problem_id, agent_id, owner_id, score, created_ms,"
           " verdict, cpu_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
           " ON CONFLICT (submission_id) DO UPDATE SET score = excluded.score, verdict = excluded.verdict,"
           " cpu_ms = excluded.cpu_ms",
    .params = "tttttriti",
    .columns = "",
    .write = true};
/* it no longer counts, and still says whose cell it was in */
static const struct assay_stmt score_leave = {.name = "leaderboard.score_leave",
                                              .sql = "UPDATE leaderboard_scores SET gone = 1 WHERE submission_id = $1",
                                              .params = "t",
                                              .columns = "",
                                              .write = true};
static const struct assay_stmt score_drop = {.name = "leaderboard.score_drop",
                                             .sql = "DELETE FROM leaderboard_scores WHERE submission_id = $1",
                                             .params = "t",
                                             .columns = "",
                                             .write = true};
/* $2 holds $3 numbers of NUMBER_SIZE characters each: kind, name padded to NAME_SIZE, value */
#define NAME_SIZE 64
#define NUMBER_SIZE 97
static const struct assay_stmt numbers_put = {
    .name = "leaderboard.numbers_put",
    .sql = "WITH RECURSIVE n(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k + 1 < $3)"
           " INSERT INTO leaderboard_numbers (submission_id, kind, name, value)"
           " SELECT CAST($1 AS TEXT), CAST(substr(CAST($2 AS TEXT), k * 97 + 1, 1) AS BIGINT),"
           " rtrim(substr(CAST($2 AS TEXT), k * 97 + 2, 64)),"
           " CAST(rtrim(substr(CAST($2 AS TEXT), k * 97 + 66, 32)) AS DOUBLE PRECISION) FROM n WHERE k >= 0"
           " ON CONFLICT (submission_id, kind, name) DO UPDATE SET value = excluded.value",
    .params = "tti",
    .columns = "",
    .write = true};
static const struct assay_stmt groups_drop = {.name = "leaderboard.groups_drop",
                                              .sql = "DELETE FROM leaderboard_numbers WHERE submission_id = $1 AND kind = 0",
                                              .params = "t",
                                              .columns = "",
                                              .write = true};
static const struct assay_stmt numbers_drop = {.name = "leaderboard.numbers_drop",
                                               .sql = "DELETE FROM leaderboard_numbers WHERE submission_id = $1",
                                               .params = "t",
                                               .columns = "",
                                               .write = true};

/* ---- which rows: the agent of submission $1 on its boards, all of agent $1, all of benchmark $1 ---------------- */

#define AGENT_OF "(SELECT w.agent_id FROM leaderboard_scores w WHERE w.submission_id = $1)"
#define BOARDS_OF                                                                                                      \
    "(SELECT w.benchmark_id FROM leaderboard_scores w WHERE w.submission_id = $1"                                      \
    " UNION ALL SELECT w.benchmark_id || '" FROZEN "' FROM leaderboard_scores w WHERE w.submission_id = $1)"
#define PROBLEM_OF "(SELECT w.problem_id FROM leaderboard_scores w WHERE w.submission_id = $1)"
#define BOTH_BOARDS "(CAST($1 AS TEXT), CAST($1 AS TEXT) || '" FROZEN "')"
#define IS_STALE " AND EXISTS (SELECT 1 FROM leaderboard_benchmarks v WHERE v.id = CAST($1 AS TEXT) AND v.stale = 1)"

#define SCORES_BESIDE                                                                                                  \
    "s.agent_id = " AGENT_OF " AND s.problem_id = " PROBLEM_OF                                                         \
    " AND s.benchmark_id = (SELECT w.benchmark_id FROM leaderboard_scores w WHERE w.submission_id = $1)"
#define SCORES_OF_BENCHMARK "s.benchmark_id = CAST($1 AS TEXT)" IS_STALE

/* ---- cells ---------------------------------------------------------------------------------------- */

static const struct assay_stmt cell_put = {
    .name = "leaderboard.cell_put", .sql = LB_CELLS_SQL("", LB_NO_LIMIT, "", SCORES_BESIDE), .params = "t", .columns = "", .write = true};
static const struct assay_stmt cell_put_frozen = {.name = "leaderboard.cell_put_frozen",
                                                  .sql = LB_CELLS_SQL(FROZEN, "b.freezes_ms", " AND b.freezes_ms > 0", SCORES_BESIDE),
                                                  .params = "t",
                                                  .columns = "",
                                                  .write = true};
static const struct assay_stmt cells_put = {.name = "leaderboard.cells_put",
                                            .sql = LB_CELLS_SQL("", LB_NO_LIMIT, "", SCORES_OF_BENCHMARK),
                                            .params = "t",
                                            .columns = "",
                                            .write = true};
static const struct assay_stmt cells_put_frozen = {.name = "leaderboard.cells_put_frozen",
                                                   .sql = LB_CELLS_SQL(FROZEN, "b.freezes_ms", " AND b.freezes_ms > 0", SCORES_OF_BENCHMARK),
                                                   .params = "t",
                                                   .columns = "",
                                                   .write = true};
static const struct assay_stmt cell_drop = {
    .name = "leaderboard.cell_drop",
    .sql = "DELETE FROM leaderboard_cells WHERE agent_id = " AGENT_OF " AND board IN " BOARDS_OF " AND problem_id = " PROBLEM_OF
           " AND NOT EXISTS (SELECT 1 FROM leaderboard_scores t WHERE t.agent_id = leaderboard_cells.agent_id"
           " AND t.benchmark_id = leaderboard_cells.benchmark_id AND t.problem_id = leaderboard_cells.problem_id AND t.gone = 0)",
    .params = "t",
    .columns = "",
    .write = true};
static const struct assay_stmt cells_drop = {.name = "leaderboard.cells_drop",
                                             .sql = "DELETE FROM leaderboard_cells WHERE board IN " BOTH_BOARDS IS_STALE,
                                             .params = "t",
                                             .columns = "",
                                             .write = true};

/* ---- entries ---------------------------------------------------------------------------------------- */

#define CELLS_BESIDE "c.agent_id = " AGENT_OF " AND c.board IN " BOARDS_OF
#define CELLS_OF_AGENT "c.agent_id = $1"
#define CELLS_OF_BENCHMARK "c.board IN " BOTH_BOARDS IS_STALE

#define PER_AGENT "(PARTITION BY c.board, c.agent_id"
#define SUM_OF(what) "CAST(SUM(" what ") OVER agent AS BIGINT)"
#define ASCENDING "(COALESCE(b.ranking, 0) = 0 AND COALESCE(b.scoring, 0) IN (0, 2))"
/* the cell whose submission stands for the entry: of one score the one that made it, of sums the last that did */
#define STANDS_FOR                                                                                                     \
    "ROW_NUMBER() OVER " PER_AGENT " ORDER BY CASE WHEN c.n > 0 THEN 0 ELSE 1 END,"                                    \
    " CASE WHEN COALESCE(b.ranking, 0) = 0 AND COALESCE(b.scoring, 0) = 0 THEN 0 - c.score ELSE 0 END,"                \
    " CASE WHEN b.ranking = 2 THEN 0 - COALESCE(c.ok_ms, 0) ELSE 0 END,"                                               \
    " CASE WHEN " ASCENDING " THEN c.value_ms ELSE 0 - c.value_ms END,"                                                \
    " CASE WHEN " ASCENDING " THEN c.submission_id END, c.submission_id DESC)"
#define MINUTES                                                                                                        \
    "(CASE WHEN b.starts_ms > 0 AND c.ok_ms > b.starts_ms THEN (c.ok_ms - b.starts_ms) / 60000 ELSE 0 END"             \
    " + b.penalty_minutes * c.rejected)"
#define ENTRIES(which, also)                                                                                           \
    "INSERT INTO leaderboard_entries (benchmark_id, agent_id, agent_name, submission_id, problem_id, owner_id, down,"   \
    " created_ms, score, at_ms, solved, penalty)"                                                                      \
    " SELECT r.board, r.agent_id, COALESCE((SELECT g.name FROM leaderboard_agents g WHERE g.id = r.agent_id), ''),"    \
    " r.submission_id, r.problem_id, o.owner_id,"                                                                      \
    " CASE r.ranking WHEN 0 THEN 0 - " ONE_SCORE                                                                       \
    " WHEN 2 THEN CAST(r.penalty AS DOUBLE PRECISION) - CAST(r.solved AS DOUBLE PRECISION) * 4294967296.0"             \
    " WHEN 3 THEN 0 - CAST(r.passes AS DOUBLE PRECISION) / 1000000000.0"                                               \
    " WHEN 4 THEN 0 - CAST(r.solved AS DOUBLE PRECISION)"                                                              \
    " ELSE 0 - CAST(r.points AS DOUBLE PRECISION) / 1000000.0 END,"                                                    \
    " CASE r.ranking WHEN 2 THEN r.last_ok WHEN 4 THEN CASE WHEN r.timed > 0 THEN r.cpu_ms * 1000 / r.timed ELSE 0 END"\
    " ELSE r.value_ms END,"                                                                                            \
    " CASE r.ranking WHEN 0 THEN " ONE_SCORE                                                                           \
    " WHEN 2 THEN CAST(r.solved AS DOUBLE PRECISION) WHEN 4 THEN CAST(r.solved AS DOUBLE PRECISION)"                   \
    " WHEN 3 THEN CAST(r.passes AS DOUBLE PRECISION) / 1000000000.0"                                                   \
    " ELSE CAST(r.points AS DOUBLE PRECISION) / 1000000.0 END,"                                                        \
    " o.created_ms, r.solved, r.penalty"                                                                               \
    " FROM (SELECT c.board, c.agent_id, c.submission_id, c.problem_id, c.score, c.value_ms,"                           \
    " COALESCE(b.ranking, 0) AS ranking, COALESCE(b.scoring, 0) AS scoring, COALESCE(b.freezes_ms, 0) AS freezes_ms, " STANDS_FOR " AS i, "                     \
    SUM_OF("c.n") " AS tries, " SUM_OF("c.total") " AS total, " SUM_OF("c.value") " AS points, "                       \
    SUM_OF("CAST(ROUND(c.pass * 1000000000) AS BIGINT)") " AS passes, "                                               \
    SUM_OF("CASE WHEN c.correct > 0 THEN 1 ELSE 0 END") " AS solved, "                                                 \
    SUM_OF("CASE WHEN c.correct > 0 AND b.ranking = 2 THEN " MINUTES " ELSE 0 END") " AS penalty, "                    \
    "MAX(COALESCE(c.ok_ms, 0)) OVER agent AS last_ok, " SUM_OF("COALESCE(c.cpu_ms, 0)") " AS cpu_ms, "                 \
    "COUNT(c.cpu_ms) OVER agent AS timed"                                                                              \
    " FROM leaderboard_cells c LEFT JOIN leaderboard_benchmarks b ON b.id = c.benchmark_id WHERE " which               \
    " WINDOW agent AS " PER_AGENT ")) r JOIN leaderboard_scores o ON o.submission_id = r.submission_id"                \
    " WHERE r.i = 1 AND r.tries > 0" also                                                                              \
    " AND NOT EXISTS (SELECT 1 FROM leaderboard_agents a WHERE a.id = r.agent_id AND a.deleted = 1)"                   \
    " ON CONFLICT (benchmark_id, agent_id) DO UPDATE SET submission_id = excluded.submission_id,"                      \
    " problem_id = excluded.problem_id, owner_id = excluded.owner_id, down = excluded.down,"                           \
    " created_ms = excluded.created_ms, score = excluded.score, at_ms = excluded.at_ms, solved = excluded.solved,"     \
    " penalty = excluded.penalty WHERE leaderboard_entries.submission_id <> excluded.submission_id"                    \
    " OR leaderboard_entries.down <> excluded.down OR leaderboard_entries.created_ms <> excluded.created_ms"           \
    " OR leaderboard_entries.score <> excluded.score OR leaderboard_entries.solved <> excluded.solved"                 \
    " OR leaderboard_entries.penalty <> excluded.penalty"
#define ONE_SCORE                                                                                                      \
    "CASE WHEN r.scoring = 3 THEN CAST(r.total AS DOUBLE PRECISION) / CAST(r.tries AS DOUBLE PRECISION) / 1000000.0"   \
    " ELSE r.score END"

/* Two of them, so that it can be told which submission it was: if it stands for the entry, and whatever stands for it.  Of a
 * benchmark that freezes nothing is told but that there was a score: whose place has changed would say how it went. */
#define TOLD " AND r.freezes_ms = 0"
static const struct assay_stmt promote = {.name = "leaderboard.promote",
                                          .sql = ENTRIES(CELLS_BESIDE, " AND r.submission_id = $1" TOLD),
                                          .params = "t",
                                          .columns = "",
                                          .write = true};
static const struct assay_stmt settle = {
    .name = "leaderboard.settle", .sql = ENTRIES(CELLS_BESIDE, TOLD), .params = "t", .columns = "", .write = true};
static const struct assay_stmt settle_untold = {
    .name = "leaderboard.settle_untold", .sql = ENTRIES(CELLS_BESIDE, ""), .params = "t", .columns = "", .write = true};
static const struct assay_stmt freezes = {.name = "leaderboard.freezes",
                                          .sql = "UPDATE leaderboard_benchmarks SET stale = 0 WHERE id = $1 AND freezes_ms > 0",
                                          .params = "t",
                                          .columns = "",
                                          .write = true};
static const struct assay_stmt agent_return = {
    .name = "leaderboard.agent_return", .sql = ENTRIES(CELLS_OF_AGENT, ""), .params = "t", .columns = "", .write = true};
static const struct assay_stmt entries_put = {
    .name = "leaderboard.entries_put", .sql = ENTRIES(CELLS_OF_BENCHMARK, ""), .params = "t", .columns = "", .write = true};
static const struct assay_stmt entry_drop = {
    .name = "leaderboard.entry_drop",
    .sql = "DELETE FROM leaderboard_entries WHERE agent_id = " AGENT_OF " AND benchmark_id IN " BOARDS_OF
           " AND NOT EXISTS (SELECT 1 FROM leaderboard_cells c WHERE c.agent_id = leaderboard_entries.agent_id"
           " AND c.board = leaderboard_entries.benchmark_id AND c.n > 0)",
    .params = "t",
    .columns = "",
    .write = true};
static const struct assay_stmt entries_drop = {.name = "leaderboard.entries_drop",
                                               .sql = "DELETE FROM leaderboard_entries WHERE benchmark_id IN " BOTH_BOARDS IS_STALE,
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

/* ---- buckets: of the entries of $1's agent on $1's boards, or of all entries of the agent $1. An agent has one entry on a
 * board, so a bucket is met once. ---- */

#define BUCKETS "leaderboard_buckets (benchmark_id, down, created_ms, submission_id, n)"
/* the first bucket of a board; $2: less than any key */
static const struct assay_stmt bucket_open = {
    .name = "leaderboard.bucket_open",
    .sql = "INSERT INTO " BUCKETS " SELECT CAST($1 AS TEXT), CAST($2 AS DOUBLE PRECISION), -1, '', 0"
           " UNION ALL SELECT b.id || '" FROZEN "', CAST($2 AS DOUBLE PRECISION), -1, '', 0 FROM leaderboard_benchmarks b"
           " WHERE b.id = CAST($1 AS TEXT) AND b.freezes_ms > 0 ON CONFLICT DO NOTHING",
    .params = "tr",
    .columns = "",
    .write = true};
static const struct assay_stmt buckets_drop = {.name = "leaderboard.buckets_drop",
                                               .sql = "DELETE FROM leaderboard_buckets WHERE benchmark_id IN " BOTH_BOARDS IS_STALE,
                                               .params = "t",
                                               .columns = "",
                                               .write = true};
/* one for each BUCKET_HALF entries */
static const struct assay_stmt buckets_put = {
    .name = "leaderboard.buckets_put",
    .sql = "INSERT INTO " BUCKETS " SELECT x.benchmark_id, CASE WHEN x.i = 0 THEN CAST($2 AS DOUBLE PRECISION) ELSE x.down END,"
           " CASE WHEN x.i = 0 THEN -1 ELSE x.created_ms END, CASE WHEN x.i = 0 THEN '' ELSE x.submission_id END,"
           " CASE WHEN x.of - x.i < " BUCKET_HALF " THEN x.of - x.i ELSE " BUCKET_HALF " END"
           " FROM (SELECT e.benchmark_id, e.down, e.created_ms, e.submission_id,"
           " ROW_NUMBER() OVER (PARTITION BY e.benchmark_id" KEY_ASC("e") ") - 1 AS i,"
           " COUNT(*) OVER (PARTITION BY e.benchmark_id) AS of FROM leaderboard_entries e"
           " WHERE e.benchmark_id IN " BOTH_BOARDS IS_STALE ") x WHERE x.i % " BUCKET_HALF " = 0",
    .params = "tr",
    .columns = "",
    .write = true};

#define OF_SUBMISSION "e.agent_id = " AGENT_OF " AND e.benchmark_id IN " BOARDS_OF
#define OF_AGENT "e.agent_id = $1"
#define IN_BUCKETS_OF(which)                                                                                           \
    "(benchmark_id, down, created_ms, submission_id) IN (SELECT k.benchmark_id, k.down, k.created_ms, k.submission_id" \
    " FROM leaderboard_entries e" JOIN_BUCKET " WHERE " which ")"
#define FULL(which) " FROM leaderboard_entries e" JOIN_BUCKET " WHERE " which " AND k.n > " BUCKET_MAX
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
            {.name = "leaderboard." what "_agent", .sql = sql_(OF_AGENT), .params = "t", .columns = "", .write = true}, \
    }
static const struct assay_stmt uncount[MOVES] = BUCKET_STMT("uncount", UNCOUNT_SQL);
static const struct assay_stmt count[MOVES] = BUCKET_STMT("count", COUNT_SQL);
static const struct assay_stmt fold[MOVES] = BUCKET_STMT("fold", FOLD_SQL);
static const struct assay_stmt sweep[MOVES] = BUCKET_STMT("sweep", SWEEP_SQL);
static const struct assay_stmt split[MOVES] = BUCKET_STMT("split", SPLIT_SQL);

/* ---- projections -------------------------------------------------------------------------------------- */

/* the board is to be derived anew when what it is made by changes */
static const struct assay_stmt mark_stale = {
    .name = "leaderboard.mark_stale",
    .sql = "UPDATE leaderboard_benchmarks SET stale = 1 WHERE id = $1 AND (scoring <> $2 OR ranking <> $3"
           " OR penalty_minutes <> $4 OR pass_k <> $5 OR starts_ms <> $6 OR freezes_ms <> $7)",
    .params = "tiiiiii",
    .columns = "",
    .write = true};
static const struct assay_stmt unmark_stale = {.name = "leaderboard.unmark_stale",
                                               .sql = "UPDATE leaderboard_benchmarks SET stale = 0 WHERE id = $1 AND stale = 1",
                                               .params = "t",
                                               .columns = "",
                                               .write = true};
static const struct assay_stmt project_benchmark = {
    .name = "leaderboard.project_benchmark",
    .sql = "INSERT INTO leaderboard_benchmarks (id, owner_id, visibility, feedback, deleted, scoring, ranking, penalty_minutes,"
           " pass_k, starts_ms, freezes_ms, thaws_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
           " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, visibility = excluded.visibility,"
           " feedback = excluded.feedback, deleted = excluded.deleted, scoring = excluded.scoring, ranking = excluded.ranking,"
           " penalty_minutes = excluded.penalty_minutes, pass_k = excluded.pass_k, starts_ms = excluded.starts_ms,"
           " freezes_ms = excluded.freezes_ms, thaws_ms = excluded.thaws_ms",
    .params = "ttiiiiiiiiii",
    .columns = "",
    .write = true};
static const struct assay_stmt project_problem = {
    .name = "leaderboard.project_problem",
    .sql = "INSERT INTO leaderboard_problems (id, benchmark_id, name, position, deleted) VALUES ($1, $2, $3, $4, $5)"
           " ON CONFLICT (id) DO UPDATE SET benchmark_id = excluded.benchmark_id, name = excluded.name,"
           " position = excluded.position, deleted = excluded.deleted",
    .params = "tttii",
    .columns = "",
    .write = true};
/* a problem that is removed takes its scores off the board */
static const struct assay_stmt problem_stale = {
    .name = "leaderboard.problem_stale",
    .sql = "UPDATE leaderboard_benchmarks SET stale = 1 WHERE id = $2 AND EXISTS (SELECT 1 FROM leaderboard_problems p"
           " WHERE p.id = $1 AND p.deleted <> $3)",
    .params = "tti",
    .columns = "",
    .write = true};
static const struct assay_stmt project_agent = {
    .name = "leaderboard.project_agent",
    .sql = "INSERT INTO leaderboard_agents (id, owner_id, name, deleted) VALUES ($1, $2, $3, $4)"
           " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, name = excluded.name, deleted = excluded.deleted",
    .params = "ttti",
    .columns = "",
    .write = true};

static const struct assay_stmt owner_erased = {
    .name = "leaderboard.owner_erased",
    .sql = "UPDATE leaderboard_agents SET name = $2 WHERE owner_id = $1",
    .params = "tt",
    .columns = "",
    .write = true};
static const struct assay_stmt owner_entries = {
    .name = "leaderboard.owner_entries",
    .sql = "UPDATE leaderboard_entries SET agent_name = $2 WHERE agent_id IN (SELECT a.id FROM leaderboard_agents a WHERE a.owner_id = $1)",
    .params = "tt",
    .columns = "",
    .write = true};

const struct assay_stmt *const leaderboard_statements[LEADERBOARD_STATEMENTS] = {
    &lb_q_top, &lb_q_top_of_all, &lb_q_of_agent, &lb_q_boards_of_agent, &lb_q_benchmark_get, &lb_q_enters, &lb_q_problems, &lb_q_cells, &lb_q_cells_of_all, &lb_q_metrics, &lb_q_submissions, &lb_q_groups,
    &score_put,  &score_leave, &score_drop,   &numbers_put,  &numbers_drop, &groups_drop, &cell_put,     &cell_put_frozen, &cells_put,
    &cells_put_frozen, &cell_drop, &cells_drop, &promote,    &settle, &settle_untold, &freezes, &agent_return, &entries_put,     &entry_drop,
    &entries_drop, &agent_leave, &agent_rename, &bucket_open, &buckets_drop, &buckets_put, &uncount[0],      &uncount[1],
    &count[0],   &count[1],    &fold[0],      &fold[1],      &sweep[0],     &sweep[1],     &split[0],        &split[1],
    &mark_stale, &unmark_stale, &project_benchmark, &project_problem, &problem_stale, &project_agent,
    &owner_erased, &owner_entries};

/* ---- writing ------------------------------------------------------------------------------------------- */

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

/* Numbers of a submission: kind 0 groups' points, 1 metrics.  Groups are known by their name's hash, which has a fixed length
 * whatever the name. */
static int numbers(struct assay_tx *tx, int kind, struct assay_str submission_id, const struct assay_json_array *list, struct assay_err *err)
{
    const struct assay_ev_number *x = list->items;
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    size_t n = 0;
    for (size_t i = 0; i < list->n && n < LB_NUMBERS_MAX; i++) {
        char name[ASSAY_SHA256_HEX];
        if (kind == 0)
            assay_sha256_hex(x[i].name, name);
        else if (x[i].name.n > NAME_SIZE || !assay_slug_valid(x[i].name))
            continue; /* nothing that submissions take */
        else
            (void)snprintf(name, sizeof name, "%.*s", ASSAY_FMT(x[i].name));
        assay_buf_fmt(&text, "%d%-64s%-32.17g", kind, name, x[i].value);
        n++;
    }
    if (n == 0)
        return ASSAY_OK;
    struct assay_str all = assay_arena_take(tx->arena, &text);
    if (all.p == NULL || all.n != n * NUMBER_SIZE)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the numbers of a score");
    ASSAY_TX(tx, &numbers_put, ASSAY_EXPECT_ANY, ASSAY_VT(submission_id), ASSAY_VT(all), ASSAY_VI((int64_t)n));
    return ASSAY_OK;
}

int lb_reported(struct assay_tx *tx, struct assay_str submission_id, const struct assay_ev_reported *r, struct assay_err *err)
{
    return numbers(tx, 1, submission_id, &r->metrics, err);
}

int lb_score(struct assay_tx *tx, const struct assay_ev_score *score, struct assay_err *err)
{
    struct assay_val submission = ASSAY_VT(score->submission_id);
    ASSAY_TX(tx, &score_put, ASSAY_EXPECT_ONE, submission, ASSAY_VT(score->benchmark_id), ASSAY_VT(or_empty(score->problem_id)),
             ASSAY_VT(score->agent_id), ASSAY_VT(or_empty(score->owner_id)), ASSAY_VR(score->score),
             ASSAY_VI(score->created_ms), ASSAY_VT(or_empty(score->verdict)), ASSAY_VI(score->cpu_ms));
    ASSAY_TX(tx, &groups_drop, ASSAY_EXPECT_ANY, submission);
    return numbers(tx, 0, score->submission_id, &score->groups, err);
}

static int by_place(const void *x, const void *y)
{
    const struct lb_touch *a = x, *b = y;
    int c = assay_str_cmp(a->benchmark_id, b->benchmark_id);
    if (c == 0)
        c = assay_str_cmp(a->agent_id, b->agent_id);
    if (c == 0)
        c = assay_str_cmp(a->problem_id, b->problem_id);
    return c != 0 ? c : assay_str_cmp(a->submission_id, b->submission_id);
}

/* One agent's on one board: t[0..n), by problem. */
static int settle_agent(struct assay_tx *tx, const struct lb_touch *t, size_t n, bool board, struct assay_err *err)
{
    struct assay_val agent = ASSAY_VT(t->submission_id), benchmark = ASSAY_VT(t->benchmark_id);
    int rc = ASSAY_OK;
    if (board)
        ASSAY_TX(tx, &bucket_open, ASSAY_EXPECT_ANY, benchmark, ASSAY_VR(-DBL_MAX));
    ASSAY_TX(tx, &uncount[BY_SUBMISSION], ASSAY_EXPECT_ANY, agent);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !assay_str_eq(t[i].problem_id, t[i - 1].problem_id)) {
            ASSAY_TX(tx, &cell_put, ASSAY_EXPECT_ANY, ASSAY_VT(t[i].submission_id));
            ASSAY_TX(tx, &cell_put_frozen, ASSAY_EXPECT_ANY, ASSAY_VT(t[i].submission_id));
        }
    for (size_t i = 0; i < n && rc == 0; i++) {
        int first = ASSAY_TX(tx, &promote, ASSAY_EXPECT_ANY, ASSAY_VT(t[i].submission_id));
        rc = tell(tx, first, t->benchmark_id, t->agent_id, t[i].submission_id, t[i].score, err);
    }
    int other = ASSAY_TX(tx, &settle, ASSAY_EXPECT_ANY, agent);
    ASSAY_TX(tx, &settle_untold, ASSAY_EXPECT_ANY, agent);
    int any = board ? ASSAY_TX(tx, &freezes, ASSAY_EXPECT_ANY, benchmark) : -1;
    counted(tx, BY_SUBMISSION, t->submission_id);
    if (rc == 0 && board)
        rc = tell(tx, any, t->benchmark_id, ASSAY_STR(""), ASSAY_STR(""), 0, err);
    return rc != 0 ? rc : tell(tx, other, t->benchmark_id, t->agent_id, ASSAY_STR(""), 0, err);
}

int lb_settle(struct assay_tx *tx, struct lb_touch *t, size_t n, struct assay_err *err)
{
    qsort(t, n, sizeof *t, by_place);
    int rc = ASSAY_OK;
    for (size_t i = 0, k; i < n && rc == 0; i = k) {
        for (k = i + 1; k < n && assay_str_eq(t[k].agent_id, t[i].agent_id) && assay_str_eq(t[k].benchmark_id, t[i].benchmark_id);)
            k++;
        rc = settle_agent(tx, t + i, k - i, i == 0 || !assay_str_eq(t[i].benchmark_id, t[i - 1].benchmark_id), err);
    }
    return rc;
}

int lb_remove_submission(struct assay_tx *tx, struct assay_str submission_id, struct assay_str benchmark_id,
                         struct assay_err *err)
{
    struct assay_val submission = ASSAY_VT(submission_id);
    ASSAY_TX(tx, &uncount[BY_SUBMISSION], ASSAY_EXPECT_ANY, submission);
    ASSAY_TX(tx, &score_leave, ASSAY_EXPECT_ANY, submission);
    ASSAY_TX(tx, &cell_drop, ASSAY_EXPECT_ANY, submission);
    ASSAY_TX(tx, &cell_put, ASSAY_EXPECT_ANY, submission);
    ASSAY_TX(tx, &cell_put_frozen, ASSAY_EXPECT_ANY, submission);
    int next = ASSAY_TX(tx, &settle_untold, ASSAY_EXPECT_ANY, submission);
    int none = ASSAY_TX(tx, &entry_drop, ASSAY_EXPECT_ANY, submission);
    counted(tx, BY_SUBMISSION, submission_id); /* by its score: which goes last */
    ASSAY_TX(tx, &numbers_drop, ASSAY_EXPECT_ANY, submission);
    ASSAY_TX(tx, &score_drop, ASSAY_EXPECT_ANY, submission);
    int rc = tell(tx, next, or_empty(benchmark_id), ASSAY_STR(""), ASSAY_STR(""), 0, err);
    if (rc == 0)
        rc = tell(tx, none, or_empty(benchmark_id), ASSAY_STR(""), ASSAY_STR(""), 0, err);
    return rc;
}

/* Derives a board that is marked stale anew; nothing happens to any other. */
static int derive(struct assay_tx *tx, struct assay_str id, struct assay_err *err)
{
    static const struct assay_stmt *const steps[] = {&cells_drop,   &cells_put,   &cells_put_frozen, &entries_drop,
                                                     &entries_put,  &buckets_drop};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        ASSAY_TX(tx, steps[i], ASSAY_EXPECT_ANY, ASSAY_VT(id));
    ASSAY_TX(tx, &buckets_put, ASSAY_EXPECT_ANY, ASSAY_VT(id), ASSAY_VR(-DBL_MAX));
    int done = ASSAY_TX(tx, &unmark_stale, ASSAY_EXPECT_ANY, ASSAY_VT(id));
    return tell(tx, done, id, ASSAY_STR(""), ASSAY_STR(""), 0, err);
}

int lb_project_benchmark(struct assay_tx *tx, struct assay_str id, const struct assay_ev_benchmark *b, struct assay_err *err)
{
    const struct assay_board_rules *r = &b->rules;
    ASSAY_TX(tx, &mark_stale, ASSAY_EXPECT_ANY, ASSAY_VT(id), ASSAY_VI(r->scoring), ASSAY_VI(r->ranking),
             ASSAY_VI(r->penalty_minutes), ASSAY_VI(r->pass_k), ASSAY_VI(b->starts_ms), ASSAY_VI(b->freezes_ms));
    ASSAY_TX(tx, &project_benchmark, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(b->owner_id)),
             ASSAY_VI(b->visibility), ASSAY_VI(b->feedback), ASSAY_VI(b->deleted), ASSAY_VI(r->scoring), ASSAY_VI(r->ranking),
             ASSAY_VI(r->penalty_minutes), ASSAY_VI(r->pass_k), ASSAY_VI(b->starts_ms), ASSAY_VI(b->freezes_ms),
             ASSAY_VI(r->thaws_ms));
    return derive(tx, id, err);
}

int lb_project_problem(struct assay_tx *tx, struct assay_str id, const struct assay_ev_problem *p, struct assay_err *err)
{
    struct assay_str benchmark = or_empty(p->benchmark_id);
    ASSAY_TX(tx, &problem_stale, ASSAY_EXPECT_ANY, ASSAY_VT(id), ASSAY_VT(benchmark), ASSAY_VI(p->deleted));
    ASSAY_TX(tx, &project_problem, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(benchmark), ASSAY_VT(or_empty(p->name)),
             ASSAY_VI(p->position), ASSAY_VI(p->deleted));
    return derive(tx, benchmark, err);
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

void lb_owner_erased(struct assay_tx *tx, struct assay_str user)
{
    ASSAY_TX(tx, &owner_erased, ASSAY_EXPECT_ANY, ASSAY_VT(user), ASSAY_VT(ASSAY_STR(ASSAY_ERASED_NAME)));
    ASSAY_TX(tx, &owner_entries, ASSAY_EXPECT_ANY, ASSAY_VT(user), ASSAY_VT(ASSAY_STR(ASSAY_ERASED_NAME)));
}
