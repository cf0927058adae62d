/* broker_http as a plugin: its options and its life. */
#include "local.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DRAIN_MS 5000 /* for what is to be brought back */

static const struct assay_option options[] = {
    {.name = "gateway_agent", .type = ASSAY_OPT_STRING, .default_text = "", .help = "Id of the agent that this runner works as."},
    {.name = "gateway_token", .env = "ASSAY_AGENT_TOKEN", .type = ASSAY_OPT_STRING, .default_text = "", .flags = ASSAY_OPT_SECRET,
     .help = "Token of that agent, with the scopes jobs:lease and results:write."},
    {.name = "gateway_ca", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "File with the certificates that the gateway may be signed by; empty: the system's."},
    {.name = "gateway_languages", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Languages that this runner takes, separated by commas; empty: all."},
};

static int consume(void *self, enum assay_channel channel, const struct assay_broker_sink *sink, size_t in_flight, struct assay_err *err)
{
    static void *(*const mains[])(void *) = {bh_lease_main, bh_beat_main, bh_post_main};
    struct bh_driver *d = self;
    if (channel != ASSAY_CHANNEL_WORK)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "a gateway gives work only");
    if (d->running)
        return assay_err_set(err, ASSAY_E_INVALID, "work is already received");
    d->sink = *sink;
    d->in_flight = in_flight < 1 ? 1 : in_flight > BH_LEASES_MAX ? BH_LEASES_MAX : in_flight;
    for (size_t i = 0; i < 3; i++) {
        int rc = pthread_create(&d->thread[i], NULL, mains[i], d);
        if (rc != 0) {
            atomic_store(&d->stop, true);
            pthread_cond_broadcast(&d->cond);
            while (i-- > 0)
                pthread_join(d->thread[i], NULL);
            return assay_err_errno(err, ASSAY_E_IO, rc, "a thread for the gateway");
        }
    }
    d->running = true;
    return ASSAY_OK;
}

static void quiet(void *self)
{
    struct bh_driver *d = self;
    pthread_mutex_lock(&d->lock);
    atomic_store(&d->quiet, true);
    pthread_cond_broadcast(&d->cond);
    pthread_mutex_unlock(&d->lock);
}

static int health(void *self, struct assay_err *err)
{
    struct bh_driver *d = self;
    pthread_mutex_lock(&d->lock);
    int rc = d->trouble[0] != '\0' ? assay_err_set(err, ASSAY_E_IO, "%s", d->trouble) : ASSAY_OK;
    if (rc == ASSAY_OK)
        err->msg[0] = '\0';
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int fetch(void *self, struct assay_str ref, size_t max, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    struct bh_driver *d = self;
    char path[120], hash[ASSAY_SHA256_HEX];
    ASSAY_CLEANUP_BUF struct assay_buf buf = ASSAY_BUF_INIT;
    if (ref.n != ASSAY_BLOB_REF - 1)
        return assay_err_set(err, ASSAY_E_INVALID, "no name of a blob");
    struct bh_call *c = bh_call_new(d, err);
    if (c == NULL)
        return ASSAY_E_NOMEM;
    (void)snprintf(path, sizeof path, "/blobs/%.*s", ASSAY_FMT(ref));
    int rc = ASSAY_E_IO;
    for (int64_t delay = 100; delay < 3000 && !atomic_load(&d->stop); delay *= 3) {
        rc = bh_call(c, path, NULL, 120000, max, &buf, err);
        if (rc == 200 || rc == 404)
            break;
        bh_sleep(d, delay);
    }
    bh_call_free(c);
    if (rc == 404)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the gateway has no blob %.*s", ASSAY_FMT(ref));
    if (rc != 200)
        return rc < 0 ? rc : assay_err_set(err, ASSAY_E_IO, "the gateway answers %d for a blob", rc);
    assay_sha256_hex(assay_buf_view(&buf), hash);
    if (!assay_str_is(ref, hash))
        return assay_err_set(err, ASSAY_E_CORRUPT, "what the gateway sent is not the blob %.*s", ASSAY_FMT(ref));
    *out = buf.n != 0 ? assay_arena_take(arena, &buf) : ASSAY_STR("");
    return out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for a blob") : ASSAY_OK;
}

static const struct assay_broker_ops ops = {.size = sizeof ops,
                                            .consume = consume,
                                            .settle = bh_settle,
                                            .publish = bh_publish,
                                            .quiet = quiet,
                                            .health = health,
                                            .fetch = fetch};

static int languages(struct bh_driver *d, const char *text, struct assay_err *err)
{
    d->languages.items = assay_arena_array(d->arena, 64, sizeof *d->languages.items);
    if (d->languages.items == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    while (*(text += strspn(text, ", ")) != '\0') {
        size_t n = strcspn(text, ", ");
        if (n > 64 || d->languages.n == 64)
            return assay_err_set(err, ASSAY_E_CONFIG, "gateway_languages: at most 64 names of at most 64 bytes");
        d->languages.items[d->languages.n++] = (struct assay_str){text, n};
        text += n;
    }
    return ASSAY_OK;
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct bh_driver *d = calloc(1, sizeof *d);
    if (d == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    *self = d;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->cond, NULL);
    d->host = host;
    d->lease_ms = 15000;
    d->arena = assay_arena_new(0);
    d->url = host->option_str(host->ctx, "gateway");
    d->agent = host->option_str(host->ctx, "gateway_agent");
    d->ca = host->option_str(host->ctx, "gateway_ca");
    const char *token = host->option_str(host->ctx, "gateway_token");
    if (strncmp(d->url, "http://", 7) != 0 && strncmp(d->url, "https://", 8) != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "gateway must be the URL of the gateway, as https://assay.example.org");
    if (strlen(d->url) > 1024)
        return assay_err_set(err, ASSAY_E_CONFIG, "gateway is too long");
    if (d->agent[0] == '\0' || token[0] == '\0')
        return assay_err_set(err, ASSAY_E_CONFIG, "gateway_agent and gateway_token (ASSAY_AGENT_TOKEN) say who this runner is: make both with "
                             "`assay agents create` and `assay agents token --scope work`, see docs/remote-runners.md");
    if (!assay_slug_valid(assay_str(d->agent)) && !assay_id_valid(assay_str(d->agent)))
        return assay_err_set(err, ASSAY_E_CONFIG, "gateway_agent is no id of an agent");
    if (strlen(token) > 512 || strpbrk(token, "\r\n") != NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "gateway_token is no token");
    d->token = assay_secret_new(assay_str(token));
    if (d->arena == NULL || d->token == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    return languages(d, host->option_str(host->ctx, "gateway_languages"), err);
}

static void stop(struct bh_driver *d)
{
    if (!d->running)
        return;
    quiet(d);
    for (int64_t waited = 0; waited < DRAIN_MS; waited += 20) {
        pthread_mutex_lock(&d->lock);
        bool empty = d->n_posts == 0;
        pthread_mutex_unlock(&d->lock);
        if (empty)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    pthread_mutex_lock(&d->lock);
    atomic_store(&d->stop, true);
    pthread_cond_broadcast(&d->cond);
    pthread_mutex_unlock(&d->lock);
    for (size_t i = 0; i < 3; i++)
        pthread_join(d->thread[i], NULL);
    d->running = false;
    bh_posts_end(d);
}

static void drain(void *self)
{
    stop(self);
}

static void fini(void *self)
{
    struct bh_driver *d = self;
    if (d == NULL)
        return;
    stop(d);
    assay_secret_free(d->token);
    assay_arena_free(d->arena);
    pthread_cond_destroy(&d->cond);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_BROKER),
    .name = "broker_http",
    .version = "0.1.0",
    .summary = "Takes work from a gateway over HTTP leases, and brings it results",
    .options = ASSAY_TABLE(options),
    .driver = &ops,
    .init = init,
    .drain = drain,
    .fini = fini,
};
