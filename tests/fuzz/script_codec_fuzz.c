/*
 * Messages of brokers: the first byte picks script or result, the rest is the message.
 *
 * What must hold: what is taken is within its bounds and reads back the same after it was written; a refused script leaves
 * an id or none; a result that is cut keeps its bound.
 */
#include "fuzz.h"

#include <assay/script.h>

static void same(struct assay_str a, struct assay_str b)
{
    FUZZ_CHECK(assay_str_eq(a, b));
}

static void a_script(struct assay_str text, struct assay_arena *a)
{
    struct assay_script s, t;
    struct assay_err err = {0, ""};
    int rc = assay_script_decode(text, a, &s, &err);
    FUZZ_CHECK(rc == ASSAY_OK || (rc == ASSAY_E_INVALID && err.msg[0] != '\0'));
    FUZZ_CHECK(s.id.n <= ASSAY_SCRIPT_ID_MAX);
    if (rc != ASSAY_OK)
        return;
    FUZZ_CHECK(s.source.n <= ASSAY_SCRIPT_SOURCE_MAX && s.files.n <= ASSAY_SCRIPT_FILES_MAX && s.tests.n <= ASSAY_SCRIPT_TESTS_MAX);
    FUZZ_CHECK(s.time_limit_ms >= 0 && s.time_limit_ms <= ASSAY_SCRIPT_TIME_MAX_MS);
    FUZZ_CHECK(s.memory_limit_bytes >= 0 && s.memory_limit_bytes <= ASSAY_SCRIPT_MEMORY_MAX);
    struct assay_buf b = ASSAY_BUF_INIT;
    FUZZ_CHECK(assay_script_encode(&s, &b, &err) == ASSAY_OK);
    FUZZ_CHECK(assay_script_decode(assay_buf_view(&b), a, &t, &err) == ASSAY_OK);
    same(s.id, t.id);
    same(s.language, t.language);
    same(s.source, t.source);
    same(s.input, t.input);
    FUZZ_CHECK(s.type == t.type && s.compare == t.compare && s.files.n == t.files.n && s.tests.n == t.tests.n);
    FUZZ_CHECK(s.time_limit_ms == t.time_limit_ms && s.memory_limit_bytes == t.memory_limit_bytes);
    for (size_t i = 0; i < s.tests.n; i++) {
        const struct assay_script_test *x = s.tests.items, *y = t.tests.items;
        FUZZ_CHECK(x[i].number == y[i].number);
        same(x[i].input, y[i].input);
        same(x[i].expected_output, y[i].expected_output);
    }
    assay_buf_free(&b);
}

static void a_result(struct assay_str text, struct assay_arena *a)
{
    struct assay_script_result r, t;
    struct assay_err err = {0, ""};
    int rc = assay_script_result_decode(text, a, &r, &err);
    FUZZ_CHECK(rc == ASSAY_OK || (rc == ASSAY_E_INVALID && err.msg[0] != '\0'));
    if (rc != ASSAY_OK)
        return;
    struct assay_buf b = ASSAY_BUF_INIT;
    rc = assay_script_result_encode(&r, 0, &b, &err);
    FUZZ_CHECK(rc == ASSAY_OK || rc == ASSAY_E_TOO_LARGE);
    if (rc == ASSAY_OK) {
        FUZZ_CHECK(assay_script_result_decode(assay_buf_view(&b), a, &t, &err) == ASSAY_OK);
        same(r.id, t.id);
        same(r.status, t.status);
        same(r.error, t.error);
        same(r.event_id, t.event_id);
        FUZZ_CHECK(t.tests.n == (r.status.n != 0 ? r.tests.n : 0) || t.truncated);
    }
    assay_buf_reset(&b);
    rc = assay_script_result_encode(&r, 1000, &b, &err);
    FUZZ_CHECK(rc == ASSAY_OK ? b.n <= 1000 : rc == ASSAY_E_TOO_LARGE && b.n == 0);
    assay_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *a = assay_arena_new((size_t)256 << 20);
    if (a == NULL || size == 0) {
        assay_arena_free(a);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1};
    if (data[0] % 2 == 0)
        a_script(text, a);
    else
        a_result(text, a);
    assay_arena_free(a);
    return 0;
}
