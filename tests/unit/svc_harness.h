/*
 * Runs service plugins against a host that is a struct literal, over the real SQLite store driver.
 *
 * For unit tests of services: requests go straight to the handlers by method and path, with the
 * roles and scopes of the route table checked; blobs live in memory; events are delivered when the
 * test says so (svc_pump), by the rules of plugin.h.  There is no parser, no gate and no network.
 *
 *     struct svc *h = svc_new();
 *     svc_option(h, "admin_password", "secret-secret");
 *     svc_plugin(h, "auth");
 *     svc_start(h);
 *     struct svc_reply r = svc_call(h, SVC_ADMIN, "POST", "/agents", "{\"name\":\"a\"}");
 *     assert_int_equal(r.status, 201);
 *     ... svc_str(&r, "/id") ...
 *     svc_free(h);
 *
 * Any fault of the harness or of a plugin's start ends the test program with a message.  Plugins are
 * taken from the build tree: the working directory, or ASSAY_BUILD_DIR.  svc_call may be called from
 * several threads at a time, the rest from one.
 */
#ifndef SVC_HARNESS_H
#define SVC_HARNESS_H

#include <assay/plugin.h>

struct svc;

extern const struct assay_principal svc_admin, svc_instructor, svc_user, svc_user2, svc_viewer;
#define SVC_ANYONE NULL
#define SVC_ADMIN (&svc_admin)           /* user id 00000000-0000-7000-8000-00000000000a */
#define SVC_INSTRUCTOR (&svc_instructor) /* ...0b */
#define SVC_USER (&svc_user)             /* ...01 */
#define SVC_USER2 (&svc_user2)           /* ...02 */
#define SVC_VIEWER (&svc_viewer)         /* ...03 */

struct svc_reply {
    int status;
    int rc;                  /* what the handler gave: 0 or a negative status */
    struct assay_str body;   /* of a failure: {"status","detail","errors":[{"pointer","detail"}]} */
    const char *location;    /* headers; NULL without */
    const char *retry_after;
    const char *replayed;    /* Idempotency-Replayed */
    void *json;              /* parsed body, for the functions below */
};

struct svc *svc_new(void);
void svc_option(struct svc *h, const char *name, const char *value);
void svc_plugin(struct svc *h, const char *service); /* in the order of needs */
void svc_provide(struct svc *h, const char *interface, const void *ops, void *self);
/* Before svc_start: what host->broker lends under that name. The caller's; it outlives restarts. */
struct fake_broker;
void svc_broker(struct svc *h, const char *name, struct fake_broker *b);
void svc_start(struct svc *h);
void svc_free(struct svc *h); /* drains, stops, removes the data directory; replies die with it */
/* Stops everything and starts it again on the same data. */
struct svc *svc_restart(struct svc *h);

struct svc_reply svc_call(struct svc *h, const struct assay_principal *who, const char *method, const char *target,
                          const char *body);
/* With an Idempotency-Key and the peer's address; NULL for none. */
struct svc_reply svc_call_as(struct svc *h, const struct assay_principal *who, const char *method, const char *target,
                             const char *body, const char *idempotency_key, const char *remote);

/* Members by JSON pointer; svc_str gives NULL and svc_int -1 when there is none of that type. */
const char *svc_str(const struct svc_reply *r, const char *pointer);
int64_t svc_int(const struct svc_reply *r, const char *pointer);
double svc_real(const struct svc_reply *r, const char *pointer);
int svc_len(const struct svc_reply *r, const char *pointer);  /* of an array or object; -1 */
int svc_bool(const struct svc_reply *r, const char *pointer); /* -1 when it is no boolean */
bool svc_has(const struct svc_reply *r, const char *pointer);
/* True when errors[] of a problem names the pointer. */
bool svc_faulted(const struct svc_reply *r, const char *pointer);

/* Delivers all events to all subscriptions, until nothing is left. */
void svc_pump(struct svc *h);
/* Appends an event as another service would have. */
void svc_publish(struct svc *h, const char *topic, const char *subject, const char *owner, const char *payload);
/* The n-th last event (0: the last) of a topic, or NULL; lives until svc_free. */
const struct assay_event_row *svc_event(struct svc *h, const char *topic, size_t n);
size_t svc_count_events(struct svc *h, const char *topic);

void *svc_self(struct svc *h, const char *service);
const void *svc_interface(struct svc *h, const char *name, void **self);
const struct assay_host *svc_host(struct svc *h);
const struct assay_store *svc_store(struct svc *h);
const struct assay_blobs *svc_blobs(struct svc *h);
struct assay_arena *svc_arena(struct svc *h);
/* Everything that has been logged, as lines "level event key=value ..." */
const char *svc_log_text(struct svc *h);
/* True when the bytes stand in any file of the data directory (database, journal). */
bool svc_on_disk(struct svc *h, const char *text);
/* What the service says about its readiness: a status, and the reason or a note in err. */
int svc_ready(struct svc *h, const char *service, struct assay_err *err);
/* What a service gave as its reason to host->quit, or NULL. */
const char *svc_quit(struct svc *h);
/* The sum that a counter or gauge stands at, over all labels; -1 when it was never touched. */
double svc_metric(struct svc *h, const char *name);
/* Moves the host's clocks (now_ms and mono_ns) forward. */
void svc_advance_ms(struct svc *h, int64_t ms);

#endif
