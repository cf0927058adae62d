/*
 * ZIP archives: a folder becomes one, and one is taken apart in memory.
 *
 * Nothing of an archive is ever written to this machine, so that no name in it can lead anywhere.  Still all is refused that the
 * server would not take or that only somebody with a purpose makes: paths that leave the archive's top, absolute ones, backslashes,
 * links and devices, two entries of a name, encrypted ones.  What comes is counted, and not what the archive says of itself.
 */
#include "cli.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZIP_MAX ((size_t)64 << 20)
#define FOLDERS_MAX 12 /* deep */
#define ENTRIES_MAX 10000

int zip_file(const char *path, char **out, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t got = 1;

    *out = NULL;
    *n = 0;
    if (fd < 0 || fstat(fd, &st) != 0) {
        term_error("cannot read %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return CLI_LOCAL;
    }
    if ((size_t)st.st_size > ZIP_MAX) {
        term_error("%s is larger than %zu MiB", path, ZIP_MAX >> 20);
        close(fd);
        return CLI_LOCAL;
    }
    *out = malloc((size_t)st.st_size + 1);
    while (*out != NULL && *n < (size_t)st.st_size && (got = read(fd, *out + *n, (size_t)st.st_size - *n)) > 0)
        *n += (size_t)got;
    close(fd);
    if (*out == NULL || got < 0 || *n < (size_t)st.st_size) {
        term_error("cannot read %s", path);
        free(*out);
        *out = NULL;
        return CLI_LOCAL;
    }
    (*out)[*n] = '\0';
    return CLI_OK;
}

/* ---- a folder as a ZIP ------------------------------------------------------------------------------------ */

static int add_file(struct archive *a, const char *path, const char *name, size_t *total)
{
    CLI_CLEANUP_STR char *bytes = NULL;
    size_t n;
    int rc = zip_file(path, &bytes, &n);
    struct archive_entry *e = rc == CLI_OK ? archive_entry_new() : NULL;

    if (rc != CLI_OK)
        return rc;
    *total += n;
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (la_int64_t)n);
    bool ok = archive_write_header(a, e) == ARCHIVE_OK && (n == 0 || archive_write_data(a, bytes, n) == (la_ssize_t)n);
    archive_entry_free(e);
    if (!ok || *total > 2 * ZIP_MAX) {
        term_error("%s: the whole is too large", path);
        return CLI_LOCAL;
    }
    return CLI_OK;
}

static int add_folder(struct archive *a, const char *path, const char *name, bool links, int depth, size_t *total)
{
    struct dirent **list = NULL;
    int n = scandir(path, &list, NULL, alphasort), rc = CLI_OK;

    if (n < 0 || depth > FOLDERS_MAX) {
        term_error("cannot read %s: %s", path, n < 0 ? strerror(errno) : "folders are nested too deep");
        rc = CLI_LOCAL;
    }
    for (int i = 0; i < n; i++) {
        const char *d = list[i]->d_name;
        bool hidden = d[0] == '.' && !(depth == 0 && strcmp(d, ".timelimit") == 0);

        if (rc == CLI_OK && !hidden) {
            CLI_CLEANUP_STR char *below = cli_fmt("%s/%s", path, d);
            CLI_CLEANUP_STR char *called = cli_fmt("%s%s%s", name, name[0] != '\0' ? "/" : "", d);
            struct stat st;

            if ((links ? stat(below, &st) : lstat(below, &st)) != 0) {
                term_error("cannot read %s: %s", below, strerror(errno));
                rc = CLI_LOCAL;
            } else if (S_ISDIR(st.st_mode)) {
                rc = add_folder(a, below, called, links, depth + 1, total);
            } else if (S_ISREG(st.st_mode)) {
                rc = add_file(a, below, called, total);
            } else {
                term_note("%s is no plain file and is left out.", below);
            }
        }
        free(list[i]);
    }
    free(list);
    return rc;
}

int zip_folder(const char *path, bool links, char **out, size_t *n)
{
    struct archive *a = archive_write_new();
    size_t total = 0, room = 2 * ZIP_MAX + (1 << 20);
    char *bytes = malloc(room);
    int rc = CLI_LOCAL;

    *out = NULL;
    if (a != NULL && bytes != NULL && archive_write_set_format_zip(a) == ARCHIVE_OK && archive_write_open_memory(a, bytes, room, n) == ARCHIVE_OK)
        rc = add_folder(a, path, "", links, 0, &total);
    else
        term_error("no memory for %s", path);
    if (a != NULL && archive_write_close(a) != ARCHIVE_OK && rc == CLI_OK) {
        term_error("%s cannot be packed: %s", path, archive_error_string(a));
        rc = CLI_LOCAL;
    }
    (void)archive_write_free(a);
    if (rc == CLI_OK)
        *out = bytes;
    else
        free(bytes);
    return rc;
}

/* ---- an archive, file by file --------------------------------------------------------------------------- */

bool zip_named(const char *path)
{
    size_t n = strlen(path);
    struct stat st;

    return n > 4 && strcasecmp(path + n - 4, ".zip") == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* NULL: may be. */
static const char *name_fault(const char *name)
{
    const char *part = name;

    if (name[0] == '\0' || name[0] == '/' || strchr(name, '\\') != NULL)
        return "is no relative path";
    for (; part != NULL; part = strchr(part, '/') != NULL ? strchr(part, '/') + 1 : NULL) {
        size_t n = strcspn(part, "/");

        if (n == 2 && strncmp(part, "..", 2) == 0)
            return "leaves the archive";
    }
    return NULL;
}

static bool hidden(const char *name)
{
    return name[0] == '.' || strstr(name, "/.") != NULL || strncmp(name, "__MACOSX/", 9) == 0;
}

/* One file's bytes, as many as may still come. */
static int take(struct archive *a, const char *path, const char *name, size_t room, zip_fn fn, void *arg, size_t *n)
{
    CLI_CLEANUP_STR char *bytes = malloc(room + 1);
    la_ssize_t got = 1;

    *n = 0;
    if (bytes == NULL) {
        term_error("no memory for %s", path);
        return CLI_LOCAL;
    }
    while (*n <= room && (got = archive_read_data(a, bytes + *n, room + 1 - *n)) > 0)
        *n += (size_t)got;
    if (got < 0) {
        term_error("%s: %s cannot be read: %s", path, name, archive_error_string(a));
        return CLI_LOCAL;
    }
    if (*n > room) {
        term_error("%s: its files are larger than is taken, with %s", path, name);
        return CLI_LOCAL;
    }
    return fn(arg, name, bytes, *n);
}

static int entry(struct archive *a, struct archive_entry *e, const char *path, size_t *room, zip_fn fn, void *arg)
{
    const char *name = archive_entry_pathname_utf8(e), *fault;
    size_t n = 0;
    int rc;

    if (name == NULL) {
        term_error("%s: a name in it is not UTF-8", path);
        return CLI_LOCAL;
    }
    fault = name_fault(name);
    if (fault == NULL && archive_entry_is_encrypted(e))
        fault = "is encrypted";
    if (fault == NULL && archive_entry_filetype(e) != AE_IFDIR && archive_entry_filetype(e) != AE_IFREG)
        fault = "is no plain file";
    if (fault == NULL && archive_entry_hardlink(e) != NULL)
        fault = "is a link";
    if (fault != NULL) {
        term_error("%s: %s %s", path, name, fault);
        return CLI_LOCAL;
    }
    if (archive_entry_filetype(e) == AE_IFDIR || hidden(name))
        return CLI_OK;
    rc = take(a, path, name, *room, fn, arg, &n);
    *room -= rc == CLI_OK ? n : 0;
    return rc;
}

int zip_each(const char *path, size_t most, zip_fn fn, void *arg)
{
    CLI_CLEANUP_STR char *bytes = NULL;
    struct archive_entry *e;
    struct archive *a;
    size_t n, count = 0;
    int got = ARCHIVE_OK, rc = zip_file(path, &bytes, &n);

    if (rc != CLI_OK)
        return rc;
    a = archive_read_new();
    if (a == NULL || archive_read_support_format_zip_seekable(a) != ARCHIVE_OK || archive_read_open_memory(a, bytes, n) != ARCHIVE_OK) {
        term_error("%s is no ZIP archive%s%s", path, a != NULL ? ": " : "", a != NULL ? archive_error_string(a) : "");
        (void)archive_read_free(a);
        return CLI_LOCAL;
    }
    while (rc == CLI_OK && (got = archive_read_next_header(a, &e)) != ARCHIVE_EOF) {
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN) {
            term_error("%s cannot be read as a ZIP archive: %s", path, archive_error_string(a));
            rc = CLI_LOCAL;
        } else if (++count > ENTRIES_MAX) {
            term_error("%s has more than %d entries", path, ENTRIES_MAX);
            rc = CLI_LOCAL;
        } else {
            rc = entry(a, e, path, &most, fn, arg);
        }
    }
    (void)archive_read_free(a);
    return rc;
}
