/* submit, submissions, cancel */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <sys/stat.h>

#define FILE_MAX ((size_t)16 << 20)

/* Only where an extension has one meaning. */
static const struct {
    const char *extension, *language;
} by_extension[] = {
    {"c", "c"},      {"cc", "cpp"},  {"cpp", "cpp"},       {"cxx", "cpp"},  {"py", "python"}, {"java", "java"}, {"go", "go"},
    {"rs", "rust"},  {"js", "javascript"}, {"mjs", "javascript"}, {"sh", "bash"}, {"pl", "perl"},
};

static const char *language_of(const char *file)
{
    const char *dot = strrchr(file, '.');

    for (size_t i = 0; dot != NULL && i < sizeof(by_extension) / sizeof(by_extension[0]); i++)
        if (strcmp(dot + 1, by_extension[i].extension) == 0)
            return by_extension[i].language;
    return NULL;
}

/* A whole file as a JSON string; NULL with a message. */
static json_t *file_read(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    size_t n = 0, room = 65536;
    char *p = malloc(room);
    json_t *s = NULL;
    struct stat st;

    if (f == NULL) {
        term_error("cannot read %s: %s", path, strerror(errno));
        free(p);
        return NULL;
    }
    if (fstat(fileno(f), &st) == 0 && S_ISDIR(st.st_mode)) {
        term_error("%s is a folder; name the files", path);
        goto out;
    }
    while (p != NULL && n <= FILE_MAX) {
        size_t got = fread(p + n, 1, room - n, f);
        char *q;

        n += got;
        if (n < room)
            break;
        q = realloc(p, room * 2);
        if (q == NULL)
            free(p);
        p = q;
        room *= 2;
    }
    if (p == NULL)
        term_error("no memory for %s", path);
    else if (ferror(f))
        term_error("cannot read %s: %s", path, strerror(errno));
    else if (n > FILE_MAX)
        term_error("%s is larger than %zu MiB", path, FILE_MAX >> 20);
    else if ((s = json_stringn(p, n)) == NULL)
        term_error("%s is not UTF-8 text; programs are sent as text", path);
out:
    if (f != stdin)
        fclose(f);
    free(p);
    return s;
}

/* The name a file has in the box: the path as typed when it stays below here, else its last part. */
static const char *sent_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    while (strncmp(path, "./", 2) == 0)
        path += 2;
    if (path[0] != '/' && strstr(path, "..") == NULL)
        return path;
    return slash != NULL ? slash + 1 : path;
}

static int body_files(const struct cli_command *cmd, json_t *body, int n, char **files)
{
    json_t *map, *s;

    if (n == 1) {
        s = file_read(files[0]);
        return s != NULL && json_object_set_new(body, "source", s) == 0 ? CLI_OK : CLI_LOCAL;
    }
    map = json_object();
    if (map == NULL || json_object_set_new(body, "files", map) != 0)
        return CLI_LOCAL;
    for (int i = 0; i < n; i++) {
        const char *name = sent_name(files[i]);

        if (strcmp(files[i], "-") == 0)
            return cli_usage(cmd, "standard input has no name; among several files it cannot be sent");
        if (json_object_get(map, name) != NULL)
            return cli_usage(cmd, "two files would be called %s", name);
        s = file_read(files[i]);
        if (s == NULL || json_object_set_new(map, name, s) != 0)
            return CLI_LOCAL;
    }
    return CLI_OK;
}

static int timeout_parse(const struct cli_command *cmd, const char *text, double *out)
{
    char *end = NULL;

    *out = 0;
    if (text == NULL)
        return CLI_OK;
    errno = 0;
    *out = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !isfinite(*out) || *out <= 0)
        return cli_usage(cmd, "--timeout is a number of seconds above 0");
    return CLI_OK;
}

static int after(struct cli *c, const char *id, bool watch, double timeout_s)
{
    CLI_CLEANUP_JSON json_t *final = NULL;
    int rc = watch_until_done(c, 1, &id, timeout_s, watch && !c->json, &final);

    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(json_array_get(final, 0));
    } else if (!watch) {
        const char *verdict = js_str(json_array_get(final, 0), "verdict");

        puts(verdict[0] != '\0' ? verdict : js_str(json_array_get(final, 0), "status"));
    } else if (results_show(c, id, false) != CLI_OK) {
        term_note("The verdict stands; its details cannot be shown.");
    }
    return watch_exit(final);
}

int cmd_submit(struct cli *c, int argc, char **argv)
{
    const char *benchmark = NULL, *problem = NULL, *agent = NULL, *language = NULL, *payload = NULL, *timeout = NULL;
    bool wait = false, watch = false, id_only = false;
    const struct cli_option o[] = {{.name = "benchmark", .letter = 'b', .value = &benchmark},
        {.name = "problem", .letter = 'p', .value = &problem}, {.name = "agent", .letter = 'a', .value = &agent},
        {.name = "language", .letter = 'l', .value = &language}, {.name = "payload", .value = &payload},
        {.name = "timeout", .value = &timeout}, {.name = "wait", .flag = &wait}, {.name = "watch", .flag = &watch},
        {.name = "id-only", .flag = &id_only}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("submit");
    API_CLEANUP struct api_answer a = {.status = 0};
    CLI_CLEANUP_STR char *id = NULL;
    double timeout_s = 0;
    json_t *body;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc == CLI_OK)
        rc = timeout_parse(cmd, timeout, &timeout_s);
    if (rc != CLI_OK)
        return rc;
    if (benchmark == NULL)
        return cli_usage(cmd, "name the benchmark: -b BENCHMARK (assay benchmarks lists them)");
    if ((argc == 0) == (payload == NULL))
        return cli_usage(cmd, payload == NULL ? "name the program's files" : "files or --payload, not both");
    if (language == NULL && argc > 0) {
        language = language_of(argv[0]);
        if (language == NULL)
            return cli_usage(cmd, "the language of %s cannot be told from its name: -l LANGUAGE", argv[0]);
    }
    body = json_pack("{s:s, s:s*, s:s*, s:s*}", "benchmark_id", benchmark, "problem_id", problem, "agent_id", agent,
                     "language", language);
    if (body == NULL)
        return cli_usage(cmd, "names must be UTF-8");
    if (payload != NULL) {
        json_t *s = file_read(payload);

        rc = s != NULL && json_object_set_new(body, "payload", s) == 0 ? CLI_OK : CLI_LOCAL;
    } else {
        rc = body_files(cmd, body, argc, argv);
    }
    if (rc != CLI_OK) {
        json_decref(body);
        return rc;
    }
    rc = api_post(c, "/submissions", body, &a);
    if (rc != CLI_OK)
        return rc;
    id = cli_strdup(js_id(a.json));
    if (id[0] == '\0') {
        term_error("the server took the submission and answered without its id");
        return CLI_SERVER;
    }
    if (!watch && !wait) {
        if (c->json)
            term_json(a.json);
        else if (id_only)
            puts(id);
        else
            printf("Submission %s is queued. Follow it: assay watch %s\n", id, id);
        return CLI_OK;
    }
    if (id_only) {
        puts(id);
        fflush(stdout);
    }
    return after(c, id, watch, timeout_s);
}

int cmd_submissions(struct cli *c, int argc, char **argv)
{
    const char *benchmark = NULL, *agent = NULL, *status = NULL, *limit_text = NULL;
    const struct cli_option o[] = {{.name = "benchmark", .letter = 'b', .value = &benchmark},
        {.name = "agent", .letter = 'a', .value = &agent}, {.name = "status", .value = &status},
        {.name = "limit", .value = &limit_text}, {.name = NULL}};
    static const char *const keys[] = {"id", "created_at", "benchmark_id", "agent_id", "language", "status", "verdict", "score"};
    static const char *const heads[] = {"SUBMISSION", "MADE", "BENCHMARK", "AGENT", "LANGUAGE", "STATUS", "VERDICT", ">SCORE"};
    const struct cli_command *cmd = cli_command_find("submissions");
    CLI_CLEANUP_STR char *path = cli_strdup("/submissions");
    CLI_CLEANUP_JSON json_t *items = NULL;
    struct term_table t = {.columns = 8};
    long limit = 20;
    size_t i;
    json_t *row;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc > 1 || (argc == 1 && strcmp(argv[0], "list") != 0))
        return cli_usage(cmd, "submissions %s is not understood", argv[0]);
    if (limit_text != NULL) {
        char *end = NULL;

        limit = strtol(limit_text, &end, 10);
        if (end == limit_text || *end != '\0' || limit < 1 || limit > 100000)
            return cli_usage(cmd, "--limit is a number from 1 to 100000");
    }
    api_query(&path, "benchmark_id", benchmark);
    api_query(&path, "agent_id", agent);
    api_query(&path, "status", status);
    rc = api_list(c, path, (size_t)limit, &items);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(items);
        return CLI_OK;
    }
    for (size_t k = 0; k < 8; k++)
        term_cell(&t, heads[k]);
    json_array_foreach(items, i, row)
        for (size_t k = 0; k < 8; k++)
            js_cell(&t, row, keys[k]);
    term_table_print(&t, stdout);
    return CLI_OK;
}

int cmd_cancel(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = cli_command_find("cancel");
    int rc = cli_options(c, cmd, &argc, argv, NULL), worst = CLI_OK;

    if (rc != CLI_OK)
        return rc;
    if (argc == 0)
        return cli_usage(cmd, "name the submission");
    for (int i = 0; i < argc; i++) {
        CLI_CLEANUP_STR char *path = api_path("/submissions/", argv[i], "/cancel");
        API_CLEANUP struct api_answer a = {.status = 0};
        struct api_call call = {.method = "POST", .path = path};

        rc = api_do(c, &call, &a);
        if (rc != CLI_OK) {
            worst = rc;
            continue;
        }
        if (c->json) {
            term_json(a.json);
            continue;
        }
        term_text(stdout, argv[i], strlen(argv[i]), false, NULL);
        printf(": %s\n", strcmp(js_str(a.json, "status"), "cancelled") == 0 ? "cancelled" : "will be cancelled");
    }
    return worst;
}

int cmd_watch(struct cli *c, int argc, char **argv)
{
    const char *timeout = NULL;
    const struct cli_option o[] = {{.name = "timeout", .value = &timeout}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("watch");
    CLI_CLEANUP_JSON json_t *final = NULL;
    double timeout_s = 0;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc == CLI_OK)
        rc = timeout_parse(cmd, timeout, &timeout_s);
    if (rc != CLI_OK)
        return rc;
    if (argc == 0)
        return cli_usage(cmd, "name the submission");
    rc = watch_until_done(c, (size_t)argc, (const char *const *)argv, timeout_s, !c->json, &final);
    if (rc != CLI_OK)
        return rc;
    if (c->json)
        term_json(argc == 1 ? json_array_get(final, 0) : final);
    else if (argc == 1 && results_show(c, argv[0], false) != CLI_OK)
        term_note("The verdict stands; its details cannot be shown.");
    return watch_exit(final);
}
