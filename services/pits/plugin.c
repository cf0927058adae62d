#include "local.h"

#define BODY_MAX ((size_t)512 << 10)

static const struct assay_route routes[] = {
    {ASSAY_GET, "/pits", ASSAY_ROLES_ANY, "benchmarks:read", ASSAY_ROUTE_PAGED, 0, pits_do_list, "pits_list", "List the PITs"},
    {ASSAY_POST, "/pits", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, BODY_MAX, pits_do_create, "pits_create",
     "Make a PIT"},
    {ASSAY_GET, "/pits/{id}", ASSAY_ROLES_ANY, "benchmarks:read", ASSAY_ROUTE_NO_QUERY, 0, pits_do_get, "pits_get", "Show a PIT"},
    {ASSAY_PATCH, "/pits/{id}", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, BODY_MAX, pits_do_update, "pits_update", "Change a PIT"},
    {ASSAY_DELETE, "/pits/{id}", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, 0, pits_do_remove, "pits_delete",
     "Delete a PIT and its tests"},
    {ASSAY_POST, "/pits/{id}/upload-tests", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, PITS_TESTS_MAX + ((size_t)1 << 20),
     pits_do_upload_tests, "pits_upload_tests", "Upload the instructor's tests as a ZIP"},
};

#define X(name) &pits_q_##name,
static const struct assay_stmt *const statements[] = {PITS_STMTS(X) ASSAY_IDEM_STMTS(pits_idem)};
#undef X

static const struct assay_interface provides[] = {{ASSAY_PITS_INTERFACE, ASSAY_PITS_VERSION, &pits_ops}};

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "pits",
    .version = "0.1.0",
    .summary = "How projects are built and tested, and their instructors' tests",
    .routes = ASSAY_TABLE(routes),
    .migrations = ASSAY_TABLE(pits_migrations),
    .statements = ASSAY_TABLE(statements),
    .provides = ASSAY_TABLE(provides),
    .init = pits_init,
    .fini = pits_fini,
};
