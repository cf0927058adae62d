/*
 * Shared by the files of sandbox_native.  Everything runs on the boxkeeper's one thread, except what
 * a forked child does before it execs or exits.
 */
#ifndef ASSAY_SANDBOX_NATIVE_LOCAL_H
#define ASSAY_SANDBOX_NATIVE_LOCAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <assay/leaves.h>
#include <assay/plugin.h>
#include <assay/sandbox.h>
#include <assay/warden_wire.h>

#define SN_PATH 512
#define SN_WARDENS_MAX 1024 /* what option max_wardens may say */

/* ---- paths.c: what of the host a box sees ---- */
/* Makes the directory of reduced boxes, which only we may have made before. */
int sn_reduced_dir(const char *dir, bool root, struct assay_err *err) ASSAY_MUST_CHECK;
#define SN_ARGS 128
struct sn_paths {
    char *arg[SN_ARGS]; /* "--bind-try=/etc/alternatives", ... owned */
    size_t n;
};
/* base: the root whose /usr boxes see, "" for this machine's; hides are of this machine's only. */
int sn_paths_make(struct sn_paths *p, const char *base, const char *binds, const char *hides, const char *data_dir,
                  struct assay_err *err)
    ASSAY_MUST_CHECK;
void sn_paths_free(struct sn_paths *p);

/* ---- probe.c: what the kernel lets this process do ---- */
struct sn_probe {
    bool namespaces;
    char namespaces_why[200];
    bool seccomp;
    char seccomp_why[120];
    int landlock; /* its version; 0: none */
};
void sn_probe_run(struct sn_probe *p, bool root);
/* Ends wardens of this data directory that a dead boxkeeper left. The number ended. */
size_t sn_probe_strays(const char *name);

/* ---- spawn.c ---- */
/* Forks and execs; stream and control become descriptors 3 and 4. control may be -1. */
int sn_spawn(const char *path, char *const argv[], int stream, int control, pid_t *pid, struct assay_err *err)
    ASSAY_MUST_CHECK;

/* ---- driver.c ---- */
enum sn_layer { SN_NAMESPACES = 1 << 0, SN_SECCOMP = 1 << 1, SN_CGROUP = 1 << 2 };

enum sn_state { SN_FREE, SN_POOL, SN_OUT, SN_ENDING, SN_GONE /* dead; its leaves still empty themselves */ };
struct sn_warden {
    uint64_t id;
    enum sn_state state;
    pid_t pid;
    int stream;   /* ours only while in the pool, else -1 */
    int control;
    bool greeted; /* its HELLO waits in the stream */
    bool image;   /* its root is not the default one: what ails it says nothing of the others */
    int64_t born_ns;
    int64_t kill_ns; /* ENDING, reduced: when asking turns into killing; 0: killed already */
    struct assay_leaf_set leaves;
};

struct sn_driver {
    const struct assay_host *host;
    bool root;
    bool reduced;     /* sandbox=reduced: boxes without namespaces */
    const char *mode; /* "native", "native-userns" or "reduced" */
    char reduced_dir[SN_PATH]; /* where their directories are: one below it for each slot */
    char warden_path[SN_PATH];
    char name[ASSAY_LEAVES_NAME];
    uint32_t uid_base;
    size_t max_wardens, pool_min, pool_max, pool_target;
    uint32_t require; /* of enum sn_layer */
    struct sn_paths paths;  /* of the default root */
    char rootfs[SN_PATH];   /* the default root, "": this machine's */
    const char *images;     /* folders below which other roots may lie */
    const char *binds, *data_dir;
    struct sn_probe probe;
    struct assay_leaves leaves;
    struct sn_warden *w; /* max_wardens slots */
    size_t next_slot;
    uint64_t next_id;
    int epoll;
    /* demand, for the pool's size */
    size_t opens_now, opens_peak;
    int64_t window_ns;
    /* wardens that die at once: no use to make more at speed */
    unsigned failures;
    int64_t retry_ns;
    char failure[200];
    uint32_t features; /* of the last HELLO seen */
    bool features_known;
};

void sn_count(const struct sn_driver *d, size_t by_state[SN_GONE + 1]);
int sn_usable(void *self, struct assay_err *err) ASSAY_MUST_CHECK;
extern const struct assay_sandbox_ops sn_ops;
extern const struct assay_metric sn_metrics[];
enum sn_metric_row {
    SN_M_WARDENS, SN_M_LEAVES, SN_M_SPAWNS, SN_M_DEATHS, SN_M_SPENT, SN_M_POOL_MISSES, SN_M_REAPED, SN_M_COUNT
};
int sn_init(const struct assay_host *host, void **self, struct assay_err *err);
void sn_drain(void *self);
void sn_fini(void *self);

/* ---- doctor.c ---- */
int sn_doctor(void *self, struct assay_buf *out, struct assay_err *err);
int sn_info(void *self, struct assay_buf *out, struct assay_err *err);
int sn_place(const struct sn_driver *d, const char *base, struct assay_buf *out, struct assay_err *err)
    ASSAY_MUST_CHECK; /* as sandbox.h says of open */

#endif
