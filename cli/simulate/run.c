/*
 * One run: deal, publish, look, until everything has come back or nothing comes any more.
 *
 * The loop never has more than `concurrency` messages open, so a slow judge slows it instead of
 * being flooded; with a concurrency above the number of messages it is an open load.  Time without any progress (nothing
 * accepted, nothing judged) for longer than --wait ends it: what is open then is lost.
 */
#include "simulate.h"

volatile sig_atomic_t sim_stopping;

static void on_signal(int sig)
{
    sim_stopping = 1;
    signal(sig, SIG_DFL); /* the second one ends the program */
}

static void say_progress(const struct sim_run *r, double *said_s, double now)
{
    struct ledger_totals t;

    if (!r->settings->verbose || now - *said_s < 5)
        return;
    *said_s = now;
    ledger_totals(r->settings->ledger, &t);
    fprintf(stderr, "assay: %.0f s: %zu sent, %zu judged, %zu open, %zu differences\n", now, t.accepted, t.done, t.open,
            ledger_differences(&t));
}

/* Makes messages that are due, as far as there is room. */
static void deal_due(struct sim_run *r, bool *over, double *wait_s, double *dealt_s)
{
    struct sim_settings *s = r->settings;
    struct ledger_totals t;

    ledger_totals(s->ledger, &t);
    for (size_t open = t.open; !*over && open < s->concurrency && open - t.open < SIM_BATCH; open++) {
        double now = ledger_now(s->ledger);
        size_t combo;
        enum plan_answer answer = sim_stopping != 0 ? PLAN_OVER : plan_next(r->plan, now, &combo, wait_s);

        *over = answer == PLAN_OVER;
        if (answer != PLAN_SEND)
            return;
        if (strcmp(s->via, "http") == 0) {
            (void)ledger_make(s->ledger, NULL, combo);
        } else {
            CLI_CLEANUP_STR char *id = cli_fmt("%s-%zu", s->run, t.made + (open - t.open));

            (void)ledger_make(s->ledger, id, combo);
        }
        *dealt_s = now;
        *wait_s = 0;
    }
}

static int loop(struct sim_run *r)
{
    struct sim_settings *s = r->settings;
    double said_s = 0, dealt_s = ledger_now(s->ledger);
    size_t at[SIM_BATCH];
    bool over = false;
    int rc = CLI_OK;

    while (rc == CLI_OK) {
        double wait_s = 0.25, now, last;
        struct ledger_totals t;
        size_t n;

        deal_due(r, &over, &wait_s, &dealt_s);
        n = ledger_waiting(s->ledger, at, SIM_BATCH);
        if (n > 0 && (rc = r->path->publish(s->path_self, at, n)) != CLI_OK)
            break;
        ledger_totals(s->ledger, &t);
        now = ledger_now(s->ledger);
        if (over && t.open == 0)
            break;
        last = t.progress_s > dealt_s ? t.progress_s : dealt_s;
        if (t.open > 0 && now - last > r->wait_s) {
            if (s->verbose)
                term_note("Nothing more came for %g s; %zu are open.", r->wait_s, t.open);
            break;
        }
        say_progress(r, &said_s, now);
        if (n > 0 && wait_s > 0.05 && ledger_waiting(s->ledger, at, 1) > 0)
            wait_s = 0.05; /* some had no room */
        rc = r->path->poll(s->path_self, wait_s < 0.25 ? wait_s : 0.25);
    }
    return rc;
}

int sim_run(struct sim_run *r)
{
    struct sim_settings *s = r->settings;
    int rc;

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    rc = r->path->open(s, &s->path_self);
    if (rc == CLI_OK)
        rc = plan_begin(r->plan, ledger_now(s->ledger));
    if (rc == CLI_OK)
        rc = loop(r);
    if (rc == CLI_OK && r->path->finish != NULL)
        rc = r->path->finish(s->path_self);
    r->path->close(s->path_self);
    plan_end(r->plan);
    ledger_close(s->ledger);
    return rc;
}
