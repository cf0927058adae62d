/* SQL of whose turn it is (theory of operation: turns.h). */
#ifndef SUBMISSIONS_REPO_TURNS_H
#define SUBMISSIONS_REPO_TURNS_H

#include "local.h"
#include "turns.h"

/* The round of its line in which what a submitter queues now is due: the one after its last that still waits there, or
 * else the one that is being served.  So whoever has much in a line and whoever comes with one thing take turns, and nobody's
 * round has to be computed when work is leased.  A row that came back from a runner (turn 0, see requeue_stmt) says
 * nothing about the round. */
#define DUE(submitter, benchmark, priority)                                                                            \
    "COALESCE((SELECT w.turn + 1 FROM submissions w WHERE w.state = 'queued' AND w.submitter = " submitter             \
    " AND w.benchmark_id = " benchmark " AND w.priority = " priority " AND w.turn > 0 ORDER BY w.turn DESC LIMIT 1),"  \
    " (SELECT r.turn FROM submissions r WHERE r.state = 'queued' AND r.benchmark_id = " benchmark                      \
    " AND r.priority = " priority " AND r.turn > 0 ORDER BY r.turn LIMIT 1), 1)"

extern const struct assay_stmt turn_choose_stmt, turn_lease_stmt, turn_served_stmt, turn_astray_stmt, line_wake_stmt, line_back_stmt,
    line_add_stmt, line_mend_stmt, lines_idle_stmt, queue_heads_stmt, queue_line_stmt;

/* Each adds to a transaction, behind what it names. */
void turns_queued(struct assay_tx *tx, struct assay_str id);   /* the row is queued, or is if the row says so */
void turns_returned(struct assay_tx *tx, struct assay_str id); /* the row came back from a runner: the turn that it had does not count */
void turns_line(struct assay_tx *tx, struct assay_str benchmark_id); /* there is such a benchmark */

/* Mends lines that wait and do not say so, since two gateways changed one at the same moment, and those that say so and do not. */
int turns_mend(struct submissions *s, const struct admission_row *row, size_t n, struct assay_err *err);

#endif
