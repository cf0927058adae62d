#include "local.h"

#define BODY_MAX ((size_t)2 << 20)
#define TESTS_BODY_MAX ((size_t)64 << 20)
#define READ "benchmarks:read"

static const struct assay_option options[] = {
    {"benchmark_priority_max", NULL, ASSAY_OPT_INT, "10", ASSAY_PRIORITY_MIN, ASSAY_PRIORITY_MAX, NULL,
     "highest priority that the owner of a benchmark may give it, from 1 to 100; admins may give any", 0, 0},
};

static const struct assay_route routes[] = {
    {ASSAY_GET, "/benchmarks", ASSAY_ROLES_ANY, READ, ASSAY_ROUTE_PAGED, 0, benchmarks_do_list, "benchmarks_list",
     "List the benchmarks one may see"},
    {ASSAY_POST, "/benchmarks", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, TESTS_BODY_MAX,
     benchmarks_do_create, "benchmarks_create", "Make a benchmark, with tests also its one problem"},
    {ASSAY_POST, "/benchmarks/import", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_IDEMPOTENT, TESTS_BODY_MAX, benchmarks_do_import,
     "benchmarks_import", "Make a benchmark, or a problem of one, of a problem package"},
    {ASSAY_GET, "/benchmarks/{id}", ASSAY_ROLES_ANY, READ, ASSAY_ROUTE_NO_QUERY, 0, benchmarks_do_get, "benchmarks_get",
     "Show a benchmark"},
    {ASSAY_PATCH, "/benchmarks/{id}", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, benchmarks_do_update,
     "benchmarks_update", "Change a benchmark"},
    {ASSAY_DELETE, "/benchmarks/{id}", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, 0, benchmarks_do_remove,
     "benchmarks_delete", "Delete a benchmark and its problems"},
    {ASSAY_GET, "/benchmarks/{id}/problems", ASSAY_ROLES_ANY, READ, ASSAY_ROUTE_PAGED, 0, benchmarks_do_problem_list,
     "problems_list", "List a benchmark's problems in their order"},
    {ASSAY_POST, "/benchmarks/{id}/problems", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY,
     TESTS_BODY_MAX, benchmarks_do_problem_create, "problems_create", "Add a problem"},
    {ASSAY_GET, "/problems/{id}", ASSAY_ROLES_ANY, READ, ASSAY_ROUTE_NO_QUERY, 0, benchmarks_do_problem_get, "problems_get",
     "Show a problem"},
    {ASSAY_PATCH, "/problems/{id}", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, benchmarks_do_problem_update,
     "problems_update", "Change a problem"},
    {ASSAY_DELETE, "/problems/{id}", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, 0, benchmarks_do_problem_remove,
     "problems_delete", "Delete a problem"},
    {ASSAY_GET, "/problems/{id}/tests", ASSAY_ROLES_ANY, READ, ASSAY_ROUTE_PAGED, 0, benchmarks_do_tests_get, "tests_list",
     "Show a problem's tests: all of them to judges, the samples to others"},
    {ASSAY_PUT, "/problems/{id}/tests", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, TESTS_BODY_MAX, benchmarks_do_tests_put,
     "tests_replace", "Replace a problem's tests"},
};

static const char *const topics[] = {"agent.changed", NULL};
static const struct assay_subscription subscriptions[] = {
    {.group = "benchmarks", .topics = topics, .kind = ASSAY_SUB_DURABLE, .deliver = benchmarks_deliver},
};

#define X(name) &benchmarks_q_##name,
static const struct assay_stmt *const statements[] = {BENCHMARKS_STMTS(X) ASSAY_IDEM_STMTS(benchmarks_idem)};
#undef X

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "benchmarks",
    .version = "0.1.0",
    .summary = "Benchmarks, their problems and tests",
    .options = ASSAY_TABLE(options),
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = ASSAY_TABLE(benchmarks_migrations),
    .statements = ASSAY_TABLE(statements),
    .init = benchmarks_init,
    .fini = benchmarks_fini,
};
