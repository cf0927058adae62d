/*
 * Sign-in by a mailed link.
 *
 * Theory of operation.  POST /auth/request answers 202 before anybody has looked whether there is such an account: what comes then
 * (look-up, row, mail) is done on a worker, so neither the answer nor its time tells who has one.  A link is 32 random
 * bytes; the row keeps their hash, the account and an end.  An account has at most LINKS_MAX links at a time, whoever asks from
 * wherever, so nobody's mailbox is flooded; and an address may ask ten times, then once in six seconds.  Exchanging a link deletes its row and
 * makes the session in one guarded transaction, so it works once, at whichever gateway.  The link's own address comes from
 * public_url, never from a header of the request.
 *
 * Programs that look through mail open every link in it, with HEAD and with GET, and some as a browser would.  So to open one uses
 * nothing up: it leads to a page of the dashboard with a button, and that one POSTs.  Only a GET that asks for JSON and for no
 * page exchanges the link at once, as it always did: those are programs of people, and no scanner asks so.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

#include <assay/mail.h>

#define LINKS_MAX 3
#define PREFIX "asl_"
#define TOKEN_SIZE (sizeof PREFIX - 1 + 64 + 1)

STMT(link_insert, true, "ttiii", "",
     "INSERT INTO auth_links (token_hash, user_id, created_ms, expires_ms) SELECT CAST($1 AS TEXT), id, CAST($3 AS BIGINT), CAST($4 AS BIGINT)"
     " FROM auth_users WHERE id = $2 AND disabled = 0"
     " AND (SELECT COUNT(*) FROM auth_links l WHERE l.user_id = auth_users.id AND l.expires_ms > $3) < $5");
STMT(link_purge, true, "i", "",
     "DELETE FROM auth_links WHERE token_hash IN (SELECT token_hash FROM auth_links WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT 16)");
STMT(link_get, false, "ti", "t", "SELECT user_id FROM auth_links WHERE token_hash = $1 AND expires_ms > $2");
STMT(link_take, true, "ti", "", "DELETE FROM auth_links WHERE token_hash = $1 AND expires_ms > $2");
STMT(links_end, true, "t", "", "DELETE FROM auth_links WHERE user_id = $1");

struct job {
    const struct assay_host *host;
    int64_t ttl_ms;
    char email[AUTH_EMAIL_MAX + 1], request_id[80];
};

static void told(const struct assay_host *h, const struct job *j, enum assay_log_level level, const char *what, const char *error)
{
    assay_log(h, level, what, ASSAY_KZ("request_id", j->request_id), ASSAY_KZ("error", error));
}

/* The text of the mail; base is public_url. */
static struct assay_str letter(struct assay_arena *a, struct assay_str base, const char *token, int64_t ttl_ms)
{
    return assay_arena_fmt(a,
                           "Somebody asked to sign in with this address. To do so, open this link within %lld minutes and press the button there; it works once:\n\n"
                           "%.*s/auth/verify?token=%s\n\nIf it was not you, there is nothing to do.\n",
                           (long long)(ttl_ms / 60000 > 0 ? ttl_ms / 60000 : 1), ASSAY_FMT(base), token);
}

static int make(const struct job *j, struct assay_arena *a, char token[TOKEN_SIZE], struct assay_err *err)
{
    const struct assay_host *h = j->host;
    struct auth_user u = {.version = 0};
    char secret[65], hash[ASSAY_SHA256_HEX];
    int64_t now = h->now_ms(h->ctx);
    int rc = auth_user_by_email(h->store, assay_str(j->email), a, &u, err);
    if (rc < 0)
        return rc;
    assay_random_hex(secret, 32);
    (void)snprintf(token, TOKEN_SIZE, PREFIX "%s", secret);
    assay_sha256_hex(assay_str(token), hash);
    struct assay_tx *tx = assay_tx_new(a, "auth.link");
    if (tx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    ASSAY_TX(tx, &auth_q_link_purge, ASSAY_EXPECT_ANY, ASSAY_VI(now));
    ASSAY_TX(tx, &auth_q_link_insert, ASSAY_EXPECT_ONE, ASSAY_VZ(hash), ASSAY_VT(u.id), ASSAY_VI(now), ASSAY_VI(now + j->ttl_ms), ASSAY_VI(LINKS_MAX));
    return assay_store_exec(h->store, tx, err);
}

/* Where no public_url is set: what this server listens on. */
static struct assay_str in_development(const struct assay_host *h, struct assay_arena *a)
{
    bool tls = h->option_int(h->ctx, "http_plain") == 0;
    const char *address = h->option_str(h->ctx, tls ? "tls_address" : "http_address");
    if (address[0] == '\0')
        address = h->option_str(h->ctx, "http_address");
    return assay_arena_fmt(a, "%s://%s:%lld", tls ? "https" : "http", address, (long long)h->option_int(h->ctx, tls ? "tls_port" : "http_port"));
}

static void work(void *arg)
{
    struct job *j = arg;
    const struct assay_host *h = j->host;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct assay_err err = {0};
    char token[TOKEN_SIZE];
    struct assay_str base = assay_str(h->option_str(h->ctx, "public_url"));
    if (base.n == 0 && a != NULL)
        base = in_development(h, a);
    int rc = a != NULL ? make(j, a, token, &err) : assay_err_set(&err, ASSAY_E_NOMEM, "no memory");
    if (rc == ASSAY_E_NOT_FOUND) {
        told(h, j, ASSAY_LOG_INFO, "sign_in_link_not_sent", "there is no such account");
    } else if (rc == ASSAY_E_GUARD) {
        told(h, j, ASSAY_LOG_INFO, "sign_in_link_not_sent", "the account is disabled, or has links enough");
    } else if (rc < 0) {
        told(h, j, ASSAY_LOG_ERROR, "sign_in_link_failed", err.msg);
    } else {
        struct assay_letter m = {.to = assay_str(j->email), .subject = ASSAY_STR("Sign in"), .text = letter(a, base, token, j->ttl_ms)};
        rc = m.text.p != NULL ? h->mail(h->ctx, &m, &err) : assay_err_set(&err, ASSAY_E_NOMEM, "no memory");
        if (rc == ASSAY_E_NOT_FOUND) /* development: whoever reads the log may sign in as anybody anyway */
            assay_log(h, ASSAY_LOG_WARN, "sign_in_link", ASSAY_KZ("request_id", j->request_id), ASSAY_KS("link", assay_arena_fmt(a, "%.*s/auth/verify?token=%s", ASSAY_FMT(base), token)));
        else
            told(h, j, rc < 0 ? ASSAY_LOG_ERROR : ASSAY_LOG_INFO, rc < 0 ? "sign_in_link_failed" : "sign_in_link_sent", rc < 0 ? err.msg : "");
    }
    free(j);
}

int auth_links_request(const struct assay_host *host, struct auth_throttle *throttle, struct assay_request *rq, struct assay_response *rs,
                       const char **by, struct assay_err *err)
{
    struct auth_link_in in = {.email = ASSAY_STR_NULL};
    bool development = assay_str_is(assay_str(host->option_str(host->ctx, "app_env")), "development");
    if (host->size < offsetof(struct assay_host, mail) + sizeof host->mail || host->mail == NULL ||
        (host->option_str(host->ctx, "smtp_url")[0] == '\0' && !development))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "this server sends no mail, and so no links to sign in by; sign in with a password");
    int rc = assay_body_json(rq, rs, auth_link_fields, &in, err);
    if (rc == ASSAY_OK && auth_email_fault(in.email) != NULL)
        rc = assay_fault(rq, rs, err, "/email", "%s", auth_email_fault(in.email));
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    /* no login is folded to this: it has a blank */
    int64_t wait = auth_throttle_take(throttle, ASSAY_STR("a link"), rq->remote, host->mono_ns(host->ctx) / 1000000);
    const char *refuser = "memory";
    if (wait == 0) {
        refuser = "store";
        rc = auth_failures_ask(host, rq->arena, ASSAY_STR("a link"), rq->remote, &wait, err);
        if (rc < 0)
            return rc;
    }
    if (wait > 0) {
        *by = refuser;
        struct assay_str s = assay_arena_fmt(rq->arena, "%lld", (long long)((wait + 999) / 1000));
        if (s.p != NULL)
            assay_reply_header(rs, ASSAY_STR("Retry-After"), s);
        return assay_err_set(err, ASSAY_E_RATE, "too many links were asked for from this address; wait %lld s", (long long)((wait + 999) / 1000));
    }
    struct assay_str fold = auth_fold(rq->arena, in.email);
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL || fold.p == NULL) {
        free(j);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    j->host = host;
    j->ttl_ms = host->option_int(host->ctx, "sign_in_link_ttl");
    (void)snprintf(j->email, sizeof j->email, "%.*s", ASSAY_FMT(fold));
    (void)snprintf(j->request_id, sizeof j->request_id, "%.*s", ASSAY_FMT(rq->request_id));
    if (host->offload(host->ctx, work, j) != 0) {
        free(j);
        return assay_err_set(err, ASSAY_E_BUSY, "the server is busy; try again");
    }
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_jw_object(w);
    assay_jw_kz(w, "status", "accepted");
    assay_jw_kint(w, "expires_in", host->option_int(host->ctx, "sign_in_link_ttl") / 1000); /* the job is the worker's now */
    assay_jw_end(w);
    return assay_reply_json(rs, 202, w, err);
}

static int none(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_UNAUTHENTICATED, "the link was used or has expired; ask for another");
}

int auth_links_find(const struct assay_host *host, struct assay_request *rq, struct assay_str token, char hash[ASSAY_SHA256_HEX],
                    struct auth_user *u, struct assay_err *err)
{
    struct assay_rows rows;
    assay_sha256_hex(token, hash);
    int rc = ASSAY_QUERY(host->store, &auth_q_link_get, rq->arena, &rows, err, ASSAY_VZ(hash), ASSAY_VI(host->now_ms(host->ctx)));
    if (rc < 0)
        return rc;
    if (rows.n != 0)
        rc = auth_user_by_id(host->store, rows.row[0].col[0].s, rq->arena, u, err);
    return rows.n == 0 || rc == ASSAY_E_NOT_FOUND || (rc == 0 && u->disabled) ? none(err) : rc;
}

/* As we make them: nothing else is ever put into a header. */
static bool well_formed(struct assay_str token)
{
    bool ok = token.n == TOKEN_SIZE - 1 && assay_str_starts(token, PREFIX);
    for (size_t i = sizeof PREFIX - 1; ok && i < token.n; i++)
        ok = (token.p[i] >= '0' && token.p[i] <= '9') || (token.p[i] >= 'a' && token.p[i] <= 'f');
    return ok;
}

/* A program that asks for JSON and for no page. */
static bool wants_json(const struct assay_request *rq)
{
    struct assay_str accept = rq->header(rq, "accept");
    return accept.n != 0 && memmem(accept.p, accept.n, "application/json", 16) != NULL && memmem(accept.p, accept.n, "text/html", 9) == NULL;
}

int auth_links_asked(struct assay_request *rq, struct assay_response *rs, struct assay_str *token, bool *done, struct assay_err *err)
{
    static const char *const known[] = {"token", NULL};
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query(rq, "token", token, err);
    if (rc == ASSAY_OK && token->p == NULL)
        return assay_fault(rq, rs, err, "", "the query parameter \"token\" is required");
    if (rc < 0 || (wants_json(rq) && !rq->head))
        return rc;
    *done = true;
    if (!well_formed(*token))
        return none(err);
    /* relative, so that it holds under whatever path a proxy puts us; the fragment is not sent to any server */
    struct assay_str to = assay_arena_fmt(rq->arena, "../#/link/%.*s", ASSAY_FMT(*token));
    if (to.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_reply_header(rs, ASSAY_STR("Location"), to);
    assay_reply_header(rs, ASSAY_STR("Cache-Control"), ASSAY_STR("no-store"));
    rs->status = 303;
    return ASSAY_OK;
}

int auth_add_link_take(struct assay_tx *tx, struct assay_str hash, int64_t now_ms)
{
    return ASSAY_TX(tx, &auth_q_link_take, ASSAY_EXPECT_ONE, ASSAY_VT(hash), ASSAY_VI(now_ms));
}

void auth_add_links_end(struct assay_tx *tx, struct assay_str user_id)
{
    ASSAY_TX(tx, &auth_q_links_end, ASSAY_EXPECT_ANY, ASSAY_VT(user_id));
}
