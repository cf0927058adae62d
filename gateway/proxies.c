#include "proxies.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <assay/value.h>

#define NETWORKS_MAX 64u

/* All addresses are held as IPv6, an IPv4 one as ::ffff:a.b.c.d: so both spellings of it are one. */
struct network {
    struct in6_addr base;
    unsigned bits;
};
struct assay_proxies {
    struct network net[NETWORKS_MAX];
    size_t n;
};

static bool parse(struct assay_str s, struct in6_addr *out, bool *v4)
{
    char z[ASSAY_ADDRESS_SIZE];
    struct in_addr four;
    if (s.n == 0 || s.n >= sizeof z || assay_str_has_nul(s))
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    *v4 = inet_pton(AF_INET, z, &four) == 1;
    if (*v4) {
        memset(out, 0, sizeof *out);
        out->s6_addr[10] = out->s6_addr[11] = 0xff;
        memcpy(out->s6_addr + 12, &four, sizeof four);
        return true;
    }
    return inet_pton(AF_INET6, z, out) == 1;
}

static bool in_network(const struct network *net, const struct in6_addr *a)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->base.s6_addr, a->s6_addr, whole) != 0)
        return false;
    unsigned mask = 0xff00u >> rest & 0xffu;
    return rest == 0 || ((unsigned)(net->base.s6_addr[whole] ^ a->s6_addr[whole]) & mask) == 0;
}

static bool trusts(const struct assay_proxies *p, const struct in6_addr *a)
{
    for (size_t i = 0; i < p->n; i++)
        if (in_network(&p->net[i], a))
            return true;
    return false;
}

static struct assay_str trim(struct assay_str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static bool add(struct assay_proxies *p, struct assay_str entry)
{
    const char *slash = memchr(entry.p, '/', entry.n);
    struct assay_str address = {entry.p, slash ? (size_t)(slash - entry.p) : entry.n};
    struct network *net = &p->net[p->n];
    bool v4 = false;
    int64_t bits;
    if (p->n == NETWORKS_MAX || !parse(address, &net->base, &v4))
        return false;
    bits = v4 ? 32 : 128;
    if (slash && assay_parse_i64((struct assay_str){slash + 1, entry.n - address.n - 1}, 0, bits, &bits, NULL) != 0)
        return false;
    net->bits = (unsigned)bits + (v4 ? 96 : 0);
    p->n++;
    return true;
}

int assay_proxies_new(const char *list, struct assay_proxies **ret, struct assay_err *err)
{
    struct assay_str rest = trim(assay_str(list));
    *ret = NULL;
    if (rest.n == 0)
        return 0;
    struct assay_proxies *p = calloc(1, sizeof *p);
    if (!p)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the list of proxies");
    while (rest.n) {
        const char *comma = memchr(rest.p, ',', rest.n);
        size_t n = comma ? (size_t)(comma - rest.p) : rest.n;
        struct assay_str entry = trim((struct assay_str){rest.p, n});
        if (entry.n && !add(p, entry)) {
            free(p);
            return assay_err_set(err, ASSAY_E_CONFIG,
                                 "trusted_proxies: \"%.*s\" is not an address or a network (and at most %u are taken)",
                                 (int)(entry.n > 80 ? 80 : entry.n), entry.p, NETWORKS_MAX);
        }
        rest.p += n + (comma != NULL);
        rest.n -= n + (comma != NULL);
    }
    *ret = p;
    return 0;
}

void assay_proxies_free(struct assay_proxies *p)
{
    free(p);
}

bool assay_proxies_trusts(const struct assay_proxies *p, struct assay_str address)
{
    struct in6_addr a;
    bool v4;
    return p && parse(address, &a, &v4) && trusts(p, &a);
}

/* "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:80" and, out of X-Forwarded-For, a bare IPv6 address. */
static struct assay_str without_port(struct assay_str s)
{
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        s = (struct assay_str){s.p + 1, s.n - 2};
    if (s.n && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        return end ? (struct assay_str){s.p + 1, (size_t)(end - s.p) - 1} : ASSAY_STR_NULL;
    }
    const char *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
    if (colon && !memchr(colon + 1, ':', s.n - (size_t)(colon - s.p) - 1))
        s.n = (size_t)(colon - s.p);
    return s;
}

/* The value of one parameter of an element of Forwarded: "for=192.0.2.60;proto=http;by=203.0.113.43". */
static struct assay_str parameter(struct assay_str element, const char *name)
{
    size_t len = strlen(name);
    while (element.n) {
        const char *semi = memchr(element.p, ';', element.n);
        size_t n = semi ? (size_t)(semi - element.p) : element.n;
        struct assay_str pair = trim((struct assay_str){element.p, n});
        if (pair.n > len + 1 && pair.p[len] == '=' && assay_str_ieq((struct assay_str){pair.p, len}, name))
            return (struct assay_str){pair.p + len + 1, pair.n - len - 1};
        element.p += n + (semi != NULL);
        element.n -= n + (semi != NULL);
    }
    return ASSAY_STR_NULL;
}

bool assay_proxies_https(bool forwarded, struct assay_str value)
{
    const char *comma = value.n ? memrchr(value.p, ',', value.n) : NULL;
    size_t at = comma ? (size_t)(comma - value.p) + 1 : 0;
    struct assay_str last = trim((struct assay_str){value.p + at, value.n - at});
    struct assay_str proto = forwarded ? parameter(last, "proto") : last;
    if (proto.n > 2 && proto.p[0] == '"' && proto.p[proto.n - 1] == '"')
        proto = (struct assay_str){proto.p + 1, proto.n - 2};
    return assay_str_ieq(proto, "https");
}

bool assay_proxies_walk(const struct assay_proxies *p, bool forwarded, struct assay_str value, char out[ASSAY_ADDRESS_SIZE])
{
    while (value.n) {
        const char *comma = memrchr(value.p, ',', value.n);
        size_t at = comma ? (size_t)(comma - value.p) + 1 : 0;
        struct assay_str element = trim((struct assay_str){value.p + at, value.n - at});
        value.n = comma ? at - 1 : 0;
        if (element.n == 0)
            continue;
        struct in6_addr a;
        bool v4;
        /* "unknown", an obfuscated name or nonsense: nobody vouches for more than what came before */
        if (!parse(without_port(forwarded ? parameter(element, "for") : element), &a, &v4))
            return false;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&a);
        if (!inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? (const void *)(a.s6_addr + 12) : (const void *)&a, out, ASSAY_ADDRESS_SIZE))
            return false;
        if (!trusts(p, &a))
            return false;
    }
    return true;
}
