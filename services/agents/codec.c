#include "local.h"

#include <stddef.h>

#define HAS(type, member) ((ptrdiff_t)offsetof(struct type, member))
#define END {.name = NULL, .has_offset = -1}

const char *const agents_worker_status_names[] = {"idle", "busy", "draining", NULL};

#define CREATE(name_, type_, flags_, member, has, ...)                                                                 \
    {.name = name_, .type = type_, .flags = flags_, .offset = offsetof(struct agents_create_in, member),               \
     .has_offset = HAS(agents_create_in, has), __VA_ARGS__}

const struct assay_json_field agents_create_fields[] = {
    CREATE("id", ASSAY_JSON_STRING, ASSAY_JSON_SLUG | ASSAY_JSON_NULLABLE, id, has_id, .alias = NULL),
    CREATE("name", ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, name, has_name, .alias = NULL),
    CREATE("description", ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, description, has_description, .alias = NULL),
    CREATE("owner_id", ASSAY_JSON_STRING, ASSAY_JSON_ID | ASSAY_JSON_NULLABLE, owner_id, has_owner, .alias = "ownerId"),
    END,
};

const struct assay_json_field agents_patch_fields[] = {
    CREATE("name", ASSAY_JSON_STRING, 0, name, has_name, .alias = NULL),
    CREATE("description", ASSAY_JSON_STRING, ASSAY_JSON_CLEARABLE, description, has_description, .alias = NULL),
    CREATE("owner_id", ASSAY_JSON_STRING, ASSAY_JSON_ID, owner_id, has_owner, .alias = "ownerId"),
    END,
};

const struct assay_json_field agents_token_fields[] = {
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct agents_token_in, name), .has_offset = -1},
    {.name = "scopes", .type = ASSAY_JSON_STRINGS, .offset = offsetof(struct agents_token_in, scopes), .min = 1, .max = 32,
     .has_offset = HAS(agents_token_in, has_scopes)},
    {.name = "expires_in", .type = ASSAY_JSON_INT, .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct agents_token_in, expires_in_s), .min = 1, .max = (double)AGENTS_TTL_MAX_S,
     .has_offset = HAS(agents_token_in, has_expires_in)},
    {.name = "expires_at", .type = ASSAY_JSON_TIME, .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct agents_token_in, expires_ms), .has_offset = HAS(agents_token_in, has_expires_at)},
    END,
};

static const struct assay_json_field lease_fields[] = {
    {.name = "submission_id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .has_offset = -1, .min = 1, .max = 64,
     .offset = offsetof(struct agents_lease_in, submission_id)},
    {.name = "fence", .type = ASSAY_JSON_INT, .flags = ASSAY_JSON_REQUIRED, .has_offset = -1, .min = 1, .max = 9e15,
     .offset = offsetof(struct agents_lease_in, fence)},
    END,
};
const struct assay_json_field agents_heartbeat_fields[] = {
    {.name = "status", .type = ASSAY_JSON_ENUM, .offset = offsetof(struct agents_heartbeat_in, status), .has_offset = -1,
     .names = agents_worker_status_names},
    {.name = "capacity", .type = ASSAY_JSON_INT, .offset = offsetof(struct agents_heartbeat_in, capacity), .min = 0,
     .max = 100000, .has_offset = -1},
    {.name = "running", .type = ASSAY_JSON_INT, .offset = offsetof(struct agents_heartbeat_in, running), .min = 0,
     .max = 100000, .has_offset = -1},
    {.name = "version", .type = ASSAY_JSON_STRING, .offset = offsetof(struct agents_heartbeat_in, version), .min = 1,
     .max = 64, .has_offset = -1},
    {.name = "leases", .type = ASSAY_JSON_ARRAY, .offset = offsetof(struct agents_heartbeat_in, leases), .max = 256,
     .has_offset = HAS(agents_heartbeat_in, has_leases), .fields = lease_fields, .elem_size = sizeof(struct agents_lease_in)},
    END,
};

static void check_text(struct assay_json_faults *f, struct assay_arena *a, const char *pointer, struct assay_str s, size_t max)
{
    char text[AGENTS_FAULT_SIZE];
    const char *fault = agents_text_fault(s, max, text);
    if (fault != NULL)
        assay_json_fault(f, a, pointer, "%s", fault);
}

void agents_check_create(const struct agents_create_in *in, const struct assay_principal *who, struct assay_json_faults *f,
                         struct assay_arena *a)
{
    if (in->has_name && in->name.n == 0)
        assay_json_fault(f, a, "/name", "must not be empty");
    check_text(f, a, "/name", in->name, AGENTS_NAME_MAX);
    check_text(f, a, "/description", in->description, AGENTS_DESCRIPTION_MAX);
    if (in->has_owner && !assay_is_staff(who) && !assay_str_eq(in->owner_id, who->user_id))
        assay_json_fault(f, a, "/owner_id", "may be set to somebody else by an instructor or an admin only");
}

void agents_check_token(const struct agents_token_in *in, const struct assay_principal *who, int64_t now_ms,
                        struct assay_json_faults *f, struct assay_arena *a)
{
    check_text(f, a, "/name", in->name, AGENTS_NAME_MAX);
    for (size_t i = 0; i < in->scopes.n; i++) {
        const char *fault = agents_scope_fault(in->scopes.items[i], who);
        struct assay_str pointer = assay_arena_fmt(a, "/scopes/%zu", i);
        if (fault != NULL && pointer.p != NULL)
            assay_json_fault(f, a, pointer.p, "%s", fault);
    }
    if (in->has_expires_in && in->has_expires_at)
        assay_json_fault(f, a, "/expires_at", "give expires_in or expires_at, not both");
    if (in->has_expires_at && in->expires_ms <= now_ms)
        assay_json_fault(f, a, "/expires_at", "must be in the future");
}

static void members(struct assay_jw *w, const struct agent *a)
{
    assay_jw_kstr(w, "id", a->id);
    assay_jw_kstr(w, "owner_id", a->owner_id);
    assay_jw_kstr(w, "name", a->name);
    assay_jw_kstr(w, "description", a->description);
    assay_jw_ktime(w, "created_at", a->created_ms);
    assay_jw_ktime(w, "updated_at", a->updated_ms);
    assay_jw_key(w, "worker");
    if (a->seen_ms == 0) {
        assay_jw_null(w);
    } else {
        assay_jw_object(w);
        assay_jw_kstr(w, "status", a->worker_status);
        assay_jw_kstr(w, "version", a->worker_version);
        assay_jw_kint(w, "capacity", a->worker_capacity);
        assay_jw_kint(w, "running", a->worker_running);
        assay_jw_ktime(w, "seen_at", a->seen_ms);
        assay_jw_end(w);
    }
}

void agents_write(struct assay_jw *w, const struct agent *a)
{
    assay_jw_object(w);
    members(w, a);
    assay_jw_end(w);
}

void agents_write_heartbeat(struct assay_jw *w, const struct agent *a, const struct assay_lease *lease, size_t n)
{
    static const char *const state[] = {
        [ASSAY_LEASE_HELD] = "held", [ASSAY_LEASE_CANCELLED] = "cancelled", [ASSAY_LEASE_LOST] = "lost"};
    assay_jw_object(w);
    members(w, a);
    assay_jw_key(w, "leases");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "submission_id", lease[i].submission_id);
        assay_jw_kint(w, "fence", lease[i].fence);
        assay_jw_kz(w, "state", state[lease[i].state]);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
}

void agents_write_token(struct assay_jw *w, const struct agent_token *t, const char *secret)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", t->id);
    assay_jw_kstr(w, "agent_id", t->agent_id);
    if (secret != NULL)
        assay_jw_kz(w, "token", secret);
    assay_jw_kstr(w, "name", t->name);
    assay_jw_key(w, "scopes");
    assay_jw_array(w);
    for (struct assay_str rest = t->scopes; rest.n != 0;) {
        const char *space = memchr(rest.p, ' ', rest.n);
        size_t n = space != NULL ? (size_t)(space - rest.p) : rest.n;
        assay_jw_str(w, (struct assay_str){rest.p, n});
        n += space != NULL;
        rest.p += n;
        rest.n -= n;
    }
    assay_jw_end(w);
    assay_jw_ktime(w, "created_at", t->created_ms);
    assay_jw_ktime(w, "expires_at", t->expires_ms);
    assay_jw_end(w);
}
