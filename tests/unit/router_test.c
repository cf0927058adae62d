/* The router: what matches, what wins, what clashes; and the decoding of paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/router.h"

static int nothing(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)rq;
    (void)rs;
    (void)err;
    return 0;
}

#define R(m, p, id) {.method = ASSAY_##m, .path = (p), .handle = nothing, .operation_id = (id)}
#define UUID "0193a1b2-0000-7000-8000-00000000000a"

static const struct assay_route table[] = {
    R(GET, "/", "root"),
    R(GET, "/submissions", "list"),
    R(POST, "/submissions", "create"),
    R(GET, "/submissions/mine", "mine"),
    R(GET, "/submissions/{id:uuid}", "get"),
    R(DELETE, "/submissions/{id:uuid}", "delete"),
    R(POST, "/submissions/{id:uuid}/cancel", "cancel"),
    R(GET, "/agents/{id}", "agent"),
    R(GET, "/agents/{id:uuid}/tokens", "tokens_by_uuid"),
    R(POST, "/agents/{id}/tokens", "tokens"),
    R(GET, "/a/{x}/b", "backtrack"),
    R(GET, "/a/c/d", "literal"),
    R(GET, "/p/{a}/{b}/{c}/{d}", "four"),
    R(GET, "/swagger", "swagger_bare"),
    R(GET, "/swagger/", "swagger"),
};
#define ROWS (sizeof table / sizeof table[0])

static int setup(void **state)
{
    static struct assay_bound_route bound[ROWS];
    struct assay_router *r = NULL;
    struct assay_err err;
    for (size_t i = 0; i < ROWS; i++)
        bound[i] = (struct assay_bound_route){&table[i], NULL, "test"};
    if (assay_router_new(bound, ROWS, &r, &err) != 0)
        return -1;
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    assay_router_free(*state);
    return 0;
}

static const char *match(void **state, enum assay_method m, const char *path, struct assay_match *out)
{
    enum assay_match_result got = assay_router_match(*state, m, assay_str(path), out);
    if (got == ASSAY_MATCH_NO_PATH)
        return "404";
    return got == ASSAY_MATCH_NO_METHOD ? "405" : out->bound->route->operation_id;
}

static void each_path_finds_its_route(void **state)
{
    static const struct {
        enum assay_method method;
        const char *path, *expected;
    } row[] = {
        {ASSAY_GET, "/", "root"},
        {ASSAY_POST, "/", "405"},
        {ASSAY_GET, "", "404"},
        {ASSAY_GET, "//", "404"},
        {ASSAY_GET, "/submissions", "list"},
        {ASSAY_POST, "/submissions", "create"},
        {ASSAY_PUT, "/submissions", "405"},
        {ASSAY_GET, "/submissions/", "404"},
        {ASSAY_GET, "//submissions", "404"},
        {ASSAY_GET, "/Submissions", "404"},
        {ASSAY_GET, "/submissions.", "404"},
        {ASSAY_GET, "/submissions;x=1", "404"},
        {ASSAY_GET, "/submissions/mine", "mine"},
        {ASSAY_DELETE, "/submissions/mine", "405"},
        {ASSAY_GET, "/submissions/" UUID, "get"},
        {ASSAY_DELETE, "/submissions/" UUID, "delete"},
        {ASSAY_GET, "/submissions/0193A1B2-0000-7000-8000-00000000000A", "404"},
        {ASSAY_GET, "/submissions/slug", "404"},
        {ASSAY_GET, "/submissions/..", "404"},
        {ASSAY_POST, "/submissions/" UUID "/cancel", "cancel"},
        {ASSAY_POST, "/submissions/" UUID "/cancel/x", "404"},
        {ASSAY_GET, "/agents/slug.of-mine_1", "agent"},
        {ASSAY_GET, "/agents/" UUID, "agent"},
        {ASSAY_GET, "/agents/-no", "404"},
        {ASSAY_GET, "/agents/../users", "404"},
        {ASSAY_GET, "/agents/" UUID "/tokens", "tokens_by_uuid"},
        {ASSAY_POST, "/agents/" UUID "/tokens", "tokens"},
        {ASSAY_GET, "/agents/slug/tokens", "405"},
        {ASSAY_GET, "/a/c/b", "backtrack"},
        {ASSAY_GET, "/a/c/d", "literal"},
        {ASSAY_GET, "/a/x/d", "404"},
        {ASSAY_GET, "/swagger", "swagger_bare"},
        {ASSAY_GET, "/swagger/", "swagger"},
    };
    struct assay_match m;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        assert_string_equal(match(state, row[i].method, row[i].path, &m), row[i].expected);
}

static void parameters_come_in_order(void **state)
{
    struct assay_match m;
    assert_string_equal(match(state, ASSAY_GET, "/p/w/x/y/z", &m), "four");
    assert_true(assay_str_is(m.param[0], "w") && assay_str_is(m.param[1], "x"));
    assert_true(assay_str_is(m.param[2], "y") && assay_str_is(m.param[3], "z"));
    assert_string_equal(match(state, ASSAY_POST, "/agents/" UUID "/tokens", &m), "tokens");
    assert_true(assay_str_is(m.param[0], UUID));
    assert_int_equal(m.param[1].n, 0);
}

static void allow_lists_the_methods_of_all_branches(void **state)
{
    struct assay_match m;
    char allow[ASSAY_ALLOW_SIZE];
    assert_string_equal(match(state, ASSAY_PATCH, "/submissions/" UUID, &m), "405");
    assert_int_equal(assay_router_allow(m.allow, allow), strlen("GET, HEAD, DELETE, OPTIONS"));
    assert_string_equal(allow, "GET, HEAD, DELETE, OPTIONS");
    assert_string_equal(match(state, ASSAY_PATCH, "/agents/" UUID "/tokens", &m), "405");
    (void)assay_router_allow(m.allow, allow);
    assert_string_equal(allow, "GET, HEAD, POST, OPTIONS");
    (void)assay_router_allow(0x3f, allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
}

static void faulty_tables_are_refused(void **state)
{
    static const struct assay_route bad[][2] = {
        {R(GET, "/x/{a}", "one"), R(GET, "/x/{b}", "two")}, /* the same but for the name */
        {R(GET, "/y", "one"), R(GET, "/y", "two")},
        {R(GET, "/z", "one"), R(GET, "z", "two")},
        {R(GET, "/z", "one"), R(GET, "/q//r", "two")},
        {R(GET, "/z", "one"), R(GET, "/q/{a", "two")},
        {R(GET, "/z", "one"), R(GET, "/q/{}", "two")},
        {R(GET, "/z", "one"), R(GET, "/q/{a:int}", "two")},
        {R(GET, "/z", "one"), R(GET, "/q/..", "two")},
        {R(GET, "/z", "one"), R(GET, "/{a}/{b}/{c}/{d}/{e}", "two")},
        {R(GET, "/z", "one"), R(GET, "/1/2/3/4/5/6/7/8/9/10/11/12/13", "two")},
        {R(GET, "/z", "one"), {.method = ASSAY_GET, .path = "/q", .operation_id = "two"}},
        {R(GET, "/z", "one"), {.path = "/q", .handle = nothing, .operation_id = "two"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct assay_bound_route rows[2] = {{&bad[i][0], NULL, "alpha"}, {&bad[i][1], NULL, "beta"}};
        struct assay_router *r = NULL;
        struct assay_err err = {0};
        assert_int_equal(assay_router_new(rows, 2, &r, &err), ASSAY_E_CONFIG);
        assert_null(r);
        assert_non_null(strstr(err.msg, "two"));
        assert_non_null(strstr(err.msg, "beta"));
    }
}

static void paths_are_decoded_or_refused(void **state)
{
    static const struct {
        const char *raw, *expected; /* NULL: refused */
    } row[] = {
        {"/a%20b", "/a b"}, {"/%c3%a9", "/\xc3\xa9"}, {"/%2e%2e/x", "/../x"}, {"/%", NULL},     {"/%4", NULL},   {"/%zz", NULL},
        {"/%00", NULL},     {"/%0a", NULL},           {"/%7f", NULL},         {"/%ff", NULL},   {"/a%2fb", NULL}, {"/a%2Fb", NULL},
        {"/a%5cb", NULL},   {"/%c0%ae", NULL},        {"/%ed%a0%80", NULL},   {"/%25", "/%"}, {"/%2541", "/%41"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char out[64];
        size_t n;
        struct assay_err err;
        int rc = assay_path_decode(assay_str(row[i].raw), out, &n, &err);
        assert_int_equal(rc, row[i].expected ? 0 : ASSAY_E_INVALID);
        if (row[i].expected)
            assert_true(assay_str_is((struct assay_str){out, n}, row[i].expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_path_finds_its_route),
        cmocka_unit_test(parameters_come_in_order),
        cmocka_unit_test(allow_lists_the_methods_of_all_branches),
        cmocka_unit_test(faulty_tables_are_refused),
        cmocka_unit_test(paths_are_decoded_or_refused),
    };
    return cmocka_run_group_tests_name("router", tests, setup, teardown);
}
