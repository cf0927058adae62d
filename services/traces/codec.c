/* JSON of traces, in and out. */
#include "local.h"

#define NAME_MAX_BYTES 200
#define ATTRIBUTES_MAX 32

/* Older clients shout; "warning" is "warn". */
static const char *const level_names[] = {"debug", "info", "warn", "error", "warning",
                                          "DEBUG", "INFO", "WARN", "ERROR", "WARNING", NULL};

const char *tr_level_name(int64_t level)
{
    static const char *const plain[] = {"debug", "info", "warn", "error", "warn"};
    return plain[(level < 0 ? 1 : level) % 5];
}

static const struct assay_json_field post_span_fields[] = {
    {.name = "name",
     .type = ASSAY_JSON_STRING,
     .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct tr_post_span, name),
     .min = 1,
     .max = NAME_MAX_BYTES,
     .has_offset = -1},
    {.name = "parent",
     .type = ASSAY_JSON_STRING,
     .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct tr_post_span, parent),
     .max = NAME_MAX_BYTES,
     .has_offset = -1},
    {.name = "started_at",
     .type = ASSAY_JSON_TIME,
     .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct tr_post_span, started_ms),
     .has_offset = -1},
    {.name = "ended_at",
     .type = ASSAY_JSON_TIME,
     .flags = ASSAY_JSON_NULLABLE,
     .offset = offsetof(struct tr_post_span, ended_ms),
     .has_offset = offsetof(struct tr_post_span, ended)},
    {.name = "attributes",
     .type = ASSAY_JSON_MAP,
     .offset = offsetof(struct tr_post_span, attributes),
     .max = ATTRIBUTES_MAX,
     .has_offset = -1},
    {.name = NULL},
};

const struct assay_json_field tr_post_fields[] = {
    {.name = "submission_id",
     .type = ASSAY_JSON_STRING,
     .flags = ASSAY_JSON_REQUIRED | ASSAY_JSON_ID,
     .offset = offsetof(struct tr_post, submission_id),
     .has_offset = -1},
    {.name = "message",
     .type = ASSAY_JSON_STRING,
     .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct tr_post, message),
     .min = 1,
     .max = TRACES_MESSAGE_MAX,
     .has_offset = -1},
    {.name = "level",
     .type = ASSAY_JSON_ENUM,
     .offset = offsetof(struct tr_post, level),
     .names = level_names,
     .has_offset = -1},
    {.name = "spans",
     .type = ASSAY_JSON_ARRAY,
     .offset = offsetof(struct tr_post, spans),
     .max = TRACES_NOTE_SPANS_MAX,
     .fields = post_span_fields,
     .elem_size = sizeof(struct tr_post_span),
     .has_offset = -1},
    {.name = NULL},
};

/* ---- what is stored ------------------------------------------------------------------------------ */

static int into_arena(struct assay_jw *w, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    int rc = assay_jw_finish(w, &b, err);
    if (rc < 0)
        return rc;
    *out = assay_arena_take(arena, &b);
    return out->p ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for spans");
}

int tr_spans_encode(const struct tr_post_span *span, size_t n, struct assay_arena *arena, struct assay_str *out,
                    struct assay_err *err)
{
    *out = ASSAY_STR("");
    if (n == 0)
        return 0;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for spans");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "name", span[i].name);
        if (span[i].parent.n)
            assay_jw_kstr(w, "parent", span[i].parent);
        assay_jw_kint(w, "start_ms", span[i].started_ms);
        assay_jw_kint(w, "end_ms", span[i].ended ? span[i].ended_ms : 0);
        if (span[i].attributes.n) {
            assay_jw_key(w, "attrs");
            assay_jw_object(w);
            for (size_t k = 0; k < span[i].attributes.n; k++) {
                char *key = assay_arena_z(arena, span[i].attributes.items[k].key);
                if (!key)
                    return assay_err_set(err, ASSAY_E_NOMEM, "no memory for spans");
                assay_jw_kstr(w, key, span[i].attributes.items[k].value);
            }
            assay_jw_end(w);
        }
        assay_jw_end(w);
    }
    assay_jw_end(w);
    return into_arena(w, arena, out, err);
}

#define OTHERS {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1}

static const struct assay_json_field span_fields[] = {
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct tr_span, name), .has_offset = -1},
    {.name = "parent", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct tr_span, parent), .has_offset = -1},
    {.name = "start_ms", .type = ASSAY_JSON_INT, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct tr_span, start_ms), .has_offset = -1},
    {.name = "end_ms", .type = ASSAY_JSON_INT, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct tr_span, end_ms), .has_offset = -1},
    {.name = "attrs", .type = ASSAY_JSON_RAW, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct tr_span, attrs), .has_offset = -1},
    OTHERS,
    {.name = NULL},
};
struct span_list {
    struct assay_json_array spans;
};
static const struct assay_json_field list_fields[] = {
    {.name = "spans",
     .type = ASSAY_JSON_ARRAY,
     .offset = offsetof(struct span_list, spans),
     .fields = span_fields,
     .elem_size = sizeof(struct tr_span),
     .has_offset = -1},
    OTHERS,
    {.name = NULL},
};

int tr_spans_decode(struct assay_str json, struct assay_arena *arena, struct tr_span **out, size_t *n, struct assay_err *err)
{
    *out = NULL;
    *n = 0;
    if (json.n == 0)
        return 0;
    struct span_list list = {{NULL, 0}};
    struct assay_str text = assay_arena_fmt(arena, "{\"spans\":%.*s}", ASSAY_FMT(json));
    if (!text.p)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for spans");
    int rc = assay_json_decode(text, list_fields, &list, NULL, arena, NULL, err);
    if (rc < 0)
        return rc;
    *out = list.spans.items;
    *n = list.spans.n;
    return 0;
}

struct raw_one {
    struct assay_str value;
};

/* One member of an object that may have others; "" without it. */
static int member(struct assay_str json, const struct assay_json_field *fields, struct assay_arena *arena,
                  struct assay_str *out, struct assay_err *err)
{
    struct raw_one one = {ASSAY_STR("")};
    *out = ASSAY_STR("");
    if (json.n == 0)
        return 0;
    int rc = assay_json_decode(json, fields, &one, NULL, arena, NULL, err);
    if (rc == 0 && one.value.p)
        *out = one.value;
    return rc;
}

int tr_summary_spans(struct assay_str summary, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    static const struct assay_json_field fields[] = {
        {.name = "spans", .type = ASSAY_JSON_RAW, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct raw_one, value), .has_offset = -1},
        OTHERS,
        {.name = NULL}};
    return member(summary, fields, arena, out, err);
}

int tr_created_agent(struct assay_str payload, struct assay_arena *arena, struct assay_str *agent_id, struct assay_err *err)
{
    static const struct assay_json_field fields[] = {
        {.name = "agent_id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct raw_one, value), .has_offset = -1},
        OTHERS,
        {.name = NULL}};
    return member(payload, fields, arena, agent_id, err);
}

int tr_reason(struct assay_str payload, struct assay_arena *arena, struct assay_str *reason, struct assay_err *err)
{
    static const struct assay_json_field fields[] = {
        {.name = "reason", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct raw_one, value), .has_offset = -1},
        OTHERS,
        {.name = NULL}};
    return member(payload, fields, arena, reason, err);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

void tr_submission_write(struct assay_jw *w, const struct tr_submission *s)
{
    assay_jw_kstr(w, "submission_id", s->id);
    /* a task has neither */
    assay_jw_key(w, "benchmark_id");
    if (s->benchmark_id.n)
        assay_jw_str(w, s->benchmark_id);
    else
        assay_jw_null(w);
    assay_jw_key(w, "agent_id");
    if (s->agent_id.n)
        assay_jw_str(w, s->agent_id);
    else
        assay_jw_null(w);
    assay_jw_kstr(w, "status", s->state);
    if (s->verdict.n && tr_verdict_visible(s))
        assay_jw_kstr(w, "verdict", s->verdict);
    else
        assay_jw_kz(w, "verdict", NULL);
    assay_jw_ktime(w, "created_at", s->created_ms);
    assay_jw_ktime(w, "finished_at", s->finished_ms);
}

void tr_tree_write(struct assay_jw *w, const struct tr_span *span, int at)
{
    const struct tr_span *s = &span[at];
    assay_jw_object(w);
    assay_jw_kstr(w, "name", s->name);
    assay_jw_ktime(w, "started_at", s->start_ms);
    assay_jw_ktime(w, "ended_at", s->end_ms);
    if (s->end_ms > 0)
        assay_jw_kint(w, "duration_ms", s->end_ms - s->start_ms);
    else
        assay_jw_kz(w, "duration_ms", NULL);
    if (s->attrs.n)
        assay_jw_kraw(w, "attributes", s->attrs);
    assay_jw_key(w, "children");
    assay_jw_array(w);
    for (int c = s->first; c >= 0; c = span[c].next)
        tr_tree_write(w, span, c);
    assay_jw_end(w);
    assay_jw_end(w);
}

void tr_event_write(struct assay_jw *w, const struct tr_event *e)
{
    assay_jw_object(w);
    assay_jw_ktime(w, "at", e->at_ms);
    assay_jw_kstr(w, "name", e->name);
    if (e->detail.n)
        assay_jw_kstr(w, "detail", e->detail);
    assay_jw_end(w);
}

void tr_note_write(struct assay_jw *w, const struct tr_note *n)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", n->id);
    assay_jw_ktime(w, "at", n->at_ms);
    assay_jw_kz(w, "level", tr_level_name(n->level));
    assay_jw_kstr(w, "message", n->message);
    if (n->agent_id.n)
        assay_jw_kstr(w, "agent_id", n->agent_id);
    assay_jw_end(w);
}
