/*
 * assay-unpack: lays a submitted ZIP archive out as a tree of plain files, or refuses it.
 *
 *     assay-unpack [OPTION...] ARCHIVE DIRECTORY
 *
 * It runs inside a box: the archive and the names in it are a submission's, and so is what it takes of memory and time.
 * It is one static program (where the system has static libraries), so that it runs in every image. DIRECTORY exists; without --over
 * it is empty. One process, no threads; nothing outside DIRECTORY is written.
 *
 *     --over            what is there already may be replaced, file or folder: the archive wins (an instructor's tests)
 *     --require=PATH    a file or folder that the project needs, relative to its top; may be repeated (64 at most). See "the top folder"
 *     --max-files=N     entries of the archive, folders included (10000; at most 65534)
 *     --max-bytes=N     all files together, unpacked (268435456)
 *     --max-file-bytes=N  one file, unpacked (67108864)
 *     --max-ratio=N     unpacked bytes may be so many times the archive's (200); not looked at below 16 MiB
 *     --max-depth=N     parts of a path (32)
 *
 * Exit status, and one line of standard error, "assay-unpack: WORD: TEXT", that may be shown to whoever submitted:
 *
 *     0  unpacked. Standard output has one line: "unpacked FILES files, BYTES bytes", and ", without the folder NAME" when it was stripped
 *     1  refused: the archive breaks a rule. WORD is enum unpack_fault's, as unpack_word() gives it
 *     2  wrong usage
 *     3  damaged: it is not a ZIP archive, or broken, or made by a method that is not read here
 *     4  a fault of ours: DIRECTORY cannot be written (full included), or there is no memory
 *
 * The rules. Names are UTF-8 without control characters, 255 bytes a part, 1024 in all, relative, with "/" between the
 * parts ("\" counts as one in names without "/", as Windows makes them); "." parts are dropped, ".." is refused. Entries are files and folders: no
 * links, devices, pipes or sockets, nothing encrypted. No two have the same name, or names that differ only in upper and lower case
 * (ASCII, Latin, Greek, Cyrillic), and none lies below another that is a file. Sizes are those that come out, and not those that are declared. An
 * archive in an archive is a file like any other. Files become 0644, or 0755 when somebody could execute them; times are the
 * present, so that no file of a submission looks newer than the run of its tests. "__MACOSX" and ".DS_Store" are left out.
 *
 * The top folder. Many archives hold one folder with the project in it. It is stripped when all entries lie in that one folder, none
 * of the required paths is there as the archive stands, and at least one is inside the folder. Without --require nothing is stripped.
 *
 * All names are looked at before the first file is written; contents are checked while they are written, so what is in
 * DIRECTORY after a status other than 0 is to be thrown away.
 */
#ifndef ASSAY_UNPACK_H
#define ASSAY_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <assay/str.h>

#define UNPACK_PATH_MAX 1024u /* bytes of a path */
#define UNPACK_PART_MAX 255u  /* of one of its parts */
#define UNPACK_REQUIRED_MAX 64u
#define UNPACK_FILES_MAX 65534

enum unpack_fault {
    UNPACK_FINE,
    UNPACK_NAME,      /* "bad_name": not UTF-8, a control character, empty, too long, too deep */
    UNPACK_ESCAPE,    /* "escapes": absolute, or by ".." */
    UNPACK_KIND,      /* "not_a_file": a link, device, pipe or socket */
    UNPACK_TWICE,     /* "name_twice": the same name again, or but for upper and lower case, or below a file */
    UNPACK_ENCRYPTED, /* "encrypted" */
    UNPACK_FILES,     /* "too_many_files" */
    UNPACK_BYTES,     /* "too_large": a file, or all together */
    UNPACK_RATIO,     /* "bomb": unpacks to too many times its size */
    UNPACK_DAMAGED,   /* "damaged": exit status 3 */
    UNPACK_OURS,      /* "failed": exit status 4 */
};
const char *unpack_word(enum unpack_fault f);

struct unpack_limits {
    int64_t files, bytes, file_bytes, ratio, depth;
};
#define UNPACK_LIMITS_DEFAULT {10000, INT64_C(256) << 20, INT64_C(64) << 20, 200, 32}

struct unpack_outcome {
    enum unpack_fault fault;
    char text[400]; /* one printable line, with what is wrong and where */
    int64_t files, bytes;
    char stripped[UNPACK_PART_MAX + 1]; /* the top folder that was, or "" */
};

/* Unpacks the archive of descriptor `archive` (a regular file) into the directory `into`. False, and the fault in *out, otherwise. */
bool unpack(int archive, int into, bool over, const struct unpack_limits *limits, const char *const *required, size_t n_required,
            struct unpack_outcome *out);

/* ---- names.c: pure ---- */

/*
 * Makes of an entry's name the path that it gets: parts joined by single "/", no "." and no trailing "/". UNPACK_FINE, with *n 0
 * for a name of nothing but "." parts; or UNPACK_NAME or UNPACK_ESCAPE and *why, a constant text.
 */
enum unpack_fault unpack_path(struct assay_str name, int64_t depth, char out[UNPACK_PATH_MAX + 1], size_t *n, const char **why);
/* Folds upper into lower case; the length stays. For comparing only. */
void unpack_fold(char *path, size_t n);
/* Left out: what macOS puts beside the files. */
bool unpack_is_litter(const char *path);
/* The length of the top folder of path's first part that is to be stripped, from all the paths of an archive (sorted or not); 0: none. */
size_t unpack_top(char *const *paths, size_t n, const char *const *required, size_t n_required);
/* s as one printable line: control characters, bytes that are no UTF-8 and what does not fit as "?" or "...". */
void unpack_show(char *out, size_t room, struct assay_str s);

#endif
