/*
 * assay import: a data set becomes a benchmark.
 *
 * The file is read whole and every fault in it told before anything is made.  Then the calls of each task's test are
 * recorded, by POST /task with the set's own solution: a solution that does not pass its own test is found here.  Several
 * tasks are under way at a time, and are asked for in their order.  Only when all of that went well is the benchmark made.
 */
#include "cli/sets/sets.h"

#include <ctype.h>
#include <time.h>

#define UNDER_WAY 16
#define TASKS_MAX 5000
#define OUTPUT_LIMIT (16 << 20)
#define CHECK_MS 30000

struct set {
    enum set_format format;
    const char *file, *language;
    json_t *tasks; /* array */
    size_t faults;
};

static int on_row(void *arg, json_t *row, size_t line)
{
    struct set *s = arg;
    json_t *task;

    if (json_array_size(s->tasks) == TASKS_MAX) {
        term_error("%s: more than %d tasks", s->file, TASKS_MAX);
        return CLI_LOCAL;
    }
    task = set_task(s->format, s->language, row, s->file, line);
    if (task == NULL)
        s->faults++;
    else if (json_array_append_new(s->tasks, task) != 0)
        return CLI_LOCAL;
    return CLI_OK;
}

/* ---- recording ------------------------------------------------------------------------------------------- */

static int record_begin(struct cli *c, json_t *task)
{
    const struct set_language *l = set_language_find(js_str(task, "language"));
    CLI_CLEANUP_STR char *spec = l->compose == NULL ? json_dumps(task, JSON_COMPACT) : cli_strdup("");
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = api_post(c, "/task", json_pack("{s:s, s:s, s:s}", "language", l->name, "code", set_text(l, task, "record"), "input", spec), &a);

    if (rc == CLI_OK && json_object_set(task, "task", json_object_get(a.json, "task_id")) != 0)
        rc = CLI_SERVER;
    return rc;
}

static int task_wait(struct cli *c, const char *id, json_t **result)
{
    CLI_CLEANUP_STR char *path = api_path("/status/", id, "");
    CLI_CLEANUP_STR char *get = api_path("/result/", id, "");
    API_CLEANUP struct api_answer r = {.status = 0};
    long ms = 10;
    int rc;

    for (;; ms = ms < 500 ? ms * 2 : 500) {
        struct timespec t = {ms / 1000, ms % 1000 * 1000000};
        API_CLEANUP struct api_answer a = {.status = 0};

        rc = api_get(c, path, &a);
        if (rc != CLI_OK)
            return rc;
        if (strcmp(js_str(a.json, "status"), "ready") == 0)
            break;
        nanosleep(&t, NULL);
    }
    rc = api_get(c, get, &r);
    if (rc == CLI_OK)
        *result = json_incref(json_object_get(r.json, "result"));
    return rc;
}

/* The task's calls; faults counts those that have none. */
static int record_end(struct cli *c, json_t *task, size_t *faults)
{
    CLI_CLEANUP_JSON json_t *said = NULL, *answer = NULL;
    CLI_CLEANUP_STR char *calls = NULL, *path = api_path("/task?id=", js_str(task, "task"), "");
    API_CLEANUP struct api_answer gone = {.status = 0};
    struct api_call remove = {.method = "DELETE", .path = path, .quiet = true};
    const char *text, *why;
    int rc = task_wait(c, js_str(task, "task"), &said);

    if (rc != CLI_OK)
        return rc;
    rc = api_do(c, &remove, &gone); /* what it wrote is not kept for anybody to read */
    if (rc != CLI_OK)
        return rc;
    text = json_string_value(said) != NULL ? json_string_value(said) : "";
    answer = json_loads(text, 0, NULL);
    calls = js_str(answer, "calls")[0] != '\0' ? set_calls(js_str(answer, "calls")) : js_str(answer, "text")[0] != '\0' ? cli_strdup(js_str(answer, "text")) : NULL;
    if (calls != NULL)
        return json_object_set_new(task, "calls", json_string(calls)) == 0 ? CLI_OK : CLI_LOCAL;
    ++*faults;
    why = answer != NULL && js_str(answer, "error")[0] != '\0' ? js_str(answer, "error") : text;
    term_error("%s: its own solution does not pass its test in a box: %.300s", js_str(task, "id"), why[0] != '\0' ? why : "no answer");
    return CLI_OK;
}

static int record_all(struct cli *c, json_t *tasks, size_t *faults)
{
    size_t n = json_array_size(tasks), begun = 0;
    int rc = CLI_OK;

    for (size_t i = 0; rc == CLI_OK && i < n; i++) {
        for (; rc == CLI_OK && begun < n && begun < i + UNDER_WAY; begun++)
            rc = record_begin(c, json_array_get(tasks, begun));
        if (rc == CLI_OK)
            rc = record_end(c, json_array_get(tasks, i), faults);
    }
    return rc;
}

/* ---- making ---------------------------------------------------------------------------------------------- */

/* "HumanEval/12" in benchmark "he" is "he.12". */
static char *problem_id(const char *benchmark, const char *task)
{
    const char *slash = strrchr(task, '/');
    char *id = cli_fmt("%s.%s", benchmark, slash != NULL ? slash + 1 : task);

    for (char *p = id; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL)
            *p = '-';
    }
    return id;
}

static int make_problem(struct cli *c, const char *benchmark, const json_t *task, long time_ms, long memory_mb)
{
    const struct set_language *l = set_language_find(js_str(task, "language"));
    CLI_CLEANUP_STR char *path = api_path("/benchmarks/", benchmark, "/problems");
    CLI_CLEANUP_STR char *id = problem_id(benchmark, js_str(task, "id"));
    CLI_CLEANUP_JSON json_t *spec = json_pack("{s:O, s:O, s:O}", "setup", json_object_get(task, "setup"), "test",
                                              json_object_get(task, "test"), "names", json_object_get(task, "names"));
    CLI_CLEANUP_STR char *hidden = spec != NULL ? json_dumps(spec, JSON_COMPACT) : NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    json_t *options = json_pack("[{s:s, s:[]}]", "language", l->name, "allowed"); /* the calls are made as they were recorded */

    return api_post(c, path,
                    json_pack("{s:s, s:O, s:O, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:i}, s:{s:I, s:I, s:I, s:i}, s:o, s:[{s:O, s:s}]}", "id", id, "name",
                              json_object_get(task, "id"), "statement", json_object_get(task, "statement"), "mode", "function",
                              "harness", "language", l->name, "source", set_text(l, task, "program"),
                              "checker", "kind", "validator", "language", l->name, "source", set_text(l, task, "prove"), "time_limit_ms", CHECK_MS,
                              "limits", "time_limit_ms", (json_int_t)time_ms, "wall_limit_ms", (json_int_t)time_ms * 4 + 10000, "memory_limit_bytes", (json_int_t)memory_mb << 20,
                              "output_limit_bytes", OUTPUT_LIMIT, "compiler_options", options,
                              "tests", "input", json_object_get(task, "calls"), "expected_output", hidden),
                    &a);
}

static int make_all(struct cli *c, const struct set *s, const char *benchmark, const char *name, long time_ms, long memory_mb)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    const json_t *first = json_array_get(s->tasks, 0), *task;
    size_t i;
    CLI_CLEANUP_STR char *text = cli_fmt("%zu tasks in %s, from %s. Completions: %s.", json_array_size(s->tasks), js_str(first, "language"),
                                         set_format_names[s->format],
                                         json_is_true(json_object_get(first, "whole")) ? SET_WHOLE : SET_AFTER);
    int rc = api_post(c, "/benchmarks", json_pack("{s:s, s:s, s:s, s:[s]}", "id", benchmark, "name", name, "description", text, "languages",
                                                  js_str(first, "language")), &a);

    json_array_foreach(s->tasks, i, task)
        if (rc == CLI_OK)
            rc = make_problem(c, benchmark, task, time_ms, memory_mb);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------------------- */

static int number(const struct cli_command *cmd, const char *option, const char *text, long least, long most, long *out)
{
    char *end = NULL;
    long n;

    if (text == NULL)
        return CLI_OK;
    n = strtol(text, &end, 10);
    if (end == text || *end != '\0' || n < least || n > most)
        return cli_usage(cmd, "--%s is a number from %ld to %ld", option, least, most);
    *out = n;
    return CLI_OK;
}

bool set_import_wanted(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        for (size_t k = 0; set_format_names[k] != NULL; k++)
            if (strcmp(argv[i], set_format_names[k]) == 0)
                return true;
    return false;
}

int set_import(struct cli *c, int argc, char **argv)
{
    const char *benchmark = NULL, *name = NULL, *language = NULL, *time = NULL, *memory = NULL;
    bool skip = false;
    const struct cli_option o[] = {{.name = "benchmark", .letter = 'b', .value = &benchmark}, {.name = "name", .value = &name},
        {.name = "language", .letter = 'l', .value = &language}, {.name = "time-limit-ms", .value = &time},
        {.name = "memory-limit-mb", .value = &memory}, {.name = "skip", .flag = &skip}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("import");
    struct set s = {.tasks = NULL};
    CLI_CLEANUP_JSON json_t *tasks = NULL;
    long time_ms = 5000, memory_mb = 512;
    size_t faults = 0;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc == CLI_OK)
        rc = number(cmd, "time-limit-ms", time, 100, 600000, &time_ms);
    if (rc == CLI_OK)
        rc = number(cmd, "memory-limit-mb", memory, 16, 16384, &memory_mb);
    if (rc != CLI_OK)
        return rc;
    if (argc != 2)
        return cli_usage(cmd, "name a format (humaneval, mbpp, humaneval-x) and a file");
    while (set_format_names[s.format] != NULL && strcmp(set_format_names[s.format], argv[0]) != 0)
        s.format++;
    if (set_format_names[s.format] == NULL)
        return cli_usage(cmd, "the format stands before the file: import humaneval FILE");
    if (benchmark == NULL)
        return cli_usage(cmd, "name the benchmark that it becomes: -b ID");
    s.file = argv[1];
    s.language = language;
    s.tasks = tasks = json_array();
    rc = set_lines(s.file, on_row, &s);
    if (rc == CLI_OK && s.faults > 0) {
        term_note("Nothing was made. Mend these lines, or is it another format than %s?", argv[0]);
        rc = CLI_LOCAL;
    }
    if (rc == CLI_OK && json_array_size(tasks) == 0) {
        term_error("%s holds no task", s.file);
        rc = CLI_LOCAL;
    }
    if (rc == CLI_OK)
        rc = record_all(c, tasks, &faults);
    if (rc != CLI_OK)
        return rc;
    for (size_t i = json_array_size(tasks); skip && i-- > 0;)
        if (json_object_get(json_array_get(tasks, i), "calls") == NULL && json_array_remove(tasks, i) != 0)
            return CLI_LOCAL;
    if ((faults > 0 && !skip) || json_array_size(tasks) == 0) {
        term_note("Nothing was made. To leave out such tasks: --skip");
        return CLI_NOT_ACCEPTED;
    }
    rc = make_all(c, &s, benchmark, name != NULL ? name : benchmark, time_ms, memory_mb);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        CLI_CLEANUP_JSON json_t *said = json_pack("{s:s, s:I, s:I}", "benchmark_id", benchmark, "problems", (json_int_t)json_array_size(tasks),
                                                  "left_out", (json_int_t)faults);

        term_json(said);
    } else {
        printf("%s: %zu problems; each one's own solution passes its test\n", benchmark, json_array_size(tasks));
        printf("Samples: assay submit-samples -b %s -a AGENT SAMPLES.jsonl\n", benchmark);
    }
    return CLI_OK;
}
