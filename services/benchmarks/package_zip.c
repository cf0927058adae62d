/*
 * Reading a ZIP that a stranger made, from memory into memory.
 *
 * Bounded are the number of entries, the bytes of each file and of all together (as they are unpacked, whatever the headers
 * claim), the length and depth of names.  Refused are names that leave the package, that come twice or differ in case alone, and
 * what is neither a file nor a folder.  What there is no memory for is an error of ours and no fault of the package.
 */
#include "package.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zip.h>

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

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory to read the package");
}

/* What the library says went wrong: a fault, where it is the archive's. */
static int failed(struct package *p, const char *name, const char *what, zip_error_t *e, struct assay_err *err)
{
    if (zip_error_code_zip(e) == ZIP_ER_MEMORY)
        return no_memory(err);
    package_fault(p, name, 0, "%s: %s", what, zip_error_strerror(e));
    return ASSAY_OK;
}

/* A file's bytes, or a fault. */
static int read_one(struct package *p, zip_t *z, zip_uint64_t i, const char *name, size_t *left, struct assay_str *out, struct assay_err *err)
{
    size_t room = *left < PACKAGE_FILE_BYTES ? *left : PACKAGE_FILE_BYTES;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    char piece[16384];
    int rc = ASSAY_OK;
    zip_file_t *f = zip_fopen_index(z, i, 0);
    if (f == NULL)
        return failed(p, name, "cannot be unpacked", zip_get_error(z), err);
    for (zip_int64_t n; (n = zip_fread(f, piece, sizeof piece)) != 0;) {
        if (n < 0) {
            rc = failed(p, name, "cannot be unpacked", zip_file_get_error(f), err);
            break;
        }
        if ((size_t)n > room - b.n) {
            package_fault(p, name, 0, "is too large: at most %zu MiB a file and %zu MiB together", PACKAGE_FILE_BYTES >> 20,
                          PACKAGE_BYTES >> 20);
            break;
        }
        assay_buf_add(&b, piece, (size_t)n);
        if (b.failed) {
            rc = no_memory(err);
            break;
        }
    }
    (void)zip_fclose(f);
    if (rc < 0 || p->faults->n != 0)
        return rc;
    *left -= b.n;
    *out = b.n != 0 ? assay_arena_take(p->arena, &b) : ASSAY_STR("");
    return out->p != NULL ? ASSAY_OK : no_memory(err);
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

/* What an entry's maker said that it is, as far as it was a Unix; by the others it is a file, or a folder by its name. */
static mode_t kind_of(zip_t *z, zip_uint64_t i, struct assay_str path)
{
    zip_uint8_t system = 0;
    zip_uint32_t attributes = 0;
    mode_t mode = 0;
    if (zip_file_get_external_attributes(z, i, 0, &system, &attributes) == 0 && system == ZIP_OPSYS_UNIX)
        mode = (mode_t)(attributes >> 16) & S_IFMT;
    if (mode != 0 && mode != S_IFREG && mode != S_IFDIR)
        return mode;
    return path.n != 0 && path.p[path.n - 1] == '/' ? S_IFDIR : mode == S_IFDIR ? S_IFDIR : S_IFREG;
}

/* One entry after the other, until the first fault. */
static int unzip(struct package *p, zip_t *z, struct assay_err *err)
{
    size_t left = PACKAGE_BYTES;
    zip_int64_t n = zip_get_num_entries(z, 0);
    if (n > PACKAGE_FILES_MAX)
        package_fault(p, NULL, 0, "the archive has more than %d entries", PACKAGE_FILES_MAX);
    for (zip_int64_t i = 0; i < n && p->faults->n == 0; i++) {
        const char *name = zip_get_name(z, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (name == NULL) {
            int rc = failed(p, NULL, "the archive cannot be read", zip_get_error(z), err);
            if (rc < 0)
                return rc;
            break;
        }
        struct assay_str path = assay_str(name);
        mode_t kind = kind_of(z, (zip_uint64_t)i, path);
        if (kind == S_IFDIR && path.n != 0 && path.p[path.n - 1] == '/')
            path.n--;
        const char *why = name_fault(path);
        if (why == NULL && kind != S_IFREG && kind != S_IFDIR)
            why = "is neither a file nor a folder; links are not taken";
        if (why != NULL) {
            ASSAY_CLEANUP_BUF struct assay_buf shown = ASSAY_BUF_INIT;
            assay_buf_utf8(&shown, (struct assay_str){path.p, path.n > 100 ? 100 : path.n});
            package_fault(p, shown.n != 0 ? shown.p : "an entry", 0, "%s", why);
            break;
        }
        if (kind == S_IFDIR)
            continue;
        struct package_file *f = &p->file[p->n];
        f->path = assay_arena_str(p->arena, path);
        if (f->path.p == NULL)
            return no_memory(err);
        int rc = read_one(p, z, (zip_uint64_t)i, f->path.p, &left, &f->bytes, err);
        if (rc < 0)
            return rc;
        p->n++;
    }
    return ASSAY_OK;
}

/*
 * NULL with an error.  What the library finds no memory for while it reads the central directory it calls no archive: so that is
 * believed when it says it twice, and there was memory in between.
 */
static zip_t *opened(struct assay_str zip, zip_error_t *e)
{
    for (bool again = false;; again = true) {
        zip_source_t *source = zip_source_buffer_create(zip.p, zip.n, 0, e);
        zip_t *z = source != NULL ? zip_open_from_source(source, ZIP_RDONLY, e) : NULL;
        if (z != NULL)
            return z;
        zip_source_free(source);
        ASSAY_CLEANUP_ARENA struct assay_arena *probe = assay_arena_new(1);
        if (probe == NULL)
            zip_error_set(e, ZIP_ER_MEMORY, 0);
        if (again || zip_error_code_zip(e) == ZIP_ER_MEMORY)
            return NULL;
        zip_error_fini(e);
        zip_error_init(e);
    }
}

int package_unzip(struct assay_str zip, struct package *p, struct assay_err *err)
{
    zip_error_t e;
    p->file = assay_arena_array(p->arena, PACKAGE_FILES_MAX + 1, sizeof *p->file);
    if (p->file == NULL)
        return no_memory(err);
    zip_error_init(&e);
    zip_t *z = opened(zip, &e);
    int rc = z != NULL ? unzip(p, z, err) : failed(p, NULL, "the archive cannot be read", &e, err);
    if (z != NULL)
        zip_discard(z); /* and its source with it */
    zip_error_fini(&e);
    if (rc < 0)
        return rc;
    if (p->faults->n == 0 && p->n == 0)
        package_fault(p, NULL, 0, "the archive is empty");
    if (p->faults->n == 0 && !same_names(p)) {
        strip_top(p);
        qsort(p->file, p->n, sizeof *p->file, by_path);
    }
    return package_end(p, err);
}

int package_end(const struct package *p, struct assay_err *err)
{
    if (p->no_memory || assay_arena_failed(p->arena))
        return no_memory(err);
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
