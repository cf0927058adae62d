/*
 * OTLP's messages in protocol buffers (https://github.com/open-telemetry/opentelemetry-proto, version 1; the encoding:
 * https://protobuf.dev/programming-guides/encoding/).
 *
 * A message within another is preceded by its length, which is known when it has been written: open leaves one byte for it, and
 * close moves what was written where the length takes more.  Fields are written in the order of their numbers and integers in
 * their shortest form, so that what a generated encoder makes of the same message is the same bytes (tests/parts/otlp/decode.cjs
 * holds us to that).
 */
#include "gateway/otlp.h"

#include <string.h>

#include "gateway/text.h"

enum wire { VARINT = 0, FIXED64 = 1, LENGTH = 2 };
enum { CUMULATIVE = 2, ERROR = 2 };
#define VARINT_MAX 10

static size_t varint(unsigned char out[VARINT_MAX], uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (unsigned char)(0x80 | (v & 0x7f));
    out[n++] = (unsigned char)v;
    return n;
}

static void put_varint(struct assay_buf *b, uint64_t v)
{
    unsigned char bytes[VARINT_MAX];
    assay_buf_add(b, bytes, varint(bytes, v));
}

static void tag(struct assay_buf *b, unsigned field, enum wire wire)
{
    put_varint(b, (uint64_t)field << 3 | (unsigned)wire);
}

static void put_fixed(struct assay_buf *b, uint64_t v)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(v >> (8 * i));
    assay_buf_add(b, bytes, sizeof bytes);
}

static void put_double(struct assay_buf *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_fixed(b, bits);
}

static size_t open_message(struct assay_buf *b, unsigned field)
{
    tag(b, field, LENGTH);
    assay_buf_putc(b, '\0');
    return b->n;
}

static void close_message(struct assay_buf *b, size_t at)
{
    if (b->failed)
        return;
    unsigned char bytes[VARINT_MAX];
    size_t length = b->n - at, n = varint(bytes, length);
    if (n > 1) {
        assay_buf_add(b, bytes, n - 1); /* room */
        if (b->failed)
            return;
        memmove(b->p + at + n - 1, b->p + at, length);
    }
    memcpy(b->p + at - 1, bytes, n);
}

/* Written where it is empty too: an attribute's value that is "" is another than none. */
static void text(struct assay_buf *b, unsigned field, struct assay_str s)
{
    size_t at = open_message(b, field);
    assay_buf_utf8(b, s);
    close_message(b, at);
}

static void text_z(struct assay_buf *b, unsigned field, const char *z)
{
    text(b, field, assay_str(z));
}

static void nanos(struct assay_buf *b, unsigned field, int64_t ns)
{
    tag(b, field, FIXED64);
    put_fixed(b, ns > 0 ? (uint64_t)ns : 0);
}

/* An id: hexadecimal digits as bytes. */
static void id(struct assay_buf *b, unsigned field, const char *hex, size_t bytes)
{
    size_t at = open_message(b, field);
    for (size_t i = 0; i < 2 * bytes; i += 2) {
        int v = 0;
        for (size_t k = i; k < i + 2; k++)
            v = v * 16 + (hex[k] <= '9' ? hex[k] - '0' : hex[k] - 'a' + 10);
        assay_buf_putc(b, (char)v);
    }
    close_message(b, at);
}

/* ---- attributes ------------------------------------------------------------------------------------ */

enum { KEY = 1, VALUE = 2, STRING_VALUE = 1, INT_VALUE = 3, DOUBLE_VALUE = 4 };

static void attribute(struct assay_buf *b, unsigned field, const struct assay_kv *kv)
{
    size_t outer = open_message(b, field);
    text_z(b, KEY, kv->key);
    size_t value = open_message(b, VALUE);
    if (kv->type == 'i') {
        tag(b, INT_VALUE, VARINT);
        put_varint(b, (uint64_t)kv->i);
    } else if (kv->type == 'r') {
        tag(b, DOUBLE_VALUE, FIXED64);
        put_double(b, kv->r);
    } else {
        text(b, STRING_VALUE, kv->s);
    }
    close_message(b, value);
    close_message(b, outer);
}

static void attribute_z(struct assay_buf *b, unsigned field, const char *key, const char *value)
{
    const struct assay_kv kv = ASSAY_KZ(key, value);
    attribute(b, field, &kv);
}

/* What is open between the first message and the list within: resource and scope are the same in both signals. */
struct nest {
    size_t resource, scope;
};

static struct nest head(struct assay_buf *b, const struct assay_otlp_from *from)
{
    struct nest nest = {.resource = open_message(b, 1)};
    size_t at = open_message(b, 1); /* Resource */
    for (size_t i = 0; i < from->n; i++)
        attribute_z(b, 1, from->resource[i].key, from->resource[i].value);
    close_message(b, at);
    nest.scope = open_message(b, 2);
    at = open_message(b, 1); /* InstrumentationScope */
    text_z(b, 1, ASSAY_OTLP_SCOPE);
    text_z(b, 2, from->version);
    close_message(b, at);
    return nest;
}

static int tail(struct assay_buf *b, struct nest nest, struct assay_err *err)
{
    close_message(b, nest.scope);
    close_message(b, nest.resource);
    return b->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for an export") : 0;
}

/* ---- traces ---------------------------------------------------------------------------------------- */

static void span(struct assay_buf *b, const struct assay_span *s)
{
    size_t whole = open_message(b, 2);
    id(b, 1, s->context.p + 3, 16);
    id(b, 2, s->context.p + 36, 8);
    if (assay_trace_valid(s->parent))
        id(b, 4, s->parent.p + 36, 8);
    text_z(b, 5, s->name);
    tag(b, 6, VARINT);
    put_varint(b, (uint64_t)s->kind);
    nanos(b, 7, s->start_ns);
    nanos(b, 8, s->end_ns > s->start_ns ? s->end_ns : s->start_ns);
    for (size_t i = 0; i < s->n; i++)
        attribute(b, 9, &s->kv[i]);
    if (s->fault != NULL) {
        size_t status = open_message(b, 15);
        text_z(b, 2, s->fault);
        tag(b, 3, VARINT);
        put_varint(b, ERROR);
        close_message(b, status);
    }
    close_message(b, whole);
}

int assay_otlp_proto_traces(const struct assay_otlp_from *from, const struct assay_otlp_item *first, struct assay_buf *out, struct assay_err *err)
{
    struct nest nest = head(out, from);
    for (const struct assay_otlp_item *i = first; i != NULL; i = i->next)
        span(out, &i->span);
    return tail(out, nest, err);
}

/* ---- metrics --------------------------------------------------------------------------------------- */

struct writing {
    struct assay_buf *b;
    const struct assay_metric *row; /* the metric whose points are being written */
    size_t metric, kind;            /* where these two begin */
    int64_t start_ns, now_ns;
};

static void close_metric(struct writing *g)
{
    if (g->row == NULL)
        return;
    if (g->row->type != ASSAY_METRIC_GAUGE) {
        tag(g->b, 2, VARINT);
        put_varint(g->b, CUMULATIVE);
    }
    if (g->row->type == ASSAY_METRIC_COUNTER) {
        tag(g->b, 3, VARINT); /* is_monotonic */
        put_varint(g->b, 1);
    }
    close_message(g->b, g->kind);
    close_message(g->b, g->metric);
    g->row = NULL;
}

static void open_metric(struct writing *g, const struct assay_metric *row)
{
    static const unsigned kind[] = {[ASSAY_METRIC_GAUGE] = 5, [ASSAY_METRIC_COUNTER] = 7, [ASSAY_METRIC_HISTOGRAM] = 9};
    g->metric = open_message(g->b, 2);
    text_z(g->b, 1, row->name);
    text_z(g->b, 2, row->help);
    text_z(g->b, 3, assay_otlp_unit(row->name));
    g->kind = open_message(g->b, kind[row->type]);
    g->row = row;
}

static void point(void *arg, const struct assay_metric_point *p)
{
    struct writing *g = arg;
    struct assay_buf *b = g->b;
    if (g->row != p->row) {
        close_metric(g);
        open_metric(g, p->row);
    }
    bool histogram = p->row->type == ASSAY_METRIC_HISTOGRAM;
    size_t whole = open_message(b, 1);
    if (p->row->type != ASSAY_METRIC_GAUGE && g->start_ns > 0)
        nanos(b, 2, g->start_ns);
    nanos(b, 3, g->now_ns);
    tag(b, 4, FIXED64);
    if (histogram) {
        put_fixed(b, p->count);
        tag(b, 5, FIXED64);
        put_double(b, p->sum);
        size_t list = open_message(b, 6);
        for (size_t i = 0; i < p->n_buckets; i++)
            put_fixed(b, p->bucket[i]);
        close_message(b, list);
        list = open_message(b, 7);
        for (size_t i = 0; i + 1 < p->n_buckets; i++)
            put_double(b, p->row->buckets[i]);
        close_message(b, list);
    } else {
        put_double(b, p->v);
    }
    for (size_t i = 0; i < p->n_labels; i++)
        attribute_z(b, histogram ? 9 : 7, p->label[i], p->value[i]);
    close_message(b, whole);
}

int assay_otlp_proto_metrics(const struct assay_otlp_from *from, const struct assay_otlp_report *r, struct assay_buf *out, struct assay_err *err)
{
    struct nest nest = head(out, from);
    struct writing g = {.b = out, .start_ns = r->start_ns, .now_ns = r->now_ns};
    assay_metrics_each(r->m, point, &g);
    close_metric(&g);
    g.start_ns = 0; /* another process's: it is not told since when */
    int rc = assay_metrics_text_each(r->more, r->arena, point, &g, err);
    close_metric(&g);
    return rc != 0 ? rc : tail(out, nest, err);
}
