/* agents, benchmarks, leaderboard: what can be listed, shown and made */
#include "cli.h"

#include <errno.h>

#define SCOPES_MAX 32

/* The value of --limit; false with a message. */
static bool limit_parse(const struct cli_command *cmd, const char *text, size_t *out)
{
    char *end = NULL;
    long n;

    if (text == NULL)
        return true;
    errno = 0;
    n = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n < 1 || n > 100000) {
        (void)cli_usage(cmd, "--limit is a number from 1 to 100000");
        return false;
    }
    *out = (size_t)n;
    return true;
}

/* The members of an object that are no containers, one a line. */
static void show_object(const json_t *o)
{
    struct term_table t = {.columns = 2};
    const char *key;
    json_t *v;
    void *it;

    for (it = json_object_iter_at((json_t *)(uintptr_t)o, "id"); it != NULL; it = NULL) {
        term_cell(&t, "id");
        js_cell(&t, o, "id");
    }
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        if (strcmp(key, "id") == 0 || json_is_null(v))
            continue;
        if (json_is_array(v) || json_is_object(v)) {
            char *text = json_array_size(v) > 20 ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENSURE_ASCII);

            term_cell(&t, key);
            if (text != NULL && strlen(text) < 300)
                term_cell(&t, text);
            else
                term_cell_fmt(&t, "%zu entries (--json shows them)",
                              json_is_array(v) ? json_array_size(v) : json_object_size(v));
            free(text);
            continue;
        }
        term_cell(&t, key);
        js_cell(&t, o, key);
    }
    term_table_print(&t, stdout);
}

static void items_print(const struct cli *c, const json_t *items, size_t n, const char *const *keys, const char *const *heads, const char *none)
{
    if (c->json)
        term_json(items);
    else if (json_array_size(items) == 0)
        puts(none);
    else
        js_table(items, n, heads, keys);
}

static int list_print(struct cli *c, const char *path, size_t limit, size_t n, const char *const *keys,
                      const char *const *heads, const char *none)
{
    CLI_CLEANUP_JSON json_t *items = NULL;
    int rc = api_list(c, path, limit, &items);

    if (rc == CLI_OK)
        items_print(c, items, n, keys, heads, none);
    return rc;
}

static int show(struct cli *c, const char *path)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = api_get(c, path, &a);

    if (rc != CLI_OK)
        return rc;
    if (c->json)
        term_json(a.json);
    else
        show_object(a.json);
    return CLI_OK;
}

static int delete_it(struct cli *c, const char *path, const char *what, const char *id, const char *became)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "DELETE", .path = path};
    int rc = api_do(c, &call, &a);

    if (rc == CLI_OK && !c->json) {
        printf("%s ", what);
        term_text(stdout, id, strlen(id), false, NULL);
        printf(" %s.\n", became);
    }
    return rc;
}

static int delete_one(struct cli *c, const char *path, const char *what, const char *id)
{
    return delete_it(c, path, what, id, "is deleted");
}

static int agent_token(struct cli *c, const struct cli_command *cmd, const char *id, const char *name, size_t n_scopes,
                       const char *const *scopes, const char *expires)
{
    CLI_CLEANUP_STR char *path = api_path("/agents/", id, "/tokens");
    API_CLEANUP struct api_answer a = {.status = 0};
    json_t *body = json_pack("{s:s*}", "name", name);
    int rc;

    if (n_scopes > 0) {
        json_t *list = json_array();

        for (size_t i = 0; i < n_scopes; i++)
            if (strcmp(scopes[i], "work") == 0 /* both that a runner elsewhere needs */
                    ? json_array_append_new(list, json_string("jobs:lease")) != 0 || json_array_append_new(list, json_string("results:write")) != 0
                    : json_array_append_new(list, json_string(scopes[i])) != 0) {
                json_decref(list);
                json_decref(body);
                return cli_usage(cmd, "a scope must be UTF-8");
            }
        if (json_object_set_new(body, "scopes", list) != 0) {
            json_decref(body);
            return CLI_LOCAL;
        }
    }
    if (expires != NULL) {
        char *end = NULL;
        long long s;

        errno = 0;
        s = strtoll(expires, &end, 10);
        if (errno != 0 || end == expires || *end != '\0' || s < 1) {
            json_decref(body);
            return cli_usage(cmd, "--expires-in is a number of seconds");
        }
        if (json_object_set_new(body, "expires_in", json_integer(s)) != 0) {
            json_decref(body);
            return CLI_LOCAL;
        }
    }
    rc = api_post(c, path, body, &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
        return CLI_OK;
    }
    term_text(stdout, js_str(a.json, "token"), strlen(js_str(a.json, "token")), false, NULL);
    putchar('\n');
    fflush(stdout);
    term_note("It is shown this once. Use it as ASSAY_TOKEN.");
    return CLI_OK;
}

int cmd_agents(struct cli *c, int argc, char **argv)
{
    static const char *const keys[] = {"id", "name", "owner_id", "created_at"};
    static const char *const heads[] = {"AGENT", "NAME", "OWNER", "MADE"};
    const char *name = NULL, *description = NULL, *expires = NULL, *limit_text = NULL;
    const char *scopes[SCOPES_MAX];
    size_t n_scopes = 0, limit = 100;
    const struct cli_option o[] = {{.name = "name", .value = &name}, {.name = "description", .value = &description},
        {.name = "expires-in", .value = &expires}, {.name = "limit", .value = &limit_text},
        {.name = "scope", .list = scopes, .list_max = SCOPES_MAX, .list_n = &n_scopes}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("agents");
    API_CLEANUP struct api_answer a = {.status = 0};
    CLI_CLEANUP_STR char *path = NULL;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (!limit_parse(cmd, limit_text, &limit))
        return CLI_USAGE;
    if (argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0))
        return list_print(c, "/agents", limit, 4, keys, heads, "No agents yet. Make one: assay agents create");
    if (argc == 2 && strcmp(argv[0], "show") == 0) {
        path = api_path("/agents/", argv[1], "");
        return show(c, path);
    }
    if (argc == 2 && strcmp(argv[0], "delete") == 0) {
        path = api_path("/agents/", argv[1], "");
        return delete_one(c, path, "Agent", argv[1]);
    }
    if (argc == 2 && strcmp(argv[0], "token") == 0)
        return agent_token(c, cmd, argv[1], name, n_scopes, scopes, expires);
    if (argc > 2 || strcmp(argv[0], "create") != 0)
        return cli_usage(cmd, "agents %s is not understood", argv[0]);
    if (name == NULL && argc < 2)
        return cli_usage(cmd, "name the new agent: an id, --name, or both");
    rc = api_post(c, "/agents", json_pack("{s:s*, s:s*, s:s*}", "id", argc == 2 ? argv[1] : NULL, "name",
                                          name != NULL ? name : argv[1], "description", description), &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
    } else {
        fputs("Agent ", stdout);
        term_text(stdout, js_id(a.json), strlen(js_id(a.json)), false, NULL);
        puts(" is made.");
    }
    return CLI_OK;
}

/* The JSON of -f FILE; NULL with *rc and a message. */
static json_t *json_file(const struct cli_command *cmd, const char *file, int *rc)
{
    json_error_t e;
    json_t *body;
    FILE *f;

    if (file == NULL) {
        *rc = cli_usage(cmd, "name the file: -f FILE");
        return NULL;
    }
    f = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
    *rc = CLI_LOCAL;
    if (f == NULL) {
        term_error("cannot read %s: %s", file, strerror(errno));
        return NULL;
    }
    body = json_loadf(f, JSON_REJECT_DUPLICATES, &e);
    if (f != stdin)
        fclose(f);
    if (body == NULL)
        term_error("%s, line %d, column %d: %s", file, e.line, e.column, e.text);
    return body;
}

/* Sends it; says "WHAT ID DONE." */
static int send_json(struct cli *c, const char *method, const char *path, json_t *body, const char *what, const char *done)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = method, .path = path, .body = body, .create = strcmp(method, "POST") == 0};
    int rc = api_do(c, &call, &a);

    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
    } else {
        fputs(what, stdout);
        if (js_id(a.json)[0] != '\0') {
            putchar(' ');
            term_text(stdout, js_id(a.json), strlen(js_id(a.json)), false, NULL);
        }
        printf(" %s.\n", done);
    }
    return CLI_OK;
}

static int send_file(struct cli *c, const struct cli_command *cmd, const char *method, const char *path, const char *file, const char *what,
                     const char *done)
{
    int rc = CLI_OK;
    CLI_CLEANUP_JSON json_t *body = json_file(cmd, file, &rc);

    return body == NULL ? rc : send_json(c, method, path, body, what, done);
}

/* The file's JSON with the priority in it; either may be NULL, and not both. NULL: *rc says why, and says nothing otherwise. */
static json_t *benchmark_body(const struct cli_command *cmd, const char *file, const char *priority, int *rc)
{
    char *end = NULL;
    long n;

    if (priority == NULL)
        return json_file(cmd, file, rc);
    errno = 0;
    n = strtol(priority, &end, 10);
    if (errno != 0 || end == priority || *end != '\0' || n < 1 || n > 100) {
        *rc = cli_usage(cmd, "--priority is a number from 1 to 100");
        return NULL;
    }
    *rc = CLI_LOCAL;
    json_t *body = file != NULL ? json_file(cmd, file, rc) : json_object();
    if (json_is_object(body) && json_object_set_new(body, "priority", json_integer(n)) != 0) {
        json_decref(body);
        body = NULL;
    }
    return body;
}

int cmd_benchmarks(struct cli *c, int argc, char **argv)
{
    static const char *const keys[] = {"id", "name", "visibility", "feedback", "starts_at", "ends_at", "priority"};
    static const char *const heads[] = {"BENCHMARK", "NAME", "VISIBILITY", "FEEDBACK", "STARTS", "ENDS", ">PRIORITY"};
    const char *file = NULL, *limit_text = NULL, *priority = NULL;
    size_t limit = 100;
    const struct cli_option o[] = {{.name = "file", .letter = 'f', .value = &file}, {.name = "limit", .value = &limit_text},
                                   {.name = "priority", .value = &priority}, {.name = NULL}};
    CLI_CLEANUP_JSON json_t *body = NULL;
    const struct cli_command *cmd = cli_command_find("benchmarks");
    CLI_CLEANUP_STR char *path = NULL;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (!limit_parse(cmd, limit_text, &limit))
        return CLI_USAGE;
    if (argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0))
        return list_print(c, "/benchmarks", limit, 7, keys, heads,
                          "No benchmarks that you may see. Publish one: assay benchmarks create -f FILE");
    if (argc == 2 && strcmp(argv[0], "show") == 0) {
        path = api_path("/benchmarks/", argv[1], "");
        return show(c, path);
    }
    if (argc == 1 && strcmp(argv[0], "create") == 0) {
        if (file == NULL)
            return cli_usage(cmd, "name the file: -f FILE");
        body = benchmark_body(cmd, file, priority, &rc);
        return body == NULL ? rc : send_json(c, "POST", "/benchmarks", body, "Benchmark", "is made");
    }
    if (argc == 2 && strcmp(argv[0], "update") == 0) {
        path = api_path("/benchmarks/", argv[1], "");
        body = benchmark_body(cmd, file, priority, &rc);
        return body == NULL ? rc : send_json(c, "PATCH", path, body, "Benchmark", "is changed");
    }
    if (argc == 2 && strcmp(argv[0], "delete") == 0) {
        path = api_path("/benchmarks/", argv[1], "");
        return delete_one(c, path, "Benchmark", argv[1]);
    }
    return cli_usage(cmd, "benchmarks %s is not understood", argv[0]);
}

int cmd_problems(struct cli *c, int argc, char **argv)
{
    static const char *const keys[] = {"id", "name", "mode", "compare", "ordinal"};
    static const char *const heads[] = {"PROBLEM", "NAME", "MODE", "COMPARE", ">PLACE"};
    const char *file = NULL, *limit_text = NULL;
    size_t limit = 100;
    const struct cli_option o[] = {{.name = "file", .letter = 'f', .value = &file}, {.name = "limit", .value = &limit_text},
                                   {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("problems");
    CLI_CLEANUP_STR char *path = NULL;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (!limit_parse(cmd, limit_text, &limit))
        return CLI_USAGE;
    if (argc != 2)
        return cli_usage(cmd, "say what to do, and with which");
    if (strcmp(argv[0], "list") == 0 || strcmp(argv[0], "create") == 0) {
        path = api_path("/benchmarks/", argv[1], "/problems");
        return argv[0][0] == 'l' ? list_print(c, path, limit, 5, keys, heads, "This benchmark has no problems.")
                                 : send_file(c, cmd, "POST", path, file, "Problem", "is made");
    }
    if (strcmp(argv[0], "tests") == 0) {
        path = api_path("/problems/", argv[1], "/tests");
        return file == NULL ? show(c, path) : send_file(c, cmd, "PUT", path, file, "Problem", "has these tests now");
    }
    path = api_path("/problems/", argv[1], "");
    if (strcmp(argv[0], "show") == 0)
        return show(c, path);
    if (strcmp(argv[0], "update") == 0)
        return send_file(c, cmd, "PATCH", path, file, "Problem", "is changed");
    if (strcmp(argv[0], "delete") == 0)
        return delete_one(c, path, "Problem", argv[1]);
    return cli_usage(cmd, "problems %s is not understood", argv[0]);
}

int cmd_leaderboard(struct cli *c, int argc, char **argv)
{
    const char *benchmark = NULL, *limit_text = NULL;
    size_t limit = 100, i;
    const struct cli_option o[] = {{.name = "benchmark", .letter = 'b', .value = &benchmark},
                                   {.name = "limit", .value = &limit_text}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("leaderboard");
    CLI_CLEANUP_STR char *path = cli_strdup("/leaderboard");
    CLI_CLEANUP_JSON json_t *items = NULL;
    struct term_table t = {.columns = 5};
    json_t *row;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc == 1 && benchmark == NULL)
        benchmark = argv[0];
    else if (argc > 0 || benchmark == NULL)
        return cli_usage(cmd, "name one benchmark");
    if (!limit_parse(cmd, limit_text, &limit))
        return CLI_USAGE;
    api_query(&path, "benchmark_id", benchmark);
    rc = api_list(c, path, limit, &items);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(items);
        return CLI_OK;
    }
    if (json_array_size(items) == 0) {
        puts("Nobody has a score yet.");
        return CLI_OK;
    }
    term_cell(&t, ">RANK");
    term_cell(&t, ">SCORE");
    term_cell(&t, "AGENT");
    term_cell(&t, "NAME");
    term_cell(&t, "SUBMISSION");
    json_array_foreach(items, i, row) {
        js_cell(&t, row, "rank");
        js_cell(&t, row, "score");
        js_cell(&t, row, "agent_id");
        js_cell(&t, row, "agent_name");
        js_cell(&t, row, "submission_id");
    }
    term_table_print(&t, stdout);
    return CLI_OK;
}

/* Tokens of agents, and the sign-in's own for a script that calls the server itself. */
int cmd_token(struct cli *c, int argc, char **argv)
{
    static const char *const keys[] = {"id", "name", "scopes", "created_at", "expires_at", "last_used_at"};
    static const char *const heads[] = {"TOKEN", "NAME", "SCOPES", "MADE", "EXPIRES", "LAST USED"};
    const char *name = NULL, *expires = NULL;
    const char *scopes[SCOPES_MAX];
    size_t n_scopes = 0;
    const struct cli_option o[] = {{.name = "name", .value = &name}, {.name = "expires-in", .value = &expires},
        {.name = "scope", .list = scopes, .list_max = SCOPES_MAX, .list_n = &n_scopes}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("token");
    CLI_CLEANUP_STR char *path = NULL, *agent = NULL;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc == 0) {
        API_CLEANUP struct api_answer a = {.status = 0};

        rc = api_get(c, "/me", &a); /* it is replaced if it has run out */
        if (rc != CLI_OK)
            return rc;
        if (c->json)
            term_json(json_object_get(a.json, "user") != NULL ? json_object_get(a.json, "user") : a.json);
        else
            puts(c->token != NULL ? c->token : "");
        return CLI_OK;
    }
    if (argc == 2 && strcmp(argv[0], "create") == 0)
        return agent_token(c, cmd, argv[1], name, n_scopes, scopes, expires);
    if (argc == 2 && strcmp(argv[0], "list") == 0) {
        path = api_path("/agents/", argv[1], "/tokens");
        return list_print(c, path, 1000, 6, keys, heads, "This agent has no tokens.");
    }
    if (argc == 3 && strcmp(argv[0], "revoke") == 0) {
        agent = api_path("/agents/", argv[1], "/tokens/");
        path = api_path(agent, argv[2], "");
        return delete_one(c, path, "Token", argv[2]);
    }
    return cli_usage(cmd, "token %s is not understood", argv[0]);
}

/* Where one is signed in. */
int cmd_sessions(struct cli *c, int argc, char **argv)
{
    static const char *const keys[] = {"id", "created_at", "used_at", "expires_at"};
    static const char *const heads[] = {"SESSION", "SIGNED IN", "LAST USED", "EXPIRES"};
    const struct cli_command *cmd = cli_command_find("sessions");
    CLI_CLEANUP_STR char *path = NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = cli_options(c, cmd, &argc, argv, NULL);

    if (rc != CLI_OK)
        return rc;
    if (argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0)) {
        rc = api_get(c, "/me/sessions", &a); /* all of them: it has no pages */
        if (rc == CLI_OK)
            items_print(c, json_object_get(a.json, "items"), 4, keys, heads, "There are no sessions: you are signed in by a token.");
        return rc;
    }
    if (argc == 2 && strcmp(argv[0], "end") == 0) {
        path = api_path("/me/sessions/", argv[1], "");
        return delete_it(c, path, "Session", argv[1], "is ended");
    }
    return cli_usage(cmd, "sessions %s is not understood", argv[0]);
}
