/* The runner: its tables, and its beginning and end. */
#include "filter.h"
#include "project.h"
#include "remote.h"

#include <assay/script.h>

#include <stdio.h>
#include <unistd.h>

/* The languages that come with us, as options call them; others say their images in their files. */
#define LANGUAGES_WITH_OPTIONS(X)                                                                                      \
    X("bash", "BASH") X("c", "C") X("c_clang", "C_CLANG") X("cpp", "CPP") X("cpp_clang", "CPP_CLANG") X("go", "GO")    \
    X("java", "JAVA") X("javascript", "JAVASCRIPT") X("lua", "LUA") X("perl", "PERL") X("php", "PHP")                  \
    X("python", "PYTHON") X("ruby", "RUBY") X("rust", "RUST")

#define NAMES(name, NAME) name "_image", name "_run_image", name "_workdir",
static const char *const image_names[] = {LANGUAGES_WITH_OPTIONS(NAMES)};
#undef NAMES
const struct image_options runner_image_options = {image_names, sizeof image_names / sizeof image_names[0]};

static const struct assay_option options[] = {
    {"runner_max_parallel", "RUNNER_MAX_PARALLEL", ASSAY_OPT_INT, "0", 0, 256, NULL,
     "programs that run at the same time; 0 takes the number of cores", 0, 0},
    {"runner_pin", "RUNNER_PIN", ASSAY_OPT_STRING, "auto", 0, 0, NULL,
     "processors of the boxes, one for each that runs: auto (all that the server may use), off, or a list like 2-7,10", 0, 0},
    {"warm_interpreters", NULL, ASSAY_OPT_BOOL, "true", 0, 0, NULL,
     "programs of a language with warm_start are forked from an interpreter that was started before, and not executed", 0, 0},
    {"runner_reruns", "RUNNER_RERUNS", ASSAY_OPT_INT, "0", 0, 3, NULL,
     "how often a test is run again that was just over its time limit while the machine was disturbed; results say so", 0, 0},
    {"runner_time_limit", "RUNNER_TIME_LIMIT", ASSAY_OPT_DURATION, "5s", 1, 3600000, NULL,
     "CPU time of a run where neither problem nor request says one", 0, 1000},
    {"runner_memory_limit", "RUNNER_MEMORY_LIMIT", ASSAY_OPT_BYTES, "256m", 1 << 20, INT64_C(1) << 40, NULL,
     "memory of a run where neither problem nor request says it", 0, 0},
    {"runner_output_limit", NULL, ASSAY_OPT_BYTES, "16m", 1, INT64_C(1) << 30, NULL,
     "standard output of a run where neither problem nor request says it", 0, 0},
    {"build_time_limit", NULL, ASSAY_OPT_DURATION, "30s", 1000, 3600000, NULL, "CPU time of a build", 0, 1000},
    {"build_memory_limit", NULL, ASSAY_OPT_BYTES, "2g", 64 << 20, INT64_C(1) << 40, NULL, "memory of a build", 0, 0},
    {"runner_lease", NULL, ASSAY_OPT_DURATION, "60s", 1000, 3600000, NULL,
     "how long a job is the runner's without a sign of life", 0, 1000},
    {"language_retest", NULL, ASSAY_OPT_DURATION, "1m", 1000, 86400000, NULL,
     "how long after its own trial failed a language is tried again; the pauses grow to 16 times that", 0, 1000},
    {"dispatch_timeout", NULL, ASSAY_OPT_DURATION, "10m", 1000, 86400000, NULL,
     "how long a job that went out through a broker may take before it is published again, under a new fence", 0, 1000},
    {"dispatch_max", NULL, ASSAY_OPT_INT, "1000", 1, 1000000, NULL,
     "most jobs that are out through a broker at once; the others wait in the queue", 0, 0},
    {"runner_drain", NULL, ASSAY_OPT_DURATION, "5s", 0, 600000, NULL,
     "how long a stop waits for programs that run; then they are handed back", 0, 1000},
    {"runner_cache", NULL, ASSAY_OPT_BYTES, "64m", 0, INT64_C(1) << 36, NULL,
     "memory that keeps manifests and test data of the last problems", 0, 0},
    {"fetched_keep", NULL, ASSAY_OPT_DURATION, "0", 0, INT64_C(1) << 50, NULL,
     "on a worker with a blob folder of its own: how long tests, manifests and sources that it fetched are kept after they were last wanted; "
     "what is wanted again is fetched again; 0 for ever",
     0, 1000},
    {"build_cache", NULL, ASSAY_OPT_BYTES, "1g", 0, INT64_C(1) << 44, NULL,
     "disk space in data_dir/builds for what builds made, so that the same source is not built twice; 0 builds always", 0, 0},
    {"pin_refusals", NULL, ASSAY_OPT_INT, "10", 1, 1000, NULL,
     "how often a job may be handed back, by all runners together, before one that lacks the toolchain its benchmark pins ends it",
     0, 0},
    {"runner_wardens", NULL, ASSAY_OPT_INT, "3", 1, 64, NULL,
     "wardens that each parallel program may keep open, one for an image; the least recently used is closed", 0, 0},
#define IMAGES(name, NAME)                                                                                             \
    {name "_image", NAME "_IMAGE", ASSAY_OPT_STRING, "", 0, 0, NULL,                                                   \
     "image in which " name " is built, and run unless another is named; empty: the sandbox's default", 0, 0},         \
        {name "_run_image", NAME "_RUN_IMAGE", ASSAY_OPT_STRING, "", 0, 0, NULL,                                       \
         "image in which " name " programs run; it needs no compiler", 0, 0},                                         \
        {name "_workdir", NAME "_WORKDIR", ASSAY_OPT_STRING, "", 0, 0, NULL,                                           \
         "directory of the images at which " name " programs find themselves, such as /tmp; empty: /box", 0, 0},
    LANGUAGES_WITH_OPTIONS(IMAGES)
#undef IMAGES
    {"warm", NULL, ASSAY_OPT_BOOL, "true", 0, 0, NULL,
     "make, when there is nothing else to do, what lets later builds start faster (precompiled headers, class-data archives), "
     "and keep it in data_dir/warm: up to 200 MB for a language",
     0, 0},
    {"pits_path", NULL, ASSAY_OPT_STRING, "", 0, 0, NULL,
     "more folders of PIT files (<id>.json), separated by ':'; a later file replaces an earlier one of its name", 0, 0},
    {"project_timeout", "RUNNER_TIMEOUT_MS", ASSAY_OPT_DURATION, "120s", 100, 86400000, NULL,
     "time by the clock for the setup commands of a project together, and for its test command where the PIT says none", 0, 1},
    {"project_grace", NULL, ASSAY_OPT_DURATION, "5s", 0, 600000, NULL,
     "how long a project's command that is out of time has between SIGTERM and SIGKILL", 0, 1000},
    {"project_memory", NULL, ASSAY_OPT_BYTES, "2g", 64 << 20, INT64_C(1) << 40, NULL,
     "memory of a project's box, its files (at most 1 GiB) included", 0, 0},
    {"project_log_max", "RUNNER_MAX_LOG_BYTES", ASSAY_OPT_BYTES, "200000", 1024, 64 << 20, NULL,
     "bytes of a project's log; of a longer one the beginning and the end are kept", 0, 0},
    {"processors_path", NULL, ASSAY_OPT_STRING, "", 0, 0, NULL,
     "more folders of processors' definitions (filters), separated by ':'; a later file replaces an earlier one of its name", 0, 0},
    {"filter_time_limit", NULL, ASSAY_OPT_DURATION, "10s", 100, 3600000, NULL, "CPU time of a filter", 0, 1000},
    {"filter_memory_limit", NULL, ASSAY_OPT_BYTES, "512m", 16 << 20, INT64_C(1) << 36, NULL, "memory of a filter", 0, 0},
    {"filter_result_max", NULL, ASSAY_OPT_BYTES, "16m", 4096, 32 << 20, NULL, "bytes of a filter's result", 0, 0},
    {"languages_path", NULL, ASSAY_OPT_STRING, "", 0, 0, NULL,
     "more folders of language definitions, separated by ':'; a later file replaces an earlier one of its name", 0, 0},
};

static const struct assay_route routes[] = {
    {ASSAY_GET, "/results", ASSAY_ROLES_ANY, "results:read", ASSAY_ROUTE_PAGED, 0, http_results_list, "results_list",
     "Results as far as the feedback policy lets the caller see them, newest first"},
    {ASSAY_GET, "/results/{submission_id:uuid}", ASSAY_ROLES_ANY, "results:read", ASSAY_ROUTE_NO_QUERY, 0, http_results_get,
     "results_get", "One submission's result, test by test"},
    {ASSAY_POST, "/results", ASSAY_ROLE_AGENT, "results:write", ASSAY_ROUTE_NO_QUERY, ASSAY_SCRIPT_MAX + 4096, http_results_put,
     "results_put", "A worker hands a leased job's result back, or the job itself"},
    {ASSAY_POST, "/commit", ASSAY_ROLE_AGENT, "results:write", ASSAY_ROUTE_NO_QUERY | ASSAY_ROUTE_ALIAS, ASSAY_SCRIPT_MAX + 4096,
     http_results_put, "results_commit", "The older name of POST /results"},
    {ASSAY_POST, "/agents/{id}/lease", ASSAY_ROLE_AGENT, "jobs:lease", ASSAY_ROUTE_NO_QUERY, 64 << 10, http_lease, "agents_lease",
     "A worker agent leases work, and waits for some"},
    {ASSAY_GET, "/blobs/{ref}", ASSAY_ROLE_AGENT, "jobs:lease", ASSAY_ROUTE_NO_QUERY, 0, http_blob, "blobs_get",
     "A worker agent fetches a test's data by its hash"},
    {ASSAY_GET, "/languages", ASSAY_ROLES_PUBLIC, "results:read", ASSAY_ROUTE_NO_QUERY, 0, http_languages, "languages_list",
     "Languages with their versions and whether they are offered"},
    {ASSAY_GET, "/filters", ASSAY_ROLES_PUBLIC, "results:read", ASSAY_ROUTE_NO_QUERY, 0, http_filters, "filters_list",
     "Filters with their parameters and whether they are offered"},
    {ASSAY_GET, "/runners", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, 0, http_runners, "runners_list",
     "The runner's slots and what its sandbox can do"},
};

static const double seconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 0};
static const double wait_seconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 0};
const struct assay_metric runner_metrics[METRIC_COUNT] = {
    [METRIC_VERDICTS] = {"assay_runner_verdicts_total", ASSAY_METRIC_COUNTER, "Submissions judged", "language,verdict", NULL},
    [METRIC_QUEUE_WAIT] = {"assay_runner_queue_wait_seconds", ASSAY_METRIC_HISTOGRAM, "From creation to lease", "language", wait_seconds},
    [METRIC_BUILD] = {"assay_runner_build_seconds", ASSAY_METRIC_HISTOGRAM, "Wall time of a build (ok, failed)", "language,result", seconds},
    [METRIC_RUN] = {"assay_runner_run_seconds", ASSAY_METRIC_HISTOGRAM, "Wall time of a test's run, by what it came to before outputs are compared by a checker",
                    "language,verdict", seconds},
    [METRIC_VERDICT] = {"assay_runner_verdict_seconds", ASSAY_METRIC_HISTOGRAM, "From creation to the verdict's commit", "language,verdict",
                        wait_seconds},
    [METRIC_LANGUAGE] = {"assay_runner_language_info", ASSAY_METRIC_GAUGE,
                         "Languages with their compilers: 1 while it is offered, 0 when it no longer is", "language,compiler", NULL},
    [METRIC_SLOTS] = {"assay_runner_slots", ASSAY_METRIC_GAUGE, "Programs that may run at the same time", "", NULL},
    [METRIC_SLOTS_READY] = {"assay_runner_slots_ready", ASSAY_METRIC_GAUGE, "Slots whose warden stands", "", NULL},
    [METRIC_SLOTS_BUSY] = {"assay_runner_slots_busy", ASSAY_METRIC_GAUGE, "Slots with a job", "", NULL},
    [METRIC_WARDEN_DEATHS] = {"assay_runner_warden_deaths_total", ASSAY_METRIC_COUNTER, "Wardens that ended by themselves", "",
                              NULL},
    [METRIC_REFUSED] = {"assay_runner_pin_refusals_total", ASSAY_METRIC_COUNTER,
                        "Jobs that were refused because their benchmark pins another toolchain", "", NULL},
    [METRIC_CHECKER_FAULTS] = {"assay_runner_checker_faults_total", ASSAY_METRIC_COUNTER,
                               "Checkers that failed: a problem is broken, or somebody tries to break it (crash, exit, time, memory, output, "
                               "feedback, passes, build)", "fault", NULL},
    [METRIC_CHECK] = {"assay_runner_check_seconds", ASSAY_METRIC_HISTOGRAM, "Wall time of a check by a problem's own program", "kind", seconds},
    [METRIC_CACHE] = {"assay_runner_build_cache_total", ASSAY_METRIC_COUNTER, "Look-ups in the build cache (hit, miss, damaged, failure)",
                      "outcome", NULL},
    [METRIC_WORKERS] = {"assay_runner_workers", ASSAY_METRIC_GAUGE, "Runners elsewhere that were heard of in the last two minutes", "", NULL},
    [METRIC_AWAY_LEASED] = {"assay_runner_away_leases_total", ASSAY_METRIC_COUNTER, "Jobs leased to runners elsewhere", "", NULL},
    [METRIC_AWAY_RESULTS] = {"assay_runner_away_results_total", ASSAY_METRIC_COUNTER,
                             "What runners elsewhere brought (taken, returned, late, refused)", "outcome", NULL},
    [METRIC_DATA_CACHE] = {"assay_runner_data_cache_total", ASSAY_METRIC_COUNTER,
                           "Look-ups of manifests and test data in memory (hit, miss)", "outcome", NULL},
    [METRIC_FILTERS] = {"assay_filters_total", ASSAY_METRIC_COUNTER, "Filters applied, by their verdict, or cancelled", "filter,result", NULL},
    [METRIC_FILTER_SECONDS] = {"assay_filter_seconds", ASSAY_METRIC_HISTOGRAM, "Wall time of a filter", "filter", seconds},
    [METRIC_CACHE_BYTES] = {"assay_runner_build_cache_bytes", ASSAY_METRIC_GAUGE, "Disk space of the build cache", "", NULL},
};

static const char *const bell_topics[] = {"submission.created", "submission.queued", NULL};
static const char *const projected[] = {"benchmark.changed", "rejudging.applied", "rejudging.dropped", NULL};

static int on_bell(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)ev;
    (void)tx;
    (void)err;
    loop_ring(self);
    remote_ring(self);
    dispatch_ring(self);
    return ASSAY_OK;
}

static const struct assay_subscription subscriptions[] = {
    {RUNNER_GROUP, projected, ASSAY_SUB_DURABLE, 50, repo_project, NULL},
    {"runner.bell", bell_topics, ASSAY_SUB_BELL, 0, on_bell, NULL},
};

static const struct assay_need needs[] = {{ASSAY_JOBS_INTERFACE, ASSAY_JOBS_VERSION, false},
                                          {ASSAY_PITS_INTERFACE, ASSAY_PITS_VERSION, true}};

static int resolve(void *self, struct assay_str name, struct assay_str *canonical, struct assay_err *err)
{
    struct runner *r = self;
    struct language *l = languages_find(&r->languages, name);
    if (l == NULL)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no language of that name; GET /languages lists them");
    *canonical = l->name;
    if (atomic_load(&l->state) == LANGUAGE_UNAVAILABLE)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the language %.*s is not offered on this server", ASSAY_FMT(l->name));
    return ASSAY_OK;
}

static int take_options(void *self, struct assay_str canonical, const struct assay_strs *asked, const struct assay_json_array *problem,
                        struct assay_err *err)
{
    struct runner *r = self;
    struct assay_str chosen[OPTIONS_GROUPS_MAX];
    size_t n;
    const struct language *l = languages_find(&r->languages, canonical);
    if (l == NULL)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such language");
    int rc = options_of(&r->languages, l, asked, problem, chosen, &n, err);
    return rc == ASSAY_E_CONFIG ? ASSAY_OK : rc; /* the problem's fault, which its verdict says */
}

static int resolve_filter(void *self, struct assay_str json, struct assay_arena *arena, struct assay_json_faults *faults,
                          struct assay_str *canonical, struct assay_err *err)
{
    return filter_resolve(self, json, arena, faults, canonical, err);
}

static const struct assay_languages_ops languages_ops = {.size = sizeof languages_ops, .resolve = resolve, .options = take_options,
                                                       .filter = resolve_filter};

static int load_languages(struct runner *r, struct assay_err *err)
{
    const char *dirs[DEFINITION_DIRS + 1] = {NULL};
    int rc = definition_dirs(r, "languages", "languages_path", dirs, err);
    if (rc >= 0)
        rc = languages_load(dirs, &r->languages, err);
    return rc < 0 ? rc : environments_choose(r->host, &r->languages, &r->environments, r->arena, err);
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct runner *r = calloc(1, sizeof *r);
    if (r == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    *self = r;
    r->host = host;
    r->warm_dir = -1;
    r->arena = assay_arena_new(0);
    r->cache = cache_new(host, (size_t)host->option_int(host->ctx, "runner_cache"));
    if (r->arena == NULL || r->cache == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    r->max_parallel = host->option_int(host->ctx, "runner_max_parallel");
    if (r->max_parallel == 0)
        r->max_parallel = sysconf(_SC_NPROCESSORS_ONLN);
    if (r->max_parallel < 1)
        r->max_parallel = 1;
    r->reruns_max = host->option_int(host->ctx, "runner_reruns");
    r->time_limit_ms = host->option_int(host->ctx, "runner_time_limit");
    r->memory_limit = host->option_int(host->ctx, "runner_memory_limit");
    r->output_limit = host->option_int(host->ctx, "runner_output_limit");
    r->build_time_ms = host->option_int(host->ctx, "build_time_limit");
    r->build_memory = host->option_int(host->ctx, "build_memory_limit");
    r->lease_ms = host->option_int(host->ctx, "runner_lease");
    r->language_retest_ms = host->option_int(host->ctx, "language_retest");
    r->max_attempts = host->option_int(host->ctx, "max_attempts"); /* of submissions, which it needs anyway */
    r->drain_ms = host->option_int(host->ctx, "runner_drain");
    r->wardens_of_lane = host->option_int(host->ctx, "runner_wardens");
    r->pin_refusals = host->option_int(host->ctx, "pin_refusals");
    r->warm_interpreters = host->option_int(host->ctx, "warm_interpreters") != 0;
    r->strict = host->option_int(host->ctx, "broker_strict") != 0;
    r->result_max = assay_script_result_max(host->option_int(host->ctx, "result_max"), host->option_str(host->ctx, "intake"));
    r->judges = host->option_int(host->ctx, "boxkeeper") != 0;
    r->jobs = host->need(host->ctx, ASSAY_JOBS_INTERFACE, &r->jobs_self);
    if (r->jobs == NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "the runner needs the submissions service");
    if (r->jobs->size < sizeof *r->jobs || r->jobs->lease_away == NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "the submissions service is older than the runner");
    memcpy(r->away_kinds, " 0 1 5 ", sizeof " 0 1 5 ");
    r->project_timeout_ms = host->option_int(host->ctx, "project_timeout");
    r->project_grace_ms = host->option_int(host->ctx, "project_grace");
    r->project_memory = host->option_int(host->ctx, "project_memory");
    r->project_log_bytes = host->option_int(host->ctx, "project_log_max");
    r->filter_time_ms = host->option_int(host->ctx, "filter_time_limit");
    r->filter_memory = host->option_int(host->ctx, "filter_memory_limit");
    r->filter_result_max = host->option_int(host->ctx, "filter_result_max");
    r->pits = host->need(host->ctx, ASSAY_PITS_INTERFACE, &r->pits_self);
    int rc = remote_new(r, err);
    if (rc >= 0)
        rc = fetched_new(r, err);
    if (rc >= 0)
        rc = dispatch_open(r, err);
    if (rc >= 0)
        rc = processors_choose(host->option_str(host->ctx, "runner_pin"), &r->processors, err);
    if (rc >= 0)
        rc = seccomp_compile(r->arena, true, &r->seccomp, err);
    if (rc >= 0)
        rc = seccomp_compile(r->arena, false, &r->seccomp_uncounted, err);
    int64_t build_cache = host->option_int(host->ctx, "build_cache");
    machine_look(r->machine);
    machine_names(r->kernel, sizeof r->kernel, r->cpu_model, sizeof r->cpu_model);
    if (rc >= 0 && build_cache != 0)
        rc = builds_open(host, build_cache, &r->builds, err);
    if (rc >= 0 && build_cache != 0 && (r->failures = failures_new()) == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (rc >= 0 && host->option_int(host->ctx, "warm") != 0)
        rc = warm_open(host, &r->warm_dir, err);
    if (rc >= 0)
        rc = load_languages(r, err);
    if (rc >= 0)
        rc = project_tools(r, err);
    if (rc >= 0)
        rc = filters_load(r, err);
    if (rc >= 0)
        r->jobs->set_languages(r->jobs_self, &languages_ops, r);
    return rc;
}

static int start(void *self, struct assay_err *err)
{
    int rc = dispatch_start(self, err);
    if (rc >= 0)
        rc = fetched_start(self, err);
    return rc < 0 ? rc : loop_start(self, err);
}

/* Some languages may lack their image; who has others is ready all the same. */
static void note_trouble(struct runner *r, struct assay_err *why)
{
    pthread_mutex_lock(&r->environments.lock);
    for (size_t i = 0; i < r->environments.n; i++) {
        const struct environment *e = &r->environments.list[i];
        if (e->trouble[0] != '\0')
            (void)snprintf(why->msg, sizeof why->msg, "%.150s%s%.300s", e->image, e->image[0] != '\0' ? ": " : "", e->trouble);
    }
    pthread_mutex_unlock(&r->environments.lock);
}

/* Ready is who can give a verdict: a warden stands, and at least one language has passed its self-test. */
static int ready(void *self, struct assay_err *why)
{
    struct runner *r = self;
    struct loop_state st;
    size_t untested = 0;
    if (!r->judges) {
        int64_t n = remote_workers(r);
        (void)snprintf(why->msg, sizeof why->msg, n != 0 ? "%lld runners elsewhere" : "this process judges nothing, and no runner elsewhere was heard of in the last two minutes",
                       (long long)n);
        return ASSAY_OK;
    }
    loop_look(r, &st);
    if (st.ready == 0)
        return assay_err_set(why, ASSAY_E_BUSY, "no warden%s%s", st.trouble[0] != '\0' ? ": " : " yet", st.trouble);
    for (size_t i = 0; i < r->languages.n; i++) {
        int state = atomic_load(&r->languages.list[i].state);
        if (state == LANGUAGE_OFFERED) {
            note_trouble(r, why);
            return ASSAY_OK;
        }
        untested += state == LANGUAGE_UNTESTED;
    }
    return assay_err_set(why, ASSAY_E_BUSY, untested != 0 ? "no language has passed its self-test yet" : "no language passed its self-test");
}

static void drain(void *self)
{
    remote_drain(self);
    dispatch_drain(self);
    loop_drain(self);
}

static void fini(void *self)
{
    struct runner *r = self;
    if (r == NULL)
        return;
    if (r->jobs != NULL)
        r->jobs->set_languages(r->jobs_self, NULL, NULL);
    loop_stop(r);
    remote_free(r);
    dispatch_free(r);
    languages_free(&r->languages);
    environments_free(&r->environments);
    cache_free(r->cache);
    builds_free(r->builds);
    failures_free(r->failures);
    if (r->warm_dir >= 0)
        close(r->warm_dir);
    assay_arena_free(r->arena);
    free(r);
}

extern const struct assay_plugin assay_plugin;
ASSAY_PLUGIN_EXPORT const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "runner",
    .version = "0.1.0",
    .summary = "builds and runs programs in boxes, judges them, and keeps the results",
    .options = ASSAY_TABLE(options),
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = ASSAY_TABLE(runner_migrations),
    .statements = ASSAY_TABLE(runner_statements),
    .needs = ASSAY_TABLE(needs),
    .metrics = ASSAY_TABLE(runner_metrics),
    .init = init,
    .start = start,
    .drain = drain,
    .fini = fini,
    .ready = ready,
};
