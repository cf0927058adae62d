/* Sessions in Redis, on a real server that session_redis.py starts (its password is "p/ss:w@rd"). */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "plugins/session_redis/local.h"
#include "store_host.h"

extern const struct assay_plugin assay_plugin;

struct rig {
    struct store_host h;
    const struct assay_session_ops *ops;
    void *self;
    char url[300];
};

static const char *env(const char *name)
{
    const char *v = getenv(name);
    if (!v)
        abort();
    return v;
}

static void rig_up(struct rig *r)
{
    struct assay_err err = {0};
    r->ops = assay_plugin.driver;
    if (assay_plugin.init(&r->h.host, &r->self, &err) != 0)
        fail_msg("%s", err.msg);
}

static void rig_init(struct rig *r)
{
    sh_init(&r->h, &assay_plugin);
    (void)snprintf(r->url, sizeof r->url, "redis://:p%%2Fss%%3Aw%%40rd@127.0.0.1:%s/2", env("ASSAY_TEST_REDIS_PORT"));
    sh_option(&r->h, "redis_url", r->url);
    rig_up(r);
}

static void rig_end(struct rig *r)
{
    assay_plugin.fini(r->self);
}

static int get(struct rig *r, const char *id, struct assay_session_state *s)
{
    return r->ops->get(r->self, assay_str(id), s, NULL);
}

static void put(struct rig *r, const char *id, int64_t epoch, uint32_t role, bool disabled)
{
    struct assay_session_state s = {.epoch = epoch, .role = role, .disabled = disabled};
    struct assay_err err = {0};
    if (r->ops->put(r->self, assay_str(id), &s, &err) != 0)
        fail_msg("%s", err.msg);
}

static void what_one_gateway_puts_another_gets(void **state)
{
    (void)state;
    struct rig a, b;
    struct assay_session_state s;
    rig_init(&a);
    rig_init(&b);
    assert_int_equal(get(&b, "u1", &s), ASSAY_E_NOT_FOUND);
    put(&a, "u1", 3, ASSAY_ROLE_ADMIN, false);
    assert_int_equal(get(&b, "u1", &s), 0);
    assert_int_equal(s.epoch, 3);
    assert_int_equal(s.role, ASSAY_ROLE_ADMIN);
    assert_false(s.disabled);
    put(&b, "u1", 4, ASSAY_ROLE_USER, true);
    assert_int_equal(get(&a, "u1", &s), 0);
    assert_true(s.epoch == 4 && s.role == ASSAY_ROLE_USER && s.disabled);
    assert_int_equal(get(&a, "u2", &s), ASSAY_E_NOT_FOUND);
    rig_end(&a);
    rig_end(&b);
}

static void nobody_takes_a_revocation_back(void **state)
{
    (void)state;
    struct rig r;
    struct assay_session_state s;
    rig_init(&r);
    put(&r, "u3", 10, ASSAY_ROLE_USER, false);
    put(&r, "u3", 9, ASSAY_ROLE_ADMIN, false); /* somebody who read the store before and comes late */
    assert_int_equal(get(&r, "u3", &s), 0);
    assert_true(s.epoch == 10 && s.role == ASSAY_ROLE_USER);
    put(&r, "u3", 10, ASSAY_ROLE_USER, false); /* the same again keeps it longer */
    rig_end(&r);
}

static void an_account_is_forgotten_after_a_while(void **state)
{
    (void)state;
    struct rig r;
    struct assay_session_state s;
    rig_init(&r);
    rig_end(&r);
    sh_option(&r.h, "session_keep", "1s");
    rig_up(&r);
    put(&r, "u4", 1, ASSAY_ROLE_USER, false);
    assert_int_equal(get(&r, "u4", &s), 0);
    int st = 0;
    for (int i = 0; i < 500 && st == 0; i++) {
        struct timespec ts = {.tv_nsec = 20000000};
        (void)nanosleep(&ts, NULL);
        st = get(&r, "u4", &s);
    }
    assert_int_equal(st, ASSAY_E_NOT_FOUND);
    rig_end(&r);
}

static void what_others_wrote_there_is_not_believed(void **state)
{
    (void)state;
    struct rig r;
    struct assay_session_state s;
    static const char *const bad[][2] = {{"epoch", "-1"}, {"epoch", "many"}, {"disabled", "2"}, {"role", ""}};
    rig_init(&r);
    redisContext *c = redisConnect("127.0.0.1", (int)strtol(env("ASSAY_TEST_REDIS_PORT"), NULL, 10));
    freeReplyObject(redisCommand(c, "AUTH %s", "p/ss:w@rd"));
    freeReplyObject(redisCommand(c, "SELECT 2"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        freeReplyObject(redisCommand(c, "HSET assay:account:u5 epoch 1 role 4 disabled 0"));
        assert_int_equal(get(&r, "u5", &s), 0);
        freeReplyObject(redisCommand(c, "HSET assay:account:u5 %s %s", bad[i][0], bad[i][1]));
        assert_int_equal(get(&r, "u5", &s), ASSAY_E_NOT_FOUND);
    }
    freeReplyObject(redisCommand(c, "SET assay:account:u6 text")); /* another type: an error of Redis, not of ours */
    assert_int_equal(get(&r, "u6", &s), ASSAY_E_IO);
    redisFree(c);
    rig_end(&r);
}

static void a_server_that_hangs_costs_one_deadline(void **state)
{
    (void)state;
    struct rig r;
    struct assay_session_state s;
    struct assay_err err = {0};
    pid_t pid = (pid_t)strtol(env("ASSAY_TEST_REDIS_PID"), NULL, 10);
    rig_init(&r);
    put(&r, "u7", 1, ASSAY_ROLE_USER, false);
    assert_int_equal(r.ops->health(r.self, &err), 0);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    int64_t from = assay_mono_ns();
    int st = r.ops->get(r.self, ASSAY_STR("u7"), &s, &err);
    int64_t first = assay_mono_ns() - from;
    assert_int_equal(st, ASSAY_E_IO);
    assert_non_null(strstr(err.msg, "session_timeout"));
    assert_null(strstr(err.msg, "ss:w"));
    int refused = 0;
    from = assay_mono_ns();
    for (int i = 0; i < 50; i++) /* at once, in the half second after */
        refused += get(&r, "u7", &s) == ASSAY_E_IO;
    int64_t rest = assay_mono_ns() - from;
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(refused, 50);
    assert_true(first >= 290 * (int64_t)1000000 && first < 5000 * (int64_t)1000000);
    assert_true(rest < 50 * first);
    assert_int_not_equal(r.ops->health(r.self, &err), 0);
    st = ASSAY_E_IO;
    for (int i = 0; i < 500 && st == ASSAY_E_IO; i++) {
        struct timespec ts = {.tv_nsec = 20000000};
        (void)nanosleep(&ts, NULL);
        st = get(&r, "u7", &s);
    }
    assert_int_equal(st, 0);
    assert_int_equal(s.epoch, 1); /* and no answer to an older question */
    assert_int_equal(r.ops->health(r.self, &err), 0);
    rig_end(&r);
}

static void a_connection_that_the_server_closed_is_made_anew(void **state)
{
    (void)state;
    struct rig r;
    struct assay_session_state s;
    rig_init(&r);
    put(&r, "u8", 1, ASSAY_ROLE_USER, false);
    redisContext *c = redisConnect("127.0.0.1", (int)strtol(env("ASSAY_TEST_REDIS_PORT"), NULL, 10));
    freeReplyObject(redisCommand(c, "AUTH %s", "p/ss:w@rd"));
    freeReplyObject(redisCommand(c, "CLIENT KILL TYPE normal SKIPME yes"));
    redisFree(c);
    assert_int_equal(get(&r, "u8", &s), 0);
    rig_end(&r);
}

static atomic_int wrong;
static void *hammer(void *arg)
{
    struct rig *r = arg;
    for (int i = 0; i < 300; i++) {
        char id[16];
        struct assay_session_state s;
        (void)snprintf(id, sizeof id, "m%d", i % 7);
        put(r, id, 1000 + i % 7, (uint32_t)1 << (i % 5), false);
        if (get(r, id, &s) != 0 || s.epoch != 1000 + i % 7)
            atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void many_threads_get_their_own_answers(void **state)
{
    (void)state;
    struct rig r;
    pthread_t t[20];
    rig_init(&r);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, &r), 0);
    for (size_t i = 0; i < 20; i++)
        (void)pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    rig_end(&r);
}

static void addresses_are_read_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host, *path, *user, *password;
        int port, db;
    } good[] = {{"redis://h", "h", "", "", NULL, 6379, 0},          {"redis://h:1/2", "h", "", "", NULL, 1, 2},
                {"redis://h/", "h", "", "", NULL, 6379, 0},         {"redis://u:p%40@h", "h", "", "u", "p@", 6379, 0},
                {"redis://:p@q@h:7", "h", "", "", "p@q", 7, 0},     {"redis://[::1]:7/3", "::1", "", "", NULL, 7, 3},
                {"unix:///run/r.sock", "", "/run/r.sock", "", NULL, 6379, 0}, {"unix:///r%20s?db=3", "", "/r s", "", NULL, 6379, 3}};
    static const char *const bad[] = {"", "h", "http://h", "redis://", "redis://h:0", "redis://h:70000", "redis://h/x", "redis://word@h",
                                      "redis://u:%zz@h", "redis://u:%00@h", "redis://[::1", "redis://[::1]7", "unix://r", "unix:///r?x=1",
                                      "rediss://u:hunter2@h"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct sr_address a;
        struct assay_err err = {0};
        if (sr_address_parse(assay_str(good[i].url), &a, &err) != 0)
            fail_msg("%s: %s", good[i].url, err.msg);
        assert_string_equal(a.host, good[i].host);
        assert_string_equal(a.path, good[i].path);
        assert_string_equal(a.user, good[i].user);
        assert_int_equal(a.port, good[i].port);
        assert_int_equal(a.db, good[i].db);
        assert_int_equal(a.password != NULL, good[i].password != NULL);
        if (a.password)
            assert_true(assay_str_is(assay_secret_reveal(a.password), good[i].password));
        sr_address_free(&a);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sr_address a;
        struct assay_err err = {0};
        assert_int_equal(sr_address_parse(assay_str(bad[i]), &a, &err), ASSAY_E_CONFIG);
        assert_null(strstr(err.msg, "hunter2"));
    }
}

static void a_socket_and_a_wrong_password(void **state)
{
    (void)state;
    struct rig r;
    struct assay_session_state s;
    struct assay_err err = {0};
    rig_init(&r);
    rig_end(&r);
    (void)snprintf(r.url, sizeof r.url, "unix://%s", env("ASSAY_TEST_REDIS_SOCKET"));
    rig_up(&r); /* it starts: whether Redis works is no condition */
    assert_int_equal(r.ops->get(r.self, ASSAY_STR("u"), &s, &err), ASSAY_E_IO);
    assert_non_null(strstr(err.msg, "NOAUTH"));
    rig_end(&r);
    (void)snprintf(r.url, sizeof r.url, "redis://:wrong@127.0.0.1:%s", env("ASSAY_TEST_REDIS_PORT"));
    rig_up(&r);
    assert_int_equal(r.ops->get(r.self, ASSAY_STR("u"), &s, &err), ASSAY_E_IO);
    assert_non_null(strstr(err.msg, "signing in"));
    rig_end(&r);
}

static int64_t charge(struct rig *r, const char *key, int64_t add, int64_t most, int64_t least)
{
    struct assay_session_cell c = {.key = assay_str(key), .add_us = add, .most_us = most, .least_us = least};
    struct assay_err err = {0};
    if (r->ops->charge(r->self, &c, 1, &err) != 0)
        fail_msg("%s", err.msg);
    return c.ahead_us;
}

#define MINUTE INT64_C(60000000)
/* Time goes on: by a busy machine's 20 s. */
static bool near(int64_t told, int64_t expected)
{
    return told <= expected && told > expected - MINUTE / 3;
}

static void cells_are_one_count_for_all_gateways(void **state)
{
    (void)state;
    struct rig a, b;
    rig_init(&a);
    rig_init(&b);
    assert_int_equal(charge(&a, "c1", 0, 60 * MINUTE, 0), 0);
    assert_true(near(charge(&a, "c1", 10 * MINUTE, 60 * MINUTE, 0), 10 * MINUTE));
    assert_true(near(charge(&b, "c1", 15 * MINUTE, 60 * MINUTE, 0), 25 * MINUTE));
    assert_true(near(charge(&a, "c1", 0, 60 * MINUTE, 0), 25 * MINUTE));
    assert_true(near(charge(&a, "c1", 0, 60 * MINUTE, 40 * MINUTE), 40 * MINUTE));
    assert_true(near(charge(&b, "c1", 0, 60 * MINUTE, 5 * MINUTE), 40 * MINUTE)); /* who knows less takes nothing back */
    assert_true(near(charge(&b, "c1", 90 * MINUTE, 60 * MINUTE, 0), 60 * MINUTE));
    /* many in one step, each its own; one that empties goes by itself */
    struct assay_session_cell c[ASSAY_SESSION_CELLS];
    char name[ASSAY_SESSION_CELLS][16];
    for (size_t i = 0; i < ASSAY_SESSION_CELLS; i++) {
        (void)snprintf(name[i], sizeof name[i], "many%zu", i);
        c[i] = (struct assay_session_cell){.key = assay_str(name[i]), .add_us = (int64_t)(i + 1) * MINUTE, .most_us = 1000 * MINUTE};
    }
    assert_int_equal(b.ops->charge(b.self, c, ASSAY_SESSION_CELLS, NULL), 0);
    for (size_t i = 0; i < ASSAY_SESSION_CELLS; i++)
        assert_true(near(c[i].ahead_us, (int64_t)(i + 1) * MINUTE));
    assert_int_equal(b.ops->charge(b.self, c, 0, NULL), ASSAY_E_INVALID);
    assert_int_equal(b.ops->charge(b.self, c, ASSAY_SESSION_CELLS + 1, NULL), ASSAY_E_INVALID);
    c[0].key = ASSAY_STR("a name of more than sixty-four bytes, which is none that a gateway makes");
    assert_int_equal(b.ops->charge(b.self, c, 1, NULL), ASSAY_E_INVALID);
    redisContext *r = redisConnect("127.0.0.1", (int)strtol(env("ASSAY_TEST_REDIS_PORT"), NULL, 10));
    freeReplyObject(redisCommand(r, "AUTH %s", "p/ss:w@rd"));
    freeReplyObject(redisCommand(r, "SELECT 2"));
    redisReply *ttl = redisCommand(r, "PTTL assay:limit:many0");
    assert_true(ttl->type == REDIS_REPLY_INTEGER && ttl->integer > 0 && ttl->integer <= 60001);
    freeReplyObject(ttl);
    /* what others wrote there counts as nothing, of whatever type, and is written over */
    static const char *const bad[] = {"SET assay:limit:c2 text", "SET assay:limit:c2 -5", "SET assay:limit:c2 nan", "DEL assay:limit:c2",
                                      "HSET assay:limit:c2 a b", "SET assay:limit:c2 -inf"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        freeReplyObject(redisCommand(r, "DEL assay:limit:c2"));
        freeReplyObject(redisCommand(r, bad[i]));
        assert_true(near(charge(&a, "c2", MINUTE, 60 * MINUTE, 0), MINUTE));
        assert_true(near(charge(&a, "c2", MINUTE, 60 * MINUTE, 0), 2 * MINUTE));
    }
    freeReplyObject(redisCommand(r, "SET assay:limit:c2 1e300")); /* a clock far ahead: no more than the most */
    assert_true(near(charge(&a, "c2", MINUTE, 60 * MINUTE, 0), 60 * MINUTE));
    redisFree(r);
    rig_end(&a);
    rig_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_gateway_puts_another_gets),
        cmocka_unit_test(nobody_takes_a_revocation_back),
        cmocka_unit_test(an_account_is_forgotten_after_a_while),
        cmocka_unit_test(what_others_wrote_there_is_not_believed),
        cmocka_unit_test(cells_are_one_count_for_all_gateways),
        cmocka_unit_test(a_server_that_hangs_costs_one_deadline),
        cmocka_unit_test(a_connection_that_the_server_closed_is_made_anew),
        cmocka_unit_test(many_threads_get_their_own_answers),
        cmocka_unit_test(addresses_are_read_or_refused),
        cmocka_unit_test(a_socket_and_a_wrong_password),
    };
    return cmocka_run_group_tests_name("session_redis", tests, NULL, NULL);
}
