/*
 * How an agent's submissions to one problem become a cell: one statement, for what has just changed, for a whole board, and for
 * the migration that made cells.
 *
 * `suffix` of the board's id, `limit` an expression: what was submitted from then on is only counted as pending; `also` and
 * `which` choose the scores s of benchmarks b.  Enumerators stand as numbers: enum assay_scoring, assay_ranking.
 *
 *   submission_id, score, value_ms  of the submission that makes the problem's score (the last one, for the mean)
 *   value     the problem's score in millionths: by the scoring rule, or with ioi the best of each group together
 *   n, correct, total               how many, how many OK, sum of scores in millionths
 *   ok_ms, rejected                 when the first accepted one was; how many before it were not (a failed build is no try)
 *   pending   how many lie behind the limit
 *   pass      pass@min(k, n): a product of k factors
 *   cpu_ms    of the fastest correct one
 */
#ifndef LEADERBOARD_CELLS_H
#define LEADERBOARD_CELLS_H

#define LB_BY_CELL(t) "(PARTITION BY " t ".board, " t ".agent_id, " t ".problem_id"
#define LB_FEWER "(CASE WHEN y.k < y.n THEN y.k ELSE y.n END)"
#define LB_CELLS_SQL(suffix, limit, also, which)                                                                       \
    "INSERT INTO leaderboard_cells (board, benchmark_id, agent_id, problem_id, submission_id, score, value, value_ms, n,"\
    " correct, total, ok_ms, rejected, pending, pass, cpu_ms)"                                                         \
    " SELECT y.board, y.benchmark_id, y.agent_id, y.problem_id, y.submission_id, CASE WHEN y.n > 0 THEN y.score ELSE 0 END,"\
    " CASE WHEN y.n = 0 THEN 0 WHEN y.ranking = 5 AND y.grouped > 0 THEN COALESCE((SELECT CAST(SUM(q.best) AS BIGINT)"  \
    " FROM (SELECT MAX(CAST(ROUND(m.value * 1000000) AS BIGINT)) AS best FROM leaderboard_scores t"                    \
    " JOIN leaderboard_numbers m ON m.submission_id = t.submission_id AND m.kind = 0 WHERE t.benchmark_id = y.benchmark_id"\
    " AND t.agent_id = y.agent_id AND t.problem_id = y.problem_id AND t.gone = 0 AND t.created_ms < y.until_ms"        \
    " GROUP BY m.name) q), 0)"                                                                                         \
    " WHEN y.scoring = 3 THEN y.total / y.n ELSE CAST(ROUND(y.score * 1000000) AS BIGINT) END,"                        \
    " y.created_ms, y.n, y.correct, y.total, y.ok_ms, y.rejected, y.pending,"                                          \
    " CASE WHEN y.n = 0 THEN 0.0 WHEN y.n - y.correct < " LB_FEWER " THEN 1.0 ELSE 1.0 - (WITH RECURSIVE f(j, p) AS"    \
    " (SELECT CAST(0 AS BIGINT), CAST(1 AS DOUBLE PRECISION) UNION ALL SELECT f.j + 1,"                                \
    " f.p * CAST(y.n - y.correct - f.j AS DOUBLE PRECISION) / CAST(y.n - f.j AS DOUBLE PRECISION)"                     \
    " FROM f WHERE f.j < " LB_FEWER ") SELECT MIN(f.p) FROM f) END, y.cpu_ms"                                          \
    " FROM (SELECT x.*, CAST(SUM(CASE WHEN x.seen = 1 AND x.verdict NOT IN ('OK', 'BF')"                               \
    " AND (x.ok_ms IS NULL OR x.created_ms < x.ok_ms) THEN 1 ELSE 0 END) OVER cell AS BIGINT) AS rejected"             \
    " FROM (SELECT z.*, ROW_NUMBER() OVER " LB_BY_CELL("z") " ORDER BY z.seen DESC,"                                   \
    " CASE WHEN z.scoring = 0 THEN 0 - z.score ELSE 0 END,"                                                            \
    " CASE WHEN z.scoring IN (0, 2) THEN z.created_ms ELSE 0 - z.created_ms END,"                                      \
    " CASE WHEN z.scoring IN (0, 2) THEN z.submission_id END, z.submission_id DESC) AS i,"                             \
    " CAST(SUM(z.seen) OVER cell AS BIGINT) AS n, CAST(SUM(1 - z.seen) OVER cell AS BIGINT) AS pending,"               \
    " CAST(SUM(CASE WHEN z.seen = 1 AND z.verdict = 'OK' THEN 1 ELSE 0 END) OVER cell AS BIGINT) AS correct,"          \
    " CAST(SUM(CASE WHEN z.seen = 1 THEN CAST(ROUND(z.score * 1000000) AS BIGINT) ELSE 0 END) OVER cell AS BIGINT) AS total,"\
    " CAST(SUM(z.seen * z.has_groups) OVER cell AS BIGINT) AS grouped,"                                                \
    " MIN(CASE WHEN z.seen = 1 AND z.verdict = 'OK' THEN z.created_ms END) OVER cell AS ok_ms,"                        \
    " MIN(CASE WHEN z.seen = 1 AND z.verdict = 'OK' AND z.run_ms >= 0 THEN z.run_ms END) OVER cell AS cpu_ms"          \
    " FROM (SELECT s.benchmark_id || '" suffix "' AS board, s.benchmark_id, s.agent_id, s.problem_id, s.submission_id,"\
    " s.score, s.created_ms, s.verdict, s.cpu_ms AS run_ms, COALESCE(b.scoring, 0) AS scoring,"                        \
    " COALESCE(b.ranking, 0) AS ranking, COALESCE(b.pass_k, 1) AS k, CAST(" limit " AS BIGINT) AS until_ms,"           \
    " CASE WHEN s.created_ms < " limit " THEN 1 ELSE 0 END AS seen,"                                                   \
    " CASE WHEN b.ranking = 5 AND EXISTS (SELECT 1 FROM leaderboard_numbers m WHERE m.submission_id = s.submission_id" \
    " AND m.kind = 0) THEN 1 ELSE 0 END AS has_groups"                                                                 \
    " FROM leaderboard_scores s LEFT JOIN leaderboard_benchmarks b ON b.id = s.benchmark_id"                           \
    " WHERE s.gone = 0" also " AND " which " AND NOT EXISTS (SELECT 1 FROM leaderboard_problems d"                     \
    " WHERE d.id = s.problem_id AND d.deleted = 1)) z WINDOW cell AS " LB_BY_CELL("z") ")) x"                          \
    " WINDOW cell AS " LB_BY_CELL("x") ")) y WHERE y.i = 1"                                                            \
    " ON CONFLICT (agent_id, board, problem_id) DO UPDATE SET submission_id = excluded.submission_id,"                 \
    " score = excluded.score, value = excluded.value, value_ms = excluded.value_ms, n = excluded.n,"                   \
    " correct = excluded.correct, total = excluded.total, ok_ms = excluded.ok_ms, rejected = excluded.rejected,"       \
    " pending = excluded.pending, pass = excluded.pass, cpu_ms = excluded.cpu_ms"
#define LB_NO_LIMIT "9223372036854775807"

#endif
