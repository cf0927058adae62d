/*
 * Reading a ZIP that a stranger made, from memory into memory.
 *
 * Bounded are the number of entries, the bytes of each file and of all together (as they are unpacked, whatever the headers
 * claim), the length and depth of names.  Refused are names that leave the package, that come twice or differ in case alone, and
 * what is neither a file nor a folder.
 */
#include "package.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void package_fault(struct package *p, const char *file, int64_t line, const char *fmt, ...)
{
    char text[300], at[PACKAGE_PATH_MAX + 40] = "";
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (line > 0)
        (void)snprintf(at, sizeof at, "%.300s:%lld: ", file, (long long)line);
    else if (file != NULL)
        (void)snprintf(at, sizeof at, "%.300s: ", file);
    assay_json_fault(p->faults, p->arena, "", "%s%s", at, text);
}

void package_note(struct package *p, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct assay_str s = assay_arena_str(p->arena, assay_str(text));
    if (p->n_notes < PACKAGE_NOTES_MAX && s.p != NULL)
        p->note[p->n_notes++] = s;
}

/* Why a name may not be one of a package's files, or NULL. */
static const char *name_fault(struct assay_str s)
{
    size_t depth = 0, from = 0;
    if (s.n == 0 || s.n > PACKAGE_PATH_MAX)
        return "a name has 1 to 300 bytes";
    if (!assay_utf8_valid(s))
        return "a name must be UTF-8";
    for (size_t i = 0; i <= s.n; i++) {
        unsigned char c = i < s.n ? (unsigned char)s.p[i] : '/';
        if (c < ' ' || c == 0x7f || c == '\\')
            return "a name holds neither control characters nor backslashes";
        if (c != '/')
            continue;
        struct assay_str part = {s.p + from, i - from};
        if (part.n == 0 || assay_str_is(part, ".") || assay_str_is(part, ".."))
            return "a name is relative, and none of its parts is empty, \".\" or \"..\"";
        from = i + 1;
        if (++depth > PACKAGE_DEPTH_MAX)
            return "folders are nested at most 8 deep";
    }
    return NULL;
}

static int by_path(const void *a, const void *b)
{
    const struct package_file *x = a, *y = b;
    return assay_str_cmp(x->path, y->path);
}

static int by_folded(const void *a, const void *b)
{
    const struct package_file *x = *(const struct package_file *const *)a, *y = *(const struct package_file *const *)b;
    size_t n = x->path.n < y->path.n ? x->path.n : y->path.n;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)x->path.p[i], d = (unsigned char)y->path.p[i];
        c = c >= 'A' && c <= 'Z' ? c + 32 : c;
        d = d >= 'A' && d <= 'Z' ? d + 32 : d;
        if (c != d)
            return c - d;
    }
    return x->path.n < y->path.n ? -1 : x->path.n > y->path.n;
}

static bool same_names(struct package *p)
{
    const struct package_file **list = assay_arena_array(p->arena, p->n + 1, sizeof *list);
    if (list == NULL)
        return true;
    for (size_t i = 0; i < p->n; i++)
        list[i] = &p->file[i];
    qsort(list, p->n, sizeof *list, by_folded);
    for (size_t i = 1; i < p->n; i++) {
        if (by_folded(&list[i - 1], &list[i]) == 0) {
            char name[PACKAGE_PATH_MAX + 1];
            (void)snprintf(name, sizeof name, "%.*s", ASSAY_FMT(list[i]->path));
            package_fault(p, name, 0, "is there twice, or differs from another name in case alone");
            return true;
        }
    }
    return false;
}

/* A file's bytes; false with a fault. */
static bool read_one(struct package *p, struct archive *a, const char *name, size_t *left, struct assay_str *out)
{
    size_t room = *left < PACKAGE_FILE_BYTES ? *left : PACKAGE_FILE_BYTES;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    char piece[16384];
    for (;;) {
        la_ssize_t n = archive_read_data(a, piece, sizeof piece);
        if (n < 0) {
            package_fault(p, name, 0, "cannot be unpacked: %s", archive_error_string(a));
            return false;
        }
        if (n == 0)
            break;
        if ((size_t)n > room - b.n) {
            package_fault(p, name, 0, "is too large: at most %zu MiB a file and %zu MiB together", PACKAGE_FILE_BYTES >> 20,
                          PACKAGE_BYTES >> 20);
            return false;
        }
        assay_buf_add(&b, piece, (size_t)n);
    }
    *left -= b.n;
    *out = b.n != 0 ? assay_arena_take(p->arena, &b) : ASSAY_STR("");
    if (out->p == NULL)
        package_fault(p, name, 0, "needs more memory than there is");
    return out->p != NULL;
}

/* Everything below one folder is the package itself. */
static void strip_top(struct package *p)
{
    const char *slash = p->n != 0 ? memchr(p->file[0].path.p, '/', p->file[0].path.n) : NULL;
    if (slash == NULL)
        return;
    size_t top = (size_t)(slash - p->file[0].path.p) + 1;
    struct assay_str first = p->file[0].path;
    for (size_t i = 0; i < p->n; i++) {
        if (p->file[i].path.n <= top || memcmp(p->file[i].path.p, first.p, top) != 0)
            return;
    }
    p->name = (struct assay_str){first.p, top - 1};
    for (size_t i = 0; i < p->n; i++)
        p->file[i].path = (struct assay_str){p->file[i].path.p + top, p->file[i].path.n - top};
}

static void unzip(struct package *p, struct archive *a, struct assay_str zip)
{
    size_t left = PACKAGE_BYTES, entries = 0;
    struct archive_entry *e;
    int rc = archive_read_open_memory(a, zip.p, zip.n);
    while (rc == ARCHIVE_OK && (rc = archive_read_next_header(a, &e)) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(e);
        struct assay_str path = name != NULL ? assay_str(name) : ASSAY_STR("");
        bool folder = archive_entry_filetype(e) == AE_IFDIR;
        if (folder && path.n != 0 && path.p[path.n - 1] == '/')
            path.n--;
        if (++entries > PACKAGE_FILES_MAX) {
            package_fault(p, NULL, 0, "the archive has more than %d entries", PACKAGE_FILES_MAX);
            return;
        }
        const char *why = name_fault(path);
        if (why == NULL && !folder && (archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e) != NULL ||
                                       archive_entry_symlink(e) != NULL))
            why = "is neither a file nor a folder; links are not taken";
        if (why != NULL) {
            ASSAY_CLEANUP_BUF struct assay_buf shown = ASSAY_BUF_INIT;
            assay_buf_utf8(&shown, (struct assay_str){path.p, path.n > 100 ? 100 : path.n});
            package_fault(p, shown.n != 0 ? shown.p : "an entry", 0, "%s", why);
            return;
        }
        if (folder)
            continue;
        struct package_file *f = &p->file[p->n];
        f->path = assay_arena_str(p->arena, path);
        if (f->path.p == NULL || !read_one(p, a, f->path.p, &left, &f->bytes))
            return;
        p->n++;
    }
    if (rc != ARCHIVE_EOF && rc != ARCHIVE_OK)
        package_fault(p, NULL, 0, "the archive cannot be read: %s", archive_error_string(a));
}

int package_unzip(struct assay_str zip, struct package *p, struct assay_err *err)
{
    struct archive *a = archive_read_new();
    p->file = assay_arena_array(p->arena, PACKAGE_FILES_MAX + 1, sizeof *p->file);
    if (a == NULL || p->file == NULL) {
        (void)archive_read_free(a);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    (void)archive_read_support_format_zip(a);
    unzip(p, a, zip);
    (void)archive_read_free(a);
    if (p->faults->n == 0 && p->n == 0)
        package_fault(p, NULL, 0, "the archive is empty");
    if (p->faults->n == 0 && !same_names(p)) {
        strip_top(p);
        qsort(p->file, p->n, sizeof *p->file, by_path);
    }
    return p->faults->n != 0 ? assay_err_set(err, ASSAY_E_INVALID, "the package cannot be taken") : ASSAY_OK;
}

const struct package_file *package_find(const struct package *p, const char *path)
{
    for (size_t i = 0; i < p->n; i++) {
        if (assay_str_is(p->file[i].path, path))
            return &p->file[i];
    }
    return NULL;
}
