/*
 * The run as a picture: an SVG of three panels.  Published and judged a second, over time; latency over time (median and
 * 99th percentile of what was judged in each piece of it); and the percentiles of each combination on a logarithmic
 * scale, since a program that is slept out and one that does not compile are far apart.
 */
#include "simulate.h"

#include <errno.h>
#include <math.h>

#define WIDTH 960.0
#define LEFT 110.0
#define RIGHT 30.0
#define PANEL 180.0
#define GAP 70.0
#define ROW 16.0
#define PIECES 120

struct series {
    double sent[PIECES], judged[PIECES], p50[PIECES], p99[PIECES];
    size_t n;
    double piece_s;
};

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* A round number at or above v: 1, 2 or 5 times a power of ten. */
static double round_up(double v)
{
    double p = v > 0 ? pow(10, floor(log10(v))) : 1;

    return v <= p ? p : v <= 2 * p ? 2 * p : v <= 5 * p ? 5 * p : 10 * p;
}

static void gather(struct series *s, const struct sim_report *r, const struct sim_entry *e, size_t n, double *v)
{
    double from = r->totals.first_s > 0 ? r->totals.first_s : 0, span = r->totals.last_s - from;

    s->n = PIECES;
    s->piece_s = span > 0 ? span / PIECES : 1;
    if (s->piece_s < 1) { /* never pieces of less than a second */
        s->piece_s = 1;
        s->n = (size_t)ceil(span > 1 ? span : 1);
    }
    for (size_t k = 0; k < s->n; k++) {
        double a = from + (double)k * s->piece_s, b = k + 1 == s->n ? INFINITY : a + s->piece_s;
        size_t m = 0;

        for (size_t i = 0; i < n; i++) {
            s->sent[k] += e[i].sent_s >= a && e[i].sent_s < b;
            if (e[i].state == SIM_DONE && e[i].seen_s >= a && e[i].seen_s < b)
                v[m++] = e[i].latency_ms;
        }
        qsort(v, m, sizeof(*v), by_value);
        s->judged[k] = (double)m / s->piece_s;
        s->sent[k] /= s->piece_s;
        s->p50[k] = m > 0 ? v[(m - 1) / 2] : 0;
        s->p99[k] = m > 0 ? v[(size_t)((double)(m - 1) * 0.99)] : 0;
    }
}

static void axes(FILE *f, double top, const char *title, double max, double seconds)
{
    fprintf(f, "<text x=\"%.0f\" y=\"%.0f\" class=\"t\">%s</text>\n", LEFT, top - 12, title);
    for (int i = 0; i <= 4; i++) {
        double y = top + PANEL - PANEL * i / 4;

        fprintf(f, "<line x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.0f\" y=\"%.1f\" class=\"r\">%.4g</text>\n",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y + 4, max * i / 4);
    }
    for (int i = 0; i <= 6; i++) {
        double x = LEFT + (WIDTH - RIGHT - LEFT) * i / 6;

        fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" class=\"m\">%.4g s</text>\n", x, top + PANEL + 18, seconds * i / 6);
    }
}

static void line(FILE *f, double top, const double *v, size_t n, double max, const char *colour)
{
    fputs("<polyline fill=\"none\" stroke-width=\"2\" stroke=\"", f);
    fprintf(f, "%s\" points=\"", colour);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%.1f,%.1f ", LEFT + (WIDTH - RIGHT - LEFT) * ((double)i + 0.5) / (double)n, top + PANEL - PANEL * v[i] / max);
    fputs("\"/>\n", f);
}

static void legend(FILE *f, double top, double x, const char *colour, const char *text)
{
    fprintf(f, "<rect x=\"%.0f\" y=\"%.0f\" width=\"14\" height=\"4\" fill=\"%s\"/><text x=\"%.0f\" y=\"%.0f\" class=\"l\">%s</text>\n", x,
            top - 18, colour, x + 20, top - 12, text);
}

static double log_x(double ms, double decades)
{
    double at = log10(ms > 1 ? ms : 1) / decades;

    return LEFT + (WIDTH - RIGHT - LEFT) * (at < 1 ? at : 1);
}

static void combinations(FILE *f, double top, const struct sim_report *r, double decades, size_t rows)
{
    double y = top;

    fprintf(f, "<text x=\"%.0f\" y=\"%.0f\" class=\"t\">Latency by language and outcome, milliseconds</text>\n", LEFT, top - 12);
    legend(f, top, 480, "#9ecae1", "to the median");
    legend(f, top, 620, "#3182bd", "to the 90th percentile");
    legend(f, top, 800, "#08306b", "99th, and the longest");
    for (int d = 0; d <= (int)decades; d++) {
        double x = log_x(pow(10, d), decades);

        fprintf(f, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.1f\" y=\"%.1f\" class=\"m\">%.0f</text>\n", x,
                x, top, top + ROW * (double)rows, x, top + ROW * (double)rows + 16, pow(10, d));
    }
    for (size_t k = 0; k < SIM_COMBOS; k++) {
        const struct sim_row *row = &r->combo[k];
        double a, b;

        if (row->sent == 0)
            continue;
        a = log_x(row->latency.p50, decades);
        b = log_x(row->latency.p90, decades);
        fprintf(f, "<text x=\"%.0f\" y=\"%.1f\" class=\"r\">%s %s</text>", LEFT - 8, y + 12, sim_languages[k / SIM_OUTCOMES],
                sim_outcomes[k % SIM_OUTCOMES].name);
        if (row->latency.n > 0)
            fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"10\" fill=\"#9ecae1\"/><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                       "height=\"10\" fill=\"#3182bd\"/><rect x=\"%.1f\" y=\"%.1f\" width=\"3\" height=\"10\" fill=\"#08306b\"/>"
                       "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"#08306b\"/>",
                    LEFT, y + 3, a - LEFT, a, y + 3, b - a, log_x(row->latency.p99, decades), y + 3, log_x(row->latency.max, decades), y + 8);
        fputc('\n', f);
        y += ROW;
    }
}

static void draw(FILE *f, const struct sim_report *r, const struct series *s)
{
    double rate = 0, slow = 0, seconds = s->piece_s * (double)s->n, second = 60 + PANEL + GAP, third = second + PANEL + GAP, decades;
    size_t rows = 0;

    for (size_t i = 0; i < s->n; i++) {
        rate = fmax(rate, fmax(s->sent[i], s->judged[i]));
        slow = fmax(slow, s->p99[i]);
    }
    for (size_t k = 0; k < SIM_COMBOS; k++)
        rows += r->combo[k].sent > 0;
    decades = fmax(1, ceil(log10(fmax(10, r->all.latency.max))));
    rate = round_up(rate);
    slow = round_up(slow);
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
               "<style>.t{font-weight:bold}.g{stroke:#ddd}.r{text-anchor:end}.m{text-anchor:middle}</style>\n"
               "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
               "<text x=\"%.0f\" y=\"20\">%zu judged, %.2f a second; p50 %.0f, p90 %.0f, p99 %.0f, longest %.0f ms; %zu differences</text>\n",
            WIDTH, third + ROW * (double)rows + 40, LEFT, r->totals.done, r->per_second, r->all.latency.p50, r->all.latency.p90,
            r->all.latency.p99, r->all.latency.max, ledger_differences(&r->totals));
    axes(f, 60, "Messages a second", rate, seconds);
    legend(f, 60, 480, "#e6550d", "published");
    legend(f, 60, 620, "#3182bd", "judged");
    line(f, 60, s->sent, s->n, rate, "#e6550d");
    line(f, 60, s->judged, s->n, rate, "#3182bd");
    axes(f, second, "Latency of what was judged then, milliseconds", slow, seconds);
    legend(f, second, 480, "#9ecae1", "median");
    legend(f, second, 620, "#08306b", "99th percentile");
    line(f, second, s->p50, s->n, slow, "#9ecae1");
    line(f, second, s->p99, s->n, slow, "#08306b");
    combinations(f, third, r, decades, rows);
    fputs("</svg>\n", f);
}

int plot_svg(const struct sim_report *r, struct ledger *l, const char *path)
{
    size_t n;
    const struct sim_entry *e = ledger_entries(l, &n);
    double *v = malloc((n + 1) * sizeof(*v));
    struct series *s = calloc(1, sizeof(*s));
    FILE *f = fopen(path, "we");
    bool fine = f != NULL && v != NULL && s != NULL;

    if (fine) {
        gather(s, r, e, n, v);
        draw(f, r, s);
        fine = ferror(f) == 0;
    }
    if (f != NULL && fclose(f) != 0)
        fine = false;
    free(v);
    free(s);
    if (!fine) {
        term_error("cannot write %s: %s", path, strerror(errno));
        return CLI_LOCAL;
    }
    return CLI_OK;
}
