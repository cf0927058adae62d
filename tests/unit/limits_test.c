/* Rate limits: rules are read or refused with a reason; counts, windows and waits are exact; memory is bounded. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/limits.h"

#define S INT64_C(1000000000)

static const struct assay_route row[] = {
    {.method = ASSAY_POST, .path = "/register", .operation_id = "register"},
    {.method = ASSAY_POST, .path = "/submissions", .operation_id = "submissions_create"},
    {.method = ASSAY_GET, .path = "/healthz", .operation_id = "health_live"},
};
static const struct assay_bound_route routes[] = {{&row[0], NULL, "auth"}, {&row[1], NULL, "submissions"}, {&row[2], NULL, "core"}};
#define REGISTER (&row[0])
#define SUBMIT (&row[1])
#define HEALTH (&row[2])

static struct assay_limits *limits(const char *rules, const char *exempt)
{
    struct assay_limits *l = NULL;
    struct assay_err err = {0};
    if (assay_limits_new(rules, exempt, routes, 3, &l, &err) != 0)
        fail_msg("%s: %s", rules, err.msg);
    return l;
}

static bool take(struct assay_limits *l, enum assay_limit_subject subject, const char *who, const struct assay_route *route, int64_t now,
                 struct assay_limit_state *st)
{
    *st = (struct assay_limit_state){.n = 0};
    return assay_limits_take(l, subject, assay_str(who), route, now, st);
}

static void no_rules_are_no_limits(void **state)
{
    (void)state;
    assert_null(limits("", ""));
    assert_null(limits("  ", "127.0.0.0/8"));
}

static void a_wrong_rule_is_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"account", "no rule"}, {"account=5", "no rule"}, {"account=0/1m", "no rule"}, {"account=5/m", "no rule"}, {"account=5/1y", "no rule"},
        {"account=-5/1m", "no rule"}, {"account=5/0s", "no rule"}, {"account=5/400d", "no rule"}, {"account=2000000000/1s", "no rule"},
        {"everybody=5/1m", "nobody to count"}, {"=5/1m", "nobody to count"}, {"account:fly=5/1m", "no route has"},
        {"account=5/1m,account=6/1m", "twice"}, {"address=1/1m, account=5", "account=5"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct assay_limits *l = NULL;
        struct assay_err err = {0};
        assert_int_equal(assay_limits_new(bad[i][0], "", routes, 3, &l, &err), ASSAY_E_CONFIG);
        assert_null(l);
        if (strstr(err.msg, bad[i][1]) == NULL)
            fail_msg("%s: %s", bad[i][0], err.msg);
    }
    struct assay_limits *l = NULL;
    struct assay_err err = {0};
    assert_int_equal(assay_limits_new("account=1/1s", "nowhere", routes, 3, &l, &err), ASSAY_E_CONFIG);
    /* more rules than a request has room for */
    assert_int_equal(assay_limits_new("account=1/1s,account=1/2s,account=1/3s,account=1/4s,account=1/5s,account=1/6s,account=1/7s,"
                                      "account=1/8s,account=1/9s,account=1/10s,account=1/11s,account=1/12s,account:register=1/1s",
                                      "", routes, 3, &l, &err), ASSAY_E_CONFIG);
    assert_non_null(strstr(err.msg, "13 rules count register"));
}

static void a_count_may_come_at_once_and_then_one_by_one(void **state)
{
    (void)state;
    struct assay_limits *l = limits("account=6/1m", "");
    struct assay_limit_state st;
    for (unsigned i = 0; i < 6; i++) {
        assert_true(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st));
        assert_int_equal(st.hit[0].left, 5 - i);
        assert_int_equal(st.hit[0].full_s, 10 * (i + 1));
        assert_int_equal(st.retry_s, 0);
    }
    assert_false(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st));
    assert_int_equal(st.retry_s, 10);
    assert_int_equal(st.hit[0].left, 0);
    /* a refusal costs nothing: after the time that was told it works */
    assert_false(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, 11 * S - 1, &st));
    assert_true(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, 11 * S, &st));
    assert_false(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, 11 * S, &st));
    /* others are others, and after a whole window all are there again */
    assert_true(take(l, ASSAY_LIMIT_ACCOUNT, "bob", SUBMIT, 11 * S, &st));
    assert_true(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, 100 * S, &st));
    assert_int_equal(st.hit[0].left, 5);
    uint64_t refused;
    assert_string_equal(assay_limits_rule(l, 0, &refused), "account/1m");
    assert_int_equal(refused, 3);
    assert_null(assay_limits_rule(l, 1, &refused));
    assay_limits_free(l);
}

static void rules_count_whom_and_what_they_name(void **state)
{
    (void)state;
    struct assay_limits *l = limits("account:register=1/1h, agent=2/1h,address=1/1d", "10.0.0.0/8");
    struct assay_limit_state st;
    assert_true(take(l, ASSAY_LIMIT_ACCOUNT, "ada", REGISTER, S, &st));
    assert_false(take(l, ASSAY_LIMIT_ACCOUNT, "ada", REGISTER, S, &st));
    assert_true(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st));
    assert_int_equal(st.n, 0);
    assert_true(take(l, ASSAY_LIMIT_AGENT, "ada", REGISTER, S, &st)); /* an agent of the same name is somebody else */
    assert_true(take(l, ASSAY_LIMIT_AGENT, "", REGISTER, S, &st));
    assert_int_equal(st.n, 0);
    assert_true(take(l, ASSAY_LIMIT_ADDRESS, "10.1.2.3", SUBMIT, S, &st)); /* exempt */
    assert_int_equal(st.n, 0);
    assert_true(take(l, ASSAY_LIMIT_ADDRESS, "192.0.2.1", SUBMIT, S, &st));
    assert_false(take(l, ASSAY_LIMIT_ADDRESS, "192.0.2.1", SUBMIT, S, &st));
    assert_true(take(l, ASSAY_LIMIT_ADDRESS, "192.0.2.1", HEALTH, S, &st)); /* probes are answered */
    assay_limits_free(l);
}

static void a_network_of_ipv6_is_one_address(void **state)
{
    (void)state;
    struct assay_limits *l = limits("address=2/1m", "");
    struct assay_limit_state st;
    assert_true(take(l, ASSAY_LIMIT_ADDRESS, "2001:db8:1:2::1", SUBMIT, S, &st));
    assert_true(take(l, ASSAY_LIMIT_ADDRESS, "2001:db8:1:2:ffff::2", SUBMIT, S, &st));
    assert_false(take(l, ASSAY_LIMIT_ADDRESS, "2001:db8:1:2::3", SUBMIT, S, &st));
    assert_true(take(l, ASSAY_LIMIT_ADDRESS, "2001:db8:1:3::3", SUBMIT, S, &st));
    assert_true(take(l, ASSAY_LIMIT_ADDRESS, "::ffff:192.0.2.1", SUBMIT, S, &st));
    assert_true(take(l, ASSAY_LIMIT_ADDRESS, "::ffff:192.0.2.2", SUBMIT, S, &st));
    assert_int_equal(st.hit[0].left, 1);
    assay_limits_free(l);
}

static void what_is_left_is_told(void **state)
{
    (void)state;
    struct assay_limits *l = limits("account=10/1m,account:submissions_create=100/24h", "");
    struct assay_limit_state st;
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    assert_true(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st));
    assay_limits_headers(l, &st, &out);
    assay_buf_puts(&out, "");
    assert_int_equal(out.n, strlen("RateLimit-Policy: \"account/1m\";q=10;w=60, \"account:submissions_create/24h\";q=100;w=86400\r\n"
                                   "RateLimit: \"account/1m\";r=9;t=6, \"account:submissions_create/24h\";r=99;t=864\r\n"));
    assert_memory_equal(out.p, "RateLimit-Policy: \"account/1m\";q=10;w=60, \"account:submissions_create/24h\";q=100;w=86400\r\n"
                               "RateLimit: \"account/1m\";r=9;t=6, \"account:submissions_create/24h\";r=99;t=864\r\n", out.n);
    assay_limits_free(l);
}

/* A flood of made-up addresses is counted in the same memory, and forgets nobody who asks more than they do. */
static void a_flood_does_not_forget_whom_it_hides(void **state)
{
    (void)state;
    struct assay_limits *l = limits("address=100/1h", "");
    struct assay_limit_state st;
    char name[32];
    for (int i = 0; i < 100; i++)
        assert_true(take(l, ASSAY_LIMIT_ADDRESS, "192.0.2.1", SUBMIT, S, &st));
    for (unsigned i = 0; i < 500000; i++) {
        (void)snprintf(name, sizeof name, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        assert_true(take(l, ASSAY_LIMIT_ADDRESS, name, SUBMIT, 2 * S, &st));
    }
    assert_false(take(l, ASSAY_LIMIT_ADDRESS, "192.0.2.1", SUBMIT, 2 * S, &st));
    assay_limits_free(l);
}

/* The count that gateways share, as a driver keeps it. */
static int64_t shared_ns;
static void exchange(struct assay_limits *l, int64_t now)
{
    struct assay_limit_due due[8];
    size_t n = assay_limits_due(l, now, due, 8);
    for (size_t i = 0; i < n; i++) {
        if (shared_ns < now + due[i].least_ns)
            shared_ns = now + due[i].least_ns;
        shared_ns += due[i].add_ns;
        if (shared_ns > now + due[i].most_ns)
            shared_ns = now + due[i].most_ns;
        assay_limits_learn(l, &due[i], now, 0, shared_ns - now);
    }
}

static void count_noted(void *arg)
{
    ++*(int *)arg;
}

static int passes(struct assay_limits *l, int tries, int64_t now)
{
    struct assay_limit_state st;
    int passed = 0;
    for (int i = 0; i < tries; i++)
        passed += take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, now, &st);
    return passed;
}

static void gateways_share_one_budget(void **state)
{
    (void)state;
    struct assay_limits *a = limits("account=6/1m", ""), *b = limits("account=6/1m", "");
    struct assay_limit_state st;
    int noted = 0;
    shared_ns = 0;
    assay_limits_share(a, count_noted, &noted);
    assay_limits_share(b, count_noted, &noted);
    assert_int_equal(passes(a, 4, S), 4);
    assert_int_equal(noted, 1); /* once for one exchange */
    exchange(a, S);
    assert_true(take(b, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st)); /* b does not know yet */
    assert_int_equal(st.hit[0].left, 5);
    exchange(b, S);
    assert_true(take(b, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st)); /* the sixth of all */
    assert_int_equal(st.hit[0].left, 0);
    assert_false(take(b, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st));
    assert_int_equal(st.retry_s, 10);
    exchange(b, S);
    /* a has seen four: what passes there beyond the rule is owed by all */
    assert_int_equal(passes(a, 4, S), 2);
    exchange(a, S);
    assert_false(take(a, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S + 29 * S, &st));
    assert_int_equal(st.retry_s, 1);
    assert_int_equal(passes(a, 4, S + 30 * S), 1);
    exchange(a, S + 30 * S);
    /* whoever is not asked any more has it all again, at every gateway */
    assert_int_equal(passes(b, 9, 200 * S), 6);
    assert_int_equal(noted, 6);
    assay_limits_free(a);
    assay_limits_free(b);
}

static void debt_is_bounded(void **state)
{
    (void)state;
    struct assay_limits *l[8];
    struct assay_limit_state st;
    int noted = 0;
    shared_ns = 0;
    for (size_t i = 0; i < 8; i++) {
        l[i] = limits("account=6/1m", "");
        assay_limits_share(l[i], count_noted, &noted);
        assert_int_equal(passes(l[i], 20, S), 6);
    }
    for (size_t i = 0; i < 8; i++)
        exchange(l[i], S);
    assert_int_equal(shared_ns, S + 120 * S); /* two windows, not eight */
    assert_false(take(l[7], ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st));
    assert_int_equal(st.retry_s, 70);
    assert_int_equal(st.hit[0].left, 0);
    for (size_t i = 0; i < 8; i++)
        assay_limits_free(l[i]);
}

/* While the shared count is away each has its part; what passed then is told to a count that has forgotten, and not charged twice. */
static void alone_each_has_its_part_and_knows_it_afterwards(void **state)
{
    (void)state;
    struct assay_limits *l = limits("account=6/1m, agent=2/1m", "");
    struct assay_limit_state st;
    struct assay_limit_due due[8];
    int noted = 0;
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    shared_ns = 0;
    assay_limits_gateways(l, 3);
    assay_limits_share(l, count_noted, &noted);
    assert_int_equal(passes(l, 1, S), 1);
    exchange(l, S);
    assay_limits_alone(l, true);
    assert_true(take(l, ASSAY_LIMIT_ACCOUNT, "ada", SUBMIT, S, &st));
    assay_limits_headers(l, &st, &out);
    assert_non_null(memmem(out.p, out.n, "\"account/1m\";q=2;w=60", 21));
    assert_int_equal(passes(l, 9, S), 0); /* a sixth, and a half: the other half would be too much */
    assert_int_equal(passes(l, 9, 11 * S), 1);
    assert_true(take(l, ASSAY_LIMIT_AGENT, "bot", SUBMIT, S, &st)); /* of two, a third: still one */
    assert_false(take(l, ASSAY_LIMIT_AGENT, "bot", SUBMIT, S, &st));
    (void)assay_limits_due(l, 11 * S, due, 8); /* which nobody answered */
    shared_ns = 0;
    assay_limits_alone(l, false);
    assert_int_equal(passes(l, 1, 41 * S), 1);
    exchange(l, 41 * S); /* it knows of one, and we of more */
    assert_int_equal(shared_ns, 51 * S);
    exchange(l, 41 * S);
    assert_int_equal(shared_ns, 81 * S);
    exchange(l, 41 * S);
    assert_int_equal(shared_ns, 81 * S);
    assay_limits_free(l);
}

static void what_finds_no_room_in_the_list_is_brought_later(void **state)
{
    (void)state;
    enum { MANY = 6000 };
    struct assay_limits *l = limits("address=100/1h", "");
    struct assay_limit_state st;
    static struct assay_limit_due due[128];
    int noted = 0;
    char name[32];
    assay_limits_share(l, count_noted, &noted);
    int64_t sum = 0;
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MANY; i++) { /* backwards the second time, so that the ones that found no room come first */
            unsigned who = round == 0 ? i : MANY - 1 - i;
            (void)snprintf(name, sizeof name, "10.0.%u.%u", who >> 8, who & 255);
            assert_true(take(l, ASSAY_LIMIT_ADDRESS, name, SUBMIT, S, &st));
        }
        for (size_t n; (n = assay_limits_due(l, S, due, 128)) != 0;)
            for (size_t i = 0; i < n; i++)
                sum += due[i].add_ns / (36 * S);
        int64_t all = round == 0 ? 4096 : 2 * MANY - (MANY - 4096);
        assert_true(sum <= all && sum > all - 40); /* a set that is full makes room at somebody's cost */
    }
    assert_int_equal(noted, 2);
    assay_limits_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_rules_are_no_limits),
        cmocka_unit_test(a_wrong_rule_is_named),
        cmocka_unit_test(a_count_may_come_at_once_and_then_one_by_one),
        cmocka_unit_test(rules_count_whom_and_what_they_name),
        cmocka_unit_test(a_network_of_ipv6_is_one_address),
        cmocka_unit_test(what_is_left_is_told),
        cmocka_unit_test(a_flood_does_not_forget_whom_it_hides),
        cmocka_unit_test(gateways_share_one_budget),
        cmocka_unit_test(debt_is_bounded),
        cmocka_unit_test(alone_each_has_its_part_and_knows_it_afterwards),
        cmocka_unit_test(what_finds_no_room_in_the_list_is_brought_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
