/*
 * What a box costs: the same static no-op through posix_spawn + wait and in a fresh box with its
 * output captured, one of each in turn, so that both see the same machine.
 *
 *     bench/box_bench [ROUNDS] [--leaf|--no-leaf]
 *
 * Prints the medians, the 90th and 99th percentiles and the ratio of the medians (the bar: 4; the aim: 2.5), and the
 * CPU time per run of either way with that of all processes they used.
 */
#include "tests/unit/warden_fixture.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double bare(const char *path)
{
    char name[4096];
    pid_t pid;
    int status;
    (void)snprintf(name, sizeof name, "%s", path);
    char *argv[] = {name, NULL}, *env[] = {NULL};
    double t = now_us();
    if (posix_spawn(&pid, path, NULL, NULL, argv, env) != 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        (void)fprintf(stderr, "posix_spawn of %s failed\n", path);
        exit(1);
    }
    return now_us() - t;
}

static double boxed(struct fixture *f, const struct assay_box_spec *spec)
{
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT, errout = ASSAY_BUF_INIT;
    struct assay_box_outcome o;
    struct assay_err err;
    double t = now_us();
    if (assay_box_client_run_sync(f->client, spec, &out, &errout, &o, &err) < 0) {
        (void)fprintf(stderr, "box: %s\n", err.msg);
        exit(1);
    }
    t = now_us() - t;
    if (o.end != ASSAY_BOX_EXITED || o.exit_code != 0) {
        (void)fprintf(stderr, "box ended with %d (%s)\n", o.end, o.message);
        exit(1);
    }
    return t;
}

int main(int argc, char **argv)
{
    int rounds = 2000;
    bool leaf = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--no-leaf") == 0)
            leaf = false;
        else if (strcmp(argv[i], "--leaf") != 0)
            rounds = (int)strtol(argv[i], NULL, 10);
    }
    const char *noop = getenv("ASSAY_NOOP");
    if (!noop)
        noop = "tests/boxes/noop";
    struct fixture f;
    if (rounds < 10 || rounds > 1000000 || !fixture_start(&f, "native", NULL, leaf, false)) {
        (void)fprintf(stderr, "usage: box_bench [ROUNDS >= 10] [--no-leaf], as root, in the build directory\n");
        return 2;
    }
    struct assay_str program = fixture_read(noop);
    struct assay_str path = ASSAY_STR("noop");
    struct assay_box_limits limits = {.cpu_ms = 1000, .wall_ms = 5000, .memory_bytes = 64 << 20, .stdout_bytes = 65536,
                                      .stderr_bytes = 65536};
    /* built once and mounted by its hash, as a test run's program is */
    struct assay_box_file file = {.path = path, .bytes = program, .mode = 0755};
    struct assay_box_spec build = {.argv = &path, .n_argv = 1, .files = &file, .n_files = 1, .collect = &path, .n_collect = 1,
                                   .collect_bytes = 16 << 20, .limits = limits};
    struct assay_box_outcome o;
    struct assay_err err;
    if (assay_box_client_run_sync(f.client, &build, NULL, NULL, &o, &err) < 0 || !o.artefact[0]) {
        (void)fprintf(stderr, "the build box failed: %s\n", o.message);
        return 1;
    }
    struct assay_str inside = ASSAY_STR("app/noop");
    struct assay_box_mount mount = {.artefact = assay_str(o.artefact), .path = ASSAY_STR("app")};
    struct assay_box_spec test = {.argv = &inside, .n_argv = 1, .mounts = &mount, .n_mounts = 1, .limits = limits};

    double *a = calloc((size_t)rounds, sizeof *a), *b = calloc((size_t)rounds, sizeof *b);
    for (int i = 0; i < 50; i++) {
        (void)bare(noop);
        (void)boxed(&f, &test);
    }
    for (int i = 0; a && b && i < rounds; i++) {
        a[i] = bare(noop);
        b[i] = boxed(&f, &test);
    }
    double t = now_us();
    for (int i = 0; i < rounds; i++)
        (void)boxed(&f, &test);
    double alone = (now_us() - t) / rounds;
    struct rusage ru;
    int status;
    (void)getrusage(RUSAGE_CHILDREN, &ru);
    double before = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e6 + (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
    bool with_leaf = f.leaf;
    (void)fixture_stop(&f, &status);
    (void)getrusage(RUSAGE_CHILDREN, &ru);
    double after = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e6 + (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
    if (a && b) {
        size_t n = (size_t)rounds;
        qsort(a, n, sizeof *a, by_value);
        qsort(b, n, sizeof *b, by_value);
        printf("rounds %d, leaf %s\n", rounds, with_leaf ? "yes" : "no");
        printf("posix_spawn+wait  median %.0f us  p90 %.0f us  p99 %.0f us  cpu %.0f us\n", a[n / 2], a[n * 9 / 10],
               a[n * 99 / 100], before / (rounds + 50));
        printf("box               median %.0f us  p90 %.0f us  p99 %.0f us  cpu %.0f us  back to back %.0f us\n", b[n / 2], b[n * 9 / 10],
               b[n * 99 / 100], (after - before) / (2 * rounds + 51), alone);
        printf("ratio of medians  %.2f\n", b[n / 2] / a[n / 2]);
    }
    free(a);
    free(b);
    return 0;
}
