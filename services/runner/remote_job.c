/*
 * Between jobs and messages: a leased job as a script for a runner elsewhere, and its result as the end of the job.
 *
 * A runner elsewhere is believed what its programs printed and took, and nothing that the gateway can know better: the
 * tests and their points are those of the manifest that the lease named, the verdict of the whole and the score are computed
 * from the tests' here, and sizes are bounded.  All of it is written as a local job's end is: rows, the terminal state and the
 * event in one transaction that the fence guards.
 */
#include "filter.h"
#include "project.h"
#include "remote.h"

#include <math.h>
#include <stdio.h>

#define ROWS_MAX 64 /* of tests in one transaction */
#define NEWS_MAX 64 /* events about tests with an end */

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

/* ---- out ------------------------------------------------------------------------------------------------------ */

static int bytes_of(struct runner *r, struct assay_str bytes, struct assay_str ref, size_t max, struct assay_arena *arena,
                    struct assay_str *out, struct assay_err *err)
{
    *out = bytes.p != NULL ? bytes : ASSAY_STR("");
    return ref.n != 0 ? assay_blob_get(r->host->blobs, ref, max, arena, out, err) : ASSAY_OK;
}

/* Adds the blob unless it is there, empty, or over what a message may hold: then the other side must have it. */
static int add_blob(struct runner *r, struct away_job *a, struct assay_str ref, struct assay_str *refs, size_t *room,
                    struct assay_arena *arena, struct assay_err *err)
{
    struct away_blob *list = a->blobs.items;
    struct assay_str bytes;
    for (size_t i = 0; i < a->blobs.n; i++) {
        if (assay_str_eq(refs[i], ref))
            return ASSAY_OK;
    }
    if (ref.n == 0)
        return ASSAY_OK;
    int rc = cache_read(r->cache, r->host->blobs, ref, TEST_READ_MAX, arena, &bytes, err);
    if (rc < 0 || bytes.n == 0 || bytes.n > *room)
        return rc;
    *room -= bytes.n;
    refs[a->blobs.n] = ref;
    list[a->blobs.n++].data = bytes;
    return ASSAY_OK;
}

static int add_blobs(struct runner *r, struct away_job *a, struct assay_arena *arena, struct assay_err *err)
{
    struct assay_manifest m;
    size_t room = AWAY_MAX / 2; /* base64, and the rest of the message */
    memset(&m, 0, sizeof m);
    int rc = assay_manifest_decode(a->manifest, arena, &m, err);
    size_t most = rc >= 0 ? 2 * m.tests.n + 2 : 0;
    a->blobs.items = assay_arena_array(arena, most + 1, sizeof(struct away_blob));
    struct assay_str *refs = assay_arena_array(arena, most + 1, sizeof *refs);
    if (rc >= 0 && (a->blobs.items == NULL || refs == NULL))
        return no_memory(err);
    const struct assay_manifest_test *t = m.tests.items;
    if (rc >= 0)
        rc = add_blob(r, a, m.harness_ref, refs, &room, arena, err);
    if (rc >= 0 && m.has_checker)
        rc = add_blob(r, a, m.checker.source_ref, refs, &room, arena, err);
    for (size_t i = 0; rc >= 0 && i < m.tests.n; i++) {
        rc = add_blob(r, a, t[i].input_ref, refs, &room, arena, err);
        if (rc >= 0)
            rc = add_blob(r, a, t[i].expected_ref, refs, &room, arena, err);
    }
    return rc;
}

int away_export(struct runner *r, const struct assay_job *lease, bool whole, struct assay_arena *arena, struct assay_str *out,
                struct assay_err *err)
{
    struct assay_script s = {.type = ASSAY_SCRIPT_RUN, .id = lease->submission_id, .language = lease->language};
    struct away_job a = {.submission_id = lease->submission_id,
                         .fence = lease->fence,
                         .attempt = lease->attempt,
                         .kind = lease->kind,
                         .feedback = ASSAY_FEEDBACK_FULL};
    struct assay_str source;
    if (lease->kind == ASSAY_JOB_PROJECT)
        return project_export(r, lease, arena, out, err);
    int rc = bytes_of(r, lease->source, lease->source_ref, SOURCE_READ_MAX, arena, &source, err);
    if (rc >= 0)
        rc = bytes_of(r, lease->payload, lease->payload_ref, PAYLOAD_READ_MAX, arena, &a.payload, err);
    if (rc >= 0 && lease->kind == ASSAY_JOB_BENCHMARK) {
        struct rules rules;
        if (lease->manifest_ref.n == 0)
            return assay_err_set(err, ASSAY_E_CORRUPT, "the problem has no manifest");
        rc = cache_read(r->cache, r->host->blobs, lease->manifest_ref, MANIFEST_READ_MAX, arena, &a.manifest, err);
        if (rc >= 0)
            rc = repo_rules(r, lease->benchmark_id, arena, &rules, err);
        if (rc >= 0) {
            a.feedback = rules.feedback;
            a.warm_interpreters = rules.warm_interpreters;
            a.toolchains = rules.toolchains;
        }
        if (rc >= 0 && whole)
            rc = add_blobs(r, &a, arena, err);
    }
    if (rc >= 0 && lease->files)
        rc = files_decode(source, arena, &s.files, err);
    else if (rc >= 0 && lease->kind != ASSAY_JOB_FILTER)
        s.source = source;
    if (lease->kind == ASSAY_JOB_FILTER) { /* to whoever takes it a task without code */
        a.kind = ASSAY_JOB_TASK;
        s.filter = source;
        s.image = a.payload;
        a.payload = ASSAY_STR("");
    }
    if (rc >= 0)
        rc = assay_options_split(lease->compiler_options, arena, &s.compiler_options, err);
    if (rc >= 0)
        rc = away_job_encode(&a, arena, &s.assay, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_BUF struct assay_buf buf = ASSAY_BUF_INIT;
    rc = assay_script_encode(&s, &buf, err);
    if (rc >= 0 && buf.n > ASSAY_SCRIPT_MAX)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "the job is too large for a message");
    if (rc >= 0)
        *out = assay_arena_take(arena, &buf);
    return rc >= 0 && out->p == NULL ? no_memory(err) : rc;
}

/* ---- in ------------------------------------------------------------------------------------------------------- */

static int verdict_of(struct assay_str status)
{
    for (int v = VERDICT_NONE; v <= VERDICT_IE; v++) {
        if (assay_str_is(status, verdict_name((enum verdict)v)))
            return v;
    }
    return -1;
}

static struct assay_str cut(struct assay_str s)
{
    return (struct assay_str){s.p, s.n > STORED_MAX ? STORED_MAX : s.n};
}

/* What the wire format alone tells, as from a runner that knows no more. */
static int from_plain(const struct assay_script_result *res, struct assay_arena *arena, struct away_result *out, struct assay_err *err)
{
    const struct assay_script_result_test *in = res->tests.items;
    size_t n = res->tests.n;
    memset(out, 0, sizeof *out);
    out->verdict = res->status.n == 0 ? VERDICT_IE : verdict_of(res->status);
    if (out->verdict < 0)
        return assay_err_set(err, ASSAY_E_INVALID, "the result's status is none of OK, WA, TL, ML, OL, RE, BF, IE and -");
    out->fault = (struct assay_str){res->error.p, res->error.n > 250 ? 250 : res->error.n};
    if (out->verdict == VERDICT_BF)
        out->build_output = cut(res->stderr_text.n != 0 ? res->stderr_text : res->error);
    const struct assay_script_result_test whole = {.number = 1,
                                                   .status = res->status,
                                                   .exit_code = res->exit_code,
                                                   .duration_ms = res->duration_ms,
                                                   .stdout_text = res->stdout_text,
                                                   .stderr_text = res->stderr_text};
    if (n == 0) {
        in = &whole;
        n = 1;
    }
    struct away_test *list = assay_arena_array(arena, n, sizeof *list);
    if (list == NULL)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        int v = verdict_of(in[i].status);
        if (v < 0)
            return assay_err_set(err, ASSAY_E_INVALID, "the status of test %lld is none that is known", (long long)in[i].number);
        bool ran = v != VERDICT_NONE && v != VERDICT_BF;
        int64_t ms = in[i].duration_ms < 0 ? 0 : in[i].duration_ms > 86400000 ? 86400000 : in[i].duration_ms;
        list[i] = (struct away_test){.number = in[i].number,
                                     .verdict = v == VERDICT_BF ? VERDICT_NONE : v,
                                     .ran = ran,
                                     .finished = true,
                                     .end = ASSAY_BOX_EXITED,
                                     .exit_code = in[i].exit_code & 255,
                                     .wall_us = ms * 1000,
                                     .end_ms = ms,
                                     .user_us = -1, .system_us = -1, .peak = -1, .own = -1, .max_rss = -1, .oom_kills = -1,
                                     .voluntary = -1, .forced = -1,
                                     .out = cut(in[i].stdout_text),
                                     .err = cut(in[i].stderr_text),
                                     .out_bytes = (int64_t)in[i].stdout_text.n,
                                     .err_bytes = (int64_t)in[i].stderr_text.n};
    }
    out->total_ms = res->duration_ms < 0 ? 0 : res->duration_ms > 86400000 ? 86400000 : res->duration_ms;
    out->tests = (struct assay_json_array){list, n};
    return ASSAY_OK;
}

/* The tests as the gateway knows them. */
static int tests_of(struct runner *r, struct job *j, struct assay_str *language, struct assay_err *err)
{
    *language = j->lease.language;
    j->feedback = ASSAY_FEEDBACK_FULL;
    if (j->task) {
        j->n_tests = 1;
        j->test = assay_arena_array(j->arena, 1, sizeof *j->test);
        if (j->test == NULL)
            return no_memory(err);
        j->test[0].def = (struct assay_manifest_test){.number = 1, .sample = true, .points = 1};
        j->test[0].part = NAN;
        j->test[0].group = NO_GROUP;
        return ASSAY_OK;
    }
    struct assay_manifest m;
    struct assay_str text;
    struct rules rules;
    memset(&m, 0, sizeof m);
    int rc = cache_read(r->cache, r->host->blobs, j->lease.manifest_ref, MANIFEST_READ_MAX, j->arena, &text, err);
    if (rc >= 0)
        rc = assay_manifest_decode(text, j->arena, &m, err);
    if (rc >= 0)
        rc = repo_rules(r, j->lease.benchmark_id, j->arena, &rules, err);
    if (rc == ASSAY_E_NOMEM || rc == ASSAY_E_BUSY)
        return rc;
    if (rc < 0)
        return assay_err_set(err, ASSAY_E_IO, "the manifest cannot be read"); /* ours, not the runner's */
    j->feedback = rules.feedback;
    j->mode = m.mode;
    if (m.mode == ASSAY_JUDGE_HARNESS)
        *language = m.harness_language;
    return job_take_tests(j, &m, err);
}

static void test_fill(struct test *t, const struct away_test *a, int64_t begin_ms)
{
    struct assay_box_outcome *o = &t->outcome;
    t->verdict = (enum verdict)a->verdict;
    t->ran = a->ran;
    if (!a->ran)
        return;
    t->reruns = (int)a->reruns;
    t->part = a->has_part ? a->part : NAN;
    t->out = cut(a->out);
    t->err = cut(a->err);
    t->judge_message = cut(a->judge_message);
    t->team_message = cut(a->team_message);
    t->transcript = cut(a->transcript);
    t->start_ms = begin_ms + a->start_ms;
    t->end_ms = begin_ms + (a->end_ms > a->start_ms ? a->end_ms : a->start_ms);
    o->end = a->end != 0 ? (enum assay_box_end)a->end : ASSAY_BOX_EXITED;
    o->exit_code = (int)a->exit_code;
    o->signal = (int)a->signal;
    o->cpu_us = a->cpu_us;
    o->cpu_user_us = a->user_us;
    o->cpu_system_us = a->system_us;
    o->wall_us = a->wall_us;
    o->memory_peak_bytes = a->peak;
    o->memory_own_bytes = a->own;
    o->max_rss_bytes = a->max_rss;
    o->oom_kills = a->oom_kills;
    o->voluntary_switches = a->voluntary;
    o->forced_switches = a->forced;
    o->precision = (uint32_t)a->precision;
    o->warm = a->warm;
    o->finished = a->finished;
    o->stdout_bytes = a->out_bytes > (int64_t)t->out.n ? a->out_bytes : (int64_t)t->out.n;
    o->stderr_bytes = a->err_bytes > (int64_t)t->err.n ? a->err_bytes : (int64_t)t->err.n;
    snprintf(o->message, sizeof o->message, "%.*s", ASSAY_FMT(a->message));
}

static int fill(struct runner *r, struct job *j, const struct away_result *a, struct assay_err *err)
{
    struct assay_str language;
    int rc = tests_of(r, j, &language, err);
    if (rc < 0)
        return rc;
    const struct away_test *in = a->tests.items;
    int64_t begin = r->host->now_ms(r->host->ctx) - a->total_ms;
    begin = begin > j->lease.created_ms ? begin : j->lease.created_ms;
    j->leased_ms = j->prepared_ms = begin;
    j->started_ms = begin + a->started_ms;
    j->language = languages_find(&r->languages, language);
    rc = assay_options_split(a->compiler_options, j->arena, &j->options, err);
    if (rc < 0)
        return rc;
    j->build_output = cut(a->build_output);
    j->cached = a->build_cached;
    j->kept.wall_us = a->build_ms * 1000;
    j->build.cpu_us = a->build_cpu_us;
    if (a->build_end_ms > a->build_start_ms) {
        j->build_start_ms = begin + a->build_start_ms;
        j->build_end_ms = begin + a->build_end_ms;
    }
    j->limits.cpu_ms = a->time_limit_ms;
    j->limits.cpu_hard_ms = a->hard_time_limit_ms;
    j->limits.wall_ms = a->wall_limit_ms;
    j->limits.memory_bytes = a->memory_limit_bytes;
    snprintf(j->mode_text, sizeof j->mode_text, "%.*s", ASSAY_FMT(a->mode));
    if (a->environment.n != 0) {
        assay_sha256_hex(a->environment, j->environment);
        j->environment_body = a->environment;
    }
    if (a->verdict == VERDICT_BF) {
        j->verdict = VERDICT_BF;
        j->at_test = 0;
        job_decide(j);
        return ASSAY_OK;
    }
    if (a->tests.n != j->n_tests)
        return assay_err_set(err, ASSAY_E_INVALID, "the result has %zu tests, the job has %zu", a->tests.n, j->n_tests);
    bool failed = false, left_out = false;
    for (size_t i = 0; i < j->n_tests; i++) {
        if (in[i].number != j->test[i].def.number)
            return assay_err_set(err, ASSAY_E_INVALID, "the result's test %zu has number %lld, the job's %lld", i + 1,
                                 (long long)in[i].number, (long long)j->test[i].def.number);
        if (in[i].verdict == VERDICT_BF || in[i].verdict == VERDICT_IE || in[i].ran != (in[i].verdict != VERDICT_NONE))
            return assay_err_set(err, ASSAY_E_INVALID, "test %lld cannot have ended so", (long long)in[i].number);
        test_fill(&j->test[i], &in[i], begin);
        failed = failed || (in[i].verdict != VERDICT_OK && in[i].verdict != VERDICT_NONE);
        left_out = left_out || in[i].verdict == VERDICT_NONE;
    }
    if (left_out && !failed)
        return assay_err_set(err, ASSAY_E_INVALID, "no test failed, and not all were run");
    job_decide(j);
    return ASSAY_OK;
}

static int news(struct runner *r, struct job *j, struct assay_tx *tx, struct assay_err *err)
{
    struct assay_str text;
    int rc = ASSAY_OK;
    if (!test_sight(j->feedback, false, false).verdict)
        return rc;
    for (size_t i = 0; rc >= 0 && i < j->n_tests && i < NEWS_MAX; i++) {
        if (!j->test[i].ran)
            continue;
        rc = test_event_encode(j, &j->test[i], tx->arena, &text, err);
        if (rc >= 0)
            rc = r->jobs->progress(r->jobs_self, &j->lease, "submission.test", text, tx, err);
    }
    return rc;
}

/* Rows that do not go with the end are worth nothing until it is written: none is read under a fence without a result. */
static int early_rows(struct runner *r, struct job *j, size_t *done, struct assay_err *err)
{
    for (*done = 0; j->n_tests - *done > ROWS_MAX; *done += ROWS_MAX) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "runner.away_tests") : NULL;
        if (tx == NULL)
            return no_memory(err);
        int rc = *done == 0 ? repo_drop_attempt(tx, j, err) : ASSAY_OK;
        if (rc >= 0)
            rc = repo_add_tests(tx, j, *done, *done + ROWS_MAX, err);
        if (rc >= 0)
            rc = assay_store_exec(r->host->store, tx, err);
        if (rc < 0)
            return rc;
    }
    return ASSAY_OK;
}

static int write_end(struct runner *r, struct job *j, struct assay_err *err)
{
    size_t done;
    int rc = early_rows(r, j, &done, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "runner.away_finish") : NULL;
    if (tx == NULL)
        return no_memory(err);
    struct assay_job_end end = {.verdict = assay_str(verdict_name(j->verdict)), .score = j->score};
    if (j->task) {
        const struct test *t = &j->test[0];
        end.output = j->verdict == VERDICT_BF                      ? j->build_output
                     : t->out.n != 0 || j->verdict == VERDICT_OK ? t->out
                                                                   : t->err;
    }
    if (j->lease.kind == ASSAY_JOB_FILTER)
        end.output = filter_output(j);
    rc = news(r, j, tx, err);
    if (rc >= 0)
        rc = summary_encode(j, arena, &end.summary, err);
    if (rc >= 0)
        rc = r->jobs->finish(r->jobs_self, &j->lease, &end, tx, err);
    if (rc >= 0)
        rc = repo_add_tests(tx, j, done, j->n_tests, err);
    if (rc >= 0)
        rc = repo_add_result(tx, j, r->host->now_ms(r->host->ctx), err);
    return rc < 0 ? rc : assay_store_exec(r->host->store, tx, err);
}

/* A filter's result becomes a blob as if it had been made here; of a program that is not ours it is bytes all the same. */
static int filter_take(struct runner *r, struct job *j, struct assay_str encoded, struct assay_err *err)
{
    struct test *t = &j->test[0];
    ASSAY_CLEANUP_BUF struct assay_buf bytes = ASSAY_BUF_INIT;
    j->filtering = assay_arena_alloc(j->arena, sizeof *j->filtering);
    if (j->filtering == NULL)
        return no_memory(err);
    t->out = ASSAY_STR("");
    if (j->verdict != VERDICT_OK) {
        struct assay_str why = j->verdict == VERDICT_BF ? j->build_output : assay_str(t->outcome.message);
        snprintf(j->filtering->why, sizeof j->filtering->why, "%.*s", ASSAY_FMT(why.n != 0 ? why : ASSAY_STR("failed: the runner does not say why")));
        return ASSAY_OK;
    }
    int rc = assay_base64_decode(encoded, &bytes, err);
    if (rc >= 0 && (bytes.n == 0 || bytes.n > (size_t)r->filter_result_max))
        rc = assay_err_set(err, ASSAY_E_INVALID, "the filter's result has %zu bytes; 1 to %lld are taken", bytes.n, (long long)r->filter_result_max);
    return rc < 0 ? rc : assay_blob_put(r->host->blobs, assay_buf_view(&bytes), j->filtering->ref, err);
}

static int give_back(struct runner *r, const struct assay_job *lease, struct assay_str holder, bool charge, bool alarm,
                     struct assay_str reason, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "runner.away_return") : NULL;
    struct job *j = job_new(r);
    if (tx == NULL || j == NULL) {
        job_free(j);
        return no_memory(err);
    }
    int rc = r->jobs->give_back(r->jobs_self, lease, charge, reason, tx, err);
    struct assay_str news;
    if (rc >= 0 && alarm) {
        rc = alarm_encode(reason, tx->arena, &news, err);
        if (rc >= 0)
            assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("submission.checker_failed"),
                                                         .subject = lease->submission_id,
                                                         .owner = lease->owner_id,
                                                         .benchmark = lease->benchmark_id,
                                                         .payload = news});
    }
    /* the last attempt: the result says what went wrong, to those who can mend it */
    if (rc >= 0 && charge && !lease->cancel_requested && lease->attempt >= r->max_attempts) {
        j->lease = *lease;
        j->verdict = VERDICT_IE;
        j->made_by = holder;
        snprintf(j->fault, sizeof j->fault, "%.*s", ASSAY_FMT(reason));
        rc = repo_add_result(tx, j, r->host->now_ms(r->host->ctx), err);
    }
    if (rc >= 0)
        rc = assay_store_exec(r->host->store, tx, err);
    if (rc >= 0)
        assay_log(r->host, ASSAY_LOG_WARN, "job_given_back", ASSAY_KS("submission_id", lease->submission_id),
                  ASSAY_KS("runner", holder), ASSAY_KS("reason", reason), ASSAY_KI("attempt", lease->attempt),
                  ASSAY_KI("charged", charge));
    job_free(j);
    return rc;
}

int away_return(struct runner *r, struct assay_str holder, struct assay_str submission_id, int64_t fence, bool charge,
                struct assay_str reason, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_job lease;
    if (arena == NULL)
        return no_memory(err);
    int rc = r->jobs->held_away(r->jobs_self, holder, submission_id, fence, arena, &lease, err);
    return rc < 0 ? rc : give_back(r, &lease, holder, charge, false, reason, err);
}

int away_import(struct runner *r, struct assay_str holder, struct assay_str submission_id, int64_t fence,
                const struct assay_script_result *result, struct assay_err *err)
{
    const struct assay_host *host = r->host;
    struct job *j = job_new(r);
    struct away_result a;
    if (j == NULL)
        return no_memory(err);
    int rc = r->jobs->held_away(r->jobs_self, holder, submission_id, fence, j->arena, &j->lease, err);
    if (rc >= 0 && j->lease.kind == ASSAY_JOB_PROJECT) {
        if (j->lease.cancel_requested)
            rc = give_back(r, &j->lease, holder, false, false, ASSAY_STR("cancelled"), err);
        else if (result->assay.n != 0)
            rc = project_import(r, holder, &j->lease, result->assay, err);
        else
            rc = assay_err_set(err, ASSAY_E_INVALID, "%.*s", ASSAY_FMT(result->error.n != 0 ? result->error : ASSAY_STR("the result says nothing of the project")));
        job_free(j);
        return rc;
    }
    if (rc >= 0 && result->assay.n != 0) {
        rc = away_result_decode(result->assay, j->arena, &a, err);
        if (rc >= 0 && (!assay_str_eq(a.submission_id, submission_id) || a.fence != j->lease.fence))
            rc = assay_err_set(err, ASSAY_E_INVALID, "the result is of another lease");
    } else if (rc >= 0) {
        rc = from_plain(result, j->arena, &a, err);
    }
    if (rc >= 0 && (a.verdict == VERDICT_IE || j->lease.cancel_requested)) {
        bool charge = !j->lease.cancel_requested;
        if (a.alarm) {
            const char *label[] = {"elsewhere"};
            host->metric_add(host->ctx, &runner_metrics[METRIC_CHECKER_FAULTS], label, 1);
            assay_log(host, ASSAY_LOG_ERROR, "checker_failed", ASSAY_KS("submission_id", submission_id),
                      ASSAY_KS("problem_id", j->lease.problem_id), ASSAY_KS("runner", holder), ASSAY_KS("reason", a.fault));
        }
        rc = give_back(r, &j->lease, holder, charge, a.alarm, a.fault.n != 0 ? a.fault : ASSAY_STR("the runner could not judge it"), err);
        job_free(j);
        return rc;
    }
    j->task = j->lease.kind == ASSAY_JOB_TASK || j->lease.kind == ASSAY_JOB_FILTER;
    j->made_by = holder;
    if (rc >= 0)
        rc = fill(r, j, &a, err);
    if (rc >= 0 && j->lease.kind == ASSAY_JOB_FILTER)
        rc = filter_take(r, j, result->stdout_text, err);
    if (rc >= 0)
        rc = write_end(r, j, err);
    if (rc >= 0) {
        const char *labels[] = {j->language != NULL ? j->language->name.p : j->filtering != NULL ? "filter" : "", verdict_name(j->verdict)};
        count_judged(r, &j->lease, labels[0], labels[1]);
        traced_away(r, &j->lease, labels[0], labels[1], holder);
        assay_log(host, ASSAY_LOG_INFO, "submission_judged", ASSAY_KS("submission_id", j->lease.submission_id),
                  ASSAY_KS("request_id", j->lease.request_id), ASSAY_KZ("language", labels[0]), ASSAY_KZ("verdict", labels[1]),
                  ASSAY_KR("score", j->score), ASSAY_KI("tests", j->n_tests), ASSAY_KS("runner", holder));
    }
    job_free(j);
    return rc;
}
