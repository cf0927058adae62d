/*
 * Errors of the Assay SDK.
 *
 * Every fallible function returns int: 0, or one of the negative codes below, and takes a
 * `struct assay_err *err` as its last parameter, written only on failure (it may be NULL).
 * Three families never mix: the client's fault (answered 4xx), ours (answered 5xx, or verdict IE,
 * and retried), and flow control (BUSY, GUARD). What a submitted program does is never an error:
 * that is a verdict.
 *
 * Thread-safe: no state.  Ownership: struct assay_err is plain storage of the caller's.
 */
#ifndef ASSAY_ERR_H
#define ASSAY_ERR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_MUST_CHECK __attribute__((warn_unused_result))
#define ASSAY_PRINTF(f, a) __attribute__((format(printf, f, a)))

enum assay_status {
    ASSAY_OK = 0,
    ASSAY_DEFERRED = 1,            /* a handler took a ticket; not an error */
    /* the client's fault */
    ASSAY_E_INVALID = -1,          /* 400: malformed, or breaks a rule */
    ASSAY_E_UNAUTHENTICATED = -2,  /* 401 */
    ASSAY_E_FORBIDDEN = -3,        /* 403 */
    ASSAY_E_NOT_FOUND = -4,        /* 404 */
    ASSAY_E_CONFLICT = -5,         /* 409 */
    ASSAY_E_TOO_LARGE = -6,        /* 413 */
    ASSAY_E_UNPROCESSABLE = -7,    /* 422: same idempotency key, other body */
    ASSAY_E_GONE = -8,             /* 410: expired cursor */
    ASSAY_E_RATE = -9,             /* 429 */
    /* flow control */
    ASSAY_E_BUSY = -20,            /* a bound is reached: refuse or rescan later (503 to a client) */
    ASSAY_E_GUARD = -21,           /* a guarded statement did not touch the rows it had to */
    ASSAY_E_AGAIN = -22,           /* would block */
    /* ours */
    ASSAY_E_NOMEM = -40,
    ASSAY_E_IO = -41,
    ASSAY_E_CORRUPT = -42,
    ASSAY_E_UNSUPPORTED = -43,
    ASSAY_E_TIMEOUT = -44,
    ASSAY_E_CONFIG = -45,
    ASSAY_E_FULL = -46,            /* no space left on the device */
    ASSAY_E_INTERNAL = -50,
};

struct assay_err {
    int code;
    char msg[500]; /* one line, for a person; never holds a secret */
};

/* Fills *err (when err is not NULL) and returns code, so that `return assay_err_set(...)` works. */
int assay_err_set(struct assay_err *err, int code, const char *fmt, ...) ASSAY_PRINTF(3, 4);
/* As above, and appends ": " and the text of errno value `errnum`. */
int assay_err_errno(struct assay_err *err, int code, int errnum, const char *fmt, ...) ASSAY_PRINTF(4, 5);
/* Puts "text: " before the message that *err already holds; returns err->code. */
int assay_err_prefix(struct assay_err *err, const char *fmt, ...) ASSAY_PRINTF(2, 3);

/* The HTTP status that a code is answered with (500 for what is ours, 503 for BUSY). */
int assay_err_http(int code);
/* "invalid", "not_found", ...: a stable word for logs. */
const char *assay_err_word(int code);

#ifdef __cplusplus
}
#endif
#endif
