#include "local.h"

#include <assay/audit.h>

#include <stdio.h>
#include <stdlib.h>

#define TRIES 8 /* of a change that another one overtakes */

struct service {
    const struct assay_host *host;
    struct auth_throttle *throttle, *links; /* of passwords; of links that are asked for */
    struct auth_line *line;
    bool open;
    int64_t access_ttl_s, refresh_ttl_ms;
    struct auth_audit_keep audit_keep;
};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static void count(struct service *s, const char *outcome)
{
    s->host->metric_add(s->host->ctx, &auth_metrics[AUTH_METRIC_LOGINS], (const char *const[]){outcome}, 1);
}

static int reply_user(struct assay_response *rs, int status, const struct auth_user *u,
                      void (*write)(struct assay_jw *w, const struct auth_user *u), struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    write(w, u);
    return assay_reply_json(rs, status, w, err);
}

static void retry_after(struct assay_request *rq, struct assay_response *rs, int64_t wait_ms)
{
    struct assay_str v = assay_arena_fmt(rq->arena, "%lld", (long long)((wait_ms + 999) / 1000));
    if (v.p != NULL)
        assay_reply_header(rs, ASSAY_STR("Retry-After"), v);
}

static struct assay_str new_id(struct assay_arena *a)
{
    char id[ASSAY_ID_SIZE];
    assay_id_new(id);
    return assay_arena_str(a, assay_str(id));
}

/* ---- registering ------------------------------------------------------------------------------- */

/* A retry is recognised by everything but the password, which must not be kept in a fast hash; that
 * it is the same one the account's own slow hash tells. */
static int same_password(struct service *s, struct assay_request *rq, const struct auth_register_in *in,
                         struct assay_str fold, struct assay_err *err)
{
    struct auth_user u = {.version = 0};
    bool right = false;
    int rc = auth_user_by_login(s->host->store, fold, rq->arena, &u, err);
    if (rc == ASSAY_OK)
        rc = assay_password_verify(in->password, u.password_hash, &right, err);
    if (rc < 0 && rc != ASSAY_E_NOT_FOUND)
        return rc;
    if (right)
        return ASSAY_OK;
    return assay_err_set(err, ASSAY_E_UNPROCESSABLE,
                         "this Idempotency-Key was used with another body; use a new key for a new request");
}

static int register_now(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_register_in in = {.has_role = false};
    int rc = assay_body_json(rq, rs, auth_register_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        auth_check_register(&in, assay_faults(rq, rs), rq->arena);
    bool admin = assay_is_admin(rq->who);
    if (in.has_role && !admin)
        rc = assay_fault(rq, rs, err, "/role", "may be set by an admin only");
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    if (!s->open && !admin)
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "registration is closed on this server; an admin can make accounts");

    struct assay_str fold = auth_fold(rq->arena, in.login);
    struct assay_str email = in.has_email ? auth_fold(rq->arena, in.email) : ASSAY_STR("");
    struct assay_str print = assay_arena_fmt(rq->arena, "%zu %.*s %zu %.*s %zu %.*s %.*s", in.login.n, ASSAY_FMT(in.login),
                                             email.n, ASSAY_FMT(email), in.name.n, ASSAY_FMT(in.name), ASSAY_FMT(in.role));
    if (fold.p == NULL || email.p == NULL || print.p == NULL)
        return no_memory(err);
    struct assay_idem idem;
    rc = assay_idem_prepare(&idem, &auth_idem, rq, fold, print, err);
    if (rc == ASSAY_OK)
        rc = assay_idem_lookup(&idem, s->host->store, rq, rs, err);
    if (rc == ASSAY_IDEM_ANSWERED)
        rc = same_password(s, rq, &in, fold, err);
    else if (rc == ASSAY_OK) {
        char hash[ASSAY_PASSWORD_HASH];
        rc = assay_password_hash(in.password, hash, err);
        if (rc < 0) {
            retry_after(rq, rs, 1000);
            return rc;
        }
        struct auth_user u = {.id = new_id(rq->arena),
                              .login = in.login,
                              .email = email,
                              .name = in.name.p != NULL ? in.name : ASSAY_STR(""),
                              .role = in.has_role ? in.role : ASSAY_STR("user"),
                              .password_hash = assay_str(hash),
                              .epoch = 1,
                              .created_ms = s->host->now_ms(s->host->ctx)};
        struct assay_str location = assay_arena_fmt(rq->arena, "/users/%.*s", ASSAY_FMT(u.id));
        struct assay_tx *tx = assay_tx_new(rq->arena, "auth.register");
        if (tx == NULL || u.id.p == NULL || location.p == NULL)
            return no_memory(err);
        rc = reply_user(rs, 201, &u, auth_write_brief, err);
        if (rc < 0)
            return rc;
        assay_reply_header(rs, ASSAY_STR("Location"), location);
        assay_idem_add(&idem, tx, rs, false);
        int guard = auth_add_user(tx, &u, fold);
        if (admin)
            assay_audit(tx, rq, u.id, assay_arena_fmt(rq->arena, "{\"role\":\"%.*s\"}", ASSAY_FMT(u.role)));
        rc = auth_add_changed(tx, &u, err);
        if (rc < 0)
            return rc;
        rc = assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
        if (rc == ASSAY_E_GUARD && tx->failed_op == guard)
            return assay_err_set(err, ASSAY_E_CONFLICT, "the login or the e-mail address is taken");
        if (rc == ASSAY_IDEM_ANSWERED)
            rc = same_password(s, rq, &in, fold, err);
        else if (rc == ASSAY_OK)
            assay_log(s->host, ASSAY_LOG_INFO, "account_registered", ASSAY_KS("user_id", u.id), ASSAY_KS("role", u.role),
                      ASSAY_KS("request_id", rq->request_id));
    }
    return rc < 0 ? rc : ASSAY_OK;
}

/* ---- signing in --------------------------------------------------------------------------------- */

/* A pair of tokens for an account whose password, refresh token or link was right. `session`: rotate that one; `link`: use it up. */
static int issue(struct service *s, struct assay_request *rq, struct assay_response *rs, const struct auth_user *u,
                 const struct auth_session *session, struct assay_str link, struct assay_err *err)
{
    char family[ASSAY_ID_SIZE], refresh[AUTH_REFRESH_SIZE], hash[ASSAY_SHA256_HEX];
    ASSAY_CLEANUP_BUF struct assay_buf access = ASSAY_BUF_INIT;
    int64_t now = s->host->now_ms(s->host->ctx);
    if (session != NULL)
        (void)snprintf(family, sizeof family, "%.*s", ASSAY_FMT(session->family));
    else
        assay_id_new(family);
    auth_refresh_make(family, refresh, hash);
    int rc = s->host->sign_session(s->host->ctx, u->id, u->role, u->epoch, assay_str(family), s->access_ttl_s, &access, err);
    if (rc < 0)
        return rc;
    if (access.failed)
        return no_memory(err);

    struct assay_tx *tx = assay_tx_new(rq->arena, session != NULL ? "auth.rotate" : "auth.login");
    if (session != NULL)
        (void)auth_add_rotation(tx, session, assay_str(hash), now, now + s->refresh_ttl_ms);
    else
        (void)auth_add_session(tx, u, assay_str(family), assay_str(hash), now, now + s->refresh_ttl_ms);
    int taken = link.n != 0 ? auth_add_link_take(tx, link, now) : -1;
    if (link.n != 0)
        auth_add_links_end(tx, u->id);
    rc = assay_store_exec(s->host->store, tx, err);
    if (rc == ASSAY_E_GUARD && taken >= 0 && tx->failed_op == taken)
        return assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "the link was used or has expired; ask for another");
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "the account changed at this moment; sign in again");
    if (rc < 0)
        return rc;

    struct auth_tokens_out out = {assay_buf_view(&access), assay_str(refresh), s->access_ttl_s, u};
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    auth_write_tokens(w, &out);
    assay_reply_header(rs, ASSAY_STR("Cache-Control"), ASSAY_STR("no-store"));
    return assay_reply_json(rs, 200, w, err);
}

/* The account that is meant; ASSAY_E_NOT_FOUND is no answer to give, only a reason to verify a decoy. */
static int find_account(struct service *s, struct assay_request *rq, const struct auth_login_in *in, struct assay_str key,
                        struct auth_user *u, struct assay_err *err)
{
    const struct assay_store *st = s->host->store;
    int rc;
    if (in->has_user_id) {
        rc = assay_id_valid(key) ? auth_user_by_id(st, key, rq->arena, u, err) : ASSAY_E_NOT_FOUND;
        return rc == ASSAY_E_NOT_FOUND ? auth_user_by_login(st, key, rq->arena, u, err) : rc;
    }
    if (in->has_email || memchr(key.p, '@', key.n) != NULL)
        return auth_user_by_email(st, key, rq->arena, u, err);
    return auth_user_by_login(st, key, rq->arena, u, err);
}

static int throttled(struct service *s, struct assay_request *rq, struct assay_response *rs, const char *by, int64_t wait, struct assay_err *err)
{
    count(s, "throttled");
    s->host->metric_add(s->host->ctx, &auth_metrics[AUTH_METRIC_THROTTLED], (const char *const[]){by}, 1);
    retry_after(rq, rs, wait);
    return assay_err_set(err, ASSAY_E_RATE, "too many failed sign-ins; wait %lld s", (long long)((wait + 999) / 1000));
}

/* Charges the throttle, verifies, pays back. 0, ASSAY_E_RATE, ASSAY_E_BUSY, or an error; *right says the rest. */
static int verify(struct service *s, struct assay_request *rq, struct assay_response *rs, struct assay_str account,
                  struct assay_str password, struct assay_str hash, bool *right, struct assay_err *err)
{
    /* by the clock that nobody sets: after a jump of the other one an account would be shut out for as long */
    int64_t wait = auth_throttle_take(s->throttle, account, rq->remote, s->host->mono_ns(s->host->ctx) / 1000000);
    if (wait > 0)
        return throttled(s, rq, rs, "memory", wait, err);
    struct auth_failures f;
    int rc = auth_failures_begin(s->host, rq->arena, account, rq->remote, &f, &wait, err);
    if (rc < 0 || wait > 0) {
        auth_throttle_give(s->throttle, account, rq->remote, false);
        return rc < 0 ? rc : throttled(s, rq, rs, "store", wait, err);
    }
    rc = assay_password_verify(password, hash, right, err);
    if (rc < 0) {
        auth_throttle_give(s->throttle, account, rq->remote, false);
        auth_failures_unmade(s->host, rq->arena, &f);
        count(s, "busy");
        retry_after(rq, rs, 1000);
        return rc;
    }
    if (*right) {
        auth_throttle_give(s->throttle, account, rq->remote, true);
        return auth_failures_right(s->host, rq->arena, &f, err);
    }
    rc = auth_failures_wrong(s->host, rq->arena, &f, &wait, err);
    return rc < 0 || wait == 0 ? rc : throttled(s, rq, rs, "store", wait, err);
}

static int sign_in(struct service *s, struct assay_request *rq, struct assay_response *rs, struct auth_login_in *in,
                   int rc, struct assay_err *err)
{
    int names = in->has_login + in->has_email + in->has_user_id;
    if (rc == ASSAY_OK && names == 0)
        rc = assay_fault(rq, rs, err, "/login", "is required: give login, username or email");
    if (rc == ASSAY_OK && names > 1)
        rc = assay_fault(rq, rs, err, "", "name the account once: login, username, email or user_id");
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;

    struct assay_str key = auth_fold(rq->arena, in->has_user_id ? in->user_id : in->has_email ? in->email : in->login);
    if (key.p == NULL)
        return no_memory(err);
    struct auth_user u = {.version = 0};
    rc = find_account(s, rq, in, key, &u, err);
    if (rc < 0 && rc != ASSAY_E_NOT_FOUND)
        return rc;
    bool usable = rc == ASSAY_OK && !u.disabled, right = false;
    rc = verify(s, rq, rs, key, in->password, usable ? u.password_hash : ASSAY_STR(""), &right, err);
    if (rc < 0)
        return rc;
    if (!right) {
        count(s, "refused");
        return assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "the login or the password is wrong");
    }
    count(s, "ok");
    return issue(s, rq, rs, &u, NULL, ASSAY_STR(""), err);
}

static int login_now(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct auth_login_in in = {.has_login = false};
    int rc = assay_body_json(rq, rs, auth_login_fields, &in, err);
    return sign_in(self, rq, rs, &in, rc, err);
}

static int auth_now(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"user_id", NULL};
    struct auth_login_in in = {.has_login = false};
    struct assay_str user_id;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc < 0)
        return rc;
    rc = assay_query(rq, "user_id", &user_id, err);
    if (rc < 0)
        return rc;
    rc = assay_body_json(rq, rs, auth_login_fields, &in, err);
    if (user_id.p != NULL) {
        if (in.has_user_id && rc == ASSAY_OK)
            rc = assay_fault(rq, rs, err, "/user_id", "is given in the query already");
        if (user_id.n == 0 || user_id.n > AUTH_EMAIL_MAX)
            rc = assay_fault(rq, rs, err, "", "the query parameter \"user_id\" must have 1 to 254 bytes");
        in.user_id = user_id;
        in.has_user_id = true;
    }
    return sign_in(self, rq, rs, &in, rc, err);
}

/* Ends a family whose refresh token came a second time: either the client or a thief has an old copy. */
static int revoke_family(struct service *s, struct assay_request *rq, const struct auth_session *session,
                         struct assay_err *err)
{
    struct auth_user u = session->user;
    int64_t from = u.epoch;
    u.epoch++;
    u.updated_ms = s->host->now_ms(s->host->ctx);
    struct assay_tx *tx = assay_tx_new(rq->arena, "auth.reuse");
    auth_add_session_end(tx, session->family);
    int guard = auth_add_epoch(tx, &u, from, true);
    int rc = auth_add_changed(tx, &u, err);
    if (rc < 0)
        return rc;
    rc = assay_store_exec(s->host->store, tx, err);
    if (rc == ASSAY_E_GUARD && tx->failed_op == guard) {
        /* the epoch was raised by somebody else just now: only the family is left to end */
        tx = assay_tx_new(rq->arena, "auth.reuse");
        auth_add_session_end(tx, session->family);
        rc = assay_store_exec(s->host->store, tx, err);
    }
    if (rc < 0)
        return rc;
    count(s, "reuse");
    assay_log(s->host, ASSAY_LOG_WARN, "refresh_token_reused", ASSAY_KS("user_id", u.id), ASSAY_KS("family", session->family),
              ASSAY_KS("remote", rq->remote), ASSAY_KS("request_id", rq->request_id));
    return ASSAY_OK;
}

int auth_do_refresh(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_refresh_in in = {.refresh_token = {NULL, 0}};
    int rc = assay_body_json(rq, rs, auth_refresh_fields, &in, err);
    if (rc < 0)
        return rc;
    struct assay_str family;
    char hash[ASSAY_SHA256_HEX];
    struct auth_session session;
    static const char refused[] = "the refresh token is not valid; sign in again";
    if (!auth_refresh_parse(in.refresh_token, &family, hash))
        return assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "%s", refused);
    rc = auth_session_get(s->host->store, family, rq->arena, &session, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "%s", refused);
    if (rc < 0)
        return rc;
    if (session.expires_ms <= s->host->now_ms(s->host->ctx) || session.user.disabled)
        return assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "%s", refused);
    if (!assay_equal_ct(session.token_hash, assay_str(hash))) {
        rc = revoke_family(s, rq, &session, err);
        return rc < 0 ? rc : assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "%s", refused);
    }
    return issue(s, rq, rs, &session.user, &session, ASSAY_STR(""), err);
}

/* Ends all sessions of the caller, or the one of that family, with their access tokens: the epoch rises, so that every gateway looks
 * again; what it then finds holds for the sessions that are left. Retries when another change of the account was first. */
static int end_sessions(struct service *s, struct assay_request *rq, struct assay_response *rs, struct assay_str family, struct assay_err *err)
{
    int rc = ASSAY_OK;
    for (int i = 0; i < TRIES; i++) {
        struct auth_user u;
        rc = auth_user_by_id(s->host->store, rq->who->user_id, rq->arena, &u, err);
        if (rc < 0)
            return rc;
        int64_t from = u.epoch;
        u.epoch++;
        u.updated_ms = s->host->now_ms(s->host->ctx);
        struct assay_tx *tx = assay_tx_new(rq->arena, "auth.logout");
        if (family.n != 0)
            (void)auth_add_session_end_of(tx, family, u.id);
        else
            auth_add_sessions_end(tx, u.id);
        (void)auth_add_epoch(tx, &u, from, family.n == 0);
        rc = auth_add_changed(tx, &u, err);
        if (rc == ASSAY_OK)
            rc = assay_store_exec(s->host->store, tx, err);
        if (rc != ASSAY_E_GUARD)
            break;
    }
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_BUSY, "the account is being changed by others; try again");
    if (rc < 0)
        return rc;
    rs->status = 204;
    return ASSAY_OK;
}

int auth_do_logout(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_refresh_in in = {.refresh_token = {NULL, 0}};
    struct assay_str family = ASSAY_STR_NULL;
    char hash[ASSAY_SHA256_HEX];
    int rc = ASSAY_OK;
    if (rq->body.n != 0)
        rc = assay_body_json(rq, rs, auth_logout_fields, &in, err);
    if (rc == ASSAY_OK && in.refresh_token.p != NULL && !auth_refresh_parse(in.refresh_token, &family, hash))
        rc = assay_fault(rq, rs, err, "/refresh_token", "is not a refresh token of this server");
    if (rc < 0)
        return rc;
    return end_sessions(s, rq, rs, family, err);
}

/* ---- accounts ------------------------------------------------------------------------------------ */

/* The account of whoever asks. Its token may be good for a moment longer than the account. */
static int caller(struct service *s, const struct assay_request *rq, struct auth_user *u, struct assay_err *err)
{
    int rc = auth_user_by_id(s->host->store, rq->who->user_id, rq->arena, u, err);
    return rc == ASSAY_E_NOT_FOUND ? assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "the account was erased") : rc;
}

int auth_do_me(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_user u;
    int rc = caller(s, rq, &u, err);
    return rc < 0 ? rc : reply_user(rs, 200, &u, auth_write_user, err);
}

int auth_do_users_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"role", "limit", "cursor", NULL};
    struct service *s = self;
    int64_t limit;
    struct assay_str cursor, after, role;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query_page(rq, rs, 50, 200, &limit, &cursor, err);
    if (rc == ASSAY_OK)
        rc = assay_cursor_decode(rq, rs, cursor, &after, err);
    if (rc == ASSAY_OK)
        rc = assay_query(rq, "role", &role, err);
    if (rc == ASSAY_OK && role.p != NULL && assay_role_parse(role) == 0)
        rc = assay_fault(rq, rs, err, "",
                         "the query parameter \"role\" must be one of admin, instructor, user, agent, viewer");
    if (rc < 0)
        return rc;
    struct auth_user *u;
    size_t n;
    /* one more than asked for tells whether there is a next page */
    rc = auth_user_list(s->host->store, after, role.p != NULL ? role : ASSAY_STR(""), limit + 1, rq->arena, &u, &n, err);
    if (rc < 0)
        return rc;
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    for (size_t i = 0; i < shown; i++)
        auth_write_user(w, &u[i]);
    return assay_list_end(rq, rs, w, n > shown ? u[shown - 1].id : ASSAY_STR_NULL, err);
}

int auth_do_user_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_user u;
    if (!assay_is_admin(rq->who) && !assay_str_eq(rq->who->user_id, rq->param[0]))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such user");
    int rc = auth_user_by_id(s->host->store, rq->param[0], rq->arena, &u, err);
    return rc < 0 ? rc : reply_user(rs, 200, &u, auth_write_user, err);
}

/* Why a guarded update of an account did not happen: 0 when it was only overtaken. */
static int refused_update(struct service *s, struct assay_request *rq, const struct auth_user *wanted, struct assay_err *err)
{
    struct auth_user now;
    int rc = auth_user_by_id(s->host->store, wanted->id, rq->arena, &now, err);
    if (rc < 0)
        return rc;
    if (now.version != wanted->version)
        return ASSAY_OK;
    if (wanted->email.n != 0 && !assay_str_eq(wanted->email, now.email)) {
        struct auth_user other;
        rc = auth_user_by_email(s->host->store, wanted->email, rq->arena, &other, err);
        if (rc == ASSAY_OK && !assay_str_eq(other.id, now.id))
            return assay_err_set(err, ASSAY_E_CONFLICT, "the e-mail address is taken");
        if (rc < 0 && rc != ASSAY_E_NOT_FOUND)
            return rc;
    }
    return assay_err_set(err, ASSAY_E_CONFLICT, "this is the last account that can administer the server");
}

int auth_do_user_patch(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_patch_in in = {.has_role = false};
    int rc = assay_body_json(rq, rs, auth_patch_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        auth_check_patch(&in, assay_faults(rq, rs), rq->arena);
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < TRIES; i++) {
        struct auth_user before, u;
        rc = auth_user_by_id(s->host->store, rq->param[0], rq->arena, &before, err);
        if (rc < 0)
            return rc;
        u = before;
        if (in.has_role)
            u.role = in.role;
        if (in.has_disabled)
            u.disabled = in.disabled;
        if (in.has_name)
            u.name = in.name.p != NULL ? in.name : ASSAY_STR("");
        if (in.has_email)
            u.email = in.email.p != NULL ? auth_fold(rq->arena, in.email) : ASSAY_STR("");
        u.updated_ms = s->host->now_ms(s->host->ctx);
        bool revokes = auth_change_revokes(&before, &u);
        struct assay_tx *tx = assay_tx_new(rq->arena, "auth.user_patch");
        if (revokes)
            u.epoch++;
        (void)auth_add_user_update(tx, &u);
        assay_audit(tx, rq, u.id, assay_arena_fmt(rq->arena, "{\"role\":\"%.*s\",\"disabled\":%s,\"name_changed\":%s,\"email_changed\":%s}",
                                                  ASSAY_FMT(u.role), u.disabled ? "true" : "false", in.has_name ? "true" : "false",
                                                  in.has_email ? "true" : "false"));
        if (u.disabled)
            auth_add_sessions_end(tx, u.id);
        if (revokes)
            rc = auth_add_changed(tx, &u, err);
        if (rc == ASSAY_OK)
            rc = assay_store_exec(s->host->store, tx, err);
        if (rc == ASSAY_OK) {
            assay_log(s->host, ASSAY_LOG_INFO, "account_changed", ASSAY_KS("user_id", u.id), ASSAY_KS("role", u.role),
                      ASSAY_KI("disabled", u.disabled), ASSAY_KS("by", rq->who->user_id),
                      ASSAY_KS("request_id", rq->request_id));
            return reply_user(rs, 200, &u, auth_write_user, err);
        }
        if (rc != ASSAY_E_GUARD)
            return rc;
        rc = refused_update(s, rq, &u, err);
        if (rc < 0)
            return rc;
    }
    return assay_err_set(err, ASSAY_E_BUSY, "the account is being changed by others; try again");
}

/* ---- one's own account --------------------------------------------------------------------------- */

int auth_do_sessions_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct assay_rows rows;
    int rc = auth_sessions_of(s->host->store, rq->who->user_id, s->host->now_ms(s->host->ctx), rq->arena, &rows, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_jw_object(w);
    assay_jw_key(w, "items");
    assay_jw_array(w);
    for (size_t i = 0; i < rows.n; i++)
        auth_write_session(w, rows.row[i].col);
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

int auth_do_session_end(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_session session;
    int rc = auth_session_get(s->host->store, rq->param[0], rq->arena, &session, err);
    if (rc < 0)
        return rc;
    if (!assay_str_eq(session.user.id, rq->who->user_id))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such session");
    return end_sessions(s, rq, rs, session.family, err);
}

/* The row goes, so its login and address are free again; the id stays as the owner of what was submitted, and stands for nobody.  The
 * other services clear what they know by a name when they hear of it. */
static int erase(struct service *s, struct assay_request *rq, struct assay_response *rs, struct assay_str id, struct assay_err *err)
{
    for (int i = 0; i < TRIES; i++) {
        struct auth_user u;
        int rc = auth_user_by_id(s->host->store, id, rq->arena, &u, err);
        if (rc < 0)
            return rc;
        struct assay_tx *tx = assay_tx_new(rq->arena, "auth.user_erase");
        (void)auth_add_erasure(tx, &u);
        auth_add_audit_forget(tx, u.id);
        auth_add_links_end(tx, u.id);
        assay_audit(tx, rq, u.id, ASSAY_STR(""));
        auth_add_sessions_end(tx, u.id);
        struct auth_user gone = {.id = u.id, .role = u.role, .epoch = u.epoch + 1, .disabled = true};
        rc = auth_add_erased(tx, &gone, err);
        if (rc == ASSAY_OK)
            rc = assay_store_exec(s->host->store, tx, err);
        if (rc == ASSAY_OK) {
            assay_log(s->host, ASSAY_LOG_INFO, "account_erased", ASSAY_KS("user_id", u.id), ASSAY_KS("by", rq->who->user_id),
                      ASSAY_KS("request_id", rq->request_id));
            rs->status = 204;
            return ASSAY_OK;
        }
        if (rc != ASSAY_E_GUARD)
            return rc;
        rc = refused_update(s, rq, &u, err);
        if (rc < 0)
            return rc;
    }
    return assay_err_set(err, ASSAY_E_BUSY, "the account is being changed by others; try again");
}

int auth_do_user_erase(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    return erase(self, rq, rs, rq->param[0], err);
}

/* By whoever knows the password: a token that was left lying about does not do. */
static int me_erase_now(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_erase_in in = {.password = ASSAY_STR_NULL};
    struct auth_user u;
    bool right = false;
    int rc = assay_body_json(rq, rs, auth_erase_fields, &in, err);
    if (rc == ASSAY_OK)
        rc = caller(s, rq, &u, err);
    if (rc == ASSAY_OK)
        rc = verify(s, rq, rs, u.id, in.password, u.password_hash, &right, err);
    if (rc < 0)
        return rc;
    if (!right)
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "the password is wrong");
    return erase(s, rq, rs, u.id, err);
}

static int user_password_now(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct auth_password_in in = {.has_current = false};
    bool own = assay_str_eq(rq->who->user_id, rq->param[0]);
    if (!own && !assay_is_admin(rq->who))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such user");
    int rc = assay_body_json(rq, rs, auth_password_fields, &in, err);
    if (rc == ASSAY_OK && own && !in.has_current)
        rc = assay_fault(rq, rs, err, "/current_password", "is required to change one's own password");
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    struct auth_user u;
    rc = auth_user_by_id(s->host->store, rq->param[0], rq->arena, &u, err);
    if (rc < 0)
        return rc;
    if (own) {
        bool right = false;
        rc = verify(s, rq, rs, u.id, in.current_password, u.password_hash, &right, err);
        if (rc < 0)
            return rc;
        if (!right)
            return assay_err_set(err, ASSAY_E_FORBIDDEN, "the current password is wrong");
    }
    char hash[ASSAY_PASSWORD_HASH];
    rc = assay_password_hash(in.password, hash, err);
    if (rc < 0) {
        retry_after(rq, rs, 1000);
        return rc;
    }
    u.password_hash = assay_str(hash);
    u.epoch++;
    u.updated_ms = s->host->now_ms(s->host->ctx);
    struct assay_tx *tx = assay_tx_new(rq->arena, "auth.password");
    (void)auth_add_password(tx, &u);
    assay_audit(tx, rq, u.id, ASSAY_STR(""));
    auth_add_sessions_end(tx, u.id);
    rc = auth_add_changed(tx, &u, err);
    if (rc == ASSAY_OK)
        rc = assay_store_exec(s->host->store, tx, err);
    /* what was verified above is no longer what stands there: start over, do not guess */
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_CONFLICT, "the account changed meanwhile; try again");
    if (rc < 0)
        return rc;
    assay_log(s->host, ASSAY_LOG_INFO, "password_changed", ASSAY_KS("user_id", u.id), ASSAY_KS("by", rq->who->user_id),
              ASSAY_KS("request_id", rq->request_id));
    return reply_user(rs, 200, &u, auth_write_user, err);
}

int auth_do_link_request(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    const char *by = NULL;
    int rc = auth_links_request(s->host, s->links, rq, rs, &by, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_RATE)
        count(s, rc == ASSAY_OK ? "link_asked" : "throttled");
    if (by != NULL)
        s->host->metric_add(s->host->ctx, &auth_metrics[AUTH_METRIC_THROTTLED], &by, 1);
    return rc;
}

static int use_link(struct service *s, struct assay_request *rq, struct assay_response *rs, struct assay_str token, struct assay_err *err)
{
    struct auth_user u = {.version = 0};
    char hash[ASSAY_SHA256_HEX];
    int rc = auth_links_find(s->host, rq, token, hash, &u, err);
    if (rc == ASSAY_OK)
        rc = issue(s, rq, rs, &u, NULL, assay_str(hash), err);
    if (rc == ASSAY_OK || rc == ASSAY_E_UNAUTHENTICATED)
        count(s, rc == ASSAY_OK ? "ok" : "refused");
    return rc;
}

int auth_do_link_verify(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct assay_str token = ASSAY_STR_NULL;
    bool done = false;
    assay_reply_header(rs, ASSAY_STR("Vary"), ASSAY_STR("Accept"));
    int rc = auth_links_asked(rq, rs, &token, &done, err);
    return rc < 0 || done ? rc : use_link(self, rq, rs, token, err);
}

int auth_do_link_use(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct auth_link_use_in in = {.token = ASSAY_STR_NULL};
    int rc = assay_body_json(rq, rs, auth_link_use_fields, &in, err);
    return rc < 0 ? rc : use_link(self, rq, rs, in.token, err);
}

int auth_do_audit_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    return auth_audit_list(s->host, rq, rs, err);
}

/* What hashes a password goes through the line. */
#define THROUGH_THE_LINE(name)                                                                                         \
    int auth_do_##name(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)         \
    {                                                                                                                  \
        struct service *s = self;                                                                                      \
        return auth_line_through(s->line, name##_now, self, rq, rs, err);                                              \
    }
THROUGH_THE_LINE(register)
THROUGH_THE_LINE(login)
THROUGH_THE_LINE(auth)
THROUGH_THE_LINE(user_password)
THROUGH_THE_LINE(me_erase)

/* ---- for the auth gate ------------------------------------------------------------------------------ */

static int account_get(void *self, struct assay_str user_id, struct assay_arena *arena, struct assay_account *out,
                       struct assay_err *err)
{
    struct service *s = self;
    struct auth_user u;
    int rc = auth_user_by_id(s->host->store, user_id, arena, &u, err);
    if (rc < 0)
        return rc;
    *out = (struct assay_account){.user_id = u.id, .role = assay_role_parse(u.role), .epoch = u.epoch, .disabled = u.disabled};
    return ASSAY_OK;
}

static int account_session(void *self, struct assay_str user_id, struct assay_str session, int64_t epoch, struct assay_err *err)
{
    struct service *s = self;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    return arena != NULL ? auth_session_lives(s->host->store, session, user_id, epoch, arena, err) : no_memory(err);
}

const struct assay_accounts_ops auth_accounts = {.size = sizeof auth_accounts, .get = account_get, .session = account_session};

/* ---- life --------------------------------------------------------------------------------------------- */

int auth_init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL)
        return no_memory(err);
    *self = s;
    s->host = host;
    s->throttle = auth_throttle_new();
    s->links = auth_throttle_new();
    s->line = auth_line_new(host);
    if (s->throttle == NULL || s->links == NULL || s->line == NULL)
        return no_memory(err);
    s->open = auth_registration_open(assay_str(host->option_str(host->ctx, "registration")),
                                     assay_str(host->option_str(host->ctx, "app_env")));
    s->access_ttl_s = host->option_int(host->ctx, "access_token_ttl") / 1000;
    s->refresh_ttl_ms = host->option_int(host->ctx, "refresh_token_ttl");
    return auth_audit_keep_init(&s->audit_keep, host, err);
}

/* The first start of a new database makes the account `admin`.  A password that was made up here is
 * written to standard error once and nowhere else: the log has its own files and readers. */
int auth_start(void *self, struct assay_err *err)
{
    struct service *s = self;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct auth_user *any;
    size_t n = 0;
    if (arena == NULL)
        return no_memory(err);
    int rc = auth_audit_keep_start(&s->audit_keep, err);
    if (rc == ASSAY_OK)
        rc = auth_user_list(s->host->store, ASSAY_STR(""), ASSAY_STR(""), 1, arena, &any, &n, err);
    if (rc < 0 || n != 0)
        return rc;
    char made[33], hash[ASSAY_PASSWORD_HASH];
    struct assay_str given = assay_str(s->host->option_str(s->host->ctx, "admin_password"));
    if (given.n != 0 && (given.n < AUTH_PASSWORD_MIN || given.n > AUTH_PASSWORD_MAX))
        return assay_err_set(err, ASSAY_E_CONFIG, "admin_password must have %d to %d bytes", AUTH_PASSWORD_MIN,
                             AUTH_PASSWORD_MAX);
    assay_random_hex(made, 12);
    rc = assay_password_hash(given.n != 0 ? given : assay_str(made), hash, err);
    if (rc < 0)
        return rc;
    struct auth_user u = {.id = new_id(arena),
                          .login = ASSAY_STR("admin"),
                          .email = ASSAY_STR("admin@example.com"),
                          .name = ASSAY_STR("Administrator"),
                          .role = ASSAY_STR("admin"),
                          .password_hash = assay_str(hash),
                          .epoch = 1,
                          .created_ms = s->host->now_ms(s->host->ctx)};
    struct assay_tx *tx = assay_tx_new(arena, "auth.seed");
    if (tx == NULL || u.id.p == NULL)
        return no_memory(err);
    (void)auth_add_seed(tx, &u, u.login);
    rc = auth_add_changed(tx, &u, err);
    if (rc == ASSAY_OK)
        rc = assay_store_exec(s->host->store, tx, err);
    if (rc == ASSAY_E_GUARD)
        return ASSAY_OK; /* another server on the same database was first, and said its password */
    if (rc < 0)
        return rc;
    assay_log(s->host, ASSAY_LOG_WARN, "admin_account_created", ASSAY_KZ("login", "admin"), ASSAY_KS("user_id", u.id),
              ASSAY_KZ("password", given.n != 0 ? "as configured" : "printed once on standard error"));
    if (given.n == 0) {
        fprintf(stderr, "assayd: first start: sign in as \"admin\" with the password %s (shown this once; change it)\n", made);
        fflush(stderr);
    }
    return ASSAY_OK;
}

void auth_drain(void *self)
{
    struct service *s = self;
    auth_audit_keep_stop(&s->audit_keep);
    auth_line_close(s->line);
}

void auth_fini(void *self)
{
    struct service *s = self;
    if (s == NULL)
        return;
    auth_line_free(s->line);
    auth_throttle_free(s->throttle);
    auth_throttle_free(s->links);
    free(s);
}
