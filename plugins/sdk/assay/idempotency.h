/*
 * Idempotency-Key: the same key and body gives the first answer again (once, for every service).
 *
 * A service declares its table (ASSAY_IDEM_SQL in a migration) and the statements over it
 * (ASSAY_IDEM_DEFINE in repo.c).  A creating handler then goes:
 *
 *     assay_idem_begin()   seen before: the response is filled, return ASSAY_OK
 *     ... decide, write the whole answer into rs ...
 *     tx = assay_tx_new(); assay_idem_add(tx, rs) as its FIRST statement; the creation; events
 *     assay_idem_commit()  a concurrent duplicate was first: rs holds the winner's answer
 *
 * The answer is stored in the transaction that creates, so there is never one without the other;
 * of two concurrent requests one fails the guarded insert and gives the other's answer.  Only
 * answers of creations are kept (a refused request may be sent again), for ASSAY_IDEM_KEEP_MS.
 *
 * What is stored tells little: the key only as a hash (bound to caller, route and path), the body
 * only as a hash keyed by it, and an answer that holds a secret is sealed with a key made from it
 * (`sealed`): who reads the table but has never seen the header gets nothing.
 *
 * begin, lookup and commit block: worker threads only.  A handler on an event loop uses prepare,
 * add and lost, and calls lookup from a worker after a lost race.
 */
#ifndef ASSAY_IDEMPOTENCY_H
#define ASSAY_IDEMPOTENCY_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/http.h>
#include <assay/store.h>
#include <assay/str.h>
#include <assay/value.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_IDEM_KEEP_MS ((int64_t)24 * 3600 * 1000)
#define ASSAY_IDEM_KEY_MAX 255
#define ASSAY_IDEM_ANSWERED 1 /* the response is filled: return ASSAY_OK */

/* The table, as the text of (a part of) a migration: ASSAY_IDEM_SQL("auth"). */
#define ASSAY_IDEM_SQL(service)                                                                                        \
    "CREATE TABLE " service "_idempotency (key_hash TEXT NOT NULL PRIMARY KEY, body_hash TEXT NOT NULL,"               \
    " status BIGINT NOT NULL, location TEXT NOT NULL, sealed BIGINT NOT NULL, answer BYTEA NOT NULL,"                  \
    " created_ms BIGINT NOT NULL);"                                                                                    \
    "CREATE INDEX " service "_idempotency_by_age ON " service "_idempotency (created_ms);"

struct assay_idem_table {
    const struct assay_stmt *get, *put, *purge;
};

/* ASSAY_IDEM_DEFINE(auth_idem, "auth"): the statements auth_idem_get, _put, _purge and the table auth_idem.
 * List ASSAY_IDEM_STMTS(auth_idem) among the plugin's statements; ASSAY_IDEM_DECLARE goes to local.h. */
#define ASSAY_IDEM_DECLARE(ident)                                                                                      \
    extern const struct assay_stmt ident##_get, ident##_put, ident##_purge;                                            \
    extern const struct assay_idem_table ident
#define ASSAY_IDEM_STMTS(ident) &ident##_get, &ident##_put, &ident##_purge
#define ASSAY_IDEM_DEFINE(ident, service)                                                                              \
    const struct assay_stmt ident##_get = {                                                                            \
        .name = service "_idempotency.get",                                                                            \
        .sql = "SELECT body_hash, status, location, sealed, answer FROM " service                                      \
               "_idempotency WHERE key_hash = $1 AND created_ms >= $2",                                                \
        .params = "ti", .columns = "titib"};                                                                           \
    /* an expired row that was not purged yet makes room for the new one */                                           \
    const struct assay_stmt ident##_put = {                                                                            \
        .name = service "_idempotency.put",                                                                            \
        .sql = "INSERT INTO " service                                                                                  \
               "_idempotency (key_hash, body_hash, status, location, sealed, answer, created_ms)"                      \
               " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (key_hash) DO UPDATE SET"                             \
               " body_hash = excluded.body_hash, status = excluded.status, location = excluded.location,"              \
               " sealed = excluded.sealed, answer = excluded.answer, created_ms = excluded.created_ms"                 \
               " WHERE " service "_idempotency.created_ms < $8",                                                       \
        .params = "ttitibii", .columns = "", .write = true};                                                           \
    const struct assay_stmt ident##_purge = {                                                                          \
        .name = service "_idempotency.purge",                                                                          \
        .sql = "DELETE FROM " service "_idempotency WHERE key_hash IN (SELECT key_hash FROM " service                  \
               "_idempotency WHERE created_ms < $1 ORDER BY created_ms LIMIT 16)",                                     \
        .params = "i", .columns = "", .write = true};                                                                  \
    const struct assay_idem_table ident = {&ident##_get, &ident##_put, &ident##_purge}

struct assay_idem {
    const struct assay_idem_table *table;
    bool active; /* the request carries a key */
    int64_t now_ms;
    char key_hash[ASSAY_SHA256_HEX];
    char body_hash[ASSAY_SHA256_HEX];
    unsigned char seal[32];
};

/* Takes the key from the request; no I/O, any thread. Without the header: not active, 0.
 * scope: what stands for the caller where there is none yet ("" otherwise).
 * fingerprint: what must be equal between retries; "" takes the whole body. */
int assay_idem_prepare(struct assay_idem *id, const struct assay_idem_table *table, struct assay_request *rq,
                       struct assay_str scope, struct assay_str fingerprint, struct assay_err *err) ASSAY_MUST_CHECK;
/* 0: not seen; ASSAY_IDEM_ANSWERED: rs is filled; ASSAY_E_UNPROCESSABLE: seen with another body. */
int assay_idem_lookup(const struct assay_idem *id, const struct assay_store *st, struct assay_request *rq,
                      struct assay_response *rs, struct assay_err *err) ASSAY_MUST_CHECK;
/* prepare and lookup, with the caller as scope and the body as fingerprint. */
int assay_idem_begin(struct assay_idem *id, const struct assay_idem_table *table, const struct assay_store *st,
                     struct assay_request *rq, struct assay_response *rs, struct assay_err *err) ASSAY_MUST_CHECK;
/* Adds the answer in rs (status, Location, body) to an empty tx; nothing when not active. The body must
 * stay untouched until the transaction is done. */
void assay_idem_add(const struct assay_idem *id, struct assay_tx *tx, const struct assay_response *rs, bool sealed);
/* True when a finished tx failed because a concurrent duplicate was first: look it up. */
bool assay_idem_lost(const struct assay_idem *id, const struct assay_tx *tx);
/* Executes tx. 0: done, rs stands; ASSAY_IDEM_ANSWERED: rs now holds the winner's answer; or the error. */
int assay_idem_commit(const struct assay_idem *id, const struct assay_store *st, struct assay_tx *tx,
                      struct assay_request *rq, struct assay_response *rs, struct assay_err *err) ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
