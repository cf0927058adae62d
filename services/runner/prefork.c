/*
 * Warm interpreters, as the runner sees them: who gets one, and what a fork spares.
 *
 * A language whose file has "warm_start" is weighed after its self-test: two programs are run executed and forked in
 * turn, its sample and one that takes 16 MiB.  What the median executed run is charged over the median forked one is the
 * language's credit: of CPU time by the sample, of memory by the other.  Each forked run sends it, and the warden counts it as used,
 * in limits and in figures (plugins/warden/nursery.c); so a program gets alike figures and verdicts whichever way it began.
 *
 * Of memory one thing is left.  When an interpreter takes itself down at its end it writes to most of what it shared, and
 * copies it; an executed one has that memory from the start.  A program that took less than that has its peak there:
 * when the peak is no higher than the sample's, it is reported as the executed sample's (job_fork_outcome).
 *
 *   self-test ─▶ PRESTART: its warden starts the interpreter ─▶ (WEIGH: executed ⇄ forked)… ─▶ ready
 *                  └─ it does not ──────────────────────────────┴─ something is odd ─▶ executed as ever, and the log says why
 *
 * Each other warden is asked (PRESTART) when the language first comes to it, and keeps the interpreter until it is closed.
 * A warden has one: another language's programs are executed there.
 */
#include "loop.h"

#include <string.h>

#define ROUNDS 5
#define STACK_BYTES ((int64_t)64 << 20) /* with less memory than an interpreter's stack programs are never forked, on any runner */
#define SLACK_BYTES (256 << 10) /* the kernel charges memory 64 pages at a time */
static const char taker[] = "x = b'x' * (16 << 20)\n";

struct weighing {
    size_t n; /* runs so far: the sample executed, forked, executed, ..., and then the taker likewise */
    int64_t cpu_us[2][ROUNDS], memory[2][2][ROUNDS];
};

static size_t forked_at(size_t n)
{
    return n % 2;
}

static size_t taker_at(size_t n)
{
    return n / (2 * ROUNDS);
}

static bool may_be_warm(const struct job *j)
{
    return j->runner->warm_interpreters && j->language->forks && !j->never_warm && (j->weighing != NULL || j->language->fork.ready);
}

bool job_went_cold(const struct job *j, const struct assay_box_outcome *o)
{
    bool own = j->arguments.n != 0 || j->variables.n != 0 || j->test[j->at_test].def.has_arguments;
    return !own && j->only_warm && j->language->forks && !o->warm && (j->limits.memory_bytes == 0 || j->limits.memory_bytes >= STACK_BYTES);
}

static void say_cold(struct loop *l, struct slot *s, const struct language *lang, const char *why)
{
    assay_log(l->r->host, ASSAY_LOG_WARN, "interpreter_cold", ASSAY_KS("language", lang->name), ASSAY_KI("lane", s->lane->index),
              ASSAY_KZ("reason", why));
}

bool job_prestarts(struct loop *l, struct job *j)
{
    struct slot *s = j->slot;
    struct assay_err err;
    struct assay_strs argv, env;
    if (!may_be_warm(j) || s->fork_asked)
        return false;
    s->fork_asked = true;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    int rc = arena == NULL ? assay_err_set(&err, ASSAY_E_NOMEM, "no memory")
                           : job_command(j, SIDE_RUN, &j->language->run, j->limits.memory_bytes, arena, &argv, &env, &err);
    if (rc >= 0)
        rc = assay_box_client_warm(s->client, argv.items, argv.n, env.items, env.n, &err);
    if (rc < 0) {
        say_cold(l, s, j->language, err.msg);
        return false;
    }
    j->stage = STAGE_PRESTART;
    slot_arm(s);
    return true;
}

void job_prestarted(struct loop *l, struct slot *s)
{
    struct job *j = s->job;
    if (s->prestart_why[0] == '\0')
        s->forks = j->language;
    else
        say_cold(l, s, j->language, s->prestart_why);
    j->stage = STAGE_TEST; /* no longer PRESTART */
    job_next_step(l, j);
}

void job_fork_outcome(const struct job *j, struct assay_box_outcome *o)
{
    const struct language *lang = j->language;
    if (!o->warm || o->end != ASSAY_BOX_EXITED || o->memory_own_bytes < 0 || o->memory_own_bytes > lang->fork.sample_top)
        return;
    int64_t off = o->memory_own_bytes - lang->fork.sample_bytes;
    o->memory_own_bytes -= off;
    if (o->memory_peak_bytes > off)
        o->memory_peak_bytes -= off;
}

void job_fork_spec(const struct job *j, struct assay_box_spec *spec, struct assay_box_file *file)
{
    const struct language *lang = j->language;
    if (j->weighing != NULL && taker_at(j->weighing->n) == 1) {
        file[0].bytes = assay_str(taker);
        spec->stdin_bytes = ASSAY_STR("");
    }
    if (!may_be_warm(j) || j->slot->forks != lang || (j->weighing != NULL && forked_at(j->weighing->n) == 0))
        return;
    spec->flags |= ASSAY_BOX_WARM;
    if (j->weighing == NULL) {
        spec->warm_cpu_us = lang->fork.cpu_us;
        spec->warm_memory_bytes = lang->fork.memory_bytes;
    }
}

bool job_weighs(struct loop *l, struct job *j)
{
    (void)l;
    struct language *lang = j->language;
    if (j->kind != JOB_SELF_TEST || !j->runner->warm_interpreters || !lang->forks || j->test[0].verdict != VERDICT_OK || j->weighed)
        return false;
    if (j->weighing == NULL) {
        j->weighing = assay_arena_alloc(j->arena, sizeof *j->weighing);
        if (j->weighing == NULL)
            return false;
        memset(j->weighing, 0, sizeof *j->weighing);
        lang->fork.ready = false;
    }
    if (job_prestarts(l, j))
        return true;
    j->weighed = j->slot->forks != lang; /* it does not start: that was said */
    return !j->weighed;
}

static int64_t median(int64_t v[ROUNDS])
{
    for (size_t i = 1; i < ROUNDS; i++) {
        for (size_t k = i; k > 0 && v[k] < v[k - 1]; k--) {
            int64_t t = v[k];
            v[k] = v[k - 1];
            v[k - 1] = t;
        }
    }
    return v[ROUNDS / 2];
}

static int64_t over(int64_t a, int64_t b)
{
    return a > b ? a - b : 0;
}

void job_weighed(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    struct weighing *w = j->weighing;
    struct language *lang = j->language;
    size_t forked = forked_at(w->n), take = taker_at(w->n);
    struct assay_str expected = take == 0 ? j->test[0].expected : ASSAY_STR("");
    const char *why = o->end != ASSAY_BOX_EXITED || o->exit_code != 0 ? "its sample failed"
                      : !output_matches(&j->compare, expected, assay_buf_view(&j->out)) ? "its sample's output was wrong"
                      : o->warm != (forked == 1)                                                  ? "its sample was not forked"
                                                                                                  : NULL;
    if (why != NULL) {
        char text[300];
        put_text(text, sizeof text, "%s: %s", why, o->message);
        say_cold(l, j->slot, lang, text);
        j->weighed = true;
        return;
    }
    size_t round = w->n / 2 % ROUNDS;
    if (take == 0)
        w->cpu_us[forked][round] = o->cpu_us;
    w->memory[take][forked][round] = o->memory_own_bytes > 0 ? o->memory_own_bytes : o->memory_peak_bytes;
    if (++w->n < 2 * 2 * ROUNDS)
        return;
    j->weighed = true;
    lang->fork.cpu_us = over(median(w->cpu_us[0]), median(w->cpu_us[1]));
    lang->fork.memory_bytes = over(median(w->memory[1][0]), median(w->memory[1][1]));
    lang->fork.sample_bytes = median(w->memory[0][0]);
    lang->fork.sample_top = median(w->memory[0][1]) + lang->fork.memory_bytes + SLACK_BYTES;
    lang->fork.ready = true;
    assay_log(l->r->host, ASSAY_LOG_INFO, "interpreter_warm", ASSAY_KS("language", lang->name),
              ASSAY_KI("executed_us", w->cpu_us[0][ROUNDS / 2]), ASSAY_KI("forked_us", w->cpu_us[1][ROUNDS / 2]),
              ASSAY_KI("credit_us", lang->fork.cpu_us), ASSAY_KI("credit_bytes", lang->fork.memory_bytes));
}
