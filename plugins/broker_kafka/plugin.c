/*
 * broker_kafka as a plugin: its options, its metrics, its life.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>

static const struct assay_option options[] = {
    {.name = "kafka_brokers", .env = "KAFKA_BROKERS", .type = ASSAY_OPT_STRING, .default_text = "kafka:9092",
     .help = "Kafka's brokers to begin with, host:port, comma separated."},
    {.name = "kafka_topic", .env = "KAFKA_TOPIC", .type = ASSAY_OPT_STRING, .default_text = "scripts", .help = "Topic of what is to be judged."},
    {.name = "kafka_group_id", .env = "KAFKA_GROUP_ID", .type = ASSAY_OPT_STRING, .default_text = "scrc-runner",
     .help = "Consumer group of the workers."},
    {.name = "kafka_results_topic", .env = "KAFKA_RESULTS_TOPIC", .type = ASSAY_OPT_STRING, .default_text = "script-results",
     .help = "Topic of the results."},
    {.name = "kafka_results_group", .env = "KAFKA_RESULTS_GROUP", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Consumer group of the gateways that take results in; empty: kafka_group_id with -results."},
    {.name = "kafka_dead_topic", .env = "KAFKA_DEAD_TOPIC", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Topic of the messages that nobody can take; empty: kafka_topic with .dead."},
    {.name = "kafka_properties", .env = "KAFKA_PROPERTIES", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "More properties of librdkafka: name=value,name=value; consumer.name or producer.name for one side alone.",
     .flags = ASSAY_OPT_SECRET},
    {.name = "kafka_properties_file", .env = "KAFKA_PROPERTIES_FILE", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "A file of such properties, one on a line; kafka_properties wins."},
    {.name = "kafka_buffer", .type = ASSAY_OPT_BYTES, .default_text = "64m", .min = 1 << 20, .max = INT64_C(16) << 30,
     .help = "How many bytes of messages one consumer may hold before it pauses its partitions."},
    {.name = "kafka_revoke_wait", .type = ASSAY_OPT_DURATION, .default_text = "2s", .min = 0, .max = 60000,
     .help = "How long a rebalance waits for results that are being published."},
    {.name = "kafka_stop_wait", .type = ASSAY_OPT_DURATION, .default_text = "5s", .min = 100, .max = 120000,
     .help = "How long the end waits for publications and for the group to let go."},
};

const struct assay_metric bk_metrics[] = {
    [BK_METRIC_MESSAGES] = {.name = "assay_kafka_messages_total", .type = ASSAY_METRIC_COUNTER,
                            .help = "Messages fetched; known: settled by a former owner of the partition and passed over.", .labels = "channel,what"},
    [BK_METRIC_PUBLISHED] = {.name = "assay_kafka_published_total", .type = ASSAY_METRIC_COUNTER,
                             .help = "Publications that are over, by what became of them.", .labels = "channel,outcome"},
    [BK_METRIC_REBALANCES] = {.name = "assay_kafka_rebalances_total", .type = ASSAY_METRIC_COUNTER,
                              .help = "Times that partitions were assigned, revoked or lost.", .labels = "channel,what"},
    [BK_METRIC_COMMITS] = {.name = "assay_kafka_commits_total", .type = ASSAY_METRIC_COUNTER, .help = "Commits of offsets.", .labels = "outcome"},
    [BK_METRIC_LAG] = {.name = "assay_kafka_lag_messages", .type = ASSAY_METRIC_GAUGE,
                       .help = "Messages of an assigned partition from its lowest unsettled one to its end.", .labels = "topic,partition"},
    [BK_METRIC_PARTITIONS] = {.name = "assay_kafka_partitions", .type = ASSAY_METRIC_GAUGE, .help = "Partitions assigned to this process.",
                              .labels = "channel"},
    [BK_METRIC_CONNECTED] = {.name = "assay_kafka_connected", .type = ASSAY_METRIC_GAUGE, .help = "1 while a broker answers.", .labels = "handle"},
};

/* Consumers before the producer: what they still publish goes out. */
void bk_stop(struct bk_driver *d)
{
    if (d->stopped)
        return;
    pthread_mutex_lock(&d->lock);
    d->stopped = true;
    pthread_mutex_unlock(&d->lock);
    bk_ops.quiet(d);
    for (int i = 0; i < ASSAY_CHANNELS; i++) {
        struct bk_consumer *c = atomic_load(&d->consumer[i]);
        if (c)
            bk_consumer_stop(c);
    }
    bk_producer_stop(d, d->stop_wait_ms);
}

static void driver_free(struct bk_driver *d)
{
    bk_stop(d);
    for (int i = 0; i < ASSAY_CHANNELS; i++)
        bk_consumer_free(atomic_load(&d->consumer[i]));
    bk_producer_free(d);
    bk_props_free(&d->props);
    free(d->brokers);
    free(d->topic);
    free(d->group);
    free(d->results_topic);
    free(d->results_group);
    free(d->dead_topic);
    bk_state_free(&d->producer.state);
    (void)pthread_mutex_destroy(&d->producer.lock);
    (void)pthread_mutex_destroy(&d->lock);
    d->magic = 0;
    free(d);
}

/* A topic's name as Kafka takes it. */
static void check_topic(const char *option, const char *name, struct assay_buf *faults)
{
    size_t n = strlen(name), good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    if (n == 0 || n > 249 || good != n || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        assay_buf_fmt(faults, "%s: \"%.60s\" is no topic's name (letters, digits, . _ -, at most 249)\n", option, name);
}

static char *named(const struct assay_host *host, const char *option, const char *base, const char *suffix)
{
    const char *text = host->option_str(host->ctx, option);
    char *out = NULL;
    if (text[0] || !base)
        return strdup(text);
    return asprintf(&out, "%s%s", base, suffix) >= 0 ? out : NULL;
}

/* All that can be known to be wrong before a broker is asked: logged each, and told in one text. */
static int configure(struct bk_driver *d, struct assay_err *err)
{
    const struct assay_host *host = d->host;
    ASSAY_CLEANUP_BUF struct assay_buf faults = ASSAY_BUF_INIT;
    d->brokers = named(host, "kafka_brokers", NULL, "");
    d->topic = named(host, "kafka_topic", NULL, "");
    d->group = named(host, "kafka_group_id", NULL, "");
    d->results_topic = named(host, "kafka_results_topic", NULL, "");
    if (!d->brokers || !d->topic || !d->group || !d->results_topic)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for Kafka");
    d->results_group = named(host, "kafka_results_group", d->group, "-results");
    d->dead_topic = named(host, "kafka_dead_topic", d->topic, ".dead");
    if (!d->results_group || !d->dead_topic)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for Kafka");
    if (!d->brokers[0])
        assay_buf_puts(&faults, "kafka_brokers is empty\n");
    if (!d->group[0])
        assay_buf_puts(&faults, "kafka_group_id is empty\n");
    check_topic("kafka_topic", d->topic, &faults);
    check_topic("kafka_results_topic", d->results_topic, &faults);
    check_topic("kafka_dead_topic", d->dead_topic, &faults);
    if (strcmp(d->topic, d->results_topic) == 0 || strcmp(d->topic, d->dead_topic) == 0)
        assay_buf_puts(&faults, "kafka_topic: results and dead letters need topics of their own\n");
    int st = bk_props_read(&d->props, assay_str(host->option_str(host->ctx, "kafka_properties")),
                           host->option_str(host->ctx, "kafka_properties_file"), &faults, err);
    if (st != 0)
        return st;
    for (int role = BK_CONSUMER; role <= BK_PRODUCER; role++) {
        ASSAY_CLEANUP_BUF struct assay_buf more = ASSAY_BUF_INIT;
        rd_kafka_conf_t *conf = bk_conf(d, (enum bk_role)role, d->group, true, &more);
        if (conf)
            rd_kafka_conf_destroy(conf);
        for (size_t at = 0; at < more.n;) { /* the other side has found the same ones */
            const char *end = memchr(more.p + at, '\n', more.n - at);
            struct assay_str line = {more.p + at, end ? (size_t)(end - more.p) - at + 1 : more.n - at};
            if (!faults.p || !memmem(faults.p, faults.n, line.p, line.n))
                assay_buf_str(&faults, line);
            at += line.n;
        }
    }
    if (faults.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for Kafka");
    if (faults.n == 0)
        return 0;
    for (size_t at = 0; at < faults.n;) {
        char *end = memchr(faults.p + at, '\n', faults.n - at);
        size_t n = end ? (size_t)(end - faults.p) - at : faults.n - at;
        assay_log(host, ASSAY_LOG_ERROR, "kafka_configuration", ASSAY_KS("fault", ((struct assay_str){faults.p + at, n})));
        if (end && at + n + 1 < faults.n)
            *end = ';';
        else if (end)
            *end = '\0';
        at += n + 1;
    }
    return assay_err_set(err, ASSAY_E_CONFIG, "kafka: %s", faults.p);
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct bk_driver *d = calloc(1, sizeof *d);
    if (!d)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for Kafka");
    d->magic = BK_MAGIC;
    d->host = host;
    d->producer.wake_fd = -1;
    d->buffer = (size_t)host->option_int(host->ctx, "kafka_buffer");
    d->revoke_wait_ms = host->option_int(host->ctx, "kafka_revoke_wait");
    d->stop_wait_ms = host->option_int(host->ctx, "kafka_stop_wait");
    if (pthread_mutex_init(&d->lock, NULL) != 0 || pthread_mutex_init(&d->producer.lock, NULL) != 0 ||
        bk_state_init(&d->producer.state, d, "producer", err) != 0) {
        free(d);
        return assay_err_set(err, ASSAY_E_NOMEM, "no locks for Kafka");
    }
    int st = configure(d, err);
    if (st == 0)
        st = bk_producer_start(d, err);
    if (st != 0) {
        driver_free(d);
        return st;
    }
    *self = d;
    return 0;
}

static void drain(void *self)
{
    bk_stop(bk_self(self));
}

static void fini(void *self)
{
    if (self)
        driver_free(bk_self(self));
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_BROKER),
    .name = "broker_kafka",
    .version = "0.1.0",
    .summary = "Kafka: scripts in, results out; offsets follow the results, also where they end out of order",
    .options = ASSAY_TABLE(options),
    .metrics = ASSAY_TABLE(bk_metrics),
    .driver = &bk_ops,
    .init = init,
    .drain = drain,
    .fini = fini,
};
