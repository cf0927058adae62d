/*
 * The RabbitMQ broker on a real server, which broker_amqp.py starts, with a relay between that can be cut and stalled.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>

#include <assay/broker.h>

#include "store_host.h"

extern const struct assay_plugin assay_plugin;

#define WAIT_MS 30000

/* ---- the relay --------------------------------------------------------------------------------------------------------- */

struct relay {
    int listener, port, to;
    atomic_bool stop, refuse, stall;
    atomic_int cut; /* raised: every connection of that moment ends */
    pthread_t thread;
};

static int dial(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

#define PAIRS 16
static void *relay_main(void *arg)
{
    struct relay *r = arg;
    int a[PAIRS], b[PAIRS], n = 0, cut = 0;
    static char buf[65536];
    while (!atomic_load(&r->stop)) {
        struct pollfd p[1 + 2 * PAIRS] = {{r->listener, POLLIN, 0}};
        for (int i = 0; i < n; i++) {
            p[1 + 2 * i] = (struct pollfd){a[i], POLLIN, 0};
            p[2 + 2 * i] = (struct pollfd){b[i], POLLIN, 0};
        }
        bool stall = atomic_load(&r->stall);
        (void)poll(p, stall ? 1 : (nfds_t)(1 + 2 * n), 20);
        if (p[0].revents) {
            int c = accept(r->listener, NULL, NULL), s = atomic_load(&r->refuse) || n == PAIRS ? -1 : dial(r->to);
            if (s >= 0) {
                a[n] = c;
                b[n++] = s;
            } else {
                close(c);
            }
            continue;
        }
        int now = atomic_load(&r->cut);
        for (int i = 0; i < n; i++) {
            bool end = now != cut;
            for (int side = 0; side < 2 && !end && !stall; side++) {
                if (!p[1 + 2 * i + side].revents)
                    continue;
                ssize_t got = read(side ? b[i] : a[i], buf, sizeof buf);
                end = got <= 0 || send(side ? a[i] : b[i], buf, (size_t)got, MSG_NOSIGNAL) != got;
            }
            if (end) {
                close(a[i]);
                close(b[i]);
                a[i] = b[i] = -1;
            }
        }
        cut = now;
        int kept = 0;
        for (int i = 0; i < n; i++)
            if (a[i] >= 0) {
                a[kept] = a[i];
                b[kept++] = b[i];
            }
        n = kept;
    }
    for (int i = 0; i < n; i++) {
        close(a[i]);
        close(b[i]);
    }
    return NULL;
}

static int server_port(void)
{
    const char *colon = strrchr(getenv("ASSAY_TEST_AMQP"), ':');
    return (int)strtol(colon + 1, NULL, 10);
}

static void relay_start(struct relay *r)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    *r = (struct relay){.to = server_port()};
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r->listener < 0 || bind(r->listener, (struct sockaddr *)&at, n) != 0 || listen(r->listener, 16) != 0 ||
        getsockname(r->listener, (struct sockaddr *)&at, &n) != 0)
        abort();
    r->port = ntohs(at.sin_port);
    if (pthread_create(&r->thread, NULL, relay_main, r) != 0)
        abort();
}

static void relay_stop(struct relay *r)
{
    atomic_store(&r->stop, true);
    (void)pthread_join(r->thread, NULL);
    close(r->listener);
}

/* ---- another client ------------------------------------------------------------------------------------------------------ */

static amqp_connection_state_t raw_open(void)
{
    amqp_connection_state_t c = amqp_new_connection();
    amqp_socket_t *s = amqp_tcp_socket_new(c);
    if (!s || amqp_socket_open(s, "127.0.0.1", server_port()) != 0)
        abort();
    if (amqp_login(c, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest").reply_type != AMQP_RESPONSE_NORMAL)
        abort();
    (void)amqp_channel_open(c, 1);
    if (amqp_get_rpc_reply(c).reply_type != AMQP_RESPONSE_NORMAL)
        abort();
    return c;
}

static void raw_close(amqp_connection_state_t c)
{
    (void)amqp_connection_close(c, AMQP_REPLY_SUCCESS);
    (void)amqp_destroy_connection(c);
}

static void raw_declare(const char *queue, bool durable)
{
    amqp_connection_state_t c = raw_open();
    (void)amqp_queue_declare(c, 1, amqp_cstring_bytes(queue), 0, durable, 0, 0, amqp_empty_table);
    assert_int_equal(amqp_get_rpc_reply(c).reply_type, AMQP_RESPONSE_NORMAL);
    raw_close(c);
}

static void raw_delete(const char *queue)
{
    amqp_connection_state_t c = raw_open();
    (void)amqp_queue_delete(c, 1, amqp_cstring_bytes(queue), 0, 0);
    assert_int_equal(amqp_get_rpc_reply(c).reply_type, AMQP_RESPONSE_NORMAL);
    raw_close(c);
}

static void raw_publish(const char *queue, const char *id, const char *body)
{
    amqp_connection_state_t c = raw_open();
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_REPLY_TO_FLAG,
                                 .correlation_id = amqp_cstring_bytes("corr"), .reply_to = amqp_cstring_bytes("answers")};
    if (id) {
        p._flags |= AMQP_BASIC_MESSAGE_ID_FLAG;
        p.message_id = amqp_cstring_bytes(id);
    }
    assert_int_equal(amqp_basic_publish(c, 1, amqp_empty_bytes, amqp_cstring_bytes(queue), 0, 0, &p, amqp_cstring_bytes(body)), 0);
    raw_close(c);
}

/* The messages that are ready; SIZE_MAX: there is no such queue. */
static size_t raw_ready(const char *queue)
{
    amqp_connection_state_t c = raw_open();
    amqp_queue_declare_ok_t *ok = amqp_queue_declare(c, 1, amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);
    size_t n = ok ? ok->message_count : SIZE_MAX;
    raw_close(c);
    return n;
}

/* One message, acknowledged; false: none. */
static bool raw_get(const char *queue, char *body, size_t room, const char *header, char *value, size_t value_room)
{
    amqp_connection_state_t c = raw_open();
    amqp_rpc_reply_t r = amqp_basic_get(c, 1, amqp_cstring_bytes(queue), 1);
    bool found = r.reply_type == AMQP_RESPONSE_NORMAL && r.reply.id == AMQP_BASIC_GET_OK_METHOD;
    if (found) {
        amqp_message_t m;
        assert_int_equal(amqp_read_message(c, 1, &m, 0).reply_type, AMQP_RESPONSE_NORMAL);
        (void)snprintf(body, room, "%.*s", (int)m.body.len, (const char *)m.body.bytes);
        if (header)
            value[0] = '\0';
        for (int i = 0; header && m.properties._flags & AMQP_BASIC_HEADERS_FLAG && i < m.properties.headers.num_entries; i++) {
            const amqp_table_entry_t *e = &m.properties.headers.entries[i];
            if (e->key.len == strlen(header) && memcmp(e->key.bytes, header, e->key.len) == 0 && e->value.kind == AMQP_FIELD_KIND_UTF8)
                (void)snprintf(value, value_room, "%.*s", (int)e->value.value.bytes.len, (const char *)e->value.value.bytes.bytes);
        }
        amqp_destroy_message(&m);
    }
    raw_close(c);
    return found;
}

/* ---- the driver under test ------------------------------------------------------------------------------------------------ */

struct seen {
    uint64_t tag;
    char name[80], key[80], body[80], reply_to[40], correlation[40];
    int64_t deliveries;
    bool lost;
};

struct rig {
    struct store_host h;
    struct assay_broker br;
    char url[200], queue[60], results[60], dead[60];
    pthread_mutex_t lock; /* guards what follows */
    struct seen seen[300];
    size_t n, offers, over, failures;
    int last;
    bool busy;
};

static int deliver(void *arg, uint64_t tag, const struct assay_message *m)
{
    struct rig *r = arg;
    (void)pthread_mutex_lock(&r->lock);
    r->offers++;
    bool busy = r->busy || r->n == 300;
    if (!busy) {
        struct seen *s = &r->seen[r->n++];
        *s = (struct seen){.tag = tag, .deliveries = m->deliveries};
        (void)snprintf(s->name, sizeof s->name, "%.*s", ASSAY_FMT(m->name));
        (void)snprintf(s->key, sizeof s->key, "%.*s", ASSAY_FMT(m->key));
        (void)snprintf(s->body, sizeof s->body, "%.*s", ASSAY_FMT(m->body));
        (void)snprintf(s->reply_to, sizeof s->reply_to, "%.*s", ASSAY_FMT(m->reply_to));
        (void)snprintf(s->correlation, sizeof s->correlation, "%.*s", ASSAY_FMT(m->correlation));
    }
    (void)pthread_mutex_unlock(&r->lock);
    return busy ? ASSAY_E_BUSY : ASSAY_OK;
}

/* How many messages have come: to be asked between waits, while the driver goes on. */
static size_t come(struct rig *r)
{
    (void)pthread_mutex_lock(&r->lock);
    size_t n = r->n;
    (void)pthread_mutex_unlock(&r->lock);
    return n;
}

static void lost(void *arg, uint64_t tag)
{
    struct rig *r = arg;
    (void)pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n; i++)
        if (r->seen[i].tag == tag)
            r->seen[i].lost = true;
    (void)pthread_mutex_unlock(&r->lock);
}

static void published(void *arg, int status, const struct assay_err *err)
{
    struct rig *r = arg;
    (void)pthread_mutex_lock(&r->lock);
    r->over++;
    r->last = status;
    r->failures += status != ASSAY_OK;
    if (status != 0 && getenv("TEST_LOG"))
        fprintf(stderr, "# %s\n", err->msg);
    (void)pthread_mutex_unlock(&r->lock);
}

static unsigned serial;

static void rig_names(struct rig *r)
{
    *r = (struct rig){.busy = false};
    (void)pthread_mutex_init(&r->lock, NULL);
    sh_init(&r->h, &assay_plugin);
    serial++;
    (void)snprintf(r->queue, sizeof r->queue, "tasks.%u", serial);
    (void)snprintf(r->results, sizeof r->results, "results.%u", serial);
    (void)snprintf(r->dead, sizeof r->dead, "dead.%u", serial);
    (void)snprintf(r->url, sizeof r->url, "%s", getenv("ASSAY_TEST_AMQP"));
    sh_option(&r->h, "amqp_url", r->url);
    sh_option(&r->h, "amqp_queue", r->queue);
    sh_option(&r->h, "amqp_results_queue", r->results);
    sh_option(&r->h, "amqp_dead_queue", r->dead);
    sh_option(&r->h, "amqp_reconnect_max", "300ms");
}

static void rig_through(struct rig *r, const struct relay *relay)
{
    (void)snprintf(r->url, sizeof r->url, "amqp://guest:guest@127.0.0.1:%d", relay->port);
}

static void rig_up(struct rig *r)
{
    struct assay_err err = {0};
    r->br.ops = assay_plugin.driver;
    if (assay_plugin.init(&r->h.host, &r->br.self, &err) != 0 || assay_plugin.start(r->br.self, &err) != 0)
        fail_msg("%s", err.msg);
}

static void rig_consume(struct rig *r, enum assay_channel ch, size_t in_flight)
{
    struct assay_broker_sink sink = {r, deliver, lost};
    struct assay_err err = {0};
    if (r->br.ops->consume(r->br.self, ch, &sink, in_flight, &err) != 0)
        fail_msg("%s", err.msg);
}

static void rig_down(struct rig *r)
{
    if (assay_plugin.drain)
        assay_plugin.drain(r->br.self);
    assay_plugin.fini(r->br.self);
    r->br.self = NULL;
}

/* The same queues, as another process sees them. */
static void rig_again(struct rig *r)
{
    rig_down(r);
    r->n = 0;
    rig_up(r);
}

static void sleep_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&ts, NULL);
}

#define UNTIL(r, cond)                                                                                                                         \
    do {                                                                                                                                       \
        bool is = false;                                                                                                                       \
        for (int ms = 0; !is && ms < WAIT_MS; ms += 10) {                                                                                      \
            (void)pthread_mutex_lock(&(r)->lock);                                                                                              \
            is = (cond);                                                                                                                       \
            (void)pthread_mutex_unlock(&(r)->lock);                                                                                            \
            if (!is)                                                                                                                           \
                sleep_ms(10);                                                                                                                  \
        }                                                                                                                                      \
        if (!is)                                                                                                                               \
            fail_msg("this did not come true: %s", #cond);                                                                                     \
    } while (0)

static void ready_becomes(const char *queue, size_t n)
{
    size_t is = SIZE_MAX;
    for (int ms = 0; ms < WAIT_MS && (is = raw_ready(queue)) != n; ms += 50)
        sleep_ms(50);
    assert_int_equal(is, n);
}

static void settle(struct rig *r, size_t i, enum assay_settle how, const char *reason)
{
    r->br.ops->settle(r->br.self, r->seen[i].tag, how, assay_str(reason));
}

static int send_body(struct rig *r, enum assay_channel ch, const char *key, struct assay_str body, const char *reply_to, struct assay_err *err)
{
    struct assay_publication p = {.channel = ch, .key = assay_str(key), .body = body, .reply_to = assay_str(reply_to), .correlation = ASSAY_STR("c-1")};
    return r->br.ops->publish(r->br.self, &p, published, r, err);
}

static void sent(struct rig *r, enum assay_channel ch, const char *key, const char *body, const char *reply_to, int status)
{
    struct assay_err err = {0};
    size_t before = r->over;
    if (send_body(r, ch, key, assay_str(body), reply_to, &err) != 0)
        fail_msg("%s", err.msg);
    UNTIL(r, r->over == before + 1);
    assert_int_equal(r->last, status);
}

/* ---- tests ------------------------------------------------------------------------------------------------------------------ */

static void a_message_is_received_and_acknowledged(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 4);
    sent(&r, ASSAY_CHANNEL_WORK, "id-1", "{\"a\":1}", "", ASSAY_OK);
    UNTIL(&r, r.n == 1);
    assert_string_equal(r.seen[0].body, "{\"a\":1}");
    assert_string_equal(r.seen[0].key, "id-1");
    assert_string_equal(r.seen[0].correlation, "c-1");
    assert_string_equal(r.seen[0].reply_to, r.results); /* a gateway's tasks are answered in its results queue */
    assert_int_equal(r.seen[0].deliveries, 1);
    assert_memory_equal(r.seen[0].name, "amqp:", 5);
    settle(&r, 0, ASSAY_SETTLE_DONE, "");
    rig_again(&r); /* what was settled does not come again, though the end came at once */
    rig_consume(&r, ASSAY_CHANNEL_WORK, 4);
    sleep_ms(500);
    assert_int_equal(come(&r), 0);
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 0);
}

static void equal_tasks_without_an_id_are_two_and_each_stays_one(void **state)
{
    (void)state;
    struct rig r;
    char first[2][80];
    rig_names(&r);
    raw_declare(r.queue, true);
    raw_publish(r.queue, NULL, "same");
    raw_publish(r.queue, NULL, "same");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 4);
    UNTIL(&r, r.n == 2);
    for (int i = 0; i < 2; i++) {
        memcpy(first[i], r.seen[i].name, 80);
        assert_memory_equal(r.seen[i].key, "assay-", 6);
        assert_string_equal(r.seen[i].reply_to, "answers");
        assert_string_equal(r.seen[i].correlation, "corr");
    }
    assert_string_not_equal(first[0], first[1]);
    for (int round = 0; round < 3; round++) { /* processes that die with both unsettled */
        rig_again(&r);
        rig_consume(&r, ASSAY_CHANNEL_WORK, 4);
        UNTIL(&r, r.n == 2);
        for (int i = 0; i < 2; i++) {
            assert_true(strcmp(r.seen[i].name, first[0]) == 0 || strcmp(r.seen[i].name, first[1]) == 0);
            assert_int_equal(r.seen[i].deliveries, 0); /* a classic queue says only that it was more than one */
        }
        assert_string_not_equal(r.seen[0].name, r.seen[1].name);
    }
    settle(&r, 0, ASSAY_SETTLE_DONE, "");
    settle(&r, 1, ASSAY_SETTLE_DONE, "");
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 0);
}

static void an_id_and_its_body_name_a_message(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    raw_declare(r.queue, true);
    raw_publish(r.queue, "7", "one");
    raw_publish(r.queue, "7", "two");
    raw_publish(r.queue, "8", "one");
    raw_publish(r.queue, "7", "one");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 8);
    UNTIL(&r, r.n == 4);
    assert_string_not_equal(r.seen[0].name, r.seen[1].name); /* a producer that counts from 1 each day loses nothing */
    assert_string_not_equal(r.seen[0].name, r.seen[2].name);
    assert_string_equal(r.seen[0].name, r.seen[3].name); /* sent twice by a producer that was not sure */
    rig_down(&r);
}

static void without_stamps_a_repeated_message_is_a_new_one(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    sh_option(&r.h, "amqp_stamp", "false");
    raw_declare(r.queue, true);
    raw_publish(r.queue, NULL, "same");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 8);
    UNTIL(&r, r.n == 1);
    char name[80];
    memcpy(name, r.seen[0].name, 80);
    assert_string_equal(r.seen[0].key, "");
    rig_again(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 8);
    UNTIL(&r, r.n == 1);
    assert_string_not_equal(r.seen[0].name, name);
    rig_down(&r);
}

static void no_more_than_asked_for_are_unsettled(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    raw_declare(r.queue, true);
    for (int i = 0; i < 10; i++)
        raw_publish(r.queue, i % 2 ? "x" : NULL, "body");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 3);
    UNTIL(&r, r.n == 3);
    sleep_ms(300);
    for (size_t done = 0; done < 10; done++) {
        assert_true(come(&r) <= done + 3);
        UNTIL(&r, r.n > done);
        settle(&r, done, ASSAY_SETTLE_DONE, "");
    }
    rig_down(&r);
    assert_int_equal(come(&r), 10);
    assert_int_equal(raw_ready(r.queue), 0);
}

static void a_busy_receiver_is_asked_again(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    rig_up(&r);
    r.busy = true;
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "a", "", ASSAY_OK);
    UNTIL(&r, r.offers >= 3);
    (void)pthread_mutex_lock(&r.lock);
    r.busy = false;
    (void)pthread_mutex_unlock(&r.lock);
    UNTIL(&r, r.n == 1);
    settle(&r, 0, ASSAY_SETTLE_DONE, "");
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 0);
}

static void again_comes_after_a_while(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    sh_option(&r.h, "amqp_retry_delay", "300ms");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "a", "", ASSAY_OK);
    UNTIL(&r, r.n == 1);
    int64_t from = assay_mono_ns();
    settle(&r, 0, ASSAY_SETTLE_AGAIN, "no room");
    UNTIL(&r, r.n == 2);
    assert_true(assay_mono_ns() - from >= 300 * (int64_t)1000000);
    assert_string_equal(r.seen[0].name, r.seen[1].name);
    assert_int_not_equal(r.seen[0].tag, r.seen[1].tag);
    settle(&r, 0, ASSAY_SETTLE_DONE, ""); /* an old tag means nothing */
    r.br.ops->settle(r.br.self, 77777, ASSAY_SETTLE_DEAD, ASSAY_STR(""));
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 1);
    assert_int_equal(raw_ready(r.dead), 0);
}

static void a_dead_letter_says_why_and_may_be_put_back(void **state)
{
    (void)state;
    struct rig r;
    char body[80], why[80];
    rig_names(&r);
    sh_option(&r.h, "amqp_dead_exchange", "assay.dead");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "not json", "", ASSAY_OK);
    UNTIL(&r, r.n == 1);
    settle(&r, 0, ASSAY_SETTLE_DEAD, "it is not JSON");
    ready_becomes(r.dead, 1);
    assert_true(raw_get(r.dead, body, sizeof body, "x-assay-reason", why, sizeof why));
    assert_string_equal(body, "not json");
    assert_string_equal(why, "it is not JSON");
    /* a larger one than is taken is not even offered */
    static char large[3000];
    memset(large, 'x', sizeof large - 1);
    rig_down(&r);
    sh_option(&r.h, "amqp_message_max", "2048");
    r.n = 0;
    raw_publish(r.queue, NULL, large);
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    ready_becomes(r.dead, 1);
    assert_int_equal(come(&r), 0);
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 0);
}

static void a_cut_connection_loses_what_is_unsettled_and_it_comes_again(void **state)
{
    (void)state;
    struct rig r;
    struct relay relay;
    struct assay_err err = {0};
    rig_names(&r);
    relay_start(&relay);
    rig_through(&r, &relay);
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 8);
    for (int i = 0; i < 3; i++)
        raw_publish(r.queue, NULL, "task"); /* lost where the queue is not there yet */
    UNTIL(&r, r.br.ops->health(r.br.self, &err) == 0);
    size_t had = come(&r);
    for (size_t i = had; i < 3; i++)
        sent(&r, ASSAY_CHANNEL_WORK, i == 0 ? "x" : i == 1 ? "y" : "z", "task", "", ASSAY_OK);
    UNTIL(&r, r.n >= 3);
    settle(&r, 0, ASSAY_SETTLE_DONE, "");
    ready_becomes(r.queue, 0);
    sleep_ms(200);
    size_t n = come(&r);
    atomic_store(&relay.refuse, true);
    atomic_fetch_add(&relay.cut, 1);
    UNTIL(&r, r.seen[1].lost && r.seen[2].lost);
    assert_false(r.seen[0].lost);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) != 0);
    assert_non_null(strstr(err.msg, "127.0.0.1"));
    assert_null(strstr(err.msg, "guest"));
    settle(&r, 1, ASSAY_SETTLE_DONE, ""); /* too late */
    atomic_store(&relay.refuse, false);
    UNTIL(&r, r.n == n + n - 1);
    for (size_t i = n; i < come(&r); i++) {
        assert_string_not_equal(r.seen[i].name, r.seen[0].name);
        settle(&r, i, ASSAY_SETTLE_DONE, "");
    }
    ready_becomes(r.queue, 0);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) == 0);
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 0);
    relay_stop(&relay);
}

static void a_silent_server_is_noticed_by_its_heartbeat(void **state)
{
    (void)state;
    struct rig r;
    struct relay relay;
    rig_names(&r);
    relay_start(&relay);
    rig_through(&r, &relay);
    sh_option(&r.h, "amqp_heartbeat", "1s");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 8);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "task", "", ASSAY_OK);
    UNTIL(&r, r.n == 1);
    sent(&r, ASSAY_CHANNEL_RESULTS, "k", "{}", "", ASSAY_OK);
    struct assay_err err = {0};
    size_t before = r.over;
    atomic_store(&relay.stall, true);
    assert_int_equal(send_body(&r, ASSAY_CHANNEL_RESULTS, "k", ASSAY_STR("{}"), "", &err), 0);
    UNTIL(&r, r.seen[0].lost);
    UNTIL(&r, r.over == before + 1); /* nobody knows whether it is there */
    assert_int_not_equal(r.last, ASSAY_OK);
    assert_int_not_equal(r.last, ASSAY_E_GONE);
    assert_int_equal(send_body(&r, ASSAY_CHANNEL_RESULTS, "k", ASSAY_STR("{}"), "", &err), 0);
    rig_down(&r); /* while every try to connect hangs */
    assert_int_equal(r.over, before + 2); /* everybody who was promised an answer has one */
    assert_int_equal(r.last, ASSAY_E_BUSY);
    relay_stop(&relay);
}

static void what_is_published_is_there(void **state)
{
    (void)state;
    struct rig r;
    char body[80], header[80];
    rig_names(&r);
    rig_up(&r);
    sent(&r, ASSAY_CHANNEL_RESULTS, "r-1", "{\"id\":1}", "", ASSAY_OK);
    assert_true(raw_get(r.results, body, sizeof body, NULL, NULL, 0));
    assert_string_equal(body, "{\"id\":1}");
    char answers[60];
    (void)snprintf(answers, sizeof answers, "answers.%u", serial);
    raw_declare(answers, false);
    sent(&r, ASSAY_CHANNEL_RESULTS, "r-2", "{\"id\":2}", answers, ASSAY_OK);
    assert_true(raw_get(answers, body, sizeof body, NULL, NULL, 0));
    assert_string_equal(body, "{\"id\":2}");
    assert_int_equal(raw_ready(r.results), 0);
    raw_delete(answers); /* the asker has gone: the answer is kept where all others are */
    sent(&r, ASSAY_CHANNEL_RESULTS, "r-3", "{\"id\":3}", answers, ASSAY_OK);
    assert_true(raw_get(r.results, body, sizeof body, NULL, NULL, 0));
    assert_string_equal(body, "{\"id\":3}");
    raw_delete(r.results); /* made again */
    for (int i = 0; i < 100 && raw_ready(r.results) != 1; i++) {
        struct assay_err err = {0};
        size_t before = r.over;
        assert_int_equal(send_body(&r, ASSAY_CHANNEL_RESULTS, "r-4", ASSAY_STR("{\"id\":4}"), "", &err), 0);
        UNTIL(&r, r.over == before + 1);
    }
    assert_int_equal(r.last, ASSAY_OK);
    sent(&r, ASSAY_CHANNEL_DEAD, "r-5", "why", "", ASSAY_OK);
    assert_true(raw_get(r.dead, body, sizeof body, "x-assay-sequence", header, sizeof header));
    assert_string_equal(body, "why");
    rig_down(&r);
}

static void what_can_never_be_published_is_gone(void **state)
{
    (void)state;
    struct rig r;
    struct assay_err err = {0};
    rig_names(&r);
    sh_option(&r.h, "amqp_message_max", "2048");
    sh_option(&r.h, "amqp_results_queue", "");
    rig_up(&r);
    static char large[3000];
    memset(large, 'x', sizeof large - 1);
    sent(&r, ASSAY_CHANNEL_WORK, "a", large, "", ASSAY_E_GONE);
    sent(&r, ASSAY_CHANNEL_RESULTS, "a", "{}", "no.such.queue", ASSAY_E_GONE);
    assert_int_equal(send_body(&r, ASSAY_CHANNEL_RESULTS, "a", ASSAY_STR("{}"), "", &err), ASSAY_E_UNSUPPORTED);
    struct assay_broker_sink sink = {&r, deliver, lost};
    assert_int_equal(r.br.ops->consume(r.br.self, ASSAY_CHANNEL_RESULTS, &sink, 1, &err), ASSAY_E_UNSUPPORTED);
    assert_int_equal(r.br.ops->consume(r.br.self, ASSAY_CHANNEL_DEAD, &sink, 1, &err), ASSAY_E_UNSUPPORTED);
    char id[300];
    memset(id, 'i', 299);
    id[299] = '\0';
    assert_int_equal(send_body(&r, ASSAY_CHANNEL_WORK, "a", ASSAY_STR("{}"), id, &err), ASSAY_E_INVALID);
    sent(&r, ASSAY_CHANNEL_WORK, id, "{}", "", ASSAY_OK); /* under another id, the same each time */
    sent(&r, ASSAY_CHANNEL_WORK, id, "{}", "", ASSAY_OK);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    UNTIL(&r, r.n == 2);
    assert_int_equal(strlen(r.seen[0].key), 64);
    assert_string_equal(r.seen[0].name, r.seen[1].name);
    rig_down(&r);
}

static void a_server_that_is_away_is_waited_for_and_then_said(void **state)
{
    (void)state;
    struct rig r;
    struct relay relay;
    struct assay_err err = {0};
    rig_names(&r);
    relay_start(&relay);
    atomic_store(&relay.refuse, true);
    rig_through(&r, &relay);
    sh_option(&r.h, "amqp_publish_timeout", "500ms");
    sh_option(&r.h, "amqp_publish_max", "2");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2); /* no error either */
    assert_int_equal(send_body(&r, ASSAY_CHANNEL_WORK, "a", ASSAY_STR("1"), "", &err), 0);
    assert_int_equal(send_body(&r, ASSAY_CHANNEL_WORK, "b", ASSAY_STR("2"), "", &err), 0);
    assert_int_equal(send_body(&r, ASSAY_CHANNEL_WORK, "c", ASSAY_STR("3"), "", &err), ASSAY_E_BUSY);
    UNTIL(&r, r.over == 2);
    assert_int_equal(r.last, ASSAY_E_TIMEOUT);
    assert_int_not_equal(r.br.ops->health(r.br.self, &err), 0);
    rig_down(&r);
    sh_option(&r.h, "amqp_publish_timeout", "30s");
    rig_up(&r);
    assert_int_equal(send_body(&r, ASSAY_CHANNEL_WORK, "d", ASSAY_STR("4"), "", &err), 0);
    sleep_ms(300);
    atomic_store(&relay.refuse, false);
    UNTIL(&r, r.over == 3); /* it was not sent before, so it may wait */
    assert_int_equal(r.last, ASSAY_OK);
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 1);
    relay_stop(&relay);
}

static void a_queue_with_other_arguments_is_used_as_it_is(void **state)
{
    (void)state;
    struct rig r;
    struct assay_err err = {0};
    rig_names(&r);
    raw_declare(r.queue, false); /* ours would be durable */
    raw_publish(r.queue, NULL, "old");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    UNTIL(&r, r.n == 1);
    assert_int_equal(r.br.ops->health(r.br.self, &err), 0);
    assert_non_null(strstr(err.msg, "other arguments"));
    rig_down(&r);

    rig_names(&r);
    sh_option(&r.h, "amqp_declare", "false");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) != 0 && strstr(err.msg, "does not exist"));
    raw_declare(r.queue, true);
    raw_declare(r.dead, true);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) == 0);
    rig_down(&r);
}

static void a_removed_queue_is_made_again(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "a", "", ASSAY_OK);
    UNTIL(&r, r.n == 1);
    raw_delete(r.queue);
    UNTIL(&r, r.seen[0].lost);
    ready_becomes(r.queue, 0);
    raw_publish(r.queue, "b", "b");
    UNTIL(&r, r.n == 2);
    rig_down(&r);
}

static void quorum_queues_count_deliveries(void **state)
{
    (void)state;
    struct rig r;
    char name[80];
    rig_names(&r);
    sh_option(&r.h, "amqp_queue_type", "quorum");
    sh_option(&r.h, "amqp_retry_delay", "0");
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 2);
    r.last = ASSAY_E_IO;
    for (int i = 0; i < 300 && r.last != ASSAY_OK; i++) { /* a queue that elects its leader yet refuses, and nothing of it is kept */
        struct assay_err err = {0};
        size_t before = r.over;
        sleep_ms(i == 0 ? 0 : 100);
        assert_int_equal(send_body(&r, ASSAY_CHANNEL_WORK, "", ASSAY_STR("task"), "", &err), 0);
        UNTIL(&r, r.over == before + 1);
    }
    assert_int_equal(r.last, ASSAY_OK);
    UNTIL(&r, r.n == 1);
    assert_int_equal(r.seen[0].deliveries, 1);
    memcpy(name, r.seen[0].name, 80);
    settle(&r, 0, ASSAY_SETTLE_AGAIN, "");
    UNTIL(&r, r.n == 2);
    assert_int_equal(r.seen[1].deliveries, 2);
    assert_string_equal(r.seen[1].name, name);
    settle(&r, 1, ASSAY_SETTLE_DONE, "");
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 0);
}

static void after_quiet_nothing_more_is_taken(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 8);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "a", "", ASSAY_OK);
    UNTIL(&r, r.n == 1);
    (void)pthread_mutex_lock(&r.lock);
    r.busy = true;
    (void)pthread_mutex_unlock(&r.lock);
    sent(&r, ASSAY_CHANNEL_WORK, "b", "b", "", ASSAY_OK); /* held back */
    UNTIL(&r, r.offers >= 3);
    r.br.ops->quiet(r.br.self);
    r.br.ops->quiet(r.br.self);
    ready_becomes(r.queue, 1); /* for others at once */
    (void)pthread_mutex_lock(&r.lock);
    r.busy = false;
    (void)pthread_mutex_unlock(&r.lock);
    sent(&r, ASSAY_CHANNEL_RESULTS, "r", "{}", "", ASSAY_OK); /* publications still go out */
    settle(&r, 0, ASSAY_SETTLE_DONE, "");
    sleep_ms(300);
    assert_int_equal(come(&r), 1);
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 1);
}

static void results_are_consumed_beside_work(void **state)
{
    (void)state;
    struct rig r;
    rig_names(&r);
    rig_up(&r);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 8);
    rig_consume(&r, ASSAY_CHANNEL_RESULTS, 8);
    for (int i = 0; i < 20; i++) {
        sent(&r, ASSAY_CHANNEL_WORK, "", "work", "", ASSAY_OK);
        sent(&r, ASSAY_CHANNEL_RESULTS, "", "result", "", ASSAY_OK);
        UNTIL(&r, r.n == (size_t)(2 * i + 2));
        settle(&r, (size_t)(2 * i), ASSAY_SETTLE_DONE, "");
        settle(&r, (size_t)(2 * i + 1), ASSAY_SETTLE_DONE, "");
    }
    assert_string_equal(r.seen[0].body[0] == 'r' ? r.seen[0].body : r.seen[1].body, "result");
    rig_down(&r);
    assert_int_equal(raw_ready(r.queue), 0);
    assert_int_equal(raw_ready(r.results), 0);
}

static void tls_is_checked(void **state)
{
    (void)state;
    struct rig r;
    struct assay_err err = {0};
    rig_names(&r);
    sh_option(&r.h, "amqp_url", getenv("ASSAY_TEST_AMQPS"));
    rig_up(&r);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) != 0 && (strstr(err.msg, "SSL") || strstr(err.msg, "certificate"))); /* nobody vouches for it */
    rig_down(&r);
    sh_option(&r.h, "amqp_tls_ca", getenv("ASSAY_TEST_AMQP_CA"));
    rig_up(&r);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "secret", "", ASSAY_OK);
    rig_consume(&r, ASSAY_CHANNEL_WORK, 8);
    UNTIL(&r, r.n == 1);
    rig_down(&r);
    const char *port = strrchr(getenv("ASSAY_TEST_AMQPS"), ':');
    (void)snprintf(r.url, sizeof r.url, "amqps://guest:guest@127.0.0.1%s", port); /* not the name in the certificate */
    sh_option(&r.h, "amqp_url", r.url);
    rig_up(&r);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) != 0 && strstr(err.msg, "hostname"));
    rig_down(&r);
    sh_option(&r.h, "amqp_tls_verify", "false");
    rig_up(&r);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "open", "", ASSAY_OK);
    rig_down(&r);
    sh_option(&r.h, "amqp_tls_verify", "true");
    sh_option(&r.h, "amqp_tls_ca", "/nowhere/ca.pem");
    rig_up(&r);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) != 0 && strstr(err.msg, "amqp_tls_ca"));
    rig_down(&r);
}

static void a_wrong_address_is_said_without_its_password(void **state)
{
    (void)state;
    static const struct {
        const char *url, *says;
    } bad[] = {{"", "AMQP_URL"},
               {"http://host:1", "amqp://"},
               {"amqp://a:hunter2@host:port/", "cannot be read"},
               {"amqp://a:hunter2@host/v?heartbeat=3", "amqp_..."},
               {"amqp://guest:guest@one,amqp:/x:hunter2@two", "address 2"}};
    struct rig r;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct assay_err err = {0};
        void *self = NULL;
        rig_names(&r);
        sh_option(&r.h, "amqp_url", bad[i].url);
        assert_int_equal(assay_plugin.init(&r.h.host, &self, &err), ASSAY_E_CONFIG);
        if (!strstr(err.msg, bad[i].says) || strstr(err.msg, "hunter2"))
            fail_msg("%s: %s", bad[i].url, err.msg);
    }
    struct assay_err err = {0};
    void *self = NULL;
    rig_names(&r);
    sh_option(&r.h, "amqp_dead_queue", r.queue);
    assert_int_equal(assay_plugin.init(&r.h.host, &self, &err), ASSAY_E_CONFIG);
    assert_non_null(strstr(err.msg, "three queues"));
    rig_names(&r);
    (void)snprintf(r.url, sizeof r.url, "amqp://guest:hunter2@127.0.0.1:%d", server_port());
    rig_up(&r);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) != 0 && strstr(err.msg, "the user or the password"));
    rig_down(&r);
    (void)snprintf(r.url, sizeof r.url, "amqp://guest:guest@127.0.0.1:%d/nowhere", server_port());
    rig_up(&r);
    UNTIL(&r, r.br.ops->health(r.br.self, &err) != 0 && strstr(err.msg, "vhost"));
    rig_down(&r);
    /* the second of two addresses is tried too, and a slash at the end is the vhost that is always there */
    (void)snprintf(r.url, sizeof r.url, "amqp://guest:guest@127.0.0.1:1, amqp://guest:guest@127.0.0.1:%d/", server_port());
    rig_up(&r);
    sent(&r, ASSAY_CHANNEL_WORK, "a", "a", "", ASSAY_OK);
    rig_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_received_and_acknowledged),
        cmocka_unit_test(equal_tasks_without_an_id_are_two_and_each_stays_one),
        cmocka_unit_test(an_id_and_its_body_name_a_message),
        cmocka_unit_test(without_stamps_a_repeated_message_is_a_new_one),
        cmocka_unit_test(no_more_than_asked_for_are_unsettled),
        cmocka_unit_test(a_busy_receiver_is_asked_again),
        cmocka_unit_test(again_comes_after_a_while),
        cmocka_unit_test(a_dead_letter_says_why_and_may_be_put_back),
        cmocka_unit_test(a_cut_connection_loses_what_is_unsettled_and_it_comes_again),
        cmocka_unit_test(a_silent_server_is_noticed_by_its_heartbeat),
        cmocka_unit_test(what_is_published_is_there),
        cmocka_unit_test(what_can_never_be_published_is_gone),
        cmocka_unit_test(a_server_that_is_away_is_waited_for_and_then_said),
        cmocka_unit_test(a_queue_with_other_arguments_is_used_as_it_is),
        cmocka_unit_test(a_removed_queue_is_made_again),
        cmocka_unit_test(quorum_queues_count_deliveries),
        cmocka_unit_test(after_quiet_nothing_more_is_taken),
        cmocka_unit_test(results_are_consumed_beside_work),
        cmocka_unit_test(tls_is_checked),
        cmocka_unit_test(a_wrong_address_is_said_without_its_password),
    };
    if (getenv("CMOCKA_TEST_FILTER"))
        cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    return cmocka_run_group_tests_name("broker_amqp", tests, NULL, NULL);
}
