/*
 * Metrics: counters, gauges and histograms in Prometheus' text format (version 0.0.4).
 *
 * A metric is a const row (struct assay_metric, assay/plugin.h); its address is its identity, so a
 * plugin's table is registered as it stands.  Updating costs a lookup by address, one hash of the
 * label values and an addition to a cell of the thread's own shard: no lock, no allocation once a
 * series exists.  The first update of a new series takes its family's lock.
 *
 * Cardinality is bounded: from the max_series-th on, a metric's new label values all go to one
 * series whose values are "other", and assay_metrics_overflow_total{metric=} counts those updates.
 *
 * Threads: everything from any thread, except new and free.
 */
#ifndef ASSAY_GATEWAY_METRICS_H
#define ASSAY_GATEWAY_METRICS_H

#include <assay/plugin.h>

struct assay_metrics;

#define ASSAY_METRICS_LABELS 8       /* most labels of a metric */
#define ASSAY_METRICS_LABEL_BYTES 96 /* longer label values are cut, at a character's border */

/* max_series: of one metric; 0 for 256. NULL on failure. */
struct assay_metrics *assay_metrics_new(size_t max_series, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_metrics_free(struct assay_metrics *m); /* NULL is fine */

/* Adds the rows of a table; they must outlive the registry.  All or none.  ASSAY_E_CONFIG when a
 * row breaks a rule of Prometheus (https://prometheus.io/docs/practices/naming/: names, base units,
 * _total on counters and only there, a help text, rising buckets), ASSAY_E_CONFLICT when a name is
 * taken; the message names the row.  A metric without labels shows from here on, with value 0. */
int assay_metrics_register(struct assay_metrics *m, struct assay_table rows, struct assay_err *err) ASSAY_MUST_CHECK;

/* row: registered (others are ignored and counted in assay_metrics_unknown_total); labels: one
 * string for each of the row's labels, in order; NULL (or a NULL string) counts as "".
 * add: counters (by >= 0) and gauges; set: gauges; observe: histograms.  NaN and wrong types are ignored
 * and counted as unknown too. */
void assay_metrics_add(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels, double by);
void assay_metrics_set(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels, double to);
void assay_metrics_observe(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels, double v);

/* Called at the start of each exposition, to set gauges from what is counted elsewhere.  At most 16. */
int assay_metrics_on_scrape(struct assay_metrics *m, void (*fn)(void *arg), void *arg, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Sets a counter that is counted elsewhere to its present value; for scrape callbacks. */
void assay_metrics_count_to(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels,
                            double total);

/* One series as it stands, for exporters of another form. */
struct assay_metric_point {
    const struct assay_metric *row;
    size_t n_labels;
    const char *const *label, *const *value;
    double v;                     /* counters and gauges */
    const uint64_t *bucket;       /* histograms: of each bound by itself, and the rest last */
    size_t n_buckets;             /* with that last one */
    uint64_t count;
    double sum;
};
/* Calls fn with each series, those of one metric in a row; scrape callbacks come first, as for an exposition.  Without the
 * two counters of the registry itself.  fn must not call the registry. */
void assay_metrics_each(struct assay_metrics *m, void (*fn)(void *arg, const struct assay_metric_point *p), void *arg);

/* metrics_text.c: the same of another process's text. Rows and what they point to live in the arena. ASSAY_E_INVALID at the
 * first line that is not understood, after what came before it. */
int assay_metrics_text_each(struct assay_str text, struct assay_arena *arena, void (*fn)(void *arg, const struct assay_metric_point *p), void *arg,
                            struct assay_err *err) ASSAY_MUST_CHECK;

#define ASSAY_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
/* Appends the text of all metrics. ASSAY_E_NOMEM when the builder failed. */
int assay_metrics_expose(struct assay_metrics *m, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

#endif
