/*
 * Store, blobs and brokers as services get them: the drivers' own operations, with the time that each took in histograms.
 *
 * One place counts for all drivers, also for those that others write: assay_store_operation_seconds,
 * assay_blob_operation_seconds and assay_broker_publish_seconds.  A write's time is that of its caller: it ends with its
 * completion, so it holds the wait for the group it was committed with.
 *
 * Threads: new, free and the first assay_timed_broker of a name belong to one thread; what they give may be used from any,
 * as the driver itself.  The metrics and the drivers must outlive it.
 */
#ifndef ASSAY_GATEWAY_TIMED_H
#define ASSAY_GATEWAY_TIMED_H

#include <assay/blob.h>
#include <assay/broker.h>
#include <assay/store.h>

#include "gateway/metrics.h"

struct assay_timed;

/* Registers the three metrics. NULL on failure. */
struct assay_timed *assay_timed_new(struct assay_metrics *m, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_timed_free(struct assay_timed *t); /* NULL is fine */

/* Each wraps one driver: the first call decides which. */
struct assay_store assay_timed_store(struct assay_timed *t, struct assay_store of);
struct assay_blobs assay_timed_blobs(struct assay_timed *t, struct assay_blobs of);
/* name: as the options say it, "kafka"; must outlive t. ASSAY_E_BUSY: more brokers than there are drivers. */
int assay_timed_broker(struct assay_timed *t, const char *name, struct assay_broker of, struct assay_broker *out,
                       struct assay_err *err) ASSAY_MUST_CHECK;

#endif
