/*
 * Migration 9 of submissions, included by repo.c: whose turn it is among benchmarks (theory of operation: turns.h).
 *
 * A line is what waits of one benchmark and class (0 what is new, 1 rejudges); what has no benchmark is the line ''.  pass is the
 * start tag of its next turn; waiting is 1 while it has queued rows, and may be 1 a little longer.  The clock's one row holds the
 * line whose turn it is, and the tag of the latest turn of each class.  The
 * indexes of what is queued lead with what a line, and a submitter in it, is found by.
 */
"DROP INDEX submissions_queued;"
"CREATE INDEX submissions_queued ON submissions (benchmark_id, priority, turn, created_ms, id) WHERE state = 'queued';"
"DROP INDEX submissions_queued_by;"
"CREATE INDEX submissions_queued_by ON submissions (submitter, benchmark_id, priority, turn, bytes, created_ms)"
" WHERE state = 'queued';"
"ALTER TABLE submissions_benchmarks ADD COLUMN priority BIGINT NOT NULL DEFAULT 10;"
"CREATE TABLE submissions_lines ("
" benchmark_id TEXT NOT NULL,"
" class BIGINT NOT NULL,"
" waiting BIGINT NOT NULL,"
" pass BIGINT NOT NULL,"
" PRIMARY KEY (benchmark_id, class));"
"CREATE INDEX submissions_lines_waiting ON submissions_lines (class, pass, benchmark_id) WHERE waiting = 1;"
"CREATE TABLE submissions_clock ("
" id BIGINT NOT NULL PRIMARY KEY,"
" benchmark_id TEXT,"
" class BIGINT,"
" fresh BIGINT NOT NULL,"
" rejudged BIGINT NOT NULL);"
"INSERT INTO submissions_clock (id, fresh, rejudged) VALUES (0, 0, 0);"
#define LINES_OF(class, from)                                                                                          \
    "INSERT INTO submissions_lines (benchmark_id, class, waiting, pass) SELECT b.id, " class ", CASE WHEN EXISTS"      \
    " (SELECT 1 FROM submissions q WHERE q.state = 'queued' AND q.benchmark_id = b.id AND q.priority = " class ")"     \
    " THEN 1 ELSE 0 END, 0 FROM " from " b;"
LINES_OF("0", "(SELECT '' AS id)") LINES_OF("1", "(SELECT '' AS id)")
LINES_OF("0", "submissions_benchmarks") LINES_OF("1", "submissions_benchmarks")
#undef LINES_OF
