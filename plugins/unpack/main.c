/* assay-unpack: its command line (unpack.h says all of it). */
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int usage(const char *what)
{
    (void)fprintf(stderr, "assay-unpack: usage: %s\nusage: assay-unpack [--over] [--require=PATH]... [--max-files=N] [--max-bytes=N] "
                          "[--max-file-bytes=N] [--max-ratio=N] [--max-depth=N] ARCHIVE DIRECTORY\n", what);
    return 2;
}

/* "--name=12": 1 to most. */
static bool number(const char *arg, const char *name, int64_t most, int64_t *out)
{
    size_t n = strlen(name);
    char *end;
    if (strncmp(arg, name, n) != 0 || arg[n] < '0' || arg[n] > '9')
        return false;
    errno = 0;
    long long v = strtoll(arg + n, &end, 10);
    if (errno != 0 || *end != '\0' || v < 1 || v > most)
        return false;
    *out = v;
    return true;
}

int main(int argc, char **argv)
{
    struct unpack_limits limits = UNPACK_LIMITS_DEFAULT;
    const char *required[UNPACK_REQUIRED_MAX];
    struct unpack_outcome out;
    size_t n_required = 0;
    bool over = false;
    int i = 1;

    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--over") == 0) {
            over = true;
        } else if (strncmp(a, "--require=", 10) == 0) {
            if (n_required == UNPACK_REQUIRED_MAX)
                return usage("too many required paths");
            required[n_required++] = a + 10;
        } else if (!number(a, "--max-files=", UNPACK_FILES_MAX, &limits.files) && !number(a, "--max-bytes=", INT64_MAX / 2, &limits.bytes) &&
                   !number(a, "--max-file-bytes=", INT64_MAX / 2, &limits.file_bytes) && !number(a, "--max-ratio=", 1000000, &limits.ratio) &&
                   !number(a, "--max-depth=", 256, &limits.depth)) {
            return usage(a);
        }
    }
    if (argc - i != 2)
        return usage("an archive and a directory are needed");
    int archive = open(argv[i], O_RDONLY | O_CLOEXEC), into = open(argv[i + 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (archive < 0 || into < 0) {
        (void)fprintf(stderr, "assay-unpack: failed: cannot open the %s: %s\n", archive < 0 ? "archive" : "directory", strerror(errno));
        return 4;
    }
    (void)umask(022);
    if (!unpack(archive, into, over, &limits, required, n_required, &out)) {
        (void)fprintf(stderr, "assay-unpack: %s: %s\n", unpack_word(out.fault), out.text);
        return out.fault == UNPACK_OURS ? 4 : out.fault == UNPACK_DAMAGED ? 3 : 1;
    }
    (void)printf("unpacked %lld files, %lld bytes%s%s\n", (long long)out.files, (long long)out.bytes,
                 out.stripped[0] != '\0' ? ", without the folder " : "", out.stripped);
    return fflush(stdout) == 0 ? 0 : 4;
}
