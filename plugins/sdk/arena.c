/*
 * Arena: chunks that grow by doubling up to 256 KiB; large blocks stand alone; foreign memory taken
 * from a builder is remembered and freed with the rest.  Memory handed out is zeroed.
 */
#include <assay/str.h>

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define ALIGN 16u
#define FIRST_CHUNK 2048u
#define LARGEST_CHUNK (256u * 1024u)

struct chunk {
    struct chunk *next;
    size_t room, used;
    _Alignas(ALIGN) char bytes[];
};

struct foreign {
    struct foreign *next;
    void *p;
};

struct assay_arena {
    struct chunk *head;
    struct foreign *foreign;
    size_t cap, used, next_chunk;
    bool failed;
};

struct assay_arena *assay_arena_new(size_t cap)
{
    struct assay_arena *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->cap = cap ? cap : (size_t)256 << 20;
    a->next_chunk = FIRST_CHUNK;
    return a;
}

void assay_arena_free(struct assay_arena *a)
{
    if (!a)
        return;
    for (struct foreign *f = a->foreign; f; f = f->next)
        free(f->p);
    for (struct chunk *c = a->head; c;) {
        struct chunk *next = c->next;
        free(c);
        c = next;
    }
    free(a);
}

void *assay_arena_alloc(struct assay_arena *a, size_t n)
{
    if (n > a->cap || a->used > a->cap - n)
        return NULL;
    size_t need = (n + ALIGN - 1) / ALIGN * ALIGN;
    if (need == 0)
        need = ALIGN;
    struct chunk *c = a->head;
    if (!c || c->room - c->used < need) {
        size_t room = need > a->next_chunk ? need : a->next_chunk;
        /* plain malloc, and only what is handed out is cleared: a chunk is mostly not used up */
        struct chunk *fresh = malloc(sizeof *fresh + room);
        if (!fresh) {
            a->failed = true;
            return NULL;
        }
        fresh->room = room;
        fresh->used = 0;
        if (c && need > a->next_chunk) {
            /* a large block: keep filling the chunk we have */
            fresh->next = c->next;
            c->next = fresh;
        } else {
            fresh->next = c;
            a->head = fresh;
            if (a->next_chunk < LARGEST_CHUNK)
                a->next_chunk *= 2;
        }
        c = fresh;
    }
    void *p = c->bytes + c->used;
    c->used += need;
    a->used += need;
    memset(p, 0, need);
    return p;
}

void *assay_arena_array(struct assay_arena *a, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    return assay_arena_alloc(a, n);
}

char *assay_arena_z(struct assay_arena *a, struct assay_str s)
{
    char *p = s.n < SIZE_MAX ? assay_arena_alloc(a, s.n + 1) : NULL;
    if (p && s.n)
        memcpy(p, s.p, s.n);
    return p;
}

struct assay_str assay_arena_str(struct assay_arena *a, struct assay_str s)
{
    char *p = assay_arena_z(a, s);
    return (struct assay_str){p, p ? s.n : 0};
}

struct assay_str assay_arena_fmt(struct assay_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : assay_arena_alloc(a, (size_t)n + 1);
    if (p)
        (void)vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (struct assay_str){p, p ? (size_t)n : 0};
}

struct assay_str assay_arena_take(struct assay_arena *a, struct assay_buf *b)
{
    struct foreign *f = assay_arena_alloc(a, sizeof *f);
    size_t n = 0;
    char *p = f ? assay_buf_steal(b, &n) : NULL;
    if (!p) {
        assay_buf_free(b);
        return ASSAY_STR_NULL;
    }
    *f = (struct foreign){a->foreign, p};
    a->foreign = f;
    a->used += n;
    return (struct assay_str){p, n};
}

size_t assay_arena_used(const struct assay_arena *a)
{
    return a->used;
}

bool assay_arena_failed(const struct assay_arena *a)
{
    return a->failed;
}
