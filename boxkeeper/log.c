/*
 * Log lines on stderr, which is the supervisor's.  A line is built in a fixed buffer and written at
 * once, so lines of different processes do not mix; what does not fit is cut and marked.
 */
#include "local.h"

#include <assay/value.h>

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096

static enum assay_log_level least_level = ASSAY_LOG_INFO;
static bool as_json;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void bk_log_setup(enum assay_log_level least, bool json)
{
    least_level = least;
    as_json = json;
}

/* Quotes and escapes s; the same escapes serve JSON and logfmt. */
static void add_quoted(struct assay_buf *b, struct assay_str s)
{
    assay_buf_putc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c == '"' || c == '\\') {
            assay_buf_putc(b, '\\');
            assay_buf_putc(b, (char)c);
        } else if (c == '\n') {
            assay_buf_puts(b, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            assay_buf_fmt(b, "\\u%04x", c);
        } else {
            assay_buf_putc(b, (char)c);
        }
    }
    assay_buf_putc(b, '"');
}

static bool plain(struct assay_str s)
{
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return true;
}

static void add_pair(struct assay_buf *b, const char *key, struct assay_str value, bool number)
{
    if (as_json) {
        assay_buf_fmt(b, ",\"%s\":", key);
        if (number)
            assay_buf_str(b, value);
        else
            add_quoted(b, value);
        return;
    }
    assay_buf_fmt(b, " %s=", key);
    if (number || plain(value))
        assay_buf_str(b, value);
    else
        add_quoted(b, value);
}

void bk_log(enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    char when[ASSAY_TIME_SIZE];
    ssize_t wrote;

    if (level < least_level || level > ASSAY_LOG_ERROR)
        return;
    assay_buf_init(&b, (size_t)4 * LINE_MAX_BYTES);
    assay_time_format(assay_now_ms(), when);
    if (as_json)
        assay_buf_fmt(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",\"component\":\"boxkeeper\"", when,
                      level_names[level], event);
    else
        assay_buf_fmt(&b, "time=%s level=%s event=%s component=boxkeeper", when, level_names[level], event);
    for (size_t i = 0; i < n; i++) {
        char num[40];

        if (kv[i].type == 's') {
            struct assay_str s = kv[i].s;

            if (s.n > 1024)
                s.n = 1024;
            add_pair(&b, kv[i].key, s, false);
        } else if (kv[i].type == 'i') {
            snprintf(num, sizeof(num), "%lld", (long long)kv[i].i);
            add_pair(&b, kv[i].key, assay_str(num), true);
        } else {
            snprintf(num, sizeof(num), "%.6g", kv[i].r);
            add_pair(&b, kv[i].key, assay_str(num), true);
        }
    }
    assay_buf_puts(&b, as_json ? "}\n" : "\n");
    if (b.failed || b.p == NULL)
        return;
    do
        wrote = write(STDERR_FILENO, b.p, b.n);
    while (wrote < 0 && errno == EINTR);
}
