/*
 * What comes out of a project's box, and what a worker elsewhere says of one: the first byte picks which, the rest is the text.
 *
 * What must hold: of an answer that is taken all parts lie inside it; it is judged, and the feedback is JSON of a bounded length whose
 * score is from 0 to 100; what a worker says has a known verdict and a score in bounds.
 */
#include "fuzz.h"
#include "services/runner/project.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct project_answer a;
    struct assay_arena *arena = assay_arena_new((size_t)64 << 20);
    struct assay_err err = {0, ""};
    if (arena == NULL || size == 0) {
        assay_arena_free(arena);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1}, feedback;
    if (data[0] % 4 == 3) {
        struct project_told told;
        struct project_away away;
        if (project_told_decode(text, arena, &told, &err) == ASSAY_OK)
            FUZZ_CHECK(told.verdict > VERDICT_NONE && told.verdict <= VERDICT_IE && told.score >= 0 && told.score <= 100);
        if (project_away_decode(text, arena, &away, &err) == ASSAY_OK)
            FUZZ_CHECK(away.fence >= 0);
    } else {
        bool read = project_answer_read(text, &a);
        for (size_t i = 0; read && i < a.n_reports; i++)
            FUZZ_CHECK(a.report[i].p >= text.p && a.report[i].p + a.report[i].n <= text.p + text.n);
        struct assay_box_outcome o = {.end = (enum assay_box_end)(1 + data[0] / 4 % 6)};
        struct project_end end = {.verdict = VERDICT_NONE};
        int rc = project_judge(&o, read ? &a : NULL, text, 1 << 20, arena, &end, &feedback, &err);
        FUZZ_CHECK(rc == ASSAY_OK || rc == ASSAY_E_NOMEM);
        if (rc == ASSAY_OK)
            FUZZ_CHECK(end.verdict != VERDICT_NONE && end.score >= 0 && end.score <= 100 && feedback.n > 2 && feedback.n < ((size_t)64 << 10));
    }
    assay_arena_free(arena);
    return 0;
}
