/*
 * Theory of operation.
 *
 * A sorted table of names, each with its bytes as they are and up to two compressed forms.  Names are those that the
 * router can match at all (small letters, digits, '.', '_', '-'; none begins with a dot); whatever else lies in
 * the folders is left out, and so is what is no regular file.
 *
 * The entity tag is a part of the hash of the bytes and of the encoding, so caches behind proxies stay right; the
 * front answers 304.  A name that ends in "-" and ten hex digits before its extension has its content's hash in it:
 * it may be kept for ever.  Everything else is asked for again, and mostly answered by 304.
 */
#include "pages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <assay/value.h>

#define PAGES_MAX ((size_t)32 << 20) /* of all files together: a folder that is not ours is not read into memory */
#define HASH_IN_NAME 10u

enum encoding { IDENTITY, GZIP, BROTLI, ENCODINGS };

static const struct {
    const char *suffix, *token;
} encodings[ENCODINGS] = {[IDENTITY] = {"", "identity"}, [GZIP] = {".gz", "gzip"}, [BROTLI] = {".br", "br"}};

struct form {
    struct assay_str bytes; /* p == NULL: there is none; heap */
    char etag[40];          /* quoted */
};

struct page {
    char *name; /* "index.html", "ui/app-0123456789.js" */
    const char *type;
    bool lasting;
    struct form form[ENCODINGS];
};

struct assay_pages {
    struct page *page; /* sorted by name */
    size_t n, room, bytes;
};

static const struct {
    const char *ext, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"}, {".js", "text/javascript; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},             {".png", "image/png"},                     {".txt", "text/plain; charset=utf-8"},
    {".map", "application/json"},          {".webmanifest", "application/manifest+json"},
};

static const char *type_of(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (assay_str_ends(assay_str(name), types[i].ext))
            return types[i].type;
    return NULL;
}

/* "app-0123456789.js" */
static bool hash_in_name(const char *name)
{
    const char *dot = strchr(name, '.');
    if (dot == NULL || dot - name < (ptrdiff_t)HASH_IN_NAME + 1 || dot[-(ptrdiff_t)HASH_IN_NAME - 1] != '-')
        return false;
    for (const char *p = dot - HASH_IN_NAME; p < dot; p++)
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')))
            return false;
    return true;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

/* A regular file of a folder, whole. ASSAY_E_NOT_FOUND when there is none of that name, or it is something else. */
static int slurp(int dir, const char *name, size_t max, struct assay_str *ret, struct assay_err *err)
{
    struct stat st;
    int rc = 0, fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP ? assay_err_set(err, ASSAY_E_NOT_FOUND, "%s is not there", name)
                                                 : assay_err_set(err, ASSAY_E_CONFIG, "%s cannot be read: %s", name, strerror(errno));
    char *p = NULL;
    size_t n = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = assay_err_set(err, ASSAY_E_NOT_FOUND, "%s is no file", name);
    else if ((uintmax_t)st.st_size > max)
        rc = assay_err_set(err, ASSAY_E_TOO_LARGE, "%s and what was read before it exceed %zu bytes", name, PAGES_MAX);
    else if ((p = malloc((size_t)st.st_size + 1)) == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    while (rc == 0 && n < (size_t)st.st_size) {
        ssize_t got = read(fd, p + n, (size_t)st.st_size - n);
        if (got > 0)
            n += (size_t)got;
        else if (got == 0 || errno != EINTR)
            rc = assay_err_set(err, ASSAY_E_CONFIG, "%s was cut short while it was read", name);
    }
    close(fd);
    if (rc != 0) {
        free(p);
        return rc;
    }
    *ret = (struct assay_str){p, n};
    return 0;
}

static int add_form(struct assay_pages *p, struct page *page, int dir, const char *name, enum encoding e, struct assay_err *err)
{
    char path[NAME_MAX + 8], hex[ASSAY_SHA256_HEX];
    struct form *form = &page->form[e];
    if ((size_t)snprintf(path, sizeof path, "%s%s", name, encodings[e].suffix) >= sizeof path)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no file has so long a name");
    int rc = slurp(dir, path, PAGES_MAX - p->bytes, &form->bytes, err);
    if (rc != 0)
        return rc;
    p->bytes += form->bytes.n;
    assay_sha256_hex(form->bytes, hex);
    (void)snprintf(form->etag, sizeof form->etag, "\"%.32s%s\"", hex, e == GZIP ? "-g" : e == BROTLI ? "-b" : "");
    return 0;
}

static int add_page(struct assay_pages *p, int dir, const char *folder, const char *name, struct assay_err *err)
{
    if (p->n == p->room) {
        size_t room = p->room != 0 ? 2 * p->room : 32;
        struct page *grown = realloc(p->page, room * sizeof *grown);
        if (grown == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        p->page = grown;
        p->room = room;
    }
    struct page *page = &p->page[p->n];
    *page = (struct page){.type = type_of(name), .lasting = hash_in_name(name)};
    if (asprintf(&page->name, "%s%s%s", folder, *folder != '\0' ? "/" : "", name) < 0) {
        page->name = NULL;
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    }
    int rc = add_form(p, page, dir, name, IDENTITY, err);
    if (rc != 0) {
        free(page->name);
        return rc;
    }
    p->n++; /* from here on it is freed with the others */
    for (enum encoding e = GZIP; rc == 0 && e < ENCODINGS; e++) {
        struct assay_err ignored;
        rc = add_form(p, page, dir, name, e, &ignored);
        if (rc == ASSAY_E_NOT_FOUND)
            rc = 0;
        else if (rc != 0)
            *err = ignored;
    }
    return rc;
}

/* The files of one folder; those of the top are index.html alone. A folder that is not there is empty. */
static int add_folder(struct assay_pages *p, int top, const char *folder, struct assay_err *err)
{
    int fd = openat(top, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), rc = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : assay_err_set(err, ASSAY_E_CONFIG, "the folder %s cannot be read: %s", folder, strerror(errno));
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        close(fd);
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    }
    const struct dirent *e;
    while (rc == 0 && (e = readdir(d)) != NULL) {
        if (type_of(e->d_name) == NULL || !assay_slug_valid(assay_str(e->d_name)))
            continue;
        rc = add_page(p, fd, folder, e->d_name, err);
        if (rc == ASSAY_E_NOT_FOUND)
            rc = 0;
    }
    (void)closedir(d);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct page *)a)->name, ((const struct page *)b)->name);
}

int assay_pages_load(const char *dir, struct assay_pages **ret, struct assay_err *err)
{
    int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        return errno == ENOENT ? assay_err_set(err, ASSAY_E_NOT_FOUND, "%s is not there", dir)
                               : assay_err_set(err, ASSAY_E_CONFIG, "%s cannot be read: %s", dir, strerror(errno));
    struct assay_pages *p = calloc(1, sizeof *p);
    int rc = p != NULL ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    if (rc == 0)
        rc = add_page(p, top, "", "index.html", err);
    if (rc == 0)
        rc = add_folder(p, top, "ui", err);
    if (rc == 0)
        rc = add_folder(p, top, "swagger", err);
    close(top);
    if (rc != 0) {
        assay_pages_free(p);
        return rc;
    }
    qsort(p->page, p->n, sizeof *p->page, by_name);
    *ret = p;
    return 0;
}

void assay_pages_free(struct assay_pages *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n; i++) {
        for (size_t e = 0; e < ENCODINGS; e++)
            free((void *)(uintptr_t)p->page[i].form[e].bytes.p);
        free(p->page[i].name);
    }
    free(p->page);
    free(p);
}

size_t assay_pages_count(const struct assay_pages *p)
{
    return p->n;
}

/* ---- answering -------------------------------------------------------------------------------------- */

static struct assay_str trimmed(struct assay_str s)
{
    while (s.n != 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (struct assay_str){s.p + 1, s.n - 1};
    while (s.n != 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* The part of s before the first c; s becomes what follows it. */
static struct assay_str cut(struct assay_str *s, char c)
{
    const char *at = s->n != 0 ? memchr(s->p, c, s->n) : NULL;
    struct assay_str head = {s->p, at != NULL ? (size_t)(at - s->p) : s->n};
    *s = at != NULL ? (struct assay_str){at + 1, s->n - head.n - 1} : ASSAY_STR_NULL;
    return trimmed(head);
}

/* RFC 9110, 12.4.2: a weight of nought ("0", "0.", "0.000") means "not this". */
static bool refused(struct assay_str parameters)
{
    while (parameters.n != 0) {
        struct assay_str value = cut(&parameters, ';'), key = cut(&value, '=');
        if (!assay_str_ieq(key, "q"))
            continue;
        value = trimmed(value);
        for (size_t i = 0; i < value.n; i++)
            if (value.p[i] != '0' && value.p[i] != '.')
                return false;
        return value.n != 0;
    }
    return false;
}

/* Whether a list such as "gzip, br;q=0" names the token and does not refuse it. "*" is not taken: who sends no more than
 * that gets the bytes as they are, which everybody can read. */
static bool lists(struct assay_str list, const char *token)
{
    while (list.n != 0) {
        struct assay_str item = cut(&list, ','), name = cut(&item, ';');
        if (assay_str_ieq(name, token))
            return !refused(item);
    }
    return false;
}

bool assay_pages_wanted(const struct assay_request *rq)
{
    return lists(rq->header(rq, "accept"), "text/html");
}

void assay_pages_harden(struct assay_response *rs, const char *folder)
{
    /* Swagger UI writes HTML from Markdown that it has cleaned: trusted types would forbid it */
    bool strict = strcmp(folder, "swagger") != 0;
    assay_reply_header(rs, ASSAY_STR("content-security-policy"),
                       strict ? ASSAY_STR("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
                                          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
                                          "require-trusted-types-for 'script'; trusted-types 'none'")
                              : ASSAY_STR("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
                                          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"));
    assay_reply_header(rs, ASSAY_STR("cross-origin-opener-policy"), ASSAY_STR("same-origin"));
    assay_reply_header(rs, ASSAY_STR("permissions-policy"), ASSAY_STR("camera=(), geolocation=(), microphone=(), payment=(), usb=()"));
}

static const struct page *find(const struct assay_pages *p, const char *folder, struct assay_str name)
{
    char whole[128];
    int n = snprintf(whole, sizeof whole, "%s%s%.*s", folder, *folder != '\0' ? "/" : "", ASSAY_FMT(name));
    if (n < 0 || (size_t)n >= sizeof whole || assay_str_has_nul(name))
        return NULL;
    struct page key = {.name = whole};
    return bsearch(&key, p->page, p->n, sizeof *p->page, by_name);
}

int assay_pages_answer(const struct assay_pages *p, const char *folder, struct assay_str name, struct assay_request *rq,
                       struct assay_response *rs, struct assay_str *bytes, struct assay_err *err)
{
    const struct page *page = find(p, folder, name);
    if (page == NULL)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such page");
    struct assay_str accepted = rq->header(rq, "accept-encoding");
    enum encoding e = IDENTITY;
    bool varies = page->form[GZIP].bytes.p != NULL || page->form[BROTLI].bytes.p != NULL;
    if (page->form[BROTLI].bytes.p != NULL && lists(accepted, "br"))
        e = BROTLI;
    else if (page->form[GZIP].bytes.p != NULL && lists(accepted, "gzip"))
        e = GZIP;
    rs->content_type = page->type;
    assay_reply_header(rs, ASSAY_STR("etag"), assay_str(page->form[e].etag));
    assay_reply_header(rs, ASSAY_STR("cache-control"),
                       page->lasting ? ASSAY_STR("public, max-age=31536000, immutable") : ASSAY_STR("no-cache"));
    if (*folder == '\0')
        assay_reply_header(rs, ASSAY_STR("vary"), ASSAY_STR("Accept, Accept-Encoding"));
    else if (varies)
        assay_reply_header(rs, ASSAY_STR("vary"), ASSAY_STR("Accept-Encoding"));
    if (e != IDENTITY)
        assay_reply_header(rs, ASSAY_STR("content-encoding"), assay_str(encodings[e].token));
    if (assay_str_starts(assay_str(page->type), "text/html"))
        assay_pages_harden(rs, folder);
    *bytes = page->form[e].bytes;
    return ASSAY_OK;
}
