/* What the two files of SQL share: the order of a board, and where its rows come from. */
#ifndef LEADERBOARD_REPO_H
#define LEADERBOARD_REPO_H

#include "local.h"

#define FROZEN LB_FROZEN

#define KEY(t) "(" t ".down, " t ".created_ms, " t ".submission_id)"
/* The same to compare KEY with.  Beside a bare column of another table SQLite seeks by the first member
 * only and then reads all that are equal in it, which may be half of the board: what has no affinity
 * of its own takes the index's. */
#define KEY_OF(t) "(" t ".down, +" t ".created_ms, " t ".submission_id || '')"
#define KEY_ASC(t) " ORDER BY " t ".down, " t ".created_ms, " t ".submission_id"
#define KEY_DESC(t) " ORDER BY " t ".down DESC, " t ".created_ms DESC, " t ".submission_id DESC"

/* joins the bucket k that entry e is in */
#define JOIN_BUCKET                                                                                                    \
    " JOIN leaderboard_buckets k ON k.benchmark_id = e.benchmark_id AND " KEY("k") " = (SELECT q.down, q.created_ms,"   \
    " q.submission_id FROM leaderboard_buckets q WHERE q.benchmark_id = e.benchmark_id AND " KEY("q") " <= " KEY_OF("e")   \
    KEY_DESC("q") " LIMIT 1)"

extern const struct assay_stmt lb_q_top, lb_q_top_of_all, lb_q_of_agent, lb_q_boards_of_agent, lb_q_benchmark_get, lb_q_enters,
    lb_q_problems, lb_q_cells, lb_q_cells_of_all, lb_q_metrics, lb_q_submissions,
    lb_q_groups; /* repo.c */

static inline struct assay_str or_empty(struct assay_str s)
{
    return s.p ? s : ASSAY_STR("");
}

#endif
