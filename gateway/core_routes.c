#include "core_routes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http.h"
#include "metrics.h"
#include "pages.h"
#include "server.h"

#define OPENAPI_MAX ((off_t)16 << 20)

struct core {
    const struct assay_host *host;
    bool metrics_public;
    struct assay_buf openapi; /* read once: the contract belongs to the program that started */
    struct assay_pages *pages; /* NULL: not built */
};

static struct assay_server *server_of(const struct core *c)
{
    return assay_server_of(c->host);
}

/* Inline on the event loop: a server whose workers are all busy is alive. */
static int health_live(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    const struct core *c = self;
    (void)rq;
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    assay_jw_object(w);
    assay_jw_kz(w, "status", "ok");
    assay_jw_kz(w, "version", c->host->version);
    assay_jw_end(w);
    assay_reply_header(rs, ASSAY_STR("cache-control"), ASSAY_STR("no-store"));
    return assay_reply_json(rs, 200, w, err);
}

static int health_ready(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    (void)rq;
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    bool ready = assay_server_readiness(server_of(self), w);
    assay_reply_header(rs, ASSAY_STR("cache-control"), ASSAY_STR("no-store"));
    return assay_reply_json(rs, ready ? 200 : 503, w, err);
}

static bool local_caller(struct assay_str remote)
{
    return assay_str_starts(remote, "127.") || assay_str_is(remote, "::1") || assay_str_starts(remote, "::ffff:127.");
}

static int metrics_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct core *c = self;
    if (!c->metrics_public && !local_caller(rq->remote))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is nothing here");
    rs->content_type = ASSAY_METRICS_CONTENT_TYPE;
    assay_reply_header(rs, ASSAY_STR("cache-control"), ASSAY_STR("no-store"));
    return assay_server_metrics(server_of(c), &rs->body, err);
}

static int openapi_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct core *c = self;
    (void)rs;
    if (c->openapi.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the API description is not installed beside this server");
    assay_front_reply_fixed(rq, assay_buf_view(&c->openapi));
    return ASSAY_OK;
}

#define HOW_TO_BUILD "`make dashboard`, then `make install` (needs Node.js and npm: packaging/install-deps dashboard)"

static int page(struct assay_response *rs, const char *html, struct assay_err *err)
{
    rs->content_type = "text/html; charset=utf-8";
    assay_pages_harden(rs, "");
    assay_reply_header(rs, ASSAY_STR("vary"), ASSAY_STR("Accept"));
    assay_buf_puts(&rs->body, html);
    return rs->body.failed ? assay_err_set(err, ASSAY_E_NOMEM, "out of memory") : ASSAY_OK;
}

#define NOT_BUILT(what, up)                                                                                            \
    "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Assay</title>\n<h1>Assay is running</h1>\n"           \
    "<p>" what " was not built into this installation. Build and install it: " HOW_TO_BUILD ".</p>\n"                   \
    "<p>The API is there: <a href=\"" up "swagger.json\">its contract</a>, <a href=\"" up "readyz\">readiness</a>.</p></html>\n"

static int answer_page(const struct core *c, const char *folder, struct assay_str name, struct assay_request *rq, struct assay_response *rs,
                       struct assay_err *err)
{
    struct assay_str bytes = ASSAY_STR("");
    int rc = assay_pages_answer(c->pages, folder, name, rq, rs, &bytes, err);
    if (rc >= 0)
        assay_front_reply_fixed(rq, bytes);
    return rc;
}

/* For people the dashboard, for programs where to look next. */
static int index_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct core *c = self;
    if (assay_pages_wanted(rq) && c->pages != NULL)
        return answer_page(c, "", ASSAY_STR("index.html"), rq, rs, err);
    if (assay_pages_wanted(rq))
        return page(rs, NOT_BUILT("The dashboard", ""), err);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    assay_jw_object(w);
    assay_jw_kz(w, "name", "assay");
    assay_jw_kz(w, "version", c->host->version);
    assay_jw_key(w, "links");
    assay_jw_object(w);
    assay_jw_kz(w, "api", "/swagger.json");
    if (c->pages != NULL) {
        assay_jw_kz(w, "swagger", "/swagger/");
        assay_jw_kz(w, "dashboard", "/");
    }
    assay_jw_kz(w, "health", "/healthz");
    assay_jw_kz(w, "readiness", "/readyz");
    assay_jw_kz(w, "metrics", "/metrics");
    assay_jw_end(w);
    assay_jw_end(w);
    assay_reply_header(rs, ASSAY_STR("vary"), ASSAY_STR("Accept"));
    return assay_reply_json(rs, 200, w, err);
}

static int from_folder(const struct core *c, const char *folder, struct assay_str name, struct assay_request *rq, struct assay_response *rs,
                       struct assay_err *err)
{
    if (c->pages == NULL)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "this was not built into this installation: " HOW_TO_BUILD);
    return answer_page(c, folder, name, rq, rs, err);
}
static int dashboard_file(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    return from_folder(self, "ui", rq->param[0], rq, rs, err);
}
static int swagger_file(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    return from_folder(self, "swagger", rq->param[0], rq, rs, err);
}
static int swagger_ui(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct core *c = self;
    return c->pages != NULL ? from_folder(c, "swagger", ASSAY_STR("index.html"), rq, rs, err) : page(rs, NOT_BUILT("Swagger UI", "../"), err);
}

/* The page's own files are relative to "/swagger/", also behind a proxy that serves us under a path of its own. */
static int swagger_door(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)rq;
    return page(rs,
                "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0; url=swagger/\">"
                "<title>Assay's API</title>\n<p><a href=\"swagger/\">Swagger UI</a></p></html>\n",
                err);
}

static const struct assay_route routes[] = {
    {.method = ASSAY_GET, .path = "/healthz", .flags = ASSAY_ROUTE_INLINE, .handle = health_live,
     .operation_id = "health_live", .summary = "Liveness of the server"},
    {.method = ASSAY_GET, .path = "/readyz", .handle = health_ready, .operation_id = "health_ready",
     .summary = "Readiness, with the reasons when it is not ready"},
    {.method = ASSAY_GET, .path = "/metrics", .handle = metrics_get, .operation_id = "metrics_get",
     .summary = "Metrics in Prometheus' text format"},
    {.method = ASSAY_GET, .path = "/swagger.json", .handle = openapi_get, .operation_id = "openapi_get",
     .summary = "The API's contract (OpenAPI)"},
    {.method = ASSAY_GET, .path = "/", .flags = ASSAY_ROUTE_INLINE, .handle = index_get, .operation_id = "index_get",
     .summary = "For browsers the dashboard; else what this server is and where to look next"},
    {.method = ASSAY_GET, .path = "/ui/{name}", .flags = ASSAY_ROUTE_INLINE, .handle = dashboard_file, .operation_id = "dashboard_file",
     .summary = "A file of the dashboard"},
    {.method = ASSAY_GET, .path = "/swagger", .flags = ASSAY_ROUTE_INLINE, .handle = swagger_door, .operation_id = "swagger_door",
     .summary = "Leads to Swagger UI"},
    {.method = ASSAY_GET, .path = "/swagger/", .flags = ASSAY_ROUTE_INLINE, .handle = swagger_ui, .operation_id = "swagger_ui",
     .summary = "Swagger UI: the contract, to read and to try"},
    {.method = ASSAY_GET, .path = "/swagger/{name}", .flags = ASSAY_ROUTE_INLINE, .handle = swagger_file, .operation_id = "swagger_file",
     .summary = "A file of Swagger UI"},
};

/* A missing file is not an error: a server without its documentation still judges. */
static void read_openapi(struct core *c)
{
    char path[PATH_MAX];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/docs/openapi.json", c->host->option_str(c->host->ctx, "share_dir"));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > OPENAPI_MAX) {
        assay_log(c->host, ASSAY_LOG_WARN, "openapi_missing", ASSAY_KZ("path", path));
    } else {
        char chunk[8192];
        ssize_t n;
        while ((n = read(fd, chunk, sizeof chunk)) > 0)
            assay_buf_add(&c->openapi, chunk, (size_t)n);
        if (n < 0 || c->openapi.failed)
            assay_buf_free(&c->openapi);
    }
    if (fd >= 0)
        close(fd);
}

/* Nor are missing pages: the API is whole without them. */
static void read_pages(struct core *c)
{
    char path[PATH_MAX];
    struct assay_err err;
    (void)snprintf(path, sizeof path, "%s/www", c->host->option_str(c->host->ctx, "share_dir"));
    int rc = assay_pages_load(path, &c->pages, &err);
    if (rc == ASSAY_E_NOT_FOUND)
        assay_log(c->host, ASSAY_LOG_INFO, "dashboard_not_built", ASSAY_KZ("path", path), ASSAY_KZ("remedy", HOW_TO_BUILD));
    else if (rc != 0)
        assay_log(c->host, ASSAY_LOG_WARN, "dashboard_unreadable", ASSAY_KZ("path", path), ASSAY_KZ("error", err.msg));
}

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct core *c = calloc(1, sizeof *c);
    if (c == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    c->host = host;
    c->metrics_public = host->option_int(host->ctx, "metrics_public") != 0;
    assay_buf_init(&c->openapi, (size_t)OPENAPI_MAX);
    *self = c;
    read_openapi(c);
    read_pages(c);
    return 0;
}

static void fini(void *self)
{
    struct core *c = self;
    if (c == NULL)
        return;
    assay_buf_free(&c->openapi);
    assay_pages_free(c->pages);
    free(c);
}

const struct assay_plugin assay_core_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "core",
    .version = PACKAGE_VERSION,
    .summary = "Liveness, readiness, metrics, the contract, the dashboard",
    .routes = ASSAY_TABLE(routes),
    .init = init,
    .fini = fini,
};
