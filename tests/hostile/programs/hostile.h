/*
 * What the hostile programs share.  A program that is to be refused notes every attempt with refused(), and
 * held() has the last word: it prints "held" only if nothing was got and no fewer attempts were made than the
 * program says it makes, so that a program that did nothing does not pass for one that was refused.
 */
#ifndef HOSTILE_H
#define HOSTILE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int attempts, got;

/* rc: what the call answered; 0 or more means that it worked. */
static inline void refused(const char *what, long rc)
{
    attempts++;
    if (rc >= 0) {
        got++;
        printf("GOT %s\n", what);
    }
}

/* The same for what may kill the caller: in a child of its own. */
#define REFUSED_IN_A_CHILD(what, call)                                                                                 \
    do {                                                                                                               \
        pid_t child_ = fork();                                                                                         \
        if (child_ == 0)                                                                                               \
            _exit((call) >= 0 ? 77 : 0);                                                                               \
        int status_ = 0;                                                                                               \
        refused("fork", child_ < 0 ? 0 : -1);                                                                          \
        while (waitpid(child_, &status_, 0) < 0 && errno == EINTR)                                                     \
            ;                                                                                                          \
        refused(what, WIFEXITED(status_) && WEXITSTATUS(status_) == 77 ? 0 : -1);                                      \
    } while (0)

static inline int held(int at_least)
{
    if (got == 0 && attempts >= at_least)
        puts("held");
    else
        printf("%d attempts, %d got\n", attempts, got);
    return got != 0;
}

/* The first word of the standard input: which misdeed this test is about. */
static inline const char *word(void)
{
    static char text[128];
    return scanf("%127s", text) == 1 ? text : "";
}

static inline double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline void burn(double seconds)
{
    while (cpu_seconds() < seconds)
        ;
}

/* Takes memory and uses it, so that no compiler can leave it out. */
static inline void eat(size_t bytes)
{
    const size_t step = (size_t)1 << 20;
    for (size_t done = 0; done < bytes; done += step) {
        char *p = malloc(step);
        if (!p)
            exit(3);
        memset(p, 1, step);
        __asm__ volatile("" : : "r"(p) : "memory");
    }
}
#endif
