#include "local.h"

#include <stddef.h>

#define END {.name = NULL, .has_offset = -1}
#define HAS(type, member) ((ptrdiff_t)offsetof(struct type, member))
#define MIB ((double)(1 << 20))

/* ---- tests ------------------------------------------------------------------------------------------- */

static const struct assay_json_field test_fields[] = {
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct test_in, name),
     .min = 0, .max = BENCHMARKS_NAME_MAX, .has_offset = -1},
    {.name = "input", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK,
     .offset = offsetof(struct test_in, input), .min = 0, .max = BENCHMARKS_TEST_BYTES, .has_offset = -1},
    {.name = "expected_output", .alias = "expectedOutput", .type = ASSAY_JSON_STRING,
     .flags = ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK, .offset = offsetof(struct test_in, expected), .min = 0,
     .max = BENCHMARKS_TEST_BYTES, .has_offset = -1},
    {.name = "sample", .type = ASSAY_JSON_BOOL, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct test_in, sample),
     .has_offset = -1},
    {.name = "group", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct test_in, group),
     .min = 0, .max = BENCHMARKS_GROUP_NAME_MAX, .has_offset = -1},
    {.name = "arguments", .type = ASSAY_JSON_STRINGS, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct test_in, arguments),
     .min = 0, .max = BENCHMARKS_ARGUMENTS_MAX, .has_offset = HAS(test_in, has_arguments)},
    {.name = "points", .type = ASSAY_JSON_REAL, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct test_in, points),
     .min = 0, .max = 1000000, .has_offset = HAS(test_in, has_points)},
    END,
};

static const struct assay_json_field group_fields[] = {
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct group_in, name),
     .min = 1, .max = BENCHMARKS_GROUP_NAME_MAX, .has_offset = -1},
    {.name = "aggregation", .type = ASSAY_JSON_ENUM, .offset = offsetof(struct group_in, aggregate), .has_offset = -1,
     .names = assay_aggregate_names},
    {.name = "points", .type = ASSAY_JSON_REAL, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct group_in, points),
     .min = 0, .max = 1000000, .has_offset = HAS(group_in, has_points)},
    {.name = "stop_on_failure", .type = ASSAY_JSON_BOOL, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct group_in, stop),
     .has_offset = HAS(group_in, has_stop)},
    {.name = "sample", .type = ASSAY_JSON_BOOL, .offset = offsetof(struct group_in, sample), .has_offset = -1},
    {.name = "depends_on", .type = ASSAY_JSON_STRINGS, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct group_in, depends_on),
     .min = 0, .max = BENCHMARKS_GROUPS_MAX, .has_offset = -1},
    END,
};

const struct assay_json_field benchmarks_tests_fields[] = {
    {.name = "tests", .type = ASSAY_JSON_ARRAY, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct tests_in, tests),
     .min = 1, .max = BENCHMARKS_TESTS_MAX, .has_offset = -1, .fields = test_fields, .elem_size = sizeof(struct test_in)},
    {.name = "groups", .type = ASSAY_JSON_ARRAY, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct tests_in, groups),
     .min = 0, .max = BENCHMARKS_GROUPS_MAX, .has_offset = -1, .fields = group_fields, .elem_size = sizeof(struct group_in)},
    END,
};

/* ---- problems ------------------------------------------------------------------------------------------- */

#define LIMIT(member, flags_, min_, max_)                                                                              \
    {.name = #member, .type = ASSAY_JSON_INT, .flags = flags_, .offset = offsetof(struct limits, member), .min = min_, \
     .max = max_, .has_offset = -1}
#define LIMITS(null)                                                                                                   \
    LIMIT(time_limit_ms, 0, 100, 600000), LIMIT(hard_time_limit_ms, null, 100, 1200000),                               \
        LIMIT(wall_limit_ms, null, 100, 1201000),                                                                      \
        LIMIT(memory_limit_bytes, 0, 4 * MIB, 16384 * MIB), LIMIT(output_limit_bytes, 0, 1, 64 * MIB),                 \
        LIMIT(process_limit, 0, 1, 4096), END
static const struct assay_json_field limits_fields[] = {LIMITS(ASSAY_JSON_NULLABLE)};
static const struct assay_json_field limits_patch_fields[] = {LIMITS(ASSAY_JSON_CLEARABLE)};

static const struct assay_json_field harness_fields[] = {
    {.name = "language", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct harness_in, language), .has_offset = -1},
    {.name = "source", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct harness_in, source),
     .min = 1, .max = BENCHMARKS_SOURCE_MAX, .has_offset = HAS(harness_in, has_source)},
    END,
};

#define CHECKER(member, type_, ...)                                                                                    \
    {.name = #member, .type = type_, .offset = offsetof(struct checker_in, member), .has_offset = -1, __VA_ARGS__}
static const struct assay_json_field checker_fields[] = {
    CHECKER(kind, ASSAY_JSON_ENUM, .flags = ASSAY_JSON_REQUIRED, .names = assay_checker_kind_names),
    CHECKER(language, ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED),
    {.name = "source", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct checker_in, source),
     .min = 1, .max = BENCHMARKS_SOURCE_MAX, .has_offset = HAS(checker_in, has_source)},
    CHECKER(flags, ASSAY_JSON_STRINGS, .min = 0, .max = BENCHMARKS_FLAGS_MAX),
    CHECKER(interactive, ASSAY_JSON_BOOL, .alias = NULL),
    CHECKER(passes, ASSAY_JSON_INT, .min = 1, .max = BENCHMARKS_PASSES_MAX),
    CHECKER(time_limit_ms, ASSAY_JSON_INT, .min = 100, .max = 600000),
    CHECKER(memory_limit_bytes, ASSAY_JSON_INT, .min = 4 * MIB, .max = 16384 * MIB),
    END,
};

#define P(base, json, member, type_, flags_, has, ...)                                                                 \
    {.name = json, .type = type_, .flags = flags_, .offset = (base) + offsetof(struct problem_in, member),             \
     .has_offset = (ptrdiff_t)(base) + HAS(problem_in, has), __VA_ARGS__}
/* What a problem has besides id and name. null: what a null does to what can be without a value. */
#define PROBLEM(base, null, limits_)                                                                                   \
    P(base, "statement", statement, ASSAY_JSON_STRING, null, has_statement, .min = 0, .max = BENCHMARKS_TEXT_MAX),     \
        P(base, "mode", mode, ASSAY_JSON_ENUM, 0, has_mode, .names = assay_judge_mode_names),                          \
        P(base, "compare", compare, ASSAY_JSON_ENUM, 0, has_compare, .names = assay_compare_names),                    \
        P(base, "float_abs", float_abs, ASSAY_JSON_REAL, null, has_float_abs, .min = 0, .max = 1e18),                  \
        P(base, "float_rel", float_rel, ASSAY_JSON_REAL, null, has_float_rel, .min = 0, .max = 1),                     \
        P(base, "stop_on_failure", stop_on_failure, ASSAY_JSON_BOOL, 0, has_stop, .alias = NULL),                      \
        P(base, "limits", limits, ASSAY_JSON_OBJECT, 0, has_limits, .fields = limits_),                                \
        P(base, "arguments", arguments, ASSAY_JSON_STRINGS, null, has_arguments, .min = 0, .max = BENCHMARKS_ARGUMENTS_MAX), \
        P(base, "environment", environment, ASSAY_JSON_MAP, null, has_environment, .min = 0, .max = BENCHMARKS_VARIABLES_MAX), \
        P(base, "compiler_options", compiler_options, ASSAY_JSON_ARRAY, null, has_compiler_options, .min = 0,              \
          .max = BENCHMARKS_LANGUAGES_MAX, .fields = assay_manifest_options_fields,                                        \
          .elem_size = sizeof(struct assay_manifest_options)),                                                             \
        P(base, "harness", harness, ASSAY_JSON_OBJECT, null, has_harness, .fields = harness_fields,                    \
          .elem_size = sizeof(struct harness_in)),                                                                     \
        P(base, "checker", checker, ASSAY_JSON_OBJECT, null, has_checker, .fields = checker_fields,                    \
          .elem_size = sizeof(struct checker_in))
#define TESTS(base, flags_)                                                                                            \
    P(base, "tests", tests, ASSAY_JSON_ARRAY, flags_, has_tests, .min = 1, .max = BENCHMARKS_TESTS_MAX,                \
      .fields = test_fields, .elem_size = sizeof(struct test_in)),                                                     \
        P(base, "groups", groups, ASSAY_JSON_ARRAY, ASSAY_JSON_NULLABLE, has_groups, .min = 0, .max = BENCHMARKS_GROUPS_MAX, \
          .fields = group_fields, .elem_size = sizeof(struct group_in))
#define POSITION(base) P(base, "position", position, ASSAY_JSON_INT, 0, has_position, .min = 1, .max = 1000000)

const struct assay_json_field benchmarks_problem_fields[] = {
    P(0, "id", id, ASSAY_JSON_STRING, ASSAY_JSON_SLUG | ASSAY_JSON_NULLABLE, has_id, .alias = NULL),
    P(0, "name", name, ASSAY_JSON_STRING, ASSAY_JSON_REQUIRED, has_name, .min = 1, .max = BENCHMARKS_NAME_MAX),
    POSITION(0),
    PROBLEM(0, ASSAY_JSON_NULLABLE, limits_fields),
    TESTS(0, ASSAY_JSON_NULLABLE),
    END,
};

const struct assay_json_field benchmarks_problem_patch_fields[] = {
    P(0, "name", name, ASSAY_JSON_STRING, 0, has_name, .min = 1, .max = BENCHMARKS_NAME_MAX),
    POSITION(0),
    PROBLEM(0, ASSAY_JSON_CLEARABLE, limits_patch_fields),
    END,
};

/* ---- benchmarks ------------------------------------------------------------------------------------------- */

#define B(json, member, type_, flags_, ...)                                                                            \
    {.name = json, .type = type_, .flags = flags_, .offset = offsetof(struct benchmark_in, member), __VA_ARGS__}
#define BENCHMARK(null)                                                                                                \
    B("description", description, ASSAY_JSON_STRING, null, .min = 0, .max = BENCHMARKS_TEXT_MAX, .has_offset = -1),    \
        B("visibility", visibility, ASSAY_JSON_ENUM, 0, .names = assay_visibility_names, .has_offset = -1),            \
        B("feedback", feedback, ASSAY_JSON_ENUM, 0, .names = assay_feedback_names, .has_offset = -1),                  \
        B("starts_at", starts_ms, ASSAY_JSON_TIME, null, .has_offset = -1),                                            \
        B("ends_at", ends_ms, ASSAY_JSON_TIME, null, .has_offset = -1),                                                \
        B("freezes_at", freezes_ms, ASSAY_JSON_TIME, null, .has_offset = -1),                                          \
        B("languages", languages, ASSAY_JSON_STRINGS, null, .min = 0, .max = BENCHMARKS_LANGUAGES_MAX,                 \
          .has_offset = -1),                                                                                           \
        B("entrants", entrants, ASSAY_JSON_STRINGS, null | ASSAY_JSON_ID, .min = 0, .max = BENCHMARKS_ENTRANTS_MAX,    \
          .has_offset = -1),                                                                                           \
        B("toolchains", toolchains, ASSAY_JSON_MAP, null, .min = 0, .max = BENCHMARKS_LANGUAGES_MAX, .has_offset = -1), \
        B("warm_interpreters", warm_interpreters, ASSAY_JSON_ENUM, 0, .names = assay_warm_pin_names, .has_offset = -1), \
        B("scoring", rules.scoring, ASSAY_JSON_ENUM, 0, .names = assay_scoring_names, .has_offset = -1),               \
        B("ranking", rules.ranking, ASSAY_JSON_ENUM, 0, .names = assay_ranking_names, .has_offset = -1),               \
        B("penalty_minutes", rules.penalty_minutes, ASSAY_JSON_INT, 0, .min = 0, .max = 1440, .has_offset = -1),       \
        B("pass_k", rules.pass_k, ASSAY_JSON_INT, 0, .min = 1, .max = BENCHMARKS_PASS_K_MAX, .has_offset = -1),        \
        B("thaws_at", rules.thaws_ms, ASSAY_JSON_TIME, null, .has_offset = -1),                                        \
        B("priority", priority, ASSAY_JSON_INT, 0, .min = ASSAY_PRIORITY_MIN, .max = ASSAY_PRIORITY_MAX, .has_offset = -1)
#define IN_BENCHMARK offsetof(struct benchmark_in, problem)

const struct assay_json_field benchmarks_create_fields[] = {
    B("id", id, ASSAY_JSON_STRING, ASSAY_JSON_SLUG | ASSAY_JSON_NULLABLE, .has_offset = HAS(benchmark_in, has_id)),
    B("name", name, ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, .min = 1, .max = BENCHMARKS_NAME_MAX,
      .has_offset = HAS(benchmark_in, has_name)),
    BENCHMARK(ASSAY_JSON_NULLABLE),
    PROBLEM(IN_BENCHMARK, ASSAY_JSON_NULLABLE, limits_fields),
    TESTS(IN_BENCHMARK, ASSAY_JSON_NULLABLE),
    END,
};

const struct assay_json_field benchmarks_patch_fields[] = {
    B("name", name, ASSAY_JSON_STRING, 0, .min = 1, .max = BENCHMARKS_NAME_MAX, .has_offset = HAS(benchmark_in, has_name)),
    BENCHMARK(ASSAY_JSON_CLEARABLE),
    END,
};

/* ---- rules ---------------------------------------------------------------------------------------------------- */

static bool printable(struct assay_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

static void fault_at(struct assay_json_faults *f, struct assay_arena *a, const char *list, size_t i, const char *member,
                     const char *text)
{
    struct assay_str pointer = assay_arena_fmt(a, "/%s/%zu%s", list, i, member);
    if (pointer.p != NULL)
        assay_json_fault(f, a, pointer.p, "%s", text);
}

/* A version is a word that can stand in a version line; a digest is whole. */
static bool pin_valid(struct assay_str s)
{
    bool digest = assay_str_starts(s, "sha256:");
    size_t from = digest ? 7 : 0;
    if (s.n == 0 || s.n > 100 || (digest && s.n != 71))
        return false;
    for (size_t i = from; i < s.n; i++) {
        char c = s.p[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        bool word = hex || (c >= 'g' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '+' || c == '_' ||
                    c == '~' || c == ':';
        if (digest ? !hex : !word)
            return false;
    }
    return true;
}

void benchmarks_check(const struct benchmark_in *in, struct assay_json_faults *f, struct assay_arena *a)
{
    if (!printable(in->name))
        assay_json_fault(f, a, "/name", "must not hold control characters");
    if (in->starts_ms != 0 && in->ends_ms != 0 && in->ends_ms <= in->starts_ms)
        assay_json_fault(f, a, "/ends_at", "must be later than starts_at");
    if (in->freezes_ms != 0 && ((in->starts_ms != 0 && in->freezes_ms < in->starts_ms) ||
                                (in->ends_ms != 0 && in->freezes_ms > in->ends_ms)))
        assay_json_fault(f, a, "/freezes_at", "must lie between starts_at and ends_at");
    if (in->rules.thaws_ms != 0 && in->rules.thaws_ms < in->freezes_ms)
        assay_json_fault(f, a, "/thaws_at", "must not be before freezes_at");
    if (in->rules.thaws_ms != 0 && in->freezes_ms == 0)
        assay_json_fault(f, a, "/thaws_at", "is only taken with freezes_at");
    if (in->rules.ranking == ASSAY_RANKING_ICPC && in->starts_ms == 0)
        assay_json_fault(f, a, "/starts_at", "is required with ranking \"icpc\": penalty time counts from there");
    for (size_t i = 0; i < in->languages.n; i++) {
        if (in->languages.items[i].p != NULL && !benchmarks_language_valid(in->languages.items[i]))
            fault_at(f, a, "languages", i, "", "must be a language's name: [a-z0-9][a-z0-9+#._-]{0,31}");
    }
    for (size_t i = 0; i < in->toolchains.n; i++) {
        const struct assay_json_pair *t = &in->toolchains.items[i];
        if (!benchmarks_language_valid(t->key))
            assay_json_fault(f, a, "/toolchains", "\"%.*s\" is no language's name: [a-z0-9][a-z0-9+#._-]{0,31}", ASSAY_FMT(t->key));
        if (!pin_valid(t->value))
            assay_json_fault(f, a, "/toolchains", "%.*s: must be a version like 3.11 or 12.2.0, or sha256: and 64 hex digits",
                             ASSAY_FMT(t->key));
    }
    size_t bytes = 0;
    for (size_t i = 0; i < in->entrants.n; i++)
        bytes += in->entrants.items[i].n + 3; /* as JSON */
    if (bytes > BENCHMARKS_ENTRANTS_BYTES)
        assay_json_fault(f, a, "/entrants", "the ids have %zu bytes together; at most %d are taken", bytes,
                         BENCHMARKS_ENTRANTS_BYTES);
}

/* What becomes a word of a command line or an environment: no NUL can come through JSON here, and no shell reads it. */
static void check_arguments(const struct assay_strs *list, const char *pointer, struct assay_json_faults *f, struct assay_arena *a)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i].n > BENCHMARKS_ARGUMENT_BYTES)
            assay_json_fault(f, a, pointer, "each has at most %d bytes", BENCHMARKS_ARGUMENT_BYTES);
    }
}

static bool variable_valid(struct assay_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || (i != 0 && c >= '0' && c <= '9')))
            return false;
    }
    return name.n != 0 && name.n <= ASSAY_MANIFEST_VARIABLE_MAX;
}

/* Names that say how the box, its loader or a language's own command works: those are the language file's to set. */
static bool variable_reserved(struct assay_str name)
{
    static const char *const whole[] = {"PATH", "HOME", "LANG", "TMPDIR", "GLIBC_TUNABLES", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS",
                                        "JDK_JAVA_OPTIONS", "NODE_OPTIONS", "PERL5OPT", "RUBYOPT", "BASH_ENV", "ENV"};
    if (assay_str_starts(name, "LD_") || assay_str_starts(name, "PYTHON") || assay_str_starts(name, "ASSAY_"))
        return true;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        if (assay_str_is(name, whole[i]))
            return true;
    }
    return false;
}

static void check_environment(const struct assay_json_map *map, struct assay_json_faults *f, struct assay_arena *a)
{
    for (size_t i = 0; i < map->n; i++) {
        struct assay_str name = map->items[i].key, shown = {name.p, name.n > 40 ? 40 : name.n};
        if (!variable_valid(name))
            assay_json_fault(f, a, "/environment", "\"%.*s\" is no variable's name: [A-Za-z_][A-Za-z0-9_]*, at most %d characters",
                             ASSAY_FMT(shown), ASSAY_MANIFEST_VARIABLE_MAX);
        else if (variable_reserved(name))
            assay_json_fault(f, a, "/environment", "%.*s belongs to the box or to a language and cannot be set by a problem",
                             ASSAY_FMT(shown));
        if (map->items[i].value.n > BENCHMARKS_VARIABLE_BYTES)
            assay_json_fault(f, a, "/environment", "%.*s: at most %d bytes", ASSAY_FMT(shown), BENCHMARKS_VARIABLE_BYTES);
    }
}

static size_t group_index(const struct assay_json_array *groups, size_t n, struct assay_str name)
{
    const struct group_in *g = groups->items;
    size_t i = 0;
    while (i < n && !assay_str_eq(g[i].name, name))
        i++;
    return i;
}

/* A group can wait for others only when they are over before it begins. */
static void check_groups(const struct assay_json_array *tests, const struct assay_json_array *groups, struct assay_json_faults *f,
                         struct assay_arena *a)
{
    const struct group_in *g = groups->items;
    const struct test_in *t = tests->items;
    size_t *first = assay_arena_array(a, groups->n + 1, sizeof *first), *last = assay_arena_array(a, groups->n + 1, sizeof *last);
    if (first == NULL || last == NULL)
        return;
    for (size_t i = 0; i < groups->n; i++)
        first[i] = tests->n;
    for (size_t i = 0; i < tests->n; i++) {
        if (t[i].group.n == 0)
            continue;
        size_t k = group_index(groups, groups->n, t[i].group);
        if (k == groups->n) {
            fault_at(f, a, "tests", i, "/group", "names none of the groups");
            continue;
        }
        first[k] = i < first[k] ? i : first[k];
        last[k] = i;
    }
    for (size_t i = 0; i < groups->n; i++) {
        if (!printable(g[i].name))
            fault_at(f, a, "groups", i, "/name", "must not hold control characters");
        if (group_index(groups, i, g[i].name) != i)
            fault_at(f, a, "groups", i, "/name", "is the name of a group before it");
        if (first[i] == tests->n)
            fault_at(f, a, "groups", i, "", "has no test");
        for (size_t d = 0; d < g[i].depends_on.n; d++) {
            size_t k = group_index(groups, i, g[i].depends_on.items[d]);
            if (k == i)
                fault_at(f, a, "groups", i, "/depends_on", "may name only groups that come before it");
            else if (first[k] != tests->n && first[i] != tests->n && last[k] > first[i])
                fault_at(f, a, "groups", i, "/depends_on", "the tests of the groups that it names must come before its own");
        }
    }
}

void benchmarks_check_tests(const struct assay_json_array *tests, const struct assay_json_array *groups,
                            struct assay_json_faults *f, struct assay_arena *a)
{
    const struct test_in *t = tests->items;
    check_groups(tests, groups, f, a);
    for (size_t i = 0; i < tests->n; i++) {
        if (t[i].has_points && t[i].points <= 0)
            fault_at(f, a, "tests", i, "/points", "must be more than 0");
        if (!printable(t[i].name))
            fault_at(f, a, "tests", i, "/name", "must not hold control characters");
        check_arguments(&t[i].arguments, "/tests", f, a);
    }
}

static void check_checker(const struct problem_in *in, struct assay_json_faults *f, struct assay_arena *a)
{
    const struct checker_in *c = &in->checker;
    if (c->language.n == 0)
        return;
    if (!benchmarks_language_valid(c->language))
        assay_json_fault(f, a, "/checker/language", "must be a language's name: [a-z0-9][a-z0-9+#._-]{0,31}");
    for (size_t i = 0; i < c->flags.n; i++) {
        if (!printable(c->flags.items[i]) || c->flags.items[i].n == 0 || c->flags.items[i].n > BENCHMARKS_FLAG_BYTES)
            fault_at(f, a, "checker/flags", i, "", "must be 1 to 500 bytes without control characters");
    }
    if (in->mode == ASSAY_JUDGE_ANSWER)
        assay_json_fault(f, a, "/checker", "is not taken with mode \"answer\", where nothing is run");
    if (c->interactive && in->mode == ASSAY_JUDGE_HARNESS)
        assay_json_fault(f, a, "/checker/interactive", "is not taken with mode \"harness\", which reads the payload on stdin");
    if (c->interactive && c->kind == ASSAY_CHECKER_SCRIPT)
        assay_json_fault(f, a, "/checker/interactive", "is not taken with kind \"script\", whose stdout is its answer");
    if (c->passes > 1 && c->kind != ASSAY_CHECKER_VALIDATOR)
        assay_json_fault(f, a, "/checker/passes", "more than one is only taken with kind \"validator\"");
}

static void check_options(const struct problem_in *in, struct assay_json_faults *f, struct assay_arena *a)
{
    const struct assay_manifest_options *o = in->compiler_options.items;
    for (size_t i = 0; i < in->compiler_options.n; i++) {
        if (!benchmarks_language_valid(o[i].language))
            fault_at(f, a, "compiler_options", i, "/language", "must be a language's name: [a-z0-9][a-z0-9+#._-]{0,31}");
        for (size_t k = 0; k < i; k++) {
            if (assay_str_eq(o[k].language, o[i].language))
                fault_at(f, a, "compiler_options", i, "/language", "is named twice");
        }
        if (!o[i].has_allowed && o[i].always.n == 0)
            fault_at(f, a, "compiler_options", i, "", "says nothing: give allowed, always or both");
        for (size_t k = 0; k < o[i].allowed.n + o[i].always.n; k++) {
            bool first = k < o[i].allowed.n;
            if (!assay_option_valid(first ? o[i].allowed.items[k] : o[i].always.items[k - o[i].allowed.n]))
                fault_at(f, a, "compiler_options", i, first ? "/allowed" : "/always",
                         "an option is '-' and 1 to 63 letters, digits and +=._-; GET /languages says which there are");
        }
    }
    if (in->compiler_options.n != 0 && (in->mode == ASSAY_JUDGE_ANSWER))
        assay_json_fault(f, a, "/compiler_options", "is of no use where nothing is compiled");
}

void benchmarks_check_problem(const struct problem_in *in, struct assay_json_faults *f, struct assay_arena *a)
{
    if (!printable(in->name))
        assay_json_fault(f, a, "/name", "must not hold control characters");
    if (in->limits.hard_time_limit_ms != 0 && in->limits.hard_time_limit_ms < in->limits.time_limit_ms)
        assay_json_fault(f, a, "/limits/hard_time_limit_ms", "must not be less than time_limit_ms");
    if (in->limits.wall_limit_ms != 0 && in->limits.wall_limit_ms < in->limits.time_limit_ms)
        assay_json_fault(f, a, "/limits/wall_limit_ms", "must not be less than time_limit_ms");
    bool harness = in->harness.language.n != 0;
    if (harness && !benchmarks_language_valid(in->harness.language))
        assay_json_fault(f, a, "/harness/language", "must be a language's name: [a-z0-9][a-z0-9+#._-]{0,31}");
    bool takes = in->mode == ASSAY_JUDGE_HARNESS || in->mode == ASSAY_JUDGE_FUNCTION;
    if (takes && !harness)
        assay_json_fault(f, a, "/harness", "is required for the modes \"harness\" and \"function\"");
    if (!takes && harness)
        assay_json_fault(f, a, "/harness", "is only taken with the modes \"harness\" and \"function\"");
    if (in->compare != ASSAY_COMPARE_FLOAT && (in->float_abs > 0 || in->float_rel > 0))
        assay_json_fault(f, a, in->float_abs > 0 ? "/float_abs" : "/float_rel", "is only taken with compare \"float\"");
    check_checker(in, f, a);
    if (in->mode == ASSAY_JUDGE_ANSWER && (in->arguments.n != 0 || in->environment.n != 0))
        assay_json_fault(f, a, in->arguments.n != 0 ? "/arguments" : "/environment", "is of no use where nothing is run");
    check_arguments(&in->arguments, "/arguments", f, a);
    check_environment(&in->environment, f, a);
    check_options(in, f, a);
    benchmarks_check_tests(&in->tests, &in->groups, f, a);
}

void benchmarks_check_no_problem(const struct problem_in *in, struct assay_json_faults *f, struct assay_arena *a)
{
    static const char text[] = "belongs to a problem: give it together with tests, or to POST /benchmarks/{id}/problems";
    const struct {
        bool has;
        const char *pointer;
    } given[] = {
        {in->has_statement, "/statement"}, {in->has_mode, "/mode"},          {in->has_compare, "/compare"},
        {in->has_float_abs, "/float_abs"}, {in->has_float_rel, "/float_rel"}, {in->has_stop, "/stop_on_failure"},
        {in->has_limits, "/limits"},       {in->has_harness, "/harness"},
        {in->has_checker, "/checker"},
        {in->has_arguments, "/arguments"}, {in->has_environment, "/environment"}, {in->has_groups, "/groups"},
        {in->has_compiler_options, "/compiler_options"},
    };
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        if (given[i].has)
            assay_json_fault(f, a, given[i].pointer, "%s", text);
    }
}

/* ---- lists in a column ------------------------------------------------------------------------------------------ */

struct assay_str benchmarks_join(struct assay_arena *a, const struct assay_strs *list)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_puts(&b, "");
    for (size_t i = 0; i < list->n; i++) {
        if (i != 0)
            assay_buf_putc(&b, ' ');
        assay_buf_str(&b, list->items[i]);
    }
    return b.failed ? ASSAY_STR_NULL : assay_arena_str(a, assay_buf_view(&b));
}

int benchmarks_split(struct assay_arena *a, struct assay_str text, struct assay_strs *out)
{
    size_t n = text.n != 0;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == ' ';
    struct assay_str *items = assay_arena_array(a, n, sizeof *items);
    if (items == NULL)
        return ASSAY_E_NOMEM;
    size_t from = 0;
    for (size_t k = 0; k < n; k++) {
        const char *space = memchr(text.p + from, ' ', text.n - from);
        size_t len = space != NULL ? (size_t)(space - text.p) - from : text.n - from;
        items[k] = (struct assay_str){text.p + from, len};
        from += len + 1;
    }
    *out = (struct assay_strs){items, n};
    return ASSAY_OK;
}

struct toolchains_in {
    struct assay_json_map toolchains;
};

struct assay_str benchmarks_toolchains_encode(struct assay_arena *a, const struct assay_json_map *map)
{
    struct assay_err ignored;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (map->n == 0)
        return ASSAY_STR("");
    assay_jw_object(w);
    for (size_t i = 0; i < map->n; i++) {
        struct assay_str key = assay_arena_str(a, map->items[i].key); /* ends with a NUL */
        if (key.p == NULL)
            return ASSAY_STR_NULL;
        assay_jw_kstr(w, key.p, map->items[i].value);
    }
    assay_jw_end(w);
    return assay_jw_finish(w, &b, &ignored) < 0 ? ASSAY_STR_NULL : assay_arena_take(a, &b);
}

int benchmarks_toolchains_decode(struct assay_arena *a, struct assay_str text, struct assay_json_map *out, struct assay_err *err)
{
    static const struct assay_json_field fields[] = {
        {.name = "toolchains", .type = ASSAY_JSON_MAP, .flags = ASSAY_JSON_REQUIRED,
         .offset = offsetof(struct toolchains_in, toolchains), .has_offset = -1, .min = 0, .max = BENCHMARKS_LANGUAGES_MAX},
        END,
    };
    struct toolchains_in in = {{NULL, 0}};
    *out = (struct assay_json_map){NULL, 0};
    if (text.n == 0)
        return ASSAY_OK;
    /* a table describes an object with known members: wrap the map into one */
    struct assay_str whole = assay_arena_fmt(a, "{\"toolchains\":%.*s}", ASSAY_FMT(text));
    if (whole.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = assay_json_decode(whole, fields, &in, NULL, a, NULL, err);
    if (rc >= 0)
        *out = in.toolchains;
    return rc;
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static void write_strs(struct assay_jw *w, const char *key, const struct assay_strs *list)
{
    assay_jw_key(w, key);
    assay_jw_array(w);
    for (size_t i = 0; i < list->n; i++)
        assay_jw_str(w, list->items[i]);
    assay_jw_end(w);
}

void benchmarks_write(struct assay_jw *w, const struct benchmark *b, bool detail)
{
    assay_jw_kstr(w, "id", b->id);
    assay_jw_kstr(w, "owner_id", b->owner_id);
    assay_jw_kstr(w, "name", b->name);
    if (detail)
        assay_jw_kstr(w, "description", b->description);
    assay_jw_kz(w, "visibility", assay_visibility_names[b->visibility]);
    assay_jw_kz(w, "feedback", assay_feedback_names[b->feedback]);
    assay_jw_ktime(w, "starts_at", b->starts_ms);
    assay_jw_ktime(w, "ends_at", b->ends_ms);
    assay_jw_ktime(w, "freezes_at", b->freezes_ms);
    write_strs(w, "languages", &b->languages);
    assay_jw_key(w, "toolchains");
    assay_jw_object(w);
    for (size_t i = 0; i < b->toolchains.n; i++) {
        char key[80];
        (void)snprintf(key, sizeof key, "%.*s", ASSAY_FMT(b->toolchains.items[i].key));
        assay_jw_kstr(w, key, b->toolchains.items[i].value);
    }
    assay_jw_end(w);
    assay_jw_kz(w, "warm_interpreters", assay_warm_pin_names[b->warm_interpreters]);
    assay_jw_kz(w, "scoring", assay_scoring_names[b->rules.scoring]);
    assay_jw_kz(w, "ranking", assay_ranking_names[b->rules.ranking]);
    assay_jw_kint(w, "penalty_minutes", b->rules.penalty_minutes);
    assay_jw_kint(w, "pass_k", b->rules.pass_k);
    assay_jw_ktime(w, "thaws_at", b->rules.thaws_ms);
    assay_jw_kint(w, "priority", b->priority);
    if (detail)
        write_strs(w, "entrants", &b->entrants);
    assay_jw_kint(w, "entrant_count", (int64_t)b->entrants.n);
    assay_jw_ktime(w, "created_at", b->created_ms);
    assay_jw_ktime(w, "updated_at", b->updated_ms);
}

void benchmarks_write_problem_ref(struct assay_jw *w, const struct problem *p)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", p->id);
    assay_jw_kstr(w, "name", p->name);
    assay_jw_kint(w, "position", p->position);
    assay_jw_end(w);
}

static void write_checker(struct assay_jw *w, const struct assay_manifest_checker *c, struct assay_str source)
{
    assay_jw_key(w, "checker");
    if (c->language.n == 0) {
        assay_jw_null(w);
        return;
    }
    assay_jw_object(w);
    assay_jw_kz(w, "kind", assay_checker_kind_names[c->kind]);
    assay_jw_kstr(w, "language", c->language);
    assay_jw_kbool(w, "interactive", c->interactive);
    assay_jw_kint(w, "passes", c->passes);
    assay_jw_kint(w, "time_limit_ms", c->time_limit_ms);
    assay_jw_kint(w, "memory_limit_bytes", c->memory_limit_bytes);
    if (source.p != NULL) { /* flags may say what a program must not know */
        write_strs(w, "flags", &c->flags);
        assay_jw_kstr(w, "source", source);
    }
    assay_jw_end(w);
}

static void write_groups(struct assay_jw *w, const struct assay_manifest *m)
{
    const struct assay_manifest_group *g = m->groups.items;
    assay_jw_key(w, "groups");
    assay_jw_array(w);
    for (size_t i = 0; i < m->groups.n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "name", g[i].name);
        assay_jw_kz(w, "aggregation", assay_aggregate_names[g[i].aggregate]);
        assay_jw_kreal(w, "points", g[i].points);
        assay_jw_kbool(w, "stop_on_failure", g[i].stop_on_failure);
        write_strs(w, "depends_on", &g[i].depends_on);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

static void write_secret(struct assay_jw *w, const struct assay_manifest *m)
{
    write_strs(w, "arguments", &m->arguments);
    assay_jw_key(w, "environment");
    assay_jw_object(w);
    for (size_t i = 0; i < m->environment.n; i++) {
        char key[ASSAY_MANIFEST_VARIABLE_MAX + 1];
        (void)snprintf(key, sizeof key, "%.*s", ASSAY_FMT(m->environment.items[i].key));
        assay_jw_kstr(w, key, m->environment.items[i].value);
    }
    assay_jw_end(w);
}

void benchmarks_write_problem(struct assay_jw *w, const struct problem *p, const struct assay_manifest *m, bool secret,
                              const struct sources *sources)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", p->id);
    assay_jw_kstr(w, "benchmark_id", p->benchmark_id);
    assay_jw_kstr(w, "name", p->name);
    if (m != NULL)
        assay_jw_kstr(w, "statement", p->statement);
    assay_jw_kint(w, "position", p->position);
    assay_jw_kz(w, "mode", assay_judge_mode_names[p->mode]);
    assay_jw_kz(w, "compare", assay_compare_names[p->compare]);
    assay_jw_kreal(w, "float_abs", p->float_abs);
    assay_jw_kreal(w, "float_rel", p->float_rel);
    assay_jw_kbool(w, "stop_on_failure", p->stop_on_failure);
    assay_jw_key(w, "limits");
    assay_jw_object(w);
    assay_jw_kint(w, "time_limit_ms", p->limits.time_limit_ms);
    assay_jw_kint(w, "hard_time_limit_ms", benchmarks_hard_limit(&p->limits));
    assay_jw_kint(w, "wall_limit_ms", benchmarks_wall_limit(&p->limits));
    assay_jw_kint(w, "memory_limit_bytes", p->limits.memory_limit_bytes);
    assay_jw_kint(w, "output_limit_bytes", p->limits.output_limit_bytes);
    assay_jw_kint(w, "process_limit", p->limits.process_limit);
    assay_jw_end(w);
    assay_jw_key(w, "harness");
    if (p->harness_language.n == 0) {
        assay_jw_null(w);
    } else {
        assay_jw_object(w);
        assay_jw_kstr(w, "language", p->harness_language);
        if (sources != NULL && sources->harness.p != NULL)
            assay_jw_kstr(w, "source", sources->harness);
        assay_jw_end(w);
    }
    if (m != NULL)
        write_checker(w, &p->checker, sources != NULL ? sources->checker : ASSAY_STR_NULL);
    if (m != NULL)
        write_groups(w, m);
    if (m != NULL) {
        assay_jw_key(w, "compiler_options");
        assay_manifest_options_write(w, &m->compiler_options);
    }
    if (m != NULL && secret)
        write_secret(w, m);
    assay_jw_kint(w, "test_count", p->test_count);
    assay_jw_kint(w, "sample_count", p->sample_count);
    assay_jw_kint(w, "version", p->version);
    assay_jw_ktime(w, "created_at", p->created_ms);
    assay_jw_ktime(w, "updated_at", p->updated_ms);
    assay_jw_end(w);
}

void benchmarks_write_test(struct assay_jw *w, const struct assay_manifest_test *t, struct assay_str input,
                           struct assay_str expected)
{
    assay_jw_object(w);
    assay_jw_kint(w, "number", t->number);
    assay_jw_kstr(w, "name", t->name);
    assay_jw_kbool(w, "sample", t->sample);
    assay_jw_kreal(w, "points", t->points);
    assay_jw_kstr(w, "group", t->group);
    if (t->has_arguments)
        write_strs(w, "arguments", &t->arguments);
    assay_jw_kstr(w, "input", input);
    assay_jw_kstr(w, "expected_output", expected);
    assay_jw_end(w);
}
