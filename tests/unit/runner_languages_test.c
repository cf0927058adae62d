/* Which languages the runner offers, the images they are built and run in, and what a benchmark pins of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runner_world.h"

static void test_languages_are_tried_before_they_are_offered(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply r;
    bool testing = true;
    for (int i = 0; i < 600 && testing; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        r = svc_call(h, SVC_ADMIN, "GET", "/languages", NULL);
        testing = memmem(r.body.p, r.body.n, "\"testing\"", 9) != NULL;
    }
    assert_false(testing);
    for (int i = 0; i < svc_len(&r, "/items"); i++) {
        char at[48], version[48], reason[48];
        snprintf(version, sizeof version, "/items/%d/version", i);
        snprintf(reason, sizeof reason, "/items/%d/reason", i);
        snprintf(at, sizeof at, "/items/%d/name", i);
        print_message("# %s: %s %s\n", svc_str(&r, at), svc_str(&r, version), svc_str(&r, reason));
        snprintf(at, sizeof at, "/items/%d/name", i);
        const char *name = svc_str(&r, at);
        snprintf(at, sizeof at, "/items/%d/offered", i);
        if (strcmp(name, "python") == 0 || strcmp(name, "c") == 0)
            assert_int_equal(svc_bool(&r, at), 1);
    }
    bool ready = false; /* a warden that has asked for it is being replaced */
    for (int i = 0; i < 400 && !ready; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        r = svc_call(h, SVC_ADMIN, "GET", "/runners", NULL);
        ready = svc_int(&r, "/items/0/slots") == svc_int(&r, "/items/0/slots_ready");
    }
    assert_true(ready);
    end(h);
}

/* A root without any program in it: a static program needs no more. */
static void empty_root(char dir[static 40])
{
    char usr[64];
    (void)snprintf(dir, 40, "/tmp/assay-root-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    (void)snprintf(usr, sizeof usr, "%s/usr", dir);
    assert_int_equal(mkdir(usr, 0755), 0);
}

static void remove_root(const char *dir)
{
    char usr[64];
    (void)snprintf(usr, sizeof usr, "%s/usr", dir);
    (void)rmdir(usr);
    (void)rmdir(dir);
}

/* The value of a member of the item of that name. */
static const char *language_says(struct svc *h, const char *name, const char *member)
{
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/languages", NULL);
    for (int i = 0; i < svc_len(&r, "/items"); i++) {
        char at[64];
        (void)snprintf(at, sizeof at, "/items/%d/name", i);
        if (strcmp(svc_str(&r, at), name) != 0)
            continue;
        (void)snprintf(at, sizeof at, "/items/%d/%s", i, member);
        const char *text = svc_str(&r, at);
        return text != NULL ? text : "";
    }
    return "";
}

static void wait_for_language(struct svc *h, const char *name, const char *state)
{
    for (int i = 0; i < 1500 && strcmp(language_says(h, name, "state"), state) != 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_string_equal(language_says(h, name, "state"), state);
}

/* It builds where the compiler is and runs where there is none; the result says both. */
static void test_a_program_runs_in_another_image_than_its_build(void **state)
{
    (void)state;
    char root[40];
    empty_root(root);
    const char *const options[] = {"c_run_image", root, "python_image", root, "runner_wardens", "1", NULL};
    struct svc *h = world_with(options);
    static const char source[] = "#include <stdio.h>\n#include <unistd.h>\nint main(void){long long s=0,v;"
                                 "while(scanf(\"%lld\",&v)==1)s+=v;"
                                 "if(access(\"/usr/bin\",F_OK)==0)puts(\"a compiler may be here\");"
                                 "printf(\"%lld\\n\",s);return 0;}";
    for (int i = 0; i < 3; i++) { /* the second and third are from the build cache */
        const char *id = submit(h, "sum", "c", source);
        expect_verdict(h, id, "OK");
        struct svc_reply r = see(h, SVC_USER, "/results/", id);
        assert_string_equal(svc_str(&r, "/environment/language"), "c");
        assert_string_equal(svc_str(&r, "/environment/run/place/image"), root);
        assert_null(svc_str(&r, "/environment/build/place/image"));
        assert_string_equal(svc_str(&r, "/environment/build/place/notes/0"), "a test");
        assert_string_equal(svc_str(&r, "/environment/run/argv/0"), "app/main");
        assert_int_equal(svc_str(&r, "/environment/build/argv/0")[0], '/');
        assert_non_null(strstr(svc_str(&r, "/environment/toolchain"), "gcc"));
        assert_non_null(strstr(svc_str(&r, "/environment/kernel"), "Linux "));
        assert_true(svc_str(&r, "/environment/cpu_model")[0] != '\0');
    }
    expect_verdict(h, submit(h, "sum", "c", "int main(void){"), "BF");
    wait_for_language(h, "python", "unavailable");
    assert_non_null(strstr(language_says(h, "python", "reason"), "none of these is installed where a box can run it: python3"));
    assert_string_equal(language_says(h, "c", "run_place/image"), root);
    end(h);
    remove_root(root);
}

/* An image that points to other contents is looked at again. */
static void test_an_image_that_changed_is_looked_at_again(void **state)
{
    (void)state;
    char root[40];
    empty_root(root);
    const char *const options[] = {"c_run_image", root, NULL};
    struct svc *h = world_with(options);
    world_image_digest(0);
    expect_verdict(h, submit(h, "sum", "c", C_SUM), "OK");
    assert_null(strstr(svc_log_text(h), "environment_changed"));
    world_image_digest(7);
    world_kill_wardens(SIZE_MAX);
    struct svc_reply r = {.status = 0};
    for (int i = 0; i < 20 && strstr(svc_log_text(h), "environment_changed") == NULL; i++) {
        const char *id = submit(h, "sum", "c", C_SUM);
        expect_verdict(h, id, "OK");
        r = see(h, SVC_USER, "/results/", id);
    }
    assert_non_null(strstr(svc_log_text(h), "environment_changed"));
    expect_verdict(h, submit(h, "sum", "c", C_SUM), "OK");
    assert_non_null(strstr(svc_str(&r, "/environment/run/place/digest"), "sha256:"));
    end(h);
    remove_root(root);
}

static void test_a_missing_image_is_our_fault_and_says_why(void **state)
{
    (void)state;
    const char *const options[] = {"c_image", "no-such-image:1", NULL};
    struct svc *h = world_with(options);
    const char *id = submit(h, "sum", "c", C_SUM);
    assert_string_equal(ended(h, id), "error");
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_non_null(strstr(svc_str(&r, "/fault"), "no-such-image:1: there is no image no-such-image:1 here"));
    r = see(h, SVC_USER, "/submissions/", id);
    assert_int_equal(svc_int(&r, "/attempts"), 3);
    assert_non_null(strstr(language_says(h, "c", "reason"), "no image"));
    expect_verdict(h, submit(h, "sum", "python", PY_SUM), "OK"); /* the others are not held up */
    end(h);
}

static void test_a_pinned_toolchain_is_used_or_the_job_refused(void **state)
{
    (void)state;
    static const struct given here = {
        "here", ASSAY_JUDGE_PROGRAM, ASSAY_COMPARE_TOKENS, ASSAY_FEEDBACK_FULL, true, {{"1 2 3\n", "6\n"}}};
    struct given other = here, image = here;
    other.id = "other";
    image.id = "image";
    const char *const options[] = {"pin_refusals", "3", NULL};
    struct svc *h = world_with(options);
    publish_pinned(h, &here, "{\"py\":\"3\",\"c\":\"99\"}", ASSAY_WARM_AUTO);
    publish_pinned(h, &other, "{\"python\":\"3.999\"}", ASSAY_WARM_AUTO);
    publish_pinned(h, &image, "{\"python\":\"sha256:0000000000000000000000000000000000000000000000000000000000000001\"}", ASSAY_WARM_AUTO);
    svc_pump(h);
    expect_verdict(h, submit(h, "here", "python", PY_SUM), "OK");
    const char *id = submit(h, "other", "python", PY_SUM);
    expect_verdict(h, submit(h, "sum", "python", PY_SUM), "OK"); /* who is refused is in nobody's way */
    assert_string_equal(ended(h, id), "error");
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_non_null(strstr(svc_str(&r, "/fault"), "the benchmark pins python to 3.999, here is Python 3."));
    r = see(h, SVC_USER, "/submissions/", id);
    assert_int_equal(svc_int(&r, "/attempts"), 1); /* the end itself; to be handed back costs none */
    id = submit(h, "image", "python", PY_SUM);
    assert_string_equal(ended(h, id), "error");
    r = see(h, SVC_ADMIN, "/results/", id);
    assert_non_null(strstr(svc_str(&r, "/fault"), "here are no image and no image"));
    /* a cancel ends the wait */
    id = submit(h, "other", "python", PY_SUM);
    char path[128];
    snprintf(path, sizeof path, "/submissions/%s/cancel", id);
    (void)svc_call(h, SVC_USER, "POST", path, NULL);
    assert_string_equal(ended(h, id), "cancelled");
    end(h);
}

static bool forked(struct svc *h, const char *benchmark)
{
    const char *id = submit(h, benchmark, "python", PY_SUM);
    expect_verdict(h, id, "OK");
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    return svc_bool(&r, "/sandbox/warm");
}

static void test_a_benchmark_pins_how_interpreters_begin(void **state)
{
    (void)state;
    static const struct given off = {
        "off", ASSAY_JUDGE_PROGRAM, ASSAY_COMPARE_TOKENS, ASSAY_FEEDBACK_FULL, true, {{"1 2 3\n", "6\n"}}};
    struct given on = off;
    on.id = "on";
    struct svc *h = world();
    publish_pinned(h, &off, "", ASSAY_WARM_OFF);
    publish_pinned(h, &on, "", ASSAY_WARM_ON);
    svc_pump(h);
    wait_for_log(h, "interpreter_warm");
    assert_true(forked(h, "sum"));
    assert_false(forked(h, "off"));
    assert_true(forked(h, "on"));
    publish_pinned(h, &off, "", ASSAY_WARM_ON);
    publish_pinned(h, &on, "", ASSAY_WARM_OFF);
    svc_pump(h);
    assert_true(forked(h, "off"));
    assert_false(forked(h, "on"));
    end(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_languages_are_tried_before_they_are_offered),
        cmocka_unit_test(test_a_program_runs_in_another_image_than_its_build),
        cmocka_unit_test(test_an_image_that_changed_is_looked_at_again),
        cmocka_unit_test(test_a_missing_image_is_our_fault_and_says_why),
        cmocka_unit_test(test_a_pinned_toolchain_is_used_or_the_job_refused),
        cmocka_unit_test(test_a_benchmark_pins_how_interpreters_begin),
    };
    if (!warden_works())
        return world_skip();
    return cmocka_run_group_tests_name("runner, languages", tests, NULL, NULL);
}
