/*
 * From a command line to a checked set of plugins and a resolved configuration: what the start, the
 * commands (--dump-config, --dump-routes, --doctor, --help) and the server's process have in common.
 *
 * Main thread only.
 */
#ifndef ASSAY_GATEWAY_SETUP_H
#define ASSAY_GATEWAY_SETUP_H

#include <sys/types.h>

#include <assay/err.h>
#include <assay/hosting.h>

#include "config.h"
#include "plugins.h"
#include "tls.h"

/* Exit status when starting again cannot help: EX_CONFIG of sysexits.h. */
#define ASSAY_EXIT_CONFIG 78

#define ASSAY_SETUP_BROKERS 8
#define ASSAY_SETUP_DRIVERS (3 + ASSAY_SETUP_BROKERS)

struct assay_setup {
    struct assay_config *config;
    struct assay_plugins plugins;
    struct assay_option *core; /* the core's rows, with the defaults of this machine */
    char *text[8];             /* those defaults */
    const char *store, *blobs; /* names of the driver plugins that the configuration asks for */
    const char *driver[ASSAY_SETUP_DRIVERS + 1]; /* the two, that of sessions and those of the brokers, NULL-terminated */
    const char *mail, *sessions; /* the plugin, or NULL */
    char broker[ASSAY_SETUP_BROKERS][72];
    size_t n_brokers;
};

/* The core's table alone: enough for --help and to find the plugins. */
int assay_setup_core(struct assay_setup *s, struct assay_err *err) ASSAY_MUST_CHECK;
/* Loads the plugins of plugin_path and resolves the whole table. Faults of the configuration:
 * ASSAY_E_CONFIG, all of them in assay_config_problems(s->config). */
int assay_setup_resolve(struct assay_setup *s, char *const *flags, char *const *env, struct assay_err *err) ASSAY_MUST_CHECK;
/* The same in the server: values come from the supervisor. */
int assay_setup_adopt(struct assay_setup *s, const struct assay_options *o, struct assay_err *err) ASSAY_MUST_CHECK;
/* Validates all tables, selects and orders. After resolve or adopt. */
int assay_setup_plugins(struct assay_setup *s, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_setup_free(struct assay_setup *s);

/* Started as root, whom the server becomes: server_user, else "assay" if there is such an account, else
 * 65534. Otherwise the caller itself. */
int assay_setup_identity(const char *server_user, uid_t *uid, gid_t *gid, struct assay_err *err) ASSAY_MUST_CHECK;

/* Descriptors beside those of connections: listeners, the database and its readers, blobs, wardens, spooled bodies. */
#define ASSAY_SETUP_OTHER_DESCRIPTORS 1024
/* How many descriptors this process may have, after raising its limit to what http_connections_max needs (raise), or
 * how many it could have (otherwise; root may go further). */
int64_t assay_setup_descriptors(const struct assay_config *c, bool raise);

/* The options of TLS; cert_file is "" where there is none. The strings are the configuration's. */
struct assay_tls_config assay_setup_tls(const struct assay_config *c);

/* Event loops for the option http_loops, 0 taken for "as many as processors, at most 4". */
unsigned assay_setup_loops(int64_t configured);

#endif
