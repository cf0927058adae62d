/*
 * The last events as they were told: what is kept, in which bounds, and what has to be told anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "local.h"

static struct assay_event_row event(int64_t seq, const char *subject, const char *benchmark, struct assay_str payload)
{
    return (struct assay_event_row){.seq = seq,
                                    .ev = {.topic = ASSAY_STR("submission.done"),
                                           .subject = assay_str(subject),
                                           .owner = ASSAY_STR("ada"),
                                           .benchmark = assay_str(benchmark),
                                           .payload = payload}};
}

static struct tail_event *add(struct stream_tail *t, int64_t seq, const char *subject, const char *benchmark, struct assay_str payload)
{
    struct assay_event_row ev = event(seq, subject, benchmark, payload);
    return stream_tail_add(t, &ev);
}

static void tell(struct stream_tail *t, struct tail_event *e)
{
    assay_buf_puts(&e->said[VOICE_ALL], "told");
    stream_tail_told(t, e);
}

static void nothing_is_covered_before_the_first_event(void **state)
{
    (void)state;
    struct stream_tail *t = stream_tail_new();
    assert_false(stream_tail_covers(t, 0));
    assert_false(stream_tail_covers(t, 1000));
    assert_null(stream_tail_after(t, 0));
    assert_non_null(add(t, 10, "a", "b", ASSAY_STR("{}")));
    assert_false(stream_tail_covers(t, 8)); /* whether there was one with 9 is not known here */
    assert_true(stream_tail_covers(t, 9));
    assert_true(stream_tail_covers(t, 10));
    assert_int_equal(stream_tail_after(t, 9)->row.seq, 10);
    assert_null(stream_tail_after(t, 10));
    stream_tail_free(t);
}

static void an_event_is_a_copy(void **state)
{
    (void)state;
    struct stream_tail *t = stream_tail_new();
    char payload[] = "{\"verdict\":\"OK\"}", subject[] = "one";
    (void)add(t, 1, subject, "b", assay_str(payload));
    payload[0] = subject[0] = '?';
    struct tail_event *e = stream_tail_after(t, 0);
    assert_true(assay_str_is(e->row.ev.payload, "{\"verdict\":\"OK\"}"));
    assert_true(assay_str_is(e->row.ev.subject, "one"));
    assert_true(assay_str_is(e->row.ev.topic, "submission.done"));
    assert_true(assay_str_is(e->row.ev.owner, "ada"));
    assert_true(assay_str_is(e->row.ev.benchmark, "b"));
    stream_tail_free(t);
}

/* Sequence numbers have gaps: other topics lie between. */
static void the_oldest_go_and_who_is_behind_them_needs_the_log(void **state)
{
    (void)state;
    struct stream_tail *t = stream_tail_new();
    const int64_t n = 3000;
    for (int64_t i = 1; i <= n; i++)
        tell(t, add(t, 3 * i, "a", "b", ASSAY_STR("{}")));
    assert_true(stream_tail_covers(t, 3 * n));
    assert_false(stream_tail_covers(t, 3));
    int64_t from = 0;
    while (!stream_tail_covers(t, from))
        from++;
    assert_int_equal(from % 3, 0); /* the last one that went */
    int64_t kept = 0;
    for (int64_t seq = from; stream_tail_after(t, seq) != NULL; kept++) {
        assert_int_equal(stream_tail_after(t, seq)->row.seq, seq - seq % 3 + 3);
        seq = stream_tail_after(t, seq)->row.seq;
    }
    assert_int_equal(kept, n - from / 3);
    assert_true(kept >= 500);
    stream_tail_free(t);
}

static void large_events_are_bounded_by_their_bytes(void **state)
{
    (void)state;
    struct stream_tail *t = stream_tail_new();
    struct assay_str large = {calloc(1, 100000), 100000};
    for (int64_t i = 1; i <= 200; i++) {
        struct tail_event *e = add(t, i, "a", "b", large);
        assert_non_null(e);
        assay_buf_add(&e->said[VOICE_OWNER], large.p, 50000);
        stream_tail_told(t, e);
    }
    size_t bytes = 0;
    int64_t seq = 0;
    while (!stream_tail_covers(t, seq))
        seq++;
    for (struct tail_event *e; (e = stream_tail_after(t, seq)) != NULL; seq = e->row.seq)
        bytes += e->row.ev.payload.n + e->said[VOICE_OWNER].n;
    assert_int_equal(seq, 200);
    assert_in_range(bytes, 500000, 3 << 20);
    /* one that is larger than all of it is kept alone */
    struct assay_str huge = {calloc(1, 4 << 20), 4 << 20};
    assert_non_null(add(t, 201, "a", "b", huge));
    assert_true(stream_tail_covers(t, 200));
    assert_false(stream_tail_covers(t, 199));
    free((void *)(uintptr_t)huge.p);
    free((void *)(uintptr_t)large.p);
    stream_tail_free(t);
}

static void what_does_not_hold_any_more_is_told_anew(void **state)
{
    (void)state;
    struct stream_tail *t = stream_tail_new();
    static const struct {
        const char *subject, *benchmark;
    } of[] = {{"one", "sums"}, {"two", "sums"}, {"three", "words"}, {"sums", ""}};
    for (int64_t i = 0; i < 4; i++) {
        struct tail_event *e = add(t, i + 1, of[i].subject, of[i].benchmark, ASSAY_STR("{}"));
        e->asked = true;
        tell(t, e);
    }
    stream_tail_forget(t, ASSAY_STR("one"), ASSAY_STR(""));
    static const bool after_one[] = {false, true, true, true}, after_sums[] = {false, false, true, false};
    for (int64_t i = 0; i < 4; i++) {
        assert_int_equal(stream_tail_after(t, i)->said[VOICE_ALL].n != 0, after_one[i]);
        assert_int_equal(stream_tail_after(t, i)->asked, after_one[i]);
    }
    stream_tail_forget(t, ASSAY_STR(""), ASSAY_STR("sums")); /* and the event of its board, whose subject it is */
    for (int64_t i = 0; i < 4; i++) {
        assert_int_equal(stream_tail_after(t, i)->said[VOICE_ALL].n != 0, after_sums[i]);
        assert_int_equal(stream_tail_after(t, i)->asked, after_sums[i]);
    }
    stream_tail_forget(t, ASSAY_STR(""), ASSAY_STR(""));
    assert_int_not_equal(stream_tail_after(t, 2)->said[VOICE_ALL].n, 0);
    stream_tail_forget_all(t);
    for (int64_t i = 0; i < 4; i++)
        assert_int_equal(stream_tail_after(t, i)->said[VOICE_ALL].n, 0);
    stream_tail_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_covered_before_the_first_event),
        cmocka_unit_test(an_event_is_a_copy),
        cmocka_unit_test(the_oldest_go_and_who_is_behind_them_needs_the_log),
        cmocka_unit_test(large_events_are_bounded_by_their_bytes),
        cmocka_unit_test(what_does_not_hold_any_more_is_told_anew),
    };
    return cmocka_run_group_tests_name("stream_tail", tests, NULL, NULL);
}
