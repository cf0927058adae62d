/*
 * Scripts: jobs whose message (script.h) holds all that they are judged by, and whose result is a message again.
 *
 * Nothing of them is kept by the runner: the result goes to the job's end whole.
 */
#include "filter.h"
#include "remote.h"

#include <math.h>

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

int script_prepare(struct runner *r, struct job *j, const struct assay_script *s, struct assay_manifest *m, struct assay_err *err)
{
    size_t n = s->tests.n != 0 ? s->tests.n : 1;
    const struct assay_script_test *from = s->tests.items;
    j->test = assay_arena_array(j->arena, n, sizeof *j->test);
    if (j->test == NULL)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        bool own = i < s->tests.n;
        j->test[i].def = (struct assay_manifest_test){.number = own ? from[i].number : 1, .sample = true, .points = 1};
        j->test[i].part = NAN;
        j->test[i].group = NO_GROUP;
        j->test[i].input = own ? from[i].input : s->input;
        j->test[i].expected = own ? from[i].expected_output : ASSAY_STR("");
    }
    j->n_tests = n;
    j->uncompared = s->tests.n == 0;
    j->strict = r->strict;
    j->feedback = ASSAY_FEEDBACK_NONE; /* the result says it all; events of tests would only be written */
    j->mode = ASSAY_JUDGE_PROGRAM;
    j->stop_on_failure = true;
    j->compare = (struct comparison){s->compare, s->float_abs, s->float_rel};
    *m = (struct assay_manifest){.time_limit_ms = s->time_limit_ms, .memory_limit_bytes = s->memory_limit_bytes};
    return ASSAY_OK;
}

void script_old_words(const struct job *j, struct test *t, struct assay_str out)
{
    if (!j->strict)
        return;
    if (t->verdict == VERDICT_OL)
        t->verdict = VERDICT_WA;
    if (t->verdict == VERDICT_RE)
        t->verdict = j->uncompared || output_matches(&j->compare, t->expected, out) ? VERDICT_OK : VERDICT_WA;
}

/* As a shell would say it. */
static int64_t exit_code_of(const struct assay_box_outcome *o)
{
    return o->signal != 0 ? 128 + o->signal : o->exit_code;
}

static struct assay_str error_of(const struct job *j, const struct test *t, struct assay_arena *arena)
{
    const struct assay_box_outcome *o = &t->outcome;
    if (o->message[0] != '\0')
        return assay_str(o->message);
    switch (t->verdict) {
    case VERDICT_TL:
        return over_limit_of(o) == OVER_WALL ? ASSAY_STR("wall time limit exceeded") : ASSAY_STR("time limit exceeded");
    case VERDICT_ML:
        return ASSAY_STR("memory limit exceeded");
    case VERDICT_OL:
        return ASSAY_STR("output limit exceeded");
    case VERDICT_RE:
        return o->signal != 0 ? assay_arena_fmt(arena, "ended by signal %d", o->signal) : assay_arena_fmt(arena, "exit status %d", o->exit_code);
    case VERDICT_NONE:
    case VERDICT_OK:
    case VERDICT_WA:
    case VERDICT_BF:
    case VERDICT_IE:
        break;
    }
    (void)j;
    return ASSAY_STR("");
}

static struct assay_str stored(struct assay_str s, bool *cut)
{
    if (s.n <= STORED_MAX)
        return s;
    *cut = true;
    return (struct assay_str){s.p, STORED_MAX};
}

int script_result(const struct job *j, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    const struct runner *r = j->runner;
    struct assay_script_result res = {.id = j->lease.request_id, .timestamp_ms = r->host->now_ms(r->host->ctx)};
    struct assay_script_result_test *list = assay_arena_array(arena, j->n_tests + 1, sizeof *list);
    if (list == NULL)
        return no_memory(err);
    if (j->verdict != VERDICT_IE || !j->strict)
        res.status = assay_str(verdict_name(j->verdict));
    res.error = assay_str(j->fault);
    if (j->verdict == VERDICT_BF) {
        res.exit_code = exit_code_of(&j->build) != 0 ? exit_code_of(&j->build) : 1;
        res.duration_ms = job_build_ms(j);
        res.stderr_text = j->build_output;
    }
    if (j->filtering != NULL)
        res.stdout_text = j->filtering->encoded;
    for (size_t i = 0; i < j->n_tests && j->verdict != VERDICT_BF; i++) {
        const struct test *t = &j->test[i];
        struct assay_script_result_test *to = &list[i];
        to->number = t->def.number;
        to->status = assay_str(verdict_name(t->verdict));
        to->input = stored(t->input, &res.truncated);
        to->expected_output = stored(t->expected, &res.truncated);
        if (!t->ran)
            continue;
        to->exit_code = exit_code_of(&t->outcome);
        to->duration_ms = t->outcome.wall_us / 1000;
        to->stdout_text = t->out;
        to->stderr_text = t->err;
        to->error = error_of(j, t, arena);
        res.truncated = res.truncated || t->outcome.stdout_bytes > (int64_t)t->out.n || t->outcome.stderr_bytes > (int64_t)t->err.n;
        res.duration_ms += to->duration_ms;
        res.exit_code = to->exit_code != 0 ? to->exit_code : res.exit_code;
        res.stdout_text = to->stdout_text.n != 0 ? to->stdout_text : res.stdout_text;
        res.stderr_text = to->stderr_text.n != 0 ? to->stderr_text : res.stderr_text;
        if (j->uncompared || j->filtering != NULL)
            res.error = to->error;
    }
    if (j->verdict != VERDICT_BF && !j->uncompared && j->filtering == NULL)
        res.tests = (struct assay_json_array){list, j->n_tests};
    if (j->away_id.n != 0) { /* a gateway wants the whole truth */
        int rc = away_result_encode(j, res.timestamp_ms, arena, &res.assay, err);
        if (rc < 0)
            return rc;
        res.tests.n = 0;
    }
    struct assay_buf b = ASSAY_BUF_INIT;
    int rc = assay_script_result_encode(&res, r->result_max - 64, &b, err); /* the intake adds the event's id */
    *out = rc >= 0 ? assay_arena_take(arena, &b) : ASSAY_STR_NULL;
    assay_buf_free(&b);
    return rc < 0 ? rc : out->p == NULL ? no_memory(err) : ASSAY_OK;
}
