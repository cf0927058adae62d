/* The plugin host: faulty files are refused as data, faulty tables before anything runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <assay/hosting.h>

#include "gateway/plugins.h"

#define assert_says(err, text)                                                                                         \
    do {                                                                                                               \
        if (strstr((err).msg, (text)) == NULL)                                                                         \
            fail_msg("wanted \"%s\" in \"%s\"", (text), (err).msg);                                                    \
    } while (0)

static const char *built(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "tests/plugins/.libs/%s.so", name);
    return path;
}

/* ---- files ---- */

#define TEXT(x) #x
#define NUMBER(x) TEXT(x)

static void refuse(const char *file, int status, const char *why, bool constructed)
{
    const struct assay_plugin *p = NULL;
    struct assay_err err = {0, ""};
    (void)unsetenv("ASSAY_TEST_CONSTRUCTED");
    assert_int_equal(assay_plugin_load(file, &p, &err), status);
    assert_says(err, why);
    assert_says(err, file);
    assert_null(p);
    assert_int_equal(getenv("ASSAY_TEST_CONSTRUCTED") != NULL, constructed);
}

static void another_abi_is_refused_before_its_code_runs(void **state)
{
    (void)state;
    refuse(built("faulty_abi"), ASSAY_E_UNSUPPORTED, "was built for ABI 2." NUMBER(ASSAY_ABI_MINOR) " and this program speaks 1." NUMBER(ASSAY_ABI_MINOR), false);
    refuse(built("faulty_magic"), ASSAY_E_UNSUPPORTED, "its magic number is 0x12345678", false);
    refuse(built("faulty_short"), ASSAY_E_UNSUPPORTED, "its descriptor says 24 bytes", false);
    refuse(built("faulty_nothing"), ASSAY_E_UNSUPPORTED, "has no symbol assay_plugin", false);
}

static void a_missing_symbol_is_found_at_loading(void **state)
{
    (void)state;
    refuse(built("faulty_symbol"), ASSAY_E_UNSUPPORTED, "undefined symbol: a_symbol_that_nobody_has", false);
}

static void what_is_no_plugin_is_refused(void **state)
{
    (void)state;
    char path[64], text[] = "not an object at all, and long enough to hold an ELF header of sixty-four bytes";
    (void)snprintf(path, sizeof path, "/tmp/assay-plugins-test-%d.so", (int)getpid());
    FILE *f = fopen(path, "w");
    assert_int_equal(fwrite(text, 1, sizeof text, f), sizeof text);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0644), 0);
    refuse(path, ASSAY_E_UNSUPPORTED, "is not a shared object", false);
    assert_int_equal(truncate(path, 0), 0);
    refuse(path, ASSAY_E_UNSUPPORTED, "is not a shared object", false);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(truncate(path, 100), 0);
    refuse(path, ASSAY_E_UNSUPPORTED, "is writable by everyone", false);
    assert_int_equal(unlink(path), 0);
    refuse(path, ASSAY_E_IO, "cannot open plugin", false);
    refuse("/tmp", ASSAY_E_UNSUPPORTED, "is not a shared object", false);
}

/* Every prefix and single damaged byte of the head of a real plugin: an answer, never a crash. */
static void a_damaged_file_never_crashes_the_reader(void **state)
{
    (void)state;
    char path[64];
    struct assay_plugin_peeked peeked;
    static unsigned char whole[1 << 20];
    FILE *f = fopen(built("faulty_none"), "r");
    assert_non_null(f);
    size_t n = fread(whole, 1, sizeof whole, f);
    (void)fclose(f);
    assert_in_range(n, 1000, sizeof whole - 1);
    (void)snprintf(path, sizeof path, "/tmp/assay-plugins-test-%d.so", (int)getpid());
    for (size_t round = 0; round < 600; round++) {
        f = fopen(path, "w");
        size_t cut = round < 200 ? n * round / 200 : n;
        unsigned char old = 0;
        /* the ELF header and the section headers at the end are what the reader trusts least */
        size_t at = round < 400 ? round - 200 : n - 1 - (round - 400) * 7;
        if (round >= 200 && at < n) {
            old = whole[at];
            whole[at] = (unsigned char)(old ^ 0xff);
        }
        assert_int_equal(fwrite(whole, 1, cut, f), cut);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(path, 0644), 0);
        (void)!assay_plugin_peek(path, &peeked, NULL);
        if (round >= 200 && at < n)
            whole[at] = old;
    }
    assert_int_equal(unlink(path), 0);
}

static void a_good_plugin_is_loaded_once_looked_at(void **state)
{
    (void)state;
    const struct assay_plugin *p = NULL;
    struct assay_plugin_peeked peeked;
    struct assay_err err;
    assert_int_equal(assay_plugin_peek(built("faulty_none"), &peeked, &err), 0);
    assert_int_equal(peeked.kind, ASSAY_PLUGIN_SERVICE);
    assert_int_equal(peeked.size, sizeof(struct assay_plugin));
    assert_int_equal(assay_plugin_load(built("faulty_none"), &p, &err), 0);
    assert_string_equal(p->name, "faulty");
}

static void a_folder_is_listed_in_order(void **state)
{
    (void)state;
    struct assay_plugin_paths paths;
    struct assay_err err;
    assert_int_equal(assay_plugin_scan(":tests/plugins/.libs:", &paths, &err), 0);
    assert_in_range(paths.n, 8, 20);
    for (size_t i = 1; i < paths.n; i++)
        assert_true(strcmp(paths.path[i - 1], paths.path[i]) < 0);
    assay_plugin_paths_free(&paths);
    assert_int_equal(assay_plugin_scan("/nonexistent", &paths, &err), ASSAY_E_CONFIG);
    assert_says(err, "cannot read folder /nonexistent");
}

/* ---- tables ---- */

static int handle(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self, (void)rq, (void)rs, (void)err;
    return 0;
}
static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    (void)host, (void)self, (void)err;
    return 0;
}
static void fini(void *self)
{
    (void)self;
}
static int deliver(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)self, (void)ev, (void)tx, (void)err;
    return 0;
}
static const int some_ops;

static struct assay_plugin service(const char *name)
{
    return (struct assay_plugin){ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE), .name = name, .version = "1", .summary = "s",
                                 .init = init, .fini = fini};
}

static int validate(const struct assay_plugin *a, const struct assay_plugin *b, struct assay_err *err)
{
    struct assay_plugins ps;
    assay_plugins_init(&ps);
    int rc = assay_plugins_add(&ps, a, "a.so", err);
    if (rc == 0 && b != NULL)
        rc = assay_plugins_add(&ps, b, "b.so", err);
    if (rc == 0)
        rc = assay_plugins_validate(&ps, err);
    assay_plugins_free(&ps);
    return rc;
}

#define ROUTE(m, p, id) {.method = (m), .path = (p), .handle = handle, .operation_id = (id), .summary = "s"}
#define ONE(type, var) \
    (struct assay_table) { &(var), 1, (uint32_t)sizeof(type) }

static void clashes_between_plugins_name_both(void **state)
{
    (void)state;
    struct assay_err err;
    static const struct {
        struct assay_route a, b;
        const char *why; /* NULL: no clash */
    } cases[] = {
        {ROUTE(ASSAY_GET, "/x/{id}", "x_get"), ROUTE(ASSAY_GET, "/x/{name}", "y_get"),
         "route clash: GET /x/{id} of plugin alpha and GET /x/{name} of plugin beta"},
        {ROUTE(ASSAY_GET, "/x", "x_get"), ROUTE(ASSAY_GET, "/x", "y_get"), "route clash"},
        {ROUTE(ASSAY_GET, "/x/{id:uuid}", "x_get"), ROUTE(ASSAY_GET, "/x/{n:uuid}/y", "y_get"), NULL},
        {ROUTE(ASSAY_GET, "/x/{id}", "x_get"), ROUTE(ASSAY_GET, "/x/y", "y_get"), NULL},
        {ROUTE(ASSAY_GET, "/x", "x_get"), ROUTE(ASSAY_POST, "/x", "y_get"), NULL},
        {ROUTE(ASSAY_GET, "/x", "same_id"), ROUTE(ASSAY_GET, "/y", "same_id"), "operation id same_id is used by both"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct assay_plugin a = service("alpha"), b = service("beta");
        a.routes = ONE(struct assay_route, cases[i].a);
        b.routes = ONE(struct assay_route, cases[i].b);
        int rc = validate(&a, &b, &err);
        assert_int_equal(rc, cases[i].why != NULL ? ASSAY_E_CONFIG : 0);
        if (cases[i].why != NULL)
            assert_says(err, cases[i].why);
    }
    struct assay_plugin a = service("twin"), b = service("twin");
    assert_int_equal(validate(&a, &b, &err), ASSAY_E_CONFIG);
    assert_says(err, "two plugins are called twin: a.so and b.so");

    static const struct assay_stmt stmt = {"x.get", "SELECT 1", "", "i", false};
    static const struct assay_stmt *const list[] = {&stmt};
    a = service("alpha");
    b = service("beta");
    a.statements = b.statements = (struct assay_table)ASSAY_TABLE(list);
    assert_int_equal(validate(&a, &b, &err), ASSAY_E_CONFIG);
    assert_says(err, "statement x.get is in both");

    static const char *const topics[] = {"x.*", NULL};
    static const struct assay_subscription sub = {
        .group = "g", .topics = topics, .kind = ASSAY_SUB_DURABLE, .deliver = deliver};
    a = service("alpha");
    b = service("beta");
    a.subscriptions = b.subscriptions = ONE(struct assay_subscription, sub);
    assert_int_equal(validate(&a, &b, &err), ASSAY_E_CONFIG);
    assert_says(err, "durable group g is in both");
    a.subscriptions.stride = offsetof(struct assay_subscription, settle); /* one of ABI 1.2 */
    assert_int_equal(validate(&a, NULL, &err), 0);

    static const struct assay_interface offer = {"assay.x", 1, &some_ops};
    a = service("alpha");
    b = service("beta");
    a.provides = b.provides = ONE(struct assay_interface, offer);
    assert_int_equal(validate(&a, &b, &err), ASSAY_E_CONFIG);
    assert_says(err, "interface assay.x is provided by both");
}

static void malformed_rows_are_refused(void **state)
{
    (void)state;
    struct assay_err err;
    static const char *const paths[] = {"x", "", "/x/{", "/x/{}", "/x{id}", "/x/{id}y", "/x/{id:int}", "//x", "/x y",
                                        "/{a}/{b}/{c}/{d}/{e}", "/x/}"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct assay_route r = ROUTE(ASSAY_GET, paths[i], "x_get");
        struct assay_plugin a = service("alpha");
        a.routes = ONE(struct assay_route, r);
        assert_int_equal(validate(&a, NULL, &err), ASSAY_E_CONFIG);
        assert_says(err, "malformed");
    }
    struct assay_route r = ROUTE(ASSAY_GET, "/x", "x_get");
    struct assay_plugin a = service("alpha");
    a.routes = ONE(struct assay_route, r);
    r.handle = NULL;
    assert_int_equal(validate(&a, NULL, &err), ASSAY_E_CONFIG);
    assert_says(err, "has no handler");
    r.handle = handle;
    a.routes.stride = 16;
    assert_int_equal(validate(&a, NULL, &err), ASSAY_E_CONFIG);
    assert_says(err, "has rows of 16 bytes");

    static const struct {
        struct assay_stmt stmt;
        const char *why;
    } bad[] = {
        {{"s", "SELECT $1, $2", "t", "tt", false}, "uses $1 to $2 and declares 1 params"},
        {{"s", "SELECT 1", "", "x", false}, "letters of t, i, r, b"},
        {{"s", NULL, "", "", false}, "lacks a name, its text"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct assay_stmt *const list[] = {&bad[i].stmt};
        a = service("alpha");
        a.statements = (struct assay_table)ASSAY_TABLE(list);
        assert_int_equal(validate(&a, NULL, &err), ASSAY_E_CONFIG);
        assert_says(err, bad[i].why);
    }
    static const struct assay_migration gap[] = {{1, "a", "SELECT 1", "0.1.0"}, {3, "b", "SELECT 1", "0.1.0"}};
    a = service("alpha");
    a.migrations = (struct assay_table)ASSAY_TABLE(gap);
    assert_int_equal(validate(&a, NULL, &err), ASSAY_E_CONFIG);
    assert_says(err, "migration 2 is not numbered without gaps");
    a = service("alpha");
    a.kind = ASSAY_PLUGIN_STORE;
    assert_int_equal(validate(&a, NULL, &err), ASSAY_E_CONFIG);
    assert_says(err, "a store driver without its operations");
    a = service("alpha");
    a.init = NULL;
    assert_int_equal(validate(&a, NULL, &err), ASSAY_E_CONFIG);
}

static const struct assay_interface offer_x = {"x", 1, &some_ops}, offer_y = {"y", 1, &some_ops};
static const struct assay_need need_x = {"x", 1, false}, need_y = {"y", 1, false}, need_x2 = {"x", 2, false},
                               maybe_z = {"z", 1, true};

static void providers_come_before_users(void **state)
{
    (void)state;
    struct assay_plugins ps;
    struct assay_err err;
    struct assay_plugin a = service("alpha"), b = service("beta"), c = service("gamma");
    a.needs = ONE(struct assay_need, need_x);
    b.provides = ONE(struct assay_interface, offer_x);
    b.needs = ONE(struct assay_need, maybe_z);
    c.provides = ONE(struct assay_interface, offer_y);
    assay_plugins_init(&ps);
    assert_int_equal(assay_plugins_add(&ps, &a, "a.so", &err), 0);
    assert_int_equal(assay_plugins_add(&ps, &b, "b.so", &err), 0);
    assert_int_equal(assay_plugins_add(&ps, &c, "c.so", &err), 0);
    assert_int_equal(assay_plugins_select(&ps, "", NULL, &err), 0);
    assert_int_equal(assay_plugins_order(&ps, &err), 0);
    assert_int_equal(ps.n_order, 3);
    assert_string_equal(ps.entry[ps.order[0]]->p->name, "beta");
    assert_string_equal(ps.entry[ps.order[1]]->p->name, "alpha");
    assert_string_equal(ps.entry[ps.order[2]]->p->name, "gamma");

    /* alone, its need is met by nobody */
    assert_int_equal(assay_plugins_select(&ps, "alpha", NULL, &err), 0);
    assert_int_equal(assay_plugins_order(&ps, &err), ASSAY_E_CONFIG);
    assert_says(err, "plugin alpha needs interface x (version 1), which no loaded plugin provides");
    assert_int_equal(assay_plugins_select(&ps, "alpha, beta", NULL, &err), 0);
    assert_int_equal(assay_plugins_order(&ps, &err), 0);
    assert_int_equal(ps.n_order, 2);
    assert_int_equal(assay_plugins_select(&ps, "alpha,bta", NULL, &err), ASSAY_E_CONFIG);
    assert_says(err, "there is no service bta; there are: alpha, beta, gamma");
    const char *drivers[] = {"store_x", NULL};
    assert_int_equal(assay_plugins_select(&ps, "", drivers, &err), ASSAY_E_CONFIG);
    assert_says(err, "the driver store_x is configured and no plugin of that name");

    a.needs = ONE(struct assay_need, need_x2);
    assert_int_equal(assay_plugins_select(&ps, "", NULL, &err), 0);
    assert_int_equal(assay_plugins_order(&ps, &err), ASSAY_E_CONFIG);
    assert_says(err, "needs interface x version 2, and plugin beta provides version 1");

    a.needs = ONE(struct assay_need, need_x);
    a.provides = ONE(struct assay_interface, offer_y);
    b.needs = ONE(struct assay_need, need_y);
    c.provides = (struct assay_table)ASSAY_TABLE_NONE;
    assert_int_equal(assay_plugins_order(&ps, &err), ASSAY_E_CONFIG);
    assert_says(err, "in a circle: alpha needs beta needs alpha");
    assay_plugins_free(&ps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_abi_is_refused_before_its_code_runs),
        cmocka_unit_test(a_missing_symbol_is_found_at_loading),
        cmocka_unit_test(what_is_no_plugin_is_refused),
        cmocka_unit_test(a_damaged_file_never_crashes_the_reader),
        cmocka_unit_test(a_good_plugin_is_loaded_once_looked_at),
        cmocka_unit_test(a_folder_is_listed_in_order),
        cmocka_unit_test(clashes_between_plugins_name_both),
        cmocka_unit_test(malformed_rows_are_refused),
        cmocka_unit_test(providers_come_before_users),
    };
    return cmocka_run_group_tests_name("plugins", tests, NULL, NULL);
}
