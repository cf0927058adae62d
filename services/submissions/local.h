/*
 * The submissions service, inside: what its rooms share.  Nothing here is seen from outside; others
 * meet the service through its routes, its events and the interface assay.jobs.
 */
#ifndef ASSAY_SUBMISSIONS_LOCAL_H
#define ASSAY_SUBMISSIONS_LOCAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <assay/blob.h>
#include <assay/events.h>
#include <assay/http.h>
#include <assay/idempotency.h>
#include <assay/jobs.h>
#include <assay/json.h>
#include <assay/manifest.h>
#include <assay/pit.h>
#include <assay/plugin.h>
#include <assay/store.h>
#include <assay/value.h>

#define SUBMISSIONS_GROUP "submissions" /* the durable subscription that feeds the projections */
#define SOURCE_MAX ((size_t)1 << 20)
#define PAYLOAD_MAX ((size_t)4 << 20)
#define IMAGE_MAX ((size_t)5 << 20) /* in base64 it fits into BODY_SUBMIT */
#define INLINE_MAX ((size_t)64 << 10) /* larger bytes become blobs, smaller ones part of the row's transaction */
#define PART_READ_MAX ((size_t)32 << 20) /* above what any accepted body can hold, encoded */
#define FILES_MAX 64
#define METRICS_MAX 16
#define BATCH_MAX 100
#define WAIT_MAX_S 60
#define BODY_SUBMIT ((size_t)8 << 20)
#define BODY_BATCH ((size_t)16 << 20)
#define OUTPUT_MAX ((size_t)64 << 10)
#define SUMMARY_MAX ((size_t)48 << 10)

enum source_kind { SOURCE_NONE, SOURCE_TEXT, SOURCE_FILES };

/* ---- domain.c: the rules; no I/O ----------------------------------------------------------- */

/* What a client sent, and what the server decided about it, before it is a row. */
struct draft {
    char id[ASSAY_ID_SIZE];
    int kind; /* enum assay_job_kind */
    struct assay_str benchmark_id, problem_id, agent_id, owner_id;
    struct assay_str submitter; /* whose turn it takes: see draft_submitter */
    struct assay_str language;
    struct assay_strs options; /* compiler options that it asks for, and as a row keeps them */
    struct assay_str options_text;
    int source_kind;
    struct assay_str source, payload; /* bytes */
    struct assay_str source_ref, payload_ref; /* when they became blobs */
    bool has_payload;
    bool jury; /* a judge's own: judged at any time and shown to judges, of no agent, so never scored */
    struct assay_json_array metrics; /* struct assay_ev_number */
    bool staff;
    struct assay_str request_id, traceparent;
    int64_t now_ms;
};

/* The body of POST /submissions. */
struct submit_body {
    struct assay_str benchmark_id, problem_id, agent_id, language, source, payload;
    struct assay_json_map files;
    struct assay_strs compiler_options;
    struct assay_json_array metrics; /* struct assay_ev_number */
    bool has_source, has_files, has_payload;
    bool jury; /* of a judge, for no agent: see draft.jury */
};
struct batch_body {
    struct assay_json_array items; /* struct submit_body */
};
/* The body of POST /task. */
struct task_body {
    struct assay_str language, lang, translator; /* one of the three */
    struct assay_str code, input;
    struct assay_strs compiler_options;
    struct assay_str filter, image; /* or no code at all: filter is raw JSON */
    bool has_code, has_filter, has_image;
};

/* Adds a fault for each rule of the request alone that is broken. prefix: "" or "/items/3". */
void draft_check(const struct submit_body *b, const struct assay_principal *who, const char *prefix,
                 struct assay_json_faults *faults, struct assay_arena *arena);
/* Sets whose turn it takes. Members of staff may submit for many agents, each of which has its own turns; anybody else
 * has one, however many agents he makes. ASSAY_E_NOMEM alone can fail. */
int draft_submitter(struct draft *d, struct assay_arena *arena, struct assay_err *err);
/* What is kept of it while it waits. */
size_t draft_bytes(const struct draft *d);
/* Why path may not name a file of a submission, or NULL when it may. */
const char *draft_path_fault(struct assay_str path);

/* What the projections say about a refused draft; the present flags are false where no row was found. */
struct facts {
    bool benchmark, problem, agent;
    struct assay_str benchmark_owner, benchmark_languages, benchmark_entrants;
    int64_t visibility, starts_ms, ends_ms, mode;
    bool benchmark_deleted, problem_deleted, agent_deleted;
    struct assay_str problem_benchmark, agent_owner;
    int64_t problem_count; /* of the benchmark, not deleted */
};
struct refusal {
    int status; /* ASSAY_OK: nothing is wrong */
    const char *pointer;
    char detail[240];
};
/* The first rule that the draft breaks, in the order in which a client would want to hear of them. */
struct refusal draft_refusal(const struct draft *d, const struct facts *f);
/* Is ' word ' in the projection's list? */
bool list_has(struct assay_str list, struct assay_str word);

/* What becomes of a job that comes back unfinished. */
enum job_return { RETURN_QUEUED, RETURN_ERROR, RETURN_CANCELLED };
enum job_return job_returns(bool charge, bool interrupted, bool cancel_requested, int64_t attempts, int64_t interruptions,
                            int64_t max_attempts, int64_t max_interruptions);
bool state_ended(struct assay_str state);
bool verdict_known(struct assay_str verdict);

/* ---- codec.c: JSON in and out -------------------------------------------------------------- */

extern const struct assay_json_field submit_fields[], batch_fields[], task_fields[], rejudge_fields[];

/* A row as a caller may see it: hidden members are already NULL. */
struct view {
    struct assay_str id, benchmark_id, problem_id, agent_id, owner_id, language, state, verdict, summary, request_id, compiler_options;
    bool has_verdict, has_score, cancel_requested;
    double score;
    int64_t kind, attempts, created_ms, updated_ms, finished_ms;
};
void view_write(struct assay_jw *w, const struct view *v, bool whole);
/* What a client sent; payload.p is NULL when it sent none. */
struct sent {
    int source_kind; /* enum source_kind */
    struct assay_str source, payload;
};
void sent_write(struct assay_jw *w, const struct view *v, const struct sent *sent);
/* {path: text} as the source bytes of a submission with files. */
int files_encode(const struct assay_json_map *files, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
/* Payload of submission.created, .queued, .cancelled. */
int created_encode(const struct draft *d, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
int reason_encode(struct assay_str reason, int64_t attempt, struct assay_arena *arena, struct assay_str *out,
                  struct assay_err *err);
/* The 202 (or 201) answer of an accepted draft. */
int accepted_encode(const struct draft *d, struct assay_response *rs, struct assay_err *err);

/* What a refusal for want of a place adds to a problem, and the whole answer. */
struct admission_refusal;
void refusal_write(struct assay_jw *w, const struct admission_refusal *why);
int refusal_encode(const struct admission_refusal *why, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

/* ---- live.c: what this process knows about running work, in memory ---------------------------- */

struct live;
struct live *live_new(void);
void live_free(struct live *l);

/* Leases of this process's runner. deadline in monotonic ms. */
int live_lease(struct live *l, struct assay_str id, int64_t fence, int64_t deadline_ms);
int live_renew(struct live *l, struct assay_str id, int64_t fence, int64_t deadline_ms); /* ASSAY_E_GUARD */
bool live_has(struct live *l, struct assay_str id, int64_t fence);
void live_ending(struct live *l, struct assay_str id, int64_t fence); /* its end is being written */
void live_ended(struct live *l, struct assay_str id);                 /* its end has been seen in the events */
void live_forget(struct live *l, struct assay_str id, int64_t fence);
void live_cancel(struct live *l, struct assay_str id);
bool live_cancelled(struct live *l, struct assay_str id);
struct live_expired {
    char id[ASSAY_ID_SIZE];
    int64_t fence;
};
size_t live_expired(struct live *l, int64_t now_ms, struct live_expired *out, size_t max);
size_t live_leases(struct live *l); /* how many there are */

/* Requests that wait for the end of a submission. fn is called once for each: by live_wake with
 * woken true, by live_wait_over or live_wake_all with false. */
typedef void (*live_wait_fn)(void *arg, bool woken);
int live_wait(struct live *l, struct assay_str id, live_wait_fn fn, void *arg, uint64_t *serial); /* ASSAY_E_BUSY: too many */
bool live_wait_cancel(struct live *l, uint64_t serial); /* true: it was there, and fn will not be called */
void live_wait_over(struct live *l, uint64_t serial);
void live_wake(struct live *l, struct assay_str id);
void live_wake_all(struct live *l);

/* ---- leases.c: whose holder is gone --------------------------------------------------------------- */

/* Something whose beat shows that it lives: a gateway, or a lease that is held outside. */
struct watched {
    char id[ASSAY_ID_SIZE];
    int64_t fence; /* 0 for a gateway */
    int64_t beat, lease_ms;
    int64_t since_ms; /* our monotonic clock when this beat was seen first */
    bool broker;      /* a broker has it: that it took long says nothing about the job */
};
/* The thread of the sweep only, once the service has started. */
struct leases {
    char home[ASSAY_ID_SIZE]; /* our data directory's name */
    int64_t silence_ms;
    int64_t looked_ms, beaten_ms;
    bool in, missed, unvoided; /* among the instances; the last look failed; orphans may be left */
    struct watched *instance, *away;
    size_t n_instances, n_away;
};
struct submissions;
int leases_new(struct submissions *s, struct assay_err *err);
void leases_free(struct submissions *s);
/* Enters this life among the instances, and voids what those of our directory left. */
int leases_start(struct submissions *s, struct assay_err *err);
void leases_look(struct submissions *s); /* once a second; blocks */
void leases_leave(struct submissions *s);

/* ---- admission.c: how much waits and may wait, in memory; any thread, never blocks ----------------- */

enum admission_bound { BOUND_ALL, BOUND_BYTES, BOUND_USER, BOUND_BENCHMARK, ADMISSION_BOUNDS };
extern const char *const admission_bound_names[ADMISSION_BOUNDS]; /* the options' names */
struct admission_bounds { /* 0: none */
    int64_t all, bytes, per_user, per_benchmark;
};
/* What one submission takes up in the queue. The text is borrowed for the call. */
struct place {
    struct assay_str submitter, benchmark_id; /* "" for what has none */
    int64_t bytes;
};
struct admission_refusal {
    enum admission_bound bound;
    int64_t limit, is, retry_after_s;
};
/* For people who watch the queue: benchmarks below, at and above the default priority, and what is judged again. */
enum queue_level { LEVEL_LOW, LEVEL_NORMAL, LEVEL_HIGH, LEVEL_REJUDGE, QUEUE_LEVELS };
enum queue_level queue_level(int64_t class, int64_t priority); /* priority 0: of no benchmark */
struct admission_row { /* of a count of the rows, for each submitter, benchmark and class */
    struct assay_str submitter, benchmark_id;
    int64_t n, bytes, oldest_ms;
    int64_t class;
    enum queue_level level;
    bool heard; /* its line says that it waits */
};
struct admission_state {
    int64_t queued, bytes, submitters, oldest_ms; /* oldest_ms: when the oldest was made; 0: nothing waits */
    double drain_per_s;
};

struct admission;
struct admission *admission_new(const struct admission_bounds *bounds, int64_t mono_ms);
void admission_free(struct admission *a);

/* A place for what is to be written now; false with *why when a bound is reached. */
bool admission_enter(struct admission *a, const struct place *p, int64_t mono_ms, struct admission_refusal *why);
/* After admission_enter, once: the row is there, or not. */
void admission_written(struct admission *a, const struct place *p, bool there);
void admission_come(struct admission *a, const struct place *p);  /* as admission_enter, unasked: a broker holds more back by itself */
void admission_back(struct admission *a, const struct place *p);  /* a row is queued again */
void admission_leave(struct admission *a, const struct place *p); /* a row is no longer queued */
/* Around a transaction after which a row leaves, so that no count takes place between the two. */
void admission_begin(struct admission *a);
void admission_end(struct admission *a);
void admission_ended(struct admission *a, int64_t mono_ms); /* a submission has ended, here or elsewhere */
void admission_seen(struct admission *a);                   /* a new submission, of this process or another */

/* A count of the rows lies between these two. count_end gives true when it stands for sure, and then
 * *off_by is what memory lacked. */
uint64_t admission_count_begin(struct admission *a);
bool admission_count_end(struct admission *a, uint64_t begun, const struct admission_row *row, size_t n, int64_t *off_by);
struct admission_state admission_state(struct admission *a, int64_t mono_ms);

int admission_refusal_code(const struct admission_refusal *why); /* ASSAY_E_RATE: yours; ASSAY_E_BUSY: everybody's */
#define ADMISSION_TEXT 240
void admission_refusal_text(const struct admission_refusal *why, char *out, size_t room);

/* ---- the service ----------------------------------------------------------------------------- */

struct submissions {
    const struct assay_host *host;
    struct live *live;
    struct leases *leases;
    struct admission *admission;
    _Atomic int64_t counted_head; /* events up to here are in the count of the rows; the start's, then the sweep's */
    int64_t next_count_ms, next_strays_ms; /* monotonic; the sweep's */
    pthread_mutex_t leasing; /* held from the lease of rows until each has its entry in live */
    atomic_bool strays;      /* rows may be leased that have none */
    struct stream_hub *hub;
    struct intake *intake;
    int64_t max_attempts, max_interruptions;
    pthread_mutex_t lock; /* guards languages, languages_self, timers */
    struct wait_timer *timers;
    const struct assay_languages_ops *languages;
    void *languages_self;
    atomic_bool draining;
    const struct assay_pits_ops *pits; /* NULL: this process keeps none, and asks nobody */
    void *pits_self;
    int64_t level_n[QUEUE_LEVELS], level_oldest_ms[QUEUE_LEVELS]; /* as of the last count; the sweep's alone, once started */
    char local_kinds[32]; /* " 0 1 ": what the runner of this process leases, "" all; set before it starts */
};

enum { METRIC_OPEN, METRIC_WAITING, METRIC_LONGEST, METRIC_BYTES, METRIC_SUBMITTERS, METRIC_OLDEST, METRIC_DRAIN, METRIC_REFUSED, METRIC_STREAMS, METRIC_STREAM_ENDS,
       METRIC_MESSAGES, METRIC_HELD, METRIC_PUBLISH_SECONDS, METRIC_ANSWER_SECONDS,
       METRIC_REJUDGINGS, METRIC_REJUDGED, METRIC_REMOVED, SUBMISSIONS_METRICS };
extern const struct assay_metric submissions_metrics[SUBMISSIONS_METRICS];

int languages_resolve(struct submissions *s, struct assay_str name, struct assay_str *canonical, struct assay_err *err);
/* Whether a program in that language may ask for these compiler options, by what its problem says of them. Where nobody knows the
 * languages, what can be an option at all and is not refused by the problem may pass: the runner asks again. ASSAY_E_INVALID. */
int languages_options(struct submissions *s, struct assay_str language, const struct assay_strs *asked,
                      const struct assay_json_array *problem, struct assay_err *err);
/* A request's member "filter", as assay/jobs.h has it; as it is written where nobody here knows the filters. */
int filters_resolve(struct submissions *s, struct assay_str json, struct assay_arena *arena, struct assay_json_faults *faults,
                    struct assay_str *canonical, struct assay_err *err);

struct stream_benchmark; /* below */

/* ---- repo.c: SQL -------------------------------------------------------------------------------- */

/* the sizes stand here because the plugin's descriptor is a constant */
#define SUBMISSIONS_MIGRATIONS 9
#define SUBMISSIONS_STATEMENTS 103
extern const struct assay_migration submissions_migrations[SUBMISSIONS_MIGRATIONS];
extern const struct assay_stmt *const submissions_statements[SUBMISSIONS_STATEMENTS];
ASSAY_IDEM_DECLARE(submissions_idem);

/* Adds the guarded insert and its event. Of a task nothing is asked. */
int repo_insert(struct assay_tx *tx, const struct draft *d, struct assay_err *err);
int repo_facts(struct submissions *s, const struct draft *d, struct assay_arena *arena, struct facts *out,
               struct assay_err *err);
/* What the draft's problem says of compiler options; *known is false where the projections have no such problem. Blocks. */
int repo_problem_options(struct submissions *s, const struct draft *d, struct assay_arena *arena, struct assay_json_array *out,
                         bool *known, struct assay_err *err);
/* Waits until the projections hold all that was published before the call, at most `max_ms`. Blocks. */
int repo_catch_up(struct submissions *s, int64_t max_ms, struct assay_err *err);
extern const char *const projected_topics[];
/* How far the projections are. */
int repo_projected(struct submissions *s, int64_t *seq, struct assay_err *err);
/* Behind a lease that began when the projections were at `seq`: gives the jobs the manifests of now if some had changed by then
 * unseen (repo_queue.c). ASSAY_E_BUSY: they are not to be had, and the jobs go back. Blocks. */
int repo_manifests_of_now(struct submissions *s, int64_t seq, struct assay_job *job, size_t n, struct assay_arena *arena,
                          struct assay_err *err);

struct viewer {
    struct assay_str user_id, agent_id; /* agent_id: set for an agent's token, which sees only its own */
    bool staff;
};
struct viewer viewer_of(const struct assay_principal *who);
int repo_get(struct submissions *s, const struct viewer *v, struct assay_str id, struct assay_arena *arena,
             struct view *out, struct assay_err *err); /* ASSAY_E_NOT_FOUND */
struct list_filter {
    struct assay_str benchmark_id, problem_id, agent_id, status, verdict;
    int64_t since_ms;
    struct assay_str before; /* id; "" for the newest */
    int64_t limit;
};
int repo_list(struct submissions *s, const struct viewer *v, const struct list_filter *f, struct assay_arena *arena,
              struct view **out, size_t *n, struct assay_err *err);
/* What was sent, byte for byte. Of a submission that the caller may see: ask repo_get first. Blocks. */
int repo_sent(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct sent *out, struct assay_err *err);
int repo_output(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct assay_str *out,
                struct assay_err *err);

/* One-step changes of state; ASSAY_E_GUARD when the row is not (or no longer) in the state they need. */
int repo_cancel_queued(struct submissions *s, const struct view *v, const struct assay_request *rq, struct assay_err *err);
int repo_cancel_running(struct submissions *s, const struct view *v, bool and_delete, const struct assay_request *rq, struct assay_err *err);
int repo_delete_ended(struct submissions *s, const struct view *v, const struct assay_request *rq, struct assay_err *err);
int repo_rejudge(struct submissions *s, const struct view *v, const struct assay_request *rq, struct assay_err *err);

/* A row whose lease is held, or was. */
struct held {
    struct assay_str id, owner_id, benchmark_id, problem_id, agent_id, state;
    int64_t fence, attempts, interruptions, created_ms;
    bool cancel_requested;
    bool stray; /* jobs.c: leased by this life, and nobody holds it */
};
int repo_held(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct held *out, struct assay_err *err);
/* Rows that are leased by this life. */
int repo_leased_here(struct submissions *s, size_t max, struct assay_arena *arena, struct held **out, size_t *n,
                     struct assay_err *err);
/* Rows still running for a life that is not among the instances. */
int repo_orphans(struct submissions *s, size_t max, struct assay_arena *arena, struct held **out, size_t *n,
                 struct assay_err *err);

/* The queue, counted by submitter and benchmark: a walk along its index. Blocks. */
int repo_count_queued(struct submissions *s, struct assay_arena *arena, struct admission_row **out, size_t *n,
                      struct assay_err *err);
extern const struct assay_stmt count_queued_stmt, place_stmt, manifest_again_stmt; /* repo_queue.c */
struct place repo_place_read(const struct assay_val *c);      /* of the columns submitter, benchmark_id, bytes */
/* What a row takes up in the queue. */
int repo_place(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct place *out, struct assay_err *err);

/* repo_turns.c. boot: the life that holds the leases, or LEASE_AWAY. */
int repo_lease(struct submissions *s, const struct assay_lease_ask *ask, struct assay_str boot, struct assay_arena *arena,
               struct assay_job **out, size_t *n, struct assay_err *err);
struct assay_job repo_job(const struct assay_val *c); /* of the first 17 columns of a lease */
/* Adds a job's end, return or progress to tx, guarded by its fence. */
struct ending {
    struct assay_str state; /* "done", "error", "cancelled" */
    struct assay_str verdict, summary, output, reason;
    double score;
    bool charge; /* counts as an attempt */
    bool whole;  /* the output is not to be cut */
};
int repo_end(struct submissions *s, struct assay_tx *tx, const struct held *h, const struct ending *e, int64_t now_ms,
             struct assay_err *err);
int repo_requeue(struct submissions *s, struct assay_tx *tx, const struct held *h, bool charge, bool interrupted,
                 struct assay_str reason, int64_t now_ms, struct assay_err *err);
int repo_progress(struct submissions *s, struct assay_tx *tx, const struct held *h, const char *topic,
                  struct assay_str payload, int64_t now_ms, struct assay_err *err);

/* What streams ask about: whose a benchmark is, and the ids at the head of the queue. */
int repo_stream_benchmark(struct submissions *s, struct assay_str id, struct assay_arena *arena, struct stream_benchmark *out,
                          struct assay_err *err);
struct queue_head {
    struct assay_str *id; /* in the order in which they will be leased, if nothing else comes */
    size_t n;
    bool more; /* what is not there may wait farther back */
};
int repo_queue_head(struct submissions *s, int64_t max, struct assay_arena *arena, struct queue_head *out, struct assay_err *err);

int repo_project(struct submissions *s, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err);

/* ---- repo_leases.c: SQL of who holds leases ----------------------------------------------------- */

#define LEASE_AWAY "remote" /* the lease_boot of what is held outside of any gateway */
extern const struct assay_stmt instance_beat_stmt, instance_home_stmt, instance_gone_stmt, instance_leave_stmt, instances_stmt,
    away_stmt, cancels_stmt, away_renew_stmt, away_over_stmt, away_held_stmt;
int repo_instance_beat(struct submissions *s, bool first, struct assay_err *err); /* first: ends the lives of our directory */
int repo_instance_gone(struct submissions *s, const struct watched *w, struct assay_err *err);
int repo_instance_leave(struct submissions *s, struct assay_err *err);
/* The gateways, or the leases held outside; *out is the caller's to free. */
int repo_watch(struct submissions *s, bool instances, struct watched **out, size_t *n, struct assay_err *err);
int repo_cancels(struct submissions *s, struct assay_arena *arena, struct assay_str **out, size_t *n, struct assay_err *err);
/* Adds to tx that the lease is over, if it was not renewed since it was seen. */
int repo_away_over(struct assay_tx *tx, const struct watched *w, struct assay_err *err);
int repo_away_renew(struct submissions *s, struct assay_str holder, struct assay_lease *list, size_t n, struct assay_err *err);
int repo_away_held(struct submissions *s, struct assay_str holder, struct assay_str id, int64_t fence,
                   struct assay_arena *arena, struct assay_job *out, struct assay_err *err);

/* ---- jobs.c: assay.jobs, and what happens to leases without a holder ---------------------------- */

extern const struct assay_jobs_ops submissions_jobs;
/* Takes back what is leased by lives that are over. */
/* A row is queued again, says its event. */
int jobs_queued_again(struct submissions *s, const struct assay_event_row *ev, struct assay_err *err);
/* Counts the queue anew. At start before anything else, then from the sweep. Blocks. */
int jobs_count(struct submissions *s, bool at_start, struct assay_err *err);
/* At start: no lease of an earlier life is worth anything. */
int jobs_void_orphans(struct submissions *s, struct assay_err *err);
/* Takes back what somebody outside has held for too long without a word. */
int jobs_away_over(struct submissions *s, const struct watched *w, struct assay_err *err);
/* Looks after expired leases once a second, through host->after. */
int jobs_sweep_start(struct submissions *s, struct assay_err *err);

/* ---- intake.c: what brokers bring (intake.h) ---------------------------------------------------------- */

int intake_new(struct submissions *s, struct assay_err *err);
int intake_start(struct submissions *s, struct assay_err *err);
void intake_ended(struct submissions *s, struct assay_str id); /* a submission has ended, maybe one of a message */
int intake_ready(struct submissions *s, struct assay_err *why);
void intake_drain(struct submissions *s); /* answers what has ended, and gives the rest back */
void intake_free(struct submissions *s);

/* ---- stream.c, stream_view.c, stream_tail.c: events to clients as they happen --------------------- */

#define STREAM_SLUG 72
struct stream_hub;
struct stream_filter {
    bool staff;
    char user_id[STREAM_SLUG];
    char submission[ASSAY_ID_SIZE], benchmark[STREAM_SLUG]; /* "": all */
};
struct stream_benchmark {
    bool known;
    struct assay_str owner_id;
    int64_t visibility;
};
enum voice { VOICE_NONE, VOICE_PUBLIC, VOICE_OWNER, VOICE_ALL, VOICES };

extern const char *const stream_topics[]; /* what streams are made of */
const char *stream_name(struct assay_str topic);
bool stream_ends(struct assay_str topic); /* nothing comes after it */
bool stream_wants(const struct stream_filter *f, const struct assay_event_row *ev);
enum voice stream_voice(const struct stream_filter *f, const struct stream_benchmark *b, const struct assay_event_row *ev);
int stream_frame(struct assay_buf *out, int64_t seq, const char *name, struct assay_str data);
/* Appends the event as v may see it: at most ASSAY_STREAM_WRITE_MAX bytes. Blocks on the store. */
int stream_tell(struct submissions *s, const struct assay_event_row *ev, const struct viewer *v, struct assay_arena *arena,
                struct assay_buf *out, struct assay_err *err);

/* The last events, as they were told; under the hub's lock. */
struct stream_tail;
struct tail_event {
    struct assay_event_row row; /* its strings are in text */
    struct assay_buf said[VOICES]; /* empty: not told in this voice yet */
    bool asked;
    struct stream_benchmark benchmark; /* once asked; its owner's id is the hub's */
    size_t bytes, texts;
    char text[];
};
struct stream_tail *stream_tail_new(void); /* NULL: no memory */
void stream_tail_free(struct stream_tail *t);
/* The event that comes next. NULL: it could not be kept, and nothing before it is either. */
struct tail_event *stream_tail_add(struct stream_tail *t, const struct assay_event_row *ev);
void stream_tail_told(struct stream_tail *t, struct tail_event *e); /* e->said has changed */
bool stream_tail_covers(const struct stream_tail *t, int64_t seen); /* all that the subscription brought after `seen` is here */
struct tail_event *stream_tail_after(const struct stream_tail *t, int64_t seq); /* the first one; NULL: none */
/* The texts that tell of the submission ("": none), or of the benchmark's submissions, do not hold any more. */
void stream_tail_forget(struct stream_tail *t, struct assay_str submission, struct assay_str benchmark);
void stream_tail_forget_all(struct stream_tail *t);

int stream_hub_new(struct submissions *s, struct assay_err *err);
int stream_hub_start(struct submissions *s, struct assay_err *err);
void stream_hub_stop(struct submissions *s);
void stream_hub_free(struct submissions *s);
int stream_on_event(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err);
int http_events_stream(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_submissions_events(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

/* ---- http.c, http_read.c --------------------------------------------------------------------------------------- */

int http_submissions_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_task_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_submissions_batch(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_submissions_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_submissions_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_submissions_source(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_submissions_cancel(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_submissions_rejudge(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_submissions_delete(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_task_status(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_task_result(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_task_delete(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_rejudgings_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_rejudgings_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_rejudgings_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_rejudgings_changes(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_rejudgings_apply(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_rejudgings_cancel(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
/* The answer of a request that found no place in the queue. */
int refusal_reply(struct submissions *s, const struct admission_refusal *why, struct assay_request *rq,
                  struct assay_response *rs, struct assay_err *err);
void http_free_timers(struct submissions *s);
/* An event of this process: wakes who waits for it. */
int http_on_event(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err);

#endif
