/*
 * Large blobs, in parts: create, send one part after the other, complete; abort when any of it fails.
 *
 * The bytes go out from where the caller has them, one part at a time, so that no copy is made.  Until S3 has completed
 * the upload there is no object.  A completion whose answer was lost is asked for again, and "no such upload" then means
 * that the first one was taken, if the object has the length.
 *
 * What a crash leaves behind costs money and is nobody's: once a day, before a large put, uploads below our prefix that are a
 * day old are ended.
 */
#include "local.h"

#include <stdlib.h>

#define ID_MAX 1024
#define DAY_NS ((int64_t)86400 * 1000000000)
#define DAY_MS ((int64_t)86400 * 1000)

static int create(struct bs_store *s, const struct assay_buf *path, char id[ID_MAX], struct assay_err *err)
{
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    static const struct aws_pair uploads[] = {{{"uploads", 7}, {"", 0}}}, type[] = {{{"content-type", 12}, {"application/octet-stream", 24}}};
    struct aws_call call = bs_call(s, "CreateMultipartUpload", "POST", path, 0);
    call.query = uploads;
    call.n_query = 1;
    call.headers = type;
    call.n_headers = 1;
    int rc = bs_blame(s, aws_call(s->client, &call, &a, err), &a, err);
    if (rc == 0)
        rc = bs_xml_text(assay_buf_view(&a.http.body), "InitiateMultipartUploadResult/UploadId", id, ID_MAX, err);
    return rc;
}

static int send_part(struct bs_store *s, const struct assay_buf *path, const char *id, size_t number, struct assay_str bytes,
                     struct assay_buf *list, struct assay_err *err)
{
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    char text[16];
    (void)snprintf(text, sizeof text, "%zu", number);
    const struct aws_pair query[] = {{ASSAY_STR("partNumber"), assay_str(text)}, {ASSAY_STR("uploadId"), assay_str(id)}};
    struct aws_call call = bs_call(s, "UploadPart", "PUT", path, bytes.n);
    call.query = query;
    call.n_query = 2;
    call.body = bytes;
    int rc = bs_blame(s, aws_call(s->client, &call, &a, err), &a, err);
    if (rc == 0 && (a.http.etag[0] == '\0' || strpbrk(a.http.etag, "<>&") != NULL))
        rc = assay_err_set(err, ASSAY_E_CORRUPT, "S3 gives no ETag for a part");
    if (rc == 0)
        assay_buf_fmt(list, "<Part><PartNumber>%zu</PartNumber><ETag>%s</ETag></Part>", number, a.http.etag);
    return rc;
}

static int complete(struct bs_store *s, struct assay_str name, const struct assay_buf *path, const char *id, struct assay_str list,
                    size_t bytes, struct assay_err *err)
{
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    const struct aws_pair query[] = {{ASSAY_STR("uploadId"), assay_str(id)}}, type[] = {{ASSAY_STR("content-type"), ASSAY_STR("application/xml")}};
    struct aws_call call = bs_call(s, "CompleteMultipartUpload", "POST", path, bytes); /* S3 may take minutes to put it together */
    call.query = query;
    call.n_query = 1;
    call.headers = type;
    call.n_headers = 1;
    call.body = list;
    call.stall_ms = 0;
    int rc = bs_blame(s, aws_call(s->client, &call, &a, err), &a, err);
    if (rc == 0) {
        /* it answers 200 before it knows: the word is in the body. Not by the ETag: radosgw 16 leaves it empty. */
        char key[BS_KEY_MAX + 1];
        if (bs_xml_text(assay_buf_view(&a.http.body), "CompleteMultipartUploadResult/Key", key, sizeof key, NULL) == 0)
            return 0;
        bs_explain(assay_buf_view(&a.http.body), a.code, a.message);
        return assay_err_set(err, ASSAY_E_BUSY, "S3 does not complete an upload: %s %s", a.code, a.message);
    }
    int64_t there = 0;
    if (rc == ASSAY_E_NOT_FOUND && strcmp(a.code, "NoSuchUpload") == 0 && bs_stat(s, name, &there, err) == 0 && there == (int64_t)bytes)
        return 0;
    return rc;
}

static int abort_upload(struct bs_store *s, const struct assay_buf *path, const char *id)
{
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct assay_err why = {0, ""};
    const struct aws_pair query[] = {{ASSAY_STR("uploadId"), assay_str(id)}};
    struct aws_call call = bs_call(s, "AbortMultipartUpload", "DELETE", path, 0);
    call.query = query;
    call.n_query = 1;
    int rc = aws_call(s->client, &call, &a, &why);
    if (rc != 0 && rc != ASSAY_E_NOT_FOUND)
        assay_log(s->host, ASSAY_LOG_WARN, "s3_upload_left", ASSAY_KZ("error", why.msg));
    return rc;
}

int bs_put_parts(struct bs_store *s, struct assay_str name, struct assay_str bytes, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT, list = ASSAY_BUF_INIT;
    char id[ID_MAX] = "";
    size_t part = s->part_size, least = (bytes.n + BS_PARTS_MAX - 1) / BS_PARTS_MAX;
    if (part < least)
        part = least;
    bs_sweep(s);
    bs_path(s, name, &path);
    assay_buf_puts(&list, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    if (path.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a blob's name");
    int rc = create(s, &path, id, err);
    if (rc == 0) {
        size_t number = 1;
        for (size_t at = 0; at < bytes.n && rc == 0; at += part, number++)
            rc = send_part(s, &path, id, number, (struct assay_str){bytes.p + at, bytes.n - at < part ? bytes.n - at : part}, &list, err);
        assay_buf_puts(&list, "</CompleteMultipartUpload>");
        if (rc == 0 && list.failed)
            rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for the list of an upload's parts");
        if (rc == 0)
            rc = complete(s, name, &path, id, assay_buf_view(&list), bytes.n, err);
        if (rc != 0)
            (void)abort_upload(s, &path, id);
    }
    if (rc == 0)
        s->host->metric_add(s->host->ctx, &bs_metrics[BS_METRIC_BYTES], (const char *const[]){"out"}, (double)bytes.n);
    /* of a put, that something is not there or too large is never about this blob */
    if (rc == ASSAY_E_NOT_FOUND || rc == ASSAY_E_TOO_LARGE || rc == ASSAY_E_CORRUPT) {
        rc = ASSAY_E_BUSY;
        if (err)
            err->code = rc;
    }
    return rc;
}

/* ---- leftovers ---- */

struct leftovers {
    struct bs_store *s;
    char key[BS_KEY_MAX + 1], id[ID_MAX];
    int64_t began_ms;
    struct assay_buf found; /* key NUL id NUL ... */
    size_t n;
};

static bool leftover(void *arg, const char *path, struct assay_str text)
{
    struct leftovers *l = arg;
    const struct {
        const char *path;
        char *to;
        size_t room;
    } parts[] = {{"ListMultipartUploadsResult/Upload/Key", l->key, sizeof l->key},
                 {"ListMultipartUploadsResult/Upload/UploadId", l->id, sizeof l->id}};
    for (size_t i = 0; i < 2; i++)
        if (text.p != NULL && strcmp(path, parts[i].path) == 0) {
            if (text.n >= parts[i].room)
                return false;
            memcpy(parts[i].to, text.p, text.n);
            parts[i].to[text.n] = '\0';
        }
    if (text.p != NULL && strcmp(path, "ListMultipartUploadsResult/Upload/Initiated") == 0 &&
        assay_time_parse(text, &l->began_ms, NULL) != 0)
        l->began_ms = 0;
    if (text.p == NULL && strcmp(path, "ListMultipartUploadsResult/Upload") == 0) {
        int64_t now = l->s->host->now_ms(l->s->host->ctx) + aws_client_skew_ms(l->s->client);
        /* as old as a day, so that it is no upload of another gateway's under way */
        if (l->key[0] != '\0' && l->id[0] != '\0' && l->began_ms != 0 && l->began_ms < now - DAY_MS &&
            assay_str_starts(assay_str(l->key), l->s->prefix)) {
            assay_buf_add(&l->found, l->key, strlen(l->key) + 1);
            assay_buf_add(&l->found, l->id, strlen(l->id) + 1);
            l->n++;
        }
        l->key[0] = l->id[0] = '\0';
        l->began_ms = 0;
    }
    return true;
}

void bs_sweep(struct bs_store *s)
{
    pthread_mutex_lock(&s->lock);
    int64_t now = assay_mono_ns();
    bool due = s->swept_ns == 0 || now - s->swept_ns > DAY_NS;
    if (due)
        s->swept_ns = now;
    pthread_mutex_unlock(&s->lock);
    if (!due)
        return;
    ASSAY_CLEANUP_BUF struct assay_buf path = ASSAY_BUF_INIT;
    AWS_CLEANUP_ANSWER struct aws_answer a = {.code = ""};
    struct assay_err why = {0, ""};
    bs_path(s, ASSAY_STR(""), &path);
    const struct aws_pair query[] = {{ASSAY_STR("uploads"), ASSAY_STR("")}, {ASSAY_STR("prefix"), assay_str(s->prefix)}};
    struct aws_call call = bs_call(s, "ListMultipartUploads", "GET", &path, 0);
    call.query = query;
    call.n_query = s->prefix[0] != '\0' ? 2 : 1;
    call.tries = 1;
    struct leftovers *l = calloc(1, sizeof *l);
    if (l == NULL)
        return;
    l->s = s;
    int rc = aws_call(s->client, &call, &a, &why);
    if (rc == 0)
        rc = bs_xml_read(assay_buf_view(&a.http.body), leftover, l, &why);
    size_t ended = 0;
    for (size_t at = 0; rc == 0 && at < l->found.n;) {
        const char *key = l->found.p + at, *id = key + strlen(key) + 1;
        at += strlen(key) + strlen(id) + 2;
        assay_buf_reset(&path);
        assay_buf_putc(&path, '/');
        if (s->bucket_host[0] == '\0')
            assay_buf_fmt(&path, "%s/", s->bucket);
        assay_buf_puts(&path, key);
        if (!path.failed && abort_upload(s, &path, id) == 0)
            ended++;
    }
    if (rc != 0)
        assay_log(s->host, ASSAY_LOG_WARN, "s3_leftovers", ASSAY_KZ("error", why.msg));
    else if (l->n > 0)
        assay_log(s->host, ASSAY_LOG_INFO, "s3_leftovers", ASSAY_KI("found", l->n), ASSAY_KI("ended", ended));
    assay_buf_free(&l->found);
    free(l);
}
