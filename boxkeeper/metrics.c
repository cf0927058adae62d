/*
 * The boxkeeper's metrics and its drivers'.  The process serves no HTTP: the server asks for this
 * text and appends it to its own.  The number of series is bounded; beyond it a series is not made,
 * which shows as assay_boxkeeper_series_dropped_total.
 */
#include "local.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define SERIES_MAX 512
#define BUCKETS_MAX 24

struct series {
    const struct assay_metric *row;
    char *labels; /* as rendered, without braces */
    double value; /* of a histogram: the sum */
    uint64_t count;
    uint64_t bucket[BUCKETS_MAX];
};

struct bk_metrics {
    struct series s[SERIES_MAX];
    size_t n;
    uint64_t dropped;
};

struct bk_metrics *bk_metrics_new(void)
{
    return calloc(1, sizeof(struct bk_metrics));
}

void bk_metrics_free(struct bk_metrics *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n; i++)
        free(m->s[i].labels);
    free(m);
}

static void add_value(struct assay_buf *b, const char *v)
{
    for (; *v != '\0'; v++) {
        if (*v == '\\' || *v == '"')
            assay_buf_putc(b, '\\');
        if (*v == '\n')
            assay_buf_puts(b, "\\n");
        else
            assay_buf_putc(b, *v);
    }
}

static void labels_render(struct assay_buf *b, const char *names, const char *const *values)
{
    size_t i = 0;

    for (const char *p = names; p != NULL && *p != '\0' && values != NULL && values[i] != NULL; i++) {
        size_t len = strcspn(p, ",");

        assay_buf_fmt(b, "%s%.*s=\"", i > 0 ? "," : "", (int)len, p);
        add_value(b, values[i]);
        assay_buf_putc(b, '"');
        p += len + (p[len] == ',');
    }
}

static struct series *series_get(struct bk_metrics *m, const struct assay_metric *row, const char *const *values)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;

    assay_buf_init(&b, 4096);
    assay_buf_puts(&b, "");
    labels_render(&b, row->labels, values);
    for (size_t i = 0; i < m->n && !b.failed; i++)
        if (m->s[i].row == row && assay_str_is(assay_buf_view(&b), m->s[i].labels))
            return &m->s[i];
    if (m->n < SERIES_MAX && !b.failed) {
        struct series *s = &m->s[m->n];

        s->labels = b.p != NULL ? assay_buf_steal(&b, NULL) : strdup("");
        if (s->labels != NULL) {
            s->row = row;
            m->n++;
            return s;
        }
    }
    m->dropped++;
    return NULL;
}

void bk_metrics_add(struct bk_metrics *m, const struct assay_metric *row, const char *const *labels, double by)
{
    struct series *s = series_get(m, row, labels);

    if (s != NULL)
        s->value += by;
}

void bk_metrics_set(struct bk_metrics *m, const struct assay_metric *row, const char *const *labels, double to)
{
    struct series *s = series_get(m, row, labels);

    if (s != NULL)
        s->value = to;
}

void bk_metrics_observe(struct bk_metrics *m, const struct assay_metric *row, const char *const *labels, double v)
{
    struct series *s = series_get(m, row, labels);

    assert(row->type == ASSAY_METRIC_HISTOGRAM && row->buckets != NULL);
    if (s == NULL)
        return;
    s->value += v;
    s->count++;
    for (size_t i = 0; i < BUCKETS_MAX && row->buckets[i] > 0; i++)
        if (v <= row->buckets[i])
            s->bucket[i]++;
}

static void line(struct assay_buf *out, const struct series *s, const char *suffix, const char *le, double v)
{
    assay_buf_fmt(out, "%s%s", s->row->name, suffix);
    if (s->labels[0] != '\0' || le != NULL) {
        assay_buf_fmt(out, "{%s%s", s->labels, s->labels[0] != '\0' && le != NULL ? "," : "");
        if (le != NULL)
            assay_buf_fmt(out, "le=\"%s\"", le);
        assay_buf_putc(out, '}');
    }
    assay_buf_fmt(out, " %.15g\n", v);
}

void bk_metrics_render(const struct bk_metrics *m, struct assay_buf *out)
{
    static const char *const type_names[] = {"", "counter", "gauge", "histogram"};

    for (size_t i = 0; i < m->n; i++) {
        const struct assay_metric *row = m->s[i].row;
        bool seen = false;

        for (size_t j = 0; j < i && !seen; j++)
            seen = m->s[j].row == row;
        if (seen) /* all series of a name stand together */
            continue;
        assay_buf_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name, type_names[row->type]);
        for (size_t j = i; j < m->n; j++) {
            const struct series *s = &m->s[j];

            if (s->row != row)
                continue;
            if (row->type != ASSAY_METRIC_HISTOGRAM) {
                line(out, s, "", NULL, s->value);
                continue;
            }
            for (size_t k = 0; k < BUCKETS_MAX && row->buckets[k] > 0; k++) {
                char le[32];

                snprintf(le, sizeof(le), "%g", row->buckets[k]);
                line(out, s, "_bucket", le, (double)s->bucket[k]);
            }
            line(out, s, "_bucket", "+Inf", (double)s->count);
            line(out, s, "_sum", NULL, s->value);
            line(out, s, "_count", NULL, (double)s->count);
        }
    }
    if (m->dropped > 0)
        assay_buf_fmt(out,
                      "# HELP assay_boxkeeper_series_dropped_total Series that were not made because there were too many.\n"
                      "# TYPE assay_boxkeeper_series_dropped_total counter\nassay_boxkeeper_series_dropped_total %llu\n",
                      (unsigned long long)m->dropped);
}
