/*
 * Rings: sizes, order, bounds, batches, and conservation: whatever many producers push, many
 * consumers pop exactly once, each producer's items in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "queue/ring.h"

static void rounds_its_size_up_to_a_power_of_two(void **state)
{
    (void)state;
    const struct {
        size_t asked, got;
    } c[] = {{0, 2}, {1, 2}, {2, 2}, {3, 4}, {100, 128}, {128, 128}, {129, 256}, {(size_t)1 << 30, (size_t)1 << 20}};
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        struct assay_ring *r = assay_ring_new(c[i].asked, NULL);
        assert_non_null(r);
        assert_int_equal(assay_ring_size(r), c[i].got);
        assay_ring_free(r);
    }
}

static void is_first_in_first_out_and_refuses_when_full(void **state)
{
    (void)state;
    struct assay_ring *r = assay_ring_new(4, NULL);
    uint64_t v = 99;
    assert_false(assay_ring_pop(r, &v));
    assert_int_equal(v, 99); /* untouched */
    for (uint64_t lap = 0; lap < 10; lap++) {
        for (uint64_t i = 0; i < 4; i++)
            assert_true(assay_ring_push(r, lap * 10 + i));
        assert_false(assay_ring_push(r, 7));
        assert_int_equal(assay_ring_depth(r), 4);
        for (uint64_t i = 0; i < 4; i++) {
            assert_true(assay_ring_pop(r, &v));
            assert_int_equal(v, lap * 10 + i);
        }
        assert_false(assay_ring_pop(r, &v));
        assert_int_equal(assay_ring_depth(r), 0);
    }
    assert_int_equal(assay_ring_pushed(r), 40);
    assert_int_equal(assay_ring_popped(r), 40);
    assay_ring_free(r);
}

static void takes_as_much_of_a_batch_as_fits(void **state)
{
    (void)state;
    struct assay_ring *r = assay_ring_new(8, NULL);
    uint64_t in[20], out[20], pos = 0;
    for (uint64_t i = 0; i < 20; i++)
        in[i] = 1000 + i;
    assert_int_equal(assay_ring_push_n(r, in, 0, NULL), 0);
    assert_int_equal(assay_ring_pop_n(r, out, 20, NULL), 0);
    assert_int_equal(assay_ring_push_n(r, in, 5, &pos), 5);
    assert_int_equal(pos, 0);
    assert_int_equal(assay_ring_push_n(r, in + 5, 15, &pos), 3);
    assert_int_equal(pos, 5);
    assert_int_equal(assay_ring_push_n(r, in, 1, NULL), 0);
    assert_int_equal(assay_ring_pop_n(r, out, 6, &pos), 6);
    assert_int_equal(pos, 0);
    for (uint64_t i = 0; i < 6; i++)
        assert_int_equal(out[i], 1000 + i);
    assert_int_equal(assay_ring_push_n(r, in + 8, 12, &pos), 6); /* over the edge of the array */
    assert_int_equal(pos, 8);
    assert_int_equal(assay_ring_pop_n(r, out, 20, &pos), 8);
    assert_int_equal(pos, 6);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(out[i], 1006 + i);
    assay_ring_free(r);
}

/* ---- many producers, many consumers ---- */

enum { SIDES = 3, EACH = 60000 };

struct crowd {
    struct assay_ring *ring;
    size_t batch;
    atomic_uint id;
    atomic_uint_fast64_t popped;
    atomic_uchar *seen; /* SIDES * EACH: how often each item came out */
    atomic_bool disorder;
};

static void *produce(void *arg)
{
    struct crowd *c = arg;
    uint64_t me = atomic_fetch_add(&c->id, 1);
    uint64_t item[32];
    for (uint64_t i = 0; i < EACH;) {
        size_t n = EACH - i < c->batch ? (size_t)(EACH - i) : c->batch;
        for (size_t k = 0; k < n; k++)
            item[k] = me * EACH + i + k;
        size_t done = assay_ring_push_n(c->ring, item, n, NULL);
        if (done == 0)
            (void)sched_yield();
        i += done;
    }
    return NULL;
}

static void *consume(void *arg)
{
    struct crowd *c = arg;
    int64_t last[SIDES];
    for (size_t i = 0; i < SIDES; i++)
        last[i] = -1;
    uint64_t item[32];
    while (atomic_load(&c->popped) < (uint64_t)SIDES * EACH) {
        size_t n = assay_ring_pop_n(c->ring, item, c->batch, NULL);
        if (n == 0)
            (void)sched_yield();
        for (size_t k = 0; k < n; k++) {
            (void)atomic_fetch_add(&c->seen[item[k]], 1);
            size_t who = (size_t)(item[k] / EACH);
            if ((int64_t)item[k] <= last[who])
                atomic_store(&c->disorder, true);
            last[who] = (int64_t)item[k];
        }
        (void)atomic_fetch_add(&c->popped, n);
    }
    return NULL;
}

static void conserves(size_t size, size_t batch)
{
    struct crowd c = {.ring = assay_ring_new(size, NULL), .batch = batch};
    c.seen = calloc((size_t)SIDES * EACH, sizeof *c.seen);
    assert_non_null(c.ring);
    assert_non_null(c.seen);
    pthread_t t[2 * SIDES];
    for (size_t i = 0; i < 2 * SIDES; i++)
        assert_int_equal(pthread_create(&t[i], NULL, i < SIDES ? produce : consume, &c), 0);
    for (size_t i = 0; i < 2 * SIDES; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    for (size_t i = 0; i < (size_t)SIDES * EACH; i++)
        assert_int_equal(atomic_load(&c.seen[i]), 1);
    assert_false(atomic_load(&c.disorder));
    assert_int_equal(assay_ring_depth(c.ring), 0);
    free(c.seen);
    assay_ring_free(c.ring);
}

static void conserves_items_one_by_one(void **state)
{
    (void)state;
    conserves(128, 1);
}
static void conserves_items_in_batches(void **state)
{
    (void)state;
    conserves(128, 32);
}
static void conserves_items_on_the_smallest_ring(void **state)
{
    (void)state;
    conserves(2, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_its_size_up_to_a_power_of_two),
        cmocka_unit_test(is_first_in_first_out_and_refuses_when_full),
        cmocka_unit_test(takes_as_much_of_a_batch_as_fits),
        cmocka_unit_test(conserves_items_one_by_one),
        cmocka_unit_test(conserves_items_in_batches),
        cmocka_unit_test(conserves_items_on_the_smallest_ring),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
