/*
 * assay support-bundle: what somebody who is to help wants to see, in one file, without secrets.
 *
 * Two halves: what the server says over HTTP, and, on its own machine, what assayd says of machine and configuration and what the
 * log holds.  Each part may be missing (another machine, no rights, a server that is down: that is when bundles are made); then the
 * bundle says so and why.  Every part goes through mask.c.  The file is new and its owner's alone.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "mask.h"

extern char **environ;

#define PART_MAX ((size_t)16 << 20)
#define RUN_MAX_S 60
#define LINES_DEFAULT "5000"

struct bundle {
    struct cli *c;
    struct archive *a;
    struct mask *mask;
    char name[64]; /* of the folder that it unpacks to */
    time_t now;
    json_t *parts;
    int rc;
};

struct text {
    char *p;
    size_t n, room;
};

static void more(struct text *t, const char *p, size_t n)
{
    if (t->n + n + 1 > t->room) {
        t->room = 2 * (t->n + n + 1);
        char *grown = realloc(t->p, t->room);
        if (grown == NULL) {
            term_error("no memory");
            exit(CLI_LOCAL);
        }
        t->p = grown;
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
    t->p[t->n] = '\0';
}

static void write_entry(struct bundle *b, const char *file, const char *p, size_t n)
{
    CLI_CLEANUP_STR char *path = cli_fmt("%s/%s", b->name, file);
    struct archive_entry *e = archive_entry_new();
    if (e == NULL)
        exit(CLI_LOCAL);
    archive_entry_set_pathname(e, path);
    archive_entry_set_size(e, (la_int64_t)n);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0600);
    archive_entry_set_mtime(e, b->now, 0);
    bool ok = archive_write_header(b->a, e) == ARCHIVE_OK && (n == 0 || archive_write_data(b->a, p, n) == (la_ssize_t)n);
    archive_entry_free(e);
    if (!ok && b->rc == CLI_OK) {
        term_error("the bundle cannot be written: %s", archive_error_string(b->a));
        b->rc = CLI_LOCAL;
    }
}

/* why NULL: it is there. names: fields are masked by their names too. */
static void part(struct bundle *b, const char *file, const char *p, size_t n, bool names, const char *why)
{
    json_t *row = json_pack("{s:s, s:b}", "file", file, "there", why == NULL);
    if (why == NULL) {
        CLI_CLEANUP_STR char *masked = mask_text(b->mask, p, &n, names);
        write_entry(b, file, masked, n);
        json_object_set_new(row, "bytes", json_integer((json_int_t)n));
    } else {
        size_t len = strlen(why);
        CLI_CLEANUP_STR char *masked = mask_text(b->mask, why, &len, true);
        json_object_set_new(row, "why", json_string(masked));
    }
    json_array_append_new(b->parts, row);
}

/* ---- over HTTP ------------------------------------------------------------------------------------- */

static void ask(struct bundle *b, const char *path, const char *file)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "GET", .path = path, .once = true, .quiet = true};
    int rc = api_do(b->c, &call, &a);
    if (rc == CLI_OK && (a.status == 200 || a.status == 503)) {
        part(b, file, a.text != NULL ? a.text : "", a.text_n, true, NULL);
        return;
    }
    CLI_CLEANUP_STR char *why = rc != CLI_OK ? cli_fmt("%s does not answer", b->c->url)
                                : a.status == 401 || a.status == 403 || a.status == 404
                                    ? cli_fmt("HTTP %ld: it is for staff; sign in first (assay login)", a.status)
                                    : cli_fmt("HTTP %ld", a.status);
    part(b, file, NULL, 0, false, why);
}

/* ---- programs of this machine ---------------------------------------------------------------------- */

static void drain(int fd, struct text *out, bool *cut, time_t until)
{
    char buf[65536];
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        time_t now = time(NULL);
        int r = now < until ? poll(&p, 1, (int)(until - now) * 1000) : 0;
        if (r < 0 && errno == EINTR)
            continue;
        ssize_t n = r > 0 ? read(fd, buf, sizeof buf) : 0;
        if (n <= 0)
            return;
        size_t room = PART_MAX - out->n;
        more(out, buf, (size_t)n < room ? (size_t)n : room);
        *cut = *cut || (size_t)n > room;
    }
}

/* The program's output, both streams; its exit status, or -1 when it could not be run or had to be ended. */
static int run(const char *const *argv, struct text *out)
{
    int fd[2], status = 0;
    bool cut = false;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (pipe2(fd, O_CLOEXEC) != 0)
        return -1;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        close(fd[0]);
        close(fd[1]);
        return -1;
    }
    int r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    r = r != 0 ? r : posix_spawn_file_actions_adddup2(&actions, fd[1], 1);
    r = r != 0 ? r : posix_spawn_file_actions_adddup2(&actions, fd[1], 2);
    char **args = calloc(16, sizeof *args);
    for (size_t i = 0; args != NULL && i < 15 && argv[i] != NULL; i++)
        args[i] = cli_strdup(argv[i]);
    r = r != 0 || args == NULL ? -1 : posix_spawnp(&pid, argv[0], &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fd[1]);
    if (r == 0) {
        drain(fd[0], out, &cut, time(NULL) + RUN_MAX_S);
        close(fd[0]);
        for (int i = 0; i < 50 && (r = waitpid(pid, &status, WNOHANG)) == 0; i++)
            (void)poll(NULL, 0, 100);
        if (r == 0) { /* it neither says anything more nor ends */
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            r = -1;
        }
        r = r > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    } else {
        close(fd[0]);
        r = -1;
    }
    for (size_t i = 0; args != NULL && args[i] != NULL; i++)
        free(args[i]);
    free(args);
    if (cut)
        more(out, "\n(cut)\n", strlen("\n(cut)\n"));
    return r;
}

/* names: see part(). ok: exit statuses up to this one are answers. */
static void run_part(struct bundle *b, const char *const *argv, const char *file, bool names, int ok)
{
    struct text out = {NULL, 0, 0};
    more(&out, "", 0);
    int status = run(argv, &out);
    CLI_CLEANUP_STR char *why = NULL;
    if (status < 0 || status > ok)
        why = out.n > 0 ? cli_fmt("%s: %.*s", argv[0], out.n > 300 ? 300 : (int)out.n, out.p) : cli_fmt("%s cannot be run here", argv[0]);
    part(b, file, out.p, out.n, names, why);
    free(out.p);
}

/* ---- files ----------------------------------------------------------------------------------------- */

/* The last so many lines, of at most PART_MAX bytes. */
static void file_end(struct bundle *b, const char *path, long lines, const char *file)
{
    FILE *f = fopen(path, "re");
    CLI_CLEANUP_STR char *why = f == NULL ? cli_fmt("%s: %s", path, strerror(errno)) : NULL;
    struct text out = {NULL, 0, 0};
    more(&out, "", 0);
    if (f != NULL) {
        char buf[65536];
        size_t n;
        if (fseeko(f, 0, SEEK_END) == 0 && ftello(f) > (off_t)PART_MAX)
            (void)fseeko(f, -(off_t)PART_MAX, SEEK_END);
        else
            rewind(f);
        while (out.n < PART_MAX && (n = fread(buf, 1, sizeof buf, f)) > 0)
            more(&out, buf, n);
        (void)fclose(f);
    }
    size_t at = out.n;
    for (long k = 0; at > 0; at--)
        if (out.p[at - 1] == '\n' && at < out.n && ++k >= lines)
            break;
    part(b, file, out.p + at, out.n - at, true, why);
    free(out.p);
}

static void this_machine(struct bundle *b)
{
    struct utsname u;
    CLI_CLEANUP_STR char *text = uname(&u) == 0 ? cli_fmt("assay %s\n%s %s %s %s\nprocessors: %ld\n", CLI_VERSION, u.sysname, u.release, u.version, u.machine,
                                                          sysconf(_SC_NPROCESSORS_ONLN))
                                                : cli_fmt("assay %s\n", CLI_VERSION);
    part(b, "machine.txt", text, strlen(text), false, NULL);
    file_end(b, "/etc/os-release", 100, "os-release.txt");
}

/* ---- the command ----------------------------------------------------------------------------------- */

static const char readme[] =
    "What this is: the state of an Assay server, for somebody who is to help. assay support-bundle made it.\n\n"
    "manifest.json    when, and which parts are here or why not\n"
    "server/          what the server answered: readiness, metrics, languages, runners\n"
    "machine.txt, os-release.txt, assayd/   the machine that it was made on: versions, assayd --doctor, assayd --dump-config\n"
    "log.txt          the end of the server's log\n\n"
    "Secrets are replaced by [hidden]: values of variables and options that are secret, passwords in URLs, tokens, keys, and what stands\n"
    "behind names such as password or token. It holds names: of accounts, agents, benchmarks, addresses. Look through it before you pass it on.\n";

static const char *assayd_of(char **own)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n > 0) {
        path[n] = '\0';
        char *slash = strrchr(path, '/');
        if (slash != NULL) {
            *slash = '\0';
            *own = cli_fmt("%s/assayd", path);
            if (access(*own, X_OK) == 0)
                return *own;
        }
    }
    return "assayd";
}

static void collect(struct bundle *b, const char *assayd, const char *config, const char *log, long lines)
{
    CLI_CLEANUP_STR char *with = config != NULL ? cli_fmt("--config=%s", config) : NULL;
    CLI_CLEANUP_STR char *count = cli_fmt("%ld", lines);
    const char *const version[] = {assayd, "--version", NULL}, *const doctor[] = {assayd, "--doctor", with, NULL},
                      *const dump[] = {assayd, "--dump-config", with, NULL},
                      *const journal[] = {"journalctl", "--unit=assayd", "--no-pager", "--output=cat", "-n", count, NULL};
    part(b, "README.txt", readme, sizeof readme - 1, false, NULL);
    ask(b, "/healthz", "server/healthz.json");
    ask(b, "/readyz", "server/readyz.json");
    ask(b, "/metrics", "server/metrics.txt");
    ask(b, "/languages", "server/languages.json");
    ask(b, "/runners", "server/runners.json");
    this_machine(b);
    run_part(b, version, "assayd/version.txt", false, 0);
    run_part(b, doctor, "assayd/doctor.txt", false, 1); /* 1: something is missing */
    run_part(b, dump, "assayd/config.txt", false, 0);
    if (log != NULL)
        file_end(b, log, lines, "log.txt");
    else
        run_part(b, journal, "log.txt", true, 0);
}

static int finish(struct bundle *b)
{
    char at[32];
    struct tm tm;
    (void)gmtime_r(&b->now, &tm);
    (void)strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &tm);
    CLI_CLEANUP_JSON json_t *manifest = json_pack("{s:s, s:s, s:s, s:O}", "made_at", at, "client", CLI_VERSION, "url", b->c->url, "parts", b->parts);
    CLI_CLEANUP_STR char *text = json_dumps(manifest, JSON_INDENT(2));
    if (text != NULL) {
        size_t n = strlen(text);
        CLI_CLEANUP_STR char *masked = mask_text(b->mask, text, &n, false);
        write_entry(b, "manifest.json", masked, n);
    }
    if (archive_write_close(b->a) != ARCHIVE_OK && b->rc == CLI_OK) {
        term_error("the bundle cannot be written: %s", archive_error_string(b->a));
        b->rc = CLI_LOCAL;
    }
    return b->rc;
}

static void say(const struct bundle *b, const char *file)
{
    size_t i;
    json_t *row;
    if (b->c->json) {
        CLI_CLEANUP_JSON json_t *told = json_pack("{s:s, s:O}", "file", file, "parts", b->parts);
        term_json(told);
        return;
    }
    printf("%s\n", file);
    json_array_foreach(b->parts, i, row)
    {
        if (json_is_true(json_object_get(row, "there")))
            continue;
        CLI_CLEANUP_STR char *line = cli_fmt("without %s: %s", js_str(row, "file"), js_str(row, "why"));
        term_text(stdout, line, strlen(line), true, "  ");
        putchar('\n');
    }
    puts("Secrets are hidden; names of people and addresses are not. Look through it before you pass it on.");
}

int cmd_support_bundle(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = cli_command_find("support-bundle");
    const char *output = NULL, *assayd = NULL, *config = NULL, *log = NULL, *lines = LINES_DEFAULT;
    const struct cli_option options[] = {{.name = "output", .letter = 'o', .value = &output}, {.name = "assayd", .value = &assayd},
                                         {.name = "config", .value = &config}, {.name = "log", .value = &log},
                                         {.name = "lines", .value = &lines}, {.name = NULL}};
    CLI_CLEANUP_STR char *file = NULL, *beside = NULL;
    char *end = NULL;
    int rc = cli_options(c, cmd, &argc, argv, options);
    if (rc != CLI_OK)
        return rc;
    long n_lines = strtol(lines, &end, 10);
    if (argc > 0)
        return cli_usage(cmd, "%s takes no arguments", cmd->name);
    if (*lines == '\0' || *end != '\0' || n_lines < 1 || n_lines > 1000000)
        return cli_usage(cmd, "--lines wants a number from 1 to 1000000, not \"%s\"", lines);

    struct bundle b = {.c = c, .mask = mask_new(), .now = time(NULL), .parts = json_array(), .a = archive_write_new(), .rc = CLI_OK};
    struct tm tm;
    (void)gmtime_r(&b.now, &tm);
    (void)strftime(b.name, sizeof b.name, "assay-support-%Y%m%d-%H%M%S", &tm);
    file = output != NULL ? cli_strdup(output) : cli_fmt("%s.tar.gz", b.name);
    mask_environment(b.mask, environ);
    if (c->token != NULL)
        mask_secret(b.mask, c->token);
    if (c->refresh != NULL)
        mask_secret(b.mask, c->refresh);
    if (config != NULL && !mask_file_secrets(b.mask, config)) {
        term_error("%s: %s", config, strerror(errno));
        rc = CLI_LOCAL;
    }
    int fd = rc == CLI_OK ? open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (rc == CLI_OK && fd < 0) {
        term_error("%s: %s", file, strerror(errno));
        if (errno == EEXIST)
            term_note("Another name: --output FILE");
        rc = CLI_LOCAL;
    }
    if (rc == CLI_OK && (b.a == NULL || archive_write_add_filter_gzip(b.a) != ARCHIVE_OK || archive_write_set_format_pax_restricted(b.a) != ARCHIVE_OK ||
                         archive_write_open_fd(b.a, fd) != ARCHIVE_OK)) {
        term_error("%s cannot be written", file);
        rc = CLI_LOCAL;
    }
    if (rc == CLI_OK) {
        collect(&b, assayd != NULL ? assayd : assayd_of(&beside), config, log, n_lines);
        rc = finish(&b);
    }
    (void)archive_write_free(b.a);
    if (fd >= 0 && close(fd) != 0 && rc == CLI_OK) {
        term_error("%s: %s", file, strerror(errno));
        rc = CLI_LOCAL;
    }
    if (rc == CLI_OK)
        say(&b, file);
    else if (fd >= 0)
        (void)unlink(file);
    json_decref(b.parts);
    mask_free(b.mask);
    return rc;
}
