/*
 * broker_amqp as a plugin: its options, its metrics, its life.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

static const struct assay_option options[] = {
    {.name = "amqp_url", .env = "AMQP_URL", .type = ASSAY_OPT_STRING, .default_text = "", .flags = ASSAY_OPT_SECRET,
     .help = "RabbitMQ: amqp://user:password@host:5672/vhost, or amqps://; several nodes of one cluster separated by commas."},
    {.name = "amqp_queue", .env = "AMQP_QUEUE", .type = ASSAY_OPT_STRING, .default_text = "tasks", .help = "Queue of what is to be judged."},
    {.name = "amqp_results_queue", .env = "AMQP_RESULTS_QUEUE", .type = ASSAY_OPT_STRING, .default_text = "task-results",
     .help = "Queue of results whose message names no reply_to; empty: such results are not published."},
    {.name = "amqp_exchange", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Exchange that tasks are published to, with the queue's name as routing key; empty for the default one."},
    {.name = "amqp_dead_queue", .type = ASSAY_OPT_STRING, .default_text = "tasks.dead",
     .help = "Queue of messages that nobody could take, with the reason in the header x-assay-reason."},
    {.name = "amqp_dead_exchange", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Exchange that dead letters go through; empty for the default one."},
    {.name = "amqp_dead_letters", .type = ASSAY_OPT_CHOICE, .default_text = "publish", .choices = "publish|reject",
     .help = "publish: to amqp_dead_queue, with the reason; reject: left to the dead-letter policy that the queue has at RabbitMQ."},
    {.name = "amqp_declare", .type = ASSAY_OPT_BOOL, .default_text = "true",
     .help = "Make queues that are not there. Without, and for queues with other arguments, existing ones are used as they are."},
    {.name = "amqp_queue_type", .type = ASSAY_OPT_CHOICE, .default_text = "classic", .choices = "classic|quorum",
     .help = "What a queue becomes that is made: classic and durable, as older producers declare it, or replicated."},
    {.name = "amqp_stamp", .type = ASSAY_OPT_BOOL, .default_text = "true",
     .help = "Give messages without message_id one before they are judged, so that a repeated delivery is known."},
    {.name = "amqp_heartbeat", .type = ASSAY_OPT_DURATION, .default_text = "15s", .min = 1000, .max = 600000,
     .help = "Time between signs of life; a connection that is silent for two of them is lost."},
    {.name = "amqp_reconnect_max", .type = ASSAY_OPT_DURATION, .default_text = "15s", .min = 100, .max = 600000,
     .help = "Longest time between two tries to connect; the first comes after 0.2 s."},
    {.name = "amqp_retry_delay", .type = ASSAY_OPT_DURATION, .default_text = "5s", .min = 0, .max = 3600000,
     .help = "How long a message is kept that could not be judged now, before it goes back to its queue."},
    {.name = "amqp_publish_max", .type = ASSAY_OPT_INT, .default_text = "1024", .min = 1, .max = 1000000,
     .help = "Most publications that wait for RabbitMQ; more are refused."},
    {.name = "amqp_publish_timeout", .type = ASSAY_OPT_DURATION, .default_text = "30s", .min = 100, .max = 3600000,
     .help = "How long a publication waits for a connection before its sender is told."},
    {.name = "amqp_message_max", .type = ASSAY_OPT_BYTES, .default_text = "16m", .min = 1024, .max = (int64_t)512 << 20,
     .help = "Largest message; larger ones are not published, and become dead letters where they come in."},
    {.name = "amqp_tls_ca", .type = ASSAY_OPT_STRING, .default_text = "/etc/ssl/certs/ca-certificates.crt",
     .help = "File with the certificates that an amqps:// server may be signed by."},
    {.name = "amqp_tls_cert", .type = ASSAY_OPT_STRING, .default_text = "", .help = "File with a client certificate, where the server asks for one."},
    {.name = "amqp_tls_key", .type = ASSAY_OPT_STRING, .default_text = "", .help = "File with its key; empty: in the same file."},
    {.name = "amqp_tls_verify", .type = ASSAY_OPT_BOOL, .default_text = "true",
     .help = "Check the server's certificate and name. Off, anybody on the way can read and change everything."},
};

const struct assay_metric aq_metrics[AQ_METRIC_COUNT] = {
    [AQ_M_CONNECTS] = {.name = "assay_amqp_connects_total", .type = ASSAY_METRIC_COUNTER, .help = "Connections to RabbitMQ that were tried.",
                       .labels = "link,outcome"},
    [AQ_M_CONNECTED] = {.name = "assay_amqp_connected", .type = ASSAY_METRIC_GAUGE, .help = "1 while the link has a connection.", .labels = "link"},
    [AQ_M_RECEIVED] = {.name = "assay_amqp_received_total", .type = ASSAY_METRIC_COUNTER,
                       .help = "Messages that came, for the first time or again.", .labels = "channel,delivery"},
    [AQ_M_SETTLED] = {.name = "assay_amqp_settled_total", .type = ASSAY_METRIC_COUNTER, .help = "Messages that were settled, by how.",
                      .labels = "channel,how"},
    [AQ_M_LOST] = {.name = "assay_amqp_lost_total", .type = ASSAY_METRIC_COUNTER,
                   .help = "Messages that were unsettled when their connection was lost.", .labels = "channel"},
    [AQ_M_PUBLISHED] = {.name = "assay_amqp_published_total", .type = ASSAY_METRIC_COUNTER, .help = "Publications that are over, by outcome.",
                        .labels = "channel,outcome"},
    [AQ_M_WAITING] = {.name = "assay_amqp_publications_waiting", .type = ASSAY_METRIC_GAUGE,
                      .help = "Publications that RabbitMQ has not confirmed yet.", .labels = ""},
};

void aq_count(struct aq_driver *d, enum aq_metric_id m, const char *a, const char *b)
{
    d->host->metric_add(d->host->ctx, &aq_metrics[m], (const char *const[]){a, b}, 1);
}

const char *aq_channel_name(enum assay_channel ch)
{
    return ch == ASSAY_CHANNEL_WORK ? "work" : ch == ASSAY_CHANNEL_RESULTS ? "results" : "dead";
}

const char *aq_queue_of(const struct aq_driver *d, enum assay_channel ch)
{
    return ch == ASSAY_CHANNEL_WORK ? d->queue : ch == ASSAY_CHANNEL_RESULTS ? d->results : d->dead;
}

static int link_health(struct aq_link *l, struct assay_err *err, char *note, size_t room)
{
    int st = 0;
    (void)pthread_mutex_lock(&l->lock);
    if (l->started && (!l->connected || l->blocked))
        st = assay_err_set(err, ASSAY_E_IO, "%s", l->why);
    if (l->note[0] != '\0')
        (void)snprintf(note, room, "%s", l->note);
    (void)pthread_mutex_unlock(&l->lock);
    return st;
}

static int health(void *self, struct assay_err *err)
{
    struct aq_driver *d = aq_self(self);
    struct assay_err why = {0};
    char note[300] = "";
    int st = link_health(&d->in.l, &why, note, sizeof note);
    int other = link_health(&d->out.l, st == 0 ? &why : NULL, note, sizeof note);
    if (st == 0)
        st = other;
    if (st != 0)
        return assay_err_set(err, st, "%s", why.msg);
    if (err)
        (void)snprintf(err->msg, sizeof err->msg, "%s", note);
    return 0;
}

/* Publications first: their ends settle messages. After it nobody is called any more. */
static void drain(void *self)
{
    struct aq_driver *d = aq_self(self);
    aq_quiet(d);
    aq_link_stop(&d->out.l);
    aq_out_end(&d->out);
    aq_link_stop(&d->in.l);
}

static void fini(void *self)
{
    if (!self)
        return;
    struct aq_driver *d = aq_self(self);
    aq_link_stop(&d->out.l);
    aq_link_stop(&d->in.l);
    aq_in_free(&d->in);
    aq_out_free(&d->out);
    aq_link_free(&d->in.l);
    aq_link_free(&d->out.l);
    assay_secret_free(d->urls);
    d->magic = 0;
    free(d);
}

static int check_names(const struct aq_driver *d, struct assay_err *err)
{
    const struct {
        const char *option, *value;
        bool needed;
    } name[] = {{"amqp_queue", d->queue, true},
                {"amqp_results_queue", d->results, false},
                {"amqp_dead_queue", d->dead, !d->dead_reject},
                {"amqp_exchange", d->exchange, false},
                {"amqp_dead_exchange", d->dead_exchange, false}};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        if (name[i].needed && name[i].value[0] == '\0')
            return assay_err_set(err, ASSAY_E_CONFIG, "%s must not be empty", name[i].option);
        if (strlen(name[i].value) > 255 || strncmp(name[i].value, "amq.", 4) == 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "%s must have at most 255 bytes and not begin with \"amq.\"", name[i].option);
    }
    if (strcmp(d->queue, d->results) == 0 || strcmp(d->queue, d->dead) == 0 || (d->dead[0] != '\0' && strcmp(d->results, d->dead) == 0))
        return assay_err_set(err, ASSAY_E_CONFIG, "amqp_queue, amqp_results_queue and amqp_dead_queue must be three queues");
    return 0;
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct aq_driver *d = calloc(1, sizeof *d);
    if (!d)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the broker");
    *d = (struct aq_driver){
        .magic = AQ_MAGIC,
        .host = host,
        .queue = host->option_str(host->ctx, "amqp_queue"),
        .results = host->option_str(host->ctx, "amqp_results_queue"),
        .dead = host->option_str(host->ctx, "amqp_dead_queue"),
        .dead_exchange = host->option_str(host->ctx, "amqp_dead_exchange"),
        .exchange = host->option_str(host->ctx, "amqp_exchange"),
        .stamp = host->option_int(host->ctx, "amqp_stamp") != 0,
        .declare = host->option_int(host->ctx, "amqp_declare") != 0,
        .quorum = strcmp(host->option_str(host->ctx, "amqp_queue_type"), "quorum") == 0,
        .dead_reject = strcmp(host->option_str(host->ctx, "amqp_dead_letters"), "reject") == 0,
        .tls_verify = host->option_int(host->ctx, "amqp_tls_verify") != 0,
        .heartbeat_s = (int)(host->option_int(host->ctx, "amqp_heartbeat") / 1000),
        .backoff_max_ms = host->option_int(host->ctx, "amqp_reconnect_max"),
        .publish_timeout_ms = host->option_int(host->ctx, "amqp_publish_timeout"),
        .retry_ms = host->option_int(host->ctx, "amqp_retry_delay"),
        .publish_max = (size_t)host->option_int(host->ctx, "amqp_publish_max"),
        .in.l.wake = -1,
        .out.l.wake = -1,
    };
    atomic_init(&d->message_max, (size_t)host->option_int(host->ctx, "amqp_message_max"));
    aq_in_init(&d->in);
    aq_out_init(&d->out);
    struct assay_str urls = assay_str(host->option_str(host->ctx, "amqp_url"));
    int st = aq_urls_check(urls, err);
    if (st == 0)
        st = check_names(d, err);
    if (st == 0 && !(d->urls = assay_secret_new(urls)))
        st = assay_err_set(err, ASSAY_E_NOMEM, "no memory for the broker");
    if (st == 0)
        st = aq_link_init(&d->in.l, d, &aq_in_ops, err);
    if (st == 0)
        st = aq_link_init(&d->out.l, d, &aq_out_ops, err);
    if (st != 0) {
        fini(d);
        return st;
    }
    *self = d;
    return 0;
}

/* So that a server that is away is seen before the first publication. */
static int start(void *self, struct assay_err *err)
{
    return aq_link_start(&aq_self(self)->out.l, err);
}

static const struct assay_broker_ops ops = {.size = sizeof(struct assay_broker_ops),
                                            .consume = aq_consume,
                                            .settle = aq_settle,
                                            .publish = aq_publish,
                                            .quiet = aq_quiet,
                                            .health = health};

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_BROKER),
    .name = "broker_amqp",
    .version = "0.1.0",
    .summary = "RabbitMQ (AMQP 0-9-1): tasks in, results out, confirmed and acknowledged by hand",
    .options = ASSAY_TABLE(options),
    .metrics = ASSAY_TABLE(aq_metrics),
    .driver = &ops,
    .init = init,
    .start = start,
    .drain = drain,
    .fini = fini,
};
