#include "svc_impl.h"

#include "fake_broker.h"

#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

_Noreturn void svc_die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("Bail out! svc_harness: ", stdout);
    vprintf(fmt, ap);
    fputc('\n', stdout);
    va_end(ap);
    fflush(stdout);
    _exit(99);
}

static const struct assay_plugin *load(const char *dir, const char *name)
{
    const char *base = getenv("ASSAY_BUILD_DIR");
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s/.libs/assay_%s.so", base != NULL ? base : ".", dir, name, name);
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (so == NULL)
        svc_die("%s", dlerror());
    const struct assay_plugin *pl = dlsym(so, ASSAY_PLUGIN_SYMBOL);
    if (pl == NULL || pl->magic != ASSAY_PLUGIN_MAGIC || pl->size != sizeof *pl || pl->abi_major != ASSAY_ABI_MAJOR)
        svc_die("%s is no plugin of this ABI", path);
    return pl;
}

/*
 * SQLite, or the PostgreSQL that ASSAY_TEST_POSTGRES names (store_postgres.py): there each data directory has a
 * schema of its own, so that a restart finds what was there.
 */
static const char *choose_store(struct svc *h)
{
    const char *base = getenv("ASSAY_TEST_POSTGRES"), *name = strrchr(h->dir, '/');
    if (base == NULL || base[0] == '\0')
        return "store_sqlite";
    char sql[200], dsn[600];
    snprintf(sql, sizeof sql, "SET client_min_messages = error; CREATE SCHEMA IF NOT EXISTS \"%.60s\"", name + 1);
    snprintf(dsn, sizeof dsn, "%s&options=-csearch_path%%3D%%22%.60s%%22", base, name + 1);
    pid_t p = fork();
    if (p == 0) {
        execlp("psql", "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", base, "-c", sql, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    if (p < 0 || waitpid(p, &status, 0) != p || status != 0)
        svc_die("psql could not make the schema %s", name + 1);
    svc_option(h, "storage_dsn", dsn);
    return "store_postgres";
}

static struct svc *new_on(const char *dir)
{
    struct svc *h = calloc(1, sizeof *h);
    if (h == NULL)
        svc_die("no memory");
    h->arena = assay_arena_new(0);
    h->json = calloc(MAX_REPLIES, sizeof *h->json);
    if (h->arena == NULL || h->json == NULL)
        svc_die("no memory");
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->woken, NULL);
    assay_buf_init(&h->log, 0);
    if (dir != NULL) {
        snprintf(h->dir, sizeof h->dir, "%s", dir);
    } else {
        const char *tmp = getenv("TMPDIR");
        snprintf(h->dir, sizeof h->dir, "%s/assay-unit-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
        if (mkdtemp(h->dir) == NULL)
            svc_die("mkdtemp %s: %s", h->dir, strerror(errno));
    }
    memory_blobs_init(&h->blobs);
    h->host = svc_host_functions;
    h->host.ctx = h;
    h->host.store = &h->store;
    h->host.blobs = &h->blobs.blobs;
    h->host.instance_id = h->instance;
    assay_id_new(h->instance); /* each start is another life */
    svc_option(h, "data_dir", h->dir);
    svc_option(h, "app_env", "development");
    const char *store = choose_store(h);
    h->plugin[0] = (struct loaded){.pl = load("plugins", store), .name = strdup(store)};
    h->n_plugins = 1;
    return h;
}

struct svc *svc_new(void)
{
    return new_on(NULL);
}

void svc_option(struct svc *h, const char *name, const char *value)
{
    if (h->n_options == MAX_OPTIONS)
        svc_die("too many options");
    h->option[h->n_options++] = (struct option){strdup(name), strdup(value)};
}

void svc_plugin(struct svc *h, const char *service)
{
    if (h->n_plugins == MAX_PLUGINS)
        svc_die("too many plugins");
    h->plugin[h->n_plugins++] = (struct loaded){.pl = load("services", service), .name = strdup(service)};
}

void svc_provide(struct svc *h, const char *interface, const void *ops, void *self)
{
    if (h->n_given == MAX_PLUGINS)
        svc_die("too many interfaces");
    h->given[h->n_given++] = (struct iface){interface, ops, self};
}

void svc_broker(struct svc *h, const char *name, struct fake_broker *b)
{
    if (h->n_brokers == MAX_BROKERS)
        svc_die("too many brokers");
    h->broker[h->n_brokers++] = (struct lent_broker){name, b};
}

static void on_committed(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n)
{
    (void)arg;
    (void)last_seq;
    (void)ev;
    (void)n;
}

void svc_start(struct svc *h)
{
    struct assay_err err = {0, ""};
    for (size_t i = 0; i < h->n_plugins; i++) {
        struct loaded *l = &h->plugin[i];
        const struct assay_plugin *pl = l->pl;
        if (i == 0) {
            h->for_driver = h->host;
            h->for_driver.store = NULL;
            h->for_driver.blobs = NULL;
            if (pl->init(&h->for_driver, &l->self, &err) < 0)
                svc_die("store: init: %s", err.msg);
            l->initialised = true;
            h->store = (struct assay_store){pl->driver, l->self};
            continue;
        }
        if (h->store.ops->migrate(h->store.self, pl->name, pl->migrations.rows, pl->migrations.count, &err) < 0)
            svc_die("%s: migrate: %s", l->name, err.msg);
        if (pl->statements.count != 0 &&
            h->store.ops->prepare(h->store.self, pl->statements.rows, pl->statements.count, &err) < 0)
            svc_die("%s: prepare: %s", l->name, err.msg);
    }
    if (h->store.ops->start(h->store.self, on_committed, h, &err) < 0)
        svc_die("store: start: %s", err.msg);
    if (h->plugin[0].pl->start != NULL && h->plugin[0].pl->start(h->plugin[0].self, &err) < 0)
        svc_die("store: start: %s", err.msg);
    for (size_t i = 1; i < h->n_plugins; i++) {
        struct loaded *l = &h->plugin[i];
        for (uint32_t k = 0; k < l->pl->needs.count; k++) {
            const struct assay_need *need =
                (const void *)((const char *)l->pl->needs.rows + (size_t)k * l->pl->needs.stride);
            if (!need->optional && svc_interface(h, need->name, NULL) == NULL)
                svc_die("%s needs %s, which nothing before it provides", l->name, need->name);
        }
        l->initialised = true; /* fini takes whatever init left */
        if (l->pl->init(&h->host, &l->self, &err) < 0)
            svc_die("%s: init: %s", l->name, err.msg);
    }
    for (size_t i = 0; i < h->n_brokers; i++)
        fake_broker_connect(h->broker[i].broker);
    for (size_t i = 1; i < h->n_plugins; i++) {
        if (h->plugin[i].pl->start != NULL && h->plugin[i].pl->start(h->plugin[i].self, &err) < 0)
            svc_die("%s: start: %s", h->plugin[i].name, err.msg);
    }
    h->started = true;
}

static void stop(struct svc *h)
{
    for (size_t i = h->n_plugins; i-- > 1;) {
        if (h->started && h->plugin[i].pl->drain != NULL)
            h->plugin[i].pl->drain(h->plugin[i].self);
    }
    for (size_t i = 0; i < h->n_brokers; i++)
        fake_broker_disconnect(h->broker[i].broker);
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_cond_broadcast(&h->woken);
    pthread_mutex_unlock(&h->lock);
    for (;;) {
        pthread_mutex_lock(&h->lock);
        struct job *j = h->jobs;
        if (j != NULL)
            h->jobs = j->next;
        pthread_mutex_unlock(&h->lock);
        if (j == NULL)
            break;
        pthread_join(j->thread, NULL);
        free(j);
    }
    if (h->started)
        h->store.ops->stop(h->store.self);
    for (size_t i = h->n_plugins; i-- > 0;) {
        if (h->plugin[i].initialised && h->plugin[i].pl->fini != NULL)
            h->plugin[i].pl->fini(h->plugin[i].self);
        h->plugin[i].initialised = false;
        h->plugin[i].self = NULL;
    }
    h->started = false;
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    if (d != NULL) {
        struct dirent *e;
        while ((e = readdir(d)) != NULL) {
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            char sub[1024];
            snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
            struct stat st;
            if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode))
                remove_tree(sub);
            else
                unlink(sub);
        }
        closedir(d);
    }
    rmdir(path);
}

static void release(struct svc *h)
{
    for (size_t i = 0; i < h->n_options; i++) {
        free(h->option[i].name);
        free(h->option[i].value);
    }
    for (size_t i = 0; i < h->n_plugins; i++)
        free(h->plugin[i].name);
    for (size_t i = 0; i < h->n_json; i++)
        json_decref(h->json[i]);
    memory_blobs_fini(&h->blobs);
    free(h->json);
    assay_buf_free(&h->log);
    assay_arena_free(h->arena);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->woken);
    free(h);
}

void svc_free(struct svc *h)
{
    stop(h);
    remove_tree(h->dir);
    release(h);
}

struct svc *svc_restart(struct svc *h)
{
    stop(h);
    struct svc *n = new_on(h->dir);
    for (size_t i = 0; i < h->n_options; i++)
        svc_option(n, h->option[i].name, h->option[i].value);
    for (size_t i = 1; i < h->n_plugins; i++)
        svc_plugin(n, h->plugin[i].name);
    for (size_t i = 0; i < h->n_given; i++)
        n->given[n->n_given++] = h->given[i];
    for (size_t i = 0; i < h->n_brokers; i++)
        svc_broker(n, h->broker[i].name, h->broker[i].broker);
    memory_blobs_move(&n->blobs, &h->blobs);
    n->ahead_ms = h->ahead_ms;
    n->host.warden_open = h->host.warden_open; /* before the plugins start: their threads read it */
    release(h);
    svc_start(n);
    return n;
}

/* ---- looking inside ------------------------------------------------------------------------------ */

void *svc_self(struct svc *h, const char *service)
{
    for (size_t i = 0; i < h->n_plugins; i++) {
        if (strcmp(h->plugin[i].name, service) == 0)
            return h->plugin[i].self;
    }
    svc_die("no plugin %s", service);
}

const void *svc_interface(struct svc *h, const char *name, void **self)
{
    for (size_t i = 0; i < h->n_given; i++) {
        if (strcmp(h->given[i].name, name) == 0) {
            if (self != NULL)
                *self = h->given[i].self;
            return h->given[i].ops;
        }
    }
    for (size_t p = 1; p < h->n_plugins; p++) {
        const struct assay_table *t = &h->plugin[p].pl->provides;
        for (uint32_t i = 0; h->plugin[p].initialised && i < t->count; i++) {
            const struct assay_interface *f = (const void *)((const char *)t->rows + (size_t)i * t->stride);
            if (strcmp(f->name, name) == 0) {
                if (self != NULL)
                    *self = h->plugin[p].self;
                return f->ops;
            }
        }
    }
    return NULL;
}

int svc_ready(struct svc *h, const char *service, struct assay_err *err)
{
    for (size_t i = 0; i < h->n_plugins; i++) {
        if (strcmp(h->plugin[i].name, service) == 0 && h->plugin[i].pl->ready != NULL)
            return h->plugin[i].pl->ready(h->plugin[i].self, err);
    }
    svc_die("no plugin %s that says whether it is ready", service);
}

const char *svc_quit(struct svc *h)
{
    pthread_mutex_lock(&h->lock);
    bool asked = h->quit[0] != '\0';
    pthread_mutex_unlock(&h->lock);
    return asked ? h->quit : NULL; /* written once */
}

double svc_metric(struct svc *h, const char *name)
{
    double sum = -1;
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->n_metrics; i++) {
        if (strcmp(h->metric[i].row->name, name) == 0)
            sum = (sum < 0 ? 0 : sum) + h->metric[i].value;
    }
    pthread_mutex_unlock(&h->lock);
    return sum;
}

const struct assay_host *svc_host(struct svc *h)
{
    return &h->host;
}
const struct assay_store *svc_store(struct svc *h)
{
    return &h->store;
}
const struct assay_blobs *svc_blobs(struct svc *h)
{
    return &h->blobs.blobs;
}
struct assay_arena *svc_arena(struct svc *h)
{
    return h->arena;
}
const char *svc_log_text(struct svc *h)
{
    pthread_mutex_lock(&h->lock);
    char *z = assay_arena_z(h->arena, assay_buf_view(&h->log));
    pthread_mutex_unlock(&h->lock);
    return z;
}
static bool file_holds(const char *path, const char *text)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    struct assay_buf b = ASSAY_BUF_INIT;
    char part[65536];
    size_t n;
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        assay_buf_add(&b, part, n);
    fclose(f);
    bool found = b.n != 0 && memmem(b.p, b.n, text, strlen(text)) != NULL;
    assay_buf_free(&b);
    return found;
}

static bool tree_holds(const char *path, const char *text)
{
    bool found = false;
    DIR *d = opendir(path);
    struct dirent *e;
    while (d != NULL && !found && (e = readdir(d)) != NULL) {
        char sub[1024];
        struct stat st;
        snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
        if (e->d_name[0] == '.' || lstat(sub, &st) != 0)
            continue;
        found = S_ISDIR(st.st_mode) ? tree_holds(sub, text) : file_holds(sub, text);
    }
    if (d != NULL)
        closedir(d);
    return found;
}

bool svc_on_disk(struct svc *h, const char *text)
{
    return tree_holds(h->dir, text);
}

void svc_advance_ms(struct svc *h, int64_t ms)
{
    pthread_mutex_lock(&h->lock);
    h->ahead_ms += ms;
    pthread_mutex_unlock(&h->lock);
}
