/*
 * broker_amqp: RabbitMQ (AMQP 0-9-1) as a broker, on rabbitmq-c.
 *
 * Two links, each a thread with a connection of its own, since rabbitmq-c's connections belong to one thread and RabbitMQ
 * stops reading from a connection that publishes when its memory or disk runs low:
 *   in   one AMQP channel for each assay_channel that is consumed, in transaction mode;
 *   out  one AMQP channel in confirm mode, for publications.
 * What other threads ask for waits in a link's queue, behind its lock, and an eventfd wakes the thread.  Any fault of
 * a connection or a channel ends the whole link: everything unsettled is lost (and said so), and the link is made anew.
 *
 * Who a message is.  RabbitMQ has no offsets: what stays the same when a message is delivered again is its content.  So a
 * message with a message_id is known by that id and its body.  One without is given an id first: put back at the end of its
 * queue with a message_id of ours, and the original acknowledged, both in one transaction of the broker, before anybody
 * sees it ("stamped").  Thus two equal task messages are two tasks, and each of them stays one however often it comes.
 */
#ifndef BROKER_AMQP_LOCAL_H
#define BROKER_AMQP_LOCAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <amqp.h>
#include <amqp_framing.h>

#include <assay/broker.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define AQ_MAGIC 0x414d5150u
#define AQ_URLS 8
#define AQ_SETUP_CHANNEL 9 /* opened to declare queues, so that a refusal costs no consumer */
#define AQ_OUT_CHANNEL 1
#define AQ_NAME_SIZE 72

enum aq_metric_id { AQ_M_CONNECTS, AQ_M_CONNECTED, AQ_M_RECEIVED, AQ_M_SETTLED, AQ_M_LOST, AQ_M_PUBLISHED, AQ_M_WAITING, AQ_METRIC_COUNT };
extern const struct assay_metric aq_metrics[AQ_METRIC_COUNT];

struct aq_driver;
struct aq_link;

struct aq_link_ops {
    const char *name; /* "in", "out": of the thread, in logs and metrics */
    /* a connection was made: open what is needed for all of it */
    int (*opened)(struct aq_link *l, struct assay_err *err);
    /* the connection is gone, and why */
    void (*closed)(struct aq_link *l, const struct assay_err *why);
    /* whatever is to be done; called at each wake. *wait_ms: lowered to when it must be called again. Also without a connection. */
    int (*work)(struct aq_link *l, int64_t *wait_ms, struct assay_err *err);
    int (*frame)(struct aq_link *l, const amqp_frame_t *f, struct assay_err *err);
    bool (*idle)(struct aq_link *l); /* nothing is left to be done before the end */
};

struct aq_link {
    struct aq_driver *d;
    const struct aq_link_ops *ops;
    int wake; /* eventfd */
    atomic_bool stopping;

    pthread_mutex_t lock; /* guards the rest of this block, and the queue of the side that embeds it */
    pthread_t thread;
    bool started, ended, connected, blocked;
    int fd;         /* of the connection, so that stop can break it off */
    char why[300];  /* why it is not connected, or what blocks it */
    char note[300]; /* what works less well */

    /* the thread's own */
    amqp_connection_state_t conn;
    char peer[300]; /* host:port */
    unsigned tries;
    int64_t next_ns, stop_ns;
};

enum aq_state { AQ_STAMP, AQ_WAITING, AQ_TAKEN, AQ_RETRY };

struct aq_held { /* a message that is not settled yet */
    uint64_t tag, delivery;
    enum aq_state state;
    enum assay_channel ch;
    bool redelivered;
    int64_t due_ns;
    amqp_message_t m;
    char name[AQ_NAME_SIZE];
};

struct aq_command {
    struct aq_command *next;
    uint64_t tag;
    enum assay_settle how;
    char reason[]; /* one line */
};

struct aq_consumer { /* of one channel */
    bool wanted;     /* under the link's lock, once */
    struct assay_broker_sink sink;
    uint16_t in_flight;
    /* the thread's own */
    bool open, cancelled, dirty, committing;
    int64_t offer_ns; /* not before */
    int64_t pause_ms;
};

struct aq_in {
    struct aq_link l;
    struct aq_command *first, **last; /* under the lock */
    struct aq_consumer c[2];          /* WORK, RESULTS */
    atomic_bool quiet;
    /* the thread's own */
    struct aq_command *todo, **todo_last;
    struct aq_held **held;
    size_t n, room;
    uint64_t next_tag;
};

struct aq_item { /* a publication */
    struct aq_item *next;
    enum assay_channel ch;
    uint64_t seq; /* of the connection; 0: not sent */
    bool to_reply, returned;
    int64_t late_ns;
    assay_published done;
    void *arg;
    struct assay_str key, body, reply_to, correlation, traceparent;
    char text[];
};

struct aq_list {
    struct aq_item *first, **last;
};

struct aq_out {
    struct aq_link l;
    struct aq_list queued; /* under the lock */
    size_t count, bytes;   /* accepted and not over, under the lock */
    /* the thread's own */
    struct aq_list ready, sent;
    uint64_t seq;
    bool declared[ASSAY_CHANNELS];
};

struct aq_driver {
    uint32_t magic;
    const struct assay_host *host;
    struct assay_secret *urls;
    const char *queue, *results, *dead, *dead_exchange, *exchange; /* the host's */
    bool stamp, declare, quorum, dead_reject, tls_verify;
    int heartbeat_s;
    int64_t backoff_max_ms, publish_timeout_ms, retry_ms;
    size_t publish_max;
    atomic_size_t message_max; /* lowered when the broker says its own */
    struct aq_in in;
    struct aq_out out;
};

static inline struct aq_driver *aq_self(void *self)
{
    struct aq_driver *d = self;
    if (!d || d->magic != AQ_MAGIC)
        __builtin_trap();
    return d;
}

static inline amqp_bytes_t aq_bytes(struct assay_str s)
{
    union {
        const char *in;
        void *out;
    } u = {.in = s.p}; /* rabbitmq-c reads it only */
    return (amqp_bytes_t){s.n, u.out};
}
static inline struct assay_str aq_str(amqp_bytes_t b)
{
    return (struct assay_str){b.bytes, b.len};
}
void aq_count(struct aq_driver *d, enum aq_metric_id m, const char *a, const char *b);
const char *aq_channel_name(enum assay_channel ch);
const char *aq_queue_of(const struct aq_driver *d, enum assay_channel ch);

/* ---- conn.c: connections, TLS, declarations -------------------------------------------------------------------- */

/* Whether every URL in the list can be read; says which one cannot, without its password. */
int aq_urls_check(struct assay_str urls, struct assay_err *err) ASSAY_MUST_CHECK;
int aq_connect(struct aq_link *l, struct assay_err *err) ASSAY_MUST_CHECK;
void aq_disconnect(struct aq_link *l, bool orderly);
/* 0, or the reason in words. *code: of the broker's refusal, else 0. */
int aq_reply(amqp_rpc_reply_t r, int *code, struct assay_err *err, const char *what) ASSAY_MUST_CHECK;
int aq_status(int status, struct assay_err *err, const char *what) ASSAY_MUST_CHECK;
int aq_closed_by(const amqp_frame_t *f, int *code, struct assay_err *err); /* a close of channel or connection, in words */
/* The queue of a channel, and for dead letters the exchange; an existing queue is used as it is. */
int aq_declare(struct aq_link *l, enum assay_channel ch, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- link.c: the thread of a link ------------------------------------------------------------------------------- */

int aq_link_init(struct aq_link *l, struct aq_driver *d, const struct aq_link_ops *ops, struct assay_err *err) ASSAY_MUST_CHECK;
int aq_link_start(struct aq_link *l, struct assay_err *err) ASSAY_MUST_CHECK; /* any number of times */
void aq_link_wake(struct aq_link *l);
void aq_link_stop(struct aq_link *l);
void aq_link_free(struct aq_link *l);
void aq_link_note(struct aq_link *l, const char *fmt, ...) ASSAY_PRINTF(2, 3);

/* ---- in.c, message.c, out.c --------------------------------------------------------------------------------------- */

extern const struct aq_link_ops aq_in_ops, aq_out_ops;
void aq_in_init(struct aq_in *in);
void aq_in_free(struct aq_in *in);
int aq_consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight, struct assay_err *err);
void aq_settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason);
void aq_quiet(void *self);

/* The message as the sink sees it; stamped: it has a message_id. */
void aq_message(const struct aq_driver *d, struct aq_held *h, struct assay_message *out);
bool aq_has_id(const struct aq_held *h);
void aq_name(const struct aq_driver *d, struct aq_held *h);
/* Puts a copy with an id at the end of the queue / a copy with the reason in the dead-letter queue; neither is committed yet. */
int aq_stamp(struct aq_link *l, struct aq_held *h, struct assay_err *err) ASSAY_MUST_CHECK;
int aq_bury(struct aq_link *l, struct aq_held *h, struct assay_str reason, struct assay_err *err) ASSAY_MUST_CHECK;

void aq_out_init(struct aq_out *out);
void aq_out_end(struct aq_out *out); /* the thread has ended: says so for what is not over */
void aq_out_free(struct aq_out *out);
int aq_publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err);

#endif
