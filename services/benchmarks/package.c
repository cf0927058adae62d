/* What a problem package means: from its files to what POST /benchmarks takes. */
#include "package.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUPS_MAX 100
#define STATEMENT_MAX ((size_t)256 << 10)

struct group {
    char name[64], dir[PACKAGE_PATH_MAX]; /* "data/secret/1/" */
    bool sample;
    size_t tests;
    double points; /* < 0: as the server has it */
    const char *aggregation;
    int stop; /* -1: as the server has it */
    char needs[8][64];
    size_t n_needs;
};
struct reading {
    struct package *p;
    struct yaml *problem;
    bool v2023, scoring, interactive, multipass, custom;
    struct group group[GROUPS_MAX];
    size_t n_groups, n_tests;
};

/* ---- small things -------------------------------------------------------------------------------------- */

static bool under(const struct package_file *f, const char *dir)
{
    return assay_str_starts(f->path, dir);
}

static struct assay_str behind(struct assay_str path, const char *dir)
{
    size_t n = strlen(dir);
    return (struct assay_str){path.p + n, path.n - n};
}

static struct assay_str base_name(struct assay_str path)
{
    size_t i = path.n;
    while (i != 0 && path.p[i - 1] != '/')
        i--;
    return (struct assay_str){path.p + i, path.n - i};
}

const char *package_language(struct assay_str path)
{
    static const struct {
        const char *ending, *language;
    } known[] = {{".c", "c"},     {".cc", "cpp"},  {".cpp", "cpp"},       {".cxx", "cpp"}, {".c++", "cpp"}, {".py", "python"},
                 {".py3", "python"}, {".java", "java"}, {".go", "go"},    {".rs", "rust"}, {".js", "javascript"}, {".mjs", "javascript"},
                 {".sh", "bash"}, {".rb", "ruby"}, {".pl", "perl"},       {".php", "php"}, {".lua", "lua"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (assay_str_ends(path, known[i].ending) && path.n > strlen(known[i].ending))
            return known[i].language;
    }
    return NULL;
}

static bool text_ok(struct reading *r, const struct package_file *f)
{
    if (assay_utf8_valid(f->bytes))
        return true;
    package_fault(r->p, f->path.p, 0, "is not UTF-8 text, and only text can be kept");
    return false;
}

/* A number that is there must be one. */
static double number(struct reading *r, struct yaml_at at, double dflt, double least, double most)
{
    struct assay_str s = yaml_text(at);
    char text[64], *end = text;
    if (yaml_kind(at) == YAML_NOTHING)
        return dflt;
    (void)snprintf(text, sizeof text, "%.*s", ASSAY_FMT(s));
    double v = strtod(text, &end);
    if (s.n == 0 || s.n >= sizeof text || *end != '\0' || !isfinite(v) || v < least || v > most) {
        package_fault(r->p, yaml_file(at), yaml_line(at), "must be a number from %g to %g", least, most);
        return dflt;
    }
    return v;
}

static int word_at(struct assay_str s, size_t *from, struct assay_str *word)
{
    while (*from < s.n && strchr(" \t\n,", s.p[*from]) != NULL)
        (*from)++;
    size_t i = *from;
    while (i < s.n && strchr(" \t\n,", s.p[i]) == NULL)
        i++;
    *word = (struct assay_str){s.p + *from, i - *from};
    *from = i;
    return word->n != 0;
}

/* Words of a text, or the items of a list. */
static size_t words(struct yaml_at at, struct assay_str *out, size_t max)
{
    size_t n = 0, from = 0;
    struct assay_str w;
    if (yaml_kind(at) == YAML_LIST) {
        for (size_t i = 0; i < yaml_count(at) && n < max; i++)
            out[n++] = yaml_text(yaml_item(at, i));
        return n;
    }
    struct assay_str s = yaml_text(at);
    while (n < max && word_at(s, &from, &w))
        out[n++] = w;
    return n;
}

static bool says(struct yaml_at at, const char *word)
{
    struct assay_str w[16];
    size_t n = words(at, w, 16);
    for (size_t i = 0; i < n; i++) {
        if (assay_str_is(w[i], word))
            return true;
    }
    return false;
}

/* ---- problem.yaml ------------------------------------------------------------------------------------------ */

static const char *const keys_known[] = {
    "problem_format_version", "name", "uuid", "type", "author", "authors", "credits", "source", "source_url", "license", "rights_owner",
    "embargo_until", "limits", "keywords", "languages", "allow_file_writing", "constants", "version", "validation", "validator",
    "validator_flags", "grading", "scoring", "libraries", "short-name", "externalid", "timelimit", "color", NULL};

static void check_keys(struct reading *r)
{
    struct yaml_at root = yaml_root(r->problem);
    for (size_t i = 0; i < yaml_count(root); i++) {
        struct yaml_at value;
        struct assay_str key = yaml_key(root, i, &value);
        bool known = false;
        for (size_t k = 0; keys_known[k] != NULL; k++)
            known = known || assay_str_is(key, keys_known[k]);
        if (!known)
            package_note(r->p, "problem.yaml:%lld: \"%.*s\" is not known and was passed over", (long long)yaml_line(value),
                         (int)(key.n > 60 ? 60 : key.n), key.p);
    }
}

static void read_kind(struct reading *r)
{
    struct yaml_at root = yaml_root(r->problem), version = yaml_get(root, "problem_format_version"), type = yaml_get(root, "type"),
                   validation = yaml_get(root, "validation");
    struct assay_str v = yaml_text(version), w[16];
    r->v2023 = assay_str_is(v, "2023-07") || assay_str_is(v, "2023-07-draft");
    if (v.n != 0 && !r->v2023 && !assay_str_is(v, "legacy") && !assay_str_is(v, "legacy-icpc"))
        package_fault(r->p, yaml_file(version), yaml_line(version), "the format must be legacy, legacy-icpc or 2023-07");
    size_t n = words(type, w, 16);
    for (size_t i = 0; i < n; i++) {
        if (assay_str_is(w[i], "scoring"))
            r->scoring = true;
        else if (assay_str_is(w[i], "interactive"))
            r->interactive = r->custom = true;
        else if (assay_str_is(w[i], "multi-pass"))
            r->multipass = r->custom = true;
        else if (!assay_str_is(w[i], "pass-fail"))
            package_fault(r->p, yaml_file(type), yaml_line(type),
                          "the type \"%.*s\" is not taken: pass-fail, scoring, interactive and multi-pass are", (int)(w[i].n > 40 ? 40 : w[i].n), w[i].p);
    }
    n = words(validation, w, 16);
    for (size_t i = 0; i < n; i++) {
        if (assay_str_is(w[i], "custom") || assay_str_is(w[i], "score"))
            r->custom = true;
        else if (assay_str_is(w[i], "interactive"))
            r->interactive = r->custom = true;
        else if (assay_str_is(w[i], "multi-pass"))
            r->multipass = r->custom = true;
        else if (!assay_str_is(w[i], "default"))
            package_fault(r->p, yaml_file(validation), yaml_line(validation),
                          "validation is default, or custom with interactive, score or multi-pass; \"%.*s\" is none of these",
                          (int)(w[i].n > 40 ? 40 : w[i].n), w[i].p);
    }
    if (says(validation, "score"))
        r->scoring = true;
    for (size_t i = 0; r->v2023 && i < r->p->n; i++)
        r->custom = r->custom || under(&r->p->file[i], "output_validator/") || under(&r->p->file[i], "output_validators/");
}

static void write_name(struct reading *r, struct assay_jw *w)
{
    struct yaml_at name = yaml_get(yaml_root(r->problem), "name");
    if (yaml_kind(name) == YAML_MAP) {
        struct yaml_at en = yaml_get(name, "en"), first;
        (void)yaml_key(name, 0, &first);
        name = yaml_kind(en) == YAML_TEXT ? en : first;
    }
    struct assay_str s = yaml_text(name);
    if (s.n == 0)
        s = r->p->name;
    if (s.n == 0)
        package_fault(r->p, "problem.yaml", 1, "the problem has no name");
    assay_jw_kstr(w, "name", s);
}

static void write_statement(struct reading *r, struct assay_jw *w)
{
    static const char *const where[] = {"problem_statement/problem.en.md", "statement/problem.en.md", "problem_statement/problem.en.tex",
                                        "statement/problem.en.tex", "problem_statement/problem.md", "problem_statement/problem.tex", NULL};
    const struct package_file *f = NULL;
    for (size_t i = 0; f == NULL && where[i] != NULL; i++)
        f = package_find(r->p, where[i]);
    for (size_t i = 0; f == NULL && i < r->p->n; i++) {
        const struct package_file *g = &r->p->file[i];
        bool there = under(g, "problem_statement/problem.") || under(g, "statement/problem.");
        if (there && (assay_str_ends(g->path, ".md") || assay_str_ends(g->path, ".tex")))
            f = g;
    }
    if (f == NULL) {
        package_note(r->p, "there is no statement in Markdown or LaTeX");
    } else if (f->bytes.n > STATEMENT_MAX) {
        package_fault(r->p, f->path.p, 0, "is larger than %zu KiB", STATEMENT_MAX >> 10);
    } else if (text_ok(r, f)) {
        assay_jw_kstr(w, "statement", f->bytes);
    }
}

/* Seconds: where 2023-07 has them, or the files in which judges of the legacy format keep them. */
static double time_limit(struct reading *r, struct yaml_at limits)
{
    struct yaml_at at = yaml_get(limits, "time_limit");
    const struct package_file *f = package_find(r->p, ".timelimit"), *ini = package_find(r->p, "domjudge-problem.ini");
    char text[64];
    if (yaml_kind(at) != YAML_NOTHING)
        return number(r, at, 2, 0.1, 600);
    text[0] = '\0';
    if (f != NULL)
        (void)snprintf(text, sizeof text, "%.*s", (int)(f->bytes.n > 60 ? 60 : f->bytes.n), f->bytes.p);
    for (size_t i = 0; ini != NULL && i < ini->bytes.n; i++) {
        struct assay_str rest = {ini->bytes.p + i, ini->bytes.n - i};
        if ((i == 0 || rest.p[-1] == '\n') && assay_str_starts(rest, "timelimit")) {
            size_t k = 9;
            while (k < rest.n && strchr(" =\t'\"", rest.p[k]) != NULL)
                k++;
            (void)snprintf(text, sizeof text, "%.*s", (int)(rest.n - k > 60 ? 60 : rest.n - k), rest.p + k);
            f = ini;
        }
    }
    if (text[0] == '\0') {
        package_note(r->p, "the package says no time limit: 2 s");
        return 2;
    }
    double v = strtod(text, NULL);
    if (!isfinite(v) || v < 0.1 || v > 600) {
        package_fault(r->p, f->path.p, 1, "must hold a time limit from 0.1 to 600 seconds");
        return 2;
    }
    return v;
}

static void write_limits(struct reading *r, struct assay_jw *w)
{
    struct yaml_at limits = yaml_get(yaml_root(r->problem), "limits");
    assay_jw_key(w, "limits");
    assay_jw_object(w);
    assay_jw_kint(w, "time_limit_ms", (int64_t)ceil(1000 * time_limit(r, limits)));
    assay_jw_kint(w, "memory_limit_bytes", (int64_t)(number(r, yaml_get(limits, "memory"), 2048, 4, 16384) * (1 << 20)));
    assay_jw_kint(w, "output_limit_bytes", (int64_t)(number(r, yaml_get(limits, "output"), 8, 0.001, 64) * (1 << 20)));
    assay_jw_end(w);
}

/* ---- how outputs are judged ---------------------------------------------------------------------------------- */

static size_t validator_flags(struct reading *r, struct assay_str *out, size_t max)
{
    size_t n = words(yaml_get(yaml_root(r->problem), "validator_flags"), out, max);
    static const char *const files[] = {"data/testdata.yaml", "data/test_group.yaml", "data/secret/testdata.yaml",
                                        "data/secret/test_group.yaml", NULL};
    for (size_t i = 0; n == 0 && files[i] != NULL; i++) {
        const struct package_file *f = package_find(r->p, files[i]);
        YAML_CLEANUP struct yaml *y = f != NULL ? yaml_load(r->p, f) : NULL;
        if (y == NULL)
            continue;
        struct yaml_at a = yaml_get(yaml_root(y), "output_validator_args"), b = yaml_get(yaml_root(y), "output_validator_flags");
        n = words(yaml_kind(a) != YAML_NOTHING ? a : b, out, max);
        for (size_t k = 0; k < n; k++)
            out[k] = assay_arena_str(r->p->arena, out[k]); /* the file is forgotten here */
    }
    return n;
}

static void write_comparison(struct reading *r, struct assay_jw *w)
{
    struct assay_str flag[32];
    size_t n = validator_flags(r, flag, 32);
    bool cased = false, spaced = false, floats = false;
    double abs = 0, rel = 0;
    for (size_t i = 0; i < n; i++) {
        double *to[2] = {NULL, NULL};
        if (assay_str_is(flag[i], "case_sensitive"))
            cased = true;
        else if (assay_str_is(flag[i], "space_change_sensitive"))
            spaced = true;
        else if (assay_str_is(flag[i], "float_absolute_tolerance"))
            to[0] = &abs;
        else if (assay_str_is(flag[i], "float_relative_tolerance"))
            to[0] = &rel;
        else if (assay_str_is(flag[i], "float_tolerance")) {
            to[0] = &abs;
            to[1] = &rel;
        } else
            package_fault(r->p, "problem.yaml", yaml_line(yaml_get(yaml_root(r->problem), "validator_flags")),
                          "the default validator has no flag \"%.*s\"", (int)(flag[i].n > 40 ? 40 : flag[i].n), flag[i].p);
        if (to[0] == NULL)
            continue;
        char text[64] = "", *end = text;
        if (i + 1 < n)
            (void)snprintf(text, sizeof text, "%.*s", ASSAY_FMT(flag[i + 1]));
        double v = strtod(text, &end);
        if (end == text || *end != '\0' || !(v >= 0 && v <= 1e18)) {
            package_fault(r->p, "problem.yaml", yaml_line(yaml_get(yaml_root(r->problem), "validator_flags")),
                          "the flag \"%.*s\" needs a number of 0 or more", ASSAY_FMT(flag[i]));
            return;
        }
        *to[0] = v;
        if (to[1] != NULL)
            *to[1] = v;
        floats = true;
        i++;
    }
    rel = rel > 1 ? 1 : rel;
    assay_jw_kz(w, "compare", floats ? "float" : spaced ? "exact" : cased ? "tokens" : "nocase");
    if (floats) {
        assay_jw_kreal(w, "float_abs", abs);
        assay_jw_kreal(w, "float_rel", rel);
        if (spaced)
            package_note(r->p, "space_change_sensitive is not taken together with tolerances");
        if (!cased)
            package_note(r->p, "words that are no numbers are compared case and all, where tolerances are given");
    }
}

/* A source with the headers of its own folder in the places where it includes them: a checker is one file. */
static void inline_headers(struct reading *r, const char *dir, struct assay_str source, struct assay_buf *out, int depth)
{
    size_t at = 0;
    while (at < source.n) {
        const char *newline = memchr(source.p + at, '\n', source.n - at);
        size_t n = newline != NULL ? (size_t)(newline - source.p) - at + 1 : source.n - at;
        struct assay_str line = {source.p + at, n};
        char name[PACKAGE_PATH_MAX + 1], path[2 * PACKAGE_PATH_MAX + 2];
        const struct package_file *f = NULL;
        char text[PACKAGE_PATH_MAX + 40];
        (void)snprintf(text, sizeof text, "%.*s", (int)(n > 320 ? 320 : n), line.p);
        if (depth < 8 && sscanf(text, " # include \"%300[^\"\n]\"", name) == 1) {
            (void)snprintf(path, sizeof path, "%s%s", dir, name);
            f = package_find(r->p, path);
        }
        if (f != NULL)
            inline_headers(r, dir, f->bytes, out, depth + 1);
        else
            assay_buf_str(out, line);
        at += n;
    }
    if (source.n != 0 && source.p[source.n - 1] != '\n')
        assay_buf_putc(out, '\n');
}

static void write_checker(struct reading *r, struct assay_jw *w)
{
    const struct package_file *found = NULL;
    const char *const where[] = {"output_validators/", "output_validator/"};
    size_t n = 0;
    for (size_t i = 0; i < r->p->n; i++) {
        const struct package_file *f = &r->p->file[i];
        if ((under(f, where[0]) || under(f, where[1])) && package_language(f->path) != NULL) {
            found = found == NULL ? f : found;
            n++;
        }
    }
    if (found == NULL) {
        package_fault(r->p, "problem.yaml", yaml_line(yaml_get(yaml_root(r->problem), "validation")),
                      "validation is custom, and output_validators/ holds no program in a language that is known");
        return;
    }
    if (n > 1) {
        package_fault(r->p, found->path.p, 0, "is one of %zu programs of the output validator; one file with its headers is taken", n);
        return;
    }
    if (!text_ok(r, found))
        return;
    struct assay_str base = base_name(found->path);
    struct assay_str dir = assay_arena_str(r->p->arena, (struct assay_str){found->path.p, found->path.n - base.n});
    ASSAY_CLEANUP_BUF struct assay_buf source = ASSAY_BUF_INIT;
    if (dir.p != NULL)
        inline_headers(r, dir.p, found->bytes, &source, 0);
    if (source.failed)
        r->p->no_memory = true;
    struct assay_str flag[32];
    size_t n_flags = validator_flags(r, flag, 32);
    struct yaml_at limits = yaml_get(yaml_root(r->problem), "limits");
    assay_jw_key(w, "checker");
    assay_jw_object(w);
    assay_jw_kz(w, "kind", "validator");
    assay_jw_kz(w, "language", package_language(found->path));
    assay_jw_kstr(w, "source", assay_buf_view(&source));
    assay_jw_key(w, "flags");
    assay_jw_array(w);
    for (size_t i = 0; i < n_flags; i++)
        assay_jw_str(w, flag[i]);
    assay_jw_end(w);
    assay_jw_kbool(w, "interactive", r->interactive);
    if (r->multipass)
        assay_jw_kint(w, "passes", (int64_t)number(r, yaml_get(limits, "validation_passes"), 2, 1, 50));
    if (yaml_kind(yaml_get(limits, "validation_time")) != YAML_NOTHING)
        assay_jw_kint(w, "time_limit_ms", (int64_t)(1000 * number(r, yaml_get(limits, "validation_time"), 60, 0.1, 600)));
    if (yaml_kind(yaml_get(limits, "validation_memory")) != YAML_NOTHING)
        assay_jw_kint(w, "memory_limit_bytes", (int64_t)(number(r, yaml_get(limits, "validation_memory"), 2048, 4, 16384) * (1 << 20)));
    assay_jw_end(w);
}

/* ---- tests and groups ------------------------------------------------------------------------------------------ */

static void read_legacy_group(struct reading *r, struct group *g, struct yaml_at root)
{
    struct yaml_at range = yaml_get(root, "range"), reject = yaml_get(root, "on_reject"), flags = yaml_get(root, "grader_flags");
    struct assay_str w[2];
    g->aggregation = says(flags, "min") ? "min" : says(flags, "max") ? "max" : "sum";
    if (says(flags, "avg"))
        package_note(r->p, "%stestdata.yaml: avg is taken as sum over the same points", g->dir);
    if (yaml_kind(reject) != YAML_NOTHING && !assay_str_is(yaml_text(reject), "break") && !assay_str_is(yaml_text(reject), "continue"))
        package_fault(r->p, yaml_file(reject), yaml_line(reject), "on_reject is break or continue");
    g->stop = assay_str_is(yaml_text(reject), "continue") ? 0 : 1;
    g->points = -1;
    if (yaml_kind(yaml_get(root, "accept_score")) != YAML_NOTHING)
        g->points = number(r, yaml_get(root, "accept_score"), 1, 0, 1e6) * (g->aggregation[0] == 's' ? (double)g->tests : 1);
    if (words(range, w, 2) == 2) {
        char text[64], *end = text;
        (void)snprintf(text, sizeof text, "%.*s", ASSAY_FMT(w[1]));
        double v = strtod(text, &end);
        if (*end != '\0' || !(v >= 0 && v <= 1e6))
            package_fault(r->p, yaml_file(range), yaml_line(range), "range is two numbers, the second from 0 to 1000000");
        else
            g->points = v;
    } else if (yaml_kind(range) != YAML_NOTHING) {
        package_fault(r->p, yaml_file(range), yaml_line(range), "range is two numbers: the least and the greatest score");
    }
}

static void read_new_group(struct reading *r, struct group *g, struct yaml_at root)
{
    struct yaml_at scoring = yaml_get(root, "scoring"), most = yaml_get(root, "max_score"), how = yaml_get(root, "score_aggregation"),
                   needs = yaml_get(root, "require_pass");
    most = yaml_kind(most) == YAML_NOTHING ? yaml_get(scoring, "score") : most;
    how = yaml_kind(how) == YAML_NOTHING ? yaml_get(scoring, "aggregation") : how;
    needs = yaml_kind(needs) == YAML_NOTHING ? yaml_get(scoring, "require_pass") : needs;
    struct assay_str h = yaml_text(how), w[8];
    g->aggregation = assay_str_is(h, "sum") ? "sum" : "min";
    if (h.n != 0 && !assay_str_is(h, "sum") && !assay_str_is(h, "min") && !assay_str_is(h, "pass-fail"))
        package_fault(r->p, yaml_file(how), yaml_line(how), "the aggregation is pass-fail, sum or min");
    if (assay_str_is(yaml_text(most), "unbounded"))
        package_fault(r->p, yaml_file(most), yaml_line(most), "a score without bound is not taken");
    else
        g->points = yaml_kind(most) == YAML_NOTHING ? -1 : number(r, most, 1, 0, 1e6);
    size_t n = words(needs, w, 8);
    for (size_t i = 0; i < n; i++) {
        struct assay_str s = assay_str_starts(w[i], "secret/") ? behind(w[i], "secret/") : w[i];
        bool there = false;
        for (struct group *o = r->group; o < g; o++)
            there = there || assay_str_is(s, o->name);
        if (!there)
            package_fault(r->p, yaml_file(needs), yaml_line(needs), "require_pass names \"%.*s\", which is no group before this one",
                          (int)(s.n > 40 ? 40 : s.n), s.p);
        else
            (void)snprintf(g->needs[g->n_needs++], sizeof g->needs[0], "%.*s", ASSAY_FMT(s));
    }
}

static void read_group(struct reading *r, struct group *g)
{
    static const char *const names[] = {"testdata.yaml", "test_group.yaml"};
    g->aggregation = r->v2023 ? "min" : "sum";
    g->points = g->sample ? 0 : -1;
    g->stop = r->v2023 ? -1 : 1;
    for (size_t i = 0; i < 2; i++) {
        char path[PACKAGE_PATH_MAX + 20];
        (void)snprintf(path, sizeof path, "%s%s", g->dir, names[i]);
        const struct package_file *f = package_find(r->p, path);
        YAML_CLEANUP struct yaml *y = f != NULL ? yaml_load(r->p, f) : NULL;
        if (y == NULL)
            continue;
        if (r->v2023)
            read_new_group(r, g, yaml_root(y));
        else
            read_legacy_group(r, g, yaml_root(y));
        if (g->sample && (g->points < 0 || !r->v2023))
            g->points = 0;
    }
}

/* The group of a test's file: the folder below data/secret, or all that is in it, or the samples. */
static struct group *group_of(struct reading *r, const struct package_file *f)
{
    bool sample = under(f, "data/sample/");
    struct assay_str rest = behind(f->path, sample ? "data/sample/" : "data/secret/");
    const char *slash = memchr(rest.p, '/', rest.n);
    struct assay_str name = sample ? ASSAY_STR("sample") : slash != NULL ? (struct assay_str){rest.p, (size_t)(slash - rest.p)} : ASSAY_STR("secret");
    if (slash != NULL && (sample || memchr(slash + 1, '/', rest.n - (size_t)(slash + 1 - rest.p)) != NULL)) {
        package_fault(r->p, f->path.p, 0, "groups within groups are not taken");
        return NULL;
    }
    for (size_t i = 0; i < r->n_groups; i++) {
        if (assay_str_is(name, r->group[i].name))
            return &r->group[i];
    }
    if (r->n_groups == GROUPS_MAX || name.n >= sizeof r->group[0].name) {
        package_fault(r->p, f->path.p, 0, "there are more than %d groups, or the group's name has more than 63 bytes", GROUPS_MAX);
        return NULL;
    }
    struct group *g = &r->group[r->n_groups++];
    *g = (struct group){.sample = sample};
    (void)snprintf(g->name, sizeof g->name, "%.*s", ASSAY_FMT(name));
    const char *dir = sample || slash == NULL ? "data/" : "data/secret/";
    (void)snprintf(g->dir, sizeof g->dir, "%s%.*s/", dir, ASSAY_FMT(name));
    return g;
}

static const struct package_file *beside(struct reading *r, const struct package_file *f, const char *ending)
{
    char path[PACKAGE_PATH_MAX + 20];
    (void)snprintf(path, sizeof path, "%.*s%s", (int)(f->path.n - 3), f->path.p, ending);
    return package_find(r->p, path);
}

static void write_test(struct reading *r, struct assay_jw *w, const struct package_file *f)
{
    struct group *g = group_of(r, f);
    const struct package_file *ans = beside(r, f, ".ans"), *own = beside(r, f, ".yaml");
    if (g == NULL)
        return;
    if (ans == NULL) {
        package_fault(r->p, f->path.p, 0, "has no .ans beside it");
        return;
    }
    if (!text_ok(r, f) || !text_ok(r, ans))
        return;
    g->tests++;
    r->n_tests++;
    assay_jw_object(w);
    assay_jw_kstr(w, "name", (struct assay_str){f->path.p + 5, f->path.n - 8}); /* without data/ and .in */
    assay_jw_kstr(w, "input", f->bytes);
    assay_jw_kstr(w, "expected_output", ans->bytes);
    if (g->sample)
        assay_jw_kbool(w, "sample", true);
    if (r->scoring)
        assay_jw_kz(w, "group", g->name);
    YAML_CLEANUP struct yaml *y = own != NULL ? yaml_load(r->p, own) : NULL;
    struct yaml_at args = y != NULL ? yaml_get(yaml_root(y), "args") : (struct yaml_at){NULL, 0};
    if (y != NULL && yaml_kind(args) != YAML_NOTHING) {
        struct assay_str word[32];
        size_t n = words(args, word, 32);
        assay_jw_key(w, "arguments");
        assay_jw_array(w);
        for (size_t i = 0; i < n; i++)
            assay_jw_str(w, word[i]);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

static void write_tests(struct reading *r, struct assay_jw *w)
{
    assay_jw_key(w, "tests");
    assay_jw_array(w);
    for (size_t i = 0; i < r->p->n; i++) {
        const struct package_file *f = &r->p->file[i];
        if (!under(f, "data/sample/") && !under(f, "data/secret/"))
            continue;
        if (assay_str_ends(f->path, ".in"))
            write_test(r, w, f);
        else if (assay_str_ends(f->path, ".ans") && f->path.n > 4) {
            char path[PACKAGE_PATH_MAX + 4];
            (void)snprintf(path, sizeof path, "%.*s.in", (int)(f->path.n - 4), f->path.p);
            if (package_find(r->p, path) == NULL)
                package_fault(r->p, f->path.p, 0, "has no .in beside it");
        }
    }
    assay_jw_end(w);
    if (r->n_tests == 0)
        package_fault(r->p, "data", 0, "holds no test: data/sample and data/secret have files NAME.in and NAME.ans");
}

static void write_groups(struct reading *r, struct assay_jw *w)
{
    assay_jw_key(w, "groups");
    assay_jw_array(w);
    for (size_t i = 0; r->scoring && i < r->n_groups; i++) {
        struct group *g = &r->group[i];
        read_group(r, g);
        assay_jw_object(w);
        assay_jw_kz(w, "name", g->name);
        assay_jw_kz(w, "aggregation", g->aggregation);
        if (g->points >= 0)
            assay_jw_kreal(w, "points", g->points);
        if (g->stop >= 0)
            assay_jw_kbool(w, "stop_on_failure", g->stop != 0);
        if (g->sample)
            assay_jw_kbool(w, "sample", true);
        assay_jw_key(w, "depends_on");
        assay_jw_array(w);
        for (size_t k = 0; k < g->n_needs; k++)
            assay_jw_z(w, g->needs[k]);
        assay_jw_end(w);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

int package_translate(struct package *p, struct assay_str id, bool whole, struct assay_jw *w, struct assay_err *err)
{
    const struct package_file *file = package_find(p, "problem.yaml");
    if (file == NULL) {
        package_fault(p, "problem.yaml", 0, "is missing: a package has it at its top, or in the one folder that holds everything");
        return assay_err_set(err, ASSAY_E_INVALID, "this is no problem package");
    }
    YAML_CLEANUP struct yaml *y = yaml_load(p, file);
    struct reading *r = y != NULL ? assay_arena_alloc(p->arena, sizeof *r) : NULL;
    if (y != NULL && r == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (r == NULL)
        return package_end(p, err);
    r->p = p;
    r->problem = y;
    check_keys(r);
    read_kind(r);
    assay_jw_object(w);
    if (id.n != 0)
        assay_jw_kstr(w, "id", id);
    write_name(r, w);
    if (whole) {
        assay_jw_kz(w, "visibility", "private");
        assay_jw_kz(w, "feedback", "samples");
    }
    write_statement(r, w);
    write_limits(r, w);
    assay_jw_kbool(w, "stop_on_failure", !r->scoring);
    if (r->custom)
        write_checker(r, w);
    else
        write_comparison(r, w);
    write_tests(r, w);
    write_groups(r, w);
    assay_jw_end(w);
    return package_end(p, err);
}
