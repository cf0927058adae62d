/*
 * The runner, inside: what its rooms share.
 *
 *   prepare.c (workers)  lease, blobs, language ──▶ loop.c (one thread)  boxes ──▶ store (writer thread)
 *
 * A job belongs to one of the three at a time and is handed over by the loop's mailbox or by an
 * asynchronous transaction; nothing of it is locked.
 */
#ifndef ASSAY_RUNNER_LOCAL_H
#define ASSAY_RUNNER_LOCAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <assay/box.h>
#include <assay/events.h>
#include <assay/http.h>
#include <assay/jobs.h>
#include <assay/json.h>
#include <assay/manifest.h>
#include <assay/pit.h>
#include <assay/plugin.h>
#include <assay/store.h>
#include <assay/value.h>

#define STORED_MAX ((size_t)64 << 10)  /* of each output of a test, and of a compiler's */
#define SOURCE_READ_MAX ((size_t)2 << 20)
#define PAYLOAD_READ_MAX ((size_t)8 << 20)
#define TEST_READ_MAX ((size_t)64 << 20)
#define MANIFEST_READ_MAX ((size_t)8 << 20)
#define ARTEFACT_DIR "app" /* where a build's files appear in a test's box */

struct runner;
struct project;
struct filtering;
struct processors_list;

/* ---- compare.c: outputs; no I/O -------------------------------------------------------------------- */

struct comparison {
    int how; /* enum assay_compare: what each means is said in manifest.h */
    double abs, rel;
};
bool output_matches(const struct comparison *c, struct assay_str expected, struct assay_str got);
/* Of an output that does not match in a way that looks at white space: what is wrong when only that is, or NULL. */
const char *presentation_fault(const struct comparison *c, struct assay_str expected, struct assay_str got);

/* ---- domain.c: verdicts; no I/O ------------------------------------------------------------------ */

enum verdict { VERDICT_NONE, VERDICT_OK, VERDICT_WA, VERDICT_TL, VERDICT_ML, VERDICT_OL, VERDICT_RE, VERDICT_BF, VERDICT_IE };
const char *verdict_name(enum verdict v); /* "-" for VERDICT_NONE */

/* What a language's definition says about its own ways of dying. */
struct signatures {
    struct assay_strs oom;               /* texts in stderr that mean: out of memory */
    int64_t load_exit;                   /* a program that could not even be loaded: exit code, */
    struct assay_str load_prefix;        /* how stderr begins, */
    struct assay_strs load_last;         /* and how its last line begins; empty: no such rule */
};
/* The verdict of one ended run, before outputs are compared: VERDICT_OK then means "compare them".
 * VERDICT_BF: it looks as if the program could not be loaded. It may say so only to smuggle a test's input
 * into the build's output, so the language's check decides, in a box without the test.
 * VERDICT_IE: the box failed, which is ours. */
enum verdict verdict_of_run(const struct assay_box_outcome *o, const struct signatures *s, struct assay_str out,
                            struct assay_str err);

/* What the machine did to a run: how much each rose while it ran, over all processors. */
struct disturbance {
    int64_t steal_us;    /* taken by the hypervisor */
    int64_t pressure_us; /* in which somebody waited for a processor */
};
/*
 * Whether a run that ended over a time limit is worth another: it was near (it ended by itself within the hard
 * limit, or it was the clock and not the CPU time that ran out), and the machine was demonstrably disturbed.
 */
bool run_was_disturbed(const struct assay_box_outcome *o, const struct assay_box_limits *limits, const struct disturbance *d);

/* Which limit of time a run was over. Stored: new ones are appended. */
enum over_limit { OVER_NOTHING, OVER_CPU, OVER_WALL };
enum over_limit over_limit_of(const struct assay_box_outcome *o);
/* How much of its limit a run took, rounded to 0.001. */
double time_ratio(int64_t cpu_us, int64_t limit_ms);

/* ---- points.c: what tests and their groups make together; no I/O ---------------------------------------- */

#define NO_GROUP SIZE_MAX
struct scored {
    double points;
    double part; /* 0..1 of them, where a checker said; else NAN: all or nothing by the verdict */
    enum verdict verdict;
    size_t group; /* index, or NO_GROUP */
};
struct group {
    struct assay_str name;
    int aggregate; /* enum assay_aggregate */
    double points;
    bool stop;
    const size_t *needs; /* groups before it that must have passed */
    size_t n_needs;
    /* set by points_count */
    double awarded;
    enum verdict verdict; /* OK: all of it passed; "-": not run, or not all and nothing failed; else its first failure */
    size_t tests, passed;
};
struct points {
    double awarded, all;
    double score; /* 0..100 */
};
double part_of(const struct scored *test);
void points_count(const struct scored *test, size_t n, struct group *group, size_t n_groups, struct points *out);
/* Whether test i is worth running after those before it: its group has not been ended, and what it depends on has passed. */
bool test_is_due(const struct scored *test, size_t i, const struct group *group);

/* Whether a version line shows the version that is wanted: as a whole number of parts, so that "3.11" is found in
 * "Python 3.11.2" and not in "Python 3.110" or "13.11". */
bool version_shows(const char *line, struct assay_str wanted);

/* What of one test a viewer may see under a feedback policy. */
struct sight {
    bool verdict; /* that it exists, and its verdict */
    bool details; /* exit code, times, memory, outputs */
};
struct sight test_sight(int feedback, bool all, bool sample);

/* ---- checker.c: programs that judge; no I/O -------------------------------------------------------------- */

/* Where a checker's box has its files, relative to where it begins. */
#define CHECK_INPUT "judge/input"
#define CHECK_ANSWER "judge/answer"
#define CHECK_OUTPUT "judge/output" /* what the program printed; for a testlib interactor: its own log */
#define CHECK_FEEDBACK "judge/feedback/"
#define CHECK_KEEP CHECK_FEEDBACK ".keep" /* an empty file, or there were no directory */
#define MESSAGE_MAX ((size_t)4 << 10)     /* kept of each message */

/* What a checker said; the views are into what it was given. */
struct check_says {
    enum verdict verdict; /* OK or WA; IE: it failed, and fault says how */
    double part;          /* 0..1 of the test's points; NAN: all or nothing by the verdict */
    struct assay_str judge, team; /* messages: to staff; to whom the policy shows the test's details */
    struct assay_str next;        /* input of the next pass, */
    bool again;                   /* when it wants one */
    const char *kind;             /* of a fault, for the metric: "crash" "exit" "time" "memory" "output" "feedback" "build" */
    char fault[200];
};
/* The next file of an artefact's encoding (warden_wire.h), which begins at *rest with its magic when it is whole. False: there is none any
 * more, or what follows is malformed, which *ok tells. */
bool artefact_file_next(struct assay_str whole, size_t *at, struct assay_box_file *out, bool *ok);
/* feedback: the encoding of its feedback directory, or "". points: the test's. */
void check_decide(int kind, const struct assay_box_outcome *o, struct assay_str out, struct assay_str err,
                  struct assay_str feedback, double points, struct check_says *says);
/* Whether an interactor that has ended so says that the program was right so far. */
bool check_says_right(int kind, const struct assay_box_outcome *o);
/* How a talk between a program and its interactor ended. */
struct talk_end {
    enum verdict program;  /* of its run by itself; OK: it ended well */
    bool waited;           /* it ran into its limit by the clock */
    bool limit;            /* it ran into any of its limits */
    bool stuck;            /* the interactor ran into one of its own, though the program's end was told to it */
    bool interactor_first; /* the interactor ended before the program */
    bool cut_off;          /* the program had lost its partner before it ended: a closed pipe, an end of file, or it was ended */
};
/* OK and WA, the program's own verdict, or IE: the interactor failed. */
enum verdict interact_verdict(const struct talk_end *end, enum verdict interactor);
/* Its arguments behind its command, without flags; at most 4. */
size_t check_arguments(int kind, struct assay_str out[4]);

/* ---- languages.c ------------------------------------------------------------------------------------ */

enum language_state { LANGUAGE_UNTESTED, LANGUAGE_OFFERED, LANGUAGE_UNAVAILABLE };

enum side { SIDE_BUILD, SIDE_RUN, SIDES }; /* of a language: where it builds, and where its programs run */

struct stage {
    struct assay_strs argv, env;
    bool warm; /* one of them says {warm} */
    struct assay_box_limits limits; /* 0: the runner's */
};
struct language {
    struct assay_str name, title, source;
    struct assay_str unit; /* what a submission is called beside a harness (mode "function") */
    struct assay_strs aliases, extensions, artefacts;
    struct assay_json_map tools; /* name to candidates */
    struct assay_json_map options; /* compiler options: a group's name to its words; options.c */
    struct assay_str image, run_image; /* as the file says, "" nothing */
    struct assay_str workdir;          /* where boxes have their working directory; "": /box */
    size_t env[SIDES];           /* index of its environments; the same twice without a build */
    struct assay_json_map found[SIDES]; /* name to path, "" where it is not; replaced, never changed; under the lock */
    char lacks[SIDES][240];             /* why it cannot work there, or ""; the loop's thread only */
    bool builds;
    struct stage build, run, version;
    struct stage check; /* says whether a program that looks as if it could not be loaded really cannot */
    struct signatures signatures;
    bool forks;              /* its programs may be forked from an interpreter that was started before */
    struct {                 /* the loop's thread only: prefork.c */
        bool ready;          /* it was weighed: what a fork spares is known */
        int64_t cpu_us, memory_bytes;
        int64_t sample_bytes, sample_top; /* memory of its sample, executed; and the most that counts as no more */
    } fork;
    int64_t heap_percent, heap_reserve_mb;
    double time_factor, memory_factor; /* of a problem's limits */
    int64_t memory_extra;              /* bytes, on top */
    struct assay_str sample_source, sample_input, sample_output;
    /* warm.c */
    bool warms;
    struct stage warm;         /* what makes its warm material, from these files */
    struct assay_json_map warm_files;
    struct assay_strs warm_artefacts;
    bool warm_wanted, warm_failed; /* the loop's thread: to be made; not to be tried again */
    atomic_int state;          /* enum language_state */
    pthread_mutex_t lock;      /* guards found and all below */
    char warm_id[65], warm_print[65]; /* "": none; and the toolchain that made it */
    char version_text[160];
    char reason[240];          /* why it is unavailable */
};
struct languages {
    struct assay_arena *arena; /* after languages_load the loop's thread's */
    struct language *list; /* does not move after languages_load */
    size_t n;
};
int languages_load(const char *const *dirs, struct languages *out, struct assay_err *err);
void languages_free(struct languages *l);
struct language *languages_find(const struct languages *l, struct assay_str name_or_alias);
void language_settle(struct language *l, enum language_state state, const char *version, const char *reason);

/* What was found of its tools, in their order. */
int language_found(struct languages *all, struct language *l, enum side side, const struct assay_box_found *list, size_t n,
                   struct assay_err *err);
struct assay_json_map language_tools(struct language *l, enum side side);

/* What a stage's argv and env become for one run. files: the submission's paths; options: what {options} stands for. */
int stage_expand(struct language *l, enum side side, const struct assay_strs *in, const struct assay_str *files, size_t n_files,
                 const struct assay_strs *options, int64_t memory_bytes, struct assay_arena *arena, struct assay_strs *out,
                 struct assay_err *err);

/* ---- options.c: what of a compiler's command line a program may choose ------------------------------- */

#define OPTIONS_GROUPS_MAX 16
int options_check_file(const struct language *l, const char *path, struct assay_err *err);
/* What a program in l that asks for these is built with, by what its problem says (an array of struct assay_manifest_options, or
 * NULL).  ASSAY_E_INVALID: it may not, and err says what it may; ASSAY_E_CONFIG: the problem sets what there is not. */
int options_of(const struct languages *all, const struct language *l, const struct assay_strs *asked,
               const struct assay_json_array *problem, struct assay_str out[OPTIONS_GROUPS_MAX], size_t *n, struct assay_err *err);

/* ---- definitions.c: files that are read at the start --------------------------------------------------------- */

#define DEFINITION_DIRS 33
/* share_dir/folder and what the option names; ends with NULL. */
int definition_dirs(struct runner *r, const char *folder, const char *option, const char *dirs[DEFINITION_DIRS + 1], struct assay_err *err);
/* Each *.json of the folders, by name; the first failure ends it. what: what they are, for errors. */
int definitions_each(const char *const *dirs, const char *what, int (*fn)(const char *path, void *arg, struct assay_err *err), void *arg,
                     struct assay_err *err);
int definition_read(const char *path, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
/* A program of libexec_dir (or by its absolute path) that goes into boxes, into the runner's arena. */
int tool_read(struct runner *r, const char *name, struct assay_str *out, struct assay_err *err);

/* ---- environment.c: where boxes stand -------------------------------------------------------------- */

#define IMAGE_MAX 256 /* bytes of an image's name, its NUL included */
#define PLACE_MAX 1024

struct slot;
struct environment {
    char image[IMAGE_MAX]; /* "": the driver's default place */
    /* guarded by the lock of struct environments; written by the loop's thread */
    char trouble[300]; /* why it cannot be opened, or "" */
    char place[PLACE_MAX]; /* what the driver says of it (sandbox.h), or "" */
    /* the loop's thread only */
    bool known;            /* the languages' tools were looked for */
    struct slot *surveyor; /* who looks for them now, or NULL */
    int tries, failures;   /* openings that failed, one after another: all, and those that were refused */
    int64_t retry_mono_ms;
};
struct environments {
    pthread_mutex_t lock;
    struct environment *list; /* does not move after environments_choose */
    size_t n;
};
/* Decides for each language where it stands: the options <language>_image and <language>_run_image, else what its
 * file says, else the driver's default place. */
int environments_choose(const struct assay_host *host, struct languages *l, struct environments *out, struct assay_arena *arena,
                        struct assay_err *err);
void environments_free(struct environments *e);
struct place { /* what of a place's JSON is used here */
    struct assay_str driver, mode, image, digest;
    int64_t cgroup; /* version of its accounts, 0 none */
    struct assay_strs notes;
};
bool language_known(const struct runner *r, const struct language *l); /* the loop's thread */

/* ---- machine.c: processors and disturbance; reads proc and sys, any thread ------------------------------------- */

#define PROCESSORS_MAX 1024
struct processors {
    size_t n, n_cores; /* n 0: boxes are not pinned */
    uint16_t cpu[PROCESSORS_MAX]; /* the first threads of the n_cores cores come first */
};
/* "0-3,8". False when it is malformed or names one beyond the maximum. */
bool processors_parse(const char *text, bool set[PROCESSORS_MAX]);
/* option: auto, off, or a list. */
int processors_choose(const char *option, struct processors *out, struct assay_err *err);
/* The processors of one of so many lanes: its first, or all of them. All zero: anywhere. */
void processors_of_lane(const struct processors *p, size_t lanes, size_t lane, bool all, uint64_t mask[ASSAY_BOX_CPU_WORDS]);
/* Since the machine's start; 0 what it does not count. */
struct disturbance disturbance_now(void);

/* ---- seccomp.c --------------------------------------------------------------------------------------- */

/* The allow-list as BPF, in the arena. counted: a leaf counts the memory that no process has mapped. */
int seccomp_compile(struct assay_arena *arena, bool counted, struct assay_str *out, struct assay_err *err);

/* ---- a job on its way ----------------------------------------------------------------------------------- */

struct span {
    char name[32];
    int64_t start_ms, end_ms;
};
struct test {
    struct assay_manifest_test def;
    struct assay_str input, expected; /* valid from test_load until the test is done */
    enum verdict verdict;
    struct assay_box_outcome outcome;
    struct assay_str out, err; /* as stored: at most STORED_MAX */
    bool ran;
    struct assay_str judge_message, team_message; /* of a checker: for staff, and for who may see the test's details */
    struct assay_str transcript;                  /* of an interactive problem's talk: transcript.c; cut */
    size_t group; /* of the job's groups, or NO_GROUP */
    double part;  /* NAN, or what a checker gave it: see struct scored */
    int reruns; /* after a time limit on a disturbed machine */
    struct disturbance before;
    int64_t start_ms, end_ms;
};
enum job_kind { JOB_SUBMISSION, JOB_SELF_TEST, JOB_CHECKER /* part of another one: check.c */ };
enum job_stage {
    STAGE_PREPARE, STAGE_READY, STAGE_REFUSED, STAGE_VERSION, STAGE_WARM_FIND, STAGE_WARM, STAGE_WARM_GET, STAGE_WARM_KEEP,
    STAGE_RECALL, STAGE_BRING, STAGE_BUILD, STAGE_LOAD, STAGE_PLACE, STAGE_CARRY, STAGE_TEST, STAGE_CHECK, STAGE_PRESTART, STAGE_WEIGH,
    STAGE_CHECKED, STAGE_SEAT, STAGE_JUDGE, STAGE_FEEDBACK, STAGE_LIMBO, STAGE_PROJECT, STAGE_FILTER, STAGE_STORE, STAGE_FINISH
};
#define LOOP_MAIL_SIZE 648 /* a message of the loop; see loop.h */

/* ---- builds.c: what builds made, by all that they could see; any thread ------------------------------------------ */

#define BUILD_KEY 65 /* 64 hex digits and NUL, as an artefact's id */

/* A key is made of named fields, each with its length before it. */
void build_key_add(struct assay_buf *b, const char *name, struct assay_str value);
void build_key_list(struct assay_buf *b, const char *name, const struct assay_str *s, size_t n);
int build_key_end(struct assay_buf *b, char key[BUILD_KEY], struct assay_err *err);

struct kept_build {
    char artefact[BUILD_KEY];
    int64_t cpu_us, wall_us, memory_peak_bytes; /* of the build that made it */
    struct assay_str output;
    struct assay_buf encoding; /* the caller's to free; empty when the artefact is held already */
    size_t n_encoding;
};
struct recall { /* what is asked for */
    char (*held)[BUILD_KEY]; /* artefacts whose bytes are not wanted */
    size_t n_held;
};
struct builds;
int builds_open(const struct assay_host *host, int64_t max_bytes, struct builds **out, struct assay_err *err);
void builds_free(struct builds *b);
/* False: there is none, or it was damaged, dropped and the log says so. Blocks. */
bool builds_read(struct builds *b, const char *key, const struct recall *want, struct assay_arena *arena, struct kept_build *out);
/* Keeps it unless there is one of that key. A failure is logged and costs a later build. Blocks. */
void builds_keep(struct builds *b, const char *key, const struct kept_build *build);
void builds_drop(struct builds *b, const char *key, const char *why);

/* failures.c: builds that failed twice alike, for a while, in memory; any thread, never blocks. key: as a kept build's. Times
 * are monotonic. */
#define FAILURE_MS 600000
struct failed_build {
    int exit_code;
    int64_t cpu_us, wall_us, memory_peak_bytes;
    struct assay_str output;
};
struct failures;
struct failures *failures_new(void); /* NULL: no memory */
void failures_free(struct failures *f);
/* True: its failure is believed, and *out says how it failed, its output in the arena. *once: it has failed before, which
 * failures_note of this build is to be told. */
bool failures_find(struct failures *f, const char *key, int64_t now_ms, struct assay_arena *arena, struct failed_build *out, bool *once);
/* A build has failed by its exit code. Copies what it keeps. */
void failures_note(struct failures *f, const char *key, int64_t now_ms, bool once, const struct failed_build *b);

/* warm.c: the folder of warm material */
int warm_open(const struct assay_host *host, int *ret_dir, struct assay_err *err);

/* recall.c: what of the machine a compiler can see; any thread */
void machine_look(char out[ASSAY_SHA256_HEX]);
/* And what people call it. */
void machine_names(char *kernel, size_t kernel_room, char *cpu, size_t cpu_room);

struct talk;
void talk_free(struct talk *t); /* interact.c */
struct job {
    struct job *next, *prev; /* among all jobs of the loop */
    struct job *next_ready;
    void *mail; /* the one message in which it travels, so that handing over cannot fail */
    struct runner *runner;
    struct assay_arena *arena;
    enum job_kind kind;
    enum job_stage stage;
    struct assay_job lease;
    struct language *language; /* NULL: nothing is run */
    int mode;                  /* enum assay_judge_mode */
    int feedback;              /* enum assay_feedback */
    bool never_warm;           /* its benchmark pins executed interpreters */
    bool only_warm;            /* or forked ones */
    bool task;                 /* run once, nothing compared */
    struct project *project;   /* a project: project.h; then language is NULL */
    struct filtering *filtering; /* a filter: filter.h; then language is NULL */
    struct assay_str away_id;  /* the gateway's submission, when a gateway elsewhere wants it judged; else "" */
    int64_t away_fence;
    struct assay_str made_by;  /* the runner elsewhere that judged it, or "" */
    struct assay_box_file *file;
    struct assay_str *path; /* of the files */
    size_t n_files;
    struct assay_str payload;
    struct comparison compare;
    bool stop_on_failure;
    bool uncompared; /* any output will do */
    bool strict;     /* verdicts in the words of the older worker */
    struct assay_box_limits limits; /* of a test's box */
    struct test *test;
    size_t n_tests, at_test, loaded_to;
    struct scored *scored; /* of the tests, for points.c */
    struct group *group;
    size_t n_groups;
    struct assay_strs options;         /* compiler options that it is built with */
    struct assay_strs arguments;       /* of the program, unless its test says others */
    struct assay_json_map variables;   /* of its environment, that its problem declares */
    struct assay_arena *test_arena; /* inputs and expected outputs of the tests loaded now */
    /* of the build */
    char artefact[65];
    struct assay_box_outcome build;
    bool built, checked;
    char build_key[BUILD_KEY]; /* "": not to be kept */
    struct assay_str place;    /* where its warden stands; for the key */
    struct recall want;
    struct kept_build kept;
    struct failed_build failed;
    bool known_failure, failed_once; /* `failed` is its build; it had failed before its own began */
    char warm[BUILD_KEY];      /* the warm material that its boxes see, or "" */
    char warm_key[BUILD_KEY], warm_print[BUILD_KEY];
    bool warming, warm_asked;  /* a self-test that makes warm material; that has asked for it */
    bool recalled, cached; /* the cache was asked; the artefact is from it */
    struct assay_str build_output;
    int64_t build_start_ms, build_end_ms, leased_ms, prepared_ms, started_ms;
    /* of a problem with a checker: check.c */
    struct job *checker; /* its own job, or NULL */
    struct job *parent;  /* of a checker: whose it is; NULL: that has ended */
    struct assay_manifest_checker rules;
    bool entered; /* a checker is among the loop's jobs, and not its parent's to free */
    int passes;   /* of the test under way, that have ended */
    int faults;   /* of the checker on the check under way */
    struct talk *talk; /* interact.c: with its interactor, or NULL */
    struct assay_arena *pass_arena; /* what one pass leaves to the next */
    struct assay_str pass_feedback; /* the encoding of the feedback directory */
    struct assay_box_outcome check_outcome;
    /* of the run under way */
    struct slot *slot;
    struct assay_buf out, err;
    struct assay_str stood[SIDES]; /* the places of its boxes, as JSON */
    char environment[ASSAY_SHA256_HEX]; /* id of the record of where and how it was made, or "" */
    struct assay_str environment_body;  /* "": it is known to be stored */
    struct assay_str pin; /* the toolchain that the benchmark wants, or "" */
    struct assay_buf carry; /* the artefact's encoding, between two environments */
    bool carried;
    struct weighing *weighing; /* a self-test's, when its sample has passed: prefork.c */
    bool weighed;
    int place_tries;        /* openings of its slot that failed */
    uint64_t dead_stream;   /* of the warden that died under it; 0: none */
    bool fate_asked, outside; /* its death is being looked into; it came from outside */
    /* how it ends */
    enum verdict verdict;
    double score;
    struct points points;
    char mode_text[32]; /* how its boxes were made */
    char version_text[160];
    char fault[300]; /* ours: why it could not be judged */
    bool dead;       /* fenced off: drop it */
    bool cancel;
    int64_t renewed_mono_ms, flushed_mono_ms;
    bool announced;       /* submission.running is written */
    size_t events_to;     /* tests whose submission.test is written */
    size_t rows_to;       /* tests whose rows are written */
    int writes;           /* transactions under way */
    int finish_tries;
    int64_t retry_mono_ms; /* LIMBO, FINISH: when to go on */
    int keeper;            /* LIMBO: process that made the warden */
    bool give_back, charge;
    bool alarm; /* its checker failed, which an event says */
};
/* What the program's build takes, however the program came here. */
static inline int64_t job_build_ms(const struct job *j)
{
    if (j->cached)
        return j->kept.wall_us / 1000;
    return j->build_end_ms > j->build_start_ms ? j->build_end_ms - j->build_start_ms : 0; /* one that did not end has no time */
}

/* ---- cache.c: test inputs and manifests ------------------------------------------------------------------- */

struct cache;
struct cache *cache_new(const struct assay_host *host, size_t max_bytes);
void cache_free(struct cache *c);
/* Copies the blob into the arena, from memory when it was read lately. Blocks. Any thread. */
int cache_read(struct cache *c, const struct assay_blobs *blobs, struct assay_str ref, size_t max,
               struct assay_arena *arena, struct assay_str *out, struct assay_err *err);

/* ---- prepare.c: on worker threads --------------------------------------------------------------------------- */

/* Fills the job from its lease. A negative status is ours (fault says what); a verdict that is already
 * clear (answers, or a program that cannot be) is set with stage STAGE_FINISH. */
int job_prepare(struct runner *r, struct job *j, struct assay_err *err);
/* Loads inputs and expected outputs from at_test on, at least one and as many as fit. */
int job_load(struct runner *r, struct job *j, struct assay_err *err);
/* The tests of a job are the manifest's, with their groups. */
int job_take_tests(struct job *j, const struct assay_manifest *m, struct assay_err *err);
struct job *job_new(struct runner *r);
struct job *job_self_test(struct runner *r, struct language *l);
void job_free(struct job *j);

/* ---- script.c: what brokers bring ------------------------------------------------------------------------------- */

/* Fills tests, limits and rules from the message. */
struct assay_script;
int script_prepare(struct runner *r, struct job *j, const struct assay_script *s, struct assay_manifest *m, struct assay_err *err);
/* Under broker_strict: a run's verdict as the older worker would have called it. */
void script_old_words(const struct job *j, struct test *t, struct assay_str out);
/* The result as a message, within result_max. */
int script_result(const struct job *j, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);

/* ---- codec.c ---------------------------------------------------------------------------------------------------- */

extern const struct assay_json_field language_fields[];
struct language_file { /* as decoded */
    struct assay_str name, title, source, unit;
    struct assay_strs aliases, extensions;
    struct assay_json_map tools;
    bool has_build;
    struct {
        struct assay_strs argv, env, artefacts;
        int64_t processes, scratch_files;
    } build;
    struct {
        struct assay_strs argv, env;
        int64_t processes, open_files;
    } run;
    struct assay_str image, run_image;
    struct assay_json_map options;
    bool has_warm;
    struct {
        struct assay_strs argv, env, artefacts;
        struct assay_json_map files;
        int64_t processes, scratch_files;
    } warm;
    struct assay_strs version;
    int warm_start; /* 0: none; 1: cpython */
    struct {
        struct assay_strs oom;
    } memory_error;
    struct {
        int64_t exit_code;
        struct assay_str stderr_prefix;
        struct assay_strs last_line, check;
    } load_error;
    struct {
        int64_t percent, reserve_mb;
    } heap;
    struct {
        double time, memory; /* 0: 1 */
        int64_t memory_extra_mb;
    } factors;
    struct {
        struct assay_str source, input, output;
    } sample;
};
int place_decode(struct assay_str json, struct assay_arena *arena, struct place *out, struct assay_err *err);
/* Where and how the job's boxes were made: all that is needed to make them again. Its language must not be NULL. */
int environment_encode(const struct job *j, struct assay_buf *out, struct assay_err *err);
int files_decode(struct assay_str json, struct assay_arena *arena, struct assay_json_map *out, struct assay_err *err);
/* The summary of submission.done: counts, times, spans. */
/* The groups as results and summaries show them; "" without any. */
int groups_encode(const struct job *j, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
int summary_encode(const struct job *j, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
int test_event_encode(const struct job *j, const struct test *t, struct assay_arena *arena, struct assay_str *out,
                      struct assay_err *err);
/* Of submission.checker_failed, which staff alone are told. */
int alarm_encode(struct assay_str reason, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
int running_event_encode(const struct job *j, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);

/* A stored result, as it is read. */
struct result {
    struct assay_str submission_id, benchmark_id, problem_id, agent_id, owner_id, language, compiler_options, verdict, build_output, mode,
        fault, first_verdict, runner;
    int64_t build_cached;
    struct assay_str environment_id, environment; /* its JSON; only when one result is shown */
    bool staff; /* the viewer is */
    int64_t cpu_us, memory_own, time_limit_ms, hard_time_limit_ms, wall_limit_ms, memory_limit_bytes;
    int64_t kind, passed, total, cpu_ms, wall_ms, memory_peak, build_ms, fence, finished_ms, first_number, feedback, precision;
    double score, points, points_awarded; /* points < 0: judged before points were counted */
    struct assay_str groups;              /* JSON array or "" */
    bool scored, all; /* all: the viewer may see everything */
};
struct result_test {
    int64_t number, exit_code, signal, cpu_ms, wall_ms, memory_peak, stdout_bytes, stderr_bytes;
    int64_t cpu_us, user_us, system_us, wall_us, memory_own, max_rss, oom_kills, voluntary, forced;
    int64_t over_limit; /* enum over_limit */
    int64_t reruns;
    bool finished;
    struct assay_str name, verdict, out, err, message, group;
    struct assay_str judge_message, team_message, transcript;
    double points, part; /* part < 0: by the verdict */
    bool sample, ran;
};
void result_write(struct assay_jw *w, const struct result *r, const struct result_test *test, size_t n, bool whole);

/* ---- repo.c ---------------------------------------------------------------------------------------------------------- */

#define RUNNER_MIGRATIONS 10
#define RUNNER_STATEMENTS 25
extern const struct assay_migration runner_migrations[RUNNER_MIGRATIONS];
extern const struct assay_stmt *const runner_statements[RUNNER_STATEMENTS];
extern const struct assay_stmt fetched_get_stmt, fetched_put_stmt, fetched_old_stmt, fetched_mark_stmt, fetched_gone_stmt; /* fetched.c */

struct rules {
    int feedback, warm_interpreters; /* enum assay_feedback, assay_warm_pin */
    struct assay_str toolchains;     /* a JSON object or "" */
};
int repo_rules(struct runner *r, struct assay_str benchmark_id, struct assay_arena *arena, struct rules *out, struct assay_err *err);
int repo_environment(struct runner *r, struct assay_str id, struct assay_arena *arena, struct assay_str *body,
                     struct assay_err *err);
int repo_drop_attempt(struct assay_tx *tx, const struct job *j, struct assay_err *err); /* rows of tests under its own fence */
int repo_add_tests(struct assay_tx *tx, const struct job *j, size_t from, size_t to, struct assay_err *err);
int repo_add_result(struct assay_tx *tx, const struct job *j, int64_t now_ms, struct assay_err *err);
struct result_filter {
    struct assay_str user_id, agent_only; /* agent_only: an agent's token sees its own */
    bool staff;
    struct assay_str benchmark_id, problem_id, agent_id, verdict, before;
    int64_t since_ms, limit;
};
int repo_results(struct runner *r, const struct result_filter *f, struct assay_str id, struct assay_arena *arena,
                 struct result **out, size_t *n, struct assay_err *err);
int repo_tests(struct runner *r, const struct result *res, struct assay_arena *arena, struct result_test **out, size_t *n,
               struct assay_err *err);
#define RUNNER_GROUP "runner"
#define CATCH_UP_MS 2000
/* Behind a lease: waits, within bounds, until what had been told of benchmarks by then is known here too. Blocks. */
void repo_catch_up(struct runner *r);
int repo_project(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err);

/* ---- loop.c: what others may call; its inside is loop.h ---------------------------------------------------------------------- */

struct loop;
int loop_start(struct runner *r, struct assay_err *err);
void job_next_test(struct job *j); /* prepare.c: at_test goes to the next that is to be run */
void job_decide(struct job *j);   /* finish.c: the verdict and the score of a job whose tests have theirs; any thread */
void loop_ring(struct runner *r); /* there may be work */
void loop_drain(struct runner *r);
void loop_stop(struct runner *r);
/* What a box costs by itself: the medians of some runs of a program that does nothing. Nothing is subtracted. */
struct calibration {
    int64_t runs; /* 0: not known (yet) */
    int64_t cpu_us, cpu_us_max, wall_us, wall_us_max, memory_own_bytes, memory_peak_bytes;
    int64_t clock_ns, tick_us; /* resolution of the clocks, and of the split in user and system time on cgroup v1 */
    bool pinned;
    char trouble[200]; /* why there is none, or "" */
};
struct loop_state {
    struct calibration calibration;
    int64_t slots, ready, busy, leased;
    char mode[32];
    uint32_t features;
    char trouble[300]; /* why there is no warden, or "" */
};
void loop_look(struct runner *r, struct loop_state *out);

/* ---- the service --------------------------------------------------------------------------------------------------------- */

enum {
    METRIC_VERDICTS, METRIC_QUEUE_WAIT, METRIC_BUILD, METRIC_RUN, METRIC_VERDICT, METRIC_LANGUAGE, METRIC_SLOTS, METRIC_SLOTS_READY, METRIC_SLOTS_BUSY, METRIC_WARDEN_DEATHS, METRIC_REFUSED,
    METRIC_CHECKER_FAULTS, METRIC_CHECK, METRIC_CACHE, METRIC_DATA_CACHE, METRIC_CACHE_BYTES, METRIC_WORKERS, METRIC_AWAY_LEASED,
    METRIC_AWAY_RESULTS, METRIC_FILTERS, METRIC_FILTER_SECONDS, METRIC_COUNT
};
extern const struct assay_metric runner_metrics[METRIC_COUNT];

/* traced.c */
void traced_job(struct runner *r, const struct job *j, const char *language, const char *verdict);
/* One that a runner elsewhere judged, which tells of its parts itself. */
void traced_away(struct runner *r, const struct assay_job *lease, const char *language, const char *verdict, struct assay_str holder);
/* The context that goes out with a job: of its publication, where traces are kept, else the job's own. In out, or the lease's. */
struct assay_str traced_out(struct runner *r, const struct assay_job *lease, char out[ASSAY_TRACEPARENT]);
struct published_job {
    const char *broker, *id;
    char context[ASSAY_TRACEPARENT], parent[ASSAY_TRACEPARENT]; /* "" without */
    int64_t start_ms;
};
void traced_published(struct runner *r, const struct published_job *p, const char *fault);

/* counts.c */
void count_waited(struct runner *r, const struct assay_job *lease, int64_t now_ms);
void count_built(struct runner *r, const struct language *l, const struct assay_box_outcome *o);
void count_run(struct runner *r, const char *language, enum verdict v, const struct assay_box_outcome *o);
void count_judged(struct runner *r, const struct assay_job *lease, const char *language, const char *verdict);
/* language_settle, and the metric of what is offered. */
void language_decide(struct runner *r, struct language *l, enum language_state state, const char *version, const char *reason);

extern const struct image_options {
    const char *const *name;
    size_t n;
} runner_image_options; /* the names of the options that choose images */

struct runner {
    const struct assay_host *host;
    const struct assay_jobs_ops *jobs;
    void *jobs_self;
    struct languages languages;
    struct environments environments;
    struct assay_arena *arena; /* of the seccomp program and the environments */
    struct assay_str seccomp, seccomp_uncounted; /* with and without a leaf for memory */
    struct cache *cache;
    struct builds *builds; /* NULL: builds are not kept */
    struct failures *failures; /* there when builds are kept */
    char kernel[128], cpu_model[128]; /* of this machine, for records */
    int warm_dir;          /* -1: there is no warm material */
    char machine[ASSAY_SHA256_HEX]; /* what of this machine a compiler can see */
    struct loop *loop;
    struct remote *remote; /* runners elsewhere: remote.h */
    struct dispatch *dispatch[3]; /* brokers that work goes out through: dispatch.c */
    size_t n_dispatch;
    char away_kinds[16];   /* kinds of jobs that they may lease, as assay_lease_ask has them */
    struct processors processors;
    int64_t reruns_max;
    int64_t max_parallel, time_limit_ms, memory_limit, output_limit, lease_ms, language_retest_ms, build_time_ms, build_memory, drain_ms, max_attempts,
        wardens_of_lane, pin_refusals;
    bool warm_interpreters, strict;
    const struct assay_pits_ops *pits; /* NULL: this process keeps none, and has files only */
    void *pits_self;
    struct assay_strs pit_dirs;
    struct assay_str project_tool, unpack_tool; /* what goes into a project's box; "": projects are not offered, */
    char project_lacks[260];                    /* and why */
    int64_t fetched_keep_ms; /* 0: for ever */
    int64_t project_timeout_ms, project_grace_ms, project_memory, project_log_bytes;
    struct processors_list *filters; /* set before the loop begins, then only read */
    int64_t filter_time_ms, filter_memory, filter_result_max;
    size_t result_max; /* bytes of a script's result */
    bool judges; /* there is a boxkeeper to ask for wardens */
};

int http_results_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_results_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_languages(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
int http_runners(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

#endif
