/* The tables of the leaderboard service. */
#include "cells.h"
#include "local.h"

const struct assay_migration leaderboard_migrations[LEADERBOARD_MIGRATIONS] = {
    {1, "boards",
     /* every score that counts, so that a board can be put right when one is judged again or removed */
     "CREATE TABLE leaderboard_scores ("
     " submission_id TEXT NOT NULL PRIMARY KEY,"
     " benchmark_id TEXT NOT NULL,"
     " problem_id TEXT NOT NULL,"
     " agent_id TEXT NOT NULL,"
     " owner_id TEXT NOT NULL,"
     " score DOUBLE PRECISION NOT NULL,"
     " created_ms BIGINT NOT NULL);"
     "CREATE INDEX leaderboard_scores_best ON leaderboard_scores"
     " (agent_id, benchmark_id, score DESC, created_ms, submission_id);"
     /* the best of each agent: at all times what a GROUP BY over the scores would give */
     "CREATE TABLE leaderboard_entries ("
     " benchmark_id TEXT NOT NULL,"
     " agent_id TEXT NOT NULL,"
     " agent_name TEXT NOT NULL,"
     " submission_id TEXT NOT NULL,"
     " problem_id TEXT NOT NULL,"
     " owner_id TEXT NOT NULL,"
     " down DOUBLE PRECISION NOT NULL," /* the score negated: repo.c */
     " created_ms BIGINT NOT NULL,"
     " PRIMARY KEY (agent_id, benchmark_id));" /* in this order: it serves an agent's boards too */
     "CREATE INDEX leaderboard_order ON leaderboard_entries (benchmark_id, down, created_ms, submission_id);"
     "CREATE INDEX leaderboard_order_of_all ON leaderboard_entries (down, created_ms, submission_id);"
     "CREATE INDEX leaderboard_by_owner ON leaderboard_entries (owner_id, benchmark_id);"
     "CREATE UNIQUE INDEX leaderboard_by_submission ON leaderboard_entries (submission_id);"
     /* how many entries lie between this key and the next bucket's */
     "CREATE TABLE leaderboard_buckets ("
     " benchmark_id TEXT NOT NULL,"
     " down DOUBLE PRECISION NOT NULL,"
     " created_ms BIGINT NOT NULL,"
     " submission_id TEXT NOT NULL,"
     " n BIGINT NOT NULL,"
     " PRIMARY KEY (benchmark_id, down, created_ms, submission_id),"
     " CHECK (n >= 0));"
     /* what benchmark.changed and agent.changed say, as far as boards need it */
     "CREATE TABLE leaderboard_benchmarks ("
     " id TEXT NOT NULL PRIMARY KEY,"
     " owner_id TEXT NOT NULL,"
     " visibility BIGINT NOT NULL,"
     " feedback BIGINT NOT NULL,"
     " deleted BIGINT NOT NULL);"
     "CREATE TABLE leaderboard_agents ("
     " id TEXT NOT NULL PRIMARY KEY,"
     " owner_id TEXT NOT NULL,"
     " name TEXT NOT NULL,"
     " deleted BIGINT NOT NULL);",
     "0.1.0"},
    {2, "rules",
     "ALTER TABLE leaderboard_scores ADD COLUMN verdict TEXT NOT NULL DEFAULT '';"
     "ALTER TABLE leaderboard_scores ADD COLUMN cpu_ms BIGINT NOT NULL DEFAULT -1;"
     "ALTER TABLE leaderboard_scores ADD COLUMN gone BIGINT NOT NULL DEFAULT 0;" /* removed, in this transaction */
     "UPDATE leaderboard_scores SET verdict = CASE WHEN score >= 100 THEN 'OK' ELSE 'WA' END;"
     "CREATE INDEX leaderboard_scores_cell ON leaderboard_scores (benchmark_id, agent_id, problem_id, created_ms);"
     /* kind 0: points of a group, under its name's hash; 1: a metric */
     "CREATE TABLE leaderboard_numbers ("
     " submission_id TEXT NOT NULL,"
     " kind BIGINT NOT NULL,"
     " name TEXT NOT NULL,"
     " value DOUBLE PRECISION NOT NULL,"
     " PRIMARY KEY (submission_id, kind, name));"
     "ALTER TABLE leaderboard_benchmarks ADD COLUMN scoring BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE leaderboard_benchmarks ADD COLUMN ranking BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE leaderboard_benchmarks ADD COLUMN penalty_minutes BIGINT NOT NULL DEFAULT 20;"
     "ALTER TABLE leaderboard_benchmarks ADD COLUMN pass_k BIGINT NOT NULL DEFAULT 1;"
     "ALTER TABLE leaderboard_benchmarks ADD COLUMN starts_ms BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE leaderboard_benchmarks ADD COLUMN freezes_ms BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE leaderboard_benchmarks ADD COLUMN thaws_ms BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE leaderboard_benchmarks ADD COLUMN stale BIGINT NOT NULL DEFAULT 0;"
     "CREATE TABLE leaderboard_problems ("
     " id TEXT NOT NULL PRIMARY KEY,"
     " benchmark_id TEXT NOT NULL,"
     " name TEXT NOT NULL,"
     " position BIGINT NOT NULL,"
     " deleted BIGINT NOT NULL);"
     "CREATE INDEX leaderboard_problems_of ON leaderboard_problems (benchmark_id, position);"
     "CREATE TABLE leaderboard_cells (" /* cells.h */
     " board TEXT NOT NULL,"
     " benchmark_id TEXT NOT NULL,"
     " agent_id TEXT NOT NULL,"
     " problem_id TEXT NOT NULL,"
     " submission_id TEXT NOT NULL,"
     " score DOUBLE PRECISION NOT NULL,"
     " value BIGINT NOT NULL,"
     " value_ms BIGINT NOT NULL,"
     " n BIGINT NOT NULL,"
     " correct BIGINT NOT NULL,"
     " total BIGINT NOT NULL,"
     " ok_ms BIGINT,"
     " rejected BIGINT NOT NULL,"
     " pending BIGINT NOT NULL,"
     " pass DOUBLE PRECISION NOT NULL,"
     " cpu_ms BIGINT,"
     " PRIMARY KEY (agent_id, board, problem_id));"
     "CREATE INDEX leaderboard_cells_of ON leaderboard_cells (board);"
     LB_CELLS_SQL("", LB_NO_LIMIT, "", "1 = 1") ";"
     "ALTER TABLE leaderboard_entries ADD COLUMN score DOUBLE PRECISION NOT NULL DEFAULT 0;"
     "ALTER TABLE leaderboard_entries ADD COLUMN at_ms BIGINT NOT NULL DEFAULT 0;" /* of its submission */
     "ALTER TABLE leaderboard_entries ADD COLUMN solved BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE leaderboard_entries ADD COLUMN penalty BIGINT NOT NULL DEFAULT 0;" /* minutes */
     "UPDATE leaderboard_entries SET score = 0 - down, at_ms = created_ms, solved = (SELECT COUNT(*) FROM leaderboard_cells c"
     " WHERE c.agent_id = leaderboard_entries.agent_id AND c.board = leaderboard_entries.benchmark_id AND c.correct > 0);"
     /* one submission may stand on a board and on its frozen one */
     "DROP INDEX leaderboard_by_submission;"
     "CREATE INDEX leaderboard_by_submission ON leaderboard_entries (submission_id);",
     "0.1.0"},
    {3, "cells_in_order", /* a whole board's are read agent by agent */
     "CREATE INDEX leaderboard_cells_in_order ON leaderboard_cells (board, agent_id, problem_id);"
     "DROP INDEX leaderboard_cells_of;",
     "0.1.0"},
};
