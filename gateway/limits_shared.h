/*
 * Rate limits that several gateways share, through the session driver (assay/session.h).
 *
 * Theory of operation.  No request waits for another machine: a gateway decides by what it knows (limits.c), notes what it let
 * through, and one thread of its own brings the notes to the cells that all gateways share and the answers back, some
 * hundred buckets in one call, as soon as there are any and PAUSE_MS after the last.  A cell moves on by what all have let through; a
 * gateway's own bucket follows it.  So:
 *
 *   - a gateway never refuses what the shared count allows: its own knowledge is behind the cell, never ahead of it;
 *   - what is let through beyond the rule is what comes at all gateways within one exchange (a few ms; one question to Redis), and it
 *     is not forgiven: the cell moves on by that too, up to a window, and the wait is longer by as much.
 *
 * Tokens are not lent to gateways in advance: of a rule of three an hour each of three gateways would hold one that the others
 * refuse, and what is left could be told to nobody.
 *
 * While the driver's server is away each gateway counts for itself, by its share of the rule (rate_limit_gateways), from what it knew last;
 * that is said once, and counted.  What it lets through then is not brought later: it is in its own bucket, and where the cell is
 * found to know less than that (a server that came back empty too), it is told.
 *
 * Threads: start, stop and free on the main thread; stop comes after the last assay_limits_take.
 */
#ifndef ASSAY_GATEWAY_LIMITS_SHARED_H
#define ASSAY_GATEWAY_LIMITS_SHARED_H

#include <assay/session.h>

#include "limits.h"
#include "log.h"
#include "metrics.h"

struct assay_limits_shared;

/* Whether a driver has what it takes. */
bool assay_limits_can_share(const struct assay_session_ops *ops);
/* Starts sharing; limits, driver, metrics and log are borrowed until free. */
int assay_limits_shared_start(struct assay_limits *limits, struct assay_sessions driver, struct assay_metrics *metrics, struct assay_logger *log,
                              struct assay_limits_shared **ret, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_limits_shared_free(struct assay_limits_shared *s); /* ends the thread, within the driver's deadline; NULL is fine */

#endif
