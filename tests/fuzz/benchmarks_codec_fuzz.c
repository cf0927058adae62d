/*
 * The bodies of the benchmarks service: the first byte picks the table, the rest is the body.
 *
 * What must hold: refused bodies name a fault; accepted ones are within all bounds, so that what a runner gets
 * is; lists survive their way into a column and back; what is answered is JSON.
 */
#include "fuzz.h"
#include "services/benchmarks/local.h"

static bool accepted(const struct assay_json_field *fields, void *in, struct assay_str text, struct assay_arena *a,
                     struct assay_json_faults *f)
{
    struct assay_err err = {0, ""};
    int rc = assay_json_decode(text, fields, in, NULL, a, f, &err);
    FUZZ_CHECK(rc == ASSAY_OK || rc == ASSAY_E_INVALID);
    FUZZ_CHECK((rc == ASSAY_OK) == (f->n == 0));
    return rc == ASSAY_OK;
}

static void round_trip(const struct assay_strs *list, struct assay_arena *a)
{
    struct assay_strs back;
    struct assay_str text = benchmarks_join(a, list);
    FUZZ_CHECK(text.p != NULL && benchmarks_split(a, text, &back) == 0 && back.n == list->n);
    for (size_t i = 0; i < list->n; i++)
        FUZZ_CHECK(assay_str_eq(back.items[i], list->items[i]));
}

static void check_limits(const struct limits *l)
{
    FUZZ_CHECK(l->time_limit_ms >= 100 && l->time_limit_ms <= 600000);
    FUZZ_CHECK(benchmarks_wall_limit(l) >= l->time_limit_ms);
    FUZZ_CHECK(benchmarks_hard_limit(l) >= l->time_limit_ms);
    FUZZ_CHECK(l->memory_limit_bytes >= (int64_t)4 << 20 && l->memory_limit_bytes <= (int64_t)16 << 30);
    FUZZ_CHECK(l->output_limit_bytes >= 1 && l->output_limit_bytes <= (int64_t)64 << 20);
    FUZZ_CHECK(l->process_limit >= 1 && l->process_limit <= 4096);
}

static void a_problem(const struct problem_in *in, struct assay_arena *a)
{
    check_limits(&in->limits);
    FUZZ_CHECK(in->mode >= 0 && in->mode < ASSAY_JUDGE_MODES && in->compare >= 0 && in->compare < ASSAY_COMPARE_MODES);
    FUZZ_CHECK((in->mode == ASSAY_JUDGE_HARNESS || in->mode == ASSAY_JUDGE_FUNCTION) == (in->harness.language.n != 0));
    FUZZ_CHECK(in->checker.language.n == 0 || (in->checker.kind >= 0 && in->checker.kind < ASSAY_CHECKER_KINDS && in->checker.passes >= 1));
    const struct test_in *t = in->tests.items;
    for (size_t i = 0; i < in->tests.n; i++)
        FUZZ_CHECK(!t[i].has_points || t[i].points > 0);
    struct problem p = {.name = in->name, .statement = in->statement, .limits = in->limits, .mode = in->mode,
                        .compare = in->compare, .float_abs = in->float_abs,
                        .checker = {.kind = in->checker.kind, .language = in->checker.language, .flags = in->checker.flags}, .harness_language = in->harness.language};
    struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_jw *w = assay_jw_new();
    benchmarks_write_problem(w, &p, NULL, true, &(struct sources){in->harness.source, in->checker.source});
    FUZZ_CHECK(assay_jw_finish(w, &out, NULL) == 0);
    static const struct assay_json_field any[] = {{.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1}, {.name = NULL}};
    int nothing = 0;
    FUZZ_CHECK(assay_json_decode(assay_buf_view(&out), any, &nothing, NULL, a, NULL, NULL) == 0);
    assay_jw_free(w);
    assay_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *a = assay_arena_new((size_t)64 << 20);
    struct assay_json_faults f = {.n = 0};
    if (a == NULL || size == 0) {
        assay_arena_free(a);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1};
    struct benchmark_in b = {.problem = {.limits = benchmarks_default_limits, .checker = benchmarks_default_checker}};
    struct problem_in p = {.limits = benchmarks_default_limits, .checker = benchmarks_default_checker};
    struct tests_in t = {.tests = {NULL, 0}};
    switch (data[0] % 5) {
    case 0:
    case 1:
        if (accepted(data[0] % 5 ? benchmarks_patch_fields : benchmarks_create_fields, &b, text, a, &f)) {
            benchmarks_check(&b, &f, a);
            if (b.problem.has_tests)
                benchmarks_check_problem(&b.problem, &f, a);
            else
                benchmarks_check_no_problem(&b.problem, &f, a);
            if (f.n == 0) {
                round_trip(&b.languages, a);
                round_trip(&b.entrants, a);
                FUZZ_CHECK(b.starts_ms == 0 || b.ends_ms == 0 || b.starts_ms < b.ends_ms);
                FUZZ_CHECK(b.visibility >= 0 && b.visibility <= 1 && b.feedback >= 0 && b.feedback <= 4);
            }
            if (f.n == 0 && b.problem.has_tests)
                a_problem(&b.problem, a);
        }
        break;
    case 2:
    case 3:
        if (accepted(data[0] % 5 == 2 ? benchmarks_problem_fields : benchmarks_problem_patch_fields, &p, text, a, &f)) {
            benchmarks_check_problem(&p, &f, a);
            if (f.n == 0)
                a_problem(&p, a);
        }
        break;
    default:
        if (accepted(benchmarks_tests_fields, &t, text, a, &f))
            benchmarks_check_tests(&t.tests, &t.groups, &f, a);
        break;
    }
    assay_arena_free(a);
    return 0;
}
