/*
 * Telemetry by OTLP/HTTP: spans and metrics, sent to a collector of OpenTelemetry
 * (https://opentelemetry.io/docs/specs/otlp/), in protocol buffers or in their JSON form.
 *
 * assay_otlp_span copies a span and returns; a thread of its own gathers them to batches, sends those, and every so often
 * the metrics.  A collector that is away, slow or full costs this thread its time and telemetry its completeness, and
 * nothing else: the queue is bounded, what finds it full is dropped and counted, and the end of the server waits for
 * ASSAY_OTLP_END_MS at the most.
 *
 * Threads: new, start and free belong to one; span and child may be called from any in between.
 */
#ifndef ASSAY_GATEWAY_OTLP_H
#define ASSAY_GATEWAY_OTLP_H

#include <assay/plugin.h>
#include <assay/trace.h>

#include "gateway/log.h"
#include "gateway/metrics.h"

#define ASSAY_OTLP_END_MS 2000

/* Where and how one signal is sent. */
struct assay_otlp_way {
    const char *url;         /* whole; "": it is not sent */
    const char *protocol;    /* "http/protobuf", which is the default, or "http/json" */
    const char *compression; /* "none", which is the default, or "gzip" */
    const char *headers;     /* "name=value,name=value", percent-encoded */
    const char *ca_file;
    int64_t timeout_ms;      /* 10 s: of one request */
};

/* The texts are copied. What is "", NULL or 0 takes its default. */
struct assay_otlp_config {
    struct assay_otlp_way traces, metrics;
    const char *service_name;             /* "assay" */
    const char *attributes;               /* of the resource, written as headers are */
    const char *version, *instance_id;
    const char *sampler;                  /* as OTEL_TRACES_SAMPLER: "parentbased_always_on" */
    const char *sampler_arg;              /* "1" */
    int64_t delay_ms;                     /* 5 s: the longest that a span waits for others */
    int64_t interval_ms;                  /* 60 s: between two reports of the metrics */
    size_t queue_max;                     /* 2048 spans */
    size_t batch_max;                     /* 512 spans */
    /* The metrics of another process that are reported too, as Prometheus' text; or NULL. Called by the exporter's thread. */
    void (*more)(void *arg, struct assay_buf *out);
    void *more_arg;
};

struct assay_otlp;

/* ASSAY_E_CONFIG for a URL, a header, an attribute or a sampler that cannot be, said in words. Registers its own metrics.
 * log may be NULL. */
int assay_otlp_new(const struct assay_otlp_config *cfg, struct assay_metrics *m, struct assay_logger *log, struct assay_otlp **ret,
                   struct assay_err *err) ASSAY_MUST_CHECK;
/* Starts the thread. */
int assay_otlp_start(struct assay_otlp *o, struct assay_err *err) ASSAY_MUST_CHECK;
/* Sends what is left, for a bounded time, and the metrics once more; spans that come later are dropped. NULL is fine; once more too. */
void assay_otlp_stop(struct assay_otlp *o);
/* Stops, where that has not been. NULL is fine. */
void assay_otlp_free(struct assay_otlp *o);

/* The context of work that is begun for a request with this one, or none. False: no traces are made, out is untouched.
 * o may be NULL (no telemetry). */
bool assay_otlp_child(struct assay_otlp *o, struct assay_str parent, char out[ASSAY_TRACEPARENT]);
/* A span that is over. Those that are not sampled are passed over. NULL: no telemetry, nothing happens. */
void assay_otlp_span(struct assay_otlp *o, const struct assay_span *s);

/* ---- the messages; no I/O ------------------------------------------------------------------------------ */

#define ASSAY_OTLP_SCOPE "assay"

struct assay_otlp_pair {
    char *key, *value;
};
struct assay_otlp_item { /* a span, copied: one block of memory */
    struct assay_otlp_item *next;
    struct assay_span span;
    struct assay_kv kv[ASSAY_SPAN_ATTRS];
};
struct assay_otlp_from { /* who sends */
    const struct assay_otlp_pair *resource;
    size_t n;
    const char *version;
};
struct assay_otlp_report {
    struct assay_metrics *m;
    struct assay_str more; /* another process's text */
    struct assay_arena *arena;
    int64_t start_ns, now_ns;
};

/* otlp_parts.c.  A copy of a span; NULL: no memory. Free with free(). */
struct assay_otlp_item *assay_otlp_item(const struct assay_span *s);
/* Of a metric, by its name, as UCUM writes it. */
const char *assay_otlp_unit(const char *name);
/* "a=b,c=d%20e" into pairs, appended to list; ASSAY_E_CONFIG naming what. A later key takes the place of an earlier one. */
int assay_otlp_pairs(const char *text, const char *what, struct assay_otlp_pair *list, size_t room, size_t *n, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* ExportTraceServiceRequest, ExportMetricsServiceRequest: otlp_json.c, otlp_proto.c. */
int assay_otlp_json_traces(const struct assay_otlp_from *from, const struct assay_otlp_item *first, struct assay_buf *out,
                           struct assay_err *err) ASSAY_MUST_CHECK;
int assay_otlp_json_metrics(const struct assay_otlp_from *from, const struct assay_otlp_report *r, struct assay_buf *out,
                            struct assay_err *err) ASSAY_MUST_CHECK;
int assay_otlp_proto_traces(const struct assay_otlp_from *from, const struct assay_otlp_item *first, struct assay_buf *out,
                            struct assay_err *err) ASSAY_MUST_CHECK;
int assay_otlp_proto_metrics(const struct assay_otlp_from *from, const struct assay_otlp_report *r, struct assay_buf *out,
                             struct assay_err *err) ASSAY_MUST_CHECK;

#endif
