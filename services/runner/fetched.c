/*
 * Blobs that a worker fetched for jobs of a gateway, and how they go again (option fetched_keep).
 *
 * They are a cache: what is not there is fetched again (remote_fetch.c), or comes with the next job that needs it.  Only a process that
 * runs jobs and nothing else may remove any, since elsewhere a problem of its own may name the same bytes; and of what is in its folder
 * only what it has fetched itself.  A row is written before the blob and removed after it, so none is forgotten.
 */
#include "remote.h"

#define LOOK_MS 60000
#define AT_ONCE 50

const struct assay_stmt fetched_get_stmt = {.name = "runner.fetched_get",
                                            .sql = "SELECT used_ms FROM runner_fetched WHERE ref = $1",
                                            .params = "t",
                                            .columns = "i"};
const struct assay_stmt fetched_put_stmt = {
    .name = "runner.fetched_put",
    .sql = "INSERT INTO runner_fetched (ref, used_ms) VALUES ($1, $2) ON CONFLICT (ref) DO UPDATE SET used_ms = excluded.used_ms",
    .params = "ti",
    .columns = "",
    .write = true};
const struct assay_stmt fetched_old_stmt = {.name = "runner.fetched_old",
                                            .sql = "SELECT ref FROM runner_fetched WHERE used_ms < $1 ORDER BY used_ms LIMIT $2",
                                            .params = "ii",
                                            .columns = "t"};
const struct assay_stmt fetched_mark_stmt = {.name = "runner.fetched_mark",
                                             .sql = "UPDATE runner_fetched SET used_ms = 0 WHERE ref = $1 AND used_ms < $2",
                                             .params = "ti",
                                             .columns = "",
                                             .write = true};
const struct assay_stmt fetched_gone_stmt = {.name = "runner.fetched_gone",
                                             .sql = "DELETE FROM runner_fetched WHERE ref = $1 AND used_ms = 0",
                                             .params = "t",
                                             .columns = "",
                                             .write = true};

static int change(struct runner *r, const struct assay_stmt *stmt, const struct assay_val *args, size_t n, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "runner.fetched") : NULL;
    if (tx == NULL || assay_tx_add(tx, stmt, ASSAY_EXPECT_ONE, args, n) < 0)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    return assay_store_exec(r->host->store, tx, err);
}
#define CHANGE(r, stmt, err, ...)                                                                                      \
    change((r), (stmt), (const struct assay_val[]){__VA_ARGS__}, sizeof((const struct assay_val[]){__VA_ARGS__}) / sizeof(struct assay_val), (err))

/* Remembers that it is wanted now, when it is this worker's; some of the time only, since each time is a commit. */
static int note(struct runner *r, struct assay_str ref, struct assay_err *err)
{
    const struct assay_blobs *b = r->host->blobs;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows;
    int64_t bytes, now = r->host->now_ms(r->host->ctx);
    struct assay_err why;
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = ASSAY_QUERY(r->host->store, &fetched_get_stmt, arena, &rows, err, ASSAY_VT(ref));
    if (rc < 0)
        return rc;
    struct assay_str name = assay_arena_fmt(arena, "sha256/%.*s", ASSAY_FMT(ref));
    if (name.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (rows.n != 0 ? rows.row[0].col[0].i > now - r->fetched_keep_ms / 2 : b->ops->stat(b->self, name, &bytes, &why) == 0)
        return ASSAY_OK; /* known as wanted, or somebody else's */
    return CHANGE(r, &fetched_put_stmt, err, ASSAY_VT(ref), ASSAY_VI(now));
}

int fetched_put(struct runner *r, struct assay_str bytes, struct assay_err *err)
{
    char ref[ASSAY_BLOB_REF];
    int rc = ASSAY_OK;
    if (r->fetched_keep_ms > 0) {
        assay_sha256_hex(bytes, ref);
        rc = note(r, assay_str(ref), err);
    }
    return rc < 0 ? rc : assay_blob_put(r->host->blobs, bytes, ref, err);
}

static void look(void *arg)
{
    struct runner *r = arg;
    const struct assay_blobs *b = r->host->blobs;
    int64_t before = r->host->now_ms(r->host->ctx) - r->fetched_keep_ms, removed = 0;
    struct assay_err err;
    for (size_t n = AT_ONCE; n == AT_ONCE;) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_rows rows = {.n = 0};
        if (arena == NULL || ASSAY_QUERY(r->host->store, &fetched_old_stmt, arena, &rows, &err, ASSAY_VI(before), ASSAY_VI(AT_ONCE)) < 0)
            break;
        size_t went = 0;
        for (size_t i = 0; i < rows.n; i++) {
            struct assay_str ref = rows.row[i].col[0].s, name = assay_arena_fmt(arena, "sha256/%.*s", ASSAY_FMT(ref));
            if (name.p != NULL && CHANGE(r, &fetched_mark_stmt, &err, ASSAY_VT(ref), ASSAY_VI(before)) >= 0 &&
                b->ops->del(b->self, name, &err) >= 0 && CHANGE(r, &fetched_gone_stmt, &err, ASSAY_VT(ref)) >= 0)
                went++;
        }
        removed += (int64_t)went;
        n = went; /* what could not go is asked for at the next look */
    }
    if (removed > 0)
        assay_log(r->host, ASSAY_LOG_INFO, "fetched_removed", ASSAY_KI("blobs", removed));
    if (fetched_start(r, &err) < 0)
        assay_log(r->host, ASSAY_LOG_ERROR, "fetched_stopped", ASSAY_KZ("error", err.msg));
}

int fetched_start(struct runner *r, struct assay_err *err)
{
    if (r->fetched_keep_ms == 0)
        return ASSAY_OK;
    int rc = r->host->after(r->host->ctx, r->fetched_keep_ms < LOOK_MS ? r->fetched_keep_ms : LOOK_MS, look, r);
    return rc < 0 ? assay_err_set(err, rc, "no timer for fetched blobs") : ASSAY_OK;
}

int fetched_new(struct runner *r, struct assay_err *err)
{
    const struct assay_host *host = r->host;
    r->fetched_keep_ms = host->option_int(host->ctx, "fetched_keep");
    if (r->fetched_keep_ms > 0 && strcmp(host->option_str(host->ctx, "only"), "runner") != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "fetched_keep is for workers (--only runner): elsewhere problems need the same blobs");
    if (r->fetched_keep_ms > 0 && strcmp(host->option_str(host->ctx, "blob_driver"), "fs") != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "fetched_keep is for a blob folder of the worker's own (blob_driver=fs)");
    return ASSAY_OK;
}
