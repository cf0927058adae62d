/*
 * Theory of operation.
 *
 * The routes become a tree with one node for each path prefix.  A node has literal children in order,
 * at most one child for "{x:uuid}" and at most one for "{x}", and the routes that end there, one for
 * each method.  Matching walks the segments of the path: literal, then UUID, then id; where a branch
 * leads to nothing it steps back and tries the next, so "/a/{x}/b" and "/a/c/d" live side by side.
 * The tree is at most MAX_DEPTH deep and each node has three ways on, of which two need the segment to
 * be an id, so a hostile path costs a bounded walk and no memory.
 */
#include "router.h"

#include <assay/value.h>

#include <stdio.h>
#include <stdlib.h>

#define MAX_DEPTH 12u
#define METHODS 6u /* index by enum assay_method, 0 unused */

struct edge {
    struct assay_str literal;
    struct node *to;
};

struct node {
    struct edge *edge; /* sorted by literal */
    size_t n_edges;
    struct node *uuid, *id;
    const struct assay_bound_route *by_method[METHODS];
    uint32_t methods;
};

struct assay_router {
    struct node root;
};

enum segment_kind { SEGMENT_LITERAL, SEGMENT_ID, SEGMENT_UUID };

/* The first segment of *rest, which begins behind a '/'; false when there is none left. */
static bool next_segment(struct assay_str *rest, struct assay_str *segment)
{
    if (rest->n == 0 || rest->p[0] != '/')
        return false;
    const char *from = rest->p + 1;
    size_t left = rest->n - 1;
    const char *slash = left ? memchr(from, '/', left) : NULL;
    *segment = (struct assay_str){from, slash ? (size_t)(slash - from) : left};
    rest->p = from + segment->n;
    rest->n = left - segment->n;
    return true;
}

static void node_clear(struct node *n)
{
    for (size_t i = 0; i < n->n_edges; i++) {
        node_clear(n->edge[i].to);
        free(n->edge[i].to);
    }
    free(n->edge);
    if (n->uuid)
        node_clear(n->uuid);
    if (n->id)
        node_clear(n->id);
    free(n->uuid);
    free(n->id);
}

/* Where literal is, or where it would have to be put. */
static size_t edge_find(const struct node *n, struct assay_str literal, bool *found)
{
    size_t low = 0, high = n->n_edges;
    *found = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int cmp = assay_str_cmp(n->edge[mid].literal, literal);
        if (cmp == 0) {
            *found = true;
            return mid;
        }
        if (cmp < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct node *child_literal(struct node *n, struct assay_str literal)
{
    bool found;
    size_t at = edge_find(n, literal, &found);
    if (found)
        return n->edge[at].to;
    struct node *fresh = calloc(1, sizeof *fresh);
    struct edge *grown = fresh ? realloc(n->edge, (n->n_edges + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(fresh);
        return NULL;
    }
    n->edge = grown;
    memmove(grown + at + 1, grown + at, (n->n_edges - at) * sizeof *grown);
    grown[at] = (struct edge){literal, fresh};
    n->n_edges++;
    return fresh;
}

static struct node *child_param(struct node **slot)
{
    if (!*slot)
        *slot = calloc(1, sizeof **slot);
    return *slot;
}

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

static bool word(struct assay_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!word_char(s.p[i]))
            return false;
    return true;
}

/* "{name}", "{name:uuid}" or a literal; false when it is none of them. */
static bool segment_parse(struct assay_str s, enum segment_kind *kind)
{
    *kind = SEGMENT_LITERAL;
    if (s.n == 0 || s.p[0] != '{')
        return word(s) && !assay_str_is(s, ".") && !assay_str_is(s, "..");
    if (s.p[s.n - 1] != '}')
        return false;
    struct assay_str name = {s.p + 1, s.n - 2};
    *kind = SEGMENT_ID;
    if (assay_str_ends(name, ":uuid")) {
        name.n -= sizeof ":uuid" - 1;
        *kind = SEGMENT_UUID;
    }
    return name.n > 0 && word(name);
}

static int bad_pattern(const struct assay_bound_route *row, const char *why, struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_CONFIG, "route %s of %s: the path \"%s\" %s", row->route->operation_id, row->owner,
                         row->route->path ? row->route->path : "", why);
}

static int add(struct assay_router *r, const struct assay_bound_route *row, struct assay_err *err)
{
    const struct assay_route *route = row->route;
    struct assay_str rest = assay_str(route->path), segment;
    if (rest.n == 0 || rest.p[0] != '/')
        return bad_pattern(row, "does not begin with '/'", err);
    if (route->method < ASSAY_GET || route->method > ASSAY_DELETE)
        return bad_pattern(row, "has no method that is known here", err);
    if (!route->handle)
        return bad_pattern(row, "has no handler", err);
    struct node *n = &r->root;
    unsigned depth = 0, params = 0;
    while (next_segment(&rest, &segment)) {
        enum segment_kind kind;
        if (!segment_parse(segment, &kind))
            return bad_pattern(row, "has a segment that is neither a word nor {name} nor {name:uuid}", err);
        if (segment.n == 0 && rest.n > 0)
            return bad_pattern(row, "has an empty segment", err);
        if (++depth > MAX_DEPTH)
            return bad_pattern(row, "is too deep", err);
        if (kind != SEGMENT_LITERAL && ++params > ASSAY_PATH_PARAMS)
            return bad_pattern(row, "has too many parameters", err);
        n = kind == SEGMENT_LITERAL ? child_literal(n, segment) : child_param(kind == SEGMENT_UUID ? &n->uuid : &n->id);
        if (!n)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the routes");
    }
    const struct assay_bound_route *taken = n->by_method[route->method];
    if (taken)
        return assay_err_set(err, ASSAY_E_CONFIG, "two routes answer the same requests: %s of %s (%s) and %s of %s (%s)",
                             taken->route->operation_id, taken->owner, taken->route->path, route->operation_id, row->owner,
                             route->path);
    n->by_method[route->method] = row;
    n->methods |= 1u << route->method;
    return 0;
}

int assay_router_new(const struct assay_bound_route *rows, size_t n, struct assay_router **ret, struct assay_err *err)
{
    struct assay_router *r = calloc(1, sizeof *r);
    if (!r)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the routes");
    for (size_t i = 0; i < n; i++) {
        int rc = add(r, &rows[i], err);
        if (rc) {
            assay_router_free(r);
            return rc;
        }
    }
    *ret = r;
    return 0;
}

void assay_router_free(struct assay_router *r)
{
    if (!r)
        return;
    node_clear(&r->root);
    free(r);
}

struct walk {
    enum assay_method method;
    struct assay_match *out;
    bool found;
};

/* Whether the walk is over. A path without the method is remembered, and other branches still tried. */
static bool arrive(struct walk *w, const struct node *n)
{
    w->out->allow |= n->methods;
    w->out->bound = n->by_method[w->method];
    w->found = w->out->bound != NULL;
    return w->found;
}

static bool descend(struct walk *w, const struct node *n, struct assay_str rest, unsigned params)
{
    struct assay_str segment;
    if (!next_segment(&rest, &segment))
        return arrive(w, n);
    bool found;
    size_t at = edge_find(n, segment, &found);
    if (found && descend(w, n->edge[at].to, rest, params))
        return true;
    bool uuid = (n->uuid || n->id) && assay_id_valid(segment);
    if (!uuid && !(n->id && assay_slug_valid(segment)))
        return false;
    /* add() has made sure that no path of the tree holds more parameters than there is room for */
    w->out->param[params] = segment;
    if (uuid && n->uuid && descend(w, n->uuid, rest, params + 1))
        return true;
    w->out->param[params] = segment;
    if (n->id && descend(w, n->id, rest, params + 1))
        return true;
    w->out->param[params] = ASSAY_STR_NULL;
    return false;
}

enum assay_match_result assay_router_match(const struct assay_router *r, enum assay_method method, struct assay_str path,
                                           struct assay_match *out)
{
    *out = (struct assay_match){.bound = NULL};
    if (path.n == 0 || path.p[0] != '/')
        return ASSAY_MATCH_NO_PATH;
    struct walk w = {.method = method, .out = out};
    if (descend(&w, &r->root, path, 0))
        return ASSAY_MATCH_FOUND;
    return out->allow ? ASSAY_MATCH_NO_METHOD : ASSAY_MATCH_NO_PATH;
}

size_t assay_router_allow(uint32_t methods, char out[ASSAY_ALLOW_SIZE])
{
    static const char *const name[METHODS] = {
        [ASSAY_GET] = "GET, HEAD", [ASSAY_POST] = "POST", [ASSAY_PUT] = "PUT", [ASSAY_PATCH] = "PATCH", [ASSAY_DELETE] = "DELETE"};
    size_t n = 0;
    for (uint32_t m = ASSAY_GET; m <= ASSAY_DELETE; m++)
        if (methods & 1u << m)
            n += (size_t)snprintf(out + n, ASSAY_ALLOW_SIZE - n, "%s, ", name[m]);
    n += (size_t)snprintf(out + n, ASSAY_ALLOW_SIZE - n, "OPTIONS");
    return n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int assay_path_decode(struct assay_str raw, char *out, size_t *n, struct assay_err *err)
{
    size_t to = 0;
    for (size_t i = 0; i < raw.n; i++) {
        unsigned char c = (unsigned char)raw.p[i];
        if (c == '%') {
            int hi = raw.n - i > 2 ? hex_digit(raw.p[i + 1]) : -1, lo = hi >= 0 ? hex_digit(raw.p[i + 2]) : -1;
            if (lo < 0)
                return assay_err_set(err, ASSAY_E_INVALID, "the path has a '%%' that is not followed by two hex digits");
            c = (unsigned char)(hi * 16 + lo);
            if (c == '/' || c == '\\')
                return assay_err_set(err, ASSAY_E_INVALID, "the path has an encoded slash");
            i += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return assay_err_set(err, ASSAY_E_INVALID, "the path has a control character");
        out[to++] = (char)c;
    }
    if (!assay_utf8_valid((struct assay_str){out, to}))
        return assay_err_set(err, ASSAY_E_INVALID, "the path is not UTF-8");
    *n = to;
    return 0;
}
