#include "plugins.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <assay/hosting.h>
#include <assay/store.h>
#include <assay/str.h>

#include "config.h"

void assay_plugins_init(struct assay_plugins *ps)
{
    memset(ps, 0, sizeof *ps);
}

void assay_plugins_free(struct assay_plugins *ps)
{
    for (size_t i = 0; i < ps->n; i++) {
        free(ps->entry[i]->path);
        free(ps->entry[i]);
    }
    free(ps->entry);
    free(ps->order);
    memset(ps, 0, sizeof *ps);
}

const char *assay_plugin_kind_name(uint32_t kind)
{
    static const char *const names[] = {"", "service", "store", "blob", "broker", "sandbox", "session", "mail"};
    return kind < sizeof names / sizeof names[0] ? names[kind] : "";
}

struct assay_plugin_entry *assay_plugins_find(const struct assay_plugins *ps, const char *name)
{
    for (size_t i = 0; i < ps->n; i++)
        if (strcmp(ps->entry[i]->p->name, name) == 0)
            return ps->entry[i];
    return NULL;
}

int assay_plugins_add(struct assay_plugins *ps, const struct assay_plugin *p, const char *path, struct assay_err *err)
{
    const struct assay_plugin_entry *other = assay_plugins_find(ps, p->name);
    if (other != NULL)
        return assay_err_set(err, ASSAY_E_CONFIG, "two plugins are called %s: %s and %s", p->name, other->path, path);
    if (ps->n == ps->room) {
        size_t room = ps->room ? ps->room * 2 : 16;
        struct assay_plugin_entry **grown = reallocarray(ps->entry, room, sizeof(struct assay_plugin_entry *));
        if (grown == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
        ps->entry = grown;
        ps->room = room;
    }
    struct assay_plugin_entry *e = calloc(1, sizeof *e);
    char *own = strdup(path);
    if (e == NULL || own == NULL) {
        free(e);
        free(own);
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    }
    e->p = p;
    e->path = own;
    ps->entry[ps->n++] = e;
    return 0;
}

/* Whether a server with these drivers has a use for the file. What cannot be told is loaded, and says what is wrong. */
static bool is_of_use(const char *path, const char *const *drivers)
{
    struct assay_plugin_peeked seen;
    const char *slash = strrchr(path, '/');
    if (assay_plugin_peek(path, &seen, NULL) != 0)
        return true;
    if (seen.kind == ASSAY_PLUGIN_SANDBOX)
        return false;
    if (seen.kind != ASSAY_PLUGIN_STORE && seen.kind != ASSAY_PLUGIN_BLOB && seen.kind != ASSAY_PLUGIN_BROKER &&
        seen.kind != ASSAY_PLUGIN_SESSION)
        return true;
    for (; *drivers != NULL; drivers++) {
        char file[120];
        (void)snprintf(file, sizeof file, "assay_%.100s.so", *drivers);
        if (strcmp(slash != NULL ? slash + 1 : path, file) == 0)
            return true;
    }
    return false;
}

int assay_plugins_load(struct assay_plugins *ps, const char *folders, const char *const *drivers, struct assay_err *err)
{
    struct assay_plugin_paths paths;
    int rc = assay_plugin_scan(folders, &paths, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < paths.n; i++) {
        const struct assay_plugin *p = NULL;
        if (drivers != NULL && !is_of_use(paths.path[i], drivers))
            continue;
        rc = assay_plugin_load(paths.path[i], &p, err);
        if (rc == 0)
            rc = assay_plugins_add(ps, p, paths.path[i], err);
    }
    assay_plugin_paths_free(&paths);
    return rc;
}

int assay_plugins_config(const struct assay_plugins *ps, struct assay_config *c, struct assay_err *err)
{
    for (size_t i = 0; i < ps->n; i++) {
        const struct assay_plugin *p = ps->entry[i]->p;
        int rc = assay_config_add(c, p->name, &p->options, err);
        if (rc != 0)
            return assay_err_prefix(err, "plugin %s", ps->entry[i]->path);
    }
    return 0;
}

/* ---- validation ------------------------------------------------------------------------------ */

static int bad(struct assay_err *err, const struct assay_plugin_entry *e, const char *fmt, ...) ASSAY_PRINTF(3, 4);
static int bad(struct assay_err *err, const struct assay_plugin_entry *e, const char *fmt, ...)
{
    char why[400];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return assay_err_set(err, ASSAY_E_CONFIG, "plugin %s (%s): %s", e->p->name, e->path, why);
}

static bool empty(const char *z)
{
    return z == NULL || z[0] == '\0';
}

static bool word(const char *z)
{
    if (empty(z) || !islower((unsigned char)z[0]) || strlen(z) > 64)
        return false;
    for (; *z != '\0'; z++)
        if (!islower((unsigned char)*z) && !isdigit((unsigned char)*z) && *z != '_')
            return false;
    return true;
}

/* What a parameter matches decides whether two patterns are equal, not what it is called: "{id}" and
 * "{name}" become "{}", "{id:uuid}" becomes "{:uuid}". */
static int pattern_key(const char *path, char *key, size_t room)
{
    size_t n = 0, params = 0;
    if (empty(path) || path[0] != '/')
        return -1;
    for (const char *p = path; *p != '\0';) {
        if (*p == '{') {
            size_t len = strcspn(p, "}");
            size_t name = strcspn(p + 1, ":}");
            if (p[len] != '}' || p[-1] != '/' || (p[len + 1] != '\0' && p[len + 1] != '/') || name == 0 ||
                ++params > ASSAY_PATH_PARAMS)
                return -1;
            if (p[1 + name] == ':' && (len - name - 2 != 4 || memcmp(p + 2 + name, "uuid", 4) != 0))
                return -1;
            int w = snprintf(key + n, room - n, "{%.*s}", (int)(len - 1 - name), p + 1 + name);
            if (w < 0 || (size_t)w >= room - n)
                return -1;
            n += (size_t)w;
            p += len + 1;
            continue;
        }
        if (*p == '}' || (unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || (*p == '/' && p[1] == '/') ||
            n + 1 >= room)
            return -1;
        key[n++] = *p++;
    }
    key[n] = '\0';
    return 0;
}

static const char *method_name(enum assay_method m)
{
    static const char *const names[] = {"", "GET", "POST", "PUT", "PATCH", "DELETE"};
    return (unsigned)m < sizeof names / sizeof names[0] ? names[m] : "";
}

typedef int (*pair_check)(const struct assay_plugin_entry *ea, const void *a, const struct assay_plugin_entry *eb,
                          const void *b, struct assay_err *err);

static int same_route(const struct assay_plugin_entry *ea, const void *a, const struct assay_plugin_entry *eb,
                      const void *b, struct assay_err *err)
{
    const struct assay_route *x = a, *y = b;
    char kx[512], ky[512];
    if (strcmp(x->operation_id, y->operation_id) == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "operation id %s is used by both plugin %s (%s %s) and plugin %s (%s %s)",
                             x->operation_id, ea->p->name, method_name(x->method), x->path, eb->p->name,
                             method_name(y->method), y->path);
    if (x->method == y->method && pattern_key(x->path, kx, sizeof kx) == 0 && pattern_key(y->path, ky, sizeof ky) == 0 &&
        strcmp(kx, ky) == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "route clash: %s %s of plugin %s and %s %s of plugin %s",
                             method_name(x->method), x->path, ea->p->name, method_name(y->method), y->path, eb->p->name);
    return 0;
}

static int same_stmt(const struct assay_plugin_entry *ea, const void *a, const struct assay_plugin_entry *eb,
                     const void *b, struct assay_err *err)
{
    const struct assay_stmt *const *x = a, *const *y = b;
    if (strcmp((*x)->name, (*y)->name) != 0)
        return 0;
    return assay_err_set(err, ASSAY_E_CONFIG, "statement %s is in both plugin %s and plugin %s", (*x)->name, ea->p->name,
                         eb->p->name);
}

static int same_group(const struct assay_plugin_entry *ea, const void *a, const struct assay_plugin_entry *eb,
                      const void *b, struct assay_err *err)
{
    const struct assay_subscription *x = a, *y = b;
    if (x->kind != ASSAY_SUB_DURABLE || y->kind != ASSAY_SUB_DURABLE || strcmp(x->group, y->group) != 0)
        return 0;
    return assay_err_set(err, ASSAY_E_CONFIG, "durable group %s is in both plugin %s and plugin %s", x->group, ea->p->name,
                         eb->p->name);
}

static int same_interface(const struct assay_plugin_entry *ea, const void *a, const struct assay_plugin_entry *eb,
                          const void *b, struct assay_err *err)
{
    const struct assay_interface *x = a, *y = b;
    if (strcmp(x->name, y->name) != 0)
        return 0;
    return assay_err_set(err, ASSAY_E_CONFIG, "interface %s is provided by both plugin %s and plugin %s", x->name,
                         ea->p->name, eb->p->name);
}

static int same_metric(const struct assay_plugin_entry *ea, const void *a, const struct assay_plugin_entry *eb,
                       const void *b, struct assay_err *err)
{
    const struct assay_metric *x = a, *y = b;
    /* of stores one is chosen, and a graph should not have to know which */
    if (strcmp(x->name, y->name) != 0 || (ea->p->kind == eb->p->kind && ea->p->kind == ASSAY_PLUGIN_STORE))
        return 0;
    return assay_err_set(err, ASSAY_E_CONFIG, "metric %s is in both plugin %s and plugin %s", x->name, ea->p->name,
                         eb->p->name);
}

/* Compares each row of a kind of table with each other one, of all plugins. A few hundred rows, once. */
static int all_pairs(const struct assay_plugins *ps, size_t table_offset, pair_check check, struct assay_err *err)
{
    for (size_t i = 0; i < ps->n; i++) {
        const struct assay_table *ta = (const void *)((const char *)ps->entry[i]->p + table_offset);
        for (uint32_t a = 0; a < ta->count; a++)
            for (size_t j = i; j < ps->n; j++) {
                const struct assay_table *tb = (const void *)((const char *)ps->entry[j]->p + table_offset);
                for (uint32_t b = j == i ? a + 1 : 0; b < tb->count; b++) {
                    int rc = check(ps->entry[i], assay_table_row(ta, a), ps->entry[j], assay_table_row(tb, b), err);
                    if (rc != 0)
                        return rc;
                }
            }
    }
    return 0;
}

static int check_routes(const struct assay_plugin_entry *e, struct assay_err *err)
{
    const struct assay_table *t = &e->p->routes;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct assay_route *r = assay_table_row(t, i);
        char key[512];
        if (method_name(r->method)[0] == '\0')
            return bad(err, e, "route %u has no method", i + 1);
        if (pattern_key(r->path, key, sizeof key) != 0)
            return bad(err, e,
                       "route pattern \"%.100s\" is malformed: segments are plain text, {name} or {name:uuid}, at most "
                       "%d parameters",
                       r->path != NULL ? r->path : "", ASSAY_PATH_PARAMS);
        if (r->handle == NULL)
            return bad(err, e, "route %s %s has no handler", method_name(r->method), r->path);
        if (!word(r->operation_id))
            return bad(err, e, "route %s %s: its operation id is not a word_like_this", method_name(r->method), r->path);
        if (empty(r->summary))
            return bad(err, e, "route %s %s has no summary", method_name(r->method), r->path);
        if ((r->roles & ~(uint32_t)ASSAY_ROLES_ANY) != 0)
            return bad(err, e, "route %s %s names a role that does not exist", method_name(r->method), r->path);
        if ((r->flags & ASSAY_ROUTE_ALIAS) != 0 && i == 0)
            return bad(err, e, "route %s %s is an alias of no route before it", method_name(r->method), r->path);
    }
    return 0;
}

static int check_statements(const struct assay_plugin_entry *e, struct assay_err *err)
{
    const struct assay_table *t = &e->p->statements;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct assay_stmt *const *row = assay_table_row(t, i), *s = *row;
        if (s == NULL || empty(s->name) || empty(s->sql) || s->params == NULL || s->columns == NULL)
            return bad(err, e, "statement %u lacks a name, its text, params or columns", i + 1);
        if (s->params[strspn(s->params, "tirb")] != '\0' || s->columns[strspn(s->columns, "tirb")] != '\0')
            return bad(err, e, "statement %s: params and columns are letters of t, i, r, b", s->name);
        unsigned long most = 0;
        for (const char *p = strchr(s->sql, '$'); p != NULL; p = strchr(p + 1, '$')) {
            unsigned long k = isdigit((unsigned char)p[1]) ? strtoul(p + 1, NULL, 10) : 0;
            if (k > most)
                most = k;
        }
        if (most != strlen(s->params))
            return bad(err, e, "statement %s uses $1 to $%lu and declares %zu params", s->name, most, strlen(s->params));
    }
    return 0;
}

static int check_rest(const struct assay_plugin_entry *e, struct assay_err *err)
{
    const struct assay_plugin *p = e->p;
    for (uint32_t i = 0; i < p->subscriptions.count; i++) {
        const struct assay_subscription *s = assay_table_row(&p->subscriptions, i);
        if (empty(s->group) || s->deliver == NULL)
            return bad(err, e, "subscription %u lacks a group or deliver", i + 1);
        if (s->kind != ASSAY_SUB_DURABLE && s->kind != ASSAY_SUB_LOCAL && s->kind != ASSAY_SUB_BELL)
            return bad(err, e, "subscription %s has an unknown kind", s->group);
        if (s->topics == NULL || s->topics[0] == NULL)
            return bad(err, e, "subscription %s has no topics", s->group);
    }
    for (uint32_t i = 0; i < p->migrations.count; i++) {
        const struct assay_migration *m = assay_table_row(&p->migrations, i);
        if (m->number != i + 1 || empty(m->name) || empty(m->sql) || empty(m->oldest_program))
            return bad(err, e, "migration %u is not numbered without gaps, or lacks its name, text or oldest program",
                       i + 1);
    }
    for (uint32_t i = 0; i < p->provides.count; i++) {
        const struct assay_interface *f = assay_table_row(&p->provides, i);
        if (empty(f->name) || f->ops == NULL || f->version == 0)
            return bad(err, e, "interface %u lacks its name, version or functions", i + 1);
    }
    for (uint32_t i = 0; i < p->needs.count; i++) {
        const struct assay_need *n = assay_table_row(&p->needs, i);
        if (empty(n->name) || n->version == 0)
            return bad(err, e, "need %u lacks its name or version", i + 1);
    }
    for (uint32_t i = 0; i < p->metrics.count; i++) {
        const struct assay_metric *m = assay_table_row(&p->metrics, i);
        if (empty(m->name) || empty(m->help) || m->labels == NULL ||
            (m->type != ASSAY_METRIC_COUNTER && m->type != ASSAY_METRIC_GAUGE && m->type != ASSAY_METRIC_HISTOGRAM) ||
            (m->type == ASSAY_METRIC_HISTOGRAM && m->buckets == NULL))
            return bad(err, e, "metric %u lacks its name, help, labels, type or buckets", i + 1);
    }
    return 0;
}

/* The strides that the first ABI had: rows may only have grown since. */
static int check_strides(const struct assay_plugin_entry *e, struct assay_err *err)
{
    const struct assay_plugin *p = e->p;
    const struct {
        const char *name;
        const struct assay_table *table;
        size_t least;
    } tables[] = {
        {"options", &p->options, sizeof(struct assay_option)},
        {"routes", &p->routes, sizeof(struct assay_route)},
        {"subscriptions", &p->subscriptions, offsetof(struct assay_subscription, settle)},
        {"migrations", &p->migrations, sizeof(struct assay_migration)},
        {"statements", &p->statements, sizeof(struct assay_stmt *)},
        {"provides", &p->provides, sizeof(struct assay_interface)},
        {"needs", &p->needs, sizeof(struct assay_need)},
        {"metrics", &p->metrics, sizeof(struct assay_metric)},
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        if (tables[i].table->count == 0)
            continue;
        if (tables[i].table->rows == NULL || tables[i].table->stride < tables[i].least)
            return bad(err, e, "its table of %s has rows of %u bytes and needs %zu", tables[i].name,
                       tables[i].table->stride, tables[i].least);
    }
    return 0;
}

int assay_plugins_validate(const struct assay_plugins *ps, struct assay_err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ps->n; i++) {
        const struct assay_plugin_entry *e = ps->entry[i];
        if (!word(e->p->name) || empty(e->p->version) || empty(e->p->summary))
            return bad(err, e, "its name is not a word_like_this, or it has no version or summary");
        if (assay_plugin_kind_name(e->p->kind)[0] == '\0')
            return bad(err, e, "its kind %u is unknown", e->p->kind);
        if (e->p->kind != ASSAY_PLUGIN_SERVICE && e->p->driver == NULL)
            return bad(err, e, "a %s driver without its operations", assay_plugin_kind_name(e->p->kind));
        if (e->p->kind != ASSAY_PLUGIN_SERVICE && (e->p->statements.count > 0 || e->p->migrations.count > 0))
            return bad(err, e, "a driver has no statements or migrations of its own");
        if (e->p->init == NULL || e->p->fini == NULL)
            return bad(err, e, "init or fini is missing");
        rc = check_strides(e, err);
        if (rc == 0)
            rc = check_routes(e, err);
        if (rc == 0)
            rc = check_statements(e, err);
        if (rc == 0)
            rc = check_rest(e, err);
    }
    if (rc == 0)
        rc = all_pairs(ps, offsetof(struct assay_plugin, routes), same_route, err);
    if (rc == 0)
        rc = all_pairs(ps, offsetof(struct assay_plugin, statements), same_stmt, err);
    if (rc == 0)
        rc = all_pairs(ps, offsetof(struct assay_plugin, subscriptions), same_group, err);
    if (rc == 0)
        rc = all_pairs(ps, offsetof(struct assay_plugin, provides), same_interface, err);
    if (rc == 0)
        rc = all_pairs(ps, offsetof(struct assay_plugin, metrics), same_metric, err);
    return rc;
}

/* ---- selection and order ---------------------------------------------------------------------- */

int assay_plugins_select(struct assay_plugins *ps, const char *services, const char *const *drivers,
                         struct assay_err *err)
{
    for (size_t i = 0; i < ps->n; i++) {
        struct assay_plugin_entry *e = ps->entry[i];
        e->selected = e->p->kind == ASSAY_PLUGIN_SERVICE && (services[0] == '\0' || strcmp(e->path, "built in") == 0);
    }
    for (const char *p = services; *p != '\0';) {
        p += strspn(p, ", ");
        size_t len = strcspn(p, ", ");
        char name[65];
        if (len == 0)
            break;
        (void)snprintf(name, sizeof name, "%.*s", (int)len, p);
        struct assay_plugin_entry *e = assay_plugins_find(ps, name);
        if (e == NULL || e->p->kind != ASSAY_PLUGIN_SERVICE || len >= sizeof name) {
            char known[300] = "";
            size_t n = 0;
            for (size_t i = 0; i < ps->n; i++)
                if (ps->entry[i]->p->kind == ASSAY_PLUGIN_SERVICE && strcmp(ps->entry[i]->path, "built in") != 0 &&
                    n < sizeof known) {
                    int w = snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", ps->entry[i]->p->name);
                    n += w > 0 ? (size_t)w : 0;
                }
            return assay_err_set(err, ASSAY_E_CONFIG, "only: there is no service %s; there are: %s", name, known);
        }
        e->selected = true;
        p += len;
    }
    for (; drivers != NULL && *drivers != NULL; drivers++) {
        struct assay_plugin_entry *e = assay_plugins_find(ps, *drivers);
        if (e == NULL)
            return assay_err_set(err, ASSAY_E_CONFIG, "the driver %s is configured and no plugin of that name is in plugin_path",
                                 *drivers);
        e->selected = true;
    }
    return 0;
}

static struct assay_plugin_entry *provider(const struct assay_plugins *ps, const char *name, const struct assay_interface **row,
                                           bool selected)
{
    for (size_t i = 0; i < ps->n; i++) {
        struct assay_plugin_entry *e = ps->entry[i];
        for (uint32_t k = 0; (e->selected || !selected) && k < e->p->provides.count; k++) {
            const struct assay_interface *f = assay_table_row(&e->p->provides, k);
            if (strcmp(f->name, name) == 0) {
                if (row != NULL)
                    *row = f;
                return e;
            }
        }
    }
    return NULL;
}

struct assay_plugin_entry *assay_plugins_provider(const struct assay_plugins *ps, const char *name,
                                                  const struct assay_interface **row)
{
    return provider(ps, name, row, true);
}

void assay_plugins_complete(struct assay_plugins *ps)
{
    bool more = true;
    while (more) {
        more = false;
        for (size_t i = 0; i < ps->n; i++) {
            const struct assay_plugin_entry *e = ps->entry[i];
            for (uint32_t k = 0; e->selected && k < e->p->needs.count; k++) {
                const struct assay_need *need = assay_table_row(&e->p->needs, k);
                if (need->optional || assay_plugins_provider(ps, need->name, NULL) != NULL)
                    continue;
                struct assay_plugin_entry *from = provider(ps, need->name, NULL, false);
                if (from != NULL && from->p->kind == ASSAY_PLUGIN_SERVICE)
                    more = from->selected = true;
            }
        }
    }
}

enum { WHITE, GREY, BLACK };

static size_t index_of(const struct assay_plugins *ps, const struct assay_plugin_entry *e)
{
    size_t i = 0;
    while (ps->entry[i] != e)
        i++;
    return i;
}

/* Depth first; `trail` holds the way down, so that a cycle can be named. */
static int visit(struct assay_plugins *ps, size_t i, unsigned char *colour, size_t *trail, size_t depth,
                 struct assay_err *err)
{
    const struct assay_plugin_entry *e = ps->entry[i];
    if (colour[i] == BLACK)
        return 0;
    trail[depth] = i;
    if (colour[i] == GREY) {
        char way[300] = "";
        size_t n = 0, from = 0;
        while (trail[from] != i)
            from++;
        for (; from <= depth && n < sizeof way; from++) {
            int w = snprintf(way + n, sizeof way - n, "%s%s", n ? " needs " : "", ps->entry[trail[from]]->p->name);
            n += w > 0 ? (size_t)w : 0;
        }
        return assay_err_set(err, ASSAY_E_CONFIG, "plugins need each other in a circle: %s", way);
    }
    colour[i] = GREY;
    for (uint32_t k = 0; k < e->p->needs.count; k++) {
        const struct assay_need *need = assay_table_row(&e->p->needs, k);
        const struct assay_interface *row = NULL;
        struct assay_plugin_entry *from = assay_plugins_provider(ps, need->name, &row);
        if (from == NULL && need->optional)
            continue;
        if (from == NULL)
            return assay_err_set(err, ASSAY_E_CONFIG,
                                 "plugin %s needs interface %s (version %u), which no loaded plugin provides", e->p->name,
                                 need->name, need->version);
        if (row->version != need->version)
            return assay_err_set(err, ASSAY_E_CONFIG,
                                 "plugin %s needs interface %s version %u, and plugin %s provides version %u", e->p->name,
                                 need->name, need->version, from->p->name, row->version);
        int rc = visit(ps, index_of(ps, from), colour, trail, depth + 1, err);
        if (rc != 0)
            return rc;
    }
    colour[i] = BLACK;
    ps->order[ps->n_order++] = i;
    return 0;
}

int assay_plugins_order(struct assay_plugins *ps, struct assay_err *err)
{
    free(ps->order);
    ps->n_order = 0;
    ps->order = calloc(ps->n + 1, sizeof *ps->order);
    unsigned char *colour = calloc(ps->n + 1, 1);
    size_t *trail = calloc(ps->n + 2, sizeof *trail);
    int rc = 0;
    if (ps->order == NULL || colour == NULL || trail == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < ps->n; i++)
        if (ps->entry[i]->selected)
            rc = visit(ps, i, colour, trail, 0, err);
    free(colour);
    free(trail);
    return rc;
}
