/* Shared by the files of leaves: both versions of cgroups. */
#ifndef ASSAY_SDK_LEAVES_LOCAL_H
#define ASSAY_SDK_LEAVES_LOCAL_H

#include <assay/leaves.h>

extern const char *const assay_leaves_controllers[ASSAY_LEAVES_CONTROLLERS]; /* as version 1 calls them */

struct assay_leaves_mount { /* a mounted cgroup hierarchy */
    char point[ASSAY_LEAVES_PATH];
    char root[ASSAY_LEAVES_PATH]; /* what part of the hierarchy is mounted there */
    char options[256];            /* ",memory,..." with commas around */
};
bool assay_leaves_mount_find(int version, const char *controller, struct assay_leaves_mount *out);
/* The path of the process's own cgroup below the mount's point; "" for its top. */
bool assay_leaves_own_cgroup(const struct assay_leaves_mount *m, const char *controller, char out[ASSAY_LEAVES_PATH]);
int assay_leaves_write(const char *dir, const char *file, const char *text); /* 0 or -errno */
bool assay_leaves_join(char out[ASSAY_LEAVES_PATH], const char *dir, const char *name);
bool assay_leaves_kill_inside(const char *dir, int version); /* true when nothing is left */
void assay_leaves_v1_open(struct assay_leaves *l, const char *parent);
void assay_leaves_v2_open(struct assay_leaves *l, const char *parent);

#endif
