/*
 * Tokens.  The first byte chooses: the rest is an Authorization value as it comes; or it is a header and
 * claims (parted by the first newline) that are signed with the right key, so that what lies behind the
 * signature is reached too.
 *
 * What must hold: nothing unsigned is ever taken, and what is taken says what our tokens say.
 */
#include <string.h>

#include <sodium.h>

#include <assay/value.h>

#include "fuzz.h"
#include "gateway/gate.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define NOW_S INT64_C(1800000000)

static int64_t now(void *ctx)
{
    (void)ctx;
    return NOW_S * 1000;
}

static struct assay_gate *gate_get(void)
{
    static struct assay_gate *gate;
    static struct assay_secret *secret;
    struct assay_err err;
    if (gate)
        return gate;
    secret = assay_secret_new(ASSAY_STR(SECRET));
    const struct assay_gate_key keys[] = {{"k", secret}};
    struct assay_gate_config cfg = {.keys = keys, .n_keys = 1, .leeway_s = 5, .now_ms = now};
    FUZZ_CHECK(secret && assay_gate_new(&cfg, &gate, &err) == 0);
    return gate;
}

static void put_base64url(struct assay_buf *out, const void *p, size_t n)
{
    static char text[1 << 16];
    FUZZ_CHECK(sodium_bin2base64(text, sizeof text, p, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING));
    assay_buf_puts(out, text);
}

static void sign(struct assay_buf *out, struct assay_str header, struct assay_str claims)
{
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    put_base64url(out, header.p, header.n);
    assay_buf_putc(out, '.');
    put_base64url(out, claims.p, claims.n);
    FUZZ_CHECK(crypto_auth_hmacsha256(mac, (const unsigned char *)out->p, out->n, (const unsigned char *)SECRET) == 0);
    assay_buf_putc(out, '.');
    put_base64url(out, mac, sizeof mac);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_gate *g = gate_get();
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_claims c;
    struct assay_err err = {0};
    struct assay_str rest = {(const char *)data + 1, size - 1}, token;
    if (size < 2 || size > 8000)
        return 0;
    if (data[0] % 2 == 0) {
        if (assay_gate_bearer(rest, &token, &err) == 0) {
            FUZZ_CHECK(token.n > 0 && token.n <= ASSAY_TOKEN_MAX);
            FUZZ_CHECK(assay_gate_verify(g, token, arena, &c, &err) == ASSAY_E_UNAUTHENTICATED);
        }
        FUZZ_CHECK(assay_gate_verify(g, rest, arena, &c, &err) == ASSAY_E_UNAUTHENTICATED);
        return 0;
    }
    const char *line = memchr(rest.p, '\n', rest.n);
    if (!line)
        return 0;
    struct assay_str header = {rest.p, (size_t)(line - rest.p)}, claims = {line + 1, rest.n - header.n - 1};
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    sign(&b, header, claims);
    int rc = assay_gate_verify(g, assay_buf_view(&b), arena, &c, &err);
    FUZZ_CHECK(rc == 0 || rc == ASSAY_E_UNAUTHENTICATED);
    if (rc == 0) {
        FUZZ_CHECK(c.exp > NOW_S - 5 && c.iat <= NOW_S + 5 && c.exp - c.iat <= ASSAY_TOKEN_TTL_MAX_S && c.epoch >= 0);
        FUZZ_CHECK(assay_id_valid(c.sub) || assay_slug_valid(c.sub));
    }
    return 0;
}
