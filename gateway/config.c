/*
 * Theory of operation.  Rows are borrowed from the tables; an entry adds the value in two forms, the
 * normalised text and the number, and the place it came from.  Entries are kept sorted by name; there
 * are a few hundred, and a lookup is a binary search.
 *
 * Resolving goes from the weakest source to the strongest (defaults, file, environment, flags), each
 * overwriting the one before, so "who wins" is the order of four calls.  A source that gives the same
 * name twice is a fault of that source, not a last-one-wins.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include <assay/json.h>
#include <assay/value.h>

#define NAME_MAX_BYTES 64
#define VALUE_MAX_BYTES 4096
#define PROBLEMS_MAX 50

struct entry {
    struct assay_option opt; /* the row, zero-extended to this program's layout */
    const char *owner;
    char *text; /* normalised; owned */
    int64_t number;
    enum assay_config_source source;
    char *origin; /* owned; NULL: the default */
    bool taken;   /* already given by the source being read */
};

struct assay_config {
    struct entry *entry;
    size_t n, room;
    struct assay_buf problems;
    size_t n_problems;
};

/* Variables that carry our prefix and are not the server's: the client and the tests read them. */
static const char *const foreign_env[] = {
    "ASSAY_URL", "ASSAY_CA", "ASSAY_TOKEN", "ASSAY_LOGIN", "ASSAY_PASSWORD", "ASSAY_CLI_CONFIG", NULL,
};
static const char foreign_prefix[] = "ASSAY_TEST_";

struct assay_config *assay_config_new(void)
{
    struct assay_config *c = calloc(1, sizeof *c);
    if (c != NULL)
        assay_buf_init(&c->problems, (size_t)1 << 20);
    return c;
}

static void forget(struct entry *e)
{
    if (e->text != NULL && (e->opt.flags & ASSAY_OPT_SECRET) != 0)
        explicit_bzero(e->text, strlen(e->text));
    free(e->text);
    free(e->origin);
    e->text = NULL;
    e->origin = NULL;
    e->number = 0;
    e->source = ASSAY_CONFIG_DEFAULT;
}

void assay_config_free(struct assay_config *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n; i++)
        forget(&c->entry[i]);
    free(c->entry);
    assay_buf_free(&c->problems);
    free(c);
}

static void problem(struct assay_config *c, const char *fmt, ...) ASSAY_PRINTF(2, 3);
static void problem(struct assay_config *c, const char *fmt, ...)
{
    char line[600];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (c->n_problems++ >= PROBLEMS_MAX)
        return;
    assay_buf_puts(&c->problems, line);
    assay_buf_putc(&c->problems, '\n');
}

const char *assay_config_problems(const struct assay_config *c)
{
    return c->problems.p != NULL ? c->problems.p : "";
}

static struct entry *find(const struct assay_config *c, const char *name)
{
    size_t lo = 0, hi = c->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int d = strcmp(c->entry[mid].opt.name, name);
        if (d == 0)
            return &c->entry[mid];
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool has_control(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f)
            return true;
    return false;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t n = strlen(text);
    for (const char *p = choices; p != NULL && *p != '\0';) {
        size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, text, n) == 0)
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}

/* A secret's text is never part of a message. */
static int parse_value(const struct assay_option *o, const char *text, int64_t *number, struct assay_err *err)
{
    const struct assay_str s = assay_str(text);
    const bool secret = (o->flags & ASSAY_OPT_SECRET) != 0;
    int64_t v = 0;
    int rc = 0;
    bool flag = false;
    if (s.n > VALUE_MAX_BYTES)
        return assay_err_set(err, ASSAY_E_CONFIG, "is longer than %d bytes", VALUE_MAX_BYTES);
    if (has_control(text) || !assay_utf8_valid(s))
        return assay_err_set(err, ASSAY_E_CONFIG, "holds a control character or is not UTF-8");
    switch (o->type) {
    case ASSAY_OPT_STRING:
        if (o->max > 0 && ((int64_t)s.n > o->max || (int64_t)s.n < o->min))
            return assay_err_set(err, ASSAY_E_CONFIG, "must have %lld to %lld bytes, has %zu", (long long)o->min,
                                 (long long)o->max, s.n);
        *number = 0;
        return 0;
    case ASSAY_OPT_CHOICE:
        if (!is_choice(o->choices, text))
            return assay_err_set(err, ASSAY_E_CONFIG, "must be one of %s, not \"%.64s\"", o->choices, text);
        *number = 0;
        return 0;
    case ASSAY_OPT_INT:
        rc = assay_parse_i64(s, INT64_MIN, INT64_MAX, &v, NULL);
        if (rc != 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "must be a whole number, not \"%.64s\"", secret ? "…" : text);
        break;
    case ASSAY_OPT_BOOL:
        rc = assay_parse_bool(s, &flag, NULL);
        if (rc != 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "must be true or false, not \"%.64s\"", secret ? "…" : text);
        *number = flag;
        return 0;
    case ASSAY_OPT_DURATION:
        rc = assay_parse_duration_ms(s, o->bare_unit_ms > 0 ? o->bare_unit_ms : 1000, &v, NULL);
        if (rc != 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "must be a duration such as 500ms, 5s or 2m30s, not \"%.64s\"",
                                 secret ? "…" : text);
        break;
    case ASSAY_OPT_BYTES:
        rc = assay_parse_bytes(s, &v, NULL);
        if (rc != 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "must be a size such as 4096, 256m or 1g, not \"%.64s\"",
                                 secret ? "…" : text);
        break;
    default:
        return assay_err_set(err, ASSAY_E_CONFIG, "has an unknown type");
    }
    if ((o->min != 0 || o->max != 0) && (v < o->min || v > o->max)) {
        const char *unit = o->type == ASSAY_OPT_DURATION ? " ms" : o->type == ASSAY_OPT_BYTES ? " bytes" : "";
        return assay_err_set(err, ASSAY_E_CONFIG, "must lie between %lld and %lld%s, is %lld", (long long)o->min,
                             (long long)o->max, unit, (long long)v);
    }
    *number = v;
    return 0;
}

static int assign(struct entry *e, const char *text, enum assay_config_source source, const char *origin,
                  struct assay_err *err)
{
    int64_t number = 0;
    int rc = parse_value(&e->opt, text, &number, err);
    if (rc != 0)
        return rc;
    char *t = strdup(text), *o = origin != NULL ? strdup(origin) : NULL;
    if (t == NULL || (origin != NULL && o == NULL)) {
        free(t);
        free(o);
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    }
    forget(e);
    e->text = t;
    e->origin = o;
    e->number = number;
    e->source = source;
    return 0;
}

/* ---- the table ------------------------------------------------------------------------------- */

static bool good_name(const char *name)
{
    if (name == NULL || !islower((unsigned char)name[0]) || strlen(name) > NAME_MAX_BYTES)
        return false;
    for (const char *p = name; *p != '\0'; p++)
        if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '_')
            return false;
    return true;
}

/* The i-th of the comma-separated older names, into out; false past the last. */
static bool older_name(const char *list, size_t i, char out[NAME_MAX_BYTES + 1])
{
    for (const char *p = list; p != NULL && *p != '\0';) {
        size_t len = strcspn(p, ",");
        if (i-- == 0) {
            if (len > NAME_MAX_BYTES)
                len = NAME_MAX_BYTES;
            memcpy(out, p, len);
            out[len] = '\0';
            return true;
        }
        p += len + (p[len] == ',');
    }
    return false;
}

static struct entry *find_older(const struct assay_config *c, const char *env_name)
{
    char older[NAME_MAX_BYTES + 1];
    for (size_t i = 0; i < c->n; i++)
        for (size_t k = 0; older_name(c->entry[i].opt.env, k, older); k++)
            if (strcmp(older, env_name) == 0)
                return &c->entry[i];
    return NULL;
}

static int add_row(struct assay_config *c, const char *owner, const struct assay_option *row, uint32_t stride,
                   struct assay_err *err)
{
    struct entry e = {.owner = owner};
    memcpy(&e.opt, row, stride < sizeof e.opt ? stride : sizeof e.opt);
    if (!good_name(e.opt.name))
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: option name \"%.64s\" is not [a-z][a-z0-9_]*, at most %d long",
                             owner, e.opt.name != NULL ? e.opt.name : "", NAME_MAX_BYTES);
    struct entry *other = find(c, e.opt.name);
    /* A driver may list a row of the core that it reads, so that it can be tested by itself. */
    if (other != NULL && strcmp(other->owner, "core") == 0 && other->opt.type == e.opt.type &&
        strcmp(other->opt.default_text, e.opt.default_text != NULL ? e.opt.default_text : "") == 0)
        return 0;
    if (other != NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "option %s is declared by both %s and %s", e.opt.name, other->owner,
                             owner);
    if (e.opt.help == NULL || e.opt.help[0] == '\0')
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: option %s has no help text", owner, e.opt.name);
    if (e.opt.type == ASSAY_OPT_CHOICE && (e.opt.choices == NULL || e.opt.choices[0] == '\0'))
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: option %s has no choices", owner, e.opt.name);
    if (e.opt.min > e.opt.max)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: option %s has bounds the wrong way round", owner, e.opt.name);
    char older[NAME_MAX_BYTES + 1];
    for (size_t k = 0; older_name(e.opt.env, k, older); k++)
        if ((other = find_older(c, older)) != NULL)
            return assay_err_set(err, ASSAY_E_CONFIG, "variable %s belongs to both option %s (%s) and option %s (%s)",
                                 older, other->opt.name, other->owner, e.opt.name, owner);
    if (e.opt.default_text == NULL)
        e.opt.default_text = "";
    /* an unset string need not meet its bounds */
    if (e.opt.type != ASSAY_OPT_STRING || e.opt.default_text[0] != '\0') {
        struct assay_err why;
        int64_t ignored;
        if (parse_value(&e.opt, e.opt.default_text, &ignored, &why) != 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "%s: the default of option %s %s", owner, e.opt.name, why.msg);
        e.number = ignored;
    }
    if (c->n == c->room) {
        size_t room = c->room ? c->room * 2 : 64;
        struct entry *grown = reallocarray(c->entry, room, sizeof *grown);
        if (grown == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        c->entry = grown;
        c->room = room;
    }
    size_t i = c->n;
    while (i > 0 && strcmp(c->entry[i - 1].opt.name, e.opt.name) > 0)
        i--;
    memmove(&c->entry[i + 1], &c->entry[i], (c->n - i) * sizeof *c->entry);
    c->entry[i] = e;
    c->n++;
    return 0;
}

int assay_config_add(struct assay_config *c, const char *owner, const struct assay_table *options,
                     struct assay_err *err)
{
    /* what the first version of a row had */
    if (options->count > 0 && !ASSAY_ROW_COVERS(options, struct assay_option, bare_unit_ms))
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: its option rows are %u bytes, too few", owner, options->stride);
    for (uint32_t i = 0; i < options->count; i++) {
        int rc = add_row(c, owner, assay_table_row(options, i), options->stride, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- the nearest name ------------------------------------------------------------------------ */

/* Optimal string alignment distance (Damerau 1964): insertions, deletions, substitutions and swaps of
 * neighbours cost 1.  Names are at most NAME_MAX_BYTES, so three rows on the stack do. */
static size_t distance(const char *a, const char *b)
{
    size_t row[3][NAME_MAX_BYTES + 2];
    size_t n = strlen(a), m = strlen(b);
    if (n > NAME_MAX_BYTES || m > NAME_MAX_BYTES)
        return SIZE_MAX;
    size_t *before = row[0], *last = row[1], *now = row[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    memcpy(before, last, sizeof row[0]);
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < d)
                d = last[j] + 1;
            if (now[j - 1] + 1 < d)
                d = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < d)
                d = before[j - 2] + 1;
            now[j] = d;
        }
        size_t *t = before;
        before = last;
        last = now;
        now = t;
    }
    return last[m];
}

static const char *nearest(const struct assay_config *c, const char *name)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < c->n; i++) {
        size_t d = distance(name, c->entry[i].opt.name);
        if (d < least) {
            least = d;
            best = c->entry[i].opt.name;
        }
    }
    return best != NULL ? best : "";
}

static void spell_flag(const char *name, char out[NAME_MAX_BYTES + 3])
{
    size_t i = 0;
    out[i++] = '-';
    out[i++] = '-';
    for (; *name != '\0' && i < NAME_MAX_BYTES + 2; name++)
        out[i++] = *name == '_' ? '-' : *name;
    out[i] = '\0';
}

static void spell_env(const char *name, char out[NAME_MAX_BYTES + 7])
{
    size_t i = 6;
    memcpy(out, "ASSAY_", 6);
    for (; *name != '\0' && i < NAME_MAX_BYTES + 6; name++)
        out[i++] = (char)toupper((unsigned char)*name);
    out[i] = '\0';
}

/* ---- sources --------------------------------------------------------------------------------- */

static void begin_source(struct assay_config *c)
{
    for (size_t i = 0; i < c->n; i++)
        c->entry[i].taken = false;
}

static void give(struct assay_config *c, struct entry *e, const char *text, enum assay_config_source source,
                 const char *origin, const char *shown)
{
    struct assay_err err;
    if (e->taken) {
        problem(c, "%s: %s is given twice", origin, shown);
        return;
    }
    e->taken = true;
    if (assign(e, text, source, origin, &err) != 0)
        problem(c, "%s%s%s %s", source == ASSAY_CONFIG_FILE ? origin : "", source == ASSAY_CONFIG_FILE ? ": " : "",
                shown, err.msg);
}

struct reading {
    struct assay_config *c;
    const char *path;
    FILE *file;
    int line;
    bool lenient;
    bool too_long, has_nul;
};

/* inih reads lines into a buffer of its own size and would take the rest of a longer one for a new
 * line, so length is checked here. */
static char *read_line(char *into, int room, void *stream)
{
    struct reading *r = stream;
    if (room < 2 || fgets(into, room, r->file) == NULL)
        return NULL;
    r->line++;
    size_t n = strlen(into);
    if (n > 0 && into[n - 1] != '\n' && !feof(r->file)) {
        int ch = fgetc(r->file);
        if (ch != EOF && ch != '\n') {
            problem(r->c, "%s:%d: the line is longer than %d bytes (or holds a NUL): name a file or use the environment",
                    r->path, r->line, room - 2);
            while (ch != EOF && ch != '\n')
                ch = fgetc(r->file);
            into[0] = '\n'; /* a cut value must not be taken */
            into[1] = '\0';
        }
    }
    return into;
}

static int on_key(void *arg, const char *section, const char *key, const char *value)
{
    struct reading *r = arg;
    char name[NAME_MAX_BYTES * 2 + 2], origin[4400];
    (void)snprintf(name, sizeof name, "%.64s%s%.64s", section, section[0] != '\0' ? "_" : "", key);
    (void)snprintf(origin, sizeof origin, "%s:%d", r->path, r->line);
    struct entry *e = find(r->c, name);
    if (e != NULL && strcmp(name, "config") == 0)
        problem(r->c, "%s: config cannot be set in the file itself", origin);
    else if (e != NULL)
        give(r->c, e, value != NULL ? value : "", ASSAY_CONFIG_FILE, origin, name);
    else if (!r->lenient)
        problem(r->c, "%s: there is no option %s; the nearest is %s", origin, name, nearest(r->c, name));
    return 1;
}

static void from_file(struct assay_config *c, const char *path, bool lenient)
{
    struct reading r = {.c = c, .path = path, .lenient = lenient, .file = fopen(path, "re")};
    if (r.file == NULL) {
        problem(c, "cannot read the configuration file %s: %s", path, strerror(errno));
        return;
    }
    begin_source(c);
    int line = ini_parse_stream(read_line, &r, on_key, &r);
    if (line > 0)
        problem(c, "%s:%d: not \"name = value\", \"[section]\" or a comment", path, line);
    else if (line < 0 || ferror(r.file))
        problem(c, "cannot read the configuration file %s", path);
    (void)fclose(r.file);
}

static const char *env_get(char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (; env != NULL && *env != NULL; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

/* An empty variable counts as unset: compose files write NAME=${NAME:-}. */
static void from_env(struct assay_config *c, char *const *env, bool lenient)
{
    begin_source(c);
    for (size_t i = 0; i < c->n; i++) {
        struct entry *e = &c->entry[i];
        char name[NAME_MAX_BYTES + 7], older[NAME_MAX_BYTES + 1];
        spell_env(e->opt.name, name);
        const char *value = env_get(env, name);
        if (value != NULL && value[0] != '\0') {
            give(c, e, value, ASSAY_CONFIG_ENV, name, name);
            continue;
        }
        for (size_t k = 0; older_name(e->opt.env, k, older); k++) {
            value = env_get(env, older);
            if (value != NULL && value[0] != '\0') {
                give(c, e, value, ASSAY_CONFIG_ENV, older, older);
                break;
            }
        }
    }
    for (; !lenient && env != NULL && *env != NULL; env++) {
        char name[NAME_MAX_BYTES * 2];
        size_t n = strcspn(*env, "=");
        if (strncmp(*env, "ASSAY_", 6) != 0 || strncmp(*env, foreign_prefix, sizeof foreign_prefix - 1) == 0)
            continue;
        if (n >= sizeof name)
            n = sizeof name - 1;
        memcpy(name, *env, n);
        name[n] = '\0';
        bool known = false;
        for (size_t i = 0; foreign_env[i] != NULL; i++)
            known = known || strcmp(name, foreign_env[i]) == 0;
        char option[NAME_MAX_BYTES * 2];
        for (size_t i = 6; i <= n; i++)
            option[i - 6] = (char)tolower((unsigned char)name[i]);
        /* the reverse spelling must match too: ASSAY_http_port is not ours to read */
        char spelt[NAME_MAX_BYTES + 7];
        if (!known && find(c, option) != NULL) {
            spell_env(option, spelt);
            known = strcmp(spelt, name) == 0;
        }
        if (!known && find_older(c, name) == NULL) {
            spell_env(nearest(c, option), spelt);
            problem(c, "there is no option for the variable %s; the nearest is %s", name, spelt);
        }
    }
}

static void from_flags(struct assay_config *c, char *const *flags, bool lenient)
{
    begin_source(c);
    for (; flags != NULL && *flags != NULL; flags++) {
        const char *arg = *flags;
        if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0') {
            if (!lenient)
                problem(c, "\"%.64s\" is not an option: options are --name=value; see --help", arg);
            continue;
        }
        char name[NAME_MAX_BYTES + 1], shown[NAME_MAX_BYTES + 3];
        size_t n = strcspn(arg + 2, "=");
        const char *value = arg[2 + n] == '=' ? arg + 2 + n + 1 : NULL;
        if (n > NAME_MAX_BYTES)
            n = NAME_MAX_BYTES;
        for (size_t i = 0; i < n; i++)
            name[i] = arg[2 + i] == '-' ? '_' : arg[2 + i];
        name[n] = '\0';
        (void)snprintf(shown, sizeof shown, "%.*s", (int)(n + 2), arg);
        struct entry *e = find(c, name);
        if (e == NULL && value == NULL && strncmp(name, "no_", 3) == 0) {
            e = find(c, name + 3);
            if (e != NULL && e->opt.type != ASSAY_OPT_BOOL)
                e = NULL;
            value = e != NULL ? "false" : NULL;
        }
        if (e == NULL) {
            if (!lenient) {
                char near[NAME_MAX_BYTES + 3];
                spell_flag(nearest(c, name), near);
                problem(c, "there is no option %s; the nearest is %s", shown, near);
                /* its value, most likely */
                if (value == NULL && flags[1] != NULL && strncmp(flags[1], "--", 2) != 0)
                    flags++;
            }
            continue;
        }
        if (value == NULL) {
            if (e->opt.type == ASSAY_OPT_BOOL) {
                value = "true";
            } else if (flags[1] != NULL) {
                value = *++flags;
            } else {
                problem(c, "%s needs a value", shown);
                break;
            }
        }
        give(c, e, value, ASSAY_CONFIG_FLAG, shown, shown);
    }
}

int assay_config_resolve(struct assay_config *c, const struct assay_config_input *in, struct assay_err *err)
{
    assay_buf_reset(&c->problems);
    if (c->problems.p != NULL)
        c->problems.p[0] = '\0';
    c->n_problems = 0;
    for (size_t i = 0; i < c->n; i++) {
        struct entry *e = &c->entry[i];
        forget(e);
        e->text = strdup(e->opt.default_text);
        if (e->text == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        if (e->opt.type != ASSAY_OPT_STRING && parse_value(&e->opt, e->text, &e->number, err) != 0)
            return assay_err_prefix(err, "the default of option %s", e->opt.name);
    }
    const char *file = in->file;
    if (file == NULL && find(c, "config") != NULL) {
        /* the file's name comes from the sources above it */
        from_env(c, in->env, true);
        from_flags(c, in->flags, true);
        assay_buf_reset(&c->problems);
        if (c->problems.p != NULL)
            c->problems.p[0] = '\0';
        c->n_problems = 0;
        file = assay_config_str(c, "config");
    }
    if (file != NULL && file[0] != '\0') {
        char *own = strdup(file);
        if (own == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        from_file(c, own, in->lenient);
        free(own);
    }
    from_env(c, in->env, in->lenient);
    from_flags(c, in->flags, in->lenient);
    if (c->n_problems == 0)
        return 0;
    const char *all = assay_config_problems(c);
    return assay_err_set(err, ASSAY_E_CONFIG, "%.*s", (int)strcspn(all, "\n"), all);
}

int assay_config_take(struct assay_config *c, const struct assay_options *o, struct assay_err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        struct entry *e = &c->entry[i];
        const char *text = assay_options_str(o, e->opt.name);
        if (text == NULL)
            return assay_err_set(err, ASSAY_E_CONFIG, "option %s did not come from the supervisor", e->opt.name);
        char *own = strdup(text);
        if (own == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        forget(e);
        e->text = own;
        e->number = assay_options_int(o, e->opt.name, 0);
    }
    return 0;
}

void assay_config_lines(const struct assay_config *c, bool secrets, struct assay_buf *out)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct entry *e = &c->entry[i];
        if (!secrets && (e->opt.flags & ASSAY_OPT_SECRET) != 0)
            continue;
        if (e->opt.type == ASSAY_OPT_STRING || e->opt.type == ASSAY_OPT_CHOICE)
            assay_buf_fmt(out, "%s=%s\n", e->opt.name, e->text != NULL ? e->text : "");
        else
            assay_buf_fmt(out, "%s=%lld\n", e->opt.name, (long long)e->number);
    }
}

int assay_config_set(struct assay_config *c, const char *name, const char *text, const char *origin,
                     struct assay_err *err)
{
    struct entry *e = find(c, name);
    if (e == NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "there is no option %s", name);
    if (assign(e, text, e->source, origin, err) != 0)
        return assay_err_prefix(err, "%s", name);
    return 0;
}

/* ---- getters --------------------------------------------------------------------------------- */

static const struct entry *must_find(const struct assay_config *c, const char *name)
{
    const struct entry *e = find(c, name);
    if (e == NULL) {
        /* a bug of the caller's: asking for a name that it has not declared */
        (void)fprintf(stderr, "assayd: option \"%s\" is read but not declared\n", name);
        abort();
    }
    return e;
}

bool assay_config_has(const struct assay_config *c, const char *name)
{
    return find(c, name) != NULL;
}

const char *assay_config_str(const struct assay_config *c, const char *name)
{
    const struct entry *e = must_find(c, name);
    return e->text != NULL ? e->text : "";
}

int64_t assay_config_int(const struct assay_config *c, const char *name)
{
    return must_find(c, name)->number;
}

enum assay_config_source assay_config_source(const struct assay_config *c, const char *name)
{
    return must_find(c, name)->source;
}

const char *assay_config_origin(const struct assay_config *c, const char *name)
{
    const struct entry *e = must_find(c, name);
    return e->origin != NULL ? e->origin : "default";
}

/* ---- showing --------------------------------------------------------------------------------- */

/* The value as it may be shown: a secret masked, a password inside a URL masked. */
static void shown_value(const struct entry *e, struct assay_buf *out)
{
    const char *text = e->text != NULL ? e->text : "";
    if ((e->opt.flags & ASSAY_OPT_SECRET) != 0) {
        assay_buf_puts(out, text[0] != '\0' ? "********" : "");
        return;
    }
    const char *host = strstr(text, "://");
    if (host != NULL) {
        host += 3;
        size_t authority = strcspn(host, "/?#");
        const char *at = memrchr(host, '@', authority);
        const char *colon = at != NULL ? memchr(host, ':', (size_t)(at - host)) : NULL;
        if (colon != NULL) {
            assay_buf_add(out, text, (size_t)(colon + 1 - text));
            assay_buf_puts(out, "********");
            text = at;
        }
    }
    assay_buf_puts(out, text);
}

int assay_config_dump(const struct assay_config *c, bool json, struct assay_buf *out, struct assay_err *err)
{
    static const char *const sources[] = {"default", "file", "environment", "flag"};
    ASSAY_CLEANUP_JW struct assay_jw *w = json ? assay_jw_new() : NULL;
    if (json && w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    if (json)
        assay_jw_array(w);
    for (size_t i = 0; i < c->n; i++) {
        const struct entry *e = &c->entry[i];
        const bool secret = (e->opt.flags & ASSAY_OPT_SECRET) != 0;
        const char *origin = e->origin != NULL ? e->origin : "default";
        ASSAY_CLEANUP_BUF struct assay_buf value = ASSAY_BUF_INIT;
        shown_value(e, &value);
        if (value.failed)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        if (json) {
            assay_jw_object(w);
            assay_jw_kz(w, "name", e->opt.name);
            assay_jw_kz(w, "owner", e->owner);
            assay_jw_kstr(w, "value", assay_buf_view(&value));
            assay_jw_kz(w, "source", sources[e->source]);
            assay_jw_kz(w, "origin", origin);
            assay_jw_kbool(w, "secret", secret);
            assay_jw_end(w);
        } else {
            /* what a file cannot say (a masked value, another file) is commented out, so that the text is one */
            bool masked = (secret && value.n > 0) || strcmp(e->opt.name, "config") == 0;
            size_t from = out->n;
            assay_buf_fmt(out, "%s%s = ", masked ? "; " : "", e->opt.name);
            assay_buf_str(out, assay_buf_view(&value));
            while (!out->failed && out->n - from < 44)
                assay_buf_putc(out, ' ');
            assay_buf_fmt(out, " ; %s\n", origin);
        }
    }
    if (json) {
        assay_jw_end(w);
        int rc = assay_jw_finish(w, out, err);
        if (rc != 0)
            return rc;
        assay_buf_putc(out, '\n');
    }
    return out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "out of memory") : 0;
}

static void help_owner(const struct assay_config *c, const char *owner, struct assay_buf *out)
{
    static const char *const types[] = {"TEXT", "NUMBER", "", "DURATION", "SIZE", ""};
    assay_buf_fmt(out, "\nOptions of %s:\n", owner);
    for (size_t i = 0; i < c->n; i++) {
        const struct entry *e = &c->entry[i];
        if (strcmp(e->owner, owner) != 0)
            continue;
        char flag[NAME_MAX_BYTES + 3];
        spell_flag(e->opt.name, flag);
        const char *kind = e->opt.type == ASSAY_OPT_CHOICE ? e->opt.choices : types[e->opt.type];
        assay_buf_fmt(out, "  %s%s%s\n      %s", flag, kind[0] != '\0' ? "=" : "", kind, e->opt.help);
        if (e->opt.default_text[0] != '\0')
            assay_buf_fmt(out, " Default: %s.", e->opt.default_text);
        if (e->opt.env != NULL && e->opt.env[0] != '\0')
            assay_buf_fmt(out, " Also read from: %s.", e->opt.env);
        assay_buf_putc(out, '\n');
    }
}

void assay_config_help(const struct assay_config *c, struct assay_buf *out)
{
    help_owner(c, "core", out);
    /* the owners in the order of their names, each once */
    const char *last = "";
    for (;;) {
        const char *next = NULL;
        for (size_t i = 0; i < c->n; i++) {
            const char *o = c->entry[i].owner;
            if (strcmp(o, "core") != 0 && strcmp(o, last) > 0 && (next == NULL || strcmp(o, next) < 0))
                next = o;
        }
        if (next == NULL)
            break;
        help_owner(c, next, out);
        last = next;
    }
}
