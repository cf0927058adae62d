/*
 * What the files of the HTTP front share, and nobody else includes.
 *
 *   http.c           the front: configuration, loops and their threads, start, drain, stop, tickets
 *   http_memory.c    what libevent allocates through
 *   http_conn.c      a connection: its phases, its deadlines, its reads and writes
 *   http_head.c      from bytes to a request: llhttp, and the rules that llhttp does not hold
 *   http_exchange.c  a request's way: route, gate, limits, handler, ticket, answer
 *   http_reply.c     from an answer to bytes
 *   http_stream.c    answers in pieces
 *   http_spool.c     bodies that are too long for memory
 *   http_tls.c       a connection over TLS (tls_none.c in a build without)
 *
 * Everything here belongs to one loop's thread except what a ticket lends out: from the moment an
 * exchange is `away` (on a worker, or deferred) until its mail comes back, the loop touches no more of it
 * than `conn`, which is the loop's alone.
 */
#ifndef ASSAY_GATEWAY_HTTP_IMPL_H
#define ASSAY_GATEWAY_HTTP_IMPL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <llhttp.h>

#include <assay/value.h>

#include "gate.h"
#include "http.h"
#include "limits.h"
#include "problem.h"
#include "proxies.h"
#include "queue/mailbox.h"

#define MS_NS INT64_C(1000000)
#define S_NS INT64_C(1000000000)

/* A deadline may come this much late; the wheel turns a slot each time. */
#define TICK_NS (250 * MS_NS)
#define WHEEL_SLOTS 256u

/* Unread input of a connection whose request is still being answered, and unsent output beyond which its
 * next request waits: together they bound what a connection holds besides its one request. */
#define INPUT_MAX ((size_t)16 << 10)
#define OUTPUT_MAX ((size_t)256 << 10)
/* Bodies from here on are handed to the kernel from where they are, smaller ones are copied behind their head. */
#define BODY_COPY_MAX ((size_t)16 << 10)
/* What a spooled body collects before a worker writes it to its file. */
#define SPOOL_PIECE ((size_t)256 << 10)
#define LINGER_NS (2 * S_NS)
#define LINGER_BYTES ((size_t)1 << 20)

#define SLOT_CHUNK 256u
#define SLOT_CHUNKS 256u
#define LOOPS_MAX 64u
#define SPARE_EXCHANGES 64u

#define CONN_MAGIC 0x636f6e6eu
#define EXCHANGE_MAGIC 0x78636867u

struct loop;
struct conn;
struct conn_tls;
struct stream;

struct field {
    uint32_t name, name_n, value, value_n; /* in exchange.head */
};

/* An answer that is known before the handler is asked; status 0: none. */
struct early {
    int status;
    struct assay_str detail; /* a constant, or in the arena */
};

struct exchange {
    uint32_t magic;
    bool away;        /* lent out: a worker or a ticket's holder has it */
    bool has_name;    /* the parser has begun a header field and not ended it */
    bool in_value;    /* ... and is past its colon */
    bool head_only;   /* HEAD */
    bool keep_alive;
    bool http10;
    bool chunked;
    bool wants_continue;
    bool spools;      /* the body goes to a file */
    bool spool_last;  /* the piece under way is its last */
    bool streams;     /* the loop's: the head of a stream has gone out */
    uint32_t slot;    /* with ticket */
    assay_ticket ticket; /* 0: none taken */
    struct assay_mail mail;
    struct loop *loop;
    struct conn *conn; /* NULL once the client has gone */
    struct exchange *next_spare;

    struct assay_request rq;
    struct assay_principal who;
    const struct assay_bound_route *bound;
    struct assay_arena *arena;
    const char *method; /* "GET"; "" before it is known */
    enum assay_method rq_method; /* GET for HEAD too; 0 for OPTIONS and what is unknown */
    uint32_t allow;     /* methods of the path */
    struct assay_str authorization, origin; /* p NULL: not sent */
    struct assay_str scheme; /* as the client sees it: over TLS here, or before a proxy whose word counts */

    char *head; /* target, then names (lower case) and values */
    uint32_t head_n, head_room, target_n;
    struct field *field;
    uint32_t n_fields, field_room;
    uint64_t content_length;

    struct assay_buf body;
    size_t body_counted; /* against the loop's budget */
    uint64_t body_total; /* bytes that came, wherever they are now */
    uint64_t spooled, spool_counted; /* bytes in the file; counted against spool_max */
    void *map;           /* of the file */
    size_t body_wire;    /* with what chunking adds */
    int64_t body_started_ns;

    struct early early;
    struct assay_limit_state limit;
    struct assay_str token;
    struct assay_gate_verdict verdict;

    /* what the worker or the ticket's holder hands back */
    int rc;
    struct assay_response rs;
    struct assay_str message; /* of the error, in the arena */
    struct stream *stream;    /* NULL: the answer comes at once */
    struct assay_str fixed;   /* in the place of a body: bytes that outlive every connection */

    char request_id[65];
    char trace[ASSAY_TRACEPARENT]; /* with rq.traceparent, where the host keeps traces */
    struct assay_str trace_parent; /* the client's, or "" */
    char inline_head[1024];
    struct field inline_field[16];
};

enum phase {
    PHASE_IDLE,    /* between requests */
    PHASE_HEAD,
    PHASE_GATE,    /* who asks is being looked up on a worker */
    PHASE_BODY,
    PHASE_SPOOL,   /* a worker writes a piece of the body to its file */
    PHASE_WAIT,    /* a worker or a ticket's holder makes the answer */
    PHASE_STREAM,  /* an answer in pieces is under way */
    PHASE_CLOSING, /* close when the output has gone out */
    PHASE_LINGER,  /* our side is shut; what still comes is thrown away, so that no reset eats the answer */
};

struct conn {
    uint32_t magic;
    uint8_t phase; /* enum phase */
    bool dead;     /* destroyed at the end of the turn */
    bool eof;
    bool linger;   /* the client may still be sending: do not close at once */
    bool parser_owes; /* resumed after a pause: it may have news without another byte */
    bool queued_again;
    bool trusted; /* the peer is a proxy whose word about its client counts */
    struct loop *loop;
    int fd;
    struct bufferevent *bev;      /* NULL over TLS */
    struct conn_tls *tls;         /* NULL in the clear */
    const char *tls_version;      /* "1.3"; NULL in the clear, and before the handshake is over */
    struct evbuffer *in, *out;    /* read and not yet taken; said and not yet sent: the bufferevent's, or ours over TLS */
    struct exchange *x; /* the one request under way */
    struct conn *next, **link; /* of its wheel slot */
    struct conn *next_again;
    int64_t due_tick;
    int64_t deadline_ns;       /* of the phase; while idle it waits for the output to go out */
    int64_t write_deadline_ns; /* 0: nothing unsent */
    size_t unsent;             /* of memory, as the loop has counted it */
    uint64_t put;              /* bytes that were ever put into the output */
    uint64_t fixed_from, fixed_to; /* of those, the last that are fixed and cost no memory */
    struct conn *owed_before, *owed_after; /* while unsent: among those of the loop, by when it began */
    bool cut;                  /* given up: the loop had too much unsent */
    size_t head_wire;          /* bytes of the present head, white space and all */
    size_t lingered;
    struct early fault;        /* why the parser was stopped by one of our callbacks */
    char last;                 /* last byte of the head seen by the guard */
    llhttp_t parser;
    char remote[46];
};

struct slot {
    _Atomic uint32_t generation; /* odd while a ticket is out */
    uint32_t next_free;
    struct exchange *x;
};

struct door { /* what a listener's callback is given */
    struct loop *loop;
    bool tls;
};

struct loop {
    struct assay_front *front;
    unsigned index;
    pthread_t thread;
    bool running; /* thread was started */
    bool draining;
    struct event_base *base;
    struct evconnlistener **listener;
    size_t n_listeners;
    struct door door[2]; /* in the clear, over TLS */
    struct assay_mailbox *box;
    struct event *box_event, *tick_event, *again_event;
    struct assay_mail drain_mail, stop_mail;
    struct assay_gate_cache *cache;

    int64_t now_ns;
    int64_t listeners_off_until_ns; /* out of descriptors: 0 or when to try again */
    struct assay_buf out;           /* what the present turn says to its connection */
    struct conn *wheel[WHEEL_SLOTS];
    int64_t tick;
    size_t conns;
    struct conn *again;
    size_t unsent;                  /* answers that clients have not taken */
    struct conn *owed_first, *owed_last;
    size_t body_bytes;
    struct exchange *spare;
    unsigned n_spare;
    uint64_t next_request;
    char date[48];
    size_t date_n;
    int64_t date_ns;

    struct slot *_Atomic chunk[SLOT_CHUNKS];
    uint32_t n_slots, free_slot; /* free_slot: index + 1, 0 when none */

    /* one writer, the loop */
    _Atomic uint64_t accepted, refused, requests, waiting, parse_errors, timeouts, late;
    _Atomic uint64_t tls_handshakes[2][2]; /* of TLS 1.2 and 1.3; whole and resumed */
    _Atomic uint64_t tls_failures[ASSAY_TLS_FAILURES];
};

struct assay_front {
    struct assay_front_config cfg; /* with the defaults filled in */
    struct assay_router *router;
    struct loop *loop[LOOPS_MAX];
    unsigned n_loops;
    char id_prefix[17]; /* random: begins the request ids of this process */
    bool development;
    char hsts[64]; /* the header's line; "" for none */
    atomic_size_t conns;
    pthread_mutex_t drain_lock; /* guards nothing but the sleep on drained */
    pthread_cond_t drained;
    atomic_bool draining, freeing;
    _Atomic uint64_t spooled; /* bytes of bodies in files, over all loops */
};

static inline void count(_Atomic uint64_t *n, int64_t by)
{
    /* one writer: no need for an atomic addition, only for a store that does not tear */
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + (uint64_t)by, memory_order_relaxed);
}

extern _Thread_local struct loop *assay_this_loop;
static inline void loop_own(const struct loop *l)
{
    assert(assay_this_loop == l);
}
static inline struct exchange *exchange_check(void *p)
{
    struct exchange *x = p;
    assert(x && x->magic == EXCHANGE_MAGIC);
    return x;
}
static inline struct conn *conn_check(void *p)
{
    struct conn *c = p;
    assert(c && c->magic == CONN_MAGIC);
    return c;
}

/* ---- http.c */
void assay_loop_log(struct loop *l, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n);
/* A ticket for x; 0 when there are none left. */
assay_ticket assay_loop_ticket(struct loop *l, struct exchange *x);
void assay_loop_ticket_back(struct loop *l, struct exchange *x);
/* The exchange of a ticket that is out, for its holder, or NULL. */
struct exchange *assay_loop_ticket_holder(struct assay_front *f, assay_ticket t);

/* ---- http_memory.c */
void assay_libevent_memory(void); /* before libevent allocates anything */
/* No more than that is read ahead; false when there is no memory. */
bool assay_bound_input(struct bufferevent *bev, size_t most) ASSAY_MUST_CHECK;

/* ---- http_conn.c */
/* Takes the socket over; closes it when that fails. */
void assay_conn_new(struct loop *l, int fd, const char *remote, bool tls);
/* Work on a connection is done between these two; after the end it may be gone. */
void assay_conn_begin(struct conn *c);
void assay_conn_end(struct conn *c);
/* Reads on from where the connection stands. */
void assay_conn_consume(struct conn *c);
/* After an answer was put into the loop's out: the connection's next phase. */
void assay_conn_answered(struct conn *c, bool keep);
/* Sends the loop's out, and then *body, whose memory it takes; body may be NULL. */
void assay_conn_flush(struct conn *c, struct assay_buf *body);
/* Sends the loop's out, and then bytes that outlive the connection: they are not copied. */
void assay_conn_flush_fixed(struct conn *c, struct assay_str bytes);
/* Until when the body that is under way must have come. */
void assay_conn_body_deadline(struct conn *c);
/* Inside a turn: c->in may have more; c->out has gone; no more will come. */
void assay_conn_readable(struct conn *c);
void assay_conn_writable(struct conn *c);
void assay_conn_ended(struct conn *c);
/* It goes on by itself, after the others have had their turn. */
void assay_conn_go_on(struct conn *c);
void assay_conn_tick(struct loop *l);
void assay_conn_again(struct loop *l);
/* Closes what idles and ends streams that would not end. */
void assay_conn_drain(struct loop *l);
void assay_conn_close_all(struct loop *l);

/* ---- http_head.c */
enum parsed { PARSED_MORE, PARSED_HEAD, PARSED_MESSAGE, PARSED_BAD };
void assay_head_init(struct conn *c);
/* Feeds bytes; *used says how many were taken. BAD: c->fault says what to answer before closing. */
enum parsed assay_head_feed(struct conn *c, const char *p, size_t n, size_t *used);
/* Holds the finished head to the rules and fills x->rq; false: x->early says what to answer. */
bool assay_head_finish(struct exchange *x);
/* Takes the client's id when it is sane, else makes one. */
void assay_head_request_id(struct exchange *x, struct assay_str given);
/* Unique by process (random), loop and number; cheaper than a UUID and as good to grep for. Gives its length. */
#define ASSAY_REQUEST_ID 31
size_t assay_loop_request_id(struct loop *l, char out[ASSAY_REQUEST_ID]);
struct assay_str assay_head_get(const struct exchange *x, const char *name);

/* ---- http_exchange.c */
struct exchange *assay_exchange_new(struct conn *c); /* NULL on no memory */
void assay_exchange_free(struct exchange *x);
void assay_exchange_head(struct exchange *x);     /* the head is whole */
void assay_exchange_dispatch(struct exchange *x); /* the message is whole */
/* The client has gone, or waits no longer. */
void assay_exchange_detach(struct exchange *x, int status);
/* The exchange is lent out and will be late: its connection gets a fresh one in its place, which says 504. */
void assay_exchange_give_up(struct exchange *x);
/* Answers at once with a problem and closes, whatever is still unread. */
void assay_conn_refuse(struct conn *c, int status, struct assay_str detail);

/* ---- http_reply.c */
/* Renders the handler's answer (rc, *rs, message) and ends the exchange. Consumes *rs. */
void assay_reply(struct exchange *x, int rc, struct assay_response *rs, struct assay_str message);
/* A stream's answer: may its head go out?  And the head itself; what *rs holds stays the caller's. */
int assay_reply_check_stream(const struct assay_response *rs, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_reply_stream_head(struct exchange *x, const struct assay_response *rs);
/* A problem without a handler. */
void assay_reply_early(struct exchange *x, const struct early *e);
void assay_reply_record(struct exchange *x, int status, size_t bytes_out);

/* ---- http_stream.c; all but free on the loop */
void assay_stream_pump(struct exchange *x);   /* there may be room for more */
void assay_stream_gone(struct exchange *x);   /* nobody reads any more */
void assay_stream_finish(struct exchange *x); /* the holder has said that it was all */
void assay_stream_drain(struct conn *c);
void assay_stream_free(struct stream *st);

/* ---- http_tls.c; all on the loop, inside a turn but for start and end; only where c->tls is set, but for these two */
/* Makes c->in and c->out; false: no memory, and assay_tls_end takes back what was made. */
bool assay_tls_start(struct conn *c, struct assay_tls *from) ASSAY_MUST_CHECK;
void assay_tls_end(struct conn *c);
size_t assay_tls_send(struct conn *c, const char *p, size_t n);
void assay_tls_again(struct conn *c);  /* its turn after assay_conn_go_on */
void assay_tls_settle(struct conn *c); /* at the end of a turn: what is waited for now */
bool assay_tls_bye(struct conn *c);    /* close_notify; false: once more when there is room for it */
void assay_tls_timed_out(struct conn *c); /* counts it, if it was still shaking hands */

/* ---- http_spool.c */
void assay_spool_out(struct exchange *x, bool last); /* lends x to a worker, or refuses */
void assay_spool_free(struct exchange *x);

#endif
