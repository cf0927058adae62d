/*
 * Errors on the wire: application/problem+json (RFC 9457).
 *
 * Members: type (a URN made of the error's word), title, status, detail, instance (the path),
 * request_id, and errors[{pointer, detail}] for validation.  What is ours to fix (5xx) never shows its
 * message to a client: that goes to the log under the same request id.  Stateless, any thread.
 */
#ifndef ASSAY_GATEWAY_PROBLEM_H
#define ASSAY_GATEWAY_PROBLEM_H

#include <assay/json.h>
#include <assay/str.h>

struct assay_problem {
    int status;                 /* HTTP status */
    const char *word;           /* "not_found"; NULL: made from the status */
    struct assay_str detail;    /* "" leaves it out */
    struct assay_str instance;  /* path of the request, "" leaves it out */
    struct assay_str request_id;
    const struct assay_json_faults *faults; /* or NULL */
};

#define ASSAY_PROBLEM_TYPE "application/problem+json"

/* Appends the document. ASSAY_E_NOMEM alone can fail. */
int assay_problem_write(const struct assay_problem *p, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* The document without its details, where there is no memory for it: cut to fit. Gives its length; cannot fail. */
#define ASSAY_PROBLEM_BARE 256
size_t assay_problem_bare(int status, const char *word, char out[ASSAY_PROBLEM_BARE]);

/* "Not Found" for 404; "" for a status nobody registered. */
const char *assay_status_text(int status);

/* Whether the message of an error code may be shown to a client. */
bool assay_problem_public(int code);

#endif
