/*
 * The SQL of counting what waits, and of what a job that was leased is judged by.
 *
 * A lease takes the manifest from the projection of problems, which follows their changes by a moment.  What was accepted after
 * the answer to a change must not be judged by what was there before, so a lease asks afterwards whether such changes were still
 * to be projected when it began; if so, it waits for them and takes the manifests again.  Asked before, a change could
 * slip in between.  Jobs whose problems' changes do not arrive are not handed out.
 */
#include "local.h"

const struct assay_stmt count_queued_stmt = {
    .name = "submissions.count_queued",
    .sql = "SELECT q.submitter, q.benchmark_id, COUNT(*), CAST(SUM(q.bytes) AS BIGINT), MIN(q.created_ms), q.priority,"
           " COALESCE((SELECT b.priority FROM submissions_benchmarks b WHERE b.id = q.benchmark_id), 0),"
           " COALESCE((SELECT l.waiting FROM submissions_lines l WHERE l.benchmark_id = q.benchmark_id AND l.class = q.priority), 0)"
           " FROM submissions q WHERE q.state = 'queued' GROUP BY q.submitter, q.benchmark_id, q.priority",
    .params = "",
    .columns = "ttiiiiii"};
const struct assay_stmt place_stmt = {.name = "submissions.place",
                                             .sql = "SELECT submitter, benchmark_id, bytes FROM submissions WHERE id = $1",
                                             .params = "t",
                                             .columns = "tti"};

const struct assay_stmt manifest_again_stmt = {
    .name = "submissions.manifest_again",
    .sql = "UPDATE submissions SET manifest_ref = COALESCE((SELECT p.manifest_ref FROM submissions_problems p"
           " WHERE p.id = submissions.problem_id), '') WHERE id = $1 AND fence = $2 AND state = 'running' RETURNING manifest_ref",
    .params = "ti",
    .columns = "t",
    .write = true};
#define MANIFEST_WAIT_MS 10000

static const char *const problem_topics[] = {"problem.changed", NULL};

int repo_projected(struct submissions *s, int64_t *seq, struct assay_err *err)
{
    const struct assay_store *st = s->host->store;
    return st->ops->cursor_get(st->self, ASSAY_STR(SUBMISSIONS_GROUP), seq, err);
}

int repo_manifests_of_now(struct submissions *s, int64_t seq, struct assay_job *job, size_t n, struct assay_arena *arena,
                          struct assay_err *err)
{
    const struct assay_store *st = s->host->store;
    int64_t head = 0;
    bool any = false, behind = false;
    for (size_t i = 0; i < n; i++)
        any = any || job[i].problem_id.n != 0;
    if (!any)
        return ASSAY_OK;
    int rc = st->ops->events_head(st->self, &head, err);
    if (rc >= 0)
        rc = assay_store_behind(st, seq, problem_topics, head, &behind, err);
    if (rc == ASSAY_E_GONE) /* the group stands still until a person sets it right: the host says so */
        return ASSAY_OK;
    if (rc < 0 || !behind)
        return rc;
    rc = assay_store_catch_up(st, ASSAY_STR(SUBMISSIONS_GROUP), problem_topics, MANIFEST_WAIT_MS, err);
    if (rc >= 0)
        rc = repo_projected(s, &seq, err);
    if (rc >= 0)
        rc = assay_store_behind(st, seq, problem_topics, head, &behind, err);
    if (rc >= 0 && behind)
        rc = assay_err_set(err, ASSAY_E_BUSY, "changes of problems have not arrived within %d s", MANIFEST_WAIT_MS / 1000);
    struct assay_tx *tx = rc < 0 ? NULL : assay_tx_new(arena, "submission.manifests");
    for (size_t i = 0; tx != NULL && i < n; i++)
        ASSAY_TX(tx, &manifest_again_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(job[i].submission_id), ASSAY_VI(job[i].fence));
    if (rc >= 0)
        rc = tx == NULL || tx->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : assay_store_exec(st, tx, err);
    for (size_t i = 0; rc >= 0 && i < n; i++)
        if (tx->op[i].rows.n != 0)
            job[i].manifest_ref = tx->op[i].rows.row[0].col[0].s;
    return rc;
}

struct place repo_place_read(const struct assay_val *c)
{
    return (struct place){.submitter = c[0].s, .benchmark_id = c[1].s, .bytes = c[2].i};
}

enum queue_level queue_level(int64_t class, int64_t priority)
{
    if (class != 0)
        return LEVEL_REJUDGE;
    return priority == 0 || priority == ASSAY_PRIORITY_DEFAULT ? LEVEL_NORMAL : priority < ASSAY_PRIORITY_DEFAULT ? LEVEL_LOW : LEVEL_HIGH;
}

int repo_count_queued(struct submissions *s, struct assay_arena *arena, struct admission_row **out, size_t *n,
                      struct assay_err *err)
{
    struct assay_rows rows;
    int rc = assay_store_query(s->host->store, &count_queued_stmt, NULL, 0, arena, &rows, err);
    if (rc < 0)
        return rc;
    struct admission_row *list = assay_arena_array(arena, rows.n != 0 ? rows.n : 1, sizeof *list);
    if (list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct admission_row){
            .submitter = c[0].s, .benchmark_id = c[1].s, .n = c[2].i, .bytes = c[3].i, .oldest_ms = c[4].i,
            .class = c[5].i, .level = queue_level(c[5].i, c[6].i), .heard = c[7].i != 0};
    }
    *out = list;
    *n = rows.n;
    return ASSAY_OK;
}

int repo_place(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct place *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &place_stmt, arena, &rows, err, ASSAY_VT(id));
    if (rc >= 0 && rows.n == 0)
        rc = assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no submission %.*s", ASSAY_FMT(id));
    if (rc >= 0)
        *out = repo_place_read(rows.row[0].col);
    return rc;
}
