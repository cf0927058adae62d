/*
 * Over HTTP: submissions go out in batches, and what became of them is looked up in batches.
 *
 * A run has an agent of its own, so that the list of its submissions is exactly what it sent.  A batch that got no answer is sent
 * again with the same Idempotency-Key and the same items, however often, so nothing is submitted twice.  The list comes
 * newest first and ids rise with time, so a look reads pages down to the oldest submission that is still open.  Latencies are
 * the server's own (finished_at - created_at): the pace of looking does not blur them.
 *
 * finish reads the whole list once more: each submission of the run must stand there once, with the
 * verdict that was seen before, and none that the run did not send.
 */
#include "simulate.h"

#include <ctype.h>
#include <time.h>

#define LOOK_MIN_S 0.1
#define LOOK_MAX_S 1.0
#define PAGE 500

struct http {
    struct sim_settings *s;
    char *agent;
    bool own_agent;
    char key[80]; /* of the batch under way */
    size_t frozen, batch;
    double not_before_s, look_at_s, look_every_s;
    bool told_away;
    char first_id[64];
};

static double parse_time_ms(const char *text)
{
    struct tm tm = {.tm_sec = 0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    double ms;

    if (rest == NULL)
        return -1;
    ms = (double)timegm(&tm) * 1000;
    return rest[0] == '.' ? ms + strtod(rest, NULL) * 1000 : ms;
}

/* GET path: whether it is there. */
static int is_there(struct cli *c, const char *path, bool *there)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "GET", .path = path, .quiet = true};
    int rc = api_do(c, &call, &a);

    *there = rc == CLI_OK && a.status == 200;
    if (rc == CLI_OK && a.status != 200 && a.status != 404)
        return api_refused(c, &a);
    return rc;
}

static int make_problem(struct cli *c, const char *benchmark, const struct sim_outcome *o)
{
    CLI_CLEANUP_STR char *id = cli_fmt("%s-%s", benchmark, o->problem);
    CLI_CLEANUP_STR char *look = api_path("/problems/", id, "");
    CLI_CLEANUP_STR char *path = api_path("/benchmarks/", benchmark, "/problems");
    API_CLEANUP struct api_answer a = {.status = 0};
    bool there;
    int rc = is_there(c, look, &there);

    if (rc != CLI_OK || there)
        return rc;
    return api_post(c, path,
                    json_pack("{s:s, s:s, s:s, s:b, s:{s:i, s:i, s:I}, s:o}", "id", id, "name", o->problem, "statement",
                              "Print the sum of the integers on standard input.", "stop_on_failure", 1, "limits", "time_limit_ms",
                              (int)o->limits.time_ms, "wall_limit_ms", (int)o->limits.wall_ms, "memory_limit_bytes",
                              o->limits.memory_bytes, "tests", sim_tests_json(false)),
                    &a);
}

static int make_benchmark(struct cli *c, const char *id)
{
    CLI_CLEANUP_STR char *look = api_path("/benchmarks/", id, "");
    bool there;
    int rc = is_there(c, look, &there);

    if (rc != CLI_OK || there)
        return rc;
    API_CLEANUP struct api_answer a = {.status = 0};

    rc = api_post(c, "/benchmarks",
                  json_pack("{s:s, s:s, s:s, s:s}", "id", id, "name", "assay simulate", "visibility", "private", "feedback", "full"),
                  &a);
    if (rc == CLI_REFUSED && a.status == 403)
        term_note("The benchmark %s is not there yet: let an instructor run assay simulate once, or name one with --benchmark.", id);
    return rc;
}

/* Every language of the plan must be offered; one that is still being tried is waited for. */
static int languages_ready(struct http *h)
{
    struct sim_settings *s = h->s;

    for (double end = ledger_now(s->ledger) + 120;;) {
        API_CLEANUP struct api_answer a = {.status = 0};
        const char *missing = NULL;
        bool testing = false;
        const json_t *row;
        size_t i;
        int rc = api_get(s->cli, "/languages", &a);

        if (rc != CLI_OK)
            return rc;
        for (size_t k = 0; k < SIM_LANGUAGES; k++) {
            bool found = !s->offered[k];

            json_array_foreach(json_object_get(a.json, "items"), i, row)
                if (strcmp(js_str(row, "name"), sim_languages[k]) == 0) {
                    found = found || json_is_true(json_object_get(row, "offered"));
                    testing = testing || (!found && strcmp(js_str(row, "state"), "testing") == 0);
                }
            if (!found)
                missing = sim_languages[k];
        }
        if (missing == NULL)
            return CLI_OK;
        if (!testing || ledger_now(s->ledger) > end || sim_stopping != 0) {
            term_error("%s is not offered by %s", missing, s->cli->url);
            term_note("GET /languages says why. To leave it out: --languages %s=0", missing);
            return CLI_REFUSED;
        }
        ledger_wait(s->ledger, 0.5);
    }
}

static int open_http(struct sim_settings *s, void **self)
{
    struct http *h = calloc(1, sizeof(*h));
    bool there = false;
    int rc = CLI_OK;

    if (h == NULL) {
        term_error("no memory");
        return CLI_LOCAL;
    }
    *self = h;
    h->s = s;
    h->look_every_s = LOOK_MIN_S;
    if (s->login != NULL)
        rc = cli_sign_in(s->cli, s->login);
    if (rc == CLI_OK)
        rc = languages_ready(h);
    if (rc == CLI_OK)
        rc = make_benchmark(s->cli, s->benchmark);
    for (size_t i = 0; rc == CLI_OK && i < SIM_OUTCOMES; i++) {
        bool seen = false;

        for (size_t k = 0; k < i; k++)
            seen = seen || strcmp(sim_outcomes[k].problem, sim_outcomes[i].problem) == 0;
        if (!seen)
            rc = make_problem(s->cli, s->benchmark, &sim_outcomes[i]);
    }
    h->agent = s->agent != NULL ? cli_strdup(s->agent) : cli_fmt("simulate-%s", s->run);
    if (rc == CLI_OK) {
        CLI_CLEANUP_STR char *look = api_path("/agents/", h->agent, "");

        rc = is_there(s->cli, look, &there);
    }
    if (rc == CLI_OK && !there) {
        API_CLEANUP struct api_answer a = {.status = 0};

        rc = api_post(s->cli, "/agents", json_pack("{s:s, s:s}", "id", h->agent, "name", "assay simulate"), &a);
        h->own_agent = rc == CLI_OK;
    }
    return rc;
}

static json_t *item_of(struct http *h, const struct sim_entry *e, size_t i)
{
    CLI_CLEANUP_STR char *tag = h->s->unique ? cli_fmt("%s-%zu", h->s->run, i) : NULL;
    CLI_CLEANUP_STR char *source = sim_program(e->language, e->outcome, tag);
    CLI_CLEANUP_STR char *problem = cli_fmt("%s-%s", h->s->benchmark, sim_outcomes[e->outcome].problem);

    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "benchmark_id", h->s->benchmark, "problem_id", problem, "agent_id", h->agent,
                     "language", sim_languages[e->language], "source", source);
}

/* The server is away: said once, and tried again a little later. run.c gives up after a time without progress. */
static void away(struct http *h, double for_s, const char *why)
{
    if (!h->told_away && h->s->verbose)
        term_note("%s %s; trying again", h->s->cli->url, why);
    h->told_away = true;
    h->not_before_s = ledger_now(h->s->ledger) + for_s;
}

static void take_items(struct http *h, const size_t *at, size_t n, const json_t *items)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(items, i);
        const json_t *made = json_object_get(item, "submission");
        double status = js_num(item, "status", 0);

        if (made != NULL && js_id(made)[0] != '\0') {
            ledger_accepted(h->s->ledger, at[i], js_id(made));
            if (h->first_id[0] == '\0' || strcmp(js_id(made), h->first_id) < 0)
                snprintf(h->first_id, sizeof(h->first_id), "%s", js_id(made));
        } else if (status >= 429 && status <= 599) { /* 429 and 503: no room now; 5xx: it is not there, or its key says so */
            ledger_again(h->s->ledger, at[i]);
            away(h, 0.5, "takes no more now");
        } else {
            ledger_refused(h->s->ledger, at[i], js_str(json_object_get(item, "error"), "detail"));
        }
    }
}

static int publish_http(void *self, const size_t *at, size_t n)
{
    struct http *h = self;
    CLI_CLEANUP_JSON json_t *body = json_object(), *items = json_array();
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "POST", .path = "/submissions/batch", .quiet = true, .once = true, .key = h->key};
    size_t count;
    const struct sim_entry *e = ledger_entries(h->s->ledger, &count); /* over HTTP there is one thread */
    int rc;

    if (ledger_now(h->s->ledger) < h->not_before_s)
        return CLI_OK;
    if (h->frozen == 0) {
        h->frozen = n < SIM_BATCH ? n : SIM_BATCH;
        snprintf(h->key, sizeof(h->key), "%s-%zu", h->s->run, h->batch++);
    }
    n = h->frozen; /* those that wait come in the same order again */
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(items, item_of(h, &e[at[i]], at[i])) != 0)
            return CLI_LOCAL;
    if (json_object_set(body, "items", items) != 0)
        return CLI_LOCAL;
    call.body = body;
    for (size_t i = 0; i < n; i++)
        ledger_sent(h->s->ledger, at[i]);
    rc = api_do(h->s->cli, &call, &a);
    if (rc == CLI_UNREACHABLE || (rc == CLI_OK && (a.status == 429 || a.status >= 500))) {
        for (size_t i = 0; i < n; i++)
            ledger_again(h->s->ledger, at[i]);
        away(h, a.retry_after_s > 0 ? (double)a.retry_after_s : 0.5, rc == CLI_OK ? "takes no more now" : "does not answer");
        return CLI_OK;
    }
    if (rc != CLI_OK)
        return rc;
    if (a.status != 200)
        return api_refused(h->s->cli, &a);
    h->frozen = 0;
    h->told_away = false;
    h->look_every_s = LOOK_MIN_S;
    take_items(h, at, n, json_object_get(a.json, "items"));
    return CLI_OK;
}

static void row_seen(struct http *h, const json_t *row)
{
    double made = parse_time_ms(js_str(row, "created_at")), ended = parse_time_ms(js_str(row, "finished_at"));
    const char *verdict = js_str(row, "verdict");
    struct sim_entry e;

    if (js_str(row, "finished_at")[0] == '\0' || !ledger_find(h->s->ledger, js_id(row), &e) || e.state == SIM_DONE)
        return;
    (void)ledger_result(h->s->ledger, js_id(row), verdict[0] != '\0' ? verdict : js_str(row, "status"),
                        made > 0 && ended >= made ? ended - made : -1, NULL, NULL);
}

/* Pages of the run's submissions, newest first, down to the id `to`. */
static int look(struct http *h, const char *to, void (*row_fn)(struct http *h, const json_t *row), bool *whole)
{
    CLI_CLEANUP_STR char *cursor = NULL;

    *whole = false;
    for (;;) {
        CLI_CLEANUP_STR char *path = cli_fmt("/submissions?limit=%d", PAGE);
        API_CLEANUP struct api_answer a = {.status = 0};
        struct api_call call = {.method = "GET", .path = NULL, .quiet = true, .once = true};
        const json_t *row, *last = NULL;
        size_t i;
        int rc;

        api_query(&path, "agent_id", h->agent);
        api_query(&path, "cursor", cursor);
        call.path = path;
        rc = api_do(h->s->cli, &call, &a);
        if (rc == CLI_UNREACHABLE || (rc == CLI_OK && (a.status == 429 || a.status >= 500))) {
            away(h, a.retry_after_s > 0 ? (double)a.retry_after_s : 0.5, "does not answer");
            return CLI_OK;
        }
        if (rc != CLI_OK)
            return rc;
        if (a.status != 200)
            return api_refused(h->s->cli, &a);
        h->told_away = false;
        json_array_foreach(json_object_get(a.json, "items"), i, row) {
            row_fn(h, row);
            last = row;
        }
        cli_freep(&cursor);
        if (last == NULL || js_str(a.json, "next_cursor")[0] == '\0' || strcmp(js_id(last), to) <= 0) {
            *whole = true;
            return CLI_OK;
        }
        cursor = cli_strdup(js_str(a.json, "next_cursor"));
    }
}

static int poll_http(void *self, double wait_s)
{
    struct http *h = self;
    double now = ledger_now(h->s->ledger);
    struct ledger_totals before, after;
    char oldest[64];
    bool whole;
    int rc;

    ledger_oldest_open(h->s->ledger, oldest);
    if (oldest[0] == '\0' || now < h->look_at_s) {
        double until = oldest[0] == '\0' || h->look_at_s - now > wait_s ? wait_s : h->look_at_s - now;

        if (until > 0)
            ledger_wait(h->s->ledger, until);
        return CLI_OK;
    }
    ledger_totals(h->s->ledger, &before);
    rc = look(h, oldest, row_seen, &whole);
    ledger_totals(h->s->ledger, &after);
    if (after.done > before.done)
        h->look_every_s = LOOK_MIN_S;
    else if (h->look_every_s < LOOK_MAX_S)
        h->look_every_s *= 1.5;
    h->look_at_s = ledger_now(h->s->ledger) + h->look_every_s;
    return rc;
}

static void row_checked(struct http *h, const json_t *row)
{
    const char *verdict = js_str(row, "verdict"), *status = verdict[0] != '\0' ? verdict : js_str(row, "status");
    struct sim_entry e;

    if (strcmp(js_id(row), h->first_id) < 0)
        return;
    if (!ledger_find(h->s->ledger, js_id(row), &e)) {
        if (h->own_agent)
            ledger_doubled(h->s->ledger, js_id(row), "a submission of this run's agent that the run did not send");
    } else if (e.state == SIM_DONE && strcmp(e.status, status) != 0) {
        ledger_doubled(h->s->ledger, js_id(row), "its verdict changed after it had ended");
    }
}

static int finish_http(void *self)
{
    struct http *h = self;
    bool whole = false;
    int rc = CLI_OK;

    for (int i = 0; h->first_id[0] != '\0' && rc == CLI_OK && !whole && i < 10; i++) {
        rc = look(h, h->first_id, row_checked, &whole);
        if (!whole)
            ledger_wait(h->s->ledger, 0.5);
    }
    if (rc == CLI_OK && !whole && h->first_id[0] != '\0')
        rc = CLI_UNREACHABLE;
    return rc;
}

static void close_http(void *self)
{
    struct http *h = self;

    if (h != NULL)
        free(h->agent);
    free(h);
}

const struct sim_path sim_path_http = {open_http, publish_http, poll_http, finish_http, close_http};
