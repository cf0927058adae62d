/* The tables of the scoring service. */
#include "local.h"

const struct assay_migration scoring_migrations[SCORING_MIGRATIONS] = {
    {1, "scores",
     "CREATE TABLE scoring_scores ("
     " submission_id TEXT NOT NULL PRIMARY KEY,"
     " problem_id TEXT NOT NULL,"
     " agent_id TEXT NOT NULL,"
     " owner_id TEXT NOT NULL,"
     " benchmark_id TEXT NOT NULL,"
     " verdict TEXT NOT NULL,"
     " score DOUBLE PRECISION NOT NULL,"
     " attempt BIGINT NOT NULL,"
     " created_ms BIGINT NOT NULL,"
     " finished_ms BIGINT NOT NULL);"
     "CREATE INDEX scoring_by_benchmark ON scoring_scores (benchmark_id, submission_id);"
     "CREATE INDEX scoring_by_agent ON scoring_scores (agent_id, submission_id);"
     /* what benchmark.changed says, as far as scores need it */
     "CREATE TABLE scoring_benchmarks ("
     " id TEXT NOT NULL PRIMARY KEY,"
     " owner_id TEXT NOT NULL,"
     " visibility BIGINT NOT NULL,"
     " feedback BIGINT NOT NULL,"
     " deleted BIGINT NOT NULL);",
     "0.1.0"},
    {2, "freezes",
     "ALTER TABLE scoring_benchmarks ADD COLUMN freezes_ms BIGINT NOT NULL DEFAULT 0;"
     "ALTER TABLE scoring_benchmarks ADD COLUMN thaws_ms BIGINT NOT NULL DEFAULT 0;",
     "0.1.0"},
};
