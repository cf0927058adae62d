/*
 * The line by which Maven and others end: "Tests run: 4, Failures: 1, Errors: 0, Skipped: 0".
 *
 * Looked at where a project left no report. Pure, no I/O; any thread. A program under test can print such a line: the
 * last one counts, which is the test tool's own where the tool outlives the program.
 */
#ifndef ASSAY_RUNNER_SUMMARY_H
#define ASSAY_RUNNER_SUMMARY_H

#include "report.h"

/*
 * Finds the last such line of a log and puts its numbers into *out (n_failures 0); false, and *out left as it was, when
 * there is none. On a line something may come before ("[ERROR] ") and after (", Time elapsed: ..."), colours do not
 * count, "Errors" and "Skipped" may be missing (JUnit's own runner has neither). A line whose numbers do not add up is
 * passed over. Errors count as failed.
 */
bool summary_find(struct assay_str log, struct report *out);

#endif
