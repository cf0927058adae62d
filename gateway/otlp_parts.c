/* What both forms of OTLP's messages are made from: spans that are copied, units, lists of pairs. */
#include "gateway/otlp.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/text.h"

#define TEXT_BYTES 512 /* of an attribute's text */

static struct assay_str cut(struct assay_str s)
{
    return assay_text_cut(s.p != NULL ? s : ASSAY_STR(""), TEXT_BYTES);
}

static struct assay_str put(char **at, struct assay_str s)
{
    struct assay_str copy = {*at, s.n};
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

struct assay_otlp_item *assay_otlp_item(const struct assay_span *s)
{
    size_t n = s->n < ASSAY_SPAN_ATTRS ? s->n : ASSAY_SPAN_ATTRS;
    struct assay_str fault = cut(assay_str(s->fault != NULL ? s->fault : ""));
    size_t bytes = s->context.n + s->parent.n + strlen(s->name) + 1 + fault.n + 1;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(s->kv[i].key) + 1 + (s->kv[i].type == 's' ? cut(s->kv[i].s).n : 0);
    struct assay_otlp_item *item = malloc(sizeof *item + bytes);
    if (item == NULL)
        return NULL;
    char *at = (char *)(item + 1);
    item->next = NULL;
    item->span = *s;
    item->span.context = put(&at, s->context);
    item->span.parent = put(&at, s->parent);
    item->span.name = put(&at, (struct assay_str){s->name, strlen(s->name) + 1}).p;
    if (s->fault != NULL) {
        item->span.fault = put(&at, fault).p;
        *at++ = '\0';
    }
    for (size_t i = 0; i < n; i++) {
        item->kv[i] = s->kv[i];
        item->kv[i].key = put(&at, (struct assay_str){s->kv[i].key, strlen(s->kv[i].key) + 1}).p;
        if (s->kv[i].type == 's')
            item->kv[i].s = put(&at, cut(s->kv[i].s));
    }
    item->span.kv = item->kv;
    item->span.n = n;
    return item;
}

const char *assay_otlp_unit(const char *name)
{
    struct assay_str s = assay_str(name);
    if (assay_str_ends(s, "_total"))
        s.n -= strlen("_total");
    return assay_str_ends(s, "_seconds") ? "s" : assay_str_ends(s, "_bytes") ? "By" : "1";
}

/* ---- lists of pairs -------------------------------------------------------------------------------- */

static struct assay_str trimmed(const char *p, size_t n)
{
    while (n > 0 && (*p == ' ' || *p == '\t'))
        p++, n--;
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    return (struct assay_str){p, n};
}

/* NULL: no memory, or what comes of it is not one line of text. */
static char *decoded(struct assay_str s)
{
    char *out = malloc(s.n + 1);
    size_t n = 0;
    bool line = out != NULL;
    for (size_t i = 0; line && i < s.n; i++) {
        char c = s.p[i];
        if (c == '%' && i + 2 < s.n && isxdigit((unsigned char)s.p[i + 1]) && isxdigit((unsigned char)s.p[i + 2])) {
            const char hex[3] = {s.p[i + 1], s.p[i + 2], '\0'};
            c = (char)strtoul(hex, NULL, 16);
            i += 2;
        }
        line = (unsigned char)c >= ' ' && c != 127;
        out[n++] = c;
    }
    if (!line) {
        free(out);
        return NULL;
    }
    out[n] = '\0';
    return out;
}

int assay_otlp_pairs(const char *text, const char *what, struct assay_otlp_pair *list, size_t room, size_t *n, struct assay_err *err)
{
    for (const char *p = text; *p != '\0';) {
        size_t len = strcspn(p, ",");
        struct assay_str pair = trimmed(p, len);
        p += len + (p[len] == ',');
        if (pair.n == 0)
            continue;
        const char *eq = memchr(pair.p, '=', pair.n);
        struct assay_str key = trimmed(pair.p, eq != NULL ? (size_t)(eq - pair.p) : 0);
        if (key.n == 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "%s: a pair has no name; it is name=value,name=value, percent-encoded", what);
        struct assay_str value = trimmed(eq + 1, pair.n - (size_t)(eq + 1 - pair.p));
        struct assay_otlp_pair made = {decoded(key), decoded(value)};
        size_t at = 0;
        while (made.key != NULL && at < *n && strcmp(list[at].key, made.key) != 0)
            at++;
        if (made.key == NULL || made.value == NULL || at == room) {
            free(made.key);
            free(made.value);
            return at == room ? assay_err_set(err, ASSAY_E_CONFIG, "%s: more than %zu pairs", what, room)
                              : assay_err_set(err, ASSAY_E_CONFIG, "%s: the pair %.*s is not one line of text", what, ASSAY_FMT(key));
        }
        if (at < *n) {
            free(list[at].key);
            free(list[at].value);
        } else {
            (*n)++;
        }
        list[at] = made;
    }
    return 0;
}
