/*
 * The leaderboard service: what its files share.
 *
 * It keeps, for each benchmark, the place of each agent, by the benchmark's rules.  State comes in by the durable group
 * "leaderboard" only; requests only read, on worker threads.  Nothing is kept in memory: how a rank is
 * found among a million is told in repo.c.
 */
#ifndef LEADERBOARD_LOCAL_H
#define LEADERBOARD_LOCAL_H

#include <stdatomic.h>
#include <stdint.h>

#include <assay/events.h>
#include <assay/plugin.h>

#define LEADERBOARD_MAGIC 0x6c656164u

struct leaderboard {
    uint32_t magic;
    atomic_bool counting; /* the intervals of a large board: one request at a time */
    const struct assay_host *host;
};

enum { LB_METRIC_SCORES, LB_METRIC_CELLS, LB_METRIC_PLACES, LB_METRIC_INTERVALS, LB_METRICS };
extern const struct assay_metric lb_metric_rows[LB_METRICS];

/* ---- domain.c: the rules; no I/O ------------------------------------------------------------- */

struct lb_entry {
    struct assay_str benchmark_id, agent_id, agent_name, owner_id, submission_id, problem_id;
    double score;       /* by the ranking: a score, a sum, problems solved, a sum of pass@k */
    int64_t created_ms; /* of the submission */
    double down;        /* with tie and submission_id the key of the board's order, least first (repo_board.c) */
    int64_t tie;
    int64_t solved, penalty_minutes;
};
/* The order of a board of one score each: better score first, of equals the earlier submission, then the smaller id.
 * <0 when a stands before b, 0 for the same place. */
int lb_order(const struct lb_entry *a, const struct lb_entry *b);

struct lb_viewer {
    struct assay_str user_id, agent_id; /* agent_id: set for an agent's token */
    bool staff;
    int64_t now_ms; /* when: boards freeze */
};
struct lb_viewer lb_viewer_of(const struct assay_principal *who, int64_t now_ms);

struct lb_benchmark {
    struct assay_str owner_id;
    int64_t visibility, feedback;
    bool deleted;
    struct assay_board_rules rules;
    int64_t starts_ms, freezes_ms; /* 0: none */
    int64_t problems;              /* how many it has */
};
/* Whether the viewer may know that the benchmark exists; `enters`: has an entry on its board. */
bool lb_visible(const struct lb_viewer *v, const struct lb_benchmark *b, bool enters);
/* Whether the viewer may see its scores: a policy that keeps verdicts from entrants keeps ranks too. */
bool lb_scores_visible(const struct lb_viewer *v, const struct lb_benchmark *b);

/* Staff and the benchmark's owner, who see behind a freeze. */
bool lb_is_jury(const struct lb_viewer *v, const struct lb_benchmark *b);
/* From freezes_at until thaws_at. */
bool lb_frozen(const struct lb_benchmark *b, int64_t now_ms);
/* The board that entrants see while it is frozen has this behind the benchmark's id, which no id can have. */
#define LB_FROZEN "#frozen"

struct lb_problem {
    struct assay_str id, name;
    int64_t position;
};
/* An agent's submissions to one problem (cells.h). Points, not millionths. */
struct lb_cell {
    struct assay_str problem_id, submission_id;
    double value, total;
    int64_t value_ms, n, correct, ok_ms, rejected, pending;
    int64_t cpu_ms; /* of the fastest correct; -1 unknown */
};

/* ---- replay.c: a place computed from nothing; no I/O ------------------------------------------------ */

struct lb_submission {
    struct assay_str submission_id, problem_id, verdict;
    double score;
    int64_t created_ms, cpu_ms; /* cpu_ms: -1 unknown */
    const struct assay_ev_number *group; /* points awarded */
    size_t n_groups;
};
struct lb_standing {
    bool there;
    struct assay_str submission_id; /* that stands for it */
    double score, down;
    int64_t tie, solved, penalty_minutes;
};
/* out[i] is where the agent stands after the first i + 1 of its n submissions, in any order. */
int lb_replay(const struct lb_benchmark *b, const struct lb_submission *s, size_t n, struct assay_arena *arena,
              struct lb_standing *out, struct assay_err *err) ASSAY_MUST_CHECK;

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

/* b: NULL on a list of many boards. Without the closing bracket: what else belongs to the row may follow. */
void lb_entry_write(struct assay_jw *w, const struct lb_viewer *v, const struct lb_benchmark *b, const struct lb_entry *e,
                    int64_t rank);
void lb_cells_write(struct assay_jw *w, const struct lb_benchmark *b, const struct lb_cell *c, size_t n);
void lb_metrics_write(struct assay_jw *w, const struct assay_rows *rows);
/* How the board is made, and whether it is frozen: members of the answer. */
void lb_rules_write(struct assay_jw *w, const struct lb_benchmark *b, bool frozen);
/* Payload of leaderboard.updated in the arena; without a submission id the board has changed in a way
 * that only reading it tells. */
int lb_updated_encode(struct assay_str agent_id, struct assay_str submission_id, double score, struct assay_arena *arena,
                      struct assay_str *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- repo.c, repo_board.c --------------------------------------------------------------------------------------- */

#define LEADERBOARD_STATEMENTS 55
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

int lb_problems(const struct assay_store *st, struct assay_str benchmark_id, struct assay_arena *arena, struct lb_problem **out,
                size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
/* board: a benchmark's id, perhaps with LB_FROZEN. */
int lb_cells(const struct assay_store *st, struct assay_str board, struct assay_str agent_id, struct assay_arena *arena,
             struct lb_cell **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;
/* A page of all cells of a board that count something, by agent and problem, behind those two; of these only agent, problem, total
 * in millionths, n and correct. */
int lb_cells_of_all(const struct assay_store *st, struct assay_str board, struct assay_str agent_id, struct assay_str problem_id,
                    int64_t limit, struct assay_arena *arena, struct assay_rows *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* What counts of an agent's, in the order of time, before until_ms. */
int lb_submissions(const struct assay_store *st, struct assay_str benchmark_id, struct assay_str agent_id, int64_t until_ms,
                   int64_t limit, struct assay_arena *arena, struct lb_submission **out, size_t *n, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Rows of name, count and sum. */
int lb_metrics(const struct assay_store *st, struct assay_str benchmark_id, struct assay_str agent_id, int64_t until_ms,
               struct assay_arena *arena, struct assay_rows *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* None of these adds more statements, nor does a score with its part of lb_settle. */
#define LB_OPS_PER_EVENT 16
#define LB_NUMBERS_MAX 200 /* groups and metrics of a submission that are kept */
/* A score that a batch brought. */
struct lb_touch {
    struct assay_str submission_id, benchmark_id, agent_id, problem_id;
    double score;
};
/* Brings cells, entries and buckets to what the scores are by now; sorts `t`.  Each submission at most once, and none that
 * was removed behind its score. */
int lb_settle(struct assay_tx *tx, struct lb_touch *t, size_t n, struct assay_err *err) ASSAY_MUST_CHECK;
/* Keeps the score; what is derived from it waits for lb_settle. */
int lb_score(struct assay_tx *tx, const struct assay_ev_score *score, struct assay_err *err) ASSAY_MUST_CHECK;
/* What was reported with a submission, before it is judged. */
int lb_reported(struct assay_tx *tx, struct assay_str submission_id, const struct assay_ev_reported *r, struct assay_err *err) ASSAY_MUST_CHECK;
int lb_remove_submission(struct assay_tx *tx, struct assay_str submission_id, struct assay_str benchmark_id,
                         struct assay_err *err) ASSAY_MUST_CHECK;
int lb_project_benchmark(struct assay_tx *tx, struct assay_str id, const struct assay_ev_benchmark *b, struct assay_err *err)
    ASSAY_MUST_CHECK;
int lb_project_problem(struct assay_tx *tx, struct assay_str id, const struct assay_ev_problem *p, struct assay_err *err)
    ASSAY_MUST_CHECK;
void lb_project_agent(struct assay_tx *tx, struct assay_str id, const struct assay_ev_agent *a);
void lb_owner_erased(struct assay_tx *tx, struct assay_str user); /* the name of each of their agents is nobody's from now on */

/* ---- schema.c, http.c ------------------------------------------------------------------------------- */

#define LEADERBOARD_MIGRATIONS 3
extern const struct assay_migration leaderboard_migrations[LEADERBOARD_MIGRATIONS];
int leaderboard_http_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int leaderboard_http_statistics(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int leaderboard_http_compare(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int leaderboard_http_history(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

#endif
