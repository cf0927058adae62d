/*
 * The HTTP front alone, with nothing behind it: what wrk is pointed at to see what a request costs.
 *
 *   front_server PORT LOOPS        (make bench/front_server)
 *
 * GET /hello is a fixed JSON answer made inline; GET /me is the same behind the auth gate (the token is
 * printed); GET /worker is the same on a worker thread.  Ends on SIGINT and SIGTERM.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <assay/value.h>

#include "gateway/gate.h"
#include "gateway/http.h"
#include "gateway/pool.h"

#define LOOPS_MAX 16

static int hello(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char text[] = "{\"message\":\"a fixed answer of about the size that a small resource has\",\"items\":[1,2,3,4,5,6,7,8],\"ok\":true}";
    (void)self;
    (void)rq;
    (void)err;
    assay_buf_add(&rs->body, text, sizeof text - 1);
    return 0;
}

static const struct assay_route routes[] = {
    {.method = ASSAY_GET, .path = "/hello", .flags = ASSAY_ROUTE_INLINE, .handle = hello, .operation_id = "hello"},
    {.method = ASSAY_GET, .path = "/me", .roles = ASSAY_ROLES_ANY, .flags = ASSAY_ROUTE_INLINE, .handle = hello, .operation_id = "me"},
    {.method = ASSAY_GET, .path = "/worker", .handle = hello, .operation_id = "worker"},
};

static int account_get(void *self, struct assay_str id, struct assay_arena *arena, struct assay_account *out, struct assay_err *err)
{
    (void)self;
    (void)arena;
    (void)err;
    *out = (struct assay_account){.user_id = id, .role = ASSAY_ROLE_USER};
    return 0;
}

static int offload(void *ctx, void (*fn)(void *arg), void *arg)
{
    return assay_pool_submit(ctx, fn, arg);
}

static int listen_on(uint16_t port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static int fail(const struct assay_err *err)
{
    (void)fprintf(stderr, "%s\n", err->msg);
    return 1;
}

int main(int argc, char **argv)
{
    static const struct assay_accounts_ops accounts = {.size = sizeof accounts, .get = account_get};
    int64_t port = 8090, loops = 2;
    struct assay_err err;
    if ((argc > 1 && assay_parse_i64(assay_str(argv[1]), 1, 65535, &port, &err) != 0) ||
        (argc > 2 && assay_parse_i64(assay_str(argv[2]), 1, LOOPS_MAX, &loops, &err) != 0))
        return fail(&err);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);

    struct assay_secret *secret = assay_secret_new(ASSAY_STR("0123456789abcdef0123456789abcdef"));
    const struct assay_gate_key keys[] = {{"k", secret}};
    struct assay_gate_config gc = {.keys = keys, .n_keys = 1};
    struct assay_gate *gate = NULL;
    struct assay_front *front = NULL;
    struct assay_buf token = ASSAY_BUF_INIT;
    struct assay_pool *pool = assay_pool_new(2, 1024, 0, &err);
    if (!pool || assay_gate_new(&gc, &gate, &err) != 0)
        return fail(&err);
    assay_gate_services(gate, &accounts, NULL, NULL, NULL);
    if (assay_gate_sign(gate, ASSAY_STR("somebody"), ASSAY_STR("user"), 0, 3600, &token, &err) != 0)
        return fail(&err);

    struct assay_bound_route bound[sizeof routes / sizeof routes[0]];
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        bound[i] = (struct assay_bound_route){&routes[i], NULL, "bench"};
    int fds[LOOPS_MAX];
    for (int64_t i = 0; i < loops; i++)
        fds[i] = listen_on((uint16_t)port);
    struct assay_front_config cfg = {.routes = bound,
                                     .n_routes = sizeof routes / sizeof routes[0],
                                     .listen_fds = fds,
                                     .n_listen_fds = (size_t)loops,
                                     .loops = (unsigned)loops,
                                     .gate = gate,
                                     .connections_max = 20000,
                                     .ctx = pool,
                                     .offload = offload};
    if (assay_front_new(&cfg, &front, &err) != 0 || assay_front_start(front, &err) != 0)
        return fail(&err);
    (void)printf("%s\n", token.p);
    (void)fflush(stdout);
    int sig;
    (void)sigwait(&set, &sig);
    (void)assay_front_drain(front, 2000);
    if (assay_pool_drain(pool, 2000, &err) != 0)
        return fail(&err);
    assay_front_free(front);
    assay_pool_free(pool);
    assay_gate_free(gate);
    assay_secret_free(secret);
    assay_buf_free(&token);
    return 0;
}
