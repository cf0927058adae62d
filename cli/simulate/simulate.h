/*
 * assay simulate: a load generator that knows what must come of everything it sends, and checks it.
 *
 * A plan deals out combinations of language and outcome; a path (HTTP, or a broker's driver) carries
 * them to the judge and brings back what came of them; the ledger remembers each message from its making
 * to its verdict and says what differs: lost, doubled, wrong, late, refused.  The report is made from the ledger
 * alone, so it is the same whatever the path was.
 *
 * Threads: the command's own thread runs plan and report and calls the path.  A broker's driver has
 * threads of its own, which touch nothing but the ledger (ledger_* take its lock).
 */
#ifndef ASSAY_CLI_SIMULATE_H
#define ASSAY_CLI_SIMULATE_H

#include <signal.h>

#include "cli/cli.h"

#define SIM_LANGUAGES 5
#define SIM_OUTCOMES 7
#define SIM_COMBOS (SIM_LANGUAGES * SIM_OUTCOMES)
#define SIM_BATCH 100 /* most messages that a path is given at once; POST /submissions/batch takes as many */

/* ---- programs.c: what is sent, and what must come of it ---- */
struct sim_limits {
    long time_ms, wall_ms;
    json_int_t memory_bytes;
};
struct sim_outcome {
    const char *name;    /* "ok" */
    const char *verdict; /* "OK" */
    const char *strict;  /* what a server says that keeps to the older worker's statuses */
    const char *problem; /* which problem of the benchmark judges it, over HTTP */
    struct sim_limits limits;
    bool tests; /* false: sent without tests where the message brings its own */
};
struct sim_test {
    const char *input, *output;
};
extern const char *const sim_languages[SIM_LANGUAGES]; /* "python" ... */
extern const struct sim_outcome sim_outcomes[SIM_OUTCOMES];
#define SIM_TESTS 2
extern const struct sim_test sim_tests[SIM_TESTS];
/* The program; with a tag, the tag stands in a comment at its end, so that no cache knows it. */
char *sim_program(size_t language, size_t outcome, const char *tag);
json_t *sim_tests_json(bool numbered);

/* ---- plan.c: what is sent when ---- */
struct sim_plan {
    unsigned language[SIM_LANGUAGES], outcome[SIM_OUTCOMES]; /* weights */
    long iterations; /* 0: for as long as `duration_s` says; both 0: for ever */
    double interval_s, duration_s, rate;
    uint64_t seed;
    /* its own */
    uint64_t random;
    unsigned char *deck; /* combinations of this iteration, shuffled */
    size_t deck_n, deck_at;
    long iteration;
    double start_s, next_s;
};
/* The weights of a profile; false: there is none of that name. */
bool plan_profile(struct sim_plan *p, const char *name);
/* "python=2,go,c=0": named ones get their weight (1 without), all others 0, unless every entry is name=0:
 * then the others keep theirs. NULL, or what is wrong with the text. */
char *plan_weights(unsigned *weight, const char *const *names, size_t n, const char *text);
int plan_begin(struct sim_plan *p, double now_s) CLI_MUST_CHECK;
enum plan_answer { PLAN_SEND, PLAN_WAIT, PLAN_OVER };
/* PLAN_SEND: *combo = language * SIM_OUTCOMES + outcome. PLAN_WAIT: nothing before *wait_s from now. */
enum plan_answer plan_next(struct sim_plan *p, double now_s, size_t *combo, double *wait_s);
void plan_end(struct sim_plan *p);

/* ---- ledger.c: every message, from its making to its verdict ---- */
enum sim_state {
    SIM_WAITING,  /* made, not yet taken by the path */
    SIM_SENT,     /* with the path, which has not said that it is safe */
    SIM_ACCEPTED, /* the judge's side has it for good: from here on it must not be lost */
    SIM_DONE,
    SIM_REFUSED, /* never taken: a difference */
};
struct sim_entry {
    char id[64]; /* the message's, or the server's once it is known */
    unsigned char language, outcome, state;
    bool resent, wrong, late, lost, doubled, repeated;
    char status[12];
    uint32_t event; /* a digest of the result's event id; 0: it had none */
    double sent_s, seen_s; /* since the ledger's start */
    double latency_ms;
};
struct ledger;
struct ledger_totals {
    size_t made, accepted, done, open, wrong, lost, doubled, repeated, late, refused, foreign;
    double first_s, last_s, progress_s; /* first sending, last result, last progress of any kind */
};
struct ledger_rules {
    bool strict, allow_repeats;
    double late_s; /* 0: never late */
};
/* log_path: NULL, or a file to append JSON lines to. */
struct ledger *ledger_new(const struct ledger_rules *rules, const char *log_path);
void ledger_free(struct ledger *l);
double ledger_now(const struct ledger *l); /* seconds since its start */
void ledger_note(struct ledger *l, json_t *line); /* takes a line for the log, which gets its time */
size_t ledger_make(struct ledger *l, const char *id, size_t combo);
void ledger_sent(struct ledger *l, size_t i);
/* The judge's side has it; id: its new name, or NULL. */
void ledger_accepted(struct ledger *l, size_t i, const char *id);
/* Nobody knows whether it arrived: it has to be sent again. */
void ledger_again(struct ledger *l, size_t i);
/* It did not leave: there was no room. */
void ledger_unsent(struct ledger *l, size_t i);
void ledger_refused(struct ledger *l, size_t i, const char *why);
/* A result. latency_ms below 0: what the ledger's clock says. event_id: the same whenever this result comes again, or NULL. False: no message of this run has that id. */
bool ledger_result(struct ledger *l, const char *id, const char *status, double latency_ms, const char *event_id, const char *detail);
/* What must not be: a verdict that changed, a submission that nobody sent. */
void ledger_doubled(struct ledger *l, const char *id, const char *what);
/* What is still open is lost. */
void ledger_close(struct ledger *l);
/* Up to n waiting messages, in the order in which they were made; how many. */
size_t ledger_waiting(struct ledger *l, size_t *at, size_t n);
void ledger_totals(struct ledger *l, struct ledger_totals *out);
size_t ledger_differences(const struct ledger_totals *t);
struct sim_entry ledger_entry(struct ledger *l, size_t i);
bool ledger_find(struct ledger *l, const char *id, struct sim_entry *out);
/* Waits up to so long for a result or a state that changes. */
void ledger_wait(struct ledger *l, double s);
/* The smallest id among those accepted and still open, "" without any. */
void ledger_oldest_open(struct ledger *l, char out[64]);
const struct sim_entry *ledger_entries(struct ledger *l, size_t *n); /* only when no other thread is left */
const char *ledger_expected(const struct ledger *l, const struct sim_entry *e);

/* ---- paths ---- */
struct sim_settings {
    struct cli *cli;
    const struct cli_command *cmd;
    struct ledger *ledger;
    const char *via, *run;                 /* run: a name for this run, of letters and digits */
    const char *benchmark, *agent, *login; /* HTTP */
    const char *plugins;                   /* brokers: folders with drivers; NULL: beside this program */
    const char *const *set;                /* brokers: "name=value" */
    size_t set_n;
    bool unique, strict, send_done, verbose;
    size_t concurrency;
    double linger_s; /* brokers: after the last result, since a second one of something would come then */
    bool offered[SIM_LANGUAGES]; /* weight above 0 */
    void *path_self;
};
struct sim_path {
    int (*open)(struct sim_settings *s, void **self);
    /* Sends n waiting messages (their places in the ledger); each is then sent, accepted, refused, or still waiting when
     * there is no room now. Not CLI_OK: the path has failed for good, and said so. */
    int (*publish)(void *self, const size_t *at, size_t n);
    /* Looks for results, or waits for them, for at most so long. */
    int (*poll)(void *self, double wait_s);
    int (*finish)(void *self); /* everything came, or nothing more will; NULL: nothing */
    void (*close)(void *self);
};
extern const struct sim_path sim_path_http, sim_path_broker;

/* ---- run.c ---- */
struct sim_run {
    struct sim_settings *settings;
    struct sim_plan *plan;
    const struct sim_path *path;
    double wait_s; /* without any progress */
};
int sim_run(struct sim_run *r) CLI_MUST_CHECK;
extern volatile sig_atomic_t sim_stopping; /* set by signals: what was sent is still waited for */

/* ---- report.c, plot.c ---- */
struct sim_percentiles {
    size_t n;
    double p50, p90, p99, max; /* milliseconds; 0 without any */
};
struct sim_row {
    size_t sent, done, wrong, lost, doubled, late, refused;
    struct sim_percentiles latency;
};
struct sim_report {
    struct ledger_totals totals;
    struct sim_row all, combo[SIM_COMBOS];
    double seconds, per_second;
};
int report_make(struct ledger *l, struct sim_report *out) CLI_MUST_CHECK;
void report_print(const struct sim_report *r, FILE *f);
json_t *report_json(const struct sim_report *r, const struct sim_run *run);
int report_csv(const struct sim_report *r, const char *path) CLI_MUST_CHECK;
int plot_svg(const struct sim_report *r, struct ledger *l, const char *path) CLI_MUST_CHECK;

#endif
