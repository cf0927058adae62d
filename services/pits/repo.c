#include "local.h"

#define STMT(n, write_, params_, columns_, sql_)                                                                       \
    const struct assay_stmt pits_q_##n = {                                                                             \
        .name = "pits." #n, .sql = sql_, .params = params_, .columns = columns_, .write = write_}

#define COLUMNS                                                                                                        \
    "p.id, p.owner_id, p.definition, p.active, p.version, p.created_ms, p.updated_ms, COALESCE(t.object, '')"          \
    " FROM pits_pits p LEFT JOIN pits_tests t ON t.pit_id = p.id"
#define LETTERS "tttiiiit"

STMT(insert, true, "tttiii", "",
     "INSERT INTO pits_pits (id, owner_id, definition, active, version, created_ms, updated_ms)"
     " VALUES ($1, $2, $3, $4, 1, $5, $6) ON CONFLICT DO NOTHING");
STMT(by_id, false, "t", LETTERS, "SELECT " COLUMNS " WHERE p.id = $1");
STMT(list, false, "ti", LETTERS, "SELECT " COLUMNS " WHERE p.id > $1 ORDER BY p.id LIMIT $2");
STMT(update, true, "titii", "",
     "UPDATE pits_pits SET definition = $3, active = $4, version = version + 1, updated_ms = $5 WHERE id = $1 AND version = $2");
STMT(remove, true, "ti", "", "DELETE FROM pits_pits WHERE id = $1 AND version = $2");
STMT(tests, false, "t", "t", "SELECT object FROM pits_tests WHERE pit_id = $1");
STMT(tests_put, true, "tttii", "",
     "INSERT INTO pits_tests (pit_id, object, sha256, bytes, updated_ms) VALUES ($1, $2, $3, $4, $5)"
     " ON CONFLICT (pit_id) DO UPDATE SET object = excluded.object, sha256 = excluded.sha256, bytes = excluded.bytes,"
     " updated_ms = excluded.updated_ms");
STMT(tests_remove, true, "t", "", "DELETE FROM pits_tests WHERE pit_id = $1");
ASSAY_IDEM_DEFINE(pits_idem, "pits");

static int read_pit(const struct assay_val *c, struct assay_arena *a, struct pit *p, struct assay_err *err)
{
    *p = (struct pit){.id = c[0].s, .owner_id = c[1].s, .active = c[3].i != 0, .version = c[4].i, .created_ms = c[5].i, .updated_ms = c[6].i};
    int rc = assay_pit_decode(c[2].s, a, &p->def, err);
    p->def.tests_key = c[7].s;
    return rc == ASSAY_E_INVALID ? assay_err_set(err, ASSAY_E_CORRUPT, "the PIT %.*s cannot be read", ASSAY_FMT(p->id)) : rc;
}

int pits_by_id(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct pit *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &pits_q_by_id, a, &rows, err, ASSAY_VT(id));
    if (rc < 0)
        return rc;
    if (rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such PIT");
    return read_pit(rows.row[0].col, a, out, err);
}

int pits_list(const struct assay_store *st, struct assay_str after, int64_t limit, struct assay_arena *a, struct pit **out, size_t *n,
              struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &pits_q_list, a, &rows, err, ASSAY_VT(after), ASSAY_VI(limit));
    if (rc < 0)
        return rc;
    struct pit *v = assay_arena_array(a, rows.n + 1, sizeof *v);
    if (v == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; rc >= 0 && i < rows.n; i++)
        rc = read_pit(rows.row[i].col, a, &v[i], err);
    *out = v;
    *n = rows.n;
    return rc;
}

int pits_tests_of(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct assay_str *key, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(st, &pits_q_tests, a, &rows, err, ASSAY_VT(id));
    *key = rc >= 0 && rows.n != 0 ? rows.row[0].col[0].s : ASSAY_STR("");
    return rc;
}

int pits_add(struct assay_tx *tx, const struct pit *p, struct assay_err *err)
{
    struct assay_str definition;
    int rc = pits_definition(&p->def, tx->arena, &definition, err);
    return rc < 0 ? rc
                  : ASSAY_TX(tx, &pits_q_insert, ASSAY_EXPECT_ONE, ASSAY_VT(p->id), ASSAY_VT(p->owner_id), ASSAY_VT(definition),
                             ASSAY_VI(p->active ? 1 : 0), ASSAY_VI(p->created_ms), ASSAY_VI(p->updated_ms));
}

int pits_add_update(struct assay_tx *tx, const struct pit *p, struct assay_err *err)
{
    struct assay_str definition;
    int rc = pits_definition(&p->def, tx->arena, &definition, err);
    return rc < 0 ? rc
                  : ASSAY_TX(tx, &pits_q_update, ASSAY_EXPECT_ONE, ASSAY_VT(p->id), ASSAY_VI(p->version), ASSAY_VT(definition),
                             ASSAY_VI(p->active ? 1 : 0), ASSAY_VI(p->updated_ms));
}

void pits_add_remove(struct assay_tx *tx, const struct pit *p)
{
    ASSAY_TX(tx, &pits_q_remove, ASSAY_EXPECT_ONE, ASSAY_VT(p->id), ASSAY_VI(p->version));
    ASSAY_TX(tx, &pits_q_tests_remove, ASSAY_EXPECT_ANY, ASSAY_VT(p->id));
}

void pits_add_tests(struct assay_tx *tx, struct assay_str id, struct assay_str key, const char *sha256, int64_t bytes, int64_t now_ms)
{
    ASSAY_TX(tx, &pits_q_tests_put, ASSAY_EXPECT_ONE, ASSAY_VT(id), ASSAY_VT(key), ASSAY_VZ(sha256), ASSAY_VI(bytes), ASSAY_VI(now_ms));
}
