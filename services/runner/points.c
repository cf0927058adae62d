/*
 * Points: what the tests of a submission and their groups make together.  Pure functions.
 *
 * A test gives a part of its points, 0 to 1: all or nothing by its verdict, or what its checker said.  A test of no group
 * counts by itself.  A group makes one part of its tests' (their mean weighed by points, the least or the greatest) and gives that part of
 * its own points.  The score is what was given of all that there is, times 100.
 */
#include "local.h"

#include <math.h>

double part_of(const struct scored *t)
{
    double part = isnan(t->part) ? (t->verdict == VERDICT_OK ? 1 : 0) : t->part;
    return part < 0 || t->verdict == VERDICT_NONE ? 0 : part > 1 ? 1 : part;
}

static bool failed(enum verdict v)
{
    return v != VERDICT_OK && v != VERDICT_NONE;
}

static void count_group(const struct scored *test, size_t n, size_t index, struct group *g)
{
    double sum = 0, weights = 0, least = 1, greatest = 0;
    g->tests = g->passed = 0;
    g->verdict = VERDICT_NONE;
    for (size_t i = 0; i < n; i++) {
        if (test[i].group != index)
            continue;
        double part = part_of(&test[i]);
        sum += part * test[i].points;
        weights += test[i].points;
        least = part < least ? part : least;
        greatest = part > greatest ? part : greatest;
        g->tests++;
        g->passed += test[i].verdict == VERDICT_OK;
        if (g->verdict == VERDICT_NONE && failed(test[i].verdict))
            g->verdict = test[i].verdict;
    }
    if (g->verdict == VERDICT_NONE && g->passed == g->tests)
        g->verdict = VERDICT_OK;
    double part = g->tests == 0                              ? 1
                  : g->aggregate == ASSAY_AGGREGATE_MIN      ? least
                  : g->aggregate == ASSAY_AGGREGATE_MAX      ? greatest
                  : weights > 0 && sum < weights             ? sum / weights
                                                             : (sum > 0 ? 1 : 0);
    g->awarded = part * g->points;
}

void points_count(const struct scored *test, size_t n, struct group *group, size_t n_groups, struct points *out)
{
    struct points p = {0, 0, 0};
    size_t whole = 0;
    for (size_t i = 0; i < n; i++) {
        double part = part_of(&test[i]);
        whole += part >= 1;
        if (test[i].group == NO_GROUP) {
            p.all += test[i].points;
            p.awarded += part * test[i].points;
        }
    }
    for (size_t i = 0; i < n_groups; i++) {
        count_group(test, n, i, &group[i]);
        p.all += group[i].points;
        p.awarded += group[i].awarded;
    }
    if (whole == n) { /* not 99.999… after many additions */
        p.awarded = p.all;
        p.score = 100;
    } else {
        p.score = p.all > 0 ? 100 * p.awarded / p.all : 0;
        p.score = p.score > 100 ? 100 : p.score;
    }
    *out = p;
}

static bool group_passed(const struct scored *test, size_t i, size_t group)
{
    for (size_t k = 0; k < i; k++) {
        if (test[k].group == group && test[k].verdict != VERDICT_OK)
            return false;
    }
    return true;
}

bool test_is_due(const struct scored *test, size_t i, const struct group *group)
{
    size_t index = test[i].group;
    if (index == NO_GROUP)
        return true;
    const struct group *g = &group[index];
    if (g->stop && !group_passed(test, i, index))
        return false;
    for (size_t k = 0; k < g->n_needs; k++) {
        if (!group_passed(test, i, g->needs[k]))
            return false;
    }
    return true;
}
