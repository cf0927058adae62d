/*
 * Answers questions about services/leaderboard/stats.c, for board_stats_test.py, which knows the answers from exact arithmetic:
 * a line "name numbers..." on standard input, the numbers of the answer on a line of standard output.
 */
#include "stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 512

static size_t numbers(char *rest, double *out)
{
    size_t n = 0;
    for (char *end; n < VALUES_MAX; rest = end) {
        double v = strtod(rest, &end);
        if (end == rest)
            break;
        out[n++] = v;
    }
    return n;
}

static void say(struct lb_interval i)
{
    printf("%.17g %.17g\n", i.low, i.high);
}

int main(void)
{
    static char line[1 << 16];
    static double v[VALUES_MAX], room[200000];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *rest = strchr(line, ' ');
        if (rest == NULL)
            return 1;
        *rest++ = '\0';
        size_t n = numbers(rest, v);
        if (strcmp(line, "pass") == 0) {
            printf("%.17g\n", lb_pass_at_k((int64_t)v[0], (int64_t)v[1], (int64_t)v[2]));
        } else if (strcmp(line, "quantile") == 0) {
            printf("%.17g\n", lb_normal_quantile(v[0]));
        } else if (strcmp(line, "wilson") == 0) {
            say(lb_wilson((int64_t)v[0], (int64_t)v[1], v[2]));
        } else if (strcmp(line, "mcnemar") == 0) {
            printf("%.17g\n", lb_mcnemar_exact((int64_t)v[0], (int64_t)v[1]));
        } else if (strcmp(line, "bootstrap") == 0) { /* confidence draws seed, then sum n of each problem */
            struct lb_cluster c[VALUES_MAX];
            for (size_t i = 3; i + 1 < n; i += 2)
                c[(i - 3) / 2] = (struct lb_cluster){v[i], v[i + 1]};
            say(lb_bootstrap(c, (n - 3) / 2, v[0], (size_t)v[1], (uint64_t)v[2], room));
        } else if (strcmp(line, "paired") == 0) { /* confidence draws seed, then a b of each problem */
            double a[VALUES_MAX], b[VALUES_MAX];
            for (size_t i = 3; i + 1 < n; i += 2) {
                a[(i - 3) / 2] = v[i];
                b[(i - 3) / 2] = v[i + 1];
            }
            say(lb_paired_bootstrap(a, b, (n - 3) / 2, v[0], (size_t)v[1], (uint64_t)v[2], room));
        } else if (strcmp(line, "ranks") == 0) { /* low high of each */
            struct lb_interval in[VALUES_MAX];
            struct lb_ranks out[VALUES_MAX];
            for (size_t i = 0; i + 1 < n; i += 2)
                in[i / 2] = (struct lb_interval){v[i], v[i + 1]};
            if (lb_rank_intervals(in, n / 2, out) != 0)
                return 1;
            for (size_t i = 0; i < n / 2; i++)
                printf("%zu %zu ", out[i].best, out[i].worst);
            putchar('\n');
        } else {
            return 1;
        }
    }
    return ferror(stdin) != 0;
}
