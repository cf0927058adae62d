/*
 * Test inputs and manifests, kept in memory while they are wanted again and again: the same problem is
 * judged many times in a row.  Content-addressed, so an entry is never stale; least recently used goes
 * first.  One mutex guards it; reading a blob happens outside.
 */
#include "local.h"

#define BUCKETS 512u
#define ENTRY_SHARE 4 /* an entry larger than a quarter of the whole is not kept */

struct entry {
    struct entry *chain;          /* of its bucket */
    struct entry *newer, *older;  /* by last use */
    char ref[ASSAY_BLOB_REF];
    size_t n;
    char bytes[];
};
struct cache {
    const struct assay_host *host;
    pthread_mutex_t lock; /* guards all below */
    struct entry *bucket[BUCKETS], *newest, *oldest;
    size_t used, max;
};

static uint32_t bucket_of(struct assay_str ref)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < ref.n; i++)
        h = (h ^ (unsigned char)ref.p[i]) * 16777619u;
    return h % BUCKETS;
}

struct cache *cache_new(const struct assay_host *host, size_t max_bytes)
{
    struct cache *c = calloc(1, sizeof *c);
    if (c != NULL) {
        pthread_mutex_init(&c->lock, NULL);
        c->max = max_bytes;
        c->host = host;
    }
    return c;
}

static void unlink_use(struct cache *c, struct entry *e)
{
    if (e->newer != NULL)
        e->newer->older = e->older;
    else
        c->newest = e->older;
    if (e->older != NULL)
        e->older->newer = e->newer;
    else
        c->oldest = e->newer;
}

static void use(struct cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    if (c->newest != NULL)
        c->newest->newer = e;
    else
        c->oldest = e;
    c->newest = e;
}

static void evict(struct cache *c, struct entry *e)
{
    for (struct entry **at = &c->bucket[bucket_of(assay_str(e->ref))]; *at != NULL; at = &(*at)->chain) {
        if (*at == e) {
            *at = e->chain;
            break;
        }
    }
    unlink_use(c, e);
    c->used -= e->n;
    free(e);
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    while (c->oldest != NULL)
        evict(c, c->oldest);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct entry *find(struct cache *c, struct assay_str ref)
{
    for (struct entry *e = c->bucket[bucket_of(ref)]; e != NULL; e = e->chain) {
        if (assay_str_is(ref, e->ref))
            return e;
    }
    return NULL;
}

static void keep(struct cache *c, struct assay_str ref, struct assay_str bytes)
{
    if (ref.n >= ASSAY_BLOB_REF || bytes.n > c->max / ENTRY_SHARE)
        return;
    struct entry *e = malloc(sizeof *e + bytes.n);
    if (e == NULL)
        return;
    memcpy(e->ref, ref.p, ref.n);
    e->ref[ref.n] = '\0';
    e->n = bytes.n;
    if (bytes.n != 0)
        memcpy(e->bytes, bytes.p, bytes.n);
    pthread_mutex_lock(&c->lock);
    if (find(c, ref) != NULL) {
        pthread_mutex_unlock(&c->lock);
        free(e);
        return;
    }
    while (c->used + e->n > c->max && c->oldest != NULL)
        evict(c, c->oldest);
    uint32_t b = bucket_of(ref);
    e->chain = c->bucket[b];
    c->bucket[b] = e;
    use(c, e);
    c->used += e->n;
    pthread_mutex_unlock(&c->lock);
}

int cache_read(struct cache *c, const struct assay_blobs *blobs, struct assay_str ref, size_t max,
               struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    if (ref.n == 0) {
        *out = ASSAY_STR("");
        return ASSAY_OK;
    }
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, ref);
    bool hit = e != NULL && e->n <= max;
    if (hit) {
        unlink_use(c, e);
        use(c, e);
        *out = assay_arena_str(arena, (struct assay_str){e->bytes, e->n});
    }
    pthread_mutex_unlock(&c->lock);
    const char *label[] = {hit ? "hit" : "miss"};
    c->host->metric_add(c->host->ctx, &runner_metrics[METRIC_DATA_CACHE], label, 1);
    if (hit)
        return out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
    int rc = assay_blob_get(blobs, ref, max, arena, out, err);
    if (rc >= 0)
        keep(c, ref, *out);
    return rc;
}
