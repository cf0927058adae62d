/* The scoring service: its tables, its beginning and end. */
#include "local.h"

#include <stdlib.h>

static const struct assay_route routes[] = {
    {ASSAY_GET, "/scores", ASSAY_ROLES_ANY, "scores:read", ASSAY_ROUTE_PAGED, 0, scoring_http_list, "scores_list",
     "Scores that the caller may see, newest submission first"},
};

static const char *const topics[] = {"submission.done", "submission.deleted", "benchmark.changed", NULL};

static int on_event(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)self;
    if (assay_str_is(ev->ev.topic, "benchmark.changed")) {
        struct assay_ev_benchmark b = {.visibility = ASSAY_VISIBLE_PRIVATE};
        int rc = assay_ev_benchmark_decode(ev->ev.payload, tx->arena, &b, err);
        if (rc == 0)
            scoring_project_benchmark(tx, ev->ev.subject, &b);
        return rc;
    }
    if (assay_str_is(ev->ev.topic, "submission.deleted")) {
        scoring_remove(tx, ev->ev.subject);
        return 0;
    }
    struct assay_ev_done done = {.attempt = 0};
    bool counts = false;
    int rc = assay_ev_done_decode(ev->ev.payload, tx->arena, &done, err);
    if (rc == 0)
        rc = scoring_judge(&done, &counts, err);
    if (rc == 0 && counts)
        rc = scoring_add(tx, ev->ev.subject, &done, err);
    return rc;
}

/* as many as the leaderboard settles together */
#define BATCH 200

static const struct assay_subscription subscriptions[] = {
    {.group = "scoring", .topics = topics, .kind = ASSAY_SUB_DURABLE, .batch = BATCH, .deliver = on_event},
};

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct scoring *s = calloc(1, sizeof *s);
    if (!s)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    s->magic = SCORING_MAGIC;
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
    .name = "scoring",
    .version = "0.1.0",
    .summary = "Turns the end of a submission into a score",
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = {scoring_migrations, SCORING_MIGRATIONS, sizeof(struct assay_migration)},
    .statements = {scoring_statements, SCORING_STATEMENTS, sizeof scoring_statements[0]},
    .init = init,
    .fini = fini,
};
