/* Views and the growable builder. */
#include <assay/str.h>

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned char lower(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') ? (unsigned char)(c + 32) : c;
}

bool assay_str_ieq(struct assay_str a, const char *z)
{
    size_t n = strlen(z);
    if (a.n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (lower((unsigned char)a.p[i]) != lower((unsigned char)z[i]))
            return false;
    return true;
}

bool assay_str_starts(struct assay_str a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.n >= n && memcmp(a.p, prefix, n) == 0;
}

bool assay_str_ends(struct assay_str a, const char *suffix)
{
    size_t n = strlen(suffix);
    return a.n >= n && memcmp(a.p + a.n - n, suffix, n) == 0;
}

int assay_str_cmp(struct assay_str a, struct assay_str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    if (c)
        return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

/* Length of the UTF-8 sequence that starts at p (n bytes left), or 0 when it is not one (RFC 3629, 4). */
static size_t utf8_len(const unsigned char *p, size_t n)
{
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    size_t len;
    unsigned char lo = 0x80, hi = 0xbf;
    if (c >= 0xc2 && c <= 0xdf) {
        len = 2;
    } else if (c >= 0xe0 && c <= 0xef) {
        len = 3;
        if (c == 0xe0)
            lo = 0xa0;
        else if (c == 0xed)
            hi = 0x9f;
    } else if (c >= 0xf0 && c <= 0xf4) {
        len = 4;
        if (c == 0xf0)
            lo = 0x90;
        else if (c == 0xf4)
            hi = 0x8f;
    } else {
        return 0;
    }
    if (n < len || p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool assay_utf8_valid(struct assay_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    for (size_t i = 0; i < s.n;) {
        size_t len = utf8_len(p + i, s.n - i);
        if (!len)
            return false;
        i += len;
    }
    return true;
}

bool assay_str_has_nul(struct assay_str s)
{
    return s.n && memchr(s.p, 0, s.n) != NULL;
}

void assay_buf_init(struct assay_buf *b, size_t cap)
{
    *b = (struct assay_buf){.cap = cap};
}

void assay_buf_free(struct assay_buf *b)
{
    free(b->p);
    *b = (struct assay_buf){.cap = b->cap};
}

void assay_buf_reset(struct assay_buf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->p)
        b->p[0] = 0;
}

char *assay_buf_reserve(struct assay_buf *b, size_t n)
{
    size_t cap = b->cap ? b->cap : ASSAY_BUF_CAP;
    if (b->failed)
        return NULL;
    if (n > cap || b->n > cap - n) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->n + n + 1;
    if (need > b->room) {
        size_t room = b->room ? b->room : 64;
        while (room < need)
            room += room / 2 + 16;
        if (room > cap + 1)
            room = cap + 1;
        char *p = realloc(b->p, room);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->p = p;
        b->room = room;
    }
    return b->p + b->n;
}

void assay_buf_add(struct assay_buf *b, const void *p, size_t n)
{
    char *to = assay_buf_reserve(b, n);
    if (!to)
        return;
    if (n)
        memcpy(to, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void assay_buf_str(struct assay_buf *b, struct assay_str s)
{
    assay_buf_add(b, s.p, s.n);
}

void assay_buf_puts(struct assay_buf *b, const char *z)
{
    assay_buf_add(b, z, strlen(z));
}

void assay_buf_putc(struct assay_buf *b, char c)
{
    assay_buf_add(b, &c, 1);
}

void assay_buf_fmt(struct assay_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *to = n < 0 ? NULL : assay_buf_reserve(b, (size_t)n);
    if (to) {
        (void)vsnprintf(to, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    } else {
        b->failed = true;
    }
    va_end(again);
}

void assay_buf_utf8(struct assay_buf *b, struct assay_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t from = 0, i = 0;
    while (i < s.n) {
        size_t len = utf8_len(p + i, s.n - i);
        if (len) {
            i += len;
            continue;
        }
        assay_buf_add(b, s.p + from, i - from);
        assay_buf_add(b, "\xef\xbf\xbd", 3);
        from = ++i;
    }
    assay_buf_add(b, s.p ? s.p + from : NULL, s.n - from);
}

void assay_buf_base64(struct assay_buf *b, struct assay_str s)
{
    if (s.n > SIZE_MAX / 2) {
        b->failed = true;
        return;
    }
    size_t room = sodium_base64_ENCODED_LEN(s.n, sodium_base64_VARIANT_ORIGINAL);
    char *to = assay_buf_reserve(b, room);
    if (!to)
        return;
    static const unsigned char none;
    (void)sodium_bin2base64(to, room, s.n ? (const unsigned char *)s.p : &none, s.n, sodium_base64_VARIANT_ORIGINAL);
    b->n += strlen(to);
}

char *assay_buf_steal(struct assay_buf *b, size_t *n)
{
    if (b->failed || (!b->p && !assay_buf_reserve(b, 0)))
        return NULL;
    char *p = b->p;
    p[b->n] = 0;
    if (n)
        *n = b->n;
    *b = (struct assay_buf){.cap = b->cap};
    return p;
}

int assay_base64_decode(struct assay_str in, struct assay_buf *out, struct assay_err *err)
{
    size_t most = in.n / 4 * 3 + 3;
    char *to = assay_buf_reserve(out, most);
    if (!to)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "base64 text of %zu bytes is too large", in.n);
    size_t got = 0;
    const char *end = NULL;
    unsigned char *bin = (unsigned char *)to;
    if (in.n && (sodium_base642bin(bin, most, in.p, in.n, NULL, &got, &end, sodium_base64_VARIANT_ORIGINAL) != 0 ||
                 end != in.p + in.n))
        return assay_err_set(err, ASSAY_E_INVALID, "not base64: want A-Z a-z 0-9 + / with = padding and no white space");
    out->n += got;
    out->p[out->n] = 0;
    return 0;
}
