/*
 * Interfaces "assay.accounts" (provided by auth) and "assay.agent_tokens" (provided by agents):
 * what the auth gate asks when its cache does not know.  Both block: worker threads only.
 */
#ifndef ASSAY_IDENTITY_H
#define ASSAY_IDENTITY_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_ACCOUNTS_INTERFACE "assay.accounts"
#define ASSAY_ACCOUNTS_VERSION 1u
#define ASSAY_AGENT_TOKENS_INTERFACE "assay.agent_tokens"
#define ASSAY_AGENT_TOKENS_VERSION 1u

struct assay_account {
    struct assay_str user_id;
    uint32_t role;   /* enum assay_role */
    int64_t epoch;   /* tokens with a lower epoch are revoked */
    bool disabled;
};
struct assay_accounts_ops {
    uint32_t size;
    int (*get)(void *self, struct assay_str user_id, struct assay_arena *arena, struct assay_account *out,
               struct assay_err *err); /* ASSAY_E_NOT_FOUND */
    /* Asked of a token whose epoch is lower than its account's: whether it was another session that ended since. ASSAY_E_NOT_FOUND:
     * no, the token is revoked. Appended; read it only if size covers it. */
    int (*session)(void *self, struct assay_str user_id, struct assay_str session, int64_t epoch, struct assay_err *err);
};

struct assay_agent_token {
    struct assay_str agent_id, owner_id, scopes;
    int64_t expires_ms; /* 0: never */
};
struct assay_agent_tokens_ops {
    uint32_t size;
    /* hash_hex: SHA-256 of the presented token */
    int (*get)(void *self, struct assay_str hash_hex, struct assay_arena *arena, struct assay_agent_token *out,
               struct assay_err *err); /* ASSAY_E_NOT_FOUND: unknown, revoked or expired */
};

/* "admin" and back; 0 for an unknown name. */
uint32_t assay_role_parse(struct assay_str name);
const char *assay_role_name(uint32_t role);

#ifdef __cplusplus
}
#endif
#endif
