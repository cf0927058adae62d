/*
 * Help, the manual page and the shells' completion: all made of the one table of commands, so that none of
 * them can say what the others do not.
 *
 * A command's help names its options at the beginning of lines ("  -b, --benchmark ID     ..."), an option that
 * takes a value followed by a word in capitals; its usage names what it does in brackets ("[list | show ID]").
 */
#include "cli.h"

#include <ctype.h>

static const char common_help[] =
    "Everywhere:\n"
    "  --json                 print what the server answered, as JSON\n"
    "  --url URL              the server (else ASSAY_URL, else the one signed in to, else " CLI_DEFAULT_URL ")\n"
    "  --ca FILE              authorities that may vouch for an https server, besides the system's (else ASSAY_CA, else\n"
    "                         the one signed in with)\n"
    "  -h, --help\n";

static const struct {
    const char *name, *what;
} variables[] = {
    {"ASSAY_URL", "the server"},
    {"ASSAY_CA", "file with the authorities that may vouch for an https server"},
    {"ASSAY_TOKEN", "used instead of a sign-in"},
    {"ASSAY_PASSWORD", "taken by login and register"},
    {"NO_COLOR", "no colours, whatever the terminal can"},
    {"XDG_CONFIG_HOME", "the sign-in is kept in assay/config.json below it (else below ~/.config)"},
};

static const struct {
    int status;
    const char *what;
} exits[] = {
    {CLI_OK, "it worked; a watched submission got OK"},
    {CLI_NOT_ACCEPTED, "the submission was judged and did not get OK; simulate: something differs"},
    {CLI_USAGE, "the command line is wrong"},
    {CLI_UNREACHABLE, "the server cannot be reached"},
    {CLI_REFUSED, "the server refused the request"},
    {CLI_NOT_FOUND, "there is no such thing, or not for you"},
    {CLI_SIGN_IN, "not signed in"},
    {CLI_SERVER, "the server failed, or stayed too busy"},
    {CLI_TIMEOUT, "--timeout passed"},
    {CLI_LOCAL, "something on this side: a file, the configuration"},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- help ---- */

void help_all(FILE *f)
{
    size_t n;
    const struct cli_command *cmd = cli_commands(&n);

    fputs("assay: submit programs to an Assay server and see their verdicts\n\nUsage: assay COMMAND ...\n\n", f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "  %-12s %s\n", cmd[i].name, cmd[i].summary);
    fprintf(f, "\n%s\nEnvironment:\n", common_help);
    for (size_t i = 0; i < COUNT(variables); i++)
        fprintf(f, "  %-16s %s\n", variables[i].name, variables[i].what);
    fputs("\nExit status:\n", f);
    for (size_t i = 0; i < COUNT(exits); i++)
        fprintf(f, "  %d  %s\n", exits[i].status, exits[i].what);
}

void help_command(const struct cli_command *cmd)
{
    printf("Usage: assay %s\n\n%c%s.\n\n%s%s%s", cmd->usage, (char)toupper((unsigned char)cmd->summary[0]), cmd->summary + 1,
           cmd->help != NULL ? cmd->help : "", cmd->help != NULL ? "\n" : "", common_help);
}

/* ---- the manual page ---- */

/* A line as roff takes it: no backslash, dot or quote of it means anything. */
static void roff(const char *text, size_t n)
{
    if (n > 0 && (text[0] == '.' || text[0] == '\''))
        fputs("\\&", stdout);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\\')
            fputs("\\e", stdout);
        else if (text[i] == '-')
            fputs("\\-", stdout);
        else
            putchar(text[i]);
    }
}

static void roff_z(const char *text)
{
    roff(text, strlen(text));
}

/* The text as it stands in the help, its columns kept. */
static void roff_block(const char *text)
{
    puts(".nf");
    for (const char *end; *text != '\0'; text = *end != '\0' ? end + 1 : end) {
        end = strchrnul(text, '\n');
        roff(text, (size_t)(end - text));
        putchar('\n');
    }
    puts(".fi");
}

static void manual(void)
{
    size_t n;
    const struct cli_command *cmd = cli_commands(&n);

    puts(".TH ASSAY 1 \"\" \"Assay " CLI_VERSION "\" \"User commands\"\n.SH NAME\nassay \\- submit programs to an Assay server and see their "
         "verdicts\n.SH SYNOPSIS\n.B assay\n.I command\n.RI [ options ]\n.SH DESCRIPTION\n"
         "The client of the evaluation server assayd. It speaks the server's HTTP interface: what it does, a script can do too.\n.SH COMMANDS");
    for (size_t i = 0; i < n; i++) {
        fputs(".SS \"assay ", stdout);
        roff_z(cmd[i].usage);
        fputs("\"\n", stdout);
        putchar(toupper((unsigned char)cmd[i].summary[0]));
        roff_z(cmd[i].summary + 1);
        puts(".");
        if (cmd[i].help != NULL)
            roff_block(cmd[i].help);
    }
    puts(".SH OPTIONS");
    roff_block(strchr(common_help, '\n') + 1);
    puts(".SH ENVIRONMENT");
    for (size_t i = 0; i < COUNT(variables); i++) {
        printf(".TP\n.B %s\n", variables[i].name);
        roff_z(variables[i].what);
        putchar('\n');
    }
    puts(".SH EXIT STATUS");
    for (size_t i = 0; i < COUNT(exits); i++) {
        printf(".TP\n.B %d\n", exits[i].status);
        roff_z(exits[i].what);
        putchar('\n');
    }
    puts(".SH SEE ALSO\nassayd \\-\\-help lists the server's options.");
}

int cmd_help(struct cli *c, int argc, char **argv)
{
    bool man = false;
    const struct cli_option o[] = {{.name = "man", .flag = &man}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("help");
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (man)
        manual();
    else if (argc == 0)
        help_all(stdout);
    else if ((cmd = cli_command_find(argv[0])) == NULL)
        return cli_usage(NULL, "there is no command %s", argv[0]);
    else
        help_command(cmd);
    return CLI_OK;
}

/* ---- completion ---- */

static void candidate(const char *word, size_t n, const char *typed)
{
    if (strlen(typed) <= n && strncmp(word, typed, strlen(typed)) == 0)
        printf("%.*s\n", (int)n, word);
}

/* The options that a help text names: calls for each, and says whether it takes a value; true when one call does. */
static bool options_of(const char *help, bool (*with)(const char *option, size_t n, bool value, const char *typed), const char *typed)
{
    for (const char *line = help, *next; line != NULL && *line != '\0'; line = next) {
        const char *end = strchrnul(line, '\n'), *o = line + 2, *stop;
        bool value;

        next = *end != '\0' ? end + 1 : end;
        if (strncmp(line, "  -", 3) != 0)
            continue;
        for (stop = o; stop < end && strncmp(stop, "  ", 2) != 0; stop++)
            ;
        /* of "-b, --benchmark ID" both take one */
        value = stop - o > 2 && memchr(o, ' ', (size_t)(stop - o)) != NULL && isupper((unsigned char)stop[-1]);
        while (o < stop && *o == '-') {
            size_t n = strcspn(o, " ,\n");

            if (with(o, n, value, typed))
                return true;
            o += n + strspn(o + n, ", ");
        }
    }
    return false;
}

static bool offer(const char *option, size_t n, bool value, const char *typed)
{
    (void)value;
    candidate(option, n, typed);
    return false;
}

static bool takes_value(const char *option, size_t n, bool value, const char *typed)
{
    return value && strlen(typed) == n && strncmp(option, typed, n) == 0;
}

/* What a command does first: "list", "show", "create" of "agents [list | show ID | create [ID]]". */
static void offer_verbs(const struct cli_command *cmd, const char *typed)
{
    const char *p = strchr(cmd->usage, '[');
    int depth = 0;

    for (bool first = false; p != NULL && *p != '\0' && (depth > 0 || *p == '['); p++) {
        depth += (*p == '[') - (*p == ']');
        if (depth == 1 && (*p == '[' || *p == '|'))
            first = true;
        else if (first && *p != ' ') {
            if (islower((unsigned char)*p))
                candidate(p, strcspn(p, " |]"), typed);
            first = false;
        }
    }
}

/* word[at] is being typed; what it may be, one a line. Nothing: a file, or a name that only the server knows. */
static void complete(int at, int n, char **word)
{
    const struct cli_command *cmd = NULL;
    const char *typed = at < n ? word[at] : "", *before = at > 0 && at <= n ? word[at - 1] : "";
    int given = 0;
    size_t n_all;
    const struct cli_command *all = cli_commands(&n_all);

    for (int i = 1; i < at && i < n; i++) {
        if (word[i][0] == '-')
            i += strcmp(word[i], "--url") == 0 || (cmd != NULL && options_of(cmd->help, takes_value, word[i]));
        else if (cmd == NULL)
            cmd = cli_command_find(word[i]);
        else
            given++;
    }
    if (before[0] == '-' && (strcmp(before, "--url") == 0 || (cmd != NULL && options_of(cmd->help, takes_value, before))))
        return;
    if (typed[0] == '-') {
        if (cmd != NULL)
            (void)options_of(cmd->help, offer, typed);
        (void)options_of(common_help, offer, typed);
    } else if (cmd == NULL || (cmd->run == cmd_help && given == 0)) {
        for (size_t i = 0; i < n_all; i++)
            candidate(all[i].name, strlen(all[i].name), typed);
    } else if (given == 0) {
        offer_verbs(cmd, typed);
    }
}

static const char bash_script[] =
    "# completion of assay for bash; the candidates come from assay itself\n"
    "_assay()\n"
    "{\n"
    "    local IFS=$'\\n'\n"
    "    COMPREPLY=($(assay completion words \"$COMP_CWORD\" -- \"${COMP_WORDS[@]}\" 2>/dev/null))\n"
    "}\n"
    "complete -o default -F _assay assay\n";

static const char zsh_script[] =
    "#compdef assay\n"
    "# completion of assay for zsh; the candidates come from assay itself\n"
    "_assay()\n"
    "{\n"
    "    local -a found\n"
    "    found=(${(f)\"$(assay completion words $((CURRENT - 1)) -- \"${words[@]}\" 2>/dev/null)\"})\n"
    "    if (( $#found )); then compadd -- $found; else _files; fi\n"
    "}\n"
    "if [ \"$funcstack[1]\" = _assay ]; then _assay \"$@\"; else compdef _assay assay; fi\n";

int cmd_completion(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd = cli_command_find("completion");
    int rc;

    if (argc >= 4 && strcmp(argv[1], "words") == 0 && strcmp(argv[3], "--") == 0) { /* for the scripts */
        complete((int)strtol(argv[2], NULL, 10), argc - 4, argv + 4);
        return CLI_OK;
    }
    rc = cli_options(c, cmd, &argc, argv, NULL);
    if (rc != CLI_OK)
        return rc;
    if (argc == 1 && strcmp(argv[0], "bash") == 0)
        fputs(bash_script, stdout);
    else if (argc == 1 && strcmp(argv[0], "zsh") == 0)
        fputs(zsh_script, stdout);
    else
        return cli_usage(cmd, "name the shell: bash or zsh");
    return CLI_OK;
}
