/* The tables of the leaderboard service. */
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
};
