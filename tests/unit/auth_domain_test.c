/* The rules of auth alone: names, refresh tokens, the throttle, the codec's tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "local.h"

static void logins_and_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "Ada", "x.y_z-1+2", "0"};
    static const char *const bad[] = {"", ".a", "a b", "a@b", "\xc3\xa9", "a/b",
                                      "0123456789012345678901234567890123456789012345678901234567890123x"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_null(auth_login_fault(assay_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_non_null(auth_login_fault(assay_str(bad[i])));
    assert_null(auth_email_fault(ASSAY_STR("a@b")));
    assert_null(auth_email_fault(ASSAY_STR("ada+x@example.org")));
    assert_non_null(auth_email_fault(ASSAY_STR("a@")));
    assert_non_null(auth_email_fault(ASSAY_STR("@bb")));
    assert_non_null(auth_email_fault(ASSAY_STR("a@b@c")));
    assert_non_null(auth_email_fault(ASSAY_STR("a b@c")));
    assert_non_null(auth_email_fault(ASSAY_STR("a\r\nx@c")));
    assert_non_null(auth_name_fault(ASSAY_STR("a\nb")));
    assert_null(auth_name_fault(ASSAY_STR("Ad\xc3\xa9le")));
}

static void registration_follows_the_option_then_the_environment(void **state)
{
    (void)state;
    assert_true(auth_registration_open(ASSAY_STR("auto"), ASSAY_STR("development")));
    assert_false(auth_registration_open(ASSAY_STR("auto"), ASSAY_STR("production")));
    assert_false(auth_registration_open(ASSAY_STR("auto"), ASSAY_STR("")));
    assert_true(auth_registration_open(ASSAY_STR("open"), ASSAY_STR("production")));
    assert_false(auth_registration_open(ASSAY_STR("closed"), ASSAY_STR("development")));
}

static void refresh_tokens_come_apart_as_they_were_made(void **state)
{
    (void)state;
    char id[ASSAY_ID_SIZE], token[AUTH_REFRESH_SIZE], made[ASSAY_SHA256_HEX], seen[ASSAY_SHA256_HEX];
    struct assay_str family;
    assay_id_new(id);
    auth_refresh_make(id, token, made);
    assert_true(auth_refresh_parse(assay_str(token), &family, seen));
    assert_true(assay_str_is(family, id));
    assert_string_equal(made, seen);
    token[50] = 'G';
    assert_false(auth_refresh_parse(assay_str(token), &family, seen));
    assert_false(auth_refresh_parse(ASSAY_STR(""), &family, seen));
    assert_false(auth_refresh_parse((struct assay_str){token, 20}, &family, seen));
}

static void the_throttle_refuses_the_eleventh_and_forgives_with_time(void **state)
{
    (void)state;
    struct auth_throttle *t = auth_throttle_new();
    struct assay_str a = ASSAY_STR("ada"), here = ASSAY_STR("h"), there = ASSAY_STR("t");
    int64_t now = 1000000;
    for (int i = 0; i < 10; i++)
        assert_int_equal(auth_throttle_take(t, a, here, now), 0);
    assert_int_equal(auth_throttle_take(t, a, here, now), 6000);
    assert_int_equal(auth_throttle_take(t, a, there, now), 0);
    assert_int_equal(auth_throttle_take(t, ASSAY_STR("bob"), here, now), 0);
    assert_int_equal(auth_throttle_take(t, a, here, now + 5999), 1);
    assert_int_equal(auth_throttle_take(t, a, here, now + 6000), 0);
    assert_int_not_equal(auth_throttle_take(t, a, here, now + 6000), 0);
    auth_throttle_give(t, a, here, true);
    assert_int_equal(auth_throttle_take(t, a, here, now + 6000), 0);
    auth_throttle_free(t);
}

static void the_throttle_counts_a_network_of_ipv6_as_one_address(void **state)
{
    (void)state;
    struct auth_throttle *t = auth_throttle_new();
    char from[64];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(from, sizeof from, "2001:db8:1:2:%x::%x", i, i + 7);
        assert_int_equal(auth_throttle_take(t, ASSAY_STR("ada"), assay_str(from), 5000), 0);
    }
    assert_int_equal(auth_throttle_take(t, ASSAY_STR("ada"), ASSAY_STR("2001:db8:1:2::ffff"), 5000), 6000);
    assert_int_equal(auth_throttle_take(t, ASSAY_STR("ada"), ASSAY_STR("2001:db8:1:3::1"), 5000), 0);
    assert_int_equal(auth_throttle_take(t, ASSAY_STR("ada"), ASSAY_STR("::ffff:192.0.2.1"), 5000), 0);
    auth_throttle_free(t);
}

static void the_throttle_bounds_an_address_and_its_own_memory(void **state)
{
    (void)state;
    struct auth_throttle *t = auth_throttle_new();
    int taken = 0;
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        taken += auth_throttle_take(t, assay_str(name), ASSAY_STR("h"), 5000) == 0;
    }
    assert_int_equal(taken, 120);
    for (int i = 0; i < 50000; i++) {
        char name[16], from[16];
        snprintf(name, sizeof name, "n%d", i);
        snprintf(from, sizeof from, "a%d", i);
        assert_int_equal(auth_throttle_take(t, assay_str(name), assay_str(from), 5000), 0);
    }
    auth_throttle_free(t);
}

static void null_clears_only_what_may_be_empty(void **state)
{
    (void)state;
    struct assay_arena *a = assay_arena_new(0);
    struct auth_patch_in in = {.has_role = false};
    struct assay_json_faults f = {.n = 0};
    assert_int_equal(assay_json_decode(ASSAY_STR("{\"email\":null}"), auth_patch_fields, &in, NULL, a, &f, NULL), 0);
    assert_true(in.has_email && in.email.p == NULL);
    assert_int_equal(assay_json_decode(ASSAY_STR("{\"role\":null}"), auth_patch_fields, &in, NULL, a, &f, NULL),
                     ASSAY_E_INVALID);
    assay_arena_free(a);
}

static void a_change_of_role_or_life_revokes_tokens(void **state)
{
    (void)state;
    const struct auth_user before = {.role = ASSAY_STR("admin"), .name = ASSAY_STR("A")};
    struct auth_user after = before;
    assert_false(auth_change_revokes(&before, &after));
    after.name = ASSAY_STR("B");
    assert_false(auth_change_revokes(&before, &after));
    after.role = ASSAY_STR("user");
    assert_true(auth_change_revokes(&before, &after));
    after = before;
    after.disabled = true;
    assert_true(auth_change_revokes(&before, &after));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_of_role_or_life_revokes_tokens),
        cmocka_unit_test(logins_and_addresses),
        cmocka_unit_test(registration_follows_the_option_then_the_environment),
        cmocka_unit_test(refresh_tokens_come_apart_as_they_were_made),
        cmocka_unit_test(the_throttle_refuses_the_eleventh_and_forgives_with_time),
        cmocka_unit_test(the_throttle_counts_a_network_of_ipv6_as_one_address),
        cmocka_unit_test(the_throttle_bounds_an_address_and_its_own_memory),
        cmocka_unit_test(null_clears_only_what_may_be_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
