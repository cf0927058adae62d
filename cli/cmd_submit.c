/* submit, submissions, cancel, rejudge */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sys/stat.h>

#define FILE_MAX ((size_t)16 << 20)
#define FILES_MAX 1000
#define FOLDERS_DEEP 16
#define OPTIONS_MAX 16

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
        term_error("%s is a folder", path);
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

/* Files, and the names under which they are sent. */
struct files {
    size_t n;
    char *path[FILES_MAX], *name[FILES_MAX];
    json_t *text[FILES_MAX]; /* of one out of a ZIP; NULL: it is read */
};

static void files_free(struct files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->path[i]);
        free(f->name[i]);
        json_decref(f->text[i]);
    }
    free(f);
}

static int files_add(const struct cli_command *cmd, struct files *f, const char *path, const char *name)
{
    if (f->n == FILES_MAX)
        return cli_usage(cmd, "more than %d files", FILES_MAX);
    f->path[f->n] = cli_strdup(path);
    f->name[f->n++] = cli_strdup(name);
    return CLI_OK;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* All files below a folder but hidden ones, in the order of their names, named from there. Links are not followed. */
static int files_below(const struct cli_command *cmd, struct files *f, const char *folder, const char *before, int deep)
{
    struct dirent **entry = NULL;
    int n = scandir(folder, &entry, NULL, by_name), rc = CLI_OK;

    if (n < 0) {
        term_error("cannot read the folder %s: %s", folder, strerror(errno));
        return CLI_LOCAL;
    }
    for (int i = 0; i < n; i++) {
        if (rc == CLI_OK && entry[i]->d_name[0] != '.') {
            CLI_CLEANUP_STR char *path = cli_fmt("%s/%s", folder, entry[i]->d_name);
            CLI_CLEANUP_STR char *name = cli_fmt("%s%s", before, entry[i]->d_name);
            CLI_CLEANUP_STR char *further = cli_fmt("%s/", name);
            struct stat st;

            if (lstat(path, &st) != 0) {
                term_error("cannot look at %s: %s", path, strerror(errno));
                rc = CLI_LOCAL;
            } else if (S_ISDIR(st.st_mode) && deep == FOLDERS_DEEP) {
                rc = cli_usage(cmd, "%s lies more than %d folders deep", path, FOLDERS_DEEP);
            } else if (S_ISDIR(st.st_mode)) {
                rc = files_below(cmd, f, path, further, deep + 1);
            } else if (S_ISREG(st.st_mode)) {
                rc = files_add(cmd, f, path, name);
            } else {
                term_note("%s is no plain file and is left out.", path);
            }
        }
        free(entry[i]);
    }
    free(entry);
    return rc;
}

/* What a ZIP holds, under the names that it has there. */
struct unzip {
    const struct cli_command *cmd;
    struct files *f;
    const char *path;
};

static int unzip_one(void *arg, const char *name, const char *bytes, size_t n)
{
    struct unzip *u = arg;
    CLI_CLEANUP_STR char *path = cli_fmt("%s: %s", u->path, name);
    json_t *text = json_stringn(bytes, n);
    int rc;

    if (text == NULL) {
        term_error("%s is not UTF-8 text; programs are sent as text", path);
        return CLI_LOCAL;
    }
    rc = files_add(u->cmd, u->f, path, name);
    if (rc == CLI_OK)
        u->f->text[u->f->n - 1] = text;
    else
        json_decref(text);
    return rc;
}

/* Whether a name on the command line stands for many. */
static bool holds_files(const char *path)
{
    struct stat st;

    return strcmp(path, "-") != 0 && ((stat(path, &st) == 0 && S_ISDIR(st.st_mode)) || zip_named(path));
}

/* What was named on the command line, folders and archives by what is in them. */
static int files_named(const struct cli_command *cmd, struct files *f, int n, char **named)
{
    int rc = CLI_OK;

    for (int i = 0; i < n && rc == CLI_OK; i++) {
        size_t had = f->n;

        if (!holds_files(named[i])) {
            rc = files_add(cmd, f, named[i], sent_name(named[i]));
            continue;
        }
        struct unzip u = {cmd, f, named[i]};
        rc = zip_named(named[i]) ? zip_each(named[i], FILE_MAX, unzip_one, &u) : files_below(cmd, f, named[i], "", 0);
        if (rc == CLI_OK && f->n == had)
            rc = cli_usage(cmd, "%s has no files", named[i]);
    }
    return rc;
}

/* One file is the source; several, or those of a folder, go under their names. */
static int body_files(const struct cli_command *cmd, json_t *body, const struct files *f, bool under_names)
{
    json_t *map, *s;

    if (f->n == 1 && !under_names) {
        s = file_read(f->path[0]);
        return s != NULL && json_object_set_new(body, "source", s) == 0 ? CLI_OK : CLI_LOCAL;
    }
    map = json_object();
    if (map == NULL || json_object_set_new(body, "files", map) != 0)
        return CLI_LOCAL;
    for (size_t i = 0; i < f->n; i++) {
        if (strcmp(f->path[i], "-") == 0)
            return cli_usage(cmd, "standard input has no name; among several files it cannot be sent");
        if (json_object_get(map, f->name[i]) != NULL)
            return cli_usage(cmd, "two files would be called %s", f->name[i]);
        s = f->text[i] != NULL ? json_incref(f->text[i]) : file_read(f->path[i]);
        if (s == NULL || json_object_set_new(map, f->name[i], s) != 0)
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

/* What is asked for of what was submitted. */
struct wish {
    const char *benchmark, *problem, *agent, *language, *payload;
    const char *option[OPTIONS_MAX]; /* of the compiler */
    size_t n_option;
    bool wait, watch, id_only;
    double timeout_s;
};

/* The verdicts of what was submitted. */
static int after(struct cli *c, const struct wish *w, size_t n, char *const *id)
{
    CLI_CLEANUP_JSON json_t *final = NULL;
    const json_t *s;
    size_t i;
    int rc = watch_until_done(c, n, (const char *const *)id, w->timeout_s, w->watch && !c->json, &final);

    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(n == 1 ? json_array_get(final, 0) : final);
    } else if (!w->watch) {
        json_array_foreach(final, i, s) {
            if (n > 1)
                printf("%s  ", id[i]);
            puts(js_str(s, "verdict")[0] != '\0' ? js_str(s, "verdict") : js_str(s, "status"));
        }
    } else if (n == 1 && results_show(c, id[0], RESULTS_VERDICTS) != CLI_OK) {
        term_note("The verdict stands; its details cannot be shown.");
    }
    return watch_exit(final);
}

/* Sends one submission; *id is made. f NULL: the payload alone. */
static int send_one(struct cli *c, const struct cli_command *cmd, const struct wish *w, const struct files *f, bool under_names, char **id,
                    json_t **answer)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    const char *language = w->language;
    json_t *body;
    int rc = CLI_OK;

    for (size_t i = 0; f != NULL && language == NULL && i < f->n; i++)
        language = language_of(f->name[i]);
    if (f != NULL && language == NULL)
        return cli_usage(cmd, "the language of %s cannot be told from its name: -l LANGUAGE", f->path[0]);
    body = json_pack("{s:s, s:s*, s:s*, s:s*}", "benchmark_id", w->benchmark, "problem_id", w->problem, "agent_id", w->agent, "language",
                     language);
    if (body == NULL)
        return cli_usage(cmd, "names must be UTF-8");
    if (w->payload != NULL) {
        json_t *s = file_read(w->payload);

        rc = s != NULL && json_object_set_new(body, "payload", s) == 0 ? CLI_OK : CLI_LOCAL;
    } else if (f != NULL) {
        rc = body_files(cmd, body, f, under_names);
    }
    if (rc == CLI_OK && w->n_option > 0) {
        json_t *list = json_array();

        for (size_t i = 0; i < w->n_option && rc == CLI_OK; i++)
            rc = json_array_append_new(list, json_string(w->option[i])) == 0 ? CLI_OK : cli_usage(cmd, "options must be UTF-8");
        if (json_object_set_new(body, "compiler_options", list) != 0 && rc == CLI_OK)
            rc = CLI_LOCAL;
    }
    if (rc != CLI_OK) {
        json_decref(body);
        return rc;
    }
    rc = api_post(c, "/submissions", body, &a);
    if (rc != CLI_OK)
        return rc;
    *id = cli_strdup(js_id(a.json));
    if ((*id)[0] == '\0') {
        term_error("the server took the submission and answered without its id");
        return CLI_SERVER;
    }
    *answer = json_incref(a.json);
    return CLI_OK;
}

/* Says that it is queued. */
static void tell(struct cli *c, const struct wish *w, const char *id, const json_t *answer)
{
    if (w->id_only) {
        puts(id);
        fflush(stdout);
    } else if (c->json && !w->wait && !w->watch) {
        term_json(answer);
    } else if (!w->wait && !w->watch) {
        printf("Submission %s is queued. Follow it: assay watch %s\n", id, id);
    }
}

/* Each file, or folder, a submission of its own; then they are followed together. */
static int send_each(struct cli *c, const struct cli_command *cmd, const struct wish *w, int n, char **named, char **id, size_t *n_id)
{
    int rc = CLI_OK;

    for (int i = 0; i < n && rc == CLI_OK; i++) {
        struct files *f = calloc(1, sizeof(*f));
        CLI_CLEANUP_JSON json_t *answer = NULL;

        if (f == NULL)
            return CLI_LOCAL;
        rc = files_named(cmd, f, 1, &named[i]);
        if (rc == CLI_OK)
            rc = send_one(c, cmd, w, f, holds_files(named[i]), &id[*n_id], &answer);
        files_free(f);
        if (rc == CLI_OK)
            tell(c, w, id[(*n_id)++], answer);
    }
    if (rc != CLI_OK && *n_id > 0)
        term_note("%zu of %d were submitted before that.", *n_id, n);
    return rc;
}

int cmd_submit(struct cli *c, int argc, char **argv)
{
    struct wish w = {.benchmark = NULL};
    const char *timeout = NULL;
    bool every = false;
    const struct cli_option o[] = {{.name = "benchmark", .letter = 'b', .value = &w.benchmark},
        {.name = "problem", .letter = 'p', .value = &w.problem}, {.name = "agent", .letter = 'a', .value = &w.agent},
        {.name = "language", .letter = 'l', .value = &w.language}, {.name = "payload", .value = &w.payload},
        {.name = "option", .letter = 'o', .list = w.option, .list_max = OPTIONS_MAX, .list_n = &w.n_option},
        {.name = "timeout", .value = &timeout}, {.name = "wait", .flag = &w.wait}, {.name = "watch", .flag = &w.watch},
        {.name = "each", .flag = &every}, {.name = "id-only", .flag = &w.id_only}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("submit");
    CLI_CLEANUP_JSON json_t *answer = NULL;
    size_t n_id = 0;
    char **id;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc == CLI_OK)
        rc = timeout_parse(cmd, timeout, &w.timeout_s);
    if (rc != CLI_OK)
        return rc;
    if (w.benchmark == NULL)
        return cli_usage(cmd, "name the benchmark: -b BENCHMARK (assay benchmarks lists them)");
    if ((argc == 0) == (w.payload == NULL))
        return cli_usage(cmd, w.payload == NULL ? "name the program's files" : "files or --payload, not both");
    id = calloc((size_t)argc + 1, sizeof(*id));
    if (id == NULL)
        return CLI_LOCAL;
    if (every && argc > 0) {
        rc = send_each(c, cmd, &w, argc, argv, id, &n_id);
    } else if (argc == 0) {
        rc = send_one(c, cmd, &w, NULL, false, &id[0], &answer);
    } else {
        struct files *f = calloc(1, sizeof(*f));

        rc = f == NULL ? CLI_LOCAL : files_named(cmd, f, argc, argv);
        if (rc == CLI_OK)
            rc = send_one(c, cmd, &w, f, holds_files(argv[0]), &id[0], &answer);
        if (f != NULL)
            files_free(f);
    }
    if (rc == CLI_OK && answer != NULL) {
        n_id = 1;
        tell(c, &w, id[0], answer);
    }
    if (rc == CLI_OK && (w.watch || w.wait))
        rc = after(c, &w, n_id, id);
    for (size_t i = 0; i <= (size_t)argc; i++)
        free(id[i]);
    free(id);
    return rc;
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
    long limit = 20;
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
    js_table(items, 8, heads, keys);
    return CLI_OK;
}

/* Asks `what` of each, says `done`; the worst status. */
static int each(struct cli *c, int n, char **id, const char *what, const char *(*done)(const json_t *answer))
{
    int worst = CLI_OK;

    for (int i = 0; i < n; i++) {
        CLI_CLEANUP_STR char *path = api_path("/submissions/", id[i], what);
        API_CLEANUP struct api_answer a = {.status = 0};
        struct api_call call = {.method = "POST", .path = path};
        int rc = api_do(c, &call, &a);

        if (rc != CLI_OK) {
            worst = rc;
            continue;
        }
        if (c->json) {
            term_json(a.json);
            continue;
        }
        term_text(stdout, id[i], strlen(id[i]), false, NULL);
        printf(": %s\n", done(a.json));
    }
    return worst;
}

static const char *cancelled(const json_t *answer)
{
    return strcmp(js_str(answer, "status"), "cancelled") == 0 ? "cancelled" : "will be cancelled";
}

static const char *queued(const json_t *answer)
{
    (void)answer;
    return "will be judged again";
}

int cmd_cancel(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = cli_command_find("cancel");
    int rc = cli_options(c, cmd, &argc, argv, NULL);

    if (rc != CLI_OK)
        return rc;
    if (argc == 0)
        return cli_usage(cmd, "name the submission");
    return each(c, argc, argv, "/cancel", cancelled);
}

int cmd_rejudge(struct cli *c, int argc, char **argv)
{
    bool watch = false;
    const struct cli_option o[] = {{.name = "watch", .flag = &watch}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("rejudge");
    CLI_CLEANUP_JSON json_t *final = NULL;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc == 0)
        return cli_usage(cmd, "name the submission");
    rc = each(c, argc, argv, "/rejudge", queued);
    if (rc != CLI_OK || !watch)
        return rc;
    rc = watch_until_done(c, (size_t)argc, (const char *const *)argv, 0, !c->json, &final);
    return rc == CLI_OK ? watch_exit(final) : rc;
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
    else if (argc == 1 && results_show(c, argv[0], RESULTS_VERDICTS) != CLI_OK)
        term_note("The verdict stands; its details cannot be shown.");
    return watch_exit(final);
}
