/*
 * Brokers: messages in and out through a message system that is there already, or over HTTP leases.
 *
 * A driver (kind ASSAY_PLUGIN_BROKER, named broker_<name>) moves bytes.  It knows queues, acknowledgements,
 * reconnects and credentials, and nothing of submissions: what a message says is in script.h, what becomes of it
 * is the submissions service's business (a worker's side) and the runner's (a gateway's side).
 *
 * Promises, in both directions: at least once.  A message given to the sink stays unsettled at the broker until
 * settle is called, so that it comes again after a crash, here or elsewhere; its `name` is then the same, which
 * is what the receiver knows it by.  A publication is over only when the broker has confirmed it.  A driver that loses
 * its connection tries again by itself, with growing delay, for as long as it runs, and says so in health.
 *
 * Threads: a driver has threads of its own and calls the sink on one of them, one call at a time per
 * consumer.  All operations may be called from any thread; none blocks on the network but stop.
 *
 * A driver's life: init (before the services' init; opens nothing that blocks) → start (before the services' start, in
 * which they call consume) → the plugin's drain, after the services': ends its threads, bounded; publications that are
 * still open are told ASSAY_E_TIMEOUT; when it returns no sink and no `done` is called any more → fini.
 *
 * Ownership: views in a message live for the call of `deliver`; views in a publication for the call of `publish`.
 */
#ifndef ASSAY_BROKER_H
#define ASSAY_BROKER_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

enum assay_channel {
    ASSAY_CHANNEL_WORK,    /* what is to be judged: Kafka's scripts, RabbitMQ's tasks */
    ASSAY_CHANNEL_RESULTS, /* what came out */
    ASSAY_CHANNEL_DEAD,    /* what nobody could take; only published to */
};
#define ASSAY_CHANNELS 3

struct assay_message {
    struct assay_str name; /* for ever the same for this message, at most 300 bytes: "scripts:0:17"; never empty */
    struct assay_str key;  /* the broker's key of it, or "" */
    struct assay_str body;
    struct assay_str reply_to, correlation; /* where the sender wants its answer, if the broker has such a thing */
    struct assay_str traceparent;           /* W3C, where the broker carries headers */
    int64_t deliveries;                     /* this one included; 0: the broker does not tell */
};

enum assay_settle {
    ASSAY_SETTLE_DONE,  /* never again */
    ASSAY_SETTLE_AGAIN, /* give it to somebody, after a while */
    ASSAY_SETTLE_DEAD,  /* the broker's own dead-letter place, where it has one; else the same as DONE */
};

/* Who receives. */
struct assay_broker_sink {
    void *arg;
    /* ASSAY_OK: taken; tag names it until settle or lost.  ASSAY_E_BUSY: no room now: the driver holds the message
     * back and offers it again, within a second at the latest, and asks the broker for no more meanwhile.  Any other
     * status: it cannot be stored now (the reason is logged by the sink); as ASSAY_E_BUSY. */
    int (*deliver)(void *arg, uint64_t tag, const struct assay_message *m);
    /* The message is no longer ours to answer (rebalanced, lease expired, connection gone): its result must not be
     * published unless it is delivered again, with a new tag. Not called for settled messages. */
    void (*lost)(void *arg, uint64_t tag);
};

struct assay_publication {
    enum assay_channel channel;
    struct assay_str key;  /* Kafka's key; elsewhere a message id */
    struct assay_str body;
    struct assay_str reply_to, correlation; /* of the message that this answers, or "" */
    struct assay_str traceparent;
    uint64_t answers; /* tag of the message that this answers, 0: none. HTTP leases need it. */
};
/* Once for each publication that was accepted, on a thread of the driver: ASSAY_OK when the broker has it for good.
 * ASSAY_E_GONE: it will never be accepted (a lease that is somebody else's now, a body over the broker's bound).
 * Any other status: not known to be there; publish it again. */
typedef void (*assay_published)(void *arg, int status, const struct assay_err *err);

/* Driver operations. Read a member only if size covers it. */
struct assay_broker_ops {
    uint32_t size;
    /* Begins to receive; once per channel (WORK or RESULTS) in the life of the driver, after init. At most in_flight messages are
     * unsettled at a time. ASSAY_E_UNSUPPORTED: this broker has no such channel. A server that is away is no error. */
    int (*consume)(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight,
                   struct assay_err *err);
    /* Exactly once per tag; unknown and lost tags are ignored. reason: for logs and dead letters, one line, or "". */
    void (*settle)(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason);
    /* ASSAY_E_BUSY: too many under way. ASSAY_E_UNSUPPORTED: no such channel here. On an error `done` is not called. */
    int (*publish)(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err);
    /* Takes no more messages; what is unsettled may still be settled, and publications still go out. Any number of times. */
    void (*quiet)(void *self);
    /* 0, or why it does not work at the moment; a note in err->msg with 0 is shown too. Never blocks. */
    int (*health)(void *self, struct assay_err *err);
    /* Since ABI 1.2, or NULL: a blob that a message names by its SHA-256, from where the message came. Blocks: worker
     * threads only. The bytes have that hash. ASSAY_E_NOT_FOUND: it is not there. */
    int (*fetch)(void *self, struct assay_str ref, size_t max, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
};

struct assay_broker {
    const struct assay_broker_ops *ops;
    void *self;
};

#ifdef __cplusplus
}
#endif
#endif
