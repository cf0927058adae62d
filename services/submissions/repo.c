/*
 * The SQL of submissions.
 *
 * Every change of state is one guarded statement: it names the state (and, for leased work, the fence)
 * that it needs, so two writers can never both end a submission, whatever crashed in between.
 */
#include "intake.h"

#include <assay/audit.h>
#include "project.h"
#include "rejudge.h"
#include "repo_turns.h"

#include <stdio.h>

const struct assay_migration submissions_migrations[SUBMISSIONS_MIGRATIONS] = {
    {1, "submissions",
#include "schema/001_submissions.h"
     , "0.1.0"},
    {2, "turns",
#include "schema/002_turns.h"
     , "0.1.0"},
    {3, "leases",
#include "schema/003_leases.h"
     , "0.1.0"},
    {4, "messages",
#include "schema/004_messages.h"
     , "0.1.0"},
    {5, "projects",
#include "schema/005_projects.h"
     , "0.1.0"},
    {6, "rejudgings",
#include "schema/006_rejudgings.h"
     , "0.1.0"},
    {7, "compiler_options",
#include "schema/007_compiler_options.h"
     , "0.1.0"},
    {8, "retention",
#include "schema/008_retention.h"
     , "0.1.0"},
    {9, "lines",
#include "schema/009_lines.h"
     , "0.1.0"},
};

ASSAY_IDEM_DEFINE(submissions_idem, "submissions");

/* ---- statements -------------------------------------------------------------------------------- */

#define INSERT_COLUMNS                                                                                                 \
    "INSERT INTO submissions (id, kind, benchmark_id, problem_id, agent_id, owner_id, language, source_kind,"          \
    " source_ref, payload_ref, state, request_id, traceparent, created_ms, updated_ms, submitter, bytes, priority, turn, compiler_options) "

/* One statement decides whether a submission may be and makes it: benchmark seen by the caller and
 * open, problem the named or the only one, agent the caller's, an entrant where entrants are listed,
 * language taken.  REPLACE finds a word in a list without LIKE's wildcards. */
static const struct assay_stmt insert_stmt = {
    .name = "submissions.insert",
    .sql = INSERT_COLUMNS
    "SELECT CAST($1 AS TEXT), 0, b.id, p.id, a.id, CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS BIGINT),"
    " CAST($8 AS TEXT), CAST($9 AS TEXT), 'queued', CAST($10 AS TEXT), CAST($11 AS TEXT), CAST($12 AS BIGINT),"
    " CAST($12 AS BIGINT), CAST($17 AS TEXT), CAST($18 AS BIGINT), 0, " DUE("CAST($17 AS TEXT)", "b.id", "0") ", CAST($19 AS TEXT)"
    " FROM submissions_benchmarks b JOIN submissions_problems p ON p.benchmark_id = b.id"
    " JOIN submissions_agents a ON a.id = $4"
    " WHERE b.id = $2 AND b.deleted = 0 AND p.deleted = 0 AND a.deleted = 0"
    " AND (CAST($3 AS TEXT) = p.id OR (CAST($3 AS TEXT) = '' AND NOT EXISTS (SELECT 1 FROM submissions_problems o"
    " WHERE o.benchmark_id = b.id AND o.deleted = 0 AND o.id <> p.id)))"
    " AND (CAST($13 AS BIGINT) = 1 OR a.owner_id = $5)"
    " AND (b.visibility = 0 OR CAST($13 AS BIGINT) = 1 OR b.owner_id = $5"
    " OR REPLACE(b.entrants, CAST($15 AS TEXT), '') <> b.entrants)"
    " AND (b.starts_ms = 0 OR b.starts_ms <= CAST($12 AS BIGINT)) AND (b.ends_ms = 0 OR b.ends_ms > CAST($12 AS BIGINT))"
    " AND (b.entrants = '' OR REPLACE(b.entrants, CAST($15 AS TEXT), '') <> b.entrants)"
    /* modes that take a program, as assay/manifest.h numbers them */
    " AND ((p.mode IN (0, 3) AND CAST($7 AS BIGINT) <> 0"
    " AND (b.languages = '' OR REPLACE(b.languages, CAST($14 AS TEXT), '') <> b.languages))"
    " OR (p.mode NOT IN (0, 3) AND CAST($16 AS BIGINT) = 1))",
    .params = "tttttti" "ttttii" "ttitit",
    .columns = "",
    .write = true};

/* A jury's: of no agent, and neither time, entrants nor languages bind it. */
static const struct assay_stmt insert_jury = {
    .name = "submissions.insert_jury",
    .sql = INSERT_COLUMNS
    "SELECT CAST($1 AS TEXT), 0, b.id, p.id, '', CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS BIGINT),"
    " CAST($7 AS TEXT), '', 'queued', CAST($8 AS TEXT), CAST($9 AS TEXT), CAST($10 AS BIGINT),"
    " CAST($10 AS BIGINT), CAST($12 AS TEXT), CAST($13 AS BIGINT), 0, " DUE("CAST($12 AS TEXT)", "b.id", "0") ", CAST($14 AS TEXT)"
    " FROM submissions_benchmarks b JOIN submissions_problems p ON p.benchmark_id = b.id"
    " WHERE b.id = $2 AND b.deleted = 0 AND p.deleted = 0"
    " AND (CAST($3 AS TEXT) = p.id OR (CAST($3 AS TEXT) = '' AND NOT EXISTS (SELECT 1 FROM submissions_problems o"
    " WHERE o.benchmark_id = b.id AND o.deleted = 0 AND o.id <> p.id)))"
    " AND (CAST($11 AS BIGINT) = 1 OR b.owner_id = $4) AND p.mode IN (0, 3)",
    .params = "ttttti" "tttii" "tit",
    .columns = "",
    .write = true};

static const struct assay_stmt insert_task = {
    .name = "submissions.insert_task",
    .sql = INSERT_COLUMNS "VALUES ($1, $13, '', '', $10, $2, $3, $4, $5, $6, 'queued', $7, $8, $9, $9, $11, $12, 0, " DUE("$11", "''", "0") ", $14)",
    .params = "ttti" "tttti" "ttiit",
    .columns = "",
    .write = true};

static const struct assay_stmt insert_bytes = {
    .name = "submissions.insert_bytes",
    .sql = "INSERT INTO submissions_sources (submission_id, source, payload) VALUES ($1, $2, $3)",
    .params = "tbb",
    .columns = "",
    .write = true};

static const struct assay_stmt facts_benchmark = {
    .name = "submissions.facts_benchmark",
    .sql = "SELECT b.owner_id, b.visibility, b.starts_ms, b.ends_ms, b.languages, b.entrants, b.deleted,"
           " (SELECT COUNT(*) FROM submissions_problems p WHERE p.benchmark_id = b.id AND p.deleted = 0),"
           " COALESCE((SELECT MIN(p.mode) FROM submissions_problems p WHERE p.benchmark_id = b.id AND p.deleted = 0), 0)"
           " FROM submissions_benchmarks b WHERE b.id = $1",
    .params = "t",
    .columns = "tiiittiii"};
static const struct assay_stmt facts_problem = {
    .name = "submissions.facts_problem",
    .sql = "SELECT benchmark_id, mode, deleted FROM submissions_problems WHERE id = $1",
    .params = "t",
    .columns = "tii"};
/* $2: the problem's id, or '' for the only one */
static const struct assay_stmt problem_options = {
    .name = "submissions.problem_options",
    .sql = "SELECT compiler_options FROM submissions_problems WHERE benchmark_id = $1 AND deleted = 0"
           " AND (CAST($2 AS TEXT) = '' OR id = $2) LIMIT 1",
    .params = "tt",
    .columns = "t"};
static const struct assay_stmt facts_agent = {
    .name = "submissions.facts_agent",
    .sql = "SELECT owner_id, deleted FROM submissions_agents WHERE id = $1",
    .params = "t",
    .columns = "ti"};

/* What the benchmark's feedback policy lets the viewer see: staff and the benchmark's owner all, a task
 * all, and nothing where the projection is unknown. $1 viewer, $2 staff. */
#define SHOWN                                                                                                          \
    "(CASE WHEN CAST($2 AS BIGINT) = 1 OR s.benchmark_id = '' OR b.owner_id = $1 THEN 4 ELSE COALESCE(b.feedback, 0) END)"
#define VIEW_COLUMNS                                                                                                   \
    "s.id, s.kind, s.benchmark_id, s.problem_id, s.agent_id, s.owner_id, s.language, s.state,"                         \
    " CASE WHEN " SHOWN " >= 1 THEN s.verdict END, CASE WHEN " SHOWN " >= 1 THEN s.score END,"                         \
    " CASE WHEN " SHOWN " >= 3 THEN s.summary END, s.attempts, s.cancel_requested, s.created_ms, s.updated_ms,"        \
    " s.finished_ms, s.request_id, s.compiler_options"
#define VIEW_LETTERS "tittttttt" "rtiiiiitt"
#define VIEW_FROM " FROM submissions s LEFT JOIN submissions_benchmarks b ON b.id = s.benchmark_id"
#define VIEW_MINE                                                                                                      \
    " s.deleted_ms IS NULL AND (CAST($2 AS BIGINT) = 1 OR s.owner_id = $1)"                                            \
    " AND (CAST($3 AS TEXT) = '' OR s.agent_id = $3)"

static const struct assay_stmt get_stmt = {.name = "submissions.get",
                                           .sql = "SELECT " VIEW_COLUMNS VIEW_FROM " WHERE s.id = $4 AND" VIEW_MINE,
                                           .params = "titt",
                                           .columns = VIEW_LETTERS};

/* $4 before, $5 limit, $6 status, $7 verdict, $8 since, $9 benchmark, $10 problem, $11 agent.  The four
 * forms differ in which index leads. */
#define LIST(where)                                                                                                    \
    "SELECT " VIEW_COLUMNS VIEW_FROM " WHERE " where " AND" VIEW_MINE                                                  \
    " AND s.id < $4 AND (CAST($6 AS TEXT) = '' OR s.state = $6)"                                                       \
    " AND (CAST($7 AS TEXT) = '' OR (s.verdict = $7 AND " SHOWN " >= 1)) AND s.created_ms >= $8"                       \
    " AND (CAST($9 AS TEXT) = '' OR s.benchmark_id = $9) AND (CAST($10 AS TEXT) = '' OR s.problem_id = $10)"           \
    " AND (CAST($11 AS TEXT) = '' OR s.agent_id = $11) AND s.kind = 0 AND s.rejudging_id = '' ORDER BY s.id DESC LIMIT $5"
#define LIST_LETTERS "tittittittt"
static const struct assay_stmt list_owner = {
    .name = "submissions.list_owner", .sql = LIST("s.owner_id = $1"), .params = LIST_LETTERS, .columns = VIEW_LETTERS};
static const struct assay_stmt list_agent = {
    .name = "submissions.list_agent", .sql = LIST("s.agent_id = $11"), .params = LIST_LETTERS, .columns = VIEW_LETTERS};
static const struct assay_stmt list_benchmark = {.name = "submissions.list_benchmark",
                                                 .sql = LIST("s.benchmark_id = $9"),
                                                 .params = LIST_LETTERS,
                                                 .columns = VIEW_LETTERS};
static const struct assay_stmt list_all = {
    .name = "submissions.list_all", .sql = LIST("1 = 1"), .params = LIST_LETTERS, .columns = VIEW_LETTERS};

static const struct assay_stmt bytes_stmt = {
    .name = "submissions.bytes",
    .sql = "SELECT s.source_kind, s.source_ref, s.payload_ref, x.source, x.payload FROM submissions s"
           " LEFT JOIN submissions_sources x ON x.submission_id = s.id WHERE s.id = $1",
    .params = "t",
    .columns = "ittbb"};
static const struct assay_stmt output_stmt = {.name = "submissions.output",
                                              .sql = "SELECT output FROM submissions_sources WHERE submission_id = $1",
                                              .params = "t",
                                              .columns = "b"};
static const struct assay_stmt output_set = {
    .name = "submissions.output_set",
    .sql = "INSERT INTO submissions_sources (submission_id, output) VALUES ($1, $2)"
           " ON CONFLICT (submission_id) DO UPDATE SET output = excluded.output",
    .params = "tb",
    .columns = "",
    .write = true};

static const struct assay_stmt cancel_queued = {
    .name = "submissions.cancel_queued",
    .sql = "UPDATE submissions SET state = 'cancelled', cancel_requested = 1, updated_ms = $2, finished_ms = $2"
           " WHERE id = $1 AND state = 'queued' AND deleted_ms IS NULL RETURNING submitter, benchmark_id, bytes",
    .params = "ti",
    .columns = "tti",
    .write = true};
static const struct assay_stmt cancel_running = {
    .name = "submissions.cancel_running",
    .sql = "UPDATE submissions SET cancel_requested = 1, updated_ms = $2, deleted_ms = $3"
           " WHERE id = $1 AND state = 'running' AND deleted_ms IS NULL",
    .params = "tii",
    .columns = "",
    .write = true};
static const struct assay_stmt delete_ended = {
    .name = "submissions.delete_ended",
    .sql = "UPDATE submissions SET deleted_ms = $2, updated_ms = $2 WHERE id = $1 AND deleted_ms IS NULL"
           " AND state IN ('done', 'error', 'cancelled')",
    .params = "ti",
    .columns = "",
    .write = true};
static const struct assay_stmt rejudge_stmt = {
    .name = "submissions.rejudge",
    .sql = "UPDATE submissions SET state = 'queued', priority = 1,"
           " submitter = CASE WHEN submitter = '' THEN owner_id ELSE submitter END,"
           " turn = " DUE("submissions.submitter", "submissions.benchmark_id", "1") ", verdict = NULL, score = NULL, summary = NULL,"
           " attempts = 0, interruptions = 0, reason = NULL, cancel_requested = 0, updated_ms = $2, finished_ms = NULL"
           " WHERE id = $1 AND deleted_ms IS NULL AND state IN ('done', 'error', 'cancelled')"
           /* what it needs is there, and nothing of it is about to go (retention.c) */
           " AND NOT EXISTS (SELECT 1 FROM submissions_projects p WHERE p.submission_id = $1 AND (p.upload_gone <> 0 OR p.log_gone < 0))",
    .params = "ti",
    .columns = "",
    .write = true};

#define HELD_COLUMNS                                                                                                   \
    "id, owner_id, benchmark_id, problem_id, agent_id, state, fence, attempts, interruptions, created_ms, cancel_requested"
#define HELD_LETTERS "ttttttiiiii"
static const struct assay_stmt held_stmt = {.name = "submissions.held",
                                            .sql = "SELECT " HELD_COLUMNS " FROM submissions WHERE id = $1",
                                            .params = "t",
                                            .columns = HELD_LETTERS};
static const struct assay_stmt orphans_stmt = {
    .name = "submissions.orphans",
    .sql = "SELECT " HELD_COLUMNS " FROM submissions WHERE state = 'running' AND lease_boot <> 'remote'"
           " AND lease_boot NOT IN (SELECT i.id FROM submissions_instances i) ORDER BY id LIMIT $1",
    .params = "i",
    .columns = HELD_LETTERS};

static const struct assay_stmt leased_here_stmt = {
    .name = "submissions.leased_here",
    .sql = "SELECT " HELD_COLUMNS " FROM submissions WHERE state = 'running' AND lease_boot = $1 ORDER BY id LIMIT $2",
    .params = "ti",
    .columns = HELD_LETTERS};

static const struct assay_stmt end_stmt = {
    .name = "submissions.end",
    .sql = "UPDATE submissions SET state = $3, verdict = $4, score = $5, summary = $6, reason = $7,"
           " attempts = attempts + $8, updated_ms = $9, finished_ms = $9, lease_worker = NULL, lease_boot = NULL,"
           " lease_ms = NULL WHERE id = $1 AND fence = $2 AND state = $10",
    .params = "tittrttiit",
    .columns = "",
    .write = true};
/* A cancel that came in between wins: what was cancelled is never queued again. What comes back is next: it has had its
 * turn before, and the verdict is late already. */
static const struct assay_stmt requeue_stmt = {
    .name = "submissions.requeue",
    .sql = "UPDATE submissions SET state = 'queued', turn = 0, reason = $3, attempts = attempts + $4,"
           " interruptions = interruptions + $5, updated_ms = $6, lease_worker = NULL, lease_boot = NULL, lease_ms = NULL"
           " WHERE id = $1 AND fence = $2 AND state = 'running' AND cancel_requested = 0",
    .params = "titiii",
    .columns = "",
    .write = true};
static const struct assay_stmt progress_stmt = {
    .name = "submissions.progress",
    .sql = "UPDATE submissions SET updated_ms = $3 WHERE id = $1 AND fence = $2 AND state = 'running'",
    .params = "tii",
    .columns = "",
    .write = true};

static const struct assay_stmt project_benchmark = {
    .name = "submissions.project_benchmark",
    .sql = "INSERT INTO submissions_benchmarks (id, owner_id, visibility, feedback, starts_ms, ends_ms, languages,"
           " entrants, deleted, priority) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO UPDATE SET"
           " owner_id = excluded.owner_id, visibility = excluded.visibility, feedback = excluded.feedback,"
           " starts_ms = excluded.starts_ms, ends_ms = excluded.ends_ms, languages = excluded.languages,"
           " entrants = excluded.entrants, deleted = excluded.deleted, priority = excluded.priority",
    .params = "ttiiiittii",
    .columns = "",
    .write = true};
static const struct assay_stmt project_problem = {
    .name = "submissions.project_problem",
    .sql = "INSERT INTO submissions_problems (id, benchmark_id, mode, manifest_ref, deleted, compiler_options)"
           " VALUES ($1, $2, $3, $4, $5, $6)"
           " ON CONFLICT (id) DO UPDATE SET benchmark_id = excluded.benchmark_id, mode = excluded.mode,"
           " manifest_ref = excluded.manifest_ref, deleted = excluded.deleted, compiler_options = excluded.compiler_options",
    .params = "ttitit",
    .columns = "",
    .write = true};
static const struct assay_stmt project_agent = {
    .name = "submissions.project_agent",
    .sql = "INSERT INTO submissions_agents (id, owner_id, deleted) VALUES ($1, $2, $3)"
           " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, deleted = excluded.deleted",
    .params = "tti",
    .columns = "",
    .write = true};

static const struct assay_stmt stream_benchmark_stmt = {.name = "submissions.stream_benchmark",
                                                        .sql = "SELECT owner_id, visibility FROM submissions_benchmarks WHERE id = $1",
                                                        .params = "t",
                                                        .columns = "ti"};
const struct assay_stmt *const submissions_statements[SUBMISSIONS_STATEMENTS] = {
    &stream_benchmark_stmt, &problem_options, &turn_choose_stmt, &turn_lease_stmt, &turn_served_stmt, &turn_astray_stmt,
    &line_wake_stmt, &line_back_stmt, &line_add_stmt, &line_mend_stmt, &lines_idle_stmt, &queue_heads_stmt, &queue_line_stmt,
    &insert_stmt,    &insert_jury,   &insert_task,   &insert_bytes,    &facts_benchmark,   &facts_problem,   &facts_agent,
    &get_stmt,       &list_owner,    &list_agent,      &list_benchmark,    &list_all,        &bytes_stmt,
    &output_stmt,    &output_set,    &cancel_queued, &cancel_running,  &delete_ended,      &rejudge_stmt,
    &held_stmt,      &orphans_stmt,  &leased_here_stmt, &end_stmt,        &requeue_stmt,      &progress_stmt,   &project_benchmark,
    &project_problem, &project_agent, &instance_beat_stmt, &instance_home_stmt, &instance_gone_stmt, &instance_leave_stmt,
    &instances_stmt,  &away_stmt,     &cancels_stmt,   &away_renew_stmt,   &away_over_stmt,  &away_held_stmt,
    &count_queued_stmt, &place_stmt, &manifest_again_stmt,
    &message_insert,  &message_find,  &message_again,  &message_attach,    &message_release, &message_cancel, &message_look,
    &message_answered, &message_old,  &message_prune,  &message_prune_row, &message_prune_bytes,
    &retention_due, &retention_upload_mark, &retention_upload_gone, &retention_log_mark, &retention_log_gone, &upload_given,
    &upload_taken, &retention_unconfirmed, &retention_unconfirmed_mark, &retention_unconfirmed_gone,
    &project_insert, &project_by_file, &project_get, &project_mine, &key_put, &key_get,
    &rejudging_get_stmt, &rejudging_list_stmt, &rejudging_progress_stmt, &rejudging_changes_stmt,
    &rejudging_add_stmt, &rejudge_find_stmt, &rejudge_item_stmt, &rejudge_copy_stmt,
    &rejudge_bytes_stmt, &rejudging_move_stmt, &rejudge_due_stmt, &rejudge_take_stmt,
    &rejudge_outcome_stmt, &rejudge_copies_stmt, &rejudge_drop_stmt, &rejudge_drop_bytes_stmt,
    &rejudge_forget_stmt, &rejudge_outcomes_stmt,
    ASSAY_IDEM_STMTS(submissions_idem),
};

/* ---- writing ------------------------------------------------------------------------------------- */

static int tx_check(const struct assay_tx *tx, struct assay_err *err)
{
    return tx == NULL || tx->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for the transaction") : ASSAY_OK;
}

static struct assay_str or_empty(struct assay_str s)
{
    return s.p == NULL ? ASSAY_STR("") : s;
}

int repo_insert(struct assay_tx *tx, const struct draft *d, struct assay_err *err)
{
    if (tx == NULL)
        return tx_check(tx, err);
    struct assay_str source_ref = or_empty(d->source_ref), payload_ref = or_empty(d->payload_ref);
    struct assay_str request_id = or_empty(d->request_id), traceparent = or_empty(d->traceparent);
    if (d->kind != ASSAY_JOB_BENCHMARK) {
        ASSAY_TX(tx, &insert_task, ASSAY_EXPECT_ONE, ASSAY_VZ(d->id), ASSAY_VT(d->owner_id), ASSAY_VT(d->language),
                 ASSAY_VI(d->source_kind), ASSAY_VT(source_ref), ASSAY_VT(payload_ref), ASSAY_VT(request_id),
                 ASSAY_VT(traceparent), ASSAY_VI(d->now_ms), ASSAY_VT(or_empty(d->agent_id)),
                 ASSAY_VT(d->submitter), ASSAY_VI((int64_t)draft_bytes(d)), ASSAY_VI(d->kind), ASSAY_VT(or_empty(d->options_text)));
    } else if (d->jury) {
        ASSAY_TX(tx, &insert_jury, ASSAY_EXPECT_ONE, ASSAY_VZ(d->id), ASSAY_VT(d->benchmark_id), ASSAY_VT(or_empty(d->problem_id)),
                 ASSAY_VT(d->owner_id), ASSAY_VT(or_empty(d->language)), ASSAY_VI(d->source_kind), ASSAY_VT(source_ref),
                 ASSAY_VT(request_id), ASSAY_VT(traceparent), ASSAY_VI(d->now_ms), ASSAY_VI(d->staff ? 1 : 0),
                 ASSAY_VT(d->submitter), ASSAY_VI((int64_t)draft_bytes(d)), ASSAY_VT(or_empty(d->options_text)));
    } else {
        struct assay_str language = assay_arena_fmt(tx->arena, " %.*s ", ASSAY_FMT(d->language));
        struct assay_str agent = assay_arena_fmt(tx->arena, " %.*s ", ASSAY_FMT(d->agent_id));
        if (language.p == NULL || agent.p == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        ASSAY_TX(tx, &insert_stmt, ASSAY_EXPECT_ONE, ASSAY_VZ(d->id), ASSAY_VT(d->benchmark_id),
                 ASSAY_VT(or_empty(d->problem_id)), ASSAY_VT(d->agent_id), ASSAY_VT(d->owner_id),
                 ASSAY_VT(or_empty(d->language)), ASSAY_VI(d->source_kind), ASSAY_VT(source_ref), ASSAY_VT(payload_ref),
                 ASSAY_VT(request_id), ASSAY_VT(traceparent), ASSAY_VI(d->now_ms), ASSAY_VI(d->staff ? 1 : 0),
                 ASSAY_VT(language), ASSAY_VT(agent), ASSAY_VI(d->has_payload ? 1 : 0), ASSAY_VT(d->submitter),
                 ASSAY_VI((int64_t)draft_bytes(d)), ASSAY_VT(or_empty(d->options_text)));
    }
    bool source = d->source_kind != SOURCE_NONE && source_ref.n == 0;
    bool payload = d->has_payload && payload_ref.n == 0;
    if (source || payload)
        ASSAY_TX(tx, &insert_bytes, ASSAY_EXPECT_ONE, ASSAY_VZ(d->id),
                 source ? ASSAY_VB(or_empty(d->source)) : ASSAY_VNULL, payload ? ASSAY_VB(or_empty(d->payload)) : ASSAY_VNULL);
    struct assay_event ev = {.topic = ASSAY_STR("submission.created"),
                             .subject = assay_str(d->id),
                             .owner = d->owner_id,
                             .benchmark = or_empty(d->benchmark_id)};
    int rc = created_encode(d, tx->arena, &ev.payload, err);
    if (rc < 0)
        return rc;
    assay_tx_event(tx, ev);
    turns_queued(tx, assay_str(d->id));
    return tx_check(tx, err);
}

static void leave(struct submissions *s, const struct assay_val *c)
{
    struct place place = repo_place_read(c);
    admission_leave(s->admission, &place);
}

/* A row's change by a person, with its event. When the statement returns a place, the row has left the queue. */
static int change(struct submissions *s, const struct view *v, const struct assay_stmt *stmt, bool third, int64_t deleted_ms,
                  const char *topic, const char *reason, const struct assay_request *rq, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, stmt->name) : NULL;
    if (tx == NULL)
        return tx_check(tx, err);
    int64_t now = s->host->now_ms(s->host->ctx);
    struct assay_val args[] = {ASSAY_VT(v->id), ASSAY_VI(now), deleted_ms != 0 ? ASSAY_VI(deleted_ms) : ASSAY_VNULL};
    assay_tx_add(tx, stmt, ASSAY_EXPECT_ONE, args, third ? 3 : 2);
    if (!assay_str_eq(rq->who->user_id, v->owner_id) || stmt == &rejudge_stmt) /* what one does with one's own is nobody's concern */
        assay_audit(tx, rq, v->id, ASSAY_STR(""));
    if (topic != NULL) {
        struct assay_event ev = {
            .topic = assay_str(topic), .subject = v->id, .owner = v->owner_id, .benchmark = or_empty(v->benchmark_id)};
        int rc = reason_encode(assay_str(reason), 0, arena, &ev.payload, err);
        if (rc < 0)
            return rc;
        assay_tx_event(tx, ev);
    }
    if (stmt == &rejudge_stmt)
        turns_queued(tx, v->id);
    int rc = tx_check(tx, err);
    admission_begin(s->admission);
    if (rc >= 0)
        rc = assay_store_exec(s->host->store, tx, err);
    if (rc >= 0 && stmt->columns[0] != '\0')
        leave(s, tx->op[0].rows.row[0].col);
    admission_end(s->admission);
    return rc;
}

int repo_cancel_queued(struct submissions *s, const struct view *v, const struct assay_request *rq, struct assay_err *err)
{
    return change(s, v, &cancel_queued, false, 0, "submission.cancelled", "asked for", rq, err);
}

int repo_cancel_running(struct submissions *s, const struct view *v, bool and_delete, const struct assay_request *rq, struct assay_err *err)
{
    return change(s, v, &cancel_running, true, and_delete ? s->host->now_ms(s->host->ctx) : 0, NULL, NULL, rq, err);
}

int repo_delete_ended(struct submissions *s, const struct view *v, const struct assay_request *rq, struct assay_err *err)
{
    return change(s, v, &delete_ended, false, 0, "submission.deleted", "asked for", rq, err);
}

int repo_rejudge(struct submissions *s, const struct view *v, const struct assay_request *rq, struct assay_err *err)
{
    return change(s, v, &rejudge_stmt, false, 0, "submission.queued", "rejudge", rq, err);
}

/* ---- reading ------------------------------------------------------------------------------------- */

int repo_facts(struct submissions *s, const struct draft *d, struct assay_arena *arena, struct facts *out,
               struct assay_err *err)
{
    struct assay_rows rows;
    memset(out, 0, sizeof *out);
    int rc = ASSAY_QUERY(s->host->store, &facts_benchmark, arena, &rows, err, ASSAY_VT(d->benchmark_id));
    if (rc < 0)
        return rc;
    if (rows.n != 0) {
        const struct assay_val *c = rows.row[0].col;
        out->benchmark = true;
        out->benchmark_owner = c[0].s;
        out->visibility = c[1].i;
        out->starts_ms = c[2].i;
        out->ends_ms = c[3].i;
        out->benchmark_languages = c[4].s;
        out->benchmark_entrants = c[5].s;
        out->benchmark_deleted = c[6].i != 0;
        out->problem_count = c[7].i;
        out->mode = c[8].i;
    }
    if (d->problem_id.n != 0) {
        rc = ASSAY_QUERY(s->host->store, &facts_problem, arena, &rows, err, ASSAY_VT(d->problem_id));
        if (rc < 0)
            return rc;
        if (rows.n != 0) {
            const struct assay_val *c = rows.row[0].col;
            out->problem = true;
            out->problem_benchmark = c[0].s;
            out->mode = c[1].i;
            out->problem_deleted = c[2].i != 0;
        }
    }
    rc = ASSAY_QUERY(s->host->store, &facts_agent, arena, &rows, err, ASSAY_VT(d->agent_id));
    if (rc < 0)
        return rc;
    if (rows.n != 0) {
        out->agent = true;
        out->agent_owner = rows.row[0].col[0].s;
        out->agent_deleted = rows.row[0].col[1].i != 0;
    }
    return ASSAY_OK;
}

int repo_problem_options(struct submissions *s, const struct draft *d, struct assay_arena *arena, struct assay_json_array *out,
                         bool *known, struct assay_err *err)
{
    struct assay_rows rows;
    *out = (struct assay_json_array){NULL, 0};
    *known = false;
    int rc = ASSAY_QUERY(s->host->store, &problem_options, arena, &rows, err, ASSAY_VT(d->benchmark_id),
                         ASSAY_VT(or_empty(d->problem_id)));
    if (rc < 0 || rows.n == 0)
        return rc;
    *known = true;
    return assay_manifest_options_decode(rows.row[0].col[0].s, arena, out, err);
}

const char *const projected_topics[] = {"benchmark.changed", "problem.changed", "agent.changed", NULL};

int repo_catch_up(struct submissions *s, int64_t max_ms, struct assay_err *err)
{
    return assay_store_catch_up(s->host->store, ASSAY_STR(SUBMISSIONS_GROUP), projected_topics, max_ms, err);
}

struct viewer viewer_of(const struct assay_principal *who)
{
    return (struct viewer){.user_id = or_empty(who->user_id),
                           .agent_id = or_empty(who->agent_id),
                           .staff = assay_is_staff(who) && who->agent_id.n == 0};
}

static void view_read(const struct assay_val *c, struct view *v)
{
    *v = (struct view){.id = c[0].s,
                       .kind = c[1].i,
                       .benchmark_id = c[2].s,
                       .problem_id = c[3].s,
                       .agent_id = c[4].s,
                       .owner_id = c[5].s,
                       .language = c[6].s,
                       .state = c[7].s,
                       .has_verdict = c[8].type != ASSAY_VAL_NULL,
                       .verdict = c[8].s,
                       .has_score = c[9].type != ASSAY_VAL_NULL,
                       .score = c[9].r,
                       .summary = c[10].s,
                       .attempts = c[11].i,
                       .cancel_requested = c[12].i != 0,
                       .created_ms = c[13].i,
                       .updated_ms = c[14].i,
                       .finished_ms = c[15].i,
                       .request_id = c[16].s,
                       .compiler_options = c[17].s};
}

int repo_get(struct submissions *s, const struct viewer *v, struct assay_str id, struct assay_arena *arena,
             struct view *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &get_stmt, arena, &rows, err, ASSAY_VT(v->user_id), ASSAY_VI(v->staff ? 1 : 0),
                         ASSAY_VT(v->agent_id), ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such submission of yours");
    view_read(rows.row[0].col, out);
    return ASSAY_OK;
}

int repo_list(struct submissions *s, const struct viewer *v, const struct list_filter *f, struct assay_arena *arena,
              struct view **out, size_t *n, struct assay_err *err)
{
    const struct assay_stmt *stmt = f->agent_id.n != 0       ? &list_agent
                                    : !v->staff              ? &list_owner
                                    : f->benchmark_id.n != 0 ? &list_benchmark
                                                             : &list_all;
    struct assay_rows rows;
    /* '~' sorts behind every UUID */
    struct assay_str before = f->before.n != 0 ? f->before : ASSAY_STR("~");
    int rc = ASSAY_QUERY(s->host->store, stmt, arena, &rows, err, ASSAY_VT(v->user_id), ASSAY_VI(v->staff ? 1 : 0),
                         ASSAY_VT(v->agent_id), ASSAY_VT(before), ASSAY_VI(f->limit), ASSAY_VT(or_empty(f->status)),
                         ASSAY_VT(or_empty(f->verdict)), ASSAY_VI(f->since_ms), ASSAY_VT(or_empty(f->benchmark_id)),
                         ASSAY_VT(or_empty(f->problem_id)), ASSAY_VT(or_empty(f->agent_id)));
    if (rc < 0)
        return rc;
    struct view *list = assay_arena_array(arena, rows.n != 0 ? rows.n : 1, sizeof *list);
    if (list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows.n; i++)
        view_read(rows.row[i].col, &list[i]);
    *out = list;
    *n = rows.n;
    return ASSAY_OK;
}

/* One part of a submission: the row's own bytes, or a blob's. NULL when it was sent without. */
static int part_read(struct submissions *s, const struct assay_val *own, struct assay_str ref, struct assay_arena *arena,
                     struct assay_str *out, struct assay_err *err)
{
    *out = own->type == ASSAY_VAL_BLOB ? or_empty(own->s) : ASSAY_STR_NULL;
    return ref.n == 0 ? ASSAY_OK : assay_blob_get(s->host->blobs, ref, PART_READ_MAX, arena, out, err);
}

int repo_sent(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct sent *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &bytes_stmt, arena, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such submission of yours");
    const struct assay_val *c = rows.row[0].col;
    out->source_kind = (int)c[0].i;
    rc = part_read(s, &c[3], c[1].s, arena, &out->source, err);
    if (rc >= 0)
        rc = part_read(s, &c[4], c[2].s, arena, &out->payload, err);
    /* the caller asked for what the row says is there: a missing blob is a fault of ours */
    return rc == ASSAY_E_NOT_FOUND ? assay_err_set(err, ASSAY_E_CORRUPT, "a part of submission %.*s is not stored", ASSAY_FMT(id)) : rc;
}

int repo_output(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct assay_str *out,
                struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &output_stmt, arena, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    *out = rows.n != 0 && rows.row[0].col[0].type == ASSAY_VAL_BLOB ? rows.row[0].col[0].s : ASSAY_STR("");
    return ASSAY_OK;
}

static void held_read(const struct assay_val *c, struct held *h)
{
    *h = (struct held){.id = c[0].s,
                       .owner_id = c[1].s,
                       .benchmark_id = c[2].s,
                       .problem_id = c[3].s,
                       .agent_id = c[4].s,
                       .state = c[5].s,
                       .fence = c[6].i,
                       .attempts = c[7].i,
                       .interruptions = c[8].i,
                       .created_ms = c[9].i,
                       .cancel_requested = c[10].i != 0};
}

int repo_held(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct held *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &held_stmt, arena, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no submission %.*s", ASSAY_FMT(id));
    held_read(rows.row[0].col, out);
    return ASSAY_OK;
}

static int held_list(const struct assay_rows *rows, struct assay_arena *arena, struct held **out, size_t *n, struct assay_err *err)
{
    struct held *list = assay_arena_array(arena, rows->n != 0 ? rows->n : 1, sizeof *list);
    if (list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows->n; i++)
        held_read(rows->row[i].col, &list[i]);
    *out = list;
    *n = rows->n;
    return ASSAY_OK;
}

int repo_orphans(struct submissions *s, size_t max, struct assay_arena *arena, struct held **out, size_t *n,
                 struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &orphans_stmt, arena, &rows, err, ASSAY_VI((int64_t)max));
    return rc < 0 ? rc : held_list(&rows, arena, out, n, err);
}

int repo_leased_here(struct submissions *s, size_t max, struct assay_arena *arena, struct held **out, size_t *n,
                     struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &leased_here_stmt, arena, &rows, err, ASSAY_VZ(s->host->instance_id), ASSAY_VI((int64_t)max));
    return rc < 0 ? rc : held_list(&rows, arena, out, n, err);
}

/* ---- leased work ---------------------------------------------------------------------------------- */

struct assay_job repo_job(const struct assay_val *c)
{
    return (struct assay_job){.submission_id = c[0].s,
                              .kind = (int)c[1].i,
                              .benchmark_id = c[2].s,
                              .problem_id = c[3].s,
                              .agent_id = c[4].s,
                              .owner_id = c[5].s,
                              .language = c[6].s,
                              .files = c[7].i == SOURCE_FILES,
                              .source_ref = c[8].s,
                              .payload_ref = c[9].s,
                              .manifest_ref = c[10].s,
                              .traceparent = c[11].s,
                              .request_id = c[12].s,
                              .fence = c[13].i,
                              .attempt = c[14].i + 1,
                              .created_ms = c[15].i,
                              .interruptions = c[16].i};
}

static struct assay_event event_of(const struct held *h, const char *topic)
{
    return (struct assay_event){.topic = assay_str(topic),
                                .subject = h->id,
                                .owner = or_empty(h->owner_id),
                                .benchmark = or_empty(h->benchmark_id)};
}

int repo_end(struct submissions *s, struct assay_tx *tx, const struct held *h, const struct ending *e, int64_t now_ms,
             struct assay_err *err)
{
    (void)s;
    if (tx == NULL)
        return tx_check(tx, err);
    struct assay_str summary = e->summary.n != 0 && e->summary.n <= SUMMARY_MAX ? e->summary : ASSAY_STR("{}");
    bool cancelled = assay_str_is(e->state, "cancelled");
    bool scored = !cancelled && !assay_str_is(e->verdict, "IE");
    ASSAY_TX(tx, &end_stmt, ASSAY_EXPECT_ONE, ASSAY_VT(h->id), ASSAY_VI(h->fence), ASSAY_VT(e->state),
             cancelled ? ASSAY_VNULL : ASSAY_VT(e->verdict), scored ? ASSAY_VR(e->score) : ASSAY_VNULL, ASSAY_VT(summary),
             ASSAY_VT_OR_NULL(e->reason), ASSAY_VI(e->charge ? 1 : 0), ASSAY_VI(now_ms), ASSAY_VT(h->state));
    if (e->output.n != 0) {
        struct assay_str kept = {e->output.p, e->output.n > OUTPUT_MAX && !e->whole ? OUTPUT_MAX : e->output.n};
        ASSAY_TX(tx, &output_set, ASSAY_EXPECT_ONE, ASSAY_VT(h->id), ASSAY_VB(kept));
    }
    struct assay_event ev = event_of(h, cancelled ? "submission.cancelled" : "submission.done");
    int rc;
    if (cancelled) {
        rc = reason_encode(e->reason, 0, tx->arena, &ev.payload, err);
    } else {
        struct assay_ev_done done = {.problem_id = or_empty(h->problem_id),
                                     .agent_id = or_empty(h->agent_id),
                                     .owner_id = or_empty(h->owner_id),
                                     .benchmark_id = or_empty(h->benchmark_id),
                                     .verdict = e->verdict,
                                     .score = scored ? e->score : 0,
                                     .attempt = h->attempts + 1,
                                     .created_ms = h->created_ms,
                                     .finished_ms = now_ms,
                                     .summary = summary};
        struct assay_buf buf = ASSAY_BUF_INIT;
        rc = assay_ev_done_encode(&done, &buf, err);
        if (rc >= 0)
            ev.payload = assay_arena_take(tx->arena, &buf);
        if (rc >= 0 && ev.payload.p == NULL)
            rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        assay_buf_free(&buf);
    }
    if (rc < 0)
        return rc;
    assay_tx_event(tx, ev);
    return tx_check(tx, err);
}

int repo_requeue(struct submissions *s, struct assay_tx *tx, const struct held *h, bool charge, bool interrupted,
                 struct assay_str reason, int64_t now_ms, struct assay_err *err)
{
    (void)s;
    if (tx == NULL)
        return tx_check(tx, err);
    ASSAY_TX(tx, &requeue_stmt, ASSAY_EXPECT_ONE, ASSAY_VT(h->id), ASSAY_VI(h->fence), ASSAY_VT_OR_NULL(reason),
             ASSAY_VI(charge ? 1 : 0), ASSAY_VI(interrupted ? 1 : 0), ASSAY_VI(now_ms));
    turns_returned(tx, h->id);
    struct assay_event ev = event_of(h, "submission.queued");
    int rc = reason_encode(reason, h->attempts + (charge ? 2 : 1), tx->arena, &ev.payload, err);
    if (rc < 0)
        return rc;
    assay_tx_event(tx, ev);
    return tx_check(tx, err);
}

int repo_progress(struct submissions *s, struct assay_tx *tx, const struct held *h, const char *topic,
                  struct assay_str payload, int64_t now_ms, struct assay_err *err)
{
    (void)s;
    if (tx == NULL)
        return tx_check(tx, err);
    /* one guard is enough for all the news of a transaction */
    bool guarded = false;
    for (size_t i = 0; i < tx->n_ops; i++)
        guarded = guarded || ((tx->op[i].stmt == &progress_stmt || tx->op[i].stmt == &end_stmt) &&
                              assay_str_eq(tx->op[i].args[0].s, h->id));
    if (!guarded)
        ASSAY_TX(tx, &progress_stmt, ASSAY_EXPECT_ONE, ASSAY_VT(h->id), ASSAY_VI(h->fence), ASSAY_VI(now_ms));
    struct assay_event ev = event_of(h, topic);
    ev.payload = payload.n != 0 ? payload : ASSAY_STR("{}");
    assay_tx_event(tx, ev);
    return tx_check(tx, err);
}

/* ---- projections ----------------------------------------------------------------------------------- */

/* ' a b c ' or '' */
static int words(struct submissions *s, const struct assay_strs *list, bool languages, struct assay_arena *arena,
                 struct assay_str *out, struct assay_err *err)
{
    struct assay_buf buf = ASSAY_BUF_INIT;
    for (size_t i = 0; i < list->n; i++) {
        struct assay_str word = list->items[i], canonical;
        struct assay_err ignored;
        /* a name that this machine does not know stays as it is: another runner may know it */
        if (languages && languages_resolve(s, word, &canonical, &ignored) != ASSAY_E_NOT_FOUND)
            word = canonical;
        if (buf.n == 0)
            assay_buf_putc(&buf, ' ');
        assay_buf_str(&buf, word);
        assay_buf_putc(&buf, ' ');
    }
    *out = buf.n != 0 ? assay_arena_take(arena, &buf) : ASSAY_STR("");
    bool failed = buf.failed || out->p == NULL;
    assay_buf_free(&buf);
    return failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

int repo_stream_benchmark(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct stream_benchmark *out,
                          struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &stream_benchmark_stmt, arena, &rows, err, ASSAY_VT(id));
    *out = (struct stream_benchmark){.known = rc >= 0 && rows.n != 0};
    if (out->known) {
        out->owner_id = rows.row[0].col[0].s;
        out->visibility = rows.row[0].col[1].i;
    }
    return rc;
}

int repo_project(struct submissions *s, const struct assay_event_row *row, struct assay_tx *tx, struct assay_err *err)
{
    const struct assay_event *ev = &row->ev;
    struct assay_arena *arena = tx->arena;
    struct assay_str id = assay_arena_str(arena, ev->subject);
    if (id.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = ASSAY_OK;
    if (assay_str_is(ev->topic, "benchmark.changed")) {
        struct assay_ev_benchmark b;
        memset(&b, 0, sizeof b);
        struct assay_str languages, entrants;
        rc = assay_ev_benchmark_decode(ev->payload, arena, &b, err);
        if (rc >= 0)
            rc = words(s, &b.languages, true, arena, &languages, err);
        if (rc >= 0)
            rc = words(s, &b.entrants, false, arena, &entrants, err);
        if (rc < 0)
            return rc;
        ASSAY_TX(tx, &project_benchmark, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(b.owner_id)),
                 ASSAY_VI(b.visibility), ASSAY_VI(b.feedback), ASSAY_VI(b.starts_ms), ASSAY_VI(b.ends_ms),
                 ASSAY_VT(languages), ASSAY_VT(entrants), ASSAY_VI(b.deleted ? 1 : 0),
                 ASSAY_VI(b.priority != 0 ? b.priority : ASSAY_PRIORITY_DEFAULT));
        turns_line(tx, id);
    } else if (assay_str_is(ev->topic, "problem.changed")) {
        struct assay_ev_problem p;
        memset(&p, 0, sizeof p);
        rc = assay_ev_problem_decode(ev->payload, arena, &p, err);
        if (rc < 0)
            return rc;
        ASSAY_TX(tx, &project_problem, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(p.benchmark_id)),
                 ASSAY_VI(p.mode), ASSAY_VT(or_empty(p.manifest_ref)), ASSAY_VI(p.deleted ? 1 : 0),
                 ASSAY_VT(or_empty(p.compiler_options)));
    } else if (assay_str_is(ev->topic, "agent.changed")) {
        struct assay_ev_agent a;
        memset(&a, 0, sizeof a);
        rc = assay_ev_agent_decode(ev->payload, arena, &a, err);
        if (rc < 0)
            return rc;
        ASSAY_TX(tx, &project_agent, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(or_empty(a.owner_id)),
                 ASSAY_VI(a.deleted ? 1 : 0));
    }
    return tx_check(tx, err);
}
