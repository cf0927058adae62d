/*
 * Theory of operation.
 *
 * A token is held to its form before the library sees it: at most ASSAY_TOKEN_MAX bytes, three segments of
 * canonical base64url (RFC 4648, 3.5: no padding, no stray bits, so one token has one spelling), a header
 * that says HS256 and names a key of our table and nothing else (RFC 8725, 3.1: the algorithm is ours to
 * choose, never the token's), claims without duplicate members.  Then the signature is checked with the
 * key that kid names: by libsodium's HMAC, which allocates nothing (libjwt, which makes the tokens, goes through
 * OpenSSL, which after a failed allocation may call every good signature a bad one).  Then the claims: issuer, audience,
 * times, and a life of at most an hour.  Last, the
 * accounts service says whether the account lives, what role it has today and which epoch its tokens need:
 * the role in the token is never what decides.  A token with a lower epoch than its account's may be of a session that lives on
 * while another one was ended: then the service is asked about that session, and says so of those that were not revoked with all.
 * The session stands in jti, before a dot: an older program takes such a token for what it otherwise says.
 *
 * The cache.  Each loop has its own table of sets of WAYS entries, found by a keyed BLAKE2b digest of the
 * token (the key is random, so nobody can aim at a set; the token itself is not kept).  No locks: what
 * other threads have to say to the tables, they say through counters.  An account's change raises the one
 * that its id hashes to (two ids may share one: that costs a look-up and never hides a change), any
 * agent's change the one of all agents; an entry remembers the values that were read *before* its
 * account was looked up, and is void once they differ.  When an entry is nearly due for its recheck, one request is sent to
 * look it up anew while the others still use it, so that a busy token does not send a herd to the workers.
 */
#include "gate.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <jwt.h>
#include <sodium.h>

#include <assay/json.h>
#include <assay/plugin.h>

#include "gateway/reserve.h"

#define KEYS_MAX ASSAY_GATE_KEYS_MAX
#define KID_MAX 64u
#define COUNTERS 4096u
#define WAYS 4u
#define DIGEST 32u
#define RECHECK_MS 1000
#define CACHE_ENTRIES 4096u

struct key {
    char kid[KID_MAX + 1];
    struct assay_secret *secret;
};

/* What is in use never changes: other keys are another set.  Old ones stay, since somebody may be reading them, and they are
 * few: one for each change while the program runs. */
struct keyset {
    struct keyset *before;
    size_t n;
    struct key key[KEYS_MAX];
};

struct assay_gate {
    struct keyset *_Atomic keys;
    bool weak_secret_ok;
    char *issuer, *audience;
    int64_t leeway_s, recheck_ms;
    size_t cache_entries;
    int64_t (*now_ms)(void *ctx);
    void *now_ctx;
    const struct assay_accounts_ops *accounts;
    void *accounts_self;
    const struct assay_agent_tokens_ops *agents;
    void *agents_self;
    unsigned char digest_key[DIGEST];
    unsigned char counter_key[crypto_shorthash_KEYBYTES];
    _Atomic uint32_t account_gen[COUNTERS];
    _Atomic uint32_t agent_gen;
};

struct entry {
    unsigned char digest[DIGEST];
    int64_t good_until_ms, checked_ms, used_ms; /* used_ms 0: empty */
    _Atomic uint32_t *account_gen;
    uint32_t account_seen, agent_seen;
    uint32_t role;
    bool refreshing;
    uint16_t user_n, agent_n, scopes_n;
    char *text; /* user id, agent id, scopes */
};

struct assay_gate_cache {
    struct assay_gate *gate;
    size_t sets; /* a power of two */
    struct entry *entry;
};

static int64_t clock_now(void *ctx)
{
    (void)ctx;
    return assay_now_ms();
}

static int refuse(struct assay_err *err, const char *why)
{
    return assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "%s", why);
}

/* ---- making ---------------------------------------------------------------------------------------- */

static bool kid_ok(const char *kid)
{
    size_t n = strlen(kid);
    return n > 0 && n <= KID_MAX && strspn(kid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* Secrets that stand in examples everywhere, ours among them. */
static bool known_to_the_world(struct assay_str s)
{
    static const char *const known[] = {"dev-secret", "secret", "changeme", "change-me", "password", "your-256-bit-secret"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i]), at = 0;
        /* also one of them over and over, to reach a length */
        while (at < s.n && s.p[at] == known[i][at % n])
            at++;
        if (s.n >= n && at == s.n)
            return true;
    }
    return false;
}

static int add_key(struct keyset *set, const struct assay_gate_key *in, bool weak_ok, struct assay_err *err)
{
    struct assay_str secret = assay_secret_reveal(in->secret);
    if (secret.n == 0 || secret.n > 4096)
        return assay_err_set(err, ASSAY_E_CONFIG, "a signing secret is empty or over 4096 bytes");
    if (!weak_ok && known_to_the_world(secret))
        return assay_err_set(err, ASSAY_E_CONFIG, "the signing secret is one that everybody knows; set one of at least %d random bytes",
                             ASSAY_SIGNING_SECRET_MIN);
    if (!weak_ok && secret.n < ASSAY_SIGNING_SECRET_MIN)
        return assay_err_set(err, ASSAY_E_CONFIG, "the signing secret has %zu bytes; at least %d are needed", secret.n, ASSAY_SIGNING_SECRET_MIN);
    if (in->kid && !kid_ok(in->kid))
        return assay_err_set(err, ASSAY_E_CONFIG, "a key id must be 1 to %u letters, digits, '.', '_' or '-'", KID_MAX);
    struct key *k = &set->key[set->n];
    if (in->kid) {
        (void)snprintf(k->kid, sizeof k->kid, "%s", in->kid);
    } else {
        /* says no more about the secret than any signature made with it */
        char hex[ASSAY_SHA256_HEX];
        assay_sha256_hex(secret, hex);
        (void)snprintf(k->kid, sizeof k->kid, "k-%.12s", hex);
    }
    for (size_t i = 0; i < set->n; i++)
        if (strcmp(set->key[i].kid, k->kid) == 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "two signing keys have the id \"%s\"", k->kid);
    k->secret = assay_secret_new(secret);
    if (!k->secret)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the signing secrets");
    set->n++;
    return 0;
}

static void keyset_free(struct keyset *set)
{
    while (set) {
        struct keyset *before = set->before;
        for (size_t i = 0; i < set->n; i++)
            assay_secret_free(set->key[i].secret);
        free(set);
        set = before;
    }
}

static const struct keyset *keys_of(const struct assay_gate *g)
{
    return atomic_load_explicit(&g->keys, memory_order_acquire);
}

static bool same_keys(const struct keyset *a, const struct keyset *b)
{
    bool same = a && a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->key[i].kid, b->key[i].kid) == 0 &&
               assay_equal_ct(assay_secret_reveal(a->key[i].secret), assay_secret_reveal(b->key[i].secret));
    return same;
}

int assay_gate_rekey(struct assay_gate *g, const struct assay_gate_key *keys, size_t n, bool *changed, struct assay_err *err)
{
    if (n == 0 || n > KEYS_MAX)
        return assay_err_set(err, ASSAY_E_CONFIG, "between 1 and %u signing keys are needed", KEYS_MAX);
    struct keyset *set = calloc(1, sizeof *set), *old = atomic_load(&g->keys);
    int rc = set ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for the signing secrets");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_key(set, &keys[i], g->weak_secret_ok, err);
    bool other = rc == 0 && !same_keys(old, set);
    if (rc || !other) {
        keyset_free(set);
    } else {
        set->before = old;
        atomic_store_explicit(&g->keys, set, memory_order_release);
    }
    if (rc == 0)
        *changed = other;
    return rc;
}

const char *assay_gate_signs(const struct assay_gate *g)
{
    return keys_of(g)->key[0].kid;
}

int assay_gate_new(const struct assay_gate_config *cfg, struct assay_gate **ret, struct assay_err *err)
{
    if (sodium_init() < 0)
        return assay_err_set(err, ASSAY_E_INTERNAL, "the cryptography library does not start");
    if (cfg->leeway_s < 0 || cfg->leeway_s > ASSAY_TOKEN_LEEWAY_MAX_S)
        return assay_err_set(err, ASSAY_E_CONFIG, "a leeway of 0 to %d s is allowed for tokens", ASSAY_TOKEN_LEEWAY_MAX_S);
    struct assay_gate *g = calloc(1, sizeof *g);
    if (!g)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the auth gate");
    g->issuer = strdup(cfg->issuer ? cfg->issuer : "assay");
    g->audience = strdup(cfg->audience ? cfg->audience : "assay");
    g->leeway_s = cfg->leeway_s;
    g->recheck_ms = cfg->recheck_ms > 0 ? cfg->recheck_ms : RECHECK_MS;
    g->cache_entries = cfg->cache_entries ? cfg->cache_entries : CACHE_ENTRIES;
    g->now_ms = cfg->now_ms ? cfg->now_ms : clock_now;
    g->now_ctx = cfg->now_ctx;
    randombytes_buf(g->digest_key, sizeof g->digest_key);
    randombytes_buf(g->counter_key, sizeof g->counter_key);
    int rc = g->issuer && g->audience ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for the auth gate");
    g->weak_secret_ok = cfg->weak_secret_ok;
    bool changed;
    if (rc == 0)
        rc = assay_gate_rekey(g, cfg->keys, cfg->n_keys, &changed, err);
    if (rc) {
        assay_gate_free(g);
        return rc;
    }
    *ret = g;
    return 0;
}

void assay_gate_free(struct assay_gate *g)
{
    if (!g)
        return;
    keyset_free(atomic_load(&g->keys));
    free(g->issuer);
    free(g->audience);
    sodium_memzero(g->digest_key, sizeof g->digest_key);
    free(g);
}

void assay_gate_services(struct assay_gate *g, const struct assay_accounts_ops *accounts, void *accounts_self,
                         const struct assay_agent_tokens_ops *agents, void *agents_self)
{
    g->accounts = accounts;
    g->accounts_self = accounts_self;
    g->agents = agents;
    g->agents_self = agents_self;
}

static _Atomic uint32_t *account_counter(struct assay_gate *g, struct assay_str id)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint32_t at;
    crypto_shorthash(hash, (const unsigned char *)(id.n ? id.p : ""), id.n, g->counter_key);
    memcpy(&at, hash, sizeof at);
    return &g->account_gen[at % COUNTERS];
}

void assay_gate_account_changed(struct assay_gate *g, struct assay_str user_id)
{
    atomic_fetch_add(account_counter(g, user_id), 1);
}

void assay_gate_agent_changed(struct assay_gate *g, struct assay_str agent_id)
{
    (void)agent_id;
    atomic_fetch_add(&g->agent_gen, 1);
}

/* ---- signing --------------------------------------------------------------------------------------- */

/* Of the header and the claims as they were sent; nothing is allocated. */
static bool signature_holds(const struct key *key, struct assay_str signed_text, struct assay_str signature)
{
    unsigned char want[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state h;
    struct assay_str secret = assay_secret_reveal(key->secret);
    bool same = signature.n == sizeof want && crypto_auth_hmacsha256_init(&h, (const unsigned char *)secret.p, secret.n) == 0 &&
                crypto_auth_hmacsha256_update(&h, (const unsigned char *)signed_text.p, signed_text.n) == 0 &&
                crypto_auth_hmacsha256_final(&h, want) == 0 && sodium_memcmp(want, signature.p, sizeof want) == 0;
    sodium_memzero(&h, sizeof h);
    return same;
}

static void jwt_freep(jwt_t **j)
{
    if (*j)
        jwt_free(*j);
}

int assay_gate_sign(struct assay_gate *g, struct assay_str sub, struct assay_str role, int64_t epoch, int64_t ttl_s,
                    struct assay_buf *out, struct assay_err *err)
{
    return assay_gate_sign_session(g, sub, role, epoch, ASSAY_STR(""), ttl_s, out, err);
}

int assay_gate_sign_session(struct assay_gate *g, struct assay_str sub, struct assay_str role, int64_t epoch, struct assay_str session,
                            int64_t ttl_s, struct assay_buf *out, struct assay_err *err)
{
    __attribute__((cleanup(jwt_freep))) jwt_t *j = NULL;
    char sub_z[65], role_z[33];
    if (sub.n == 0 || sub.n >= sizeof sub_z || assay_str_has_nul(sub) || role.n >= sizeof role_z || assay_str_has_nul(role))
        return assay_err_set(err, ASSAY_E_INVALID, "a token needs a subject of 1 to 64 bytes and a role of at most 32");
    if (ttl_s < 1 || ttl_s > ASSAY_TOKEN_TTL_MAX_S || epoch < 0)
        return assay_err_set(err, ASSAY_E_INVALID, "a token lives 1 to %d s", ASSAY_TOKEN_TTL_MAX_S);
    (void)snprintf(sub_z, sizeof sub_z, "%.*s", ASSAY_FMT(sub));
    (void)snprintf(role_z, sizeof role_z, "%.*s", ASSAY_FMT(role));
    if (session.n != 0 && !assay_id_valid(session))
        return assay_err_set(err, ASSAY_E_INVALID, "a session is named by an id");
    char jti[ASSAY_ID_SIZE + 1 + 16], nonce[33];
    assay_random_hex(nonce, session.n != 0 ? 8 : 16);
    (void)snprintf(jti, sizeof jti, "%.*s%s%s", ASSAY_FMT(session), session.n != 0 ? "." : "", nonce);
    int64_t now = g->now_ms(g->now_ctx) / 1000;
    const struct key *key = &keys_of(g)->key[0];
    struct assay_str secret = assay_secret_reveal(key->secret);
    if (!assay_reserve_lay_by())
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to sign a token");
    int rc = jwt_new(&j);
    if (rc == 0)
        rc = jwt_add_header(j, "kid", key->kid);
    if (rc == 0)
        rc = jwt_add_grant(j, "iss", g->issuer);
    if (rc == 0)
        rc = jwt_add_grant(j, "aud", g->audience);
    if (rc == 0)
        rc = jwt_add_grant(j, "sub", sub_z);
    if (rc == 0)
        rc = jwt_add_grant(j, "role", role_z);
    if (rc == 0)
        rc = jwt_add_grant(j, "jti", jti);
    if (rc == 0)
        rc = jwt_add_grant_int(j, "epoch", (long)epoch);
    if (rc == 0)
        rc = jwt_add_grant_int(j, "iat", (long)now);
    if (rc == 0)
        rc = jwt_add_grant_int(j, "exp", (long)(now + ttl_s));
    if (rc == 0)
        rc = jwt_set_alg(j, JWT_ALG_HS256, (const unsigned char *)secret.p, (int)secret.n);
    char *text = rc == 0 ? jwt_encode_str(j) : NULL;
    assay_reserve_let_go();
    /* what goes in has been checked, so it is memory that lacked; and what OpenSSL makes without it is looked at */
    struct assay_str token = text ? assay_str(text) : ASSAY_STR("");
    const char *dot = text ? strrchr(text, '.') : NULL;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    size_t mac_n = 0;
    bool good = dot && sodium_base642bin(mac, sizeof mac, dot + 1, token.n - (size_t)(dot + 1 - text), NULL, &mac_n, NULL,
                                         sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
                signature_holds(key, (struct assay_str){text, (size_t)(dot - text)}, (struct assay_str){(char *)mac, mac_n});
    if (good)
        assay_buf_str(out, token);
    free(text); /* from malloc: libjwt 1.10 has no allocator of its own */
    return !good || out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory to sign a token") : 0;
}

/* ---- verifying ------------------------------------------------------------------------------------- */

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Canonical base64url without padding, into the arena. */
static bool base64url(struct assay_str in, struct assay_arena *arena, struct assay_str *out)
{
    if (in.n == 0 || in.n % 4 == 1)
        return false;
    char *to = assay_arena_alloc(arena, in.n / 4 * 3 + 3);
    if (!to)
        return false;
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        int v = sextet(in.p[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[n++] = (char)(bits >> have & 0xff);
        }
    }
    *out = (struct assay_str){to, n};
    return (bits & ((1u << have) - 1)) == 0; /* bits left over must be zero */
}

/* The segments of a token; false unless there are exactly three, none of them empty. */
static bool split(struct assay_str token, struct assay_str part[3])
{
    const char *one = memchr(token.p, '.', token.n);
    size_t rest = one ? token.n - (size_t)(one - token.p) - 1 : 0;
    const char *two = rest ? memchr(one + 1, '.', rest) : NULL;
    if (!two)
        return false;
    part[0] = (struct assay_str){token.p, (size_t)(one - token.p)};
    part[1] = (struct assay_str){one + 1, (size_t)(two - one) - 1};
    part[2] = (struct assay_str){two + 1, token.n - (size_t)(two - token.p) - 1};
    return part[0].n && part[1].n && part[2].n && !memchr(part[2].p, '.', part[2].n);
}

struct header {
    struct assay_str alg, typ, kid;
};
/* a member that is not here (crit, b64, jku, jwk, x5u ...) refuses the token: only we make them */
static const struct assay_json_field header_fields[] = {
    {.name = "alg", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct header, alg), .min = 1, .max = 16, .has_offset = -1},
    {.name = "typ", .type = ASSAY_JSON_STRING, .offset = offsetof(struct header, typ), .min = 1, .max = 16, .has_offset = -1},
    {.name = "kid", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct header, kid), .min = 1, .max = KID_MAX, .has_offset = -1},
    {.name = NULL},
};

struct claims {
    struct assay_str iss, aud, sub, role, jti;
    int64_t epoch, iat, exp, nbf;
    bool has_nbf;
};
#define YEAR_9999_S 253402300799.0
#define CLAIM(member, type_, flags_, min_, max_, has_)                                                                 \
    {.name = #member, .type = (type_), .flags = (flags_), .offset = offsetof(struct claims, member), .min = (min_), .max = (max_), .has_offset = (has_)}
static const struct assay_json_field claim_fields[] = {
    CLAIM(iss, ASSAY_JSON_STRING, ASSAY_JSON_REQUIRED, 1, 255, -1),
    CLAIM(aud, ASSAY_JSON_STRING, ASSAY_JSON_REQUIRED, 1, 255, -1),
    CLAIM(sub, ASSAY_JSON_STRING, ASSAY_JSON_REQUIRED, 1, 64, -1),
    CLAIM(role, ASSAY_JSON_STRING, ASSAY_JSON_REQUIRED, 1, 32, -1),
    CLAIM(jti, ASSAY_JSON_STRING, 0, 1, 64, -1),
    CLAIM(epoch, ASSAY_JSON_INT, ASSAY_JSON_REQUIRED, 0, 9007199254740991.0, -1),
    CLAIM(iat, ASSAY_JSON_INT, ASSAY_JSON_REQUIRED, 0, YEAR_9999_S, -1),
    CLAIM(exp, ASSAY_JSON_INT, ASSAY_JSON_REQUIRED, 0, YEAR_9999_S, -1),
    CLAIM(nbf, ASSAY_JSON_INT, 0, 0, YEAR_9999_S, offsetof(struct claims, has_nbf)),
    {.name = NULL},
};

static const struct key *key_find(const struct assay_gate *g, struct assay_str kid)
{
    const struct keyset *set = keys_of(g);
    for (size_t i = 0; i < set->n; i++)
        if (assay_str_is(kid, set->key[i].kid))
            return &set->key[i];
    return NULL;
}

static bool decode(struct assay_str segment, const struct assay_json_field *fields, void *out, struct assay_arena *arena)
{
    struct assay_str json;
    struct assay_json_limits limits = {.max_bytes = ASSAY_TOKEN_MAX, .max_depth = 2};
    struct assay_json_faults *faults = assay_arena_alloc(arena, sizeof *faults);
    return faults && base64url(segment, arena, &json) && assay_json_decode(json, fields, out, &limits, arena, faults, NULL) == 0;
}

static int check_claims(const struct assay_gate *g, const struct claims *c, struct assay_err *err)
{
    int64_t now = g->now_ms(g->now_ctx) / 1000;
    if (!assay_str_is(c->iss, g->issuer) || !assay_str_is(c->aud, g->audience))
        return refuse(err, "the token was made for another service");
    if (c->exp <= now - g->leeway_s)
        return refuse(err, "the token has expired");
    if (c->iat > now + g->leeway_s || (c->has_nbf && c->nbf > now + g->leeway_s))
        return refuse(err, "the token is not valid yet");
    if (c->exp <= c->iat || c->exp - c->iat > ASSAY_TOKEN_TTL_MAX_S)
        return refuse(err, "the token lives longer than tokens may");
    if (!assay_id_valid(c->sub) && !assay_slug_valid(c->sub))
        return refuse(err, "the token is malformed");
    return 0;
}

static int verify(const struct assay_gate *g, struct assay_str token, struct assay_arena *arena, struct assay_claims *out,
                  struct assay_err *err)
{
    struct assay_str part[3], signature;
    struct header h = {.alg = ASSAY_STR_NULL};
    struct claims c = {.iss = ASSAY_STR_NULL};
    if (token.n == 0 || token.n > ASSAY_TOKEN_MAX || !split(token, part))
        return refuse(err, "the token is malformed");
    if (!decode(part[0], header_fields, &h, arena))
        return refuse(err, "the token's header is not one of ours");
    if (!assay_str_is(h.alg, "HS256") || (h.typ.n && !assay_str_ieq(h.typ, "JWT")))
        return refuse(err, "the token's header is not one of ours");
    const struct key *key = key_find(g, h.kid);
    if (!key)
        return refuse(err, "the token was signed with a key that is not known here");
    if (!base64url(part[2], arena, &signature) || signature.n != crypto_auth_hmacsha256_BYTES)
        return refuse(err, "the token is malformed");
    if (!signature_holds(key, (struct assay_str){token.p, token.n - part[2].n - 1}, signature))
        return refuse(err, "the token's signature does not hold");
    if (!decode(part[1], claim_fields, &c, arena))
        return refuse(err, "the token's claims are malformed");
    int rc = check_claims(g, &c, err);
    if (rc)
        return rc;
    *out = (struct assay_claims){.sub = c.sub, .role = c.role, .session = ASSAY_STR(""), .epoch = c.epoch, .iat = c.iat, .exp = c.exp};
    const char *dot = c.jti.n != 0 ? memchr(c.jti.p, '.', c.jti.n) : NULL;
    if (dot != NULL)
        out->session = (struct assay_str){c.jti.p, (size_t)(dot - c.jti.p)};
    return 0;
}

int assay_gate_verify(struct assay_gate *g, struct assay_str token, struct assay_arena *arena, struct assay_claims *out,
                      struct assay_err *err)
{
    /* what looks at a token has one answer for a bad one and a failed allocation: a good one must not be called bad */
    errno = 0;
    int rc = verify(g, token, arena, out, err);
    return rc == ASSAY_E_UNAUTHENTICATED && errno == ENOMEM ? assay_err_set(err, ASSAY_E_NOMEM, "no memory to check the token") : rc;
}

/* ---- looking up ------------------------------------------------------------------------------------ */

static int account_get(struct assay_gate *g, struct assay_str user_id, struct assay_arena *arena, struct assay_account *out,
                       struct assay_err *err)
{
    if (!g->accounts)
        return assay_err_set(err, ASSAY_E_BUSY, "no service of this process knows the accounts");
    int rc = g->accounts->get(g->accounts_self, user_id, arena, out, err);
    if (rc == ASSAY_E_NOT_FOUND || (rc == 0 && out->disabled))
        return refuse(err, "the account does not exist or is disabled");
    return rc;
}

static int session_lives(struct assay_gate *g, const struct assay_claims *c, struct assay_err *err)
{
    const struct assay_accounts_ops *a = g->accounts;
    bool asks = a->size >= offsetof(struct assay_accounts_ops, session) + sizeof a->session && a->session != NULL;
    int rc = asks && c->session.n != 0 ? a->session(g->accounts_self, c->sub, c->session, c->epoch, err) : ASSAY_E_NOT_FOUND;
    return rc == ASSAY_E_NOT_FOUND ? refuse(err, "the token was revoked") : rc;
}

static int lookup_access(struct assay_gate *g, struct assay_str token, struct assay_arena *arena, struct assay_gate_verdict *v,
                         struct assay_err *err)
{
    struct assay_claims c;
    struct assay_account account = {.epoch = 0};
    int rc = assay_gate_verify(g, token, arena, &c, err);
    if (rc)
        return rc;
    v->account_gen = atomic_load(account_counter(g, c.sub));
    rc = account_get(g, c.sub, arena, &account, err);
    if (rc)
        return rc;
    if (c.epoch < account.epoch) {
        rc = session_lives(g, &c, err);
        if (rc)
            return rc;
    }
    v->who = (struct assay_principal){.authenticated = true, .role = account.role, .user_id = c.sub};
    v->good_until_ms = (c.exp + g->leeway_s) * 1000;
    return 0;
}

static int lookup_agent(struct assay_gate *g, struct assay_str token, struct assay_arena *arena, struct assay_gate_verdict *v,
                        struct assay_err *err)
{
    char hash[ASSAY_SHA256_HEX];
    struct assay_agent_token t = {.expires_ms = 0};
    struct assay_account owner = {.epoch = 0};
    if (!g->agents)
        return assay_err_set(err, ASSAY_E_BUSY, "no service of this process knows the agents");
    assay_sha256_hex(token, hash);
    /* one counter for all agents: which agent a token is, is known only after the look-up */
    v->agent_gen = atomic_load(&g->agent_gen);
    int rc = g->agents->get(g->agents_self, assay_str(hash), arena, &t, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return refuse(err, "the agent token is unknown, revoked or expired");
    if (rc)
        return rc;
    if (t.expires_ms && t.expires_ms <= g->now_ms(g->now_ctx))
        return refuse(err, "the agent token is unknown, revoked or expired");
    v->account_gen = atomic_load(account_counter(g, t.owner_id));
    rc = account_get(g, t.owner_id, arena, &owner, err);
    if (rc)
        return rc;
    v->who = (struct assay_principal){
        .authenticated = true, .role = ASSAY_ROLE_AGENT, .user_id = t.owner_id, .agent_id = t.agent_id, .scopes = t.scopes};
    v->good_until_ms = t.expires_ms ? t.expires_ms : INT64_MAX;
    return 0;
}

static bool is_agent_token(struct assay_str token)
{
    return assay_str_starts(token, ASSAY_AGENT_TOKEN_PREFIX);
}

int assay_gate_lookup(struct assay_gate *g, struct assay_str token, struct assay_arena *arena, struct assay_gate_verdict *out,
                      struct assay_err *err)
{
    *out = (struct assay_gate_verdict){.checked_ms = g->now_ms(g->now_ctx)};
    int rc = is_agent_token(token) ? lookup_agent(g, token, arena, out, err) : lookup_access(g, token, arena, out, err);
    if (rc == 0)
        out->who.role_name = assay_str(assay_role_name(out->who.role));
    return rc;
}

int assay_gate_bearer(struct assay_str authorization, struct assay_str *token, struct assay_err *err)
{
    /* RFC 9110, 11.1: the scheme's case does not matter; RFC 6750, 2.1: one space */
    if (authorization.n < 7 || !assay_str_ieq((struct assay_str){authorization.p, 7}, "Bearer "))
        return refuse(err, "the Authorization header must be: Bearer <token>");
    *token = (struct assay_str){authorization.p + 7, authorization.n - 7};
    while (token->n && token->p[0] == ' ') {
        token->p++;
        token->n--;
    }
    if (token->n == 0 || token->n > ASSAY_TOKEN_MAX)
        return refuse(err, "the token is empty or too long");
    for (size_t i = 0; i < token->n; i++)
        if (sextet(token->p[i]) < 0 && token->p[i] != '.')
            return refuse(err, "the token is malformed");
    return 0;
}

/* ---- the cache ------------------------------------------------------------------------------------- */

struct assay_gate_cache *assay_gate_cache_new(struct assay_gate *g)
{
    struct assay_gate_cache *c = calloc(1, sizeof *c);
    size_t sets = 1;
    while (sets * WAYS < g->cache_entries)
        sets *= 2;
    /* calloc of this size is untouched pages: an unused cache costs nothing */
    struct entry *entry = c ? calloc(sets * WAYS, sizeof *entry) : NULL;
    if (!entry) {
        free(c);
        return NULL;
    }
    *c = (struct assay_gate_cache){g, sets, entry};
    return c;
}

void assay_gate_cache_free(struct assay_gate_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->sets * WAYS; i++)
        free(c->entry[i].text);
    free(c->entry);
    free(c);
}

static struct entry *set_of(struct assay_gate_cache *c, const unsigned char digest[DIGEST])
{
    uint64_t at;
    memcpy(&at, digest, sizeof at);
    return c->entry + (at & (c->sets - 1)) * WAYS;
}

static void digest_of(const struct assay_gate *g, struct assay_str token, unsigned char out[DIGEST])
{
    crypto_generichash(out, DIGEST, (const unsigned char *)token.p, token.n, g->digest_key, sizeof g->digest_key);
}

static struct entry *entry_find(struct assay_gate_cache *c, const unsigned char digest[DIGEST])
{
    struct entry *set = set_of(c, digest);
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].used_ms && memcmp(set[i].digest, digest, DIGEST) == 0)
            return &set[i];
    return NULL;
}

static bool fresh(struct assay_gate *g, struct entry *e, int64_t now)
{
    int64_t age = now - e->checked_ms; /* negative when the clock was set back: then ask */
    if (now >= e->good_until_ms || age < 0 || age >= g->recheck_ms)
        return false;
    if (atomic_load_explicit(e->account_gen, memory_order_acquire) != e->account_seen)
        return false;
    if (e->agent_n && atomic_load_explicit(&g->agent_gen, memory_order_acquire) != e->agent_seen)
        return false;
    if (age < g->recheck_ms - g->recheck_ms / 4 || e->refreshing)
        return true;
    e->refreshing = true; /* this request asks; the others go on until it has its answer, or the time is up */
    return false;
}

int assay_gate_try(struct assay_gate_cache *c, struct assay_str token, struct assay_arena *arena, struct assay_principal *who,
                   struct assay_err *err)
{
    struct assay_gate *g = c->gate;
    unsigned char digest[DIGEST];
    digest_of(g, token, digest);
    struct entry *e = entry_find(c, digest);
    int64_t now = g->now_ms(g->now_ctx);
    if (!e || !fresh(g, e, now))
        return ASSAY_E_AGAIN;
    e->used_ms = now;
    size_t n = (size_t)e->user_n + e->agent_n + e->scopes_n;
    struct assay_str text = assay_arena_str(arena, (struct assay_str){e->text, n});
    if (n && !text.p)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to say who asks");
    *who = (struct assay_principal){.authenticated = true,
                                    .role = e->role,
                                    .role_name = assay_str(assay_role_name(e->role)),
                                    .user_id = {text.p, e->user_n},
                                    .agent_id = {text.p + e->user_n, e->agent_n},
                                    .scopes = {text.p + e->user_n + e->agent_n, e->scopes_n}};
    return 0;
}

/* Its own old place, an empty one, or the one least recently used. */
static struct entry *entry_place(struct assay_gate_cache *c, const unsigned char digest[DIGEST])
{
    struct entry *set = set_of(c, digest), *best = entry_find(c, digest);
    for (size_t i = 0; i < WAYS && !best; i++)
        if (!set[i].used_ms)
            best = &set[i];
    if (best)
        return best;
    best = set;
    for (size_t i = 1; i < WAYS; i++)
        if (set[i].used_ms < best->used_ms)
            best = &set[i];
    return best;
}

void assay_gate_remember(struct assay_gate_cache *c, struct assay_str token, const struct assay_gate_verdict *v)
{
    struct assay_gate *g = c->gate;
    unsigned char digest[DIGEST];
    if (v->who.user_id.n > UINT16_MAX || v->who.agent_id.n > UINT16_MAX || v->who.scopes.n > UINT16_MAX)
        return;
    digest_of(g, token, digest);
    struct entry *e = entry_place(c, digest);
    struct assay_buf text = ASSAY_BUF_INIT;
    assay_buf_str(&text, v->who.user_id);
    assay_buf_str(&text, v->who.agent_id);
    assay_buf_str(&text, v->who.scopes);
    size_t n;
    char *stolen = assay_buf_steal(&text, &n);
    free(e->text);
    if (!stolen) {
        *e = (struct entry){.used_ms = 0};
        return;
    }
    *e = (struct entry){.good_until_ms = v->good_until_ms,
                        .checked_ms = v->checked_ms,
                        .used_ms = v->checked_ms > 0 ? v->checked_ms : 1,
                        .account_gen = account_counter(g, v->who.user_id),
                        .account_seen = v->account_gen,
                        .agent_seen = v->agent_gen,
                        .role = v->who.role,
                        .user_n = (uint16_t)v->who.user_id.n,
                        .agent_n = (uint16_t)v->who.agent_id.n,
                        .scopes_n = (uint16_t)v->who.scopes.n,
                        .text = stolen};
    memcpy(e->digest, digest, DIGEST);
}

/* ---- permission ------------------------------------------------------------------------------------ */

static bool has_scope(struct assay_str scopes, const char *wanted)
{
    while (scopes.n) {
        const char *space = memchr(scopes.p, ' ', scopes.n);
        struct assay_str one = {scopes.p, space ? (size_t)(space - scopes.p) : scopes.n};
        if (assay_str_is(one, wanted))
            return true;
        size_t step = one.n + (space ? 1 : 0);
        scopes.p += step;
        scopes.n -= step;
    }
    return false;
}

int assay_gate_permit(const struct assay_route *route, const struct assay_principal *who, struct assay_err *err)
{
    if (route->roles == ASSAY_ROLES_PUBLIC)
        return 0;
    if (!who->authenticated)
        return refuse(err, "sign in first: this needs an Authorization header with a bearer token");
    if (who->agent_id.n) {
        if (!route->scope)
            return assay_err_set(err, ASSAY_E_FORBIDDEN, "an agent's token may not do this");
        if (!has_scope(who->scopes, route->scope))
            return assay_err_set(err, ASSAY_E_FORBIDDEN, "the token lacks the scope \"%s\"", route->scope);
    }
    if (!(route->roles & who->role))
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "the role \"%.*s\" may not do this", ASSAY_FMT(who->role_name));
    return 0;
}
