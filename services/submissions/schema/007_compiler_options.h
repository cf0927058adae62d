/* Migration 7 of submissions: the compiler options that a submission asks for (a space between each two), and what its problem says
 * of them (a JSON array, or ''). */
"ALTER TABLE submissions ADD COLUMN compiler_options TEXT NOT NULL DEFAULT '';"
"ALTER TABLE submissions_problems ADD COLUMN compiler_options TEXT NOT NULL DEFAULT '';"
