/*
 * The loop, inside: what loop.c, lease.c, warden.c, judge.c and finish.c share; nobody else includes it.
 *
 * All functions here are called on the loop's thread only, but for mail_post, put_text and the clocks (any
 * thread).  A struct job (local.h) is the loop's as well, from the mail that brings it until it is forgotten;
 * while a worker prepares it, recalls its build or loads its tests, what the worker fills in is the worker's.
 *
 * Any of them may end a job: after job_next_step, job_finish, job_failed, job_leave_limbo, job_write_end
 * and what calls them, a job's pointer is not used again.
 */
#ifndef ASSAY_RUNNER_LOOP_H
#define ASSAY_RUNNER_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "local.h"

#define TALKS(j) ((j)->checker != NULL && (j)->checker->rules.interactive)

#define CALIBRATION_RUNS 11

enum mail_kind { MAIL_OPENED = 1, MAIL_JOB, MAIL_LEASED, MAIL_LOADED, MAIL_WRITTEN, MAIL_DRAIN, MAIL_RECALLED, MAIL_KEPT, MAIL_FATE,
                 MAIL_WARMED, MAIL_STORED };

/* A message to the loop. It belongs to whoever is to post it (a worker, the store's writer, the caller of
 * loop_drain), who alone may touch it until mail_post; from then on it is the loop's. next is the mailbox's.
 * It lives in what it speaks of (slot, loop, job, keep), so that no message can fail; only MAIL_WRITTEN is
 * allocated, one for each transaction, and is freed by job_written. */
struct mail {
    struct mail *next;
    struct loop *loop;
    enum mail_kind kind;
    struct slot *slot;
    struct job *job;
    struct keep *keep;
    struct assay_arena *arena; /* of the transaction under way */
    size_t want, rows_to, events_to;
    int fd, status;
    bool final, announced;
    struct assay_err err;
};
_Static_assert(sizeof(struct mail) <= LOOP_MAIL_SIZE, "a job carries one mail");

#define HELD_MAX 8
struct held { /* an artefact in a warden's store */
    char artefact[BUILD_KEY];
    size_t bytes;
};

/* What runs one program at a time. It has a slot for each environment, and a job stands in one of them at
 * a time; wardens that were not used for long make room for others. The loop's thread only. */
struct lane {
    int index;
    bool twin;         /* another lane's, for the checkers of what runs there: no program of a submission comes here */
    int64_t used_mono_ms; /* a twin: when it last had a job */
    struct slot *slot; /* one for each environment */
    struct job *job;
    size_t home;       /* environment that is opened when there is nothing to do */
    uint64_t clock;
};

/* A warden's seat. The loop's thread only. While opening is set a worker has its mail and opened_place, and
 * nothing else of it. */
struct slot {
    struct loop *loop;
    struct lane *lane;
    size_t env;
    struct assay_box_client *client; /* NULL: no warden */
    bool opening;
    uint32_t armed; /* epoll events */
    int keeper;     /* process that made the warden, 0 unknown */
    uint64_t stream; /* the inode of our end: the boxkeeper's name for the warden */
    int64_t open_mono_ms;
    int64_t backoff_ms;
    struct job *job;
    bool had_job;
    bool done; /* an outcome came in on_ready */
    struct assay_box_outcome outcome;
    bool told; /* the end of a put or a get came in on_ready, */
    char stored[BUILD_KEY], stored_why[256]; /* and said this */
    struct held held[HELD_MAX]; /* what its warden holds; oldest first */
    size_t n_held, held_bytes;
    struct keep *keep; /* the build that is read out of the warden */
    struct assay_buf keep_content;
    const struct language *forks; /* whose interpreter waits in its warden, or NULL */
    bool fork_asked;              /* its warden was asked for one */
    bool prestarted;              /* and the answer came in on_ready, */
    char prestart_why[256];       /* "" or why not */
    bool found; /* an answer to a survey came in on_ready */
    size_t survey_at; /* language whose tools are looked for */
    uint64_t used; /* the lane's clock, when a job came here */
    char place[PLACE_MAX]; /* where the warden stands, as JSON */
    struct mail mail; /* for opening */
    struct assay_buf opened_place; /* the opening worker's, until its mail is here */
};

/* Each part says whose it is. Before the thread runs and after it was joined, all is the caller's of
 * loop_start and loop_stop. */
struct loop {
    /* set before the thread runs, then only read, by any thread */
    struct runner *r;
    int epoll, wake;
    struct lane *lane; /* the arrays; what is in them is the loop's. After the n_lanes lanes come their twins */
    struct slot *slot;
    size_t n_lanes, n_slots;

    /* loop_start, loop_drain and loop_stop, which the host calls one after another */
    pthread_t thread;
    bool running;
    struct mail drain_mail;

    atomic_bool work, stop; /* any thread */

    pthread_mutex_t lock; /* guards all up to the blank line; any thread */
    pthread_cond_t drained_cond;
    struct mail *first, *last;
    struct loop_state look;
    bool drained;

    /* the loop's thread only; a worker has lease_mail while leasing is set */
    struct job *jobs; /* all of them */
    size_t n_jobs, n_checkers; /* all; and those that are a part of another one */
    struct job *ready_first, *ready_last;
    size_t n_ready;
    size_t asked, ahead; /* of the lease under way; kept ahead beyond one for each slot */
    uint64_t given, given_before; /* to lanes: so far, and when the lease began */
    struct mail lease_mail;
    bool leasing, draining;
    size_t keeping; /* builds that workers are writing, and the sweep */
    struct job *warming; /* makes warm material; one at a time, so that others have a slot */
    int64_t given_mono_ms; /* the last job */
    bool swept;     /* warm material that nobody uses is gone */
    struct mail sweep_mail;
#define KNOWN_RECORDS 64
    char record[KNOWN_RECORDS][ASSAY_SHA256_HEX]; /* environment records that are stored */
    size_t next_record;
    int failures; /* of ours, one after another: the next lease waits a little longer for each */
    int64_t tick_ms, poll_ms, lease_after_ms, drain_until_ms;
    struct {
        struct slot *slot; /* whose runs it is made of; NULL: not begun */
        bool done;
        size_t n;
        int64_t cpu_us[CALIBRATION_RUNS], wall_us[CALIBRATION_RUNS], own[CALIBRATION_RUNS], peak[CALIBRATION_RUNS];
    } calibrating;
    struct {
        struct job *job;
        int64_t after_ms;
        int tries;
        int64_t pause_ms; /* of one whose own trial failed: until the next trial; 0: it has not failed */
    } *testing; /* by language */
};

static inline int64_t mono_ms(const struct loop *l)
{
    return l->r->host->mono_ns(l->r->host->ctx) / 1000000;
}
static inline int64_t now_ms(const struct loop *l)
{
    return l->r->host->now_ms(l->r->host->ctx);
}

/* loop.c */
void mail_post(struct mail *m);
void job_enter(struct loop *l, struct job *j);
void job_forget(struct loop *l, struct job *j); /* frees it */
/* Cuts what does not fit. */
void put_text(char *to, size_t room, const char *fmt, ...) ASSAY_PRINTF(3, 4);

/* lease.c */
void ready_push(struct loop *l, struct job *j);
void ready_remove(struct loop *l, struct job *j);
/* Asks for jobs when too few are waiting and there may be some. open: lanes with a warden; idle: those with no job. */
void lease_more(struct loop *l, int64_t now, size_t open, size_t idle);
void lease_ended(struct loop *l, struct mail *m);
void job_leased(struct loop *l, struct mail *m);
/* Renews when it is time. False: the lease is lost, and the job is dead here. */
bool lease_keep(struct loop *l, struct job *j, int64_t now);
/* Gives an idle lane something to do; false when there is nothing. */
bool lane_fill(struct loop *l, struct lane *la);
void lane_give(struct loop *l, struct lane *la, struct job *j);

/* warden.c */
void slot_want(struct slot *s); /* opens it if it is not open, and when it is time */
bool slot_stands(const struct slot *s); /* its warden has said hello */
/* The boxkeeper that made its warden is dead. The next one kills what it finds in the cgroup leaves of the last, also of wardens that
 * outlive it in their containers: how a box ended says nothing of its program then. */
bool slot_orphaned(const struct slot *s);
bool lane_stands(const struct lane *la); /* one of its slots does */
bool lane_idle(const struct lane *la);
void lane_keep(struct lane *la); /* closes wardens that are spent and opens what is missing: one warden, or the one that its job waits for */
void slot_opened(struct loop *l, struct mail *m);
void slot_arm(struct slot *s); /* after each call of its client */
void slot_on_ready(struct slot *s); /* its stream is readable, writable or at its end */
bool slot_cancel(struct slot *s); /* ends the box under way; false when there is none. s may be NULL */
void slot_release(struct job *j); /* if it has one */
void job_leave_limbo(struct loop *l, struct job *j);
void job_fate(struct loop *l, struct mail *m); /* the boxkeeper's word on its warden's death */

/* recall.c */
/* Asks the cache for the job's build; false when it is to be built at once. */
bool job_recall(struct loop *l, struct job *j);
void job_recalled(struct loop *l, struct mail *m);
void job_brought(struct loop *l, struct slot *s); /* in BRING, the put has ended */
/* Reads the job's build out of the warden, if it is to be kept; the slot is not idle until slot_got. */
void slot_keep(struct slot *s, const struct job *j);
void slot_got(struct slot *s);
bool slot_holds(const struct slot *s, const char *artefact);
void slot_forget_held(struct slot *s); /* its warden is gone */
void keep_ended(struct loop *l, struct mail *m);
/* What of a language's installed tools goes into keys; version: as a self-test has found it, "" as it is known. Any thread. */
void toolchain_look(const struct runner *r, struct language *l, const char *version, struct assay_buf *b);

/* Where its warden stands and what it is, for keys. p NULL: no memory. */
struct assay_str slot_place(const struct slot *s, struct assay_arena *arena);

/* warm.c */
/* A self-test asks for warm material; false when it is to go on at once. */
bool job_warm(struct loop *l, struct job *j);
void job_warmed(struct loop *l, struct mail *m);
void job_warm_done(struct loop *l, struct job *j, const struct assay_box_outcome *o);
void job_warm_got(struct loop *l, struct slot *s); /* in WARM_GET, the get has ended */
/* A self-test has ended; true: again, without warm material. */
bool warm_tested(struct loop *l, struct job *j, bool passed);
bool lane_warm(struct loop *l, struct lane *la); /* gives an idle lane some to make; false when there is none */
bool slot_shares(const struct slot *s); /* its warden can show it */
void warm_sweep(struct loop *l);
int warm_print(const struct runner *r, struct language *lang, const char *version, char out[BUILD_KEY], struct assay_err *err);

/* environment.c */
void environment_opened(struct slot *s); /* its warden has said hello */
void environment_failed(struct slot *s, int status, const char *why);
void environment_digest(const struct environment *e, char *out, size_t room); /* "" without one */
/* Asks for the next language's tools, if this slot surveys; false when it does not, or no more. */
bool survey_next(struct slot *s);
void survey_found(struct slot *s, const struct assay_box_found *list, size_t n);

/* place.c */
size_t job_environment(const struct job *j, enum side side); /* where it is to stand */
/* True when the job stands, with what its build made, where that side of its language is. Otherwise it is on its
 * way there and job_next_step comes again, or it has failed. */
bool job_placed(struct loop *l, struct job *j, enum side side);
void job_carried(struct loop *l, struct slot *s); /* in CARRY: a get or put has ended */
/* In PLACE: the slot could not be opened. */
void job_unplaced(struct loop *l, struct job *j, int status, const char *why);

/* prefork.c */
/* True: the job waits in PRESTART for its warden's interpreter. */
bool job_prestarts(struct loop *l, struct job *j);
void job_prestarted(struct loop *l, struct slot *s);
/* file: the program's, as it is to be run. */
void job_fork_spec(const struct job *j, struct assay_box_spec *spec, struct assay_box_file *file);
void job_fork_outcome(const struct job *j, struct assay_box_outcome *o);
/* Its benchmark insists on forked programs, and this one was executed though it might have been forked. */
bool job_went_cold(const struct job *j, const struct assay_box_outcome *o);
/* True: a self-test goes on, in PRESTART, or by a run of its sample that is weighed. */
bool job_weighs(struct loop *l, struct job *j);
void job_weighed(struct loop *l, struct job *j, const struct assay_box_outcome *o);

/* judge.c */
#define N_BOX_BASE_ENV 4
extern const char *const box_base_env[N_BOX_BASE_ENV]; /* what every program finds in its environment */
/* Runs one stage of the language in a fresh box. */
void job_run(struct loop *l, struct job *j, enum side side, const struct stage *stage, struct assay_box_spec *spec);
/* What a job's build runs in, without its command. Any thread that has the job. */
void build_spec(const struct runner *r, const struct job *j, struct assay_box_spec *spec);
/* A stage's command line and environment for this job. Any thread that has the job. */
int job_command(const struct job *j, enum side side, const struct stage *stage, int64_t memory, struct assay_arena *arena,
                struct assay_strs *argv, struct assay_strs *env, struct assay_err *err);
/* What comes next for a job that holds a slot with an idle warden. */
void job_next_step(struct loop *l, struct job *j);
void job_loaded(struct loop *l, struct mail *m);
void job_box_done(struct loop *l, struct slot *s);

void job_build(struct loop *l, struct job *j);
void job_built(struct loop *l, struct job *j, const struct assay_box_outcome *o);
/* The test under way has its verdict. */
void job_test_ended(struct loop *l, struct job *j);

/* judge.c: the program's box of the test under way; flags beside its own. May end the job. */
void job_run_test(struct loop *l, struct job *j, uint32_t flags);
/* Takes down how the program of the test under way ended; the verdict of that run by itself. */
enum verdict job_program_ended(struct loop *l, struct job *j, const struct assay_box_outcome *o);
void job_test_loads(struct loop *l, struct job *j); /* its verdict is BF, if the language's check says so too */

/* interact.c */
enum { TALK_PROGRAM, TALK_INTERACTOR, TALKERS };
struct talker {
    struct assay_buf queue; /* for it, from the other */
    size_t sent, under_way; /* of the queue; of what was sent and not taken */
    bool begun, done;
    bool silent;   /* it says nothing more */
    bool closed;   /* it reads nothing more */
    bool end_sent, hung; /* it was told that the other is silent; that nobody reads it */
    bool gone;    /* the program neither says nor reads anything more; */
    bool cut_off; /* and by then one of those, or an end by us, had come to it */
    struct assay_box_outcome outcome;
};
struct talk { /* the loop's thread only */
    struct talker to[TALKERS];
    struct assay_buf transcript, feedback;
    int first, speaker;
    bool fresh;       /* the transcript is at the begin of a line */
    bool ended;       /* the program was ended, since the interactor had decided */
    bool feedback_in; /* the interactor has ended, and its feedback is here */
};
bool talk_begin(struct loop *l, struct job *j); /* false: no memory; may end the job */
void talk_said(struct job *who, struct assay_str bytes);
void talk_taken(struct job *who, size_t bytes, bool closed);
void talk_silent(struct job *who);
void talk_done(struct loop *l, struct job *who, const struct assay_box_outcome *o);
void talk_feedback(struct loop *l, struct job *c, struct assay_buf *feedback); /* takes it */

/* check.c */
void check_run(struct loop *l, struct job *c, uint32_t flags);
void check_decided(struct loop *l, struct job *c, struct assay_str feedback);
/* The program's output is to be judged by the job's checker: job_test_ended follows, or another pass, or the job's end. */
void job_check(struct loop *l, struct job *j);
/* The test under way is to be run again with the input of a next pass, or is over: what passes left is forgotten. */
void check_forget_passes(struct job *j);
void check_next_step(struct loop *l, struct job *c);
void check_box_done(struct loop *l, struct job *c, const struct assay_box_outcome *o);
void check_got(struct loop *l, struct slot *s); /* in FEEDBACK, the get has ended */
void check_unbuilt(struct loop *l, struct job *c); /* its build failed, now or lately */
void check_failed(struct loop *l, struct job *c, const char *why, bool charge); /* ours: its box, its warden, a blob */
void check_dismiss(struct loop *l, struct job *j); /* the job ends: its checker goes, as soon as nothing of it is under way */
void check_free(struct loop *l, struct job *c);
void check_seat(struct loop *l, struct lane *la); /* gives its twin to the checker that waits for it */

/* calibrate.c */
/* Begins a run of it on this idle lane; false when there is nothing to do here. */
bool lane_calibrate(struct loop *l, struct lane *la);
/* Whether the outcome that came was one of its runs. */
bool calibration_took(struct loop *l, struct slot *s);
void calibration_lost(struct loop *l, const struct slot *s); /* the slot's warden died */

/* finish.c */
/* Writes what happened since the last time, when that is long enough ago. */
void job_tell_news(struct loop *l, struct job *j, int64_t now);
/* The job's boxes are done, or are never to be: its end goes to the store. */
void job_finish(struct loop *l, struct job *j);
/* Ours, not the program's: the job goes back to the queue. */
void job_failed(struct loop *l, struct job *j, const char *why, bool charge);
void job_waits(struct loop *l, struct job *j, const char *why);
/* What a step of ours that failed with rc means for the job: what is away, or memory that is short, is waited for. */
void job_hindered(struct loop *l, struct job *j, int rc, const char *why);
/* Whether output of the job's box was lost to a lack of memory: what is left of it may not be judged. */
bool job_output_lost(const struct job *j, const struct assay_box_outcome *o);
void job_write_end(struct loop *l, struct job *j); /* in FINISH: now, or again */
void job_written(struct loop *l, struct mail *m);

#endif
