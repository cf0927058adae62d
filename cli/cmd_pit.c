/*
 * pit new: writes a PIT file, which says how the projects of an exercise are tested (docs/pit-configs.md).
 *
 * Without a flag that describes the PIT it asks, each answer checked and asked for again until it is right; end of file ends it
 * with nothing written. With flags it asks nothing, and overwrites nothing without --force. What is said of a PIT
 * is checked as the server does it, so that a file that was written is one that is read.
 */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_MAX 64
#define TIMEOUT_MIN_MS 1000L
#define TIMEOUT_MAX_MS 3600000L

/* Languages that we know, and what their projects are commonly tested with; any other is taken with a warning. */
static const struct {
    const char *language, *tool, *command;
} known[] = {
    {"java", "maven", "mvn -q test"},
    {"kotlin", "gradle", "sh gradlew --offline test"},
    {"python", "pytest", "python3 -m pytest -q --junitxml=report.xml"},
    {"javascript", "npm", "npm test"},
    {"typescript", "npm", "npm test"},
    {"c", "make", "make test"},
    {"cpp", "cmake", "cmake -S . -B build && cmake --build build && ctest --test-dir build --output-junit ../report.xml"},
    {"go", "go", "go test ./..."},
    {"rust", "cargo", "cargo test --offline"},
    {"php", "phpunit", "phpunit --log-junit report.xml"},
    {"ruby", "rspec", "rspec"},
    {"csharp", "dotnet", "dotnet test"},
};
static const char *const tools[] = {"maven", "gradle", "pytest", "unittest", "npm", "node", "jest", "make", "cmake", "ctest", "go",
                                    "cargo", "phpunit", "composer", "rspec", "bundler", "dotnet", "ant", "sbt", "none"};
#define COUNT(x) (sizeof(x) / sizeof((x)[0]))

struct pit {
    const char *id, *language, *tool, *command, *timeout, *dir;
    const char *setup[LIST_MAX], *required[LIST_MAX], *environment[LIST_MAX];
    size_t n_setup, n_required, n_environment;
    bool force;
    char *kept[3 * LIST_MAX + 8]; /* lists and single texts */
    size_t n_kept;
};

static size_t known_at(const char *language)
{
    size_t i = 0;

    while (i < COUNT(known) && strcmp(known[i].language, language) != 0)
        i++;
    return i;
}

/* ---- what is right: NULL, or what is wrong ---- */

static const char *id_fault(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > 64 || strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") != n || !isalnum((unsigned char)s[0]))
        return "an id is 1 to 64 small letters, digits, \".\", \"_\" or \"-\", the first a letter or digit: java-maven-bank-account-v1";
    return NULL;
}

static const char *timeout_fault(const char *s)
{
    char *end;
    long v = strspn(s, "0123456789") == strlen(s) && s[0] != '\0' && strlen(s) < 10 ? strtol(s, &end, 10) : 0;

    return v >= TIMEOUT_MIN_MS && v <= TIMEOUT_MAX_MS ? NULL : "the time limit is a whole number of milliseconds, 1000 to 3600000";
}

static const char *text_fault(const char *s)
{
    if (s[strspn(s, " \t")] == '\0')
        return "it may not be empty";
    return strlen(s) <= 8192 ? NULL : "it may have 8192 bytes";
}

static const char *name_fault(const char *s)
{
    return s[0] == '\0' ? "it may not be empty" : strlen(s) <= 64 ? NULL : "it may have 64 bytes";
}

static const char *path_fault(const char *s)
{
    if (s[0] == '\0' || s[0] == '/' || strlen(s) > 1024)
        return "a required file is a path relative to the project's top";
    for (const char *p = s;;) {
        size_t n = strcspn(p, "/");

        if (n == 2 && p[0] == '.' && p[1] == '.')
            return "a required file lies inside the project, without \"..\"";
        if (p[n] == '\0')
            return NULL;
        p += n + 1;
    }
}

static const char *environment_fault(const char *s)
{
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

    return n > 0 && s[n] == '=' && !isdigit((unsigned char)s[0]) ? NULL : "a variable is NAME=VALUE, the name of letters, digits and \"_\"";
}

static void warn_unknown(const struct pit *p)
{
    bool tool = false;

    for (size_t i = 0; i < COUNT(tools); i++)
        tool = tool || strcmp(tools[i], p->tool) == 0;
    if (known_at(p->language) == COUNT(known))
        term_note("Warning: the language \"%s\" is not known here. It is only a label: the commands decide what runs.", p->language);
    if (!tool)
        term_note("Warning: the build tool \"%s\" is not known here. It is only a label: the commands decide what runs.", p->tool);
}

/* ---- questions ---- */

/* One line without its end; NULL at end of file. The caller's to free. */
static char *line_read(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n = getline(&line, &room, stdin);

    if (n < 0) {
        free(line);
        return NULL;
    }
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        line[--n] = '\0';
    return line;
}

/* What the PIT's texts were made of lives as long as it. */
static const char *keep(struct pit *p, char *text)
{
    if (p->n_kept == COUNT(p->kept)) {
        free(text);
        return NULL;
    }
    return p->kept[p->n_kept++] = text;
}

static const char *ask(struct pit *p, const char *question, const char *standard, const char *(*fault)(const char *))
{
    for (;;) {
        char *line;
        const char *wrong;

        if (standard != NULL)
            fprintf(stderr, "%s [%s]: ", question, standard);
        else
            fprintf(stderr, "%s: ", question);
        line = line_read();
        if (line == NULL)
            return NULL;
        if (line[0] == '\0' && standard != NULL) {
            free(line);
            line = cli_strdup(standard);
        }
        wrong = fault(line);
        if (wrong == NULL)
            return keep(p, line);
        free(line);
        term_note("%s", wrong);
    }
}

static bool ask_list(struct pit *p, const char *question, const char *(*fault)(const char *), const char **list, size_t *n)
{
    fprintf(stderr, "%s, one a line; an empty line ends them:\n", question);
    for (;;) {
        char *line;
        const char *wrong;

        fprintf(stderr, "  ");
        line = line_read();
        if (line == NULL)
            return false;
        if (line[0] == '\0') {
            free(line);
            return true;
        }
        wrong = *n == LIST_MAX ? "that is as many as a PIT may have; an empty line ends them" : fault(line);
        if (wrong != NULL) {
            free(line);
            term_note("%s", wrong);
            continue;
        }
        list[*n] = keep(p, line);
        if (list[*n] == NULL)
            return false;
        ++*n;
    }
}

static bool ask_all(struct pit *p)
{
    size_t at;

    if ((p->id = ask(p, "Id (as java-maven-bank-account-v1)", NULL, id_fault)) == NULL ||
        (p->language = ask(p, "Language", known[0].language, name_fault)) == NULL)
        return false;
    at = known_at(p->language) % COUNT(known);
    return (p->tool = ask(p, "Build tool", known[at].tool, name_fault)) != NULL &&
           (p->command = ask(p, "Test command", known[at].command, text_fault)) != NULL &&
           (p->timeout = ask(p, "Time limit in milliseconds", "60000", timeout_fault)) != NULL &&
           ask_list(p, "Setup commands", text_fault, p->setup, &p->n_setup) &&
           ask_list(p, "Required files", path_fault, p->required, &p->n_required) &&
           ask_list(p, "Environment variables, as NAME=VALUE", environment_fault, p->environment, &p->n_environment);
}

/* ---- flags ---- */

/* Values that are JSON (["a", "b"], {"A": "b"}) are taken apart; where `commas`, "a,b" is two. */
static bool spread(struct pit *p, const char **list, size_t *n, bool commas)
{
    const char *given[LIST_MAX];
    size_t m = *n;

    memcpy(given, list, m * sizeof(*given));
    *n = 0;
    for (size_t i = 0; i < m; i++) {
        json_t *j = given[i][0] == '[' || given[i][0] == '{' ? json_loads(given[i], 0, NULL) : NULL;
        const char *key;
        json_t *v;
        size_t k;

        json_array_foreach(j, k, v) {
            if (*n == LIST_MAX || !json_is_string(v)) {
                json_decref(j);
                return false;
            }
            list[(*n)++] = keep(p, cli_strdup(json_string_value(v)));
        }
        json_object_foreach(j, key, v) {
            if (*n == LIST_MAX || !json_is_string(v)) {
                json_decref(j);
                return false;
            }
            list[(*n)++] = keep(p, cli_fmt("%s=%s", key, json_string_value(v)));
        }
        for (const char *s = given[i]; j == NULL && *s != '\0';) {
            size_t len = commas ? strcspn(s, ",") : strlen(s);

            if (*n == LIST_MAX)
                return false;
            if (len > 0)
                list[(*n)++] = keep(p, cli_fmt("%.*s", (int)len, s));
            s += len + (s[len] == ',');
        }
        json_decref(j);
    }
    return true;
}

static int check_list(const struct cli_command *cmd, const char *flag, const char *const *list, size_t n, const char *(*fault)(const char *))
{
    for (size_t i = 0; i < n; i++)
        if (fault(list[i]) != NULL)
            return cli_usage(cmd, "--%s %s: %s", flag, list[i], fault(list[i]));
    return CLI_OK;
}

static int take_flags(const struct cli_command *cmd, struct pit *p)
{
    const struct {
        const char *flag, *value;
        const char *(*fault)(const char *);
    } one[] = {{"id", p->id, id_fault}, {"language", p->language, name_fault}, {"buildTool", p->tool, name_fault},
               {"testCommand", p->command, text_fault}, {"maxTimeoutMs", p->timeout, timeout_fault}};
    size_t at;
    int rc = CLI_OK;

    if (p->id == NULL)
        return cli_usage(cmd, "--id is needed along with other flags; without any flag, the questions are asked");
    for (size_t i = 0; i < COUNT(one); i++)
        if (one[i].value != NULL && one[i].fault(one[i].value) != NULL)
            return cli_usage(cmd, "--%s %s: %s", one[i].flag, one[i].value, one[i].fault(one[i].value));
    if (p->language == NULL)
        p->language = known[0].language;
    at = known_at(p->language) % COUNT(known);
    if (p->tool == NULL)
        p->tool = known[at].tool;
    if (p->command == NULL)
        p->command = known[at].command;
    if (p->timeout == NULL)
        p->timeout = "60000";
    if (!spread(p, p->setup, &p->n_setup, false) || !spread(p, p->required, &p->n_required, true) || !spread(p, p->environment, &p->n_environment, false))
        return cli_usage(cmd, "a list has at most %d texts", LIST_MAX);
    rc = check_list(cmd, "setupCommands", p->setup, p->n_setup, text_fault);
    if (rc == CLI_OK)
        rc = check_list(cmd, "requiredFiles", p->required, p->n_required, path_fault);
    if (rc == CLI_OK)
        rc = check_list(cmd, "environment", p->environment, p->n_environment, environment_fault);
    return rc;
}

/* ---- the file ---- */

static json_t *list_json(const char *const *list, size_t n)
{
    json_t *j = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(j, json_string(list[i]));
    return j;
}

/* NULL: a text is not UTF-8. */
static json_t *pit_json(const struct pit *p)
{
    json_t *env = json_object(), *j;

    for (size_t i = 0; i < p->n_environment; i++) {
        const char *eq = strchr(p->environment[i], '=');
        CLI_CLEANUP_STR char *name = cli_fmt("%.*s", (int)(eq - p->environment[i]), p->environment[i]);

        json_object_set_new(env, name, json_string(eq + 1));
    }
    j = json_pack("{s:s, s:s, s:s, s:i}", "language", p->language, "buildTool", p->tool, "testCommand", p->command, "maxTimeoutMs",
                  (int)strtol(p->timeout, NULL, 10));
    if (p->n_setup > 0 && j != NULL)
        json_object_set_new(j, "setupCommands", list_json(p->setup, p->n_setup));
    if (p->n_required > 0 && j != NULL)
        json_object_set_new(j, "requiredFiles", list_json(p->required, p->n_required));
    if (p->n_environment > 0 && j != NULL)
        json_object_set(j, "environment", env);
    if (j != NULL && (json_array_size(json_object_get(j, "setupCommands")) != p->n_setup || json_object_size(env) > p->n_environment ||
                      json_array_size(json_object_get(j, "requiredFiles")) != p->n_required)) {
        json_decref(j);
        j = NULL;
    }
    json_decref(env);
    return j;
}

/* Whole or not at all. Without `over` a file that came meanwhile stays too. */
static int file_write(const char *path, const json_t *pit, bool over)
{
    CLI_CLEANUP_STR char *temp = cli_fmt("%s.%ld", path, (long)getpid());
    CLI_CLEANUP_STR char *text = json_dumps(pit, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666), fault = fd < 0 ? errno : 0;
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (f != NULL && text != NULL) {
        if (fprintf(f, "%s\n", text) < 0 || fflush(f) != 0 || fsync(fd) != 0)
            fault = errno;
        if (fclose(f) != 0 && fault == 0)
            fault = errno;
        if (fault == 0 && (over ? rename(temp, path) : link(temp, path)) != 0)
            fault = errno;
        (void)unlink(temp);
    }
    if (fault == 0)
        return CLI_OK;
    term_error("%s could not be written: %s", path, strerror(fault));
    return fault == EEXIST ? CLI_USAGE : CLI_LOCAL;
}

static int folder_make(const char *dir)
{
    CLI_CLEANUP_STR char *path = cli_strdup(dir);

    for (char *p = path + 1;; p++) {
        char c = *p;

        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            term_error("%s could not be made: %s", path, strerror(errno));
            return CLI_LOCAL;
        }
        *p = c;
        if (c == '\0')
            return CLI_OK;
    }
}

static void say_list(const char *head, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("  %-15s ", i == 0 ? head : "");
        term_text(stdout, list[i], strlen(list[i]), false, NULL);
        putchar('\n');
    }
}

static void summary(const struct pit *p, const char *path)
{
    printf("wrote ");
    term_text(stdout, path, strlen(path), false, NULL);
    putchar('\n');
    say_list("language", &p->language, 1);
    say_list("build tool", &p->tool, 1);
    say_list("test command", &p->command, 1);
    printf("  %-15s %s ms\n", "time limit", p->timeout);
    say_list("setup commands", p->setup, p->n_setup);
    say_list("required files", p->required, p->n_required);
    say_list("environment", p->environment, p->n_environment);
}

static int pit_new(struct cli *c, const struct cli_command *cmd, struct pit *p, bool asks)
{
    CLI_CLEANUP_STR char *path = NULL;
    CLI_CLEANUP_JSON json_t *j = NULL;
    struct stat st;
    bool over = p->force;
    int rc;

    if (asks && !ask_all(p)) {
        term_error("the questions were not answered to the end: nothing was written");
        return CLI_USAGE;
    }
    rc = asks ? CLI_OK : take_flags(cmd, p);
    if (rc != CLI_OK)
        return rc;
    warn_unknown(p);
    j = pit_json(p);
    if (j == NULL)
        return cli_usage(cmd, "a text is not UTF-8");
    path = cli_fmt("%s/%s.json", p->dir, p->id);
    if (!over && lstat(path, &st) == 0) {
        char *answer;

        if (!asks) {
            term_error("%s is there already", path);
            term_note("With --force it is overwritten; or take another --id or --dir.");
            return CLI_USAGE;
        }
        fprintf(stderr, "%s is there already. Overwrite it? [y/N]: ", path);
        answer = line_read();
        over = answer != NULL && (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0);
        free(answer);
        if (!over) {
            term_error("%s was left as it was", path);
            return CLI_USAGE;
        }
    }
    rc = folder_make(p->dir);
    if (rc == CLI_OK)
        rc = file_write(path, j, over);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        CLI_CLEANUP_JSON json_t *said = json_pack("{s:s, s:s, s:O}", "id", p->id, "path", path, "pit", j);

        term_json(said);
    } else {
        summary(p, path);
    }
    return CLI_OK;
}

int cmd_pit(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = cli_command_find("pit");
    struct pit p = {.dir = NULL};
    struct pit_wish w = {.pit = NULL};
    const struct cli_option o[] = {
        {.name = "id", .value = &p.id},
        {.name = "language", .value = &p.language},
        {.name = "buildTool", .value = &p.tool},
        {.name = "testCommand", .value = &p.command},
        {.name = "maxTimeoutMs", .value = &p.timeout},
        {.name = "setupCommands", .list = p.setup, .list_max = LIST_MAX, .list_n = &p.n_setup},
        {.name = "requiredFiles", .list = p.required, .list_max = LIST_MAX, .list_n = &p.n_required},
        {.name = "environment", .list = p.environment, .list_max = LIST_MAX, .list_n = &p.n_environment},
        {.name = "dir", .value = &p.dir},
        {.name = "force", .flag = &p.force},
        {.name = "pit", .value = &w.pit},
        {.name = "limit", .value = &w.limit},
        {.name = "timeout", .value = &w.timeout},
        {.name = "wait", .flag = &w.wait},
        {.name = "no-wait", .flag = &w.no_wait},
        {.name = NULL},
    };
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    w.force = p.force;
    if (argc == 0 || strcmp(argv[0], "new") != 0)
        return pit_command(c, cmd, &w, argc, argv);
    if (argc != 1)
        return cli_usage(cmd, "pit new takes no %s; what it writes the flags say, or the answers", argv[1]);
    if (p.dir == NULL || p.dir[0] == '\0')
        p.dir = "pits";
    rc = pit_new(c, cmd, &p,
                 p.id == NULL && p.language == NULL && p.tool == NULL && p.command == NULL && p.timeout == NULL &&
                     p.n_setup + p.n_required + p.n_environment == 0);
    for (size_t i = 0; i < p.n_kept; i++)
        free(p.kept[i]);
    return rc;
}
