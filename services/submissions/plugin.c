/* The submissions service: its tables, and its beginning and end. */
#include "project.h"

static const struct assay_option options[] = {
    {"max_attempts", NULL, ASSAY_OPT_INT, "3", 1, 100, NULL,
     "how often a submission is tried before an infrastructure fault ends it as IE", 0, 0},
    {"queue_max", NULL, ASSAY_OPT_INT, "100000", 0, (int64_t)1 << 40, NULL,
     "most submissions that wait to be judged; more are refused with 503 and Retry-After; 0 for no bound", 0, 0},
    {"queue_max_bytes", NULL, ASSAY_OPT_BYTES, "4g", 0, (int64_t)1 << 50, NULL,
     "most bytes of sources and payloads of submissions that wait; more are refused with 503; 0 for no bound", 0, 0},
    {"queue_max_per_user", NULL, ASSAY_OPT_INT, "10000", 0, (int64_t)1 << 40, NULL,
     "most submissions of one account (of staff: for one agent) that wait; more are refused with 429; 0 for no bound", 0, 0},
    {"queue_max_per_benchmark", NULL, ASSAY_OPT_INT, "0", 0, (int64_t)1 << 40, NULL,
     "most submissions to one benchmark that wait; more are refused with 503; 0 for no bound", 0, 0},
    {"max_interruptions", NULL, ASSAY_OPT_INT, "50", 1, 1000000, NULL,
     "how often a submission may be interrupted by a restart of the server before it ends as IE", 0, 0},
    {"instance_silence", NULL, ASSAY_OPT_DURATION, "15s", 2000, 3600000, NULL,
     "how long a gateway may give no sign of life before the others on its database take over what its runner had", 0, 1000},
    {"event_streams_max", NULL, ASSAY_OPT_INT, "10000", 1, 1000000, NULL, "most event streams at a time; more are refused with 503", 0, 0},
    {"event_stream_heartbeat", NULL, ASSAY_OPT_DURATION, "15s", 1000, 600000, NULL,
     "how long a stream may be silent before a comment is sent, by which both sides see that the other is there", 0, 1000},
    {"event_stream_patience", NULL, ASSAY_OPT_DURATION, "30s", 1000, 3600000, NULL,
     "how long a stream waits for a client that takes nothing before it is cut off", 0, 1000},
    {"event_stream_age", NULL, ASSAY_OPT_DURATION, "1h", 1000, 86400000, NULL,
     "after what time a stream ends; the client comes back with a token that is still good and Last-Event-ID", 0, 1000},
    {"intake_in_flight", NULL, ASSAY_OPT_INT, "0", 0, 1000, NULL,
     "messages of each broker of intake that are taken and not yet answered; 0 takes twice runner_max_parallel", 0, 0},
    {"intake_keep", NULL, ASSAY_OPT_DURATION, "72h", 0, INT64_C(1) << 50, NULL,
     "how long messages that have ended are remembered, with their programs and results; one that comes again later is judged again; "
     "0 for ever",
     0, 1000},
    {"uploads_keep", NULL, ASSAY_OPT_DURATION, "0", 0, INT64_C(1) << 50, NULL,
     "how long the upload of a project is kept after it has ended; later it cannot be judged again; 0 for ever, or until the submission is "
     "deleted",
     0, 1000},
    {"uploads_keep_unconfirmed", NULL, ASSAY_OPT_DURATION, "72h", 0, INT64_C(1) << 50, NULL,
     "how long an upload that nobody confirms is kept, two hours at least; 0 for ever", 0, 1000},
    {"logs_keep", NULL, ASSAY_OPT_DURATION, "0", 0, INT64_C(1) << 50, NULL,
     "how long the log of a project is kept after it has ended; 0 for ever, or until the submission is deleted", 0, 1000},
    {"retention_every", NULL, ASSAY_OPT_DURATION, "10m", 100, 86400000, NULL, "how often what is kept no longer is looked for and removed", 0, 1000},
    {"default_pit_id", "DEFAULT_PIT_ID", ASSAY_OPT_STRING, "default", 0, 0, NULL,
     "PIT of a project whose request or message names none, and of a message whose PIT this process does not know", 0, 0},
    {"public_url", NULL, ASSAY_OPT_STRING, "", 0, 0, NULL,
     "where clients reach this server, such as https://judge.example.org, for URLs that it gives out; empty: what they asked as their Host", 0, 0},
    {"result_max", NULL, ASSAY_OPT_BYTES, "0", 0, 16 << 20, NULL,
     "bytes of a result that goes to a broker, longer texts are cut; 0 takes what the brokers of intake take by themselves: 240k "
     "with SQS, else 900000",
     0, 0},
};

#define WRITERS (ASSAY_ROLES_STAFF | ASSAY_ROLE_USER | ASSAY_ROLE_AGENT)

static const struct assay_route routes[] = {
    {ASSAY_POST, "/submissions", WRITERS, "submissions:write", ASSAY_ROUTE_INLINE | ASSAY_ROUTE_IDEMPOTENT, BODY_SUBMIT,
     http_submissions_create, "submissions_create", "Submit a program, files or a payload to a benchmark"},
    {ASSAY_POST, "/submissions/batch", WRITERS, "submissions:write", ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, BODY_BATCH,
     http_submissions_batch, "submissions_batch", "Submit up to 100 at once; each is taken or refused by itself"},
    {ASSAY_GET, "/submissions", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_PAGED, 0, http_submissions_list,
     "submissions_list", "Submissions of the caller, or of anybody for staff, newest first"},
    {ASSAY_GET, "/submissions/{id:uuid}", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_NO_QUERY, 0, http_submissions_get,
     "submissions_get", "One submission"},
    {ASSAY_GET, "/submissions/{id:uuid}/source", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_NO_QUERY, 0,
     http_submissions_source, "submissions_source", "What was sent: the source or files, and the payload"},
    {ASSAY_DELETE, "/submissions/{id:uuid}", WRITERS, "submissions:write", ASSAY_ROUTE_NO_QUERY, 0, http_submissions_delete,
     "submissions_delete", "Remove a submission that has ended"},
    {ASSAY_POST, "/submissions/{id:uuid}/cancel", WRITERS, "submissions:write", ASSAY_ROUTE_NO_QUERY, 0, http_submissions_cancel,
     "submissions_cancel", "End a submission that has not ended by itself"},
    {ASSAY_POST, "/submissions/{id:uuid}/rejudge", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, 0, http_submissions_rejudge,
     "submissions_rejudge", "Judge a submission again, by the problem as it is now"},
    {ASSAY_POST, "/rejudgings", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY, 65536, http_rejudgings_create,
     "rejudgings_create", "Judge a set of submissions again, without a change to any until it is applied"},
    {ASSAY_GET, "/rejudgings", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_PAGED, 0, http_rejudgings_list, "rejudgings_list",
     "Sets that were judged again, newest first: who made, applied or cancelled them, and why"},
    {ASSAY_GET, "/rejudgings/{id:uuid}", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, 0, http_rejudgings_get, "rejudgings_get",
     "How far a set is judged, and how much would change"},
    {ASSAY_GET, "/rejudgings/{id:uuid}/changes", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_PAGED, 0, http_rejudgings_changes,
     "rejudgings_changes", "Which verdicts and scores would change, or have"},
    {ASSAY_POST, "/rejudgings/{id:uuid}/apply", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, 0, http_rejudgings_apply,
     "rejudgings_apply", "Let the new verdicts stand"},
    {ASSAY_POST, "/rejudgings/{id:uuid}/cancel", ASSAY_ROLES_STAFF, NULL, ASSAY_ROUTE_NO_QUERY, 0, http_rejudgings_cancel,
     "rejudgings_cancel", "Forget the new verdicts"},
    {ASSAY_GET, "/submissions/{id:uuid}/events", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_STREAM | ASSAY_ROUTE_NO_QUERY, 0,
     http_submissions_events, "submissions_events", "What happens to a submission, as it happens: server-sent events"},
    {ASSAY_GET, "/events", ASSAY_ROLES_ANY, NULL, ASSAY_ROUTE_STREAM, 0, http_events_stream, "events_stream",
     "What happens to all that the caller may see, as it happens: server-sent events"},
    {ASSAY_POST, "/submissions/request-upload", WRITERS, "submissions:write", ASSAY_ROUTE_NO_QUERY, (size_t)16 << 10, http_project_request,
     "projects_request_upload", "Get a URL to upload a project's ZIP to"},
    {ASSAY_PUT, "/submissions/uploads/{user}/{pit}/{name}", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_SPOOL, UPLOAD_MAX, http_project_put,
     "projects_upload", "Upload a project's ZIP, to the URL that request-upload gave"},
    {ASSAY_POST, "/submissions/confirm", WRITERS, "submissions:write", ASSAY_ROUTE_NO_QUERY, (size_t)16 << 10, http_project_confirm,
     "projects_confirm", "Submit the project that was uploaded"},
    {ASSAY_GET, "/submissions/feedback/{id:uuid}", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_NO_QUERY, 0, http_project_feedback,
     "projects_feedback", "What became of a project"},
    {ASSAY_GET, "/submissions/feedback/{id:uuid}/log", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_NO_QUERY, 0, http_project_log,
     "projects_log", "What a project's commands printed"},
    {ASSAY_GET, "/submissions/mine", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_PAGED, 0, http_project_mine, "projects_mine",
     "The caller's projects, newest first"},
    {ASSAY_POST, "/task", WRITERS, "submissions:write", ASSAY_ROUTE_INLINE | ASSAY_ROUTE_IDEMPOTENT | ASSAY_ROUTE_NO_QUERY,
     BODY_SUBMIT, http_task_create, "task_create", "Run a program once, or apply a filter to an image, without a benchmark"},
    {ASSAY_DELETE, "/task", WRITERS, "submissions:write", 0, 0, http_task_delete, "task_delete",
     "Remove a task, ending it when it runs"},
    {ASSAY_GET, "/status/{id}", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_NO_QUERY, 0, http_task_status, "task_status",
     "Whether a task is in progress or ready"},
    {ASSAY_GET, "/result/{id}", ASSAY_ROLES_ANY, "submissions:read", ASSAY_ROUTE_NO_QUERY, 0, http_task_result, "task_result",
     "What a task printed, or a filtered image; empty while it is in progress"},
};

static const double publish_seconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 0};
static const double answer_seconds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 0};
const struct assay_metric submissions_metrics[SUBMISSIONS_METRICS] = {
    [METRIC_OPEN] = {"assay_submissions_open", ASSAY_METRIC_GAUGE,
                     "Submissions that have not ended: queued, and running on this process's leases.", "state", NULL},
    [METRIC_WAITING] = {"assay_submissions_waiting", ASSAY_METRIC_GAUGE,
                        "Submissions that wait, as of the last count, by their benchmark's priority: low (below 10), normal (10, and what has no "
                        "benchmark), high, rejudge.", "priority", NULL},
    [METRIC_LONGEST] = {"assay_submissions_longest_wait_seconds", ASSAY_METRIC_GAUGE,
                        "Age of the oldest that waits, as of the last count, by priority.", "priority", NULL},
    [METRIC_BYTES] = {"assay_submissions_queued_bytes", ASSAY_METRIC_GAUGE, "Bytes of sources and payloads that wait.", "", NULL},
    [METRIC_SUBMITTERS] = {"assay_submissions_submitters", ASSAY_METRIC_GAUGE, "Submitters who have something in the queue.", "", NULL},
    [METRIC_OLDEST] = {"assay_submissions_oldest_queued_seconds", ASSAY_METRIC_GAUGE,
                       "Age of the oldest submission that waits, as of the last count of the queue.", "", NULL},
    [METRIC_DRAIN] = {"assay_submissions_drain_per_second", ASSAY_METRIC_GAUGE,
                      "Submissions that ended, a second, over the last minute; what Retry-After is made of.", "", NULL},
    [METRIC_REFUSED] = {"assay_submissions_refused_total", ASSAY_METRIC_COUNTER,
                        "Submissions refused because a bound was reached, by the bound's option.", "bound", NULL},
    [METRIC_STREAMS] = {"assay_event_streams", ASSAY_METRIC_GAUGE, "Event streams that are open.", "", NULL},
    [METRIC_STREAM_ENDS] = {"assay_event_stream_ends_total", ASSAY_METRIC_COUNTER,
                            "Event streams that ended: ended (with the submission), left (by the client), slow, aged, stopped.", "how", NULL},
    [METRIC_MESSAGES] = {"assay_intake_messages_total", ASSAY_METRIC_COUNTER,
                         "Messages of brokers: taken, again (known already), held_back, poison, lost, answered, dead.", "broker,outcome", NULL},
    [METRIC_HELD] = {"assay_intake_messages_held", ASSAY_METRIC_GAUGE, "Messages that are taken and not settled.", "broker", NULL},
    [METRIC_PUBLISH_SECONDS] = {"assay_intake_publish_seconds", ASSAY_METRIC_HISTOGRAM,
                                "From a result's publication to its confirmation.", "broker", publish_seconds},
    [METRIC_ANSWER_SECONDS] = {"assay_intake_answer_seconds", ASSAY_METRIC_HISTOGRAM,
                               "From a message's delivery to its settlement.", "broker", answer_seconds},
    [METRIC_REJUDGINGS] = {"assay_rejudgings_total", ASSAY_METRIC_COUNTER, "Sets that are judged again: made, applied, cancelled.", "what", NULL},
    [METRIC_REJUDGED] = {"assay_rejudged_submissions_total", ASSAY_METRIC_COUNTER,
                         "Submissions of applied sets: applied, kept (the new verdict was IE), overtaken (judged by itself meanwhile).", "outcome", NULL},
    [METRIC_REMOVED] = {"assay_retention_removed_total", ASSAY_METRIC_COUNTER, "Blobs that were kept no longer: upload, log, unconfirmed.", "what", NULL},
};

static const char *const ends[] = {"submission.created", "submission.done", "submission.cancelled", "submission.queued", NULL};

/* stream_topics, and what tells whose a benchmark is */
static const char *const streamed[] = {"submission.created", "submission.queued", "submission.running", "submission.test",
                                       "submission.done", "submission.cancelled", "submission.deleted", "leaderboard.updated",
                                       "submission.checker_failed", "benchmark.changed", NULL};

static int on_project(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    return repo_project(self, ev, tx, err);
}

static const struct assay_subscription subscriptions[] = {
    {SUBMISSIONS_GROUP, projected_topics, ASSAY_SUB_DURABLE, 64, on_project, NULL},
    {"submissions.ends", ends, ASSAY_SUB_LOCAL, 256, http_on_event, NULL},
    {"submissions.streams", streamed, ASSAY_SUB_LOCAL, 256, stream_on_event, NULL},
};

static const struct assay_need needs[] = {{ASSAY_PITS_INTERFACE, ASSAY_PITS_VERSION, true}};
static const struct assay_interface provides[] = {{ASSAY_JOBS_INTERFACE, ASSAY_JOBS_VERSION, &submissions_jobs}};

static int init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct submissions *s = calloc(1, sizeof *s);
    if (s == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->leasing, NULL);
    *self = s;
    s->host = host;
    s->max_attempts = host->option_int(host->ctx, "max_attempts");
    s->max_interruptions = host->option_int(host->ctx, "max_interruptions");
    struct admission_bounds bounds = {.all = host->option_int(host->ctx, "queue_max"),
                                      .bytes = host->option_int(host->ctx, "queue_max_bytes"),
                                      .per_user = host->option_int(host->ctx, "queue_max_per_user"),
                                      .per_benchmark = host->option_int(host->ctx, "queue_max_per_benchmark")};
    s->pits = host->need(host->ctx, ASSAY_PITS_INTERFACE, &s->pits_self);
    s->live = live_new();
    s->admission = admission_new(&bounds, host->mono_ns(host->ctx) / 1000000);
    if (s->live == NULL || s->admission == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = leases_new(s, err);
    if (rc >= 0)
        rc = intake_new(s, err);
    return rc < 0 ? rc : stream_hub_new(s, err);
}

static int start(void *self, struct assay_err *err)
{
    struct submissions *s = self;
    int rc = leases_start(s, err);
    if (rc >= 0)
        rc = jobs_count(s, true, err);
    if (rc >= 0)
        rc = jobs_sweep_start(s, err);
    if (rc >= 0)
        rc = intake_start(s, err);
    if (rc >= 0)
        rc = retention_start(s, err);
    return rc < 0 ? rc : stream_hub_start(s, err);
}

static void drain(void *self)
{
    struct submissions *s = self;
    atomic_store(&s->draining, true);
    live_wake_all(s->live);
    intake_drain(s);
    leases_leave(s); /* what our runner could not hand back is free at once */
    stream_hub_stop(s);
}

static int ready(void *self, struct assay_err *why)
{
    return intake_ready(self, why);
}

static void fini(void *self)
{
    struct submissions *s = self;
    if (s == NULL)
        return;
    http_free_timers(s);
    stream_hub_free(s);
    intake_free(s);
    live_free(s->live);
    leases_free(s);
    admission_free(s->admission);
    pthread_mutex_destroy(&s->leasing);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

extern const struct assay_plugin assay_plugin;
ASSAY_PLUGIN_EXPORT const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SERVICE),
    .name = "submissions",
    .version = "0.1.0",
    .summary = "takes submissions, owns their jobs and their one terminal state",
    .options = ASSAY_TABLE(options),
    .routes = ASSAY_TABLE(routes),
    .subscriptions = ASSAY_TABLE(subscriptions),
    .migrations = ASSAY_TABLE(submissions_migrations),
    .statements = ASSAY_TABLE(submissions_statements),
    .provides = ASSAY_TABLE(provides),
    .needs = ASSAY_TABLE(needs),
    .metrics = ASSAY_TABLE(submissions_metrics),
    .init = init,
    .start = start,
    .drain = drain,
    .fini = fini,
    .ready = ready,
};
