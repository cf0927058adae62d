/*
 * The control for everything that starts programs: posix_spawn + wait of one command, over and over, by N
 * threads, with stdin and stdout on /dev/null and the environment that the runner gives every program (base_env in
 * services/runner/judge.c) with the language's own added.  No sandbox, no capture, nothing stored.
 *
 *   spawn_bench THREADS MILLISECONDS [NAME=VALUE...] COMMAND [ARGUMENT...]
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define RUNS_MAX 1000000
#define ENV_MAX 16

struct worker {
    pthread_t thread;
    uint32_t *us;
    size_t n;
};

static char **command, **own_env;
static size_t n_own_env;
static int64_t end_ns;

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    char search[] = "PATH=/usr/bin:/bin", home[] = "HOME=/tmp", lang[] = "LANG=C.UTF-8", tmp[] = "TMPDIR=/tmp";
    char *env[ENV_MAX + 5] = {search, home, lang, tmp};
    memcpy(env + 4, own_env, n_own_env * sizeof *env);
    posix_spawn_file_actions_t fa;
    if (posix_spawn_file_actions_init(&fa) != 0 || posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0) != 0 ||
        posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0) != 0)
        exit(1);
    while (w->n < RUNS_MAX) {
        int64_t t = now_ns();
        if (t >= end_ns)
            break;
        pid_t pid;
        int status, rc = posix_spawn(&pid, command[0], &fa, NULL, command, env);
        if (rc != 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            (void)fprintf(stderr, "spawn_bench: %s: %s\n", command[0], rc != 0 ? strerror(rc) : "it failed");
            exit(1);
        }
        w->us[w->n++] = (uint32_t)((now_ns() - t) / 1000);
    }
    (void)posix_spawn_file_actions_destroy(&fa);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    own_env = argv + 3;
    while (argc > 3 + (int)n_own_env && n_own_env < ENV_MAX && strchr(own_env[n_own_env], '=') != NULL)
        n_own_env++;
    argc -= (int)n_own_env;
    long threads = argc > 3 ? strtol(argv[1], NULL, 10) : 0, ms = argc > 3 ? strtol(argv[2], NULL, 10) : 0;
    if (threads < 1 || threads > THREADS_MAX || ms < 1 || ms > 600000) {
        (void)fprintf(stderr, "usage: spawn_bench THREADS MILLISECONDS [NAME=VALUE...] COMMAND [ARGUMENT...]\n");
        return 2;
    }
    command = argv + 3 + n_own_env;
    struct worker w[THREADS_MAX] = {{0}};
    end_ns = now_ns() + (int64_t)ms * 1000000;
    for (long i = 0; i < threads; i++) {
        w[i].us = calloc(RUNS_MAX, sizeof *w[i].us); /* untouched pages cost nothing */
        if (w[i].us == NULL || pthread_create(&w[i].thread, NULL, work, &w[i]) != 0)
            return 1;
    }
    size_t n = 0;
    uint32_t *all = calloc((size_t)threads * RUNS_MAX, sizeof *all);
    for (long i = 0; i < threads; i++) {
        (void)pthread_join(w[i].thread, NULL);
        if (all != NULL && w[i].n != 0)
            memcpy(all + n, w[i].us, w[i].n * sizeof *all);
        n += w[i].n;
        free(w[i].us);
    }
    if (all == NULL || n == 0)
        return 1;
    struct rusage ru;
    (void)getrusage(RUSAGE_CHILDREN, &ru);
    qsort(all, n, sizeof *all, by_value);
    double cpu = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e6 + (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
    printf("runs=%zu rate=%.1f p50_us=%u p90_us=%u p99_us=%u cpu_us=%.0f\n", n, (double)n * 1e3 / (double)ms, all[n / 2],
           all[n * 9 / 10], all[n * 99 / 100], cpu / (double)n);
    free(all);
    return 0;
}
