/* Logs: whatever comes, a summary that is found adds up, and reading twice finds the same. */
#include <string.h>

#include "fuzz.h"
#include "services/runner/summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_str log = {(const char *)data, size};
    struct report r = {.total = -1}, again = {.total = -1};
    char line[64];
    bool found = summary_find(log, &r);
    FUZZ_CHECK(found ? r.total == r.passed + r.failed + r.skipped && r.total <= REPORT_TESTS_MAX : r.total == -1);
    FUZZ_CHECK(!found || (r.passed >= 0 && r.failed >= 0 && r.skipped >= 0));
    FUZZ_CHECK(summary_find(log, &again) == found && again.total == r.total && again.passed == r.passed);
    report_line(line, sizeof line, log);
    FUZZ_CHECK(strlen(line) < sizeof line && assay_utf8_valid(assay_str(line)));
    return 0;
}
