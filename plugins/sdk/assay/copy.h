/*
 * Copies of files, for drivers that put what they keep into a backup or take it out of one.
 *
 * Any thread; nothing is kept.
 */
#ifndef ASSAY_COPY_H
#define ASSAY_COPY_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/value.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What has been copied so far. */
struct assay_copy_count {
    int64_t files, bytes;
};

/*
 * Copies the regular file `from` of one folder to the new file `to` of another (mode 0600, with the times of the first), and says what its
 * bytes hash to.  As root the copy belongs to whom its folder belongs.  Neither is reached through a link.  Not synced: the
 * caller does that once for all.  ASSAY_E_NOT_FOUND without a file, ASSAY_E_CONFLICT when there is one already; a copy that fails leaves none.
 */
int assay_file_copy(int from_folder, const char *from, int to_folder, const char *to, char sha256[ASSAY_SHA256_HEX],
                    struct assay_copy_count *count, struct assay_err *err) ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
