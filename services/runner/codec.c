/* JSON of the runner: language definitions in; results, summaries and progress out. */
#include "local.h"

#define ROW(st, name_, type_, member, ...)                                                                             \
    {                                                                                                                  \
        .name = (name_), .type = (type_), .offset = offsetof(struct st, member), .has_offset = -1, __VA_ARGS__         \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }
#define IN(member) (offsetof(struct language_file, member))
/* rows of a nested object: offsets count from the object */
#define SUB(name_, type_, object, member, ...)                                                                         \
    {                                                                                                                  \
        .name = (name_), .type = (type_), .offset = IN(object.member) - IN(object), .has_offset = -1, __VA_ARGS__      \
    }

static const struct assay_json_field build_fields[] = {
    SUB("argv", ASSAY_JSON_STRINGS, build, argv, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    SUB("env", ASSAY_JSON_STRINGS, build, env, .max = 64),
    SUB("artefacts", ASSAY_JSON_STRINGS, build, artefacts, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    SUB("processes", ASSAY_JSON_INT, build, processes, .min = 1, .max = 4096),
    SUB("scratch_files", ASSAY_JSON_INT, build, scratch_files, .min = 1, .max = 1000000),
    END,
};
static const struct assay_json_field run_fields[] = {
    SUB("argv", ASSAY_JSON_STRINGS, run, argv, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    SUB("env", ASSAY_JSON_STRINGS, run, env, .max = 64),
    SUB("processes", ASSAY_JSON_INT, run, processes, .min = 1, .max = 4096),
    SUB("open_files", ASSAY_JSON_INT, run, open_files, .min = 16, .max = 4096),
    END,
};
static const struct assay_json_field warm_fields[] = {
    SUB("argv", ASSAY_JSON_STRINGS, warm, argv, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    SUB("env", ASSAY_JSON_STRINGS, warm, env, .max = 64),
    SUB("files", ASSAY_JSON_MAP, warm, files, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 16),
    SUB("artefacts", ASSAY_JSON_STRINGS, warm, artefacts, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    SUB("processes", ASSAY_JSON_INT, warm, processes, .min = 1, .max = 4096),
    SUB("scratch_files", ASSAY_JSON_INT, warm, scratch_files, .min = 1, .max = 1000000),
    END,
};
static const struct assay_json_field memory_error_fields[] = {
    SUB("stderr", ASSAY_JSON_STRINGS, memory_error, oom, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 16),
    END,
};
static const struct assay_json_field load_error_fields[] = {
    SUB("exit_code", ASSAY_JSON_INT, load_error, exit_code, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 255),
    SUB("stderr_prefix", ASSAY_JSON_STRING, load_error, stderr_prefix, .flags = ASSAY_JSON_REQUIRED, .min = 0, .max = 200),
    SUB("last_line", ASSAY_JSON_STRINGS, load_error, last_line, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 16),
    SUB("check", ASSAY_JSON_STRINGS, load_error, check, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    END,
};
static const struct assay_json_field heap_fields[] = {
    SUB("percent", ASSAY_JSON_INT, heap, percent, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 100),
    SUB("reserve_mb", ASSAY_JSON_INT, heap, reserve_mb, .min = 0, .max = 4096),
    END,
};
static const struct assay_json_field factor_fields[] = {
    SUB("time", ASSAY_JSON_REAL, factors, time, .min = 0.1, .max = 100),
    SUB("memory", ASSAY_JSON_REAL, factors, memory, .min = 0.1, .max = 100),
    SUB("memory_extra_mb", ASSAY_JSON_INT, factors, memory_extra_mb, .min = 0, .max = 65536),
    END,
};
static const char *const warm_starts[] = {"none", "cpython", NULL};
static const struct assay_json_field sample_fields[] = {
    SUB("source", ASSAY_JSON_STRING, sample, source, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 65536),
    SUB("input", ASSAY_JSON_STRING, sample, input, .min = 0, .max = 65536),
    SUB("output", ASSAY_JSON_STRING, sample, output, .flags = ASSAY_JSON_REQUIRED, .min = 0, .max = 65536),
    END,
};

const struct assay_json_field language_fields[] = {
    ROW(language_file, "name", ASSAY_JSON_STRING, name, .flags = ASSAY_JSON_REQUIRED | ASSAY_JSON_SLUG, .min = 1, .max = 64),
    ROW(language_file, "title", ASSAY_JSON_STRING, title, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 100),
    ROW(language_file, "aliases", ASSAY_JSON_STRINGS, aliases, .max = 32),
    ROW(language_file, "source", ASSAY_JSON_STRING, source, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 100),
    ROW(language_file, "unit", ASSAY_JSON_STRING, unit, .min = 1, .max = 100),
    ROW(language_file, "extensions", ASSAY_JSON_STRINGS, extensions, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 16),
    ROW(language_file, "tools", ASSAY_JSON_MAP, tools, .max = 16),
    ROW(language_file, "options", ASSAY_JSON_MAP, options, .max = OPTIONS_GROUPS_MAX),
    ROW(language_file, "image", ASSAY_JSON_STRING, image, .min = 1, .max = 255),
    ROW(language_file, "run_image", ASSAY_JSON_STRING, run_image, .min = 1, .max = 255),
    ROW(language_file, "version", ASSAY_JSON_STRINGS, version, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 16),
    ROW(language_file, "warm_start", ASSAY_JSON_ENUM, warm_start, .names = warm_starts),
    {.name = "build",
     .type = ASSAY_JSON_OBJECT,
     .offset = IN(build),
     .has_offset = offsetof(struct language_file, has_build),
     .fields = build_fields},
    {.name = "warm",
     .type = ASSAY_JSON_OBJECT,
     .offset = IN(warm),
     .has_offset = offsetof(struct language_file, has_warm),
     .fields = warm_fields},
    {.name = "run", .type = ASSAY_JSON_OBJECT, .flags = ASSAY_JSON_REQUIRED, .offset = IN(run), .has_offset = -1, .fields = run_fields},
    {.name = "memory_error", .type = ASSAY_JSON_OBJECT, .offset = IN(memory_error), .has_offset = -1, .fields = memory_error_fields},
    {.name = "load_error", .type = ASSAY_JSON_OBJECT, .offset = IN(load_error), .has_offset = -1, .fields = load_error_fields},
    {.name = "heap", .type = ASSAY_JSON_OBJECT, .offset = IN(heap), .has_offset = -1, .fields = heap_fields},
    {.name = "factors", .type = ASSAY_JSON_OBJECT, .offset = IN(factors), .has_offset = -1, .fields = factor_fields},
    {.name = "sample",
     .type = ASSAY_JSON_OBJECT,
     .flags = ASSAY_JSON_REQUIRED,
     .offset = IN(sample),
     .has_offset = -1,
     .fields = sample_fields},
    END,
};

static const struct assay_json_field place_fields[] = {
    ROW(place, "driver", ASSAY_JSON_STRING, driver, .min = 0, .max = 64),
    ROW(place, "mode", ASSAY_JSON_STRING, mode, .min = 0, .max = 64),
    ROW(place, "image", ASSAY_JSON_STRING, image, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = 512),
    ROW(place, "digest", ASSAY_JSON_STRING, digest, .flags = ASSAY_JSON_NULLABLE, .min = 0, .max = 512),
    ROW(place, "cgroup", ASSAY_JSON_INT, cgroup, .min = 0, .max = 2),
    ROW(place, "notes", ASSAY_JSON_STRINGS, notes, .max = 64),
    END,
};

int place_decode(struct assay_str json, struct assay_arena *arena, struct place *out, struct assay_err *err)
{
    memset(out, 0, sizeof *out);
    return assay_json_decode(json, place_fields, out, NULL, arena, NULL, err);
}

struct files_body {
    struct assay_json_map files;
};

int files_decode(struct assay_str json, struct assay_arena *arena, struct assay_json_map *out, struct assay_err *err)
{
    static const struct assay_json_field fields[] = {
        ROW(files_body, "files", ASSAY_JSON_MAP, files, .flags = ASSAY_JSON_REQUIRED | ASSAY_JSON_NUL_OK, .min = 1, .max = 64),
        END,
    };
    /* the decoder's tables describe objects with known members: wrap the map into one */
    struct assay_buf buf = ASSAY_BUF_INIT;
    assay_buf_puts(&buf, "{\"files\":");
    assay_buf_str(&buf, json);
    assay_buf_putc(&buf, '}');
    struct assay_str whole = assay_arena_take(arena, &buf);
    assay_buf_free(&buf);
    if (whole.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    struct files_body body;
    memset(&body, 0, sizeof body);
    int rc = assay_json_decode(whole, fields, &body, NULL, arena, NULL, err);
    if (rc >= 0)
        *out = body.files;
    return rc;
}

static int finish_into_arena(struct assay_jw *w, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    struct assay_buf buf = ASSAY_BUF_INIT;
    int rc = assay_jw_finish(w, &buf, err);
    if (rc >= 0)
        *out = assay_arena_take(arena, &buf);
    if (rc >= 0 && out->p == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_buf_free(&buf);
    return rc;
}

/* ---- where a result was made ------------------------------------------------------------------------ */

/* A stage's command as a record has it: tools and limits in their places, and {sources} as it is, since the names of
 * a submission's files would make each record another one. */
static int command_write(struct assay_jw *w, const struct job *j, enum side side, const char *key, const struct assay_strs *in,
                         int64_t memory, struct assay_arena *arena, struct assay_err *err)
{
    int rc = ASSAY_OK;
    assay_jw_key(w, key);
    assay_jw_array(w);
    for (size_t i = 0; rc >= 0 && i < in->n; i++) {
        struct assay_strs one = {&in->items[i], 1}, out = {NULL, 0};
        if (assay_str_is(in->items[i], "{sources}")) {
            assay_jw_str(w, in->items[i]);
            continue;
        }
        rc = stage_expand(j->language, side, &one, NULL, 0, &j->options, memory, arena, &out, err);
        for (size_t k = 0; rc >= 0 && k < out.n; k++)
            assay_jw_str(w, out.items[k]);
    }
    assay_jw_end(w);
    return rc;
}

static int side_write(struct assay_jw *w, const struct job *j, enum side side, struct assay_arena *arena, struct assay_err *err)
{
    const struct stage *stage = side == SIDE_BUILD ? &j->language->build : &j->language->run;
    int64_t memory = side == SIDE_BUILD ? j->runner->build_memory : j->limits.memory_bytes;
    assay_jw_object(w);
    assay_jw_kraw(w, "place", j->stood[side].n != 0 ? j->stood[side] : ASSAY_STR("null"));
    int rc = command_write(w, j, side, "argv", &stage->argv, memory, arena, err);
    if (rc >= 0)
        rc = command_write(w, j, side, "env", &stage->env, memory, arena, err);
    assay_jw_end(w);
    return rc;
}

int environment_encode(const struct job *j, struct assay_buf *out, struct assay_err *err)
{
    struct language *l = j->language;
    char version[sizeof l->version_text];
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (arena == NULL || w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    pthread_mutex_lock(&l->lock);
    memcpy(version, l->version_text, sizeof version);
    pthread_mutex_unlock(&l->lock);
    int rc = ASSAY_OK;
    assay_jw_object(w);
    assay_jw_kstr(w, "language", l->name);
    assay_jw_kz(w, "toolchain", version);
    assay_jw_key(w, "build");
    if (l->builds)
        rc = side_write(w, j, SIDE_BUILD, arena, err);
    else
        assay_jw_null(w);
    if (rc < 0)
        return rc;
    assay_jw_key(w, "run");
    if (j->stood[SIDE_RUN].n != 0)
        rc = side_write(w, j, SIDE_RUN, arena, err);
    else
        assay_jw_null(w); /* its build failed: nothing was run */
    if (rc < 0)
        return rc;
    assay_jw_kz(w, "kernel", j->runner->kernel);
    assay_jw_kz(w, "cpu_model", j->runner->cpu_model);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

/* ---- summary and progress -------------------------------------------------------------------------- */

#define SPANS_MAX 200 /* of tests; the rest are counted, so that a summary stays small */

static void span(struct assay_jw *w, const char *name, const char *parent, int64_t from, int64_t to)
{
    assay_jw_object(w);
    assay_jw_kz(w, "name", name);
    if (parent != NULL)
        assay_jw_kz(w, "parent", parent);
    assay_jw_kint(w, "start_ms", from);
    assay_jw_kint(w, "end_ms", to);
}

static void spans(struct assay_jw *w, const struct job *j)
{
    int64_t end = j->started_ms;
    if (j->build_end_ms > end)
        end = j->build_end_ms;
    for (size_t i = 0; i < j->n_tests; i++) {
        if (j->test[i].end_ms > end)
            end = j->test[i].end_ms;
    }
    if (end < j->prepared_ms)
        end = j->prepared_ms;
    assay_jw_array(w);
    span(w, "submission", NULL, j->lease.created_ms, end);
    assay_jw_end(w);
    span(w, "queue", "submission", j->lease.created_ms, j->leased_ms);
    assay_jw_end(w);
    span(w, "prepare", "submission", j->leased_ms, j->prepared_ms);
    assay_jw_end(w);
    if (j->started_ms > j->prepared_ms) {
        span(w, "wait", "submission", j->prepared_ms, j->started_ms);
        assay_jw_end(w);
    }
    if (j->build_start_ms != 0) {
        span(w, "build", "submission", j->build_start_ms, j->build_end_ms);
        assay_jw_key(w, "attrs");
        assay_jw_object(w);
        assay_jw_kint(w, "cpu_ms", j->build.cpu_us / 1000);
        assay_jw_end(w);
        assay_jw_end(w);
    }
    /* a hidden test's verdict is not told by the events either */
    bool tell = test_sight(j->feedback, false, false).verdict;
    for (size_t i = 0; i < j->n_tests && i < SPANS_MAX; i++) {
        const struct test *t = &j->test[i];
        if (!t->ran)
            continue;
        char name[32];
        snprintf(name, sizeof name, "test %lld", (long long)t->def.number);
        span(w, name, "submission", t->start_ms, t->end_ms);
        assay_jw_key(w, "attrs");
        assay_jw_object(w);
        if (tell)
            assay_jw_kz(w, "verdict", verdict_name(t->verdict));
        assay_jw_kint(w, "cpu_ms", t->outcome.cpu_us / 1000);
        assay_jw_end(w);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

int groups_encode(const struct job *j, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    *out = ASSAY_STR("");
    if (j->n_groups == 0)
        return ASSAY_OK;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_array(w);
    for (size_t i = 0; i < j->n_groups; i++) {
        const struct group *g = &j->group[i];
        assay_jw_object(w);
        assay_jw_kstr(w, "name", g->name);
        assay_jw_kz(w, "verdict", verdict_name(j->verdict == VERDICT_BF ? VERDICT_NONE : g->verdict));
        assay_jw_kreal(w, "points", g->points);
        assay_jw_kreal(w, "points_awarded", g->awarded);
        assay_jw_kint(w, "tests_passed", (int64_t)g->passed);
        assay_jw_kint(w, "tests_total", (int64_t)g->tests);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    return finish_into_arena(w, arena, out, err);
}

int summary_encode(const struct job *j, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    int64_t passed = 0, ran = 0, cpu = 0, wall = 0, peak = 0;
    for (size_t i = 0; i < j->n_tests; i++) {
        const struct test *t = &j->test[i];
        passed += t->verdict == VERDICT_OK;
        ran += t->ran;
        cpu += t->outcome.cpu_us;
        wall += t->outcome.wall_us;
        if (t->outcome.memory_peak_bytes > peak)
            peak = t->outcome.memory_peak_bytes;
    }
    struct assay_str groups;
    int rc = groups_encode(j, arena, &groups, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kreal(w, "points", j->points.all);
    assay_jw_kreal(w, "points_awarded", j->points.awarded);
    if (groups.n != 0)
        assay_jw_kraw(w, "groups", groups);
    assay_jw_kint(w, "tests", (int64_t)j->n_tests);
    assay_jw_kint(w, "tests_run", ran);
    assay_jw_kint(w, "tests_passed", passed);
    assay_jw_kint(w, "cpu_ms", cpu / 1000);
    assay_jw_kint(w, "wall_ms", wall / 1000);
    assay_jw_kint(w, "memory_peak_bytes", peak);
    assay_jw_kint(w, "queue_ms", j->leased_ms > j->lease.created_ms ? j->leased_ms - j->lease.created_ms : 0);
    assay_jw_kint(w, "build_ms", job_build_ms(j));
    if (j->lease.traceparent.n != 0)
        assay_jw_kstr(w, "traceparent", j->lease.traceparent);
    assay_jw_key(w, "spans");
    spans(w, j);
    assay_jw_end(w);
    return finish_into_arena(w, arena, out, err);
}

int test_event_encode(const struct job *j, const struct test *t, struct assay_arena *arena, struct assay_str *out,
                      struct assay_err *err)
{
    (void)j;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kint(w, "number", t->def.number);
    assay_jw_kz(w, "verdict", verdict_name(t->verdict));
    assay_jw_kint(w, "cpu_ms", t->outcome.cpu_us / 1000);
    assay_jw_kint(w, "wall_ms", t->outcome.wall_us / 1000);
    assay_jw_end(w);
    return finish_into_arena(w, arena, out, err);
}

int alarm_encode(struct assay_str reason, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "reason", reason);
    assay_jw_end(w);
    return finish_into_arena(w, arena, out, err);
}

int running_event_encode(const struct job *j, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kint(w, "attempt", j->lease.attempt);
    assay_jw_kint(w, "started_ms", j->started_ms);
    assay_jw_end(w);
    return finish_into_arena(w, arena, out, err);
}

/* ---- results ------------------------------------------------------------------------------------------ */

static void knull_or_str(struct assay_jw *w, const char *key, struct assay_str s)
{
    if (s.n != 0)
        assay_jw_kstr(w, key, s);
    else
        assay_jw_kz(w, key, NULL);
}

/* Bytes as text, with U+FFFD for what is not UTF-8; and then also as they are. */
static void bytes(struct assay_jw *w, const char *key, const char *key64, struct assay_str s, int64_t produced)
{
    assay_jw_kstr(w, key, s);
    /* a cut in the middle of a character is not worth the bytes twice */
    if (!assay_utf8_valid(s)) {
        struct assay_buf b = ASSAY_BUF_INIT;
        assay_buf_base64(&b, s);
        assay_jw_kstr(w, key64, assay_buf_view(&b));
        assay_buf_free(&b);
    }
    (void)produced;
}

/* -1: it could not be measured, or was not by the version that ran it. */
static void kknown(struct assay_jw *w, const char *key, int64_t v)
{
    assay_jw_key(w, key);
    if (v < 0)
        assay_jw_null(w);
    else
        assay_jw_int(w, v);
}

/* What a run took, each figure under its own name; docs/measurement.md says where each comes from. */
static void figures(struct assay_jw *w, const struct result *r, const struct result_test *t)
{
    static const char *const over[] = {[OVER_NOTHING] = NULL, [OVER_CPU] = "cpu", [OVER_WALL] = "wall"};
    assay_jw_kint(w, "cpu_ms", t->cpu_ms);
    assay_jw_kint(w, "cpu_us", t->cpu_us);
    kknown(w, "cpu_user_us", t->user_us);
    kknown(w, "cpu_system_us", t->system_us);
    assay_jw_kint(w, "wall_ms", t->wall_ms);
    assay_jw_kint(w, "wall_us", t->wall_us);
    if (r->time_limit_ms > 0)
        assay_jw_kreal(w, "time_ratio", time_ratio(t->cpu_us, r->time_limit_ms));
    assay_jw_kz(w, "over_limit", t->over_limit > OVER_NOTHING && t->over_limit <= OVER_WALL ? over[t->over_limit] : NULL);
    assay_jw_kbool(w, "finished", t->finished);
    assay_jw_kint(w, "reruns", t->reruns);
    assay_jw_kint(w, "memory_peak_bytes", t->memory_peak);
    kknown(w, "memory_own_bytes", t->memory_own);
    kknown(w, "max_rss_bytes", t->max_rss);
    assay_jw_kbool(w, "oom_killed", t->oom_kills > 0);
    kknown(w, "voluntary_switches", t->voluntary);
    kknown(w, "forced_switches", t->forced);
}

static void test_write(struct assay_jw *w, const struct result *r, const struct result_test *t)
{
    struct sight sight = test_sight((int)r->feedback, r->all, t->sample);
    assay_jw_object(w);
    assay_jw_kint(w, "number", t->number);
    if (t->name.n != 0 && sight.details)
        assay_jw_kstr(w, "name", t->name);
    assay_jw_kbool(w, "sample", t->sample);
    if (t->group.n != 0)
        assay_jw_kstr(w, "group", t->group);
    assay_jw_kstr(w, "verdict", t->verdict);
    if (sight.details && t->ran) {
        assay_jw_kint(w, "exit_code", t->exit_code);
        assay_jw_kint(w, "signal", t->signal);
        figures(w, r, t);
        assay_jw_kreal(w, "points", t->points);
        assay_jw_kreal(w, "points_awarded", t->points * (t->part >= 0 ? t->part : assay_str_is(t->verdict, "OK") ? 1 : 0));
        bytes(w, "stdout", "stdout_base64", t->out, t->stdout_bytes);
        assay_jw_kint(w, "stdout_bytes", t->stdout_bytes);
        assay_jw_kbool(w, "stdout_truncated", t->stdout_bytes > (int64_t)t->out.n);
        bytes(w, "stderr", "stderr_base64", t->err, t->stderr_bytes);
        assay_jw_kint(w, "stderr_bytes", t->stderr_bytes);
        assay_jw_kbool(w, "stderr_truncated", t->stderr_bytes > (int64_t)t->err.n);
        if (t->message.n != 0)
            assay_jw_kstr(w, "message", t->message);
        if (t->team_message.n != 0)
            assay_jw_kstr(w, "team_message", t->team_message);
        if (t->transcript.n != 0)
            bytes(w, "transcript", "transcript_base64", t->transcript, (int64_t)t->transcript.n);
    }
    if (t->judge_message.n != 0 && r->all) /* it may say what the program should have printed */
        assay_jw_kstr(w, "judge_message", t->judge_message);
    assay_jw_end(w);
}

void result_write(struct assay_jw *w, const struct result *r, const struct result_test *test, size_t n, bool whole)
{
    int feedback = r->all ? ASSAY_FEEDBACK_FULL : (int)r->feedback;
    assay_jw_object(w);
    assay_jw_kstr(w, "submission_id", r->submission_id);
    knull_or_str(w, "benchmark_id", r->benchmark_id);
    knull_or_str(w, "problem_id", r->problem_id);
    knull_or_str(w, "agent_id", r->agent_id);
    assay_jw_kstr(w, "owner_id", r->owner_id);
    knull_or_str(w, "language", r->language);
    assay_jw_kz(w, "feedback", assay_feedback_names[feedback]);
    assay_jw_ktime(w, "finished_at", r->finished_ms);
    if (feedback < ASSAY_FEEDBACK_VERDICT) {
        assay_jw_kz(w, "verdict", NULL);
        assay_jw_kz(w, "score", NULL);
        assay_jw_end(w);
        return;
    }
    assay_jw_kstr(w, "verdict", r->verdict);
    assay_jw_key(w, "score");
    if (r->scored)
        assay_jw_real(w, r->score);
    else
        assay_jw_null(w);
    if (r->scored && r->points >= 0) {
        assay_jw_kreal(w, "points", r->points);
        assay_jw_kreal(w, "points_awarded", r->points_awarded);
    }
    if (feedback >= ASSAY_FEEDBACK_SAMPLES && r->groups.n != 0)
        assay_jw_kraw(w, "groups", r->groups);
    if (feedback >= ASSAY_FEEDBACK_FIRST_FAILURE && r->first_number > 0) {
        assay_jw_key(w, "first_failure");
        assay_jw_object(w);
        assay_jw_kint(w, "number", r->first_number);
        assay_jw_kstr(w, "verdict", r->first_verdict);
        assay_jw_end(w);
    }
    if (feedback >= ASSAY_FEEDBACK_SAMPLES) {
        assay_jw_kint(w, "tests_passed", r->passed);
        assay_jw_kint(w, "tests_total", r->total);
    }
    if (feedback >= ASSAY_FEEDBACK_FULL) {
        assay_jw_kint(w, "cpu_ms", r->cpu_ms);
        assay_jw_kint(w, "cpu_us", r->cpu_us);
        assay_jw_kint(w, "wall_ms", r->wall_ms);
        assay_jw_kint(w, "memory_peak_bytes", r->memory_peak);
        kknown(w, "memory_own_bytes", r->memory_own);
        if (r->time_limit_ms > 0) {
            assay_jw_key(w, "limits");
            assay_jw_object(w);
            assay_jw_kint(w, "time_limit_ms", r->time_limit_ms);
            assay_jw_kint(w, "hard_time_limit_ms", r->hard_time_limit_ms);
            assay_jw_kint(w, "wall_limit_ms", r->wall_limit_ms);
            assay_jw_kint(w, "memory_limit_bytes", r->memory_limit_bytes);
            assay_jw_end(w);
        }
        assay_jw_key(w, "sandbox");
        assay_jw_object(w);
        assay_jw_kstr(w, "mode", r->mode);
        assay_jw_kbool(w, "cpu_exact", (r->precision & 1) != 0);
        assay_jw_kbool(w, "memory_exact", (r->precision & 2) != 0);
        assay_jw_kbool(w, "processes_exact", (r->precision & 4) != 0);
        assay_jw_kbool(w, "pinned", (r->precision & 8) != 0);
        assay_jw_kbool(w, "warm", (r->precision & 16) != 0);
        assay_jw_end(w);
        if (r->fault.n != 0 && r->all)
            assay_jw_kstr(w, "fault", r->fault);
    }
    if (whole) {
        assay_options_write(w, "compiler_options", r->compiler_options);
        knull_or_str(w, "runner", r->runner);
        assay_jw_kraw(w, "environment", r->environment.n != 0 ? r->environment : ASSAY_STR("null"));
        assay_jw_kint(w, "build_ms", r->build_ms);
        /* to others it would tell that somebody has submitted the same before */
        if (r->staff)
            assay_jw_kbool(w, "build_cached", r->build_cached != 0);
        /* a compiler sees the source and no test */
        bytes(w, "build_output", "build_output_base64", r->build_output, (int64_t)r->build_output.n);
        if (feedback >= ASSAY_FEEDBACK_SAMPLES) {
            assay_jw_key(w, "tests");
            assay_jw_array(w);
            /* after a failed build there was nothing to run */
            for (size_t i = 0; i < n && !assay_str_is(r->verdict, "BF"); i++)
                test_write(w, r, &test[i]);
            assay_jw_end(w);
        }
    }
    assay_jw_end(w);
}
