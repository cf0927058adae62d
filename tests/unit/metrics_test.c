/*
 * Metrics: the text is what Prometheus reads, sums are exact across threads, names are held to the
 * rules, cardinality is bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "gateway/metrics.h"

static const double bounds[] = {0.005, 0.1, 2.5, 0};
static const struct assay_metric rows[] = {
    {"assay_test_requests_total", ASSAY_METRIC_COUNTER, "Requests.", "method,code", NULL},
    {"assay_test_depth", ASSAY_METRIC_GAUGE, "Depth with \\ and\nnewline.", "", NULL},
    {"assay_test_wait_seconds", ASSAY_METRIC_HISTOGRAM, "Waiting.", "queue", bounds},
    {"assay_test_plain_total", ASSAY_METRIC_COUNTER, "Plain.", NULL, NULL},
};
#define REQUESTS (&rows[0])
#define DEPTH (&rows[1])
#define WAIT (&rows[2])
#define PLAIN (&rows[3])
#define L(...) ((const char *const[]){__VA_ARGS__})

static struct assay_metrics *fresh(size_t max)
{
    struct assay_metrics *m = assay_metrics_new(max, NULL);
    assert_non_null(m);
    assert_int_equal(assay_metrics_register(m, (struct assay_table)ASSAY_TABLE(rows), NULL), 0);
    return m;
}

static char *text_of(struct assay_metrics *m)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    assert_int_equal(assay_metrics_expose(m, &b, NULL), 0);
    return assay_buf_steal(&b, NULL);
}

static void shows(struct assay_metrics *m, const char *line)
{
    char *t = text_of(m);
    char whole[512];
    (void)snprintf(whole, sizeof whole, "\n%s\n", line);
    if (strstr(t, whole) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, t);
    free(t);
}

static void the_text_has_help_type_and_samples(void **state)
{
    (void)state;
    struct assay_metrics *m = fresh(0);
    assay_metrics_add(m, REQUESTS, L("GET", "200"), 1);
    assay_metrics_add(m, REQUESTS, L("GET", "200"), 2);
    assay_metrics_add(m, REQUESTS, L("POST", "4\"0\\2\n"), 1);
    assay_metrics_set(m, DEPTH, NULL, 3);
    assay_metrics_add(m, DEPTH, NULL, -1.5);
    assay_metrics_observe(m, WAIT, L("a"), 0.005); /* a bound is part of its bucket */
    assay_metrics_observe(m, WAIT, L("a"), 0.02);
    assay_metrics_observe(m, WAIT, L("a"), 7);
    char *t = text_of(m);
    assert_string_equal(t, "# HELP assay_test_requests_total Requests.\n"
                           "# TYPE assay_test_requests_total counter\n"
                           "assay_test_requests_total{method=\"GET\",code=\"200\"} 3\n"
                           "assay_test_requests_total{method=\"POST\",code=\"4\\\"0\\\\2\\n\"} 1\n"
                           "# HELP assay_test_depth Depth with \\\\ and\\nnewline.\n"
                           "# TYPE assay_test_depth gauge\n"
                           "assay_test_depth 1.5\n"
                           "# HELP assay_test_wait_seconds Waiting.\n"
                           "# TYPE assay_test_wait_seconds histogram\n"
                           "assay_test_wait_seconds_bucket{queue=\"a\",le=\"0.005\"} 1\n"
                           "assay_test_wait_seconds_bucket{queue=\"a\",le=\"0.1\"} 2\n"
                           "assay_test_wait_seconds_bucket{queue=\"a\",le=\"2.5\"} 2\n"
                           "assay_test_wait_seconds_bucket{queue=\"a\",le=\"+Inf\"} 3\n"
                           "assay_test_wait_seconds_sum{queue=\"a\"} 7.025\n"
                           "assay_test_wait_seconds_count{queue=\"a\"} 3\n"
                           "# HELP assay_test_plain_total Plain.\n"
                           "# TYPE assay_test_plain_total counter\n"
                           "assay_test_plain_total 0\n"
                           "# HELP assay_metrics_overflow_total Updates that went to the label value \"other\", since their metric "
                           "had its full number of series.\n"
                           "# TYPE assay_metrics_overflow_total counter\n"
                           "# HELP assay_metrics_unknown_total Updates that were ignored: a row that is not registered, a wrong "
                           "type, or not a number.\n"
                           "# TYPE assay_metrics_unknown_total counter\n"
                           "assay_metrics_unknown_total 0\n");
    free(t);
    assay_metrics_free(m);
}

/* The judge of the format itself; main adds this test where it is installed. */
static void promtool_takes_it(void **state)
{
    (void)state;
    struct assay_metrics *m = fresh(3);
    for (int i = 0; i < 10; i++) {
        char code[16];
        (void)snprintf(code, sizeof code, "x\"%d\\\n", i);
        assay_metrics_add(m, REQUESTS, L("GET", code), 1);
        assay_metrics_observe(m, WAIT, L(code), i);
    }
    char *t = text_of(m);
    FILE *p = popen("promtool check metrics", "w");
    assert_non_null(p);
    assert_true(fputs(t, p) >= 0);
    assert_int_equal(pclose(p), 0);
    free(t);
    assay_metrics_free(m);
}

static void what_is_wrong_is_ignored_and_counted(void **state)
{
    (void)state;
    struct assay_metrics *m = fresh(0);
    static const struct assay_metric stranger = {"assay_stranger", ASSAY_METRIC_GAUGE, "x", NULL, NULL};
    assay_metrics_set(m, &stranger, NULL, 1);
    assay_metrics_add(m, PLAIN, NULL, -1);
    assay_metrics_set(m, PLAIN, NULL, 1);
    assay_metrics_observe(m, DEPTH, NULL, 1);
    assay_metrics_add(m, WAIT, L("a"), 1);
    assay_metrics_set(m, DEPTH, NULL, NAN);
    shows(m, "assay_metrics_unknown_total 6");
    shows(m, "assay_test_plain_total 0");
    assay_metrics_set(m, DEPTH, NULL, INFINITY);
    shows(m, "assay_test_depth +Inf");
    assay_metrics_free(m);
}

static void label_values_are_bounded_in_number_and_length(void **state)
{
    (void)state;
    struct assay_metrics *m = fresh(4);
    char v[300];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(v, sizeof v, "v%d", i);
        assay_metrics_add(m, REQUESTS, L("GET", v), 1);
    }
    assay_metrics_add(m, REQUESTS, L("GET", "v2"), 5); /* known ones still count for themselves */
    shows(m, "assay_test_requests_total{method=\"GET\",code=\"v2\"} 6");
    shows(m, "assay_test_requests_total{method=\"other\",code=\"other\"} 6");
    shows(m, "assay_metrics_overflow_total{metric=\"assay_test_requests_total\"} 6");
    assay_metrics_free(m);

    m = fresh(2);
    memset(v, 'a', sizeof v);
    v[299] = 0;
    memcpy(v + 95, "\xc3\xa9", 2); /* the cut must not halve it */
    assay_metrics_observe(m, WAIT, L(v), 1);
    assay_metrics_observe(m, WAIT, L("other"), 1); /* somebody's own value */
    assay_metrics_observe(m, WAIT, L("third"), 1);
    char want[512];
    v[95] = 0;
    (void)snprintf(want, sizeof want, "assay_test_wait_seconds_count{queue=\"%s\"} 1", v);
    shows(m, want);
    shows(m, "assay_test_wait_seconds_count{queue=\"other\"} 2");
    assay_metrics_free(m);

    m = fresh(0);
    assay_metrics_observe(m, WAIT, L("bad\xff"), 1);
    assay_metrics_observe(m, WAIT, L(NULL), 1);
    shows(m, "assay_test_wait_seconds_count{queue=\"invalid\"} 1");
    shows(m, "assay_test_wait_seconds_count{queue=\"\"} 1");
    assay_metrics_free(m);
}

static void rows_that_break_the_rules_are_refused(void **state)
{
    (void)state;
    static const double falling[] = {2, 1, 0}, none[] = {0};
    const struct {
        struct assay_metric row;
        const char *why;
    } c[] = {
        {{"Assay", ASSAY_METRIC_GAUGE, "h", NULL, NULL}, "a metric's name must be lower-case snake case, not \"Assay\""},
        {{"a:b", ASSAY_METRIC_GAUGE, "h", NULL, NULL}, "a metric's name must be lower-case snake case, not \"a:b\""},
        {{"assay_x", ASSAY_METRIC_COUNTER, "h", NULL, NULL},
         "metric assay_x: the name of a counter, and of nothing else, ends in _total"},
        {{"assay_x_total", ASSAY_METRIC_GAUGE, "h", NULL, NULL},
         "metric assay_x_total: the name of a counter, and of nothing else, ends in _total"},
        {{"assay_x_count", ASSAY_METRIC_GAUGE, "h", NULL, NULL}, "metric assay_x_count must not end in _count"},
        {{"assay_x_ms", ASSAY_METRIC_GAUGE, "h", NULL, NULL},
         "metric assay_x_ms: \"ms\" has no place in a name (base units: seconds, bytes, ratio)"},
        {{"assay_x", ASSAY_METRIC_GAUGE, "", NULL, NULL}, "metric assay_x has no help text"},
        {{"assay_x", (enum assay_metric_type)9, "h", NULL, NULL}, "metric assay_x has no known type"},
        {{"assay_x", ASSAY_METRIC_GAUGE, "h", "a,,b", NULL}, "metric assay_x: \"a,,b\" is no usable list of label names"},
        {{"assay_x", ASSAY_METRIC_GAUGE, "h", "a,", NULL}, "metric assay_x: \"a,\" is no usable list of label names"},
        {{"assay_x", ASSAY_METRIC_GAUGE, "h", "a,a", NULL}, "metric assay_x: \"a,a\" is no usable list of label names"},
        {{"assay_x", ASSAY_METRIC_GAUGE, "h", "le", NULL}, "metric assay_x: \"le\" is no usable list of label names"},
        {{"assay_x_seconds", ASSAY_METRIC_HISTOGRAM, "h", "", NULL}, "histogram assay_x_seconds has no buckets"},
        {{"assay_x_seconds", ASSAY_METRIC_HISTOGRAM, "h", "", none}, "histogram assay_x_seconds has no buckets"},
        {{"assay_x_seconds", ASSAY_METRIC_HISTOGRAM, "h", "", falling},
         "histogram assay_x_seconds: bounds must be finite, rise, and be at most 64"},
    };
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        struct assay_metrics *m = fresh(0);
        struct assay_err err = {0};
        struct assay_metric table[2] = {{"assay_fine", ASSAY_METRIC_GAUGE, "h", NULL, NULL}, c[i].row};
        assert_int_equal(assay_metrics_register(m, (struct assay_table)ASSAY_TABLE(table), &err), ASSAY_E_CONFIG);
        assert_string_equal(err.msg, c[i].why);
        char *t = text_of(m);
        assert_null(strstr(t, "assay_fine")); /* all or none */
        free(t);
        assay_metrics_free(m);
    }
    struct assay_metrics *m = fresh(0);
    struct assay_err err = {0};
    static const struct assay_metric again = {"assay_test_depth", ASSAY_METRIC_GAUGE, "h", NULL, NULL};
    assert_int_equal(assay_metrics_register(m, (struct assay_table){&again, 1, sizeof again}, &err), ASSAY_E_CONFLICT);
    assert_string_equal(err.msg, "metric assay_test_depth exists already");
    assay_metrics_free(m);
}

static void scrape_callback(void *arg)
{
    assay_metrics_set(arg, DEPTH, NULL, 42);
    assay_metrics_count_to(arg, PLAIN, NULL, 17);
}

static void callbacks_run_at_each_scrape(void **state)
{
    (void)state;
    struct assay_metrics *m = fresh(0);
    assert_int_equal(assay_metrics_on_scrape(m, scrape_callback, m, NULL), 0);
    shows(m, "assay_test_depth 42");
    shows(m, "assay_test_plain_total 17");
    assay_metrics_free(m);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 20000 };
static void *hammer(void *arg)
{
    struct assay_metrics *m = arg;
    char v[16];
    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(v, sizeof v, "%d", i % 40); /* more than there is room for: series and "other" race */
        assay_metrics_add(m, REQUESTS, L("GET", v), 1);
        assay_metrics_add(m, PLAIN, NULL, 0.5);
        assay_metrics_observe(m, WAIT, L("q"), i % 3);
        assay_metrics_add(m, DEPTH, NULL, i % 2 ? 1 : -1);
    }
    return NULL;
}
static void *scrape(void *arg)
{
    for (int i = 0; i < 50; i++)
        free(text_of(arg));
    return NULL;
}

static double sum_of(const char *text, const char *prefix)
{
    double sum = 0;
    for (const char *p = text; (p = strstr(p, prefix)) != NULL; p++)
        if (p == text || p[-1] == '\n')
            sum += strtod(strchr(p, ' '), NULL);
    return sum;
}

static void no_update_is_lost_between_threads(void **state)
{
    (void)state;
    struct assay_metrics *m = fresh(16);
    pthread_t t[THREADS + 1];
    for (size_t i = 0; i <= THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, i < THREADS ? hammer : scrape, m), 0);
    for (size_t i = 0; i <= THREADS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    char *text = text_of(m);
    assert_true(sum_of(text, "assay_test_requests_total{") == THREADS * ROUNDS);
    assert_true(sum_of(text, "assay_test_plain_total ") == THREADS * ROUNDS / 2);
    assert_true(sum_of(text, "assay_test_wait_seconds_count{") == THREADS * ROUNDS);
    assert_true(sum_of(text, "assay_test_depth ") == 0);
    free(text);
    assay_metrics_free(m);
}

#define EVERYWHERE                                                                                                     \
    cmocka_unit_test(the_text_has_help_type_and_samples), cmocka_unit_test(what_is_wrong_is_ignored_and_counted),      \
        cmocka_unit_test(label_values_are_bounded_in_number_and_length),                                              \
        cmocka_unit_test(rows_that_break_the_rules_are_refused), cmocka_unit_test(callbacks_run_at_each_scrape),       \
        cmocka_unit_test(no_update_is_lost_between_threads)

int main(void)
{
    const struct CMUnitTest tests[] = {EVERYWHERE};
    const struct CMUnitTest with_promtool[] = {EVERYWHERE, cmocka_unit_test(promtool_takes_it)};
    /* not by skip(): cmocka writes that as "not ok # SKIP", which automake's driver counts as a failure */
    if (system("promtool --version >/dev/null 2>&1") == 0)
        return cmocka_run_group_tests_name("metrics", with_promtool, NULL, NULL);
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
