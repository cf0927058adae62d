/* JSON of webhooks: what may be asked for, how hooks and deliveries are shown, and what is sent. */
#include "local.h"

const char *const wh_state_names[] = {"waiting", "delivered", "failed", NULL};

#define ROW(name_, type_, member_, has_, lo_, hi_)                                                                     \
    {.name = name_, .type = type_, .offset = offsetof(struct wh_create_in, member_), .min = lo_, .max = hi_,           \
     .has_offset = offsetof(struct wh_create_in, has_)}
#define URL ROW("url", ASSAY_JSON_STRING, url, has_url, 1, WH_URL_MAX)
#define EVENTS ROW("events", ASSAY_JSON_STRINGS, events, has_events, 1, 16)
#define ACTIVE ROW("active", ASSAY_JSON_BOOL, active, has_active, 0, 0)

const struct assay_json_field wh_create_fields[] = {
    URL, EVENTS, ACTIVE,
    {.name = "benchmark_id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_ID, .offset = offsetof(struct wh_create_in, benchmark_id),
     .has_offset = offsetof(struct wh_create_in, has_benchmark)},
    {.name = "submission_id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_ID, .offset = offsetof(struct wh_create_in, submission_id),
     .has_offset = offsetof(struct wh_create_in, has_submission)},
    {.name = NULL},
};
const struct assay_json_field wh_patch_fields[] = {URL, EVENTS, ACTIVE, {.name = NULL}};
const struct assay_json_field wh_replay_fields[] = {
    {.name = "event_id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_ID, .offset = offsetof(struct wh_replay_in, event_id),
     .has_offset = offsetof(struct wh_replay_in, has_event)},
    {.name = "since", .type = ASSAY_JSON_TIME, .offset = offsetof(struct wh_replay_in, since_ms), .has_offset = offsetof(struct wh_replay_in, has_since)},
    {.name = NULL},
};

void wh_check(const struct wh_create_in *in, bool create, struct assay_json_faults *f, struct assay_arena *arena)
{
    if (create && !in->has_url)
        assay_json_fault(f, arena, "/url", "is required: where to send to");
    if (create && in->has_benchmark == in->has_submission)
        assay_json_fault(f, arena, in->has_benchmark ? "/submission_id" : "/benchmark_id",
                         "a webhook is for one benchmark or for one submission: give benchmark_id or submission_id");
    for (size_t i = 0; i < in->events.n; i++) {
        bool known = false;
        for (size_t k = 0; wh_events[k] != NULL; k++)
            known = known || assay_str_is(in->events.items[i], wh_events[k]);
        char pointer[32];
        (void)snprintf(pointer, sizeof pointer, "/events/%zu", i);
        if (!known)
            assay_json_fault(f, arena, pointer,
                             "must be one of submission.queued, submission.running, submission.done, submission.cancelled, submission.deleted, board.updated");
    }
}

static void write_words(struct assay_jw *w, struct assay_str text)
{
    assay_jw_array(w);
    for (size_t i = 0; i < text.n;) {
        size_t n = 0;
        while (i + n < text.n && text.p[i + n] != ' ')
            n++;
        if (n > 0)
            assay_jw_str(w, (struct assay_str){text.p + i, n});
        i += n + 1;
    }
    assay_jw_end(w);
}

void wh_write_hook(struct assay_jw *w, const struct wh_hook *h, bool secret)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", h->id);
    assay_jw_kstr(w, "owner_id", h->owner_id);
    assay_jw_kstr(w, "url", h->url);
    if (h->benchmark_id.n > 0)
        assay_jw_kstr(w, "benchmark_id", h->benchmark_id);
    if (h->submission_id.n > 0)
        assay_jw_kstr(w, "submission_id", h->submission_id);
    assay_jw_key(w, "events");
    write_words(w, h->events);
    assay_jw_kbool(w, "active", h->active);
    if (h->reason.n > 0)
        assay_jw_kstr(w, "reason", h->reason);
    if (secret)
        assay_jw_kstr(w, "secret", h->secret);
    assay_jw_ktime(w, "created_at", h->created_ms);
    assay_jw_ktime(w, "updated_at", h->updated_ms);
    assay_jw_end(w);
}

void wh_write_delivery(struct assay_jw *w, const struct wh_delivery *d)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "event_id", d->event_id);
    assay_jw_kstr(w, "type", d->type);
    assay_jw_kz(w, "state", wh_state_names[d->state < 0 || d->state > WH_FAILED ? WH_FAILED : d->state]);
    assay_jw_kint(w, "attempts", d->attempts);
    if (d->status > 0)
        assay_jw_kint(w, "status", d->status);
    if (d->error.n > 0)
        assay_jw_kstr(w, "error", d->error);
    if (d->state == WH_WAITING)
        assay_jw_ktime(w, "next_at", d->next_ms);
    assay_jw_ktime(w, "created_at", d->created_ms);
    assay_jw_ktime(w, "updated_at", d->updated_ms);
    assay_jw_kraw(w, "body", d->body);
    assay_jw_end(w);
}

int wh_body(const struct assay_event_row *ev, const char *type, const struct assay_ev_done *done, bool whole, struct assay_arena *arena,
            struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    bool board = strcmp(type, "board.updated") == 0;
    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for what is sent");
    assay_jw_object(w);
    assay_jw_kz(w, "type", type);
    assay_jw_ktime(w, "timestamp", ev->at_ms);
    assay_jw_key(w, "data");
    assay_jw_object(w);
    assay_jw_kz(w, "event_id", ev->id);
    if (!board)
        assay_jw_kstr(w, "submission_id", ev->ev.subject);
    assay_jw_kstr(w, "benchmark_id", board ? ev->ev.subject : ev->ev.benchmark);
    if (done != NULL) {
        bool ours = assay_str_is(done->verdict, "IE");
        assay_jw_kz(w, "status", ours ? "error" : "done");
        assay_jw_kstr(w, "problem_id", done->problem_id);
        assay_jw_kstr(w, "agent_id", done->agent_id);
        if (whole) {
            assay_jw_kstr(w, "verdict", done->verdict);
            if (!ours)
                assay_jw_kreal(w, "score", done->score);
        }
    }
    if (board)
        assay_jw_kraw(w, "change", ev->ev.payload);
    assay_jw_end(w);
    assay_jw_end(w);
    int rc = assay_jw_finish(w, &b, err);
    if (rc == 0) {
        *out = assay_arena_take(arena, &b);
        rc = out->p != NULL ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for what is sent");
    }
    return rc;
}
