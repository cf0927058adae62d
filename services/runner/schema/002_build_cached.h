/* Migration 2 of runner, included by repo.c: whether the program was taken from the build cache. */
"ALTER TABLE runner_results ADD COLUMN build_cached BIGINT NOT NULL DEFAULT 0;"
