/*
 * The HTTP API through libcurl.
 *
 * Retries: a request that may be repeated (GET, PUT, DELETE, and a POST with an Idempotency-Key of our
 * own making) is tried again after a broken connection and after 429 or 503, as long as the
 * server's Retry-After is short.  A connection that was refused was never used, so then even
 * other requests are tried again.  The same key goes with every try, so a submission is never made twice.
 *
 * A token that has run out is replaced once by means of the refresh token.  Redirects are not
 * followed: they would carry the token elsewhere.
 */
#include "cli.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <sys/random.h>
#include <time.h>

#define ANSWER_MAX ((size_t)64 << 20)
#define TRIES 5
#define PATIENCE_S 10 /* a longer Retry-After is the caller's to know */

struct sink {
    char *p;
    size_t n, room;
    bool over;
};

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct sink *s = arg;

    n *= size;
    if (s->n + n > ANSWER_MAX) {
        s->over = true;
        return 0;
    }
    if (s->n + n + 1 > s->room) {
        size_t room = (s->n + n + 1) * 2;
        char *q = realloc(s->p, room);

        if (q == NULL)
            return 0;
        s->p = q;
        s->room = room;
    }
    memcpy(s->p + s->n, p, n);
    s->n += n;
    s->p[s->n] = '\0';
    return n;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct api_answer *a = arg;

    n *= size;
    if (n > 13 && strncasecmp(p, "x-request-id:", 13) == 0) {
        size_t k = 0;

        for (size_t i = 13; i < n && k < sizeof(a->request_id) - 1; i++)
            if (isgraph((unsigned char)p[i]))
                a->request_id[k++] = p[i];
        a->request_id[k] = '\0';
    } else if (n > 12 && strncasecmp(p, "retry-after:", 12) == 0) {
        char num[16] = "";
        long s;

        memcpy(num, p + 12, n - 12 < sizeof(num) - 1 ? n - 12 : sizeof(num) - 1);
        s = strtol(num, NULL, 10);
        a->retry_after_s = s < 0 ? 0 : s;
    }
    return n;
}

void api_answer_free(struct api_answer *a)
{
    json_decref(a->json);
    free(a->text);
    *a = (struct api_answer){.status = 0};
}

void api_init(struct cli *c)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (c->curl = curl_easy_init()) == NULL) {
        term_error("libcurl could not be started");
        exit(CLI_LOCAL);
    }
}

void api_end(struct cli *c)
{
    curl_easy_cleanup(c->curl);
    c->curl = NULL;
    curl_global_cleanup();
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

static void key_make(char out[33])
{
    unsigned char r[16];

    if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r)) {
        term_error("no random bytes: %s", strerror(errno));
        exit(CLI_LOCAL);
    }
    for (size_t i = 0; i < sizeof(r); i++)
        snprintf(out + 2 * i, 3, "%02x", r[i]);
}

static struct curl_slist *header_add(struct curl_slist *list, const char *text)
{
    struct curl_slist *more = curl_slist_append(list, text);

    if (more == NULL) {
        term_error("no memory");
        exit(CLI_LOCAL);
    }
    return more;
}

static bool set_all(CURL *h, const char *ca, const char *method, const char *url, const char *body, size_t body_n, struct curl_slist *headers,
                    struct sink *sink, struct api_answer *out, char *reason)
{
    CURLcode rc = CURLE_OK;

#define SET(option, value) (rc = rc == CURLE_OK ? curl_easy_setopt(h, (option), (value)) : rc)
    curl_easy_reset(h);
    SET(CURLOPT_URL, url);
    SET(CURLOPT_CUSTOMREQUEST, method);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_USERAGENT, "assay/" CLI_VERSION);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    SET(CURLOPT_TIMEOUT_MS, 120000L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, sink);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, out);
    SET(CURLOPT_ERRORBUFFER, reason);
    if (ca[0] != '\0')
        SET(CURLOPT_CAINFO, ca);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
    if (body != NULL) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_n);
        SET(CURLOPT_POSTFIELDS, body);
    } else if (strcmp(method, "POST") == 0) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
        SET(CURLOPT_POSTFIELDS, "");
    }
#undef SET
    return rc == CURLE_OK;
}

/* One try. The libcurl code; reason is its text. */
static CURLcode attempt(struct cli *c, const struct api_call *call, const char *body, const char *key,
                        struct api_answer *out, char reason[CURL_ERROR_SIZE])
{
    CLI_CLEANUP_STR char *url = cli_fmt("%s%s", call->elsewhere ? "" : c->url, call->path);
    struct curl_slist *headers = header_add(NULL, "Accept: application/json, application/problem+json");
    struct sink sink = {NULL, 0, 0, false};
    CURLcode rc;

    reason[0] = '\0';
    if (call->raw != NULL) {
        CLI_CLEANUP_STR char *h = cli_fmt("Content-Type: %s", call->raw_type);

        headers = header_add(headers, h);
    } else if (body != NULL) {
        headers = header_add(headers, "Content-Type: application/json");
    }
    headers = header_add(headers, "Expect:"); /* a body goes with its head: no round trip for a "100 Continue" */
    if (key[0] != '\0') {
        CLI_CLEANUP_STR char *h = cli_fmt("Idempotency-Key: %s", key);

        headers = header_add(headers, h);
    }
    if (c->token != NULL && !call->anonymous) {
        CLI_CLEANUP_STR char *h = cli_fmt("Authorization: Bearer %s", c->token);

        headers = header_add(headers, h);
    }
    const char *sent = call->raw != NULL ? call->raw : body;
    size_t sent_n = call->raw != NULL ? call->raw_n : body != NULL ? strlen(body) : 0;
    rc = set_all(c->curl, cli_ca(c), call->method, url, sent, sent_n, headers, &sink, out, reason) ? curl_easy_perform(c->curl)
                                                                                 : CURLE_FAILED_INIT;
    curl_slist_free_all(headers);
    if (rc == CURLE_OK)
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &out->status);
    else if (sink.over)
        snprintf(reason, CURL_ERROR_SIZE, "the answer is longer than %zu MiB", ANSWER_MAX >> 20);
    if (rc == CURLE_OK && sink.n > 0) {
        json_error_t e;

        out->json = json_loadb(sink.p, sink.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
        out->text = sink.p;
        out->text_n = sink.n;
    } else {
        free(sink.p);
    }
    return rc;
}

static bool worth_another(const struct api_call *call, CURLcode rc, const struct api_answer *a)
{
    bool repeatable = strcmp(call->method, "POST") != 0 || call->create || call->key != NULL;

    if (call->once)
        return false;
    if (rc == CURLE_COULDNT_CONNECT)
        return true;
    if (!repeatable)
        return false;
    if (rc != CURLE_OK)
        return rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR || rc == CURLE_GOT_NOTHING ||
               rc == CURLE_PARTIAL_FILE || rc == CURLE_OPERATION_TIMEDOUT;
    return (a->status == 429 || a->status == 503) && a->retry_after_s <= PATIENCE_S;
}

/* True when a fresh token is in place. */
static bool refresh(struct cli *c)
{
    CLI_CLEANUP_JSON json_t *body = json_pack("{s:s}", "refresh_token", c->refresh);
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "POST", .path = "/auth/refresh", .body = body, .quiet = true, .anonymous = true};
    CLI_CLEANUP_STR char *old = c->refresh;

    c->refresh = NULL; /* tried once */
    if (body == NULL || api_do(c, &call, &a) != CLI_OK || a.status != 200 || js_str(a.json, "token")[0] == '\0')
        return false;
    free(c->token);
    c->token = cli_strdup(js_str(a.json, "token"));
    if (c->unsaved) {
        c->refresh = cli_strdup(js_str(a.json, "refresh_token")[0] != '\0' ? js_str(a.json, "refresh_token") : old);
        return true;
    }
    config_set(c, "token", c->token);
    config_set(c, "refresh_token", js_str(a.json, "refresh_token")[0] != '\0' ? js_str(a.json, "refresh_token") : old);
    if (config_save(c) != CLI_OK)
        term_note("The new sign-in is used now but is not remembered.");
    return true;
}

static int unreachable(const struct cli *c, const char *reason)
{
    term_error("%s does not answer: %s", c->url, reason);
    term_note("Is assayd running there? Another address: --url URL, or ASSAY_URL.");
    return CLI_UNREACHABLE;
}

int api_do(struct cli *c, const struct api_call *call, struct api_answer *out)
{
    CLI_CLEANUP_STR char *body = NULL;
    char reason[CURL_ERROR_SIZE], made[33] = "";
    const char *key = call->key != NULL ? call->key : made;
    CURLcode rc = CURLE_OK;
    long wait_ms = 100;

    if (call->body != NULL && (body = json_dumps(call->body, JSON_COMPACT)) == NULL) {
        term_error("the request could not be written as JSON");
        return CLI_LOCAL;
    }
    if (call->create && call->key == NULL)
        key_make(made);
    for (int i = 0; i < TRIES; i++) {
        api_answer_free(out);
        rc = attempt(c, call, body, key, out, reason);
        if (rc == CURLE_OK && out->status == 401 && c->token_kept && c->refresh != NULL && !call->anonymous && refresh(c))
            continue;
        if (!worth_another(call, rc, out) || i + 1 == TRIES)
            break;
        pause_ms(rc == CURLE_OK && out->retry_after_s > 0 ? out->retry_after_s * 1000 : wait_ms);
        wait_ms = wait_ms * 3 < 1000 ? wait_ms * 3 : 1000;
    }
    if (rc == CURLE_WRITE_ERROR) {
        term_error("%s: %s", c->url, reason);
        return CLI_LOCAL;
    }
    if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL) {
        term_error("%s is not an address that can be used: %s", c->url, reason[0] != '\0' ? reason : curl_easy_strerror(rc));
        term_note("Name the server as http://HOST:PORT or https://HOST.");
        return CLI_USAGE;
    }
    if (rc == CURLE_PEER_FAILED_VERIFICATION) {
        term_error("%s is not to be trusted: %s", c->url, reason[0] != '\0' ? reason : curl_easy_strerror(rc));
        term_note("If its certificate is from an authority of your own, name that authority's file: --ca FILE, or ASSAY_CA.");
        return CLI_LOCAL; /* whom to trust is said on this side */
    }
    if (rc == CURLE_SSL_CACERT_BADFILE) {
        term_error("%s, the file of authorities, cannot be used: %s", cli_ca(c), reason[0] != '\0' ? reason : curl_easy_strerror(rc));
        return CLI_LOCAL;
    }
    if (rc != CURLE_OK)
        return call->quiet && call->once ? CLI_UNREACHABLE
                                         : unreachable(c, reason[0] != '\0' ? reason : curl_easy_strerror(rc));
    if (out->status >= 200 && out->status < 300)
        return CLI_OK;
    return call->quiet ? CLI_OK : api_refused(c, out);
}

int api_get(struct cli *c, const char *path, struct api_answer *out)
{
    struct api_call call = {.method = "GET", .path = path};

    return api_do(c, &call, out);
}

int api_post(struct cli *c, const char *path, json_t *body, struct api_answer *out)
{
    struct api_call call = {.method = "POST", .path = path, .body = body, .create = true};
    int rc;

    if (body == NULL) {
        term_error("the request could not be made: its texts must be UTF-8");
        return CLI_LOCAL;
    }
    rc = api_do(c, &call, out);
    json_decref(body);
    return rc;
}

char *api_path(const char *before, const char *id, const char *tail)
{
    char *e = curl_easy_escape(NULL, id, 0);
    char *path;

    if (e == NULL) {
        term_error("no memory");
        exit(CLI_LOCAL);
    }
    path = cli_fmt("%s%s%s", before, e, tail);
    curl_free(e);
    return path;
}

void api_query(char **path, const char *key, const char *value)
{
    CLI_CLEANUP_STR char *old = *path;
    CLI_CLEANUP_STR char *before = NULL;

    if (value == NULL) {
        *path = cli_strdup(old);
        return;
    }
    before = cli_fmt("%s%c%s=", old, strchr(old, '?') != NULL ? '&' : '?', key);
    *path = api_path(before, value, "");
}

int api_list(struct cli *c, const char *path, size_t max, json_t **out)
{
    CLI_CLEANUP_JSON json_t *all = json_array();
    CLI_CLEANUP_STR char *cursor = NULL;

    if (all == NULL)
        return CLI_LOCAL;
    for (;;) {
        CLI_CLEANUP_STR char *url = cli_strdup(path);
        API_CLEANUP struct api_answer a = {.status = 0};
        size_t want = max - json_array_size(all), i;
        char limit[24];
        const json_t *items;
        json_t *v;
        int rc;

        snprintf(limit, sizeof(limit), "%zu", want > 100 ? (size_t)100 : want);
        api_query(&url, "limit", limit);
        api_query(&url, "cursor", cursor);
        rc = api_get(c, url, &a);
        if (rc != CLI_OK)
            return rc;
        items = json_object_get(a.json, "items");
        if (!json_is_array(items)) {
            term_error("the answer of %s has no list of items", path);
            return CLI_SERVER;
        }
        json_array_foreach(items, i, v)
            if (json_array_size(all) < max && json_array_append(all, v) != 0)
                return CLI_LOCAL;
        free(cursor);
        cursor = js_str(a.json, "next_cursor")[0] != '\0' ? cli_strdup(js_str(a.json, "next_cursor")) : NULL;
        if (cursor == NULL || json_array_size(all) >= max || json_array_size(items) == 0)
            break;
    }
    *out = all;
    all = NULL;
    return CLI_OK;
}

int api_refused(struct cli *c, const struct api_answer *a)
{
    const char *detail = js_str(a->json, "detail"), *title = js_str(a->json, "title");
    const json_t *errors = json_object_get(a->json, "errors"), *e;
    size_t i;

    if (c->json && json_is_object(a->json))
        term_json(a->json);
    if (detail[0] != '\0' || title[0] != '\0')
        term_error("%s (%ld)", detail[0] != '\0' ? detail : title, a->status);
    else
        term_error("the server answered %ld without saying why", a->status);
    json_array_foreach(errors, i, e) {
        const char *pointer = js_str(e, "pointer"), *what = js_str(e, "detail");

        if (json_array_size(errors) > 1 || strstr(detail, what) == NULL) /* a single fault is often the detail itself */
            term_note("%s: %s", pointer[0] != '\0' ? pointer : "the request", what);
    }
    if (a->status == 401) {
        term_note(c->token == NULL ? "Sign in: assay login" : "The sign-in is not valid (any more). Sign in again: assay login");
        return CLI_SIGN_IN;
    }
    if (a->status == 403)
        term_note("This account may not do that. Who you are: assay whoami");
    else if (a->status == 404)
        term_note("What is not yours and not public looks as if it were not there. Lists: assay benchmarks, assay agents, "
                  "assay submissions");
    else if (a->status == 429 || a->status == 503)
        term_note("The server is busy. Try again%s.", a->retry_after_s > 0 ? " later" : " in a moment");
    else if (a->status >= 300 && a->status < 400)
        term_note("The server wants another address than %s; name it with --url.", c->url);
    else if (a->status >= 500)
        term_note("That is the server's fault, not yours. Its log has the reason under request id %s.",
                  a->request_id[0] != '\0' ? a->request_id : "(unknown)");
    if (a->status == 404)
        return CLI_NOT_FOUND;
    return a->status >= 500 ? CLI_SERVER : CLI_REFUSED;
}
