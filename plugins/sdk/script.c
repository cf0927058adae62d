/* The codec of scripts: what a worker is asked to judge. */
#include <assay/script.h>

#include <assay/value.h>

const char *const assay_script_type_names[] = {"script", "done", NULL};

#define AT(member) .offset = offsetof(struct assay_script, member), .has_offset = -1
#define TEXT ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK
#define REST {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1}, {.name = NULL}

#define TEST(name_, type_, ...)                                                                                        \
    {                                                                                                                  \
        .name = #name_, .type = (type_), .offset = offsetof(struct assay_script_test, name_), .has_offset = -1, __VA_ARGS__ \
    }
static const struct assay_json_field test_fields[] = {
    TEST(number, ASSAY_JSON_INT, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = 1e9),
    TEST(input, ASSAY_JSON_STRING, .flags = TEXT, .min = 0, .max = (double)ASSAY_SCRIPT_MAX),
    TEST(expected_output, ASSAY_JSON_STRING, .flags = TEXT, .min = 0, .max = (double)ASSAY_SCRIPT_MAX),
    REST,
};

#define LIMIT(name_, max_)                                                                                             \
    {                                                                                                                  \
        .name = #name_, .type = ASSAY_JSON_INT, .flags = ASSAY_JSON_NULLABLE,                                          \
        .offset = offsetof(struct assay_script, name_), .has_offset = -1, .min = -1e15, .max = (double)(max_)          \
    }
/* offset 0 of the object: its rows count from the script's beginning */
static const struct assay_json_field limit_fields[] = {
    LIMIT(time_limit_ms, ASSAY_SCRIPT_TIME_MAX_MS),
    LIMIT(memory_limit_bytes, ASSAY_SCRIPT_MEMORY_MAX),
    REST,
};

/* The ways in which a language and a source are called; only one of each is kept. */
struct message {
    struct assay_script s; /* first: the rows' offsets are its own */
    struct assay_str lang, translator, code;
};
#define MORE(member) .offset = offsetof(struct message, member), .has_offset = -1

static const struct assay_json_field script_fields[] = {
    {.name = "type", .type = ASSAY_JSON_ENUM, .flags = ASSAY_JSON_NULLABLE, AT(type), .names = assay_script_type_names},
    {.name = "id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, AT(id), .min = 0, .max = (double)ASSAY_SCRIPT_ID_MAX},
    {.name = "language", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, AT(language), .min = 0, .max = 64},
    {.name = "lang", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, MORE(lang), .min = 0, .max = 64},
    {.name = "translator", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, MORE(translator), .min = 0, .max = 64},
    {.name = "source", .type = ASSAY_JSON_STRING, .flags = TEXT, AT(source), .min = 0, .max = (double)ASSAY_SCRIPT_SOURCE_MAX},
    {.name = "code", .type = ASSAY_JSON_STRING, .flags = TEXT, MORE(code), .min = 0, .max = (double)ASSAY_SCRIPT_SOURCE_MAX},
    {.name = "files", .type = ASSAY_JSON_MAP, .flags = TEXT, AT(files), .min = 0, .max = ASSAY_SCRIPT_FILES_MAX},
    {.name = "compiler_options", .type = ASSAY_JSON_STRINGS, .flags = ASSAY_JSON_NULLABLE, AT(compiler_options), .min = 0,
     .max = ASSAY_OPTIONS_MAX},
    {.name = "input", .alias = "stdin", .type = ASSAY_JSON_STRING, .flags = TEXT, AT(input), .min = 0, .max = (double)ASSAY_SCRIPT_MAX},
    {.name = "limits", .type = ASSAY_JSON_OBJECT, .flags = ASSAY_JSON_NULLABLE, .offset = 0, .has_offset = -1, .fields = limit_fields},
    {.name = "comparison", .type = ASSAY_JSON_ENUM, .flags = ASSAY_JSON_NULLABLE, AT(compare), .names = assay_compare_names},
    {.name = "float_abs", .type = ASSAY_JSON_REAL, .flags = ASSAY_JSON_NULLABLE, AT(float_abs), .min = 0, .max = 1e18},
    {.name = "float_rel", .type = ASSAY_JSON_REAL, .flags = ASSAY_JSON_NULLABLE, AT(float_rel), .min = 0, .max = 1},
    {.name = "tests", .type = ASSAY_JSON_ARRAY, .flags = ASSAY_JSON_NULLABLE, AT(tests), .min = 0, .max = ASSAY_SCRIPT_TESTS_MAX,
     .fields = test_fields, .elem_size = sizeof(struct assay_script_test)},
    {.name = "filter", .type = ASSAY_JSON_RAW, .flags = ASSAY_JSON_NULLABLE, AT(filter), .max = 4096},
    {.name = "image", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE | ASSAY_JSON_BASE64, AT(image), .min = 0, .max = (double)ASSAY_SCRIPT_MAX},
    {.name = "assay", .type = ASSAY_JSON_RAW, .flags = ASSAY_JSON_NULLABLE, AT(assay), .max = (double)ASSAY_SCRIPT_MAX},
    REST,
};
static const struct assay_json_limits limits = {.max_bytes = ASSAY_SCRIPT_MAX};

static struct assay_str or_empty(struct assay_str s)
{
    return s.p == NULL ? ASSAY_STR("") : s;
}

/* Of a message that is no script, at least whom the answer is for. */
static struct assay_str id_of(struct assay_str json, struct assay_arena *arena)
{
    static const struct assay_json_field fields[] = {
        {.name = "id", .type = ASSAY_JSON_STRING, AT(id), .min = 0, .max = (double)ASSAY_SCRIPT_ID_MAX},
        REST,
    };
    struct assay_script only;
    memset(&only, 0, sizeof only);
    int rc = assay_json_decode(json, fields, &only, &limits, arena, NULL, NULL);
    return rc < 0 ? ASSAY_STR("") : or_empty(only.id);
}

int assay_script_decode(struct assay_str json, struct assay_arena *arena, struct assay_script *out, struct assay_err *err)
{
    struct message m;
    memset(&m, 0, sizeof m);
    int rc = assay_json_decode(json, script_fields, &m, &limits, arena, NULL, err);
    if (rc == ASSAY_E_INVALID)
        *out = (struct assay_script){.id = id_of(json, arena)};
    if (rc < 0)
        return rc;
    struct assay_script *s = &m.s;
    if (s->language.n == 0)
        s->language = m.translator.n != 0 ? m.translator : m.lang;
    if (s->source.n == 0)
        s->source = m.code;
    s->time_limit_ms = s->time_limit_ms < 0 ? 0 : s->time_limit_ms;
    s->memory_limit_bytes = s->memory_limit_bytes < 0 ? 0 : s->memory_limit_bytes;
    struct assay_script_test *test = s->tests.items;
    for (size_t i = 0; i < s->tests.n; i++) {
        test[i].number = test[i].number != 0 ? test[i].number : (int64_t)i + 1;
        test[i].input = or_empty(test[i].input);
        test[i].expected_output = or_empty(test[i].expected_output);
    }
    struct assay_str *text[] = {&s->id, &s->language, &s->source, &s->input, &s->filter, &s->image, &s->assay};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
        *text[i] = or_empty(*text[i]);
    *out = *s;
    return ASSAY_OK;
}

static void put(struct assay_jw *w, const char *key, struct assay_str s)
{
    if (s.n != 0)
        assay_jw_kstr(w, key, s);
}

int assay_script_encode(const struct assay_script *s, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (arena == NULL || w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_jw_object(w);
    assay_jw_kz(w, "type", assay_script_type_names[s->type]);
    put(w, "id", s->id);
    put(w, "language", s->language);
    put(w, "source", s->source);
    if (s->files.n != 0) {
        assay_jw_key(w, "files");
        assay_jw_object(w);
        for (size_t i = 0; i < s->files.n; i++) {
            char *key = assay_arena_z(arena, s->files.items[i].key);
            if (key == NULL)
                return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
            assay_jw_kstr(w, key, s->files.items[i].value);
        }
        assay_jw_end(w);
    }
    if (s->compiler_options.n != 0) {
        assay_jw_key(w, "compiler_options");
        assay_jw_array(w);
        for (size_t i = 0; i < s->compiler_options.n; i++)
            assay_jw_str(w, s->compiler_options.items[i]);
        assay_jw_end(w);
    }
    put(w, "input", s->input);
    if (s->time_limit_ms != 0 || s->memory_limit_bytes != 0) {
        assay_jw_key(w, "limits");
        assay_jw_object(w);
        if (s->time_limit_ms != 0)
            assay_jw_kint(w, "time_limit_ms", s->time_limit_ms);
        if (s->memory_limit_bytes != 0)
            assay_jw_kint(w, "memory_limit_bytes", s->memory_limit_bytes);
        assay_jw_end(w);
    }
    if (s->compare != ASSAY_COMPARE_EXACT)
        assay_jw_kz(w, "comparison", assay_compare_names[s->compare]);
    if (s->float_abs > 0)
        assay_jw_kreal(w, "float_abs", s->float_abs);
    if (s->float_rel > 0)
        assay_jw_kreal(w, "float_rel", s->float_rel);
    if (s->tests.n != 0) {
        const struct assay_script_test *test = s->tests.items;
        assay_jw_key(w, "tests");
        assay_jw_array(w);
        for (size_t i = 0; i < s->tests.n; i++) {
            assay_jw_object(w);
            assay_jw_kint(w, "number", test[i].number);
            put(w, "input", test[i].input);
            put(w, "expected_output", test[i].expected_output);
            assay_jw_end(w);
        }
        assay_jw_end(w);
    }
    if (s->filter.n != 0) {
        ASSAY_CLEANUP_BUF struct assay_buf image = ASSAY_BUF_INIT;
        assay_buf_base64(&image, s->image);
        if (image.failed)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        assay_jw_kraw(w, "filter", s->filter);
        assay_jw_kstr(w, "image", assay_buf_view(&image));
    }
    if (s->assay.n != 0)
        assay_jw_kraw(w, "assay", s->assay);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}
