/*
 * store_postgres as a plugin: its options, its metrics, its life.
 */
#include "local.h"

#include <stdlib.h>

static const struct assay_option options[] = {
    {.name = "storage_dsn", .env = "STORAGE_DSN,DATABASE_URL", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Database: postgresql://user:password@host/name?sslmode=verify-full; every parameter of libpq may follow.",
     .flags = ASSAY_OPT_SECRET},
    {.name = "db_host", .type = ASSAY_OPT_STRING, .default_text = "", .help = "PostgreSQL's host, where storage_dsn is empty."},
    {.name = "db_port", .type = ASSAY_OPT_INT, .default_text = "5432", .min = 1, .max = 65535, .help = "Its port."},
    {.name = "db_username", .type = ASSAY_OPT_STRING, .default_text = "", .help = "The user to log in as."},
    {.name = "db_password", .type = ASSAY_OPT_STRING, .default_text = "", .help = "That user's password.", .flags = ASSAY_OPT_SECRET},
    {.name = "db_name", .type = ASSAY_OPT_STRING, .default_text = "", .help = "The database."},
    {.name = "store_readers", .type = ASSAY_OPT_INT, .default_text = "8", .min = 1, .max = 256,
     .help = "Most database connections for reading; one more is for writing."},
    {.name = "store_group", .type = ASSAY_OPT_INT, .default_text = "256", .min = 1, .max = 256,
     .help = "Most transactions in one durable commit."},
    {.name = "store_queue", .type = ASSAY_OPT_INT, .default_text = "4096", .min = 16, .max = 1 << 20,
     .help = "Most transactions that wait for the writer; more are refused."},
    {.name = "store_timeout", .type = ASSAY_OPT_DURATION, .default_text = "20s", .min = 500, .max = 600000,
     .help = "How long the database may take for one answer before the connection counts as lost."},
    {.name = "store_settle", .type = ASSAY_OPT_DURATION, .default_text = "30s", .min = 0, .max = 3600000,
     .help = "How long the writer asks a database that was lost during a commit whether it has committed."},
    {.name = "events_keep", .type = ASSAY_OPT_INT, .default_text = "1000000", .min = 0, .max = (int64_t)1 << 40,
     .help = "How many events are kept; 0 for no bound. What a durable subscription has not seen is always kept."},
    {.name = "events_keep_age", .type = ASSAY_OPT_DURATION, .default_text = "720h", .min = 0, .max = (int64_t)1 << 50,
     .help = "How long events are kept; 0 for no bound. What a durable subscription has not seen is always kept."},
};

static const double group_buckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 0};
static const double second_buckets[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 0};

const struct assay_metric pg_metrics[PG_METRIC_COUNT] = {
    [PG_METRIC_COMMITS] = {.name = "assay_store_commits_total", .type = ASSAY_METRIC_COUNTER, .help = "Durable commits of the writer.",
                           .labels = ""},
    [PG_METRIC_GROUP] = {.name = "assay_store_commit_transactions", .type = ASSAY_METRIC_HISTOGRAM,
                         .help = "Transactions in one durable commit.", .labels = "", .buckets = group_buckets},
    [PG_METRIC_SECONDS] = {.name = "assay_store_commit_seconds", .type = ASSAY_METRIC_HISTOGRAM,
                           .help = "Time from the start of a group to the completion of its last transaction.", .labels = "",
                           .buckets = second_buckets},
    [PG_METRIC_ERRORS] = {.name = "assay_store_errors_total", .type = ASSAY_METRIC_COUNTER,
                          .help = "Writes that failed for another reason than a guard.", .labels = "reason"},
    [PG_METRIC_PRUNED] = {.name = "assay_store_events_pruned_total", .type = ASSAY_METRIC_COUNTER,
                          .help = "Events removed from the outbox by age or number.", .labels = ""},
    [PG_METRIC_CONNECTS] = {.name = "assay_store_connects_total", .type = ASSAY_METRIC_COUNTER,
                            .help = "Connections to the database that were tried.", .labels = "outcome"},
    [PG_METRIC_SETTLED] = {.name = "assay_store_settled_total", .type = ASSAY_METRIC_COUNTER,
                           .help = "Commits whose answer was lost, by what became of them.", .labels = "fate"},
};

static void store_free(struct pg_store *s)
{
    pg_readers_close(s);
    pg_close(&s->w);
    assay_store_queue_free(s->queue);
    (void)pthread_cond_destroy(&s->pool_free);
    (void)pthread_mutex_destroy(&s->pool_lock);
    assay_secret_free(s->dsn);
    free(s->group_ev);
    free(s->registered);
    s->magic = 0;
    free(s);
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    if (!PQisthreadsafe())
        return assay_err_set(err, ASSAY_E_CONFIG, "this libpq is built without threads");
    struct pg_store *s = calloc(1, sizeof *s);
    if (!s)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the store");
    s->magic = PG_MAGIC;
    s->host = host;
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0 || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(&s->pool_free, &attr) != 0 || pthread_mutex_init(&s->pool_lock, NULL) != 0) {
        free(s);
        return assay_err_set(err, ASSAY_E_NOMEM, "no locks for the store");
    }
    (void)pthread_condattr_destroy(&attr);
    s->timeout_ms = host->option_int(host->ctx, "store_timeout");
    s->settle_ms = host->option_int(host->ctx, "store_settle");
    s->keep = host->option_int(host->ctx, "events_keep");
    s->keep_age_ms = host->option_int(host->ctx, "events_keep_age");
    s->readers_max = (size_t)host->option_int(host->ctx, "store_readers");
    s->dsn = assay_secret_new(assay_str(host->option_str(host->ctx, "storage_dsn")));
    int st = s->dsn ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for the store");
    if (st == 0)
        st = assay_store_queue_new((size_t)host->option_int(host->ctx, "store_queue"), (size_t)host->option_int(host->ctx, "store_group"),
                                   &pg_writer_ops, s, &s->queue, err);
    if (st == 0)
        st = pg_migrate_own(s, err);
    if (st == 0)
        st = pg_open(s, &s->w, PG_WRITE, err);
    if (st == 0)
        st = pg_events_load(s, err);
    if (st != 0) {
        store_free(s);
        return st;
    }
    *self = s;
    return 0;
}

static void fini(void *self)
{
    if (!self)
        return;
    struct pg_store *s = pg_self(self);
    assay_store_queue_stop(s->queue);
    store_free(s);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_STORE),
    .name = "store_postgres",
    .version = "0.1.0",
    .summary = "Store in PostgreSQL: one writer with group commit in a pipeline, reading connections beside it",
    .options = ASSAY_TABLE(options),
    .metrics = ASSAY_TABLE(pg_metrics),
    .driver = &pg_ops,
    .init = init,
    .fini = fini,
};
