/*
 * The SQS driver on an SQS that checks signatures (ASSAY_TEST_SQS, started by aws_parts.py), by the promises of broker.h; its codec alone
 * without one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <unistd.h>

#include "plugins/broker_sqs/local.h"
#include "store_host.h"

extern const struct assay_plugin assay_plugin;

/* ---- the codec ---- */

static void messages_are_read(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct bq_message *m = NULL;
    size_t n = 9;
    assert_int_equal(bq_decode_messages(ASSAY_STR("{}"), arena, &m, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(bq_decode_messages(ASSAY_STR("{\"Messages\":null}"), arena, &m, &n, NULL), 0);
    assert_int_equal(n, 0);
    assert_int_equal(bq_decode_messages(ASSAY_STR("{\"Messages\":[{\"MessageId\":\"i\",\"ReceiptHandle\":\"r\",\"Body\":\"b\\u0001\",\"MD5OfBody\":\"x\","
                                                  "\"Attributes\":{\"SentTimestamp\":\"1\",\"ApproximateReceiveCount\":\"3\"},\"MessageAttributes\":"
                                                  "{\"key\":{\"StringValue\":\"k\",\"DataType\":\"String\"},\"other\":{\"BinaryValue\":\"AA==\"}}}]}"),
                                        arena, &m, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_true(assay_str_is(m[0].name, "i") && assay_str_is(m[0].receipt, "r") && assay_str_is(m[0].body, "b\x01"));
    assert_true(assay_str_is(m[0].deliveries_text, "3") && assay_str_is(m[0].key, "k"));
    static const char *const bad[] = {"", "[]", "{\"Messages\":{}}", "{\"Messages\":[{\"MessageId\":\"i\"}]}", "{\"Messages\":[1]}",
                                      "{\"Messages\":[{\"MessageId\":\"\",\"ReceiptHandle\":\"r\"}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(bq_decode_messages(assay_str(bad[i]), arena, &m, &n, NULL), ASSAY_E_CORRUPT);
}

static void outcomes_are_by_entry(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct bq_result r[BQ_BATCH];
    assert_int_equal(bq_decode_batch(ASSAY_STR("{\"Successful\":[{\"Id\":\"2\"}],\"Failed\":[{\"Id\":\"0\",\"SenderFault\":true,\"Code\":\"C\"}]}"), arena, 3, r,
                                     NULL), 0);
    assert_true(!r[0].ok && r[0].theirs && assay_str_is(r[0].code, "C"));
    assert_true(!r[1].ok && !r[1].theirs); /* nothing was said of it: not known to be there */
    assert_true(r[2].ok);
    assert_int_equal(bq_decode_batch(ASSAY_STR("{\"Successful\":[{\"Id\":\"3\"}]}"), arena, 3, r, NULL), ASSAY_E_CORRUPT);
    assert_int_equal(bq_decode_batch(ASSAY_STR("{\"Successful\":7}"), arena, 3, r, NULL), ASSAY_E_CORRUPT);
    char code[64] = "", message[256] = "", name[128], account[32];
    bq_explain(ASSAY_STR("{\"__type\":\"com.amazonaws.sqs#QueueDoesNotExist\",\"message\":\"a\\nb\"}"), code, message);
    assert_string_equal(code, "QueueDoesNotExist");
    assert_string_equal(message, "a b");
    assert_int_equal(bq_decode_redrive(ASSAY_STR("{\"Attributes\":{\"RedrivePolicy\":\"{\\\"deadLetterTargetArn\\\":\\\"arn:aws:sqs:eu-west-1:123:dead\\\","
                                                 "\\\"maxReceiveCount\\\":\\\"3\\\"}\"}}"), name, account, NULL), 0);
    assert_string_equal(name, "dead");
    assert_string_equal(account, "123");
    assert_int_equal(bq_decode_redrive(ASSAY_STR("{\"Attributes\":{}}"), name, account, NULL), ASSAY_E_NOT_FOUND);
    assert_int_equal(bq_decode_redrive(ASSAY_STR("{\"Attributes\":{\"RedrivePolicy\":\"{\\\"deadLetterTargetArn\\\":\\\"x\\\"}\"}}"), name, account, NULL),
                     ASSAY_E_CORRUPT);
}

static void bodies_are_what_sqs_takes(void **state)
{
    (void)state;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assert_int_equal(bq_body(ASSAY_STR("{\"a\":\"\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd\"}"), 100, &b, NULL), 0);
    assert_string_equal(b.p, "{\"a\":\"\\ufffe\\uffff\xef\xbf\xbd\"}");
    assay_buf_reset(&b);
    assert_int_equal(bq_body(ASSAY_STR("text \xef\xbf\xbf"), 100, &b, NULL), ASSAY_E_GONE);
    assert_int_equal(bq_body(ASSAY_STR("{\"a\":\"\x01\"}"), 100, &b, NULL), ASSAY_E_GONE);
    assert_int_equal(bq_body(ASSAY_STR("\xff"), 100, &b, NULL), ASSAY_E_GONE);
    assert_int_equal(bq_body(ASSAY_STR(""), 100, &b, NULL), ASSAY_E_GONE);
    assay_buf_reset(&b);
    assert_int_equal(bq_body(ASSAY_STR("12345"), 4, &b, NULL), ASSAY_E_GONE);
}

/* ---- a world: queues of this test's own, and drivers on them ---- */

#define SEEN 100

struct seen {
    uint64_t tag;
    char name[120], body[120], key[40];
    int64_t deliveries;
};
struct driver {
    struct store_host h;
    void *self;
    const struct assay_broker_ops *ops;
    char queue[300], results[300], dead[300];
    pthread_mutex_t lock;
    struct seen seen[SEEN];
    size_t n;
    uint64_t lost[SEEN];
    size_t n_lost;
    int busy; /* refuse so many deliveries */
};

struct world {
    struct store_host h;
    struct aws_client *client;
    char endpoint[100], queue[300], results[300], dead[300];
};

static int ask(struct world *w, const char *operation, struct assay_jw *body, struct assay_buf *out)
{
    AWS_CLEANUP_ANSWER struct aws_answer a;
    struct assay_err err = {0, ""};
    int rc = bq_request(NULL, w->client, operation, body, 30000, 0, &a, &err);
    if (rc != 0)
        print_message("# %s: %s\n", operation, err.msg);
    if (rc == 0)
        assay_buf_str(out, assay_buf_view(&a.http.body));
    return rc;
}

static void make_queue(struct world *w, const char *what, const char *attribute, const char *value, char url[300])
{
    ASSAY_CLEANUP_JW struct assay_jw *j = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    char random[9], name[64];
    struct assay_str u;
    bool fifo = attribute != NULL && strcmp(attribute, "FifoQueue") == 0;
    assay_random_hex(random, 4);
    (void)snprintf(name, sizeof name, "%s-%s%s", what, random, fifo ? ".fifo" : "");
    assay_jw_object(j);
    assay_jw_kz(j, "QueueName", name);
    assay_jw_key(j, "Attributes");
    assay_jw_object(j);
    if (attribute != NULL)
        assay_jw_kz(j, attribute, value);
    assay_jw_end(j);
    assay_jw_end(j);
    assert_int_equal(ask(w, "CreateQueue", j, &out), 0);
    assert_int_equal(bq_decode_url(assay_buf_view(&out), arena, &u, NULL), 0);
    (void)snprintf(url, 300, "%.*s", ASSAY_FMT(u));
}

static void send_text(struct world *w, const char *queue, const char *body, const char *key)
{
    ASSAY_CLEANUP_JW struct assay_jw *j = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    assay_jw_object(j);
    assay_jw_kz(j, "QueueUrl", queue);
    assay_jw_kz(j, "MessageBody", body);
    if (strstr(queue, ".fifo") != NULL) {
        assay_jw_kz(j, "MessageGroupId", "g");
        assay_jw_kz(j, "MessageDeduplicationId", key);
    }
    assay_jw_key(j, "MessageAttributes");
    assay_jw_object(j);
    bq_attribute(j, "key", assay_str(key));
    assay_jw_end(j);
    assay_jw_end(j);
    assert_int_equal(ask(w, "SendMessage", j, &out), 0);
}

/* All that is in a queue, as one text; it stays hidden for a minute. */
static void read_all(struct world *w, const char *queue, struct assay_buf *all, size_t want)
{
    size_t n = 0;
    for (int i = 0; i < 30 && n < want; i++) {
        ASSAY_CLEANUP_JW struct assay_jw *j = assay_jw_new();
        ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct bq_message *m;
        size_t got;
        assay_jw_object(j);
        assay_jw_kz(j, "QueueUrl", queue);
        assay_jw_kint(j, "MaxNumberOfMessages", 10);
        assay_jw_kint(j, "WaitTimeSeconds", 1);
        assay_jw_kint(j, "VisibilityTimeout", 60);
        assay_jw_key(j, "MessageAttributeNames");
        assay_jw_array(j);
        assay_jw_z(j, "All");
        assay_jw_end(j);
        assay_jw_end(j);
        assert_int_equal(ask(w, "ReceiveMessage", j, &out), 0);
        assert_int_equal(bq_decode_messages(assay_buf_view(&out), arena, &m, &got, NULL), 0);
        assay_buf_str(all, assay_buf_view(&out));
        n += got;
    }
    assert_int_equal(n, want);
}

static void left(struct world *w, const char *queue, const char *waiting, const char *hidden)
{
    char a[80], b[80];
    (void)snprintf(a, sizeof a, "\"ApproximateNumberOfMessages\":\"%s\"", waiting);
    (void)snprintf(b, sizeof b, "\"ApproximateNumberOfMessagesNotVisible\":\"%s\"", hidden);
    for (int i = 0;; i++) {
        ASSAY_CLEANUP_JW struct assay_jw *j = assay_jw_new();
        ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
        assay_jw_object(j);
        assay_jw_kz(j, "QueueUrl", queue);
        assay_jw_key(j, "AttributeNames");
        assay_jw_array(j);
        assay_jw_z(j, "All");
        assay_jw_end(j);
        assay_jw_end(j);
        assert_int_equal(ask(w, "GetQueueAttributes", j, &out), 0);
        if (strstr(out.p, a) != NULL && strstr(out.p, b) != NULL)
            return;
        if (i == 200)
            fail_msg("%s has not %s waiting and %s hidden: %s", queue, waiting, hidden, out.p);
        usleep(100000);
    }
}

static void fault(struct world *w, const char *kind, const char *match)
{
    struct aws_http *http = aws_http_new("");
    struct aws_http_reply rp;
    char url[200], body[200];
    (void)snprintf(url, sizeof url, "%s/-/fault", w->endpoint);
    (void)snprintf(body, sizeof body, "{\"kind\":\"%s\",\"left\":1000000,\"match\":\"%s\"}", kind, match);
    assert_int_equal(aws_http_do(http, &(struct aws_http_request){.method = "POST", .url = url, .body = assay_str(body), .timeout_ms = 20000,
                                                                  .reply_max = 1000}, &rp, NULL), 0);
    assay_buf_free(&rp.body);
    aws_http_free(http);
}

static int setup(void **state)
{
    const char *url = getenv("ASSAY_TEST_SQS");
    struct world *w = calloc(1, sizeof *w);
    struct assay_err err = {0, ""};
    *state = w;
    if (url == NULL)
        return 0;
    sh_init(&w->h, &assay_plugin);
    (void)snprintf(w->endpoint, sizeof w->endpoint, "%s", url);
    if (aws_client_new(&w->h.host, &(struct aws_client_options){.service = "sqs", .region = "us-east-1", .base = url, .ca_file = "",
                                                                .explain = bq_explain}, &w->client, &err) != 0)
        fail_msg("%s", err.msg);
    make_queue(w, "jobs", NULL, NULL, w->queue);
    make_queue(w, "results", NULL, NULL, w->results);
    make_queue(w, "dead", NULL, NULL, w->dead);
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    if (w->client != NULL)
        fault(w, "", "");
    aws_client_free(w->client);
    free(w);
    return 0;
}

#define NEED(w)                                                                            \
    do {                                                                                   \
        if ((w)->client == NULL) {                                                         \
            print_message("# ASSAY_TEST_SQS is not set: aws_parts.py runs this\n");        \
            skip();                                                                        \
        }                                                                                  \
    } while (0)

static int on_deliver(void *arg, uint64_t tag, const struct assay_message *m)
{
    struct driver *d = arg;
    int rc = ASSAY_OK;
    pthread_mutex_lock(&d->lock);
    if (d->busy > 0) {
        d->busy--;
        rc = ASSAY_E_BUSY;
    } else if (d->n < SEEN) {
        struct seen *s = &d->seen[d->n++];
        s->tag = tag;
        s->deliveries = m->deliveries;
        (void)snprintf(s->name, sizeof s->name, "%.*s", ASSAY_FMT(m->name));
        (void)snprintf(s->body, sizeof s->body, "%.*s", (int)(m->body.n < 119 ? m->body.n : 119), m->body.p);
        (void)snprintf(s->key, sizeof s->key, "%.*s", ASSAY_FMT(m->key));
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static void on_lost(void *arg, uint64_t tag)
{
    struct driver *d = arg;
    pthread_mutex_lock(&d->lock);
    if (d->n_lost < SEEN)
        d->lost[d->n_lost++] = tag;
    pthread_mutex_unlock(&d->lock);
}

static struct driver *driver_on(struct world *w, const char *queue, const char *visibility, bool with_dead)
{
    struct driver *d = calloc(1, sizeof *d);
    struct assay_err err = {0, ""};
    pthread_mutex_init(&d->lock, NULL);
    sh_init(&d->h, &assay_plugin);
    (void)snprintf(d->queue, sizeof d->queue, "%s", queue);
    (void)snprintf(d->results, sizeof d->results, "%s", w->results);
    (void)snprintf(d->dead, sizeof d->dead, "%s", w->dead);
    sh_option(&d->h, "sqs_endpoint_url", w->endpoint);
    sh_option(&d->h, "aws_region", "us-east-1");
    sh_option(&d->h, "sqs_queue_url", d->queue);
    sh_option(&d->h, "sqs_results_queue_url", d->results);
    if (with_dead)
        sh_option(&d->h, "sqs_dead_queue_url", d->dead);
    sh_option(&d->h, "sqs_visibility", visibility);
    sh_option(&d->h, "sqs_poll", "1s");
    if (assay_plugin.init(&d->h.host, &d->self, &err) != 0 || assay_plugin.start(d->self, &err) != 0)
        fail_msg("%s", err.msg);
    d->ops = assay_plugin.driver;
    return d;
}

static void consume(struct driver *d, enum assay_channel channel, size_t in_flight)
{
    const struct assay_broker_sink sink = {.arg = d, .deliver = on_deliver, .lost = on_lost};
    assert_int_equal(d->ops->consume(d->self, channel, &sink, in_flight, NULL), 0);
}

static void driver_end(struct driver *d)
{
    assay_plugin.drain(d->self);
    assay_plugin.fini(d->self);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static size_t count_of(struct driver *d, size_t *lost)
{
    pthread_mutex_lock(&d->lock);
    size_t n = d->n;
    if (lost != NULL)
        *lost = d->n_lost;
    pthread_mutex_unlock(&d->lock);
    return n;
}

static void until_seen(struct driver *d, size_t n)
{
    for (int i = 0; count_of(d, NULL) < n; i++) {
        if (i == 600)
            fail_msg("only %zu of %zu messages came", count_of(d, NULL), n);
        usleep(50000);
    }
}

/* ---- promises ---- */

static void messages_come_and_are_deleted(void **state)
{
    struct world *w = *state;
    NEED(w);
    for (int i = 0; i < 12; i++) {
        char body[20], key[20];
        (void)snprintf(body, sizeof body, "{\"n\":%d}", i);
        (void)snprintf(key, sizeof key, "key-%d", i);
        send_text(w, w->queue, body, key);
    }
    struct driver *d = driver_on(w, w->queue, "300s", true);
    pthread_mutex_lock(&d->lock);
    d->busy = 2; /* the first is offered three times */
    pthread_mutex_unlock(&d->lock);
    consume(d, ASSAY_CHANNEL_WORK, 5);
    until_seen(d, 5);
    usleep(1500000);
    assert_int_equal(count_of(d, NULL), 5); /* no more than five are unsettled */
    for (size_t i = 0; i < 12; i++) {
        until_seen(d, i + 1);
        d->ops->settle(d->self, d->seen[i].tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
        assert_int_equal(d->seen[i].deliveries, 1);
        assert_memory_equal(d->seen[i].key, "key-", 4);
    }
    left(w, w->queue, "0", "0");
    assert_int_equal(d->ops->health(d->self, NULL), 0);
    assert_int_equal(d->ops->consume(d->self, ASSAY_CHANNEL_DEAD, &(struct assay_broker_sink){0}, 1, NULL), ASSAY_E_UNSUPPORTED);
    driver_end(d);
}

static void given_back_ones_come_again_under_the_same_name(void **state)
{
    struct world *w = *state;
    NEED(w);
    send_text(w, w->queue, "{}", "k");
    struct driver *d = driver_on(w, w->queue, "300s", true);
    consume(d, ASSAY_CHANNEL_WORK, 5);
    until_seen(d, 1);
    d->ops->settle(d->self, d->seen[0].tag, ASSAY_SETTLE_AGAIN, ASSAY_STR(""));
    until_seen(d, 2);
    assert_string_equal(d->seen[0].name, d->seen[1].name);
    assert_true(d->seen[0].tag != d->seen[1].tag);
    assert_int_equal(d->seen[1].deliveries, 2);
    /* what is ours at the end is somebody else's at once, whatever its visibility */
    driver_end(d);
    d = driver_on(w, w->queue, "300s", true);
    consume(d, ASSAY_CHANNEL_WORK, 5);
    until_seen(d, 1);
    assert_true(d->seen[0].deliveries >= 3); /* the poll that was open at the end may have seen it once more */
    d->ops->settle(d->self, d->seen[0].tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
    driver_end(d); /* settlements go out before the end */
    left(w, w->queue, "0", "0");
}

static void dead_letters_go_where_the_option_or_the_queue_says(void **state)
{
    struct world *w = *state;
    NEED(w);
    char redriven[300], arn[400];
    (void)snprintf(arn, sizeof arn, "{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:%s\",\"maxReceiveCount\":\"5\"}", strrchr(w->dead, '/') + 1);
    make_queue(w, "redriven", "RedrivePolicy", arn, redriven);
    for (int i = 0; i < 3; i++) {
        const char *queue = i == 1 ? redriven : w->queue;
        ASSAY_CLEANUP_BUF struct assay_buf all = ASSAY_BUF_INIT;
        send_text(w, queue, "{\"poison\":1}", "k");
        struct driver *d = driver_on(w, queue, "300s", i == 0);
        consume(d, ASSAY_CHANNEL_WORK, 5);
        until_seen(d, 1);
        d->ops->settle(d->self, d->seen[0].tag, ASSAY_SETTLE_DEAD, ASSAY_STR("cannot be read\n"));
        left(w, queue, "0", "0");
        read_all(w, w->dead, &all, i < 2 ? 1 : 0); /* without any place for them they are deleted, and the log says so */
        assert_true(i == 2 || (strstr(all.p, "cannot be read") != NULL && strstr(all.p, d->seen[0].name) != NULL && strstr(all.p, "poison") != NULL));
        driver_end(d);
    }
}

static void visibility_is_renewed_while_a_message_is_held(void **state)
{
    struct world *w = *state;
    NEED(w);
    send_text(w, w->queue, "{}", "k");
    struct driver *d = driver_on(w, w->queue, "4s", true), *other = driver_on(w, w->queue, "4s", true);
    consume(d, ASSAY_CHANNEL_WORK, 5);
    until_seen(d, 1);
    consume(other, ASSAY_CHANNEL_WORK, 5);
    sleep(10);
    size_t lost;
    assert_int_equal(count_of(other, &lost), 0);
    assert_int_equal(count_of(d, &lost), 1);
    assert_int_equal(lost, 0);
    d->ops->settle(d->self, d->seen[0].tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
    left(w, w->queue, "0", "0");
    driver_end(d);
    driver_end(other);
}

static void what_cannot_be_renewed_is_lost_and_comes_again(void **state)
{
    struct world *w = *state;
    NEED(w);
    send_text(w, w->queue, "{}", "k");
    struct driver *d = driver_on(w, w->queue, "3s", true);
    consume(d, ASSAY_CHANNEL_WORK, 5);
    until_seen(d, 1);
    fault(w, "reset", "ChangeMessageVisibility|ReceiveMessage");
    size_t lost = 0;
    for (int i = 0; i < 400 && lost == 0; i++) {
        (void)count_of(d, &lost);
        usleep(50000);
    }
    assert_int_equal(d->lost[0], d->seen[0].tag);
    d->ops->settle(d->self, d->seen[0].tag, ASSAY_SETTLE_DONE, ASSAY_STR("")); /* ignored: it is not ours any more */
    fault(w, "", "");
    until_seen(d, 2);
    assert_string_equal(d->seen[0].name, d->seen[1].name);
    assert_true(d->seen[1].tag != d->seen[0].tag);
    d->ops->settle(d->self, d->seen[d->n - 1].tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
    left(w, w->queue, "0", "0");
    driver_end(d);
}

static _Atomic int ended, gone, failed;
static void on_published(void *arg, int status, const struct assay_err *err)
{
    (void)arg;
    (void)err;
    if (status == ASSAY_E_GONE)
        atomic_fetch_add(&gone, 1);
    else if (status != 0)
        atomic_fetch_add(&failed, 1);
    atomic_fetch_add(&ended, 1);
}

static void until_ended(int n)
{
    for (int i = 0; atomic_load(&ended) < n; i++) {
        if (i == 1200)
            fail_msg("only %d of %d publications ended", atomic_load(&ended), n);
        usleep(50000);
    }
}

static void publications_are_confirmed_and_refused(void **state)
{
    struct world *w = *state;
    NEED(w);
    ASSAY_CLEANUP_BUF struct assay_buf all = ASSAY_BUF_INIT;
    struct driver *d = driver_on(w, w->queue, "300s", true);
    atomic_store(&ended, 0), atomic_store(&gone, 0), atomic_store(&failed, 0);
    for (int i = 0; i < 25; i++) {
        char body[64];
        (void)snprintf(body, sizeof body, "{\"id\":\"result-%d\",\"out\":\"\xef\xbf\xbf\"}", i);
        const struct assay_publication p = {.channel = ASSAY_CHANNEL_RESULTS, .key = ASSAY_STR("the-key"), .body = assay_str(body),
                                            .traceparent = ASSAY_STR("00-1-2-01")};
        assert_int_equal(d->ops->publish(d->self, &p, on_published, NULL, NULL), 0);
    }
    static char large[300000];
    memset(large, 'x', sizeof large);
    assert_int_equal(d->ops->publish(d->self, &(struct assay_publication){.channel = ASSAY_CHANNEL_RESULTS, .body = {large, sizeof large}}, on_published,
                                     NULL, NULL), 0);
    for (int i = 0; i < 3; i++) /* two do not go into one request */
        assert_int_equal(d->ops->publish(d->self, &(struct assay_publication){.channel = ASSAY_CHANNEL_RESULTS, .body = {large, 200000}}, on_published,
                                         NULL, NULL), 0);
    until_ended(29);
    assert_int_equal(atomic_load(&gone), 1);
    assert_int_equal(atomic_load(&failed), 0);
    read_all(w, w->results, &all, 28);
    for (int i = 0; i < 25; i++) {
        char text[40];
        (void)snprintf(text, sizeof text, "result-%d\\\"", i);
        assert_non_null(strstr(all.p, text));
    }
    assert_true(strstr(all.p, "the-key") != NULL && strstr(all.p, "00-1-2-01") != NULL);
    driver_end(d);
}

static void fifo_queues_have_groups_and_take_a_repetition_once(void **state)
{
    struct world *w = *state;
    NEED(w);
    char jobs[300];
    make_queue(w, "results", "FifoQueue", "true", w->results);
    make_queue(w, "jobs", "FifoQueue", "true", jobs);
    struct driver *d = driver_on(w, jobs, "300s", true);
    atomic_store(&ended, 0), atomic_store(&gone, 0), atomic_store(&failed, 0);
    for (int i = 0; i < 4; i++) { /* each twice */
        const struct assay_publication p = {.channel = ASSAY_CHANNEL_RESULTS, .key = i % 2 ? ASSAY_STR("one") : ASSAY_STR("a key with blanks"),
                                            .body = ASSAY_STR("{\"a\":1}")};
        assert_int_equal(d->ops->publish(d->self, &p, on_published, NULL, NULL), 0);
    }
    until_ended(4);
    assert_int_equal(atomic_load(&failed) + atomic_load(&gone), 0);
    left(w, w->results, "2", "0");
    send_text(w, jobs, "{}", "j1");
    consume(d, ASSAY_CHANNEL_WORK, 5);
    until_seen(d, 1);
    d->ops->settle(d->self, d->seen[0].tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
    left(w, jobs, "0", "0");
    driver_end(d);
}

static void outages_pass(void **state)
{
    struct world *w = *state;
    NEED(w);
    static const char *const kinds[] = {"reset", "error", "cut"};
    struct driver *d = driver_on(w, w->queue, "300s", true);
    consume(d, ASSAY_CHANNEL_WORK, 50);
    for (size_t i = 0; i < 3; i++) {
        struct assay_err why = {0, ""};
        fault(w, kinds[i], "");
        for (int k = 0; k < 400 && d->ops->health(d->self, &why) == 0; k++)
            usleep(50000);
        assert_int_equal(why.code, ASSAY_E_BUSY);
        atomic_store(&ended, 0), atomic_store(&gone, 0), atomic_store(&failed, 0);
        const struct assay_publication p = {.channel = ASSAY_CHANNEL_RESULTS, .body = ASSAY_STR("{}")};
        assert_int_equal(d->ops->publish(d->self, &p, on_published, NULL, NULL), 0);
        until_ended(1);
        assert_int_equal(atomic_load(&failed), 1); /* not known to be there, and not "never" */
        fault(w, "", "");
        send_text(w, w->queue, "{}", "k");
        assert_int_equal(d->ops->publish(d->self, &p, on_published, NULL, NULL), 0);
        until_ended(2);
        assert_int_equal(atomic_load(&failed), 1);
        until_seen(d, i + 1);
        d->ops->settle(d->self, d->seen[i].tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
        left(w, w->queue, "0", "0");
        for (int k = 0; k < 400 && d->ops->health(d->self, &why) != 0; k++)
            usleep(50000);
        assert_int_equal(d->ops->health(d->self, NULL), 0);
    }
    /* one that hangs does not hold up the end */
    fault(w, "hang", "");
    int64_t began = assay_mono_ns();
    driver_end(d);
    assert_true(assay_mono_ns() - began < (int64_t)20 * 1000000000);
}

static void a_start_says_all_that_is_missing(void **state)
{
    (void)state;
    struct store_host h;
    struct assay_err err = {0, ""};
    void *self = NULL;
    char *id = getenv("AWS_ACCESS_KEY_ID") != NULL ? strdup(getenv("AWS_ACCESS_KEY_ID")) : NULL;
    (void)unsetenv("AWS_ACCESS_KEY_ID");
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    sh_init(&h, &assay_plugin);
    assert_int_equal(assay_plugin.init(&h.host, &self, &err), ASSAY_E_CONFIG);
    assert_non_null(strstr(err.msg, "sqs_queue_url (AWS_SQS_QUEUE_URL) is not set; aws_region (AWS_REGION) is not set"));
    sh_option(&h, "sqs_queue_url", "jobs");
    assert_int_equal(assay_plugin.init(&h.host, &self, &err), ASSAY_E_CONFIG);
    assert_non_null(strstr(err.msg, "must be a queue's URL"));
    if (id != NULL)
        (void)setenv("AWS_ACCESS_KEY_ID", id, 1);
    free(id);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_read),
        cmocka_unit_test(outcomes_are_by_entry),
        cmocka_unit_test(bodies_are_what_sqs_takes),
        cmocka_unit_test(a_start_says_all_that_is_missing),
        T(messages_come_and_are_deleted),
        T(given_back_ones_come_again_under_the_same_name),
        T(dead_letters_go_where_the_option_or_the_queue_says),
        T(visibility_is_renewed_while_a_message_is_held),
        T(what_cannot_be_renewed_is_lost_and_comes_again),
        T(publications_are_confirmed_and_refused),
        T(fifo_queues_have_groups_and_take_a_repetition_once),
        T(outages_pass),
    };
    return cmocka_run_group_tests_name("broker_sqs", tests, NULL, NULL);
}
