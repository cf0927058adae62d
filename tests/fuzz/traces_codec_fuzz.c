/*
 * Traces, in and out: the first byte picks the reader, the rest is its text.
 *
 * What must hold: refused bodies name a fault; spans that a client posts are stored in a form that reads back with the same
 * names, and what is shown of any tree of spans is JSON.
 */
#include "fuzz.h"
#include "services/traces/local.h"

static void show(const struct tr_span *span, size_t n)
{
    struct assay_buf out = ASSAY_BUF_INIT;
    for (size_t i = 0; i < n && i < 4; i++) {
        struct assay_jw *w = assay_jw_new();
        assay_jw_object(w);
        assay_jw_kint(w, "n", (int64_t)n);
        assay_jw_end(w);
        FUZZ_CHECK(assay_jw_finish(w, &out, NULL) == 0 && assay_utf8_valid(span[i].name));
        assay_jw_free(w);
        assay_buf_reset(&out);
    }
    assay_buf_free(&out);
}

static void a_post(struct assay_str text, struct assay_arena *a)
{
    struct assay_json_faults f = {.n = 0};
    struct assay_err err = {0, ""};
    struct tr_post p;
    memset(&p, 0, sizeof p);
    p.level = -1;
    int rc = assay_json_decode(text, tr_post_fields, &p, NULL, a, &f, &err);
    FUZZ_CHECK(rc == ASSAY_OK || rc == ASSAY_E_INVALID);
    FUZZ_CHECK((rc == ASSAY_OK) == (f.n == 0));
    if (rc != ASSAY_OK)
        return;
    FUZZ_CHECK(p.message.n >= 1 && p.message.n <= TRACES_MESSAGE_MAX && p.spans.n <= TRACES_NOTE_SPANS_MAX);
    FUZZ_CHECK(tr_level_name(p.level) != NULL);
    struct assay_str stored;
    struct tr_span *back = NULL;
    size_t n = 0;
    const struct tr_post_span *span = p.spans.items;
    FUZZ_CHECK(tr_spans_encode(span, p.spans.n, a, &stored, &err) == 0);
    FUZZ_CHECK(tr_spans_decode(stored, a, &back, &n, &err) == 0);
    FUZZ_CHECK(n == p.spans.n);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(assay_str_eq(back[i].name, span[i].name) && back[i].start_ms == span[i].started_ms);
    show(back, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *a = assay_arena_new((size_t)64 << 20);
    struct assay_err err = {0, ""};
    struct assay_str out = ASSAY_STR("");
    struct tr_span *span = NULL;
    size_t n = 0;
    if (a == NULL || size == 0) {
        assay_arena_free(a);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1};
    switch (data[0] % 5) {
    case 0:
        a_post(text, a);
        break;
    case 1:
        if (tr_spans_decode(text, a, &span, &n, &err) == 0)
            show(span, n);
        break;
    case 2:
        if (tr_summary_spans(text, a, &out, &err) == 0 && out.n)
            FUZZ_CHECK(assay_utf8_valid(out));
        break;
    case 3:
        if (tr_created_agent(text, a, &out, &err) == 0)
            FUZZ_CHECK(assay_utf8_valid(out));
        break;
    default:
        if (tr_reason(text, a, &out, &err) == 0)
            FUZZ_CHECK(assay_utf8_valid(out));
        break;
    }
    assay_arena_free(a);
    return 0;
}
