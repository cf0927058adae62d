/* The SDK's own promises: values, strings, JSON by tables, transactions, requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above before it */
#include <cmocka.h>
#include <math.h>

#include <assay/events.h>
#include <assay/http.h>
#include <assay/manifest.h>
#include <assay/plugin.h>
#include <assay/value.h>

static void errors_name_their_status(void **state)
{
    (void)state;
    struct assay_err err;
    assert_int_equal(assay_err_set(&err, ASSAY_E_NOT_FOUND, "no %s", "such thing"), ASSAY_E_NOT_FOUND);
    assert_string_equal(err.msg, "no such thing");
    assert_int_equal(assay_err_prefix(&err, "while %s", "looking"), ASSAY_E_NOT_FOUND);
    assert_string_equal(err.msg, "while looking: no such thing");
    assert_int_equal(assay_err_http(ASSAY_E_NOT_FOUND), 404);
    assert_int_equal(assay_err_http(-9999), 500);
    assert_int_equal(assay_err_errno(&err, ASSAY_E_IO, 28, "write"), ASSAY_E_IO);
    assert_string_equal(err.msg, "write: No space left on device");
    /* a message that does not fit is cut, never overrun */
    char longer[600];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    (void)assay_err_set(&err, ASSAY_E_IO, "%s", longer);
    (void)assay_err_prefix(&err, "head");
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    assert_memory_equal(err.msg, "head: xxx", 9);
}

static void utf8_is_strict(void **state)
{
    (void)state;
    static const char *const good[] = {"", "plain", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",         "\xc0\xaf",         "\xc1\xbf",         "\xe0\x80\xaf", "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82",     "\xff",         "\xf0\x80\x80\x80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(assay_utf8_valid(assay_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(assay_utf8_valid(assay_str(bad[i])));
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_utf8(&b, assay_str("a\xff\xe2\x82z"));
    assert_string_equal(b.p, "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
}

static void a_builder_keeps_its_cap(void **state)
{
    (void)state;
    struct assay_buf b;
    assay_buf_init(&b, 8);
    assay_buf_puts(&b, "12345678");
    assert_false(b.failed);
    assay_buf_putc(&b, '9');
    assert_true(b.failed);
    assert_string_equal(b.p, "12345678");
    assay_buf_puts(&b, "x"); /* sticky */
    assert_int_equal(b.n, 8);
    assert_null(assay_buf_steal(&b, NULL));
    assay_buf_free(&b);
}

static void base64_goes_both_ways_and_is_strict(void **state)
{
    (void)state;
    struct assay_err err;
    static const char *const texts[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"}; /* RFC 4648, 10 */
    static const char *const codes[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t i = 0; i < 7; i++) {
        ASSAY_CLEANUP_BUF struct assay_buf enc = ASSAY_BUF_INIT;
        ASSAY_CLEANUP_BUF struct assay_buf dec = ASSAY_BUF_INIT;
        assay_buf_base64(&enc, assay_str(texts[i]));
        assert_string_equal(enc.p, codes[i]);
        assert_int_equal(assay_base64_decode(assay_str(codes[i]), &dec, &err), 0);
        assert_string_equal(dec.p, texts[i]);
    }
    static const char *const bad[] = {"Zg", "Zg=", "Zm9v\n", "Z", "Zm9v!", "=Zm9", "Zg==Zg=="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ASSAY_CLEANUP_BUF struct assay_buf dec = ASSAY_BUF_INIT;
        assert_int_equal(assay_base64_decode(assay_str(bad[i]), &dec, &err), ASSAY_E_INVALID);
    }
}

static void an_arena_gives_zeroed_aligned_memory_up_to_its_cap(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(1 << 20);
    for (size_t n = 0; n < 5000; n = n * 2 + 1) {
        unsigned char *p = assay_arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    assert_non_null(assay_arena_alloc(a, 600000));
    assert_null(assay_arena_alloc(a, 600000));
    assert_null(assay_arena_array(a, SIZE_MAX / 2, 4));
    assert_false(assay_arena_failed(a)); /* it was asked for more than it may give: memory was never short */
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_puts(&b, "taken");
    assert_true(assay_str_is(assay_arena_take(a, &b), "taken"));
    assert_null(b.p);
}

static void ids_are_uuid_7_and_rise(void **state)
{
    (void)state;
    char last[ASSAY_ID_SIZE] = "", id[ASSAY_ID_SIZE];
    for (int i = 0; i < 20000; i++) {
        assay_id_new(id);
        assert_true(assay_id_valid(assay_str(id)));
        assert_int_equal(id[14], '7');
        assert_true(strchr("89ab", id[19]) != NULL);
        assert_true(strcmp(id, last) > 0);
        memcpy(last, id, sizeof id);
    }
    assert_false(assay_id_valid(ASSAY_STR("0190A5B2-0000-7000-8000-000000000000"))); /* upper case */
    assert_true(assay_slug_valid(ASSAY_STR("java-maven-bank-account-v1")));
    assert_false(assay_slug_valid(ASSAY_STR("")));
    assert_false(assay_slug_valid(ASSAY_STR(".hidden")));
    assert_false(assay_slug_valid(ASSAY_STR("a/b")));
    assert_false(assay_slug_valid(ASSAY_STR("Upper")));
}

static void numbers_are_checked(void **state)
{
    (void)state;
    int64_t v = 7;
    assert_int_equal(assay_parse_i64(ASSAY_STR("-42"), -100, 100, &v, NULL), 0);
    assert_int_equal(v, -42);
    assert_int_equal(assay_parse_i64(ASSAY_STR("9223372036854775807"), INT64_MIN, INT64_MAX, &v, NULL), 0);
    assert_int_equal(assay_parse_i64(ASSAY_STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &v, NULL), 0);
    assert_true(v == INT64_MIN);
    static const char *const bad[] = {"", "-", "+1", " 1", "1 ", "0x1", "1.0", "9223372036854775808", "1e3", "--1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(assay_parse_i64(assay_str(bad[i]), INT64_MIN, INT64_MAX, &v, NULL), ASSAY_E_INVALID);
    assert_int_equal(assay_parse_i64(ASSAY_STR("101"), 0, 100, &v, NULL), ASSAY_E_INVALID);

    static const struct {
        const char *text;
        int64_t ms;
    } durations[] = {{"5s", 5000}, {"2m30s", 150000}, {"250ms", 250}, {"1h", 3600000}, {"1.5s", 1500}, {"20", 20000}, {"0", 0}, {"1d", 86400000}};
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        assert_int_equal(assay_parse_duration_ms(assay_str(durations[i].text), 1000, &v, NULL), 0);
        assert_int_equal(v, durations[i].ms);
    }
    static const char *const bad_durations[] = {"", "s", "5x", "5 s", "-5s", "5s5", "1.s", ".5s", "99999999999999999d"};
    for (size_t i = 0; i < sizeof bad_durations / sizeof *bad_durations; i++)
        assert_int_equal(assay_parse_duration_ms(assay_str(bad_durations[i]), 1000, &v, NULL), ASSAY_E_INVALID);

    assert_int_equal(assay_parse_bytes(ASSAY_STR("256MiB"), &v, NULL), 0);
    assert_int_equal(v, 268435456);
    assert_int_equal(assay_parse_bytes(ASSAY_STR("1g"), &v, NULL), 0);
    assert_int_equal(v, 1073741824);
    assert_int_equal(assay_parse_bytes(ASSAY_STR("m"), &v, NULL), ASSAY_E_INVALID);
    assert_int_equal(assay_parse_bytes(ASSAY_STR("12q"), &v, NULL), ASSAY_E_INVALID);
    bool b = false;
    assert_int_equal(assay_parse_bool(ASSAY_STR("Yes"), &b, NULL), 0);
    assert_true(b);
    assert_int_equal(assay_parse_bool(ASSAY_STR("maybe"), &b, NULL), ASSAY_E_INVALID);
}

static void instants_go_both_ways(void **state)
{
    (void)state;
    int64_t ms = 0;
    char text[ASSAY_TIME_SIZE];
    static const int64_t some[] = {0, 1, 951782400000, 951868799999, 1795504247123, 4102444799999, 253402300799999};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        assay_time_format(some[i], text);
        assert_int_equal(assay_time_parse(assay_str(text), &ms, NULL), 0);
        assert_int_equal(ms, some[i]);
    }
    assay_time_format(951782400000, text);
    assert_string_equal(text, "2000-02-29T00:00:00.000Z");
    assert_int_equal(assay_time_parse(ASSAY_STR("2026-11-21T08:10:47+01:00"), &ms, NULL), 0);
    assay_time_format(ms, text);
    assert_string_equal(text, "2026-11-21T07:10:47.000Z");
    static const char *const bad[] = {"2026-11-21", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T07:10:47",
                                      "2026-11-21 07:10:47Z", "2026-11-21T07:10:47.Z", "1969-12-31T23:59:59Z", "2026-11-21T07:10:47Zx"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(assay_time_parse(assay_str(bad[i]), &ms, NULL), ASSAY_E_INVALID);
}

static void digests_match_their_standard(void **state)
{
    (void)state;
    char hex[ASSAY_SHA256_HEX];
    assay_sha256_hex(ASSAY_STR("abc"), hex); /* FIPS 180-4 example */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assay_sha256_hex(ASSAY_STR_NULL, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    char a[33], b[33];
    assay_random_hex(a, 16);
    assay_random_hex(b, 16);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
}

/* ---- JSON ---- */

struct item {
    struct assay_str name;
    double points;
};
struct doc {
    struct assay_str id, title, raw;
    int64_t count;
    bool has_count, flag;
    double ratio;
    int mode;
    int64_t at;
    struct item inner;
    struct assay_json_array items;
    struct assay_strs tags;
    struct assay_json_map env;
};
static const char *const modes[] = {"slow", "fast", NULL};
static const struct assay_json_field item_fields[] = {
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct item, name), .min = 1, .max = 5, .has_offset = -1},
    {.name = "points", .type = ASSAY_JSON_REAL, .offset = offsetof(struct item, points), .min = 0, .max = 10, .has_offset = -1},
    {.name = NULL},
};
static const struct assay_json_field doc_fields[] = {
    {.name = "id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_SLUG, .offset = offsetof(struct doc, id), .has_offset = -1},
    {.name = "title", .alias = "heading", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct doc, title), .has_offset = -1},
    {.name = "count", .type = ASSAY_JSON_INT, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct doc, count), .min = 1, .max = 9, .has_offset = offsetof(struct doc, has_count)},
    {.name = "flag", .type = ASSAY_JSON_BOOL, .offset = offsetof(struct doc, flag), .has_offset = -1},
    {.name = "ratio", .type = ASSAY_JSON_REAL, .offset = offsetof(struct doc, ratio), .has_offset = -1},
    {.name = "mode", .type = ASSAY_JSON_ENUM, .offset = offsetof(struct doc, mode), .names = modes, .has_offset = -1},
    {.name = "at", .type = ASSAY_JSON_TIME, .offset = offsetof(struct doc, at), .has_offset = -1},
    {.name = "inner", .type = ASSAY_JSON_OBJECT, .offset = offsetof(struct doc, inner), .fields = item_fields, .has_offset = -1},
    {.name = "items", .type = ASSAY_JSON_ARRAY, .offset = offsetof(struct doc, items), .fields = item_fields, .elem_size = sizeof(struct item), .max = 3, .has_offset = -1},
    {.name = "tags", .type = ASSAY_JSON_STRINGS, .offset = offsetof(struct doc, tags), .max = 3, .has_offset = -1},
    {.name = "env", .type = ASSAY_JSON_MAP, .offset = offsetof(struct doc, env), .has_offset = -1},
    {.name = "raw", .type = ASSAY_JSON_RAW, .offset = offsetof(struct doc, raw), .has_offset = -1},
    {.name = NULL},
};

static int decode_doc(const char *text, size_t n, struct doc *d, struct assay_json_faults *f, struct assay_arena *a)
{
    *d = (struct doc){.count = 5};
    f->n = 0;
    return assay_json_decode((struct assay_str){text, n}, doc_fields, d, NULL, a, f, NULL);
}

static void json_fills_structs(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct doc d;
    struct assay_json_faults f;
    static const char text[] = "{\"id\":\"x-1\",\"heading\":\"T\",\"count\":null,\"flag\":true,\"ratio\":2,\"mode\":\"fast\","
                               "\"at\":\"1970-01-01T00:00:01Z\",\"inner\":{\"name\":\"in\"},"
                               "\"items\":[{\"name\":\"a\",\"points\":1.5},{\"name\":\"b\"}],\"tags\":[\"p\",\"q\"],"
                               "\"env\":{\"K\":\"v\"},\"raw\":{\"any\":[1,null]}}";
    assert_int_equal(decode_doc(text, sizeof text - 1, &d, &f, a), 0);
    assert_true(assay_str_is(d.id, "x-1") && assay_str_is(d.title, "T"));
    assert_int_equal(d.count, 5); /* null is absence: the default survives */
    assert_false(d.has_count);
    assert_true(d.flag);
    assert_true(d.ratio > 1.9 && d.ratio < 2.1);
    assert_int_equal(d.mode, 1);
    assert_int_equal(d.at, 1000);
    assert_true(assay_str_is(d.inner.name, "in"));
    assert_int_equal(d.items.n, 2);
    assert_true(assay_str_is(((struct item *)d.items.items)[1].name, "b"));
    assert_int_equal(d.tags.n, 2);
    assert_true(assay_str_is(d.env.items[0].key, "K") && assay_str_is(d.env.items[0].value, "v"));
    assert_true(assay_str_is(d.raw, "{\"any\":[1,null]}"));
}

static void json_reports_every_fault_with_its_pointer(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct doc d;
    struct assay_json_faults f;
    static const char text[] = "{\"id\":\"NO\",\"count\":10,\"flag\":1,\"mode\":\"x\",\"at\":\"soon\",\"items\":[{},{\"name\":\"toolong\"}],"
                               "\"surprise/~\":1,\"tags\":[1]}";
    assert_int_equal(decode_doc(text, sizeof text - 1, &d, &f, a), ASSAY_E_INVALID);
    static const char *const want[] = {"/surprise~1~0", "/id", "/title", "/count", "/flag", "/mode", "/at", "/items/0/name", "/items/1/name", "/tags/0"};
    assert_int_equal(f.n, sizeof want / sizeof *want);
    for (size_t i = 0; i < f.n; i++)
        assert_true(assay_str_is(f.item[i].pointer, want[i]));
}

static void json_refuses_what_is_not_plain_json(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct doc d;
    struct assay_json_faults f;
    static const char *const bad[] = {"", "{", "[]", "null", "{\"title\":\"a\",\"title\":\"b\"}", "{\"title\":\"\\ud800\"}", "{\"title\":\"a\"} x",
                                      "{'title':1}", "{\"title\":\"a\",}", "{\"title\":\"\\u0000\"}", "{\"title\":\"a\",\"heading\":\"b\"}",
                                      "{\"title\":\"\xff\"}", "{\"title\":\"a\",\"ratio\":1e999}", "{\"title\":\"a\",\"count\":99999999999999999999}",
                                      "{\"title\":\"a\",\"count\":1.0}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(decode_doc(bad[i], strlen(bad[i]), &d, &f, a), ASSAY_E_INVALID);
        assert_true(f.n >= 1);
    }
    /* 100,000 open brackets: refused by counting, without recursion */
    ASSAY_CLEANUP_BUF struct assay_buf deep = ASSAY_BUF_INIT;
    for (int i = 0; i < 100000; i++)
        assay_buf_putc(&deep, '[');
    assert_int_equal(decode_doc(deep.p, deep.n, &d, &f, a), ASSAY_E_INVALID);
    assert_true(assay_str_starts(f.item[0].detail, "objects and arrays are nested"));
}

static void json_is_written_in_order_and_always_valid(void **state)
{
    (void)state;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    assay_jw_object(w);
    assay_jw_kstr(w, "bad", ASSAY_STR("a\xff\x00z"));
    assay_jw_kint(w, "i", -7);
    assay_jw_kreal(w, "r", 0.1);
    assay_jw_kreal(w, "nan", (double)NAN);
    assay_jw_ktime(w, "t", 1000);
    assay_jw_ktime(w, "never", 0);
    assay_jw_kraw(w, "raw", ASSAY_STR("{\"a\":[true]}"));
    assay_jw_key(w, "list");
    assay_jw_array(w);
    assay_jw_z(w, NULL);
    assay_jw_bool(w, false);
    assay_jw_end(w);
    assay_jw_end(w);
    assert_int_equal(assay_jw_finish(w, &out, NULL), 0);
    assert_string_equal(out.p, "{\"bad\":\"a\xef\xbf\xbd\\u0000z\",\"i\":-7,\"r\":0.1,\"nan\":null,\"t\":\"1970-01-01T00:00:01.000Z\","
                               "\"never\":null,\"raw\":{\"a\":[true]},\"list\":[null,false]}");
}

/* ---- transactions, events, requests ---- */

static void a_transaction_grows_and_is_capped(void **state)
{
    (void)state;
    static const struct assay_stmt stmt = {.name = "t.x", .sql = "SELECT $1", .params = "t", .columns = "t"};
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct assay_tx *tx = assay_tx_new(a, "t");
    for (int i = 0; i < ASSAY_TX_OPS; i++)
        assert_int_equal(ASSAY_TX(tx, &stmt, ASSAY_EXPECT_ONE, ASSAY_VZ("v")), i);
    assert_true(assay_str_is(tx->op[200].args[0].s, "v"));
    assert_int_equal(ASSAY_TX(tx, &stmt, ASSAY_EXPECT_ONE, ASSAY_VZ("v")), -1);
    assert_true(tx->failed);
    assert_int_equal(assay_store_exec(NULL, tx, NULL), ASSAY_E_NOMEM); /* refused before any store is asked */
}

static void events_survive_the_way_through_json(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_str langs[] = {ASSAY_STR("c"), ASSAY_STR("python")};
    struct assay_ev_benchmark in = {.owner_id = ASSAY_STR("u"), .name = ASSAY_STR("B"), .visibility = ASSAY_VISIBLE_PRIVATE,
                                    .feedback = ASSAY_FEEDBACK_SAMPLES, .ends_ms = 99, .languages = {langs, 2},
                                    .warm_interpreters = ASSAY_WARM_OFF};
    struct assay_ev_benchmark back = {.visibility = 0};
    assert_int_equal(assay_ev_benchmark_encode(&in, &out, NULL), 0);
    assert_int_equal(assay_ev_benchmark_decode(assay_buf_view(&out), a, &back, NULL), 0);
    assert_int_equal(back.visibility, in.visibility);
    assert_int_equal(back.feedback, in.feedback);
    assert_int_equal(back.ends_ms, 99);
    assert_int_equal(back.warm_interpreters, ASSAY_WARM_OFF);
    assert_true(back.languages.n == 2 && assay_str_is(back.languages.items[1], "python"));
    /* a newer writer's members are passed over */
    struct assay_ev_agent agent = {.deleted = false};
    assert_int_equal(assay_ev_agent_decode(ASSAY_STR("{\"owner_id\":\"u\",\"from_the_future\":{\"x\":1}}"), a, &agent, NULL), 0);
    assert_true(assay_str_is(agent.owner_id, "u"));
    assert_int_equal(assay_ev_agent_decode(ASSAY_STR("{}"), a, &agent, NULL), ASSAY_E_INVALID);
}

static void a_manifest_survives_the_way_through_json(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_manifest_test tests[] = {{.number = 1, .name = ASSAY_STR("t"), .sample = true, .points = 2.5, .expected_ref = ASSAY_STR("ab")}};
    struct assay_manifest in = {.benchmark_id = ASSAY_STR("b"), .problem_id = ASSAY_STR("p"), .version = 3, .mode = ASSAY_JUDGE_ANSWER,
                                .compare = ASSAY_COMPARE_FLOAT, .float_abs = 1e-9, .time_limit_ms = 1000, .wall_limit_ms = 3000,
                                .memory_limit_bytes = 1 << 26, .output_limit_bytes = 1 << 16, .process_limit = 8, .tests = {tests, 1}};
    struct assay_manifest back;
    assert_int_equal(assay_manifest_encode(&in, &out, NULL), 0);
    assert_int_equal(assay_manifest_decode(assay_buf_view(&out), a, &back, NULL), 0);
    assert_int_equal(back.mode, ASSAY_JUDGE_ANSWER);
    assert_int_equal(back.compare, ASSAY_COMPARE_FLOAT);
    assert_true(back.float_abs > 0.9e-9 && back.float_abs < 1.1e-9);
    assert_int_equal(back.tests.n, 1);
    struct assay_manifest_test *t = back.tests.items;
    assert_true(t->sample && t->points > 2.4 && assay_str_is(t->expected_ref, "ab"));
}

static void query_parameters_are_decoded_once_and_only_the_known_are_taken(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct assay_response rs = {.status = 0};
    struct assay_request rq = {.query = ASSAY_STR("a=1%202&b=x+y&empty=&c=%ff&d=1&d=2&limit=7"), .arena = a};
    struct assay_str v;
    assert_int_equal(assay_query(&rq, "a", &v, NULL), 0);
    assert_true(assay_str_is(v, "1 2"));
    assert_int_equal(assay_query(&rq, "b", &v, NULL), 0);
    assert_true(assay_str_is(v, "x y"));
    assert_int_equal(assay_query(&rq, "empty", &v, NULL), 0);
    assert_true(v.p != NULL && v.n == 0);
    assert_int_equal(assay_query(&rq, "absent", &v, NULL), 0);
    assert_null(v.p);
    assert_int_equal(assay_query(&rq, "c", &v, NULL), ASSAY_E_INVALID);
    assert_int_equal(assay_query(&rq, "d", &v, NULL), ASSAY_E_INVALID);
    static const char *const known[] = {"a", "b", "empty", "c", "d", NULL};
    assert_int_equal(assay_query_only(&rq, &rs, known, NULL), ASSAY_E_INVALID); /* limit is not in the list */
    int64_t limit = 0;
    assert_int_equal(assay_query_page(&rq, &rs, 50, 100, &limit, &v, NULL), 0);
    assert_int_equal(limit, 7);
    rq.query = ASSAY_STR("limit=101");
    assert_int_equal(assay_query_page(&rq, &rs, 50, 100, &limit, &v, NULL), ASSAY_E_INVALID);
    rq.query = ASSAY_STR("a=%4");
    assert_int_equal(assay_query(&rq, "a", &v, NULL), ASSAY_E_INVALID);
}

static void a_body_must_say_that_it_is_json(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *a = assay_arena_new(0);
    struct assay_route route = {.body_max = 32};
    struct assay_response rs = {.status = 0};
    struct assay_request rq = {.route = &route, .body = ASSAY_STR("{\"name\":\"x\"}"), .content_type = ASSAY_STR("text/plain"), .arena = a};
    struct item it = {.points = 0};
    assert_int_equal(assay_body_json(&rq, &rs, item_fields, &it, NULL), ASSAY_E_INVALID);
    assert_int_equal(rs.status, 415);
    rs = (struct assay_response){.status = 0};
    rq.content_type = ASSAY_STR("application/json; charset=utf-8");
    assert_int_equal(assay_body_json(&rq, &rs, item_fields, &it, NULL), 0);
    assert_true(assay_str_is(it.name, "x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_name_their_status),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(a_builder_keeps_its_cap),
        cmocka_unit_test(base64_goes_both_ways_and_is_strict),
        cmocka_unit_test(an_arena_gives_zeroed_aligned_memory_up_to_its_cap),
        cmocka_unit_test(ids_are_uuid_7_and_rise),
        cmocka_unit_test(numbers_are_checked),
        cmocka_unit_test(instants_go_both_ways),
        cmocka_unit_test(digests_match_their_standard),
        cmocka_unit_test(json_fills_structs),
        cmocka_unit_test(json_reports_every_fault_with_its_pointer),
        cmocka_unit_test(json_refuses_what_is_not_plain_json),
        cmocka_unit_test(json_is_written_in_order_and_always_valid),
        cmocka_unit_test(a_transaction_grows_and_is_capped),
        cmocka_unit_test(events_survive_the_way_through_json),
        cmocka_unit_test(a_manifest_survives_the_way_through_json),
        cmocka_unit_test(query_parameters_are_decoded_once_and_only_the_known_are_taken),
        cmocka_unit_test(a_body_must_say_that_it_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
