/*
 * The SQL of whose turn it is: which line, then which row of it (theory of operation: turns.h).
 *
 * A lease is as many steps as it has room for, in one transaction.  A step is three statements: the clock names the line whose turn it
 * is, the first row of that line is leased, and the line is moved on.  Each is a few look-ups in indexes, however many wait.
 *
 * On PostgreSQL the clock's row is locked by the first step, so leases of several gateways come one after the other, and each sees
 * what the one before has done.  Nobody waits for a line: what is queued wakes a line that did not wait, and passes
 * over it while somebody else changes it.  So a row may be queued in a line that says it has none: turns_mend finds it with the next count, and
 * a lease that has found no line takes any row that waits (turn_astray).  A gateway that had to wait for the clock may choose the
 * line that the other one has just emptied; then it asks again.
 */
#include "repo_turns.h"

#include <stdio.h>

#define STR_(x) #x
#define STR(x) STR_(x)
#define SCALE STR(TURNS_SCALE)
#define STEPS_MAX 16
#define ASK_AGAIN 3
#define MENDS_AT_ONCE 500

#define CLOCK_OF(line)                                                                                                 \
    "(SELECT CASE WHEN " line ".class = 0 THEN c.fresh ELSE c.rejudged END FROM submissions_clock c WHERE c.id = 0)"
#define PRIORITY_OF(benchmark)                                                                                         \
    "COALESCE((SELECT b.priority FROM submissions_benchmarks b WHERE b.id = " benchmark "), " STR(ASSAY_PRIORITY_DEFAULT) ")"
/* What a lease asks for; languages and kinds are the parameters l and k. */
#define WANTED(l, k)                                                                                                   \
    " AND (CAST(" l " AS TEXT) = '' OR q.language = ''"                                                                \
    " OR REPLACE(CAST(" l " AS TEXT), ' ' || q.language || ' ', '') <> CAST(" l " AS TEXT))"                           \
    " AND (CAST(" k " AS TEXT) = ''"                                                                                   \
    " OR REPLACE(CAST(" k " AS TEXT), ' ' || CAST(q.kind AS TEXT) || ' ', '') <> CAST(" k " AS TEXT))"

/* $1 languages, $2 kinds. Kind 0 alone has a benchmark: who does not want it looks into no benchmark's line. When there is none
 * the clock names none, which is written once. */
const struct assay_stmt turn_choose_stmt = {
    .name = "submissions.turn_choose",
    .sql = "UPDATE submissions_clock SET benchmark_id = d.benchmark_id, class = d.class,"
           " fresh = CASE WHEN d.class = 0 AND d.pass > submissions_clock.fresh THEN d.pass ELSE submissions_clock.fresh END,"
           " rejudged = CASE WHEN d.class = 1 AND d.pass > submissions_clock.rejudged THEN d.pass ELSE submissions_clock.rejudged END"
           " FROM (SELECT p.benchmark_id, p.class, p.pass FROM (SELECT 1 AS one) o LEFT JOIN"
           " (SELECT l.benchmark_id, l.class, l.pass FROM submissions_lines l WHERE l.waiting = 1"
           " AND (l.benchmark_id = '' OR CAST($2 AS TEXT) = '' OR REPLACE(CAST($2 AS TEXT), ' 0 ', '') <> CAST($2 AS TEXT))"
           " AND EXISTS (SELECT 1 FROM submissions q WHERE q.state = 'queued' AND q.benchmark_id = l.benchmark_id"
           " AND q.priority = l.class" WANTED("$1", "$2") ")"
           " ORDER BY l.class, l.pass, l.benchmark_id LIMIT 1) p ON o.one = 1) d"
           " WHERE submissions_clock.id = 0 AND (d.benchmark_id IS NOT NULL OR submissions_clock.benchmark_id IS NOT NULL)"
           " RETURNING submissions_clock.benchmark_id",
    .params = "tt",
    .columns = "t",
    .write = true};

#define LEASE                                                                                                          \
    "UPDATE submissions SET state = 'running', fence = fence + 1, lease_worker = $1, lease_boot = $2, lease_ms = $3,"  \
    " lease_beat = 0, updated_ms = $4, manifest_ref = COALESCE((SELECT p.manifest_ref FROM submissions_problems p"     \
    " WHERE p.id = submissions.problem_id), '')"                                                                       \
    " WHERE state = 'queued' AND id IN (SELECT due.id FROM due)"                                                       \
    " RETURNING id, kind, benchmark_id, problem_id, agent_id, owner_id, language, source_kind, source_ref,"            \
    " payload_ref, manifest_ref, traceparent, request_id, fence, attempts, created_ms, interruptions,"                 \
    " (SELECT x.source FROM submissions_sources x WHERE x.submission_id = submissions.id),"                            \
    " (SELECT y.payload FROM submissions_sources y WHERE y.submission_id = submissions.id), submitter, bytes,"         \
    " compiler_options"
enum { LEASED_BENCHMARK = 2, LEASED_SOURCE = 17, LEASED_PAYLOAD, LEASED_SUBMITTER, LEASED_BYTES, LEASED_OPTIONS };
#define LEASE_PARAMS "ttiitt"
#define LEASE_LETTERS "tittttti" "tttttiiiibb" "tit"

/* Materialized: PostgreSQL may otherwise evaluate the selection more than once, and each time lock and lease other rows. */
const struct assay_stmt turn_lease_stmt = {
    .name = "submissions.turn_lease",
    .sql = "WITH due AS MATERIALIZED (SELECT q.id FROM submissions q WHERE q.state = 'queued'"
           " AND q.benchmark_id = (SELECT c.benchmark_id FROM submissions_clock c WHERE c.id = 0)"
           " AND q.priority = (SELECT c.class FROM submissions_clock c WHERE c.id = 0)" WANTED("$5", "$6")
           " ORDER BY q.turn, q.created_ms, q.id LIMIT 1 /*+skip_locked*/) " LEASE,
    .params = LEASE_PARAMS,
    .columns = LEASE_LETTERS,
    .write = true};
/* When the clock names a line nothing is at or behind NULL: that ends the search before it begins. */
const struct assay_stmt turn_astray_stmt = {
    .name = "submissions.turn_astray",
    .sql = "WITH due AS MATERIALIZED (SELECT q.id FROM submissions q WHERE q.state = 'queued'"
           " AND q.benchmark_id >= (SELECT CASE WHEN c.benchmark_id IS NULL THEN '' END FROM submissions_clock c WHERE c.id = 0)" WANTED("$5", "$6")
           " LIMIT 1 /*+skip_locked*/) " LEASE,
    .params = LEASE_PARAMS,
    .columns = LEASE_LETTERS,
    .write = true};
const struct assay_stmt turn_served_stmt = {
    .name = "submissions.turn_served",
    .sql = "UPDATE submissions_lines SET pass = pass + " SCALE " / " PRIORITY_OF("submissions_lines.benchmark_id") ","
           " waiting = CASE WHEN EXISTS (SELECT 1 FROM submissions q WHERE q.state = 'queued'"
           " AND q.benchmark_id = submissions_lines.benchmark_id AND q.priority = submissions_lines.class) THEN 1 ELSE 0 END"
           " WHERE benchmark_id = (SELECT c.benchmark_id FROM submissions_clock c WHERE c.id = 0)"
           " AND class = (SELECT c.class FROM submissions_clock c WHERE c.id = 0)",
    .params = "",
    .columns = "",
    .write = true};

/* The line of row $1, if it is queued */
#define LINE_OF_ROW                                                                                                    \
    " WHERE (benchmark_id, class) IN (SELECT l.benchmark_id, l.class FROM submissions_lines l"                         \
    " WHERE l.benchmark_id = (SELECT s.benchmark_id FROM submissions s WHERE s.id = $1 AND s.state = 'queued')"        \
    " AND l.class = (SELECT s.priority FROM submissions s WHERE s.id = $1)"
const struct assay_stmt line_wake_stmt = {
    .name = "submissions.line_wake",
    .sql = "UPDATE submissions_lines SET waiting = 1, pass = CASE WHEN pass > " CLOCK_OF("submissions_lines") " THEN pass ELSE "
           CLOCK_OF("submissions_lines") " END" LINE_OF_ROW " AND l.waiting = 0 /*+skip_locked*/)",
    .params = "t",
    .columns = "",
    .write = true};
const struct assay_stmt line_back_stmt = {
    .name = "submissions.line_back",
    .sql = "UPDATE submissions_lines SET waiting = 1, pass = CASE WHEN pass - " SCALE " / "
           PRIORITY_OF("submissions_lines.benchmark_id") " > " CLOCK_OF("submissions_lines") " THEN pass - " SCALE " / "
           PRIORITY_OF("submissions_lines.benchmark_id") " ELSE " CLOCK_OF("submissions_lines") " END" LINE_OF_ROW " /*+skip_locked*/)",
    .params = "t",
    .columns = "",
    .write = true};
const struct assay_stmt line_add_stmt = {
    .name = "submissions.line_add",
    .sql = "INSERT INTO submissions_lines (benchmark_id, class, waiting, pass) VALUES ($1, 0, 0, 0), ($1, 1, 0, 0) ON CONFLICT DO NOTHING",
    .params = "t",
    .columns = "",
    .write = true};
const struct assay_stmt line_mend_stmt = {
    .name = "submissions.line_mend",
    .sql = "INSERT INTO submissions_lines (benchmark_id, class, waiting, pass)"
           " SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), 1, CASE WHEN CAST($2 AS BIGINT) = 0 THEN c.fresh ELSE c.rejudged END"
           " FROM submissions_clock c WHERE c.id = 0 AND EXISTS (SELECT 1 FROM submissions q WHERE q.state = 'queued'"
           " AND q.benchmark_id = $1 AND q.priority = $2) ON CONFLICT (benchmark_id, class) DO UPDATE SET waiting = 1,"
           " pass = CASE WHEN submissions_lines.pass > excluded.pass THEN submissions_lines.pass ELSE excluded.pass END"
           " WHERE submissions_lines.waiting = 0",
    .params = "ti",
    .columns = "",
    .write = true};
const struct assay_stmt lines_idle_stmt = {
    .name = "submissions.lines_idle",
    .sql = "UPDATE submissions_lines SET waiting = 0 WHERE (benchmark_id, class) IN (SELECT l.benchmark_id, l.class"
           " FROM submissions_lines l WHERE l.waiting = 1 AND NOT EXISTS (SELECT 1 FROM submissions q WHERE q.state = 'queued'"
           " AND q.benchmark_id = l.benchmark_id AND q.priority = l.class) LIMIT 1000 /*+skip_locked*/)",
    .params = "",
    .columns = "",
    .write = true};

/* Lines in the order in which equals have their turns, each with its first row. */
const struct assay_stmt queue_heads_stmt = {
    .name = "submissions.queue_heads",
    .sql = "SELECT x.benchmark_id, x.class, x.pass, " PRIORITY_OF("x.benchmark_id") ","
           " (SELECT q.id FROM submissions q WHERE q.state = 'queued' AND q.benchmark_id = x.benchmark_id AND q.priority = x.class"
           " ORDER BY q.turn, q.created_ms, q.id LIMIT 1)"
           " FROM (SELECT l.benchmark_id, l.class, l.pass FROM submissions_lines l WHERE l.waiting = 1"
           " ORDER BY l.class, l.pass, l.benchmark_id LIMIT $1) x ORDER BY x.benchmark_id, x.class",
    .params = "i",
    .columns = "tiiit"};
const struct assay_stmt queue_line_stmt = {
    .name = "submissions.queue_line",
    .sql = "SELECT q.id FROM submissions q WHERE q.state = 'queued' AND q.benchmark_id = $1 AND q.priority = $2"
           " ORDER BY q.turn, q.created_ms, q.id LIMIT $3",
    .params = "tii",
    .columns = "t"};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static struct assay_str or_empty(struct assay_str s)
{
    return s.p == NULL ? ASSAY_STR("") : s;
}

/* ---- lines ------------------------------------------------------------------------------------------- */

void turns_queued(struct assay_tx *tx, struct assay_str id)
{
    ASSAY_TX(tx, &line_wake_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(id));
}

void turns_returned(struct assay_tx *tx, struct assay_str id)
{
    ASSAY_TX(tx, &line_back_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(id));
}

void turns_line(struct assay_tx *tx, struct assay_str benchmark_id)
{
    ASSAY_TX(tx, &line_add_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(benchmark_id));
}

static const struct admission_row *unheard(const struct admission_row *row, size_t n, size_t *at)
{
    while (*at < n && row[*at].heard)
        ++*at;
    return *at < n ? &row[(*at)++] : NULL;
}

int turns_mend(struct submissions *s, const struct admission_row *row, size_t n, struct assay_err *err)
{
    int rc = ASSAY_OK;
    size_t at = 0;
    const struct admission_row *r = unheard(row, n, &at);
    bool first = true;
    while (rc >= 0 && (first || r != NULL)) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.lines") : NULL;
        if (tx == NULL)
            return no_memory(err);
        if (first)
            assay_tx_add(tx, &lines_idle_stmt, ASSAY_EXPECT_ANY, NULL, 0);
        for (; r != NULL && tx->n_ops < MENDS_AT_ONCE; r = unheard(row, n, &at))
            ASSAY_TX(tx, &line_mend_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(r->benchmark_id), ASSAY_VI(r->class));
        first = false;
        rc = tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
    }
    return rc;
}

/* ---- leases ------------------------------------------------------------------------------------------ */

static void add_steps(struct submissions *s, struct assay_tx *tx, const struct assay_lease_ask *ask, struct assay_str boot, size_t steps)
{
    const struct assay_val languages = ASSAY_VT(or_empty(ask->languages)), kinds = ASSAY_VT(or_empty(ask->kinds));
    const struct assay_val args[] = {ASSAY_VT(ask->holder), ASSAY_VT(boot), ASSAY_VI(ask->lease_ms), ASSAY_VI(s->host->now_ms(s->host->ctx)),
                                     languages, kinds};
    for (size_t i = 0; i < steps; i++) {
        ASSAY_TX(tx, &turn_choose_stmt, ASSAY_EXPECT_ANY, languages, kinds);
        assay_tx_add(tx, &turn_lease_stmt, ASSAY_EXPECT_ANY, args, sizeof args / sizeof args[0]);
        assay_tx_add(tx, &turn_served_stmt, ASSAY_EXPECT_ANY, NULL, 0);
    }
    assay_tx_add(tx, &turn_astray_stmt, ASSAY_EXPECT_ANY, args, sizeof args / sizeof args[0]);
}

/* Some steps; *chosen: in how many there was a line. */
static int step(struct submissions *s, const struct assay_lease_ask *ask, struct assay_str boot, size_t steps, struct assay_arena *arena,
                struct assay_job *job, size_t *n, size_t *chosen, struct assay_err *err)
{
    struct assay_tx *tx = assay_tx_new(arena, "submission.lease");
    if (tx == NULL)
        return no_memory(err);
    add_steps(s, tx, ask, boot, steps);
    admission_begin(s->admission);
    int rc = tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
    *n = *chosen = 0;
    for (size_t i = 0; rc >= 0 && i < tx->n_ops; i++) {
        const struct assay_rows *rows = &tx->op[i].rows;
        const struct assay_val *c = rows->n != 0 ? rows->row[0].col : NULL;
        if (c == NULL)
            continue;
        if (tx->op[i].stmt == &turn_choose_stmt) {
            *chosen += c[0].type != ASSAY_VAL_NULL;
            continue;
        }
        struct place place = {.submitter = c[LEASED_SUBMITTER].s, .benchmark_id = c[LEASED_BENCHMARK].s, .bytes = c[LEASED_BYTES].i};
        admission_leave(s->admission, &place);
        job[*n] = repo_job(c);
        job[*n].source = c[LEASED_SOURCE].s;
        job[*n].payload = c[LEASED_PAYLOAD].s;
        job[(*n)++].compiler_options = c[LEASED_OPTIONS].s;
    }
    admission_end(s->admission);
    return rc;
}

int repo_lease(struct submissions *s, const struct assay_lease_ask *ask, struct assay_str boot, struct assay_arena *arena,
               struct assay_job **out, size_t *n, struct assay_err *err)
{
    struct assay_job *job = assay_arena_array(arena, ask->max != 0 ? ask->max : 1, sizeof *job);
    if (job == NULL)
        return no_memory(err);
    int64_t projected = 0;
    int rc = repo_projected(s, &projected, err);
    size_t all = 0, again = 0;
    /* who takes some languages only may find little: it pays for the search once, and not for each step */
    size_t steps = ask->languages.n != 0 ? 1 : STEPS_MAX;
    while (rc >= 0 && all < ask->max) {
        size_t part = ask->max - all < steps ? ask->max - all : steps, got = 0, chosen = 0;
        rc = step(s, ask, boot, part, arena, job + all, &got, &chosen, err);
        if (rc < 0)
            break;
        all += got;
        if (got < part && (chosen <= got || again++ == ASK_AGAIN))
            break;
        steps = STEPS_MAX;
    }
    if (rc < 0 && all == 0)
        return rc;
    *out = job; /* what is leased is leased, whatever became of the rest */
    *n = all;
    return repo_manifests_of_now(s, projected, job, all, arena, err);
}

/* ---- how it will go on -------------------------------------------------------------------------------- */

#define READS_MAX 100 /* of lines beyond their first rows */
#define READ_FIRST 32

struct ahead {
    struct assay_str benchmark_id, first;
    struct assay_rows rows; /* those read so far, at most limit */
    int64_t limit;
    size_t told;
};

/* The line's next row, "" when it has none or when that is not to be had (*more). */
static int next_row(struct submissions *s, struct ahead *a, const struct turn_line *l, int64_t max, size_t *reads, struct assay_arena *arena,
                    struct assay_str *id, bool *more, struct assay_err *err)
{
    int rc = ASSAY_OK;
    *id = a->told == 0 ? a->first : ASSAY_STR("");
    if (a->told == 0)
        return rc;
    if (a->told >= a->rows.n && (int64_t)a->rows.n == a->limit && a->limit < max) {
        if (*reads == READS_MAX) {
            *more = true;
            return rc;
        }
        ++*reads;
        a->limit = a->limit == 0 ? READ_FIRST : 8 * a->limit;
        a->limit = a->limit < max ? a->limit : max;
        rc = ASSAY_QUERY(s->host->store, &queue_line_stmt, arena, &a->rows, err, ASSAY_VT(a->benchmark_id), ASSAY_VI(l->class),
                         ASSAY_VI(a->limit));
    }
    if (rc >= 0 && a->told < a->rows.n)
        *id = a->rows.row[a->told].col[0].s;
    return rc;
}

int repo_queue_head(struct submissions *s, int64_t max, struct assay_arena *arena, struct queue_head *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &queue_heads_stmt, arena, &rows, err, ASSAY_VI(max));
    if (rc < 0)
        return rc;
    struct turn_line *line = assay_arena_array(arena, rows.n + 1, sizeof *line);
    struct ahead *ahead = assay_arena_array(arena, rows.n + 1, sizeof *ahead);
    *out = (struct queue_head){.id = assay_arena_array(arena, (size_t)max, sizeof *out->id)};
    if (line == NULL || ahead == NULL || out->id == NULL)
        return no_memory(err);
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        bool any = c[4].type != ASSAY_VAL_NULL;
        line[i] = (struct turn_line){.class = c[1].i, .pass = c[2].i, .priority = c[3].i > 0 ? c[3].i : ASSAY_PRIORITY_DEFAULT,
                                     .waiting = any ? INT64_MAX : 0};
        ahead[i] = (struct ahead){.benchmark_id = c[0].s, .first = any ? c[4].s : ASSAY_STR("")};
    }
    size_t reads = 0;
    while (out->n < (size_t)max && !out->more) {
        size_t i = turns_next(line, rows.n);
        if (i == rows.n)
            return ASSAY_OK;
        struct assay_str id;
        rc = next_row(s, &ahead[i], &line[i], max, &reads, arena, &id, &out->more, err);
        if (rc < 0)
            return rc;
        if (id.n == 0) {
            line[i].waiting = 0;
            continue;
        }
        out->id[out->n++] = id;
        ahead[i].told++;
        turns_served(&line[i]);
    }
    out->more = true;
    return ASSAY_OK;
}
