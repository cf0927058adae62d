/*
 * The HTTP front against raw bytes, by hand: a front without threads over a socketpair, turned until it has nothing
 * more to do, so that every fragmentation of a request can be tried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/proxies.h"
#include "http_rig.h"

struct raw {
    const char *what, *text;
    size_t n; /* 0: strlen */
    int status;
};
#define RAW(what, text, status) {what, text, sizeof(text) - 1, status}
#define POST_HEAD "POST /echo HTTP/1.1\r\n" HOST

/* Refused, and the connection closed behind it: nobody knows where the next request would begin. */
static const struct raw refused[] = {
    RAW("two Content-Length", POST_HEAD "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    RAW("two equal Content-Length", POST_HEAD "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    RAW("CL list", POST_HEAD "Content-Length: 3, 3\r\n\r\nabc", 400),
    RAW("CL and TE", POST_HEAD "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    RAW("TE and CL", POST_HEAD "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    RAW("space before colon", POST_HEAD "Content-Length : 3\r\n\r\nabc", 400),
    RAW("tab before colon", POST_HEAD "Content-Length\t: 3\r\n\r\nabc", 400),
    RAW("CL +3", POST_HEAD "Content-Length: +3\r\n\r\nabc", 400),
    RAW("CL -1", POST_HEAD "Content-Length: -1\r\n\r\nabc", 400),
    RAW("CL 0x3", POST_HEAD "Content-Length: 0x3\r\n\r\nabc", 400),
    RAW("CL vertical tab", POST_HEAD "Content-Length: \v3\r\n\r\nabc", 400),
    RAW("CL empty", POST_HEAD "Content-Length: \r\n\r\n", 400),
    RAW("CL 1 2", POST_HEAD "Content-Length: 1 2\r\n\r\nab", 400),
    RAW("CL too long", POST_HEAD "Content-Length: 99999999999999999999\r\n\r\n", 413),
    RAW("CL 2^63", POST_HEAD "Content-Length: 9223372036854775808\r\n\r\n", 413),
    RAW("TE gzip, chunked", POST_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    RAW("TE chunked, identity", POST_HEAD "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    RAW("TE xchunked", POST_HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    RAW("TE twice", POST_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    RAW("TE identity", POST_HEAD "Transfer-Encoding: identity\r\n\r\n", 400),
    RAW("TE on 1.0", "POST /echo HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    RAW("chunk 0x3", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk +3", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk space", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk -1", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk too big", POST_HEAD "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk without CRLF", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd0\r\n\r\n", 400),
    RAW("chunk bare LF", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400),
    RAW("NUL in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\0b\r\n\r\n", 400),
    RAW("NUL in the target", "GET /hel\0lo HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("bare CR in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\rb\r\n\r\n", 400),
    RAW("bell in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: \a\r\n\r\n", 400),
    RAW("DEL in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: \x7f\r\n\r\n", 400),
    RAW("obs-fold", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\r\n b\r\n\r\n", 400),
    RAW("obs-fold with tab", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\r\n\tb\r\n\r\n", 400),
    RAW("obs-fold of the first header", "GET /hello HTTP/1.1\r\n X-A: a\r\n" HOST "\r\n", 400),
    RAW("bare LF lines", "GET /hello HTTP/1.1\nHost: a\n\n", 400),
    RAW("one bare LF", "GET /hello HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n", 400),
    RAW("bare LF at the end", "GET /hello HTTP/1.1\r\nHost: a\r\n\n", 400),
    RAW("space in a name", "GET /hello HTTP/1.1\r\n" HOST "X A: b\r\n\r\n", 400),
    RAW("empty name", "GET /hello HTTP/1.1\r\n" HOST ": b\r\n\r\n", 400),
    RAW("no colon", "GET /hello HTTP/1.1\r\n" HOST "nothing\r\n\r\n", 400),
    RAW("byte over 0x7f in a name", "GET /hello HTTP/1.1\r\n" HOST "X-\xc3\xa4: b\r\n\r\n", 400),
    RAW("no Host", "GET /hello HTTP/1.1\r\n\r\n", 400),
    RAW("two Hosts", "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    RAW("empty Host", "GET /hello HTTP/1.1\r\nHost: \r\n\r\n", 400),
    RAW("Host with a path", "GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    RAW("Host with a user", "GET /hello HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    RAW("Host list", "GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    RAW("two Authorization", "GET /hello HTTP/1.1\r\n" HOST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
    RAW("two Content-Type", POST_HEAD "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", 400),
    RAW("raw space in the target", "GET /hel lo HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("0xff in the target", "GET /\xff HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("fragment in the target", "GET /hello#a HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("backslash in the target", "GET \\hello HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("backslash in the path", "GET /hello\\a HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("absolute form", "GET http://assay.test/hello HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("authority form", "GET assay.test:80 HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("asterisk with GET", "GET * HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("encoded NUL", "GET /hello%00 HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("encoded slash", "GET /show%2fa HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("broken escape", "GET /show/%zz HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("not UTF-8", "GET /show/%ff HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("HTTP/1.9", "GET /hello HTTP/1.9\r\n" HOST "\r\n", 505),
    RAW("HTTP/2.0", "GET /hello HTTP/2.0\r\n" HOST "\r\n", 505),
    RAW("HTTP/0.9", "GET /hello HTTP/0.9\r\n" HOST "\r\n", 505),
    RAW("HTTP/3", "GET /hello HTTP/3\r\n" HOST "\r\n", 505),
    RAW("no version", "GET /hello\r\n\r\n", 505),
    RAW("HTP", "GET /hello HTP/1.1\r\n" HOST "\r\n", 400),
    RAW("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    RAW("garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    RAW("lower-case method", "get /hello HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("made-up method", "BREW /hello HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("TRACE", "TRACE /hello HTTP/1.1\r\n" HOST "\r\n", 501),
    RAW("PROPFIND", "PROPFIND /hello HTTP/1.1\r\n" HOST "\r\n", 501),
    RAW("CONNECT", "CONNECT assay.test:443 HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("gzip body", POST_HEAD "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415),
    RAW("strange expectation", POST_HEAD "Expect: a-miracle\r\nContent-Length: 3\r\n\r\nabc", 417),
};

static void what_smuggling_is_made_of_is_refused(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        for (size_t step = 1; step <= refused[i].n; step = step < 4 ? step + 1 : step * 4) {
            hand_connect(f);
            unsigned before = atomic_load(&f->app.handled);
            hand_send(f, refused[i].text, refused[i].n, step, &g);
            if (status_of(g.text) != refused[i].status || !g.closed || nth_answer(g.text, 1))
                fail_msg("%s in steps of %zu: %s, answered: %s", refused[i].what, step, g.closed ? "closed" : "open", g.text);
            assert_int_equal(atomic_load(&f->app.handled), before);
            assert_has(&g, "Connection: close\r\n");
            assert_has(&g, "application/problem+json");
        }
}

static const struct raw taken[] = {
    RAW("plain", "GET /hello HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("a CRLF before", "\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("spaces around a value", "GET /hello HTTP/1.1\r\nHost: \t assay.test \t \r\n\r\n", 200),
    RAW("empty value", "GET /hello HTTP/1.1\r\n" HOST "X-Empty:\r\nX-Odd: \r\n\r\n", 200),
    RAW("tab in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\tb\r\n\r\n", 200),
    RAW("UTF-8 in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: \xc3\xa4\r\n\r\n", 200),
    RAW("HEAD", "HEAD /hello HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("query", "GET /hello?a=b&c={d} HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("escapes", "GET /h%65llo HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("body", POST_HEAD "Content-Length: 3\r\n\r\nabc", 201),
    RAW("no body", POST_HEAD "\r\n", 201),
    RAW("chunks", POST_HEAD "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nX-Trailer: t\r\n\r\n", 201),
    RAW("upgrade that we do not take", "GET /hello HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
    RAW("unknown path", "GET /nothing HTTP/1.1\r\n" HOST "\r\n", 404),
    RAW("dots", "GET /hello/../hello HTTP/1.1\r\n" HOST "\r\n", 404),
    RAW("encoded dots", "GET /x/%2e%2e/hello HTTP/1.1\r\n" HOST "\r\n", 404),
    RAW("wrong method", "DELETE /hello HTTP/1.1\r\n" HOST "\r\n", 405),
    RAW("OPTIONS", "OPTIONS /hello HTTP/1.1\r\n" HOST "\r\n", 204),
    RAW("OPTIONS *", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 204),
    RAW("HTTP/1.0 kept", "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
};

static void sound_requests_are_answered_however_they_are_cut(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        for (size_t step = 1; step <= taken[i].n; step++) {
            /* each twice on one connection: the first must leave it sound */
            hand_connect(f);
            for (int round = 0; round < 2; round++) {
                hand_send(f, taken[i].text, taken[i].n, step, &g);
                if (status_of(g.text) != taken[i].status || g.closed || nth_answer(g.text, 1))
                    fail_msg("%s in steps of %zu: %s, answered: %s", taken[i].what, step, g.closed ? "closed" : "open", g.text);
                assert_has(&g, "X-Content-Type-Options: nosniff\r\n");
                assert_has(&g, "Cache-Control: no-store\r\n");
                assert_has(&g, "X-Request-Id: ");
                assert_has(&g, "Date: ");
                if (taken[i].status != 204)
                    assert_has(&g, "Content-Length: ");
            }
        }
}

static void answers_hold_what_was_asked(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /show/an-id?q=1 HTTP/1.1\r\n" HOST "x-ODD: seen \r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n", &g);
    assert_has(&g, "/show/an-id|q=1|an-id||seen|00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    ask(f, "GET /show/an-id HTTP/1.1\r\n" HOST "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n\r\n", &g);
    assert_has(&g, "/show/an-id||an-id|||");
    assert_lacks(&g, "b7ad6b");
    ask(f, POST_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", &g);
    assert_has(&g, "Content-Length: 6\r\n");
    assert_has(&g, "\r\n\r\nabcdef");
    ask(f, "HEAD /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_has(&g, "Content-Length: 17\r\n");
    assert_lacks(&g, "world");
    ask(f, "DELETE /echo HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_has(&g, "Allow: POST, OPTIONS\r\n");
    ask(f, "OPTIONS /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_has(&g, "Allow: GET, HEAD, OPTIONS\r\n");
    assert_lacks(&g, "Content-Length");
    ask(f, "GET /etag HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_has(&g, "Cache-Control: max-age=60\r\n");
    assert_lacks(&g, "no-store");
    ask(f, "GET /etag HTTP/1.1\r\n" HOST "If-None-Match: \"v0\", W/\"v1\"\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 304);
    assert_lacks(&g, "{}");
    ask(f, "GET /etag HTTP/1.1\r\n" HOST "If-None-Match: \"v11\"\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
}

static void request_ids_are_taken_when_sane(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "X-Request-Id: abc-DEF_1.2\r\n\r\n", &g);
    assert_has(&g, "X-Request-Id: abc-DEF_1.2\r\n");
    assert_string_equal(f->app.last_id, "abc-DEF_1.2");
    static const char *const bad[] = {"a b", "<script>", "a\"b", "0123456789012345678901234567890123456789012345678901234567890123x", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[256], needle[128];
        (void)snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\n" HOST "X-Request-Id: %s\r\n\r\n", bad[i]);
        ask(f, text, &g);
        (void)snprintf(needle, sizeof needle, "X-Request-Id: %s\r\n", bad[i]);
        assert_int_equal(status_of(g.text), 200);
        assert_lacks(&g, needle);
        assert_int_equal(strlen(f->app.last_id), 30);
    }
}

static void every_request_is_recorded_once(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /hello?token=secret HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(atomic_load(&f->app.done), 1);
    assert_string_equal(f->app.last_path, "/hello");
    assert_string_equal(f->app.last_method, "GET");
    assert_ptr_equal(f->app.last_route, f->bound[0].route);
    ask(f, "GET /none HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(atomic_load(&f->app.done), 2);
    assert_int_equal(f->app.last_status, 404);
    assert_null(f->app.last_route);
    ask(f, "nonsense\r\n\r\n", &g);
    assert_int_equal(atomic_load(&f->app.done), 3);
    assert_int_equal(f->app.last_status, 400);
    struct assay_front_stats st;
    assay_front_stats(f->app.front, &st);
    assert_int_equal(st.requests, 3);
    assert_int_equal(st.parse_errors, 1);
    assert_int_equal(st.requests_waiting, 0);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_buf b = ASSAY_BUF_INIT;
    for (int i = 0; i < 100; i++) {
        assay_buf_fmt(&b, "GET /show/n%d HTTP/1.1\r\n" HOST "\r\n", i);
        assay_buf_fmt(&b, "POST /echo-worker HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n<%03d>", i);
    }
    hand_send(f, b.p, b.n, b.n, &g);
    for (unsigned i = 0; i < 100; i++) {
        char shown[32], echoed[32];
        (void)snprintf(shown, sizeof shown, "/show/n%u||n%u|", i, i);
        (void)snprintf(echoed, sizeof echoed, "\r\n\r\n<%03u>", i);
        const char *one = nth_answer(g.text, 2 * i), *two = nth_answer(g.text, 2 * i + 1);
        assert_non_null(one);
        assert_non_null(two);
        const char *a = strstr(one, shown), *e = strstr(two, echoed);
        assert_true(a && a < two);
        assert_non_null(e);
    }
    assert_null(nth_answer(g.text, 200));
    assert_false(g.closed);
    assay_buf_free(&b);
}

static void what_follows_connection_close_is_not_read(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_true(g.closed);
    assert_null(nth_answer(g.text, 1));
    assert_has(&g, "Connection: close\r\n");
    hand_connect(f);
    ask(f, "GET /hello HTTP/1.0\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
    assert_true(g.closed);
    hand_connect(f);
    ask(f, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &g);
    assert_has(&g, "Connection: keep-alive\r\n");
    assert_false(g.closed);
}

static void a_half_closed_client_still_gets_its_answers(void **state)
{
    struct fixture *f = *state;
    static struct got g = {.n = 0};
    static const char two[] = "GET /hello-worker HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n";
    assert_int_equal(send(f->fd, two, sizeof two - 1, 0), sizeof two - 1);
    assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
    hand_read(f, &g);
    assert_non_null(nth_answer(g.text, 1));
    assert_true(g.closed);
}

static void bodies_are_refused_before_they_are_read(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static const struct raw row[] = {
        RAW("over the route's limit", POST_HEAD "Content-Length: 4097\r\n\r\n", 413),
        RAW("with an expectation", POST_HEAD "Content-Length: 4097\r\nExpect: 100-continue\r\n\r\n", 413),
        RAW("where none is taken", "GET /hello HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n", 413),
        RAW("chunked where none is taken", "GET /hello HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 413),
        RAW("not signed in", "POST /admin HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", 401),
        RAW("bad token", "POST /echo HTTP/1.1\r\n" HOST "Authorization: Bearer a.b.c\r\nContent-Length: 1000\r\n\r\n", 401),
        RAW("no such path", "POST /none HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", 404),
        RAW("no such method", "PUT /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", 405),
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        hand_connect(f);
        hand_send(f, row[i].text, row[i].n, row[i].n, &g);
        if (status_of(g.text) != row[i].status || !g.closed)
            fail_msg("%s: %s", row[i].what, g.text);
        assert_lacks(&g, "100 Continue");
    }
    assert_int_equal(atomic_load(&f->app.handled), 0);
    /* chunks that grow over the limit */
    hand_connect(f);
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_puts(&b, POST_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 17; i++)
        assay_buf_fmt(&b, "100\r\n%0256d\r\n", i);
    hand_send(f, b.p, b.n, b.n, &g);
    assert_int_equal(status_of(g.text), 413);
    assay_buf_free(&b);
}

static void chunks_that_are_nearly_all_framing_are_refused(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_puts(&b, POST_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3000; i++)
        assay_buf_puts(&b, "1;extension=0123456789\r\na\r\n");
    hand_send(f, b.p, b.n, 4096, &g);
    assert_int_equal(status_of(g.text), 400);
    assert_true(g.closed);
    assay_buf_free(&b);
}

static void heads_are_bounded(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_buf b = ASSAY_BUF_INIT;
    static const struct {
        const char *before, *unit;
        unsigned times;
        const char *after;
        int status;
    } row[] = {
        {"GET /", "aaaaaaaaaa", 2000, " HTTP/1.1\r\n" HOST "\r\n", 414},
        {"GET /hello HTTP/1.1\r\n" HOST "X-A: ", "aaaaaaaaaa", 2000, "\r\n\r\n", 431},
        {"GET /hello HTTP/1.1\r\n" HOST "X-A:", "          ", 2000, "\r\n\r\n", 431},
        {"GET /hello HTTP/1.1\r\n" HOST, "X-A: b\r\n", 101, "\r\n", 431},
        {"GET /hello HTTP/1.1\r\n" HOST, "X-A: b\r\n", 99, "\r\n", 200},
        {"GET /hello HTTP/1.1\r\n" HOST "X-A: ", "aaaaaaaaaa", 1600, "\r\n\r\n", 200},
        {"", "\r\n", 20000, "GET /hello HTTP/1.1\r\n" HOST "\r\n", 431},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        for (size_t step = 1000; step <= 50000; step *= 50) {
            hand_connect(f);
            assay_buf_reset(&b);
            assay_buf_puts(&b, row[i].before);
            for (unsigned k = 0; k < row[i].times; k++)
                assay_buf_puts(&b, row[i].unit);
            assay_buf_puts(&b, row[i].after);
            hand_send(f, b.p, b.n, step, &g);
            if (status_of(g.text) != row[i].status)
                fail_msg("row %zu in steps of %zu: %s", i, step, g.text);
        }
    assay_buf_free(&b);
}

static void one_hundred_continue(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, POST_HEAD "Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n", &g);
    assert_string_equal(g.text, "HTTP/1.1 100 Continue\r\n\r\n");
    ask(f, "abc", &g);
    assert_int_equal(status_of(g.text), 201);
    ask(f, POST_HEAD "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", &g); /* it did not wait */
    assert_int_equal(status_of(g.text), 201);
    ask(f, "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", &g);
    assert_int_equal(g.n, 0);
    ask(f, "abc", &g);
    assert_int_equal(status_of(g.text), 201);
}

static void who_may_what_is_asked_before_the_handler(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_buf t = ASSAY_BUF_INIT, text = ASSAY_BUF_INIT;
    ask(f, "GET /me/x HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 401);
    assert_has(&g, "WWW-Authenticate: Bearer");
    assert_false(g.closed);
    struct assay_str token = token_for(f, &t, USER);
    for (int i = 0; i < 3; i++) { /* looked up, then cached */
        assay_buf_reset(&text);
        assay_buf_fmt(&text, "GET /me/x HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\n\r\n", ASSAY_FMT(token));
        hand_send(f, text.p, text.n, 7, &g);
        assert_has(&g, "/me/x||x|" USER "|");
    }
    assay_buf_reset(&text);
    assay_buf_fmt(&text, "POST /admin HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\nContent-Length: 3\r\n\r\n", ASSAY_FMT(token));
    hand_send(f, text.p, text.n, text.n, &g);
    assert_int_equal(status_of(g.text), 403);
    assert_true(g.closed);
    hand_connect(f);
    token = token_for(f, &t, ADMIN);
    assay_buf_reset(&text);
    assay_buf_fmt(&text, "POST /admin HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\nContent-Length: 3\r\n\r\nabc", ASSAY_FMT(token));
    for (int i = 0; i < 2; i++) {
        hand_send(f, text.p, text.n, 9, &g);
        assert_int_equal(status_of(g.text), 201);
    }
    token = token_for(f, &t, "0193a1b2-0000-7000-8000-0000000000ff");
    assay_buf_reset(&text);
    assay_buf_fmt(&text, "GET /hello HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\n\r\n", ASSAY_FMT(token));
    hand_send(f, text.p, text.n, text.n, &g);
    assert_int_equal(status_of(g.text), 401); /* a token that is sent is checked, on public routes too */
    assay_buf_free(&t);
    assay_buf_free(&text);
}

static void a_full_pool_is_503(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    f->app.busy = true;
    ask(f, "GET /hello-worker HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 503);
    assert_has(&g, "Retry-After: 1\r\n");
    assert_false(g.closed);
    struct assay_buf t = ASSAY_BUF_INIT, text = ASSAY_BUF_INIT;
    struct assay_str token = token_for(f, &t, USER);
    assay_buf_fmt(&text, "GET /me/x HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\n\r\n", ASSAY_FMT(token));
    hand_send(f, text.p, text.n, text.n, &g);
    assert_int_equal(status_of(g.text), 503);
    f->app.busy = false;
    ask(f, "GET /hello-worker HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
    assay_buf_free(&t);
    assay_buf_free(&text);
}

static void errors_say_what_a_client_may_know(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /fails HTTP/1.1\r\n" HOST "X-Request-Id: find-me\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 500);
    assert_lacks(&g, "secret");
    assert_has(&g, "\"request_id\":\"find-me\"");
    assert_int_equal(atomic_load(&f->app.logged), 1);
    ask(f, "GET /faults HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 400);
    assert_has(&g, "\"errors\":[{\"pointer\":\"/language\",\"detail\":\"is not known\"}]");
    assert_has(&g, "\"instance\":\"/faults\"");
    assert_lacks(&g, "Location"); /* nothing was made */
    assert_has(&g, "\"type\":\"urn:assay:problem:invalid\"");
    ask(f, "GET /splitting HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 500);
    assert_lacks(&g, "Set-Cookie");
    ask(f, "GET /liar HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 500);
    ask(f, "GET /liar-worker HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 500);
}

static void resume_hello(struct fixture *f)
{
    struct assay_response rs = {.status = 203};
    assay_buf_puts(&rs.body, "\"resumed\"");
    assay_front_resume(f->app.front, f->app.kept, 0, &rs, NULL);
    assert_null(rs.body.p); /* consumed, whether it was used or not */
}

static void a_ticket_answers_once(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static const char *const path[] = {"/keep", "/keep-worker"};
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", path[i]);
        ask(f, text, &g);
        assert_int_equal(g.n, 0);
        resume_hello(f);
        resume_hello(f); /* before and after the first one was delivered */
        ask(f, "", &g);
        assert_int_equal(status_of(g.text), 203);
        assert_has(&g, "\"resumed\"");
        assert_int_equal(status_of(nth_answer(g.text, 1)), 200); /* what was pipelined behind it */
        assert_null(nth_answer(g.text, 2));
        resume_hello(f);
        assay_ticket old = f->app.kept;
        ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g); /* the slot again, another generation */
        assert_true(f->app.kept != old);
        assay_front_resume(f->app.front, old, 0, NULL, NULL);
        assay_front_resume(f->app.front, 0, 0, NULL, NULL);
        assay_front_resume(f->app.front, UINT64_MAX, 0, NULL, NULL);
        ask(f, "", &g);
        assert_int_equal(g.n, 0);
        struct assay_err err;
        assay_front_resume(f->app.front, f->app.kept, assay_err_set(&err, ASSAY_E_NOT_FOUND, "no such thing"), NULL, &err);
        ask(f, "", &g);
        assert_int_equal(status_of(g.text), 404);
        assert_has(&g, "no such thing");
    }
}

static void a_handler_that_defers_and_answers_answers_once(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static const char *const path[] = {"/keep-and-answer", "/keep-and-answer-worker"};
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", path[i]);
        ask(f, text, &g);
        assert_int_equal(status_of(g.text), 200);
        assert_has(&g, "\"mine\"");
        resume_hello(f);
        ask(f, "", &g);
        assert_int_equal(g.n, 0);
    }
}

static void a_late_answer_is_harmless(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_front_stats st;
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    assay_front_stats(f->app.front, &st);
    assert_int_equal(st.requests_waiting, 1);
    struct linger hard = {1, 0};
    (void)setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    assay_ticket t = f->app.kept;
    hand_connect(f); /* closes the old one: a half-closed peer, then one that cannot be written to */
    assay_front_turn(f->app.front);
    f->app.kept = t;
    resume_hello(f);
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
    assay_front_stats(f->app.front, &st);
    assert_int_equal(st.requests_waiting, 0);
    assert_int_equal(st.connections_open, 1);
}

static void a_request_that_nobody_answers_is_freed_in_the_end(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(g.n, 0); /* the teardown, under a leak checker, is the test */
}

static void a_route_without_parameters_refuses_any(void **state)
{
    static struct got g;
    struct fixture *f = *state;
    for (int worker = 0; worker < 2; worker++) {
        unsigned before = f->app.handled;
        ask(f, worker ? "GET /plain-worker?colour=red HTTP/1.1\r\n" HOST "\r\n" : "GET /plain?colour=red HTTP/1.1\r\n" HOST "\r\n", &g);
        assert_int_equal(status_of(g.text), 400);
        assert_has(&g, "the query parameter \\\"colour\\\" is not known here");
        assert_int_equal(f->app.handled, before);
        ask(f, worker ? "GET /plain-worker? HTTP/1.1\r\n" HOST "\r\n" : "GET /plain HTTP/1.1\r\n" HOST "\r\n", &g);
        assert_int_equal(status_of(g.text), 200);
        assert_int_equal(f->app.handled, before + 1);
    }
    ask(f, "GET /hello?colour=red HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
}

static void cross_origin(void **state)
{
    static struct got g;
    static const char *const origins[] = {"http://localhost:3000", NULL}, *const any[] = {"*", NULL};
    struct fixture *f = hand_make((struct assay_front_config){.cors_origins = origins});
    ask(f, "OPTIONS /echo HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 204);
    assert_has(&g, "Access-Control-Allow-Origin: http://localhost:3000\r\n");
    assert_has(&g, "Access-Control-Allow-Methods: POST, OPTIONS\r\n");
    assert_has(&g, "Authorization");
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\n\r\n", &g);
    assert_has(&g, "Access-Control-Allow-Origin: http://localhost:3000\r\n");
    assert_has(&g, "Vary: Origin\r\n");
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Origin: http://evil.test\r\n\r\n", &g);
    assert_lacks(&g, "Access-Control-Allow");
    void *state2 = f;
    (void)hand_teardown(&state2);
    f = hand_make((struct assay_front_config){.cors_origins = any});
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Origin: http://evil.test\r\n\r\n", &g);
    assert_has(&g, "Access-Control-Allow-Origin: *\r\n");
    assert_lacks(&g, "Credentials");
    state2 = f;
    (void)hand_teardown(&state2);
    f = *state;
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\n\r\n", &g);
    assert_lacks(&g, "Access-Control");

    /* in development: any port of this machine, and nothing that only looks like it */
    static const char *const local[] = {"localhost", NULL};
    static const char *const mine[] = {"http://localhost", "http://localhost:8081", "http://127.0.0.1:5500", "http://[::1]:3000"};
    static const char *const others[] = {"http://localhost.evil.test", "http://localhost:80.evil.test", "http://localhost:", "null",
                                         "http://127.0.0.1:0", "http://evil.test/http://localhost", "http://localhost:99999"};
    f = hand_make((struct assay_front_config){.cors_origins = local});
    for (size_t i = 0; i < sizeof mine / sizeof mine[0] + sizeof others / sizeof others[0]; i++) {
        bool is_mine = i < sizeof mine / sizeof mine[0];
        const char *origin = is_mine ? mine[i] : others[i - sizeof mine / sizeof mine[0]];
        struct assay_buf b = ASSAY_BUF_INIT;
        assay_buf_fmt(&b, "OPTIONS /echo HTTP/1.1\r\n" HOST "Origin: %s\r\nAccess-Control-Request-Method: POST\r\n\r\n", origin);
        ask(f, b.p, &g);
        assert_int_equal(status_of(g.text), 204);
        if (is_mine) {
            assert_has(&g, "Access-Control-Allow-Methods: POST, OPTIONS\r\n");
            assert_has(&g, "Access-Control-Max-Age: 600\r\n");
            assert_has(&g, "Idempotency-Key");
        } else {
            assert_lacks(&g, "Access-Control");
        }
        assert_lacks(&g, "Credentials");
        assay_buf_free(&b);
    }
    state2 = f;
    (void)hand_teardown(&state2);
}

/* ---- answers in pieces ------------------------------------------------------------------------------ */

static void a_stream_is_chunked_and_the_connection_lives_on(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_err err = {0};
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(g.n, 0);
    assay_ticket t = f->app.kept;
    assert_int_equal(assay_front_stream_write(f->app.front, t, "x", 1, 0), ASSAY_E_GONE); /* not begun */
    stream_open(f, "first", NULL);
    ask(f, "", &g);
    assert_int_equal(status_of(g.text), 200);
    assert_has(&g, "Transfer-Encoding: chunked\r\n");
    assert_has(&g, "Content-Type: text/event-stream\r\n");
    assert_lacks(&g, "Content-Length");
    assert_has(&g, "\r\n\r\n5\r\nfirst\r\n");
    assert_int_equal(assay_front_stream_write(f->app.front, t, "", 0, 0), ASSAY_E_INVALID);
    assert_int_equal(assay_front_stream_write(f->app.front, t, "sixteen bytes ok", 16, 0), 0);
    assert_int_equal(assay_front_stream_write(f->app.front, t, "ab", 2, 0), 0);
    ask(f, "", &g);
    assert_string_equal(g.text, "10\r\nsixteen bytes ok\r\n2\r\nab\r\n");
    struct assay_response again = {.status = 200};
    assert_int_equal(assay_front_stream_begin(f->app.front, t, &again, NULL, NULL, &err), ASSAY_E_INTERNAL);
    assert_int_equal(assay_front_stream_write(f->app.front, t, "z", 1, 0), 0);
    assay_front_stream_end(f->app.front, t, 0);
    assay_front_stream_end(f->app.front, t, 0);
    assert_int_equal(assay_front_stream_write(f->app.front, t, "late", 4, 0), ASSAY_E_GONE);
    ask(f, "", &g);
    assert_int_equal(strncmp(g.text, "1\r\nz\r\n0\r\n\r\nHTTP/1.1 200", 23), 0); /* and what was pipelined behind it */
    assert_int_equal(f->app.last_status, 200);
    struct assay_front_stats st;
    assay_front_stats(f->app.front, &st);
    assert_int_equal(st.requests_waiting, 0);
}

static void a_stream_to_an_old_client_ends_with_its_connection(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /keep HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &g);
    stream_open(f, "first", NULL);
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, " second", 7, 0), 0);
    assay_front_stream_end(f->app.front, f->app.kept, 0);
    ask(f, "", &g);
    assert_lacks(&g, "Transfer-Encoding");
    assert_has(&g, "Connection: close\r\n");
    assert_has(&g, "\r\n\r\nfirst second");
    assert_true(g.closed);
}

static void nobody_reads_the_stream_of_a_head(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "HEAD /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    stream_open(f, "first", NULL);
    ask(f, "", &g);
    assert_int_equal(status_of(g.text), 200);
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, "x", 1, 0), ASSAY_E_GONE);
    assay_front_stream_end(f->app.front, f->app.kept, 0);
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(strncmp(g.text, "HTTP/1.1 200", 12), 0);
}

static void a_stream_that_fails_is_cut_off(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_err err = {0};
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    struct assay_response bad = {.status = 204}, split = {.n_headers = 1, .header = {{ASSAY_STR("X-A"), ASSAY_STR("a\r\nb: c")}}};
    assert_int_equal(assay_front_stream_begin(f->app.front, f->app.kept, &bad, NULL, NULL, &err), ASSAY_E_INTERNAL);
    assert_int_equal(assay_front_stream_begin(f->app.front, f->app.kept, &split, NULL, NULL, &err), ASSAY_E_INTERNAL);
    stream_open(f, "half", NULL);
    assay_front_stream_end(f->app.front, f->app.kept, ASSAY_E_IO);
    ask(f, "", &g);
    assert_has(&g, "4\r\nhalf\r\n");
    assert_lacks(&g, "0\r\n\r\n");
    assert_true(g.closed);
    assert_int_equal(assay_front_stream_begin(f->app.front, f->app.kept, &bad, NULL, NULL, &err), ASSAY_E_GONE);
}

static void a_slow_reader_makes_the_writer_wait(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static char piece[ASSAY_STREAM_WRITE_MAX];
    atomic_uint writable = 0;
    size_t written = 0, got = 0;
    int rc = 0;
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    memset(piece, 'p', sizeof piece);
    stream_open(f, "", &writable);
    while (rc == 0 && written < ((size_t)64 << 20)) {
        rc = assay_front_stream_write(f->app.front, f->app.kept, piece, sizeof piece, 0);
        written += rc == 0 ? sizeof piece : 0;
        assay_front_turn(f->app.front);
    }
    assert_int_equal(rc, ASSAY_E_BUSY);
    assert_true(written < (size_t)2 << 20); /* the socket's buffers and ours */
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, piece, 1, 30), ASSAY_E_BUSY);
    assert_int_equal(atomic_load(&writable), 0);
    for (unsigned i = 0; i < 2000 && atomic_load(&writable) == 0; i++) {
        g.n = 0;
        ssize_t n = recv(f->fd, g.text, sizeof g.text, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        assay_front_turn(f->app.front);
    }
    assert_int_equal(atomic_load(&writable), 1);
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, piece, sizeof piece, 0), 0);
    written += sizeof piece;
    assay_front_stream_end(f->app.front, f->app.kept, 0);
    for (unsigned quiet = 0; quiet < 3;) {
        assay_front_turn(f->app.front);
        ssize_t n = recv(f->fd, g.text, sizeof g.text, MSG_DONTWAIT);
        quiet = n > 0 ? 0 : quiet + 1;
        got += n > 0 ? (size_t)n : 0;
    }
    size_t framing = written / sizeof piece * (sizeof "10000\r\n\r\n" - 1) + 5;
    assert_true(got > written + framing && got < written + framing + 500); /* and the head */
    assert_int_equal(atomic_load(&writable), 1);
}

static void a_stream_hears_that_its_client_has_gone(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static const char *const path[] = {"/keep", "/events"};
    for (size_t i = 0; i < 2; i++) {
        char text[64];
        atomic_uint writable = 0;
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", path[i]);
        ask(f, text, &g);
        stream_open(f, "x", &writable);
        ask(f, "", &g);
        assay_ticket t = f->app.kept;
        hand_connect(f); /* closes the old one */
        for (int k = 0; k < 10; k++) {
            if (i == 0) /* a plain answer may be for a client that only shut its side: a write finds out */
                (void)!assay_front_stream_write(f->app.front, t, "y", 1, 0);
            assay_front_turn(f->app.front);
        }
        assert_int_equal(assay_front_stream_write(f->app.front, t, "y", 1, 0), ASSAY_E_GONE);
        assert_int_equal(atomic_load(&writable), 1);
        assay_front_stream_end(f->app.front, t, 0);
        ask(f, "GET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
        assert_int_equal(status_of(g.text), 200);
    }
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    stream_open(f, "never ended", NULL); /* freed with the front: the leak checker is the test */
}

/* ---- long bodies -------------------------------------------------------------------------------------- */

static char *spool_folder(void)
{
    static char folder[64];
    (void)snprintf(folder, sizeof folder, "/tmp/assay-spool-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static void ask_body(struct fixture *f, const char *path, size_t n, size_t chunk, struct got *g)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_fmt(&b, "POST %s HTTP/1.1\r\n" HOST, path);
    if (!chunk)
        assay_buf_fmt(&b, "Content-Length: %zu\r\n\r\n", n);
    else
        assay_buf_puts(&b, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < n;) {
        size_t piece = chunk && chunk < n - i ? chunk : n - i;
        if (chunk)
            assay_buf_fmt(&b, "%zx\r\n", piece);
        memset(assay_buf_reserve(&b, piece), 'a', piece);
        b.n += piece;
        if (chunk)
            assay_buf_puts(&b, "\r\n");
        i += piece;
    }
    if (chunk)
        assay_buf_puts(&b, "0\r\n\r\n");
    assert_false(b.failed);
    hand_send(f, b.p, b.n, 8192, g);
    assay_buf_free(&b);
}

static void long_bodies_go_to_a_file(void **state)
{
    static struct got g;
    static const struct {
        const char *path;
        size_t n, chunk;
        bool file;
    } cases[] = {{"/sum", 1000, 0, false},        {"/sum", 65536, 0, false},     {"/sum", 65537, 0, true},
                 {"/sum", 1 << 20, 0, true},      {"/sum", 1 << 20, 999, true},  {"/sum", 262144, 0, true},
                 {"/sum", 524288, 8192, true},    {"/sum-file", 5, 0, true},     {"/sum-file", 3 << 20, 4000, true},
                 {"/sum-file", 4 << 20, 0, true}, {"/sum-file", 0, 7, false}};
    (void)state;
    char *folder = spool_folder();
    /* less memory for bodies than the bodies have: only a piece of each is in memory */
    struct fixture *f = hand_make((struct assay_front_config){.spool_dir = folder, .spool_over = 65536, .body_memory_max = 400000});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[128];
        ask_body(f, cases[i].path, cases[i].n, cases[i].chunk, &g);
        (void)snprintf(want, sizeof want, "{\"n\":%zu,\"sum\":%zu,\"file\":%s}", cases[i].n, cases[i].n * 'a', cases[i].file ? "true" : "false");
        assert_int_equal(status_of(g.text), 200);
        assert_has(&g, want);
    }
    ask_body(f, "/sum-file", (4 << 20) + 1, 60000, &g); /* over the route's limit, found out on the way */
    assert_int_equal(status_of(g.text), 413);
    hand_connect(f);
    /* a client that goes in the middle leaves nothing */
    ask(f, "POST /sum HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n", &g);
    hand_connect(f);
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
    void *state2 = f;
    (void)hand_teardown(&state2);
    assert_int_equal(rmdir(folder), 0);
}

static void files_of_bodies_are_bounded(void **state)
{
    static struct got g;
    (void)state;
    char *folder = spool_folder();
    struct fixture *f = hand_make((struct assay_front_config){.spool_dir = folder, .spool_over = 65536, .spool_max = 600000});
    for (int i = 0; i < 3; i++) { /* what was freed can be used again */
        ask_body(f, "/sum", 500000, 0, &g);
        assert_int_equal(status_of(g.text), 200);
        ask_body(f, "/sum", 700000, 0, &g);
        assert_int_equal(status_of(g.text), 503);
        assert_has(&g, "Retry-After");
        hand_connect(f);
    }
    /* a disk that is full: the kernel's limit on a file's size says EFBIG */
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 100000;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    ask_body(f, "/sum", 500000, 0, &g);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status_of(g.text), 507);
    hand_connect(f);
    assert_int_equal(rmdir(folder), 0);
    ask_body(f, "/sum", 500000, 0, &g); /* no folder any more: ours, and not told in detail */
    assert_int_equal(status_of(g.text), 500);
    assert_lacks(&g, folder);
    void *state2 = f;
    (void)hand_teardown(&state2);
}

/* ---- who is behind a proxy ------------------------------------------------------------------------------ */

static void proxies_are_believed_as_far_as_they_are_listed(void **state)
{
    static const struct {
        bool forwarded;
        const char *value, *want;
    } cases[] = {
        {false, "198.51.100.7", "198.51.100.7"},
        {false, "6.6.6.6, 198.51.100.7", "198.51.100.7"},            /* the client wrote the first */
        {false, "6.6.6.6, 198.51.100.7, 10.1.2.3", "198.51.100.7"},  /* two proxies of ours */
        {false, "10.9.9.9, 10.1.2.3", "10.9.9.9"},                   /* all ours: the farthest */
        {false, "6.6.6.6, nonsense, 10.1.2.3", "10.1.2.3"},          /* nobody vouches for what is left of nonsense */
        {false, "2001:db8::5", "2001:db8::5"},
        {false, "[2001:db8::5]:443", "2001:db8::5"},
        {false, "198.51.100.7:1234", "198.51.100.7"},
        {false, "::ffff:198.51.100.7", "198.51.100.7"},
        {false, "", "192.0.2.1"},
        {false, " , ,", "192.0.2.1"},
        {false, "127.0.0.1\n", "192.0.2.1"},
        {true, "for=198.51.100.7;proto=https", "198.51.100.7"},
        {true, "for=6.6.6.6, proto=http;For=\"[2001:db8::5]:80\"", "2001:db8::5"},
        {true, "for=198.51.100.7, for=10.0.0.1", "198.51.100.7"},
        {true, "for=unknown", "192.0.2.1"},
        {true, "for=_hidden, for=10.0.0.1", "10.0.0.1"},
        {true, "by=10.0.0.1", "192.0.2.1"},
    };
    struct assay_proxies *p = NULL;
    struct assay_err err;
    (void)state;
    assert_int_equal(assay_proxies_new("10.0.0.0/8, 192.0.2.1,2001:db8:1::/48", &p, &err), 0);
    assert_true(assay_proxies_trusts(p, ASSAY_STR("10.255.0.1")) && assay_proxies_trusts(p, ASSAY_STR("::ffff:10.0.0.1")));
    assert_true(assay_proxies_trusts(p, ASSAY_STR("2001:db8:1:ffff::1")));
    assert_false(assay_proxies_trusts(p, ASSAY_STR("11.0.0.1")) || assay_proxies_trusts(p, ASSAY_STR("192.0.2.2")));
    assert_false(assay_proxies_trusts(p, ASSAY_STR("2001:db8:2::1")) || assay_proxies_trusts(p, ASSAY_STR("local")));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[ASSAY_ADDRESS_SIZE] = "192.0.2.1";
        (void)assay_proxies_walk(p, cases[i].forwarded, assay_str(cases[i].value), out);
        assert_string_equal(out, cases[i].want);
    }
    assay_proxies_free(p);
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0", "example.org", "10.0.0.1/", "::1/129", "10.0.0.0/-1", "1.2.3.4;5.6.7.8"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(assay_proxies_new(bad[i], &p, &err), ASSAY_E_CONFIG);
    assert_int_equal(assay_proxies_new("", &p, &err), 0);
    assert_null(p);
    assert_false(assay_proxies_trusts(NULL, ASSAY_STR("127.0.0.1")));
}

static void bodies_share_a_budget(void **state)
{
    static struct got g;
    (void)state;
    struct fixture *f = hand_make((struct assay_front_config){.body_memory_max = 1000});
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_fmt(&b, POST_HEAD "Content-Length: 1001\r\n\r\n%01001d", 0);
    hand_send(f, b.p, b.n, b.n, &g);
    assert_int_equal(status_of(g.text), 503);
    assert_has(&g, "Retry-After");
    hand_connect(f);
    for (int i = 0; i < 3; i++) { /* what was freed can be used again */
        assay_buf_reset(&b);
        assay_buf_fmt(&b, POST_HEAD "Content-Length: 1000\r\n\r\n%01000d", 0);
        hand_send(f, b.p, b.n, 100, &g);
        assert_int_equal(status_of(g.text), 201);
    }
    assay_buf_free(&b);
    void *state2 = f;
    (void)hand_teardown(&state2);
}

static void the_parser_is_strict(void **state)
{
    struct assay_err err;
    (void)state;
    assert_int_equal(assay_front_parser_probe(&err), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, hand_setup, hand_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parser_is_strict),
        T(sound_requests_are_answered_however_they_are_cut),
        T(answers_hold_what_was_asked),
        T(what_smuggling_is_made_of_is_refused),
        T(heads_are_bounded),
        T(bodies_are_refused_before_they_are_read),
        T(chunks_that_are_nearly_all_framing_are_refused),
        cmocka_unit_test(bodies_share_a_budget),
        T(one_hundred_continue),
        T(pipelined_requests_are_answered_in_order),
        T(what_follows_connection_close_is_not_read),
        T(a_half_closed_client_still_gets_its_answers),
        T(request_ids_are_taken_when_sane),
        T(every_request_is_recorded_once),
        T(who_may_what_is_asked_before_the_handler),
        T(a_full_pool_is_503),
        T(errors_say_what_a_client_may_know),
        T(a_route_without_parameters_refuses_any),
        T(a_ticket_answers_once),
        T(a_handler_that_defers_and_answers_answers_once),
        T(a_late_answer_is_harmless),
        T(a_request_that_nobody_answers_is_freed_in_the_end),
        T(cross_origin),
        T(a_stream_is_chunked_and_the_connection_lives_on),
        T(a_stream_to_an_old_client_ends_with_its_connection),
        T(nobody_reads_the_stream_of_a_head),
        T(a_stream_that_fails_is_cut_off),
        T(a_slow_reader_makes_the_writer_wait),
        T(a_stream_hears_that_its_client_has_gone),
        cmocka_unit_test(long_bodies_go_to_a_file),
        cmocka_unit_test(files_of_bodies_are_bounded),
        cmocka_unit_test(proxies_are_believed_as_far_as_they_are_listed),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
