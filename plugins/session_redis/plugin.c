/*
 * session_redis as a plugin: its options, its metrics, its life.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

static const struct assay_option options[] = {
    {.name = "redis_url", .env = "REDIS_URL", .type = ASSAY_OPT_STRING, .default_text = "", .flags = ASSAY_OPT_SECRET,
     .help = "Redis: redis://user:password@host:6379/0, or unix:///path/to/socket."},
    {.name = "redis_prefix", .type = ASSAY_OPT_STRING, .default_text = "assay:", .help = "What every key there begins with."},
    {.name = "session_timeout", .type = ASSAY_OPT_DURATION, .default_text = "300ms", .min = 10, .max = 10000,
     .help = "How long Redis may take for one answer, a new connection included; then it counts as away for half a second."},
    {.name = "session_keep", .type = ASSAY_OPT_DURATION, .default_text = "60s", .min = 1000, .max = 3600000,
     .help = "How long an account's state stays in Redis without a change; then the store is asked once more."},
};

static const double second_buckets[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 0};
const struct assay_metric sr_metrics[SR_METRIC_COUNT] = {
    [SR_M_CALLS] = {.name = "assay_session_calls_total", .type = ASSAY_METRIC_COUNTER,
                    .help = "Questions to Redis by outcome: hit, miss, ok, older, failed.", .labels = "op,outcome"},
    [SR_M_SECONDS] = {.name = "assay_session_call_seconds", .type = ASSAY_METRIC_HISTOGRAM, .help = "Time of a question to Redis.",
                      .labels = "op", .buckets = second_buckets},
    [SR_M_CONNECTS] = {.name = "assay_session_connects_total", .type = ASSAY_METRIC_COUNTER, .help = "Connections to Redis that were tried.",
                       .labels = "outcome"},
    [SR_M_UP] = {.name = "assay_session_up", .type = ASSAY_METRIC_GAUGE, .help = "1 when the last question to Redis was answered.", .labels = ""},
};

static void fini(void *self)
{
    if (!self)
        return;
    struct sr_driver *d = sr_self(self);
    sr_close_all(d);
    sr_address_free(&d->at);
    (void)pthread_mutex_destroy(&d->lock);
    d->magic = 0;
    free(d);
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct sr_driver *d = calloc(1, sizeof *d);
    if (!d || pthread_mutex_init(&d->lock, NULL) != 0) {
        free(d);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for sessions");
    }
    d->magic = SR_MAGIC;
    d->host = host;
    d->prefix = host->option_str(host->ctx, "redis_prefix");
    d->timeout_ms = host->option_int(host->ctx, "session_timeout");
    d->keep_ms = host->option_int(host->ctx, "session_keep");
    int st = sr_address_parse(assay_str(host->option_str(host->ctx, "redis_url")), &d->at, err);
    if (st == 0 && strlen(d->prefix) > 100)
        st = assay_err_set(err, ASSAY_E_CONFIG, "redis_prefix must have at most 100 bytes");
    if (st != 0) {
        fini(d);
        return st;
    }
    if (d->at.path[0] != '\0')
        (void)snprintf(d->where, sizeof d->where, "%s", d->at.path);
    else
        (void)snprintf(d->where, sizeof d->where, "%s:%d", d->at.host, d->at.port);
    /* a server that is away is no reason not to start: session_fallback says what then */
    struct assay_session_state ignored;
    struct assay_err why = {0};
    if (sr_ops.get(d, ASSAY_STR("probe"), &ignored, &why) == ASSAY_E_IO)
        assay_log(host, ASSAY_LOG_WARN, "redis_away_at_start", ASSAY_KZ("reason", why.msg));
    *self = d;
    return 0;
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SESSION),
    .name = "session_redis",
    .version = "0.1.0",
    .summary = "The state of accounts that decides about tokens, shared by gateways in Redis",
    .options = ASSAY_TABLE(options),
    .metrics = ASSAY_TABLE(sr_metrics),
    .driver = &sr_ops,
    .init = init,
    .fini = fini,
};
