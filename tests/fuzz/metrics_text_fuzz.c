/*
 * Another process's metrics as Prometheus' text.
 *
 * What must hold: what is given out is whole (labels and names are strings, a histogram has its bounds rising and one bucket more
 * than these), and both forms of OTLP can be made of it.
 */
#include <string.h>

#include "fuzz.h"
#include "gateway/metrics.h"
#include "gateway/otlp.h"

static void seen(void *arg, const struct assay_metric_point *p)
{
    size_t *bytes = arg;
    *bytes += strlen(p->row->name) + strlen(p->row->help);
    FUZZ_CHECK(p->n_labels <= ASSAY_METRICS_LABELS);
    for (size_t i = 0; i < p->n_labels; i++)
        *bytes += strlen(p->label[i]) + strlen(p->value[i]);
    if (p->row->type != ASSAY_METRIC_HISTOGRAM)
        return;
    FUZZ_CHECK(p->n_buckets > 0 && p->row->buckets[p->n_buckets - 1] == 0);
    for (size_t i = 0; i + 1 < p->n_buckets; i++)
        FUZZ_CHECK(p->row->buckets[i] > 0);
    for (size_t i = 0; i < p->n_buckets; i++)
        *bytes += p->bucket[i] > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct assay_metrics *none;
    struct assay_err err;
    size_t bytes = 0;
    if (none == NULL)
        none = assay_metrics_new(0, &err);
    struct assay_arena *arena = assay_arena_new(0);
    FUZZ_CHECK(none != NULL && arena != NULL);
    const struct assay_str text = {(const char *)data, size};
    int rc = assay_metrics_text_each(text, arena, seen, &bytes, &err);
    const struct assay_otlp_from from = {NULL, 0, "fuzz"};
    const struct assay_otlp_report report = {.m = none, .more = text, .arena = arena, .start_ns = 1, .now_ns = 2};
    struct assay_buf out = ASSAY_BUF_INIT;
    FUZZ_CHECK(assay_otlp_proto_metrics(&from, &report, &out, &err) == rc);
    assay_buf_free(&out);
    int json = assay_otlp_json_metrics(&from, &report, &out, &err);
    FUZZ_CHECK(json == rc || rc == 0); /* JSON has no infinite numbers */
    assay_buf_free(&out);
    assay_arena_free(arena);
    return 0;
}
