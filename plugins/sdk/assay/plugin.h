/*
 * The plugin ABI: what a plugin shows the host, and what the host lends a plugin.
 *
 * A plugin is a shared object with one exported data symbol, `assay_plugin`.  The host reads magic,
 * size and ABI version before it runs any code of the plugin; it validates the tables of all
 * plugins, then registers all of them, then calls init in the order of needs.  What a plugin offers
 * is tables, never register calls.  A row of a table may grow at its end in a later minor version:
 * rows are found by `stride`, and a reader looks at a member only if the stride covers it.
 *
 * Calls into a plugin: init, start, drain, fini on the host's main thread; route handlers on a
 * worker thread (or on an event loop for ASSAY_ROUTE_INLINE, which must not block); deliveries on
 * one worker thread at a time per subscription.  fini must accept whatever init left behind.
 *
 * A plugin links against the sdk library and nothing of the host, so a test runs one against a
 * struct assay_host of its own.
 */
#ifndef ASSAY_PLUGIN_H
#define ASSAY_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#include <assay/blob.h>
#include <assay/broker.h>
#include <assay/err.h>
#include <assay/http.h>
#include <assay/mail.h>
#include <assay/store.h>
#include <assay/str.h>
#include <assay/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_PLUGIN_MAGIC 0x41535359u /* "ASSY" */
#define ASSAY_ABI_MAJOR 1              /* a break */
#define ASSAY_ABI_MINOR 5              /* members appended */
#define ASSAY_PLUGIN_SYMBOL "assay_plugin"

enum assay_plugin_kind {
    ASSAY_PLUGIN_SERVICE = 1,
    ASSAY_PLUGIN_STORE,
    ASSAY_PLUGIN_BLOB,
    ASSAY_PLUGIN_BROKER,
    ASSAY_PLUGIN_SANDBOX, /* loaded by the boxkeeper; see sandbox.h */
    ASSAY_PLUGIN_SESSION,
    ASSAY_PLUGIN_MAIL, /* since ABI 1.4; see mail.h */
};

struct assay_table {
    const void *rows;
    uint32_t count;
    uint32_t stride;
};
#define ASSAY_TABLE(array) {(array), (uint32_t)(sizeof(array) / sizeof((array)[0])), (uint32_t)sizeof((array)[0])}
#define ASSAY_TABLE_NONE {0, 0, 0}

/* ---- options ------------------------------------------------------------------------------- */

enum assay_option_type {
    ASSAY_OPT_STRING,
    ASSAY_OPT_INT,
    ASSAY_OPT_BOOL,
    ASSAY_OPT_DURATION, /* milliseconds; "5s", "2m30s"; a bare number counts in bare_unit_ms */
    ASSAY_OPT_BYTES,    /* "256m" */
    ASSAY_OPT_CHOICE,   /* one of choices, "a|b|c" */
};
enum assay_option_flag { ASSAY_OPT_SECRET = 1 << 0 };

struct assay_option {
    const char *name;         /* "http_port": --http-port, ASSAY_HTTP_PORT, http_port= in the file */
    const char *env;          /* older names that are understood too, "HTTP_PORT,PORT", or NULL */
    enum assay_option_type type;
    const char *default_text; /* as one would type it */
    int64_t min, max;         /* for numbers; both 0: unbounded */
    const char *choices;
    const char *help;         /* one sentence */
    uint32_t flags;
    int64_t bare_unit_ms;     /* durations: 0 means 1000 */
};

/* ---- routes -------------------------------------------------------------------------------- */

enum assay_method { ASSAY_GET = 1, ASSAY_POST, ASSAY_PUT, ASSAY_PATCH, ASSAY_DELETE };

enum assay_role {
    ASSAY_ROLE_NONE = 0,
    ASSAY_ROLE_VIEWER = 1 << 0,
    ASSAY_ROLE_AGENT = 1 << 1,
    ASSAY_ROLE_USER = 1 << 2,
    ASSAY_ROLE_INSTRUCTOR = 1 << 3,
    ASSAY_ROLE_ADMIN = 1 << 4,
};
#define ASSAY_ROLES_ANY 0x1f   /* anyone signed in */
#define ASSAY_ROLES_STAFF (ASSAY_ROLE_INSTRUCTOR | ASSAY_ROLE_ADMIN)
#define ASSAY_ROLES_PUBLIC 0   /* no token asked for; a token that is sent is still checked */

enum assay_route_flag {
    ASSAY_ROUTE_INLINE = 1 << 0,     /* runs on the event loop: must not block */
    ASSAY_ROUTE_IDEMPOTENT = 1 << 1, /* takes Idempotency-Key (the host documents the header) */
    ASSAY_ROUTE_PAGED = 1 << 2,      /* takes limit and cursor */
    ASSAY_ROUTE_STREAM = 1 << 3,     /* answers with a stream of events */
    ASSAY_ROUTE_ALIAS = 1 << 4,      /* another name of the route before it */
    ASSAY_ROUTE_SPOOL = 1 << 5,      /* the body comes as a file, however short: see assay_request.body_fd */
    ASSAY_ROUTE_NO_QUERY = 1 << 6,   /* takes no query parameters: the host refuses any with 400, naming it */
};

struct assay_route {
    enum assay_method method;
    const char *path;         /* "/submissions/{id}"; "{id:uuid}" takes UUIDs only, else UUID or slug */
    uint32_t roles;           /* any of these; ASSAY_ROLES_PUBLIC for anyone */
    const char *scope;        /* what an agent token must carry: "submissions:write"; NULL: tokens refused */
    uint32_t flags;
    size_t body_max;          /* 0: takes no body */
    assay_handler handle;
    const char *operation_id; /* unique: "submissions_create" */
    const char *summary;      /* a line, for --dump-routes */
};

/* ---- events -------------------------------------------------------------------------------- */

enum assay_sub_kind {
    /* Each event once for the whole system: the ops that deliver adds to tx are committed together
     * with the group's cursor.  deliver must not read what an earlier event of the batch may have
     * written; guarded statements only. */
    ASSAY_SUB_DURABLE = 1,
    /* Each process sees every event from its start on; nothing is stored; tx is NULL. */
    ASSAY_SUB_LOCAL,
    /* Only a bell: deliver is called with ev == NULL after something happened, and once at start. */
    ASSAY_SUB_BELL,
};

struct assay_subscription {
    const char *group;         /* "scoring": unique per durable subscription */
    const char *const *topics; /* NULL-terminated; "submission.*" */
    enum assay_sub_kind kind;
    uint32_t batch;            /* most events in one transaction; 0: 64 */
    /* 0, or an error: the event is tried alone, then with growing delay; it is never skipped silently.
     * ASSAY_E_INVALID parks the event in the dead-letter table with its error and goes on. */
    int (*deliver)(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err);
    /* DURABLE, since 1.3, may be NULL: called once behind deliver of the n events of a batch (n >= 1), with the same tx.  What
     * is derived from what several events wrote is derived here, once.  When it does not fit into the transaction behind
     * that many events it is called again, with the first half of them; what it had added is gone then. */
    int (*settle)(void *self, const struct assay_event_row *ev, size_t n, struct assay_tx *tx, struct assay_err *err);
};

/* ---- interfaces between services ------------------------------------------------------------ */

struct assay_interface {
    const char *name; /* "assay.jobs" */
    uint32_t version; /* must be equal on both sides */
    const void *ops;  /* struct of functions that take the provider's self first */
};
struct assay_need {
    const char *name;
    uint32_t version;
    bool optional;
};

/* ---- metrics ------------------------------------------------------------------------------- */

enum assay_metric_type { ASSAY_METRIC_COUNTER = 1, ASSAY_METRIC_GAUGE, ASSAY_METRIC_HISTOGRAM };
struct assay_metric {
    const char *name;   /* Prometheus rules: "assay_runner_verdicts_total", base units */
    enum assay_metric_type type;
    const char *help;
    const char *labels; /* "language,verdict" or "" */
    const double *buckets; /* HISTOGRAM: rising upper bounds, ended by 0 */
};

/* ---- logging ------------------------------------------------------------------------------- */

enum assay_log_level { ASSAY_LOG_DEBUG = 0, ASSAY_LOG_INFO, ASSAY_LOG_WARN, ASSAY_LOG_ERROR };
struct assay_kv {
    const char *key;
    char type; /* 's' string, 'i' int64, 'r' double */
    struct assay_str s;
    int64_t i;
    double r;
};
#define ASSAY_KS(k, str) ((struct assay_kv){.key = (k), .type = 's', .s = (str)})
#define ASSAY_KZ(k, z) ((struct assay_kv){.key = (k), .type = 's', .s = assay_str(z)})
#define ASSAY_KI(k, v) ((struct assay_kv){.key = (k), .type = 'i', .i = (int64_t)(v)})
#define ASSAY_KR(k, v) ((struct assay_kv){.key = (k), .type = 'r', .r = (double)(v)})

/* ---- the host ------------------------------------------------------------------------------ */

struct assay_host {
    uint32_t size;
    uint16_t abi_major, abi_minor;
    void *ctx; /* first argument of every function below */

    /* any thread; never blocks; event is a word_like_this */
    void (*log)(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n);
    int64_t (*now_ms)(void *ctx);
    int64_t (*mono_ns)(void *ctx);

    /* options of the core and of any loaded plugin; the name must exist */
    const char *(*option_str)(void *ctx, const char *name); /* "" when unset */
    int64_t (*option_int)(void *ctx, const char *name);     /* INT, BYTES, DURATION (ms), BOOL (0/1) */

    /* metric: row of the plugin's own table; labels in the table's order, NULL without labels. Any thread. */
    void (*metric_add)(void *ctx, const struct assay_metric *m, const char *const *labels, double by);
    void (*metric_set)(void *ctx, const struct assay_metric *m, const char *const *labels, double to);
    void (*metric_observe)(void *ctx, const struct assay_metric *m, const char *const *labels, double v);

    const struct assay_store *store; /* NULL for drivers */
    const struct assay_blobs *blobs; /* NULL for drivers */

    /* Runs fn(arg) on a worker thread. ASSAY_E_BUSY when the pool's queue is full. Any thread. */
    int (*offload)(void *ctx, void (*fn)(void *arg), void *arg);
    /* Runs fn(arg) on a worker thread after delay_ms (>= 0), once. Any thread. */
    int (*after)(void *ctx, int64_t delay_ms, void (*fn)(void *arg), void *arg);

    /* Takes a request's ticket inside its handler, which then returns ASSAY_DEFERRED; the request and
     * its arena live until resume.  resume answers it, once, from any thread, and consumes *rs. */
    assay_ticket (*defer)(void *ctx, struct assay_request *rq);
    void (*resume)(void *ctx, assay_ticket t, int status, struct assay_response *rs, const struct assay_err *err);

    /* The interface that another plugin provides; NULL for an optional need that is absent.
     * Valid from init's end of the provider on, so in any call after init's needs are met. */
    const void *(*need)(void *ctx, const char *name, void **provider_self);

    /* Signs an access token for sub with role and epoch; ttl_s <= 3600. Any thread. */
    int (*sign_token)(void *ctx, struct assay_str sub, struct assay_str role, int64_t epoch, int64_t ttl_s,
                      struct assay_buf *out, struct assay_err *err);

    /* A warden's stream from the boxkeeper, for this process's runner; blocks up to timeout_ms; worker
     * threads only.  driver "" takes the configured one, image "" that driver's default.  *fd is the caller's to
     * close; the place where the warden stands (a JSON object, sandbox.h) is appended to place unless that is NULL. */
    int (*warden_open)(void *ctx, struct assay_str driver, struct assay_str image, int64_t timeout_ms, int *fd,
                       struct assay_buf *place, struct assay_err *err);
    /* Whether a warden died by something outside of it, and why in words; stream is the inode (fstat) of the stream's
     * end that warden_open gave.  ASSAY_E_NOT_FOUND when the driver cannot tell.  Blocks up to timeout_ms; worker threads only. */
    int (*warden_fate)(void *ctx, uint64_t stream, int64_t timeout_ms, bool *outside, struct assay_buf *why, struct assay_err *err);
    /* The driver that "" stands for and what it lacks, as a JSON object. */
    int (*sandbox_info)(void *ctx, struct assay_buf *out, struct assay_err *err);

    const char *version;     /* of the program */
    const char *instance_id; /* UUID of this process's life */

    /* ---- since ABI 1.1: answers in pieces --------------------------------------------------------------
     * A handler that has deferred may answer with a stream: stream_begin sends status and headers (and
     * rs->body as the first piece), stream_write adds, stream_end takes the place of resume and must come
     * once, also when the client has gone.  For one ticket one call at a time; any thread.
     *
     * What is written and not sent yet is bounded.  stream_write takes all n bytes (1 to
     * ASSAY_STREAM_WRITE_MAX) or none: ASSAY_E_BUSY when there was no room within wait_ms (0 never blocks;
     * more only on a worker thread), ASSAY_E_GONE when nobody reads any more: the client has left, asked with
     * HEAD, or the server is stopping and the route is an ASSAY_ROUTE_STREAM.  writable (or NULL) is called after
     * ASSAY_E_BUSY once there is room, and when the stream is gone, on an event loop: it must not block nor call
     * any of these functions, and it is never called after stream_end has been. */
    int (*stream_begin)(void *ctx, assay_ticket t, struct assay_response *rs, void (*writable)(void *arg), void *arg,
                        struct assay_err *err);
    int (*stream_write)(void *ctx, assay_ticket t, const void *p, size_t n, int64_t wait_ms);
    /* status ASSAY_OK: the answer is whole; negative: it is cut off, so that the client cannot take it for whole. */
    void (*stream_end)(void *ctx, assay_ticket t, int status);

    /* ---- since ABI 1.2: brokers, and an end of one's own --------------------------------------------------
     * The driver broker_<name>, for services only; it is there from before their init until after their fini, and is
     * started before them.  ASSAY_E_NOT_FOUND when none of the options intake, dispatch and dispatch_tasks names it. */
    int (*broker)(void *ctx, struct assay_str name, struct assay_broker *out, struct assay_err *err);
    /* Stops the whole program as SIGTERM would, with exit status 0: it has done all that it was to do.  Returns at once;
     * why is a line for the log.  Any thread; the first call counts. */
    void (*quit)(void *ctx, const char *why);

    /* ---- since ABI 1.3: traces ---------------------------------------------------------------------------
     * The context of work that is begun below parent ("" for none): what the span of it will have, and what is given on to
     * whom it asks.  False where the host keeps no traces: then parent is what is given on.  Any thread; never blocks. */
    bool (*trace_child)(void *ctx, struct assay_str parent, char out[ASSAY_TRACEPARENT]);
    /* A span that is over; it is copied.  Any thread; never blocks. */
    void (*span)(void *ctx, const struct assay_span *span);

    /* ---- since ABI 1.3: sessions --------------------------------------------------------------------------
     * As sign_token, for a session (an id) that may end before the others of its account do. */
    int (*sign_session)(void *ctx, struct assay_str sub, struct assay_str role, int64_t epoch, struct assay_str session, int64_t ttl_s,
                        struct assay_buf *out, struct assay_err *err);

    /* ---- since ABI 1.4: mail ------------------------------------------------------------------------------
     * Hands a text to a person; blocks, bounded: worker threads only. ASSAY_E_NOT_FOUND when no driver is configured. */
    int (*mail)(void *ctx, const struct assay_letter *mail, struct assay_err *err);
};
#define ASSAY_HOST_TRACES(host) ((host)->size >= offsetof(struct assay_host, span) + sizeof (host)->span && (host)->span != NULL)
#define ASSAY_STREAM_WRITE_MAX ((size_t)64 << 10)

/* ---- the plugin ---------------------------------------------------------------------------- */

struct assay_plugin {
    uint32_t magic;
    uint32_t size; /* sizeof(struct assay_plugin) as the plugin was built */
    uint16_t abi_major, abi_minor;
    uint32_t kind;
    const char *name;    /* "submissions", "store_sqlite" */
    const char *version;
    const char *summary;

    struct assay_table options;       /* struct assay_option */
    struct assay_table routes;        /* struct assay_route */
    struct assay_table subscriptions; /* struct assay_subscription */
    struct assay_table migrations;    /* struct assay_migration */
    struct assay_table statements;    /* const struct assay_stmt * (pointers) */
    struct assay_table provides;      /* struct assay_interface */
    struct assay_table needs;         /* struct assay_need */
    struct assay_table metrics;       /* struct assay_metric */
    const void *driver;               /* struct assay_*_ops of the kind; its first member is its size */

    int (*init)(const struct assay_host *host, void **self, struct assay_err *err);
    int (*start)(void *self, struct assay_err *err); /* after every init; may start threads; NULL: nothing */
    void (*drain)(void *self);                       /* take no new work; finish or hand back; blocks, bounded; NULL */
    void (*fini)(void *self);

    /* since ABI 1.1; or NULL. Whether the service can do its work now: ASSAY_OK, or a negative status with the reason,
     * which /readyz shows to anyone. With ASSAY_OK, why->msg may be a note on what works less well, shown too.
     * Between start and drain, on worker threads; must not block for long. */
    int (*ready)(void *self, struct assay_err *why);
};

#define ASSAY_PLUGIN_HEAD(kind_)                                                                                       \
    .magic = ASSAY_PLUGIN_MAGIC, .size = sizeof(struct assay_plugin), .abi_major = ASSAY_ABI_MAJOR,                    \
    .abi_minor = ASSAY_ABI_MINOR, .kind = (kind_)
#define ASSAY_PLUGIN_EXPORT __attribute__((visibility("default")))

/* Short forms for a plugin's own use. */
#define assay_log(host, level, event, ...)                                                                             \
    (host)->log((host)->ctx, (level), (event), (const struct assay_kv[]){__VA_ARGS__},                                 \
                sizeof((const struct assay_kv[]){__VA_ARGS__}) / sizeof(struct assay_kv))

#ifdef __cplusplus
}
#endif
#endif
