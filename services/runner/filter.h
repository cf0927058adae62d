/*
 * Filters, inside the runner: what is not code and is done by a program of ours or of the operator's, in a box.
 *
 *   PREPARE (request and image) ─▶ READY ─▶ FILTER (one box: the processor's program) ─▶ STORE (the result becomes a blob) ─▶ FINISH
 *
 * A processor is a file (processors/NAME.json) that says which program it is, which filters it has, and what parameters each of them
 * takes; a new one needs such a file and a program, and nothing here.  The program gets the filter's name and each parameter as
 * --NAME=VALUE, the bytes on standard input, and writes the result to standard output.  Exit status 0: done.  1: it refuses the
 * input, and says why in a line of standard error, "WORD: TEXT"; the word "memory" is a memory limit.  Anything else is its own fault.
 */
#ifndef ASSAY_RUNNER_FILTER_H
#define ASSAY_RUNNER_FILTER_H

#include "loop.h"

#define FILTERS_MAX 256         /* of all processors */
#define FILTER_PARAMS_MAX 8     /* of a filter */
#define FILTER_REQUEST_MAX 4096 /* bytes of a request's JSON */
#define FILTER_WHY_MAX 400

enum filter_param_type { FILTER_NUMBER, FILTER_INTEGER, FILTER_BOOLEAN, FILTER_CHOICE };

struct filter_param { /* as in the file */
    struct assay_str name, title;
    int type;
    double minimum, maximum;
    bool has_minimum, has_maximum, required;
    struct assay_strs choices;
    struct assay_str otherwise; /* the default, raw JSON, or "" */
};
struct filter_value { /* which member: the parameter's type says */
    double number;
    int64_t integer;
    bool boolean;
    int choice;
    bool given;
};
struct processor;
struct filter {
    struct assay_str name, title;
    struct assay_json_array params; /* struct filter_param */
    struct assay_strs any_of;       /* one of these must be given */
    const struct processor *by;
    struct assay_json_field *fields; /* the parameters as a decoder's table, into FILTER_PARAMS_MAX filter_values */
    struct filter_value otherwise[FILTER_PARAMS_MAX];
};
struct processor {
    struct assay_str name, title, program, media_type;
    struct assay_json_array filters; /* struct filter */
    struct assay_str tool;           /* the program's bytes; "": it is not offered, */
    char lacks[260];                 /* and why */
};
struct processors_list { /* does not change after the start; any thread */
    struct processor *list;
    size_t n;
};

/* A request that is right: which filter, and a value for each parameter that has one. */
struct filter_call {
    const struct filter *filter;
    struct filter_value value[FILTER_PARAMS_MAX];
};

/* ---- filters.c: no I/O; filter_request is fuzzed ---- */

extern const struct assay_json_field processor_fields[];
/* Adds a processor that was decoded by processor_fields; a later one of its name takes an earlier one's place. ASSAY_E_CONFIG: what
 * is wrong with it. */
int processor_add(struct processors_list *to, const struct processor *p, struct assay_arena *arena, struct assay_err *err);
/* In any case of letters. NULL: there is none. */
const struct filter *filter_find(const struct processors_list *all, struct assay_str name);
/* {"name": …, "parameters": {…}}. ASSAY_E_INVALID with at least one fault, whose pointers begin at the request. */
int filter_request(const struct processors_list *all, struct assay_str json, struct assay_arena *arena, struct assay_json_faults *faults,
                   struct filter_call *out, struct assay_err *err);
/* The request with all values in it. */
int filter_canonical(const struct filter_call *call, struct assay_arena *arena, struct assay_str *out, struct assay_err *err);
/* The filter's name, and each parameter as --NAME=VALUE. */
int filter_arguments(const struct filter_call *call, struct assay_arena *arena, struct assay_strs *out, struct assay_err *err);
void filters_write(struct assay_jw *w, const struct processors_list *all, bool staff);
/* How a run ended. IE: the program's own fault, or the box's; why says it. text: standard error; n_out: bytes of the result. */
enum verdict filter_judge(const struct assay_box_outcome *o, const struct assay_box_limits *limits, struct assay_str text, size_t n_out,
                          char why[FILTER_WHY_MAX]);

/* ---- filter.c ---- */

struct filtering {
    struct filter_call call;
    struct assay_strs arguments;
    struct assay_str image;
    char why[FILTER_WHY_MAX]; /* there is no result */
    char ref[ASSAY_BLOB_REF]; /* of the result, where it is kept here */
    struct assay_str encoded; /* the result in base64, where it goes into a message */
};
int filters_load(struct runner *r, struct assay_err *err); /* at start */
/* What a request's member "filter" becomes (assay/jobs.h). */
int filter_resolve(struct runner *r, struct assay_str json, struct assay_arena *arena, struct assay_json_faults *faults,
                   struct assay_str *canonical, struct assay_err *err);
/* request, image: of a message; p NULL: the lease's own source and payload. Workers. */
int filter_prepare(struct runner *r, struct job *j, struct assay_str request, struct assay_str image, struct assay_err *err);
void filter_next(struct loop *l, struct job *j);
void filter_done(struct loop *l, struct job *j, const struct assay_box_outcome *o);
void filter_stored(struct loop *l, struct mail *m);
struct assay_str filter_output(const struct job *j); /* what the job's end says: the blob's name, or why there is none */
int http_filters(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);

#endif
