/*
 * Strings: a borrowed view {p, n} and a growable, capped builder with a sticky failure flag.
 *
 * A view owns nothing and is not NUL-terminated unless its source says so.  A builder owns its
 * bytes; after any failed append (no memory, or over its cap) `failed` stays set, further appends
 * do nothing, and the caller checks once at the end.  Not thread-safe per object.
 */
#ifndef ASSAY_STR_H
#define ASSAY_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <assay/err.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_str {
    const char *p;
    size_t n;
};

#define ASSAY_STR(lit) ((struct assay_str){(lit), sizeof(lit) - 1})
#define ASSAY_STR_NULL ((struct assay_str){NULL, 0})
/* for printf("%.*s", ASSAY_FMT(s)) */
#define ASSAY_FMT(s) ((int)((s).n > 1000000 ? 1000000 : (s).n)), ((s).p ? (s).p : "")

static inline struct assay_str assay_str(const char *z)
{
    return (struct assay_str){z, z ? strlen(z) : 0};
}
static inline bool assay_str_eq(struct assay_str a, struct assay_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool assay_str_is(struct assay_str a, const char *z)
{
    return assay_str_eq(a, assay_str(z));
}
bool assay_str_ieq(struct assay_str a, const char *z); /* ASCII case folded */
bool assay_str_starts(struct assay_str a, const char *prefix);
bool assay_str_ends(struct assay_str a, const char *suffix);
int assay_str_cmp(struct assay_str a, struct assay_str b); /* memcmp order, shorter first */
/* Strict UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
bool assay_utf8_valid(struct assay_str s);
bool assay_str_has_nul(struct assay_str s);

struct assay_buf {
    char *p; /* NUL-terminated whenever p is not NULL */
    size_t n;
    size_t room;
    size_t cap; /* never holds more than this; 0 means ASSAY_BUF_CAP */
    bool failed;
};

#define ASSAY_BUF_CAP ((size_t)64 << 20)
#define ASSAY_BUF_INIT {NULL, 0, 0, 0, false}

void assay_buf_init(struct assay_buf *b, size_t cap);
void assay_buf_free(struct assay_buf *b); /* leaves an empty, usable builder */
void assay_buf_reset(struct assay_buf *b); /* keeps the memory */
void assay_buf_add(struct assay_buf *b, const void *p, size_t n);
void assay_buf_str(struct assay_buf *b, struct assay_str s);
void assay_buf_puts(struct assay_buf *b, const char *z);
void assay_buf_putc(struct assay_buf *b, char c);
void assay_buf_fmt(struct assay_buf *b, const char *fmt, ...) ASSAY_PRINTF(2, 3);
/* Appends s with each byte sequence that is not UTF-8 replaced by U+FFFD. */
void assay_buf_utf8(struct assay_buf *b, struct assay_str s);
void assay_buf_base64(struct assay_buf *b, struct assay_str s);
/* Makes room for n more bytes and returns where they go (then add to b->n), or NULL. */
char *assay_buf_reserve(struct assay_buf *b, size_t n);
static inline struct assay_str assay_buf_view(const struct assay_buf *b)
{
    return (struct assay_str){b->p, b->n};
}
/* Hands the bytes over (free() them) and leaves the builder empty. NULL when it failed. */
char *assay_buf_steal(struct assay_buf *b, size_t *n);
#define ASSAY_CLEANUP_BUF __attribute__((cleanup(assay_buf_free)))

/* Decodes standard base64 with padding, no white space. ASSAY_E_INVALID on anything else. */
int assay_base64_decode(struct assay_str in, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

/*
 * An arena: memory that lives as long as a request, a delivery or a job.  Everything is freed at
 * once.  Returns zeroed memory aligned to 16, or NULL when there is none or the cap is reached.
 */
struct assay_arena;
struct assay_arena *assay_arena_new(size_t cap); /* cap 0: 256 MiB; NULL on no memory */
void assay_arena_free(struct assay_arena *a);     /* NULL is fine */
static inline void assay_arena_freep(struct assay_arena **a)
{
    assay_arena_free(*a);
    *a = NULL;
}
#define ASSAY_CLEANUP_ARENA __attribute__((cleanup(assay_arena_freep)))
void *assay_arena_alloc(struct assay_arena *a, size_t n);
void *assay_arena_array(struct assay_arena *a, size_t count, size_t size); /* checked product */
/* Copies; the copy is NUL-terminated behind its last byte. p == NULL on failure, never for n == 0. */
struct assay_str assay_arena_str(struct assay_arena *a, struct assay_str s);
char *assay_arena_z(struct assay_arena *a, struct assay_str s);
struct assay_str assay_arena_fmt(struct assay_arena *a, const char *fmt, ...) ASSAY_PRINTF(2, 3);
/* Ties the memory of a finished builder to the arena; the builder is left empty. */
struct assay_str assay_arena_take(struct assay_arena *a, struct assay_buf *b);
size_t assay_arena_used(const struct assay_arena *a);
bool assay_arena_failed(const struct assay_arena *a); /* whether there was no memory for anything that was asked of it */

#ifdef __cplusplus
}
#endif
#endif
