/*
 * Connections: how they are opened, and how statements and values go over them.
 *
 * Statements are prepared on a connection when it first needs them, with the types of their declaration.
 * Arguments go in binary form, so that their lengths are explicit; results come as text, since a column's type
 * is the expression's (a COUNT is a bigint, a literal an integer) and the declaration only says what is read.
 *
 * Nothing waits without a bound: sockets are non-blocking, and a server that has not answered within
 * store_timeout counts as gone.  In a pipeline both sides may have much to say at once; so what comes in is
 * taken while what goes out waits (libpq's own warning about a deadlock otherwise).
 */
#include "local.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* pg_type.h: they never change */
#define OID_BYTEA 17
#define OID_INT8 20
#define OID_TEXT 25
#define OID_FLOAT8 701

#define SKIP_LOCKED "/*+skip_locked*/"

/* ---- errors ---------------------------------------------------------------------------------------------- */

/* SQLSTATE, appendix A of PostgreSQL's manual. */
static int status_of(const char *state)
{
    static const struct {
        const char *prefix;
        int status;
    } known[] = {
        {"23505", ASSAY_E_GUARD}, /* unique */
        {"23503", ASSAY_E_GUARD}, /* foreign key */
        {"23P01", ASSAY_E_GUARD}, /* exclusion */
        {"23", ASSAY_E_INTERNAL}, /* not null, check */
        {"22", ASSAY_E_INVALID},  /* a value that a type does not take: a NUL or no UTF-8 in a text */
        {"40", ASSAY_E_BUSY},     /* serialisation, deadlock */
        {"55P03", ASSAY_E_BUSY},  /* lock timeout */
        {"57014", ASSAY_E_TIMEOUT},
        {"53100", ASSAY_E_FULL},
        {"53200", ASSAY_E_NOMEM},
        {"53300", ASSAY_E_BUSY}, /* too many connections */
        {"25006", ASSAY_E_INTERNAL}, /* a write on a reading connection */
        {"28", ASSAY_E_CONFIG},
        {"3D", ASSAY_E_CONFIG},
        {"XX001", ASSAY_E_CORRUPT},
        {"XX002", ASSAY_E_CORRUPT},
        {"08", ASSAY_E_IO},
        {"57P", ASSAY_E_IO}, /* shutting down, starting up */
        {"58", ASSAY_E_IO},
    };
    for (size_t i = 0; state && i < sizeof known / sizeof known[0]; i++)
        if (strncmp(state, known[i].prefix, strlen(known[i].prefix)) == 0)
            return known[i].status;
    return state && state[0] ? ASSAY_E_INTERNAL : ASSAY_E_IO;
}

bool pg_broken(const struct pg_conn *c)
{
    return !c->db || PQstatus(c->db) != CONNECTION_OK;
}

int pg_error(const struct pg_conn *c, const PGresult *res, struct assay_err *err, const char *what)
{
    const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    const char *text = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *constraint = res ? PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME) : NULL;
    char line[300] = "the connection is gone";
    if (!text && c->db)
        text = PQerrorMessage(c->db);
    if (text && text[0])
        (void)snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
    return assay_err_set(err, status_of(state), "%s: %s%s%s", what, line, constraint ? ", constraint " : "",
                         constraint ? constraint : "");
}

/* ---- opening ----------------------------------------------------------------------------------------------- */

static void quiet(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

/* The option that stands for a keyword of libpq, where no DSN is given: the older names, one by one. */
static const struct {
    const char *keyword, *option;
} parts[] = {{"host", "db_host"}, {"port", "db_port"}, {"user", "db_username"}, {"password", "db_password"}, {"dbname", "db_name"}};

static PGconn *dial(struct pg_store *s)
{
    const char *key[16], *value[16];
    struct assay_str dsn = assay_secret_reveal(s->dsn);
    size_t n = 0;
    /* what the DSN says of these comes later and wins */
    key[n] = "connect_timeout", value[n++] = "10";
    key[n] = "application_name", value[n++] = "assayd";
    key[n] = "keepalives_idle", value[n++] = "30";
    key[n] = "tcp_user_timeout", value[n++] = "30000";
    if (dsn.n != 0) {
        key[n] = "dbname", value[n++] = dsn.p;
    } else {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            key[n] = parts[i].keyword;
            value[n++] = s->host->option_str(s->host->ctx, parts[i].option);
        }
    }
    key[n] = "client_encoding", value[n++] = "UTF8";
    key[n] = NULL, value[n] = NULL;
    return PQconnectdbParams(key, value, 1);
}

static int settle_session(struct pg_store *s, struct pg_conn *c, enum pg_use use, struct assay_err *err)
{
    char sql[400];
    /* a session that the server lets lose an acknowledged commit is set right; stronger ones stay */
    (void)snprintf(sql, sizeof sql,
                   "SET client_min_messages = warning; SET standard_conforming_strings = on; SET bytea_output = hex;"
                   "SET default_transaction_isolation = 'read committed'; SET lock_timeout = %d; SET statement_timeout = %lld;"
                   "SET idle_in_transaction_session_timeout = %lld; SET default_transaction_read_only = %s",
                   use == PG_MIGRATE ? 0 : 10000, (long long)(use == PG_MIGRATE ? 0 : s->timeout_ms), (long long)s->timeout_ms,
                   use == PG_READ ? "on" : "off");
    int st = pg_text(s, c, sql, "setting up the session", err);
    if (st == 0 && use == PG_WRITE)
        st = pg_text(s, c,
                     "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')",
                     "synchronous_commit", err);
    return st;
}

int pg_open(struct pg_store *s, struct pg_conn *c, enum pg_use use, struct assay_err *err)
{
    pg_close(c);
    c->db = dial(s);
    int st = 0;
    if (!c->db)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a connection");
    if (PQstatus(c->db) != CONNECTION_OK)
        st = pg_error(c, NULL, err, "connecting to PostgreSQL");
    else if (PQserverVersion(c->db) < PG_OLDEST)
        st = assay_err_set(err, ASSAY_E_CONFIG, "PostgreSQL %d is too old: 13 or later is needed", PQserverVersion(c->db) / 10000);
    if (st == 0 && PQsetnonblocking(c->db, 1) != 0)
        st = pg_error(c, NULL, err, "a non-blocking connection");
    if (st == 0) {
        (void)PQsetNoticeReceiver(c->db, quiet, NULL);
        st = settle_session(s, c, use, err);
    }
    s->host->metric_add(s->host->ctx, &pg_metrics[PG_METRIC_CONNECTS], (const char *const[]){st == 0 ? "ok" : "failed", NULL}, 1);
    if (st != 0)
        pg_close(c);
    return st;
}

void pg_close(struct pg_conn *c)
{
    if (c->db)
        PQfinish(c->db);
    free(c->known);
    c->db = NULL;
    c->known = NULL;
    c->n = c->room = 0;
}

/* ---- prepared statements -------------------------------------------------------------------------------------- */

static size_t hash_ptr(const void *p, size_t room)
{
    uint64_t x = (uint64_t)(uintptr_t)p;
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    return (size_t)x & (room - 1);
}

static size_t place_of(const struct pg_conn *c, const struct assay_stmt *stmt)
{
    size_t i = hash_ptr(stmt, c->room);
    while (c->known[i] && c->known[i] != stmt)
        i = (i + 1) & (c->room - 1);
    return i;
}

static bool is_known(const struct pg_conn *c, const struct assay_stmt *stmt)
{
    return c->room != 0 && c->known[place_of(c, stmt)] == stmt;
}

static int make_room(struct pg_conn *c, struct assay_err *err)
{
    if (c->room != 0 && c->n * 2 < c->room)
        return 0;
    size_t room = c->room ? c->room * 2 : 256, old = c->room;
    const struct assay_stmt **was = c->known;
    const struct assay_stmt **grown = calloc(room, sizeof *grown);
    if (!grown)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the statements of a connection");
    c->known = grown;
    c->room = room;
    for (size_t i = 0; i < old; i++)
        if (was[i])
            c->known[place_of(c, was[i])] = was[i];
    free(was);
    return 0;
}

/* By address: the same text on two connections has the same name, which helps who reads the server's log. */
static void name_of(const struct assay_stmt *stmt, char name[80])
{
    (void)snprintf(name, 80, "%.50s_%llx", stmt->name, (unsigned long long)(uintptr_t)stmt);
}

static Oid oid_of(char letter)
{
    return letter == 'i' ? OID_INT8 : letter == 'r' ? OID_FLOAT8 : letter == 'b' ? OID_BYTEA : letter == 't' ? OID_TEXT : 0;
}

static int send_prepare(struct pg_conn *c, const struct assay_stmt *stmt, struct assay_err *err)
{
    Oid type[PG_MAX_PARAMS];
    size_t n = strlen(stmt->params);
    char name[80];
    if (n > PG_MAX_PARAMS)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: more than %d parameters", stmt->name, PG_MAX_PARAMS);
    for (size_t i = 0; i < n; i++) {
        type[i] = oid_of(stmt->params[i]);
        if (type[i] == 0)
            return assay_err_set(err, ASSAY_E_INTERNAL, "%s: unknown type letter of $%zu", stmt->name, i + 1);
    }
    ASSAY_CLEANUP_BUF struct assay_buf sql = ASSAY_BUF_INIT;
    const char *at = strstr(stmt->sql, SKIP_LOCKED);
    if (at) {
        assay_buf_add(&sql, stmt->sql, (size_t)(at - stmt->sql));
        assay_buf_puts(&sql, "FOR UPDATE SKIP LOCKED");
        assay_buf_puts(&sql, at + strlen(SKIP_LOCKED));
    } else {
        assay_buf_puts(&sql, stmt->sql);
    }
    assay_buf_putc(&sql, '\0');
    if (sql.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "%s: no memory", stmt->name);
    name_of(stmt, name);
    return PQsendPrepare(c->db, name, sql.p, (int)n, type) == 1 ? 0 : pg_error(c, NULL, err, stmt->name);
}

/* Takes the one result of what was sent, and its end. */
static int take_one(struct pg_store *s, struct pg_conn *c, PGresult **out, struct assay_err *err)
{
    PGresult *end = NULL;
    *out = NULL;
    int st = pg_next(s, c, out, err);
    if (st == 0 && *out)
        st = pg_next(s, c, &end, err);
    if (end)
        PQclear(end);
    if (st != 0 && *out) {
        PQclear(*out);
        *out = NULL;
    }
    return st;
}

static bool went_well(const PGresult *res)
{
    ExecStatusType status = res ? PQresultStatus(res) : PGRES_FATAL_ERROR;
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

int pg_prepared(struct pg_store *s, struct pg_conn *c, const struct assay_stmt *stmt, struct assay_err *err)
{
    if (is_known(c, stmt))
        return 0;
    int st = make_room(c, err);
    if (st == 0)
        st = send_prepare(c, stmt, err);
    PGresult *res = NULL;
    if (st == 0)
        st = take_one(s, c, &res, err);
    if (st == 0 && !went_well(res))
        st = pg_error(c, res, err, stmt->name);
    PQclear(res);
    if (st == 0) {
        c->known[place_of(c, stmt)] = stmt;
        c->n++;
    }
    return st;
}

/* By its first word, which is all that a statement of ours shows of itself. */
static bool reads_only(const char *sql)
{
    sql += strspn(sql, " \t\r\n(");
    return strncasecmp(sql, "SELECT", 6) == 0 || strncasecmp(sql, "VALUES", 6) == 0;
}

static bool uses(const char *sql, size_t number)
{
    char name[24];
    size_t n = (size_t)snprintf(name, sizeof name, "$%zu", number);
    for (const char *at = strstr(sql, name); at; at = strstr(at + n, name))
        if (at[n] < '0' || at[n] > '9')
            return true;
    return false;
}

int pg_check(struct pg_store *s, struct pg_conn *c, const struct assay_stmt *stmt, struct assay_err *err)
{
    char name[80];
    PGresult *res = NULL;
    for (const char *t = stmt->columns; *t; t++)
        if (oid_of(*t) == 0)
            return assay_err_set(err, ASSAY_E_INTERNAL, "%s: unknown type letter of column %zu", stmt->name,
                                 (size_t)(t - stmt->columns) + 1);
    if (stmt->write == reads_only(stmt->sql))
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: is declared as %s", stmt->name,
                             stmt->write ? "a write and only reads" : "a read and writes");
    for (size_t i = 1; i <= strlen(stmt->params); i++)
        if (!uses(stmt->sql, i))
            return assay_err_set(err, ASSAY_E_INTERNAL, "%s: does not use $%zu", stmt->name, i);
    struct assay_err why = {0};
    int st = pg_prepared(s, c, stmt, &why);
    if (st != 0)
        return assay_err_set(err, st == ASSAY_E_IO || st == ASSAY_E_TIMEOUT ? st : ASSAY_E_INTERNAL, "%.300s", why.msg);
    name_of(stmt, name);
    if (PQsendDescribePrepared(c->db, name) != 1)
        return pg_error(c, NULL, err, stmt->name);
    st = take_one(s, c, &res, err);
    if (st == 0 && !went_well(res))
        st = pg_error(c, res, err, stmt->name);
    else if (st == 0 && (size_t)PQnfields(res) != strlen(stmt->columns))
        st = assay_err_set(err, ASSAY_E_INTERNAL, "%s: returns %d columns, declared are %zu", stmt->name, PQnfields(res),
                           strlen(stmt->columns));
    else if (st == 0 && (size_t)PQnparams(res) != strlen(stmt->params))
        st = assay_err_set(err, ASSAY_E_INTERNAL, "%s: has %d parameters, declared are %zu", stmt->name, PQnparams(res),
                           strlen(stmt->params));
    PQclear(res);
    return st;
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

static void big_endian(uint64_t v, char out[8])
{
    for (int i = 0; i < 8; i++)
        out[i] = (char)(v >> (56 - 8 * i) & 0xff);
}

/* One argument in PostgreSQL's binary form; number is room for it. */
static int argument(const struct assay_stmt *stmt, size_t i, const struct assay_val *v, char number[8], const char **p, int *n,
                    struct assay_err *err)
{
    char want = stmt->params[i];
    double r = v->type == ASSAY_VAL_INT ? (double)v->i : v->r;
    uint64_t bits;
    *p = NULL;
    *n = 0;
    if (v->type == ASSAY_VAL_NULL)
        return 0;
    if (v->type == ASSAY_VAL_INT && want == 'i') {
        big_endian((uint64_t)v->i, number);
        *p = number;
        *n = 8;
        return 0;
    }
    if ((v->type == ASSAY_VAL_REAL || v->type == ASSAY_VAL_INT) && want == 'r') {
        memcpy(&bits, &r, sizeof bits);
        big_endian(bits, number);
        *p = number;
        *n = 8;
        return 0;
    }
    if ((v->type == ASSAY_VAL_TEXT && want == 't') || (v->type == ASSAY_VAL_BLOB && want == 'b')) {
        if (want == 't' && v->s.n != 0 && memchr(v->s.p, 0, v->s.n))
            return assay_err_set(err, ASSAY_E_INVALID, "%s: a text with a NUL, which this database cannot keep", stmt->name);
        if (v->s.n > INT32_MAX / 2)
            return assay_err_set(err, ASSAY_E_TOO_LARGE, "%s: $%zu is too long", stmt->name, i + 1);
        *p = v->s.n ? v->s.p : "";
        *n = (int)v->s.n;
        return 0;
    }
    return assay_err_set(err, ASSAY_E_INTERNAL, "%s: $%zu is declared as '%c'", stmt->name, i + 1, want);
}

int pg_send(struct pg_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n, struct assay_err *err)
{
    const char *value[PG_MAX_PARAMS];
    char number[PG_MAX_PARAMS][8], name[80];
    int length[PG_MAX_PARAMS], format[PG_MAX_PARAMS];
    if (n != strlen(stmt->params))
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: takes %zu arguments, given are %zu", stmt->name, strlen(stmt->params), n);
    for (size_t i = 0; i < n; i++) {
        int st = argument(stmt, i, &args[i], number[i], &value[i], &length[i], err);
        if (st != 0)
            return st;
        format[i] = 1;
    }
    name_of(stmt, name);
    return PQsendQueryPrepared(c->db, name, (int)n, value, length, format, 0) == 1 ? 0 : pg_error(c, NULL, err, stmt->name);
}

int pg_send_text(struct pg_conn *c, const char *sql, struct assay_err *err)
{
    return PQsendQueryParams(c->db, sql, 0, NULL, NULL, NULL, NULL, 0) == 1 ? 0 : pg_error(c, NULL, err, sql);
}

int pg_next(struct pg_store *s, struct pg_conn *c, PGresult **out, struct assay_err *err)
{
    int64_t until = assay_mono_ns() + s->timeout_ms * 1000000;
    *out = NULL;
    for (;;) {
        int left = PQflush(c->db);
        if (left < 0)
            return pg_error(c, NULL, err, "sending to PostgreSQL");
        if (left == 0 && !PQisBusy(c->db)) {
            *out = PQgetResult(c->db);
            return 0;
        }
        int64_t ms = (until - assay_mono_ns()) / 1000000;
        if (ms <= 0) /* what may still come is not for the next one who asks: the connection is of no use any more */
            return assay_err_set(err, ASSAY_E_TIMEOUT, "PostgreSQL has not answered within %lld ms", (long long)s->timeout_ms);
        struct pollfd p = {.fd = PQsocket(c->db), .events = (short)(POLLIN | (left ? POLLOUT : 0))};
        if (poll(&p, 1, ms > 1000 ? 1000 : (int)ms) < 0 && errno != EINTR)
            return assay_err_errno(err, ASSAY_E_IO, errno, "waiting for PostgreSQL");
        if ((p.revents & (POLLIN | POLLERR | POLLHUP)) && PQconsumeInput(c->db) != 1)
            return pg_error(c, NULL, err, "reading from PostgreSQL");
    }
}

/* ---- results --------------------------------------------------------------------------------------------------- */

static int nibble(char ch)
{
    return ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static int bytes_of(const char *p, size_t n, const char *what, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    if (n < 2 || p[0] != '\\' || p[1] != 'x' || n % 2 != 0)
        return assay_err_set(err, ASSAY_E_CORRUPT, "%s: bytes that are not in hexadecimal", what);
    char *to = assay_arena_alloc(arena, n / 2);
    if (!to)
        return assay_err_set(err, ASSAY_E_NOMEM, "%s: no memory for a row", what);
    for (size_t i = 2; i < n; i += 2) {
        int high = nibble(p[i]), low = nibble(p[i + 1]);
        if (high < 0 || low < 0)
            return assay_err_set(err, ASSAY_E_CORRUPT, "%s: bytes that are not in hexadecimal", what);
        to[i / 2 - 1] = (char)(high << 4 | low);
    }
    *out = (struct assay_str){to, n / 2 - 1};
    return 0;
}

static int column(const PGresult *res, int row, int col, const struct assay_stmt *stmt, struct assay_arena *arena,
                  struct assay_val *out, struct assay_err *err)
{
    *out = ASSAY_VNULL;
    if (PQgetisnull(res, row, col))
        return 0;
    const char *p = PQgetvalue(res, row, col);
    size_t n = (size_t)PQgetlength(res, row, col);
    char *end = NULL;
    errno = 0;
    switch (stmt->columns[col]) {
    case 'i':
        if (p[0] == 't' || p[0] == 'f') /* a comparison */
            *out = ASSAY_VI(p[0] == 't');
        else
            *out = ASSAY_VI(strtoll(p, &end, 10));
        if (errno != 0 || (end && *end))
            return assay_err_set(err, ASSAY_E_INTERNAL, "%s: column %d is no integer", stmt->name, col + 1);
        return 0;
    case 'r':
        *out = ASSAY_VR(strtod(p, &end)); /* takes Infinity and NaN as PostgreSQL writes them */
        if (end == p || *end)
            return assay_err_set(err, ASSAY_E_INTERNAL, "%s: column %d is no number", stmt->name, col + 1);
        return 0;
    case 'b': {
        struct assay_str s = ASSAY_STR("");
        int st = bytes_of(p, n, stmt->name, arena, &s, err);
        if (st == 0)
            *out = ASSAY_VB(s);
        return st;
    }
    default: {
        struct assay_str s = n ? assay_arena_str(arena, (struct assay_str){p, n}) : ASSAY_STR("");
        if (!s.p)
            return assay_err_set(err, ASSAY_E_NOMEM, "%s: no memory for a row", stmt->name);
        *out = ASSAY_VT(s);
        return 0;
    }
    }
}

int pg_result(const struct pg_conn *c, const PGresult *res, const struct assay_stmt *stmt, struct assay_arena *arena,
              struct assay_rows *rows, int64_t *touched, struct assay_err *err)
{
    if (!went_well(res))
        return pg_error(c, res, err, stmt->name);
    size_t n = (size_t)PQntuples(res), cols = strlen(stmt->columns);
    if ((size_t)PQnfields(res) != cols)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: returns %d columns, declared are %zu", stmt->name, PQnfields(res), cols);
    if (rows) {
        *rows = (struct assay_rows){.n = n, .n_cols = cols};
        rows->row = n ? assay_arena_array(arena, n, sizeof *rows->row) : NULL;
        struct assay_val *val = n ? assay_arena_array(arena, n * cols, sizeof *val) : NULL;
        if (n && (!rows->row || !val))
            return assay_err_set(err, ASSAY_E_NOMEM, "%s: no memory for its rows", stmt->name);
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < cols; k++) {
                int st = column(res, (int)i, (int)k, stmt, arena, &val[i * cols + k], err);
                if (st != 0)
                    return st;
            }
            rows->row[i] = (struct assay_row){&val[i * cols]};
        }
    }
    if (touched) {
        const char *count = PQresultStatus(res) == PGRES_TUPLES_OK ? "" : PQcmdTuples((PGresult *)(uintptr_t)res);
        *touched = cols ? (int64_t)n : (int64_t)strtoll(count, NULL, 10);
    }
    return 0;
}

int pg_run(struct pg_store *s, struct pg_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
           struct assay_arena *arena, struct assay_rows *rows, int64_t *touched, struct assay_err *err)
{
    PGresult *res = NULL;
    if (pg_broken(c))
        return assay_err_set(err, ASSAY_E_IO, "%s: there is no connection to PostgreSQL", stmt->name);
    int st = pg_prepared(s, c, stmt, err);
    if (st == 0)
        st = pg_send(c, stmt, args, n, err);
    if (st == 0)
        st = take_one(s, c, &res, err);
    if (st == 0)
        st = pg_result(c, res, stmt, arena, rows, touched, err);
    PQclear(res);
    return st;
}

int pg_int(struct pg_store *s, struct pg_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
           int64_t dflt, int64_t *out, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows = {0};
    if (!arena)
        return assay_err_set(err, ASSAY_E_NOMEM, "%s: no memory", stmt->name);
    int st = pg_run(s, c, stmt, args, n, arena, &rows, NULL, err);
    if (st == 0)
        *out = rows.n == 0 || rows.row[0].col[0].type == ASSAY_VAL_NULL ? dflt : rows.row[0].col[0].i;
    return st;
}

int pg_text(struct pg_store *s, struct pg_conn *c, const char *sql, const char *what, struct assay_err *err)
{
    if (pg_broken(c))
        return assay_err_set(err, ASSAY_E_IO, "%s: there is no connection to PostgreSQL", what);
    if (PQsendQuery(c->db, sql) != 1)
        return pg_error(c, NULL, err, what);
    int st = 0;
    for (;;) { /* a result for each statement of the text */
        PGresult *res = NULL;
        struct assay_err later;
        int rc = pg_next(s, c, &res, st == 0 ? err : &later);
        if (rc != 0)
            return st == 0 ? rc : st;
        if (!res)
            return st;
        if (!went_well(res) && st == 0)
            st = pg_error(c, res, err, what);
        PQclear(res);
    }
}
