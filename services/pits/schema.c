#include "local.h"

/* The tests of a PIT stand apart, since one that is a file has no row. */
const struct assay_migration pits_migrations[1] = {
    {.number = 1,
     .name = "pits",
     .oldest_program = "0.1.0",
     .sql = "CREATE TABLE pits_pits ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " owner_id TEXT NOT NULL,"
            " definition TEXT NOT NULL,"
            " active BIGINT NOT NULL,"
            " version BIGINT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " updated_ms BIGINT NOT NULL);"
            "CREATE TABLE pits_tests ("
            " pit_id TEXT NOT NULL PRIMARY KEY,"
            " object TEXT NOT NULL,"
            " sha256 TEXT NOT NULL,"
            " bytes BIGINT NOT NULL,"
            " updated_ms BIGINT NOT NULL);" ASSAY_IDEM_SQL("pits")},
};
