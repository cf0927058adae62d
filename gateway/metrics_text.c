/*
 * Prometheus' text format, read: what another process of ours (the boxkeeper) says of itself, as the series that it was made of.
 *
 * It reads what our own processes write: # HELP and # TYPE before a metric's samples, a histogram's lines of one series
 * together and in order (buckets, sum, count).  Anything else is ASSAY_E_INVALID, naming the line; what came before it has been given out.
 */
#include "gateway/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <assay/value.h>

#define NAME_MAX_BYTES 128
#define BUCKETS 32

struct reading {
    void (*fn)(void *arg, const struct assay_metric_point *p);
    void *arg;
    struct assay_arena *arena;
    struct assay_metric *row; /* the metric whose samples come: in the arena, so that each has an address of its own */
    struct assay_str help_of, help;
    double bound[BUCKETS + 1]; /* the histogram's series that is being read */
    uint64_t upto[BUCKETS + 1];
    size_t n_bounds, row_bounds; /* so far; of the metric's first series, which the others must have too */
    double sum;
};

struct sample {
    struct assay_str name; /* with its suffix */
    size_t n;
    const char *label[ASSAY_METRICS_LABELS], *value[ASSAY_METRICS_LABELS];
    const char *le; /* NULL: none */
    double v;
};

static struct assay_str word(struct assay_str *line)
{
    const char *space = memchr(line->p, ' ', line->n);
    struct assay_str w = {line->p, space != NULL ? (size_t)(space - line->p) : line->n};
    size_t used = w.n + (space != NULL);
    *line = (struct assay_str){line->p + used, line->n - used};
    return w;
}

static bool number(struct assay_str s, double *out)
{
    char text[40], *rest;
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    *out = strtod(text, &rest);
    return *rest == '\0' && !isnan(*out);
}

/* "# HELP name text", "# TYPE name type" */
static bool comment(struct reading *r, struct assay_str line)
{
    (void)word(&line);
    struct assay_str what = word(&line), name = word(&line);
    if (assay_str_is(what, "HELP")) {
        r->help_of = name;
        r->help = line;
        return true;
    }
    static const struct {
        const char *name;
        enum assay_metric_type type;
    } types[] = {{"counter", ASSAY_METRIC_COUNTER}, {"gauge", ASSAY_METRIC_GAUGE}, {"histogram", ASSAY_METRIC_HISTOGRAM}};
    for (size_t i = 0; i < 3 && assay_str_is(what, "TYPE") && name.n > 0 && name.n <= NAME_MAX_BYTES; i++) {
        if (!assay_str_is(line, types[i].name))
            continue;
        struct assay_metric made = {.name = assay_arena_z(r->arena, name), .type = types[i].type, .labels = "",
                                    .help = assay_arena_z(r->arena, assay_str_eq(r->help_of, name) ? r->help : ASSAY_STR(""))};
        r->row = assay_arena_alloc(r->arena, sizeof made);
        if (r->row != NULL)
            memcpy(r->row, &made, sizeof made);
        r->n_bounds = 0;
        return true;
    }
    return false;
}

/* The text of a label's value up to its closing quote. Moves *p behind it; NULL when there is none. */
static const char *quoted(struct reading *r, const char **p, const char *end)
{
    char *out = assay_arena_alloc(r->arena, (size_t)(end - *p) + 1);
    size_t n = 0;
    for (const char *c = *p; out != NULL && c < end; c++) {
        if (*c == '"') {
            out[n] = '\0';
            *p = c + 1;
            return out;
        }
        if (*c == '\\' && ++c == end)
            break;
        out[n++] = c[-1] == '\\' && *c == 'n' ? '\n' : *c;
    }
    return NULL;
}

/* name{label="value",...} number */
static bool sample_read(struct reading *r, struct assay_str line, struct sample *s)
{
    const char *p = line.p, *end = line.p + line.n;
    while (p < end && *p != '{' && *p != ' ')
        p++;
    *s = (struct sample){.name = {line.p, (size_t)(p - line.p)}};
    if (p < end && *p == '{') {
        p++;
        while (p < end && *p != '}') {
            const char *eq = memchr(p, '=', (size_t)(end - p));
            if (eq == NULL || eq == p || eq + 1 >= end || eq[1] != '"')
                return false;
            const char *name = assay_arena_z(r->arena, (struct assay_str){p, (size_t)(eq - p)});
            p = eq + 2;
            const char *value = quoted(r, &p, end);
            if (name == NULL || value == NULL)
                return false;
            if (strcmp(name, "le") == 0) {
                s->le = value;
            } else if (s->n < ASSAY_METRICS_LABELS) {
                s->label[s->n] = name;
                s->value[s->n++] = value;
            } else {
                return false;
            }
            if (p < end && *p == ',')
                p++;
        }
        p++; /* the closing brace, or past the end */
    }
    return p < end && *p == ' ' && number((struct assay_str){p + 1, (size_t)(end - p - 1)}, &s->v);
}

static bool is_part(const struct reading *r, struct assay_str name, const char *suffix)
{
    size_t n = strlen(r->row->name);
    return name.n == n + strlen(suffix) && memcmp(name.p, r->row->name, n) == 0 && assay_str_ends(name, suffix);
}

/* A histogram's series is given out at its last line. */
static bool histogram_line(struct reading *r, const struct sample *s)
{
    double bound = 0;
    if (is_part(r, s->name, "_bucket")) {
        bool last = s->le != NULL && strcmp(s->le, "+Inf") == 0;
        bool fits = s->le != NULL && r->n_bounds < (size_t)BUCKETS + (last ? 1 : 0) && (r->n_bounds == 0 || r->bound[r->n_bounds - 1] > 0) && s->v >= 0 && s->v < 9e15 && (last || (number(assay_str(s->le), &bound) && bound > 0)) &&
                    (r->n_bounds == 0 || (double)r->upto[r->n_bounds - 1] <= s->v);
        if (!fits)
            return false;
        r->bound[r->n_bounds] = bound; /* 0 at the end, as in a row */
        r->upto[r->n_bounds++] = (uint64_t)s->v;
        return true;
    }
    if (is_part(r, s->name, "_sum")) {
        r->sum = s->v;
        return true;
    }
    if (!is_part(r, s->name, "_count") || r->n_bounds == 0 || r->bound[r->n_bounds - 1] > 0)
        return false;
    if (r->row->buckets != NULL && r->n_bounds != r->row_bounds)
        return false;
    if (r->row->buckets == NULL) {
        double *kept = assay_arena_array(r->arena, r->n_bounds, sizeof *kept);
        if (kept == NULL)
            return false;
        memcpy(kept, r->bound, r->n_bounds * sizeof *kept);
        r->row->buckets = kept;
        r->row_bounds = r->n_bounds;
    }
    uint64_t bucket[BUCKETS + 1];
    for (size_t i = 0; i < r->n_bounds; i++)
        bucket[i] = r->upto[i] - (i > 0 ? r->upto[i - 1] : 0);
    const struct assay_metric_point p = {.row = r->row, .n_labels = s->n, .label = s->label, .value = s->value, .bucket = bucket,
                                         .n_buckets = r->n_bounds, .count = (uint64_t)s->v, .sum = r->sum};
    r->fn(r->arg, &p);
    r->n_bounds = 0;
    return true;
}

static bool one_line(struct reading *r, struct assay_str line)
{
    struct sample s;
    if (line.n == 0)
        return true;
    if (line.p[0] == '#')
        return comment(r, line);
    if (r->row == NULL || !sample_read(r, line, &s))
        return false;
    if (r->row->type == ASSAY_METRIC_HISTOGRAM)
        return histogram_line(r, &s);
    if (!is_part(r, s.name, ""))
        return false;
    const struct assay_metric_point p = {.row = r->row, .n_labels = s.n, .label = s.label, .value = s.value, .v = s.v};
    r->fn(r->arg, &p);
    return true;
}

int assay_metrics_text_each(struct assay_str text, struct assay_arena *arena, void (*fn)(void *arg, const struct assay_metric_point *p), void *arg,
                            struct assay_err *err)
{
    struct reading r = {.fn = fn, .arg = arg, .arena = arena};
    for (size_t n = 1; text.n > 0; n++) {
        const char *end = memchr(text.p, '\n', text.n);
        struct assay_str line = {text.p, end != NULL ? (size_t)(end - text.p) : text.n};
        size_t used = line.n + (end != NULL);
        text = (struct assay_str){text.p + used, text.n - used};
        if (!one_line(&r, line))
            return assay_arena_failed(arena) ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for another process's metrics")
                                             : assay_err_set(err, ASSAY_E_INVALID, "line %zu of another process's metrics is not understood", n);
    }
    return 0;
}
