/*
 * The dispatcher against a fake store: effects and cursor move together and each event counts once,
 * whatever fails; dead letters; local and bell subscriptions; another process on the same database;
 * draining.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <assay/value.h>

#include "gateway/cursors.h"
#include "gateway/dispatch.h"
#include "gateway/metrics.h"
#include "gateway/pool.h"
#include "queue/topics.h"

/* ---- a store in memory: an outbox, cursors, and effects as counts by event ---- */

enum { EVENTS = 4096, GROUPS = 8 };

struct fake {
    pthread_mutex_t lock;
    struct {
        char topic[32];
        char subject[24];
    } event[EVENTS + 1]; /* by seq */
    int64_t head;
    struct {
        char name[32];
        int64_t cursor;
    } group[GROUPS];
    unsigned effects[EVENTS + 1]; /* committed, by seq */
    int64_t dead[16];
    char dead_error[16][64];
    size_t n_dead;
    unsigned commits, empty_commits;
    /* orders */
    int64_t pruned_to;     /* events up to this are gone */
    int fail_next;         /* status of the next exec; 0: none */
    int64_t guard_on;      /* a transaction with this event's effect fails its guard while it is set */
    void (*committed)(void *arg, int64_t last_seq, const struct assay_event *ev, size_t n);
    void *arg;
};

static void f_lock(struct fake *f)
{
    assert_int_equal(pthread_mutex_lock(&f->lock), 0);
}
static void f_unlock(struct fake *f)
{
    assert_int_equal(pthread_mutex_unlock(&f->lock), 0);
}

static int64_t *f_cursor(struct fake *f, struct assay_str group)
{
    for (size_t i = 0; i < GROUPS; i++) {
        if (f->group[i].name[0] == '\0') {
            assert_true(group.n < sizeof f->group[i].name);
            memcpy(f->group[i].name, group.p, group.n);
        }
        if (assay_str_is(group, f->group[i].name))
            return &f->group[i].cursor;
    }
    fail();
    return NULL;
}

static const struct assay_stmt effect = {.name = "test.effect", .sql = "-", .params = "i", .columns = "", .write = true};

static int f_exec(void *self, struct assay_tx *tx, struct assay_err *err)
{
    struct fake *f = self;
    int r = 0;
    f_lock(f);
    if (f->fail_next != 0) {
        r = assay_err_set(err, f->fail_next, "ordered to fail");
        f->fail_next = 0;
    }
    int64_t *cursor = f_cursor(f, tx->cursor_group);
    if (r == 0 && (tx->cursor_to <= tx->cursor_from || *cursor != tx->cursor_from))
        r = assay_err_set(err, ASSAY_E_GUARD, "the cursor is at %lld", (long long)*cursor);
    for (size_t i = 0; r == 0 && i < tx->n_ops; i++)
        if (tx->op[i].args[0].i == f->guard_on)
            r = assay_err_set(err, ASSAY_E_GUARD, "statement %zu touched no row", i);
    if (r == 0) {
        for (size_t i = 0; i < tx->n_ops; i++)
            f->effects[tx->op[i].args[0].i]++;
        if (tx->dead_letter.seq > 0) {
            assert_true(f->n_dead < 16);
            f->dead[f->n_dead] = tx->dead_letter.seq;
            (void)snprintf(f->dead_error[f->n_dead++], 64, "%.*s", ASSAY_FMT(tx->dead_letter.error));
        }
        *cursor = tx->cursor_to;
        f->commits++;
        f->empty_commits += tx->n_ops == 0 && tx->dead_letter.seq == 0;
    }
    f_unlock(f);
    return r;
}

static int f_events(void *self, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                    struct assay_event_row **out, size_t *n, struct assay_err *err)
{
    struct fake *f = self;
    f_lock(f);
    if (after < f->pruned_to) {
        int r = assay_err_set(err, ASSAY_E_GONE, "events up to %lld are gone", (long long)f->pruned_to);
        f_unlock(f);
        return r;
    }
    struct assay_event_row *row = assay_arena_array(arena, max, sizeof *row);
    size_t k = 0;
    for (int64_t seq = after + 1; seq <= f->head && k < max; seq++) {
        bool wanted = topics == NULL;
        for (const char *const *t = topics; t != NULL && *t != NULL; t++)
            wanted = wanted || assay_topic_matches(*t, assay_str(f->event[seq].topic));
        if (wanted)
            row[k++] = (struct assay_event_row){
                .seq = seq,
                .at_ms = assay_now_ms(),
                .ev = {.topic = assay_arena_str(arena, assay_str(f->event[seq].topic)),
                       .subject = assay_arena_str(arena, assay_str(f->event[seq].subject))}};
    }
    *out = row;
    *n = k;
    f_unlock(f);
    return 0;
}

static int f_head(void *self, int64_t *seq, struct assay_err *err)
{
    struct fake *f = self;
    (void)err;
    f_lock(f);
    *seq = f->head;
    f_unlock(f);
    return 0;
}

static int f_cursor_get(void *self, struct assay_str group, int64_t *seq, struct assay_err *err)
{
    struct fake *f = self;
    (void)err;
    f_lock(f);
    *seq = *f_cursor(f, group);
    f_unlock(f);
    return 0;
}

static const struct assay_store_ops fake_ops = {
    .size = sizeof fake_ops, .exec = f_exec, .events = f_events, .events_head = f_head, .cursor_get = f_cursor_get};

/* Appends an event; rings the bell unless another process did it. */
static int64_t append(struct fake *f, const char *topic, bool ring)
{
    f_lock(f);
    int64_t seq = ++f->head;
    assert_true(seq <= EVENTS);
    (void)snprintf(f->event[seq].topic, sizeof f->event[seq].topic, "%s", topic);
    (void)snprintf(f->event[seq].subject, sizeof f->event[seq].subject, "s%lld", (long long)seq);
    f_unlock(f);
    if (ring && f->committed != NULL) {
        struct assay_event ev = {.topic = assay_str(topic)};
        f->committed(f->arg, seq, &ev, 1);
    }
    return seq;
}

/* ---- the rig ---- */

struct rig {
    struct fake *f;
    struct assay_store store;
    struct assay_pool *pool;
    struct assay_topics *topics;
    struct assay_metrics *metrics;
    struct assay_dispatch *d;
};

static void rig_begin(struct rig *r, struct fake *f, int64_t poll_ms)
{
    *r = (struct rig){.f = f};
    r->store = (struct assay_store){&fake_ops, f};
    r->pool = assay_pool_new(3, 64, 0, NULL);
    r->topics = assay_topics_new(16, NULL);
    r->metrics = assay_metrics_new(0, NULL);
    struct assay_dispatch_deps deps = {.store = &r->store,
                                       .pool = r->pool,
                                       .topics = r->topics,
                                       .metrics = r->metrics,
                                       .poll_ms = poll_ms,
                                       .retry_min_ms = 5,
                                       .retry_max_ms = 20};
    struct assay_err err = {0};
    r->d = assay_dispatch_new(&deps, &err);
    assert_non_null(r->d);
    f->committed = assay_dispatch_committed;
    f->arg = r->d;
}

static void rig_end(struct rig *r)
{
    r->f->committed = NULL;
    assert_int_equal(assay_dispatch_drain(r->d, 10000, NULL), 0);
    assay_dispatch_free(r->d);
    assay_pool_free(r->pool);
    assay_topics_free(r->topics);
    assay_metrics_free(r->metrics);
}

static struct fake *fake_new(void)
{
    struct fake *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(pthread_mutex_init(&f->lock, NULL), 0);
    return f;
}
static void fake_free(struct fake *f)
{
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

static bool metric_shows(struct rig *r, const char *line, struct assay_buf *text)
{
    assay_buf_reset(text);
    assert_int_equal(assay_metrics_expose(r->metrics, text, NULL), 0);
    char whole[200];
    (void)snprintf(whole, sizeof whole, "\n%s\n", line);
    return strstr(text->p, whole) != NULL;
}

/* Within a while: metrics follow the commit that they tell of. */
static void metric_is(struct rig *r, const char *line)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    bool yes = false;
    for (int i = 0; i < 5000 && !(yes = metric_shows(r, line, &b)); i++)
        (void)usleep(1000);
    if (!yes)
        fail_msg("no line \"%s\" in:\n%s", line, b.p);
    assay_buf_free(&b);
}

/* Waits (bounded) until the condition holds. */
#define SOON(cond)                                                                                                     \
    do {                                                                                                               \
        for (int soon_ = 0; soon_ < 20000 && !(cond); soon_++)                                                          \
            (void)usleep(1000);                                                                                        \
        assert_true(cond);                                                                                             \
    } while (0)

static bool caught_up(struct rig *r, const char *group, int64_t seq)
{
    bool yes = false;
    assert_int_equal(assay_dispatch_caught_up(r->d, assay_str(group), seq, &yes, NULL), 0);
    return yes;
}

static int64_t stored(struct fake *f, const char *group)
{
    int64_t seq = 0;
    (void)f_cursor_get(f, assay_str(group), &seq, NULL);
    return seq;
}

static unsigned effects(struct fake *f, int64_t seq)
{
    f_lock(f);
    unsigned n = f->effects[seq];
    f_unlock(f);
    return n;
}

/* ---- a subscriber with orders ---- */

struct taker {
    atomic_uint calls, inside, overlaps, bells;
    _Atomic int64_t refuse;  /* ASSAY_E_INVALID for this seq */
    _Atomic int64_t fail_at; /* fails fail_times times at this seq */
    atomic_int fail_times;
    atomic_uint slow_us;
    _Atomic int64_t last;
    atomic_bool disorder;
};

static int take(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    struct taker *t = self;
    if (atomic_fetch_add(&t->inside, 1) != 0)
        (void)atomic_fetch_add(&t->overlaps, 1);
    (void)atomic_fetch_add(&t->calls, 1);
    int r = 0;
    unsigned slow = atomic_load(&t->slow_us);
    if (slow > 0)
        (void)usleep(slow);
    if (ev == NULL) {
        assert_null(tx);
        (void)atomic_fetch_add(&t->bells, 1);
    } else {
        if (tx != NULL)
            (void)ASSAY_TX(tx, &effect, 1, ASSAY_VI(ev->seq));
        if (ev->seq == atomic_load(&t->refuse)) {
            r = assay_err_set(err, ASSAY_E_INVALID, "cannot read event %lld", (long long)ev->seq);
        } else if (ev->seq == atomic_load(&t->fail_at) && atomic_fetch_sub(&t->fail_times, 1) > 0) {
            r = assay_err_set(err, ASSAY_E_INTERNAL, "not yet");
        } else if (tx == NULL) {
            if (ev->seq <= atomic_load(&t->last))
                atomic_store(&t->disorder, true);
            atomic_store(&t->last, ev->seq);
        }
    }
    (void)atomic_fetch_sub(&t->inside, 1);
    return r;
}

static const char *const topics_a[] = {"a.*", NULL};
static const char *const topics_b[] = {"b.x", NULL};
static const struct assay_subscription durable_a = {"ga", topics_a, ASSAY_SUB_DURABLE, 8, take, NULL};
static const struct assay_subscription durable_b = {"gb", topics_b, ASSAY_SUB_DURABLE, 0, take, NULL};
static const struct assay_subscription local_a = {"la", topics_a, ASSAY_SUB_LOCAL, 4, take, NULL};
static const struct assay_subscription bell_a = {NULL, topics_a, ASSAY_SUB_BELL, 0, take, NULL};

static void each_event_has_its_effect_once(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    for (int i = 0; i < 20; i++)
        (void)append(f, i % 3 ? "a.made" : "other", false); /* before the start */
    rig_begin(&r, f, 1000);
    struct taker a = {0}, b = {0};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_add(r.d, &durable_b, &b, "pb", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    for (int i = 0; i < 300; i++)
        (void)append(f, i % 2 ? "a.done" : i % 4 ? "b.x" : "b.y", true);
    SOON(caught_up(&r, "ga", 320) && caught_up(&r, "gb", 320));
    SOON(stored(f, "ga") == 320 && stored(f, "gb") == 320); /* also over what nobody asked for */
    for (int64_t s = 1; s <= 320; s++) {
        const char *t = f->event[s].topic;
        assert_int_equal(effects(f, s), t[0] == 'a' || strcmp(t, "b.x") == 0);
    }
    assert_int_equal(atomic_load(&a.overlaps), 0);
    assert_false(caught_up(&r, "ga", 321));
    metric_is(&r, "assay_dispatch_deliveries_total{group=\"gb\"} 75");
    metric_is(&r, "assay_dispatch_lag_events{group=\"ga\"} 0");
    metric_is(&r, "assay_queue_size_items{group=\"pa/ga#0\"} 16");
    metric_is(&r, "assay_queue_depth_items{group=\"pa/ga#0\"} 0");
    rig_end(&r);
    fake_free(f);
}

static void a_failing_event_holds_the_group_and_nothing_is_done_twice(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    for (int i = 0; i < 10; i++)
        (void)append(f, "a.made", false);
    rig_begin(&r, f, 1000);
    struct taker a = {.fail_at = 4, .fail_times = 4};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(stored(f, "ga") == 10);
    for (int64_t s = 1; s <= 10; s++)
        assert_int_equal(effects(f, s), 1);
    assert_int_equal(f->n_dead, 0);
    /* the first failure, not as the first of its batch, is not yet counted as one */
    metric_is(&r, "assay_dispatch_failures_total{group=\"ga\"} 3");
    rig_end(&r);
    fake_free(f);
}

static void an_invalid_event_is_parked_with_its_error(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    for (int i = 0; i < 10; i++)
        (void)append(f, "a.made", false);
    rig_begin(&r, f, 1000);
    struct taker a = {.refuse = 5};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(stored(f, "ga") == 10);
    for (int64_t s = 1; s <= 10; s++)
        assert_int_equal(effects(f, s), s != 5);
    assert_int_equal(f->n_dead, 1);
    assert_int_equal(f->dead[0], 5);
    assert_string_equal(f->dead_error[0], "cannot read event 5");
    metric_is(&r, "assay_dispatch_dead_letters_total{group=\"ga\"} 1");
    rig_end(&r);
    fake_free(f);
}

static void a_guard_that_fails_is_found_alone(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    for (int i = 0; i < 8; i++)
        (void)append(f, "a.made", false);
    f->guard_on = 6;
    rig_begin(&r, f, 1000);
    struct taker a = {0};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(stored(f, "ga") == 5); /* those before it went through */
    (void)usleep(30000);
    assert_int_equal(stored(f, "ga"), 5); /* and it is never skipped */
    f_lock(f);
    f->guard_on = 0;
    f_unlock(f);
    SOON(stored(f, "ga") == 8);
    for (int64_t s = 1; s <= 8; s++)
        assert_int_equal(effects(f, s), 1);
    rig_end(&r);
    fake_free(f);
}

static void a_store_that_cannot_commit_costs_time_only(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    rig_begin(&r, f, 1000);
    struct taker a = {0};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    const int codes[] = {ASSAY_E_IO, ASSAY_E_BUSY, ASSAY_E_FULL, ASSAY_E_NOMEM};
    for (size_t i = 0; i < 4; i++) {
        f_lock(f);
        f->fail_next = codes[i];
        f_unlock(f);
        int64_t seq = append(f, "a.made", true);
        SOON(stored(f, "ga") == seq);
        assert_int_equal(effects(f, seq), 1);
    }
    assert_int_equal(f->n_dead, 0);
    rig_end(&r);
    fake_free(f);
}

#define GREEDY (ASSAY_TX_OPS * 2 / 5)
static int greedy(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)self;
    (void)err;
    for (int i = 0; i < GREEDY; i++) /* three of these do not fit in one transaction */
        (void)ASSAY_TX(tx, &effect, 1, ASSAY_VI(ev->seq));
    return 0;
}
static void a_batch_of_too_many_statements_is_split(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    for (int i = 0; i < 7; i++)
        (void)append(f, "a.made", false);
    rig_begin(&r, f, 1000);
    static const struct assay_subscription row = {"ga", topics_a, ASSAY_SUB_DURABLE, 0, greedy, NULL};
    assert_int_equal(assay_dispatch_add(r.d, &row, NULL, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(stored(f, "ga") == 7);
    for (int64_t s = 1; s <= 7; s++)
        assert_int_equal(effects(f, s), GREEDY);
    rig_end(&r);
    fake_free(f);
}

/* Of four events together it does not fit; the fifth it does not like. */
#define SETTLING (ASSAY_TX_OPS / 4)
static int settles(void *self, const struct assay_event_row *ev, size_t n, struct assay_tx *tx, struct assay_err *err)
{
    struct taker *t = self;
    (void)atomic_fetch_add(&t->bells, 1);
    for (size_t i = 0; i < n; i++) {
        if (ev[i].seq == 5)
            return assay_err_set(err, ASSAY_E_INVALID, "not the fifth");
        for (int k = 0; k < SETTLING; k++)
            (void)ASSAY_TX(tx, &effect, 1, ASSAY_VI(ev[i].seq));
    }
    return 0;
}
static void a_batch_is_settled_together_or_in_halves(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    for (int i = 0; i < 16; i++)
        (void)append(f, "a.made", false);
    rig_begin(&r, f, 1000);
    struct taker a = {0};
    static const struct assay_subscription row = {.group = "ga", .topics = topics_a, .kind = ASSAY_SUB_DURABLE, .deliver = take, .settle = settles};
    assert_int_equal(assay_dispatch_add(r.d, &row, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(stored(f, "ga") == 16);
    for (int64_t s = 1; s <= 16; s++)
        assert_int_equal(effects(f, s), s == 5 ? 0 : 1 + SETTLING); /* what deliver did goes with what settle did */
    assert_int_equal(f->n_dead, 1);
    assert_true(atomic_load(&a.bells) < 40);
    rig_end(&r);
    fake_free(f);
}

static void local_subscribers_see_all_from_their_start_on(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    for (int i = 0; i < 5; i++)
        (void)append(f, "a.old", false);
    rig_begin(&r, f, 1000);
    struct taker a = {.fail_at = 8, .fail_times = 2, .refuse = 9};
    assert_int_equal(assay_dispatch_add(r.d, &local_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    for (int i = 0; i < 50; i++)
        (void)append(f, "a.new", true);
    SOON(atomic_load(&a.last) == 55);
    assert_int_equal(atomic_load(&a.calls), 50 + 2); /* twice failed, once refused, none of the old */
    assert_false(atomic_load(&a.disorder));
    assert_int_equal(f->commits, 0); /* nothing is stored */
    rig_end(&r);
    fake_free(f);
}

static void a_bell_rings_once_at_start_and_coalesces(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    rig_begin(&r, f, 1000);
    struct taker a = {.slow_us = 20000};
    assert_int_equal(assay_dispatch_add(r.d, &bell_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(atomic_load(&a.bells) == 1);
    (void)usleep(60000);
    assert_int_equal(atomic_load(&a.bells), 1);
    for (int i = 0; i < 100; i++) /* more than the ring holds */
        (void)append(f, "a.x", true);
    (void)append(f, "other", true);
    SOON(atomic_load(&a.bells) >= 2);
    (void)usleep(100000);
    assert_in_range(atomic_load(&a.bells), 2, 20);
    assert_int_equal(atomic_load(&a.overlaps), 0);
    rig_end(&r);
    fake_free(f);
}

static void events_of_another_process_are_found_by_polling(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    rig_begin(&r, f, 20);
    struct taker a = {0}, l = {0}, b = {0};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_add(r.d, &local_a, &l, "pl", NULL), 0);
    assert_int_equal(assay_dispatch_add(r.d, &bell_a, &b, "pb", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(atomic_load(&b.bells) == 1);
    int64_t seq = append(f, "a.made", false);
    SOON(stored(f, "ga") == seq && atomic_load(&l.last) == seq && atomic_load(&b.bells) == 2);
    assert_int_equal(effects(f, seq), 1);
    rig_end(&r);
    fake_free(f);
}

static void two_processes_on_one_database_share_a_group(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r, q;
    rig_begin(&q, f, 10);
    rig_begin(&r, f, 10);
    struct taker a = {0}, b = {0};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_add(q.d, &durable_a, &b, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    assert_int_equal(assay_dispatch_start(q.d, NULL), 0);
    for (int i = 0; i < 1000; i++) {
        int64_t seq = append(f, "a.made", true);
        if (i % 3 == 0) {
            struct assay_event ev = {.topic = ASSAY_STR("a.made")};
            assay_dispatch_committed(q.d, seq, &ev, 1);
        }
    }
    SOON(stored(f, "ga") == 1000);
    for (int64_t s = 1; s <= 1000; s++)
        assert_int_equal(effects(f, s), 1);
    /* both know, the one that did not do the last batch too */
    SOON(caught_up(&r, "ga", 1000) && caught_up(&q, "ga", 1000));
    assert_true(caught_up(&r, "nobody-here", 0));
    rig_end(&r);
    rig_end(&q);
    fake_free(f);
}

static void draining_finishes_the_delivery_in_hand_and_begins_none(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    for (int i = 0; i < 100; i++)
        (void)append(f, "a.made", false);
    rig_begin(&r, f, 1000);
    struct taker a = {.slow_us = 30000};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(atomic_load(&a.calls) >= 1);
    struct assay_err err = {0};
    assert_int_equal(assay_dispatch_drain(r.d, 0, &err), ASSAY_E_TIMEOUT);
    assert_int_equal(assay_dispatch_drain(r.d, 5000, &err), 0);
    unsigned calls = atomic_load(&a.calls);
    assert_true(calls < 20);
    assert_int_equal(stored(f, "ga"), calls); /* what was begun is committed */
    (void)append(f, "a.made", true);
    (void)usleep(50000);
    assert_int_equal(atomic_load(&a.calls), calls);
    rig_end(&r);
    fake_free(f);
}

static void an_expired_cursor_stands_still_until_a_person_resets_it(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    rig_begin(&r, f, 20);
    struct taker a = {0}, b = {0};
    struct assay_err err = {0};
    struct assay_cursor_place was;
    for (int i = 0; i < 10; i++)
        (void)append(f, i % 2 ? "a.made" : "b.x", false);
    *f_cursor(f, ASSAY_STR("ga")) = 2;
    *f_cursor(f, ASSAY_STR("gb")) = 10;
    f->pruned_to = 6;
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_add(r.d, &durable_b, &b, "pb", NULL), 0);
    assert_int_equal(assay_dispatch_health(r.d, &err), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    SOON(assay_dispatch_health(r.d, &err) == ASSAY_E_GONE);
    assert_non_null(strstr(err.msg, ": ga;"));
    assert_non_null(strstr(err.msg, "assayd --reset-cursor="));
    int64_t seq = append(f, "b.x", true);
    SOON(stored(f, "gb") == seq); /* the others go on */
    assert_int_equal(stored(f, "ga"), 2);
    assert_int_equal(atomic_load(&a.calls), 0);

    assert_int_equal(assay_cursor_reset(&r.store, ASSAY_STR("gb"), &was, &err), ASSAY_E_CONFLICT);
    assert_int_equal(stored(f, "gb"), seq);
    assert_int_equal(assay_cursor_find(&r.store, ASSAY_STR("ga"), &was, &err), 0);
    assert_int_equal(was.at, 2);
    assert_int_equal(was.oldest, 6);
    assert_int_equal(was.head, seq);
    /* by another process on the same database: the one that runs notices by itself */
    assert_int_equal(assay_cursor_reset(&r.store, ASSAY_STR("ga"), &was, &err), 0);
    assert_int_equal(was.at, 2);
    assert_int_equal(was.oldest, 6);
    SOON(stored(f, "ga") == seq && assay_dispatch_health(r.d, &err) == 0);
    for (int64_t s = 1; s <= 10; s++)
        assert_int_equal(effects(f, s), s > 6 && s % 2 == 0 ? 1 : 0);
    assert_int_equal(assay_cursor_reset(&r.store, ASSAY_STR("ga"), &was, &err), ASSAY_E_CONFLICT);

    /* a group that is new on an old store has a cursor that was never stored */
    assert_int_equal(assay_cursor_reset(&r.store, ASSAY_STR("new"), &was, &err), 0);
    assert_int_equal(was.at, 0);
    assert_int_equal(stored(f, "new"), 6);
    /* everything but the head is gone, and a store without events has nothing to expire */
    f->pruned_to = seq - 1;
    assert_int_equal(assay_cursor_find(&r.store, ASSAY_STR("new"), &was, &err), 0);
    assert_int_equal(was.oldest, seq - 1);
    f->head = f->pruned_to = 0;
    *f_cursor(f, ASSAY_STR("none")) = 0;
    assert_int_equal(assay_cursor_reset(&r.store, ASSAY_STR("none"), &was, &err), ASSAY_E_CONFLICT);
    f->head = seq;
    rig_end(&r);
    fake_free(f);
}

static void a_full_pool_only_delays(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    rig_begin(&r, f, 1000);
    assay_dispatch_free(r.d);
    assay_pool_free(r.pool);
    assay_metrics_free(r.metrics);
    assay_topics_free(r.topics);
    r.pool = assay_pool_new(1, 1, 0, NULL); /* one worker, one place, three actors */
    r.topics = assay_topics_new(4, NULL);
    r.metrics = assay_metrics_new(0, NULL);
    struct assay_dispatch_deps deps = {.store = &r.store, .pool = r.pool, .topics = r.topics, .metrics = r.metrics};
    r.d = assay_dispatch_new(&deps, NULL);
    f->arg = r.d;
    struct taker a = {.slow_us = 3000}, b = {.slow_us = 3000}, l = {0};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "pa", NULL), 0);
    assert_int_equal(assay_dispatch_add(r.d, &durable_b, &b, "pb", NULL), 0);
    assert_int_equal(assay_dispatch_add(r.d, &local_a, &l, "pl", NULL), 0);
    assert_int_equal(assay_dispatch_start(r.d, NULL), 0);
    int64_t seq = 0;
    for (int i = 0; i < 60; i++)
        seq = append(f, i % 2 ? "a.made" : "b.x", true);
    SOON(stored(f, "ga") == seq && stored(f, "gb") == seq && atomic_load(&l.last) == seq);
    for (int64_t s = 1; s <= seq; s++)
        assert_int_equal(effects(f, s), 1);
    rig_end(&r);
    fake_free(f);
}

static void bad_rows_are_refused(void **state)
{
    (void)state;
    struct fake *f = fake_new();
    struct rig r;
    rig_begin(&r, f, 1000);
    struct assay_err err = {0};
    static const char *const none[] = {NULL};
    const struct assay_subscription bad[] = {{"g", topics_a, ASSAY_SUB_DURABLE, 0, NULL, NULL},
                                             {"g", NULL, ASSAY_SUB_DURABLE, 0, take, NULL},
                                             {"g", none, ASSAY_SUB_LOCAL, 0, take, NULL},
                                             {NULL, topics_a, ASSAY_SUB_DURABLE, 0, take, NULL},
                                             {"g", topics_a, (enum assay_sub_kind)7, 0, take, NULL}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(assay_dispatch_add(r.d, &bad[i], NULL, "p", &err), ASSAY_E_CONFIG);
    struct taker a = {0};
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "p1", &err), 0);
    assert_int_equal(assay_dispatch_add(r.d, &durable_a, &a, "p2", &err), ASSAY_E_CONFLICT);
    assert_string_equal(err.msg, "p2: the durable group \"ga\" belongs to p1");
    rig_end(&r);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_rows_are_refused),
        cmocka_unit_test(each_event_has_its_effect_once),
        cmocka_unit_test(a_failing_event_holds_the_group_and_nothing_is_done_twice),
        cmocka_unit_test(an_invalid_event_is_parked_with_its_error),
        cmocka_unit_test(a_guard_that_fails_is_found_alone),
        cmocka_unit_test(a_store_that_cannot_commit_costs_time_only),
        cmocka_unit_test(a_batch_of_too_many_statements_is_split),
        cmocka_unit_test(a_batch_is_settled_together_or_in_halves),
        cmocka_unit_test(local_subscribers_see_all_from_their_start_on),
        cmocka_unit_test(a_bell_rings_once_at_start_and_coalesces),
        cmocka_unit_test(events_of_another_process_are_found_by_polling),
        cmocka_unit_test(two_processes_on_one_database_share_a_group),
        cmocka_unit_test(draining_finishes_the_delivery_in_hand_and_begins_none),
        cmocka_unit_test(an_expired_cursor_stands_still_until_a_person_resets_it),
        cmocka_unit_test(a_full_pool_only_delays),
    };
    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
