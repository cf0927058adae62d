/*
 * The bodies of the submissions service: the first byte picks the table, the rest is the body.
 *
 * What must hold: refused bodies name a fault; what is taken is within its bounds; a map of files is written as JSON that
 * reads back as the same map; whatever a draft holds, its events and answers are JSON.
 */
#include "fuzz.h"
#include "services/submissions/local.h"

static bool accepted(const struct assay_json_field *fields, void *in, struct assay_str text, struct assay_arena *a)
{
    struct assay_json_faults f = {.n = 0};
    struct assay_err err = {0, ""};
    int rc = assay_json_decode(text, fields, in, NULL, a, &f, &err);
    FUZZ_CHECK(rc == ASSAY_OK || rc == ASSAY_E_INVALID);
    FUZZ_CHECK((rc == ASSAY_OK) == (f.n == 0));
    return rc == ASSAY_OK;
}

static void is_json(struct assay_str text, struct assay_arena *a)
{
    static const struct assay_json_field any[] = {{.name = "*"}, {.name = NULL}};
    struct assay_err err = {0, ""};
    char none = 0;
    FUZZ_CHECK(assay_json_decode(text, any, &none, NULL, a, NULL, &err) == ASSAY_OK);
}

static void files_again(const struct assay_json_map *m, struct assay_arena *a)
{
    struct back {
        struct assay_json_map files;
    } back = {.files = {.n = 0}};
    static const struct assay_json_field fields[] = {
        {.name = "f", .type = ASSAY_JSON_MAP, .flags = ASSAY_JSON_NUL_OK, .offset = offsetof(struct back, files), .max = FILES_MAX, .has_offset = -1},
        {.name = NULL},
    };
    struct assay_str json;
    struct assay_err err = {0, ""};
    FUZZ_CHECK(files_encode(m, a, &json, &err) == ASSAY_OK);
    struct assay_str whole = assay_arena_fmt(a, "{\"f\":%.*s}", ASSAY_FMT(json));
    FUZZ_CHECK(accepted(fields, &back, whole, a));
    FUZZ_CHECK(back.files.n == m->n);
    for (size_t i = 0; i < m->n; i++) {
        FUZZ_CHECK(assay_str_eq(back.files.items[i].key, m->items[i].key));
        FUZZ_CHECK(assay_str_eq(back.files.items[i].value, m->items[i].value));
    }
}

static void a_submission(const struct submit_body *b, struct assay_arena *a)
{
    struct draft d = {.kind = ASSAY_JOB_BENCHMARK, .id = "0193a1b2-0000-7000-8000-00000000000a"};
    struct assay_str out;
    struct assay_err err = {0, ""};
    FUZZ_CHECK(b->benchmark_id.n >= 1 && b->benchmark_id.n <= 64);
    FUZZ_CHECK(b->language.n <= 64 && b->source.n <= SOURCE_MAX && b->payload.n <= PAYLOAD_MAX);
    d.benchmark_id = b->benchmark_id;
    d.problem_id = b->problem_id;
    d.agent_id = b->agent_id;
    d.language = b->language;
    d.request_id = b->language; /* any text that a client sends */
    FUZZ_CHECK(created_encode(&d, a, &out, &err) == ASSAY_OK);
    is_json(out, a);
    FUZZ_CHECK(reason_encode(b->language, 3, a, &out, &err) == ASSAY_OK);
    is_json(out, a);
    struct assay_response rs = {.status = 0};
    FUZZ_CHECK(accepted_encode(&d, &rs, &err) == ASSAY_OK && rs.status == 202);
    is_json(assay_buf_view(&rs.body), a);
    assay_response_clear(&rs);
    if (b->has_files && b->files.n)
        files_again(&b->files, a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *a = assay_arena_new((size_t)64 << 20);
    if (a == NULL || size == 0) {
        assay_arena_free(a);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1};
    struct submit_body one;
    struct batch_body many;
    struct task_body task;
    memset(&one, 0, sizeof one);
    memset(&many, 0, sizeof many);
    memset(&task, 0, sizeof task);
    switch (data[0] % 3) {
    case 0:
        if (accepted(submit_fields, &one, text, a))
            a_submission(&one, a);
        break;
    case 1:
        if (accepted(batch_fields, &many, text, a)) {
            FUZZ_CHECK(many.items.n >= 1 && many.items.n <= BATCH_MAX);
            for (size_t i = 0; i < many.items.n; i++)
                a_submission(&((const struct submit_body *)many.items.items)[i], a);
        }
        break;
    default:
        if (accepted(task_fields, &task, text, a))
            FUZZ_CHECK(task.code.n >= 1 && task.code.n <= SOURCE_MAX && task.input.n <= PAYLOAD_MAX);
        break;
    }
    assay_arena_free(a);
    return 0;
}
