/*
 * The auth gate: who is asking?  Signs and verifies access tokens (JWT, HS256 and nothing else), and
 * recognises agent tokens ("asy_...").
 *
 * Two steps, so that no event loop ever blocks: assay_gate_try() answers from the loop's own cache or
 * says ASSAY_E_AGAIN; then assay_gate_lookup() verifies the signature and asks the accounts and agents
 * services, on a worker thread, and assay_gate_remember() puts the result into the loop's cache.
 *
 * A cached answer holds until the token expires, until assay_gate_account_changed() or
 * assay_gate_agent_changed() names its account or agent, or for recheck_ms, whichever comes first: so a
 * revocation is seen within recheck_ms even by a gateway that no event reaches.
 *
 * Threads: a cache belongs to one loop; every other function may be called from any thread.
 * assay_gate_services() once, before the first request.
 */
#ifndef ASSAY_GATEWAY_GATE_H
#define ASSAY_GATEWAY_GATE_H

#include <assay/err.h>
#include <assay/http.h>
#include <assay/identity.h>
#include <assay/str.h>
#include <assay/value.h>

#define ASSAY_TOKEN_MAX 8192              /* longest credential that is looked at */
#define ASSAY_TOKEN_TTL_MAX_S 3600        /* longest life of an access token */
#define ASSAY_TOKEN_LEEWAY_MAX_S 60
#define ASSAY_AGENT_TOKEN_PREFIX "asy_"
#define ASSAY_SIGNING_SECRET_MIN 32
#define ASSAY_GATE_KEYS_MAX 8u

struct assay_gate_key {
    const char *kid;                   /* [A-Za-z0-9._-]{1,64}; NULL: derived from the secret */
    const struct assay_secret *secret; /* borrowed for the call that takes it */
};

struct assay_gate_config {
    const struct assay_gate_key *keys; /* the first signs, all verify */
    size_t n_keys;
    const char *issuer;   /* NULL: "assay" */
    const char *audience; /* NULL: "assay" */
    int64_t leeway_s;     /* for exp, nbf and iat; at most 60 */
    int64_t recheck_ms;   /* 0: 1000 */
    size_t cache_entries; /* per loop; 0: 4096 */
    bool weak_secret_ok;  /* development: a secret under 32 bytes is taken */
    int64_t (*now_ms)(void *ctx); /* NULL: the clock; tests move it */
    void *now_ctx;
};

struct assay_gate;
struct assay_gate_cache;

/* What a lookup found out, in memory of the arena it was given. */
struct assay_gate_verdict {
    struct assay_principal who;
    int64_t good_until_ms; /* of the token; INT64_MAX for never */
    uint32_t account_gen, agent_gen; /* the change counters read before the lookup */
    int64_t checked_ms;
};

/* ASSAY_E_CONFIG: no key, a weak secret, a secret that is known to the world, a bad kid, a clash. */
int assay_gate_new(const struct assay_gate_config *cfg, struct assay_gate **ret, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_gate_free(struct assay_gate *g);

/* Other keys from now on: the first signs, all are believed; a token that was signed with another one is refused once its
 * cached answer is to be checked anew.  On an error, as of assay_gate_new(), the old ones stay.  One thread at a time;
 * others may sign and verify meanwhile.  *changed: whether they are others at all. */
int assay_gate_rekey(struct assay_gate *g, const struct assay_gate_key *keys, size_t n, bool *changed, struct assay_err *err) ASSAY_MUST_CHECK;
/* The id of the key that signs. */
const char *assay_gate_signs(const struct assay_gate *g);

/* Either may be NULL when the service does not run in this process: its tokens are then refused with
 * ASSAY_E_BUSY (503), since nobody could say whether they were revoked. */
void assay_gate_services(struct assay_gate *g, const struct assay_accounts_ops *accounts, void *accounts_self,
                         const struct assay_agent_tokens_ops *agents, void *agents_self);

/* As assay_host.sign_token. */
int assay_gate_sign(struct assay_gate *g, struct assay_str sub, struct assay_str role, int64_t epoch, int64_t ttl_s,
                    struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* As assay_host.sign_session; session is an id, or "" for none. */
int assay_gate_sign_session(struct assay_gate *g, struct assay_str sub, struct assay_str role, int64_t epoch, struct assay_str session,
                            int64_t ttl_s, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

struct assay_gate_cache *assay_gate_cache_new(struct assay_gate *g); /* NULL on no memory */
void assay_gate_cache_free(struct assay_gate_cache *c);

/* The bearer token of an Authorization value; ASSAY_E_UNAUTHENTICATED for another scheme, an empty or
 * an over-long one. */
int assay_gate_bearer(struct assay_str authorization, struct assay_str *token, struct assay_err *err) ASSAY_MUST_CHECK;

/* Loop thread, never blocks. ASSAY_OK: *who is filled, its strings live in the arena. ASSAY_E_AGAIN: look it up. */
int assay_gate_try(struct assay_gate_cache *c, struct assay_str token, struct assay_arena *arena,
                   struct assay_principal *who, struct assay_err *err) ASSAY_MUST_CHECK;
/* Worker thread. ASSAY_E_UNAUTHENTICATED with a message that never says more than a client may know. */
int assay_gate_lookup(struct assay_gate *g, struct assay_str token, struct assay_arena *arena,
                      struct assay_gate_verdict *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Loop thread. */
void assay_gate_remember(struct assay_gate_cache *c, struct assay_str token, const struct assay_gate_verdict *v);

/* Call from a local subscription to user.changed; user_id is the event's subject. */
void assay_gate_account_changed(struct assay_gate *g, struct assay_str user_id);
/* ... and to agent.changed and agent_token.changed; agent_id is the subject. */
void assay_gate_agent_changed(struct assay_gate *g, struct assay_str agent_id);

/* Whether a principal may use a route: ASSAY_OK, ASSAY_E_UNAUTHENTICATED or ASSAY_E_FORBIDDEN. */
struct assay_route;
int assay_gate_permit(const struct assay_route *route, const struct assay_principal *who, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* The signed claims of a token, checked as far as a token can be without asking anybody.  For the gate's
 * own use and for its tests. */
struct assay_claims {
    struct assay_str sub, role, session; /* session: "" when it was made for none */
    int64_t epoch, iat, exp; /* seconds */
};
int assay_gate_verify(struct assay_gate *g, struct assay_str token, struct assay_arena *arena, struct assay_claims *out,
                      struct assay_err *err) ASSAY_MUST_CHECK;

#endif
