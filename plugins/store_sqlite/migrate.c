/*
 * Schema migrations.
 *
 * assay_migrations remembers what was applied, by component, and for each the oldest program that
 * may still run on it.  So an older program finds out whether the schema a newer one left behind is
 * one that it understands: expand first, contract a release later.  Each migration is one
 * transaction with its row, so a crash leaves it whole or absent.
 */
#include "local.h"

#include <string.h>


static const struct assay_migration own[] = {
    {1, "outbox",
     "CREATE TABLE assay_events ("
     " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
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
     /* pruned_to: events up to here are gone; probe: what is written to see whether writing works */
     "CREATE TABLE assay_store ("
     " name TEXT PRIMARY KEY,"
     " number BIGINT NOT NULL,"
     " filler BYTEA);"
     "INSERT INTO assay_store (name, number) VALUES ('pruned_to', 0), ('probe', 0);",
     "0.1.0"},
};

static int apply(struct sq_store *s, const char *component, const struct assay_migration *m, struct assay_err *err)
{
    int st = SQ_RUN0(&s->w, &sq_st_begin, err);
    if (st != 0)
        return st;
    const char *sql = m->sql;
    while (st == 0 && sql[strspn(sql, " \t\r\n;")] != '\0') {
        sqlite3_stmt *q = NULL;
        int rc = sqlite3_prepare_v2(s->w.db, sql, -1, &q, &sql);
        if (rc == SQLITE_OK && q)
            while ((rc = sqlite3_step(q)) == SQLITE_ROW)
                ;
        if (rc != SQLITE_OK && rc != SQLITE_DONE)
            st = sq_error(s->w.db, rc, err, m->name);
        (void)sqlite3_finalize(q);
    }
    if (st == 0)
        st = SQ_RUN(&s->w, &assay_st_migration_record, NULL, err, ASSAY_VZ(component), ASSAY_VI(m->number), ASSAY_VZ(m->name),
                    ASSAY_VZ(m->oldest_program), ASSAY_VI(s->host->now_ms(s->host->ctx)));
    if (st == 0)
        st = SQ_RUN0(&s->w, &sq_st_commit, err);
    if (st != 0) {
        (void)assay_err_prefix(err, "migration %s %u (%s)", component, m->number, m->name);
        if (!sqlite3_get_autocommit(s->w.db))
            (void)sqlite3_exec(s->w.db, "ROLLBACK", NULL, NULL, NULL); /* the first error is the one to tell */
    }
    return st;
}

int sq_migrate(struct sq_store *s, const char *component, const struct assay_migration *m, size_t n,
               struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    if (!arena)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the migrations");
    struct assay_rows rows = {0};
    int st = sq_run(&s->w, &assay_st_migrations, &ASSAY_VZ(component), 1, arena, &rows, NULL, err);
    if (st == 0)
        st = assay_migrations_check(component, m, n, &rows, s->host->version, err);
    if (st != 0)
        return st;
    for (size_t i = rows.n; i < n; i++) {
        st = apply(s, component, &m[i], err);
        if (st != 0)
            return st;
        assay_log(s->host, ASSAY_LOG_INFO, "migration_applied", ASSAY_KZ("component", component),
                  ASSAY_KI("number", m[i].number), ASSAY_KZ("name", m[i].name));
    }
    return 0;
}

int sq_migrate_own(struct sq_store *s, struct assay_err *err)
{
    int rc = sqlite3_exec(s->w.db,
                          "CREATE TABLE IF NOT EXISTS assay_migrations ("
                          " component TEXT NOT NULL,"
                          " number BIGINT NOT NULL,"
                          " name TEXT NOT NULL,"
                          " oldest_program TEXT NOT NULL,"
                          " applied_ms BIGINT NOT NULL,"
                          " PRIMARY KEY (component, number))",
                          NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return sq_error(s->w.db, rc, err, "making assay_migrations");
    return sq_migrate(s, "store", own, sizeof own / sizeof own[0], err);
}
