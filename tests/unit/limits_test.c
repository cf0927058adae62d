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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
