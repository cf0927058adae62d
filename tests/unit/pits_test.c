/* PITs as texts: their rules, what files say, messages and their keys, and files out of forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "local.h"

static struct assay_arena *arena;

static int begin(void **state)
{
    (void)state;
    arena = assay_arena_new(0);
    return arena == NULL;
}

static int end(void **state)
{
    (void)state;
    assay_arena_free(arena);
    return 0;
}

static void a_pit_is_read_in_both_spellings(void **state)
{
    (void)state;
    static const char *const text[] = {
        "{\"language\":\"java\",\"buildTool\":\"maven\",\"testCommand\":\"mvn -q test\",\"maxTimeoutMs\":60000,\"setupCommands\":[\"a\",\"b\"],"
        "\"environment\":{\"X\":\"1\"},\"requiredFiles\":[\"pom.xml\"]}",
        "{\"language\":\"java\",\"build_tool\":\"maven\",\"test_command\":\"mvn -q test\",\"max_timeout_ms\":60000,\"setup_commands\":[\"a\",\"b\"],"
        "\"environment\":{\"X\":\"1\"},\"required_files\":[\"pom.xml\"]}"};
    for (int i = 0; i < 2; i++) {
        struct assay_pit p;
        struct assay_err err = {0, ""};
        assert_int_equal(assay_pit_decode(assay_str(text[i]), arena, &p, &err), ASSAY_OK);
        assert_true(assay_str_is(p.test_command, "mvn -q test") && assay_str_is(p.build_tool, "maven"));
        assert_int_equal(p.max_timeout_ms, 60000);
        assert_int_equal(p.setup_commands.n, 2);
        assert_true(assay_str_is(p.environment.items[0].key, "X") && assay_str_is(p.required_files.items[0], "pom.xml"));
    }
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {{"{\"maxTimeoutMs\":0}", "maxTimeoutMs"},
                 {"{\"maxTimeoutMs\":\"60\"}", "maxTimeoutMs"},
                 {"{\"testComand\":\"x\"}", "testComand"},
                 {"{\"requiredFiles\":[\"/etc/passwd\"]}", "/requiredFiles/0"},
                 {"{\"requiredFiles\":[\"a\",\"b/../../c\"]}", "/requiredFiles/1"},
                 {"{\"environment\":{\"A-B\":\"\"}}", "A-B"},
                 {"{\"setupCommands\":[\"\"]}", "/setupCommands/0"},
                 {"[]", ""}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct assay_pit p;
        struct assay_err err = {0, ""};
        assert_int_equal(assay_pit_decode(assay_str(wrong[i].text), arena, &p, &err), ASSAY_E_INVALID);
        if (strstr(err.msg, wrong[i].says) == NULL)
            fail_msg("%s: %s", wrong[i].text, err.msg);
    }
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void files_are_filled_by_the_default_and_the_last_folder_wins(void **state)
{
    (void)state;
    char one[] = "/tmp/assay-pits-XXXXXX", two[] = "/tmp/assay-pits-XXXXXX", path[100];
    assert_non_null(mkdtemp(one));
    assert_non_null(mkdtemp(two));
    put(one, "default.json", "{\"language\":\"java\",\"testCommand\":\"mvn -q test\",\"maxTimeoutMs\":60000,\"requiredFiles\":[\"pom.xml\"]}");
    put(one, "a.json", "{\"testCommand\":\"first\"}");
    put(two, "a.json", "{\"testCommand\":\"second\",\"requiredFiles\":[\"x\"]}");
    put(two, "Bad Name.json", "{}");
    put(two, "broken.json", "{\"maxTimeoutMs\":-1}");
    snprintf(path, sizeof path, "%s::%s", one, two);
    struct assay_strs dirs, list;
    struct assay_err err = {0, ""};
    struct assay_pit p;
    assert_int_equal(assay_pit_dirs("", path, arena, &dirs, &err), ASSAY_OK);
    assert_int_equal(dirs.n, 2);
    assert_int_equal(assay_pit_load(&dirs, ASSAY_STR("a"), arena, &p, &err), ASSAY_OK);
    assert_true(assay_str_is(p.test_command, "second") && assay_str_is(p.language, "java") && p.max_timeout_ms == 60000);
    assert_true(assay_str_is(p.required_files.items[0], "x"));
    assert_int_equal(assay_pit_load(&dirs, ASSAY_STR("none"), arena, &p, &err), ASSAY_E_NOT_FOUND);
    assert_int_equal(assay_pit_load(&dirs, ASSAY_STR("../a"), arena, &p, &err), ASSAY_E_NOT_FOUND);
    assert_int_equal(assay_pit_load(&dirs, ASSAY_STR("broken"), arena, &p, &err), ASSAY_E_CONFIG);
    assert_non_null(strstr(err.msg, "broken.json"));
    assert_non_null(strstr(err.msg, "maxTimeoutMs"));
    assert_int_equal(assay_pit_list(&dirs, arena, &list, &err), ASSAY_OK);
    assert_int_equal(list.n, 2);
    assert_true(assay_str_is(list.items[0], "a") && assay_str_is(list.items[1], "broken"));
    static const char *const made[] = {"default.json", "a.json", "Bad Name.json", "broken.json"};
    for (size_t i = 0; i < 4; i++) {
        char file[400];
        snprintf(file, sizeof file, "%s/%s", one, made[i]);
        unlink(file);
        snprintf(file, sizeof file, "%s/%s", two, made[i]);
        unlink(file);
    }
    rmdir(one);
    rmdir(two);
}

static void a_key_is_of_its_user(void **state)
{
    (void)state;
    struct assay_str user, pit;
    assert_true(assay_project_key(ASSAY_STR("submissions/u-1/java-maven/2026-11-28T05.00.zip"), &user, &pit));
    assert_true(assay_str_is(user, "u-1") && assay_str_is(pit, "java-maven"));
    static const char *const wrong[] = {"",
                                        "submissions/u/p/.zip",
                                        "submissions/u/p/a.tar",
                                        "submissions/u/p/q/a.zip",
                                        "submissions/../p/a.zip",
                                        "submissions/u/../a.zip",
                                        "submissions//p/a.zip",
                                        "pits/u/p/a.zip",
                                        "submissions/u/p/a b.zip",
                                        "/submissions/u/p/a.zip"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(assay_project_key(assay_str(wrong[i]), &user, &pit));
}

static void messages_of_others_are_told_from_bad_ones(void **state)
{
    (void)state;
    struct assay_project p;
    struct assay_err err;
    assert_int_equal(assay_project_decode(ASSAY_STR("{\"submissionId\":\"s\",\"fileKey\":\"submissions/u/p/1.zip\",\"userId\":\"u\",\"pitId\":\"p\","
                                                    "\"createdAt\":\"2026-11-28T05:00:00.000Z\",\"more\":[1]}"),
                                          arena, &p, &err),
                     ASSAY_OK);
    assert_true(assay_str_is(p.submission_id, "s") && assay_str_is(p.user_id, "u") && assay_str_is(p.pit_id, "p"));
    assert_int_equal(assay_project_decode(ASSAY_STR("{\"type\":\"script\",\"language\":\"c\"}"), arena, &p, &err), ASSAY_E_NOT_FOUND);
    assert_int_equal(assay_project_decode(ASSAY_STR("{\"submissionId\":\"s\",\"fileKey\":\"submissions/u/p/1.zip\",\"userId\":\"v\"}"), arena, &p, &err),
                     ASSAY_E_INVALID);
    assert_int_equal(assay_project_decode(ASSAY_STR("{\"submissionId\":\"../x\",\"fileKey\":\"submissions/u/p/1.zip\"}"), arena, &p, &err),
                     ASSAY_E_INVALID);
}

#define TYPE "multipart/form-data; boundary=\"b o\""
static void a_file_is_cut_out_of_a_form(void **state)
{
    (void)state;
    static const char body[] = "preamble\r\n--b o\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--b o \r\n"
                               "content-type: application/zip\r\ncontent-disposition: form-data; filename=\"a;b.zip\"; name=\"file\"\r\n\r\n"
                               "PK\r\n--b\0x\r\n--b o--\r\n";
    struct assay_str all = {body, sizeof body - 1};
    struct pits_upload up;
    struct assay_err err = {0, ""};
    assert_int_equal(pits_multipart(ASSAY_STR(TYPE), all, "file", &up, &err), ASSAY_OK);
    assert_int_equal(up.bytes.n, 9);
    assert_memory_equal(up.bytes.p, "PK\r\n--b\0x", 9);
    assert_true(assay_str_is(up.filename, "a;b.zip"));
    for (size_t n = 0; n < all.n - 4; n++) /* cut anywhere it is refused, with a reason */
        assert_int_equal(pits_multipart(ASSAY_STR(TYPE), (struct assay_str){body, n}, "file", &up, &err), ASSAY_E_INVALID);
    assert_int_equal(pits_multipart(ASSAY_STR(TYPE), all, "other", &up, &err), ASSAY_E_INVALID);
    assert_non_null(strstr(err.msg, "other"));
    assert_int_equal(pits_multipart(ASSAY_STR("application/zip"), all, "file", &up, &err), ASSAY_E_INVALID);
    assert_int_equal(pits_multipart(ASSAY_STR("multipart/form-data"), all, "file", &up, &err), ASSAY_E_INVALID);
}

static void a_field_twice_and_an_empty_file(void **state)
{
    (void)state;
    struct pits_upload up;
    struct assay_err err = {0, ""};
#define PART "--b\r\nContent-Disposition: form-data; name=file\r\n\r\n"
    assert_int_equal(pits_multipart(ASSAY_STR("multipart/form-data; boundary=b"), ASSAY_STR(PART "x\r\n" PART "y\r\n--b--"), "file", &up, &err),
                     ASSAY_E_INVALID);
    assert_int_equal(pits_multipart(ASSAY_STR("Multipart/Form-Data; Boundary=b"), ASSAY_STR(PART "\r\n--b--"), "file", &up, &err), ASSAY_OK);
    assert_int_equal(up.bytes.n, 0);
}

static void commands_are_for_staff(void **state)
{
    (void)state;
    struct assay_principal student = {.authenticated = true, .role = ASSAY_ROLE_USER, .user_id = ASSAY_STR("s")};
    struct assay_principal teacher = {.authenticated = true, .role = ASSAY_ROLE_INSTRUCTOR, .user_id = ASSAY_STR("t")};
    struct assay_principal token = teacher;
    token.agent_id = ASSAY_STR("bot");
    struct pit own = {.id = ASSAY_STR("p"), .owner_id = ASSAY_STR("t")}, other = {.id = ASSAY_STR("q"), .owner_id = ASSAY_STR("u")},
               file = {.id = ASSAY_STR("f"), .owner_id = ASSAY_STR(""), .file = true};
    assert_true(pits_may_change(&own, &teacher) && !pits_may_change(&other, &teacher) && !pits_may_change(&file, &teacher));
    assert_true(pits_may_put_tests(&file, &teacher) && !pits_may_put_tests(&other, &teacher) && !pits_may_put_tests(&file, &student));
    assert_true(pits_sees_all(&other, &teacher) && !pits_sees_all(&own, &student) && !pits_sees_all(&own, &token));
    own.def.test_command = ASSAY_STR("secret-command");
    for (int whole = 0; whole < 2; whole++) {
        struct assay_buf b = ASSAY_BUF_INIT;
        struct assay_jw *w = assay_jw_new();
        pits_write(w, &own, whole != 0);
        assert_int_equal(assay_jw_finish(w, &b, NULL), 0);
        assert_int_equal(strstr(b.p, "secret-command") != NULL, whole);
        assay_jw_free(w);
        assay_buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pit_is_read_in_both_spellings, begin, end),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_named, begin, end),
        cmocka_unit_test_setup_teardown(files_are_filled_by_the_default_and_the_last_folder_wins, begin, end),
        cmocka_unit_test_setup_teardown(a_key_is_of_its_user, begin, end),
        cmocka_unit_test_setup_teardown(messages_of_others_are_told_from_bad_ones, begin, end),
        cmocka_unit_test_setup_teardown(a_file_is_cut_out_of_a_form, begin, end),
        cmocka_unit_test_setup_teardown(a_field_twice_and_an_empty_file, begin, end),
        cmocka_unit_test_setup_teardown(commands_are_for_staff, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
