/*
 * A problem's manifest: everything a runner needs to judge a submission, as one immutable blob.
 *
 * The benchmarks service writes a new manifest blob whenever a problem changes; events and jobs name
 * it by hash, so a runner anywhere needs a job and the blobs, and no table.  It holds hashes of test
 * inputs and expected outputs, never the bytes.
 */
#ifndef ASSAY_MANIFEST_H
#define ASSAY_MANIFEST_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/json.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

enum assay_judge_mode {
    ASSAY_JUDGE_PROGRAM, /* the source is built and run on each test */
    ASSAY_JUDGE_HARNESS, /* the payload goes to the harness's stdin; the harness is the program */
    ASSAY_JUDGE_ANSWER,  /* the payload is compared with the expected output of each test */
    ASSAY_JUDGE_FUNCTION, /* the harness is the main program, and the source stands beside it as a file that it uses */
};
#define ASSAY_JUDGE_MODES (ASSAY_JUDGE_FUNCTION + 1)
/* White space is ASCII's. The numbers are kept in databases: new ones go to the end. */
enum assay_compare {
    ASSAY_COMPARE_EXACT,            /* the same bytes, a final newline included */
    ASSAY_COMPARE_TOKENS,           /* the same words */
    ASSAY_COMPARE_FLOAT,            /* as tokens, but two decimal numbers may differ by float_abs, or by float_rel of the expected */
    ASSAY_COMPARE_NOCASE,           /* as tokens, A to Z the same as a to z */
    ASSAY_COMPARE_LINES,            /* the same lines, but for white space at the ends of lines and empty lines at the end */
    ASSAY_COMPARE_UNORDERED_LINES,  /* the same lines (compared as words; empty ones do not count), each as often, in any order */
    ASSAY_COMPARE_UNORDERED_TOKENS, /* the same words, each as often, in any order */
};
#define ASSAY_COMPARE_MODES (ASSAY_COMPARE_UNORDERED_TOKENS + 1)

/*
 * A program that judges in place of a comparison.  What each kind is called with and how it answers is said in
 * docs/judging.md and decided in services/runner/checker.c.
 */
enum assay_checker_kind {
    ASSAY_CHECKER_VALIDATOR, /* Kattis and ICPC: input, answer, feedback directory; exit code 42 or 43 */
    ASSAY_CHECKER_TESTLIB,   /* input, output, answer; exit code 0 to 3, 7, or 16 and up */
    ASSAY_CHECKER_SCRIPT,    /* input, output, answer, feedback directory; exit code 0 or 1 */
};
#define ASSAY_CHECKER_KINDS (ASSAY_CHECKER_SCRIPT + 1)

struct assay_manifest_checker {
    int kind;                /* enum assay_checker_kind */
    struct assay_str language, source_ref;
    struct assay_strs flags; /* behind its other arguments */
    bool interactive;        /* it talks with the program while that runs */
    int64_t passes;          /* at most so many runs of the program on one test; 1 unless its kind is validator */
    int64_t time_limit_ms, memory_limit_bytes; /* its own, for each check */
};

/* What a group makes of its tests' parts, each 0 to 1: their mean weighed by points, the least, the greatest. */
enum assay_aggregate { ASSAY_AGGREGATE_SUM, ASSAY_AGGREGATE_MIN, ASSAY_AGGREGATE_MAX };
extern const char *const assay_aggregate_names[]; /* "sum" "min" "max" NULL */

struct assay_manifest_group {
    struct assay_str name;
    int aggregate; /* enum assay_aggregate */
    double points; /* that it gives when all of it passes; 0: it only gates others */
    bool stop_on_failure;         /* its first test that fails ends it */
    struct assay_strs depends_on; /* groups of which every test must have passed, else it is not run; their tests come before its own */
};

struct assay_manifest_test {
    int64_t number; /* 1.. */
    struct assay_str name;
    bool sample;
    double points; /* weight, > 0 */
    struct assay_str input_ref, expected_ref; /* "" for empty */
    struct assay_str group;      /* name of one of the groups, "" none: it counts by itself */
    struct assay_strs arguments; /* of the program on this test, instead of the problem's */
    bool has_arguments;
};

#define ASSAY_MANIFEST_VARIABLE_MAX 64 /* bytes of an environment variable's name */

#define ASSAY_OPTIONS_MAX 16 /* compiler options of one program */
#define ASSAY_OPTION_MAX 64  /* bytes of one */
/* What a problem says of the compiler options in one language; which there are the language's file says. */
struct assay_manifest_options {
    struct assay_str language;
    struct assay_strs allowed; /* that a program may ask for; without the member all of the language's */
    bool has_allowed;
    struct assay_strs always; /* that every program is built with */
};
/* A word that can be a compiler option: '-' and then letters, digits and "+=._-". What it means nobody asks here. */
bool assay_option_valid(struct assay_str word);
/* Words with a space between each two, as rows keep them, and back. */
int assay_options_join(const struct assay_strs *list, struct assay_arena *arena, struct assay_str *out, struct assay_err *err) ASSAY_MUST_CHECK;
int assay_options_split(struct assay_str text, struct assay_arena *arena, struct assay_strs *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* A row's words as an array of JSON. */
void assay_options_write(struct assay_jw *w, const char *key, struct assay_str text);
/* Rows of struct assay_manifest_options, in what people send and in what services tell each other. */
extern const struct assay_json_field assay_manifest_options_fields[];
void assay_manifest_options_write(struct assay_jw *w, const struct assay_json_array *list);
/* Of a JSON array of them, or "" for none. */
int assay_manifest_options_decode(struct assay_str json, struct assay_arena *arena, struct assay_json_array *out,
                                  struct assay_err *err) ASSAY_MUST_CHECK;

struct assay_manifest {
    struct assay_str benchmark_id, problem_id;
    int64_t version; /* rises with each change of the problem */
    int mode;        /* enum assay_judge_mode */
    int compare;     /* enum assay_compare */
    double float_abs, float_rel;
    bool stop_on_failure;
    int64_t time_limit_ms, wall_limit_ms, memory_limit_bytes, output_limit_bytes, process_limit;
    int64_t hard_time_limit_ms; /* where a program over its time is killed; 0, in older manifests: assay_hard_time_limit */
    struct assay_str harness_language, harness_ref;
    bool has_checker; /* then compare is not looked at */
    struct assay_manifest_checker checker;
    struct assay_json_array tests; /* struct assay_manifest_test */
    struct assay_json_array groups; /* struct assay_manifest_group */
    struct assay_strs arguments;       /* of the program, behind its command */
    struct assay_json_map environment; /* variables that it finds besides its language's */
    struct assay_json_array compiler_options; /* struct assay_manifest_options */
};

/*
 * Where a problem does not say: a tenth and 100 ms more than the limit. Enough to see whether a program needed
 * 1.05 of its time or twice as much, and to run again what a busy machine made slow; little enough that a
 * program that never ends costs no more than a tenth on top.
 */
int64_t assay_hard_time_limit(int64_t time_limit_ms);

extern const char *const assay_checker_kind_names[]; /* "validator", "testlib", "script", NULL */
extern const char *const assay_judge_mode_names[]; /* "program", "harness", "answer", "function", NULL */
extern const char *const assay_compare_names[];    /* "exact", "tokens", "float", "nocase", "lines", "unordered_lines", "unordered_tokens", NULL */

int assay_manifest_decode(struct assay_str json, struct assay_arena *arena, struct assay_manifest *out,
                          struct assay_err *err) ASSAY_MUST_CHECK;
int assay_manifest_encode(const struct assay_manifest *m, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
