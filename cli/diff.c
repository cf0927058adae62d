/*
 * A difference of two texts by lines: the longest common subsequence of what is left between a common beginning
 * and a common end, which is all there is to do for most wrong answers.  Texts that differ in too many lines for
 * a table of that size are shown from the first difference on, as they stand.
 */
#include "cli.h"

#define TABLE_MAX ((size_t)4 << 20)
#define CONTEXT 3
#define SHOWN_MAX 200

struct lines {
    const char **at;
    size_t *length;
    size_t n;
};

static void split(struct lines *l, const char *text, size_t n)
{
    size_t rows = 1;

    for (size_t i = 0; i < n; i++)
        rows += text[i] == '\n';
    l->at = calloc(rows, sizeof(*l->at));
    l->length = calloc(rows, sizeof(*l->length));
    if (l->at == NULL || l->length == NULL) {
        term_error("no memory");
        exit(CLI_LOCAL);
    }
    while (n > 0) {
        const char *end = memchr(text, '\n', n);
        size_t length = end != NULL ? (size_t)(end - text) + 1 : n; /* with its line feed: one that is missing is a difference */

        l->at[l->n] = text;
        l->length[l->n++] = length;
        text += length;
        n -= length;
    }
}

static bool same(const struct lines *a, size_t i, const struct lines *b, size_t k)
{
    return a->length[i] == b->length[k] && memcmp(a->at[i], b->at[k], a->length[i]) == 0;
}

struct out {
    FILE *f;
    const char *indent;
    size_t shown;
};

static void put(struct out *o, char sign, const struct lines *l, size_t i)
{
    size_t n = l->length[i];
    bool whole = n > 0 && l->at[i][n - 1] == '\n';
    const char *colour = !term_colour(o->f) || sign == ' ' ? NULL : sign == '-' ? "\033[31m" : "\033[32m";

    if (o->shown++ >= SHOWN_MAX)
        return;
    fprintf(o->f, "%s%s%c", o->indent, colour != NULL ? colour : "", sign);
    term_text(o->f, l->at[i], whole ? n - 1 : n, false, NULL);
    fprintf(o->f, "%s%s\n", colour != NULL ? "\033[0m" : "", whole ? "" : "   (without a line feed)");
}

/* The part in the middle; a and b are not equal there at either end. */
static void middle(struct out *o, const struct lines *a, size_t a0, size_t a1, const struct lines *b, size_t b0, size_t b1)
{
    size_t rows = a1 - a0 + 1, columns = b1 - b0 + 1, i = 0, k = 0;
    unsigned *common = rows * columns <= TABLE_MAX ? calloc(rows * columns, sizeof(*common)) : NULL;

    if (common != NULL) {
        for (i = rows - 1; i-- > 0;)
            for (k = columns - 1; k-- > 0;) {
                unsigned down = common[(i + 1) * columns + k], right = common[i * columns + k + 1];

                common[i * columns + k] = same(a, a0 + i, b, b0 + k) ? common[(i + 1) * columns + k + 1] + 1 : down > right ? down : right;
            }
        for (i = k = 0; i + 1 < rows || k + 1 < columns;) {
            if (i + 1 < rows && k + 1 < columns && same(a, a0 + i, b, b0 + k))
                put(o, ' ', a, a0 + i++), k++;
            else if (k + 1 == columns || (i + 1 < rows && common[(i + 1) * columns + k] >= common[i * columns + k + 1]))
                put(o, '-', a, a0 + i++);
            else
                put(o, '+', b, b0 + k++);
        }
    } else {
        for (i = a0; i < a1; i++)
            put(o, '-', a, i);
        for (k = b0; k < b1; k++)
            put(o, '+', b, k);
    }
    free(common);
}

void diff_print(FILE *f, const char *expected, size_t n_expected, const char *got, size_t n_got, const char *indent)
{
    struct lines a = {.n = 0}, b = {.n = 0};
    struct out o = {.f = f, .indent = indent};
    size_t first = 0, last = 0;

    split(&a, expected, n_expected);
    split(&b, got, n_got);
    while (first < a.n && first < b.n && same(&a, first, &b, first))
        first++;
    while (last < a.n - first && last < b.n - first && same(&a, a.n - 1 - last, &b, b.n - 1 - last))
        last++;
    if (first < a.n || first < b.n) {
        size_t from = first > CONTEXT ? first - CONTEXT : 0;

        if (from > 0)
            fprintf(f, "%s(%zu equal lines)\n", indent, from);
        for (size_t i = from; i < first; i++)
            put(&o, ' ', &a, i);
        middle(&o, &a, first, a.n - last, &b, first, b.n - last);
        for (size_t i = a.n - last; i < a.n && i < a.n - last + CONTEXT; i++)
            put(&o, ' ', &a, i);
        if (last > CONTEXT)
            fprintf(f, "%s(%zu equal lines)\n", indent, last - CONTEXT);
        if (o.shown > SHOWN_MAX)
            fprintf(f, "%s(%zu more lines: assay results --outputs)\n", indent, o.shown - SHOWN_MAX);
    }
    free(a.at);
    free(a.length);
    free(b.at);
    free(b.length);
}
