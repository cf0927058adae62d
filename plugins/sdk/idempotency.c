#include <assay/idempotency.h>
#include <assay/plugin.h>

#include <assert.h>
#include <sodium.h>

/* Each part goes in with its length, so that no two lists of parts hash alike. */
static void absorb(crypto_generichash_state *st, struct assay_str s)
{
    uint64_t n = s.n;
    unsigned char le[8];
    for (int i = 0; i < 8; i++)
        le[i] = (unsigned char)(n >> (8 * i));
    crypto_generichash_update(st, le, sizeof le);
    if (s.n != 0)
        crypto_generichash_update(st, (const unsigned char *)s.p, s.n);
}

static void derive(const char *purpose, const struct assay_str *part, size_t n, unsigned char out[32])
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, NULL, 0, 32);
    absorb(&st, assay_str(purpose));
    for (size_t i = 0; i < n; i++)
        absorb(&st, part[i]);
    crypto_generichash_final(&st, out, 32);
    sodium_memzero(&st, sizeof st);
}

static void derive_hex(const char *purpose, const struct assay_str *part, size_t n, char out[ASSAY_SHA256_HEX])
{
    unsigned char raw[32];
    derive(purpose, part, n, raw);
    sodium_bin2hex(out, ASSAY_SHA256_HEX, raw, sizeof raw);
    sodium_memzero(raw, sizeof raw);
}

int assay_idem_prepare(struct assay_idem *id, const struct assay_idem_table *table, struct assay_request *rq,
                       struct assay_str scope, struct assay_str fingerprint, struct assay_err *err)
{
    memset(id, 0, sizeof *id);
    id->table = table;
    struct assay_str key = rq->idempotency_key;
    if (key.p == NULL || key.n == 0)
        return ASSAY_OK;
    if (key.n > ASSAY_IDEM_KEY_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "Idempotency-Key has %zu characters; at most %d are taken", key.n,
                             ASSAY_IDEM_KEY_MAX);
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] < 0x20 || key.p[i] > 0x7e)
            return assay_err_set(err, ASSAY_E_INVALID, "Idempotency-Key must be printable ASCII");
    }
    if (sodium_init() < 0)
        return assay_err_set(err, ASSAY_E_INTERNAL, "libsodium cannot be initialised");

    const struct assay_principal *who = rq->who;
    bool signed_in = who != NULL && who->authenticated;
    const struct assay_str part[] = {
        signed_in ? who->user_id : ASSAY_STR_NULL,
        signed_in ? who->agent_id : ASSAY_STR_NULL,
        scope,
        rq->route != NULL ? assay_str(rq->route->operation_id) : ASSAY_STR_NULL,
        rq->path,
        key,
        fingerprint.n != 0 ? fingerprint : rq->body,
    };
    size_t without_body = sizeof part / sizeof part[0] - 1;
    derive_hex("assay idempotency key", part, without_body, id->key_hash);
    derive_hex("assay idempotency body", part, without_body + 1, id->body_hash);
    derive("assay idempotency seal", part, without_body + 1, id->seal);
    id->now_ms = assay_now_ms();
    id->active = true;
    return ASSAY_OK;
}

static int unseal(const struct assay_idem *id, struct assay_str box, struct assay_arena *arena, struct assay_str *out,
                  struct assay_err *err)
{
    if (box.n < crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)
        return assay_err_set(err, ASSAY_E_CORRUPT, "a stored answer is too short");
    size_t n = box.n - crypto_secretbox_NONCEBYTES - crypto_secretbox_MACBYTES;
    unsigned char *p = assay_arena_alloc(arena, n + 1);
    if (p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    const unsigned char *in = (const unsigned char *)box.p;
    if (crypto_secretbox_open_easy(p, in + crypto_secretbox_NONCEBYTES, box.n - crypto_secretbox_NONCEBYTES, in,
                                   id->seal) != 0)
        return assay_err_set(err, ASSAY_E_CORRUPT, "a stored answer does not open with its key");
    *out = (struct assay_str){(const char *)p, n};
    return ASSAY_OK;
}

int assay_idem_lookup(const struct assay_idem *id, const struct assay_store *st, struct assay_request *rq,
                      struct assay_response *rs, struct assay_err *err)
{
    if (!id->active)
        return ASSAY_OK;
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, id->table->get, rq->arena, &rows, err, ASSAY_VZ(id->key_hash),
                         ASSAY_VI(id->now_ms - ASSAY_IDEM_KEEP_MS));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return ASSAY_OK;
    const struct assay_val *col = rows.row[0].col;
    if (!assay_equal_ct(col[0].s, assay_str(id->body_hash)))
        return assay_err_set(err, ASSAY_E_UNPROCESSABLE,
                             "this Idempotency-Key was used with another body; use a new key for a new request");
    struct assay_str answer = col[4].s;
    if (col[3].i != 0) {
        rc = unseal(id, col[4].s, rq->arena, &answer, err);
        if (rc < 0)
            return rc;
    }
    assay_buf_reset(&rs->body);
    rs->n_headers = 0;
    rs->status = (int)col[1].i;
    assay_buf_str(&rs->body, answer);
    if (rs->body.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (col[2].s.n != 0)
        assay_reply_header(rs, ASSAY_STR("Location"), col[2].s);
    assay_reply_header(rs, ASSAY_STR("Idempotency-Replayed"), ASSAY_STR("true"));
    return ASSAY_IDEM_ANSWERED;
}

int assay_idem_begin(struct assay_idem *id, const struct assay_idem_table *table, const struct assay_store *st,
                     struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    int rc = assay_idem_prepare(id, table, rq, ASSAY_STR_NULL, ASSAY_STR_NULL, err);
    return rc < 0 ? rc : assay_idem_lookup(id, st, rq, rs, err);
}

void assay_idem_add(const struct assay_idem *id, struct assay_tx *tx, const struct assay_response *rs, bool sealed)
{
    if (!id->active || tx == NULL)
        return;
    assert(tx->n_ops == 0); /* lost() knows the guard by its index */
    struct assay_str location = ASSAY_STR("");
    for (size_t i = 0; i < rs->n_headers; i++) {
        if (assay_str_ieq(rs->header[i].key, "location"))
            location = rs->header[i].value;
    }
    struct assay_str answer = assay_buf_view(&rs->body);
    if (answer.p == NULL)
        answer = ASSAY_STR("");
    if (sealed) {
        size_t n = crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + answer.n;
        unsigned char *box = assay_arena_alloc(tx->arena, n);
        if (box == NULL) {
            tx->failed = true;
            return;
        }
        randombytes_buf(box, crypto_secretbox_NONCEBYTES);
        crypto_secretbox_easy(box + crypto_secretbox_NONCEBYTES, (const unsigned char *)answer.p, answer.n, box, id->seal);
        answer = (struct assay_str){(const char *)box, n};
    }
    int64_t too_old = id->now_ms - ASSAY_IDEM_KEEP_MS;
    ASSAY_TX(tx, id->table->put, ASSAY_EXPECT_ONE, ASSAY_VZ(id->key_hash), ASSAY_VZ(id->body_hash),
             ASSAY_VI(rs->status != 0 ? rs->status : 200), ASSAY_VT(location), ASSAY_VI(sealed ? 1 : 0), ASSAY_VB(answer),
             ASSAY_VI(id->now_ms), ASSAY_VI(too_old));
    /* a few at a time, so that no request pays for a long absence */
    ASSAY_TX(tx, id->table->purge, ASSAY_EXPECT_ANY, ASSAY_VI(too_old));
}

bool assay_idem_lost(const struct assay_idem *id, const struct assay_tx *tx)
{
    return id->active && tx->status == ASSAY_E_GUARD && tx->failed_op == 0;
}

int assay_idem_commit(const struct assay_idem *id, const struct assay_store *st, struct assay_tx *tx,
                      struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    int rc = assay_store_exec(st, tx, err);
    if (rc != ASSAY_E_GUARD || !assay_idem_lost(id, tx))
        return rc;
    rc = assay_idem_lookup(id, st, rq, rs, err);
    if (rc == ASSAY_OK) /* the winner's row went away between the two: it was about to expire */
        return assay_err_set(err, ASSAY_E_BUSY, "the request collided with an older one of the same key; send it again");
    return rc;
}
