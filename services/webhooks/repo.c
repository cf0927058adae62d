#include "local.h"

#define STMT(n, write_, params_, columns_, sql_)                                                                       \
    const struct assay_stmt wh_q_##n = {.name = "webhooks." #n, .sql = sql_, .params = params_, .columns = columns_, .write = write_}

const struct assay_migration wh_migrations[1] = {
    {.number = 1,
     .name = "webhooks",
     .oldest_program = "0.1.0",
     .sql = "CREATE TABLE webhooks_hooks ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " owner_id TEXT NOT NULL,"
            " url TEXT NOT NULL,"
            " secret TEXT NOT NULL,"
            " benchmark_id TEXT NOT NULL," /* one of the two is '' */
            " submission_id TEXT NOT NULL,"
            " events TEXT NOT NULL," /* ' submission.done board.updated ' */
            " active BIGINT NOT NULL,"
            " reason TEXT NOT NULL," /* why it was switched off, when not by its owner */
            " staff BIGINT NOT NULL," /* whether its owner is */
            " version BIGINT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " updated_ms BIGINT NOT NULL);"
            "CREATE INDEX webhooks_hooks_by_owner ON webhooks_hooks (owner_id, id);"
            "CREATE INDEX webhooks_hooks_by_benchmark ON webhooks_hooks (benchmark_id) WHERE benchmark_id <> '';"
            "CREATE INDEX webhooks_hooks_by_submission ON webhooks_hooks (submission_id) WHERE submission_id <> '';"
            "CREATE TABLE webhooks_deliveries ("
            " hook_id TEXT NOT NULL,"
            " seq BIGINT NOT NULL," /* of the event */
            " event_id TEXT NOT NULL,"
            " type TEXT NOT NULL,"
            " body TEXT NOT NULL," /* what is sent, the same each time */
            " state BIGINT NOT NULL," /* enum wh_state */
            " attempts BIGINT NOT NULL,"
            " next_ms BIGINT NOT NULL," /* waiting: not before */
            " status BIGINT NOT NULL,"
            " error TEXT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " updated_ms BIGINT NOT NULL,"
            " PRIMARY KEY (hook_id, seq));"
            "CREATE INDEX webhooks_deliveries_due ON webhooks_deliveries (hook_id, next_ms, seq) WHERE state = 0;"
            "CREATE INDEX webhooks_deliveries_by_age ON webhooks_deliveries (updated_ms) WHERE state <> 0;"
            /* projections: whose a benchmark is, and the submissions that have not ended */
            "CREATE TABLE webhooks_benchmarks ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " owner_id TEXT NOT NULL,"
            " visibility BIGINT NOT NULL,"
            " feedback BIGINT NOT NULL,"
            " deleted BIGINT NOT NULL);"
            "CREATE TABLE webhooks_submissions ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " owner_id TEXT NOT NULL,"
            " benchmark_id TEXT NOT NULL);" ASSAY_IDEM_SQL("webhooks")},
};

#define COLUMNS                                                                                                        \
    "h.id, h.owner_id, h.url, h.secret, h.benchmark_id, h.submission_id, h.events, h.reason, h.active, h.staff, h.version,"  \
    " h.created_ms, h.updated_ms"
#define LETTERS "ttttttttiiiii"

/* $1..$7 of the hook, $8 active, $9 staff, $10 now, $11 how many an account may have */
STMT(insert, true, "tttttttiiii", "",
     "INSERT INTO webhooks_hooks (id, owner_id, url, secret, benchmark_id, submission_id, events, active, reason, staff, version, created_ms, updated_ms)"
     " SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS TEXT),"
     " CAST($8 AS BIGINT), '', CAST($9 AS BIGINT), 1, CAST($10 AS BIGINT), CAST($10 AS BIGINT)"
     " WHERE (SELECT COUNT(*) FROM webhooks_hooks o WHERE o.owner_id = CAST($2 AS TEXT)) < CAST($11 AS BIGINT)"
     " AND (CAST($6 AS TEXT) = '' OR EXISTS (SELECT 1 FROM webhooks_submissions s WHERE s.id = CAST($6 AS TEXT)))");
STMT(get, false, "t", LETTERS, "SELECT " COLUMNS " FROM webhooks_hooks h WHERE h.id = $1");
/* $2: of one account, '' of all */
STMT(list, false, "tti", LETTERS,
     "SELECT " COLUMNS " FROM webhooks_hooks h WHERE h.id > $1 AND (CAST($2 AS TEXT) = '' OR h.owner_id = $2) ORDER BY h.id LIMIT $3");
STMT(update, true, "tittiti", "",
     "UPDATE webhooks_hooks SET url = $3, events = $4, active = $5, reason = $6, updated_ms = $7, version = version + 1 WHERE id = $1 AND version = $2");
STMT(remove, true, "t", "", "DELETE FROM webhooks_hooks WHERE id = $1");
STMT(remove_deliveries, true, "t", "", "DELETE FROM webhooks_deliveries WHERE hook_id = $1");

/* A row for each hook that wants the event and whose owner may see it.  $1 seq, $2 event id, $3 type, $4 the whole body, $5 the one without
 * verdict, $6 now, $7 benchmark, $8 submission, $9 the submission's owner, $10 whether it is about a board. */
STMT(fan, true, "ittttittti", "",
     "INSERT INTO webhooks_deliveries (hook_id, seq, event_id, type, body, state, attempts, next_ms, status, error, created_ms, updated_ms)"
     " SELECT h.id, CAST($1 AS BIGINT), CAST($2 AS TEXT), CAST($3 AS TEXT),"
     " CASE WHEN h.staff = 1 OR COALESCE(b.owner_id, '') = h.owner_id OR CAST($7 AS TEXT) = '' OR COALESCE(b.feedback, 0) >= 1"
     " THEN CAST($4 AS TEXT) ELSE CAST($5 AS TEXT) END, 0, 0, CAST($6 AS BIGINT), 0, '', CAST($6 AS BIGINT), CAST($6 AS BIGINT)"
     " FROM webhooks_hooks h LEFT JOIN webhooks_benchmarks b ON b.id = CAST($7 AS TEXT)"
     " WHERE h.active = 1 AND h.events LIKE '% ' || CAST($3 AS TEXT) || ' %'"
     " AND ((h.submission_id <> '' AND h.submission_id = CAST($8 AS TEXT)) OR (h.benchmark_id <> '' AND h.benchmark_id = CAST($7 AS TEXT)))"
     " AND (h.staff = 1 OR COALESCE(b.owner_id, '') = h.owner_id OR h.owner_id = CAST($9 AS TEXT)"
     " OR (CAST($10 AS BIGINT) = 1 AND COALESCE(b.visibility, 1) = 0 AND b.deleted = 0))"
     " ON CONFLICT (hook_id, seq) DO NOTHING");
STMT(live_put, true, "ttt", "",
     "INSERT INTO webhooks_submissions (id, owner_id, benchmark_id) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING");
STMT(live_drop, true, "t", "", "DELETE FROM webhooks_submissions WHERE id = $1");
/* with the benchmark's owner, who sees it too */
STMT(live_get, false, "t", "tt",
     "SELECT s.owner_id, COALESCE(b.owner_id, '') FROM webhooks_submissions s LEFT JOIN webhooks_benchmarks b ON b.id = s.benchmark_id WHERE s.id = $1");
STMT(benchmark_put, true, "ttiii", "",
     "INSERT INTO webhooks_benchmarks (id, owner_id, visibility, feedback, deleted) VALUES ($1, $2, $3, $4, $5)"
     " ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, visibility = excluded.visibility, feedback = excluded.feedback,"
     " deleted = excluded.deleted");
STMT(benchmark_get, false, "t", "ti", "SELECT owner_id, visibility FROM webhooks_benchmarks WHERE id = $1 AND deleted = 0");
STMT(role, true, "ti", "", "UPDATE webhooks_hooks SET staff = $2 WHERE owner_id = $1 AND staff <> $2");
STMT(silence, true, "tt", "", "UPDATE webhooks_hooks SET active = 0, reason = $2, version = version + 1 WHERE owner_id = $1 AND active = 1");
STMT(erase_deliveries, true, "t", "",
     "DELETE FROM webhooks_deliveries WHERE hook_id IN (SELECT id FROM webhooks_hooks WHERE owner_id = $1)");
STMT(erase, true, "t", "", "DELETE FROM webhooks_hooks WHERE owner_id = $1");

/* $2: before which event, 0 for the newest; $3: state, -1 for any */
STMT(deliveries, false, "tiii", "tittt" "iiiit" "ii",
     "SELECT hook_id, seq, event_id, type, body, state, attempts, next_ms, status, error, created_ms, updated_ms FROM webhooks_deliveries"
     " WHERE hook_id = $1 AND (CAST($2 AS BIGINT) = 0 OR seq < $2) AND (CAST($3 AS BIGINT) < 0 OR state = $3) ORDER BY seq DESC LIMIT $4");

/* ---- the sender's --------------------------------------------------------------------------------- */

STMT(due_hooks, false, "tii", "ttt",
     "SELECT h.id, h.url, h.secret FROM webhooks_hooks h WHERE h.id > $1 AND h.active = 1"
     " AND EXISTS (SELECT 1 FROM webhooks_deliveries d WHERE d.hook_id = h.id AND d.state = 0 AND d.next_ms <= $2) ORDER BY h.id LIMIT $3");
STMT(due, false, "tii", "itti",
     "SELECT seq, event_id, body, attempts FROM webhooks_deliveries WHERE hook_id = $1 AND state = 0 AND next_ms <= $2 ORDER BY next_ms, seq LIMIT $3");
/* $3: the tries so far; $4: now; $5: when it is tried again should nobody hear what came of this one */
STMT(claim, true, "tiiii", "",
     "UPDATE webhooks_deliveries SET attempts = attempts + 1, next_ms = $5 WHERE hook_id = $1 AND seq = $2 AND state = 0 AND attempts = $3 AND next_ms <= $4");
STMT(settle, true, "tiiiiiti", "",
     "UPDATE webhooks_deliveries SET state = $4, next_ms = $5, status = $6, error = $7, updated_ms = $8"
     " WHERE hook_id = $1 AND seq = $2 AND state = 0 AND attempts = $3");
STMT(gone, true, "tti", "", "UPDATE webhooks_hooks SET active = 0, reason = $2, updated_ms = $3, version = version + 1 WHERE id = $1 AND active = 1");
STMT(replay_one, true, "tti", "",
     "UPDATE webhooks_deliveries SET state = 0, attempts = 0, next_ms = $3, status = 0, error = '', updated_ms = $3 WHERE hook_id = $1 AND event_id = $2");
STMT(replay_since, true, "tii", "",
     "UPDATE webhooks_deliveries SET state = 0, attempts = 0, next_ms = $3, status = 0, error = '', updated_ms = $3 WHERE hook_id = $1 AND created_ms >= $2");
STMT(purge, true, "i", "",
     "DELETE FROM webhooks_deliveries WHERE (hook_id, seq) IN (SELECT hook_id, seq FROM webhooks_deliveries WHERE state <> 0 AND updated_ms < $1"
     " ORDER BY updated_ms LIMIT 500)");
STMT(purge_hooks, true, "i", "",
     "DELETE FROM webhooks_hooks WHERE id IN (SELECT h.id FROM webhooks_hooks h WHERE h.submission_id <> '' AND h.updated_ms < $1"
     " AND NOT EXISTS (SELECT 1 FROM webhooks_submissions s WHERE s.id = h.submission_id)"
     " AND NOT EXISTS (SELECT 1 FROM webhooks_deliveries d WHERE d.hook_id = h.id) LIMIT 500)");
ASSAY_IDEM_DEFINE(wh_idem, "webhooks");

void wh_read_hook(const struct assay_val *c, struct wh_hook *h)
{
    *h = (struct wh_hook){.id = c[0].s, .owner_id = c[1].s, .url = c[2].s, .secret = c[3].s, .benchmark_id = c[4].s, .submission_id = c[5].s,
                          .events = c[6].s, .reason = c[7].s, .active = c[8].i != 0, .staff = c[9].i != 0, .version = c[10].i,
                          .created_ms = c[11].i, .updated_ms = c[12].i};
}

int wh_get(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct wh_hook *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &wh_q_get, a, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such webhook");
    wh_read_hook(rows.row[0].col, out);
    return 0;
}
