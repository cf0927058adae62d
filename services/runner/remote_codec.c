/* JSON between this process and runners elsewhere: the members "assay" of scripts and results, and the bodies of requests. */
#include "remote.h"

#include <math.h>

#define ROW(st, name_, type_, member, ...)                                                                             \
    {                                                                                                                  \
        .name = (name_), .type = (type_), .offset = offsetof(struct st, member), .has_offset = -1, __VA_ARGS__         \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }
#define ANYTHING                                                                                                       \
    {                                                                                                                  \
        .name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1                                                          \
    }
#define COUNT_MAX 9e15
#define UNTIL_A_DAY .min = 0, .max = 86400e3
#define COUNTED .min = -1, .max = COUNT_MAX /* -1: not known */
#define TEXT_MAX ((double)(STORED_MAX + 1024))

static const char *const verdict_names[] = {"-", "OK", "WA", "TL", "ML", "OL", "RE", "BF", "IE", NULL};
static const char *const end_names[] = {"none", "exited", "signalled", "cpu", "wall", "memory", "output", "cancelled", "failed", NULL};
static const char *const job_kinds[] = {"benchmark", "task", NULL};

static int into_arena(struct assay_jw *w, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf buf = ASSAY_BUF_INIT;
    int rc = assay_jw_finish(w, &buf, err);
    if (rc >= 0)
        *out = assay_arena_take(arena, &buf);
    return rc >= 0 && out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : rc;
}

static void text_write(struct assay_jw *w, const char *key, struct assay_str s, size_t most)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_str kept = {s.p, s.n > most ? most : s.n};
    if (kept.n == 0)
        return;
    assay_buf_base64(&b, kept);
    assay_jw_kstr(w, key, assay_buf_view(&b));
}

/* ---- jobs ----------------------------------------------------------------------------------------------------- */

static const struct assay_json_field blob_fields[] = {
    ROW(away_blob, "data", ASSAY_JSON_STRING, data, .flags = ASSAY_JSON_REQUIRED | ASSAY_JSON_BASE64, .max = (double)AWAY_MAX),
    ANYTHING,
    END,
};
static const struct assay_json_field job_fields[] = {
    ROW(away_job, "submission_id", ASSAY_JSON_STRING, submission_id, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    ROW(away_job, "fence", ASSAY_JSON_INT, fence, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = COUNT_MAX),
    ROW(away_job, "attempt", ASSAY_JSON_INT, attempt, .min = 1, .max = 1e6),
    ROW(away_job, "kind", ASSAY_JSON_ENUM, kind, .names = job_kinds),
    ROW(away_job, "manifest", ASSAY_JSON_RAW, manifest, .max = (double)MANIFEST_READ_MAX),
    ROW(away_job, "payload", ASSAY_JSON_STRING, payload, .flags = ASSAY_JSON_NUL_OK, .max = (double)PAYLOAD_READ_MAX),
    ROW(away_job, "toolchains", ASSAY_JSON_RAW, toolchains, .max = 1 << 20),
    ROW(away_job, "feedback", ASSAY_JSON_ENUM, feedback, .names = assay_feedback_names),
    ROW(away_job, "warm_interpreters", ASSAY_JSON_ENUM, warm_interpreters, .names = assay_warm_pin_names),
    {.name = "blobs", .type = ASSAY_JSON_ARRAY, .offset = offsetof(struct away_job, blobs), .has_offset = -1, .max = 20100,
     .fields = blob_fields, .elem_size = sizeof(struct away_blob)},
    ANYTHING,
    END,
};

int away_job_encode(const struct away_job *a, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "submission_id", a->submission_id);
    assay_jw_kint(w, "fence", a->fence);
    assay_jw_kint(w, "attempt", a->attempt);
    assay_jw_kz(w, "kind", job_kinds[a->kind]);
    if (a->manifest.n != 0)
        assay_jw_kraw(w, "manifest", a->manifest);
    if (a->payload.n != 0)
        assay_jw_kstr(w, "payload", a->payload);
    if (a->toolchains.n != 0)
        assay_jw_kraw(w, "toolchains", a->toolchains);
    assay_jw_kz(w, "feedback", assay_feedback_names[a->feedback]);
    assay_jw_kz(w, "warm_interpreters", assay_warm_pin_names[a->warm_interpreters]);
    const struct away_blob *blob = a->blobs.items;
    if (a->blobs.n != 0) {
        assay_jw_key(w, "blobs");
        assay_jw_array(w);
        for (size_t i = 0; i < a->blobs.n; i++) {
            assay_jw_object(w);
            text_write(w, "data", blob[i].data, AWAY_MAX);
            assay_jw_end(w);
        }
        assay_jw_end(w);
    }
    assay_jw_end(w);
    return into_arena(w, arena, out, err);
}

int away_job_decode(struct assay_str json, struct assay_arena *arena, struct away_job *out, struct assay_err *err)
{
    memset(out, 0, sizeof *out);
    out->attempt = 1;
    return assay_json_decode(json, job_fields, out, NULL, arena, NULL, err);
}

/* ---- results --------------------------------------------------------------------------------------------------- */

static const struct assay_json_field test_fields[] = {
    ROW(away_test, "number", ASSAY_JSON_INT, number, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 1e6),
    ROW(away_test, "verdict", ASSAY_JSON_ENUM, verdict, .flags = ASSAY_JSON_REQUIRED, .names = verdict_names),
    ROW(away_test, "ran", ASSAY_JSON_BOOL, ran),
    ROW(away_test, "end", ASSAY_JSON_ENUM, end, .names = end_names),
    ROW(away_test, "exit_code", ASSAY_JSON_INT, exit_code, .min = 0, .max = 255),
    ROW(away_test, "signal", ASSAY_JSON_INT, signal, .min = 0, .max = 127),
    ROW(away_test, "finished", ASSAY_JSON_BOOL, finished),
    ROW(away_test, "warm", ASSAY_JSON_BOOL, warm),
    ROW(away_test, "cpu_us", ASSAY_JSON_INT, cpu_us, .min = 0, .max = COUNT_MAX),
    ROW(away_test, "cpu_user_us", ASSAY_JSON_INT, user_us, COUNTED),
    ROW(away_test, "cpu_system_us", ASSAY_JSON_INT, system_us, COUNTED),
    ROW(away_test, "wall_us", ASSAY_JSON_INT, wall_us, .min = 0, .max = COUNT_MAX),
    ROW(away_test, "memory_peak_bytes", ASSAY_JSON_INT, peak, COUNTED),
    ROW(away_test, "memory_own_bytes", ASSAY_JSON_INT, own, COUNTED),
    ROW(away_test, "max_rss_bytes", ASSAY_JSON_INT, max_rss, COUNTED),
    ROW(away_test, "oom_kills", ASSAY_JSON_INT, oom_kills, COUNTED),
    ROW(away_test, "voluntary_switches", ASSAY_JSON_INT, voluntary, COUNTED),
    ROW(away_test, "forced_switches", ASSAY_JSON_INT, forced, COUNTED),
    ROW(away_test, "precision", ASSAY_JSON_INT, precision, .min = 0, .max = 255),
    {.name = "part", .type = ASSAY_JSON_REAL, .offset = offsetof(struct away_test, part),
     .has_offset = offsetof(struct away_test, has_part), .min = 0, .max = 1},
    ROW(away_test, "reruns", ASSAY_JSON_INT, reruns, .min = 0, .max = 1000),
    ROW(away_test, "start_ms", ASSAY_JSON_INT, start_ms, UNTIL_A_DAY),
    ROW(away_test, "end_ms", ASSAY_JSON_INT, end_ms, UNTIL_A_DAY),
    ROW(away_test, "stdout", ASSAY_JSON_STRING, out, .flags = ASSAY_JSON_BASE64, .max = TEXT_MAX),
    ROW(away_test, "stdout_bytes", ASSAY_JSON_INT, out_bytes, .min = 0, .max = COUNT_MAX),
    ROW(away_test, "stderr", ASSAY_JSON_STRING, err, .flags = ASSAY_JSON_BASE64, .max = TEXT_MAX),
    ROW(away_test, "stderr_bytes", ASSAY_JSON_INT, err_bytes, .min = 0, .max = COUNT_MAX),
    ROW(away_test, "message", ASSAY_JSON_STRING, message, .max = 255),
    ROW(away_test, "judge_message", ASSAY_JSON_STRING, judge_message, .flags = ASSAY_JSON_BASE64, .max = TEXT_MAX),
    ROW(away_test, "team_message", ASSAY_JSON_STRING, team_message, .flags = ASSAY_JSON_BASE64, .max = TEXT_MAX),
    ROW(away_test, "transcript", ASSAY_JSON_STRING, transcript, .flags = ASSAY_JSON_BASE64, .max = TEXT_MAX),
    ANYTHING,
    END,
};
static const struct assay_json_field away_fields[] = {
    ROW(away_result, "submission_id", ASSAY_JSON_STRING, submission_id, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    ROW(away_result, "fence", ASSAY_JSON_INT, fence, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = COUNT_MAX),
    ROW(away_result, "verdict", ASSAY_JSON_ENUM, verdict, .flags = ASSAY_JSON_REQUIRED, .names = verdict_names),
    ROW(away_result, "mode", ASSAY_JSON_STRING, mode, .max = 31),
    ROW(away_result, "fault", ASSAY_JSON_STRING, fault, .max = 299),
    ROW(away_result, "alarm", ASSAY_JSON_BOOL, alarm),
    ROW(away_result, "environment", ASSAY_JSON_RAW, environment, .max = (double)AWAY_RECORD_MAX),
    ROW(away_result, "compiler_options", ASSAY_JSON_STRING, compiler_options, .max = ASSAY_OPTIONS_MAX * (ASSAY_OPTION_MAX + 1)),
    ROW(away_result, "build_output", ASSAY_JSON_STRING, build_output, .flags = ASSAY_JSON_BASE64, .max = TEXT_MAX),
    ROW(away_result, "build_cached", ASSAY_JSON_BOOL, build_cached),
    ROW(away_result, "build_ms", ASSAY_JSON_INT, build_ms, UNTIL_A_DAY),
    ROW(away_result, "build_cpu_us", ASSAY_JSON_INT, build_cpu_us, .min = 0, .max = COUNT_MAX),
    ROW(away_result, "build_start_ms", ASSAY_JSON_INT, build_start_ms, UNTIL_A_DAY),
    ROW(away_result, "build_end_ms", ASSAY_JSON_INT, build_end_ms, UNTIL_A_DAY),
    ROW(away_result, "started_ms", ASSAY_JSON_INT, started_ms, UNTIL_A_DAY),
    ROW(away_result, "total_ms", ASSAY_JSON_INT, total_ms, UNTIL_A_DAY),
    ROW(away_result, "time_limit_ms", ASSAY_JSON_INT, time_limit_ms, .min = 0, .max = COUNT_MAX),
    ROW(away_result, "hard_time_limit_ms", ASSAY_JSON_INT, hard_time_limit_ms, .min = 0, .max = COUNT_MAX),
    ROW(away_result, "wall_limit_ms", ASSAY_JSON_INT, wall_limit_ms, .min = 0, .max = COUNT_MAX),
    ROW(away_result, "memory_limit_bytes", ASSAY_JSON_INT, memory_limit_bytes, .min = 0, .max = COUNT_MAX),
    {.name = "tests",
     .type = ASSAY_JSON_ARRAY,
     .offset = offsetof(struct away_result, tests),
     .has_offset = -1,
     .max = ASSAY_SCRIPT_TESTS_MAX,
     .fields = test_fields,
     .elem_size = sizeof(struct away_test)},
    ANYTHING,
    END,
};

static int64_t since(int64_t at_ms, int64_t begin_ms)
{
    int64_t d = at_ms - begin_ms;
    return d < 0 ? 0 : d > 86400000 ? 86400000 : d;
}

static int64_t at_least(int64_t v, int64_t least)
{
    return v < least ? least : v;
}

static void test_write(struct assay_jw *w, const struct job *j, const struct test *t, size_t most)
{
    const struct assay_box_outcome *o = &t->outcome;
    assay_jw_object(w);
    assay_jw_kint(w, "number", t->def.number);
    assay_jw_kz(w, "verdict", verdict_names[t->verdict]);
    if (t->ran) {
        assay_jw_kbool(w, "ran", true);
        assay_jw_kz(w, "end", end_names[o->end]);
        assay_jw_kint(w, "exit_code", o->exit_code & 255);
        assay_jw_kint(w, "signal", o->signal & 127);
        assay_jw_kbool(w, "finished", o->finished);
        assay_jw_kbool(w, "warm", o->warm);
        assay_jw_kint(w, "cpu_us", at_least(o->cpu_us, 0));
        assay_jw_kint(w, "cpu_user_us", at_least(o->cpu_user_us, -1));
        assay_jw_kint(w, "cpu_system_us", at_least(o->cpu_system_us, -1));
        assay_jw_kint(w, "wall_us", at_least(o->wall_us, 0));
        assay_jw_kint(w, "memory_peak_bytes", at_least(o->memory_peak_bytes, -1));
        assay_jw_kint(w, "memory_own_bytes", at_least(o->memory_own_bytes, -1));
        assay_jw_kint(w, "max_rss_bytes", at_least(o->max_rss_bytes, -1));
        assay_jw_kint(w, "oom_kills", at_least(o->oom_kills, -1));
        assay_jw_kint(w, "voluntary_switches", at_least(o->voluntary_switches, -1));
        assay_jw_kint(w, "forced_switches", at_least(o->forced_switches, -1));
        assay_jw_kint(w, "precision", (int64_t)(o->precision & 255));
        assay_jw_kint(w, "reruns", t->reruns);
        if (!isnan(t->part))
            assay_jw_kreal(w, "part", t->part);
        assay_jw_kint(w, "start_ms", since(t->start_ms, j->leased_ms));
        assay_jw_kint(w, "end_ms", since(t->end_ms, j->leased_ms));
        text_write(w, "stdout", t->out, most);
        assay_jw_kint(w, "stdout_bytes", at_least(o->stdout_bytes, (int64_t)t->out.n));
        text_write(w, "stderr", t->err, most);
        assay_jw_kint(w, "stderr_bytes", at_least(o->stderr_bytes, (int64_t)t->err.n));
        if (o->message[0] != '\0')
            assay_jw_kz(w, "message", o->message);
        if (t->judge_message.n != 0)
            text_write(w, "judge_message", t->judge_message, MESSAGE_MAX);
        if (t->team_message.n != 0)
            text_write(w, "team_message", t->team_message, MESSAGE_MAX);
        if (t->transcript.n != 0)
            text_write(w, "transcript", t->transcript, most);
    }
    assay_jw_end(w);
}

/* How many bytes of each output may go, so that all of them together are not too many. */
static size_t most_of_each(const struct job *j)
{
    size_t most = STORED_MAX;
    for (;;) {
        size_t sum = 0;
        for (size_t i = 0; i < j->n_tests; i++) {
            const struct test *t = &j->test[i];
            sum += (t->out.n < most ? t->out.n : most) + (t->err.n < most ? t->err.n : most) +
                   (t->transcript.n < most ? t->transcript.n : most);
        }
        if (sum <= AWAY_TEXTS_MAX || most == 0)
            return most;
        most /= 2;
    }
}

int away_result_encode(const struct job *j, int64_t now_ms, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    size_t most = most_of_each(j);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "submission_id", j->away_id);
    assay_jw_kint(w, "fence", j->away_fence);
    assay_jw_kz(w, "verdict", verdict_names[j->verdict]);
    assay_jw_kz(w, "mode", j->mode_text);
    assay_jw_kz(w, "fault", j->fault);
    if (j->alarm)
        assay_jw_kbool(w, "alarm", true);
    if (j->environment_body.n != 0 && j->environment_body.n <= AWAY_RECORD_MAX)
        assay_jw_kraw(w, "environment", j->environment_body);
    struct assay_str options;
    int rc = assay_options_join(&j->options, arena, &options, err);
    if (rc < 0)
        return rc;
    assay_jw_kstr(w, "compiler_options", options);
    text_write(w, "build_output", j->build_output, STORED_MAX);
    assay_jw_kbool(w, "build_cached", j->cached);
    assay_jw_kint(w, "build_ms", since(job_build_ms(j), 0));
    assay_jw_kint(w, "build_cpu_us", at_least(j->build.cpu_us, 0));
    if (j->build_start_ms != 0) {
        assay_jw_kint(w, "build_start_ms", since(j->build_start_ms, j->leased_ms));
        assay_jw_kint(w, "build_end_ms", since(j->build_end_ms, j->leased_ms));
    }
    if (j->started_ms != 0)
        assay_jw_kint(w, "started_ms", since(j->started_ms, j->leased_ms));
    assay_jw_kint(w, "total_ms", since(now_ms, j->leased_ms));
    assay_jw_kint(w, "time_limit_ms", at_least(j->limits.cpu_ms, 0));
    assay_jw_kint(w, "hard_time_limit_ms", at_least(j->limits.cpu_hard_ms, 0));
    assay_jw_kint(w, "wall_limit_ms", at_least(j->limits.wall_ms, 0));
    assay_jw_kint(w, "memory_limit_bytes", at_least(j->limits.memory_bytes, 0));
    assay_jw_key(w, "tests");
    assay_jw_array(w);
    for (size_t i = 0; i < j->n_tests; i++)
        test_write(w, j, &j->test[i], most);
    assay_jw_end(w);
    assay_jw_end(w);
    return into_arena(w, arena, out, err);
}

int away_result_decode(struct assay_str json, struct assay_arena *arena, struct away_result *out, struct assay_err *err)
{
    memset(out, 0, sizeof *out);
    return assay_json_decode(json, away_fields, out, NULL, arena, NULL, err);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

const struct assay_json_field lease_fields[] = {
    ROW(lease_body, "languages", ASSAY_JSON_STRINGS, languages, .max = 64),
    ROW(lease_body, "max", ASSAY_JSON_INT, max, .min = 1, .max = 16),
    ROW(lease_body, "wait_s", ASSAY_JSON_INT, wait_s, .min = 0, .max = 60),
    END,
};

static const struct assay_json_field returned_fields[] = {
    {.name = "reason", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .has_offset = -1, .min = 1, .max = 1000,
     .offset = offsetof(struct result_body, returned.reason) - offsetof(struct result_body, returned)},
    {.name = "charge", .type = ASSAY_JSON_BOOL, .has_offset = -1,
     .offset = offsetof(struct result_body, returned.charge) - offsetof(struct result_body, returned)},
    END,
};
const struct assay_json_field result_fields[] = {
    ROW(result_body, "submission_id", ASSAY_JSON_STRING, submission_id, .min = 1, .max = 64),
    ROW(result_body, "task_id", ASSAY_JSON_STRING, task_id, .min = 1, .max = 64),
    ROW(result_body, "id", ASSAY_JSON_STRING, id, .min = 1, .max = 64),
    ROW(result_body, "fence", ASSAY_JSON_INT, fence, .min = 1, .max = COUNT_MAX),
    ROW(result_body, "result", ASSAY_JSON_RAW, result, .max = (double)ASSAY_SCRIPT_MAX),
    {.name = "returned", .type = ASSAY_JSON_OBJECT, .offset = offsetof(struct result_body, returned),
     .has_offset = offsetof(struct result_body, has_returned), .fields = returned_fields},
    END,
};
