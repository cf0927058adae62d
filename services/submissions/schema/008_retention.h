/*
 * Migration 8 of submissions, included by repo.c: what retention has removed.
 *
 * upload_gone: 0 the upload is there, 1 it is being removed, 2 it is gone.  log_gone: when the run ended whose log is gone, negated
 * while it is being removed, so that a later run's log is another's.  submissions_uploads: keys that were given out and
 * not confirmed yet; gone = 1 is never confirmed.
 */
"ALTER TABLE submissions_projects ADD COLUMN upload_gone BIGINT NOT NULL DEFAULT 0;"
"ALTER TABLE submissions_projects ADD COLUMN log_gone BIGINT NOT NULL DEFAULT 0;"
"CREATE TABLE submissions_uploads ("
" file_key TEXT NOT NULL PRIMARY KEY,"
" created_ms BIGINT NOT NULL,"
" gone BIGINT NOT NULL DEFAULT 0);"
"CREATE INDEX submissions_uploads_by_age ON submissions_uploads (created_ms);"
