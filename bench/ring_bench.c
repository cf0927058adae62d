/*
 * How fast the ring is: items per second through one ring of 1024, by the number of threads on each
 * side and the size of batches.  Thread i is pinned to core i (modulo their number), producers and
 * consumers alternating, so that items do cross between cores where there are two; left to itself the
 * scheduler may put both sides on one core, which measures a warm cache and flatters.
 * Usage: ring_bench [duration of a row, default 1s].
 */
#include <time.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include <assay/value.h>

#include "queue/ring.h"

struct run {
    struct assay_ring *ring;
    size_t batch;
    atomic_bool stop;
    _Atomic uint64_t popped;
};

static void *producer(void *arg)
{
    struct run *r = arg;
    uint64_t item[32] = {0};
    while (!atomic_load_explicit(&r->stop, memory_order_relaxed))
        if (assay_ring_push_n(r->ring, item, r->batch, NULL) == 0)
            (void)sched_yield(); /* with more threads than cores, spinning would measure the scheduler */
    return NULL;
}

static void *consumer(void *arg)
{
    struct run *r = arg;
    uint64_t item[32], n = 0;
    while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
        size_t k = assay_ring_pop_n(r->ring, item, r->batch, NULL);
        if (k == 0)
            (void)sched_yield();
        n += k;
    }
    (void)atomic_fetch_add(&r->popped, n);
    return NULL;
}

static int row(unsigned side, size_t batch, double seconds)
{
    struct run r = {.ring = assay_ring_new(1024, NULL), .batch = batch};
    if (r.ring == NULL)
        return 1;
    pthread_t t[8];
    int64_t t0 = assay_mono_ns();
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    for (unsigned i = 0; i < 2 * side; i++) {
        if (pthread_create(&t[i], NULL, i % 2 == 0 ? producer : consumer, &r) != 0)
            return 1;
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(i % (unsigned)(cores > 0 ? cores : 1), &set);
        if (pthread_setaffinity_np(t[i], sizeof set, &set) != 0)
            (void)fprintf(stderr, "ring_bench: thread %u is not pinned\n", i);
    }
    struct timespec pause = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    (void)nanosleep(&pause, NULL);
    atomic_store(&r.stop, true);
    for (unsigned i = 0; i < 2 * side; i++)
        (void)pthread_join(t[i], NULL);
    double s = (double)(assay_mono_ns() - t0) / 1e9;
    (void)printf("ring %uP%uC batch %2zu: %7.2f Mops/s\n", side, side, batch, (double)atomic_load(&r.popped) / s / 1e6);
    assay_ring_free(r.ring);
    return 0;
}

int main(int argc, char **argv)
{
    double seconds = 1;
    if (argc > 1) {
        int64_t ms;
        struct assay_err err;
        if (assay_parse_duration_ms(assay_str(argv[1]), 1000, &ms, &err) != 0 || ms < 1) {
            (void)fprintf(stderr, "usage: ring_bench [duration per row]\n");
            return 2;
        }
        seconds = (double)ms / 1000;
    }
    int bad = 0;
    for (unsigned side = 1; side <= 2; side++) {
        bad |= row(side, 1, seconds);
        bad |= row(side, 32, seconds);
    }
    return bad;
}
