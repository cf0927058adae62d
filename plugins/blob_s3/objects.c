/*
 * Blobs as objects of a bucket: one request each, but large ones, which go in parts (parts.c).
 *
 * A put is over when S3 has answered 200: the object is durable then, and readers see the whole old one or the whole new
 * one.  The request's signature covers the hash of the body, so what was damaged on the way is refused and sent
 * again.  Content-addressed objects are written again when somebody puts them again: that costs no more than asking
 * whether they are there, and mends one that has rotted.  What comes back under a hash is hashed.
 *
 * Nothing is cached here: the runner keeps tests and manifests in memory (its own cache), and sources are read once.
 *
 * S3 that is away (refuses connections, hangs, breaks off, answers 5xx) or that refuses us is ASSAY_E_BUSY: the
 * caller's request is answered 503, the runner's job waits, and nothing is taken for stored.
 */
#include "local.h"

#include <stdlib.h>

#define PROBE_NS ((int64_t)5 * 1000000000) /* how long what was seen of the bucket's health is believed */
#define PROBE_MS 3000
#define STALL_MS 10000
#define SLOWEST 131072 /* bytes a second that a large object is given the time for */
#define TRY_MS 10000

static struct bs_store *checked(void *self)
{
    struct bs_store *s = self;
    if (!s || s->magic != BS_MAGIC)
        __builtin_trap();
    return s;
}

void bs_path(const struct bs_store *s, struct assay_str name, struct assay_buf *path)
{
    assay_buf_putc(path, '/');
    if (s->bucket_host[0] == '\0') {
        assay_buf_puts(path, s->bucket);
        if (name.n > 0)
            assay_buf_putc(path, '/');
    }
    if (name.n > 0) {
        assay_buf_puts(path, s->prefix);
        assay_buf_str(path, name);
    }
}

struct aws_call bs_call(const struct bs_store *s, const char *operation, const char *method, const struct assay_buf *path, size_t moved)
{
    int64_t more_ms = (int64_t)(moved / (SLOWEST / 1000));
    int64_t try_ms = s->timeout_ms < TRY_MS ? s->timeout_ms : TRY_MS;
    return (struct aws_call){.operation = operation, .method = method, .host = assay_str(s->bucket_host), .path = assay_buf_view(path),
                             .timeout_ms = s->timeout_ms + more_ms, .try_ms = try_ms + more_ms, .stall_ms = STALL_MS,
                             .reply_max = BS_ANSWER_MAX};
}

void bs_worked(struct bs_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->worked_ns = assay_mono_ns();
    pthread_mutex_unlock(&s->lock);
}

int bs_blame(struct bs_store *s, int rc, const struct aws_answer *a, struct assay_err *err)
{
    if (rc == 0) {
        bs_worked(s);
        return 0;
    }
    bool bucket = strcmp(a->code, "NoSuchBucket") == 0;
    bool full = a->http.status == 507 || strcmp(a->code, "QuotaExceeded") == 0;
    if ((rc == ASSAY_E_NOT_FOUND && !bucket) || rc == ASSAY_E_TOO_LARGE || rc == ASSAY_E_NOMEM)
        return rc;
    pthread_mutex_lock(&s->lock);
    s->worked_ns = s->probed_ns = 0; /* health looks for itself */
    pthread_mutex_unlock(&s->lock);
    int code = full ? ASSAY_E_FULL : ASSAY_E_BUSY;
    if (err)
        err->code = code;
    return code;
}

static int key_of(struct bs_store *s, struct assay_str name, struct assay_buf *path, struct assay_str *hash, struct assay_err *err)
{
    int rc = assay_blob_name(name, hash, err);
    if (rc != 0)
        return rc;
    bs_path(s, name, path);
    return path->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for a blob's name") : 0;
}

int bs_put(void *self, struct assay_str name, struct assay_str bytes, struct assay_err *err)
{
    struct bs_store *s = checked(self);
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct assay_str hash;
    char hex[ASSAY_SHA256_HEX];
    int rc = key_of(s, name, &path, &hash, err);
    if (rc != 0)
        return rc;
    if (hash.n > 0 || bytes.n <= s->multipart_over)
        assay_sha256_hex(bytes, hex);
    if (hash.n > 0 && !assay_str_is(hash, hex))
        return assay_err_set(err, ASSAY_E_INVALID, "blob %.*s does not hash to its name", ASSAY_FMT(hash));
    if (bytes.n > s->multipart_over)
        return bs_put_parts(s, name, bytes, err);
    static const struct aws_pair type[] = {{{"content-type", 12}, {"application/octet-stream", 24}}};
    struct aws_call call = bs_call(s, "PutObject", "PUT", &path, bytes.n);
    call.headers = type;
    call.n_headers = 1;
    call.body = bytes;
    call.body_sha256 = hex;
    rc = bs_blame(s, aws_call(s->client, &call, &a, err), &a, err);
    if (rc == ASSAY_E_NOT_FOUND || rc == ASSAY_E_TOO_LARGE) /* of a put, neither is about this blob */
        return assay_err_set(err, ASSAY_E_BUSY, "S3 does not take blobs: %s", a.code[0] != '\0' ? a.code : "an answer that is none");
    if (rc == 0)
        s->host->metric_add(s->host->ctx, &bs_metrics[BS_METRIC_BYTES], (const char *const[]){"out"}, (double)bytes.n);
    return rc;
}

int bs_get(void *self, struct assay_str name, size_t max, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    struct bs_store *s = checked(self);
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct assay_str hash;
    int rc = key_of(s, name, &path, &hash, err);
    if (rc != 0)
        return rc;
    struct aws_call call = bs_call(s, "GetObject", "GET", &path, max < ((size_t)1 << 30) ? max : (size_t)1 << 30);
    call.reply_max = max < (size_t)1 << 32 ? max : (size_t)1 << 32;
    rc = bs_blame(s, aws_call(s->client, &call, &a, err), &a, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, rc, "there is no blob %.*s", ASSAY_FMT(name));
    if (rc == ASSAY_E_TOO_LARGE)
        return assay_err_set(err, rc, "blob %.*s has more than %zu bytes", ASSAY_FMT(name), max);
    if (rc != 0)
        return rc;
    if (hash.n > 0) {
        char hex[ASSAY_SHA256_HEX];
        assay_sha256_hex(assay_buf_view(&a.http.body), hex);
        if (!assay_str_is(hash, hex)) {
            assay_log(s->host, ASSAY_LOG_ERROR, "blob_damaged", ASSAY_KS("name", hash));
            return assay_err_set(err, ASSAY_E_CORRUPT, "blob %.*s no longer hashes to its name", ASSAY_FMT(hash));
        }
    }
    s->host->metric_add(s->host->ctx, &bs_metrics[BS_METRIC_BYTES], (const char *const[]){"in"}, (double)a.http.body.n);
    if (a.http.body.n == 0) {
        *out = ASSAY_STR("");
        return 0;
    }
    struct assay_str bytes = assay_arena_take(arena, &a.http.body);
    if (bytes.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for blob %.*s", ASSAY_FMT(name));
    *out = bytes;
    return 0;
}

int bs_stat(void *self, struct assay_str name, int64_t *bytes, struct assay_err *err)
{
    struct bs_store *s = checked(self);
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct assay_str hash;
    int rc = key_of(s, name, &path, &hash, err);
    if (rc != 0)
        return rc;
    const struct aws_call call = bs_call(s, "HeadObject", "HEAD", &path, 0);
    rc = bs_blame(s, aws_call(s->client, &call, &a, err), &a, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, rc, "there is no blob %.*s", ASSAY_FMT(name));
    if (rc == 0 && a.http.length < 0)
        return assay_err_set(err, ASSAY_E_IO, "S3 does not say how long blob %.*s is", ASSAY_FMT(name));
    if (rc == 0)
        *bytes = a.http.length;
    return rc;
}

int bs_del(void *self, struct assay_str name, struct assay_err *err)
{
    struct bs_store *s = checked(self);
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct assay_str hash;
    int rc = key_of(s, name, &path, &hash, err);
    if (rc != 0)
        return rc;
    const struct aws_call call = bs_call(s, "DeleteObject", "DELETE", &path, 0);
    rc = bs_blame(s, aws_call(s->client, &call, &a, err), &a, err);
    return rc == ASSAY_E_NOT_FOUND ? 0 : rc;
}

int bs_presign(void *self, struct assay_str name, const char *method, int64_t expires_s, struct assay_str content_type,
               struct assay_buf *out, struct assay_err *err)
{
    struct bs_store *s = checked(self);
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    struct assay_str hash;
    int rc = key_of(s, name, &path, &hash, err);
    if (rc == 0 && strcmp(method, "GET") != 0 && strcmp(method, "PUT") != 0)
        rc = assay_err_set(err, ASSAY_E_INVALID, "a blob's URL is for GET or PUT");
    if (rc != 0)
        return rc;
    const struct aws_pair type[] = {{ASSAY_STR("content-type"), content_type}};
    struct aws_call call = bs_call(s, "presign", method, &path, 0);
    call.headers = type;
    call.n_headers = content_type.n > 0 ? 1 : 0;
    return aws_client_presign(s->client, &call, s->public_url, expires_s, out, err);
}

/* ---- health ---- */

/* What was seen lately is believed; else one caller asks S3, and others hear what was seen last. */
int bs_health(void *self, struct assay_err *err)
{
    struct bs_store *s = checked(self);
    int64_t now = assay_mono_ns();
    pthread_mutex_lock(&s->lock);
    bool fresh = (s->worked_ns != 0 && now - s->worked_ns < PROBE_NS) || (s->probed_ns != 0 && now - s->probed_ns < PROBE_NS);
    bool works = s->worked_ns != 0 && s->worked_ns >= s->probed_ns && now - s->worked_ns < PROBE_NS;
    if (fresh || s->probing) {
        int known = works ? 0 : s->health.code;
        if (known != 0)
            (void)assay_err_set(err, known, "%s", s->health.msg);
        pthread_mutex_unlock(&s->lock);
        return known;
    }
    s->probing = true;
    pthread_mutex_unlock(&s->lock);

    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct assay_err why = {0, ""};
    bs_path(s, ASSAY_STR(""), &path);
    struct aws_call call = bs_call(s, "HeadBucket", "HEAD", &path, 0);
    call.timeout_ms = PROBE_MS;
    call.try_ms = 0;
    call.tries = 1;
    int rc = aws_call(s->client, &call, &a, &why);
    if (rc == ASSAY_E_NOT_FOUND)
        (void)assay_err_set(&why, ASSAY_E_BUSY, "there is no bucket %s", s->bucket);
    else if (rc == ASSAY_E_FORBIDDEN)
        (void)assay_err_set(&why, ASSAY_E_BUSY, "S3 refuses our keys for the bucket %s (%s)", s->bucket,
                            aws_chain_source(aws_client_chain(s->client)));
    pthread_mutex_lock(&s->lock);
    s->probing = false;
    s->probed_ns = assay_mono_ns();
    s->health = why;
    s->health.code = rc == 0 ? 0 : ASSAY_E_BUSY;
    pthread_mutex_unlock(&s->lock);
    return rc == 0 ? 0 : assay_err_set(err, ASSAY_E_BUSY, "%s", why.msg);
}
