/*
 * sandbox_native: wardens on this machine, over the host's own read-only /usr.  Tables only.
 */
#include "local.h"

static const struct assay_option options[] = {
    {.name = "warden_path", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "The assay-warden program; empty: the one beside assay-boxkeeper."},
    {.name = "box_uid_base", .type = ASSAY_OPT_INT, .default_text = "3000000", .min = 1000, .max = 2147400000,
     .help = "First uid and gid of boxes when started as root: each warden has its own, from here up."},
    {.name = "max_wardens", .type = ASSAY_OPT_INT, .default_text = "64", .min = 1, .max = SN_WARDENS_MAX,
     .help = "Most wardens at once; each runs one box at a time."},
    {.name = "pool_min", .type = ASSAY_OPT_INT, .default_text = "1", .min = 0, .max = 256,
     .help = "Fewest wardens that wait, started, for a runner."},
    {.name = "pool_max", .type = ASSAY_OPT_INT, .default_text = "8", .min = 0, .max = 256,
     .help = "Most wardens that wait, started, when many were asked for lately."},
    {.name = "require", .type = ASSAY_OPT_STRING, .default_text = "auto",
     .help = "Layers without which no box opens: a list of namespaces, seccomp and cgroup, or none; auto: all three "
             "as root, namespaces and seccomp otherwise."},
    {.name = "native_rootfs", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "A folder with a root of its own (usr, bin, lib ...) that boxes see instead of this machine's; empty: this machine's."},
    {.name = "native_images", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Folders, separated by commas, in or below which roots may lie that a language names as its image."},
    {.name = "native_binds", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "More of the host that boxes see, read-only: SRC or SRC:DST, separated by commas."},
    {.name = "native_hide", .type = ASSAY_OPT_STRING, .default_text = "/usr/local,/usr/src",
     .help = "What of the host's /usr boxes do not see, separated by commas."},
    {.name = "reduced_dir", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "With sandbox=reduced: the directory in which boxes have theirs; empty: one of this data directory's name in /tmp."},
    {.name = "native_cgroup_parent", .type = ASSAY_OPT_STRING, .default_text = "",
     .help = "Where below the cgroup mount the leaves are made; empty: where it may."},
};

const struct assay_metric sn_metrics[] = {
    [SN_M_WARDENS] = {.name = "assay_native_wardens", .type = ASSAY_METRIC_GAUGE,
        .help = "Wardens by state.", .labels = "state"},
    [SN_M_LEAVES] = {.name = "assay_native_leaves", .type = ASSAY_METRIC_GAUGE,
        .help = "cgroup leaves that exist.", .labels = ""},
    [SN_M_SPAWNS] = {.name = "assay_native_warden_starts_total", .type = ASSAY_METRIC_COUNTER,
        .help = "Wardens started.", .labels = "outcome"},
    [SN_M_DEATHS] = {.name = "assay_native_warden_ends_total", .type = ASSAY_METRIC_COUNTER,
        .help = "Wardens that ended.", .labels = "how"},
    [SN_M_SPENT] = {.name = "assay_native_leaves_spent_total", .type = ASSAY_METRIC_COUNTER,
        .help = "Leaves that wardens gave back.", .labels = "dirty"},
    [SN_M_POOL_MISSES] = {.name = "assay_native_pool_misses_total", .type = ASSAY_METRIC_COUNTER,
        .help = "Wardens that were asked for when none waited, so one was started on the way.", .labels = ""},
    [SN_M_REAPED] = {.name = "assay_native_reaped_total", .type = ASSAY_METRIC_COUNTER,
        .help = "Leftovers of a dead boxkeeper that were removed at start.", .labels = "what"},
};

ASSAY_PLUGIN_EXPORT extern const struct assay_plugin assay_plugin;
const struct assay_plugin assay_plugin = {
    ASSAY_PLUGIN_HEAD(ASSAY_PLUGIN_SANDBOX),
    .name = "sandbox_native",
    .version = "0.1.0",
    .summary = "Boxes on this machine, over its own read-only /usr",
    .options = ASSAY_TABLE(options),
    .metrics = ASSAY_TABLE(sn_metrics),
    .driver = &sn_ops,
    .init = sn_init,
    .drain = sn_drain,
    .fini = sn_fini,
};
