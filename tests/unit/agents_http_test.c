/* The agents service through its handlers, over the real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <pthread.h>

#include <assay/events.h>
#include <assay/identity.h>
#include <assay/value.h>

#include "svc_harness.h"

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_plugin(h, "agents");
    svc_start(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    return 0;
}

static int token_get(struct svc *h, const char *token, struct assay_agent_token *out)
{
    void *self = NULL;
    const struct assay_agent_tokens_ops *ops = svc_interface(h, ASSAY_AGENT_TOKENS_INTERFACE, &self);
    char hash[ASSAY_SHA256_HEX];
    assert_non_null(ops);
    assay_sha256_hex(assay_str(token), hash);
    return ops->get(self, assay_str(hash), svc_arena(h), out, NULL);
}

static void an_agent_is_made_shown_changed_and_deleted(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"alpha-1\",\"name\":\"Alpha\"}");
    assert_int_equal(r.status, 201);
    assert_string_equal(r.location, "/agents/alpha-1");
    assert_string_equal(svc_str(&r, "/id"), "alpha-1");
    assert_string_equal(svc_str(&r, "/owner_id"), svc_user.user_id.p);
    struct assay_ev_agent ev;
    assert_int_equal(assay_ev_agent_decode(svc_event(h, "agent.changed", 0)->ev.payload, svc_arena(h), &ev, NULL), 0);
    assert_true(assay_str_eq(ev.owner_id, svc_user.user_id) && assay_str_is(ev.name, "Alpha") && !ev.deleted);

    assert_int_equal(svc_call(h, SVC_USER2, "POST", "/agents", "{\"id\":\"alpha-1\",\"name\":\"Other\"}").status, 409);
    assert_int_equal(svc_call(h, SVC_VIEWER, "GET", "/agents/alpha-1", NULL).status, 200);
    assert_int_equal(svc_call(h, SVC_ANYONE, "GET", "/agents/alpha-1", NULL).status, 401);
    assert_int_equal(svc_call(h, SVC_VIEWER, "POST", "/agents", "{\"name\":\"x\"}").status, 403);
    assert_int_equal(svc_call(h, SVC_USER2, "PATCH", "/agents/alpha-1", "{\"name\":\"Mine\"}").status, 403);
    r = svc_call(h, SVC_USER, "PATCH", "/agents/alpha-1", "{\"description\":\"first\"}");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/name"), "Alpha");
    assert_string_equal(svc_str(&r, "/description"), "first");
    r = svc_call(h, SVC_ADMIN, "PATCH", "/agents/alpha-1", "{\"description\":null}");
    assert_string_equal(svc_str(&r, "/description"), "");
    r = svc_call(h, SVC_USER, "PATCH", "/agents/alpha-1", "{\"name\":null,\"id\":\"x\",\"owner_id\":\"00000000-0000-7000-8000-000000000002\"}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/name") && svc_faulted(&r, "/id") && svc_faulted(&r, "/owner_id"));

    assert_int_equal(svc_call(h, SVC_USER2, "DELETE", "/agents/alpha-1", NULL).status, 403);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", "/agents/alpha-1", NULL).status, 204);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/agents/alpha-1", NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", "/agents/alpha-1", NULL).status, 404);
    /* the id is not given out again */
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"alpha-1\"}").status, 409);
    assert_int_equal(assay_ev_agent_decode(svc_event(h, "agent.changed", 0)->ev.payload, svc_arena(h), &ev, NULL), 0);
    assert_true(ev.deleted);
}

static void staff_make_agents_for_others(void **state)
{
    struct svc *h = *state;
    static const char body[] = "{\"name\":\"team\",\"owner_id\":\"00000000-0000-7000-8000-000000000001\"}";
    struct svc_reply r = svc_call(h, SVC_USER2, "POST", "/agents", body);
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/owner_id"));
    r = svc_call(h, SVC_INSTRUCTOR, "POST", "/agents", body);
    assert_int_equal(r.status, 201);
    assert_string_equal(svc_str(&r, "/owner_id"), svc_user.user_id.p);
    assert_true(assay_id_valid(assay_str(svc_str(&r, "/id"))));
}

static void agents_are_listed_in_pages_and_by_owner(void **state)
{
    struct svc *h = *state;
    for (int i = 0; i < 7; i++) {
        char body[64];
        snprintf(body, sizeof body, "{\"id\":\"agent-%d\"}", i);
        assert_int_equal(svc_call(h, i < 3 ? SVC_USER : SVC_USER2, "POST", "/agents", body).status, 201);
    }
    struct svc_reply r = svc_call(h, SVC_VIEWER, "GET", "/agents?limit=5", NULL);
    assert_int_equal(svc_len(&r, "/items"), 5);
    assert_string_equal(svc_str(&r, "/items/4/id"), "agent-4");
    char next[128];
    snprintf(next, sizeof next, "/agents?limit=5&cursor=%s", svc_str(&r, "/next_cursor"));
    r = svc_call(h, SVC_VIEWER, "GET", next, NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    assert_true(svc_has(&r, "/next_cursor") && svc_str(&r, "/next_cursor") == NULL);
    r = svc_call(h, SVC_USER, "GET", "/agents?owner_id=me", NULL);
    assert_int_equal(svc_len(&r, "/items"), 3);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/agents?status=x", NULL).status, 400);
}

static void a_token_is_shown_once_and_opens_what_it_names(void **state)
{
    struct svc *h = *state;
    svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"bot\"}");
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/agents/bot/tokens",
                                  "{\"name\":\"ci\",\"scopes\":[\"traces:read\",\"submissions:write\",\"traces:read\"],\"expires_in\":3600}");
    assert_int_equal(r.status, 201);
    const char *token = svc_str(&r, "/token");
    assert_true(assay_str_starts(assay_str(token), "asy_"));
    assert_int_equal(svc_len(&r, "/scopes"), 2);
    struct assay_agent_token t;
    assert_int_equal(token_get(h, token, &t), 0);
    assert_true(assay_str_is(t.agent_id, "bot") && assay_str_eq(t.owner_id, svc_user.user_id));
    assert_true(assay_str_is(t.scopes, "submissions:write traces:read"));
    assert_true(t.expires_ms > assay_now_ms() + 3590000);
    assert_int_equal(svc_count_events(h, "agent_token.changed"), 1);

    struct svc_reply list = svc_call(h, SVC_USER, "GET", "/agents/bot/tokens", NULL);
    assert_int_equal(svc_len(&list, "/items"), 1);
    assert_false(svc_has(&list, "/items/0/token"));
    assert_null(memmem(list.body.p, list.body.n, token, strlen(token)));
    assert_int_equal(svc_call(h, SVC_USER2, "GET", "/agents/bot/tokens", NULL).status, 403);
    assert_int_equal(svc_call(h, SVC_USER2, "POST", "/agents/bot/tokens", "{}").status, 403);

    char path[128];
    snprintf(path, sizeof path, "/agents/bot/tokens/%s", svc_str(&r, "/id"));
    assert_int_equal(svc_call(h, SVC_USER2, "DELETE", path, NULL).status, 403);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", path, NULL).status, 204);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", path, NULL).status, 404);
    assert_int_equal(token_get(h, token, &t), ASSAY_E_NOT_FOUND);
    assert_int_equal(svc_count_events(h, "agent_token.changed"), 2);
}

static void a_token_ends_by_time_by_its_agent_and_by_its_owner(void **state)
{
    struct svc *h = *state;
    svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"bot\"}");
    struct assay_agent_token t;
    struct svc_reply brief = svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{\"expires_in\":60}");
    struct svc_reply lasting = svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{}");
    assert_true(svc_has(&lasting, "/expires_at") && svc_str(&lasting, "/expires_at") == NULL);
    svc_advance_ms(h, 61000);
    assert_int_equal(token_get(h, svc_str(&brief, "/token"), &t), ASSAY_E_NOT_FOUND);
    assert_int_equal(token_get(h, svc_str(&lasting, "/token"), &t), 0);
    svc_publish(h, "user.changed", svc_user.user_id.p, svc_user.user_id.p, "{\"role\":\"user\",\"epoch\":2,\"disabled\":true}");
    svc_pump(h);
    assert_int_equal(token_get(h, svc_str(&lasting, "/token"), &t), ASSAY_E_NOT_FOUND);
    svc_publish(h, "user.changed", svc_user.user_id.p, svc_user.user_id.p, "{\"role\":\"user\",\"epoch\":3,\"disabled\":false}");
    svc_pump(h);
    assert_int_equal(token_get(h, svc_str(&lasting, "/token"), &t), 0);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", "/agents/bot", NULL).status, 204);
    assert_int_equal(token_get(h, svc_str(&lasting, "/token"), &t), ASSAY_E_NOT_FOUND);
}

static void who_is_erased_leaves_agents_without_a_name(void **state)
{
    struct svc *h = *state;
    struct assay_agent_token t;
    svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"bot\",\"name\":\"Grace\",\"description\":\"of Grace\"}");
    svc_call(h, SVC_INSTRUCTOR, "POST", "/agents", "{\"id\":\"theirs\",\"name\":\"Another\"}");
    struct svc_reply token = svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{\"name\":\"laptop of Grace\"}");
    svc_publish(h, "user.changed", svc_user.user_id.p, svc_user.user_id.p, "{\"role\":\"user\",\"epoch\":2,\"disabled\":true,\"erased\":true}");
    svc_pump(h);
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/agents/bot", NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/name"), "erased");
    assert_string_equal(svc_str(&r, "/description"), "");
    assert_int_equal(token_get(h, svc_str(&token, "/token"), &t), ASSAY_E_NOT_FOUND);
    /* for good: not only as long as the account is disabled */
    svc_publish(h, "user.changed", svc_user.user_id.p, svc_user.user_id.p, "{\"role\":\"user\",\"epoch\":3,\"disabled\":false}");
    svc_pump(h);
    assert_int_equal(token_get(h, svc_str(&token, "/token"), &t), ASSAY_E_NOT_FOUND);
    r = svc_call(h, SVC_ADMIN, "GET", "/agents/theirs", NULL);
    assert_string_equal(svc_str(&r, "/name"), "Another");
}

static void powerful_scopes_are_for_staff_to_give(void **state)
{
    struct svc *h = *state;
    svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"bot\"}");
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/agents/bot/tokens",
                                  "{\"scopes\":[\"jobs:lease\",\"results:write\",\"root\",\"agents:read\"]}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/scopes/0") && svc_faulted(&r, "/scopes/1") && svc_faulted(&r, "/scopes/2"));
    assert_false(svc_faulted(&r, "/scopes/3"));
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/agents/bot/tokens", "{\"scopes\":[\"jobs:lease\"]}").status, 201);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{\"scopes\":[]}").status, 400);
    r = svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{\"expires_at\":\"2001-01-01T00:00:00Z\"}");
    assert_true(svc_faulted(&r, "/expires_at"));
    r = svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{\"expires_at\":\"2999-01-01T00:00:00Z\",\"expires_in\":5}");
    assert_true(svc_faulted(&r, "/expires_at"));
}

static void an_agent_has_a_bounded_number_of_tokens(void **state)
{
    struct svc *h = *state;
    svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"bot\"}");
    for (int i = 0; i < 100; i++)
        assert_int_equal(svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{\"expires_in\":60}").status, 201);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{}").status, 409);
    svc_advance_ms(h, 61000);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/agents/bot/tokens", "{}").status, 201);
}

static void a_retry_gives_the_first_answer_and_keeps_the_secret_sealed(void **state)
{
    struct svc *h = *state;
    svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"bot\"}");
    struct svc_reply a = svc_call_as(h, SVC_USER, "POST", "/agents/bot/tokens", "{}", "k", NULL);
    struct svc_reply b = svc_call_as(h, SVC_USER, "POST", "/agents/bot/tokens", "{}", "k", NULL);
    assert_int_equal(a.status, 201);
    assert_true(assay_str_eq(a.body, b.body));
    assert_string_equal(b.replayed, "true");
    struct svc_reply list = svc_call(h, SVC_USER, "GET", "/agents/bot/tokens", NULL);
    assert_int_equal(svc_len(&list, "/items"), 1);
    assert_int_equal(svc_call_as(h, SVC_USER, "POST", "/agents/bot/tokens", "{\"name\":\"x\"}", "k", NULL).status, 422);
    /* another route, another caller: another key */
    assert_int_equal(svc_call_as(h, SVC_USER, "POST", "/agents", "{\"id\":\"bot2\"}", "k", NULL).status, 201);
    assert_int_equal(svc_call_as(h, SVC_USER2, "POST", "/agents", "{\"id\":\"bot3\"}", "k", NULL).status, 201);
    assert_int_equal(svc_call_as(h, SVC_USER, "POST", "/agents", "{\"id\":\"bot4\"}", "\x01", NULL).status, 400);
    /* the token itself is nowhere on disk, while its id is */
    if (getenv("ASSAY_TEST_POSTGRES") == NULL) /* there the rows are on another's disk */
        assert_true(svc_on_disk(h, svc_str(&a, "/id")));
    assert_false(svc_on_disk(h, svc_str(&a, "/token")));
}

struct racer {
    struct svc *h;
    pthread_t thread;
    struct svc_reply reply;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    do /* that it collided is an answer too: "send it again" */
        r->reply = svc_call_as(r->h, SVC_USER, "POST", "/agents", "{\"name\":\"one\"}", "same-key", NULL);
    while (r->reply.status == 503);
    return NULL;
}

static void of_concurrent_retries_one_creates(void **state)
{
    struct svc *h = *state;
    for (int round = 0; round < 5; round++) {
        struct racer r[4];
        for (int i = 0; i < 4; i++) {
            r[i].h = h;
            assert_int_equal(pthread_create(&r[i].thread, NULL, race, &r[i]), 0);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(r[i].thread, NULL);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(r[i].reply.status, 201);
            assert_true(assay_str_eq(r[i].reply.body, r[0].reply.body));
        }
    }
    struct svc_reply list = svc_call(h, SVC_USER, "GET", "/agents", NULL);
    assert_int_equal(svc_len(&list, "/items"), 1);
}

static void a_worker_reports(void **state)
{
    struct svc *h = *state;
    svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"worker\"}");
    struct assay_principal self = {.authenticated = true, .role = ASSAY_ROLE_AGENT, .role_name = ASSAY_STR("agent"),
                                   .user_id = svc_user.user_id, .agent_id = ASSAY_STR("worker"), .scopes = ASSAY_STR("jobs:lease")};
    struct svc_reply r = svc_call(h, SVC_VIEWER, "GET", "/agents/worker", NULL);
    assert_true(svc_has(&r, "/worker"));
    assert_int_equal(svc_len(&r, "/worker"), -1);
    r = svc_call(h, &self, "POST", "/agents/worker/heartbeat", "{\"status\":\"busy\",\"capacity\":4,\"running\":2}");
    assert_int_equal(r.status, 200);
    r = svc_call(h, SVC_VIEWER, "GET", "/agents/worker", NULL);
    assert_string_equal(svc_str(&r, "/worker/status"), "busy");
    assert_int_equal(svc_int(&r, "/worker/capacity"), 4);
    assert_non_null(svc_str(&r, "/worker/seen_at"));
    self.agent_id = ASSAY_STR("other");
    assert_int_equal(svc_call(h, &self, "POST", "/agents/worker/heartbeat", NULL).status, 403);
    assert_int_equal(svc_call(h, SVC_USER2, "POST", "/agents/worker/heartbeat", NULL).status, 403);
    r = svc_call(h, SVC_USER, "POST", "/agents/worker/heartbeat", "{\"status\":\"asleep\"}");
    assert_true(svc_faulted(&r, "/status"));
    /* a token changes nothing about its agent */
    self.agent_id = ASSAY_STR("worker");
    assert_int_equal(svc_call(h, &self, "PATCH", "/agents/worker", "{\"name\":\"x\"}").status, 403);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_agent_is_made_shown_changed_and_deleted),
        T(staff_make_agents_for_others),
        T(agents_are_listed_in_pages_and_by_owner),
        T(a_token_is_shown_once_and_opens_what_it_names),
        T(a_token_ends_by_time_by_its_agent_and_by_its_owner),
        T(who_is_erased_leaves_agents_without_a_name),
        T(powerful_scopes_are_for_staff_to_give),
        T(an_agent_has_a_bounded_number_of_tokens),
        T(a_retry_gives_the_first_answer_and_keeps_the_secret_sealed),
        T(of_concurrent_retries_one_creates),
        T(a_worker_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
