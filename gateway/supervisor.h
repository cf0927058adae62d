/*
 * The supervisor: the process that was started by hand or by the system, and the parent of the two
 * that work.  It parses no HTTP, loads no plugin and opens no database; it owns what must outlive a
 * crash of the others, the listening sockets and the lock of the data directory.
 */
#ifndef ASSAY_GATEWAY_SUPERVISOR_H
#define ASSAY_GATEWAY_SUPERVISOR_H

/* Resolves flags and environment in a child, then runs until it is told to stop. Returns the exit status:
 * 0 after an orderly stop, ASSAY_EXIT_CONFIG when starting again cannot help, 70 when a child keeps dying or does
 * not end well. */
int assay_supervisor_main(char *const *flags, char *const *env);
/* With the lock of the data directory and as the server's user, but without network and boxes: has the server's process
 * reset the event cursor of a group, and gives its exit status. */
int assay_supervisor_reset_cursor(char *const *flags, char *const *env, const char *group);

#endif
