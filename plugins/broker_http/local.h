/*
 * broker_http, inside: the HTTP leases of a gateway as a broker (assay/broker.h).
 *
 * Theory.  A message is a leased job, its name the submission and the fence, and its settling the answer to the gateway.
 * Three threads share a table of leases:
 *
 *   lease    asks for as many jobs as there is room for, and waits at the gateway until there are some;
 *   beat     renews all that is held, three times in a lease's time and when some is new (the gateway then knows that
 *            its answer has arrived), and learns what was lost or cancelled;
 *   post     brings results and returns, in order, each again with growing delay until the gateway has answered.
 *
 * A lease leaves the table when it was answered, returned or lost.  The lock guards the table and the queue; nothing
 * blocks under it, and no sink is called under it.
 */
#ifndef ASSAY_BROKER_HTTP_LOCAL_H
#define ASSAY_BROKER_HTTP_LOCAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <assay/broker.h>
#include <assay/json.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define BH_LEASES_MAX 256
#define BH_ASK_MAX 16
#define BH_WAIT_S 20
#define BH_ANSWER_MAX ((size_t)128 << 20)

struct bh_lease {
    uint64_t tag; /* 0: free */
    char id[ASSAY_ID_SIZE];
    int64_t fence;
    bool told; /* lost was called, or is about to be */
};

/* What the post thread has to bring. */
struct bh_post {
    struct bh_post *next;
    uint64_t tag;
    char id[ASSAY_ID_SIZE];
    int64_t fence;
    bool gone;         /* its lease was lost before it was taken: only to be told so */
    assay_published done; /* NULL: nobody waits for it */
    void *arg;
    char *body;
    size_t n;
};

struct bh_driver {
    const struct assay_host *host;
    const char *url, *agent, *ca;
    struct assay_secret *token;
    struct assay_strs languages; /* names, in the arena */
    struct assay_arena *arena;
    struct assay_broker_sink sink;
    size_t in_flight;
    pthread_t thread[3];
    bool running;
    atomic_bool stop, quiet;
    atomic_bool fresh; /* there are leases that no beat has named yet */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t cond;  /* there is room, something to post, or the end */
    struct bh_lease lease[BH_LEASES_MAX];
    size_t n_leases;
    uint64_t next_tag;
    int64_t lease_ms;
    struct bh_post *first, *last;
    size_t n_posts;
    char trouble[200]; /* why the gateway does not answer as it should, or "" */
};

/* ---- call.c: one request ---------------------------------------------------------------------------------- */

/* Its own handle, for one thread. */
struct bh_call;
struct bh_call *bh_call_new(struct bh_driver *d, struct assay_err *err);
void bh_call_free(struct bh_call *c);
/* body NULL: GET. Gives the HTTP status, or a negative one when there was no answer; the answer's body is in out (reset
 * first), at most max bytes. Ends soon when the driver stops. */
int bh_call(struct bh_call *c, const char *path, const struct assay_str *body, int64_t timeout_ms, size_t max, struct assay_buf *out,
            struct assay_err *err);
/* Remembers why it does not work, for health; NULL: it does. */
void bh_trouble(struct bh_driver *d, const char *what, int status, const struct assay_err *err);
/* Sleeps, shorter when the driver stops. */
void bh_sleep(struct bh_driver *d, int64_t ms);

/* ---- leases.c, posts.c: the threads ------------------------------------------------------------------------- */

void *bh_lease_main(void *driver);
void *bh_beat_main(void *driver);
void *bh_post_main(void *driver);
struct bh_lease *bh_find(struct bh_driver *d, uint64_t tag); /* under the lock */
void bh_forget(struct bh_driver *d, uint64_t tag);
/* Takes ownership of p. */
void bh_post_add(struct bh_driver *d, struct bh_post *p);
int bh_publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err);
void bh_settle(void *self, uint64_t tag, enum assay_settle how, struct assay_str reason);
void bh_posts_end(struct bh_driver *d); /* tells all that is left that it is not known to be there */

#endif
