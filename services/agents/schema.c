#include "local.h"

/* A deleted agent keeps its row: its name stands in results, and its id is never given out again. */
const struct assay_migration agents_migrations[1] = {
    {.number = 1,
     .name = "agents",
     .oldest_program = "0.1.0",
     .sql = "CREATE TABLE agents_agents ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " owner_id TEXT NOT NULL,"
            " name TEXT NOT NULL,"
            " description TEXT NOT NULL,"
            " version BIGINT NOT NULL,"
            " deleted BIGINT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " updated_ms BIGINT NOT NULL);"
            "CREATE INDEX agents_agents_by_owner ON agents_agents (owner_id, id);"
            "CREATE TABLE agents_tokens ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " agent_id TEXT NOT NULL,"
            " hash TEXT NOT NULL,"
            " name TEXT NOT NULL,"
            " scopes TEXT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " expires_ms BIGINT NOT NULL,"
            " revoked_ms BIGINT NOT NULL);"
            "CREATE UNIQUE INDEX agents_tokens_by_hash ON agents_tokens (hash);"
            "CREATE INDEX agents_tokens_by_agent ON agents_tokens (agent_id, id);"
            "CREATE TABLE agents_workers ("
            " agent_id TEXT NOT NULL PRIMARY KEY,"
            " status TEXT NOT NULL,"
            " version TEXT NOT NULL,"
            " capacity BIGINT NOT NULL,"
            " running BIGINT NOT NULL,"
            " seen_ms BIGINT NOT NULL);"
            /* from user.changed; a user without a row is enabled */
            "CREATE TABLE agents_users ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " disabled BIGINT NOT NULL,"
            " seq BIGINT NOT NULL);" ASSAY_IDEM_SQL("agents")},
};
