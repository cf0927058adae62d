/*
 * From a lease to a job that can run: manifest, language, source, limits, test data.  On worker threads;
 * the job belongs to the one that prepares it.
 */
#include "filter.h"
#include "project.h"
#include "remote.h"

#include <math.h>
#include <stdio.h>

#define CHECKER_OUTPUT ((int64_t)1 << 20)
#define LOAD_MAX ((size_t)32 << 20) /* test data of one job in memory at once, unless a single test is larger */

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

void job_free(struct job *j)
{
    if (j == NULL)
        return;
    assay_buf_free(&j->out);
    assay_buf_free(&j->err);
    assay_buf_free(&j->kept.encoding);
    assay_buf_free(&j->carry);
    if (j->checker != NULL && !j->checker->entered)
        job_free(j->checker);
    assay_arena_free(j->test_arena);
    assay_arena_free(j->pass_arena);
    talk_free(j->talk);
    struct assay_arena *arena = j->arena;
    free(j->mail);
    free(j);
    assay_arena_free(arena);
}

struct job *job_new(struct runner *r)
{
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return NULL;
    j->runner = r;
    j->arena = assay_arena_new(0);
    j->mail = calloc(1, LOOP_MAIL_SIZE);
    if (j->arena == NULL || j->mail == NULL) {
        job_free(j);
        return NULL;
    }
    return j;
}

/* A verdict that needs no box. */
static int settle(struct job *j, enum verdict v, const char *text)
{
    j->verdict = v;
    j->stage = STAGE_FINISH;
    if (v == VERDICT_IE)
        snprintf(j->fault, sizeof j->fault, "%s", text);
    else
        j->build_output = assay_arena_str(j->arena, assay_str(text));
    return ASSAY_OK;
}

static int read_bytes(struct runner *r, struct job *j, struct assay_str bytes, struct assay_str ref, size_t max,
                      struct assay_str *out, struct assay_err *err)
{
    if (ref.n == 0) {
        *out = bytes;
        return ASSAY_OK;
    }
    return assay_blob_get(r->host->blobs, ref, max, j->arena, out, err);
}

static bool mentions(const struct assay_strs *argv, const char *word)
{
    for (size_t i = 0; i < argv->n; i++) {
        if (memmem(argv->items[i].p, argv->items[i].n, word, strlen(word)) != NULL)
            return true;
    }
    return false;
}

/* The files of the program; settles the job as BF when they cannot be one. harness: the main program, when what was
 * submitted is to stand beside it (ASSAY_JUDGE_FUNCTION), else NULL. */
static int program_files(struct job *j, struct assay_str source, const struct assay_json_map *map, const struct assay_str *harness,
                         struct assay_err *err)
{
    const struct language *l = j->language;
    bool files = map->n != 0;
    size_t n = files ? map->n : 1;
    struct assay_str name = harness != NULL ? l->unit : l->source; /* the file that must be there */
    j->file = assay_arena_array(j->arena, n + 1, sizeof *j->file);
    j->path = assay_arena_array(j->arena, n + 1, sizeof *j->path);
    if (j->file == NULL || j->path == NULL)
        return no_memory(err);
    bool main_file = !files, taken = false;
    for (size_t i = 0; i < n; i++) {
        j->path[i] = files ? map->items[i].key : name;
        j->file[i] = (struct assay_box_file){j->path[i], files ? map->items[i].value : source, 0644};
        main_file = main_file || assay_str_eq(j->path[i], name);
        taken = taken || (harness != NULL && assay_str_eq(j->path[i], l->source));
    }
    j->n_files = n;
    if (harness != NULL) {
        char text[300];
        j->path[n] = l->source;
        j->file[n] = (struct assay_box_file){l->source, *harness, 0644};
        j->n_files++;
        if (main_file && !taken)
            return ASSAY_OK;
        snprintf(text, sizeof text, "this problem has the main program, %.*s; your functions go into %.*s\n", ASSAY_FMT(l->source),
                 ASSAY_FMT(name));
        return settle(j, VERDICT_BF, text);
    }
    const struct assay_strs *argv = l->builds ? &l->build.argv : &l->run.argv;
    if (!main_file && mentions(argv, "{source}")) {
        char text[200];
        snprintf(text, sizeof text, "the files need one named %.*s: that is where the program begins\n", ASSAY_FMT(l->source));
        return settle(j, VERDICT_BF, text);
    }
    return ASSAY_OK;
}

static int64_t or_default(int64_t v, int64_t dflt)
{
    return v > 0 ? v : dflt;
}

/* A limit times a language's factor; factor 1 leaves it exactly as it is. */
static int64_t scaled(int64_t limit, double factor)
{
    double v = (double)limit * factor;
    return v < 1 ? 1 : v > 9e15 ? (int64_t)9e15 : (int64_t)v;
}

static void limits_of(struct runner *r, struct job *j, const struct assay_manifest *m)
{
    const struct language *l = j->language;
    struct assay_box_limits *b = &j->limits;
    double time = l != NULL ? l->time_factor : 1;
    b->cpu_ms = scaled(or_default(m->time_limit_ms, r->time_limit_ms), time);
    b->cpu_hard_ms = m->hard_time_limit_ms > 0 ? scaled(m->hard_time_limit_ms, time) : assay_hard_time_limit(b->cpu_ms);
    b->cpu_hard_ms = b->cpu_hard_ms > b->cpu_ms ? b->cpu_hard_ms : b->cpu_ms;
    b->wall_ms = m->wall_limit_ms > 0 ? scaled(m->wall_limit_ms, time) : b->cpu_ms * 2 + 1000;
    b->memory_bytes = or_default(m->memory_limit_bytes, r->memory_limit);
    if (l != NULL)
        b->memory_bytes = scaled(b->memory_bytes, l->memory_factor) + l->memory_extra;
    b->stdout_bytes = or_default(m->output_limit_bytes, r->output_limit);
    b->stderr_bytes = STORED_MAX;
    b->processes = or_default(m->process_limit, 64);
    if (l != NULL && l->run.limits.processes > b->processes) /* a JVM's own threads are not the program's */
        b->processes = l->run.limits.processes;
    b->open_files = l != NULL ? l->run.limits.open_files : 0;
}

static int prepare_task(struct runner *r, struct job *j, struct assay_err *err)
{
    static const struct assay_manifest none;
    j->feedback = ASSAY_FEEDBACK_FULL;
    j->test = assay_arena_array(j->arena, 1, sizeof *j->test);
    if (j->test == NULL)
        return no_memory(err);
    j->n_tests = 1;
    j->test[0].def = (struct assay_manifest_test){.number = 1, .sample = true, .points = 1};
    j->test[0].part = NAN;
    j->test[0].group = NO_GROUP;
    limits_of(r, j, &none);
    return ASSAY_OK;
}

/* The checker's own job: its program, its limits. */
static int prepare_checker(struct runner *r, struct job *j, const struct assay_manifest_checker *m, struct assay_err *err)
{
    struct job *c = job_new(r);
    if (c == NULL)
        return no_memory(err);
    j->checker = c;
    c->parent = j;
    c->kind = JOB_CHECKER;
    c->rules = *m;
    c->lease.submission_id = assay_arena_str(c->arena, j->lease.submission_id); /* it may outlive the lease */
    c->language = languages_find(&r->languages, m->language);
    if (c->language == NULL)
        return settle(j, VERDICT_IE, "this runner has no definition of the checker's language");
    static const struct assay_json_map one_file;
    struct assay_str source;
    int rc = away_read(r, j, m->source_ref, SOURCE_READ_MAX, c->arena, &source, err);
    if (rc >= 0)
        rc = program_files(c, source, &one_file, NULL, err);
    if (rc < 0)
        return assay_err_prefix(err, "the checker");
    const struct language *l = c->language;
    c->limits = (struct assay_box_limits){.cpu_ms = scaled(m->time_limit_ms, l->time_factor),
                                          .memory_bytes = scaled(m->memory_limit_bytes, l->memory_factor) + l->memory_extra,
                                          .stdout_bytes = CHECKER_OUTPUT,
                                          .stderr_bytes = STORED_MAX,
                                          .processes = l->run.limits.processes > 64 ? l->run.limits.processes : 64,
                                          .open_files = l->run.limits.open_files};
    c->limits.wall_ms = c->limits.cpu_ms * 2 + 1000;
    c->stage = STAGE_READY;
    return ASSAY_OK;
}

int job_take_tests(struct job *j, const struct assay_manifest *m, struct assay_err *err)
{
    const struct assay_manifest_group *g = m->groups.items;
    const struct assay_manifest_test *t = m->tests.items;
    size_t needs = 0;
    for (size_t i = 0; i < m->groups.n; i++)
        needs += g[i].depends_on.n;
    j->n_tests = m->tests.n;
    j->n_groups = m->groups.n;
    j->test = assay_arena_array(j->arena, j->n_tests + 1, sizeof *j->test);
    j->scored = assay_arena_array(j->arena, j->n_tests + 1, sizeof *j->scored);
    j->group = assay_arena_array(j->arena, j->n_groups + 1, sizeof *j->group);
    size_t *need = assay_arena_array(j->arena, needs + 1, sizeof *need);
    if (j->test == NULL || j->scored == NULL || j->group == NULL || need == NULL)
        return no_memory(err);
    for (size_t i = 0; i < j->n_groups; i++) {
        j->group[i] = (struct group){.name = g[i].name, .aggregate = g[i].aggregate, .points = g[i].points,
                                     .stop = g[i].stop_on_failure, .needs = need};
        for (size_t k = 0; k < i; k++) { /* groups before it only: that is checked where they are made */
            for (size_t d = 0; d < g[i].depends_on.n; d++) {
                if (assay_str_eq(g[k].name, g[i].depends_on.items[d]))
                    need[j->group[i].n_needs++] = k;
            }
        }
        need += j->group[i].n_needs;
    }
    for (size_t i = 0; i < j->n_tests; i++) {
        j->test[i].def = t[i];
        j->test[i].part = NAN;
        j->test[i].group = NO_GROUP;
        for (size_t k = 0; t[i].group.n != 0 && k < j->n_groups; k++) {
            if (assay_str_eq(j->group[k].name, t[i].group))
                j->test[i].group = k;
        }
        j->scored[i] = (struct scored){t[i].points, NAN, VERDICT_NONE, j->test[i].group};
    }
    return ASSAY_OK;
}

void job_next_test(struct job *j)
{
    const struct test *t = &j->test[j->at_test];
    if (j->scored != NULL) {
        j->scored[j->at_test].verdict = t->verdict;
        j->scored[j->at_test].part = t->part;
    }
    j->at_test++;
    if (t->verdict != VERDICT_OK && j->stop_on_failure)
        j->at_test = j->n_tests; /* the rest stays "-" */
    while (j->scored != NULL && j->at_test < j->n_tests && !test_is_due(j->scored, j->at_test, j->group))
        j->at_test++;
}

/* An answer is compared and never run. */
static int judge_answer(struct runner *r, struct job *j, struct assay_err *err)
{
    (void)r;
    while (j->at_test < j->n_tests) {
        struct test *t = &j->test[j->at_test];
        if (j->at_test >= j->loaded_to) {
            int rc = job_load(r, j, err);
            if (rc < 0)
                return rc;
        }
        t->ran = true;
        t->outcome.end = ASSAY_BOX_EXITED;
        t->start_ms = t->end_ms = r->host->now_ms(r->host->ctx);
        t->verdict = output_matches(&j->compare, t->expected, j->payload) ? VERDICT_OK : VERDICT_WA;
        job_next_test(j);
    }
    j->stage = STAGE_FINISH;
    return ASSAY_OK;
}

/* What the benchmark wants of the job's language; it may be named by an alias. */
static int pin_of(struct runner *r, struct job *j, struct assay_str toolchains, struct assay_err *err)
{
    struct assay_json_map map = {NULL, 0};
    int rc = toolchains.n != 0 ? files_decode(toolchains, j->arena, &map, err) : ASSAY_OK;
    if (rc < 0)
        return assay_err_prefix(err, "the benchmark's toolchains");
    for (size_t i = 0; i < map.n; i++) {
        if (languages_find(&r->languages, map.items[i].key) == j->language)
            j->pin = map.items[i].value;
    }
    return ASSAY_OK;
}

/* asked: as the message says, or NULL: as the lease does. Who took the submission may not have known the language. */
static int take_options(struct runner *r, struct job *j, const struct assay_strs *asked, const struct assay_json_array *problem,
                        struct assay_err *err)
{
    struct assay_strs own = {NULL, 0};
    struct assay_err why;
    struct assay_str *chosen = assay_arena_array(j->arena, OPTIONS_GROUPS_MAX, sizeof *chosen);
    if (chosen == NULL)
        return no_memory(err);
    int rc = asked == NULL && j->mode != ASSAY_JUDGE_HARNESS ? assay_options_split(j->lease.compiler_options, j->arena, &own, err) : ASSAY_OK;
    if (rc < 0)
        return rc;
    size_t n = 0;
    rc = options_of(&r->languages, j->language, asked != NULL ? asked : &own, problem, chosen, &n, &why);
    j->options = (struct assay_strs){chosen, n};
    if (rc == ASSAY_OK)
        return rc;
    struct assay_str text = assay_arena_fmt(j->arena, rc == ASSAY_E_INVALID ? "compiler_options: %s\n" : "%s", why.msg);
    return text.p != NULL ? settle(j, rc == ASSAY_E_INVALID ? VERDICT_BF : VERDICT_IE, text.p) : no_memory(err);
}

int job_prepare(struct runner *r, struct job *j, struct assay_err *err)
{
    struct assay_job *lease = &j->lease;
    struct assay_manifest m;
    memset(&m, 0, sizeof m);
    struct assay_str source = lease->source, language = lease->language, harness = ASSAY_STR("");
    struct rules rules = {.toolchains = ASSAY_STR("")};
    struct away_job away = {.manifest = ASSAY_STR("")};
    struct assay_script script = {.type = ASSAY_SCRIPT_RUN};
    struct assay_json_array problem_options = {NULL, 0};
    int rc = ASSAY_OK;
    if (lease->kind == ASSAY_JOB_PROJECT || lease->kind == ASSAY_JOB_PROJECT_MESSAGE)
        return project_prepare(r, j, err);
    if (lease->kind == ASSAY_JOB_FILTER) {
        rc = read_bytes(r, j, lease->payload, lease->payload_ref, PAYLOAD_READ_MAX, &j->payload, err);
        return rc < 0 ? assay_err_prefix(err, "the image") : filter_prepare(r, j, lease->source, j->payload, err);
    }
    if (lease->kind == ASSAY_JOB_SCRIPT) {
        rc = assay_script_decode(lease->payload, j->arena, &script, err);
        if (rc < 0)
            return assay_err_prefix(err, "the message");
        lease->assay = script.assay;
        source = script.source;
    }
    rc = lease->assay.n != 0 ? away_job_decode(lease->assay, j->arena, &away, err) : ASSAY_OK;
    if (rc < 0)
        return assay_err_prefix(err, "what the gateway says of the job");
    rc = away_keep(r, &away, err);
    if (rc < 0)
        return rc;
    j->away_id = away.submission_id;
    j->away_fence = away.fence;
    if (script.filter.n != 0)
        return filter_prepare(r, j, script.filter, script.image, err);
    j->task = lease->kind == ASSAY_JOB_TASK || (j->away_id.n != 0 && away.kind == ASSAY_JOB_TASK);
    if (j->away_id.n != 0)
        j->payload = away.payload;
    else
        rc = read_bytes(r, j, lease->payload, lease->payload_ref, PAYLOAD_READ_MAX, &j->payload, err);
    if (rc < 0)
        return assay_err_prefix(err, "the payload");
    bool files = lease->files;
    if (j->task) {
        j->mode = ASSAY_JUDGE_PROGRAM;
    } else if (lease->kind == ASSAY_JOB_SCRIPT && j->away_id.n == 0) {
        rc = script_prepare(r, j, &script, &m, err);
        if (rc < 0)
            return rc;
    } else {
        struct assay_str text = away.manifest;
        if (lease->manifest_ref.n == 0 && text.n == 0)
            return settle(j, VERDICT_IE, "the problem has no manifest");
        if (j->away_id.n == 0)
            rc = cache_read(r->cache, r->host->blobs, lease->manifest_ref, MANIFEST_READ_MAX, j->arena, &text, err);
        if (rc >= 0)
            rc = assay_manifest_decode(text, j->arena, &m, err);
        if (rc >= 0 && j->away_id.n != 0)
            rules = (struct rules){away.feedback, away.warm_interpreters, away.toolchains};
        else if (rc >= 0)
            rc = repo_rules(r, lease->benchmark_id, j->arena, &rules, err);
        if (rc < 0)
            return assay_err_prefix(err, "the manifest");
        j->feedback = rules.feedback;
        j->never_warm = rules.warm_interpreters == ASSAY_WARM_OFF;
        j->only_warm = rules.warm_interpreters == ASSAY_WARM_ON;
        j->mode = m.mode;
        j->compare = (struct comparison){m.compare, m.float_abs, m.float_rel};
        j->stop_on_failure = m.stop_on_failure;
        j->arguments = m.arguments;
        problem_options = m.compiler_options;
        j->variables = m.environment;
        rc = job_take_tests(j, &m, err);
        if (rc < 0)
            return rc;
    }
    if (j->mode == ASSAY_JUDGE_ANSWER)
        return judge_answer(r, j, err);
    if (j->mode == ASSAY_JUDGE_HARNESS) {
        language = m.harness_language;
        files = false;
        rc = away_read(r, j, m.harness_ref, SOURCE_READ_MAX, j->arena, &source, err);
        if (rc < 0)
            return assay_err_prefix(err, "the harness");
    } else if (lease->kind != ASSAY_JOB_SCRIPT) {
        rc = read_bytes(r, j, lease->source, lease->source_ref, SOURCE_READ_MAX, &source, err);
        if (rc < 0)
            return assay_err_prefix(err, "the source");
    }
    if (j->mode == ASSAY_JUDGE_FUNCTION) {
        rc = away_read(r, j, m.harness_ref, SOURCE_READ_MAX, j->arena, &harness, err);
        if (rc < 0)
            return assay_err_prefix(err, "the harness");
    }
    j->language = languages_find(&r->languages, language);
    if (j->language == NULL)
        return settle(j, VERDICT_IE, "this runner has no definition of the language");
    if (j->mode == ASSAY_JUDGE_FUNCTION && languages_find(&r->languages, m.harness_language) != j->language) {
        struct assay_str text = assay_arena_fmt(j->arena, "this problem takes functions in %.*s\n", ASSAY_FMT(m.harness_language));
        return text.p != NULL ? settle(j, VERDICT_BF, text.p) : no_memory(err);
    }
    rc = pin_of(r, j, rules.toolchains, err);
    if (rc < 0)
        return rc;
    if (j->task) {
        rc = prepare_task(r, j, err);
        if (rc < 0)
            return rc;
    }
    limits_of(r, j, &m);
    rc = take_options(r, j, lease->kind == ASSAY_JOB_SCRIPT ? &script.compiler_options : NULL, &problem_options, err);
    if (rc < 0 || j->stage == STAGE_FINISH)
        return rc;
    struct assay_json_map map = j->mode == ASSAY_JUDGE_HARNESS ? (struct assay_json_map){NULL, 0} : script.files;
    rc = files ? files_decode(source, j->arena, &map, err) : ASSAY_OK;
    if (rc >= 0)
        rc = program_files(j, source, &map, j->mode == ASSAY_JUDGE_FUNCTION ? &harness : NULL, err);
    if (rc >= 0 && j->stage != STAGE_FINISH && m.has_checker)
        rc = prepare_checker(r, j, &m.checker, err);
    if (rc < 0 || j->stage == STAGE_FINISH)
        return rc;
    rc = j->n_tests != 0 ? job_load(r, j, err) : ASSAY_OK;
    if (rc >= 0)
        j->stage = STAGE_READY;
    return rc;
}

int job_load(struct runner *r, struct job *j, struct assay_err *err)
{
    if (j->kind == JOB_SELF_TEST || j->task || (j->lease.kind == ASSAY_JOB_SCRIPT && j->away_id.n == 0)) {
        for (size_t i = 0; i < j->n_tests && j->task; i++)
            j->test[i].input = j->payload;
        j->loaded_to = j->n_tests;
        return ASSAY_OK;
    }
    assay_arena_free(j->test_arena);
    j->test_arena = assay_arena_new(2 * TEST_READ_MAX + LOAD_MAX);
    if (j->test_arena == NULL)
        return no_memory(err);
    size_t i = j->at_test;
    do {
        struct test *t = &j->test[i];
        int rc = away_read(r, j, t->def.input_ref, TEST_READ_MAX, j->test_arena, &t->input, err);
        if (rc >= 0)
            rc = away_read(r, j, t->def.expected_ref, TEST_READ_MAX, j->test_arena, &t->expected, err);
        if (rc < 0)
            return assay_err_prefix(err, "test %lld", (long long)t->def.number);
        i++;
    } while (i < j->n_tests && assay_arena_used(j->test_arena) < LOAD_MAX);
    j->loaded_to = i;
    return ASSAY_OK;
}

struct job *job_self_test(struct runner *r, struct language *l)
{
    static const struct assay_manifest none;
    struct job *j = job_new(r);
    if (j == NULL)
        return NULL;
    j->kind = JOB_SELF_TEST;
    j->language = l;
    j->compare.how = ASSAY_COMPARE_EXACT;
    j->test = assay_arena_array(j->arena, 1, sizeof *j->test);
    struct assay_err ignored;
    static const struct assay_json_map no_files;
    if (j->test == NULL || program_files(j, l->sample_source, &no_files, NULL, &ignored) < 0) {
        job_free(j);
        return NULL;
    }
    j->n_tests = j->loaded_to = 1;
    j->test[0].def = (struct assay_manifest_test){.number = 1, .sample = true, .points = 1};
    j->test[0].part = NAN;
    j->test[0].group = NO_GROUP;
    j->test[0].input = l->sample_input;
    j->test[0].expected = l->sample_output;
    limits_of(r, j, &none);
    j->limits.cpu_ms = j->limits.cpu_hard_ms = 10000; /* a cold disk is not the language's fault */
    j->limits.wall_ms = 20000;
    j->stage = STAGE_READY;
    return j;
}
