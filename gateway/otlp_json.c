/*
 * OTLP's messages in their JSON form.
 *
 * The mapping is that of protocol buffers, but for what OTLP says otherwise: ids are hexadecimal, enumerations are numbers,
 * 64-bit integers are decimal strings, and names are in lowerCamelCase.
 */
#include "gateway/otlp.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <assay/json.h>

#include "gateway/text.h"

#define SCOPE "assay"
#define TEXT_MAX 512 /* bytes of an attribute's text */
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
static void head(struct assay_jw *w, const char *outer, const char *middle, const char *inner, const struct assay_otlp_pair *resource,
                 size_t n, const char *version)
{
    assay_jw_object(w);
    assay_jw_key(w, outer);
    assay_jw_array(w);
    assay_jw_object(w);
    assay_jw_key(w, "resource");
    assay_jw_object(w);
    assay_jw_key(w, "attributes");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++)
        attribute_z(w, resource[i].key, resource[i].value);
    assay_jw_end(w);
    assay_jw_end(w);
    assay_jw_key(w, middle);
    assay_jw_array(w);
    assay_jw_object(w);
    assay_jw_key(w, "scope");
    assay_jw_object(w);
    assay_jw_kz(w, "name", SCOPE);
    assay_jw_kz(w, "version", version);
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

static struct assay_str cut(struct assay_str s)
{
    return assay_text_cut(s.p != NULL ? s : ASSAY_STR(""), TEXT_MAX);
}

static struct assay_str put(char **at, struct assay_str s)
{
    struct assay_str copy = {*at, s.n};
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

struct assay_otlp_item *assay_otlp_item(const struct assay_span *s)
{
    size_t n = s->n < ASSAY_SPAN_ATTRS ? s->n : ASSAY_SPAN_ATTRS;
    struct assay_str fault = cut(assay_str(s->fault != NULL ? s->fault : ""));
    size_t bytes = s->context.n + s->parent.n + strlen(s->name) + 1 + fault.n + 1;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(s->kv[i].key) + 1 + (s->kv[i].type == 's' ? cut(s->kv[i].s).n : 0);
    struct assay_otlp_item *item = malloc(sizeof *item + bytes);
    if (item == NULL)
        return NULL;
    char *at = (char *)(item + 1);
    item->next = NULL;
    item->span = *s;
    item->span.context = put(&at, s->context);
    item->span.parent = put(&at, s->parent);
    item->span.name = put(&at, (struct assay_str){s->name, strlen(s->name) + 1}).p;
    if (s->fault != NULL) {
        item->span.fault = put(&at, fault).p;
        *at++ = '\0';
    }
    for (size_t i = 0; i < n; i++) {
        item->kv[i] = s->kv[i];
        item->kv[i].key = put(&at, (struct assay_str){s->kv[i].key, strlen(s->kv[i].key) + 1}).p;
        if (s->kv[i].type == 's')
            item->kv[i].s = put(&at, cut(s->kv[i].s));
    }
    item->span.kv = item->kv;
    item->span.n = n;
    return item;
}

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

int assay_otlp_traces(const struct assay_otlp_pair *resource, size_t n, const char *version, const struct assay_otlp_item *first,
                      struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    head(w, "resourceSpans", "scopeSpans", "spans", resource, n, version);
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

static const char *unit_of(const char *name)
{
    struct assay_str s = assay_str(name);
    if (assay_str_ends(s, "_total"))
        s.n -= strlen("_total");
    return assay_str_ends(s, "_seconds") ? "s" : assay_str_ends(s, "_bytes") ? "By" : "1";
}

static void open_metric(struct writing *g, const struct assay_metric *row)
{
    static const char *const kind[] = {"", "sum", "gauge", "histogram"};
    assay_jw_object(g->w);
    assay_jw_kz(g->w, "name", row->name);
    assay_jw_kz(g->w, "description", row->help);
    assay_jw_kz(g->w, "unit", unit_of(row->name));
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
    if (p->row->type != ASSAY_METRIC_GAUGE)
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

int assay_otlp_metrics(const struct assay_otlp_pair *resource, size_t n, const char *version, struct assay_metrics *m, int64_t start_ns,
                       int64_t now_ns, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    head(w, "resourceMetrics", "scopeMetrics", "metrics", resource, n, version);
    struct writing g = {.w = w, .start_ns = start_ns, .now_ns = now_ns};
    assay_metrics_each(m, point, &g);
    close_metric(&g);
    return tail(w, out, err);
}

/* ---- lists of pairs -------------------------------------------------------------------------------- */

static struct assay_str trimmed(const char *p, size_t n)
{
    while (n > 0 && (*p == ' ' || *p == '\t'))
        p++, n--;
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    return (struct assay_str){p, n};
}

/* NULL: no memory, or what comes of it is not one line of text. */
static char *decoded(struct assay_str s)
{
    char *out = malloc(s.n + 1);
    size_t n = 0;
    bool line = out != NULL;
    for (size_t i = 0; line && i < s.n; i++) {
        char c = s.p[i];
        if (c == '%' && i + 2 < s.n && isxdigit((unsigned char)s.p[i + 1]) && isxdigit((unsigned char)s.p[i + 2])) {
            const char hex[3] = {s.p[i + 1], s.p[i + 2], '\0'};
            c = (char)strtoul(hex, NULL, 16);
            i += 2;
        }
        line = (unsigned char)c >= ' ' && c != 127;
        out[n++] = c;
    }
    if (!line) {
        free(out);
        return NULL;
    }
    out[n] = '\0';
    return out;
}

int assay_otlp_pairs(const char *text, const char *what, struct assay_otlp_pair *list, size_t room, size_t *n, struct assay_err *err)
{
    for (const char *p = text; *p != '\0';) {
        size_t len = strcspn(p, ",");
        struct assay_str pair = trimmed(p, len);
        p += len + (p[len] == ',');
        if (pair.n == 0)
            continue;
        const char *eq = memchr(pair.p, '=', pair.n);
        struct assay_str key = trimmed(pair.p, eq != NULL ? (size_t)(eq - pair.p) : 0);
        if (key.n == 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "%s: a pair has no name; it is name=value,name=value, percent-encoded", what);
        struct assay_str value = trimmed(eq + 1, pair.n - (size_t)(eq + 1 - pair.p));
        struct assay_otlp_pair made = {decoded(key), decoded(value)};
        size_t at = 0;
        while (made.key != NULL && at < *n && strcmp(list[at].key, made.key) != 0)
            at++;
        if (made.key == NULL || made.value == NULL || at == room) {
            free(made.key);
            free(made.value);
            return at == room ? assay_err_set(err, ASSAY_E_CONFIG, "%s: more than %zu pairs", what, room)
                              : assay_err_set(err, ASSAY_E_CONFIG, "%s: the pair %.*s is not one line of text", what, ASSAY_FMT(key));
        }
        if (at < *n) {
            free(list[at].key);
            free(list[at].value);
        } else {
            (*n)++;
        }
        list[at] = made;
    }
    return 0;
}
