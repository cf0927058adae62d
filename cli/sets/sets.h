/*
 * Data sets of functions with hidden tests: what the formats become, and the programs that stand around a submission.
 *
 * A task becomes a problem of mode "function" with one test.  The test's input is the calls that its code makes, recorded
 * once with the set's own solution in a box of the server; its expected output is that code.  The program gets the calls
 * and gives results; a checker, in a box of its own, runs the code with these results.  docs/datasets.md says what that
 * keeps out.
 */
#ifndef ASSAY_CLI_SETS_H
#define ASSAY_CLI_SETS_H

#include "cli/cli.h"

enum set_format { SET_HUMANEVAL, SET_MBPP, SET_HUMANEVAL_X };
extern const char *const set_format_names[]; /* "humaneval", "mbpp", "humaneval-x", NULL */

/* A task's texts, as a HumanEval-X line has them; where: "FILE:LINE". */
struct set_parts {
    const char *prompt, *solution, *test, *test_setup, *where;
};
struct set_language;
bool set_compose_cpp(const struct set_language *l, const struct set_parts *parts, json_t *task);
bool set_compose_go(const struct set_language *l, const struct set_parts *parts, json_t *task);
bool set_compose_java(const struct set_language *l, const struct set_parts *parts, json_t *task);

/* Of one language: the texts are the files of datasets/, in C strings. */
struct set_language {
    const char *name;                    /* as the server calls it */
    const char *program, *prove, *record; /* the main program beside a submission; the checker; what records calls */
    /* NULL: they are the same for all tasks, which they read. Else sets program, prove and record of a HumanEval-X task, as
     * compose.c makes them; false with a message. */
    bool (*compose)(const struct set_language *l, const struct set_parts *parts, json_t *task);
};
extern const char set_python_program[], set_python_prove[], set_python_record[];
/* Of compiled languages each task has programs of its own, which are these texts with its own around or behind them. */
extern const char set_cpp_program[], set_cpp_prove[], set_cpp_record[];
extern const char set_go_program[], set_go_prove[], set_go_record[];
extern const char set_java_program[], set_java_prove[], set_java_record[];
extern const char set_javascript_program[], set_javascript_prove[], set_javascript_record[];
/* NULL: no data sets in that language. */
const struct set_language *set_language_find(const char *name);

/* One task, as an object: id, language, statement, setup, test, names (of functions that are called), program (the set's
 * own solution), whole (whether a completion is a whole program). NULL with a message that names file and line. */
json_t *set_task(enum set_format format, const char *language, const json_t *row, const char *file, size_t line);

/* What a benchmark's description says of its completions, for the one who submits them. */
#define SET_WHOLE "whole programs"
#define SET_AFTER "what follows the statement"

/* Calls f for each line of a file of JSON objects, gzipped or not; "-" is standard input. Ends at the first that is not
 * CLI_OK. */
int set_lines(const char *file, int (*f)(void *arg, json_t *row, size_t line), void *arg) CLI_MUST_CHECK;

/* The main program beside a task's submission, its checker, and what records its calls. */
const char *set_text(const struct set_language *l, const json_t *task, const char *which);

/* The calls as the recorder wrote them: base64 of what zlib made of them. NULL: it is not that. */
char *set_calls(const char *text);

/* 1 - C(n-c, k) / C(n, k), for k <= n: the chance that of k samples of n, c of them right, one is right (Chen et al. 2021, "Evaluating
 * Large Language Models Trained on Code"). */
double set_pass_at(size_t n, size_t c, size_t k);

#endif
