/*
 * The scoring service: what its files share.
 *
 * It turns the end of a submission into a score, keeps the scores, and tells the others.  State
 * comes in by the durable group "scoring" only (deliveries on one worker thread at a time);
 * requests only read, on worker threads.  Nothing is kept in memory.
 */
#ifndef SCORING_LOCAL_H
#define SCORING_LOCAL_H

#include <stdint.h>

#include <assay/events.h>
#include <assay/plugin.h>

#define SCORING_MAGIC 0x73636f72u

struct scoring {
    uint32_t magic;
    const struct assay_host *host;
};

/* ---- domain.c: the rules; no I/O ------------------------------------------------------------- */

/* What an ended submission counts for. ASSAY_E_INVALID for an end that no runner of ours reports. */
int scoring_judge(const struct assay_ev_done *done, bool *counts, struct assay_err *err) ASSAY_MUST_CHECK;

/* What the board needs of a runner's summary. ASSAY_E_NOMEM alone can fail. */
struct scoring_summary {
    int64_t cpu_ms; /* -1 unknown */
    struct assay_json_array groups; /* struct assay_ev_number: points awarded */
};
int scoring_summary_read(struct assay_str summary, struct assay_arena *arena, struct scoring_summary *out, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* Who asks. An agent's token sees what is its own agent's, not all that its owner has. */
struct scoring_viewer {
    struct assay_str user_id, agent_id;
    bool staff;
};
struct scoring_viewer scoring_viewer_of(const struct assay_principal *who);

struct scoring_row {
    struct assay_str submission_id, problem_id, agent_id, owner_id, benchmark_id, verdict;
    double score;
    int64_t attempt, created_ms, finished_ms;
    int64_t feedback;                /* of its benchmark; that of ASSAY_FEEDBACK_NONE where it is unknown */
    struct assay_str benchmark_owner; /* "" where it is unknown */
};
/* Whether the benchmark's feedback policy lets the viewer know verdict and score. */
bool scoring_outcome_visible(const struct scoring_viewer *v, const struct scoring_row *row);
/* Whether the viewer may know whose account it was. */
bool scoring_owner_visible(const struct scoring_viewer *v, const struct scoring_row *row);

struct scoring_filter {
    struct assay_str benchmark_id, agent_id, submission_id; /* p == NULL: any */
    int64_t since_ms, now_ms;
    struct assay_str before; /* submission id; "" for the newest */
    int64_t limit;
};

/* ---- codec.c ----------------------------------------------------------------------------------- */

void scoring_row_write(struct assay_jw *w, const struct scoring_viewer *v, const struct scoring_row *row);

/* ---- repo.c --------------------------------------------------------------------------------------- */

#define SCORING_STATEMENTS 7
extern const struct assay_stmt *const scoring_statements[SCORING_STATEMENTS];
int scoring_list(const struct assay_store *st, const struct scoring_viewer *v, const struct scoring_filter *f,
                 struct assay_arena *arena, struct scoring_row **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
int scoring_add(struct assay_tx *tx, struct assay_str submission_id, const struct assay_ev_done *done,
                struct assay_err *err) ASSAY_MUST_CHECK;
void scoring_remove(struct assay_tx *tx, struct assay_str submission_id);
void scoring_project_benchmark(struct assay_tx *tx, struct assay_str id, const struct assay_ev_benchmark *b);

/* ---- schema.c, http.c ------------------------------------------------------------------------------- */

#define SCORING_MIGRATIONS 2
extern const struct assay_migration scoring_migrations[SCORING_MIGRATIONS];
int scoring_http_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

#endif
