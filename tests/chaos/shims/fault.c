/*
 * The n-th call fails: a library to preload that makes allocations and system calls fail on command.
 *
 * A page shared with the test says what and when: of the calls of the chosen kinds that the process makes from now on, the
 * n-th fails, alone or with all after it.  The page counts back what failed, and how many allocations are alive.
 * FAULT_PAGE names the file; without it the page is the process's own, found by fault_page().  With FAULT_ROLE only a process
 * with that word on its command line takes part: the supervisor that starts it is left alone.  A crash writes its stack to
 * the log, and so does the first call that is made to fail, when the page asks for it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ALLOC = 1, OPEN = 2, READ = 4, WRITE = 8, SYNC = 16, NAME = 32, MAP = 64, MAKE = 128, PEER = 256 };

struct page {
    _Atomic int32_t pid;       /* of the latest process that takes part */
    _Atomic uint32_t kinds;    /* 0: nothing fails */
    _Atomic int64_t countdown; /* calls until one fails */
    _Atomic int32_t persistent, err, part; /* part: a read or write does half of what it was asked */
    _Atomic int64_t hits, live, calls;
    _Atomic int32_t trace;     /* the stack of the first that fails goes to the log */
};

static struct page own;
static struct page *page = &own;
static _Thread_local bool telling; /* what that needs does not fail */
static bool aside = true; /* until the constructor has run, and in processes that take no part */
static struct stat stderr_is; /* the log is no part of what is promised */

/* glibc's own names, which need no looking up: that would allocate */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

struct page *fault_page(void)
{
    return page;
}

static void tell_stack(const char *text)
{
    void *frame[48];
    (void)!write(2, text, strlen(text));
    backtrace_symbols_fd(frame, backtrace(frame, 48), 2);
}

static void crashed(int sig)
{
    atomic_store(&page->kinds, 0);
    tell_stack("fault.c: the process crashes at\n");
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

static bool has_role(const char *role)
{
    char line[4096];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0);
    ssize_t n = fd >= 0 ? syscall(SYS_read, fd, line, sizeof line) : -1;
    (void)syscall(SYS_close, fd);
    return n > 0 && memmem(line, (size_t)n, role, strlen(role)) != NULL;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULT_PAGE"), *role = getenv("FAULT_ROLE");
    if (role && !has_role(role))
        return;
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd >= 0) {
        void *at = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at != MAP_FAILED)
            page = at;
        (void)syscall(SYS_close, fd);
    }
    (void)fstat(2, &stderr_is);
    void *frame[1];
    (void)backtrace(frame, 1); /* loads what it needs: not in the handler */
    for (size_t i = 0; i < 4; i++)
        (void)signal((int[]){SIGSEGV, SIGABRT, SIGBUS, SIGILL}[i], crashed);
    atomic_store(&page->kinds, 0);
    atomic_store(&page->live, 0);
    atomic_store(&page->pid, (int32_t)syscall(SYS_getpid));
    aside = false;
}

static bool fails(uint32_t kind)
{
    if (aside || telling || !(atomic_load_explicit(&page->kinds, memory_order_relaxed) & kind))
        return false;
    atomic_fetch_add(&page->calls, 1);
    int64_t left = atomic_fetch_sub(&page->countdown, 1);
    if (left > 1 || (left < 1 && !atomic_load(&page->persistent)))
        return false;
    if (atomic_fetch_add(&page->hits, 1) == 0 && atomic_load(&page->trace)) {
        telling = true;
        tell_stack("fault.c: this call fails\n");
        telling = false;
    }
    return true;
}

static bool fails_with(uint32_t kind)
{
    if (!fails(kind))
        return false;
    errno = atomic_load(&page->err);
    return true;
}

/* ---- allocations ---------------------------------------------------------------------------------- */

static void *counted(void *p)
{
    if (p && !aside)
        atomic_fetch_add_explicit(&page->live, 1, memory_order_relaxed);
    return p;
}

static bool no_memory(void)
{
    if (!fails(ALLOC))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    return no_memory() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t each)
{
    return no_memory() ? NULL : counted(__libc_calloc(n, each));
}

void *realloc(void *p, size_t n)
{
    if (no_memory())
        return NULL;
    if (!p)
        return counted(__libc_realloc(NULL, n));
    return __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t n, size_t each)
{
    size_t all;
    if (__builtin_mul_overflow(n, each, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, all);
}

void *memalign(size_t to, size_t n)
{
    return no_memory() ? NULL : counted(__libc_memalign(to, n));
}

void *aligned_alloc(size_t to, size_t n)
{
    return memalign(to, n);
}

int posix_memalign(void **out, size_t to, size_t n)
{
    void *p = memalign(to, n);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

void free(void *p)
{
    if (!p)
        return;
    if (!aside)
        atomic_fetch_sub_explicit(&page->live, 1, memory_order_relaxed);
    int kept = errno;
    __libc_free(p);
    errno = kept;
}

/* ---- system calls ---------------------------------------------------------------------------------- */

static bool is_log(int fd)
{
    struct stat sb;
    return fd <= 2 || (fstat(fd, &sb) == 0 && sb.st_ino == stderr_is.st_ino && sb.st_dev == stderr_is.st_dev);
}

/* What a disk or a peer does to a call, an eventfd or a pipe of ours never does; a signal may come anywhere. */
static bool may_fail(int fd)
{
    struct stat sb;
    return (atomic_load(&page->err) == EINTR && !atomic_load(&page->part)) ||
           (fstat(fd, &sb) == 0 && (S_ISREG(sb.st_mode) || S_ISSOCK(sb.st_mode)));
}

static int do_open(int at, const char *path, int flags, mode_t mode)
{
    return fails_with(OPEN) ? -1 : (int)syscall(SYS_openat, at, path, flags, mode);
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

/* True: answered, with *r. A partial one shortens *n. */
static bool moved(uint32_t kind, size_t *n, ssize_t *r)
{
    if (!fails_with(kind))
        return false;
    if (atomic_load(&page->part)) {
        *n = *n > 1 ? *n / 2 : *n;
        return false;
    }
    *r = -1;
    return true;
}

static ssize_t do_read(int fd, void *p, size_t n)
{
    ssize_t r;
    return may_fail(fd) && moved(READ, &n, &r) ? r : syscall(SYS_read, fd, p, n);
}
ssize_t read(int fd, void *p, size_t n) { return do_read(fd, p, n); }
ssize_t __read_chk(int fd, void *p, size_t n, size_t room) { (void)room; return do_read(fd, p, n); }

static ssize_t do_pread(int fd, void *p, size_t n, off_t at)
{
    ssize_t r;
    return moved(READ, &n, &r) ? r : syscall(SYS_pread64, fd, p, n, at);
}
ssize_t pread(int fd, void *p, size_t n, off_t at) { return do_pread(fd, p, n, at); }
ssize_t pread64(int fd, void *p, size_t n, off_t at) { return do_pread(fd, p, n, at); }
ssize_t __pread64_chk(int fd, void *p, size_t n, off_t at, size_t room) { (void)room; return do_pread(fd, p, n, at); }

ssize_t write(int fd, const void *p, size_t n)
{
    ssize_t r;
    return !is_log(fd) && may_fail(fd) && moved(WRITE, &n, &r) ? r : syscall(SYS_write, fd, p, n);
}

static ssize_t do_pwrite(int fd, const void *p, size_t n, off_t at)
{
    ssize_t r;
    return moved(WRITE, &n, &r) ? r : syscall(SYS_pwrite64, fd, p, n, at);
}
ssize_t pwrite(int fd, const void *p, size_t n, off_t at) { return do_pwrite(fd, p, n, at); }
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) { return do_pwrite(fd, p, n, at); }

int fsync(int fd) { return fails_with(SYNC) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails_with(SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd); }
int ftruncate(int fd, off_t n) { return fails_with(NAME) ? -1 : (int)syscall(SYS_ftruncate, fd, n); }
int ftruncate64(int fd, off_t n) { return fails_with(NAME) ? -1 : (int)syscall(SYS_ftruncate, fd, n); }
int renameat(int a, const char *p, int b, const char *q) { return fails_with(NAME) ? -1 : (int)syscall(SYS_renameat2, a, p, b, q, 0); }
int rename(const char *p, const char *q) { return renameat(AT_FDCWD, p, AT_FDCWD, q); }
int unlinkat(int a, const char *p, int flags) { return fails_with(NAME) ? -1 : (int)syscall(SYS_unlinkat, a, p, flags); }
int unlink(const char *p) { return unlinkat(AT_FDCWD, p, 0); }
int mkdirat(int a, const char *p, mode_t m) { return fails_with(NAME) ? -1 : (int)syscall(SYS_mkdirat, a, p, m); }
int mkdir(const char *p, mode_t m) { return mkdirat(AT_FDCWD, p, m); }

static void *do_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
    if (fd >= 0 && fails_with(MAP))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, off);
}
void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t off) { return do_mmap(at, n, prot, flags, fd, off); }
void *mmap64(void *at, size_t n, int prot, int flags, int fd, off_t off) { return do_mmap(at, n, prot, flags, fd, off); }

/* ---- signals: a crash must reach the handler above in threads that block everything too ---------------- */

int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    sigset_t without;
    if (set && !aside && how != SIG_UNBLOCK) {
        without = *set;
        for (size_t i = 0; i < 4; i++)
            (void)sigdelset(&without, (int[]){SIGSEGV, SIGABRT, SIGBUS, SIGILL}[i]);
        set = &without;
    }
    return syscall(SYS_rt_sigprocmask, how, set, old, 8) == 0 ? 0 : errno;
}

/* ---- sockets ----------------------------------------------------------------------------------------- */

int accept4(int fd, struct sockaddr *a, socklen_t *n, int flags) { return fails_with(MAKE) ? -1 : (int)syscall(SYS_accept4, fd, a, n, flags); }
int accept(int fd, struct sockaddr *a, socklen_t *n) { return accept4(fd, a, n, 0); }
int socket(int d, int t, int p) { return fails_with(MAKE) ? -1 : (int)syscall(SYS_socket, d, t, p); }
int eventfd(unsigned n, int flags) { return fails_with(MAKE) ? -1 : (int)syscall(SYS_eventfd2, n, flags); }
int pipe2(int fd[2], int flags) { return fails_with(MAKE) ? -1 : (int)syscall(SYS_pipe2, fd, flags); }

/* With a part, the first piece alone; an empty first piece would mean the end of the stream. */
static int pieces(const struct iovec *v, int n)
{
    return n > 1 && v[0].iov_len > 0 ? 1 : n;
}
#define ON_PEER(call, partly) \
    if (!fails_with(PEER)) \
        return call; \
    if (!atomic_load(&page->part)) \
        return -1; \
    return partly;
ssize_t readv(int fd, const struct iovec *v, int n) { ON_PEER(syscall(SYS_readv, fd, v, n), syscall(SYS_readv, fd, v, pieces(v, n))) }
ssize_t writev(int fd, const struct iovec *v, int n)
{
    if (is_log(fd))
        return syscall(SYS_writev, fd, v, n);
    ON_PEER(syscall(SYS_writev, fd, v, n), syscall(SYS_writev, fd, v, pieces(v, n)))
}
ssize_t recv(int fd, void *p, size_t n, int f) { ON_PEER(syscall(SYS_recvfrom, fd, p, n, f, NULL, NULL), syscall(SYS_recvfrom, fd, p, (n + 1) / 2, f, NULL, NULL)) }
ssize_t send(int fd, const void *p, size_t n, int f) { ON_PEER(syscall(SYS_sendto, fd, p, n, f, NULL, 0), syscall(SYS_sendto, fd, p, (n + 1) / 2, f, NULL, 0)) }
ssize_t recvmsg(int fd, struct msghdr *m, int f) { ON_PEER(syscall(SYS_recvmsg, fd, m, f), syscall(SYS_recvmsg, fd, m, f)) }
ssize_t sendmsg(int fd, const struct msghdr *m, int f) { ON_PEER(syscall(SYS_sendmsg, fd, m, f), syscall(SYS_sendmsg, fd, m, f)) }
