/* The SQL of retention.c. */
#include "project.h"

#define ENDED "s.state IN ('done', 'error', 'cancelled')"
#define ENDED_MS "COALESCE(s.finished_ms, s.updated_ms)"
#define UPLOAD_DUE(before) "(p.upload_gone = 1 OR (p.upload_gone = 0 AND (s.deleted_ms IS NOT NULL OR " ENDED_MS " < " before ")))"
#define LOG_DUE(before) "(p.log_gone <> " ENDED_MS " AND (p.log_gone < 0 OR s.deleted_ms IS NOT NULL OR " ENDED_MS " < " before "))"
/* the project p in an UPDATE of it, joined with its submission */
#define OF_PROJECT(due)                                                                                                \
    " WHERE submission_id = $1 AND EXISTS (SELECT 1 FROM submissions_projects p JOIN submissions s ON s.id = p.submission_id"\
    " WHERE p.submission_id = $1 AND " ENDED " AND " due ")"

/* $1, $2: what ended before these is due, upload and log */
const struct assay_stmt retention_due = {
    .name = "submissions.retention_due",
    .sql = "SELECT p.submission_id, p.file_key, CASE WHEN " UPLOAD_DUE("$1") " THEN 1 ELSE 0 END, CASE WHEN " LOG_DUE("$2")
           " THEN 1 ELSE 0 END, " ENDED_MS " FROM submissions_projects p JOIN submissions s ON s.id = p.submission_id"
           " WHERE p.submission_id > $3 AND " ENDED " AND (" UPLOAD_DUE("$1") " OR " LOG_DUE("$2") ") ORDER BY p.submission_id LIMIT $4",
    .params = "iiti",
    .columns = "ttiii"};
const struct assay_stmt retention_upload_mark = {
    .name = "submissions.retention_upload_mark",
    .sql = "UPDATE submissions_projects SET upload_gone = 1" OF_PROJECT(UPLOAD_DUE("$2")),
    .params = "ti",
    .columns = "",
    .write = true};
const struct assay_stmt retention_upload_gone = {
    .name = "submissions.retention_upload_gone",
    .sql = "UPDATE submissions_projects SET upload_gone = 2 WHERE submission_id = $1 AND upload_gone = 1",
    .params = "t",
    .columns = "",
    .write = true};
/* $2: the end of the run whose log it is; $3 what ended before it is due */
const struct assay_stmt retention_log_mark = {
    .name = "submissions.retention_log_mark",
    .sql = "UPDATE submissions_projects SET log_gone = 0 - CAST($2 AS BIGINT)" OF_PROJECT(ENDED_MS " = CAST($2 AS BIGINT) AND " LOG_DUE("$3")),
    .params = "tii",
    .columns = "",
    .write = true};
const struct assay_stmt retention_log_gone = {
    .name = "submissions.retention_log_gone",
    .sql = "UPDATE submissions_projects SET log_gone = CAST($2 AS BIGINT) WHERE submission_id = $1 AND log_gone = 0 - CAST($2 AS BIGINT)",
    .params = "ti",
    .columns = "",
    .write = true};

const struct assay_stmt upload_given = {
    .name = "submissions.upload_given",
    .sql = "INSERT INTO submissions_uploads (file_key, created_ms) VALUES ($1, $2)",
    .params = "ti",
    .columns = "",
    .write = true};
const struct assay_stmt upload_taken = {.name = "submissions.upload_taken",
                                        .sql = "DELETE FROM submissions_uploads WHERE file_key = $1 AND gone = 0",
                                        .params = "t",
                                        .columns = "",
                                        .write = true};
const struct assay_stmt retention_unconfirmed = {
    .name = "submissions.retention_unconfirmed",
    .sql = "SELECT u.file_key FROM submissions_uploads u WHERE u.created_ms < $1 AND u.gone < 2 ORDER BY u.created_ms LIMIT $2",
    .params = "ii",
    .columns = "t"};
const struct assay_stmt retention_unconfirmed_mark = {
    .name = "submissions.retention_unconfirmed_mark",
    .sql = "UPDATE submissions_uploads SET gone = 1 WHERE file_key = $1 AND gone < 2"
           " AND NOT EXISTS (SELECT 1 FROM submissions_projects p WHERE p.file_key = $1)",
    .params = "t",
    .columns = "",
    .write = true};
/* the row stays: the key is never confirmed, however late a request comes */
const struct assay_stmt retention_unconfirmed_gone = {
    .name = "submissions.retention_unconfirmed_gone",
    .sql = "UPDATE submissions_uploads SET gone = 2 WHERE file_key = $1 AND gone = 1",
    .params = "t",
    .columns = "",
    .write = true};

int repo_upload_given(struct submissions *s, struct assay_str key, struct assay_arena *arena, struct assay_err *err)
{
    struct assay_tx *tx = assay_tx_new(arena, "submission.upload");
    if (tx == NULL || ASSAY_TX(tx, &upload_given, ASSAY_EXPECT_ONE, ASSAY_VT(key), ASSAY_VI(s->host->now_ms(s->host->ctx))) < 0)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    return assay_store_exec(s->host->store, tx, err);
}
