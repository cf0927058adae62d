/* The rules of webhooks. No I/O. */
#include "local.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

const char *const wh_events[] = {"submission.queued",    "submission.running", "submission.done", "submission.cancelled",
                                 "submission.deleted",   "board.updated",      NULL};
const char *const wh_topics[] = {"submission.created",   "submission.queued",  "submission.running", "submission.done", "submission.cancelled",
                                 "submission.deleted",   "leaderboard.updated", "benchmark.changed", "user.changed",    NULL};

const char *wh_type_of(struct assay_str topic)
{
    if (assay_str_is(topic, "submission.created"))
        return "submission.queued";
    if (assay_str_is(topic, "leaderboard.updated"))
        return "board.updated";
    for (size_t i = 0; wh_events[i] != NULL; i++)
        if (assay_str_is(topic, wh_events[i]))
            return wh_events[i];
    return NULL;
}

struct assay_str wh_events_text(struct assay_arena *arena, const struct assay_strs *events)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_putc(&b, ' ');
    for (size_t i = 0; wh_events[i] != NULL; i++)
        for (size_t k = 0; k < events->n; k++)
            if (assay_str_is(events->items[k], wh_events[i])) {
                assay_buf_fmt(&b, "%s ", wh_events[i]);
                break;
            }
    return assay_arena_take(arena, &b);
}

/* ---- addresses ------------------------------------------------------------------------------------- */

bool wh_address_parse(const char *text, unsigned char out[16])
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, text, &four) == 1) {
        memset(out, 0, 10);
        out[10] = out[11] = 0xff;
        memcpy(out + 12, &four, 4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &six) != 1)
        return false;
    memcpy(out, &six, 16);
    return true;
}

static bool within(const unsigned char address[16], const unsigned char base[16], unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(address, base, whole) != 0)
        return false;
    return rest == 0 || ((address[whole] ^ base[whole]) & (0xff00u >> rest & 0xffu)) == 0;
}

static bool parse_network(struct assay_str s, unsigned char base[16], unsigned *bits)
{
    char text[64];
    const char *slash = memchr(s.p, '/', s.n);
    size_t n = slash != NULL ? (size_t)(slash - s.p) : s.n;
    int64_t given;
    if (n == 0 || n >= sizeof text)
        return false;
    memcpy(text, s.p, n);
    text[n] = '\0';
    if (strlen(text) != n || !wh_address_parse(text, base))
        return false;
    bool four = strchr(text, ':') == NULL;
    given = four ? 32 : 128;
    if (slash != NULL && assay_parse_i64((struct assay_str){slash + 1, s.n - n - 1}, 0, given, &given, NULL) != 0)
        return false;
    *bits = (unsigned)given + (four ? 96 : 0);
    return true;
}

int wh_networks_parse(const char *list, struct wh_networks *out, struct assay_err *err)
{
    out->n = 0;
    for (const char *p = list; *p != '\0';) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        if (n == 0)
            break;
        if (out->n == WH_NETWORKS_MAX || !parse_network((struct assay_str){p, n}, out->net[out->n].base, &out->net[out->n].bits))
            return assay_err_set(err, ASSAY_E_CONFIG, "webhook_allow: \"%.*s\" is not an address or a network (and at most %d are taken)",
                                 (int)(n > 80 ? 80 : n), p, WH_NETWORKS_MAX);
        out->n++;
        p += n;
    }
    return 0;
}

/* What is not the open internet (IANA special-purpose registries, RFC 6890 and its updates), and what leads to an IPv4 address that is not
 * seen here. IPv6: only global unicast is public at all. */
static const char *const not_public[] = {
    "0.0.0.0/8",       "10.0.0.0/8",    "100.64.0.0/10", "127.0.0.0/8",     "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
    "192.88.99.0/24",  "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",   "240.0.0.0/4",
    "2001::/23",       "2001:db8::/32", "2002::/16",     "3fff::/20"};

bool wh_address_allowed(const struct wh_networks *allow, const unsigned char address[16])
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    unsigned char base[16];
    unsigned bits;
    for (size_t i = 0; i < allow->n; i++)
        if (within(address, allow->net[i].base, allow->net[i].bits))
            return true;
    if (memcmp(address, mapped, sizeof mapped) != 0 && (address[0] & 0xe0) != 0x20)
        return false;
    for (size_t i = 0; i < sizeof not_public / sizeof not_public[0]; i++)
        if (!parse_network(assay_str(not_public[i]), base, &bits) || within(address, base, bits))
            return false;
    return true;
}

/* ---- tries and signatures ---------------------------------------------------------------------------- */

int64_t wh_pause_ms(int64_t n, int64_t base_ms, int64_t max_ms)
{
    int64_t pause = base_ms;
    for (int64_t i = 1; i < n && pause < max_ms; i++)
        pause *= 4;
    return pause < max_ms ? pause : max_ms;
}

int wh_secret_make(struct assay_buf *out, struct assay_err *err)
{
    char hex[65];
    unsigned char key[32];
    assay_random_hex(hex, sizeof key);
    for (size_t i = 0; i < sizeof key; i++) {
        char two[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        key[i] = (unsigned char)strtoul(two, NULL, 16);
    }
    assay_buf_puts(out, WH_SECRET_PREFIX);
    assay_buf_base64(out, (struct assay_str){(const char *)key, sizeof key});
    explicit_bzero(key, sizeof key);
    explicit_bzero(hex, sizeof hex);
    return out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for a secret") : 0;
}

int wh_sign(struct assay_str secret, const char *id, int64_t seconds, struct assay_str body, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf key = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    unsigned char mac[ASSAY_HMAC_SHA256];
    size_t skip = sizeof WH_SECRET_PREFIX - 1;
    if (!assay_str_starts(secret, WH_SECRET_PREFIX))
        return assay_err_set(err, ASSAY_E_CORRUPT, "a webhook's secret does not begin with " WH_SECRET_PREFIX);
    int rc = assay_base64_decode((struct assay_str){secret.p + skip, secret.n - skip}, &key, err);
    if (rc != 0)
        return rc;
    assay_buf_fmt(&text, "%s.%lld.", id, (long long)seconds);
    assay_buf_str(&text, body);
    if (text.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to sign");
    assay_hmac_sha256(assay_buf_view(&key), assay_buf_view(&text), mac);
    assay_buf_puts(out, "v1,");
    assay_buf_base64(out, (struct assay_str){(const char *)mac, sizeof mac});
    explicit_bzero(key.p, key.n);
    return out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory to sign") : 0;
}
