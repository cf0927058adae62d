/*
 * The events that services publish for one another, and their payloads.
 *
 * An event says all that a reader needs, so that no service reads another's tables.  Topics:
 *   audit.recorded      subject: what was changed  payload: assay_ev_audit (audit.h)
 *   user.changed        subject: user id       payload: assay_ev_user (also on erasure)
 *   agent.changed       subject: agent id      payload: assay_ev_agent (also on delete)
 *   agent_token.changed subject: agent id      payload: {}
 *   benchmark.changed   subject: benchmark id  payload: assay_ev_benchmark (also on delete)
 *   problem.changed     subject: problem id    payload: assay_ev_problem (also on delete)
 *   submission.created / .queued (again: retried, interrupted, rejudged) / .running / .test /
 *     .cancelled / .deleted   subject: submission id
 *                       payload of created, as far as boards read it: assay_ev_reported
 *   submission.done     subject: submission id payload: assay_ev_done
 *   rejudging.applied   subject: submission id payload: {copy_id, fence, agent_id, owner_id}: the copy's result is now its
 *   rejudging.dropped   subject: id of a copy, which is gone
 *   score.calculated    subject: submission id payload: assay_ev_score
 *   leaderboard.updated subject: benchmark id  payload: {agent_id, score, submission_id}
 *
 * Every payload's decoder takes unknown members (a newer writer), so fields may be added.
 */
#ifndef ASSAY_EVENTS_H
#define ASSAY_EVENTS_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/json.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

enum assay_feedback {
    ASSAY_FEEDBACK_NONE,          /* that it is done */
    ASSAY_FEEDBACK_VERDICT,       /* the verdict and score */
    ASSAY_FEEDBACK_FIRST_FAILURE, /* and the number and verdict of the first failing test */
    ASSAY_FEEDBACK_SAMPLES,       /* all verdicts; outputs of sample tests */
    ASSAY_FEEDBACK_FULL,          /* everything */
};
extern const char *const assay_feedback_names[]; /* "none" "verdict" "first_failure" "samples" "full" NULL */

/* Whether programs are forked from a warm interpreter: as it comes, never, wherever there is one. */
enum assay_warm_pin { ASSAY_WARM_AUTO, ASSAY_WARM_OFF, ASSAY_WARM_ON };
extern const char *const assay_warm_pin_names[]; /* "auto" "off" "on" NULL */
enum assay_visibility { ASSAY_VISIBLE_PUBLIC, ASSAY_VISIBLE_PRIVATE };
extern const char *const assay_visibility_names[]; /* "public" "private" NULL */

/* How a problem's submissions make its score, and how problems make a place on the board (docs/scoring.md). */
enum assay_scoring { ASSAY_SCORING_BEST, ASSAY_SCORING_LAST, ASSAY_SCORING_FIRST, ASSAY_SCORING_MEAN };
extern const char *const assay_scoring_names[]; /* "best" "last" "first" "mean" NULL */
enum assay_ranking {
    ASSAY_RANKING_SCORE,     /* one score, of all submissions whatever their problem */
    ASSAY_RANKING_SUM,       /* of the problems' scores */
    ASSAY_RANKING_ICPC,      /* problems solved, then penalty time, then the last accepted */
    ASSAY_RANKING_PASS_AT_K, /* mean of the problems' pass@k */
    ASSAY_RANKING_MEAN_TIME, /* problems solved, then the mean time of the fastest correct */
    ASSAY_RANKING_IOI,       /* sum over problems of the best of each group of tests */
};
extern const char *const assay_ranking_names[]; /* "score" "sum" "icpc" "pass_at_k" "mean_time" "ioi" NULL */
struct assay_board_rules {
    int scoring, ranking;    /* enum assay_scoring, assay_ranking */
    int64_t penalty_minutes; /* of a rejected submission, icpc */
    int64_t pass_k;
    int64_t thaws_ms; /* when a frozen board is shown again; 0: not yet known */
};
#define ASSAY_PENALTY_MINUTES 20
/* A benchmark's priority: of two that both have work waiting, turns go as their priorities. */
#define ASSAY_PRIORITY_MIN 1
#define ASSAY_PRIORITY_DEFAULT 10
#define ASSAY_PRIORITY_MAX 100

/* A number with a name: a metric, or the points of a group of tests. */
struct assay_ev_number {
    struct assay_str name;
    double value;
};

struct assay_ev_user {
    struct assay_str role;
    int64_t epoch;
    bool disabled;
    bool erased; /* the account is gone (disabled is set too), and what names a person is to go with it */
};
#define ASSAY_ERASED_NAME "erased" /* what is shown instead of the name that the person behind an erased account gave */

struct assay_ev_agent {
    struct assay_str owner_id, name;
    bool deleted;
};
struct assay_ev_benchmark {
    struct assay_str owner_id, name;
    int visibility; /* enum assay_visibility */
    int feedback;   /* enum assay_feedback */
    int64_t starts_ms, ends_ms, freezes_ms; /* 0: none */
    struct assay_strs languages;            /* empty: all */
    struct assay_strs entrants;             /* agent ids; empty: open to all */
    struct assay_str toolchains;            /* JSON object: language to the version or image digest it is pinned to; "" none */
    int warm_interpreters;                  /* enum assay_warm_pin */
    struct assay_board_rules rules;
    int64_t priority; /* 0: an event of before there were any, the default */
    bool deleted;
};
struct assay_ev_problem {
    struct assay_str benchmark_id, name, manifest_ref;
    int64_t position; /* 1 for the first; a submission without problem_id goes to the only one */
    int mode;         /* enum assay_judge_mode */
    int64_t version;
    struct assay_str compiler_options; /* JSON array of struct assay_manifest_options (manifest.h); "" none */
    bool deleted;
};
struct assay_ev_done {
    struct assay_str problem_id, agent_id, owner_id, benchmark_id;
    struct assay_str verdict;
    double score;
    int64_t attempt;
    int64_t created_ms; /* of the submission */
    int64_t finished_ms;
    struct assay_str summary; /* raw JSON object of the runner: timings, tests passed, spans */
};
struct assay_ev_reported {
    struct assay_json_array metrics; /* struct assay_ev_number: what the submitter reported with it */
};
struct assay_ev_score {
    struct assay_str submission_id, problem_id, agent_id, owner_id, benchmark_id;
    struct assay_str verdict;
    double score;
    int64_t created_ms;
    int64_t cpu_ms; /* of all tests together; -1 unknown */
    struct assay_json_array groups; /* struct assay_ev_number: points awarded */
};

/* Decoders put views into the arena; encoders append a JSON object. One pair each. */
#define ASSAY_EVENT_CODEC(name)                                                                                        \
    int assay_ev_##name##_decode(struct assay_str json, struct assay_arena *arena, struct assay_ev_##name *out,        \
                                 struct assay_err *err) ASSAY_MUST_CHECK;                                              \
    int assay_ev_##name##_encode(const struct assay_ev_##name *in, struct assay_buf *out, struct assay_err *err)       \
        ASSAY_MUST_CHECK;
ASSAY_EVENT_CODEC(user)
ASSAY_EVENT_CODEC(agent)
ASSAY_EVENT_CODEC(benchmark)
ASSAY_EVENT_CODEC(problem)
ASSAY_EVENT_CODEC(done)
ASSAY_EVENT_CODEC(score)
ASSAY_EVENT_CODEC(reported)
#undef ASSAY_EVENT_CODEC

#ifdef __cplusplus
}
#endif
#endif
