/*
 * What the store costs over raw SQLite: rows of 1 KB, durable (WAL, synchronous=FULL), by 1, 8 and
 * 32 threads that each wait for their row to be on disk before they write the next.
 *
 *   raw    a bare group commit: threads put rows under a lock, one of them inserts all that wait in
 *          one transaction and wakes the others; no savepoints, no guards, no events
 *   store  the driver: each row a transaction of its own with an expected row count
 *   event  the same, with an event in the outbox
 *
 * Machines drift, so the three are interleaved in rounds of one run, and the ratios of their sums
 * are what counts.
 *
 *   store_bench [--dir DIR] [--rounds N] [--tenths N]     N tenths of a second for each
 *               [--kind raw|store|event] [--threads N]   only that; the last word of the output is rows/s
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <assay/plugin.h>
#include <assay/value.h>

#include "../tests/unit/store_host.h"

extern const struct assay_plugin assay_plugin;

#define ROW_BYTES 1000
#define THREADS_MAX 32

enum kind { RAW, STORE, EVENT, KINDS };
static const char *const kind_names[KINDS] = {"raw", "store", "event"};

static char payload[ROW_BYTES];
static _Atomic bool stop;
static _Atomic int64_t next_id;

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "store_bench: %s: %s\n", what, why);
    exit(1);
}

/* ---- raw ------------------------------------------------------------------------------------------ */

struct raw {
    sqlite3 *db;
    sqlite3_stmt *begin, *insert, *commit;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t cond;
    int64_t waiting[THREADS_MAX];
    int n_waiting;
    uint64_t collecting, done; /* number of the group that collects; of the last that is on disk */
    bool leader;
};

static void raw_step(struct raw *r, sqlite3_stmt *q)
{
    if (sqlite3_step(q) != SQLITE_DONE)
        die("raw", sqlite3_errmsg(r->db));
    (void)sqlite3_reset(q);
}

static void raw_open(struct raw *r, const char *dir)
{
    char path[600];
    (void)snprintf(path, sizeof path, "%s/raw.db", dir);
    *r = (struct raw){.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .collecting = 1};
    if (sqlite3_open_v2(path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_exec(r->db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                     "CREATE TABLE rows (id TEXT PRIMARY KEY, n BIGINT NOT NULL, body TEXT NOT NULL)",
                     NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(r->db, "BEGIN IMMEDIATE", -1, &r->begin, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(r->db, "COMMIT", -1, &r->commit, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(r->db, "INSERT INTO rows VALUES ($1, $2, $3)", -1, &r->insert, NULL) != SQLITE_OK)
        die("raw", sqlite3_errmsg(r->db));
}

static void raw_row(struct raw *r, int64_t id)
{
    (void)pthread_mutex_lock(&r->lock);
    r->waiting[r->n_waiting++] = id;
    uint64_t mine = r->collecting;
    while (r->done < mine) {
        if (r->leader) {
            (void)pthread_cond_wait(&r->cond, &r->lock);
            continue;
        }
        r->leader = true;
        int64_t group[THREADS_MAX];
        int n = r->n_waiting;
        memcpy(group, r->waiting, sizeof group);
        r->n_waiting = 0;
        uint64_t number = r->collecting++;
        (void)pthread_mutex_unlock(&r->lock);
        raw_step(r, r->begin);
        for (int i = 0; i < n; i++) {
            char text[40];
            (void)snprintf(text, sizeof text, "%020lld-0000-0000-0000", (long long)group[i]);
            (void)sqlite3_bind_text(r->insert, 1, text, -1, SQLITE_STATIC);
            (void)sqlite3_bind_int64(r->insert, 2, group[i]);
            (void)sqlite3_bind_text(r->insert, 3, payload, ROW_BYTES, SQLITE_STATIC);
            raw_step(r, r->insert);
        }
        raw_step(r, r->commit);
        (void)pthread_mutex_lock(&r->lock);
        r->done = number;
        r->leader = false;
        (void)pthread_cond_broadcast(&r->cond);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

/* ---- the store -------------------------------------------------------------------------------------- */

static const struct assay_migration migrations[] = {
    {1, "rows", "CREATE TABLE rows (id TEXT PRIMARY KEY, n BIGINT NOT NULL, body TEXT NOT NULL)", "0.1.0"}};
static const struct assay_stmt insert = {"bench.insert", "INSERT INTO rows (id, n, body) VALUES ($1, $2, $3)", "tit", "",
                                         true};

static void store_row(const struct assay_store *st, int64_t id, bool event)
{
    char text[40];
    (void)snprintf(text, sizeof text, "%020lld-0000-0000-0000", (long long)id);
    struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = assay_tx_new(arena, "bench");
    ASSAY_TX(tx, &insert, ASSAY_EXPECT_ONE, ASSAY_VZ(text), ASSAY_VI(id),
             ASSAY_VT(((struct assay_str){payload, ROW_BYTES})));
    if (event)
        assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("bench.row"),
                                                .subject = assay_str(text),
                                                .payload = ASSAY_STR("{\"language\":\"c\",\"problem_id\":\"p\"}")});
    struct assay_err err = {0};
    if (assay_store_exec(st, tx, &err) != 0)
        die("store", err.msg);
    assay_arena_free(arena);
}

/* ---- a run ------------------------------------------------------------------------------------------- */

struct job {
    pthread_t thread;
    enum kind kind;
    struct raw *raw;
    const struct assay_store *st;
    int64_t rows;
};

static void *work(void *arg)
{
    struct job *j = arg;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        int64_t id = atomic_fetch_add(&next_id, 1);
        if (j->kind == RAW)
            raw_row(j->raw, id);
        else
            store_row(j->st, id, j->kind == EVENT);
        j->rows++;
    }
    return NULL;
}

/* Rows a second. */
static double run(enum kind kind, int threads, double seconds, struct raw *raw, const struct assay_store *st)
{
    struct job job[THREADS_MAX] = {{.kind = kind}};
    atomic_store(&stop, false);
    int64_t begun = assay_mono_ns(), rows = 0;
    for (int i = 0; i < threads; i++) {
        job[i] = (struct job){.kind = kind, .raw = raw, .st = st};
        if (pthread_create(&job[i].thread, NULL, work, &job[i]) != 0)
            die("threads", "cannot be started");
    }
    (void)usleep((useconds_t)(seconds * 1e6));
    atomic_store(&stop, true);
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(job[i].thread, NULL);
        rows += job[i].rows;
    }
    return (double)rows * 1e9 / (double)(assay_mono_ns() - begun);
}

int main(int argc, char **argv)
{
    int64_t rounds = 5, tenths = 5, only_threads = 0;
    const char *base = NULL;
    int only_kind = -1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--dir") == 0)
            base = argv[i + 1];
        else if (strcmp(argv[i], "--kind") == 0) {
            for (int k = 0; k < KINDS; k++)
                if (strcmp(argv[i + 1], kind_names[k]) == 0)
                    only_kind = k;
            if (only_kind < 0)
                die(argv[i + 1], "is not raw, store or event");
        } else if (strcmp(argv[i], "--threads") == 0) {
            if (assay_parse_i64(assay_str(argv[i + 1]), 1, THREADS_MAX, &only_threads, NULL) != 0)
                die("--threads", "takes a number from 1 to 32");
        } else if (strcmp(argv[i], "--rounds") != 0 && strcmp(argv[i], "--tenths") != 0)
            die(argv[i], "is not an option");
        else if (assay_parse_i64(assay_str(argv[i + 1]), 1, 1000, argv[i][2] == 'r' ? &rounds : &tenths, NULL) != 0)
            die(argv[i], "takes a number from 1 to 1000");
    }
    if (base)
        (void)setenv("TMPDIR", base, 1);
    char *dir = sh_tempdir();
    memset(payload, 'x', sizeof payload);
    struct store_host h;
    struct assay_err err = {0};
    void *self = NULL;
    struct raw raw;
    sh_init(&h, &assay_plugin);
    sh_option(&h, "data_dir", dir);
    if (assay_plugin.init(&h.host, &self, &err) != 0)
        die("store", err.msg);
    struct assay_store st = {assay_plugin.driver, self};
    if (st.ops->migrate(self, "bench", migrations, 1, &err) != 0 || st.ops->start(self, NULL, NULL, &err) != 0)
        die("store", err.msg);
    raw_open(&raw, dir);

    if (only_kind >= 0 && only_threads > 0) {
        double total = 0;
        for (int64_t r = 0; r < rounds; r++)
            total += run((enum kind)only_kind, (int)only_threads, (double)tenths / 10, &raw, &st);
        printf("%s, %lld threads, rows/s: %.0f\n", kind_names[only_kind], (long long)only_threads, total / (double)rounds);
        goto out;
    }
    static const int threads[] = {1, 8, 32};
    double sum[3][KINDS] = {{0}};
    for (int64_t r = 0; r < rounds; r++)
        for (int t = 0; t < 3; t++)
            for (int k = 0; k < KINDS; k++) /* another one first each round */
                sum[t][(k + r) % KINDS] += run((enum kind)((k + r) % KINDS), threads[t], (double)tenths / 10, &raw, &st);

    printf("%8s", "threads");
    for (int k = 0; k < KINDS; k++)
        printf(" %9s/s", kind_names[k]);
    printf(" %10s %10s\n", "store/raw", "event/raw");
    for (int t = 0; t < 3; t++) {
        printf("%8d", threads[t]);
        for (int k = 0; k < KINDS; k++)
            printf(" %11.0f", sum[t][k] / (double)rounds);
        printf(" %10.2f %10.2f\n", sum[t][STORE] / sum[t][RAW], sum[t][EVENT] / sum[t][RAW]);
    }
out:
    st.ops->stop(self);
    assay_plugin.fini(self);
    (void)sqlite3_finalize(raw.begin);
    (void)sqlite3_finalize(raw.insert);
    (void)sqlite3_finalize(raw.commit);
    (void)sqlite3_close(raw.db);
    sh_remove(dir);
    free(dir);
    return 0;
}
