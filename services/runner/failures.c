/*
 * Builds that failed, in memory.
 *
 * A failure is not kept with the builds (recall.c says why): a compiler that was short of something says so by an exit
 * code as well.  But a source that does not compile comes again (a load test, a class that hands in the same file), and
 * would cost a compiler each time.  So a failure is believed, for a while, after the same key has failed twice with the
 * same exit code and the same words, the second time begun when the first had ended: what was short then was short twice, in
 * the same place.  A shortage that lasts is forgotten with the entry, after FAILURE_MS at most.
 *
 * A ring of entries; the oldest makes room.  Only what is believed has its words here.
 */
#include "local.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES 256
#define OUTPUT_MAX ((size_t)16 << 10) /* longer words are not remembered */

struct entry {
    char key[BUILD_KEY]; /* "": free */
    char words[ASSAY_SHA256_HEX];
    int64_t at_ms; /* the failure that began it; monotonic */
    bool believed;
    struct failed_build build; /* its output, once believed, is ours */
};
struct failures {
    pthread_mutex_t lock; /* guards all below */
    struct entry entry[ENTRIES];
    size_t next;
};

struct failures *failures_new(void)
{
    struct failures *f = calloc(1, sizeof *f);
    if (f != NULL)
        pthread_mutex_init(&f->lock, NULL);
    return f;
}

static void clear(struct entry *e)
{
    free((void *)(uintptr_t)e->build.output.p);
    memset(e, 0, sizeof *e);
}

void failures_free(struct failures *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < ENTRIES; i++)
        clear(&f->entry[i]);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* One that is too old is cleared here. */
static struct entry *find(struct failures *f, const char *key, int64_t now_ms)
{
    for (size_t i = 0; key[0] != '\0' && i < ENTRIES; i++) {
        struct entry *e = &f->entry[i];
        if (strcmp(e->key, key) != 0)
            continue;
        if (now_ms - e->at_ms < FAILURE_MS)
            return e;
        clear(e);
        return NULL;
    }
    return NULL;
}

bool failures_find(struct failures *f, const char *key, int64_t now_ms, struct assay_arena *arena, struct failed_build *out, bool *once)
{
    pthread_mutex_lock(&f->lock);
    const struct entry *e = find(f, key, now_ms);
    bool believed = e != NULL && e->believed;
    *once = e != NULL;
    if (believed) {
        *out = e->build;
        out->output = e->build.output.n != 0 ? assay_arena_str(arena, e->build.output) : ASSAY_STR("");
        believed = out->output.p != NULL;
    }
    pthread_mutex_unlock(&f->lock);
    return believed;
}

void failures_note(struct failures *f, const char *key, int64_t now_ms, bool once, const struct failed_build *b)
{
    char words[ASSAY_SHA256_HEX];
    if (b->output.n > OUTPUT_MAX || key[0] == '\0')
        return;
    assay_sha256_hex(b->output, words);
    pthread_mutex_lock(&f->lock);
    struct entry *e = find(f, key, now_ms);
    bool same = e != NULL && strcmp(e->words, words) == 0 && e->build.exit_code == b->exit_code;
    if (same && once && !e->believed) {
        char *copy = malloc(b->output.n + 1);
        if (copy != NULL) {
            if (b->output.n != 0)
                memcpy(copy, b->output.p, b->output.n);
            e->build = *b;
            e->build.output = (struct assay_str){copy, b->output.n};
            e->believed = true;
        }
    } else if (!same) { /* new, or it fails in other words now: from the beginning */
        if (e == NULL) {
            e = &f->entry[f->next];
            f->next = (f->next + 1) % ENTRIES;
        }
        clear(e);
        memcpy(e->key, key, BUILD_KEY);
        memcpy(e->words, words, sizeof e->words);
        e->at_ms = now_ms;
        e->build.exit_code = b->exit_code;
    }
    pthread_mutex_unlock(&f->lock);
}
