/*
 * How long the audit log is kept.
 *
 * Without audit_keep it is kept for ever.  With it, records go a day at a time, when the whole day is that old: oldest first, AT_ONCE in
 * a transaction, so that no writer waits for long.  Each such transaction holds a record of its own ("audit_purge": how many went, and
 * from when the last was), so there is no purge that the log does not tell of; a crash leaves whole steps done and the rest for
 * the next look.  Several gateways may look at once: a step names how many rows it removes, and who comes second is refused by that.
 *
 * Records lie in the order of their events.  The purge stops at the first one that is to stay, so a clock that jumped delays it and
 * never makes a gap.
 */
#include "local.h"

#include <assay/audit.h>
#include <assay/json.h>

#define AT_ONCE 1000
#define DAY_MS INT64_C(86400000)
#define LEAST_MS (90 * DAY_MS)
#define EVERY_MS INT64_C(3600000)

STMT(audit_oldest, false, "i", "ii", "SELECT seq, at_ms FROM auth_audit ORDER BY seq LIMIT $1");
STMT(audit_remove, true, "i", "", "DELETE FROM auth_audit WHERE seq <= $1");

static struct assay_str detail(int64_t n, int64_t last_ms, struct assay_arena *arena)
{
    char last[ASSAY_TIME_SIZE];
    assay_time_format(last_ms, last);
    return assay_arena_fmt(arena, "{\"removed\":%lld,\"until\":\"%s\"}", (long long)n, last);
}

/* One step. *n: how many went. */
static int step(const struct assay_host *host, int64_t before_ms, int64_t *n, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows;
    *n = 0;
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = ASSAY_QUERY(host->store, &auth_q_audit_oldest, arena, &rows, err, ASSAY_VI(AT_ONCE));
    size_t due = 0;
    while (rc >= 0 && due < rows.n && rows.row[due].col[1].i < before_ms)
        due++;
    if (rc < 0 || due == 0)
        return rc;
    struct assay_tx *tx = assay_tx_new(arena, "auth.audit_purge");
    if (tx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    ASSAY_TX(tx, &auth_q_audit_remove, (int)due, rows.row[due - 1].col[0]);
    assay_audit_own(tx, "audit_purge", ASSAY_STR("audit"), detail((int64_t)due, rows.row[due - 1].col[1].i, arena));
    rc = assay_store_exec(host->store, tx, err);
    if (rc >= 0)
        *n = (int64_t)due;
    return rc == ASSAY_E_GUARD ? ASSAY_OK : rc; /* somebody else's step was first */
}

int auth_audit_purge(struct auth_audit_keep *k, struct assay_err *err)
{
    int64_t before = (k->host->now_ms(k->host->ctx) - k->keep_ms) / DAY_MS * DAY_MS, n = AT_ONCE;
    int rc = ASSAY_OK;
    while (rc >= 0 && n == AT_ONCE && !atomic_load(&k->stop)) {
        rc = step(k->host, before, &n, err);
        if (n > 0)
            k->host->metric_add(k->host->ctx, &auth_metrics[AUTH_METRIC_AUDIT_REMOVED], NULL, (double)n);
    }
    return rc;
}

static void look(void *arg)
{
    struct auth_audit_keep *k = arg;
    struct assay_err err;
    if (auth_audit_purge(k, &err) < 0)
        assay_log(k->host, ASSAY_LOG_WARN, "audit_purge_failed", ASSAY_KZ("error", err.msg));
    if (!atomic_load(&k->stop) && k->host->after(k->host->ctx, EVERY_MS, look, k) < 0)
        assay_log(k->host, ASSAY_LOG_ERROR, "audit_purge_stopped");
}

int auth_audit_keep_init(struct auth_audit_keep *k, const struct assay_host *host, struct assay_err *err)
{
    k->host = host;
    k->keep_ms = host->option_int(host->ctx, "audit_keep");
    if (k->keep_ms != 0 && k->keep_ms < LEAST_MS)
        return assay_err_set(err, ASSAY_E_CONFIG, "audit_keep: the audit log is kept for 2160h (90 days) at the least; 0 keeps it for ever");
    return ASSAY_OK;
}

int auth_audit_keep_start(struct auth_audit_keep *k, struct assay_err *err)
{
    int rc = k->keep_ms != 0 ? k->host->after(k->host->ctx, 0, look, k) : ASSAY_OK;
    return rc < 0 ? assay_err_set(err, rc, "no timer for the audit log") : ASSAY_OK;
}

void auth_audit_keep_stop(struct auth_audit_keep *k)
{
    atomic_store(&k->stop, true);
}
