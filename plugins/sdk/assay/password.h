/*
 * Passwords: Argon2id through libsodium (RFC 9106; parameters after OWASP's password storage sheet).
 *
 * Hashing is meant to be slow and hungry: tens of milliseconds and 32 MiB each.  So that a flood of
 * logins neither eats the machine nor every worker thread, at most ASSAY_PASSWORD_PARALLEL run at a
 * time in one plugin, ASSAY_PASSWORD_WAITING more wait, and further calls answer ASSAY_E_BUSY at
 * once.  Worker threads only.
 */
#ifndef ASSAY_PASSWORD_H
#define ASSAY_PASSWORD_H

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_PASSWORD_PARALLEL 2
#define ASSAY_PASSWORD_WAITING 4
#define ASSAY_PASSWORD_HASH 128 /* room for "$argon2id$v=19$m=...": salt and parameters are part of it */

int assay_password_hash(struct assay_str password, char out[ASSAY_PASSWORD_HASH], struct assay_err *err) ASSAY_MUST_CHECK;
/* *ok says whether the password is the one that was hashed. An empty hash costs the same time and is
 * never right, so that an unknown account cannot be told from a wrong password. */
int assay_password_verify(struct assay_str password, struct assay_str hash, bool *ok, struct assay_err *err)
    ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
