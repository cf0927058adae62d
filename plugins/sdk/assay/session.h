/*
 * Sessions: what gateways share about accounts beside the store, so that not each of them asks the database about each
 * token once a second.
 *
 * A driver (kind ASSAY_PLUGIN_SESSION, named session_<name>) keeps the state of accounts that decides about tokens: role, epoch,
 * whether disabled.  The store stays the truth: what is here is a copy that may be missing at any time (a server that was
 * restarted empty), never one that takes a revocation back: `put` with a lower epoch than the one that is there changes
 * nothing, whoever comes late with it.  Refresh tokens stay in the store, where exchanging one is a guarded transaction.
 *
 * Threads: all operations may be called from any thread that may block, so never from an event loop.  get and put end within
 * the driver's own deadline, however the server behaves, and at once while it is known to be away.
 */
#ifndef ASSAY_SESSION_H
#define ASSAY_SESSION_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_session_state {
    int64_t epoch; /* tokens with a lower one are revoked */
    uint32_t role; /* enum assay_role */
    bool disabled;
};

/* Driver operations. Read a member only if size covers it. */
struct assay_session_ops {
    uint32_t size;
    /* ASSAY_E_NOT_FOUND: not known here: ask the store. Any other error: the server is away. */
    int (*get)(void *self, struct assay_str user_id, struct assay_session_state *out, struct assay_err *err);
    /* Keeps the state unless one with a higher epoch is there; it is forgotten after a while. */
    int (*put)(void *self, struct assay_str user_id, const struct assay_session_state *state, struct assay_err *err);
    /* 0, or why it does not work at the moment. Never blocks. */
    int (*health)(void *self, struct assay_err *err);
};

struct assay_sessions {
    const struct assay_session_ops *ops; /* NULL: none is configured */
    void *self;
};

#ifdef __cplusplus
}
#endif
#endif
