/*
 * benchmarks: what is competed on: benchmarks, their problems, the problems' tests.
 *
 * A benchmark's row holds its rules, a problem's row its settings.  The tests of a problem stand in
 * its manifest blob and nowhere else: there are no rows that could differ from what a runner gets.
 * Each change of a problem stores the bytes, then a new manifest, and then, in one transaction, the
 * row that names it and the event problem.changed.
 *
 * Changes are optimistic: the row is read with its version, the change is laid over it, and the
 * update is guarded by that version; a change that was overtaken starts over.  Whatever concerns
 * the set of a benchmark's problems (adding, removing, moving) also guards and raises the version of
 * the benchmark, so that positions stay unique.
 *
 * Who may see a private benchmark is decided with a projection of agent.changed (benchmarks_agents).
 * All handlers run on worker threads; the service's state is const after init.
 */
#ifndef BENCHMARKS_LOCAL_H
#define BENCHMARKS_LOCAL_H

#include <assay/events.h>
#include <assay/idempotency.h>
#include <assay/manifest.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define BENCHMARKS_NAME_MAX 200
#define BENCHMARKS_TEXT_MAX (256 << 10)   /* description, statement */
#define BENCHMARKS_ENTRANTS_MAX 1000
#define BENCHMARKS_ENTRANTS_BYTES 40000   /* an event holds the whole list */
#define BENCHMARKS_LANGUAGES_MAX 64
#define BENCHMARKS_PROBLEMS_MAX 200
#define BENCHMARKS_TESTS_MAX 2000
#define BENCHMARKS_GROUPS_MAX 100
#define BENCHMARKS_GROUP_NAME_MAX 64
#define BENCHMARKS_ARGUMENTS_MAX 32
#define BENCHMARKS_ARGUMENT_BYTES 1000
#define BENCHMARKS_VARIABLES_MAX 32
#define BENCHMARKS_VARIABLE_BYTES 4000
#define BENCHMARKS_TEST_BYTES (16 << 20)  /* of one input or output */
#define BENCHMARKS_PASS_K_MAX 1000
#define BENCHMARKS_SOURCE_MAX (1 << 20)   /* of a harness, of a checker */
#define BENCHMARKS_FLAGS_MAX 32           /* of a checker */
#define BENCHMARKS_FLAG_BYTES 500         /* of each */
#define BENCHMARKS_PASSES_MAX 50
#define BENCHMARKS_PAGE_BYTES (8 << 20)   /* of inputs and outputs in one page of tests, but for the first */
#define BENCHMARKS_MANIFEST_MAX (16 << 20)

/* ---- what there is ----------------------------------------------------------------------------------- */

struct benchmark {
    struct assay_str id, owner_id, name, description;
    int visibility, feedback; /* enum assay_visibility, assay_feedback */
    int64_t starts_ms, ends_ms, freezes_ms; /* 0: none */
    struct assay_strs languages, entrants;
    struct assay_json_map toolchains; /* language to the version, or the digest of an image, that it is pinned to */
    int warm_interpreters; /* enum assay_warm_pin */
    struct assay_board_rules rules;
    int64_t priority; /* ASSAY_PRIORITY_MIN to _MAX: its weight where lines take turns */
    int64_t version, created_ms, updated_ms;
    bool callers_entrant; /* one of the caller's agents is in entrants */
};

struct limits {
    int64_t time_limit_ms;
    int64_t hard_time_limit_ms, wall_limit_ms; /* 0: they follow the time limit */
    int64_t memory_limit_bytes, output_limit_bytes, process_limit;
};

struct problem {
    struct assay_str id, benchmark_id, name, statement;
    int64_t position;
    int mode, compare; /* enum assay_judge_mode, assay_compare */
    double float_abs, float_rel;
    bool stop_on_failure;
    struct limits limits;
    struct assay_str harness_language, harness_ref; /* "" without */
    /* read from the manifest, where it alone is kept, by benchmarks_load_manifest; no language: compared */
    struct assay_manifest_checker checker;
    struct assay_json_array compiler_options; /* likewise: struct assay_manifest_options */
    struct assay_str manifest_ref;
    int64_t test_count, sample_count;
    int64_t version, created_ms, updated_ms;
};

struct checker_in;
/* ---- domain.c: the rules; no I/O ------------------------------------------------------------------------- */

bool benchmarks_may_see(const struct benchmark *b, const struct assay_principal *who);
bool benchmarks_may_change(const struct benchmark *b, const struct assay_principal *who); /* owner, admin */
/* Sees what competitors must not: hidden tests, harnesses, problems before the start. */
bool benchmarks_is_judge(const struct benchmark *b, const struct assay_principal *who);
/* Whether the caller may give it that priority, which it does not have: an admin any, its owner up to most. */
bool benchmarks_may_prefer(const struct assay_principal *who, int64_t priority, int64_t most);
bool benchmarks_has_started(const struct benchmark *b, int64_t now_ms);
bool benchmarks_language_valid(struct assay_str s); /* [a-z0-9][a-z0-9+#._-]{0,31} */
int64_t benchmarks_hard_limit(const struct limits *l);
int64_t benchmarks_wall_limit(const struct limits *l);
extern const struct limits benchmarks_default_limits;
extern const struct checker_in benchmarks_default_checker;
extern const struct assay_board_rules benchmarks_default_rules;

/* ---- codec.c: JSON -------------------------------------------------------------------------------------------- */

struct test_in {
    struct assay_str name, input, expected, group;
    bool sample;
    double points;
    struct assay_strs arguments;
    bool has_points, has_arguments;
};
struct group_in {
    struct assay_str name;
    int aggregate; /* enum assay_aggregate */
    double points;
    bool stop, sample;
    struct assay_strs depends_on;
    bool has_points, has_stop;
};
struct tests_in {
    struct assay_json_array tests, groups; /* struct test_in, struct group_in */
};
struct harness_in {
    struct assay_str language, source;
    bool has_source;
};
struct checker_in {
    int kind; /* enum assay_checker_kind */
    struct assay_str language, source;
    struct assay_strs flags;
    bool interactive, has_source;
    int64_t passes, time_limit_ms, memory_limit_bytes;
};
struct problem_in {
    struct assay_str id, name, statement;
    int64_t position;
    int mode, compare;
    double float_abs, float_rel;
    bool stop_on_failure;
    struct limits limits;
    struct harness_in harness;
    struct checker_in checker;
    bool has_checker;
    struct assay_strs arguments;
    struct assay_json_map environment;
    struct assay_json_array compiler_options; /* struct assay_manifest_options */
    bool has_compiler_options;
    struct assay_json_array tests, groups; /* struct test_in, struct group_in */
    bool has_arguments, has_environment, has_groups, has_id, has_name, has_statement, has_position, has_mode, has_compare, has_float_abs, has_float_rel, has_stop,
        has_limits, has_harness, has_tests;
};
struct benchmark_in {
    struct assay_str id, name, description;
    int visibility, feedback;
    int64_t starts_ms, ends_ms, freezes_ms;
    struct assay_strs languages, entrants;
    struct assay_json_map toolchains;
    int warm_interpreters;
    struct assay_board_rules rules;
    int64_t priority;
    bool has_id, has_name;
    struct problem_in problem; /* when made with tests directly */
};

extern const struct assay_json_field benchmarks_create_fields[], benchmarks_patch_fields[], benchmarks_problem_fields[],
    benchmarks_problem_patch_fields[], benchmarks_tests_fields[];

/* As a column has it: a JSON object, "" for none. p is NULL without memory. */
struct assay_str benchmarks_toolchains_encode(struct assay_arena *a, const struct assay_json_map *map);
int benchmarks_toolchains_decode(struct assay_arena *a, struct assay_str text, struct assay_json_map *out, struct assay_err *err);

/* Rules that a table cannot say; faults are added, all of them. */
void benchmarks_check(const struct benchmark_in *in, struct assay_json_faults *f, struct assay_arena *a);
void benchmarks_check_problem(const struct problem_in *in, struct assay_json_faults *f, struct assay_arena *a);
void benchmarks_check_tests(const struct assay_json_array *tests, const struct assay_json_array *groups,
                            struct assay_json_faults *f, struct assay_arena *a);
/* Faults for what is only taken together with tests. */
void benchmarks_check_no_problem(const struct problem_in *in, struct assay_json_faults *f, struct assay_arena *a);

/* items is what a list shows; detail adds what may be long. */
void benchmarks_write(struct assay_jw *w, const struct benchmark *b, bool detail);
struct sources { /* p NULL: not shown */
    struct assay_str harness, checker;
};
/* m: the problem's manifest, or NULL in a list; secret: the caller may see what only judges see of it. */
void benchmarks_write_problem(struct assay_jw *w, const struct problem *p, const struct assay_manifest *m, bool secret,
                              const struct sources *sources);
void benchmarks_write_problem_ref(struct assay_jw *w, const struct problem *p); /* {id, name, position} */
void benchmarks_write_test(struct assay_jw *w, const struct assay_manifest_test *t, struct assay_str input,
                           struct assay_str expected);

/* "a b c" and back. p == NULL (n == 0 and items == NULL) on no memory. */
struct assay_str benchmarks_join(struct assay_arena *a, const struct assay_strs *list);
int benchmarks_split(struct assay_arena *a, struct assay_str text, struct assay_strs *out);

/* ---- repo.c: SQL ------------------------------------------------------------------------------------------------ */

#define BENCHMARKS_STMTS(X)                                                                                            \
    X(insert) X(by_id) X(list) X(update) X(bump) X(remove) X(entrants_clear) X(entrants_add) X(problem_insert)         \
    X(problem_by_id) X(problem_list) X(problem_update) X(problem_remove) X(problem_remove_all) X(agent_put)
#define X(name) extern const struct assay_stmt benchmarks_q_##name;
BENCHMARKS_STMTS(X)
#undef X
ASSAY_IDEM_DECLARE(benchmarks_idem);
extern const struct assay_migration benchmarks_migrations[6];

struct benchmarks_filter {
    struct assay_str after, owner; /* "" for none */
    int visibility;                /* -1 for any */
    int64_t limit;
};
int benchmarks_by_id(const struct assay_store *st, struct assay_str id, struct assay_str caller, struct assay_arena *a,
                     struct benchmark *out, struct assay_err *err) ASSAY_MUST_CHECK; /* ASSAY_E_NOT_FOUND */
int benchmarks_list(const struct assay_store *st, const struct benchmarks_filter *filter,
                    const struct assay_principal *who, struct assay_arena *a, struct benchmark **out, size_t *n,
                    struct assay_err *err) ASSAY_MUST_CHECK;
int benchmarks_problem_by_id(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct problem *out,
                             struct assay_err *err) ASSAY_MUST_CHECK;
/* In order of position, those behind `after`. */
int benchmarks_problems(const struct assay_store *st, struct assay_str benchmark, int64_t after, int64_t limit,
                        struct assay_arena *a, struct problem **out, size_t *n, struct assay_err *err) ASSAY_MUST_CHECK;

int benchmarks_add(struct assay_tx *tx, const struct benchmark *b);
int benchmarks_add_update(struct assay_tx *tx, const struct benchmark *b); /* guard: b->version as it was read */
int benchmarks_add_bump(struct assay_tx *tx, const struct benchmark *b);   /* likewise */
int benchmarks_add_remove(struct assay_tx *tx, const struct benchmark *b); /* likewise, and its problems */
int benchmarks_add_problem(struct assay_tx *tx, const struct problem *p);
int benchmarks_add_problem_update(struct assay_tx *tx, const struct problem *p, int64_t from); /* guard: version from */
int benchmarks_add_problem_remove(struct assay_tx *tx, const struct problem *p, int64_t from);
int benchmarks_add_changed(struct assay_tx *tx, const struct benchmark *b, bool deleted, struct assay_err *err) ASSAY_MUST_CHECK;
int benchmarks_add_problem_changed(struct assay_tx *tx, const struct problem *p, const struct benchmark *b, bool deleted,
                                   struct assay_err *err) ASSAY_MUST_CHECK;
void benchmarks_add_agent(struct assay_tx *tx, struct assay_str agent, struct assay_str owner, bool deleted, int64_t seq);

/* ---- tests.c: bytes and manifests in the blob store ------------------------------------------------------------------ */

/* A problem's manifest holds what its row does not: tests, groups, the program's arguments and environment.  They are
 * handed about as a manifest of which only those members count. */

/* Stores every input and output; sets the manifest's tests and groups. */
int benchmarks_store_tests(const struct assay_blobs *b, const struct assay_json_array *tests, const struct assay_json_array *groups,
                           struct assay_arena *a, struct assay_manifest *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* And sets p's checker. */
int benchmarks_load_manifest(const struct assay_blobs *b, struct problem *p, struct assay_arena *a,
                             struct assay_manifest *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Stores the manifest of p with what `held` holds; sets manifest_ref and the counts. */
int benchmarks_store_manifest(const struct assay_blobs *b, struct problem *p, const struct assay_manifest *held,
                              struct assay_arena *a, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- http.c ---------------------------------------------------------------------------------------------------------- */

#define BENCHMARKS_HANDLERS(X)                                                                                         \
    X(list) X(create) X(get) X(update) X(remove) X(problem_list) X(problem_create) X(problem_get) X(problem_update)    \
    X(problem_remove) X(tests_get) X(tests_put) X(import)
#define X(name)                                                                                                        \
    int benchmarks_do_##name(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
BENCHMARKS_HANDLERS(X)
#undef X
int benchmarks_deliver(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err);
int benchmarks_init(const struct assay_host *host, void **self, struct assay_err *err);
void benchmarks_fini(void *self);

#endif
