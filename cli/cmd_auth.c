/* login, logout, register, whoami */
#include "cli.h"

#include <unistd.h>

/* From ASSAY_PASSWORD, standard input, or the keyboard. NULL with a message. */
static char *password_get(bool from_stdin, bool twice)
{
    const char *env = getenv("ASSAY_PASSWORD");
    char *first;

    if (env != NULL && env[0] != '\0' && !from_stdin)
        return cli_strdup(env);
    if (!from_stdin && isatty(STDIN_FILENO) != 1) {
        term_error("there is no terminal to ask for the password");
        term_note("Set ASSAY_PASSWORD, or use --password-stdin.");
        return NULL;
    }
    first = term_secret("Password");
    if (first == NULL || first[0] == '\0') {
        term_error("no password was given");
        free(first);
        return NULL;
    }
    if (twice && !from_stdin) {
        CLI_CLEANUP_STR char *again = term_secret("The same again");

        if (again == NULL || strcmp(first, again) != 0) {
            term_error("the two passwords differ");
            free(first);
            return NULL;
        }
    }
    return first;
}

static int tokens_came(struct cli *c, struct api_answer *a)
{
    if (a->status < 200 || a->status > 299)
        return api_refused(c, a);
    if (js_str(a->json, "token")[0] == '\0') {
        term_error("%s answered without a token: is it an Assay server?", c->url);
        return CLI_SERVER;
    }
    return CLI_OK;
}

/* Asks the server; the answer holds the tokens. */
static int sign_in(struct cli *c, const char *login, const char *password, struct api_answer *a)
{
    CLI_CLEANUP_JSON json_t *body = json_pack("{s:s, s:s}", "login", login, "password", password);
    struct api_call call = {.method = "POST", .path = "/login", .anonymous = true, .quiet = true, .body = body};
    int rc;

    if (body == NULL) {
        term_error("login and password must be UTF-8");
        return CLI_LOCAL;
    }
    rc = api_do(c, &call, a);
    if (rc != CLI_OK)
        return rc;
    if (a->status == 401) {
        term_error("%s", js_str(a->json, "detail")[0] != '\0' ? js_str(a->json, "detail") : "login and password do not fit");
        term_note("No account yet? assay register %s", login);
        return CLI_SIGN_IN;
    }
    return tokens_came(c, a);
}

/* The token in "https://…/auth/verify?token=asl_…", in the page's own address that a browser shows, or alone; NULL: it is none of these. */
static const char *link_token(const char *text)
{
    const char *at = strstr(text, "asl_");

    if (at == NULL || (at != text && at[-1] != '=' && at[-1] != '/'))
        return NULL;
    return at[strspn(at, "asl_0123456789bcdef")] == '\0' ? at : NULL;
}

static int sign_in_by_link(struct cli *c, const char *token, struct api_answer *a)
{
    CLI_CLEANUP_JSON json_t *body = json_pack("{s:s}", "token", token);
    struct api_call call = {.method = "POST", .path = "/auth/verify", .anonymous = true, .quiet = true, .body = body};
    int rc = api_do(c, &call, a);

    if (rc != CLI_OK)
        return rc;
    return tokens_came(c, a);
}

int cli_sign_in(struct cli *c, const char *login)
{
    CLI_CLEANUP_STR char *password = password_get(false, false);
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = password != NULL ? sign_in(c, login, password, &a) : CLI_LOCAL;

    if (rc != CLI_OK)
        return rc;
    free(c->token);
    free(c->refresh);
    c->token = cli_strdup(js_str(a.json, "token"));
    c->refresh = cli_strdup(js_str(a.json, "refresh_token"));
    c->token_kept = true;
    c->unsaved = true;
    return CLI_OK;
}

int cmd_login(struct cli *c, int argc, char **argv)
{
    bool from_stdin = false;
    const struct cli_option o[] = {{.name = "password-stdin", .flag = &from_stdin}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("login");
    CLI_CLEANUP_STR char *login = NULL;
    CLI_CLEANUP_STR char *password = NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc > 1)
        return cli_usage(cmd, "one login, please");
    if (argc == 1) {
        login = cli_strdup(argv[0]);
    } else if (isatty(STDIN_FILENO) == 1) {
        size_t room = 0;

        fputs("Login: ", stderr);
        if (getline(&login, &room, stdin) < 0)
            return CLI_LOCAL;
        login[strcspn(login, "\r\n")] = '\0';
    } else {
        return cli_usage(cmd, "name the login");
    }
    const char *link = link_token(login);
    if (link != NULL) {
        rc = sign_in_by_link(c, link, &a);
    } else {
        password = password_get(from_stdin, false);
        rc = password != NULL ? sign_in(c, login, password, &a) : CLI_LOCAL;
    }
    if (rc != CLI_OK)
        return rc;
    if (link != NULL) {
        const char *name = js_str(json_object_get(a.json, "user"), "login");
        char *told = cli_strdup(name); /* the old text holds the link */
        free(login);
        login = told;
    }
    config_set(c, "token", js_str(a.json, "token"));
    config_set(c, "refresh_token", js_str(a.json, "refresh_token")[0] != '\0' ? js_str(a.json, "refresh_token") : NULL);
    config_set(c, "login", login);
    rc = config_save(c);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(json_object_get(a.json, "user")); /* not the tokens: they are in the file */
        return CLI_OK;
    }
    printf("Signed in to %s as ", c->url);
    term_text(stdout, login, strlen(login), false, NULL);
    if (js_str(json_object_get(a.json, "user"), "role")[0] != '\0') {
        fputs(" (", stdout);
        term_text(stdout, js_str(json_object_get(a.json, "user"), "role"),
                  strlen(js_str(json_object_get(a.json, "user"), "role")), false, NULL);
        fputs(")", stdout);
    }
    puts(".");
    return CLI_OK;
}

int cmd_logout(struct cli *c, int argc, char **argv)
{
    CLI_CLEANUP_JSON json_t *body = NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "POST", .path = "/logout", .quiet = true};
    const struct cli_command *cmd = cli_command_find("logout");
    int rc = cli_options(c, cmd, &argc, argv, NULL);
    bool told = false;

    if (rc != CLI_OK)
        return rc;
    if (argc > 0)
        return cli_usage(cmd, "logout takes no arguments");
    if (c->token == NULL) {
        puts("Not signed in.");
        return CLI_OK;
    }
    body = c->refresh != NULL && c->refresh[0] != '\0' ? json_pack("{s:s}", "refresh_token", c->refresh) : json_object();
    call.body = body;
    if (body != NULL && api_do(c, &call, &a) == CLI_OK)
        told = a.status < 300;
    /* forgotten here whatever the server says: that is what was asked for */
    config_set(c, "token", NULL);
    config_set(c, "refresh_token", NULL);
    config_set(c, "login", NULL);
    rc = config_save(c);
    if (rc == CLI_OK && told)
        puts("Signed out.");
    else if (rc == CLI_OK)
        puts("Forgotten here; the server did not confirm it, so its session runs out by itself.");
    return rc;
}

int cmd_register(struct cli *c, int argc, char **argv)
{
    const char *email = NULL, *name = NULL;
    bool from_stdin = false;
    const struct cli_option o[] = {{.name = "email", .value = &email}, {.name = "name", .value = &name},
                                   {.name = "password-stdin", .flag = &from_stdin}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("register");
    CLI_CLEANUP_STR char *password = NULL;
    CLI_CLEANUP_JSON json_t *body = NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    struct api_call call = {.method = "POST", .path = "/register", .create = true, .anonymous = true};
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc != 1)
        return cli_usage(cmd, "name one login");
    password = password_get(from_stdin, true);
    if (password == NULL)
        return CLI_LOCAL;
    body = json_pack("{s:s, s:s, s:s*, s:s*}", "login", argv[0], "password", password, "email", email, "name", name);
    if (body == NULL) {
        term_error("login, password, address and name must be UTF-8");
        return CLI_LOCAL;
    }
    call.body = body;
    rc = api_do(c, &call, &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
    } else {
        fputs("Account ", stdout);
        term_text(stdout, argv[0], strlen(argv[0]), false, NULL);
        puts(" is made. Sign in with: assay login");
    }
    return CLI_OK;
}

int cmd_whoami(struct cli *c, int argc, char **argv)
{
    API_CLEANUP struct api_answer a = {.status = 0};
    struct term_table t = {.columns = 2};
    const struct cli_command *cmd = cli_command_find("whoami");
    static const char *const keys[] = {"login", "id", "role", "name", "email"};
    int rc = cli_options(c, cmd, &argc, argv, NULL);

    if (rc == CLI_OK)
        rc = api_get(c, "/me", &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
        return CLI_OK;
    }
    term_cell(&t, "server");
    term_cell(&t, c->url);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        term_cell(&t, keys[i]);
        js_cell(&t, a.json, keys[i]);
    }
    term_table_print(&t, stdout);
    return CLI_OK;
}
