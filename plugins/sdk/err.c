/* Errors: filling, prefixing, and what each code means to HTTP and to logs. */
#include <assay/err.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int assay_err_set(struct assay_err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
    }
    return code;
}

int assay_err_errno(struct assay_err *err, int code, int errnum, const char *fmt, ...)
{
    if (err) {
        char reason[128] = "";
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        /* GNU strerror_r: returns the text, which need not be in the buffer */
        const char *text = strerror_r(errnum, reason, sizeof reason);
        if (n >= 0 && (size_t)n < sizeof err->msg)
            (void)snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s", text);
    }
    return code;
}

int assay_err_prefix(struct assay_err *err, const char *fmt, ...)
{
    if (!err)
        return ASSAY_E_INTERNAL;
    char old[sizeof err->msg];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used + 3 < sizeof err->msg) {
        /* what does not fit is cut: a message is for a person, and its head says most */
        size_t room = sizeof err->msg - used - 3, len = strnlen(old, sizeof old - 1);
        memcpy(err->msg + used, ": ", 2);
        memcpy(err->msg + used + 2, old, len < room ? len : room);
        err->msg[used + 2 + (len < room ? len : room)] = 0;
    }
    return err->code;
}

static const struct {
    int code;
    int http;
    const char *word;
} codes[] = {
    {ASSAY_OK, 200, "ok"},
    {ASSAY_DEFERRED, 202, "deferred"},
    {ASSAY_E_INVALID, 400, "invalid"},
    {ASSAY_E_UNAUTHENTICATED, 401, "unauthenticated"},
    {ASSAY_E_FORBIDDEN, 403, "forbidden"},
    {ASSAY_E_NOT_FOUND, 404, "not_found"},
    {ASSAY_E_CONFLICT, 409, "conflict"},
    {ASSAY_E_TOO_LARGE, 413, "too_large"},
    {ASSAY_E_UNPROCESSABLE, 422, "unprocessable"},
    {ASSAY_E_GONE, 410, "gone"},
    {ASSAY_E_RATE, 429, "rate_limited"},
    {ASSAY_E_BUSY, 503, "busy"},
    {ASSAY_E_GUARD, 409, "guard"},
    {ASSAY_E_AGAIN, 503, "again"},
    {ASSAY_E_NOMEM, 503, "no_memory"},
    {ASSAY_E_IO, 500, "io"},
    {ASSAY_E_CORRUPT, 500, "corrupt"},
    {ASSAY_E_UNSUPPORTED, 501, "unsupported"},
    {ASSAY_E_TIMEOUT, 504, "timeout"},
    {ASSAY_E_CONFIG, 500, "config"},
    {ASSAY_E_FULL, 507, "full"},
    {ASSAY_E_INTERNAL, 500, "internal"},
};

int assay_err_http(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code)
            return codes[i].http;
    return 500;
}

const char *assay_err_word(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code)
            return codes[i].word;
    return "unknown";
}
