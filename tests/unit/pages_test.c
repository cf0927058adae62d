/* The pages that a browser gets: which files are taken, in which encoding they go out, and that no path leads anywhere else. */
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

#include "gateway/pages.h"

#define APP "ui/app-0123456789.js"

static char dir[] = "/tmp/assay-pages-XXXXXX";
static struct assay_pages *pages;

/* ---- a folder ---------------------------------------------------------------------------------------- */

static const char *in_dir(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static const char *const files[] = {"index.html", "index.html.gz", "secret.html", APP, APP ".gz", APP ".br", "ui/plain.css",
                                    "ui/.hidden.js", "ui/UPPER.js", "ui/unknown.exe", "swagger/index.html"};

static int make(void **state)
{
    (void)state;
    struct assay_err err;
    if (mkdtemp(dir) == NULL || mkdir(in_dir("ui"), 0700) != 0 || mkdir(in_dir("swagger"), 0700) != 0 || mkdir(in_dir("ui/folder.js"), 0700) != 0)
        return -1;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        put(files[i], files[i]);
    if (symlink("/etc/passwd", in_dir("ui/link.txt")) != 0)
        return -1;
    return assay_pages_load(dir, &pages, &err);
}

static int clear(void **state)
{
    (void)state;
    assay_pages_free(pages);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        (void)unlink(in_dir(files[i]));
    (void)unlink(in_dir("ui/link.txt"));
    (void)rmdir(in_dir("ui/folder.js"));
    (void)rmdir(in_dir("ui"));
    (void)rmdir(in_dir("swagger"));
    return rmdir(dir);
}

/* ---- a request --------------------------------------------------------------------------------------- */

static const char *accepted_encodings, *accepted_types;

static struct assay_str header(const struct assay_request *rq, const char *name)
{
    (void)rq;
    return assay_str(strcmp(name, "accept") == 0 ? accepted_types : strcmp(name, "accept-encoding") == 0 ? accepted_encodings : "");
}

static const char *answered(const struct assay_response *rs, const char *name)
{
    static char value[600];
    for (size_t i = 0; i < rs->n_headers; i++)
        if (assay_str_ieq(rs->header[i].key, name)) {
            (void)snprintf(value, sizeof value, "%.*s", ASSAY_FMT(rs->header[i].value));
            return value;
        }
    return "";
}

static struct assay_str said; /* the body of the last answer */

static int ask(const char *folder, const char *name, const char *encodings, struct assay_response *rs)
{
    struct assay_request rq = {.header = header};
    struct assay_err err;
    accepted_encodings = encodings;
    said = ASSAY_STR("");
    return assay_pages_answer(pages, folder, assay_str(name), &rq, rs, &said, &err);
}

static void assert_gets(const char *folder, const char *name, const char *encodings, const char *text, const char *encoding)
{
    struct assay_response rs = {.status = 0};
    assert_int_equal(ask(folder, name, encodings, &rs), 0);
    assert_true(assay_str_is(said, text));
    assert_string_equal(answered(&rs, "content-encoding"), encoding);
    assay_response_clear(&rs);
}

/* ---- tests ------------------------------------------------------------------------------------------- */

static void what_lies_there_is_found_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(assay_pages_count(pages), 4);
    assert_gets("", "index.html", "", "index.html", "");
    assert_gets("ui", "app-0123456789.js", "", APP, "");
    assert_gets("ui", "plain.css", "gzip, br", "ui/plain.css", "");
    assert_gets("swagger", "index.html", "", "swagger/index.html", "");
}

static void no_name_leads_out_of_the_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"",           ".",           "..",          "../index.html", "../secret.html", "../../../../../../etc/passwd",
                                        "/etc/passwd", "link.txt",    "folder.js",   ".hidden.js",    "UPPER.js",       "unknown.exe",
                                        "app-0123456789.js.gz", "app-0123456789.js/", "./plain.css", "plain.css\n", "..%2findex.html"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct assay_response rs = {.status = 0};
        assert_int_equal(ask("ui", names[i], "", &rs), ASSAY_E_NOT_FOUND);
        assert_int_equal(rs.n_headers, 0);
        assay_response_clear(&rs);
    }
    struct assay_response rs = {.status = 0};
    assert_int_equal(ask("", "secret.html", "", &rs), ASSAY_E_NOT_FOUND);
    char longest[4096];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(ask("ui", longest, "", &rs), ASSAY_E_NOT_FOUND);
    struct assay_request rq = {.header = header};
    struct assay_err err;
    /* a NUL ends no name early */
    assert_int_equal(assay_pages_answer(pages, "ui", ASSAY_STR("plain.css\0.js"), &rq, &rs, &said, &err), ASSAY_E_NOT_FOUND);
}

static void the_best_encoding_that_is_taken_goes_out(void **state)
{
    (void)state;
    const char *app = "app-0123456789.js";
    assert_gets("ui", app, "gzip, deflate, br", APP ".br", "br");
    assert_gets("ui", app, "gzip", APP ".gz", "gzip");
    assert_gets("ui", app, "GZIP ; q=0.5", APP ".gz", "gzip");
    assert_gets("ui", app, "br;q=0, gzip;q=0.000", APP, "");
    assert_gets("ui", app, "br; q=0.001", APP ".br", "br");
    assert_gets("ui", app, "brotli, x-gzip", APP, "");
    assert_gets("ui", app, "identity, *", APP, "");
    assert_gets("ui", app, ",;,=;q=;", APP, "");
    assert_gets("", "index.html", "br, gzip", "index.html.gz", "gzip");
}

static void encodings_have_tags_of_their_own(void **state)
{
    (void)state;
    char first[64], second[64];
    struct assay_response rs = {.status = 0};
    assert_int_equal(ask("ui", "app-0123456789.js", "br", &rs), 0);
    (void)snprintf(first, sizeof first, "%s", answered(&rs, "etag"));
    assert_string_equal(answered(&rs, "vary"), "Accept-Encoding");
    assay_response_clear(&rs);
    assert_int_equal(ask("ui", "app-0123456789.js", "", &rs), 0);
    (void)snprintf(second, sizeof second, "%s", answered(&rs, "etag"));
    assay_response_clear(&rs);
    assert_true(first[0] == '"' && first[strlen(first) - 1] == '"');
    assert_string_not_equal(first, second);
}

static void names_with_a_hash_last_and_others_are_asked_for_again(void **state)
{
    (void)state;
    struct assay_response rs = {.status = 0};
    assert_int_equal(ask("ui", "app-0123456789.js", "", &rs), 0);
    assert_string_equal(answered(&rs, "cache-control"), "public, max-age=31536000, immutable");
    assert_string_equal(rs.content_type, "text/javascript; charset=utf-8");
    assert_string_equal(answered(&rs, "content-security-policy"), "");
    assay_response_clear(&rs);
    assert_int_equal(ask("ui", "plain.css", "", &rs), 0);
    assert_string_equal(answered(&rs, "cache-control"), "no-cache");
    assay_response_clear(&rs);
}

static void pages_for_people_are_hardened(void **state)
{
    (void)state;
    static const char *const folders[] = {"", "swagger"};
    for (size_t i = 0; i < 2; i++) {
        struct assay_response rs = {.status = 0};
        assert_int_equal(ask(folders[i], "index.html", "gzip", &rs), 0);
        const char *csp = answered(&rs, "content-security-policy");
        assert_non_null(strstr(csp, "default-src 'none'"));
        assert_non_null(strstr(csp, "frame-ancestors 'none'"));
        assert_null(strstr(csp, "unsafe"));
        assert_string_equal(answered(&rs, "cross-origin-opener-policy"), "same-origin");
        assert_non_null(strstr(answered(&rs, "permissions-policy"), "camera=()"));
        assert_int_equal(rs.content_type != NULL && strcmp(rs.content_type, "text/html; charset=utf-8") == 0, 1);
        assay_response_clear(&rs);
    }
}

static void who_wants_a_page_says_so(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        bool wanted;
    } rows[] = {{"text/html,application/xhtml+xml,*/*;q=0.8", true}, {"*/*", false}, {"", false}, {"application/json", false},
                {"application/json, text/html", true},               {"text/html;q=0", false}, {"text/htmlx", false}};
    struct assay_request rq = {.header = header};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        accepted_types = rows[i].accept;
        assert_int_equal(assay_pages_wanted(&rq), rows[i].wanted);
    }
}

static void what_was_not_built_is_told_from_what_is_too_much(void **state)
{
    (void)state;
    struct assay_pages *other = NULL;
    struct assay_err err;
    assert_int_equal(assay_pages_load("/nonexistent", &other, &err), ASSAY_E_NOT_FOUND);
    assert_int_equal(assay_pages_load(in_dir("ui"), &other, &err), ASSAY_E_NOT_FOUND);
    assert_null(other);
    put("ui/large.txt", "x");
    assert_int_equal(truncate(in_dir("ui/large.txt"), (off_t)33 << 20), 0);
    int rc = assay_pages_load(dir, &other, &err);
    (void)unlink(in_dir("ui/large.txt"));
    assert_int_equal(rc, ASSAY_E_TOO_LARGE);
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lies_there_is_found_and_nothing_else),
        cmocka_unit_test(no_name_leads_out_of_the_folder),
        cmocka_unit_test(the_best_encoding_that_is_taken_goes_out),
        cmocka_unit_test(encodings_have_tags_of_their_own),
        cmocka_unit_test(names_with_a_hash_last_and_others_are_asked_for_again),
        cmocka_unit_test(pages_for_people_are_hardened),
        cmocka_unit_test(who_wants_a_page_says_so),
        cmocka_unit_test(what_was_not_built_is_told_from_what_is_too_much),
    };
    return cmocka_run_group_tests(tests, make, clear);
}
