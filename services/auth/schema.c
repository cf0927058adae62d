#include "local.h"

/* login_fold and email are folded to lower case by the service; login is kept as it was typed. */
const struct assay_migration auth_migrations[5] = {
    {.number = 1,
     .name = "accounts",
     .oldest_program = "0.1.0",
     .sql = "CREATE TABLE auth_users ("
            " id TEXT NOT NULL PRIMARY KEY,"
            " login TEXT NOT NULL,"
            " login_fold TEXT NOT NULL,"
            " email TEXT,"
            " name TEXT NOT NULL,"
            " role TEXT NOT NULL,"
            " password_hash TEXT NOT NULL,"
            " epoch BIGINT NOT NULL,"
            " version BIGINT NOT NULL,"
            " disabled BIGINT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " updated_ms BIGINT NOT NULL);"
            "CREATE UNIQUE INDEX auth_users_by_login ON auth_users (login_fold);"
            "CREATE UNIQUE INDEX auth_users_by_email ON auth_users (email);"
            "CREATE INDEX auth_users_by_role ON auth_users (role, id);"
            "CREATE TABLE auth_sessions ("
            " family TEXT NOT NULL PRIMARY KEY,"
            " user_id TEXT NOT NULL,"
            " token_hash TEXT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " used_ms BIGINT NOT NULL,"
            " expires_ms BIGINT NOT NULL);"
            "CREATE INDEX auth_sessions_by_user ON auth_sessions (user_id, used_ms);"
            "CREATE INDEX auth_sessions_by_end ON auth_sessions (expires_ms);" ASSAY_IDEM_SQL("auth")},    /* floor: the epoch of the latest change that revoked all tokens; between it and epoch single sessions have ended */
    {.number = 2,
     .name = "sessions end one by one",
     .oldest_program = "0.1.0",
     .sql = "ALTER TABLE auth_users ADD COLUMN floor BIGINT NOT NULL DEFAULT 0;"},
    {.number = 3,
     .name = "audit",
     .oldest_program = "0.1.0",
     .sql = "CREATE TABLE auth_audit ("
            " seq BIGINT NOT NULL PRIMARY KEY,"
            " at_ms BIGINT NOT NULL,"
            " id TEXT NOT NULL,"
            " actor_id TEXT NOT NULL,"
            " agent_id TEXT NOT NULL,"
            " role TEXT NOT NULL,"
            " action TEXT NOT NULL,"
            " target TEXT NOT NULL,"
            " remote TEXT NOT NULL,"
            " request_id TEXT NOT NULL,"
            " detail TEXT NOT NULL);"
            "CREATE INDEX auth_audit_by_actor ON auth_audit (actor_id, seq);"
            "CREATE INDEX auth_audit_by_target ON auth_audit (target, seq);"
            "CREATE INDEX auth_audit_by_action ON auth_audit (action, seq);"},
    {.number = 4,
     .name = "links",
     .oldest_program = "0.1.0",
     .sql = "CREATE TABLE auth_links ("
            " token_hash TEXT NOT NULL PRIMARY KEY,"
            " user_id TEXT NOT NULL,"
            " created_ms BIGINT NOT NULL,"
            " expires_ms BIGINT NOT NULL);"
            "CREATE INDEX auth_links_by_user ON auth_links (user_id, expires_ms);"
            "CREATE INDEX auth_links_by_end ON auth_links (expires_ms);"},
    {.number = 5,
     .name = "failed sign-ins",
     .oldest_program = "0.1.0",
     .sql = "CREATE TABLE auth_throttle ("
            " key TEXT NOT NULL PRIMARY KEY,"
            " empty_ms BIGINT NOT NULL);"
            "CREATE INDEX auth_throttle_by_end ON auth_throttle (empty_ms);"},
};
