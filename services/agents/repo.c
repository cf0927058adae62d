#include "local.h"

#include <assay/events.h>

#define STMT(n, write_, params_, columns_, sql_)                                                                       \
    const struct assay_stmt agents_q_##n = {                                                                           \
        .name = "agents." #n, .sql = sql_, .params = params_, .columns = columns_, .write = write_}

#define COLUMNS                                                                                                        \
    "a.id, a.owner_id, a.name, a.description, a.version, a.created_ms, a.updated_ms,"                                  \
    " COALESCE(w.status, ''), COALESCE(w.version, ''), COALESCE(w.capacity, 0), COALESCE(w.running, 0),"               \
    " COALESCE(w.seen_ms, 0)"
#define LETTERS "ttttiiittiii"

STMT(insert, true, "ttttii", "",
     "INSERT INTO agents_agents (id, owner_id, name, description, version, deleted, created_ms, updated_ms)"
     " VALUES ($1, $2, $3, $4, 1, 0, $5, $6) ON CONFLICT DO NOTHING");
STMT(by_id, false, "t", LETTERS,
     "SELECT " COLUMNS " FROM agents_agents a LEFT JOIN agents_workers w ON w.agent_id = a.id"
     " WHERE a.id = $1 AND a.deleted = 0");
STMT(list, false, "tti", LETTERS,
     "SELECT " COLUMNS " FROM agents_agents a LEFT JOIN agents_workers w ON w.agent_id = a.id"
     " WHERE a.id > $1 AND a.deleted = 0 AND (CAST($2 AS TEXT) = '' OR a.owner_id = $2) ORDER BY a.id LIMIT $3");
STMT(update, true, "tittti", "",
     "UPDATE agents_agents SET owner_id = $3, name = $4, description = $5, version = version + 1, updated_ms = $6"
     " WHERE id = $1 AND version = $2 AND deleted = 0");
STMT(remove, true, "tii", "",
     "UPDATE agents_agents SET deleted = 1, version = version + 1, updated_ms = $3"
     " WHERE id = $1 AND version = $2 AND deleted = 0");
/* Only while the agent is there, and not beyond the number of live tokens. */
STMT(token_insert, true, "tttttiii", "",
     "INSERT INTO agents_tokens (id, agent_id, hash, name, scopes, created_ms, expires_ms, revoked_ms)"
     " SELECT CAST($1 AS TEXT), a.id, CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS BIGINT),"
     " CAST($7 AS BIGINT), 0 FROM agents_agents a WHERE a.id = $2 AND a.deleted = 0"
     " AND (SELECT COUNT(*) FROM agents_tokens t WHERE t.agent_id = $2 AND t.revoked_ms = 0"
     " AND (t.expires_ms = 0 OR t.expires_ms > $6)) < $8");
STMT(token_list, false, "ttii", "ttttii",
     "SELECT id, agent_id, name, scopes, created_ms, expires_ms FROM agents_tokens WHERE agent_id = $1 AND id > $2"
     " AND revoked_ms = 0 AND (expires_ms = 0 OR expires_ms > $3) ORDER BY id LIMIT $4");
STMT(token_revoke, true, "tti", "",
     "UPDATE agents_tokens SET revoked_ms = $3 WHERE agent_id = $1 AND id = $2 AND revoked_ms = 0");
STMT(token_revoke_all, true, "ti", "",
     "UPDATE agents_tokens SET revoked_ms = $2 WHERE agent_id = $1 AND revoked_ms = 0");
STMT(token_by_hash, false, "ti", "ttti",
     "SELECT a.id, a.owner_id, t.scopes, t.expires_ms FROM agents_tokens t JOIN agents_agents a ON a.id = t.agent_id"
     " LEFT JOIN agents_users u ON u.id = a.owner_id WHERE t.hash = $1 AND t.revoked_ms = 0"
     " AND (t.expires_ms = 0 OR t.expires_ms > $2) AND a.deleted = 0 AND COALESCE(u.disabled, 0) = 0");
STMT(heartbeat, true, "tttiii", "",
     "INSERT INTO agents_workers (agent_id, status, version, capacity, running, seen_ms) VALUES ($1, $2, $3, $4, $5, $6)"
     " ON CONFLICT (agent_id) DO UPDATE SET status = excluded.status, version = excluded.version,"
     " capacity = excluded.capacity, running = excluded.running, seen_ms = excluded.seen_ms"
     " WHERE agents_workers.seen_ms <= excluded.seen_ms");
STMT(user_put, true, "tii", "",
     "INSERT INTO agents_users (id, disabled, seq) VALUES ($1, $2, $3)"
     " ON CONFLICT (id) DO UPDATE SET disabled = excluded.disabled, seq = excluded.seq"
     " WHERE agents_users.seq < excluded.seq");
STMT(owner_erased, true, "tti", "",
     "UPDATE agents_agents SET name = $2, description = '', version = version + 1, updated_ms = $3 WHERE owner_id = $1");
STMT(owner_tokens, true, "ti", "",
     "UPDATE agents_tokens SET name = '', revoked_ms = CASE WHEN revoked_ms = 0 THEN $2 ELSE revoked_ms END"
     " WHERE agent_id IN (SELECT id FROM agents_agents WHERE owner_id = $1)");
ASSAY_IDEM_DEFINE(agents_idem, "agents");

static void read_agent(const struct assay_val *c, struct agent *a)
{
    *a = (struct agent){.id = c[0].s, .owner_id = c[1].s, .name = c[2].s, .description = c[3].s, .version = c[4].i,
                        .created_ms = c[5].i, .updated_ms = c[6].i, .worker_status = c[7].s, .worker_version = c[8].s,
                        .worker_capacity = c[9].i, .worker_running = c[10].i, .seen_ms = c[11].i};
}

int agents_by_id(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct agent *out,
                 struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &agents_q_by_id, a, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such agent");
    read_agent(rows.row[0].col, out);
    return ASSAY_OK;
}

int agents_list(const struct assay_store *st, struct assay_str after, struct assay_str owner, int64_t limit,
                struct assay_arena *a, struct agent **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &agents_q_list, a, &rows, err, ASSAY_VT(after), ASSAY_VT(owner), ASSAY_VI(limit));
    if (rc < 0)
        return rc;
    struct agent *v = assay_arena_array(a, rows.n, sizeof *v);
    if (v == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows.n; i++)
        read_agent(rows.row[i].col, &v[i]);
    *out = v;
    *n = rows.n;
    return ASSAY_OK;
}

int agents_tokens(const struct assay_store *st, struct assay_str agent, struct assay_str after, int64_t now_ms,
                  int64_t limit, struct assay_arena *a, struct agent_token **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &agents_q_token_list, a, &rows, err, ASSAY_VT(agent), ASSAY_VT(after), ASSAY_VI(now_ms),
                         ASSAY_VI(limit));
    if (rc < 0)
        return rc;
    struct agent_token *v = assay_arena_array(a, rows.n, sizeof *v);
    if (v == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        v[i] = (struct agent_token){.id = c[0].s, .agent_id = c[1].s, .name = c[2].s, .scopes = c[3].s,
                                    .created_ms = c[4].i, .expires_ms = c[5].i};
    }
    *out = v;
    *n = rows.n;
    return ASSAY_OK;
}

int agents_token_by_hash(const struct assay_store *st, struct assay_str hash, int64_t now_ms, struct assay_arena *a,
                         struct assay_agent_token *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &agents_q_token_by_hash, a, &rows, err, ASSAY_VT(hash), ASSAY_VI(now_ms));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such token");
    const struct assay_val *c = rows.row[0].col;
    *out = (struct assay_agent_token){.agent_id = c[0].s, .owner_id = c[1].s, .scopes = c[2].s, .expires_ms = c[3].i};
    return ASSAY_OK;
}

int agents_add(struct assay_tx *tx, const struct agent *a)
{
    return ASSAY_TX(tx, &agents_q_insert, ASSAY_EXPECT_ONE, ASSAY_VT(a->id), ASSAY_VT(a->owner_id), ASSAY_VT(a->name),
                    ASSAY_VT(a->description), ASSAY_VI(a->created_ms), ASSAY_VI(a->updated_ms));
}

int agents_add_update(struct assay_tx *tx, const struct agent *a)
{
    return ASSAY_TX(tx, &agents_q_update, ASSAY_EXPECT_ONE, ASSAY_VT(a->id), ASSAY_VI(a->version), ASSAY_VT(a->owner_id),
                    ASSAY_VT(a->name), ASSAY_VT(a->description), ASSAY_VI(a->updated_ms));
}

int agents_add_remove(struct assay_tx *tx, const struct agent *a)
{
    int guard = ASSAY_TX(tx, &agents_q_remove, ASSAY_EXPECT_ONE, ASSAY_VT(a->id), ASSAY_VI(a->version),
                         ASSAY_VI(a->updated_ms));
    ASSAY_TX(tx, &agents_q_token_revoke_all, ASSAY_EXPECT_ANY, ASSAY_VT(a->id), ASSAY_VI(a->updated_ms));
    return guard;
}

int agents_add_token(struct assay_tx *tx, const struct agent_token *t, struct assay_str hash)
{
    return ASSAY_TX(tx, &agents_q_token_insert, ASSAY_EXPECT_ONE, ASSAY_VT(t->id), ASSAY_VT(t->agent_id), ASSAY_VT(hash),
                    ASSAY_VT(t->name), ASSAY_VT(t->scopes), ASSAY_VI(t->created_ms), ASSAY_VI(t->expires_ms),
                    ASSAY_VI(AGENTS_TOKENS_MAX));
}

int agents_add_token_revoke(struct assay_tx *tx, struct assay_str agent, struct assay_str token, int64_t now_ms)
{
    return ASSAY_TX(tx, &agents_q_token_revoke, ASSAY_EXPECT_ONE, ASSAY_VT(agent), ASSAY_VT(token), ASSAY_VI(now_ms));
}

void agents_add_heartbeat(struct assay_tx *tx, const struct agent *a)
{
    ASSAY_TX(tx, &agents_q_heartbeat, ASSAY_EXPECT_ANY, ASSAY_VT(a->id), ASSAY_VT(a->worker_status),
             ASSAY_VT(a->worker_version), ASSAY_VI(a->worker_capacity), ASSAY_VI(a->worker_running), ASSAY_VI(a->seen_ms));
}

int agents_add_changed(struct assay_tx *tx, const struct agent *a, bool deleted, struct assay_err *err)
{
    if (tx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    ASSAY_CLEANUP_BUF struct assay_buf payload = ASSAY_BUF_INIT;
    struct assay_ev_agent ev = {.owner_id = a->owner_id, .name = a->name, .deleted = deleted};
    int rc = assay_ev_agent_encode(&ev, &payload, err);
    if (rc < 0)
        return rc;
    struct assay_str text = assay_arena_take(tx->arena, &payload);
    if (text.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("agent.changed"), .subject = a->id, .owner = a->owner_id,
                                            .benchmark = ASSAY_STR(""), .payload = text});
    return ASSAY_OK;
}

void agents_add_token_changed(struct assay_tx *tx, const struct agent *a)
{
    assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("agent_token.changed"), .subject = a->id,
                                            .owner = a->owner_id, .benchmark = ASSAY_STR(""), .payload = ASSAY_STR("{}")});
}

void agents_add_user(struct assay_tx *tx, struct assay_str user, bool disabled, int64_t seq)
{
    ASSAY_TX(tx, &agents_q_user_put, ASSAY_EXPECT_ANY, ASSAY_VT(user), ASSAY_VI(disabled ? 1 : 0), ASSAY_VI(seq));
}

/* The agents stay, since results refer to them, under a name that is nobody's. */
void agents_add_owner_erased(struct assay_tx *tx, struct assay_str user, int64_t at_ms)
{
    ASSAY_TX(tx, &agents_q_owner_erased, ASSAY_EXPECT_ANY, ASSAY_VT(user), ASSAY_VT(ASSAY_STR(ASSAY_ERASED_NAME)), ASSAY_VI(at_ms));
    ASSAY_TX(tx, &agents_q_owner_tokens, ASSAY_EXPECT_ANY, ASSAY_VT(user), ASSAY_VI(at_ms));
}
