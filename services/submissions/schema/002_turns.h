/*
 * Migration 2 of submissions, included by repo.c: who waits for whom.
 *
 * submitter is whose turn it is (see domain.c); turn is the round in which a queued row is due, given to it when it
 * is queued, so that leasing is a walk along an index however many wait.  bytes is what it keeps of sources and
 * payloads.  The second index holds all that counting the queue needs.  Rows of programs before this one have turn 0
 * and are due at once.
 */
"ALTER TABLE submissions ADD COLUMN submitter TEXT NOT NULL DEFAULT '';"
"ALTER TABLE submissions ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;"
"ALTER TABLE submissions ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;"
"UPDATE submissions SET submitter = owner_id WHERE state IN ('queued', 'running');"
"DROP INDEX submissions_queued;"
"CREATE INDEX submissions_queued ON submissions (priority, turn, created_ms, id) WHERE state = 'queued';"
"CREATE INDEX submissions_queued_by ON submissions (submitter, priority, turn, benchmark_id, bytes, created_ms)"
" WHERE state = 'queued';"
