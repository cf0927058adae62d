/* The rules of agents alone: who may, scopes, tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "local.h"

static const struct agent mine = {.id = {"a", 1}, .owner_id = {"me", 2}};

static struct assay_principal person(uint32_t role, const char *id)
{
    return (struct assay_principal){.authenticated = true, .role = role, .user_id = assay_str(id)};
}

static void owners_and_staff_change_and_tokens_do_not(void **state)
{
    (void)state;
    struct assay_principal owner = person(ASSAY_ROLE_USER, "me"), other = person(ASSAY_ROLE_USER, "you"),
                           staff = person(ASSAY_ROLE_INSTRUCTOR, "you"), nobody = {.authenticated = false};
    struct assay_principal token = owner;
    token.agent_id = ASSAY_STR("a");
    assert_true(agents_may_change(&mine, &owner));
    assert_true(agents_may_change(&mine, &staff));
    assert_false(agents_may_change(&mine, &other));
    assert_false(agents_may_change(&mine, &nobody));
    assert_false(agents_may_change(&mine, &token));
    assert_true(agents_may_report(&mine, &token));
    token.agent_id = ASSAY_STR("b");
    assert_false(agents_may_report(&mine, &token));
}

static void scopes_come_from_the_list(void **state)
{
    (void)state;
    struct assay_principal user = person(ASSAY_ROLE_USER, "me"), admin = person(ASSAY_ROLE_ADMIN, "me");
    assert_null(agents_scope_fault(ASSAY_STR("submissions:write"), &user));
    assert_non_null(agents_scope_fault(ASSAY_STR("jobs:lease"), &user));
    assert_null(agents_scope_fault(ASSAY_STR("jobs:lease"), &admin));
    assert_non_null(agents_scope_fault(ASSAY_STR("submissions:write "), &admin));
    assert_non_null(agents_scope_fault(ASSAY_STR(""), &admin));
    struct assay_arena *a = assay_arena_new(0);
    struct assay_str in[] = {ASSAY_STR("traces:read"), ASSAY_STR("submissions:read"), ASSAY_STR("traces:read")};
    struct assay_strs list = {in, 3};
    assert_true(assay_str_is(agents_scopes_join(a, &list), "submissions:read traces:read"));
    assay_arena_free(a);
}

static void tokens_are_random_and_hashed(void **state)
{
    (void)state;
    char a[AGENTS_TOKEN_SIZE], b[AGENTS_TOKEN_SIZE], ha[ASSAY_SHA256_HEX], hb[ASSAY_SHA256_HEX], again[ASSAY_SHA256_HEX];
    agents_token_make(a, ha);
    agents_token_make(b, hb);
    assert_int_equal(strlen(a), AGENTS_TOKEN_SIZE - 1);
    assert_string_not_equal(a, b);
    assert_string_not_equal(ha, hb);
    assay_sha256_hex(assay_str(a), again);
    assert_string_equal(ha, again);
}

static void texts_are_bounded_and_printable(void **state)
{
    (void)state;
    char text[AGENTS_FAULT_SIZE];
    assert_null(agents_text_fault(ASSAY_STR("a\n\xc3\xa9"), 10, text));
    assert_non_null(agents_text_fault(ASSAY_STR("a\x1b[31m"), 10, text));
    assert_string_equal(agents_text_fault(ASSAY_STR("abc"), 2, text), "must have at most 2 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_and_staff_change_and_tokens_do_not),
        cmocka_unit_test(scopes_come_from_the_list),
        cmocka_unit_test(tokens_are_random_and_hashed),
        cmocka_unit_test(texts_are_bounded_and_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
