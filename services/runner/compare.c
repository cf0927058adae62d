/*
 * Comparing what a program printed with what was expected.  Pure functions; outputs may be large and hostile, and the
 * runner's loop waits meanwhile, so each way takes one pass over both texts and no memory.
 *
 * Without order, two outputs hold the same lines (or words) when the sums of the hashes of theirs are equal.  The
 * hash is keyed afresh in each call, so that nobody can print lines that only add up to the right sum; by chance
 * it happens with a probability of about 2^-128.
 */
#include "local.h"

#include <assay/hash.h>

#include <math.h>
#include <stdlib.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool next_word(struct assay_str *rest, struct assay_str *word)
{
    size_t i = 0;
    while (i < rest->n && is_space(rest->p[i]))
        i++;
    size_t from = i;
    while (i < rest->n && !is_space(rest->p[i]))
        i++;
    *word = (struct assay_str){rest->p + from, i - from};
    rest->p += i;
    rest->n -= i;
    return word->n != 0;
}

/* Without its white space at the end; false when there is none any more. */
static bool next_line(struct assay_str *rest, struct assay_str *line)
{
    if (rest->n == 0)
        return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    size_t n = end != NULL ? (size_t)(end - rest->p) : rest->n;
    *line = (struct assay_str){rest->p, n};
    rest->p += n + (end != NULL);
    rest->n -= n + (end != NULL);
    while (line->n != 0 && is_space(line->p[line->n - 1]))
        line->n--;
    return true;
}

/* ---- words ------------------------------------------------------------------------------------ */

/* A finite decimal number: sign, digits with at most one point, exponent. No hexadecimal, no "inf". */
static bool parse_number(struct assay_str w, double *out)
{
    char z[320];
    if (w.n == 0 || w.n >= sizeof z)
        return false;
    size_t digits = 0;
    for (size_t i = 0; i < w.n; i++) {
        char c = w.p[i];
        bool digit = c >= '0' && c <= '9';
        digits += digit;
        if (!digit && c != '.' && c != '+' && c != '-' && c != 'e' && c != 'E')
            return false;
    }
    if (digits == 0)
        return false;
    memcpy(z, w.p, w.n);
    z[w.n] = '\0';
    char *end;
    *out = strtod(z, &end);
    return end == z + w.n && isfinite(*out);
}

static bool numbers_match(const struct comparison *c, struct assay_str expected, struct assay_str got)
{
    double e, g;
    if (!parse_number(expected, &e) || !parse_number(got, &g))
        return false;
    double off = fabs(e - g);
    return off <= c->abs || off <= c->rel * fabs(e);
}

/* Of the letters A to Z only: an output is bytes, in whatever encoding the program chose. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_but_for_case(struct assay_str a, struct assay_str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    }
    return true;
}

static bool words_match(const struct comparison *c, struct assay_str expected, struct assay_str got)
{
    return assay_str_eq(expected, got) || (c->how == ASSAY_COMPARE_FLOAT && numbers_match(c, expected, got)) ||
           (c->how == ASSAY_COMPARE_NOCASE && same_but_for_case(expected, got));
}

static bool by_words(const struct comparison *c, struct assay_str expected, struct assay_str got)
{
    for (;;) {
        struct assay_str e, g;
        bool more = next_word(&expected, &e);
        if (next_word(&got, &g) != more)
            return false;
        if (!more)
            return true;
        if (!words_match(c, e, g))
            return false;
    }
}

/* ---- lines ------------------------------------------------------------------------------------ */

/* The next line that is not empty, and how many empty ones stand before it. */
static bool next_full_line(struct assay_str *rest, struct assay_str *line, size_t *empty)
{
    for (*empty = 0; next_line(rest, line); ++*empty) {
        if (line->n != 0)
            return true;
    }
    return false;
}

static bool by_lines(struct assay_str expected, struct assay_str got)
{
    for (;;) {
        struct assay_str e, g;
        size_t before_e, before_g;
        bool more = next_full_line(&expected, &e, &before_e);
        if (next_full_line(&got, &g, &before_g) != more)
            return false;
        if (!more)
            return true; /* empty lines at the end do not count */
        if (before_e != before_g || !assay_str_eq(e, g))
            return false;
    }
}

static void add(struct assay_hash *sum, struct assay_hash h)
{
    sum->word[0] += h.word[0];
    sum->word[1] += h.word[1];
}

/* The words of a line in their order, whatever stands between them. */
static struct assay_hash hash_of_line(const struct assay_hash_key *key, struct assay_str line)
{
    struct assay_hash chain[2] = {{{0, 0}}, {{0, 0}}};
    struct assay_str word;
    while (next_word(&line, &word)) {
        chain[1] = assay_hash_of(key, word);
        chain[0] = assay_hash_of(key, (struct assay_str){(const char *)chain, sizeof chain});
    }
    return chain[0];
}

static struct assay_hash sum_of(const struct assay_hash_key *key, bool lines, struct assay_str text)
{
    struct assay_hash sum = {{0, 0}};
    struct assay_str part;
    size_t empty;
    while (lines ? next_full_line(&text, &part, &empty) : next_word(&text, &part))
        add(&sum, lines ? hash_of_line(key, part) : assay_hash_of(key, part));
    return sum;
}

static bool without_order(bool lines, struct assay_str expected, struct assay_str got)
{
    struct assay_hash_key key;
    assay_hash_key_new(&key);
    struct assay_hash e = sum_of(&key, lines, expected), g = sum_of(&key, lines, got);
    return e.word[0] == g.word[0] && e.word[1] == g.word[1];
}

bool output_matches(const struct comparison *c, struct assay_str expected, struct assay_str got)
{
    switch ((enum assay_compare)c->how) {
    case ASSAY_COMPARE_EXACT:
        return assay_str_eq(expected, got);
    case ASSAY_COMPARE_LINES:
        return by_lines(expected, got);
    case ASSAY_COMPARE_UNORDERED_LINES:
        return without_order(true, expected, got);
    case ASSAY_COMPARE_UNORDERED_TOKENS:
        return without_order(false, expected, got);
    case ASSAY_COMPARE_TOKENS:
    case ASSAY_COMPARE_FLOAT:
    case ASSAY_COMPARE_NOCASE:
        break;
    }
    return by_words(c, expected, got);
}

const char *presentation_fault(const struct comparison *c, struct assay_str expected, struct assay_str got)
{
    static const struct comparison words = {.how = ASSAY_COMPARE_TOKENS};
    if ((c->how != ASSAY_COMPARE_EXACT && c->how != ASSAY_COMPARE_LINES) || !by_words(&words, expected, got))
        return NULL;
    return by_lines(expected, got) ? "the lines are right; white space at the end of a line or of the output is not"
                                   : "the words are right; the white space between them is not";
}
