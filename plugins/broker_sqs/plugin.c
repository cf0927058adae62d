/*
 * broker_sqs as a plugin: its options, metrics and life.
 */
#include "local.h"

#include <stdlib.h>

#define KIB ((int64_t)1024)

static const struct assay_option options[] = {
    AWS_SHARED_OPTIONS,
    {.name = "sqs_queue_url", .env = "AWS_SQS_QUEUE_URL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "URL of the queue with the work, as SQS gives it; one that ends in .fifo is taken for a FIFO queue."},
    {.name = "sqs_results_queue_url", .env = "AWS_SQS_RESULTS_QUEUE_URL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "URL of the queue for results."},
    {.name = "sqs_dead_queue_url", .env = "AWS_SQS_DEAD_QUEUE_URL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "URL of the queue for messages that nobody could take. Empty: the one that the redrive policy of the queue with the work names."},
    {.name = "sqs_endpoint_url", .env = "AWS_ENDPOINT_URL_SQS", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Where SQS is: http://HOST:PORT. Empty: aws_endpoint_url, then where the queue's URL points."},
    {.name = "sqs_poll", .env = "RUNNER_POLL_INTERVAL_MS", .type = ASSAY_OPT_DURATION, .default_text = "20s", .min = 0, .max = 3600000,
     .bare_unit_ms = 1, .help = "How long a question for messages waits for one, in whole seconds from 1 to the 20 that SQS waits at the most."},
    {.name = "sqs_visibility", .type = ASSAY_OPT_DURATION, .default_text = "300s", .min = 2000, .max = 43200000,
     .help = "How long a message that was received is hidden from others; renewed at half of it while the work runs. So long after a worker "
             "died another one has its messages."},
    {.name = "sqs_message_max", .type = ASSAY_OPT_BYTES, .default_text = "256k", .min = KIB, .max = 1024 * KIB,
     .help = "Longest message that the queues take; longer results are refused."},
};

static const double seconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 0};
const struct assay_metric bq_metrics[BQ_METRICS] = {
    [BQ_METRIC_REQUESTS] = {.name = "assay_sqs_requests_total", .type = ASSAY_METRIC_COUNTER, .labels = "operation,outcome",
                            .help = "Requests to SQS by operation and outcome: ok, refused, failed, unreachable."},
    [BQ_METRIC_SECONDS] = {.name = "assay_sqs_request_seconds", .type = ASSAY_METRIC_HISTOGRAM, .labels = "operation",
                           .help = "Time of one request to SQS; ReceiveMessage waits for messages.", .buckets = seconds},
    [BQ_METRIC_MESSAGES] = {.name = "assay_sqs_messages_total", .type = ASSAY_METRIC_COUNTER, .labels = "what",
                            .help = "Messages received, repeated, deleted, given_back, dead, lost, published and not_published."},
};

static void told(void *arg, const char *operation, int status, double took)
{
    const struct bq_broker *b = arg;
    const char *outcome = aws_outcome(status);
    b->host->metric_add(b->host->ctx, &bq_metrics[BQ_METRIC_REQUESTS], (const char *const[]){operation, outcome}, 1);
    b->host->metric_observe(b->host->ctx, &bq_metrics[BQ_METRIC_SECONDS], (const char *const[]){operation}, took);
}

static void fini(void *self)
{
    struct bq_broker *b = self;
    if (!b)
        return;
    if (b->keeper_runs || b->sender_runs || b->consumer[0].used || b->consumer[1].used)
        bq_drain(b);
    aws_client_free(b->client);
    aws_client_free(b->poll_client);
    for (int i = 0; i < ASSAY_CHANNELS; i++)
        free(b->queue[i].url);
    for (int i = 0; i < 2; i++)
        pthread_mutex_destroy(&b->consumer[i].call);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->lock);
    b->magic = 0;
    free(b);
}

/* "https://sqs.eu-west-1.amazonaws.com/123456789012/name": where, and in which region if the host says so. */
static int place_of(const char *option, const char *url, char base[300], char region[64], struct assay_err *err)
{
    const char *host = strstr(url, "://"), *end = host != NULL ? strchr(host + 3, '/') : NULL;
    if (end == NULL || end[1] == '\0' || (size_t)(end - url) >= 300 || strpbrk(url, " \"\\") != NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s is \"%.100s\" and must be a queue's URL: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME",
                             option, url);
    (void)snprintf(base, 300, "%.*s", (int)(end - url), url);
    region[0] = '\0';
    if (strncmp(host + 3, "sqs.", 4) == 0) {
        const char *r = host + 7, *dot = strchr(r, '.');
        if (dot != NULL && dot < end && dot - r < 40 && strncmp(dot, ".amazonaws.com", 14) == 0)
            (void)snprintf(region, 64, "%.*s", (int)(dot - r), r);
    }
    struct assay_str scheme, name;
    return aws_base_url(option, base, &scheme, &name, err);
}

static int open_broker(struct bq_broker *b, struct assay_err *err)
{
    static const char *const names[ASSAY_CHANNELS] = {"sqs_queue_url", "sqs_results_queue_url", "sqs_dead_queue_url"};
    const struct assay_host *h = b->host;
    const char *region = h->option_str(h->ctx, "aws_region"), *endpoint = h->option_str(h->ctx, "sqs_endpoint_url");
    ASSAY_CLEANUP_BUF struct assay_buf lacks = ASSAY_BUF_INIT;
    char base[300] = "", of_url[64] = "";
    int rc = 0;
    for (int i = ASSAY_CHANNELS - 1; i >= 0 && rc == 0; i--) { /* the queue with the work last: its place counts */
        const char *url = h->option_str(h->ctx, names[i]);
        if (url[0] == '\0')
            continue;
        rc = place_of(names[i], url, base, of_url, err);
        b->queue[i] = (struct bq_queue){strdup(url), assay_str_ends(assay_str(url), ".fifo")};
        if (rc == 0 && b->queue[i].url == NULL)
            rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for SQS");
    }
    if (rc != 0)
        return rc;
    b->dead_known = b->queue[ASSAY_CHANNEL_DEAD].url != NULL;
    if (endpoint[0] == '\0')
        endpoint = h->option_str(h->ctx, "aws_endpoint_url");
    if (endpoint[0] == '\0')
        endpoint = base;
    if (region[0] == '\0')
        region = of_url;
    if (b->queue[ASSAY_CHANNEL_WORK].url == NULL)
        aws_lacks(&lacks, "sqs_queue_url (AWS_SQS_QUEUE_URL) is not set");
    if (region[0] == '\0')
        aws_lacks(&lacks, "aws_region (AWS_REGION) is not set, and the queue's URL does not say it");
    aws_lacks_keys(h, &lacks);
    if (lacks.n > 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "the broker is sqs, and something is missing: %.*s", ASSAY_FMT(assay_buf_view(&lacks)));
    b->wait_s = h->option_int(h->ctx, "sqs_poll") / 1000;
    b->wait_s = b->wait_s > 20 ? 20 : b->wait_s < 1 ? 1 : b->wait_s; /* never without a wait: that would ask all the time */
    b->visibility_s = h->option_int(h->ctx, "sqs_visibility") / 1000;
    b->message_max = (size_t)h->option_int(h->ctx, "sqs_message_max");
    const struct aws_client_options o = {.service = "sqs", .region = region, .base = endpoint, .ca_file = h->option_str(h->ctx, "aws_ca_bundle"),
                                         .explain = bq_explain, .told = told, .arg = b};
    rc = aws_client_new(h, &o, &b->client, err);
    return rc == 0 ? aws_client_new(h, &o, &b->poll_client, err) : rc;
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct bq_broker *b = calloc(1, sizeof *b);
    if (!b)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for SQS");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->wake, &attr);
    pthread_condattr_destroy(&attr);
    for (int i = 0; i < 2; i++)
        pthread_mutex_init(&b->consumer[i].call, NULL);
    b->magic = BQ_MAGIC;
    b->host = host;
    int rc = open_broker(b, err);
    if (rc != 0) {
        fini(b);
        return rc;
    }
    *self = b;
    return 0;
}

static int start(void *self, struct assay_err *err)
{
    return bq_start(self, err);
}

static void drain(void *self)
{
    bq_drain(self);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_BROKER),
    .name = "broker_sqs",
    .version = "0.1.0",
    .summary = "Work from and results to queues of Amazon SQS",
    .options = ASSAY_TABLE(options),
    .metrics = ASSAY_TABLE(bq_metrics),
    .driver = &bq_ops,
    .init = init,
    .start = start,
    .drain = drain,
    .fini = fini,
};
