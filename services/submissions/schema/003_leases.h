/*
 * Migration 3 of submissions, included by repo.c: who holds leases.
 *
 * A local lease is held by a life of a gateway (lease_boot), which shows that it lives by its beat here.  A remote
 * one (lease_boot 'remote') is held by its lease_worker, and each renewal adds to the row's own lease_beat, which
 * is 0 until the first.
 */
"ALTER TABLE submissions ADD COLUMN lease_beat BIGINT NOT NULL DEFAULT 0;"
"CREATE TABLE submissions_instances ("
" id TEXT NOT NULL PRIMARY KEY,"
" home TEXT NOT NULL," /* of its data directory, which one process has at a time */
" beat BIGINT NOT NULL,"
" lease_ms BIGINT NOT NULL," /* how long it may be silent */
" started_ms BIGINT NOT NULL);"
