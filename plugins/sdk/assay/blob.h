/*
 * Blobs: bytes by name, kept by a blob_* driver (files, S3).
 *
 * Content-addressed blobs are named "sha256/<hex>"; put is idempotent for them.  A put returns only
 * when the blob and its directory are durable, so the row that names it is written after.
 * All operations block: worker threads only.  Thread-safe.
 */
#ifndef ASSAY_BLOB_H
#define ASSAY_BLOB_H

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_host;
struct assay_copy_count;

#define ASSAY_BLOB_REF 65 /* 64 hex digits of SHA-256 and NUL */

struct assay_blob_ops {
    uint32_t size;
    /* name: relative path of [A-Za-z0-9._/-], no "..", no leading '/', at most 512 bytes, 16 parts, 255 bytes a part */
    int (*put)(void *self, struct assay_str name, struct assay_str bytes, struct assay_err *err);
    /* ASSAY_E_NOT_FOUND; ASSAY_E_TOO_LARGE over max; ASSAY_E_CORRUPT when a sha256/ blob no longer hashes to its name */
    int (*get)(void *self, struct assay_str name, size_t max, struct assay_arena *arena, struct assay_str *out,
               struct assay_err *err);
    int (*stat)(void *self, struct assay_str name, int64_t *bytes, struct assay_err *err);
    int (*del)(void *self, struct assay_str name, struct assay_err *err); /* absent is fine */
    int (*health)(void *self, struct assay_err *err);
    /* Or NULL, where only the server reaches the blobs. Appends a URL by which anyone may GET or PUT the blob for expires_s seconds (1 to
     * 604800); content_type "" or what a PUT must say. Does not touch the blob. A driver of before may be shorter than this. */
    int (*presign)(void *self, struct assay_str name, const char *method, int64_t expires_s, struct assay_str content_type,
                   struct assay_buf *out, struct assay_err *err);
    /* Or NULL, where blobs are kept by a service that has backups of its own. Without an instance and beside a running server:
     * host's options say where the blobs are. backup may be called again for the same folder, which must exist: it adds what is new. Both check
     * each blob that is named by its hash; ASSAY_E_CORRUPT, after all others have been copied, when one does not hash to its name. */
    int (*backup)(const struct assay_host *host, const char *folder, struct assay_copy_count *count, struct assay_err *err);
    int (*restore)(const struct assay_host *host, const char *folder, struct assay_copy_count *count, struct assay_err *err);
};

struct assay_blobs {
    const struct assay_blob_ops *ops;
    void *self;
};

/* Whether a name keeps the rules above: ASSAY_E_INVALID. hash: the digits of a "sha256/" name, else "". */
int assay_blob_name(struct assay_str name, struct assay_str *hash, struct assay_err *err) ASSAY_MUST_CHECK;

/* As the operation; ASSAY_E_UNSUPPORTED where the driver has none. */
int assay_blob_presign(const struct assay_blobs *b, struct assay_str name, const char *method, int64_t expires_s,
                       struct assay_str content_type, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* Stores bytes under their own hash and gives the 64 hex digits. */
int assay_blob_put(const struct assay_blobs *b, struct assay_str bytes, char ref[ASSAY_BLOB_REF], struct assay_err *err)
    ASSAY_MUST_CHECK;
int assay_blob_get(const struct assay_blobs *b, struct assay_str ref, size_t max, struct assay_arena *arena,
                   struct assay_str *out, struct assay_err *err) ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
