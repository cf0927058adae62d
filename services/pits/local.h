/*
 * pits: how projects are built and tested (assay/pit.h), made over HTTP or found in folders, and their instructors' tests.
 *
 * A PIT over HTTP is a row; one in a folder is a file that the server's administrator has put there.  A row goes before a file of its
 * id.  The instructor's tests are an object beside either.  What a PIT says is taken when a submission is judged, so a change holds
 * for what is still in the queue.
 *
 * All handlers run on worker threads; the service's state is const after init.
 */
#ifndef PITS_LOCAL_H
#define PITS_LOCAL_H

#include <assay/blob.h>
#include <assay/idempotency.h>
#include <assay/pit.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define PITS_TESTS_MAX ((size_t)32 << 20) /* bytes of an upload of tests */

/* ---- domain.c: the rules; no I/O ---- */

struct pit {
    struct assay_str id, owner_id; /* owner "": a file */
    struct assay_pit def;
    bool active, file;
    int64_t version, created_ms, updated_ms; /* of a file 0 */
};
bool pits_may_change(const struct pit *p, const struct assay_principal *who); /* an agent's token never */
bool pits_may_put_tests(const struct pit *p, const struct assay_principal *who);
bool pits_sees_all(const struct pit *p, const struct assay_principal *who); /* commands and environment, too */
bool pits_is_zip(struct assay_str bytes); /* begins like one */

/* ---- multipart.c: RFC 7578 as far as one file needs it; fuzzed ---- */

struct pits_upload {
    struct assay_str filename, bytes; /* views into the body */
};
/* The part named `field`. ASSAY_E_INVALID says what is wrong. */
int pits_multipart(struct assay_str content_type, struct assay_str body, const char *field, struct pits_upload *out,
                   struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- codec.c ---- */

struct pits_body {
    struct assay_pit def;
    struct assay_str id, code;
    bool active;
    bool has_active, has_title, has_description, has_language, has_build_tool, has_command, has_timeout, has_setup, has_environment,
        has_required, has_reports;
};
extern const struct assay_json_field pits_body_fields[];
void pits_check(const struct pits_body *b, bool create, struct assay_json_faults *f, struct assay_arena *arena);
void pits_apply(struct pit *p, const struct pits_body *b); /* what the body says, over what is there */
void pits_write(struct assay_jw *w, const struct pit *p, bool whole);
int pits_definition(const struct assay_pit *p, struct assay_arena *arena, struct assay_str *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- repo.c ---- */

#define PITS_STMTS(X) X(insert) X(by_id) X(list) X(update) X(remove) X(tests) X(tests_put) X(tests_remove)
#define X(name) extern const struct assay_stmt pits_q_##name;
PITS_STMTS(X)
#undef X
ASSAY_IDEM_DECLARE(pits_idem);
extern const struct assay_migration pits_migrations[1];
int pits_by_id(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct pit *out, struct assay_err *err)
    ASSAY_MUST_CHECK; /* ASSAY_E_NOT_FOUND */
int pits_list(const struct assay_store *st, struct assay_str after, int64_t limit, struct assay_arena *a, struct pit **out, size_t *n,
              struct assay_err *err) ASSAY_MUST_CHECK;
/* The object with its tests; "" when it has none. */
int pits_tests_of(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct assay_str *key, struct assay_err *err)
    ASSAY_MUST_CHECK;
int pits_add(struct assay_tx *tx, const struct pit *p, struct assay_err *err);        /* the op's index, or negative */
int pits_add_update(struct assay_tx *tx, const struct pit *p, struct assay_err *err); /* guard: p->version as it was read */
void pits_add_remove(struct assay_tx *tx, const struct pit *p);
void pits_add_tests(struct assay_tx *tx, struct assay_str id, struct assay_str key, const char *sha256, int64_t bytes, int64_t now_ms);

/* ---- http.c ---- */

#define PITS_HANDLERS(X) X(list) X(create) X(get) X(update) X(remove) X(upload_tests)
#define X(name) int pits_do_##name(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
PITS_HANDLERS(X)
#undef X
extern const struct assay_pits_ops pits_ops;
int pits_init(const struct assay_host *host, void **self, struct assay_err *err);
void pits_fini(void *self);

#endif
