/*
 * A load generator for requests that must each be different: N keep-alive connections, one request
 * under way on each, in one thread with epoll.
 *
 *   http_load --port N --path P [--method M] [--token T] [--body FILE] [--connections N] [--ms N]
 *             [--status N] [--expect TEXT]
 *
 * A run of twelve '@' in the body becomes a number that no other request of any run has, so a cache or an
 * idempotency key cannot help, and Content-Length stays the same.  An answer is good when it has the status and
 * holds the text.  For --ms new requests are sent; then those under way are waited for.  The rate counts
 * good answers until the time is up.  The last line is the result, for a program to read.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 10000
#define ANSWER_MAX 65536
#define DIGITS 12
#define GRACE_NS 30000000000LL /* for answers under way when the time is up */

struct conn {
    int fd;
    char *request;  /* its own copy, since the number is its own */
    size_t sent, got;
    int64_t begun_ns;
    char answer[ANSWER_MAX];
};

static const char *path, *method, *token = "", *expect = "", *body_file;
static long port, connections = 8, duration_ms = 2000, status_wanted = 200;
static char *request;        /* the pattern */
static size_t request_n, number_at; /* number_at: 0 for none */
static uint64_t number;
static struct conn *conn;
static int epoll;
static uint32_t *latency_us;
static size_t n_latency, room_latency, good, bad;
static int64_t end_ns;
static char first_bad[400];

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void make_pattern(void)
{
    char *body = NULL;
    size_t n = 0, room = 0;
    FILE *to = open_memstream(&body, &room);
    FILE *f = body_file != NULL ? fopen(body_file, "r") : NULL;
    if (to == NULL || (body_file != NULL && f == NULL))
        die(body_file != NULL ? body_file : "memory");
    for (int c; f != NULL && (c = getc(f)) != EOF; n++)
        (void)putc(c, to);
    if (f != NULL)
        (void)fclose(f);
    if (fclose(to) != 0)
        die("memory");
    FILE *out = open_memstream(&request, &request_n);
    if (out == NULL)
        die("memory");
    (void)fprintf(out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, path);
    if (token[0] != '\0')
        (void)fprintf(out, "Authorization: Bearer %s\r\n", token);
    if (n != 0)
        (void)fprintf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", n);
    (void)fputs("\r\n", out);
    (void)fwrite(body, 1, n, out);
    if (fclose(out) != 0)
        die("memory");
    free(body);
    char *mark = strstr(request, "@@@@@@@@@@@@");
    number_at = mark != NULL ? (size_t)(mark - request) : 0;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    /* runs follow each other by more than a millisecond, and none makes a thousand numbers in one */
    number = ((uint64_t)t.tv_sec % 1000000) * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void watch(struct conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, op, c->fd, &ev) != 0)
        die("epoll_ctl");
}

static void push(struct conn *c)
{
    while (c->sent < request_n) {
        ssize_t n = send(c->fd, c->request + c->sent, request_n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0)
            die("send");
        c->sent += (size_t)n;
    }
}

static void begin(struct conn *c)
{
    if (number_at != 0) {
        char digits[DIGITS + 1];
        (void)snprintf(digits, sizeof digits, "%012llu", (unsigned long long)(number++ % 1000000000000ULL));
        memcpy(c->request + number_at, digits, DIGITS);
    }
    c->sent = c->got = 0;
    c->begun_ns = now_ns();
    push(c);
}

static void dial(struct conn *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("connect");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->request = malloc(request_n);
    if (c->request == NULL)
        die("memory");
    memcpy(c->request, request, request_n);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

/* 0: not whole yet. Only answers with a Content-Length, which is all that the server gives here. */
static size_t answer_size(const struct conn *c)
{
    const char *end = memmem(c->answer, c->got, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - c->answer) + 4;
    for (const char *p = c->answer; p < end; p++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (p == NULL)
            break;
        if (strncasecmp(p + 1, "content-length:", 15) == 0) {
            size_t n = head + (size_t)strtoul(p + 16, NULL, 10);
            return c->got >= n ? n : 0;
        }
    }
    (void)fprintf(stderr, "http_load: an answer without Content-Length\n");
    exit(1);
}

static void count(struct conn *c, size_t n)
{
    int64_t now = now_ns();
    long status = strtol(c->answer + 9, NULL, 10);
    if (status != status_wanted || (expect[0] != '\0' && memmem(c->answer, n, expect, strlen(expect)) == NULL)) {
        if (bad++ == 0)
            (void)snprintf(first_bad, sizeof first_bad, "%.*s", (int)(n < 399 ? n : 399), c->answer);
        return;
    }
    if (now > end_ns)
        return;
    good++;
    if (n_latency == room_latency) {
        room_latency = room_latency != 0 ? 2 * room_latency : 4096;
        latency_us = reallocarray(latency_us, room_latency, sizeof *latency_us);
        if (latency_us == NULL)
            die("memory");
    }
    latency_us[n_latency++] = (uint32_t)((now - c->begun_ns) / 1000);
}

/* True when the answer is whole. */
static bool pull(struct conn *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, c->answer + c->got, ANSWER_MAX - c->got, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0)
            die(n == 0 ? "the server closed the connection" : "recv");
        c->got += (size_t)n;
        size_t whole = answer_size(c);
        if (whole != 0) {
            count(c, whole);
            return true;
        }
        if (c->got == ANSWER_MAX)
            die("an answer too large");
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static long option_number(const char *text, long max)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end != '\0' || n < 1 || n > max) {
        (void)fprintf(stderr, "http_load: %s is not a number from 1 to %ld\n", text, max);
        exit(2);
    }
    return n;
}

int main(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *k = argv[i], *v = argv[i + 1];
        if (strcmp(k, "--port") == 0)
            port = option_number(v, 65535);
        else if (strcmp(k, "--path") == 0)
            path = v;
        else if (strcmp(k, "--method") == 0)
            method = v;
        else if (strcmp(k, "--token") == 0)
            token = v;
        else if (strcmp(k, "--body") == 0)
            body_file = v;
        else if (strcmp(k, "--expect") == 0)
            expect = v;
        else if (strcmp(k, "--connections") == 0)
            connections = option_number(v, CONNECTIONS_MAX);
        else if (strcmp(k, "--ms") == 0)
            duration_ms = option_number(v, 3600000);
        else if (strcmp(k, "--status") == 0)
            status_wanted = option_number(v, 599);
        else
            port = 0, i = argc;
    }
    if (port == 0 || path == NULL || argc % 2 == 0) {
        (void)fprintf(stderr, "usage: http_load --port N --path P [--method M] [--token T] [--body FILE] [--connections N]"
                              " [--ms N] [--status N] [--expect TEXT]\n");
        return 2;
    }
    if (method == NULL)
        method = body_file != NULL ? "POST" : "GET";
    make_pattern();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    conn = calloc((size_t)connections, sizeof *conn);
    if (epoll < 0 || conn == NULL)
        die("memory");
    for (long i = 0; i < connections; i++)
        dial(&conn[i]);
    int64_t begun = now_ns();
    end_ns = begun + duration_ms * 1000000;
    for (long i = 0; i < connections; i++)
        begin(&conn[i]);
    long under_way = connections;
    while (under_way > 0) {
        struct epoll_event ev[256];
        int n = epoll_wait(epoll, ev, 256, 1000);
        int64_t now = now_ns();
        if (now > end_ns + GRACE_NS) {
            (void)fprintf(stderr, "http_load: %ld requests have had no answer for 30 s\n", under_way);
            return 1;
        }
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;
            if ((ev[i].events & EPOLLOUT) != 0) {
                watch(c, EPOLL_CTL_MOD, EPOLLIN);
                push(c);
            }
            if ((ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || !pull(c))
                continue;
            if (now < end_ns)
                begin(c);
            else
                under_way--;
        }
    }
    if (bad != 0)
        (void)fprintf(stderr, "http_load: %zu bad answers, the first:\n%s\n", bad, first_bad);
    qsort(latency_us, n_latency, sizeof *latency_us, by_value);
    double s = (double)duration_ms / 1e3;
    printf("good=%zu bad=%zu rate=%.1f", good, bad, (double)good / s);
    if (n_latency != 0)
        printf(" p50_us=%u p90_us=%u p99_us=%u max_us=%u", latency_us[n_latency / 2], latency_us[n_latency * 9 / 10],
               latency_us[n_latency * 99 / 100], latency_us[n_latency - 1]);
    printf("\n");
    for (long i = 0; i < connections; i++) {
        (void)close(conn[i].fd);
        free(conn[i].request);
    }
    free(conn);
    free(latency_us);
    free(request);
    return bad != 0;
}
