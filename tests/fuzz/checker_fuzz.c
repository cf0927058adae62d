/*
 * What a checker leaves: its feedback directory's encoding, its outputs, its exit code.  The first two bytes are kind and exit
 * code; the encoding follows, then, behind the first 0xff, what it printed.
 *
 * What must hold: a verdict is OK, WA or IE; IE has a reason and no part; a part is within 0 and 1; views lie in what was given.
 */
#include "fuzz.h"
#include "services/runner/local.h"

#include <math.h>

static void within(struct assay_str s, const uint8_t *data, size_t size)
{
    const char *from = (const char *)data;
    FUZZ_CHECK(s.n == 0 || (s.p >= from && s.p + s.n <= from + size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct check_says says;
    if (size < 2)
        return 0;
    const uint8_t *split = memchr(data + 2, 0xff, size - 2);
    struct assay_str feedback = {(const char *)data + 2, split != NULL ? (size_t)(split - data) - 2 : size - 2};
    struct assay_str text = split != NULL ? (struct assay_str){(const char *)split + 1, size - (size_t)(split - data) - 1} : ASSAY_STR("");
    const struct assay_box_outcome o = {.end = ASSAY_BOX_EXITED, .exit_code = data[1]};
    check_decide(data[0] % ASSAY_CHECKER_KINDS, &o, text, text, feedback, 3, &says);
    FUZZ_CHECK(says.verdict == VERDICT_OK || says.verdict == VERDICT_WA || says.verdict == VERDICT_IE);
    FUZZ_CHECK((says.verdict == VERDICT_IE) == (says.fault[0] != '\0'));
    FUZZ_CHECK(isnan(says.part) || (says.part >= 0 && says.part <= 1));
    FUZZ_CHECK(!says.again || says.verdict == VERDICT_OK);
    FUZZ_CHECK(says.judge.n <= MESSAGE_MAX && says.team.n <= MESSAGE_MAX);
    within(says.judge, data, size);
    within(says.team, data, size);
    within(says.next, data, size);
    return 0;
}
