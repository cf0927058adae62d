/*
 * Shared by the files of the boxkeeper.  Everything here runs on its one thread.
 */
#ifndef ASSAY_BOXKEEPER_LOCAL_H
#define ASSAY_BOXKEEPER_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

#include <assay/boxkeeper_wire.h>
#include <assay/hosting.h>
#include <assay/plugin.h>
#include <assay/sandbox.h>
#include <assay/value.h>

#define BK_VERSION "0.1.0"
#define BK_DRIVERS_MAX 16

/* ---- log.c: one line, one write; never fails, never blocks for long ---- */
void bk_log_setup(enum assay_log_level least, bool json);
void bk_log(enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n);
#define BK_LOG(level, event, ...)                                                                                      \
    bk_log((level), (event), (const struct assay_kv[]){__VA_ARGS__},                                                   \
           sizeof((const struct assay_kv[]){__VA_ARGS__}) / sizeof(struct assay_kv))

/* ---- options.c: what the supervisor resolved, else the default of the table ---- */
struct bk_options;
int bk_options_new(int fd, struct bk_options **out, struct assay_err *err) ASSAY_MUST_CHECK; /* fd -1: defaults only */
void bk_options_free(struct bk_options *o);
/* Checks every row's value against its type and bounds. The table must outlive o. */
int bk_options_table(struct bk_options *o, const struct assay_table *t, struct assay_err *err) ASSAY_MUST_CHECK;
const char *bk_options_str(const struct bk_options *o, const char *name);
int64_t bk_options_int(const struct bk_options *o, const char *name);

/* ---- metrics.c ---- */
struct bk_metrics;
struct bk_metrics *bk_metrics_new(void);
void bk_metrics_free(struct bk_metrics *m);
void bk_metrics_add(struct bk_metrics *m, const struct assay_metric *row, const char *const *labels, double by);
void bk_metrics_set(struct bk_metrics *m, const struct assay_metric *row, const char *const *labels, double to);
void bk_metrics_observe(struct bk_metrics *m, const struct assay_metric *row, const char *const *labels, double v);
void bk_metrics_render(const struct bk_metrics *m, struct assay_buf *out); /* Prometheus text */

/* ---- privilege.c ---- */
struct bk_privilege {
    bool root;
    unsigned dropped;  /* capabilities given away */
    const char *lacks; /* a capability that drivers need and the process was not given, or NULL */
};
int bk_privilege_trim(struct bk_privilege *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- drivers.c ---- */
struct bk_driver {
    const struct assay_plugin *plugin;
    const struct assay_sandbox_ops *ops;
    void *self;
    const char *name; /* "native" for the plugin "sandbox_native" */
    bool up;          /* init and start went well */
};

struct bk {
    struct bk_options *options;
    struct bk_metrics *metrics;
    struct assay_host host;
    char instance_id[ASSAY_ID_SIZE];
    struct bk_privilege privilege;
    struct bk_driver driver[BK_DRIVERS_MAX];
    size_t n_drivers;
    size_t chosen;
    char why[256]; /* this driver was chosen */

    int control, peer, signals;
    struct bk_outbox *outbox;
    bool stop;
};

extern const struct assay_metric bk_metric_opens, bk_metric_open_seconds, bk_metric_garbage, bk_metric_peers;

/* Loads every sandbox_* plugin of plugin_path, checks its tables, inits and starts it. */
int bk_drivers_load(struct bk *bk, struct assay_err *err) ASSAY_MUST_CHECK;
/* Sets chosen and why by the option `sandbox`. */
int bk_drivers_choose(struct bk *bk, struct assay_err *err) ASSAY_MUST_CHECK;
void bk_drivers_end(struct bk *bk);
struct bk_driver *bk_driver_find(struct bk *bk, struct assay_str name); /* "" is the chosen one; NULL: no such driver */
int bk_drivers_info(struct bk *bk, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;
int bk_drivers_doctor(struct bk *bk, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- peer.c: the server's socket ---- */
#define BK_OUTBOX_MAX 64 /* replies that wait for a server that does not read; then requests are not read either */
int bk_peer_new(struct bk *bk, struct assay_err *err) ASSAY_MUST_CHECK;
void bk_peer_free(struct bk *bk);
void bk_peer_replace(struct bk *bk, int fd); /* takes fd (-1: none); ends what the peer before had */
short bk_peer_events(const struct bk *bk);
void bk_peer_ready(struct bk *bk, short revents);

#endif
