#include "local.h"

#include <assay/audit.h>

static const struct assay_option options[] = {
    {.name = "registration", .type = ASSAY_OPT_CHOICE, .default_text = "auto", .choices = "auto|open|closed",
     .help = "Whether strangers may make accounts; auto: in development only."},
    {.name = "admin_password", .type = ASSAY_OPT_STRING, .default_text = "", .flags = ASSAY_OPT_SECRET,
     .help = "Password of the account admin made at the first start; empty: one is made up and printed once."},
    {.name = "access_token_ttl", .type = ASSAY_OPT_DURATION, .default_text = "1h", .min = 10000, .max = 3600000,
     .help = "How long an access token is good."},
    {.name = "sign_in_link_ttl", .type = ASSAY_OPT_DURATION, .default_text = "15m", .min = 1000, .max = (int64_t)24 * 3600 * 1000,
     .help = "How long a mailed link to sign in by is good."},
    {.name = "refresh_token_ttl", .type = ASSAY_OPT_DURATION, .default_text = "720h", .min = 60000,
     .max = (int64_t)366 * 24 * 3600 * 1000, .help = "How long a session lives without being used."},
    {.name = "audit_keep", .type = ASSAY_OPT_DURATION, .default_text = "0", .max = (int64_t)36600 * 24 * 3600 * 1000,
     .help = "How long the audit log is kept, 2160h (90 days) at the least; 0: for ever."},
};

#define X(name) &auth_q_##name,
static const struct assay_stmt *const statements[] = {AUTH_STMTS(X) ASSAY_IDEM_STMTS(auth_idem)};
#undef X

const struct assay_metric auth_metrics[AUTH_METRICS] = {
    [AUTH_METRIC_LOGINS] = {"assay_auth_logins_total", ASSAY_METRIC_COUNTER, "Sign-ins by outcome: ok, refused, throttled, busy, reuse, link_asked.", "outcome", NULL},
    [AUTH_METRIC_AUDIT_REMOVED] = {"assay_audit_removed_total", ASSAY_METRIC_COUNTER, "Records of the audit log that were kept no longer.", "", NULL},
    [AUTH_METRIC_THROTTLED] = {"assay_auth_throttled_total", ASSAY_METRIC_COUNTER,
     "Sign-ins and requests for links that were refused after too many, by what refused them: memory (this gateway's own count), store (the count "
     "that gateways share and that outlives a restart).", "by", NULL},
};

#define BODY_MAX ((size_t)16 << 10)
static const struct assay_route routes[] = {
    {ASSAY_POST, "/register", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_register,
     "register", "Make an account"},
    {ASSAY_POST, "/login", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_login, "login", "Sign in"},
    {ASSAY_POST, "/auth", ASSAY_ROLES_PUBLIC, NULL, 0, BODY_MAX, auth_do_auth, "auth", "Sign in (the older shape)"},
    {ASSAY_POST, "/auth/refresh", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_refresh, "auth_refresh",
     "Exchange a refresh token for new tokens"},
    {ASSAY_POST, "/auth/request", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_link_request, "auth_request",
     "Have a link to sign in by mailed"},
    {ASSAY_GET, "/auth/verify", ASSAY_ROLES_PUBLIC, NULL, 0, 0, auth_do_link_verify, "auth_verify",
     "What a mailed link opens: the page that signs in, or tokens where JSON is asked for"},
    {ASSAY_POST, "/auth/verify", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_link_use, "auth_link",
     "Sign in by a mailed link"},
    {ASSAY_POST, "/logout", ASSAY_ROLES_ANY, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_logout, "logout",
     "End this session, or all"},
    {ASSAY_GET, "/me", ASSAY_ROLES_ANY, NULL, ASSAY_ROUTE_NO_QUERY, 0, auth_do_me, "me", "The account that is signed in"},
    {ASSAY_GET, "/me/sessions", ASSAY_ROLES_ANY, NULL, ASSAY_ROUTE_NO_QUERY, 0, auth_do_sessions_list, "me_sessions",
     "List one's own sessions, the one used last first"},
    {ASSAY_DELETE, "/me/sessions/{id:uuid}", ASSAY_ROLES_ANY, NULL, ASSAY_ROUTE_NO_QUERY, 0, auth_do_session_end, "me_session_end",
     "End one of one's own sessions"},
    {ASSAY_POST, "/me/erase", ASSAY_ROLES_ANY, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_me_erase, "me_erase",
     "Erase one's own account"},
    {ASSAY_GET, "/users", ASSAY_ROLE_ADMIN, NULL, ASSAY_ROUTE_PAGED, 0, auth_do_users_list, "users_list", "List accounts"},
    {ASSAY_GET, "/users/{id:uuid}", ASSAY_ROLES_ANY, NULL, ASSAY_ROUTE_NO_QUERY, 0, auth_do_user_get, "users_get",
     "Show an account"},
    {ASSAY_PATCH, "/users/{id:uuid}", ASSAY_ROLE_ADMIN, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_user_patch, "users_update",
     "Change an account's role, state, name or address"},
    {ASSAY_DELETE, "/users/{id:uuid}", ASSAY_ROLE_ADMIN, NULL, ASSAY_ROUTE_NO_QUERY, 0, auth_do_user_erase, "users_erase",
     "Erase an account and what names its person"},
    {ASSAY_POST, "/users/{id:uuid}/password", ASSAY_ROLES_ANY, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, auth_do_user_password,
     "users_password", "Set a new password"},
    {ASSAY_GET, "/audit", ASSAY_ROLE_ADMIN, NULL, ASSAY_ROUTE_PAGED, 0, auth_do_audit_list, "audit_list", "Who did what, newest first"},
};

static const char *const audit_topics[] = {ASSAY_AUDIT_TOPIC, NULL};
static const struct assay_subscription subscriptions[] = {
    {.group = "audit", .topics = audit_topics, .kind = ASSAY_SUB_DURABLE, .deliver = auth_audit_deliver},
};

static const struct assay_interface provides[] = {{ASSAY_ACCOUNTS_INTERFACE, ASSAY_ACCOUNTS_VERSION, &auth_accounts}};

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "auth",
    .version = "0.1.0",
    .summary = "Accounts, sessions and roles",
    .options = ASSAY_TABLE(options),
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = ASSAY_TABLE(auth_migrations),
    .statements = ASSAY_TABLE(statements),
    .provides = ASSAY_TABLE(provides),
    .metrics = ASSAY_TABLE(auth_metrics),
    .init = auth_init,
    .start = auth_start,
    .drain = auth_drain,
    .fini = auth_fini,
};
