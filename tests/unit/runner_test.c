/* Whole submissions through the runner: verdicts, ways of judging, and what happens when wardens or the runner go away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "runner_world.h"

static void test_programs_get_their_verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *language, *source, *verdict;
    } program[] = {
        {"c", C_SUM, "OK"},
        {"gcc", "#include <stdio.h>\nint main(void){puts(\"5\");return 0;}", "WA"},
        {"c", "int main(void){for(;;);}", "TL"},
        {"c", "#include <unistd.h>\nint main(void){sleep(100);return 0;}", "TL"},
        {"c", "int main(void){return *(volatile int *)0;}", "RE"},
        {"c", "int main(void){return 3;}", "RE"},
        {"c", "#include <stdio.h>\nint main(void){for(;;)puts(\"flood\");}", "OL"},
        {"c", "int main(void){", "BF"},
        {"C", "#include \"/etc/shadow\"\nint main(void){return 0;}", "BF"},
        {"python", PY_SUM, "OK"},
        {"python3", "print(5)", "WA"},
        {"py", "while True: pass", "TL"},
        {"python", "import time\ntime.sleep(100)", "TL"},
        {"python", "raise SystemExit(3)", "RE"},
        {"python", "while True: print('flood')", "OL"},
        {"python", "def half(:\n    pass", "BF"},
        {"python", "eval('1 +')", "RE"},
        /* it says what python says when it cannot load a program, to smuggle its input out as the build's output */
        {"python",
         "import sys\nsys.stderr.write('  File \"/box/main.py\", line 1\\n' + input() + '\\nSyntaxError: x\\n')\nsys.exit(1)",
         "RE"},
        {"python", "x = []\nwhile True: x.append(bytearray(1 << 20))", "ML"},
    };
    enum { N = sizeof program / sizeof program[0] };
    struct svc *h = world();
    const char *id[N];
    for (size_t i = 0; i < N; i++)
        id[i] = submit(h, "sum", program[i].language, program[i].source);
    for (size_t i = 0; i < N; i++) {
        if (strcmp(program[i].source, PY_SUM) == 0)
            (void)ended(h, id[i]);
        expect_verdict(h, id[i], program[i].verdict);
    }
    struct svc_reply r = see(h, SVC_USER, "/results/", id[0]);
    assert_int_equal(svc_len(&r, "/tests"), 3);
    assert_string_equal(svc_str(&r, "/tests/1/verdict"), "OK");
    assert_string_equal(svc_str(&r, "/tests/1/stdout"), "12\n");
    assert_true(svc_real(&r, "/score") == 100);
    r = see(h, SVC_USER, "/results/", id[7]);
    assert_non_null(strstr(svc_str(&r, "/build_output"), "error"));
    assert_int_equal(see(h, SVC_USER2, "/results/", id[0]).status, 404);
    assert_int_equal(svc_count_events(h, "submission.done"), N);
    end(h);
}

static void test_other_ways_to_judge(void **state)
{
    (void)state;
    static const struct given answers = {
        "answers", ASSAY_JUDGE_ANSWER, ASSAY_COMPARE_TOKENS, ASSAY_FEEDBACK_FULL, false, {{"", "42\n"}}};
    static const struct given stops = {"stops",
                                       ASSAY_JUDGE_PROGRAM,
                                       ASSAY_COMPARE_EXACT,
                                       ASSAY_FEEDBACK_FULL,
                                       true,
                                       {{"1\n", "1\n"}, {"2\n", "x\n"}, {"3\n", "3\n"}}};
    static const struct given hidden = {"hidden",
                                        ASSAY_JUDGE_PROGRAM,
                                        ASSAY_COMPARE_EXACT,
                                        ASSAY_FEEDBACK_SAMPLES,
                                        false,
                                        {{"1\n", "1\n"}, {"secret\n", "secret\n"}}};
    static const struct given silent = {"silent",
                                        ASSAY_JUDGE_PROGRAM,
                                        ASSAY_COMPARE_EXACT,
                                        ASSAY_FEEDBACK_NONE,
                                        false,
                                        {{"1\n", "1\n"}}};
    struct svc *h = world();
    publish(h, &answers);
    publish(h, &stops);
    publish(h, &hidden);
    publish(h, &silent);
    svc_pump(h);
    expect_verdict(h, submit(h, "answers", NULL, " 42 "), "OK");
    expect_verdict(h, submit(h, "answers", NULL, "41"), "WA");

    const char *echo = "import sys\nsys.stdout.write(sys.stdin.read())\n";
    const char *id = submit(h, "stops", "python", echo);
    expect_verdict(h, id, "WA");
    struct svc_reply r = see(h, SVC_USER, "/results/", id);
    assert_string_equal(svc_str(&r, "/tests/0/verdict"), "OK");
    assert_string_equal(svc_str(&r, "/tests/1/verdict"), "WA");
    assert_string_equal(svc_str(&r, "/tests/2/verdict"), "-");
    assert_int_equal(svc_int(&r, "/first_failure/number"), 2);

    id = submit(h, "hidden", "python", echo);
    expect_verdict(h, id, "OK");
    r = see(h, SVC_USER, "/results/", id);
    assert_string_equal(svc_str(&r, "/tests/0/stdout"), "1\n");
    assert_string_equal(svc_str(&r, "/tests/1/verdict"), "OK");
    assert_false(svc_has(&r, "/tests/1/stdout"));
    assert_false(svc_has(&r, "/tests/1/exit_code"));
    assert_null(memmem(r.body.p, r.body.n, "secret", 6));
    r = see(h, SVC_ADMIN, "/results/", id);
    assert_string_equal(svc_str(&r, "/tests/1/stdout"), "secret\n");

    id = submit(h, "silent", "python", echo);
    expect_verdict(h, id, "OK");
    r = see(h, SVC_USER, "/results/", id);
    assert_int_equal(r.status, 200);
    assert_null(svc_str(&r, "/verdict"));
    assert_false(svc_has(&r, "/tests"));
    /* two answers, two of "stops" ("-" is no news), two of "hidden"; silence is kept */
    assert_int_equal(svc_count_events(h, "submission.test"), 2 + 2 + 2);

    /* bytes that are not text come back whole */
    id = submit(h, "sum", "python", "import sys\nsys.stdout.buffer.write(b'\\xff\\x00ok')\n");
    expect_verdict(h, id, "WA");
    r = see(h, SVC_USER, "/results/", id);
    assert_string_equal(svc_str(&r, "/tests/0/stdout_base64"), "/wBvaw==");

    struct svc_reply task = svc_call(h, SVC_USER, "POST", "/task",
                                     "{\"translator\":\"Python3\",\"code\":\"print(input()[::-1])\",\"input\":\"abc\\n\"}");
    assert_int_equal(task.status, 201);
    char path[64];
    assert_string_equal(ended(h, svc_str(&task, "/task_id")), "done");
    snprintf(path, sizeof path, "/result/%s", svc_str(&task, "/task_id"));
    r = svc_call(h, SVC_USER, "GET", path, NULL);
    assert_string_equal(svc_str(&r, "/result"), "cba\n");
    r = svc_call(h, SVC_USER, "POST", "/task", "{\"translator\":\"cobol\",\"code\":\"x\"}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/translator"));
    end(h);
}

static void test_a_program_of_several_files(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply r = svc_call(
        h, SVC_USER, "POST", "/submissions",
        "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"c\",\"files\":{"
        "\"add.h\":\"long long add(long long, long long);\","
        "\"add.c\":\"#include \\\"add.h\\\"\\nlong long add(long long a, long long b){return a+b;}\","
        "\"main.c\":\"#include <stdio.h>\\n#include \\\"add.h\\\"\\nint main(void){long long s=0,v;"
        "while(scanf(\\\"%lld\\\",&v)==1)s=add(s,v);printf(\\\"%lld\\\\n\\\",s);return 0;}\"}}");
    assert_int_equal(r.status, 202);
    expect_verdict(h, svc_str(&r, "/id"), "OK");
    r = svc_call(h, SVC_USER, "POST", "/submissions",
                 "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"python\",\"files\":{\"x.py\":\"print(1)\"}}");
    assert_int_equal(r.status, 202);
    expect_verdict(h, svc_str(&r, "/id"), "BF");
    end(h);
}

static void test_a_cancel_ends_a_running_program(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *id = submit(h, "sum", "python", "import time\ntime.sleep(2)");
    for (int i = 0; i < 1000 && svc_count_events(h, "submission.running") == 0; i++) {
        svc_pump(h);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    char path[128];
    snprintf(path, sizeof path, "/submissions/%s/cancel", id);
    assert_int_equal(svc_call(h, SVC_USER, "POST", path, NULL).status, 202);
    assert_string_equal(ended(h, id), "cancelled");
    assert_int_equal(svc_count_events(h, "submission.done"), 0);
    expect_verdict(h, submit(h, "sum", "python", PY_SUM), "OK");
    end(h);
}

static void test_killed_wardens_cost_no_submission(void **state)
{
    (void)state;
    enum { N = 12 };
    struct svc *h = world();
    const char *id[N];
    for (int i = 0; i < N; i++)
        id[i] = submit(h, "sum", i % 2 == 0 ? "python" : "c", i % 2 == 0 ? "import time\ntime.sleep(0.1)\n" PY_SUM : C_SUM);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 30; i++) {
            svc_pump(h);
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
        world_kill_wardens(2);
    }
    for (int i = 0; i < N; i++)
        expect_verdict(h, id[i], "OK");
    assert_int_equal(svc_count_events(h, "submission.done"), N);
    end(h);
}

/* A fault of ours is retried, ends as IE, and says why to staff only. */
static void test_what_cannot_be_judged_ends_as_IE(void **state)
{
    (void)state;
    struct svc *h = world();
    struct assay_ev_problem p = {.benchmark_id = ASSAY_STR("sum"),
                                 .name = ASSAY_STR("p"),
                                 .manifest_ref = ASSAY_STR("00000000000000000000000000000000000000000000000000000000deadbeef"),
                                 .position = 1,
                                 .mode = ASSAY_JUDGE_PROGRAM,
                                 .version = 2};
    struct assay_buf buf = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_ev_problem_encode(&p, &buf, &err), 0);
    svc_publish(h, "problem.changed", "sum-1", OWNER, buf.p);
    assay_buf_free(&buf);
    svc_pump(h);
    const char *id = submit(h, "sum", "python", PY_SUM);
    assert_string_equal(ended(h, id), "error");
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_non_null(strstr(svc_str(&r, "/fault"), "manifest"));
    r = see(h, SVC_USER, "/results/", id);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_false(svc_has(&r, "/fault"));
    r = see(h, SVC_USER, "/submissions/", id);
    assert_int_equal(svc_int(&r, "/attempts"), 3);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    end(h);
}

static void test_a_stop_hands_work_back(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[6][ASSAY_ID_SIZE];
    for (int i = 0; i < 6; i++)
        snprintf(id[i], sizeof id[i], "%s", submit(h, "sum", "python", "import time\ntime.sleep(0.8)\n" PY_SUM));
    for (int i = 0; i < 30; i++) {
        svc_pump(h);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    h = svc_restart(h);
    for (int i = 0; i < 6; i++)
        expect_verdict(h, id[i], "OK");
    assert_int_equal(svc_count_events(h, "submission.done"), 6);
    end(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_programs_get_their_verdicts),
        cmocka_unit_test(test_other_ways_to_judge),
        cmocka_unit_test(test_a_program_of_several_files),
        cmocka_unit_test(test_a_cancel_ends_a_running_program),
        cmocka_unit_test(test_killed_wardens_cost_no_submission),
        cmocka_unit_test(test_what_cannot_be_judged_ends_as_IE),
        cmocka_unit_test(test_a_stop_hands_work_back),
    };
    if (!warden_works())
        return world_skip();
    return cmocka_run_group_tests_name("runner", tests, NULL, NULL);
}
