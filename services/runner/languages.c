/*
 * Languages are data: one JSON file each, no code.
 *
 * What a file's tools are is found where its boxes stand (environment.c asks a warden), and resolved to the
 * real ELF file: a version manager's shim is a shell script that starts a shell that starts the program
 * (six times the cost).  A tool named by an absolute path is pinned: that file or none.  Then each language
 * is tried in a box with its own sample; only after that it is offered (lease.c runs the sample,
 * finish.c offers).
 *
 * A language's builds and its tests may stand in different environments.  What is found is kept for
 * each side, and belongs to the loop's thread.
 */
#include "local.h"

#include <stdio.h>

#include <assay/warden_wire.h>

#define LANGUAGES_MAX 64
#define MIB ((int64_t)1 << 20)

static bool says_warm(const struct stage *stage)
{
    const struct assay_strs *list[] = {&stage->argv, &stage->env};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < list[k]->n; i++) {
            if (memmem(list[k]->items[i].p, list[k]->items[i].n, "{warm}", 6) != NULL)
                return true;
        }
    }
    return false;
}

static void language_from(struct language *l, const struct language_file *f)
{
    l->name = f->name;
    l->title = f->title;
    l->source = f->source;
    l->unit = f->unit;
    l->aliases = f->aliases;
    l->extensions = f->extensions;
    l->builds = f->has_build;
    l->build = (struct stage){.argv = f->build.argv, .env = f->build.env};
    l->build.limits.processes = f->build.processes;
    l->build.limits.scratch_files = f->build.scratch_files;
    l->artefacts = f->build.artefacts;
    l->run = (struct stage){.argv = f->run.argv, .env = f->run.env};
    l->run.limits.processes = f->run.processes;
    l->run.limits.open_files = f->run.open_files;
    l->version = (struct stage){.argv = f->version};
    l->warms = f->has_warm;
    l->warm = (struct stage){.argv = f->warm.argv, .env = f->warm.env};
    l->warm.limits.processes = f->warm.processes;
    l->warm.limits.scratch_files = f->warm.scratch_files;
    l->warm_files = f->warm.files;
    l->warm_artefacts = f->warm.artefacts;
    l->build.warm = says_warm(&l->build);
    l->run.warm = says_warm(&l->run);
    l->check = (struct stage){.argv = f->load_error.check};
    l->signatures = (struct signatures){.oom = f->memory_error.oom,
                                        .load_exit = f->load_error.exit_code,
                                        .load_prefix = f->load_error.stderr_prefix,
                                        .load_last = f->load_error.last_line};
    l->forks = f->warm_start != 0;
    l->heap_percent = f->heap.percent != 0 ? f->heap.percent : 100;
    l->heap_reserve_mb = f->heap.reserve_mb;
    l->time_factor = f->factors.time > 0 ? f->factors.time : 1;
    l->memory_factor = f->factors.memory > 0 ? f->factors.memory : 1;
    l->memory_extra = f->factors.memory_extra_mb * MIB;
    l->sample_source = f->sample.source;
    l->sample_input = f->sample.input;
    l->sample_output = f->sample.output;
    l->tools = f->tools;
    l->options = f->options;
    l->image = f->image;
    l->run_image = f->run_image;
}

static bool mentions(const struct assay_strs *text, struct assay_str name)
{
    char word[80];
    int n = snprintf(word, sizeof word, "{%.*s}", ASSAY_FMT(name));
    for (size_t i = 0; i < text->n; i++) {
        if (memmem(text->items[i].p, text->items[i].n, word, (size_t)n) != NULL)
            return true;
    }
    return false;
}

/* Whether the boxes of that side start the tool. */
static bool needs(const struct language *l, enum side side, struct assay_str tool)
{
    const struct stage *run[] = {&l->run, &l->check, l->builds ? NULL : &l->version};
    const struct stage *build[] = {&l->build, &l->version, NULL};
    const struct stage *const *stage = side == SIDE_BUILD ? build : run;
    for (size_t i = 0; i < 3; i++) {
        if (stage[i] != NULL && (mentions(&stage[i]->argv, tool) || mentions(&stage[i]->env, tool)))
            return true;
    }
    return false;
}

static bool same_tools(const struct assay_json_map *map, const struct assay_box_found *list, size_t n)
{
    bool same = map->n == n;
    for (size_t i = 0; same && i < n; i++)
        same = assay_str_eq(map->items[i].value, list[i].path);
    return same;
}

/* What was found before stays where it is, since a worker may read it; an environment seldom changes. */
int language_found(struct languages *all, struct language *l, enum side side, const struct assay_box_found *list, size_t n,
                   struct assay_err *err)
{
    bool same = same_tools(&l->found[side], list, n);
    struct assay_json_pair *pair = same ? l->found[side].items : assay_arena_array(all->arena, n + 1, sizeof *pair);
    bool ok = pair != NULL && n == l->tools.n;
    l->lacks[side][0] = '\0';
    for (size_t i = 0; ok && i < n; i++) {
        if (!same)
            pair[i] = (struct assay_json_pair){l->tools.items[i].key,
                                               list[i].path.n != 0 ? assay_arena_str(all->arena, list[i].path) : ASSAY_STR("")};
        ok = pair[i].value.p != NULL;
        if (list[i].path.n == 0 && l->lacks[side][0] == '\0' && needs(l, side, pair[i].key))
            snprintf(l->lacks[side], sizeof l->lacks[side], "%.*s", ASSAY_FMT(list[i].why));
    }
    if (!ok)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the tools of a language");
    pthread_mutex_lock(&l->lock);
    l->found[side] = (struct assay_json_map){pair, n};
    pthread_mutex_unlock(&l->lock);
    return ASSAY_OK;
}

struct assay_json_map language_tools(struct language *l, enum side side)
{
    pthread_mutex_lock(&l->lock);
    struct assay_json_map map = l->found[side];
    pthread_mutex_unlock(&l->lock);
    return map;
}

void language_settle(struct language *l, enum language_state state, const char *version, const char *reason)
{
    pthread_mutex_lock(&l->lock);
    if (version != NULL)
        snprintf(l->version_text, sizeof l->version_text, "%s", version);
    if (reason != NULL)
        snprintf(l->reason, sizeof l->reason, "%s", reason);
    pthread_mutex_unlock(&l->lock);
    atomic_store(&l->state, (int)state);
}

static bool has_name(const struct language *l, struct assay_str name)
{
    char z[80];
    if (name.n == 0 || name.n >= sizeof z)
        return false;
    memcpy(z, name.p, name.n);
    z[name.n] = '\0';
    if (assay_str_ieq(l->name, z))
        return true;
    for (size_t i = 0; i < l->aliases.n; i++) {
        if (assay_str_ieq(l->aliases.items[i], z))
            return true;
    }
    return false;
}

struct language *languages_find(const struct languages *l, struct assay_str name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (has_name(&l->list[i], name))
            return &l->list[i];
    }
    return NULL;
}

static int load_one(const char *path, void *arg, struct assay_err *err)
{
    struct languages *out = arg;
    struct assay_str text;
    struct language_file file;
    struct assay_json_faults *faults = assay_arena_alloc(out->arena, sizeof *faults);
    if (faults == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    memset(&file, 0, sizeof file);
    int rc = definition_read(path, out->arena, &text, err);
    if (rc < 0)
        return rc;
    rc = assay_json_decode(text, language_fields, &file, NULL, out->arena, faults, err);
    if (rc == ASSAY_E_INVALID && faults->n != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: %.*s: %.*s", path, ASSAY_FMT(faults->item[0].pointer),
                             ASSAY_FMT(faults->item[0].detail));
    if (rc < 0)
        return assay_err_prefix(err, "%s", path);
    struct language *l = NULL;
    for (size_t i = 0; i < out->n; i++) { /* a later folder's file replaces an earlier one of that name */
        if (assay_str_eq(out->list[i].name, file.name))
            l = &out->list[i];
    }
    if (l == NULL) {
        for (size_t i = 0; i <= file.aliases.n; i++) {
            struct assay_str name = i < file.aliases.n ? file.aliases.items[i] : file.name;
            const struct language *other = languages_find(out, name);
            if (other != NULL)
                return assay_err_set(err, ASSAY_E_CONFIG, "%s: \"%.*s\" is a name of %.*s already", path, ASSAY_FMT(name),
                                     ASSAY_FMT(other->name));
        }
        if (out->n == LANGUAGES_MAX)
            return assay_err_set(err, ASSAY_E_CONFIG, "more than %d languages", LANGUAGES_MAX);
        l = &out->list[out->n++];
        pthread_mutex_init(&l->lock, NULL);
    }
    atomic_store(&l->state, LANGUAGE_UNTESTED);
    language_from(l, &file);
    if (l->unit.n == 0)
        l->unit = assay_arena_fmt(out->arena, "solution%.*s", ASSAY_FMT(l->extensions.items[0]));
    if (l->unit.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (assay_str_eq(l->unit, l->source) || memchr(l->unit.p, '/', l->unit.n) != NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s: /unit: must be a file's name, and not that of source", path);
    return options_check_file(l, path, err);
}

int languages_load(const char *const *dirs, struct languages *out, struct assay_err *err)
{
    out->arena = assay_arena_new(0);
    out->list = out->arena != NULL ? assay_arena_array(out->arena, LANGUAGES_MAX, sizeof *out->list) : NULL;
    out->n = 0;
    if (out->list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    return definitions_each(dirs, "languages", load_one, out, err);
}

void languages_free(struct languages *l)
{
    for (size_t i = 0; i < l->n; i++)
        pthread_mutex_destroy(&l->list[i].lock);
    assay_arena_free(l->arena);
    *l = (struct languages){.arena = NULL};
}

/* ---- command lines ---------------------------------------------------------------------------------- */

static bool has_extension(const struct language *l, struct assay_str path)
{
    for (size_t i = 0; i < l->extensions.n; i++) {
        struct assay_str e = l->extensions.items[i];
        if (path.n > e.n && memcmp(path.p + path.n - e.n, e.p, e.n) == 0)
            return true;
    }
    return false;
}

/* The length of the name in "{name}" at p, 0 when it is none: other braces are just text, as one-line programs have them. */
static size_t name_length(const char *p, size_t n)
{
    size_t i = 1;
    while (i < n && ((p[i] >= 'a' && p[i] <= 'z') || (i > 1 && ((p[i] >= '0' && p[i] <= '9') || p[i] == '_'))))
        i++;
    return n != 0 && p[0] == '{' && i < n && p[i] == '}' ? i - 1 : 0;
}

/* "{name}" becomes its value; a text without one is itself. */
static int expand_word(struct language *l, enum side side, struct assay_str word, int64_t memory_bytes, struct assay_arena *arena,
                       struct assay_str *out, struct assay_err *err)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    int64_t memory_mb = memory_bytes / MIB;
    int64_t heap_mb = memory_mb * l->heap_percent / 100 - l->heap_reserve_mb;
    if (heap_mb < 8)
        heap_mb = 8;
    size_t i = 0;
    while (i < word.n) {
        struct assay_str name = {word.p + i + 1, name_length(word.p + i, word.n - i)};
        if (name.n == 0) {
            assay_buf_putc(&b, word.p[i++]);
            continue;
        }
        i += name.n + 2;
        if (assay_str_is(name, "source")) {
            assay_buf_str(&b, l->source);
        } else if (assay_str_is(name, "artefact")) {
            assay_buf_puts(&b, ARTEFACT_DIR);
        } else if (assay_str_is(name, "warm")) {
            assay_buf_puts(&b, ASSAY_WARDEN_WARM);
        } else if (assay_str_is(name, "memory_mb")) {
            assay_buf_fmt(&b, "%lld", (long long)memory_mb);
        } else if (assay_str_is(name, "heap_mb")) {
            assay_buf_fmt(&b, "%lld", (long long)heap_mb);
        } else {
            const struct assay_json_pair *tool = NULL;
            struct assay_json_map found = language_tools(l, side);
            for (size_t k = 0; k < found.n; k++) {
                if (assay_str_eq(found.items[k].key, name))
                    tool = &found.items[k];
            }
            if (tool == NULL) {
                assay_buf_free(&b);
                return assay_err_set(err, ASSAY_E_CONFIG, "language %.*s: {%.*s} stands for nothing", ASSAY_FMT(l->name),
                                     ASSAY_FMT(name));
            }
            assay_buf_str(&b, tool->value);
        }
    }
    *out = b.n != 0 ? assay_arena_take(arena, &b) : ASSAY_STR("");
    bool failed = b.failed || out->p == NULL;
    assay_buf_free(&b);
    return failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

int stage_expand(struct language *l, enum side side, const struct assay_strs *in, const struct assay_str *files, size_t n_files,
                 const struct assay_strs *options, int64_t memory_bytes, struct assay_arena *arena, struct assay_strs *out,
                 struct assay_err *err)
{
    struct assay_str *item = assay_arena_array(arena, in->n + n_files + OPTIONS_GROUPS_MAX + 1, sizeof *item);
    if (item == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    size_t n = 0;
    for (size_t i = 0; i < in->n; i++) {
        if (assay_str_is(in->items[i], "{sources}")) { /* every file that the compiler is to be given */
            for (size_t k = 0; k < n_files; k++) {
                if (has_extension(l, files[k]))
                    item[n++] = files[k];
            }
            continue;
        }
        if (assay_str_is(in->items[i], "{options}")) {
            for (size_t k = 0; k < options->n; k++)
                item[n++] = options->items[k];
            continue;
        }
        int rc = expand_word(l, side, in->items[i], memory_bytes, arena, &item[n], err);
        if (rc < 0)
            return rc;
        n++;
    }
    *out = (struct assay_strs){item, n};
    return ASSAY_OK;
}
