/*
 * import: a problem package (a folder or a ZIP) becomes a benchmark or a problem, and the jury's submissions are judged;
 * or a benchmark that export has written is made again.
 */
#include "cli.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- the jury's submissions --------------------------------------------------------------------------------- */

static int submit_jury(struct cli *c, const char *benchmark, const char *problem, const json_t *s, json_t *report)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    json_t *body = json_pack("{s:s, s:s, s:s, s:b, s:O*, s:O*}", "benchmark_id", benchmark, "problem_id", problem, "language",
                             js_str(s, "language"), "jury", 1, "source", json_object_get(s, "source"), "files", json_object_get(s, "files"));
    struct api_call call = {.method = "POST", .path = "/submissions", .body = body, .create = true, .quiet = true};
    int rc = body != NULL ? api_do(c, &call, &a) : CLI_LOCAL;
    json_t *row = json_pack("{s:s, s:O, s:b}", "path", js_str(s, "path"), "expected", json_object_get(s, "expected"), "partial",
                            json_is_true(json_object_get(s, "partial")));

    json_decref(body);
    if (rc != CLI_OK || row == NULL || json_array_append_new(report, row) != 0)
        return rc != CLI_OK ? rc : CLI_LOCAL;
    if (a.status < 200 || a.status > 299)
        return json_object_set_new(row, "refused", json_string(js_str(a.json, "detail"))) == 0 ? CLI_OK : CLI_LOCAL;
    return json_object_set_new(row, "id", json_string(js_str(a.json, "id"))) == 0 ? CLI_OK : CLI_LOCAL;
}

static bool as_expected(const json_t *row, const char *verdict, double score)
{
    json_t *list = json_object_get(row, "expected"), *v;
    size_t i;

    if (json_is_true(json_object_get(row, "partial")) && !(score > 0 && score < 100))
        return false;
    if (json_array_size(list) == 0)
        return true; /* nobody has said */
    json_array_foreach(list, i, v)
        if (strcmp(json_string_value(v), verdict) == 0)
            return true;
    return false;
}

/* Waits for each and sets verdict, score and ok. */
static int await_jury(struct cli *c, json_t *report, double timeout_s, size_t *wrong)
{
    struct timespec begin, now;
    json_t *row;
    size_t i;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    json_array_foreach(report, i, row) {
        CLI_CLEANUP_STR char *path = api_path("/submissions/", js_str(row, "id"), "");
        bool ended = json_object_get(row, "id") == NULL;

        while (!ended) {
            API_CLEANUP struct api_answer a = {.status = 0};
            struct timespec nap = {0, 100000000};
            int rc = api_get(c, path, &a);

            if (rc != CLI_OK)
                return rc;
            ended = !json_is_null(json_object_get(a.json, "finished_at")) && json_object_get(a.json, "finished_at") != NULL;
            if (ended) {
                const char *verdict = js_str(a.json, "verdict")[0] != '\0' ? js_str(a.json, "verdict") : js_str(a.json, "status");
                json_t *score = json_object_get(a.json, "score");
                bool ok = as_expected(row, verdict, json_number_value(score));

                if (json_object_set_new(row, "verdict", json_string(verdict)) != 0 || json_object_set(row, "score", score) != 0 ||
                    json_object_set_new(row, "ok", json_boolean(ok)) != 0)
                    return CLI_LOCAL;
                break;
            }
            clock_gettime(CLOCK_MONOTONIC, &now);
            if (timeout_s > 0 && (double)(now.tv_sec - begin.tv_sec) > timeout_s) {
                term_error("the jury's submissions are not judged after %g s", timeout_s);
                return CLI_TIMEOUT;
            }
            nanosleep(&nap, NULL);
        }
        *wrong += !json_is_true(json_object_get(row, "ok"));
    }
    return CLI_OK;
}

static void report_print(const json_t *report, size_t wrong)
{
    struct term_table t = {.columns = 4};
    json_t *row;
    size_t i;

    term_cell(&t, "submission");
    term_cell(&t, "expected");
    term_cell(&t, "verdict");
    term_cell(&t, "");
    json_array_foreach((json_t *)(uintptr_t)report, i, row) {
        json_t *list = json_object_get(row, "expected");
        char text[100] = "";

        for (size_t k = 0; k < json_array_size(list); k++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", k != 0 ? "|" : "", json_string_value(json_array_get(list, k)));
        term_cell(&t, js_str(row, "path"));
        term_cell(&t, text[0] != '\0' ? text : "-");
        term_cell(&t, json_object_get(row, "refused") != NULL ? js_str(row, "refused") : js_str(row, "verdict"));
        term_cell(&t, json_is_true(json_object_get(row, "ok")) ? "" : "DIFFERS");
    }
    term_table_print(&t, stdout);
    printf("%zu of %zu submissions of the jury got what they should\n", json_array_size(report) - wrong, json_array_size(report));
}

static int import_package(struct cli *c, const char *path, const char *id, const char *into, bool judge, double timeout_s)
{
    CLI_CLEANUP_STR char *bytes = NULL;
    CLI_CLEANUP_STR char *url = cli_strdup("/benchmarks/import");
    CLI_CLEANUP_JSON json_t *report = json_array();
    API_CLEANUP struct api_answer a = {.status = 0};
    struct stat st;
    size_t n = 0, wrong = 0, i;
    json_t *note, *s;
    int rc = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? zip_folder(path, true, &bytes, &n) : zip_file(path, &bytes, &n);

    if (rc != CLI_OK)
        return rc;
    api_query(&url, "id", id);
    api_query(&url, "benchmark_id", into);
    struct api_call call = {.method = "POST", .path = url, .raw = bytes, .raw_n = n, .raw_type = "application/zip", .create = true};
    rc = api_do(c, &call, &a);
    if (rc != CLI_OK)
        return rc;
    const json_t *benchmark = json_object_get(a.json, "benchmark"), *problem = json_object_get(a.json, "problem");
    char *bid = cli_strdup(benchmark != NULL ? js_str(benchmark, "id") : into);
    char *pid = cli_strdup(problem != NULL ? js_str(problem, "id") : js_str(json_array_get(json_object_get(benchmark, "problems"), 0), "id"));
    if (!c->json) {
        printf("benchmark %s, problem %s\n", bid, pid);
        json_array_foreach(json_object_get(a.json, "notes"), i, note)
            term_note("%s", json_string_value(note));
    }
    json_array_foreach(json_object_get(a.json, "submissions"), i, s)
        if (judge && rc == CLI_OK)
            rc = submit_jury(c, bid, pid, s, report);
    if (rc == CLI_OK)
        rc = await_jury(c, report, timeout_s, &wrong);
    if (c->json && rc == CLI_OK) {
        CLI_CLEANUP_JSON json_t *all = json_pack("{s:s, s:s, s:O, s:O}", "benchmark_id", bid, "problem_id", pid, "notes",
                                                 json_object_get(a.json, "notes"), "submissions", report);
        term_json(all);
    } else if (rc == CLI_OK && judge) {
        report_print(report, wrong);
    }
    free(bid);
    free(pid);
    return rc != CLI_OK ? rc : wrong != 0 ? CLI_NOT_ACCEPTED : CLI_OK;
}

/* ---- what export wrote ------------------------------------------------------------------------------------------ */

static int import_native(struct cli *c, const char *path, const char *text, size_t n, const char *id)
{
    json_error_t e;
    CLI_CLEANUP_JSON json_t *all = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    json_t *benchmark = json_object_get(all, "benchmark"), *problem, *problems = json_object_get(all, "problems");
    API_CLEANUP struct api_answer a = {.status = 0};
    size_t i;

    if (all == NULL) {
        term_error("%s:%d: %s", path, e.line, e.text);
        return CLI_LOCAL;
    }
    if (strcmp(js_str(all, "format"), "assay-benchmark/1") != 0 || !json_is_object(benchmark) || !json_is_array(problems)) {
        term_error("%s is not what assay export writes (\"format\": \"assay-benchmark/1\")", path);
        return CLI_LOCAL;
    }
    if (id != NULL && json_object_set_new(benchmark, "id", json_string(id)) != 0)
        return CLI_LOCAL;
    int rc = api_post(c, "/benchmarks", json_incref(benchmark), &a);
    if (rc != CLI_OK)
        return rc;
    CLI_CLEANUP_STR char *made = cli_strdup(js_str(a.json, "id"));
    CLI_CLEANUP_STR char *to = api_path("/benchmarks/", made, "/problems");
    json_array_foreach(problems, i, problem) {
        API_CLEANUP struct api_answer b = {.status = 0};

        rc = api_post(c, to, json_incref(problem), &b);
        if (rc != CLI_OK) {
            term_note("The benchmark %s has the %zu problems before this one.", made, i);
            return rc;
        }
    }
    if (c->json)
        term_json(a.json);
    else
        printf("benchmark %s, %zu problems\n", made, json_array_size(problems));
    return CLI_OK;
}

int cmd_import(struct cli *c, int argc, char **argv)
{
    if (set_import_wanted(argc, argv))
        return set_import(c, argc, argv);

    const struct cli_command *cmd = cli_command_find("import");
    const char *id = NULL, *into = NULL, *timeout = NULL;
    bool no_judge = false;
    const struct cli_option options[] = {{.name = "id", .value = &id},
                                         {.name = "benchmark", .letter = 'b', .value = &into},
                                         {.name = "no-judge", .flag = &no_judge},
                                         {.name = "timeout", .value = &timeout},
                                         {.name = NULL}};
    int rc = cli_options(c, cmd, &argc, argv, options);
    char *end = NULL;
    double timeout_s = timeout != NULL ? strtod(timeout, &end) : 0;
    struct stat st;

    if (rc != CLI_OK)
        return rc;
    if (argc != 1)
        return cli_usage(cmd, "name one package or file");
    if (timeout != NULL && (*end != '\0' || !(timeout_s > 0)))
        return cli_usage(cmd, "--timeout is a number of seconds");
    if (stat(argv[0], &st) != 0) {
        term_error("cannot read %s: %s", argv[0], strerror(errno));
        return CLI_LOCAL;
    }
    size_t length = strlen(argv[0]);
    if (!S_ISDIR(st.st_mode) && length > 5 && strcmp(argv[0] + length - 5, ".json") == 0) {
        CLI_CLEANUP_STR char *text = NULL;
        size_t n;

        rc = zip_file(argv[0], &text, &n);
        return rc == CLI_OK ? import_native(c, argv[0], text, n, id) : rc;
    }
    return import_package(c, argv[0], id, into, !no_judge, timeout_s);
}
