/* What the SDK gives to handlers beyond one request: cursors, idempotency keys, password hashing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include <assay/idempotency.h>
#include <assay/password.h>

#include "svc_harness.h"

static void cursors_come_back_and_others_are_refused(void **state)
{
    (void)state;
    struct assay_arena *a = assay_arena_new(0);
    struct assay_request rq = {.arena = a};
    static const char *const keys[] = {"", "a", "ab", "abc", "abcd", "01900000-0000-7000-8000-000000000000", "\xc3\xa9/?=+"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct assay_response rs = {.status = 0};
        struct assay_str key, cursor = assay_cursor_encode(a, assay_str(keys[i]));
        for (size_t k = 0; k < cursor.n; k++)
            assert_null(strchr("+/=&%", cursor.p[k]));
        assert_int_equal(assay_cursor_decode(&rq, &rs, cursor, &key, NULL), 0);
        assert_true(assay_str_is(key, keys[i]));
    }
    /* a lone character, stray bits, padding, other alphabets, what is no text */
    static const char *const bad[] = {"A", "YR", "YQ==", "Y Q", "YW+j", "_w", "AA", "%59"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct assay_response rs = {.status = 0};
        struct assay_str key;
        assert_int_equal(assay_cursor_decode(&rq, &rs, assay_str(bad[i]), &key, NULL), ASSAY_E_INVALID);
        assert_int_equal(rs.faults->n, 1);
    }
    assay_arena_free(a);
}

/* ---- idempotency, over the table of a real service -------------------------------------------------- */

ASSAY_IDEM_DECLARE(over);
ASSAY_IDEM_DEFINE(over, "agents");

static const struct assay_route route = {.method = ASSAY_POST, .path = "/things", .operation_id = "things_create"};

static struct assay_request request(struct svc *h, const char *key, const char *body)
{
    return (struct assay_request){.route = &route, .path = ASSAY_STR("/things"), .body = assay_str(body),
                                  .idempotency_key = assay_str(key), .who = SVC_USER, .arena = svc_arena(h)};
}

/* One creating request; `age_ms` ago. Gives what begin said, or the end of the transaction. */
static int create(struct svc *h, const char *key, const char *body, const char *answer, int64_t age_ms, struct assay_response *rs)
{
    struct assay_request rq = request(h, key, body);
    struct assay_idem id;
    struct assay_err err;
    *rs = (struct assay_response){.status = 0};
    assert_int_equal(assay_idem_prepare(&id, &over, &rq, ASSAY_STR_NULL, ASSAY_STR_NULL, &err), 0);
    id.now_ms -= age_ms;
    int rc = assay_idem_lookup(&id, svc_store(h), &rq, rs, &err);
    if (rc != 0)
        return rc;
    rs->status = 201;
    assay_buf_puts(&rs->body, answer);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test");
    assay_idem_add(&id, tx, rs, false);
    return assay_idem_commit(&id, svc_store(h), tx, &rq, rs, &err);
}

static void a_key_answers_again_for_a_day(void **state)
{
    (void)state;
    struct svc *h = svc_new();
    svc_plugin(h, "agents");
    svc_start(h);
    struct assay_response rs;
    assert_int_equal(create(h, "k", "a", "{\"first\":1}", ASSAY_IDEM_KEEP_MS - 1000, &rs), 0);
    assay_response_clear(&rs);
    assert_int_equal(create(h, "k", "a", "{\"second\":2}", 0, &rs), ASSAY_IDEM_ANSWERED);
    assert_true(assay_str_is(assay_buf_view(&rs.body), "{\"first\":1}"));
    assay_response_clear(&rs);
    assert_int_equal(create(h, "k", "b", "", 0, &rs), ASSAY_E_UNPROCESSABLE);
    assay_response_clear(&rs);

    /* an expired one is as if it had never been, purged or not */
    assert_int_equal(create(h, "old", "a", "{\"first\":1}", ASSAY_IDEM_KEEP_MS + 1000, &rs), 0);
    assay_response_clear(&rs);
    assert_int_equal(create(h, "old", "b", "{\"second\":2}", 0, &rs), 0);
    assay_response_clear(&rs);
    assert_int_equal(create(h, "old", "b", "", 0, &rs), ASSAY_IDEM_ANSWERED);
    assert_true(assay_str_is(assay_buf_view(&rs.body), "{\"second\":2}"));
    assay_response_clear(&rs);
    svc_free(h);
}

static void without_a_key_nothing_is_remembered(void **state)
{
    (void)state;
    struct svc *h = svc_new();
    svc_plugin(h, "agents");
    svc_start(h);
    struct assay_request rq = request(h, "", "x");
    struct assay_idem id;
    assert_int_equal(assay_idem_prepare(&id, &over, &rq, ASSAY_STR_NULL, ASSAY_STR_NULL, NULL), 0);
    assert_false(id.active);
    struct assay_response rs = {.status = 201};
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test");
    assay_idem_add(&id, tx, &rs, true);
    assert_int_equal(tx->n_ops, 0);
    rq.idempotency_key = ASSAY_STR("a\tb");
    assert_int_equal(assay_idem_prepare(&id, &over, &rq, ASSAY_STR_NULL, ASSAY_STR_NULL, NULL), ASSAY_E_INVALID);
    char longest[ASSAY_IDEM_KEY_MAX + 2];
    memset(longest, 'x', sizeof longest);
    rq.idempotency_key = (struct assay_str){longest, ASSAY_IDEM_KEY_MAX};
    assert_int_equal(assay_idem_prepare(&id, &over, &rq, ASSAY_STR_NULL, ASSAY_STR_NULL, NULL), 0);
    rq.idempotency_key.n++;
    assert_int_equal(assay_idem_prepare(&id, &over, &rq, ASSAY_STR_NULL, ASSAY_STR_NULL, NULL), ASSAY_E_INVALID);
    svc_free(h);
}

/* ---- passwords ------------------------------------------------------------------------------------------ */

static void a_password_verifies_against_its_own_hash_only(void **state)
{
    (void)state;
    char a[ASSAY_PASSWORD_HASH], b[ASSAY_PASSWORD_HASH];
    bool ok = false;
    assert_int_equal(assay_password_hash(ASSAY_STR("secret"), a, NULL), 0);
    assert_int_equal(assay_password_hash(ASSAY_STR("secret"), b, NULL), 0);
    assert_true(assay_str_starts(assay_str(a), "$argon2id$v=19$"));
    assert_string_not_equal(a, b);
    assert_int_equal(assay_password_verify(ASSAY_STR("secret"), assay_str(a), &ok, NULL), 0);
    assert_true(ok);
    assert_int_equal(assay_password_verify(ASSAY_STR("Secret"), assay_str(a), &ok, NULL), 0);
    assert_false(ok);
    ok = true;
    assert_int_equal(assay_password_verify(ASSAY_STR(""), ASSAY_STR(""), &ok, NULL), 0);
    assert_false(ok);
    assert_int_equal(assay_password_verify(ASSAY_STR("x"), ASSAY_STR("no hash at all"), &ok, NULL), 0);
    assert_false(ok);
}

static atomic_int done, busy;

static void *hash_one(void *arg)
{
    (void)arg;
    char out[ASSAY_PASSWORD_HASH];
    int rc = assay_password_hash(ASSAY_STR("secret"), out, NULL);
    atomic_fetch_add(rc == 0 ? &done : &busy, 1);
    assert_true(rc == 0 || rc == ASSAY_E_BUSY);
    return NULL;
}

static void a_flood_of_hashing_is_refused_and_not_queued_for_ever(void **state)
{
    (void)state;
    enum { MANY = 32 };
    pthread_t t[MANY];
    for (int i = 0; i < MANY; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hash_one, NULL), 0);
    for (int i = 0; i < MANY; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&done) + atomic_load(&busy), MANY);
    assert_true(atomic_load(&done) >= ASSAY_PASSWORD_PARALLEL + ASSAY_PASSWORD_WAITING);
    assert_true(atomic_load(&busy) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cursors_come_back_and_others_are_refused),
        cmocka_unit_test(a_key_answers_again_for_a_day),
        cmocka_unit_test(without_a_key_nothing_is_remembered),
        cmocka_unit_test(a_password_verifies_against_its_own_hash_only),
        cmocka_unit_test(a_flood_of_hashing_is_refused_and_not_queued_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
