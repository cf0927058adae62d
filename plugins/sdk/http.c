/* What handlers share: query parameters, bodies, faults, answers. */
#include <assay/http.h>
#include <assay/plugin.h>
#include <assay/value.h>

#include <stdarg.h>
#include <stdio.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* application/x-www-form-urlencoded as browsers and curl write it: '+' is a space. */
static bool decode(struct assay_arena *arena, struct assay_str in, struct assay_str *out)
{
    char *to = assay_arena_alloc(arena, in.n + 1);
    if (!to)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '%') {
            to[n++] = in.p[i] == '+' ? ' ' : in.p[i];
            continue;
        }
        bool whole = in.n - i >= 3;
        int hi = whole ? hex_digit(in.p[i + 1]) : -1, lo = whole ? hex_digit(in.p[i + 2]) : -1;
        if (hi < 0 || lo < 0)
            return false;
        to[n++] = (char)(hi * 16 + lo);
        i += 2;
    }
    *out = (struct assay_str){to, n};
    return assay_utf8_valid(*out) && !assay_str_has_nul(*out);
}

struct pair {
    struct assay_str name, value;
};

/* The next name=value of *rest; false at the end. */
static bool next_pair(struct assay_str *rest, struct pair *out)
{
    while (rest->n && rest->p[0] == '&') {
        rest->p++;
        rest->n--;
    }
    if (!rest->n)
        return false;
    const char *amp = memchr(rest->p, '&', rest->n);
    size_t n = amp ? (size_t)(amp - rest->p) : rest->n;
    const char *eq = memchr(rest->p, '=', n);
    size_t name = eq ? (size_t)(eq - rest->p) : n;
    out->name = (struct assay_str){rest->p, name};
    out->value = eq ? (struct assay_str){eq + 1, n - name - 1} : (struct assay_str){rest->p + n, 0};
    rest->p += n;
    rest->n -= n;
    return true;
}

int assay_query(struct assay_request *rq, const char *name, struct assay_str *out, struct assay_err *err)
{
    struct assay_str rest = rq->query;
    struct pair p;
    bool seen = false;
    *out = ASSAY_STR_NULL;
    while (next_pair(&rest, &p)) {
        struct assay_str key;
        if (!decode(rq->arena, p.name, &key) || !assay_str_is(key, name))
            continue;
        if (seen)
            return assay_err_set(err, ASSAY_E_INVALID, "the query parameter \"%s\" is given twice", name);
        seen = true;
        if (!decode(rq->arena, p.value, out))
            return assay_err_set(err, ASSAY_E_INVALID, "the query parameter \"%s\" is not percent-encoded UTF-8", name);
    }
    return 0;
}

int assay_query_only(struct assay_request *rq, struct assay_response *rs, const char *const *names, struct assay_err *err)
{
    struct assay_str rest = rq->query;
    struct pair p;
    while (next_pair(&rest, &p)) {
        struct assay_str key = ASSAY_STR_NULL;
        bool known = false;
        if (decode(rq->arena, p.name, &key))
            for (size_t i = 0; names[i] && !known; i++)
                known = assay_str_is(key, names[i]);
        if (!known)
            return assay_fault(rq, rs, err, "", "the query parameter \"%.*s\" is not known here",
                               (int)(p.name.n > 40 ? 40 : p.name.n), p.name.p);
    }
    return 0;
}

int assay_query_page(struct assay_request *rq, struct assay_response *rs, int64_t dflt, int64_t max, int64_t *limit,
                     struct assay_str *cursor, struct assay_err *err)
{
    struct assay_str text;
    int rc = assay_query(rq, "limit", &text, err);
    if (rc)
        return rc;
    *limit = dflt;
    struct assay_err why;
    if (text.p && assay_parse_i64(text, 1, max, limit, &why) != 0)
        return assay_fault(rq, rs, err, "", "the query parameter \"limit\": %s", why.msg);
    rc = assay_query(rq, "cursor", cursor, err);
    if (rc)
        return rc;
    if (cursor->n > 512)
        return assay_fault(rq, rs, err, "", "the query parameter \"cursor\" is not one that this server gave out");
    return 0;
}

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct assay_str assay_cursor_encode(struct assay_arena *arena, struct assay_str key)
{
    char *to = assay_arena_alloc(arena, key.n / 3 * 4 + 5);
    if (!to)
        return ASSAY_STR_NULL;
    size_t n = 0;
    for (size_t i = 0; i < key.n; i += 3) {
        size_t have = key.n - i < 3 ? key.n - i : 3;
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < have ? (unsigned char)key.p[i + k] : 0u);
        for (size_t k = 0; k <= have; k++)
            to[n++] = base64url[v >> (18 - 6 * k) & 63];
    }
    return (struct assay_str){to, n};
}

int assay_cursor_decode(struct assay_request *rq, struct assay_response *rs, struct assay_str cursor, struct assay_str *key,
                        struct assay_err *err)
{
    char *to = assay_arena_alloc(rq->arena, cursor.n / 4 * 3 + 4);
    if (!to)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    size_t n = 0;
    bool ok = cursor.n % 4 != 1;
    for (size_t i = 0; ok && i < cursor.n; i += 4) {
        size_t have = cursor.n - i < 4 ? cursor.n - i : 4;
        uint32_t v = 0;
        for (size_t k = 0; k < 4 && ok; k++) {
            const char *at = k < have ? memchr(base64url, cursor.p[i + k], 64) : base64url;
            ok = at != NULL;
            v = v << 6 | (ok ? (uint32_t)(at - base64url) : 0u);
        }
        for (size_t k = 0; k + 1 < have; k++)
            to[n++] = (char)(v >> (16 - 8 * k));
    }
    *key = (struct assay_str){to, n};
    /* canonical, so that one place has one cursor; and text, since keys are */
    if (!ok || !assay_utf8_valid(*key) || assay_str_has_nul(*key) ||
        !assay_str_eq(assay_cursor_encode(rq->arena, *key), cursor))
        return assay_fault(rq, rs, err, "", "the query parameter \"cursor\" is not one that this server gave out");
    return 0;
}

/* Where there is no memory for faults: full, so that nobody writes to it, and no request passes with it. Not a thread's own
 * variable: for those of a plugin the C library allocates when a thread first comes by, and ends the process when it cannot. */
static struct assay_json_faults no_room = {.n = ASSAY_JSON_MAX_FAULTS};

static int without_room(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory to check the request");
}

struct assay_json_faults *assay_faults(struct assay_request *rq, struct assay_response *rs)
{
    if (!rs->faults)
        rs->faults = assay_arena_alloc(rq->arena, sizeof *rs->faults);
    return rs->faults ? rs->faults : &no_room;
}

static bool json_content(struct assay_str type)
{
    const char *semi = type.n ? memchr(type.p, ';', type.n) : NULL;
    if (semi)
        type.n = (size_t)(semi - type.p);
    while (type.n && type.p[type.n - 1] == ' ')
        type.n--;
    return assay_str_ieq(type, "application/json") || (type.n > 17 && assay_str_starts(type, "application/") && assay_str_ends(type, "+json"));
}

int assay_body_json(struct assay_request *rq, struct assay_response *rs, const struct assay_json_field *fields, void *out,
                    struct assay_err *err)
{
    if (!json_content(rq->content_type)) {
        rs->status = 415;
        return assay_fault(rq, rs, err, "", "the body must be JSON, sent with Content-Type: application/json");
    }
    struct assay_json_limits limits = {.max_bytes = rq->route ? rq->route->body_max : 0};
    struct assay_json_faults *faults = assay_faults(rq, rs);
    return faults == &no_room ? without_room(err) : assay_json_decode(rq->body, fields, out, &limits, rq->arena, faults, err);
}

int assay_fault(struct assay_request *rq, struct assay_response *rs, struct assay_err *err, const char *pointer, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assay_json_fault(assay_faults(rq, rs), rq->arena, pointer, "%s", text);
    return assay_err_set(err, ASSAY_E_INVALID, "%s%s%s", pointer, *pointer ? ": " : "", text);
}

int assay_faults_end(struct assay_request *rq, struct assay_response *rs, int rc, struct assay_err *err)
{
    if (rc != 0 && rc != ASSAY_E_INVALID)
        return rc;
    struct assay_json_faults *f = assay_faults(rq, rs);
    if (f == &no_room)
        return without_room(err);
    if (rc != 0 || f->n == 0)
        return rc;
    return assay_err_set(err, ASSAY_E_INVALID, "%.*s%s%.*s", ASSAY_FMT(f->item[0].pointer), f->item[0].pointer.n ? ": " : "",
                         ASSAY_FMT(f->item[0].detail));
}

int assay_reply_json(struct assay_response *rs, int status, struct assay_jw *w, struct assay_err *err)
{
    assay_buf_reset(&rs->body);
    rs->status = status;
    rs->content_type = NULL;
    return assay_jw_finish(w, &rs->body, err);
}

void assay_list_begin(struct assay_jw *w)
{
    assay_jw_object(w);
    assay_jw_key(w, "items");
    assay_jw_array(w);
}

int assay_list_end(struct assay_request *rq, struct assay_response *rs, struct assay_jw *w, struct assay_str last,
                   struct assay_err *err)
{
    assay_jw_end(w);
    if (last.n != 0)
        assay_jw_kstr(w, "next_cursor", assay_cursor_encode(rq->arena, last));
    else
        assay_jw_kz(w, "next_cursor", NULL);
    assay_jw_end(w);
    return assay_reply_json(rs, 200, w, err);
}

void assay_reply_header(struct assay_response *rs, struct assay_str name, struct assay_str value)
{
    if (rs->n_headers < sizeof rs->header / sizeof rs->header[0])
        rs->header[rs->n_headers++] = (struct assay_json_pair){name, value};
}

void assay_response_clear(struct assay_response *rs)
{
    assay_buf_free(&rs->body);
    *rs = (struct assay_response){.status = 0};
}

bool assay_is_staff(const struct assay_principal *who)
{
    return who && (who->role & ASSAY_ROLES_STAFF) != 0;
}

bool assay_is_admin(const struct assay_principal *who)
{
    return who && (who->role & ASSAY_ROLE_ADMIN) != 0;
}
