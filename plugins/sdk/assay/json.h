/*
 * JSON at the edge: tables that decode a text straight into structs, and a writer.
 *
 * Decoding.  A codec describes a struct by a table of fields; assay_json_decode() parses (RFC 8259,
 * UTF-8 only, no duplicate member, bounded depth and size), checks presence, type and bounds of
 * every field, refuses members the table does not know (unless it has a row named "*": then they
 * are passed over, as readers of a newer writer's text must), and fills the struct.  Every fault found is
 * reported, each with its JSON pointer, so a client sees all of them at once.  Strings are views
 * into the arena.  The parser (jansson) stays inside json.c: no json_t crosses a layer.
 *
 * Writing.  A writer appends values in order; misuse (a value without a key) trips an assert;
 * no memory makes it fail stickily.  Strings that are not UTF-8 are written with U+FFFD.
 *
 * Thread-safe per object.  The arena owns all that decoding makes.
 */
#ifndef ASSAY_JSON_H
#define ASSAY_JSON_H

#include <stddef.h>
#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

enum assay_json_type {
    ASSAY_JSON_STRING,  /* struct assay_str; min..max bound its bytes */
    ASSAY_JSON_INT,     /* int64_t; min..max */
    ASSAY_JSON_REAL,    /* double (an integer is taken too); min..max, finite */
    ASSAY_JSON_BOOL,    /* bool */
    ASSAY_JSON_TIME,    /* int64_t Unix ms from an RFC 3339 string */
    ASSAY_JSON_ENUM,    /* int: index into `names` (NULL-terminated) */
    ASSAY_JSON_OBJECT,  /* nested struct, filled in place by `fields` */
    ASSAY_JSON_ARRAY,   /* struct assay_json_array of nested structs (`fields`, `elem_size`), min..max elements */
    ASSAY_JSON_STRINGS, /* struct assay_strs; min..max elements */
    ASSAY_JSON_RAW,     /* struct assay_str: any value, re-serialised compactly; max bounds its bytes */
    ASSAY_JSON_MAP,     /* struct assay_json_map of string to string; min..max entries */
};

enum assay_json_flag {
    ASSAY_JSON_REQUIRED = 1 << 0,
    ASSAY_JSON_NULLABLE = 1 << 1, /* null counts as absent */
    ASSAY_JSON_NUL_OK = 1 << 2,   /* a string may hold U+0000 */
    ASSAY_JSON_SLUG = 1 << 3,     /* [a-z0-9][a-z0-9._-]{0,63} */
    ASSAY_JSON_ID = 1 << 4,       /* UUID or slug */
    ASSAY_JSON_BASE64 = 1 << 5,   /* decoded on the way in; bounds are of the decoded bytes */
    /* For PATCH, where absent leaves *out as it was: null is present and sets the type's zero value
     * (an OBJECT's too, when elem_size says how large it is). */
    ASSAY_JSON_CLEARABLE = 1 << 6,
};

struct assay_json_array {
    void *items;
    size_t n;
};
struct assay_strs {
    struct assay_str *items;
    size_t n;
};
struct assay_json_pair {
    struct assay_str key, value;
};
struct assay_json_map {
    struct assay_json_pair *items;
    size_t n;
};

struct assay_json_field {
    const char *name;
    const char *alias; /* another spelling that is taken too (camelCase), or NULL */
    enum assay_json_type type;
    unsigned flags;
    size_t offset;
    double min, max;       /* both 0: no bound but the type's own (strings and arrays: 1 MiB, 10,000) */
    ptrdiff_t has_offset;  /* offsetof a bool that says "was present", or -1 */
    const struct assay_json_field *fields; /* OBJECT, ARRAY: rows up to one with name == NULL */
    size_t elem_size;      /* ARRAY */
    const char *const *names; /* ENUM */
};

struct assay_json_fault {
    struct assay_str pointer; /* RFC 6901, "" for the whole document */
    struct assay_str detail;  /* what is wrong and what is expected; never echoes more than 64 bytes of input */
};
#define ASSAY_JSON_MAX_FAULTS 32
struct assay_json_faults {
    struct assay_json_fault item[ASSAY_JSON_MAX_FAULTS];
    size_t n;
};

struct assay_json_limits {
    size_t max_bytes; /* 0: 64 MiB */
    int max_depth;    /* 0: 32 */
};

/* Fills *out (zeroed by the caller, defaults set beforehand survive absence). ASSAY_E_INVALID with
 * faults->n >= 1 on the client's fault; ASSAY_E_NOMEM otherwise. */
int assay_json_decode(struct assay_str text, const struct assay_json_field *fields, void *out,
                      const struct assay_json_limits *limits, struct assay_arena *arena,
                      struct assay_json_faults *faults, struct assay_err *err) ASSAY_MUST_CHECK;

/* What the JSON library allocates through, in the whole process: the host's to say, before there are other threads. */
void assay_json_memory(void *(*take)(size_t n), void (*give)(void *p));

/* Adds a fault found by a domain rule. Silently drops the 33rd. */
void assay_json_fault(struct assay_json_faults *f, struct assay_arena *arena, const char *pointer, const char *fmt, ...)
    ASSAY_PRINTF(4, 5);

struct assay_jw; /* the writer */
struct assay_jw *assay_jw_new(void);
void assay_jw_free(struct assay_jw *w);
static inline void assay_jw_freep(struct assay_jw **w)
{
    assay_jw_free(*w);
    *w = NULL;
}
#define ASSAY_CLEANUP_JW __attribute__((cleanup(assay_jw_freep)))
void assay_jw_object(struct assay_jw *w); /* begins; end with assay_jw_end */
void assay_jw_array(struct assay_jw *w);
void assay_jw_end(struct assay_jw *w);
void assay_jw_key(struct assay_jw *w, const char *key);
void assay_jw_str(struct assay_jw *w, struct assay_str s);
void assay_jw_z(struct assay_jw *w, const char *z); /* NULL writes null */
void assay_jw_int(struct assay_jw *w, int64_t v);
void assay_jw_real(struct assay_jw *w, double v); /* NaN and infinities write null */
void assay_jw_bool(struct assay_jw *w, bool v);
void assay_jw_null(struct assay_jw *w);
void assay_jw_time(struct assay_jw *w, int64_t unix_ms); /* 0 writes null */
void assay_jw_raw(struct assay_jw *w, struct assay_str json); /* a valid JSON text; "" writes null */
/* key and value at once */
void assay_jw_kstr(struct assay_jw *w, const char *key, struct assay_str s);
void assay_jw_kz(struct assay_jw *w, const char *key, const char *z);
void assay_jw_kint(struct assay_jw *w, const char *key, int64_t v);
void assay_jw_kreal(struct assay_jw *w, const char *key, double v);
void assay_jw_kbool(struct assay_jw *w, const char *key, bool v);
void assay_jw_ktime(struct assay_jw *w, const char *key, int64_t unix_ms);
void assay_jw_kraw(struct assay_jw *w, const char *key, struct assay_str json);
/* Appends the finished text to out (compact). ASSAY_E_NOMEM when anything failed on the way. */
int assay_jw_finish(struct assay_jw *w, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
