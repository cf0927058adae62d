/* What the parts of the harness share: svc_harness.c makes and ends it, svc_host.c is the host that plugins see, svc_requests.c sends
 * requests and reads replies, svc_events.c delivers events.  Tests see svc_harness.h alone. */
#ifndef ASSAY_TESTS_SVC_IMPL_H
#define ASSAY_TESTS_SVC_IMPL_H

#include "svc_harness.h"

#include "memory_blobs.h"

#include <jansson.h>
#include <pthread.h>

#define MAX_PLUGINS 12
#define MAX_OPTIONS 64
#define MAX_REPLIES 65536
#define MAX_BROKERS 4
#define MAX_METRICS 200

struct option {
    char *name, *value;
};
struct iface {
    const char *name;
    const void *ops;
    void *self;
};
struct loaded {
    const struct assay_plugin *pl;
    void *self;
    char *name;
    bool initialised;
};
struct lent_broker {
    const char *name;
    struct fake_broker *broker;
};
struct metric {
    const struct assay_metric *row;
    char labels[160];
    double value;
};
/* A request that is being handled. */
struct call {
    struct svc *h;
    struct assay_request rq;
    struct assay_response rs;
    struct assay_err err;
    int rc;
    bool deferred, done;
    struct call *next;
    assay_ticket ticket;
};
struct job {
    struct svc *h;
    struct job *next;
    pthread_t thread;
    int64_t delay_ms;
    void (*fn)(void *arg);
    void *arg;
};

struct svc {
    struct assay_host host;
    struct assay_host for_driver; /* without store and blobs */
    struct assay_store store;
    struct memory_blobs blobs;
    struct assay_arena *arena;
    char dir[256];
    char instance[ASSAY_ID_SIZE];
    struct option option[MAX_OPTIONS];
    size_t n_options;
    struct loaded plugin[MAX_PLUGINS]; /* [0]: the store */
    size_t n_plugins;
    struct iface given[MAX_PLUGINS];
    size_t n_given;
    struct lent_broker broker[MAX_BROKERS];
    size_t n_brokers;
    bool started;
    int64_t ahead_ms;
    int64_t local_seen; /* events up to here went to LOCAL subscriptions */
    json_t **json;
    size_t n_json;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t woken;
    struct call *calls;
    assay_ticket last_ticket;
    struct job *jobs;
    bool stopping;
    struct assay_buf log;
    struct metric metric[MAX_METRICS];
    size_t n_metrics;
    char quit[200];
};

/* Ends the program: the harness, not what it tests, is at fault. */
_Noreturn void svc_die(const char *fmt, ...) ASSAY_PRINTF(1, 2);

/* Every function of the host; ctx is to be the harness. */
extern const struct assay_host svc_host_functions;

#endif
