/* JSON of the leaderboard. */
#include "local.h"
#include "stats.h"

void lb_entry_write(struct assay_jw *w, const struct lb_viewer *v, const struct lb_benchmark *b, const struct lb_entry *e,
                    int64_t rank)
{
    int ranking = b ? b->rules.ranking : ASSAY_RANKING_SCORE;
    assay_jw_object(w);
    assay_jw_kint(w, "rank", rank);
    assay_jw_kstr(w, "agent_id", e->agent_id);
    assay_jw_kstr(w, "agent_name", e->agent_name.n ? e->agent_name : e->agent_id);
    assay_jw_kstr(w, "benchmark_id", e->benchmark_id);
    assay_jw_kstr(w, "problem_id", e->problem_id);
    assay_jw_kstr(w, "submission_id", e->submission_id);
    assay_jw_kreal(w, "score",
                   ranking == ASSAY_RANKING_PASS_AT_K ? 100 * e->score / (double)(b->problems > 0 ? b->problems : 1) : e->score);
    assay_jw_kint(w, "solved", e->solved);
    if (ranking == ASSAY_RANKING_ICPC)
        assay_jw_kint(w, "penalty_minutes", e->penalty_minutes);
    if (ranking == ASSAY_RANKING_MEAN_TIME && e->solved > 0)
        assay_jw_kreal(w, "mean_time_ms", (double)e->tie / 1000);
    assay_jw_ktime(w, "submitted_at", e->created_ms);
    assay_jw_kbool(w, "mine", v->agent_id.n ? assay_str_eq(v->agent_id, e->agent_id)
                                            : v->user_id.n > 0 && assay_str_eq(v->user_id, e->owner_id));
}

void lb_cells_write(struct assay_jw *w, const struct lb_benchmark *b, const struct lb_cell *c, size_t n)
{
    assay_jw_key(w, "problems");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "problem_id", c[i].problem_id);
        assay_jw_kreal(w, "score", c[i].value);
        assay_jw_kint(w, "submissions", c[i].n);
        assay_jw_kint(w, "correct", c[i].correct);
        assay_jw_kint(w, "rejected", c[i].rejected);
        if (c[i].pending > 0 && c[i].correct == 0)
            assay_jw_kint(w, "pending", c[i].pending);
        if (c[i].correct > 0)
            assay_jw_ktime(w, "solved_at", c[i].ok_ms);
        if (c[i].cpu_ms >= 0)
            assay_jw_kint(w, "best_time_ms", c[i].cpu_ms);
        if (b->rules.ranking == ASSAY_RANKING_PASS_AT_K && c[i].n > 0) {
            int64_t k = c[i].n < b->rules.pass_k ? c[i].n : b->rules.pass_k;
            assay_jw_kreal(w, "pass_at_k", lb_pass_at_k(c[i].n, c[i].correct, k));
            assay_jw_kbool(w, "enough", c[i].n >= b->rules.pass_k);
        }
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

void lb_metrics_write(struct assay_jw *w, const struct assay_rows *rows)
{
    assay_jw_key(w, "metrics");
    assay_jw_array(w);
    for (size_t i = 0; i < rows->n; i++) {
        const struct assay_val *c = rows->row[i].col;
        assay_jw_object(w);
        assay_jw_kstr(w, "name", c[0].s);
        assay_jw_kint(w, "submissions", c[1].i);
        assay_jw_kreal(w, "sum", c[2].r);
        assay_jw_kreal(w, "mean", c[2].r / (double)c[1].i);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

void lb_rules_write(struct assay_jw *w, const struct lb_benchmark *b, bool frozen)
{
    assay_jw_kz(w, "scoring", assay_scoring_names[b->rules.scoring]);
    assay_jw_kz(w, "ranking", assay_ranking_names[b->rules.ranking]);
    if (b->rules.ranking == ASSAY_RANKING_PASS_AT_K)
        assay_jw_kint(w, "pass_k", b->rules.pass_k);
    if (b->freezes_ms > 0) {
        assay_jw_kbool(w, "frozen", frozen);
        assay_jw_ktime(w, "freezes_at", b->freezes_ms);
        assay_jw_ktime(w, "thaws_at", b->rules.thaws_ms);
    }
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
