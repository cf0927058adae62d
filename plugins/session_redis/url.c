/* Where Redis is: the URL that REDIS_URL holds. */
#include "local.h"

#include <stdio.h>

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes %XX; false: malformed, with a NUL, or longer than room - 1. */
static bool decode(struct assay_str in, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '%') {
            int a = i + 2 < in.n ? hex(in.p[i + 1]) : -1, b = a >= 0 ? hex(in.p[i + 2]) : -1;
            if (b < 0)
                return false;
            c = (char)(a * 16 + b);
            i += 2;
        }
        if (c == '\0' || n + 1 >= room)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

static struct assay_str up_to(struct assay_str *s, char end, bool *found)
{
    const char *at = s->n != 0 ? memchr(s->p, end, s->n) : NULL;
    struct assay_str head = {s->p, at ? (size_t)(at - s->p) : s->n};
    *found = at != NULL;
    s->p += head.n + (at ? 1 : 0);
    s->n -= head.n + (at ? 1 : 0);
    return head;
}

static bool who(struct assay_str in, struct sr_address *out)
{
    bool colon;
    char password[513];
    struct assay_str user = up_to(&in, ':', &colon);
    if (!decode(user, out->user, sizeof out->user))
        return false;
    if (!colon) /* redis://word@host: no client agrees what that is */
        return false;
    bool ok = decode(in, password, sizeof password);
    if (ok && password[0] != '\0')
        ok = (out->password = assay_secret_new(assay_str(password))) != NULL;
    explicit_bzero(password, sizeof password);
    return ok;
}

static bool number(struct assay_str s, int64_t max, int *out)
{
    int64_t v;
    if (assay_parse_i64(s, 0, max, &v, NULL) != 0)
        return false;
    *out = (int)v;
    return true;
}

static const struct assay_str *last_at(struct assay_str in, struct assay_str *left, struct assay_str *right)
{
    for (size_t i = in.n; i-- > 0;)
        if (in.p[i] == '@') {
            *left = (struct assay_str){in.p, i};
            *right = (struct assay_str){in.p + i + 1, in.n - i - 1};
            return left;
        }
    return NULL;
}

static bool parse(struct assay_str url, struct sr_address *out)
{
    struct assay_str rest = url, left, right, name;
    bool found;
    out->port = 6379;
    if (assay_str_starts(url, "unix://")) {
        rest.p += 7, rest.n -= 7;
        struct assay_str path = up_to(&rest, '?', &found);
        if (found && (!assay_str_starts(rest, "db=") || !number((struct assay_str){rest.p + 3, rest.n - 3}, 65535, &out->db)))
            return false;
        return decode(path, out->path, sizeof out->path) && out->path[0] == '/';
    }
    if (!assay_str_starts(url, "redis://"))
        return false;
    rest.p += 8, rest.n -= 8;
    struct assay_str authority = up_to(&rest, '/', &found);
    if (rest.n != 0 && !number(rest, 65535, &out->db))
        return false;
    if (last_at(authority, &left, &right)) {
        if (!who(left, out))
            return false;
        authority = right;
    }
    if (authority.n != 0 && authority.p[0] == '[') { /* RFC 3986, 3.2.2: an IPv6 address */
        authority.p++, authority.n--;
        name = up_to(&authority, ']', &found);
        if (!found || (authority.n != 0 && authority.p[0] != ':'))
            return false;
        if (authority.n != 0)
            authority.p++, authority.n--;
        found = authority.n != 0;
    } else {
        name = up_to(&authority, ':', &found);
    }
    if (found && (!number(authority, 65535, &out->port) || out->port == 0))
        return false;
    return decode(name, out->host, sizeof out->host) && out->host[0] != '\0';
}

int sr_address_parse(struct assay_str url, struct sr_address *out, struct assay_err *err)
{
    *out = (struct sr_address){.port = 0};
    if (url.n == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "session_driver is redis and redis_url is empty: set REDIS_URL=redis://host:6379/0");
    if (assay_str_starts(url, "rediss://"))
        return assay_err_set(err, ASSAY_E_CONFIG, "redis_url: this driver has no TLS: take a tunnel (stunnel) or a private network, and redis:// to its end here");
    if (!parse(url, out)) {
        sr_address_free(out);
        return assay_err_set(err, ASSAY_E_CONFIG,
                             "redis_url cannot be read: it must be redis://user:password@host:port/database (all but the host may be left out, a "
                             "password alone is :password@) or unix:///path/to/socket?db=0, with other characters than letters and digits as %%XX");
    }
    return 0;
}

void sr_address_free(struct sr_address *a)
{
    assay_secret_free(a->password);
    *a = (struct sr_address){.port = 0};
}
