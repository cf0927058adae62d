/*
 * Topics: who gets what, the rescan flag, the doorbell, interrupts, and under stress: each item goes
 * to exactly one consumer of a group, and no consumer sleeps beside an item.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include <assay/value.h>

#include "queue/topics.h"

static const char *const all_submissions[] = {"submission.*", NULL};
static const char *const only_done[] = {"submission.done", "user.changed", NULL};
static const char *const everything[] = {"*", NULL};

static bool readable(const struct assay_group *g)
{
    struct pollfd p = {.fd = assay_group_fd(g), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void patterns_match_names_and_prefixes(void **state)
{
    (void)state;
    assert_true(assay_topic_matches("submission.*", ASSAY_STR("submission.done")));
    assert_true(assay_topic_matches("submission.*", ASSAY_STR("submission.")));
    assert_false(assay_topic_matches("submission.*", ASSAY_STR("submission")));
    assert_false(assay_topic_matches("submission.*", ASSAY_STR("submissions.done")));
    assert_true(assay_topic_matches("submission.done", ASSAY_STR("submission.done")));
    assert_false(assay_topic_matches("submission.done", ASSAY_STR("submission.done2")));
    assert_false(assay_topic_matches("submission.done", ASSAY_STR("submission.don")));
    assert_true(assay_topic_matches("*", ASSAY_STR("x")));
    assert_false(assay_topic_matches("submi*", ASSAY_STR("submission"))); /* only whole parts */
    assert_false(assay_topic_matches("", ASSAY_STR("x")));
}

static void each_group_gets_what_it_asked_for(void **state)
{
    (void)state;
    struct assay_topics *t = assay_topics_new(100, NULL);
    struct assay_group *a = NULL, *b = NULL, *c = NULL;
    assert_int_equal(assay_topics_subscribe(t, "a", all_submissions, &a, NULL), 0);
    assert_int_equal(assay_topics_subscribe(t, "b", only_done, &b, NULL), 0);
    struct assay_err err = {0};
    assert_int_equal(assay_topics_subscribe(t, "a", everything, &c, &err), ASSAY_E_CONFLICT);
    assert_string_equal(err.msg, "a consumer group \"a\" exists already");
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("submission.created"), 1), 0);
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("submission.done"), 2), 0);
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("user.changed"), 3), 0);
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("nobody.cares"), 4), 0);
    uint64_t item[8];
    bool rescan = true;
    assert_int_equal(assay_group_take(a, item, 8, &rescan), 2);
    assert_false(rescan);
    assert_int_equal(item[0], 1);
    assert_int_equal(item[1], 2);
    assert_int_equal(assay_group_take(b, item, 1, &rescan), 1);
    assert_int_equal(item[0], 2);
    assert_int_equal(assay_group_take(b, item, 8, &rescan), 1);
    assert_int_equal(item[0], 3);
    assert_int_equal(assay_group_take(b, item, 8, &rescan), 0);
    assert_ptr_equal(assay_topics_group(t, 0), a);
    assert_string_equal(assay_group_name(assay_topics_group(t, 1)), "b");
    assert_null(assay_topics_group(t, 2));
    assay_topics_free(t);
}

static void a_full_ring_says_busy_and_asks_for_a_rescan(void **state)
{
    (void)state;
    struct assay_topics *t = assay_topics_new(4, NULL);
    struct assay_group *slow = NULL, *quick = NULL;
    assert_int_equal(assay_topics_subscribe(t, "slow", everything, &slow, NULL), 0);
    assert_int_equal(assay_topics_subscribe(t, "quick", everything, &quick, NULL), 0);
    uint64_t item[8];
    bool rescan = false;
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(assay_topics_publish(t, ASSAY_STR("x"), i), 0);
        assert_int_equal(assay_group_take(quick, item, 8, &rescan), 1);
    }
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("x"), 4), ASSAY_E_BUSY);
    assert_int_equal(assay_group_take(quick, item, 8, &rescan), 1); /* the others got it all the same */
    assert_int_equal(item[0], 4);
    assert_false(rescan);

    assert_int_equal(assay_group_take(slow, item, 3, &rescan), 3);
    assert_false(rescan); /* not drained yet */
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("x"), 5), 0);
    /* due once what was on the ring at the overflow is gone, though there is more by now */
    assert_int_equal(assay_group_take(slow, item, 1, &rescan), 1);
    assert_int_equal(item[0], 3);
    assert_true(rescan);
    assert_int_equal(assay_group_take(slow, item, 8, &rescan), 1);
    assert_int_equal(item[0], 5);
    assert_false(rescan); /* told once */
    assert_int_equal(assay_group_take(slow, item, 8, &rescan), 0);
    assert_false(rescan);

    struct assay_group_stats st;
    assay_group_stats(slow, &st);
    assert_int_equal(st.refused, 1);
    assert_int_equal(st.rescans, 1);
    assert_int_equal(st.published, 5);
    assert_int_equal(st.taken, 5);
    assert_int_equal(st.depth, 0);
    assert_int_equal(st.size, 4);
    assay_topics_free(t);
}

static void the_bell_is_written_only_for_a_sleeper(void **state)
{
    (void)state;
    struct assay_topics *t = assay_topics_new(64, NULL);
    struct assay_group *g = NULL;
    assert_int_equal(assay_topics_subscribe(t, "g", everything, &g, NULL), 0);
    uint64_t item[64];
    bool rescan = false;
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("x"), 1), 0);
    assert_false(readable(g)); /* nobody has said that it sleeps */
    assert_int_equal(assay_group_take(g, item, 64, &rescan), 1);
    assert_int_equal(assay_group_take(g, item, 64, &rescan), 0);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(assay_topics_publish(t, ASSAY_STR("x"), i), 0);
    assert_true(readable(g));
    struct assay_group_stats st;
    assay_group_stats(g, &st);
    assert_int_equal(st.rings, 1); /* ten items, one ring */
    assert_int_equal(assay_group_take(g, item, 64, &rescan), 10);
    assert_int_equal(assay_group_take(g, item, 64, &rescan), 0);
    assert_false(readable(g));
    assay_topics_free(t);
}

static void waiting_time_is_measured(void **state)
{
    (void)state;
    struct assay_topics *t = assay_topics_new(64, NULL);
    struct assay_group *g = NULL;
    assert_int_equal(assay_topics_subscribe(t, "g", everything, &g, NULL), 0);
    uint64_t item[64];
    bool rescan = false;
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("x"), 1), 0);
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("x"), 2), 0);
    (void)usleep(20000);
    assert_int_equal(assay_group_take(g, item, 64, &rescan), 2);
    struct assay_group_stats st;
    assay_group_stats(g, &st);
    assert_int_equal(st.timed, 1);
    assert_in_range(st.wait_ns, 20000000, 5000000000);
    assert_int_equal(st.wait_ns, st.wait_ns_max);
    assay_topics_free(t);
}

static void a_wait_ends_in_time(void **state)
{
    (void)state;
    struct assay_topics *t = assay_topics_new(64, NULL);
    struct assay_group *g = NULL;
    assert_int_equal(assay_topics_subscribe(t, "g", everything, &g, NULL), 0);
    uint64_t item;
    bool rescan = true;
    int64_t t0 = assay_mono_ns();
    assert_int_equal(assay_group_wait(g, &item, 1, 30, &rescan), 0);
    assert_false(rescan);
    assert_true(assay_mono_ns() - t0 >= 30000000);
    assert_int_equal(assay_group_wait(g, &item, 1, 0, &rescan), 0);
    assay_group_interrupt(g);
    assert_int_equal(assay_group_wait(g, &item, 1, -1, &rescan), 0);
    assert_int_equal(assay_topics_publish(t, ASSAY_STR("x"), 5), 0);
    assert_int_equal(assay_group_wait(g, &item, 1, -1, &rescan), 1);
    assert_int_equal(assay_group_wait(g, &item, 1, -1, &rescan), 0);
    assay_topics_free(t);
}

/* ---- stress ---- */

enum { PRODUCERS = 3, CONSUMERS = 3 };

struct crowd {
    struct assay_topics *t;
    struct assay_group *g;
    int64_t until_ns;
    atomic_uint_fast64_t next; /* item to publish */
    atomic_uint_fast64_t published, refused, taken, sum_in, sum_out, rescans;
};

static void *publisher(void *arg)
{
    struct crowd *c = arg;
    while (assay_mono_ns() < c->until_ns) {
        uint64_t item = atomic_fetch_add(&c->next, 1);
        if (assay_topics_publish(c->t, ASSAY_STR("x"), item) == 0) {
            (void)atomic_fetch_add(&c->published, 1);
            (void)atomic_fetch_add(&c->sum_in, item);
        } else {
            (void)atomic_fetch_add(&c->refused, 1);
            (void)sched_yield();
        }
        if (item % 16 == 0)
            (void)usleep(30); /* let the consumers fall asleep: that is what is under test */
    }
    return NULL;
}

static void *consumer(void *arg)
{
    struct crowd *c = arg;
    uint64_t item[8];
    bool rescan = false;
    for (;;) {
        size_t n = assay_group_wait(c->g, item, 8, -1, &rescan);
        for (size_t i = 0; i < n; i++)
            (void)atomic_fetch_add(&c->sum_out, item[i]);
        (void)atomic_fetch_add(&c->taken, n);
        if (rescan)
            (void)atomic_fetch_add(&c->rescans, 1);
        if (n == 0 && !rescan)
            return NULL; /* interrupted */
    }
}

static void no_item_and_no_wake_up_is_lost(void **state)
{
    (void)state;
    struct crowd c = {.t = assay_topics_new(16, NULL), .until_ns = assay_mono_ns() + 1200000000};
    assert_int_equal(assay_topics_subscribe(c.t, "g", everything, &c.g, NULL), 0);
    pthread_t p[PRODUCERS], q[CONSUMERS];
    for (size_t i = 0; i < CONSUMERS; i++)
        assert_int_equal(pthread_create(&q[i], NULL, consumer, &c), 0);
    for (size_t i = 0; i < PRODUCERS; i++)
        assert_int_equal(pthread_create(&p[i], NULL, publisher, &c), 0);
    for (size_t i = 0; i < PRODUCERS; i++)
        assert_int_equal(pthread_join(p[i], NULL), 0);
    /* Nothing rings from here on, so an item beside sleepers would stay: give them time, then look. */
    for (int i = 0; i < 2000 && atomic_load(&c.taken) != atomic_load(&c.published); i++)
        (void)usleep(1000);
    assert_int_equal(atomic_load(&c.taken), atomic_load(&c.published));
    assert_int_equal(atomic_load(&c.sum_in), atomic_load(&c.sum_out));
    if (atomic_load(&c.refused) > 0)
        assert_true(atomic_load(&c.rescans) > 0);
    assay_group_interrupt(c.g);
    for (size_t i = 0; i < CONSUMERS; i++)
        assert_int_equal(pthread_join(q[i], NULL), 0);
    assay_topics_free(c.t);
}

/* One item at a time between two threads: each hand-over needs its wake-up. */
struct pair {
    struct assay_topics *t;
    struct assay_group *ping, *pong;
    unsigned rounds;
};
static void *echo(void *arg)
{
    struct pair *p = arg;
    uint64_t item;
    bool rescan;
    for (unsigned i = 0; i < p->rounds; i++) {
        if (assay_group_wait(p->ping, &item, 1, 5000, &rescan) != 1)
            return p; /* a lost wake-up */
        if (assay_topics_publish(p->t, ASSAY_STR("pong"), item) != 0)
            return p;
    }
    return NULL;
}
static void ping_pong_never_stalls(void **state)
{
    (void)state;
    static const char *const ping[] = {"ping", NULL}, *const pong[] = {"pong", NULL};
    struct pair p = {.t = assay_topics_new(2, NULL), .rounds = 5000};
    assert_int_equal(assay_topics_subscribe(p.t, "ping", ping, &p.ping, NULL), 0);
    assert_int_equal(assay_topics_subscribe(p.t, "pong", pong, &p.pong, NULL), 0);
    pthread_t th;
    assert_int_equal(pthread_create(&th, NULL, echo, &p), 0);
    uint64_t item;
    bool rescan;
    for (unsigned i = 0; i < p.rounds; i++) {
        assert_int_equal(assay_topics_publish(p.t, ASSAY_STR("ping"), i), 0);
        assert_int_equal(assay_group_wait(p.pong, &item, 1, 5000, &rescan), 1);
        assert_int_equal(item, i);
    }
    void *bad = &p;
    assert_int_equal(pthread_join(th, &bad), 0);
    assert_null(bad);
    assay_topics_free(p.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_names_and_prefixes),
        cmocka_unit_test(each_group_gets_what_it_asked_for),
        cmocka_unit_test(a_full_ring_says_busy_and_asks_for_a_rescan),
        cmocka_unit_test(the_bell_is_written_only_for_a_sleeper),
        cmocka_unit_test(waiting_time_is_measured),
        cmocka_unit_test(a_wait_ends_in_time),
        cmocka_unit_test(no_item_and_no_wake_up_is_lost),
        cmocka_unit_test(ping_pong_never_stalls),
    };
    return cmocka_run_group_tests_name("topics", tests, NULL, NULL);
}
