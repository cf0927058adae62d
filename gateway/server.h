/*
 * The server's process: everything assembled in one place, started in one order and stopped in the
 * reverse, in assay_server_main.  It holds no privilege; sockets, options and the lock come from the
 * supervisor.
 */
#ifndef ASSAY_GATEWAY_SERVER_H
#define ASSAY_GATEWAY_SERVER_H

#include <stdbool.h>

#include <assay/err.h>
#include <assay/json.h>
#include <assay/plugin.h>
#include <assay/str.h>

/* Descriptors as the supervisor lays them out for the server. */
#define ASSAY_SERVER_CONTROL_FD 3
#define ASSAY_SERVER_OPTIONS_FD 4
#define ASSAY_SERVER_LOCK_FD 5 /* held open so that the lock lasts as long as this process */
#define ASSAY_SERVER_LISTEN_FD 6 /* and the following ones */

/* --role=server --listeners=N --tls-listeners=M, or with --reset-cursor=GROUP only that. Returns the exit status. */
int assay_server_main(int argc, char **argv);

struct assay_server;
/* For the routes of the program itself: the server behind the host that it lent. Any thread. */
struct assay_server *assay_server_of(const struct assay_host *host);
/* Writes {"ready":…,"checks":[…]}. Worker threads. */
bool assay_server_readiness(struct assay_server *s, struct assay_jw *w);
int assay_server_metrics(struct assay_server *s, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;

#endif
