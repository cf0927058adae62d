/* The jury's submissions of a package: what they are, and which verdicts they must get. */
#include "package.h"

#include <stdio.h>

struct expected {
    const char *verdict[8];
    bool partial; /* points, and not all of them */
};

static bool expected_of_folder(struct assay_str folder, struct expected *out)
{
    static const struct {
        const char *folder;
        struct expected e;
    } known[] = {
        {"accepted", {{"OK"}, false}},
        {"wrong_answer", {{"WA"}, false}},
        {"time_limit_exceeded", {{"TL"}, false}},
        {"run_time_error", {{"RE", "ML"}, false}}, /* the legacy format has no folder for memory */
        {"memory_limit_exceeded", {{"ML"}, false}},
        {"output_limit_exceeded", {{"OL"}, false}},
        {"compiler_error", {{"BF"}, false}},
        {"no_output", {{"WA"}, false}},
        {"partially_accepted", {{"OK", "WA", "TL", "RE", "ML", "OL"}, true}},
        {"rejected", {{"WA", "TL", "RE", "ML", "OL", "BF"}, false}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (assay_str_is(folder, known[i].folder)) {
            *out = known[i].e;
            return true;
        }
    }
    return false;
}

/* "@EXPECTED_RESULTS@: WRONG-ANSWER, TIMELIMIT" anywhere in a source goes before its folder. */
static bool expected_of_source(struct package *p, const struct package_file *f, struct expected *out)
{
    static const char mark[] = "@EXPECTED_RESULTS@:";
    static const struct {
        const char *word, *verdict;
    } known[] = {{"CORRECT", "OK"},     {"ACCEPTED", "OK"},      {"WRONG-ANSWER", "WA"}, {"WRONG_ANSWER", "WA"}, {"TIMELIMIT", "TL"},
                 {"TIME_LIMIT_EXCEEDED", "TL"}, {"RUN-ERROR", "RE"}, {"RUN_TIME_ERROR", "RE"}, {"COMPILER-ERROR", "BF"},
                 {"NO-OUTPUT", "WA"},   {"OUTPUT-LIMIT", "OL"},  {"MEMORY-LIMIT", "ML"}};
    const char *at = f->bytes.n != 0 ? memmem(f->bytes.p, f->bytes.n, mark, sizeof mark - 1) : NULL;
    if (at == NULL)
        return false;
    const char *end = f->bytes.p + f->bytes.n;
    size_t n = 0;
    memset(out, 0, sizeof *out);
    at += sizeof mark - 1;
    while (at < end && *at != '\n' && n < 7) {
        const char *from = at;
        while (at < end && ((*at >= 'A' && *at <= 'Z') || *at == '-' || *at == '_'))
            at++;
        struct assay_str word = {from, (size_t)(at - from)};
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            if (assay_str_is(word, known[i].word)) {
                out->verdict[n++] = known[i].verdict;
                found = true;
            }
        }
        if (word.n > 1 && !found)
            package_note(p, "%.*s: @EXPECTED_RESULTS@ says %.*s, which is not known", ASSAY_FMT(f->path), (int)(word.n > 40 ? 40 : word.n),
                         word.p);
        at += at < end && *at != '\n' && word.n == 0;
    }
    return n != 0;
}

/* From file i on, those of one submission: one file, or all below one folder. Gives how many. */
static size_t one(struct package *p, size_t i, struct assay_jw *w)
{
    static const char top[] = "submissions/";
    const struct package_file *f = &p->file[i];
    struct assay_str rest = {f->path.p + sizeof top - 1, f->path.n - (sizeof top - 1)};
    const char *slash = memchr(rest.p, '/', rest.n);
    if (slash == NULL) {
        package_note(p, "%.*s: is in no folder, and was passed over", ASSAY_FMT(f->path));
        return 1;
    }
    struct assay_str folder = {rest.p, (size_t)(slash - rest.p)};
    struct assay_str name = {slash + 1, rest.n - folder.n - 1};
    const char *deeper = memchr(name.p, '/', name.n);
    size_t n = 1, prefix = deeper != NULL ? (size_t)(deeper - f->path.p) + 1 : 0;
    while (deeper != NULL && i + n < p->n && p->file[i + n].path.n > prefix && memcmp(p->file[i + n].path.p, f->path.p, prefix) == 0)
        n++;
    const char *language = NULL;
    struct expected e;
    bool told = false;
    for (size_t k = i; k < i + n; k++) {
        if (!assay_utf8_valid(p->file[k].bytes)) {
            package_note(p, "%.*s: is not UTF-8 text, so it is not judged", ASSAY_FMT(p->file[k].path));
            return n;
        }
        language = language == NULL ? package_language(p->file[k].path) : language;
        told = told || expected_of_source(p, &p->file[k], &e);
    }
    struct assay_str path = prefix != 0 ? (struct assay_str){f->path.p, prefix - 1} : f->path;
    if (language == NULL) {
        package_note(p, "%.*s: its language is not known, so it is not judged", ASSAY_FMT(path));
        return n;
    }
    if (!told && !expected_of_folder(folder, &e)) {
        package_note(p, "%.*s: the folder says nothing about its verdict", ASSAY_FMT(path));
        memset(&e, 0, sizeof e);
    }
    assay_jw_object(w);
    assay_jw_kstr(w, "path", path);
    assay_jw_kz(w, "language", language);
    assay_jw_key(w, "expected");
    assay_jw_array(w);
    for (size_t k = 0; e.verdict[k] != NULL; k++)
        assay_jw_z(w, e.verdict[k]);
    assay_jw_end(w);
    assay_jw_kbool(w, "partial", e.partial);
    if (prefix == 0) {
        assay_jw_kstr(w, "source", f->bytes);
    } else {
        assay_jw_key(w, "files");
        assay_jw_object(w);
        for (size_t k = i; k < i + n; k++) {
            char key[PACKAGE_PATH_MAX + 1];
            (void)snprintf(key, sizeof key, "%.*s", (int)(p->file[k].path.n - prefix), p->file[k].path.p + prefix);
            assay_jw_kstr(w, key, p->file[k].bytes);
        }
        assay_jw_end(w);
    }
    assay_jw_end(w);
    return n;
}

void package_submissions(struct package *p, struct assay_jw *w)
{
    assay_jw_array(w);
    for (size_t i = 0; i < p->n;) {
        if (assay_str_starts(p->file[i].path, "submissions/"))
            i += one(p, i, w);
        else
            i++;
    }
    assay_jw_end(w);
}
