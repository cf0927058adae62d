/* The SQL of leases: who holds them, which are over, and those that are held outside of this process. */
#include "local.h"

#include <stdlib.h>

const struct assay_stmt instance_beat_stmt = {
    .name = "submissions.instance_beat",
    .sql = "INSERT INTO submissions_instances (id, home, beat, lease_ms, started_ms) VALUES ($1, $2, 1, $3, $4)"
           " ON CONFLICT (id) DO UPDATE SET beat = submissions_instances.beat + 1, lease_ms = excluded.lease_ms",
    .params = "ttii",
    .columns = "",
    .write = true};
const struct assay_stmt instance_home_stmt = {.name = "submissions.instance_home",
                                              .sql = "DELETE FROM submissions_instances WHERE home = $2 AND id <> $1",
                                              .params = "tt",
                                              .columns = "",
                                              .write = true};
const struct assay_stmt instance_gone_stmt = {.name = "submissions.instance_gone",
                                              .sql = "DELETE FROM submissions_instances WHERE id = $1 AND beat = $2",
                                              .params = "ti",
                                              .columns = "",
                                              .write = true};
const struct assay_stmt instance_leave_stmt = {.name = "submissions.instance_leave",
                                               .sql = "DELETE FROM submissions_instances WHERE id = $1",
                                               .params = "t",
                                               .columns = "",
                                               .write = true};
const struct assay_stmt instances_stmt = {.name = "submissions.instances",
                                          .sql = "SELECT id, 0, beat, lease_ms, 0 FROM submissions_instances ORDER BY id",
                                          .params = "",
                                          .columns = "tiiii"};
const struct assay_stmt away_stmt = {.name = "submissions.away",
                                     .sql = "SELECT id, fence, lease_beat, COALESCE(lease_ms, 0),"
                                            " CASE WHEN lease_worker LIKE 'broker:%' THEN 1 ELSE 0 END FROM submissions"
                                            " WHERE state = 'running' AND lease_boot = 'remote' ORDER BY id",
                                     .params = "",
                                     .columns = "tiiii"};
const struct assay_stmt cancels_stmt = {.name = "submissions.cancels",
                                        .sql = "SELECT id FROM submissions WHERE state = 'running' AND lease_boot = $1"
                                               " AND cancel_requested = 1 LIMIT 1000",
                                        .params = "t",
                                        .columns = "t"};
const struct assay_stmt away_renew_stmt = {
    .name = "submissions.away_renew",
    .sql = "UPDATE submissions SET lease_beat = lease_beat + 1 WHERE id = $1 AND fence = $2 AND state = 'running'"
           " AND lease_boot = 'remote' AND lease_worker = $3 RETURNING cancel_requested",
    .params = "tit",
    .columns = "i",
    .write = true};
const struct assay_stmt away_over_stmt = {
    .name = "submissions.away_over",
    .sql = "UPDATE submissions SET lease_beat = lease_beat + 1 WHERE id = $1 AND fence = $2 AND lease_beat = $3"
           " AND state = 'running' AND lease_boot = 'remote'",
    .params = "tii",
    .columns = "",
    .write = true};
const struct assay_stmt away_held_stmt = {
    .name = "submissions.away_held",
    .sql = "SELECT id, kind, benchmark_id, problem_id, agent_id, owner_id, language, source_kind, source_ref, payload_ref,"
           " manifest_ref, traceparent, request_id, fence, attempts, created_ms, interruptions, cancel_requested, compiler_options"
           " FROM submissions WHERE id = $1 AND (fence = $2 OR CAST($2 AS BIGINT) = 0) AND state = 'running'"
           " AND lease_boot = 'remote' AND lease_worker = $3",
    .params = "tit",
    .columns = "tittttti" "tttttiiiiit"};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

int repo_instance_beat(struct submissions *s, bool first, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.instance") : NULL;
    if (tx == NULL)
        return no_memory(err);
    struct assay_val me = ASSAY_VZ(s->host->instance_id), home = ASSAY_VZ(s->leases->home);
    if (first) /* one process at a time has the directory, so whoever had it is gone */
        ASSAY_TX(tx, &instance_home_stmt, ASSAY_EXPECT_ANY, me, home);
    ASSAY_TX(tx, &instance_beat_stmt, ASSAY_EXPECT_ONE, me, home, ASSAY_VI(s->leases->silence_ms),
             ASSAY_VI(s->host->now_ms(s->host->ctx)));
    return tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
}

static int remove_instance(struct submissions *s, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
                           struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, stmt->name) : NULL;
    if (tx == NULL)
        return no_memory(err);
    assay_tx_add(tx, stmt, n == 2 ? ASSAY_EXPECT_ONE : ASSAY_EXPECT_ANY, args, n);
    return tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
}

int repo_instance_gone(struct submissions *s, const struct watched *w, struct assay_err *err)
{
    return remove_instance(s, &instance_gone_stmt, (const struct assay_val[]){ASSAY_VZ(w->id), ASSAY_VI(w->beat)}, 2, err);
}

int repo_instance_leave(struct submissions *s, struct assay_err *err)
{
    return remove_instance(s, &instance_leave_stmt, (const struct assay_val[]){ASSAY_VZ(s->host->instance_id)}, 1, err);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct watched *)a)->id, ((const struct watched *)b)->id);
}

int repo_watch(struct submissions *s, bool instances, struct watched **out, size_t *n, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows;
    if (arena == NULL)
        return no_memory(err);
    int rc = assay_store_query(s->host->store, instances ? &instances_stmt : &away_stmt, NULL, 0, arena, &rows, err);
    if (rc < 0)
        return rc;
    struct watched *list = calloc(rows.n + 1, sizeof *list);
    if (list == NULL)
        return no_memory(err);
    *n = 0;
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        struct watched *w = &list[*n];
        if (c[0].s.n == 0 || c[0].s.n >= sizeof w->id)
            continue; /* nothing that we wrote */
        memcpy(w->id, c[0].s.p, c[0].s.n);
        w->fence = c[1].i;
        w->beat = c[2].i;
        w->lease_ms = c[3].i;
        w->broker = c[4].i != 0;
        ++*n;
    }
    qsort(list, *n, sizeof *list, by_id); /* a database may sort by other rules than we do */
    *out = list;
    return ASSAY_OK;
}

int repo_cancels(struct submissions *s, struct assay_arena *arena, struct assay_str **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &cancels_stmt, arena, &rows, err, ASSAY_VZ(s->host->instance_id));
    if (rc < 0)
        return rc;
    *out = assay_arena_array(arena, rows.n + 1, sizeof **out);
    if (*out == NULL)
        return no_memory(err);
    for (size_t i = 0; i < rows.n; i++)
        (*out)[i] = rows.row[i].col[0].s;
    *n = rows.n;
    return ASSAY_OK;
}

int repo_away_over(struct assay_tx *tx, const struct watched *w, struct assay_err *err)
{
    if (tx == NULL)
        return no_memory(err);
    ASSAY_TX(tx, &away_over_stmt, ASSAY_EXPECT_ONE, ASSAY_VZ(w->id), ASSAY_VI(w->fence), ASSAY_VI(w->beat));
    return tx->failed ? no_memory(err) : ASSAY_OK;
}

int repo_away_renew(struct submissions *s, struct assay_str holder, struct assay_lease *list, size_t n, struct assay_err *err)
{
    for (size_t from = 0; from < n;) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.renew") : NULL;
        if (tx == NULL)
            return no_memory(err);
        size_t part = n - from < ASSAY_TX_OPS ? n - from : ASSAY_TX_OPS;
        for (size_t i = 0; i < part; i++)
            ASSAY_TX(tx, &away_renew_stmt, ASSAY_EXPECT_ANY, ASSAY_VT(list[from + i].submission_id),
                     ASSAY_VI(list[from + i].fence), ASSAY_VT(holder));
        int rc = tx->failed ? no_memory(err) : assay_store_exec(s->host->store, tx, err);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < part; i++) {
            const struct assay_rows *rows = &tx->op[i].rows;
            list[from + i].state = rows->n == 0                   ? ASSAY_LEASE_LOST
                                   : rows->row[0].col[0].i != 0 ? ASSAY_LEASE_CANCELLED
                                                                 : ASSAY_LEASE_HELD;
        }
        from += part;
    }
    return ASSAY_OK;
}

int repo_away_held(struct submissions *s, struct assay_str holder, struct assay_str id, int64_t fence,
                   struct assay_arena *arena, struct assay_job *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &away_held_stmt, arena, &rows, err, ASSAY_VT(id), ASSAY_VI(fence), ASSAY_VT(holder));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_GUARD, "the lease of %.*s is over", ASSAY_FMT(id));
    const struct assay_val *c = rows.row[0].col;
    *out = repo_job(c);
    out->cancel_requested = c[17].i != 0;
    out->compiler_options = c[18].s;
    return ASSAY_OK;
}
