/*
 * broker_http against a gateway that is a function (fake_http.h), by the promises of broker.h: work is leased and renewed, results and
 * returns are brought until they are answered, what is lost is told, and blobs are held against their names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "fake_http.h"
#include "store_host.h"

#include <assay/broker.h>
#include <assay/hash.h>

extern const struct assay_plugin assay_plugin;

#define ID1 "01900000-0000-7000-8000-000000000001"
#define ID2 "01900000-0000-7000-8000-000000000002"
#define SEEN 64

/* The gateway, and what the driver's receiver was told. The lock guards all but the driver. */
struct world {
    struct store_host h;
    struct fake *gateway;
    void *self;
    const struct assay_broker_ops *ops;
    char url[64];
    pthread_mutex_t lock;
    /* what the gateway has to give, and what it answers */
    int jobs;                 /* leases given: this many, then none */
    int given;
    const char *beat_state;   /* of the first lease: held, cancelled, lost */
    int results_status[SEEN]; /* of the n-th POST /results; 0: 200 */
    int lease_status;
    enum fake_way lease_way;
    const char *blob;
    /* what came */
    char results[SEEN][400], beats[SEEN][400], head[1000], lease_body[400];
    int n_results, n_beats, n_leases, n_elsewhere;
    struct {
        uint64_t tag;
        char name[120], body[200], key[64];
        int64_t deliveries;
    } seen[SEEN];
    int n_seen, busy;
    uint64_t lost[SEEN];
    int n_lost;
    int done_status, n_done;
};

static void copy(char *to, size_t room, struct assay_str s)
{
    (void)snprintf(to, room, "%.*s", (int)(s.n < room ? s.n : room - 1), s.p != NULL ? s.p : "");
}

static void lease(struct world *w, struct fake_answer *a)
{
    if (w->lease_status != 0) {
        a->status = w->lease_status;
        return;
    }
    a->way = w->given < w->jobs ? w->lease_way : FAKE_ANSWER;
    assay_buf_fmt(&a->body, "{\"lease_ms\":900,\"new\":1,\"jobs\":[");
    for (int n = 0; w->given < w->jobs; n++, w->given++)
        assay_buf_fmt(&a->body, "%s{\"submission_id\":\"%s\",\"fence\":%d,\"attempt\":2,\"script\":{\"source\":\"x\"}}", n != 0 ? "," : "",
                      w->given == 0 ? ID1 : ID2, 7 + w->given);
    assay_buf_fmt(&a->body, "]}");
}

static void on_request(void *arg, const struct fake_request *rq, struct fake_answer *a)
{
    struct world *w = arg;
    pthread_mutex_lock(&w->lock);
    a->status = 200;
    (void)snprintf(w->head, sizeof w->head, "%s", rq->head);
    if (strcmp(rq->target, "/agents/w1/lease") == 0) {
        w->n_leases++;
        copy(w->lease_body, sizeof w->lease_body, rq->body);
        lease(w, a);
    } else if (strcmp(rq->target, "/agents/w1/heartbeat") == 0) {
        copy(w->beats[w->n_beats % SEEN], sizeof w->beats[0], rq->body);
        w->n_beats++;
        assay_buf_fmt(&a->body, "{\"leases\":[");
        if (strstr(w->beats[(w->n_beats - 1) % SEEN], ID1) != NULL)
            assay_buf_fmt(&a->body, "{\"submission_id\":\"" ID1 "\",\"fence\":7,\"state\":\"%s\"}", w->beat_state);
        assay_buf_fmt(&a->body, "]}");
    } else if (strcmp(rq->target, "/results") == 0) {
        copy(w->results[w->n_results % SEEN], sizeof w->results[0], rq->body);
        int status = w->results_status[w->n_results % SEEN];
        w->n_results++;
        a->status = status != 0 ? status : 200;
        assay_buf_fmt(&a->body, "{}");
    } else if (strncmp(rq->target, "/blobs/", 7) == 0) {
        a->status = w->blob != NULL ? 200 : 404;
        assay_buf_fmt(&a->body, "%s", w->blob != NULL ? w->blob : "");
    } else {
        w->n_elsewhere++;
    }
    pthread_mutex_unlock(&w->lock);
    if (strcmp(rq->target, "/agents/w1/lease") == 0 && a->body.n != 0 && strstr(a->body.p, "[]") != NULL)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* a gateway waits for work; this one hardly */
}

static int deliver(void *arg, uint64_t tag, const struct assay_message *m)
{
    struct world *w = arg;
    pthread_mutex_lock(&w->lock);
    bool busy = w->busy > 0;
    if (busy) {
        w->busy--;
    } else {
        int i = w->n_seen++ % SEEN;
        w->seen[i].tag = tag;
        w->seen[i].deliveries = m->deliveries;
        copy(w->seen[i].name, sizeof w->seen[i].name, m->name);
        copy(w->seen[i].body, sizeof w->seen[i].body, m->body);
        copy(w->seen[i].key, sizeof w->seen[i].key, m->key);
    }
    pthread_mutex_unlock(&w->lock);
    return busy ? ASSAY_E_BUSY : ASSAY_OK;
}

static void lost(void *arg, uint64_t tag)
{
    struct world *w = arg;
    pthread_mutex_lock(&w->lock);
    w->lost[w->n_lost++ % SEEN] = tag;
    pthread_mutex_unlock(&w->lock);
}

static void on_done(void *arg, int status, const struct assay_err *err)
{
    struct world *w = arg;
    (void)err;
    pthread_mutex_lock(&w->lock);
    w->done_status = status;
    w->n_done++;
    pthread_mutex_unlock(&w->lock);
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    pthread_mutex_init(&w->lock, NULL);
    w->beat_state = "held";
    w->gateway = fake_new(on_request, w);
    (void)snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d/", fake_port(w->gateway));
    sh_init(&w->h, &assay_plugin);
    sh_option(&w->h, "gateway", w->url);
    sh_option(&w->h, "gateway_agent", "w1");
    sh_option(&w->h, "gateway_token", "a-token");
    return w;
}

static void begin(struct world *w, size_t in_flight)
{
    struct assay_err err = {0, ""};
    assert_int_equal(assay_plugin.init(&w->h.host, &w->self, &err), 0);
    w->ops = assay_plugin.driver;
    struct assay_broker_sink sink = {w, deliver, lost};
    assert_int_equal(w->ops->consume(w->self, ASSAY_CHANNEL_RESULTS, &sink, in_flight, &err), ASSAY_E_UNSUPPORTED);
    assert_int_equal(w->ops->consume(w->self, ASSAY_CHANNEL_WORK, &sink, in_flight, &err), 0);
}

static void end(struct world *w)
{
    if (w->self != NULL)
        assay_plugin.fini(w->self);
    fake_free(w->gateway);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* Waits for a condition under the lock. */
#define UNTIL(w, condition)                                                                                            \
    do {                                                                                                               \
        int tries_ = 0;                                                                                                \
        for (;; tries_++) {                                                                                            \
            pthread_mutex_lock(&(w)->lock);                                                                            \
            bool yes_ = (condition);                                                                                   \
            pthread_mutex_unlock(&(w)->lock);                                                                          \
            if (yes_)                                                                                                  \
                break;                                                                                                 \
            if (tries_ == 2000)                                                                                        \
                fail_msg("waited for %s", #condition);                                                                 \
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);                                                  \
        }                                                                                                              \
    } while (0)

static void publish(struct world *w, uint64_t tag, const char *body)
{
    struct assay_err err;
    struct assay_publication p = {.channel = ASSAY_CHANNEL_RESULTS, .body = assay_str(body), .answers = tag};
    assert_int_equal(w->ops->publish(w->self, &p, on_done, w, &err), 0);
}

static int naming(const char *id, char list[SEEN][400], int n)
{
    int found = 0;
    for (int i = 0; i < n && i < SEEN; i++)
        found += strstr(list[i], id) != NULL;
    return found;
}

/* How many beats have named it so far: to be asked between waits, while others write them down. */
static int beats_naming(struct world *w, const char *id)
{
    pthread_mutex_lock(&w->lock);
    int n = naming(id, w->beats, w->n_beats);
    pthread_mutex_unlock(&w->lock);
    return n;
}

static void test_work_is_leased_renewed_and_answered(void **state)
{
    (void)state;
    struct world *w = world_new();
    char value[200];
    sh_option(&w->h, "gateway_languages", "c, python");
    w->jobs = 1;
    w->busy = 2;
    begin(w, 1);
    UNTIL(w, w->n_seen == 1); /* a busy receiver was asked again */
    assert_string_equal(w->seen[0].name, "http:" ID1 ":7");
    assert_string_equal(w->seen[0].body, "{\"source\":\"x\"}");
    assert_string_equal(w->seen[0].key, ID1);
    assert_int_equal(w->seen[0].deliveries, 2);
    pthread_mutex_lock(&w->lock);
    assert_non_null(strstr(w->lease_body, "\"max\":1,"));
    assert_non_null(strstr(w->lease_body, "\"languages\":[\"c\",\"python\"]"));
    assert_string_equal(fake_header(&(struct fake_request){.head = w->head}, "Authorization", value, sizeof value), "Bearer a-token");
    pthread_mutex_unlock(&w->lock);
    UNTIL(w, naming(ID1, w->beats, w->n_beats) >= 2); /* again and again */
    pthread_mutex_lock(&w->lock);
    int leases = w->n_leases;
    pthread_mutex_unlock(&w->lock);
    publish(w, w->seen[0].tag, "{\"status\":\"OK\"}");
    UNTIL(w, w->n_done == 1);
    assert_int_equal(w->done_status, ASSAY_OK);
    assert_string_equal(w->results[0], "{\"submission_id\":\"" ID1 "\",\"fence\":7,\"result\":{\"status\":\"OK\"}}");
    assert_true(w->n_lost == 0);
    w->ops->settle(w->self, w->seen[0].tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
    UNTIL(w, w->n_leases > leases); /* there is room again */
    end(w);
}

static void test_a_lease_is_renewed_as_soon_as_it_is_there(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->jobs = 2;
    begin(w, 8);
    /* between two beats are five seconds before the gateway has said how long a lease is: it is not these that are waited for */
    for (int tries = 0; beats_naming(w, ID1) == 0; tries++) {
        assert_true(tries < 200);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    UNTIL(w, naming(ID2, w->beats, w->n_beats) >= 1);
    end(w);
}

static void test_what_is_not_answered_is_brought_again(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->jobs = 1;
    w->results_status[0] = 503;
    w->results_status[1] = 429;
    begin(w, 1);
    UNTIL(w, w->n_seen == 1);
    publish(w, w->seen[0].tag, "{}");
    UNTIL(w, w->n_done == 1);
    assert_int_equal(w->done_status, ASSAY_OK);
    assert_int_equal(w->n_results, 3);
    assert_string_equal(w->results[0], w->results[2]);
    end(w);
}

static void test_a_late_result_is_gone_and_a_refused_one_goes_back(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->jobs = 2;
    w->results_status[0] = 409;
    w->results_status[1] = 400;
    begin(w, 8);
    UNTIL(w, w->n_seen == 2);
    publish(w, w->seen[0].tag, "{}");
    UNTIL(w, w->n_done == 1);
    assert_int_equal(w->done_status, ASSAY_E_GONE);
    publish(w, w->seen[1].tag, "{}");
    UNTIL(w, w->n_results == 3);
    assert_non_null(strstr(w->results[2], ID2));
    assert_non_null(strstr(w->results[2], "\"returned\":{\"reason\":\"the gateway refused the result\",\"charge\":true}"));
    UNTIL(w, w->n_done == 2);
    assert_int_equal(w->done_status, ASSAY_E_GONE);
    end(w);
}

static void test_what_is_lost_is_told_and_not_answered(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->jobs = 1;
    w->beat_state = "lost";
    begin(w, 1);
    UNTIL(w, w->n_lost == 1);
    assert_true(w->lost[0] == w->seen[0].tag);
    publish(w, w->seen[0].tag, "{}");
    UNTIL(w, w->n_done == 1);
    assert_int_equal(w->done_status, ASSAY_E_GONE);
    assert_int_equal(w->n_results, 0);
    end(w);
}

static void test_what_is_cancelled_goes_back(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->jobs = 1;
    w->beat_state = "cancelled";
    begin(w, 1);
    UNTIL(w, w->n_lost == 1);
    UNTIL(w, w->n_results == 1);
    assert_non_null(strstr(w->results[0], "\"returned\":{\"reason\":\"cancelled\",\"charge\":false}"));
    end(w);
}

static void test_what_is_given_back_says_whether_it_is_charged(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->jobs = 2;
    begin(w, 8);
    UNTIL(w, w->n_seen == 2);
    w->ops->settle(w->self, w->seen[0].tag, ASSAY_SETTLE_AGAIN, ASSAY_STR("stopping"));
    UNTIL(w, w->n_results == 1);
    assert_string_equal(w->results[0], "{\"submission_id\":\"" ID1 "\",\"fence\":7,\"returned\":{\"reason\":\"stopping\",\"charge\":false}}");
    w->ops->settle(w->self, w->seen[1].tag, ASSAY_SETTLE_DEAD, ASSAY_STR(""));
    UNTIL(w, w->n_results == 2);
    assert_non_null(strstr(w->results[1], "\"charge\":true"));
    w->ops->settle(w->self, w->seen[1].tag, ASSAY_SETTLE_DEAD, ASSAY_STR("")); /* unknown by now */
    w->ops->settle(w->self, 4711, ASSAY_SETTLE_AGAIN, ASSAY_STR(""));
    end(w);
    /* and at the end what was offered in vain */
    w = world_new();
    w->jobs = 1;
    w->busy = 1000000;
    begin(w, 1);
    UNTIL(w, w->busy < 1000000);
    w->ops->quiet(w->self);
    UNTIL(w, w->n_results == 1);
    assert_non_null(strstr(w->results[0], "\"charge\":false"));
    end(w);
}

static void test_a_cut_answer_is_no_lease(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->jobs = 1;
    w->lease_way = FAKE_CUT;
    begin(w, 1);
    UNTIL(w, w->n_leases >= 2);
    assert_int_equal(w->n_seen, 0);
    end(w);
}

static void test_trouble_is_said(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct assay_err err = {0, ""};
    w->lease_status = 401;
    begin(w, 1);
    UNTIL(w, w->ops->health(w->self, &err) < 0 && strstr(err.msg, "401") != NULL);
    assert_non_null(strstr(err.msg, "gateway_token must be a token of the agent gateway_agent"));
    pthread_mutex_lock(&w->lock);
    w->lease_status = 0;
    w->jobs = 1;
    pthread_mutex_unlock(&w->lock);
    UNTIL(w, w->n_seen == 1);
    UNTIL(w, w->ops->health(w->self, &err) == 0);
    end(w);
}

static void test_a_blob_is_held_against_its_name(void **state)
{
    (void)state;
    struct world *w = world_new();
    char ref[ASSAY_SHA256_HEX];
    struct assay_str out;
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    begin(w, 1);
    assay_sha256_hex(ASSAY_STR("input\n"), ref);
    assert_int_equal(w->ops->fetch(w->self, assay_str(ref), 1000, arena, &out, &err), ASSAY_E_NOT_FOUND);
    w->blob = "input\n";
    assert_int_equal(w->ops->fetch(w->self, assay_str(ref), 1000, arena, &out, &err), 0);
    assert_true(assay_str_is(out, "input\n"));
    w->blob = "other\n";
    assert_int_equal(w->ops->fetch(w->self, assay_str(ref), 1000, arena, &out, &err), ASSAY_E_CORRUPT);
    assert_int_equal(w->ops->fetch(w->self, ASSAY_STR("../login"), 1000, arena, &out, &err), ASSAY_E_INVALID);
    assert_int_equal(w->n_elsewhere, 0);
    end(w);
}

static void refused(const char *name, const char *value, const char *words)
{
    struct store_host h;
    struct assay_err err = {0, ""};
    void *self = NULL;
    sh_init(&h, &assay_plugin);
    sh_option(&h, "gateway", "http://127.0.0.1:1");
    sh_option(&h, "gateway_agent", "w1");
    sh_option(&h, "gateway_token", "t");
    sh_option(&h, name, value);
    assert_int_equal(assay_plugin.init(&h.host, &self, &err), ASSAY_E_CONFIG);
    assert_non_null(strstr(err.msg, words));
    assay_plugin.fini(self); /* takes what init has left */
}

static void test_a_start_says_what_is_wrong(void **state)
{
    (void)state;
    refused("gateway", "ftp://x", "gateway must be the URL");
    refused("gateway_agent", "", "gateway_agent and gateway_token");
    refused("gateway_token", "", "gateway_agent and gateway_token");
    refused("gateway_agent", "a/../b", "no id of an agent");
    refused("gateway_token", "a\r\nX: y", "no token");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_is_leased_renewed_and_answered),
        cmocka_unit_test(test_a_lease_is_renewed_as_soon_as_it_is_there),
        cmocka_unit_test(test_what_is_not_answered_is_brought_again),
        cmocka_unit_test(test_a_late_result_is_gone_and_a_refused_one_goes_back),
        cmocka_unit_test(test_what_is_lost_is_told_and_not_answered),
        cmocka_unit_test(test_what_is_cancelled_goes_back),
        cmocka_unit_test(test_what_is_given_back_says_whether_it_is_charged),
        cmocka_unit_test(test_a_cut_answer_is_no_lease),
        cmocka_unit_test(test_trouble_is_said),
        cmocka_unit_test(test_a_blob_is_held_against_its_name),
        cmocka_unit_test(test_a_start_says_what_is_wrong),
    };
    return cmocka_run_group_tests_name("broker_http", tests, NULL, NULL);
}
