/* The build cache alone: keys, what is found again, what is damaged, what goes first.  No warden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "local.h"

const struct assay_metric runner_metrics[METRIC_COUNT];
static char dir[64];
static int damaged, hits, misses, logged;
static double bytes;

static void host_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    (void)ctx, (void)level, (void)kv, (void)n;
    logged += strcmp(event, "build_cache_damaged") == 0;
}
static const char *host_option(void *ctx, const char *name)
{
    (void)ctx;
    assert_string_equal(name, "data_dir");
    return dir;
}
static void host_add(void *ctx, const struct assay_metric *m, const char *const *labels, double by)
{
    (void)ctx, (void)m, (void)by;
    damaged += strcmp(labels[0], "damaged") == 0;
    hits += strcmp(labels[0], "hit") == 0;
    misses += strcmp(labels[0], "miss") == 0;
}
static void host_set(void *ctx, const struct assay_metric *m, const char *const *labels, double to)
{
    (void)ctx, (void)m, (void)labels;
    bytes = to;
}
static const struct assay_host host = {
    .log = host_log, .option_str = host_option, .metric_add = host_add, .metric_set = host_set};

static void key(int i, char out[BUILD_KEY])
{
    snprintf(out, BUILD_KEY, "%064x", (unsigned)i);
}

static struct builds *opened(int64_t max)
{
    struct builds *b = NULL;
    struct assay_err err;
    assert_int_equal(builds_open(&host, max, &b, &err), 0);
    return b;
}

static void keep(struct builds *b, int i, const char *output, size_t n_encoding)
{
    char k[BUILD_KEY];
    struct kept_build build = {.cpu_us = 7, .wall_us = 9000, .memory_peak_bytes = 11, .output = assay_str(output)};
    key(i, k);
    key(1000 + i, build.artefact);
    for (size_t n = 0; n < n_encoding; n++)
        assay_buf_putc(&build.encoding, (char)('a' + n % 26));
    builds_keep(b, k, &build);
    assay_buf_free(&build.encoding);
}

static bool has(struct builds *b, int i, struct kept_build *out)
{
    static struct assay_arena *arena;
    char k[BUILD_KEY];
    struct recall want = {NULL, 0};
    struct kept_build mine;
    memset(&mine, 0, sizeof mine);
    key(i, k);
    assay_arena_free(arena);
    arena = assay_arena_new(0);
    bool hit = builds_read(b, k, &want, arena, &mine);
    if (out != NULL)
        *out = mine;
    else
        assay_buf_free(&mine.encoding);
    return hit;
}

static void path_of(int i, char out[160])
{
    char k[BUILD_KEY];
    key(i, k);
    snprintf(out, 160, "%s/builds/%s", dir, k);
}

static int before(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/assay-builds-XXXXXX");
    damaged = hits = misses = logged = 0;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int after(void **state)
{
    (void)state;
    char path[400];
    snprintf(path, sizeof path, "%s/builds", dir);
    DIR *d = opendir(path);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/builds/%s", dir, e->d_name);
        (void)unlink(path);
    }
    if (d != NULL)
        closedir(d);
    snprintf(path, sizeof path, "%s/builds", dir);
    (void)rmdir(path);
    return rmdir(dir);
}

static void test_no_two_lists_make_one_key(void **state)
{
    (void)state;
    static const char *const list[][3] = {{"ab", "c", ""}, {"a", "bc", ""}, {"abc", "", ""}, {"", "abc", ""}, {"ab", "c", " 1"}};
    char k[5][BUILD_KEY];
    struct assay_err err;
    for (size_t i = 0; i < 5; i++) {
        struct assay_buf b = ASSAY_BUF_INIT;
        struct assay_str s[3] = {assay_str(list[i][0]), assay_str(list[i][1]), assay_str(list[i][2])};
        build_key_list(&b, "argv", s, 3);
        assert_int_equal(build_key_end(&b, k[i], &err), 0);
        assay_buf_free(&b);
        for (size_t n = 0; n < i; n++)
            assert_string_not_equal(k[i], k[n]);
    }
    struct assay_buf full = ASSAY_BUF_INIT; /* what did not fit must not become a key */
    full.failed = true;
    assert_int_equal(build_key_end(&full, k[0], &err), ASSAY_E_NOMEM);
}

static void test_what_is_kept_is_found_also_after_a_restart(void **state)
{
    (void)state;
    struct builds *b = opened(1 << 20);
    struct kept_build got;
    assert_false(has(b, 1, NULL));
    keep(b, 1, "a warning\n", 100000);
    keep(b, 1, "another build of the same", 10); /* the first one stays */
    for (int life = 0; life < 2; life++) {
        assert_true(has(b, 1, &got));
        assert_string_equal(got.output.p, "a warning\n");
        assert_int_equal(got.encoding.n, 100000);
        assert_int_equal(got.encoding.p[99999], 'a' + 99999 % 26);
        assert_int_equal(got.cpu_us, 7);
        assert_int_equal(got.wall_us, 9000);
        assay_buf_free(&got.encoding);
        builds_free(b);
        b = opened(1 << 20);
    }
    assert_int_equal(hits, 2);
    assert_int_equal(misses, 1);
    assert_true(bytes >= 100000 && bytes < 110000);

    char held[2][BUILD_KEY], k[BUILD_KEY]; /* the bytes of what a warden has are not read */
    struct assay_arena *arena = assay_arena_new(0);
    key(5, held[0]);
    key(1001, held[1]);
    key(1, k);
    struct recall want = {held, 2};
    memset(&got, 0, sizeof got);
    assert_true(builds_read(b, k, &want, arena, &got));
    assert_int_equal(got.encoding.n, 0);
    assert_int_equal(got.n_encoding, 100000);
    assay_arena_free(arena);
    builds_free(b);
}

static void test_damage_is_seen_told_and_dropped(void **state)
{
    (void)state;
    struct builds *b = opened(1 << 20);
    char path[160], other[160];
    static const off_t at[] = {0, 20, 90, 150, 215, 220, 245, 258}; /* magic, key, artefact, digest, zeros, numbers, output */
    enum { N = sizeof at / sizeof at[0] };
    for (int i = 0; i < N; i++) {
        keep(b, i, "some output", 5000);
        path_of(i, path);
        assert_int_equal(chmod(path, 0600), 0);
        int fd = open(path, O_RDWR);
        char c;
        assert_int_equal(pread(fd, &c, 1, at[i]), 1);
        c ^= 1;
        assert_int_equal(pwrite(fd, &c, 1, at[i]), 1);
        close(fd);
        assert_false(has(b, i, NULL));
        assert_int_equal(damaged, i + 1);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    keep(b, 20, "", 5000); /* cut short */
    path_of(20, path);
    assert_int_equal(truncate(path, 3000), 0);
    assert_false(has(b, 20, NULL));
    keep(b, 21, "", 5000); /* emptied */
    path_of(21, path);
    assert_int_equal(truncate(path, 0), 0);
    assert_false(has(b, 21, NULL));
    keep(b, 22, "", 5000); /* another's result under this name */
    keep(b, 23, "", 5000);
    path_of(22, path);
    path_of(23, other);
    assert_int_equal(rename(path, other), 0);
    assert_false(has(b, 23, NULL));
    assert_false(has(b, 22, NULL));
    assert_int_equal(damaged, N + 4);
    assert_int_equal(logged, N + 4);
    assert_int_equal((int)bytes, 0);
    keep(b, 21, "again", 5000); /* and it can be kept again */
    assert_true(has(b, 21, NULL));
    builds_free(b);
}

static void test_the_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct builds *b = opened(10 * 8192);
    char path[160];
    for (int i = 0; i < 10; i++)
        keep(b, i, "", 7000);
    for (int i = 0; i < 10; i++)
        assert_true(has(b, i, NULL));
    assert_true(has(b, 0, NULL));
    keep(b, 10, "", 7000);
    assert_true(has(b, 0, NULL));
    assert_false(has(b, 1, NULL));
    path_of(1, path);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_true(bytes <= 10 * 8192);
    keep(b, 11, "", 30000); /* more than a quarter of the whole */
    assert_false(has(b, 11, NULL));
    assert_true(has(b, 2, NULL));
    builds_free(b);
    b = opened(3 * 8192); /* a smaller bound at the next start */
    assert_true(bytes <= 3 * 8192);
    builds_free(b);
    assert_int_equal(damaged, 0);
}

static void test_what_was_not_finished_is_gone_after_a_start(void **state)
{
    (void)state;
    struct builds *b = opened(1 << 20);
    char path[200];
    builds_free(b);
    snprintf(path, sizeof path, "%s/builds/tmp.0123456789abcdef", dir);
    close(open(path, O_CREAT | O_WRONLY, 0400));
    b = opened(1 << 20);
    assert_int_not_equal(access(path, F_OK), 0);
    builds_free(b);
}

/* ---- failures ---- */

static void note(struct failures *f, int i, int64_t now, bool once, int exit_code, const char *output)
{
    char k[BUILD_KEY];
    key(i, k);
    failures_note(f, k, now, once, &(struct failed_build){exit_code, 5, 6000, 7, assay_str(output)});
}

static bool believed(struct failures *f, int i, int64_t now, struct failed_build *out, bool *once)
{
    static struct assay_arena *arena;
    char k[BUILD_KEY];
    struct failed_build mine;
    bool seen;
    key(i, k);
    assay_arena_free(arena);
    arena = assay_arena_new(0);
    return failures_find(f, k, now, arena, out != NULL ? out : &mine, once != NULL ? once : &seen);
}

static void test_a_failure_is_believed_the_second_time(void **state)
{
    (void)state;
    struct failures *f = failures_new();
    struct failed_build b;
    bool once = true;
    assert_false(believed(f, 1, 0, NULL, &once));
    assert_false(once);
    note(f, 1, 0, false, 1, "main.c:1: error");
    note(f, 1, 1, false, 1, "main.c:1: error"); /* begun before the first had ended: the same shortage may be behind both */
    assert_false(believed(f, 1, 2, NULL, &once));
    assert_true(once);
    note(f, 1, 3, true, 1, "main.c:1: error");
    assert_true(believed(f, 1, 4, &b, NULL));
    assert_true(b.exit_code == 1 && b.cpu_us == 5 && b.wall_us == 6000 && b.memory_peak_bytes == 7);
    assert_true(assay_str_is(b.output, "main.c:1: error"));
    assert_false(believed(f, 2, 4, NULL, NULL));
    /* it is counted from the first failure, and then all begins again */
    assert_true(believed(f, 1, FAILURE_MS - 1, NULL, NULL));
    assert_false(believed(f, 1, FAILURE_MS, NULL, &once));
    assert_false(once);
    failures_free(f);
}

static void test_other_words_begin_again(void **state)
{
    (void)state;
    struct failures *f = failures_new();
    note(f, 1, 0, false, 1, "g++: fatal error: Killed signal");
    note(f, 1, 1, true, 1, "main.cpp:1: error");
    assert_false(believed(f, 1, 2, NULL, NULL));
    note(f, 1, 2, true, 2, "main.cpp:1: error");
    assert_false(believed(f, 1, 3, NULL, NULL));
    note(f, 1, 3, true, 2, "main.cpp:1: error");
    assert_true(believed(f, 1, 4, NULL, NULL));
    failures_free(f);
}

static void test_failures_are_bounded(void **state)
{
    (void)state;
    struct failures *f = failures_new();
    char *words = malloc((16 << 10) + 2);
    assert_non_null(words);
    memset(words, 'x', (16 << 10) + 1);
    words[(16 << 10) + 1] = '\0';
    note(f, 7, 0, false, 1, words);
    note(f, 7, 0, true, 1, words);
    assert_false(believed(f, 7, 1, NULL, NULL));
    for (int i = 0; i < 300; i++) {
        note(f, i, 0, false, 1, "");
        note(f, i, 0, true, 1, "");
        assert_true(believed(f, i, 1, NULL, NULL));
    }
    bool once = true;
    assert_false(believed(f, 0, 1, NULL, &once)); /* the oldest made room */
    assert_false(once);
    assert_true(believed(f, 299, 1, NULL, NULL));
    free(words);
    failures_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_two_lists_make_one_key),
        cmocka_unit_test_setup_teardown(test_what_is_kept_is_found_also_after_a_restart, before, after),
        cmocka_unit_test_setup_teardown(test_damage_is_seen_told_and_dropped, before, after),
        cmocka_unit_test_setup_teardown(test_the_least_recently_used_goes_first, before, after),
        cmocka_unit_test_setup_teardown(test_what_was_not_finished_is_gone_after_a_start, before, after),
        cmocka_unit_test(test_a_failure_is_believed_the_second_time),
        cmocka_unit_test(test_other_words_begin_again),
        cmocka_unit_test(test_failures_are_bounded),
    };
    return cmocka_run_group_tests_name("builds", tests, NULL, NULL);
}
