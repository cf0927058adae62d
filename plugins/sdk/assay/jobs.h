/*
 * Interface "assay.jobs": how a runner gets work and hands it back.
 *
 * Provided by the submissions service, which owns the job: state, lease, fencing token, attempts,
 * terminal verdict.  A lease names a fence that rises with each lease of the submission; finish and
 * renew with an old fence answer ASSAY_E_GUARD and change nothing.  Lease expiry is held by the
 * provider's monotonic clock; the leases of local runners are void when the provider starts.
 *
 * Thread-safe. lease blocks (worker threads only); the others are asynchronous.
 */
#ifndef ASSAY_JOBS_H
#define ASSAY_JOBS_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/store.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_JOBS_INTERFACE "assay.jobs"
#define ASSAY_JOBS_VERSION 1u

struct assay_job {
    struct assay_str submission_id, benchmark_id, problem_id, agent_id, owner_id;
    struct assay_str language;
    struct assay_str source_ref;  /* blob of the source, or "" */
    struct assay_str payload_ref; /* blob of the payload, or "" */
    struct assay_str manifest_ref; /* blob of the problem's manifest (manifest.h) */
    struct assay_str traceparent, request_id;
    int64_t fence;
    int64_t attempt; /* 1 for the first */
    int64_t created_ms;
};

struct assay_job_end {
    struct assay_str submission_id;
    int64_t fence;
    struct assay_str verdict;  /* "OK", "WA", ... "IE" */
    double score;              /* 0..100; meaningless for IE */
    struct assay_str summary;  /* JSON object that becomes part of submission.done (events.h) */
};

struct assay_jobs_ops {
    uint32_t size;
    /* Up to max of the oldest queued submissions, at once; 0 is fine. Blocks on the store. */
    int (*lease)(void *self, struct assay_str worker, size_t max, int64_t lease_ms, struct assay_arena *arena,
                 struct assay_job **out, size_t *n, struct assay_err *err);
    int (*renew)(void *self, struct assay_str submission_id, int64_t fence, int64_t lease_ms, struct assay_err *err);
    /* Adds to tx (which already holds the runner's own rows) the guarded terminal update and the event
     * submission.done.  The caller executes tx; ASSAY_E_GUARD then means: fenced off, drop it. */
    int (*finish)(void *self, const struct assay_job_end *end, struct assay_tx *tx, struct assay_err *err);
    /* Adds to tx the return of an unfinished job to the queue: counted as an attempt that failed for
     * `reason` when charge is true (at the attempt limit it ends as IE), uncounted otherwise. */
    int (*give_back)(void *self, const struct assay_job *job, bool charge, struct assay_str reason, struct assay_tx *tx,
                     struct assay_err *err);
    /* Adds to tx an event about progress: "submission.running", "submission.test". */
    int (*progress)(void *self, const struct assay_job *job, const char *topic, struct assay_str payload,
                    struct assay_tx *tx, struct assay_err *err);
    /* True when a cancel has been asked for since the lease. Never blocks. */
    bool (*cancelled)(void *self, struct assay_str submission_id);
};

#ifdef __cplusplus
}
#endif
#endif
