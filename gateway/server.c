/*
 * Theory of operation.
 *
 * Start: options and plugins → privileges given up → log, metrics, pool, topics → boxes → store, blob
 * and broker drivers → migrations and statements of every service → init in the order of needs → gate →
 * subscriptions → the store's writer → start of every service → deliveries → HTTP.  A step that fails
 * unwinds what was done, and the process exits with EX_CONFIG, because the same start would fail again.
 *
 * Stop, once and in this order: no new connections, requests under way end → services drain (leases go
 * back) → brokers drain → deliveries end → workers end → the writer flushes → fini in reverse.  Each step has a bound;
 * together they have drain_timeout, and the supervisor kills what exceeds it.
 *
 * The main thread does all of this and in between only waits for a signal or the supervisor's end.
 */
#include "keys.h"
#include "server_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include <assay/boxkeeper_wire.h>
#include <assay/events.h>
#include <assay/json.h>
#include <assay/value.h>

#include "core_routes.h"
#include "reserve.h"
#include "tls.h"

#define LAST_DESCRIPTORS 32
#define SHORT_FOR_S 3
#define EXIT_WORN 75 /* after an orderly end that nobody asked for: the supervisor starts another server */

/* Behind a plugin's host: the server, and whose host it is. */
struct lent {
    struct assay_server *server;
    struct assay_plugin_entry *entry;
};

/* ---- what the host lends ------------------------------------------------------------------------ */

static void lent_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    struct lent *l = ctx;
    assay_log_write(l->server->log, level, l->entry->p->name, event, kv, n);
}
static int64_t lent_now_ms(void *ctx)
{
    (void)ctx;
    return assay_now_ms();
}
static int64_t lent_mono_ns(void *ctx)
{
    (void)ctx;
    return assay_mono_ns();
}
static const char *lent_option_str(void *ctx, const char *name)
{
    return assay_config_str(((struct lent *)ctx)->server->setup.config, name);
}
static int64_t lent_option_int(void *ctx, const char *name)
{
    return assay_config_int(((struct lent *)ctx)->server->setup.config, name);
}
static void lent_metric_add(void *ctx, const struct assay_metric *m, const char *const *labels, double by)
{
    assay_metrics_add(((struct lent *)ctx)->server->metrics, m, labels, by);
}
static void lent_metric_set(void *ctx, const struct assay_metric *m, const char *const *labels, double to)
{
    assay_metrics_set(((struct lent *)ctx)->server->metrics, m, labels, to);
}
static void lent_metric_observe(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    assay_metrics_observe(((struct lent *)ctx)->server->metrics, m, labels, v);
}
static int lent_offload(void *ctx, void (*fn)(void *arg), void *arg)
{
    return assay_pool_submit(((struct lent *)ctx)->server->pool, fn, arg);
}
static int lent_after(void *ctx, int64_t delay_ms, void (*fn)(void *arg), void *arg)
{
    return assay_pool_after(((struct lent *)ctx)->server->pool, delay_ms, fn, NULL, arg);
}
static assay_ticket lent_defer(void *ctx, struct assay_request *rq)
{
    (void)ctx;
    return assay_front_defer(rq);
}
static void lent_resume(void *ctx, assay_ticket t, int status, struct assay_response *rs, const struct assay_err *err)
{
    assay_front_resume(((struct lent *)ctx)->server->front, t, status, rs, err);
}
static int lent_stream_begin(void *ctx, assay_ticket t, struct assay_response *rs, void (*writable)(void *arg), void *arg,
                             struct assay_err *err)
{
    return assay_front_stream_begin(((struct lent *)ctx)->server->front, t, rs, writable, arg, err);
}
static int lent_stream_write(void *ctx, assay_ticket t, const void *p, size_t n, int64_t wait_ms)
{
    return assay_front_stream_write(((struct lent *)ctx)->server->front, t, p, n, wait_ms);
}
static void lent_stream_end(void *ctx, assay_ticket t, int status)
{
    assay_front_stream_end(((struct lent *)ctx)->server->front, t, status);
}
static const void *lent_need(void *ctx, const char *name, void **provider_self)
{
    struct lent *l = ctx;
    const struct assay_interface *row = NULL;
    struct assay_plugin_entry *from = assay_plugins_provider(&l->server->setup.plugins, name, &row);
    if (from == NULL || !from->ready)
        return NULL;
    *provider_self = from->self;
    return row->ops;
}
static int lent_sign_token(void *ctx, struct assay_str sub, struct assay_str role, int64_t epoch, int64_t ttl_s,
                           struct assay_buf *out, struct assay_err *err)
{
    return assay_gate_sign(((struct lent *)ctx)->server->gate, sub, role, epoch, ttl_s, out, err);
}
static int lent_sign_session(void *ctx, struct assay_str sub, struct assay_str role, int64_t epoch, struct assay_str session, int64_t ttl_s,
                             struct assay_buf *out, struct assay_err *err)
{
    return assay_gate_sign_session(((struct lent *)ctx)->server->gate, sub, role, epoch, session, ttl_s, out, err);
}
static int lent_warden_open(void *ctx, struct assay_str driver, struct assay_str image, int64_t timeout_ms, int *fd,
                            struct assay_buf *place, struct assay_err *err)
{
    return assay_boxes_open(((struct lent *)ctx)->server->boxes, driver, image, timeout_ms, fd, place, err);
}
static int lent_warden_fate(void *ctx, uint64_t stream, int64_t timeout_ms, bool *outside, struct assay_buf *why,
                            struct assay_err *err)
{
    return assay_boxes_fate(((struct lent *)ctx)->server->boxes, stream, timeout_ms, outside, why, err);
}
static int lent_sandbox_info(void *ctx, struct assay_buf *out, struct assay_err *err)
{
    return assay_boxes_ask(((struct lent *)ctx)->server->boxes, ASSAY_BK_INFO, 10000, out, err);
}

/* Every operation of the first broker.h; a driver that has less was built for nothing that we know. */
static int broker_ops_whole(const struct assay_plugin_entry *e, struct assay_err *err)
{
    const struct assay_broker_ops *ops = e->p->driver;
    const size_t least = offsetof(struct assay_broker_ops, health) + sizeof ops->health;
    return ops->size >= least ? 0 : assay_err_set(err, ASSAY_E_CONFIG, "broker driver %s has %u bytes of operations and needs %zu",
                                                  e->p->name, ops->size, least);
}
static int lent_broker(void *ctx, struct assay_str name, struct assay_broker *out, struct assay_err *err)
{
    const struct lent *l = ctx;
    char plugin[80];
    (void)snprintf(plugin, sizeof plugin, "broker_%.*s", (int)(name.n > 70 ? 70 : name.n), name.p != NULL ? name.p : "");
    const struct assay_plugin_entry *e = assay_plugins_find(&l->server->setup.plugins, plugin);
    if (e == NULL || !e->ready || e->p->kind != ASSAY_PLUGIN_BROKER)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the broker %.*s is not configured", ASSAY_FMT(name));
    return assay_timed_broker(l->server->timed, e->p->name + strlen("broker_"), (struct assay_broker){e->p->driver, e->self}, out, err);
}
static void lent_quit(void *ctx, const char *why)
{
    const struct lent *l = ctx;
    if (!atomic_exchange(&l->server->quitting, true)) {
        struct assay_bk_packet done = {.type = ASSAY_BK_DONE};
        ASSAY_LOG(l->server->log, ASSAY_LOG_INFO, l->entry->p->name, "quit", ASSAY_KZ("reason", why));
        (void)!assay_bk_send(ASSAY_SERVER_CONTROL_FD, &done, -1, NULL);
    }
}

static bool lent_trace_child(void *ctx, struct assay_str parent, char out[ASSAY_TRACEPARENT])
{
    return assay_otlp_child(((const struct lent *)ctx)->server->otlp, parent, out);
}
static void lent_span(void *ctx, const struct assay_span *span)
{
    assay_otlp_span(((const struct lent *)ctx)->server->otlp, span);
}
static int lent_mail(void *ctx, const struct assay_letter *mail, struct assay_err *err)
{
    const struct lent *l = ctx;
    const struct assay_server *s = l->server;
    return s->mail != NULL ? s->mail->send(s->mail_self, mail, err) : assay_err_set(err, ASSAY_E_NOT_FOUND, "no mail is configured");
}

static int lend(struct assay_server *s, struct assay_plugin_entry *e, struct assay_err *err)
{
    struct lent *l = calloc(1, sizeof *l);
    if (l == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    l->server = s;
    l->entry = e;
    e->ctx = l;
    bool service = e->p->kind == ASSAY_PLUGIN_SERVICE;
    e->host = (struct assay_host){
        .size = sizeof(struct assay_host),
        .abi_major = ASSAY_ABI_MAJOR,
        .abi_minor = ASSAY_ABI_MINOR,
        .ctx = l,
        .log = lent_log,
        .now_ms = lent_now_ms,
        .mono_ns = lent_mono_ns,
        .option_str = lent_option_str,
        .option_int = lent_option_int,
        .metric_add = lent_metric_add,
        .metric_set = lent_metric_set,
        .metric_observe = lent_metric_observe,
        .store = service ? &s->lent_store : NULL,
        .blobs = service ? &s->lent_blobs : NULL,
        .offload = lent_offload,
        .after = lent_after,
        .defer = lent_defer,
        .resume = lent_resume,
        .need = lent_need,
        .sign_token = lent_sign_token,
        .warden_open = lent_warden_open,
        .warden_fate = lent_warden_fate,
        .sandbox_info = lent_sandbox_info,
        .version = PACKAGE_VERSION,
        .instance_id = s->instance_id,
        .stream_begin = lent_stream_begin,
        .stream_write = lent_stream_write,
        .stream_end = lent_stream_end,
        .broker = lent_broker,
        .quit = lent_quit,
        .trace_child = lent_trace_child,
        .span = lent_span,
        .sign_session = lent_sign_session,
        .mail = lent_mail,
    };
    return 0;
}

struct assay_server *assay_server_of(const struct assay_host *host)
{
    return ((struct lent *)host->ctx)->server;
}

/* ---- the start ------------------------------------------------------------------------------------ */

static int give_up_privileges(struct assay_server *s, struct assay_err *err)
{
    if (geteuid() == 0 && s->uid != 0) {
        if (setgroups(0, NULL) != 0 || setresgid(s->gid, s->gid, s->gid) != 0 || setresuid(s->uid, s->uid, s->uid) != 0)
            return assay_err_errno(err, ASSAY_E_CONFIG, errno, "cannot become uid %u", (unsigned)s->uid);
        if (setuid(0) == 0)
            return assay_err_set(err, ASSAY_E_INTERNAL, "root could be regained");
    }
    /* Also where the user stays: none of the kernel's powers. */
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    if (syscall(SYS_capset, &head, none) != 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "cannot give up capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "cannot set no_new_privs");
    /* a change of user clears it */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return assay_err_errno(err, ASSAY_E_INTERNAL, errno, "cannot tie the server's life to the supervisor's");
    umask(077);
    return 0;
}

/* Makes the random secret of this data directory. */
static int make_secret(struct assay_server *s, const char *path, struct assay_err *err)
{
    char draft[PATH_MAX + 8], text[65];
    (void)snprintf(draft, sizeof draft, "%s.new", path);
    (void)unlink(draft);
    int out = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assay_random_hex(text, 32);
    bool written = out >= 0 && write(out, text, 64) == 64 && fsync(out) == 0;
    explicit_bzero(text, sizeof text);
    if (out >= 0)
        close(out);
    if (!written || rename(draft, path) != 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "cannot write %s", path);
    ASSAY_LOG(s->log, ASSAY_LOG_INFO, "server", "signing_secret_made", ASSAY_KZ("path", path));
    return 0;
}

/* The configured secrets, those of the configured file, or those of this data directory, which whoever comes first makes. */
static int signing_keys(struct assay_server *s, struct assay_keys *keys, struct assay_err *err)
{
    const struct assay_config *c = s->setup.config;
    const char *given = assay_config_str(c, "jwt_signing_secret"), *file = assay_config_str(c, "jwt_secrets_file");
    char path[PATH_MAX];
    if (given[0] != '\0') {
        int rc = assay_keys_parse(keys, assay_str(given), '\0', "jwt_signing_secret", err);
        return rc == 0 ? assay_keys_parse(keys, assay_str(assay_config_str(c, "jwt_previous_secrets")), ',', "jwt_previous_secrets", err) : rc;
    }
    (void)snprintf(path, sizeof path, "%s/jwt.secret", assay_config_str(c, "data_dir"));
    int rc = assay_keys_read(keys, file[0] != '\0' ? file : path, err);
    if (rc == ASSAY_E_NOT_FOUND && file[0] == '\0') {
        rc = make_secret(s, path, err);
        if (rc == 0)
            rc = assay_keys_read(keys, path, err);
    }
    /* the one that was made here has its length, in development too */
    for (size_t i = 0; rc == 0 && file[0] == '\0' && i < keys->n; i++)
        if (assay_secret_reveal(keys->key[i].secret).n < ASSAY_SIGNING_SECRET_MIN)
            rc = assay_err_set(err, ASSAY_E_CORRUPT, "%s is damaged: delete it to make a new one (all must sign in again)", path);
    return rc == ASSAY_E_NOT_FOUND ? assay_err_set(err, ASSAY_E_CONFIG, "jwt_secrets_file: there is no %s", file) : rc;
}

/* What is to be known about the certificate in use, as loud as it matters. */
static void tell_certificate(struct assay_server *s, const char *event)
{
    struct assay_tls_facts f;
    int64_t now = assay_now_ms() / 1000;
    char ends[ASSAY_TIME_SIZE];
    assay_tls_facts_get(s->tls, &f);
    assay_time_format(f.not_after_s * 1000, ends);
    ASSAY_LOG(s->log, ASSAY_LOG_INFO, "server", event, ASSAY_KZ("subject", f.subject), ASSAY_KZ("names", f.names), ASSAY_KZ("serial", f.serial),
              ASSAY_KI("chain", f.chain), ASSAY_KZ("ends", ends));
    enum assay_tls_state state = assay_tls_judge(&f, now);
    if (state == ASSAY_TLS_ENDED || state == ASSAY_TLS_NOT_YET)
        ASSAY_LOG(s->log, ASSAY_LOG_ERROR, "server", state == ASSAY_TLS_ENDED ? "tls_certificate_ended" : "tls_certificate_not_yet_valid", ASSAY_KZ("ends", ends),
                  ASSAY_KZ("effect", "clients refuse to connect"),
                  ASSAY_KZ("remedy", state == ASSAY_TLS_ENDED ? "renew it, put it where tls_cert_file says, and send SIGHUP (systemctl reload assayd)"
                                                              : "check this machine's clock, and from when the certificate is valid"));
    else if (state == ASSAY_TLS_ENDS_SOON)
        ASSAY_LOG(s->log, ASSAY_LOG_WARN, "server", "tls_certificate_ends_soon", ASSAY_KZ("ends", ends), ASSAY_KI("days", (f.not_after_s - now) / 86400),
                  ASSAY_KZ("remedy", "renew it, put it where tls_cert_file says, and send SIGHUP (systemctl reload assayd)"));
    if (f.key_exposed)
        ASSAY_LOG(s->log, ASSAY_LOG_WARN, "server", "tls_key_exposed", ASSAY_KZ("path", assay_config_str(s->setup.config, "tls_key_file")),
                  ASSAY_KZ("effect", "anyone on this machine can pose as this server"), ASSAY_KZ("remedy", "chmod 640, with the group of the server's user"));
}

static int make_tls(struct assay_server *s, struct assay_err *err)
{
    if (s->tls_listeners == 0)
        return 0;
    struct assay_tls_config cfg = assay_setup_tls(s->setup.config);
    int rc = assay_tls_new(&cfg, &s->tls, err);
    if (rc == 0)
        tell_certificate(s, "tls_certificate_read");
    return rc;
}

static void reload_tls(struct assay_server *s)
{
    struct assay_err err = {0};
    bool changed = false;
    if (s->tls == NULL)
        return;
    int rc = assay_tls_reload(s->tls, &changed, &err);
    atomic_fetch_add(rc == 0 ? &s->tls_reloads : &s->tls_reloads_failed, 1);
    if (rc != 0)
        ASSAY_LOG(s->log, ASSAY_LOG_ERROR, "server", "tls_certificate_not_reloaded", ASSAY_KZ("error", err.msg),
                  ASSAY_KZ("effect", "the one that was read before stays in use"));
    else
        tell_certificate(s, changed ? "tls_certificate_replaced" : "tls_certificate_unchanged");
}

/* SIGHUP: what is in files is read again; what is wrong with one is said, and the old stays in use. */
static void reload(struct assay_server *s)
{
    reload_tls(s);
    struct assay_keys keys = {.n = 0};
    struct assay_err err = {0};
    bool changed = false;
    int rc = signing_keys(s, &keys, &err);
    if (rc == 0)
        rc = assay_gate_rekey(s->gate, keys.key, keys.n, &changed, &err);
    if (rc != 0)
        ASSAY_LOG(s->log, ASSAY_LOG_ERROR, "server", "signing_keys_not_reloaded", ASSAY_KZ("error", err.msg));
    else
        ASSAY_LOG(s->log, ASSAY_LOG_INFO, "server", "signing_keys_reloaded", ASSAY_KI("keys", (int64_t)keys.n),
                  ASSAY_KZ("signs", assay_gate_signs(s->gate)), ASSAY_KZ("changed", changed ? "yes" : "no"));
    assay_keys_clear(&keys);
}

static int init_plugin(struct assay_server *s, struct assay_plugin_entry *e, struct assay_err *err)
{
    int rc = assay_metrics_register(s->metrics, e->p->metrics, err);
    if (rc == 0)
        rc = lend(s, e, err);
    if (rc == 0) {
        e->inited = true;
        err->msg[0] = '\0';
        rc = e->p->init(&e->host, &e->self, err);
    }
    if (rc != 0)
        return assay_err_prefix(err, "plugin %s (%s) did not start", e->p->name, e->path);
    e->ready = true;
    return 0;
}

int assay_server_drivers(struct assay_server *s, struct assay_err *err)
{
    struct assay_plugin_entry *store = assay_plugins_find(&s->setup.plugins, s->setup.store);
    struct assay_plugin_entry *blobs = assay_plugins_find(&s->setup.plugins, s->setup.blobs);
    int rc = init_plugin(s, store, err);
    if (rc == 0)
        rc = init_plugin(s, blobs, err);
    if (rc != 0)
        return rc;
    s->store = (struct assay_store){store->p->driver, store->self};
    s->blobs = (struct assay_blobs){blobs->p->driver, blobs->self};
    const size_t least = offsetof(struct assay_store_ops, health) + sizeof s->store.ops->health;
    if (s->store.ops->size < least)
        return assay_err_set(err, ASSAY_E_CONFIG, "store driver %s has %u bytes of operations and needs %zu",
                             store->p->name, s->store.ops->size, least);
    const size_t least_blob = offsetof(struct assay_blob_ops, presign);
    if (s->blobs.ops->size < least_blob)
        return assay_err_set(err, ASSAY_E_CONFIG, "blob driver %s has %u bytes of operations and needs %zu", blobs->p->name,
                             s->blobs.ops->size, least_blob);
    s->lent_store = assay_timed_store(s->timed, s->store);
    s->lent_blobs = assay_timed_blobs(s->timed, s->blobs);
    return 0;
}

int assay_server_brokers(struct assay_server *s, struct assay_err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->setup.n_brokers; i++) {
        struct assay_plugin_entry *e = assay_plugins_find(&s->setup.plugins, s->setup.broker[i]);
        rc = broker_ops_whole(e, err);
        if (rc == 0)
            rc = init_plugin(s, e, err);
        struct assay_broker lent; /* made here, where there is one thread */
        if (rc == 0)
            rc = assay_timed_broker(s->timed, e->p->name + strlen("broker_"), (struct assay_broker){e->p->driver, e->self}, &lent, err);
    }
    return rc;
}

/* What gateways share about accounts, where session_driver names it. */
static int session_driver(struct assay_server *s, struct assay_err *err)
{
    if (s->setup.sessions == NULL)
        return 0;
    struct assay_plugin_entry *e = assay_plugins_find(&s->setup.plugins, s->setup.sessions);
    int rc = init_plugin(s, e, err);
    const struct assay_session_ops *ops = e->p->driver;
    const size_t least = offsetof(struct assay_session_ops, health) + sizeof ops->health;
    if (rc == 0 && ops->size < least)
        return assay_err_set(err, ASSAY_E_CONFIG, "session driver %s has %u bytes of operations and needs %zu", e->p->name, ops->size, least);
    s->shared.sessions = (struct assay_sessions){ops, e->self};
    s->shared.refuse = strcmp(assay_config_str(s->setup.config, "session_fallback"), "refuse") == 0;
    s->shared.metrics = s->metrics;
    return rc != 0 ? rc : assay_shared_accounts_count(&s->shared, err);
}

static int mail_driver(struct assay_server *s, struct assay_err *err)
{
    if (s->setup.mail == NULL)
        return 0;
    struct assay_plugin_entry *e = assay_plugins_find(&s->setup.plugins, s->setup.mail);
    if (e == NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "smtp_url is set, and the driver %s is not installed", s->setup.mail);
    int rc = init_plugin(s, e, err);
    s->mail = e->p->driver;
    s->mail_self = e->self;
    return rc;
}

static bool is_service(const struct assay_plugin_entry *e)
{
    return e->p->kind == ASSAY_PLUGIN_SERVICE;
}

/* Schema and statements of all services before the init of any: one that the database refuses stops the
 * start with nothing running. */
static int prepare_services(struct assay_server *s, struct assay_err *err)
{
    const struct assay_plugins *ps = &s->setup.plugins;
    for (size_t i = 0; i < ps->n_order; i++) {
        const struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        const struct assay_table *t = &e->p->migrations;
        if (!is_service(e) || t->count == 0)
            continue;
        struct assay_migration *m = calloc(t->count, sizeof *m);
        if (m == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        for (uint32_t k = 0; k < t->count; k++)
            memcpy(&m[k], assay_table_row(t, k), sizeof *m);
        int rc = s->store.ops->migrate(s->store.self, e->p->name, m, t->count, err);
        free(m);
        if (rc != 0)
            return assay_err_prefix(err, "migrations of plugin %s", e->p->name);
    }
    for (size_t i = 0; i < ps->n_order; i++) {
        const struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        const struct assay_table *t = &e->p->statements;
        if (!is_service(e) || t->count == 0)
            continue;
        const struct assay_stmt **list = calloc(t->count, sizeof(struct assay_stmt *));
        if (list == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        for (uint32_t k = 0; k < t->count; k++)
            memcpy(&list[k], assay_table_row(t, k), sizeof list[k]);
        int rc = s->store.ops->prepare(s->store.self, list, t->count, err);
        free(list);
        if (rc != 0)
            return assay_err_prefix(err, "statements of plugin %s", e->p->name);
    }
    return 0;
}

/* The gate forgets what it cached about an account or an agent that changed. */
static int account_changed(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)tx, (void)err;
    if (ev != NULL)
        assay_gate_account_changed(self, ev->ev.subject);
    return 0;
}
static int agent_changed(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)tx, (void)err;
    if (ev != NULL)
        assay_gate_agent_changed(self, ev->ev.subject);
    return 0;
}
static const char *const account_topics[] = {"user.changed", NULL};
static const char *const agent_topics[] = {"agent.changed", "agent_token.changed", NULL};
static const struct assay_subscription gate_subs[] = {
    {.group = "gate_accounts", .topics = account_topics, .kind = ASSAY_SUB_LOCAL, .deliver = account_changed},
    {.group = "gate_agents", .topics = agent_topics, .kind = ASSAY_SUB_LOCAL, .deliver = agent_changed},
};

static int make_gate(struct assay_server *s, struct assay_err *err)
{
    struct assay_keys keys = {.n = 0};
    int rc = signing_keys(s, &keys, err);
    struct assay_gate_config cfg = {
        .keys = keys.key,
        .n_keys = keys.n,
        .weak_secret_ok = strcmp(assay_config_str(s->setup.config, "app_env"), "development") == 0,
    };
    if (rc == 0)
        rc = assay_gate_new(&cfg, &s->gate, err);
    assay_keys_clear(&keys);
    return rc;
}

static void connect_gate(struct assay_server *s)
{
    const struct assay_interface *accounts = NULL, *agents = NULL;
    const struct assay_plugin_entry *a = assay_plugins_provider(&s->setup.plugins, ASSAY_ACCOUNTS_INTERFACE, &accounts);
    const struct assay_plugin_entry *t = assay_plugins_provider(&s->setup.plugins, ASSAY_AGENT_TOKENS_INTERFACE, &agents);
    bool has_a = a != NULL && accounts->version == ASSAY_ACCOUNTS_VERSION;
    bool has_t = t != NULL && agents->version == ASSAY_AGENT_TOKENS_VERSION;
    const void *ops = has_a ? accounts->ops : NULL;
    void *self = has_a ? a->self : NULL;
    if (has_a && s->shared.sessions.ops != NULL) {
        s->shared.store = accounts->ops;
        s->shared.store_self = a->self;
        s->shared.gate = s->gate;
        ops = &assay_shared_accounts_ops;
        self = &s->shared;
    }
    assay_gate_services(s->gate, ops, self, has_t ? agents->ops : NULL,
                        has_t ? t->self : NULL);
}

static int subscribe(struct assay_server *s, struct assay_err *err)
{
    const struct assay_plugins *ps = &s->setup.plugins;
    struct assay_dispatch_deps deps = {
        .store = &s->store, .pool = s->pool, .topics = s->topics, .metrics = s->metrics, .log = s->log};
    s->dispatch = assay_dispatch_new(&deps, err);
    int rc = s->dispatch != NULL ? 0 : err->code;
    for (size_t i = 0; rc == 0 && i < sizeof gate_subs / sizeof gate_subs[0]; i++)
        rc = assay_dispatch_add(s->dispatch, &gate_subs[i], s->gate, "gate", err);
    for (size_t i = 0; rc == 0 && s->shared.store != NULL && i < 2; i++)
        rc = assay_dispatch_add(s->dispatch, &assay_shared_accounts_subs[i], &s->shared, "gate", err);
    for (size_t i = 0; rc == 0 && i < ps->n_order; i++) {
        const struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        for (uint32_t k = 0; rc == 0 && is_service(e) && k < e->p->subscriptions.count; k++) {
            struct assay_subscription row; /* one of an older ABI ends before settle */
            memset(&row, 0, sizeof row);
            memcpy(&row, assay_table_row(&e->p->subscriptions, k),
                   e->p->subscriptions.stride < sizeof row ? e->p->subscriptions.stride : sizeof row);
            rc = assay_dispatch_add(s->dispatch, &row, e->self, e->p->name, err);
        }
    }
    return rc;
}

/* "https://a.example, https://b.example" cut in place into a NULL-terminated list. NULL on no memory. */
static const char **split_list(char *text)
{
    size_t n = 1, k = 0;
    for (const char *p = text; *p != '\0'; p++)
        n += *p == ',';
    const char **list = calloc(n + 1, sizeof(const char *));
    for (char *p = text; list != NULL && k < n;) {
        p += strspn(p, ", ");
        size_t len = strcspn(p, ", ");
        if (len == 0)
            break;
        list[k++] = p;
        p += len;
        if (*p != '\0')
            *p++ = '\0';
    }
    return list;
}

static int pool_offload(void *ctx, void (*fn)(void *arg), void *arg)
{
    return assay_pool_submit(((struct assay_server *)ctx)->pool, fn, arg);
}

static bool front_trace(void *ctx, struct assay_str parent, char out[ASSAY_TRACEPARENT])
{
    return assay_otlp_child(((struct assay_server *)ctx)->otlp, parent, out);
}

static void front_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    assay_log_write(((struct assay_server *)ctx)->log, level, "http", event, kv, n);
}

/*
 * Whether the last few descriptors are being handed out: the lowest that is free says.  Connections are bounded so that this cannot
 * be their doing (below); who opens and never closes is a plugin or a library, and there is no way back from that but a new process.
 */
static bool few_descriptors(const struct assay_server *s)
{
    int fd = dup(s->wake);
    bool few = fd < 0 ? errno == EMFILE : fd >= s->descriptors - LAST_DESCRIPTORS;
    if (fd >= 0)
        close(fd);
    return few;
}

/* As many as there are descriptors for: one more would not be refused with an answer but stay unaccepted. */
static size_t connections_max(struct assay_server *s)
{
    int64_t wanted = assay_config_int(s->setup.config, "http_connections_max");
    int64_t most = s->descriptors - ASSAY_SETUP_OTHER_DESCRIPTORS;
    if (wanted <= most)
        return (size_t)wanted;
    ASSAY_LOG(s->log, ASSAY_LOG_WARN, "server", "too_few_descriptors", ASSAY_KI("http_connections_max", wanted),
              ASSAY_KI("connections", most < 1 ? 1 : most), ASSAY_KI("descriptors", s->descriptors),
              ASSAY_KZ("remedy", "raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower http_connections_max"));
    return most < 1 ? 1 : (size_t)most;
}

/* Long bodies lie beside the data, so that the same quota and the same disk hold them. */
static int make_spool(struct assay_server *s, struct assay_err *err)
{
    char *run = NULL;
    int rc = 0;
    if (asprintf(&run, "%s/run", assay_config_str(s->setup.config, "data_dir")) < 0 || asprintf(&s->spool_dir, "%s/spool", run) < 0)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    else if ((mkdir(run, 0755) != 0 && errno != EEXIST) || (mkdir(s->spool_dir, 0700) != 0 && errno != EEXIST))
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "cannot make %s", s->spool_dir);
    free(run);
    return rc;
}

/* By the session driver where it can; else each gateway has its part. */
static int share_limits(struct assay_server *s, struct assay_err *err)
{
    assay_limits_gateways(s->limits, assay_config_int(s->setup.config, "rate_limit_gateways"));
    if (s->shared.sessions.ops == NULL)
        return 0;
    if (assay_limits_can_share(s->shared.sessions.ops))
        return assay_limits_shared_start(s->limits, s->shared.sessions, s->metrics, s->log, &s->limits_shared, err);
    ASSAY_LOG(s->log, ASSAY_LOG_WARN, "server", "rate_limits_not_shared", ASSAY_KZ("reason", "the session driver was built for an older ABI"));
    return 0;
}

static int make_front(struct assay_server *s, struct assay_err *err)
{
    const struct assay_plugins *ps = &s->setup.plugins;
    const struct assay_config *c = s->setup.config;
    size_t n = 0;
    for (size_t i = 0; i < ps->n_order; i++)
        n += ps->entry[ps->order[i]]->p->routes.count;
    s->routes = calloc(n + 1, sizeof *s->routes);
    s->listen_fds = calloc((size_t)s->listeners + (size_t)s->tls_listeners, sizeof *s->listen_fds);
    const char *origins = assay_config_str(c, "cors_origins");
    /* a Swagger UI or a web page under development comes from another port of the same machine */
    if (origins[0] == '\0' && strcmp(assay_config_str(c, "app_env"), "development") == 0)
        origins = "localhost";
    s->origins = strdup(origins);
    s->access_log = assay_config_int(c, "access_log") != 0;
    int rc = assay_proxies_new(assay_config_str(c, "trusted_proxies"), &s->proxies, err);
    if (rc == 0)
        rc = make_spool(s, err);
    if (rc != 0)
        return rc;
    if (s->origins != NULL && s->origins[0] != '\0' && (s->cors = split_list(s->origins)) == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    if (s->routes == NULL || s->listen_fds == NULL || s->origins == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    n = 0;
    for (size_t i = 0; i < ps->n_order; i++) {
        const struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        for (uint32_t k = 0; k < e->p->routes.count; k++)
            s->routes[n++] = (struct assay_bound_route){assay_table_row(&e->p->routes, k), e->self, e->p->name};
    }
    for (int i = 0; i < s->listeners + s->tls_listeners; i++)
        s->listen_fds[i] = ASSAY_SERVER_LISTEN_FD + i;
    const char *limits = assay_config_str(c, "rate_limits");
    if (strcmp(limits, "auto") == 0)
        limits = strcmp(assay_config_str(c, "app_env"), "development") == 0 ? "" : ASSAY_LIMITS_USUAL;
    rc = make_tls(s, err);
    if (rc != 0)
        return rc;
    rc = assay_limits_new(limits, assay_config_str(c, "rate_limit_exempt"), s->routes, n, &s->limits, err);
    if (rc == 0 && s->limits != NULL)
        rc = share_limits(s, err);
    if (rc != 0)
        return rc;
    struct assay_front_config cfg = {
        .routes = s->routes,
        .n_routes = n,
        .listen_fds = s->listen_fds,
        .n_listen_fds = (size_t)s->listeners,
        .tls_fds = s->listen_fds + s->listeners,
        .n_tls_fds = (size_t)s->tls_listeners,
        .tls = s->tls,
        .hsts_s = assay_config_int(c, "tls_hsts") / 1000,
        .loops = (unsigned)(s->listeners > s->tls_listeners ? s->listeners : s->tls_listeners),
        .gate = s->gate,
        .header_bytes_max = (size_t)assay_config_int(c, "http_header_max"),
        .header_count_max = (size_t)assay_config_int(c, "http_header_count_max"),
        .connections_max = connections_max(s),
        .pipelined_max = (unsigned)assay_config_int(c, "http_pipelined_max"),
        .spool_dir = s->spool_dir,
        .spool_over = (size_t)assay_config_int(c, "http_body_spool_over"),
        .spool_max = (uint64_t)assay_config_int(c, "http_spool_max"),
        .proxies = s->proxies,
        .limits = s->limits,
        .proxy_forwarded = strcmp(assay_config_str(c, "trusted_proxy_header"), "forwarded") == 0,
        .body_memory_max = (size_t)assay_config_int(c, "http_body_memory_max"),
        .unsent_max = (size_t)assay_config_int(c, "http_unsent_max"),
        .header_deadline_ms = assay_config_int(c, "http_header_timeout"),
        .body_grace_ms = assay_config_int(c, "http_body_grace"),
        .body_min_rate = assay_config_int(c, "http_rate_min"),
        .body_deadline_ms = assay_config_int(c, "http_body_timeout"),
        .answer_deadline_ms = assay_config_int(c, "http_answer_timeout"),
        .idle_ms = assay_config_int(c, "http_idle_timeout"),
        .environment = assay_config_str(c, "app_env"),
        .cors_origins = s->cors,
        .ctx = s,
        .offload = pool_offload,
        .log = front_log,
        .done = assay_server_request_done,
        .trace = s->otlp != NULL ? front_trace : NULL,
    };
    return assay_front_new(&cfg, &s->front, err);
}

static void supervisor_lost(void *arg)
{
    struct assay_server *s = arg;
    uint64_t one = 1;
    (void)!write(s->wake, &one, sizeof one);
}

static unsigned worker_count(int64_t configured)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (configured > 0)
        return (unsigned)configured;
    return n * 4 < 8 ? 8 : n * 4 > 64 ? 64 : (unsigned)n * 4;
}

static int make_log(struct assay_server *s, struct assay_err *err)
{
    const char *level = assay_config_str(s->setup.config, "log_level");
    const char *format = assay_config_str(s->setup.config, "log_format");
    struct assay_log_options o = {.fd = 2, .level = ASSAY_LOG_INFO};
    o.format = strcmp(format, "json") == 0     ? ASSAY_LOG_JSON
               : strcmp(format, "logfmt") == 0 ? ASSAY_LOG_LOGFMT
                                               : ASSAY_LOG_AUTO;
    for (int i = 0; assay_log_level_names[i] != NULL; i++)
        if (strcmp(assay_log_level_names[i], level) == 0)
            o.level = (enum assay_log_level)i;
    s->log = assay_log_new(&o, err);
    return s->log != NULL ? 0 : err->code;
}

int assay_server_base(struct assay_server *s, struct assay_err *err)
{
    const struct assay_config *c = s->setup.config;
    int rc = make_log(s, err);
    if (rc == 0 && (s->metrics = assay_metrics_new(0, err)) == NULL)
        rc = err->code;
    if (rc == 0)
        rc = assay_server_count(s, err);
    if (rc == 0 && (s->timed = assay_timed_new(s->metrics, err)) == NULL)
        rc = err->code;
    if (rc == 0 && (s->pool = assay_pool_new(worker_count(assay_config_int(c, "workers")),
                                             (size_t)assay_config_int(c, "worker_queue"), 0, err)) == NULL)
        rc = err->code;
    if (rc == 0 && (s->topics = assay_topics_new((size_t)assay_config_int(c, "queue_buffer_size"), err)) == NULL)
        rc = err->code;
    return rc;
}

static int start(struct assay_server *s, struct assay_err *err)
{
    struct assay_plugins *ps = &s->setup.plugins;
    int rc = assay_server_base(s, err);
    if (rc == 0)
        rc = assay_server_telemetry(s, err);
    if (rc == 0)
        rc = assay_boxes_new(ASSAY_SERVER_CONTROL_FD, supervisor_lost, s, &s->boxes, err);
    if (rc == 0)
        rc = make_gate(s, err);
    if (rc == 0)
        rc = assay_server_drivers(s, err);
    if (rc == 0)
        rc = assay_server_brokers(s, err);
    if (rc == 0)
        rc = session_driver(s, err);
    if (rc == 0)
        rc = mail_driver(s, err);
    if (rc == 0)
        rc = prepare_services(s, err);
    for (size_t i = 0; rc == 0 && i < ps->n_order; i++)
        if (is_service(ps->entry[ps->order[i]]))
            rc = init_plugin(s, ps->entry[ps->order[i]], err);
    if (rc == 0) {
        connect_gate(s);
        rc = make_front(s, err);
    }
    if (rc == 0)
        rc = subscribe(s, err);
    if (rc == 0)
        rc = s->store.ops->start(s->store.self, assay_dispatch_committed, s->dispatch, err);
    if (rc != 0)
        return rc;
    s->store_started = true;
    /* drivers first: a service begins to receive in its start */
    for (size_t i = 0; i < 2 * ps->n_order; i++) {
        struct assay_plugin_entry *e = ps->entry[ps->order[i % ps->n_order]];
        if (is_service(e) != (i >= ps->n_order))
            continue;
        rc = e->p->start != NULL ? e->p->start(e->self, err) : 0;
        if (rc != 0)
            return assay_err_prefix(err, "plugin %s (%s) did not start", e->p->name, e->path);
        e->started = true;
    }
    rc = assay_dispatch_start(s->dispatch, err);
    if (rc != 0)
        return rc;
    s->dispatch_started = true;
    rc = s->otlp != NULL ? assay_otlp_start(s->otlp, err) : 0;
    if (rc != 0)
        return rc;
    return assay_front_start(s->front, err);
}

/* ---- the stop ------------------------------------------------------------------------------------- */

static int64_t left_ms(int64_t deadline_ns)
{
    int64_t left = (deadline_ns - assay_mono_ns()) / 1000000;
    return left > 0 ? left : 0;
}

/* Accepts whatever start has left behind. */
static void stop(struct assay_server *s, bool was_up)
{
    struct assay_plugins *ps = &s->setup.plugins;
    int64_t budget = s->setup.config != NULL && was_up ? assay_config_int(s->setup.config, "drain_timeout") : 1000;
    int64_t deadline = assay_mono_ns() + budget * 1000000;
    struct assay_err err = {0, ""};
    atomic_store(&s->stopping, true);
    if (was_up) {
        size_t open = assay_front_drain(s->front, left_ms(deadline));
        if (open > 0)
            ASSAY_LOG(s->log, ASSAY_LOG_WARN, "server", "drain_cut_short", ASSAY_KI("connections", open));
    }
    for (size_t i = ps->n_order; i-- > 0;) {
        struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        if (e->started && is_service(e) && e->p->drain != NULL)
            e->p->drain(e->self);
    }
    /* their threads call into services, which are still whole */
    for (size_t i = ps->n_order; i-- > 0;) {
        struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        if (e->ready && e->p->kind == ASSAY_PLUGIN_BROKER && e->p->drain != NULL)
            e->p->drain(e->self);
    }
    assay_boxes_stop(s->boxes); /* a worker may wait for a warden */
    if (s->dispatch_started && assay_dispatch_drain(s->dispatch, left_ms(deadline) + 500, &err) != 0)
        ASSAY_LOG(s->log, ASSAY_LOG_WARN, "server", "deliveries_cut_short", ASSAY_KZ("reason", err.msg));
    if (s->pool != NULL && assay_pool_drain(s->pool, left_ms(deadline) + 500, &err) != 0)
        ASSAY_LOG(s->log, ASSAY_LOG_WARN, "server", "workers_cut_short", ASSAY_KZ("reason", err.msg));
    if (s->store_started)
        s->store.ops->stop(s->store.self);
    assay_otlp_stop(s->otlp); /* its last report asks the pool and the front */
    /* loops before plugins: a late answer of a worker still finds its request */
    assay_boxes_free(s->boxes);
    s->boxes = NULL;
    assay_pool_free(s->pool);
    assay_front_free(s->front);
    assay_limits_shared_free(s->limits_shared); /* behind the loops that take, before the driver that it asks */
    assay_dispatch_free(s->dispatch);
    for (size_t i = ps->n_order; i-- > 0;) {
        struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        if (e->inited && is_service(e))
            e->p->fini(e->self);
    }
    for (size_t i = ps->n_order; i-- > 0;) {
        struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        if (e->inited && !is_service(e))
            e->p->fini(e->self);
    }
    for (size_t i = 0; i < ps->n; i++)
        free(ps->entry[i]->ctx);
    assay_topics_free(s->topics);
    assay_limits_free(s->limits);
    assay_proxies_free(s->proxies);
    assay_tls_free(s->tls);
    free(s->spool_dir);
    assay_gate_free(s->gate);
    free(s->routes);
    free(s->listen_fds);
    free(s->cors);
    free(s->origins);
    if (was_up)
        ASSAY_LOG(s->log, ASSAY_LOG_INFO, "server", "stopped", ASSAY_KI("pid", getpid()));
    assay_otlp_free(s->otlp);
    assay_log_free(s->log);
    assay_timed_free(s->timed);
    assay_metrics_free(s->metrics);
    assay_setup_free(&s->setup);
}

/* ---- main ----------------------------------------------------------------------------------------- */

static int64_t argument(int argc, char **argv, const char *name, int64_t max)
{
    size_t n = strlen(name);
    int64_t v;
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=' &&
            assay_parse_i64(assay_str(argv[i] + n + 1), 0, max, &v, NULL) == 0)
            return v;
    return -1;
}

static struct assay_str text_argument(int argc, char **argv, const char *name)
{
    size_t n = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return assay_str(argv[i] + n + 1);
    return ASSAY_STR_NULL;
}

static int fail(struct assay_server *s, const struct assay_err *err)
{
    if (s->log != NULL) {
        ASSAY_LOG(s->log, ASSAY_LOG_ERROR, "server", "start_failed", ASSAY_KZ("reason", err->msg));
        (void)!assay_log_flush(s->log, 1000);
    } else {
        (void)fprintf(stderr, "assayd: %s\n", err->msg);
    }
    stop(s, false);
    return ASSAY_EXIT_CONFIG;
}

int assay_server_main(int argc, char **argv)
{
    static struct assay_server server;
    struct assay_server *s = &server;
    struct assay_err err = {0, ""};
    struct assay_options *options = NULL;
    sigset_t set;

    int64_t listeners = argument(argc, argv, "--listeners", 1024), tls_listeners = argument(argc, argv, "--tls-listeners", 1024);
    struct assay_str task = text_argument(argc, argv, "--reset-cursor");
    int64_t uid = argument(argc, argv, "--uid", UINT32_MAX - 1), gid = argument(argc, argv, "--gid", UINT32_MAX - 1);
    if (listeners < 0 || tls_listeners < 0 || listeners + tls_listeners < (task.n != 0 ? 0 : 1) || uid < 0 || gid < 0 || fcntl(ASSAY_SERVER_CONTROL_FD, F_SETFD, FD_CLOEXEC) != 0) {
        (void)fprintf(stderr, "assayd: --role=server is for the supervisor, not for hand\n");
        return 64;
    }
    assay_json_memory(assay_reserve_take, assay_reserve_give);
    s->listeners = (int)listeners;
    s->tls_listeners = (int)tls_listeners;
    s->uid = (uid_t)uid;
    s->gid = (gid_t)gid;
    for (int fd = ASSAY_SERVER_OPTIONS_FD; fd < ASSAY_SERVER_LISTEN_FD + s->listeners + s->tls_listeners; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return 71;
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (signals < 0 || s->wake < 0)
        return 71;
    assay_id_new(s->instance_id);

    int rc = assay_setup_core(&s->setup, &err);
    if (rc == 0)
        rc = assay_options_read(ASSAY_SERVER_OPTIONS_FD, &options, &err);
    /* The shared objects may lie where only root can read; none of their functions runs before the privileges
     * are gone. */
    if (rc == 0)
        rc = assay_setup_adopt(&s->setup, options, &err);
    assay_options_free(options);
    close(ASSAY_SERVER_OPTIONS_FD);
    if (rc == 0)
        rc = assay_setup_plugins(&s->setup, &err);
    if (rc == 0) {
        /* while root can still lift the hard limit */
        s->descriptors = assay_setup_descriptors(s->setup.config, true);
        s->wants_boxes = assay_config_int(s->setup.config, "boxkeeper") != 0;
        rc = give_up_privileges(s, &err);
    }
    if (rc == 0 && task.n != 0) {
        int status = assay_server_reset_cursor(s, task);
        stop(s, false);
        return status;
    }
    if (rc == 0)
        rc = start(s, &err);
    if (rc != 0)
        return fail(s, &err);
    atomic_store(&s->up, true);
    ASSAY_LOG(s->log, ASSAY_LOG_INFO, "server", "up", ASSAY_KZ("version", PACKAGE_VERSION), ASSAY_KI("pid", getpid()),
              ASSAY_KI("uid", getuid()), ASSAY_KZ("store", s->setup.store), ASSAY_KZ("blobs", s->setup.blobs),
              ASSAY_KI("loops", s->listeners > s->tls_listeners ? s->listeners : s->tls_listeners), ASSAY_KZ("tls", s->tls != NULL ? "yes" : "no"));
    struct assay_bk_packet ready = {.type = ASSAY_BK_READY};
    (void)!assay_bk_send(ASSAY_SERVER_CONTROL_FD, &ready, -1, NULL);

    const char *why = NULL;
    int status = 0, short_for = 0;
    while (why == NULL) {
        struct pollfd p[2] = {{signals, POLLIN, 0}, {s->wake, POLLIN, 0}};
        struct signalfd_siginfo si;
        int n = poll(p, 2, 1000);
        if (n < 0 && errno != EINTR)
            why = "poll failed";
        short_for = n != 0 ? short_for : few_descriptors(s) ? short_for + 1 : 0;
        if (short_for == SHORT_FOR_S) {
            why = "the descriptors have run out";
            status = EXIT_WORN;
            ASSAY_LOG(s->log, ASSAY_LOG_ERROR, "server", "descriptors_run_out", ASSAY_KI("descriptors", s->descriptors),
                      ASSAY_KZ("remedy", "connections cannot take them all: a plugin does not close what it opens (ls -l /proc/PID/fd); "
                                         "the server is started again"));
        }
        /* ^C reaches the whole group; the supervisor passes on what it decides */
        while (read(signals, &si, sizeof si) == (ssize_t)sizeof si)
            if (si.ssi_signo == SIGTERM)
                why = "SIGTERM";
            else if (si.ssi_signo == SIGHUP)
                reload(s);
        if (p[1].revents != 0)
            why = "the supervisor has gone";
    }
    ASSAY_LOG(s->log, ASSAY_LOG_INFO, "server", "stopping", ASSAY_KZ("reason", why));
    stop(s, true);
    return status;
}
