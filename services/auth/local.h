/*
 * auth: accounts, sessions and roles.
 *
 * An account has an epoch: every access token carries the one it was signed with, and the gate
 * refuses lower ones.  So revoking (log out, new password, other role, disabled) is one row raised
 * and one event, and no list of tokens is kept.  A session is a family of refresh tokens of which
 * one is good at a time; it is stored as a hash, and a second use of an older one ends the family.
 *
 * All handlers run on worker threads; what is shared between them is const after init, but for the
 * throttle, which has its own lock.
 */
#ifndef AUTH_LOCAL_H
#define AUTH_LOCAL_H

#include <stdatomic.h>
#include <assay/idempotency.h>
#include <assay/password.h>
#include <assay/identity.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define AUTH_LOGIN_MAX 64
#define AUTH_PASSWORD_MIN 8
#define AUTH_PASSWORD_MAX 256
#define AUTH_EMAIL_MAX 254
#define AUTH_NAME_MAX 128
#define AUTH_SESSIONS_MAX 50 /* per account: the oldest go */
#define AUTH_REFRESH_SIZE (4 + 36 + 1 + 64 + 1) /* "asr_" family "." secret NUL */

/* ---- domain.c: the rules; no I/O ----------------------------------------------------------------- */

/* NULL when the text may be a login, else what is wrong with it. */
const char *auth_login_fault(struct assay_str login);
const char *auth_email_fault(struct assay_str email);
const char *auth_name_fault(struct assay_str name);
/* ASCII letters in lower case: what logins and addresses are compared by. p == NULL on no memory. */
struct assay_str auth_fold(struct assay_arena *arena, struct assay_str s);
bool auth_registration_open(struct assay_str option, struct assay_str app_env);

/* "asr_<family>.<secret>": makes one for a family, and takes one apart. */
void auth_refresh_make(const char *family, char out[AUTH_REFRESH_SIZE], char hash[ASSAY_SHA256_HEX]);
bool auth_refresh_parse(struct assay_str token, struct assay_str *family, char hash[ASSAY_SHA256_HEX]);

/* A change of an account, and what it means for the tokens that are out. */
struct auth_user;
bool auth_change_revokes(const struct auth_user *before, const struct auth_user *after);

/* ---- throttle.c: failed sign-ins, bounded, in memory ---------------------------------------------- */

struct auth_throttle_rule {
    int64_t interval_ms, burst; /* so many at once, then one an interval */
};
extern const struct auth_throttle_rule auth_per_account, auth_per_address;

/*
 * Buckets by account and address together, so that a stranger elsewhere cannot lock an account, and
 * a wider one by address alone against guessing over many accounts.  An attempt is charged before
 * the password is looked at (so that parallel guesses count) and paid back when it was right.
 */
struct auth_throttle;
struct auth_throttle *auth_throttle_new(void);
void auth_throttle_free(struct auth_throttle *t);
/* 0: go on; else how long to wait, in ms. now_ms: of a monotonic clock. */
int64_t auth_throttle_take(struct auth_throttle *t, struct assay_str account, struct assay_str address, int64_t now_ms);
/* The attempt was right (forgets the account's failures) or was not made at all. */
void auth_throttle_give(struct auth_throttle *t, struct assay_str account, struct assay_str address, bool right);
/* What a bucket is known by: account "" for that of an address alone. */
void auth_throttle_key(struct assay_str salt, struct assay_str account, struct assay_str address, char hex[ASSAY_SHA256_HEX]);

/* ---- failures.c: failed sign-ins, in the store --------------------------------------------------------- */

/* One attempt, between its begin and one of right, wrong and unmade. */
struct auth_failures {
    char account[ASSAY_SHA256_HEX], address[ASSAY_SHA256_HEX];
    const struct auth_throttle_rule *account_rule;
    int64_t now_ms;
    bool charged; /* there had been failures, so this one counts already */
};
/* *wait_ms > 0: it is refused, and nothing else is to be called. Of all of them an error is the store's. */
int auth_failures_begin(const struct assay_host *h, struct assay_arena *a, struct assay_str account, struct assay_str address,
                        struct auth_failures *f, int64_t *wait_ms, struct assay_err *err) ASSAY_MUST_CHECK;
int auth_failures_right(const struct assay_host *h, struct assay_arena *a, const struct auth_failures *f, struct assay_err *err) ASSAY_MUST_CHECK;
/* *wait_ms > 0: others have used up what there was meanwhile: to be answered as one that was not looked at. */
int auth_failures_wrong(const struct assay_host *h, struct assay_arena *a, const struct auth_failures *f, int64_t *wait_ms,
                        struct assay_err *err) ASSAY_MUST_CHECK;
void auth_failures_unmade(const struct assay_host *h, struct assay_arena *a, const struct auth_failures *f);
/* Asking for what is not a sign-in, such as a link, counted by address as tries for an account are. */
int auth_failures_ask(const struct assay_host *h, struct assay_arena *a, struct assay_str what, struct assay_str address, int64_t *wait_ms,
                      struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- line.c: who may hash now ----------------------------------------------------------------------- */

struct auth_line;
struct auth_line *auth_line_new(const struct assay_host *host);
void auth_line_free(struct auth_line *l);
/* Calls handle now, or defers the request and calls it later; ASSAY_E_BUSY when the line is full. */
int auth_line_through(struct auth_line *l, assay_handler handle, void *self, struct assay_request *rq,
                      struct assay_response *rs, struct assay_err *err) ASSAY_MUST_CHECK;
void auth_line_close(struct auth_line *l); /* answers those who wait, and whoever comes, with BUSY */

/* ---- codec.c: JSON ------------------------------------------------------------------------------ */

struct auth_user {
    struct assay_str id, login, email, name, role, password_hash;
    int64_t epoch, version, created_ms, updated_ms;
    bool disabled;
};

struct auth_register_in {
    struct assay_str login, password, email, name, role;
    bool has_login, has_email, has_name, has_role;
};
struct auth_login_in {
    struct assay_str login, email, user_id, password;
    bool has_login, has_email, has_user_id;
};
struct auth_refresh_in {
    struct assay_str refresh_token;
};
struct auth_link_in {
    struct assay_str email;
};
struct auth_link_use_in {
    struct assay_str token;
};
struct auth_patch_in {
    struct assay_str role, email, name;
    bool disabled;
    bool has_role, has_email, has_name, has_disabled;
};
struct auth_password_in {
    struct assay_str current_password, password;
    bool has_current;
};
struct auth_erase_in {
    struct assay_str password;
};
struct auth_tokens_out {
    struct assay_str access, refresh;
    int64_t expires_in_s;
    const struct auth_user *user;
};

extern const struct assay_json_field auth_register_fields[], auth_login_fields[], auth_refresh_fields[],
    auth_logout_fields[], auth_link_fields[], auth_link_use_fields[], auth_patch_fields[], auth_password_fields[], auth_erase_fields[];

void auth_write_brief(struct assay_jw *w, const struct auth_user *u); /* {id, login, role} */
void auth_write_user(struct assay_jw *w, const struct auth_user *u);
void auth_write_session(struct assay_jw *w, const struct assay_val *row); /* of auth_sessions_of */
void auth_write_tokens(struct assay_jw *w, const struct auth_tokens_out *t);

/* Rules that a table cannot say; faults are added, all of them. */
void auth_check_register(const struct auth_register_in *in, struct assay_json_faults *f, struct assay_arena *a);
void auth_check_patch(const struct auth_patch_in *in, struct assay_json_faults *f, struct assay_arena *a);

/* ---- repo.c: SQL ------------------------------------------------------------------------------------ */

#define AUTH_STMTS(X)                                                                                                  \
    X(user_seed) X(user_insert) X(user_by_id) X(user_by_login) X(user_by_email) X(user_list) X(user_update)            \
    X(user_erase) X(user_password) X(user_epoch) X(session_insert) X(session_trim) X(session_purge) X(session_get) X(session_list) X(session_rotate) \
    X(session_delete) X(session_delete_of) X(session_delete_all) X(user_epoch_of_one) X(session_lives) X(link_insert) X(link_purge) X(link_get) X(link_take) X(links_end) X(audit_insert) X(audit_list) X(audit_forget) X(audit_oldest) X(audit_remove) \
    X(throttle_get) X(throttle_charge) X(throttle_pay) X(throttle_forget) X(throttle_purge)
#define X(name) extern const struct assay_stmt auth_q_##name;
AUTH_STMTS(X)
#undef X
#define STMT(n, write_, params_, columns_, sql_)                                                                       \
    const struct assay_stmt auth_q_##n = {                                                                             \
        .name = "auth." #n, .sql = sql_, .params = params_, .columns = columns_, .write = write_}
ASSAY_IDEM_DECLARE(auth_idem);
extern const struct assay_migration auth_migrations[5];

struct auth_session {
    struct assay_str family, token_hash;
    int64_t expires_ms;
    struct auth_user user;
};

/* Readers: ASSAY_E_NOT_FOUND without a row. */
int auth_user_by_id(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct auth_user *out,
                    struct assay_err *err) ASSAY_MUST_CHECK;
int auth_user_by_login(const struct assay_store *st, struct assay_str folded, struct assay_arena *a,
                       struct auth_user *out, struct assay_err *err) ASSAY_MUST_CHECK;
int auth_user_by_email(const struct assay_store *st, struct assay_str folded, struct assay_arena *a,
                       struct auth_user *out, struct assay_err *err) ASSAY_MUST_CHECK;
int auth_user_list(const struct assay_store *st, struct assay_str after, struct assay_str role, int64_t limit,
                   struct assay_arena *a, struct auth_user **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
int auth_session_get(const struct assay_store *st, struct assay_str family, struct assay_arena *a,
                     struct auth_session *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* An account's sessions that have not run out, the one used last first. Columns: id, made, used, ends. */
int auth_sessions_of(const struct assay_store *st, struct assay_str user_id, int64_t now_ms, struct assay_arena *a, struct assay_rows *rows,
                     struct assay_err *err) ASSAY_MUST_CHECK;

/* Writers add to a transaction; the ones that return an index say which statement is the guard. */
int auth_add_user(struct assay_tx *tx, const struct auth_user *u, struct assay_str login_fold);
int auth_add_seed(struct assay_tx *tx, const struct auth_user *u, struct assay_str login_fold);
int auth_add_user_update(struct assay_tx *tx, const struct auth_user *u);   /* guard: u->version as it was read */
int auth_add_password(struct assay_tx *tx, const struct auth_user *u);      /* likewise */
/* u->epoch: the new one; of_all: of all sessions, and not of one that ends */
int auth_add_epoch(struct assay_tx *tx, const struct auth_user *u, int64_t from, bool of_all);
/* ASSAY_E_NOT_FOUND: it has ended, or all tokens up to that epoch were revoked. */
int auth_session_lives(const struct assay_store *st, struct assay_str family, struct assay_str user, int64_t epoch, struct assay_arena *a,
                       struct assay_err *err);
int auth_add_session(struct assay_tx *tx, const struct auth_user *u, struct assay_str family, struct assay_str hash,
                     int64_t now_ms, int64_t expires_ms);
int auth_add_rotation(struct assay_tx *tx, const struct auth_session *s, struct assay_str new_hash, int64_t now_ms,
                      int64_t expires_ms);
void auth_add_session_end(struct assay_tx *tx, struct assay_str family);
int auth_add_session_end_of(struct assay_tx *tx, struct assay_str family, struct assay_str user_id);
void auth_add_sessions_end(struct assay_tx *tx, struct assay_str user_id);
int auth_add_erasure(struct assay_tx *tx, const struct auth_user *u); /* guard: u->version as it was read */
/* user.changed with u's role, epoch and state */
int auth_add_changed(struct assay_tx *tx, const struct auth_user *u, struct assay_err *err) ASSAY_MUST_CHECK;
int auth_add_erased(struct assay_tx *tx, const struct auth_user *u, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- links.c: sign-in by mail ----------------------------------------------------------------------------- */

/* *by: which count refused it ("memory", "store"), or untouched. */
int auth_links_request(const struct assay_host *host, struct auth_throttle *throttle, struct assay_request *rq, struct assay_response *rs,
                       const char **by, struct assay_err *err) ASSAY_MUST_CHECK;
/* The account of the link, and the hash it is known by. ASSAY_E_UNAUTHENTICATED: it is none any more. */
int auth_links_find(const struct assay_host *host, struct assay_request *rq, struct assay_str token, char hash[ASSAY_SHA256_HEX],
                    struct auth_user *u, struct assay_err *err) ASSAY_MUST_CHECK;
/* The token that GET /auth/verify names. *done: the answer is made, and nothing is to be used up. */
int auth_links_asked(struct assay_request *rq, struct assay_response *rs, struct assay_str *token, bool *done, struct assay_err *err) ASSAY_MUST_CHECK;
int auth_add_link_take(struct assay_tx *tx, struct assay_str hash, int64_t now_ms); /* the guard */
void auth_add_links_end(struct assay_tx *tx, struct assay_str user_id);

/* ---- audit.c: who did what ------------------------------------------------------------------------------ */

int auth_audit_deliver(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err);
int auth_audit_list(const struct assay_host *host, struct assay_request *rq, struct assay_response *rs, struct assay_err *err) ASSAY_MUST_CHECK;
void auth_add_audit_forget(struct assay_tx *tx, struct assay_str user_id);

/* ---- audit_keep.c: and for how long that is kept ------------------------------------------------------- */

struct auth_audit_keep {
    const struct assay_host *host;
    int64_t keep_ms; /* 0: for ever */
    atomic_bool stop;
};
/* ASSAY_E_CONFIG for an age below the least. */
int auth_audit_keep_init(struct auth_audit_keep *k, const struct assay_host *host, struct assay_err *err) ASSAY_MUST_CHECK;
int auth_audit_keep_start(struct auth_audit_keep *k, struct assay_err *err) ASSAY_MUST_CHECK;
void auth_audit_keep_stop(struct auth_audit_keep *k);
/* One look, which may block: worker threads only. */
int auth_audit_purge(struct auth_audit_keep *k, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- http.c ---------------------------------------------------------------------------------------------- */

#define AUTH_HANDLERS(X) \
    X(register) X(login) X(auth) X(refresh) X(logout) X(me) X(users_list) X(user_get) X(user_patch) X(user_erase) \
    X(user_password) X(sessions_list) X(session_end) X(me_erase) X(audit_list) X(link_request) X(link_verify) X(link_use)
#define X(name) \
    int auth_do_##name(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
AUTH_HANDLERS(X)
#undef X
enum { AUTH_METRIC_LOGINS, AUTH_METRIC_AUDIT_REMOVED, AUTH_METRIC_THROTTLED, AUTH_METRICS };
extern const struct assay_metric auth_metrics[AUTH_METRICS];
extern const struct assay_accounts_ops auth_accounts;

int auth_init(const struct assay_host *host, void **self, struct assay_err *err);
int auth_start(void *self, struct assay_err *err);
void auth_drain(void *self);
void auth_fini(void *self);

#endif
