#include <assay/audit.h>

#include <assay/json.h>
#include <assay/plugin.h>

static void record(struct assay_tx *tx, const struct assay_ev_audit *r)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf buf = ASSAY_BUF_INIT;
    struct assay_event ev = {.topic = ASSAY_STR(ASSAY_AUDIT_TOPIC), .subject = r->target, .owner = ASSAY_STR(""), .benchmark = ASSAY_STR("")};
    if (w != NULL) {
        assay_jw_object(w);
        assay_jw_kstr(w, "actor_id", r->actor_id);
        assay_jw_kstr(w, "agent_id", r->agent_id);
        assay_jw_kstr(w, "role", r->role);
        assay_jw_kstr(w, "action", r->action);
        assay_jw_kstr(w, "target", r->target);
        assay_jw_kstr(w, "remote", r->remote);
        assay_jw_kstr(w, "request_id", r->request_id);
        assay_jw_kstr(w, "detail", r->detail);
        assay_jw_end(w);
    }
    /* a detail that could not be made is no detail left out */
    if (w != NULL && r->detail.p != NULL && assay_jw_finish(w, &buf, NULL) == 0)
        ev.payload = assay_arena_take(tx->arena, &buf);
    if (ev.payload.p != NULL)
        assay_tx_event(tx, ev);
    else
        tx->failed = true;
}

void assay_audit(struct assay_tx *tx, const struct assay_request *rq, struct assay_str target, struct assay_str detail)
{
    if (tx == NULL)
        return; /* its maker says so */
    record(tx, &(struct assay_ev_audit){.actor_id = rq->who->user_id, .agent_id = rq->who->agent_id, .role = rq->who->role_name,
                                        .action = assay_str(rq->route != NULL ? rq->route->operation_id : tx->name), .target = target,
                                        .remote = rq->remote, .request_id = rq->request_id, .detail = detail});
}

void assay_audit_own(struct assay_tx *tx, const char *action, struct assay_str target, struct assay_str detail)
{
    if (tx == NULL)
        return;
    const struct assay_str none = ASSAY_STR(""), self = ASSAY_STR("assayd");
    record(tx, &(struct assay_ev_audit){.actor_id = self, .agent_id = none, .role = self, .action = assay_str(action), .target = target,
                                        .remote = none, .request_id = none, .detail = detail});
}

#define ROW(member)                                                                                                    \
    {.name = #member, .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct assay_ev_audit, member), .has_offset = -1}
static const struct assay_json_field fields[] = {
    ROW(actor_id), ROW(agent_id), ROW(role), ROW(action), ROW(target), ROW(remote), ROW(request_id), ROW(detail),
    {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
    {.name = NULL, .has_offset = -1},
};

int assay_ev_audit_decode(struct assay_str json, struct assay_arena *arena, struct assay_ev_audit *out, struct assay_err *err)
{
    return assay_json_decode(json, fields, out, NULL, arena, NULL, err);
}
