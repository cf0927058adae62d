/*
 * The bodies of the agents service: the first byte picks table and caller, the rest is the body.
 *
 * What must hold: refused bodies name a fault; scopes that pass the rules come from the list, and the powerful
 * ones only with staff; what is stored is written back whole.
 */
#include "fuzz.h"
#include "services/agents/local.h"

static bool accepted(const struct assay_json_field *fields, void *in, struct assay_str text, struct assay_arena *a,
                     struct assay_json_faults *f)
{
    struct assay_err err = {0, ""};
    int rc = assay_json_decode(text, fields, in, NULL, a, f, &err);
    FUZZ_CHECK(rc == ASSAY_OK || rc == ASSAY_E_INVALID);
    FUZZ_CHECK((rc == ASSAY_OK) == (f->n == 0));
    return rc == ASSAY_OK;
}

static void a_token(struct assay_str text, const struct assay_principal *who, struct assay_arena *a,
                    struct assay_json_faults *f)
{
    struct agents_token_in in = {.has_scopes = false};
    if (!accepted(agents_token_fields, &in, text, a, f))
        return;
    agents_check_token(&in, who, 1000, f, a);
    if (f->n != 0)
        return;
    struct assay_str joined = agents_scopes_join(a, &in.scopes);
    FUZZ_CHECK(joined.p != NULL);
    for (size_t i = 0; i < in.scopes.n; i++) {
        FUZZ_CHECK(memmem(joined.p, joined.n, in.scopes.items[i].p, in.scopes.items[i].n) != NULL);
        FUZZ_CHECK(assay_is_staff(who) || !assay_str_is(in.scopes.items[i], "jobs:lease"));
    }
    struct agent_token t = {.id = ASSAY_STR("i"), .agent_id = ASSAY_STR("a"), .name = in.name, .scopes = joined};
    struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_jw *w = assay_jw_new();
    agents_write_token(w, &t, NULL);
    FUZZ_CHECK(assay_jw_finish(w, &out, NULL) == 0 && assay_utf8_valid(assay_buf_view(&out)));
    assay_jw_free(w);
    assay_buf_free(&out);
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
    struct assay_principal who = {.authenticated = true, .role = data[0] & 4 ? ASSAY_ROLE_ADMIN : ASSAY_ROLE_USER,
                                  .user_id = ASSAY_STR("me")};
    struct agents_create_in make = {.has_id = false};
    struct agents_heartbeat_in beat = {.status = 0};
    switch (data[0] % 4) {
    case 0:
    case 1:
        if (accepted(data[0] % 4 ? agents_patch_fields : agents_create_fields, &make, text, a, &f)) {
            agents_check_create(&make, &who, &f, a);
            FUZZ_CHECK(f.n != 0 || make.name.n <= AGENTS_NAME_MAX);
            FUZZ_CHECK(f.n != 0 || !make.has_id || assay_slug_valid(make.id));
            FUZZ_CHECK(f.n != 0 || !make.has_owner || assay_is_staff(&who) || assay_str_is(make.owner_id, "me"));
        }
        break;
    case 2:
        a_token(text, &who, a, &f);
        break;
    default:
        if (accepted(agents_heartbeat_fields, &beat, text, a, &f))
            FUZZ_CHECK(beat.status >= 0 && beat.status <= 2 && beat.capacity >= 0 && beat.capacity <= 100000);
        break;
    }
    assay_arena_free(a);
    return 0;
}
