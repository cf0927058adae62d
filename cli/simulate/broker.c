/*
 * Over a broker: scripts go out on its WORK channel, results come in on RESULTS.
 *
 * The server's own drivers are loaded (plugins/sdk/assay/broker.h), by a host that lends just what a driver needs: a log on
 * standard error, clocks, and its options, from --set, then the environment as the server reads it, then the driver's
 * defaults.  This file is the only one of the client that sees the SDK.
 *
 * A message counts as accepted when the broker has confirmed it.  One whose confirmation failed is sent again under
 * the same id: two of it may then be there, so the same verdict twice is no difference for it.  Threads: the driver calls
 * deliver and published on threads of its own; both touch the ledger and nothing else.
 */
#include "simulate.h"

#include <limits.h>
#include <stdatomic.h>
#include <unistd.h>

#include <assay/broker.h>
#include <assay/hosting.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define IN_FLIGHT 1000

struct path {
    struct sim_settings *s;
    struct assay_host host;
    const struct assay_plugin *plugin;
    const struct assay_broker_ops *ops;
    void *driver;
    bool begun; /* init was called: fini takes what it left */
    atomic_size_t unconfirmed;
    double told_s;
    char *group; /* an option that is made up for this run */
};

/* What `published` is given. */
struct parcel {
    struct path *path;
    size_t at;
};

/* ---- the host ---- */

static void host_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    const struct path *p = ctx;

    if (level < ASSAY_LOG_WARN || !p->s->verbose)
        return;
    fprintf(stderr, "assay: %s: %s", p->s->via, event);
    for (size_t i = 0; i < n; i++) {
        fprintf(stderr, " %s=", kv[i].key);
        if (kv[i].type == 's')
            term_text(stderr, kv[i].s.p != NULL ? kv[i].s.p : "", kv[i].s.n, false, NULL);
        else if (kv[i].type == 'i')
            fprintf(stderr, "%lld", (long long)kv[i].i);
        else
            fprintf(stderr, "%g", kv[i].r);
    }
    fputc('\n', stderr);
}

static int64_t host_now(void *ctx)
{
    (void)ctx;
    return assay_now_ms();
}

static int64_t host_mono(void *ctx)
{
    (void)ctx;
    return assay_mono_ns();
}

static void host_metric(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    (void)ctx, (void)m, (void)labels, (void)v;
}

static const struct assay_option *option_of(const struct path *p, const char *name, size_t n)
{
    for (uint32_t i = 0; i < p->plugin->options.count; i++) {
        const struct assay_option *o = assay_table_row(&p->plugin->options, i);

        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
            return o;
    }
    return NULL;
}

/* "KAFKA_BROKERS,BROKERS": the first that is set. */
static const char *from_env(const struct assay_option *o)
{
    char name[128] = "ASSAY_";
    size_t n = strlen(name);
    const char *v, *more = o->env;

    for (const char *c = o->name; *c != '\0' && n < sizeof(name) - 1; c++)
        name[n++] = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    name[n] = '\0';
    v = getenv(name);
    while ((v == NULL || v[0] == '\0') && more != NULL && more[0] != '\0') {
        n = strcspn(more, ",");
        snprintf(name, sizeof(name), "%.*s", (int)(n < sizeof(name) ? n : sizeof(name) - 1), more);
        v = getenv(name);
        more += n;
        more += *more == ',';
    }
    return v != NULL && v[0] != '\0' ? v : NULL;
}

static const char *given(const struct path *p, const struct assay_option *o)
{
    size_t n = strlen(o->name);

    for (size_t i = p->s->set_n; i > 0; i--)
        if (strncmp(p->s->set[i - 1], o->name, n) == 0 && p->s->set[i - 1][n] == '=')
            return p->s->set[i - 1] + n + 1;
    return from_env(o);
}

static const char *host_option_str(void *ctx, const char *name)
{
    const struct path *p = ctx;
    const struct assay_option *o = option_of(p, name, strlen(name));
    const char *v = o != NULL ? given(p, o) : NULL;

    if (v == NULL && p->group != NULL && strcmp(name, "kafka_results_group") == 0)
        v = p->group;
    return v != NULL ? v : o != NULL && o->default_text != NULL ? o->default_text : "";
}

/* The number that a text is for an option, by its type; err names the option. */
static int option_number(const struct path *p, const struct assay_option *o, const char *text, int64_t *out, struct assay_err *err)
{
    int64_t unit = ASSAY_ROW_COVERS(&p->plugin->options, struct assay_option, bare_unit_ms) && o->bare_unit_ms > 0 ? o->bare_unit_ms : 1000;
    struct assay_str s = assay_str(text);
    bool b = false;
    int rc = 0;

    *out = 0;
    switch (o->type) {
    case ASSAY_OPT_BOOL:
        rc = assay_parse_bool(s, &b, err);
        *out = b;
        break;
    case ASSAY_OPT_DURATION:
        rc = assay_parse_duration_ms(s, unit, out, err);
        break;
    case ASSAY_OPT_BYTES:
        rc = assay_parse_bytes(s, out, err);
        break;
    case ASSAY_OPT_INT:
        rc = assay_parse_i64(s, INT64_MIN, INT64_MAX, out, err);
        break;
    case ASSAY_OPT_STRING:
    case ASSAY_OPT_CHOICE:
        return 0;
    }
    if (rc < 0)
        return assay_err_prefix(err, "%s", o->name);
    if ((o->min != 0 || o->max != 0) && (*out < o->min || *out > o->max))
        return assay_err_set(err, ASSAY_E_CONFIG, "%s must be from %lld to %lld", o->name, (long long)o->min, (long long)o->max);
    return 0;
}

static int64_t host_option_int(void *ctx, const char *name)
{
    const struct path *p = ctx;
    const struct assay_option *o = option_of(p, name, strlen(name));
    int64_t v = 0;

    if (o == NULL || option_number(p, o, host_option_str(ctx, name), &v, NULL) < 0)
        return 0; /* options_check has refused it already */
    return v;
}

static int options_check(struct path *p)
{
    struct assay_err err;
    int64_t v;

    for (size_t i = 0; i < p->s->set_n; i++) {
        const char *set = p->s->set[i];
        size_t n = strcspn(set, "=");

        if (set[n] == '\0')
            return cli_usage(p->s->cmd, "--set wants NAME=VALUE, not %.60s", set);
        if (option_of(p, set, n) == NULL) {
            term_error("the driver %s has no option %.*s; it has:", p->plugin->name, (int)(n < 60 ? n : 60), set);
            for (uint32_t k = 0; k < p->plugin->options.count; k++) {
                const struct assay_option *o = assay_table_row(&p->plugin->options, k);

                term_note("  %s (%s): %s", o->name, o->default_text != NULL ? o->default_text : "", o->help != NULL ? o->help : "");
            }
            return CLI_USAGE;
        }
    }
    for (uint32_t k = 0; k < p->plugin->options.count; k++) {
        const struct assay_option *o = assay_table_row(&p->plugin->options, k);
        const char *text = given(p, o);

        if (text != NULL && option_number(p, o, text, &v, &err) < 0) {
            term_error("%s", err.msg);
            return CLI_USAGE;
        }
    }
    return CLI_OK;
}

/* ---- loading ---- */

static char *plugin_folders(const struct sim_settings *s)
{
    static const char bindir[] = ASSAY_BINDIR "/assay";
    const char *env = getenv("ASSAY_PLUGIN_PATH");
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    size_t tail = sizeof(bindir) - 1, len = n > 0 ? (size_t)n : 0;

    if (s->plugins != NULL || (env != NULL && env[0] != '\0'))
        return cli_strdup(s->plugins != NULL ? s->plugins : env);
    exe[len] = '\0';
    /* an install that was moved as a whole finds its own */
    return cli_fmt("%.*s" ASSAY_PLUGINSDIR, len >= tail && strcmp(exe + len - tail, bindir) == 0 ? (int)(len - tail) : 0, exe);
}

static int load(struct path *p)
{
    CLI_CLEANUP_STR char *folders = plugin_folders(p->s);
    CLI_CLEANUP_STR char *name = cli_fmt("broker_%s", p->s->via);
    CLI_CLEANUP_STR char *file = cli_fmt("/%s.so", name);
    CLI_CLEANUP_STR char *ours = cli_fmt("/assay_%s.so", name); /* as this project's are installed */
    struct assay_plugin_paths paths = {NULL, 0};
    struct assay_err err;
    int rc = CLI_OK;

    if (assay_plugin_scan(folders, &paths, &err) < 0) {
        term_error("%s", err.msg);
        return CLI_LOCAL;
    }
    for (size_t i = 0; i < paths.n && p->plugin == NULL && rc == CLI_OK; i++) {
        const char *slash = strrchr(paths.path[i], '/');

        if (slash == NULL || (strcmp(slash, file) != 0 && strcmp(slash, ours) != 0))
            continue;
        if (assay_plugin_load(paths.path[i], &p->plugin, &err) < 0) {
            term_error("%s", err.msg);
            rc = CLI_LOCAL;
        }
    }
    assay_plugin_paths_free(&paths);
    if (rc != CLI_OK)
        return rc;
    if (p->plugin == NULL) {
        term_error("there is no driver %s in %s", name, folders);
        term_note("It is built where its library is installed (packaging/install-deps build). Another folder: --plugins DIR.");
        return CLI_USAGE;
    }
    if (p->plugin->kind != ASSAY_PLUGIN_BROKER || p->plugin->driver == NULL) {
        term_error("%s is no broker's driver", name);
        return CLI_LOCAL;
    }
    p->ops = p->plugin->driver;
    return CLI_OK;
}

/* ---- what comes in ---- */

/* Whole on its own line in the log of what cannot be read. */
static void unreadable(struct path *p, const struct assay_message *m, const char *why)
{
    ledger_note(p->s->ledger, json_pack("{s:s, s:s%, s:s}", "event", "unreadable", "message", m->name.p, m->name.n, "detail", why));
}

static int deliver(void *arg, uint64_t tag, const struct assay_message *m)
{
    struct path *p = arg;
    json_error_t e;
    CLI_CLEANUP_JSON json_t *result = json_loadb(m->body.p, m->body.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    const char *id = js_str(result, "id"), *status = js_str(result, "status"), *error = js_str(result, "error");

    if (result == NULL || id[0] == '\0')
        unreadable(p, m, result == NULL ? e.text : "a result without an id");
    else
        (void)ledger_result(p->s->ledger, id, status[0] != '\0' ? status : error[0] != '\0' ? "IE" : "?", -1, js_str(result, "event_id"),
                            error[0] != '\0' ? error : js_str(result, "stderr"));
    p->ops->settle(p->driver, tag, ASSAY_SETTLE_DONE, ASSAY_STR(""));
    return ASSAY_OK;
}

static void lost(void *arg, uint64_t tag)
{
    (void)arg, (void)tag; /* it comes again, and the ledger knows it then */
}

/* ---- what goes out ---- */

static void published(void *arg, int status, const struct assay_err *err)
{
    struct parcel *parcel = arg;
    struct path *p = parcel->path;

    if (status == ASSAY_OK)
        ledger_accepted(p->s->ledger, parcel->at, NULL);
    else if (status == ASSAY_E_GONE)
        ledger_refused(p->s->ledger, parcel->at, err != NULL ? err->msg : "the broker will not take it");
    else
        ledger_again(p->s->ledger, parcel->at);
    free(parcel);
    atomic_fetch_sub(&p->unconfirmed, 1);
}

static char *script_of(const struct path *p, const struct sim_entry *e)
{
    CLI_CLEANUP_STR char *source = sim_program(e->language, e->outcome, p->s->unique ? e->id : NULL);
    const struct sim_outcome *o = &sim_outcomes[e->outcome];
    CLI_CLEANUP_JSON json_t *script =
        json_pack("{s:s, s:s, s:s, s:s, s:{s:I, s:I}}", "type", "script", "id", e->id, "language", sim_languages[e->language],
                  "source", source, "limits", "time_limit_ms", (json_int_t)o->limits.time_ms, "memory_limit_bytes",
                  o->limits.memory_bytes);

    if (o->tests && json_object_set_new(script, "tests", sim_tests_json(true)) != 0)
        return NULL;
    return script != NULL ? json_dumps(script, JSON_COMPACT) : NULL;
}

static int publish_broker(void *self, const size_t *at, size_t n)
{
    struct path *p = self;

    for (size_t i = 0; i < n; i++) {
        struct parcel *parcel = malloc(sizeof(*parcel));
        struct sim_entry e = ledger_entry(p->s->ledger, at[i]);
        CLI_CLEANUP_STR char *body = script_of(p, &e);
        struct assay_err err;
        int rc;

        if (parcel == NULL || body == NULL) {
            free(parcel);
            term_error("no memory");
            return CLI_LOCAL;
        }
        *parcel = (struct parcel){p, at[i]};
        const struct assay_publication out = {.channel = ASSAY_CHANNEL_WORK, .key = assay_str(e.id), .body = assay_str(body)};

        ledger_sent(p->s->ledger, at[i]);
        atomic_fetch_add(&p->unconfirmed, 1);
        rc = p->ops->publish(p->driver, &out, published, parcel, &err);
        if (rc == ASSAY_OK)
            continue;
        atomic_fetch_sub(&p->unconfirmed, 1);
        free(parcel);
        ledger_unsent(p->s->ledger, at[i]);
        if (rc == ASSAY_E_BUSY)
            return CLI_OK;
        term_error("%s cannot publish: %s", p->s->via, err.msg);
        return rc == ASSAY_E_UNSUPPORTED ? CLI_USAGE : CLI_UNREACHABLE;
    }
    return CLI_OK;
}

/* ---- the path ---- */

static int failed(const struct path *p, const char *what, const struct assay_err *err)
{
    term_error("%s %s: %s", p->s->via, what, err->msg);
    return err->code == ASSAY_E_CONFIG || err->code == ASSAY_E_INVALID ? CLI_USAGE : CLI_LOCAL;
}

static int open_broker(struct sim_settings *s, void **self)
{
    struct path *p = calloc(1, sizeof(*p));
    struct assay_broker_sink sink = {.arg = p, .deliver = deliver, .lost = lost};
    struct assay_err err = {.code = 0, .msg = ""};
    int rc;

    if (p == NULL) {
        term_error("no memory");
        return CLI_LOCAL;
    }
    *self = p;
    p->s = s;
    p->group = cli_fmt("assay-simulate-%s", s->run);
    p->told_s = 5;
    p->host = (struct assay_host){.size = sizeof(p->host), .abi_major = ASSAY_ABI_MAJOR, .abi_minor = ASSAY_ABI_MINOR, .ctx = p,
        .log = host_log, .now_ms = host_now, .mono_ns = host_mono, .option_str = host_option_str, .option_int = host_option_int,
        .metric_add = host_metric, .metric_set = host_metric, .metric_observe = host_metric, .version = CLI_VERSION,
        .instance_id = s->run};
    rc = load(p);
    if (rc == CLI_OK)
        rc = options_check(p);
    if (rc != CLI_OK)
        return rc;
    p->begun = true;
    if (p->plugin->init(&p->host, &p->driver, &err) < 0)
        return failed(p, "cannot be used", &err);
    if (p->plugin->start != NULL && p->plugin->start(p->driver, &err) < 0)
        return failed(p, "cannot be started", &err);
    if (p->ops->consume(p->driver, ASSAY_CHANNEL_RESULTS, &sink, IN_FLIGHT, &err) < 0)
        return failed(p, "brings no results", &err);
    return CLI_OK;
}

static int poll_broker(void *self, double wait_s)
{
    struct path *p = self;
    struct ledger_totals t;
    struct assay_err err = {.code = 0, .msg = ""};
    double now = ledger_now(p->s->ledger);

    ledger_wait(p->s->ledger, wait_s);
    ledger_totals(p->s->ledger, &t);
    if (t.open > 0 && now - t.progress_s > 5 && now > p->told_s && p->s->verbose) { /* why it takes so long, if the driver knows */
        p->told_s = now + 15;
        if (p->ops->health(p->driver, &err) < 0)
            term_note("%s: %s", p->s->via, err.msg);
    }
    return CLI_OK;
}

static void done_sent(void *arg, int status, const struct assay_err *err)
{
    struct path *p = arg;

    if (status != ASSAY_OK)
        term_note("The last message, \"done\", was not confirmed: %s", err != NULL ? err->msg : "");
    atomic_fetch_sub(&p->unconfirmed, 1);
}

static int finish_broker(void *self)
{
    struct path *p = self;
    const struct assay_publication out = {.channel = ASSAY_CHANNEL_WORK, .key = ASSAY_STR("done"),
                                          .body = ASSAY_STR("{\"type\":\"done\"}")};
    struct assay_err err;
    double end = ledger_now(p->s->ledger) + p->s->linger_s;

    if (p->s->send_done) {
        atomic_fetch_add(&p->unconfirmed, 1);
        if (p->ops->publish(p->driver, &out, done_sent, p, &err) < 0) {
            atomic_fetch_sub(&p->unconfirmed, 1);
            term_error("%s cannot publish: %s", p->s->via, err.msg);
            return CLI_UNREACHABLE;
        }
    }
    while (ledger_now(p->s->ledger) < end || (atomic_load(&p->unconfirmed) > 0 && ledger_now(p->s->ledger) < end + 10))
        ledger_wait(p->s->ledger, 0.1);
    return CLI_OK;
}

static void close_broker(void *self)
{
    struct path *p = self;

    if (p == NULL)
        return;
    if (p->begun) {
        if (p->driver != NULL)
            p->ops->quiet(p->driver);
        if (p->driver != NULL && p->plugin->drain != NULL)
            p->plugin->drain(p->driver);
        p->plugin->fini(p->driver);
    }
    free(p->group);
    free(p);
}

const struct sim_path sim_path_broker = {open_broker, publish_broker, poll_broker, finish_broker, close_broker};
