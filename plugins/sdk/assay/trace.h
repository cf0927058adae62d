/*
 * Traces: the context that a request carries from part to part (W3C Trace Context, https://www.w3.org/TR/trace-context/),
 * and a piece of work that is over, as the host exports it.
 *
 * A context is the text of the header traceparent: "00-<trace>-<span>-<flags>".  It names one span of one trace; who does
 * work for it makes a child, gives the child on to whom he asks, and tells the host of it when it is over.  Contexts
 * cross the queue and the brokers as text.  Pure functions; any thread.
 */
#ifndef ASSAY_TRACE_H
#define ASSAY_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_TRACEPARENT 56 /* a context of ours, with its NUL */

/* W3C Trace Context, 3.2: version 00 and its successors, no zero ids. What others sent is to be asked about. */
bool assay_trace_valid(struct assay_str s);
/* Whether its spans are to be exported: the flag of whoever began the trace. */
bool assay_trace_sampled(struct assay_str s);
/* A new span below parent, with its trace and its flag; below nothing (not a valid context) the first of a new trace,
 * sampled as said. */
void assay_trace_child(struct assay_str parent, bool sampled, char out[ASSAY_TRACEPARENT]);

/* As OpenTelemetry's; who asks for work across a broker is a producer, who takes it a consumer. */
enum assay_span_kind {
    ASSAY_SPAN_INTERNAL = 1,
    ASSAY_SPAN_SERVER,
    ASSAY_SPAN_CLIENT,
    ASSAY_SPAN_PRODUCER,
    ASSAY_SPAN_CONSUMER,
};

#define ASSAY_SPAN_ATTRS 16
struct assay_kv; /* plugin.h */
struct assay_span {
    const char *name;          /* of a kind of work, so that there are few: "build" */
    enum assay_span_kind kind;
    struct assay_str context;  /* its own */
    struct assay_str parent;   /* "" for the first of a trace */
    int64_t start_ns, end_ns;  /* since 1970 */
    const struct assay_kv *kv; /* at most ASSAY_SPAN_ATTRS; names as OpenTelemetry has them, else "assay.…" */
    size_t n;
    const char *fault;         /* what failed that is ours, in words; NULL: nothing did */
};

#ifdef __cplusplus
}
#endif
#endif
