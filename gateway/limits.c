/*
 * Theory of operation.  Of each rule and each who there is one number, the time at which its bucket will be empty again.
 * They stand in one table of sets, found by a keyed hash, so that nobody can choose with whom he shares a set; in a full set
 * the one that is empty soonest makes room, so memory is bounded, and a flood of made-up addresses forgets those who have
 * asked least.  Locks guard some sets each; a take holds one for a few comparisons.
 */
#include "limits.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include <assay/value.h>

#include "proxies.h"

#define SETS 16384u
#define WAYS 4u
#define LOCKS 64u
#define COUNT_MAX 1000000000
#define S_NS INT64_C(1000000000)

struct rule {
    char name[96]; /* as it was written, but for the count: the policy's name, "account:register/1h" */
    const char *operation; /* a route's own text, or NULL: all */
    enum assay_limit_subject subject;
    int64_t count, window_ns, interval_ns;
    _Atomic uint64_t refused;
};

struct bucket {
    uint64_t key; /* 0: free */
    int64_t empty_ns;
};

struct assay_limits {
    struct rule rule[ASSAY_LIMIT_RULES];
    size_t n;
    struct assay_proxies *exempt; /* or NULL */
    unsigned char salt[crypto_shorthash_KEYBYTES];
    pthread_mutex_t lock[LOCKS]; /* lock[i] guards the sets with number % LOCKS == i */
    struct bucket set[SETS][WAYS];
};

static const char *const subjects[] = {"address", "account", "agent"};

/* ---- the rules -------------------------------------------------------------------------------------- */

static struct assay_str trim(struct assay_str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n'))
        s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\n'))
        s.n--;
    return s;
}

/* What stands before the first `at` goes to *before, and *s keeps what is behind it; false: there is none. */
static bool cut(struct assay_str *s, char at, struct assay_str *before)
{
    const char *p = s->n ? memchr(s->p, at, s->n) : NULL;
    if (!p)
        return false;
    size_t n = (size_t)(p - s->p);
    *before = trim((struct assay_str){s->p, n});
    *s = trim((struct assay_str){p + 1, s->n - n - 1});
    return true;
}

/* "60/1m": a count and a time of s, m, h or d. */
static bool read_quota(struct assay_str s, struct rule *r)
{
    struct assay_str count;
    int64_t n, unit;
    if (!cut(&s, '/', &count) || s.n < 2)
        return false;
    switch (s.p[s.n - 1]) {
    case 's': unit = 1; break;
    case 'm': unit = 60; break;
    case 'h': unit = 3600; break;
    case 'd': unit = 86400; break;
    default: return false;
    }
    s.n--;
    if (assay_parse_i64(count, 1, COUNT_MAX, &r->count, NULL) != 0 || assay_parse_i64(s, 1, 366, &n, NULL) != 0)
        return false;
    r->window_ns = n * unit * S_NS;
    r->interval_ns = r->window_ns / r->count;
    return r->window_ns <= 366 * 86400 * S_NS && r->interval_ns > 0;
}

static int read_rule(struct assay_limits *l, struct assay_str text, const struct assay_bound_route *routes, size_t n_routes,
                     struct assay_err *err)
{
    struct assay_str name, rest = text, subject;
    if (l->n == ASSAY_LIMIT_RULES)
        return assay_err_set(err, ASSAY_E_CONFIG, "rate_limits has more than %u rules", ASSAY_LIMIT_RULES);
    struct rule *r = &l->rule[l->n];
    if (!cut(&rest, '=', &name) || name.n >= sizeof r->name || !read_quota(rest, r))
        return assay_err_set(err, ASSAY_E_CONFIG, "rate_limits: \"%.*s\" is no rule; one is SUBJECT[:OPERATION]=COUNT/WINDOW, such as "
                                                  "account=600/1m or address:register=20/1h",
                             ASSAY_FMT(text));
    struct assay_str window = rest, count;
    if (!cut(&window, '/', &count) ||
        snprintf(r->name, sizeof r->name, "%.*s/%.*s", ASSAY_FMT(name), ASSAY_FMT(window)) >= (int)sizeof r->name)
        return assay_err_set(err, ASSAY_E_CONFIG, "rate_limits: the rule \"%.*s\" is too long", ASSAY_FMT(text));
    struct assay_str operation = name;
    if (!cut(&operation, ':', &subject)) {
        subject = name;
        operation.n = 0;
    }
    size_t i = 0;
    while (i < sizeof subjects / sizeof subjects[0] && !assay_str_is(subject, subjects[i]))
        i++;
    if (i == sizeof subjects / sizeof subjects[0])
        return assay_err_set(err, ASSAY_E_CONFIG, "rate_limits: \"%.*s\" is nobody to count; address, account and agent are", ASSAY_FMT(subject));
    r->subject = (enum assay_limit_subject)i;
    for (i = 0; i < n_routes && operation.n; i++)
        if (assay_str_is(operation, routes[i].route->operation_id))
            r->operation = routes[i].route->operation_id;
    if (operation.n && !r->operation)
        return assay_err_set(err, ASSAY_E_CONFIG, "rate_limits: no route has the operation id \"%.*s\"; assayd --dump-routes lists them",
                             ASSAY_FMT(operation));
    for (i = 0; i < l->n; i++)
        if (strcmp(l->rule[i].name, r->name) == 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "rate_limits: \"%s\" is there twice", r->name);
    l->n++;
    return 0;
}

/* What must be answered to whoever watches over the server. */
static bool probe(const char *operation)
{
    return strcmp(operation, "health_live") == 0 || strcmp(operation, "health_ready") == 0 || strcmp(operation, "metrics_get") == 0;
}

static bool counts(const struct rule *r, const struct assay_route *route)
{
    return r->operation ? strcmp(r->operation, route->operation_id) == 0 : !probe(route->operation_id);
}

/* No request may meet more rules than a request has room for. */
static int check_room(const struct assay_limits *l, const struct assay_bound_route *routes, size_t n_routes, struct assay_err *err)
{
    for (size_t i = 0; i < n_routes; i++) {
        size_t met = 0;
        for (size_t k = 0; k < l->n; k++)
            met += counts(&l->rule[k], routes[i].route);
        if (met > ASSAY_LIMIT_HITS)
            return assay_err_set(err, ASSAY_E_CONFIG, "rate_limits: %zu rules count %s; at most %u may", met, routes[i].route->operation_id,
                                 ASSAY_LIMIT_HITS);
    }
    return 0;
}

int assay_limits_new(const char *rules, const char *exempt, const struct assay_bound_route *routes, size_t n_routes,
                     struct assay_limits **ret, struct assay_err *err)
{
    struct assay_str rest = trim(assay_str(rules)), one;
    *ret = NULL;
    if (rest.n == 0)
        return 0;
    struct assay_limits *l = calloc(1, sizeof *l); /* untouched pages until somebody asks */
    if (!l)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the rate limits");
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&l->lock[i], NULL);
    randombytes_buf(l->salt, sizeof l->salt);
    int rc = 0;
    while (rc == 0 && rest.n) {
        if (!cut(&rest, ',', &one)) {
            one = rest;
            rest.n = 0;
        }
        rc = one.n ? read_rule(l, one, routes, n_routes, err) : 0;
    }
    if (rc == 0)
        rc = check_room(l, routes, n_routes, err);
    if (rc == 0 && assay_proxies_new(exempt, &l->exempt, NULL) != 0)
        rc = assay_err_set(err, ASSAY_E_CONFIG, "rate_limit_exempt has an entry that is neither an address nor a network: \"%s\"", exempt);
    if (rc == 0)
        *ret = l;
    else
        assay_limits_free(l);
    return rc;
}

void assay_limits_free(struct assay_limits *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&l->lock[i]);
    assay_proxies_free(l->exempt);
    free(l);
}

/* ---- counting --------------------------------------------------------------------------------------- */

static uint64_t key_of(const struct assay_limits *l, size_t rule, struct assay_str who)
{
    unsigned char text[1 + 128], hash[crypto_shorthash_BYTES];
    uint64_t key;
    struct in6_addr six;
    char address[ASSAY_ADDRESS_SIZE];
    size_t n = who.n < 128 ? who.n : 128;
    text[0] = (unsigned char)rule;
    memcpy(text + 1, who.p, n);
    if (l->rule[rule].subject == ASSAY_LIMIT_ADDRESS && who.n < sizeof address && memchr(who.p, ':', who.n)) {
        memcpy(address, who.p, who.n);
        address[who.n] = '\0';
        if (inet_pton(AF_INET6, address, &six) == 1 && !IN6_IS_ADDR_V4MAPPED(&six))
            memcpy(text + 1, &six, n = 8);
    }
    crypto_shorthash(hash, text, n + 1, l->salt);
    memcpy(&key, hash, sizeof key);
    return key ? key : 1;
}

/* Charges one rule. Gives the nanoseconds to wait, 0 when the request may pass; *ahead: until the bucket is empty. */
static int64_t charge(struct assay_limits *l, const struct rule *r, uint64_t key, int64_t now_ns, int64_t *ahead)
{
    size_t at = key % SETS;
    struct bucket *set = l->set[at], *b = NULL, *victim = &set[0];
    pthread_mutex_lock(&l->lock[at % LOCKS]);
    for (size_t i = 0; i < WAYS && !b; i++) {
        if (set[i].key == key)
            b = &set[i];
        else if (set[i].empty_ns < victim->empty_ns)
            victim = &set[i];
    }
    if (!b) {
        b = victim;
        *b = (struct bucket){key, 0};
    }
    int64_t from = b->empty_ns > now_ns ? b->empty_ns : now_ns;
    int64_t wait = from - now_ns - (r->window_ns - r->interval_ns);
    if (wait <= 0)
        b->empty_ns = from = from + r->interval_ns;
    pthread_mutex_unlock(&l->lock[at % LOCKS]);
    *ahead = from - now_ns;
    return wait > 0 ? wait : 0;
}

bool assay_limits_take(struct assay_limits *l, enum assay_limit_subject subject, struct assay_str who, const struct assay_route *route,
                       int64_t now_ns, struct assay_limit_state *st)
{
    if (who.n == 0 || (subject == ASSAY_LIMIT_ADDRESS && assay_proxies_trusts(l->exempt, who)))
        return true;
    for (size_t i = 0; i < l->n && st->n < ASSAY_LIMIT_HITS; i++) {
        struct rule *r = &l->rule[i];
        if (r->subject != subject || !counts(r, route))
            continue;
        int64_t ahead, wait = charge(l, r, key_of(l, i, who), now_ns, &ahead);
        st->hit[st->n].rule = (uint8_t)i;
        st->hit[st->n].left = wait ? 0 : (uint32_t)((r->window_ns - ahead) / r->interval_ns);
        st->hit[st->n].full_s = (uint32_t)((ahead + S_NS - 1) / S_NS);
        st->n++;
        if (wait) {
            st->retry_s = (wait + S_NS - 1) / S_NS;
            atomic_fetch_add_explicit(&r->refused, 1, memory_order_relaxed);
            return false;
        }
    }
    return true;
}

void assay_limits_headers(const struct assay_limits *l, const struct assay_limit_state *st, struct assay_buf *out)
{
    for (int left = 0; left < 2 && st->n; left++) {
        assay_buf_puts(out, left ? "RateLimit: " : "RateLimit-Policy: ");
        for (size_t i = 0; i < st->n; i++) {
            const struct rule *r = &l->rule[st->hit[i].rule];
            assay_buf_fmt(out, "%s\"%s\";", i ? ", " : "", r->name);
            if (left)
                assay_buf_fmt(out, "r=%u;t=%u", st->hit[i].left, st->hit[i].full_s);
            else
                assay_buf_fmt(out, "q=%lld;w=%lld", (long long)r->count, (long long)(r->window_ns / S_NS));
        }
        assay_buf_puts(out, "\r\n");
    }
}

const char *assay_limits_rule(const struct assay_limits *l, size_t i, uint64_t *refused)
{
    if (!l || i >= l->n)
        return NULL;
    *refused = atomic_load_explicit(&l->rule[i].refused, memory_order_relaxed);
    return l->rule[i].name;
}
