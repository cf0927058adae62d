#include "local.h"

#define BODY_MAX ((size_t)64 << 10)
#define MAKERS (ASSAY_ROLE_AGENT | ASSAY_ROLE_USER | ASSAY_ROLES_STAFF)

static const struct assay_route routes[] = {
    {ASSAY_GET, "/agents", ASSAY_ROLES_ANY, "agents:read", ASSAY_ROUTE_PAGED, 0, agents_do_list, "agents_list", "List agents"},
    {ASSAY_POST, "/agents", MAKERS, NULL, ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, BODY_MAX, agents_do_create,
     "agents_create", "Make an agent"},
    {ASSAY_GET, "/agents/{id}", ASSAY_ROLES_ANY, "agents:read", ASSAY_ROUTE_NO_QUERY, 0, agents_do_get, "agents_get",
     "Show an agent"},
    {ASSAY_PATCH, "/agents/{id}", MAKERS, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, agents_do_update, "agents_update",
     "Change an agent"},
    {ASSAY_DELETE, "/agents/{id}", MAKERS, NULL, ASSAY_ROUTE_NO_QUERY, 0, agents_do_remove, "agents_delete",
     "Delete an agent and revoke its tokens"},
    {ASSAY_GET, "/agents/{id}/tokens", MAKERS, NULL, ASSAY_ROUTE_PAGED, 0, agents_do_token_list, "agent_tokens_list",
     "List an agent's live tokens, without their secrets"},
    {ASSAY_POST, "/agents/{id}/tokens", MAKERS, NULL, ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, BODY_MAX,
     agents_do_token_create, "agent_tokens_create", "Make a token, which is shown once"},
    {ASSAY_DELETE, "/agents/{id}/tokens/{token_id:uuid}", MAKERS, NULL, ASSAY_ROUTE_NO_QUERY, 0, agents_do_token_revoke,
     "agent_tokens_delete", "Revoke a token"},
    {ASSAY_POST, "/agents/{id}/heartbeat", MAKERS, "jobs:lease", ASSAY_ROUTE_NO_QUERY, BODY_MAX, agents_do_heartbeat,
     "agents_heartbeat", "A worker agent reports that it is alive and renews its leases"},
};

static const char *const topics[] = {"user.changed", NULL};
static const struct assay_subscription subscriptions[] = {
    {.group = "agents", .topics = topics, .kind = ASSAY_SUB_DURABLE, .deliver = agents_deliver},
};

#define X(name) &agents_q_##name,
static const struct assay_stmt *const statements[] = {AGENTS_STMTS(X) ASSAY_IDEM_STMTS(agents_idem)};
#undef X

static const struct assay_interface provides[] = {
    {ASSAY_AGENT_TOKENS_INTERFACE, ASSAY_AGENT_TOKENS_VERSION, &agents_token_ops},
};

static const struct assay_need needs[] = {{ASSAY_JOBS_INTERFACE, ASSAY_JOBS_VERSION, true}};

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "agents",
    .version = "0.1.0",
    .summary = "Agents and their tokens",
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = ASSAY_TABLE(agents_migrations),
    .statements = ASSAY_TABLE(statements),
    .provides = ASSAY_TABLE(provides),
    .needs = ASSAY_TABLE(needs),
    .init = agents_init,
    .fini = agents_fini,
};
