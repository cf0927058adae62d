/*
 * The traces service: what its files share.
 *
 * A trace is what happened to one submission, and when: its life's events, a tree of timed spans (the
 * runner's, out of submission.done, until then the stages that the events tell of), and the messages
 * and spans that its owner, its agent or staff posted.  State comes in by the durable group "traces"
 * and by POST /traces; requests run on worker threads.  Nothing is kept in memory.
 */
#ifndef TRACES_LOCAL_H
#define TRACES_LOCAL_H

#include <stdint.h>

#include <assay/events.h>
#include <assay/idempotency.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define TRACES_MAGIC 0x74726163u
#define TRACES_GROUP "traces"
#define TRACES_NOTES_MAX 200      /* of one submission */
#define TRACES_NOTE_SPANS_MAX 50  /* of one message */
#define TRACES_MESSAGE_MAX 8192
#define TRACES_BODY_MAX ((size_t)256 << 10)
#define TRACES_DEPTH_MAX 16

struct traces {
    uint32_t magic;
    const struct assay_host *host;
};

/* ---- domain.c: the rules; no I/O ------------------------------------------------------------- */

struct tr_viewer {
    struct assay_str user_id, agent_id; /* agent_id: set for an agent's token, which sees only its own */
    bool staff;
};
struct tr_viewer tr_viewer_of(const struct assay_principal *who);

/* A span; until tr_link the parent is a name, afterwards the tree is in the indices (-1: none). */
struct tr_span {
    struct assay_str name, parent, attrs; /* attrs: a JSON object, or "" */
    int64_t start_ms, end_ms;             /* end 0: not over */
    int first, last, next;                /* first and last child, next sibling */
};
/* Links spans of one source into the tree whose root is span[0]: a parent is the nearest span before
 * with that name, from `from` on; one that is not found, or lies too deep, is the root. */
void tr_link(struct tr_span *span, size_t from, size_t n);

struct tr_event {
    int64_t at_ms;
    struct assay_str name, detail; /* "submission.running"; detail: the reason that was given, or "" */
};
/* The stages that a submission's events tell of, oldest first: "queued", "judging". At most n. */
size_t tr_stages(const struct tr_event *ev, size_t n, struct tr_span *out);

struct tr_submission {
    struct assay_str id, owner_id, benchmark_id, agent_id, state, verdict;
    int64_t created_ms, finished_ms;
    struct assay_str spans;  /* the runner's, as JSON; "" without */
    int64_t level;           /* enum assay_feedback: what the viewer may see */
};
bool tr_verdict_visible(const struct tr_submission *s);
/* What happened in a test is told where all verdicts are. */
bool tr_span_visible(const struct tr_submission *s, struct assay_str name);

/* ---- codec.c ----------------------------------------------------------------------------------- */

struct tr_post_span {
    struct assay_str name, parent;
    int64_t started_ms, ended_ms;
    bool ended;
    struct assay_json_map attributes;
};
struct tr_post {
    struct assay_str submission_id, message;
    int level;
    struct assay_json_array spans; /* struct tr_post_span */
};
extern const struct assay_json_field tr_post_fields[];
const char *tr_level_name(int64_t level); /* of any spelling that is taken */

struct tr_note {
    struct assay_str id, message, spans, author_id, agent_id;
    int64_t at_ms, level;
};

/* Spans as they are stored: a JSON array; "" for none. */
int tr_spans_encode(const struct tr_post_span *span, size_t n, struct assay_arena *arena, struct assay_str *out,
                    struct assay_err *err) ASSAY_MUST_CHECK;
int tr_spans_decode(struct assay_str json, struct assay_arena *arena, struct tr_span **out, size_t *n,
                    struct assay_err *err) ASSAY_MUST_CHECK;
/* The spans in a summary of submission.done, "" without. */
int tr_summary_spans(struct assay_str summary, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
    ASSAY_MUST_CHECK;
int tr_created_agent(struct assay_str payload, struct assay_arena *arena, struct assay_str *agent_id,
                     struct assay_err *err) ASSAY_MUST_CHECK;
int tr_reason(struct assay_str payload, struct assay_arena *arena, struct assay_str *reason, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* Members of an open object. */
void tr_submission_write(struct assay_jw *w, const struct tr_submission *s);
void tr_tree_write(struct assay_jw *w, const struct tr_span *span, int at);
void tr_event_write(struct assay_jw *w, const struct tr_event *e);
void tr_note_write(struct assay_jw *w, const struct tr_note *n);

/* ---- repo.c --------------------------------------------------------------------------------------- */

#define TRACES_STATEMENTS 17
extern const struct assay_stmt *const traces_statements[TRACES_STATEMENTS];
ASSAY_IDEM_DECLARE(traces_idem);

struct tr_filter {
    struct assay_str benchmark_id, agent_id; /* p == NULL: any */
    struct assay_str before;                 /* submission id; "" for the newest */
    int64_t limit;
};
/* ASSAY_E_NOT_FOUND for what is not the viewer's. */
int tr_get(const struct assay_store *st, const struct tr_viewer *v, struct assay_str id, struct assay_arena *arena,
           struct tr_submission *out, struct assay_err *err) ASSAY_MUST_CHECK;
int tr_list(const struct assay_store *st, const struct tr_viewer *v, const struct tr_filter *f, struct assay_arena *arena,
            struct tr_submission **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
int tr_events(const struct assay_store *st, struct assay_str id, struct assay_arena *arena, struct tr_event **out,
              size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
int tr_notes(const struct assay_store *st, struct assay_str id, struct assay_arena *arena, struct tr_note **out, size_t *n,
             struct assay_err *err) ASSAY_MUST_CHECK;
/* The index of the operation whose guard says that there is room. */
int tr_note_add(struct assay_tx *tx, struct assay_str submission_id, const struct tr_note *n);

void tr_life(struct assay_tx *tx, const struct assay_event_row *ev, const struct tr_submission *s, struct assay_str detail);
void tr_remove(struct assay_tx *tx, struct assay_str id);
void tr_project_benchmark(struct assay_tx *tx, struct assay_str id, const struct assay_ev_benchmark *b);

/* ---- schema.c, http.c, plugin.c ---------------------------------------------------------------------- */

#define TRACES_MIGRATIONS 1
extern const struct assay_migration traces_migrations[TRACES_MIGRATIONS];
extern const char *const traces_topics[];
int traces_http_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int traces_http_post(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

#endif
