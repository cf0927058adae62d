/*
 * export: a benchmark as one JSON file that import takes, its grades as CSV, or what was submitted, one folder each.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVERYTHING ((size_t)1000000)

static FILE *output_open(const char *path)
{
    FILE *f = path != NULL ? fopen(path, "we") : stdout;

    if (f == NULL)
        term_error("cannot write %s: %s", path, strerror(errno));
    return f;
}

static int output_close(FILE *f, const char *path)
{
    bool bad = ferror(f) != 0 || fflush(f) != 0;

    if (f != stdout && fclose(f) != 0)
        bad = true;
    if (bad)
        term_error("cannot write %s", path != NULL ? path : "the output");
    return bad ? CLI_LOCAL : CLI_OK;
}

static int keep(json_t *to, const json_t *from, const char *const *keys)
{
    for (size_t i = 0; keys[i] != NULL; i++) {
        json_t *v = json_object_get(from, keys[i]);

        if (v != NULL && !json_is_null(v) && json_object_set(to, keys[i], v) != 0)
            return CLI_LOCAL;
    }
    return CLI_OK;
}

/* ---- the benchmark ------------------------------------------------------------------------------------ */

static int export_problem(struct cli *c, const char *id, json_t *out)
{
    static const char *const keys[] = {"name", "statement", "position", "mode", "compare", "stop_on_failure", "limits", "harness", "checker",
                                       "groups", "arguments", "environment", "compiler_options", NULL};
    static const char *const tolerances[] = {"float_abs", "float_rel", NULL};
    static const char *const test_keys[] = {"name", "input", "expected_output", "sample", "points", "arguments", NULL};
    CLI_CLEANUP_STR char *path = api_path("/problems/", id, "");
    CLI_CLEANUP_STR char *tests_path = api_path("/problems/", id, "/tests");
    CLI_CLEANUP_JSON json_t *tests = NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    json_t *list = json_array(), *t;
    size_t i;
    int rc = api_get(c, path, &a);

    if (rc == CLI_OK)
        rc = keep(out, a.json, keys);
    if (rc == CLI_OK && strcmp(js_str(a.json, "compare"), "float") == 0)
        rc = keep(out, a.json, tolerances);
    if (rc == CLI_OK)
        rc = api_list(c, tests_path, EVERYTHING, &tests);
    if (rc != CLI_OK || list == NULL || json_object_set_new(out, "tests", list) != 0)
        return rc != CLI_OK ? rc : CLI_LOCAL;
    json_array_foreach(tests, i, t) {
        json_t *one = json_object();

        if (one == NULL || json_array_append_new(list, one) != 0 || keep(one, t, test_keys) != CLI_OK)
            return CLI_LOCAL;
        if (js_str(t, "group")[0] != '\0' && json_object_set(one, "group", json_object_get(t, "group")) != 0)
            return CLI_LOCAL;
    }
    return CLI_OK;
}

static int export_benchmark(struct cli *c, const char *id, const char *to)
{
    static const char *const keys[] = {"id", "name", "description", "visibility", "feedback", "starts_at", "ends_at", "freezes_at",
                                       "languages", "toolchains", "warm_interpreters", NULL};
    CLI_CLEANUP_STR char *path = api_path("/benchmarks/", id, "");
    CLI_CLEANUP_JSON json_t *all = json_pack("{s:s, s:{}, s:[]}", "format", "assay-benchmark/1", "benchmark", "problems");
    API_CLEANUP struct api_answer a = {.status = 0};
    json_t *problem;
    size_t i;
    int rc = api_get(c, path, &a);

    if (rc == CLI_OK)
        rc = all != NULL ? keep(json_object_get(all, "benchmark"), a.json, keys) : CLI_LOCAL;
    json_array_foreach(json_object_get(a.json, "problems"), i, problem) {
        json_t *one = json_object();

        if (rc == CLI_OK && (one == NULL || json_array_append_new(json_object_get(all, "problems"), one) != 0))
            return CLI_LOCAL;
        if (rc == CLI_OK)
            rc = export_problem(c, js_str(problem, "id"), one);
    }
    if (rc != CLI_OK)
        return rc;
    FILE *f = output_open(to);
    if (f == NULL)
        return CLI_LOCAL;
    (void)json_dumpf(all, f, JSON_INDENT(1));
    fputc('\n', f);
    return output_close(f, to);
}

/* ---- grades ------------------------------------------------------------------------------------------------ */

/* A cell as RFC 4180 has it; what a spreadsheet would take for a formula is text. */
static void cell(FILE *f, const char *text, bool last)
{
    bool quote = strpbrk(text, ",\"\r\n") != NULL, formula = text[0] != '\0' && strchr("=+-@\t", text[0]) != NULL;

    if (quote || formula)
        fputc('"', f);
    if (formula)
        fputc('\'', f);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"')
            fputc('"', f);
        fputc(*p, f);
    }
    if (quote || formula)
        fputc('"', f);
    fputs(last ? "\r\n" : ",", f);
}

static int submissions_of(struct cli *c, const char *id, json_t **out)
{
    CLI_CLEANUP_STR char *path = cli_strdup("/submissions");

    api_query(&path, "benchmark_id", id);
    return api_list(c, path, EVERYTHING, out);
}

static int export_grades(struct cli *c, const char *id, const char *to)
{
    static const char *const columns[] = {"id", "agent_id", "owner_id", "problem_id", "language", "created_at", "finished_at", "status", "verdict"};
    static const char *const heads[] = {"submission", "agent", "owner", "problem", "language", "submitted", "finished", "status", "verdict"};
    CLI_CLEANUP_JSON json_t *list = NULL;
    json_t *s;
    size_t i;
    int rc = submissions_of(c, id, &list);
    FILE *f = rc == CLI_OK ? output_open(to) : NULL;

    if (f == NULL)
        return rc != CLI_OK ? rc : CLI_LOCAL;
    for (size_t k = 0; k < sizeof heads / sizeof heads[0]; k++)
        cell(f, heads[k], false);
    cell(f, "score", true);
    json_array_foreach(list, i, s) {
        char score[40] = "";

        if (js_str(s, "agent_id")[0] == '\0') /* the jury's are no grades */
            continue;
        for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++)
            cell(f, js_str(s, columns[k]), false);
        if (json_is_number(json_object_get(s, "score")))
            snprintf(score, sizeof score, "%.10g", json_number_value(json_object_get(s, "score")));
        fputs(score, f);
        fputs("\r\n", f);
    }
    return output_close(f, to);
}

/* ---- sources -------------------------------------------------------------------------------------------------- */

static int source_write(const char *dir, const char *name, const json_t *text)
{
    CLI_CLEANUP_STR char *path = cli_fmt("%s/%s", dir, name);
    const char *p = json_string_value(text);
    size_t n = json_string_length(text);

    if (strstr(name, "..") != NULL || name[0] == '/' || name[0] == '\0') {
        term_error("the server names a file that is none of this folder: %s", name);
        return CLI_SERVER;
    }
    for (char *slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0777);
        *slash = '/';
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    bool ok = fd >= 0;
    while (ok && n > 0) {
        ssize_t put = write(fd, p, n);

        ok = put > 0 || (put < 0 && errno == EINTR);
        p += put > 0 ? put : 0;
        n -= put > 0 ? (size_t)put : 0;
    }
    if (!ok)
        term_error("cannot write %s: %s", path, strerror(errno));
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    return ok ? CLI_OK : CLI_LOCAL;
}

/* DIR/AGENT-SUBMISSION/files: the last of each agent's are not told apart from the others, since copies may be in any. */
static int export_sources(struct cli *c, const char *id, const char *dir)
{
    CLI_CLEANUP_JSON json_t *list = NULL;
    json_t *s;
    size_t i, made = 0;
    int rc = submissions_of(c, id, &list);

    if (rc == CLI_OK && mkdir(dir, 0777) != 0 && errno != EEXIST) {
        term_error("cannot make %s: %s", dir, strerror(errno));
        return CLI_LOCAL;
    }
    json_array_foreach(list, i, s) {
        if (rc != CLI_OK)
            break;
        if (js_str(s, "agent_id")[0] == '\0' || js_str(s, "language")[0] == '\0')
            continue;
        CLI_CLEANUP_STR char *path = api_path("/submissions/", js_str(s, "id"), "/source");
        CLI_CLEANUP_STR char *folder = cli_fmt("%s/%s-%s", dir, js_str(s, "agent_id"), js_str(s, "id"));
        API_CLEANUP struct api_answer a = {.status = 0};
        const char *name;
        json_t *text;

        rc = api_get(c, path, &a);
        if (rc != CLI_OK)
            break;
        if (mkdir(folder, 0777) != 0) {
            term_error("cannot make %s: %s", folder, strerror(errno));
            return CLI_LOCAL;
        }
        if (json_is_string(json_object_get(a.json, "source"))) {
            CLI_CLEANUP_STR char *called = cli_fmt("source.%s", js_str(s, "language"));

            rc = source_write(folder, called, json_object_get(a.json, "source"));
        }
        json_object_foreach(json_object_get(a.json, "files"), name, text)
            if (rc == CLI_OK)
                rc = source_write(folder, name, text);
        made++;
    }
    if (rc == CLI_OK)
        fprintf(stderr, "%zu submissions below %s\n", made, dir);
    return rc;
}

int cmd_export(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = cli_command_find("export");
    const char *to = NULL, *sources = NULL;
    bool grades = false;
    const struct cli_option options[] = {{.name = "output", .letter = 'o', .value = &to},
                                         {.name = "grades", .flag = &grades},
                                         {.name = "sources", .value = &sources},
                                         {.name = NULL}};
    int rc = cli_options(c, cmd, &argc, argv, options);

    if (rc != CLI_OK)
        return rc;
    if (argc != 1)
        return cli_usage(cmd, "name one benchmark");
    if (sources != NULL && (grades || to != NULL))
        return cli_usage(cmd, "--sources goes alone");
    if (sources != NULL)
        return export_sources(c, argv[0], sources);
    return grades ? export_grades(c, argv[0], to) : export_benchmark(c, argv[0], to);
}
