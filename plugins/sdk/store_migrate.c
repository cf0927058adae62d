/* The rules of migrations, which every store holds alike: expand first, contract a release later. */
#include <assay/store_driver.h>

#define MIGRATION_MAX 4096

int assay_version_cmp(const char *a, const char *b)
{
    while (*a || *b) {
        unsigned long x = 0, y = 0;
        for (; *a >= '0' && *a <= '9'; a++)
            x = x < 1000000 ? x * 10 + (unsigned long)(*a - '0') : x;
        for (; *b >= '0' && *b <= '9'; b++)
            y = y < 1000000 ? y * 10 + (unsigned long)(*b - '0') : y;
        if (x != y)
            return x < y ? -1 : 1;
        bool more_a = *a == '.', more_b = *b == '.';
        if (!more_a && !more_b)
            return 0;
        a = more_a ? a + 1 : "";
        b = more_b ? b + 1 : "";
    }
    return 0;
}

int assay_migrations_check(const char *component, const struct assay_migration *m, size_t n, const struct assay_rows *applied,
                           const char *program_version, struct assay_err *err)
{
    if (n > MIGRATION_MAX)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: too many migrations", component);
    for (size_t i = 0; i < n; i++)
        if (m[i].number != i + 1)
            return assay_err_set(err, ASSAY_E_INTERNAL, "%s: migration %zu is numbered %u: numbers run 1, 2, 3, ...",
                                 component, i + 1, m[i].number);
    for (size_t i = 0; i < applied->n; i++) {
        const struct assay_val *col = applied->row[i].col;
        if (col[0].i != (int64_t)i + 1)
            return assay_err_set(err, ASSAY_E_CORRUPT, "the schema of %s lacks migration %zu and has a later one",
                                 component, i + 1);
        if (i < n && !assay_str_is(col[1].s, m[i].name))
            return assay_err_set(err, ASSAY_E_CONFIG,
                                 "migration %zu of %s is \"%.*s\" in the database and \"%s\" in this program", i + 1,
                                 component, ASSAY_FMT(col[1].s), m[i].name);
        if (i >= n && assay_version_cmp(col[2].s.p ? col[2].s.p : "", program_version) > 0)
            return assay_err_set(err, ASSAY_E_CONFIG,
                                 "the database has migration %zu (%.*s) of %s from a newer program: "
                                 "version %.*s or newer can run on it, this is %s",
                                 i + 1, ASSAY_FMT(col[1].s), component, ASSAY_FMT(col[2].s), program_version);
    }
    return 0;
}
