/*
 * Event streams (server-sent events) of several submissions at a time, through libcurl's multi interface.
 *
 * A stream is a convenience: what it would have told can be asked for.  So whatever goes wrong with one ends it
 * silently, and the caller polls instead.
 */
#include "cli.h"

#include <curl/curl.h>

#define LINE_MAX_BYTES ((size_t)4 << 20) /* a submission with all its spans */

struct stream {
    struct events *all;
    size_t which;
    CURL *h;
    char *url;
    char *line;
    size_t n, room;
    char name[32];
    bool open;
};

struct events {
    CURLM *multi;
    struct curl_slist *headers;
    events_fn fn;
    void *arg;
    size_t n;
    struct stream stream[];
};

/* A line of the stream is whole: "event: NAME", "data: JSON"; ids, comments and blank lines say nothing to us. */
static void on_line(struct stream *s)
{
    if (strncmp(s->line, "event: ", 7) == 0) {
        snprintf(s->name, sizeof(s->name), "%s", s->line + 7);
    } else if (strncmp(s->line, "data: ", 6) == 0) {
        CLI_CLEANUP_JSON json_t *data = json_loads(s->line + 6, JSON_REJECT_DUPLICATES, NULL);

        if (data != NULL)
            s->all->fn(s->all->arg, s->which, s->name, data);
        s->name[0] = '\0';
    }
}

static size_t on_bytes(char *p, size_t size, size_t n, void *arg)
{
    struct stream *s = arg;
    long status = 0;

    n *= size;
    if (curl_easy_getinfo(s->h, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK || status != 200)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (s->n + 1 >= s->room) {
            size_t room = s->room == 0 ? 4096 : s->room * 2;
            char *q = room <= LINE_MAX_BYTES ? realloc(s->line, room) : NULL;

            if (q == NULL)
                return 0;
            s->line = q;
            s->room = room;
        }
        if (p[i] == '\r')
            continue;
        if (p[i] != '\n') {
            s->line[s->n++] = p[i];
            continue;
        }
        s->line[s->n] = '\0';
        s->n = 0;
        on_line(s);
    }
    return n;
}

static bool stream_open(struct cli *c, struct stream *s, const char *path)
{
    CURLcode rc = CURLE_OK;

    s->url = cli_fmt("%s%s", c->url, path);
    s->h = curl_easy_init();
    if (s->h == NULL)
        return false;
#define SET(option, value) (rc = rc == CURLE_OK ? curl_easy_setopt(s->h, (option), (value)) : rc)
    SET(CURLOPT_URL, s->url);
    SET(CURLOPT_HTTPHEADER, s->all->headers);
    SET(CURLOPT_USERAGENT, "assay/" CLI_VERSION);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_WRITEFUNCTION, on_bytes);
    SET(CURLOPT_WRITEDATA, s);
    if (cli_ca(c)[0] != '\0')
        SET(CURLOPT_CAINFO, cli_ca(c));
#undef SET
    s->open = rc == CURLE_OK && curl_multi_add_handle(s->all->multi, s->h) == CURLM_OK;
    return s->open;
}

struct events *events_open(struct cli *c, size_t n, char *const *paths, events_fn fn, void *arg)
{
    struct events *e = calloc(1, sizeof(*e) + n * sizeof(e->stream[0]));

    if (e == NULL || (e->multi = curl_multi_init()) == NULL) {
        free(e);
        return NULL;
    }
    e->fn = fn;
    e->arg = arg;
    e->n = n;
    e->headers = curl_slist_append(NULL, "Accept: text/event-stream");
    if (c->token != NULL) {
        CLI_CLEANUP_STR char *h = cli_fmt("Authorization: Bearer %s", c->token);
        struct curl_slist *more = curl_slist_append(e->headers, h);

        if (more != NULL)
            e->headers = more;
    }
    for (size_t i = 0; i < n; i++) {
        e->stream[i] = (struct stream){.all = e, .which = i};
        (void)stream_open(c, &e->stream[i], paths[i]);
    }
    return e;
}

bool events_alive(const struct events *e, size_t which)
{
    return e != NULL && e->stream[which].open;
}

bool events_wait(struct events *e, int ms)
{
    int running = 0, left = 0;
    const CURLMsg *m;

    for (size_t i = 0; i < e->n; i++)
        running += e->stream[i].open;
    if (running == 0)
        return false;
    if (curl_multi_poll(e->multi, NULL, 0, ms, NULL) != CURLM_OK || curl_multi_perform(e->multi, &running) != CURLM_OK) {
        for (size_t i = 0; i < e->n; i++)
            e->stream[i].open = false;
        return false;
    }
    while ((m = curl_multi_info_read(e->multi, &left)) != NULL)
        for (size_t i = 0; i < e->n; i++)
            if (m->msg == CURLMSG_DONE && m->easy_handle == e->stream[i].h)
                e->stream[i].open = false;
    return true;
}

void events_close(struct events *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->n; i++) {
        if (e->stream[i].h != NULL) {
            (void)curl_multi_remove_handle(e->multi, e->stream[i].h);
            curl_easy_cleanup(e->stream[i].h);
        }
        free(e->stream[i].url);
        free(e->stream[i].line);
    }
    curl_slist_free_all(e->headers);
    (void)curl_multi_cleanup(e->multi);
    free(e);
}
