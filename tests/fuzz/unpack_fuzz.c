/* Archives: whatever comes, nothing but files and folders with plain names is written, within the bounds, and a refusal says why. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "plugins/unpack/unpack.h"

static size_t top; /* bytes of the folder's own path */
static int64_t bytes;

static int look(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)kind;
    FUZZ_CHECK(S_ISDIR(st->st_mode) ? (st->st_mode & 07777) == 0755 || f->level == 0 : S_ISREG(st->st_mode));
    FUZZ_CHECK(assay_utf8_valid(assay_str(path)) && strlen(path) <= top + 1 + UNPACK_PATH_MAX);
    for (const char *c = path; *c != '\0'; c++)
        FUZZ_CHECK((unsigned char)*c >= ' ' && *c != 127);
    bytes += S_ISREG(st->st_mode) ? st->st_size : 0;
    return remove(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const required[] = {"pom.xml", "src/"};
    struct unpack_limits limits = {50, 1 << 20, 1 << 18, 200, 8};
    struct unpack_outcome out;
    char dir[] = "/tmp/assay-unpack-fuzz-XXXXXX";
    int archive = memfd_create("archive", MFD_CLOEXEC), into = mkdtemp(dir) != NULL ? open(dir, O_RDONLY | O_DIRECTORY) : -1;
    FUZZ_CHECK(archive >= 0 && into >= 0 && write(archive, data, size) == (ssize_t)size);
    bool fine = unpack(archive, into, false, &limits, required, 2, &out);
    FUZZ_CHECK(fine == (out.fault == UNPACK_FINE) && fine == (out.text[0] == '\0') && out.fault != UNPACK_OURS);
    (void)close(archive);
    (void)close(into);
    top = strlen(dir);
    bytes = 0;
    FUZZ_CHECK(nftw(dir, look, 16, FTW_DEPTH | FTW_PHYS) == 0);
    FUZZ_CHECK(bytes <= limits.bytes && (!fine || bytes == out.bytes));
    return 0;
}
