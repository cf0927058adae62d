/*
 * The log.  Theory of operation.
 *
 * Lines live in slots of a fixed array.  Two rings carry slot numbers: `unused` to the writers and
 * `ready` to the sink.  A writer takes an unused slot, formats into it and puts it on the ready ring
 * (which has a place for every slot, so that never fails); the sink writes it out and gives the slot
 * back.  No unused slot: the line is dropped and counted.  So a writer never waits, neither for a
 * lock nor for a slow terminal.  The memory of a slot is touched only when lines pile up, since
 * most processes log little: the unused ring starts in order, and the idle cost is its turn-over.
 *
 * The sink gathers lines up to PIPE_BUF bytes and waits for POLLOUT before it writes: then a write
 * to a pipe neither blocks half-way nor mixes with the lines of the other processes that share it
 * (POSIX: writes of at most PIPE_BUF bytes are atomic).  When it is told to end while the reader of
 * the log is stuck, it gives up after a second instead of holding up the shutdown.
 */
#include "gateway/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include <assay/value.h>

#include "gateway/text.h"
#include "queue/bell.h"
#include "queue/ring.h"

#define MAGIC 0x6c6f6773u /* "logs" */
#define TAIL 32           /* room kept for the end of a line: truncated=true and the closing bracket */
#define VALUE_MAX 2000    /* longer values are cut */
#define NAME_MAX_BYTES 128 /* of event, component, request and submission id */
#define GIVE_UP_NS 1000000000

_Static_assert(ASSAY_LOG_LINE <= PIPE_BUF, "a line must be one atomic write");

const char *const assay_log_level_names[] = {"debug", "info", "warn", "error", NULL};

struct slot {
    size_t n;
    char p[ASSAY_LOG_LINE];
};

struct assay_logger {
    unsigned magic;
    int fd;
    bool json;
    atomic_int level;
    struct slot *slot;
    struct assay_ring *unused, *ready;
    struct assay_bell bell;
    pthread_t sink;
    bool sink_runs;
    atomic_bool stop;
    _Atomic uint64_t dropped, lines;
    pthread_mutex_t lock; /* guards left, for flush */
    pthread_cond_t moved;
    uint64_t left; /* places of the ready ring that have been written or given up */
};

static _Thread_local const struct assay_log_context *context;

const struct assay_log_context *assay_log_enter(const struct assay_log_context *ctx)
{
    const struct assay_log_context *old = context;
    context = ctx;
    return old;
}

/* ---- formatting ---- */

struct out {
    char *p;
    size_t n, cap;
    bool over; /* sticky until n is put back */
};

static void put(struct out *o, const char *p, size_t n)
{
    if (o->over || o->cap - o->n < n) {
        o->over = true;
        return;
    }
    memcpy(o->p + o->n, p, n);
    o->n += n;
}

static void put_z(struct out *o, const char *z)
{
    put(o, z, strlen(z));
}

/* The inside of a quoted string, escaped as in JSON, which logfmt readers take too. */
static void put_escaped(struct out *o, struct assay_str s)
{
    struct assay_str cut = assay_text_cut(s, VALUE_MAX);
    for (size_t i = 0; i < cut.n;) {
        unsigned char c = (unsigned char)cut.p[i];
        size_t n = assay_text_utf8((struct assay_str){cut.p + i, cut.n - i});
        if (n == 0) {
            put_z(o, "\xef\xbf\xbd");
            i++;
            continue;
        }
        char esc[8];
        if (c == '"' || c == '\\') {
            esc[0] = '\\';
            esc[1] = (char)c;
            put(o, esc, 2);
        } else if (c == '\n') {
            put_z(o, "\\n");
        } else if (c == '\t') {
            put_z(o, "\\t");
        } else if (c == '\r') {
            put_z(o, "\\r");
        } else if (c < 0x20 || c == 0x7f) {
            (void)snprintf(esc, sizeof esc, "\\u%04x", c);
            put_z(o, esc);
        } else if (c == 0xc2 && (unsigned char)cut.p[i + 1] < 0xa0) { /* C1 controls: terminals obey them */
            (void)snprintf(esc, sizeof esc, "\\u%04x", (unsigned char)cut.p[i + 1]);
            put_z(o, esc);
        } else {
            put(o, cut.p + i, n);
        }
        i += n;
    }
    if (cut.n < s.n)
        put_z(o, "\xe2\x80\xa6"); /* an ellipsis */
}

static bool bare(struct assay_str s)
{
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return true;
}

static void put_key(struct out *o, bool json, const char *key)
{
    if (o->n > (json ? 1u : 0u)) /* behind the opening bracket or at the start: no separator */
        put_z(o, json ? "," : " ");
    if (json)
        put_z(o, "\"");
    put_escaped(o, assay_str(key));
    put_z(o, json ? "\":" : "=");
}

static void put_str(struct out *o, bool json, const char *key, struct assay_str s)
{
    put_key(o, json, key);
    if (!json && s.n <= VALUE_MAX && bare(s)) {
        put(o, s.p, s.n);
        return;
    }
    put_z(o, "\"");
    put_escaped(o, s);
    put_z(o, "\"");
}

static void put_kv(struct out *o, bool json, const struct assay_kv *kv)
{
    char num[ASSAY_TEXT_REAL];
    switch (kv->type) {
    case 'i':
        put_key(o, json, kv->key);
        (void)snprintf(num, sizeof num, "%lld", (long long)kv->i);
        put_z(o, num);
        break;
    case 'r':
        put_key(o, json, kv->key);
        if (isfinite(kv->r))
            put(o, num, assay_text_real(num, kv->r));
        else
            put_z(o, json ? "null" : isnan(kv->r) ? "NaN" : kv->r > 0 ? "+Inf" : "-Inf");
        break;
    default:
        put_str(o, json, kv->key, kv->s);
        break;
    }
}

static bool has_key(const struct assay_kv *kv, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(kv[i].key, key) == 0)
            return true;
    return false;
}

static size_t format(char *p, bool json, enum assay_log_level level, const char *component, const char *event,
                     const struct assay_kv *kv, size_t n)
{
    struct out o = {.p = p, .cap = ASSAY_LOG_LINE - TAIL};
    const struct assay_log_context *c = context;
    char now[ASSAY_TIME_SIZE];
    assay_time_format(assay_now_ms(), now);
    if (component == NULL && c != NULL)
        component = c->component;

    if (json)
        put_z(&o, "{");
    put_str(&o, json, "time", assay_str(now));
    put_str(&o, json, "level", assay_str(assay_log_level_names[level]));
    put_str(&o, json, "event", assay_text_cut(assay_str(event), NAME_MAX_BYTES));
    if (component != NULL && !has_key(kv, n, "component"))
        put_str(&o, json, "component", assay_text_cut(assay_str(component), NAME_MAX_BYTES));
    if (c != NULL && c->request_id.n > 0 && !has_key(kv, n, "request_id"))
        put_str(&o, json, "request_id", assay_text_cut(c->request_id, NAME_MAX_BYTES));
    if (c != NULL && c->submission_id.n > 0 && !has_key(kv, n, "submission_id"))
        put_str(&o, json, "submission_id", assay_text_cut(c->submission_id, NAME_MAX_BYTES));

    bool truncated = false;
    for (size_t i = 0; i < n; i++) {
        size_t before = o.n;
        put_kv(&o, json, &kv[i]);
        if (o.over) { /* a shorter pair behind it may still fit */
            o.n = before;
            o.over = false;
            truncated = true;
        }
    }
    o.cap = ASSAY_LOG_LINE;
    if (truncated) {
        put_key(&o, json, "truncated");
        put_z(&o, "true");
    }
    put_z(&o, json ? "}\n" : "\n");
    assert(!o.over);
    return o.n;
}

/* ---- writers ---- */

bool assay_log_wants(const struct assay_logger *log, enum assay_log_level level)
{
    return (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

void assay_log_set_level(struct assay_logger *log, enum assay_log_level level)
{
    atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

void assay_log_write(struct assay_logger *log, enum assay_log_level level, const char *component, const char *event,
                     const struct assay_kv *kv, size_t n)
{
    assert(log != NULL && log->magic == MAGIC);
    if (level < ASSAY_LOG_DEBUG || level > ASSAY_LOG_ERROR) /* a plugin's slip must not index out of bounds */
        level = ASSAY_LOG_ERROR;
    if (!assay_log_wants(log, level))
        return;
    uint64_t i;
    if (!assay_ring_pop(log->unused, &i)) {
        (void)atomic_fetch_add_explicit(&log->dropped, 1, memory_order_relaxed);
        /* The sink may be between "no slot is used" and its sleep only if all lines were written, and
         * then the next line reports the drop: nothing to ring for. */
        return;
    }
    struct slot *s = &log->slot[i];
    s->n = format(s->p, log->json, level, component, event, kv, n);
    bool ok = assay_ring_push(log->ready, i);
    assert(ok); /* it has a place for every slot */
    assay_bell_ring(&log->bell);
}

uint64_t assay_log_dropped(const struct assay_logger *log)
{
    return atomic_load_explicit(&log->dropped, memory_order_relaxed);
}

uint64_t assay_log_lines(const struct assay_logger *log)
{
    return atomic_load_explicit(&log->lines, memory_order_relaxed);
}

/* ---- the sink ---- */

/* Writes all of it, or gives up: a dead descriptor, or told to stop and no room for a second. */
static bool write_out(struct assay_logger *log, const char *p, size_t n)
{
    int64_t stuck_since = 0;
    while (n > 0) {
        struct pollfd pfd = {.fd = log->fd, .events = POLLOUT};
        int ready = poll(&pfd, 1, 100);
        if (ready < 0 && errno != EINTR)
            return false;
        if (ready <= 0) {
            int64_t now = assay_mono_ns();
            if (!atomic_load_explicit(&log->stop, memory_order_relaxed))
                stuck_since = 0;
            else if (stuck_since == 0)
                stuck_since = now;
            else if (now - stuck_since > GIVE_UP_NS)
                return false;
            continue;
        }
        ssize_t k = write(log->fd, p, n);
        if (k < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            return false;
        }
        p += k;
        n -= (size_t)k;
        stuck_since = 0;
    }
    return true;
}

static void write_lines(struct assay_logger *log, const uint64_t *slots, size_t n)
{
    char batch[PIPE_BUF];
    size_t used = 0, in_batch = 0;
    for (size_t i = 0; i <= n; i++) {
        struct slot *s = i < n ? &log->slot[slots[i]] : NULL;
        if (used > 0 && (s == NULL || used + s->n > sizeof batch)) {
            bool ok = write_out(log, batch, used);
            (void)atomic_fetch_add_explicit(ok ? &log->lines : &log->dropped, in_batch, memory_order_relaxed);
            used = in_batch = 0;
        }
        if (s != NULL) {
            memcpy(batch + used, s->p, s->n);
            used += s->n;
            in_batch++;
        }
    }
}

static void report_drops(struct assay_logger *log, uint64_t *reported)
{
    uint64_t dropped = assay_log_dropped(log);
    if (dropped == *reported)
        return;
    char line[ASSAY_LOG_LINE];
    const struct assay_kv kv = ASSAY_KI("count", dropped - *reported);
    size_t n = format(line, log->json, ASSAY_LOG_WARN, "log", "log_dropped", &kv, 1);
    if (write_out(log, line, n)) {
        *reported = dropped;
        (void)atomic_fetch_add_explicit(&log->lines, 1, memory_order_relaxed);
    }
}

static void *sink(void *arg)
{
    struct assay_logger *log = arg;
    uint64_t slots[32], reported = 0;
    for (;;) {
        bool last = atomic_load_explicit(&log->stop, memory_order_acquire); /* read before the look */
        size_t n = assay_ring_pop_n(log->ready, slots, 32, NULL);
        if (n == 0) {
            report_drops(log, &reported);
            if (last)
                return NULL;
            assay_bell_silence(&log->bell);
            assay_bell_arm(&log->bell);
            n = assay_ring_pop_n(log->ready, slots, 32, NULL);
            if (n == 0) {
                if (!atomic_load_explicit(&log->stop, memory_order_acquire))
                    (void)assay_bell_sleep(&log->bell, -1);
                continue;
            }
        }
        write_lines(log, slots, n);
        size_t back = 0;
        while (back < n) {
            size_t k = assay_ring_push_n(log->unused, slots + back, n - back, NULL);
            if (k == 0) /* a writer was interrupted while it took the slot of a lap ago */
                (void)sched_yield();
            back += k;
        }
        int r = pthread_mutex_lock(&log->lock);
        assert(r == 0);
        log->left += n;
        (void)pthread_cond_broadcast(&log->moved);
        r = pthread_mutex_unlock(&log->lock);
        assert(r == 0);
    }
}

int assay_log_flush(struct assay_logger *log, int64_t timeout_ms)
{
    uint64_t target = assay_ring_pushed(log->ready);
    int64_t end = assay_mono_ns() + timeout_ms * 1000000;
    struct timespec ts = {.tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000)};
    int r = pthread_mutex_lock(&log->lock);
    assert(r == 0);
    int timed_out = 0;
    while (timed_out == 0 && log->left < target)
        timed_out = pthread_cond_timedwait(&log->moved, &log->lock, &ts);
    bool done = log->left >= target;
    r = pthread_mutex_unlock(&log->lock);
    assert(r == 0);
    return done ? 0 : ASSAY_E_TIMEOUT;
}

/* ---- life ---- */

struct assay_logger *assay_log_new(const struct assay_log_options *o, struct assay_err *err)
{
    struct assay_logger *log = aligned_alloc(_Alignof(struct assay_logger), sizeof *log);
    if (log == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for the log");
        return NULL;
    }
    memset(log, 0, sizeof *log);
    log->magic = MAGIC;
    log->fd = o->fd;
    log->json = o->format == ASSAY_LOG_JSON || (o->format == ASSAY_LOG_AUTO && isatty(o->fd) == 0);
    log->bell.fd = -1;
    atomic_init(&log->level, (int)o->level);
    int r = pthread_mutex_init(&log->lock, NULL);
    assert(r == 0);
    pthread_condattr_t attr;
    r = pthread_condattr_init(&attr);
    assert(r == 0);
    r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    assert(r == 0);
    r = pthread_cond_init(&log->moved, &attr);
    assert(r == 0);
    (void)pthread_condattr_destroy(&attr);

    log->unused = assay_ring_new(o->lines > 0 ? o->lines : 512, err);
    if (log->unused != NULL)
        log->ready = assay_ring_new(assay_ring_size(log->unused), err);
    if (log->ready == NULL || assay_bell_init(&log->bell, err) != 0) {
        assay_log_free(log);
        return NULL;
    }
    size_t n = assay_ring_size(log->unused);
    log->slot = calloc(n, sizeof *log->slot);
    if (log->slot == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for %zu log lines", n);
        assay_log_free(log);
        return NULL;
    }
    for (uint64_t i = 0; i < n; i++) {
        bool ok = assay_ring_push(log->unused, i);
        assert(ok);
    }
    sigset_t all, old; /* SIGPIPE too: a closed pipe is then EPIPE, whatever the program does about signals */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&log->sink, NULL, sink, log);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0) {
        (void)assay_err_errno(err, ASSAY_E_BUSY, r, "starting the log's thread");
        assay_log_free(log);
        return NULL;
    }
    log->sink_runs = true;
    (void)pthread_setname_np(log->sink, "assay-log");
    return log;
}

void assay_log_free(struct assay_logger *log)
{
    if (log == NULL)
        return;
    assert(log->magic == MAGIC);
    if (log->sink_runs) {
        atomic_store_explicit(&log->stop, true, memory_order_release);
        assay_bell_force(&log->bell);
        int r = pthread_join(log->sink, NULL);
        assert(r == 0);
    }
    assay_bell_fini(&log->bell);
    assay_ring_free(log->ready);
    assay_ring_free(log->unused);
    (void)pthread_cond_destroy(&log->moved);
    (void)pthread_mutex_destroy(&log->lock);
    free(log->slot);
    log->magic = 0;
    free(log);
}
