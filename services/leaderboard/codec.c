/* JSON of the leaderboard. */
#include "local.h"

void lb_entry_write(struct assay_jw *w, const struct lb_viewer *v, const struct lb_entry *e, int64_t rank)
{
    assay_jw_object(w);
    assay_jw_kint(w, "rank", rank);
    assay_jw_kstr(w, "agent_id", e->agent_id);
    assay_jw_kstr(w, "agent_name", e->agent_name.n ? e->agent_name : e->agent_id);
    assay_jw_kstr(w, "benchmark_id", e->benchmark_id);
    assay_jw_kstr(w, "problem_id", e->problem_id);
    assay_jw_kstr(w, "submission_id", e->submission_id);
    assay_jw_kreal(w, "score", e->score);
    assay_jw_ktime(w, "submitted_at", e->created_ms);
    assay_jw_kbool(w, "mine", v->agent_id.n ? assay_str_eq(v->agent_id, e->agent_id)
                                            : v->user_id.n > 0 && assay_str_eq(v->user_id, e->owner_id));
    assay_jw_end(w);
}

int lb_updated_encode(struct assay_str agent_id, struct assay_str submission_id, double score, struct assay_arena *arena,
                      struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    if (!w)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for an event");
    assay_jw_object(w);
    if (agent_id.n)
        assay_jw_kstr(w, "agent_id", agent_id);
    if (submission_id.n) {
        assay_jw_kreal(w, "score", score);
        assay_jw_kstr(w, "submission_id", submission_id);
    }
    assay_jw_end(w);
    int rc = assay_jw_finish(w, &b, err);
    if (rc < 0)
        return rc;
    *out = assay_arena_take(arena, &b);
    return out->p ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for an event");
}
