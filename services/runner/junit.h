/*
 * JUnit XML, as test tools write it: Surefire, Gradle, pytest, jest-junit, node's test runner, gtest, ctest.
 *
 * There is no standard: each of them has its own attributes, and their totals disagree (pytest counts errors among
 * tests, Gradle has no errors in some versions, aggregates count their nested suites again). So the attributes of
 * suites are not looked at: the <testcase> elements are counted, wherever they stand below <testsuites> or <testsuite>:
 *
 *     failed   it has a <failure> or an <error> (Surefire's flakyFailure and rerunFailure do not count)
 *     skipped  else it has a <skipped>, or its status is "disabled" or "notrun", or its result "skipped" or "suppressed"
 *     passed   else
 *
 * Pure, no I/O; any thread. The file is the submission's: it is read under bounds, and takes no document type, so that
 * there are no entities of its own making.
 */
#ifndef ASSAY_RUNNER_JUNIT_H
#define ASSAY_RUNNER_JUNIT_H

#include "report.h"

#define JUNIT_BYTES_MAX ((size_t)16 << 20)
#define JUNIT_DEPTH_MAX 64

/*
 * Adds one file's cases to *sum, which is left as it was on failure:
 *   ASSAY_E_UNSUPPORTED  XML, but its root is neither <testsuites> nor <testsuite>: not a report, to be passed over
 *   ASSAY_E_INVALID      not well-formed (cut short, perhaps), with a document type, or over a bound; says the line
 *   ASSAY_E_NOMEM        ours
 */
int junit_read(struct assay_str xml, struct report *sum, struct assay_err *err) ASSAY_MUST_CHECK;

#endif
