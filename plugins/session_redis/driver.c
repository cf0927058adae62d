/* Calls to Redis: one key for each account, a hash of epoch, role and disabled, which ends by itself. */
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#define MS ((int64_t)1000000)

/* Takes the state unless a higher epoch is there: in one step, since two gateways may come with two. */
static const char put_script[] = "local old = redis.call('HGET', KEYS[1], 'epoch') "
                                 "if old and tonumber(old) > tonumber(ARGV[1]) then return 0 end "
                                 "redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'role', ARGV[2], 'disabled', ARGV[3]) "
                                 "redis.call('PEXPIRE', KEYS[1], ARGV[4]) return 1";

/*
 * Moves cells on: to what the caller knows at least, by what it adds, up to the most. By this server's clock, in microseconds; what
 * others wrote under a key, of whatever type, counts as nothing.  A cell goes when it is empty.  Redis 5 or later: a script may then
 * write after it has asked for the time.
 */
static const char charge_script[] = "local t = redis.call('TIME') local now = t[1] * 1000000 + t[2] local out = {} "
                                    "for i, k in ipairs(KEYS) do "
                                    "local add, most, least = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]) "
                                    "local v = redis.pcall('GET', k) local at = type(v) == 'string' and tonumber(v) or 0 "
                                    "if not (at > now + least) then at = now + least end "
                                    "at = at + add if at > now + most then at = now + most end "
                                    "if at > now then redis.call('SET', k, string.format('%.0f', at), 'PX', math.floor((at - now) / 1000) + 1) end "
                                    "out[i] = string.format('%.0f', at - now) end return out";

static void count(struct sr_driver *d, const char *op, const char *outcome)
{
    d->host->metric_add(d->host->ctx, &sr_metrics[SR_M_CALLS], (const char *const[]){op, outcome}, 1);
}

/* ---- connections ------------------------------------------------------------------------------------------------------ */

static struct timeval left_of(int64_t deadline_ns)
{
    int64_t us = (deadline_ns - assay_mono_ns()) / 1000;
    if (us < 1000)
        us = 1000;
    return (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
}

static void failed(struct sr_driver *d, const char *why)
{
    (void)pthread_mutex_lock(&d->lock);
    bool first = d->down_until_ns == 0;
    d->down_until_ns = assay_mono_ns() + SR_PAUSE_MS * MS;
    (void)snprintf(d->why, sizeof d->why, "%s", why);
    size_t n = d->n_idle;
    redisContext *old[SR_IDLE];
    memcpy(old, d->idle, sizeof old);
    d->n_idle = 0; /* they lead to the same server */
    (void)pthread_mutex_unlock(&d->lock);
    for (size_t i = 0; i < n; i++)
        redisFree(old[i]);
    d->host->metric_set(d->host->ctx, &sr_metrics[SR_M_UP], NULL, 0);
    if (first)
        assay_log(d->host, ASSAY_LOG_WARN, "redis_away", ASSAY_KZ("redis", d->where), ASSAY_KZ("reason", why));
}

static void worked(struct sr_driver *d)
{
    (void)pthread_mutex_lock(&d->lock);
    bool first = d->down_until_ns != 0;
    d->down_until_ns = 0;
    (void)pthread_mutex_unlock(&d->lock);
    d->host->metric_set(d->host->ctx, &sr_metrics[SR_M_UP], NULL, 1);
    if (first)
        assay_log(d->host, ASSAY_LOG_INFO, "redis_back", ASSAY_KZ("redis", d->where));
}

static int trouble(struct sr_driver *d, redisContext *c, redisReply *r, struct assay_err *err, const char *what)
{
    char why[160];
    if (c && c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
        (void)snprintf(why, sizeof why, "%s: no answer within session_timeout", what);
    else
        (void)snprintf(why, sizeof why, "%s: %s", what, r && r->type == REDIS_REPLY_ERROR ? r->str : c && c->err ? c->errstr : "an answer that is not one of ours");
    if (r)
        freeReplyObject(r);
    if (c)
        redisFree(c);
    failed(d, why);
    return assay_err_set(err, ASSAY_E_IO, "Redis at %s: %s", d->where, why);
}

static redisReply *ask(redisContext *c, int64_t deadline_ns, int argc, const char **argv, const size_t *len)
{
    if (redisSetTimeout(c, left_of(deadline_ns)) != REDIS_OK)
        return NULL;
    return redisCommandArgv(c, argc, argv, len);
}

/* A step of the greeting: 0 when it was answered OK. */
static int greet(struct sr_driver *d, redisContext **c, int64_t deadline_ns, int argc, const char **argv, const size_t *len, struct assay_err *err,
                 const char *what)
{
    redisReply *r = ask(*c, deadline_ns, argc, argv, len);
    if (!r || r->type != REDIS_REPLY_STATUS) {
        redisContext *gone = *c;
        *c = NULL;
        return trouble(d, gone, r, err, what);
    }
    freeReplyObject(r);
    return 0;
}

static int dial(struct sr_driver *d, int64_t deadline_ns, redisContext **out, struct assay_err *err)
{
    redisContext *c = d->at.path[0] != '\0' ? redisConnectUnixWithTimeout(d->at.path, left_of(deadline_ns))
                                            : redisConnectWithTimeout(d->at.host, d->at.port, left_of(deadline_ns));
    int st = c && !c->err ? 0 : trouble(d, c, NULL, err, "connecting");
    if (st == 0 && d->at.password) {
        struct assay_str p = assay_secret_reveal(d->at.password);
        const char *two[] = {"AUTH", p.p}, *three[] = {"AUTH", d->at.user, p.p};
        const size_t len2[] = {4, p.n}, len3[] = {4, strlen(d->at.user), p.n};
        st = d->at.user[0] != '\0' ? greet(d, &c, deadline_ns, 3, three, len3, err, "signing in") : greet(d, &c, deadline_ns, 2, two, len2, err, "signing in");
    }
    if (st == 0 && d->at.db != 0) {
        char db[16];
        const char *select[] = {"SELECT", db};
        const size_t len[] = {6, (size_t)snprintf(db, sizeof db, "%d", d->at.db)};
        st = greet(d, &c, deadline_ns, 2, select, len, err, "choosing the database");
    }
    d->host->metric_add(d->host->ctx, &sr_metrics[SR_M_CONNECTS], (const char *const[]){st == 0 ? "ok" : "failed"}, 1);
    if (st == 0)
        *out = c;
    return st;
}

static int borrow(struct sr_driver *d, int64_t deadline_ns, redisContext **out, bool *used, struct assay_err *err)
{
    redisContext *c = NULL;
    char why[200] = "";
    (void)pthread_mutex_lock(&d->lock);
    bool down = assay_mono_ns() < d->down_until_ns;
    if (down)
        memcpy(why, d->why, sizeof why);
    else if (d->n_idle > 0)
        c = d->idle[--d->n_idle];
    (void)pthread_mutex_unlock(&d->lock);
    if (down)
        return assay_err_set(err, ASSAY_E_IO, "Redis at %s: %s", d->where, why);
    *used = c != NULL;
    *out = c;
    return c ? 0 : dial(d, deadline_ns, out, err);
}

static void give_back(struct sr_driver *d, redisContext *c)
{
    (void)pthread_mutex_lock(&d->lock);
    bool kept = d->n_idle < SR_IDLE;
    if (kept)
        d->idle[d->n_idle++] = c;
    (void)pthread_mutex_unlock(&d->lock);
    if (!kept)
        redisFree(c);
}

void sr_close_all(struct sr_driver *d)
{
    while (d->n_idle > 0)
        redisFree(d->idle[--d->n_idle]);
}

/* One command. A connection that had waited may have been closed by the server meanwhile: then once more on a new one. */
static int call(struct sr_driver *d, const char *op, int argc, const char **argv, const size_t *len, redisReply **out, struct assay_err *err)
{
    int64_t from = assay_mono_ns(), deadline = from + d->timeout_ms * MS;
    redisContext *c = NULL;
    bool used = false;
    int st = borrow(d, deadline, &c, &used, err);
    redisReply *r = NULL;
    if (st == 0) {
        r = ask(c, deadline, argc, argv, len);
        if (!r && used && (c->err == REDIS_ERR_EOF || (c->err == REDIS_ERR_IO && errno != EAGAIN && errno != EWOULDBLOCK))) {
            redisFree(c);
            c = NULL;
            st = dial(d, deadline, &c, err);
            if (st == 0)
                r = ask(c, deadline, argc, argv, len);
        }
    }
    if (st == 0 && (!r || r->type == REDIS_REPLY_ERROR))
        st = trouble(d, c, r, err, op);
    if (st == 0) {
        give_back(d, c);
        worked(d);
        *out = r;
    }
    d->host->metric_observe(d->host->ctx, &sr_metrics[SR_M_SECONDS], (const char *const[]){op}, (double)(assay_mono_ns() - from) / 1e9);
    return st;
}

/* ---- operations ---------------------------------------------------------------------------------------------------------- */

static bool key_of(const struct sr_driver *d, struct assay_str user_id, char *key, size_t room, size_t *n)
{
    int w = snprintf(key, room, "%saccount:%.*s", d->prefix, ASSAY_FMT(user_id));
    *n = w > 0 ? (size_t)w : 0;
    return w > 0 && (size_t)w < room && user_id.n <= 64;
}

static bool field(const redisReply *r, size_t at, int64_t max, int64_t *out)
{
    const redisReply *e = r->element[at];
    return e->type == REDIS_REPLY_STRING && assay_parse_i64((struct assay_str){e->str, (size_t)e->len}, 0, max, out, NULL) == 0;
}

static int get(void *self, struct assay_str user_id, struct assay_session_state *out, struct assay_err *err)
{
    struct sr_driver *d = sr_self(self);
    char key[200];
    size_t n;
    redisReply *r = NULL;
    if (!key_of(d, user_id, key, sizeof key, &n))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "not an account's id");
    const char *argv[] = {"HMGET", key, "epoch", "role", "disabled"};
    const size_t len[] = {5, n, 5, 4, 8};
    int st = call(d, "get", 5, argv, len, &r, err);
    if (st != 0) {
        count(d, "get", "failed");
        return st;
    }
    int64_t epoch, role, disabled;
    bool whole = r->type == REDIS_REPLY_ARRAY && r->elements == 3 && field(r, 0, INT64_MAX, &epoch) && field(r, 1, UINT32_MAX, &role) &&
                 field(r, 2, 1, &disabled);
    freeReplyObject(r);
    count(d, "get", whole ? "hit" : "miss");
    if (!whole) /* also what somebody else may have written there: the store knows */
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "Redis does not know the account");
    *out = (struct assay_session_state){.epoch = epoch, .role = (uint32_t)role, .disabled = disabled != 0};
    return 0;
}

static int put(void *self, struct assay_str user_id, const struct assay_session_state *state, struct assay_err *err)
{
    struct sr_driver *d = sr_self(self);
    char key[200], epoch[24], role[16], keep[24];
    size_t n;
    redisReply *r = NULL;
    if (!key_of(d, user_id, key, sizeof key, &n))
        return assay_err_set(err, ASSAY_E_INVALID, "not an account's id");
    size_t epoch_n = (size_t)snprintf(epoch, sizeof epoch, "%lld", (long long)state->epoch);
    size_t role_n = (size_t)snprintf(role, sizeof role, "%u", state->role);
    size_t keep_n = (size_t)snprintf(keep, sizeof keep, "%lld", (long long)d->keep_ms);
    const char *argv[] = {"EVAL", put_script, "1", key, epoch, role, state->disabled ? "1" : "0", keep};
    const size_t len[] = {4, sizeof put_script - 1, 1, n, epoch_n, role_n, 1, keep_n};
    int st = call(d, "put", 8, argv, len, &r, err);
    bool newer = st == 0 && r->type == REDIS_REPLY_INTEGER && r->integer == 0;
    count(d, "put", st != 0 ? "failed" : newer ? "older" : "ok");
    if (r)
        freeReplyObject(r);
    return st;
}

static int charge(void *self, struct assay_session_cell *cell, size_t n, struct assay_err *err)
{
    enum { FIRST = 3, NUMBERS = 3, NUMBER = 24, KEY = 192 };
    struct sr_driver *d = sr_self(self);
    if (n == 0 || n > ASSAY_SESSION_CELLS)
        return assay_err_set(err, ASSAY_E_INVALID, "1 to %u cells", ASSAY_SESSION_CELLS);
    const size_t argc = FIRST + n + NUMBERS * n;
    const char **argv = calloc(argc, sizeof *argv);
    size_t *len = calloc(argc, sizeof *len);
    char *text = calloc(n, KEY + NUMBERS * NUMBER), count_text[NUMBER];
    int st = argv && len && text ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (st == 0) {
        argv[0] = "EVAL", len[0] = 4;
        argv[1] = charge_script, len[1] = sizeof charge_script - 1;
        argv[2] = count_text, len[2] = (size_t)snprintf(count_text, sizeof count_text, "%zu", n);
    }
    for (size_t i = 0; st == 0 && i < n; i++) {
        char *at = text + i * (KEY + NUMBERS * NUMBER);
        const int64_t number[NUMBERS] = {cell[i].add_us, cell[i].most_us, cell[i].least_us};
        int w = snprintf(at, KEY, "%slimit:%.*s", d->prefix, ASSAY_FMT(cell[i].key));
        if (w < 0 || w >= KEY || cell[i].key.n > 64)
            st = assay_err_set(err, ASSAY_E_INVALID, "a cell's key has at most 64 bytes");
        argv[FIRST + i] = at, len[FIRST + i] = (size_t)w;
        for (size_t k = 0; k < NUMBERS; k++) {
            char *figure = at + KEY + k * NUMBER;
            size_t place = FIRST + n + NUMBERS * i + k;
            argv[place] = figure, len[place] = (size_t)snprintf(figure, NUMBER, "%lld", (long long)number[k]);
        }
    }
    redisReply *r = NULL;
    if (st == 0)
        st = call(d, "charge", (int)argc, argv, len, &r, err);
    for (size_t i = 0; st == 0 && i < n; i++)
        if (r->type != REDIS_REPLY_ARRAY || r->elements != n || !field(r, i, INT64_MAX / 1000, &cell[i].ahead_us))
            st = assay_err_set(err, ASSAY_E_IO, "Redis at %s: an answer that is not one of ours", d->where);
    count(d, "charge", st == 0 ? "ok" : "failed");
    if (r)
        freeReplyObject(r);
    free(argv);
    free(len);
    free(text);
    return st;
}

static int health(void *self, struct assay_err *err)
{
    struct sr_driver *d = sr_self(self);
    char why[200] = "";
    (void)pthread_mutex_lock(&d->lock);
    bool down = d->down_until_ns != 0;
    if (down)
        memcpy(why, d->why, sizeof why);
    (void)pthread_mutex_unlock(&d->lock);
    return down ? assay_err_set(err, ASSAY_E_IO, "Redis at %s: %s", d->where, why) : 0;
}

const struct assay_session_ops sr_ops = {.size = sizeof sr_ops, .get = get, .put = put, .health = health, .charge = charge};
