/* The auth service through its handlers, over the real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#include <assay/events.h>
#include <assay/identity.h>
#include <assay/value.h>

#include "svc_harness.h"

static const char ADMIN_LOGIN[] = "{\"login\":\"admin\",\"password\":\"correct horse\"}";

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_option(h, "admin_password", "correct horse");
    svc_plugin(h, "auth");
    svc_start(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    return 0;
}

static struct svc_reply post(struct svc *h, const struct assay_principal *who, const char *path, const char *body)
{
    return svc_call(h, who, "POST", path, body);
}

static struct assay_principal as(struct svc *h, const char *id, const char *role)
{
    return (struct assay_principal){.authenticated = true,
                                    .role = assay_role_parse(assay_str(role)),
                                    .role_name = assay_str(role),
                                    .user_id = assay_arena_str(svc_arena(h), assay_str(id))};
}

static int64_t epoch_of(struct svc *h, const char *id)
{
    void *self = NULL;
    const struct assay_accounts_ops *ops = svc_interface(h, ASSAY_ACCOUNTS_INTERFACE, &self);
    struct assay_account a;
    assert_non_null(ops);
    assert_int_equal(ops->get(self, assay_str(id), svc_arena(h), &a, NULL), 0);
    return a.epoch;
}

static const char *body_fmt(struct svc *h, const char *fmt, ...) ASSAY_PRINTF(2, 3);
static const char *body_fmt(struct svc *h, const char *fmt, ...)
{
    static char text[2048];
    va_list ap;
    (void)h;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return text;
}

static void the_first_start_makes_admin_and_a_second_one_does_not(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN);
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/user/role"), "admin");
    assert_string_equal(svc_str(&r, "/token_type"), "Bearer");
    assert_int_equal(svc_int(&r, "/expires_in"), 3600);
    assert_non_null(svc_str(&r, "/refresh_token"));
    assert_string_equal(svc_str(&r, "/token"), svc_str(&r, "/access_token"));
    assert_non_null(strstr(svc_log_text(h), "admin_account_created"));
    assert_null(strstr(svc_log_text(h), "correct horse"));
    h = *state = svc_restart(h);
    assert_null(strstr(svc_log_text(h), "admin_account_created"));
    r = post(h, SVC_ANYONE, "/auth?user_id=admin", "{\"password\":\"correct horse\"}");
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_count_events(h, "user.changed"), 1);
}

static void a_made_up_password_is_printed_once_and_kept_nowhere(void **state)
{
    (void)state;
    struct svc *h = svc_new();
    svc_plugin(h, "auth");
    FILE *caught = tmpfile();
    int was = dup(2);
    dup2(fileno(caught), 2);
    svc_start(h);
    h = svc_restart(h);
    dup2(was, 2);
    close(was);
    char text[1024], password[64] = "", body[128];
    rewind(caught);
    size_t n = fread(text, 1, sizeof text - 1, caught);
    text[n] = '\0';
    fclose(caught);
    const char *at = strstr(text, "with the password ");
    assert_non_null(at);
    assert_null(strstr(at + 1, "with the password "));
    assert_int_equal(sscanf(at, "with the password %63s", password), 1);
    snprintf(body, sizeof body, "{\"login\":\"admin\",\"password\":\"%s\"}", password);
    assert_int_equal(post(h, SVC_ANYONE, "/login", body).status, 200);
    assert_null(strstr(svc_log_text(h), password));
    assert_false(svc_on_disk(h, password));
    svc_free(h);
}

static void registering_answers_201_and_takes_both_names(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = post(h, SVC_ANYONE, "/register",
                              "{\"username\":\"Ada\",\"password\":\"analytical\",\"email\":\"Ada@Example.org\",\"name\":\"Ada L\"}");
    assert_int_equal(r.status, 201);
    assert_string_equal(svc_str(&r, "/login"), "Ada");
    assert_string_equal(svc_str(&r, "/role"), "user");
    assert_true(assay_id_valid(assay_str(svc_str(&r, "/id"))));
    assert_non_null(strstr(r.location, svc_str(&r, "/id")));
    assert_int_equal(svc_len(&r, ""), 3);
    const char *id = svc_str(&r, "/id");

    assert_int_equal(post(h, SVC_ANYONE, "/register", "{\"login\":\"aDA\",\"password\":\"whatever1\"}").status, 409);
    assert_int_equal(
        post(h, SVC_ANYONE, "/register", "{\"login\":\"b\",\"password\":\"whatever1\",\"email\":\"ada@example.ORG\"}").status, 409);
    /* by login, by address in either field, by id */
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"ADA\",\"password\":\"analytical\"}").status, 200);
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"email\":\"ada@example.org\",\"password\":\"analytical\"}").status, 200);
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"ada@example.org\",\"password\":\"analytical\"}").status, 200);
    char target[96];
    snprintf(target, sizeof target, "/auth?user_id=%s", id);
    r = post(h, SVC_ANYONE, target, "{\"password\":\"analytical\"}");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/user/id"), id);
    /* two names at once */
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"a\",\"email\":\"b@c\",\"password\":\"x\"}").status, 400);
    const struct assay_event_row *ev = svc_event(h, "user.changed", 0);
    struct assay_ev_user u;
    assert_int_equal(assay_ev_user_decode(ev->ev.payload, svc_arena(h), &u, NULL), 0);
    assert_true(assay_str_is(ev->ev.subject, id));
    assert_true(assay_str_is(u.role, "user") && u.epoch == 1 && !u.disabled);
}

static void all_faults_of_a_registration_come_at_once(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = post(h, SVC_ANYONE, "/register",
                              "{\"login\":\"no spaces\",\"password\":\"short\",\"email\":\"x\",\"admin\":true,\"role\":\"admin\"}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/login"));
    assert_true(svc_faulted(&r, "/password"));
    assert_true(svc_faulted(&r, "/email"));
    assert_true(svc_faulted(&r, "/admin"));
    assert_true(svc_faulted(&r, "/role"));
    assert_int_equal(post(h, SVC_ANYONE, "/register", "{}").status, 400);
    assert_int_equal(post(h, SVC_ANYONE, "/register", "[]").status, 400);
    assert_int_equal(post(h, SVC_ANYONE, "/register", "{\"login\":\"a\",\"login\":\"b\",\"password\":\"12345678\"}").status, 400);
    assert_int_equal(post(h, SVC_ANYONE, "/register", "{\"login\":\"a@b\",\"password\":\"12345678\"}").status, 400);
    assert_int_equal(svc_count_events(h, "user.changed"), 1); /* admin's: nothing was stored */
}

static void registration_can_be_closed(void **state)
{
    (void)state;
    struct svc *h = svc_new();
    svc_option(h, "admin_password", "correct horse");
    svc_option(h, "app_env", "production");
    svc_plugin(h, "auth");
    svc_start(h);
    assert_int_equal(post(h, SVC_ANYONE, "/register", "{\"login\":\"a\",\"password\":\"12345678\"}").status, 403);
    struct svc_reply r = post(h, SVC_ADMIN, "/register", "{\"login\":\"a\",\"password\":\"12345678\",\"role\":\"instructor\"}");
    assert_int_equal(r.status, 201);
    assert_string_equal(svc_str(&r, "/role"), "instructor");
    svc_free(h);
}

static void wrong_and_unknown_are_told_alike(void **state)
{
    struct svc *h = *state;
    struct svc_reply wrong = post(h, SVC_ANYONE, "/login", "{\"login\":\"admin\",\"password\":\"nope nope\"}");
    struct svc_reply unknown = post(h, SVC_ANYONE, "/login", "{\"login\":\"nobody\",\"password\":\"nope nope\"}");
    assert_int_equal(wrong.status, 401);
    assert_int_equal(unknown.status, 401);
    assert_true(assay_str_eq(wrong.body, unknown.body));
    /* and take alike long: the best of five each, since other load only adds */
    int64_t best[2] = {INT64_MAX, INT64_MAX};
    for (int i = 0; i < 10; i++) {
        char remote[32];
        snprintf(remote, sizeof remote, "192.0.2.%d", i);
        int64_t t = assay_mono_ns();
        svc_call_as(h, SVC_ANYONE, "POST", "/login",
                    i % 2 ? "{\"login\":\"admin\",\"password\":\"nope nope\"}" : "{\"login\":\"nobody\",\"password\":\"nope nope\"}",
                    NULL, remote);
        t = assay_mono_ns() - t;
        if (t < best[i % 2])
            best[i % 2] = t;
    }
    assert_true(best[0] > best[1] / 3 && best[1] > best[0] / 3);
}

static void guessing_is_slowed_for_the_guesser_alone(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = {.status = 0};
    int refused = 0;
    /* ten at once, and one more for each few seconds that a busy machine takes for them */
    for (int i = 0; i < 60 && r.status != 429; i++) {
        r = svc_call_as(h, SVC_ANYONE, "POST", "/login", "{\"login\":\"admin\",\"password\":\"guess\"}", NULL, "203.0.113.9");
        refused += r.status == 401;
    }
    assert_in_range(refused, 10, 30);
    assert_int_equal(r.status, 429);
    assert_non_null(r.retry_after);
    /* the right password from there waits too, from elsewhere it does not */
    assert_int_equal(svc_call_as(h, SVC_ANYONE, "POST", "/login", ADMIN_LOGIN, NULL, "203.0.113.9").status, 429);
    assert_int_equal(svc_call_as(h, SVC_ANYONE, "POST", "/login", ADMIN_LOGIN, NULL, "203.0.113.10").status, 200);
    svc_advance_ms(h, 7000);
    assert_int_equal(svc_call_as(h, SVC_ANYONE, "POST", "/login", ADMIN_LOGIN, NULL, "203.0.113.9").status, 200);
}

#define GUESS(from) svc_call_as(h, SVC_ANYONE, "POST", "/login", "{\"login\":\"admin\",\"password\":\"guess\"}", NULL, from)
#define RIGHT(from) svc_call_as(h, SVC_ANYONE, "POST", "/login", ADMIN_LOGIN, NULL, from)

static void a_restart_gives_a_guesser_nothing(void **state)
{
    struct svc *h = *state;
    for (int i = 0; i < 6; i++)
        assert_int_equal(GUESS("203.0.113.20").status, 401);
    *state = h = svc_restart(h);
    for (int i = 0; i < 4; i++)
        assert_int_equal(GUESS("203.0.113.20").status, 401);
    assert_int_equal(GUESS("203.0.113.20").status, 429);
    *state = h = svc_restart(h);
    struct svc_reply r = GUESS("203.0.113.20");
    assert_int_equal(r.status, 429);
    assert_non_null(r.retry_after);
    assert_int_equal(RIGHT("203.0.113.20").status, 429);
    assert_int_equal(RIGHT("203.0.113.21").status, 200); /* the owner, from elsewhere */
    svc_advance_ms(h, 7000);
    assert_int_equal(RIGHT("203.0.113.20").status, 200); /* which forgets what failed */
    for (int i = 0; i < 10; i++)
        assert_int_equal(GUESS("203.0.113.20").status, 401);
    assert_int_equal(GUESS("203.0.113.20").status, 429);
    assert_false(svc_on_disk(h, "203.0.113.20"));
}

/* Over all accounts an address has 120 tries, and what is past its time is taken away. */
static void an_address_is_counted_over_a_restart_too(void **state)
{
    struct svc *h = *state;
    char body[96];
    int refused = 0;
    for (int i = 0; i < 600 && refused == 0; i++) {
        (void)snprintf(body, sizeof body, "{\"login\":\"somebody%d\",\"password\":\"guess\"}", i);
        refused = svc_call_as(h, SVC_ANYONE, "POST", "/login", body, NULL, "203.0.113.30").status == 429 ? i : 0;
        if (i == 60)
            *state = h = svc_restart(h);
    }
    assert_true(refused >= 120); /* one more for each second that it took */
    *state = h = svc_restart(h);
    assert_int_equal(RIGHT("203.0.113.30").status, 429);
    assert_int_equal(RIGHT("203.0.113.31").status, 200);
    svc_advance_ms(h, 600000);
    struct assay_rows rows;
    static const struct assay_stmt rows_left = {.name = "test.left", .sql = "SELECT COUNT(*) FROM auth_throttle", .params = "", .columns = "i"};
    struct assay_err err = {0};
    for (int i = 0; i < 12; i++) {
        (void)snprintf(body, sizeof body, "{\"login\":\"another%d\",\"password\":\"guess\"}", i);
        assert_int_equal(svc_call_as(h, SVC_ANYONE, "POST", "/login", body, NULL, "203.0.113.32").status, 401);
    }
    if (svc_store(h)->ops->query(svc_store(h)->self, &rows_left, NULL, 0, svc_arena(h), &rows, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(rows.row[0].col[0].i, 13); /* the twelve and their address */
}

static void a_refresh_token_is_good_once(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN);
    const char *id = svc_str(&r, "/user/id");
    const char *first = svc_str(&r, "/refresh_token");
    char body[256];
    snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", first);
    struct svc_reply second = post(h, SVC_ANYONE, "/auth/refresh", body);
    assert_int_equal(second.status, 200);
    assert_string_not_equal(svc_str(&second, "/refresh_token"), first);
    int64_t before = epoch_of(h, id);
    /* the old one again: whoever has it, the family is over, and so are its access tokens */
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh", body).status, 401);
    assert_int_equal(epoch_of(h, id), before + 1);
    snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", svc_str(&second, "/refresh_token"));
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh", body).status, 401);
    assert_non_null(strstr(svc_log_text(h), "refresh_token_reused"));
    assert_null(strstr(svc_log_text(h), first));
    assert_false(svc_on_disk(h, svc_str(&second, "/refresh_token")));
    /* nonsense changes nothing */
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh", "{\"refresh_token\":\"asr_x\"}").status, 401);
    assert_int_equal(epoch_of(h, id), before + 1);
}

static void a_session_ends_after_its_time(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN);
    svc_advance_ms(h, (int64_t)31 * 24 * 3600 * 1000);
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh",
                          body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&r, "/refresh_token"))).status, 401);
}

static void logging_out_ends_the_session_and_the_access_tokens(void **state)
{
    struct svc *h = *state;
    struct svc_reply a = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN), b = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN);
    struct assay_principal me = as(h, svc_str(&a, "/user/id"), "admin");
    int64_t before = epoch_of(h, svc_str(&a, "/user/id"));
    struct svc_reply r = post(h, &me, "/logout", body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&a, "/refresh_token")));
    assert_int_equal(r.status, 204);
    assert_int_equal(r.body.n, 0);
    assert_int_equal(epoch_of(h, svc_str(&a, "/user/id")), before + 1);
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh",
                          body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&a, "/refresh_token"))).status, 401);
    /* what the gate asks about tokens of before: those of the session that is left hold */
    void *self;
    struct assay_err err;
    const struct assay_accounts_ops *ops = svc_interface(h, ASSAY_ACCOUNTS_INTERFACE, &self);
    struct assay_str user = assay_str(svc_str(&a, "/user/id"));
    struct assay_str first = {svc_str(&a, "/refresh_token") + 4, 36}, second = {svc_str(&b, "/refresh_token") + 4, 36};
    assert_true(assay_id_valid(first) && assay_id_valid(second));
    assert_int_equal(ops->session(self, user, first, before, &err), ASSAY_E_NOT_FOUND);
    assert_int_equal(ops->session(self, user, second, before, &err), ASSAY_OK);
    assert_int_equal(ops->session(self, first, second, before, &err), ASSAY_E_NOT_FOUND);
    /* the other session goes on; without a body all end */
    r = post(h, SVC_ANYONE, "/auth/refresh", body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&b, "/refresh_token")));
    assert_int_equal(r.status, 200);
    assert_int_equal(post(h, &me, "/logout", NULL).status, 204);
    assert_int_equal(ops->session(self, user, second, before + 2, &err), ASSAY_E_NOT_FOUND);
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh",
                          body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&r, "/refresh_token"))).status, 401);
    assert_int_equal(post(h, SVC_ANYONE, "/logout", NULL).status, 401);
}

static void an_admin_changes_roles_and_the_last_one_stays(void **state)
{
    struct svc *h = *state;
    struct svc_reply u = post(h, SVC_ANYONE, "/register", "{\"login\":\"bob\",\"password\":\"builder-bob\"}");
    struct svc_reply root = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN);
    const char *bob = svc_str(&u, "/id"), *admin = svc_str(&root, "/user/id");
    struct assay_principal me = as(h, admin, "admin"), him = as(h, bob, "user");
    char path[64], own[64];
    snprintf(path, sizeof path, "/users/%s", bob);
    snprintf(own, sizeof own, "/users/%s", admin);

    assert_int_equal(svc_call(h, &him, "PATCH", path, "{\"role\":\"admin\"}").status, 403);
    assert_int_equal(svc_call(h, &me, "PATCH", own, "{\"role\":\"user\"}").status, 409);
    assert_int_equal(svc_call(h, &me, "PATCH", own, "{\"disabled\":true}").status, 409);
    struct svc_reply r = svc_call(h, &me, "PATCH", path, "{\"role\":\"instructor\",\"name\":\"Bob\",\"email\":\"BOB@x.org\"}");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/role"), "instructor");
    assert_string_equal(svc_str(&r, "/email"), "bob@x.org");
    assert_int_equal(epoch_of(h, bob), 2);
    struct assay_ev_user ev;
    assert_int_equal(assay_ev_user_decode(svc_event(h, "user.changed", 0)->ev.payload, svc_arena(h), &ev, NULL), 0);
    assert_true(assay_str_is(ev.role, "instructor") && ev.epoch == 2);
    /* a name alone revokes nothing; null clears what may be empty */
    r = svc_call(h, &me, "PATCH", path, "{\"name\":\"Robert\",\"email\":null}");
    assert_int_equal(r.status, 200);
    assert_true(svc_has(&r, "/email") && svc_str(&r, "/email") == NULL);
    assert_int_equal(epoch_of(h, bob), 2);
    assert_int_equal(svc_call(h, &me, "PATCH", path, "{\"email\":\"admin@example.com\"}").status, 409);
    r = svc_call(h, &me, "PATCH", path, "{\"role\":\"king\",\"colour\":1}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/role") && svc_faulted(&r, "/colour"));
    /* disabled: cannot sign in, tokens are gone */
    assert_int_equal(svc_call(h, &me, "PATCH", path, "{\"disabled\":true}").status, 200);
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"bob\",\"password\":\"builder-bob\"}").status, 401);
    assert_int_equal(epoch_of(h, bob), 3);
    assert_int_equal(svc_call(h, &me, "PATCH", "/users/00000000-0000-7000-8000-0000000000ee", "{\"name\":\"x\"}").status, 404);
}

static void an_erased_account_is_gone_and_the_last_admin_is_not(void **state)
{
    struct svc *h = *state;
    struct svc_reply u = post(h, SVC_ANYONE, "/register", "{\"login\":\"bob\",\"email\":\"bob@x.org\",\"password\":\"builder-bob\"}");
    struct svc_reply root = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN);
    struct svc_reply session = post(h, SVC_ANYONE, "/login", "{\"login\":\"bob\",\"password\":\"builder-bob\"}");
    const char *bob = svc_str(&u, "/id"), *admin = svc_str(&root, "/user/id");
    struct assay_principal me = as(h, admin, "admin"), him = as(h, bob, "user");
    char path[64], own[64];
    snprintf(path, sizeof path, "/users/%s", bob);
    snprintf(own, sizeof own, "/users/%s", admin);
    assert_int_equal(svc_call(h, &him, "DELETE", path, NULL).status, 403);
    assert_int_equal(svc_call(h, &me, "DELETE", own, NULL).status, 409);
    assert_int_equal(svc_call(h, &me, "DELETE", path, NULL).status, 204);
    struct assay_ev_user ev = {.erased = false};
    assert_int_equal(assay_ev_user_decode(svc_event(h, "user.changed", 0)->ev.payload, svc_arena(h), &ev, NULL), 0);
    assert_true(ev.erased && ev.disabled && ev.epoch == 2);
    assert_int_equal(svc_call(h, &me, "DELETE", path, NULL).status, 404);
    assert_int_equal(svc_call(h, &me, "GET", path, NULL).status, 404);
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"bob\",\"password\":\"builder-bob\"}").status, 401);
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh", body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&session, "/refresh_token"))).status, 401);
    /* login and address are free again, for somebody else */
    u = post(h, SVC_ANYONE, "/register", "{\"login\":\"bob\",\"email\":\"bob@x.org\",\"password\":\"another-bob\"}");
    assert_int_equal(u.status, 201);
    assert_string_not_equal(svc_str(&u, "/id"), bob);
}

static void one_ends_one_s_own_sessions_and_nobody_else_s(void **state)
{
    struct svc *h = *state;
    assert_int_equal(post(h, SVC_ANYONE, "/register", "{\"login\":\"bob\",\"password\":\"builder-bob\"}").status, 201);
    struct svc_reply a = post(h, SVC_ANYONE, "/login", "{\"login\":\"bob\",\"password\":\"builder-bob\"}");
    struct svc_reply b = post(h, SVC_ANYONE, "/login", "{\"login\":\"bob\",\"password\":\"builder-bob\"}");
    struct svc_reply root = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN);
    struct assay_principal him = as(h, svc_str(&a, "/user/id"), "user"), me = as(h, svc_str(&root, "/user/id"), "admin");
    struct svc_reply list = svc_call(h, &him, "GET", "/me/sessions", NULL);
    assert_int_equal(list.status, 200);
    assert_int_equal(svc_len(&list, "/items"), 2);
    assert_false(svc_has(&list, "/items/0/token_hash"));
    assert_true(svc_has(&list, "/items/0/created_at") && svc_has(&list, "/items/0/used_at") && svc_has(&list, "/items/0/expires_at"));
    char path[64];
    snprintf(path, sizeof path, "/me/sessions/%.36s", svc_str(&a, "/refresh_token") + 4);
    assert_int_equal(svc_call(h, &me, "DELETE", path, NULL).status, 404); /* an admin neither */
    assert_int_equal(svc_call(h, &him, "DELETE", path, NULL).status, 204);
    assert_int_equal(svc_call(h, &him, "DELETE", path, NULL).status, 404);
    list = svc_call(h, &him, "GET", "/me/sessions", NULL);
    assert_int_equal(svc_len(&list, "/items"), 1);
    assert_int_equal(memcmp(svc_str(&list, "/items/0/id"), svc_str(&b, "/refresh_token") + 4, 36), 0);
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh", body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&a, "/refresh_token"))).status, 401);
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh", body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&b, "/refresh_token"))).status, 200);
    assert_int_equal(svc_call(h, SVC_ANYONE, "GET", "/me/sessions", NULL).status, 401);
}

static void one_erases_one_s_own_account_with_the_password(void **state)
{
    struct svc *h = *state;
    struct svc_reply u = post(h, SVC_ANYONE, "/register", "{\"login\":\"bob\",\"password\":\"builder-bob\"}");
    struct svc_reply root = post(h, SVC_ANYONE, "/login", ADMIN_LOGIN);
    struct assay_principal him = as(h, svc_str(&u, "/id"), "user"), me = as(h, svc_str(&root, "/user/id"), "admin");
    assert_int_equal(post(h, &him, "/me/erase", NULL).status, 400);
    assert_int_equal(post(h, &him, "/me/erase", "{}").status, 400);
    assert_int_equal(post(h, &him, "/me/erase", "{\"password\":\"not-his\"}").status, 403);
    assert_int_equal(post(h, &me, "/me/erase", ADMIN_LOGIN).status, 400); /* a field more than it takes */
    assert_int_equal(svc_call(h, &him, "GET", "/me", NULL).status, 200);
    assert_int_equal(post(h, &him, "/me/erase", "{\"password\":\"builder-bob\"}").status, 204);
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"bob\",\"password\":\"builder-bob\"}").status, 401);
    assert_int_equal(post(h, SVC_ANYONE, "/register", "{\"login\":\"bob\",\"password\":\"another-bob\"}").status, 201);
}

static void accounts_are_listed_in_pages(void **state)
{
    struct svc *h = *state;
    for (int i = 0; i < 5; i++) {
        char body[96];
        snprintf(body, sizeof body, "{\"login\":\"u%d\",\"password\":\"password-%d\"}", i, i);
        assert_int_equal(post(h, SVC_ANYONE, "/register", body).status, 201);
    }
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/users", NULL).status, 403);
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/users?limit=4", NULL);
    assert_int_equal(svc_len(&r, "/items"), 4);
    assert_false(svc_has(&r, "/items/0/password_hash"));
    char next[256];
    snprintf(next, sizeof next, "/users?limit=4&cursor=%s", svc_str(&r, "/next_cursor"));
    r = svc_call(h, SVC_ADMIN, "GET", next, NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    assert_null(svc_str(&r, "/next_cursor"));
    r = svc_call(h, SVC_ADMIN, "GET", "/users?role=admin", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_int_equal(svc_call(h, SVC_ADMIN, "GET", "/users?role=king", NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_ADMIN, "GET", "/users?colour=red", NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_ADMIN, "GET", "/users?limit=0", NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_ADMIN, "GET", "/users?cursor=%21", NULL).status, 400);
}

static void one_sees_and_mends_one_s_own_account(void **state)
{
    struct svc *h = *state;
    struct svc_reply u = post(h, SVC_ANYONE, "/register", "{\"login\":\"eve\",\"password\":\"old password\"}");
    const char *id = svc_str(&u, "/id");
    struct assay_principal me = as(h, id, "user");
    struct svc_reply session = post(h, SVC_ANYONE, "/login", "{\"login\":\"eve\",\"password\":\"old password\"}");
    struct svc_reply r = svc_call(h, &me, "GET", "/me", NULL);
    assert_string_equal(svc_str(&r, "/login"), "eve");
    struct assay_principal gone = as(h, "00000000-0000-7000-8000-0000000000ff", "user");
    assert_int_equal(svc_call(h, &gone, "GET", "/me", NULL).status, 401);
    char path[80], password[96];
    snprintf(path, sizeof path, "/users/%s", id);
    snprintf(password, sizeof password, "/users/%s/password", id);
    assert_int_equal(svc_call(h, &me, "GET", path, NULL).status, 200);
    assert_int_equal(svc_call(h, SVC_USER, "GET", path, NULL).status, 404);

    assert_int_equal(post(h, SVC_USER, password, "{\"password\":\"new password\"}").status, 404);
    r = post(h, &me, password, "{\"password\":\"new password\"}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/current_password"));
    assert_int_equal(post(h, &me, password, "{\"current_password\":\"wrong one\",\"password\":\"new password\"}").status, 403);
    assert_int_equal(post(h, &me, password, "{\"current_password\":\"old password\",\"password\":\"new password\"}").status, 200);
    assert_int_equal(epoch_of(h, id), 2);
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"eve\",\"password\":\"old password\"}").status, 401);
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"eve\",\"password\":\"new password\"}").status, 200);
    assert_int_equal(post(h, SVC_ANYONE, "/auth/refresh",
                          body_fmt(h, "{\"refresh_token\":\"%s\"}", svc_str(&session, "/refresh_token"))).status, 401);
    assert_int_equal(post(h, SVC_ADMIN, password, "{\"password\":\"set by admin\"}").status, 200);
    assert_int_equal(post(h, SVC_ANYONE, "/login", "{\"login\":\"eve\",\"password\":\"set by admin\"}").status, 200);
}

static void a_retried_registration_gives_the_first_answer(void **state)
{
    struct svc *h = *state;
    static const char body[] = "{\"login\":\"retry\",\"password\":\"password-1\"}";
    struct svc_reply a = svc_call_as(h, SVC_ANYONE, "POST", "/register", body, "key-1", NULL);
    struct svc_reply b = svc_call_as(h, SVC_ANYONE, "POST", "/register", body, "key-1", NULL);
    assert_int_equal(a.status, 201);
    assert_int_equal(b.status, 201);
    assert_true(assay_str_eq(a.body, b.body));
    assert_string_equal(b.replayed, "true");
    assert_string_equal(a.location, b.location);
    assert_int_equal(svc_call_as(h, SVC_ANYONE, "POST", "/register", "{\"login\":\"retry\",\"password\":\"password-2\"}", "key-1", NULL).status, 422);
    assert_int_equal(svc_call_as(h, SVC_ANYONE, "POST", "/register", "{\"login\":\"retry\",\"password\":\"password-1\",\"name\":\"x\"}", "key-1", NULL).status, 422);
    assert_int_equal(svc_call_as(h, SVC_ANYONE, "POST", "/register", body, "key-2", NULL).status, 409);
}

struct pupil {
    struct svc *h;
    pthread_t thread;
    int i, status;
};

static void *sign_in_pupil(void *arg)
{
    struct pupil *p = arg;
    char body[96];
    snprintf(body, sizeof body, "{\"login\":\"pupil%d\",\"password\":\"password-%d\"}", p->i, p->i);
    p->status = svc_call(p->h, SVC_ANYONE, "POST", "/register", body).status;
    if (p->status == 201)
        p->status = svc_call(p->h, SVC_ANYONE, "POST", "/login", body).status;
    return NULL;
}

static void a_class_that_signs_in_at_once_is_served(void **state)
{
    struct svc *h = *state;
    enum { PUPILS = 40 };
    struct pupil p[PUPILS];
    for (int i = 0; i < PUPILS; i++) {
        p[i] = (struct pupil){.h = h, .i = i};
        assert_int_equal(pthread_create(&p[i].thread, NULL, sign_in_pupil, &p[i]), 0);
    }
    for (int i = 0; i < PUPILS; i++)
        pthread_join(p[i].thread, NULL);
    for (int i = 0; i < PUPILS; i++)
        assert_int_equal(p[i].status, 200);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_first_start_makes_admin_and_a_second_one_does_not),
        cmocka_unit_test(a_made_up_password_is_printed_once_and_kept_nowhere),
        T(registering_answers_201_and_takes_both_names),
        T(all_faults_of_a_registration_come_at_once),
        cmocka_unit_test(registration_can_be_closed),
        T(wrong_and_unknown_are_told_alike),
        T(guessing_is_slowed_for_the_guesser_alone),
        T(a_restart_gives_a_guesser_nothing),
        T(an_address_is_counted_over_a_restart_too),
        T(a_refresh_token_is_good_once),
        T(a_session_ends_after_its_time),
        T(logging_out_ends_the_session_and_the_access_tokens),
        T(an_admin_changes_roles_and_the_last_one_stays),
        T(an_erased_account_is_gone_and_the_last_admin_is_not),
        T(one_ends_one_s_own_sessions_and_nobody_else_s),
        T(one_erases_one_s_own_account_with_the_password),
        T(accounts_are_listed_in_pages),
        T(one_sees_and_mends_one_s_own_account),
        T(a_retried_registration_gives_the_first_answer),
        T(a_class_that_signs_in_at_once_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
