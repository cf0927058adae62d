/* JSON of submissions: tables for what comes in, writers for what goes out. */
#include "local.h"

#include <stdio.h>

#define F(name_, alias_, type_, flags_, st, member, lo, hi)                                                            \
    {                                                                                                                  \
        .name = (name_), .alias = (alias_), .type = (type_), .flags = (flags_), .offset = offsetof(struct st, member), \
        .min = (lo), .max = (hi), .has_offset = -1                                                                     \
    }
#define FH(name_, type_, flags_, st, member, has_, lo, hi)                                                             \
    {                                                                                                                  \
        .name = (name_), .type = (type_), .flags = (flags_), .offset = offsetof(struct st, member), .min = (lo),       \
        .max = (hi), .has_offset = offsetof(struct st, has_)                                                           \
    }

static const struct assay_json_field metric_fields[] = {
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED | ASSAY_JSON_SLUG, .offset = offsetof(struct assay_ev_number, name),
     .has_offset = -1},
    {.name = "value", .type = ASSAY_JSON_REAL, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct assay_ev_number, value), .min = -1e15,
     .max = 1e15, .has_offset = -1},
    {.name = NULL},
};

const struct assay_json_field submit_fields[] = {
    F("benchmark_id", NULL, ASSAY_JSON_STRING, ASSAY_JSON_REQUIRED | ASSAY_JSON_ID, submit_body, benchmark_id, 1, 64),
    F("problem_id", NULL, ASSAY_JSON_STRING, ASSAY_JSON_ID | ASSAY_JSON_NULLABLE, submit_body, problem_id, 1, 64),
    F("agent_id", NULL, ASSAY_JSON_STRING, ASSAY_JSON_ID | ASSAY_JSON_NULLABLE, submit_body, agent_id, 1, 64),
    F("language", NULL, ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, submit_body, language, 1, 64),
    FH("source", ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK, submit_body, source, has_source, 1,
       (double)SOURCE_MAX),
    FH("files", ASSAY_JSON_MAP, ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK, submit_body, files, has_files, 1, FILES_MAX),
    FH("payload", ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK, submit_body, payload, has_payload, 0,
       (double)PAYLOAD_MAX),
    F("compiler_options", NULL, ASSAY_JSON_STRINGS, ASSAY_JSON_NULLABLE, submit_body, compiler_options, 0, ASSAY_OPTIONS_MAX),
    F("jury", NULL, ASSAY_JSON_BOOL, 0, submit_body, jury, 0, 0),
    {.name = "metrics", .type = ASSAY_JSON_ARRAY, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct submit_body, metrics), .min = 0,
     .max = METRICS_MAX, .has_offset = -1, .fields = metric_fields, .elem_size = sizeof(struct assay_ev_number)},
    {.name = NULL},
};

const struct assay_json_field batch_fields[] = {
    {.name = "items",
     .type = ASSAY_JSON_ARRAY,
     .flags = ASSAY_JSON_REQUIRED,
     .offset = offsetof(struct batch_body, items),
     .min = 1,
     .max = BATCH_MAX,
     .has_offset = -1,
     .fields = submit_fields,
     .elem_size = sizeof(struct submit_body)},
    {.name = NULL},
};

const struct assay_json_field task_fields[] = {
    F("translator", NULL, ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, task_body, translator, 1, 64),
    F("lang", NULL, ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, task_body, lang, 1, 64),
    F("language", NULL, ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, task_body, language, 1, 64),
    {.name = "code", .alias = "source", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK,
     .offset = offsetof(struct task_body, code), .min = 1, .max = (double)SOURCE_MAX, .has_offset = offsetof(struct task_body, has_code)},
    F("compiler_options", NULL, ASSAY_JSON_STRINGS, ASSAY_JSON_NULLABLE, task_body, compiler_options, 0, ASSAY_OPTIONS_MAX),
    F("input", "stdin", ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE | ASSAY_JSON_NUL_OK, task_body, input, 0,
      (double)PAYLOAD_MAX),
    FH("filter", ASSAY_JSON_RAW, ASSAY_JSON_NULLABLE, task_body, filter, has_filter, 0, 4096),
    FH("image", ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE | ASSAY_JSON_BASE64, task_body, image, has_image, 1, (double)IMAGE_MAX),
    {.name = NULL},
};

static int finish_into_arena(struct assay_jw *w, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    struct assay_buf buf = ASSAY_BUF_INIT;
    int rc = assay_jw_finish(w, &buf, err);
    if (rc < 0) {
        assay_buf_free(&buf);
        return rc;
    }
    *out = assay_arena_take(arena, &buf);
    return out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

int files_encode(const struct assay_json_map *files, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    for (size_t i = 0; i < files->n; i++) {
        char *key = assay_arena_z(arena, files->items[i].key);
        if (key == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        assay_jw_kstr(w, key, files->items[i].value);
    }
    assay_jw_end(w);
    return finish_into_arena(w, arena, out, err);
}

static const char *kind_name(int64_t kind)
{
    static const char *const names[] = {[ASSAY_JOB_BENCHMARK] = "benchmark", [ASSAY_JOB_TASK] = "task", [ASSAY_JOB_SCRIPT] = "script",
                                        [ASSAY_JOB_PROJECT] = "project", [ASSAY_JOB_PROJECT_MESSAGE] = "project",
                                        [ASSAY_JOB_FILTER] = "filter"};
    return kind >= 0 && kind <= ASSAY_JOB_FILTER ? names[kind] : "benchmark";
}

int created_encode(const struct draft *d, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "benchmark_id", d->benchmark_id);
    assay_jw_kstr(w, "problem_id", d->problem_id);
    assay_jw_kstr(w, "agent_id", d->agent_id);
    assay_jw_kstr(w, "owner_id", d->owner_id);
    assay_jw_kstr(w, "language", d->language);
    assay_jw_kz(w, "kind", kind_name(d->kind));
    assay_jw_kint(w, "created_ms", d->now_ms);
    if (d->metrics.n != 0) {
        const struct assay_ev_number *m = d->metrics.items;
        assay_jw_key(w, "metrics");
        assay_jw_array(w);
        for (size_t i = 0; i < d->metrics.n; i++) {
            assay_jw_object(w);
            assay_jw_kstr(w, "name", m[i].name);
            assay_jw_kreal(w, "value", m[i].value);
            assay_jw_end(w);
        }
        assay_jw_end(w);
    }
    if (d->request_id.n != 0)
        assay_jw_kstr(w, "request_id", d->request_id);
    if (d->traceparent.n != 0)
        assay_jw_kstr(w, "traceparent", d->traceparent);
    assay_jw_end(w);
    return finish_into_arena(w, arena, out, err);
}

int reason_encode(struct assay_str reason, int64_t attempt, struct assay_arena *arena, struct assay_str *out,
                  struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    if (reason.n != 0)
        assay_jw_kstr(w, "reason", reason);
    if (attempt > 0)
        assay_jw_kint(w, "attempt", attempt);
    assay_jw_end(w);
    return finish_into_arena(w, arena, out, err);
}

static void knull_or_str(struct assay_jw *w, const char *key, struct assay_str s)
{
    if (s.n != 0)
        assay_jw_kstr(w, key, s);
    else
        assay_jw_kz(w, key, NULL);
}

void view_write(struct assay_jw *w, const struct view *v, bool whole)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", v->id);
    assay_jw_kz(w, "kind", kind_name(v->kind));
    knull_or_str(w, "benchmark_id", v->benchmark_id);
    knull_or_str(w, "problem_id", v->problem_id);
    knull_or_str(w, "agent_id", v->agent_id);
    assay_jw_kstr(w, "owner_id", v->owner_id);
    knull_or_str(w, "language", v->language);
    assay_options_write(w, "compiler_options", v->compiler_options);
    assay_jw_kstr(w, "status", v->state);
    if (v->has_verdict)
        assay_jw_kstr(w, "verdict", v->verdict);
    else
        assay_jw_kz(w, "verdict", NULL);
    assay_jw_key(w, "score");
    if (v->has_score)
        assay_jw_real(w, v->score);
    else
        assay_jw_null(w);
    assay_jw_kint(w, "attempts", v->attempts);
    assay_jw_kbool(w, "cancel_requested", v->cancel_requested);
    assay_jw_ktime(w, "created_at", v->created_ms);
    assay_jw_ktime(w, "updated_at", v->updated_ms);
    assay_jw_ktime(w, "finished_at", v->finished_ms);
    if (whole) {
        knull_or_str(w, "request_id", v->request_id);
        assay_jw_kraw(w, "summary", v->summary);
    }
    assay_jw_end(w);
}

void sent_write(struct assay_jw *w, const struct view *v, const struct sent *sent)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", v->id);
    knull_or_str(w, "language", v->language);
    if (sent->source_kind == SOURCE_TEXT)
        assay_jw_kstr(w, "source", sent->source);
    else
        assay_jw_kz(w, "source", NULL);
    if (sent->source_kind == SOURCE_FILES)
        assay_jw_kraw(w, "files", sent->source); /* kept as the JSON that files_encode made */
    else
        assay_jw_kz(w, "files", NULL);
    ASSAY_CLEANUP_BUF struct assay_buf image = ASSAY_BUF_INIT;
    if (v->kind == ASSAY_JOB_FILTER && sent->payload.p != NULL) { /* bytes, and no text */
        assay_buf_base64(&image, sent->payload);
        assay_jw_kstr(w, "payload", assay_buf_view(&image));
    } else if (sent->payload.p != NULL)
        assay_jw_kstr(w, "payload", sent->payload);
    else
        assay_jw_kz(w, "payload", NULL);
    assay_jw_end(w);
}

int accepted_encode(const struct draft *d, struct assay_response *rs, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    if (d->kind == ASSAY_JOB_TASK || d->kind == ASSAY_JOB_FILTER) {
        assay_jw_kz(w, "task_id", d->id);
        assay_jw_end(w);
        return assay_reply_json(rs, 201, w, err);
    }
    assay_jw_kz(w, "id", d->id);
    assay_jw_kz(w, "status", "queued");
    assay_jw_kstr(w, "benchmark_id", d->benchmark_id);
    knull_or_str(w, "problem_id", d->problem_id);
    knull_or_str(w, "agent_id", d->agent_id);
    knull_or_str(w, "language", d->language);
    assay_jw_ktime(w, "created_at", d->now_ms);
    assay_jw_end(w);
    return assay_reply_json(rs, 202, w, err);
}

void refusal_write(struct assay_jw *w, const struct admission_refusal *why)
{
    assay_jw_kz(w, "bound", admission_bound_names[why->bound]);
    assay_jw_kint(w, "limit", why->limit);
    assay_jw_kint(w, "retry_after_s", why->retry_after_s);
}

int refusal_encode(const struct admission_refusal *why, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    int code = admission_refusal_code(why);
    char type[64], text[ADMISSION_TEXT];
    snprintf(type, sizeof type, "urn:assay:problem:%s", assay_err_word(code));
    admission_refusal_text(why, text, sizeof text);
    struct assay_str after = assay_arena_fmt(rq->arena, "%lld", (long long)why->retry_after_s);
    if (after.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kz(w, "type", type);
    assay_jw_kz(w, "title", code == ASSAY_E_RATE ? "Too Many Requests" : "Service Unavailable");
    assay_jw_kint(w, "status", assay_err_http(code));
    assay_jw_kz(w, "detail", text);
    assay_jw_kstr(w, "instance", rq->path);
    assay_jw_kstr(w, "request_id", rq->request_id);
    refusal_write(w, why);
    assay_jw_end(w);
    assay_reply_header(rs, ASSAY_STR("Retry-After"), after);
    int rc = assay_reply_json(rs, assay_err_http(code), w, err);
    rs->content_type = "application/problem+json";
    return rc;
}
