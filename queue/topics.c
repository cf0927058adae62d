/*
 * Topics and groups.  Theory of operation.
 *
 * A group is a ring, a doorbell and a rescan flag.  Publish walks the groups (an array that only
 * grows, its length published with release) and matches patterns: with a dozen groups that costs
 * less than any index of topics would.
 *
 * The rescan flag holds a place of the ring plus one (0: not set): the tail as it was when an item
 * was refused.  It is due as soon as the consumers have claimed everything before that place, so it
 * is honoured even under a load that never lets the ring run empty.  A refused item needs the same
 * care about sleeping as a pushed one (the consumers may drain the ring and go to sleep between the
 * refused push and the flag), so setting it is followed by the same ring of the bell, and the second
 * look before a sleep looks at the flag too: for the proof in bell.h the flag is one more item.
 * The flag is cleared before the consumer is told, so that an overflow during the rescan sets it
 * again.
 *
 * Waiting time is sampled, since a ring's item has no room for a stamp: one probe a group is armed by
 * a publisher that finds it free, with the place of its item, and read by the consumer that takes
 * exactly that place.  A consumer that already passed the place frees the probe without counting.
 */
#include "topics.h"

#include <assert.h>

#include <assay/value.h>

#include "bell.h"
#include "ring.h"

#define TOPICS_MAGIC 0x746f7069u
#define GROUP_MAGIC 0x67726f75u

enum { PROBE_FREE, PROBE_SETTING, PROBE_SET, PROBE_READING };

struct assay_group {
    unsigned magic;
    char *name;
    char **patterns; /* NULL-terminated */
    struct assay_ring *ring;
    struct assay_bell bell;
    atomic_uint sleepers;       /* threads inside wait that armed or are about to */
    atomic_bool interrupted;
    _Atomic uint64_t rescan;    /* place + 1 */
    atomic_uint probe;          /* PROBE_*; owns the two below */
    uint64_t probe_place;
    int64_t probe_ns;
    _Atomic uint64_t refused, rescans, timed, wait_ns, wait_ns_max;
};

struct assay_topics {
    unsigned magic;
    size_t ring_size;
    atomic_size_t n;
    struct assay_group *group[ASSAY_TOPICS_GROUPS];
};

static void check(const struct assay_group *g)
{
    assert(g != NULL && g->magic == GROUP_MAGIC);
}

struct assay_topics *assay_topics_new(size_t ring_size, struct assay_err *err)
{
    struct assay_topics *t = calloc(1, sizeof *t);
    if (t == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for the topics");
        return NULL;
    }
    t->magic = TOPICS_MAGIC;
    t->ring_size = ring_size;
    atomic_init(&t->n, 0);
    return t;
}

static void group_free(struct assay_group *g)
{
    if (g == NULL)
        return;
    if (g->patterns != NULL) {
        for (char **p = g->patterns; *p != NULL; p++)
            free(*p);
        free(g->patterns);
    }
    assay_bell_fini(&g->bell);
    assay_ring_free(g->ring);
    free(g->name);
    g->magic = 0;
    free(g);
}

void assay_topics_free(struct assay_topics *t)
{
    if (t == NULL)
        return;
    assert(t->magic == TOPICS_MAGIC);
    size_t n = atomic_load(&t->n);
    for (size_t i = 0; i < n; i++) {
        assert(atomic_load(&t->group[i]->sleepers) == 0);
        group_free(t->group[i]);
    }
    t->magic = 0;
    free(t);
}

static int group_new(size_t ring_size, const char *name, const char *const *patterns, struct assay_group **ret,
                     struct assay_err *err)
{
    size_t n = 0;
    while (patterns[n] != NULL)
        n++;
    struct assay_group *g = aligned_alloc(_Alignof(struct assay_group), sizeof *g);
    if (g == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for group %s", name);
    memset(g, 0, sizeof *g);
    g->magic = GROUP_MAGIC;
    g->bell.fd = -1;
    g->name = strdup(name);
    g->patterns = calloc(n + 1, sizeof *g->patterns);
    bool ok = g->name != NULL && g->patterns != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = (g->patterns[i] = strdup(patterns[i])) != NULL;
    if (!ok) {
        group_free(g);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for group %s", name);
    }
    struct assay_err e = {0};
    g->ring = assay_ring_new(ring_size, &e);
    if (g->ring == NULL || assay_bell_init(&g->bell, &e) != 0) {
        group_free(g);
        return assay_err_set(err, e.code, "group %s: %s", name, e.msg);
    }
    *ret = g;
    return 0;
}

int assay_topics_subscribe(struct assay_topics *t, const char *group, const char *const *patterns, struct assay_group **ret,
                           struct assay_err *err)
{
    assert(t != NULL && t->magic == TOPICS_MAGIC);
    size_t n = atomic_load_explicit(&t->n, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        if (strcmp(t->group[i]->name, group) == 0)
            return assay_err_set(err, ASSAY_E_CONFLICT, "a consumer group \"%s\" exists already", group);
    if (n == ASSAY_TOPICS_GROUPS)
        return assay_err_set(err, ASSAY_E_BUSY, "no room for group \"%s\": there are %zu", group, n);
    int r = group_new(t->ring_size, group, patterns, &t->group[n], err);
    if (r != 0)
        return r;
    *ret = t->group[n];
    atomic_store_explicit(&t->n, n + 1, memory_order_release);
    return 0;
}

bool assay_topic_matches(const char *pattern, struct assay_str topic)
{
    size_t n = strlen(pattern);
    if (n == 1 && pattern[0] == '*')
        return true;
    if (n >= 2 && pattern[n - 1] == '*' && pattern[n - 2] == '.') /* the dot is part of the prefix */
        return topic.n >= n - 1 && memcmp(topic.p, pattern, n - 1) == 0;
    return topic.n == n && memcmp(topic.p, pattern, n) == 0;
}

static bool wants(const struct assay_group *g, struct assay_str topic)
{
    for (char **p = g->patterns; *p != NULL; p++)
        if (assay_topic_matches(*p, topic))
            return true;
    return false;
}

static void probe_start(struct assay_group *g, uint64_t place, int64_t ns)
{
    g->probe_place = place;
    g->probe_ns = ns;
    atomic_store_explicit(&g->probe, PROBE_SET, memory_order_release);
}

/* The consumer has just taken the places [first, first + n). */
static void probe_end(struct assay_group *g, uint64_t first, size_t n)
{
    unsigned state = PROBE_SET;
    if (atomic_load_explicit(&g->probe, memory_order_relaxed) != PROBE_SET)
        return;
    if (!atomic_compare_exchange_strong_explicit(&g->probe, &state, PROBE_READING, memory_order_acquire,
                                                 memory_order_relaxed))
        return;
    uint64_t place = g->probe_place;
    if (place >= first + n) { /* still on the ring */
        atomic_store_explicit(&g->probe, PROBE_SET, memory_order_release);
        return;
    }
    if (place >= first) {
        int64_t d = assay_mono_ns() - g->probe_ns;
        uint64_t ns = d > 0 ? (uint64_t)d : 0;
        (void)atomic_fetch_add_explicit(&g->timed, 1, memory_order_relaxed);
        (void)atomic_fetch_add_explicit(&g->wait_ns, ns, memory_order_relaxed);
        if (ns > atomic_load_explicit(&g->wait_ns_max, memory_order_relaxed)) /* probes are one at a time */
            atomic_store_explicit(&g->wait_ns_max, ns, memory_order_relaxed);
    }
    atomic_store_explicit(&g->probe, PROBE_FREE, memory_order_release);
}

static bool group_push(struct assay_group *g, uint64_t item)
{
    unsigned probe = PROBE_FREE;
    int64_t ns = 0;
    bool timed = atomic_load_explicit(&g->probe, memory_order_relaxed) == PROBE_FREE &&
                 atomic_compare_exchange_strong_explicit(&g->probe, &probe, PROBE_SETTING, memory_order_acquire,
                                                         memory_order_relaxed);
    if (timed)
        ns = assay_mono_ns();
    uint64_t place = 0;
    bool ok = assay_ring_push_n(g->ring, &item, 1, &place) == 1;
    if (!ok) {
        (void)atomic_fetch_add_explicit(&g->refused, 1, memory_order_relaxed);
        /* an older mark is due earlier, so it stays */
        uint64_t none = 0;
        (void)atomic_compare_exchange_strong_explicit(&g->rescan, &none, assay_ring_pushed(g->ring) + 1,
                                                      memory_order_release, memory_order_relaxed);
    }
    if (timed && ok)
        probe_start(g, place, ns);
    else if (timed)
        atomic_store_explicit(&g->probe, PROBE_FREE, memory_order_release);
    assay_bell_ring(&g->bell);
    return ok;
}

int assay_topics_publish(struct assay_topics *t, struct assay_str topic, uint64_t item)
{
    assert(t != NULL && t->magic == TOPICS_MAGIC);
    bool all = true;
    size_t n = atomic_load_explicit(&t->n, memory_order_acquire);
    for (size_t i = 0; i < n; i++)
        if (wants(t->group[i], topic) && !group_push(t->group[i], item))
            all = false;
    return all ? 0 : ASSAY_E_BUSY;
}

/* One look at ring and flag. */
static size_t look(struct assay_group *g, uint64_t *items, size_t max, bool *rescan)
{
    uint64_t first = 0;
    size_t n = assay_ring_pop_n(g->ring, items, max, &first);
    if (n > 0)
        probe_end(g, first, n);
    *rescan = false;
    uint64_t mark = atomic_load_explicit(&g->rescan, memory_order_relaxed);
    if (mark != 0 && assay_ring_popped(g->ring) >= mark - 1 &&
        atomic_compare_exchange_strong_explicit(&g->rescan, &mark, 0, memory_order_acquire, memory_order_relaxed)) {
        *rescan = true;
        (void)atomic_fetch_add_explicit(&g->rescans, 1, memory_order_relaxed);
    }
    return n;
}

/* The caller leaves with work: others that sleep must not depend on the ring that woke it. */
static void pass_baton(struct assay_group *g)
{
    if (atomic_load_explicit(&g->sleepers, memory_order_seq_cst) == 0)
        return;
    assay_bell_arm(&g->bell);
    if (assay_ring_depth(g->ring) > 0 || atomic_load_explicit(&g->rescan, memory_order_relaxed) != 0)
        assay_bell_ring(&g->bell);
}

size_t assay_group_take(struct assay_group *g, uint64_t *items, size_t max, bool *rescan)
{
    check(g);
    assert(max > 0);
    size_t n = look(g, items, max, rescan);
    if (n > 0 || *rescan) {
        pass_baton(g);
        return n;
    }
    assay_bell_silence(&g->bell); /* only on the way to sleep: a busy consumer makes no system call */
    assay_bell_arm(&g->bell);
    n = look(g, items, max, rescan);
    if (n > 0 || *rescan)
        pass_baton(g);
    return n;
}

size_t assay_group_wait(struct assay_group *g, uint64_t *items, size_t max, int64_t timeout_ms, bool *rescan)
{
    check(g);
    assert(max > 0);
    size_t n = look(g, items, max, rescan);
    if (n > 0 || *rescan) {
        pass_baton(g);
        return n;
    }
    const int64_t end_ns = timeout_ms < 0 ? INT64_MAX : assay_mono_ns() + timeout_ms * 1000000;
    bool more = true;
    (void)atomic_fetch_add_explicit(&g->sleepers, 1, memory_order_seq_cst);
    for (;;) {
        assay_bell_arm(&g->bell);
        n = look(g, items, max, rescan);
        if (n > 0 || *rescan || !more || atomic_load_explicit(&g->interrupted, memory_order_acquire))
            break;
        int64_t left_ms = -1;
        if (timeout_ms >= 0) {
            int64_t left = end_ns - assay_mono_ns();
            left_ms = left <= 0 ? 0 : (left + 999999) / 1000000;
        }
        if (assay_bell_sleep(&g->bell, left_ms)) {
            if (!atomic_load_explicit(&g->interrupted, memory_order_acquire)) /* an interrupt rings for all, for ever */
                assay_bell_silence(&g->bell);
        } else {
            more = false; /* one last look, armed: a ring that came meanwhile is not swallowed */
        }
    }
    (void)atomic_fetch_sub_explicit(&g->sleepers, 1, memory_order_seq_cst);
    pass_baton(g);
    return n;
}

void assay_group_interrupt(struct assay_group *g)
{
    check(g);
    atomic_store_explicit(&g->interrupted, true, memory_order_release);
    assay_bell_force(&g->bell);
}

int assay_group_fd(const struct assay_group *g)
{
    check(g);
    return g->bell.fd;
}

const char *assay_group_name(const struct assay_group *g)
{
    check(g);
    return g->name;
}

struct assay_group *assay_topics_group(struct assay_topics *t, size_t i)
{
    assert(t != NULL && t->magic == TOPICS_MAGIC);
    return i < atomic_load_explicit(&t->n, memory_order_acquire) ? t->group[i] : NULL;
}

void assay_group_stats(const struct assay_group *g, struct assay_group_stats *out)
{
    check(g);
    out->depth = assay_ring_depth(g->ring);
    out->size = assay_ring_size(g->ring);
    out->published = assay_ring_pushed(g->ring);
    out->taken = assay_ring_popped(g->ring);
    out->refused = atomic_load_explicit(&g->refused, memory_order_relaxed);
    out->rescans = atomic_load_explicit(&g->rescans, memory_order_relaxed);
    out->rings = atomic_load_explicit(&g->bell.rings, memory_order_relaxed);
    out->timed = atomic_load_explicit(&g->timed, memory_order_relaxed);
    out->wait_ns = atomic_load_explicit(&g->wait_ns, memory_order_relaxed);
    out->wait_ns_max = atomic_load_explicit(&g->wait_ns_max, memory_order_relaxed);
}
