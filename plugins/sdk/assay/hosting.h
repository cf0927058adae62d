/*
 * For programs that load plugins (the server, the boxkeeper); plugins themselves have no use for it.
 *
 * Loading is in two steps on purpose.  assay_plugin_peek reads magic, size, ABI and kind out of the
 * ELF file as data, so a plugin of another ABI is refused before a line of its code, its
 * constructors included, has run.  assay_plugin_load peeks, then opens the file with
 * RTLD_NOW | RTLD_LOCAL (a missing symbol is found here, not in the middle of a request) and gives
 * the descriptor.  A loaded plugin stays for the life of the process.
 *
 * A child of the supervisor finds its control socket (packets of boxkeeper_wire.h) and its options at
 * fixed descriptors.  The options are a sealed memfd of "name=value" lines: every option of the
 * program that is not a secret, and for the server the secrets too.  Numbers, durations (ms), sizes
 * (bytes) and switches (0/1) are plain decimal there, so a child parses no configuration.
 *
 * Main thread only, but assay_options_* getters, which any thread may call.
 */
#ifndef ASSAY_HOSTING_H
#define ASSAY_HOSTING_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/plugin.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_plugin_peeked {
    uint32_t size;
    uint16_t abi_major, abi_minor;
    uint32_t kind;
};

/* What the file says of itself, without running it. ASSAY_E_UNSUPPORTED: not a plugin, or of an ABI
 * that this program does not speak; the message says which. */
int assay_plugin_peek(const char *path, struct assay_plugin_peeked *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Peeks, opens, and gives the plugin's descriptor, which stays valid for the life of the process. */
int assay_plugin_load(const char *path, const struct assay_plugin **out, struct assay_err *err) ASSAY_MUST_CHECK;

/* The files *.so in a colon-separated list of folders, by name within each folder. A folder that does
 * not exist is an error. The paths are freed with assay_plugin_paths_free. */
struct assay_plugin_paths {
    char **path;
    size_t n;
};
int assay_plugin_scan(const char *folders, struct assay_plugin_paths *out, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_plugin_paths_free(struct assay_plugin_paths *p);

/* The row of a table at i, or NULL; `covers` says whether a member lies within the rows. */
static inline const void *assay_table_row(const struct assay_table *t, uint32_t i)
{
    return i < t->count ? (const char *)t->rows + (size_t)i * t->stride : NULL;
}
#define ASSAY_ROW_COVERS(table, type, member)                                                                          \
    ((table)->stride >= offsetof(type, member) + sizeof(((type *)0)->member))

/* ---- what the supervisor hands its children ------------------------------------------------- */

struct assay_options;
/* Reads the memfd (from its start; the descriptor stays the caller's). */
int assay_options_read(int fd, struct assay_options **out, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_options_free(struct assay_options *o);
/* NULL for a name that is not there. */
const char *assay_options_str(const struct assay_options *o, const char *name);
/* dflt for a name that is not there or is empty. */
int64_t assay_options_int(const struct assay_options *o, const char *name, int64_t dflt);
size_t assay_options_count(const struct assay_options *o);
const char *assay_options_name(const struct assay_options *o, size_t i);

#ifdef __cplusplus
}
#endif
#endif
