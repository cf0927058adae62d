/*
 * Projects, inside the runner: a ZIP of many files that a PIT (assay/pit.h) says how to test.
 *
 *   PREPARE (PIT and message) ─▶ READY ─▶ LOAD (archives) ─▶ PROJECT (one box: assay-project) ─▶ STORE (reports read, log kept) ─▶ FINISH
 *
 * One box, since setup and tests must see the same workspace; what sees to the steps in it, and what a project can and cannot do to
 * it, is said in plugins/project/main.c.  What comes out is checked here as if hostile.
 */
#ifndef ASSAY_RUNNER_PROJECT_H
#define ASSAY_RUNNER_PROJECT_H

#include <assay/pit.h>

#include "loop.h"
#include "report.h"

#define PROJECT_ARCHIVE_MAX ((size_t)64 << 20) /* of each archive */
#define PROJECT_ANSWER_MAX ((size_t)16 << 20)
#define PROJECT_FEEDBACK_MAX ((size_t)24 << 10)
#define PROJECT_REPORTS_MAX 512

struct project {
    struct assay_project message;
    struct assay_pit pit;
    size_t env;                   /* the environment that it runs in */
    struct assay_str zip, tests;  /* in the job's test_arena */
    int64_t fence;                /* of a gateway's lease that the message names, or 0 */
    struct assay_box_outcome outcome;
    struct assay_str feedback;    /* JSON, when it is over */
    struct assay_str log_key;     /* "": no log was kept */
};

/* What assay-project answered. */
struct project_answer {
    struct assay_str step, why;
    int64_t exit_code, signal, ms, log_bytes, seen;
    bool timed_out;
    struct assay_str path[PROJECT_REPORTS_MAX], report[PROJECT_REPORTS_MAX];
    size_t n_reports;
};

/* ---- project_codec.c: no I/O; the answer's reader is fuzzed ---- */

/* Appends what assay-project is to do. */
void project_plan(const struct assay_pit *pit, const char *const *base_env, size_t n_base, bool tests, int64_t setup_ms, int64_t grace_ms,
                  int64_t log_bytes, struct assay_buf *out);
/* False: it is none, or cut off. Views into text. */
bool project_answer_read(struct assay_str text, struct project_answer *out);
/* The verdict, the score and the feedback of a run. answer NULL: there was none. */
struct project_end {
    enum verdict verdict;
    double score;
};
int project_judge(const struct assay_box_outcome *o, const struct project_answer *answer, struct assay_str log, int64_t memory_bytes,
                  struct assay_arena *arena, struct project_end *end, struct assay_str *feedback, struct assay_err *err);
/* The feedback of one that could not be run. */
int project_fault(const char *step, const char *why, struct assay_arena *arena, struct assay_str *feedback, struct assay_err *err);
/* What goes back to where the message came from: a result (assay/script.h) whose member "assay" says it all. */
int project_result(const struct job *j, int64_t now_ms, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
/* What a gateway tells of its lease and PIT: the member "assay" of a message. */
struct project_away {
    int64_t fence;
    struct assay_str pit; /* raw JSON, or "" */
};
int project_away_decode(struct assay_str json, struct assay_arena *arena, struct project_away *out, struct assay_err *err);
/* What came back. */
struct project_told {
    struct assay_str submission_id, feedback, log_key, fault;
    int64_t fence;
    int verdict;
    double score;
};
int project_told_decode(struct assay_str json, struct assay_arena *arena, struct project_told *out, struct assay_err *err);

/* ---- project.c ---- */

int project_prepare(struct runner *r, struct job *j, struct assay_err *err); /* workers */
int project_load(struct runner *r, struct job *j, struct assay_err *err);    /* workers */
int project_tools(struct runner *r, struct assay_err *err);                  /* at start: what goes into the boxes */
void project_next(struct loop *l, struct job *j);
void project_done(struct loop *l, struct job *j, const struct assay_box_outcome *o);
void project_stored(struct loop *l, struct mail *m);
/* The message of a leased project, for a worker elsewhere. */
int project_export(struct runner *r, const struct assay_job *lease, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
/* As away_import. */
int project_import(struct runner *r, struct assay_str holder, const struct assay_job *lease, struct assay_str told, struct assay_err *err);

#endif
