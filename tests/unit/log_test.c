/*
 * The log: both forms of a line, escaping, limits, contexts, and that a stuck reader costs lines
 * (counted and reported) but never a caller's time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <assay/json.h>
#include <assay/value.h>

#include "gateway/log.h"

struct rig {
    int fd[2];
    struct assay_logger *log;
    struct assay_buf text;
};

static struct rig rig_new(enum assay_log_format format, enum assay_log_level level, size_t lines)
{
    struct rig r = {.text = ASSAY_BUF_INIT};
    assert_int_equal(pipe2(r.fd, O_CLOEXEC), 0);
    struct assay_log_options o = {.fd = r.fd[1], .format = format, .level = level, .lines = lines};
    r.log = assay_log_new(&o, NULL);
    assert_non_null(r.log);
    return r;
}

/* Ends the log and gives all it wrote. */
static const char *rig_text(struct rig *r)
{
    assay_log_free(r->log);
    r->log = NULL;
    (void)close(r->fd[1]);
    char chunk[4096];
    ssize_t n;
    while ((n = read(r->fd[0], chunk, sizeof chunk)) > 0)
        assay_buf_add(&r->text, chunk, (size_t)n);
    (void)close(r->fd[0]);
    return r->text.p != NULL ? r->text.p : "";
}

/* the line behind its time stamp, whose form is checked here */
static const char *after_time(const char *line, const char *prefix)
{
    assert_memory_equal(line, prefix, strlen(prefix));
    int64_t ms = 0;
    struct assay_str stamp = {line + strlen(prefix), ASSAY_TIME_SIZE - 1};
    assert_int_equal(assay_time_parse(stamp, &ms, NULL), 0);
    assert_true(ms > 1700000000000);
    return stamp.p + stamp.n;
}

static void json_lines_carry_types_and_escapes(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_AUTO, ASSAY_LOG_DEBUG, 0); /* a pipe is no terminal */
    ASSAY_LOG(r.log, ASSAY_LOG_INFO, "http", "request_done", ASSAY_KI("status", 200), ASSAY_KR("seconds", 0.25),
              ASSAY_KR("odd", NAN), ASSAY_KS("path", ASSAY_STR("/a\"b\\c\n\x1b[31m\x7f\xc2\x9b\xff\xc3\xa9")),
              ASSAY_KS("none", ASSAY_STR("")));
    const char *text = rig_text(&r);
    assert_string_equal(after_time(text, "{\"time\":\""),
                        "\",\"level\":\"info\",\"event\":\"request_done\",\"component\":\"http\",\"status\":200,"
                        "\"seconds\":0.25,\"odd\":null,\"path\":\"/a\\\"b\\\\c\\n\\u001b[31m\\u007f\\u009b\xef\xbf\xbd\xc3\xa9\","
                        "\"none\":\"\"}\n");
    assay_buf_free(&r.text);
}

static void logfmt_quotes_only_what_needs_it(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_LOGFMT, ASSAY_LOG_DEBUG, 0);
    ASSAY_LOG(r.log, ASSAY_LOG_WARN, NULL, "x", ASSAY_KZ("a", "plain/1.2:3"), ASSAY_KZ("b", "two words"),
              ASSAY_KZ("c", "k=v"), ASSAY_KZ("d", ""), ASSAY_KZ("e", "esc\x1b"), ASSAY_KI("f", -7));
    const char *text = rig_text(&r);
    assert_string_equal(after_time(text, "time="),
                        " level=warn event=x a=plain/1.2:3 b=\"two words\" c=\"k=v\" d=\"\" e=\"esc\\u001b\" f=-7\n");
    assay_buf_free(&r.text);
}

static void levels_below_the_bar_are_silent(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_LOGFMT, ASSAY_LOG_WARN, 0);
    assay_log_write(r.log, ASSAY_LOG_INFO, NULL, "quiet", NULL, 0);
    assert_false(assay_log_wants(r.log, ASSAY_LOG_DEBUG));
    assay_log_set_level(r.log, ASSAY_LOG_DEBUG);
    assay_log_write(r.log, ASSAY_LOG_DEBUG, NULL, "loud", NULL, 0);
    const char *text = rig_text(&r);
    assert_string_equal(after_time(text, "time="), " level=debug event=loud\n");
    assay_buf_free(&r.text);
}

static void the_context_is_on_every_line_below_it(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_LOGFMT, ASSAY_LOG_DEBUG, 0);
    struct assay_log_context outer = {.component = "submissions", .request_id = ASSAY_STR("r-1")};
    struct assay_log_context inner = {.component = "runner", .request_id = ASSAY_STR("r-1"), .submission_id = ASSAY_STR("s-9")};
    const struct assay_log_context *none = assay_log_enter(&outer);
    assert_null(none);
    assay_log_write(r.log, ASSAY_LOG_INFO, NULL, "a", NULL, 0);
    const struct assay_log_context *back = assay_log_enter(&inner);
    assert_ptr_equal(back, &outer);
    ASSAY_LOG(r.log, ASSAY_LOG_INFO, "own", "b", ASSAY_KZ("submission_id", "s-10"));
    (void)assay_log_enter(back);
    (void)assay_log_enter(none);
    assay_log_write(r.log, ASSAY_LOG_INFO, NULL, "c", NULL, 0);
    const char *line = rig_text(&r);
    const char *want[] = {" level=info event=a component=submissions request_id=r-1",
                          " level=info event=b component=own request_id=r-1 submission_id=s-10", " level=info event=c"};
    for (size_t i = 0; i < 3; i++) {
        line = after_time(line, "time=");
        assert_memory_equal(line, want[i], strlen(want[i]));
        line += strlen(want[i]);
        assert_int_equal(*line++, '\n');
    }
    assert_int_equal(*line, 0);
    assay_buf_free(&r.text);
}

static void a_long_line_is_cut_and_stays_well_formed(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_JSON, ASSAY_LOG_DEBUG, 0);
    static char big[5000];
    memset(big, 'x', sizeof big);
    /* é across the place of the cut */
    memcpy(big + 1999, "\xc3\xa9", 2);
    struct assay_str s = {big, sizeof big};
    ASSAY_LOG(r.log, ASSAY_LOG_INFO, "c", "big", ASSAY_KS("a", s), ASSAY_KS("b", s), ASSAY_KS("c", s), ASSAY_KI("d", 4));
    struct assay_str all = assay_str(rig_text(&r));
    assert_true(all.n <= ASSAY_LOG_LINE);
    assert_int_equal(all.p[all.n - 1], '\n');
    assert_true(assay_utf8_valid(all));
    assert_non_null(strstr(all.p, "x\xe2\x80\xa6\""));
    assert_non_null(strstr(all.p, ",\"d\":4,\"truncated\":true}\n"));
    /* the parser must take it */
    struct {
        bool truncated;
        struct assay_str rest;
    } got = {0};
    const struct assay_json_field f[] = {
        {.name = "truncated", .type = ASSAY_JSON_BOOL, .offset = offsetof(__typeof__(got), truncated), .has_offset = -1},
        {.name = NULL}};
    struct assay_arena *arena = assay_arena_new(0);
    struct assay_json_faults faults = {.n = 0};
    int rc = assay_json_decode((struct assay_str){all.p, all.n - 1}, f, &got, NULL, arena, &faults, NULL);
    assert_int_equal(rc, ASSAY_E_INVALID); /* for members that this table does not know, and only for those */
    for (size_t i = 0; i < faults.n; i++)
        assert_true(faults.item[i].pointer.n > 1);
    assay_arena_free(arena);
    assay_buf_free(&r.text);
}

static void a_stuck_reader_costs_lines_and_no_time(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_LOGFMT, ASSAY_LOG_DEBUG, 8);
    assert_true(fcntl(r.fd[1], F_SETPIPE_SZ, 4096) > 0);
    char pad[101];
    memset(pad, 'p', 100);
    pad[100] = 0;
    uint64_t written = 0;
    while (assay_log_flush(r.log, 20) == 0) /* until the pipe is full */
        for (int i = 0; i < 8; i++, written++)
            ASSAY_LOG(r.log, ASSAY_LOG_INFO, NULL, "n", ASSAY_KI("i", i), ASSAY_KZ("pad", pad));
    int64_t t0 = assay_mono_ns();
    for (int i = 0; i < 1000; i++, written++)
        ASSAY_LOG(r.log, ASSAY_LOG_INFO, NULL, "n", ASSAY_KI("i", i), ASSAY_KZ("pad", pad));
    assert_true(assay_mono_ns() - t0 < 1000000000);
    uint64_t dropped = assay_log_dropped(r.log);
    assert_true(dropped >= 992); /* of the last thousand, at most the 8 slots' worth are kept */
    /* now the reader wakes up */
    char chunk[65536];
    uint64_t lines = 0, reported = 0;
    struct assay_buf all = ASSAY_BUF_INIT;
    while (reported < dropped) {
        ssize_t n = read(r.fd[0], chunk, sizeof chunk);
        assert_true(n > 0);
        assay_buf_add(&all, chunk, (size_t)n);
        lines = reported = 0;
        for (const char *p = all.p; (p = strchr(p, '\n')) != NULL; p++)
            lines++;
        for (const char *p = all.p; (p = strstr(p, "event=log_dropped component=log count=")) != NULL; p++)
            reported += strtoull(p + strlen("event=log_dropped component=log count="), NULL, 10);
    }
    assert_int_equal(reported, dropped);
    uint64_t notes = 0;
    for (const char *p = all.p; (p = strstr(p, "event=log_dropped")) != NULL; p++)
        notes++;
    assert_int_equal(lines - notes + dropped, written); /* each line came out or was counted */
    assay_buf_free(&all);
    (void)rig_text(&r);
    assay_buf_free(&r.text);
}

static void a_reader_that_never_comes_back_does_not_hold_up_the_end(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_LOGFMT, ASSAY_LOG_DEBUG, 512);
    for (int i = 0; i < 3000; i++)
        ASSAY_LOG(r.log, ASSAY_LOG_INFO, NULL, "n", ASSAY_KZ("pad", "0123456789012345678901234567890123456789"));
    int64_t t0 = assay_mono_ns();
    assay_log_free(r.log);
    assert_true(assay_mono_ns() - t0 < 30000000000);
    (void)close(r.fd[0]);
    (void)close(r.fd[1]);
}

static void a_closed_pipe_is_counted(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_LOGFMT, ASSAY_LOG_DEBUG, 8);
    (void)close(r.fd[0]);
    assay_log_write(r.log, ASSAY_LOG_INFO, NULL, "x", NULL, 0);
    assert_int_equal(assay_log_flush(r.log, 5000), 0);
    assert_int_equal(assay_log_dropped(r.log), 1);
    assert_int_equal(assay_log_lines(r.log), 0);
    assay_log_free(r.log);
    (void)close(r.fd[1]);
}

/* ---- many writers ---- */

static void *writer(void *arg)
{
    struct assay_logger *log = arg;
    struct assay_log_context c = {.component = "w"};
    (void)assay_log_enter(&c);
    for (int i = 0; i < 2000; i++)
        ASSAY_LOG(log, ASSAY_LOG_INFO, NULL, "line", ASSAY_KI("i", i));
    (void)assay_log_enter(NULL);
    return NULL;
}
static void *reader(void *arg)
{
    struct rig *r = arg;
    char chunk[65536];
    ssize_t n;
    while ((n = read(r->fd[0], chunk, sizeof chunk)) > 0)
        assay_buf_add(&r->text, chunk, (size_t)n);
    return NULL;
}
static void lines_of_many_threads_never_mix(void **state)
{
    (void)state;
    struct rig r = rig_new(ASSAY_LOG_LOGFMT, ASSAY_LOG_DEBUG, 64);
    pthread_t w[3], rd;
    assert_int_equal(pthread_create(&rd, NULL, reader, &r), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&w[i], NULL, writer, r.log), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_join(w[i], NULL), 0);
    assert_int_equal(assay_log_flush(r.log, 10000), 0);
    uint64_t dropped = assay_log_dropped(r.log);
    assay_log_free(r.log);
    (void)close(r.fd[1]);
    assert_int_equal(pthread_join(rd, NULL), 0);
    (void)close(r.fd[0]);
    uint64_t lines = 0;
    for (const char *p = r.text.p; p != NULL && *p != 0;) {
        const char *end = strchr(p, '\n');
        assert_non_null(end);
        const char *rest = after_time(p, "time=");
        if (strncmp(rest, " level=info event=line component=w i=", 37) == 0)
            lines++;
        else
            assert_int_equal(strncmp(rest, " level=warn event=log_dropped", 29), 0);
        p = end + 1;
    }
    assert_int_equal(lines + dropped, 6000);
    assay_buf_free(&r.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines_carry_types_and_escapes),
        cmocka_unit_test(logfmt_quotes_only_what_needs_it),
        cmocka_unit_test(levels_below_the_bar_are_silent),
        cmocka_unit_test(the_context_is_on_every_line_below_it),
        cmocka_unit_test(a_long_line_is_cut_and_stays_well_formed),
        cmocka_unit_test(a_stuck_reader_costs_lines_and_no_time),
        cmocka_unit_test(a_reader_that_never_comes_back_does_not_hold_up_the_end),
        cmocka_unit_test(a_closed_pipe_is_counted),
        cmocka_unit_test(lines_of_many_threads_never_mix),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
