/*
 * What an event stream says of an event, and to whom: the feedback policies hold here as on every other route.
 *
 * An event is told in one of three voices.  ALL: to staff and the benchmark's owner.  OWNER: to whom the submission
 * belongs; a test's event exists only when the policy lets the owner see it, and how a submission ended is read the
 * way GET /submissions/{id} reads it, policy and all.  PUBLIC: changes of the board of a public benchmark, to anyone.
 *
 * Wire format: WHATWG HTML, "Server-sent events".  The id of an event is its place in the log of events, which is what
 * a client sends back as Last-Event-ID.
 */
#include "local.h"

#include <stdio.h>

const char *const stream_topics[] = {"submission.created", "submission.queued",    "submission.running",
                                     "submission.test",    "submission.done",      "submission.cancelled",
                                     "submission.deleted", "leaderboard.updated",  "submission.checker_failed", NULL};

/* The name under which a client listens; NULL: not for streams. */
const char *stream_name(struct assay_str topic)
{
    static const char *const names[] = {"queued", "queued", "running", "test", "done", "cancelled", "deleted", "board", "checker_failed"};
    for (size_t i = 0; stream_topics[i] != NULL; i++) {
        if (assay_str_is(topic, stream_topics[i]))
            return names[i];
    }
    return NULL;
}

bool stream_wants(const struct stream_filter *f, const struct assay_event_row *ev)
{
    bool board = assay_str_is(ev->ev.topic, "leaderboard.updated");
    if (f->submission[0] != '\0')
        return !board && assay_str_is(ev->ev.subject, f->submission);
    return f->benchmark[0] == '\0' || assay_str_is(ev->ev.benchmark, f->benchmark);
}

enum voice stream_voice(const struct stream_filter *f, const struct stream_benchmark *b, const struct assay_event_row *ev)
{
    bool board = assay_str_is(ev->ev.topic, "leaderboard.updated");
    if (f->staff || (b->known && assay_str_is(b->owner_id, f->user_id)))
        return VOICE_ALL;
    if (assay_str_is(ev->ev.topic, "submission.checker_failed")) /* what a checker says of itself may give the tests away */
        return VOICE_NONE;
    if (board)
        return b->known && b->visibility == ASSAY_VISIBLE_PUBLIC ? VOICE_PUBLIC : VOICE_NONE;
    return assay_str_is(ev->ev.owner, f->user_id) ? VOICE_OWNER : VOICE_NONE;
}

/* An event in the format of the wire; data is one line of JSON. */
int stream_frame(struct assay_buf *out, int64_t seq, const char *name, struct assay_str data)
{
    if (seq > 0)
        assay_buf_fmt(out, "id: %lld\n", (long long)seq);
    assay_buf_fmt(out, "event: %s\ndata: ", name);
    assay_buf_add(out, data.p, data.n);
    assay_buf_puts(out, "\n\n");
    return out->failed ? ASSAY_E_NOMEM : ASSAY_OK;
}

bool stream_ends(struct assay_str topic)
{
    return assay_str_is(topic, "submission.done") || assay_str_is(topic, "submission.cancelled") || assay_str_is(topic, "submission.deleted");
}

static int tell(struct submissions *s, const struct assay_event_row *ev, const struct viewer *v, bool detail,
                struct assay_arena *arena, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf data = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    bool board = assay_str_is(ev->ev.topic, "leaderboard.updated");
    assay_jw_object(w);
    assay_jw_kz(w, "event_id", ev->id);
    assay_jw_ktime(w, "at", ev->at_ms);
    if (!board)
        assay_jw_kstr(w, "submission_id", ev->ev.subject);
    assay_jw_kstr(w, "benchmark_id", board ? ev->ev.subject : ev->ev.benchmark);
    struct view view;
    int rc = detail && stream_ends(ev->ev.topic) ? repo_get(s, v, ev->ev.subject, arena, &view, err) : ASSAY_E_NOT_FOUND;
    if (rc < 0 && rc != ASSAY_E_NOT_FOUND)
        return rc;
    if (rc >= 0) {
        assay_jw_key(w, "submission");
        view_write(w, &view, true);
    } else if (detail && !assay_str_is(ev->ev.topic, "submission.done")) { /* what was done and has been removed is not told any more */
        assay_jw_kraw(w, "detail", ev->ev.payload);
    }
    assay_jw_end(w);
    rc = assay_jw_finish(w, &data, err);
    if (rc >= 0 && stream_frame(out, ev->seq, stream_name(ev->ev.topic), assay_buf_view(&data)) < 0)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    return rc;
}

int stream_tell(struct submissions *s, const struct assay_event_row *ev, const struct viewer *v, struct assay_arena *arena,
                struct assay_buf *out, struct assay_err *err)
{
    int rc = tell(s, ev, v, true, arena, out, err);
    if (rc >= 0 && out->n > ASSAY_STREAM_WRITE_MAX) { /* the client asks for the rest by the id */
        assay_buf_reset(out);
        rc = tell(s, ev, v, false, arena, out, err);
    }
    return rc;
}
