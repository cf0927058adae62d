/*
 * Uploads and logs of projects that nobody needs any more.
 *
 * A blob is removed in three steps, each of which may be the last before a crash: its row is marked under a guard that holds only while
 * the rule does (the project has ended, long enough ago, or was deleted); the blob goes; the row says so.  What is marked is
 * neither judged again nor confirmed, so nothing begins to need a blob that is about to go, and the next look goes on with what was
 * marked and not ended.  Several gateways may look at the same time: marks and removals are the same twice.
 *
 * Blobs that are named by their hash (tests, manifests, sources of several files) are none of this: many rows may name one.
 */
#include "project.h"

#define AT_ONCE 50
#define UNCONFIRMED_MIN_MS INT64_C(7200000) /* a URL to upload to is good for an hour */

static bool removed(struct submissions *s, struct assay_str key, const char *what)
{
    const struct assay_blobs *b = s->host->blobs;
    struct assay_err err;
    if (b->ops->del(b->self, key, &err) >= 0) {
        s->host->metric_add(s->host->ctx, &submissions_metrics[METRIC_REMOVED], &what, 1);
        return true;
    }
    assay_log(s->host, ASSAY_LOG_WARN, "retention_failed", ASSAY_KS("key", key), ASSAY_KZ("error", err.msg));
    return false;
}

/* Runs one guarded change. False: the guard fails, or the store does; either way the next look sees what there is. */
static bool change(struct submissions *s, const struct assay_stmt *stmt, const struct assay_val *args, size_t n)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.retention") : NULL;
    struct assay_err err;
    if (tx == NULL || assay_tx_add(tx, stmt, ASSAY_EXPECT_ONE, args, n) < 0)
        return false;
    int rc = assay_store_exec(s->host->store, tx, &err);
    if (rc < 0 && rc != ASSAY_E_GUARD)
        assay_log(s->host, ASSAY_LOG_WARN, "retention_failed", ASSAY_KZ("error", err.msg));
    return rc >= 0;
}
#define CHANGE(s, stmt, ...) change((s), (stmt), (const struct assay_val[]){__VA_ARGS__}, sizeof((const struct assay_val[]){__VA_ARGS__}) / sizeof(struct assay_val))

static void of_project(struct submissions *s, const struct assay_val *c, int64_t uploads_before, int64_t logs_before, struct assay_arena *arena)
{
    struct assay_val id = c[0], ended = c[4];
    if (c[2].i != 0 && CHANGE(s, &retention_upload_mark, id, ASSAY_VI(uploads_before)) && removed(s, c[1].s, "upload"))
        (void)CHANGE(s, &retention_upload_gone, id);
    struct assay_str log = assay_arena_fmt(arena, "logs/%.*s/run.log", ASSAY_FMT(id.s));
    if (c[3].i != 0 && log.p != NULL && CHANGE(s, &retention_log_mark, id, ended, ASSAY_VI(logs_before)) && removed(s, log, "log"))
        (void)CHANGE(s, &retention_log_gone, id, ended);
}

static int64_t before(struct submissions *s, const char *option, int64_t least_ms)
{
    int64_t keep = s->host->option_int(s->host->ctx, option);
    return keep == 0 ? 0 : s->host->now_ms(s->host->ctx) - (keep < least_ms ? least_ms : keep); /* 0: nothing is from before */
}

static void projects(struct submissions *s)
{
    int64_t uploads = before(s, "uploads_keep", 0), logs = before(s, "logs_keep", 0);
    char after[ASSAY_ID_SIZE] = "";
    for (size_t n = AT_ONCE; n == AT_ONCE && !atomic_load(&s->draining);) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_rows rows;
        struct assay_err err;
        if (arena == NULL || ASSAY_QUERY(s->host->store, &retention_due, arena, &rows, &err, ASSAY_VI(uploads), ASSAY_VI(logs),
                                         ASSAY_VZ(after), ASSAY_VI(AT_ONCE)) < 0)
            return;
        n = rows.n;
        for (size_t i = 0; i < n; i++)
            of_project(s, rows.row[i].col, uploads, logs, arena);
        if (n > 0) {
            struct assay_str last = rows.row[n - 1].col[0].s;
            if (last.n >= sizeof after)
                return;
            memcpy(after, last.p, last.n);
            after[last.n] = '\0';
        }
    }
}

static void unconfirmed(struct submissions *s)
{
    int64_t older = before(s, "uploads_keep_unconfirmed", UNCONFIRMED_MIN_MS);
    bool went = true;
    while (went && older > 0 && !atomic_load(&s->draining)) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_rows rows;
        struct assay_err err;
        if (arena == NULL || ASSAY_QUERY(s->host->store, &retention_unconfirmed, arena, &rows, &err, ASSAY_VI(older), ASSAY_VI(AT_ONCE)) < 0)
            return;
        went = false;
        for (size_t i = 0; i < rows.n; i++) {
            struct assay_val key = rows.row[i].col[0];
            if (CHANGE(s, &retention_unconfirmed_mark, key) && removed(s, key.s, "unconfirmed"))
                went = CHANGE(s, &retention_unconfirmed_gone, key) || went;
        }
    }
}

void retention_look(struct submissions *s)
{
    projects(s);
    unconfirmed(s);
}

static void look(void *arg)
{
    struct submissions *s = arg;
    struct assay_err err;
    retention_look(s);
    if (retention_start(s, &err) < 0)
        assay_log(s->host, ASSAY_LOG_ERROR, "retention_stopped", ASSAY_KZ("error", err.msg));
}

int retention_start(struct submissions *s, struct assay_err *err)
{
    int rc = s->host->after(s->host->ctx, s->host->option_int(s->host->ctx, "retention_every"), look, s);
    return rc < 0 ? assay_err_set(err, rc, "no timer for retention") : ASSAY_OK;
}
