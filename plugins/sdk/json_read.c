/*
 * Decoding JSON by tables.
 *
 * Limits come first (bytes, UTF-8, depth: a scan without recursion), then the parser (jansson, with
 * duplicate members refused), then types and bounds by the table.  The walk goes on after a fault,
 * so that a client gets all of them in one answer.
 *
 * The pointer of the place being looked at is kept as a chain of stack frames and written out only
 * when there is a fault to report.
 */
#include <assay/json.h>
#include <assay/value.h>

#include <errno.h>

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define DEFAULT_MAX_BYTES ((size_t)64 << 20)
#define DEFAULT_MAX_DEPTH 32
#define DEFAULT_STRING_MAX ((size_t)1 << 20)
#define DEFAULT_ITEMS_MAX 10000u

struct place {
    const struct place *up;
    const char *key; /* NULL: index */
    size_t index;
};

struct walk {
    struct assay_arena *arena;
    struct assay_json_faults *faults;
    bool no_memory;
};

static void pointer_write(const struct place *at, struct assay_buf *out)
{
    if (!at)
        return;
    pointer_write(at->up, out);
    assay_buf_putc(out, '/');
    if (!at->key) {
        assay_buf_fmt(out, "%zu", at->index);
        return;
    }
    size_t shown = 0;
    for (const char *c = at->key; *c && shown < 64; c++, shown++) {
        if (*c == '~')
            assay_buf_puts(out, "~0");
        else if (*c == '/')
            assay_buf_puts(out, "~1");
        else
            assay_buf_putc(out, *c);
    }
}

static void add_fault(struct assay_json_faults *f, struct assay_arena *arena, struct assay_str pointer, const char *fmt, va_list ap)
    ASSAY_PRINTF(4, 0);
static void add_fault(struct assay_json_faults *f, struct assay_arena *arena, struct assay_str pointer, const char *fmt, va_list ap)
{
    if (f->n == ASSAY_JSON_MAX_FAULTS)
        return;
    char text[256];
    (void)vsnprintf(text, sizeof text, fmt, ap);
    /* the text may have cut a character of the input in two */
    ASSAY_CLEANUP_BUF struct assay_buf clean = ASSAY_BUF_INIT;
    assay_buf_utf8(&clean, assay_str(text));
    struct assay_json_fault *x = &f->item[f->n];
    x->pointer = assay_arena_str(arena, pointer);
    x->detail = assay_arena_str(arena, assay_buf_view(&clean));
    f->n++; /* also without words: what breaks a rule must not pass because there is no memory to say so */
    if (!x->pointer.p || !x->detail.p)
        *x = (struct assay_json_fault){ASSAY_STR(""), ASSAY_STR("is not valid, and there is no memory to say why")};
}

void assay_json_fault(struct assay_json_faults *f, struct assay_arena *arena, const char *pointer, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_fault(f, arena, assay_str(pointer), fmt, ap);
    va_end(ap);
}

static void fault(struct walk *w, const struct place *at, const char *fmt, ...) ASSAY_PRINTF(3, 4);
static void fault(struct walk *w, const struct place *at, const char *fmt, ...)
{
    ASSAY_CLEANUP_BUF struct assay_buf p = ASSAY_BUF_INIT;
    assay_buf_puts(&p, "");
    pointer_write(at, &p);
    va_list ap;
    va_start(ap, fmt);
    add_fault(w->faults, w->arena, assay_buf_view(&p), fmt, ap);
    va_end(ap);
}

/* Nesting depth of the text, counting brackets outside strings. */
static int depth_of(struct assay_str s)
{
    int depth = 0, most = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > most)
                most = depth;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return most;
}

static const char *type_word(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    default: return "something else";
    }
}

static void *slot(void *base, size_t offset)
{
    return (char *)base + offset;
}

static bool bounded(const struct assay_json_field *f)
{
    return f->min != 0 || f->max != 0;
}

static bool count_ok(struct walk *w, const struct place *at, const struct assay_json_field *f, size_t n, size_t dflt_max,
                     const char *what)
{
    double max = bounded(f) ? f->max : (double)dflt_max;
    if ((double)n >= f->min && (double)n <= max)
        return true;
    if (f->min == max)
        fault(w, at, "has %zu %s; must have exactly %.0f", n, what, max);
    else
        fault(w, at, "has %zu %s; must have %.0f to %.0f", n, what, f->min, max);
    return false;
}

static bool string_get(struct walk *w, const struct place *at, const struct assay_json_field *f, const json_t *v,
                       struct assay_str *out)
{
    if (!json_is_string(v)) {
        fault(w, at, "must be a string, not %s", type_word(v));
        return false;
    }
    struct assay_str s = {json_string_value(v), json_string_length(v)};
    ASSAY_CLEANUP_BUF struct assay_buf raw = ASSAY_BUF_INIT;
    if (f->flags & ASSAY_JSON_BASE64) {
        struct assay_err err;
        if (assay_base64_decode(s, &raw, &err) != 0) {
            fault(w, at, "%s", err.msg);
            return false;
        }
        s = assay_buf_view(&raw);
    } else if (!(f->flags & ASSAY_JSON_NUL_OK) && assay_str_has_nul(s)) {
        fault(w, at, "must not hold U+0000");
        return false;
    }
    if (!count_ok(w, at, f, s.n, DEFAULT_STRING_MAX, "bytes"))
        return false;
    if ((f->flags & ASSAY_JSON_SLUG) && !assay_slug_valid(s)) {
        fault(w, at, "must match [a-z0-9][a-z0-9._-]{0,63}");
        return false;
    }
    if ((f->flags & ASSAY_JSON_ID) && !assay_slug_valid(s) && !assay_id_valid(s)) {
        fault(w, at, "must be an id: a lower-case UUID or [a-z0-9][a-z0-9._-]{0,63}");
        return false;
    }
    *out = assay_arena_str(w->arena, s);
    if (!out->p)
        w->no_memory = true;
    return out->p != NULL;
}

static void object_get(struct walk *w, const struct place *at, const struct assay_json_field *fields, const json_t *v, void *out);

static bool array_get(struct walk *w, const struct place *at, const struct assay_json_field *f, const json_t *v, void *to)
{
    if (!json_is_array(v)) {
        fault(w, at, "must be an array, not %s", type_word(v));
        return false;
    }
    size_t n = json_array_size(v);
    if (!count_ok(w, at, f, n, DEFAULT_ITEMS_MAX, "elements"))
        return false;
    bool strings = f->type == ASSAY_JSON_STRINGS;
    size_t size = strings ? sizeof(struct assay_str) : f->elem_size;
    char *items = assay_arena_array(w->arena, n, size);
    if (!items) {
        w->no_memory = true;
        return false;
    }
    struct assay_json_field element = *f;
    element.min = 0;
    element.max = 0;
    for (size_t i = 0; i < n; i++) {
        struct place here = {at, NULL, i};
        const json_t *e = json_array_get(v, i);
        void *item = items + i * size;
        if (strings)
            (void)string_get(w, &here, &element, e, item);
        else
            object_get(w, &here, f->fields, e, item);
    }
    if (strings)
        *(struct assay_strs *)to = (struct assay_strs){(struct assay_str *)(void *)items, n};
    else
        *(struct assay_json_array *)to = (struct assay_json_array){items, n};
    return true;
}

static bool map_get(struct walk *w, const struct place *at, const struct assay_json_field *f, const json_t *v, struct assay_json_map *to)
{
    if (!json_is_object(v)) {
        fault(w, at, "must be an object of strings, not %s", type_word(v));
        return false;
    }
    size_t n = json_object_size(v);
    if (!count_ok(w, at, f, n, DEFAULT_ITEMS_MAX, "members"))
        return false;
    struct assay_json_pair *pairs = assay_arena_array(w->arena, n, sizeof *pairs);
    if (!pairs) {
        w->no_memory = true;
        return false;
    }
    struct assay_json_field element = *f;
    element.min = 0;
    element.max = 0;
    size_t i = 0;
    /* jansson's iterators are not const-correct */
    json_t *o = (json_t *)(uintptr_t)v;
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        struct place here = {at, json_object_iter_key(it), 0};
        pairs[i].key = assay_arena_str(w->arena, assay_str(here.key));
        if (!pairs[i].key.p)
            w->no_memory = true;
        if (string_get(w, &here, &element, json_object_iter_value(it), &pairs[i].value))
            i++;
    }
    *to = (struct assay_json_map){pairs, i};
    return true;
}

static bool raw_get(struct walk *w, const struct place *at, const struct assay_json_field *f, const json_t *v, struct assay_str *to)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    size_t n = json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    char *room = n != 0 ? assay_buf_reserve(&text, n) : NULL; /* no JSON text is empty */
    text.n = room ? json_dumpb(v, room, n, JSON_COMPACT | JSON_ENCODE_ANY) : 0;
    if (n == 0 || text.n != n) {
        w->no_memory = true;
        return false;
    }
    if (!count_ok(w, at, f, text.n, DEFAULT_STRING_MAX, "bytes"))
        return false;
    *to = assay_arena_str(w->arena, assay_buf_view(&text));
    w->no_memory = w->no_memory || !to->p;
    return to->p != NULL;
}

static bool number_ok(struct walk *w, const struct place *at, const struct assay_json_field *f, double v)
{
    if (!isfinite(v)) {
        fault(w, at, "must be a finite number");
        return false;
    }
    if (!bounded(f) || (v >= f->min && v <= f->max))
        return true;
    fault(w, at, "is %.15g; must be from %.15g to %.15g", v, f->min, f->max);
    return false;
}

static bool enum_get(struct walk *w, const struct place *at, const struct assay_json_field *f, const json_t *v, int *to)
{
    ASSAY_CLEANUP_BUF struct assay_buf list = ASSAY_BUF_INIT;
    for (int i = 0; f->names[i]; i++) {
        if (json_is_string(v) && assay_str_is((struct assay_str){json_string_value(v), json_string_length(v)}, f->names[i])) {
            *to = i;
            return true;
        }
        assay_buf_fmt(&list, "%s\"%s\"", i ? ", " : "", f->names[i]);
    }
    fault(w, at, "must be one of %s", list.p ? list.p : "(none)");
    return false;
}

/* The zero value of a field's type. */
static void clear(const struct assay_json_field *f, void *to)
{
    switch (f->type) {
    case ASSAY_JSON_STRING:
    case ASSAY_JSON_RAW: *(struct assay_str *)to = ASSAY_STR_NULL; break;
    case ASSAY_JSON_INT:
    case ASSAY_JSON_TIME: *(int64_t *)to = 0; break;
    case ASSAY_JSON_REAL: *(double *)to = 0; break;
    case ASSAY_JSON_BOOL: *(bool *)to = false; break;
    case ASSAY_JSON_ENUM: *(int *)to = 0; break;
    case ASSAY_JSON_OBJECT: memset(to, 0, f->elem_size); break;
    case ASSAY_JSON_ARRAY: *(struct assay_json_array *)to = (struct assay_json_array){NULL, 0}; break;
    case ASSAY_JSON_STRINGS: *(struct assay_strs *)to = (struct assay_strs){NULL, 0}; break;
    case ASSAY_JSON_MAP: *(struct assay_json_map *)to = (struct assay_json_map){NULL, 0}; break;
    default: break;
    }
}

/* One value into its place; false after a fault. */
static bool value_get(struct walk *w, const struct place *at, const struct assay_json_field *f, const json_t *v, void *to)
{
    switch (f->type) {
    case ASSAY_JSON_STRING: return string_get(w, at, f, v, to);
    case ASSAY_JSON_INT:
        if (!json_is_integer(v)) {
            fault(w, at, "must be an integer, not %s", type_word(v));
            return false;
        }
        if (!number_ok(w, at, f, (double)json_integer_value(v)))
            return false;
        *(int64_t *)to = json_integer_value(v);
        return true;
    case ASSAY_JSON_REAL:
        if (!json_is_number(v)) {
            fault(w, at, "must be a number, not %s", type_word(v));
            return false;
        }
        if (!number_ok(w, at, f, json_number_value(v)))
            return false;
        *(double *)to = json_number_value(v);
        return true;
    case ASSAY_JSON_BOOL:
        if (!json_is_boolean(v)) {
            fault(w, at, "must be true or false, not %s", type_word(v));
            return false;
        }
        *(bool *)to = json_is_true(v);
        return true;
    case ASSAY_JSON_TIME: {
        struct assay_err err = {0, "must be a string with an RFC 3339 time"};
        if (json_is_string(v) &&
            assay_time_parse((struct assay_str){json_string_value(v), json_string_length(v)}, to, &err) == 0)
            return true;
        fault(w, at, "%s", err.msg);
        return false;
    }
    case ASSAY_JSON_ENUM: return enum_get(w, at, f, v, to);
    case ASSAY_JSON_OBJECT: object_get(w, at, f->fields, v, to); return true;
    case ASSAY_JSON_ARRAY:
    case ASSAY_JSON_STRINGS: return array_get(w, at, f, v, to);
    case ASSAY_JSON_RAW: return raw_get(w, at, f, v, to);
    case ASSAY_JSON_MAP: return map_get(w, at, f, v, to);
    default: fault(w, at, "has no known type in its table"); return false;
    }
}

static const struct assay_json_field *field_find(const struct assay_json_field *fields, const char *key)
{
    for (const struct assay_json_field *f = fields; f->name; f++)
        if (strcmp(f->name, key) == 0 || (f->alias && strcmp(f->alias, key) == 0))
            return f;
    return NULL;
}

static bool takes_unknown(const struct assay_json_field *fields)
{
    for (const struct assay_json_field *f = fields; f->name; f++)
        if (strcmp(f->name, "*") == 0)
            return true;
    return false;
}

static void object_get(struct walk *w, const struct place *at, const struct assay_json_field *fields, const json_t *v, void *out)
{
    if (!json_is_object(v)) {
        fault(w, at, "must be an object, not %s", type_word(v));
        return;
    }
    json_t *o = (json_t *)(uintptr_t)v;
    if (!takes_unknown(fields)) {
        for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
            struct place here = {at, json_object_iter_key(it), 0};
            if (!field_find(fields, here.key))
                fault(w, &here, "is not a field that may be set here");
        }
    }
    for (const struct assay_json_field *f = fields; f->name; f++) {
        struct place here = {at, f->name, 0};
        const json_t *value = json_object_get(o, f->name);
        const json_t *other = f->alias ? json_object_get(o, f->alias) : NULL;
        if (value && other) {
            fault(w, &here, "is given twice, as \"%s\" and as \"%s\"", f->name, f->alias);
            continue;
        }
        if (!value)
            value = other;
        if (value && json_is_null(value) && (f->flags & ASSAY_JSON_CLEARABLE)) {
            clear(f, slot(out, f->offset));
            if (f->has_offset >= 0)
                *(bool *)slot(out, (size_t)f->has_offset) = true;
            continue;
        }
        if (value && json_is_null(value) && (f->flags & ASSAY_JSON_NULLABLE))
            value = NULL;
        if (!value) {
            if (f->flags & ASSAY_JSON_REQUIRED)
                fault(w, &here, "is required");
            continue;
        }
        if (value_get(w, &here, f, value, slot(out, f->offset)) && f->has_offset >= 0)
            *(bool *)slot(out, (size_t)f->has_offset) = true;
    }
}

int assay_json_decode(struct assay_str text, const struct assay_json_field *fields, void *out,
                      const struct assay_json_limits *limits, struct assay_arena *arena, struct assay_json_faults *faults,
                      struct assay_err *err)
{
    struct assay_json_faults own = {.n = 0};
    struct walk w = {arena, faults ? faults : &own, false};
    size_t before = w.faults->n;
    size_t max_bytes = limits && limits->max_bytes ? limits->max_bytes : DEFAULT_MAX_BYTES;
    int max_depth = limits && limits->max_depth ? limits->max_depth : DEFAULT_MAX_DEPTH;
    json_t *root = NULL;

    if (text.n > max_bytes) {
        fault(&w, NULL, "the text has %zu bytes; at most %zu are taken", text.n, max_bytes);
    } else if (!assay_utf8_valid(text)) {
        fault(&w, NULL, "the text is not UTF-8");
    } else if (depth_of(text) > max_depth) {
        fault(&w, NULL, "objects and arrays are nested more than %d deep", max_depth);
    } else {
        json_error_t je;
        /* its lexer takes a failed allocation for a malformed token, or drops a byte of the text and goes on */
        errno = 0;
        root = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &je);
        if (errno == ENOMEM || (!root && json_error_code(&je) == json_error_out_of_memory))
            w.no_memory = true;
        else if (root)
            object_get(&w, NULL, fields, root, out);
        else
            fault(&w, NULL, "not JSON: line %d, column %d: %s", je.line, je.column, je.text);
    }
    json_decref(root);
    if (w.no_memory)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to decode a JSON text of %zu bytes", text.n);
    if (w.faults->n > before) {
        const struct assay_json_fault *f = &w.faults->item[before];
        return assay_err_set(err, ASSAY_E_INVALID, "%.*s%s%.*s", ASSAY_FMT(f->pointer), f->pointer.n ? ": " : "",
                             ASSAY_FMT(f->detail));
    }
    return 0;
}
