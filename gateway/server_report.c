/* What the server says about itself: the program's own metrics, the access log, readiness. */
#include "server_impl.h"

#include <stdio.h>
#include <sys/statvfs.h>

#include <assay/boxkeeper_wire.h>
#include <assay/value.h>

/* ---- the program's own metrics ----------------------------------------------------------------- */

static const double seconds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 60, 0};
enum {
    M_REQUESTS, M_REQUEST_SECONDS, M_CONNECTIONS, M_ACCEPTED, M_REFUSED, M_PARSE_ERRORS, M_TIMEOUTS, M_LATE,
    M_WAITING, M_WORKERS, M_WORK_QUEUED, M_WORK_RUNNING, M_WORK_REFUSED, M_WORK_DONE, M_WORK_WAIT, M_LOG_LINES,
    M_LOG_DROPPED, M_BUILD, M_LIMITED, M_DISK_FREE, M_DISK_SIZE, M_HANDSHAKES, M_HANDSHAKE_FAILURES, M_CERTIFICATE, M_RELOADS,
};
static const struct assay_metric metric[] = {
    [M_REQUESTS] = {"assay_http_requests_total", ASSAY_METRIC_COUNTER, "Requests by route and status.",
                    "method,route,status", NULL},
    [M_REQUEST_SECONDS] = {"assay_http_request_seconds", ASSAY_METRIC_HISTOGRAM,
                           "Time from a request's first byte to its answer.", "route", seconds},
    [M_CONNECTIONS] = {"assay_http_connections", ASSAY_METRIC_GAUGE, "Open connections.", "", NULL},
    [M_ACCEPTED] = {"assay_http_connections_accepted_total", ASSAY_METRIC_COUNTER, "Connections accepted.", "", NULL},
    [M_REFUSED] = {"assay_http_connections_refused_total", ASSAY_METRIC_COUNTER, "Connections over the bound.", "", NULL},
    [M_PARSE_ERRORS] = {"assay_http_parse_errors_total", ASSAY_METRIC_COUNTER, "Requests that were not HTTP.", "", NULL},
    [M_TIMEOUTS] = {"assay_http_timeouts_total", ASSAY_METRIC_COUNTER, "Requests that took too long.", "", NULL},
    [M_LATE] = {"assay_http_late_answers_total", ASSAY_METRIC_COUNTER, "Answers whose client had gone.", "", NULL},
    [M_WAITING] = {"assay_http_requests_waiting", ASSAY_METRIC_GAUGE, "Requests waiting for their answer.", "", NULL},
    [M_WORKERS] = {"assay_worker_threads", ASSAY_METRIC_GAUGE, "Threads of the worker pool.", "", NULL},
    [M_WORK_QUEUED] = {"assay_worker_jobs_queued", ASSAY_METRIC_GAUGE, "Jobs that wait for a worker.", "", NULL},
    [M_WORK_RUNNING] = {"assay_worker_jobs_running", ASSAY_METRIC_GAUGE, "Jobs on a worker.", "", NULL},
    [M_WORK_REFUSED] = {"assay_worker_jobs_refused_total", ASSAY_METRIC_COUNTER, "Jobs refused: the queue was full.", "", NULL},
    [M_WORK_DONE] = {"assay_worker_jobs_total", ASSAY_METRIC_COUNTER, "Jobs finished.", "", NULL},
    [M_WORK_WAIT] = {"assay_worker_wait_seconds_total", ASSAY_METRIC_COUNTER, "Time that jobs waited, summed.", "", NULL},
    [M_LOG_LINES] = {"assay_log_lines_total", ASSAY_METRIC_COUNTER, "Log lines written.", "", NULL},
    [M_LOG_DROPPED] = {"assay_log_dropped_total", ASSAY_METRIC_COUNTER, "Log lines dropped.", "", NULL},
    [M_BUILD] = {"assay_build_info", ASSAY_METRIC_GAUGE, "Version of the program; always 1.", "version", NULL},
    [M_LIMITED] = {"assay_http_limited_total", ASSAY_METRIC_COUNTER, "Requests that a rate limit refused, by its rule.", "policy", NULL},
    [M_DISK_FREE] = {"assay_disk_free_bytes", ASSAY_METRIC_GAUGE, "Room that is left for this process where the data directory or the blobs lie.", "folder",
                     NULL},
    [M_DISK_SIZE] = {"assay_disk_size_bytes", ASSAY_METRIC_GAUGE, "Size of the file system where the data directory or the blobs lie.", "folder", NULL},
    [M_HANDSHAKES] = {"assay_tls_handshakes_total", ASSAY_METRIC_COUNTER, "TLS handshakes, by version and whether a session was resumed.",
                      "version,resumed", NULL},
    [M_HANDSHAKE_FAILURES] = {"assay_tls_handshake_failures_total", ASSAY_METRIC_COUNTER, "TLS handshakes that came to nothing, by reason.",
                              "reason", NULL},
    [M_CERTIFICATE] = {"assay_tls_certificate_expiry_timestamp_seconds", ASSAY_METRIC_GAUGE,
                       "When the certificate in use ends, in Unix seconds; 0 without TLS.", "", NULL},
    [M_RELOADS] = {"assay_tls_certificate_reloads_total", ASSAY_METRIC_COUNTER, "Times that the certificate was read again, by result.", "result", NULL},
};

static void measure_disk(struct assay_server *s, const char *folder, const char *path)
{
    struct statvfs v;
    if (path[0] == '\0' || statvfs(path, &v) != 0)
        return;
    assay_metrics_set(s->metrics, &metric[M_DISK_FREE], &folder, (double)v.f_bavail * (double)v.f_frsize);
    assay_metrics_set(s->metrics, &metric[M_DISK_SIZE], &folder, (double)v.f_blocks * (double)v.f_frsize);
}

static void tls_metrics(struct assay_server *s, const struct assay_front_stats *http)
{
    static const char *const versions[] = {"1.2", "1.3"}, *const resumed[] = {"no", "yes"};
    struct assay_tls_facts f;
    const char *ok[] = {"ok"}, *failed[] = {"failed"};
    for (size_t v = 0; v < 2; v++)
        for (size_t r = 0; r < 2; r++) {
            const char *labels[] = {versions[v], resumed[r]};
            assay_metrics_count_to(s->metrics, &metric[M_HANDSHAKES], labels, (double)http->tls_handshakes[v][r]);
        }
    for (size_t i = 0; i < ASSAY_TLS_FAILURES; i++)
        assay_metrics_count_to(s->metrics, &metric[M_HANDSHAKE_FAILURES], &assay_tls_failure_names[i], (double)http->tls_failures[i]);
    assay_tls_facts_get(s->tls, &f);
    assay_metrics_set(s->metrics, &metric[M_CERTIFICATE], NULL, (double)f.not_after_s);
    assay_metrics_count_to(s->metrics, &metric[M_RELOADS], ok, (double)atomic_load(&s->tls_reloads));
    assay_metrics_count_to(s->metrics, &metric[M_RELOADS], failed, (double)atomic_load(&s->tls_reloads_failed));
}

static void on_scrape(void *arg)
{
    struct assay_server *s = arg;
    struct assay_pool_stats pool;
    assay_pool_stats(s->pool, &pool);
    assay_metrics_set(s->metrics, &metric[M_WORKERS], NULL, pool.threads);
    assay_metrics_set(s->metrics, &metric[M_WORK_QUEUED], NULL, (double)pool.queued);
    assay_metrics_set(s->metrics, &metric[M_WORK_RUNNING], NULL, (double)pool.running);
    assay_metrics_count_to(s->metrics, &metric[M_WORK_REFUSED], NULL, (double)pool.refused);
    assay_metrics_count_to(s->metrics, &metric[M_WORK_DONE], NULL, (double)pool.finished);
    assay_metrics_count_to(s->metrics, &metric[M_WORK_WAIT], NULL, (double)pool.wait_ns / 1e9);
    assay_metrics_count_to(s->metrics, &metric[M_LOG_LINES], NULL, (double)assay_log_lines(s->log));
    assay_metrics_count_to(s->metrics, &metric[M_LOG_DROPPED], NULL, (double)assay_log_dropped(s->log));
    const struct assay_config *c = s->setup.config;
    measure_disk(s, "data", assay_config_str(c, "data_dir"));
    if (assay_config_has(c, "blob_dir"))
        measure_disk(s, "blobs", assay_config_str(c, "blob_dir"));
    const char *version[] = {PACKAGE_VERSION};
    assay_metrics_set(s->metrics, &metric[M_BUILD], version, 1);
    if (!atomic_load(&s->up))
        return;
    struct assay_front_stats http;
    assay_front_stats(s->front, &http);
    assay_metrics_set(s->metrics, &metric[M_CONNECTIONS], NULL, (double)http.connections_open);
    assay_metrics_set(s->metrics, &metric[M_WAITING], NULL, (double)http.requests_waiting);
    assay_metrics_count_to(s->metrics, &metric[M_ACCEPTED], NULL, (double)http.connections_accepted);
    assay_metrics_count_to(s->metrics, &metric[M_REFUSED], NULL, (double)http.connections_refused);
    assay_metrics_count_to(s->metrics, &metric[M_PARSE_ERRORS], NULL, (double)http.parse_errors);
    assay_metrics_count_to(s->metrics, &metric[M_TIMEOUTS], NULL, (double)http.timeouts);
    assay_metrics_count_to(s->metrics, &metric[M_LATE], NULL, (double)http.late_answers);
    if (s->tls != NULL)
        tls_metrics(s, &http);
    uint64_t refused;
    const char *rule;
    for (size_t i = 0; (rule = assay_limits_rule(s->limits, i, &refused)) != NULL; i++)
        assay_metrics_count_to(s->metrics, &metric[M_LIMITED], &rule, (double)refused);
}

int assay_server_count(struct assay_server *s, struct assay_err *err)
{
    int rc = assay_metrics_register(s->metrics, (struct assay_table)ASSAY_TABLE(metric), err);
    return rc != 0 ? rc : assay_metrics_on_scrape(s->metrics, on_scrape, s, err);
}

int assay_server_metrics(struct assay_server *s, struct assay_buf *out, struct assay_err *err)
{
    int rc = assay_metrics_expose(s->metrics, out, err);
    /* the boxkeeper's own are a help, not a condition */
    if (rc == 0 && assay_boxes_connected(s->boxes))
        (void)!assay_boxes_ask(s->boxes, ASSAY_BK_METRICS, 1000, out, NULL);
    return rc;
}

/* What asks whether we are there asks all the time, and for nothing: only as a part of somebody's trace. */
static bool asks_for_nothing(const char *route)
{
    return strcmp(route, "/metrics") == 0 || strcmp(route, "/healthz") == 0 || strcmp(route, "/readyz") == 0;
}

static void request_span(struct assay_server *s, const struct assay_front_record *r)
{
    char name[160];
    const char *route = r->route != NULL ? r->route->path : "";
    if (!assay_trace_sampled(r->traceparent) || (r->trace_parent.n == 0 && asks_for_nothing(route)))
        return;
    (void)snprintf(name, sizeof name, "%.*s%s%s", ASSAY_FMT(r->route != NULL ? r->method : ASSAY_STR("HTTP")), route[0] != '\0' ? " " : "", route);
    const struct assay_kv kv[] = {
        ASSAY_KS("http.request.method", r->route != NULL ? r->method : ASSAY_STR("_OTHER")), ASSAY_KZ("http.route", route),
        ASSAY_KS("url.path", r->path), ASSAY_KI("http.response.status_code", r->status), ASSAY_KS("client.address", r->remote),
        ASSAY_KI("http.request.body.size", r->bytes_in), ASSAY_KI("http.response.body.size", r->bytes_out),
        ASSAY_KS("assay.request_id", r->request_id)};
    int64_t end = assay_now_ms() * 1000000;
    const struct assay_span span = {.name = name, .kind = ASSAY_SPAN_SERVER, .context = r->traceparent, .parent = r->trace_parent,
                                    .start_ns = end - r->duration_ns, .end_ns = end, .kv = kv, .n = sizeof kv / sizeof kv[0],
                                    .fault = r->status >= 500 ? "the server failed" : NULL};
    assay_otlp_span(s->otlp, &span);
}

void assay_server_request_done(void *ctx, const struct assay_front_record *r)
{
    struct assay_server *s = ctx;
    char status[16], method[16];
    const char *route = r->route != NULL ? r->route->path : "none";
    (void)snprintf(status, sizeof status, "%d", r->status);
    /* an unknown method is the client's text: it must not make a series */
    (void)snprintf(method, sizeof method, "%.*s", r->route != NULL ? (int)r->method.n : 5,
                   r->route != NULL ? r->method.p : "other");
    const char *labels[] = {method, route, status};
    assay_metrics_add(s->metrics, &metric[M_REQUESTS], labels, 1);
    const char *timed[] = {route};
    assay_metrics_observe(s->metrics, &metric[M_REQUEST_SECONDS], timed, (double)r->duration_ns / 1e9);
    if (s->otlp != NULL)
        request_span(s, r);
    struct assay_str trace_id = r->traceparent;
    if (trace_id.n > 0)
        trace_id = (struct assay_str){trace_id.p + 3, 32};
    if (!s->access_log || !assay_log_wants(s->log, ASSAY_LOG_INFO))
        return;
    ASSAY_LOG(s->log, r->status >= 500 ? ASSAY_LOG_WARN : ASSAY_LOG_INFO, "http", "request", ASSAY_KS("method", r->method),
              ASSAY_KS("path", r->path), ASSAY_KI("status", r->status), ASSAY_KR("ms", (double)r->duration_ns / 1e6),
              ASSAY_KI("bytes", r->bytes_out), ASSAY_KS("request_id", r->request_id), ASSAY_KS("remote", r->remote),
              ASSAY_KS("user_id", r->user_id), ASSAY_KS("trace_id", trace_id), ASSAY_KZ("tls", r->tls));
}

/* ---- telemetry to a collector ----------------------------------------------------------------------- */

/* Of a signal: its own endpoint as it is, or the common one with the signal's path. */
static int endpoint(const struct assay_config *c, const char *signal, struct assay_buf *out, struct assay_err *err)
{
    char option[64];
    (void)snprintf(option, sizeof option, "otel_%s_exporter", signal);
    bool on = strcmp(assay_config_str(c, option), "otlp") == 0;
    (void)snprintf(option, sizeof option, "otel_exporter_otlp_%s_endpoint", signal);
    struct assay_str own = assay_str(assay_config_str(c, option)), common = assay_str(assay_config_str(c, "otel_exporter_otlp_endpoint"));
    while (assay_str_ends(common, "/"))
        common.n--;
    if (on && own.n > 0)
        assay_buf_str(out, own);
    else if (on && common.n > 0)
        assay_buf_fmt(out, "%.*s/v1/%s", ASSAY_FMT(common), signal);
    assay_buf_putc(out, '\0');
    return out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "out of memory") : 0;
}

/* A signal's own option goes before the common one. */
static const char *of_signal(const struct assay_config *c, const char *signal, const char *what)
{
    char option[64];
    (void)snprintf(option, sizeof option, "otel_exporter_otlp_%s_%s", signal, what);
    const char *own = assay_config_str(c, option);
    (void)snprintf(option, sizeof option, "otel_exporter_otlp_%s", what);
    return own[0] != '\0' ? own : assay_config_str(c, option);
}

static struct assay_otlp_way way(const struct assay_config *c, const char *signal, const char *url)
{
    char option[64];
    (void)snprintf(option, sizeof option, "otel_exporter_otlp_%s_timeout", signal);
    int64_t own = assay_config_int(c, option);
    return (struct assay_otlp_way){.url = url, .protocol = of_signal(c, signal, "protocol"), .compression = of_signal(c, signal, "compression"),
                                   .headers = of_signal(c, signal, "headers"), .ca_file = of_signal(c, signal, "certificate"),
                                   .timeout_ms = own > 0 ? own : assay_config_int(c, "otel_exporter_otlp_timeout")};
}

static void boxkeepers_metrics(void *arg, struct assay_buf *out)
{
    struct assay_server *s = arg;
    if (!assay_boxes_connected(s->boxes) || assay_boxes_ask(s->boxes, ASSAY_BK_METRICS, 1000, out, NULL) != 0)
        assay_buf_reset(out); /* the next report has them again */
}

int assay_server_telemetry(struct assay_server *s, struct assay_err *err)
{
    const struct assay_config *c = s->setup.config;
    ASSAY_CLEANUP_BUF struct assay_buf traces = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf metrics = ASSAY_BUF_INIT;
    int rc = endpoint(c, "traces", &traces, err);
    if (rc == 0)
        rc = endpoint(c, "metrics", &metrics, err);
    if (rc != 0 || assay_config_int(c, "otel_sdk_disabled") != 0 || (traces.p[0] == '\0' && metrics.p[0] == '\0'))
        return rc;
    const struct assay_otlp_config cfg = {
        .traces = way(c, "traces", traces.p),
        .metrics = way(c, "metrics", metrics.p),
        .service_name = assay_config_str(c, "otel_service_name"),
        .attributes = assay_config_str(c, "otel_resource_attributes"),
        .version = PACKAGE_VERSION,
        .instance_id = s->instance_id,
        .sampler = assay_config_str(c, "otel_traces_sampler"),
        .sampler_arg = assay_config_str(c, "otel_traces_sampler_arg"),
        .delay_ms = assay_config_int(c, "otel_bsp_schedule_delay"),
        .interval_ms = assay_config_int(c, "otel_metric_export_interval"),
        .queue_max = (size_t)assay_config_int(c, "otel_bsp_max_queue_size"),
        .batch_max = (size_t)assay_config_int(c, "otel_bsp_max_export_batch_size"),
        .more = boxkeepers_metrics,
        .more_arg = s,
    };
    return assay_otlp_new(&cfg, s->metrics, s->log, &s->otlp, err);
}

/* ---- readiness ------------------------------------------------------------------------------------ */

/* note: what works less well although it is ok, or "". */
static bool check_with(struct assay_jw *w, const char *name, int rc, const struct assay_err *err, const char *note)
{
    assay_jw_object(w);
    assay_jw_kz(w, "name", name);
    assay_jw_kbool(w, "ok", rc == 0);
    if (rc != 0)
        assay_jw_kz(w, "reason", err->msg);
    else if (note[0] != '\0')
        assay_jw_kz(w, "note", note);
    assay_jw_end(w);
    return rc == 0;
}

static bool check(struct assay_jw *w, const char *name, int rc, const struct assay_err *err)
{
    return check_with(w, name, rc, err, "");
}

/* What the services themselves say; a plugin built before the hook existed has none. */
static bool services_ready(struct assay_server *s, struct assay_jw *checks)
{
    const struct assay_plugins *ps = &s->setup.plugins;
    const size_t with_hook = offsetof(struct assay_plugin, ready) + sizeof ps->entry[0]->p->ready;
    bool ok = true;
    for (size_t i = 0; i < ps->n_order; i++) {
        const struct assay_plugin_entry *e = ps->entry[ps->order[i]];
        struct assay_err why = {0, ""};
        if (!e->started || e->p->kind != ASSAY_PLUGIN_SERVICE || e->p->size < with_hook || e->p->ready == NULL)
            continue;
        int rc = e->p->ready(e->self, &why);
        ok = check_with(checks, e->p->name, rc, &why, why.msg) && ok;
    }
    return ok;
}

bool assay_server_readiness(struct assay_server *s, struct assay_jw *w)
{
    bool ok = true, stopping = atomic_load(&s->stopping);
    struct assay_err err = {0, ""};
    int rc;
    bool serving = atomic_load(&s->up) && !stopping;
    /* the checks come first in time and last in the object */
    struct assay_jw *checks = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    if (checks != NULL) {
        assay_jw_array(checks);
        rc = serving ? 0 : assay_err_set(&err, ASSAY_E_BUSY, stopping ? "the server is stopping" : "the server is starting");
        ok = check(checks, "serving", rc, &err) && ok;
        rc = s->store.ops->health(s->store.self, &err);
        ok = check(checks, "store", rc, &err) && ok;
        rc = s->blobs.ops->health != NULL ? s->blobs.ops->health(s->blobs.self, &err) : 0;
        ok = check(checks, "blobs", rc, &err) && ok;
        if (s->shared.store != NULL) {
            err.msg[0] = '\0';
            rc = assay_shared_accounts_health(&s->shared, &err);
            ok = check_with(checks, "sessions", rc, &err, err.msg) && ok;
        }
        if (s->wants_boxes) {
            rc = assay_boxes_connected(s->boxes) ? 0 : assay_err_set(&err, ASSAY_E_BUSY, "the boxkeeper is not connected");
            ok = check(checks, "boxkeeper", rc, &err) && ok;
        }
        if (s->dispatch_started && serving) {
            rc = assay_dispatch_health(s->dispatch, &err);
            ok = check(checks, "events", rc, &err) && ok;
        }
        if (serving)
            ok = services_ready(s, checks) && ok;
        assay_jw_end(checks);
        if (assay_jw_finish(checks, &text, NULL) != 0)
            ok = false;
        assay_jw_free(checks);
    } else {
        ok = false;
    }
    assay_jw_object(w);
    assay_jw_kbool(w, "ready", ok);
    assay_jw_kz(w, "version", PACKAGE_VERSION);
    assay_jw_kraw(w, "checks", assay_buf_view(&text));
    assay_jw_end(w);
    return ok;
}
