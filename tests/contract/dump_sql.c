/*
 * Prints the SQL that plugins carry, as one JSON document, for the test that prepares all of it on
 * PostgreSQL: {"plugins":[{"name","migrations":[{"number","sql"}],"statements":[{"name","sql","params"}]}]}.
 *
 *   dump_sql PLUGIN.so ...
 */
#include <assay/hosting.h>
#include <assay/json.h>

#include <stdio.h>

static void migrations(struct assay_jw *w, const struct assay_table *t)
{
    assay_jw_key(w, "migrations");
    assay_jw_array(w);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct assay_migration *m = assay_table_row(t, i);
        assay_jw_object(w);
        assay_jw_kint(w, "number", m->number);
        assay_jw_kz(w, "sql", m->sql);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

static void statements(struct assay_jw *w, const struct assay_table *t)
{
    assay_jw_key(w, "statements");
    assay_jw_array(w);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct assay_stmt *const *s = assay_table_row(t, i);
        assay_jw_object(w);
        assay_jw_kz(w, "name", (*s)->name);
        assay_jw_kz(w, "sql", (*s)->sql);
        assay_jw_kz(w, "params", (*s)->params);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

int main(int argc, char **argv)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_err err;
    assay_jw_object(w);
    assay_jw_key(w, "plugins");
    assay_jw_array(w);
    for (int i = 1; i < argc; i++) {
        const struct assay_plugin *p;
        if (assay_plugin_load(argv[i], &p, &err) != 0) {
            (void)fprintf(stderr, "dump_sql: %s: %s\n", argv[i], err.msg);
            return 1;
        }
        assay_jw_object(w);
        assay_jw_kz(w, "name", p->name);
        migrations(w, &p->migrations);
        statements(w, &p->statements);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    if (assay_jw_finish(w, &out, &err) != 0 || fwrite(out.p, 1, out.n, stdout) != out.n || putchar('\n') == EOF)
        return 1;
    return 0;
}
