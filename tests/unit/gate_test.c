/*
 * The auth gate: which tokens are taken, which are refused and why, what the cache may remember.
 *
 * Forged tokens are signed here with HMAC-SHA256 of libsodium, not with the library that the gate uses, so a
 * fault that both ends share cannot hide.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#include <assay/plugin.h>

#include "gateway/gate.h"

#define SECRET_A "0123456789abcdef0123456789abcdef-A"
#define SECRET_B "fedcba9876543210fedcba9876543210-B"
#define USER "0193a1b2-0000-7000-8000-00000000000a"
#define NOW_S INT64_C(1800000000)

struct fixture {
    struct assay_gate *gate;
    struct assay_gate_cache *cache;
    struct assay_arena *arena;
    struct assay_secret *a, *b;
    int64_t now_ms;
    struct assay_account account;
    int account_rc, session_rc;
    unsigned account_calls, agent_calls;
    struct assay_agent_token agent;
    char agent_hash[ASSAY_SHA256_HEX];
};

static int64_t test_now(void *ctx)
{
    return ((struct fixture *)ctx)->now_ms;
}

static int account_get(void *self, struct assay_str id, struct assay_arena *arena, struct assay_account *out, struct assay_err *err)
{
    struct fixture *f = self;
    (void)arena;
    f->account_calls++;
    if (f->account_rc)
        return assay_err_set(err, f->account_rc, "told to");
    if (!assay_str_is(id, USER))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such account");
    *out = f->account;
    return 0;
}

static int agent_get(void *self, struct assay_str hash, struct assay_arena *arena, struct assay_agent_token *out, struct assay_err *err)
{
    struct fixture *f = self;
    (void)arena;
    f->agent_calls++;
    if (!assay_str_is(hash, f->agent_hash))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such token");
    *out = f->agent;
    return 0;
}

#define SESSION "01890a5d-ac96-774b-bcce-b302099a8057"

/* One session of the account has not ended. */
static int account_session(void *self, struct assay_str user, struct assay_str session, int64_t epoch, struct assay_err *err)
{
    struct fixture *f = self;
    if (f->session_rc)
        return assay_err_set(err, f->session_rc, "told to");
    bool lives = assay_str_is(user, USER) && assay_str_is(session, SESSION) && epoch >= 2;
    return lives ? 0 : assay_err_set(err, ASSAY_E_NOT_FOUND, "no such session");
}

static const struct assay_accounts_ops accounts = {.size = sizeof accounts, .get = account_get, .session = account_session};
static const struct assay_agent_tokens_ops agents = {sizeof agents, agent_get};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->now_ms = NOW_S * 1000;
    f->a = assay_secret_new(ASSAY_STR(SECRET_A));
    f->b = assay_secret_new(ASSAY_STR(SECRET_B));
    f->account = (struct assay_account){.user_id = ASSAY_STR(USER), .role = ASSAY_ROLE_USER, .epoch = 3};
    f->arena = assay_arena_new(0);
    const struct assay_gate_key keys[] = {{"a", f->a}, {"b", f->b}};
    struct assay_gate_config cfg = {.keys = keys, .n_keys = 2, .leeway_s = 5, .cache_entries = 64, .now_ms = test_now, .now_ctx = f};
    struct assay_err err;
    if (sodium_init() < 0 || assay_gate_new(&cfg, &f->gate, &err) != 0)
        return -1;
    assay_gate_services(f->gate, &accounts, f, &agents, f);
    f->cache = assay_gate_cache_new(f->gate);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assay_gate_cache_free(f->cache);
    assay_gate_free(f->gate);
    assay_arena_free(f->arena);
    assay_secret_free(f->a);
    assay_secret_free(f->b);
    free(f);
    return 0;
}

/* ---- forging --------------------------------------------------------------------------------------- */

static void put_base64url(struct assay_buf *out, const void *p, size_t n)
{
    char text[4096];
    assert_non_null(sodium_bin2base64(text, sizeof text, p, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING));
    assay_buf_puts(out, text);
}

static struct assay_str forge(struct fixture *f, const char *header, const char *claims, const char *secret)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    unsigned char mac[32];
    crypto_auth_hmacsha256_state hmac;
    put_base64url(&b, header, strlen(header));
    assay_buf_putc(&b, '.');
    put_base64url(&b, claims, strlen(claims));
    crypto_auth_hmacsha256_init(&hmac, (const unsigned char *)secret, strlen(secret));
    crypto_auth_hmacsha256_update(&hmac, (const unsigned char *)b.p, b.n);
    crypto_auth_hmacsha256_final(&hmac, mac);
    assay_buf_putc(&b, '.');
    put_base64url(&b, mac, sizeof mac);
    return assay_arena_take(f->arena, &b);
}

#define HEAD_A "{\"alg\":\"HS256\",\"kid\":\"a\",\"typ\":\"JWT\"}"
#define BASE "\"iss\":\"assay\",\"aud\":\"assay\",\"sub\":\"" USER "\",\"role\":\"user\",\"epoch\":3"
#define TIMES ",\"iat\":1800000000,\"exp\":1800000600"
#define GOOD "{" BASE TIMES "}"

static int verify(struct fixture *f, struct assay_str token)
{
    struct assay_claims c;
    struct assay_err err = {0};
    return assay_gate_verify(f->gate, token, f->arena, &c, &err);
}

static int look_up(struct fixture *f, struct assay_str token, struct assay_gate_verdict *v)
{
    struct assay_err err = {0};
    return assay_gate_lookup(f->gate, token, f->arena, v, &err);
}

static struct assay_str signed_token(struct fixture *f, int64_t epoch, int64_t ttl)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_gate_sign(f->gate, ASSAY_STR(USER), ASSAY_STR("user"), epoch, ttl, &b, &err), 0);
    return assay_arena_take(f->arena, &b);
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static struct assay_str signed_for(struct fixture *f, const char *session, int64_t epoch)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_gate_sign_session(f->gate, ASSAY_STR(USER), ASSAY_STR("user"), epoch, assay_str(session), 600, &b, &err), 0);
    return assay_arena_take(f->arena, &b);
}

static void a_session_that_lives_goes_on_when_another_one_has_ended(void **state)
{
    struct fixture *f = *state;
    struct assay_gate_verdict v;
    struct assay_claims c;
    struct assay_err err;
    struct assay_str mine = signed_for(f, SESSION, 2), other = signed_for(f, "01890a5d-ac96-774b-bcce-b302099a8058", 2);
    assert_int_equal(assay_gate_verify(f->gate, mine, f->arena, &c, &err), 0);
    assert_true(assay_str_is(c.session, SESSION));
    /* the account's epoch is 3: below it the session is asked about, and the role is the account's of today */
    assert_int_equal(look_up(f, mine, &v), 0);
    assert_int_equal(v.who.role, ASSAY_ROLE_USER);
    assert_int_equal(look_up(f, other, &v), ASSAY_E_UNAUTHENTICATED);
    assert_int_equal(look_up(f, signed_for(f, SESSION, 1), &v), ASSAY_E_UNAUTHENTICATED);
    assert_int_equal(look_up(f, signed_for(f, "", 2), &v), ASSAY_E_UNAUTHENTICATED);
    assert_int_equal(look_up(f, other = signed_for(f, "01890a5d-ac96-774b-bcce-b302099a8058", 3), &v), 0);
    /* who cannot be asked has not said no */
    f->session_rc = ASSAY_E_BUSY;
    assert_int_equal(look_up(f, mine, &v), ASSAY_E_BUSY);
    /* a provider of before knows nothing of sessions: then all are revoked */
    struct assay_accounts_ops old = accounts;
    old.size = offsetof(struct assay_accounts_ops, session);
    assay_gate_services(f->gate, &old, f, &agents, f);
    assert_int_equal(look_up(f, mine, &v), ASSAY_E_UNAUTHENTICATED);
    struct assay_buf b = ASSAY_BUF_INIT;
    assert_int_equal(assay_gate_sign_session(f->gate, ASSAY_STR(USER), ASSAY_STR("user"), 2, ASSAY_STR("no id"), 60, &b, &err), ASSAY_E_INVALID);
}

static void what_it_signs_it_takes(void **state)
{
    struct fixture *f = *state;
    struct assay_str t = signed_token(f, 3, 600);
    struct assay_claims c;
    struct assay_err err;
    assert_int_equal(assay_gate_verify(f->gate, t, f->arena, &c, &err), 0);
    assert_true(assay_str_is(c.sub, USER) && assay_str_is(c.role, "user"));
    assert_int_equal(c.epoch, 3);
    assert_int_equal(c.iat, NOW_S);
    assert_int_equal(c.exp, NOW_S + 600);
}

static void a_token_signed_elsewhere_with_either_key_is_taken(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(verify(f, forge(f, HEAD_A, GOOD, SECRET_A)), 0);
    assert_int_equal(verify(f, forge(f, "{\"kid\":\"b\",\"alg\":\"HS256\"}", GOOD, SECRET_B)), 0);
    /* a key verifies only what names it */
    assert_int_equal(verify(f, forge(f, HEAD_A, GOOD, SECRET_B)), ASSAY_E_UNAUTHENTICATED);
}

static void headers_that_choose_for_themselves_are_refused(void **state)
{
    static const char *const head[] = {
        "{\"alg\":\"none\",\"kid\":\"a\"}",
        "{\"alg\":\"None\",\"kid\":\"a\"}",
        "{\"alg\":\"NONE\",\"kid\":\"a\"}",
        "{\"alg\":\"\",\"kid\":\"a\"}",
        "{\"alg\":\"hs256\",\"kid\":\"a\"}",
        "{\"alg\":\"HS384\",\"kid\":\"a\"}",
        "{\"alg\":\"HS512\",\"kid\":\"a\"}",
        "{\"alg\":\"RS256\",\"kid\":\"a\"}",
        "{\"alg\":\"ES256\",\"kid\":\"a\"}",
        "{\"alg\":[\"HS256\"],\"kid\":\"a\"}",
        "{\"alg\":null,\"kid\":\"a\"}",
        "{\"kid\":\"a\"}",
        "{\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"kid\":\"\"}",
        "{\"alg\":\"HS256\",\"kid\":\"A\"}",
        "{\"alg\":\"HS256\",\"kid\":\"../a\"}",
        "{\"alg\":\"HS256\",\"kid\":\"a' OR '1'='1\"}",
        "{\"alg\":\"HS256\",\"kid\":\"a\\u0000\"}",
        "{\"alg\":\"HS256\",\"kid\":1}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"b64\":false}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"jku\":\"http://127.0.0.1/\"}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"x5u\":\"http://127.0.0.1/\"}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"}}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"typ\":\"JWE\"}",
        "{\"alg\":\"none\",\"alg\":\"HS256\",\"kid\":\"a\"}",
        "{\"alg\":\"HS256\",\"kid\":\"b\",\"kid\":\"a\"}",
        "{\"alg\":\"HS256\",\"kid\":\"a\"}x",
        "[\"HS256\",\"a\"]",
        "\"HS256\"",
        "{\"alg\":\"HS256\",\"kid\":\"a\"",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        assert_int_equal(verify(f, forge(f, head[i], GOOD, SECRET_A)), ASSAY_E_UNAUTHENTICATED);
}

static void claims_that_lack_or_break_something_are_refused(void **state)
{
    static const char *const claims[] = {
        "{\"aud\":\"assay\",\"sub\":\"" USER "\",\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"sub\":\"" USER "\",\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"aud\":\"assay\",\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"aud\":\"assay\",\"sub\":\"" USER "\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"aud\":\"assay\",\"sub\":\"" USER "\",\"role\":\"user\"" TIMES "}",
        "{" BASE ",\"iat\":1800000000}",
        "{" BASE ",\"exp\":1800000600}",
        "{\"iss\":\"other\",\"aud\":\"assay\",\"sub\":\"" USER "\",\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"aud\":\"other\",\"sub\":\"" USER "\",\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"aud\":[\"assay\"],\"sub\":\"" USER "\",\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"aud\":\"assay\",\"sub\":\"\",\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"aud\":\"assay\",\"sub\":\"a b\",\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{\"iss\":\"assay\",\"aud\":\"assay\",\"sub\":7,\"role\":\"user\",\"epoch\":3" TIMES "}",
        "{" BASE TIMES ",\"sub\":\"someone-else\"}",
        "{" BASE TIMES ",\"admin\":true}",
        "{" BASE ",\"iat\":1800000000,\"exp\":1799999995}",          /* over, leeway and all */
        "{" BASE ",\"iat\":1799996000,\"exp\":1799999000}",
        "{" BASE ",\"iat\":1800000000,\"exp\":1800003601}",          /* lives too long */
        "{" BASE ",\"iat\":1800000000,\"exp\":1800000000}",
        "{" BASE ",\"iat\":1800000006,\"exp\":1800000600}",          /* from the future */
        "{" BASE TIMES ",\"nbf\":1800000006}",
        "{" BASE TIMES ",\"nbf\":\"0\"}",
        "{" BASE ",\"iat\":1800000000,\"exp\":\"1800000600\"}",
        "{" BASE ",\"iat\":1800000000,\"exp\":1800000600.0}",
        "{" BASE ",\"iat\":1800000000,\"exp\":1.8000006e9}",
        "{" BASE ",\"iat\":1800000000,\"exp\":-1}",
        "{" BASE ",\"iat\":-1,\"exp\":1800000600}",
        "{" BASE ",\"iat\":1800000000,\"exp\":99999999999999999999}",
        "{" BASE ",\"iat\":1800000000,\"exp\":9223372036854775807}",
        "{" BASE ",\"iat\":1800000000,\"exp\":null}",
        "{" BASE ",\"iat\":1800000000,\"exp\":{}}",
        "[]",
        "null",
        "{}",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++)
        assert_int_equal(verify(f, forge(f, HEAD_A, claims[i], SECRET_A)), ASSAY_E_UNAUTHENTICATED);
}

static void the_leeway_is_what_was_configured(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(verify(f, forge(f, HEAD_A, "{" BASE ",\"iat\":1799999000,\"exp\":1799999996}", SECRET_A)), 0);
    assert_int_equal(verify(f, forge(f, HEAD_A, "{" BASE ",\"iat\":1800000005,\"exp\":1800000600,\"nbf\":1800000005}", SECRET_A)), 0);
    assert_int_equal(verify(f, forge(f, HEAD_A, "{" BASE ",\"iat\":1800000000,\"exp\":1800003600}", SECRET_A)), 0);
}

static void every_changed_byte_breaks_a_token(void **state)
{
    struct fixture *f = *state;
    struct assay_str good = forge(f, HEAD_A, GOOD, SECRET_A);
    char copy[1024];
    assert_true(good.n < sizeof copy);
    for (size_t i = 0; i < good.n; i++) {
        memcpy(copy, good.p, good.n);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        assert_int_equal(verify(f, (struct assay_str){copy, good.n}), ASSAY_E_UNAUTHENTICATED);
    }
    for (size_t n = 0; n < good.n; n++)
        assert_int_equal(verify(f, (struct assay_str){good.p, n}), ASSAY_E_UNAUTHENTICATED);
}

static void one_token_has_one_spelling(void **state)
{
    struct fixture *f = *state;
    struct assay_str good = forge(f, HEAD_A, GOOD, SECRET_A);
    struct assay_err err;
    static const char *const end[] = {"=", "==", ".", ".x", " ", "\n", "A"};
    for (size_t i = 0; i < sizeof end / sizeof end[0]; i++) {
        struct assay_str t = assay_arena_fmt(f->arena, "%.*s%s", ASSAY_FMT(good), end[i]);
        assert_int_equal(verify(f, t), ASSAY_E_UNAUTHENTICATED);
    }
    /* 32 bytes are 43 characters, whose last has two bits to spare: all four spellings decode alike, one is canonical */
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned taken = 0;
    for (size_t i = 0; i < 64; i++) {
        struct assay_str t = assay_arena_str(f->arena, good);
        ((char *)(uintptr_t)t.p)[t.n - 1] = alphabet[i];
        taken += verify(f, t) == 0;
    }
    assert_int_equal(taken, 1);
    struct assay_str long_one = assay_arena_fmt(f->arena, "Bearer %0*d", ASSAY_TOKEN_MAX + 1, 0), token;
    assert_int_equal(assay_gate_bearer(long_one, &token, &err), ASSAY_E_UNAUTHENTICATED);
}

static void only_bearer_is_a_scheme(void **state)
{
    struct assay_str token;
    struct assay_err err;
    (void)state;
    static const char *const bad[] = {"", "Bearer", "Bearer ", "Basic dTpw", "Bearerx", "Bearer a b", "Bearer a,b", "Bearer \"a\"", "token a.b.c"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(assay_gate_bearer(assay_str(bad[i]), &token, &err), ASSAY_E_UNAUTHENTICATED);
    assert_int_equal(assay_gate_bearer(ASSAY_STR("bEARER a.b-c_d"), &token, &err), 0);
    assert_true(assay_str_is(token, "a.b-c_d"));
}

static void the_account_decides_role_and_life(void **state)
{
    struct fixture *f = *state;
    struct assay_gate_verdict v;
    /* the token says user; the account has become an instructor */
    f->account.role = ASSAY_ROLE_INSTRUCTOR;
    assert_int_equal(look_up(f, signed_token(f, 3, 600), &v), 0);
    assert_int_equal(v.who.role, ASSAY_ROLE_INSTRUCTOR);
    assert_true(assay_str_is(v.who.role_name, "instructor"));
    assert_true(v.who.authenticated && assay_str_is(v.who.user_id, USER) && v.who.agent_id.n == 0);
    assert_int_equal(look_up(f, signed_token(f, 2, 600), &v), ASSAY_E_UNAUTHENTICATED); /* an older epoch */
    f->account.disabled = true;
    assert_int_equal(look_up(f, signed_token(f, 3, 600), &v), ASSAY_E_UNAUTHENTICATED);
    f->account.disabled = false;
    f->account_rc = ASSAY_E_NOT_FOUND;
    assert_int_equal(look_up(f, signed_token(f, 3, 600), &v), ASSAY_E_UNAUTHENTICATED);
    f->account_rc = ASSAY_E_IO;
    assert_int_equal(look_up(f, signed_token(f, 3, 600), &v), ASSAY_E_IO);
}

static void forged_tokens_never_reach_the_accounts(void **state)
{
    struct fixture *f = *state;
    struct assay_gate_verdict v;
    assert_int_equal(look_up(f, forge(f, HEAD_A, GOOD, SECRET_B), &v), ASSAY_E_UNAUTHENTICATED);
    assert_int_equal(f->account_calls, 0);
}

static void without_the_services_tokens_are_not_taken(void **state)
{
    struct fixture *f = *state;
    struct assay_gate_verdict v;
    assay_gate_services(f->gate, NULL, NULL, NULL, NULL);
    assert_int_equal(look_up(f, signed_token(f, 3, 600), &v), ASSAY_E_BUSY);
    assert_int_equal(look_up(f, ASSAY_STR("asy_x"), &v), ASSAY_E_BUSY);
}

static int try_it(struct fixture *f, struct assay_str token, struct assay_principal *who)
{
    struct assay_err err = {0};
    return assay_gate_try(f->cache, token, f->arena, who, &err);
}

static void remember(struct fixture *f, struct assay_str token)
{
    struct assay_gate_verdict v;
    assert_int_equal(look_up(f, token, &v), 0);
    assay_gate_remember(f->cache, token, &v);
}

static void the_cache_holds_until_the_recheck(void **state)
{
    struct fixture *f = *state;
    struct assay_principal who;
    struct assay_str t = signed_token(f, 3, 600);
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
    remember(f, t);
    assert_int_equal(try_it(f, t, &who), 0);
    assert_true(assay_str_is(who.user_id, USER) && who.role == ASSAY_ROLE_USER && assay_str_is(who.role_name, "user"));
    f->now_ms += 740;
    assert_int_equal(try_it(f, t, &who), 0);
    f->now_ms += 20; /* nearly due: one asks, the others go on */
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
    assert_int_equal(try_it(f, t, &who), 0);
    f->now_ms += 240; /* due: nobody goes on */
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
    remember(f, t);
    assert_int_equal(try_it(f, t, &who), 0);
    f->now_ms -= 5000; /* the clock was set back */
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
}

static void the_cache_never_outlives_the_token(void **state)
{
    struct fixture *f = *state;
    struct assay_principal who;
    struct assay_str t = signed_token(f, 3, 1);
    f->now_ms += 5500; /* in the leeway: 500 ms are left */
    remember(f, t);
    assert_int_equal(try_it(f, t, &who), 0);
    f->now_ms += 500;
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
}

static void a_change_of_the_account_voids_the_cache_at_once(void **state)
{
    struct fixture *f = *state;
    struct assay_principal who;
    struct assay_str t = signed_token(f, 3, 600);
    remember(f, t);
    assert_int_equal(try_it(f, t, &who), 0);
    f->account.epoch = 4;
    assay_gate_account_changed(f->gate, ASSAY_STR(USER));
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
    struct assay_gate_verdict v;
    assert_int_equal(look_up(f, t, &v), ASSAY_E_UNAUTHENTICATED);
}

static void a_change_between_lookup_and_remember_is_not_lost(void **state)
{
    struct fixture *f = *state;
    struct assay_principal who;
    struct assay_gate_verdict v;
    struct assay_str t = signed_token(f, 3, 600);
    assert_int_equal(look_up(f, t, &v), 0);
    assay_gate_account_changed(f->gate, ASSAY_STR(USER));
    assay_gate_remember(f->cache, t, &v);
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
}

static void a_full_cache_stays_right(void **state)
{
    struct fixture *f = *state;
    struct assay_principal who;
    unsigned kept = 0;
    for (int i = 0; i < 500; i++) {
        struct assay_str t = signed_token(f, 3, 600);
        remember(f, t);
        assert_int_equal(try_it(f, t, &who), 0); /* what was just put in is there */
        kept++;
    }
    assert_int_equal(kept, 500);
}

static void agent_tokens(void **state)
{
    struct fixture *f = *state;
    struct assay_principal who;
    struct assay_gate_verdict v;
    struct assay_str t = ASSAY_STR("asy_0123456789abcdef");
    assay_sha256_hex(t, f->agent_hash);
    f->agent = (struct assay_agent_token){.agent_id = ASSAY_STR("bot"), .owner_id = ASSAY_STR(USER), .scopes = ASSAY_STR("submissions:write")};
    remember(f, t);
    assert_int_equal(try_it(f, t, &who), 0);
    assert_true(assay_str_is(who.agent_id, "bot") && assay_str_is(who.user_id, USER));
    assert_true(assay_str_is(who.scopes, "submissions:write") && who.role == ASSAY_ROLE_AGENT);
    assay_gate_agent_changed(f->gate, ASSAY_STR("bot"));
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
    remember(f, t);
    assay_gate_account_changed(f->gate, ASSAY_STR(USER));
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
    f->agent.expires_ms = f->now_ms + 100;
    remember(f, t);
    f->now_ms += 100;
    assert_int_equal(try_it(f, t, &who), ASSAY_E_AGAIN);
    assert_int_equal(look_up(f, t, &v), ASSAY_E_UNAUTHENTICATED);
    f->agent.expires_ms = 0;
    f->account.disabled = true; /* a token dies with its owner */
    assert_int_equal(look_up(f, t, &v), ASSAY_E_UNAUTHENTICATED);
    assert_int_equal(look_up(f, ASSAY_STR("asy_other"), &v), ASSAY_E_UNAUTHENTICATED);
}

static void who_may_what(void **state)
{
    struct assay_err err;
    (void)state;
    const struct assay_principal nobody = {.authenticated = false};
    const struct assay_principal user = {.authenticated = true, .role = ASSAY_ROLE_USER, .role_name = ASSAY_STR("user"), .user_id = ASSAY_STR("u")};
    const struct assay_principal admin = {.authenticated = true, .role = ASSAY_ROLE_ADMIN, .user_id = ASSAY_STR("r")};
    struct assay_principal bot = {.authenticated = true, .role = ASSAY_ROLE_AGENT, .user_id = ASSAY_STR("u"), .agent_id = ASSAY_STR("b")};
    struct assay_route r = {.roles = ASSAY_ROLES_PUBLIC};
    assert_int_equal(assay_gate_permit(&r, &nobody, &err), 0);
    r.roles = ASSAY_ROLES_ANY;
    assert_int_equal(assay_gate_permit(&r, &nobody, &err), ASSAY_E_UNAUTHENTICATED);
    assert_int_equal(assay_gate_permit(&r, &user, &err), 0);
    assert_int_equal(assay_gate_permit(&r, &bot, &err), ASSAY_E_FORBIDDEN); /* no scope: no tokens */
    r.scope = "x:write";
    bot.scopes = ASSAY_STR("x:writer ax:write x:read");
    assert_int_equal(assay_gate_permit(&r, &bot, &err), ASSAY_E_FORBIDDEN);
    bot.scopes = ASSAY_STR("x:read x:write");
    assert_int_equal(assay_gate_permit(&r, &bot, &err), 0);
    r.roles = ASSAY_ROLES_STAFF;
    assert_int_equal(assay_gate_permit(&r, &bot, &err), ASSAY_E_FORBIDDEN);
    assert_int_equal(assay_gate_permit(&r, &user, &err), ASSAY_E_FORBIDDEN);
    assert_int_equal(assay_gate_permit(&r, &admin, &err), 0);
}

static int gate_with(const char *secret, const char *kid, bool weak_ok)
{
    struct assay_gate *g = NULL;
    struct assay_err err;
    struct assay_secret *s = assay_secret_new(assay_str(secret));
    const struct assay_gate_key keys[] = {{kid, s}};
    struct assay_gate_config cfg = {.keys = keys, .n_keys = 1, .weak_secret_ok = weak_ok};
    int rc = assay_gate_new(&cfg, &g, &err);
    assay_gate_free(g);
    assay_secret_free(s);
    return rc;
}

static void weak_secrets_are_refused(void **state)
{
    (void)state;
    assert_int_equal(gate_with("dev-secret", NULL, false), ASSAY_E_CONFIG);
    assert_int_equal(gate_with("secret", NULL, false), ASSAY_E_CONFIG);
    assert_int_equal(gate_with("0123456789abcdef0123456789abcde", NULL, false), ASSAY_E_CONFIG); /* 31 bytes */
    assert_int_equal(gate_with("secretsecretsecretsecretsecretsecret", NULL, false), ASSAY_E_CONFIG);
    assert_int_equal(gate_with("0123456789abcdef0123456789abcdef", NULL, false), 0);
    assert_int_equal(gate_with("dev-secret", NULL, true), 0);
    assert_int_equal(gate_with("", NULL, true), ASSAY_E_CONFIG);
    assert_int_equal(gate_with(SECRET_A, "a b", false), ASSAY_E_CONFIG);
    assert_int_equal(gate_with(SECRET_A, "", false), ASSAY_E_CONFIG);
}

/* A new key signs, the old one is believed until it is taken away; what is wrong changes nothing. */
static void keys_follow_one_another(void **state)
{
    struct fixture *f = *state;
    struct assay_err err = {0};
    bool changed = true;
    struct assay_str old = forge(f, HEAD_A, GOOD, SECRET_A);
    assert_int_equal(verify(f, old), 0);
    assert_string_equal(assay_gate_signs(f->gate), "a");
    const struct assay_gate_key same[] = {{"a", f->a}, {"b", f->b}}, turned[] = {{"b", f->b}, {"a", f->a}}, last[] = {{"b", f->b}};
    assert_int_equal(assay_gate_rekey(f->gate, same, 2, &changed, &err), 0);
    assert_false(changed);
    assert_int_equal(assay_gate_rekey(f->gate, turned, 2, &changed, &err), 0);
    assert_true(changed);
    assert_string_equal(assay_gate_signs(f->gate), "b");
    assert_int_equal(verify(f, old), 0);
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assert_int_equal(assay_gate_sign(f->gate, ASSAY_STR(USER), ASSAY_STR("user"), 3, 60, &b, &err), 0);

    /* neither none, nor a weak one, nor two with one id */
    struct assay_secret *weak = assay_secret_new(ASSAY_STR("secret"));
    const struct assay_gate_key bad[] = {{"c", weak}}, twice[] = {{"b", f->b}, {"b", f->a}};
    assert_int_equal(assay_gate_rekey(f->gate, NULL, 0, &changed, &err), ASSAY_E_CONFIG);
    assert_int_equal(assay_gate_rekey(f->gate, bad, 1, &changed, &err), ASSAY_E_CONFIG);
    assert_int_equal(assay_gate_rekey(f->gate, twice, 2, &changed, &err), ASSAY_E_CONFIG);
    assay_secret_free(weak);
    assert_string_equal(assay_gate_signs(f->gate), "b");
    assert_int_equal(verify(f, old), 0);

    assert_int_equal(assay_gate_rekey(f->gate, last, 1, &changed, &err), 0);
    assert_int_equal(verify(f, old), ASSAY_E_UNAUTHENTICATED);
    assert_int_equal(verify(f, assay_buf_view(&b)), 0);
}

static void what_cannot_be_signed(void **state)
{
    struct fixture *f = *state;
    struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_gate_sign(f->gate, ASSAY_STR(""), ASSAY_STR("user"), 0, 60, &b, &err), ASSAY_E_INVALID);
    assert_int_equal(assay_gate_sign(f->gate, ASSAY_STR(USER), ASSAY_STR("user"), 0, 3601, &b, &err), ASSAY_E_INVALID);
    assert_int_equal(assay_gate_sign(f->gate, ASSAY_STR(USER), ASSAY_STR("user"), 0, 0, &b, &err), ASSAY_E_INVALID);
    assert_int_equal(assay_gate_sign(f->gate, ASSAY_STR(USER), ASSAY_STR("user"), -1, 60, &b, &err), ASSAY_E_INVALID);
    assay_buf_free(&b);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_it_signs_it_takes),
        T(a_session_that_lives_goes_on_when_another_one_has_ended),
        T(a_token_signed_elsewhere_with_either_key_is_taken),
        T(headers_that_choose_for_themselves_are_refused),
        T(claims_that_lack_or_break_something_are_refused),
        T(the_leeway_is_what_was_configured),
        T(every_changed_byte_breaks_a_token),
        T(one_token_has_one_spelling),
        T(only_bearer_is_a_scheme),
        T(the_account_decides_role_and_life),
        T(forged_tokens_never_reach_the_accounts),
        T(without_the_services_tokens_are_not_taken),
        T(the_cache_holds_until_the_recheck),
        T(the_cache_never_outlives_the_token),
        T(a_change_of_the_account_voids_the_cache_at_once),
        T(a_change_between_lookup_and_remember_is_not_lost),
        T(a_full_cache_stays_right),
        T(agent_tokens),
        T(who_may_what),
        T(weak_secrets_are_refused),
        T(keys_follow_one_another),
        T(what_cannot_be_signed),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
