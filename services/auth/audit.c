/* The audit log: the records that all services send, kept and shown. */
#include "local.h"

#include <assay/audit.h>

/* Seen twice (a dispatcher that died behind its commit) is kept once. */
STMT(audit_insert, true, "iittttttttt", "",
     "INSERT INTO auth_audit (seq, at_ms, id, actor_id, agent_id, role, action, target, remote, request_id, detail)"
     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (seq) DO NOTHING");
STMT(audit_list, false, "itttiii", "iittttttttt",
     "SELECT seq, at_ms, id, actor_id, agent_id, role, action, target, remote, request_id, detail FROM auth_audit"
     " WHERE seq < $1 AND (CAST($2 AS TEXT) = '' OR actor_id = $2) AND (CAST($3 AS TEXT) = '' OR action = $3)"
     " AND (CAST($4 AS TEXT) = '' OR target = $4) AND at_ms >= $5 AND at_ms < $6 ORDER BY seq DESC LIMIT $7");
/* What was done stays; from where a person did it goes with the person. */
STMT(audit_forget, true, "t", "", "UPDATE auth_audit SET remote = '' WHERE actor_id = $1");

int auth_audit_deliver(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)self;
    struct assay_ev_audit a = {.actor_id = ASSAY_STR_NULL};
    int rc = assay_ev_audit_decode(ev->ev.payload, tx->arena, &a, err);
    struct assay_str id = assay_arena_str(tx->arena, assay_str(ev->id));
    if (rc == ASSAY_OK && id.p == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (rc == ASSAY_OK)
        ASSAY_TX(tx, &auth_q_audit_insert, ASSAY_EXPECT_ANY, ASSAY_VI(ev->seq), ASSAY_VI(ev->at_ms), ASSAY_VT(id), ASSAY_VT(a.actor_id),
                 ASSAY_VT(a.agent_id), ASSAY_VT(a.role), ASSAY_VT(a.action), ASSAY_VT(a.target), ASSAY_VT(a.remote), ASSAY_VT(a.request_id),
                 ASSAY_VT(a.detail));
    return rc;
}

void auth_add_audit_forget(struct assay_tx *tx, struct assay_str user_id)
{
    ASSAY_TX(tx, &auth_q_audit_forget, ASSAY_EXPECT_ANY, ASSAY_VT(user_id));
}

/* "" is told as null. */
static void known_or_null(struct assay_jw *w, const char *key, struct assay_str s)
{
    if (s.n != 0)
        assay_jw_kstr(w, key, s);
    else
        assay_jw_kz(w, key, NULL);
}

static void write_record(struct assay_jw *w, const struct assay_val *c)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", c[2].s);
    assay_jw_ktime(w, "at", c[1].i);
    assay_jw_kstr(w, "action", c[6].s);
    assay_jw_kstr(w, "target", c[7].s);
    assay_jw_kstr(w, "actor_id", c[3].s);
    known_or_null(w, "agent_id", c[4].s);
    assay_jw_kstr(w, "role", c[5].s);
    known_or_null(w, "remote", c[8].s);
    assay_jw_kstr(w, "request_id", c[9].s);
    assay_jw_kraw(w, "detail", c[10].s); /* "" writes null */
    assay_jw_end(w);
}

static int time_of(struct assay_request *rq, struct assay_response *rs, const char *name, int64_t otherwise, int64_t *out, struct assay_err *err)
{
    struct assay_str s;
    struct assay_err why = {0};
    int rc = assay_query(rq, name, &s, err);
    *out = otherwise;
    if (rc == ASSAY_OK && s.p != NULL && assay_time_parse(s, out, &why) != 0)
        return assay_fault(rq, rs, err, "", "the query parameter \"%s\": %s", name, why.msg);
    return rc;
}

int auth_audit_list(const struct assay_host *host, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"actor_id", "action", "target", "since", "until", "limit", "cursor", NULL};
    struct assay_str cursor, before, text[3];
    int64_t limit, since, until, seq = INT64_MAX;
    struct assay_rows rows;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query_page(rq, rs, 50, 200, &limit, &cursor, err);
    if (rc == ASSAY_OK)
        rc = assay_cursor_decode(rq, rs, cursor, &before, err);
    if (rc == ASSAY_OK && before.n != 0 && assay_parse_i64(before, 1, INT64_MAX, &seq, NULL) != 0)
        rc = assay_fault(rq, rs, err, "", "the query parameter \"cursor\" is not one that this server made");
    for (int i = 0; i < 3 && rc == ASSAY_OK; i++) {
        rc = assay_query(rq, known[i], &text[i], err);
        if (text[i].p == NULL)
            text[i] = ASSAY_STR("");
    }
    if (rc == ASSAY_OK)
        rc = time_of(rq, rs, "since", 0, &since, err);
    if (rc == ASSAY_OK)
        rc = time_of(rq, rs, "until", INT64_MAX, &until, err);
    if (rc == ASSAY_OK)
        rc = ASSAY_QUERY(host->store, &auth_q_audit_list, rq->arena, &rows, err, ASSAY_VI(seq), ASSAY_VT(text[0]), ASSAY_VT(text[1]),
                         ASSAY_VT(text[2]), ASSAY_VI(since), ASSAY_VI(until), ASSAY_VI(limit + 1));
    if (rc < 0)
        return rc;
    size_t shown = rows.n > (size_t)limit ? (size_t)limit : rows.n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_list_begin(w);
    for (size_t i = 0; i < shown; i++)
        write_record(w, rows.row[i].col);
    struct assay_str last = ASSAY_STR_NULL;
    if (rows.n > shown)
        last = assay_arena_fmt(rq->arena, "%lld", (long long)rows.row[shown - 1].col[0].i);
    return assay_list_end(rq, rs, w, last, err);
}
