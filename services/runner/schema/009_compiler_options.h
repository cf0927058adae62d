/* Migration 9 of runner: the compiler options that a result's program was built with, a space between each two. */
"ALTER TABLE runner_results ADD COLUMN compiler_options TEXT NOT NULL DEFAULT '';"
