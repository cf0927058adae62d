/*
 * What comes from runners elsewhere, and what they are told: the members "assay" of results and scripts, and the bodies of
 * their requests.
 *
 * What must hold: a number that is taken is within its bounds; a text is no longer than it may be; verdicts are known.
 */
#include "fuzz.h"
#include "services/runner/remote.h"

static void result(struct assay_str text, struct assay_arena *a)
{
    struct away_result r;
    struct assay_err err = {0, ""};
    if (away_result_decode(text, a, &r, &err) != ASSAY_OK)
        return;
    const struct away_test *t = r.tests.items;
    FUZZ_CHECK(r.verdict >= VERDICT_NONE && r.verdict <= VERDICT_IE && r.fence >= 1 && r.submission_id.n >= 1);
    FUZZ_CHECK(r.environment.n <= AWAY_RECORD_MAX && r.mode.n < 32 && r.fault.n < 300 && r.total_ms >= 0 && r.memory_limit_bytes >= 0);
    for (size_t i = 0; i < r.tests.n; i++) {
        FUZZ_CHECK(t[i].number >= 1 && t[i].verdict >= VERDICT_NONE && t[i].verdict <= VERDICT_IE);
        FUZZ_CHECK(t[i].cpu_us >= 0 && t[i].wall_us >= 0 && t[i].exit_code >= 0 && t[i].exit_code <= 255 && t[i].end <= ASSAY_BOX_FAILED);
        FUZZ_CHECK(t[i].out.n <= STORED_MAX + 1024 && t[i].err.n <= STORED_MAX + 1024 && t[i].message.n < 256);
    }
}

/* What is decoded is written again, and read as the same. */
static void job(struct assay_str text, struct assay_arena *a)
{
    struct away_job one, two;
    struct assay_str again;
    struct assay_err err = {0, ""};
    if (away_job_decode(text, a, &one, &err) != ASSAY_OK)
        return;
    FUZZ_CHECK(one.fence >= 1 && one.attempt >= 1 && one.kind >= 0 && one.kind <= ASSAY_JOB_TASK);
    if (away_job_encode(&one, a, &again, &err) != ASSAY_OK)
        return;
    FUZZ_CHECK(away_job_decode(again, a, &two, &err) == ASSAY_OK);
    FUZZ_CHECK(two.fence == one.fence && assay_str_eq(two.submission_id, one.submission_id) && assay_str_eq(two.payload, one.payload) &&
               two.blobs.n == one.blobs.n && two.feedback == one.feedback);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *a = assay_arena_new((size_t)64 << 20);
    struct assay_json_faults f = {.n = 0};
    struct assay_err err = {0, ""};
    if (a == NULL || size == 0) {
        assay_arena_free(a);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1};
    if (data[0] % 4 == 0) {
        result(text, a);
    } else if (data[0] % 4 == 1) {
        job(text, a);
    } else if (data[0] % 4 == 2) {
        struct lease_body b = {.max = 1};
        if (assay_json_decode(text, lease_fields, &b, NULL, a, &f, &err) == ASSAY_OK)
            FUZZ_CHECK(b.max >= 1 && b.max <= 16 && b.wait_s >= 0 && b.wait_s <= 60 && b.languages.n <= 64);
    } else {
        struct result_body b = {.fence = 0};
        if (assay_json_decode(text, result_fields, &b, NULL, a, &f, &err) == ASSAY_OK)
            FUZZ_CHECK(b.fence >= 0 && b.submission_id.n <= 64 && b.returned.reason.n <= 1000);
    }
    assay_arena_free(a);
    return 0;
}
