/*
 * Whether a box's figures can be trusted: the same fixed work as a bare process pinned to one processor and in a
 * box pinned to the same one, one of each in turn.
 *
 *     bench/measure_bench [ROUNDS] [WORK]
 *
 * Prints the medians and the spreads (90th less 10th percentile) of the CPU time of both (the bare one's by wait4, the
 * box's as reported), and how far what the box reports is from the program's own CLOCK_PROCESS_CPUTIME_ID,
 * which the program prints as its last act.  CPU time only: who else is busy shows in it little, and in both alike.
 */
#include "tests/unit/warden_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "tests/boxes/measured"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Gives the CPU time by wait4, in microseconds. */
static double bare(const char *work, int cpu)
{
    int status;
    struct rusage ru;
    pid_t pid = fork();
    if (pid == 0) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (sched_setaffinity(0, sizeof one, &one) == 0 && null >= 0 && dup2(null, 1) == 1)
            (void)execl(PROGRAM, PROGRAM, "work", work, (char *)NULL);
        _exit(126);
    }
    if (pid < 0 || wait4(pid, &status, 0, &ru) != pid || status != 0)
        fail(PROGRAM);
    return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e6 + (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

static struct assay_box_outcome boxed(struct fixture *f, const struct assay_box_spec *spec, double *own)
{
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT, errout = ASSAY_BUF_INIT;
    struct assay_box_outcome o;
    struct assay_err err;
    if (assay_box_client_run_sync(f->client, spec, &out, &errout, &o, &err) < 0 || o.end != ASSAY_BOX_EXITED || o.exit_code != 0) {
        (void)fprintf(stderr, "the box failed\n");
        exit(1);
    }
    *own = strtod(out.p, NULL) / 1000;
    return o;
}

static void show(const char *what, double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    printf("%-6s median %.0f us  spread %.0f us\n", what, v[n / 2], v[n * 9 / 10] - v[n / 10]);
}

int main(int argc, char **argv)
{
    size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 60;
    const char *work = argc > 2 ? argv[2] : "30000";
    int cpu = sched_getcpu();
    struct fixture f;
    double *free_cpu = calloc(rounds, sizeof(double)), *box_cpu = calloc(rounds, sizeof(double)), *off = calloc(rounds, sizeof(double));
    double worst = 0, before;
    size_t within = 0;
    struct assay_str program = fixture_read(PROGRAM);
    if (rounds == 0 || cpu < 0 || cpu >= 1024 || free_cpu == NULL || box_cpu == NULL || off == NULL || program.p == NULL ||
        !fixture_start(&f, geteuid() == 0 ? "native" : "userns", NULL, true, false))
        fail("the bench");
    struct assay_str words[] = {ASSAY_STR("prog"), ASSAY_STR("work"), assay_str(work)};
    struct assay_box_file file = {ASSAY_STR("prog"), program, 0755};
    struct assay_box_spec spec = {.argv = words,
                                  .n_argv = 3,
                                  .files = &file,
                                  .n_files = 1,
                                  .limits = {.cpu_ms = 60000, .wall_ms = 600000, .memory_bytes = 64 << 20, .stdout_bytes = 4096}};
    spec.cpus[(unsigned)cpu / 64] = UINT64_C(1) << ((unsigned)cpu % 64);
    for (size_t i = 0; i < rounds; i++) {
        if (i % 2 == 0)
            free_cpu[i] = bare(work, cpu);
        struct assay_box_outcome o = boxed(&f, &spec, &before);
        if (i % 2 != 0)
            free_cpu[i] = bare(work, cpu);
        box_cpu[i] = (double)o.cpu_us;
        off[i] = box_cpu[i] - before;
        worst = off[i] > worst ? off[i] : worst;
        within += off[i] >= 0 && off[i] <= before / 100 + 1000;
    }
    show("bare", free_cpu, rounds);
    show("box", box_cpu, rounds);
    show("off", off, rounds);
    printf("within 1 %% + 1 ms of the program's own clock: %zu of %zu, worst %.0f us; leaf %s\n", within, rounds, worst,
           f.leaf ? "yes" : "no");
    int status;
    (void)fixture_stop(&f, &status);
    free(free_cpu);
    free(box_cpu);
    free(off);
    free((char *)(uintptr_t)program.p);
    return 0;
}
