/*
 * blob_fs: what its files share.
 */
#ifndef BLOB_FS_LOCAL_H
#define BLOB_FS_LOCAL_H

#include <stdint.h>

#include <assay/blob.h>
#include <assay/copy.h>
#include <assay/plugin.h>
#include <assay/value.h>

#define BF_MAGIC 0x626c6f66u
#define BF_NAME_MAX 512
#define BF_DEPTH_MAX 16
#define BF_TMP_FOLDER "~tmp" /* what is being written; no name of a blob holds a '~' */

/* A name as folders and a file below the root: part[0..depth-2] are folders. */
struct bf_place {
    bool hashed;
    unsigned depth;
    uint16_t part[BF_DEPTH_MAX]; /* offsets of NUL-terminated parts in text */
    char text[BF_NAME_MAX + 8];
};

struct bf_store {
    uint32_t magic;
    const struct assay_host *host;
    char *root;
    int root_fd, tmp_fd;
};

/* name.c */
int bf_place(struct assay_str name, struct bf_place *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* files.c */
int bf_open(struct bf_store *s, struct assay_err *err) ASSAY_MUST_CHECK;
void bf_close(struct bf_store *s);
int bf_put(void *self, struct assay_str name, struct assay_str bytes, struct assay_err *err);
int bf_get(void *self, struct assay_str name, size_t max, struct assay_arena *arena, struct assay_str *out,
           struct assay_err *err);
int bf_stat(void *self, struct assay_str name, int64_t *bytes, struct assay_err *err);
int bf_del(void *self, struct assay_str name, struct assay_err *err);
int bf_health(void *self, struct assay_err *err);

/* plugin.c: where the options say that blobs are; malloc'ed */
int bf_root(const struct assay_host *host, char **root, struct assay_err *err) ASSAY_MUST_CHECK;

/* backup.c */
int bf_backup(const struct assay_host *host, const char *folder, struct assay_copy_count *count, struct assay_err *err);
int bf_restore(const struct assay_host *host, const char *folder, struct assay_copy_count *count, struct assay_err *err);

#endif
