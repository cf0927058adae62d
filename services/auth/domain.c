#include "local.h"

#include <stdio.h>

static bool alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* '@' is left out so that a login can never look like somebody's address. */
const char *auth_login_fault(struct assay_str login)
{
    if (login.n == 0 || login.n > AUTH_LOGIN_MAX)
        return "must have 1 to 64 characters";
    if (!alnum(login.p[0]))
        return "must begin with a letter or a digit";
    for (size_t i = 0; i < login.n; i++) {
        char c = login.p[i];
        if (!alnum(c) && c != '.' && c != '_' && c != '-' && c != '+')
            return "may hold letters, digits and . _ - + only";
    }
    return NULL;
}

/* Whether an address exists only a message to it can tell; this keeps out what could not be one. */
const char *auth_email_fault(struct assay_str email)
{
    if (email.n < 3 || email.n > AUTH_EMAIL_MAX)
        return "must have 3 to 254 characters";
    const char *at = memchr(email.p, '@', email.n);
    if (at == NULL || at == email.p || at == email.p + email.n - 1 ||
        memchr(at + 1, '@', (size_t)(email.p + email.n - at - 1)) != NULL)
        return "must be an address: name@domain";
    for (size_t i = 0; i < email.n; i++) {
        unsigned char c = (unsigned char)email.p[i];
        if (c <= ' ' || c == 0x7f || strchr("<>()[],;:\\\"", c) != NULL)
            return "must be an address without spaces, quotes or brackets";
    }
    return NULL;
}

const char *auth_name_fault(struct assay_str name)
{
    if (name.n > AUTH_NAME_MAX)
        return "must have at most 128 bytes";
    for (size_t i = 0; i < name.n; i++) {
        if ((unsigned char)name.p[i] < ' ' || name.p[i] == 0x7f)
            return "must not hold control characters";
    }
    return NULL;
}

struct assay_str auth_fold(struct assay_arena *arena, struct assay_str s)
{
    char *p = assay_arena_alloc(arena, s.n + 1);
    if (p == NULL)
        return ASSAY_STR_NULL;
    for (size_t i = 0; i < s.n; i++)
        p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] - 'A' + 'a') : s.p[i];
    return (struct assay_str){p, s.n};
}

bool auth_registration_open(struct assay_str option, struct assay_str app_env)
{
    if (assay_str_is(option, "open"))
        return true;
    return !assay_str_is(option, "closed") && assay_str_is(app_env, "development");
}

#define REFRESH_PREFIX "asr_"

void auth_refresh_make(const char *family, char out[AUTH_REFRESH_SIZE], char hash[ASSAY_SHA256_HEX])
{
    char secret[65];
    assay_random_hex(secret, 32);
    int n = snprintf(out, AUTH_REFRESH_SIZE, REFRESH_PREFIX "%s.%s", family, secret);
    assay_sha256_hex((struct assay_str){out, n > 0 ? (size_t)n : 0}, hash);
}

bool auth_refresh_parse(struct assay_str token, struct assay_str *family, char hash[ASSAY_SHA256_HEX])
{
    const size_t prefix = sizeof REFRESH_PREFIX - 1;
    if (token.n != AUTH_REFRESH_SIZE - 1 || !assay_str_starts(token, REFRESH_PREFIX) || token.p[prefix + 36] != '.')
        return false;
    struct assay_str id = {token.p + prefix, 36};
    if (!assay_id_valid(id))
        return false;
    for (size_t i = prefix + 37; i < token.n; i++) {
        if (!((token.p[i] >= '0' && token.p[i] <= '9') || (token.p[i] >= 'a' && token.p[i] <= 'f')))
            return false;
    }
    *family = id;
    assay_sha256_hex(token, hash);
    return true;
}

bool auth_change_revokes(const struct auth_user *before, const struct auth_user *after)
{
    return before->disabled != after->disabled || !assay_str_eq(before->role, after->role);
}
