/*
 * Statistics of evaluations: estimates, intervals, paired tests.  Pure mathematics: no I/O, no state, any thread.
 *
 * Proportions and confidences are between 0 and 1.  What is not defined (no samples) is NaN, never a guess.  Everything that
 * draws takes a seed: the same seed, data and order give the same numbers on every machine, bit for bit up to libm.
 */
#ifndef LEADERBOARD_STATS_H
#define LEADERBOARD_STATS_H

#include <stddef.h>
#include <stdint.h>

struct lb_interval {
    double low, high;
};

/* pass@k by the unbiased estimator 1 - C(n-c, k) / C(n, k) of n samples with c correct (M. Chen et al., "Evaluating Large
 * Language Models Trained on Code", arXiv:2107.03374, section 2.1), by logarithms, so that nothing overflows and small
 * values keep their digits.  NaN unless 0 <= c <= n and 1 <= k <= n. */
double lb_pass_at_k(int64_t n, int64_t c, int64_t k);

/* The z with P(|Z| <= z) = confidence for a standard normal Z. */
double lb_normal_quantile(double confidence);

/* The score interval of a proportion (E. B. Wilson, JASA 22 (1927), 209-212), without continuity correction.
 * NaN, NaN for n = 0. */
struct lb_interval lb_wilson(int64_t correct, int64_t n, double confidence);

/* What a problem contributes: the sum of its values and how many there are. */
struct lb_cluster {
    double sum, n;
};
/* sum of sums / sum of n; NaN without any. */
double lb_ratio(const struct lb_cluster *c, size_t n);
/* Percentile interval of that ratio by the cluster bootstrap: whole problems are drawn with replacement, so samples of one
 * problem, which are alike, are not taken for independent (B. Efron, R. Tibshirani, "An Introduction to the Bootstrap",
 * 1993, chapter 13; clustering: E. Miller, arXiv:2411.00640, section 2.2).  `draws` resamples; *room holds as many doubles. */
struct lb_interval lb_bootstrap(const struct lb_cluster *c, size_t n, double confidence, size_t draws, uint64_t seed, double *room);

/* The draws of lb_bootstrap for n clusters, made once for many who have as many: draws * n numbers below n.  Then the same interval,
 * bit for bit, for clusters that all have samples (n > 0).  n at most 65535. */
void lb_draws_make(uint16_t *index, size_t n, size_t draws, uint64_t seed);
struct lb_interval lb_bootstrap_drawn(const struct lb_cluster *c, size_t n, double confidence, const uint16_t *index, size_t draws,
                                      double *room);

/* Percentile interval of mean(a - b) over paired problems, by drawing pairs. */
struct lb_interval lb_paired_bootstrap(const double *a, const double *b, size_t n, double confidence, size_t draws, uint64_t seed,
                                       double *room);

/* Two-sided exact p of McNemar's test (Q. McNemar, Psychometrika 12 (1947), 153-157; exact: the sign test over the discordant
 * pairs, A. Agresti, "Categorical Data Analysis", 10.1): `only_a` and `only_b` problems solved by one of the two alone. 1 for
 * none. */
double lb_mcnemar_exact(int64_t only_a, int64_t only_b);

/* Ranks as intervals: *best is 1 + how many lie wholly above, *worst is n less how many lie wholly below; whoever overlaps may be
 * either way round.  An interval of NaN may be anywhere. 0, or -1 without memory. */
struct lb_ranks {
    size_t best, worst;
};
int lb_rank_intervals(const struct lb_interval *of, size_t n, struct lb_ranks *out);

#endif
