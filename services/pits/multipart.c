/*
 * One file out of a multipart/form-data body (RFC 7578, RFC 2046 5.1).
 *
 * Parts are found by their delimiter and walked through in order; nothing is copied and nothing is decoded, since a file's bytes come
 * as they are.  Headers of a part end at the first empty line and are at most HEAD_MAX bytes.
 */
#include "local.h"

#include <strings.h>

#define BOUNDARY_MAX 70 /* RFC 2046 */
#define HEAD_MAX 4096
#define PARTS_MAX 64

static int malformed(struct assay_err *err, const char *what)
{
    return assay_err_set(err, ASSAY_E_INVALID, "the multipart body %s", what);
}

static bool starts_folded(struct assay_str s, const char *z)
{
    size_t n = strlen(z);
    return s.n >= n && strncasecmp(s.p, z, n) == 0;
}

static struct assay_str after(struct assay_str s, size_t n)
{
    return (struct assay_str){s.p + n, s.n - n};
}

/* The parameter of a header's value, quoted or not; false when it is not there. */
static bool parameter(struct assay_str value, const char *name, struct assay_str *out)
{
    bool quoted = false;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"')
            quoted = !quoted;
        if (value.p[i] == '\\' && quoted)
            i++;
        if (i >= value.n || value.p[i] != ';' || quoted)
            continue;
        struct assay_str rest = after(value, i + 1);
        while (rest.n != 0 && (rest.p[0] == ' ' || rest.p[0] == '\t'))
            rest = after(rest, 1);
        size_t n = strlen(name);
        if (!starts_folded(rest, name) || rest.n <= n || rest.p[n] != '=')
            continue;
        rest = after(rest, n + 1);
        bool in_quotes = rest.n != 0 && rest.p[0] == '"';
        size_t end = in_quotes ? 1 : 0;
        while (end < rest.n && (in_quotes ? rest.p[end] != '"' : rest.p[end] != ';' && rest.p[end] != ' '))
            end += in_quotes && rest.p[end] == '\\' && end + 1 < rest.n ? 2 : 1;
        if (in_quotes && end >= rest.n)
            return false;
        *out = in_quotes ? (struct assay_str){rest.p + 1, end - 1} : (struct assay_str){rest.p, end};
        return true;
    }
    return false;
}

/* The headers of a part. False: they are none. */
static bool disposition(struct assay_str head, struct assay_str *out)
{
    while (head.n != 0) {
        const char *nl = memmem(head.p, head.n, "\r\n", 2);
        struct assay_str line = {head.p, nl != NULL ? (size_t)(nl - head.p) : head.n};
        if (starts_folded(line, "content-disposition:")) {
            *out = after(line, sizeof "content-disposition:" - 1);
            return true;
        }
        head = nl != NULL ? after(head, line.n + 2) : ASSAY_STR_NULL;
    }
    return false;
}

int pits_multipart(struct assay_str content_type, struct assay_str body, const char *field, struct pits_upload *out, struct assay_err *err)
{
    char delimiter[BOUNDARY_MAX + 5] = "\r\n--";
    struct assay_str boundary;
    bool found = false;
    if (!starts_folded(content_type, "multipart/form-data"))
        return assay_err_set(err, ASSAY_E_INVALID, "send the file as multipart/form-data, in the field \"%s\"", field);
    if (!parameter(content_type, "boundary", &boundary) || boundary.n == 0 || boundary.n > BOUNDARY_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "the content type names no boundary of 1 to %d characters", BOUNDARY_MAX);
    memcpy(delimiter + 4, boundary.p, boundary.n);
    size_t n = boundary.n + 4;
    /* the first delimiter may stand at the very beginning */
    const char *at = body.n >= n - 2 && memcmp(body.p, delimiter + 2, n - 2) == 0 ? body.p : body.n != 0 ? memmem(body.p, body.n, delimiter, n) : NULL;
    if (at == NULL)
        return malformed(err, "does not hold its boundary");
    struct assay_str rest = after(body, (size_t)(at - body.p) + (at == body.p ? n - 2 : n));
    for (int i = 0; i < PARTS_MAX; i++) {
        if (rest.n >= 2 && rest.p[0] == '-' && rest.p[1] == '-')
            return found ? ASSAY_OK : assay_err_set(err, ASSAY_E_INVALID, "the form has no file in the field \"%s\"", field);
        while (rest.n != 0 && (rest.p[0] == ' ' || rest.p[0] == '\t'))
            rest = after(rest, 1);
        if (rest.n < 2 || rest.p[0] != '\r' || rest.p[1] != '\n')
            return malformed(err, "has a delimiter that is followed by something else");
        /* an empty head is the line's own end */
        const char *blank = memmem(rest.p, rest.n, "\r\n\r\n", 4);
        if (blank == NULL || blank - rest.p > HEAD_MAX)
            return malformed(err, "has a part without an end of its headers");
        struct assay_str head = after((struct assay_str){rest.p, (size_t)(blank - rest.p)}, blank == rest.p ? 0 : 2), value, name;
        rest = after(rest, (size_t)(blank - rest.p) + 2); /* the blank line's end may be the next delimiter's beginning */
        const char *end = memmem(rest.p, rest.n, delimiter, n);
        if (end == NULL)
            return malformed(err, "is cut off: its last part has no end");
        size_t whole = (size_t)(end - rest.p);
        struct assay_str content = whole >= 2 ? (struct assay_str){rest.p + 2, whole - 2} : (struct assay_str){rest.p, 0};
        if (disposition(head, &value) && parameter(value, "name", &name) && assay_str_is(name, field)) {
            if (found)
                return assay_err_set(err, ASSAY_E_INVALID, "the form has the field \"%s\" twice", field);
            found = true;
            *out = (struct pits_upload){.filename = ASSAY_STR(""), .bytes = content};
            (void)parameter(value, "filename", &out->filename);
        }
        rest = after(rest, whole + n);
    }
    return malformed(err, "has too many parts");
}
