/*
 * The secrets that sign access tokens: the first signs, all are believed, so that one can follow another without anybody
 * signing in again.
 *
 * They come from options (jwt_signing_secret, then jwt_previous_secrets) or from a file with one on each line, "SECRET" or
 * "KID SECRET", which is read again when the program is told to (SIGHUP).  Lines that are empty or begin with # say nothing.
 *
 * Main thread.
 */
#ifndef ASSAY_GATEWAY_KEYS_H
#define ASSAY_GATEWAY_KEYS_H

#include <assay/err.h>
#include <assay/str.h>
#include <assay/value.h>

#include "gate.h"

struct assay_keys {
    struct assay_gate_key key[ASSAY_GATE_KEYS_MAX]; /* as the gate takes them; owned */
    size_t n;
};

/* Appends the entries of text: separated by `between`, in a file "KID SECRET". source names where it came from in errors,
 * which never hold any of it. */
int assay_keys_parse(struct assay_keys *k, struct assay_str text, char between, const char *source, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Reads a file of them; one that others may read is refused. ASSAY_E_NOT_FOUND: there is none. */
int assay_keys_read(struct assay_keys *k, const char *path, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_keys_clear(struct assay_keys *k);

#endif
