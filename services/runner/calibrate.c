/*
 * Calibration: what a box costs by itself.
 *
 * The first lane that is idle runs a program that does nothing, CALIBRATION_RUNS times, before anything else is
 * given to it.  The medians are said in the log and by GET /runners: how much CPU time and memory a program is
 * charged for being started, and how long a start takes, on this machine now.  A reader can hold a result
 * against them; we subtract nothing, so that a result is what the kernel counted.
 *
 * /bin/true is what every root has.  It is dynamically linked in most, so the dynamic loader is in the figures, as it
 * is in those of the programs.
 */
#include "loop.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static int64_t median(int64_t *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

static void publish(struct loop *l, const struct calibration *c)
{
    pthread_mutex_lock(&l->lock);
    l->look.calibration = *c;
    pthread_mutex_unlock(&l->lock);
}

static void give_up(struct loop *l, const char *why)
{
    struct calibration c = {.runs = 0};
    l->calibrating.done = true;
    put_text(c.trouble, sizeof c.trouble, "%s", why);
    publish(l, &c);
    assay_log(l->r->host, ASSAY_LOG_WARN, "runner_not_calibrated", ASSAY_KZ("reason", why));
}

/* A slot of this lane that can run something now. */
static struct slot *standing(const struct loop *l, const struct lane *la)
{
    for (size_t i = 0; i < l->r->environments.n; i++) {
        struct slot *s = &la->slot[i];
        if (slot_stands(s) && !assay_box_client_busy(s->client))
            return s;
    }
    return NULL;
}

bool lane_calibrate(struct loop *l, struct lane *la)
{
    static const struct assay_str argv[] = {{"/bin/true", 9}};
    struct assay_err err;
    struct slot *s = l->calibrating.slot != NULL ? l->calibrating.slot : standing(l, la);
    if (l->calibrating.done || s == NULL || s->lane != la || !slot_stands(s) || assay_box_client_busy(s->client))
        return false;
    struct assay_box_spec spec = {.argv = argv,
                                  .n_argv = 1,
                                  .seccomp = l->r->seccomp,
                                  .limits = {.cpu_ms = 5000,
                                             .wall_ms = 10000,
                                             .memory_bytes = (int64_t)64 << 20,
                                             .stdout_bytes = STORED_MAX,
                                             .stderr_bytes = STORED_MAX}};
    processors_of_lane(&l->r->processors, l->n_lanes, (size_t)la->index, false, spec.cpus);
    int rc = assay_box_client_run(s->client, &spec, &err);
    if (rc < 0) {
        give_up(l, err.msg);
        return false;
    }
    l->calibrating.slot = s;
    slot_arm(s);
    return true;
}

static void conclude(struct loop *l)
{
    struct timespec clock = {0, 0};
    size_t n = l->calibrating.n;
    const struct assay_box_outcome *last = &l->calibrating.slot->outcome;
    (void)clock_getres(CLOCK_MONOTONIC, &clock);
    struct calibration c = {.runs = (int64_t)n,
                            .cpu_us = median(l->calibrating.cpu_us, n),
                            .wall_us = median(l->calibrating.wall_us, n),
                            .memory_own_bytes = median(l->calibrating.own, n),
                            .memory_peak_bytes = median(l->calibrating.peak, n),
                            .clock_ns = clock.tv_nsec,
                            .tick_us = 1000000 / sysconf(_SC_CLK_TCK),
                            .pinned = (last->precision & 8) != 0};
    c.cpu_us_max = l->calibrating.cpu_us[n - 1];
    c.wall_us_max = l->calibrating.wall_us[n - 1];
    l->calibrating.done = true;
    publish(l, &c);
    const struct processors *p = &l->r->processors;
    assay_log(l->r->host, ASSAY_LOG_INFO, "runner_calibrated", ASSAY_KI("runs", c.runs), ASSAY_KI("empty_cpu_us", c.cpu_us),
              ASSAY_KI("empty_cpu_us_max", c.cpu_us_max), ASSAY_KI("empty_wall_us", c.wall_us),
              ASSAY_KI("empty_memory_bytes", c.memory_own_bytes), ASSAY_KI("clock_ns", c.clock_ns),
              ASSAY_KI("pinned", c.pinned), ASSAY_KI("processors", p->n), ASSAY_KI("cores", p->n_cores));
    if (l->n_lanes <= p->n && l->n_lanes > p->n_cores)
        assay_log(l->r->host, ASSAY_LOG_WARN, "slots_share_cores", ASSAY_KI("lanes", l->n_lanes), ASSAY_KI("cores", p->n_cores),
                  ASSAY_KZ("cost", "programs on two threads of a core slow each other down, and it is charged to them"),
                  ASSAY_KZ("remedy", "set RUNNER_MAX_PARALLEL to the number of cores"));
}

bool calibration_took(struct loop *l, struct slot *s)
{
    if (l->calibrating.slot != s || l->calibrating.done)
        return false;
    const struct assay_box_outcome *o = &s->outcome;
    if (o->end != ASSAY_BOX_EXITED || o->exit_code != 0) {
        char why[200];
        put_text(why, sizeof why, "/bin/true did not end well in a box: exit code %d, signal %d, %.100s", o->exit_code, o->signal,
                 o->message);
        give_up(l, why);
        return true;
    }
    size_t n = l->calibrating.n++;
    l->calibrating.cpu_us[n] = o->cpu_us;
    l->calibrating.wall_us[n] = o->wall_us;
    l->calibrating.own[n] = o->memory_own_bytes;
    l->calibrating.peak[n] = o->memory_peak_bytes;
    if (l->calibrating.n == CALIBRATION_RUNS)
        conclude(l);
    return true;
}

void calibration_lost(struct loop *l, const struct slot *s)
{
    if (l->calibrating.slot == s && !l->calibrating.done)
        l->calibrating.slot = NULL; /* another slot goes on */
}
