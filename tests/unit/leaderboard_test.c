/* The leaderboard service: its rules alone, and the whole over the real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "local.h"
#include "svc_harness.h"

/* ---- rules -------------------------------------------------------------------------------------- */

static void better_then_earlier_then_smaller(void **state)
{
    (void)state;
    struct lb_entry a = {.score = 90, .created_ms = 10, .submission_id = ASSAY_STR("a")};
    struct lb_entry better = {.score = 90.5, .created_ms = 99, .submission_id = ASSAY_STR("z")};
    struct lb_entry earlier = {.score = 90, .created_ms = 9, .submission_id = ASSAY_STR("z")};
    struct lb_entry larger = {.score = 90, .created_ms = 10, .submission_id = ASSAY_STR("b")};
    assert_true(lb_order(&better, &a) < 0 && lb_order(&a, &better) > 0);
    assert_true(lb_order(&earlier, &a) < 0 && lb_order(&a, &earlier) > 0);
    assert_true(lb_order(&a, &larger) < 0 && lb_order(&larger, &a) > 0);
    assert_int_equal(lb_order(&a, &a), 0);
}

static void places_survive_a_cursor(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct lb_place p = {17, 100.0 / 3, 1700000000123, ASSAY_STR("01900000-0000-7000-8000-000000000001")}, q;
    assert_int_equal(lb_place_parse(lb_place_text(&p, arena), &q, NULL), 0);
    assert_true(q.rank == 17 && q.score == p.score && q.created_ms == p.created_ms);
    assert_true(assay_str_eq(q.submission_id, p.submission_id));
    static const char *const bad[] = {"", "1", "1 2 3", "0 0x1p+0 3 01900000-0000-7000-8000-000000000001",
                                      "1 nan 3 01900000-0000-7000-8000-000000000001",
                                      "1 0x1p+0z 3 01900000-0000-7000-8000-000000000001",
                                      "1 0x1p+0 -3 01900000-0000-7000-8000-000000000001",
                                      "1 0x1p+0 3 01900000-0000-7000-8000-000000000001 x", "1 0x1p+0 3 '"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(lb_place_parse(assay_str(bad[i]), &q, NULL), ASSAY_E_INVALID);
}

static void who_may_look(void **state)
{
    (void)state;
    struct lb_viewer owner = {ASSAY_STR("o"), ASSAY_STR(""), false, 0}, other = {ASSAY_STR("x"), ASSAY_STR(""), false, 0},
                     staff = {ASSAY_STR("s"), ASSAY_STR(""), true, 0}, owners_agent = {ASSAY_STR("o"), ASSAY_STR("bot"), false, 0};
    struct lb_benchmark b = {.owner_id = ASSAY_STR("o"), .visibility = ASSAY_VISIBLE_PRIVATE, .feedback = ASSAY_FEEDBACK_NONE};
    assert_true(lb_visible(&owner, &b, false) && lb_visible(&staff, &b, false) && lb_visible(&other, &b, true));
    assert_false(lb_visible(&other, &b, false));
    assert_false(lb_visible(&owners_agent, &b, false));
    assert_true(lb_scores_visible(&owner, &b) && lb_scores_visible(&staff, &b));
    assert_false(lb_scores_visible(&other, &b));
    b.feedback = ASSAY_FEEDBACK_VERDICT;
    assert_true(lb_scores_visible(&other, &b));
    b.deleted = true;
    assert_false(lb_visible(&staff, &b, true));
}

/* ---- the service ---------------------------------------------------------------------------------- */

#define U1 "00000000-0000-7000-8000-000000000001"
#define U2 "00000000-0000-7000-8000-000000000002"

static void benchmark(struct svc *h, const char *id, const char *visibility, const char *feedback, bool deleted)
{
    char payload[300];
    (void)snprintf(payload, sizeof payload,
                   "{\"owner_id\":\"00000000-0000-7000-8000-00000000000b\",\"visibility\":\"%s\",\"feedback\":\"%s\","
                   "\"deleted\":%s}",
                   visibility, feedback, deleted ? "true" : "false");
    svc_publish(h, "benchmark.changed", id, "", payload);
}

static void agent(struct svc *h, const char *id, const char *name, bool deleted)
{
    char payload[200];
    (void)snprintf(payload, sizeof payload, "{\"owner_id\":\"" U1 "\",\"name\":\"%s\",\"deleted\":%s}", name,
                   deleted ? "true" : "false");
    svc_publish(h, "agent.changed", id, "", payload);
}

static void score(struct svc *h, int submission, const char *benchmark_id, const char *agent_id, double points,
                  int64_t created_ms)
{
    char payload[500], id[40];
    (void)snprintf(id, sizeof id, "01900000-0000-7000-8000-%012d", submission);
    (void)snprintf(payload, sizeof payload,
                   "{\"submission_id\":\"%s\",\"problem_id\":\"p\",\"agent_id\":\"%s\",\"owner_id\":\"" U1
                   "\",\"benchmark_id\":\"%s\",\"verdict\":\"OK\",\"score\":%.17g,\"created_ms\":%lld}",
                   id, agent_id, benchmark_id, points, (long long)created_ms);
    svc_publish(h, "score.calculated", id, U1, payload);
}

static void deleted(struct svc *h, int submission)
{
    char id[40];
    (void)snprintf(id, sizeof id, "01900000-0000-7000-8000-%012d", submission);
    svc_publish(h, "submission.deleted", id, U1, "{}");
}

/* "agent:score agent:score ..." of a board */
static const char *board(struct svc *h, const struct assay_principal *who, const char *target)
{
    static char text[2000];
    struct svc_reply r = svc_call(h, who, "GET", target, NULL);
    if (r.status != 200) {
        (void)snprintf(text, sizeof text, "%d", r.status);
        return text;
    }
    size_t n = 0;
    text[0] = '\0';
    for (int i = 0; i < svc_len(&r, "/items"); i++) {
        char a[40], s[40], k[40];
        (void)snprintf(a, sizeof a, "/items/%d/agent_id", i);
        (void)snprintf(s, sizeof s, "/items/%d/score", i);
        (void)snprintf(k, sizeof k, "/items/%d/rank", i);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld:%s:%g", i ? " " : "", (long long)svc_int(&r, k),
                              svc_str(&r, a), svc_real(&r, s));
    }
    return text;
}

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_plugin(h, "leaderboard");
    svc_start(h);
    benchmark(h, "open", "public", "full", false);
    benchmark(h, "closed", "private", "full", false);
    benchmark(h, "silent", "public", "none", false);
    agent(h, "ada", "Ada", false);
    agent(h, "bob", "Bob", false);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    return 0;
}

static void the_best_of_each_and_ties_to_the_earlier(void **state)
{
    struct svc *h = *state;
    score(h, 1, "open", "bob", 50, 1000);
    score(h, 2, "open", "ada", 50, 2000);
    score(h, 3, "open", "bob", 20, 3000);
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), "1:bob:50 2:ada:50");
    assert_int_equal(svc_count_events(h, "leaderboard.updated"), 2); /* 20 after 50 changes nothing */
    score(h, 4, "open", "ada", 75.5, 4000);
    score(h, 5, "open", "ada", 75.5, 5000);
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), "1:ada:75.5 2:bob:50");
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/leaderboard?benchmark_id=open", NULL);
    assert_string_equal(svc_str(&r, "/items/0/submission_id"), "01900000-0000-7000-8000-000000000004");
    assert_string_equal(svc_str(&r, "/items/0/agent_name"), "Ada");
    assert_string_equal(svc_str(&r, "/items/0/submitted_at"), "1970-01-01T00:00:04.000Z");
    assert_int_equal(svc_bool(&r, "/items/0/mine"), 1);
    assert_int_equal(svc_count_events(h, "leaderboard.updated"), 3);
    const struct assay_event_row *ev = svc_event(h, "leaderboard.updated", 0);
    assert_true(assay_str_is(ev->ev.subject, "open"));
    assert_non_null(memmem(ev->ev.payload.p, ev->ev.payload.n, "75.5", 4));
}

static void one_agent_and_its_rank(void **state)
{
    struct svc *h = *state;
    score(h, 1, "open", "ada", 10, 1000);
    score(h, 2, "open", "bob", 30, 2000);
    score(h, 3, "open", "cy", 20, 3000);
    score(h, 4, "closed", "cy", 20, 3000);
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open&agent_id=cy"), "2:cy:20");
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open&agent_id=none"), "");
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?agent_id=cy"), "2:cy:20");
    assert_string_equal(board(h, SVC_ADMIN, "/leaderboard?agent_id=cy"), "1:cy:20 2:cy:20");
}

static void boards_are_shown_to_whom_they_may(void **state)
{
    struct svc *h = *state;
    score(h, 1, "closed", "ada", 10, 1000);
    score(h, 2, "silent", "ada", 10, 1000);
    score(h, 3, "open", "ada", 30, 1000);
    svc_pump(h);
    assert_string_equal(board(h, SVC_USER2, "/leaderboard?benchmark_id=closed"), "404");
    assert_string_equal(board(h, SVC_USER2, "/leaderboard?benchmark_id=never"), "404");
    assert_string_equal(board(h, SVC_USER, "/leaderboard?benchmark_id=closed"), "1:ada:10"); /* enters it */
    assert_string_equal(board(h, SVC_INSTRUCTOR, "/leaderboard?benchmark_id=closed"), "1:ada:10");
    assert_string_equal(board(h, SVC_USER, "/leaderboard?benchmark_id=silent"), "");
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/leaderboard?benchmark_id=silent", NULL);
    assert_int_equal(svc_bool(&r, "/hidden"), 1);
    assert_string_equal(board(h, SVC_ADMIN, "/leaderboard?benchmark_id=silent"), "1:ada:10");
    /* without a benchmark: all that one may see */
    assert_string_equal(board(h, SVC_USER2, "/leaderboard"), "1:ada:30");
    assert_string_equal(board(h, SVC_ADMIN, "/leaderboard"), "1:ada:30 2:ada:10 3:ada:10");
    benchmark(h, "open", "public", "full", true);
    svc_pump(h);
    assert_string_equal(board(h, SVC_ADMIN, "/leaderboard?benchmark_id=open"), "404");
}

static void judged_again_removed_and_gone(void **state)
{
    struct svc *h = *state;
    score(h, 1, "open", "ada", 90, 1000);
    score(h, 2, "open", "ada", 60, 2000);
    score(h, 3, "open", "bob", 70, 3000);
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), "1:ada:90 2:bob:70");
    score(h, 1, "open", "ada", 40, 1000); /* judged again: its next best counts */
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), "1:bob:70 2:ada:60");
    deleted(h, 2);
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), "1:bob:70 2:ada:40");
    deleted(h, 1);
    deleted(h, 99);
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), "1:bob:70");
    agent(h, "bob", "Bob", true);
    score(h, 5, "open", "bob", 99, 5000);
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), "");
    agent(h, "bob", "Robert", false);
    svc_pump(h);
    assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), "1:bob:99");
    struct svc_reply r = svc_call(h, SVC_VIEWER, "GET", "/leaderboard?benchmark_id=open", NULL);
    assert_string_equal(svc_str(&r, "/items/0/agent_name"), "Robert");
    agent(h, "bob", "Rob", false);
    svc_pump(h);
    r = svc_call(h, SVC_VIEWER, "GET", "/leaderboard?benchmark_id=open&agent_id=bob", NULL);
    assert_string_equal(svc_str(&r, "/items/0/agent_name"), "Rob");
}

static void pages_carry_their_ranks(void **state)
{
    struct svc *h = *state;
    for (int i = 0; i < 7; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "a%d", i);
        score(h, i + 1, "open", name, i < 3 ? 100 : 100.0 / 3, 1000 + i / 2);
    }
    svc_pump(h);
    char target[400] = "/leaderboard?benchmark_id=open&limit=3", all[500] = "";
    for (int page = 0; page < 5; page++) {
        size_t n = strlen(all);
        (void)snprintf(all + n, sizeof all - n, "%s%s", n ? " " : "", board(h, SVC_VIEWER, target));
        struct svc_reply r = svc_call(h, SVC_VIEWER, "GET", target, NULL);
        const char *next = svc_str(&r, "/next_cursor");
        if (!next)
            break;
        (void)snprintf(target, sizeof target, "/leaderboard?benchmark_id=open&limit=3&cursor=%s", next);
    }
    assert_string_equal(all, "1:a0:100 2:a1:100 3:a2:100 4:a3:33.3333 5:a4:33.3333 6:a5:33.3333 7:a6:33.3333");
    static const char *const bad[] = {"/leaderboard?limit=0", "/leaderboard?limit=1001", "/leaderboard?cursor=AAAA",
                                      "/leaderboard?benchmark_id=%00", "/leaderboard?benchmark_id=A+B", "/leaderboard?x=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_string_equal(board(h, SVC_VIEWER, bad[i]), "400");
}

/* However scores come, the board is what a full recomputation gives. */
static void incremental_equals_recomputed(void **state)
{
    struct svc *h = *state;
    enum { SUBMISSIONS = 60, AGENTS = 6 };
    struct { bool there; int agent; int score; int64_t created; } model[SUBMISSIONS] = {{0}};
    unsigned seed = 12345;
    for (int round = 0; round < 12; round++) {
        for (int k = 0; k < 15; k++) {
            seed = seed * 1103515245u + 12345u;
            unsigned r = seed >> 8;
            int id = (int)(r % SUBMISSIONS);
            char name[16];
            if (!model[id].there) {
                model[id].agent = (int)(r / 7 % AGENTS);
                model[id].created = (int64_t)(r / 3 % 5) * 1000;
            }
            (void)snprintf(name, sizeof name, "a%d", model[id].agent);
            if (model[id].there && r % 5 == 0) {
                deleted(h, id + 1);
                model[id].there = false;
                continue;
            }
            model[id].there = true;
            model[id].score = (int)(r / 11 % 4) * 25;
            score(h, id + 1, "open", name, model[id].score, model[id].created);
        }
        svc_pump(h);
        int best[AGENTS];
        for (int a = 0; a < AGENTS; a++) {
            best[a] = -1;
            for (int i = 0; i < SUBMISSIONS; i++)
                if (model[i].there && model[i].agent == a &&
                    (best[a] < 0 || model[i].score > model[best[a]].score ||
                     (model[i].score == model[best[a]].score && model[i].created < model[best[a]].created)))
                    best[a] = i;
        }
        char want[500] = "";
        bool used[AGENTS] = {false};
        for (int rank = 1;; rank++) {
            int top = -1;
            for (int a = 0; a < AGENTS; a++)
                if (!used[a] && best[a] >= 0 &&
                    (top < 0 || model[best[a]].score > model[best[top]].score ||
                     (model[best[a]].score == model[best[top]].score &&
                      (model[best[a]].created < model[best[top]].created ||
                       (model[best[a]].created == model[best[top]].created && best[a] < best[top])))))
                    top = a;
            if (top < 0)
                break;
            used[top] = true;
            size_t n = strlen(want);
            (void)snprintf(want + n, sizeof want - n, "%s%d:a%d:%d", n ? " " : "", rank, top, model[best[top]].score);
        }
        assert_string_equal(board(h, SVC_VIEWER, "/leaderboard?benchmark_id=open"), want);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(better_then_earlier_then_smaller),
        cmocka_unit_test(places_survive_a_cursor),
        cmocka_unit_test(who_may_look),
        T(the_best_of_each_and_ties_to_the_earlier),
        T(one_agent_and_its_rank),
        T(boards_are_shown_to_whom_they_may),
        T(judged_again_removed_and_gone),
        T(pages_carry_their_ranks),
        T(incremental_equals_recomputed),
    };
    return cmocka_run_group_tests_name("leaderboard", tests, NULL, NULL);
}
