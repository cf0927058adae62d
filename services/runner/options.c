/*
 * Compiler options: words that a language's file lists, and no others.
 *
 * A file has groups of them ("standard": "-std=c11 -std=c17"), of which a program is built with at most one each.  A problem may
 * take some away, or set some; what is left a program may ask for.  Nothing is taken apart or matched by a pattern: a word is on
 * the list or it is refused, so that no option of a compiler has to be known here to be kept out.  They stand in the order of
 * the file, whoever asked in which, and so the same build has the same key.
 */
#include "local.h"

#include <stdio.h>

static bool next_word(struct assay_str *rest, struct assay_str *word)
{
    while (rest->n != 0 && rest->p[0] == ' ') {
        rest->p++;
        rest->n--;
    }
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ')
        n++;
    *word = (struct assay_str){rest->p, n};
    rest->p += n;
    rest->n -= n;
    return n != 0;
}

static bool has(const struct assay_strs *list, struct assay_str word)
{
    for (size_t i = 0; i < list->n; i++) {
        if (assay_str_eq(list->items[i], word))
            return true;
    }
    return false;
}

/* The group that has the word, or OPTIONS_GROUPS_MAX; *own, unless NULL, becomes the file's own copy, which lives as long as it. */
static size_t group_of(const struct language *l, struct assay_str word, struct assay_str *own)
{
    for (size_t i = 0; i < l->options.n; i++) {
        struct assay_str one, rest = l->options.items[i].value;
        while (next_word(&rest, &one)) {
            if (assay_str_eq(one, word)) {
                if (own != NULL)
                    *own = one;
                return i;
            }
        }
    }
    return OPTIONS_GROUPS_MAX;
}

int options_check_file(const struct language *l, const char *path, struct assay_err *err)
{
    bool placed = false;
    for (size_t i = 0; i < l->build.argv.n; i++)
        placed = placed || assay_str_is(l->build.argv.items[i], "{options}");
    if (l->options.n != 0 && !placed)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: /options: build.argv must say {options} where they go", path);
    for (size_t i = 0; i < l->options.n; i++) {
        struct assay_str word, rest = l->options.items[i].value;
        if (!next_word(&rest, &word))
            return assay_err_set(err, ASSAY_E_CONFIG, "%s: /options/%.*s: lists none", path, ASSAY_FMT(l->options.items[i].key));
        rest = l->options.items[i].value;
        while (next_word(&rest, &word)) {
            struct assay_str shown = {word.p, word.n > ASSAY_OPTION_MAX ? ASSAY_OPTION_MAX : word.n};
            if (!assay_option_valid(word))
                return assay_err_set(err, ASSAY_E_CONFIG, "%s: /options/%.*s: \"%.*s\" must be '-' and 1 to %d letters, digits and +=._-",
                                     path, ASSAY_FMT(l->options.items[i].key), ASSAY_FMT(shown), ASSAY_OPTION_MAX - 1);
            size_t before = group_of(l, word, NULL);
            struct assay_str left = rest, other;
            bool again = before != i;
            while (!again && next_word(&left, &other))
                again = assay_str_eq(other, word);
            if (again)
                return assay_err_set(err, ASSAY_E_CONFIG, "%s: /options/%.*s: \"%.*s\" is listed twice", path,
                                     ASSAY_FMT(l->options.items[i].key), ASSAY_FMT(shown));
        }
    }
    return ASSAY_OK;
}

static const struct assay_manifest_options *rule_of(const struct languages *all, const struct language *l,
                                                    const struct assay_json_array *problem)
{
    const struct assay_manifest_options *o = problem != NULL ? problem->items : NULL;
    for (size_t i = 0; problem != NULL && i < problem->n; i++) {
        if (languages_find(all, o[i].language) == l)
            return &o[i];
    }
    return NULL;
}

static bool may_ask(const struct language *l, const struct assay_manifest_options *rule, struct assay_str word)
{
    return group_of(l, word, NULL) != OPTIONS_GROUPS_MAX && (rule == NULL || !rule->has_allowed || has(&rule->allowed, word));
}

/* "it takes -O0 -O1", as far as there is room. */
static int refuse(const struct language *l, const struct assay_manifest_options *rule, struct assay_str word, struct assay_err *err)
{
    char list[380] = "";
    size_t n = 0;
    for (size_t i = 0; i < l->options.n; i++) {
        struct assay_str one, rest = l->options.items[i].value;
        while (next_word(&rest, &one)) {
            if (may_ask(l, rule, one) && n + one.n + 6 < sizeof list)
                n += (size_t)snprintf(list + n, sizeof list - n, " %.*s", ASSAY_FMT(one));
        }
    }
    struct assay_str shown = {word.p, word.n > 40 ? 40 : word.n};
    return assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is not taken: %.*s %s%s%s", ASSAY_FMT(shown), ASSAY_FMT(l->name),
                         n == 0 ? "takes no compiler options" : "takes of compiler options only", list, rule != NULL ? " in this problem" : "");
}

int options_of(const struct languages *all, const struct language *l, const struct assay_strs *asked,
               const struct assay_json_array *problem, struct assay_str out[OPTIONS_GROUPS_MAX], size_t *n, struct assay_err *err)
{
    const struct assay_manifest_options *rule = rule_of(all, l, problem);
    struct assay_str chosen[OPTIONS_GROUPS_MAX] = {{NULL, 0}};
    bool set[OPTIONS_GROUPS_MAX] = {false};
    for (size_t i = 0; rule != NULL && i < rule->always.n; i++) {
        struct assay_str word = rule->always.items[i];
        size_t g = group_of(l, word, &word);
        if (g == OPTIONS_GROUPS_MAX)
            return assay_err_set(err, ASSAY_E_CONFIG, "the problem sets the compiler option %.*s, which is none of those of %.*s",
                                 ASSAY_FMT(word), ASSAY_FMT(l->name));
        if (chosen[g].n != 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "the problem sets %.*s and %.*s, which exclude each other", ASSAY_FMT(chosen[g]),
                                 ASSAY_FMT(word));
        chosen[g] = word;
        set[g] = true;
    }
    for (size_t i = 0; i < asked->n; i++) {
        struct assay_str word = asked->items[i];
        size_t g = group_of(l, word, &word);
        if (g != OPTIONS_GROUPS_MAX && set[g] && assay_str_eq(chosen[g], word))
            continue; /* it is so anyway */
        if (!may_ask(l, rule, word))
            return refuse(l, rule, word, err);
        if (chosen[g].n != 0)
            return assay_err_set(err, ASSAY_E_INVALID, set[g] ? "%.*s is not taken: the problem sets %.*s" : "%.*s is not taken together with %.*s",
                                 ASSAY_FMT(word), ASSAY_FMT(chosen[g]));
        chosen[g] = word;
    }
    *n = 0;
    for (size_t g = 0; g < OPTIONS_GROUPS_MAX; g++) {
        if (chosen[g].n != 0)
            out[(*n)++] = chosen[g];
    }
    return ASSAY_OK;
}
