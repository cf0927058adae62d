/*
 * The server's inside, shared by its rooms: server.c (start, stop, what plugins are lent), server_report.c
 * (metrics, readiness) and server_task.c (one task instead of serving).  Each member is set by the main thread
 * before other threads run and stays until they have ended, but for the atomics.
 */
#ifndef ASSAY_GATEWAY_SERVER_IMPL_H
#define ASSAY_GATEWAY_SERVER_IMPL_H

#include <stdatomic.h>
#include <sys/types.h>

#include <assay/blob.h>
#include <assay/identity.h>
#include <assay/store.h>

#include "boxes.h"
#include "dispatch.h"
#include "gate.h"
#include "http.h"
#include "limits.h"
#include "limits_shared.h"
#include "log.h"
#include "metrics.h"
#include "otlp.h"
#include "pool.h"
#include "proxies.h"
#include "queue/topics.h"
#include "server.h"
#include "sessions.h"
#include "setup.h"
#include "timed.h"
#include "tls.h"

struct assay_server {
    struct assay_setup setup;
    char instance_id[ASSAY_ID_SIZE];
    struct assay_logger *log;
    struct assay_metrics *metrics;
    struct assay_pool *pool;
    struct assay_topics *topics;
    struct assay_boxes *boxes;
    struct assay_store store;
    struct assay_blobs blobs;
    struct assay_timed *timed;
    struct assay_otlp *otlp; /* NULL: no collector is configured */
    struct assay_store lent_store; /* what services get of them */
    struct assay_blobs lent_blobs;
    bool store_started, dispatch_started;
    struct assay_gate *gate;
    struct assay_shared_accounts shared; /* shared.sessions.ops NULL: no session driver */
    struct assay_dispatch *dispatch;
    struct assay_bound_route *routes;
    int *listen_fds;
    char *origins;       /* the text that cors points into */
    const char **cors;   /* NULL-terminated; NULL: none */
    struct assay_proxies *proxies;
    struct assay_limits *limits; /* NULL: none */
    struct assay_limits_shared *limits_shared; /* NULL: this process counts for itself */
    const struct assay_mail_ops *mail; /* NULL: no driver is configured */
    void *mail_self;
    char *spool_dir;
    struct assay_front *front;
    bool access_log, wants_boxes; /* options that every request asks for */
    int64_t descriptors;          /* what this process may open; less than it needs: said at start */
    int listeners, tls_listeners; /* of which those over TLS have the later descriptors */
    struct assay_tls *tls;        /* NULL: none of the latter */
    _Atomic uint64_t tls_reloads, tls_reloads_failed;
    int wake; /* eventfd: the supervisor has gone */
    uid_t uid;
    gid_t gid;
    _Atomic bool up, stopping, quitting;
};

/* ---- server.c ---- */

/* Log, metrics, workers and topics: what every driver may use. */
int assay_server_base(struct assay_server *s, struct assay_err *err) ASSAY_MUST_CHECK;
/* The store and the blobs, not yet started. */
int assay_server_drivers(struct assay_server *s, struct assay_err *err) ASSAY_MUST_CHECK;

/* The brokers that the options name, not yet started. */
int assay_server_brokers(struct assay_server *s, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- server_report.c ---- */

/* What is sent to a collector, where one is configured; not yet started. */
int assay_server_telemetry(struct assay_server *s, struct assay_err *err) ASSAY_MUST_CHECK;
/* Registers the program's own metrics. */
int assay_server_count(struct assay_server *s, struct assay_err *err) ASSAY_MUST_CHECK;
/* The front's callback: counts a request and logs it. ctx: the server. Any loop. */
void assay_server_request_done(void *ctx, const struct assay_front_record *r);

/* ---- server_task.c ---- */

/* Instead of serving: moves the expired event cursor of a group to the oldest event that is still kept, and says so on
 * standard output. Returns the exit status; the caller stops the server. */
int assay_server_reset_cursor(struct assay_server *s, struct assay_str group);

#endif
