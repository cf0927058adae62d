/*
 * pit, all but new: projects and the PITs that test them (docs/projects.md).
 *
 * A submission takes three requests: an address to put the ZIP to is asked for, the ZIP is put there, and that is confirmed.  The
 * address may be a bucket's, so that no token goes along with it.
 */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#define POLL_MS 500
#define MINE_MAX 200 /* what the server gives at once */

static void say(const char *text)
{
    term_text(stdout, text, strlen(text), false, NULL);
}

/* ---- what came of it --------------------------------------------------------------------------------------- */

static int feedback_exit(const json_t *p)
{
    if (strcmp(js_str(p, "status"), "DONE") == 0)
        return CLI_OK;
    return strcmp(js_str(json_object_get(p, "feedback"), "step"), "runner") == 0 ? CLI_SERVER : CLI_NOT_ACCEPTED;
}

static void feedback_print(const json_t *p)
{
    const json_t *f = json_object_get(p, "feedback");
    const char *status = js_str(p, "status"), *details = js_str(f, "details");

    say(status);
    if (!json_is_object(f)) {
        putchar('\n');
        return;
    }
    printf("  score %g", js_num(p, "score", 0));
    if (js_num(f, "totalTests", 0) > 0) {
        printf("  %.0f of %.0f tests passed", js_num(f, "passedTests", 0), js_num(f, "totalTests", 0));
        if (js_num(f, "skippedTests", 0) > 0)
            printf(", %.0f skipped", js_num(f, "skippedTests", 0));
    }
    if (js_num(f, "durationMs", -1) >= 0)
        printf("  %.1f s", js_num(f, "durationMs", 0) / 1000);
    putchar('\n');
    if (js_str(f, "error")[0] != '\0') {
        say(js_str(f, "step"));
        fputs(": ", stdout);
        say(js_str(f, "error"));
        putchar('\n');
    }
    if (details[0] != '\0') {
        term_text(stdout, details, strlen(details), true, "  ");
        putchar('\n');
    }
    if (json_is_string(json_object_get(p, "logsS3Key"))) {
        fflush(stdout);
        term_note("What the commands printed: assay pit log %s", js_str(p, "submissionId"));
    }
}

static bool over(const json_t *p)
{
    return strcmp(js_str(p, "status"), "DONE") == 0 || strcmp(js_str(p, "status"), "ERROR") == 0;
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The feedback; with wait once it is over. Each change of the status is said meanwhile. */
static int feedback_of(struct cli *c, const char *id, bool wait, double timeout_s, struct api_answer *a)
{
    CLI_CLEANUP_STR char *path = api_path("/submissions/feedback/", id, "");
    CLI_CLEANUP_STR char *said = cli_strdup("");
    double start = now_s();

    for (;;) {
        struct timespec pause = {POLL_MS / 1000, POLL_MS % 1000 * 1000000};
        int rc;

        api_answer_free(a);
        rc = api_get(c, path, a);
        if (rc != CLI_OK || !wait || over(a->json))
            return rc;
        if (!c->json && strcmp(said, js_str(a->json, "status")) != 0) {
            free(said);
            said = cli_strdup(js_str(a->json, "status"));
            say(said);
            putchar('\n');
            fflush(stdout);
        }
        if (timeout_s > 0 && now_s() - start >= timeout_s) {
            term_error("it is not over after %g s", timeout_s);
            term_note("Look later: assay pit feedback %s --wait", id);
            return CLI_TIMEOUT;
        }
        nanosleep(&pause, NULL);
    }
}

static int feedback(struct cli *c, const char *id, bool wait, double timeout_s)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = feedback_of(c, id, wait, timeout_s, &a);

    if (rc != CLI_OK)
        return rc;
    if (c->json)
        term_json(a.json);
    else
        feedback_print(a.json);
    return over(a.json) ? feedback_exit(a.json) : CLI_OK;
}

static int log_print(struct cli *c, const char *id)
{
    CLI_CLEANUP_STR char *path = api_path("/submissions/feedback/", id, "/log");
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = api_get(c, path, &a);

    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        CLI_CLEANUP_JSON json_t *said = json_pack("{s:s, s:s%}", "submissionId", id, "log", a.text != NULL ? a.text : "", a.text_n);

        term_json(said);
    } else if (a.text == NULL) {
        term_note("The commands printed nothing.");
    } else if (term_is_tty(stdout)) {
        term_text(stdout, a.text, a.text_n, true, NULL);
    } else {
        fwrite(a.text, 1, a.text_n, stdout); /* a pipe or a file gets the bytes as they are */
    }
    return CLI_OK;
}

/* ---- sending ------------------------------------------------------------------------------------------------- */

/* A ZIP's bytes, or a folder's as one. */
static int archive_of(const char *path, char **out, size_t *n)
{
    struct stat st;
    int rc;

    if (stat(path, &st) != 0) {
        term_error("cannot read %s: %s", path, strerror(errno));
        return CLI_LOCAL;
    }
    rc = S_ISDIR(st.st_mode) ? zip_folder(path, false, out, n) : zip_file(path, out, n);
    if (rc == CLI_OK && (*n < 4 || memcmp(*out, "PK", 2) != 0)) {
        term_error("%s is no ZIP archive", path);
        term_note("Name a ZIP, or the folder: it is packed for you.");
        free(*out);
        *out = NULL;
        rc = CLI_LOCAL;
    }
    return rc;
}

static int submit(struct cli *c, const char *pit, const char *path, const struct pit_wish *w, double timeout_s)
{
    API_CLEANUP struct api_answer where = {.status = 0}, put = {.status = 0}, confirmed = {.status = 0};
    CLI_CLEANUP_STR char *bytes = NULL;
    const char *url, *key, *id;
    size_t n;
    int rc = archive_of(path, &bytes, &n);

    if (rc == CLI_OK)
        rc = api_post(c, "/submissions/request-upload", json_pack("{s:s}", "pitId", pit), &where);
    if (rc != CLI_OK)
        return rc;
    url = js_str(where.json, "uploadUrl");
    key = js_str(where.json, "fileKey");
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        term_error("the server gave no address to upload to");
        return CLI_SERVER;
    }
    const struct api_call call = {.method = "PUT", .path = url, .elsewhere = true, .anonymous = true, .raw = bytes, .raw_n = n,
                                  .raw_type = "application/octet-stream"};
    rc = api_do(c, &call, &put);
    if (rc != CLI_OK) {
        term_note("The ZIP was to go to %.*s, the address that the server gave.", (int)strcspn(url, "?"), url);
        return rc;
    }
    rc = api_post(c, "/submissions/confirm", json_pack("{s:s, s:s}", "pitId", pit, "fileKey", key), &confirmed);
    if (rc != CLI_OK)
        return rc;
    id = js_str(confirmed.json, "submissionId");
    if (id[0] == '\0') {
        term_error("the server took the project and answered without its id");
        return CLI_SERVER;
    }
    if (!w->no_wait) {
        if (!c->json)
            printf("Submission %s\n", id);
        fflush(stdout);
        return feedback(c, id, true, timeout_s);
    }
    if (c->json)
        term_json(confirmed.json);
    else
        puts(id);
    return CLI_OK;
}

static int upload_tests(struct cli *c, const char *pit, const char *path)
{
    static const char head[] = "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"tests.zip\"\r\nContent-Type: application/zip\r\n\r\n";
    CLI_CLEANUP_STR char *to = api_path("/pits/", pit, "/upload-tests");
    CLI_CLEANUP_STR char *bytes = NULL, *body = NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    unsigned char random[12];
    char mark[40] = "assay-";
    size_t n, before, whole;
    int rc = archive_of(path, &bytes, &n);

    if (rc != CLI_OK)
        return rc;
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        term_error("no random bytes: %s", strerror(errno));
        return CLI_LOCAL;
    }
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(mark + 6 + 2 * i, 3, "%02x", random[i]);
    CLI_CLEANUP_STR char *first = cli_fmt(head, mark);
    CLI_CLEANUP_STR char *last = cli_fmt("\r\n--%s--\r\n", mark);
    CLI_CLEANUP_STR char *type = cli_fmt("multipart/form-data; boundary=%s", mark);
    before = strlen(first);
    whole = before + n + strlen(last);
    body = malloc(whole);
    if (body == NULL) {
        term_error("no memory for %s", path);
        return CLI_LOCAL;
    }
    memcpy(body, first, before);
    memcpy(body + before, bytes, n);
    memcpy(body + before + n, last, strlen(last));
    const struct api_call call = {.method = "POST", .path = to, .raw = body, .raw_n = whole, .raw_type = type, .create = true};
    rc = api_do(c, &call, &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
    } else {
        fputs("The tests of ", stdout);
        say(pit);
        puts(" are these now.");
    }
    return CLI_OK;
}

static int publish(struct cli *c, const struct cli_command *cmd, const char *file, bool force)
{
    const char *slash = strrchr(file, '/'), *name = slash != NULL ? slash + 1 : file;
    size_t n = strlen(name);
    API_CLEANUP struct api_answer a = {.status = 0};
    json_error_t e;

    if (n <= 5 || strcmp(name + n - 5, ".json") != 0)
        return cli_usage(cmd, "%s: a PIT's file is called by its id and .json", file);
    CLI_CLEANUP_STR char *id = cli_fmt("%.*s", (int)(n - 5), name);
    CLI_CLEANUP_JSON json_t *body = json_load_file(file, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(body)) {
        term_error("%s, line %d: %s", file, body != NULL ? 1 : e.line, body != NULL ? "a PIT is a JSON object" : e.text);
        return CLI_LOCAL;
    }
    if (json_object_set_new(body, "id", json_string(id)) != 0)
        return cli_usage(cmd, "names must be UTF-8");
    struct api_call call = {.method = "POST", .path = "/pits", .body = body, .create = true, .quiet = true};
    int rc = api_do(c, &call, &a);
    bool changed = rc == CLI_OK && a.status == 409 && force;
    if (changed) {
        CLI_CLEANUP_STR char *path = api_path("/pits/", id, "");

        (void)json_object_del(body, "id");
        call = (struct api_call){.method = "PATCH", .path = path, .body = body, .quiet = true};
        rc = api_do(c, &call, &a);
    }
    if (rc == CLI_OK && (a.status < 200 || a.status > 299)) {
        rc = api_refused(c, &a);
        if (a.status == 409)
            term_note("With --force the PIT that is there is changed.");
    }
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
    } else {
        fputs("PIT ", stdout);
        say(id);
        puts(changed ? " is changed." : " is published.");
        if (json_is_false(json_object_get(a.json, "hasTests")))
            term_note("Your tests, laid over what is submitted: assay pit upload-tests %s DIR-OR-ZIP", id);
    }
    return CLI_OK;
}

/* ---- lists ----------------------------------------------------------------------------------------------------- */

static int list(struct cli *c, size_t limit)
{
    static const char *const keys[] = {"id", "title", "language", "buildTool", "maxTimeoutMs", "hasTests", "active"};
    static const char *const heads[] = {"PIT", "TITLE", "LANGUAGE", "TOOL", ">TIMEOUT MS", "TESTS", "ACTIVE"};
    CLI_CLEANUP_JSON json_t *items = NULL;
    int rc = api_list(c, "/pits", limit, &items);

    if (rc != CLI_OK)
        return rc;
    if (c->json)
        term_json(items);
    else if (json_array_size(items) == 0)
        puts("No PITs that you may see.");
    else
        js_table(items, 7, heads, keys);
    return CLI_OK;
}

static int mine(struct cli *c, const char *pit, size_t limit)
{
    static const char *const keys[] = {"submissionId", "createdAt", "pitId", "status", "score"};
    static const char *const heads[] = {"SUBMISSION", "MADE", "PIT", "STATUS", ">SCORE"};
    CLI_CLEANUP_STR char *path = cli_fmt("/submissions/mine?limit=%zu", limit < MINE_MAX ? limit : (size_t)MINE_MAX);
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc;

    api_query(&path, "pitId", pit);
    rc = api_get(c, path, &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json)
        term_json(a.json);
    else if (json_array_size(a.json) == 0)
        puts("You have submitted no projects. Submit one: assay pit submit PIT DIR-OR-ZIP");
    else
        js_table(a.json, 5, heads, keys);
    return CLI_OK;
}

static int show(struct cli *c, const char *pit)
{
    CLI_CLEANUP_STR char *path = api_path("/pits/", pit, "");
    API_CLEANUP struct api_answer a = {.status = 0};
    const char *key;
    json_t *v;
    int rc = api_get(c, path, &a);

    if (rc != CLI_OK)
        return rc;
    if (c->json || !json_is_object(a.json)) {
        term_json(a.json);
        return CLI_OK;
    }
    json_object_foreach(a.json, key, v) {
        CLI_CLEANUP_STR char *text = json_is_string(v) || json_is_null(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);

        printf("%-15s ", key);
        say(json_is_string(v) ? json_string_value(v) : text != NULL ? text : "-");
        putchar('\n');
    }
    return CLI_OK;
}

static bool number(const char *text, double most, double *out)
{
    char *end = NULL;

    if (text == NULL)
        return true;
    errno = 0;
    *out = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && isfinite(*out) && *out > 0 && *out <= most;
}

int pit_command(struct cli *c, const struct cli_command *cmd, const struct pit_wish *w, int argc, char **argv)
{
    static const char verbs[] = "submit, feedback, log, mine, list, show, new, publish, upload-tests";
    const char *verb = argc > 0 ? argv[0] : "list";
    double limit = 100, timeout_s = 0;

    if (!number(w->limit, 10000, &limit) || floor(limit) < limit)
        return cli_usage(cmd, "--limit is a number from 1 to 10000");
    if (!number(w->timeout, 1e9, &timeout_s))
        return cli_usage(cmd, "--timeout is a number of seconds above 0");
    if (strcmp(verb, "list") == 0 && argc <= 1)
        return list(c, (size_t)limit);
    if (strcmp(verb, "mine") == 0 && argc == 1)
        return mine(c, w->pit, (size_t)limit);
    if (strcmp(verb, "submit") == 0)
        return argc == 3 ? submit(c, argv[1], argv[2], w, timeout_s) : cli_usage(cmd, "name the PIT, then the ZIP or the folder");
    if (strcmp(verb, "upload-tests") == 0)
        return argc == 3 ? upload_tests(c, argv[1], argv[2]) : cli_usage(cmd, "name the PIT, then the ZIP or the folder of its tests");
    if (argc != 2 && (strcmp(verb, "feedback") == 0 || strcmp(verb, "log") == 0))
        return cli_usage(cmd, "name one submission; assay pit mine lists yours");
    if (strcmp(verb, "feedback") == 0)
        return feedback(c, argv[1], w->wait, timeout_s);
    if (strcmp(verb, "log") == 0)
        return log_print(c, argv[1]);
    if (strcmp(verb, "show") == 0)
        return argc == 2 ? show(c, argv[1]) : cli_usage(cmd, "name one PIT; assay pit list has them");
    if (strcmp(verb, "publish") == 0)
        return argc == 2 ? publish(c, cmd, argv[1], w->force) : cli_usage(cmd, "name the PIT's file");
    return cli_usage(cmd, "there is no pit %s, only: %s", verb, verbs);
}
