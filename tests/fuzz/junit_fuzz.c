/* Test reports: whatever comes, the counts add up, and names and messages are one line of UTF-8 each. */
#include <string.h>

#include "fuzz.h"
#include "services/runner/junit.h"

static void check(const struct report *r)
{
    FUZZ_CHECK(r->total == r->passed + r->failed + r->skipped && r->total <= REPORT_TESTS_MAX);
    FUZZ_CHECK(r->n_failures <= REPORT_FAILURES_MAX && (int64_t)r->n_failures <= r->failed);
    for (size_t i = 0; i < r->n_failures; i++) {
        const char *text[] = {r->failure[i].name, r->failure[i].message};
        for (size_t k = 0; k < 2; k++) {
            FUZZ_CHECK(strlen(text[k]) < sizeof r->failure[i].name && assay_utf8_valid(assay_str(text[k])));
            for (const char *c = text[k]; *c != '\0'; c++)
                FUZZ_CHECK((unsigned char)*c >= ' ' && *c != 127);
        }
    }
    FUZZ_CHECK(report_score(r, false, 0) >= 0 && report_score(r, false, 0) <= 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct report sum = {0};
    struct assay_str xml = {(const char *)data, size};
    int rc = junit_read(xml, &sum, NULL);
    FUZZ_CHECK(rc == 0 || rc == ASSAY_E_UNSUPPORTED || rc == ASSAY_E_INVALID);
    FUZZ_CHECK(rc == 0 || sum.total == 0);
    check(&sum);
    int64_t once = sum.total;
    if (rc == 0) {
        FUZZ_CHECK(junit_read(xml, &sum, NULL) == 0 && sum.total == 2 * once);
        check(&sum);
    }
    return 0;
}
