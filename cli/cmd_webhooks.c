/* webhooks: have the events of a benchmark or a submission sent to a URL */
#include "cli.h"

#define DELIVERIES_MAX 10000

static int table(struct cli *c, const char *path, const char *const *keys, const char *const *heads, size_t columns, size_t max)
{
    CLI_CLEANUP_JSON json_t *items = NULL;
    int rc = api_list(c, path, max, &items);

    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(items);
        return CLI_OK;
    }
    js_table(items, columns, heads, keys);
    return CLI_OK;
}

static int list(struct cli *c)
{
    static const char *const keys[] = {"id", "benchmark_id", "submission_id", "url", "reason"};
    static const char *const heads[] = {"WEBHOOK", "BENCHMARK", "SUBMISSION", "URL", "OFF BECAUSE"};

    return table(c, "/webhooks", keys, heads, 5, 1000);
}

static int deliveries(struct cli *c, const char *id)
{
    static const char *const keys[] = {"event_id", "type", "state", "attempts", "status", "updated_at", "error"};
    static const char *const heads[] = {"EVENT", "TYPE", "STATE", ">TRIES", ">STATUS", "LAST", "ERROR"};
    CLI_CLEANUP_STR char *path = api_path("/webhooks/", id, "/deliveries");

    return table(c, path, keys, heads, 7, DELIVERIES_MAX);
}

static int create(struct cli *c, const struct cli_command *cmd, const char *url, const char *benchmark, const char *submission, const char *events)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    json_t *body = json_pack("{s:s, s:s*, s:s*}", "url", url, "benchmark_id", benchmark, "submission_id", submission), *names;
    int rc;

    if (body == NULL)
        return cli_usage(cmd, "names must be UTF-8");
    if (events != NULL) {
        names = json_array();
        for (const char *p = events; *p != '\0';) {
            size_t n = strcspn(p, ",");

            if (n > 0)
                (void)json_array_append_new(names, json_stringn(p, n));
            p += n + (p[n] == ',');
        }
        (void)json_object_set_new(body, "events", names);
    }
    rc = api_post(c, "/webhooks", body, &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
        return CLI_OK;
    }
    printf("webhook %s\nsecret %s\n", js_id(a.json), js_str(a.json, "secret"));
    term_note("The secret is shown this once; receivers check signatures with it.");
    return CLI_OK;
}

static int show(struct cli *c, const char *id)
{
    CLI_CLEANUP_STR char *path = api_path("/webhooks/", id, "");
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = api_get(c, path, &a);

    if (rc == CLI_OK)
        term_json(a.json);
    return rc;
}

static int change(struct cli *c, const char *id, bool active)
{
    CLI_CLEANUP_STR char *path = api_path("/webhooks/", id, "");
    API_CLEANUP struct api_answer a = {.status = 0};
    CLI_CLEANUP_JSON json_t *body = json_pack("{s:b}", "active", active);
    struct api_call call = {.method = "PATCH", .path = path, .body = body};
    int rc = api_do(c, &call, &a);

    if (rc != CLI_OK)
        return rc;
    if (c->json)
        term_json(a.json);
    else
        printf("webhook %s is %s\n", js_id(a.json), active ? "active" : "off");
    return CLI_OK;
}

static int replay(struct cli *c, const struct cli_command *cmd, const char *id, const char *event, const char *since)
{
    CLI_CLEANUP_STR char *path = api_path("/webhooks/", id, "/replay");
    API_CLEANUP struct api_answer a = {.status = 0};
    CLI_CLEANUP_JSON json_t *body = json_pack("{s:s*, s:s*}", "event_id", event, "since", since);
    struct api_call call = {.method = "POST", .path = path, .body = body};
    int rc;

    if ((event == NULL) == (since == NULL))
        return cli_usage(cmd, "say which: --event ID, or --since TIME");
    rc = api_do(c, &call, &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json)
        term_json(a.json);
    else
        printf("%.0f sent again\n", js_num(a.json, "replayed", 0));
    return CLI_OK;
}

static int delete(struct cli *c, const char *id)
{
    CLI_CLEANUP_STR char *path = api_path("/webhooks/", id, "");
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "DELETE", .path = path};

    return api_do(c, &call, &a);
}

int cmd_webhooks(struct cli *c, int argc, char **argv)
{
    const char *benchmark = NULL, *submission = NULL, *events = NULL, *event = NULL, *since = NULL;
    const struct cli_option o[] = {{.name = "benchmark", .letter = 'b', .value = &benchmark}, {.name = "submission", .value = &submission},
        {.name = "events", .value = &events}, {.name = "event", .value = &event}, {.name = "since", .value = &since}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("webhooks");
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0))
        return list(c);
    if (argc == 2 && strcmp(argv[0], "create") == 0) {
        if ((benchmark == NULL) == (submission == NULL))
            return cli_usage(cmd, "a webhook is for a benchmark (-b ID) or for a submission (--submission ID)");
        return create(c, cmd, argv[1], benchmark, submission, events);
    }
    if (argc == 2 && strcmp(argv[0], "show") == 0)
        return show(c, argv[1]);
    if (argc == 2 && strcmp(argv[0], "on") == 0)
        return change(c, argv[1], true);
    if (argc == 2 && strcmp(argv[0], "off") == 0)
        return change(c, argv[1], false);
    if (argc == 2 && strcmp(argv[0], "delete") == 0)
        return delete(c, argv[1]);
    if (argc == 2 && strcmp(argv[0], "deliveries") == 0)
        return deliveries(c, argv[1]);
    if (argc == 2 && strcmp(argv[0], "replay") == 0)
        return replay(c, cmd, argv[1], event, since);
    return cli_usage(cmd, "webhooks %s is not understood", argv[0]);
}
