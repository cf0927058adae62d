/*
 * The log: one sink thread writes, nobody waits.
 *
 * A caller formats its line into a slot of a bounded ring and goes on.  When no slot is free the
 * line is dropped and counted; the sink reports the count in a line of its own (log_dropped) as soon
 * as it can write again.  On a terminal lines are logfmt, otherwise JSON, one object a line.
 * A line that would exceed ASSAY_LOG_LINE bytes has its long values cut or loses its last pairs and
 * says so (truncated=true); it stays well-formed.  Control characters are escaped, bytes that are
 * not UTF-8 become U+FFFD, so nobody writes to an operator's terminal through a log.
 *
 * What a thread is busy with (request, submission, component) is set once by whoever runs the
 * handler, in a thread-local context, and is on each line that is written below it.
 *
 * Threads: write, level and dropped from any thread, flush from any but the sink; new and free on
 * the main thread.
 */
#ifndef ASSAY_GATEWAY_LOG_H
#define ASSAY_GATEWAY_LOG_H

#include <assay/plugin.h>

#define ASSAY_LOG_LINE 4096 /* longest line, with its newline */

struct assay_logger;

enum assay_log_format { ASSAY_LOG_AUTO, ASSAY_LOG_LOGFMT, ASSAY_LOG_JSON };

struct assay_log_options {
    int fd; /* borrowed; usually 2 */
    enum assay_log_format format;
    enum assay_log_level level; /* less important lines are not formatted at all */
    size_t lines;               /* slots of the ring; 0: 512; rounded up to a power of two */
};

struct assay_logger *assay_log_new(const struct assay_log_options *o, struct assay_err *err) ASSAY_MUST_CHECK;
/* Writes what is left, reports drops, ends the sink. NULL is fine. */
void assay_log_free(struct assay_logger *log);

/* event is a word_like_this; component ("http", "runner", ...) may be NULL when a context has it.
 * A pair whose key is request_id, submission_id or component stands for the context's own. */
void assay_log_write(struct assay_logger *log, enum assay_log_level level, const char *component, const char *event,
                     const struct assay_kv *kv, size_t n);
#define ASSAY_LOG(log, level, component, event, ...)                                                                   \
    assay_log_write((log), (level), (component), (event), (const struct assay_kv[]){__VA_ARGS__},                      \
                    sizeof((const struct assay_kv[]){__VA_ARGS__}) / sizeof(struct assay_kv))

/* The context of the calling thread; all members may be empty.  Borrowed: it must outlive its stay. */
struct assay_log_context {
    const char *component;
    struct assay_str request_id;
    struct assay_str submission_id;
};
/* Makes ctx (NULL: none) the thread's context and returns the one before, to be put back. */
const struct assay_log_context *assay_log_enter(const struct assay_log_context *ctx);

bool assay_log_wants(const struct assay_logger *log, enum assay_log_level level);
void assay_log_set_level(struct assay_logger *log, enum assay_log_level level);
/* "debug" "info" "warn" "error" NULL, by enum assay_log_level */
extern const char *const assay_log_level_names[];

/* Waits until every line written before the call has left, at most timeout_ms. ASSAY_E_TIMEOUT. */
int assay_log_flush(struct assay_logger *log, int64_t timeout_ms) ASSAY_MUST_CHECK;

uint64_t assay_log_dropped(const struct assay_logger *log); /* since the start: no slot, or a failed write */
uint64_t assay_log_lines(const struct assay_logger *log);   /* written since the start */

#endif
