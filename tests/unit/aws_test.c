/*
 * Signatures against the examples that Amazon publishes, credentials against endpoints that are scripts, and calls against
 * a service that refuses, hangs, cuts, throttles and has another clock.
 *
 * The signatures: S3's are of "Signature Calculations for the Authorization Header" and "Authenticating Requests: Using Query
 * Parameters" in the Amazon S3 API reference; the others of the Signature Version 4 test suite (get-vanilla and its
 * kin) and of "Create a signed AWS API request" in the IAM user guide.  A server that verifies is in tests/e2e/test_s3.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "fake_http.h"
#include "plugins/aws/aws.h"
#include "store_host.h"

static const struct assay_plugin no_plugin = {.options = ASSAY_TABLE_NONE};
#define EMPTY_SHA "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* ---- signatures ---- */

static const struct aws_keys s3_keys = {.id = "AKIAIOSFODNN7EXAMPLE", .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
static const struct aws_keys suite_keys = {.id = "AKIDEXAMPLE", .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};
#define S3_TIME 1369353600000    /* 2013-05-24T00:00:00Z */
#define SUITE_TIME 1440938160000 /* 2015-08-30T12:36:00Z */

static void signs_as(const struct aws_to_sign *r, const struct aws_keys *k, const char *target, const char *want)
{
    ASSAY_CLEANUP_BUF struct assay_buf t = ASSAY_BUF_INIT, lines = ASSAY_BUF_INIT;
    struct assay_err err = {0, ""};
    if (aws_sign(r, k, &t, &lines, &err) != 0)
        fail_msg("%s", err.msg);
    assert_string_equal(t.p, target);
    const char *authorization = NULL;
    for (size_t at = 0; at < lines.n; at += strlen(lines.p + at) + 1)
        if (strncmp(lines.p + at, "Authorization: ", 15) == 0)
            authorization = lines.p + at;
    assert_non_null(authorization);
    const char *sig = strstr(authorization, "Signature=");
    assert_non_null(sig);
    assert_string_equal(sig + 10, want);
}

static void signatures_of_the_s3_examples(void **state)
{
    (void)state;
#define S3 .region = "us-east-1", .service = "s3", .host = ASSAY_STR("examplebucket.s3.amazonaws.com"), .now_ms = S3_TIME
    const struct aws_pair range[] = {{ASSAY_STR("Range"), ASSAY_STR("bytes=0-9")}};
    signs_as(&(struct aws_to_sign){S3, .method = "GET", .path = ASSAY_STR("/test.txt"), .headers = range, .n_headers = 1,
                                   .payload_sha256 = ASSAY_STR(EMPTY_SHA)},
             &s3_keys, "/test.txt", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    const struct aws_pair put[] = {{ASSAY_STR("Date"), ASSAY_STR("Fri, 24 May 2013 00:00:00 GMT")},
                                   {ASSAY_STR("x-amz-storage-class"), ASSAY_STR("REDUCED_REDUNDANCY")}};
    char sha[ASSAY_SHA256_HEX];
    assay_sha256_hex(ASSAY_STR("Welcome to Amazon S3."), sha);
    signs_as(&(struct aws_to_sign){S3, .method = "PUT", .path = ASSAY_STR("/test$file.text"), .headers = put, .n_headers = 2,
                                   .payload_sha256 = assay_str(sha)},
             &s3_keys, "/test%24file.text", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    const struct aws_pair lifecycle[] = {{ASSAY_STR("lifecycle"), ASSAY_STR("")}};
    signs_as(&(struct aws_to_sign){S3, .method = "GET", .path = ASSAY_STR("/"), .query = lifecycle, .n_query = 1,
                                   .payload_sha256 = ASSAY_STR(EMPTY_SHA)},
             &s3_keys, "/?lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    const struct aws_pair list[] = {{ASSAY_STR("prefix"), ASSAY_STR("J")}, {ASSAY_STR("max-keys"), ASSAY_STR("2")}};
    signs_as(&(struct aws_to_sign){S3, .method = "GET", .path = ASSAY_STR("/"), .query = list, .n_query = 2,
                                   .payload_sha256 = ASSAY_STR(EMPTY_SHA)},
             &s3_keys, "/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    ASSAY_CLEANUP_BUF struct assay_buf url = ASSAY_BUF_INIT;
    assert_int_equal(aws_presign(&(struct aws_to_sign){S3, .method = "GET", .path = ASSAY_STR("/test.txt"),
                                                       .payload_sha256 = AWS_UNSIGNED_PAYLOAD},
                                 &s3_keys, 86400, &url, NULL), 0);
    assert_string_equal(url.p, "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
                               "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
                               "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    for (int64_t s = 0; s <= AWS_PRESIGN_MAX_S + 1; s += AWS_PRESIGN_MAX_S + 1)
        assert_int_equal(aws_presign(&(struct aws_to_sign){S3, .method = "GET", .path = ASSAY_STR("/x"), .payload_sha256 = AWS_UNSIGNED_PAYLOAD},
                                     &s3_keys, s, &url, NULL), ASSAY_E_INVALID);
}

static void signatures_of_the_test_suite(void **state)
{
    (void)state;
#define SUITE .region = "us-east-1", .service = "service", .host = ASSAY_STR("example.amazonaws.com"), .now_ms = SUITE_TIME, .payload_sha256 = ASSAY_STR(EMPTY_SHA)
    signs_as(&(struct aws_to_sign){SUITE, .method = "GET", .path = ASSAY_STR("/")}, &suite_keys, "/",
             "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"); /* get-vanilla */
    signs_as(&(struct aws_to_sign){SUITE, .method = "POST", .path = ASSAY_STR("/")}, &suite_keys, "/",
             "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"); /* post-vanilla */
    const struct aws_pair order[] = {{ASSAY_STR("Param2"), ASSAY_STR("value2")}, {ASSAY_STR("Param1"), ASSAY_STR("value1")}};
    signs_as(&(struct aws_to_sign){SUITE, .method = "GET", .path = ASSAY_STR("/"), .query = order, .n_query = 2}, &suite_keys,
             "/?Param1=value1&Param2=value2", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"); /* get-vanilla-query-order-key-case */
    const struct aws_pair form[] = {{ASSAY_STR("content-type"), ASSAY_STR("application/x-www-form-urlencoded; charset=utf-8")}};
    const struct aws_pair users[] = {{ASSAY_STR("Action"), ASSAY_STR("ListUsers")}, {ASSAY_STR("Version"), ASSAY_STR("2010-05-08")}};
    signs_as(&(struct aws_to_sign){.region = "us-east-1", .service = "iam", .host = ASSAY_STR("iam.amazonaws.com"), .now_ms = SUITE_TIME,
                                   .payload_sha256 = ASSAY_STR(EMPTY_SHA), .method = "GET", .path = ASSAY_STR("/"), .query = users,
                                   .n_query = 2, .headers = form, .n_headers = 1},
             &suite_keys, "/?Action=ListUsers&Version=2010-05-08", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

static void odd_names_and_values_are_encoded_and_refused(void **state)
{
    (void)state;
    ASSAY_CLEANUP_BUF struct assay_buf t = ASSAY_BUF_INIT, lines = ASSAY_BUF_INIT;
    const struct aws_pair query[] = {{ASSAY_STR("b c"), ASSAY_STR("~'()*+/=&\xc3\xa9")}, {ASSAY_STR("a"), ASSAY_STR("2")}, {ASSAY_STR("a"), ASSAY_STR("1")}};
    const struct aws_pair headers[] = {{ASSAY_STR("X-Blank"), ASSAY_STR("  a   b\t c  ")}};
    struct aws_to_sign r = {S3, .method = "GET", .path = ASSAY_STR("/a b/~'%2f/c"), .query = query, .n_query = 3, .headers = headers,
                            .n_headers = 1, .payload_sha256 = ASSAY_STR(EMPTY_SHA)};
    struct aws_keys k = s3_keys;
    memcpy(k.token, "tok/en=", 8);
    assert_int_equal(aws_sign(&r, &k, &t, &lines, NULL), 0);
    assert_string_equal(t.p, "/a%20b/~%27%252f/c?a=1&a=2&b%20c=~%27%28%29%2A%2B%2F%3D%26%C3%A9");
    bool token = false, blank = false, names = false;
    for (size_t at = 0; at < lines.n; at += strlen(lines.p + at) + 1) {
        token = token || strcmp(lines.p + at, "x-amz-security-token: tok/en=") == 0;
        blank = blank || strcmp(lines.p + at, "x-blank: a b c") == 0;
        names = names || strstr(lines.p + at, "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-blank,") != NULL;
    }
    assert_true(token && blank && names);
    r.headers = (const struct aws_pair[]){{ASSAY_STR("X-Evil"), ASSAY_STR("a\r\nHost: b")}};
    assert_int_equal(aws_sign(&r, &k, &t, &lines, NULL), ASSAY_E_INVALID);
    r.path = ASSAY_STR("no-slash");
    assert_true(aws_sign(&r, &k, &t, &lines, NULL) < 0);
}

/* ---- files and answers with keys ---- */

static void profiles_are_read(void **state)
{
    (void)state;
    struct aws_keys k;
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    assay_buf_puts(&text, "# of mine\n[other]\naws_access_key_id=A\naws_secret_access_key = B\n\n[default]\r\naws_access_key_id = AKID \r\n"
                          "aws_secret_access_key=s/e+c=\r\nregion = eu-west-1\ns3 =\n  max_queue_size = 10\n[profile work]\nAWS_ACCESS_KEY_ID=W\n"
                          "aws_secret_access_key=V\naws_session_token = ");
    for (int i = 0; i < 2000; i++)
        assay_buf_putc(&text, 't');
    struct assay_str all = assay_buf_view(&text);
    assert_int_equal(aws_profile_read(all, "default", &k, NULL), 0);
    assert_string_equal(k.id, "AKID");
    assert_string_equal(k.secret, "s/e+c=");
    assert_string_equal(k.token, "");
    assert_int_equal(aws_profile_read(all, "other", &k, NULL), 0);
    assert_string_equal(k.id, "A");
    assert_int_equal(aws_profile_read(all, "work", &k, NULL), 0);
    assert_string_equal(k.id, "W");
    assert_int_equal(strlen(k.token), 2000);
    assert_int_equal(aws_profile_read(all, "nobody", &k, NULL), ASSAY_E_NOT_FOUND);
    static const char *const bad[] = {"[default\naws_access_key_id=A", "[default]\naws_access_key_id", "[default]\naws_access_key_id=\n",
                                      "[default]\naws_access_key_id=a b\n", "[default]\naws_secret_access_key=a\x01\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(aws_profile_read(assay_str(bad[i]), "default", &k, NULL), ASSAY_E_INVALID);
    assert_int_equal(aws_profile_read(ASSAY_STR("[default]\naws_access_key_id=A\n"), "default", &k, NULL), ASSAY_E_NOT_FOUND);
}

static void answers_with_keys_are_read(void **state)
{
    (void)state;
    struct aws_keys k;
    struct assay_err err = {0, ""};
    assert_int_equal(aws_metadata_keys(ASSAY_STR("{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"s\","
                                                 "\"Token\":\"t\",\"Expiration\":\"2030-01-01T00:00:00Z\",\"LastUpdated\":\"2029-01-01T00:00:00Z\"}"),
                                       &k, NULL), 0);
    assert_string_equal(k.id, "ASIA");
    assert_string_equal(k.token, "t");
    assert_int_equal(k.expires_ms, 1893456000000);
    static const char *const bad[] = {"", "{}", "[]", "{\"AccessKeyId\":1,\"SecretAccessKey\":\"SECRET\"}",
                                      "{\"AccessKeyId\":\"a\\nb\",\"SecretAccessKey\":\"SECRET\"}",
                                      "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"SECRET\",\"Expiration\":\"soon\"}",
                                      "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"SECRET\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(aws_metadata_keys(assay_str(bad[i]), &k, &err), ASSAY_E_CORRUPT);
        assert_null(strstr(err.msg, "SECRET"));
    }
}

/* ---- the chain ---- */

struct world {
    struct store_host h;
    struct fake *fake;
    char *dir;
    _Atomic int asked;
    _Atomic int way;        /* enum fake_way of the endpoint for keys */
    _Atomic int64_t lasts_ms; /* how long keys that it gives hold */
    char path[300], url[128], seen_token[64];
    /* of the service */
    _Atomic int calls, bad_first, bad_status;
    _Atomic int service_way;
    const char *bad_body;
    int64_t clock_ahead_ms;
    bool check_clock;
    char last_date[32], last_key[64];
};

static const char *const variables[] = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT", NULL};

static void give_keys(struct world *w, struct fake_answer *a)
{
    char end[ASSAY_TIME_SIZE];
    assay_time_format(assay_now_ms() + atomic_load(&w->lasts_ms), end);
    assay_buf_fmt(&a->body, "{\"Code\":\"Success\",\"AccessKeyId\":\"ASIA%d\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"%s\"}",
                  atomic_load(&w->asked), end);
}

static void serve_keys(struct world *w, const struct fake_request *rq, struct fake_answer *a)
{
    char v[128];
    a->way = (enum fake_way)atomic_load(&w->way);
    if (strcmp(rq->target, "/latest/api/token") == 0) {
        if (strcmp(rq->method, "PUT") != 0 || fake_header(rq, "x-aws-ec2-metadata-token-ttl-seconds", v, sizeof v)[0] == '\0')
            a->status = 400;
        else
            assay_buf_puts(&a->body, "SESSION");
        return;
    }
    if (strncmp(rq->target, "/latest/", 8) == 0 && strcmp(fake_header(rq, "X-aws-ec2-metadata-token", v, sizeof v), "SESSION") != 0) {
        a->status = 401;
    } else if (strcmp(rq->target, "/latest/meta-data/iam/security-credentials/") == 0) {
        assay_buf_puts(&a->body, "the-role\n");
    } else if (strcmp(rq->target, "/latest/meta-data/iam/security-credentials/the-role") == 0 || strcmp(rq->target, "/container") == 0) {
        if (a->way == FAKE_ANSWER)
            atomic_fetch_add(&w->asked, 1);
        (void)fake_header(rq, "authorization", w->seen_token, sizeof w->seen_token);
        give_keys(w, a);
    } else {
        a->status = 404;
    }
}

static void serve_calls(struct world *w, const struct fake_request *rq, struct fake_answer *a)
{
    char v[512];
    int call = atomic_fetch_add(&w->calls, 1);
    (void)fake_header(rq, "x-amz-date", w->last_date, sizeof w->last_date);
    const char *credential = strstr(fake_header(rq, "authorization", v, sizeof v), "Credential=");
    if (credential != NULL)
        (void)snprintf(w->last_key, sizeof w->last_key, "%.*s", (int)strcspn(credential + 11, "/"), credential + 11);
    int64_t now = assay_now_ms() + w->clock_ahead_ms;
    time_t t = (time_t)(now / 1000);
    struct tm tm;
    (void)strftime(a->lines, sizeof a->lines, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&t, &tm));
    if (w->check_clock) {
        int64_t sent = 0;
        char rfc[32];
        const char *d = w->last_date;
        (void)snprintf(rfc, sizeof rfc, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", d, d + 4, d + 6, d + 9, d + 11, d + 13);
        assert_int_equal(assay_time_parse(assay_str(rfc), &sent, NULL), 0);
        if (sent < now - 300000 || sent > now + 300000) {
            a->status = 403;
            assay_buf_puts(&a->body, "RequestTimeTooSkewed");
            return;
        }
    }
    if (call < atomic_load(&w->bad_first)) {
        a->way = (enum fake_way)atomic_load(&w->service_way);
        a->status = atomic_load(&w->bad_status);
        assay_buf_puts(&a->body, w->bad_body != NULL ? w->bad_body : "");
        return;
    }
    assay_buf_puts(&a->body, "fine");
}

static void serve_world(void *arg, const struct fake_request *rq, struct fake_answer *a)
{
    struct world *w = arg;
    if (strncmp(rq->target, "/service", 8) == 0)
        serve_calls(w, rq, a);
    else
        serve_keys(w, rq, a);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    sh_init(&w->h, &no_plugin);
    w->dir = sh_tempdir();
    w->fake = fake_new(serve_world, w);
    atomic_store(&w->lasts_ms, 3600000);
    for (const char *const *v = variables; *v != NULL; v++)
        (void)unsetenv(*v);
    (void)setenv("HOME", w->dir, 1);
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    (void)snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d", fake_port(w->fake));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    fake_free(w->fake);
    sh_remove(w->dir);
    free(w->dir);
    free(w);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void gives(struct world *w, const char *id, const char *source)
{
    struct aws_chain *c = aws_chain_new(&w->h.host);
    struct aws_keys k;
    struct assay_err err = {0, ""};
    if (aws_chain_get(c, &k, &err) != 0)
        fail_msg("%s", err.msg);
    assert_string_equal(k.id, id);
    assert_string_equal(aws_chain_source(c), source);
    aws_chain_free(c);
}

static void refuses(struct world *w, int code, const char *text)
{
    struct aws_chain *c = aws_chain_new(&w->h.host);
    struct aws_keys k;
    struct assay_err err = {0, ""};
    assert_int_equal(aws_chain_get(c, &k, &err), code);
    if (strstr(err.msg, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
    aws_chain_free(c);
}

static void keys_come_from_the_first_place_that_has_them(void **state)
{
    struct world *w = *state;
    char path[300], full[200];
    refuses(w, ASSAY_E_CONFIG, "there are no AWS credentials: AWS_ACCESS_KEY_ID is not set");
    /* the instance */
    (void)unsetenv("AWS_EC2_METADATA_DISABLED");
    (void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url, 1);
    gives(w, "ASIA1", "instance");
    /* before it the container */
    (void)snprintf(full, sizeof full, "%s/container", w->url);
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", full, 1);
    (void)snprintf(path, sizeof path, "%s/token", w->dir);
    write_file(path, "Bearer of-file\n");
    (void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path, 1);
    gives(w, "ASIA2", "container");
    assert_string_equal(w->seen_token, "Bearer of-file");
    /* before it the file */
    (void)snprintf(path, sizeof path, "%s/.aws", w->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/.aws/credentials", w->dir);
    write_file(path, "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n[two]\naws_access_key_id=TWO\naws_secret_access_key=s\n");
    gives(w, "FILE", "file");
    (void)setenv("AWS_PROFILE", "two", 1);
    gives(w, "TWO", "file");
    (void)setenv("AWS_PROFILE", "three", 1);
    refuses(w, ASSAY_E_CONFIG, "there is no profile three");
    /* before it the environment */
    (void)setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    refuses(w, ASSAY_E_CONFIG, "only one is set");
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    gives(w, "ENV", "environment");
}

static void places_that_are_meant_are_not_passed_over(void **state)
{
    struct world *w = *state;
    char full[200];
    (void)unsetenv("AWS_EC2_METADATA_DISABLED");
    (void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", w->url, 1);
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/keys", 1);
    refuses(w, ASSAY_E_CONFIG, "must be https");
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1@example.com/keys", 1);
    refuses(w, ASSAY_E_CONFIG, "must be https");
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost.example.com/keys", 1);
    refuses(w, ASSAY_E_CONFIG, "must be https");
    (void)snprintf(full, sizeof full, "%s/nothing-here", w->url);
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", full, 1);
    refuses(w, ASSAY_E_BUSY, "answers 404");
    (void)snprintf(full, sizeof full, "%s/container", w->url);
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", full, 1);
    atomic_store(&w->way, FAKE_HANG);
    refuses(w, ASSAY_E_BUSY, "no answer in time");
    atomic_store(&w->way, FAKE_RESET);
    refuses(w, ASSAY_E_BUSY, "AWS credentials");
}

static void keys_are_renewed_before_they_end(void **state)
{
    struct world *w = *state;
    char full[200];
    struct aws_keys k;
    (void)snprintf(full, sizeof full, "%s/container", w->url);
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", full, 1);
    struct aws_chain *c = aws_chain_new(&w->h.host);
    for (int i = 0; i < 5; i++)
        assert_int_equal(aws_chain_get(c, &k, NULL), 0);
    assert_int_equal(atomic_load(&w->asked), 1);
    usleep(1100000); /* a second is the least between two questions */
    w->h.ahead_ms = 3600000 - 299000; /* less than five minutes are left */
    atomic_store(&w->lasts_ms, 2 * 3600000);
    assert_int_equal(aws_chain_get(c, &k, NULL), 0);
    assert_int_equal(atomic_load(&w->asked), 2);
    assert_string_equal(k.id, "ASIA2");
    /* nobody answers: the old ones serve to their end and no longer */
    usleep(1100000);
    atomic_store(&w->way, FAKE_RESET);
    w->h.ahead_ms = 2 * 3600000 - 100000;
    assert_int_equal(aws_chain_get(c, &k, NULL), 0);
    assert_string_equal(k.id, "ASIA2");
    w->h.ahead_ms = 2 * 3600000 + 1000;
    struct assay_err err = {0, ""};
    assert_int_equal(aws_chain_get(c, &k, &err), ASSAY_E_BUSY);
    /* and when somebody does again */
    atomic_store(&w->way, FAKE_ANSWER);
    atomic_store(&w->lasts_ms, 4 * 3600000);
    for (int i = 0; i < 100 && aws_chain_get(c, &k, NULL) != 0; i++)
        usleep(100000);
    assert_string_equal(k.id, "ASIA3");
    /* refused by the service */
    usleep(1100000);
    aws_chain_refused(c);
    assert_int_equal(aws_chain_get(c, &k, NULL), 0);
    assert_string_equal(k.id, "ASIA4");
    aws_chain_free(c);
}

static void *get_one(void *arg)
{
    struct aws_keys k;
    return aws_chain_get(arg, &k, NULL) == 0 && strcmp(k.id, "ASIA1") == 0 ? NULL : arg;
}

static void many_threads_ask_once(void **state)
{
    struct world *w = *state;
    char full[200];
    pthread_t t[8];
    (void)snprintf(full, sizeof full, "%s/container", w->url);
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", full, 1);
    struct aws_chain *c = aws_chain_new(&w->h.host);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, get_one, c), 0);
    for (int i = 0; i < 8; i++) {
        void *bad = NULL;
        assert_int_equal(pthread_join(t[i], &bad), 0);
        assert_null(bad);
    }
    assert_int_equal(atomic_load(&w->asked), 1);
    aws_chain_free(c);
}

/* ---- calls ---- */

static void explain(struct assay_str body, char code[64], char message[256])
{
    (void)snprintf(code, 64, "%.*s", (int)(body.n < 63 ? body.n : 63), body.p != NULL ? body.p : "");
    (void)snprintf(message, 256, "said so");
}

static struct aws_client *client_of(struct world *w)
{
    struct aws_client *c = NULL;
    struct assay_err err = {0, ""};
    (void)setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    if (aws_client_new(&w->h.host, &(struct aws_client_options){.service = "sqs", .region = "eu-west-1", .base = w->url, .ca_file = "",
                                                                .explain = explain}, &c, &err) != 0)
        fail_msg("%s", err.msg);
    return c;
}

static const struct aws_call some_call = {.operation = "DoThis", .method = "POST", .path = {"/service", 8}, .body = {"{}", 2},
                                          .timeout_ms = 20000, .try_ms = 500, .reply_max = 1000};

static int call(struct world *w, struct aws_client *c, const char *want)
{
    AWS_CLEANUP_ANSWER struct aws_answer a;
    struct assay_err err = {0, ""};
    atomic_store(&w->calls, 0);
    int rc = aws_call(c, &some_call, &a, &err);
    if (rc == 0)
        assert_string_equal(a.http.body.p, "fine");
    else if (strstr(err.msg, want) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.msg, want);
    return rc;
}

static void calls_are_tried_again_when_that_can_help(void **state)
{
    struct world *w = *state;
    struct aws_client *c = client_of(w);
    static const struct {
        enum fake_way way;
        int status;
        const char *body;
    } passing[] = {{FAKE_ANSWER, 500, ""}, {FAKE_ANSWER, 503, "SlowDown"}, {FAKE_ANSWER, 429, ""}, {FAKE_ANSWER, 400, "ThrottlingException"},
                   {FAKE_RESET, 200, ""}, {FAKE_CUT, 200, "fine but cut"}, {FAKE_HANG, 200, ""}, {FAKE_SLOW, 200, "too slow"}};
    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++) {
        atomic_store(&w->service_way, passing[i].way);
        atomic_store(&w->bad_status, passing[i].status);
        w->bad_body = passing[i].body;
        atomic_store(&w->bad_first, 2);
        assert_int_equal(call(w, c, ""), 0);
        assert_int_equal(atomic_load(&w->calls), 3);
    }
    atomic_store(&w->bad_first, 1000);
    atomic_store(&w->service_way, FAKE_ANSWER);
    static const struct {
        int status, code, calls;
        const char *body, *say;
    } lasting[] = {{500, ASSAY_E_BUSY, 4, "InternalError", "answers 500 to DoThis: InternalError: said so"},
                   {404, ASSAY_E_NOT_FOUND, 1, "QueueDoesNotExist", "QueueDoesNotExist"},
                   {403, ASSAY_E_FORBIDDEN, 1, "AccessDenied", "AccessDenied"},
                   {400, ASSAY_E_INVALID, 1, "InvalidParameterValue", "answers 400"},
                   {412, ASSAY_E_CONFLICT, 1, "PreconditionFailed", "412"},
                   {301, ASSAY_E_CONFIG, 1, "PermanentRedirect", "the region or the endpoint is another one"}};
    for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++) {
        atomic_store(&w->bad_status, lasting[i].status);
        w->bad_body = lasting[i].body;
        assert_int_equal(call(w, c, lasting[i].say), lasting[i].code);
        assert_int_equal(atomic_load(&w->calls), lasting[i].calls);
    }
    static char much[2000];
    memset(much, 'x', sizeof much - 1);
    w->bad_body = much;
    atomic_store(&w->bad_status, 200);
    assert_int_equal(call(w, c, "more than 1000 bytes"), ASSAY_E_TOO_LARGE);
    aws_client_free(c);
}

static void a_service_that_is_away_is_busy_and_the_deadline_holds(void **state)
{
    struct world *w = *state;
    struct aws_client *c = client_of(w);
    struct aws_call some = some_call;
    AWS_CLEANUP_ANSWER struct aws_answer a;
    struct assay_err err = {0, ""};
    atomic_store(&w->bad_first, 1000);
    atomic_store(&w->service_way, FAKE_HANG);
    some.timeout_ms = 1500;
    some.try_ms = 0;
    int64_t began = assay_mono_ns();
    assert_int_equal(aws_call(c, &some, &a, &err), ASSAY_E_BUSY);
    int64_t took = (assay_mono_ns() - began) / 1000000;
    assert_in_range(took, 1400, 8000);
    assert_non_null(strstr(err.msg, "no answer in time"));
    aws_client_free(c);
    /* a port where nobody listens */
    (void)snprintf(w->url, sizeof w->url, "http://127.0.0.1:1");
    c = client_of(w);
    some.timeout_ms = 5000;
    AWS_CLEANUP_ANSWER struct aws_answer b;
    assert_int_equal(aws_call(c, &some, &b, &err), ASSAY_E_BUSY);
    aws_client_free(c);
}

static void a_wrong_clock_is_set_right(void **state)
{
    struct world *w = *state;
    struct aws_client *c = client_of(w);
    w->check_clock = true;
    for (int i = 0; i < 2; i++) {
        w->clock_ahead_ms = i == 0 ? 3600000 : -7200000;
        assert_int_equal(call(w, c, ""), 0);
        assert_int_equal(atomic_load(&w->calls), 2);
        assert_in_range(aws_client_skew_ms(c) - w->clock_ahead_ms + 60000, 58000, 62000);
        assert_int_equal(call(w, c, ""), 0);
        assert_int_equal(atomic_load(&w->calls), 1);
    }
    aws_client_free(c);
}

static void keys_that_the_service_refuses_are_renewed_once(void **state)
{
    struct world *w = *state;
    char full[200];
    struct aws_client *c = client_of(w);
    (void)unsetenv("AWS_ACCESS_KEY_ID");
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    (void)snprintf(full, sizeof full, "%s/container", w->url);
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", full, 1);
    assert_int_equal(call(w, c, ""), 0);
    assert_string_equal(w->last_key, "ASIA1");
    usleep(1100000);
    atomic_store(&w->bad_first, 1);
    atomic_store(&w->bad_status, 403);
    w->bad_body = "ExpiredToken";
    assert_int_equal(call(w, c, ""), 0);
    assert_string_equal(w->last_key, "ASIA2");
    assert_int_equal(atomic_load(&w->calls), 2);
    aws_client_free(c);
}

static void *call_for_long(void *arg)
{
    struct aws_call some = some_call;
    AWS_CLEANUP_ANSWER struct aws_answer a;
    some.timeout_ms = 60000;
    some.try_ms = 0;
    return aws_call(arg, &some, &a, NULL) == ASSAY_E_GONE ? NULL : arg;
}

static void calls_under_way_end_when_told_to(void **state)
{
    struct world *w = *state;
    struct aws_client *c = client_of(w);
    pthread_t t[3];
    void *bad;
    atomic_store(&w->bad_first, 1000);
    atomic_store(&w->service_way, FAKE_HANG);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, call_for_long, c), 0);
    for (int i = 0; i < 100 && atomic_load(&w->calls) < 1; i++)
        usleep(20000);
    int64_t began = assay_mono_ns();
    aws_client_stop(c);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(t[i], &bad), 0);
        assert_null(bad);
    }
    assert_true(assay_mono_ns() - began < 10000000000);
    assert_null(call_for_long(c)); /* and later ones do not begin */
    aws_client_free(c);
}

static void endpoints_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "s3.amazonaws.com", "ftp://x", "http://", "https://a/b", "http://a?b", "http://u@h", "http://a b"};
    struct assay_str scheme, host;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(aws_base_url("x", bad[i], &scheme, &host, NULL), ASSAY_E_CONFIG);
    assert_int_equal(aws_base_url("x", "https://localhost:9000/", &scheme, &host, NULL), 0);
    assert_true(assay_str_is(scheme, "https") && assay_str_is(host, "localhost:9000"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_of_the_s3_examples),
        cmocka_unit_test(signatures_of_the_test_suite),
        cmocka_unit_test(odd_names_and_values_are_encoded_and_refused),
        cmocka_unit_test(profiles_are_read),
        cmocka_unit_test(answers_with_keys_are_read),
        cmocka_unit_test(endpoints_are_checked),
        T(keys_come_from_the_first_place_that_has_them),
        T(places_that_are_meant_are_not_passed_over),
        T(keys_are_renewed_before_they_end),
        T(many_threads_ask_once),
        T(calls_are_tried_again_when_that_can_help),
        T(a_service_that_is_away_is_busy_and_the_deadline_holds),
        T(a_wrong_clock_is_set_right),
        T(keys_that_the_service_refuses_are_renewed_once),
        T(calls_under_way_end_when_told_to),
    };
    return cmocka_run_group_tests_name("aws", tests, NULL, NULL);
}
