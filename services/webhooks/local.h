/*
 * webhooks: what happens is told to addresses that people gave.
 *
 * Theory of operation.  The durable group "webhooks" turns each event into a row for each hook that wants it and whose owner may see
 * it, in the transaction that moves the group's cursor: so nothing is told of that did not happen and nothing is forgotten, whatever dies
 * when.  One thread (send.c) takes rows whose time has come, marks them as tried before it sends (so that a process that dies
 * in between tries again later, and two processes do not send the same one at once), and writes down what came of it.  A receiver may
 * see an event twice and knows it by its id.
 *
 * A hook belongs to an account and sees with its eyes: staff and a benchmark's owner all of it, others what became of what they sent, as
 * far as the feedback policy lets them; changes of the board of a public benchmark anyone.  A changed role, a disabled and an erased
 * account are heard of as events.
 *
 * Requests run on worker threads; what they share with the sender is the store.
 */
#ifndef WEBHOOKS_LOCAL_H
#define WEBHOOKS_LOCAL_H

#include <stdatomic.h>
#include <stdint.h>

#include <assay/events.h>
#include <assay/idempotency.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define WH_GROUP "webhooks"
#define WH_URL_MAX 2048
#define WH_BODY_MAX ((size_t)16 << 10) /* of a request */
#define WH_SECRET_PREFIX "whsec_"

/* ---- domain.c: the rules; no I/O ----------------------------------------------------------------- */

extern const char *const wh_events[]; /* what a hook may ask for; NULL-terminated */
/* " submission.done board.updated ": how a hook's events are kept. p == NULL on no memory. */
struct assay_str wh_events_text(struct assay_arena *arena, const struct assay_strs *events);
/* The hook's name for a topic, or NULL when no hook is told of it. */
const char *wh_type_of(struct assay_str topic);

/* Addresses that may be called beside public ones: networks such as 10.0.0.0/8, separated by commas. */
#define WH_NETWORKS_MAX 64
struct wh_networks {
    struct {
        unsigned char base[16]; /* IPv4 as ::ffff:a.b.c.d */
        unsigned bits;
    } net[WH_NETWORKS_MAX];
    size_t n;
};
int wh_networks_parse(const char *list, struct wh_networks *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* address: 16 bytes, IPv4 mapped. */
bool wh_address_allowed(const struct wh_networks *allow, const unsigned char address[16]);
/* Text to 16 bytes; false when it is no IP address. */
bool wh_address_parse(const char *text, unsigned char out[16]);

/* How long after try number n (1 for the first) the next one is: base, then four times as long each time, at most max. */
int64_t wh_pause_ms(int64_t n, int64_t base_ms, int64_t max_ms);
/* "v1," and base64 of the HMAC-SHA256 of "id.seconds.body" under the bytes behind whsec_, as Standard Webhooks 1.0 has it. */
int wh_sign(struct assay_str secret, const char *id, int64_t seconds, struct assay_str body, struct assay_buf *out, struct assay_err *err)
    ASSAY_MUST_CHECK;
int wh_secret_make(struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- codec.c ------------------------------------------------------------------------------------ */

struct wh_hook {
    struct assay_str id, owner_id, url, secret, benchmark_id, submission_id, events, reason;
    bool active, staff;
    int64_t version, created_ms, updated_ms;
};
struct wh_create_in {
    struct assay_str url, benchmark_id, submission_id;
    struct assay_strs events;
    bool active, has_url, has_events, has_active, has_benchmark, has_submission;
};
struct wh_replay_in {
    struct assay_str event_id;
    int64_t since_ms;
    bool has_event, has_since;
};
struct wh_delivery {
    struct assay_str hook_id, event_id, type, body, error;
    int64_t seq, state, attempts, next_ms, status, created_ms, updated_ms;
};
enum wh_state { WH_WAITING, WH_DELIVERED, WH_FAILED };
extern const char *const wh_state_names[]; /* "waiting" "delivered" "failed" NULL */

extern const struct assay_json_field wh_create_fields[], wh_patch_fields[], wh_replay_fields[];
void wh_check(const struct wh_create_in *in, bool create, struct assay_json_faults *f, struct assay_arena *arena);
void wh_write_hook(struct assay_jw *w, const struct wh_hook *h, bool secret);
void wh_write_delivery(struct assay_jw *w, const struct wh_delivery *d);
/* What is sent for an event; whole: with verdict and score. */
int wh_body(const struct assay_event_row *ev, const char *type, const struct assay_ev_done *done, bool whole, struct assay_arena *arena,
            struct assay_str *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- repo.c: SQL ---------------------------------------------------------------------------------- */

#define WH_STMTS(X)                                                                                                    \
    X(insert) X(get) X(list) X(update) X(remove) X(remove_deliveries) X(fan) X(live_put) X(live_drop) X(live_get)      \
    X(benchmark_put) X(benchmark_get) X(role) X(silence) X(erase_deliveries) X(erase) X(deliveries) X(due_hooks) X(due) X(claim)  \
    X(settle) X(gone) X(replay_one) X(replay_since) X(purge) X(purge_hooks)
#define X(name) extern const struct assay_stmt wh_q_##name;
WH_STMTS(X)
#undef X
ASSAY_IDEM_DECLARE(wh_idem);
extern const struct assay_migration wh_migrations[1];

void wh_read_hook(const struct assay_val *c, struct wh_hook *h);
int wh_get(const struct assay_store *st, struct assay_str id, struct assay_arena *a, struct wh_hook *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- send.c ------------------------------------------------------------------------------------------ */

struct wh_sender;
int wh_sender_new(const struct assay_host *host, struct wh_sender **out, struct assay_err *err) ASSAY_MUST_CHECK;
int wh_sender_start(struct wh_sender *s, struct assay_err *err) ASSAY_MUST_CHECK;
void wh_sender_nudge(struct wh_sender *s); /* there may be something to send; any thread */
void wh_sender_stop(struct wh_sender *s);  /* what is on its way is cut off, and tried again by whoever comes next */
void wh_sender_free(struct wh_sender *s);
/* NULL when the text is an address that hooks may have, else what is wrong with it. *no_memory: neither is to be believed. */
const char *wh_url_fault(const struct wh_sender *s, const char *url, bool *no_memory);

/* ---- http.c, plugin.c ----------------------------------------------------------------------------------- */

struct webhooks {
    const struct assay_host *host;
    struct wh_sender *sender;
    int64_t max_per_user;
};
#define WH_HANDLERS(X) X(create) X(list) X(get) X(update) X(remove) X(deliveries) X(replay)
#define X(name) int wh_do_##name(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err);
WH_HANDLERS(X)
#undef X
enum { WH_METRIC_DELIVERIES, WH_METRIC_SECONDS, WH_METRICS };
extern const struct assay_metric wh_metrics[WH_METRICS];
extern const char *const wh_topics[];

#endif
