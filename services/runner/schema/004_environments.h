/* Migration 4 of runner: where results were made, and what toolchains benchmarks pin. An environment's id is the
 * SHA-256 of its body, so that equal ones are one row. */
"CREATE TABLE runner_environments ("
" id TEXT NOT NULL PRIMARY KEY,"
" body TEXT NOT NULL);"
"ALTER TABLE runner_results ADD COLUMN environment TEXT NOT NULL DEFAULT '';"
"ALTER TABLE runner_benchmarks ADD COLUMN toolchains TEXT NOT NULL DEFAULT '';"
