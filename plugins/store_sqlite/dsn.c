/*
 * Which file a DSN names.
 *
 * "" is <data_dir>/assay.db; sqlite:///path and sqlite:path and a bare path name a file.
 * memory://default, the default of an older system, is taken as "": nothing acknowledged may be
 * only in memory, and a set-up that still carries that variable should start.
 */
#include "local.h"

#include <stdlib.h>
#include <string.h>

int sq_dsn_path(struct assay_str dsn, const char *data_dir, char **path, bool *ignored, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    bool old = assay_str_starts(dsn, "memory:");
    if (assay_str_has_nul(dsn))
        return assay_err_set(err, ASSAY_E_CONFIG, "storage_dsn holds a NUL");
    if (dsn.n == 0 || old) {
        if (!data_dir || !data_dir[0])
            return assay_err_set(err, ASSAY_E_CONFIG, "neither storage_dsn nor data_dir says where the database is");
        assay_buf_puts(&b, data_dir);
        assay_buf_puts(&b, "/assay.db");
    } else if (assay_str_starts(dsn, "sqlite://")) {
        struct assay_str rest = {dsn.p + 9, dsn.n - 9};
        if (rest.n == 0 || rest.p[0] != '/')
            return assay_err_set(err, ASSAY_E_CONFIG,
                                 "storage_dsn \"%.*s\": a SQLite file is sqlite:///absolute/path or sqlite:relative",
                                 ASSAY_FMT(dsn));
        assay_buf_str(&b, rest);
    } else if (assay_str_starts(dsn, "sqlite:")) {
        assay_buf_add(&b, dsn.p + 7, dsn.n - 7);
    } else if (memmem(dsn.p, dsn.n, "://", 3)) {
        /* the scheme only: what follows may hold a password */
        size_t scheme = (size_t)((const char *)memmem(dsn.p, dsn.n, "://", 3) - dsn.p);
        return assay_err_set(err, ASSAY_E_CONFIG, "storage_dsn: %.*s:// is not a SQLite file",
                             (int)(scheme > 32 ? 32 : scheme), dsn.p);
    } else {
        assay_buf_str(&b, dsn);
    }
    if (memchr(b.p ? b.p : "", '?', b.n))
        return assay_err_set(err, ASSAY_E_CONFIG, "storage_dsn: a SQLite path takes no parameters");
    if (!b.failed && b.n == 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "storage_dsn names no file");
    char *p = assay_buf_steal(&b, NULL);
    if (!p)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the database path");
    *path = p;
    *ignored = old;
    return 0;
}
