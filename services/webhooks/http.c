#include "local.h"

#include <stdio.h>
#include <stdlib.h>

#define TRIES 8 /* of a change that another one overtakes */
#define CATCH_UP_MS 5000

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static int64_t now_ms(const struct webhooks *s)
{
    return s->host->now_ms(s->host->ctx);
}

static int reply_hook(struct assay_response *rs, int status, const struct wh_hook *h, bool secret, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    wh_write_hook(w, h, secret);
    return assay_reply_json(rs, status, w, err);
}

/* The hook of the path; somebody else's is not there. */
static int own(const struct webhooks *s, struct assay_request *rq, struct wh_hook *h, struct assay_err *err)
{
    int rc = wh_get(s->host->store, rq->param[0], rq->arena, h, err);
    if (rc == 0 && !assay_is_admin(rq->who) && !assay_str_eq(h->owner_id, rq->who->user_id))
        rc = assay_err_set(err, ASSAY_E_NOT_FOUND, "no such webhook");
    return rc;
}

/* Whether what the hook is for is there for the caller; the projections may be a moment late. */
static int subject_visible(const struct webhooks *s, struct assay_request *rq, const struct wh_create_in *in, struct assay_err *err)
{
    const struct assay_principal *who = rq->who;
    for (int tries = 0; tries < 2; tries++) {
        struct assay_rows rows;
        int rc = in->has_benchmark ? ASSAY_QUERY(s->host->store, &wh_q_benchmark_get, rq->arena, &rows, err, ASSAY_VT(in->benchmark_id))
                                   : ASSAY_QUERY(s->host->store, &wh_q_live_get, rq->arena, &rows, err, ASSAY_VT(in->submission_id));
        if (rc < 0)
            return rc;
        if (rows.n > 0) {
            const struct assay_val *c = rows.row[0].col;
            bool mine = assay_str_eq(c[0].s, who->user_id);
            if (assay_is_staff(who) || mine || (in->has_benchmark ? c[1].i == ASSAY_VISIBLE_PUBLIC : assay_str_eq(c[1].s, who->user_id)))
                return 0;
            break;
        }
        rc = tries == 0 ? assay_store_catch_up(s->host->store, ASSAY_STR(WH_GROUP), wh_topics, CATCH_UP_MS, err) : 0;
        if (rc < 0)
            return rc;
    }
    return in->has_benchmark ? assay_err_set(err, ASSAY_E_NOT_FOUND, "no such benchmark")
                             : assay_err_set(err, ASSAY_E_NOT_FOUND, "no such submission that is queued or running; the events of one that has ended have passed");
}

static int check_url(const struct webhooks *s, struct assay_request *rq, struct assay_response *rs, const struct wh_create_in *in)
{
    char *url = in->has_url ? assay_arena_z(rq->arena, in->url) : NULL;
    bool no_memory = in->has_url && url == NULL;
    const char *fault = url != NULL ? wh_url_fault(s->sender, url, &no_memory) : NULL;
    if (no_memory)
        return ASSAY_E_NOMEM;
    if (fault != NULL)
        assay_json_fault(assay_faults(rq, rs), rq->arena, "/url", "%s", fault);
    return 0;
}

/* The body of a create or of a change, checked. */
static int read_hook(const struct webhooks *s, struct assay_request *rq, struct assay_response *rs, const struct assay_json_field *fields,
                     struct wh_create_in *in, struct assay_err *err)
{
    int rc = assay_body_json(rq, rs, fields, in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID) {
        wh_check(in, fields == wh_create_fields, assay_faults(rq, rs), rq->arena);
        if (check_url(s, rq, rs, in) < 0)
            return no_memory(err);
    }
    return assay_faults_end(rq, rs, rc, err);
}

int wh_do_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct webhooks *s = self;
    static struct assay_str dflt[] = {{"submission.done", 15}};
    struct wh_create_in in = {.active = true};
    char id[ASSAY_ID_SIZE];
    int rc = read_hook(s, rq, rs, wh_create_fields, &in, err);
    if (rc < 0)
        return rc;
    struct assay_idem idem;
    rc = assay_idem_begin(&idem, &wh_idem, s->host->store, rq, rs, err);
    if (rc != ASSAY_OK)
        return rc < 0 ? rc : ASSAY_OK;
    rc = subject_visible(s, rq, &in, err);
    ASSAY_CLEANUP_BUF struct assay_buf secret = ASSAY_BUF_INIT;
    if (rc == 0)
        rc = wh_secret_make(&secret, err);
    if (rc < 0)
        return rc;
    if (!in.has_events)
        in.events = (struct assay_strs){dflt, 1};
    assay_id_new(id);
    struct wh_hook h = {.id = assay_arena_str(rq->arena, assay_str(id)),
                        .owner_id = rq->who->user_id,
                        .url = in.url,
                        .secret = assay_buf_view(&secret),
                        .benchmark_id = in.has_benchmark ? in.benchmark_id : ASSAY_STR(""),
                        .submission_id = in.has_submission ? in.submission_id : ASSAY_STR(""),
                        .events = wh_events_text(rq->arena, &in.events),
                        .reason = ASSAY_STR(""),
                        .active = in.active,
                        .staff = assay_is_staff(rq->who),
                        .version = 1,
                        .created_ms = now_ms(s)};
    h.updated_ms = h.created_ms;
    struct assay_str location = assay_arena_fmt(rq->arena, "/webhooks/%s", id);
    struct assay_tx *tx = assay_tx_new(rq->arena, "webhooks.create");
    if (tx == NULL || h.id.p == NULL || h.events.p == NULL || location.p == NULL)
        return no_memory(err);
    rc = reply_hook(rs, 201, &h, true, err);
    if (rc < 0)
        return rc;
    assay_reply_header(rs, ASSAY_STR("Location"), location);
    assay_idem_add(&idem, tx, rs, true);
    int guard = ASSAY_TX(tx, &wh_q_insert, ASSAY_EXPECT_ONE, ASSAY_VT(h.id), ASSAY_VT(h.owner_id), ASSAY_VT(h.url), ASSAY_VT(h.secret),
                         ASSAY_VT(h.benchmark_id), ASSAY_VT(h.submission_id), ASSAY_VT(h.events), ASSAY_VI(h.active), ASSAY_VI(h.staff),
                         ASSAY_VI(h.created_ms), ASSAY_VI(s->max_per_user));
    rc = assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
    if (rc == ASSAY_E_GUARD && tx->failed_op == guard) {
        rc = subject_visible(s, rq, &in, err); /* it may have ended in between */
        if (rc == 0)
            rc = assay_err_set(err, ASSAY_E_CONFLICT, "the account has %lld webhooks, and no more are taken: delete some", (long long)s->max_per_user);
    }
    return rc < 0 ? rc : ASSAY_OK;
}

int wh_do_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"limit", "cursor", NULL};
    const struct webhooks *s = self;
    int64_t limit;
    struct assay_str cursor, after;
    struct assay_rows rows;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query_page(rq, rs, 50, 200, &limit, &cursor, err);
    if (rc == ASSAY_OK)
        rc = assay_cursor_decode(rq, rs, cursor, &after, err);
    if (rc == ASSAY_OK) /* one more than asked for tells whether there is a next page */
        rc = ASSAY_QUERY(s->host->store, &wh_q_list, rq->arena, &rows, err, ASSAY_VT(after),
                         ASSAY_VT(assay_is_admin(rq->who) ? ASSAY_STR("") : rq->who->user_id), ASSAY_VI(limit + 1));
    if (rc < 0)
        return rc;
    size_t shown = rows.n > (size_t)limit ? (size_t)limit : rows.n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    struct wh_hook h = {.version = 0};
    for (size_t i = 0; i < shown; i++) {
        wh_read_hook(rows.row[i].col, &h);
        wh_write_hook(w, &h, false);
    }
    return assay_list_end(rq, rs, w, rows.n > shown ? h.id : ASSAY_STR_NULL, err);
}

int wh_do_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct wh_hook h;
    int rc = own(self, rq, &h, err);
    return rc < 0 ? rc : reply_hook(rs, 200, &h, false, err);
}

int wh_do_update(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct webhooks *s = self;
    struct wh_create_in in = {.active = true};
    int rc = read_hook(s, rq, rs, wh_patch_fields, &in, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < TRIES; i++) {
        struct wh_hook h;
        rc = own(s, rq, &h, err);
        if (rc < 0)
            return rc;
        if (in.has_url)
            h.url = in.url;
        if (in.has_events)
            h.events = wh_events_text(rq->arena, &in.events);
        if (in.has_active) {
            h.active = in.active;
            h.reason = ASSAY_STR("");
        }
        h.updated_ms = now_ms(s);
        struct assay_tx *tx = assay_tx_new(rq->arena, "webhooks.update");
        if (tx == NULL || h.events.p == NULL)
            return no_memory(err);
        ASSAY_TX(tx, &wh_q_update, ASSAY_EXPECT_ONE, ASSAY_VT(h.id), ASSAY_VI(h.version), ASSAY_VT(h.url), ASSAY_VT(h.events), ASSAY_VI(h.active),
                 ASSAY_VT(h.reason), ASSAY_VI(h.updated_ms));
        rc = assay_store_exec(s->host->store, tx, err);
        if (rc == ASSAY_E_GUARD)
            continue;
        if (rc == 0)
            wh_sender_nudge(s->sender);
        return rc < 0 ? rc : reply_hook(rs, 200, &h, false, err);
    }
    return assay_err_set(err, ASSAY_E_BUSY, "the webhook is being changed by others; try again");
}

int wh_do_remove(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct webhooks *s = self;
    struct wh_hook h;
    int rc = own(s, rq, &h, err);
    if (rc < 0)
        return rc;
    struct assay_tx *tx = assay_tx_new(rq->arena, "webhooks.delete");
    if (tx == NULL)
        return no_memory(err);
    ASSAY_TX(tx, &wh_q_remove, ASSAY_EXPECT_ANY, ASSAY_VT(h.id));
    ASSAY_TX(tx, &wh_q_remove_deliveries, ASSAY_EXPECT_ANY, ASSAY_VT(h.id));
    rc = assay_store_exec(s->host->store, tx, err);
    if (rc == 0)
        rs->status = 204;
    return rc;
}

int wh_do_deliveries(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"limit", "cursor", "state", NULL};
    const struct webhooks *s = self;
    int64_t limit, before = 0, state = -1;
    struct assay_str cursor, place, named;
    struct assay_rows rows;
    struct wh_hook h;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query_page(rq, rs, 50, 200, &limit, &cursor, err);
    if (rc == ASSAY_OK)
        rc = assay_cursor_decode(rq, rs, cursor, &place, err);
    if (rc == ASSAY_OK && place.n > 0 && assay_parse_i64(place, 1, INT64_MAX, &before, NULL) != 0)
        rc = assay_fault(rq, rs, err, "", "the query parameter \"cursor\" is not one that this list gave");
    if (rc == ASSAY_OK)
        rc = assay_query(rq, "state", &named, err);
    for (int i = 0; rc == ASSAY_OK && named.p != NULL && wh_state_names[i] != NULL; i++)
        if (assay_str_is(named, wh_state_names[i]))
            state = i;
    if (rc == ASSAY_OK && named.p != NULL && state < 0)
        rc = assay_fault(rq, rs, err, "", "the query parameter \"state\" must be one of waiting, delivered, failed");
    if (rc == ASSAY_OK)
        rc = own(s, rq, &h, err);
    if (rc == ASSAY_OK)
        rc = ASSAY_QUERY(s->host->store, &wh_q_deliveries, rq->arena, &rows, err, ASSAY_VT(h.id), ASSAY_VI(before), ASSAY_VI(state), ASSAY_VI(limit + 1));
    if (rc < 0)
        return rc;
    size_t shown = rows.n > (size_t)limit ? (size_t)limit : rows.n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    struct wh_delivery d = {.seq = 0};
    for (size_t i = 0; i < shown; i++) {
        const struct assay_val *c = rows.row[i].col;
        d = (struct wh_delivery){.hook_id = c[0].s, .seq = c[1].i, .event_id = c[2].s, .type = c[3].s, .body = c[4].s, .state = c[5].i, .attempts = c[6].i,
                                 .next_ms = c[7].i, .status = c[8].i, .error = c[9].s, .created_ms = c[10].i, .updated_ms = c[11].i};
        wh_write_delivery(w, &d);
    }
    struct assay_str last = rows.n > shown ? assay_arena_fmt(rq->arena, "%lld", (long long)d.seq) : ASSAY_STR_NULL;
    return assay_list_end(rq, rs, w, last, err);
}

int wh_do_replay(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct webhooks *s = self;
    struct wh_replay_in in = {.since_ms = 0};
    struct wh_hook h;
    int rc = assay_body_json(rq, rs, wh_replay_fields, &in, err);
    if ((rc == ASSAY_OK || rc == ASSAY_E_INVALID) && in.has_event == in.has_since)
        assay_json_fault(assay_faults(rq, rs), rq->arena, in.has_event ? "/since" : "/event_id", "give event_id, or since, a time: one of the two");
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc == ASSAY_OK)
        rc = own(s, rq, &h, err);
    if (rc < 0)
        return rc;
    struct assay_tx *tx = assay_tx_new(rq->arena, "webhooks.replay");
    if (tx == NULL)
        return no_memory(err);
    int64_t now = now_ms(s);
    if (in.has_event)
        ASSAY_TX(tx, &wh_q_replay_one, ASSAY_EXPECT_ANY, ASSAY_VT(h.id), ASSAY_VT(in.event_id), ASSAY_VI(now));
    else
        ASSAY_TX(tx, &wh_q_replay_since, ASSAY_EXPECT_ANY, ASSAY_VT(h.id), ASSAY_VI(in.since_ms), ASSAY_VI(now));
    rc = assay_store_exec(s->host->store, tx, err);
    if (rc < 0)
        return rc;
    int64_t n = tx->op[0].touched;
    if (n == 0 && in.has_event)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such event was sent to this webhook, or it is no longer kept");
    wh_sender_nudge(s->sender);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_jw_object(w);
    assay_jw_kint(w, "replayed", n);
    assay_jw_end(w);
    return assay_reply_json(rs, 202, w, err);
}
