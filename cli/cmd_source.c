/*
 * source: what was sent, back again.
 *
 * Into a pipe the bytes go as they are; on a terminal they are text that nobody vouches for.  --output never
 * writes over a file, never follows a link, and takes only names that stay below the folder: the names come
 * from a server.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void text_show(const json_t *text)
{
    const char *p = json_string_value(text);
    size_t n = json_string_length(text);

    if (term_is_tty(stdout))
        term_text(stdout, p, n, true, NULL);
    else
        fwrite(p, 1, n, stdout);
}

static bool name_stays_below(const char *name)
{
    for (const char *part = name;;) {
        size_t n = strcspn(part, "/");

        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        if (part[n] == '\0')
            return true;
        part += n + 1;
    }
}

/* Opens the folder that `name` ends in, making what is missing; *name is then its last part. */
static int folder_open(const char *top, const char **name)
{
    int dir = mkdir(top, 0777) == 0 || errno == EEXIST ? open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    for (const char *slash; dir >= 0 && (slash = strchr(*name, '/')) != NULL; *name = slash + 1) {
        CLI_CLEANUP_STR char *part = cli_fmt("%.*s", (int)(slash - *name), *name);
        int below = mkdirat(dir, part, 0777) == 0 || errno == EEXIST
                        ? openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                        : -1;

        close(dir);
        dir = below;
    }
    return dir;
}

static int file_write(const char *top, const char *name, const json_t *text)
{
    const char *p = json_string_value(text), *last = name;
    size_t n = json_string_length(text);
    int dir, fd, fault = 0;

    if (!json_is_string(text) || !name_stays_below(name)) {
        term_error("the server names a file that is none of this folder: %s", name);
        return CLI_SERVER;
    }
    dir = folder_open(top, &last);
    fd = dir >= 0 ? openat(dir, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666) : -1;
    if (fd < 0)
        fault = errno;
    while (fault == 0 && n > 0) {
        ssize_t put = write(fd, p, n);

        if (put < 0 && errno != EINTR)
            fault = errno;
        if (put > 0) {
            p += put;
            n -= (size_t)put;
        }
    }
    if (fd >= 0 && close(fd) != 0 && fault == 0)
        fault = errno;
    if (dir >= 0)
        close(dir);
    if (fault == 0)
        return CLI_OK;
    term_error("cannot write %s/%s: %s", top, name, strerror(fault));
    return CLI_LOCAL;
}

static int files_take(const json_t *files, const char *top)
{
    const char *name;
    const json_t *text;
    int rc = CLI_OK;

    for (void *at = json_object_iter((json_t *)(uintptr_t)files); at != NULL && rc == CLI_OK;
         at = json_object_iter_next((json_t *)(uintptr_t)files, at)) {
        name = json_object_iter_key(at);
        text = json_object_iter_value(at);
        if (top != NULL) {
            rc = file_write(top, name, text);
            continue;
        }
        fputs("==> ", stdout);
        term_text(stdout, name, strlen(name), false, NULL);
        puts(" <==");
        text_show(text);
    }
    return rc;
}

int cmd_source(struct cli *c, int argc, char **argv)
{
    const char *top = NULL;
    const struct cli_option o[] = {{.name = "output", .letter = 'o', .value = &top}, {.name = NULL}};
    const struct cli_command *cmd = cli_command_find("source");
    CLI_CLEANUP_STR char *path = NULL;
    API_CLEANUP struct api_answer a = {.status = 0};
    const json_t *source, *files;
    int rc = cli_options(c, cmd, &argc, argv, o);

    if (rc != CLI_OK)
        return rc;
    if (argc != 1)
        return cli_usage(cmd, "name one submission");
    path = api_path("/submissions/", argv[0], "/source");
    rc = api_get(c, path, &a);
    if (rc != CLI_OK)
        return rc;
    if (c->json) {
        term_json(a.json);
        return CLI_OK;
    }
    source = json_object_get(a.json, "source");
    files = json_object_get(a.json, "files");
    if (json_is_object(files))
        return files_take(files, top);
    if (!json_is_string(source))
        source = json_object_get(a.json, "payload");
    if (!json_is_string(source)) {
        term_error("the server answered without what was sent");
        return CLI_SERVER;
    }
    if (top != NULL)
        return cli_usage(cmd, "--output is for submissions of several files; this one goes to standard output");
    text_show(source);
    return CLI_OK;
}
