/* The codec of results: what came of a script. */
#include <assay/script.h>

#include <assay/value.h>

#define TEXT ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK
#define REST {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1}, {.name = NULL}
#define ROW(struct_, name_, type_, member, ...)                                                                        \
    {                                                                                                                  \
        .name = (name_), .type = (type_), .offset = offsetof(struct struct_, member), .has_offset = -1, __VA_ARGS__    \
    }
#define STRING(struct_, name_, member) ROW(struct_, name_, ASSAY_JSON_STRING, member, .flags = TEXT, .min = 0, .max = (double)ASSAY_SCRIPT_MAX)
#define NUMBER(struct_, name_, member) ROW(struct_, name_, ASSAY_JSON_INT, member, .flags = ASSAY_JSON_NULLABLE, .min = -1e15, .max = 1e15)

static const struct assay_json_field test_fields[] = {
    NUMBER(assay_script_result_test, "number", number),
    ROW(assay_script_result_test, "status", ASSAY_JSON_STRING, status, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = 8),
    NUMBER(assay_script_result_test, "exit_code", exit_code),
    NUMBER(assay_script_result_test, "duration_ms", duration_ms),
    STRING(assay_script_result_test, "stdout", stdout_text),
    STRING(assay_script_result_test, "stderr", stderr_text),
    STRING(assay_script_result_test, "input", input),
    STRING(assay_script_result_test, "expected_output", expected_output),
    STRING(assay_script_result_test, "error", error),
    REST,
};

static const struct assay_json_field result_fields[] = {
    ROW(assay_script_result, "id", ASSAY_JSON_STRING, id, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = (double)ASSAY_SCRIPT_ID_MAX),
    ROW(assay_script_result, "status", ASSAY_JSON_STRING, status, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = 8),
    NUMBER(assay_script_result, "exit_code", exit_code),
    NUMBER(assay_script_result, "duration_ms", duration_ms),
    STRING(assay_script_result, "stdout", stdout_text),
    STRING(assay_script_result, "stderr", stderr_text),
    STRING(assay_script_result, "error", error),
    ROW(assay_script_result, "tests", ASSAY_JSON_ARRAY, tests, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = ASSAY_SCRIPT_TESTS_MAX,
        .fields = test_fields, .elem_size = sizeof(struct assay_script_result_test)),
    ROW(assay_script_result, "timestamp", ASSAY_JSON_TIME, timestamp_ms, .flags = ASSAY_JSON_NULLABLE),
    ROW(assay_script_result, "event_id", ASSAY_JSON_STRING, event_id, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = 64),
    ROW(assay_script_result, "truncated", ASSAY_JSON_BOOL, truncated, .flags = ASSAY_JSON_NULLABLE),
    ROW(assay_script_result, "assay", ASSAY_JSON_RAW, assay, .flags = ASSAY_JSON_NULLABLE, .max = (double)ASSAY_SCRIPT_MAX),
    REST,
};

static void fill(struct assay_str **text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *text[i] = text[i]->p == NULL ? ASSAY_STR("") : *text[i];
}

int assay_script_result_decode(struct assay_str json, struct assay_arena *arena, struct assay_script_result *out,
                               struct assay_err *err)
{
    static const struct assay_json_limits limits = {.max_bytes = ASSAY_SCRIPT_MAX};
    memset(out, 0, sizeof *out);
    int rc = assay_json_decode(json, result_fields, out, &limits, arena, NULL, err);
    if (rc < 0)
        return rc;
    struct assay_script_result_test *t = out->tests.items;
    for (size_t i = 0; i < out->tests.n; i++) {
        struct assay_str *text[] = {&t[i].status, &t[i].stdout_text, &t[i].stderr_text, &t[i].input, &t[i].expected_output, &t[i].error};
        fill(text, sizeof text / sizeof text[0]);
    }
    struct assay_str *text[] = {&out->id, &out->status, &out->stdout_text, &out->stderr_text, &out->error, &out->event_id, &out->assay};
    fill(text, sizeof text / sizeof text[0]);
    return ASSAY_OK;
}

/* How much of it is written. */
struct extent {
    size_t text; /* most bytes of each text */
    bool tests, truncated;
};

static void put(struct assay_jw *w, const char *key, struct assay_str s, struct extent *e)
{
    if (s.n > e->text) {
        s.n = e->text;
        while (s.n > 0 && ((unsigned char)s.p[s.n] & 0xc0) == 0x80) /* not in the middle of a character */
            s.n--;
        e->truncated = true;
    }
    if (s.n != 0)
        assay_jw_kstr(w, key, s);
}

static void put_whole(struct assay_jw *w, const char *key, struct assay_str s)
{
    if (s.n != 0)
        assay_jw_kstr(w, key, s);
}

static void tests_write(struct assay_jw *w, const struct assay_script_result *r, struct extent *e)
{
    const struct assay_script_result_test *t = r->tests.items;
    assay_jw_key(w, "tests");
    assay_jw_array(w);
    for (size_t i = 0; i < r->tests.n; i++) {
        assay_jw_object(w);
        assay_jw_kint(w, "number", t[i].number);
        put_whole(w, "status", t[i].status);
        assay_jw_kint(w, "exit_code", t[i].exit_code);
        assay_jw_kint(w, "duration_ms", t[i].duration_ms);
        put(w, "stdout", t[i].stdout_text, e);
        put(w, "stderr", t[i].stderr_text, e);
        put(w, "input", t[i].input, e);
        put(w, "expected_output", t[i].expected_output, e);
        put(w, "error", t[i].error, e);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

static int encode(const struct assay_script_result *r, struct extent e, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    e.truncated = r->truncated || (!e.tests && r->tests.n != 0);
    assay_jw_object(w);
    put_whole(w, "id", r->id);
    if (r->status.n != 0) {
        assay_jw_kstr(w, "status", r->status);
        assay_jw_kint(w, "exit_code", r->exit_code);
        put(w, "stdout", r->stdout_text, &e);
        put(w, "stderr", r->stderr_text, &e);
        assay_jw_kint(w, "duration_ms", r->duration_ms);
    }
    put(w, "error", r->error, &e);
    if (r->status.n != 0 && r->tests.n != 0 && e.tests)
        tests_write(w, r, &e);
    assay_jw_ktime(w, "timestamp", r->timestamp_ms);
    put_whole(w, "event_id", r->event_id);
    if (e.truncated)
        assay_jw_kbool(w, "truncated", true);
    if (r->assay.n != 0)
        assay_jw_kraw(w, "assay", r->assay);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int assay_script_result_encode(const struct assay_script_result *r, size_t max, struct assay_buf *out, struct assay_err *err)
{
    struct extent e = {.text = ASSAY_SCRIPT_MAX, .tests = true};
    size_t before = out->n;
    max = max != 0 && max < ASSAY_SCRIPT_MAX ? max : ASSAY_SCRIPT_MAX;
    for (;;) {
        int rc = encode(r, e, out, err);
        if (rc < 0 || out->n - before <= max)
            return rc;
        out->n = before;
        out->p[before] = '\0';
        if (e.text > max)
            e.text = max; /* the halving begins where it can help */
        else if (e.text > 0)
            e.text /= 2;
        else if (e.tests && r->tests.n != 0)
            e = (struct extent){.text = max / 8, .tests = false};
        else
            return assay_err_set(err, ASSAY_E_TOO_LARGE, "a result does not fit into %zu bytes", max);
    }
}

size_t assay_script_result_max(int64_t option, const char *brokers)
{
    /* an SQS message has at most 256 KiB; Kafka's brokers take 1,000,000 bytes unless they are told otherwise */
    if (option > 0)
        return option < 4096 ? 4096 : (size_t)option;
    return strstr(brokers, "sqs") != NULL ? (size_t)240 << 10 : 900000;
}
