/* Filters: what processors' files may say, and what requests make of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "filter.h"

static struct assay_arena *arena;
static struct processors_list all;
static struct assay_err err;
static struct assay_json_faults faults;

static int add(const char *text)
{
    struct processor p;
    memset(&p, 0, sizeof p);
    faults.n = 0;
    int rc = assay_json_decode(assay_str(text), processor_fields, &p, NULL, arena, &faults, &err);
    if (rc < 0)
        return rc;
    p.tool = ASSAY_STR("");
    return processor_add(&all, &p, arena, &err);
}

#define FILTERS(list) "{\"name\":\"p\",\"title\":\"t\",\"program\":\"x\",\"media_type\":\"a/b\",\"filters\":[" list "]}"
#define PARAM(rest) FILTERS("{\"name\":\"f\",\"title\":\"t\",\"parameters\":[{\"name\":\"a\",\"title\":\"t\"," rest "}]}")

static const char mixed[] = FILTERS("{\"name\":\"plain\",\"title\":\"t\"},"
                                    "{\"name\":\"mix\",\"title\":\"t\",\"parameters\":["
                                    "{\"name\":\"n\",\"title\":\"t\",\"type\":\"number\",\"minimum\":-1,\"maximum\":1.5,\"default\":0.25},"
                                    "{\"name\":\"i\",\"title\":\"t\",\"type\":\"integer\",\"minimum\":1,\"maximum\":9,\"required\":true},"
                                    "{\"name\":\"b\",\"title\":\"t\",\"type\":\"boolean\",\"default\":true},"
                                    "{\"name\":\"c\",\"title\":\"t\",\"type\":\"choice\",\"choices\":[\"red\",\"blue\"],\"default\":\"blue\"},"
                                    "{\"name\":\"o\",\"title\":\"t\",\"type\":\"integer\",\"minimum\":0,\"maximum\":5}]},"
                                    "{\"name\":\"either\",\"title\":\"t\",\"any_of\":[\"x\",\"y\"],\"parameters\":["
                                    "{\"name\":\"x\",\"title\":\"t\",\"type\":\"integer\",\"minimum\":0,\"maximum\":5},"
                                    "{\"name\":\"y\",\"title\":\"t\",\"type\":\"integer\",\"minimum\":0,\"maximum\":5}]}");

static int fresh(void **state)
{
    (void)state;
    arena = assay_arena_new(0);
    assert_non_null(arena);
    all = (struct processors_list){NULL, 0};
    assert_int_equal(add(mixed), 0);
    faults.n = 0;
    return 0;
}

static int gone(void **state)
{
    (void)state;
    assay_arena_free(arena);
    return 0;
}

static struct filter_call call;
static int ask(const char *text)
{
    faults.n = 0;
    return filter_request(&all, assay_str(text), arena, &faults, &call, &err);
}

static void assert_fault(size_t i, const char *pointer, const char *part)
{
    assert_true(i < faults.n);
    if (!assay_str_is(faults.item[i].pointer, pointer) || memmem(faults.item[i].detail.p, faults.item[i].detail.n, part, strlen(part)) == NULL)
        fail_msg("%.*s: %.*s; wanted %s: …%s…", ASSAY_FMT(faults.item[i].pointer), ASSAY_FMT(faults.item[i].detail), pointer, part);
}

static void assert_arguments(const char *text)
{
    struct assay_strs words;
    char joined[300] = "";
    assert_int_equal(filter_arguments(&call, arena, &words, &err), 0);
    for (size_t i = 0; i < words.n; i++) {
        size_t n = strlen(joined);
        (void)snprintf(joined + n, sizeof joined - n, "%s%.*s", i != 0 ? " " : "", ASSAY_FMT(words.items[i]));
    }
    assert_string_equal(joined, text);
}

static void a_request_gets_its_defaults(void **state)
{
    (void)state;
    struct assay_str canonical;
    assert_int_equal(ask("{\"name\":\"MIX\",\"parameters\":{\"i\":3}}"), 0);
    assert_arguments("mix --n=0.25 --i=3 --b=true --c=blue");
    assert_int_equal(filter_canonical(&call, arena, &canonical, &err), 0);
    char z[300];
    (void)snprintf(z, sizeof z, "%.*s", ASSAY_FMT(canonical));
    assert_string_equal(z, "{\"name\":\"mix\",\"parameters\":{\"n\":0.25,\"i\":3,\"b\":true,\"c\":\"blue\"}}");
    assert_int_equal(ask(z), 0); /* what comes out goes in */
    assert_arguments("mix --n=0.25 --i=3 --b=true --c=blue");
    assert_int_equal(ask("{\"name\":\"mix\",\"parameters\":{\"i\":9,\"n\":-1,\"b\":false,\"c\":\"red\",\"o\":0}}"), 0);
    assert_arguments("mix --n=-1 --i=9 --b=false --c=red --o=0");
    for (size_t i = 0; i < 3; i++) {
        static const char *const plain[] = {"{\"name\":\"plain\"}", "{\"name\":\"Plain\",\"parameters\":null}", "{\"name\":\"plain\",\"parameters\":{}}"};
        assert_int_equal(ask(plain[i]), 0);
        assert_arguments("plain");
    }
    assert_int_equal(ask("{\"name\":\"either\",\"parameters\":{\"y\":0}}"), 0);
    assert_arguments("either --y=0");
}

static void a_wrong_request_is_told_all_at_once(void **state)
{
    (void)state;
    assert_int_equal(ask("{\"name\":\"mix\",\"parameters\":{\"n\":2,\"c\":\"green\",\"z\":1}}"), ASSAY_E_INVALID);
    assert_int_equal(faults.n, 4);
    assert_fault(0, "/parameters/z", "not a field");
    assert_fault(1, "/parameters/n", "from -1 to 1.5");
    assert_fault(2, "/parameters/i", "required");
    assert_fault(3, "/parameters/c", "\"red\", \"blue\"");
    assert_int_equal(ask("{\"name\":\"either\"}"), ASSAY_E_INVALID);
    assert_fault(0, "/parameters", "x or y is needed");
    assert_int_equal(ask("{\"name\":\"plain\",\"parameters\":[1]}"), ASSAY_E_INVALID);
    assert_fault(0, "/parameters", "object");
    assert_int_equal(ask("{\"name\":\"plain\",\"sigma\":1}"), ASSAY_E_INVALID);
    assert_fault(0, "/sigma", "not a field");
    assert_int_equal(ask("[]"), ASSAY_E_INVALID);
    assert_int_equal(ask("{"), ASSAY_E_INVALID);
}

static void an_unknown_filter_hears_which_there_are(void **state)
{
    (void)state;
    assert_int_equal(ask("{\"name\":\"sepia\"}"), ASSAY_E_INVALID);
    assert_fault(0, "/name", "there are: plain, mix, either");
    all.n = 0;
    assert_int_equal(ask("{\"name\":\"plain\"}"), ASSAY_E_INVALID);
    assert_fault(0, "/name", "there are: none");
}

static void files_that_make_no_sense_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {PARAM("\"type\":\"number\""), "minimum"},
        {PARAM("\"type\":\"number\",\"minimum\":1"), "minimum"},
        {PARAM("\"type\":\"integer\",\"minimum\":2,\"maximum\":1"), "minimum"},
        {PARAM("\"type\":\"boolean\",\"minimum\":0,\"maximum\":1"), "minimum"},
        {PARAM("\"type\":\"choice\""), "choices"},
        {PARAM("\"type\":\"boolean\",\"choices\":[\"a\"]"), "choices"},
        {PARAM("\"type\":\"integer\",\"minimum\":0,\"maximum\":5,\"default\":6"), "the default of /a"},
        {PARAM("\"type\":\"choice\",\"choices\":[\"a\"],\"default\":\"b\""), "the default of /a"},
        {FILTERS("{\"name\":\"f\",\"title\":\"t\",\"any_of\":[\"a\"]}"), "any_of"},
        {FILTERS("{\"name\":\"f\",\"title\":\"t\"},{\"name\":\"f\",\"title\":\"t\"}"), "already"},
        {"{\"name\":\"other\",\"title\":\"t\",\"program\":\"x\",\"media_type\":\"a/b\",\"filters\":[{\"name\":\"mix\",\"title\":\"t\"}]}", "already"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(add(wrong[i].text), ASSAY_E_CONFIG);
        if (strstr(err.msg, wrong[i].says) == NULL)
            fail_msg("%s: %s", wrong[i].text, err.msg);
    }
    assert_int_equal(add("{\"name\":\"p\"}"), ASSAY_E_INVALID);
    assert_int_equal(all.n, 1);
    assert_int_equal(ask("{\"name\":\"plain\"}"), 0); /* what was there is there still */
}

static void later_files_replace_earlier_ones(void **state)
{
    (void)state;
    assert_int_equal(add("{\"name\":\"q\",\"title\":\"t\",\"program\":\"y\",\"media_type\":\"a/b\",\"filters\":[{\"name\":\"more\",\"title\":\"t\"}]}"), 0);
    assert_int_equal(all.n, 2);
    assert_int_equal(add(FILTERS("{\"name\":\"plain\",\"title\":\"another\"}")), 0);
    assert_int_equal(all.n, 2);
    assert_int_equal(ask("{\"name\":\"mix\",\"parameters\":{\"i\":3}}"), ASSAY_E_INVALID);
    assert_int_equal(ask("{\"name\":\"plain\"}"), 0);
    assert_true(assay_str_is(call.filter->title, "another") && call.filter->by == &all.list[0]);
    assert_int_equal(ask("{\"name\":\"more\"}"), 0);
    assert_true(call.filter->by == &all.list[1]);
}

static void every_end_has_its_verdict_and_its_word(void **state)
{
    (void)state;
    static const struct assay_box_limits limits = {.cpu_ms = 100, .wall_ms = 1200, .memory_bytes = 32 << 20, .stdout_bytes = 5000};
    static const struct {
        enum assay_box_end end;
        int exit_code;
        const char *said;
        size_t n_out;
        enum verdict verdict;
        const char *why;
    } ends[] = {
        {ASSAY_BOX_EXITED, 0, "", 9, VERDICT_OK, ""},
        {ASSAY_BOX_EXITED, 0, "a warning\n", 9, VERDICT_OK, ""},
        {ASSAY_BOX_EXITED, 0, "", 0, VERDICT_IE, "the filter's program ended with exit status 0 and 0 bytes: "},
        {ASSAY_BOX_EXITED, 1, "damaged: no end\nmore\n", 0, VERDICT_RE, "damaged: no end"},
        {ASSAY_BOX_EXITED, 1, "memory: none", 3, VERDICT_ML, "memory: none"},
        {ASSAY_BOX_EXITED, 1, "", 0, VERDICT_RE, "refused"},
        {ASSAY_BOX_EXITED, 1, "a\x1b[31m\xff", 0, VERDICT_RE, "a?[31m?"},
        {ASSAY_BOX_EXITED, 2, "usage", 0, VERDICT_IE, "the filter's program ended with exit status 2 and 0 bytes: usage"},
        {ASSAY_BOX_SIGNALLED, 0, "", 0, VERDICT_RE, "crashed: the filter ended by signal 11"},
        {ASSAY_BOX_CPU, 0, "", 0, VERDICT_TL, "time: it took more than 100 ms"},
        {ASSAY_BOX_WALL, 0, "", 0, VERDICT_TL, "time: it took more than 1200 ms"},
        {ASSAY_BOX_MEMORY, 0, "", 0, VERDICT_ML, "memory: it needed more than 32 MiB"},
        {ASSAY_BOX_OUTPUT, 0, "", 9, VERDICT_OL, "too_large: the result would have more than 5000 bytes"},
        {ASSAY_BOX_FAILED, 0, "", 0, VERDICT_IE, "no box"},
    };
    char why[FILTER_WHY_MAX];
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct assay_box_outcome o = {.end = ends[i].end, .exit_code = ends[i].exit_code, .signal = 11};
        (void)snprintf(o.message, sizeof o.message, "no box");
        assert_int_equal(filter_judge(&o, &limits, assay_str(ends[i].said), ends[i].n_out, why), ends[i].verdict);
        assert_string_equal(why, ends[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_gets_its_defaults, fresh, gone),
        cmocka_unit_test_setup_teardown(a_wrong_request_is_told_all_at_once, fresh, gone),
        cmocka_unit_test_setup_teardown(an_unknown_filter_hears_which_there_are, fresh, gone),
        cmocka_unit_test_setup_teardown(files_that_make_no_sense_are_named, fresh, gone),
        cmocka_unit_test_setup_teardown(later_files_replace_earlier_ones, fresh, gone),
        cmocka_unit_test_setup_teardown(every_end_has_its_verdict_and_its_word, fresh, gone),
    };
    return cmocka_run_group_tests_name("filters", tests, NULL, NULL);
}
