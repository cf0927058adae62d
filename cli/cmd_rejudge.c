/* rejudgings: sets of submissions that are judged again, with a preview of what would change */
#include "cli.h"

#include <time.h>

#define CHANGES_MAX 10000

static bool ended(const json_t *set)
{
    const char *state = js_str(set, "state");

    return strcmp(state, "applied") == 0 || strcmp(state, "cancelled") == 0;
}

/* Whether all of it has a new verdict, or never will. */
static bool judged(const json_t *set)
{
    return ended(set) || (strcmp(js_str(set, "state"), "judging") == 0 && js_num(set, "judged", 0) >= js_num(set, "submissions", 0));
}

static void say(const json_t *set)
{
    const char *id = js_id(set), *state = js_str(set, "state"), *benchmark = js_str(set, "benchmark_id"), *reason = js_str(set, "reason");

    fputs("set ", stdout);
    term_text(stdout, id, strlen(id), false, NULL);
    fputs(" of ", stdout);
    term_text(stdout, benchmark, strlen(benchmark), false, NULL);
    fputs(": ", stdout);
    term_text(stdout, state, strlen(state), false, NULL);
    printf("; %.0f of %.0f judged, %.0f change%s", js_num(set, "judged", 0), js_num(set, "submissions", 0), js_num(set, "changed", 0),
           ended(set) ? "d" : "");
    if (js_num(set, "failed", 0) > 0)
        printf(", %.0f kept: their new verdict is IE", js_num(set, "failed", 0));
    putchar('\n');
    if (reason[0] != '\0') {
        fputs("why: ", stdout);
        term_text(stdout, reason, strlen(reason), false, NULL);
        putchar('\n');
    }
}

static int changes(struct cli *c, const char *id, json_t **out)
{
    CLI_CLEANUP_STR char *path = api_path("/rejudgings/", id, "/changes");

    return api_list(c, path, CHANGES_MAX, out);
}

static int show(struct cli *c, const char *id, json_t *set)
{
    static const char *const keys[] = {"submission_id", "agent_id", "problem_id", "old_verdict", "old_score", "new_verdict", "new_score", "outcome"};
    static const char *const heads[] = {"SUBMISSION", "AGENT", "PROBLEM", "WAS", ">SCORE", "IS", ">SCORE", "OUTCOME"};
    CLI_CLEANUP_JSON json_t *items = NULL;
    int rc = changes(c, id, &items);

    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        (void)json_object_set(set, "changes", items);
        term_json(set);
        return CLI_OK;
    }
    say(set);
    if (json_array_size(items) == 0)
        return CLI_OK;
    js_table(items, 8, heads, keys);
    if (!ended(set) && judged(set))
        term_note("To let it stand: assay rejudgings apply %s; to forget it: assay rejudgings cancel %s", id, id);
    return CLI_OK;
}

/* The set as it is; with `wait`, when all of it is judged. */
static int look(struct cli *c, const char *id, bool wait, struct api_answer *a)
{
    CLI_CLEANUP_STR char *path = api_path("/rejudgings/", id, "");
    struct timespec pause = {0, 200000000};

    for (;;) {
        int rc = api_get(c, path, a);

        if (rc != CLI_OK || !wait || judged(a->json))
            return rc;
        nanosleep(&pause, NULL);
        if (pause.tv_sec == 0 && (pause.tv_nsec += 100000000) >= 1000000000)
            pause = (struct timespec){1, 0};
    }
}

static int start(struct cli *c, const struct cli_command *cmd, json_t *body, bool wait)
{
    API_CLEANUP struct api_answer a = {.status = 0}, b = {.status = 0};
    int rc;

    if (body == NULL)
        return cli_usage(cmd, "names must be UTF-8");
    rc = api_post(c, "/rejudgings", body, &a);
    if (rc != CLI_OK)
        return rc;
    if (!wait) {
        if (c->json)
            term_json(a.json);
        else {
            say(a.json);
            term_note("What would change: assay rejudgings show %s", js_id(a.json));
        }
        return CLI_OK;
    }
    rc = look(c, js_id(a.json), true, &b);
    return rc == CLI_OK ? show(c, js_id(b.json), b.json) : rc;
}

/* apply, cancel */
static int end(struct cli *c, const char *id, const char *what)
{
    CLI_CLEANUP_STR char *path = api_path("/rejudgings/", id, what);
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "POST", .path = path};
    int rc = api_do(c, &call, &a);

    if (rc != CLI_OK)
        return rc;
    if (c->json)
        term_json(a.json);
    else
        say(a.json);
    return CLI_OK;
}

static int list(struct cli *c)
{
    static const char *const keys[] = {"id", "benchmark_id", "state", "created_at", "created_by", "reason"};
    static const char *const heads[] = {"SET", "BENCHMARK", "STATE", "MADE", "BY", "WHY"};
    CLI_CLEANUP_JSON json_t *items = NULL;
    int rc = api_list(c, "/rejudgings", 1000, &items);

    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(items);
        return CLI_OK;
    }
    js_table(items, 6, heads, keys);
    return CLI_OK;
}

int cmd_rejudgings(struct cli *c, int argc, char **argv)
{
    const char *benchmark = NULL, *problem = NULL, *agent = NULL, *language = NULL, *verdict = NULL, *reason = NULL;
    bool wait = false;
    const struct cli_option o[] = {{.name = "benchmark", .letter = 'b', .value = &benchmark},
        {.name = "problem", .letter = 'p', .value = &problem}, {.name = "agent", .letter = 'a', .value = &agent},
        {.name = "language", .letter = 'l', .value = &language}, {.name = "verdict", .value = &verdict},
        {.name = "reason", .value = &reason}, {.name = "wait", .flag = &wait}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("rejudgings");
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0))
        return list(c);
    if (argc == 1 && strcmp(argv[0], "start") == 0) {
        if (benchmark == NULL)
            return cli_usage(cmd, "name the benchmark: -b BENCHMARK");
        return start(c, cmd, json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:s*}", "benchmark_id", benchmark, "problem_id", problem, "agent_id", agent,
                                       "language", language, "verdict", verdict, "reason", reason), wait);
    }
    if (argc == 2 && strcmp(argv[0], "show") == 0) {
        API_CLEANUP struct api_answer a = {.status = 0};

        rc = look(c, argv[1], wait, &a);
        return rc == CLI_OK ? show(c, argv[1], a.json) : rc;
    }
    if (argc == 2 && strcmp(argv[0], "apply") == 0)
        return end(c, argv[1], "/apply");
    if (argc == 2 && strcmp(argv[0], "cancel") == 0)
        return end(c, argv[1], "/cancel");
    return cli_usage(cmd, "rejudgings %s is not understood", argv[0]);
}
