/* Migration 5 of runner: whether a benchmark's programs are forked from warm interpreters (enum assay_warm_pin). */
"ALTER TABLE runner_benchmarks ADD COLUMN warm_interpreters BIGINT NOT NULL DEFAULT 0;"
