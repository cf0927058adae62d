/*
 * The router: the route tables of all plugins, compiled once into a tree of path segments.
 *
 * A pattern is "/a/{name}/b/{other:uuid}": literal segments, "{name}" for an id (a UUID or a slug) and
 * "{name:uuid}" for a UUID alone.  A literal wins over a UUID, a UUID over an id.  Immutable after
 * assay_router_new(), so any thread may match.  The router borrows the rows and their routes, which
 * must outlive it.
 */
#ifndef ASSAY_GATEWAY_ROUTER_H
#define ASSAY_GATEWAY_ROUTER_H

#include <assay/http.h>
#include <assay/plugin.h>
#include <assay/str.h>

/* A row of a plugin's table together with whose it is. */
struct assay_bound_route {
    const struct assay_route *route;
    void *self;        /* handed to the handler */
    const char *owner; /* the plugin's name, for messages about clashes */
};

enum assay_match_result {
    ASSAY_MATCH_FOUND,
    ASSAY_MATCH_NO_PATH,   /* 404 */
    ASSAY_MATCH_NO_METHOD, /* 405: the path exists, `allow` says with which methods */
};

struct assay_match {
    const struct assay_bound_route *bound; /* FOUND */
    struct assay_str param[ASSAY_PATH_PARAMS];
    uint32_t allow; /* FOUND and NO_METHOD: bit (1 << enum assay_method) for each method of the path */
};

struct assay_router;

/* Checks every pattern and refuses clashes: ASSAY_E_CONFIG with a message that names both routes. */
int assay_router_new(const struct assay_bound_route *rows, size_t n, struct assay_router **ret, struct assay_err *err)
    ASSAY_MUST_CHECK;
void assay_router_free(struct assay_router *r);

/* path: decoded, beginning with '/'.  The parameters are views into it.  method may be 0 to ask only
 * which methods a path has (never FOUND then). */
enum assay_match_result assay_router_match(const struct assay_router *r, enum assay_method method, struct assay_str path,
                                           struct assay_match *out);

/* "GET, HEAD, POST, OPTIONS" for a set of methods; returns the length, 0 when it does not fit. */
#define ASSAY_ALLOW_SIZE 64
size_t assay_router_allow(uint32_t methods, char out[ASSAY_ALLOW_SIZE]);

/* Undoes percent-encoding of a path into out, which holds raw.n bytes; *n is what was written.
 * ASSAY_E_INVALID: a bad escape, a control byte, not UTF-8, or an encoded '/', which would let two
 * paths that differ to a proxy be one to us. */
int assay_path_decode(struct assay_str raw, char *out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;

#endif
