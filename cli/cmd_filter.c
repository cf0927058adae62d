/*
 * filter: an image goes to the server, and comes back filtered.
 *
 * The result is bytes of a server: it goes into the file that was named, whole or not at all, or into a pipe, and never to a terminal.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define PARAMS_MAX 16
#define POLL_MS 100
#define INPUT_MAX ((size_t)64 << 20)

/* "sigma=2": a number or a truth value where it is one, else a word. */
static int param_add(json_t *params, const char *text)
{
    const char *eq = strchr(text, '=');
    json_t *v;

    if (eq == NULL || eq == text)
        return cli_usage(cli_command_find("filter"), "a parameter is NAME=VALUE, not \"%s\"", text);
    CLI_CLEANUP_STR char *name = cli_fmt("%.*s", (int)(eq - text), text);
    v = json_loads(eq + 1, JSON_DECODE_ANY, NULL);
    if (v == NULL || !(json_is_number(v) || json_is_boolean(v))) {
        json_decref(v);
        v = json_string(eq + 1);
    }
    if (v == NULL || json_object_set_new(params, name, v) != 0) {
        term_error("the parameter %s is no text in UTF-8", name);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int list(struct cli *c)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    struct term_table t = {.columns = 3};
    const json_t *f, *p;
    size_t i, k;
    int rc = api_get(c, "/filters", &a);

    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(json_object_get(a.json, "items"));
        return CLI_OK;
    }
    term_cell(&t, "FILTER");
    term_cell(&t, "PARAMETERS");
    term_cell(&t, "");
    json_array_foreach(json_object_get(a.json, "items"), i, f) {
        char text[400] = "";

        json_array_foreach(json_object_get(f, "parameters"), k, p) {
            size_t n = strlen(text);
            CLI_CLEANUP_STR char *dflt = json_dumps(json_object_get(p, "default"), JSON_ENCODE_ANY);
            bool none = json_is_null(json_object_get(p, "default")) || dflt == NULL;

            snprintf(text + n, sizeof(text) - n, "%s%s%s%s", n > 0 ? ", " : "", js_str(p, "name"), none ? "" : "=", none ? "" : dflt);
        }
        term_cell(&t, js_str(f, "name"));
        term_cell(&t, text[0] != '\0' ? text : "-");
        term_cell(&t, json_is_true(json_object_get(f, "offered")) ? js_str(f, "title") : "not offered here");
    }
    term_table_print(&t, stdout);
    return CLI_OK;
}

/* Until there is an end; *result is its answer. */
static int await(struct cli *c, const char *task, double timeout_s, struct api_answer *result)
{
    CLI_CLEANUP_STR char *status = api_path("/status/", task, "");
    CLI_CLEANUP_STR char *path = api_path("/result/", task, "");
    struct timespec start, now, pause = {0, POLL_MS * 1000000L};

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        API_CLEANUP struct api_answer a = {.status = 0};
        int rc = api_get(c, status, &a);

        if (rc != CLI_OK)
            return rc;
        if (strcmp(js_str(a.json, "status"), "ready") == 0)
            return api_get(c, path, result);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (timeout_s > 0 && (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 >= timeout_s) {
            term_error("the filter is not done after %g s", timeout_s);
            return CLI_TIMEOUT;
        }
        nanosleep(&pause, NULL);
    }
}

static int bytes_write(const char *path, const unsigned char *bytes, size_t n)
{
    CLI_CLEANUP_STR char *temp = path != NULL ? cli_fmt("%s.%ld", path, (long)getpid()) : NULL;
    int fd = path != NULL ? open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666) : STDOUT_FILENO;
    int fault = fd < 0 ? errno : 0;

    for (size_t at = 0; fault == 0 && at < n;) {
        ssize_t put = write(fd, bytes + at, n - at);

        if (put < 0 && errno != EINTR)
            fault = errno;
        at += put > 0 ? (size_t)put : 0;
    }
    if (path != NULL && fd >= 0) {
        if (close(fd) != 0 && fault == 0)
            fault = errno;
        if (fault == 0 && rename(temp, path) != 0)
            fault = errno;
        if (fault != 0)
            (void)unlink(temp);
    }
    if (fault == 0)
        return CLI_OK;
    term_error("%s could not be written: %s", path != NULL ? path : "standard output", strerror(fault));
    return CLI_LOCAL;
}

/* All of standard input. */
static int input_read(char **out, size_t *n)
{
    size_t room = 0, got = 1;

    for (*n = 0; got > 0 && *n <= INPUT_MAX; *n += got) {
        if (*n == room) {
            char *more = realloc(*out, room = room == 0 ? 1 << 16 : 2 * room);

            if (more == NULL)
                break;
            *out = more;
        }
        got = fread(*out + *n, 1, room - *n, stdin);
    }
    if (got == 0 && !ferror(stdin))
        return CLI_OK;
    term_error(*n > INPUT_MAX ? "the image is too large" : "the image cannot be read from standard input");
    return CLI_LOCAL;
}

static int filter(struct cli *c, const char *name, const char *file, json_t *params, double timeout_s, const char *out)
{
    CLI_CLEANUP_STR char *bytes = NULL;
    API_CLEANUP struct api_answer made = {.status = 0}, result = {.status = 0};
    size_t n = 0;
    int rc = strcmp(file, "-") == 0 ? input_read(&bytes, &n) : zip_file(file, &bytes, &n);

    if (rc != CLI_OK)
        return rc;
    CLI_CLEANUP_STR char *image = base64_encode(bytes, n);
    rc = image == NULL ? CLI_LOCAL : api_post(c, "/task", json_pack("{s:{s:s, s:O}, s:s}", "filter", "name", name, "parameters", params, "image", image), &made);
    if (rc == CLI_OK)
        rc = await(c, js_str(made.json, "task_id"), timeout_s, &result);
    if (rc != CLI_OK)
        return rc;
    if (json_object_get(result.json, "error") != NULL) {
        if (c->json)
            term_json(result.json);
        else
            term_error("%s", js_str(result.json, "error"));
        return CLI_NOT_ACCEPTED;
    }
    const char *text = js_str(result.json, "result");
    CLI_CLEANUP_STR char *room = malloc(strlen(text) + 1);
    n = room != NULL ? base64_decode(text, (unsigned char *)room) : 0;
    if (n == 0) {
        term_error("the server answered without a result");
        return CLI_SERVER;
    }
    rc = bytes_write(out, (const unsigned char *)room, n);
    if (rc == CLI_OK && c->json && out != NULL) {
        CLI_CLEANUP_JSON json_t *said = json_pack("{s:s, s:s, s:I}", "task_id", js_str(made.json, "task_id"), "output", out, "bytes", (json_int_t)n);

        term_json(said);
    }
    return rc;
}

int cmd_filter(struct cli *c, int argc, char **argv)
{
    const char *out = NULL, *timeout = NULL, *param[PARAMS_MAX];
    size_t n_params = 0;
    const struct cli_option o[] = {{.name = "output", .letter = 'o', .value = &out},
                                   {.name = "param", .letter = 'p', .list = param, .list_max = PARAMS_MAX, .list_n = &n_params},
                                   {.name = "timeout", .value = &timeout},
                                   {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("filter");
    CLI_CLEANUP_JSON json_t *params = json_object();
    char *end = NULL;
    int rc = cli_options(c, cmd, &argc, argv, o);
    double timeout_s = timeout != NULL ? strtod(timeout, &end) : 0;

    if (rc != CLI_OK)
        return rc;
    if (end != NULL && (end == timeout || *end != '\0' || !(timeout_s > 0)))
        return cli_usage(cmd, "--timeout takes seconds, not \"%s\"", timeout);
    if (argc == 0 || (argc == 1 && strcmp(argv[0], "list") == 0))
        return list(c);
    if (argc != 2)
        return cli_usage(cmd, "name a filter and an image");
    if (out != NULL && strcmp(out, "-") == 0)
        out = NULL;
    if (out == NULL && (c->json || term_is_tty(stdout)))
        return cli_usage(cmd, "say where the image goes: --output FILE");
    for (size_t i = 0; rc == CLI_OK && i < n_params; i++)
        rc = param_add(params, param[i]);
    return rc != CLI_OK ? rc : filter(c, argv[0], argv[1], params, timeout_s, out);
}
