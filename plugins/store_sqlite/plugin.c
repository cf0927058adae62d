/*
 * store_sqlite as a plugin: its options, its metrics, its life.
 */
#include "local.h"

#include <stdlib.h>
#include <string.h>

static const struct assay_option options[] = {
    {.name = "storage_dsn",
     .env = "STORAGE_DSN",
     .type = ASSAY_OPT_STRING,
     .default_text = "",
     .help = "Database: sqlite:///path, or empty for assay.db in the data directory.",
     .flags = ASSAY_OPT_SECRET},
    {.name = "store_busy",
     .type = ASSAY_OPT_DURATION,
     .default_text = "5s",
     .min = 0,
     .max = 60000,
     .help = "How long to wait for a lock that another program holds on the database, or for a reading connection."},
    {.name = "store_cache",
     .type = ASSAY_OPT_BYTES,
     .default_text = "1m",
     .min = 65536,
     .max = (int64_t)1 << 32,
     .help = "Page cache of each database connection."},
    {.name = "store_mmap",
     .type = ASSAY_OPT_BYTES,
     .default_text = "0",
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "How much of the database is read through a memory mapping; 0 reads through the page cache."},
    {.name = "store_readers",
     .type = ASSAY_OPT_INT,
     .default_text = "8",
     .min = 1,
     .max = 256,
     .help = "Most database connections for reading."},
    {.name = "store_group",
     .type = ASSAY_OPT_INT,
     .default_text = "256",
     .min = 1,
     .max = SQ_GROUP_MAX,
     .help = "Most transactions in one durable commit."},
    {.name = "store_queue",
     .type = ASSAY_OPT_INT,
     .default_text = "4096",
     .min = 16,
     .max = 1 << 20,
     .help = "Most transactions that wait for the writer; more are refused."},
    {.name = "store_check",
     .type = ASSAY_OPT_DURATION,
     .default_text = "500ms",
     .min = 0,
     .max = 3600000,
     .help = "How long the database may be checked for damage at start; 0 skips the check."},
    {.name = "events_keep",
     .type = ASSAY_OPT_INT,
     .default_text = "1000000",
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "How many events are kept; 0 for no bound. What a durable subscription has not seen is always kept."},
    {.name = "events_keep_age",
     .type = ASSAY_OPT_DURATION,
     .default_text = "720h",
     .min = 0,
     .help = "How long events are kept; 0 for no bound. What a durable subscription has not seen is always kept.",
     .max = (int64_t)1 << 50},
};

static const double group_buckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 0};
static const double second_buckets[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 0};

const struct assay_metric sq_metrics[] = {
    [SQ_METRIC_COMMITS] = {.name = "assay_store_commits_total",
                           .type = ASSAY_METRIC_COUNTER,
                           .help = "Durable commits of the writer.",
                           .labels = ""},
    [SQ_METRIC_GROUP] = {.name = "assay_store_commit_transactions",
                         .type = ASSAY_METRIC_HISTOGRAM,
                         .help = "Transactions in one durable commit.",
                         .labels = "",
                         .buckets = group_buckets},
    [SQ_METRIC_SECONDS] = {.name = "assay_store_commit_seconds",
                           .type = ASSAY_METRIC_HISTOGRAM,
                           .help = "Time from the start of a group to the completion of its last transaction.",
                           .labels = "",
                           .buckets = second_buckets},
    [SQ_METRIC_ERRORS] = {.name = "assay_store_errors_total",
                          .type = ASSAY_METRIC_COUNTER,
                          .help = "Writes that failed for another reason than a guard.",
                          .labels = "reason"},
    [SQ_METRIC_PRUNED] = {.name = "assay_store_events_pruned_total",
                          .type = ASSAY_METRIC_COUNTER,
                          .help = "Events removed from the outbox by age or number.",
                          .labels = ""},
};

static void store_free(struct sq_store *s)
{
    sq_readers_close(s);
    sq_conn_close(&s->w); /* the last one: checkpoints and removes the log */
    (void)pthread_cond_destroy(&s->pool_free);
    (void)pthread_mutex_destroy(&s->pool_lock);
    assay_store_queue_free(s->queue);
    free(s->group_ev);
    free(s->registered);
    free(s->path);
    s->magic = 0;
    free(s);
}

static void once_per_process(void)
{
    /* its global counters would put a lock on every allocation of every connection; refused when
     * another user of the library came first, which is fine */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, once_per_process);
    if (!sqlite3_threadsafe())
        return assay_err_set(err, ASSAY_E_CONFIG, "this SQLite library is built without threads");

    struct sq_store *s = calloc(1, sizeof *s);
    if (!s)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the store");
    s->magic = SQ_MAGIC;
    s->host = host;
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0 || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(&s->pool_free, &attr) != 0 || pthread_mutex_init(&s->pool_lock, NULL) != 0) {
        free(s);
        return assay_err_set(err, ASSAY_E_NOMEM, "no locks for the store");
    }
    (void)pthread_condattr_destroy(&attr);

    s->busy_ms = host->option_int(host->ctx, "store_busy");
    s->cache_bytes = host->option_int(host->ctx, "store_cache");
    s->mmap_bytes = host->option_int(host->ctx, "store_mmap");
    s->check_ms = host->option_int(host->ctx, "store_check");
    s->keep = host->option_int(host->ctx, "events_keep");
    s->keep_age_ms = host->option_int(host->ctx, "events_keep_age");
    s->readers_max = (size_t)host->option_int(host->ctx, "store_readers");

    bool ignored = false;
    int st = assay_store_queue_new((size_t)host->option_int(host->ctx, "store_queue"),
                                   (size_t)host->option_int(host->ctx, "store_group"), &sq_writer_ops, s, &s->queue, err);
    if (st == 0 && s->readers_max == 0)
        st = assay_err_set(err, ASSAY_E_CONFIG, "store_readers is 0");
    if (st == 0)
        st = sq_dsn_path(assay_str(host->option_str(host->ctx, "storage_dsn")), host->option_str(host->ctx, "data_dir"),
                         &s->path, &ignored, err);
    if (st == 0 && ignored)
        assay_log(host, ASSAY_LOG_WARN, "storage_dsn_not_taken",
                  ASSAY_KZ("reason", "what is acknowledged is on disk: memory:// stands for the file"),
                  ASSAY_KZ("path", s->path));
    if (st == 0)
        st = sq_open_writer(s, err);
    if (st == 0)
        st = sq_migrate_own(s, err);
    if (st == 0)
        st = sq_events_load(s, err);
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
    struct sq_store *s = sq_self(self);
    assay_store_queue_stop(s->queue);
    store_free(s);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_STORE),
    .name = "store_sqlite",
    .version = "0.1.0",
    .summary = "Store in a SQLite file: one writer with group commit, read-only connections beside it",
    .options = ASSAY_TABLE(options),
    .metrics = {sq_metrics, sizeof sq_metrics / sizeof sq_metrics[0], sizeof sq_metrics[0]},
    .driver = &sq_ops,
    .init = init,
    .fini = fini,
};
