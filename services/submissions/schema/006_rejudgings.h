/*
 * Migration 6 of submissions, included by repo.c: sets of submissions that are judged again.
 *
 * Each submission of a set is judged as a submission of its own that counts nowhere (rejudging_id says whose it is, agent_id is
 * empty); only when the set is applied does the verdict pass to the one that it was made of.  outcome: '' not yet, applied, kept
 * (the new verdict is IE), overtaken (judged again by itself meanwhile).
 */
"ALTER TABLE submissions ADD COLUMN rejudging_id TEXT NOT NULL DEFAULT '';"
"CREATE TABLE submissions_rejudgings ("
" id TEXT NOT NULL PRIMARY KEY,"
" benchmark_id TEXT NOT NULL,"
" state TEXT NOT NULL," /* making, judging, applying, applied, cancelling, cancelled */
" filter TEXT NOT NULL," /* JSON, as it was asked for */
" reason TEXT NOT NULL,"
" total BIGINT NOT NULL,"
" created_by TEXT NOT NULL,"
" created_ms BIGINT NOT NULL,"
" ended_by TEXT NOT NULL DEFAULT '',"
" ended_ms BIGINT);"
"CREATE TABLE submissions_rejudged ("
" rejudging_id TEXT NOT NULL,"
" submission_id TEXT NOT NULL,"
" copy_id TEXT NOT NULL,"
" fence BIGINT NOT NULL,"
" old_verdict TEXT NOT NULL,"
" old_score DOUBLE PRECISION,"
" new_verdict TEXT,"
" new_score DOUBLE PRECISION,"
" outcome TEXT NOT NULL DEFAULT '',"
" PRIMARY KEY (rejudging_id, submission_id));"
"CREATE UNIQUE INDEX submissions_rejudged_copy ON submissions_rejudged (copy_id);"
