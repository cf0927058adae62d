/*
 * The leaderboard service: what its files share.
 *
 * It keeps, for each benchmark, the best score of each agent.  State comes in by the durable group
 * "leaderboard" only; requests only read, on worker threads.  Nothing is kept in memory: how a rank is
 * found among a million is told in repo.c.
 */
#ifndef LEADERBOARD_LOCAL_H
#define LEADERBOARD_LOCAL_H

#include <stdint.h>

#include <assay/events.h>
#include <assay/plugin.h>

#define LEADERBOARD_MAGIC 0x6c656164u

struct leaderboard {
    uint32_t magic;
    const struct assay_host *host;
};

/* ---- domain.c: the rules; no I/O ------------------------------------------------------------- */

struct lb_entry {
    struct assay_str benchmark_id, agent_id, agent_name, owner_id, submission_id, problem_id;
    double score;
    int64_t created_ms; /* of the submission */
};
/* The order of a board: better score first, of equals the earlier submission, then the smaller id.
 * <0 when a stands before b, 0 for the same place. */
int lb_order(const struct lb_entry *a, const struct lb_entry *b);

struct lb_viewer {
    struct assay_str user_id, agent_id; /* agent_id: set for an agent's token */
    bool staff;
};
struct lb_viewer lb_viewer_of(const struct assay_principal *who);

struct lb_benchmark {
    struct assay_str owner_id;
    int64_t visibility, feedback;
    bool deleted;
};
/* Whether the viewer may know that the benchmark exists; `enters`: has an entry on its board. */
bool lb_visible(const struct lb_viewer *v, const struct lb_benchmark *b, bool enters);
/* Whether the viewer may see its scores: a policy that keeps verdicts from entrants keeps ranks too. */
bool lb_scores_visible(const struct lb_viewer *v, const struct lb_benchmark *b);

/* Where a page begins: behind this entry, which had this rank. */
struct lb_place {
    int64_t rank; /* 0: at the top */
    double score;
    int64_t created_ms;
    struct assay_str submission_id;
};
/* The key inside a cursor, and back; ASSAY_E_INVALID for what lb_place_text never makes. */
struct assay_str lb_place_text(const struct lb_place *p, struct assay_arena *arena);
int lb_place_parse(struct assay_str text, struct lb_place *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- codec.c ----------------------------------------------------------------------------------- */

void lb_entry_write(struct assay_jw *w, const struct lb_viewer *v, const struct lb_entry *e, int64_t rank);
/* Payload of leaderboard.updated in the arena; without a submission id the board has changed in a way
 * that only reading it tells. */
int lb_updated_encode(struct assay_str agent_id, struct assay_str submission_id, double score, struct assay_arena *arena,
                      struct assay_str *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- repo.c --------------------------------------------------------------------------------------- */

#define LEADERBOARD_STATEMENTS 28
extern const struct assay_stmt *const leaderboard_statements[LEADERBOARD_STATEMENTS];

/* ASSAY_E_NOT_FOUND */
int lb_benchmark_get(const struct assay_store *st, struct assay_str id, struct assay_arena *arena,
                     struct lb_benchmark *out, struct assay_err *err) ASSAY_MUST_CHECK;
int lb_enters(const struct assay_store *st, struct assay_str benchmark_id, const struct lb_viewer *v,
              struct assay_arena *arena, bool *out, struct assay_err *err) ASSAY_MUST_CHECK;
int lb_top(const struct assay_store *st, struct assay_str benchmark_id, const struct lb_place *from, int64_t limit,
           struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
int lb_top_of_all(const struct assay_store *st, const struct lb_viewer *v, const struct lb_place *from, int64_t limit,
                  struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
/* One agent on one board with its rank; *found false when it has no entry. */
int lb_of_agent(const struct assay_store *st, struct assay_str benchmark_id, struct assay_str agent_id,
                struct assay_arena *arena, struct lb_entry *out, int64_t *rank, bool *found, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* One agent on all boards that the viewer sees, without ranks. */
int lb_boards_of_agent(const struct assay_store *st, const struct lb_viewer *v, struct assay_str agent_id, int64_t limit,
                       struct assay_arena *arena, struct lb_entry **out, size_t *n, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* None of these adds more statements. */
#define LB_OPS_PER_EVENT 10
int lb_score(struct assay_tx *tx, const struct assay_ev_score *score, struct assay_err *err) ASSAY_MUST_CHECK;
int lb_remove_submission(struct assay_tx *tx, struct assay_str submission_id, struct assay_str benchmark_id,
                         struct assay_err *err) ASSAY_MUST_CHECK;
void lb_project_benchmark(struct assay_tx *tx, struct assay_str id, const struct assay_ev_benchmark *b);
void lb_project_agent(struct assay_tx *tx, struct assay_str id, const struct assay_ev_agent *a);

/* ---- schema.c, http.c ------------------------------------------------------------------------------- */

#define LEADERBOARD_MIGRATIONS 1
extern const struct assay_migration leaderboard_migrations[LEADERBOARD_MIGRATIONS];
int leaderboard_http_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

#endif
