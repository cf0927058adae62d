/* Migration 6 of runner: which runner elsewhere judged it; '' for this server's own. */
"ALTER TABLE runner_results ADD COLUMN runner TEXT NOT NULL DEFAULT '';"
