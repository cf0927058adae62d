/*
 * Interface "assay.jobs": how a runner gets work and hands it back.
 *
 * Provided by the submissions service, which owns the job: state, lease, fencing token, attempts,
 * terminal verdict.  A lease names a fence that rises with each lease of the submission; finish and
 * renew with an old fence answer ASSAY_E_GUARD and change nothing.  Lease expiry is held by the
 * provider's monotonic clock; the leases of a local runner are void when its process has ended.
 *
 * Work may also be leased to a holder outside of any gateway ("away"): a worker over HTTP, a broker.  Such a lease
 * outlives the gateway that gave it and may be renewed and ended through any other one on the same store; a gateway that
 * has just started gives it a full period.
 *
 * Thread-safe. lease and the functions about what is away block (worker threads only); the others are asynchronous.
 */
#ifndef ASSAY_JOBS_H
#define ASSAY_JOBS_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/json.h>
#include <assay/store.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_JOBS_INTERFACE "assay.jobs"
#define ASSAY_JOBS_VERSION 1u

enum assay_job_kind {
    ASSAY_JOB_BENCHMARK, /* judged by the manifest of its problem */
    ASSAY_JOB_TASK,      /* the short form: run once, payload on stdin, nothing compared; no benchmark */
    ASSAY_JOB_SCRIPT,    /* a broker's message (script.h) as the payload: program, tests and limits; request_id is its id */
    ASSAY_JOB_PROJECT,   /* a project: the payload says which (pit.h); its output is the feedback, whole */
    ASSAY_JOB_PROJECT_MESSAGE, /* a broker's message that asks for a project: it is the payload; its output is the result as script.h has it */
    ASSAY_JOB_FILTER,    /* no code: source is what is asked ({"name","parameters"}), payload its input; its output is the result's blob, or why there is none */
};

struct assay_job {
    struct assay_str submission_id, benchmark_id, problem_id, agent_id, owner_id;
    int kind; /* enum assay_job_kind */
    struct assay_str language; /* canonical name; "" when only a payload was sent */
    /* A small source or payload comes with the job; a large one is named as a blob.  files says that
     * the source is a JSON object of path to text instead of one text. */
    struct assay_str source, source_ref;
    struct assay_str payload, payload_ref;
    bool files;
    struct assay_str manifest_ref; /* blob of the problem's manifest (manifest.h); "" for a task */
    struct assay_str traceparent, request_id;
    int64_t fence;
    int64_t attempt; /* 1 for the first */
    int64_t interruptions; /* leases that ended for no fault of the job's, so far */
    int64_t created_ms;
    bool cancel_requested; /* told by held_away; others ask cancelled() */
    struct assay_str compiler_options; /* that it asks for, with a space between each two; "" none */
    struct assay_str assay; /* the member "assay" of the script that it came with, as raw JSON, or "": the runner's to read */
};

/* Who wants work, and which. */
struct assay_lease_ask {
    struct assay_str holder;    /* "agent:<id>", "broker:kafka" */
    struct assay_str languages; /* " c python ": only jobs in one of these, or that name none; "" for any */
    struct assay_str kinds;     /* " 0 1 ": numbers of enum assay_job_kind; "" for any */
    size_t max;
    int64_t lease_ms;
};
enum assay_lease_state { ASSAY_LEASE_HELD, ASSAY_LEASE_CANCELLED, ASSAY_LEASE_LOST };
struct assay_lease {
    struct assay_str submission_id;
    int64_t fence;
    int state; /* out: enum assay_lease_state; cancelled: still held, and nobody wants its result any more */
};

struct assay_job_end {
    bool cancelled;            /* ended because a cancel was asked for: no verdict */
    struct assay_str verdict;  /* "OK", "WA", ... "IE" */
    double score;              /* 0..100; meaningless for IE */
    struct assay_str summary;  /* JSON object that becomes part of submission.done (events.h); at most 48 KiB */
    struct assay_str output;   /* tasks: what GET /result answers; at most 64 KiB are kept. Scripts: the result as script.h has it, whole */
};

/* How a name in a request becomes a language: the runner of this process knows. */
struct assay_languages_ops {
    uint32_t size;
    /* The canonical name for a name or alias in any case (a view that lives as long as the runner).
     * ASSAY_E_NOT_FOUND: no definition has that name; ASSAY_E_UNSUPPORTED: known, but this machine does
     * not offer it, and err says why.  Never blocks; any thread. */
    int (*resolve)(void *self, struct assay_str name, struct assay_str *canonical, struct assay_err *err);

    /* Read only if size covers it. */

    /* Whether a program in that language may ask for these compiler options, by the language's file and by what its
     * problem says (an array of struct assay_manifest_options). ASSAY_E_INVALID: err says which are taken.
     * Never blocks; any thread. */
    int (*options)(void *self, struct assay_str canonical, const struct assay_strs *asked, const struct assay_json_array *problem,
                   struct assay_err *err);
    /* What a request's member "filter" becomes: a name as it is written here, and every parameter with a value.  ASSAY_E_INVALID with
     * at least one fault, whose pointers begin at the member.  Never blocks; any thread. */
    int (*filter)(void *self, struct assay_str json, struct assay_arena *arena, struct assay_json_faults *faults, struct assay_str *canonical,
                  struct assay_err *err);
};

struct assay_jobs_ops {
    uint32_t size;
    /* Up to max of the oldest queued submissions, at once; 0 is fine. Blocks on the store. */
    int (*lease)(void *self, struct assay_str worker, size_t max, int64_t lease_ms, struct assay_arena *arena,
                 struct assay_job **out, size_t *n, struct assay_err *err);
    int (*renew)(void *self, struct assay_str submission_id, int64_t fence, int64_t lease_ms, struct assay_err *err);
    /* Adds to tx (which already holds the runner's own rows) the guarded terminal update and the event
     * submission.done.  The caller executes tx; ASSAY_E_GUARD then means: fenced off, drop it. */
    int (*finish)(void *self, const struct assay_job *job, const struct assay_job_end *end, struct assay_tx *tx,
                  struct assay_err *err);
    /* Adds to tx the return of an unfinished job to the queue: counted as an attempt that failed for
     * `reason` when charge is true (at the attempt limit it ends as IE), as an interruption otherwise (which
     * has a limit too, so that what stops servers does not go round for ever). */
    int (*give_back)(void *self, const struct assay_job *job, bool charge, struct assay_str reason, struct assay_tx *tx,
                     struct assay_err *err);
    /* Adds to tx an event about progress, guarded by the fence: "submission.running", "submission.test". */
    int (*progress)(void *self, const struct assay_job *job, const char *topic, struct assay_str payload,
                    struct assay_tx *tx, struct assay_err *err);
    /* True when a cancel has been asked for since the lease. Never blocks. */
    bool (*cancelled)(void *self, struct assay_str submission_id);
    /* The runner of this process says who knows the languages; ops NULL takes it back. Until then a
     * submission's language is taken as it is written. */
    void (*set_languages)(void *self, const struct assay_languages_ops *ops, void *ops_self);

    /* Read only if size covers them. */

    /* As lease, for a holder outside. */
    int (*lease_away)(void *self, const struct assay_lease_ask *ask, struct assay_arena *arena, struct assay_job **out, size_t *n,
                      struct assay_err *err);
    /* Renews those of the n leases that are the holder's, for the time that they were given for, and says of each
     * what it is. A failure is the store's, and says nothing about any of them. */
    int (*renew_away)(void *self, struct assay_str holder, struct assay_lease *list, size_t n, struct assay_err *err);
    /* The job of a lease that the holder has, without source and payload; fence 0: whichever lease it has of it.
     * ASSAY_E_GUARD: it has none such. The job
     * may then be given to finish, give_back and progress, whose guard is the same. */
    int (*held_away)(void *self, struct assay_str holder, struct assay_str submission_id, int64_t fence,
                     struct assay_arena *arena, struct assay_job *out, struct assay_err *err);
    /* Before the runner of this process leases anything: only these kinds, in lease_ask's form; "" for all. */
    int (*keep_local)(void *self, const char *kinds, struct assay_err *err);
    /* As give_back, of a job that was never begun, by a runner that is stopping: nothing is counted, since the job
     * cannot be what stops it. */
    int (*put_back)(void *self, const struct assay_job *job, struct assay_str reason, struct assay_tx *tx, struct assay_err *err);
    /* A leased job that the caller could not keep, for want of memory: it goes back to the queue within seconds, uncounted.
     * Allocates nothing, cannot fail. */
    void (*drop)(void *self, struct assay_str submission_id, int64_t fence);
};

#ifdef __cplusplus
}
#endif
#endif
