/*
 * Schema migrations, under an advisory lock: several gateways may start at once, and one applies what is
 * missing while the others wait and then find it done.  Each migration is one transaction with its row, so a crash
 * leaves it whole or absent; the lock is the session's and goes with it.  What may be applied is
 * assay_migrations_check's to say.
 */
#include "local.h"

#include <string.h>

static const struct assay_stmt st_lock = {
    .name = "store.migrate_lock",
    .sql = "SELECT 1 FROM pg_advisory_lock($1)",
    .params = "i",
    .columns = "i",
};

static const struct assay_migration own[] = {
    {1, "outbox",
     "CREATE TABLE assay_events ("
     " seq BIGINT PRIMARY KEY,"
     " at_ms BIGINT NOT NULL,"
     " id TEXT NOT NULL,"
     " topic TEXT NOT NULL,"
     " subject TEXT NOT NULL,"
     " owner TEXT NOT NULL,"
     " benchmark TEXT NOT NULL,"
     " payload TEXT NOT NULL);"
     "CREATE TABLE assay_cursors ("
     " grp TEXT PRIMARY KEY,"
     " seq BIGINT NOT NULL,"
     " moved_ms BIGINT NOT NULL);"
     "CREATE TABLE assay_dead_letters ("
     " seq BIGINT NOT NULL,"
     " grp TEXT NOT NULL,"
     " event_id TEXT NOT NULL,"
     " topic TEXT NOT NULL,"
     " subject TEXT NOT NULL,"
     " owner TEXT NOT NULL,"
     " benchmark TEXT NOT NULL,"
     " payload TEXT NOT NULL,"
     " error TEXT NOT NULL,"
     " parked_ms BIGINT NOT NULL,"
     " PRIMARY KEY (grp, seq));"
     /* head: the last event's seq; pruned_to: events up to here are gone; probe: what is written to see whether writing
      * works. Each of the three is updated all the time: room on the page keeps those updates within it. */
     "CREATE TABLE assay_store ("
     " name TEXT PRIMARY KEY,"
     " number BIGINT NOT NULL) WITH (fillfactor = 10);"
     "INSERT INTO assay_store (name, number) VALUES ('head', 0), ('pruned_to', 0), ('probe', 0);",
     "0.1.0"},
};

static int apply(struct pg_store *s, struct pg_conn *c, const char *component, const struct assay_migration *m, struct assay_err *err)
{
    int st = pg_text(s, c, "BEGIN", "migration", err);
    if (st == 0)
        st = pg_text(s, c, m->sql, m->name, err);
    if (st == 0)
        st = PG_RUN(s, c, &assay_st_migration_record, NULL, err, ASSAY_VZ(component), ASSAY_VI(m->number), ASSAY_VZ(m->name),
                    ASSAY_VZ(m->oldest_program), ASSAY_VI(s->host->now_ms(s->host->ctx)));
    if (st == 0)
        st = pg_text(s, c, "COMMIT", "migration", err);
    if (st != 0)
        (void)assay_err_prefix(err, "migration %s %u (%s)", component, m->number, m->name);
    return st; /* the connection is closed by the caller: nothing of it stays */
}

static int migrate_on(struct pg_store *s, struct pg_conn *c, const char *component, const struct assay_migration *m, size_t n,
                      struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows = {0};
    int64_t one = 0;
    if (!arena)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the migrations");
    int st = pg_int(s, c, &st_lock, &ASSAY_VI(PG_LOCK_MIGRATE), 1, 0, &one, err);
    if (st == 0)
        st = pg_text(s, c,
                     "CREATE TABLE IF NOT EXISTS assay_migrations ("
                     " component TEXT NOT NULL,"
                     " number BIGINT NOT NULL,"
                     " name TEXT NOT NULL,"
                     " oldest_program TEXT NOT NULL,"
                     " applied_ms BIGINT NOT NULL,"
                     " PRIMARY KEY (component, number))",
                     "making assay_migrations", err);
    if (st == 0)
        st = pg_run(s, c, &assay_st_migrations, &ASSAY_VZ(component), 1, arena, &rows, NULL, err);
    if (st == 0)
        st = assay_migrations_check(component, m, n, &rows, s->host->version, err);
    for (size_t i = rows.n; st == 0 && i < n; i++) {
        st = apply(s, c, component, &m[i], err);
        if (st == 0)
            assay_log(s->host, ASSAY_LOG_INFO, "migration_applied", ASSAY_KZ("component", component),
                      ASSAY_KI("number", m[i].number), ASSAY_KZ("name", m[i].name));
    }
    return st;
}

int pg_migrate(struct pg_store *s, const char *component, const struct assay_migration *m, size_t n, struct assay_err *err)
{
    struct pg_conn c = {0};
    int st = pg_open(s, &c, PG_MIGRATE, err);
    if (st == 0)
        st = migrate_on(s, &c, component, m, n, err);
    pg_close(&c);
    return st;
}

int pg_migrate_own(struct pg_store *s, struct assay_err *err)
{
    return pg_migrate(s, "store", own, sizeof own / sizeof own[0], err);
}
