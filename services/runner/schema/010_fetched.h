/* Migration 10 of runner: what a worker has fetched by hash, and when it was last wanted; 0: it is being removed. */
"CREATE TABLE runner_fetched ("
" ref TEXT NOT NULL PRIMARY KEY,"
" used_ms BIGINT NOT NULL);"
"CREATE INDEX runner_fetched_by_use ON runner_fetched (used_ms);"
