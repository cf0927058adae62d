/* The rules of benchmarks alone: who sees what, and what a table of JSON fields cannot say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "local.h"

static struct assay_principal person(uint32_t role, const char *id)
{
    return (struct assay_principal){.authenticated = true, .role = role, .user_id = assay_str(id)};
}

static void a_private_benchmark_is_for_owner_staff_and_entrants(void **state)
{
    (void)state;
    struct assay_str entrants[] = {ASSAY_STR("bot")};
    struct benchmark b = {.id = ASSAY_STR("b"), .owner_id = ASSAY_STR("me"), .visibility = ASSAY_VISIBLE_PRIVATE,
                          .entrants = {entrants, 1}};
    struct assay_principal owner = person(ASSAY_ROLE_USER, "me"), other = person(ASSAY_ROLE_USER, "you"),
                           teacher = person(ASSAY_ROLE_INSTRUCTOR, "you"), admin = person(ASSAY_ROLE_ADMIN, "you");
    assert_true(benchmarks_may_see(&b, &owner) && benchmarks_may_change(&b, &owner) && benchmarks_is_judge(&b, &owner));
    assert_true(benchmarks_may_see(&b, &teacher) && benchmarks_is_judge(&b, &teacher));
    assert_false(benchmarks_may_change(&b, &teacher));
    assert_true(benchmarks_may_change(&b, &admin));
    assert_false(benchmarks_may_see(&b, &other));
    b.callers_entrant = true;
    assert_true(benchmarks_may_see(&b, &other));
    assert_false(benchmarks_is_judge(&b, &other));

    /* an agent's token competes, also when a judge owns the agent */
    struct assay_principal token = owner;
    token.role = ASSAY_ROLE_AGENT;
    token.agent_id = ASSAY_STR("bot");
    assert_true(benchmarks_may_see(&b, &token));
    assert_false(benchmarks_is_judge(&b, &token) || benchmarks_may_change(&b, &token));
    token.agent_id = ASSAY_STR("bo");
    assert_false(benchmarks_may_see(&b, &token));
    b.visibility = ASSAY_VISIBLE_PUBLIC;
    assert_true(benchmarks_may_see(&b, &token) && benchmarks_may_see(&b, &other));
}

static void the_wall_limit_follows_the_time_limit(void **state)
{
    (void)state;
    struct limits l = benchmarks_default_limits;
    assert_int_equal(benchmarks_wall_limit(&l), 5000);
    assert_int_equal(benchmarks_hard_limit(&l), 2300);
    l.time_limit_ms = 10000;
    assert_int_equal(benchmarks_wall_limit(&l), 21000);
    l.wall_limit_ms = 12000;
    assert_int_equal(benchmarks_wall_limit(&l), 12000);
    l.hard_time_limit_ms = 10000;
    assert_int_equal(benchmarks_hard_limit(&l), 10000);
}

static void languages_have_names(void **state)
{
    (void)state;
    assert_true(benchmarks_language_valid(ASSAY_STR("c++17")) && benchmarks_language_valid(ASSAY_STR("c#")));
    assert_false(benchmarks_language_valid(ASSAY_STR("")) || benchmarks_language_valid(ASSAY_STR("C")) ||
                 benchmarks_language_valid(ASSAY_STR("+c")) || benchmarks_language_valid(ASSAY_STR("a b")) ||
                 benchmarks_language_valid((struct assay_str){"a\0b", 3}));
}

static void lists_go_into_a_column_and_back(void **state)
{
    (void)state;
    struct assay_arena *a = assay_arena_new(0);
    struct assay_str in[] = {ASSAY_STR("x"), ASSAY_STR("yy"), ASSAY_STR("z")};
    struct assay_strs list = {in, 3}, back = {NULL, 9}, none = {NULL, 0};
    struct assay_str text = benchmarks_join(a, &list);
    assert_true(assay_str_is(text, "x yy z"));
    assert_int_equal(benchmarks_split(a, text, &back), 0);
    assert_int_equal(back.n, 3);
    assert_true(assay_str_is(back.items[1], "yy") && assay_str_is(back.items[2], "z"));
    text = benchmarks_join(a, &none);
    assert_non_null(text.p);
    assert_int_equal(benchmarks_split(a, text, &back), 0);
    assert_int_equal(back.n, 0);
    assay_arena_free(a);
}

static bool has_fault(const struct assay_json_faults *f, const char *pointer)
{
    for (size_t i = 0; i < f->n; i++) {
        if (assay_str_is(f->item[i].pointer, pointer))
            return true;
    }
    return false;
}

static void rules_between_fields_are_checked(void **state)
{
    (void)state;
    struct assay_arena *a = assay_arena_new(0);
    struct assay_json_faults f = {.n = 0};
    struct assay_str languages[] = {ASSAY_STR("c"), ASSAY_STR("No Such")};
    struct benchmark_in b = {.starts_ms = 10, .ends_ms = 10, .freezes_ms = 5, .languages = {languages, 2},
                             .name = ASSAY_STR("a\nb")};
    benchmarks_check(&b, &f, a);
    assert_true(has_fault(&f, "/ends_at") && has_fault(&f, "/freezes_at") && has_fault(&f, "/languages/1") &&
                has_fault(&f, "/name"));
    assert_int_equal(f.n, 4);

    f.n = 0;
    struct problem_in p = {.mode = ASSAY_JUDGE_HARNESS, .limits = benchmarks_default_limits, .float_rel = 1e-6};
    p.limits.wall_limit_ms = 1000;
    p.limits.hard_time_limit_ms = 1999;
    benchmarks_check_problem(&p, &f, a);
    assert_true(has_fault(&f, "/harness") && has_fault(&f, "/limits/wall_limit_ms") && has_fault(&f, "/limits/hard_time_limit_ms") && has_fault(&f, "/float_rel"));
    f.n = 0;
    p = (struct problem_in){.mode = ASSAY_JUDGE_PROGRAM, .limits = benchmarks_default_limits,
                            .harness = {.language = ASSAY_STR("c"), .source = ASSAY_STR("x")}};
    benchmarks_check_problem(&p, &f, a);
    assert_true(f.n == 1 && has_fault(&f, "/harness"));
    f.n = 0;
    p.mode = ASSAY_JUDGE_FUNCTION;
    benchmarks_check_problem(&p, &f, a);
    assert_int_equal(f.n, 0);
    p.harness.language = ASSAY_STR("");
    benchmarks_check_problem(&p, &f, a);
    assert_true(f.n == 1 && has_fault(&f, "/harness"));
    f.n = 0;
    p = (struct problem_in){.has_limits = true, .has_statement = true};
    benchmarks_check_no_problem(&p, &f, a);
    assert_true(f.n == 2 && has_fault(&f, "/limits") && has_fault(&f, "/statement"));
    assay_arena_free(a);
}

static void a_patch_lies_over_what_is_there(void **state)
{
    (void)state;
    struct assay_arena *a = assay_arena_new(0);
    struct assay_json_faults f = {.n = 0};
    struct problem_in in = {.limits = benchmarks_default_limits, .mode = ASSAY_JUDGE_HARNESS,
                            .harness = {.language = ASSAY_STR("python")}, .name = ASSAY_STR("old")};
    in.limits.wall_limit_ms = 9000;
    assert_int_equal(assay_json_decode(ASSAY_STR("{\"limits\":{\"time_limit_ms\":500}}"), benchmarks_problem_patch_fields, &in,
                                       NULL, a, &f, NULL), 0);
    assert_int_equal(in.limits.time_limit_ms, 500);
    assert_int_equal(in.limits.wall_limit_ms, 9000);
    assert_int_equal(in.limits.process_limit, 64);
    assert_false(in.has_harness);
    assert_true(assay_str_is(in.harness.language, "python"));
    assert_int_equal(assay_json_decode(ASSAY_STR("{\"limits\":{\"wall_limit_ms\":null},\"harness\":null,\"mode\":\"program\"}"),
                                       benchmarks_problem_patch_fields, &in, NULL, a, &f, NULL), 0);
    assert_int_equal(in.limits.wall_limit_ms, 0);
    assert_true(in.has_harness && in.harness.language.n == 0);
    assert_int_equal(assay_json_decode(ASSAY_STR("{\"name\":null,\"tests\":[],\"limits\":{\"time_limit_ms\":99}}"),
                                       benchmarks_problem_patch_fields, &in, NULL, a, &f, NULL), ASSAY_E_INVALID);
    assert_true(has_fault(&f, "/name") && has_fault(&f, "/tests") && has_fault(&f, "/limits/time_limit_ms"));
    assay_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_private_benchmark_is_for_owner_staff_and_entrants),
        cmocka_unit_test(the_wall_limit_follows_the_time_limit),
        cmocka_unit_test(languages_have_names),
        cmocka_unit_test(lists_go_into_a_column_and_back),
        cmocka_unit_test(rules_between_fields_are_checked),
        cmocka_unit_test(a_patch_lies_over_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
