/*
 * The worker pool: bounds, timers, draining, and that every accepted job runs exactly once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include <assay/value.h>

#include "gateway/pool.h"

struct gate { /* a job that waits until it is let go */
    sem_t entered, go;
    atomic_uint runs;
};
static void gate_init(struct gate *g)
{
    assert_int_equal(sem_init(&g->entered, 0, 0), 0);
    assert_int_equal(sem_init(&g->go, 0, 0), 0);
    atomic_init(&g->runs, 0);
}
static void block(void *arg)
{
    struct gate *g = arg;
    (void)sem_post(&g->entered);
    while (sem_wait(&g->go) != 0) {
    }
    (void)atomic_fetch_add(&g->runs, 1);
}
static void count(void *arg)
{
    (void)atomic_fetch_add((atomic_uint *)arg, 1);
}
static void poke(void *arg)
{
    (void)sem_post(arg);
}
static void sem_take(sem_t *s)
{
    while (sem_wait(s) != 0) {
    }
}

static void refuses_when_the_queue_is_full(void **state)
{
    (void)state;
    struct assay_pool *p = assay_pool_new(1, 2, 0, NULL);
    assert_non_null(p);
    struct gate g;
    gate_init(&g);
    atomic_uint n = 0;
    assert_int_equal(assay_pool_submit(p, block, &g), 0);
    sem_take(&g.entered);
    assert_int_equal(assay_pool_submit(p, count, &n), 0);
    assert_int_equal(assay_pool_submit(p, count, &n), 0);
    assert_int_equal(assay_pool_submit(p, count, &n), ASSAY_E_BUSY);
    struct assay_pool_stats st;
    assay_pool_stats(p, &st);
    assert_int_equal(st.running, 1);
    assert_int_equal(st.queued, 2);
    assert_int_equal(st.refused, 1);
    assert_int_equal(st.threads, 1);
    (void)sem_post(&g.go);
    assert_int_equal(assay_pool_drain(p, 5000, NULL), 0);
    assert_int_equal(atomic_load(&n), 2);
    assay_pool_stats(p, &st);
    assert_int_equal(st.finished, 3);
    assay_pool_free(p);
}

struct order {
    atomic_uint next;
    unsigned at[4];
    sem_t done;
};
struct step {
    struct order *o;
    unsigned i;
};
static void note(void *arg)
{
    struct step *s = arg;
    s->o->at[s->i] = atomic_fetch_add(&s->o->next, 1);
    (void)sem_post(&s->o->done);
}

static void timers_fire_in_order_and_not_early(void **state)
{
    (void)state;
    struct assay_pool *p = assay_pool_new(1, 8, 0, NULL);
    struct order o = {0};
    assert_int_equal(sem_init(&o.done, 0, 0), 0);
    struct step s[4] = {{&o, 0}, {&o, 1}, {&o, 2}, {&o, 3}};
    int64_t t0 = assay_mono_ns();
    assert_int_equal(assay_pool_after(p, 60, note, NULL, &s[2]), 0);
    assert_int_equal(assay_pool_after(p, 20, note, NULL, &s[0]), 0); /* earlier than the one slept for */
    assert_int_equal(assay_pool_after(p, 90, note, NULL, &s[3]), 0);
    assert_int_equal(assay_pool_after(p, 40, note, NULL, &s[1]), 0);
    for (unsigned i = 0; i < 4; i++)
        sem_take(&o.done);
    assert_true(assay_mono_ns() - t0 >= 90000000);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(o.at[i], i);
    assay_pool_free(p);
}

static void a_timer_fires_while_other_workers_are_busy(void **state)
{
    (void)state;
    struct assay_pool *p = assay_pool_new(2, 8, 0, NULL);
    struct gate g;
    gate_init(&g);
    sem_t fired;
    assert_int_equal(sem_init(&fired, 0, 0), 0);
    /* the worker that sleeps for the timer is also the one that takes the job: the lead must pass on */
    assert_int_equal(assay_pool_after(p, 30, poke, NULL, &fired), 0);
    (void)usleep(5000);
    assert_int_equal(assay_pool_submit(p, block, &g), 0);
    sem_take(&g.entered);
    sem_take(&fired);
    (void)sem_post(&g.go);
    assay_pool_free(p);
}

static void a_due_timer_goes_before_queued_jobs(void **state)
{
    (void)state;
    struct assay_pool *p = assay_pool_new(1, 8, 0, NULL);
    struct gate g;
    gate_init(&g);
    struct order o = {0};
    assert_int_equal(sem_init(&o.done, 0, 0), 0);
    struct step job = {&o, 0}, timer = {&o, 1};
    assert_int_equal(assay_pool_submit(p, block, &g), 0);
    sem_take(&g.entered);
    assert_int_equal(assay_pool_submit(p, note, &job), 0);
    assert_int_equal(assay_pool_after(p, 0, note, NULL, &timer), 0);
    (void)sem_post(&g.go);
    sem_take(&o.done);
    sem_take(&o.done);
    assert_int_equal(o.at[1], 0);
    assert_int_equal(o.at[0], 1);
    assay_pool_free(p);
}

static void timers_are_bounded(void **state)
{
    (void)state;
    struct assay_pool *p = assay_pool_new(1, 1, 100, NULL);
    atomic_uint n = 0, dropped = 0;
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(assay_pool_after(p, 3600000, count, count, i % 2 ? &dropped : &n), 0);
    assert_int_equal(assay_pool_after(p, 3600000, count, count, &n), ASSAY_E_BUSY);
    assert_int_equal(assay_pool_drain(p, 1000, NULL), 0);
    assert_int_equal(atomic_load(&dropped), 50); /* each of them was told */
    assert_int_equal(atomic_load(&n), 50);
    assay_pool_free(p);
}

static void draining_finishes_what_was_accepted_and_refuses_the_rest(void **state)
{
    (void)state;
    struct assay_pool *p = assay_pool_new(2, 16, 0, NULL);
    struct gate g;
    gate_init(&g);
    atomic_uint n = 0, never = 0;
    assert_int_equal(assay_pool_submit(p, block, &g), 0);
    sem_take(&g.entered);
    for (int i = 0; i < 10; i++)
        assert_int_equal(assay_pool_submit(p, count, &n), 0);
    assert_int_equal(assay_pool_after(p, 60000, count, NULL, &never), 0);
    struct assay_err err = {0};
    assert_int_equal(assay_pool_drain(p, 30, &err), ASSAY_E_TIMEOUT);
    assert_string_equal(err.msg, "1 jobs still run and 0 wait");
    assert_int_equal(assay_pool_submit(p, count, &n), ASSAY_E_BUSY);
    assert_int_equal(assay_pool_after(p, 0, count, NULL, &n), ASSAY_E_BUSY);
    (void)sem_post(&g.go);
    assert_int_equal(assay_pool_drain(p, 5000, &err), 0);
    assert_int_equal(atomic_load(&n), 10);
    assert_int_equal(atomic_load(&never), 0);
    assay_pool_free(p);
}

/* ---- stress: submitters against workers, each accepted job once ---- */

struct storm {
    struct assay_pool *p;
    atomic_uint accepted, ran;
};
static void ran(void *arg)
{
    (void)atomic_fetch_add(&((struct storm *)arg)->ran, 1);
}
static void *submitter(void *arg)
{
    struct storm *s = arg;
    for (unsigned i = 0; i < 20000; i++) {
        int r = i % 5 == 0 ? assay_pool_after(s->p, i % 3, ran, NULL, s) : assay_pool_submit(s->p, ran, s);
        if (r == 0)
            (void)atomic_fetch_add(&s->accepted, 1);
    }
    return NULL;
}
static void every_accepted_job_runs_once(void **state)
{
    (void)state;
    struct storm s = {.p = assay_pool_new(3, 64, 0, NULL)};
    pthread_t t[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, submitter, &s), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    for (int i = 0; i < 5000 && atomic_load(&s.ran) != atomic_load(&s.accepted); i++)
        (void)usleep(1000);
    assert_int_equal(atomic_load(&s.ran), atomic_load(&s.accepted));
    assert_true(atomic_load(&s.accepted) > 0);
    assay_pool_free(s.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_when_the_queue_is_full),
        cmocka_unit_test(timers_fire_in_order_and_not_early),
        cmocka_unit_test(a_timer_fires_while_other_workers_are_busy),
        cmocka_unit_test(a_due_timer_goes_before_queued_jobs),
        cmocka_unit_test(timers_are_bounded),
        cmocka_unit_test(draining_finishes_what_was_accepted_and_refuses_the_rest),
        cmocka_unit_test(every_accepted_job_runs_once),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
