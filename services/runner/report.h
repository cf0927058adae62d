/*
 * What a project's tests came to: counts, and the first cases that failed by name.
 *
 * Filled from JUnit XML (junit.h) or from the last summary line of a log (summary.h).  Pure, no I/O; any thread.
 * Ownership: a struct report is plain storage of the caller's, zeroed before its first use.
 */
#ifndef ASSAY_RUNNER_REPORT_H
#define ASSAY_RUNNER_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <assay/str.h>

#define REPORT_FAILURES_MAX 20u        /* kept by name; the rest are only counted */
#define REPORT_TESTS_MAX INT64_C(1000000) /* in all that is added together */

/* One case that failed. UTF-8, one line each, cut short where it was longer; "" where the report had none. */
struct report_failure {
    char name[256];    /* "class.name", or the name alone */
    char message[256]; /* what the report says of it */
    bool error;        /* it broke, rather than found something wrong */
};

/* total = passed + failed + skipped, always. */
struct report {
    int64_t total, passed, failed, skipped;
    struct report_failure failure[REPORT_FAILURES_MAX];
    size_t n_failures; /* of those; failed says how many there were */
};

/*
 * The score of a project, 0 to 100: round(100 passed / total), a half rounded up; 0 after a time-out. Where nothing was
 * counted (total is 0) the exit status of the test command is all there is to go by: 100 for 0, else 0.
 */
int report_score(const struct report *r, bool timed_out, int exit_code);

/* Copies s into out as one line: white space and control characters in a row are one space, bytes that are not UTF-8
 * are replaced, and it is cut between characters, with "..." at its end, where it does not fit. room is at least 8. */
void report_line(char *out, size_t room, struct assay_str s);

#endif
