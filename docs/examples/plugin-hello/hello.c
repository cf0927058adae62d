/*
 * The smallest service plugin: one option, one metric, one route.
 *
 * Build it with the Makefile beside it against an installed Assay, put hello.so into a folder of
 * plugin_path, and GET /hello/world answers {"hello": "world"}.  docs/plugins.md explains the rest.
 */
#include <stdlib.h>

#include <assay/json.h>
#include <assay/plugin.h>

struct hello {
    const struct assay_host *host;
};

static const struct assay_option options[] = {
    {.name = "hello_word",
     .type = ASSAY_OPT_STRING,
     .default_text = "hello",
     .min = 1,
     .max = 64,
     .help = "The member that the greeting is answered under."},
};

static const struct assay_metric metrics[] = {
    {.name = "assay_hello_greetings_total", .type = ASSAY_METRIC_COUNTER, .help = "Greetings answered.", .labels = ""},
};

/* Runs on a worker thread, so it might block; on an error the host answers problem+json. */
static int greet(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct hello *h = self;
    const struct assay_host *host = h->host;
    static const char *const no_parameters[] = {NULL};
    int rc = assay_query_only(rq, rs, no_parameters, err);
    if (rc != 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    assay_jw_object(w);
    assay_jw_kstr(w, host->option_str(host->ctx, "hello_word"), rq->param[0]);
    assay_jw_end(w);
    host->metric_add(host->ctx, &metrics[0], NULL, 1);
    return assay_reply_json(rs, 200, w, err);
}

static const struct assay_route routes[] = {
    {.method = ASSAY_GET,
     .path = "/hello/{name}",
     .roles = ASSAY_ROLES_PUBLIC,
     .handle = greet,
     .operation_id = "hello_greet",
     .summary = "Greet somebody"},
};

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct hello *h = calloc(1, sizeof *h);
    if (h == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    h->host = host;
    *self = h;
    return 0;
}

/* Accepts whatever init has left, also nothing. */
static void fini(void *self)
{
    free(self);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "hello",
    .version = "1.0.0",
    .summary = "Greets, as an example",
    .options = ASSAY_TABLE(options),
    .routes = ASSAY_TABLE(routes),
    .metrics = ASSAY_TABLE(metrics),
    .init = init,
    .fini = fini,
};
