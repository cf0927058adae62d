/*
 * The HTTP front against any bytes in any pieces.  The first byte says how long the pieces are.
 *
 * What must hold: whatever comes, every answer is a well-formed one; one without a body or a length is a 1xx,
 * 204 or 304, or comes in chunks that end; a refusal (400 of the parser) is the last word on its connection; and when the client has
 * gone nothing is left: no connection, no request under way.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <assay/value.h>

#include "fuzz.h"
#include "gateway/http.h"

static int answer(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)err;
    struct assay_str v;
    FUZZ_CHECK(rq->path.n > 0 && rq->path.p[0] == '/');
    FUZZ_CHECK(assay_utf8_valid(rq->path) && !assay_str_has_nul(rq->path));
    FUZZ_CHECK(rq->request_id.n > 0 && rq->body.n <= rq->route->body_max);
    if (assay_query(rq, "a", &v, err) != 0)
        return ASSAY_E_INVALID;
    assay_buf_fmt(&rs->body, "[%zu,%zu]", rq->body.n, rq->header(rq, "x-a").n);
    return 0;
}

static struct assay_front *front;

/* An answer in pieces, as long as the query. */
static int stream(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    assay_ticket t = assay_front_defer(rq);
    if (!t)
        return ASSAY_E_BUSY;
    assay_buf_puts(&rs->body, "begin");
    int rc = assay_front_stream_begin(front, t, rs, NULL, NULL, err);
    if (rc == 0 && rq->query.n)
        rc = assay_front_stream_write(front, t, rq->query.p, rq->query.n, 0);
    FUZZ_CHECK(rc == 0);
    assay_front_stream_end(front, t, 0);
    return ASSAY_DEFERRED;
}

#define R(m, p, f, b) {.method = ASSAY_##m, .path = (p), .flags = (f), .body_max = (b), .handle = answer, .operation_id = "answer"}
static const struct assay_route routes[] = {
    R(GET, "/", ASSAY_ROUTE_INLINE, 0),
    R(GET, "/a", 0, 0),
    R(POST, "/a", ASSAY_ROUTE_INLINE, 64),
    R(PUT, "/a/{id}", 0, 4096),
    R(POST, "/file", ASSAY_ROUTE_SPOOL, 4096),
    {.method = ASSAY_GET, .path = "/stream", .flags = ASSAY_ROUTE_INLINE, .handle = stream, .operation_id = "stream"},
};

static int offload(void *ctx, void (*fn)(void *arg), void *arg)
{
    (void)ctx;
    fn(arg);
    return 0;
}

static struct assay_front *front_get(void)
{
    static struct assay_bound_route bound[sizeof routes / sizeof routes[0]];
    if (front)
        return front;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        bound[i] = (struct assay_bound_route){&routes[i], NULL, "fuzz"};
    struct assay_front_config cfg = {.routes = bound, .n_routes = sizeof routes / sizeof routes[0], .offload = offload,
                                     .spool_dir = "/tmp", .spool_over = 128};
    struct assay_err err;
    FUZZ_CHECK(assay_front_new(&cfg, &front, &err) == 0);
    return front;
}

/* Walks over the answers by their own framing. */
static void check_answers(const char *p, size_t n)
{
    const char *end = p + n;
    while (p < end) {
        int64_t status, length = 0;
        FUZZ_CHECK(end - p > 13 && memcmp(p, "HTTP/1.1 ", 9) == 0);
        FUZZ_CHECK(assay_parse_i64((struct assay_str){p + 9, 3}, 100, 599, &status, NULL) == 0);
        const char *blank = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
        FUZZ_CHECK(blank);
        size_t head = (size_t)(blank - p) + 2;
        const char *cl = memmem(p, head, "\r\nContent-Length: ", 18);
        bool chunked = memmem(p, head, "\r\nTransfer-Encoding: chunked\r\n", 30) != NULL;
        bool until_close = !cl && !chunked && status == 200; /* a stream for HTTP/1.0 */
        FUZZ_CHECK(!until_close || memmem(p, head, "\r\nConnection: close\r\n", 21));
        if (until_close)
            return;
        FUZZ_CHECK(cl || chunked || status < 200 || status == 204 || status == 304);
        if (cl) {
            const char *digits = cl + 18, *eol = memchr(digits, '\r', (size_t)(p + head - digits));
            FUZZ_CHECK(eol && assay_parse_i64((struct assay_str){digits, (size_t)(eol - digits)}, 0, 1 << 20, &length, NULL) == 0);
        }
        bool last = memmem(p, head, "\r\nConnection: close\r\n", 21) != NULL;
        p = blank + 4;
        /* a HEAD is answered with a length and no body: then the next answer begins at once, or nothing comes */
        if (chunked && p < end && memcmp(p, "HTTP", 4) != 0) {
            /* a loop thread's stream is whole here: its last chunk has come */
            const char *last_chunk = memmem(p, (size_t)(end - p), "\r\n0\r\n\r\n", 7);
            FUZZ_CHECK(last_chunk && memcmp(p, "5\r\nbegin\r\n", 10) == 0);
            p = last_chunk + 7;
        }
        bool without = p == end || (end - p > 9 && memcmp(p, "HTTP/1.1 ", 9) == 0);
        if (!without) {
            FUZZ_CHECK(end - p >= length);
            p += length;
        }
        FUZZ_CHECK(!last || p == end);
    }
}

static size_t take(int fd, char *out, size_t n, size_t room)
{
    ssize_t got = n < room ? recv(fd, out + n, room - n, MSG_DONTWAIT) : 0;
    return got > 0 ? n + (size_t)got : n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char out[1 << 20];
    struct assay_front *f = front_get();
    struct assay_front_stats st;
    int pair[2];
    size_t n = 0, step = size ? (size_t)data[0] + 1 : 1;
    if (size < 2)
        return 0;
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    assay_front_adopt(f, pair[1]);
    for (size_t i = 1; i < size; i += step) {
        size_t piece = size - i < step ? size - i : step;
        if (send(pair[0], data + i, piece, MSG_NOSIGNAL) < 0)
            break;
        assay_front_turn(f);
        n = take(pair[0], out, n, sizeof out);
    }
    (void)shutdown(pair[0], SHUT_WR);
    for (unsigned i = 0; i < 1000; i++) {
        size_t before = n;
        assay_front_turn(f);
        n = take(pair[0], out, n, sizeof out);
        assay_front_stats(f, &st);
        if (st.connections_open == 0 && n == before)
            break;
    }
    (void)close(pair[0]);
    assay_front_turn(f);
    assay_front_stats(f, &st);
    FUZZ_CHECK(st.connections_open == 0 && st.requests_waiting == 0);
    if (n < sizeof out)
        check_answers(out, n);
    return 0;
}
