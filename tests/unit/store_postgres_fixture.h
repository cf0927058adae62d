/* A schema of its own for each test, in the PostgreSQL that ASSAY_TEST_POSTGRES names (store_postgres.py sets it). */
#ifndef STORE_POSTGRES_FIXTURE_H
#define STORE_POSTGRES_FIXTURE_H

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline PGconn *dial_postgres(void)
{
    PGconn *db = PQconnectdb(getenv("ASSAY_TEST_POSTGRES"));
    if (PQstatus(db) != CONNECTION_OK) {
        fprintf(stderr, "# %s", PQerrorMessage(db));
        abort();
    }
    return db;
}

static inline void run_postgres(const char *sql)
{
    PGconn *db = dial_postgres();
    PGresult *res = PQexec(db, sql);
    if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK) {
        fprintf(stderr, "# %s: %s", sql, PQerrorMessage(db));
        abort();
    }
    PQclear(res);
    PQfinish(db);
}

/* The DSN of a schema that is empty; valid until the next call. */
static inline const char *fresh_schema(void)
{
    static char dsn[600];
    static unsigned number;
    char sql[80];
    (void)snprintf(sql, sizeof sql, "CREATE SCHEMA s%d_%u", (int)getpid(), ++number);
    run_postgres(sql);
    (void)snprintf(dsn, sizeof dsn, "%s&options=-csearch_path%%3Ds%d_%u", getenv("ASSAY_TEST_POSTGRES"), (int)getpid(), number);
    return dsn;
}

#endif
