/* Sets of submissions that are judged again: what rejudge.c (routes) and repo_rejudge.c (SQL) share. */
#ifndef SUBMISSIONS_REJUDGE_H
#define SUBMISSIONS_REJUDGE_H

#include "local.h"

#define REJUDGE_MAX 20000 /* submissions of a set */
#define REJUDGE_CHUNK 50  /* in a transaction */

/* The body of POST /rejudgings: which. */
struct rejudge_body {
    struct assay_str benchmark_id, problem_id, agent_id, submission_id, verdict, language, reason;
    int64_t since_ms, until_ms; /* 0: no bound */
};
struct rejudging {
    struct assay_str id, benchmark_id, state, filter, reason, created_by, ended_by;
    int64_t total, created_ms, ended_ms;
};
struct rejudge_progress {
    int64_t judged, changed, failed; /* failed: the new verdict is IE */
};
struct rejudge_change {
    struct assay_str submission_id, copy_id, agent_id, problem_id, old_verdict, new_verdict, outcome;
    bool has_old, has_new; /* scores */
    double old_score, new_score;
};

extern const struct assay_stmt rejudging_get_stmt, rejudging_list_stmt, rejudging_progress_stmt, rejudging_changes_stmt, rejudging_add_stmt,
    rejudge_find_stmt, rejudge_item_stmt, rejudge_copy_stmt, rejudge_bytes_stmt, rejudging_move_stmt,
    rejudge_due_stmt, rejudge_take_stmt, rejudge_outcome_stmt, rejudge_copies_stmt, rejudge_drop_stmt,
    rejudge_drop_bytes_stmt, rejudge_forget_stmt, rejudge_outcomes_stmt;

int repo_rejudging_get(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct rejudging *out, struct assay_err *err);
int repo_rejudging_list(struct submissions *s, struct assay_str before, int64_t limit, struct assay_arena *arena, struct rejudging **out,
                        size_t *n, struct assay_err *err);
int repo_rejudging_progress(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct rejudge_progress *out,
                            struct assay_err *err);
int repo_rejudging_changes(struct submissions *s, struct assay_str id, struct assay_str after, bool all, int64_t limit,
                           struct assay_arena *arena, struct rejudge_change **out, size_t *n, struct assay_err *err);
/* Adds the row of a new set, in state "making". */
void repo_rejudging_add(struct assay_tx *tx, const struct rejudging *r);
/* Ids of what matches, behind `after`. */
int repo_rejudge_find(struct submissions *s, const struct rejudge_body *b, struct assay_str after, int64_t limit, struct assay_arena *arena,
                      struct assay_rows *out, struct assay_err *err);
/* Makes the copies of some submissions, with the ids given, and rings the bell. */
int repo_rejudge_copy(struct submissions *s, const struct rejudging *r, const struct assay_rows *ids, struct assay_err *err);
/* Moves the set from one of two states to another; ASSAY_E_GUARD when it is in neither. judged: only when all copies have ended. */
int repo_rejudging_move(struct submissions *s, struct assay_str id, const char *from, const char *also, const char *to, bool judged,
                        struct assay_str by, const struct assay_request *rq, struct assay_err *err);
/* Gives the verdicts of some more copies to their submissions; *left false when there are no more. */
int repo_rejudge_apply(struct submissions *s, struct assay_str id, bool *left, struct assay_err *err);
/* Rows of outcome and count. */
int repo_rejudge_outcomes(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct assay_rows *out, struct assay_err *err);
/* Removes some more copies, and that there were any. */
int repo_rejudge_drop(struct submissions *s, struct assay_str id, bool *left, struct assay_err *err);

#endif
