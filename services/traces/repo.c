/* The SQL of the traces service. */
#include "local.h"

ASSAY_IDEM_DEFINE(traces_idem, "traces");

/* $1 staff, $2 user ("" for an agent's token), $3 agent of a token */
#define COLUMNS                                                                                                        \
    "s.submission_id, s.owner_id, s.benchmark_id, s.agent_id, s.state, s.verdict, s.created_ms, s.finished_ms, s.spans,"\
    " CASE WHEN CAST($1 AS BIGINT) = 1 OR s.benchmark_id = '' OR b.owner_id = CAST($2 AS TEXT) THEN 4"                 \
    " ELSE COALESCE(b.feedback, 0) END"
#define LETTERS "ttttttiiti"
#define FROM " FROM traces_submissions s LEFT JOIN traces_benchmarks b ON b.id = s.benchmark_id"
#define SEEN                                                                                                           \
    "(CAST($1 AS BIGINT) = 1 OR s.owner_id = CAST($2 AS TEXT) OR b.owner_id = CAST($2 AS TEXT)"                        \
    " OR (CAST($3 AS TEXT) <> '' AND s.agent_id = CAST($3 AS TEXT)))"

static const struct assay_stmt get = {.name = "traces.get",
                                      .sql = "SELECT " COLUMNS FROM " WHERE s.submission_id = $4 AND " SEEN,
                                      .params = "ittt",
                                      .columns = LETTERS};
/* $4 before, $5 benchmark, $6 agent, $7 limit; the filter that finds the rows stands bare, for its index */
#define ANY_BENCHMARK "(CAST($5 AS TEXT) IS NULL OR s.benchmark_id = CAST($5 AS TEXT))"
#define ANY_AGENT "(CAST($6 AS TEXT) IS NULL OR s.agent_id = CAST($6 AS TEXT))"
#define LIST(found)                                                                                                    \
    "SELECT " COLUMNS FROM " WHERE " found " AND (CAST($4 AS TEXT) IS NULL OR s.submission_id < CAST($4 AS TEXT)) AND "  \
        SEEN " ORDER BY s.submission_id DESC LIMIT $7"
#define LIST_PARAMS "ittttti"
static const struct assay_stmt list_all = {
    .name = "traces.list", .sql = LIST(ANY_BENCHMARK " AND " ANY_AGENT), .params = LIST_PARAMS, .columns = LETTERS};
static const struct assay_stmt list_benchmark = {.name = "traces.list_benchmark",
                                                 .sql = LIST("s.benchmark_id = CAST($5 AS TEXT) AND " ANY_AGENT),
                                                 .params = LIST_PARAMS,
                                                 .columns = LETTERS};
static const struct assay_stmt list_agent = {.name = "traces.list_agent",
                                             .sql = LIST("s.agent_id = CAST($6 AS TEXT) AND " ANY_BENCHMARK),
                                             .params = LIST_PARAMS,
                                             .columns = LETTERS};
/* a person without a filter: what is their own, by its index */
static const struct assay_stmt list_own = {
    .name = "traces.list_own",
    .sql = LIST("s.owner_id = CAST($2 AS TEXT) AND " ANY_BENCHMARK " AND " ANY_AGENT),
    .params = LIST_PARAMS,
    .columns = LETTERS};
static const struct assay_stmt events = {
    .name = "traces.events",
    .sql = "SELECT at_ms, name, detail FROM traces_events WHERE submission_id = $1 ORDER BY seq LIMIT 1000",
    .params = "t",
    .columns = "itt"};
static const struct assay_stmt notes = {
    .name = "traces.notes",
    .sql = "SELECT id, at_ms, level, author_id, agent_id, message, spans FROM traces_notes WHERE submission_id = $1"
           " ORDER BY id LIMIT 1000",
    .params = "t",
    .columns = "tiitttt"};

static const struct assay_stmt note_add = {
    .name = "traces.note_add",
    .sql = "INSERT INTO traces_notes (id, submission_id, at_ms, level, author_id, agent_id, message, spans)"
           " SELECT CAST($1 AS TEXT), s.submission_id, CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS TEXT),"
           " CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS TEXT) FROM traces_submissions s WHERE s.submission_id = $2"
           " AND (SELECT COUNT(*) FROM traces_notes n WHERE n.submission_id = $2) < CAST($9 AS BIGINT)",
    .params = "ttiitttti",
    .columns = "",
    .write = true};
static const struct assay_stmt life = {
    .name = "traces.life",
    .sql = "INSERT INTO traces_submissions (submission_id, owner_id, benchmark_id, agent_id, state, verdict, created_ms,"
           " finished_ms, spans) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
           " ON CONFLICT (submission_id) DO UPDATE SET state = excluded.state, verdict = excluded.verdict,"
           " finished_ms = excluded.finished_ms, spans = excluded.spans,"
           " agent_id = CASE WHEN excluded.agent_id = '' THEN traces_submissions.agent_id ELSE excluded.agent_id END",
    .params = "ttttttiit",
    .columns = "",
    .write = true};
static const struct assay_stmt event_add = {
    .name = "traces.event_add",
    .sql = "INSERT INTO traces_events (submission_id, seq, at_ms, name, detail) VALUES ($1, $2, $3, $4, $5)",
    .params = "tiitt",
    .columns = "",
    .write = true};
#define REMOVE(ident, table)                                                                                           \
    static const struct assay_stmt ident = {.name = "traces." #ident,                                                  \
                                            .sql = "DELETE FROM " table " WHERE submission_id = $1",                   \
                                            .params = "t",                                                             \
                                            .columns = "",                                                             \
                                            .write = true}
REMOVE(remove_submission, "traces_submissions");
REMOVE(remove_events, "traces_events");
REMOVE(remove_notes, "traces_notes");
static const struct assay_stmt project_benchmark = {
    .name = "traces.project_benchmark",
    .sql = "INSERT INTO traces_benchmarks (id, owner_id, feedback, deleted) VALUES ($1, $2, $3, $4)"
           " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, feedback = excluded.feedback,"
           " deleted = excluded.deleted",
    .params = "ttii",
    .columns = "",
    .write = true};

const struct assay_stmt *const traces_statements[TRACES_STATEMENTS] = {
    &get,  &list_all,  &list_benchmark,    &list_agent,    &list_own,     &events,
    &notes, &note_add, &life,              &event_add,     &remove_submission, &remove_events,
    &remove_notes,     &project_benchmark, ASSAY_IDEM_STMTS(traces_idem)};

static struct assay_str or_empty(struct assay_str s)
{
    return s.p ? s : ASSAY_STR("");
}

static int submissions(const struct assay_rows *rows, struct assay_arena *arena, struct tr_submission **out, size_t *n,
                       struct assay_err *err)
{
    struct tr_submission *list = assay_arena_array(arena, rows->n, sizeof *list);
    if (rows->n && !list)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for traces");
    for (size_t i = 0; i < rows->n; i++) {
        const struct assay_val *c = rows->row[i].col;
        list[i] = (struct tr_submission){.id = c[0].s,
                                         .owner_id = c[1].s,
                                         .benchmark_id = c[2].s,
                                         .agent_id = c[3].s,
                                         .state = c[4].s,
                                         .verdict = c[5].s,
                                         .created_ms = c[6].i,
                                         .finished_ms = c[7].i,
                                         .spans = c[8].s,
                                         .level = c[9].i};
    }
    *out = list;
    *n = rows->n;
    return 0;
}

static struct assay_val user_of(const struct tr_viewer *v)
{
    /* what no row holds: an agent's token is not its owner */
    return v->agent_id.n || v->user_id.n == 0 ? ASSAY_VZ("-") : ASSAY_VT(v->user_id);
}

int tr_get(const struct assay_store *st, const struct tr_viewer *v, struct assay_str id, struct assay_arena *arena,
           struct tr_submission *out, struct assay_err *err)
{
    struct assay_rows rows;
    struct tr_submission *list;
    size_t n;
    int rc = ASSAY_QUERY(st, &get, arena, &rows, err, ASSAY_VI(v->staff), user_of(v), ASSAY_VT(v->agent_id), ASSAY_VT(id));
    if (rc == 0)
        rc = submissions(&rows, arena, &list, &n, err);
    if (rc < 0)
        return rc;
    if (n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such submission");
    *out = list[0];
    return 0;
}

int tr_list(const struct assay_store *st, const struct tr_viewer *v, const struct tr_filter *f, struct assay_arena *arena,
            struct tr_submission **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    struct assay_str agent = f->agent_id;
    const struct assay_stmt *stmt = &list_all;
    if (v->agent_id.n && !v->staff && !agent.p)
        agent = v->agent_id;
    if (agent.p)
        stmt = &list_agent;
    else if (f->benchmark_id.p)
        stmt = &list_benchmark;
    else if (!v->staff)
        stmt = &list_own;
    int rc = ASSAY_QUERY(st, stmt, arena, &rows, err, ASSAY_VI(v->staff), user_of(v), ASSAY_VT(v->agent_id),
                         ASSAY_VT_OR_NULL(f->before), ASSAY_VT_OR_NULL(f->benchmark_id), ASSAY_VT_OR_NULL(agent),
                         ASSAY_VI(f->limit));
    return rc < 0 ? rc : submissions(&rows, arena, out, n, err);
}

int tr_events(const struct assay_store *st, struct assay_str id, struct assay_arena *arena, struct tr_event **out,
              size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &events, arena, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    struct tr_event *list = assay_arena_array(arena, rows.n, sizeof *list);
    if (rows.n && !list)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for traces");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct tr_event){.at_ms = c[0].i, .name = c[1].s, .detail = c[2].s};
    }
    *out = list;
    *n = rows.n;
    return 0;
}

int tr_notes(const struct assay_store *st, struct assay_str id, struct assay_arena *arena, struct tr_note **out, size_t *n,
             struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &notes, arena, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    struct tr_note *list = assay_arena_array(arena, rows.n, sizeof *list);
    if (rows.n && !list)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for traces");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct tr_note){.id = c[0].s,
                                   .at_ms = c[1].i,
                                   .level = c[2].i,
                                   .author_id = c[3].s,
                                   .agent_id = c[4].s,
                                   .message = c[5].s,
                                   .spans = c[6].s};
    }
    *out = list;
    *n = rows.n;
    return 0;
}

int tr_note_add(struct assay_tx *tx, struct assay_str submission_id, const struct tr_note *n)
{
    return ASSAY_TX(tx, &note_add, ASSAY_EXPECT_ONE, ASSAY_VT(n->id), ASSAY_VT(submission_id), ASSAY_VI(n->at_ms),
                    ASSAY_VI(n->level), ASSAY_VT(or_empty(n->author_id)), ASSAY_VT(or_empty(n->agent_id)),
                    ASSAY_VT(n->message), ASSAY_VT(or_empty(n->spans)), ASSAY_VI(TRACES_NOTES_MAX));
}

void tr_life(struct assay_tx *tx, const struct assay_event_row *ev, const struct tr_submission *s, struct assay_str detail)
{
    ASSAY_TX(tx, &life, ASSAY_EXPECT_ONE, ASSAY_VT(s->id), ASSAY_VT(or_empty(s->owner_id)),
             ASSAY_VT(or_empty(s->benchmark_id)), ASSAY_VT(or_empty(s->agent_id)), ASSAY_VT(s->state),
             ASSAY_VT(or_empty(s->verdict)), ASSAY_VI(s->created_ms), ASSAY_VI(s->finished_ms),
             ASSAY_VT(or_empty(s->spans)));
    ASSAY_TX(tx, &event_add, ASSAY_EXPECT_ONE, ASSAY_VT(s->id), ASSAY_VI(ev->seq), ASSAY_VI(ev->at_ms),
             ASSAY_VT(ev->ev.topic), ASSAY_VT(or_empty(detail)));
}

void tr_remove(struct assay_tx *tx, struct assay_str id)
{
    ASSAY_TX(tx, &remove_notes, ASSAY_EXPECT_ANY, ASSAY_VT(id));
    ASSAY_TX(tx, &remove_events, ASSAY_EXPECT_ANY, ASSAY_VT(id));
    ASSAY_TX(tx, &remove_submission, ASSAY_EXPECT_ANY, ASSAY_VT(id));
}

void tr_project_benchmark(struct assay_tx *tx, struct assay_str id, const struct assay_ev_benchmark *b)
{
    ASSAY_TX(tx, &project_benchmark, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(b->owner_id)),
             ASSAY_VI(b->feedback), ASSAY_VI(b->deleted));
}
