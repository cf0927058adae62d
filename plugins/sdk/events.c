/* Codecs of the events. Each decoder passes over members that it does not know. */
#include <assay/events.h>
#include <assay/manifest.h>

const char *const assay_feedback_names[] = {"none", "verdict", "first_failure", "samples", "full", NULL};
const char *const assay_warm_pin_names[] = {"auto", "off", "on", NULL};
const char *const assay_scoring_names[] = {"best", "last", "first", "mean", NULL};
const char *const assay_ranking_names[] = {"score", "sum", "icpc", "pass_at_k", "mean_time", "ioi", NULL};
const char *const assay_visibility_names[] = {"public", "private", NULL};

#define ROW(type_, struct_, member, ...)                                                                               \
    {.name = #member, .type = (type_), .offset = offsetof(struct struct_, member), .has_offset = -1, __VA_ARGS__}
#define RULE(type_, member, ...)                                                                                       \
    {.name = #member, .type = (type_), .offset = offsetof(struct assay_ev_benchmark, rules.member), .has_offset = -1, __VA_ARGS__}
#define OTHERS {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1}
#define LAST {.name = NULL}
#define MUST .flags = ASSAY_JSON_REQUIRED

static int decode(struct assay_str json, const struct assay_json_field *fields, void *out, struct assay_arena *arena,
                  struct assay_err *err)
{
    return assay_json_decode(json, fields, out, NULL, arena, NULL, err);
}

/* Times travel as Unix milliseconds: events are for programs. */

static const struct assay_json_field number_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_ev_number, name, MUST),
    ROW(ASSAY_JSON_REAL, assay_ev_number, value, MUST),
    OTHERS,
    LAST,
};
#define NUMBERS(struct_, member)                                                                                       \
    ROW(ASSAY_JSON_ARRAY, struct_, member, .fields = number_fields, .elem_size = sizeof(struct assay_ev_number))

static const struct assay_json_field user_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_ev_user, role, MUST),
    ROW(ASSAY_JSON_INT, assay_ev_user, epoch, MUST),
    ROW(ASSAY_JSON_BOOL, assay_ev_user, disabled),
    ROW(ASSAY_JSON_BOOL, assay_ev_user, erased),
    OTHERS,
    LAST,
};

static const struct assay_json_field agent_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_ev_agent, owner_id, MUST),
    ROW(ASSAY_JSON_STRING, assay_ev_agent, name),
    ROW(ASSAY_JSON_BOOL, assay_ev_agent, deleted),
    OTHERS,
    LAST,
};

static const struct assay_json_field benchmark_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_ev_benchmark, owner_id, MUST),
    ROW(ASSAY_JSON_STRING, assay_ev_benchmark, name),
    ROW(ASSAY_JSON_ENUM, assay_ev_benchmark, visibility, MUST, .names = assay_visibility_names),
    ROW(ASSAY_JSON_ENUM, assay_ev_benchmark, feedback, MUST, .names = assay_feedback_names),
    ROW(ASSAY_JSON_INT, assay_ev_benchmark, starts_ms),
    ROW(ASSAY_JSON_INT, assay_ev_benchmark, ends_ms),
    ROW(ASSAY_JSON_INT, assay_ev_benchmark, freezes_ms),
    ROW(ASSAY_JSON_STRINGS, assay_ev_benchmark, languages),
    ROW(ASSAY_JSON_STRINGS, assay_ev_benchmark, entrants),
    ROW(ASSAY_JSON_RAW, assay_ev_benchmark, toolchains, .max = 65536),
    ROW(ASSAY_JSON_ENUM, assay_ev_benchmark, warm_interpreters, .names = assay_warm_pin_names),
    RULE(ASSAY_JSON_ENUM, scoring, .names = assay_scoring_names),
    RULE(ASSAY_JSON_ENUM, ranking, .names = assay_ranking_names),
    RULE(ASSAY_JSON_INT, penalty_minutes),
    RULE(ASSAY_JSON_INT, pass_k),
    RULE(ASSAY_JSON_INT, thaws_ms),
    ROW(ASSAY_JSON_INT, assay_ev_benchmark, priority, .min = 0, .max = ASSAY_PRIORITY_MAX),
    ROW(ASSAY_JSON_BOOL, assay_ev_benchmark, deleted),
    OTHERS,
    LAST,
};



static const struct assay_json_field problem_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_ev_problem, benchmark_id, MUST),
    ROW(ASSAY_JSON_STRING, assay_ev_problem, name),
    ROW(ASSAY_JSON_STRING, assay_ev_problem, manifest_ref),
    ROW(ASSAY_JSON_INT, assay_ev_problem, position),
    ROW(ASSAY_JSON_ENUM, assay_ev_problem, mode, .names = assay_judge_mode_names),
    ROW(ASSAY_JSON_INT, assay_ev_problem, version, MUST),
    ROW(ASSAY_JSON_RAW, assay_ev_problem, compiler_options, .max = 65536),
    ROW(ASSAY_JSON_BOOL, assay_ev_problem, deleted),
    OTHERS,
    LAST,
};

static const struct assay_json_field done_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_ev_done, problem_id),
    ROW(ASSAY_JSON_STRING, assay_ev_done, agent_id),
    ROW(ASSAY_JSON_STRING, assay_ev_done, owner_id),
    ROW(ASSAY_JSON_STRING, assay_ev_done, benchmark_id),
    ROW(ASSAY_JSON_STRING, assay_ev_done, verdict, MUST),
    ROW(ASSAY_JSON_REAL, assay_ev_done, score),
    ROW(ASSAY_JSON_INT, assay_ev_done, attempt),
    ROW(ASSAY_JSON_INT, assay_ev_done, created_ms),
    ROW(ASSAY_JSON_INT, assay_ev_done, finished_ms),
    ROW(ASSAY_JSON_RAW, assay_ev_done, summary),
    OTHERS,
    LAST,
};

static const struct assay_json_field score_fields[] = {
    ROW(ASSAY_JSON_STRING, assay_ev_score, submission_id, MUST),
    ROW(ASSAY_JSON_STRING, assay_ev_score, problem_id),
    ROW(ASSAY_JSON_STRING, assay_ev_score, agent_id),
    ROW(ASSAY_JSON_STRING, assay_ev_score, owner_id),
    ROW(ASSAY_JSON_STRING, assay_ev_score, benchmark_id),
    ROW(ASSAY_JSON_STRING, assay_ev_score, verdict, MUST),
    ROW(ASSAY_JSON_REAL, assay_ev_score, score, MUST),
    ROW(ASSAY_JSON_INT, assay_ev_score, created_ms),
    ROW(ASSAY_JSON_INT, assay_ev_score, cpu_ms),
    NUMBERS(assay_ev_score, groups),
    OTHERS,
    LAST,
};

static const struct assay_json_field reported_fields[] = {NUMBERS(assay_ev_reported, metrics), OTHERS, LAST};

#define DECODER(name)                                                                                                  \
    int assay_ev_##name##_decode(struct assay_str json, struct assay_arena *arena, struct assay_ev_##name *out,        \
                                 struct assay_err *err)                                                                \
    {                                                                                                                  \
        return decode(json, name##_fields, out, arena, err);                                                           \
    }
DECODER(user)
DECODER(agent)
DECODER(benchmark)
DECODER(problem)
DECODER(done)
DECODER(score)
DECODER(reported)

static void kstrs(struct assay_jw *w, const char *key, struct assay_strs list)
{
    assay_jw_key(w, key);
    assay_jw_array(w);
    for (size_t i = 0; i < list.n; i++)
        assay_jw_str(w, list.items[i]);
    assay_jw_end(w);
}

static void knumbers(struct assay_jw *w, const char *key, struct assay_json_array list)
{
    const struct assay_ev_number *x = list.items;
    if (list.n == 0)
        return;
    assay_jw_key(w, key);
    assay_jw_array(w);
    for (size_t i = 0; i < list.n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "name", x[i].name);
        assay_jw_kreal(w, "value", x[i].value);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

int assay_ev_user_encode(const struct assay_ev_user *in, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "role", in->role);
    assay_jw_kint(w, "epoch", in->epoch);
    assay_jw_kbool(w, "disabled", in->disabled);
    if (in->erased)
        assay_jw_kbool(w, "erased", true);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int assay_ev_agent_encode(const struct assay_ev_agent *in, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "owner_id", in->owner_id);
    assay_jw_kstr(w, "name", in->name);
    assay_jw_kbool(w, "deleted", in->deleted);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int assay_ev_benchmark_encode(const struct assay_ev_benchmark *in, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "owner_id", in->owner_id);
    assay_jw_kstr(w, "name", in->name);
    assay_jw_kz(w, "visibility", assay_visibility_names[in->visibility]);
    assay_jw_kz(w, "feedback", assay_feedback_names[in->feedback]);
    assay_jw_kint(w, "starts_ms", in->starts_ms);
    assay_jw_kint(w, "ends_ms", in->ends_ms);
    assay_jw_kint(w, "freezes_ms", in->freezes_ms);
    kstrs(w, "languages", in->languages);
    kstrs(w, "entrants", in->entrants);
    if (in->toolchains.n != 0)
        assay_jw_kraw(w, "toolchains", in->toolchains);
    assay_jw_kz(w, "warm_interpreters", assay_warm_pin_names[in->warm_interpreters]);
    assay_jw_kz(w, "scoring", assay_scoring_names[in->rules.scoring]);
    assay_jw_kz(w, "ranking", assay_ranking_names[in->rules.ranking]);
    assay_jw_kint(w, "penalty_minutes", in->rules.penalty_minutes);
    assay_jw_kint(w, "pass_k", in->rules.pass_k);
    assay_jw_kint(w, "thaws_ms", in->rules.thaws_ms);
    if (in->priority != 0)
        assay_jw_kint(w, "priority", in->priority);
    assay_jw_kbool(w, "deleted", in->deleted);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int assay_ev_problem_encode(const struct assay_ev_problem *in, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "benchmark_id", in->benchmark_id);
    assay_jw_kstr(w, "name", in->name);
    assay_jw_kstr(w, "manifest_ref", in->manifest_ref);
    assay_jw_kint(w, "position", in->position);
    assay_jw_kz(w, "mode", assay_judge_mode_names[in->mode]);
    assay_jw_kint(w, "version", in->version);
    if (in->compiler_options.n != 0)
        assay_jw_kraw(w, "compiler_options", in->compiler_options);
    assay_jw_kbool(w, "deleted", in->deleted);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int assay_ev_done_encode(const struct assay_ev_done *in, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "problem_id", in->problem_id);
    assay_jw_kstr(w, "agent_id", in->agent_id);
    assay_jw_kstr(w, "owner_id", in->owner_id);
    assay_jw_kstr(w, "benchmark_id", in->benchmark_id);
    assay_jw_kstr(w, "verdict", in->verdict);
    assay_jw_kreal(w, "score", in->score);
    assay_jw_kint(w, "attempt", in->attempt);
    assay_jw_kint(w, "created_ms", in->created_ms);
    assay_jw_kint(w, "finished_ms", in->finished_ms);
    assay_jw_kraw(w, "summary", in->summary.n ? in->summary : ASSAY_STR("{}"));
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int assay_ev_score_encode(const struct assay_ev_score *in, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "submission_id", in->submission_id);
    assay_jw_kstr(w, "problem_id", in->problem_id);
    assay_jw_kstr(w, "agent_id", in->agent_id);
    assay_jw_kstr(w, "owner_id", in->owner_id);
    assay_jw_kstr(w, "benchmark_id", in->benchmark_id);
    assay_jw_kstr(w, "verdict", in->verdict);
    assay_jw_kreal(w, "score", in->score);
    assay_jw_kint(w, "created_ms", in->created_ms);
    assay_jw_kint(w, "cpu_ms", in->cpu_ms);
    knumbers(w, "groups", in->groups);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int assay_ev_reported_encode(const struct assay_ev_reported *in, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    knumbers(w, "metrics", in->metrics);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}
