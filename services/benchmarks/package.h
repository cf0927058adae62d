/*
 * Problem packages: the ICPC/Kattis problem package format, legacy and 2023-07, as a ZIP.
 *
 *   bytes ─package_unzip─▶ files ─package_translate─▶ the JSON that POST /benchmarks takes, and the jury's submissions
 *
 * A package is a stranger's: names, sizes and counts are bounded before anything is read, nothing is written to a disk.
 * What is wrong with it is said as faults that name file and, where there is one, line; what is not understood and does no harm as
 * notes.  docs/packages.md says what of the format is taken and how.  No I/O; any thread.
 */
#ifndef BENCHMARKS_PACKAGE_H
#define BENCHMARKS_PACKAGE_H

#include <assay/err.h>
#include <assay/json.h>
#include <assay/str.h>

#define PACKAGE_FILES_MAX 10000
#define PACKAGE_FILE_BYTES ((size_t)32 << 20)
#define PACKAGE_BYTES ((size_t)128 << 20) /* of all files together, unpacked */
#define PACKAGE_PATH_MAX 300
#define PACKAGE_DEPTH_MAX 8
#define PACKAGE_NOTES_MAX 50

struct package_file {
    struct assay_str path, bytes;
};
struct package {
    struct package_file *file; /* by path, in the order of memcmp */
    size_t n;
    struct assay_str name; /* of the folder that it all was in, or "" */
    struct assay_str note[PACKAGE_NOTES_MAX];
    size_t n_notes;
    bool no_memory; /* beyond what the arena knows: then nothing that was found out counts */
    struct assay_arena *arena;
    struct assay_json_faults *faults;
};

void package_fault(struct package *p, const char *file, int64_t line, const char *fmt, ...) ASSAY_PRINTF(4, 5);
void package_note(struct package *p, const char *fmt, ...) ASSAY_PRINTF(2, 3);
const struct package_file *package_find(const struct package *p, const char *path);

/* How a step over the package ends: ASSAY_E_NOMEM, whatever faults there are; ASSAY_E_INVALID, and they say why; ASSAY_OK. */
int package_end(const struct package *p, struct assay_err *err) ASSAY_MUST_CHECK;
int package_unzip(struct assay_str zip, struct package *p, struct assay_err *err) ASSAY_MUST_CHECK;

/* ---- package_yaml.c ---- */

struct yaml;
struct yaml_node;
/* NULL and a fault when it cannot be read; an empty file is an empty mapping. Freed by yaml_free. */
struct yaml *yaml_load(struct package *p, const struct package_file *file);
void yaml_free(struct yaml *y);
static inline void yaml_freep(struct yaml **y)
{
    yaml_free(*y);
    *y = NULL;
}
#define YAML_CLEANUP __attribute__((cleanup(yaml_freep)))
struct yaml_at { /* a node, or nothing (node 0) */
    struct yaml *y;
    int node;
};
enum yaml_kind { YAML_NOTHING, YAML_TEXT, YAML_LIST, YAML_MAP };
struct yaml_at yaml_root(struct yaml *y);
enum yaml_kind yaml_kind(struct yaml_at at);
int64_t yaml_line(struct yaml_at at);
struct yaml_at yaml_get(struct yaml_at map, const char *key); /* nothing when it has none, or an empty or null one */
struct assay_str yaml_text(struct yaml_at at);                /* "" when it is no text */
size_t yaml_count(struct yaml_at at);                         /* of a list or a map */
struct yaml_at yaml_item(struct yaml_at list, size_t i);
struct assay_str yaml_key(struct yaml_at map, size_t i, struct yaml_at *value);
const char *yaml_file(struct yaml_at at);

/* ---- package.c ---- */

const char *package_language(struct assay_str path); /* by its ending; NULL when that says nothing */

/* What POST /benchmarks takes (or POST /benchmarks/{id}/problems, when whole is false) goes to body. */
int package_translate(struct package *p, struct assay_str id, bool whole, struct assay_jw *body, struct assay_err *err) ASSAY_MUST_CHECK;
/* The jury's submissions as a JSON array. */
void package_submissions(struct package *p, struct assay_jw *w);

#endif
