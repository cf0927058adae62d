#include "stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

double lb_pass_at_k(int64_t n, int64_t c, int64_t k)
{
    if (c < 0 || n < c || k < 1 || k > n)
        return NAN;
    if (n - c < k)
        return 1;
    /* C(n-c, k) / C(n, k) is a product of k factors (n-c-j)/(n-j), and as well of c factors (n-k-j)/(n-j): of the fewer */
    int64_t terms = c < k ? c : k, missing = c < k ? k : c;
    double log_none = 0;
    for (int64_t j = 0; j < terms; j++)
        log_none += log1p(-(double)missing / (double)(n - j));
    return 0 - expm1(log_none);
}

double lb_normal_quantile(double confidence)
{
    if (!(confidence > 0 && confidence < 1))
        return NAN;
    double low = 0, high = 40; /* erfc is 0 beyond */
    for (int i = 0; i < 200; i++) {
        double mid = (low + high) / 2;
        if (erfc(mid / sqrt(2)) > 1 - confidence)
            low = mid;
        else
            high = mid;
    }
    return high;
}

struct lb_interval lb_wilson(int64_t correct, int64_t n, double confidence)
{
    double z = lb_normal_quantile(confidence), z2 = z * z;
    if (n <= 0 || correct < 0 || correct > n || isnan(z))
        return (struct lb_interval){NAN, NAN};
    double m = (double)n, p = (double)correct / m;
    double centre = (p + z2 / (2 * m)) / (1 + z2 / m);
    double half = z / (1 + z2 / m) * sqrt(p * (1 - p) / m + z2 / (4 * m * m));
    /* at the ends the bound is the end, which rounding would miss */
    return (struct lb_interval){correct == 0 ? 0 : centre - half, correct == n ? 1 : centre + half};
}

/* ---- drawing ---------------------------------------------------------------------------------------- */

/* SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014): one word of state, and good enough to draw problems. */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform below n, without bias. */
static size_t below(uint64_t *state, size_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;
    do {
        x = draw(state);
    } while (x >= limit);
    return (size_t)(x % n);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The inverse of the empirical distribution at both tails: the smallest value with at least that share at or below it. */
static struct lb_interval percentiles(double *value, size_t n, double confidence)
{
    double tail = (1 - confidence) / 2;
    size_t skip = (size_t)floor(tail * (double)n + 1e-9);
    if (skip >= (n + 1) / 2)
        skip = (n - 1) / 2;
    qsort(value, n, sizeof *value, by_value);
    return (struct lb_interval){value[skip], value[n - 1 - skip]};
}

double lb_ratio(const struct lb_cluster *c, size_t n)
{
    double sum = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        sum += c[i].sum;
        all += c[i].n;
    }
    return all > 0 ? sum / all : NAN;
}

struct lb_interval lb_bootstrap(const struct lb_cluster *c, size_t n, double confidence, size_t draws, uint64_t seed, double *room)
{
    if (n == 0 || draws == 0 || !(confidence > 0 && confidence < 1) || isnan(lb_ratio(c, n)))
        return (struct lb_interval){NAN, NAN};
    for (size_t d = 0; d < draws;) {
        double sum = 0, all = 0;
        for (size_t i = 0; i < n; i++) {
            const struct lb_cluster *x = &c[below(&seed, n)];
            sum += x->sum;
            all += x->n;
        }
        if (all > 0) /* a draw of problems without samples says nothing */
            room[d++] = sum / all;
    }
    return percentiles(room, draws, confidence);
}

void lb_draws_make(uint16_t *index, size_t n, size_t draws, uint64_t seed)
{
    for (size_t i = 0; i < n * draws; i++)
        index[i] = (uint16_t)below(&seed, n);
}

struct lb_interval lb_bootstrap_drawn(const struct lb_cluster *c, size_t n, double confidence, const uint16_t *index, size_t draws,
                                      double *room)
{
    if (n == 0 || draws == 0 || !(confidence > 0 && confidence < 1) || isnan(lb_ratio(c, n)))
        return (struct lb_interval){NAN, NAN};
    for (size_t d = 0; d < draws; d++, index += n) {
        double sum = 0, all = 0;
        for (size_t i = 0; i < n; i++) {
            sum += c[index[i]].sum;
            all += c[index[i]].n;
        }
        room[d] = sum / all;
    }
    return percentiles(room, draws, confidence);
}

struct lb_interval lb_paired_bootstrap(const double *a, const double *b, size_t n, double confidence, size_t draws, uint64_t seed,
                                       double *room)
{
    if (n == 0 || draws == 0 || !(confidence > 0 && confidence < 1))
        return (struct lb_interval){NAN, NAN};
    for (size_t d = 0; d < draws; d++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            size_t k = below(&seed, n);
            sum += a[k] - b[k];
        }
        room[d] = sum / (double)n;
    }
    return percentiles(room, draws, confidence);
}

/* ---- tests and ranks ---------------------------------------------------------------------------------- */

double lb_mcnemar_exact(int64_t only_a, int64_t only_b)
{
    int64_t n = only_a + only_b, least = only_a < only_b ? only_a : only_b;
    if (only_a < 0 || only_b < 0)
        return NAN;
    if (n == 0)
        return 1;
    /* 2 P(X <= least) for X of n fair coins; each term from the one above it, largest first, so nothing under- or overflows */
    double log_top = lgamma((double)n + 1) - lgamma((double)least + 1) - lgamma((double)(n - least) + 1) - (double)n * log(2);
    double sum = 0, term = 1;
    for (int64_t i = least; i >= 0 && term > 0; i--) {
        sum += term;
        term *= (double)i / (double)(n - i + 1);
    }
    double p = 2 * exp(log_top) * sum;
    return p < 1 ? p : 1;
}

static size_t count_above(const double *sorted, size_t n, double x) /* how many are greater than x */
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (sorted[mid] > x)
            high = mid;
        else
            low = mid + 1;
    }
    return n - low;
}

static size_t count_below(const double *sorted, size_t n, double x)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (sorted[mid] < x)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int lb_rank_intervals(const struct lb_interval *of, size_t n, struct lb_ranks *out)
{
    double *lows = calloc(2 * n + 1, sizeof *lows), *highs = lows != NULL ? lows + n : NULL;
    size_t known = 0;
    if (lows == NULL)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (isnan(of[i].low) || isnan(of[i].high))
            continue;
        lows[known] = of[i].low;
        highs[known++] = of[i].high;
    }
    qsort(lows, known, sizeof *lows, by_value);
    qsort(highs, known, sizeof *highs, by_value);
    for (size_t i = 0; i < n; i++) {
        bool anywhere = isnan(of[i].low) || isnan(of[i].high);
        out[i].best = 1 + (anywhere ? 0 : count_above(lows, known, of[i].high));
        out[i].worst = n - (anywhere ? 0 : count_below(highs, known, of[i].low));
    }
    free(lows);
    return 0;
}
