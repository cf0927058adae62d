/* Migration 8 of runner: points. points -1: judged before they were counted; groups: a JSON array or ''; part -1: all or
 * nothing, by the verdict. */
"ALTER TABLE runner_results ADD COLUMN points DOUBLE PRECISION NOT NULL DEFAULT -1;"
"ALTER TABLE runner_results ADD COLUMN points_awarded DOUBLE PRECISION NOT NULL DEFAULT 0;"
"ALTER TABLE runner_results ADD COLUMN groups_json TEXT NOT NULL DEFAULT '';"
"ALTER TABLE runner_tests ADD COLUMN group_name TEXT NOT NULL DEFAULT '';"
"ALTER TABLE runner_tests ADD COLUMN part DOUBLE PRECISION NOT NULL DEFAULT -1;"
