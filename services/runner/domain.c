/*
 * Verdicts: from how a run ended and what it printed to two letters and a score.  Pure functions.
 *
 * What the program did is never an error of ours, and what we failed to do is never a verdict of its:
 * only a box that could not be made or watched gives IE, and that is tried again.
 */
#include "local.h"

#include <math.h>
#include <stdlib.h>

const char *verdict_name(enum verdict v)
{
    static const char *const names[] = {[VERDICT_NONE] = "-", [VERDICT_OK] = "OK", [VERDICT_WA] = "WA",
                                        [VERDICT_TL] = "TL",  [VERDICT_ML] = "ML", [VERDICT_OL] = "OL",
                                        [VERDICT_RE] = "RE",  [VERDICT_BF] = "BF", [VERDICT_IE] = "IE"};
    return names[v];
}

/* ---- how a run ended ------------------------------------------------------------------------------ */

static bool contains(struct assay_str text, struct assay_str part)
{
    return part.n != 0 && text.n >= part.n && memmem(text.p, text.n, part.p, part.n) != NULL;
}

static bool begins(struct assay_str text, struct assay_str part)
{
    return text.n >= part.n && (part.n == 0 || memcmp(text.p, part.p, part.n) == 0);
}

/* The same for a text that names files of the working directory, which is /box but for the reduced mode: there it is
 * a longer path that ends so. */
static bool begins_in_box(struct assay_str text, struct assay_str part)
{
    static const char dir[] = "/box/";
    const char *at = part.n != 0 ? memmem(part.p, part.n, dir, sizeof dir - 1) : NULL;
    if (at == NULL || begins(text, part))
        return begins(text, part);
    struct assay_str head = {part.p, (size_t)(at - part.p)}, tail = {at, part.n - head.n};
    const char *newline = memchr(text.p, '\n', text.n);
    struct assay_str line = {text.p, newline != NULL ? (size_t)(newline - text.p) : text.n};
    return begins(line, head) && line.n > head.n && line.p[head.n] == '/' && contains(line, tail);
}

static struct assay_str last_line(struct assay_str text)
{
    while (text.n != 0 && text.p[text.n - 1] == '\n')
        text.n--;
    size_t i = text.n;
    while (i != 0 && text.p[i - 1] != '\n')
        i--;
    return (struct assay_str){text.p + i, text.n - i};
}

static bool could_not_load(const struct assay_box_outcome *o, const struct signatures *s, struct assay_str out,
                           struct assay_str err)
{
    /* a program that has printed anything has been loaded */
    if (s->load_last.n == 0 || o->end != ASSAY_BOX_EXITED || o->exit_code != s->load_exit || out.n != 0 ||
        !begins_in_box(err, s->load_prefix))
        return false;
    struct assay_str last = last_line(err);
    for (size_t i = 0; i < s->load_last.n; i++) {
        if (begins(last, s->load_last.items[i]))
            return true;
    }
    return false;
}

enum verdict verdict_of_run(const struct assay_box_outcome *o, const struct signatures *s, struct assay_str out,
                            struct assay_str err)
{
    switch (o->end) {
    case ASSAY_BOX_CPU:
    case ASSAY_BOX_WALL:
        return VERDICT_TL;
    case ASSAY_BOX_MEMORY:
        return VERDICT_ML;
    case ASSAY_BOX_OUTPUT:
        return VERDICT_OL;
    case ASSAY_BOX_EXITED:
        if (o->exit_code == 0)
            return VERDICT_OK;
        break;
    case ASSAY_BOX_SIGNALLED:
        break;
    case ASSAY_BOX_CANCELLED:
    case ASSAY_BOX_FAILED:
        return VERDICT_IE;
    }
    if (could_not_load(o, s, out, err))
        return VERDICT_BF;
    for (size_t i = 0; i < s->oom.n; i++) {
        if (contains(err, s->oom.items[i]))
            return VERDICT_ML;
    }
    return VERDICT_RE;
}

/* ---- time limits ---------------------------------------------------------------------------------- */

enum over_limit over_limit_of(const struct assay_box_outcome *o)
{
    return o->end == ASSAY_BOX_CPU ? OVER_CPU : o->end == ASSAY_BOX_WALL ? OVER_WALL : OVER_NOTHING;
}

double time_ratio(int64_t cpu_us, int64_t limit_ms)
{
    /* three digits: more would be noise */
    return limit_ms > 0 ? floor((double)cpu_us / (double)limit_ms + 0.5) / 1000 : 0;
}

#define STEAL_PERCENT 5       /* of the run's wall time: what the hypervisor took shows in either clock */
#define PRESSURE_PERCENT 20   /* a machine that runs our boxes alone stays below: they have a core each */
#define FORCED_PER_SECOND 50  /* a program alone on its core is hardly ever sent away from it */

bool run_was_disturbed(const struct assay_box_outcome *o, const struct assay_box_limits *limits, const struct disturbance *d)
{
    bool robbed = d->steal_us * 100 >= o->wall_us * STEAL_PERCENT;
    bool crowded = d->pressure_us * 100 >= o->wall_us * PRESSURE_PERCENT &&
                   o->forced_switches * 1000000 >= o->wall_us * FORCED_PER_SECOND;
    if (o->wall_us <= 0 || !(robbed || crowded))
        return false;
    if (o->end == ASSAY_BOX_CPU)
        return o->finished;
    /* it waited, but would it have ended without the others? */
    return o->end == ASSAY_BOX_WALL && o->cpu_us <= limits->cpu_ms * 1000 &&
           o->wall_us - d->steal_us - d->pressure_us < limits->wall_ms * 1000;
}

/* ---- sight --------------------------------------------------------------------------------------- */

struct sight test_sight(int feedback, bool all, bool sample)
{
    bool full = all || feedback >= ASSAY_FEEDBACK_FULL;
    return (struct sight){.verdict = full || feedback >= ASSAY_FEEDBACK_SAMPLES,
                          .details = full || (feedback >= ASSAY_FEEDBACK_SAMPLES && sample)};
}

/* ---- versions ------------------------------------------------------------------------------------ */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool version_shows(const char *line, struct assay_str wanted)
{
    size_t n = strlen(line);
    for (size_t i = 0; wanted.n != 0 && i + wanted.n <= n; i++) {
        char before = i != 0 ? line[i - 1] : ' ', after = line[i + wanted.n];
        if (memcmp(line + i, wanted.p, wanted.n) != 0)
            continue;
        /* "v20", "go1.19": a letter may come right before a number */
        bool begins = before != '.' && (is_digit(wanted.p[0]) ? !is_digit(before) : !is_alnum(before));
        if (begins && !is_alnum(after))
            return true;
    }
    return false;
}
