/* Projects as texts: the plan for assay-project, its answer, and what comes of it. */
#include "project.h"

#include <assay/script.h>

#include "junit.h"
#include "summary.h"

#include <stdio.h>
#include <string.h>

/* ---- the plan --------------------------------------------------------------------------------------------------- */

static void field(struct assay_buf *b, struct assay_str s)
{
    assay_buf_str(b, s);
    assay_buf_putc(b, '\0');
}

static void number(struct assay_buf *b, int64_t v)
{
    assay_buf_fmt(b, "%lld", (long long)v);
    assay_buf_putc(b, '\0');
}

static void list(struct assay_buf *b, const struct assay_strs *s)
{
    number(b, (int64_t)s->n);
    for (size_t i = 0; i < s->n; i++)
        field(b, s->items[i]);
}

static bool overridden(const struct assay_pit *pit, const char *assignment)
{
    size_t n = strcspn(assignment, "=");
    for (size_t i = 0; i < pit->environment.n; i++) {
        struct assay_str key = pit->environment.items[i].key;
        if (key.n == n && memcmp(key.p, assignment, n) == 0)
            return true;
    }
    return false;
}

void project_plan(const struct assay_pit *pit, const char *const *base_env, size_t n_base, bool tests, int64_t setup_ms, int64_t grace_ms,
                  int64_t log_bytes, struct assay_buf *out)
{
    int64_t n_env = (int64_t)pit->environment.n;
    field(out, ASSAY_STR("assay-plan-1"));
    number(out, setup_ms);
    number(out, pit->max_timeout_ms);
    number(out, grace_ms);
    number(out, log_bytes);
    field(out, tests ? ASSAY_STR("tests") : ASSAY_STR(""));
    for (size_t i = 0; i < n_base; i++)
        n_env += !overridden(pit, base_env[i]);
    number(out, n_env);
    for (size_t i = 0; i < n_base; i++) {
        if (!overridden(pit, base_env[i]))
            field(out, assay_str(base_env[i]));
    }
    for (size_t i = 0; i < pit->environment.n; i++) {
        assay_buf_str(out, pit->environment.items[i].key);
        assay_buf_putc(out, '=');
        field(out, pit->environment.items[i].value);
    }
    list(out, &pit->required_files);
    list(out, &pit->setup_commands);
    list(out, &pit->reports);
    number(out, 1);
    field(out, pit->test_command);
}

/* ---- the answer ------------------------------------------------------------------------------------------------- */

static bool line(struct assay_str *rest, struct assay_str *out)
{
    const char *nl = rest->n != 0 ? memchr(rest->p, '\n', rest->n) : NULL;
    if (nl == NULL)
        return false;
    *out = (struct assay_str){rest->p, (size_t)(nl - rest->p)};
    rest->p = nl + 1;
    rest->n -= out->n + 1;
    return true;
}

/* A line "name value". */
static bool member(struct assay_str *rest, const char *name, struct assay_str *value)
{
    struct assay_str l;
    size_t n = strlen(name);
    if (!line(rest, &l) || l.n < n + 1 || memcmp(l.p, name, n) != 0 || l.p[n] != ' ')
        return false;
    *value = (struct assay_str){l.p + n + 1, l.n - n - 1};
    return true;
}

static bool count(struct assay_str *rest, const char *name, int64_t min, int64_t max, int64_t *out)
{
    struct assay_str v;
    struct assay_err ignored;
    return member(rest, name, &v) && assay_parse_i64(v, min, max, out, &ignored) == ASSAY_OK;
}

bool project_answer_read(struct assay_str rest, struct project_answer *a)
{
    static const char *const steps[] = {"unpack", "tests", "required", "setup", "test"};
    struct assay_str l;
    int64_t timed_out;
    bool known = false;
    *a = (struct project_answer){.n_reports = 0};
    if (!line(&rest, &l) || !assay_str_is(l, "assay-answer-1") || !member(&rest, "step", &a->step) || !member(&rest, "why", &a->why) ||
        !count(&rest, "exit", -1, 255, &a->exit_code) || !count(&rest, "signal", 0, 128, &a->signal) ||
        !count(&rest, "timeout", 0, 1, &timed_out) || !count(&rest, "ms", 0, INT64_C(1) << 40, &a->ms) ||
        !count(&rest, "log", 0, INT64_C(1) << 60, &a->log_bytes))
        return false;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        known = known || assay_str_is(a->step, steps[i]);
    a->timed_out = timed_out != 0;
    while (known && line(&rest, &l)) {
        struct assay_str head = l, size;
        struct assay_err ignored;
        int64_t n;
        if (assay_str_starts(head, "reports ")) {
            head = (struct assay_str){head.p + 8, head.n - 8};
            return assay_parse_i64(head, 0, INT64_C(1) << 40, &a->seen, &ignored) == ASSAY_OK && line(&rest, &l) && assay_str_is(l, "end") &&
                   rest.n == 0;
        }
        if (!assay_str_starts(head, "file ") || a->n_reports == PROJECT_REPORTS_MAX)
            return false;
        head = (struct assay_str){head.p + 5, head.n - 5};
        const char *space = memchr(head.p, ' ', head.n);
        if (space == NULL)
            return false;
        size = (struct assay_str){head.p, (size_t)(space - head.p)};
        if (assay_parse_i64(size, 0, (int64_t)PROJECT_ANSWER_MAX, &n, &ignored) < 0 || (size_t)n + 1 > rest.n || rest.p[n] != '\n')
            return false;
        a->path[a->n_reports] = (struct assay_str){space + 1, head.n - size.n - 1};
        a->report[a->n_reports++] = (struct assay_str){rest.p, (size_t)n};
        rest = (struct assay_str){rest.p + n + 1, rest.n - (size_t)n - 1};
    }
    return false;
}

/* ---- what came of it -------------------------------------------------------------------------------------------- */

static int finish_into(struct assay_jw *w, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    int rc = assay_jw_finish(w, &b, err);
    *out = rc >= 0 ? assay_arena_take(arena, &b) : ASSAY_STR_NULL;
    assay_buf_free(&b);
    return rc < 0 ? rc : out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

int project_fault(const char *step, const char *why, struct assay_arena *arena, struct assay_str *feedback, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kz(w, "error", why);
    assay_jw_kz(w, "step", step);
    assay_jw_end(w);
    return finish_into(w, arena, feedback, err);
}

/* Counts the cases of all reports; how says of how many. */
static int read_reports(const struct project_answer *a, struct assay_str log, struct report *sum, struct assay_buf *how, struct assay_err *err)
{
    size_t read = 0, bad = 0;
    for (size_t i = 0; i < a->n_reports; i++) {
        struct assay_err why = {0, ""};
        int rc = junit_read(a->report[i], sum, &why);
        if (rc == ASSAY_E_NOMEM)
            return assay_err_set(err, rc, "%s", why.msg);
        read += rc == ASSAY_OK;
        if (rc != ASSAY_E_INVALID)
            continue;
        if (bad++ < 3)
            assay_buf_fmt(how, "%.*s cannot be read: %s\n", a->path[i].n > 200 ? 200 : (int)a->path[i].n, a->path[i].p, why.msg);
    }
    if (a->seen > (int64_t)a->n_reports)
        assay_buf_fmt(how, "%lld of %lld reports were left out: there are too many, or they are too large\n", (long long)(a->seen - (int64_t)a->n_reports),
                      (long long)a->seen);
    if (read != 0)
        assay_buf_fmt(how, "Counted in %zu JUnit report%s.\n", read, read == 1 ? "" : "s");
    else if (summary_find(log, sum))
        assay_buf_puts(how, "Counted by the last summary line of the log; there was no JUnit report.\n");
    else
        assay_buf_puts(how, "There was no JUnit report and no summary line: only the exit status counts.\n");
    return ASSAY_OK;
}

static enum verdict verdict_of(const struct project_answer *a, const struct report *sum, bool memory)
{
    bool test = assay_str_is(a->step, "test");
    if (a->timed_out)
        return VERDICT_TL;
    if (memory)
        return VERDICT_ML;
    if (!test)
        return VERDICT_BF;
    if (a->exit_code != 0)
        return VERDICT_RE;
    return sum->failed != 0 ? VERDICT_WA : VERDICT_OK;
}

/* Without an answer: the box says why. */
static int judge_box(const struct assay_box_outcome *o, int64_t memory_bytes, struct assay_arena *arena, struct project_end *end,
                     struct assay_str *feedback, struct assay_err *err)
{
    char why[200];
    bool timed_out = o->end == ASSAY_BOX_WALL || o->end == ASSAY_BOX_CPU;
    end->score = 0;
    if (timed_out) {
        end->verdict = VERDICT_TL;
        (void)snprintf(why, sizeof why, "the project ran out of time, and would not end");
    } else if (o->end == ASSAY_BOX_MEMORY) {
        end->verdict = VERDICT_ML;
        (void)snprintf(why, sizeof why, "the project needed more than %lld MiB of memory", (long long)(memory_bytes >> 20));
    } else if (o->end == ASSAY_BOX_OUTPUT) {
        end->verdict = VERDICT_OL;
        (void)snprintf(why, sizeof why, "the project printed too much");
    } else {
        end->verdict = VERDICT_RE;
        (void)snprintf(why, sizeof why, "the project ended the program that tests it");
    }
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kz(w, "error", why);
    assay_jw_kz(w, "step", "box");
    assay_jw_kint(w, "exitCode", -1);
    assay_jw_kbool(w, "timedOut", timed_out);
    assay_jw_kint(w, "durationMs", o->wall_us / 1000);
    assay_jw_end(w);
    return finish_into(w, arena, feedback, err);
}

int project_judge(const struct assay_box_outcome *o, const struct project_answer *a, struct assay_str log, int64_t memory_bytes,
                  struct assay_arena *arena, struct project_end *end, struct assay_str *feedback, struct assay_err *err)
{
    if (a == NULL)
        return judge_box(o, memory_bytes, arena, end, feedback, err);
    ASSAY_CLEANUP_BUF struct assay_buf details = ASSAY_BUF_INIT;
    struct report *sum = assay_arena_alloc(arena, sizeof *sum);
    bool test = assay_str_is(a->step, "test"), memory = o->end == ASSAY_BOX_MEMORY || o->oom_kills > 0;
    if (sum == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = test ? read_reports(a, log, sum, &details, err) : ASSAY_OK;
    if (rc < 0)
        return rc;
    int64_t exit_code = a->signal != 0 ? 128 + a->signal : a->exit_code;
    end->verdict = verdict_of(a, sum, memory && exit_code != 0);
    end->score = test ? report_score(sum, a->timed_out, exit_code != 0) : 0;
    if (exit_code != 0 && end->verdict == VERDICT_OK)
        end->verdict = VERDICT_RE;
    for (size_t i = 0; i < sum->n_failures; i++)
        assay_buf_fmt(&details, "%s: %s%s%s\n", sum->failure[i].error ? "error" : "failed", sum->failure[i].name,
                      sum->failure[i].message[0] != '\0' ? ": " : "", sum->failure[i].message);
    if (sum->failed > (int64_t)sum->n_failures && sum->n_failures != 0)
        assay_buf_fmt(&details, "... and %lld more\n", (long long)(sum->failed - (int64_t)sum->n_failures));
    if (memory)
        assay_buf_fmt(&details, "Some of its processes were ended: together they needed more than %lld MiB of memory.\n", (long long)(memory_bytes >> 20));
    char why[300] = "";
    if (!test)
        (void)snprintf(why, sizeof why, "%.*s", a->why.n > 290 ? 290 : (int)a->why.n, a->why.p);
    else if (a->timed_out)
        (void)snprintf(why, sizeof why, "the test command ran out of time");
    else if (memory && exit_code != 0)
        (void)snprintf(why, sizeof why, "the project needed more than %lld MiB of memory", (long long)(memory_bytes >> 20));
    else if (exit_code != 0 && sum->failed == 0)
        (void)snprintf(why, sizeof why, "the test command failed with exit status %lld%s", (long long)exit_code,
                       sum->total == 0 ? " and left no report of tests" : " although no test failed");
    else if (exit_code != 0)
        (void)snprintf(why, sizeof why, "%lld of %lld tests failed", (long long)sum->failed, (long long)sum->total);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    if (why[0] != '\0') {
        assay_jw_kz(w, "error", why);
        assay_jw_kstr(w, "step", a->step);
    }
    assay_jw_kint(w, "exitCode", exit_code);
    assay_jw_kbool(w, "timedOut", a->timed_out);
    assay_jw_kint(w, "durationMs", a->ms);
    assay_jw_kint(w, "totalTests", sum->total);
    assay_jw_kint(w, "passedTests", sum->passed);
    assay_jw_kint(w, "failedTests", sum->failed);
    assay_jw_kint(w, "skippedTests", sum->skipped);
    struct assay_str text = assay_buf_view(&details);
    text.n = text.n > PROJECT_FEEDBACK_MAX / 2 ? PROJECT_FEEDBACK_MAX / 2 : text.n;
    assay_jw_kstr(w, "details", text.p != NULL ? text : ASSAY_STR(""));
    assay_jw_end(w);
    return details.failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : finish_into(w, arena, feedback, err);
}

/* ---- between gateways and workers ------------------------------------------------------------------------------- */

int project_result(const struct job *j, int64_t now_ms, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    const struct project *p = j->project;
    struct assay_script_result res = {.id = j->lease.request_id, .timestamp_ms = now_ms, .status = assay_str(verdict_name(j->verdict)),
                                      .error = assay_str(j->fault), .duration_ms = p->outcome.wall_us / 1000};
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "submissionId", p->message.submission_id);
    assay_jw_kint(w, "fence", p->fence);
    assay_jw_kz(w, "status", j->verdict == VERDICT_OK || j->verdict == VERDICT_WA ? "DONE" : "ERROR");
    assay_jw_kz(w, "verdict", verdict_name(j->verdict));
    assay_jw_kreal(w, "score", j->score);
    assay_jw_kraw(w, "feedback", p->feedback);
    assay_jw_kstr(w, "logsS3Key", p->log_key);
    assay_jw_kz(w, "fault", j->fault);
    assay_jw_end(w);
    int rc = finish_into(w, arena, &res.assay, err);
    struct assay_buf b = ASSAY_BUF_INIT;
    if (rc >= 0)
        rc = assay_script_result_encode(&res, j->runner->result_max - 64, &b, err); /* the intake adds the event's id */
    *out = rc >= 0 ? assay_arena_take(arena, &b) : ASSAY_STR_NULL;
    assay_buf_free(&b);
    return rc < 0 ? rc : out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

#define ROW(name_, type_, struct_, member_, ...)                                                                       \
    {.name = (name_), .type = (type_), .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct struct_, member_), .has_offset = -1, __VA_ARGS__}

int project_away_decode(struct assay_str json, struct assay_arena *arena, struct project_away *out, struct assay_err *err)
{
    static const struct assay_json_field fields[] = {
        ROW("fence", ASSAY_JSON_INT, project_away, fence, .min = 0, .max = 9e15),
        ROW("pit", ASSAY_JSON_RAW, project_away, pit, .min = 0, .max = 1 << 20),
        {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
        {.name = NULL},
    };
    *out = (struct project_away){.pit = ASSAY_STR("")};
    return assay_json_decode(json, fields, out, NULL, arena, NULL, err);
}

static int verdict_by_name(struct assay_str name)
{
    for (int v = VERDICT_OK; v <= VERDICT_IE; v++) {
        if (assay_str_is(name, verdict_name((enum verdict)v)))
            return v;
    }
    return -1;
}

int project_told_decode(struct assay_str json, struct assay_arena *arena, struct project_told *out, struct assay_err *err)
{
    struct raw {
        struct assay_str submission_id, verdict, feedback, log_key, fault;
        int64_t fence;
        double score;
    } r = {.fence = 0};
    static const struct assay_json_field fields[] = {
        ROW("submissionId", ASSAY_JSON_STRING, raw, submission_id, .min = 0, .max = 128),
        ROW("verdict", ASSAY_JSON_STRING, raw, verdict, .min = 0, .max = 8),
        ROW("feedback", ASSAY_JSON_RAW, raw, feedback, .min = 0, .max = 64 << 10),
        ROW("logsS3Key", ASSAY_JSON_STRING, raw, log_key, .min = 0, .max = ASSAY_PIT_KEY_MAX),
        ROW("fault", ASSAY_JSON_STRING, raw, fault, .min = 0, .max = 1000),
        ROW("fence", ASSAY_JSON_INT, raw, fence, .min = 0, .max = 9e15),
        ROW("score", ASSAY_JSON_REAL, raw, score, .min = 0, .max = 100),
        {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
        {.name = NULL},
    };
    int rc = assay_json_decode(json, fields, &r, NULL, arena, NULL, err);
    *out = (struct project_told){.submission_id = r.submission_id, .feedback = r.feedback, .log_key = r.log_key, .fault = r.fault,
                                 .fence = r.fence, .score = r.score, .verdict = verdict_by_name(r.verdict)};
    if (rc >= 0 && out->verdict < 0)
        return assay_err_set(err, ASSAY_E_INVALID, "the result's verdict is none that is known");
    if (rc >= 0 && out->verdict != VERDICT_IE && (out->feedback.n < 2 || out->feedback.p[0] != '{'))
        return assay_err_set(err, ASSAY_E_INVALID, "the result has no feedback");
    return rc;
}
