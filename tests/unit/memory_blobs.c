#include "memory_blobs.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct memory_blob {
    struct memory_blob *next;
    char *name;
    char *bytes;
    size_t n;
};

static struct memory_blob *blob_find(struct memory_blobs *m, struct assay_str name)
{
    for (struct memory_blob *b = m->list; b != NULL; b = b->next) {
        if (assay_str_is(name, b->name))
            return b;
    }
    return NULL;
}

static int blob_put(void *self, struct assay_str name, struct assay_str bytes, struct assay_err *err)
{
    struct memory_blobs *m = self;
    (void)err;
    pthread_mutex_lock(&m->lock);
    if (blob_find(m, name) == NULL) {
        struct memory_blob *b = calloc(1, sizeof *b);
        assert(b != NULL);
        b->name = strndup(name.p, name.n);
        b->bytes = malloc(bytes.n + 1);
        assert(b->name != NULL && b->bytes != NULL);
        if (bytes.n != 0)
            memcpy(b->bytes, bytes.p, bytes.n);
        b->n = bytes.n;
        b->next = m->list;
        m->list = b;
    }
    pthread_mutex_unlock(&m->lock);
    return ASSAY_OK;
}

static int blob_get(void *self, struct assay_str name, size_t max, struct assay_arena *arena, struct assay_str *out,
                    struct assay_err *err)
{
    struct memory_blobs *m = self;
    int rc = ASSAY_OK;
    pthread_mutex_lock(&m->lock);
    struct memory_blob *b = blob_find(m, name);
    if (b == NULL)
        rc = assay_err_set(err, ASSAY_E_NOT_FOUND, "no blob %.*s", ASSAY_FMT(name));
    else if (b->n > max)
        rc = assay_err_set(err, ASSAY_E_TOO_LARGE, "blob %.*s is larger than %zu", ASSAY_FMT(name), max);
    else
        *out = assay_arena_str(arena, (struct assay_str){b->bytes, b->n});
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static int blob_stat(void *self, struct assay_str name, int64_t *bytes, struct assay_err *err)
{
    struct memory_blobs *m = self;
    pthread_mutex_lock(&m->lock);
    struct memory_blob *b = blob_find(m, name);
    if (b != NULL)
        *bytes = (int64_t)b->n;
    pthread_mutex_unlock(&m->lock);
    return b != NULL ? ASSAY_OK : assay_err_set(err, ASSAY_E_NOT_FOUND, "no blob %.*s", ASSAY_FMT(name));
}

static int blob_del(void *self, struct assay_str name, struct assay_err *err)
{
    struct memory_blobs *m = self;
    (void)err;
    pthread_mutex_lock(&m->lock);
    for (struct memory_blob **p = &m->list; *p != NULL; p = &(*p)->next) {
        struct memory_blob *b = *p;
        if (!assay_str_is(name, b->name))
            continue;
        *p = b->next;
        free(b->name);
        free(b->bytes);
        free(b);
        break;
    }
    pthread_mutex_unlock(&m->lock);
    return ASSAY_OK;
}

static int blob_health(void *self, struct assay_err *err)
{
    (void)self;
    (void)err;
    return ASSAY_OK;
}

void memory_blobs_init(struct memory_blobs *m)
{
    static const struct assay_blob_ops ops = {
        .size = sizeof ops, .put = blob_put, .get = blob_get, .stat = blob_stat, .del = blob_del, .health = blob_health};
    *m = (struct memory_blobs){.blobs = {&ops, m}};
    pthread_mutex_init(&m->lock, NULL);
}

void memory_blobs_fini(struct memory_blobs *m)
{
    while (m->list != NULL) {
        struct memory_blob *b = m->list;
        m->list = b->next;
        free(b->name);
        free(b->bytes);
        free(b);
    }
    pthread_mutex_destroy(&m->lock);
}

void memory_blobs_move(struct memory_blobs *to, struct memory_blobs *from)
{
    to->list = from->list;
    from->list = NULL;
}
