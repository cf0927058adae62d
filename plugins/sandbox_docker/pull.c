/*
 * An image that the engine does not have is asked of its registry: POST /images/create, whose answer is a stream of
 * JSON lines for as long as the pull lasts.  The engine pulls and verifies; here its lines are read to tell how
 * far it is, and to learn how it ended, since an error in the midst of it comes with the status 200.
 *
 *   {"status":"Pulling from a/b","id":"TAG"}                                        says nothing about a layer
 *   {"status":"Downloading","progressDetail":{"current":N,"total":N},"id":"LAYER"}  and other states of a layer
 *   {"errorDetail":{"message":"..."},"error":"..."}                                 the end
 *
 * A pull has a thread of its own (work.c), so that it is not in the way of containers.  Bounded: a line, the layers that are
 * counted, the time without a word, and the time of the whole; it ends when *setup->stop is set.  The engine drops a
 * pull whose connection closes, so it ends with this process too.  No credentials are sent.
 */
#include "local.h"

#include <assay/json.h>
#include <assay/value.h>

#include <curl/curl.h>
#include <stdlib.h>

#define LINE_MAX_BYTES ((size_t)64 << 10)
#define LAYERS_MAX 128 /* more than the engine's own storage takes */

struct layer {
    char id[24];
    int64_t current, total;
    bool done;
};

struct pull {
    const struct sd_setup *s;
    struct sd_progress *seen;
    CURL *curl;
    struct assay_buf line;
    struct layer layer[LAYERS_MAX];
    size_t n;
    char said[300];     /* the error in the stream */
    bool garbage, stopped, stalled, refused;
    curl_off_t last_n;  /* bytes of the answer, and when there were more than before */
    int64_t last_ns;
};

struct line {
    struct assay_str status, id, error;
    struct {
        int64_t current, total;
    } progress;
    struct {
        struct assay_str message;
    } detail;
};

bool sd_pull_allowed(const char *name)
{
    /* what assay-images and this driver make; under these names a public registry has nothing of ours */
    return strncmp(name, "assay/", 6) != 0 && strncmp(name, "assay-warden", 12) != 0 && strncmp(name, "sha256:", 7) != 0;
}

/* ---- the stream ---- */

static void publish(struct pull *p)
{
    int64_t bytes = 0, total = 0;
    unsigned done = 0;

    for (size_t i = 0; i < p->n; i++) {
        bytes += p->layer[i].current;
        total += p->layer[i].total;
        done += p->layer[i].done;
    }
    p->seen->layers = (unsigned)p->n;
    p->seen->layers_done = done;
    p->seen->bytes = bytes;
    p->seen->total = total;
}

static struct layer *layer_of(struct pull *p, struct assay_str id)
{
    for (size_t i = 0; i < p->n; i++)
        if (assay_str_is(id, p->layer[i].id))
            return &p->layer[i];
    if (id.n == 0 || id.n >= sizeof(p->layer[0].id) || p->n == LAYERS_MAX)
        return NULL;
    snprintf(p->layer[p->n].id, sizeof(p->layer[p->n].id), "%.*s", ASSAY_FMT(id));
    return &p->layer[p->n++];
}

static void layer_says(struct pull *p, const struct line *l)
{
    struct layer *y = assay_str_starts(l->status, "Pulling from") ? NULL : layer_of(p, l->id);
    int64_t most = (int64_t)1 << 50; /* that the sum of all cannot overflow */

    if (y == NULL)
        return;
    if (assay_str_is(l->status, "Downloading")) {
        y->current = l->progress.current < 0 ? 0 : l->progress.current > most ? most : l->progress.current;
        y->total = l->progress.total < y->current ? y->current : l->progress.total > most ? most : l->progress.total;
    } else if (assay_str_is(l->status, "Download complete")) {
        y->current = y->total;
    } else if (assay_str_is(l->status, "Pull complete") || assay_str_is(l->status, "Already exists")) {
        y->current = y->total;
        y->done = true;
    }
    publish(p);
}

static bool take_line(struct pull *p, struct assay_str text)
{
    static const struct assay_json_field progress[] = {
        {.name = "current", .type = ASSAY_JSON_INT, .offset = 0, .has_offset = -1},
        {.name = "total", .type = ASSAY_JSON_INT, .offset = sizeof(int64_t), .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    static const struct assay_json_field detail[] = {
        {.name = "message", .type = ASSAY_JSON_STRING, .offset = 0, .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    static const struct assay_json_field fields[] = {
        {.name = "status", .type = ASSAY_JSON_STRING, .offset = offsetof(struct line, status), .has_offset = -1},
        {.name = "id", .type = ASSAY_JSON_STRING, .offset = offsetof(struct line, id), .has_offset = -1},
        {.name = "error", .type = ASSAY_JSON_STRING, .offset = offsetof(struct line, error), .has_offset = -1},
        {.name = "progressDetail", .type = ASSAY_JSON_OBJECT, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct line, progress),
         .has_offset = -1, .fields = progress},
        {.name = "errorDetail", .type = ASSAY_JSON_OBJECT, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct line, detail),
         .has_offset = -1, .fields = detail},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_err ignored = {0, ""};
    struct line l;

    memset(&l, 0, sizeof(l));
    while (text.n > 0 && (text.p[text.n - 1] == '\r' || text.p[text.n - 1] == ' '))
        text.n--;
    if (text.n == 0)
        return true;
    if (arena == NULL || sd_decode("progress of a pull", text, fields, &l, arena, &ignored) != 0)
        return false;
    if (l.detail.message.n > 0 || l.error.n > 0)
        sd_printable(l.detail.message.n > 0 ? l.detail.message : l.error, p->said, sizeof(p->said));
    else
        layer_says(p, &l);
    return true;
}

static size_t take(char *from, size_t size, size_t n, void *arg)
{
    struct pull *p = arg;
    long code = 0;

    (void)size;
    curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &code);
    p->refused = code < 200 || code >= 300;
    for (size_t i = 0; i < n; i++) {
        if (from[i] != '\n' || p->refused) {
            assay_buf_putc(&p->line, from[i]);
            continue;
        }
        p->garbage = p->line.failed || !take_line(p, assay_buf_view(&p->line));
        assay_buf_reset(&p->line);
        if (p->garbage)
            return 0;
    }
    p->garbage = p->line.failed;
    return p->garbage ? 0 : n;
}

static int watch(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct pull *p = arg;
    int64_t now = assay_mono_ns();

    (void)down_total, (void)up_total, (void)up;
    p->stopped = p->s->stop != NULL && *p->s->stop;
    if (down != p->last_n || p->last_ns == 0) {
        p->last_n = down;
        p->last_ns = now;
    }
    p->stalled = now - p->last_ns > p->s->pull_idle_ms * 1000000;
    return p->stopped || p->stalled;
}

/* ---- how it ended ---- */

static bool any_of(const char *said, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcasestr(said, *words) != NULL)
            return true;
    return false;
}

/* What the engine or the registry says, with what to do about it. */
static int explain(const char *name, long status, const char *said, struct assay_err *err)
{
    static const char *const denied[] = {"denied", "unauthorized", "forbidden", "authentication required", "no basic auth", NULL};
    static const char *const missing[] = {"manifest unknown", "not found", "does not exist", "no such image", "name unknown", NULL};
    static const char *const unreachable[] = {"no such host", "dial tcp", "connection refused", "i/o timeout", "Client.Timeout",
        "network is unreachable", "TLS handshake", "Temporary failure", NULL};

    if (strstr(said, "no space left") != NULL)
        return assay_err_set(err, ASSAY_E_FULL, "pulling %.120s: the disk of the Docker engine is full (%.100s): make room there", name, said);
    if (status == 401 || status == 403 || any_of(said, denied))
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "the registry does not let %.100s be pulled: check its name; if it is private, "
                             "docker login and docker pull on the engine's machine (Assay sends no password) (%.90s)", name, said);
    if (any_of(said, unreachable))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "%.100s is not there, and its registry cannot be reached from the Docker engine: check "
                             "network and proxy there, or docker load or build the image (%.90s)", name, said);
    if (status == 404 || any_of(said, missing))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the registry has no %.120s: check name and tag, or name another image "
                             "(%.100s)", name, said);
    return assay_err_set(err, ASSAY_E_NOT_FOUND, "pulling %.120s failed: %.160s", name, said);
}

static int verdict(struct pull *p, const char *name, CURLcode rc, struct assay_err *err)
{
    char said[200];
    long status = 0;

    curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
    if (p->stopped)
        return assay_err_set(err, ASSAY_E_GONE, "pulling %.120s was given up: the server stops", name);
    if (p->stalled)
        return assay_err_set(err, ASSAY_E_TIMEOUT, "pulling %.120s: the Docker engine said nothing for %lld s; it is tried again", name,
                             (long long)p->s->pull_idle_ms / 1000);
    if (p->garbage)
        return assay_err_set(err, ASSAY_E_CORRUPT, "pulling %.120s: the Docker engine's progress is not what is expected", name);
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return assay_err_set(err, ASSAY_E_TIMEOUT, "pulling %.120s was not done in %lld min; it is tried again, and docker pull on the "
                             "engine's machine may take as long as it needs", name, (long long)p->s->pull_ms / 60000);
    if (p->said[0] != '\0')
        return explain(name, 0, p->said, err);
    if (rc != CURLE_OK)
        return assay_err_set(err, ASSAY_E_IO, "pulling %.120s: the Docker engine at %.100s broke off (%s)", name, p->s->engine.host,
                             curl_easy_strerror(rc));
    if (p->refused || status < 200 || status >= 300) {
        sd_said(assay_buf_view(&p->line), said, sizeof(said));
        return explain(name, status, said, err);
    }
    if (!take_line(p, assay_buf_view(&p->line))) /* the last one, without its newline */
        return assay_err_set(err, ASSAY_E_CORRUPT, "pulling %.120s: the Docker engine's progress is not what is expected", name);
    return p->said[0] != '\0' ? explain(name, 0, p->said, err) : 0;
}

/* Without a tag the engine would pull all there are. */
static void path_of(const struct sd_setup *s, const char *name, char *out, size_t room)
{
    const char *at = strchr(name, '@'), *slash = strrchr(name, '/'), *colon = strchr(slash != NULL ? slash : name, ':');
    const char *end = colon != NULL && (at == NULL || colon < at) ? colon : at, *tag = at != NULL ? at : colon;

    snprintf(out, room, "%s%s/images/create?fromImage=%.*s&tag=%s", s->engine.url, s->engine.api,
             (int)(end != NULL ? (size_t)(end - name) : strlen(name)), name, tag != NULL ? tag + 1 : "latest");
}

int sd_image_pull(const struct sd_setup *s, const char *name, struct sd_progress *seen, struct assay_err *err)
{
    struct pull *p = calloc(1, sizeof(*p));
    char url[2048];
    int rc;

    if (p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to pull an image");
    p->s = s;
    p->seen = seen;
    publish(p);
    assay_buf_init(&p->line, LINE_MAX_BYTES);
    p->curl = sd_engine_handle(&s->engine);
    if (p->curl == NULL) {
        free(p);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to pull an image");
    }
    path_of(s, name, url, sizeof(url));
    curl_easy_setopt(p->curl, CURLOPT_URL, url);
    curl_easy_setopt(p->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE, 0L);
    curl_easy_setopt(p->curl, CURLOPT_TIMEOUT_MS, (long)s->pull_ms);
    curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(p->curl, CURLOPT_WRITEDATA, p);
    curl_easy_setopt(p->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(p->curl, CURLOPT_XFERINFOFUNCTION, watch);
    curl_easy_setopt(p->curl, CURLOPT_XFERINFODATA, p);
    rc = verdict(p, name, curl_easy_perform(p->curl), err);
    curl_easy_cleanup(p->curl);
    assay_buf_free(&p->line);
    free(p);
    return rc;
}
