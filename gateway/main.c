/*
 * assayd: the command line.  Commands (--help, --version, --dump-config, --dump-routes, --doctor,
 * --reset-cursor, backup, restore)
 * answer and exit; everything else is options, and runs the supervisor.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <assay/hosting.h>
#include <assay/identity.h>
#include <assay/json.h>

#include "backup.h"
#include "doctor.h"
#include "server.h"
#include "setup.h"
#include "supervisor.h"

extern char **environ;

enum command { CMD_RUN, CMD_HELP, CMD_VERSION, CMD_DUMP_CONFIG, CMD_DUMP_ROUTES, CMD_DOCTOR, CMD_RESET_CURSOR, CMD_BACKUP, CMD_RESTORE };

static const struct {
    const char *name;
    enum command command;
    const char *forms; /* what may stand after '=': "a|b"; one word in capitals is a value that must be given */
    const char *help;
} commands[] = {
    {"--help", CMD_HELP, "", "Show this text and exit."},
    {"--version", CMD_VERSION, "", "Show the version and exit."},
    {"--dump-config", CMD_DUMP_CONFIG, "text|json", "Show every option's value and where it came from, secrets masked, and exit."},
    {"--dump-routes", CMD_DUMP_ROUTES, "json|table", "Show the routes of all plugins, one JSON object a line, and exit."},
    {"--doctor", CMD_DOCTOR, "text|json", "Say what this machine offers and lacks, and exit (1 when something needed is missing)."},
    {"--reset-cursor", CMD_RESET_CURSOR, "GROUP",
     "With the server stopped: let an event group whose cursor has expired go on with the oldest event that is kept, and exit."},
    {"backup", CMD_BACKUP, "FOLDER", "Copy the database and the blobs of a running or stopped server to a new folder, and exit."},
    {"restore", CMD_RESTORE, "FOLDER", "With the server stopped: fill a data directory that has no database from such a folder, and exit."},
};

static bool takes_value(size_t command)
{
    return commands[command].forms[0] >= 'A' && commands[command].forms[0] <= 'Z';
}

/* `assayd backup FOLDER`: its value is the next argument */
static bool is_word(size_t command)
{
    return commands[command].name[0] != '-';
}

static int report(const struct assay_setup *s, const struct assay_err *err)
{
    const char *faults = s->config != NULL ? assay_config_problems(s->config) : "";
    if (faults[0] == '\0')
        (void)fprintf(stderr, "assayd: %s\n", err->msg);
    for (const char *p = faults; *p != '\0';) {
        size_t n = strcspn(p, "\n");
        (void)fprintf(stderr, "assayd: %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
    return ASSAY_EXIT_CONFIG;
}

static int put(const struct assay_buf *b)
{
    if (b->failed || fwrite(b->p != NULL ? b->p : "", 1, b->n, stdout) != b->n || fflush(stdout) != 0)
        return 71;
    return 0;
}

static int help(char *const *flags)
{
    struct assay_setup s;
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_puts(&b, "Usage: assayd [--name=value ...]\n\n"
                       "Runs the Assay evaluation server. An option is also read from the environment\n"
                       "(ASSAY_NAME) and from the INI file that --config names; flags win over the\n"
                       "environment, the environment over the file, the file over the defaults.\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        assay_buf_fmt(&b, "  %s%s%s%s\n      %s\n", commands[i].name, commands[i].forms[0] == '\0' ? "" : is_word(i) ? " " : takes_value(i) ? "=" : "[=",
                      commands[i].forms, commands[i].forms[0] == '\0' || takes_value(i) ? "" : "]", commands[i].help);
    if (assay_setup_core(&s, &err) != 0)
        return report(&s, &err);
    /* the plugins' rows too, where they can be loaded; help must not fail over them */
    if (assay_setup_resolve(&s, flags, environ, &err) != 0 && s.plugins.n == 0)
        (void)fprintf(stderr, "assayd: the options of plugins are not shown: %s\n", err.msg);
    assay_config_help(s.config, &b);
    assay_setup_free(&s);
    return put(&b);
}

static int prepare(struct assay_setup *s, char *const *flags)
{
    struct assay_err err = {0, ""};
    int rc = assay_setup_core(s, &err);
    if (rc == 0)
        rc = assay_setup_resolve(s, flags, environ, &err);
    if (rc == 0)
        rc = assay_setup_plugins(s, &err);
    return rc == 0 ? 0 : report(s, &err);
}

static int dump_config(char *const *flags, bool json)
{
    struct assay_setup s;
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    int rc = assay_setup_core(&s, &err);
    if (rc == 0)
        rc = assay_setup_resolve(&s, flags, environ, &err);
    int status = rc == 0 ? 0 : report(&s, &err);
    if (status == 0)
        status = assay_config_dump(s.config, json, &b, &err) == 0 ? put(&b) : report(&s, &err);
    assay_setup_free(&s);
    return status;
}

static void roles(struct assay_jw *w, uint32_t set)
{
    assay_jw_array(w);
    for (uint32_t role = ASSAY_ROLE_VIEWER; role <= ASSAY_ROLE_ADMIN; role <<= 1)
        if ((set & role) != 0)
            assay_jw_z(w, assay_role_name(role));
    assay_jw_end(w);
}

static int dump_routes(char *const *flags, bool table)
{
    static const char *const methods[] = {"", "GET", "POST", "PUT", "PATCH", "DELETE"};
    struct assay_setup s;
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    int status = prepare(&s, flags);
    for (size_t i = 0; status == 0 && i < s.plugins.n_order; i++) {
        const struct assay_plugin *p = s.plugins.entry[s.plugins.order[i]]->p;
        for (uint32_t k = 0; status == 0 && k < p->routes.count; k++) {
            const struct assay_route *r = assay_table_row(&p->routes, k);
            if (table) {
                assay_buf_fmt(&b, "%-7s %-44s %-28s %-13s %s\n", methods[r->method], r->path, r->operation_id, p->name,
                              r->summary);
                continue;
            }
            struct assay_jw *w = assay_jw_new();
            if (w == NULL) {
                status = 71;
                break;
            }
            assay_jw_object(w);
            assay_jw_kz(w, "method", methods[r->method]);
            assay_jw_kz(w, "path", r->path);
            assay_jw_kz(w, "operation_id", r->operation_id);
            assay_jw_key(w, "roles");
            roles(w, r->roles);
            assay_jw_kz(w, "scope", r->scope);
            assay_jw_kz(w, "plugin", p->name);
            assay_jw_kz(w, "summary", r->summary);
            assay_jw_kint(w, "body_max", (int64_t)r->body_max);
            assay_jw_kbool(w, "inline", (r->flags & ASSAY_ROUTE_INLINE) != 0);
            assay_jw_kbool(w, "idempotent", (r->flags & ASSAY_ROUTE_IDEMPOTENT) != 0);
            assay_jw_kbool(w, "paged", (r->flags & ASSAY_ROUTE_PAGED) != 0);
            assay_jw_kbool(w, "stream", (r->flags & ASSAY_ROUTE_STREAM) != 0);
            assay_jw_kbool(w, "query", (r->flags & ASSAY_ROUTE_NO_QUERY) == 0);
            assay_jw_kbool(w, "alias", (r->flags & ASSAY_ROUTE_ALIAS) != 0);
            assay_jw_end(w);
            if (assay_jw_finish(w, &b, &err) != 0)
                status = report(&s, &err);
            assay_jw_free(w);
            assay_buf_putc(&b, '\n');
        }
    }
    if (status == 0)
        status = put(&b);
    assay_setup_free(&s);
    return status;
}

int main(int argc, char **argv)
{
    enum command command = CMD_RUN;
    const char *form = "";
    int n = 0;
    if (argc > 1 && strcmp(argv[1], "--role=server") == 0)
        return assay_server_main(argc, argv);
    /* closed standard descriptors would be taken by sockets, and a log line would go to a client */
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
            return 71;
    char **flags = calloc((size_t)argc + 1, sizeof *flags);
    if (flags == NULL)
        return 71;
    for (int i = 1; i < argc; i++) {
        const char *arg = strcmp(argv[i], "-h") == 0 ? "--help" : strcmp(argv[i], "-V") == 0 ? "--version" : argv[i];
        bool taken = false;
        for (size_t k = 0; !taken && k < sizeof commands / sizeof commands[0]; k++) {
            size_t len = strlen(commands[k].name);
            if (strncmp(arg, commands[k].name, len) != 0 || (arg[len] != '\0' && arg[len] != '='))
                continue;
            taken = true;
            if (command != CMD_RUN && command != commands[k].command) {
                (void)fprintf(stderr, "assayd: one command at a time, please: %s\n", arg);
                free(flags);
                return 64;
            }
            command = commands[k].command;
            if (takes_value(k)) {
                form = arg[len] == '=' ? arg + len + 1 : is_word(k) && i + 1 < argc && argv[i + 1][0] != '-' ? argv[++i] : "";
                if (form[0] == '\0') {
                    (void)fprintf(stderr, "assayd: %s wants a value: %s%c%s\n", commands[k].name, commands[k].name, is_word(k) ? ' ' : '=', commands[k].forms);
                    free(flags);
                    return 64;
                }
            } else if (arg[len] == '=') {
                form = arg + len + 1;
                const char *bar = strchr(commands[k].forms, '|');
                size_t first = bar != NULL ? (size_t)(bar - commands[k].forms) : 0;
                if (bar == NULL || !((strlen(form) == first && strncmp(form, commands[k].forms, first) == 0) ||
                                     strcmp(form, bar + 1) == 0)) {
                    (void)fprintf(stderr, "assayd: %s takes one of: %s\n", commands[k].name,
                                  commands[k].forms[0] ? commands[k].forms : "nothing");
                    free(flags);
                    return 64;
                }
            }
        }
        if (!taken)
            flags[n++] = argv[i];
    }
    int status = 70;
    switch (command) {
    case CMD_HELP:
        status = help(flags);
        break;
    case CMD_VERSION:
        status = printf("assayd %s (plugin ABI %d.%d)\n", PACKAGE_VERSION, ASSAY_ABI_MAJOR, ASSAY_ABI_MINOR) > 0 ? 0 : 71;
        break;
    case CMD_DUMP_CONFIG:
        status = dump_config(flags, strcmp(form, "json") == 0);
        break;
    case CMD_DUMP_ROUTES:
        status = dump_routes(flags, strcmp(form, "table") == 0);
        break;
    case CMD_DOCTOR:
        status = assay_doctor_main(flags, environ, strcmp(form, "json") == 0);
        break;
    case CMD_RESET_CURSOR:
        status = assay_supervisor_reset_cursor(flags, environ, form);
        break;
    case CMD_BACKUP:
        status = assay_backup_main(flags, environ, form);
        break;
    case CMD_RESTORE:
        status = assay_restore_main(flags, environ, form);
        break;
    case CMD_RUN:
        status = assay_supervisor_main(flags, environ);
        break;
    }
    free(flags);
    return status;
}
