/*
 * broker_sqs: what its files share.
 */
#ifndef BROKER_SQS_LOCAL_H
#define BROKER_SQS_LOCAL_H

#include <pthread.h>
#include <stdint.h>

#include <assay/broker.h>
#include <assay/json.h>
#include <assay/plugin.h>
#include <assay/value.h>

#include "plugins/aws/aws.h"

#define BQ_MAGIC 0x73717362u
#define BQ_BATCH 10               /* the service's bound */
#define BQ_ANSWER_MAX ((size_t)32 << 20)
#define BQ_OPEN_MAX 2000          /* publications under way */
#define BQ_OPEN_BYTES ((size_t)64 << 20)
#define BQ_REASON 256

enum bq_phase {
    BQ_OFFERED, /* received, not taken by the sink yet */
    BQ_HELD,    /* the sink's; its visibility is renewed */
    BQ_DELETE, BQ_AGAIN, BQ_DEAD, /* settled; what is still to be told SQS */
};

struct bq_held {
    struct bq_held *next;
    uint64_t tag;
    enum assay_channel channel;
    enum bq_phase phase;
    bool delivering; /* its bytes are in the sink's hands: not to be freed */
    bool now;        /* AGAIN without a pause */
    bool lost;       /* SQS does not know the receipt any more */
    int64_t until_ns, due_ns; /* end of its visibility; when the next request about it may go */
    int tries;
    int64_t deliveries;
    char reason[BQ_REASON];
    char *name, *receipt, *key, *correlation, *traceparent, *body;
    size_t body_n;
};

struct bq_open { /* a publication */
    struct bq_open *next;
    enum assay_channel channel;
    assay_published done;
    void *arg;
    size_t bytes;
    bool refused; /* SQS will never take it; body says why */
    char *body, *key, *correlation, *traceparent, *dedup;
};

struct bq_queue {
    char *url;
    bool fifo;
};

struct bq_consumer {
    struct bq_broker *b;
    enum assay_channel channel;
    struct assay_broker_sink sink;
    size_t in_flight;
    bool used, running;
    pthread_t thread;
    pthread_mutex_t call; /* held while the sink is called; taken before the broker's lock */
};

struct bq_broker {
    uint32_t magic;
    const struct assay_host *host;
    struct aws_client *client, *poll_client; /* long polls have their own, so that they alone can be ended */
    struct bq_queue queue[ASSAY_CHANNELS];
    bool dead_known; /* the dead-letter queue was looked for */
    int64_t visibility_s, wait_s;
    size_t message_max;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    struct bq_consumer consumer[2]; /* WORK, RESULTS */
    struct bq_held *held;
    uint64_t last_tag;
    struct bq_open *first_open, *last_open;
    size_t n_open, open_bytes;
    bool quiet, stop, keeper_runs, sender_runs, keeper_idle, sender_idle;
    pthread_t keeper, sender;
    struct assay_err trouble[3]; /* of receiving, settling, sending; code 0: none */
};

extern const struct assay_metric bq_metrics[];
enum { BQ_METRIC_REQUESTS, BQ_METRIC_SECONDS, BQ_METRIC_MESSAGES, BQ_METRICS };
enum { BQ_RECEIVING, BQ_SETTLING, BQ_SENDING };

/* driver.c */
extern const struct assay_broker_ops bq_ops;
int bq_start(struct bq_broker *b, struct assay_err *err) ASSAY_MUST_CHECK;
void bq_drain(struct bq_broker *b);
void bq_trouble(struct bq_broker *b, int which, int rc, const struct assay_err *err);
void bq_wait_ms(struct bq_broker *b, int64_t ms); /* with the lock held; ends early when woken */
int bq_request(struct bq_broker *b, struct aws_client *client, const char *operation, struct assay_jw *body, int64_t timeout_ms, int tries,
               struct aws_answer *a, struct assay_err *err) ASSAY_MUST_CHECK;
void bq_open_free(struct bq_open *o); /* sender.c */
void bq_held_free(struct bq_held *h);
struct bq_held *bq_find(struct bq_broker *b, uint64_t tag);
void bq_remove(struct bq_broker *b, struct bq_held *h);
void bq_count(struct bq_broker *b, const char *what, size_t n);

/* codec.c */
struct bq_message {
    struct assay_str name, receipt, body, deliveries_text, key, correlation, traceparent;
};
struct bq_result {
    int index;        /* of the entry */
    bool ok, theirs;  /* theirs: our fault, it will never be taken */
    struct assay_str code, message;
};
int bq_decode_messages(struct assay_str json, struct assay_arena *arena, struct bq_message **out, size_t *n, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Results of n entries that were numbered "0".."9"; those that the answer does not name are not ok. */
int bq_decode_batch(struct assay_str json, struct assay_arena *arena, size_t n, struct bq_result out[BQ_BATCH], struct assay_err *err)
    ASSAY_MUST_CHECK;
void bq_explain(struct assay_str body, char code[64], char message[256]);
/* The name and account of the dead-letter queue in an answer to GetQueueAttributes. ASSAY_E_NOT_FOUND: there is none. */
int bq_decode_redrive(struct assay_str json, char name[128], char account[32], struct assay_err *err) ASSAY_MUST_CHECK;
int bq_decode_url(struct assay_str json, struct assay_arena *arena, struct assay_str *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* A body as SQS takes it: U+FFFE and U+FFFF, which it refuses, become JSON escapes. ASSAY_E_GONE for what it will never take. */
int bq_body(struct assay_str body, size_t max, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Writes one attribute; value cut to what an attribute may hold, left out when empty. */
void bq_attribute(struct assay_jw *w, const char *name, struct assay_str value);

void *bq_receive(void *consumer); /* receive.c */
void *bq_keep(void *broker);      /* keeper.c */
void *bq_send(void *broker);      /* sender.c */
/* Writes the entry of a batch's message with its FIFO members. */
void bq_entry(struct assay_jw *w, size_t index, const struct bq_queue *q, struct assay_str body, struct assay_str key, const char *dedup);

#endif
