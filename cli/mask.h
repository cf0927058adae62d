/*
 * Masking: texts of a server without what is secret in them, for a support bundle.
 *
 * Two nets, since each alone has holes.  Values that are known to be secret (of this process's environment, of a configuration file)
 * are taken out wherever they stand; and what looks like a secret is, whatever it is called: passwords in URLs, bearer tokens,
 * JWTs, agents' tokens, keys of AWS, private keys, and in logs the value of anything whose name says password, secret, token and the
 * like.  Rather too much than too little.  No I/O but mask_file_secrets; one thread.
 */
#ifndef ASSAY_CLI_MASK_H
#define ASSAY_CLI_MASK_H

#include <stdbool.h>
#include <stddef.h>

struct mask;

struct mask *mask_new(void); /* never NULL */
void mask_free(struct mask *m);
/* A value that is secret, and each part of it that is (the password in a URL, the value of a header). Short ones are passed over: they
 * would blot out half of the text. */
void mask_secret(struct mask *m, const char *value);
/* Of all variables whose name sounds like a secret. */
void mask_environment(struct mask *m, char *const *env);
/* The same of a file of name = value lines. False: it cannot be read. */
bool mask_file_secrets(struct mask *m, const char *path);
/* Text without them, to be freed; *n is its length. names: also by the names of fields. */
char *mask_text(const struct mask *m, const char *text, size_t *n, bool names);

#endif
