/*
 * Runners elsewhere, inside: what remote_codec.c, remote_job.c, remote.c and remote_http.c share.
 *
 * A runner elsewhere gets a script (assay/script.h) whose member "assay" says all that is needed to judge it as this
 * process would, and answers with a result whose member "assay" says all that this process would have written.  The same
 * two members are made and read on both sides, by this plugin.
 */
#ifndef ASSAY_RUNNER_REMOTE_H
#define ASSAY_RUNNER_REMOTE_H

#include <pthread.h>

#include <assay/script.h>

#include "local.h"

#define AWAY_MAX ((size_t)15 << 20)     /* bytes of the member of a script */
#define AWAY_TEXTS_MAX ((size_t)8 << 20) /* of outputs in one result, together */
#define AWAY_RECORD_MAX ((size_t)64 << 10)

/* ---- remote_codec.c ---------------------------------------------------------------------------------------- */

/* What a gateway tells: the member "assay" of a script. */
struct away_job {
    struct assay_str submission_id;
    int64_t fence, attempt;
    int kind;                  /* enum assay_job_kind */
    struct assay_str manifest; /* as its blob has it; "" for a task */
    struct assay_str payload;
    struct assay_str toolchains; /* JSON object or "" */
    int feedback, warm_interpreters;
    struct assay_json_array blobs; /* struct away_blob: what the manifest names, for who cannot fetch it */
};
struct away_blob {
    struct assay_str data;
};
int away_job_encode(const struct away_job *a, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
int away_job_decode(struct assay_str json, struct assay_arena *arena, struct away_job *out, struct assay_err *err);

/* What a runner answers: the member "assay" of a result. */
struct away_test {
    int64_t number, exit_code, signal;
    int verdict; /* enum verdict */
    bool ran, finished, warm, has_part;
    double part;
    int end; /* enum assay_box_end */
    int64_t cpu_us, user_us, system_us, wall_us, peak, own, max_rss, oom_kills, voluntary, forced, precision;
    int64_t out_bytes, err_bytes, reruns, start_ms, end_ms; /* times from the begin of the job */
    struct assay_str out, err, message, judge_message, team_message, transcript;
};
struct away_result {
    struct assay_str submission_id, mode, fault, environment, build_output, compiler_options;
    bool alarm; /* fault is the checker's */
    int64_t fence;
    int verdict;
    bool build_cached;
    int64_t build_ms, build_cpu_us, build_start_ms, build_end_ms, started_ms, total_ms;
    int64_t time_limit_ms, hard_time_limit_ms, wall_limit_ms, memory_limit_bytes;
    struct assay_json_array tests; /* struct away_test */
};
/* Of a job that has ended. */
int away_result_encode(const struct job *j, int64_t now_ms, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
int away_result_decode(struct assay_str json, struct assay_arena *arena, struct away_result *out, struct assay_err *err);

/* The bodies of requests. */
struct lease_body {
    struct assay_strs languages;
    int64_t max, wait_s;
};
struct result_body {
    struct assay_str submission_id, task_id, id, result_text, reason;
    int64_t fence;
    struct assay_str result; /* raw */
    bool has_returned, charge;
    struct {
        struct assay_str reason;
        bool charge;
    } returned;
};
extern const struct assay_json_field lease_fields[], result_fields[];

/* ---- remote_job.c: between jobs and messages ------------------------------------------------------------------ */

/* The message for a leased job; whole: with the blobs that it names, as far as a message holds them. Blocks. A failure is ours (the store or a blob). */
int away_export(struct runner *r, const struct assay_job *lease, bool whole, struct assay_arena *arena, struct assay_str *out,
                struct assay_err *err);
/*
 * Writes what a runner elsewhere made of the lease that the holder has, as the end of a local job is written; fence 0: of
 * whatever lease it has.  Blocks.
 * ASSAY_E_GUARD: the holder has no such lease (any more), and nothing was changed.  ASSAY_E_INVALID: it is no result of
 * this job; nothing was changed.
 */
int away_import(struct runner *r, struct assay_str holder, struct assay_str submission_id, int64_t fence,
                const struct assay_script_result *result, struct assay_err *err);
/* Hands the job back to the queue, or ends it when its cancel was asked for. As above. */
int away_return(struct runner *r, struct assay_str holder, struct assay_str submission_id, int64_t fence, bool charge,
                struct assay_str reason, struct assay_err *err);

/* ---- remote_fetch.c: on a runner elsewhere ------------------------------------------------------------------------ */

/* As cache_read; of a job that a gateway gave, what is not here is fetched from there, and kept. Blocks. */
int away_read(struct runner *r, const struct job *j, struct assay_str ref, size_t max, struct assay_arena *arena,
              struct assay_str *out, struct assay_err *err);

/* Keeps the blobs that came with a job. Blocks. */
int away_keep(struct runner *r, const struct away_job *a, struct assay_err *err);

/* ---- fetched.c ---- */

/* ASSAY_E_CONFIG: not for such a process. */
int fetched_new(struct runner *r, struct assay_err *err);
/* Begins to remove what has not been wanted for long. */
int fetched_start(struct runner *r, struct assay_err *err);
/* Stores what was fetched under its hash. Blocks. */
int fetched_put(struct runner *r, struct assay_str bytes, struct assay_err *err);

/* ---- dispatch.c: through brokers ------------------------------------------------------------------------------------ */

int dispatch_open(struct runner *r, struct assay_err *err); /* before anything is leased */
int dispatch_start(struct runner *r, struct assay_err *err);
void dispatch_ring(struct runner *r); /* there may be work; any thread */
void dispatch_drain(struct runner *r);
void dispatch_free(struct runner *r);

/* ---- remote.c: who is there and who waits --------------------------------------------------------------------- */

struct remote;
int remote_new(struct runner *r, struct assay_err *err);
void remote_free(struct runner *r);
void remote_ring(struct runner *r);  /* there may be work; any thread */
void remote_drain(struct runner *r); /* answers all that wait */
/* A worker was heard of. */
void remote_seen(struct runner *r, struct assay_str agent_id);
/* How many were heard of in the last two minutes. */
int64_t remote_workers(struct runner *r);

/* Waits for work on behalf of a request, which remote answers in time. */
struct poll {
    struct poll *next;
    assay_ticket ticket;
    struct assay_arena *arena; /* the request's */
    struct assay_str agent_id, holder, languages;
    int64_t max, until_mono_ms;
};
/* The leased jobs as the answer's body; rs->body is empty when there are none. */
int remote_lease(struct runner *r, const struct poll *p, struct assay_response *rs, bool *some, struct assay_err *err);
void remote_no_jobs(struct runner *r, struct assay_response *rs);
int remote_wait(struct runner *r, const struct poll *p, struct assay_err *err);

/* ---- remote_http.c ---------------------------------------------------------------------------------------------- */

int http_lease(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_results_put(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_blob(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

#endif
