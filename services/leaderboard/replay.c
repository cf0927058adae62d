/*
 * A place on a board computed from nothing: the rules of docs/scoring.md in plain C over a list of submissions.
 *
 * It is what a history of an agent is made of, and what the tests hold the boards' SQL against (cells.h, repo_board.c).
 */
#include "local.h"
#include "stats.h"

#include <math.h>

struct cell {
    struct assay_str problem_id;
    const struct lb_submission *stands; /* for the problem: its score is made by this one; the last, for the mean */
    int64_t n, correct, total, value, ok_ms, rejected, cpu_ms;
    double pass;
};

static int64_t micro(double points)
{
    return llround(points * 1e6);
}

static bool is_ok(const struct lb_submission *s)
{
    return assay_str_is(s->verdict, "OK");
}

/* Whether a stands for the problem rather than b. */
static bool rather(int scoring, const struct lb_submission *a, const struct lb_submission *b)
{
    bool first = scoring == ASSAY_SCORING_BEST || scoring == ASSAY_SCORING_FIRST;
    if (scoring == ASSAY_SCORING_BEST && a->score != b->score)
        return a->score > b->score;
    if (a->created_ms != b->created_ms)
        return (a->created_ms < b->created_ms) == first;
    return (assay_str_cmp(a->submission_id, b->submission_id) < 0) == first;
}

/* Best of each group of tests over all submissions to the problem; -1 when none has groups. */
static int64_t best_groups(const struct lb_submission *s, size_t n, struct assay_str problem)
{
    int64_t sum = 0;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        for (size_t g = 0; assay_str_eq(s[i].problem_id, problem) && g < s[i].n_groups; g++) {
            int64_t best = micro(s[i].group[g].value);
            bool seen = false;
            any = true;
            for (size_t k = 0; k < n; k++)
                for (size_t h = 0; assay_str_eq(s[k].problem_id, problem) && h < s[k].n_groups; h++) {
                    if (!assay_str_eq(s[k].group[h].name, s[i].group[g].name))
                        continue;
                    seen = seen || k < i; /* counted when it came first */
                    best = micro(s[k].group[h].value) > best ? micro(s[k].group[h].value) : best;
                }
            sum += seen ? 0 : best;
        }
    }
    return any ? sum : -1;
}

static double pass_product(int64_t n, int64_t c, int64_t k)
{
    double none = 1;
    if (n - c < k)
        return 1;
    for (int64_t j = 0; j < k; j++)
        none = none * (double)(n - c - j) / (double)(n - j);
    return 1 - none;
}

static struct cell cell_of(const struct lb_benchmark *b, const struct lb_submission *s, size_t n, struct assay_str problem)
{
    struct cell c = {.problem_id = problem, .cpu_ms = -1};
    for (size_t i = 0; i < n; i++) {
        if (!assay_str_eq(s[i].problem_id, problem))
            continue;
        c.n++;
        c.total += micro(s[i].score);
        if (!c.stands || rather(b->rules.scoring, &s[i], c.stands))
            c.stands = &s[i];
        if (!is_ok(&s[i]))
            continue;
        if (c.correct++ == 0 || s[i].created_ms < c.ok_ms)
            c.ok_ms = s[i].created_ms;
        if (s[i].cpu_ms >= 0 && (c.cpu_ms < 0 || s[i].cpu_ms < c.cpu_ms))
            c.cpu_ms = s[i].cpu_ms;
    }
    for (size_t i = 0; i < n; i++)
        c.rejected += assay_str_eq(s[i].problem_id, problem) && !is_ok(&s[i]) && !assay_str_is(s[i].verdict, "BF") &&
                      (c.correct == 0 || s[i].created_ms < c.ok_ms);
    if (c.n == 0)
        return c;
    int64_t groups = b->rules.ranking == ASSAY_RANKING_IOI ? best_groups(s, n, problem) : -1;
    c.value = groups >= 0 ? groups : b->rules.scoring == ASSAY_SCORING_MEAN ? c.total / c.n : micro(c.stands->score);
    c.pass = pass_product(c.n, c.correct, b->rules.pass_k < c.n ? b->rules.pass_k : c.n);
    return c;
}

/* Whether cell x rather than y has the submission that stands for the whole entry. */
static bool cell_rather(const struct lb_benchmark *b, const struct cell *x, const struct cell *y)
{
    bool one = b->rules.ranking == ASSAY_RANKING_SCORE;
    if (b->rules.ranking == ASSAY_RANKING_ICPC && x->ok_ms != y->ok_ms)
        return x->ok_ms > y->ok_ms;
    return rather(one ? b->rules.scoring : ASSAY_SCORING_LAST, x->stands, y->stands);
}

static struct lb_standing standing(const struct lb_benchmark *b, const struct cell *c, size_t n)
{
    struct lb_standing out = {.there = n > 0};
    const struct cell *stands = NULL;
    int64_t tries = 0, total = 0, points = 0, passes = 0, last_ok = 0, cpu = 0, timed = 0;
    for (size_t i = 0; i < n; i++) {
        if (!stands || cell_rather(b, &c[i], stands))
            stands = &c[i];
        tries += c[i].n;
        total += c[i].total;
        points += c[i].value;
        passes += llround(c[i].pass * 1e9);
        out.solved += c[i].correct > 0;
        last_ok = c[i].ok_ms > last_ok ? c[i].ok_ms : last_ok;
        timed += c[i].cpu_ms >= 0;
        cpu += c[i].cpu_ms >= 0 ? c[i].cpu_ms : 0;
        if (c[i].correct > 0 && b->rules.ranking == ASSAY_RANKING_ICPC)
            out.penalty_minutes += (b->starts_ms > 0 && c[i].ok_ms > b->starts_ms ? (c[i].ok_ms - b->starts_ms) / 60000 : 0) +
                                   b->rules.penalty_minutes * c[i].rejected;
    }
    if (!stands)
        return out;
    out.submission_id = stands->stands->submission_id;
    out.tie = stands->stands->created_ms;
    switch ((enum assay_ranking)b->rules.ranking) {
    case ASSAY_RANKING_SCORE:
        out.score = b->rules.scoring == ASSAY_SCORING_MEAN ? (double)total / (double)tries / 1e6 : stands->stands->score;
        out.down = 0 - out.score;
        break;
    case ASSAY_RANKING_ICPC:
        out.score = (double)out.solved;
        out.down = (double)out.penalty_minutes - (double)out.solved * 4294967296.0;
        out.tie = last_ok;
        break;
    case ASSAY_RANKING_PASS_AT_K:
        out.score = (double)passes / 1e9;
        out.down = 0 - out.score;
        break;
    case ASSAY_RANKING_MEAN_TIME:
        out.score = (double)out.solved;
        out.down = 0 - out.score;
        out.tie = timed > 0 ? cpu * 1000 / timed : 0;
        break;
    case ASSAY_RANKING_SUM:
    case ASSAY_RANKING_IOI:
        out.score = (double)points / 1e6;
        out.down = 0 - out.score;
        break;
    }
    return out;
}

int lb_replay(const struct lb_benchmark *b, const struct lb_submission *s, size_t n, struct assay_arena *arena,
              struct lb_standing *out, struct assay_err *err)
{
    struct cell *c = assay_arena_array(arena, n + 1, sizeof *c);
    size_t cells = 0;
    if (!c)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a history");
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < cells && !assay_str_eq(c[k].problem_id, s[i].problem_id))
            k++;
        cells += k == cells;
        c[k] = cell_of(b, s, i + 1, s[i].problem_id);
        out[i] = standing(b, c, cells);
    }
    return 0;
}
