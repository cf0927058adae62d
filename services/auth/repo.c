#include "local.h"

#include <assay/events.h>

#define USER_COLUMNS "id, login, email, name, role, password_hash, epoch, version, disabled, created_ms, updated_ms"
#define USER_LETTERS "ttttttiiiii"
#define USER_INSERT                                                                                                    \
    "INSERT INTO auth_users (id, login, login_fold, email, name, role, password_hash, epoch, version, disabled,"       \
    " created_ms, updated_ms) "


/* The first account of all, and only that. */
STMT(user_seed, true, "tttttttii", "",
     USER_INSERT "SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT),"
                 " CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS BIGINT), 1, 0, CAST($9 AS BIGINT), CAST($9 AS BIGINT)"
                 " WHERE NOT EXISTS (SELECT 1 FROM auth_users) ON CONFLICT DO NOTHING");
STMT(user_insert, true, "tttttttii", "",
     USER_INSERT "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, 0, $9, $9) ON CONFLICT DO NOTHING");
STMT(user_by_id, false, "t", USER_LETTERS, "SELECT " USER_COLUMNS " FROM auth_users WHERE id = $1");
STMT(user_by_login, false, "t", USER_LETTERS, "SELECT " USER_COLUMNS " FROM auth_users WHERE login_fold = $1");
STMT(user_by_email, false, "t", USER_LETTERS, "SELECT " USER_COLUMNS " FROM auth_users WHERE email = $1");
STMT(user_list, false, "tti", USER_LETTERS,
     "SELECT " USER_COLUMNS " FROM auth_users WHERE id > $1 AND (CAST($2 AS TEXT) = '' OR role = $2)"
     " ORDER BY id LIMIT $3");
/* Somebody must stay able to administer: the last enabled admin is neither demoted nor disabled. */
STMT(user_update, true, "tittttiii", "",
     "UPDATE auth_users SET role = $3, name = $4, email = $5, disabled = $7,"
     " floor = CASE WHEN CAST($8 AS BIGINT) > epoch THEN CAST($8 AS BIGINT) ELSE floor END, epoch = $8, version = version + 1,"
     " updated_ms = $9 WHERE id = $1 AND version = $2"
     " AND NOT EXISTS (SELECT 1 FROM auth_users o WHERE o.email = $6 AND o.id <> $1)"
     " AND ((CAST($3 AS TEXT) = 'admin' AND CAST($7 AS BIGINT) = 0) OR role <> 'admin' OR disabled <> 0"
     " OR EXISTS (SELECT 1 FROM auth_users o WHERE o.role = 'admin' AND o.disabled = 0 AND o.id <> $1))");
STMT(user_erase, true, "ti", "",
     "DELETE FROM auth_users WHERE id = $1 AND version = $2 AND (role <> 'admin' OR disabled <> 0"
     " OR EXISTS (SELECT 1 FROM auth_users o WHERE o.role = 'admin' AND o.disabled = 0 AND o.id <> $1))");
STMT(user_password, true, "titii", "",
     "UPDATE auth_users SET password_hash = $3, epoch = $4, floor = $4, version = version + 1, updated_ms = $5"
     " WHERE id = $1 AND version = $2");
STMT(user_epoch, true, "tiii", "",
     "UPDATE auth_users SET epoch = $3, floor = $3, version = version + 1, updated_ms = $4 WHERE id = $1 AND epoch = $2");
/* One session has ended: tokens of the others hold, and are told apart by session_lives. */
STMT(user_epoch_of_one, true, "tiii", "",
     "UPDATE auth_users SET epoch = $3, version = version + 1, updated_ms = $4 WHERE id = $1 AND epoch = $2");
STMT(session_lives, false, "tti", "i",
     "SELECT u.floor FROM auth_sessions s JOIN auth_users u ON u.id = s.user_id"
     " WHERE s.family = $1 AND s.user_id = $2 AND u.floor <= $3");
/* No session for an account that was disabled or given another password while this one was checked. */
STMT(session_insert, true, "tttiiii", "",
     "INSERT INTO auth_sessions (family, user_id, token_hash, created_ms, used_ms, expires_ms)"
     " SELECT CAST($1 AS TEXT), id, CAST($3 AS TEXT), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT)"
     " FROM auth_users WHERE id = $2 AND disabled = 0 AND epoch = $7");
STMT(session_trim, true, "ti", "",
     "DELETE FROM auth_sessions WHERE family IN (SELECT family FROM auth_sessions WHERE user_id = $1"
     " ORDER BY used_ms DESC, family DESC LIMIT 100 OFFSET $2)");
STMT(session_purge, true, "i", "",
     "DELETE FROM auth_sessions WHERE family IN (SELECT family FROM auth_sessions WHERE expires_ms < $1"
     " ORDER BY expires_ms LIMIT 16)");
STMT(session_get, false, "t", "tti" USER_LETTERS,
     "SELECT s.family, s.token_hash, s.expires_ms, u.id, u.login, u.email, u.name, u.role, u.password_hash, u.epoch,"
     " u.version, u.disabled, u.created_ms, u.updated_ms"
     " FROM auth_sessions s JOIN auth_users u ON u.id = s.user_id WHERE s.family = $1");
STMT(session_list, false, "tii", "tiii",
     "SELECT family, created_ms, used_ms, expires_ms FROM auth_sessions WHERE user_id = $1 AND expires_ms > $2"
     " ORDER BY used_ms DESC, family DESC LIMIT $3");
STMT(session_rotate, true, "tttiii", "",
     "UPDATE auth_sessions SET token_hash = $3, used_ms = $4, expires_ms = $5 WHERE family = $1 AND token_hash = $2"
     " AND EXISTS (SELECT 1 FROM auth_users u WHERE u.id = auth_sessions.user_id AND u.disabled = 0 AND u.epoch = $6)");
STMT(session_delete, true, "t", "", "DELETE FROM auth_sessions WHERE family = $1");
STMT(session_delete_of, true, "tt", "", "DELETE FROM auth_sessions WHERE family = $1 AND user_id = $2");
STMT(session_delete_all, true, "t", "", "DELETE FROM auth_sessions WHERE user_id = $1");
ASSAY_IDEM_DEFINE(auth_idem, "auth");

static void read_user(const struct assay_val *c, struct auth_user *u)
{
    *u = (struct auth_user){.id = c[0].s, .login = c[1].s, .email = c[2].s, .name = c[3].s, .role = c[4].s,
                            .password_hash = c[5].s, .epoch = c[6].i, .version = c[7].i, .disabled = c[8].i != 0,
                            .created_ms = c[9].i, .updated_ms = c[10].i};
}

static int one_user(const struct assay_store *st, const struct assay_stmt *q, struct assay_str key, struct assay_arena *a,
                    struct auth_user *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, q, a, &rows, err, ASSAY_VT(key));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such user");
    read_user(rows.row[0].col, out);
    return ASSAY_OK;
}

int auth_user_by_id(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct auth_user *out,
                    struct assay_err *err)
{
    return one_user(st, &auth_q_user_by_id, id, a, out, err);
}

int auth_user_by_login(const struct assay_store *st, struct assay_str folded, struct assay_arena *a,
                       struct auth_user *out, struct assay_err *err)
{
    return one_user(st, &auth_q_user_by_login, folded, a, out, err);
}

int auth_user_by_email(const struct assay_store *st, struct assay_str folded, struct assay_arena *a,
                       struct auth_user *out, struct assay_err *err)
{
    return one_user(st, &auth_q_user_by_email, folded, a, out, err);
}

int auth_user_list(const struct assay_store *st, struct assay_str after, struct assay_str role, int64_t limit,
                   struct assay_arena *a, struct auth_user **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &auth_q_user_list, a, &rows, err, ASSAY_VT(after), ASSAY_VT(role), ASSAY_VI(limit));
    if (rc < 0)
        return rc;
    struct auth_user *u = assay_arena_array(a, rows.n, sizeof *u);
    if (u == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows.n; i++)
        read_user(rows.row[i].col, &u[i]);
    *out = u;
    *n = rows.n;
    return ASSAY_OK;
}

int auth_session_get(const struct assay_store *st, struct assay_str family, struct assay_arena *a,
                     struct auth_session *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &auth_q_session_get, a, &rows, err, ASSAY_VT(family));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such session");
    const struct assay_val *c = rows.row[0].col;
    out->family = c[0].s;
    out->token_hash = c[1].s;
    out->expires_ms = c[2].i;
    read_user(c + 3, &out->user);
    return ASSAY_OK;
}

int auth_sessions_of(const struct assay_store *st, struct assay_str user_id, int64_t now_ms, struct assay_arena *a, struct assay_rows *rows,
                     struct assay_err *err)
{
    return ASSAY_QUERY(st, &auth_q_session_list, a, rows, err, ASSAY_VT(user_id), ASSAY_VI(now_ms), ASSAY_VI(AUTH_SESSIONS_MAX));
}

int auth_add_user(struct assay_tx *tx, const struct auth_user *u, struct assay_str login_fold)
{
    return ASSAY_TX(tx, &auth_q_user_insert, ASSAY_EXPECT_ONE, ASSAY_VT(u->id), ASSAY_VT(u->login), ASSAY_VT(login_fold),
                    ASSAY_VT_OR_NULL(u->email), ASSAY_VT(u->name), ASSAY_VT(u->role), ASSAY_VT(u->password_hash),
                    ASSAY_VI(u->epoch), ASSAY_VI(u->created_ms));
}

int auth_add_seed(struct assay_tx *tx, const struct auth_user *u, struct assay_str login_fold)
{
    return ASSAY_TX(tx, &auth_q_user_seed, ASSAY_EXPECT_ONE, ASSAY_VT(u->id), ASSAY_VT(u->login), ASSAY_VT(login_fold),
                    ASSAY_VT_OR_NULL(u->email), ASSAY_VT(u->name), ASSAY_VT(u->role), ASSAY_VT(u->password_hash),
                    ASSAY_VI(u->epoch), ASSAY_VI(u->created_ms));
}

int auth_add_user_update(struct assay_tx *tx, const struct auth_user *u)
{
    return ASSAY_TX(tx, &auth_q_user_update, ASSAY_EXPECT_ONE, ASSAY_VT(u->id), ASSAY_VI(u->version), ASSAY_VT(u->role),
                    ASSAY_VT(u->name), ASSAY_VT_OR_NULL(u->email), ASSAY_VT_OR_NULL(u->email),
                    ASSAY_VI(u->disabled ? 1 : 0), ASSAY_VI(u->epoch), ASSAY_VI(u->updated_ms));
}

int auth_add_password(struct assay_tx *tx, const struct auth_user *u)
{
    return ASSAY_TX(tx, &auth_q_user_password, ASSAY_EXPECT_ONE, ASSAY_VT(u->id), ASSAY_VI(u->version),
                    ASSAY_VT(u->password_hash), ASSAY_VI(u->epoch), ASSAY_VI(u->updated_ms));
}

int auth_session_lives(const struct assay_store *st, struct assay_str family, struct assay_str user, int64_t epoch, struct assay_arena *a,
                       struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &auth_q_session_lives, a, &rows, err, ASSAY_VT(family), ASSAY_VT(user), ASSAY_VI(epoch));
    return rc < 0 ? rc : rows.n != 0 ? ASSAY_OK : assay_err_set(err, ASSAY_E_NOT_FOUND, "no such session");
}

int auth_add_epoch(struct assay_tx *tx, const struct auth_user *u, int64_t from, bool of_all)
{
    return ASSAY_TX(tx, of_all ? &auth_q_user_epoch : &auth_q_user_epoch_of_one, ASSAY_EXPECT_ONE, ASSAY_VT(u->id), ASSAY_VI(from), ASSAY_VI(u->epoch),
                    ASSAY_VI(u->updated_ms));
}

int auth_add_session(struct assay_tx *tx, const struct auth_user *u, struct assay_str family, struct assay_str hash,
                     int64_t now_ms, int64_t expires_ms)
{
    int guard = ASSAY_TX(tx, &auth_q_session_insert, ASSAY_EXPECT_ONE, ASSAY_VT(family), ASSAY_VT(u->id), ASSAY_VT(hash),
                         ASSAY_VI(now_ms), ASSAY_VI(now_ms), ASSAY_VI(expires_ms), ASSAY_VI(u->epoch));
    ASSAY_TX(tx, &auth_q_session_trim, ASSAY_EXPECT_ANY, ASSAY_VT(u->id), ASSAY_VI(AUTH_SESSIONS_MAX));
    ASSAY_TX(tx, &auth_q_session_purge, ASSAY_EXPECT_ANY, ASSAY_VI(now_ms));
    return guard;
}

int auth_add_rotation(struct assay_tx *tx, const struct auth_session *s, struct assay_str new_hash, int64_t now_ms,
                      int64_t expires_ms)
{
    return ASSAY_TX(tx, &auth_q_session_rotate, ASSAY_EXPECT_ONE, ASSAY_VT(s->family), ASSAY_VT(s->token_hash),
                    ASSAY_VT(new_hash), ASSAY_VI(now_ms), ASSAY_VI(expires_ms), ASSAY_VI(s->user.epoch));
}

void auth_add_session_end(struct assay_tx *tx, struct assay_str family)
{
    ASSAY_TX(tx, &auth_q_session_delete, ASSAY_EXPECT_ANY, ASSAY_VT(family));
}

int auth_add_session_end_of(struct assay_tx *tx, struct assay_str family, struct assay_str user_id)
{
    return ASSAY_TX(tx, &auth_q_session_delete_of, ASSAY_EXPECT_ANY, ASSAY_VT(family), ASSAY_VT(user_id));
}

void auth_add_sessions_end(struct assay_tx *tx, struct assay_str user_id)
{
    ASSAY_TX(tx, &auth_q_session_delete_all, ASSAY_EXPECT_ANY, ASSAY_VT(user_id));
}

static int add_event(struct assay_tx *tx, const struct auth_user *u, bool erased, struct assay_err *err)
{
    if (tx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    ASSAY_CLEANUP_BUF struct assay_buf payload = ASSAY_BUF_INIT;
    struct assay_ev_user ev = {.role = u->role, .epoch = u->epoch, .disabled = u->disabled, .erased = erased};
    int rc = assay_ev_user_encode(&ev, &payload, err);
    if (rc < 0)
        return rc;
    struct assay_str text = assay_arena_take(tx->arena, &payload);
    if (text.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("user.changed"), .subject = u->id, .owner = u->id,
                                            .benchmark = ASSAY_STR(""), .payload = text});
    return ASSAY_OK;
}

int auth_add_changed(struct assay_tx *tx, const struct auth_user *u, struct assay_err *err)
{
    return add_event(tx, u, false, err);
}

int auth_add_erased(struct assay_tx *tx, const struct auth_user *u, struct assay_err *err)
{
    return add_event(tx, u, true, err);
}

int auth_add_erasure(struct assay_tx *tx, const struct auth_user *u)
{
    return ASSAY_TX(tx, &auth_q_user_erase, ASSAY_EXPECT_ONE, ASSAY_VT(u->id), ASSAY_VI(u->version));
}
