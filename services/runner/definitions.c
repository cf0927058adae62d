/* Definitions that are data: JSON files, one for each language or processor, in the folders of this installation and of the operator; and
 * the programs of libexec_dir that go into boxes. */
#include "local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)256 << 10)
#define TOOL_MAX ((off_t)64 << 20)

int definition_read(const char *path, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "%s", path);
    char *p = assay_arena_alloc(arena, FILE_MAX + 1);
    size_t n = 0;
    ssize_t got = p != NULL ? 1 : -1;
    while (got > 0 && n <= FILE_MAX) {
        got = read(fd, p + n, FILE_MAX + 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (got < 0)
        return assay_err_set(err, ASSAY_E_IO, "%s cannot be read", path);
    if (n > FILE_MAX)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "%s is larger than %zu bytes", path, FILE_MAX);
    *out = (struct assay_str){p, n};
    return ASSAY_OK;
}

static int only_json(const struct dirent *d)
{
    return d->d_name[0] != '.' && assay_str_ends(assay_str(d->d_name), ".json");
}

int definitions_each(const char *const *dirs, const char *what, int (*fn)(const char *path, void *arg, struct assay_err *err), void *arg,
                     struct assay_err *err)
{
    int rc = ASSAY_OK;
    for (size_t d = 0; rc >= 0 && dirs[d] != NULL; d++) {
        struct dirent **name = NULL;
        int n = scandir(dirs[d], &name, only_json, alphasort);
        if (n < 0)
            return assay_err_errno(err, ASSAY_E_CONFIG, errno, "the folder of %s %s", what, dirs[d]);
        for (int i = 0; i < n; i++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", dirs[d], name[i]->d_name);
            if (rc >= 0)
                rc = fn(path, arg, err);
            free(name[i]);
        }
        free(name);
    }
    return rc;
}

int definition_dirs(struct runner *r, const char *folder, const char *option, const char *dirs[DEFINITION_DIRS + 1], struct assay_err *err)
{
    const struct assay_host *host = r->host;
    size_t n = 0;
    const char *share = host->option_str(host->ctx, "share_dir");
    struct assay_str own = assay_arena_fmt(r->arena, "%s/%s", share, folder);
    if (own.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (share[0] != '\0')
        dirs[n++] = own.p;
    struct assay_str rest = assay_str(host->option_str(host->ctx, option));
    while (rest.n != 0 && n < DEFINITION_DIRS) {
        const char *colon = memchr(rest.p, ':', rest.n);
        struct assay_str one = {rest.p, colon != NULL ? (size_t)(colon - rest.p) : rest.n};
        size_t skip = one.n + (colon != NULL ? 1 : 0);
        rest.p += skip;
        rest.n -= skip;
        if (one.n == 0)
            continue;
        dirs[n] = assay_arena_z(r->arena, one);
        if (dirs[n++] == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    dirs[n] = NULL;
    return ASSAY_OK;
}

int tool_read(struct runner *r, const char *name, struct assay_str *out, struct assay_err *err)
{
    char path[4096];
    struct stat st;
    (void)snprintf(path, sizeof path, "%.2000s%s%.2000s", name[0] == '/' ? "" : r->host->option_str(r->host->ctx, "libexec_dir"),
                   name[0] == '/' ? "" : "/", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "%s", path);
    char *bytes = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= TOOL_MAX ? assay_arena_alloc(r->arena, (size_t)st.st_size + 1) : NULL;
    size_t n = 0;
    ssize_t got = bytes != NULL ? 1 : -1;
    while (got > 0 && n < (size_t)st.st_size) {
        got = read(fd, bytes + n, (size_t)st.st_size - n);
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (got <= 0 || n != (size_t)st.st_size)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s cannot be read", path);
    *out = (struct assay_str){bytes, n};
    return ASSAY_OK;
}
