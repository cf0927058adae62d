/* The tables of the traces service. */
#include "local.h"

const struct assay_migration traces_migrations[TRACES_MIGRATIONS] = {
    {1, "traces",
     "CREATE TABLE traces_submissions ("
     " submission_id TEXT NOT NULL PRIMARY KEY,"
     " owner_id TEXT NOT NULL,"
     " benchmark_id TEXT NOT NULL,"
     " agent_id TEXT NOT NULL,"
     " state TEXT NOT NULL,"
     " verdict TEXT NOT NULL,"
     " created_ms BIGINT NOT NULL,"
     " finished_ms BIGINT NOT NULL,"
     " spans TEXT NOT NULL);"
     "CREATE INDEX traces_by_owner ON traces_submissions (owner_id, submission_id);"
     "CREATE INDEX traces_by_benchmark ON traces_submissions (benchmark_id, submission_id);"
     "CREATE INDEX traces_by_agent ON traces_submissions (agent_id, submission_id);"
     "CREATE TABLE traces_events ("
     " submission_id TEXT NOT NULL,"
     " seq BIGINT NOT NULL,"
     " at_ms BIGINT NOT NULL,"
     " name TEXT NOT NULL,"
     " detail TEXT NOT NULL,"
     " PRIMARY KEY (submission_id, seq));"
     "CREATE TABLE traces_notes ("
     " id TEXT NOT NULL PRIMARY KEY,"
     " submission_id TEXT NOT NULL,"
     " at_ms BIGINT NOT NULL,"
     " level BIGINT NOT NULL,"
     " author_id TEXT NOT NULL,"
     " agent_id TEXT NOT NULL,"
     " message TEXT NOT NULL,"
     " spans TEXT NOT NULL);"
     "CREATE INDEX traces_notes_by_submission ON traces_notes (submission_id, id);"
     /* what benchmark.changed says, as far as traces need it */
     "CREATE TABLE traces_benchmarks ("
     " id TEXT NOT NULL PRIMARY KEY,"
     " owner_id TEXT NOT NULL,"
     " feedback BIGINT NOT NULL,"
     " deleted BIGINT NOT NULL);" ASSAY_IDEM_SQL("traces"),
     "0.1.0"},
};
