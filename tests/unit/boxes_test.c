/* The server's side of the boxkeeper's socket, against a boxkeeper played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <assay/value.h>

#include "gateway/boxes.h"

struct world {
    int control; /* the supervisor's side */
    int child;
    struct assay_boxes *boxes;
    atomic_int lost;
};

static void lost(void *arg)
{
    struct world *w = arg;
    atomic_fetch_add(&w->lost, 1);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    int pair[2];
    struct assay_err err;
    assert_non_null(w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    w->control = pair[0];
    w->child = pair[1];
    assert_int_equal(assay_boxes_new(w->child, lost, w, &w->boxes, &err), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    assay_boxes_free(w->boxes);
    if (w->control >= 0)
        close(w->control);
    close(w->child);
    free(w);
    return 0;
}

/* As the supervisor: a fresh pair; gives the boxkeeper's end. */
static int introduce(struct world *w)
{
    int pair[2];
    struct assay_bk_packet peer = {.type = ASSAY_BK_PEER};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(assay_bk_send(w->control, &peer, pair[0], NULL), 0);
    close(pair[0]);
    return pair[1];
}

static void wait_connected(struct world *w, bool yes)
{
    for (int i = 0; i < 2000 && assay_boxes_connected(w->boxes) != yes; i++)
        (void)usleep(1000);
    assert_int_equal(assay_boxes_connected(w->boxes), yes);
}

struct asker {
    struct world *w;
    pthread_t thread;
    enum assay_bk_type what; /* OPEN or another */
    int64_t timeout_ms;
    int rc, fd;
    struct assay_err err;
    struct assay_buf text;
};

static void *ask(void *arg)
{
    struct asker *a = arg;
    a->fd = -1;
    if (a->what == ASSAY_BK_OPEN)
        a->rc = assay_boxes_open(a->w->boxes, ASSAY_STR("native"), ASSAY_STR("debian:12"), a->timeout_ms, &a->fd, &a->text, &a->err);
    else
        a->rc = assay_boxes_ask(a->w->boxes, a->what, a->timeout_ms, &a->text, &a->err);
    return NULL;
}

static void begin(struct asker *a, struct world *w, enum assay_bk_type what, int64_t timeout_ms)
{
    memset(a, 0, sizeof *a);
    a->w = w;
    a->what = what;
    a->timeout_ms = timeout_ms;
    assert_int_equal(pthread_create(&a->thread, NULL, ask, a), 0);
}

static void end(struct asker *a)
{
    assert_int_equal(pthread_join(a->thread, NULL), 0);
}

static unsigned char buf[ASSAY_BK_PACKET_MAX];

static struct assay_bk_packet expect(int sock, enum assay_bk_type type)
{
    struct assay_bk_packet p;
    int fd = -1;
    assert_int_equal(assay_bk_recv(sock, buf, sizeof buf, &p, &fd, NULL), 0);
    assert_int_equal(p.type, type);
    assert_int_equal(fd, -1);
    return p;
}

static void reply(int sock, enum assay_bk_type type, uint64_t request, int status, const char *text, int fd)
{
    struct assay_bk_packet p = {
        .type = (uint16_t)(type | ASSAY_BK_REPLY), .request = request, .status = status, .text = assay_str(text)};
    assert_int_equal(assay_bk_send(sock, &p, fd, NULL), 0);
}

static void an_open_brings_a_stream(void **state)
{
    struct world *w = *state;
    struct asker a;
    int keeper = introduce(w), stream[2];
    wait_connected(w, true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
    begin(&a, w, ASSAY_BK_OPEN, 5000);
    struct assay_bk_packet p = expect(keeper, ASSAY_BK_OPEN);
    assert_true(assay_str_is(p.text, "native\ndebian:12"));
    reply(keeper, ASSAY_BK_OPEN, p.request, 0, "{\"driver\":\"native\"}", stream[1]);
    close(stream[1]);
    end(&a);
    assert_int_equal(a.rc, 0);
    assert_string_equal(a.text.p, "{\"driver\":\"native\"}");
    assay_buf_free(&a.text);
    assert_int_equal(write(a.fd, "x", 1), 1);
    char c;
    assert_int_equal(read(stream[0], &c, 1), 1);
    close(a.fd);
    close(stream[0]);
    close(keeper);
}

static void a_refusal_and_an_answer_without_a_stream_are_errors(void **state)
{
    struct world *w = *state;
    struct asker a;
    int keeper = introduce(w);
    begin(&a, w, ASSAY_BK_OPEN, 5000);
    reply(keeper, ASSAY_BK_OPEN, expect(keeper, ASSAY_BK_OPEN).request, ASSAY_E_UNSUPPORTED, "no such driver", -1);
    end(&a);
    assert_int_equal(a.rc, ASSAY_E_UNSUPPORTED);
    assert_string_equal(a.err.msg, "no such driver");
    begin(&a, w, ASSAY_BK_OPEN, 5000);
    reply(keeper, ASSAY_BK_OPEN, expect(keeper, ASSAY_BK_OPEN).request, 0, "", -1);
    end(&a);
    assert_int_equal(a.rc, ASSAY_E_CORRUPT);
    close(keeper);
    /* names that would break the form of the request never leave */
    static const struct assay_str bad[] = {ASSAY_STR("a\nb"), ASSAY_STR("a\0b")};
    for (size_t i = 0; i < 2; i++) {
        int fd;
        assert_int_equal(assay_boxes_open(w->boxes, bad[i], ASSAY_STR(""), 1, &fd, NULL, &a.err), ASSAY_E_INVALID);
        assert_int_equal(assay_boxes_open(w->boxes, ASSAY_STR(""), bad[i], 1, &fd, NULL, &a.err), ASSAY_E_INVALID);
    }
}

static void replies_find_their_callers_in_any_order(void **state)
{
    struct world *w = *state;
    enum { N = 8 };
    struct asker a[N];
    uint64_t id[N];
    int keeper = introduce(w);
    for (int i = 0; i < N; i++) {
        begin(&a[i], w, i % 2 ? ASSAY_BK_INFO : ASSAY_BK_DOCTOR, 5000);
        id[i] = expect(keeper, a[i].what).request;
    }
    for (int i = N - 1; i >= 0; i--) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        reply(keeper, a[i].what, id[i] + 1000, 0, "nobody's", -1); /* unknown: dropped */
        reply(keeper, ASSAY_BK_METRICS, id[i], 0, "of another kind", -1);
        reply(keeper, a[i].what, id[i], 0, text, -1);
    }
    for (int i = 0; i < N; i++) {
        end(&a[i]);
        assert_int_equal(a[i].rc, 0);
        assert_int_equal(strtol(a[i].text.p, NULL, 10), i);
        assay_buf_free(&a[i].text);
    }
    close(keeper);
}

static void a_call_survives_the_boxkeepers_restart(void **state)
{
    struct world *w = *state;
    struct asker before, during;
    /* one that waits from before there is any, one whose boxkeeper dies under it */
    begin(&before, w, ASSAY_BK_INFO, 5000);
    int keeper = introduce(w);
    (void)expect(keeper, ASSAY_BK_INFO);
    begin(&during, w, ASSAY_BK_DOCTOR, 5000);
    (void)expect(keeper, ASSAY_BK_DOCTOR);
    close(keeper);
    wait_connected(w, false);
    keeper = introduce(w);
    for (int i = 0; i < 2; i++) {
        struct assay_bk_packet p;
        int fd;
        assert_int_equal(assay_bk_recv(keeper, buf, sizeof buf, &p, &fd, NULL), 0);
        reply(keeper, p.type, p.request, 0, "{}", -1);
    }
    end(&before);
    end(&during);
    assert_int_equal(before.rc, 0);
    assert_int_equal(during.rc, 0);
    assert_string_equal(during.text.p, "{}");
    assay_buf_free(&before.text);
    assay_buf_free(&during.text);
    close(keeper);
}

static void a_time_out_is_kept_and_a_late_stream_is_closed(void **state)
{
    struct world *w = *state;
    struct asker a;
    int stream[2];
    int64_t start = assay_mono_ns();
    begin(&a, w, ASSAY_BK_OPEN, 50);
    end(&a);
    assert_int_equal(a.rc, ASSAY_E_TIMEOUT);
    assert_string_equal(a.err.msg, "there is no boxkeeper at present");
    assert_in_range(assay_mono_ns() - start, 45000000, 2000000000);
    int keeper = introduce(w);
    begin(&a, w, ASSAY_BK_OPEN, 50);
    uint64_t id = expect(keeper, ASSAY_BK_OPEN).request;
    end(&a);
    assert_int_equal(a.rc, ASSAY_E_TIMEOUT);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
    reply(keeper, ASSAY_BK_OPEN, id, 0, "", stream[1]);
    close(stream[1]);
    char c;
    assert_int_equal(read(stream[0], &c, 1), 0); /* the other end has gone: the warden would exit */
    close(stream[0]);
    close(keeper);
}

static void garbage_is_dropped(void **state)
{
    struct world *w = *state;
    struct asker a;
    int keeper = introduce(w);
    wait_connected(w, true);
    assert_int_equal(send(keeper, "garbage", 7, MSG_NOSIGNAL), 7);
    begin(&a, w, ASSAY_BK_INFO, 5000);
    struct assay_bk_packet p = expect(keeper, ASSAY_BK_INFO);
    assert_int_equal(send(keeper, "more garbage, of a good length for a head", 41, MSG_NOSIGNAL), 41);
    reply(keeper, ASSAY_BK_INFO, p.request, 0, "ok", -1);
    end(&a);
    assert_int_equal(a.rc, 0);
    assay_buf_free(&a.text);
    close(keeper);
}

static void the_supervisors_end_is_told_once(void **state)
{
    struct world *w = *state;
    struct asker a;
    int keeper = introduce(w);
    wait_connected(w, true);
    close(w->control);
    w->control = -1;
    for (int i = 0; i < 2000 && atomic_load(&w->lost) == 0; i++)
        (void)usleep(1000);
    /* what was under way may still end */
    begin(&a, w, ASSAY_BK_INFO, 5000);
    reply(keeper, ASSAY_BK_INFO, expect(keeper, ASSAY_BK_INFO).request, 0, "", -1);
    end(&a);
    assay_buf_free(&a.text);
    assert_int_equal(a.rc, 0);
    assert_int_equal(atomic_load(&w->lost), 1);
    close(keeper);
}

static void the_end_releases_who_waits(void **state)
{
    struct world *w = *state;
    struct asker a;
    int keeper = introduce(w);
    begin(&a, w, ASSAY_BK_INFO, 60000);
    (void)expect(keeper, ASSAY_BK_INFO);
    assay_boxes_stop(w->boxes);
    end(&a);
    assert_int_equal(a.rc, ASSAY_E_GONE);
    close(keeper);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_open_brings_a_stream),
        CASE(a_refusal_and_an_answer_without_a_stream_are_errors),
        CASE(replies_find_their_callers_in_any_order),
        CASE(a_call_survives_the_boxkeepers_restart),
        CASE(a_time_out_is_kept_and_a_late_stream_is_closed),
        CASE(garbage_is_dropped),
        CASE(the_supervisors_end_is_told_once),
        CASE(the_end_releases_who_waits),
    };
    return cmocka_run_group_tests_name("boxes", tests, NULL, NULL);
}
