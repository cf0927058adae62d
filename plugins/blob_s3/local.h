/*
 * blob_s3: what its files share.
 */
#ifndef BLOB_S3_LOCAL_H
#define BLOB_S3_LOCAL_H

#include <pthread.h>
#include <stdint.h>

#include <assay/blob.h>
#include <assay/plugin.h>
#include <assay/value.h>

#include "plugins/aws/aws.h"

#define BS_MAGIC 0x626c7333u
#define BS_KEY_MAX 1024   /* the service's bound */
#define BS_PARTS_MAX 10000
#define BS_ANSWER_MAX ((size_t)4 << 20)

struct bs_store {
    uint32_t magic;
    const struct assay_host *host;
    struct aws_client *client;
    char *bucket, *prefix, *public_url, *bucket_host; /* bucket_host "": the bucket is in the path */
    int64_t timeout_ms;
    size_t part_size, multipart_over;
    pthread_mutex_t lock; /* guards all below */
    bool probing;
    int64_t probed_ns, worked_ns, swept_ns; /* monotonic; 0: never */
    struct assay_err health;
};

extern const struct assay_metric bs_metrics[];
enum { BS_METRIC_REQUESTS, BS_METRIC_SECONDS, BS_METRIC_BYTES, BS_METRICS };

/* objects.c */
int bs_put(void *self, struct assay_str name, struct assay_str bytes, struct assay_err *err);
int bs_get(void *self, struct assay_str name, size_t max, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
int bs_stat(void *self, struct assay_str name, int64_t *bytes, struct assay_err *err);
int bs_del(void *self, struct assay_str name, struct assay_err *err);
int bs_health(void *self, struct assay_err *err);
int bs_presign(void *self, struct assay_str name, const char *method, int64_t expires_s, struct assay_str content_type,
               struct assay_buf *out, struct assay_err *err);
/* The path of a key ("" for the bucket's own), appended to path. */
void bs_path(const struct bs_store *s, struct assay_str name, struct assay_buf *path);
/* A call of the bucket's, with deadlines for `moved` bytes. */
struct aws_call bs_call(const struct bs_store *s, const char *operation, const char *method, const struct assay_buf *path, size_t moved);
/* What a failed call is to blobs' users: away, unless it is about this blob. */
int bs_blame(struct bs_store *s, int rc, const struct aws_answer *a, struct assay_err *err);
void bs_worked(struct bs_store *s);

/* parts.c */
int bs_put_parts(struct bs_store *s, struct assay_str name, struct assay_str bytes, struct assay_err *err) ASSAY_MUST_CHECK;
/* Once a day: ends uploads below our prefix that began a day ago and were never finished. */
void bs_sweep(struct bs_store *s);

/* xml.c */
/* Called for each element that has no others in it, with its path ("Error/Code") and text; false ends the reading. */
typedef bool (*bs_leaf)(void *arg, const char *path, struct assay_str text);
/* ... and for each element that has others, when it ends, with text.p == NULL. ASSAY_E_CORRUPT. */
int bs_xml_read(struct assay_str xml, bs_leaf leaf, void *arg, struct assay_err *err) ASSAY_MUST_CHECK;
void bs_explain(struct assay_str body, char code[64], char message[256]);
/* The text of one element, copied; ASSAY_E_CORRUPT when it is not there, empty or does not fit. */
int bs_xml_text(struct assay_str xml, const char *path, char *out, size_t room, struct assay_err *err) ASSAY_MUST_CHECK;

#endif
