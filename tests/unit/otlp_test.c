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
    cfg.traces.url = "http://127.0.0.1:1/v1/traces";
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

/* ---- the messages ------------------------------------------------------------------------------------ */

static void messages_are_those_bytes(void **state)
{
    static const char wanted[] = /* field 1 {resource = 1 {}, scope_spans = 2 {scope = 1 {"assay", "v"}, spans = 2 {...}}} */
        "\x0a\x57\x0a\x00\x12\x53\x0a\x0a\x0a\x05" "assay" "\x12\x01v\x12\x45"
        "\x0a\x10\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c" "\x12\x08\xb7\xad\x6b\x71\x69\x20\x33\x31"
        "\x2a\x01n" "\x30\x01" "\x39\x01\0\0\0\0\0\0\0" "\x41\x02\0\0\0\0\0\0\0" "\x4a\x10\x0a\x01k\x12\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    const struct assay_kv kv[] = {ASSAY_KI("k", -1)};
    const struct assay_span span = {.name = "n", .kind = ASSAY_SPAN_INTERNAL, .context = ASSAY_STR(SOUND), .start_ns = 1, .end_ns = 2, .kv = kv, .n = 1};
    const struct assay_otlp_from from = {NULL, 0, "v"};
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_err err;
    (void)state;
    struct assay_otlp_item *item = assay_otlp_item(&span);
    assert_non_null(item);
    assert_int_equal(assay_otlp_proto_traces(&from, item, &out, &err), 0);
    assert_int_equal(out.n, sizeof wanted - 1);
    assert_memory_equal(out.p, wanted, out.n);
    free(item);
    /* lengths of two and three bytes: whatever stands between them stays whole */
    char text[500];
    memset(text, 'x', sizeof text);
    struct assay_otlp_item *list = NULL;
    const struct assay_kv long_kv[] = {ASSAY_KS("k", ((struct assay_str){text, sizeof text}))};
    struct assay_span longer = span;
    longer.kv = long_kv;
    for (int i = 0; i < 50; i++) {
        item = assay_otlp_item(&longer);
        assert_non_null(item);
        item->next = list;
        list = item;
    }
    assay_buf_reset(&out);
    assert_int_equal(assay_otlp_proto_traces(&from, list, &out, &err), 0);
    const unsigned char *p = (const unsigned char *)out.p;
    assert_int_equal(p[0], 0x0a);
    assert_int_equal((size_t)(p[1] & 0x7f) | (size_t)(p[2] & 0x7f) << 7 | (size_t)p[3] << 14, out.n - 4);
    while (list != NULL) {
        item = list->next;
        free(list);
        list = item;
    }
}

struct seen {
    struct assay_buf text;
    size_t n;
};

static void write_point(void *arg, const struct assay_metric_point *p)
{
    struct seen *s = arg;
    s->n++;
    assay_buf_fmt(&s->text, "%s %d [%s]", p->row->name, (int)p->row->type, p->row->help);
    for (size_t i = 0; i < p->n_labels; i++)
        assay_buf_fmt(&s->text, " %s=%s", p->label[i], p->value[i]);
    if (p->row->type == ASSAY_METRIC_HISTOGRAM) {
        for (size_t i = 0; i < p->n_buckets; i++)
            assay_buf_fmt(&s->text, " %g:%d", i + 1 < p->n_buckets ? p->row->buckets[i] : -1, (int)p->bucket[i]);
        assay_buf_fmt(&s->text, " sum=%g count=%d;", p->sum, (int)p->count);
    } else {
        assay_buf_fmt(&s->text, " %g;", p->v);
    }
}

static int read_text(const char *text, struct seen *s)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_err err;
    char *exact = strdup(text); /* without a byte behind it, for the sanitizer to see */
    assert_non_null(exact);
    int rc = assay_metrics_text_each((struct assay_str){exact, strlen(text)}, arena, write_point, s, &err);
    free(exact);
    return rc;
}

#define HISTOGRAM "# HELP h_seconds Time.\n# TYPE h_seconds histogram\n"

static void another_processes_text_is_read_back_as_it_was(void **state)
{
    struct seen s = {ASSAY_BUF_INIT, 0};
    (void)state;
    assert_int_equal(read_text("# HELP a_total What.\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\\\\\\n,}\"} 3\na_total{x=\"2\",y=\"\"} 4.5\n"
                               "# TYPE g gauge\ng -1e3\n" HISTOGRAM "h_seconds_bucket{d=\"n\",le=\"0.5\"} 1\nh_seconds_bucket{d=\"n\",le=\"2\"} 1\n"
                               "h_seconds_bucket{d=\"n\",le=\"+Inf\"} 4\nh_seconds_sum{d=\"n\"} 12.5\nh_seconds_count{d=\"n\"} 4", &s), 0);
    assert_string_equal(s.text.p, "a_total 1 [What.] x=1 y=q\"\\\n,} 3;a_total 1 [What.] x=2 y= 4.5;g 2 [] -1000;"
                                  "h_seconds 3 [Time.] d=n 0.5:1 2:0 -1:3 sum=12.5 count=4;");
    assay_buf_free(&s.text);
}

static void and_what_is_no_such_text_is_refused(void **state)
{
    static const char *const unsound[] = {
        "a 1", "# TYPE a counter\na", "# TYPE a counter\na x", "# TYPE a counter\na{ 1", "# TYPE a counter\na{x 1", "# TYPE a counter\na{x=\"1 1",
        "# TYPE a counter\na{x=\"1\\", "# TYPE a counter\nb 1", "# TYPE a summary\na 1", "# nothing", "# TYPE a counter\na NaN", "# TYPE  counter\n 1",
        HISTOGRAM "h_seconds_count 1", HISTOGRAM "h_seconds_bucket{le=\"1\"} 1\nh_seconds_count 1", HISTOGRAM "h_seconds_bucket 1",
        HISTOGRAM "h_seconds_bucket{le=\"1\"} 2\nh_seconds_bucket{le=\"+Inf\"} 1", HISTOGRAM "h_seconds_bucket{le=\"+Inf\"} 1\nh_seconds_bucket{le=\"1\"} 1",
        HISTOGRAM "h_seconds_bucket{le=\"1\"} 1e300", HISTOGRAM "h_seconds_bucket{le=\"-1\"} 1",
        HISTOGRAM "h_seconds_bucket{le=\"+Inf\"} 1\nh_seconds_count 1\nh_seconds_bucket{le=\"1\"} 1\nh_seconds_bucket{le=\"+Inf\"} 1\nh_seconds_count 1",
        "# TYPE a counter\na{a=\"\",b=\"\",c=\"\",d=\"\",e=\"\",f=\"\",g=\"\",h=\"\",i=\"\"} 1"};
    struct seen s = {ASSAY_BUF_INIT, 0};
    (void)state;
    for (size_t i = 0; i < sizeof unsound / sizeof unsound[0]; i++)
        if (read_text(unsound[i], &s) != ASSAY_E_INVALID)
            fail_msg("taken: %s", unsound[i]);
    /* more buckets than are kept */
    ASSAY_CLEANUP_BUF struct assay_buf many = ASSAY_BUF_INIT;
    assay_buf_puts(&many, HISTOGRAM);
    for (int i = 1; i < 40; i++)
        assay_buf_fmt(&many, "h_seconds_bucket{le=\"%d\"} 1\n", i);
    assert_int_equal(read_text(many.p, &s), ASSAY_E_INVALID);
    assay_buf_free(&s.text);
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
        cmocka_unit_test(messages_are_those_bytes),
        cmocka_unit_test(another_processes_text_is_read_back_as_it_was),
        cmocka_unit_test(and_what_is_no_such_text_is_refused),
    };
    return cmocka_run_group_tests_name("otlp", tests, NULL, NULL);
}
