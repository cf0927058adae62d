/* results: the verdict of each test; status and doctor: how the server is */
#include "cli.h"

#include <unistd.h>

static void number(struct term_table *t, const json_t *o, const char *key, double divide, const char *unit)
{
    double v = js_num(o, key, -1);

    if (v < 0)
        term_cell(t, "-");
    else
        term_cell_fmt(t, "%.*f%s", divide > 1 ? 1 : 0, v / divide, unit);
}

static void how(struct term_table *t, const json_t *test)
{
    double signal = js_num(test, "signal", 0), code = js_num(test, "exit_code", -1);

    if (signal > 0)
        term_cell_fmt(t, "signal %.0f", signal);
    else if (code >= 0)
        term_cell_fmt(t, "exit %.0f", code);
    else
        term_cell(t, "-");
}

static void text_block(const json_t *o, const char *key, const char *title)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_string(v) || json_string_length(v) == 0)
        return;
    printf("  %s:\n", title);
    term_text(stdout, json_string_value(v), json_string_length(v), true, "    ");
}

static void outputs_show(const json_t *tests)
{
    const json_t *test;
    size_t i;

    json_array_foreach(tests, i, test) {
        printf("\ntest %.0f ", js_num(test, "number", (double)i + 1));
        term_verdict(stdout, js_str(test, "verdict"), 0);
        putchar('\n');
        text_block(test, "input", "input");
        text_block(test, "expected_output", "expected");
        text_block(test, "stdout", "printed");
        text_block(test, "stderr", "printed on stderr");
        text_block(test, "message", "message");
    }
}

/* Tests that went wrong, as far as both sides may be seen. */
static void differences_show(const json_t *tests)
{
    size_t i, hidden = 0;
    const json_t *test;

    json_array_foreach(tests, i, test) {
        const json_t *expected = json_object_get(test, "expected_output"), *got = json_object_get(test, "stdout");

        if (strcmp(js_str(test, "verdict"), "OK") == 0 || strcmp(js_str(test, "verdict"), "-") == 0)
            continue;
        if (!json_is_string(expected) || !json_is_string(got)) {
            hidden++;
            continue;
        }
        printf("\ntest %.0f ", js_num(test, "number", (double)i + 1));
        term_verdict(stdout, js_str(test, "verdict"), 0);
        puts("   - expected, + printed");
        diff_print(stdout, json_string_value(expected), json_string_length(expected), json_string_value(got), json_string_length(got), "  ");
    }
    if (hidden > 0)
        term_note("%zu test%s went wrong whose texts the benchmark does not show (or that have none to compare with).", hidden,
                  hidden == 1 ? "" : "s");
}

static void results_print(const json_t *r, unsigned more)
{
    const json_t *tests = json_object_get(r, "tests"), *build = json_object_get(r, "build"), *test;
    struct term_table t = {.columns = 7};
    double score = js_num(r, "score", -1);
    bool names = false;
    size_t i;

    fputs("verdict ", stdout);
    term_verdict(stdout, js_str(r, "verdict")[0] != '\0' ? js_str(r, "verdict") : "-", 0);
    if (score >= 0)
        printf("   score %.10g", score);
    putchar('\n');
    if (strcmp(js_str(r, "verdict"), "BF") == 0)
        text_block(json_is_object(build) ? build : r, json_is_object(build) ? "log" : "build_output", "the build said");
    text_block(r, "message", "message");
    if (json_array_size(tests) == 0)
        return;
    json_array_foreach(tests, i, test)
        names = names || js_str(test, "name")[0] != '\0';
    term_cell(&t, ">TEST");
    term_cell(&t, "VERDICT");
    term_cell(&t, "ENDED");
    term_cell(&t, ">CPU");
    term_cell(&t, ">WALL");
    term_cell(&t, ">MEMORY");
    term_cell(&t, names ? "NAME" : "");
    json_array_foreach(tests, i, test) {
        term_cell_fmt(&t, "%.0f", js_num(test, "number", (double)i + 1));
        js_cell(&t, test, "verdict");
        how(&t, test);
        number(&t, test, "cpu_ms", 1, " ms");
        number(&t, test, "wall_ms", 1, " ms");
        /* without page cache, where that is known */
        number(&t, test, json_is_number(json_object_get(test, "memory_own_bytes")) ? "memory_own_bytes" : "memory_peak_bytes",
               1048576, " MiB");
        term_cell(&t, js_str(test, "name"));
    }
    term_table_print(&t, stdout);
    if (more & RESULTS_OUTPUTS)
        outputs_show(tests);
    if (more & RESULTS_DIFF)
        differences_show(tests);
}

/* Puts beside each test what it asked and expected, as far as the server shows it to this account. */
static void texts_join(struct cli *c, json_t *result)
{
    CLI_CLEANUP_STR char *path = api_path("/problems/", js_str(result, "problem_id"), "/tests");
    CLI_CLEANUP_JSON json_t *items = NULL;
    json_t *test, *item;
    size_t i, k;

    if (js_str(result, "problem_id")[0] == '\0' || api_list(c, path, 100000, &items) != CLI_OK)
        return;
    json_array_foreach(json_object_get(result, "tests"), i, test)
        json_array_foreach(items, k, item)
            if (json_integer_value(json_object_get(item, "number")) == json_integer_value(json_object_get(test, "number"))) {
                (void)json_object_set(test, "input", json_object_get(item, "input"));
                (void)json_object_set(test, "expected_output", json_object_get(item, "expected_output"));
            }
}

int results_show(struct cli *c, const char *id, unsigned more)
{
    CLI_CLEANUP_STR char *path = api_path("/results/", id, "");
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = api_get(c, path, &a);

    if (rc != CLI_OK)
        return rc;
    if (more != 0)
        texts_join(c, a.json);
    if (c->json)
        term_json(a.json);
    else
        results_print(a.json, more);
    return CLI_OK;
}

int cmd_results(struct cli *c, int argc, char **argv)
{
    bool outputs = false, diff = false, verdict_only = false;
    const struct cli_option o[] = {{.name = "outputs", .flag = &outputs}, {.name = "diff", .flag = &diff}, {.name = "verdict-only", .flag = &verdict_only},
                                   {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("results");
    CLI_CLEANUP_STR char *path = NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc != 1)
        return cli_usage(cmd, "name one submission");
    if (!verdict_only)
        return results_show(c, argv[0], (outputs ? RESULTS_OUTPUTS : 0U) | (diff ? RESULTS_DIFF : 0U));
    path = api_path("/submissions/", argv[0], "");
    rc = api_get(c, path, &a);
    if (rc != CLI_OK)
        return rc;
    puts(js_str(a.json, "verdict")[0] != '\0' ? js_str(a.json, "verdict") : js_str(a.json, "status"));
    return CLI_OK;
}

/* A part of the server's health, as deep as it goes: names before values, one a line. */
static void health_print(const json_t *v, const char *name, int depth)
{
    const char *key;
    json_t *child;
    size_t i;

    if (json_is_object(v)) {
        if (name[0] != '\0') {
            printf("%*s", 2 * depth, "");
            term_text(stdout, name, strlen(name), false, NULL);
            putchar('\n');
            depth++;
        }
        json_object_foreach((json_t *)(uintptr_t)v, key, child)
            if (strcmp(key, "name") != 0 || strcmp(js_str(v, "name"), name) != 0) /* it is the heading */
                health_print(child, key, depth);
        return;
    }
    if (json_is_array(v)) {
        json_array_foreach(v, i, child)
            health_print(child, json_is_object(child) && js_str(child, "name")[0] != '\0' ? js_str(child, "name") : name, depth);
        return;
    }
    if (json_is_null(v))
        return;
    printf("%*s", 2 * depth, "");
    term_text(stdout, name, strlen(name), false, NULL);
    fputs(": ", stdout);
    if (json_is_string(v)) {
        term_text(stdout, json_string_value(v), json_string_length(v), false, NULL);
        putchar('\n');
    } else {
        json_dumpf(v, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
        putchar('\n');
    }
}

int cmd_status(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = cli_command_find(argv[0]);
    bool doctor = strcmp(argv[0], "doctor") == 0;
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "GET", .path = "/readyz", .once = true, .quiet = true};
    int rc = cli_options(c, cmd, &argc, argv, NULL);

    if (rc != CLI_OK)
        return rc;
    if (argc > 0)
        return cli_usage(cmd, "%s takes no arguments", cmd->name);
    rc = api_do(c, &call, &a);
    if (rc == CLI_UNREACHABLE) {
        term_error("%s does not answer", c->url);
        term_note("Is assayd running there? Another address: --url URL, or ASSAY_URL.");
    }
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        if (a.json != NULL)
            term_json(a.json);
    } else {
        printf("%s is %s\n", c->url, a.status == 200 ? "up and ready" : a.status == 503 ? "up and not ready" : "no Assay server");
        if (a.json != NULL && (doctor || a.status != 200))
            health_print(a.json, "", 1);
        if (doctor)
            puts("What the machine itself offers (sandboxes, cgroups, limits): assayd --doctor, on the machine.");
    }
    return a.status == 200 ? CLI_OK : CLI_SERVER;
}
