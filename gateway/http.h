/*
 * The HTTP/1.1 front: sockets in, requests to handlers, answers out.
 *
 * The front owns the event loops (a thread and an event base each), the connections, and a request's
 * life from its first byte to its last.  It parses, routes, authenticates (gate.h) and refuses what
 * must not reach a handler: before the body is read, it knows whether the caller may have the route and
 * whether the body may be that long.
 *
 * A handler runs inline on the loop (ASSAY_ROUTE_INLINE) or through `offload` on a worker thread.  It
 * answers by returning, or takes a ticket with assay_front_defer() and answers once, from any thread,
 * with assay_front_resume().  The request and its arena live until then even when the client has gone;
 * a second resume of one ticket does nothing.
 *
 * Threads: new, start, drain and free on the main thread, in this order; defer inside a handler; resume
 * and stats from anywhere between start and free.  All that may still resume must have ended before free.
 */
#ifndef ASSAY_GATEWAY_HTTP_H
#define ASSAY_GATEWAY_HTTP_H

#include <assay/http.h>
#include <assay/plugin.h>

#include "router.h"

struct assay_front;
struct assay_gate;
struct assay_limits;
struct assay_proxies;
struct assay_tls;

/* One finished request: a line of the access log, an observation of the metrics.  Views live for the call.
 * The target's query is left out on purpose: it may hold one-time tokens. */
struct assay_front_record {
    unsigned loop;                   /* 0 ... loops - 1: lets a metric keep a shard for each */
    const struct assay_route *route; /* NULL: none matched, or it never came so far */
    struct assay_str method, path, request_id, remote, user_id;
    struct assay_str traceparent, trace_parent; /* its own context, and the client's; "" without */
    const char *tls;                 /* "1.3"; "" in the clear */
    int status;                      /* 499: the client left before its answer was made */
    int64_t duration_ns;             /* from the first byte of the request to the handing over of the answer */
    size_t bytes_in, bytes_out;      /* bodies */
};

struct assay_front_config {
    const struct assay_bound_route *routes; /* borrowed */
    size_t n_routes;
    const int *listen_fds; /* listening and non-blocking, borrowed; loop i takes those with number % loops == i */
    size_t n_listen_fds;   /* when fewer than loops, loops share them */
    const int *tls_fds;    /* the same for listeners over TLS */
    size_t n_tls_fds;
    struct assay_tls *tls; /* borrowed; NULL: tls_fds must be none */
    int64_t hsts_s;        /* answers over TLS say for how long to use nothing else (RFC 6797); 0: they do not */
    unsigned loops;        /* 1 ... 64 */
    struct assay_gate *gate; /* borrowed; NULL: every route that is not public answers 401 */

    /* bounds; 0 takes the default in brackets */
    size_t header_bytes_max;       /* [16 KiB] request line and headers together: 431, 414 for the target */
    size_t header_count_max;       /* [100] 431 */
    size_t connections_max;        /* [10,000] over all loops: 503 and close */
    unsigned pipelined_max;        /* [32] requests of one connection answered before others have their turn */
    size_t body_memory_max;        /* [256 MiB] bodies under way over all loops: 503 */
    size_t unsent_max;             /* [256 MiB] answers that clients have not taken, over all loops, but for what is fixed: those that take longest are cut off */
    int64_t header_deadline_ms;    /* [10 s] from the first byte (or the accept) to the end of the headers: 408 */
    int64_t body_grace_ms;         /* [20 s] and body_min_rate: a body may take grace + bytes / rate: 408 */
    int64_t body_min_rate;         /* [1000 bytes/s] an answer must be taken at this rate too */
    int64_t body_deadline_ms;      /* [10 min] absolute */
    int64_t answer_deadline_ms;    /* [120 s] a deferred answer that does not come: 504 */
    int64_t idle_ms;               /* [75 s] between requests of a connection */

    const char *spool_dir; /* where long bodies go, as files without names; NULL: all bodies stay in memory */
    size_t spool_over;     /* [1 MiB] longer ones */
    uint64_t spool_max;    /* [1 GiB] of all such files: 503 */

    const struct assay_proxies *proxies; /* borrowed; whose word about a client's address is taken; NULL: nobody's */
    bool proxy_forwarded;                /* they say it in Forwarded, not in X-Forwarded-For */

    struct assay_limits *limits;         /* borrowed; NULL: nobody is counted */

    const char *environment;       /* "development": problem details name internal errors too */
    const char *const *cors_origins; /* NULL-terminated, "*" for any (never with credentials),
                                     * "localhost" for any port of this machine's own names; NULL: none */

    /* lent by the host; all may be called on any loop thread, and must not block */
    void *ctx;
    int (*offload)(void *ctx, void (*fn)(void *arg), void *arg); /* ASSAY_E_BUSY: 503 with Retry-After */
    void (*log)(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n); /* or NULL */
    void (*done)(void *ctx, const struct assay_front_record *r); /* access log and metrics; or NULL */
    bool (*trace)(void *ctx, struct assay_str parent, char out[ASSAY_TRACEPARENT]); /* as assay_host.trace_child; or NULL */
};

/* Why a handshake came to nothing. */
enum assay_tls_failure {
    ASSAY_TLS_TIMEOUT,    /* it took longer than a request's head may */
    ASSAY_TLS_CLOSED,     /* the client left */
    ASSAY_TLS_PLAIN_HTTP, /* HTTP without TLS */
    ASSAY_TLS_GARBAGE,    /* neither TLS nor HTTP */
    ASSAY_TLS_VERSION,    /* only versions that are not allowed */
    ASSAY_TLS_CIPHER,     /* no cipher suite, group or signature in common */
    ASSAY_TLS_ALPN,       /* it speaks another protocol than HTTP/1.1 */
    ASSAY_TLS_REFUSED,    /* the client's alert: it does not trust the certificate, as a rule */
    ASSAY_TLS_OTHER,
    ASSAY_TLS_FAILURES
};
extern const char *const assay_tls_failure_names[ASSAY_TLS_FAILURES];

struct assay_front_stats {
    uint64_t connections_open, connections_accepted, connections_refused;
    uint64_t requests, requests_waiting; /* waiting: handed to a worker or deferred */
    uint64_t parse_errors, timeouts;
    uint64_t late_answers; /* resumed after the client had gone or the deadline had passed */
    uint64_t tls_handshakes[2][2]; /* of TLS 1.2 and 1.3; whole and resumed */
    uint64_t tls_failures[ASSAY_TLS_FAILURES];
};

/* Compiles the routes, probes the parser (a build that is not strict is refused), makes the loops. */
int assay_front_new(const struct assay_front_config *cfg, struct assay_front **ret, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Starts the loop threads; from here on connections are accepted. */
int assay_front_start(struct assay_front *f, struct assay_err *err) ASSAY_MUST_CHECK;
/* Stops accepting, closes idle connections, lets what is under way end, each with Connection: close.
 * Blocks until all are gone or timeout_ms has passed; returns how many connections are still open. */
size_t assay_front_drain(struct assay_front *f, int64_t timeout_ms);
/* Stops and joins the loops, closes what is left. NULL is fine. */
void assay_front_free(struct assay_front *f);

/* assay_host.defer and .resume. status: ASSAY_OK to send *rs, or a negative code with *err (may be NULL). */
assay_ticket assay_front_defer(struct assay_request *rq);
void assay_front_resume(struct assay_front *f, assay_ticket t, int status, struct assay_response *rs,
                        const struct assay_err *err);

/* In a handler of the gateway's own, which then answers with success: the body is these bytes, in the place of rs->body.  They are
 * sent from where they are, so however many clients take them slowly they are in memory once; they live as long as the front. */
void assay_front_reply_fixed(struct assay_request *rq, struct assay_str bytes);

/* assay_host.stream_begin, .stream_write and .stream_end; see there. */
int assay_front_stream_begin(struct assay_front *f, assay_ticket t, struct assay_response *rs, void (*writable)(void *arg), void *arg,
                             struct assay_err *err) ASSAY_MUST_CHECK;
int assay_front_stream_write(struct assay_front *f, assay_ticket t, const void *p, size_t n, int64_t wait_ms) ASSAY_MUST_CHECK;
void assay_front_stream_end(struct assay_front *f, assay_ticket t, int status);

void assay_front_stats(const struct assay_front *f, struct assay_front_stats *out);

/* A front that was made but not started can be driven by hand, on one thread: give its first loop a connected
 * non-blocking socket (which it takes), and let it do what there is to do.  For the tests and the fuzz target. */
void assay_front_adopt(struct assay_front *f, int fd);
void assay_front_adopt_tls(struct assay_front *f, int fd);
void assay_front_turn(struct assay_front *f);

/* ASSAY_E_UNSUPPORTED, naming the probe, when llhttp was built loose. assay_front_new() asks it too. */
int assay_front_parser_probe(struct assay_err *err) ASSAY_MUST_CHECK;

#endif
