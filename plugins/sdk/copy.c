#include <assay/copy.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)256 << 10)

static int copy_bytes(int in, int out, char *piece, struct assay_sha256 *hash, int64_t *bytes)
{
    for (;;) {
        ssize_t n = read(in, piece, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? 0 : errno;
        assay_sha256_add(hash, (struct assay_str){piece, (size_t)n});
        *bytes += n;
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(out, piece + done, (size_t)(n - done));
            if (w < 0 && errno == EINTR)
                continue;
            if (w <= 0)
                return w == 0 ? EIO : errno;
            done += w;
        }
    }
}

/* The folder of a server that is no longer root, filled by root: what is put there must be the server's. */
static int give_to_owner_of(int folder, int fd)
{
    struct stat sb;
    if (geteuid() != 0)
        return 0;
    return fstat(folder, &sb) != 0 || fchown(fd, sb.st_uid, sb.st_gid) != 0 ? errno : 0;
}

int assay_file_copy(int from_folder, const char *from, int to_folder, const char *to, char sha256[ASSAY_SHA256_HEX],
                    struct assay_copy_count *count, struct assay_err *err)
{
    struct stat sb;
    int64_t bytes = 0;
    int in = openat(from_folder, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (in < 0 || fstat(in, &sb) != 0) {
        int e = errno;
        if (in >= 0)
            (void)close(in);
        return assay_err_errno(err, e == ENOENT ? ASSAY_E_NOT_FOUND : ASSAY_E_IO, e, "opening %s", from);
    }
    int out = -1, e = 0;
    const char *step = "making a copy of";
    char *piece = malloc(PIECE);
    struct assay_sha256 *hash = assay_sha256_new();
    if (!S_ISREG(sb.st_mode))
        e = EINVAL;
    else if (piece == NULL || hash == NULL)
        e = ENOMEM;
    else if ((out = openat(to_folder, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        e = errno;
    if (e == 0)
        e = give_to_owner_of(to_folder, out);
    if (e == 0) {
        step = "copying";
        e = copy_bytes(in, out, piece, hash, &bytes);
    }
    const struct timespec times[2] = {sb.st_atim, sb.st_mtim};
    if (e == 0 && futimens(out, times) != 0)
        e = errno;
    if (out >= 0 && close(out) != 0 && e == 0)
        e = errno;
    (void)close(in);
    free(piece);
    char hex[ASSAY_SHA256_HEX] = "";
    if (hash != NULL)
        assay_sha256_end(hash, hex);
    if (e != 0) {
        if (out >= 0)
            (void)unlinkat(to_folder, to, 0);
        int code = e == EEXIST ? ASSAY_E_CONFLICT : e == ENOSPC || e == EDQUOT ? ASSAY_E_FULL : e == ENOMEM ? ASSAY_E_NOMEM : ASSAY_E_IO;
        return assay_err_errno(err, code, e, "%s %s", step, from);
    }
    memcpy(sha256, hex, sizeof hex);
    count->files++;
    count->bytes += bytes;
    return 0;
}
