/* What a job of a gateway names by hash: from the own blob store, or from where the job came. */
#include "remote.h"

/* The brokers of the option intake that can fetch, in turn. */
static int fetch(struct runner *r, struct assay_str ref, size_t max, struct assay_arena *arena, struct assay_str *out,
                 struct assay_err *err)
{
    const struct assay_host *host = r->host;
    struct assay_err why;
    struct assay_broker b;
    int rc = assay_err_set(err, ASSAY_E_NOT_FOUND, "the blob %.*s is not here, and no broker of intake fetches any", ASSAY_FMT(ref));
    for (const char *p = host->option_str(host->ctx, "intake"); *(p += strspn(p, ", ")) != '\0'; p += strcspn(p, ", ")) {
        struct assay_str name = {p, strcspn(p, ", ")};
        if (host->broker(host->ctx, name, &b, &why) < 0 ||
            b.ops->size < offsetof(struct assay_broker_ops, fetch) + sizeof b.ops->fetch || b.ops->fetch == NULL)
            continue;
        rc = b.ops->fetch(b.self, ref, max, arena, out, err);
        if (rc >= 0)
            return rc;
    }
    return rc;
}

int away_read(struct runner *r, const struct job *j, struct assay_str ref, size_t max, struct assay_arena *arena,
              struct assay_str *out, struct assay_err *err)
{
    int rc = cache_read(r->cache, r->host->blobs, ref, max, arena, out, err);
    if (rc != ASSAY_E_NOT_FOUND || j->away_id.n == 0)
        return rc;
    rc = fetch(r, ref, max, arena, out, err);
    return rc < 0 ? rc : fetched_put(r, *out, err);
}

int away_keep(struct runner *r, const struct away_job *a, struct assay_err *err)
{
    const struct away_blob *list = a->blobs.items;
    int rc = ASSAY_OK;
    for (size_t i = 0; rc >= 0 && i < a->blobs.n; i++)
        rc = fetched_put(r, list[i].data, err);
    return rc;
}
