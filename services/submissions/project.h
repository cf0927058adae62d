/*
 * Projects, inside the submissions service: a ZIP is uploaded under a key, then confirmed, and so becomes a submission.
 *
 *   request-upload ─▶ PUT (here, signed, or to S3) ─▶ confirm ─▶ queued as any other ─▶ feedback
 *
 * A key holds its user and PIT.  Confirming is guarded by the key: of however many confirmations one makes a submission, and all
 * answer its id.  What is judged is the message (assay/pit.h) in the payload; its output is the feedback.
 */
#ifndef ASSAY_SUBMISSIONS_PROJECT_H
#define ASSAY_SUBMISSIONS_PROJECT_H

#include <assay/pit.h>

#include "local.h"

#define UPLOAD_MAX ((size_t)64 << 20)
#define UPLOAD_TTL_S 3600
#define UPLOAD_SIGNATURE (2 * ASSAY_HMAC_SHA256 + 1)

/* ---- project_domain.c: the rules; no I/O ---- */

struct project_row {
    struct assay_str id, pit_id, pit_title, state, verdict, reason, feedback;
    bool has_score;
    double score;
    int64_t created_ms, updated_ms;
};
/* PENDING, RUNNING, DONE or ERROR: DONE is what ran to its end with exit status 0. */
const char *project_status(struct assay_str state, struct assay_str verdict);
/* What the URL of an upload is signed with, as hex. */
void upload_sign(struct assay_str secret, struct assay_str key, int64_t expires_s, char out[UPLOAD_SIGNATURE]);
/* Whether it may be used: ASSAY_OK, ASSAY_E_FORBIDDEN (not signed so) or ASSAY_E_GONE (too late). */
int upload_check(struct assay_str secret, struct assay_str key, struct assay_str expires, struct assay_str signature, int64_t now_s,
                 struct assay_err *err);
/* The key of a new upload: its name is of the instant and of chance. p NULL on no memory. */
struct assay_str upload_key(struct assay_arena *arena, struct assay_str user, struct assay_str pit, int64_t now_ms);
bool upload_is_zip(struct assay_str bytes);
/* "http://HOST" of a Host header, or "" when it is none that may stand in a URL. */
struct assay_str upload_base(struct assay_arena *arena, const char *public_url, struct assay_str scheme, struct assay_str host);
void project_write(struct assay_jw *w, const struct project_row *r, bool whole);

struct upload_body {
    struct assay_str pit_id;
};
struct confirm_body {
    struct assay_str pit_id, file_key;
};
extern const struct assay_json_field upload_fields[], confirm_fields[];

/* ---- repo_project.c ---- */

extern const struct assay_stmt project_insert, project_by_file, project_get, project_mine, key_put, key_get;
/* ASSAY_E_NOT_FOUND: it was not confirmed. */
int repo_project_by_file(struct submissions *s, struct assay_str key, struct assay_arena *arena, struct assay_str *id, struct assay_err *err);
/* ASSAY_E_GUARD: somebody was first. */
int repo_project_insert(struct submissions *s, const struct draft *d, const struct assay_project *p, struct assay_str title,
                        struct assay_arena *arena, struct assay_err *err);
int repo_project_get(struct submissions *s, const struct viewer *v, struct assay_str id, struct assay_arena *arena, struct project_row *out,
                     struct assay_err *err);
int repo_project_mine(struct submissions *s, struct assay_str user, struct assay_str agent, struct assay_str pit, struct assay_str before,
                      int64_t limit, struct assay_arena *arena, struct project_row **out, size_t *n, struct assay_err *err);
/* What upload URLs are signed with; made at the first call of all. */
int repo_upload_secret(struct submissions *s, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);

/* ---- retention.c, repo_retention.c ---- */

extern const struct assay_stmt retention_due, retention_upload_mark, retention_upload_gone, retention_log_mark, retention_log_gone, upload_given,
    upload_taken, retention_unconfirmed, retention_unconfirmed_mark, retention_unconfirmed_gone;
/* Remembers that a key was given out. */
int repo_upload_given(struct submissions *s, struct assay_str key, struct assay_arena *arena, struct assay_err *err);
/* Removes what the rules say, once; and begins to do so from time to time. Blocks. */
void retention_look(struct submissions *s);
int retention_start(struct submissions *s, struct assay_err *err);

/* ---- http_project.c ---- */

int http_project_request(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_project_put(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_project_confirm(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_project_feedback(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_project_log(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_project_mine(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

#endif
