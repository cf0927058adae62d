/* The SQL of counting what waits. */
#include "local.h"

const struct assay_stmt count_queued_stmt = {
    .name = "submissions.count_queued",
    .sql = "SELECT submitter, benchmark_id, COUNT(*), CAST(SUM(bytes) AS BIGINT), MIN(created_ms) FROM submissions"
           " WHERE state = 'queued' GROUP BY submitter, benchmark_id",
    .params = "",
    .columns = "ttiii"};
const struct assay_stmt place_stmt = {.name = "submissions.place",
                                             .sql = "SELECT submitter, benchmark_id, bytes FROM submissions WHERE id = $1",
                                             .params = "t",
                                             .columns = "tti"};

struct place repo_place_read(const struct assay_val *c)
{
    return (struct place){.submitter = c[0].s, .benchmark_id = c[1].s, .bytes = c[2].i};
}

int repo_count_queued(struct submissions *s, struct assay_arena *arena, struct admission_row **out, size_t *n,
                      struct assay_err *err)
{
    struct assay_rows rows;
    int rc = assay_store_query(s->host->store, &count_queued_stmt, NULL, 0, arena, &rows, err);
    if (rc < 0)
        return rc;
    struct admission_row *list = assay_arena_array(arena, rows.n != 0 ? rows.n : 1, sizeof *list);
    if (list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < rows.n; i++) {
        const struct assay_val *c = rows.row[i].col;
        list[i] = (struct admission_row){
            .submitter = c[0].s, .benchmark_id = c[1].s, .n = c[2].i, .bytes = c[3].i, .oldest_ms = c[4].i};
    }
    *out = list;
    *n = rows.n;
    return ASSAY_OK;
}

int repo_place(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct place *out, struct assay_err *err)
{
    struct assay_rows rows;
    int rc = ASSAY_QUERY(s->host->store, &place_stmt, arena, &rows, err, ASSAY_VT(id));
    if (rc >= 0 && rows.n == 0)
        rc = assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no submission %.*s", ASSAY_FMT(id));
    if (rc >= 0)
        *out = repo_place_read(rows.row[0].col);
    return rc;
}
