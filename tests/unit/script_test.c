/* Scripts and results as they travel through brokers (script.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <assay/script.h>

static struct assay_arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = assay_arena_new(0);
    return arena == NULL;
}

static int teardown(void **state)
{
    (void)state;
    assay_arena_free(arena);
    return 0;
}

static struct assay_script good(const char *json)
{
    struct assay_script s;
    struct assay_err err = {0, ""};
    if (assay_script_decode(assay_str(json), arena, &s, &err) != 0)
        fail_msg("%s: %s", json, err.msg);
    return s;
}

static void str_is(struct assay_str s, const char *z)
{
    if (!assay_str_is(s, z))
        fail_msg("\"%.*s\" is not \"%s\"", ASSAY_FMT(s), z);
}

static void the_older_workers_message_is_taken(void **state)
{
    (void)state;
    struct assay_script s = good("{\"type\":\"script\",\"id\":\"py-ok-1\",\"language\":\"python\",\"source\":\"print(6)\","
                                 "\"limits\":{\"time_limit_ms\":2000,\"memory_limit_bytes\":268435456},"
                                 "\"tests\":[{\"number\":1,\"input\":\"1 2 3\\n\",\"expected_output\":\"6\\n\"},{\"input\":\"4\"}]}");
    assert_int_equal(s.type, ASSAY_SCRIPT_RUN);
    str_is(s.id, "py-ok-1");
    str_is(s.language, "python");
    str_is(s.source, "print(6)");
    assert_int_equal(s.time_limit_ms, 2000);
    assert_int_equal(s.memory_limit_bytes, 268435456);
    assert_int_equal(s.compare, ASSAY_COMPARE_EXACT);
    assert_int_equal(s.tests.n, 2);
    const struct assay_script_test *t = s.tests.items;
    str_is(t[0].input, "1 2 3\n");
    str_is(t[0].expected_output, "6\n");
    assert_int_equal(t[1].number, 2); /* its place */
    str_is(t[1].expected_output, "");
}

static void the_task_form_is_taken(void **state)
{
    (void)state;
    struct assay_script s = good("{\"translator\":\"gcc\",\"code\":\"int main;\",\"input\":\"7\"}");
    str_is(s.id, "");
    str_is(s.language, "gcc");
    str_is(s.source, "int main;");
    str_is(s.input, "7");
    assert_int_equal(s.tests.n, 0);
    s = good("{\"id\":\"a\",\"lang\":\"python3\",\"code\":\"x\"}");
    str_is(s.language, "python3");
}

static void done_needs_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(good("{\"type\":\"done\"}").type, ASSAY_SCRIPT_DONE);
}

static void null_is_absent_and_unknown_members_pass(void **state)
{
    (void)state;
    struct assay_script s = good("{\"type\":null,\"id\":null,\"language\":null,\"source\":null,\"limits\":null,\"tests\":null,"
                                 "\"files\":null,\"comparison\":null,\"assay\":null,\"priority\":{\"x\":[1]}}");
    assert_int_equal(s.type, ASSAY_SCRIPT_RUN);
    str_is(s.source, "");
    str_is(s.assay, "");
    s = good("{\"limits\":{\"time_limit_ms\":-1,\"memory_limit_bytes\":null}}");
    assert_int_equal(s.time_limit_ms, 0);
    assert_int_equal(s.memory_limit_bytes, 0);
}

static void a_fault_names_its_place_and_keeps_the_id(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says, *id;
    } bad[] = {
        {"", "not JSON", ""},
        {"no", "not JSON", ""},
        {"[]", "must be an object", ""},
        {"{\"id\":\"x\",\"type\":\"other\"}", "/type: must be one of", "x"},
        {"{\"id\":\"x\",\"source\":7}", "/source: must be a string", "x"},
        {"{\"id\":\"x\",\"tests\":{}}", "/tests", "x"},
        {"{\"id\":\"x\",\"tests\":[{\"input\":1}]}", "/tests/0/input", "x"},
        {"{\"id\":\"x\",\"limits\":{\"time_limit_ms\":3600001}}", "/limits/time_limit_ms", "x"},
        {"{\"id\":\"x\",\"comparison\":\"fuzzy\"}", "/comparison", "x"},
        {"{\"id\":7,\"source\":\"\"}", "/id", ""},
        {"{\"id\":\"x\",\"source\":\"\xff\"}", "UTF-8", ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct assay_script s;
        struct assay_err err = {0, ""};
        assert_int_equal(assay_script_decode(assay_str(bad[i].json), arena, &s, &err), ASSAY_E_INVALID);
        if (strstr(err.msg, bad[i].says) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].json, err.msg, bad[i].says);
        str_is(s.id, bad[i].id);
    }
}

static void a_script_reads_back_as_it_was_written(void **state)
{
    (void)state;
    struct assay_script_test test[] = {{1, ASSAY_STR("1 2\n"), ASSAY_STR("3\n")}, {7, ASSAY_STR(""), ASSAY_STR("")}};
    struct assay_json_pair file[] = {{ASSAY_STR("main.c"), ASSAY_STR("int main(void) { return 0; }\n")}};
    struct assay_str option[] = {ASSAY_STR("-O0"), ASSAY_STR("-lm")};
    struct assay_script in = {.id = ASSAY_STR("i"), .language = ASSAY_STR("c"), .files = {file, 1}, .compiler_options = {option, 2}, .input = ASSAY_STR("in"),
                              .time_limit_ms = 5, .memory_limit_bytes = 6, .compare = ASSAY_COMPARE_FLOAT, .float_abs = 0.5,
                              .float_rel = 0.25, .tests = {test, 2}, .assay = ASSAY_STR("{\"a\":1}")};
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_script_encode(&in, &b, &err), 0);
    struct assay_script s = good(b.p);
    str_is(s.files.items[0].key, "main.c");
    str_is(s.files.items[0].value, "int main(void) { return 0; }\n");
    assert_int_equal(s.compiler_options.n, 2);
    str_is(s.compiler_options.items[1], "-lm");
    str_is(s.input, "in");
    str_is(s.assay, "{\"a\":1}");
    assert_int_equal(s.time_limit_ms, 5);
    assert_int_equal(s.memory_limit_bytes, 6);
    assert_int_equal(s.compare, ASSAY_COMPARE_FLOAT);
    assert_float_equal(s.float_abs, 0.5, 0);
    assert_float_equal(s.float_rel, 0.25, 0);
    const struct assay_script_test *t = s.tests.items;
    assert_int_equal(s.tests.n, 2);
    str_is(t[0].input, "1 2\n");
    assert_int_equal(t[1].number, 7);
}

static struct assay_str encoded(const struct assay_script_result *r, size_t max)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_err err = {0, ""};
    if (assay_script_result_encode(r, max, &b, &err) != 0)
        fail_msg("%s", err.msg);
    return assay_arena_take(arena, &b);
}

static struct assay_script_result decoded(struct assay_str json)
{
    struct assay_script_result r;
    struct assay_err err = {0, ""};
    if (assay_script_result_decode(json, arena, &r, &err) != 0)
        fail_msg("%s", err.msg);
    return r;
}

static void empty_members_are_left_out_but_code_and_duration_stay(void **state)
{
    (void)state;
    struct assay_script_result_test t = {.number = 1, .status = ASSAY_STR("OK")};
    struct assay_script_result r = {.id = ASSAY_STR("a"), .status = ASSAY_STR("OK"), .timestamp_ms = 1000, .tests = {&t, 1}};
    str_is(encoded(&r, 0), "{\"id\":\"a\",\"status\":\"OK\",\"exit_code\":0,\"duration_ms\":0,"
                           "\"tests\":[{\"number\":1,\"status\":\"OK\",\"exit_code\":0,\"duration_ms\":0}],"
                           "\"timestamp\":\"1970-01-01T00:00:01.000Z\"}");
    r.tests.n = 0;
    str_is(encoded(&r, 0), "{\"id\":\"a\",\"status\":\"OK\",\"exit_code\":0,\"duration_ms\":0,\"timestamp\":\"1970-01-01T00:00:01.000Z\"}");
}

static void an_error_has_no_status(void **state)
{
    (void)state;
    struct assay_script_result r = {.id = ASSAY_STR("a"), .error = ASSAY_STR("empty source"), .timestamp_ms = 1000, .exit_code = 3};
    str_is(encoded(&r, 0), "{\"id\":\"a\",\"error\":\"empty source\",\"timestamp\":\"1970-01-01T00:00:01.000Z\"}");
}

static void a_result_reads_back_as_it_was_written(void **state)
{
    (void)state;
    struct assay_script_result_test t = {.number = 3, .status = ASSAY_STR("WA"), .exit_code = 4, .duration_ms = 5,
                                         .stdout_text = ASSAY_STR("o"), .stderr_text = ASSAY_STR("e"), .input = ASSAY_STR("i"),
                                         .expected_output = ASSAY_STR("x"), .error = ASSAY_STR("signal 9")};
    struct assay_script_result in = {.id = ASSAY_STR("a"), .status = ASSAY_STR("WA"), .exit_code = 4, .duration_ms = 5,
                                     .stdout_text = ASSAY_STR("O"), .stderr_text = ASSAY_STR("E"), .error = ASSAY_STR("why"),
                                     .tests = {&t, 1}, .timestamp_ms = 1234567, .event_id = ASSAY_STR("ev"),
                                     .assay = ASSAY_STR("{\"fence\":2}")};
    struct assay_script_result r = decoded(encoded(&in, 0));
    str_is(r.id, "a");
    str_is(r.status, "WA");
    str_is(r.stdout_text, "O");
    str_is(r.stderr_text, "E");
    str_is(r.error, "why");
    str_is(r.event_id, "ev");
    str_is(r.assay, "{\"fence\":2}");
    assert_int_equal(r.timestamp_ms, 1234567);
    assert_false(r.truncated);
    const struct assay_script_result_test *b = r.tests.items;
    assert_int_equal(r.tests.n, 1);
    assert_int_equal(b->number, 3);
    assert_int_equal(b->exit_code, 4);
    assert_int_equal(b->duration_ms, 5);
    str_is(b->status, "WA");
    str_is(b->stdout_text, "o");
    str_is(b->error, "signal 9");
}

/* Every bound is kept, and what is left is still a result that says it was cut. */
static void a_result_is_cut_to_its_bound(void **state)
{
    (void)state;
    char *text = malloc(70000);
    assert_non_null(text);
    for (size_t i = 0; i + 2 <= 70000; i += 2)
        memcpy(text + i, "\xc3\xa9", 2); /* characters of two bytes, which are not to be cut in two */
    struct assay_script_result_test t[20];
    for (int i = 0; i < 20; i++)
        t[i] = (struct assay_script_result_test){.number = i + 1, .status = ASSAY_STR("OK"), .stdout_text = {text, 70000}, .input = {text, 70000}};
    struct assay_script_result r = {.id = ASSAY_STR("a"), .status = ASSAY_STR("OK"), .stdout_text = {text, 70000}, .tests = {t, 20}, .timestamp_ms = 1};
    static const size_t bounds[] = {4000000, 900000, 240000, 65537, 5001, 2000, 300};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        struct assay_str json = encoded(&r, bounds[i]);
        assert_true(json.n <= bounds[i]);
        assert_true(assay_utf8_valid(json));
        struct assay_script_result back = decoded(json);
        assert_int_equal(back.truncated, i != 0);
        str_is(back.status, "OK");
        assert_int_equal(back.tests.n, bounds[i] >= 2000 ? 20 : 0);
        assert_null(memmem(json.p, json.n, "\xef\xbf\xbd", 3));
    }
    struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_err err = {0, ""};
    assert_int_equal(assay_script_result_encode(&r, 50, &b, &err), ASSAY_E_TOO_LARGE);
    assert_int_equal(b.n, 0);
    assay_buf_free(&b);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(the_older_workers_message_is_taken),
        T(the_task_form_is_taken),
        T(done_needs_nothing_else),
        T(null_is_absent_and_unknown_members_pass),
        T(a_fault_names_its_place_and_keeps_the_id),
        T(a_script_reads_back_as_it_was_written),
        T(empty_members_are_left_out_but_code_and_duration_stay),
        T(an_error_has_no_status),
        T(a_result_reads_back_as_it_was_written),
        T(a_result_is_cut_to_its_bound),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
