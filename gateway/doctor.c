#include "doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

#include <assay/boxkeeper_wire.h>
#include <assay/hosting.h>
#include <assay/json.h>
#include <assay/value.h>

#include "setup.h"

enum level { OK, NOTE, MISSING };

struct doctor {
    struct assay_jw *checks;
    struct assay_buf table;
    bool ill;
};

static void say(struct doctor *d, enum level level, const char *name, const char *remedy, const char *fmt, ...)
    ASSAY_PRINTF(5, 6);
static void say(struct doctor *d, enum level level, const char *name, const char *remedy, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "note", "missing"};
    char detail[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    d->ill = d->ill || level == MISSING;
    assay_jw_object(d->checks);
    assay_jw_kz(d->checks, "name", name);
    assay_jw_kz(d->checks, "status", words[level]);
    assay_jw_kbool(d->checks, "ok", level == OK);
    assay_jw_kz(d->checks, "detail", detail);
    if (level != OK && remedy != NULL)
        assay_jw_kz(d->checks, "remedy", remedy);
    assay_jw_end(d->checks);
    assay_buf_fmt(&d->table, "%-8s %-22s %s\n", words[level], name, detail);
    if (level != OK && remedy != NULL)
        assay_buf_fmt(&d->table, "%-8s %-22s   -> %s\n", "", "", remedy);
}

/* Whether the kernel lets this user make such namespaces, tried in a child that ends at once. */
static bool can_unshare(int flags)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(flags) == 0 ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void first_line(const char *path, char *out, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, room - 1) : -1;
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static void kernel(struct doctor *d)
{
    struct utsname u;
    char text[512];
    if (uname(&u) == 0)
        say(d, OK, "kernel", NULL, "%s %s on %s", u.sysname, u.release, u.machine);

    bool root = geteuid() == 0;
    int all = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    bool user = can_unshare(CLONE_NEWUSER), direct = can_unshare(all), nested = can_unshare(CLONE_NEWUSER | all);
    if (direct || nested)
        say(d, OK, "namespaces", NULL, "mount, pid, net, ipc, uts%s%s", direct ? " as this user" : "",
            user ? "; user namespaces too" : "");
    else
        say(d, MISSING, "namespaces", root ? "start outside a container that forbids unshare, or use the docker driver"
                                           : "sysctl kernel.unprivileged_userns_clone=1 (and user.max_user_namespaces), or start as root",
            "this user can make no namespaces");

    struct statfs fs;
    if (statfs("/sys/fs/cgroup", &fs) != 0) {
        say(d, NOTE, "cgroups", "mount cgroup2 at /sys/fs/cgroup", "none are mounted: limits fall back to rlimits");
    } else if ((unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC) {
        first_line("/sys/fs/cgroup/cgroup.controllers", text, sizeof text);
        bool whole = strstr(text, "memory") != NULL && strstr(text, "pids") != NULL && strstr(text, "cpu") != NULL;
        say(d, whole ? OK : NOTE, "cgroups", "boot with memory, pids and cpu controllers enabled", "version 2: %s", text);
    } else {
        say(d, OK, "cgroups", NULL, "version 1:%s%s%s%s", access("/sys/fs/cgroup/memory", F_OK) == 0 ? " memory" : "",
            access("/sys/fs/cgroup/pids", F_OK) == 0 ? " pids" : "",
            access("/sys/fs/cgroup/cpuacct", F_OK) == 0 ? " cpuacct" : "",
            access("/sys/fs/cgroup/cpu", F_OK) == 0 ? " cpu" : "");
    }
    first_line("/proc/sys/kernel/seccomp/actions_avail", text, sizeof text);
    if (text[0] != '\0')
        say(d, OK, "seccomp", NULL, "%s", text);
    else if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0)
        say(d, OK, "seccomp", NULL, "filters");
    else
        say(d, MISSING, "seccomp", "run a kernel with CONFIG_SECCOMP_FILTER", "not in this kernel");
}

static void privilege(struct doctor *d, const struct assay_setup *s)
{
    struct assay_err err = {0, ""};
    uid_t uid;
    gid_t gid;
    if (assay_setup_identity(assay_config_str(s->config, "server_user"), &uid, &gid, &err) != 0)
        say(d, MISSING, "privilege separation", NULL, "%s", err.msg);
    else if (geteuid() == 0)
        say(d, OK, "privilege separation", NULL, "full: the boxkeeper stays root, the server becomes uid %u", (unsigned)uid);
    else
        say(d, NOTE, "privilege separation", "start as root, or run server and boxkeeper as two users",
            "nominal: server and boxkeeper are both uid %u", (unsigned)uid);
}

static void data_dir(struct doctor *d, const struct assay_setup *s)
{
    const char *path = assay_config_str(s->config, "data_dir");
    char up[PATH_MAX];
    struct statvfs fs;
    (void)snprintf(up, sizeof up, "%s", path);
    /* a folder that is still to be made stands or falls with the nearest one that is there */
    while (access(up, F_OK) != 0 && errno == ENOENT && strlen(up) > 1) {
        char *slash = strrchr(up, '/');
        slash[slash == up] = '\0';
    }
    if (access(up, W_OK | X_OK) != 0)
        say(d, MISSING, "data directory", "name another one with --data-dir, or give this one to the user", "%s: %s", path,
            strerror(errno));
    else
        say(d, OK, "data directory", NULL, "%s%s", path, strcmp(up, path) != 0 ? " (will be made)" : "");
    if (statvfs(up, &fs) == 0) {
        unsigned long long mib = (unsigned long long)fs.f_bavail * fs.f_frsize >> 20;
        say(d, mib < 100 ? MISSING : mib < 1024 ? NOTE : OK, "free space", "make room in the data directory's file system",
            "%llu MiB", mib);
    }
}

static void port(struct doctor *d, const char *label, const char *host, const char *option, int64_t which)
{
    char number[16], remedy[80];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *ai = NULL;
    int one = 1;
    (void)snprintf(number, sizeof number, "%lld", (long long)which);
    (void)snprintf(remedy, sizeof remedy, "stop what listens there, or choose another --%s-port", option);
    if (getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, number, &hints, &ai) != 0) {
        say(d, MISSING, label, "name the IP address of an interface", "%s is not an address", host);
        return;
    }
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0)
        say(d, OK, label, NULL, "%s port %s is free", host, number);
    else
        say(d, errno == EADDRINUSE ? NOTE : MISSING, label, remedy, "%s port %s: %s", host, number, strerror(errno));
    if (fd >= 0)
        close(fd);
    freeaddrinfo(ai);
}

static void ports(struct doctor *d, const struct assay_setup *s)
{
    const char *address = assay_config_str(s->config, "http_address"), *tls = assay_config_str(s->config, "tls_address");
    if (assay_config_int(s->config, "http_plain") != 0)
        port(d, "port", address, "http", assay_config_int(s->config, "http_port"));
    if (assay_config_str(s->config, "tls_cert_file")[0] != '\0')
        port(d, "TLS port", tls[0] != '\0' ? tls : address, "tls", assay_config_int(s->config, "tls_port"));
}

/* "https://assay.example.org:8443" -> "assay.example.org". */
static void host_of(const char *url, char *out, size_t room)
{
    const char *p = strstr(url, "://");
    p = p != NULL ? p + 3 : url;
    bool six = *p == '[';
    p += six;
    (void)snprintf(out, room, "%.*s", (int)strcspn(p, six ? "]" : ":/"), p);
}

/* Reads the files as the server will: as its user, in a child. */
static int read_certificate(const struct assay_setup *s, const char *host, struct assay_tls_facts *f, struct assay_err *err)
{
    struct answer {
        int rc;
        struct assay_tls_facts facts;
        struct assay_err err;
    } *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uid_t uid;
    gid_t gid;
    int status = 0;
    if (a == MAP_FAILED)
        return assay_err_errno(err, ASSAY_E_NOMEM, errno, "cannot look");
    int rc = assay_setup_identity(assay_config_str(s->config, "server_user"), &uid, &gid, err);
    pid_t pid = rc == 0 ? fork() : -1;
    if (pid == 0) {
        struct assay_tls_config cfg = assay_setup_tls(s->config);
        if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0))
            _exit(1);
        a->rc = assay_tls_check(&cfg, host, &a->facts, &a->err);
        _exit(0);
    }
    if (rc == 0 && (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
        rc = assay_err_set(err, ASSAY_E_INTERNAL, "cannot look at the files as uid %u", (unsigned)uid);
    } else if (rc == 0) {
        rc = a->rc;
        *f = a->facts;
        if (rc != 0)
            *err = a->err;
    }
    (void)munmap(a, sizeof *a);
    return rc;
}

static void certificate(struct doctor *d, const struct assay_setup *s)
{
    struct assay_tls_facts f;
    struct assay_err err = {0, ""};
    char host[256], ends[ASSAY_TIME_SIZE];
    if (assay_config_str(s->config, "tls_cert_file")[0] == '\0')
        return;
    host_of(assay_config_str(s->config, "public_url"), host, sizeof host);
    if (read_certificate(s, host, &f, &err) != 0) {
        say(d, MISSING, "TLS", "mend the files that tls_cert_file and tls_key_file name", "%s", err.msg);
        return;
    }
    int64_t now = assay_now_ms() / 1000, days = (f.not_after_s - now) / 86400;
    const char *names = f.names[0] != '\0' ? f.names : "no name at all";
    assay_time_format(f.not_after_s * 1000, ends);
    switch (assay_tls_judge(&f, now)) {
    case ASSAY_TLS_ENDED:
        say(d, MISSING, "TLS", "renew the certificate, then systemctl reload assayd", "the certificate has ended at %s", ends);
        break;
    case ASSAY_TLS_NOT_YET:
        say(d, MISSING, "TLS", "check this machine's clock", "the certificate is not valid yet");
        break;
    case ASSAY_TLS_ENDS_SOON:
        say(d, NOTE, "TLS", "renew the certificate, then systemctl reload assayd", "the certificate for %s ends in %lld days, at %s", names,
            (long long)days, ends);
        break;
    case ASSAY_TLS_VALID:
        say(d, OK, "TLS", NULL, "a certificate for %s, until %s; %d in the chain", names, ends, f.chain);
        break;
    }
    if (f.key_exposed)
        say(d, NOTE, "TLS key", "chmod 640, with the group of the server's user", "anyone on this machine may read %s",
            assay_config_str(s->config, "tls_key_file"));
    if (host[0] != '\0')
        say(d, f.covers ? OK : NOTE, "TLS name", f.covers ? NULL : "have the certificate made for the name that clients use, or mend public_url",
            "the certificate %s %s, of public_url", f.covers ? "vouches for" : "does not vouch for", host);
}

static void descriptors(struct doctor *d, const struct assay_setup *s)
{
    int64_t wanted = assay_config_int(s->config, "http_connections_max");
    int64_t can = assay_setup_descriptors(s->config, false);
    if (geteuid() == 0 || can >= wanted + ASSAY_SETUP_OTHER_DESCRIPTORS)
        say(d, OK, "descriptors", NULL, "enough for %lld connections", (long long)wanted);
    else
        say(d, NOTE, "descriptors", "raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower http_connections_max",
            "at most %lld: %lld of the %lld connections of http_connections_max", (long long)can,
            (long long)(can > ASSAY_SETUP_OTHER_DESCRIPTORS ? can - ASSAY_SETUP_OTHER_DESCRIPTORS : 1), (long long)wanted);
}

static void plugins(struct doctor *d, const struct assay_setup *s)
{
    ASSAY_CLEANUP_BUF struct assay_buf names = ASSAY_BUF_INIT;
    unsigned services = 0, drivers = 0;
    for (size_t i = 0; i < s->plugins.n; i++) {
        const struct assay_plugin *p = s->plugins.entry[i]->p;
        if (strcmp(s->plugins.entry[i]->path, "built in") == 0)
            continue;
        assay_buf_fmt(&names, " %s", p->name);
        if (p->kind == ASSAY_PLUGIN_SERVICE)
            services++;
        else
            drivers++;
    }
    say(d, services > 0 ? OK : NOTE, "plugins", "check plugin_path", "%u services, %u drivers:%s", services, drivers,
        names.p != NULL ? names.p : "");
}

static void compilers(struct doctor *d)
{
    static const char *const wanted[] = {"gcc",  "g++", "clang", "python3", "java", "javac",
                                         "go",   "node", "rustc", "bash",   "perl", NULL};
    static const char *const folders[] = {"/usr/bin", "/bin", "/usr/lib/go/bin"};
    char found[512] = "", absent[512] = "";
    for (int i = 0; wanted[i] != NULL; i++) {
        bool has = false;
        for (size_t k = 0; !has && k < sizeof folders / sizeof folders[0]; k++) {
            char path[128];
            (void)snprintf(path, sizeof path, "%s/%s", folders[k], wanted[i]);
            has = access(path, X_OK) == 0;
        }
        char *list = has ? found : absent;
        size_t n = strlen(list);
        (void)snprintf(list + n, sizeof found - n, "%s%s", n > 0 ? " " : "", wanted[i]);
    }
    say(d, found[0] != '\0' ? OK : MISSING, "compilers", "install the languages that are to be judged",
        "on this machine: %s%s%s (what a language's boxes see may be another root or image: GET /languages says it for each)", found[0] != '\0' ? found : "none", absent[0] != '\0' ? "; absent: " : "", absent);
}

/* ---- the sandbox drivers, through a boxkeeper -------------------------------------------------- */

static int wait_packet(int sock, unsigned char *buf, struct assay_bk_packet *p, int64_t deadline_ns, struct assay_err *err)
{
    for (;;) {
        struct pollfd pfd = {sock, POLLIN, 0};
        int64_t left = (deadline_ns - assay_mono_ns()) / 1000000;
        int fd = -1;
        if (left <= 0 || poll(&pfd, 1, (int)left) == 0)
            return assay_err_set(err, ASSAY_E_TIMEOUT, "it did not answer in time");
        int rc = assay_bk_recv(sock, buf, ASSAY_BK_PACKET_MAX, p, &fd, err);
        if (fd >= 0)
            close(fd);
        if (rc != ASSAY_E_AGAIN && rc != ASSAY_E_CORRUPT)
            return rc;
    }
}

static int ask_boxkeeper(const struct assay_setup *s, struct assay_buf *out, struct assay_err *err)
{
    char exe[PATH_MAX], scratch[] = "/tmp/assay-doctor-XXXXXX";
    int control[2] = {-1, -1}, peer[2] = {-1, -1}, rc = 0, status;
    pid_t pid = -1;
    unsigned char *buf = malloc(ASSAY_BK_PACKET_MAX);
    ASSAY_CLEANUP_BUF struct assay_buf lines = ASSAY_BUF_INIT;
    (void)snprintf(exe, sizeof exe, "%.4000s/assay-boxkeeper", assay_config_str(s->config, "libexec_dir"));
    int memfd = memfd_create("assay-options", MFD_CLOEXEC);
    bool made = mkdtemp(scratch) != NULL;
    if (buf == NULL || memfd < 0 || !made ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, peer) != 0)
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "cannot prepare");
    if (rc == 0) {
        /* its own data directory: what it reaps at its start must not be a working server's */
        struct assay_err ignored;
        if (assay_config_set(s->config, "data_dir", scratch, "doctor", &ignored) == 0 &&
            assay_config_set(s->config, "log_level", "error", "doctor", &ignored) == 0)
            assay_config_lines(s->config, false, &lines);
        if (lines.n == 0 || write(memfd, lines.p, lines.n) != (ssize_t)lines.n)
            rc = assay_err_errno(err, ASSAY_E_IO, errno, "cannot write the options");
    }
    if (rc == 0 && (pid = fork()) == 0) {
        int c = fcntl(control[1], F_DUPFD_CLOEXEC, 100), m = fcntl(memfd, F_DUPFD_CLOEXEC, 100);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (c < 0 || m < 0 || dup2(c, ASSAY_BK_CONTROL_FD) < 0 || dup2(m, ASSAY_BK_OPTIONS_FD) < 0)
            _exit(71);
        execl(exe, exe, (char *)NULL);
        _exit(127);
    }
    if (rc == 0 && pid < 0)
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "fork");
    if (control[1] >= 0)
        close(control[1]);
    int64_t deadline = assay_mono_ns() + (int64_t)20 * 1000000000;
    struct assay_bk_packet p;
    while (rc == 0) {
        rc = wait_packet(control[0], buf, &p, deadline, err);
        if (rc == ASSAY_E_GONE)
            rc = assay_err_set(err, ASSAY_E_GONE, "%s did not start: see its messages", exe);
        if (rc == 0 && p.type == ASSAY_BK_READY)
            break;
    }
    struct assay_bk_packet hand = {.type = ASSAY_BK_PEER}, ask = {.type = ASSAY_BK_DOCTOR, .request = 1};
    if (rc == 0)
        rc = assay_bk_send(control[0], &hand, peer[1], err);
    if (rc == 0)
        rc = assay_bk_send(peer[0], &ask, -1, err);
    if (rc == 0)
        rc = wait_packet(peer[0], buf, &p, deadline, err);
    if (rc == 0 && p.status != 0)
        rc = assay_err_set(err, p.status, "%.*s", (int)(p.text.n < 400 ? p.text.n : 400), p.text.p);
    if (rc == 0)
        assay_buf_str(out, p.text);
    for (int i = 0; i < 2; i++)
        if (peer[i] >= 0)
            close(peer[i]);
    if (control[0] >= 0)
        close(control[0]);
    if (memfd >= 0)
        close(memfd);
    if (pid > 0) {
        /* the end of the control socket ends it; a moment later we do */
        for (int i = 0; i < 500 && waitpid(pid, &status, WNOHANG) == 0; i++)
            (void)usleep(10000);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    }
    if (made)
        (void)rmdir(scratch);
    free(buf);
    return rc;
}

struct driver_check {
    struct assay_str name, detail, cost, remedy;
    bool ok;
};
struct driver {
    struct assay_str driver, mode;
    bool usable;
    struct assay_json_array checks;
};
struct drivers {
    struct assay_str driver, chosen_because;
    struct assay_json_array drivers;
};
#define F(type_, struct_, member, ...) \
    {.name = #member, .type = (type_), .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct struct_, member), .has_offset = -1, __VA_ARGS__}
static const struct assay_json_field check_fields[] = {
    F(ASSAY_JSON_STRING, driver_check, name),   F(ASSAY_JSON_STRING, driver_check, detail),
    F(ASSAY_JSON_STRING, driver_check, cost),   F(ASSAY_JSON_STRING, driver_check, remedy),
    F(ASSAY_JSON_BOOL, driver_check, ok),       {.name = "*"},
    {.name = NULL},
};
static const struct assay_json_field driver_fields[] = {
    F(ASSAY_JSON_STRING, driver, driver),
    F(ASSAY_JSON_STRING, driver, mode),
    F(ASSAY_JSON_BOOL, driver, usable),
    F(ASSAY_JSON_ARRAY, driver, checks, .fields = check_fields, .elem_size = sizeof(struct driver_check)),
    {.name = "*"},
    {.name = NULL},
};

/*
 * Whether a box keeps to its processors, and what one costs by itself, is found by running some: the runner
 * does so at its start, through whichever driver is used.  Here stands only what is configured, and where to look.
 */
static void measurement(struct doctor *d, const struct assay_setup *s)
{
    if (!assay_config_has(s->config, "runner_pin")) {
        say(d, OK, "  measurement", NULL, "no runner here; what boxes cost is in GET /runners of a server that has one");
        return;
    }
    const char *pin = assay_config_str(s->config, "runner_pin");
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t lanes = assay_config_int(s->config, "runner_max_parallel");
    lanes = lanes > 0 ? lanes : online;
    bool crowded = strcmp(pin, "off") != 0 && lanes > online;
    say(d, strcmp(pin, "off") == 0 || crowded ? NOTE : OK, "  measurement",
        crowded ? "programs take turns on processors and disturb one another's times; set RUNNER_MAX_PARALLEL to the number of cores"
                : "programs may disturb one another's times; runner_pin=auto gives each a processor",
        "runner_pin=%s, %lld at a time on %ld processors; whether boxes are pinned and what an empty one costs is measured at the "
        "server's start: calibration in GET /runners, runner_calibrated in the log",
        pin, (long long)lanes, online);
}

static void sandbox(struct doctor *d, const struct assay_setup *s, struct assay_buf *raw)
{
    struct assay_err err = {0, ""};
    if (ask_boxkeeper(s, raw, &err) != 0) {
        say(d, MISSING, "boxkeeper", "check libexec_dir and the messages above", "%s", err.msg);
        return;
    }
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_json_faults faults = {.n = 0};
    struct drivers all;
    memset(&all, 0, sizeof all);
    static const struct assay_json_field top[] = {
        F(ASSAY_JSON_STRING, drivers, driver),
        F(ASSAY_JSON_STRING, drivers, chosen_because),
        F(ASSAY_JSON_ARRAY, drivers, drivers, .fields = driver_fields, .elem_size = sizeof(struct driver)),
        {.name = "*"},
        {.name = NULL},
    };
    if (arena == NULL || assay_json_decode(assay_buf_view(raw), top, &all, NULL, arena, &faults, &err) != 0) {
        say(d, NOTE, "boxkeeper", NULL, "its answer cannot be shown as a table (%s); see --doctor=json", err.msg);
        return;
    }
    bool usable = false;
    const struct driver *list = all.drivers.items;
    for (size_t i = 0; i < all.drivers.n; i++) {
        char name[64];
        usable = usable || list[i].usable;
        (void)snprintf(name, sizeof name, "sandbox %.*s", ASSAY_FMT(list[i].driver));
        say(d, list[i].usable ? OK : NOTE, name, NULL, "%s%s%.*s", list[i].usable ? "usable" : "not usable",
            list[i].mode.n > 0 ? ", mode " : "", ASSAY_FMT(list[i].mode));
        const struct driver_check *c = list[i].checks.items;
        for (size_t k = 0; k < list[i].checks.n; k++) {
            char label[64], remedy[512];
            (void)snprintf(label, sizeof label, "  %.*s", ASSAY_FMT(c[k].name));
            (void)snprintf(remedy, sizeof remedy, "%.*s%s%.*s", ASSAY_FMT(c[k].cost), c[k].cost.n > 0 ? "; " : "",
                           ASSAY_FMT(c[k].remedy));
            say(d, c[k].ok ? OK : NOTE, label, remedy[0] != '\0' ? remedy : NULL, "%.*s", ASSAY_FMT(c[k].detail));
        }
        if (list[i].usable)
            measurement(d, s);
    }
    if (!usable)
        say(d, MISSING, "sandbox", "mend one of the drivers above", "no sandbox driver is usable: nothing can be judged");
    else
        say(d, OK, "sandbox", NULL, "%.*s is used: %.*s", ASSAY_FMT(all.driver), ASSAY_FMT(all.chosen_because));
}

int assay_doctor_main(char *const *flags, char *const *env, bool json)
{
    struct assay_setup s;
    struct assay_err err = {0, ""};
    struct doctor d = {.checks = assay_jw_new()};
    ASSAY_CLEANUP_BUF struct assay_buf raw = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    if (d.checks == NULL)
        return 71;
    assay_buf_init(&d.table, 0);
    assay_jw_array(d.checks);
    int rc = assay_setup_core(&s, &err);
    if (rc == 0)
        rc = assay_setup_resolve(&s, flags, env, &err);
    if (rc == 0)
        rc = assay_setup_plugins(&s, &err);
    if (rc == 0) {
        say(&d, OK, "configuration", NULL, "%s, file: %s", assay_config_str(s.config, "app_env"),
            assay_config_str(s.config, "config")[0] != '\0' ? assay_config_str(s.config, "config") : "none");
    } else {
        say(&d, MISSING, "configuration", "mend it; --dump-config shows where each value comes from", "%s", err.msg);
    }
    kernel(&d);
    if (s.config != NULL && rc == 0) {
        privilege(&d, &s);
        data_dir(&d, &s);
        ports(&d, &s);
        certificate(&d, &s);
        descriptors(&d, &s);
        plugins(&d, &s);
    }
    compilers(&d);
    if (rc == 0)
        sandbox(&d, &s, &raw);
    assay_jw_end(d.checks);

    int status = d.ill ? 1 : 0;
    if (json) {
        struct assay_jw *w = assay_jw_new();
        if (w == NULL || assay_jw_finish(d.checks, &text, &err) != 0) {
            status = 71;
        } else {
            ASSAY_CLEANUP_BUF struct assay_buf whole = ASSAY_BUF_INIT;
            assay_jw_object(w);
            assay_jw_kbool(w, "ok", !d.ill);
            assay_jw_kz(w, "version", PACKAGE_VERSION);
            assay_jw_kraw(w, "checks", assay_buf_view(&text));
            assay_jw_kraw(w, "sandbox", assay_buf_view(&raw));
            assay_jw_end(w);
            if (assay_jw_finish(w, &whole, &err) != 0 || printf("%s\n", whole.p) < 0)
                status = 71;
        }
        assay_jw_free(w);
    } else if (d.table.failed || printf("%s", d.table.p != NULL ? d.table.p : "") < 0) {
        status = 71;
    }
    assay_jw_free(d.checks);
    assay_buf_free(&d.table);
    assay_setup_free(&s);
    return status;
}
