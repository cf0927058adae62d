/* The manifest's codec. */
#include <assay/manifest.h>

#include <stdio.h>

const char *const assay_judge_mode_names[] = {"program", "harness", "answer", "function", NULL};
const char *const assay_compare_names[] = {"exact", "tokens", "float", "nocase", "lines", "unordered_lines", "unordered_tokens", NULL};

const char *const assay_checker_kind_names[] = {"validator", "testlib", "script", NULL};
const char *const assay_aggregate_names[] = {"sum", "min", "max", NULL};

#define ROW(type_, struct_, member, ...)                                                                               \
    {.name = #member, .type = (type_), .offset = offsetof(struct struct_, member), .has_offset = -1, __VA_ARGS__}
#define MUST .flags = ASSAY_JSON_REQUIRED

static const struct assay_json_field test_fields[] = {
    ROW(ASSAY_JSON_INT, assay_manifest_test, number, MUST),
    ROW(ASSAY_JSON_STRING, assay_manifest_test, name),
    ROW(ASSAY_JSON_BOOL, assay_manifest_test, sample),
    ROW(ASSAY_JSON_REAL, assay_manifest_test, points, MUST),
    ROW(ASSAY_JSON_STRING, assay_manifest_test, input_ref),
    ROW(ASSAY_JSON_STRING, assay_manifest_test, expected_ref),
    ROW(ASSAY_JSON_STRING, assay_manifest_test, group),
    {.name = "arguments", .type = ASSAY_JSON_STRINGS, .offset = offsetof(struct assay_manifest_test, arguments),
     .has_offset = offsetof(struct assay_manifest_test, has_arguments)},
    {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
    {.name = NULL},
};

static const struct assay_json_field group_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_manifest_group, name, MUST),
    ROW(ASSAY_JSON_ENUM, assay_manifest_group, aggregate, MUST, .names = assay_aggregate_names),
    ROW(ASSAY_JSON_REAL, assay_manifest_group, points, MUST),
    ROW(ASSAY_JSON_BOOL, assay_manifest_group, stop_on_failure),
    ROW(ASSAY_JSON_STRINGS, assay_manifest_group, depends_on),
    {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
    {.name = NULL},
};

static const struct assay_json_field checker_fields[] = {
    ROW(ASSAY_JSON_ENUM, assay_manifest_checker, kind, MUST, .names = assay_checker_kind_names),
    ROW(ASSAY_JSON_STRING, assay_manifest_checker, language, MUST),
    ROW(ASSAY_JSON_STRING, assay_manifest_checker, source_ref, MUST),
    ROW(ASSAY_JSON_STRINGS, assay_manifest_checker, flags),
    ROW(ASSAY_JSON_BOOL, assay_manifest_checker, interactive),
    ROW(ASSAY_JSON_INT, assay_manifest_checker, passes, MUST, .min = 1, .max = 1000),
    ROW(ASSAY_JSON_INT, assay_manifest_checker, time_limit_ms, MUST, .min = 1, .max = 86400000),
    ROW(ASSAY_JSON_INT, assay_manifest_checker, memory_limit_bytes, MUST, .min = 1, .max = 9e15),
    {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
    {.name = NULL},
};

const struct assay_json_field assay_manifest_options_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_manifest_options, language, MUST, .min = 1, .max = 64),
    {.name = "allowed", .type = ASSAY_JSON_STRINGS, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = 4 * ASSAY_OPTIONS_MAX,
     .offset = offsetof(struct assay_manifest_options, allowed), .has_offset = offsetof(struct assay_manifest_options, has_allowed)},
    ROW(ASSAY_JSON_STRINGS, assay_manifest_options, always, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = ASSAY_OPTIONS_MAX),
    {.name = NULL},
};
struct options_list {
    struct assay_json_array list;
};
static const struct assay_json_field options_list_fields[] = {
    ROW(ASSAY_JSON_ARRAY, options_list, list, MUST, .fields = assay_manifest_options_fields,
        .elem_size = sizeof(struct assay_manifest_options), .min = 0, .max = 64),
    {.name = NULL},
};

static const struct assay_json_field manifest_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_manifest, benchmark_id, MUST),
    ROW(ASSAY_JSON_STRING, assay_manifest, problem_id, MUST),
    ROW(ASSAY_JSON_INT, assay_manifest, version, MUST),
    ROW(ASSAY_JSON_ENUM, assay_manifest, mode, MUST, .names = assay_judge_mode_names),
    ROW(ASSAY_JSON_ENUM, assay_manifest, compare, MUST, .names = assay_compare_names),
    ROW(ASSAY_JSON_REAL, assay_manifest, float_abs),
    ROW(ASSAY_JSON_REAL, assay_manifest, float_rel),
    ROW(ASSAY_JSON_BOOL, assay_manifest, stop_on_failure),
    ROW(ASSAY_JSON_INT, assay_manifest, time_limit_ms, MUST),
    ROW(ASSAY_JSON_INT, assay_manifest, hard_time_limit_ms),
    ROW(ASSAY_JSON_INT, assay_manifest, wall_limit_ms, MUST),
    ROW(ASSAY_JSON_INT, assay_manifest, memory_limit_bytes, MUST),
    ROW(ASSAY_JSON_INT, assay_manifest, output_limit_bytes, MUST),
    ROW(ASSAY_JSON_INT, assay_manifest, process_limit, MUST),
    ROW(ASSAY_JSON_STRING, assay_manifest, harness_language),
    ROW(ASSAY_JSON_STRING, assay_manifest, harness_ref),
    {.name = "checker", .type = ASSAY_JSON_OBJECT, .offset = offsetof(struct assay_manifest, checker),
     .has_offset = offsetof(struct assay_manifest, has_checker), .fields = checker_fields},
    ROW(ASSAY_JSON_ARRAY, assay_manifest, tests, MUST, .fields = test_fields,
        .elem_size = sizeof(struct assay_manifest_test), .min = 0, .max = 100000),
    ROW(ASSAY_JSON_ARRAY, assay_manifest, groups, .fields = group_fields, .elem_size = sizeof(struct assay_manifest_group),
        .min = 0, .max = 1000),
    ROW(ASSAY_JSON_STRINGS, assay_manifest, arguments),
    ROW(ASSAY_JSON_MAP, assay_manifest, environment),
    ROW(ASSAY_JSON_ARRAY, assay_manifest, compiler_options, .fields = assay_manifest_options_fields,
        .elem_size = sizeof(struct assay_manifest_options), .min = 0, .max = 64),
    {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
    {.name = NULL},
};

int64_t assay_hard_time_limit(int64_t time_limit_ms)
{
    return time_limit_ms + time_limit_ms / 10 + 100;
}

int assay_manifest_decode(struct assay_str json, struct assay_arena *arena, struct assay_manifest *out, struct assay_err *err)
{
    *out = (struct assay_manifest){.version = 0};
    return assay_json_decode(json, manifest_fields, out, NULL, arena, NULL, err);
}

static void write_checker(struct assay_jw *w, const struct assay_manifest_checker *c)
{
    assay_jw_key(w, "checker");
    assay_jw_object(w);
    assay_jw_kz(w, "kind", assay_checker_kind_names[c->kind]);
    assay_jw_kstr(w, "language", c->language);
    assay_jw_kstr(w, "source_ref", c->source_ref);
    assay_jw_key(w, "flags");
    assay_jw_array(w);
    for (size_t i = 0; i < c->flags.n; i++)
        assay_jw_str(w, c->flags.items[i]);
    assay_jw_end(w);
    assay_jw_kbool(w, "interactive", c->interactive);
    assay_jw_kint(w, "passes", c->passes);
    assay_jw_kint(w, "time_limit_ms", c->time_limit_ms);
    assay_jw_kint(w, "memory_limit_bytes", c->memory_limit_bytes);
    assay_jw_end(w);
}

static void strs(struct assay_jw *w, const char *key, const struct assay_strs *list)
{
    assay_jw_key(w, key);
    assay_jw_array(w);
    for (size_t i = 0; i < list->n; i++)
        assay_jw_str(w, list->items[i]);
    assay_jw_end(w);
}

static void groups(struct assay_jw *w, const struct assay_json_array *list)
{
    const struct assay_manifest_group *g = list->items;
    assay_jw_key(w, "groups");
    assay_jw_array(w);
    for (size_t i = 0; i < list->n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "name", g[i].name);
        assay_jw_kz(w, "aggregate", assay_aggregate_names[g[i].aggregate]);
        assay_jw_kreal(w, "points", g[i].points);
        assay_jw_kbool(w, "stop_on_failure", g[i].stop_on_failure);
        if (g[i].depends_on.n != 0)
            strs(w, "depends_on", &g[i].depends_on);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

bool assay_option_valid(struct assay_str word)
{
    for (size_t i = 0; i < word.n; i++) {
        char c = word.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '=' || c == '.' ||
                     c == '_' || c == '-';
        if (!plain)
            return false;
    }
    return word.n > 1 && word.n <= ASSAY_OPTION_MAX && word.p[0] == '-';
}

int assay_options_join(const struct assay_strs *list, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    for (size_t i = 0; i < list->n; i++) {
        if (i != 0)
            assay_buf_putc(&b, ' ');
        assay_buf_str(&b, list->items[i]);
    }
    *out = b.n != 0 ? assay_arena_str(arena, assay_buf_view(&b)) : ASSAY_STR("");
    return b.failed || out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

static bool next_word(struct assay_str *rest, struct assay_str *word)
{
    size_t skip = 0;
    while (skip < rest->n && rest->p[skip] == ' ')
        skip++;
    size_t end = skip;
    while (end < rest->n && rest->p[end] != ' ')
        end++;
    *word = (struct assay_str){rest->p + skip, end - skip};
    *rest = (struct assay_str){rest->p + end, rest->n - end};
    return word->n != 0;
}

int assay_options_split(struct assay_str text, struct assay_arena *arena, struct assay_strs *out, struct assay_err *err)
{
    struct assay_str word, rest = text;
    size_t n = 0;
    *out = (struct assay_strs){NULL, 0};
    if (text.n == 0)
        return ASSAY_OK;
    while (next_word(&rest, &word))
        n++;
    struct assay_str *item = assay_arena_array(arena, n + 1, sizeof *item);
    if (item == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    rest = text;
    for (size_t i = 0; next_word(&rest, &word); i++)
        item[i] = word;
    *out = (struct assay_strs){item, n};
    return ASSAY_OK;
}

void assay_options_write(struct assay_jw *w, const char *key, struct assay_str text)
{
    struct assay_str word, rest = text;
    assay_jw_key(w, key);
    assay_jw_array(w);
    while (rest.n != 0 && next_word(&rest, &word))
        assay_jw_str(w, word);
    assay_jw_end(w);
}

void assay_manifest_options_write(struct assay_jw *w, const struct assay_json_array *list)
{
    const struct assay_manifest_options *o = list->items;
    assay_jw_array(w);
    for (size_t i = 0; i < list->n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "language", o[i].language);
        if (o[i].has_allowed)
            strs(w, "allowed", &o[i].allowed);
        if (o[i].always.n != 0)
            strs(w, "always", &o[i].always);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

int assay_manifest_options_decode(struct assay_str json, struct assay_arena *arena, struct assay_json_array *out,
                                  struct assay_err *err)
{
    struct options_list l = {{NULL, 0}};
    if (json.n != 0) {
        struct assay_str whole = assay_arena_fmt(arena, "{\"list\":%.*s}", ASSAY_FMT(json));
        if (whole.p == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        int rc = assay_json_decode(whole, options_list_fields, &l, NULL, arena, NULL, err);
        if (rc < 0)
            return rc;
    }
    *out = l.list;
    return ASSAY_OK;
}

int assay_manifest_encode(const struct assay_manifest *m, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "benchmark_id", m->benchmark_id);
    assay_jw_kstr(w, "problem_id", m->problem_id);
    assay_jw_kint(w, "version", m->version);
    assay_jw_kz(w, "mode", assay_judge_mode_names[m->mode]);
    assay_jw_kz(w, "compare", assay_compare_names[m->compare]);
    assay_jw_kreal(w, "float_abs", m->float_abs);
    assay_jw_kreal(w, "float_rel", m->float_rel);
    assay_jw_kbool(w, "stop_on_failure", m->stop_on_failure);
    assay_jw_kint(w, "time_limit_ms", m->time_limit_ms);
    assay_jw_kint(w, "hard_time_limit_ms", m->hard_time_limit_ms);
    assay_jw_kint(w, "wall_limit_ms", m->wall_limit_ms);
    assay_jw_kint(w, "memory_limit_bytes", m->memory_limit_bytes);
    assay_jw_kint(w, "output_limit_bytes", m->output_limit_bytes);
    assay_jw_kint(w, "process_limit", m->process_limit);
    assay_jw_kstr(w, "harness_language", m->harness_language);
    assay_jw_kstr(w, "harness_ref", m->harness_ref);
    if (m->has_checker)
        write_checker(w, &m->checker);
    if (m->groups.n != 0)
        groups(w, &m->groups);
    if (m->arguments.n != 0)
        strs(w, "arguments", &m->arguments);
    if (m->environment.n != 0) {
        assay_jw_key(w, "environment");
        assay_jw_object(w);
        for (size_t i = 0; i < m->environment.n; i++) {
            char key[ASSAY_MANIFEST_VARIABLE_MAX + 1];
            (void)snprintf(key, sizeof key, "%.*s", ASSAY_FMT(m->environment.items[i].key));
            assay_jw_kstr(w, key, m->environment.items[i].value);
        }
        assay_jw_end(w);
    }
    if (m->compiler_options.n != 0) {
        assay_jw_key(w, "compiler_options");
        assay_manifest_options_write(w, &m->compiler_options);
    }
    assay_jw_key(w, "tests");
    assay_jw_array(w);
    const struct assay_manifest_test *tests = m->tests.items;
    for (size_t i = 0; i < m->tests.n; i++) {
        const struct assay_manifest_test *t = &tests[i];
        assay_jw_object(w);
        assay_jw_kint(w, "number", t->number);
        assay_jw_kstr(w, "name", t->name);
        assay_jw_kbool(w, "sample", t->sample);
        assay_jw_kreal(w, "points", t->points);
        assay_jw_kstr(w, "input_ref", t->input_ref);
        assay_jw_kstr(w, "expected_ref", t->expected_ref);
        if (t->group.n != 0)
            assay_jw_kstr(w, "group", t->group);
        if (t->has_arguments)
            strs(w, "arguments", &t->arguments);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}
