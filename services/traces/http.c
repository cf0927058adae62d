/* GET /traces and POST /traces. */
#include "local.h"

#define CATCH_UP_MS 1000

static int id_param(struct assay_request *rq, struct assay_response *rs, const char *name, struct assay_str *out,
                    struct assay_err *err)
{
    int rc = assay_query(rq, name, out, err);
    if (rc == 0 && out->p && !assay_id_valid(*out) && !assay_slug_valid(*out))
        rc = assay_fault(rq, rs, err, "", "the query parameter \"%s\" is not an id", name);
    return rc;
}

/* A submission that was made a moment ago may not have reached us yet. */
static int find(const struct traces *s, struct assay_request *rq, const struct tr_viewer *v, struct assay_str id,
                struct tr_submission *out, struct assay_err *err)
{
    int rc = tr_get(s->host->store, v, id, rq->arena, out, err);
    if (rc != ASSAY_E_NOT_FOUND)
        return rc;
    rc = assay_store_catch_up(s->host->store, ASSAY_STR(TRACES_GROUP), traces_topics, CATCH_UP_MS, err);
    return rc < 0 ? rc : tr_get(s->host->store, v, id, rq->arena, out, err);
}

/* Appends one source's spans, as far as the viewer may see them, and links them below the root. */
static size_t append(const struct tr_submission *sub, struct tr_span *all, size_t at, const struct tr_span *span, size_t n,
                     bool runner)
{
    size_t from = at;
    for (size_t i = 0; i < n; i++) {
        /* the runner tells of the whole too: that is our root */
        bool whole = runner && i == 0 && span[i].parent.n == 0 && assay_str_is(span[i].name, "submission");
        if (!whole && (!runner || tr_span_visible(sub, span[i].name)))
            all[at++] = span[i];
    }
    tr_link(all, from, at);
    return at;
}

static int tree(const struct tr_submission *sub, const struct tr_event *ev, size_t n_ev, const struct tr_note *note,
                size_t n_note, struct assay_arena *arena, struct assay_jw *w, struct assay_err *err)
{
    struct tr_span *runner, **posted = assay_arena_array(arena, n_note + 1, sizeof *posted);
    size_t n_runner, *n_posted = assay_arena_array(arena, n_note + 1, sizeof *n_posted), total = 1 + n_ev;
    if (!posted || !n_posted)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for spans");
    int rc = tr_spans_decode(sub->spans, arena, &runner, &n_runner, err);
    for (size_t i = 0; rc == 0 && i < n_note; i++) {
        rc = tr_spans_decode(note[i].spans, arena, &posted[i], &n_posted[i], err);
        total += n_posted[i];
    }
    if (rc < 0)
        return rc;
    struct tr_span *all = assay_arena_array(arena, total + n_runner, sizeof *all);
    if (!all)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for spans");
    all[0] = (struct tr_span){.name = ASSAY_STR("submission"),
                              .start_ms = sub->created_ms,
                              .end_ms = sub->finished_ms,
                              .first = -1,
                              .last = -1,
                              .next = -1};
    size_t at = 1;
    if (n_runner > 0) {
        at = append(sub, all, at, runner, n_runner, true);
    } else {
        at += tr_stages(ev, n_ev, &all[1]);
        tr_link(all, 1, at);
    }
    for (size_t i = 0; i < n_note; i++)
        at = append(sub, all, at, posted[i], n_posted[i], false);
    assay_jw_key(w, "spans");
    assay_jw_array(w);
    tr_tree_write(w, all, 0);
    assay_jw_end(w);
    return 0;
}

/* One trace, whole. */
static int write_one(const struct traces *s, const struct tr_submission *sub, struct assay_arena *arena, struct assay_jw *w,
                     struct assay_err *err)
{
    struct tr_event *ev;
    struct tr_note *note;
    size_t n_ev, n_note;
    int rc = tr_events(s->host->store, sub->id, arena, &ev, &n_ev, err);
    if (rc == 0)
        rc = tr_notes(s->host->store, sub->id, arena, &note, &n_note, err);
    if (rc < 0)
        return rc;
    assay_jw_object(w);
    tr_submission_write(w, sub);
    rc = tree(sub, ev, n_ev, note, n_note, arena, w, err);
    if (rc < 0)
        return rc;
    assay_jw_key(w, "events");
    assay_jw_array(w);
    for (size_t i = 0; i < n_ev; i++)
        tr_event_write(w, &ev[i]);
    assay_jw_end(w);
    assay_jw_key(w, "messages");
    assay_jw_array(w);
    for (size_t i = 0; i < n_note; i++)
        tr_note_write(w, &note[i]);
    assay_jw_end(w);
    assay_jw_end(w);
    return 0;
}

int traces_http_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct traces *s = self;
    static const char *const known[] = {"submission_id", "benchmark_id", "agent_id", "limit", "cursor", NULL};
    struct tr_filter f = {.limit = 0};
    struct assay_str submission_id, cursor;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == 0)
        rc = assay_query_page(rq, rs, 50, 500, &f.limit, &cursor, err);
    if (rc == 0)
        rc = assay_cursor_decode(rq, rs, cursor, &f.before, err);
    if (rc == 0)
        rc = id_param(rq, rs, "submission_id", &submission_id, err);
    if (rc == 0)
        rc = id_param(rq, rs, "benchmark_id", &f.benchmark_id, err);
    if (rc == 0)
        rc = id_param(rq, rs, "agent_id", &f.agent_id, err);
    if (rc < 0)
        return rc;
    struct tr_viewer v = tr_viewer_of(rq->who);
    struct tr_submission one, *list = &one;
    size_t n = 1;
    int64_t limit = f.limit++; /* one more tells whether there is a next page */
    if (submission_id.p)
        rc = find(s, rq, &v, submission_id, &one, err);
    else
        rc = tr_list(s->host->store, &v, &f, rq->arena, &list, &n, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    assay_list_begin(w);
    for (size_t i = 0; i < shown && rc == 0; i++) {
        if (submission_id.p) {
            rc = write_one(s, &list[i], rq->arena, w, err);
            continue;
        }
        assay_jw_object(w);
        tr_submission_write(w, &list[i]);
        assay_jw_end(w);
    }
    if (rc < 0)
        return rc;
    return assay_list_end(rq, rs, w, n > shown ? list[shown - 1].id : ASSAY_STR_NULL, err);
}

static int check_spans(struct assay_request *rq, struct assay_response *rs, const struct tr_post *post, struct assay_err *err)
{
    const struct tr_post_span *span = post->spans.items;
    int rc = 0;
    for (size_t i = 0; i < post->spans.n; i++) {
        char pointer[48];
        if (span[i].ended && span[i].ended_ms < span[i].started_ms) {
            (void)snprintf(pointer, sizeof pointer, "/spans/%zu/ended_at", i);
            rc = assay_fault(rq, rs, err, pointer, "a span does not end before it starts");
        }
    }
    return rc;
}

int traces_http_post(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    const struct traces *s = self;
    struct tr_post post = {.level = 1};
    struct assay_idem idem;
    int rc = assay_query_only(rq, rs, (const char *const[]){NULL}, err);
    if (rc == 0)
        rc = assay_body_json(rq, rs, tr_post_fields, &post, err);
    if (rc == 0)
        rc = check_spans(rq, rs, &post, err);
    if (rc == 0)
        rc = assay_idem_begin(&idem, &traces_idem, s->host->store, rq, rs, err);
    if (rc != 0)
        return rc == ASSAY_IDEM_ANSWERED ? ASSAY_OK : rc;
    struct tr_viewer v = tr_viewer_of(rq->who);
    struct tr_submission sub;
    rc = find(s, rq, &v, post.submission_id, &sub, err);
    if (rc < 0)
        return rc;

    char id[ASSAY_ID_SIZE];
    assay_id_new(id);
    struct tr_note note = {.id = assay_str(id),
                           .message = post.message,
                           .author_id = v.user_id,
                           .agent_id = v.agent_id,
                           .at_ms = s->host->now_ms(s->host->ctx),
                           .level = post.level};
    rc = tr_spans_encode(post.spans.items, post.spans.n, rq->arena, &note.spans, err);
    ASSAY_CLEANUP_JW struct assay_jw *w = rc == 0 ? assay_jw_new() : NULL;
    if (rc == 0 && !w)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer");
    if (rc < 0)
        return rc;
    assay_jw_object(w);
    assay_jw_kstr(w, "id", note.id);
    assay_jw_kstr(w, "submission_id", sub.id);
    assay_jw_kz(w, "level", tr_level_name(note.level));
    assay_jw_kstr(w, "message", note.message);
    assay_jw_ktime(w, "at", note.at_ms);
    assay_jw_end(w);
    rc = assay_reply_json(rs, 201, w, err);
    if (rc < 0)
        return rc;
    assay_reply_header(rs, ASSAY_STR("Location"), assay_arena_fmt(rq->arena, "/traces?submission_id=%.*s", ASSAY_FMT(sub.id)));
    struct assay_tx *tx = assay_tx_new(rq->arena, "traces.post");
    if (!tx)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the trace");
    assay_idem_add(&idem, tx, rs, false);
    int op = tr_note_add(tx, sub.id, &note);
    rc = assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
    if (rc == ASSAY_E_GUARD && tx->failed_op == op)
        return assay_err_set(err, ASSAY_E_CONFLICT, "a submission takes at most %d messages", TRACES_NOTES_MAX);
    return rc == ASSAY_IDEM_ANSWERED ? ASSAY_OK : rc;
}
