/*
 * Metrics.  Theory of operation.
 *
 * registry -> families (one a row) -> series (one a combination of label values) -> cells.
 *
 * Families are found by the row's address in an open-addressed table of fixed size, series by a hash
 * of their label values in a table of their family, sized for max_series at registration.  Both only
 * grow: an entry is filled under a lock and published by a release store of its pointer, readers
 * probe with acquire loads until they meet it or an empty place.  Nothing is removed before the
 * registry is freed, so readers need no lock and no reclamation.
 *
 * Counters and histograms have a block of cells for each shard, on cache lines of their own; a
 * thread adds to the shard that it drew at its first update.  Exposition adds the shards up.  Since
 * cells only grow, a sum of relaxed loads lies between the true values at its start and at its end.
 * A histogram's _count is the sum of the same bucket loads that its +Inf bucket is, so a scrape is
 * always consistent in itself.  Gauges have one cell: the last set wins.
 *
 * Cells hold doubles as 64-bit patterns; adding is a CAS loop, uncontended by the sharding.
 */
#include "gateway/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "gateway/text.h"

#define MAGIC 0x6d657472u /* "metr" */
#define FAMILIES 1024     /* most metrics; a power of two, kept at most half full */
#define SHARDS_MAX 16
#define SCRAPERS 16
#define BUCKETS_MAX 64
#define LINE 64 /* of the cache */

typedef _Atomic uint64_t cell; /* the bits of a double, or a count */

struct series {
    uint64_t hash;
    const char *value[ASSAY_METRICS_LABELS]; /* cut, valid UTF-8 */
    cell *cells; /* shards * stride; in a histogram: buckets, +Inf, sum */
};

struct family {
    const struct assay_metric *row;
    struct assay_metrics *m;
    size_t n_labels, n_buckets;
    char *label_text;                        /* the names, cut at the commas */
    const char *label[ASSAY_METRICS_LABELS];
    size_t shards, stride;                   /* cells between two shards */
    size_t table_size;                       /* a power of two */
    _Atomic(struct series *) *table;
    atomic_size_t n_series;
    struct series **in_order; /* as they came; [0, n_series) */
    _Atomic(struct series *) other;
    _Atomic uint64_t overflow; /* updates that went there */
};

struct scraper {
    void (*fn)(void *arg);
    void *arg;
};

struct assay_metrics {
    unsigned magic;
    size_t max_series, shards;
    pthread_mutex_t lock; /* guards growth: registration, new series, scrapers */
    pthread_mutex_t scrape; /* one exposition at a time: scrapers set gauges */
    atomic_size_t n_families;
    struct family *in_order[FAMILIES / 2];
    _Atomic(struct family *) table[FAMILIES];
    size_t n_scrapers;
    struct scraper scraper[SCRAPERS];
    _Atomic uint64_t unknown;
};

static void check(const struct assay_metrics *m)
{
    assert(m != NULL && m->magic == MAGIC);
}

static void lock(pthread_mutex_t *l)
{
    int r = pthread_mutex_lock(l);
    assert(r == 0);
}

static void unlock(pthread_mutex_t *l)
{
    int r = pthread_mutex_unlock(l);
    assert(r == 0);
}

/* ---- cells ---- */

static double to_double(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static uint64_t to_bits(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

static void cell_add(cell *c, double by)
{
    uint64_t old = atomic_load_explicit(c, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(c, &old, to_bits(to_double(old) + by), memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}

static size_t my_shard(size_t shards)
{
    static atomic_size_t next;
    static _Thread_local size_t mine; /* number + 1 */
    if (mine == 0)
        mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % SHARDS_MAX + 1;
    return (mine - 1) & (shards - 1);
}

/* ---- families ---- */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdull;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ull;
    return h ^ h >> 33;
}

static struct family *family_of(struct assay_metrics *m, const struct assay_metric *row)
{
    for (size_t i = (size_t)mix((uintptr_t)row);; i++) {
        struct family *f = atomic_load_explicit(&m->table[i % FAMILIES], memory_order_acquire);
        if (f == NULL || f->row == row)
            return f;
    }
}

static bool name_start(char c)
{
    return (c >= 'a' && c <= 'z') || c == '_';
}

/* Lower-case snake case: what Prometheus allows and also recommends. */
static bool name_ok(const char *z, size_t n)
{
    if (n == 0 || n > 120 || !name_start(z[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!name_start(z[i]) && !(z[i] >= '0' && z[i] <= '9'))
            return false;
    return true;
}

static bool has_word(const char *name, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = name; (p = strstr(p, word)) != NULL; p++)
        if ((p == name || p[-1] == '_') && (p[n] == '\0' || p[n] == '_'))
            return true;
    return false;
}

static int row_check(const struct assay_metric *row, struct assay_err *err)
{
    const char *name = row->name;
    if (name == NULL || !name_ok(name, strlen(name)))
        return assay_err_set(err, ASSAY_E_CONFIG, "a metric's name must be lower-case snake case, not \"%s\"",
                             name != NULL ? name : "(null)");
    bool histogram = row->type == ASSAY_METRIC_HISTOGRAM;
    if (row->type != ASSAY_METRIC_COUNTER && row->type != ASSAY_METRIC_GAUGE && !histogram)
        return assay_err_set(err, ASSAY_E_CONFIG, "metric %s has no known type", name);
    if (row->help == NULL || row->help[0] == '\0')
        return assay_err_set(err, ASSAY_E_CONFIG, "metric %s has no help text", name);
    struct assay_str s = assay_str(name);
    if (assay_str_ends(s, "_total") != (row->type == ASSAY_METRIC_COUNTER))
        return assay_err_set(err, ASSAY_E_CONFIG, "metric %s: the name of a counter, and of nothing else, ends in _total", name);
    static const char *const reserved[] = {"_count", "_sum", "_bucket", "_info"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (assay_str_ends(s, reserved[i]) && !(i == 3 && row->type == ASSAY_METRIC_GAUGE))
            return assay_err_set(err, ASSAY_E_CONFIG, "metric %s must not end in %s", name, reserved[i]);
    static const char *const wrong[] = {
        "ms",        "milliseconds", "us",      "microseconds", "ns",    "nanoseconds", "minutes", "hours", "days",
        "kb",        "mb",           "gb",      "tb",           "pb",    "kilobytes",   "megabytes", "percent",
        "counter",   "gauge",        "histogram", "s",          "sec",   "b",           "m",       "h",     "d"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (has_word(name, wrong[i]))
            return assay_err_set(err, ASSAY_E_CONFIG, "metric %s: \"%s\" has no place in a name (base units: seconds, bytes, ratio)",
                                 name, wrong[i]);
    if (!histogram)
        return 0;
    if (row->buckets == NULL || row->buckets[0] == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "histogram %s has no buckets", name);
    for (size_t i = 0; row->buckets[i] != 0; i++)
        if (!isfinite(row->buckets[i]) || i >= BUCKETS_MAX || (i > 0 && row->buckets[i] <= row->buckets[i - 1]))
            return assay_err_set(err, ASSAY_E_CONFIG, "histogram %s: bounds must be finite, rise, and be at most 64", name);
    return 0;
}

static void series_free(struct family *f, struct series *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < f->n_labels; i++)
        free((void *)(uintptr_t)s->value[i]); /* const for readers only */
    free(s->cells);
    free(s);
}

static void family_free(struct family *f)
{
    if (f == NULL)
        return;
    size_t n = atomic_load(&f->n_series);
    struct series *other = atomic_load(&f->other);
    for (size_t i = 0; i < n; i++) {
        if (f->in_order[i] == other)
            other = NULL;
        series_free(f, f->in_order[i]);
    }
    series_free(f, other);
    free(f->in_order);
    free((void *)(uintptr_t)f->table); /* without _Atomic, which free does not take */
    free(f->label_text);
    free(f);
}

static int labels_split(struct family *f, struct assay_err *err)
{
    const char *labels = f->row->labels != NULL ? f->row->labels : "";
    f->label_text = strdup(labels);
    if (f->label_text == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for metric %s", f->row->name);
    char *p = f->label_text;
    while (*p != '\0') {
        char *comma = strchr(p, ',');
        size_t n = comma != NULL ? (size_t)(comma - p) : strlen(p);
        bool ok = f->n_labels < ASSAY_METRICS_LABELS && name_ok(p, n) && !(n >= 2 && p[0] == '_' && p[1] == '_') &&
                  !(n == 2 && memcmp(p, "le", 2) == 0) && !(n == 8 && memcmp(p, "quantile", 8) == 0) &&
                  !(comma != NULL && comma[1] == '\0');
        if (comma != NULL)
            *comma = '\0';
        for (size_t i = 0; ok && i < f->n_labels; i++)
            ok = strcmp(f->label[i], p) != 0;
        if (!ok)
            return assay_err_set(err, ASSAY_E_CONFIG, "metric %s: \"%s\" is no usable list of label names", f->row->name, labels);
        f->label[f->n_labels++] = p;
        p += n + (comma != NULL ? 1 : 0);
    }
    return 0;
}

static int family_new(struct assay_metrics *m, const struct assay_metric *row, struct family **ret, struct assay_err *err)
{
    int r = row_check(row, err);
    if (r != 0)
        return r;
    struct family *f = calloc(1, sizeof *f);
    if (f == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for metric %s", row->name);
    f->row = row;
    f->m = m;
    r = labels_split(f, err);
    if (r != 0) {
        family_free(f);
        return r;
    }
    if (row->type == ASSAY_METRIC_HISTOGRAM)
        while (row->buckets[f->n_buckets] != 0)
            f->n_buckets++;
    size_t cells = row->type == ASSAY_METRIC_HISTOGRAM ? f->n_buckets + 2 : 1;
    f->shards = row->type == ASSAY_METRIC_GAUGE ? 1 : m->shards;
    f->stride = (cells * sizeof(cell) + LINE - 1) / LINE * (LINE / sizeof(cell));
    size_t max = f->n_labels > 0 ? m->max_series : 1;
    f->table_size = 2;
    while (f->table_size < 2 * max)
        f->table_size *= 2;
    f->table = calloc(f->table_size, sizeof *f->table);
    f->in_order = calloc(max, sizeof(struct series *));
    if (f->table == NULL || f->in_order == NULL) {
        family_free(f);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for metric %s", row->name);
    }
    *ret = f;
    return 0;
}

/* ---- series ---- */

static uint64_t hash_values(const struct family *f, const struct assay_str *v)
{
    uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a, finished by mix: values are short */
    for (size_t i = 0; i < f->n_labels; i++) {
        for (size_t k = 0; k < v[i].n; k++)
            h = (h ^ (unsigned char)v[i].p[k]) * 0x100000001b3ull;
        h = (h ^ 0xff) * 0x100000001b3ull; /* a byte that no UTF-8 value holds, between values */
    }
    return mix(h);
}

static bool same_values(const struct family *f, const struct series *s, const struct assay_str *v)
{
    for (size_t i = 0; i < f->n_labels; i++)
        if (strlen(s->value[i]) != v[i].n || memcmp(s->value[i], v[i].p, v[i].n) != 0)
            return false;
    return true;
}

static struct series *series_make(const struct family *f, const struct assay_str *v, uint64_t hash)
{
    struct series *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->hash = hash;
    size_t bytes = f->shards * f->stride * sizeof(cell);
    s->cells = aligned_alloc(LINE, bytes);
    bool ok = s->cells != NULL;
    for (size_t i = 0; ok && i < f->n_labels; i++)
        ok = (s->value[i] = strndup(v[i].p, v[i].n)) != NULL;
    if (!ok) {
        for (size_t i = 0; i < f->n_labels; i++)
            free((void *)(uintptr_t)s->value[i]);
        free(s->cells);
        free(s);
        return NULL;
    }
    for (size_t i = 0; i < f->shards * f->stride; i++)
        atomic_init(&s->cells[i], 0); /* 0 is also the pattern of 0.0 */
    return s;
}

static struct series *series_find(const struct family *f, const struct assay_str *v, uint64_t hash, size_t *place)
{
    for (size_t i = (size_t)hash;; i++) {
        *place = i & (f->table_size - 1);
        struct series *s = atomic_load_explicit(&f->table[*place], memory_order_acquire);
        if (s == NULL || (s->hash == hash && same_values(f, s, v)))
            return s;
    }
}

static struct series *series_other(struct family *f)
{
    (void)atomic_fetch_add_explicit(&f->overflow, 1, memory_order_relaxed);
    struct series *s = atomic_load_explicit(&f->other, memory_order_acquire);
    if (s != NULL)
        return s;
    struct assay_str v[ASSAY_METRICS_LABELS];
    for (size_t i = 0; i < f->n_labels; i++)
        v[i] = ASSAY_STR("other");
    lock(&f->m->lock);
    s = atomic_load_explicit(&f->other, memory_order_relaxed);
    if (s == NULL) {
        size_t place;
        s = series_find(f, v, hash_values(f, v), &place); /* somebody may use "other" by himself */
        if (s == NULL)
            s = series_make(f, v, 0);
        if (s != NULL)
            atomic_store_explicit(&f->other, s, memory_order_release);
    }
    unlock(&f->m->lock);
    return s;
}

/* NULL only without memory. */
static struct series *series_get(struct family *f, const char *const *labels)
{
    struct assay_str v[ASSAY_METRICS_LABELS];
    for (size_t i = 0; i < f->n_labels; i++) {
        struct assay_str s = assay_str(labels != NULL && labels[i] != NULL ? labels[i] : "");
        s = assay_text_cut(s, ASSAY_METRICS_LABEL_BYTES);
        v[i] = assay_utf8_valid(s) ? s : ASSAY_STR("invalid");
    }
    uint64_t hash = hash_values(f, v);
    size_t place;
    struct series *s = series_find(f, v, hash, &place);
    if (s != NULL)
        return s;
    size_t max = f->n_labels > 0 ? f->m->max_series : 1;
    if (atomic_load_explicit(&f->n_series, memory_order_relaxed) >= max)
        return series_other(f);
    lock(&f->m->lock);
    s = series_find(f, v, hash, &place);
    size_t n = atomic_load_explicit(&f->n_series, memory_order_relaxed);
    if (s == NULL && n < max) {
        s = series_make(f, v, hash);
        if (s != NULL) {
            f->in_order[n] = s;
            atomic_store_explicit(&f->table[place], s, memory_order_release);
            atomic_store_explicit(&f->n_series, n + 1, memory_order_release);
        }
        unlock(&f->m->lock);
        return s;
    }
    unlock(&f->m->lock);
    return s != NULL ? s : series_other(f);
}

/* ---- updates ---- */

static struct series *target(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels, bool type_ok,
                             double v, struct family **ret_f)
{
    check(m);
    struct family *f = family_of(m, row);
    struct series *s = f != NULL && type_ok && !isnan(v) ? series_get(f, labels) : NULL;
    if (s == NULL)
        (void)atomic_fetch_add_explicit(&m->unknown, 1, memory_order_relaxed);
    *ret_f = f;
    return s;
}

void assay_metrics_add(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels, double by)
{
    struct family *f;
    bool ok = row->type == ASSAY_METRIC_GAUGE || (row->type == ASSAY_METRIC_COUNTER && by >= 0);
    struct series *s = target(m, row, labels, ok, by, &f);
    if (s != NULL)
        cell_add(&s->cells[my_shard(f->shards) * f->stride], by);
}

void assay_metrics_set(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels, double to)
{
    struct family *f;
    struct series *s = target(m, row, labels, row->type == ASSAY_METRIC_GAUGE, to, &f);
    if (s != NULL)
        atomic_store_explicit(&s->cells[0], to_bits(to), memory_order_relaxed);
}

void assay_metrics_count_to(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels, double total)
{
    struct family *f;
    struct series *s = target(m, row, labels, row->type == ASSAY_METRIC_COUNTER && total >= 0, total, &f);
    if (s == NULL)
        return;
    /* the other shards stay 0, since such a counter has this one writer */
    atomic_store_explicit(&s->cells[0], to_bits(total), memory_order_relaxed);
}

void assay_metrics_observe(struct assay_metrics *m, const struct assay_metric *row, const char *const *labels, double v)
{
    struct family *f;
    struct series *s = target(m, row, labels, row->type == ASSAY_METRIC_HISTOGRAM, v, &f);
    if (s == NULL)
        return;
    cell *c = &s->cells[my_shard(f->shards) * f->stride];
    size_t i = 0;
    while (i < f->n_buckets && v > row->buckets[i])
        i++;
    (void)atomic_fetch_add_explicit(&c[i], 1, memory_order_relaxed);
    cell_add(&c[f->n_buckets + 1], v);
}

/* ---- exposition ---- */

static void put_real(struct assay_buf *b, double v)
{
    if (isnan(v)) {
        assay_buf_puts(b, "NaN");
    } else if (isinf(v)) {
        assay_buf_puts(b, v > 0 ? "+Inf" : "-Inf");
    } else {
        char text[ASSAY_TEXT_REAL];
        assay_buf_add(b, text, assay_text_real(text, v));
    }
}

static void put_escaped(struct assay_buf *b, const char *z, bool quotes)
{
    for (; *z != '\0'; z++) {
        if (*z == '\\')
            assay_buf_puts(b, "\\\\");
        else if (*z == '\n')
            assay_buf_puts(b, "\\n");
        else if (*z == '"' && quotes)
            assay_buf_puts(b, "\\\"");
        else
            assay_buf_putc(b, *z);
    }
}

static void put_sample(struct assay_buf *b, const struct family *f, const struct series *s, const char *suffix, const double *le,
                       double v)
{
    assay_buf_puts(b, f->row->name);
    assay_buf_puts(b, suffix);
    if (f->n_labels > 0 || le != NULL) {
        assay_buf_putc(b, '{');
        for (size_t i = 0; i < f->n_labels; i++) {
            if (i > 0)
                assay_buf_putc(b, ',');
            assay_buf_puts(b, f->label[i]);
            assay_buf_puts(b, "=\"");
            put_escaped(b, s->value[i], true);
            assay_buf_putc(b, '"');
        }
        if (le != NULL) {
            assay_buf_puts(b, f->n_labels > 0 ? ",le=\"" : "le=\"");
            put_real(b, *le);
            assay_buf_putc(b, '"');
        }
        assay_buf_putc(b, '}');
    }
    assay_buf_putc(b, ' ');
    put_real(b, v);
    assay_buf_putc(b, '\n');
}

/* A series summed up over its shards. bucket: room for the row's bounds and one more. */
static struct assay_metric_point point_of(const struct family *f, const struct series *s, uint64_t *bucket)
{
    struct assay_metric_point p = {.row = f->row, .n_labels = f->n_labels, .label = f->label, .value = s->value};
    if (f->row->type != ASSAY_METRIC_HISTOGRAM) {
        for (size_t k = 0; k < f->shards; k++)
            p.v += to_double(atomic_load_explicit(&s->cells[k * f->stride], memory_order_relaxed));
        return p;
    }
    p.bucket = bucket;
    p.n_buckets = f->n_buckets + 1;
    for (size_t i = 0; i < p.n_buckets; i++) {
        bucket[i] = 0;
        for (size_t k = 0; k < f->shards; k++)
            bucket[i] += atomic_load_explicit(&s->cells[k * f->stride + i], memory_order_relaxed);
        p.count += bucket[i];
    }
    for (size_t k = 0; k < f->shards; k++)
        p.sum += to_double(atomic_load_explicit(&s->cells[k * f->stride + f->n_buckets + 1], memory_order_relaxed));
    return p;
}

static void put_series(struct assay_buf *b, const struct family *f, const struct series *s)
{
    uint64_t bucket[BUCKETS_MAX + 1], count = 0;
    struct assay_metric_point p = point_of(f, s, bucket);
    if (p.bucket == NULL) {
        put_sample(b, f, s, "", NULL, p.v);
        return;
    }
    for (size_t i = 0; i < p.n_buckets; i++) {
        double le = i < f->n_buckets ? f->row->buckets[i] : INFINITY;
        count += bucket[i];
        put_sample(b, f, s, "_bucket", &le, (double)count);
    }
    put_sample(b, f, s, "_sum", NULL, p.sum);
    put_sample(b, f, s, "_count", NULL, (double)p.count);
}

static void put_head(struct assay_buf *b, const char *name, const char *type, const char *help)
{
    assay_buf_puts(b, "# HELP ");
    assay_buf_puts(b, name);
    assay_buf_putc(b, ' ');
    put_escaped(b, help, false);
    assay_buf_puts(b, "\n# TYPE ");
    assay_buf_puts(b, name);
    assay_buf_putc(b, ' ');
    assay_buf_puts(b, type);
    assay_buf_putc(b, '\n');
}

static void run_scrapers(struct assay_metrics *m)
{
    struct scraper scraper[SCRAPERS];
    lock(&m->lock);
    size_t n_scrapers = m->n_scrapers;
    memcpy(scraper, m->scraper, sizeof scraper);
    unlock(&m->lock);
    for (size_t i = 0; i < n_scrapers; i++)
        scraper[i].fn(scraper[i].arg);
}

void assay_metrics_each(struct assay_metrics *m, void (*fn)(void *arg, const struct assay_metric_point *p), void *arg)
{
    check(m);
    lock(&m->scrape);
    run_scrapers(m);
    uint64_t bucket[BUCKETS_MAX + 1];
    size_t n = atomic_load_explicit(&m->n_families, memory_order_acquire);
    for (size_t i = 0; i < n; i++) {
        const struct family *f = m->in_order[i];
        size_t k = atomic_load_explicit(&f->n_series, memory_order_acquire);
        const struct series *other = atomic_load_explicit(&f->other, memory_order_acquire);
        for (size_t j = 0; j <= k; j++) {
            const struct series *s = j < k ? f->in_order[j] : other;
            if (s == NULL)
                continue;
            struct assay_metric_point p = point_of(f, s, bucket);
            fn(arg, &p);
            if (s == other)
                other = NULL;
        }
    }
    unlock(&m->scrape);
}

int assay_metrics_expose(struct assay_metrics *m, struct assay_buf *out, struct assay_err *err)
{
    check(m);
    lock(&m->scrape);
    run_scrapers(m);
    static const char *const types[] = {"", "counter", "gauge", "histogram"};
    size_t n = atomic_load_explicit(&m->n_families, memory_order_acquire);
    for (size_t i = 0; i < n; i++) {
        const struct family *f = m->in_order[i];
        put_head(out, f->row->name, types[f->row->type], f->row->help);
        size_t k = atomic_load_explicit(&f->n_series, memory_order_acquire);
        const struct series *other = atomic_load_explicit(&f->other, memory_order_acquire);
        for (size_t j = 0; j < k; j++) {
            put_series(out, f, f->in_order[j]);
            if (f->in_order[j] == other)
                other = NULL;
        }
        if (other != NULL)
            put_series(out, f, other);
    }
    put_head(out, "assay_metrics_overflow_total", "counter",
             "Updates that went to the label value \"other\", since their metric had its full number of series.");
    for (size_t i = 0; i < n; i++) {
        const struct family *f = m->in_order[i];
        uint64_t over = atomic_load_explicit(&f->overflow, memory_order_relaxed);
        if (over > 0)
            assay_buf_fmt(out, "assay_metrics_overflow_total{metric=\"%s\"} %llu\n", f->row->name, (unsigned long long)over);
    }
    put_head(out, "assay_metrics_unknown_total", "counter",
             "Updates that were ignored: a row that is not registered, a wrong type, or not a number.");
    assay_buf_fmt(out, "assay_metrics_unknown_total %llu\n",
                  (unsigned long long)atomic_load_explicit(&m->unknown, memory_order_relaxed));
    unlock(&m->scrape);
    return out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no room for the text of the metrics") : 0;
}

/* ---- registration and life ---- */

static const struct assay_metric *row_at(struct assay_table rows, size_t i)
{
    return (const void *)((const char *)rows.rows + i * rows.stride);
}

int assay_metrics_register(struct assay_metrics *m, struct assay_table rows, struct assay_err *err)
{
    check(m);
    if (rows.count == 0)
        return 0;
    if (rows.stride < sizeof(struct assay_metric)) /* all members are of version 1.0 */
        return assay_err_set(err, ASSAY_E_CONFIG, "a table of metrics has rows of %u bytes", rows.stride);
    struct family **fresh = calloc(rows.count, sizeof(struct family *));
    if (fresh == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for %u metrics", rows.count);
    int r = 0;
    lock(&m->lock);
    size_t n = atomic_load_explicit(&m->n_families, memory_order_relaxed);
    if (n + rows.count > FAMILIES / 2)
        r = assay_err_set(err, ASSAY_E_BUSY, "more than %d metrics", FAMILIES / 2);
    for (size_t i = 0; r == 0 && i < rows.count; i++) {
        const struct assay_metric *row = row_at(rows, i);
        r = family_new(m, row, &fresh[i], err);
        for (size_t k = 0; r == 0 && k < n + i; k++) {
            const char *taken = k < n ? m->in_order[k]->row->name : row_at(rows, k - n)->name;
            if (strcmp(taken, row->name) == 0)
                r = assay_err_set(err, ASSAY_E_CONFLICT, "metric %s exists already", row->name);
        }
        if (r == 0 && (strcmp(row->name, "assay_metrics_overflow_total") == 0 || strcmp(row->name, "assay_metrics_unknown_total") == 0))
            r = assay_err_set(err, ASSAY_E_CONFLICT, "metric %s exists already", row->name);
    }
    for (size_t i = 0; i < rows.count; i++) {
        if (r != 0) {
            family_free(fresh[i]);
            continue;
        }
        m->in_order[n + i] = fresh[i];
        size_t place = (size_t)mix((uintptr_t)fresh[i]->row) % FAMILIES;
        while (atomic_load_explicit(&m->table[place], memory_order_relaxed) != NULL)
            place = (place + 1) % FAMILIES;
        atomic_store_explicit(&m->table[place], fresh[i], memory_order_release);
    }
    if (r == 0)
        atomic_store_explicit(&m->n_families, n + rows.count, memory_order_release);
    unlock(&m->lock);
    for (size_t i = 0; r == 0 && i < rows.count; i++)
        if (fresh[i]->n_labels == 0)
            (void)series_get(fresh[i], NULL); /* a scrape must see the 0 before the first event */
    free(fresh);
    return r;
}

int assay_metrics_on_scrape(struct assay_metrics *m, void (*fn)(void *arg), void *arg, struct assay_err *err)
{
    check(m);
    int r = 0;
    lock(&m->lock);
    if (m->n_scrapers == SCRAPERS)
        r = assay_err_set(err, ASSAY_E_BUSY, "more than %d scrape callbacks", SCRAPERS);
    else
        m->scraper[m->n_scrapers++] = (struct scraper){fn, arg};
    unlock(&m->lock);
    return r;
}

struct assay_metrics *assay_metrics_new(size_t max_series, struct assay_err *err)
{
    struct assay_metrics *m = calloc(1, sizeof *m);
    if (m == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for the metrics");
        return NULL;
    }
    m->magic = MAGIC;
    m->max_series = max_series > 0 ? max_series : 256;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    m->shards = 1;
    while ((long)m->shards < cores && m->shards < SHARDS_MAX)
        m->shards *= 2;
    int r = pthread_mutex_init(&m->lock, NULL);
    assert(r == 0);
    r = pthread_mutex_init(&m->scrape, NULL);
    assert(r == 0);
    return m;
}

void assay_metrics_free(struct assay_metrics *m)
{
    if (m == NULL)
        return;
    check(m);
    size_t n = atomic_load(&m->n_families);
    for (size_t i = 0; i < n; i++)
        family_free(m->in_order[i]);
    (void)pthread_mutex_destroy(&m->scrape);
    (void)pthread_mutex_destroy(&m->lock);
    m->magic = 0;
    free(m);
}
