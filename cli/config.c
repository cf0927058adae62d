/*
 * What the client remembers: $XDG_CONFIG_HOME/assay/config.json, readable by its owner only.
 *     {"url", "ca", "login", "token", "refresh_token"}
 * A token belongs to the url beside it and is never sent to another server; the same goes for the file of authorities.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char *path_make(void)
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

    if (xdg != NULL && xdg[0] == '/')
        return cli_fmt("%s/assay/config.json", xdg);
    if (home != NULL && home[0] == '/')
        return cli_fmt("%s/.config/assay/config.json", home);
    return NULL;
}

int config_load(struct cli *c)
{
    json_error_t e;
    int fd;

    c->config_path = path_make();
    if (c->config_path == NULL) {
        c->config = json_object();
        return c->config != NULL ? CLI_OK : CLI_LOCAL;
    }
    fd = open(c->config_path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        c->config = json_loadfd(fd, JSON_REJECT_DUPLICATES, &e);
        close(fd);
        if (!json_is_object(c->config)) {
            term_error("%s is no JSON object (%s)", c->config_path, c->config == NULL ? e.text : "another value");
            term_note("Remove it and sign in again: assay login");
            return CLI_LOCAL;
        }
        return CLI_OK;
    }
    if (errno != ENOENT && errno != ENOTDIR) {
        term_error("cannot read %s: %s", c->config_path, strerror(errno));
        return CLI_LOCAL;
    }
    c->config = json_object();
    return c->config != NULL ? CLI_OK : CLI_LOCAL;
}

void config_set(struct cli *c, const char *key, const char *value)
{
    if (value == NULL)
        json_object_del(c->config, key);
    else if (json_object_set_new(c->config, key, json_string(value)) != 0)
        term_error("no memory to remember %s", key);
}

void config_url_set(struct cli *c, const char *url)
{
    size_t n = strlen(url);

    while (n > 0 && url[n - 1] == '/')
        n--;
    free(c->url);
    c->url = cli_fmt("%.*s", (int)n, url);
    if (strcmp(js_str(c->config, "url"), c->url) != 0) {
        config_set(c, "token", NULL);
        config_set(c, "refresh_token", NULL);
        config_set(c, "login", NULL);
        config_set(c, "ca", NULL);
    }
}

static int folders_make(const char *path)
{
    CLI_CLEANUP_STR char *p = cli_strdup(path);

    for (char *s = p + 1; (s = strchr(s, '/')) != NULL; s++) {
        *s = '\0';
        if (mkdir(p, 0700) != 0 && errno != EEXIST)
            return -1;
        *s = '/';
    }
    return 0;
}

int config_save(struct cli *c)
{
    CLI_CLEANUP_STR char *tmp = NULL;
    int fd;

    if (c->config_path == NULL) {
        term_error("there is no place to remember the sign-in: neither XDG_CONFIG_HOME nor HOME is set");
        term_note("Set ASSAY_TOKEN instead.");
        return CLI_LOCAL;
    }
    config_set(c, "url", c->url);
    if (c->ca != NULL)
        config_set(c, "ca", c->ca);
    tmp = cli_fmt("%s.%ld", c->config_path, (long)getpid());
    /* a new file with the right mode, then a rename: never half a file, never one that others may read */
    if (folders_make(c->config_path) == 0 && (fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) >= 0) {
        bool good = json_dumpfd(c->config, fd, JSON_INDENT(2)) == 0 && write(fd, "\n", 1) == 1 && fsync(fd) == 0;

        good = close(fd) == 0 && good;
        if (good && rename(tmp, c->config_path) == 0)
            return CLI_OK;
        unlink(tmp);
    }
    term_error("cannot write %s: %s", c->config_path, strerror(errno));
    return CLI_LOCAL;
}
