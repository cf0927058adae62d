/* Webhooks without a network: which addresses may be called, how long pauses are, what a signature is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "local.h"

static bool allowed(const char *networks, const char *address)
{
    struct wh_networks n;
    unsigned char at[16];
    assert_int_equal(wh_networks_parse(networks, &n, NULL), 0);
    assert_true(wh_address_parse(address, at));
    return wh_address_allowed(&n, at);
}

static void only_public_addresses_are_called(void **state)
{
    (void)state;
    static const char *const public[] = {"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
                                         "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
                                         "2606:4700::1111", "2a00::1", "2003::1", "2001:4860:4860::8888"};
    static const char *const not_public[] = {"0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.255",
                                             "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.0",
                                             "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.1.2.3",
                                             "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1",
                                             "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "4000::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1",
                                             "ff02::1"};
    for (size_t i = 0; i < sizeof public / sizeof public[0]; i++)
        if (!allowed("", public[i]))
            fail_msg("%s is refused", public[i]);
    for (size_t i = 0; i < sizeof not_public / sizeof not_public[0]; i++)
        if (allowed("", not_public[i]))
            fail_msg("%s is called", not_public[i]);
}

static void what_is_named_is_called_too(void **state)
{
    (void)state;
    assert_true(allowed("10.0.0.0/8, ::1", "10.9.8.7"));
    assert_true(allowed("10.0.0.0/8, ::1", "::ffff:10.9.8.7"));
    assert_true(allowed("10.0.0.0/8, ::1", "::1"));
    assert_false(allowed("10.0.0.0/8, ::1", "::2"));
    assert_false(allowed("10.0.0.0/9", "10.128.0.1"));
    assert_true(allowed("10.0.0.0/9", "10.127.255.255"));
    assert_true(allowed("fd00::/8", "fd12::1"));
    assert_true(allowed("127.0.0.1", "127.0.0.1"));
    assert_false(allowed("127.0.0.1", "127.0.0.2"));
    static const char *const wrong[] = {"10.0.0.0/33", "10.0.0", "10.0.0.0/", "localhost", "::1/129", "10.0.0.0/8;::1", "/8", "1.2.3.4/-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct wh_networks n;
        struct assay_err err = {0, ""};
        assert_int_equal(wh_networks_parse(wrong[i], &n, &err), ASSAY_E_CONFIG);
        assert_non_null(strstr(err.msg, "webhook_allow"));
    }
}

static void pauses_grow_up_to_their_bound(void **state)
{
    (void)state;
    static const int64_t want[] = {5000, 20000, 80000, 320000, 1280000, 5120000, 20480000, 21600000, 21600000};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_int_equal(wh_pause_ms((int64_t)i + 1, 5000, 21600000), want[i]);
    assert_int_equal(wh_pause_ms(100, 3600000, (int64_t)7 * 86400000), (int64_t)7 * 86400000);
    assert_int_equal(wh_pause_ms(1, 5000, 100), 100);
}

/* The example of the specification's reference libraries (Standard Webhooks 1.0). */
static void signatures_are_those_of_standard_webhooks(void **state)
{
    (void)state;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf secret = ASSAY_BUF_INIT;
    assert_int_equal(wh_sign(ASSAY_STR("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                             ASSAY_STR("{\"test\": 2432232314}"), &b, NULL), 0);
    assert_string_equal(b.p, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_int_equal(wh_sign(ASSAY_STR("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "m", 1, ASSAY_STR("{}"), &b, NULL), ASSAY_E_CORRUPT);
    assert_int_equal(wh_sign(ASSAY_STR("whsec_no base64"), "m", 1, ASSAY_STR("{}"), &b, NULL), ASSAY_E_INVALID);
    assert_int_equal(wh_secret_make(&secret, NULL), 0);
    assert_int_equal(secret.n, 6 + 44);
    assay_buf_reset(&b);
    assert_int_equal(wh_sign(assay_buf_view(&secret), "m", 1, ASSAY_STR("{}"), &b, NULL), 0);
}

static void events_are_kept_once_each_and_by_their_names(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct assay_str some[] = {ASSAY_STR("board.updated"), ASSAY_STR("submission.done"), ASSAY_STR("board.updated")};
    struct assay_strs list = {some, 3};
    assert_string_equal(wh_events_text(a, &list).p, " submission.done board.updated ");
    assert_string_equal(wh_type_of(ASSAY_STR("submission.created")), "submission.queued");
    assert_string_equal(wh_type_of(ASSAY_STR("leaderboard.updated")), "board.updated");
    assert_null(wh_type_of(ASSAY_STR("submission.test")));
    assert_null(wh_type_of(ASSAY_STR("benchmark.changed")));
}

static void what_is_sent_holds_a_verdict_only_as_a_whole(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct assay_event_row ev = {.seq = 7, .at_ms = 1700000000123, .id = "0190a5b2-0000-7000-8000-000000000001",
                                 .ev = {.topic = ASSAY_STR("submission.done"), .subject = ASSAY_STR("s-1"), .benchmark = ASSAY_STR("b-1")}};
    struct assay_ev_done done = {.problem_id = ASSAY_STR("p"), .agent_id = ASSAY_STR("ada"), .verdict = ASSAY_STR("WA"), .score = 25};
    struct assay_str text;
    assert_int_equal(wh_body(&ev, "submission.done", &done, true, a, &text, NULL), 0);
    assert_string_equal(text.p, "{\"type\":\"submission.done\",\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"data\":{\"event_id\":"
                                "\"0190a5b2-0000-7000-8000-000000000001\",\"submission_id\":\"s-1\",\"benchmark_id\":\"b-1\",\"status\":\"done\","
                                "\"problem_id\":\"p\",\"agent_id\":\"ada\",\"verdict\":\"WA\",\"score\":25.0}}");
    assert_int_equal(wh_body(&ev, "submission.done", &done, false, a, &text, NULL), 0);
    assert_null(strstr(text.p, "verdict"));
    assert_null(strstr(text.p, "score"));
    done.verdict = ASSAY_STR("IE");
    assert_int_equal(wh_body(&ev, "submission.done", &done, true, a, &text, NULL), 0);
    assert_non_null(strstr(text.p, "\"status\":\"error\""));
    assert_null(strstr(text.p, "score"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_public_addresses_are_called),
        cmocka_unit_test(what_is_named_is_called_too),
        cmocka_unit_test(pauses_grow_up_to_their_bound),
        cmocka_unit_test(signatures_are_those_of_standard_webhooks),
        cmocka_unit_test(events_are_kept_once_each_and_by_their_names),
        cmocka_unit_test(what_is_sent_holds_a_verdict_only_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
