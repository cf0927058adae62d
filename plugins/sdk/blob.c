/* Content-addressed blobs over a driver's named ones. */
#include <assay/blob.h>
#include <assay/value.h>

#include <stdio.h>

#define NAME_MAX_BYTES 512
#define PARTS_MAX 16
#define NAME_SIZE (sizeof "sha256/" - 1 + ASSAY_BLOB_REF)

static bool name_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

int assay_blob_name(struct assay_str name, struct assay_str *hash, struct assay_err *err)
{
    *hash = ASSAY_STR("");
    if (name.n == 0 || name.n > NAME_MAX_BYTES)
        return assay_err_set(err, ASSAY_E_INVALID, "a blob's name has 1 to %d bytes", NAME_MAX_BYTES);
    size_t start = 0, parts = 0;
    for (size_t i = 0; i <= name.n; i++) {
        if (i < name.n && name.p[i] != '/') {
            if (!name_char(name.p[i]))
                return assay_err_set(err, ASSAY_E_INVALID, "a blob's name holds only letters, digits and ._-/");
            continue;
        }
        size_t n = i - start;
        const char *part = name.p + start;
        if (n == 0 || n > 255 || (part[0] == '.' && (n == 1 || (n == 2 && part[1] == '.'))))
            return assay_err_set(err, ASSAY_E_INVALID, "a blob's name has no empty, \".\" or \"..\" part");
        if (++parts > PARTS_MAX)
            return assay_err_set(err, ASSAY_E_INVALID, "a blob's name has at most %d parts", PARTS_MAX);
        start = i + 1;
    }
    if (!assay_str_starts(name, "sha256/") && !assay_str_is(name, "sha256"))
        return 0;
    bool hex = name.n == NAME_SIZE - 1;
    for (size_t i = 7; i < name.n && hex; i++)
        hex = (name.p[i] >= '0' && name.p[i] <= '9') || (name.p[i] >= 'a' && name.p[i] <= 'f');
    if (!hex)
        return assay_err_set(err, ASSAY_E_INVALID, "a blob below sha256/ is named by 64 lower-case hex digits");
    *hash = (struct assay_str){name.p + 7, name.n - 7};
    return 0;
}

int assay_blob_presign(const struct assay_blobs *b, struct assay_str name, const char *method, int64_t expires_s,
                       struct assay_str content_type, struct assay_buf *out, struct assay_err *err)
{
    if (b->ops->size < offsetof(struct assay_blob_ops, presign) + sizeof b->ops->presign || b->ops->presign == NULL)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "this blob driver has no URLs of its own");
    return b->ops->presign(b->self, name, method, expires_s, content_type, out, err);
}

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
