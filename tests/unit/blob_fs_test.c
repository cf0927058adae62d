/*
 * Blobs through the driver's table: what every driver promises, and what files do besides.  With BLOB_S3: the former on blob_s3, at
 * the S3 and in the bucket that the variables ASSAY_TEST_S3_ENDPOINT and ASSAY_TEST_S3_BUCKET name.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "store_host.h"
#ifdef BLOB_S3
#include "plugins/aws/aws.h"
#endif

extern const struct assay_plugin assay_plugin;

struct fixture {
    struct store_host h;
    char *dir;
    void *self;
    struct assay_blobs b;
    struct assay_arena *arena;
};

static void open_blobs(struct fixture *f)
{
    struct assay_err err = {0};
    if (assay_plugin.init(&f->h.host, &f->self, &err) != 0)
        fail_msg("%s", err.msg);
    f->b = (struct assay_blobs){assay_plugin.driver, f->self};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    sh_init(&f->h, &assay_plugin);
#ifdef BLOB_S3
    char prefix[40];
    (void)snprintf(prefix, sizeof prefix, "t-");
    assay_random_hex(prefix + 2, 8);
    sh_option(&f->h, "s3_endpoint_url", getenv("ASSAY_TEST_S3_ENDPOINT"));
    sh_option(&f->h, "s3_bucket", getenv("ASSAY_TEST_S3_BUCKET"));
    f->dir = strdup(prefix);
    sh_option(&f->h, "s3_prefix", f->dir);
    sh_option(&f->h, "s3_part_size", "5m");
    sh_option(&f->h, "s3_multipart_over", "5m");
#else
    f->dir = sh_tempdir();
    sh_option(&f->h, "data_dir", f->dir);
#endif
    f->arena = assay_arena_new(0);
    open_blobs(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assay_plugin.fini(f->self);
    assay_arena_free(f->arena);
#ifndef BLOB_S3
    sh_remove(f->dir);
#endif
    free(f->dir);
    free(f);
    return 0;
}

static int put(struct fixture *f, const char *name, struct assay_str bytes)
{
    return f->b.ops->put(f->self, assay_str(name), bytes, NULL);
}

static int get(struct fixture *f, const char *name, size_t max, struct assay_str *out)
{
    return f->b.ops->get(f->self, assay_str(name), max, f->arena, out, NULL);
}

#ifndef BLOB_S3
static char *in_root(struct fixture *f, const char *rest)
{
    char *p = NULL;
    if (asprintf(&p, "%s/blobs/%s", f->dir, rest) < 0)
        abort();
    return p;
}

static char *file_of(struct fixture *f, const char *ref)
{
    char rest[100];
    (void)snprintf(rest, sizeof rest, "sha256/%.2s/%s", ref, ref);
    return in_root(f, rest);
}

#endif

static void blobs_come_back_under_their_hash(void **state)
{
    struct fixture *f = *state;
    char ref[ASSAY_BLOB_REF], empty[ASSAY_BLOB_REF];
    struct assay_str out = {0};
    assert_int_equal(assay_blob_put(&f->b, ASSAY_STR("a\0b\n"), ref, NULL), 0);
    assert_int_equal(assay_blob_put(&f->b, ASSAY_STR(""), empty, NULL), 0);
    assert_string_equal(empty, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(assay_blob_get(&f->b, assay_str(ref), 4, f->arena, &out, NULL), 0);
    assert_true(assay_str_eq(out, ASSAY_STR("a\0b\n")));
    assert_int_equal(assay_blob_get(&f->b, assay_str(empty), 0, f->arena, &out, NULL), 0);
    assert_int_equal(out.n, 0);
    assert_int_equal(assay_blob_get(&f->b, assay_str(ref), 3, f->arena, &out, NULL), ASSAY_E_TOO_LARGE);
    ref[0] = ref[0] == 'a' ? 'b' : 'a';
    assert_int_equal(assay_blob_get(&f->b, assay_str(ref), 3, f->arena, &out, NULL), ASSAY_E_NOT_FOUND);
}

#ifndef BLOB_S3
static void a_blob_that_is_there_is_not_written_again(void **state)
{
    struct fixture *f = *state;
    char ref[ASSAY_BLOB_REF];
    struct stat before, after;
    assert_int_equal(assay_blob_put(&f->b, ASSAY_STR("same"), ref, NULL), 0);
    char *path = file_of(f, ref);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(before.st_mode & 0777, 0600);
    assert_int_equal(assay_blob_put(&f->b, ASSAY_STR("same"), ref, NULL), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    free(path);
}

static void damage_is_told_and_mended_by_the_next_put(void **state)
{
    struct fixture *f = *state;
    char ref[ASSAY_BLOB_REF];
    struct assay_str out = {0};
    static const struct assay_str whole = {"precious", 8};
    assert_int_equal(assay_blob_put(&f->b, whole, ref, NULL), 0);
    char *path = file_of(f, ref);
    for (int how = 0; how < 2; how++) {
        int fd = open(path, how == 0 ? O_WRONLY : O_WRONLY | O_TRUNC);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "Q", 1), 1);
        assert_int_equal(close(fd), 0);
        assert_int_equal(assay_blob_get(&f->b, assay_str(ref), 100, f->arena, &out, NULL), ASSAY_E_CORRUPT);
        assert_int_equal(assay_blob_put(&f->b, whole, ref, NULL), 0);
        assert_int_equal(assay_blob_get(&f->b, assay_str(ref), 100, f->arena, &out, NULL), 0);
        assert_true(assay_str_eq(out, whole));
    }
    free(path);
}

#endif

static void names_are_checked(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "../a", "a b", "a\\b", "a~b", "~tmp/x", "\xc3\xa9", "a\n", "sha256",
        "sha256/x", "sha256/ab/cd",
        "sha256/E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
        "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct assay_str out;
        int64_t n;
        assert_int_equal(put(f, bad[i], ASSAY_STR("x")), ASSAY_E_INVALID);
        assert_int_equal(get(f, bad[i], 10, &out), ASSAY_E_INVALID);
        assert_int_equal(f->b.ops->stat(f->self, assay_str(bad[i]), &n, NULL), ASSAY_E_INVALID);
        assert_int_equal(f->b.ops->del(f->self, assay_str(bad[i]), NULL), ASSAY_E_INVALID);
    }
    assert_int_equal(f->b.ops->put(f->self, ASSAY_STR("a\0b"), ASSAY_STR("x"), NULL), ASSAY_E_INVALID);
    char name[600];
    memset(name, 'a', sizeof name);
    name[255] = '/';
    name[512] = '\0';
    assert_int_equal(put(f, name, ASSAY_STR("x")), ASSAY_E_INVALID); /* second part of 256 */
    name[510] = '/';
    assert_int_equal(put(f, name, ASSAY_STR("x")), 0);
    /* not under a hash that is not its own */
    assert_int_equal(put(f, "sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", ASSAY_STR("x")),
                     ASSAY_E_INVALID);
}

static void named_blobs_are_replaced_whole_and_deleted(void **state)
{
    struct fixture *f = *state;
    struct assay_str out = {0};
    int64_t n = 0;
    assert_int_equal(get(f, "logs/s1/run.log", 100, &out), ASSAY_E_NOT_FOUND);
    assert_int_equal(put(f, "logs/s1/run.log", ASSAY_STR("first")), 0);
    assert_int_equal(put(f, "logs/s1/run.log", ASSAY_STR("second!")), 0);
    assert_int_equal(get(f, "logs/s1/run.log", 100, &out), 0);
    assert_true(assay_str_is(out, "second!"));
    assert_int_equal(f->b.ops->stat(f->self, ASSAY_STR("logs/s1/run.log"), &n, NULL), 0);
    assert_int_equal(n, 7);
    assert_int_equal(f->b.ops->del(f->self, ASSAY_STR("logs/s1/run.log"), NULL), 0);
    assert_int_equal(f->b.ops->del(f->self, ASSAY_STR("logs/s1/run.log"), NULL), 0);
    assert_int_equal(f->b.ops->del(f->self, ASSAY_STR("never/was/there"), NULL), 0);
    assert_int_equal(get(f, "logs/s1/run.log", 100, &out), ASSAY_E_NOT_FOUND);
    assert_true(get(f, "logs/s1", 100, &out) < 0);
#ifndef BLOB_S3 /* a folder is no blob */
    assert_true(put(f, "logs/s1", ASSAY_STR("x")) < 0);
#endif
}

#ifndef BLOB_S3
static void links_lead_nowhere(void **state)
{
    struct fixture *f = *state;
    struct assay_str out = {0};
    char *link_file = in_root(f, "l"), *link_dir = in_root(f, "d"), *fifo = in_root(f, "p"), *outside = NULL;
    assert_true(asprintf(&outside, "%s/outside", f->dir) > 0);
    assert_int_equal(mkdir(outside, 0700), 0);
    assert_int_equal(symlink("/etc/passwd", link_file), 0);
    assert_int_equal(symlink(outside, link_dir), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(get(f, "l", 1 << 20, &out), ASSAY_E_IO);
    assert_int_equal(put(f, "d/x", ASSAY_STR("x")), ASSAY_E_IO);
    assert_int_equal(get(f, "d/x", 10, &out), ASSAY_E_IO);
    assert_int_equal(get(f, "p", 10, &out), ASSAY_E_IO);
    /* a put replaces a link by the blob, and leaves alone what it led to */
    assert_int_equal(put(f, "l", ASSAY_STR("mine")), 0);
    assert_int_equal(get(f, "l", 10, &out), 0);
    assert_true(assay_str_is(out, "mine"));
    free(link_file), free(link_dir), free(fifo), free(outside);
}

static void litter_is_swept_when_it_is_old(void **state)
{
    struct fixture *f = *state;
    char *old = in_root(f, "~tmp/old"), *young = in_root(f, "~tmp/young");
    for (int i = 0; i < 2; i++) {
        int fd = open(i ? young : old, O_WRONLY | O_CREAT, 0600);
        assert_true(fd >= 0);
        assert_int_equal(close(fd), 0);
    }
    struct timespec t[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    assert_int_equal(utimensat(AT_FDCWD, old, t, 0), 0);
    assay_plugin.fini(f->self);
    open_blobs(f);
    assert_int_equal(access(old, F_OK), -1);
    assert_int_equal(access(young, F_OK), 0);
    free(old), free(young);
}

#endif

static void *put_many(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 30; i++) {
        char text[32], ref[ASSAY_BLOB_REF];
        (void)snprintf(text, sizeof text, "blob %d", i % 10);
        if (assay_blob_put(&f->b, assay_str(text), ref, NULL) != 0)
            return arg;
        struct assay_arena *a = assay_arena_new(0);
        struct assay_str out;
        bool same = assay_blob_get(&f->b, assay_str(ref), 100, a, &out, NULL) == 0 && assay_str_is(out, text) &&
                    put(f, "shared/name", assay_str(text)) == 0 &&
                    f->b.ops->get(f->self, ASSAY_STR("shared/name"), 100, a, &out, NULL) == 0 && out.n == 6;
        assay_arena_free(a);
        if (!same)
            return arg;
    }
    return NULL;
}

static void many_threads_put_the_same(void **state)
{
    struct fixture *f = *state;
    pthread_t t[8];
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, put_many, f), 0);
    for (int i = 0; i < 8; i++) {
        void *bad = NULL;
        assert_int_equal(pthread_join(t[i], &bad), 0);
        assert_null(bad);
    }
}

#ifndef BLOB_S3
static void a_full_disk_leaves_no_half_blob(void **state)
{
    struct fixture *f = *state;
    char *where = NULL;
    assert_true(asprintf(&where, "%s/small", f->dir) > 0);
    assert_int_equal(mkdir(where, 0700), 0);
    if (geteuid() != 0 || mount("tmpfs", where, "tmpfs", 0, "size=3m") != 0) {
        free(where);
        print_message("# no tmpfs of our own here: not run\n");
        skip();
    }
    assay_plugin.fini(f->self);
    sh_option(&f->h, "blob_dir", where);
    open_blobs(f);
    static char big[1 << 20];
    char ref[ASSAY_BLOB_REF];
    int st = 0, good = 0;
    for (int i = 0; i < 5 && st == 0; i++) {
        big[0] = (char)i;
        st = assay_blob_put(&f->b, (struct assay_str){big, sizeof big}, ref, NULL);
        good += st == 0;
    }
    assert_int_equal(st, ASSAY_E_FULL);
    assert_in_range(good, 1, 3);
    struct assay_str out;
    assert_int_equal(assay_blob_get(&f->b, assay_str(ref), sizeof big, f->arena, &out, NULL), ASSAY_E_NOT_FOUND);
    big[0] = 0;
    assert_int_equal(assay_blob_put(&f->b, (struct assay_str){big, sizeof big}, ref, NULL), 0);
    char name[80];
    (void)snprintf(name, sizeof name, "sha256/%s", ref);
    assert_int_equal(f->b.ops->del(f->self, assay_str(name), NULL), 0);
    assert_int_equal(f->b.ops->health(f->self, NULL), 0);
    big[0] = 9;
    assert_int_equal(assay_blob_put(&f->b, (struct assay_str){big, sizeof big}, ref, NULL), 0);
    assay_plugin.fini(f->self);
    assert_int_equal(umount2(where, MNT_DETACH), 0);
    sh_option(&f->h, "blob_dir", "");
    open_blobs(f);
    free(where);
}

#endif

static void large_blobs_come_back(void **state)
{
    struct fixture *f = *state;
    size_t n = ((size_t)11 << 20) + 5;
    char *p = assay_arena_alloc(f->arena, n), ref[ASSAY_BLOB_REF];
    struct assay_str out = {0};
    int64_t length = 0;
    for (size_t i = 0; i < n; i++)
        p[i] = (char)((i * 2654435761u) >> 11);
    struct assay_err err = {0, ""};
    if (assay_blob_put(&f->b, (struct assay_str){p, n}, ref, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(assay_blob_get(&f->b, assay_str(ref), n, f->arena, &out, NULL), 0);
    assert_true(assay_str_eq(out, (struct assay_str){p, n}));
    assert_int_equal(put(f, "logs/large", (struct assay_str){p, n}), 0);
    assert_int_equal(f->b.ops->stat(f->self, ASSAY_STR("logs/large"), &length, NULL), 0);
    assert_int_equal(length, n);
    assert_int_equal(get(f, "logs/large", n - 1, &out), ASSAY_E_TOO_LARGE);
}

#ifdef BLOB_S3
static int by_url(struct aws_http *http, const char *method, const char *url, const char *type, const char *body, struct assay_buf *out)
{
    struct aws_http_reply rp;
    char line[100] = "";
    int n = type[0] != '\0' ? snprintf(line, sizeof line, "Content-Type: %s", type) + 1 : 0;
    int rc = aws_http_do(http, &(struct aws_http_request){.method = method, .url = url, .lines = {line, (size_t)n}, .body = assay_str(body),
                                                          .timeout_ms = 20000, .reply_max = 1000}, &rp, NULL);
    assert_int_equal(rc, 0);
    assay_buf_str(out, assay_buf_view(&rp.body));
    assay_buf_free(&rp.body);
    return rp.status;
}

/* Signed URLs are good for what they are signed for and for nothing else. */
static void urls_let_clients_put_and_get(void **state)
{
    struct fixture *f = *state;
    struct aws_http *http = aws_http_new("");
    ASSAY_CLEANUP_BUF struct assay_buf put_url = ASSAY_BUF_INIT, get_url = ASSAY_BUF_INIT, got = ASSAY_BUF_INIT;
    struct assay_str out = {0};
    assert_int_equal(assay_blob_presign(&f->b, ASSAY_STR("submissions/u/p/1.zip"), "PUT", 60, ASSAY_STR("application/zip"), &put_url, NULL), 0);
    assert_int_equal(assay_blob_presign(&f->b, ASSAY_STR("submissions/u/p/1.zip"), "GET", 60, ASSAY_STR(""), &get_url, NULL), 0);
    assert_int_equal(by_url(http, "PUT", put_url.p, "text/plain", "PK", &got), 403);
    assert_int_equal(by_url(http, "GET", put_url.p, "application/zip", "", &got), 403);
    assert_int_equal(by_url(http, "PUT", put_url.p, "application/zip", "PK by a client", &got), 200);
    assert_int_equal(get(f, "submissions/u/p/1.zip", 100, &out), 0);
    assert_true(assay_str_is(out, "PK by a client"));
    assay_buf_reset(&got);
    assert_int_equal(by_url(http, "GET", get_url.p, "", "", &got), 200);
    assert_true(assay_str_is(assay_buf_view(&got), "PK by a client"));
    get_url.p[get_url.n - 1] = get_url.p[get_url.n - 1] == '0' ? '1' : '0';
    assert_int_equal(by_url(http, "GET", get_url.p, "", "", &got), 403);
    aws_http_free(http);
}
#endif

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(blobs_come_back_under_their_hash),
#ifndef BLOB_S3
        T(a_blob_that_is_there_is_not_written_again),
        T(damage_is_told_and_mended_by_the_next_put),
        T(links_lead_nowhere),
        T(litter_is_swept_when_it_is_old),
        T(a_full_disk_leaves_no_half_blob),
#endif
        T(names_are_checked),
        T(named_blobs_are_replaced_whole_and_deleted),
        T(many_threads_put_the_same),
        T(large_blobs_come_back),
#ifdef BLOB_S3
        T(urls_let_clients_put_and_get),
#endif
    };
    return cmocka_run_group_tests_name("blobs", tests, NULL, NULL);
}
