/*
 * Configuration: one table of options (the core's rows and those of every plugin) and where each
 * value came from.
 *
 * A value is taken from the first of: a flag (--http-port=8080), the environment
 * (ASSAY_HTTP_PORT, then the older names of the row), the INI file, the default of the row.  A name
 * that no row has is an error that names the nearest row, in the file, in a flag and in any ASSAY_*
 * variable alike.  All faults are collected, so that one start shows them all.
 *
 * In the file, a key under [section] stands for section_key; keys before any section stand for
 * themselves.  Values are single lines without control characters; " ;" begins a comment.
 *
 * Ownership: the config borrows the rows (static tables of plugins) and owns the values.  Built and
 * resolved on the main thread; the getters are for any thread afterwards.
 */
#ifndef ASSAY_GATEWAY_CONFIG_H
#define ASSAY_GATEWAY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <assay/err.h>
#include <assay/hosting.h>
#include <assay/plugin.h>
#include <assay/str.h>

struct assay_config;

enum assay_config_source {
    ASSAY_CONFIG_DEFAULT,
    ASSAY_CONFIG_FILE,
    ASSAY_CONFIG_ENV,
    ASSAY_CONFIG_FLAG,
};

struct assay_config *assay_config_new(void); /* NULL on no memory */
void assay_config_free(struct assay_config *c);

/* Adds an owner's rows ("core", "store_sqlite"). ASSAY_E_CONFIG when a row is malformed, its default is
 * not a value of its type, or another row has its name or one of its older names. */
int assay_config_add(struct assay_config *c, const char *owner, const struct assay_table *options,
                     struct assay_err *err) ASSAY_MUST_CHECK;

struct assay_config_input {
    char *const *flags; /* NULL-terminated: the command line without the program's name and the commands */
    char *const *env;   /* "NAME=value", NULL-terminated */
    const char *file;   /* NULL: the option "config", then no file */
    bool lenient;       /* names that no row has are passed over: the first pass, before plugins are known */
};
/* Gives each row its value. ASSAY_E_CONFIG with the first fault; all of them: assay_config_problems.
 * May be called again (the values of the call before are dropped). */
int assay_config_resolve(struct assay_config *c, const struct assay_config_input *in, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* One fault a line; "" when there is none. */
const char *assay_config_problems(const struct assay_config *c);

/* In a child of the supervisor: takes the values that assay_config_lines wrote there. */
int assay_config_take(struct assay_config *c, const struct assay_options *o, struct assay_err *err) ASSAY_MUST_CHECK;
/* "name=value" lines, numbers in plain decimal; rows with a secret only when asked. */
void assay_config_lines(const struct assay_config *c, bool secrets, struct assay_buf *out);

/* Sets a value from inside the program (a default that depends on the machine). */
int assay_config_set(struct assay_config *c, const char *name, const char *text, const char *origin,
                     struct assay_err *err) ASSAY_MUST_CHECK;

bool assay_config_has(const struct assay_config *c, const char *name);
/* The name must be a row's. "" when unset. */
const char *assay_config_str(const struct assay_config *c, const char *name);
int64_t assay_config_int(const struct assay_config *c, const char *name);
enum assay_config_source assay_config_source(const struct assay_config *c, const char *name);
const char *assay_config_origin(const struct assay_config *c, const char *name); /* "ASSAY_HTTP_PORT", "/etc/assay/assay.ini:3" */

/* Every value and where it came from, secrets masked. The text form is a valid INI file. */
int assay_config_dump(const struct assay_config *c, bool json, struct assay_buf *out, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* The rows as help text. */
void assay_config_help(const struct assay_config *c, struct assay_buf *out);

#endif
