/*
 * A request and its answer, as a service sees them: no sockets, no parser.
 *
 * A handler reads the request, fills the response and returns ASSAY_OK; or returns a negative
 * status with *err set, which the host renders as problem+json (RFC 9457) with the faults collected
 * in rs->faults; or takes a ticket and returns ASSAY_DEFERRED.  Request and arena belong to the
 * host and live until the answer has been handed over.  A response's body belongs to the host once
 * the handler returns or resume is called.
 */
#ifndef ASSAY_HTTP_H
#define ASSAY_HTTP_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/json.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_route;
typedef uint64_t assay_ticket;

/* Who asks, as the auth gate established it. */
struct assay_principal {
    bool authenticated;
    uint32_t role;              /* one of enum assay_role */
    struct assay_str role_name; /* "user" */
    struct assay_str user_id;   /* of the account, or of the agent token's owner */
    struct assay_str agent_id;  /* set for agent tokens */
    struct assay_str scopes;    /* agent tokens: space-separated */
};

#define ASSAY_PATH_PARAMS 4

struct assay_request {
    const struct assay_route *route;
    struct assay_str path;  /* decoded */
    struct assay_str query; /* raw, without '?' */
    struct assay_str param[ASSAY_PATH_PARAMS]; /* in the order of the route's path, decoded */
    struct assay_str body;
    struct assay_str content_type;
    struct assay_str idempotency_key; /* "" without the header */
    struct assay_str request_id;
    struct assay_str traceparent; /* W3C, valid or "" */
    struct assay_str remote;      /* peer address */
    const struct assay_principal *who;
    struct assay_arena *arena;
    int64_t started_mono_ns;
    /* another header, lower-case name; "" when absent.  ":scheme": "http" or "https", as the client sees it (RFC 9113, 8.3.1) */
    struct assay_str (*header)(const struct assay_request *rq, const char *name);
    void *impl; /* the host's */
    /* since ABI 1.1: a body that was too long for memory (or whose route is an ASSAY_ROUTE_SPOOL) is in an unlinked
     * file, readable, at offset 0; body then is a read-only view of it. The host's to close; -1: body is in memory. */
    int body_fd;
    /* since ABI 1.5: asked with HEAD. The route's GET answers that, without its body; what a GET does beyond answering must not be
     * done then. */
    bool head;
};

struct assay_response {
    int status; /* 0: 200 */
    const char *content_type; /* NULL: application/json */
    struct assay_buf body;
    struct assay_json_pair header[8]; /* views into the request's arena or constants */
    size_t n_headers;
    struct assay_json_faults *faults; /* lazily made by assay_faults() */
};

typedef int (*assay_handler)(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

/* sdk library */

/* Query parameter, percent-decoded into the arena; {NULL, 0} when absent. ASSAY_E_INVALID when it is
 * given twice or is not valid UTF-8 after decoding. */
int assay_query(struct assay_request *rq, const char *name, struct assay_str *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Refuses query parameters that are not in the NULL-terminated list. */
int assay_query_only(struct assay_request *rq, struct assay_response *rs, const char *const *names, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* limit (1..max, default dflt) and cursor (opaque to the client; "" at the start). */
int assay_query_page(struct assay_request *rq, struct assay_response *rs, int64_t dflt, int64_t max, int64_t *limit,
                     struct assay_str *cursor, struct assay_err *err) ASSAY_MUST_CHECK;

/* A list's place as a client sees it: base64url of the key of the last row given out. */
struct assay_str assay_cursor_encode(struct assay_arena *arena, struct assay_str key); /* p == NULL on no memory */
/* The key again; "" for "". ASSAY_E_INVALID with a fault for what assay_cursor_encode never makes. */
int assay_cursor_decode(struct assay_request *rq, struct assay_response *rs, struct assay_str cursor, struct assay_str *key,
                        struct assay_err *err) ASSAY_MUST_CHECK;

struct assay_json_faults *assay_faults(struct assay_request *rq, struct assay_response *rs);
/* Decodes the body: content type must be application/json; faults go to the response. */
int assay_body_json(struct assay_request *rq, struct assay_response *rs, const struct assay_json_field *fields, void *out,
                    struct assay_err *err) ASSAY_MUST_CHECK;
/* Adds a fault and returns ASSAY_E_INVALID with a general message. */
int assay_fault(struct assay_request *rq, struct assay_response *rs, struct assay_err *err, const char *pointer,
                const char *fmt, ...) ASSAY_PRINTF(5, 6);
/* After rules were checked on top of a decode that gave rc: rc when it was a failure of ours,
 * ASSAY_E_INVALID when any fault has been collected, 0 otherwise. */
int assay_faults_end(struct assay_request *rq, struct assay_response *rs, int rc, struct assay_err *err) ASSAY_MUST_CHECK;
/* Finishes the writer into the body and sets the status. */
int assay_reply_json(struct assay_response *rs, int status, struct assay_jw *w, struct assay_err *err) ASSAY_MUST_CHECK;
/* A list's answer, {"items":[…],"next_cursor":…}: begin, write each item, end.  `last`: the id of the last item
 * when there is a next page, else ASSAY_STR_NULL. */
void assay_list_begin(struct assay_jw *w);
int assay_list_end(struct assay_request *rq, struct assay_response *rs, struct assay_jw *w, struct assay_str last,
                   struct assay_err *err) ASSAY_MUST_CHECK;
void assay_reply_header(struct assay_response *rs, struct assay_str name, struct assay_str value);
void assay_response_clear(struct assay_response *rs); /* frees the body */

bool assay_is_staff(const struct assay_principal *who);
bool assay_is_admin(const struct assay_principal *who);

#ifdef __cplusplus
}
#endif
#endif
