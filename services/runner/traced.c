/*
 * What a submission took, as spans of its client's trace: the whole, and in it the queue, the build, each test.
 *
 * They are told when its end is committed, so that a job that was fenced off, or given back, tells nothing twice.  Hidden tests
 * are named by number, and nothing that a program printed is told.  The loop's thread, and workers for what came from elsewhere.
 */
#include "project.h"

#include <stdio.h>

#define MS_NS INT64_C(1000000)

/* Whether anybody wants to hear of it; *of: the context of the whole. */
static bool wanted(struct runner *r, struct assay_str parent, char of[ASSAY_TRACEPARENT])
{
    const struct assay_host *host = r->host;
    return ASSAY_HOST_TRACES(host) && host->trace_child(host->ctx, parent, of) && assay_trace_sampled(assay_str(of));
}

static void tell(struct runner *r, const char *name, struct assay_str context, struct assay_str parent, int64_t start_ms, int64_t end_ms,
                 const struct assay_kv *kv, size_t n, const char *fault)
{
    const struct assay_span span = {.name = name, .kind = ASSAY_SPAN_INTERNAL, .context = context, .parent = parent,
                                    .start_ns = start_ms * MS_NS, .end_ns = end_ms * MS_NS, .kv = kv, .n = n, .fault = fault};
    r->host->span(r->host->ctx, &span);
}

static void tell_part(struct runner *r, const char *name, const char *whole, int64_t start_ms, int64_t end_ms, const struct assay_kv *kv, size_t n)
{
    char own[ASSAY_TRACEPARENT];
    if (start_ms <= 0 || end_ms < start_ms)
        return;
    assay_trace_child(assay_str(whole), true, own);
    tell(r, name, assay_str(own), assay_str(whole), start_ms, end_ms, kv, n, NULL);
}

static void tell_build(struct runner *r, const struct job *j, const char *whole)
{
    const struct assay_kv kv[] = {ASSAY_KI("assay.cpu_ms", j->build.cpu_us / 1000), ASSAY_KI("assay.memory_peak_bytes", j->build.memory_peak_bytes),
                                  ASSAY_KI("process.exit.code", j->build.exit_code), ASSAY_KZ("assay.from_cache", j->cached ? "yes" : "no")};
    tell_part(r, "build", whole, j->build_start_ms, j->build_end_ms, kv, sizeof kv / sizeof kv[0]);
}

static void tell_test(struct runner *r, const struct test *t, const char *whole)
{
    const struct assay_kv kv[] = {ASSAY_KI("assay.test.number", t->def.number), ASSAY_KZ("assay.verdict", verdict_name(t->verdict)),
                                  ASSAY_KI("assay.cpu_ms", t->outcome.cpu_us / 1000),
                                  ASSAY_KI("assay.memory_peak_bytes", t->outcome.memory_peak_bytes),
                                  ASSAY_KI("assay.reruns", t->reruns)};
    tell_part(r, "test", whole, t->start_ms, t->end_ms, kv, sizeof kv / sizeof kv[0]);
}

static void tell_whole(struct runner *r, const struct assay_job *lease, const char *whole, const char *language, const char *verdict,
                       struct assay_str holder, int64_t now_ms)
{
    const struct assay_kv kv[] = {ASSAY_KS("assay.submission_id", lease->submission_id), ASSAY_KS("assay.request_id", lease->request_id),
                                  ASSAY_KS("assay.benchmark_id", lease->benchmark_id), ASSAY_KS("assay.problem_id", lease->problem_id),
                                  ASSAY_KZ("assay.language", language), ASSAY_KZ("assay.verdict", verdict),
                                  ASSAY_KI("assay.attempt", lease->attempt), ASSAY_KS("assay.runner", holder)};
    tell(r, "submission", assay_str(whole), lease->traceparent, lease->created_ms, now_ms, kv, sizeof kv / sizeof kv[0],
         strcmp(verdict, "IE") == 0 ? "it could not be judged" : NULL);
}

void traced_job(struct runner *r, const struct job *j, const char *language, const char *verdict)
{
    char whole[ASSAY_TRACEPARENT];
    int64_t now = r->host->now_ms(r->host->ctx);
    if (!wanted(r, j->lease.traceparent, whole))
        return;
    tell_part(r, "queue", whole, j->lease.created_ms, j->leased_ms, NULL, 0);
    tell_part(r, "prepare", whole, j->leased_ms, j->prepared_ms, NULL, 0);
    tell_part(r, "wait", whole, j->prepared_ms, j->started_ms, NULL, 0);
    if (j->build_end_ms > 0)
        tell_build(r, j, whole);
    for (size_t i = 0; i < j->n_tests; i++)
        if (j->test[i].ran)
            tell_test(r, &j->test[i], whole);
    if (j->project != NULL)
        tell_part(r, "project", whole, j->started_ms, now, NULL, 0);
    tell_whole(r, &j->lease, whole, language, verdict, ASSAY_STR(""), now);
}

void traced_away(struct runner *r, const struct assay_job *lease, const char *language, const char *verdict, struct assay_str holder)
{
    char whole[ASSAY_TRACEPARENT];
    if (wanted(r, lease->traceparent, whole))
        tell_whole(r, lease, whole, language, verdict, holder, r->host->now_ms(r->host->ctx));
}

struct assay_str traced_out(struct runner *r, const struct assay_job *lease, char out[ASSAY_TRACEPARENT])
{
    const struct assay_host *host = r->host;
    if (ASSAY_HOST_TRACES(host) && host->trace_child(host->ctx, lease->traceparent, out))
        return assay_str(out);
    return assay_trace_valid(lease->traceparent) ? lease->traceparent : ASSAY_STR("");
}

void traced_published(struct runner *r, const struct published_job *p, const char *fault)
{
    const struct assay_host *host = r->host;
    if (!ASSAY_HOST_TRACES(host) || !assay_trace_sampled(assay_str(p->context)))
        return;
    char name[80];
    (void)snprintf(name, sizeof name, "publish %.60s", p->broker);
    const struct assay_kv kv[] = {ASSAY_KZ("messaging.system", p->broker), ASSAY_KZ("messaging.operation.type", "send"),
                                  ASSAY_KZ("assay.submission_id", p->id)};
    const struct assay_span span = {.name = name, .kind = ASSAY_SPAN_PRODUCER, .context = assay_str(p->context), .parent = assay_str(p->parent),
                                    .start_ns = p->start_ms * MS_NS, .end_ns = host->now_ms(host->ctx) * MS_NS, .kv = kv,
                                    .n = sizeof kv / sizeof kv[0], .fault = fault};
    host->span(host->ctx, &span);
}
