/* What a run came to: by language and outcome, as a table, as JSON and as CSV. */
#include "simulate.h"

#include <errno.h>

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* The nearest-rank percentile of sorted values. */
static double percentile(const double *v, size_t n, double p)
{
    size_t rank = (size_t)(p / 100 * (double)n);

    if ((double)rank < p / 100 * (double)n)
        rank++;
    return n == 0 ? 0 : v[rank == 0 ? 0 : rank - 1];
}

static struct sim_percentiles percentiles(double *v, size_t n)
{
    qsort(v, n, sizeof(*v), by_value);
    return (struct sim_percentiles){.n = n, .p50 = percentile(v, n, 50), .p90 = percentile(v, n, 90),
                                    .p99 = percentile(v, n, 99), .max = n > 0 ? v[n - 1] : 0};
}

static void count(struct sim_row *row, const struct sim_entry *e)
{
    row->sent++;
    row->done += e->state == SIM_DONE;
    row->wrong += e->wrong;
    row->lost += e->lost;
    row->doubled += e->doubled;
    row->late += e->late;
    row->refused += e->state == SIM_REFUSED;
}

int report_make(struct ledger *l, struct sim_report *out)
{
    size_t n;
    const struct sim_entry *e = ledger_entries(l, &n);
    double *v = malloc((n + 1) * sizeof(*v));

    if (v == NULL) {
        term_error("no memory for the report");
        return CLI_LOCAL;
    }
    *out = (struct sim_report){.seconds = 0};
    ledger_totals(l, &out->totals);
    for (size_t k = 0; k <= SIM_COMBOS; k++) { /* the last: all together */
        struct sim_row *row = k == SIM_COMBOS ? &out->all : &out->combo[k];
        size_t m = 0;

        for (size_t i = 0; i < n; i++) {
            if (k < SIM_COMBOS && (size_t)e[i].language * SIM_OUTCOMES + e[i].outcome != k)
                continue;
            count(row, &e[i]);
            if (e[i].state == SIM_DONE)
                v[m++] = e[i].latency_ms;
        }
        row->latency = percentiles(v, m);
    }
    free(v);
    if (out->totals.done > 0 && out->totals.last_s > out->totals.first_s) {
        out->seconds = out->totals.last_s - out->totals.first_s;
        out->per_second = (double)out->totals.done / out->seconds;
    }
    return CLI_OK;
}

static void row_cells(struct term_table *t, const struct sim_row *r)
{
    const size_t counts[] = {r->sent, r->done, r->wrong, r->lost, r->doubled, r->late, r->refused};
    const double ms[] = {r->latency.p50, r->latency.p90, r->latency.p99, r->latency.max};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        term_cell_fmt(t, "%zu", counts[i]);
    for (size_t i = 0; i < sizeof(ms) / sizeof(ms[0]); i++) {
        if (r->latency.n == 0)
            term_cell(t, "-");
        else
            term_cell_fmt(t, "%.0f", ms[i]);
    }
}

void report_print(const struct sim_report *r, FILE *f)
{
    static const char *const heads[] = {"LANGUAGE", "OUTCOME", ">SENT", ">JUDGED", ">WRONG", ">LOST", ">DOUBLED", ">LATE",
                                        ">REFUSED", ">P50 MS", ">P90 MS", ">P99 MS", ">MAX MS"};
    struct term_table t = {.columns = sizeof(heads) / sizeof(heads[0])};

    for (size_t i = 0; i < t.columns; i++)
        term_cell(&t, heads[i]);
    for (size_t k = 0; k < SIM_COMBOS; k++)
        if (r->combo[k].sent > 0) {
            term_cell(&t, sim_languages[k / SIM_OUTCOMES]);
            term_cell(&t, sim_outcomes[k % SIM_OUTCOMES].name);
            row_cells(&t, &r->combo[k]);
        }
    term_cell(&t, "all");
    term_cell(&t, "");
    row_cells(&t, &r->all);
    term_table_print(&t, f);
    fprintf(f, "%zu judged in %.1f s: %.2f a second, %.0f a minute.", r->totals.done, r->seconds, r->per_second, r->per_second * 60);
    if (r->totals.repeated > 0)
        fprintf(f, " %zu results came more than once, with the same verdict.", r->totals.repeated);
    if (r->totals.foreign > 0)
        fprintf(f, " %zu results were not this run's.", r->totals.foreign);
    fprintf(f, "\n%s\n", ledger_differences(&r->totals) == 0 ? "No differences." : "There are differences: see the table, and the log for each.");
}

static json_t *row_json(const struct sim_row *r)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:f, s:f, s:f, s:f}}", "sent", (json_int_t)r->sent, "judged",
                     (json_int_t)r->done, "wrong", (json_int_t)r->wrong, "lost", (json_int_t)r->lost, "doubled", (json_int_t)r->doubled,
                     "late", (json_int_t)r->late, "refused", (json_int_t)r->refused, "latency_ms", "p50", r->latency.p50, "p90",
                     r->latency.p90, "p99", r->latency.p99, "max", r->latency.max);
}

json_t *report_json(const struct sim_report *r, const struct sim_run *run)
{
    json_t *rows = json_array();
    json_t *all = row_json(&r->all);

    for (size_t k = 0; k < SIM_COMBOS; k++) {
        json_t *row = r->combo[k].sent > 0 ? row_json(&r->combo[k]) : NULL;

        if (row == NULL)
            continue;
        if (json_object_set_new(row, "language", json_string(sim_languages[k / SIM_OUTCOMES])) != 0 ||
            json_object_set_new(row, "outcome", json_string(sim_outcomes[k % SIM_OUTCOMES].name)) != 0 ||
            json_array_append_new(rows, row) != 0)
            break;
    }
    return json_pack("{s:s, s:s, s:I, s:f, s:f, s:I, s:I, s:I, s:o, s:o}", "run", run->settings->run, "via", run->settings->via,
                     "seed", (json_int_t)run->plan->seed, "seconds", r->seconds, "per_second", r->per_second, "differences",
                     (json_int_t)ledger_differences(&r->totals), "repeated", (json_int_t)r->totals.repeated, "foreign",
                     (json_int_t)r->totals.foreign, "all", all, "rows", rows);
}

int report_csv(const struct sim_report *r, const char *path)
{
    FILE *f = fopen(path, "we");
    bool fine = f != NULL;

    if (fine)
        fputs("language,outcome,sent,judged,wrong,lost,doubled,late,refused,p50_ms,p90_ms,p99_ms,max_ms\n", f);
    for (size_t k = 0; fine && k < SIM_COMBOS; k++) {
        const struct sim_row *row = &r->combo[k];

        if (row->sent > 0)
            fine = fprintf(f, "%s,%s,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%.3f,%.3f,%.3f,%.3f\n", sim_languages[k / SIM_OUTCOMES],
                           sim_outcomes[k % SIM_OUTCOMES].name, row->sent, row->done, row->wrong, row->lost, row->doubled, row->late,
                           row->refused, row->latency.p50, row->latency.p90, row->latency.p99, row->latency.max) > 0;
    }
    if (f != NULL && fclose(f) != 0)
        fine = false;
    if (!fine) {
        term_error("cannot write %s: %s", path, strerror(errno));
        return CLI_LOCAL;
    }
    return CLI_OK;
}
