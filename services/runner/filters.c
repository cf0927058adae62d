/*
 * Filters: what processors' files say, and what requests may ask.
 *
 * A filter's parameters become a decoder's table (assay/json.h) when its file is read, so that a request is held to them as any other
 * body is to its own: every fault at once, each with its place.
 */
#include "filter.h"

#include <stdio.h>

/* ---- processors' files -------------------------------------------------------------------------------------------- */

#define ROW(st, name_, type_, member, ...)                                                                             \
    {                                                                                                                  \
        .name = (name_), .type = (type_), .offset = offsetof(struct st, member), .has_offset = -1, __VA_ARGS__         \
    }
#define END {.name = NULL}

static const char *const type_names[] = {"number", "integer", "boolean", "choice", NULL};
static const struct assay_json_field param_fields[] = {
    ROW(filter_param, "name", ASSAY_JSON_STRING, name, .flags = ASSAY_JSON_REQUIRED | ASSAY_JSON_SLUG, .min = 1, .max = 32),
    ROW(filter_param, "title", ASSAY_JSON_STRING, title, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 200),
    ROW(filter_param, "type", ASSAY_JSON_ENUM, type, .flags = ASSAY_JSON_REQUIRED, .names = type_names),
    {.name = "minimum", .type = ASSAY_JSON_REAL, .offset = offsetof(struct filter_param, minimum), .min = -1e15, .max = 1e15,
     .has_offset = offsetof(struct filter_param, has_minimum)},
    {.name = "maximum", .type = ASSAY_JSON_REAL, .offset = offsetof(struct filter_param, maximum), .min = -1e15, .max = 1e15,
     .has_offset = offsetof(struct filter_param, has_maximum)},
    ROW(filter_param, "required", ASSAY_JSON_BOOL, required),
    ROW(filter_param, "choices", ASSAY_JSON_STRINGS, choices, .min = 1, .max = 32),
    ROW(filter_param, "default", ASSAY_JSON_RAW, otherwise, .max = 100),
    END,
};
static const struct assay_json_field filter_fields[] = {
    ROW(filter, "name", ASSAY_JSON_STRING, name, .flags = ASSAY_JSON_REQUIRED | ASSAY_JSON_SLUG, .min = 1, .max = 32),
    ROW(filter, "title", ASSAY_JSON_STRING, title, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 200),
    {.name = "parameters", .type = ASSAY_JSON_ARRAY, .offset = offsetof(struct filter, params), .has_offset = -1, .max = FILTER_PARAMS_MAX,
     .fields = param_fields, .elem_size = sizeof(struct filter_param)},
    ROW(filter, "any_of", ASSAY_JSON_STRINGS, any_of, .min = 1, .max = FILTER_PARAMS_MAX),
    END,
};
const struct assay_json_field processor_fields[] = {
    ROW(processor, "name", ASSAY_JSON_STRING, name, .flags = ASSAY_JSON_REQUIRED | ASSAY_JSON_SLUG, .min = 1, .max = 32),
    ROW(processor, "title", ASSAY_JSON_STRING, title, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 200),
    ROW(processor, "program", ASSAY_JSON_STRING, program, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 1000),
    ROW(processor, "media_type", ASSAY_JSON_STRING, media_type, .flags = ASSAY_JSON_REQUIRED, .min = 3, .max = 100),
    {.name = "filters", .type = ASSAY_JSON_ARRAY, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct processor, filters), .has_offset = -1,
     .min = 1, .max = FILTERS_MAX, .fields = filter_fields, .elem_size = sizeof(struct filter)},
    END,
};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static size_t value_offset(size_t i, int type)
{
    static const size_t member[] = {[FILTER_NUMBER] = offsetof(struct filter_value, number), [FILTER_INTEGER] = offsetof(struct filter_value, integer),
                                    [FILTER_BOOLEAN] = offsetof(struct filter_value, boolean), [FILTER_CHOICE] = offsetof(struct filter_value, choice)};
    return i * sizeof(struct filter_value) + member[type];
}

/* A parameter's row of the table. */
static int row_of(const struct filter_param *p, size_t i, struct assay_arena *arena, struct assay_json_field *out, struct assay_err *err)
{
    static const enum assay_json_type type[] = {ASSAY_JSON_REAL, ASSAY_JSON_INT, ASSAY_JSON_BOOL, ASSAY_JSON_ENUM};
    bool bounded = p->type == FILTER_NUMBER || p->type == FILTER_INTEGER;
    if (bounded != p->has_minimum || bounded != p->has_maximum || (bounded && p->minimum >= p->maximum))
        return assay_err_set(err, ASSAY_E_CONFIG, "parameter %.*s: numbers and integers, and nothing else, have a minimum and a larger maximum",
                             ASSAY_FMT(p->name));
    if ((p->type == FILTER_CHOICE) != (p->choices.n != 0))
        return assay_err_set(err, ASSAY_E_CONFIG, "parameter %.*s: a choice, and nothing else, has choices", ASSAY_FMT(p->name));
    const char **names = assay_arena_array(arena, p->choices.n + 1, sizeof *names);
    *out = (struct assay_json_field){.name = assay_arena_z(arena, p->name),
                                     .type = type[p->type],
                                     .flags = p->required ? ASSAY_JSON_REQUIRED : 0,
                                     .offset = value_offset(i, p->type),
                                     .min = p->minimum,
                                     .max = p->maximum,
                                     .has_offset = (ptrdiff_t)(i * sizeof(struct filter_value) + offsetof(struct filter_value, given)),
                                     .names = names};
    bool ok = names != NULL && out->name != NULL;
    for (size_t k = 0; ok && k < p->choices.n; k++)
        ok = (names[k] = assay_arena_z(arena, p->choices.items[k])) != NULL;
    return ok ? ASSAY_OK : no_memory(err);
}

/* The defaults as a request would say them, so that they are held to the same table. */
static int defaults_of(struct filter *f, struct assay_arena *arena, struct assay_err *err)
{
    const struct filter_param *p = f->params.items;
    struct assay_json_field field[FILTER_PARAMS_MAX + 1];
    struct assay_json_faults faults = {.n = 0};
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_putc(&b, '{');
    for (size_t i = 0; i < f->params.n; i++) {
        if (p[i].otherwise.n != 0)
            assay_buf_fmt(&b, "%s\"%.*s\":%.*s", b.n > 1 ? "," : "", ASSAY_FMT(p[i].name), ASSAY_FMT(p[i].otherwise));
        field[i] = f->fields[i];
        field[i].flags = 0; /* a required one has none */
    }
    assay_buf_putc(&b, '}');
    field[f->params.n] = (struct assay_json_field)END;
    if (b.failed)
        return no_memory(err);
    int rc = assay_json_decode(assay_buf_view(&b), field, f->otherwise, NULL, arena, &faults, err);
    if (rc == ASSAY_E_INVALID && faults.n != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "the default of %.*s: %.*s", ASSAY_FMT(faults.item[0].pointer), ASSAY_FMT(faults.item[0].detail));
    return rc;
}

static size_t param_index(const struct filter *f, struct assay_str name)
{
    const struct filter_param *p = f->params.items;
    size_t i = 0;
    while (i < f->params.n && !assay_str_eq(p[i].name, name))
        i++;
    return i;
}

static int filter_build(struct filter *f, struct assay_arena *arena, struct assay_err *err)
{
    const struct filter_param *p = f->params.items;
    int rc = ASSAY_OK;
    f->fields = assay_arena_array(arena, f->params.n + 1, sizeof *f->fields);
    if (f->fields == NULL)
        return no_memory(err);
    for (size_t i = 0; rc >= 0 && i < f->params.n; i++) {
        if (param_index(f, p[i].name) != i)
            return assay_err_set(err, ASSAY_E_CONFIG, "there are two parameters %.*s", ASSAY_FMT(p[i].name));
        rc = row_of(&p[i], i, arena, &f->fields[i], err);
    }
    for (size_t i = 0; rc >= 0 && i < f->any_of.n; i++) {
        size_t k = param_index(f, f->any_of.items[i]);
        if (k == f->params.n || p[k].otherwise.n != 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "any_of names parameters that have no default, and %.*s is none", ASSAY_FMT(f->any_of.items[i]));
    }
    return rc < 0 ? rc : defaults_of(f, arena, err);
}

int processor_add(struct processors_list *to, const struct processor *p, struct assay_arena *arena, struct assay_err *err)
{
    struct filter *f = p->filters.items;
    size_t at = 0, total = p->filters.n;
    while (at < to->n && !assay_str_eq(to->list[at].name, p->name))
        at++;
    for (size_t i = 0; i < to->n; i++)
        total += i == at ? 0 : to->list[i].filters.n;
    if (total > FILTERS_MAX)
        return assay_err_set(err, ASSAY_E_CONFIG, "more than %d filters", FILTERS_MAX);
    for (size_t i = 0; i < p->filters.n; i++) {
        const struct filter *other = filter_find(to, f[i].name);
        bool twice = other != NULL && (at == to->n || other->by != &to->list[at]);
        for (size_t k = 0; k < i; k++)
            twice = twice || assay_str_eq(f[k].name, f[i].name);
        if (twice)
            return assay_err_set(err, ASSAY_E_CONFIG, "there is a filter %.*s already", ASSAY_FMT(f[i].name));
        int rc = filter_build(&f[i], arena, err);
        if (rc < 0)
            return assay_err_prefix(err, "filter %.*s", ASSAY_FMT(f[i].name));
    }
    if (at == to->n) {
        struct processor *more = assay_arena_array(arena, to->n + 1, sizeof *more);
        if (more == NULL)
            return no_memory(err);
        if (to->n != 0)
            memcpy(more, to->list, to->n * sizeof *more);
        to->list = more;
        to->n++;
    }
    to->list[at] = *p;
    for (size_t i = 0; i < to->n; i++) { /* they may have moved */
        struct filter *own = to->list[i].filters.items;
        for (size_t k = 0; k < to->list[i].filters.n; k++)
            own[k].by = &to->list[i];
    }
    return ASSAY_OK;
}

const struct filter *filter_find(const struct processors_list *all, struct assay_str name)
{
    char z[40];
    if (name.n == 0 || name.n >= sizeof z)
        return NULL;
    memcpy(z, name.p, name.n);
    z[name.n] = '\0';
    for (size_t i = 0; i < all->n; i++) {
        const struct filter *f = all->list[i].filters.items;
        for (size_t k = 0; k < all->list[i].filters.n; k++) {
            if (assay_str_ieq(f[k].name, z))
                return &f[k];
        }
    }
    return NULL;
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

struct request {
    struct assay_str name, parameters;
};
static const struct assay_json_field request_fields[] = {
    ROW(request, "name", ASSAY_JSON_STRING, name, .flags = ASSAY_JSON_REQUIRED, .min = 1, .max = 64),
    ROW(request, "parameters", ASSAY_JSON_RAW, parameters, .flags = ASSAY_JSON_NULLABLE, .max = FILTER_REQUEST_MAX),
    END,
};

static void names_list(const struct processors_list *all, struct assay_buf *b)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct filter *f = all->list[i].filters.items;
        for (size_t k = 0; k < all->list[i].filters.n; k++)
            assay_buf_fmt(b, "%s%.*s", b->n != 0 ? ", " : "", ASSAY_FMT(f[k].name));
    }
}

static void unknown(const struct processors_list *all, struct assay_arena *arena, struct assay_json_faults *faults)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    names_list(all, &b);
    assay_json_fault(faults, arena, "/name", "there is no such filter; there are: %.*s", b.n != 0 ? (int)b.n : 4, b.n != 0 ? b.p : "none");
}

int filter_request(const struct processors_list *all, struct assay_str json, struct assay_arena *arena, struct assay_json_faults *faults,
                   struct filter_call *out, struct assay_err *err)
{
    struct request in = {.name = ASSAY_STR("")};
    struct assay_json_faults own = {.n = 0};
    memset(out, 0, sizeof *out);
    int rc = assay_json_decode(json, request_fields, &in, &(struct assay_json_limits){.max_bytes = 2 * FILTER_REQUEST_MAX}, arena, faults, err);
    if (rc < 0)
        return rc;
    const struct filter *f = filter_find(all, in.name);
    if (f == NULL) {
        unknown(all, arena, faults);
        return assay_err_set(err, ASSAY_E_INVALID, "there is no such filter");
    }
    out->filter = f;
    memcpy(out->value, f->otherwise, sizeof out->value);
    rc = assay_json_decode(in.parameters.n != 0 ? in.parameters : ASSAY_STR("{}"), f->fields, out->value, NULL, arena, &own, err);
    if (rc < 0 && rc != ASSAY_E_INVALID)
        return rc;
    bool any = f->any_of.n == 0;
    for (size_t i = 0; i < f->any_of.n; i++)
        any = any || out->value[param_index(f, f->any_of.items[i])].given;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    for (size_t i = 0; i < f->any_of.n; i++)
        assay_buf_fmt(&b, "%s%.*s", i != 0 ? " or " : "", ASSAY_FMT(f->any_of.items[i]));
    if (!any && own.n == 0)
        assay_json_fault(&own, arena, "", "%.*s is needed", (int)b.n, b.p);
    for (size_t i = 0; i < own.n; i++) {
        struct assay_str at = assay_arena_fmt(arena, "/parameters%.*s", ASSAY_FMT(own.item[i].pointer));
        const char *pointer = at.p != NULL ? at.p : "/parameters";
        assay_json_fault(faults, arena, pointer, "%.*s", ASSAY_FMT(own.item[i].detail));
    }
    return own.n != 0 ? assay_err_set(err, ASSAY_E_INVALID, "a parameter breaks a rule") : ASSAY_OK;
}

int filter_canonical(const struct filter_call *call, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    const struct filter *f = call->filter;
    const struct filter_param *p = f->params.items;
    struct assay_buf b = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "name", f->name);
    assay_jw_key(w, "parameters");
    assay_jw_object(w);
    for (size_t i = 0; i < f->params.n; i++) {
        const struct filter_value *v = &call->value[i];
        if (!v->given)
            continue;
        assay_jw_key(w, f->fields[i].name);
        if (p[i].type == FILTER_NUMBER)
            assay_jw_real(w, v->number);
        else if (p[i].type == FILTER_INTEGER)
            assay_jw_int(w, v->integer);
        else if (p[i].type == FILTER_BOOLEAN)
            assay_jw_bool(w, v->boolean);
        else
            assay_jw_z(w, f->fields[i].names[v->choice]);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    int rc = assay_jw_finish(w, &b, err);
    if (rc >= 0)
        *out = assay_arena_take(arena, &b);
    assay_buf_free(&b);
    return rc < 0 ? rc : out->p == NULL ? no_memory(err) : ASSAY_OK;
}

int filter_arguments(const struct filter_call *call, struct assay_arena *arena, struct assay_strs *out, struct assay_err *err)
{
    const struct filter *f = call->filter;
    const struct filter_param *p = f->params.items;
    struct assay_str *word = assay_arena_array(arena, f->params.n + 1, sizeof *word);
    size_t n = 0;
    if (word == NULL)
        return no_memory(err);
    word[n++] = f->name;
    for (size_t i = 0; i < f->params.n; i++) {
        const struct filter_value *v = &call->value[i];
        const char *name = f->fields[i].name;
        if (!v->given)
            continue;
        if (p[i].type == FILTER_NUMBER)
            word[n] = assay_arena_fmt(arena, "--%s=%.17g", name, v->number);
        else if (p[i].type == FILTER_INTEGER)
            word[n] = assay_arena_fmt(arena, "--%s=%lld", name, (long long)v->integer);
        else if (p[i].type == FILTER_BOOLEAN)
            word[n] = assay_arena_fmt(arena, "--%s=%s", name, v->boolean ? "true" : "false");
        else
            word[n] = assay_arena_fmt(arena, "--%s=%s", name, f->fields[i].names[v->choice]);
        if (word[n++].p == NULL)
            return no_memory(err);
    }
    *out = (struct assay_strs){word, n};
    return ASSAY_OK;
}

void filters_write(struct assay_jw *w, const struct processors_list *all, bool staff)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct processor *by = &all->list[i];
        const struct filter *f = by->filters.items;
        for (size_t k = 0; k < by->filters.n; k++) {
            const struct filter_param *p = f[k].params.items;
            assay_jw_object(w);
            assay_jw_kstr(w, "name", f[k].name);
            assay_jw_kstr(w, "title", f[k].title);
            assay_jw_kstr(w, "processor", by->name);
            assay_jw_kstr(w, "media_type", by->media_type);
            assay_jw_kbool(w, "offered", by->lacks[0] == '\0');
            assay_jw_kz(w, "reason", staff && by->lacks[0] != '\0' ? by->lacks : NULL);
            assay_jw_key(w, "parameters");
            assay_jw_array(w);
            for (size_t m = 0; m < f[k].params.n; m++) {
                assay_jw_object(w);
                assay_jw_kstr(w, "name", p[m].name);
                assay_jw_kstr(w, "title", p[m].title);
                assay_jw_kz(w, "type", type_names[p[m].type]);
                if (p[m].has_minimum)
                    assay_jw_kreal(w, "minimum", p[m].minimum);
                if (p[m].has_maximum)
                    assay_jw_kreal(w, "maximum", p[m].maximum);
                if (p[m].choices.n != 0) {
                    assay_jw_key(w, "choices");
                    assay_jw_array(w);
                    for (size_t c = 0; c < p[m].choices.n; c++)
                        assay_jw_str(w, p[m].choices.items[c]);
                    assay_jw_end(w);
                }
                assay_jw_kbool(w, "required", p[m].required);
                assay_jw_kraw(w, "default", p[m].otherwise);
                assay_jw_end(w);
            }
            assay_jw_end(w);
            assay_jw_key(w, "any_of");
            assay_jw_array(w);
            for (size_t m = 0; m < f[k].any_of.n; m++)
                assay_jw_str(w, f[k].any_of.items[m]);
            assay_jw_end(w);
            assay_jw_end(w);
        }
    }
}

/* ---- how a run ended ---------------------------------------------------------------------------------------------- */

/* The first line of what it said, printable. */
static void first_line(struct assay_str text, char *out, size_t room)
{
    size_t n = 0;
    while (n < text.n && n + 1 < room && text.p[n] != '\n') {
        out[n] = text.p[n] >= ' ' && text.p[n] <= '~' ? text.p[n] : '?';
        n++;
    }
    out[n] = '\0';
}

enum verdict filter_judge(const struct assay_box_outcome *o, const struct assay_box_limits *limits, struct assay_str text, size_t n_out,
                          char why[FILTER_WHY_MAX])
{
    char line[FILTER_WHY_MAX - 100];
    first_line(text, line, sizeof line);
    why[0] = '\0';
    switch (o->end) {
    case ASSAY_BOX_CPU:
    case ASSAY_BOX_WALL:
        (void)snprintf(why, FILTER_WHY_MAX, "time: it took more than %lld ms", (long long)(o->end == ASSAY_BOX_CPU ? limits->cpu_ms : limits->wall_ms));
        return VERDICT_TL;
    case ASSAY_BOX_MEMORY:
        (void)snprintf(why, FILTER_WHY_MAX, "memory: it needed more than %lld MiB", (long long)(limits->memory_bytes >> 20));
        return VERDICT_ML;
    case ASSAY_BOX_OUTPUT:
        (void)snprintf(why, FILTER_WHY_MAX, "too_large: the result would have more than %lld bytes", (long long)limits->stdout_bytes);
        return VERDICT_OL;
    case ASSAY_BOX_SIGNALLED:
        (void)snprintf(why, FILTER_WHY_MAX, "crashed: the filter ended by signal %d", o->signal);
        return VERDICT_RE;
    case ASSAY_BOX_EXITED:
        break;
    case ASSAY_BOX_CANCELLED:
    case ASSAY_BOX_FAILED:
        (void)snprintf(why, FILTER_WHY_MAX, "%.300s", o->message);
        return VERDICT_IE;
    }
    if (o->exit_code == 0 && n_out != 0)
        return VERDICT_OK;
    if (o->exit_code == 1) {
        (void)snprintf(why, FILTER_WHY_MAX, "%s", line[0] != '\0' ? line : "refused");
        return strncmp(line, "memory:", 7) == 0 ? VERDICT_ML : VERDICT_RE;
    }
    (void)snprintf(why, FILTER_WHY_MAX, "the filter's program ended with exit status %d and %zu bytes: %s", o->exit_code, n_out, line);
    return VERDICT_IE;
}
