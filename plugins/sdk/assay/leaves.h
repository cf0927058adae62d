/*
 * cgroup leaves for wardens: places where a box's program tree is accounted and limited.
 *
 * For sandbox drivers, on the boxkeeper's one thread.  A driver opens one struct assay_leaves, and gives
 * each warden a struct assay_leaf_set: it is topped up when the warden starts and after each SPENT
 * (warden_wire.h), and emptied when the warden is gone.  Both versions of cgroups, as root or where a
 * cgroup was delegated; without either, version is 0 and boxes run without leaves.
 */
#ifndef ASSAY_LEAVES_H
#define ASSAY_LEAVES_H

#include <stdbool.h>
#include <stdint.h>

#include <assay/err.h>
#include <assay/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_LEAVES_PATH 512
#define ASSAY_LEAVES_NAME 40 /* "assay-" and 16 hex digits */

enum assay_leaves_controller {
    ASSAY_LEAVES_MEMORY,
    ASSAY_LEAVES_CPU,
    ASSAY_LEAVES_PIDS,
    ASSAY_LEAVES_CONTROLLERS
};

struct assay_leaves {
    const struct assay_host *host;
    int version;                                              /* 0: none, boxes run without */
    char name[ASSAY_LEAVES_NAME];                             /* the group's directory below its parent */
    char group[ASSAY_LEAVES_CONTROLLERS][ASSAY_LEAVES_PATH];  /* v1: one each, "" when missing; v2: only MEMORY is set */
    char life[9];                                             /* of this process: leaves are called <life>-<id> */
    char trouble[400];                                        /* what is missing, "" for nothing; for doctor and messages */
    char remedy[300];
    const char *parent_option;                                /* named in remedies */
    bool moved;                                               /* v2: the processes of our own cgroup were moved to "keeper" */
    uint64_t next_id;
    size_t count, limit;                                      /* leaves that exist, and how many may */
};

struct assay_leaf {
    uint64_t id; /* 0: none */
};

#define ASSAY_LEAF_AHEAD 2 /* version 2 leaves that a warden has at once: one in use, one waiting */
struct assay_leaf_set {
    struct assay_leaf held[ASSAY_LEAF_AHEAD];
    struct assay_leaf dying[ASSAY_LEAF_AHEAD + 2]; /* not yet empty */
};

/* Finds out what this machine offers and makes the group; never fails: without it version is 0 and trouble
 * is set. hash tells this data directory (and driver) from others: 16 hex digits of it are used.
 * parent_option is the name of the option that `parent` came from. */
void assay_leaves_open(struct assay_leaves *l, const struct assay_host *host, const char *hash, const char *parent,
                       const char *parent_option, size_t wardens);
/* Kills and removes every group of this name, wherever it may have been made. The number of leaves removed;
 * *left counts those that would not go. */
size_t assay_leaves_reap(struct assay_leaves *l, size_t *left);
void assay_leaves_close(struct assay_leaves *l); /* the group itself; leaves must be gone */

/* Makes what the warden at the other end of control lacks and sends it. ASSAY_E_BUSY at the limit. */
int assay_leaf_set_fill(struct assay_leaves *l, struct assay_leaf_set *s, int control, struct assay_err *err) ASSAY_MUST_CHECK;
bool assay_leaf_set_has(const struct assay_leaf_set *s, uint64_t id);
/* The warden has spent it. False when too many of its leaves do not empty. */
bool assay_leaf_set_spent(struct assay_leaves *l, struct assay_leaf_set *s, uint64_t id) ASSAY_MUST_CHECK;
void assay_leaf_set_sweep(struct assay_leaves *l, struct assay_leaf_set *s); /* of what was dying and is empty by now */
/* Kills what is inside and removes all. False: not yet empty, try again soon. */
bool assay_leaf_set_empty(struct assay_leaves *l, struct assay_leaf_set *s) ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
