/*
 * Version 1: each controller is a hierarchy of its own, mounted apart (cpuacct often with cpu).
 * The group stands at the top of each mount when that may be written, as other runtimes do, else below the
 * process's own cgroup.  A missing controller costs precision, never the start: only memory missing
 * everywhere means that there are no leaves.
 */
#include "leaves_local.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static bool group_make(struct assay_leaves *l, int c, const char *dir, int *error)
{
    char path[ASSAY_LEAVES_PATH];

    if (!assay_leaves_join(path, dir, l->name)) {
        *error = ENAMETOOLONG;
        return false;
    }
    if (mkdir(path, 0755) != 0 && errno != EEXIST) {
        *error = errno;
        return false;
    }
    memcpy(l->group[c], path, sizeof(path));
    if (c == ASSAY_LEAVES_MEMORY)
        (void)assay_leaves_write(path, "memory.use_hierarchy", "1"); /* always so in newer kernels, which may refuse the write */
    return true;
}

void assay_leaves_v1_open(struct assay_leaves *l, const char *parent)
{
    size_t used = 0;

    for (int c = 0; c < ASSAY_LEAVES_CONTROLLERS; c++) {
        struct assay_leaves_mount m;
        char own[ASSAY_LEAVES_PATH], dir[ASSAY_LEAVES_PATH], text[80];
        int error = ENOENT;
        bool made = false;

        if (assay_leaves_mount_find(1, assay_leaves_controllers[c], &m)) {
            if (parent[0] != '\0') {
                made = assay_leaves_join(dir, m.point, parent) && group_make(l, c, dir, &error);
            } else {
                made = group_make(l, c, m.point, &error);
                if (!made && assay_leaves_own_cgroup(&m, assay_leaves_controllers[c], own) && strlen(m.point) + strlen(own) < ASSAY_LEAVES_PATH) {
                    snprintf(dir, sizeof(dir), "%.*s%.*s", (int)strlen(m.point), m.point,
                             (int)(sizeof(dir) - strlen(m.point) - 1), own);
                    made = group_make(l, c, dir, &error);
                }
            }
        }
        if (!made && used < sizeof(l->trouble))
            used += (size_t)snprintf(l->trouble + used, sizeof(l->trouble) - used, "%sno %s leaves: %s",
                                     used > 0 ? "; " : "", assay_leaves_controllers[c],
                                     error == ENOENT ? "the controller is not mounted (or the parent is not there)"
                                                     : strerror_r(error, text, sizeof(text)));
    }
    if (l->trouble[0] != '\0')
        snprintf(l->remedy, sizeof(l->remedy),
                 "start assayd as root, or give its user a directory in each hierarchy (cgcreate -a USER -t USER -g "
                 "memory,cpuacct,pids:assay) and name it in %s",
                 l->parent_option);
    l->version = l->group[ASSAY_LEAVES_MEMORY][0] != '\0' ? 1 : 0;
    if (l->version == 0)
        assay_leaves_close(l); /* without memory the others are not worth their keep */
}
