/* The SQL of the intake: messages, and what they hold. */
#include "intake.h"
#include "repo_turns.h"

#define PRUNE_AT_ONCE 60

const struct assay_stmt message_insert = {
    .name = "submissions.message_insert",
    .sql = "INSERT INTO submissions_messages (event_id, submission_id, broker, name, holder, received_ms)"
           " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (event_id) DO NOTHING",
    .params = "tttt" "ti",
    .columns = "",
    .write = true};
const struct assay_stmt message_find = {.name = "submissions.message_find",
                                        .sql = "SELECT submission_id FROM submissions_messages WHERE event_id = $1",
                                        .params = "t",
                                        .columns = "t"};
/* What was cancelled because the message was lost goes on where it was. */
const struct assay_stmt message_again = {
    .name = "submissions.message_again",
    .sql = "UPDATE submissions SET state = 'queued', turn = 0, cancel_requested = 0, reason = NULL, finished_ms = NULL, updated_ms = $2"
           " WHERE id = $1 AND state = 'cancelled' AND EXISTS (SELECT 1 FROM submissions_messages m"
           " WHERE m.submission_id = submissions.id AND m.holder = '' AND m.answered_ms IS NULL)",
    .params = "ti",
    .columns = "",
    .write = true};
const struct assay_stmt message_attach = {
    .name = "submissions.message_attach",
    .sql = "UPDATE submissions_messages SET holder = $2 WHERE submission_id = $1 AND answered_ms IS NULL",
    .params = "tt",
    .columns = "",
    .write = true};
const struct assay_stmt message_release = {
    .name = "submissions.message_release",
    .sql = "UPDATE submissions_messages SET holder = '' WHERE submission_id = $1 AND holder = $2",
    .params = "tt",
    .columns = "",
    .write = true};
const struct assay_stmt message_cancel = {
    .name = "submissions.message_cancel",
    .sql = "UPDATE submissions SET state = 'cancelled', reason = $3, updated_ms = $2, finished_ms = $2"
           " WHERE id = $1 AND state = 'queued' RETURNING submitter, benchmark_id, bytes",
    .params = "tit",
    .columns = "tti",
    .write = true};
const struct assay_stmt message_look = {
    .name = "submissions.message_look",
    .sql = "SELECT s.state, s.reason, s.request_id, m.answered_ms,"
           " CASE WHEN s.state IN ('done', 'error') THEN x.output END FROM submissions s"
           " JOIN submissions_messages m ON m.submission_id = s.id"
           " LEFT JOIN submissions_sources x ON x.submission_id = s.id WHERE s.id = $1",
    .params = "t",
    .columns = "tttib"};
const struct assay_stmt message_answered = {
    .name = "submissions.message_answered",
    .sql = "UPDATE submissions_messages SET answered_ms = $2 WHERE submission_id = $1 AND answered_ms IS NULL",
    .params = "ti",
    .columns = "",
    .write = true};
const struct assay_stmt message_old = {
    .name = "submissions.message_old",
    .sql = "SELECT m.submission_id FROM submissions_messages m JOIN submissions s ON s.id = m.submission_id"
           " WHERE m.received_ms < $1 AND s.state IN ('done', 'error', 'cancelled')"
           " ORDER BY m.received_ms, m.event_id LIMIT $2",
    .params = "ii",
    .columns = "t"};
const struct assay_stmt message_prune = {.name = "submissions.message_prune",
                                         .sql = "DELETE FROM submissions_messages WHERE submission_id = $1",
                                         .params = "t",
                                         .columns = "",
                                         .write = true};
const struct assay_stmt message_prune_row = {
    .name = "submissions.message_prune_row",
    .sql = "DELETE FROM submissions WHERE id = $1 AND state IN ('done', 'error', 'cancelled')",
    .params = "t",
    .columns = "",
    .write = true};
const struct assay_stmt message_prune_bytes = {.name = "submissions.message_prune_bytes",
                                               .sql = "DELETE FROM submissions_sources WHERE submission_id = $1",
                                               .params = "t",
                                               .columns = "",
                                               .write = true};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static int64_t now_ms(const struct submissions *s)
{
    return s->host->now_ms(s->host->ctx);
}

static int run(struct submissions *s, struct assay_tx *tx, struct assay_err *err)
{
    return tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
}

int repo_message_insert(struct submissions *s, const struct entry *e, const struct draft *d, struct assay_arena *arena,
                        struct assay_err *err)
{
    struct assay_tx *tx = assay_tx_new(arena, "submission.intake");
    if (tx == NULL)
        return no_memory(err);
    ASSAY_TX(tx, &message_insert, ASSAY_EXPECT_ONE, ASSAY_VZ(e->event_id), ASSAY_VZ(d->id), ASSAY_VZ(e->from->name),
             ASSAY_VT(e->name), ASSAY_VZ(e->hold), ASSAY_VI(d->now_ms));
    struct place place = {d->submitter, ASSAY_STR(""), (int64_t)draft_bytes(d)};
    admission_come(s->admission, &place);
    int rc = repo_insert(tx, d, err);
    if (rc >= 0)
        rc = run(s, tx, err);
    admission_written(s->admission, &place, rc >= 0);
    return rc;
}

int repo_message_find(struct submissions *s, const struct entry *e, char out[ASSAY_ID_SIZE], struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows;
    if (arena == NULL)
        return no_memory(err);
    int rc = ASSAY_QUERY(s->host->store, &message_find, arena, &rows, err, ASSAY_VZ(e->event_id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the message is not known");
    struct assay_str id = rows.row[0].col[0].s;
    if (id.n != ASSAY_ID_SIZE - 1)
        return assay_err_set(err, ASSAY_E_CORRUPT, "a message's submission has no id");
    memcpy(out, id.p, id.n);
    out[id.n] = '\0';
    return ASSAY_OK;
}

int repo_message_attach(struct submissions *s, const struct entry *e, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.attach") : NULL;
    if (tx == NULL)
        return no_memory(err);
    struct assay_val id = ASSAY_VZ(e->submission_id);
    ASSAY_TX(tx, &message_again, ASSAY_EXPECT_ANY, id, ASSAY_VI(now_ms(s)));
    ASSAY_TX(tx, &message_attach, ASSAY_EXPECT_ONE, id, ASSAY_VZ(e->hold));
    turns_queued(tx, id.s);
    struct assay_event ev = {.topic = ASSAY_STR("submission.queued"), .subject = id.s, .owner = ASSAY_STR(""), .benchmark = ASSAY_STR(""),
                             .payload = ASSAY_STR("{\"reason\":\"the message has come again\"}"), .if_op = 1};
    assay_tx_event(tx, ev);
    return run(s, tx, err);
}

int repo_message_release(struct submissions *s, const struct entry *e, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.release") : NULL;
    if (tx == NULL)
        return no_memory(err);
    struct assay_val id = ASSAY_VZ(e->submission_id);
    ASSAY_TX(tx, &message_release, ASSAY_EXPECT_ONE, id, ASSAY_VZ(e->hold));
    ASSAY_TX(tx, &message_cancel, ASSAY_EXPECT_ONE, id, ASSAY_VI(now_ms(s)), ASSAY_VZ("the broker gave its message to somebody else"));
    struct assay_event ev = {.topic = ASSAY_STR("submission.cancelled"), .subject = id.s, .owner = ASSAY_STR(""), .benchmark = ASSAY_STR(""),
                             .payload = ASSAY_STR("{\"reason\":\"the broker gave its message to somebody else\"}")};
    assay_tx_event(tx, ev);
    admission_begin(s->admission);
    int rc = run(s, tx, err);
    if (rc >= 0) {
        struct place place = repo_place_read(tx->op[1].rows.row[0].col);
        admission_leave(s->admission, &place);
    }
    admission_end(s->admission);
    return rc == ASSAY_E_GUARD ? ASSAY_OK : rc; /* it has begun or ended, or somebody holds it again */
}

int repo_message_look(struct submissions *s, const struct entry *e, struct assay_arena *arena, struct looked *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &message_look, arena, &rows, err, ASSAY_VZ(e->submission_id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the submission of a message is gone");
    const struct assay_val *c = rows.row[0].col;
    *out = (struct looked){.state = c[0].s,
                           .reason = c[1].type == ASSAY_VAL_TEXT ? c[1].s : ASSAY_STR(""),
                           .id = c[2].s,
                           .answered = c[3].type != ASSAY_VAL_NULL,
                           .output = c[4].type == ASSAY_VAL_BLOB ? c[4].s : ASSAY_STR("")};
    return ASSAY_OK;
}

int repo_message_answered(struct submissions *s, const struct entry *e, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.answered") : NULL;
    if (tx == NULL)
        return no_memory(err);
    ASSAY_TX(tx, &message_answered, ASSAY_EXPECT_ANY, ASSAY_VZ(e->submission_id), ASSAY_VI(now_ms(s)));
    return run(s, tx, err);
}

int repo_message_prune(struct submissions *s, int64_t before_ms, size_t *n, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows;
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.prune_messages") : NULL;
    if (tx == NULL)
        return no_memory(err);
    int rc = ASSAY_QUERY(s->host->store, &message_old, arena, &rows, err, ASSAY_VI(before_ms), ASSAY_VI(PRUNE_AT_ONCE));
    *n = rc < 0 ? 0 : rows.n;
    if (rc < 0 || rows.n == 0)
        return rc;
    for (size_t i = 0; i < rows.n; i++) {
        struct assay_val id = ASSAY_VT(rows.row[i].col[0].s);
        ASSAY_TX(tx, &message_prune_row, ASSAY_EXPECT_ANY, id);
        ASSAY_TX(tx, &message_prune, ASSAY_EXPECT_ANY, id);
        ASSAY_TX(tx, &message_prune_bytes, ASSAY_EXPECT_ANY, id);
        struct assay_event ev = {.topic = ASSAY_STR("submission.deleted"), .subject = id.s, .owner = ASSAY_STR(""),
                                 .benchmark = ASSAY_STR(""), .payload = ASSAY_STR("{\"reason\":\"intake_keep\"}")};
        assay_tx_event(tx, ev);
    }
    return run(s, tx, err);
}
