/*
 * assay, the command-line client.  It knows the HTTP API and nothing else of the project.
 *
 * One thread.  Commands return the process's exit status (enum cli_exit); whoever finds an error
 * says so on stderr at once, in the words of the person who typed the command, with what to do next.
 * Everything that came from the server and may hold a program's output goes through term_* on its
 * way to the screen.
 */
#ifndef ASSAY_CLI_H
#define ASSAY_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define CLI_VERSION "0.1.0"
#define CLI_DEFAULT_URL "http://127.0.0.1:8080"

#define CLI_MUST_CHECK __attribute__((warn_unused_result))
#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))

enum cli_exit {
    CLI_OK = 0,
    CLI_NOT_ACCEPTED = 1, /* a submission got another verdict than OK */
    CLI_USAGE = 2,
    CLI_UNREACHABLE = 3,
    CLI_REFUSED = 4,
    CLI_NOT_FOUND = 5,
    CLI_SIGN_IN = 6,
    CLI_SERVER = 7,  /* the server's own fault, or too busy after all retries */
    CLI_TIMEOUT = 8, /* --timeout passed before the verdict */
    CLI_LOCAL = 9,   /* a file, the configuration, memory */
};

struct cli {
    bool json;
    char *url;   /* without a slash at its end */
    char *ca;    /* file with the authorities that may vouch for it, absolute; NULL: the one remembered, else the system's */
    char *token; /* NULL: none */
    char *refresh;
    bool token_kept; /* the token is the configuration's, so a fresh one is written there */
    bool unsaved;    /* but not this one: it is for this process only */
    char *config_path;
    json_t *config; /* an object */
    void *curl;     /* api.c's */
};

struct cli_command {
    const char *name;
    int (*run)(struct cli *c, int argc, char **argv); /* argv[0] is the command */
    const char *usage;                                /* after "assay " */
    const char *summary;
    const char *help; /* options, one a line; may be NULL */
};

static inline void cli_freep(char **p)
{
    free(*p);
    *p = NULL;
}
#define CLI_CLEANUP_STR __attribute__((cleanup(cli_freep)))
static inline void cli_jsonp(json_t **j)
{
    json_decref(*j);
    *j = NULL;
}
#define CLI_CLEANUP_JSON __attribute__((cleanup(cli_jsonp)))

/* ---- main.c ---- */
const char *cli_ca(const struct cli *c); /* "": the system's */
int cli_usage(const struct cli_command *cmd, const char *fmt, ...) CLI_PRINTF(2, 3); /* CLI_USAGE */
const struct cli_command *cli_command_find(const char *name);
const struct cli_command *cli_commands(size_t *n); /* the table */
char *cli_strdup(const char *s);                       /* never NULL: no memory ends the program */
char *cli_fmt(const char *fmt, ...) CLI_PRINTF(1, 2);  /* same */

/*
 * Options of a command.  A row is either a flag (flag set) or takes a value (value, or list for those that
 * may be repeated).  --json, --url and --help are understood everywhere.
 */
struct cli_option {
    const char *name;  /* "benchmark": --benchmark X, --benchmark=X */
    char letter;       /* 'b': -b X; 0: none */
    bool *flag;
    const char **value;
    const char **list; /* room for list_max values */
    size_t list_max, *list_n;
};
/* Moves what is no option to the front of argv and sets *argc to their number (without argv[0]). */
int cli_options(struct cli *c, const struct cli_command *cmd, int *argc, char **argv, const struct cli_option *o)
    CLI_MUST_CHECK;

/* ---- help.c ---- */
void help_all(FILE *f);
void help_command(const struct cli_command *cmd);

/* ---- zip.c ---- */
int zip_file(const char *path, char **out, size_t *n) CLI_MUST_CHECK; /* any file's bytes, at most 64 MiB; a NUL follows them */
/* A folder as a ZIP, without hidden files. links: what links lead to goes in; else they are left out. */
int zip_folder(const char *path, bool links, char **out, size_t *n) CLI_MUST_CHECK;
bool zip_named(const char *path); /* a file whose name ends in .zip */
/* Each file of an archive but hidden ones, at most `most` bytes together. What is said of an archive that cannot be taken is said here. */
typedef int (*zip_fn)(void *arg, const char *name, const char *bytes, size_t n);
int zip_each(const char *path, size_t most, zip_fn fn, void *arg) CLI_MUST_CHECK;

/* ---- base64.c ---- */
char *base64_encode(const char *bytes, size_t n); /* NULL: no memory */
/* Bytes; 0 when it is none. out has room for 3 of 4. */
size_t base64_decode(const char *text, unsigned char *out);

/* ---- config.c ---- */
int config_load(struct cli *c) CLI_MUST_CHECK;
int config_save(struct cli *c) CLI_MUST_CHECK;
void config_url_set(struct cli *c, const char *url); /* and forgets the token of another server */
/* Sets or removes (value NULL) a text; not yet written. */
void config_set(struct cli *c, const char *key, const char *value);

/* ---- api.c ---- */
struct api_call {
    const char *method;
    const char *path;
    json_t *body;    /* borrowed; NULL: none */
    const char *raw; /* instead of it: bytes, and what they are; borrowed */
    size_t raw_n;
    const char *raw_type;
    bool create;     /* a POST that makes something: carries an Idempotency-Key, and so may be retried */
    const char *key; /* the Idempotency-Key, when it is the caller's own; NULL: a new one for each call */
    bool once;       /* no retries */
    bool quiet;      /* an answer of 4xx or 5xx is the caller's to explain */
    bool anonymous;  /* sends no token */
    bool elsewhere;  /* path is a whole URL, which the server gave */
};
struct api_answer {
    long status;
    json_t *json; /* NULL when the answer is no JSON */
    char *text;
    size_t text_n;
    char request_id[80];
    long retry_after_s;
};
void api_answer_free(struct api_answer *a);
#define API_CLEANUP __attribute__((cleanup(api_answer_free)))
void api_init(struct cli *c);
void api_end(struct cli *c);
int api_do(struct cli *c, const struct api_call *call, struct api_answer *out) CLI_MUST_CHECK;
int api_get(struct cli *c, const char *path, struct api_answer *out) CLI_MUST_CHECK;
int api_post(struct cli *c, const char *path, json_t *body, struct api_answer *out) CLI_MUST_CHECK; /* creates; takes body */
/* "/agents/" + escaped id + tail */
char *api_path(const char *before, const char *id, const char *tail);
void api_query(char **path, const char *key, const char *value); /* NULL value: nothing */
/* Follows next_cursor up to max items; the answer is an array. */
int api_list(struct cli *c, const char *path, size_t max, json_t **out) CLI_MUST_CHECK;
/* Says what a refusal means and what to do; the exit status for it. */
int api_refused(struct cli *c, const struct api_answer *a);

/* ---- events.c ---- */
/* Event streams. fn is called from within events_wait, for each event of stream `which`; data is borrowed. */
struct events;
typedef void (*events_fn)(void *arg, size_t which, const char *name, const json_t *data);
struct events *events_open(struct cli *c, size_t n, char *const *paths, events_fn fn, void *arg); /* NULL: none can be had */
bool events_alive(const struct events *e, size_t which); /* it may tell something yet */
bool events_wait(struct events *e, int ms); /* until something was told, or for that long; false at once: no stream is alive */
void events_close(struct events *e); /* NULL is fine */

/* ---- term.c ---- */
bool term_is_tty(FILE *f);
bool term_colour(FILE *f);
int term_columns(void);
/* Writes text that nobody vouches for: control characters, C1, bidi overrides and bytes that are no
 * UTF-8 as \xNN. Line feeds and tabs go through when lines is set, each line after `indent`. */
void term_text(FILE *f, const char *text, size_t n, bool lines, const char *indent);
void term_error(const char *fmt, ...) CLI_PRINTF(1, 2); /* "assay: ..." */
void term_note(const char *fmt, ...) CLI_PRINTF(1, 2);  /* a hint under it */
void term_json(const json_t *j);
void term_verdict(FILE *f, const char *verdict, int width);
char *term_secret(const char *prompt); /* without echo; NULL at end of file */
/* A table: add cells row by row, the first row is the head; columns of numbers are told by the head's
 * leading '>'. */
struct term_table {
    char **cell;
    size_t n, room, columns;
};
void term_cell(struct term_table *t, const char *text);
void term_cell_fmt(struct term_table *t, const char *fmt, ...) CLI_PRINTF(2, 3);
void term_table_print(struct term_table *t, FILE *f); /* and frees it */

/* ---- small readers of answers ---- */
const char *js_str(const json_t *o, const char *key);                        /* "" when absent or no string */
double js_num(const json_t *o, const char *key, double absent);
const char *js_id(const json_t *o);
void js_cell(struct term_table *t, const json_t *o, const char *key);        /* string, number, or "-" */
/* Prints a row for each object: a column for each head, with the member of that key. */
void js_table(const json_t *rows, size_t columns, const char *const *heads, const char *const *keys);

/* ---- the commands ---- */
struct pit_wish { /* of "assay pit", but new */
    const char *pit, *limit, *timeout;
    bool force, wait, no_wait;
};
int cmd_login(struct cli *c, int argc, char **argv);
int cmd_logout(struct cli *c, int argc, char **argv);
int cmd_register(struct cli *c, int argc, char **argv);
int cmd_whoami(struct cli *c, int argc, char **argv);
int cmd_agents(struct cli *c, int argc, char **argv);
int cmd_benchmarks(struct cli *c, int argc, char **argv);
int cmd_problems(struct cli *c, int argc, char **argv);
int cmd_sessions(struct cli *c, int argc, char **argv);
int cmd_token(struct cli *c, int argc, char **argv);
int cmd_leaderboard(struct cli *c, int argc, char **argv);
int cmd_submit(struct cli *c, int argc, char **argv);
int pit_command(struct cli *c, const struct cli_command *cmd, const struct pit_wish *w, int argc, char **argv); /* cmd_project.c */
int cmd_submissions(struct cli *c, int argc, char **argv);
int cmd_source(struct cli *c, int argc, char **argv);
int cmd_import(struct cli *c, int argc, char **argv);
int cmd_filter(struct cli *c, int argc, char **argv);
int cmd_export(struct cli *c, int argc, char **argv);
int cmd_cancel(struct cli *c, int argc, char **argv);
int cmd_rejudge(struct cli *c, int argc, char **argv);
int cmd_rejudgings(struct cli *c, int argc, char **argv);
int cmd_webhooks(struct cli *c, int argc, char **argv);
int cmd_watch(struct cli *c, int argc, char **argv);
int cmd_results(struct cli *c, int argc, char **argv);
int cmd_status(struct cli *c, int argc, char **argv);
int cmd_support_bundle(struct cli *c, int argc, char **argv);
int cmd_pit(struct cli *c, int argc, char **argv);

int cmd_help(struct cli *c, int argc, char **argv);
int cmd_completion(struct cli *c, int argc, char **argv);
int cmd_simulate(struct cli *c, int argc, char **argv);
int cmd_submit_samples(struct cli *c, int argc, char **argv);
/* sets/: whether import was called for a data set, and that. */
bool set_import_wanted(int argc, char **argv);
int set_import(struct cli *c, int argc, char **argv);

/* cmd_auth.c: signs in for this process alone; the password as login takes it. */
int cli_sign_in(struct cli *c, const char *login) CLI_MUST_CHECK;
/* watch.c: until all are done, or timeout_s (0: never) has passed. *final: array of submissions. */
int watch_until_done(struct cli *c, size_t n, const char *const *ids, double timeout_s, bool show, json_t **final)
    CLI_MUST_CHECK;
int watch_exit(const json_t *final); /* CLI_OK when all have verdict OK */
/* cmd_results.c: one line a test, and the build's log when it failed; and what more is asked for. */
enum results_more { RESULTS_VERDICTS = 0, RESULTS_OUTPUTS = 1, RESULTS_DIFF = 2 };
int results_show(struct cli *c, const char *id, unsigned more) CLI_MUST_CHECK;

/* diff.c: what was expected and what came, line by line, as a unified difference; nothing when they are equal. */
void diff_print(FILE *f, const char *expected, size_t n_expected, const char *got, size_t n_got, const char *indent);

#endif
