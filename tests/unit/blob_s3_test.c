/*
 * blob_s3 against an S3 that is a script: large objects in parts, leftovers, outages of every kind, damage, and URLs.
 * What every blob driver promises, on a real S3, and whether signatures are right, is in tests/e2e/test_s3.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "fake_http.h"
#include "plugins/blob_s3/local.h"
#include "store_host.h"

extern const struct assay_plugin assay_plugin;

struct world {
    struct store_host h;
    struct fake *fake;
    void *self;
    const struct assay_blob_ops *ops;
    struct assay_arena *arena;
    char url[64];
    /* the bucket: one object, and an upload in parts */
    char key[2048];
    struct assay_buf object, upload;
    int parts, fail_part, aborted, completed;
    char aborted_id[64];
    bool has, complete_fails_late, lose_completion;
    const char *uploads; /* what ListMultipartUploads answers */
    _Atomic int way, status, bad; /* for the next `bad` requests */
    _Atomic int seen;
};

static void serve(void *arg, const struct fake_request *rq, struct fake_answer *a)
{
    struct world *w = arg;
    char path[2048];
    atomic_fetch_add(&w->seen, 1);
    if (atomic_load(&w->bad) > 0) {
        atomic_fetch_sub(&w->bad, 1);
        a->way = (enum fake_way)atomic_load(&w->way);
        a->status = atomic_load(&w->status);
        assay_buf_puts(&a->body, "<Error><Code>SomeCode</Code><Message>a reason</Message></Error>");
        return;
    }
    (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(rq->target, "?"), rq->target);
    const char *query = strchr(rq->target, '?');
    query = query != NULL ? query + 1 : "";
    if (strcmp(path, "/the-bucket") == 0) {
        if (strncmp(query, "prefix=", 7) == 0 || strncmp(query, "uploads", 7) == 0)
            assay_buf_puts(&a->body, w->uploads != NULL ? w->uploads : "<ListMultipartUploadsResult/>");
        return;
    }
    bool put = strcmp(rq->method, "PUT") == 0, post = strcmp(rq->method, "POST") == 0, del = strcmp(rq->method, "DELETE") == 0;
    if (put || post) { /* what is signed is what came */
        char hex[ASSAY_SHA256_HEX];
        assay_sha256_hex(rq->body, hex);
        char sent[80];
        (void)fake_header(rq, "x-amz-content-sha256", sent, sizeof sent);
        assert_string_equal(sent, hex);
    }
    if (post && strcmp(query, "uploads=") == 0) {
        assay_buf_reset(&w->upload);
        w->parts = 0;
        assay_buf_puts(&a->body, "<InitiateMultipartUploadResult><UploadId>id/1+</UploadId></InitiateMultipartUploadResult>");
    } else if (put && strncmp(query, "partNumber=", 11) == 0) {
        int number = (int)strtol(query + 11, NULL, 10);
        assert_non_null(strstr(query, "&uploadId=id%2F1%2B"));
        if (number == w->fail_part) {
            a->status = 403;
            assay_buf_puts(&a->body, "<Error><Code>AccessDenied</Code></Error>");
            return;
        }
        assert_int_equal(number, ++w->parts);
        assay_buf_str(&w->upload, rq->body);
        (void)snprintf(a->lines, sizeof a->lines, "ETag: \"part-%d\"\r\n", number);
    } else if (post && strcmp(query, "uploadId=id%2F1%2B") == 0) {
        if (w->completed > 0) {
            a->status = 404;
            assay_buf_puts(&a->body, "<Error><Code>NoSuchUpload</Code></Error>");
            return;
        }
        if (w->complete_fails_late) {
            assay_buf_puts(&a->body, "<Error><Code>InternalError</Code><Message>later</Message></Error>");
            return;
        }
        for (int i = 1; i <= w->parts; i++) {
            char part[100];
            (void)snprintf(part, sizeof part, "<Part><PartNumber>%d</PartNumber><ETag>\"part-%d\"</ETag></Part>", i, i);
            assert_non_null(memmem(rq->body.p, rq->body.n, part, strlen(part)));
        }
        w->completed++;
        w->has = true;
        assay_buf_reset(&w->object);
        assay_buf_str(&w->object, assay_buf_view(&w->upload));
        if (w->lose_completion)
            a->way = FAKE_RESET;
        else
            assay_buf_puts(&a->body, " \n <?xml version=\"1.0\"?><CompleteMultipartUploadResult><Key>k</Key><ETag></ETag></CompleteMultipartUploadResult>");
    } else if (del && strncmp(query, "uploadId=", 9) == 0) {
        w->aborted++;
        (void)snprintf(w->aborted_id, sizeof w->aborted_id, "%s", query + 9);
        a->status = 204;
    } else if (put) {
        (void)snprintf(w->key, sizeof w->key, "%s", path);
        assay_buf_reset(&w->object);
        assay_buf_str(&w->object, rq->body);
        w->has = true;
    } else if (del) {
        w->has = false;
        a->status = 204;
    } else if (!w->has) {
        a->status = 404;
        assay_buf_puts(&a->body, "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>");
    } else if (strcmp(rq->method, "HEAD") == 0) {
        (void)snprintf(a->lines, sizeof a->lines, "Content-Length: %zu\r\n", w->object.n);
    } else {
        assay_buf_str(&a->body, assay_buf_view(&w->object));
    }
}

static int open_it(struct world *w, struct assay_err *err)
{
    int rc = assay_plugin.init(&w->h.host, &w->self, err);
    w->ops = assay_plugin.driver;
    return rc;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct assay_err err = {0, ""};
    sh_init(&w->h, &assay_plugin);
    w->fake = fake_new(serve, w);
    w->arena = assay_arena_new(0);
    (void)setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    (void)snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d", fake_port(w->fake));
    sh_option(&w->h, "s3_endpoint_url", w->url);
    sh_option(&w->h, "s3_bucket", "the-bucket");
    sh_option(&w->h, "s3_prefix", "pre/fix");
    sh_option(&w->h, "s3_part_size", "5m");
    sh_option(&w->h, "s3_multipart_over", "5m");
    if (open_it(w, &err) != 0)
        fail_msg("%s", err.msg);
    atomic_store(&w->seen, 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    assay_plugin.fini(w->self);
    fake_free(w->fake);
    assay_arena_free(w->arena);
    assay_buf_free(&w->object);
    assay_buf_free(&w->upload);
    free(w);
    return 0;
}

static struct assay_str much(struct world *w, size_t n)
{
    char *p = assay_arena_alloc(w->arena, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)((i * 2654435761u) >> 13);
    return (struct assay_str){p, n};
}

static void objects_have_the_prefix_and_come_back(void **state)
{
    struct world *w = *state;
    struct assay_str out;
    int64_t n = 0;
    assert_int_equal(w->ops->put(w->self, ASSAY_STR("logs/s1/run.log"), ASSAY_STR("text"), NULL), 0);
    assert_string_equal(w->key, "/the-bucket/pre/fix/logs/s1/run.log");
    assert_int_equal(w->ops->get(w->self, ASSAY_STR("logs/s1/run.log"), 4, w->arena, &out, NULL), 0);
    assert_true(assay_str_is(out, "text"));
    assert_int_equal(w->ops->get(w->self, ASSAY_STR("logs/s1/run.log"), 3, w->arena, &out, NULL), ASSAY_E_TOO_LARGE);
    assert_int_equal(w->ops->stat(w->self, ASSAY_STR("logs/s1/run.log"), &n, NULL), 0);
    assert_int_equal(n, 4);
    assert_int_equal(w->ops->del(w->self, ASSAY_STR("logs/s1/run.log"), NULL), 0);
    assert_int_equal(w->ops->get(w->self, ASSAY_STR("logs/s1/run.log"), 0, w->arena, &out, NULL), ASSAY_E_NOT_FOUND);
    assert_int_equal(w->ops->stat(w->self, ASSAY_STR("logs/s1/run.log"), &n, NULL), ASSAY_E_NOT_FOUND);
}

static void damage_is_told_and_mended_by_the_next_put(void **state)
{
    struct world *w = *state;
    struct assay_blobs b = {w->ops, w->self};
    struct assay_str out;
    char ref[ASSAY_BLOB_REF];
    assert_int_equal(assay_blob_put(&b, ASSAY_STR("precious"), ref, NULL), 0);
    w->object.p[0] = 'Q';
    assert_int_equal(assay_blob_get(&b, assay_str(ref), 100, w->arena, &out, NULL), ASSAY_E_CORRUPT);
    assert_int_equal(assay_blob_put(&b, ASSAY_STR("precious"), ref, NULL), 0);
    assert_int_equal(assay_blob_get(&b, assay_str(ref), 100, w->arena, &out, NULL), 0);
    assert_true(assay_str_is(out, "precious"));
    assert_int_equal(w->ops->put(w->self, ASSAY_STR("sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
                                 ASSAY_STR("x"), NULL), ASSAY_E_INVALID);
}

static void large_objects_go_in_parts(void **state)
{
    struct world *w = *state;
    struct assay_blobs b = {w->ops, w->self};
    struct assay_str bytes = much(w, (12 << 20) + 17), out;
    char ref[ASSAY_BLOB_REF];
    assert_int_equal(assay_blob_put(&b, bytes, ref, NULL), 0);
    assert_int_equal(w->parts, 3);
    assert_int_equal(w->completed, 1);
    assert_int_equal(w->aborted, 0);
    assert_int_equal(assay_blob_get(&b, assay_str(ref), bytes.n, w->arena, &out, NULL), 0);
    assert_true(assay_str_eq(out, bytes));
    /* the answer to the completion is lost: the object is there, and found */
    w->completed = 0;
    w->lose_completion = true;
    assert_int_equal(assay_blob_put(&b, bytes, ref, NULL), 0);
    /* a part fails: the upload is ended, and the blob not taken for stored */
    w->completed = 0;
    w->fail_part = 2;
    assert_int_equal(assay_blob_put(&b, bytes, ref, NULL), ASSAY_E_BUSY);
    assert_int_equal(w->aborted, 1);
    assert_int_equal(w->completed, 0);
    /* 200, and an error in it */
    w->fail_part = 0;
    w->complete_fails_late = true;
    struct assay_err err = {0, ""};
    assert_int_equal(assay_blob_put(&b, bytes, ref, &err), ASSAY_E_BUSY);
    assert_non_null(strstr(err.msg, "InternalError later"));
    assert_int_equal(w->aborted, 2);
}

static void uploads_that_a_crash_left_are_ended(void **state)
{
    struct world *w = *state;
    char now[ASSAY_TIME_SIZE], list[1024];
    assay_time_format(assay_now_ms(), now);
    (void)snprintf(list, sizeof list,
                   "<ListMultipartUploadsResult><Upload><Key>pre/fix/old</Key><UploadId>o1</UploadId><Initiated>2020-01-01T00:00:00.000Z</Initiated>"
                   "</Upload><Upload><Key>pre/fix/young</Key><UploadId>y1</UploadId><Initiated>%s</Initiated></Upload><Upload><Key>other/old</Key>"
                   "<UploadId>x1</UploadId><Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>", now);
    w->uploads = list;
    assert_int_equal(w->ops->put(w->self, ASSAY_STR("big"), much(w, 6 << 20), NULL), 0);
    assert_int_equal(w->aborted, 1);
    assert_string_equal(w->aborted_id, "o1");
    w->completed = 0;
    assert_int_equal(w->ops->put(w->self, ASSAY_STR("big"), much(w, 6 << 20), NULL), 0);
    assert_int_equal(w->aborted, 1); /* within a day nobody looks again */
}

static void an_outage_is_busy_and_passes(void **state)
{
    struct world *w = *state;
    struct assay_str out;
    static const struct {
        enum fake_way way;
        int status;
    } ways[] = {{FAKE_RESET, 200}, {FAKE_CUT, 200}, {FAKE_ANSWER, 500}, {FAKE_ANSWER, 503}, {FAKE_ANSWER, 403}, {FAKE_ANSWER, 400}};
    assert_int_equal(w->ops->put(w->self, ASSAY_STR("a"), ASSAY_STR("text"), NULL), 0);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        atomic_store(&w->way, ways[i].way);
        atomic_store(&w->status, ways[i].status);
        for (int op = 0; op < 4; op++) {
            struct assay_err err = {0, ""};
            int64_t n;
            if (op == 2 && ways[i].way == FAKE_CUT)
                continue; /* of an answer without a body nothing is cut */
            atomic_store(&w->bad, 1000);
            int rc = op == 0 ? w->ops->put(w->self, ASSAY_STR("a"), ASSAY_STR("other"), &err)
                   : op == 1 ? w->ops->get(w->self, ASSAY_STR("a"), 100, w->arena, &out, &err)
                   : op == 2 ? w->ops->stat(w->self, ASSAY_STR("a"), &n, &err)
                             : w->ops->del(w->self, ASSAY_STR("a"), &err);
            if (rc != ASSAY_E_BUSY || err.code != ASSAY_E_BUSY || err.msg[0] == '\0')
                fail_msg("way %zu, operation %d: %d (%s)", i, op, rc, err.msg);
        }
        struct assay_err why = {0, ""};
        if (ways[i].way != FAKE_CUT)
            assert_int_equal(w->ops->health(w->self, &why), ASSAY_E_BUSY);
        /* one try that fails is not noticed */
        atomic_store(&w->bad, ways[i].status >= 400 && ways[i].status < 500 ? 0 : 1);
        assert_int_equal(w->ops->get(w->self, ASSAY_STR("a"), 100, w->arena, &out, NULL), 0);
        assert_true(assay_str_is(out, "text"));
        assert_int_equal(w->ops->health(w->self, NULL), 0);
    }
}

static void hanging_and_slow_answers_meet_deadlines(void **state)
{
    struct world *w = *state;
    struct assay_str out;
    assert_int_equal(w->ops->put(w->self, ASSAY_STR("a"), ASSAY_STR("text"), NULL), 0);
    assay_plugin.fini(w->self);
    sh_option(&w->h, "s3_timeout", "1s");
    struct assay_err err = {0, ""};
    assert_int_equal(open_it(w, &err), 0);
    for (int slow = 0; slow < 2; slow++) {
        atomic_store(&w->way, slow ? FAKE_SLOW : FAKE_HANG);
        atomic_store(&w->status, 200);
        atomic_store(&w->bad, 1000);
        int64_t began = assay_mono_ns();
        assert_int_equal(w->ops->put(w->self, ASSAY_STR("a"), ASSAY_STR("new"), &err), ASSAY_E_BUSY);
        assert_int_equal(w->ops->get(w->self, ASSAY_STR("a"), 100, w->arena, &out, &err), ASSAY_E_BUSY);
        assert_true(assay_mono_ns() - began < (int64_t)20 * 1000000000);
    }
    atomic_store(&w->bad, 0);
    assert_int_equal(w->ops->get(w->self, ASSAY_STR("a"), 100, w->arena, &out, NULL), 0);
}

static void urls_are_for_clients(void **state)
{
    struct world *w = *state;
    struct assay_blobs b = {w->ops, w->self};
    ASSAY_CLEANUP_BUF struct assay_buf url = ASSAY_BUF_INIT;
    char head[200];
    assert_int_equal(assay_blob_presign(&b, ASSAY_STR("submissions/u/p/1.zip"), "PUT", 3600, ASSAY_STR("application/zip"), &url, NULL), 0);
    (void)snprintf(head, sizeof head, "%s/the-bucket/pre/fix/submissions/u/p/1.zip?X-Amz-Algorithm=AWS4-HMAC-SHA256&", w->url);
    assert_memory_equal(url.p, head, strlen(head));
    assert_non_null(strstr(url.p, "X-Amz-Expires=3600&X-Amz-SignedHeaders=content-type%3Bhost&X-Amz-Signature="));
    assert_int_equal(atomic_load(&w->seen), 0);
    assert_int_equal(assay_blob_presign(&b, ASSAY_STR("a"), "DELETE", 3600, ASSAY_STR(""), &url, NULL), ASSAY_E_INVALID);
    assert_int_equal(assay_blob_presign(&b, ASSAY_STR("../a"), "GET", 3600, ASSAY_STR(""), &url, NULL), ASSAY_E_INVALID);
    const struct assay_blob_ops old = {.size = offsetof(struct assay_blob_ops, presign)};
    assert_int_equal(assay_blob_presign(&(struct assay_blobs){&old, NULL}, ASSAY_STR("a"), "GET", 60, ASSAY_STR(""), &url, NULL),
                     ASSAY_E_UNSUPPORTED);
    assay_plugin.fini(w->self);
    sh_option(&w->h, "s3_public_url", "https://files.example.org");
    assert_int_equal(open_it(w, NULL), 0);
    assay_buf_reset(&url);
    b.self = w->self;
    assert_int_equal(assay_blob_presign(&b, ASSAY_STR("a"), "GET", 60, ASSAY_STR(""), &url, NULL), 0);
    assert_memory_equal(url.p, "https://files.example.org/the-bucket/pre/fix/a?", 47);
}

static void a_start_says_all_that_is_missing(void **state)
{
    struct world *w = *state;
    struct assay_err err = {0, ""};
    void *self = NULL;
    struct store_host h;
    sh_init(&h, &assay_plugin);
    (void)unsetenv("AWS_ACCESS_KEY_ID");
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    (void)setenv("HOME", "/nonexistent", 1);
    assert_int_equal(assay_plugin.init(&h.host, &self, &err), ASSAY_E_CONFIG);
    assert_non_null(strstr(err.msg, "s3_bucket (AWS_S3_BUCKET) is not set; aws_region (AWS_REGION) is not set; there are no AWS credentials"));
    (void)setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    static const char *const bad[][3] = {{"s3_bucket", "a/b", "s3_bucket is"}, {"s3_prefix", "../x", "s3_prefix is"},
                                         {"aws_region", "EU west", "aws_region is"}, {"s3_endpoint_url", "localhost", "s3_endpoint_url is"},
                                         {"s3_public_url", "https://a/b", "s3_public_url is"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sh_init(&h, &assay_plugin);
        sh_option(&h, "s3_bucket", "the-bucket");
        sh_option(&h, "s3_endpoint_url", w->url);
        sh_option(&h, bad[i][0], bad[i][1]);
        assert_int_equal(assay_plugin.init(&h.host, &self, &err), ASSAY_E_CONFIG);
        if (strstr(err.msg, bad[i][2]) == NULL)
            fail_msg("\"%s\"", err.msg);
    }
}

static void answers_are_read_with_bounds(void **state)
{
    (void)state;
    char code[64], message[256], id[20];
    bs_explain(ASSAY_STR("<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>a &amp; b\n&lt;</Message></Error>"), code, message);
    assert_string_equal(code, "NoSuchKey");
    assert_string_equal(message, "a & b <");
    bs_explain(ASSAY_STR("<!DOCTYPE a [<!ENTITY b \"c\">]><Error><Code>&b;</Code></Error>"), code, message);
    assert_string_equal(code, "");
    assert_int_equal(bs_xml_text(ASSAY_STR("<R><UploadId>0123456789012345678901234</UploadId></R>"), "R/UploadId", id, sizeof id, NULL),
                     ASSAY_E_CORRUPT);
    assert_int_equal(bs_xml_text(ASSAY_STR("<R><UploadId/></R>"), "R/UploadId", id, sizeof id, NULL), ASSAY_E_CORRUPT);
    assert_int_equal(bs_xml_text(ASSAY_STR("<R><UploadId>x</UploadId>"), "R/UploadId", id, sizeof id, NULL), ASSAY_E_CORRUPT);
    assert_int_equal(bs_xml_text(ASSAY_STR("<R><UploadId>x</UploadId></R>"), "R/UploadId", id, sizeof id, NULL), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read_with_bounds),
        T(objects_have_the_prefix_and_come_back),
        T(damage_is_told_and_mended_by_the_next_put),
        T(large_objects_go_in_parts),
        T(uploads_that_a_crash_left_are_ended),
        T(an_outage_is_busy_and_passes),
        T(hanging_and_slow_answers_meet_deadlines),
        T(urls_are_for_clients),
        T(a_start_says_all_that_is_missing),
    };
    return cmocka_run_group_tests_name("blob_s3", tests, NULL, NULL);
}
