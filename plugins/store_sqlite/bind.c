/*
 * Statements and values on one connection.
 *
 * A statement is compiled on its first use on a connection and found again by the address of its
 * struct assay_stmt, which is const data of a plugin that is never unloaded.  SQLite numbers named
 * parameters by their first appearance, so $2 may well be its number 1: the order is asked once and
 * kept.  When a connection holds its limit of statements all are dropped: a reader that has seen
 * every statement of the program must not keep them all for ever, and it happens rarely.
 */
#include "local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int sq_error(sqlite3 *db, int rc, struct assay_err *err, const char *what)
{
    int called = errno; /* before anything else is called */
    int ext = db ? sqlite3_extended_errcode(db) : rc;
    if ((ext & 0xff) != (rc & 0xff))
        ext = rc;
    const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    int os = db ? sqlite3_system_errno(db) : 0;
    int code = ASSAY_E_INTERNAL;
    switch (rc & 0xff) {
    case SQLITE_FULL:
        code = ASSAY_E_FULL;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = ASSAY_E_BUSY;
        break;
    case SQLITE_NOMEM:
        code = ASSAY_E_NOMEM;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        /* SQLite says so too when the system could not read a page (unixRead): that is looked into, not final. Who runs a
         * statement has set errno to 0; one that is stale costs a reopening, which checks the file. */
        code = called == EIO || called == ENXIO || called == ERANGE ? ASSAY_E_IO : ASSAY_E_CORRUPT;
        break;
    case SQLITE_IOERR:
        /* SQLite says FULL for ENOSPC on a write only: not for a quota, nor for its shared memory */
        code = ext == SQLITE_IOERR_NOMEM ? ASSAY_E_NOMEM
               : (os == ENOSPC || os == EDQUOT) ? ASSAY_E_FULL
                                                : ASSAY_E_IO;
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_PROTOCOL:
        code = (os == ENOSPC || os == EDQUOT) ? ASSAY_E_FULL : ASSAY_E_IO;
        break;
    case SQLITE_CONSTRAINT:
        /* what depends on other rows is a guard; a broken CHECK or NOT NULL is a fault of ours */
        if (ext == SQLITE_CONSTRAINT_UNIQUE || ext == SQLITE_CONSTRAINT_PRIMARYKEY || ext == SQLITE_CONSTRAINT_ROWID ||
            ext == SQLITE_CONSTRAINT_FOREIGNKEY)
            code = ASSAY_E_GUARD;
        break;
    case SQLITE_TOOBIG:
        code = ASSAY_E_TOO_LARGE;
        break;
    case SQLITE_INTERRUPT:
        code = ASSAY_E_TIMEOUT;
        break;
    default:
        break;
    }
    return assay_err_set(err, code, "%s: %s (SQLite %d)", what, text, ext);
}

static void cached_free(struct sq_cached *q)
{
    if (q)
        (void)sqlite3_finalize(q->st); /* repeats the error of its last step, which was handled there */
    free(q);
}

static void cache_clear(struct sq_conn *c)
{
    for (size_t i = 0; i < c->room; i++) {
        cached_free(c->slot[i]);
        c->slot[i] = NULL;
    }
    c->n = 0;
}

void sq_conn_close(struct sq_conn *c)
{
    if (c->slot)
        cache_clear(c);
    free(c->slot);
    c->slot = NULL;
    c->room = 0;
    if (c->db)
        (void)sqlite3_close_v2(c->db);
    c->db = NULL;
}

static size_t hash_ptr(const void *p, size_t room)
{
    uint64_t x = (uint64_t)(uintptr_t)p;
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    return (size_t)x & (room - 1);
}

/* On failure nothing stays compiled. */
static int compile(sqlite3 *db, const struct assay_stmt *stmt, unsigned flags, struct sq_cached *q,
                   struct assay_err *err)
{
    memset(q, 0, sizeof *q);
    q->stmt = stmt;
    q->n_params = strlen(stmt->params);
    q->n_cols = strlen(stmt->columns);
    if (q->n_params > SQ_MAX_PARAMS)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: more than %d parameters", stmt->name, SQ_MAX_PARAMS);
    const char *tail = NULL;
    errno = 0;
    int rc = sqlite3_prepare_v3(db, stmt->sql, -1, flags, &q->st, &tail);
    if (rc != SQLITE_OK)
        return sq_error(db, rc, err, stmt->name);
    int bad = 0;
    if (!q->st || (tail && tail[strspn(tail, " \t\r\n;")] != '\0'))
        bad = assay_err_set(err, ASSAY_E_INTERNAL, "%s: must be exactly one statement", stmt->name);
    else if ((size_t)sqlite3_column_count(q->st) != q->n_cols)
        bad = assay_err_set(err, ASSAY_E_INTERNAL, "%s: returns %d columns, declared are %zu", stmt->name,
                            sqlite3_column_count(q->st), q->n_cols);
    else if ((size_t)sqlite3_bind_parameter_count(q->st) != q->n_params)
        bad = assay_err_set(err, ASSAY_E_INTERNAL, "%s: has %d parameters, declared are %zu", stmt->name,
                            sqlite3_bind_parameter_count(q->st), q->n_params);
    else if (stmt->write == (sqlite3_stmt_readonly(q->st) != 0) && q->n_cols + q->n_params > 0)
        bad = assay_err_set(err, ASSAY_E_INTERNAL, "%s: is declared as %s", stmt->name,
                            stmt->write ? "a write and only reads" : "a read and writes");
    for (size_t i = 0; bad == 0 && i < q->n_params; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "$%zu", i + 1);
        q->index[i] = sqlite3_bind_parameter_index(q->st, name);
        if (q->index[i] == 0)
            bad = assay_err_set(err, ASSAY_E_INTERNAL, "%s: does not use %s", stmt->name, name);
        else if (!strchr("tirb", stmt->params[i]))
            bad = assay_err_set(err, ASSAY_E_INTERNAL, "%s: unknown type letter of %s", stmt->name, name);
    }
    for (size_t i = 0; bad == 0 && i < q->n_cols; i++)
        if (!strchr("tirb", stmt->columns[i]))
            bad = assay_err_set(err, ASSAY_E_INTERNAL, "%s: unknown type letter of column %zu", stmt->name, i + 1);
    if (bad != 0) {
        (void)sqlite3_finalize(q->st);
        q->st = NULL;
    }
    return bad;
}

int sq_check(sqlite3 *db, const struct assay_stmt *stmt, struct assay_err *err)
{
    struct sq_cached q;
    int st = compile(db, stmt, 0, &q, err);
    if (st == 0)
        (void)sqlite3_finalize(q.st);
    return st;
}

int sq_cached_get(struct sq_conn *c, const struct assay_stmt *stmt, struct sq_cached **out, struct assay_err *err)
{
    if (!c->slot) {
        size_t room = 32;
        while (room < c->max * 2)
            room *= 2;
        c->slot = calloc(room, sizeof *c->slot);
        if (!c->slot)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the statement cache");
        c->room = room;
    }
    size_t i = hash_ptr(stmt, c->room);
    for (; c->slot[i]; i = (i + 1) & (c->room - 1))
        if (c->slot[i]->stmt == stmt) {
            *out = c->slot[i];
            return 0;
        }
    struct sq_cached *q = calloc(1, sizeof *q);
    if (!q)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for statement %s", stmt->name);
    int st = compile(c->db, stmt, SQLITE_PREPARE_PERSISTENT, q, err);
    if (st != 0) {
        free(q);
        return st;
    }
    if (c->n >= c->max) {
        cache_clear(c);
        i = hash_ptr(stmt, c->room);
    }
    c->slot[i] = q;
    c->n++;
    *out = q;
    return 0;
}

int sq_bind(struct sq_conn *c, const struct sq_cached *q, const struct assay_val *args, size_t n, struct assay_err *err)
{
    const struct assay_stmt *stmt = q->stmt;
    if (n != q->n_params)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: takes %zu arguments, given are %zu", stmt->name, q->n_params, n);
    for (size_t i = 0; i < n; i++) {
        const struct assay_val *v = &args[i];
        char want = stmt->params[i];
        int rc = SQLITE_MISMATCH;
        switch (v->type) {
        case ASSAY_VAL_NULL:
            rc = sqlite3_bind_null(q->st, q->index[i]);
            break;
        case ASSAY_VAL_INT:
            if (want == 'i')
                rc = sqlite3_bind_int64(q->st, q->index[i], v->i);
            else if (want == 'r')
                rc = sqlite3_bind_double(q->st, q->index[i], (double)v->i);
            break;
        case ASSAY_VAL_REAL:
            if (want == 'r')
                rc = sqlite3_bind_double(q->st, q->index[i], v->r);
            break;
        case ASSAY_VAL_TEXT:
            /* static: the caller keeps the bytes until the statement has been reset */
            if (want == 't')
                rc = sqlite3_bind_text64(q->st, q->index[i], v->s.p ? v->s.p : "", v->s.n, SQLITE_STATIC, SQLITE_UTF8);
            break;
        case ASSAY_VAL_BLOB:
            if (want == 'b')
                rc = v->s.n ? sqlite3_bind_blob64(q->st, q->index[i], v->s.p, v->s.n, SQLITE_STATIC)
                            : sqlite3_bind_zeroblob(q->st, q->index[i], 0);
            break;
        }
        if (rc != SQLITE_OK) {
            sq_done(q);
            if (rc == SQLITE_MISMATCH)
                return assay_err_set(err, ASSAY_E_INTERNAL, "%s: $%zu is declared as '%c'", stmt->name, i + 1, want);
            return sq_error(c->db, rc, err, stmt->name);
        }
    }
    return 0;
}

void sq_done(const struct sq_cached *q)
{
    (void)sqlite3_reset(q->st); /* repeats the error of the last step */
    (void)sqlite3_clear_bindings(q->st);
}

int sq_column(struct sq_conn *c, const struct sq_cached *q, size_t col, struct assay_arena *arena, struct assay_val *out,
              struct assay_err *err)
{
    int i = (int)col;
    *out = ASSAY_VNULL;
    if (sqlite3_column_type(q->st, i) == SQLITE_NULL)
        return 0;
    char t = q->stmt->columns[col];
    if (t == 'i') {
        *out = ASSAY_VI(sqlite3_column_int64(q->st, i));
        return 0;
    }
    if (t == 'r') {
        *out = ASSAY_VR(sqlite3_column_double(q->st, i));
        return 0;
    }
    const void *p = t == 't' ? (const void *)sqlite3_column_text(q->st, i) : sqlite3_column_blob(q->st, i);
    int bytes = sqlite3_column_bytes(q->st, i);
    /* an empty blob is NULL too: only the error code tells it from no memory */
    if (!p && sqlite3_errcode(c->db) == SQLITE_NOMEM)
        return sq_error(c->db, SQLITE_NOMEM, err, q->stmt->name);
    struct assay_str s = ASSAY_STR("");
    if (p && bytes > 0) {
        s = assay_arena_str(arena, (struct assay_str){p, (size_t)bytes});
        if (!s.p)
            return assay_err_set(err, ASSAY_E_NOMEM, "%s: no memory for a row", q->stmt->name);
    }
    out->type = t == 't' ? ASSAY_VAL_TEXT : ASSAY_VAL_BLOB;
    out->s = s;
    return 0;
}

static int add_row(struct sq_conn *c, const struct sq_cached *q, struct assay_arena *arena, struct assay_rows *rows,
                   size_t *room, struct assay_err *err)
{
    if (rows->n == *room) {
        size_t more = *room ? *room * 2 : 4;
        struct assay_row *grown = assay_arena_array(arena, more, sizeof *grown);
        if (!grown)
            return assay_err_set(err, ASSAY_E_NOMEM, "%s: no memory for its rows", q->stmt->name);
        if (rows->n)
            memcpy(grown, rows->row, rows->n * sizeof *grown);
        rows->row = grown;
        *room = more;
    }
    struct assay_val *col = assay_arena_array(arena, q->n_cols, sizeof *col);
    if (!col)
        return assay_err_set(err, ASSAY_E_NOMEM, "%s: no memory for a row", q->stmt->name);
    for (size_t i = 0; i < q->n_cols; i++) {
        int st = sq_column(c, q, i, arena, &col[i], err);
        if (st != 0)
            return st;
    }
    rows->row[rows->n++] = (struct assay_row){col};
    return 0;
}

int sq_run(struct sq_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n,
           struct assay_arena *arena, struct assay_rows *rows, int64_t *touched, struct assay_err *err)
{
    struct sq_cached *q;
    int st = sq_cached_get(c, stmt, &q, err);
    if (st != 0)
        return st;
    st = sq_bind(c, q, args, n, err);
    if (st != 0)
        return st;
    struct assay_rows got = {.n_cols = q->n_cols};
    size_t room = 0;
    int64_t seen = 0;
    int rc;
    errno = 0;
    while ((rc = sqlite3_step(q->st)) == SQLITE_ROW) {
        seen++;
        if (rows) {
            st = add_row(c, q, arena, &got, &room, err);
            if (st != 0)
                break;
        }
    }
    if (st == 0 && rc != SQLITE_DONE)
        st = sq_error(c->db, rc, err, stmt->name);
    int64_t changes = sqlite3_changes64(c->db);
    sq_done(q);
    if (st != 0)
        return st;
    if (rows)
        *rows = got;
    if (touched)
        *touched = q->n_cols ? seen : changes;
    return 0;
}

int sq_int(struct sq_conn *c, const struct assay_stmt *stmt, const struct assay_val *args, size_t n, int64_t dflt,
           int64_t *out, struct assay_err *err)
{
    struct sq_cached *q;
    int st = sq_cached_get(c, stmt, &q, err);
    if (st == 0)
        st = sq_bind(c, q, args, n, err);
    if (st != 0)
        return st;
    errno = 0;
    int rc = sqlite3_step(q->st);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_type(q->st, 0) == SQLITE_NULL ? dflt : sqlite3_column_int64(q->st, 0);
    else if (rc == SQLITE_DONE)
        *out = dflt;
    else
        st = sq_error(c->db, rc, err, stmt->name);
    sq_done(q);
    return st;
}
