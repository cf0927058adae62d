/*
 * OTLP's messages in their JSON form.
 *
 * The mapping is that of protocol buffers, but for what OTLP says otherwise: ids are hexadecimal, enumerations are numbers,
 * 64-bit integers are decimal strings, and names are in lowerCamelCase.
 */
#include "gateway/otlp.h"

#include <stdio.h>
#include <string.h>

#include <assay/json.h>

#define CUMULATIVE 2

static void nanos(struct assay_jw *w, const char *key, int64_t ns)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)(ns > 0 ? ns : 0));
    assay_jw_kz(w, key, text);
}

/* ---- attributes ------------------------------------------------------------------------------------ */

static void attribute_begin(struct assay_jw *w, const char *key)
{
    assay_jw_object(w);
    assay_jw_kz(w, "key", key);
    assay_jw_key(w, "value");
    assay_jw_object(w);
}

static void attribute_end(struct assay_jw *w)
{
    assay_jw_end(w);
    assay_jw_end(w);
}

static void attribute_z(struct assay_jw *w, const char *key, const char *z)
{
    attribute_begin(w, key);
    assay_jw_kz(w, "stringValue", z);
    attribute_end(w);
}

static void attribute(struct assay_jw *w, const struct assay_kv *kv)
{
    attribute_begin(w, kv->key);
    if (kv->type == 'i') {
        char text[24];
        (void)snprintf(text, sizeof text, "%lld", (long long)kv->i);
        assay_jw_kz(w, "intValue", text);
    } else if (kv->type == 'r') {
        assay_jw_kreal(w, "doubleValue", kv->r);
    } else {
        assay_jw_kstr(w, "stringValue", kv->s);
    }
    attribute_end(w);
}

/* Opens all up to the list within. */
static void head(struct assay_jw *w, const char *outer, const char *middle, const char *inner, const struct assay_otlp_from *from)
{
    assay_jw_object(w);
    assay_jw_key(w, outer);
    assay_jw_array(w);
    assay_jw_object(w);
    assay_jw_key(w, "resource");
    assay_jw_object(w);
    assay_jw_key(w, "attributes");
    assay_jw_array(w);
    for (size_t i = 0; i < from->n; i++)
        attribute_z(w, from->resource[i].key, from->resource[i].value);
    assay_jw_end(w);
    assay_jw_end(w);
    assay_jw_key(w, middle);
    assay_jw_array(w);
    assay_jw_object(w);
    assay_jw_key(w, "scope");
    assay_jw_object(w);
    assay_jw_kz(w, "name", ASSAY_OTLP_SCOPE);
    assay_jw_kz(w, "version", from->version);
    assay_jw_end(w);
    assay_jw_key(w, inner);
    assay_jw_array(w);
}

static int tail(struct assay_jw *w, struct assay_buf *out, struct assay_err *err)
{
    for (int i = 0; i < 6; i++)
        assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

/* ---- traces ---------------------------------------------------------------------------------------- */

static void span(struct assay_jw *w, const struct assay_span *s)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "traceId", (struct assay_str){s->context.p + 3, 32});
    assay_jw_kstr(w, "spanId", (struct assay_str){s->context.p + 36, 16});
    if (assay_trace_valid(s->parent))
        assay_jw_kstr(w, "parentSpanId", (struct assay_str){s->parent.p + 36, 16});
    assay_jw_kz(w, "name", s->name);
    assay_jw_kint(w, "kind", (int64_t)s->kind);
    nanos(w, "startTimeUnixNano", s->start_ns);
    nanos(w, "endTimeUnixNano", s->end_ns > s->start_ns ? s->end_ns : s->start_ns);
    assay_jw_key(w, "attributes");
    assay_jw_array(w);
    for (size_t i = 0; i < s->n; i++)
        attribute(w, &s->kv[i]);
    assay_jw_end(w);
    if (s->fault != NULL) {
        assay_jw_key(w, "status");
        assay_jw_object(w);
        assay_jw_kz(w, "message", s->fault);
        assay_jw_kint(w, "code", 2); /* an error */
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

int assay_otlp_json_traces(const struct assay_otlp_from *from, const struct assay_otlp_item *first, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    head(w, "resourceSpans", "scopeSpans", "spans", from);
    for (const struct assay_otlp_item *i = first; i != NULL; i = i->next)
        span(w, &i->span);
    return tail(w, out, err);
}

/* ---- metrics --------------------------------------------------------------------------------------- */

struct writing {
    struct assay_jw *w;
    const struct assay_metric *open; /* the metric whose points are being written */
    int64_t start_ns, now_ns;
};

static void close_metric(struct writing *g)
{
    if (g->open == NULL)
        return;
    assay_jw_end(g->w); /* the points, */
    if (g->open->type != ASSAY_METRIC_GAUGE)
        assay_jw_kint(g->w, "aggregationTemporality", CUMULATIVE);
    if (g->open->type == ASSAY_METRIC_COUNTER)
        assay_jw_kbool(g->w, "isMonotonic", true);
    assay_jw_end(g->w); /* their kind, the metric */
    assay_jw_end(g->w);
    g->open = NULL;
}

static void open_metric(struct writing *g, const struct assay_metric *row)
{
    static const char *const kind[] = {"", "sum", "gauge", "histogram"};
    assay_jw_object(g->w);
    assay_jw_kz(g->w, "name", row->name);
    assay_jw_kz(g->w, "description", row->help);
    assay_jw_kz(g->w, "unit", assay_otlp_unit(row->name));
    assay_jw_key(g->w, kind[row->type]);
    assay_jw_object(g->w);
    assay_jw_key(g->w, "dataPoints");
    assay_jw_array(g->w);
    g->open = row;
}

static void count(struct assay_jw *w, uint64_t v)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    assay_jw_z(w, text);
}

static void point(void *arg, const struct assay_metric_point *p)
{
    struct writing *g = arg;
    if (g->open != p->row) {
        close_metric(g);
        open_metric(g, p->row);
    }
    struct assay_jw *w = g->w;
    assay_jw_object(w);
    assay_jw_key(w, "attributes");
    assay_jw_array(w);
    for (size_t i = 0; i < p->n_labels; i++)
        attribute_z(w, p->label[i], p->value[i]);
    assay_jw_end(w);
    if (p->row->type != ASSAY_METRIC_GAUGE && g->start_ns > 0)
        nanos(w, "startTimeUnixNano", g->start_ns);
    nanos(w, "timeUnixNano", g->now_ns);
    if (p->row->type != ASSAY_METRIC_HISTOGRAM) {
        assay_jw_kreal(w, "asDouble", p->v);
        assay_jw_end(w);
        return;
    }
    assay_jw_key(w, "count");
    count(w, p->count);
    assay_jw_kreal(w, "sum", p->sum);
    assay_jw_key(w, "bucketCounts");
    assay_jw_array(w);
    for (size_t i = 0; i < p->n_buckets; i++)
        count(w, p->bucket[i]);
    assay_jw_end(w);
    assay_jw_key(w, "explicitBounds");
    assay_jw_array(w);
    for (size_t i = 0; i + 1 < p->n_buckets; i++)
        assay_jw_real(w, p->row->buckets[i]);
    assay_jw_end(w);
    assay_jw_end(w);
}

int assay_otlp_json_metrics(const struct assay_otlp_from *from, const struct assay_otlp_report *r, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    head(w, "resourceMetrics", "scopeMetrics", "metrics", from);
    struct writing g = {.w = w, .start_ns = r->start_ns, .now_ns = r->now_ns};
    assay_metrics_each(r->m, point, &g);
    close_metric(&g);
    g.start_ns = 0; /* another process's: it is not told since when */
    int rc = assay_metrics_text_each(r->more, r->arena, point, &g, err);
    close_metric(&g);
    return rc != 0 ? rc : tail(w, out, err);
}
