/* Content-addressed blobs over a driver's named ones. */
#include <assay/blob.h>
#include <assay/value.h>

#include <stdio.h>

#define NAME_SIZE (sizeof "sha256/" - 1 + ASSAY_BLOB_REF)

int assay_blob_put(const struct assay_blobs *b, struct assay_str bytes, char ref[ASSAY_BLOB_REF], struct assay_err *err)
{
    char name[NAME_SIZE];
    assay_sha256_hex(bytes, ref);
    (void)snprintf(name, sizeof name, "sha256/%s", ref);
    return b->ops->put(b->self, assay_str(name), bytes, err);
}

int assay_blob_get(const struct assay_blobs *b, struct assay_str ref, size_t max, struct assay_arena *arena, struct assay_str *out,
                   struct assay_err *err)
{
    char name[NAME_SIZE];
    if (ref.n != ASSAY_BLOB_REF - 1)
        return assay_err_set(err, ASSAY_E_INVALID, "a blob is named by 64 hex digits, not by %zu bytes", ref.n);
    (void)snprintf(name, sizeof name, "sha256/%.*s", ASSAY_FMT(ref));
    return b->ops->get(b->self, assay_str(name), max, arena, out, err);
}
