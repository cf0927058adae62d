/* The rules of scoring. No I/O. */
#include "local.h"

#include <math.h>
#include <stddef.h>

int scoring_judge(const struct assay_ev_done *done, bool *counts, struct assay_err *err)
{
    static const char *const verdicts[] = {"OK", "WA", "TL", "ML", "OL", "RE", "BF", "IE"};
    bool known = false;
    for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++)
        known = known || assay_str_is(done->verdict, verdicts[i]);
    if (!known)
        return assay_err_set(err, ASSAY_E_INVALID, "no submission ends with the verdict \"%.*s\"",
                             (int)(done->verdict.n > 16 ? 16 : done->verdict.n), done->verdict.n ? done->verdict.p : "");
    /* an infrastructure error is ours and never charged to anybody; a task of no benchmark is no contest */
    bool ours = assay_str_is(done->verdict, "IE");
    if (!ours && (!isfinite(done->score) || done->score < 0 || done->score > 100))
        return assay_err_set(err, ASSAY_E_INVALID, "a score lies between 0 and 100");
    *counts = !ours && done->benchmark_id.n > 0 && done->agent_id.n > 0;
    return 0;
}

struct scoring_viewer scoring_viewer_of(const struct assay_principal *who)
{
    return (struct scoring_viewer){
        .user_id = who->user_id.p ? who->user_id : ASSAY_STR(""),
        .agent_id = who->agent_id.p ? who->agent_id : ASSAY_STR(""),
        .staff = assay_is_staff(who),
    };
}

static bool is_me(const struct scoring_viewer *v, struct assay_str user_id)
{
    return v->agent_id.n == 0 && v->user_id.n > 0 && assay_str_eq(v->user_id, user_id);
}

bool scoring_outcome_visible(const struct scoring_viewer *v, const struct scoring_row *row)
{
    return v->staff || is_me(v, row->benchmark_owner) || row->feedback >= ASSAY_FEEDBACK_VERDICT;
}

bool scoring_owner_visible(const struct scoring_viewer *v, const struct scoring_row *row)
{
    return v->staff || is_me(v, row->benchmark_owner) || is_me(v, row->owner_id);
}

static const struct assay_json_field group_fields[] = {
    {.name = "name", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct assay_ev_number, name), .has_offset = -1},
    {.name = "points_awarded", .type = ASSAY_JSON_REAL, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct assay_ev_number, value),
     .has_offset = -1},
    {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
    {.name = NULL},
};
static const struct assay_json_field summary_fields[] = {
    {.name = "cpu_ms", .type = ASSAY_JSON_INT, .offset = offsetof(struct scoring_summary, cpu_ms), .has_offset = -1},
    {.name = "groups", .type = ASSAY_JSON_ARRAY, .offset = offsetof(struct scoring_summary, groups), .has_offset = -1,
     .fields = group_fields, .elem_size = sizeof(struct assay_ev_number)},
    {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
    {.name = NULL},
};

int scoring_summary_read(struct assay_str summary, struct assay_arena *arena, struct scoring_summary *out, struct assay_err *err)
{
    *out = (struct scoring_summary){.cpu_ms = -1};
    if (summary.n == 0)
        return ASSAY_OK;
    int rc = assay_json_decode(summary, summary_fields, out, NULL, arena, NULL, err);
    if (rc == ASSAY_E_INVALID) { /* another runner's: what it does not say in our words it does not say */
        *out = (struct scoring_summary){.cpu_ms = -1};
        return ASSAY_OK;
    }
    return rc;
}
