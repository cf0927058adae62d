/*
 * Migration 1 of submissions, included by repo.c.
 *
 * Bytes live in a table of their own, so that a change of state never rewrites a source.  The two
 * partial indexes hold only what is queued or running: they stay small however many have ended.
 */
"CREATE TABLE submissions ("
" id TEXT NOT NULL PRIMARY KEY,"
" kind BIGINT NOT NULL," /* enum assay_job_kind */
" benchmark_id TEXT NOT NULL,"
" problem_id TEXT NOT NULL,"
" agent_id TEXT NOT NULL,"
" owner_id TEXT NOT NULL,"
" language TEXT NOT NULL,"
" source_kind BIGINT NOT NULL," /* enum source_kind */
" source_ref TEXT NOT NULL,"
" payload_ref TEXT NOT NULL,"
" state TEXT NOT NULL,"
" priority BIGINT NOT NULL DEFAULT 0,"
" verdict TEXT,"
" score DOUBLE PRECISION,"
" summary TEXT,"
" attempts BIGINT NOT NULL DEFAULT 0," /* that were charged */
" interruptions BIGINT NOT NULL DEFAULT 0,"
" reason TEXT," /* why the last attempt did not end */
" fence BIGINT NOT NULL DEFAULT 0,"
" lease_worker TEXT,"
" lease_boot TEXT," /* the process life that holds the lease */
" lease_ms BIGINT,"
" manifest_ref TEXT NOT NULL DEFAULT ''," /* what the last lease judges by */
" cancel_requested BIGINT NOT NULL DEFAULT 0,"
" request_id TEXT NOT NULL,"
" traceparent TEXT NOT NULL,"
" created_ms BIGINT NOT NULL,"
" updated_ms BIGINT NOT NULL,"
" finished_ms BIGINT,"
" deleted_ms BIGINT);"
"CREATE INDEX submissions_queued ON submissions (priority, created_ms, id) WHERE state = 'queued';"
"CREATE INDEX submissions_running ON submissions (lease_boot, id) WHERE state = 'running';"
"CREATE INDEX submissions_by_owner ON submissions (owner_id, id);"
"CREATE INDEX submissions_by_benchmark ON submissions (benchmark_id, id);"
"CREATE INDEX submissions_by_agent ON submissions (agent_id, id);"
"CREATE TABLE submissions_sources ("
" submission_id TEXT NOT NULL PRIMARY KEY,"
" source BYTEA,"
" payload BYTEA,"
" output BYTEA);"
/* projections of what other services publish */
"CREATE TABLE submissions_benchmarks ("
" id TEXT NOT NULL PRIMARY KEY,"
" owner_id TEXT NOT NULL,"
" visibility BIGINT NOT NULL,"
" feedback BIGINT NOT NULL,"
" starts_ms BIGINT NOT NULL,"
" ends_ms BIGINT NOT NULL,"
" languages TEXT NOT NULL," /* ' c python ', or '' for all */
" entrants TEXT NOT NULL,"  /* ' agent-1 agent-2 ', or '' for all */
" deleted BIGINT NOT NULL);"
"CREATE TABLE submissions_problems ("
" id TEXT NOT NULL PRIMARY KEY,"
" benchmark_id TEXT NOT NULL,"
" mode BIGINT NOT NULL,"
" manifest_ref TEXT NOT NULL,"
" deleted BIGINT NOT NULL);"
"CREATE INDEX submissions_problems_by_benchmark ON submissions_problems (benchmark_id, id);"
"CREATE TABLE submissions_agents ("
" id TEXT NOT NULL PRIMARY KEY,"
" owner_id TEXT NOT NULL,"
" deleted BIGINT NOT NULL);"
ASSAY_IDEM_SQL("submissions")
