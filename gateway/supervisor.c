/*
 * Theory of operation.
 *
 * Start.  A short-lived child loads the plugins' tables, resolves the configuration and checks it all;
 * it writes the values into two memfds (with and without secrets), which are then sealed, and exits.
 * So the supervisor itself maps no plugin, and its children parse no configuration.  Then: the data
 * directory and its lock, the listening sockets, the two children.
 *
 * Life.  One loop over a signalfd, the children's control sockets and a timer.  When a child has died
 * it is started again: at once if it had been up, with a growing pause if it died before it was ready;
 * after DEATHS_MAX such deaths in a row the supervisor gives up.  Exit status EX_CONFIG from a child
 * that was never up ends everything at once: the same start would fail again.  Whenever either child
 * is new and both are there, a fresh socketpair is made and each gets its end.
 *
 * Sockets.  Whoever starts us may bring them (systemd's socket units, sd_listen_fds(3)): then a stop and a start of the service refuse
 * nobody, since the sockets stay.  Each loop gets a descriptor of its own of one of them.  A socket called "tls"
 * (FileDescriptorName=, LISTEN_FDNAMES) is one that TLS is spoken on; those of either kind stand in for the addresses of that kind.  Where NOTIFY_SOCKET asks for it, sd_notify(3)'s READY=1
 * is sent when the server takes requests.  Both are a variable and a few bytes, so libsystemd is not linked.
 *
 * The lock is an flock on a descriptor that the server inherits: it lasts until the last of the two has
 * gone, so after a kill -9 of the supervisor nobody opens the database beside a server that is dying.
 *
 * Stop.  SIGTERM or SIGINT: SIGTERM to the server, which drains; when it has gone, to the boxkeeper.
 * Each has a bound, after which it is killed.  A second signal kills both.  A child that ends badly on
 * this way makes the exit status 70.  Should the supervisor be
 * killed itself, PR_SET_PDEATHSIG takes the children with it.
 */
#include "supervisor.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <grp.h>

#include <assay/boxkeeper_wire.h>
#include <assay/hosting.h>
#include <assay/value.h>

#include "log.h"
#include "server.h"
#include "setup.h"

#define DEATHS_MAX 5
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 2000
#define LISTENERS_MAX 64 /* of each kind */
#define BOXKEEPER_STOP_MS 10000
#define HIGH_FD 140 /* ours live above, so that the low numbers are free for a child's layout */
#define EXIT_GAVE_UP 70
#define ENV_MAX 64

enum { SERVER, BOXKEEPER, N_CHILDREN };
enum { PLAIN, TLS, N_KINDS };

struct child {
    const char *name;
    bool wanted;
    pid_t pid; /* 0: not running */
    int control;
    bool ready, ever_ready;
    unsigned early_deaths;
    int64_t start_at_ns; /* when not running: no earlier */
    int64_t kill_at_ns;  /* when told to stop; 0: not told */
};

struct supervisor {
    struct assay_logger *log;
    struct assay_options *options;
    int options_all, options_public; /* memfds */
    int lock;
    struct listening {
        int fd[LISTENERS_MAX];
        int n;
        int given[LISTENERS_MAX]; /* listening sockets that we were started with */
        int given_as[LISTENERS_MAX]; /* the numbers that they came by */
        int n_given;
        char url[128]; /* "": this kind is not spoken */
    } listening[N_KINDS];
    int signals;
    uid_t uid;
    gid_t gid;
    char task[200]; /* what the server does instead of serving; "": it serves */
    char exe[PATH_MAX], boxkeeper[PATH_MAX];
    struct child child[N_CHILDREN];
    char *boxkeeper_env[ENV_MAX + 1];
    bool stopping, announced;
    int status;
    int64_t drain_ms;
};

#define SAY(s, level, event, ...) ASSAY_LOG((s)->log, (level), "supervisor", event, __VA_ARGS__)

static int high(int fd)
{
    if (fd < 0 || fd >= HIGH_FD)
        return fd;
    int up = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    int e = errno;
    close(fd);
    errno = e;
    return up;
}

/* ---- configuration --------------------------------------------------------------------------- */

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return -1;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

/* In the child: everything that could be wrong is found here, before anything has been touched. */
static int resolve(char *const *flags, char *const *env, int all, int public)
{
    struct assay_setup s;
    struct assay_err err = {0, ""};
    int rc = assay_setup_core(&s, &err);
    if (rc == 0)
        rc = assay_setup_resolve(&s, flags, env, &err);
    if (rc == 0)
        rc = assay_setup_plugins(&s, &err);
    if (rc != 0) {
        const char *faults = s.config != NULL ? assay_config_problems(s.config) : "";
        if (faults[0] == '\0')
            (void)fprintf(stderr, "assayd: %s\n", err.msg);
        for (const char *p = faults; *p != '\0';) {
            size_t n = strcspn(p, "\n");
            (void)fprintf(stderr, "assayd: %.*s\n", (int)n, p);
            p += n + (p[n] == '\n');
        }
        return rc == ASSAY_E_NOMEM ? 71 : ASSAY_EXIT_CONFIG;
    }
    ASSAY_CLEANUP_BUF struct assay_buf with = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf without = ASSAY_BUF_INIT;
    assay_config_lines(s.config, true, &with);
    assay_config_lines(s.config, false, &without);
    if (with.failed || without.failed || write_all(all, with.p, with.n) != 0 ||
        write_all(public, without.p, without.n) != 0)
        return 71;
    assay_setup_free(&s);
    return 0;
}

static int seal(int fd)
{
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

static int configure(struct supervisor *s, char *const *flags, char *const *env)
{
    struct assay_err err = {0, ""};
    int status = 0;
    s->options_all = high(memfd_create("assay-options", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    s->options_public = high(memfd_create("assay-options-public", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (s->options_all < 0 || s->options_public < 0) {
        (void)fprintf(stderr, "assayd: memfd_create: %s\n", strerror(errno));
        return 71;
    }
    pid_t pid = fork();
    if (pid == 0)
        exit(resolve(flags, env, s->options_all, s->options_public));
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        (void)fprintf(stderr, "assayd: cannot check the configuration: %s\n", strerror(errno));
        return 71;
    }
    if (!WIFEXITED(status)) {
        (void)fprintf(stderr, "assayd: a plugin crashed while it was being loaded (signal %d)\n", WTERMSIG(status));
        return ASSAY_EXIT_CONFIG;
    }
    if (WEXITSTATUS(status) != 0)
        return WEXITSTATUS(status);
    if (seal(s->options_all) != 0 || seal(s->options_public) != 0 ||
        assay_options_read(s->options_public, &s->options, &err) != 0) {
        (void)fprintf(stderr, "assayd: cannot hand the options over: %s\n", err.msg[0] ? err.msg : strerror(errno));
        return 71;
    }
    return 0;
}

static int make_log(struct supervisor *s)
{
    struct assay_err err = {0, ""};
    const char *level = assay_options_str(s->options, "log_level"), *format = assay_options_str(s->options, "log_format");
    struct assay_log_options o = {.fd = 2, .level = ASSAY_LOG_INFO, .lines = 64};
    o.format = strcmp(format, "json") == 0     ? ASSAY_LOG_JSON
               : strcmp(format, "logfmt") == 0 ? ASSAY_LOG_LOGFMT
                                               : ASSAY_LOG_AUTO;
    for (int i = 0; assay_log_level_names[i] != NULL; i++)
        if (strcmp(assay_log_level_names[i], level) == 0)
            o.level = (enum assay_log_level)i;
    s->log = assay_log_new(&o, &err);
    if (s->log == NULL)
        (void)fprintf(stderr, "assayd: %s\n", err.msg);
    return s->log != NULL ? 0 : 71;
}

/* ---- the data directory ------------------------------------------------------------------------ */

static int refuse(struct supervisor *s, int status, const char *fmt, ...) ASSAY_PRINTF(3, 4);
static int refuse(struct supervisor *s, int status, const char *fmt, ...)
{
    char why[PATH_MAX + 400];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (s->log != NULL)
        SAY(s, ASSAY_LOG_ERROR, "refused", ASSAY_KZ("reason", why));
    else
        (void)fprintf(stderr, "assayd: %s\n", why);
    return status;
}

static int make_folders(const char *path)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return errno = ENAMETOOLONG, -1;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        /* those above are for everyone to pass through, ours is not */
        if (mkdir(part, i == n ? 0750 : 0755) != 0 && errno != EEXIST)
            return -1;
    }
    return 0;
}

/* A folder with other things in it is not taken over: its files would change owner. */
static bool ours_or_empty(const char *path)
{
    char lock[PATH_MAX];
    (void)snprintf(lock, sizeof lock, "%s/lock", path);
    if (access(lock, F_OK) == 0)
        return true;
    DIR *d = opendir(path);
    bool empty = d != NULL;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            empty = false;
    if (d != NULL)
        closedir(d);
    return empty;
}

static uid_t own_uid;
static gid_t own_gid;
static int own_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)type, (void)at;
    return st->st_uid == own_uid && st->st_gid == own_gid ? 0 : lchown(path, own_uid, own_gid);
}

/* Asks the kernel itself, in a child that has become the user. */
static bool reachable(uid_t uid, gid_t gid, const char *folder, int mode)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        bool ok = setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 &&
                  access(folder, mode) == 0;
        _exit(ok ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int choose_identity(struct supervisor *s, const char *data_dir)
{
    struct assay_err err = {0, ""};
    if (assay_setup_identity(assay_options_str(s->options, "server_user"), &s->uid, &s->gid, &err) != 0)
        return refuse(s, ASSAY_EXIT_CONFIG, "%s", err.msg);
    if (geteuid() != 0)
        return 0;
    char above[PATH_MAX];
    (void)snprintf(above, sizeof above, "%.*s", (int)(PATH_MAX - 1), data_dir);
    char *slash = strrchr(above, '/');
    slash[slash == above] = '\0';
    const char *share = assay_options_str(s->options, "share_dir");
    const char *closed = !reachable(s->uid, s->gid, above, X_OK) ? above
                         : access(share, F_OK) == 0 && !reachable(s->uid, s->gid, share, R_OK | X_OK) ? share
                                                                                                      : NULL;
    if (closed == NULL)
        return 0;
    if (strcmp(assay_options_str(s->options, "app_env"), "development") != 0)
        return refuse(s, ASSAY_EXIT_CONFIG, "uid %u, which the server becomes, cannot reach %s: open the folders above it "
                                            "(chmod o+x) or put it elsewhere",
                      (unsigned)s->uid, closed);
    SAY(s, ASSAY_LOG_WARN, "privilege_separation_nominal", ASSAY_KI("wanted_uid", s->uid), ASSAY_KZ("unreachable", closed),
        ASSAY_KZ("effect", "the server stays root, without capabilities; outside development this is refused"));
    s->uid = 0;
    s->gid = 0;
    return 0;
}

static int take_lock(struct supervisor *s, const char *data_dir)
{
    char path[PATH_MAX + 8], text[32] = "";
    (void)snprintf(path, sizeof path, "%s/lock", data_dir);
    s->lock = high(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
    if (s->lock < 0)
        return refuse(s, ASSAY_EXIT_CONFIG, "cannot open %s: %s", path, strerror(errno));
    for (int tries = 0; flock(s->lock, LOCK_EX | LOCK_NB) != 0; tries++) {
        int64_t holder = 0;
        ssize_t n = pread(s->lock, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        bool alive = assay_parse_i64(assay_str(text), 1, INT32_MAX, &holder, NULL) == 0 &&
                     (kill((pid_t)holder, 0) == 0 || errno == EPERM);
        /* a killed supervisor's server holds the lock for the moment that its own death takes */
        if (alive || tries >= 300)
            return refuse(s, ASSAY_EXIT_CONFIG, "another assayd (pid %s) uses the data directory %s", text, data_dir);
        (void)usleep(10000);
    }
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(s->lock, 0) != 0 || pwrite(s->lock, text, (size_t)n, 0) != n)
        return refuse(s, ASSAY_EXIT_CONFIG, "cannot write %s: %s", path, strerror(errno));
    return 0;
}

static int prepare_data_dir(struct supervisor *s)
{
    const char *data_dir = assay_options_str(s->options, "data_dir");
    char path[PATH_MAX];
    struct stat st;
    if (make_folders(data_dir) != 0)
        return refuse(s, ASSAY_EXIT_CONFIG, "cannot make the data directory %s: %s", data_dir, strerror(errno));
    if (!ours_or_empty(data_dir))
        return refuse(s, ASSAY_EXIT_CONFIG, "%s has other files in it and is not a data directory of Assay's", data_dir);
    int rc = choose_identity(s, data_dir);
    if (rc == 0)
        rc = take_lock(s, data_dir);
    if (rc != 0)
        return rc;
    static const char *const inside[] = {"run", "blobs", "tmp", "warm"};
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        (void)snprintf(path, sizeof path, "%.4000s/%s", data_dir, inside[i]);
        if (mkdir(path, 0750) != 0 && errno != EEXIST)
            return refuse(s, ASSAY_EXIT_CONFIG, "cannot make %s: %s", path, strerror(errno));
    }
    if (geteuid() == 0) {
        own_uid = s->uid;
        own_gid = s->gid;
        if (stat(data_dir, &st) != 0)
            return refuse(s, ASSAY_EXIT_CONFIG, "cannot read %s: %s", data_dir, strerror(errno));
        /* everything when the owner changes, else only what was just made */
        int e = st.st_uid != s->uid ? nftw(data_dir, own_one, 16, FTW_PHYS) : 0;
        for (size_t i = 0; e == 0 && i < sizeof inside / sizeof inside[0]; i++) {
            (void)snprintf(path, sizeof path, "%.4000s/%s", data_dir, inside[i]);
            e = lchown(path, s->uid, s->gid);
        }
        if (e != 0 || lchown(data_dir, s->uid, s->gid) != 0 || fchown(s->lock, s->uid, s->gid) != 0)
            return refuse(s, ASSAY_EXIT_CONFIG, "cannot give %s to uid %u: %s", data_dir, (unsigned)s->uid, strerror(errno));
    }
    if (access(data_dir, W_OK | X_OK) != 0)
        return refuse(s, ASSAY_EXIT_CONFIG, "cannot write to the data directory %s: %s", data_dir, strerror(errno));
    return 0;
}

/* ---- listening --------------------------------------------------------------------------------- */

/* The i-th of names separated by colons. */
static struct assay_str name_at(const char *names, int i)
{
    const char *p = names != NULL ? names : "";
    for (; i > 0 && *p != '\0'; p++)
        i -= *p == ':';
    return (struct assay_str){p, strcspn(p, ":")};
}

/* Before any descriptor is made: they are 3 and up, and for us only if the variables name this process. */
static void take_given(struct supervisor *s)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
    int64_t who = 0, n = 0;
    if (pid != NULL && fds != NULL && assay_parse_i64(assay_str(pid), 1, INT32_MAX, &who, NULL) == 0 && who == getpid() &&
        assay_parse_i64(assay_str(fds), 1, LISTENERS_MAX, &n, NULL) == 0)
        for (int fd = 3; fd < 3 + n; fd++) {
            struct listening *l = &s->listening[assay_str_is(name_at(names, fd - 3), "tls") ? TLS : PLAIN];
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
            l->given_as[l->n_given] = fd;
            l->given[l->n_given++] = high(fd);
        }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
}

static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path != NULL ? strlen(path) : 0;
    if (n < 2 || n >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    close(fd);
}

static void write_file(const struct supervisor *s, const char *name, const char *url)
{
    char path[PATH_MAX + 16];
    (void)snprintf(path, sizeof path, "%s/run/%s", assay_options_str(s->options, "data_dir"), name);
    if (url[0] == '\0') {
        (void)unlink(path);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return;
    (void)!write(fd, url, strlen(url));
    (void)!write(fd, "\n", 1);
    close(fd);
}

/* run/url is where a client begins, run/tls_url only what speaks TLS. */
static void write_urls(const struct supervisor *s)
{
    const char *plain = s->listening[PLAIN].url, *tls = s->listening[TLS].url;
    write_file(s, "url", plain[0] != '\0' ? plain : tls);
    write_file(s, "tls_url", tls);
}

static void make_url(struct listening *l, int kind, const struct sockaddr_storage *at)
{
    char host[INET6_ADDRSTRLEN] = "";
    bool six = at->ss_family == AF_INET6;
    const struct sockaddr_in6 *in6 = (const void *)at;
    const struct sockaddr_in *in = (const void *)at;
    (void)inet_ntop(at->ss_family, six ? (const void *)&in6->sin6_addr : (const void *)&in->sin_addr, host, sizeof host);
    bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    (void)snprintf(l->url, sizeof l->url, "%s://%s%s%s:%u", kind == TLS ? "https" : "http", six && !any ? "[" : "", any ? "127.0.0.1" : host,
                   six && !any ? "]" : "", (unsigned)ntohs(six ? in6->sin6_port : in->sin_port));
}

/* The options of addresses and ports say nothing then. */
static int use_given(struct supervisor *s, int kind)
{
    struct listening *l = &s->listening[kind];
    struct sockaddr_storage at, first = {.ss_family = AF_UNSPEC};
    for (int i = 0; i < l->n_given; i++) {
        int listening = 0, type = 0;
        socklen_t one = sizeof listening, two = sizeof type, len = sizeof at;
        if (l->given[i] < 0 || getsockopt(l->given[i], SOL_SOCKET, SO_ACCEPTCONN, &listening, &one) != 0 || listening == 0 ||
            getsockopt(l->given[i], SOL_SOCKET, SO_TYPE, &type, &two) != 0 || type != SOCK_STREAM ||
            getsockname(l->given[i], (struct sockaddr *)&at, &len) != 0 || (at.ss_family != AF_INET && at.ss_family != AF_INET6))
            return refuse(s, ASSAY_EXIT_CONFIG, "descriptor %d of LISTEN_FDS is not a listening TCP socket (ListenStream=PORT, Accept=no)",
                          l->given_as[i]);
        int flags = fcntl(l->given[i], F_GETFL);
        if (flags < 0 || fcntl(l->given[i], F_SETFL, flags | O_NONBLOCK) != 0)
            return refuse(s, 71, "a descriptor of LISTEN_FDS: %s", strerror(errno));
        if (first.ss_family == AF_UNSPEC)
            first = at;
    }
    int want = (int)assay_setup_loops(assay_options_int(s->options, "http_loops", 0));
    if (want < l->n_given)
        want = l->n_given;
    for (l->n = 0; l->n < want; l->n++) {
        int fd = fcntl(l->given[l->n % l->n_given], F_DUPFD_CLOEXEC, HIGH_FD);
        if (fd < 0)
            return refuse(s, 71, "cannot duplicate a socket: %s", strerror(errno));
        l->fd[l->n] = fd;
    }
    make_url(l, kind, &first);
    return 0;
}

static int bind_one(const struct addrinfo *ai, bool share)
{
    int one = 1;
    int fd = high(socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd < 0)
        return -1;
    int e = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (e == 0 && share)
        e = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (e == 0)
        e = bind(fd, ai->ai_addr, ai->ai_addrlen);
    if (e != 0) {
        e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static int listen_kind(struct supervisor *s, int kind)
{
    struct listening *l = &s->listening[kind];
    if (l->n_given > 0)
        return use_given(s, kind);
    const char *option = kind == TLS ? "tls_address" : "http_address";
    const char *host = assay_options_str(s->options, option), *port = assay_options_str(s->options, kind == TLS ? "tls_port" : "http_port");
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *ai = NULL;
    if (kind == TLS && host[0] == '\0')
        host = assay_options_str(s->options, option = "http_address");
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    int e = getaddrinfo(host, port, &hints, &ai);
    if (e != 0)
        return refuse(s, ASSAY_EXIT_CONFIG, "%s \"%s\" is not an IP address: %s", option, host, gai_strerror(e));
    /* SO_REUSEPORT would let a second server share the port in silence, so a socket without it goes first */
    int probe = -1;
    for (int tries = 0; (probe = bind_one(ai, false)) < 0 && errno == EADDRINUSE && tries < 30; tries++)
        (void)usleep(10000); /* the sockets of a killed server close in a moment */
    if (probe < 0) {
        e = errno;
        freeaddrinfo(ai);
        return refuse(s, ASSAY_EXIT_CONFIG, "cannot listen on %s port %s: %s%s", host, port, strerror(e),
                      e == EADDRINUSE ? " (another assayd?)" : "");
    }
    close(probe);
    int want = (int)assay_setup_loops(assay_options_int(s->options, "http_loops", 0));
    for (l->n = 0; l->n < want; l->n++) {
        int fd = bind_one(ai, true);
        struct sockaddr_storage bound;
        socklen_t len = sizeof bound;
        if (fd < 0 || listen(fd, 1024) != 0 || getsockname(fd, (struct sockaddr *)&bound, &len) != 0) {
            e = errno;
            freeaddrinfo(ai);
            return refuse(s, ASSAY_EXIT_CONFIG, "cannot listen on %s port %s: %s", host, port, strerror(e));
        }
        l->fd[l->n] = fd;
        memcpy(ai->ai_addr, &bound, len); /* port 0: the others take the one that the first was given */
    }
    freeaddrinfo(ai);
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    if (getsockname(l->fd[0], (struct sockaddr *)&at, &len) == 0)
        make_url(l, kind, &at);
    return 0;
}

static int listen_all(struct supervisor *s)
{
    bool tls = assay_options_str(s->options, "tls_cert_file")[0] != '\0', plain = assay_options_int(s->options, "http_plain", 1) != 0;
    if (s->listening[TLS].n_given > 0 && !tls)
        return refuse(s, ASSAY_EXIT_CONFIG, "LISTEN_FDS has a socket called tls, and there is no certificate: set tls_cert_file and tls_key_file");
    if (s->listening[PLAIN].n_given > 0 && !plain)
        return refuse(s, ASSAY_EXIT_CONFIG, "LISTEN_FDS has a socket for plain HTTP, and http_plain is false: give it FileDescriptorName=tls, or take it away");
    int rc = plain ? listen_kind(s, PLAIN) : 0;
    if (rc == 0 && tls)
        rc = listen_kind(s, TLS);
    if (rc == 0)
        write_urls(s);
    return rc;
}

/* ---- children ---------------------------------------------------------------------------------- */

/* The boxkeeper has its options from the memfd without secrets, and so must not have them from the
 * environment: only what a program needs to find its way, and what steers sanitizers and coverage. */
static void choose_env(struct supervisor *s, char *const *env)
{
    static const char *const names[] = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "DOCKER_HOST", "LD_LIBRARY_PATH", NULL};
    size_t n = 0;
    for (; *env != NULL && n < ENV_MAX; env++) {
        struct assay_str name = {*env, strcspn(*env, "=")};
        bool keep = assay_str_starts(name, "LC_") || assay_str_starts(name, "GCOV_") || assay_str_ends(name, "SAN_OPTIONS");
        for (size_t i = 0; !keep && names[i] != NULL; i++)
            keep = assay_str_is(name, names[i]);
        if (keep)
            s->boxkeeper_env[n++] = *env;
    }
}

/* Between fork and exec: only calls that are safe after the fork of a program with threads. */
static void become_child(struct supervisor *s, int which, int control, char **argv, pid_t parent)
{
    sigset_t none;
    int fds[3 + N_KINDS * LISTENERS_MAX], n = 0;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    /* out of the terminal's group: ^C is for the supervisor to pass on */
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(0);
    fds[n++] = control;
    fds[n++] = which == SERVER ? s->options_all : s->options_public;
    if (which == SERVER) {
        fds[n++] = s->lock;
        for (int kind = 0; kind < N_KINDS; kind++)
            for (int i = 0; i < s->listening[kind].n; i++)
                fds[n++] = s->listening[kind].fd[i];
    }
    for (int i = 0; i < n; i++)
        if (dup2(fds[i], 3 + i) < 0)
            _exit(71);
    if (which == SERVER)
        execv("/proc/self/exe", argv);
    else
        execve(s->boxkeeper, argv, s->boxkeeper_env);
    _exit(errno == ENOENT ? ASSAY_EXIT_CONFIG : 71);
}

static void start_child(struct supervisor *s, int which)
{
    struct child *c = &s->child[which];
    int pair[2];
    char listeners[40], tls_listeners[40], uid[40], gid[40];
    (void)snprintf(listeners, sizeof listeners, "--listeners=%d", s->listening[PLAIN].n);
    (void)snprintf(tls_listeners, sizeof tls_listeners, "--tls-listeners=%d", s->listening[TLS].n);
    (void)snprintf(uid, sizeof uid, "--uid=%u", (unsigned)s->uid);
    (void)snprintf(gid, sizeof gid, "--gid=%u", (unsigned)s->gid);
    char role[] = "--role=server";
    char *server_argv[] = {s->exe, role, listeners, tls_listeners, uid, gid, s->task[0] != '\0' ? s->task : NULL, NULL};
    char *boxkeeper_argv[] = {s->boxkeeper, NULL};
    pid_t parent = getpid();

    c->start_at_ns = assay_mono_ns() + (int64_t)PAUSE_MAX_MS * 1000000; /* should fork fail */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        SAY(s, ASSAY_LOG_ERROR, "start_failed", ASSAY_KZ("child", c->name), ASSAY_KZ("reason", strerror(errno)));
        return;
    }
    pair[0] = high(pair[0]);
    pair[1] = high(pair[1]);
    pid_t pid = fork();
    if (pid == 0)
        become_child(s, which, pair[1], which == SERVER ? server_argv : boxkeeper_argv, parent);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        SAY(s, ASSAY_LOG_ERROR, "start_failed", ASSAY_KZ("child", c->name), ASSAY_KZ("reason", strerror(errno)));
        return;
    }
    c->pid = pid;
    c->control = pair[0];
    c->ready = false;
    c->kill_at_ns = 0;
    SAY(s, ASSAY_LOG_DEBUG, "started", ASSAY_KZ("child", c->name), ASSAY_KI("child_pid", pid));
}

/* A fresh pair of ends for both, because one of them is new. */
static void introduce(struct supervisor *s)
{
    int pair[2];
    struct assay_bk_packet peer = {.type = ASSAY_BK_PEER};
    if (s->child[SERVER].pid == 0 || s->child[BOXKEEPER].pid == 0)
        return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        SAY(s, ASSAY_LOG_ERROR, "introduce_failed", ASSAY_KZ("reason", strerror(errno)));
        return;
    }
    /* a child that is gone already is seen by SIGCHLD and introduced again */
    (void)!assay_bk_send(s->child[BOXKEEPER].control, &peer, pair[1], NULL);
    (void)!assay_bk_send(s->child[SERVER].control, &peer, pair[0], NULL);
    close(pair[0]);
    close(pair[1]);
}

static void stop_child(struct supervisor *s, int which, int64_t within_ms)
{
    struct child *c = &s->child[which];
    if (c->pid == 0 || c->kill_at_ns != 0)
        return;
    (void)kill(c->pid, SIGTERM);
    c->kill_at_ns = assay_mono_ns() + within_ms * 1000000;
}

static void begin_stop(struct supervisor *s, int status)
{
    if (s->stopping) {
        /* asked again: no more patience */
        for (int i = 0; i < N_CHILDREN; i++)
            if (s->child[i].pid != 0)
                (void)kill(s->child[i].pid, SIGKILL);
        return;
    }
    s->stopping = true;
    s->status = status;
    stop_child(s, SERVER, s->drain_ms + 5000);
    if (s->child[SERVER].pid == 0)
        stop_child(s, BOXKEEPER, BOXKEEPER_STOP_MS);
}

static void child_died(struct supervisor *s, int which, int status)
{
    struct child *c = &s->child[which];
    char how[64];
    if (WIFSIGNALED(status))
        (void)snprintf(how, sizeof how, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        (void)snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
    bool hopeless = WIFEXITED(status) && WEXITSTATUS(status) == ASSAY_EXIT_CONFIG && !c->ever_ready;
    pid_t pid = c->pid;
    close(c->control);
    c->pid = 0;
    c->control = -1;
    if (s->stopping) {
        /* one that was told to stop while it was still starting may well die of the signal */
        if (c->ready && (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)) {
            SAY(s, ASSAY_LOG_WARN, "ended_badly", ASSAY_KZ("child", c->name), ASSAY_KI("child_pid", pid), ASSAY_KZ("how", how));
            if (s->status == 0)
                s->status = EXIT_GAVE_UP;
        }
        if (which == SERVER)
            stop_child(s, BOXKEEPER, BOXKEEPER_STOP_MS);
        return;
    }
    int64_t pause_ms = 0;
    if (c->ready) {
        c->early_deaths = 0;
    } else {
        c->early_deaths++;
        pause_ms = PAUSE_MIN_MS;
        for (unsigned i = 1; i < c->early_deaths && pause_ms < PAUSE_MAX_MS; i++)
            pause_ms *= 2;
    }
    c->start_at_ns = assay_mono_ns() + pause_ms * 1000000;
    if (hopeless || c->early_deaths >= DEATHS_MAX) {
        char why[160];
        (void)snprintf(why, sizeof why, hopeless ? "the %s cannot start: see its message above"
                                                 : "the %s died %u times before it was up, last with %s",
                       c->name, c->early_deaths, how);
        (void)refuse(s, 0, "%s", why);
        begin_stop(s, hopeless ? ASSAY_EXIT_CONFIG : EXIT_GAVE_UP);
        return;
    }
    SAY(s, ASSAY_LOG_WARN, "died", ASSAY_KZ("child", c->name), ASSAY_KI("child_pid", pid), ASSAY_KZ("how", how),
        ASSAY_KI("restart_in_ms", pause_ms));
}

static void reap(struct supervisor *s)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (int i = 0; i < N_CHILDREN; i++)
            if (s->child[i].pid == pid)
                child_died(s, i, status);
}

static void on_signal(struct supervisor *s)
{
    struct signalfd_siginfo si;
    while (read(s->signals, &si, sizeof si) == (ssize_t)sizeof si) {
        if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT || si.ssi_signo == SIGQUIT) {
            SAY(s, ASSAY_LOG_INFO, "stopping", ASSAY_KZ("signal", strsignal((int)si.ssi_signo)));
            begin_stop(s, 0);
        } else if (si.ssi_signo == SIGHUP && s->child[SERVER].pid != 0 && s->child[SERVER].ready) {
            (void)kill(s->child[SERVER].pid, SIGHUP); /* it reads its files again */
        }
    }
    reap(s);
}

static void on_control(struct supervisor *s, int which)
{
    static unsigned char buf[ASSAY_BK_PACKET_MAX];
    struct child *c = &s->child[which];
    struct assay_bk_packet p;
    int fd = -1;
    int rc = assay_bk_recv(c->control, buf, sizeof buf, &p, &fd, NULL);
    if (fd >= 0)
        close(fd); /* children bring none */
    if (rc == ASSAY_E_GONE || rc == ASSAY_E_IO) {
        /* its end of the line: what is left is SIGCHLD */
        (void)shutdown(c->control, SHUT_RDWR);
        return;
    }
    if (rc == 0 && p.type == ASSAY_BK_DONE && which == SERVER && !s->stopping) {
        SAY(s, ASSAY_LOG_INFO, "stopping", ASSAY_KZ("reason", "the server has done all that it was to do"));
        begin_stop(s, 0);
    }
    if (rc != 0 || p.type != ASSAY_BK_READY || c->ready)
        return;
    c->ready = c->ever_ready = true;
    c->early_deaths = 0;
    SAY(s, ASSAY_LOG_INFO, "child_ready", ASSAY_KZ("child", c->name), ASSAY_KI("child_pid", c->pid),
        ASSAY_KS("says", p.text));
    if (!s->announced && s->child[SERVER].ready) {
        s->announced = true;
        notify("READY=1\n");
        const char *plain = s->listening[PLAIN].url, *tls = s->listening[TLS].url;
        SAY(s, ASSAY_LOG_INFO, "listening", ASSAY_KZ("url", plain[0] != '\0' ? plain : tls), ASSAY_KZ("tls_url", tls),
            ASSAY_KZ("data_dir", assay_options_str(s->options, "data_dir")));
    }
}

/* Starts and kills what is due; returns the ms until something is due again, -1 for nothing. */
static int housekeeping(struct supervisor *s)
{
    int64_t now = assay_mono_ns(), next = INT64_MAX;
    bool fresh = false;
    for (int i = 0; i < N_CHILDREN; i++) {
        struct child *c = &s->child[i];
        if (c->pid == 0 && c->wanted && !s->stopping) {
            if (now >= c->start_at_ns) {
                start_child(s, i);
                fresh = fresh || c->pid != 0;
            }
            if (c->pid == 0 && c->start_at_ns < next)
                next = c->start_at_ns;
        } else if (c->pid != 0 && c->kill_at_ns != 0) {
            if (now >= c->kill_at_ns) {
                SAY(s, ASSAY_LOG_WARN, "killed", ASSAY_KZ("child", c->name), ASSAY_KZ("reason", "it did not end in time"));
                (void)kill(c->pid, SIGKILL);
                c->kill_at_ns = now + (int64_t)1000000000;
            }
            if (c->kill_at_ns < next)
                next = c->kill_at_ns;
        }
    }
    if (fresh)
        introduce(s);
    if (next == INT64_MAX)
        return -1;
    int64_t ms = (next - now) / 1000000 + 1;
    return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

static int run(struct supervisor *s)
{
    for (;;) {
        int wait = housekeeping(s);
        if (s->stopping && s->child[SERVER].pid == 0 && s->child[BOXKEEPER].pid == 0)
            return s->status;
        struct pollfd p[1 + N_CHILDREN] = {{s->signals, POLLIN, 0}};
        for (int i = 0; i < N_CHILDREN; i++)
            p[1 + i] = (struct pollfd){s->child[i].pid != 0 ? s->child[i].control : -1, POLLIN, 0};
        if (poll(p, 1 + N_CHILDREN, wait) < 0 && errno != EINTR)
            return refuse(s, 71, "poll: %s", strerror(errno));
        for (int i = 0; i < N_CHILDREN; i++)
            if ((p[1 + i].revents & POLLIN) != 0 && s->child[i].pid != 0)
                on_control(s, i);
            else if ((p[1 + i].revents & (POLLHUP | POLLERR)) != 0)
                (void)usleep(1000); /* its SIGCHLD is on the way */
        on_signal(s);
    }
}

static struct supervisor *begin(void)
{
    static struct supervisor supervisor;
    struct supervisor *s = &supervisor;
    s->lock = -1;
    s->child[SERVER] = (struct child){.name = "server", .control = -1, .wanted = true};
    s->child[BOXKEEPER] = (struct child){.name = "boxkeeper", .control = -1};
    ssize_t n = readlink("/proc/self/exe", s->exe, sizeof s->exe - 1);
    s->exe[n > 0 ? n : 0] = '\0';
    return s;
}

int assay_supervisor_main(char *const *flags, char *const *env)
{
    sigset_t set;
    struct supervisor *s = begin();
    take_given(s);
    int status = configure(s, flags, env);
    if (status != 0)
        return status;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGHUP); /* the server's to obey */
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
        (s->signals = high(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK))) < 0)
        return 71;
    (void)snprintf(s->boxkeeper, sizeof s->boxkeeper, "%s/assay-boxkeeper", assay_options_str(s->options, "libexec_dir"));
    choose_env(s, env);
    s->drain_ms = assay_options_int(s->options, "drain_timeout", 10000);
    s->child[BOXKEEPER].wanted = assay_options_int(s->options, "boxkeeper", 1) != 0;

    status = make_log(s);
    if (status == 0 && s->child[BOXKEEPER].wanted && access(s->boxkeeper, X_OK) != 0)
        status = refuse(s, ASSAY_EXIT_CONFIG, "cannot run %s: %s (libexec_dir; or run without it: --no-boxkeeper)",
                        s->boxkeeper, strerror(errno));
    if (status == 0)
        status = prepare_data_dir(s);
    if (status == 0)
        status = listen_all(s);
    if (status == 0)
        status = run(s);
    assay_log_free(s->log);
    assay_options_free(s->options);
    return status;
}

int assay_supervisor_reset_cursor(char *const *flags, char *const *env, const char *group)
{
    struct supervisor *s = begin();
    int n = snprintf(s->task, sizeof s->task, "--reset-cursor=%s", group), how = 0;
    if (n < 0 || (size_t)n >= sizeof s->task) {
        (void)fprintf(stderr, "assayd: no event group has so long a name\n");
        return 64;
    }
    int status = configure(s, flags, env);
    if (status != 0)
        return status;
    const char *data_dir = assay_options_str(s->options, "data_dir");
    char lock[PATH_MAX];
    (void)snprintf(lock, sizeof lock, "%.4000s/lock", data_dir);
    status = make_log(s);
    if (status == 0 && access(lock, F_OK) != 0)
        status = refuse(s, ASSAY_EXIT_CONFIG, "%s is not the data directory of a server that has run", data_dir);
    if (status == 0)
        status = prepare_data_dir(s);
    if (status == 0) {
        start_child(s, SERVER);
        pid_t pid = s->child[SERVER].pid;
        if (pid == 0 || waitpid(pid, &how, 0) != pid || !WIFEXITED(how))
            status = refuse(s, EXIT_GAVE_UP, "the process for it could not be started, or crashed");
        else
            status = WEXITSTATUS(how);
    }
    assay_log_free(s->log);
    assay_options_free(s->options);
    return status;
}
