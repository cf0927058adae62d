/*
 * Accounts as the auth gate asks for them, through the session driver where one is configured.
 *
 * The driver's copy first; where it does not know the account, the store, and the copy is filled; where it is away,
 * session_fallback decides: the store answers (the default), or nobody does, and the caller is told 503.
 *
 * Two subscriptions to user.changed, in each process, tell what the store has committed.  One writes it to the driver, and tries
 * again while that is away: a copy that a dead process did not write, another one does.  The other keeps, in this
 * process, the least epoch that is believed of an account (of all accounts that share its place in a table): a copy with a
 * lower one is old, whatever the driver says (it may have been stopped, or restored, at the wrong moment), and the store is asked.
 *
 * Threads: get is for worker threads; so is health; the rest for the server's main thread.
 */
#ifndef ASSAY_GATEWAY_SESSIONS_H
#define ASSAY_GATEWAY_SESSIONS_H

#include <stdatomic.h>

#include <assay/identity.h>
#include <assay/plugin.h>
#include <assay/session.h>

#include "gate.h"
#include "metrics.h"

#define ASSAY_SHARED_FLOORS 4096u

struct assay_shared_accounts {
    struct assay_sessions sessions;
    bool refuse; /* session_fallback is refuse */
    struct assay_metrics *metrics; /* or NULL */
    const struct assay_accounts_ops *store; /* the service that knows */
    void *store_self;
    struct assay_gate *gate; /* told after a change is known here; or NULL */
    _Atomic int64_t floor[ASSAY_SHARED_FLOORS];
};

extern const struct assay_accounts_ops assay_shared_accounts_ops; /* its self is a struct assay_shared_accounts */
extern const struct assay_subscription assay_shared_accounts_subs[2]; /* likewise */

/* Registers what is counted. */
int assay_shared_accounts_count(struct assay_shared_accounts *a, struct assay_err *err) ASSAY_MUST_CHECK;
/* 0, perhaps with a note in err->msg; or why tokens cannot be judged at the moment. Asks a driver that was away, so it may
 * block for that one's deadline. */
int assay_shared_accounts_health(struct assay_shared_accounts *a, struct assay_err *err);

#endif
