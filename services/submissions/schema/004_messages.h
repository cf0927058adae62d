/*
 * Migration 4 of submissions, included by repo.c: what brokers brought.
 *
 * event_id is made of the broker, the message's name and its body (intake.c): the message's own, whoever takes it and
 * however often, so it is what a repeated message is known by and what its result carries.  holder is the delivery that
 * the submission is kept for; '' when the broker has given the message to somebody else.
 */
"CREATE TABLE submissions_messages ("
" event_id TEXT NOT NULL PRIMARY KEY,"
" submission_id TEXT NOT NULL,"
" broker TEXT NOT NULL,"
" name TEXT NOT NULL,"
" holder TEXT NOT NULL,"
" received_ms BIGINT NOT NULL,"
" answered_ms BIGINT);"
"CREATE UNIQUE INDEX submissions_messages_by_submission ON submissions_messages (submission_id);"
"CREATE INDEX submissions_messages_by_age ON submissions_messages (received_ms, event_id);"
