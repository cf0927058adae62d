/* The webhooks service: its tables, what becomes of an event, its beginning and end. */
#include "local.h"

#include <assay/identity.h>

#include <stdlib.h>

static const struct assay_option options[] = {
    {.name = "webhook_allow", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Addresses and networks (10.0.0.0/8, ::1) that webhooks may call beside public ones, separated by commas."},
    {.name = "webhook_timeout", .type = ASSAY_OPT_DURATION, .default_text = "10s", .min = 100, .max = 120000,
     .help = "Longest time for one try to send an event to a webhook, its answer included."},
    {.name = "webhook_attempts", .type = ASSAY_OPT_INT, .default_text = "10", .min = 1, .max = 100,
     .help = "How often an event is tried before it counts as failed."},
    {.name = "webhook_pause", .type = ASSAY_OPT_DURATION, .default_text = "5s", .min = 10, .max = 3600000,
     .help = "Pause after the first try that failed; each one after is four times as long."},
    {.name = "webhook_pause_max", .type = ASSAY_OPT_DURATION, .default_text = "6h", .min = 10, .max = (int64_t)7 * 86400000,
     .help = "Longest pause between two tries."},
    {.name = "webhook_keep", .type = ASSAY_OPT_DURATION, .default_text = "720h", .min = 60000, .max = (int64_t)366 * 86400000,
     .help = "How long events that were sent, or failed, can be listed and replayed."},
    {.name = "webhook_max", .type = ASSAY_OPT_INT, .default_text = "1000", .min = 1, .max = 1000000,
     .help = "Most webhooks of one account."},
    {.name = "webhook_ca_file", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "File with the certificates that those of receivers are checked by; empty for the system's."},
};

static const double second_buckets[] = {0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 0};
const struct assay_metric wh_metrics[WH_METRICS] = {
    [WH_METRIC_DELIVERIES] = {.name = "assay_webhook_deliveries_total", .type = ASSAY_METRIC_COUNTER,
                              .help = "Tries to send an event by what came of them: delivered, retried, failed.", .labels = "outcome"},
    [WH_METRIC_SECONDS] = {.name = "assay_webhook_seconds", .type = ASSAY_METRIC_HISTOGRAM, .help = "How long a try took.", .labels = "",
                           .buckets = second_buckets},
};

#define MAKERS (ASSAY_ROLE_AGENT | ASSAY_ROLE_USER | ASSAY_ROLES_STAFF)
static const struct assay_route routes[] = {
    {ASSAY_GET, "/webhooks", MAKERS, NULL, ASSAY_ROUTE_PAGED, 0, wh_do_list, "webhooks_list", "List webhooks"},
    {ASSAY_POST, "/webhooks", MAKERS, NULL, ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, WH_BODY_MAX, wh_do_create, "webhooks_create",
     "Have the events of a benchmark or a submission sent to a URL"},
    {ASSAY_GET, "/webhooks/{id:uuid}", MAKERS, NULL, ASSAY_ROUTE_NO_QUERY, 0, wh_do_get, "webhooks_get", "Show a webhook"},
    {ASSAY_PATCH, "/webhooks/{id:uuid}", MAKERS, NULL, ASSAY_ROUTE_NO_QUERY, WH_BODY_MAX, wh_do_update, "webhooks_update", "Change a webhook"},
    {ASSAY_DELETE, "/webhooks/{id:uuid}", MAKERS, NULL, ASSAY_ROUTE_NO_QUERY, 0, wh_do_remove, "webhooks_delete", "Delete a webhook"},
    {ASSAY_GET, "/webhooks/{id:uuid}/deliveries", MAKERS, NULL, ASSAY_ROUTE_PAGED, 0, wh_do_deliveries, "webhooks_deliveries",
     "What was sent to a webhook and what came of it, newest first"},
    {ASSAY_POST, "/webhooks/{id:uuid}/replay", MAKERS, NULL, ASSAY_ROUTE_NO_QUERY, WH_BODY_MAX, wh_do_replay, "webhooks_replay",
     "Send events again"},
};

#define X(name) &wh_q_##name,
static const struct assay_stmt *const statements[] = {WH_STMTS(X) ASSAY_IDEM_STMTS(wh_idem)};
#undef X

static void or_empty(struct assay_str *s)
{
    if (s->p == NULL)
        *s = ASSAY_STR("");
}

static int on_user(const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    struct assay_ev_user u = {.epoch = 0};
    int rc = assay_ev_user_decode(ev->ev.payload, tx->arena, &u, err);
    if (rc < 0)
        return rc;
    uint32_t role = assay_role_parse(u.role);
    if (u.erased) {
        ASSAY_TX(tx, &wh_q_erase_deliveries, ASSAY_EXPECT_ANY, ASSAY_VT(ev->ev.subject));
        ASSAY_TX(tx, &wh_q_erase, ASSAY_EXPECT_ANY, ASSAY_VT(ev->ev.subject));
        return 0;
    }
    ASSAY_TX(tx, &wh_q_role, ASSAY_EXPECT_ANY, ASSAY_VT(ev->ev.subject), ASSAY_VI((role & ASSAY_ROLES_STAFF) != 0));
    if (u.disabled)
        ASSAY_TX(tx, &wh_q_silence, ASSAY_EXPECT_ANY, ASSAY_VT(ev->ev.subject), ASSAY_VT(ASSAY_STR("the account was disabled")));
    return 0;
}

static int on_event(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)self;
    if (assay_str_is(ev->ev.topic, "user.changed"))
        return on_user(ev, tx, err);
    if (assay_str_is(ev->ev.topic, "benchmark.changed")) {
        struct assay_ev_benchmark b = {.visibility = ASSAY_VISIBLE_PRIVATE};
        int rc = assay_ev_benchmark_decode(ev->ev.payload, tx->arena, &b, err);
        or_empty(&b.owner_id);
        if (rc == 0)
            ASSAY_TX(tx, &wh_q_benchmark_put, ASSAY_EXPECT_ONE, ASSAY_VT(ev->ev.subject), ASSAY_VT(b.owner_id), ASSAY_VI(b.visibility),
                     ASSAY_VI(b.feedback), ASSAY_VI(b.deleted));
        return rc;
    }
    const char *type = wh_type_of(ev->ev.topic);
    if (type == NULL)
        return 0;
    bool board = strcmp(type, "board.updated") == 0, is_done = strcmp(type, "submission.done") == 0;
    struct assay_str whole, bare, benchmark = board ? ev->ev.subject : ev->ev.benchmark, owner = ev->ev.owner;
    struct assay_ev_done done = {.attempt = 0};
    int rc = is_done ? assay_ev_done_decode(ev->ev.payload, tx->arena, &done, err) : 0;
    or_empty(&done.problem_id);
    or_empty(&done.agent_id);
    or_empty(&benchmark);
    or_empty(&owner);
    if (rc == 0)
        rc = wh_body(ev, type, is_done ? &done : NULL, true, tx->arena, &whole, err);
    if (rc == 0)
        rc = wh_body(ev, type, is_done ? &done : NULL, false, tx->arena, &bare, err);
    if (rc != 0)
        return rc;
    /* the copy of a rejudgement counts nowhere: what becomes of it is told when it is applied, as a change of the board */
    if (!(is_done && benchmark.n > 0 && done.agent_id.n == 0))
        ASSAY_TX(tx, &wh_q_fan, ASSAY_EXPECT_ANY, ASSAY_VI(ev->seq), ASSAY_VZ(ev->id), ASSAY_VZ(type), ASSAY_VT(whole), ASSAY_VT(bare),
                 ASSAY_VI(ev->at_ms), ASSAY_VT(benchmark), ASSAY_VT(board ? ASSAY_STR("") : ev->ev.subject), ASSAY_VT(owner), ASSAY_VI(board));
    if (assay_str_is(ev->ev.topic, "submission.created"))
        ASSAY_TX(tx, &wh_q_live_put, ASSAY_EXPECT_ANY, ASSAY_VT(ev->ev.subject), ASSAY_VT(owner), ASSAY_VT(benchmark));
    else if (is_done || assay_str_is(ev->ev.topic, "submission.cancelled") || assay_str_is(ev->ev.topic, "submission.deleted"))
        ASSAY_TX(tx, &wh_q_live_drop, ASSAY_EXPECT_ANY, ASSAY_VT(ev->ev.subject));
    return 0;
}

static int on_bell(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    const struct webhooks *s = self;
    (void)ev, (void)tx, (void)err;
    wh_sender_nudge(s->sender);
    return 0;
}

static const struct assay_subscription subscriptions[] = {
    {.group = WH_GROUP, .topics = wh_topics, .kind = ASSAY_SUB_DURABLE, .deliver = on_event},
    {.group = "webhooks_bell", .topics = wh_topics, .kind = ASSAY_SUB_BELL, .deliver = on_bell},
};

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct webhooks *s = calloc(1, sizeof *s);
    if (s == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    *self = s;
    s->host = host;
    s->max_per_user = host->option_int(host->ctx, "webhook_max");
    return wh_sender_new(host, &s->sender, err);
}

static int start(void *self, struct assay_err *err)
{
    struct webhooks *s = self;
    /* from 0 on, or the first that fails is no increase that an alert could see */
    static const char *const outcomes[] = {"delivered", "retried", "failed"};
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        s->host->metric_add(s->host->ctx, &wh_metrics[WH_METRIC_DELIVERIES], &outcomes[i], 0);
    return wh_sender_start(s->sender, err);
}

static void drain(void *self)
{
    struct webhooks *s = self;
    wh_sender_stop(s->sender);
}

static void fini(void *self)
{
    struct webhooks *s = self;
    if (s == NULL)
        return;
    wh_sender_free(s->sender);
    free(s);
}

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "webhooks",
    .version = "0.1.0",
    .summary = "Sends events to addresses that people gave",
    .options = ASSAY_TABLE(options),
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = ASSAY_TABLE(wh_migrations),
    .statements = ASSAY_TABLE(statements),
    .metrics = ASSAY_TABLE(wh_metrics),
    .init = init,
    .start = start,
    .drain = drain,
    .fini = fini,
};
