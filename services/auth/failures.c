/*
 * Failed sign-ins in the store: what the gateways of one database share, and what a restart does not forget.
 *
 * Theory of operation.  The buckets are those of throttle.c, by account and address together and by address alone, as rows: a hash of
 * whom it is of, and the time at which it will be empty.  A sign-in that is right at once reads two rows by their key, and writes none.
 * One that is wrong moves both on before it is answered, so a server that is killed with an attempt in its hands has told
 * nobody anything.  Once an account has failed from an address, each further attempt from there is charged before the password is looked
 * at, by one guarded statement, so that parallel guesses at any number of gateways count; a right one forgets the account's row.
 * (What stands at no row yet may be tried by as many at a time as hash passwords at a time, at each gateway; those that are then
 * found to be over the bucket are answered 429, not 401.)  A row of an address alone is charged for failures only.
 *
 * The times are the wall clock's, since no other is shared.  A row whose bucket is fuller than full, beyond what clocks of gateways
 * may differ by (SKEW_MS), is from before a clock was set back: it counts as empty.  What a clock that is set forward forgives is
 * still known to throttle.c, which keeps to the monotonic one.
 *
 * Rows are few: hashing bounds failures to some dozens a second at a gateway, a row is past its time after two minutes at most, and each
 * failure takes away up to 16 of those.
 */
#include "local.h"

#define SKEW_MS 60000

STMT(throttle_get, false, "tt", "ti", "SELECT key, empty_ms FROM auth_throttle WHERE key IN ($1, $2)");
/* key, now, interval, how far ahead a bucket is that takes one more, how far none of ours is */
STMT(throttle_charge, true, "tiiii", "",
     "INSERT INTO auth_throttle (key, empty_ms) VALUES ($1, CAST($2 AS BIGINT) + CAST($3 AS BIGINT)) ON CONFLICT (key) DO UPDATE SET empty_ms ="
     " CASE WHEN auth_throttle.empty_ms > CAST($2 AS BIGINT) AND auth_throttle.empty_ms <= CAST($5 AS BIGINT)"
     " THEN auth_throttle.empty_ms ELSE CAST($2 AS BIGINT) END + CAST($3 AS BIGINT)"
     " WHERE auth_throttle.empty_ms <= CAST($4 AS BIGINT) OR auth_throttle.empty_ms > CAST($5 AS BIGINT)");
STMT(throttle_pay, true, "ti", "", "UPDATE auth_throttle SET empty_ms = empty_ms - $2 WHERE key = $1");
STMT(throttle_forget, true, "t", "", "DELETE FROM auth_throttle WHERE key = $1");
STMT(throttle_purge, true, "i", "",
     "DELETE FROM auth_throttle WHERE key IN (SELECT key FROM auth_throttle WHERE empty_ms <= $1 ORDER BY empty_ms LIMIT 16)");

static int64_t fullest(const struct auth_throttle_rule *r)
{
    return r->burst * r->interval_ms;
}

static int add_charge(struct assay_tx *tx, const char *key, const struct auth_throttle_rule *r, int64_t now_ms, int expect)
{
    /* one that is charged without asking may be over by one, and no more */
    int64_t takes = now_ms + fullest(r) - (expect == ASSAY_EXPECT_ONE ? r->interval_ms : 0);
    return ASSAY_TX(tx, &auth_q_throttle_charge, expect, ASSAY_VZ(key), ASSAY_VI(now_ms), ASSAY_VI(r->interval_ms), ASSAY_VI(takes),
                    ASSAY_VI(now_ms + fullest(r) + SKEW_MS));
}

/* How long a bucket lets nobody through; *any: there have been failures. */
static int64_t wait_of(const struct assay_rows *rows, const char *key, const struct auth_throttle_rule *r, int64_t now_ms, bool *any)
{
    for (size_t i = 0; i < rows->n; i++) {
        int64_t ahead = rows->row[i].col[1].i - now_ms;
        if (!assay_str_is(rows->row[i].col[0].s, key) || ahead <= 0 || ahead > fullest(r) + SKEW_MS)
            continue;
        *any = true;
        int64_t wait = (ahead < fullest(r) ? ahead : fullest(r)) - (r->burst - 1) * r->interval_ms;
        return wait > 0 ? wait : 0;
    }
    return 0;
}

static int exec(const struct assay_host *h, struct assay_tx *tx, struct assay_err *err)
{
    return assay_store_exec(h->store, tx, err);
}

int auth_failures_begin(const struct assay_host *h, struct assay_arena *a, struct assay_str account, struct assay_str address,
                        struct auth_failures *f, int64_t *wait_ms, struct assay_err *err)
{
    struct assay_rows rows;
    bool of_address = false;
    *f = (struct auth_failures){.account_rule = &auth_per_account, .now_ms = h->now_ms(h->ctx)};
    auth_throttle_key(ASSAY_STR(""), account, address, f->account);
    auth_throttle_key(ASSAY_STR(""), ASSAY_STR(""), address, f->address);
    int rc = ASSAY_QUERY(h->store, &auth_q_throttle_get, a, &rows, err, ASSAY_VZ(f->account), ASSAY_VZ(f->address));
    if (rc < 0)
        return rc;
    *wait_ms = wait_of(&rows, f->account, f->account_rule, f->now_ms, &f->charged);
    int64_t wait = wait_of(&rows, f->address, &auth_per_address, f->now_ms, &of_address);
    if (wait > *wait_ms)
        *wait_ms = wait;
    if (*wait_ms > 0 || !f->charged)
        return ASSAY_OK;
    struct assay_tx *tx = assay_tx_new(a, "auth.throttle");
    (void)add_charge(tx, f->account, f->account_rule, f->now_ms, ASSAY_EXPECT_ONE);
    rc = exec(h, tx, err);
    if (rc == ASSAY_E_GUARD) { /* others have just filled it */
        *wait_ms = f->account_rule->interval_ms;
        return ASSAY_OK;
    }
    return rc;
}

int auth_failures_right(const struct assay_host *h, struct assay_arena *a, const struct auth_failures *f, struct assay_err *err)
{
    if (!f->charged)
        return ASSAY_OK;
    struct assay_tx *tx = assay_tx_new(a, "auth.throttle");
    (void)ASSAY_TX(tx, &auth_q_throttle_forget, ASSAY_EXPECT_ANY, ASSAY_VZ(f->account));
    return exec(h, tx, err);
}

int auth_failures_wrong(const struct assay_host *h, struct assay_arena *a, const struct auth_failures *f, int64_t *wait_ms, struct assay_err *err)
{
    struct assay_tx *tx = assay_tx_new(a, "auth.throttle");
    *wait_ms = 0;
    if (!f->charged)
        (void)add_charge(tx, f->account, f->account_rule, f->now_ms, ASSAY_EXPECT_ONE);
    (void)add_charge(tx, f->address, &auth_per_address, f->now_ms, ASSAY_EXPECT_ANY);
    (void)ASSAY_TX(tx, &auth_q_throttle_purge, ASSAY_EXPECT_ANY, ASSAY_VI(f->now_ms));
    int rc = exec(h, tx, err);
    if (rc != ASSAY_E_GUARD)
        return rc;
    *wait_ms = f->account_rule->interval_ms;
    return ASSAY_OK;
}

void auth_failures_unmade(const struct assay_host *h, struct assay_arena *a, const struct auth_failures *f)
{
    if (!f->charged)
        return;
    struct assay_tx *tx = assay_tx_new(a, "auth.throttle");
    (void)ASSAY_TX(tx, &auth_q_throttle_pay, ASSAY_EXPECT_ANY, ASSAY_VZ(f->account), ASSAY_VI(f->account_rule->interval_ms));
    (void)!exec(h, tx, NULL); /* at worst it is paid back by time */
}

int auth_failures_ask(const struct assay_host *h, struct assay_arena *a, struct assay_str what, struct assay_str address, int64_t *wait_ms,
                      struct assay_err *err)
{
    char key[ASSAY_SHA256_HEX];
    int64_t now = h->now_ms(h->ctx);
    auth_throttle_key(ASSAY_STR(""), what, address, key);
    struct assay_tx *tx = assay_tx_new(a, "auth.throttle");
    (void)add_charge(tx, key, &auth_per_account, now, ASSAY_EXPECT_ONE);
    (void)ASSAY_TX(tx, &auth_q_throttle_purge, ASSAY_EXPECT_ANY, ASSAY_VI(now));
    int rc = exec(h, tx, err);
    *wait_ms = rc == ASSAY_E_GUARD ? auth_per_account.interval_ms : 0;
    return rc == ASSAY_E_GUARD ? ASSAY_OK : rc;
}
