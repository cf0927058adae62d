/*
 * A sandbox driver (kind ASSAY_PLUGIN_SANDBOX) decides where a warden stands, and nothing else.
 *
 * Loaded by the boxkeeper, called from its one thread only.  The host that it is given has log,
 * clocks, options and metrics; its store, blobs, offload and http members are NULL.
 */
#ifndef ASSAY_SANDBOX_H
#define ASSAY_SANDBOX_H

#include <stdint.h>
#include <sys/types.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_warden {
    int fd;      /* stream to hand to the runner; the driver keeps no copy */
    uint64_t id; /* the driver's name for it */
};

struct assay_sandbox_ops {
    uint32_t size;
    /* Removes what an earlier, dead boxkeeper of this data directory left: processes, cgroups, mounts, containers. */
    int (*reap)(void *self, struct assay_err *err);
    /*
     * A warden that stands ready. Must not block longer than a fork and exec: what is slow waits in pools.
     * image "" is the driver's default place (native: the host's root; docker: the configured image); a driver
     * without images refuses another one with ASSAY_E_UNSUPPORTED. On success a short JSON object is appended to
     * place, which says where the warden stands:
     *     {"driver":…, "mode":…, "image":… or null, "digest":… or null, "notes":[what a result's reader must know]}
     * digest is that of the image's layers, where there is one: two builds of the same content agree in it.
     */
    int (*open)(void *self, struct assay_str image, struct assay_warden *out, struct assay_buf *place, struct assay_err *err);
    /* The runner is done with it or died: end it and everything in it. id 0: every warden that was handed out. */
    void (*close)(void *self, uint64_t id);
    /* A descriptor to poll for the driver's own events (children, leaves), or -1; tick is called when it
     * is readable and at least once a second. */
    int (*pollfd)(void *self);
    void (*tick)(void *self);
    /* A child of the boxkeeper that was reaped. True when it was this driver's. */
    bool (*reaped)(void *self, pid_t pid, int wait_status);
    /* Appends a JSON object: {"driver":…, "usable":bool, "mode":…, "checks":[{"name","ok","detail","cost","remedy"}]} */
    int (*doctor)(void *self, struct assay_buf *out, struct assay_err *err);
    /* Whether a box could be opened now, from what is known already (no probe): 0, or why not. */
    int (*usable)(void *self, struct assay_err *err);
    /* Appends a JSON object, short: {"driver":…, "usable":bool, "why":…, "mode":…, "lacks":[what is missing, in words]} */
    int (*info)(void *self, struct assay_buf *out, struct assay_err *err);
    /* Why the warden died whose stream's end at the runner has this inode: by something outside of it and of what it
     * ran, which is then charged with nothing?  ASSAY_E_AGAIN: not known yet; ASSAY_E_NOT_FOUND.  NULL: the
     * driver cannot tell. */
    int (*fate)(void *self, uint64_t stream, bool *outside, struct assay_buf *why, struct assay_err *err);
};

struct assay_host;
/* Where the assay-warden program is: option warden_path; else in libexec_dir; else beside the program that
 * loaded the driver. "" when it is none of these. */
void assay_sandbox_find_warden(const struct assay_host *host, char *out, size_t room);

#ifdef __cplusplus
}
#endif
#endif
