/*
 * blob_s3 as a plugin: its options, metrics and life.
 */
#include "local.h"

#include <stdlib.h>

#define MIB ((int64_t)1 << 20)

static const struct assay_option options[] = {
    AWS_SHARED_OPTIONS,
    {.name = "s3_endpoint_url", .env = "AWS_ENDPOINT_URL_S3", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Where S3 is, if not at Amazon: http://HOST:PORT of Ceph, MinIO and others. Empty: aws_endpoint_url, then Amazon's for the region."},
    {.name = "s3_bucket", .env = "AWS_S3_BUCKET", .type = ASSAY_OPT_STRING, .default_text = "", .help = "The bucket that holds the blobs; it must be there."},
    {.name = "s3_prefix", .env = "AWS_S3_PREFIX", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "What the names of all objects begin with, such as assay/: several servers may share a bucket."},
    {.name = "s3_path_style", .type = ASSAY_OPT_CHOICE, .default_text = "auto", .choices = "auto|true|false",
     .help = "Name the bucket in the path instead of in the host; auto does so for endpoints that are not Amazon's and for buckets with dots."},
    {.name = "s3_public_url", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Where clients reach S3 with signed URLs, if not where the server does: http://HOST:PORT."},
    {.name = "s3_timeout", .type = ASSAY_OPT_DURATION, .default_text = "30s", .min = 1000, .max = 600000,
     .help = "Longest time for an operation with all its tries; large objects have a second more for each 128 KiB."},
    {.name = "s3_part_size", .type = ASSAY_OPT_BYTES, .default_text = "16m", .min = 5 * MIB, .max = 1024 * MIB,
     .help = "Length of the parts of a large object."},
    {.name = "s3_multipart_over", .type = ASSAY_OPT_BYTES, .default_text = "64m", .min = 5 * MIB, .max = 4096 * MIB,
     .help = "Longer objects are sent in parts."},
};

static const double seconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 0};
const struct assay_metric bs_metrics[BS_METRICS] = {
    [BS_METRIC_REQUESTS] = {.name = "assay_s3_requests_total", .type = ASSAY_METRIC_COUNTER, .labels = "operation,outcome",
                            .help = "Requests to S3 by operation and outcome: ok, missing, refused, failed, unreachable."},
    [BS_METRIC_SECONDS] = {.name = "assay_s3_request_seconds", .type = ASSAY_METRIC_HISTOGRAM, .labels = "operation",
                           .help = "Time of one request to S3.", .buckets = seconds},
    [BS_METRIC_BYTES] = {.name = "assay_s3_bytes_total", .type = ASSAY_METRIC_COUNTER, .labels = "direction",
                         .help = "Bytes of blobs written to S3 (out) and read from it (in)."},
};

static const struct assay_blob_ops ops = {.size = sizeof(struct assay_blob_ops), .put = bs_put, .get = bs_get, .stat = bs_stat,
                                          .del = bs_del, .health = bs_health, .presign = bs_presign};

static void told(void *arg, const char *operation, int status, double took)
{
    const struct bs_store *s = arg;
    const char *outcome = status == 404 ? "missing" : aws_outcome(status);
    s->host->metric_add(s->host->ctx, &bs_metrics[BS_METRIC_REQUESTS], (const char *const[]){operation, outcome}, 1);
    s->host->metric_observe(s->host->ctx, &bs_metrics[BS_METRIC_SECONDS], (const char *const[]){operation}, took);
}

static void fini(void *self)
{
    struct bs_store *s = self;
    if (!s)
        return;
    aws_client_free(s->client);
    pthread_mutex_destroy(&s->lock);
    free(s->bucket);
    free(s->prefix);
    free(s->public_url);
    free(s->bucket_host);
    s->magic = 0;
    free(s);
}

static bool bucket_name(const char *z)
{
    size_t n = strlen(z);
    for (size_t i = 0; i < n; i++)
        if (!((z[i] >= 'a' && z[i] <= 'z') || (z[i] >= 'A' && z[i] <= 'Z') || (z[i] >= '0' && z[i] <= '9') || strchr("-._", z[i]) != NULL))
            return false;
    return n >= 3 && n <= 63;
}

static bool region_name(const char *z)
{
    for (const char *c = z; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-'))
            return false;
    return strlen(z) <= 40;
}

/* "assay" and "assay/" are the same; its parts are like those of a blob's name. */
static int prefix_of(const char *given, char **out, struct assay_err *err)
{
    struct assay_str p = assay_str(given), hash;
    while (p.n > 0 && p.p[p.n - 1] == '/')
        p.n--;
    if (p.n > 0 && (p.n > 256 || assay_blob_name(p, &hash, NULL) != 0))
        return assay_err_set(err, ASSAY_E_CONFIG, "s3_prefix is \"%.64s\" and may hold letters, digits and ._-/ only, without an empty, \".\" "
                             "or \"..\" part", given);
    if (asprintf(out, "%.*s%s", ASSAY_FMT(p), p.n > 0 ? "/" : "") < 0) {
        *out = NULL;
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the blob store");
    }
    return 0;
}

static int open_store(struct bs_store *s, struct assay_err *err)
{
    const struct assay_host *h = s->host;
    const char *region = h->option_str(h->ctx, "aws_region"), *bucket = h->option_str(h->ctx, "s3_bucket");
    const char *endpoint = h->option_str(h->ctx, "s3_endpoint_url"), *style = h->option_str(h->ctx, "s3_path_style");
    const char *public_url = h->option_str(h->ctx, "s3_public_url");
    ASSAY_CLEANUP_BUF struct assay_buf lacks = ASSAY_BUF_INIT;
    struct assay_str scheme, name;
    char amazon[128];
    bool elsewhere = true;
    if (endpoint[0] == '\0')
        endpoint = h->option_str(h->ctx, "aws_endpoint_url");
    if (endpoint[0] == '\0') {
        elsewhere = false;
        (void)snprintf(amazon, sizeof amazon, "https://s3.%.40s.amazonaws.com%s", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
        endpoint = amazon;
    }
    if (bucket[0] == '\0')
        aws_lacks(&lacks, "s3_bucket (AWS_S3_BUCKET) is not set");
    if (region[0] == '\0' && !elsewhere)
        aws_lacks(&lacks, "aws_region (AWS_REGION) is not set");
    aws_lacks_keys(h, &lacks);
    if (lacks.n > 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "blob_driver is s3, and something is missing: %.*s", ASSAY_FMT(assay_buf_view(&lacks)));
    if (!bucket_name(bucket))
        return assay_err_set(err, ASSAY_E_CONFIG, "s3_bucket is \"%.64s\": a bucket's name has 3 to 63 letters, digits and -._", bucket);
    if (!region_name(region))
        return assay_err_set(err, ASSAY_E_CONFIG, "aws_region is \"%.64s\", which is no name of a region", region);
    int rc = aws_base_url("s3_endpoint_url", endpoint, &scheme, &name, err);
    if (rc == 0 && public_url[0] != '\0') {
        struct assay_str ignored_scheme, ignored_name;
        rc = aws_base_url("s3_public_url", public_url, &ignored_scheme, &ignored_name, err);
    }
    if (rc == 0)
        rc = prefix_of(h->option_str(h->ctx, "s3_prefix"), &s->prefix, err);
    if (rc != 0)
        return rc;
    /* a certificate for *.s3.REGION covers no bucket with dots in its name */
    bool in_path = strcmp(style, "true") == 0 || (strcmp(style, "auto") == 0 && (elsewhere || strchr(bucket, '.') != NULL));
    s->bucket = strdup(bucket);
    s->public_url = strdup(public_url);
    if (in_path)
        s->bucket_host = strdup("");
    else if (asprintf(&s->bucket_host, "%s.%.*s", bucket, ASSAY_FMT(name)) < 0)
        s->bucket_host = NULL;
    if (s->bucket == NULL || s->public_url == NULL || s->bucket_host == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the blob store");
    s->timeout_ms = h->option_int(h->ctx, "s3_timeout");
    s->part_size = (size_t)h->option_int(h->ctx, "s3_part_size");
    s->multipart_over = (size_t)h->option_int(h->ctx, "s3_multipart_over");
    return aws_client_new(h, &(struct aws_client_options){.service = "s3", .region = region[0] != '\0' ? region : "us-east-1",
                                                          .base = endpoint, .ca_file = h->option_str(h->ctx, "aws_ca_bundle"),
                                                          .explain = bs_explain, .told = told, .arg = s}, &s->client, err);
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct bs_store *s = calloc(1, sizeof *s);
    if (!s)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the blob store");
    s->magic = BS_MAGIC;
    s->host = host;
    pthread_mutex_init(&s->lock, NULL);
    int rc = open_store(s, err);
    if (rc != 0) {
        fini(s);
        return rc;
    }
    struct assay_err why = {0, ""};
    if (bs_health(s, &why) != 0) /* S3 that is away at our start is no other than S3 that goes away later */
        assay_log(host, ASSAY_LOG_WARN, "s3_unreachable", ASSAY_KZ("bucket", s->bucket), ASSAY_KZ("error", why.msg));
    *self = s;
    return 0;
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_BLOB),
    .name = "blob_s3",
    .version = "0.1.0",
    .summary = "Blobs as objects of an S3 bucket",
    .options = ASSAY_TABLE(options),
    .metrics = ASSAY_TABLE(bs_metrics),
    .driver = &ops,
    .init = init,
    .fini = fini,
};
