/*
 * The artefact store: what builds leave behind for test boxes, in a tmpfs of the warden's own, one
 * directory per artefact, named by its hash (files.c computes it).  Bounded in bytes and in number;
 * the one unused for longest goes first.  The table is in memory: the store begins and ends with the
 * warden.  What all wardens of a machine share lies in ROOT_SHARED; it is others' to make and remove.
 */
#include "warden.h"

#include "sys.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

void store_init(struct store *s, const struct options *o)
{
    *s = (struct store){.cap_count = (size_t)o->artefact_count, .cap_bytes = (int64_t)o->artefact_bytes};
    s->dir = open(store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir < 0)
        die("%s", store_dir);
}

/* Depth is bounded by the longest path that a collection may have. */
void tree_remove(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0 || (errno != EISDIR && errno != EPERM))
        return;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        close_fd(&fd);
        return;
    }
    const struct dirent *e;
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            tree_remove(fd, e->d_name);
    (void)closedir(d);
    (void)unlinkat(dir, name, AT_REMOVEDIR);
}

static struct artefact *find(struct store *s, const char *hex)
{
    for (size_t i = 0; i < ARTEFACT_SLOTS; i++)
        if (s->slot[i].used && strcmp(s->slot[i].hex, hex) == 0)
            return &s->slot[i];
    return NULL;
}

bool store_touch(struct store *s, const char *hex)
{
    struct artefact *a = find(s, hex);
    if (a)
        a->used = ++s->clock;
    return a != NULL;
}

bool store_path(const char *hex, char ret[STORE_PATH])
{
    const char *const place[] = {store_dir, ROOT_SHARED};
    for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
        (void)snprintf(ret, STORE_PATH, "%s/%s", place[i], hex);
        if (faccessat(AT_FDCWD, ret, F_OK, 0) == 0)
            return true;
    }
    return false;
}

static void evict(struct store *s, struct artefact *a)
{
    tree_remove(s->dir, a->hex);
    s->bytes -= a->bytes;
    a->used = 0;
}

static bool mounted(const struct request *q, const char *hex)
{
    const uint8_t *p = q->mounts;
    struct request_mount m;
    for (uint32_t i = 0; i < q->head.n_mounts; i++) {
        p = request_mount_next(p, &m);
        if (strcmp(m.artefact, hex) == 0)
            return true;
    }
    return false;
}

int store_reserve(struct store *s, int64_t bytes, const struct request *q, struct note *why)
{
    if (bytes > s->cap_bytes)
        return note_set(why, "collect_bytes is %lld, the artefact store holds %lld", (long long)bytes, (long long)s->cap_bytes);
    for (;;) {
        struct artefact *oldest = NULL;
        size_t count = 0;
        for (size_t i = 0; i < ARTEFACT_SLOTS; i++) {
            struct artefact *a = &s->slot[i];
            if (!a->used)
                continue;
            count++;
            if ((!oldest || a->used < oldest->used) && !mounted(q, a->hex))
                oldest = a;
        }
        if (s->bytes + bytes <= s->cap_bytes && count < s->cap_count)
            return 0;
        if (!oldest)
            return note_set(why, "the artefact store is full of what this box mounts");
        evict(s, oldest);
    }
}

void store_keep(struct store *s, const char *hex, int64_t bytes)
{
    if (store_touch(s, hex))
        return;
    for (size_t i = 0; i < ARTEFACT_SLOTS; i++) {
        struct artefact *a = &s->slot[i];
        if (a->used)
            continue;
        memcpy(a->hex, hex, sizeof a->hex);
        a->bytes = bytes;
        a->used = ++s->clock;
        s->bytes += bytes;
        return;
    }
}

void store_drop(struct store *s, const char *hex)
{
    struct artefact *a = find(s, hex);
    if (a)
        evict(s, a);
}

void store_clean(struct store *s)
{
    tree_remove(s->dir, STORE_FRESH);
}
