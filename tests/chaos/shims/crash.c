/*
 * Named crash points, without a line of them in the product: a library to preload into the server that ends it (kill -9)
 * before or after a step that is known by what it does outside.
 *
 * A statement is known by its text, a commit by what was in it, an answer and a request by their first bytes, a message to the
 * boxkeeper or a warden by its socket.  The test names a point in the shared page and says at which passage; the process
 * dies there.  Points, each with ".before" and ".after":
 *
 *   request insert insert.commit answer lease lease.commit box result result.commit score score.commit board board.commit
 *   delivered delivered.commit
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct page {
    _Atomic int64_t countdown; /* 0: nothing is to happen */
    _Atomic int64_t crashes;
    char point[48]; /* set before the countdown */
};

static struct page own, *page = &own;

static const struct {
    const char *name, *sql;
} statements[] = {
    {"insert", "INSERT INTO submissions ("},
    {"lease", "lease_boot = $"},
    {"result", "INSERT INTO runner_results"},
    {"score", "INSERT INTO scoring_scores"},
    {"board", "INSERT INTO leaderboard_scores"},
    {"delivered", "assay_cursors"},
};
#define STATEMENTS (sizeof statements / sizeof statements[0])

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CRASH_PAGE");
    char line[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, line, sizeof line) : -1;
    (void)close(fd);
    if (!path || n <= 0 || !memmem(line, (size_t)n, "role=server", 11))
        return;
    fd = open(path, O_RDWR | O_CLOEXEC);
    void *at = fd >= 0 ? mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    (void)close(fd);
    if (at != MAP_FAILED)
        page = at;
}

static void at(const char *name, const char *side)
{
    if (atomic_load_explicit(&page->countdown, memory_order_relaxed) <= 0)
        return;
    size_t n = strlen(name);
    if (strncmp(page->point, name, n) != 0 || strcmp(page->point + n, side) != 0)
        return;
    if (atomic_fetch_sub(&page->countdown, 1) != 1)
        return;
    atomic_fetch_add(&page->crashes, 1);
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

/* ---- statements ------------------------------------------------------------------------------------ */

typedef struct sqlite3_stmt sqlite3_stmt;

static void *of_sqlite(const char *name)
{
    void *lib = dlopen("libsqlite3.so.0", RTLD_LAZY | RTLD_NOLOAD);
    return lib ? dlsym(lib, name) : NULL;
}

int sqlite3_step(sqlite3_stmt *st)
{
    static int (*step)(sqlite3_stmt *);
    static const char *(*sql_of)(sqlite3_stmt *);
    static _Thread_local unsigned in_group; /* a bit for each kind of statement since BEGIN */
    if (!step) {
        sql_of = (const char *(*)(sqlite3_stmt *))of_sqlite("sqlite3_sql");
        step = (int (*)(sqlite3_stmt *))of_sqlite("sqlite3_step");
    }
    const char *sql = sql_of(st);
    bool commit = sql && strcmp(sql, "COMMIT") == 0, write = sql && strncmp(sql, "SELECT", 6) != 0;
    unsigned hit = 0;
    for (size_t i = 0; sql && write && i < STATEMENTS; i++)
        hit |= strstr(sql, statements[i].sql) ? 1u << i : 0;
    char name[48];
    for (int side = 0; side < 2; side++) {
        const char *word = side ? ".after" : ".before";
        static _Thread_local int rc;
        if (side)
            rc = step(st);
        for (size_t i = 0; i < STATEMENTS; i++) {
            if (hit & 1u << i)
                at(statements[i].name, word);
            if (commit && in_group & 1u << i) {
                (void)snprintf(name, sizeof name, "%s.commit", statements[i].name);
                at(name, word);
            }
        }
        if (side) {
            in_group = commit || (sql && strncmp(sql, "ROLLBACK", 8) == 0) ? 0 : in_group | hit;
            return rc;
        }
    }
    return 0;
}

/* ---- sockets ------------------------------------------------------------------------------------------ */

static bool local(int fd)
{
    int domain = 0;
    socklen_t n = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX;
}

static const char *sent(int fd, const void *p, size_t n)
{
    if (n >= 12 && memcmp(p, "HTTP/1.1 202", 12) == 0)
        return "answer";
    return local(fd) ? "box" : NULL;
}

#define SENDING(fd, p, n, call) \
    const char *name = atomic_load_explicit(&page->countdown, memory_order_relaxed) > 0 ? sent(fd, p, n) : NULL; \
    if (name) \
        at(name, ".before"); \
    ssize_t r = call; \
    if (name) { \
        int kept = errno; \
        at(name, ".after"); \
        errno = kept; \
    } \
    return r;

ssize_t writev(int fd, const struct iovec *v, int n) { SENDING(fd, v[0].iov_base, v[0].iov_len, syscall(SYS_writev, fd, v, n)) }
ssize_t send(int fd, const void *p, size_t n, int f) { SENDING(fd, p, n, syscall(SYS_sendto, fd, p, n, f, NULL, 0)) }
ssize_t sendmsg(int fd, const struct msghdr *m, int f) { SENDING(fd, m->msg_iov[0].iov_base, m->msg_iov[0].iov_len, syscall(SYS_sendmsg, fd, m, f)) }
ssize_t write(int fd, const void *p, size_t n) { SENDING(fd, p, n, syscall(SYS_write, fd, p, n)) }

ssize_t readv(int fd, const struct iovec *v, int n)
{
    ssize_t r = syscall(SYS_readv, fd, v, n);
    if (r >= 17 && v[0].iov_len >= 17 && memcmp(v[0].iov_base, "POST /submissions", 17) == 0)
        at("request", ".after");
    return r;
}
