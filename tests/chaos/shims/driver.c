/*
 * A store or a blob driver at work, alone: what the tests of power cuts, failed calls and damage drive.
 *
 *   driver PLUGIN.so DIR store-write N     N transactions from each of three threads; "ack ID" for each that is durable
 *   driver PLUGIN.so DIR store-check       opens what is there as a start does, prints "row ID" for each sound row, writes one
 *   driver PLUGIN.so DIR blob-write N      likewise for blobs
 *   driver PLUGIN.so DIR blob-check        reads "NAME" lines and prints "blob NAME" for each that is whole
 *   driver PLUGIN.so DIR store-sweep KINDS ERRNO PERSISTENT PART STEP
 *   driver PLUGIN.so DIR blob-sweep ...    with fault.c loaded: everything again for n = 1, 1 + STEP, ..., until nothing fails
 *
 * A row's bytes follow from its id, so one that is not as it was written is seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "store_host.h"

#include <assay/blob.h>
#include <assay/store.h>

#define THREADS 3
#define MOST 9000

static const struct assay_migration migrations[] = {
    {1, "items", "CREATE TABLE t_items (id TEXT PRIMARY KEY, n BIGINT NOT NULL, data BYTEA NOT NULL);"
                 "CREATE INDEX t_items_n ON t_items (n);", "0.1.0"},
};
static const struct assay_stmt st_insert = {"t.insert", "INSERT INTO t_items (id, n, data) VALUES ($1, $2, $3)", "tib", "", true};
static const struct assay_stmt st_bump = {"t.bump", "UPDATE t_items SET n = n + 1 WHERE id = $1", "t", "", true};
static const struct assay_stmt st_all = {"t.all", "SELECT id, data FROM t_items ORDER BY id", "", "tb", false};

static struct store_host host;
static const struct assay_plugin *plugin;
static void *self;

static void ack(const char *word, const char *name)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the order of lines */
    void (*power_ack)(const char *) = (void (*)(const char *))dlsym(RTLD_DEFAULT, "power_ack");
    pthread_mutex_lock(&lock);
    if (power_ack)
        power_ack(name);
    printf("%s %s\n", word, name);
    pthread_mutex_unlock(&lock);
}

static void die(const char *what, const struct assay_err *err)
{
    printf("failed %s: %s\n", what, err->msg);
    fflush(stdout);
    _exit(3);
}

/* The bytes that belong to an id. */
static struct assay_str bytes_of(const char *id, char room[MOST])
{
    uint64_t x = 1469598103934665603u;
    for (const char *p = id; *p; p++)
        x = (x ^ (unsigned char)*p) * 1099511628211u;
    size_t n = 20 + x % (x % 5 == 0 ? MOST - 20 : 300);
    for (size_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        room[i] = (char)(x >> 33);
    }
    return (struct assay_str){room, n};
}

/* ---- the store ----------------------------------------------------------------------------------------- */

static void bell(void *arg, int64_t seq, const struct assay_event *ev, size_t n)
{
    (void)arg, (void)seq, (void)ev, (void)n;
}

static const struct assay_store_ops *store_ops(void)
{
    return plugin->driver;
}

static int store_open(struct assay_err *err)
{
    int st = plugin->init(&host.host, &self, err);
    if (st == 0)
        st = store_ops()->migrate(self, "t", migrations, 1, err);
    if (st == 0)
        st = store_ops()->start(self, bell, NULL, err);
    return st;
}

static void store_close(void)
{
    if (self) {
        store_ops()->stop(self);
        plugin->fini(self);
    }
    self = NULL;
}

static int store_put(const char *id, struct assay_err *err)
{
    char room[MOST];
    struct assay_store s = {store_ops(), self};
    struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena ? assay_tx_new(arena, "put") : NULL;
    if (!tx) {
        assay_arena_free(arena);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    struct assay_event ev = {.topic = ASSAY_STR("t.put"), .subject = assay_str(id), .payload = ASSAY_STR("{}")};
    ASSAY_TX(tx, &st_insert, 1, ASSAY_VZ(id), ASSAY_VI(0), ASSAY_VB(bytes_of(id, room)));
    ASSAY_TX(tx, &st_bump, 1, ASSAY_VZ(id));
    assay_tx_event(tx, ev);
    int st = assay_store_exec(&s, tx, err);
    assay_arena_free(arena);
    return st;
}

static int per_thread;

static void *writer(void *arg)
{
    struct assay_err err = {0};
    for (int i = 0; i < per_thread; i++) {
        char id[40];
        snprintf(id, sizeof id, "row-%d-%05d", (int)(intptr_t)arg, i);
        if (store_put(id, &err) != 0)
            die(id, &err);
        ack("ack", id);
    }
    return NULL;
}

static void store_write(int n)
{
    struct assay_err err = {0};
    if (store_open(&err) != 0)
        die("open", &err);
    per_thread = n;
    pthread_t t[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, writer, (void *)i) != 0)
            abort();
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    store_close();
}

/* Prints what is there. */
static int store_rows(struct assay_err *err)
{
    char room[MOST], id[64];
    struct assay_store s = {store_ops(), self};
    struct assay_rows rows = {0};
    struct assay_arena *arena = assay_arena_new(0);
    if (!arena)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int st = assay_store_query(&s, &st_all, NULL, 0, arena, &rows, err);
    for (size_t i = 0; st == 0 && i < rows.n; i++) {
        struct assay_str data = rows.row[i].col[1].s;
        snprintf(id, sizeof id, "%.*s", ASSAY_FMT(rows.row[i].col[0].s));
        struct assay_str want = bytes_of(id, room);
        printf("%s %s\n", data.n == want.n && memcmp(data.p, want.p, want.n) == 0 ? "row" : "damaged", id);
    }
    assay_arena_free(arena);
    return st;
}

static void store_check(void)
{
    struct assay_err err = {0};
    if (store_open(&err) != 0)
        die("open", &err);
    if (store_rows(&err) != 0)
        die("rows", &err);
    char id[64];
    snprintf(id, sizeof id, "after-%d", (int)getpid());
    if (store_put(id, &err) != 0)
        die("a new row", &err);
    store_close();
}

/* ---- blobs ----------------------------------------------------------------------------------------------- */

static const struct assay_blob_ops *blob_ops(void)
{
    return plugin->driver;
}

static void blob_name(int i, char name[96], struct assay_str *bytes, char room[MOST])
{
    char id[40];
    snprintf(id, sizeof id, "blob-%05d", i);
    *bytes = bytes_of(id, room);
    if (i % 3 == 0) { /* a name of its own choice, in a folder that may have to be made */
        snprintf(name, 96, "logs/f%d/%s", i % 7, id);
        return;
    }
    char hex[ASSAY_SHA256_HEX];
    assay_sha256_hex(*bytes, hex);
    snprintf(name, 96, "sha256/%s", hex);
}

static void blob_write(int n)
{
    struct assay_err err = {0};
    char name[96], room[MOST];
    struct assay_str bytes;
    if (plugin->init(&host.host, &self, &err) != 0)
        die("open", &err);
    for (int i = 0; i < n; i++) {
        blob_name(i, name, &bytes, room);
        if (blob_ops()->put(self, assay_str(name), bytes, &err) != 0)
            die(name, &err);
        char both[128];
        snprintf(both, sizeof both, "%d", i);
        ack("ack", both);
    }
    plugin->fini(self);
}

static void blob_check(void)
{
    struct assay_err err = {0};
    char line[32], name[96], room[MOST];
    struct assay_str bytes, got;
    if (plugin->init(&host.host, &self, &err) != 0)
        die("open", &err);
    struct assay_arena *arena;
    while (fgets(line, sizeof line, stdin)) {
        int i = atoi(line);
        arena = assay_arena_new(0);
        blob_name(i, name, &bytes, room);
        int st = blob_ops()->get(self, assay_str(name), MOST, arena, &got, &err);
        bool same = st == 0 && got.n == bytes.n && memcmp(got.p, bytes.p, got.n) == 0;
        printf("%s %d\n", same ? "blob" : st == ASSAY_E_NOT_FOUND ? "missing" : "damaged", i);
        assay_arena_free(arena);
    }
    if (blob_ops()->put(self, ASSAY_STR("logs/after"), ASSAY_STR("after"), &err) != 0)
        die("a new blob", &err);
    plugin->fini(self);
}

/* ---- sweeps ------------------------------------------------------------------------------------------------ */

struct page { /* fault.c's */
    _Atomic int32_t pid;
    _Atomic uint32_t kinds;
    _Atomic int64_t countdown;
    _Atomic int32_t persistent, err, part;
    _Atomic int64_t hits, live, calls;
};

/* One life of a store with faults from the n-th call on; gives the rows that were acknowledged, as bits. */
static unsigned store_life(void)
{
    unsigned good = 0;
    struct assay_err err = {0};
    if (store_open(&err) == 0)
        for (int i = 0; i < 3; i++) {
            char id[16];
            snprintf(id, sizeof id, "life-%d", i);
            if (store_put(id, &err) == 0)
                good |= 1u << i;
        }
    store_close();
    return good;
}

static unsigned blob_life(void)
{
    unsigned good = 0;
    struct assay_err err = {0};
    char name[96], room[MOST];
    struct assay_str bytes;
    if (plugin->init(&host.host, &self, &err) == 0) {
        for (int i = 0; i < 3; i++) {
            blob_name(i, name, &bytes, room);
            if (blob_ops()->put(self, assay_str(name), bytes, &err) == 0)
                good |= 1u << i;
        }
        plugin->fini(self);
    }
    self = NULL;
    return good;
}

static unsigned store_there(void)
{
    unsigned there = 0;
    struct assay_err err = {0};
    struct assay_store s;
    struct assay_rows rows = {0};
    struct assay_arena *arena = assay_arena_new(0);
    if (store_open(&err) != 0)
        die("open after a fault", &err);
    s = (struct assay_store){store_ops(), self};
    if (assay_store_query(&s, &st_all, NULL, 0, arena, &rows, &err) != 0)
        die("rows after a fault", &err);
    for (size_t i = 0; i < rows.n; i++)
        there |= 1u << (rows.row[i].col[0].s.p[5] - '0');
    assay_arena_free(arena);
    store_close();
    return there;
}

static unsigned blob_there(void)
{
    unsigned there = 0;
    struct assay_err err = {0};
    char name[96], room[MOST];
    struct assay_str bytes, got;
    if (plugin->init(&host.host, &self, &err) != 0)
        die("open after a fault", &err);
    struct assay_arena *arena = assay_arena_new(0);
    for (int i = 0; i < 3; i++) {
        blob_name(i, name, &bytes, room);
        if (blob_ops()->get(self, assay_str(name), MOST, arena, &got, &err) == 0 && got.n == bytes.n && memcmp(got.p, bytes.p, got.n) == 0)
            there |= 1u << i;
    }
    assay_arena_free(arena);
    plugin->fini(self);
    self = NULL;
    return there;
}

static int fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void sweep(bool store, const char *dir, unsigned kinds, int err_no, int persistent, int part, int step)
{
    struct page *(*find)(void) = (struct page * (*)(void)) dlsym(RTLD_DEFAULT, "fault_page");
    struct page *p = find();
    long faults = 0;
    int n = 0;
    char *fresh = NULL;
    for (int clean = 0; clean < 2; n++) {
        if (asprintf(&fresh, "%s/%d", dir, n) < 0)
            abort();
        (void)mkdir(fresh, 0700);
        sh_option(&host, "data_dir", fresh);
        if (n == 1) /* what the first life sets up for good is there by now */
            atomic_store(&p->live, 0);
        int64_t live = atomic_load(&p->live);
        int open_before = fds();
        atomic_store(&p->countdown, n == 0 ? INT64_MAX / 2 : 1 + (int64_t)(n - 1) * step);
        atomic_store(&p->persistent, persistent);
        atomic_store(&p->err, err_no);
        atomic_store(&p->part, part);
        atomic_store(&p->hits, 0);
        atomic_store(&p->kinds, kinds);
        unsigned good = store ? store_life() : blob_life();
        atomic_store(&p->kinds, 0);
        int64_t hits = atomic_load(&p->hits), kept = atomic_load(&p->live) - live;
        int open_after = fds();
        unsigned there = store ? store_there() : blob_there();
        if (good & ~there)
            printf("wrong at %d: acknowledged and not there: %x of %x\n", n, there, good);
        if (hits == 0 && good != 7)
            printf("wrong at %d: refused without a fault: %x\n", n, good);
        if (n > 1 && kept > 0)
            printf("wrong at %d: %lld allocations stay\n", n, (long long)kept);
        if (open_after != open_before)
            printf("wrong at %d: %d descriptors stay\n", n, open_after - open_before);
        sh_remove(fresh);
        free(fresh);
        faults += hits;
        clean = n > 0 && hits == 0 ? clean + 1 : 0;
    }
    printf("swept %d %ld\n", n, faults);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 64;
    void *so = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    plugin = so ? dlsym(so, "assay_plugin") : NULL;
    if (!plugin) {
        fprintf(stderr, "%s\n", dlerror());
        return 64;
    }
    sh_init(&host, plugin);
    sh_option(&host, "data_dir", argv[2]);
    sh_option(&host, "store_check", "60s");
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    if (strcmp(argv[3], "store-write") == 0)
        store_write(atoi(argv[4]));
    else if (strcmp(argv[3], "store-check") == 0)
        store_check();
    else if (strcmp(argv[3], "blob-write") == 0)
        blob_write(atoi(argv[4]));
    else if (strcmp(argv[3], "blob-check") == 0)
        blob_check();
    else if (argc == 9)
        sweep(strcmp(argv[3], "store-sweep") == 0, argv[2], (unsigned)atoi(argv[4]), atoi(argv[5]), atoi(argv[6]), atoi(argv[7]), atoi(argv[8]));
    else
        return 64;
    return 0;
}
