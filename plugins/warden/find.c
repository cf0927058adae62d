/*
 * Where programs are, in the root that boxes see.
 *
 * Links are followed here, one part at a time, and not by the kernel: what is wanted is the path behind them,
 * and there is no /proc to ask.  Only the box's root can be reached: each step is one openat or
 * readlinkat of a path that has no link in it, below that root.  Nothing of what is found is trusted; it is told to the
 * runner, who runs it in a box.
 */
#include "warden.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel */

struct walk {
    char done[ASSAY_WARDEN_PATH_MAX + 1]; /* "" or "/a/b", without links */
    char rest[2 * ASSAY_WARDEN_PATH_MAX + 2]; /* still to be walked */
    unsigned links;
    bool is_link; /* what was asked for, and not only a folder above it */
};

/* Takes the first part off rest; false at its end. */
static bool next_part(struct walk *w, char part[256])
{
    const char *p = w->rest + strspn(w->rest, "/");
    size_t n = strcspn(p, "/");
    if (n == 0 || n > 255)
        return false;
    memcpy(part, p, n);
    part[n] = 0;
    memmove(w->rest, p + n, strlen(p + n) + 1);
    return true;
}

static bool follow(struct walk *w, const char *target)
{
    char rest[sizeof w->rest];
    w->is_link = w->is_link || w->rest[strspn(w->rest, "/")] == 0;
    int n = snprintf(rest, sizeof rest, "%s/%s", target, w->rest);
    if (++w->links > LINKS_MAX || n < 0 || (size_t)n >= sizeof rest)
        return false;
    memcpy(w->rest, rest, (size_t)n + 1);
    if (target[0] == '/')
        w->done[0] = 0;
    return true;
}

/* The path without links of an absolute path, in w->done. False: it is not there. */
static bool resolve(int root, const char *path, struct walk *w)
{
    char part[256], target[ASSAY_WARDEN_PATH_MAX + 1];
    *w = (struct walk){.links = 0};
    (void)snprintf(w->rest, sizeof w->rest, "%s", path);
    while (next_part(w, part)) {
        size_t n = strlen(w->done), k = strlen(part);
        if (strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") == 0) {
            char *slash = strrchr(w->done, '/');
            if (slash)
                *slash = 0;
            continue;
        }
        if (n + 1 + k >= sizeof w->done)
            return false;
        w->done[n] = '/';
        memcpy(w->done + n + 1, part, k + 1);
        ssize_t length = readlinkat(root, w->done + 1, target, sizeof target - 1);
        if (length < 0 && errno == EINVAL)
            continue; /* no link */
        if (length < 0 || (size_t)length == sizeof target - 1)
            return false;
        target[length] = 0;
        w->done[n] = 0;
        if (!follow(w, target))
            return false;
    }
    return w->rest[strspn(w->rest, "/")] == 0 && w->done[0] != 0;
}

enum look { LOOK_FOUND, LOOK_MISSING, LOOK_DANGLING, LOOK_NO_ELF };

static enum look look_at(int root, const char *path, struct walk *w)
{
    struct stat st;
    unsigned char magic[4] = {0};
    if (!resolve(root, path, w))
        return w->is_link ? LOOK_DANGLING : LOOK_MISSING;
    if (fstatat(root, w->done + 1, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return w->is_link ? LOOK_DANGLING : LOOK_MISSING;
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return LOOK_MISSING;
    CLEANUP_FD int fd = openat(root, w->done + 1, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || read(fd, magic, sizeof magic) != (ssize_t)sizeof magic)
        return LOOK_NO_ELF;
    return memcmp(magic, "\177ELF", sizeof magic) == 0 ? LOOK_FOUND : LOOK_NO_ELF;
}

/* Paths are bytes, and an answer is text that goes into logs and JSON. */
static bool plain(const char *path)
{
    for (; *path; path++)
        if (*path < ' ' || *path > '~')
            return false;
    return true;
}

bool find_tool(int root, const char *candidates, char text[FIND_TEXT])
{
    static const char *const places[] = ASSAY_WARDEN_PLACES;
    char path[2 * ASSAY_WARDEN_PATH_MAX];
    struct walk w;
    (void)snprintf(text, FIND_TEXT, "none of these is installed where a box can run it: %.800s",
                   plain(candidates) ? candidates : "(names that are no plain text)");
    while (*candidates) {
        int n = (int)strcspn(candidates, " ");
        bool pinned = candidates[0] == '/';
        for (size_t i = 0; n > 0 && i < (pinned ? 1 : sizeof places / sizeof *places); i++) {
            (void)snprintf(path, sizeof path, "%s%s%.*s", pinned ? "" : places[i], pinned ? "" : "/", n, candidates);
            enum look what = plain(path) ? look_at(root, path, &w) : LOOK_MISSING;
            if (what == LOOK_FOUND && plain(w.done)) {
                (void)snprintf(text, FIND_TEXT, "%s", w.done);
                return true;
            }
            if (what == LOOK_NO_ELF)
                (void)snprintf(text, FIND_TEXT, "%.200s is no ELF file: boxes run programs, not the scripts that stand for them",
                               path);
            else if (what == LOOK_DANGLING)
                (void)snprintf(text, FIND_TEXT, "%.200s leads to something that boxes do not see", path);
            else if (pinned)
                (void)snprintf(text, FIND_TEXT, "%.200s is not there where boxes run, or may not be run", path);
        }
        candidates += n;
        candidates += strspn(candidates, " ");
    }
    return false;
}
