/*
 * session_redis: the state of accounts in Redis, on hiredis.
 *
 * Connections wait in a pool behind a lock; a call takes one, or makes one, uses it without the lock and puts it back; one that
 * failed in any way is closed, since what it would read next may be the answer to an older question.  After a failure no call
 * goes out for PAUSE_MS (one that comes then is told so at once), so that a server that hangs costs one deadline and
 * not one for each request.
 */
#ifndef SESSION_REDIS_LOCAL_H
#define SESSION_REDIS_LOCAL_H

#include <pthread.h>
#include <stdbool.h>

#include <hiredis/hiredis.h>

#include <assay/plugin.h>
#include <assay/session.h>
#include <assay/value.h>

#define SR_MAGIC 0x53524544u
#define SR_IDLE 16 /* connections that are kept */
#define SR_PAUSE_MS 500

enum sr_metric { SR_M_CALLS, SR_M_SECONDS, SR_M_CONNECTS, SR_M_UP, SR_METRIC_COUNT };
extern const struct assay_metric sr_metrics[SR_METRIC_COUNT];

/* redis://[user][:password@]host[:port][/db] or unix:///path[?db=N] */
struct sr_address {
    char host[256], path[100], user[128];
    int port, db;
    struct assay_secret *password; /* NULL: none */
};

struct sr_driver {
    uint32_t magic;
    const struct assay_host *host;
    struct sr_address at;
    char where[300]; /* for messages: no user, no password */
    const char *prefix;
    int64_t timeout_ms, keep_ms;
    pthread_mutex_t lock; /* guards the rest */
    redisContext *idle[SR_IDLE];
    size_t n_idle;
    int64_t down_until_ns; /* 0: it works as far as is known */
    char why[200];
};

static inline struct sr_driver *sr_self(void *self)
{
    struct sr_driver *d = self;
    if (!d || d->magic != SR_MAGIC)
        __builtin_trap();
    return d;
}

/* url.c; fuzzed */
int sr_address_parse(struct assay_str url, struct sr_address *out, struct assay_err *err) ASSAY_MUST_CHECK;
void sr_address_free(struct sr_address *a);

/* driver.c */
extern const struct assay_session_ops sr_ops;
void sr_close_all(struct sr_driver *d);

#endif
