/*
 * PITs: how a project (a ZIP of many files) is built and tested, and the message that asks for it.
 *
 * A PIT is a JSON object, in a file pits/<id>.json or made over HTTP:
 *   {"language":…,"buildTool":…,"testCommand":…,"maxTimeoutMs":…,
 *    "setupCommands":[…],"environment":{…},"requiredFiles":[…],"reports":[…],"title":…,"description":…}
 * Each member may also be spelt in snake_case.  What a PIT leaves out comes from default.json.
 *
 * The message is {"submissionId":…,"fileKey":…,"userId":…,"pitId":…,"createdAt":…}, as the older course platform has it on SQS; "assay"
 * carries what a gateway tells its runners beside that.  The same text is what a leased project's payload says.
 *
 * Objects: submissions/<userId>/<pitId>/<name>.zip, pits/<pitId>/tests.zip, logs/<submissionId>/run.log.
 *
 * Stateless; any thread.  What is decoded are views into the arena.
 */
#ifndef ASSAY_PIT_H
#define ASSAY_PIT_H

#include <stdint.h>

#include <assay/err.h>
#include <assay/json.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ASSAY_PIT_FILE_MAX ((size_t)256 << 10)   /* bytes of a PIT */
#define ASSAY_PIT_COMMAND_MAX 8192               /* of a command */
#define ASSAY_PIT_COMMANDS_MAX 32                /* setup commands; required files and report patterns: four times that */
#define ASSAY_PIT_TIMEOUT_MAX_MS INT64_C(3600000)
#define ASSAY_PIT_KEY_MAX 300                    /* of an object's name */
#define ASSAY_PIT_DEFAULT "default"              /* the file that fills what others leave out */

struct assay_pit {
    struct assay_str title, description, language, build_tool, test_command;
    int64_t max_timeout_ms; /* 0: not said */
    struct assay_strs setup_commands;
    struct assay_json_map environment;
    struct assay_strs required_files; /* relative to the project's top */
    struct assay_strs reports;        /* patterns of JUnit files; none: every XML file that is one */
    struct assay_str tests_key;       /* the object with the instructor's tests, or "" */
};

extern const struct assay_json_field assay_pit_fields[]; /* of struct assay_pit; for codecs with more members, first */

/* ASSAY_E_INVALID says what is wrong and where, of the text or of a rule. Members that are not known are refused. */
int assay_pit_decode(struct assay_str json, struct assay_arena *arena, struct assay_pit *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* The rules beyond types: paths that stay inside, names of variables. Faults go to f with pointers. */
void assay_pit_check(const struct assay_pit *p, struct assay_json_faults *f, struct assay_arena *arena);
/* Members of an object that the caller has begun and will end, in camelCase; what is empty is left out. */
void assay_pit_write(struct assay_jw *w, const struct assay_pit *p);
/* Where p says nothing, what dflt says; each list as a whole. */
void assay_pit_fill(struct assay_pit *p, const struct assay_pit *dflt);

/* The folders in which PIT files are looked for, the last first: <share_dir>/pits, then those of path ("a:b"). */
int assay_pit_dirs(const char *share_dir, const char *path, struct assay_arena *arena, struct assay_strs *out, struct assay_err *err)
    ASSAY_MUST_CHECK;
/* Reads <dir>/<id>.json, filled from default.json where that is. ASSAY_E_NOT_FOUND; ASSAY_E_CONFIG names a file that is wrong. Blocks. */
int assay_pit_load(const struct assay_strs *dirs, struct assay_str id, struct assay_arena *arena, struct assay_pit *out,
                   struct assay_err *err) ASSAY_MUST_CHECK;
/* The ids of all files there, in order, each once; default is left out. Blocks. */
int assay_pit_list(const struct assay_strs *dirs, struct assay_arena *arena, struct assay_strs *out, struct assay_err *err)
    ASSAY_MUST_CHECK;

struct assay_project {
    struct assay_str submission_id, file_key, user_id, pit_id, created_at; /* the last as it was written; "" when it was not */
    struct assay_str assay; /* raw JSON, or "" */
};
/* ASSAY_E_NOT_FOUND: the text is no such message (it has no fileKey). ASSAY_E_INVALID: it is one that breaks a rule, such as a key
 * that is not the user's. */
int assay_project_decode(struct assay_str json, struct assay_arena *arena, struct assay_project *out, struct assay_err *err)
    ASSAY_MUST_CHECK;
int assay_project_encode(const struct assay_project *p, struct assay_buf *out, struct assay_err *err) ASSAY_MUST_CHECK;
/* Takes submissions/<user>/<pit>/<name>.zip apart; false when it is none. */
bool assay_project_key(struct assay_str key, struct assay_str *user, struct assay_str *pit);

/* ---- interface "assay.pits": of the service that keeps them ---- */

#define ASSAY_PITS_INTERFACE "assay.pits"
#define ASSAY_PITS_VERSION 1u
struct assay_pits_ops {
    uint32_t size;
    /* The PIT as it is now, made over HTTP or in a file. ASSAY_E_NOT_FOUND: there is none, or it is not active. Blocks. */
    int (*get)(void *self, struct assay_str id, struct assay_arena *arena, struct assay_pit *out, struct assay_err *err);
};

#ifdef __cplusplus
}
#endif
#endif
