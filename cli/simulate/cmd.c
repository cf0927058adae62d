/* assay simulate: its options, the older simulator's variables, and what is written at the end. */
#include "simulate.h"

#include <errno.h>
#include <math.h>
#include <sys/random.h>

#define BENCHMARK "assay-simulate"
#define SETS 64

struct given {
    const char *via, *profile, *languages, *outcomes, *iterations, *interval, *duration, *rate, *concurrency, *seed, *wait, *late, *linger;
    const char *log, *csv, *plot, *benchmark, *agent, *login, *plugins;
    const char *set[SETS];
    size_t set_n;
    bool unique, strict, done, repeats, list;
};

/* What was given, else the older simulator's variable, else NULL. */
static const char *or_env(const char *given, const char *variable)
{
    const char *env = getenv(variable);

    return given != NULL ? given : env != NULL && env[0] != '\0' ? env : NULL;
}

static int number(const struct cli_command *cmd, const char *what, const char *text, double min, double max, bool whole, double *out)
{
    char *end = NULL;

    if (text == NULL)
        return CLI_OK;
    errno = 0;
    *out = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !isfinite(*out) || *out < min || *out > max || (whole && floor(*out) != *out))
        return cli_usage(cmd, "%s is a %snumber from %.10g to %.10g, not %.40s", what, whole ? "whole " : "", min, max, text);
    return CLI_OK;
}

static int parse(struct cli *c, int *argc, char **argv, struct given *g)
{
    const struct cli_option o[] = {{.name = "via", .value = &g->via}, {.name = "profile", .value = &g->profile},
        {.name = "languages", .value = &g->languages}, {.name = "outcomes", .value = &g->outcomes},
        {.name = "iterations", .letter = 'n', .value = &g->iterations}, {.name = "interval", .value = &g->interval},
        {.name = "duration", .value = &g->duration}, {.name = "rate", .value = &g->rate},
        {.name = "concurrency", .letter = 'c', .value = &g->concurrency}, {.name = "seed", .value = &g->seed},
        {.name = "wait", .value = &g->wait}, {.name = "late", .value = &g->late}, {.name = "linger", .value = &g->linger}, {.name = "log", .value = &g->log},
        {.name = "csv", .value = &g->csv}, {.name = "plot", .value = &g->plot},
        {.name = "benchmark", .letter = 'b', .value = &g->benchmark}, {.name = "agent", .letter = 'a', .value = &g->agent},
        {.name = "login", .value = &g->login}, {.name = "plugins", .value = &g->plugins},
        {.name = "set", .list = g->set, .list_n = &g->set_n, .list_max = SETS}, {.name = "unique", .flag = &g->unique},
        {.name = "strict", .flag = &g->strict}, {.name = "send-done", .flag = &g->done},
        {.name = "allow-repeats", .flag = &g->repeats}, {.name = "list", .flag = &g->list}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("simulate");
    const char *brokers = getenv("KAFKA_BROKERS");
    int rc = cli_options(c, cmd, argc, argv, o);

    if (rc == CLI_OK && *argc > 0)
        return cli_usage(cmd, "%s is not understood", argv[0]);
    g->iterations = or_env(g->iterations, "SCRIPT_ITERATIONS");
    g->interval = or_env(g->interval, "SCRIPT_INTERVAL_SECONDS");
    g->wait = or_env(g->wait, "RESULT_WAIT_TIMEOUT_SECONDS");
    g->log = or_env(g->log, "RESULT_CONSUMER_LOG_PATH");
    if (g->via == NULL)
        g->via = brokers != NULL && brokers[0] != '\0' ? "kafka" : "http";
    if (strcmp(g->via, "http") == 0)
        g->login = or_env(g->login, "ASSAY_LOGIN");
    return rc;
}

static int plan_of(const struct cli_command *cmd, const struct given *g, struct sim_plan *p)
{
    double iterations = g->duration != NULL ? 0 : 1, seed = 0;
    const char *names[SIM_OUTCOMES];
    CLI_CLEANUP_STR char *wrong = NULL;
    uint32_t random = 0;
    int rc;

    if (!plan_profile(p, g->profile != NULL ? g->profile : "every"))
        return cli_usage(cmd, "there is no profile %.40s: every, older, load or timeouts", g->profile);
    for (size_t i = 0; i < SIM_OUTCOMES; i++)
        names[i] = sim_outcomes[i].name;
    if (g->languages != NULL && (wrong = plan_weights(p->language, sim_languages, SIM_LANGUAGES, g->languages)) != NULL)
        return cli_usage(cmd, "--languages (python, go, c, cpp, java): %s", wrong);
    if (g->outcomes != NULL && (wrong = plan_weights(p->outcome, names, SIM_OUTCOMES, g->outcomes)) != NULL)
        return cli_usage(cmd, "--outcomes (ok, wa, tl, ml, bf, re, ol): %s", wrong);
    rc = number(cmd, "--iterations", g->iterations, 0, 1e9, true, &iterations);
    if (rc == CLI_OK)
        rc = number(cmd, "--interval", g->interval, 0, 86400, false, &p->interval_s);
    if (rc == CLI_OK)
        rc = number(cmd, "--duration", g->duration, 0, 31e6, false, &p->duration_s);
    if (rc == CLI_OK)
        rc = number(cmd, "--rate", g->rate, 0, 1e5, false, &p->rate);
    if (rc == CLI_OK)
        rc = number(cmd, "--seed", g->seed, 0, 4294967295.0, true, &seed);
    if (g->seed == NULL && getrandom(&random, sizeof(random), 0) == (ssize_t)sizeof(random))
        seed = random;
    p->iterations = (long)iterations;
    p->seed = (uint64_t)seed;
    return rc;
}

/* The programs and what must come of them. */
static int list(const struct cli *c)
{
    CLI_CLEANUP_JSON json_t *all = json_array();

    for (size_t k = 0; k < SIM_COMBOS; k++) {
        const struct sim_outcome *o = &sim_outcomes[k % SIM_OUTCOMES];
        CLI_CLEANUP_STR char *source = sim_program(k / SIM_OUTCOMES, k % SIM_OUTCOMES, NULL);

        if (!c->json) {
            printf("==> %s %s: %s\n%s\n", sim_languages[k / SIM_OUTCOMES], o->name, o->verdict, source);
        } else if (json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:I, s:I}, s:o}", "language",
                       sim_languages[k / SIM_OUTCOMES], "outcome", o->name, "expected", o->verdict, "strict", o->strict, "source", source,
                       "limits", "time_limit_ms", (json_int_t)o->limits.time_ms, "memory_limit_bytes", o->limits.memory_bytes, "tests",
                       o->tests ? sim_tests_json(true) : json_array())) != 0) {
            return CLI_LOCAL;
        }
    }
    if (c->json)
        term_json(all);
    return CLI_OK;
}

static int report(struct sim_run *run, const struct given *g, int rc)
{
    struct ledger *l = run->settings->ledger;
    struct sim_report *r = malloc(sizeof(*r));
    json_t *summary;

    if (r == NULL)
        return CLI_LOCAL;
    if (report_make(l, r) != CLI_OK) {
        free(r);
        return CLI_LOCAL;
    }
    summary = report_json(r, run);
    if (run->settings->cli->json)
        term_json(summary);
    else
        report_print(r, stdout);
    if (summary != NULL && json_object_set_new(summary, "event", json_string("summary")) == 0)
        ledger_note(l, summary); /* takes it */
    if (rc == CLI_OK && ledger_differences(&r->totals) > 0)
        rc = CLI_NOT_ACCEPTED;
    if (g->csv != NULL && report_csv(r, g->csv) != CLI_OK)
        rc = CLI_LOCAL;
    if (g->plot != NULL && plot_svg(r, l, g->plot) != CLI_OK)
        rc = CLI_LOCAL;
    free(r);
    return rc;
}

int cmd_simulate(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = cli_command_find("simulate");
    struct given g = {.via = NULL};
    struct sim_plan plan = {.seed = 0};
    struct sim_settings s = {.cli = c, .cmd = cmd, .linger_s = 2};
    struct sim_run run = {.settings = &s, .plan = &plan};
    struct ledger_rules rules = {.strict = false};
    struct ledger_totals totals;
    double concurrency = 100, wait_s = 60;
    char name[9];
    uint32_t random = 0;
    int rc = parse(c, &argc, argv, &g);

    if (rc != CLI_OK)
        return rc;
    if (g.list)
        return list(c);
    rc = plan_of(cmd, &g, &plan);
    if (rc == CLI_OK)
        rc = number(cmd, "--concurrency", g.concurrency, 1, 1e6, true, &concurrency);
    if (rc == CLI_OK)
        rc = number(cmd, "--wait", g.wait, 0.1, 86400, false, &wait_s);
    if (rc == CLI_OK)
        rc = number(cmd, "--late", g.late, 0, 86400, false, &rules.late_s);
    if (rc == CLI_OK)
        rc = number(cmd, "--linger", g.linger, 0, 3600, false, &s.linger_s);
    if (rc != CLI_OK)
        return rc;
    if (strcmp(g.via, "http") != 0 && (g.benchmark != NULL || g.agent != NULL || g.login != NULL))
        return cli_usage(cmd, "--benchmark, --agent and --login belong to --via http");
    if (strcmp(g.via, "http") == 0 && (g.strict || g.done || g.set_n > 0))
        return cli_usage(cmd, "--strict, --send-done and --set belong to --via kafka, amqp and sqs");
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        term_error("no random bytes: %s", strerror(errno));
        return CLI_LOCAL;
    }
    snprintf(name, sizeof(name), "%08x", random);
    rules.strict = g.strict;
    rules.allow_repeats = g.repeats;
    s.ledger = ledger_new(&rules, g.log);
    if (s.ledger == NULL)
        return CLI_LOCAL;
    s.via = g.via;
    s.run = name;
    s.benchmark = g.benchmark != NULL ? g.benchmark : BENCHMARK;
    s.agent = g.agent;
    s.login = g.login;
    s.plugins = g.plugins;
    s.set = g.set;
    s.set_n = g.set_n;
    s.unique = g.unique;
    s.strict = g.strict;
    s.send_done = g.done;
    s.verbose = !c->json;
    s.concurrency = (size_t)concurrency;
    for (size_t i = 0; i < SIM_LANGUAGES; i++)
        s.offered[i] = plan.language[i] > 0;
    run.path = strcmp(g.via, "http") == 0 ? &sim_path_http : &sim_path_broker;
    run.wait_s = wait_s;
    ledger_note(s.ledger, json_pack("{s:s, s:s, s:s, s:I, s:I}", "event", "start", "run", name, "via", g.via, "seed",
                                    (json_int_t)plan.seed, "iterations", (json_int_t)plan.iterations));
    rc = sim_run(&run);
    ledger_totals(s.ledger, &totals);
    if (rc == CLI_OK || totals.made > 0) /* what is known is said also when the path failed on the way */
        rc = report(&run, &g, rc);
    ledger_free(s.ledger);
    return rc;
}
