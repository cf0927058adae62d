/* The table of commands, and what they share: options, strings. help.c makes help, manual page and completion of it. */
#include "cli.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>

static const struct cli_command commands[] = {
    {"login", cmd_login, "login [LOGIN|LINK]", "sign in and remember it",
     "  --password-stdin       read the password from standard input\n"
     "The password is taken from ASSAY_PASSWORD, or asked for. LINK is a mailed link to sign in by, or what stands behind token= in it.\n"},
    {"logout", cmd_logout, "logout", "end the session and forget it", NULL},
    {"register", cmd_register, "register LOGIN", "make an account",
     "  --email ADDRESS\n  --name NAME\n  --password-stdin       read the password from standard input\n"
     "The password is taken from ASSAY_PASSWORD, or asked for. Sign in afterwards: assay login LOGIN\n"},
    {"whoami", cmd_whoami, "whoami", "show the account that is signed in", NULL},
    {"agents", cmd_agents, "agents [list | show ID | create [ID] | token ID | delete ID]", "what competes: list, make, give tokens",
     "  --name NAME            create: what it is called; token: what the token is for\n"
     "  --description TEXT     create\n"
     "  --scope SCOPE          token: what it allows, may be repeated (submissions:write ...; work: a runner elsewhere)\n"
     "  --expires-in SECONDS   token\n"
     "  --limit N              list: at most N (default 100)\n"},
    {"benchmarks", cmd_benchmarks, "benchmarks [list | show ID | create -f FILE | update ID [-f FILE] [--priority N] | delete ID]",
     "list, show, publish and change benchmarks",
     "  -f, --file FILE        create, update: the benchmark, or what of it changes, as JSON; - for standard input\n"
     "  --priority N           create, update: its weight where benchmarks take turns, 1 to 100 (10 is usual)\n"
     "  --limit N              list: at most N (default 100)\n"},
    {"problems", cmd_problems,
     "problems [list BENCHMARK | show ID | create BENCHMARK -f FILE | update ID -f FILE | tests ID [-f FILE] | delete ID]",
     "the problems of a benchmark, and their tests",
     "  -f, --file FILE        the problem, what of it changes, or its tests ({\"tests\": [...]}), as JSON; - for standard input\n"
     "  --limit N              list: at most N (default 100)\n"},
    {"sessions", cmd_sessions, "sessions [list | end ID]", "where you are signed in; end one of those, such as a machine that was lost", NULL},
    {"token", cmd_token, "token [create AGENT | list AGENT | revoke AGENT TOKEN]", "tokens of agents; alone: the one that you are signed in with",
     "  --name NAME            create: what the token is for\n"
     "  --scope SCOPE          create: what it allows, may be repeated (submissions:write ...; work: a runner elsewhere)\n"
     "  --expires-in SECONDS   create\n"
     "Alone it prints a token that is valid now, for scripts:  curl -H \"Authorization: Bearer $(assay token)\" ...\n"},
    {"submit", cmd_submit, "submit -b BENCHMARK -a AGENT FILE...", "submit a program",
     "  -b, --benchmark ID     the benchmark\n"
     "  -p, --problem ID       its problem, when it has several\n"
     "  -a, --agent ID         who competes; may be left out with an agent's own token\n"
     "  -l, --language NAME    else told by the first file's name\n"
     "  -o, --option OPTION    of the compiler, as --option -O0; may be repeated. GET /languages says which there are\n"
     "  --payload FILE         instead of a program: the answer itself, or the harness's input\n"
     "  --watch                show progress and the verdict of each test\n"
     "  --wait                 wait for the verdict and print it\n"
     "  --timeout SECONDS      with --watch and --wait: give up after that (default: never)\n"
     "  --each                 every file (or folder, or ZIP) named is a submission of its own\n"
     "  --id-only              print nothing but the submission's id\n"
     "FILE is - for standard input. Several files are sent under their names, and so are those below a folder or in a ZIP\n"
     "(without hidden ones). A project that a PIT tests is submitted by assay pit submit.\n"},
    {"submissions", cmd_submissions, "submissions", "list submissions",
     "  -b, --benchmark ID\n  -a, --agent ID\n  --status STATUS        queued, running, done, error, cancelled\n"
     "  --limit N              at most N (default 20)\n"},
    {"watch", cmd_watch, "watch ID...", "follow submissions until they are done",
     "  --timeout SECONDS      give up after that (default: never)\n"},
    {"results", cmd_results, "results ID", "the verdict of each test",
     "  --outputs              also what the program printed, as far as you may see it\n"
     "  --diff                 what was expected beside what was printed, line by line, as far as you may see it\n"
     "  --verdict-only         print nothing but the verdict\n"},
    {"source", cmd_source, "source ID", "what was sent: the program, its files, or the payload",
     "  -o, --output DIR       write the files below DIR; never over one that is there\n"
     "Without it they are printed one after the other. Into a pipe or a file the bytes go as they were sent.\n"},
    {"cancel", cmd_cancel, "cancel ID...", "cancel submissions", NULL},
    {"rejudge", cmd_rejudge, "rejudge ID...", "judge submissions again",
     "  --watch                follow them to their new verdicts\n"},
    {"rejudgings", cmd_rejudgings, "rejudgings [list | start -b BENCHMARK | show ID | apply ID | cancel ID]",
     "judge a set again, see what would change, then apply or cancel it",
     "  -b, --benchmark ID     start: of which all submissions are judged again, or of those\n"
     "  -p, --problem ID       to this problem\n"
     "  -a, --agent ID         of this agent\n"
     "  -l, --language NAME    in this language\n"
     "  --verdict VERDICT      that have this verdict\n"
     "  --reason TEXT          start: kept with the set\n"
     "  --wait                 start, show: until all of it is judged\n"
     "Nothing changes before apply.\n"},
    {"webhooks", cmd_webhooks,
     "webhooks [list | create URL -b BENCHMARK | show ID | deliveries ID | replay ID --since TIME | on ID | off ID | delete ID]",
     "have the events of a benchmark or a submission sent to a URL",
     "  -b, --benchmark ID     create: the events of this benchmark\n"
     "  --submission ID        create: of this submission instead, while it is queued or running\n"
     "  --events A,B           create: which; submission.done unless given\n"
     "  --event ID             replay: this event\n"
     "  --since TIME           replay: all that were sent since, such as 2026-11-28T00:00:00Z\n"
     "The secret that receivers check signatures with is printed once, by create.\n"},
    {"leaderboard", cmd_leaderboard, "leaderboard BENCHMARK", "ranks and scores",
     "  --limit N              at most N (default 100)\n"},
    {"import", cmd_import, "import PACKAGE | FILE.json | FORMAT FILE", "take a problem package, what export wrote, or a data set",
     "  --id ID                what the new benchmark is called\n"
     "  -b, --benchmark ID     a package: add it to this benchmark as a problem\n"
     "  --no-judge             a package: do not have the jury's submissions judged\n"
     "  --timeout SECONDS      a package: give up waiting for them after that (default: never)\n"
     "PACKAGE is a folder or a ZIP in the ICPC/Kattis problem package format, legacy or 2023-07. The jury's\n"
     "submissions are judged and the verdicts compared with their folders; exit status 1 when one differs.\n\n"
     "import humaneval | mbpp | humaneval-x -b BENCHMARK FILE makes a benchmark of functions with hidden tests. FILE holds a\n"
     "JSON object a line, gzipped or not (- for standard input).\n"
     "  -b, --benchmark ID     what it becomes\n"
     "  --name NAME            what it is called (default: ID)\n"
     "  -l, --language NAME    humaneval-x: the language, where task_id does not begin with it\n"
     "  --time-limit-ms N      of all calls of a test together (default 5000)\n"
     "  --memory-limit-mb N    (default 512)\n"
     "  --skip                 leave out tasks whose own solution does not pass here\n"
     "Each task's own solution is run first, in a box of the server; the calls that its test makes are written down then.\n"},
    {"export", cmd_export, "export BENCHMARK [--grades | --sources DIR]", "write a benchmark, its grades, or what was submitted",
     "  -o, --output FILE      the benchmark or the grades: write there, not to standard output\n"
     "  --grades               CSV: one line for each submission, with verdict and score\n"
     "  --sources DIR          one folder for each submission below DIR, as programs that look for plagiarism take them\n"
     "Without either: the benchmark with all its problems and tests, as JSON that assay import takes.\n"},
    {"filter", cmd_filter, "filter [list | NAME FILE -o OUT]", "apply a filter to an image",
     "  -o, --output FILE      the result, a PNG: write there (- or nothing: to standard output, unless that is a terminal)\n"
     "  -p, --param NAME=VALUE of the filter; may be repeated\n"
     "  --timeout SECONDS      give up waiting after that (default: never)\n"
     "FILE is a PNG or JPEG, - for standard input. Alone, or with list, it lists the filters with their parameters. Exit status 1 when\n"
     "the image could not be filtered.\n"},
    {"submit-samples", cmd_submit_samples, "submit-samples -b BENCHMARK -a AGENT FILE", "submit a file of completions, and pass@k",
     "FILE holds {task_id, completion} or {task_id, solution} a line, gzipped or not (- for standard input). A completion is put\n"
     "behind the problem's statement, unless the set's completions are whole programs (mbpp); a solution is sent as it is.\n"
     "  -b, --benchmark ID     what assay import has made\n"
     "  -a, --agent ID         who competes; may be left out with an agent's own token\n"
     "  -l, --language NAME    (default: the benchmark's)\n"
     "  --whole                completions are whole programs\n"
     "  --wait                 wait for all verdicts, and print their number and pass@k; exit status 0 when all passed\n"
     "  --timeout SECONDS      with --wait: give up after that (default: never)\n"},
    {"simulate", cmd_simulate, "simulate [--via http | kafka | amqp | sqs]", "send programs of known outcome, and check what comes back",
     "Sends every language and outcome (python go c cpp java, each ok wa tl ml bf re ol) on a path of your choice,\n"
     "compares what was sent with what came back and each verdict with the one it must be, and prints what each took.\n"
     "Exit status 1 on any difference: lost, doubled, wrong, late, refused.\n\n"
     "What is sent:\n"
     "  --via PATH             http (default; kafka when KAFKA_BROKERS is set), or a broker: kafka, amqp, sqs\n"
     "  --profile NAME         every (default): each once; older: without re and ol; load: many, few of them slow;\n"
     "                         timeouts: mostly programs that run into their time limit\n"
     "  --languages LIST       weights, as python=3,c,java=0: what is not named is left out (but --languages java=0\n"
     "                         only takes java away)\n"
     "  --outcomes LIST        the same for ok, wa, tl, ml, bf, re, ol\n"
     "  -n, --iterations N     how often all of that is sent (default 1; 0: for ever, or for --duration)\n"
     "  --interval SECONDS     a pause between iterations\n"
     "  --duration SECONDS     stop sending after that\n"
     "  --rate N               at most N a second (default: as fast as they are taken)\n"
     "  -c, --concurrency N    at most N without a verdict at a time (default 100)\n"
     "  --unique               every source differs from all others, so that no build is found in a cache\n"
     "  --seed N               the order; printed with --json and in the log\n"
     "What is checked:\n"
     "  --wait SECONDS         what has not come back when nothing has happened for so long is lost (default 60)\n"
     "  --late SECONDS         a verdict that took longer is a difference (default 0: none is)\n"
     "  --linger SECONDS       brokers: how long second results are looked for at the end (default 2)\n"
     "  --allow-repeats        the same result twice is counted, but is no difference\n"
     "  --strict               brokers: the server answers with the older worker's statuses (broker_strict)\n"
     "What is written:\n"
     "  --log FILE             a line of JSON for each message sent and each result, appended\n"
     "  --csv FILE             the table\n"
     "  --plot FILE            the run as a picture (SVG)\n"
     "  --list                 print the programs and what must come of them, and send nothing\n"
     "Over HTTP:\n"
     "  -b, --benchmark ID     where to submit (default assay-simulate; made when an instructor runs this first)\n"
     "  -a, --agent ID         who submits (default: a new agent for this run)\n"
     "  --login LOGIN          sign in for this run only, with ASSAY_PASSWORD (default: ASSAY_LOGIN, else the sign-in there is)\n"
     "With a broker:\n"
     "  --set NAME=VALUE       an option of its driver; else ASSAY_NAME and the names the server takes (KAFKA_BROKERS ...)\n"
     "  --plugins DIRS         where the drivers are (default: where they were installed)\n"
     "  --send-done            end with a message that says that no more will come\n"
     "SCRIPT_ITERATIONS, SCRIPT_INTERVAL_SECONDS, RESULT_WAIT_TIMEOUT_SECONDS and RESULT_CONSUMER_LOG_PATH are\n"
     "understood as --iterations, --interval, --wait and --log.\n"},
    {"pit", cmd_pit, "pit [submit PIT DIR-OR-ZIP | feedback ID | log ID | mine | list | show PIT | new | publish FILE | upload-tests PIT DIR-OR-ZIP]",
     "projects: submit one, see what came of it; write a PIT, publish it and its tests",
     "submit sends a ZIP, or a folder as one (without hidden files and links), waits, and shows the feedback; exit status 0 when\n"
     "it is DONE, 1 when it is ERROR.\n"
     "  --no-wait              submit: print the submission's id and go\n"
     "  --wait                 feedback: until there is one\n"
     "  --timeout SECONDS      submit, feedback: give up waiting after that (default: never)\n"
     "  --pit PIT              mine: of this PIT only\n"
     "  --limit N              list, mine: at most N (default 100)\n"
     "publish takes the file that new writes; its name is the PIT's. With --force it changes one that is there.\n\n"
     "new writes a PIT file: how the projects of an exercise are tested. Without a flag that says something of the PIT it asks.\n"
     "  --id ID                the file's name, without .json: java-maven-bank-account-v1\n"
     "  --language NAME        (default java)\n"
     "  --buildTool NAME       (default maven, or what is usual for the language)\n"
     "  --testCommand COMMAND  (default mvn -q test, or what is usual)\n"
     "  --maxTimeoutMs N       time limit of the test command (default 60000)\n"
     "  --setupCommands COMMAND   run before; may be repeated, or a JSON list\n"
     "  --requiredFiles PATH   must be in the project; may be repeated, or divided by commas, or a JSON list\n"
     "  --environment N=VALUE  for all commands; may be repeated, or a JSON object\n"
     "  --dir DIR              where the file is written (default ./pits)\n"
     "  --force                overwrite a file that is there; publish: change a PIT that is there\n"},
    {"status", cmd_status, "status", "whether the server is up and ready; exit status 0 if so", NULL},
    {"doctor", cmd_status, "doctor", "what the server says about its own health, part by part", NULL},
    {"support-bundle", cmd_support_bundle, "support-bundle", "state, configuration and log of a server in one file, without secrets",
     "  -o, --output FILE      a new file (default assay-support-DATE-TIME.tar.gz)\n"
     "  --log FILE             the server's log (default: the journal of the unit assayd)\n"
     "  --lines N              of its end (default 5000)\n"
     "  --config FILE          the configuration file that assayd is started with\n"
     "  --assayd PROGRAM       (default: beside this program, else found by PATH)\n"
     "To be run on the server's machine, with the server's environment, by whom the staff may sign in as; what cannot be had is\n"
     "left out, and the bundle says why. Look through it before you pass it on.\n"},
    {"completion", cmd_completion, "completion [bash | zsh]", "a script that completes commands and options",
     "For this session:  source <(assay completion bash)      zsh: source <(assay completion zsh)\n"
     "A package installs it where the shells look.\n"},
    {"help", cmd_help, "help [COMMAND]", "this text, or a command's",
     "  --man                  all of it as a manual page (roff)\n"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

const struct cli_command *cli_commands(size_t *n)
{
    *n = COMMANDS;
    return commands;
}

char *cli_strdup(const char *s)
{
    char *p = strdup(s);

    if (p == NULL) {
        fputs("assay: no memory\n", stderr);
        exit(CLI_LOCAL);
    }
    return p;
}

char *cli_fmt(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&p, fmt, ap);
    va_end(ap);
    if (n < 0) {
        fputs("assay: no memory\n", stderr);
        exit(CLI_LOCAL);
    }
    return p;
}

const struct cli_command *cli_command_find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int cli_usage(const struct cli_command *cmd, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    term_error("%s", text);
    if (cmd != NULL)
        term_note("Usage: assay %s   (assay help %s)", cmd->usage, cmd->name);
    else
        term_note("Commands: assay help");
    return CLI_USAGE;
}

static const struct cli_option *option_find(const struct cli_option *o, const char *arg, const char **value)
{
    for (; o->name != NULL; o++) {
        size_t n = strlen(o->name);

        *value = NULL;
        if (arg[1] == '-' && strncmp(arg + 2, o->name, n) == 0 && (arg[2 + n] == '\0' || arg[2 + n] == '=')) {
            *value = arg[2 + n] == '=' ? arg + 3 + n : NULL;
            return o;
        }
        if (arg[1] != '-' && o->letter != 0 && arg[1] == o->letter) {
            *value = arg[2] != '\0' ? arg + 2 : NULL;
            return o;
        }
    }
    return NULL;
}

const char *cli_ca(const struct cli *c)
{
    return c->ca != NULL ? c->ca : js_str(c->config, "ca");
}

static bool ca_set(struct cli *c, const char *path)
{
    char *whole = realpath(path, NULL);

    if (whole == NULL) {
        term_error("cannot read %s, which --ca or ASSAY_CA names: %s", path, strerror(errno));
        return false;
    }
    free(c->ca);
    c->ca = whole;
    return true;
}

int cli_options(struct cli *c, const struct cli_command *cmd, int *argc, char **argv, const struct cli_option *own)
{
    const char *url = NULL, *ca = NULL;
    bool help = false;
    const struct cli_option common[] = {
        {.name = "json", .flag = &c->json}, {.name = "url", .value = &url}, {.name = "ca", .value = &ca}, {.name = "help", .letter = 'h', .flag = &help},
        {.name = NULL}};
    int n = 0;

    for (int i = 1; i < *argc; i++) {
        const struct cli_option *o;
        const char *value = NULL;

        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[n++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            while (++i < *argc)
                argv[n++] = argv[i];
            break;
        }
        o = own != NULL ? option_find(own, argv[i], &value) : NULL;
        if (o == NULL)
            o = option_find(common, argv[i], &value);
        if (o == NULL)
            return cli_usage(cmd, "%s is no option of this command", argv[i]);
        if (o->flag != NULL) {
            if (value != NULL)
                return cli_usage(cmd, "--%s takes no value", o->name);
            *o->flag = true;
            continue;
        }
        if (value == NULL && i + 1 < *argc)
            value = argv[++i];
        if (value == NULL)
            return cli_usage(cmd, "--%s wants a value", o->name);
        if (o->value != NULL)
            *o->value = value;
        else if (*o->list_n == o->list_max)
            return cli_usage(cmd, "--%s was given more than %zu times", o->name, o->list_max);
        else
            o->list[(*o->list_n)++] = value;
    }
    *argc = n;
    if (help) {
        help_command(cmd);
        exit(CLI_OK);
    }
    if (ca != NULL && !ca_set(c, ca))
        return CLI_LOCAL;
    if (url != NULL) {
        const char *from_env = getenv("ASSAY_TOKEN");

        config_url_set(c, url);
        if (from_env == NULL || from_env[0] == '\0') { /* a remembered token goes to its own server only */
            cli_freep(&c->token);
            cli_freep(&c->refresh);
            c->token_kept = js_str(c->config, "token")[0] != '\0';
            if (c->token_kept) {
                c->token = cli_strdup(js_str(c->config, "token"));
                c->refresh = cli_strdup(js_str(c->config, "refresh_token"));
            }
        }
    }
    return CLI_OK;
}

/* Where to, and as whom. */
static int identity(struct cli *c)
{
    const char *url = getenv("ASSAY_URL"), *token = getenv("ASSAY_TOKEN"), *ca = getenv("ASSAY_CA");
    int rc = config_load(c);

    if (rc != CLI_OK)
        return rc;
    if (ca != NULL && ca[0] != '\0' && !ca_set(c, ca))
        return CLI_LOCAL;
    if (url == NULL || url[0] == '\0')
        url = js_str(c->config, "url");
    config_url_set(c, url[0] != '\0' ? url : CLI_DEFAULT_URL);
    if (token != NULL && token[0] != '\0') {
        c->token = cli_strdup(token);
    } else if (js_str(c->config, "token")[0] != '\0') {
        c->token = cli_strdup(js_str(c->config, "token"));
        c->token_kept = true;
        if (js_str(c->config, "refresh_token")[0] != '\0')
            c->refresh = cli_strdup(js_str(c->config, "refresh_token"));
    }
    return CLI_OK;
}

/* "assay --json --url URL status" means "assay status --json --url URL". Where the command stands now; 0: none. */
static int command_to_front(int argc, char **argv)
{
    int at = 1;

    while (at < argc && argv[at][0] == '-')
        at += strcmp(argv[at], "--url") == 0 || strcmp(argv[at], "--ca") == 0 ? 2 : 1;
    if (at >= argc)
        return 0;
    for (char *name = argv[at]; at > 1; at--) {
        argv[at] = argv[at - 1];
        argv[at - 1] = name;
    }
    return 1;
}

int main(int argc, char **argv)
{
    struct cli c = {.json = false};
    const struct cli_command *cmd;
    int rc, first;

    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_DFL); /* assay ... | head ends quietly */
    if (argc < 2) {
        help_all(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("assay " CLI_VERSION);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_all(stdout);
        return CLI_OK;
    }
    first = command_to_front(argc, argv);
    cmd = first > 0 ? cli_command_find(argv[first]) : NULL;
    if (cmd == NULL)
        return cli_usage(NULL, "there is no command %s", first > 0 ? argv[first] : "among the options");
    rc = identity(&c);
    if (rc == CLI_OK) {
        api_init(&c);
        rc = cmd->run(&c, argc - 1, argv + 1);
        api_end(&c);
    }
    if (fflush(stdout) != 0 && rc == CLI_OK) {
        term_error("the output could not be written");
        rc = CLI_LOCAL;
    }
    json_decref(c.config);
    free(c.config_path);
    free(c.url);
    free(c.token);
    free(c.refresh);
    return rc;
}
