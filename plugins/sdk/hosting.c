/*
 * Loading plugins, and reading what the supervisor hands its children.
 *
 * Theory of operation.  A shared object's constructors run inside dlopen, so an ABI check by dlsym
 * comes too late: code of the wrong ABI has run by then.  peek therefore maps the file and finds the
 * symbol `assay_plugin` by hand: program headers -> PT_DYNAMIC -> DT_SYMTAB, DT_STRTAB -> the symbol
 * -> the file offset of its value.  The four members it reads are plain integers at the start of the
 * object, so no relocation touches them.  The number of dynamic symbols comes from the section
 * header of .dynsym, which a stripped file keeps.  Every offset is checked against the size of the
 * file, so a truncated or crafted file is refused and not a crash.
 */
#include <assay/hosting.h>

#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <assay/value.h>

/* The first ABI's struct: what every plugin of this major version has at least. */
#define PLUGIN_SIZE_MIN (offsetof(struct assay_plugin, fini) + sizeof(void (*)(void *)))

struct image {
    const unsigned char *p;
    size_t n;
};

static const void *at(const struct image *im, uint64_t off, uint64_t len)
{
    if (off > im->n || len > im->n - off)
        return NULL;
    return im->p + off;
}

/* A structure of the file; one that is not aligned is as bad as one that is not there. */
static const void *struct_at(const struct image *im, uint64_t off, uint64_t len)
{
    return off % _Alignof(ElfW(Sym)) == 0 ? at(im, off, len) : NULL;
}

/* The file offset of a virtual address, or UINT64_MAX. */
static uint64_t offset_of(const struct image *im, const ElfW(Ehdr) *eh, uint64_t addr, uint64_t len)
{
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        const ElfW(Phdr) *ph = struct_at(im, eh->e_phoff + (uint64_t)i * sizeof(ElfW(Phdr)), sizeof(ElfW(Phdr)));
        if (ph == NULL)
            return UINT64_MAX;
        if (ph->p_type != PT_LOAD || addr < ph->p_vaddr)
            continue;
        uint64_t into = addr - ph->p_vaddr;
        if (into < ph->p_filesz && len <= ph->p_filesz - into)
            return ph->p_offset + into;
    }
    return UINT64_MAX;
}

static int peek_image(const struct image *im, const char *path, struct assay_plugin_peeked *out, struct assay_err *err)
{
    const ElfW(Ehdr) *eh = struct_at(im, 0, sizeof(ElfW(Ehdr)));
    ElfW(Ehdr) own;
    if (eh == NULL || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s is not a shared object", path);
    /* the program's own header, which the loader keeps in memory, says which machine this is */
    extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
    memcpy(&own, &__ehdr_start, sizeof own);
    if (eh->e_ident[EI_CLASS] != own.e_ident[EI_CLASS] || eh->e_ident[EI_DATA] != own.e_ident[EI_DATA] ||
        eh->e_machine != own.e_machine || eh->e_type != ET_DYN || eh->e_phentsize != sizeof(ElfW(Phdr)) ||
        eh->e_shentsize != sizeof(ElfW(Shdr)))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s is not a shared object for this machine", path);

    for (unsigned i = 0; i < eh->e_shnum; i++) {
        const ElfW(Shdr) *sh = struct_at(im, eh->e_shoff + (uint64_t)i * sizeof(ElfW(Shdr)), sizeof(ElfW(Shdr)));
        if (sh == NULL)
            return assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s is truncated", path);
        if (sh->sh_type != SHT_DYNSYM || sh->sh_entsize != sizeof(ElfW(Sym)))
            continue;
        const ElfW(Shdr) *strings =
            sh->sh_link < eh->e_shnum
                ? struct_at(im, eh->e_shoff + (uint64_t)sh->sh_link * sizeof(ElfW(Shdr)), sizeof(ElfW(Shdr)))
                : NULL;
        const char *names = strings != NULL ? at(im, strings->sh_offset, strings->sh_size) : NULL;
        const ElfW(Sym) *sym = struct_at(im, sh->sh_offset, sh->sh_size);
        if (names == NULL || sym == NULL)
            return assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s is truncated", path);
        for (uint64_t k = 0; k < sh->sh_size / sizeof(ElfW(Sym)); k++) {
            if (sym[k].st_name >= strings->sh_size || sym[k].st_shndx == SHN_UNDEF ||
                strings->sh_size - sym[k].st_name < sizeof ASSAY_PLUGIN_SYMBOL ||
                memcmp(names + sym[k].st_name, ASSAY_PLUGIN_SYMBOL, sizeof ASSAY_PLUGIN_SYMBOL) != 0)
                continue;
            const size_t head = offsetof(struct assay_plugin, kind) + sizeof(uint32_t);
            uint64_t off = offset_of(im, eh, sym[k].st_value, head);
            const unsigned char *p = off == UINT64_MAX ? NULL : at(im, off, head);
            if (p == NULL)
                return assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s: its symbol " ASSAY_PLUGIN_SYMBOL " has no data",
                                     path);
            uint32_t magic;
            memcpy(&magic, p, sizeof magic);
            memcpy(&out->size, p + offsetof(struct assay_plugin, size), sizeof out->size);
            memcpy(&out->abi_major, p + offsetof(struct assay_plugin, abi_major), sizeof out->abi_major);
            memcpy(&out->abi_minor, p + offsetof(struct assay_plugin, abi_minor), sizeof out->abi_minor);
            memcpy(&out->kind, p + offsetof(struct assay_plugin, kind), sizeof out->kind);
            if (magic != ASSAY_PLUGIN_MAGIC)
                return assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s: its magic number is 0x%08x, not 0x%08x", path,
                                     magic, ASSAY_PLUGIN_MAGIC);
            if (out->abi_major != ASSAY_ABI_MAJOR)
                return assay_err_set(err, ASSAY_E_UNSUPPORTED,
                                     "%s was built for ABI %u.%u and this program speaks %d.%d: rebuild the plugin",
                                     path, out->abi_major, out->abi_minor, ASSAY_ABI_MAJOR, ASSAY_ABI_MINOR);
            if (out->size < PLUGIN_SIZE_MIN || out->size > 65536)
                return assay_err_set(err, ASSAY_E_UNSUPPORTED,
                                     "%s: its descriptor says %u bytes, and ABI %d.0 needs at least %zu", path,
                                     out->size, ASSAY_ABI_MAJOR, (size_t)PLUGIN_SIZE_MIN);
            return 0;
        }
    }
    return assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s has no symbol " ASSAY_PLUGIN_SYMBOL ": not a plugin", path);
}

int assay_plugin_peek(const char *path, struct assay_plugin_peeked *out, struct assay_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "cannot open plugin %s", path);
    struct stat st;
    int rc;
    void *map = MAP_FAILED;
    if (fstat(fd, &st) != 0) {
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "cannot read plugin %s", path);
    } else if (!S_ISREG(st.st_mode) || st.st_size <= 0) {
        rc = assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s is not a shared object", path);
    } else if ((st.st_mode & S_IWOTH) != 0) {
        /* whoever can write it would run code as us */
        rc = assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s is writable by everyone: chmod o-w", path);
    } else if ((map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED) {
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "cannot map plugin %s", path);
    } else {
        struct image im = {map, (size_t)st.st_size};
        struct assay_plugin_peeked got = {0};
        rc = peek_image(&im, path, &got, err);
        if (rc == 0)
            *out = got;
        munmap(map, (size_t)st.st_size);
    }
    close(fd);
    return rc;
}

int assay_plugin_load(const char *path, const struct assay_plugin **out, struct assay_err *err)
{
    struct assay_plugin_peeked peeked;
    int rc = assay_plugin_peek(path, &peeked, err);
    if (rc != 0)
        return rc;
    /* without a slash dlopen would search the library path */
    char full[PATH_MAX];
    if (realpath(path, full) == NULL)
        return assay_err_errno(err, ASSAY_E_IO, errno, "cannot open plugin %s", path);
    void *so = dlopen(full, RTLD_NOW | RTLD_LOCAL);
    if (so == NULL) {
        const char *why = dlerror();
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "cannot load plugin %s: %s", path, why ? why : "unknown");
    }
    const struct assay_plugin *p = dlsym(so, ASSAY_PLUGIN_SYMBOL);
    if (p == NULL || p->magic != ASSAY_PLUGIN_MAGIC || p->size != peeked.size || p->abi_major != peeked.abi_major ||
        p->kind != peeked.kind)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "plugin %s changed while it was being loaded", path);
    if (p->name == NULL || p->name[0] == '\0')
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "plugin %s has no name", path);
    *out = p;
    return 0;
}

static int wanted(const struct dirent *d)
{
    return d->d_name[0] != '.' && assay_str_ends(assay_str(d->d_name), ".so");
}

int assay_plugin_scan(const char *folders, struct assay_plugin_paths *out, struct assay_err *err)
{
    struct assay_plugin_paths got = {NULL, 0};
    size_t room = 0;
    int rc = 0;
    for (const char *from = folders; rc == 0 && *from != '\0';) {
        size_t len = strcspn(from, ":");
        char folder[PATH_MAX];
        if (len >= sizeof folder) {
            rc = assay_err_set(err, ASSAY_E_CONFIG, "plugin_path: a folder's name is too long");
            break;
        }
        memcpy(folder, from, len);
        folder[len] = '\0';
        from += len + (from[len] == ':');
        if (len == 0)
            continue;
        struct dirent **entry = NULL;
        int n = scandir(folder, &entry, wanted, alphasort);
        if (n < 0) {
            rc = assay_err_errno(err, ASSAY_E_CONFIG, errno, "plugin_path: cannot read folder %s", folder);
            break;
        }
        for (int i = 0; i < n; i++) {
            if (rc == 0 && got.n == room) {
                size_t more = room ? room * 2 : 16;
                char **grown = reallocarray(got.path, more, sizeof *grown);
                if (grown == NULL) {
                    rc = assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
                } else {
                    got.path = grown;
                    room = more;
                }
            }
            if (rc == 0) {
                size_t size = len + strlen(entry[i]->d_name) + 2;
                char *path = malloc(size);
                if (path == NULL) {
                    rc = assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
                } else {
                    (void)snprintf(path, size, "%s/%s", folder, entry[i]->d_name);
                    got.path[got.n++] = path;
                }
            }
            free(entry[i]);
        }
        free(entry);
    }
    if (rc != 0) {
        assay_plugin_paths_free(&got);
        return rc;
    }
    *out = got;
    return 0;
}

void assay_plugin_paths_free(struct assay_plugin_paths *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->path[i]);
    free(p->path);
    *p = (struct assay_plugin_paths){NULL, 0};
}

/* ---- options --------------------------------------------------------------------------------- */

struct assay_options {
    char *text; /* lines cut into name NUL value NUL */
    size_t size;
    struct pair {
        const char *name, *value;
    } *pair; /* sorted by name */
    size_t n;
};

#define OPTIONS_MAX ((size_t)1 << 20)

static int by_name(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return strcmp(x->name, y->name);
}

int assay_options_read(int fd, struct assay_options **out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    b.cap = OPTIONS_MAX;
    for (off_t off = 0;;) {
        char chunk[4096];
        ssize_t n = pread(fd, chunk, sizeof chunk, off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return assay_err_errno(err, ASSAY_E_IO, errno, "cannot read the options");
        if (n == 0)
            break;
        assay_buf_add(&b, chunk, (size_t)n);
        off += n;
    }
    if (b.failed)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "the options are larger than %zu bytes", OPTIONS_MAX);
    if (b.n > 0 && (memchr(b.p, '\0', b.n) != NULL || b.p[b.n - 1] != '\n'))
        return assay_err_set(err, ASSAY_E_CORRUPT, "the options are not lines of text");

    size_t lines = 0;
    for (size_t i = 0; i < b.n; i++)
        lines += b.p[i] == '\n';
    struct assay_options *o = calloc(1, sizeof *o);
    struct pair *pair = calloc(lines + 1, sizeof *pair);
    if (o == NULL || pair == NULL) {
        free(o);
        free(pair);
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    }
    o->pair = pair;
    o->text = assay_buf_steal(&b, &o->size);
    for (char *p = o->text, *end = o->text + o->size; p != NULL && p < end;) {
        char *nl = memchr(p, '\n', (size_t)(end - p));
        *nl = '\0';
        char *eq = strchr(p, '=');
        if (eq == NULL || eq == p) {
            assay_options_free(o);
            return assay_err_set(err, ASSAY_E_CORRUPT, "the options hold a line without a name and '='");
        }
        *eq = '\0';
        o->pair[o->n++] = (struct pair){p, eq + 1};
        p = nl + 1;
    }
    qsort(o->pair, o->n, sizeof *o->pair, by_name);
    *out = o;
    return 0;
}

void assay_options_free(struct assay_options *o)
{
    if (o == NULL)
        return;
    if (o->text != NULL) /* the server's hold secrets */
        explicit_bzero(o->text, o->size);
    free(o->text);
    free(o->pair);
    free(o);
}

const char *assay_options_str(const struct assay_options *o, const char *name)
{
    struct pair key = {name, NULL};
    const struct pair *hit = o->n > 0 ? bsearch(&key, o->pair, o->n, sizeof *o->pair, by_name) : NULL;
    return hit != NULL ? hit->value : NULL;
}

int64_t assay_options_int(const struct assay_options *o, const char *name, int64_t dflt)
{
    const char *text = assay_options_str(o, name);
    int64_t v;
    if (text == NULL || assay_parse_i64(assay_str(text), INT64_MIN, INT64_MAX, &v, NULL) != 0)
        return dflt;
    return v;
}

size_t assay_options_count(const struct assay_options *o)
{
    return o->n;
}

const char *assay_options_name(const struct assay_options *o, size_t i)
{
    return i < o->n ? o->pair[i].name : NULL;
}
