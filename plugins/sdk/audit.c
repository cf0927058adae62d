#include <assay/audit.h>

#include <assay/json.h>
#include <assay/plugin.h>

void assay_audit(struct assay_tx *tx, const struct assay_request *rq, struct assay_str target, struct assay_str detail)
{
    if (tx == NULL)
        return; /* its maker says so */
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf buf = ASSAY_BUF_INIT;
    struct assay_event ev = {.topic = ASSAY_STR(ASSAY_AUDIT_TOPIC), .subject = target, .owner = ASSAY_STR(""), .benchmark = ASSAY_STR("")};
    if (w != NULL) {
        assay_jw_object(w);
        assay_jw_kstr(w, "actor_id", rq->who->user_id);
        assay_jw_kstr(w, "agent_id", rq->who->agent_id);
        assay_jw_kstr(w, "role", rq->who->role_name);
        assay_jw_kz(w, "action", rq->route != NULL ? rq->route->operation_id : tx->name);
        assay_jw_kstr(w, "target", target);
        assay_jw_kstr(w, "remote", rq->remote);
        assay_jw_kstr(w, "request_id", rq->request_id);
        assay_jw_kstr(w, "detail", detail);
        assay_jw_end(w);
    }
    /* a detail that could not be made is no detail left out */
    if (w != NULL && detail.p != NULL && assay_jw_finish(w, &buf, NULL) == 0)
        ev.payload = assay_arena_take(tx->arena, &buf);
    if (ev.payload.p != NULL)
        assay_tx_event(tx, ev);
    else
        tx->failed = true;
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
