/*
 * What the runner knows of the machine: which processors its lanes have, and what disturbed a run.
 *
 * Processors.  Each lane has its own: a test's box runs on one, so that two programs that are measured never
 * share a core while there are cores for both; a build's box runs on all of its lane's, which are more than one
 * when there are fewer lanes than processors.  The first hardware thread of each core comes first, so that
 * lanes share a core's threads only when there are more lanes than cores.  With more lanes than processors
 * nobody is pinned: then the scheduler spreads them better than a fixed choice could.
 *
 * Disturbance.  Time that the hypervisor took (steal, /proc/stat), and time in which somebody waited for a
 * processor (/proc/pressure/cpu), both of the whole machine and as they rise over a run.  A machine without
 * the one or the other counts as undisturbed by it.
 */
#include "local.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- processors -------------------------------------------------------------------------------- */

static const char *number(const char *p, unsigned *out)
{
    unsigned long v = 0;
    if (!isdigit((unsigned char)*p))
        return NULL;
    for (; isdigit((unsigned char)*p); p++) {
        v = v * 10 + (unsigned long)(*p - '0');
        if (v >= PROCESSORS_MAX)
            return NULL;
    }
    *out = (unsigned)v;
    return p;
}

bool processors_parse(const char *text, bool set[PROCESSORS_MAX])
{
    const char *p = text;
    memset(set, 0, PROCESSORS_MAX * sizeof *set);
    for (;;) {
        unsigned from, to;
        p = number(p, &from);
        if (p == NULL)
            return false;
        to = from;
        if (*p == '-')
            p = number(p + 1, &to);
        if (p == NULL || to < from)
            return false;
        for (unsigned i = from; i <= to; i++)
            set[i] = true;
        if (*p == '\0')
            return true;
        if (*p++ != ',')
            return false;
    }
}

/* How many hardware threads of its core come before this one among those in the set. */
static int rank_of(unsigned cpu, const bool set[PROCESSORS_MAX])
{
    char path[96], text[256];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    bool sibling[PROCESSORS_MAX];
    int rank = 0;
    if (processors_parse(text, sibling)) {
        for (unsigned i = 0; i < cpu; i++)
            rank += sibling[i] && set[i];
    }
    return rank;
}

static int own_processors(bool set[PROCESSORS_MAX], struct assay_err *err)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (sched_getaffinity(0, sizeof mask, &mask) < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "this process's processors");
    for (unsigned i = 0; i < PROCESSORS_MAX; i++)
        set[i] = i < CPU_SETSIZE && CPU_ISSET(i, &mask);
    return ASSAY_OK;
}

int processors_choose(const char *option, struct processors *out, struct assay_err *err)
{
    bool own[PROCESSORS_MAX], want[PROCESSORS_MAX];
    memset(out, 0, sizeof *out);
    if (strcmp(option, "off") == 0)
        return ASSAY_OK;
    bool list = strcmp(option, "auto") != 0;
    if (list && !processors_parse(option, want))
        return assay_err_set(err, ASSAY_E_CONFIG, "runner_pin: \"%s\" is neither auto, off nor a list of processors like 0-3,8",
                             option);
    int rc = own_processors(own, err);
    for (unsigned i = 0; rc >= 0 && list && i < PROCESSORS_MAX; i++) {
        if (want[i] && !own[i])
            return assay_err_set(err, ASSAY_E_CONFIG, "runner_pin names processor %u, which this server may not use", i);
        own[i] = want[i];
    }
    int rank[PROCESSORS_MAX];
    for (unsigned i = 0; rc >= 0 && i < PROCESSORS_MAX; i++)
        rank[i] = own[i] ? rank_of(i, own) : -1;
    for (int r = 0; rc >= 0 && r < 16; r++) { /* no core has more threads */
        for (unsigned i = 0; i < PROCESSORS_MAX; i++) {
            if (rank[i] == r)
                out->cpu[out->n++] = (uint16_t)i;
        }
        out->n_cores = r == 0 ? out->n : out->n_cores;
    }
    return rc;
}

void processors_of_lane(const struct processors *p, size_t lanes, size_t lane, bool all, uint64_t mask[ASSAY_BOX_CPU_WORDS])
{
    memset(mask, 0, ASSAY_BOX_CPU_WORDS * sizeof *mask);
    for (size_t i = lane; lanes <= p->n && i < p->n; i += lanes) {
        mask[p->cpu[i] / 64] |= UINT64_C(1) << (p->cpu[i] % 64);
        if (!all)
            break;
    }
}

/* ---- disturbance -------------------------------------------------------------------------------- */

static bool head_of(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, room - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

struct disturbance disturbance_now(void)
{
    char text[512]; /* the first line of either */
    struct disturbance d = {0, 0};
    unsigned long long v[8];
    if (head_of("/proc/stat", text, sizeof text) &&
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) == 8)
        d.steal_us = (int64_t)v[7] * (1000000 / sysconf(_SC_CLK_TCK));
    const char *total = head_of("/proc/pressure/cpu", text, sizeof text) ? strstr(text, "total=") : NULL;
    if (total != NULL)
        d.pressure_us = strtoll(total + 6, NULL, 10);
    return d;
}
