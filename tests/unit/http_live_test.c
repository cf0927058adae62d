/*
 * The HTTP front as it runs: loops, a worker pool and TCP, for what needs time or threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <assay/value.h>

#include "http_rig.h"

static struct fixture *server_make(struct assay_front_config cfg)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    struct assay_err err;
    f->fd = -1;
    f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listen_fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(f->listen_fd, 512), 0);
    assert_int_equal(getsockname(f->listen_fd, (struct sockaddr *)&a, &n), 0);
    f->port = ntohs(a.sin_port);
    f->app.pool = assay_pool_new(4, 1024, 0, &err);
    assert_non_null(f->app.pool);
    cfg.listen_fds = &f->listen_fd;
    cfg.n_listen_fds = 1;
    front_make(f, cfg);
    assert_int_equal(assay_front_start(f->app.front, &err), 0);
    return f;
}

static void server_unmake(struct fixture *f)
{
    int fd = f->listen_fd;
    front_unmake(f);
    (void)close(fd);
}

static int client(const struct fixture *f, int timeout_ms)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads one answer by its Content-Length; its status, 0 for EOF before it, -1 for a time-out. */
static int one_answer(int fd, char *out, size_t room)
{
    size_t n = 0;
    char *end = NULL;
    while (n < room - 1) {
        ssize_t got = recv(fd, out + n, 1, 0);
        if (got <= 0)
            return got == 0 ? 0 : -1;
        out[++n] = 0;
        end = strstr(out, "\r\n\r\n");
        if (end)
            break;
    }
    const char *length = strstr(out, "Content-Length: ");
    size_t left = length ? strtoul(length + 16, NULL, 10) : 0;
    while (left) {
        char sink[65536];
        size_t want = left < sizeof sink ? left : sizeof sink;
        ssize_t got = recv(fd, sink, want, 0);
        if (got <= 0)
            return -1;
        left -= (size_t)got;
        if (n + (size_t)got < room) {
            memcpy(out + n, sink, (size_t)got);
            n += (size_t)got;
            out[n] = 0;
        }
    }
    return status_of(out);
}

static bool closes_within(int fd)
{
    char sink[4096];
    ssize_t n;
    while ((n = recv(fd, sink, sizeof sink, 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

struct hammer {
    struct fixture *f;
    unsigned rounds;
    atomic_uint *good;
};

static void *hammer_run(void *arg)
{
    struct hammer *h = arg;
    static const char *const path[] = {"/hello", "/hello-worker", "/defer", "/defer-worker", "/me/x"};
    struct assay_buf t = ASSAY_BUF_INIT, text = ASSAY_BUF_INIT;
    struct assay_err err;
    char answer[2048];
    assert_int_equal(assay_gate_sign(h->f->gate, ASSAY_STR(USER), ASSAY_STR("user"), 1, 600, &t, &err), 0);
    int fd = client(h->f, 10000);
    for (unsigned i = 0; i < h->rounds; i++) {
        assay_buf_reset(&text);
        assay_buf_fmt(&text, "GET %s HTTP/1.1\r\n" HOST "Authorization: Bearer %s\r\n\r\n", path[i % 5], t.p);
        (void)!send(fd, text.p, text.n, MSG_NOSIGNAL);
        int status = one_answer(fd, answer, sizeof answer);
        if (status == (i % 5 == 2 || i % 5 == 3 ? 202 : 200))
            atomic_fetch_add(h->good, 1);
        if (i % 37 == 36) { /* go away in the middle of one */
            (void)!send(fd, text.p, text.n, MSG_NOSIGNAL);
            (void)close(fd);
            fd = client(h->f, 10000);
        }
        if (i % 50 == 49)
            assay_gate_account_changed(h->f->gate, ASSAY_STR(USER));
    }
    (void)close(fd);
    assay_buf_free(&t);
    assay_buf_free(&text);
    return NULL;
}

static void many_clients_all_get_their_answers(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 2});
    pthread_t thread[8];
    atomic_uint good = 0;
    struct hammer h = {f, 300, &good};
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, hammer_run, &h), 0);
    for (size_t i = 0; i < 8; i++)
        (void)pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&good), 8 * 300);
    server_unmake(f);
}

static void a_large_answer_arrives_whole(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1});
    char answer[1024];
    int fd = client(f, 5000);
    for (int i = 0; i < 3; i++) {
        say(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
        (void)usleep(50 * 1000); /* let the socket fill */
        assert_int_equal(one_answer(fd, answer, sizeof answer), 200);
    }
    (void)close(fd);
    server_unmake(f);
}

static size_t open_now(struct fixture *f)
{
    struct assay_front_stats st;
    assay_front_stats(f->app.front, &st);
    return st.connections_open;
}

/* Many who ask for the same bytes of the server's own and take none cost no memory, so none of them is given up; answers that were
 * made for each of them do, and some are. */
static void who_is_slow_to_take_what_is_fixed_costs_no_memory(void **state)
{
    (void)state;
    enum { CLIENTS = 12 };
    struct fixture *f = server_make((struct assay_front_config){.loops = 1, .unsent_max = (size_t)4 << 20});
    char answer[70000];
    int fd[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        fd[i] = client(f, 5000);
        say(fd[i], "GET /fixed HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\nGET /fixed HTTP/1.1\r\n" HOST "\r\n"
                   "GET /fixed HTTP/1.1\r\n" HOST "If-None-Match: *\r\n\r\nHEAD /fixed HTTP/1.1\r\n" HOST "\r\n");
    }
    (void)usleep(1500 * 1000); /* the wheel would have come to those that are given up */
    assert_int_equal(open_now(f), CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(one_answer(fd[i], answer, sizeof answer), 200);
        assert_non_null(strstr(answer, "Content-Type: application/json\r\n"));
        assert_non_null(strstr(answer, "\r\n\r\nffff"));
        assert_int_equal(one_answer(fd[i], answer, sizeof answer), 200);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(one_answer(fd[i], answer, sizeof answer), 200);
            assert_non_null(strstr(answer, "\r\n\r\nffff"));
        }
        (void)close(fd[i]); /* with the head of the last one unread */
    }
    for (int i = 0; i < 50 && open_now(f) != 0; i++)
        (void)usleep(100 * 1000);
    assert_int_equal(open_now(f), 0);
    /* nothing of them is counted any more: one large answer still finds its place, many do not */
    fd[0] = client(f, 5000);
    say(fd[0], "GET /fixed HTTP/1.1\r\n" HOST "\r\nGET /big HTTP/1.1\r\n" HOST "\r\n");
    (void)usleep(1000 * 1000);
    assert_int_equal(one_answer(fd[0], answer, sizeof answer), 200);
    (void)usleep(1000 * 1000);
    assert_int_equal(one_answer(fd[0], answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "\r\n\r\nxxxx"));
    (void)close(fd[0]);
    for (size_t i = 0; i < CLIENTS; i++) {
        fd[i] = client(f, 5000);
        say(fd[i], "GET /big HTTP/1.1\r\n" HOST "\r\nGET /big HTTP/1.1\r\n" HOST "\r\n");
    }
    for (int i = 0; i < 50 && open_now(f) >= CLIENTS; i++)
        (void)usleep(100 * 1000);
    assert_true(open_now(f) < CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++)
        (void)close(fd[i]);
    server_unmake(f);
}

static void slow_clients_meet_absolute_deadlines(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1,
                                                                .header_deadline_ms = 400,
                                                                .body_grace_ms = 400,
                                                                .body_min_rate = 1000000,
                                                                .answer_deadline_ms = 300,
                                                                .idle_ms = 300});
    char answer[2048];
    /* a byte now and then: the deadline does not restart with it */
    int head = client(f, 3000), body = client(f, 3000), silent = client(f, 3000), idle = client(f, 3000), late = client(f, 3000),
        reader = client(f, 3000);
    int64_t begun = assay_mono_ns();
    say(body, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3000\r\n\r\n");
    say(idle, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(one_answer(idle, answer, sizeof answer), 200);
    say(late, "GET /keep HTTP/1.1\r\n" HOST "X-Request-Id: late-one\r\n\r\n");
    for (int i = 0; i < 20; i++)
        say(reader, "GET /big HTTP/1.1\r\n" HOST "\r\n"); /* and does not read */
    for (int i = 0; i < 12; i++) {
        (void)!send(head, i == 0 ? "GET /hello HTTP/1.1\r\n" : "X: y\r\n", i == 0 ? 21 : 6, MSG_NOSIGNAL);
        (void)!send(body, "a", 1, MSG_NOSIGNAL);
        (void)usleep(100 * 1000);
    }
    assert_int_equal(one_answer(head, answer, sizeof answer), 408);
    assert_int_equal(one_answer(body, answer, sizeof answer), 408);
    assert_int_equal(one_answer(late, answer, sizeof answer), 504);
    assert_non_null(strstr(answer, "late-one"));
    assert_true(closes_within(head) && closes_within(body) && closes_within(silent) && closes_within(idle) && closes_within(late));
    assert_true(assay_mono_ns() - begun < INT64_C(4000000000));
    /* 60 MB at 1 MB/s were asked for and nothing was read: grace and what the rate allows for what was unsent */
    struct assay_front_stats st;
    for (int i = 0; i < 60; i++) {
        assay_front_stats(f->app.front, &st);
        if (st.connections_open == 0)
            break;
        (void)usleep(100 * 1000);
    }
    assert_int_equal(st.connections_open, 0);
    assert_true(st.timeouts >= 4);
    int fds[] = {head, body, silent, idle, late, reader};
    for (size_t i = 0; i < 6; i++)
        (void)close(fds[i]);
    struct assay_response rs = {.status = 200};
    assay_front_resume(f->app.front, f->app.kept, 0, &rs, NULL);
    server_unmake(f);
}

static void connections_are_bounded(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1, .connections_max = 4});
    char answer[2048];
    int fd[5];
    for (size_t i = 0; i < 4; i++) {
        fd[i] = client(f, 3000);
        say(fd[i], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(one_answer(fd[i], answer, sizeof answer), 200);
    }
    fd[4] = client(f, 3000);
    assert_int_equal(one_answer(fd[4], answer, sizeof answer), 503);
    assert_non_null(strstr(answer, "Retry-After: 1\r\n"));
    assert_true(closes_within(fd[4]));
    (void)close(fd[4]);
    (void)close(fd[0]);
    (void)usleep(100 * 1000);
    fd[0] = client(f, 3000);
    say(fd[0], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(one_answer(fd[0], answer, sizeof answer), 200);
    for (size_t i = 0; i < 4; i++)
        (void)close(fd[i]);
    server_unmake(f);
}

static void a_long_stream_meets_its_reader(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1});
    static char sink[1 << 16];
    struct assay_front_stats st;
    for (int round = 0; round < 3; round++) {
        size_t got = 0;
        int fd = client(f, 10000);
        say(fd, "GET /pour HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
        for (ssize_t n; (n = recv(fd, sink, sizeof sink, 0)) > 0;) {
            got += (size_t)n;
            if (round == 1 && got > (4 << 20))
                break; /* goes away in the middle */
            if (round == 2 && got < (1 << 20))
                (void)usleep(2000);
        }
        (void)close(fd);
        if (round != 1)
            assert_true(got > STREAMED && got < STREAMED + 16384);
    }
    for (int i = 0; i < 200; i++) {
        assay_front_stats(f->app.front, &st);
        if (st.requests_waiting == 0)
            break;
        (void)usleep(10 * 1000);
    }
    assert_int_equal(st.requests_waiting, 0);
    server_unmake(f);
}

static void draining_ends_streams_that_would_not_end(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1});
    atomic_uint writable = 0;
    static char sink[4096];
    int fd = client(f, 3000);
    say(fd, "GET /events HTTP/1.1\r\n" HOST "\r\n");
    (void)usleep(100 * 1000);
    stream_open(f, "x", &writable);
    (void)usleep(100 * 1000);
    assert_int_equal(assay_front_drain(f->app.front, 100), 1);
    assert_int_equal(atomic_load(&writable), 1);
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, "y", 1, 0), ASSAY_E_GONE);
    assay_front_stream_end(f->app.front, f->app.kept, 0);
    size_t n = 0;
    for (ssize_t got; n < sizeof sink - 1 && (got = recv(fd, sink + n, sizeof sink - 1 - n, 0)) > 0;)
        n += (size_t)got;
    sink[n] = 0;
    assert_non_null(strstr(sink, "1\r\nx\r\n0\r\n\r\n")); /* whole, so the client knows that it may come back */
    (void)close(fd);
    assert_int_equal(assay_front_drain(f->app.front, 3000), 0);
    server_unmake(f);
}

struct under_load {
    struct fixture *f;
    atomic_uint asked, whole, torn;
};

static void *load_run(void *arg)
{
    struct under_load *u = arg;
    char answer[2048];
    for (;;) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)u->f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct timeval tv = {5, 0};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
            (void)close(fd);
            return NULL;
        }
        for (int i = 0; i < 1000000; i++) {
            const char *text = i % 2 ? "GET /hello HTTP/1.1\r\n" HOST "\r\n" : "GET /defer HTTP/1.1\r\n" HOST "\r\n";
            if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
                break;
            atomic_fetch_add(&u->asked, 1);
            answer[0] = 0;
            status = one_answer(fd, answer, sizeof answer);
            if (status == 200 || status == 202)
                atomic_fetch_add(&u->whole, 1);
            else if (answer[0])
                atomic_fetch_add(&u->torn, 1); /* half an answer */
            if (status <= 0 || strstr(answer, "Connection: close\r\n"))
                break;
        }
        (void)close(fd);
        if (status <= 0 || strstr(answer, "Connection: close\r\n"))
            return NULL;
    }
}

static void draining_under_load_tears_no_answer(void **state)
{
    (void)state;
    struct under_load u = {.f = server_make((struct assay_front_config){.loops = 2})};
    pthread_t thread[8];
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, load_run, &u), 0);
    (void)usleep(300 * 1000);
    assert_int_equal(assay_front_drain(u.f->app.front, 5000), 0);
    /* what waits in the kernel's backlog was never accepted: nothing is lost with it */
    (void)shutdown(u.f->listen_fd, SHUT_RDWR);
    for (size_t i = 0; i < 8; i++)
        (void)pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&u.torn), 0);
    assert_true(atomic_load(&u.whole) > 100);
    server_unmake(u.f);
}

static void draining_finishes_what_is_under_way(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 2});
    char answer[2048];
    int idle = client(f, 3000), busy = client(f, 3000);
    say(idle, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(one_answer(idle, answer, sizeof answer), 200);
    say(busy, "GET /slow HTTP/1.1\r\n" HOST "\r\n");
    (void)usleep(100 * 1000);
    assert_int_equal(assay_front_drain(f->app.front, 50), 1); /* the time is up before it is over */
    assert_true(closes_within(idle));
    assert_int_equal(one_answer(busy, answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "Connection: close\r\n"));
    assert_true(closes_within(busy));
    (void)close(busy);
    assert_int_equal(assay_front_drain(f->app.front, 3000), 0);
    (void)close(idle);
    server_unmake(f);
}

static void pipelining_does_not_starve_others(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1, .pipelined_max = 8});
    char answer[2048];
    int greedy = client(f, 10000), modest = client(f, 10000);
    struct assay_buf b = ASSAY_BUF_INIT;
    for (int i = 0; i < 2000; i++)
        assay_buf_puts(&b, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(send(greedy, b.p, b.n, 0), b.n);
    say(modest, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(one_answer(modest, answer, sizeof answer), 200);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(one_answer(greedy, answer, sizeof answer), 200);
    assay_buf_free(&b);
    (void)close(greedy);
    (void)close(modest);
    server_unmake(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_stream_meets_its_reader),
        cmocka_unit_test(draining_ends_streams_that_would_not_end),
        cmocka_unit_test(draining_under_load_tears_no_answer),
        cmocka_unit_test(many_clients_all_get_their_answers),
        cmocka_unit_test(a_large_answer_arrives_whole),
        cmocka_unit_test(who_is_slow_to_take_what_is_fixed_costs_no_memory),
        cmocka_unit_test(slow_clients_meet_absolute_deadlines),
        cmocka_unit_test(connections_are_bounded),
        cmocka_unit_test(draining_finishes_what_is_under_way),
        cmocka_unit_test(pipelining_does_not_starve_others),
    };
    return cmocka_run_group_tests_name("http_live", tests, NULL, NULL);
}
