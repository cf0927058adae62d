/*
 * The Kafka driver against a cluster: librdkafka's own mock in another process (tests/parts/kafka_mock), or a real broker where
 * ASSAY_TEST_KAFKA names one (tests/unit/kafka.py) and ASSAY_TEST_KAFKA_PROPERTIES says how to speak to it.
 *
 * Several drivers stand in one process as members of one group. Each test has topics and a group of its own.
 */
#include "store_host.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include <assay/broker.h>
#include <cmocka.h>

#include "../../plugins/broker_kafka/local.h"

extern const struct assay_plugin assay_plugin;

#define MANY 4000

/* ---- the cluster ---------------------------------------------------------------------------------------------- */

static char brokers[300], extra[300];
static bool real;
static pid_t mock;
static FILE *to_mock, *from_mock;

static void start_mock(void)
{
    int in[2], out[2];
    char exe[400];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 40);
    assert_true(n > 0);
    exe[n] = '\0';
    for (int i = 0; i < 2; i++) { /* beside unit/, also when libtool runs unit/.libs/ */
        char *slash = strrchr(exe, '/');
        assert_non_null(slash);
        *slash = '\0';
        if (strstr(slash + 1, ".libs") != NULL)
            i--;
    }
    snprintf(exe + strlen(exe), 40, "/parts/kafka_mock");
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    mock = fork();
    assert_true(mock >= 0);
    if (mock == 0) {
        (void)dup2(in[0], 0);
        (void)dup2(out[1], 1);
        (void)execl(exe, exe, "2", (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    to_mock = fdopen(in[1], "w");
    from_mock = fdopen(out[0], "r");
    assert_non_null(fgets(brokers, sizeof brokers, from_mock));
    brokers[strcspn(brokers, "\n")] = '\0';
}

static void tell_mock(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void tell_mock(const char *fmt, ...)
{
    char answer[100];
    va_list ap;
    va_start(ap, fmt);
    (void)vfprintf(to_mock, fmt, ap);
    va_end(ap);
    (void)fputc('\n', to_mock);
    (void)fflush(to_mock);
    assert_non_null(fgets(answer, sizeof answer, from_mock));
    assert_string_equal(answer, "ok\n");
}

static int group_setup(void **state)
{
    (void)state;
    const char *there = getenv("ASSAY_TEST_KAFKA"), *how = getenv("ASSAY_TEST_KAFKA_PROPERTIES");
    real = there != NULL;
    snprintf(extra, sizeof extra, "%s", how ? how : "");
    if (real)
        snprintf(brokers, sizeof brokers, "%s", there);
    else
        start_mock();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    if (real)
        return 0;
    (void)fclose(to_mock);
    (void)fclose(from_mock);
    return waitpid(mock, NULL, 0) == mock ? 0 : -1;
}

/* ---- a member: a driver with a receiver -------------------------------------------------------------------------- */

struct got {
    uint64_t tag;
    char name[120], key[40], body[200], trace[80];
    bool lost, settled;
};

struct member {
    struct store_host host;
    char options[8][400]; /* the fifth: more properties */
    size_t n_options;
    void *self;
    pthread_mutex_t lock;
    struct got *got;
    size_t n, held, most;
    int refuse; /* so many offers are refused */
    int64_t refused_ns;
    bool settle_at_once;
    atomic_int ok, gone, other; /* publications */
};


static int deliver(void *arg, uint64_t tag, const struct assay_message *m)
{
    struct member *x = arg;
    pthread_mutex_lock(&x->lock);
    if (x->refuse > 0) {
        x->refuse--;
        x->refused_ns = assay_mono_ns();
        pthread_mutex_unlock(&x->lock);
        return ASSAY_E_BUSY;
    }
    assert_true(x->n < MANY);
    struct got *g = &x->got[x->n++];
    *g = (struct got){.tag = tag, .settled = x->settle_at_once};
    snprintf(g->name, sizeof g->name, "%.*s", ASSAY_FMT(m->name));
    snprintf(g->key, sizeof g->key, "%.*s", ASSAY_FMT(m->key));
    snprintf(g->body, sizeof g->body, "%.*s", ASSAY_FMT(m->body));
    snprintf(g->trace, sizeof g->trace, "%.*s", ASSAY_FMT(m->traceparent));
    x->held++;
    x->most = x->held > x->most ? x->held : x->most;
    x->held -= x->settle_at_once;
    bool at_once = x->settle_at_once;
    pthread_mutex_unlock(&x->lock);
    assert_int_equal(m->deliveries, 0);
    if (at_once)
        ((const struct assay_broker_ops *)assay_plugin.driver)->settle(x->self, tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
    return 0;
}

static void lost(void *arg, uint64_t tag)
{
    struct member *x = arg;
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < x->n; i++)
        if (x->got[i].tag == tag) {
            assert_false(x->got[i].settled);
            assert_false(x->got[i].lost);
            x->got[i].lost = true;
            x->held--;
        }
    pthread_mutex_unlock(&x->lock);
}

static const struct assay_broker_ops *ops(void)
{
    return assay_plugin.driver;
}

static void option(struct member *x, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void option(struct member *x, const char *name, const char *fmt, ...)
{
    size_t i = x->n_options++;
    assert_true(i < 8);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(x->options[i], sizeof x->options[i], fmt, ap);
    va_end(ap);
    sh_option(&x->host, name, x->options[i]);
}

static struct member *member_new(const char *topic)
{
    struct member *x = calloc(1, sizeof *x);
    assert_non_null(x);
    x->got = calloc(MANY, sizeof *x->got);
    assert_non_null(x->got);
    assert_int_equal(pthread_mutex_init(&x->lock, NULL), 0);
    sh_init(&x->host, &assay_plugin);
    option(x, "kafka_brokers", "%s", brokers);
    option(x, "kafka_topic", "%s", topic);
    option(x, "kafka_results_topic", "%s-results", topic);
    option(x, "kafka_group_id", "%s-group", topic);
    option(x, "kafka_properties", "%s", extra);
    return x;
}

static void member_consume(struct member *x, enum assay_channel channel, size_t in_flight)
{
    struct assay_err err = {0, ""};
    const struct assay_broker_sink sink = {.arg = x, .deliver = deliver, .lost = lost};
    int st = ops()->consume(x->self, channel, &sink, in_flight, &err);
    if (st != 0)
        print_error("%s\n", err.msg);
    assert_int_equal(st, 0);
}

static void member_free(struct member *x)
{
    if (x->self) {
        assay_plugin.drain(x->self);
        size_t n = x->n;
        assay_plugin.fini(x->self);
        assert_int_equal(n, x->n); /* after drain nothing of the receiver's is called */
    }
    pthread_mutex_destroy(&x->lock);
    free(x->got);
    free(x);
}

static void settle(struct member *x, size_t i, enum assay_settle how, const char *reason)
{
    pthread_mutex_lock(&x->lock);
    uint64_t tag = x->got[i].tag;
    bool gone = x->got[i].lost || x->got[i].settled;
    x->got[i].settled = true;
    x->held -= !gone;
    pthread_mutex_unlock(&x->lock);
    if (!gone)
        ops()->settle(x->self, tag, how, assay_str(reason));
}

/* Waits for a condition, generously. */
#define WAIT(condition)                                                                                                                    \
    do {                                                                                                                                   \
        int64_t until_ = assay_mono_ns() + INT64_C(60000000000);                                                                           \
        bool met_;                                                                                                                         \
        while (!(met_ = (condition)) && assay_mono_ns() < until_)                                                                          \
            nap(5);                                                                                                                        \
        if (!met_)                                                                                                                         \
            print_error("in vain: %s\n", #condition);                                                                                      \
        assert_true(met_);                                                                                                                 \
    } while (0)

static void nap(int ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    (void)nanosleep(&t, NULL);
}

static size_t count(struct member *x)
{
    pthread_mutex_lock(&x->lock);
    size_t n = x->n;
    pthread_mutex_unlock(&x->lock);
    return n;
}

static size_t count_lost(struct member *x)
{
    size_t n = 0;
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < x->n; i++)
        n += x->got[i].lost;
    pthread_mutex_unlock(&x->lock);
    return n;
}

static ssize_t find_body(struct member *x, const char *body, size_t from)
{
    ssize_t at = -1;
    pthread_mutex_lock(&x->lock);
    for (size_t i = from; at < 0 && i < x->n; i++)
        if (strcmp(x->got[i].body, body) == 0)
            at = (ssize_t)i;
    pthread_mutex_unlock(&x->lock);
    return at;
}

static void published(void *arg, int status, const struct assay_err *err)
{
    struct member *x = arg;
    assert_true((err != NULL) == (status != 0));
    atomic_fetch_add(status == 0 ? &x->ok : status == ASSAY_E_GONE ? &x->gone : &x->other, 1);
}

static int publish(struct member *x, enum assay_channel channel, const char *key, const char *body, uint64_t answers)
{
    struct assay_err err = {0, ""};
    const struct assay_publication p = {.channel = channel, .key = assay_str(key), .body = assay_str(body), .answers = answers,
                                        .traceparent = ASSAY_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")};
    return ops()->publish(x->self, &p, published, x, &err);
}

static void member_init(struct member *x)
{
    struct assay_err err = {0, ""};
    int st = assay_plugin.init(&x->host.host, &x->self, &err);
    if (st != 0)
        print_error("%s\n", err.msg);
    assert_int_equal(st, 0);
    if (!real)
        return;
    /* that broker cannot drop repetitions, which the driver learns by its first publication: that one's end is unknown */
    for (int i = 0; x->ok == 0; i++) {
        assert_true(i < 100);
        if (publish(x, ASSAY_CHANNEL_DEAD, "k", "to begin with", 0) == 0)
            WAIT(x->ok + x->other == i + 1);
        else
            i--, nap(20);
    }
    x->ok = x->other = 0;
}

static void publish_all(struct member *x, int from, int to)
{
    char key[20], body[30];
    int before = x->ok;
    for (int i = from; i < to; i++) {
        snprintf(key, sizeof key, "k%d", i);
        snprintf(body, sizeof body, "body %d", i);
        WAIT(publish(x, ASSAY_CHANNEL_WORK, key, body, 0) == 0);
    }
    WAIT(x->ok == before + to - from);
    assert_int_equal(x->other + x->gone, 0);
}

static struct member *member_ready(const char *topic, size_t in_flight)
{
    struct member *x = member_new(topic);
    member_init(x);
    member_consume(x, ASSAY_CHANNEL_WORK, in_flight);
    return x;
}

/* ---- the tests ------------------------------------------------------------------------------------------------------- */

static void bad_properties_are_told_all_at_once_and_without_secrets(void **state)
{
    (void)state;
    struct member *x = member_new("t.bad");
    struct assay_err err = {0, ""};
    sh_option(&x->host, "kafka_properties",
              "no.such=1,fetch.min.bytes=many,group.id=mine,sasl.password=hush1,ssl.key.pem=hush2,security.protocol=carrier-pigeon");
    sh_option(&x->host, "kafka_topic", "a topic");
    assert_int_equal(assay_plugin.init(&x->host.host, &x->self, &err), ASSAY_E_CONFIG);
    assert_non_null(strstr(err.msg, "no.such"));
    assert_non_null(strstr(err.msg, "fetch.min.bytes"));
    assert_non_null(strstr(err.msg, "group.id is not yours"));
    assert_non_null(strstr(err.msg, "security.protocol"));
    assert_non_null(strstr(err.msg, "kafka_topic"));
    assert_null(strstr(err.msg, "hush"));
    assert_null(strchr(err.msg, '\n'));
    assert_null(x->self);
    assay_plugin.fini(NULL);
    member_free(x);
}

static void messages_come_once_and_are_committed_in_whatever_order_they_end(void **state)
{
    (void)state;
    struct member *x = member_ready("t.order", 16);
    publish_all(x, 0, 300);
    size_t done = 0;
    unsigned seed = 3;
    while (done < 300) { /* of those that are held one by chance */
        WAIT(count(x) > done);
        size_t i, n = count(x);
        do
            i = (size_t)rand_r(&seed) % n;
        while (x->got[i].settled);
        settle(x, i, ASSAY_SETTLE_DONE, "");
        done++;
    }
    assert_int_equal(count(x), 300);
    assert_true(x->most <= 16);
    for (int i = 0; i < 300; i++) {
        char body[30], key[20];
        snprintf(body, sizeof body, "body %d", i);
        snprintf(key, sizeof key, "k%d", i);
        ssize_t at = find_body(x, body, 0);
        assert_true(at >= 0);
        assert_string_equal(x->got[at].key, key);
        assert_int_equal(strncmp(x->got[at].name, "t.order:", 8), 0);
        assert_int_equal(find_body(x, body, (size_t)at + 1), -1);
        if (!real) /* headers are younger than the broker that can be had */
            assert_string_equal(x->got[at].trace, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    }
    member_free(x);
    x = member_ready("t.order", 16); /* the next one gets what is new, and nothing else */
    x->settle_at_once = true;
    publish_all(x, 1000, 1040);
    WAIT(count(x) >= 40);
    assert_int_equal(count(x), 40);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(strncmp(x->got[i].body, "body 10", 7), 0);
    member_free(x);
}

static void what_is_settled_above_an_unsettled_message_does_not_come_again(void **state)
{
    (void)state;
    struct member *x = member_ready("t.gap", 100);
    publish_all(x, 0, 60);
    WAIT(count(x) == 60);
    for (size_t i = 0; i < 60; i++)
        if (strcmp(x->got[i].body, "body 7") != 0 && strcmp(x->got[i].body, "body 31") != 0)
            settle(x, i, ASSAY_SETTLE_DONE, "");
    member_free(x);
    x = member_ready("t.gap", 100);
    WAIT(count(x) >= 2);
    publish_all(x, 100, 101);
    WAIT(find_body(x, "body 100", 0) >= 0);
    nap(300);
    assert_int_equal(count(x), 3);
    assert_true(find_body(x, "body 7", 0) >= 0);
    assert_true(find_body(x, "body 31", 0) >= 0);
    member_free(x);
}

static void a_refused_message_is_offered_again(void **state)
{
    (void)state;
    struct member *x = member_new("t.busy");
    member_init(x);
    x->refuse = 7;
    member_consume(x, ASSAY_CHANNEL_WORK, 8);
    publish_all(x, 0, 5);
    WAIT(count(x) == 5);
    assert_int_equal(x->refuse, 0);
    for (size_t i = 0; i < 5; i++)
        settle(x, i, ASSAY_SETTLE_DONE, "");
    member_free(x);
}

static void settled_for_another_try_it_comes_again_and_dead_it_goes_where_dead_letters_go(void **state)
{
    (void)state;
    struct member *x = member_ready("t.dead", 8);
    publish_all(x, 0, 3);
    WAIT(count(x) == 3);
    size_t again = (size_t)find_body(x, "body 1", 0), dead = (size_t)find_body(x, "body 2", 0), fine = (size_t)find_body(x, "body 0", 0);
    settle(x, fine, ASSAY_SETTLE_DONE, "");
    settle(x, again, ASSAY_SETTLE_AGAIN, "not now");
    settle(x, dead, ASSAY_SETTLE_DEAD, "it is poison");
    WAIT(count(x) == 4);
    assert_string_equal(x->got[3].body, "body 1");
    assert_string_equal(x->got[3].name, x->got[again].name);
    assert_true(x->got[3].tag != x->got[again].tag);
    settle(x, 3, ASSAY_SETTLE_DONE, "");
    struct member *y = member_new("t.dead.dead"); /* reads the dead letters as if they were work */
    option(y, "kafka_dead_topic", "t.dead.deader");
    member_init(y);
    member_consume(y, ASSAY_CHANNEL_WORK, 8);
    WAIT(find_body(y, "body 2", 0) >= 0);
    nap(300);
    ssize_t at = find_body(y, "body 2", 0);
    assert_string_equal(y->got[at].key, "k2");
    assert_int_equal(find_body(y, "body 2", (size_t)at + 1), -1);
    member_free(y);
    member_free(x);
    x = member_ready("t.dead", 8); /* all three are over */
    publish_all(x, 9, 10);
    WAIT(count(x) == 1);
    assert_string_equal(x->got[0].body, "body 9");
    member_free(x);
}

static void work_and_results_are_consumed_side_by_side(void **state)
{
    (void)state;
    struct member *x = member_new("t.both");
    member_init(x);
    x->settle_at_once = true;
    member_consume(x, ASSAY_CHANNEL_WORK, 4);
    member_consume(x, ASSAY_CHANNEL_RESULTS, 4);
    const struct assay_broker_sink sink = {.arg = x, .deliver = deliver, .lost = lost};
    assert_int_equal(ops()->consume(x->self, ASSAY_CHANNEL_WORK, &sink, 4, NULL), ASSAY_E_CONFLICT);
    assert_int_equal(ops()->consume(x->self, ASSAY_CHANNEL_DEAD, &sink, 4, NULL), ASSAY_E_UNSUPPORTED);
    assert_int_equal(publish(x, ASSAY_CHANNEL_RESULTS, "r", "a result", 0), 0);
    WAIT(x->ok == 1);
    publish_all(x, 0, 2);
    WAIT(count(x) == 3);
    ssize_t at = find_body(x, "a result", 0);
    assert_true(at >= 0);
    assert_int_equal(strncmp(x->got[at].name, "t.both-results:", 15), 0);
    member_free(x);
}

/* Of "body 200" to "body 299" those that the member has. */
static size_t count_new(struct member *x)
{
    size_t n = 0;
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < x->n; i++)
        n += !x->got[i].lost && strncmp(x->got[i].body, "body 2", 6) == 0 && strlen(x->got[i].body) == 8;
    pthread_mutex_unlock(&x->lock);
    return n;
}

/* Whether each of the first messages is settled by one member or held by it, and by that one alone. */
static bool held_once(struct member *x, struct member *y, int n)
{
    bool once = true;
    for (int i = 0; once && i < n; i++) {
        char body[30];
        int owners = 0;
        snprintf(body, sizeof body, "body %d", i);
        for (int who = 0; who < 2; who++) {
            struct member *m = who ? y : x;
            pthread_mutex_lock(&m->lock);
            for (size_t j = 0; j < m->n; j++)
                owners += !m->got[j].lost && strcmp(m->got[j].body, body) == 0;
            pthread_mutex_unlock(&m->lock);
        }
        once = owners == 1;
    }
    return once;
}

/* Whether all is well and the member has partitions. */
static bool has_partitions(struct member *x)
{
    struct assay_err err = {0, ""};
    return ops()->health(x->self, &err) == 0 && err.msg[0] == '\0';
}

/* Where a message is at the end: settled by exactly one member; the others lost it or never had it. */
static void two_members(const char *topic, const char *strategy)
{
    struct member *x = member_new(topic), *y = member_new(topic);
    snprintf(x->options[4], sizeof x->options[4], "%s,%s", strategy, extra);
    snprintf(y->options[4], sizeof y->options[4], "%s,%s", strategy, extra);
    member_init(x);
    member_consume(x, ASSAY_CHANNEL_WORK, 200);
    publish_all(x, 0, 120);
    WAIT(count(x) == 120);
    /* a publication that was confirmed is settled within the wait of the rebalance */
    for (size_t i = 0; i < 120; i += 2)
        settle(x, i, ASSAY_SETTLE_DONE, "");
    if (!real)
        nap(500); /* what is committed outlives a member that the mock puts out, as it does who is 3 s late on a busy machine */
    member_init(y);
    member_consume(y, ASSAY_CHANNEL_WORK, 200);
    WAIT(count_lost(x) > 0 && count(y) > 0);
    /* all that x lost comes again, here or there; what was settled does not, nowhere */
    WAIT(held_once(x, y, 120));
    nap(500);
    assert_true(held_once(x, y, 120));
    for (size_t i = 0; i < 120; i += 2)
        assert_true(find_body(y, x->got[i].body, 0) < 0 && find_body(x, x->got[i].body, i + 1) < 0);
    for (size_t i = 0; i < count(x); i++)
        if (x->got[i].lost) { /* its answer is refused now */
            assert_int_equal(publish(x, ASSAY_CHANNEL_RESULTS, "k", "late", x->got[i].tag), ASSAY_E_GONE);
            break;
        }
    for (size_t i = 0; i < count(x); i++)
        settle(x, i, ASSAY_SETTLE_DONE, "");
    for (size_t i = 0; i < count(y); i++)
        settle(y, i, ASSAY_SETTLE_DONE, "");
    member_free(x); /* y takes over its partitions, in which nothing is left */
    publish_all(y, 200, 220);
    WAIT(count_new(y) >= 20);
    nap(300);
    assert_int_equal(count_new(y), 20);
    member_free(y);
}

static void a_new_member_takes_over_eagerly(void **state)
{
    (void)state;
    two_members("t.eager", "consumer.partition.assignment.strategy=roundrobin");
}

static void a_new_member_takes_over_cooperatively(void **state)
{
    (void)state;
    if (real)
        skip(); /* that broker is older than cooperative assignment */
    two_members("t.coop", "consumer.partition.assignment.strategy=cooperative-sticky");
}

static void a_rebalance_waits_for_an_answer_that_is_under_way(void **state)
{
    (void)state;
    if (!real)
        skip(); /* the mock puts out whoever does not come back within 3 s, whatever max.poll.interval.ms says */
    struct member *x = member_new("t.wait"), *y = member_new("t.wait");
    option(x, "kafka_revoke_wait", "30s");
    snprintf(x->options[4], sizeof x->options[4], "consumer.heartbeat.interval.ms=200,%s", extra);
    member_init(x);
    member_consume(x, ASSAY_CHANNEL_WORK, 100);
    publish_all(x, 0, 8);
    WAIT(count(x) == 8);
    int before = x->ok;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(publish(x, ASSAY_CHANNEL_RESULTS, "k", "answer", x->got[i].tag), 0);
    WAIT(x->ok == before + 8);
    member_init(y);
    member_consume(y, ASSAY_CHANNEL_WORK, 100);
    nap(4000); /* the rebalance begins within; all eight are confirmed but not settled */
    assert_int_equal(count_lost(x), 0);
    for (size_t i = 0; i < 8; i++)
        settle(x, i, ASSAY_SETTLE_DONE, "");
    WAIT(has_partitions(x) && has_partitions(y));
    publish_all(y, 200, 230); /* both members have some of the partitions now, and neither sees one of the eight */
    WAIT(count_new(x) + count_new(y) >= 30);
    nap(300);
    assert_int_equal(count_new(x) + count_new(y), 30);
    assert_int_equal(count(x) + count(y), 38);
    assert_int_equal(count_lost(x), 0);
    for (size_t i = 8; i < count(x); i++)
        settle(x, i, ASSAY_SETTLE_DONE, "");
    for (size_t i = 0; i < count(y); i++)
        settle(y, i, ASSAY_SETTLE_DONE, "");
    member_free(x);
    member_free(y);
}

static void a_broker_that_is_away_is_no_error_and_all_goes_on_when_it_is_back(void **state)
{
    (void)state;
    struct assay_err err = {0, ""};
    if (real)
        skip(); /* tests/e2e stops the real one */
    tell_mock("topic t.away 2");
    tell_mock("down");
    struct member *x = member_ready("t.away", 8);
    x->settle_at_once = true;
    assert_int_equal(publish(x, ASSAY_CHANNEL_WORK, "k", "early", 0), 0);
    WAIT(ops()->health(x->self, &err) != 0);
    assert_non_null(strstr(err.msg, "no broker of"));
    nap(500);
    assert_int_equal(x->ok + x->gone + x->other, 0);
    tell_mock("up");
    WAIT(x->ok == 1 && count(x) == 1);
    WAIT(ops()->health(x->self, &err) == 0);
    tell_mock("down");
    WAIT(ops()->health(x->self, &err) != 0);
    assert_int_equal(publish(x, ASSAY_CHANNEL_WORK, "k", "late", 0), 0);
    nap(500);
    tell_mock("up");
    WAIT(x->ok == 2 && count(x) == 2);
    WAIT(ops()->health(x->self, &err) == 0);
    assert_int_equal(x->other + x->gone, 0);
    member_free(x);
}

static void the_end_is_bounded_when_no_broker_answers(void **state)
{
    (void)state;
    if (real)
        skip();
    tell_mock("topic t.end 2");
    struct member *x = member_new("t.end");
    option(x, "kafka_stop_wait", "1s");
    member_init(x);
    member_consume(x, ASSAY_CHANNEL_WORK, 8);
    publish_all(x, 0, 3);
    WAIT(count(x) == 3);
    tell_mock("down");
    assert_int_equal(publish(x, ASSAY_CHANNEL_RESULTS, "k", "never", x->got[0].tag), 0);
    settle(x, 1, ASSAY_SETTLE_DONE, "");
    int64_t t0 = assay_mono_ns();
    assay_plugin.drain(x->self);
    assert_true(assay_mono_ns() - t0 < INT64_C(30000000000));
    assert_int_equal(x->other, 1); /* each publication is answered, this one as unknown */
    assert_int_equal(count_lost(x), 2);
    assert_int_not_equal(publish(x, ASSAY_CHANNEL_RESULTS, "k", "later", 0), 0);
    member_free(x);
    tell_mock("up");
}

static void a_publication_that_is_too_large_is_refused_for_good(void **state)
{
    (void)state;
    struct member *x = member_new("t.large");
    snprintf(x->options[4], sizeof x->options[4], "producer.message.max.bytes=2000,%s", extra);
    member_init(x);
    char *body = malloc(5001);
    assert_non_null(body);
    memset(body, 'x', 5000);
    body[5000] = '\0';
    assert_int_equal(publish(x, ASSAY_CHANNEL_RESULTS, "k", body, 0), 0);
    WAIT(x->gone == 1);
    free(body);
    member_free(x);
}

/* librdkafka refuses from the moment of a fatal error on, which the driver hears of a little later: whoever publishes in between is to
 * come again, and not to give up. */
static void after_a_fatal_error_a_publication_may_come_again(void **state)
{
    (void)state;
    if (real)
        skip(); /* fatal errors are an idempotent producer's, which that broker is too old for */
    struct member *x = member_new("t.fatal");
    member_init(x);
    struct bk_driver *d = bk_self(x->self);
    int had = x->ok;
    assert_int_equal(publish(x, ASSAY_CHANNEL_RESULTS, "k", "before", 0), 0);
    WAIT(x->ok == had + 1);
    assert_int_equal(rd_kafka_test_fatal_error(d->producer.rk, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "for a test"), 0);
    int st, busy = 0;
    while ((st = publish(x, ASSAY_CHANNEL_RESULTS, "k", "after", 0)) == ASSAY_E_BUSY && busy++ < 2000)
        (void)nanosleep(&(struct timespec){0, 5000000}, NULL);
    assert_int_equal(st, 0);
    assert_true(busy > 0);
    WAIT(x->ok == had + 2);
    member_free(x);
}

static void a_quiet_member_takes_no_more_and_leaves_when_it_has_nothing(void **state)
{
    (void)state;
    struct member *x = member_ready("t.quiet", 2), *y;
    publish_all(x, 0, 10);
    WAIT(count(x) == 2);
    ops()->quiet(x->self);
    ops()->quiet(x->self);
    settle(x, 0, ASSAY_SETTLE_DONE, "");
    nap(300);
    assert_int_equal(count(x), 2);
    settle(x, 1, ASSAY_SETTLE_DONE, "");
    y = member_ready("t.quiet", 100);
    WAIT(count(y) == 8);
    nap(300);
    assert_int_equal(count(y), 8);
    assert_int_equal(count(x), 2);
    for (size_t i = 0; i < 8; i++)
        settle(y, i, ASSAY_SETTLE_DONE, "");
    member_free(x);
    member_free(y);
}

static void commits_that_fail_are_made_again(void **state)
{
    (void)state;
    if (real)
        skip();
    tell_mock("topic t.commit 1");
    struct member *x = member_ready("t.commit", 8);
    publish_all(x, 0, 4);
    WAIT(count(x) == 4);
    tell_mock("errors 8 7 3"); /* OffsetCommit: request timed out */
    for (size_t i = 0; i < 4; i++)
        settle(x, i, ASSAY_SETTLE_DONE, "");
    nap(3000);
    member_free(x);
    x = member_ready("t.commit", 8);
    publish_all(x, 10, 11);
    WAIT(count(x) >= 1);
    assert_string_equal(x->got[0].body, "body 10");
    member_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_properties_are_told_all_at_once_and_without_secrets),
        cmocka_unit_test(messages_come_once_and_are_committed_in_whatever_order_they_end),
        cmocka_unit_test(what_is_settled_above_an_unsettled_message_does_not_come_again),
        cmocka_unit_test(a_refused_message_is_offered_again),
        cmocka_unit_test(settled_for_another_try_it_comes_again_and_dead_it_goes_where_dead_letters_go),
        cmocka_unit_test(work_and_results_are_consumed_side_by_side),
        cmocka_unit_test(a_new_member_takes_over_eagerly),
        cmocka_unit_test(a_new_member_takes_over_cooperatively),
        cmocka_unit_test(a_rebalance_waits_for_an_answer_that_is_under_way),
        cmocka_unit_test(a_broker_that_is_away_is_no_error_and_all_goes_on_when_it_is_back),
        cmocka_unit_test(the_end_is_bounded_when_no_broker_answers),
        cmocka_unit_test(a_publication_that_is_too_large_is_refused_for_good),
        cmocka_unit_test(after_a_fatal_error_a_publication_may_come_again),
        cmocka_unit_test(a_quiet_member_takes_no_more_and_leaves_when_it_has_nothing),
        cmocka_unit_test(commits_that_fail_are_made_again),
    };
    if (getenv("KAFKA_TEST"))
        cmocka_set_test_filter(getenv("KAFKA_TEST"));
    return cmocka_run_group_tests_name("kafka", tests, group_setup, group_teardown);
}
