/* Compiler options: on the list, or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "local.h"

struct language *languages_find(const struct languages *l, struct assay_str name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (assay_str_eq(l->list[i].name, name))
            return &l->list[i];
    }
    return NULL;
}

static struct assay_json_pair groups[] = {
    {ASSAY_STR("optimisation"), ASSAY_STR("-O0 -O1  -O2")},
    {ASSAY_STR("standard"), ASSAY_STR("-std=c11 -std=c17")},
    {ASSAY_STR("mathematics"), ASSAY_STR("-lm")},
};
static struct assay_str argv[] = {ASSAY_STR("{cc}"), ASSAY_STR("{options}"), ASSAY_STR("{sources}")};

static struct language c_language(void)
{
    return (struct language){.name = ASSAY_STR("c"), .options = {groups, 3}, .build = {.argv = {argv, 3}}};
}

static struct assay_strs words(struct assay_str *room, const char *text)
{
    struct assay_strs list = {room, 0};
    while (*text != '\0') {
        const char *bar = strchr(text, '|');
        size_t n = bar != NULL ? (size_t)(bar - text) : strlen(text);
        room[list.n++] = (struct assay_str){text, n};
        text += n + (bar != NULL ? 1 : 0);
    }
    return list;
}

/* asked, with '|' between; what comes of it with a space between, or the error's text. */
static int choose(const struct assay_json_array *problem, const char *asked, char *out, size_t room)
{
    struct language l[] = {c_language(), {.name = ASSAY_STR("python")}};
    struct languages all = {.list = l, .n = 2};
    struct assay_str in[20], got[OPTIONS_GROUPS_MAX];
    struct assay_strs list = words(in, asked);
    struct assay_err err;
    size_t n = 0, at = 0;
    int rc = options_of(&all, &l[0], &list, problem, got, &n, &err);
    out[0] = '\0';
    if (rc < 0)
        snprintf(out, room, "%s", err.msg);
    for (size_t i = 0; rc == ASSAY_OK && i < n; i++)
        at += (size_t)snprintf(out + at, room - at, "%s%.*s", i != 0 ? " " : "", ASSAY_FMT(got[i]));
    return rc;
}

static void test_words_are_on_the_list_or_refused(void **state)
{
    (void)state;
    static const char *const hostile[] = {"-fplugin=x", "@file", "-o", "-O", "-O22", "-O2 -o", " -O2", "-O2 ", "-std=", "-std=c11,x", "-lm/x",
                                          "-B/x", "-I", "-", "-std=c11 -std=c17", "optimisation"};
    char out[600];
    assert_int_equal(choose(NULL, "", out, sizeof out), ASSAY_OK);
    assert_string_equal(out, "");
    assert_int_equal(choose(NULL, "-lm|-O1|-std=c17", out, sizeof out), ASSAY_OK);
    assert_string_equal(out, "-O1 -std=c17 -lm"); /* as the file has them */
    assert_int_equal(choose(NULL, "-O2", out, sizeof out), ASSAY_OK);
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        char two[200];
        snprintf(two, sizeof two, "-lm|%s", hostile[i]);
        assert_int_equal(choose(NULL, two, out, sizeof out), ASSAY_E_INVALID);
        assert_non_null(strstr(out, "takes of compiler options only -O0 -O1 -O2 -std=c11 -std=c17 -lm"));
    }
    assert_int_equal(choose(NULL, "-O1|-O2", out, sizeof out), ASSAY_E_INVALID);
    assert_string_equal(out, "-O2 is not taken together with -O1");
    assert_int_equal(choose(NULL, "-O1|-O1", out, sizeof out), ASSAY_E_INVALID);
}

static void test_a_problem_allows_and_sets(void **state)
{
    (void)state;
    char out[600];
    struct assay_str allow[2], set[2];
    struct assay_manifest_options rule[] = {{.language = ASSAY_STR("python"), .has_allowed = true},
                                            {.language = ASSAY_STR("c"), .has_allowed = true, .allowed = words(allow, "-O1|-lm"),
                                             .always = words(set, "-std=c11")}};
    struct assay_json_array problem = {rule, 2};
    assert_int_equal(choose(&problem, "", out, sizeof out), ASSAY_OK);
    assert_string_equal(out, "-std=c11");
    assert_int_equal(choose(&problem, "-O1", out, sizeof out), ASSAY_OK);
    assert_string_equal(out, "-O1 -std=c11");
    assert_int_equal(choose(&problem, "-std=c11", out, sizeof out), ASSAY_OK); /* it is so anyway */
    assert_int_equal(choose(&problem, "-std=c17", out, sizeof out), ASSAY_E_INVALID);
    assert_int_equal(choose(&problem, "-O2", out, sizeof out), ASSAY_E_INVALID);
    assert_string_equal(out, "\"-O2\" is not taken: c takes of compiler options only -O1 -lm in this problem");
    rule[1].has_allowed = false; /* all of the language's, but for what the problem sets */
    assert_int_equal(choose(&problem, "-std=c17", out, sizeof out), ASSAY_E_INVALID);
    assert_string_equal(out, "-std=c17 is not taken: the problem sets -std=c11");
    assert_int_equal(choose(&problem, "-O2", out, sizeof out), ASSAY_OK);
    rule[1] = (struct assay_manifest_options){.language = ASSAY_STR("c"), .has_allowed = true};
    assert_int_equal(choose(&problem, "-O1", out, sizeof out), ASSAY_E_INVALID);
    assert_string_equal(out, "\"-O1\" is not taken: c takes no compiler options in this problem");
    rule[1].always = words(set, "-O9");
    assert_int_equal(choose(&problem, "", out, sizeof out), ASSAY_E_CONFIG);
    rule[1].always = words(set, "-O1|-O2");
    assert_int_equal(choose(&problem, "", out, sizeof out), ASSAY_E_CONFIG);
}

static void test_faults_of_a_file_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *list, *says;
    } bad[] = {{"-O0 /etc", "/etc"}, {"-O0 -I/etc", "-I/etc"}, {"-O0 -O0", "listed twice"}, {"-lm", "listed twice"}, {" ", "lists none"},
               {"", "lists none"}, {"-", "must be"}};
    struct language l = c_language();
    struct assay_err err;
    assert_int_equal(options_check_file(&l, "c.json", &err), ASSAY_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct assay_json_pair changed[3] = {groups[0], groups[1], groups[2]};
        changed[1].value = assay_str(bad[i].list);
        l.options.items = changed;
        if (strstr(bad[i].list, "-O0") != NULL) /* which the first group has */
            changed[0].value = ASSAY_STR("-O1");
        assert_int_equal(options_check_file(&l, "c.json", &err), ASSAY_E_CONFIG);
        assert_non_null(strstr(err.msg, bad[i].says));
        assert_non_null(strstr(err.msg, "c.json: /options/"));
    }
    l = c_language();
    l.build.argv.n = 1; /* no {options} */
    assert_int_equal(options_check_file(&l, "c.json", &err), ASSAY_E_CONFIG);
    l.options.n = 0;
    assert_int_equal(options_check_file(&l, "c.json", &err), ASSAY_OK);
}

static void test_words_go_into_rows_and_back(void **state)
{
    (void)state;
    struct assay_arena *arena = assay_arena_new(0);
    struct assay_str room[4], text;
    struct assay_strs list = words(room, "-O2|-std=c11|-lm"), back;
    struct assay_err err;
    assert_int_equal(assay_options_join(&list, arena, &text, &err), ASSAY_OK);
    assert_true(assay_str_is(text, "-O2 -std=c11 -lm"));
    assert_int_equal(assay_options_split(text, arena, &back, &err), ASSAY_OK);
    assert_int_equal(back.n, 3);
    assert_true(assay_str_is(back.items[1], "-std=c11"));
    assert_int_equal(assay_options_split(ASSAY_STR(""), arena, &back, &err), ASSAY_OK);
    assert_int_equal(back.n, 0);
    struct assay_json_array rules;
    assert_int_equal(assay_manifest_options_decode(ASSAY_STR("[{\"language\":\"c\",\"allowed\":[],\"always\":[\"-O1\"]}]"), arena, &rules, &err),
                     ASSAY_OK);
    const struct assay_manifest_options *o = rules.items;
    assert_true(rules.n == 1 && o->has_allowed && o->allowed.n == 0 && o->always.n == 1);
    static const char *const valid[] = {"-O2", "-std=gnu++20", "--release=17", "-Copt-level=3"};
    static const char *const not_valid[] = {"", "-", "O2", "@x", "-I/etc", "-a b", "-\xc3\xa4", "-a,b", "-a;b", "-$x"};
    for (size_t i = 0; i < sizeof valid / sizeof valid[0]; i++)
        assert_true(assay_option_valid(assay_str(valid[i])));
    for (size_t i = 0; i < sizeof not_valid / sizeof not_valid[0]; i++)
        assert_false(assay_option_valid(assay_str(not_valid[i])));
    assay_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_are_on_the_list_or_refused),
        cmocka_unit_test(test_a_problem_allows_and_sets),
        cmocka_unit_test(test_faults_of_a_file_are_named),
        cmocka_unit_test(test_words_go_into_rows_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
