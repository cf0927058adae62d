/*
 * Theory of operation.  Of each rule and each who there is one number, the time at which its bucket will be empty again.
 * They stand in one table of sets, found by a keyed hash, so that nobody can choose with whom he shares a set; in a full set
 * the one that is empty soonest makes room, so memory is bounded, and a flood of made-up addresses forgets those who have
 * asked least.  Locks guard some sets each; a take holds one for a few comparisons.
 *
 * Where gateways share their counts, a bucket that lets a request through is noted in a list, once until the list is taken; a full list
 * leaves the bucket's count where it is, for its next note.  The list's lock is taken inside a set's, never around one.
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
#define NOTES 4096u
#define MOST_WINDOWS 2 /* of debt, one more than a full bucket */
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
    uint32_t passed; /* since it was last asked for, where counts are shared */
    bool noted, tell; /* it is in the list; the shared count knows less than this one */
};

struct note {
    uint64_t key;
    uint8_t rule;
    char name[ASSAY_LIMIT_NAME];
};

struct assay_limits {
    struct rule rule[ASSAY_LIMIT_RULES];
    size_t n;
    struct assay_proxies *exempt; /* or NULL */
    unsigned char salt[crypto_shorthash_KEYBYTES];
    int64_t gateways;
    _Atomic bool alone;
    void (*noted)(void *arg); /* NULL: counts are not shared */
    void *noted_arg;
    pthread_mutex_t notes_lock; /* guards what follows, a ring */
    struct note note[NOTES];
    size_t first_note, n_notes;
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
    pthread_mutex_init(&l->notes_lock, NULL);
    l->gateways = 1;
    atomic_init(&l->alone, true);
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
    pthread_mutex_destroy(&l->notes_lock);
    assay_proxies_free(l->exempt);
    free(l);
}

/* ---- counting --------------------------------------------------------------------------------------- */

/* Who is counted together, behind a byte for the rule. */
struct whom {
    unsigned char text[1 + 128];
    size_t n;
};

static uint64_t key_of(const struct assay_limits *l, size_t rule, struct assay_str who, struct whom *w)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t key;
    struct in6_addr six;
    char address[ASSAY_ADDRESS_SIZE];
    size_t n = who.n < 128 ? who.n : 128;
    w->text[0] = (unsigned char)rule;
    memcpy(w->text + 1, who.p, n);
    if (l->rule[rule].subject == ASSAY_LIMIT_ADDRESS && who.n < sizeof address && memchr(who.p, ':', who.n)) {
        memcpy(address, who.p, who.n);
        address[who.n] = '\0';
        if (inet_pton(AF_INET6, address, &six) == 1 && !IN6_IS_ADDR_V4MAPPED(&six))
            memcpy(w->text + 1, &six, n = 8);
    }
    w->n = n + 1;
    crypto_shorthash(hash, w->text, w->n, l->salt);
    memcpy(&key, hash, sizeof key);
    return key ? key : 1;
}

/* The same at every gateway, whatever the rule's number there; long enough that nobody finds two of a name. */
static void name_of(const struct rule *r, const struct whom *w, char name[ASSAY_LIMIT_NAME])
{
    unsigned char hash[16];
    crypto_generichash_state st;
    (void)crypto_generichash_init(&st, NULL, 0, sizeof hash);
    (void)crypto_generichash_update(&st, (const unsigned char *)r->name, strlen(r->name) + 1);
    (void)crypto_generichash_update(&st, w->text + 1, w->n - 1);
    (void)crypto_generichash_final(&st, hash, sizeof hash);
    (void)sodium_bin2hex(name, ASSAY_LIMIT_NAME, hash, sizeof hash);
}

/* What one request moves a bucket on by. */
static int64_t cost_of(const struct assay_limits *l, const struct rule *r)
{
    int64_t n = atomic_load_explicit(&l->alone, memory_order_relaxed) ? l->gateways : 1;
    return r->interval_ns > r->window_ns / n ? r->window_ns : r->interval_ns * n;
}

static pthread_mutex_t *lock_of(struct assay_limits *l, uint64_t key)
{
    return &l->lock[key % SETS % LOCKS];
}

/* The bucket of a key; make: else the one that is empty soonest is given to it. Lock held. */
static struct bucket *find(struct assay_limits *l, uint64_t key, bool make)
{
    struct bucket *set = l->set[key % SETS], *victim = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].empty_ns < victim->empty_ns)
            victim = &set[i];
    }
    if (!make)
        return NULL;
    *victim = (struct bucket){.key = key};
    return victim;
}

/* Lock held. True: there was nothing in the list. */
static bool add_note(struct assay_limits *l, struct bucket *b, uint8_t rule, const char *name)
{
    bool first = false;
    pthread_mutex_lock(&l->notes_lock);
    if (l->n_notes < NOTES) {
        first = l->n_notes == 0;
        struct note *at = &l->note[(l->first_note + l->n_notes++) % NOTES];
        at->key = b->key;
        at->rule = rule;
        memcpy(at->name, name, sizeof at->name);
        b->noted = true;
    }
    pthread_mutex_unlock(&l->notes_lock);
    return first;
}

/* Charges one rule. Gives the nanoseconds to wait, 0 when the request may pass; *ahead: until the bucket is empty. */
static int64_t charge(struct assay_limits *l, size_t rule, struct assay_str who, int64_t now_ns, int64_t *ahead)
{
    const struct rule *r = &l->rule[rule];
    struct whom w;
    uint64_t key = key_of(l, rule, who, &w);
    int64_t cost = cost_of(l, r);
    bool wake = false;
    pthread_mutex_lock(lock_of(l, key));
    struct bucket *b = find(l, key, true);
    int64_t from = b->empty_ns > now_ns ? b->empty_ns : now_ns;
    int64_t wait = from - now_ns - (r->window_ns - cost);
    if (wait <= 0) {
        b->empty_ns = from = from + cost;
        if (l->noted) {
            b->passed++;
            if (!b->noted) {
                char name[ASSAY_LIMIT_NAME];
                name_of(r, &w, name);
                wake = add_note(l, b, (uint8_t)rule, name);
            }
        }
    }
    pthread_mutex_unlock(lock_of(l, key));
    if (wake)
        l->noted(l->noted_arg);
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
        int64_t ahead, wait = charge(l, i, who, now_ns, &ahead), cost = cost_of(l, r);
        st->hit[st->n].rule = (uint8_t)i;
        st->hit[st->n].left = wait || ahead > r->window_ns ? 0 : (uint32_t)((r->window_ns - ahead) / cost);
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
                assay_buf_fmt(out, "q=%lld;w=%lld", (long long)(r->window_ns / cost_of(l, r) < r->count ? r->window_ns / cost_of(l, r) : r->count),
                              (long long)(r->window_ns / S_NS));
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

/* ---- sharing ---------------------------------------------------------------------------------------- */

void assay_limits_gateways(struct assay_limits *l, int64_t n)
{
    l->gateways = n > 1 ? n : 1;
}

void assay_limits_share(struct assay_limits *l, void (*noted)(void *arg), void *arg)
{
    l->noted = noted;
    l->noted_arg = arg;
    atomic_store(&l->alone, noted == NULL);
}

void assay_limits_alone(struct assay_limits *l, bool alone)
{
    atomic_store(&l->alone, alone);
}

size_t assay_limits_due(struct assay_limits *l, int64_t now_ns, struct assay_limit_due *due, size_t max)
{
    struct note note[256];
    size_t n, out = 0;
    pthread_mutex_lock(&l->notes_lock);
    n = l->n_notes < max ? l->n_notes : max;
    if (n > sizeof note / sizeof note[0])
        n = sizeof note / sizeof note[0];
    for (size_t i = 0; i < n; i++)
        note[i] = l->note[(l->first_note + i) % NOTES];
    l->first_note = (l->first_note + n) % NOTES;
    l->n_notes -= n;
    pthread_mutex_unlock(&l->notes_lock);
    for (size_t i = 0; i < n; i++) {
        const struct rule *r = &l->rule[note[i].rule];
        pthread_mutex_lock(lock_of(l, note[i].key));
        struct bucket *b = find(l, note[i].key, false);
        if (b) { /* else somebody else has its place: it was empty, or nearly */
            struct assay_limit_due *d = &due[out++];
            *d = (struct assay_limit_due){.key = b->key, .rule = note[i].rule, .most_ns = MOST_WINDOWS * r->window_ns};
            memcpy(d->name, note[i].name, sizeof d->name);
            if (b->tell && b->empty_ns > now_ns)
                d->least_ns = b->empty_ns - now_ns; /* which has what passed in it */
            else
                d->add_ns = b->passed > d->most_ns / r->interval_ns ? d->most_ns : b->passed * r->interval_ns;
            b->passed = 0;
            b->noted = b->tell = false;
        }
        pthread_mutex_unlock(lock_of(l, note[i].key));
    }
    return out;
}

void assay_limits_learn(struct assay_limits *l, const struct assay_limit_due *due, int64_t sent_ns, int64_t took_ns, int64_t ahead_ns)
{
    const struct rule *r = &l->rule[due->rule];
    pthread_mutex_lock(lock_of(l, due->key));
    struct bucket *b = find(l, due->key, false);
    if (b) {
        /* as of when it was sent: so it is never ahead of the shared one */
        int64_t told = sent_ns + ahead_ns + b->passed * r->interval_ns;
        if (told > b->empty_ns) {
            b->empty_ns = told;
        } else if (told + took_ns + 2 * r->interval_ns < b->empty_ns) {
            b->tell = true;
            if (!b->noted)
                (void)add_note(l, b, due->rule, due->name);
        }
    }
    pthread_mutex_unlock(lock_of(l, due->key));
}
