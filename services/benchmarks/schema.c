#include "local.h"

/* Deleted rows stay: results and events name them, and their ids are never given out again.
 * languages and entrants are lists with single spaces; benchmarks_entrants is the same list, to join. */
const struct assay_migration benchmarks_migrations[6] = {
    {.number = 1,
     .name = "benchmarks",
     .oldest_program = "0.1.0",
     .sql = "CREATE TABLE benchmarks_benchmarks ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " owner_id TEXT NOT NULL,"
            " name TEXT NOT NULL,"
            " description TEXT NOT NULL,"
            " visibility BIGINT NOT NULL,"
            " feedback BIGINT NOT NULL,"
            " starts_ms BIGINT NOT NULL,"
            " ends_ms BIGINT NOT NULL,"
            " freezes_ms BIGINT NOT NULL,"
            " languages TEXT NOT NULL,"
            " entrants TEXT NOT NULL,"
            " version BIGINT NOT NULL,"
            " deleted BIGINT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " updated_ms BIGINT NOT NULL);"
            "CREATE INDEX benchmarks_benchmarks_by_owner ON benchmarks_benchmarks (owner_id, id);"
            "CREATE TABLE benchmarks_entrants ("
            " benchmark_id TEXT NOT NULL,"
            " agent_id TEXT NOT NULL,"
            " PRIMARY KEY (benchmark_id, agent_id));"
            "CREATE TABLE benchmarks_problems ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " benchmark_id TEXT NOT NULL,"
            " name TEXT NOT NULL,"
            " statement TEXT NOT NULL,"
            " position BIGINT NOT NULL,"
            " mode BIGINT NOT NULL,"
            " compare BIGINT NOT NULL,"
            " float_abs DOUBLE PRECISION NOT NULL,"
            " float_rel DOUBLE PRECISION NOT NULL,"
            " stop_on_failure BIGINT NOT NULL,"
            " time_limit_ms BIGINT NOT NULL,"
            " wall_limit_ms BIGINT NOT NULL,"
            " memory_limit_bytes BIGINT NOT NULL,"
            " output_limit_bytes BIGINT NOT NULL,"
            " process_limit BIGINT NOT NULL,"
            " harness_language TEXT NOT NULL,"
            " harness_ref TEXT NOT NULL,"
            " manifest_ref TEXT NOT NULL,"
            " test_count BIGINT NOT NULL,"
            " sample_count BIGINT NOT NULL,"
            " version BIGINT NOT NULL,"
            " deleted BIGINT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " updated_ms BIGINT NOT NULL);"
            "CREATE INDEX benchmarks_problems_by_benchmark ON benchmarks_problems (benchmark_id, position);"
            /* from agent.changed */
            "CREATE TABLE benchmarks_agents ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " owner_id TEXT NOT NULL,"
            " deleted BIGINT NOT NULL,"
            " seq BIGINT NOT NULL);"
            "CREATE INDEX benchmarks_agents_by_owner ON benchmarks_agents (owner_id);" ASSAY_IDEM_SQL("benchmarks")},
    {.number = 2,
     .name = "hard time limit",
     .oldest_program = "0.1.0",
     .sql = "ALTER TABLE benchmarks_problems ADD COLUMN hard_time_limit_ms BIGINT NOT NULL DEFAULT 0;"},
    /* a JSON object of language to version or image digest, or "" */
    {.number = 3,
     .name = "toolchains",
     .oldest_program = "0.1.0",
     .sql = "ALTER TABLE benchmarks_benchmarks ADD COLUMN toolchains TEXT NOT NULL DEFAULT '';"},
    {.number = 4,
     .name = "warm interpreters",
     .oldest_program = "0.1.0",
     .sql = "ALTER TABLE benchmarks_benchmarks ADD COLUMN warm_interpreters BIGINT NOT NULL DEFAULT 0;"},
    {.number = 5,
     .name = "rules of boards",
     .oldest_program = "0.1.0",
     .sql = "ALTER TABLE benchmarks_benchmarks ADD COLUMN scoring BIGINT NOT NULL DEFAULT 0;"
            "ALTER TABLE benchmarks_benchmarks ADD COLUMN ranking BIGINT NOT NULL DEFAULT 0;"
            "ALTER TABLE benchmarks_benchmarks ADD COLUMN penalty_minutes BIGINT NOT NULL DEFAULT 20;"
            "ALTER TABLE benchmarks_benchmarks ADD COLUMN pass_k BIGINT NOT NULL DEFAULT 1;"
            "ALTER TABLE benchmarks_benchmarks ADD COLUMN thaws_ms BIGINT NOT NULL DEFAULT 0;"},
    {.number = 6,
     .name = "priority",
     .oldest_program = "0.1.0",
     .sql = "ALTER TABLE benchmarks_benchmarks ADD COLUMN priority BIGINT NOT NULL DEFAULT 10;"},
};
