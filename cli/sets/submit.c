/*
 * assay submit-samples: a file of completions becomes submissions, and their verdicts a table with pass@k.
 *
 * Samples go in batches.  What finds no place in the queue is sent again after the time that the server says; an item that is
 * refused for another reason ends the command, since all others would be too.
 */
#include "cli/sets/sets.h"

#include <time.h>

#define BATCH 50
#define BATCH_BYTES ((size_t)8 << 20)

struct samples {
    struct cli *c;
    const char *benchmark, *agent, *file;
    char *language;
    bool whole;
    json_t *problems; /* task id to {problem, statement} */
    json_t *waiting;  /* items of the next batch */
    json_t *sent;     /* {task_id, problem_id, submission_id} */
    json_t *about;    /* of the items in waiting: task ids */
    size_t bytes;
};

static void pause_s(long s)
{
    struct timespec t = {s, 0};

    nanosleep(&t, NULL);
}

/* Sends what waits; what finds no place stays. */
static int send_once(struct samples *s, long *pause)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    CLI_CLEANUP_JSON json_t *rest = json_array(), *about = json_array();
    const json_t *items, *item;
    size_t i;
    int rc = api_post(s->c, "/submissions/batch", json_pack("{s:O}", "items", s->waiting), &a);

    *pause = 0;
    if (rc != CLI_OK)
        return rc;
    items = json_object_get(a.json, "items");
    json_array_foreach(items, i, item) {
        double status = js_num(item, "status", 0);
        json_t *task = json_array_get(s->about, i), *problem = json_object_get(json_array_get(s->waiting, i), "problem_id");

        if (status == 429 || status == 503) {
            if (json_array_append(rest, json_array_get(s->waiting, i)) != 0 || json_array_append(about, task) != 0)
                return CLI_LOCAL;
            *pause = a.retry_after_s > 0 ? a.retry_after_s : 1;
        } else if (status >= 300) {
            term_error("%s: %s: %s", s->file, json_string_value(task), js_str(json_object_get(item, "error"), "detail"));
            return CLI_REFUSED;
        } else if (json_array_append_new(s->sent, json_pack("{s:O, s:O, s:s}", "task_id", task, "problem_id", problem, "submission_id",
                                                            js_str(json_object_get(item, "submission"), "id"))) != 0) {
            return CLI_LOCAL;
        }
    }
    json_decref(s->waiting);
    json_decref(s->about);
    s->waiting = json_incref(rest);
    s->about = json_incref(about);
    return CLI_OK;
}

static int send_all(struct samples *s)
{
    int rc = CLI_OK;
    long pause;

    while (rc == CLI_OK && json_array_size(s->waiting) > 0) {
        rc = send_once(s, &pause);
        if (rc == CLI_OK && pause > 0)
            pause_s(pause);
    }
    s->bytes = 0;
    return rc;
}

static int on_sample(void *arg, json_t *row, size_t line)
{
    struct samples *s = arg;
    const json_t *id = json_object_get(row, "task_id");
    const char *whole = json_string_value(json_object_get(row, "solution"));
    const char *completion = json_string_value(json_object_get(row, "completion"));
    CLI_CLEANUP_STR char *task = json_is_integer(id) ? cli_fmt("%lld", (long long)json_integer_value(id))
                                                     : cli_strdup(json_is_string(id) ? json_string_value(id) : "");
    const json_t *problem = json_object_get(s->problems, task);
    CLI_CLEANUP_STR char *source = NULL;
    json_t *item;

    if (problem == NULL) {
        term_error("%s:%zu: the benchmark has no task \"%s\"", s->file, line, task);
        return CLI_LOCAL;
    }
    if (whole == NULL && completion == NULL) {
        term_error("%s:%zu: has neither \"completion\" nor \"solution\"", s->file, line);
        return CLI_LOCAL;
    }
    source = whole != NULL ? cli_strdup(whole) : cli_fmt("%s%s", s->whole ? "" : js_str(problem, "statement"), completion);
    if (source[0] == '\0') { /* a model may say nothing, and is wrong then */
        free(source);
        source = cli_strdup("\n");
    }
    if (json_array_size(s->waiting) == BATCH || s->bytes + strlen(source) > BATCH_BYTES) {
        int rc = send_all(s);

        if (rc != CLI_OK)
            return rc;
    }
    item = json_pack("{s:s, s:O, s:s*, s:s, s:s}", "benchmark_id", s->benchmark, "problem_id", json_object_get(problem, "id"), "agent_id",
                     s->agent, "language", s->language, "source", source);
    s->bytes += strlen(source);
    return item != NULL && json_array_append_new(s->waiting, item) == 0 && json_array_append_new(s->about, json_string(task)) == 0 ? CLI_OK
                                                                                                                             : CLI_LOCAL;
}

/* The benchmark's problems by their names, which are the tasks'; and whether completions are whole programs. */
static int look(struct samples *s, const char *language)
{
    CLI_CLEANUP_STR char *path = api_path("/benchmarks/", s->benchmark, "");
    CLI_CLEANUP_STR char *list = api_path("/benchmarks/", s->benchmark, "/problems");
    API_CLEANUP struct api_answer a = {.status = 0};
    CLI_CLEANUP_JSON json_t *items = NULL;
    json_t *p;
    size_t i;
    int rc = api_get(s->c, path, &a);

    if (rc == CLI_OK)
        rc = api_list(s->c, list, 100000, &items);
    if (rc != CLI_OK)
        return rc;
    s->whole = s->whole || strstr(js_str(a.json, "description"), "Completions: " SET_WHOLE) != NULL;
    if (language == NULL)
        language = json_string_value(json_array_get(json_object_get(a.json, "languages"), 0));
    if (language == NULL) {
        term_error("the benchmark takes every language; say which the samples are in: -l LANGUAGE");
        return CLI_USAGE;
    }
    s->language = cli_strdup(language);
    json_array_foreach(items, i, p) {
        CLI_CLEANUP_STR char *one = api_path("/problems/", js_id(p), "");
        API_CLEANUP struct api_answer d = {.status = 0};

        if (!s->whole && (rc = api_get(s->c, one, &d)) != CLI_OK) /* a list has no statements */
            return rc;
        if (json_object_set_new(s->problems, js_str(p, "name"), json_pack("{s:s, s:s}", "id", js_id(p), "statement",
                                                                          js_str(d.json, "statement"))) != 0)
            return CLI_LOCAL;
    }
    return CLI_OK;
}

/* ---- verdicts -------------------------------------------------------------------------------------------- */

static int wait_one(struct cli *c, const char *id, time_t until, json_t **out)
{
    CLI_CLEANUP_STR char *path = api_path("/submissions/", id, "");
    long ms = 20;

    for (;; ms = ms < 400 ? ms * 3 / 2 : 400) {
        struct timespec t = {0, ms * 1000000};
        API_CLEANUP struct api_answer a = {.status = 0};
        int rc = api_get(c, path, &a);

        if (rc != CLI_OK)
            return rc;
        if (js_str(a.json, "finished_at")[0] != '\0') {
            *out = json_incref(a.json);
            return CLI_OK;
        }
        if (until != 0 && time(NULL) >= until) {
            term_error("submission %s is not done in that time", id);
            return CLI_TIMEOUT;
        }
        nanosleep(&t, NULL);
    }
}

/* From the last to the first: when the last is done, nearly all others are. */
static int wait_all(struct samples *s, double timeout_s)
{
    time_t until = timeout_s > 0 ? time(NULL) + (time_t)timeout_s : 0;

    for (size_t i = json_array_size(s->sent); i-- > 0;) {
        CLI_CLEANUP_JSON json_t *done = NULL;
        json_t *row = json_array_get(s->sent, i);
        int rc = wait_one(s->c, js_str(row, "submission_id"), until, &done);

        if (rc != CLI_OK)
            return rc;
        if (json_object_set(row, "verdict", json_object_get(done, "verdict")) != 0)
            return CLI_LOCAL;
    }
    return CLI_OK;
}

/* Faults of the server's (IE, or no verdict) are no samples. */
static json_t *figures(const json_t *sent)
{
    static const size_t ks[] = {1, 5, 10, 100};
    CLI_CLEANUP_JSON json_t *by_task = json_object();
    json_t *at = json_object(), *verdicts = json_object(), *row, *counts;
    size_t i, least = SIZE_MAX, tasks = 0, passed = 0;
    const char *key;

    json_array_foreach(sent, i, row) {
        const char *verdict = js_str(row, "verdict"), *id = js_str(row, "problem_id");
        bool ok = strcmp(verdict, "OK") == 0;

        if (json_object_set_new(verdicts, verdict[0] != '\0' ? verdict : "none", json_integer((json_int_t)js_num(verdicts, verdict, 0) + 1)) != 0)
            break;
        if (verdict[0] == '\0' || strcmp(verdict, "IE") == 0)
            continue;
        passed += ok;
        counts = json_object_get(by_task, id);
        if (json_object_set_new(by_task, id, json_pack("{s:I, s:I}", "n", (json_int_t)js_num(counts, "n", 0) + 1, "c",
                                                       (json_int_t)js_num(counts, "c", 0) + ok)) != 0)
            break;
    }
    json_object_foreach(by_task, key, counts) {
        size_t n = (size_t)js_num(counts, "n", 0);

        least = n < least ? n : least;
        tasks++;
    }
    for (size_t k = 0; k < sizeof(ks) / sizeof(ks[0]) && tasks > 0 && ks[k] <= least; k++) {
        char name[24];
        double sum = 0;

        json_object_foreach(by_task, key, counts)
            sum += set_pass_at((size_t)js_num(counts, "n", 0), (size_t)js_num(counts, "c", 0), ks[k]);
        snprintf(name, sizeof(name), "%zu", ks[k]);
        if (json_object_set_new(at, name, json_real(sum / (double)tasks)) != 0)
            break;
    }
    return json_pack("{s:I, s:I, s:I, s:o, s:o}", "samples", (json_int_t)json_array_size(sent), "passed", (json_int_t)passed, "problems",
                     (json_int_t)tasks, "verdicts", verdicts, "pass_at", at);
}

static void show(const json_t *f)
{
    json_t *v;
    const char *key;

    printf("%.0f samples of %.0f problems:", js_num(f, "samples", 0), js_num(f, "problems", 0));
    json_object_foreach(json_object_get(f, "verdicts"), key, v)
        printf(" %lld %s", (long long)json_integer_value(v), key);
    putchar('\n');
    json_object_foreach(json_object_get(f, "pass_at"), key, v)
        printf("pass@%-3s %.4f\n", key, json_real_value(v));
}

int cmd_submit_samples(struct cli *c, int argc, char **argv)
{
    const char *benchmark = NULL, *agent = NULL, *language = NULL, *timeout = NULL;
    bool whole = false, wait = false;
    const struct cli_option o[] = {{.name = "benchmark", .letter = 'b', .value = &benchmark}, {.name = "agent", .letter = 'a', .value = &agent},
        {.name = "language", .letter = 'l', .value = &language}, {.name = "timeout", .value = &timeout}, {.name = "whole", .flag = &whole},
        {.name = "wait", .flag = &wait}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("submit-samples");
    CLI_CLEANUP_JSON json_t *problems = json_object(), *sent = json_array(), *made = NULL;
    struct samples s = {.c = c, .problems = problems, .waiting = json_array(), .about = json_array(), .sent = sent};
    double timeout_s = 0;
    char *end = NULL;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc == CLI_OK && timeout != NULL && ((timeout_s = strtod(timeout, &end)) <= 0 || *end != '\0'))
        rc = cli_usage(cmd, "--timeout is a number of seconds above 0");
    if (rc == CLI_OK && (argc != 1 || benchmark == NULL))
        rc = cli_usage(cmd, "name the benchmark (-b) and one file of samples");
    s.benchmark = benchmark;
    s.agent = agent;
    s.file = argc > 0 ? argv[0] : "";
    s.whole = whole;
    if (rc == CLI_OK)
        rc = look(&s, language);
    if (rc == CLI_OK)
        rc = set_lines(s.file, on_sample, &s);
    if (rc == CLI_OK)
        rc = send_all(&s);
    if (rc == CLI_OK && wait)
        rc = wait_all(&s, timeout_s);
    json_decref(s.waiting);
    json_decref(s.about);
    free(s.language);
    if (json_array_size(sent) > 0 && rc != CLI_OK)
        term_note("%zu samples were sent: assay submissions -b %s", json_array_size(sent), benchmark);
    if (rc != CLI_OK)
        return rc;
    made = wait ? figures(sent) : json_pack("{s:I}", "samples", (json_int_t)json_array_size(sent));
    if (c->json) {
        if (json_object_set(made, "items", sent) != 0)
            return CLI_LOCAL;
        term_json(made);
    } else if (wait) {
        show(made);
    } else {
        printf("%zu samples are sent: assay leaderboard %s\n", json_array_size(sent), benchmark);
    }
    return wait && js_num(made, "passed", 0) < js_num(made, "samples", 0) ? CLI_NOT_ACCEPTED : CLI_OK;
}
