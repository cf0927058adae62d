/*
 * assayd --doctor: what this machine and configuration offer, what is missing, and how to mend it.
 * Starts no server; asks the sandbox drivers through a boxkeeper of its own, on a data directory of
 * its own, so that it may be run beside a working server.
 */
#ifndef ASSAY_GATEWAY_DOCTOR_H
#define ASSAY_GATEWAY_DOCTOR_H

#include <stdbool.h>

/* Prints a table, or JSON. Returns 0, or 1 when something is missing without which nothing is judged. */
int assay_doctor_main(char *const *flags, char *const *env, bool json);

#endif
