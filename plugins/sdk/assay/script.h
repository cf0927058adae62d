/*
 * Scripts and their results: what travels through a broker.
 *
 * A script is a program with its tests in one message, as the older Kafka worker takes it; a result is what comes of it.
 * Both are written by either side: a worker decodes scripts and encodes results, a gateway encodes scripts and decodes
 * results.  What a broker does with the bytes is broker.h's business.
 *
 * Three forms of a script are taken, told apart by no mark, since their members do not clash:
 *   {"type":"script","id":…,"language":…,"source":…,"limits":{"time_limit_ms":…,"memory_limit_bytes":…},
 *    "tests":[{"number":…,"input":…,"expected_output":…}]}
 *   {"id":…,"translator":…,"code":…,"input":…}     ("lang" and "language" say the same as "translator")
 *   {"id":…,"filter":{"name":…,"parameters":{…}},"image":base64}     no code: its result's "stdout" is base64 too
 * and {"type":"done"} says that its sender has no more.  "files" (path to text) may stand for "source", "comparison"
 * ("exact", "tokens" or "float", with "float_abs" and "float_rel") changes how outputs are compared, "compiler_options" are
 * words that its language's file allows, and "assay" carries whatever a gateway wants of its runners.  Members that are not
 * known are passed over, null is as good as absent.
 *
 * Stateless; any thread.  What is decoded are views into the arena.
 */
#ifndef ASSAY_SCRIPT_H
#define ASSAY_SCRIPT_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/json.h>
#include <assay/manifest.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_SCRIPT_MAX ((size_t)16 << 20)       /* bytes of a message, either way */
#define ASSAY_SCRIPT_ID_MAX ((size_t)300)         /* bytes of an id */
#define ASSAY_SCRIPT_SOURCE_MAX ((size_t)1 << 20) /* of a source, and of all files together */
#define ASSAY_SCRIPT_FILES_MAX 64
#define ASSAY_SCRIPT_TESTS_MAX 10000
#define ASSAY_SCRIPT_TIME_MAX_MS INT64_C(3600000)
#define ASSAY_SCRIPT_MEMORY_MAX (INT64_C(1) << 40)

enum assay_script_type { ASSAY_SCRIPT_RUN, ASSAY_SCRIPT_DONE };
extern const char *const assay_script_type_names[]; /* "script", "done", NULL */

struct assay_script_test {
    int64_t number; /* 0 where the message does not say it: its place, from 1 */
    struct assay_str input, expected_output;
};

struct assay_script {
    int type; /* enum assay_script_type */
    struct assay_str id; /* "": the receiver makes one of the message's key or name */
    struct assay_str language; /* as it was written; may be "", as may be the source: that is the worker's to answer */
    struct assay_str source;
    struct assay_json_map files;
    struct assay_strs compiler_options; /* that it asks for */
    struct assay_str input;     /* of a run without tests */
    int64_t time_limit_ms, memory_limit_bytes; /* 0: the worker's own */
    int compare;                /* enum assay_compare; 0 is exact */
    double float_abs, float_rel;
    struct assay_json_array tests; /* struct assay_script_test */
    struct assay_str filter;    /* raw JSON, or "": then neither language nor source count, */
    struct assay_str image;     /* and this is its input */
    struct assay_str assay;     /* raw JSON, or "" */
};

/*
 * ASSAY_E_INVALID when the text is no script, with what is wrong and where in err->msg; out->id then still holds the
 * id if one could be read, and is "" otherwise.  Limits below zero count as 0.
 */
int assay_script_decode(struct assay_str json, struct assay_arena *arena, struct assay_script *out, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* In the first of the forms, or the last; empty members are left out. Appends. */
int assay_script_encode(const struct assay_script *s, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

struct assay_script_result_test {
    int64_t number;
    struct assay_str status; /* "OK" ... or "-": not run */
    int64_t exit_code, duration_ms;
    struct assay_str stdout_text, stderr_text, input, expected_output, error;
};

/* status "": it could not be judged, error says why, and only id, error and the timestamp (with event_id and assay) count. */
struct assay_script_result {
    struct assay_str id;
    struct assay_str status;
    int64_t exit_code, duration_ms;
    struct assay_str stdout_text, stderr_text, error;
    struct assay_json_array tests; /* struct assay_script_result_test; n 0: no such member */
    int64_t timestamp_ms;
    struct assay_str event_id; /* the same whenever this result comes again */
    bool truncated;            /* texts were cut, so that it fits into a message */
    struct assay_str assay;    /* raw JSON, or "" */
};

int assay_script_result_decode(struct assay_str json, struct assay_arena *arena, struct assay_script_result *out,
                               struct assay_err *err) ASSAY_MUST_CHECK;
/*
 * Appends it in at most max bytes (0: ASSAY_SCRIPT_MAX).  What does not fit is cut, and "truncated" then says so: each
 * text to the same number of bytes, halved until it fits; where that is not enough, the tests are left out.
 * ASSAY_E_TOO_LARGE when even that does not fit.
 */
int assay_script_result_encode(const struct assay_script_result *r, size_t max, struct assay_buf *out, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* Most bytes of a result: what an option says, or, where it says 0, what the brokers of a list ("kafka,sqs") take. */
size_t assay_script_result_max(int64_t option, const char *brokers);

#ifdef __cplusplus
}
#endif
#endif
