/*
 * A program that knows what it used: `measured NAME ARGUMENT...`.  Where it can, it prints its own account, so
 * that a test or the bench can hold ours against it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void burn(int64_t ns)
{
    while (clock_of(CLOCK_THREAD_CPUTIME_ID) < ns) {}
}

static void *burner(void *ns)
{
    burn(*(int64_t *)ns);
    return NULL;
}

static char *grow(size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        exit(3);
    memset(p, 1, bytes);
    __asm__ volatile("" : : "r"(p) : "memory");
    return p;
}

static void read_through(const char *path)
{
    static char block[65536];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        exit(4);
    while (read(fd, block, sizeof block) > 0) {}
    close(fd);
}

static void write_through(const char *path, size_t bytes)
{
    static char block[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (size_t done = 0; fd >= 0 && done < bytes; done += sizeof block)
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block)
            exit(5);
    if (fd < 0 || close(fd) < 0)
        exit(5);
}

/* A fixed amount of work, for medians and spreads: no clock decides when it is enough. */
static void work(int64_t rounds)
{
    volatile uint64_t x = 88172645463325252;
    for (int64_t i = 0; i < rounds * 1000; i++) {
        uint64_t y = x;
        y ^= y << 13;
        y ^= y >> 7;
        x = y ^ (y << 17);
    }
}

static void say_affinity(void)
{
    cpu_set_t now, wide;
    CPU_ZERO(&now);
    memset(&wide, 0xff, sizeof wide);
    int rc = sched_setaffinity(0, sizeof wide, &wide), error = rc < 0 ? errno : 0;
    if (sched_getaffinity(0, sizeof now, &now) < 0)
        exit(6);
    printf("cpus");
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &now))
            printf(" %d", i);
    printf("; widening: %s\n", rc < 0 ? strerror(error) : "done");
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int64_t n = argc > 2 ? strtoll(argv[2], NULL, 0) : 0;
    if (strcmp(what, "burn") == 0) {
        burn(n * 1000000);
    } else if (strcmp(what, "threads") == 0) { /* COUNT MS */
        int64_t ns = (argc > 3 ? strtoll(argv[3], NULL, 0) : 0) * 1000000;
        pthread_t t[64];
        for (int i = 0; i < n && i < 64; i++)
            if (pthread_create(&t[i], NULL, burner, &ns) != 0)
                return 7;
        for (int i = 0; i < n && i < 64; i++)
            pthread_join(t[i], NULL);
    } else if (strcmp(what, "hidden") == 0) { /* a child that wait4 never hears of */
        signal(SIGCHLD, SIG_IGN);
        int gone[2];
        char c;
        if (pipe(gone) < 0)
            return 8;
        if (fork() == 0) {
            burn(n * 1000000);
            _exit(0);
        }
        close(gone[1]);
        return read(gone[0], &c, 1) == 0 ? 0 : 9;
    } else if (strcmp(what, "work") == 0) {
        work(n);
    } else if (strcmp(what, "grow") == 0) {
        grow((size_t)n);
    } else if (strcmp(what, "read") == 0) {
        read_through(argc > 2 ? argv[2] : "");
    } else if (strcmp(what, "grow-then-read") == 0) { /* BYTES PATH: held for two looks, given back, then cache */
        munmap(grow((size_t)n), (size_t)n);
        read_through(argc > 3 ? argv[3] : "");
    } else if (strcmp(what, "hold-then-read") == 0) {
        char *p = grow((size_t)n);
        usleep(200000);
        munmap(p, (size_t)n);
        read_through(argc > 3 ? argv[3] : "");
    } else if (strcmp(what, "file") == 0) {
        write_through("/tmp/x", (size_t)n);
    } else if (strcmp(what, "file-and-back") == 0) {
        write_through("/tmp/x", (size_t)n);
        unlink("/tmp/x");
    } else if (strcmp(what, "affinity") == 0) {
        say_affinity();
        return 0;
    }
    printf("%lld\n", (long long)clock_of(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
