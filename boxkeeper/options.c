/*
 * Options of the boxkeeper and of the drivers it loads.  The supervisor has resolved flags,
 * environment and files already; what it did not know of has the default of its table.  Values are
 * checked once, when their table is added, so that a getter cannot fail.
 */
#include "local.h"

#include <assay/value.h>

#include <assert.h>
#include <stdlib.h>

#define TABLES_MAX (BK_DRIVERS_MAX + 1)

struct bk_options {
    struct assay_options *given; /* NULL: none */
    const struct assay_table *table[TABLES_MAX];
    size_t n;
};

int bk_options_new(int fd, struct bk_options **out, struct assay_err *err)
{
    struct bk_options *o = calloc(1, sizeof(*o));
    int rc;

    if (o == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for options");
    if (fd >= 0) {
        rc = assay_options_read(fd, &o->given, err);
        if (rc != 0) {
            free(o);
            return rc;
        }
    }
    *out = o;
    return 0;
}

void bk_options_free(struct bk_options *o)
{
    if (o == NULL)
        return;
    if (o->given != NULL)
        assay_options_free(o->given);
    free(o);
}

static const struct assay_option *row_find(const struct bk_options *o, const char *name)
{
    for (size_t t = 0; t < o->n; t++)
        for (uint32_t i = 0; i < o->table[t]->count; i++) {
            const struct assay_option *row = assay_table_row(o->table[t], i);

            if (strcmp(row->name, name) == 0)
                return row;
        }
    return NULL;
}

static const char *text_of(const struct bk_options *o, const struct assay_option *row)
{
    const char *v = o->given != NULL ? assay_options_str(o->given, row->name) : NULL;

    if (v != NULL)
        return v;
    return row->default_text != NULL ? row->default_text : "";
}

static bool is_choice(const char *choices, const char *v)
{
    size_t n = strlen(v);

    for (const char *p = choices; n > 0 && p != NULL && *p != '\0';) {
        size_t len = strcspn(p, "|");

        if (len == n && memcmp(p, v, n) == 0)
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}

/* Plain decimal is what the supervisor writes; a default is written as a person would. */
static int number_of(const struct bk_options *o, const struct assay_option *row, int64_t *out, struct assay_err *err)
{
    struct assay_str v = assay_str(text_of(o, row));
    bool given = o->given != NULL && assay_options_str(o->given, row->name) != NULL;
    int rc = ASSAY_E_INVALID;

    if (given)
        rc = assay_parse_i64(v, INT64_MIN, INT64_MAX, out, NULL);
    if (rc != 0) {
        switch (row->type) {
        case ASSAY_OPT_INT:
            rc = assay_parse_i64(v, INT64_MIN, INT64_MAX, out, err);
            break;
        case ASSAY_OPT_BOOL: {
            bool b = false;

            rc = assay_parse_bool(v, &b, err);
            *out = b;
            break;
        }
        case ASSAY_OPT_DURATION:
            rc = assay_parse_duration_ms(v, row->bare_unit_ms != 0 ? row->bare_unit_ms : 1000, out, err);
            break;
        case ASSAY_OPT_BYTES:
            rc = assay_parse_bytes(v, out, err);
            break;
        case ASSAY_OPT_STRING:
        case ASSAY_OPT_CHOICE:
            return assay_err_set(err, ASSAY_E_INTERNAL, "option %s is not a number", row->name);
        }
    }
    if (rc != 0) {
        assay_err_prefix(err, "option %s", row->name);
        return rc;
    }
    if ((row->min != 0 || row->max != 0) && (*out < row->min || *out > row->max))
        return assay_err_set(err, ASSAY_E_CONFIG, "option %s is %lld and must be %lld to %lld", row->name,
                             (long long)*out, (long long)row->min, (long long)row->max);
    return 0;
}

int bk_options_table(struct bk_options *o, const struct assay_table *t, struct assay_err *err)
{
    if (t->count == 0)
        return 0;
    if (o->n == TABLES_MAX)
        return assay_err_set(err, ASSAY_E_CONFIG, "more than %d option tables", TABLES_MAX);
    if (t->stride < sizeof(struct assay_option))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "an option table with rows of %u bytes", t->stride);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct assay_option *row = assay_table_row(t, i);
        int64_t n = 0;
        int rc;

        if (row_find(o, row->name) != NULL)
            return assay_err_set(err, ASSAY_E_CONFIG, "two plugins define the option %s", row->name);
        if (row->type == ASSAY_OPT_STRING)
            continue;
        if (row->type == ASSAY_OPT_CHOICE) {
            if (!is_choice(row->choices, text_of(o, row)))
                return assay_err_set(err, ASSAY_E_CONFIG, "option %s must be one of %s", row->name, row->choices);
            continue;
        }
        rc = number_of(o, row, &n, err);
        if (rc != 0)
            return rc == ASSAY_E_INVALID ? ASSAY_E_CONFIG : rc;
    }
    o->table[o->n++] = t;
    return 0;
}

const char *bk_options_str(const struct bk_options *o, const char *name)
{
    const struct assay_option *row = row_find(o, name);
    const char *v;

    if (row != NULL)
        return text_of(o, row);
    /* an option of the core that no table here repeats */
    v = o->given != NULL ? assay_options_str(o->given, name) : NULL;
    return v != NULL ? v : "";
}

int64_t bk_options_int(const struct bk_options *o, const char *name)
{
    const struct assay_option *row = row_find(o, name);
    int64_t n = 0;
    int rc;

    if (row == NULL)
        return o->given != NULL ? assay_options_int(o->given, name, 0) : 0;
    rc = number_of(o, row, &n, NULL);
    assert(rc == 0); /* bk_options_table checked this value */
    return n;
}
