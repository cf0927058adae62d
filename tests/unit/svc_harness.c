#include "svc_harness.h"

#include "fake_broker.h"
#include "memory_blobs.h"

#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <assay/identity.h>
#include <assay/json.h>
#include <assay/value.h>

#define MAX_PLUGINS 12
#define MAX_OPTIONS 64
#define MAX_REPLIES 65536
#define MAX_BROKERS 4
#define MAX_METRICS 200

struct option {
    char *name, *value;
};
struct iface {
    const char *name;
    const void *ops;
    void *self;
};
struct loaded {
    const struct assay_plugin *pl;
    void *self;
    char *name;
    bool initialised;
};
struct lent_broker {
    const char *name;
    struct fake_broker *broker;
};
struct metric {
    const struct assay_metric *row;
    char labels[160];
    double value;
};
/* A request that is being handled. */
struct call {
    struct svc *h;
    struct assay_request rq;
    struct assay_response rs;
    struct assay_err err;
    int rc;
    bool deferred, done;
    struct call *next;
    assay_ticket ticket;
};
struct job {
    struct svc *h;
    struct job *next;
    pthread_t thread;
    int64_t delay_ms;
    void (*fn)(void *arg);
    void *arg;
};

struct svc {
    struct assay_host host;
    struct assay_host for_driver; /* without store and blobs */
    struct assay_store store;
    struct memory_blobs blobs;
    struct assay_arena *arena;
    char dir[256];
    char instance[ASSAY_ID_SIZE];
    struct option option[MAX_OPTIONS];
    size_t n_options;
    struct loaded plugin[MAX_PLUGINS]; /* [0]: the store */
    size_t n_plugins;
    struct iface given[MAX_PLUGINS];
    size_t n_given;
    struct lent_broker broker[MAX_BROKERS];
    size_t n_brokers;
    bool started;
    int64_t ahead_ms;
    int64_t local_seen; /* events up to here went to LOCAL subscriptions */
    json_t **json;
    size_t n_json;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t woken;
    struct call *calls;
    assay_ticket last_ticket;
    struct job *jobs;
    bool stopping;
    struct assay_buf log;
    struct metric metric[MAX_METRICS];
    size_t n_metrics;
    char quit[200];
};

static _Noreturn void die(const char *fmt, ...) ASSAY_PRINTF(1, 2);
static void die(const char *fmt, ...)
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

#define PRINCIPAL(role_, name_, id_)                                                                                   \
    {.authenticated = true, .role = (role_), .role_name = {name_, sizeof(name_) - 1}, .user_id = {id_, sizeof(id_) - 1}}
const struct assay_principal svc_admin = PRINCIPAL(ASSAY_ROLE_ADMIN, "admin", "00000000-0000-7000-8000-00000000000a");
const struct assay_principal svc_instructor =
    PRINCIPAL(ASSAY_ROLE_INSTRUCTOR, "instructor", "00000000-0000-7000-8000-00000000000b");
const struct assay_principal svc_user = PRINCIPAL(ASSAY_ROLE_USER, "user", "00000000-0000-7000-8000-000000000001");
const struct assay_principal svc_user2 = PRINCIPAL(ASSAY_ROLE_USER, "user", "00000000-0000-7000-8000-000000000002");
const struct assay_principal svc_viewer = PRINCIPAL(ASSAY_ROLE_VIEWER, "viewer", "00000000-0000-7000-8000-000000000003");
static const struct assay_principal nobody;

/* ---- host functions ------------------------------------------------------------------------- */

static void host_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    assay_buf_fmt(&h->log, "%s %s", names[level], event);
    for (size_t i = 0; i < n; i++) {
        if (kv[i].type == 's')
            assay_buf_fmt(&h->log, " %s=%.*s", kv[i].key, ASSAY_FMT(kv[i].s));
        else if (kv[i].type == 'i')
            assay_buf_fmt(&h->log, " %s=%lld", kv[i].key, (long long)kv[i].i);
        else
            assay_buf_fmt(&h->log, " %s=%g", kv[i].key, kv[i].r);
    }
    assay_buf_putc(&h->log, '\n');
    pthread_mutex_unlock(&h->lock);
}

static int64_t host_now_ms(void *ctx)
{
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    int64_t v = h->ahead_ms;
    pthread_mutex_unlock(&h->lock);
    return assay_now_ms() + v;
}

static int64_t host_mono_ns(void *ctx)
{
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    int64_t v = h->ahead_ms;
    pthread_mutex_unlock(&h->lock);
    return assay_mono_ns() + v * 1000000;
}

static const struct assay_option *find_option(struct svc *h, const char *name)
{
    for (size_t p = 0; p < h->n_plugins; p++) {
        const struct assay_table *t = &h->plugin[p].pl->options;
        for (uint32_t i = 0; i < t->count; i++) {
            const struct assay_option *o = (const void *)((const char *)t->rows + (size_t)i * t->stride);
            if (strcmp(o->name, name) == 0)
                return o;
        }
    }
    return NULL;
}

static const char *host_option_str(void *ctx, const char *name)
{
    struct svc *h = ctx;
    for (size_t i = h->n_options; i-- > 0;) {
        if (strcmp(h->option[i].name, name) == 0)
            return h->option[i].value;
    }
    const struct assay_option *o = find_option(h, name);
    return o != NULL && o->default_text != NULL ? o->default_text : "";
}

static int64_t host_option_int(void *ctx, const char *name)
{
    struct svc *h = ctx;
    const struct assay_option *o = find_option(h, name);
    struct assay_str text = assay_str(host_option_str(ctx, name));
    struct assay_err err;
    int64_t v = 0;
    bool b = false;
    int rc;
    if (text.n == 0)
        return 0;
    switch (o != NULL ? o->type : ASSAY_OPT_INT) {
    case ASSAY_OPT_BOOL:
        rc = assay_parse_bool(text, &b, &err);
        v = b;
        break;
    case ASSAY_OPT_DURATION:
        rc = assay_parse_duration_ms(text, o->bare_unit_ms != 0 ? o->bare_unit_ms : 1000, &v, &err);
        break;
    case ASSAY_OPT_BYTES:
        rc = assay_parse_bytes(text, &v, &err);
        break;
    case ASSAY_OPT_INT:
    case ASSAY_OPT_STRING:
    case ASSAY_OPT_CHOICE:
    default:
        rc = assay_parse_i64(text, INT64_MIN, INT64_MAX, &v, &err);
        break;
    }
    if (rc < 0)
        die("option %s: %s", name, err.msg);
    return v;
}

static void metric(struct svc *h, const struct assay_metric *m, const char *const *labels, double v, bool set)
{
    char text[160] = "";
    size_t n = 0, i = 0;
    assert(m != NULL && m->name != NULL);
    for (const char *p = m->labels; labels != NULL && p != NULL && *p != '\0' && n < sizeof text; i++) {
        int w = snprintf(text + n, sizeof text - n, "%s,", labels[i]);
        n += w > 0 ? (size_t)w : 0;
        p += strcspn(p, ",");
        p += *p == ',';
    }
    pthread_mutex_lock(&h->lock);
    i = 0;
    while (i < h->n_metrics && (h->metric[i].row != m || strcmp(h->metric[i].labels, text) != 0))
        i++;
    if (i == MAX_METRICS)
        die("too many series of metrics");
    if (i == h->n_metrics) {
        h->metric[h->n_metrics++].row = m;
        snprintf(h->metric[i].labels, sizeof h->metric[i].labels, "%s", text);
    }
    h->metric[i].value = set ? v : h->metric[i].value + v;
    pthread_mutex_unlock(&h->lock);
}

static void host_metric(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    metric(ctx, m, labels, v, false);
}

static void host_metric_set(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    metric(ctx, m, labels, v, true);
}

static int host_broker(void *ctx, struct assay_str name, struct assay_broker *out, struct assay_err *err)
{
    struct svc *h = ctx;
    for (size_t i = 0; i < h->n_brokers; i++) {
        if (assay_str_is(name, h->broker[i].name)) {
            *out = fake_broker_lend(h->broker[i].broker);
            return ASSAY_OK;
        }
    }
    return assay_err_set(err, ASSAY_E_NOT_FOUND, "the broker %.*s is not configured", ASSAY_FMT(name));
}

static void host_quit(void *ctx, const char *why)
{
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    if (h->quit[0] == '\0')
        snprintf(h->quit, sizeof h->quit, "%s", why);
    pthread_mutex_unlock(&h->lock);
}

static void *job_main(void *arg)
{
    struct job *j = arg;
    struct svc *h = j->h;
    bool go = true;
    if (j->delay_ms > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        int64_t ns = until.tv_nsec + (j->delay_ms % 1000) * 1000000;
        until.tv_sec += j->delay_ms / 1000 + ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        pthread_mutex_lock(&h->lock);
        int rc = 0;
        while (!h->stopping && rc != ETIMEDOUT)
            rc = pthread_cond_timedwait(&h->woken, &h->lock, &until);
        go = !h->stopping;
        pthread_mutex_unlock(&h->lock);
    }
    if (go)
        j->fn(j->arg);
    return NULL;
}

static int host_after(void *ctx, int64_t delay_ms, void (*fn)(void *arg), void *arg)
{
    struct svc *h = ctx;
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return ASSAY_E_BUSY;
    *j = (struct job){.h = h, .delay_ms = delay_ms, .fn = fn, .arg = arg};
    int rc = ASSAY_OK;
    pthread_mutex_lock(&h->lock);
    if (h->stopping || pthread_create(&j->thread, NULL, job_main, j) != 0) {
        free(j);
        rc = ASSAY_E_BUSY;
    } else {
        j->next = h->jobs;
        h->jobs = j;
    }
    pthread_mutex_unlock(&h->lock);
    return rc;
}

static int host_offload(void *ctx, void (*fn)(void *arg), void *arg)
{
    return host_after(ctx, 0, fn, arg);
}

static assay_ticket host_defer(void *ctx, struct assay_request *rq)
{
    struct svc *h = ctx;
    struct call *c = rq->impl;
    pthread_mutex_lock(&h->lock);
    assert(!c->deferred);
    c->deferred = true;
    c->ticket = ++h->last_ticket;
    assay_ticket t = c->ticket;
    pthread_mutex_unlock(&h->lock);
    return t;
}

static void host_resume(void *ctx, assay_ticket t, int status, struct assay_response *rs, const struct assay_err *err)
{
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    for (struct call *c = h->calls; c != NULL; c = c->next) {
        if (c->ticket != t || !c->deferred)
            continue;
        assert(!c->done);
        if (rs != NULL && rs != &c->rs) {
            assay_buf_free(&c->rs.body);
            c->rs = *rs;
        }
        c->rc = status;
        if (err != NULL)
            c->err = *err;
        c->done = true;
    }
    pthread_cond_broadcast(&h->woken);
    pthread_mutex_unlock(&h->lock);
}

static const void *host_need(void *ctx, const char *name, void **provider_self)
{
    return svc_interface(ctx, name, provider_self);
}

static int host_sign_token(void *ctx, struct assay_str sub, struct assay_str role, int64_t epoch, int64_t ttl_s,
                           struct assay_buf *out, struct assay_err *err)
{
    (void)ctx;
    (void)err;
    assay_buf_fmt(out, "signed.%.*s.%.*s.%lld.%lld", ASSAY_FMT(sub), ASSAY_FMT(role), (long long)epoch, (long long)ttl_s);
    return ASSAY_OK;
}

static int host_sign_session(void *ctx, struct assay_str sub, struct assay_str role, int64_t epoch, struct assay_str session, int64_t ttl_s,
                             struct assay_buf *out, struct assay_err *err)
{
    (void)session;
    return host_sign_token(ctx, sub, role, epoch, ttl_s, out, err);
}

static int host_warden_open(void *ctx, struct assay_str driver, struct assay_str image, int64_t timeout_ms, int *fd,
                            struct assay_buf *place, struct assay_err *err)
{
    (void)ctx;
    (void)driver;
    (void)image;
    (void)place;
    (void)timeout_ms;
    (void)fd;
    return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the harness has no boxkeeper");
}

static int host_warden_fate(void *ctx, uint64_t stream, int64_t timeout_ms, bool *outside, struct assay_buf *why,
                            struct assay_err *err)
{
    (void)ctx;
    (void)stream;
    (void)timeout_ms;
    (void)outside;
    (void)why;
    return assay_err_set(err, ASSAY_E_NOT_FOUND, "the harness has no boxkeeper");
}

static int host_sandbox_info(void *ctx, struct assay_buf *out, struct assay_err *err)
{
    (void)ctx;
    (void)err;
    assay_buf_puts(out, "{\"driver\":\"none\"}");
    return ASSAY_OK;
}

/* ---- loading ---------------------------------------------------------------------------------- */

static const struct assay_plugin *load(const char *dir, const char *name)
{
    const char *base = getenv("ASSAY_BUILD_DIR");
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s/.libs/assay_%s.so", base != NULL ? base : ".", dir, name, name);
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (so == NULL)
        die("%s", dlerror());
    const struct assay_plugin *pl = dlsym(so, ASSAY_PLUGIN_SYMBOL);
    if (pl == NULL || pl->magic != ASSAY_PLUGIN_MAGIC || pl->size != sizeof *pl || pl->abi_major != ASSAY_ABI_MAJOR)
        die("%s is no plugin of this ABI", path);
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
        die("psql could not make the schema %s", name + 1);
    svc_option(h, "storage_dsn", dsn);
    return "store_postgres";
}

static struct svc *new_on(const char *dir)
{
    struct svc *h = calloc(1, sizeof *h);
    if (h == NULL)
        die("no memory");
    h->arena = assay_arena_new(0);
    h->json = calloc(MAX_REPLIES, sizeof *h->json);
    if (h->arena == NULL || h->json == NULL)
        die("no memory");
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->woken, NULL);
    assay_buf_init(&h->log, 0);
    if (dir != NULL) {
        snprintf(h->dir, sizeof h->dir, "%s", dir);
    } else {
        const char *tmp = getenv("TMPDIR");
        snprintf(h->dir, sizeof h->dir, "%s/assay-unit-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
        if (mkdtemp(h->dir) == NULL)
            die("mkdtemp %s: %s", h->dir, strerror(errno));
    }
    memory_blobs_init(&h->blobs);
    h->host = (struct assay_host){
        .size = sizeof h->host, .abi_major = ASSAY_ABI_MAJOR, .abi_minor = ASSAY_ABI_MINOR, .ctx = h,
        .log = host_log, .now_ms = host_now_ms, .mono_ns = host_mono_ns, .option_str = host_option_str,
        .option_int = host_option_int, .metric_add = host_metric, .metric_set = host_metric_set,
        .metric_observe = host_metric, .store = &h->store, .blobs = &h->blobs.blobs, .offload = host_offload,
        .after = host_after, .defer = host_defer, .resume = host_resume, .need = host_need,
        .sign_token = host_sign_token, .sign_session = host_sign_session, .warden_open = host_warden_open, .warden_fate = host_warden_fate, .sandbox_info = host_sandbox_info,
        .version = "0.1.0", .instance_id = h->instance, .broker = host_broker, .quit = host_quit};
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
        die("too many options");
    h->option[h->n_options++] = (struct option){strdup(name), strdup(value)};
}

void svc_plugin(struct svc *h, const char *service)
{
    if (h->n_plugins == MAX_PLUGINS)
        die("too many plugins");
    h->plugin[h->n_plugins++] = (struct loaded){.pl = load("services", service), .name = strdup(service)};
}

void svc_provide(struct svc *h, const char *interface, const void *ops, void *self)
{
    if (h->n_given == MAX_PLUGINS)
        die("too many interfaces");
    h->given[h->n_given++] = (struct iface){interface, ops, self};
}

void svc_broker(struct svc *h, const char *name, struct fake_broker *b)
{
    if (h->n_brokers == MAX_BROKERS)
        die("too many brokers");
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
                die("store: init: %s", err.msg);
            l->initialised = true;
            h->store = (struct assay_store){pl->driver, l->self};
            continue;
        }
        if (h->store.ops->migrate(h->store.self, pl->name, pl->migrations.rows, pl->migrations.count, &err) < 0)
            die("%s: migrate: %s", l->name, err.msg);
        if (pl->statements.count != 0 &&
            h->store.ops->prepare(h->store.self, pl->statements.rows, pl->statements.count, &err) < 0)
            die("%s: prepare: %s", l->name, err.msg);
    }
    if (h->store.ops->start(h->store.self, on_committed, h, &err) < 0)
        die("store: start: %s", err.msg);
    if (h->plugin[0].pl->start != NULL && h->plugin[0].pl->start(h->plugin[0].self, &err) < 0)
        die("store: start: %s", err.msg);
    for (size_t i = 1; i < h->n_plugins; i++) {
        struct loaded *l = &h->plugin[i];
        for (uint32_t k = 0; k < l->pl->needs.count; k++) {
            const struct assay_need *need =
                (const void *)((const char *)l->pl->needs.rows + (size_t)k * l->pl->needs.stride);
            if (!need->optional && svc_interface(h, need->name, NULL) == NULL)
                die("%s needs %s, which nothing before it provides", l->name, need->name);
        }
        l->initialised = true; /* fini takes whatever init left */
        if (l->pl->init(&h->host, &l->self, &err) < 0)
            die("%s: init: %s", l->name, err.msg);
    }
    for (size_t i = 0; i < h->n_brokers; i++)
        fake_broker_connect(h->broker[i].broker);
    for (size_t i = 1; i < h->n_plugins; i++) {
        if (h->plugin[i].pl->start != NULL && h->plugin[i].pl->start(h->plugin[i].self, &err) < 0)
            die("%s: start: %s", h->plugin[i].name, err.msg);
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

/* ---- requests ---------------------------------------------------------------------------------- */

static struct assay_str no_header(const struct assay_request *rq, const char *name)
{
    (void)rq;
    (void)name;
    return ASSAY_STR_NULL;
}

/* How many literal segments match, or -1. */
static int match(const char *pattern, const char *path, struct assay_arena *arena, struct assay_str *param)
{
    int literals = 0, n = 0;
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern != '/' || *path != '/')
            return -1;
        pattern++;
        path++;
        size_t pn = strcspn(pattern, "/"), n_path = strcspn(path, "/");
        if (pattern[0] == '{') {
            struct assay_str v = {path, n_path};
            bool uuid_only = pn > 6 && memcmp(pattern + pn - 6, ":uuid}", 6) == 0;
            if (n_path == 0 || n == ASSAY_PATH_PARAMS || !(assay_id_valid(v) || (!uuid_only && assay_slug_valid(v))))
                return -1;
            param[n++] = assay_arena_str(arena, v);
        } else {
            if (pn != n_path || memcmp(pattern, path, pn) != 0)
                return -1;
            literals++;
        }
        pattern += pn;
        path += n_path;
    }
    return *pattern == '\0' && *path == '\0' ? literals : -1;
}

static void render_problem(struct assay_buf *b, int status, const struct call *c)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kint(w, "status", status);
    assay_jw_kz(w, "detail", c->err.msg);
    assay_jw_key(w, "errors");
    assay_jw_array(w);
    for (size_t i = 0; c->rs.faults != NULL && i < c->rs.faults->n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "pointer", c->rs.faults->item[i].pointer);
        assay_jw_kstr(w, "detail", c->rs.faults->item[i].detail);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    if (assay_jw_finish(w, b, NULL) < 0)
        die("no memory");
}

struct svc_reply svc_call(struct svc *h, const struct assay_principal *who, const char *method, const char *target,
                          const char *body)
{
    return svc_call_as(h, who, method, target, body, NULL, NULL);
}

static int run(struct svc *h, struct call *c, const struct assay_principal *who, const char *method, const char *path,
               struct assay_arena *arena)
{
    static const char *const methods[] = {"", "GET", "POST", "PUT", "PATCH", "DELETE"};
    const struct assay_route *best = NULL;
    void *self = NULL;
    int best_literals = -1;
    for (size_t p = 1; p < h->n_plugins; p++) {
        const struct assay_table *t = &h->plugin[p].pl->routes;
        for (uint32_t i = 0; i < t->count; i++) {
            const struct assay_route *r = (const void *)((const char *)t->rows + (size_t)i * t->stride);
            struct assay_str param[ASSAY_PATH_PARAMS] = {{NULL, 0}};
            if (strcmp(methods[r->method], method) != 0)
                continue;
            int literals = match(r->path, path, arena, param);
            if (literals <= best_literals)
                continue;
            best_literals = literals;
            best = r;
            self = h->plugin[p].self;
            memcpy(c->rq.param, param, sizeof param);
        }
    }
    if (best == NULL)
        return assay_err_set(&c->err, ASSAY_E_NOT_FOUND, "no route %s %s", method, path);
    c->rq.route = best;
    if (best->roles != ASSAY_ROLES_PUBLIC) {
        if (!who->authenticated)
            return assay_err_set(&c->err, ASSAY_E_UNAUTHENTICATED, "sign in");
        if (who->agent_id.n != 0) {
            if (best->scope == NULL || memmem(who->scopes.p, who->scopes.n, best->scope, strlen(best->scope)) == NULL)
                return assay_err_set(&c->err, ASSAY_E_FORBIDDEN, "the token lacks the scope");
        } else if ((who->role & best->roles) == 0) {
            return assay_err_set(&c->err, ASSAY_E_FORBIDDEN, "the role may not do this");
        }
    }
    if (c->rq.body.n > best->body_max)
        return assay_err_set(&c->err, ASSAY_E_TOO_LARGE, "the body is too large");
    static const char *const none[] = {NULL};
    int rc = (best->flags & ASSAY_ROUTE_NO_QUERY) != 0 ? assay_query_only(&c->rq, &c->rs, none, &c->err) : 0;
    return rc != 0 ? rc : best->handle(self, &c->rq, &c->rs, &c->err);
}

struct svc_reply svc_call_as(struct svc *h, const struct assay_principal *who, const char *method, const char *target,
                             const char *body, const char *idempotency_key, const char *remote)
{
    if (!h->started)
        die("svc_call before svc_start");
    if (who == NULL)
        who = &nobody;
    struct assay_arena *arena = assay_arena_new(0);
    if (arena == NULL)
        die("no memory");
    struct call c = {.h = h};
    const char *question = strchr(target, '?');
    size_t path_n = question != NULL ? (size_t)(question - target) : strlen(target);
    char *path = assay_arena_z(arena, (struct assay_str){target, path_n});
    c.rq = (struct assay_request){
        .path = assay_str(path),
        .query = question != NULL ? assay_str(question + 1) : ASSAY_STR(""),
        .body = body != NULL ? assay_str(body) : ASSAY_STR(""),
        .content_type = body != NULL ? ASSAY_STR("application/json") : ASSAY_STR(""),
        .idempotency_key = idempotency_key != NULL ? assay_str(idempotency_key) : ASSAY_STR(""),
        .request_id = ASSAY_STR("test-request"),
        .traceparent = ASSAY_STR(""),
        .remote = assay_str(remote != NULL ? remote : "127.0.0.1"),
        .who = who,
        .arena = arena,
        .started_mono_ns = host_mono_ns(h),
        .header = no_header,
        .impl = &c,
    };
    pthread_mutex_lock(&h->lock);
    c.next = h->calls;
    h->calls = &c;
    pthread_mutex_unlock(&h->lock);
    int rc = run(h, &c, who, method, path, arena);
    pthread_mutex_lock(&h->lock);
    if (rc == ASSAY_DEFERRED) {
        assert(c.deferred);
        while (!c.done)
            pthread_cond_wait(&h->woken, &h->lock);
        rc = c.rc;
    } else {
        assert(!c.deferred);
    }
    for (struct call **p = &h->calls; *p != NULL; p = &(*p)->next) {
        if (*p == &c) {
            *p = c.next;
            break;
        }
    }
    pthread_mutex_unlock(&h->lock);

    struct svc_reply r = {.rc = rc};
    pthread_mutex_lock(&h->lock); /* arena and list of replies */
    if (rc < 0) {
        assert(c.err.code == rc);
        r.status = assay_err_http(rc);
        assay_buf_reset(&c.rs.body);
        render_problem(&c.rs.body, r.status, &c);
    } else {
        r.status = c.rs.status != 0 ? c.rs.status : 200;
    }
    for (size_t i = 0; i < c.rs.n_headers; i++) {
        char *v = assay_arena_z(h->arena, c.rs.header[i].value);
        if (assay_str_ieq(c.rs.header[i].key, "location"))
            r.location = v;
        else if (assay_str_ieq(c.rs.header[i].key, "retry-after"))
            r.retry_after = v;
        else if (assay_str_ieq(c.rs.header[i].key, "idempotency-replayed"))
            r.replayed = v;
    }
    r.body = assay_arena_str(h->arena, assay_buf_view(&c.rs.body));
    assay_response_clear(&c.rs);
    assay_arena_free(arena);
    if (r.body.n != 0) {
        json_error_t je;
        r.json = json_loadb(r.body.p, r.body.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
        if (r.json == NULL)
            die("%s %s answered what is not JSON (%s): %.*s", method, target, je.text, ASSAY_FMT(r.body));
        if (h->n_json == MAX_REPLIES)
            die("too many replies");
        h->json[h->n_json++] = r.json;
    }
    pthread_mutex_unlock(&h->lock);
    return r;
}

static json_t *at(const struct svc_reply *r, const char *pointer)
{
    json_t *j = r->json;
    while (j != NULL && *pointer == '/') {
        pointer++;
        size_t n = strcspn(pointer, "/");
        char key[128];
        assert(n < sizeof key);
        memcpy(key, pointer, n);
        key[n] = '\0';
        pointer += n;
        j = json_is_array(j) ? json_array_get(j, strtoul(key, NULL, 10)) : json_object_get(j, key);
    }
    return j;
}

const char *svc_str(const struct svc_reply *r, const char *pointer)
{
    return json_string_value(at(r, pointer));
}
int64_t svc_int(const struct svc_reply *r, const char *pointer)
{
    json_t *j = at(r, pointer);
    return json_is_integer(j) ? json_integer_value(j) : -1;
}
double svc_real(const struct svc_reply *r, const char *pointer)
{
    json_t *j = at(r, pointer);
    return json_is_number(j) ? json_number_value(j) : -1;
}
int svc_len(const struct svc_reply *r, const char *pointer)
{
    json_t *j = at(r, pointer);
    return json_is_array(j) ? (int)json_array_size(j) : json_is_object(j) ? (int)json_object_size(j) : -1;
}
int svc_bool(const struct svc_reply *r, const char *pointer)
{
    json_t *j = at(r, pointer);
    return json_is_boolean(j) ? json_is_true(j) : -1;
}
bool svc_has(const struct svc_reply *r, const char *pointer)
{
    return at(r, pointer) != NULL;
}
bool svc_faulted(const struct svc_reply *r, const char *pointer)
{
    json_t *errors = at(r, "/errors"), *e;
    size_t i;
    json_array_foreach(errors, i, e)
    {
        const char *p = json_string_value(json_object_get(e, "pointer"));
        if (p != NULL && strcmp(p, pointer) == 0)
            return true;
    }
    return false;
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool topic_matches(struct assay_str topic, const char *const *patterns)
{
    if (patterns == NULL)
        return true;
    for (; *patterns != NULL; patterns++) {
        struct assay_str p = assay_str(*patterns);
        if (p.n >= 2 && assay_str_ends(p, ".*") ? topic.n > p.n - 1 && memcmp(topic.p, p.p, p.n - 1) == 0
                                                : assay_str_eq(topic, p))
            return true;
    }
    return false;
}

/* One batch of one durable group, as the host does it: what deliver adds, and the cursor, in one commit. */
static size_t deliver_durable(struct svc *h, struct loaded *l, const struct assay_subscription *s)
{
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    int64_t from = 0;
    struct assay_event_row *ev = NULL;
    size_t n = 0;
    struct assay_str group = assay_str(s->group);
    if (h->store.ops->cursor_get(h->store.self, group, &from, &err) < 0 ||
        h->store.ops->events(h->store.self, from, s->topics, s->batch != 0 ? s->batch : 64, arena, &ev, &n, &err) < 0)
        die("%s: reading events: %s", s->group, err.msg);
    int64_t head = 0;
    if (n == 0 && h->store.ops->events_head(h->store.self, &head, &err) < 0)
        die("events_head: %s", err.msg);
    if (n == 0) { /* what it did not ask for is not read over and over */
        struct assay_tx *skip = assay_tx_new(arena, "skip");
        skip->cursor_group = group;
        skip->cursor_from = from;
        skip->cursor_to = head;
        if (head > from + 1000 && h->store.ops->events(h->store.self, from, s->topics, 1, arena, &ev, &n, &err) == 0 && n == 0 &&
            assay_store_exec(&h->store, skip, &err) < 0)
            die("%s: moving on: %s", s->group, err.msg);
        return 0;
    }
    struct assay_tx *tx;
    for (;;) { /* what does not fit is halved */
        tx = assay_tx_new(arena, "deliver");
        for (size_t i = 0; i < n; i++) {
            if (s->deliver(l->self, &ev[i], tx, &err) < 0)
                die("%s: event %.*s: %s", s->group, ASSAY_FMT(ev[i].ev.topic), err.msg);
        }
        if (s->settle != NULL && s->settle(l->self, ev, n, tx, &err) < 0)
            die("%s: settling: %s", s->group, err.msg);
        if (!tx->failed || n == 1)
            break;
        n /= 2;
    }
    tx->cursor_group = group;
    tx->cursor_from = from;
    tx->cursor_to = ev[n - 1].seq;
    if (assay_store_exec(&h->store, tx, &err) < 0)
        die("%s: delivery: %s", s->group, err.msg);
    return n;
}

void svc_pump(struct svc *h)
{
    struct assay_err err = {0, ""};
    size_t did;
    do {
        did = 0;
        int64_t head = 0;
        if (h->store.ops->events_head(h->store.self, &head, &err) < 0)
            die("events_head: %s", err.msg);
        for (size_t p = 1; p < h->n_plugins; p++) {
            const struct assay_table *t = &h->plugin[p].pl->subscriptions;
            for (uint32_t i = 0; i < t->count; i++) {
                const struct assay_subscription *s = (const void *)((const char *)t->rows + (size_t)i * t->stride);
                if (s->kind == ASSAY_SUB_DURABLE) {
                    did += deliver_durable(h, &h->plugin[p], s);
                } else if (s->kind == ASSAY_SUB_BELL) {
                    if (s->deliver(h->plugin[p].self, NULL, NULL, &err) < 0)
                        die("%s: bell: %s", h->plugin[p].name, err.msg);
                } else {
                    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
                    struct assay_event_row *ev = NULL;
                    size_t n = 0;
                    if (h->store.ops->events(h->store.self, h->local_seen, s->topics, 10000, arena, &ev, &n, &err) < 0)
                        die("reading events: %s", err.msg);
                    for (size_t k = 0; k < n; k++) {
                        if (s->deliver(h->plugin[p].self, &ev[k], NULL, &err) < 0)
                            die("%s: local event: %s", h->plugin[p].name, err.msg);
                    }
                }
            }
        }
        h->local_seen = head;
    } while (did != 0);
}

void svc_publish(struct svc *h, const char *topic, const char *subject, const char *owner, const char *payload)
{
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = assay_tx_new(arena, "test.publish");
    assay_tx_event(tx, (struct assay_event){.topic = assay_str(topic), .subject = assay_str(subject),
                                            .owner = assay_str(owner != NULL ? owner : ""), .benchmark = ASSAY_STR(""),
                                            .payload = assay_str(payload)});
    if (assay_store_exec(&h->store, tx, &err) < 0)
        die("publish: %s", err.msg);
}

static struct assay_event_row *all_events(struct svc *h, size_t *n)
{
    struct assay_err err = {0, ""};
    struct assay_event_row *ev = NULL;
    if (h->store.ops->events(h->store.self, 0, NULL, 10000, h->arena, &ev, n, &err) < 0)
        die("events: %s", err.msg);
    return ev;
}

const struct assay_event_row *svc_event(struct svc *h, const char *topic, size_t skip)
{
    size_t n = 0;
    const char *const patterns[] = {topic, NULL};
    struct assay_event_row *ev = all_events(h, &n);
    while (n-- > 0) {
        if (topic_matches(ev[n].ev.topic, patterns) && skip-- == 0)
            return &ev[n];
    }
    return NULL;
}

size_t svc_count_events(struct svc *h, const char *topic)
{
    size_t n = 0, count = 0;
    const char *const patterns[] = {topic, NULL};
    struct assay_event_row *ev = all_events(h, &n);
    for (size_t i = 0; i < n; i++)
        count += topic_matches(ev[i].ev.topic, patterns);
    return count;
}

/* ---- looking inside ------------------------------------------------------------------------------ */

void *svc_self(struct svc *h, const char *service)
{
    for (size_t i = 0; i < h->n_plugins; i++) {
        if (strcmp(h->plugin[i].name, service) == 0)
            return h->plugin[i].self;
    }
    die("no plugin %s", service);
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
    die("no plugin %s that says whether it is ready", service);
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
