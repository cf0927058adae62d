/*
 * Writing JSON: a stack of the containers that are open, over jansson's values.
 *
 * Misuse (a value in an object without a key, an end too many) is a fault of ours and asserts; no
 * memory sets `failed`, and finish says so.
 */
#include <assay/json.h>
#include <assay/value.h>

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define DEPTH 24

struct assay_jw {
    json_t *open[DEPTH]; /* borrowed from root down */
    int depth;
    json_t *root;
    struct assay_buf key; /* any length: maps have keys of their users */
    bool has_key, failed;
};

void assay_json_memory(void *(*take)(size_t n), void (*give)(void *p))
{
    json_set_alloc_funcs(take, give);
}

struct assay_jw *assay_jw_new(void)
{
    return calloc(1, sizeof(struct assay_jw));
}

void assay_jw_free(struct assay_jw *w)
{
    if (!w)
        return;
    json_decref(w->root);
    assay_buf_free(&w->key);
    free(w);
}

/* Takes the reference v; NULL means no memory. Returns whether it found its place. */
static bool put(struct assay_jw *w, json_t *v)
{
    if (!w) {
        json_decref(v);
        return false;
    }
    if (w->failed || !v) {
        w->failed = true;
        w->has_key = false;
        json_decref(v);
        return false;
    }
    int rc;
    if (w->depth == 0) {
        assert(!w->root);
        w->root = v;
        return true;
    }
    json_t *into = w->open[w->depth - 1];
    if (json_is_object(into)) {
        assert(w->has_key);
        rc = json_object_set_new_nocheck(into, w->key.p, v);
    } else {
        assert(!w->has_key);
        rc = json_array_append_new(into, v);
    }
    w->has_key = false;
    w->failed = rc != 0;
    return rc == 0;
}

static void begin(struct assay_jw *w, json_t *v)
{
    if (!w) {
        json_decref(v);
        return;
    }
    /* a failed writer still counts its depth, so that the calls that follow stay in step */
    json_t *placed = put(w, v) ? v : NULL;
    assert(w->depth < DEPTH);
    w->open[w->depth++] = placed;
}

void assay_jw_object(struct assay_jw *w)
{
    begin(w, json_object());
}

void assay_jw_array(struct assay_jw *w)
{
    begin(w, json_array());
}

void assay_jw_end(struct assay_jw *w)
{
    if (!w)
        return;
    assert(w->depth > 0 && !w->has_key);
    w->depth--;
}

void assay_jw_key(struct assay_jw *w, const char *key)
{
    if (!w)
        return;
    assert(!w->has_key);
    assay_buf_reset(&w->key);
    assay_buf_puts(&w->key, key);
    w->failed = w->failed || w->key.failed;
    w->has_key = !w->failed;
}

void assay_jw_str(struct assay_jw *w, struct assay_str s)
{
    if (assay_utf8_valid(s)) {
        (void)put(w, json_stringn_nocheck(s.p ? s.p : "", s.n));
        return;
    }
    ASSAY_CLEANUP_BUF struct assay_buf clean = ASSAY_BUF_INIT;
    assay_buf_utf8(&clean, s);
    (void)put(w, clean.failed ? NULL : json_stringn_nocheck(clean.p, clean.n));
}

void assay_jw_z(struct assay_jw *w, const char *z)
{
    if (z)
        assay_jw_str(w, assay_str(z));
    else
        assay_jw_null(w);
}

void assay_jw_int(struct assay_jw *w, int64_t v)
{
    (void)put(w, json_integer(v));
}

void assay_jw_real(struct assay_jw *w, double v)
{
    (void)put(w, isfinite(v) ? json_real(v) : json_null());
}

void assay_jw_bool(struct assay_jw *w, bool v)
{
    (void)put(w, json_boolean(v));
}

void assay_jw_null(struct assay_jw *w)
{
    (void)put(w, json_null());
}

void assay_jw_time(struct assay_jw *w, int64_t unix_ms)
{
    if (unix_ms == 0) {
        assay_jw_null(w);
        return;
    }
    char t[ASSAY_TIME_SIZE];
    assay_time_format(unix_ms, t);
    assay_jw_z(w, t);
}

void assay_jw_raw(struct assay_jw *w, struct assay_str json)
{
    errno = 0;
    json_t *v = json.n ? json_loadb(json.p, json.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : json_null();
    if (v && errno == ENOMEM) { /* its lexer may have dropped a byte of a string and gone on */
        json_decref(v);
        v = NULL;
    }
    (void)put(w, v);
}

void assay_jw_kstr(struct assay_jw *w, const char *key, struct assay_str s)
{
    assay_jw_key(w, key);
    assay_jw_str(w, s);
}

void assay_jw_kz(struct assay_jw *w, const char *key, const char *z)
{
    assay_jw_key(w, key);
    assay_jw_z(w, z);
}

void assay_jw_kint(struct assay_jw *w, const char *key, int64_t v)
{
    assay_jw_key(w, key);
    assay_jw_int(w, v);
}

void assay_jw_kreal(struct assay_jw *w, const char *key, double v)
{
    assay_jw_key(w, key);
    assay_jw_real(w, v);
}

void assay_jw_kbool(struct assay_jw *w, const char *key, bool v)
{
    assay_jw_key(w, key);
    assay_jw_bool(w, v);
}

void assay_jw_ktime(struct assay_jw *w, const char *key, int64_t unix_ms)
{
    assay_jw_key(w, key);
    assay_jw_time(w, unix_ms);
}

void assay_jw_kraw(struct assay_jw *w, const char *key, struct assay_str json)
{
    assay_jw_key(w, key);
    assay_jw_raw(w, json);
}

static int dump_piece(const char *p, size_t n, void *arg)
{
    struct assay_buf *out = arg;
    assay_buf_add(out, p, n);
    return out->failed ? -1 : 0;
}

int assay_jw_finish(struct assay_jw *w, struct assay_buf *out, struct assay_err *err)
{
    assert(!w || w->depth == 0);
    /* 15 digits: what a double holds for sure; 17 would show 0.1 as 0.10000000000000001 */
    if (!w || w->failed || !w->root ||
        json_dump_callback(w->root, dump_piece, out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) != 0)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to write a JSON text");
    return 0;
}
