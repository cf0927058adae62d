/*
 * The build cache: what a build made, kept on disk under a key of all that the build could see.
 *
 *   DATA/builds/<key>   struct head · the build's output · the artefact's encoding (warden_wire.h)
 *
 * Trust.  An entry is written once, under a name without meaning, and only then gets its own; nothing writes to
 * it again.  Its head and output carry a digest, checked at each reading.  The encoding needs none of its own: its
 * SHA-256 is the artefact's id, which the warden that is given it computes anyway and which judge.c holds
 * against the head's.  Whatever fails a check is dropped loudly and built again.
 * Which builds may be kept at all is judge.c's to say; nothing that a program does at run time comes here.
 *
 * The key is the caller's list of fields, each with its length before it, so that no two lists read alike.
 *
 * Bounded by bytes on disk; who was used least recently goes first.  The index is in memory, made from the folder
 * at the start; a file's mtime says when it was last used, to an hour.
 *
 * Threads: any; the lock guards the index.  Files are read and written outside of it: one that is evicted while
 * it is opened is a miss, one that is written twice by two builds of the same is kept once.
 */
#include "local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUCKETS 4096u
#define ENTRY_SHARE 4 /* an entry larger than a quarter of the whole is not kept */
#define BLOCK ((size_t)4096)
#define TOUCH_S 3600
#define MAGIC "assay-build-1\n\0"
#define TMP_PREFIX "tmp."

struct head {
    char magic[16];
    char key[BUILD_KEY]; /* a renamed file is not another's result */
    char artefact[BUILD_KEY];
    char digest[BUILD_KEY]; /* of all else in the head, and the output */
    char zero[5];
    int64_t cpu_us, wall_us, memory_peak_bytes;
    uint64_t n_output, n_encoding;
};
_Static_assert(sizeof(struct head) == 16 + 3 * 65 + 5 + 5 * 8, "no holes: it is hashed as it lies");

struct entry {
    struct entry *chain;         /* of its bucket */
    struct entry *newer, *older; /* by last use */
    char key[BUILD_KEY];
    size_t n;
};
struct builds {
    const struct assay_host *host;
    int dir;
    size_t max;
    pthread_mutex_t lock; /* guards all below */
    struct entry *bucket[BUCKETS], *newest, *oldest;
    size_t used;
};

/* ---- keys ----------------------------------------------------------------------------------------------- */

void build_key_add(struct assay_buf *b, const char *name, struct assay_str value)
{
    assay_buf_fmt(b, "%s %zu ", name, value.n);
    assay_buf_str(b, value);
}

void build_key_list(struct assay_buf *b, const char *name, const struct assay_str *s, size_t n)
{
    assay_buf_fmt(b, "%s %zu ", name, n);
    for (size_t i = 0; i < n; i++)
        build_key_add(b, "", s[i]);
}

int build_key_end(struct assay_buf *b, char key[BUILD_KEY], struct assay_err *err)
{
    if (b->failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    assay_sha256_hex(assay_buf_view(b), key);
    return ASSAY_OK;
}

/* ---- the index; the lock is held ------------------------------------------------------------------------------ */

static uint32_t bucket_of(const char *key)
{
    uint32_t h = 2166136261u;
    for (; *key != '\0'; key++)
        h = (h ^ (unsigned char)*key) * 16777619u;
    return h % BUCKETS;
}

static struct entry *find(struct builds *b, const char *key)
{
    for (struct entry *e = b->bucket[bucket_of(key)]; e != NULL; e = e->chain) {
        if (strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

static void unlink_use(struct builds *b, struct entry *e)
{
    if (e->newer != NULL)
        e->newer->older = e->older;
    else
        b->newest = e->older;
    if (e->older != NULL)
        e->older->newer = e->newer;
    else
        b->oldest = e->newer;
}

static void use(struct builds *b, struct entry *e)
{
    e->newer = NULL;
    e->older = b->newest;
    if (b->newest != NULL)
        b->newest->newer = e;
    else
        b->oldest = e;
    b->newest = e;
}

static void show(struct builds *b)
{
    b->host->metric_set(b->host->ctx, &runner_metrics[METRIC_CACHE_BYTES], NULL, (double)b->used);
}

static void forget(struct builds *b, struct entry *e)
{
    for (struct entry **at = &b->bucket[bucket_of(e->key)]; *at != NULL; at = &(*at)->chain) {
        if (*at == e) {
            *at = e->chain;
            break;
        }
    }
    unlink_use(b, e);
    b->used -= e->n;
    (void)unlinkat(b->dir, e->key, 0);
    free(e);
}

static void remember(struct builds *b, const char *key, size_t n)
{
    struct entry *e = find(b, key) == NULL ? calloc(1, sizeof *e) : NULL;
    if (e == NULL)
        return; /* it lies there and is found at the next start */
    memcpy(e->key, key, sizeof e->key);
    e->n = n;
    e->chain = b->bucket[bucket_of(key)];
    b->bucket[bucket_of(key)] = e;
    use(b, e);
    b->used += n;
    while (b->used > b->max && b->oldest != NULL)
        forget(b, b->oldest);
}

/* ---- the folder ------------------------------------------------------------------------------------------------ */

static bool key_ok(const char *name)
{
    return strlen(name) == BUILD_KEY - 1 && strspn(name, "0123456789abcdef") == BUILD_KEY - 1;
}

static size_t on_disk(size_t n)
{
    return (n + BLOCK - 1) / BLOCK * BLOCK;
}

struct seen {
    char key[BUILD_KEY];
    int64_t mtime;
    size_t n;
};

static int by_age(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    return x->mtime < y->mtime ? -1 : x->mtime > y->mtime;
}

/* What an earlier life left; what it had not finished writing goes. */
static int scan(struct builds *b, struct assay_err *err)
{
    int fd = openat(b->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        return assay_err_errno(err, ASSAY_E_IO, e, "the folder of builds");
    }
    struct seen *list = NULL;
    size_t n = 0, room = 0;
    int rc = ASSAY_OK;
    for (const struct dirent *e; rc >= 0 && (e = readdir(d)) != NULL;) {
        struct stat st;
        if (assay_str_starts(assay_str(e->d_name), TMP_PREFIX))
            (void)unlinkat(b->dir, e->d_name, 0);
        if (!key_ok(e->d_name) || fstatat(b->dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (n == room) {
            room = room != 0 ? 2 * room : 64;
            struct seen *more = reallocarray(list, room, sizeof *list);
            if (more == NULL) {
                rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory");
                break;
            }
            list = more;
        }
        list[n] = (struct seen){.mtime = (int64_t)st.st_mtime, .n = on_disk((size_t)st.st_size)};
        memcpy(list[n++].key, e->d_name, BUILD_KEY);
    }
    closedir(d);
    if (n != 0)
        qsort(list, n, sizeof *list, by_age);
    for (size_t i = 0; rc >= 0 && i < n; i++)
        remember(b, list[i].key, list[i].n);
    free(list);
    return rc;
}

int builds_open(const struct assay_host *host, int64_t max_bytes, struct builds **out, struct assay_err *err)
{
    char path[4096];
    struct builds *b = calloc(1, sizeof *b);
    if (b == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    b->host = host;
    b->max = (size_t)max_bytes;
    pthread_mutex_init(&b->lock, NULL);
    snprintf(path, sizeof path, "%s/builds", host->option_str(host->ctx, "data_dir"));
    bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
    b->dir = made ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int rc = b->dir < 0 ? assay_err_errno(err, ASSAY_E_IO, errno, "the folder of builds %s", path) : scan(b, err);
    if (rc < 0) {
        builds_free(b);
        return rc;
    }
    show(b);
    *out = b;
    return ASSAY_OK;
}

void builds_free(struct builds *b)
{
    if (b == NULL)
        return;
    for (struct entry *e = b->newest, *next; e != NULL; e = next) {
        next = e->older;
        free(e);
    }
    if (b->dir >= 0)
        close(b->dir);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void builds_drop(struct builds *b, const char *key, const char *why)
{
    pthread_mutex_lock(&b->lock);
    struct entry *e = find(b, key);
    if (e != NULL)
        forget(b, e);
    show(b);
    pthread_mutex_unlock(&b->lock);
    if (e == NULL)
        return;
    b->host->metric_add(b->host->ctx, &runner_metrics[METRIC_CACHE], (const char *const[]){"damaged", NULL}, 1);
    assay_log(b->host, ASSAY_LOG_ERROR, "build_cache_damaged", ASSAY_KZ("key", key), ASSAY_KZ("error", why),
              ASSAY_KZ("effect", "the entry is dropped and the program is built again"));
}

/* ---- reading and writing ------------------------------------------------------------------------------------------ */

static bool read_all(int fd, void *p, size_t n)
{
    for (size_t have = 0; have < n;) {
        ssize_t k = read(fd, (char *)p + have, n - have);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        have += (size_t)k;
    }
    return true;
}

static int digest_of(const struct head *h, struct assay_str output, char out[BUILD_KEY], struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    struct head bare = *h;
    memset(bare.digest, 0, sizeof bare.digest);
    assay_buf_add(&b, &bare, sizeof bare);
    assay_buf_str(&b, output);
    return build_key_end(&b, out, err);
}

/* NULL: all is as it was written; else what is wrong. */
static const char *read_entry(int fd, const char *key, const struct recall *want, struct assay_arena *arena,
                              struct kept_build *out)
{
    struct head h;
    struct stat st;
    char digest[BUILD_KEY];
    struct assay_err err;
    if (fstat(fd, &st) != 0 || !read_all(fd, &h, sizeof h))
        return "it is shorter than its head";
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || memcmp(h.key, key, BUILD_KEY) != 0 || h.n_output > STORED_MAX ||
        h.n_encoding > SIZE_MAX / 2 || (uint64_t)st.st_size != sizeof h + h.n_output + h.n_encoding)
        return "its head does not fit it";
    char *output = assay_arena_alloc(arena, (size_t)h.n_output + 1);
    if (output == NULL || !read_all(fd, output, (size_t)h.n_output))
        return "it cannot be read";
    out->output = (struct assay_str){output, (size_t)h.n_output};
    if (digest_of(&h, out->output, digest, &err) < 0 || memcmp(digest, h.digest, BUILD_KEY) != 0 ||
        h.artefact[BUILD_KEY - 1] != '\0' || !key_ok(h.artefact))
        return "its digest is another";
    memcpy(out->artefact, h.artefact, sizeof out->artefact);
    out->cpu_us = h.cpu_us;
    out->wall_us = h.wall_us;
    out->memory_peak_bytes = h.memory_peak_bytes;
    out->n_encoding = (size_t)h.n_encoding;
    for (size_t i = 0; i < want->n_held; i++) {
        if (strcmp(want->held[i], h.artefact) == 0)
            return NULL; /* the warden has it */
    }
    assay_buf_init(&out->encoding, (size_t)h.n_encoding + 1);
    char *to = assay_buf_reserve(&out->encoding, (size_t)h.n_encoding);
    if (to == NULL || !read_all(fd, to, (size_t)h.n_encoding)) {
        assay_buf_free(&out->encoding);
        return "it cannot be read";
    }
    out->encoding.n = (size_t)h.n_encoding;
    return NULL;
}

bool builds_read(struct builds *b, const char *key, const struct recall *want, struct assay_arena *arena, struct kept_build *out)
{
    struct stat st;
    pthread_mutex_lock(&b->lock);
    struct entry *e = find(b, key);
    if (e != NULL) {
        unlink_use(b, e);
        use(b, e);
    }
    pthread_mutex_unlock(&b->lock);
    int fd = e != NULL ? openat(b->dir, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    const char *why = NULL;
    if (e != NULL && fd < 0)
        why = "its file is gone, or closed to the server";
    else if (e != NULL)
        why = read_entry(fd, key, want, arena, out);
    if (fd >= 0 && why == NULL && fstat(fd, &st) == 0 && time(NULL) - st.st_mtime > TOUCH_S)
        (void)futimens(fd, NULL);
    if (fd >= 0)
        close(fd);
    if (why != NULL)
        builds_drop(b, key, why);
    bool hit = e != NULL && why == NULL;
    b->host->metric_add(b->host->ctx, &runner_metrics[METRIC_CACHE], (const char *const[]){hit ? "hit" : "miss", NULL}, 1);
    return hit;
}

static bool write_all(int fd, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = write(fd, (const char *)p + done, n - done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        done += (size_t)k;
    }
    return true;
}

void builds_keep(struct builds *b, const char *key, const struct kept_build *build)
{
    struct head h = {.cpu_us = build->cpu_us,
                     .wall_us = build->wall_us,
                     .memory_peak_bytes = build->memory_peak_bytes,
                     .n_output = build->output.n,
                     .n_encoding = build->encoding.n};
    size_t n = on_disk(sizeof h + build->output.n + build->encoding.n);
    char random[17], tmp[32];
    struct assay_err err;
    if (n > b->max / ENTRY_SHARE || build->output.n > STORED_MAX)
        return;
    memcpy(h.magic, MAGIC, sizeof h.magic);
    memcpy(h.key, key, BUILD_KEY);
    memcpy(h.artefact, build->artefact, BUILD_KEY);
    if (digest_of(&h, build->output, h.digest, &err) < 0)
        return;
    assay_random_hex(random, 8);
    snprintf(tmp, sizeof tmp, TMP_PREFIX "%s", random);
    int fd = openat(b->dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    bool ok = fd >= 0 && write_all(fd, &h, sizeof h) && write_all(fd, build->output.p, build->output.n) &&
              write_all(fd, build->encoding.p, build->encoding.n);
    int e = errno;
    if (fd >= 0)
        close(fd);
    pthread_mutex_lock(&b->lock);
    if (ok && find(b, key) == NULL) {
        ok = renameat(b->dir, tmp, b->dir, key) == 0;
        e = errno;
        if (ok)
            remember(b, key, n);
        show(b);
    }
    pthread_mutex_unlock(&b->lock);
    (void)unlinkat(b->dir, tmp, 0); /* it failed, or another build of the same was first */
    if (!ok)
        assay_log(b->host, ASSAY_LOG_WARN, "build_not_kept", ASSAY_KZ("error", strerror(e)));
}
