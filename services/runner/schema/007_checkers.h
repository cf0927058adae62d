/* Migration 7 of runner: what a problem's own checker said of a test, and how an interactive program talked with it. */
"ALTER TABLE runner_tests ADD COLUMN judge_message BYTEA;"
"ALTER TABLE runner_tests ADD COLUMN team_message BYTEA;"
"ALTER TABLE runner_tests ADD COLUMN transcript BYTEA;"
