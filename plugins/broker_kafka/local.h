/*
 * broker_kafka: what its files share.
 *
 * One struct bk_driver per loaded driver: at most one consumer per channel, each with a thread of its own (consumer.c)
 * and a ledger of what is under way per partition (ledger.c); one producer with a thread of its own (producer.c).
 * Only these files include librdkafka.
 *
 * Locks: bk_consumer.lock guards the slots, the entries' states and the list of settlements; bk_producer.lock guards the
 * handle and the list of early ends; bk_state.lock guards what health says.  No two are held at once, and none while a
 * function of the receiver's is called.
 */
#ifndef BROKER_KAFKA_LOCAL_H
#define BROKER_KAFKA_LOCAL_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <assay/broker.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define BK_MAGIC 0x4b61666bu
#define BK_NS_MS INT64_C(1000000)

/* ---- props.c: librdkafka's properties ----------------------------------------------------------------------- */

enum bk_role { BK_CONSUMER, BK_PRODUCER };

struct bk_prop {
    char *name, *value; /* the value may be a secret: it is never shown */
    const char *origin; /* borrowed: "kafka_properties" or the file's name */
    int line;
    bool roles[2]; /* whom it is for, by enum bk_role */
};
struct bk_props {
    struct bk_prop *item;
    size_t n, room;
};
/* "a=b,c=d" (a comma in a value is written \,) and a file of "a=b" lines. What is wrong is appended to faults, a line each. */
int bk_props_read(struct bk_props *p, struct assay_str list, const char *file, struct assay_buf *faults, struct assay_err *err) ASSAY_MUST_CHECK;
void bk_props_free(struct bk_props *p);
/* The value of the last property of that name for that role, or NULL. */
const char *bk_props_get(const struct bk_props *p, enum bk_role role, const char *name);
/* Whether a value of this name must not be shown. */
bool bk_props_secret(const char *name);

/* ---- ledger.c: what is under way of one partition ------------------------------------------------------------- */

/* So many offsets above the lowest that is not settled are taken; as many bits travel with a commit. */
#define BK_WINDOW 8192

enum bk_at {
    BK_WAITING, /* to be given to the receiver */
    BK_GIVEN,
    BK_ENDED,   /* settled by the receiver, its end not yet processed */
    BK_DYING,   /* on its way to the dead-letter topic */
    BK_SETTLED, /* nothing left to do but to wait for those before it */
};

struct bk_part;
struct bk_burial;
struct bk_entry {
    struct bk_entry *next;   /* by offset */
    struct bk_entry *q_next; /* of the consumer's list that it is on */
    struct bk_part *part;
    int64_t offset;
    _Atomic int at; /* enum bk_at; written with the lock of the consumer while the receiver has it */
    uint64_t tag; /* while BK_GIVEN */
    enum assay_settle how;
    char *reason;
    size_t publishing; /* publications that answer it and are not over */
    bool published;    /* the broker has one */
    int64_t not_before_ns;
    unsigned tries;
    /* the message, until it is settled */
    char *bytes;
    struct assay_str key, body, traceparent;
    size_t size; /* of the bytes */
    struct bk_burial *burial; /* while its publication to the dead-letter topic is under way */
};

struct bk_part {
    struct bk_part *next_part;
    char *topic;
    int32_t number;
    struct bk_entry *first, *last;
    size_t n;
    int64_t next;      /* the offset after the last that left the ledger; -1: none has */
    int64_t committed; /* what the broker last acknowledged; -1: unknown */
    bool dirty;        /* something to commit */
    bool paused;       /* by us */
    /* what an earlier owner had settled above its committed offset */
    int64_t skip_base;
    unsigned char *skip;
    size_t skip_n; /* bits */
};

struct bk_part *bk_part_new(const char *topic, int32_t number);
void bk_part_free(struct bk_part *p); /* with all its entries */
void bk_entry_free(struct bk_entry *e);
/* Takes the entry, whose offset is above all that the ledger has seen: false (and the entry is the caller's) when it is not. */
bool bk_part_add(struct bk_part *p, struct bk_entry *e) ASSAY_MUST_CHECK;
/* The entry is settled; drops what is settled from the front. Entries that leave are freed. */
void bk_part_settle(struct bk_part *p, struct bk_entry *e);
/* Whether offset may be taken now. */
bool bk_part_room(const struct bk_part *p);
/* The offset to commit, -1 when there is none. */
int64_t bk_part_offset(const struct bk_part *p);
/* The metadata of the commit of that offset: which above it are settled. "" when none is. */
int bk_part_mark(const struct bk_part *p, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Reads such a metadata; what is none of ours is passed over. */
void bk_part_recall(struct bk_part *p, int64_t offset, struct assay_str mark);
/* Whether an earlier owner has settled this offset. */
bool bk_part_known(const struct bk_part *p, int64_t offset);

/* ---- state: what health and the metrics say --------------------------------------------------------------------- */

struct bk_driver;
/* The opaque of each of librdkafka's handles. */
struct bk_state {
    struct bk_driver *d;
    const char *word; /* "work", "results", "producer" */
    pthread_mutex_t lock; /* guards what follows */
    bool down;       /* no broker answers */
    char reason[300]; /* the last error of the transport, or why it is down */
    char trouble[300]; /* what does not work though a broker answers, "" for nothing */
};

/* ---- consumer.c, rebalance.c ------------------------------------------------------------------------------------------------ */

struct bk_slot {
    struct bk_entry *entry; /* NULL: free */
    uint64_t generation;
    uint32_t next_free;
};

struct bk_queue { /* of entries, by q_next */
    struct bk_entry *first, *last;
    size_t n;
};

struct bk_consumer {
    struct bk_driver *d;
    enum assay_channel channel;
    const char *topic, *group;
    struct assay_broker_sink sink;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int wake_fd;
    pthread_t thread;
    bool started;
    struct bk_state state;

    _Atomic bool quiet, stop, dead; /* dead: nothing of the receiver's is called any more */
    _Atomic int64_t parts_n;        /* partitions assigned */
    _Atomic int64_t given;          /* messages that the receiver holds */

    pthread_mutex_t lock; /* guards slots, states of entries, ends */
    struct bk_slot *slot;
    uint32_t slots, free_slot; /* free_slot: index + 1, 0 for none */
    struct bk_queue ends;      /* BK_ENDED, and BK_DYING whose publication is over */

    /* the consumer's thread alone */
    struct bk_part *parts;
    struct bk_queue waiting; /* BK_WAITING, in the order in which they are offered */
    struct bk_queue later;   /* not before their time: settled for another try, or not yet buried */
    rd_kafka_message_t *stuck; /* there was no memory for it */
    size_t held;         /* bytes of messages */
    bool paused;         /* all partitions, for want of room or because of quiet */
    bool committing;     /* one commit is on its way */
    bool leave;          /* quiet, and nothing is unsettled */
    int64_t commit_ns;   /* when the next may go out */
    int64_t offer_ns;    /* after a refusal: when the next offer is made; 0: now */
    int64_t refusals;
    int64_t probe_ns;
    int64_t lag_ns;
};

int bk_consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight, struct assay_err *err)
    ASSAY_MUST_CHECK;
void bk_settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason);
/* The publication that answers tag begins: ASSAY_E_GONE when the message is not ours any more. */
int bk_answer_begins(struct bk_driver *d, uint64_t tag, struct assay_err *err) ASSAY_MUST_CHECK;
void bk_answer_ends(struct bk_driver *d, uint64_t tag, bool ok);
void bk_consumer_quiet(struct bk_consumer *c);
/* Leaves the group and ends the thread. Nothing of the receiver's is called when it has returned. */
void bk_consumer_stop(struct bk_consumer *c);
void bk_consumer_free(struct bk_consumer *c);

/* within the consumer's files, on its thread */
struct bk_part *bk_part_find(struct bk_consumer *c, const char *topic, int32_t number);
void bk_ends_process(struct bk_consumer *c);
/* What is to be committed of these partitions (NULL: of all); NULL when there is nothing. */
rd_kafka_topic_partition_list_t *bk_commit_list(struct bk_consumer *c, const rd_kafka_topic_partition_list_t *only);
void bk_committed(struct bk_consumer *c, rd_kafka_resp_err_t code, const rd_kafka_topic_partition_list_t *list);
/* Takes the messages of the partition from the receiver, and tells it. */
void bk_part_lose(struct bk_consumer *c, struct bk_part *p);
/* Forgets what is under way of the partition; afterwards nothing refers to its entries. */
void bk_part_empty(struct bk_consumer *c, struct bk_part *p);
void bk_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *opaque);

void bk_queue_push(struct bk_queue *q, struct bk_entry *e);
struct bk_entry *bk_queue_pop(struct bk_queue *q);
bool bk_wait(int fd, int64_t ms); /* for a wake-up; true when there was one */
void bk_wake(int fd);

/* ---- producer.c ----------------------------------------------------------------------------------------------------- */

struct bk_pub {
    struct bk_driver *d;
    assay_published done;
    void *arg;
    uint64_t answers;
    struct bk_pub *next; /* on the list of early ends */
    int status;
    char why[160];
    char channel;
};

struct bk_producer {
    pthread_t thread;
    bool started;
    int wake_fd;
    _Atomic bool stop;
    struct bk_state state;

    pthread_mutex_t lock; /* guards rk, under_way, early, idempotent */
    rd_kafka_t *rk;       /* NULL while it is made anew */
    rd_kafka_queue_t *queue;
    size_t under_way;
    struct bk_pub *early, *early_last; /* whose end needs no broker */
    bool idempotent;
    _Atomic int fatal; /* set by librdkafka's callback */
    int64_t probe_ns;
    int64_t again_ns;
};

int bk_producer_start(struct bk_driver *d, struct assay_err *err) ASSAY_MUST_CHECK;
int bk_publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err) ASSAY_MUST_CHECK;
struct bk_head {
    const char *name;
    struct assay_str value;
};
int bk_send(struct bk_driver *d, enum assay_channel channel, struct assay_str key, struct assay_str body,
            const struct bk_head *heads, size_t n_heads, uint64_t answers, assay_published done, void *arg, struct assay_err *err) ASSAY_MUST_CHECK;
/* Waits up to wait_ms for what is under way, then ends it, so that each `done` has been called, and ends the thread. */
void bk_producer_stop(struct bk_driver *d, int64_t wait_ms);
void bk_producer_free(struct bk_driver *d);

/* ---- plugin.c, driver.c ------------------------------------------------------------------------------------------------ */

struct bk_driver {
    uint32_t magic;
    const struct assay_host *host;
    struct bk_props props;
    char *brokers, *topic, *group, *results_topic, *results_group, *dead_topic;
    int64_t revoke_wait_ms, stop_wait_ms;
    size_t buffer;
    pthread_mutex_t lock; /* guards consumer[] as it is filled */
    struct bk_consumer *_Atomic consumer[ASSAY_CHANNELS];
    struct bk_producer producer;
    bool stopped; /* main thread */
};

static inline struct bk_driver *bk_self(void *self)
{
    struct bk_driver *d = self;
    if (!d || d->magic != BK_MAGIC)
        __builtin_trap();
    return d;
}

extern const struct assay_broker_ops bk_ops;
void bk_stop(struct bk_driver *d);

/* A configuration with our defaults, then the user's properties. What is wrong is appended to faults, a line each; NULL then. */
rd_kafka_conf_t *bk_conf(struct bk_driver *d, enum bk_role role, const char *group, bool idempotent, struct assay_buf *faults);

int bk_state_init(struct bk_state *s, struct bk_driver *d, const char *word, struct assay_err *err) ASSAY_MUST_CHECK;
void bk_state_free(struct bk_state *s);
void bk_state_error(rd_kafka_t *rk, int code, const char *reason, void *opaque); /* librdkafka's error_cb */
void bk_state_up(struct bk_state *s);
void bk_state_trouble(struct bk_state *s, const char *fmt, ...) ASSAY_PRINTF(2, 3);
bool bk_state_is_down(struct bk_state *s);
/* Asks for what the client knows already, when nothing else says whether a broker answers. Blocks up to 200 ms. */
void bk_state_probe(struct bk_state *s, rd_kafka_t *rk, int64_t *next_ns);
void bk_log(const rd_kafka_t *rk, int level, const char *facility, const char *text);

extern const struct assay_metric bk_metrics[];
enum { BK_METRIC_MESSAGES, BK_METRIC_PUBLISHED, BK_METRIC_REBALANCES, BK_METRIC_COMMITS, BK_METRIC_LAG, BK_METRIC_PARTITIONS,
       BK_METRIC_CONNECTED, BK_METRIC_COUNT };
void bk_count(struct bk_driver *d, int metric, const char *a, const char *b, double by);
void bk_gauge(struct bk_driver *d, int metric, const char *a, const char *b, double to);

#endif
