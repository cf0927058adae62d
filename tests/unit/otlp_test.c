/*
 * Trace contexts, samplers, lists of pairs, and the exporter's queue. What a collector reads in the messages, and how one that is
 * away is borne, is in tests/e2e/test_otlp.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/otlp.h"

#include <assay/value.h>

#define SOUND "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void contexts_are_held_to_the_standard(void **state)
{
    static const char *const unsound[] = {
        "", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", /* short */
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",         /* no trace */
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",         /* no span */
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",         /* no version */
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", SOUND "-more", "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
    (void)state;
    assert_true(assay_trace_valid(ASSAY_STR(SOUND)));
    assert_true(assay_trace_valid(ASSAY_STR("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes")));
    for (size_t i = 0; i < sizeof unsound / sizeof unsound[0]; i++)
        assert_false(assay_trace_valid(assay_str(unsound[i])));
    assert_true(assay_trace_sampled(ASSAY_STR(SOUND)));
    assert_true(assay_trace_sampled(ASSAY_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff")));
    assert_false(assay_trace_sampled(ASSAY_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02")));
    assert_false(assay_trace_sampled(ASSAY_STR("")));
}

static void a_child_keeps_the_trace_and_has_a_span_of_its_own(void **state)
{
    char one[ASSAY_TRACEPARENT], two[ASSAY_TRACEPARENT];
    (void)state;
    assay_trace_child(ASSAY_STR(SOUND), false, one);
    assay_trace_child(ASSAY_STR(SOUND), false, two);
    assert_int_equal(strlen(one), 55);
    assert_memory_equal(one, SOUND, 36);
    assert_string_equal(one + 52, "-01"); /* as the trace's first decided */
    assert_memory_not_equal(one + 36, &SOUND[36], 16);
    assert_memory_not_equal(one + 36, two + 36, 16);
    assay_trace_child(ASSAY_STR("nothing"), true, one);
    assay_trace_child(ASSAY_STR(""), false, two);
    assert_true(assay_trace_valid(assay_str(one)) && assay_trace_valid(assay_str(two)));
    assert_memory_not_equal(one + 3, two + 3, 32);
    assert_true(assay_trace_sampled(assay_str(one)));
    assert_false(assay_trace_sampled(assay_str(two)));
}

static struct assay_otlp *made(struct assay_metrics **m, struct assay_otlp_config cfg)
{
    struct assay_otlp *o = NULL;
    struct assay_err err;
    *m = assay_metrics_new(0, &err);
    assert_non_null(*m);
    cfg.traces_url = "http://127.0.0.1:1/v1/traces";
    assert_int_equal(assay_otlp_new(&cfg, *m, NULL, &o, &err), 0);
    return o;
}

static size_t kept(struct assay_otlp *o, const char *parent, size_t of)
{
    size_t n = 0;
    char context[ASSAY_TRACEPARENT];
    for (size_t i = 0; i < of; i++) {
        assert_true(assay_otlp_child(o, assay_str(parent), context));
        n += assay_trace_sampled(assay_str(context));
    }
    return n;
}

static void samplers_decide_for_traces_that_begin_here(void **state)
{
    static const struct {
        const char *name, *arg;
        size_t begun_min, begun_max, asked, unasked; /* of 1000: begun here, and of a parent that is sampled, or not */
    } want[] = {{"", "", 1000, 1000, 1000, 0},
                {"parentbased_always_off", "", 0, 0, 1000, 0},
                {"parentbased_traceidratio", "0.25", 150, 350, 1000, 0},
                {"always_on", "", 1000, 1000, 1000, 1000},
                {"always_off", "", 0, 0, 0, 0},
                {"traceidratio", "1", 1000, 1000, 1000, 1000},
                {"traceidratio", "0", 0, 0, 0, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct assay_metrics *m;
        struct assay_otlp *o = made(&m, (struct assay_otlp_config){.sampler = want[i].name, .sampler_arg = want[i].arg});
        assert_in_range(kept(o, "", 1000), want[i].begun_min, want[i].begun_max);
        assert_int_equal(kept(o, SOUND, 1000), want[i].asked);
        assert_int_equal(kept(o, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 1000), want[i].unasked);
        assay_otlp_free(o);
        assay_metrics_free(m);
    }
    assert_false(assay_otlp_child(NULL, ASSAY_STR(SOUND), NULL)); /* no telemetry */
}

static double counted(struct assay_metrics *m, const char *line)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_metrics_expose(m, &text, &err), 0);
    assay_buf_putc(&text, '\0');
    const char *at = strstr(text.p, line);
    return at != NULL ? strtod(at + strlen(line), NULL) : 0;
}

static void the_queue_is_bounded_and_what_finds_it_full_is_counted(void **state)
{
    struct assay_metrics *m;
    struct assay_otlp *o = made(&m, (struct assay_otlp_config){.queue_max = 3}); /* nobody empties it */
    const struct assay_span span = {.name = "a", .kind = ASSAY_SPAN_INTERNAL, .context = ASSAY_STR(SOUND)};
    struct assay_span unsampled = span;
    unsampled.context = ASSAY_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    (void)state;
    for (int i = 0; i < 5; i++) {
        assay_otlp_span(o, &span);
        assay_otlp_span(o, &unsampled);
    }
    assert_int_equal(counted(m, "\nassay_otlp_queued_spans "), 3);
    assert_int_equal(counted(m, "\nassay_otlp_spans_total{outcome=\"dropped\"} "), 2);
    assay_otlp_span(NULL, &span); /* no telemetry */
    assay_otlp_free(o);
    assay_metrics_free(m);
}

static void the_end_does_not_wait_for_a_collector_that_is_not_there(void **state)
{
    struct assay_metrics *m;
    struct assay_err err;
    struct assay_otlp *o = made(&m, (struct assay_otlp_config){.delay_ms = 3600000});
    const struct assay_span span = {.name = "a", .kind = ASSAY_SPAN_INTERNAL, .context = ASSAY_STR(SOUND)};
    (void)state;
    assert_int_equal(assay_otlp_start(o, &err), 0);
    assay_otlp_span(o, &span);
    assay_otlp_stop(o); /* tries once, and gives up */
    assert_int_equal(counted(m, "\nassay_otlp_spans_total{outcome=\"failed\"} "), 1);
    assay_otlp_span(o, &span);
    assert_int_equal(counted(m, "\nassay_otlp_spans_total{outcome=\"dropped\"} "), 1);
    assay_otlp_stop(o);
    assay_otlp_free(o);
    assay_metrics_free(m);
}

static void a_copied_span_owns_all_of_it(void **state)
{
    char name[] = "name", key[] = "key", text[] = "text", fault[] = "fault", context[] = SOUND;
    char longer[2000];
    (void)state;
    memset(longer, 'x', sizeof longer);
    struct assay_kv kv[] = {ASSAY_KS(key, assay_str(text)), ASSAY_KI("n", 7), ASSAY_KS("long", ((struct assay_str){longer, sizeof longer}))};
    const struct assay_span span = {.name = name, .kind = ASSAY_SPAN_SERVER, .context = assay_str(context), .parent = assay_str(context),
                                    .start_ns = 1, .end_ns = 2, .kv = kv, .n = 3, .fault = fault};
    struct assay_otlp_item *item = assay_otlp_item(&span);
    assert_non_null(item);
    memset(name, '-', 4), memset(key, '-', 3), memset(text, '-', 4), memset(fault, '-', 5), memset(context, '-', 55);
    assert_string_equal(item->span.name, "name");
    assert_string_equal(item->span.fault, "fault");
    assert_true(assay_str_is(item->span.context, SOUND) && assay_str_is(item->span.parent, SOUND));
    assert_string_equal(item->span.kv[0].key, "key");
    assert_true(assay_str_is(item->span.kv[0].s, "text"));
    assert_int_equal(item->span.kv[1].i, 7);
    assert_int_equal(item->span.kv[2].s.n, 512);
    free(item);
}

static void pairs_are_decoded_and_bounded(void **state)
{
    struct assay_otlp_pair pair[3];
    struct assay_err err;
    size_t n = 0;
    (void)state;
    assert_int_equal(assay_otlp_pairs(" a = b%20c , d=,a=e%3Df,", "x", pair, 3, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_string_equal(pair[0].key, "a");
    assert_string_equal(pair[0].value, "e=f"); /* the later one */
    assert_string_equal(pair[1].key, "d");
    assert_string_equal(pair[1].value, "");
    static const char *const faults[] = {"=b", "nothing", "a=%0d%0ax", "a=%00", "b=1,c=2"};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        assert_int_equal(assay_otlp_pairs(faults[i], "the option", pair, 3, &n, &err), ASSAY_E_CONFIG);
    assert_int_equal(n, 3);
    assert_non_null(strstr(err.msg, "the option: more than 3"));
    for (size_t i = 0; i < n; i++) {
        free(pair[i].key);
        free(pair[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_are_held_to_the_standard),
        cmocka_unit_test(a_child_keeps_the_trace_and_has_a_span_of_its_own),
        cmocka_unit_test(samplers_decide_for_traces_that_begin_here),
        cmocka_unit_test(the_queue_is_bounded_and_what_finds_it_full_is_counted),
        cmocka_unit_test(the_end_does_not_wait_for_a_collector_that_is_not_there),
        cmocka_unit_test(a_copied_span_owns_all_of_it),
        cmocka_unit_test(pairs_are_decoded_and_bounded),
    };
    return cmocka_run_group_tests_name("otlp", tests, NULL, NULL);
}
