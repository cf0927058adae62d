/*
 * Unpacking, twice over the archive: first all names, then the contents.
 *
 * The first pass (survey) fills a table of paths with what each entry is, and refuses whatever can be refused by looking at it.
 * Between them stands the decision about the top folder. The second pass writes, part by part from the directory's descriptor and never
 * through a link, and counts the bytes that really come. libarchive reads the format; that it reads a descriptor with the central directory
 * at its end means that names which only the stream would show are not looked at.
 *
 * libarchive gathers the whole central directory before it gives the first entry: 4 us and 100 bytes for each, as measured. So the number of
 * entries is looked at before (too_many): in the archive's last record, and by counting the directory's signatures, in case the record lies.
 */
#include "unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RATIO_FROM (INT64_C(16) << 20)
#define END_RECORD 22u /* bytes of a ZIP's last record, without its comment */

/*
 * libarchive turns names that are marked as UTF-8 into the locale's encoding, and there may be no locale in the box's root. What
 * it asks is this function; said to be UTF-8, it leaves names as they are, and unpack_path() looks at them.
 */
__attribute__((visibility("default"))) char *nl_langinfo(nl_item item)
{
    static char utf8[] = "UTF-8", none[] = "";
    return item == CODESET ? utf8 : none;
}

struct entry {
    char *path;   /* as it will be, but for the top folder */
    char *folded; /* for comparing */
    bool folder, litter;
};

struct job {
    const struct unpack_limits *limits;
    struct unpack_outcome *out;
    int archive, into;
    bool over;
    int64_t archive_bytes;
    struct entry *entry;
    size_t n, room;
    size_t strip; /* bytes of each path that are dropped */
};

const char *unpack_word(enum unpack_fault f)
{
    static const char *const word[] = {"fine", "bad_name", "escapes", "not_a_file", "name_twice", "encrypted",
                                       "too_many_files", "too_large", "bomb", "damaged", "failed"};
    return word[f];
}

/* Says what is wrong, about name if there is one; always false. */
__attribute__((format(printf, 4, 5))) static bool refuse(struct job *j, enum unpack_fault fault, const char *name, const char *fmt, ...)
{
    struct unpack_outcome *o = j->out;
    char shown[160];
    va_list ap;
    int n;
    o->fault = fault;
    va_start(ap, fmt);
    n = vsnprintf(o->text, sizeof o->text, fmt, ap);
    va_end(ap);
    if (name == NULL || n < 0 || (size_t)n >= sizeof o->text)
        return false;
    unpack_show(shown, sizeof shown, assay_str(name));
    (void)snprintf(o->text + n, sizeof o->text - (size_t)n, ": %s", shown);
    return false;
}

static bool ours(struct job *j, const char *what, const char *name)
{
    return refuse(j, UNPACK_OURS, name, "%s: %s", what, strerror(errno));
}

/* The number of entries as the last record has it and as the directory has it, without libarchive. */
static bool too_many(struct job *j)
{
    size_t size = (size_t)j->archive_bytes, from = size > 65535 + END_RECORD ? size - 65535 - END_RECORD : 0;
    unsigned char *at = size >= END_RECORD ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, j->archive, 0) : MAP_FAILED;
    bool found = false, many = false;
    if (at == MAP_FAILED) {
        refuse(j, UNPACK_DAMAGED, NULL, "this is not a ZIP archive");
        return true;
    }
    for (size_t i = size - END_RECORD + 1; i-- > from && !many;) {
        if (memcmp(at + i, "PK\5\6", 4) != 0)
            continue;
        const unsigned char *r = at + i;
        int64_t entries = r[10] | r[11] << 8, counted = 0;
        size_t begin = (size_t)r[16] | (size_t)r[17] << 8 | (size_t)r[18] << 16 | (size_t)r[19] << 24;
        found = true;
        for (const unsigned char *p = at + (begin < i ? begin : i); counted <= j->limits->files; p++) {
            p = memchr(p, 'P', (size_t)(r - p));
            if (p == NULL)
                break;
            counted += memcmp(p, "PK\1\2", 4) == 0; /* the last record stands behind it, so four bytes are there */
        }
        many = entries > j->limits->files || counted > j->limits->files;
    }
    (void)munmap(at, size);
    if (many)
        refuse(j, UNPACK_FILES, NULL, "the archive has more than %lld entries", (long long)j->limits->files);
    else if (!found)
        refuse(j, UNPACK_DAMAGED, NULL, "this is not a ZIP archive, or its end is missing");
    return many || !found;
}

static bool damaged(struct job *j, struct archive *a, const char *name)
{
    const char *why = archive_error_string(a);
    char shown[200];
    if (archive_errno(a) == ENOMEM) {
        errno = ENOMEM;
        return ours(j, "cannot read the archive", NULL);
    }
    unpack_show(shown, sizeof shown, assay_str(why != NULL ? why : "unknown fault"));
    return refuse(j, UNPACK_DAMAGED, name, "the archive cannot be read (%s)", shown);
}

static struct archive *begin(struct job *j)
{
    struct archive *a = archive_read_new();
    if (a == NULL || lseek(j->archive, 0, SEEK_SET) != 0 || archive_read_support_format_zip_seekable(a) != ARCHIVE_OK) {
        (void)ours(j, "cannot begin to read", NULL);
    } else if (archive_read_open_fd(a, j->archive, 65536) != ARCHIVE_OK) {
        (void)damaged(j, a, NULL);
    } else {
        return a;
    }
    (void)archive_read_free(a);
    return NULL;
}

/* 1: an entry, with its path; 0: the end; -1: refused. */
static int next(struct job *j, struct archive *a, struct archive_entry **e, char path[UNPACK_PATH_MAX + 1])
{
    const char *why = NULL, *name;
    size_t n;
    int rc = archive_read_next_header(a, e);
    if (rc == ARCHIVE_EOF)
        return 0;
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
        return damaged(j, a, NULL), -1;
    name = archive_entry_pathname(*e);
    if (name == NULL)
        return refuse(j, UNPACK_NAME, NULL, "a name cannot be read"), -1;
    enum unpack_fault f = unpack_path(assay_str(name), j->limits->depth, path, &n, &why);
    if (f != UNPACK_FINE)
        return refuse(j, f, name, "%s", why), -1;
    return 1;
}

static bool note(struct job *j, const char *path, bool folder)
{
    if (j->n == j->room) {
        size_t room = j->room > 0 ? 2 * j->room : 256;
        struct entry *more = reallocarray(j->entry, room, sizeof *more);
        if (more == NULL)
            return ours(j, "no place for names", NULL);
        j->entry = more;
        j->room = room;
    }
    struct entry *e = &j->entry[j->n];
    *e = (struct entry){.path = strdup(path), .folded = strdup(path), .folder = folder, .litter = unpack_is_litter(path)};
    j->n++;
    if (e->path == NULL || e->folded == NULL)
        return ours(j, "no place for names", NULL);
    unpack_fold(e->folded, strlen(e->folded));
    return true;
}

/* Of entries whose folded path is the same, or one of which lies below another, that comes directly before: '/' sorts first. */
static int by_name(const void *a, const void *b)
{
    const unsigned char *x = (const unsigned char *)((const struct entry *)a)->folded, *y = (const unsigned char *)((const struct entry *)b)->folded;
    while (*x != '\0' && *x == *y)
        x++, y++;
    int l = *x == '/' ? 1 : *x, r = *y == '/' ? 1 : *y;
    return l - r;
}

static bool unique(struct job *j)
{
    const struct entry *file = NULL; /* the last one seen */
    if (j->n == 0)
        return true;
    qsort(j->entry, j->n, sizeof *j->entry, by_name);
    for (size_t i = 0; i < j->n; i++) {
        const struct entry *e = &j->entry[i];
        if (i > 0 && strcmp(e->folded, e[-1].folded) == 0 && !(e->folder && e[-1].folder && strcmp(e->path, e[-1].path) == 0))
            return refuse(j, UNPACK_TWICE, e->path, "a name is there twice, or differs only in upper and lower case");
        size_t k = file != NULL ? strlen(file->folded) : 0;
        if (k > 0 && strncmp(e->folded, file->folded, k) == 0 && e->folded[k] == '/')
            return refuse(j, UNPACK_TWICE, e->path, "a name lies below another that is a file");
        if (!e->folder)
            file = e;
    }
    /* the spellings of folders must agree too */
    for (size_t i = 1; i < j->n; i++) {
        const struct entry *a = &j->entry[i - 1], *b = &j->entry[i];
        size_t k = 0, shared = 0; /* bytes of the folders that both are in */
        for (; a->folded[k] != '\0' && a->folded[k] == b->folded[k]; k++)
            if (a->folded[k] == '/')
                shared = k;
        if (a->folded[k] == '\0' && b->folded[k] == '/')
            shared = k;
        if (strncmp(a->path, b->path, shared) != 0)
            return refuse(j, UNPACK_TWICE, b->path, "the name of a folder differs from another only in upper and lower case");
    }
    return true;
}

static bool survey(struct job *j)
{
    char path[UNPACK_PATH_MAX + 1];
    struct archive_entry *e;
    struct archive *a = too_many(j) ? NULL : begin(j);
    int64_t declared = 0;
    int got = 0;
    bool fine = a != NULL;
    for (int64_t entries = 0; fine && (got = next(j, a, &e, path)) > 0; entries++) {
        mode_t kind = archive_entry_filetype(e);
        int64_t size = archive_entry_size_is_set(e) ? archive_entry_size(e) : 0;
        if (entries >= j->limits->files)
            fine = refuse(j, UNPACK_FILES, NULL, "the archive has more than %lld entries", (long long)j->limits->files);
        else if ((kind != AE_IFREG && kind != AE_IFDIR) || archive_entry_hardlink(e) != NULL || archive_entry_symlink(e) != NULL)
            fine = refuse(j, UNPACK_KIND, path, "an entry is neither a file nor a folder");
        else if (archive_entry_is_encrypted(e))
            fine = refuse(j, UNPACK_ENCRYPTED, path, "an entry is encrypted");
        else if (size < 0 || size > j->limits->file_bytes)
            fine = refuse(j, UNPACK_BYTES, path, "a file has more than %lld bytes", (long long)j->limits->file_bytes);
        else if ((declared += size) > j->limits->bytes)
            fine = refuse(j, UNPACK_BYTES, NULL, "the files have more than %lld bytes together", (long long)j->limits->bytes);
        else if (path[0] == '\0' && kind == AE_IFREG)
            fine = refuse(j, UNPACK_NAME, NULL, "a file has no name");
        else if (path[0] != '\0')
            fine = note(j, path, kind == AE_IFDIR);
    }
    if (a != NULL)
        (void)archive_read_free(a);
    return fine && got == 0 && unique(j);
}

static bool choose_top(struct job *j, const char *const *required, size_t n_required)
{
    char **paths = calloc(j->n > 0 ? j->n : 1, sizeof *paths);
    size_t n = 0, top;
    if (paths == NULL)
        return ours(j, "no place for names", NULL);
    for (size_t i = 0; i < j->n; i++)
        if (!j->entry[i].litter)
            paths[n++] = j->entry[i].path;
    top = unpack_top(paths, n, required, n_required);
    if (top > 0) {
        memcpy(j->out->stripped, paths[0], top);
        j->strip = top + 1;
    }
    free(paths);
    return true;
}

/* ---- writing -------------------------------------------------------------------------------------- */

/* Removes what is called `name` in dir, and all that is in it; never through a link. */
static bool remove_all(int dir, const char *name, int64_t depth)
{
    struct dirent *d;
    bool fine = true;
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return true;
    if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
        return true;
    int fd = depth > 0 ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (list == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    while (fine && (d = readdir(list)) != NULL)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            fine = remove_all(fd, d->d_name, depth - 1);
    (void)closedir(list);
    return fine && unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

/* Opens the folder `name` of dir, making it first if need be; -1 with errno. */
static int enter(struct job *j, int dir, const char *name)
{
    if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
        return -1;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 || !j->over || (errno != ENOTDIR && errno != ELOOP))
        return fd;
    if (!remove_all(dir, name, j->limits->depth) || mkdirat(dir, name, 0755) < 0)
        return -1;
    return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool bounded(struct job *j, const char *path, int64_t file_bytes)
{
    int64_t all = j->out->bytes;
    if (file_bytes > j->limits->file_bytes)
        return refuse(j, UNPACK_BYTES, path, "a file has more than %lld bytes", (long long)j->limits->file_bytes);
    if (all > j->limits->bytes)
        return refuse(j, UNPACK_BYTES, NULL, "the files have more than %lld bytes together", (long long)j->limits->bytes);
    if (all > RATIO_FROM && all / j->limits->ratio > j->archive_bytes)
        return refuse(j, UNPACK_RATIO, NULL, "the archive unpacks to more than %lld times its size", (long long)j->limits->ratio);
    return true;
}

static bool copy(struct job *j, struct archive *a, const char *path, int fd)
{
    static char piece[65536];
    int64_t size = 0;
    for (;;) {
        la_ssize_t n = archive_read_data(a, piece, sizeof piece);
        if (n == 0)
            return true;
        if (n < 0)
            return damaged(j, a, path);
        size += n;
        j->out->bytes += n;
        if (!bounded(j, path, size))
            return false;
        for (la_ssize_t done = 0; done < n;) {
            ssize_t w = write(fd, piece + done, (size_t)(n - done));
            if (w < 0)
                return ours(j, "cannot write", path);
            done += w;
        }
    }
}

static bool put_file(struct job *j, struct archive *a, struct archive_entry *e, int dir, const char *name, const char *path)
{
    mode_t mode = (archive_entry_perm(e) & 0111) != 0 ? 0755 : 0644;
    if (j->over && !remove_all(dir, name, j->limits->depth))
        return ours(j, "cannot replace", path);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return ours(j, "cannot make", path);
    bool fine = copy(j, a, path, fd);
    if (fine && fchmod(fd, mode) < 0)
        fine = ours(j, "cannot make", path);
    if (close(fd) < 0 && fine)
        fine = ours(j, "cannot write", path);
    j->out->files += fine;
    return fine;
}

/* path is taken apart. */
static bool put(struct job *j, struct archive *a, struct archive_entry *e, char *path)
{
    char whole[UNPACK_PATH_MAX + 1];
    bool folder = archive_entry_filetype(e) == AE_IFDIR, fine = true;
    int dir = dup(j->into);
    (void)snprintf(whole, sizeof whole, "%s", path);
    for (char *part = path, *slash; fine && (folder || strchr(part, '/') != NULL); part = slash + 1) {
        slash = strchrnul(part, '/');
        bool last = *slash == '\0';
        *slash = '\0';
        int below = dir < 0 ? -1 : enter(j, dir, part);
        if (below < 0)
            fine = ours(j, "cannot make the folder", whole);
        if (dir >= 0)
            (void)close(dir);
        dir = below;
        path = slash + 1;
        if (last)
            break;
    }
    if (fine && !folder)
        fine = dir >= 0 ? put_file(j, a, e, dir, path, whole) : ours(j, "cannot make", whole);
    if (dir >= 0)
        (void)close(dir);
    return fine;
}

static bool extract(struct job *j)
{
    char path[UNPACK_PATH_MAX + 1];
    struct archive_entry *e;
    struct archive *a = begin(j);
    int got = 0;
    bool fine = a != NULL;
    while (fine && (got = next(j, a, &e, path)) > 0) {
        mode_t kind = archive_entry_filetype(e);
        if (strlen(path) <= j->strip || unpack_is_litter(path))
            continue;
        fine = kind == AE_IFREG || kind == AE_IFDIR ? put(j, a, e, path + j->strip)
                                                     : refuse(j, UNPACK_KIND, path, "an entry is neither a file nor a folder");
    }
    if (a != NULL)
        (void)archive_read_free(a);
    return fine && got == 0;
}

bool unpack(int archive, int into, bool over, const struct unpack_limits *limits, const char *const *required, size_t n_required,
            struct unpack_outcome *out)
{
    struct job j = {.limits = limits, .out = out, .archive = archive, .into = into, .over = over};
    struct stat st;
    bool fine;
    *out = (struct unpack_outcome){0};
    if (fstat(archive, &st) < 0)
        return ours(&j, "cannot read the archive", NULL);
    if (!S_ISREG(st.st_mode))
        return refuse(&j, UNPACK_OURS, NULL, "the archive is not a regular file");
    j.archive_bytes = st.st_size;
    fine = survey(&j) && choose_top(&j, required, n_required) && extract(&j);
    for (size_t i = 0; i < j.n; i++) {
        free(j.entry[i].path);
        free(j.entry[i].folded);
    }
    free(j.entry);
    return fine;
}
