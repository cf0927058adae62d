/*
 * Paths: decoding and matching, against a matcher that is too simple to be wrong.
 *
 * What must hold: a decoded path is UTF-8 without control bytes and no longer than it was; the router finds a
 * route exactly when one of the patterns fits, and says 405 exactly when only another method's does.
 */
#include <string.h>

#include <assay/value.h>

#include "fuzz.h"
#include "gateway/router.h"

static int nothing(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)rq;
    (void)rs;
    (void)err;
    return 0;
}

#define R(m, p) {.method = ASSAY_##m, .path = (p), .handle = nothing, .operation_id = (p)}
static const struct assay_route routes[] = {
    R(GET, "/"),           R(GET, "/a"),       R(POST, "/a"),      R(GET, "/a/b"),        R(GET, "/a/{x}"),
    R(PUT, "/a/{x:uuid}"), R(GET, "/a/{x}/b"), R(DELETE, "/a/c/d"), R(GET, "/{x}/{y}/{z}"), R(PATCH, "/{x:uuid}/b/"),
};
#define ROUTES (sizeof routes / sizeof routes[0])

/* One pattern against one path, segment by segment. */
static bool fits(const char *pattern, struct assay_str path)
{
    const char *p = path.p, *end = path.p + path.n;
    while (*pattern == '/' && p < end && *p == '/') {
        size_t want = strcspn(pattern + 1, "/"), have = 0;
        while (p + 1 + have < end && p[1 + have] != '/')
            have++;
        struct assay_str segment = {p + 1, have};
        bool ok;
        if (pattern[1] != '{')
            ok = assay_str_eq(segment, (struct assay_str){pattern + 1, want});
        else if (memchr(pattern, ':', want))
            ok = assay_id_valid(segment);
        else
            ok = assay_id_valid(segment) || assay_slug_valid(segment);
        if (!ok)
            return false;
        pattern += 1 + want;
        p += 1 + have;
    }
    return *pattern == 0 && p == end;
}

static struct assay_router *router_get(void)
{
    static struct assay_router *router;
    static struct assay_bound_route bound[ROUTES];
    struct assay_err err;
    if (router)
        return router;
    for (size_t i = 0; i < ROUTES; i++)
        bound[i] = (struct assay_bound_route){&routes[i], NULL, "fuzz"};
    FUZZ_CHECK(assay_router_new(bound, ROUTES, &router, &err) == 0);
    return router;
}

static void check_match(struct assay_str path)
{
    uint32_t methods = 0;
    for (size_t i = 0; i < ROUTES; i++)
        if (fits(routes[i].path, path))
            methods |= 1u << routes[i].method;
    for (uint32_t m = ASSAY_GET; m <= ASSAY_DELETE; m++) {
        struct assay_match out;
        enum assay_match_result got = assay_router_match(router_get(), (enum assay_method)m, path, &out);
        if (methods & 1u << m) {
            FUZZ_CHECK(got == ASSAY_MATCH_FOUND && out.bound->route->method == m && fits(out.bound->route->path, path));
            for (size_t i = 0; i < ASSAY_PATH_PARAMS; i++)
                FUZZ_CHECK(!out.param[i].n || (out.param[i].p > path.p && out.param[i].p + out.param[i].n <= path.p + path.n));
        } else {
            FUZZ_CHECK(got == (methods ? ASSAY_MATCH_NO_METHOD : ASSAY_MATCH_NO_PATH));
            FUZZ_CHECK(out.allow == methods);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char decoded[1 << 20];
    struct assay_str raw = {(const char *)data, size < sizeof decoded ? size : sizeof decoded};
    struct assay_err err;
    size_t n;
    check_match(raw); /* it must stand any bytes, decoded or not */
    if (assay_path_decode(raw, decoded, &n, &err) != 0)
        return 0;
    FUZZ_CHECK(n <= raw.n);
    struct assay_str path = {decoded, n};
    FUZZ_CHECK(assay_utf8_valid(path));
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK((unsigned char)decoded[i] >= 0x20 && decoded[i] != 0x7f);
    check_match(path);
    return 0;
}
