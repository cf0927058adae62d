/*
 * The SQL of sets of submissions that are judged again.
 *
 * A copy of a submission has its program, problem and benchmark, no agent, and the staff member who asked as its owner: scoring
 * passes over what has no agent, so nothing that happens to a copy reaches a board.  It waits behind everybody (class 1 of turns.h, which the column priority holds).
 *
 * Applying is a walk over the set in transactions of REJUDGE_CHUNK, each guarded by the fence that the submission had when the set
 * was made: one that was judged again by itself meanwhile keeps its later verdict.  It may be interrupted anywhere and asked for again.
 */
#include "rejudge.h"
#include "repo_turns.h"

#include <assay/audit.h>

#define SET_COLUMNS "id, benchmark_id, state, filter, reason, total, created_by, created_ms, ended_by, COALESCE(ended_ms, 0)"
#define SET_LETTERS "tttttititi"

const struct assay_stmt rejudging_get_stmt = {.name = "submissions.rejudging_get",
                                              .sql = "SELECT " SET_COLUMNS " FROM submissions_rejudgings WHERE id = $1",
                                              .params = "t",
                                              .columns = SET_LETTERS};
const struct assay_stmt rejudging_list_stmt = {
    .name = "submissions.rejudging_list",
    .sql = "SELECT " SET_COLUMNS " FROM submissions_rejudgings WHERE id < $1 ORDER BY id DESC LIMIT $2",
    .params = "ti",
    .columns = SET_LETTERS};
#define COPIES                                                                                                         \
    " FROM submissions_rejudged i LEFT JOIN submissions w ON w.id = i.copy_id AND w.state IN ('done', 'error')"
#define NEW_VERDICT "COALESCE(i.new_verdict, w.verdict)"
#define NEW_SCORE "COALESCE(i.new_score, w.score)"
#define DIFFERS                                                                                                        \
    "(" NEW_VERDICT " IS NOT NULL AND (" NEW_VERDICT " <> i.old_verdict OR COALESCE(" NEW_SCORE ", -1) <> COALESCE(i.old_score, -1)))"
const struct assay_stmt rejudging_progress_stmt = {
    .name = "submissions.rejudging_progress",
    .sql = "SELECT COUNT(" NEW_VERDICT "), COUNT(CASE WHEN " DIFFERS " THEN 1 END), COUNT(CASE WHEN " NEW_VERDICT " = 'IE' THEN 1 END)" COPIES
           " WHERE i.rejudging_id = $1",
    .params = "t",
    .columns = "iii"};
const struct assay_stmt rejudging_changes_stmt = {
    .name = "submissions.rejudging_changes",
    .sql = "SELECT i.submission_id, i.copy_id, s.agent_id, s.problem_id, i.old_verdict, " NEW_VERDICT ", i.outcome, i.old_score, " NEW_SCORE
           " FROM submissions_rejudged i JOIN submissions s ON s.id = i.submission_id"
           " LEFT JOIN submissions w ON w.id = i.copy_id AND w.state IN ('done', 'error')"
           " WHERE i.rejudging_id = $1 AND i.submission_id > $2 AND (CAST($3 AS BIGINT) = 1 OR " DIFFERS
           ") ORDER BY i.submission_id LIMIT $4",
    .params = "ttii",
    .columns = "tttttttrr"};
const struct assay_stmt rejudging_add_stmt = {
    .name = "submissions.rejudging_add",
    .sql = "INSERT INTO submissions_rejudgings (id, benchmark_id, state, filter, reason, total, created_by, created_ms)"
           " VALUES ($1, $2, 'making', $3, $4, 0, $5, $6)",
    .params = "ttttti",
    .columns = "",
    .write = true};
const struct assay_stmt rejudge_find_stmt = {
    .name = "submissions.rejudge_find",
    .sql = "SELECT s.id FROM submissions s WHERE s.benchmark_id = $1 AND s.id > $2 AND s.kind = 0 AND s.rejudging_id = ''"
           " AND s.deleted_ms IS NULL AND s.state IN ('done', 'error') AND (CAST($3 AS TEXT) = '' OR s.problem_id = $3)"
           " AND (CAST($4 AS TEXT) = '' OR s.agent_id = $4) AND (CAST($5 AS TEXT) = '' OR s.id = $5)"
           " AND (CAST($6 AS TEXT) = '' OR s.verdict = $6) AND (CAST($7 AS TEXT) = '' OR s.language = $7)"
           " AND s.created_ms >= $8 AND (CAST($9 AS BIGINT) = 0 OR s.created_ms < $9) ORDER BY s.id LIMIT $10",
    .params = "tttttttiii",
    .columns = "t"};
const struct assay_stmt rejudge_item_stmt = {
    .name = "submissions.rejudge_item",
    .sql = "INSERT INTO submissions_rejudged (rejudging_id, submission_id, copy_id, fence, old_verdict, old_score)"
           " SELECT CAST($1 AS TEXT), s.id, CAST($3 AS TEXT), s.fence, COALESCE(s.verdict, ''), s.score FROM submissions s"
           " WHERE s.id = $2 AND s.deleted_ms IS NULL AND s.state IN ('done', 'error') ON CONFLICT DO NOTHING",
    .params = "ttt",
    .columns = "",
    .write = true};
/* $1 the copy, $2 who asked, $3 request id, $4 now */
const struct assay_stmt rejudge_copy_stmt = {
    .name = "submissions.rejudge_copy",
    .sql = "INSERT INTO submissions (id, kind, benchmark_id, problem_id, agent_id, owner_id, language, source_kind, source_ref,"
           " payload_ref, state, request_id, traceparent, created_ms, updated_ms, submitter, bytes, priority, turn, rejudging_id,"
           " compiler_options)"
           " SELECT i.copy_id, 0, s.benchmark_id, s.problem_id, '', CAST($2 AS TEXT), s.language, s.source_kind, s.source_ref,"
           " s.payload_ref, 'queued', '', '', CAST($3 AS BIGINT), CAST($3 AS BIGINT), CAST($2 AS TEXT), s.bytes, 1,"
           " " DUE("CAST($2 AS TEXT)", "s.benchmark_id", "1") ", i.rejudging_id, s.compiler_options"
           " FROM submissions_rejudged i JOIN submissions s ON s.id = i.submission_id WHERE i.copy_id = $1",
    .params = "tti",
    .columns = "",
    .write = true};
const struct assay_stmt rejudge_bytes_stmt = {
    .name = "submissions.rejudge_bytes",
    .sql = "INSERT INTO submissions_sources (submission_id, source, payload) SELECT i.copy_id, x.source, x.payload"
           " FROM submissions_rejudged i JOIN submissions_sources x ON x.submission_id = i.submission_id WHERE i.copy_id = $1",
    .params = "t",
    .columns = "",
    .write = true};
const struct assay_stmt rejudging_move_stmt = {
    .name = "submissions.rejudging_move",
    .sql = "UPDATE submissions_rejudgings SET state = $4, ended_by = CASE WHEN CAST($6 AS TEXT) = '' THEN ended_by ELSE $6 END,"
           " ended_ms = CASE WHEN CAST($6 AS TEXT) = '' THEN ended_ms ELSE $7 END, total = CASE WHEN state = 'making' THEN"
           " (SELECT COUNT(*) FROM submissions_rejudged i WHERE i.rejudging_id = submissions_rejudgings.id) ELSE total END"
           " WHERE id = $1 AND state IN ($2, $3) AND (CAST($5 AS BIGINT) = 0 OR NOT EXISTS (SELECT 1 FROM submissions w"
           " JOIN submissions_rejudged i ON i.copy_id = w.id WHERE i.rejudging_id = $1 AND w.state IN ('queued', 'running')))",
    .params = "ttttiti",
    .columns = "",
    .write = true};
const struct assay_stmt rejudge_due_stmt = {
    .name = "submissions.rejudge_due",
    .sql = "SELECT i.submission_id, i.copy_id, i.fence, COALESCE(w.verdict, 'IE'), COALESCE(w.score, 0), COALESCE(w.summary, '{}'), s.problem_id,"
           " s.agent_id, s.owner_id, s.benchmark_id, s.created_ms, s.attempts FROM submissions_rejudged i"
           " JOIN submissions s ON s.id = i.submission_id LEFT JOIN submissions w ON w.id = i.copy_id"
           " WHERE i.rejudging_id = $1 AND i.outcome = '' ORDER BY i.submission_id LIMIT $2",
    .params = "ti",
    .columns = "ttitrtttttii"};
const struct assay_stmt rejudge_take_stmt = {
    .name = "submissions.rejudge_take",
    .sql = "UPDATE submissions SET state = 'done', verdict = $3, score = $4, summary = $5, reason = NULL, updated_ms = $6, finished_ms = $6"
           " WHERE id = $1 AND fence = $2 AND state IN ('done', 'error') AND deleted_ms IS NULL",
    .params = "titrti",
    .columns = "",
    .write = true};
const struct assay_stmt rejudge_outcome_stmt = {
    .name = "submissions.rejudge_outcome",
    .sql = "UPDATE submissions_rejudged SET new_verdict = $3, new_score = $4, outcome = CASE WHEN $3 = 'IE' THEN 'kept'"
           " WHEN EXISTS (SELECT 1 FROM submissions s WHERE s.id = $2 AND s.fence = submissions_rejudged.fence AND s.state = 'done'"
           " AND s.deleted_ms IS NULL) THEN 'applied' ELSE 'overtaken' END WHERE rejudging_id = $1 AND submission_id = $2 AND outcome = ''",
    .params = "tttr",
    .columns = "",
    .write = true};
const struct assay_stmt rejudge_copies_stmt = {
    .name = "submissions.rejudge_copies",
    .sql = "SELECT i.copy_id, s.benchmark_id FROM submissions_rejudged i JOIN submissions s ON s.id = i.submission_id"
           " WHERE i.rejudging_id = $1 ORDER BY i.submission_id LIMIT $2",
    .params = "ti",
    .columns = "tt"};
const struct assay_stmt rejudge_drop_stmt = {.name = "submissions.rejudge_drop",
                                             .sql = "DELETE FROM submissions WHERE id = $1 AND rejudging_id <> ''",
                                             .params = "t",
                                             .columns = "",
                                             .write = true};
const struct assay_stmt rejudge_drop_bytes_stmt = {.name = "submissions.rejudge_drop_bytes",
                                                   .sql = "DELETE FROM submissions_sources WHERE submission_id = $1",
                                                   .params = "t",
                                                   .columns = "",
                                                   .write = true};
const struct assay_stmt rejudge_forget_stmt = {.name = "submissions.rejudge_forget",
                                               .sql = "DELETE FROM submissions_rejudged WHERE copy_id = $1",
                                               .params = "t",
                                               .columns = "",
                                               .write = true};

const struct assay_stmt rejudge_outcomes_stmt = {
    .name = "submissions.rejudge_outcomes",
    .sql = "SELECT outcome, COUNT(*) FROM submissions_rejudged WHERE rejudging_id = $1 GROUP BY outcome",
    .params = "t",
    .columns = "ti"};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static struct rejudging set_read(const struct assay_val *c)
{
    return (struct rejudging){.id = c[0].s, .benchmark_id = c[1].s, .state = c[2].s, .filter = c[3].s, .reason = c[4].s, .total = c[5].i,
                              .created_by = c[6].s, .created_ms = c[7].i, .ended_by = c[8].s, .ended_ms = c[9].i};
}

int repo_rejudging_get(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct rejudging *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &rejudging_get_stmt, arena, &rows, err, ASSAY_VT(id));
    if (rc >= 0 && rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such rejudging");
    if (rc >= 0)
        *out = set_read(rows.row[0].col);
    return rc;
}

int repo_rejudging_list(struct submissions *s, struct assay_str before, int64_t limit, struct assay_arena *arena, struct rejudging **out,
                        size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &rejudging_list_stmt, arena, &rows, err, ASSAY_VT(before.n != 0 ? before : ASSAY_STR("~")),
                         ASSAY_VI(limit));
    struct rejudging *list = rc < 0 ? NULL : assay_arena_array(arena, rows.n + 1, sizeof *list);
    if (rc < 0 || list == NULL)
        return rc < 0 ? rc : no_memory(err);
    for (size_t i = 0; i < rows.n; i++)
        list[i] = set_read(rows.row[i].col);
    *out = list;
    *n = rows.n;
    return ASSAY_OK;
}

int repo_rejudging_progress(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct rejudge_progress *out,
                            struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &rejudging_progress_stmt, arena, &rows, err, ASSAY_VT(id));
    if (rc >= 0)
        *out = (struct rejudge_progress){rows.row[0].col[0].i, rows.row[0].col[1].i, rows.row[0].col[2].i};
    return rc;
}

int repo_rejudging_changes(struct submissions *s, struct assay_str id, struct assay_str after, bool all, int64_t limit,
                           struct assay_arena *arena, struct rejudge_change **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &rejudging_changes_stmt, arena, &rows, err, ASSAY_VT(id), ASSAY_VT(after), ASSAY_VI(all ? 1 : 0),
                         ASSAY_VI(limit));
    struct rejudge_change *list = rc < 0 ? NULL : assay_arena_array(arena, rows.n + 1, sizeof *list);
    if (rc < 0 || list == NULL)
        return rc < 0 ? rc : no_memory(err);
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct rejudge_change){.submission_id = c[0].s, .copy_id = c[1].s, .agent_id = c[2].s, .problem_id = c[3].s,
                                          .old_verdict = c[4].s, .new_verdict = c[5].s, .outcome = c[6].s,
                                          .has_old = c[7].type != ASSAY_VAL_NULL, .old_score = c[7].r,
                                          .has_new = c[8].type != ASSAY_VAL_NULL, .new_score = c[8].r};
    }
    *out = list;
    *n = rows.n;
    return ASSAY_OK;
}

void repo_rejudging_add(struct assay_tx *tx, const struct rejudging *r)
{
    if (tx != NULL)
        ASSAY_TX(tx, &rejudging_add_stmt, ASSAY_EXPECT_ONE, ASSAY_VT(r->id), ASSAY_VT(r->benchmark_id), ASSAY_VT(r->filter),
                 ASSAY_VT(r->reason), ASSAY_VT(r->created_by), ASSAY_VI(r->created_ms));
}

static struct assay_str or_empty(struct assay_str s)
{
    return s.p == NULL ? ASSAY_STR("") : s;
}

int repo_rejudge_find(struct submissions *s, const struct rejudge_body *b, struct assay_str after, int64_t limit, struct assay_arena *arena,
                      struct assay_rows *out, struct assay_err *err)
{
    return ASSAY_QUERY(s->host->store, &rejudge_find_stmt, arena, out, err, ASSAY_VT(b->benchmark_id), ASSAY_VT(after),
                       ASSAY_VT(or_empty(b->problem_id)), ASSAY_VT(or_empty(b->agent_id)), ASSAY_VT(or_empty(b->submission_id)),
                       ASSAY_VT(or_empty(b->verdict)), ASSAY_VT(or_empty(b->language)), ASSAY_VI(b->since_ms), ASSAY_VI(b->until_ms),
                       ASSAY_VI(limit));
}

static struct assay_event event_of(const char *topic, struct assay_str subject, struct assay_str owner, struct assay_str benchmark, int if_op)
{
    return (struct assay_event){.topic = assay_str(topic), .subject = subject, .owner = owner, .benchmark = benchmark,
                                .payload = ASSAY_STR("{}"), .if_op = if_op};
}

int repo_rejudge_copy(struct submissions *s, const struct rejudging *r, const struct assay_rows *ids, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.rejudge_copy") : NULL;
    int64_t now = s->host->now_ms(s->host->ctx);
    for (size_t i = 0; tx != NULL && i < ids->n; i++) {
        char id[ASSAY_ID_SIZE];
        assay_id_new(id);
        struct assay_str copy = assay_arena_str(arena, assay_str(id));
        if (copy.p == NULL)
            return no_memory(err);
        int made = ASSAY_TX(tx, &rejudge_item_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(r->id), ASSAY_VT(ids->row[i].col[0].s), ASSAY_VT(copy));
        ASSAY_TX(tx, &rejudge_copy_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(copy), ASSAY_VT(r->created_by), ASSAY_VI(now));
        ASSAY_TX(tx, &rejudge_bytes_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(copy));
        turns_queued(tx, copy);
        assay_tx_event(tx, event_of("submission.queued", copy, r->created_by, r->benchmark_id, made + 1));
    }
    return tx == NULL || tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
}

int repo_rejudging_move(struct submissions *s, struct assay_str id, const char *from, const char *also, const char *to, bool judged,
                        struct assay_str by, const struct assay_request *rq, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.rejudging") : NULL;
    if (tx != NULL)
        ASSAY_TX(tx, &rejudging_move_stmt, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VZ(from), ASSAY_VZ(also), ASSAY_VZ(to),
                 ASSAY_VI(judged ? 1 : 0), ASSAY_VT(or_empty(by)), ASSAY_VI(s->host->now_ms(s->host->ctx)));
    if (rq != NULL)
        assay_audit(tx, rq, id, ASSAY_STR(""));
    return tx == NULL || tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
}

static void drop(struct assay_tx *tx, struct assay_str copy, struct assay_str benchmark)
{
    ASSAY_TX(tx, &rejudge_drop_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(copy));
    ASSAY_TX(tx, &rejudge_drop_bytes_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(copy));
    assay_tx_event(tx, event_of("rejudging.dropped", copy, ASSAY_STR(""), benchmark, 0));
    assay_tx_event(tx, event_of("submission.deleted", copy, ASSAY_STR(""), benchmark, 0));
}

/* The end of the copy as that of its submission: scoring takes it for a later verdict. */
static int took(struct assay_tx *tx, const struct assay_val *c, int64_t now, int op, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf buf = ASSAY_BUF_INIT;
    struct assay_ev_done done = {.problem_id = c[6].s, .agent_id = c[7].s, .owner_id = c[8].s, .benchmark_id = c[9].s, .verdict = c[3].s,
                                 .score = c[4].r, .attempt = c[11].i + 1, .created_ms = c[10].i, .finished_ms = now, .summary = c[5].s};
    int rc = assay_ev_done_encode(&done, &buf, err);
    if (rc < 0)
        return rc;
    struct assay_event ev = event_of("submission.done", c[0].s, c[8].s, c[9].s, op + 1);
    ev.payload = assay_arena_take(tx->arena, &buf);
    struct assay_event moved = event_of("rejudging.applied", c[0].s, c[8].s, c[9].s, op + 1);
    moved.payload = assay_arena_fmt(tx->arena, "{\"copy_id\":\"%.*s\",\"fence\":%lld,\"agent_id\":\"%.*s\",\"owner_id\":\"%.*s\"}",
                                    ASSAY_FMT(c[1].s), (long long)c[2].i, ASSAY_FMT(c[7].s), ASSAY_FMT(c[8].s));
    if (ev.payload.p == NULL || moved.payload.p == NULL)
        return no_memory(err);
    assay_tx_event(tx, moved);
    assay_tx_event(tx, ev);
    return ASSAY_OK;
}

int repo_rejudge_apply(struct submissions *s, struct assay_str id, bool *left, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.rejudge_apply") : NULL;
    struct assay_rows rows;
    if (tx == NULL)
        return no_memory(err);
    int rc = ASSAY_QUERY(s->host->store, &rejudge_due_stmt, arena, &rows, err, ASSAY_VT(id), ASSAY_VI(REJUDGE_CHUNK));
    int64_t now = s->host->now_ms(s->host->ctx);
    *left = rc >= 0 && rows.n > 0;
    for (size_t i = 0; rc >= 0 && i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        if (!assay_str_is(c[3].s, "IE")) { /* a fault of ours changes nobody's verdict */
            int op = ASSAY_TX(tx, &rejudge_take_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(c[0].s), ASSAY_VI(c[2].i), ASSAY_VT(c[3].s), ASSAY_VR(c[4].r),
                              ASSAY_VT(c[5].s), ASSAY_VI(now));
            rc = took(tx, c, now, op, err);
        }
        ASSAY_TX(tx, &rejudge_outcome_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(id), ASSAY_VT(c[0].s), ASSAY_VT(c[3].s), ASSAY_VR(c[4].r));
        drop(tx, c[1].s, c[9].s);
    }
    if (rc < 0 || !*left)
        return rc;
    return tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
}

int repo_rejudge_outcomes(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct assay_rows *out, struct assay_err *err)
{
    return ASSAY_QUERY(s->host->store, &rejudge_outcomes_stmt, arena, out, err, ASSAY_VT(id));
}

int repo_rejudge_drop(struct submissions *s, struct assay_str id, bool *left, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.rejudge_drop") : NULL;
    struct assay_rows rows;
    if (tx == NULL)
        return no_memory(err);
    int rc = ASSAY_QUERY(s->host->store, &rejudge_copies_stmt, arena, &rows, err, ASSAY_VT(id), ASSAY_VI(REJUDGE_CHUNK));
    *left = rc >= 0 && rows.n > 0;
    if (rc < 0 || !*left)
        return rc;
    for (size_t i = 0; i < rows.n; i++) {
        drop(tx, rows.row[i].col[0].s, rows.row[i].col[1].s);
        ASSAY_TX(tx, &rejudge_forget_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(rows.row[i].col[0].s));
    }
    return tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
}
