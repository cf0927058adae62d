/* Reports of projects' tests: what tools really write, what a submission may write in their place, and the score. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "junit.h"
#include "summary.h"

static struct report sum;
static struct assay_err err;

static int fresh(void **state)
{
    (void)state;
    sum = (struct report){0};
    err = (struct assay_err){0};
    return 0;
}

static void assert_counts(int64_t total, int64_t passed, int64_t failed, int64_t skipped)
{
    assert_int_equal(sum.total, total);
    assert_int_equal(sum.passed, passed);
    assert_int_equal(sum.failed, failed);
    assert_int_equal(sum.skipped, skipped);
}

static void reads(const char *xml)
{
    if (junit_read(assay_str(xml), &sum, &err) != 0)
        fail_msg("%s", err.msg);
}

static void assert_refused(struct assay_str xml, int code, const char *why)
{
    struct report before = sum;
    assert_int_equal(junit_read(xml, &sum, &err), code);
    assert_memory_equal(&before, &sum, sizeof sum);
    if (strstr(err.msg, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void surefire(void **state)
{
    (void)state;
    reads("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
          "<testsuite xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" version=\"3.0\" name=\"org.example.BankTest\" time=\"0.05\" "
          "tests=\"5\" errors=\"1\" skipped=\"1\" failures=\"1\">\n"
          "  <properties><property name=\"java.version\" value=\"17\"/></properties>\n"
          "  <testcase name=\"deposits\" classname=\"org.example.BankTest\" time=\"0.01\"/>\n"
          "  <testcase name=\"withdraws\" classname=\"org.example.BankTest\" time=\"0.001\">\n"
          "    <failure message=\"expected:&lt;5&gt; but was:&lt;7&gt;\" type=\"java.lang.AssertionError\"><![CDATA[java.lang.AssertionError: ...]]></failure>\n"
          "    <system-out><![CDATA[<testcase name=\"not one\"/>]]></system-out>\n"
          "  </testcase>\n"
          "  <testcase name=\"divides\" classname=\"org.example.BankTest\" time=\"0\">\n"
          "    <error type=\"java.lang.ArithmeticException\"><![CDATA[java.lang.ArithmeticException:\n\tby zero]]></error>\n"
          "  </testcase>\n"
          "  <testcase name=\"later\" classname=\"org.example.BankTest\" time=\"0\"><skipped message=\"not yet\"/></testcase>\n"
          "  <testcase name=\"wobbles\" classname=\"org.example.BankTest\" time=\"0\">\n"
          "    <flakyFailure message=\"once\" type=\"x\"><stackTrace>y</stackTrace></flakyFailure></testcase>\n"
          "</testsuite>\n");
    assert_counts(5, 2, 2, 1);
    assert_int_equal(sum.n_failures, 2);
    assert_string_equal(sum.failure[0].name, "org.example.BankTest.withdraws");
    assert_string_equal(sum.failure[0].message, "expected:<5> but was:<7>");
    assert_false(sum.failure[0].error);
    assert_string_equal(sum.failure[1].message, "java.lang.ArithmeticException: by zero");
    assert_true(sum.failure[1].error);
}

static void gradle(void **state)
{
    (void)state;
    reads("<testsuite name=\"CalcTest\" tests=\"3\" skipped=\"1\" failures=\"1\" errors=\"0\" timestamp=\"2026-01-01T00:00:00\" hostname=\"h\" time=\"0.1\">"
          "<properties/><testcase name=\"adds\" classname=\"CalcTest\" time=\"0.0\"/>"
          "<testcase name=\"ignored\" classname=\"CalcTest\" time=\"0.0\"><skipped/></testcase>"
          "<testcase name=\"subtracts\" classname=\"CalcTest\" time=\"0.0\"><failure message=\"java.lang.AssertionError\" type=\"java.lang.AssertionError\">at</failure></testcase>"
          "<system-out><![CDATA[]]></system-out><system-err><![CDATA[]]></system-err></testsuite>");
    assert_counts(3, 1, 1, 1);
}

/* A test that fails and then breaks in its teardown has both elements, and is one case. */
static void pytest(void **state)
{
    (void)state;
    reads("<?xml version=\"1.0\" encoding=\"utf-8\"?><testsuites><testsuite name=\"pytest\" errors=\"2\" failures=\"1\" skipped=\"1\" tests=\"5\" time=\"0.02\">"
          "<testcase classname=\"tests.test_a\" name=\"test_ok[\xc3\xa9]\" time=\"0.001\" />"
          "<testcase classname=\"tests.test_a\" name=\"test_bad\" time=\"0.001\"><failure message=\"assert 1 == 2\">def test_bad(): ...</failure>"
          "<error message=\"failed on teardown with &quot;OSError&quot;\">x</error></testcase>"
          "<testcase classname=\"tests.test_a\" name=\"test_x\" time=\"0.0\"><skipped type=\"pytest.xfail\" message=\"\" /></testcase>"
          "<testcase classname=\"\" name=\"tests.test_b\" time=\"0.0\"><error message=\"collection failure\">ImportError</error></testcase>"
          "</testsuite></testsuites>");
    assert_counts(4, 1, 2, 1);
    assert_string_equal(sum.failure[0].message, "assert 1 == 2");
    assert_string_equal(sum.failure[1].name, "tests.test_b");
}

/* Nested suites carry the sums of what is in them; each case is there once. */
static void nested_suites_count_once(void **state)
{
    (void)state;
    reads("<testsuites><testsuite name=\"outer\" tests=\"3\" failures=\"1\"><testsuite name=\"inner\" tests=\"2\" failures=\"1\">"
          "<testcase name=\"a\" classname=\"test\"/><testcase name=\"b\" classname=\"test\"><failure type=\"testCodeFailure\" message=\"no\"/></testcase>"
          "</testsuite><testcase name=\"c\" classname=\"test\"/></testsuite><testcase name=\"d\" classname=\"test\"/></testsuites>");
    assert_counts(4, 3, 1, 0);
    assert_string_equal(sum.failure[0].name, "test.b");
}

static void totals_of_attributes_are_not_believed(void **state)
{
    (void)state;
    reads("<testsuites tests=\"100\" failures=\"0\"><testsuite tests=\"100\" failures=\"0\"><testcase name=\"a\"><failure/></testcase></testsuite></testsuites>");
    assert_counts(1, 0, 1, 0);
    assert_string_equal(sum.failure[0].name, "a");
    assert_string_equal(sum.failure[0].message, "");
}

static void jest(void **state)
{
    (void)state;
    reads("<testsuites name=\"jest tests\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.5\"><testsuite name=\"sum\" errors=\"0\" failures=\"1\" skipped=\"1\" tests=\"3\">"
          "<testcase classname=\"sum adds\" name=\"sum adds\" time=\"0.001\"></testcase>"
          "<testcase classname=\"sum zero\" name=\"sum zero\" time=\"0\"><skipped/></testcase>"
          "<testcase classname=\"sum neg\" name=\"sum neg\" time=\"0.002\"><failure>Error: expect(received).toBe(expected)\n    at sum.test.js:3</failure></testcase>"
          "</testsuite></testsuites>");
    assert_counts(3, 1, 1, 1);
    assert_string_equal(sum.failure[0].message, "Error: expect(received).toBe(expected) at sum.test.js:3");
}

static void gtest(void **state)
{
    (void)state;
    reads("<testsuites tests=\"4\" failures=\"1\" disabled=\"1\" errors=\"0\" time=\"0.\" name=\"AllTests\"><testsuite name=\"Sum\" tests=\"4\" failures=\"1\" disabled=\"1\" skipped=\"1\">"
          "<testcase name=\"Adds\" status=\"run\" result=\"completed\" time=\"0.\" classname=\"Sum\" />"
          "<testcase name=\"Fails\" status=\"run\" result=\"completed\" classname=\"Sum\"><failure message=\"sum_test.cc:9&#x0A;Expected equality\" type=\"\"><![CDATA[...]]></failure><failure message=\"second\"/></testcase>"
          "<testcase name=\"DISABLED_x\" status=\"notrun\" result=\"suppressed\" classname=\"Sum\" />"
          "<testcase name=\"Skips\" status=\"run\" result=\"skipped\" classname=\"Sum\"><skipped message=\"\"/></testcase></testsuite></testsuites>");
    assert_counts(4, 1, 1, 2);
    assert_string_equal(sum.failure[0].message, "sum_test.cc:9 Expected equality");
}

static void ctest(void **state)
{
    (void)state;
    reads("<testsuite name=\"Linux-c++\" tests=\"4\" failures=\"1\" disabled=\"1\" skipped=\"1\" hostname=\"\" time=\"0\">"
          "<testcase name=\"adds\" classname=\"adds\" time=\"0.002\" status=\"run\"><system-out>fine</system-out></testcase>"
          "<testcase name=\"subtracts\" classname=\"subtracts\" time=\"0.002\" status=\"fail\"><failure message=\"Failed\"/><system-out>5 is not 7</system-out></testcase>"
          "<testcase name=\"gone\" classname=\"gone\" time=\"0\" status=\"notrun\"><skipped message=\"Unable to find executable\"/></testcase>"
          "<testcase name=\"off\" classname=\"off\" time=\"0\" status=\"disabled\"/></testsuite>");
    assert_counts(4, 1, 1, 2);
}

static void files_add_up(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++)
        reads("<testsuite><testcase name=\"a\"/><testcase name=\"b\"><failure message=\"m\"/></testcase></testsuite>");
    assert_counts(60, 30, 30, 0);
    assert_int_equal(sum.n_failures, REPORT_FAILURES_MAX);
}

static void other_encodings(void **state)
{
    (void)state;
    reads("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><testsuite><testcase name=\"\xe9t\xe9\"><failure/></testcase></testsuite>");
    assert_string_equal(sum.failure[0].name, "\xc3\xa9t\xc3\xa9");
}

static void other_documents_are_passed_over(void **state)
{
    (void)state;
    assert_refused(ASSAY_STR("<project><testsuite><testcase/></testsuite></project>"), ASSAY_E_UNSUPPORTED, "not a JUnit report");
    assert_refused(ASSAY_STR("<testcase name=\"a\"/>"), ASSAY_E_UNSUPPORTED, "not a JUnit report");
}

static void unsound_documents_count_nothing(void **state)
{
    (void)state;
    reads("<testsuite><testcase/></testsuite>");
    assert_refused(ASSAY_STR("<testsuite>\n<testcase/><testcase>"), ASSAY_E_INVALID, "line 2");
    assert_refused(ASSAY_STR(""), ASSAY_E_INVALID, "not sound XML");
    assert_refused(ASSAY_STR("<testsuite><testcase/></testsuite><testsuite/>"), ASSAY_E_INVALID, "not sound XML");
    assert_refused(ASSAY_STR("<testsuite><testcase name=\"\xff\"/></testsuite>"), ASSAY_E_INVALID, "not sound XML");
    assert_counts(1, 1, 0, 0);
}

static void entity_bombs_are_refused(void **state)
{
    (void)state;
    assert_refused(ASSAY_STR("<!DOCTYPE t [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><testsuite><testcase name=\"&b;\"/></testsuite>"),
                   ASSAY_E_INVALID, "document type");
    assert_refused(ASSAY_STR("<!DOCTYPE t SYSTEM \"file:///etc/passwd\"><testsuite><testcase/></testsuite>"), ASSAY_E_INVALID, "document type");
    assert_refused(ASSAY_STR("<testsuite><testcase name=\"&b;\"/></testsuite>"), ASSAY_E_INVALID, "not sound XML");
}

static void depth_size_and_number_are_bounded(void **state)
{
    (void)state;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    for (int i = 0; i < JUNIT_DEPTH_MAX - 1; i++)
        assay_buf_puts(&b, "<testsuite>");
    assay_buf_puts(&b, "<testcase/>");
    for (int i = 0; i < JUNIT_DEPTH_MAX - 1; i++)
        assay_buf_puts(&b, "</testsuite>");
    reads(b.p);
    assert_counts(1, 1, 0, 0);
    assay_buf_reset(&b);
    for (int i = 0; i < 100000; i++)
        assay_buf_puts(&b, "<testsuite>");
    assert_refused(assay_buf_view(&b), ASSAY_E_INVALID, "too deep");

    assay_buf_reset(&b);
    assay_buf_puts(&b, "<testsuite>");
    while (b.n <= JUNIT_BYTES_MAX)
        assay_buf_puts(&b, "                                                                                ");
    assert_refused(assay_buf_view(&b), ASSAY_E_INVALID, "bytes");

    sum.total = sum.passed = REPORT_TESTS_MAX;
    assert_refused(ASSAY_STR("<testsuite><testcase/></testsuite>"), ASSAY_E_INVALID, "too many cases");
}

static void texts_are_one_short_line(void **state)
{
    (void)state;
    char out[16];
    report_line(out, sizeof out, ASSAY_STR("  a\n\tb\x1b[31m "));
    assert_string_equal(out, "a b [31m");
    report_line(out, sizeof out, ASSAY_STR("123456789012345"));
    assert_string_equal(out, "123456789012345");
    report_line(out, sizeof out, ASSAY_STR("1234567890123456"));
    assert_string_equal(out, "123456789012...");
    report_line(out, sizeof out, ASSAY_STR("12345678901\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"));
    assert_string_equal(out, "12345678901...");
    report_line(out, sizeof out, ASSAY_STR("a\xff"));
    assert_string_equal(out, "a\xef\xbf\xbd");
    report_line(out, sizeof out, ASSAY_STR_NULL);
    assert_string_equal(out, "");
}

static bool finds(const char *log)
{
    return summary_find(assay_str(log), &sum);
}

static void the_last_summary_counts(void **state)
{
    (void)state;
    assert_true(finds("[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.02 s - in ATest\n"
                      "[ERROR] Tests run: 5, Failures: 1, Errors: 1, Skipped: 1\n[INFO] BUILD FAILURE\n"));
    assert_counts(5, 2, 2, 1);
    assert_true(finds("Tests run: 7, Failures: 0, Errors: 0, Skipped: 0"));
    assert_counts(7, 7, 0, 0);
    assert_true(finds("Tests run: 3,  Failures: 1\r\n\r\n")); /* JUnit 4's own runner */
    assert_counts(3, 2, 1, 0);
    assert_true(finds("[\x1b[1;31mERROR\x1b[m] \x1b[1;31mTests run: \x1b[0;1;31m4\x1b[m, Failures: 2, Errors: 0, Skipped: 0\n"));
    assert_counts(4, 2, 2, 0);
}

static void what_does_not_add_up_is_no_summary(void **state)
{
    (void)state;
    static const char *const no[] = {
        "", "\n\n", "Tests run:", "Tests run: x, Failures: 1", "Tests run: 4", "Tests run: 1, Failures: 2, Errors: 0, Skipped: 0",
        "Tests run: -1, Failures: 0", "Tests run: 99999999999999999999, Failures: 0, Errors: 0, Skipped: 0",
        "Tests run: 999999999, Failures: 0, Errors: 0, Skipped: 0", "tests run: 1, failures: 0\x1b[", "\x1b",
    };
    sum.total = 42;
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (finds(no[i]))
            fail_msg("taken: %s", no[i]);
    assert_int_equal(sum.total, 42);
    assert_true(finds("Tests run: 2, Failures: 1, Errors: 0, Skipped: 0\nTests run: 1, Failures: 9, Errors: 9, Skipped: 9\n"));
    assert_counts(2, 1, 1, 0);
}

static void the_score_is_rounded_half_up(void **state)
{
    (void)state;
    static const struct {
        int passed, total, score;
    } known[] = {{0, 1, 0}, {1, 1, 100}, {1, 2, 50}, {1, 3, 33}, {2, 3, 67}, {1, 8, 13}, {3, 8, 38}, {1, 200, 1}, {199, 200, 100}, {1, 1000, 0}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct report r = {.total = known[i].total, .passed = known[i].passed};
        assert_int_equal(report_score(&r, false, 1), known[i].score);
        assert_int_equal(report_score(&r, true, 0), 0);
    }
    struct report most = {.total = REPORT_TESTS_MAX, .passed = REPORT_TESTS_MAX}, none = {0};
    assert_int_equal(report_score(&most, false, 0), 100);
    assert_int_equal(report_score(&none, false, 0), 100);
    assert_int_equal(report_score(&none, false, 1), 0);
    assert_int_equal(report_score(&none, true, 0), 0);
}

#define T(f) cmocka_unit_test_setup(f, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(surefire), T(gradle), T(pytest), T(jest), T(gtest), T(ctest), T(nested_suites_count_once), T(totals_of_attributes_are_not_believed),
        T(files_add_up), T(other_encodings), T(other_documents_are_passed_over), T(unsound_documents_count_nothing), T(entity_bombs_are_refused),
        T(depth_size_and_number_are_bounded), T(texts_are_one_short_line), T(the_last_summary_counts), T(what_does_not_add_up_is_no_summary),
        T(the_score_is_rounded_half_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
