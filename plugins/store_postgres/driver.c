/* The table of driver operations. */
#include "local.h"

#include <stdlib.h>
#include <string.h>

static int op_migrate(void *self, const char *component, const struct assay_migration *m, size_t n, struct assay_err *err)
{
    struct pg_store *s = pg_self(self);
    if (assay_store_queue_running(s->queue))
        return assay_err_set(err, ASSAY_E_INTERNAL, "migrations run before the writer starts");
    return pg_migrate(s, component, m, n, err);
}

static int op_prepare(void *self, const struct assay_stmt *const *stmts, size_t n, struct assay_err *err)
{
    struct pg_store *s = pg_self(self);
    if (assay_store_queue_running(s->queue))
        return assay_err_set(err, ASSAY_E_INTERNAL, "statements are registered before the writer starts");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s->n_registered; k++)
            if (s->registered[k] != stmts[i] && strcmp(s->registered[k]->name, stmts[i]->name) == 0)
                return assay_err_set(err, ASSAY_E_INTERNAL, "two statements are named %s", stmts[i]->name);
        int st = pg_broken(&s->w) ? pg_open(s, &s->w, PG_WRITE, err) : 0;
        if (st == 0)
            st = pg_check(s, &s->w, stmts[i], err);
        if (st != 0)
            return st;
        if (s->n_registered == s->room_registered) {
            size_t room = s->room_registered ? s->room_registered * 2 : 64;
            const struct assay_stmt **grown = reallocarray(s->registered, room, sizeof *grown);
            if (!grown)
                return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the list of statements");
            s->registered = grown;
            s->room_registered = room;
        }
        s->registered[s->n_registered++] = stmts[i];
    }
    return 0;
}

static int op_start(void *self, void (*committed)(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n), void *arg,
                    struct assay_err *err)
{
    struct pg_store *s = pg_self(self);
    s->committed = committed;
    s->committed_arg = arg;
    return pg_writer_start(s, err);
}

static int op_exec_async(void *self, struct assay_tx *tx, assay_tx_done done, void *arg, struct assay_err *err)
{
    return assay_store_queue_push(pg_self(self)->queue, tx, done, arg, err);
}

static int op_exec(void *self, struct assay_tx *tx, struct assay_err *err)
{
    return assay_store_queue_exec(pg_self(self)->queue, tx, err);
}

struct query {
    const struct assay_stmt *stmt;
    const struct assay_val *args;
    size_t n;
    struct assay_arena *arena;
    struct assay_rows *out;
};

static int run_query(struct pg_store *s, struct pg_conn *c, void *arg, struct assay_err *err)
{
    const struct query *q = arg;
    return pg_run(s, c, q->stmt, q->args, q->n, q->arena, q->out, NULL, err);
}

static int op_query(void *self, const struct assay_stmt *stmt, const struct assay_val *args, size_t n, struct assay_arena *arena,
                    struct assay_rows *out, struct assay_err *err)
{
    struct query q = {stmt, args, n, arena, out};
    if (stmt->write)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: is declared as a write", stmt->name);
    return pg_read(pg_self(self), run_query, &q, err);
}

static int op_events(void *self, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                     struct assay_event_row **out, size_t *n, struct assay_err *err)
{
    return pg_events_read(pg_self(self), after, topics, max, arena, out, n, err);
}

static int op_events_head(void *self, int64_t *seq, struct assay_err *err)
{
    return pg_events_head(pg_self(self), seq, err);
}

static int op_cursor_get(void *self, struct assay_str group, int64_t *seq, struct assay_err *err)
{
    return pg_cursor_get(pg_self(self), group, seq, err);
}

static void op_stop(void *self)
{
    assay_store_queue_stop(pg_self(self)->queue);
}

static int op_health(void *self, struct assay_err *err)
{
    int st = atomic_load(&pg_self(self)->health);
    return st == 0 ? 0 : assay_err_set(err, st, "PostgreSQL cannot commit: %s", assay_err_word(st));
}

const struct assay_store_ops pg_ops = {
    .size = sizeof(struct assay_store_ops),
    .migrate = op_migrate,
    .prepare = op_prepare,
    .start = op_start,
    .exec_async = op_exec_async,
    .exec = op_exec,
    .query = op_query,
    .events = op_events,
    .events_head = op_events_head,
    .cursor_get = op_cursor_get,
    .stop = op_stop,
    .health = op_health,
};
