/*
 * The rig of the HTTP front's tests: an application of small handlers, a gate with two accounts, and the front over
 * them, turned by hand (http_test.c) or with loops, a worker pool and TCP (http_live_test.c).
 */
#ifndef ASSAY_TESTS_HTTP_RIG_H
#define ASSAY_TESTS_HTTP_RIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <assay/identity.h>

#include "gateway/gate.h"
#include "gateway/http.h"
#include "gateway/pool.h"

#define ADMIN "0193a1b2-0000-7000-8000-00000000000a"
#define USER "0193a1b2-0000-7000-8000-00000000000b"
#define HOST "Host: assay.test\r\n"
#define BIG ((size_t)3 << 20)
#define STREAMED ((size_t)24 << 20)

struct app {
    struct assay_front *front;
    struct assay_pool *pool; /* NULL: offloaded work is done at once, on the same thread */
    bool busy;               /* the pool says BUSY */
    atomic_uint handled;
    _Atomic assay_ticket kept; /* of /keep */
    atomic_uint done;
    int last_status;
    char last_path[64], last_method[16], last_id[80];
    const struct assay_route *last_route;
    atomic_uint logged;
};

struct fixture {
    struct app app;
    struct assay_gate *gate;
    struct assay_secret *secret;
    struct assay_bound_route bound[32];
    int listen_fd, port;
    int fd; /* by hand: our end */
};

/* A front over the routes of http_rig.c; cfg may be empty. The fixture is zeroed memory of malloc, which front_unmake frees. */
void front_make(struct fixture *f, struct assay_front_config cfg);
void front_unmake(struct fixture *f);

/* A token of USER or ADMIN, in out. */
struct assay_str token_for(struct fixture *f, struct assay_buf *out, const char *user);

/* By hand: a front without threads over a socketpair; the other end is f->fd. hand_connect takes a new connection. */
struct fixture *hand_make(struct assay_front_config cfg);
void hand_connect(struct fixture *f);
int hand_setup(void **state);
int hand_teardown(void **state);

struct got {
    char text[131072];
    size_t n;
    bool closed;
};

/* Sends in pieces of `step` bytes, turning the front after each, and reads what comes. */
void hand_send(struct fixture *f, const char *p, size_t n, size_t step, struct got *g);
void hand_read(struct fixture *f, struct got *g);
void ask(struct fixture *f, const char *text, struct got *g);

/* Of an answer's first line; -1. nth_answer: where the n-th answer in a text begins, from 0; NULL. */
int status_of(const char *text);
const char *nth_answer(const char *text, unsigned n);

/* Answers the request that /keep or /events holds with the beginning of a stream; *writable, when not NULL, counts the
 * front's calls. */
void stream_open(struct fixture *f, const char *first, atomic_uint *writable);

void assert_has(const struct got *g, const char *what);
void assert_lacks(const struct got *g, const char *what);

#endif
