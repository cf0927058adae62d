/* JSON of scores. */
#include "local.h"

void scoring_row_write(struct assay_jw *w, const struct scoring_viewer *v, const struct scoring_row *row)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "submission_id", row->submission_id);
    assay_jw_kstr(w, "benchmark_id", row->benchmark_id);
    assay_jw_kstr(w, "problem_id", row->problem_id);
    assay_jw_kstr(w, "agent_id", row->agent_id);
    if (scoring_owner_visible(v, row))
        assay_jw_kstr(w, "owner_id", row->owner_id);
    if (scoring_outcome_visible(v, row)) {
        assay_jw_kstr(w, "verdict", row->verdict);
        assay_jw_kreal(w, "score", row->score);
    } else {
        assay_jw_kz(w, "verdict", NULL);
        assay_jw_kz(w, "score", NULL);
    }
    assay_jw_ktime(w, "submitted_at", row->created_ms);
    assay_jw_ktime(w, "finished_at", row->finished_ms);
    assay_jw_end(w);
}
