/*
 * agents: who competes, who works, and the tokens they carry.
 *
 * An agent belongs to an account.  Its tokens are random, shown once and stored as SHA-256 (they hold
 * 256 bits, so nothing slower is needed); each names the scopes it opens.  Scopes that let their
 * holder see other people's work (leasing jobs, handing in results) are given by staff only.
 *
 * All handlers run on worker threads; the service's state is const after init.
 */
#ifndef AGENTS_LOCAL_H
#define AGENTS_LOCAL_H

#include <assay/idempotency.h>
#include <assay/identity.h>
#include <assay/jobs.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define AGENTS_NAME_MAX 128
#define AGENTS_DESCRIPTION_MAX 4096
#define AGENTS_TOKENS_MAX 100 /* live ones of an agent */
#define AGENTS_TOKEN_SIZE (4 + 64 + 1) /* "asy_" 64 hex digits NUL */
#define AGENTS_TTL_MAX_S ((int64_t)5 * 366 * 24 * 3600)

/* ---- domain.c: the rules; no I/O --------------------------------------------------------------------- */

struct agent {
    struct assay_str id, owner_id, name, description;
    int64_t version, created_ms, updated_ms;
    /* of a worker; seen_ms 0: it never reported */
    struct assay_str worker_status, worker_version;
    int64_t worker_capacity, worker_running, seen_ms;
};
struct agent_token {
    struct assay_str id, agent_id, name, scopes;
    int64_t created_ms, expires_ms;
};

bool agents_may_change(const struct agent *a, const struct assay_principal *who);
bool agents_may_report(const struct agent *a, const struct assay_principal *who);
/* What is wrong with it, maybe written to text; NULL when it is fine. */
#define AGENTS_FAULT_SIZE 64
const char *agents_text_fault(struct assay_str s, size_t max, char text[AGENTS_FAULT_SIZE]);
/* "": fine; else which scope the caller may not give, or what is wrong, for the fault's text. */
const char *agents_scope_fault(struct assay_str scope, const struct assay_principal *who);
/* The scopes as stored: the fixed list's order, single spaces, no doubles. p == NULL on no memory. */
struct assay_str agents_scopes_join(struct assay_arena *a, const struct assay_strs *scopes);
void agents_token_make(char out[AGENTS_TOKEN_SIZE], char hash[ASSAY_SHA256_HEX]);

/* ---- codec.c: JSON --------------------------------------------------------------------------------------- */

struct agents_create_in {
    struct assay_str id, name, description, owner_id;
    bool has_id, has_name, has_description, has_owner;
};
struct agents_token_in {
    struct assay_str name;
    struct assay_strs scopes;
    int64_t expires_in_s, expires_ms;
    bool has_scopes, has_expires_in, has_expires_at;
};
struct agents_lease_in {
    struct assay_str submission_id;
    int64_t fence;
};
struct agents_heartbeat_in {
    int status;
    int64_t capacity, running;
    struct assay_str version;
    struct assay_json_array leases; /* struct agents_lease_in */
    bool has_leases;
};
extern const char *const agents_worker_status_names[]; /* "idle" "busy" "draining" */
extern const struct assay_json_field agents_create_fields[], agents_patch_fields[], agents_token_fields[],
    agents_heartbeat_fields[];

void agents_check_create(const struct agents_create_in *in, const struct assay_principal *who, struct assay_json_faults *f,
                         struct assay_arena *a);
void agents_check_token(const struct agents_token_in *in, const struct assay_principal *who, int64_t now_ms,
                        struct assay_json_faults *f, struct assay_arena *a);
void agents_write(struct assay_jw *w, const struct agent *a);
/* The same with what became of the leases that a heartbeat named. */
void agents_write_heartbeat(struct assay_jw *w, const struct agent *a, const struct assay_lease *lease, size_t n);
/* secret: NULL for all but the answer that makes it */
void agents_write_token(struct assay_jw *w, const struct agent_token *t, const char *secret);

/* ---- repo.c: SQL -------------------------------------------------------------------------------------------- */

#define AGENTS_STMTS(X)                                                                                                \
    X(insert) X(by_id) X(list) X(update) X(remove) X(token_insert) X(token_list) X(token_revoke) X(token_revoke_all)   \
    X(token_by_hash) X(heartbeat) X(user_put) X(owner_erased) X(owner_tokens)
#define X(name) extern const struct assay_stmt agents_q_##name;
AGENTS_STMTS(X)
#undef X
ASSAY_IDEM_DECLARE(agents_idem);
extern const struct assay_migration agents_migrations[1];

int agents_by_id(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct agent *out,
                 struct assay_err *err) ASSAY_MUST_CHECK; /* ASSAY_E_NOT_FOUND */
/* owner "": of all. */
int agents_list(const struct assay_store *st, struct assay_str after, struct assay_str owner, int64_t limit,
                struct assay_arena *a, struct agent **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
int agents_tokens(const struct assay_store *st, struct assay_str agent, struct assay_str after, int64_t now_ms,
                  int64_t limit, struct assay_arena *a, struct agent_token **out, size_t *n, struct assay_err *err)
    ASSAY_MUST_CHECK;
int agents_token_by_hash(const struct assay_store *st, struct assay_str hash, int64_t now_ms, struct assay_arena *a,
                         struct assay_agent_token *out, struct assay_err *err) ASSAY_MUST_CHECK;

int agents_add(struct assay_tx *tx, const struct agent *a);
int agents_add_update(struct assay_tx *tx, const struct agent *a); /* guard: a->version as it was read */
int agents_add_remove(struct assay_tx *tx, const struct agent *a);
int agents_add_token(struct assay_tx *tx, const struct agent_token *t, struct assay_str hash);
int agents_add_token_revoke(struct assay_tx *tx, struct assay_str agent, struct assay_str token, int64_t now_ms);
void agents_add_heartbeat(struct assay_tx *tx, const struct agent *a);
/* agent.changed and agent_token.changed */
int agents_add_changed(struct assay_tx *tx, const struct agent *a, bool deleted, struct assay_err *err) ASSAY_MUST_CHECK;
void agents_add_token_changed(struct assay_tx *tx, const struct agent *a);
/* What user.changed says, for the tokens of a disabled account. */
void agents_add_user(struct assay_tx *tx, struct assay_str user, bool disabled, int64_t seq);
void agents_add_owner_erased(struct assay_tx *tx, struct assay_str user, int64_t at_ms);

/* ---- http.c ---------------------------------------------------------------------------------------------------- */

#define AGENTS_HANDLERS(X)                                                                                             \
    X(list) X(create) X(get) X(update) X(remove) X(token_list) X(token_create) X(token_revoke) X(heartbeat)
#define X(name)                                                                                                        \
    int agents_do_##name(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
AGENTS_HANDLERS(X)
#undef X
extern const struct assay_agent_tokens_ops agents_token_ops;
int agents_deliver(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err);
int agents_init(const struct assay_host *host, void **self, struct assay_err *err);
void agents_fini(void *self);

#endif
