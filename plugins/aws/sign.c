/*
 * AWS Signature Version 4 (Amazon S3 API reference, "Authenticating Requests"; IAM user guide, "Create a signed AWS API request").
 *
 * The request is put into one canonical text: method, path, query sorted by name and value, headers sorted by name with
 * blanks run together, the list of their names, and the hash of the body.  A hash of that, the time and the scope (day, region,
 * service) is signed with a key that is derived from the secret for that scope alone.  S3 signs the path as it is sent; the other
 * services encode it once more.
 *
 * HMAC-SHA256 and SHA-256 are libsodium's, by way of the SDK: no other library is needed for two functions.
 */
#include "aws.h"

#include <stdlib.h>
#include <time.h>

#include <assay/value.h>

#define ALGORITHM "AWS4-HMAC-SHA256"

void aws_encode(struct assay_buf *out, struct assay_str s, bool keep_slash)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~' ||
            (c == '/' && keep_slash)) {
            assay_buf_putc(out, (char)c);
        } else {
            assay_buf_putc(out, '%');
            assay_buf_putc(out, hex[c >> 4]);
            assay_buf_putc(out, hex[c & 15]);
        }
    }
}

/* "20130524T000000Z"; its first eight characters are the day. */
static int stamp(int64_t now_ms, char out[17], struct assay_err *err)
{
    time_t t = (time_t)(now_ms / 1000);
    struct tm tm;
    if (now_ms < 0 || gmtime_r(&t, &tm) == NULL || strftime(out, 17, "%Y%m%dT%H%M%SZ", &tm) != 16)
        return assay_err_set(err, ASSAY_E_INTERNAL, "the clock says a time that cannot be written");
    return 0;
}

static void hex_of(const unsigned char *d, size_t n, struct assay_buf *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        assay_buf_putc(out, hex[d[i] >> 4]);
        assay_buf_putc(out, hex[d[i] & 15]);
    }
}

/* The key of the scope, then the signature of `text` under it. */
static void seal(const struct aws_keys *k, const char *day, const char *region, const char *service, struct assay_str text,
                 struct assay_buf *out)
{
    unsigned char d[ASSAY_HMAC_SHA256];
    char first[AWS_KEY_MAX + 4];
    int n = snprintf(first, sizeof first, "AWS4%s", k->secret);
    assay_hmac_sha256((struct assay_str){first, (size_t)n}, (struct assay_str){day, 8}, d);
    explicit_bzero(first, sizeof first);
    const struct assay_str parts[] = {assay_str(region), assay_str(service), ASSAY_STR("aws4_request"), text};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        assay_hmac_sha256((struct assay_str){(const char *)d, sizeof d}, parts[i], d);
    hex_of(d, sizeof d, out);
    explicit_bzero(d, sizeof d);
}

/* ---- the canonical request ---- */

struct sorted {
    struct assay_buf name[AWS_PAIRS_MAX], value[AWS_PAIRS_MAX];
    size_t order[AWS_PAIRS_MAX], n;
    bool too_many;
};

static void sorted_free(struct sorted *s)
{
    for (size_t i = 0; i < s->n; i++) {
        assay_buf_free(&s->name[i]);
        assay_buf_free(&s->value[i]);
    }
}
#define CLEANUP_SORTED __attribute__((cleanup(sorted_free)))

/* Inserts the pair that was just filled at place n by name, then value. */
static void sorted_in(struct sorted *s)
{
    size_t at = s->n, i = s->n++;
    for (; at > 0; at--) {
        size_t before = s->order[at - 1];
        int c = assay_str_cmp(assay_buf_view(&s->name[before]), assay_buf_view(&s->name[i]));
        if (c < 0 || (c == 0 && assay_str_cmp(assay_buf_view(&s->value[before]), assay_buf_view(&s->value[i])) <= 0))
            break;
        s->order[at] = before;
    }
    s->order[at] = i;
}

static bool room(struct sorted *s)
{
    if (s->n == AWS_PAIRS_MAX) {
        s->too_many = true;
        return false;
    }
    return true;
}

static void query_in(struct sorted *s, struct assay_str name, struct assay_str value)
{
    if (!room(s))
        return;
    aws_encode(&s->name[s->n], name, false);
    aws_encode(&s->value[s->n], value, false);
    sorted_in(s);
}

static void header_in(struct sorted *s, struct assay_str name, struct assay_str value)
{
    if (!room(s))
        return;
    for (size_t i = 0; i < name.n; i++)
        assay_buf_putc(&s->name[s->n], name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] | 32) : name.p[i]);
    bool blank = true; /* those in front go, those within run together */
    for (size_t i = 0; i < value.n; i++) {
        bool is = value.p[i] == ' ' || value.p[i] == '\t';
        if (!is || !blank)
            assay_buf_putc(&s->value[s->n], is ? ' ' : value.p[i]);
        blank = is;
    }
    struct assay_buf *v = &s->value[s->n];
    if (v->n > 0 && v->p[v->n - 1] == ' ')
        v->p[--v->n] = '\0';
    sorted_in(s);
}

static bool sorted_failed(const struct sorted *s)
{
    bool failed = s->too_many;
    for (size_t i = 0; i < s->n; i++)
        failed = failed || s->name[i].failed || s->value[i].failed;
    return failed;
}

static void write_query(const struct sorted *q, struct assay_buf *out)
{
    for (size_t i = 0; i < q->n; i++) {
        if (i > 0)
            assay_buf_putc(out, '&');
        assay_buf_str(out, assay_buf_view(&q->name[q->order[i]]));
        assay_buf_putc(out, '=');
        assay_buf_str(out, assay_buf_view(&q->value[q->order[i]]));
    }
}

static void write_names(const struct sorted *h, struct assay_buf *out)
{
    for (size_t i = 0; i < h->n; i++) {
        if (i > 0)
            assay_buf_putc(out, ';');
        assay_buf_str(out, assay_buf_view(&h->name[h->order[i]]));
    }
}

/* The signature over the canonical request, in hex. */
static void signature(const struct aws_to_sign *r, const struct aws_keys *k, const char *when, struct assay_str path,
                      const struct sorted *q, const struct sorted *h, struct assay_buf *out)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    char hash[ASSAY_SHA256_HEX];
    assay_buf_fmt(&text, "%s\n", r->method);
    if (strcmp(r->service, "s3") == 0)
        assay_buf_str(&text, path);
    else
        aws_encode(&text, path, true);
    assay_buf_putc(&text, '\n');
    write_query(q, &text);
    assay_buf_putc(&text, '\n');
    for (size_t i = 0; i < h->n; i++) {
        assay_buf_str(&text, assay_buf_view(&h->name[h->order[i]]));
        assay_buf_putc(&text, ':');
        assay_buf_str(&text, assay_buf_view(&h->value[h->order[i]]));
        assay_buf_putc(&text, '\n');
    }
    assay_buf_putc(&text, '\n');
    write_names(h, &text);
    assay_buf_putc(&text, '\n');
    assay_buf_str(&text, r->payload_sha256);
    if (text.failed) {
        out->failed = true;
        return;
    }
    assay_sha256_hex(assay_buf_view(&text), hash);
    assay_buf_reset(&text);
    assay_buf_fmt(&text, ALGORITHM "\n%s\n%.8s/%s/%s/aws4_request\n%s", when, when, r->region, r->service, hash);
    if (text.failed) {
        out->failed = true;
        return;
    }
    seal(k, when, r->region, r->service, assay_buf_view(&text), out);
}

static int checked(const struct aws_to_sign *r, struct assay_err *err)
{
    if (r->path.n == 0 || r->path.p[0] != '/')
        return assay_err_set(err, ASSAY_E_INTERNAL, "a path to sign begins with '/'");
    for (size_t i = 0; i < r->n_headers; i++)
        for (size_t j = 0; j < r->headers[i].value.n; j++)
            if (((unsigned char)r->headers[i].value.p[j] < ' ' && r->headers[i].value.p[j] != '\t') || r->headers[i].value.p[j] == 127)
                return assay_err_set(err, ASSAY_E_INVALID, "a header's value holds a control character");
    return 0;
}

int aws_sign(const struct aws_to_sign *r, const struct aws_keys *k, struct assay_buf *target, struct assay_buf *lines,
             struct assay_err *err)
{
    CLEANUP_SORTED struct sorted q = {.n = 0};
    CLEANUP_SORTED struct sorted h = {.n = 0};
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    char when[17];
    int rc = checked(r, err);
    if (rc == 0)
        rc = stamp(r->now_ms, when, err);
    if (rc != 0)
        return rc;
    bool s3 = strcmp(r->service, "s3") == 0;
    aws_encode(&path, r->path, true);
    for (size_t i = 0; i < r->n_query; i++)
        query_in(&q, r->query[i].name, r->query[i].value);
    header_in(&h, ASSAY_STR("host"), r->host);
    header_in(&h, ASSAY_STR("x-amz-date"), assay_str(when));
    if (s3)
        header_in(&h, ASSAY_STR("x-amz-content-sha256"), r->payload_sha256);
    if (k->token[0] != '\0')
        header_in(&h, ASSAY_STR("x-amz-security-token"), assay_str(k->token));
    for (size_t i = 0; i < r->n_headers; i++)
        header_in(&h, r->headers[i].name, r->headers[i].value);
    if (path.failed || sorted_failed(&q) || sorted_failed(&h))
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to sign a request, or too many headers");
    assay_buf_str(target, assay_buf_view(&path));
    if (q.n > 0) {
        assay_buf_putc(target, '?');
        write_query(&q, target);
    }
    for (size_t i = 0; i < h.n; i++) {
        if (assay_str_is(assay_buf_view(&h.name[h.order[i]]), "host"))
            continue; /* the client sends it by itself */
        assay_buf_str(lines, assay_buf_view(&h.name[h.order[i]]));
        /* libcurl's way to say that a header is there and empty */
        assay_buf_puts(lines, h.value[h.order[i]].n > 0 ? ": " : ";");
        assay_buf_str(lines, assay_buf_view(&h.value[h.order[i]]));
        assay_buf_putc(lines, '\0');
    }
    assay_buf_fmt(lines, "Authorization: " ALGORITHM " Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=", k->id, when, r->region,
                  r->service);
    write_names(&h, lines);
    assay_buf_puts(lines, ", Signature=");
    signature(r, k, when, assay_buf_view(&path), &q, &h, lines);
    assay_buf_putc(lines, '\0');
    return target->failed || lines->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory to sign a request") : 0;
}

int aws_presign(const struct aws_to_sign *r, const struct aws_keys *k, int64_t expires_s, struct assay_buf *target,
                struct assay_err *err)
{
    CLEANUP_SORTED struct sorted q = {.n = 0};
    CLEANUP_SORTED struct sorted h = {.n = 0};
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT, credential = ASSAY_BUF_INIT, names = ASSAY_BUF_INIT;
    char when[17], seconds[24];
    int rc = checked(r, err);
    if (rc == 0 && (expires_s < 1 || expires_s > AWS_PRESIGN_MAX_S))
        rc = assay_err_set(err, ASSAY_E_INVALID, "a signed URL is good for 1 to %d seconds", AWS_PRESIGN_MAX_S);
    if (rc == 0)
        rc = stamp(r->now_ms, when, err);
    if (rc != 0)
        return rc;
    (void)snprintf(seconds, sizeof seconds, "%lld", (long long)expires_s);
    aws_encode(&path, r->path, true);
    header_in(&h, ASSAY_STR("host"), r->host);
    for (size_t i = 0; i < r->n_headers; i++)
        header_in(&h, r->headers[i].name, r->headers[i].value);
    write_names(&h, &names);
    assay_buf_fmt(&credential, "%s/%.8s/%s/%s/aws4_request", k->id, when, r->region, r->service);
    for (size_t i = 0; i < r->n_query; i++)
        query_in(&q, r->query[i].name, r->query[i].value);
    query_in(&q, ASSAY_STR("X-Amz-Algorithm"), ASSAY_STR(ALGORITHM));
    query_in(&q, ASSAY_STR("X-Amz-Credential"), assay_buf_view(&credential));
    query_in(&q, ASSAY_STR("X-Amz-Date"), assay_str(when));
    query_in(&q, ASSAY_STR("X-Amz-Expires"), assay_str(seconds));
    query_in(&q, ASSAY_STR("X-Amz-SignedHeaders"), assay_buf_view(&names));
    if (k->token[0] != '\0')
        query_in(&q, ASSAY_STR("X-Amz-Security-Token"), assay_str(k->token));
    if (path.failed || credential.failed || names.failed || sorted_failed(&q) || sorted_failed(&h))
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to sign a URL, or too many headers");
    assay_buf_str(target, assay_buf_view(&path));
    assay_buf_putc(target, '?');
    write_query(&q, target);
    assay_buf_puts(target, "&X-Amz-Signature=");
    signature(r, k, when, assay_buf_view(&path), &q, &h, target);
    return target->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory to sign a URL") : 0;
}
