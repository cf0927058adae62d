/* The traces service: its tables, its beginning and end. */
#include "local.h"

#include <stdlib.h>

static const struct assay_route routes[] = {
    {ASSAY_GET, "/traces", ASSAY_ROLES_ANY, "traces:read", ASSAY_ROUTE_PAGED, 0, traces_http_get, "traces_list",
     "What happened to a submission, and when; or the submissions that have a trace"},
    {ASSAY_POST, "/traces", ASSAY_ROLES_STAFF | ASSAY_ROLE_USER | ASSAY_ROLE_AGENT, "traces:write",
     ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, TRACES_BODY_MAX, traces_http_post, "traces_create",
     "Add a message, and spans, to the trace of a submission"},
};

const char *const traces_topics[] = {"submission.created",   "submission.queued",  "submission.running", "submission.done",
                                     "submission.cancelled", "submission.deleted", "benchmark.changed",  NULL};

static int on_event(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    const struct traces *s = self;
    struct assay_str topic = ev->ev.topic, detail = ASSAY_STR("");
    int rc = 0;
    if (assay_str_is(topic, "benchmark.changed")) {
        struct assay_ev_benchmark b = {.visibility = ASSAY_VISIBLE_PRIVATE};
        rc = assay_ev_benchmark_decode(ev->ev.payload, tx->arena, &b, err);
        if (rc == 0)
            tr_project_benchmark(tx, ev->ev.subject, &b);
        return rc;
    }
    if (assay_str_is(topic, "submission.deleted")) {
        tr_remove(tx, ev->ev.subject);
        return 0;
    }
    struct tr_submission sub = {.id = ev->ev.subject,
                                .owner_id = ev->ev.owner,
                                .benchmark_id = ev->ev.benchmark,
                                .state = ASSAY_STR("queued"),
                                .created_ms = ev->at_ms};
    if (assay_str_is(topic, "submission.created")) {
        rc = tr_created_agent(ev->ev.payload, tx->arena, &sub.agent_id, err);
    } else if (assay_str_is(topic, "submission.queued")) {
        rc = tr_reason(ev->ev.payload, tx->arena, &detail, err);
    } else if (assay_str_is(topic, "submission.running")) {
        sub.state = ASSAY_STR("running");
    } else if (assay_str_is(topic, "submission.cancelled")) {
        sub.state = ASSAY_STR("cancelled");
        sub.finished_ms = ev->at_ms;
        rc = tr_reason(ev->ev.payload, tx->arena, &detail, err);
    } else {
        struct assay_ev_done done = {.attempt = 0};
        struct tr_span *span;
        size_t n;
        rc = assay_ev_done_decode(ev->ev.payload, tx->arena, &done, err);
        if (rc < 0)
            return rc;
        sub.agent_id = done.agent_id;
        sub.verdict = done.verdict;
        sub.state = assay_str_is(done.verdict, "IE") ? ASSAY_STR("error") : ASSAY_STR("done");
        sub.finished_ms = done.finished_ms > 0 ? done.finished_ms : ev->at_ms;
        if (done.created_ms > 0)
            sub.created_ms = done.created_ms;
        /* a summary is its runner's own: what cannot be read of it must not cost the trace */
        struct assay_err why = {0};
        int odd = tr_summary_spans(done.summary, tx->arena, &sub.spans, &why);
        if (odd == 0)
            odd = tr_spans_decode(sub.spans, tx->arena, &span, &n, &why);
        if (odd == ASSAY_E_NOMEM)
            return assay_err_set(err, odd, "%s", why.msg);
        if (odd != 0) {
            sub.spans = ASSAY_STR("");
            assay_log(s->host, ASSAY_LOG_WARN, "trace_spans_unreadable", ASSAY_KS("submission_id", sub.id),
                      ASSAY_KZ("error", why.msg));
        }
    }
    if (rc == 0)
        tr_life(tx, ev, &sub, detail);
    return rc;
}

static const struct assay_subscription subscriptions[] = {
    {.group = TRACES_GROUP, .topics = traces_topics, .kind = ASSAY_SUB_DURABLE, .deliver = on_event},
};

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct traces *s = calloc(1, sizeof *s);
    if (!s)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    s->magic = TRACES_MAGIC;
    s->host = host;
    *self = s;
    return 0;
}

static void fini(void *self)
{
    free(self);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "traces",
    .version = "0.1.0",
    .summary = "Keeps what happened to each submission, and when",
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = {traces_migrations, TRACES_MIGRATIONS, sizeof traces_migrations[0]},
    .statements = {traces_statements, TRACES_STATEMENTS, sizeof traces_statements[0]},
    .init = init,
    .fini = fini,
};
