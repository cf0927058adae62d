/*
 * The audit log: who did what to what.  A handler that changes something for others adds a record to the transaction of the
 * change, so that there is neither a change without its record nor a record of what did not happen.  It travels as an event
 * ("audit.recorded"); the auth service keeps the events, and GET /audit shows them to admins.
 */
#ifndef ASSAY_AUDIT_H
#define ASSAY_AUDIT_H

#include <assay/http.h>
#include <assay/store.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_AUDIT_TOPIC "audit.recorded"

/* The caller of rq did what rq's route does (its operation id) to `target`, an id.  detail: a JSON object that says how, or "";
 * never with a secret, a name or an address in it.  Without memory the transaction fails. */
void assay_audit(struct assay_tx *tx, const struct assay_request *rq, struct assay_str target, struct assay_str detail);
/* The same of what a service does by itself, by an option's rule: the actor and the role are "assayd", there is no request. */
void assay_audit_own(struct assay_tx *tx, const char *action, struct assay_str target, struct assay_str detail);

struct assay_ev_audit {
    struct assay_str actor_id, agent_id, role, action, target, remote, request_id, detail;
};
int assay_ev_audit_decode(struct assay_str json, struct assay_arena *arena, struct assay_ev_audit *out, struct assay_err *err) ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
