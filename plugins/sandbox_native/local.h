/*
 * Shared by the files of sandbox_native.  Everything runs on the boxkeeper's one thread, except what
 * a forked child does before it execs or exits.
 */
#ifndef ASSAY_SANDBOX_NATIVE_LOCAL_H
#define ASSAY_SANDBOX_NATIVE_LOCAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <assay/plugin.h>
#include <assay/sandbox.h>
#include <assay/warden_wire.h>

#define SN_PATH 512
#define SN_NAME 40          /* "assay-" and 16 hex digits of the data directory's hash */
#define SN_WARDENS_MAX 1024 /* what option max_wardens may say */
#define SN_AHEAD 2          /* version 2 leaves that a warden has at once: one in use, one waiting */

/* ---- leaves.c, leaves_v1.c, leaves_v2.c: places where a box's program tree is accounted ---- */

enum sn_controller { SN_MEMORY, SN_CPU, SN_PIDS, SN_CONTROLLERS };
extern const char *const sn_controller_names[SN_CONTROLLERS]; /* as version 1 calls them */

struct sn_leaves {
    const struct assay_host *host;
    int version;                              /* 0: none, boxes run without */
    char name[SN_NAME];                       /* the group's directory below its parent */
    char group[SN_CONTROLLERS][SN_PATH];      /* v1: one each, "" when missing; v2: only SN_MEMORY is set */
    char life[9];                             /* of this process: leaves are called <life>-<id> */
    char trouble[400];                        /* what is missing, "" for nothing; for doctor and messages */
    char remedy[300];
    bool moved;                               /* v2: the processes of our own cgroup were moved to "keeper" */
    uint64_t next_id;
    size_t count, limit;                      /* leaves that exist, and how many may */
};

struct sn_leaf {
    uint64_t id; /* 0: none */
};

/* Finds out what this machine offers and makes the group; never fails: without it version is 0 and trouble is set. */
void sn_leaves_open(struct sn_leaves *l, const struct assay_host *host, const char *hash, const char *parent,
                    size_t limit);
/* Kills and removes every group of this data directory's name, wherever it may have been made. The number
 * of leaves removed; *left counts those that would not go. */
size_t sn_leaves_reap(struct sn_leaves *l, size_t *left);
void sn_leaves_close(struct sn_leaves *l); /* the group itself; leaves must be gone */
/* ASSAY_E_BUSY at the limit. */
int sn_leaf_make(struct sn_leaves *l, struct sn_leaf *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Sends its descriptors to a warden. */
int sn_leaf_send(struct sn_leaves *l, const struct sn_leaf *leaf, int control, struct assay_err *err) ASSAY_MUST_CHECK;
/* Kills what is inside and removes it. False: not yet empty, try again soon. */
bool sn_leaf_remove(struct sn_leaves *l, struct sn_leaf *leaf);

/* for the two versions: */
struct sn_mount { /* a mounted cgroup hierarchy */
    char point[SN_PATH];
    char root[SN_PATH];    /* what part of the hierarchy is mounted there */
    char options[256];     /* ",memory,..." with commas around */
};
bool sn_mount_find(int version, const char *controller, struct sn_mount *out);
/* The path of the process's own cgroup below the mount's point; "" for its top. */
bool sn_own_cgroup(const struct sn_mount *m, const char *controller, char out[SN_PATH]);
int sn_write(const char *dir, const char *file, const char *text); /* 0 or -errno */
bool sn_join(char out[SN_PATH], const char *dir, const char *name);
bool sn_kill_inside(const char *dir, int version); /* true when nothing is left */
void sn_v1_open(struct sn_leaves *l, const char *parent);
void sn_v2_open(struct sn_leaves *l, const char *parent);

/* ---- paths.c: what of the host a box sees ---- */
#define SN_ARGS 128
struct sn_paths {
    char *arg[SN_ARGS]; /* "--bind-try=/etc/alternatives", ... owned */
    size_t n;
};
int sn_paths_make(struct sn_paths *p, const char *binds, const char *hides, const char *data_dir, struct assay_err *err)
    ASSAY_MUST_CHECK;
void sn_paths_free(struct sn_paths *p);

/* ---- probe.c: what the kernel lets this process do ---- */
struct sn_probe {
    bool namespaces;
    char namespaces_why[200];
    bool seccomp;
    char seccomp_why[120];
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
    int64_t born_ns;
    struct sn_leaf leaf[SN_AHEAD];
    struct sn_leaf dying[SN_AHEAD + 2]; /* not yet empty */
};

struct sn_driver {
    const struct assay_host *host;
    bool root;
    const char *mode; /* "native" or "native-userns" */
    char warden_path[SN_PATH];
    char name[SN_NAME];
    uint32_t uid_base;
    size_t max_wardens, pool_min, pool_max, pool_target;
    uint32_t require; /* of enum sn_layer */
    struct sn_paths paths;
    struct sn_probe probe;
    struct sn_leaves leaves;
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
int sn_place(const struct sn_driver *d, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK; /* as sandbox.h says of open */

#endif
