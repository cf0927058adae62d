#include "local.h"

#include <stddef.h>

#define HAS(type, member) ((ptrdiff_t)offsetof(struct type, member))

/* Lengths that a person may get wrong are checked by the domain, with a better text than the table's;
 * a password is bounded here too, since hashing a megabyte is work. */
const struct assay_json_field auth_register_fields[] = {
    {.name = "login", .alias = "username", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct auth_register_in, login), .has_offset = HAS(auth_register_in, has_login)},
    {.name = "password", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct auth_register_in, password), .min = AUTH_PASSWORD_MIN, .max = AUTH_PASSWORD_MAX,
     .has_offset = -1},
    {.name = "email", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct auth_register_in, email), .has_offset = HAS(auth_register_in, has_email)},
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct auth_register_in, name), .has_offset = HAS(auth_register_in, has_name)},
    {.name = "role", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct auth_register_in, role), .has_offset = HAS(auth_register_in, has_role)},
    {.name = NULL, .has_offset = -1},
};

const struct assay_json_field auth_login_fields[] = {
    {.name = "login", .alias = "username", .type = ASSAY_JSON_STRING, .offset = offsetof(struct auth_login_in, login),
     .min = 1, .max = AUTH_EMAIL_MAX, .has_offset = HAS(auth_login_in, has_login)},
    {.name = "email", .type = ASSAY_JSON_STRING, .offset = offsetof(struct auth_login_in, email), .min = 1,
     .max = AUTH_EMAIL_MAX, .has_offset = HAS(auth_login_in, has_email)},
    {.name = "user_id", .alias = "userId", .type = ASSAY_JSON_STRING, .offset = offsetof(struct auth_login_in, user_id),
     .min = 1, .max = AUTH_EMAIL_MAX, .has_offset = HAS(auth_login_in, has_user_id)},
    {.name = "password", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct auth_login_in, password), .min = 1, .max = AUTH_PASSWORD_MAX, .has_offset = -1},
    {.name = NULL, .has_offset = -1},
};

const struct assay_json_field auth_refresh_fields[] = {
    {.name = "refresh_token", .alias = "refreshToken", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct auth_refresh_in, refresh_token), .min = 1, .max = 512, .has_offset = -1},
    {.name = NULL, .has_offset = -1},
};

const struct assay_json_field auth_logout_fields[] = {
    {.name = "refresh_token", .alias = "refreshToken", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct auth_refresh_in, refresh_token), .min = 1, .max = 512, .has_offset = -1},
    {.name = NULL, .has_offset = -1},
};

const struct assay_json_field auth_link_fields[] = {
    {.name = "email", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct auth_link_in, email), .min = 1,
     .max = AUTH_EMAIL_MAX, .has_offset = -1},
    {.name = NULL, .has_offset = -1},
};

const struct assay_json_field auth_link_use_fields[] = {
    {.name = "token", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct auth_link_use_in, token), .min = 1,
     .max = 128, .has_offset = -1},
    {.name = NULL, .has_offset = -1},
};

const struct assay_json_field auth_patch_fields[] = {
    {.name = "role", .type = ASSAY_JSON_STRING, .offset = offsetof(struct auth_patch_in, role),
     .has_offset = HAS(auth_patch_in, has_role)},
    {.name = "disabled", .type = ASSAY_JSON_BOOL, .offset = offsetof(struct auth_patch_in, disabled),
     .has_offset = HAS(auth_patch_in, has_disabled)},
    {.name = "email", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_CLEARABLE,
     .offset = offsetof(struct auth_patch_in, email), .has_offset = HAS(auth_patch_in, has_email)},
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_CLEARABLE,
     .offset = offsetof(struct auth_patch_in, name), .has_offset = HAS(auth_patch_in, has_name)},
    {.name = NULL, .has_offset = -1},
};

const struct assay_json_field auth_password_fields[] = {
    {.name = "current_password", .alias = "currentPassword", .type = ASSAY_JSON_STRING,
     .offset = offsetof(struct auth_password_in, current_password), .min = 1, .max = AUTH_PASSWORD_MAX,
     .has_offset = HAS(auth_password_in, has_current)},
    {.name = "password", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct auth_password_in, password), .min = AUTH_PASSWORD_MIN, .max = AUTH_PASSWORD_MAX,
     .has_offset = -1},
    {.name = NULL, .has_offset = -1},
};

const struct assay_json_field auth_erase_fields[] = {
    {.name = "password", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct auth_erase_in, password), .min = 1,
     .max = AUTH_PASSWORD_MAX, .has_offset = -1},
    {.name = NULL, .has_offset = -1},
};

static void check(struct assay_json_faults *f, struct assay_arena *a, const char *pointer, const char *fault)
{
    if (fault != NULL)
        assay_json_fault(f, a, pointer, "%s", fault);
}

static void check_role(struct assay_json_faults *f, struct assay_arena *a, struct assay_str role)
{
    if (assay_role_parse(role) == 0)
        assay_json_fault(f, a, "/role", "must be one of \"admin\", \"instructor\", \"user\", \"agent\", \"viewer\"");
}

void auth_check_register(const struct auth_register_in *in, struct assay_json_faults *f, struct assay_arena *a)
{
    if (in->has_login)
        check(f, a, "/login", auth_login_fault(in->login));
    if (in->has_email)
        check(f, a, "/email", auth_email_fault(in->email));
    if (in->has_name)
        check(f, a, "/name", auth_name_fault(in->name));
    if (in->has_role)
        check_role(f, a, in->role);
}

void auth_check_patch(const struct auth_patch_in *in, struct assay_json_faults *f, struct assay_arena *a)
{
    if (in->has_email && in->email.p != NULL)
        check(f, a, "/email", auth_email_fault(in->email));
    if (in->has_name)
        check(f, a, "/name", auth_name_fault(in->name));
    if (in->has_role)
        check_role(f, a, in->role);
}

void auth_write_brief(struct assay_jw *w, const struct auth_user *u)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", u->id);
    assay_jw_kstr(w, "login", u->login);
    assay_jw_kstr(w, "role", u->role);
    assay_jw_end(w);
}

void auth_write_user(struct assay_jw *w, const struct auth_user *u)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", u->id);
    assay_jw_kstr(w, "login", u->login);
    assay_jw_key(w, "email");
    if (u->email.n != 0)
        assay_jw_str(w, u->email);
    else
        assay_jw_null(w);
    assay_jw_kstr(w, "name", u->name);
    assay_jw_kstr(w, "role", u->role);
    assay_jw_kbool(w, "disabled", u->disabled);
    assay_jw_ktime(w, "created_at", u->created_ms);
    assay_jw_ktime(w, "updated_at", u->updated_ms);
    assay_jw_end(w);
}

void auth_write_session(struct assay_jw *w, const struct assay_val *row)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", row[0].s);
    assay_jw_ktime(w, "created_at", row[1].i);
    assay_jw_ktime(w, "used_at", row[2].i);
    assay_jw_ktime(w, "expires_at", row[3].i);
    assay_jw_end(w);
}

void auth_write_tokens(struct assay_jw *w, const struct auth_tokens_out *t)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "token", t->access); /* the older name */
    assay_jw_kstr(w, "access_token", t->access);
    assay_jw_kstr(w, "refresh_token", t->refresh);
    assay_jw_kint(w, "expires_in", t->expires_in_s);
    assay_jw_kz(w, "token_type", "Bearer");
    assay_jw_key(w, "user");
    auth_write_brief(w, t->user);
    assay_jw_end(w);
}
