/*
 * What a disk was told: a library to preload that writes down every change to the files below a folder, and every fsync.
 *
 * From such a trace power.py makes the disks that a power cut could have left at any moment: what was synced is there,
 * and of what was not, any part, in any order, torn.  The calls below the C library's names are made under one lock with
 * their record, so the trace has one order, and who reads its length knows what had happened by then.
 * POWER_ROOT is the folder, an absolute path without links; POWER_TRACE the file.  power_ack() notes what was promised.
 * Writes through a shared mapping are not seen: SQLite's -shm, which no recovery may rely on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define INODES 65536

static char root[4096];
static size_t root_n;
static int trace = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the order of what follows, and the set */
static uint64_t ours[INODES]; /* inodes of files below the root: a set with open addressing; 0 is free */

__attribute__((constructor)) static void begin(void)
{
    const char *r = getenv("POWER_ROOT"), *t = getenv("POWER_TRACE");
    if (!r || !t)
        return;
    root_n = (size_t)snprintf(root, sizeof root, "%s", r);
    trace = (int)syscall(SYS_openat, AT_FDCWD, t, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

static void record(char type, uint64_t a, uint64_t b, const void *p, size_t n)
{
    struct {
        uint32_t type, n;
        uint64_t a, b;
    } head = {(uint32_t)type, (uint32_t)n, a, b};
    struct iovec v[2] = {{&head, sizeof head}, {(void *)(uintptr_t)p, n}};
    if (syscall(SYS_writev, trace, v, 2) != (long)(sizeof head + n))
        abort(); /* a trace with a hole would say anything */
}

void power_ack(const char *text)
{
    if (trace < 0)
        return;
    pthread_mutex_lock(&lock);
    record('A', 0, 0, text, strlen(text));
    pthread_mutex_unlock(&lock);
}

static uint64_t *slot(uint64_t ino)
{
    uint64_t *s = &ours[(ino * 0x9e3779b97f4a7c15u) >> 48];
    for (size_t i = 0; *s != 0 && *s != ino; i++) {
        if (i == INODES)
            abort();
        s = s == &ours[INODES - 1] ? ours : s + 1;
    }
    return s;
}

/* The inode of a file of ours; 0 for anything else. */
static uint64_t file_of(int fd)
{
    struct stat sb;
    if (trace < 0 || fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode))
        return 0;
    return *slot(sb.st_ino);
}

/* Where fd is, when that is below the root. */
static bool path_of(int fd, char out[4096])
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, 4095);
    if (n < 0)
        return false;
    out[n] = '\0';
    return strncmp(out, root, root_n) == 0 && (out[root_n] == '/' || out[root_n] == '\0') && !strstr(out, " (deleted)");
}

/* The path of a name in a folder, when that is below the root. */
static bool path_at(int at, const char *name, char out[4096])
{
    char dir[4096];
    if (name[0] == '/') {
        snprintf(out, 4096, "%s", name);
    } else {
        if (at == AT_FDCWD ? getcwd(dir, sizeof dir) == NULL : !path_of(at, dir))
            return false;
        if ((size_t)snprintf(out, 4096, "%s/%s", dir, name) >= 4096)
            return false;
    }
    return strncmp(out, root, root_n) == 0 && out[root_n] == '/';
}

static int do_open(int at, const char *name, int flags, mode_t mode)
{
    if (trace < 0 || (flags & O_TMPFILE) == O_TMPFILE)
        return (int)syscall(SYS_openat, at, name, flags, mode);
    char path[4096];
    pthread_mutex_lock(&lock);
    struct stat sb;
    bool there = (flags & O_CREAT) == 0 || fstatat(at, name, &sb, AT_SYMLINK_NOFOLLOW) == 0;
    int fd = (int)syscall(SYS_openat, at, name, flags, mode);
    int kept = errno;
    if (fd >= 0 && fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) && path_of(fd, path)) {
        uint64_t *s = slot(sb.st_ino);
        if (*s == 0 || !there)
            record(there ? 'O' : 'C', sb.st_ino, 0, path, strlen(path));
        *s = sb.st_ino;
        if (there && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY)
            record('T', sb.st_ino, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return fd;
}

#define MODE_OF(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list ap; \
        va_start(ap, flags); \
        mode = va_arg(ap, mode_t); \
        va_end(ap); \
    }
#define OPENER(name) int name(const char *path, int flags, ...) { MODE_OF(flags) return do_open(AT_FDCWD, path, flags, mode); }
#define OPENER_AT(name) int name(int at, const char *path, int flags, ...) { MODE_OF(flags) return do_open(at, path, flags, mode); }
OPENER(open)
OPENER(open64)
OPENER_AT(openat)
OPENER_AT(openat64)
int __open_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
int __openat_2(int at, const char *path, int flags) { return do_open(at, path, flags, 0); }
int __openat64_2(int at, const char *path, int flags) { return do_open(at, path, flags, 0); }

static ssize_t written(int fd, const void *p, size_t n, off_t at)
{
    uint64_t ino;
    if (trace < 0 || fd == trace)
        return at < 0 ? syscall(SYS_write, fd, p, n) : syscall(SYS_pwrite64, fd, p, n, at);
    pthread_mutex_lock(&lock);
    ino = file_of(fd);
    if (ino == 0) /* a pipe may block: not under the lock */
        pthread_mutex_unlock(&lock);
    ssize_t r = at < 0 ? syscall(SYS_write, fd, p, n) : syscall(SYS_pwrite64, fd, p, n, at);
    if (ino != 0) {
        int kept = errno;
        if (r > 0)
            record('W', ino, (uint64_t)(at < 0 ? lseek(fd, 0, SEEK_CUR) - r : at), p, (size_t)r);
        pthread_mutex_unlock(&lock);
        errno = kept;
    }
    return r;
}
ssize_t write(int fd, const void *p, size_t n) { return written(fd, p, n, -1); }
ssize_t pwrite(int fd, const void *p, size_t n, off_t at) { return written(fd, p, n, at); }
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) { return written(fd, p, n, at); }

static int synced(int fd, long call)
{
    char path[4096];
    struct stat sb;
    if (trace < 0 || fstat(fd, &sb) != 0)
        return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    int r = (int)syscall(call, fd);
    int kept = errno;
    if (r == 0 && S_ISDIR(sb.st_mode) && path_of(fd, path))
        record('D', 0, 0, path, strlen(path));
    else if (r == 0 && file_of(fd) != 0)
        record('S', sb.st_ino, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = kept;
    return r;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int truncated(int fd, off_t n)
{
    pthread_mutex_lock(&lock);
    uint64_t ino = file_of(fd);
    int r = (int)syscall(SYS_ftruncate, fd, n);
    if (r == 0 && ino != 0)
        record('T', ino, (uint64_t)n, NULL, 0);
    pthread_mutex_unlock(&lock);
    return r;
}
int ftruncate(int fd, off_t n) { return truncated(fd, n); }
int ftruncate64(int fd, off_t n) { return truncated(fd, n); }

int renameat(int a, const char *p, int b, const char *q)
{
    char two[8193], to[4096];
    pthread_mutex_lock(&lock);
    bool from = trace >= 0 && path_at(a, p, two), into = trace >= 0 && path_at(b, q, to);
    int r = (int)syscall(SYS_renameat2, a, p, b, q, 0);
    if (r == 0 && from && into) {
        size_t n = strlen(two) + 1;
        memcpy(two + n, to, strlen(to) + 1);
        record('R', 0, 0, two, n + strlen(to));
    }
    pthread_mutex_unlock(&lock);
    return r;
}
int rename(const char *p, const char *q) { return renameat(AT_FDCWD, p, AT_FDCWD, q); }

int unlinkat(int a, const char *p, int flags)
{
    char path[4096];
    struct stat sb;
    pthread_mutex_lock(&lock);
    bool below = trace >= 0 && path_at(a, p, path);
    bool last = below && fstatat(a, p, &sb, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(sb.st_mode) && sb.st_nlink == 1;
    int r = (int)syscall(SYS_unlinkat, a, p, flags);
    if (r == 0 && below)
        record('U', last ? sb.st_ino : 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    return r;
}
int unlink(const char *p) { return unlinkat(AT_FDCWD, p, 0); }

int mkdirat(int a, const char *p, mode_t m)
{
    char path[4096];
    pthread_mutex_lock(&lock);
    bool below = trace >= 0 && path_at(a, p, path);
    int r = (int)syscall(SYS_mkdirat, a, p, m);
    int kept = errno;
    if (r == 0 && below)
        record('M', 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    errno = kept;
    return r;
}
int mkdir(const char *p, mode_t m) { return mkdirat(AT_FDCWD, p, m); }
