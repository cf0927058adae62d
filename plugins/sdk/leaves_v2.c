/*
 * Version 2: one hierarchy, where a cgroup that has children with controllers may hold no process.
 *
 * The group needs a parent that hands memory and pids down.  Tried in this order:
 *   the parent that the caller gives, when set
 *   the parent of our own cgroup when ours is called "keeper": a restarted boxkeeper is born in it
 *   our own cgroup, when systemd marked it as delegated (Delegate=yes).  It holds the supervisor, the
 *     server and us, so they move to a child called "keeper" first
 *   the top, when it is the machine's real root (which may hold processes) and may be written
 *   our own cgroup, when it may be written all the same (a container's top, a cgroup that was given
 *     by hand), and every process in it is of our own family: nobody else's shell is moved
 */
#include "leaves_local.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define KEEPER "keeper"

static bool read_file(const char *dir, const char *file, char *out, size_t room)
{
    char path[ASSAY_LEAVES_PATH];
    ssize_t n;
    int fd;

    if (!assay_leaves_join(path, dir, file))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, out, room - 1);
    close(fd);
    if (n < 0)
        return false;
    out[n] = '\0';
    return true;
}

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; (p = strstr(p, word)) != NULL; p += n)
        if ((p == list || isspace((unsigned char)p[-1])) && (p[n] == '\0' || isspace((unsigned char)p[n])))
            return true;
    return false;
}

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    const char *p;
    long parent = 0;

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    if (!read_file(path, "stat", text, sizeof(text)) || (p = strrchr(text, ')')) == NULL)
        return 0;
    return sscanf(p + 1, " %*c %ld", &parent) == 1 ? (pid_t)parent : 0;
}

/* An ancestor of ours, or a descendant of our parent (the supervisor). */
static bool is_family(pid_t pid)
{
    pid_t supervisor = getppid();

    for (pid_t p = getpid(); p > 0; p = parent_of(p))
        if (p == pid)
            return true;
    for (pid_t p = pid; p > 0; p = parent_of(p))
        if (p == supervisor)
            return true;
    return false;
}

/* Moves every process of dir to dir/keeper. False with a reason when one is not ours to move. */
static bool move_out(struct assay_leaves *l, const char *dir, bool delegated)
{
    char keeper[ASSAY_LEAVES_PATH], procs[ASSAY_LEAVES_PATH];

    if (!assay_leaves_join(keeper, dir, KEEPER) || !assay_leaves_join(procs, dir, "cgroup.procs"))
        return false;
    for (int turn = 0; turn < 10; turn++) { /* a fork between reading and moving leaves one behind */
        FILE *f = fopen(procs, "re");
        size_t n = 0;
        int pid;

        if (f == NULL)
            return false;
        while (fscanf(f, "%d", &pid) == 1) {
            char text[16];
            int rc;

            n++;
            if (!delegated && !is_family((pid_t)pid)) {
                snprintf(l->trouble, sizeof(l->trouble),
                         "our cgroup %.200s holds a process that is not ours (pid %d), so it cannot hand out controllers",
                         dir, pid);
                fclose(f);
                return false;
            }
            if (mkdir(keeper, 0755) != 0 && errno != EEXIST) {
                fclose(f);
                return false;
            }
            snprintf(text, sizeof(text), "%d", pid);
            rc = assay_leaves_write(keeper, "cgroup.procs", text);
            if (rc != 0 && rc != -ESRCH) {
                snprintf(l->trouble, sizeof(l->trouble), "pid %d cannot be moved to %.200s: %s", pid, keeper,
                         strerrorname_np(-rc));
                fclose(f);
                return false;
            }
            l->moved = true;
        }
        fclose(f);
        if (n == 0)
            return true;
    }
    return false;
}

/* Makes dir hand memory and pids to its children. */
static int hand_down(const char *dir)
{
    int rc = assay_leaves_write(dir, "cgroup.subtree_control", "+memory +pids");

    if (rc == 0)
        (void)assay_leaves_write(dir, "cgroup.subtree_control", "+cpu"); /* for weights; cpu.stat is there without */
    return rc;
}

static bool try_parent(struct assay_leaves *l, const char *dir, bool may_move, bool delegated)
{
    char list[512], path[ASSAY_LEAVES_PATH];
    int rc;

    if (!read_file(dir, "cgroup.controllers", list, sizeof(list))) {
        snprintf(l->trouble, sizeof(l->trouble), "%.200s is not a cgroup that we can read", dir);
        return false;
    }
    if (!has_word(list, "memory") || !has_word(list, "pids")) {
        snprintf(l->trouble, sizeof(l->trouble), "%.200s offers \"%.100s\" and lacks memory or pids", dir, list);
        return false;
    }
    rc = hand_down(dir);
    if (rc == -EBUSY && may_move) {
        if (!move_out(l, dir, delegated))
            return false;
        rc = hand_down(dir);
    }
    if (rc != 0) {
        snprintf(l->trouble, sizeof(l->trouble), "%.200s does not let us enable memory and pids (%s)", dir,
                 strerrorname_np(-rc));
        return false;
    }
    if (!assay_leaves_join(path, dir, l->name) || (mkdir(path, 0755) != 0 && errno != EEXIST)) {
        snprintf(l->trouble, sizeof(l->trouble), "cannot make a cgroup in %.200s (%s)", dir, strerrorname_np(errno));
        return false;
    }
    rc = hand_down(path);
    if (rc != 0) {
        snprintf(l->trouble, sizeof(l->trouble), "%.200s does not let us enable memory and pids (%s)", path,
                 strerrorname_np(-rc));
        return false;
    }
    memcpy(l->group[ASSAY_LEAVES_MEMORY], path, sizeof(path));
    l->trouble[0] = '\0';
    return true;
}

static bool is_delegated(const char *dir)
{
    char v[8];

    return getxattr(dir, "trusted.delegate", v, sizeof(v)) > 0 || getxattr(dir, "user.delegate", v, sizeof(v)) > 0;
}

static bool open_somewhere(struct assay_leaves *l, const struct assay_leaves_mount *m, const char *parent)
{
    char own[ASSAY_LEAVES_PATH], dir[ASSAY_LEAVES_PATH], type[32];
    bool top, delegated;
    char *slash;

    if (parent[0] != '\0')
        return assay_leaves_join(dir, m->point, parent) && try_parent(l, dir, false, false);
    if (!assay_leaves_own_cgroup(m, "", own)) {
        snprintf(l->trouble, sizeof(l->trouble), "our own cgroup lies outside of what is mounted at %.200s", m->point);
        return false;
    }
    if (strlen(m->point) + strlen(own) >= ASSAY_LEAVES_PATH)
        return false;
    snprintf(dir, sizeof(dir), "%.*s%.*s", (int)strlen(m->point), m->point, (int)(sizeof(dir) - strlen(m->point) - 1), own);
    slash = strrchr(dir, '/');
    if (own[0] != '\0' && slash != NULL && strcmp(slash + 1, KEEPER) == 0) {
        *slash = '\0';
        if (try_parent(l, dir, true, is_delegated(dir)))
            return true;
        *slash = '/';
    }
    /* only the real root has no cgroup.type: it may hold processes, a container's top may not */
    top = !read_file(m->point, "cgroup.type", type, sizeof(type));
    delegated = is_delegated(dir);
    if (delegated && try_parent(l, dir, true, true))
        return true;
    if (top && access(m->point, W_OK) == 0 && try_parent(l, m->point, false, false))
        return true;
    return !delegated && (own[0] != '\0' || !top) && access(dir, W_OK) == 0 && try_parent(l, dir, true, false);
}

void assay_leaves_v2_open(struct assay_leaves *l, const char *parent)
{
    struct assay_leaves_mount m;

    if (assay_leaves_mount_find(2, "", &m) && open_somewhere(l, &m, parent)) {
        l->version = 2;
        return;
    }
    if (l->trouble[0] == '\0')
        snprintf(l->trouble, sizeof(l->trouble), "no cgroup was delegated to us");
    snprintf(l->remedy, sizeof(l->remedy),
             "run assayd as a systemd service with Delegate=yes (as a user: systemd-run --user --scope -p Delegate=yes "
             "assayd), or name a cgroup that it may write in %s",
             l->parent_option);
}
