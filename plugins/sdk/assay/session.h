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

#include <stddef.h>
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

/*
 * A cell counts what all gateways let through of one subject of one rule: the time until it is empty again (the generic cell rate
 * algorithm, ITU-T I.371), by the clock of the server that keeps it, so that the gateways' clocks need not agree.
 */
struct assay_session_cell {
    struct assay_str key;    /* at most 64 bytes */
    int64_t add_us, most_us; /* in: what is added, and how far ahead the cell may then be at most */
    int64_t least_us;        /* in: how far ahead it is at least, as the caller knows; 0: nothing is known */
    int64_t ahead_us;        /* out: until it is empty; 0 or more */
};
#define ASSAY_SESSION_CELLS 128u /* in one call */

/* Driver operations. Read a member only if size covers it. */
struct assay_session_ops {
    uint32_t size;
    /* ASSAY_E_NOT_FOUND: not known here: ask the store. Any other error: the server is away. */
    int (*get)(void *self, struct assay_str user_id, struct assay_session_state *out, struct assay_err *err);
    /* Keeps the state unless one with a higher epoch is there; it is forgotten after a while. */
    int (*put)(void *self, struct assay_str user_id, const struct assay_session_state *state, struct assay_err *err);
    /* 0, or why it does not work at the moment. Never blocks. */
    int (*health)(void *self, struct assay_err *err);
    /* since ABI 1.5, may be NULL: charges n cells (1 to ASSAY_SESSION_CELLS), all in one step that no other gateway comes between.
     * An error: none is known to be charged, and none may be charged again for that. */
    int (*charge)(void *self, struct assay_session_cell *cell, size_t n, struct assay_err *err);
};

struct assay_sessions {
    const struct assay_session_ops *ops; /* NULL: none is configured */
    void *self;
};

#ifdef __cplusplus
}
#endif
#endif
