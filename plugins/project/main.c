/*
 * assay-project: builds and tests one project, inside a box.
 *
 * Theory of operation.  The runner puts this program, assay-unpack and the archives into a fresh box and gives the plan on standard
 * input.  What it does, in one workspace, each step in a session of its own:
 *
 *     unpack the project ─▶ unpack the instructor's tests over it ─▶ required files ─▶ setup commands ─▶ test command ─▶ reports
 *
 * Standard output is the log: what the commands print, its middle left out when it is longer than the plan allows.  Standard error is
 * the answer (below), which the commands cannot write to: they get pipes of ours as 1 and 2, and this process may not be looked into
 * (not dumpable), though all of them have one user.  They may kill it; then there is no answer, and that is the project's fault.
 *
 * A command that is out of time gets SIGTERM, and after the grace SIGKILL, as does all that it has started: this process is the
 * reaper of orphans, so that whoever leaves its session comes back here.  The same befalls what a command leaves running when it has
 * ended: nothing of the project is alive when its reports are read.
 *
 * A report counts when its inode has changed after the stamp, a file made when setup was over: a project that brings reports along,
 * with whatever times it likes, brings none that count, since nobody can set a change time.
 *
 * The plan, each field ended by NUL:
 *   "assay-plan-1", setup ms, test ms, grace ms, log bytes, "tests" or "", then five lists, each its length and its strings: the
 *   environment ("NAME=value"), required files, setup commands, report patterns, and the test command as a list of one.
 * The answer:
 *   "assay-answer-1\n" "step STEP\n" "why TEXT\n" "exit N\n" "signal N\n" "timeout 0|1\n" "ms N\n" "log BYTES\n" "reports SEEN\n"
 *   { "file SIZE PATH\n" bytes "\n" } "end\n"
 * STEP is where it ended: unpack, tests, required, setup or test.  exit, signal, timeout and ms are of the last command.
 *
 * Exit status: 0 with an answer, 2 for a plan that cannot be read, 3 when the box does not do what it must.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PLAN_MAX ((size_t)8 << 20)
#define LIST_MAX 4096
#define REPORT_BYTES_MAX ((off_t)4 << 20)   /* of one report */
#define REPORTS_BYTES_MAX ((size_t)12 << 20) /* of all */
#define REPORTS_MAX 512
#define WALK_MAX 200000 /* entries looked at */
#define DEPTH_MAX 32
#define TAIL_SHARE 2    /* the log's end gets 1/2 of its bytes */
#define KILL_ROUNDS 2000
#define REQUIRE_MAX 64  /* required paths that the unpacker is told of */
#define TREE_DEPTH 64

struct list {
    char **item;
    long n;
};
struct plan {
    int64_t setup_ms, test_ms, grace_ms, log_bytes;
    bool tests;
    struct list env, required, setup, reports, test;
};

static int answer = -1; /* where the answer goes */

static _Noreturn __attribute__((format(printf, 2, 3))) void die(int status, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0)
        (void)!write(answer >= 0 ? answer : 2, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    _exit(status);
}

static int64_t now_ms(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) < 0)
        die(3, "no clock\n");
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void put(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            _exit(3); /* nobody reads any more */
        p += w;
        n -= (size_t)w;
    }
}

static __attribute__((format(printf, 1, 2))) void say(const char *fmt, ...)
{
    char text[4500];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0)
        put(answer, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* ---- the plan ------------------------------------------------------------------------------------------------- */

static char *field(char **at, const char *end)
{
    char *p = *at, *nul = p < end ? memchr(p, '\0', (size_t)(end - p)) : NULL;
    if (nul == NULL)
        die(2, "the plan is cut off\n");
    *at = nul + 1;
    return p;
}

static int64_t number(char **at, const char *end, int64_t max)
{
    char *rest;
    const char *p = field(at, end);
    errno = 0;
    long long v = strtoll(p, &rest, 10);
    if (errno != 0 || *p == '\0' || *rest != '\0' || v < 0 || v > max)
        die(2, "the plan has a bad number\n");
    return v;
}

static struct list read_list(char **at, const char *end)
{
    struct list l = {.n = (long)number(at, end, LIST_MAX)};
    l.item = calloc((size_t)l.n + 1, sizeof *l.item);
    if (l.item == NULL)
        die(3, "no memory\n");
    for (long i = 0; i < l.n; i++)
        l.item[i] = field(at, end);
    return l;
}

static void read_plan(struct plan *p)
{
    char *text = malloc(PLAN_MAX + 1);
    size_t n = 0;
    ssize_t got = 1;
    if (text == NULL)
        die(3, "no memory\n");
    while (n < PLAN_MAX && got != 0) {
        got = read(0, text + n, PLAN_MAX - n);
        if (got < 0 && errno != EINTR)
            die(2, "the plan cannot be read\n");
        n += got > 0 ? (size_t)got : 0;
    }
    char *at = text;
    const char *end = text + n;
    if (strcmp(field(&at, end), "assay-plan-1") != 0)
        die(2, "this is no plan\n");
    p->setup_ms = number(&at, end, 86400000);
    p->test_ms = number(&at, end, 86400000);
    p->grace_ms = number(&at, end, 86400000);
    p->log_bytes = number(&at, end, 1 << 30);
    p->tests = strcmp(field(&at, end), "tests") == 0;
    p->env = read_list(&at, end);
    p->required = read_list(&at, end);
    p->setup = read_list(&at, end);
    p->reports = read_list(&at, end);
    p->test = read_list(&at, end);
    if (p->test.n != 1)
        die(2, "the plan has no test command\n");
}

/* ---- the log ---------------------------------------------------------------------------------------------------- */

/* The first part goes out as it comes; of the rest the end is kept in a ring, and written at last. */
static struct {
    size_t head_left, ring_room, ring_n, ring_at;
    uint64_t total, dropped;
    char *ring;
    char last[512]; /* what was added last */
    size_t last_n;
} out;

static void log_open(size_t bytes)
{
    out.ring_room = bytes / TAIL_SHARE;
    out.head_left = bytes - out.ring_room;
    out.ring = malloc(out.ring_room + 1);
    if (out.ring == NULL)
        die(3, "no memory\n");
}

static void log_add(const char *p, size_t n)
{
    out.total += n;
    size_t keep = n < sizeof out.last - 1 ? n : sizeof out.last - 1, old = out.last_n;
    old = old + keep > sizeof out.last - 1 ? sizeof out.last - 1 - keep : old;
    memmove(out.last, out.last + (out.last_n - old), old);
    memcpy(out.last + old, p + (n - keep), keep);
    out.last_n = old + keep;
    size_t head = n < out.head_left ? n : out.head_left;
    put(1, p, head);
    out.head_left -= head;
    p += head;
    n -= head;
    for (size_t i = 0; i < n && out.ring_room != 0; i++) {
        out.ring[out.ring_at] = p[i];
        out.ring_at = (out.ring_at + 1) % out.ring_room;
        if (out.ring_n < out.ring_room)
            out.ring_n++;
        else
            out.dropped++;
    }
}

/* The last line so far, printable. */
static const char *last_line(void)
{
    while (out.last_n > 0 && out.last[out.last_n - 1] == '\n')
        out.last_n--;
    out.last[out.last_n] = '\0';
    char *nl = strrchr(out.last, '\n'), *line = nl != NULL ? nl + 1 : out.last;
    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ')
            *c = '?';
    }
    return line;
}

static __attribute__((format(printf, 1, 2))) void log_line(const char *fmt, ...)
{
    char text[9000];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text - 1, fmt, ap);
    va_end(ap);
    if (n > 0)
        log_add(text, (size_t)n < sizeof text - 1 ? (size_t)n : sizeof text - 2);
}

static void log_close(void)
{
    char mark[100];
    if (out.dropped != 0) {
        int n = snprintf(mark, sizeof mark, "\n[... %llu bytes left out ...]\n", (unsigned long long)out.dropped);
        put(1, mark, (size_t)n);
    }
    size_t from = out.ring_n < out.ring_room ? 0 : out.ring_at;
    put(1, out.ring + from, (out.ring_n < out.ring_room ? out.ring_n : out.ring_room - from));
    if (from != 0)
        put(1, out.ring, from);
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

struct ended {
    int exit_code, signal;
    bool timed_out;
    int64_t ms;
};

/* The children of a process, as many as fit; -1: the kernel does not list them. */
static int children(pid_t of, pid_t *list, int max)
{
    char path[64], text[4096];
    int count = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)of, (long)of);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t n = 0;
    ssize_t got;
    while (n < sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (n == sizeof text - 1) { /* the last number may be cut off */
        while (n > 0 && text[n - 1] != ' ')
            n--;
    }
    text[n] = '\0';
    for (char *p = text, *rest; *p != '\0' && count < max; p = rest) {
        long pid = strtol(p, &rest, 10);
        if (rest == p)
            break;
        if (pid > 1)
            list[count++] = (pid_t)pid;
    }
    return count;
}

/* All below a process, but not itself. The first call's depth is 0. */
static void signal_below(pid_t of, int sig, int depth)
{
    pid_t list[512];
    int n = depth < TREE_DEPTH ? children(of, list, 512) : 0;
    for (int i = 0; i < n; i++) {
        signal_below(list[i], sig, depth + 1);
        (void)kill(list[i], sig);
    }
}

/* Until nothing is left: what dies gives its children to us, whose reaper we are. */
static void end_all(void)
{
    for (int i = 0; i < KILL_ROUNDS; i++) {
        pid_t list[512], w;
        int n = children(getpid(), list, 512);
        for (int k = 0; k < n; k++)
            (void)kill(list[k], SIGKILL);
        while ((w = waitpid(-1, NULL, WNOHANG)) > 0) {
        }
        if ((w < 0 && errno == ECHILD) || n < 0)
            return;
        (void)usleep(i < 100 ? 1000 : 10000);
    }
}

static void drain(int fd, int64_t until)
{
    char buf[65536];
    for (;;) {
        struct pollfd pf = {.fd = fd, .events = POLLIN};
        int64_t left = until - now_ms();
        int rc = poll(&pf, 1, left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return;
        ssize_t n = read(fd, buf, sizeof buf);
        if (n <= 0)
            return;
        log_add(buf, (size_t)n);
    }
}

/* Only so that ppoll ends. */
static void on_child(int sig)
{
    (void)sig;
}

/* In the workspace when folder is not NULL. argv ends with NULL. */
static struct ended run(char *const argv[], char *const env[], const char *folder, int64_t limit_ms, int64_t grace_ms)
{
    struct ended e = {.exit_code = -1};
    int pipes[2], status = 0;
    sigset_t chld, old;
    (void)sigemptyset(&chld);
    (void)sigaddset(&chld, SIGCHLD);
    if (pipe2(pipes, O_CLOEXEC) < 0 || sigprocmask(SIG_BLOCK, &chld, &old) < 0)
        die(3, "no pipe: %s\n", strerror(errno));
    int64_t begun = now_ms(), term_at = begun + limit_ms, kill_at = INT64_MAX;
    pid_t pid = fork();
    if (pid < 0)
        die(3, "no process: %s\n", strerror(errno));
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY);
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        (void)setsid();
        if (null < 0 || dup2(null, 0) < 0 || dup2(pipes[1], 1) < 0 || dup2(pipes[1], 2) < 0 || (folder != NULL && chdir(folder) < 0))
            _exit(127);
        (void)execve(argv[0], argv, env);
        dprintf(1, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(pipes[1]);
    bool open_pipe = true, gone = false;
    while (!gone) {
        int64_t now = now_ms(), next = e.timed_out ? kill_at : term_at;
        if (now >= next && !e.timed_out) {
            e.timed_out = true;
            kill_at = now + grace_ms;
            signal_below(getpid(), SIGTERM, 0);
            (void)kill(-pid, SIGTERM); /* which is there: it was not waited for yet */
            continue;
        }
        if (now >= next) {
            signal_below(getpid(), SIGKILL, 0);
            (void)kill(-pid, SIGKILL);
            kill_at = now + 100;
        }
        struct pollfd pf = {.fd = open_pipe ? pipes[0] : -1, .events = POLLIN};
        int64_t wait = (e.timed_out ? kill_at : term_at) - now;
        struct timespec t = {.tv_sec = (time_t)(wait / 1000), .tv_nsec = (long)(wait % 1000) * 1000000};
        int rc = waitpid(pid, &status, WNOHANG) == pid ? -2 : ppoll(&pf, 1, &t, &old); /* the signal can come in here only */
        if (rc == -2) {
            gone = true;
        } else if (rc > 0) {
            char buf[65536];
            ssize_t n = read(pipes[0], buf, sizeof buf);
            if (n > 0)
                log_add(buf, (size_t)n);
            else if (n == 0)
                open_pipe = false;
        }
        for (siginfo_t si = {.si_pid = 0}; !gone && waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid != 0 && si.si_pid != pid;
             si.si_pid = 0)
            (void)waitpid(si.si_pid, NULL, WNOHANG); /* an orphan's end */
    }
    e.ms = now_ms() - begun;
    end_all();
    drain(pipes[0], now_ms() + 200);
    close(pipes[0]);
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
    if (WIFEXITED(status))
        e.exit_code = WEXITSTATUS(status);
    else if (WIFSIGNALED(status))
        e.signal = WTERMSIG(status);
    return e;
}

/* ---- reports ---------------------------------------------------------------------------------------------------- */

static struct {
    const struct list *pattern;
    struct timespec stamp;
    long seen, files, entries;
    size_t bytes;
} walk;

static bool after_stamp(const struct timespec *t)
{
    return t->tv_sec > walk.stamp.tv_sec || (t->tv_sec == walk.stamp.tv_sec && t->tv_nsec > walk.stamp.tv_nsec);
}

static bool wanted(const char *path)
{
    size_t n = strlen(path);
    if (walk.pattern->n == 0)
        return n > 4 && strcmp(path + n - 4, ".xml") == 0;
    for (long i = 0; i < walk.pattern->n; i++) {
        const char *p = walk.pattern->item[i];
        if (fnmatch(p, path, 0) == 0 || (strncmp(p, "**/", 3) == 0 && fnmatch(p + 3, path, 0) == 0))
            return true;
    }
    return false;
}

static void look_at(int dir, const char *name, const char *path)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return;
    char *bytes = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && after_stamp(&st.st_ctim) && st.st_size > 0 && st.st_size <= REPORT_BYTES_MAX)
        bytes = malloc((size_t)st.st_size);
    size_t n = 0;
    ssize_t got;
    while (bytes != NULL && n < (size_t)st.st_size && (got = read(fd, bytes + n, (size_t)st.st_size - n)) > 0)
        n += (size_t)got;
    close(fd);
    size_t sniff = n < 4096 ? n : 4096;
    if (n != 0 && memmem(bytes, sniff, "<testsuite", 10) != NULL) {
        walk.seen++;
        if (walk.files < REPORTS_MAX && walk.bytes + n <= REPORTS_BYTES_MAX) {
            walk.files++;
            walk.bytes += n;
            say("file %zu %s\n", n, path);
            put(answer, bytes, n);
            put(answer, "\n", 1);
        }
    }
    free(bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In the order of names, so that a run's answer does not depend on the file system. Takes fd. */
static void look_below(int fd, const char *path, int depth)
{
    DIR *d = fdopendir(fd);
    char **name = NULL;
    size_t n = 0, room = 0;
    if (d == NULL) {
        close(fd);
        return;
    }
    const struct dirent *e;
    while ((e = readdir(d)) != NULL && walk.entries < WALK_MAX) {
        walk.entries++;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (n == room) {
            room = room == 0 ? 64 : 2 * room;
            char **more = realloc(name, room * sizeof *name);
            if (more == NULL)
                break;
            name = more;
        }
        name[n] = strdup(e->d_name);
        if (name[n] == NULL)
            break;
        n++;
    }
    if (n != 0)
        qsort(name, n, sizeof *name, by_name);
    for (size_t i = 0; i < n; i++) {
        char below[PATH_MAX];
        struct stat st;
        int len = snprintf(below, sizeof below, "%s%s%s", path, path[0] != '\0' ? "/" : "", name[i]);
        bool fits = len > 0 && (size_t)len < 1024 && strchr(name[i], '\n') == NULL;
        if (fits && fstatat(dirfd(d), name[i], &st, AT_SYMLINK_NOFOLLOW) == 0) {
            if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX && strcmp(name[i], "node_modules") != 0 && strcmp(name[i], ".git") != 0) {
                int sub = openat(dirfd(d), name[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (sub >= 0)
                    look_below(sub, below, depth + 1);
            } else if (S_ISREG(st.st_mode) && wanted(below)) {
                look_at(dirfd(d), name[i], below);
            }
        }
        free(name[i]);
    }
    free(name);
    closedir(d);
}

static void make_stamp(void)
{
    struct stat st;
    int fd = open("stamp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || fstat(fd, &st) < 0)
        die(3, "no stamp: %s\n", strerror(errno));
    close(fd);
    walk.stamp = st.st_ctim;
    (void)usleep(20000); /* file systems count in ticks: what comes is later than the stamp, not just as late */
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static void told(const char *step, const char *why, const struct ended *e)
{
    say("assay-answer-1\nstep %s\nwhy %s\nexit %d\nsignal %d\ntimeout %d\nms %lld\nlog %llu\n", step, why, e->exit_code, e->signal, e->timed_out,
        (long long)e->ms, (unsigned long long)out.total);
}

static _Noreturn void finish(void)
{
    say("reports %ld\nend\n", walk.seen);
    log_close();
    _exit(0);
}

static _Noreturn void stop(const char *step, const char *why, const struct ended *e)
{
    log_line("[%s: %s]\n", step, why);
    told(step, why, e);
    finish();
}

/* An archive into the workspace; over what is there already: the instructor's. Its own last line is the reason of a refusal. */
static void unpack(const char *step, char *archive, bool over, const struct plan *p)
{
    char *argv[REQUIRE_MAX + 5], name[] = "./assay-unpack", flag[] = "--over", into[] = "workspace", why[200];
    int n = 0;
    argv[n++] = name;
    if (over)
        argv[n++] = flag;
    for (long i = 0; i < p->required.n && i < REQUIRE_MAX; i++) {
        if (asprintf(&argv[n++], "--require=%s", p->required.item[i]) < 0)
            die(3, "no memory\n");
    }
    argv[n++] = archive;
    argv[n++] = into;
    argv[n] = NULL;
    struct ended e = run(argv, p->env.item, NULL, p->setup_ms, 1000);
    const char *said = last_line();
    if (e.exit_code == 0)
        return;
    if (e.exit_code == 2 || e.exit_code == 4 || e.exit_code == 127)
        die(3, "%s\n", said);
    if (e.timed_out)
        (void)snprintf(why, sizeof why, "the archive takes too long to unpack");
    else if (e.signal != 0)
        (void)snprintf(why, sizeof why, "the unpacker was ended by signal %d", e.signal);
    else
        (void)snprintf(why, sizeof why, "the archive was refused: %.150s", strncmp(said, "assay-unpack: ", 14) == 0 ? said + 14 : said);
    stop(step, why, &e);
}

int main(void)
{
    struct plan p;
    struct ended e = {.exit_code = 0};
    char why[300];
    answer = fcntl(2, F_DUPFD_CLOEXEC, 100);
    if (answer < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        die(3, "assay-project: %s\n", strerror(errno));
    (void)signal(SIGPIPE, SIG_IGN);
    struct sigaction sa = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP};
    (void)sigaction(SIGCHLD, &sa, NULL);
    read_plan(&p);
    walk.pattern = &p.reports;
    log_open((size_t)p.log_bytes);
    if (mkdir("workspace", 0755) < 0)
        die(3, "no workspace: %s\n", strerror(errno));
    unpack("unpack", (char[]){"submission.zip"}, false, &p);
    if (p.tests)
        unpack("tests", (char[]){"tests.zip"}, true, &p);
    (void)unlink("submission.zip");
    (void)unlink("tests.zip");
    for (long i = 0; i < p.required.n; i++) {
        char path[PATH_MAX];
        (void)snprintf(path, sizeof path, "workspace/%s", p.required.item[i]);
        if (access(path, F_OK) < 0) {
            (void)snprintf(why, sizeof why, "the project has no %.200s, which is required", p.required.item[i]);
            stop("required", why, &e);
        }
    }
    int64_t left = p.setup_ms;
    char shell[] = "/bin/sh", flag[] = "-c";
    for (long i = 0; i < p.setup.n; i++) {
        log_line("$ %s\n", p.setup.item[i]);
        e = run((char *[]){shell, flag, p.setup.item[i], NULL}, p.env.item, "workspace", left, p.grace_ms);
        left -= e.ms;
        if (e.timed_out)
            (void)snprintf(why, sizeof why, "setup command %ld ran out of time (all of them have %lld ms)", i + 1, (long long)p.setup_ms);
        else if (e.signal != 0)
            (void)snprintf(why, sizeof why, "setup command %ld was ended by signal %d", i + 1, e.signal);
        else
            (void)snprintf(why, sizeof why, "setup command %ld failed with exit status %d", i + 1, e.exit_code);
        if (e.timed_out || e.exit_code != 0)
            stop("setup", why, &e);
        left = left > 0 ? left : 0;
    }
    make_stamp();
    log_line("$ %s\n", p.test.item[0]);
    e = run((char *[]){shell, flag, p.test.item[0], NULL}, p.env.item, "workspace", p.test_ms, p.grace_ms);
    if (e.timed_out)
        log_line("[the test command ran out of time: it has %lld ms]\n", (long long)p.test_ms);
    told("test", "", &e);
    int top = open("workspace", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top >= 0)
        look_below(top, "", 0);
    finish();
}
