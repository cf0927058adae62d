/* The SQL of projects: what was confirmed, and what is shown of it. */
#include "project.h"

const struct assay_stmt project_insert = {
    .name = "submissions.project_insert",
    .sql = "INSERT INTO submissions_projects (submission_id, file_key, owner_id, pit_id, pit_title)"
           " SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT)"
           " WHERE NOT EXISTS (SELECT 1 FROM submissions_uploads u WHERE u.file_key = CAST($2 AS TEXT) AND u.gone <> 0)"
           " ON CONFLICT (file_key) DO NOTHING",
    .params = "ttttt",
    .columns = "",
    .write = true};
const struct assay_stmt project_by_file = {.name = "submissions.project_by_file",
                                           .sql = "SELECT submission_id FROM submissions_projects WHERE file_key = $1",
                                           .params = "t",
                                           .columns = "t"};
#define ROW_COLUMNS "s.id, p.pit_id, p.pit_title, s.state, s.verdict, s.score, s.reason, s.created_ms, s.updated_ms"
#define ROW_LETTERS "tttttrtii"
const struct assay_stmt project_get = {
    .name = "submissions.project_get",
    .sql = "SELECT " ROW_COLUMNS ", CASE WHEN s.state IN ('done', 'error') THEN x.output END FROM submissions_projects p"
           " JOIN submissions s ON s.id = p.submission_id LEFT JOIN submissions_sources x ON x.submission_id = s.id"
           " WHERE p.submission_id = $1 AND s.deleted_ms IS NULL AND (CAST($3 AS BIGINT) = 1 OR s.owner_id = $2)"
           " AND (CAST($4 AS TEXT) = '' OR s.agent_id = $4)",
    .params = "ttit",
    .columns = ROW_LETTERS "b"};
const struct assay_stmt project_mine = {
    .name = "submissions.project_mine",
    .sql = "SELECT " ROW_COLUMNS " FROM submissions_projects p JOIN submissions s ON s.id = p.submission_id"
           " WHERE p.owner_id = $1 AND s.deleted_ms IS NULL AND (CAST($2 AS TEXT) = '' OR s.agent_id = $2)"
           " AND (CAST($3 AS TEXT) = '' OR p.pit_id = $3) AND (CAST($4 AS TEXT) = '' OR p.submission_id < $4)"
           " ORDER BY p.submission_id DESC LIMIT $5",
    .params = "tttti",
    .columns = ROW_LETTERS};
const struct assay_stmt key_put = {.name = "submissions.key_put",
                                   .sql = "INSERT INTO submissions_keys (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                                   .params = "tt",
                                   .columns = "",
                                   .write = true};
const struct assay_stmt key_get = {.name = "submissions.key_get",
                                   .sql = "SELECT value FROM submissions_keys WHERE name = $1",
                                   .params = "t",
                                   .columns = "t"};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

int repo_project_by_file(struct submissions *s, struct assay_str key, struct assay_arena *arena, struct assay_str *id, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &project_by_file, arena, &rows, err, ASSAY_VT(key));
    if (rc >= 0 && rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "nothing was confirmed under that fileKey");
    if (rc >= 0)
        *id = rows.row[0].col[0].s;
    return rc;
}

int repo_project_insert(struct submissions *s, const struct draft *d, const struct assay_project *p, struct assay_str title,
                        struct assay_arena *arena, struct assay_err *err)
{
    struct assay_tx *tx = assay_tx_new(arena, "submission.project");
    if (tx == NULL)
        return no_memory(err);
    ASSAY_TX(tx, &project_insert, ASSAY_EXPECT_ONE, ASSAY_VZ(d->id), ASSAY_VT(p->file_key), ASSAY_VT(d->owner_id), ASSAY_VT(p->pit_id), ASSAY_VT(title));
    ASSAY_TX(tx, &upload_taken, ASSAY_EXPECT_ANY, ASSAY_VT(p->file_key));
    int rc = repo_insert(tx, d, err);
    return rc < 0 ? rc : assay_store_exec(s->host->store, tx, err);
}

static struct assay_str text_or_empty(const struct assay_val *v)
{
    return v->type == ASSAY_VAL_NULL ? ASSAY_STR("") : v->s;
}

static struct project_row read_row(const struct assay_val *c)
{
    return (struct project_row){.id = c[0].s,
                                .pit_id = c[1].s,
                                .pit_title = c[2].s,
                                .state = c[3].s,
                                .verdict = text_or_empty(&c[4]),
                                .has_score = c[5].type != ASSAY_VAL_NULL,
                                .score = c[5].type != ASSAY_VAL_NULL ? c[5].r : 0,
                                .reason = text_or_empty(&c[6]),
                                .feedback = ASSAY_STR(""),
                                .created_ms = c[7].i,
                                .updated_ms = c[8].i};
}

int repo_project_get(struct submissions *s, const struct viewer *v, struct assay_str id, struct assay_arena *arena, struct project_row *out,
                     struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &project_get, arena, &rows, err, ASSAY_VT(id), ASSAY_VT(v->user_id), ASSAY_VI(v->staff ? 1 : 0),
                         ASSAY_VT(v->agent_id));
    if (rc >= 0 && rows.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such project submission of yours");
    if (rc < 0)
        return rc;
    *out = read_row(rows.row[0].col);
    out->feedback = text_or_empty(&rows.row[0].col[9]);
    return ASSAY_OK;
}

int repo_project_mine(struct submissions *s, struct assay_str user, struct assay_str agent, struct assay_str pit, struct assay_str before,
                      int64_t limit, struct assay_arena *arena, struct project_row **out, size_t *n, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &project_mine, arena, &rows, err, ASSAY_VT(user), ASSAY_VT(agent), ASSAY_VT(pit), ASSAY_VT(before),
                         ASSAY_VI(limit));
    if (rc < 0)
        return rc;
    struct project_row *v = assay_arena_array(arena, rows.n + 1, sizeof *v);
    if (v == NULL)
        return no_memory(err);
    for (size_t i = 0; i < rows.n; i++)
        v[i] = read_row(rows.row[i].col);
    *out = v;
    *n = rows.n;
    return ASSAY_OK;
}

int repo_upload_secret(struct submissions *s, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    for (int i = 0; i < 2; i++) {
        struct assay_rows rows;
        int rc = ASSAY_QUERY(s->host->store, &key_get, arena, &rows, err, ASSAY_VZ("upload"));
        if (rc < 0)
            return rc;
        if (rows.n != 0) {
            *out = rows.row[0].col[0].s;
            return ASSAY_OK;
        }
        char fresh[65];
        assay_random_hex(fresh, 32);
        struct assay_tx *tx = assay_tx_new(arena, "submission.key");
        if (tx == NULL)
            return no_memory(err);
        ASSAY_TX(tx, &key_put, ASSAY_EXPECT_ANY, ASSAY_VZ("upload"), ASSAY_VZ(fresh));
        rc = assay_store_exec(s->host->store, tx, err);
        if (rc < 0)
            return rc;
    }
    return assay_err_set(err, ASSAY_E_INTERNAL, "no key for uploads");
}
