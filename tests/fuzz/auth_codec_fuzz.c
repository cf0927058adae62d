/*
 * The bodies of the auth service: the first byte picks the table, the rest is the body.
 *
 * What must hold: refused bodies name a fault; what the rules let through is within them; a refresh token that
 * is taken apart has the one form that is given out.
 */
#include "fuzz.h"
#include "services/auth/local.h"

static bool accepted(const struct assay_json_field *fields, void *in, struct assay_str text, struct assay_arena *a,
                     struct assay_json_faults *f)
{
    struct assay_err err = {0, ""};
    int rc = assay_json_decode(text, fields, in, NULL, a, f, &err);
    FUZZ_CHECK(rc == ASSAY_OK || rc == ASSAY_E_INVALID);
    FUZZ_CHECK((rc == ASSAY_OK) == (f->n == 0));
    for (size_t i = 0; i < f->n; i++)
        FUZZ_CHECK(assay_utf8_valid(f->item[i].detail) && f->item[i].detail.n < 400);
    return rc == ASSAY_OK;
}

static void a_registration(struct assay_str text, struct assay_arena *a, struct assay_json_faults *f)
{
    struct auth_register_in in = {.has_role = false};
    bool ok = accepted(auth_register_fields, &in, text, a, f);
    auth_check_register(&in, f, a);
    if (!ok || f->n != 0)
        return;
    FUZZ_CHECK(in.has_login && in.login.n >= 1 && in.login.n <= AUTH_LOGIN_MAX);
    FUZZ_CHECK(memchr(in.login.p, '@', in.login.n) == NULL);
    FUZZ_CHECK(in.password.n >= AUTH_PASSWORD_MIN && in.password.n <= AUTH_PASSWORD_MAX);
    FUZZ_CHECK(!in.has_email || memchr(in.email.p, '@', in.email.n) != NULL);
    FUZZ_CHECK(!in.has_role || assay_role_parse(in.role) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *a = assay_arena_new((size_t)64 << 20);
    struct assay_json_faults f = {.n = 0};
    if (a == NULL || size == 0) {
        assay_arena_free(a);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1};
    struct auth_login_in login = {.has_login = false};
    struct auth_refresh_in refresh = {.refresh_token = {NULL, 0}};
    struct auth_patch_in patch = {.has_role = false};
    struct auth_password_in password = {.has_current = false};
    switch (data[0] % 6) {
    case 0:
        a_registration(text, a, &f);
        break;
    case 1:
        if (accepted(auth_login_fields, &login, text, a, &f))
            FUZZ_CHECK(login.password.n >= 1 && login.password.n <= AUTH_PASSWORD_MAX);
        break;
    case 2:
        (void)accepted(auth_refresh_fields, &refresh, text, a, &f);
        break;
    case 3:
        (void)accepted(auth_logout_fields, &refresh, text, a, &f);
        break;
    case 4:
        if (accepted(auth_patch_fields, &patch, text, a, &f)) {
            auth_check_patch(&patch, &f, a);
            FUZZ_CHECK(f.n != 0 || !patch.has_role || assay_role_parse(patch.role) != 0);
        }
        break;
    default:
        (void)accepted(auth_password_fields, &password, text, a, &f);
        break;
    }
    struct assay_str family;
    char hash[ASSAY_SHA256_HEX];
    struct assay_str token = refresh.refresh_token.p != NULL ? refresh.refresh_token : text;
    if (auth_refresh_parse(token, &family, hash))
        FUZZ_CHECK(token.n == AUTH_REFRESH_SIZE - 1 && assay_id_valid(family));
    assay_arena_free(a);
    return 0;
}
