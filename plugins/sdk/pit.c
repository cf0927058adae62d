/* PITs and the messages that name them: their codecs, their rules, and their files. */
#include <assay/pit.h>
#include <assay/value.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRS_MAX 33

#define F(name_, alias_, type_, member, lo, hi)                                                                        \
    {                                                                                                                  \
        .name = (name_), .alias = (alias_), .type = (type_), .flags = ASSAY_JSON_NULLABLE,                             \
        .offset = offsetof(struct assay_pit, member), .min = (lo), .max = (hi), .has_offset = -1                       \
    }
#define PIT_ROWS                                                                                                       \
    F("title", NULL, ASSAY_JSON_STRING, title, 0, 200), F("description", NULL, ASSAY_JSON_STRING, description, 0, 16384), \
        F("language", NULL, ASSAY_JSON_STRING, language, 0, 64), F("buildTool", "build_tool", ASSAY_JSON_STRING, build_tool, 0, 64), \
        F("testCommand", "test_command", ASSAY_JSON_STRING, test_command, 1, ASSAY_PIT_COMMAND_MAX),                   \
        F("maxTimeoutMs", "max_timeout_ms", ASSAY_JSON_INT, max_timeout_ms, 1, (double)ASSAY_PIT_TIMEOUT_MAX_MS),      \
        F("setupCommands", "setup_commands", ASSAY_JSON_STRINGS, setup_commands, 0, ASSAY_PIT_COMMANDS_MAX),           \
        F("environment", NULL, ASSAY_JSON_MAP, environment, 0, 4 * ASSAY_PIT_COMMANDS_MAX),                            \
        F("requiredFiles", "required_files", ASSAY_JSON_STRINGS, required_files, 0, 4 * ASSAY_PIT_COMMANDS_MAX),       \
        F("reports", NULL, ASSAY_JSON_STRINGS, reports, 0, 4 * ASSAY_PIT_COMMANDS_MAX)

const struct assay_json_field assay_pit_fields[] = {PIT_ROWS, {.name = NULL}};

static bool relative(struct assay_str s)
{
    size_t part = 0;
    if (s.n == 0 || s.n > 512)
        return false;
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && (s.p[i] == '\0' || s.p[i] == '\n' || s.p[i] == '\\'))
            return false;
        if (i < s.n && s.p[i] != '/')
            continue;
        size_t n = i - part;
        if ((n == 0 && i != s.n) || (n == 2 && s.p[part] == '.' && s.p[part + 1] == '.'))
            return false;
        part = i + 1;
    }
    return true;
}

static bool variable(struct assay_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return s.n != 0 && s.n <= 128;
}

static void check_paths(const struct assay_strs *list, const char *name, struct assay_json_faults *f, struct assay_arena *arena)
{
    for (size_t i = 0; i < list->n; i++) {
        char at[64];
        (void)snprintf(at, sizeof at, "/%s/%zu", name, i);
        if (!relative(list->items[i]))
            assay_json_fault(f, arena, at, "must be a path inside the project: relative, without \"..\" and empty parts, at most 512 bytes");
    }
}

void assay_pit_check(const struct assay_pit *p, struct assay_json_faults *f, struct assay_arena *arena)
{
    check_paths(&p->required_files, "requiredFiles", f, arena);
    check_paths(&p->reports, "reports", f, arena);
    for (size_t i = 0; i < p->setup_commands.n; i++) {
        char at[64];
        (void)snprintf(at, sizeof at, "/setupCommands/%zu", i);
        if (p->setup_commands.items[i].n == 0 || p->setup_commands.items[i].n > ASSAY_PIT_COMMAND_MAX)
            assay_json_fault(f, arena, at, "must be a command of 1 to %d bytes", ASSAY_PIT_COMMAND_MAX);
    }
    for (size_t i = 0; i < p->environment.n; i++) {
        if (!variable(p->environment.items[i].key))
            assay_json_fault(f, arena, "/environment", "\"%.*s\" cannot name a variable: letters, digits and _, not beginning with a digit",
                             p->environment.items[i].key.n > 40 ? 40 : (int)p->environment.items[i].key.n, p->environment.items[i].key.p);
        else if (p->environment.items[i].value.n > ASSAY_PIT_COMMAND_MAX)
            assay_json_fault(f, arena, "/environment", "a value has at most %d bytes", ASSAY_PIT_COMMAND_MAX);
    }
}

static int first_fault(const struct assay_json_faults *f, int rc, struct assay_err *err)
{
    if (f->n == 0)
        return rc;
    return assay_err_set(err, ASSAY_E_INVALID, "%.*s%s%.*s", ASSAY_FMT(f->item[0].pointer), f->item[0].pointer.n != 0 ? " " : "",
                         ASSAY_FMT(f->item[0].detail));
}

int assay_pit_decode(struct assay_str json, struct assay_arena *arena, struct assay_pit *out, struct assay_err *err)
{
    struct assay_json_faults f = {.n = 0};
    struct assay_json_limits limits = {ASSAY_PIT_FILE_MAX, 8};
    *out = (struct assay_pit){.max_timeout_ms = 0};
    int rc = assay_json_decode(json, assay_pit_fields, out, &limits, arena, &f, err);
    if (rc == ASSAY_OK)
        assay_pit_check(out, &f, arena);
    if (f.n != 0 && assay_arena_failed(arena)) /* it may be sound: what it says could not be kept */
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to read a PIT");
    return rc == ASSAY_OK || rc == ASSAY_E_INVALID ? first_fault(&f, rc, err) : rc;
}

static void strings(struct assay_jw *w, const char *key, const struct assay_strs *s)
{
    if (s->n == 0)
        return;
    assay_jw_key(w, key);
    assay_jw_array(w);
    for (size_t i = 0; i < s->n; i++)
        assay_jw_str(w, s->items[i]);
    assay_jw_end(w);
}

static void text(struct assay_jw *w, const char *key, struct assay_str s)
{
    if (s.n != 0)
        assay_jw_kstr(w, key, s);
}

void assay_pit_write(struct assay_jw *w, const struct assay_pit *p)
{
    text(w, "title", p->title);
    text(w, "description", p->description);
    text(w, "language", p->language);
    text(w, "buildTool", p->build_tool);
    text(w, "testCommand", p->test_command);
    if (p->max_timeout_ms != 0)
        assay_jw_kint(w, "maxTimeoutMs", p->max_timeout_ms);
    strings(w, "setupCommands", &p->setup_commands);
    if (p->environment.n != 0) {
        assay_jw_key(w, "environment");
        assay_jw_object(w);
        for (size_t i = 0; i < p->environment.n; i++) {
            char key[132];
            (void)snprintf(key, sizeof key, "%.*s", (int)(p->environment.items[i].key.n > 128 ? 128 : p->environment.items[i].key.n),
                           p->environment.items[i].key.p);
            assay_jw_kstr(w, key, p->environment.items[i].value);
        }
        assay_jw_end(w);
    }
    strings(w, "requiredFiles", &p->required_files);
    strings(w, "reports", &p->reports);
}

void assay_pit_fill(struct assay_pit *p, const struct assay_pit *d)
{
    struct assay_str *to[] = {&p->language, &p->build_tool, &p->test_command};
    const struct assay_str *from[] = {&d->language, &d->build_tool, &d->test_command};
    for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
        if (to[i]->n == 0)
            *to[i] = *from[i];
    }
    if (p->max_timeout_ms == 0)
        p->max_timeout_ms = d->max_timeout_ms;
    if (p->setup_commands.n == 0)
        p->setup_commands = d->setup_commands;
    if (p->environment.n == 0)
        p->environment = d->environment;
    if (p->required_files.n == 0)
        p->required_files = d->required_files;
    if (p->reports.n == 0)
        p->reports = d->reports;
}

/* ---- files ------------------------------------------------------------------------------------------------ */

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

int assay_pit_dirs(const char *share_dir, const char *path, struct assay_arena *arena, struct assay_strs *out, struct assay_err *err)
{
    struct assay_str *dir = assay_arena_array(arena, DIRS_MAX, sizeof *dir), rest = assay_str(path);
    *out = (struct assay_strs){dir, 0};
    if (dir == NULL)
        return no_memory(err);
    if (share_dir[0] != '\0')
        dir[out->n++] = assay_arena_fmt(arena, "%s/pits", share_dir);
    while (rest.n != 0 && out->n < DIRS_MAX) {
        const char *colon = memchr(rest.p, ':', rest.n);
        struct assay_str one = {rest.p, colon != NULL ? (size_t)(colon - rest.p) : rest.n};
        size_t skip = one.n + (colon != NULL ? 1 : 0);
        rest.p += skip;
        rest.n -= skip;
        if (one.n != 0)
            dir[out->n++] = assay_arena_str(arena, one);
    }
    for (size_t i = 0; i < out->n; i++) {
        if (dir[i].p == NULL)
            return no_memory(err);
    }
    return ASSAY_OK;
}

/* 0 and "" when there is no such file. */
static int read_file(const struct assay_strs *dirs, const char *id, struct assay_arena *arena, struct assay_str *out, char *path, size_t room,
                     struct assay_err *err)
{
    *out = ASSAY_STR_NULL;
    for (size_t i = dirs->n; i-- > 0;) {
        struct stat st;
        int n = snprintf(path, room, "%.*s/%s.json", ASSAY_FMT(dirs->items[i]), id);
        int fd = n < 0 || (size_t)n >= room ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            continue;
        char *text = NULL;
        ssize_t got = -1;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t)ASSAY_PIT_FILE_MAX)
            text = assay_arena_alloc(arena, (size_t)st.st_size + 1);
        if (text != NULL)
            got = read(fd, text, (size_t)st.st_size);
        close(fd);
        if (got < 0 && assay_arena_failed(arena))
            return no_memory(err);
        if (got < 0)
            return assay_err_set(err, ASSAY_E_CONFIG, "the PIT file %s cannot be read, or is no file of at most 256 KiB", path);
        *out = (struct assay_str){text, (size_t)got};
        return ASSAY_OK;
    }
    return ASSAY_OK;
}

static int load(const struct assay_strs *dirs, const char *id, struct assay_arena *arena, struct assay_pit *out, struct assay_err *err)
{
    char path[4096];
    struct assay_str text;
    int rc = read_file(dirs, id, arena, &text, path, sizeof path, err);
    if (rc >= 0 && text.p == NULL)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no PIT %s", id);
    if (rc >= 0)
        rc = assay_pit_decode(text, arena, out, err);
    if (rc == ASSAY_E_INVALID) {
        char why[400];
        (void)snprintf(why, sizeof why, "%.390s", err != NULL ? err->msg : "");
        return assay_err_set(err, ASSAY_E_CONFIG, "the PIT file %.90s: %s", path, why);
    }
    return rc;
}

int assay_pit_load(const struct assay_strs *dirs, struct assay_str id, struct assay_arena *arena, struct assay_pit *out, struct assay_err *err)
{
    struct assay_pit dflt;
    char name[80];
    *out = (struct assay_pit){.max_timeout_ms = 0};
    if (!assay_slug_valid(id))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no such PIT");
    (void)snprintf(name, sizeof name, "%.*s", ASSAY_FMT(id));
    int rc = load(dirs, name, arena, out, err);
    if (rc < 0 || strcmp(name, ASSAY_PIT_DEFAULT) == 0)
        return rc;
    struct assay_err ignored;
    rc = load(dirs, ASSAY_PIT_DEFAULT, arena, &dflt, &ignored);
    if (rc == ASSAY_OK)
        assay_pit_fill(out, &dflt);
    else if (rc != ASSAY_E_NOT_FOUND)
        return assay_err_set(err, rc, "%s", ignored.msg);
    return ASSAY_OK;
}

static int by_text(const void *a, const void *b)
{
    return assay_str_cmp(*(const struct assay_str *)a, *(const struct assay_str *)b);
}

int assay_pit_list(const struct assay_strs *dirs, struct assay_arena *arena, struct assay_strs *out, struct assay_err *err)
{
    size_t room = 64, n = 0;
    struct assay_str *list = assay_arena_array(arena, room, sizeof *list);
    if (list == NULL)
        return no_memory(err);
    for (size_t i = 0; i < dirs->n; i++) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%.*s", ASSAY_FMT(dirs->items[i]));
        DIR *d = opendir(path);
        if (d == NULL)
            continue;
        const struct dirent *e;
        bool failed = false;
        while (!failed && (e = readdir(d)) != NULL) {
            struct assay_str name = assay_str(e->d_name);
            if (!assay_str_ends(name, ".json"))
                continue;
            name.n -= 5;
            if (!assay_slug_valid(name) || assay_str_is(name, ASSAY_PIT_DEFAULT))
                continue;
            if (n == room) {
                struct assay_str *more = assay_arena_array(arena, 2 * room, sizeof *more);
                failed = more == NULL;
                if (failed)
                    break;
                memcpy(more, list, n * sizeof *list);
                list = more;
                room *= 2;
            }
            list[n] = assay_arena_str(arena, name);
            failed = list[n++].p == NULL;
        }
        closedir(d);
        if (failed)
            return no_memory(err);
    }
    qsort(list, n, sizeof *list, by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || !assay_str_eq(list[kept - 1], list[i]))
            list[kept++] = list[i];
    }
    *out = (struct assay_strs){list, kept};
    return ASSAY_OK;
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

#define P(name_, alias_, member, hi)                                                                                   \
    {                                                                                                                  \
        .name = (name_), .alias = (alias_), .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_NULLABLE,                   \
        .offset = offsetof(struct assay_project, member), .min = 0, .max = (hi), .has_offset = -1                      \
    }
static const struct assay_json_field project_fields[] = {
    P("submissionId", "submission_id", submission_id, 128),
    P("fileKey", "file_key", file_key, ASSAY_PIT_KEY_MAX),
    P("userId", "user_id", user_id, 128),
    P("pitId", "pit_id", pit_id, 128),
    P("createdAt", "created_at", created_at, 64),
    {.name = "assay", .type = ASSAY_JSON_RAW, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct assay_project, assay),
     .min = 0, .max = 1 << 20, .has_offset = -1},
    {.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1},
    {.name = NULL},
};

/* A part of an object's name. */
static bool plain(struct assay_str s, size_t max)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '_' && i > 0) || (c == '-' && i > 0) ||
              (c == '.' && i > 0)))
            return false;
    }
    return s.n != 0 && s.n <= max;
}

bool assay_project_key(struct assay_str key, struct assay_str *user, struct assay_str *pit)
{
    struct assay_str part[4];
    size_t n = 0, begin = 0;
    for (size_t i = 0; i <= key.n; i++) {
        if (i < key.n && key.p[i] != '/')
            continue;
        if (n == 4)
            return false;
        part[n++] = (struct assay_str){key.p + begin, i - begin};
        begin = i + 1;
    }
    if (n != 4 || key.n > ASSAY_PIT_KEY_MAX || !assay_str_is(part[0], "submissions") || !plain(part[1], 128) || !plain(part[2], 64) ||
        !plain(part[3], 128) || !assay_str_ends(part[3], ".zip") || part[3].n == 4)
        return false;
    *user = part[1];
    *pit = part[2];
    return true;
}

int assay_project_decode(struct assay_str json, struct assay_arena *arena, struct assay_project *out, struct assay_err *err)
{
    struct assay_json_faults f = {.n = 0};
    struct assay_json_limits limits = {(size_t)2 << 20, 32};
    struct assay_str user, pit;
    *out = (struct assay_project){.assay = ASSAY_STR("")};
    int rc = assay_json_decode(json, project_fields, out, &limits, arena, &f, err);
    if (rc == ASSAY_E_INVALID && out->file_key.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no project message");
    if (rc < 0)
        return rc == ASSAY_E_INVALID ? first_fault(&f, rc, err) : rc;
    if (out->file_key.n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no project message");
    if (!plain(out->submission_id, 128))
        return assay_err_set(err, ASSAY_E_INVALID, "submissionId must be 1 to 128 letters, digits, '.', '_' and '-'");
    if (!assay_project_key(out->file_key, &user, &pit))
        return assay_err_set(err, ASSAY_E_INVALID, "fileKey must be submissions/<userId>/<pitId>/<name>.zip");
    if (out->user_id.n != 0 && !assay_str_eq(out->user_id, user))
        return assay_err_set(err, ASSAY_E_INVALID, "fileKey is not of the user that userId names");
    if (out->pit_id.n != 0 && !assay_str_eq(out->pit_id, pit))
        return assay_err_set(err, ASSAY_E_INVALID, "fileKey is not of the PIT that pitId names");
    out->user_id = user;
    out->pit_id = pit;
    return ASSAY_OK;
}

int assay_project_encode(const struct assay_project *p, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "submissionId", p->submission_id);
    assay_jw_kstr(w, "fileKey", p->file_key);
    assay_jw_kstr(w, "userId", p->user_id);
    assay_jw_kstr(w, "pitId", p->pit_id);
    assay_jw_kstr(w, "createdAt", p->created_at);
    if (p->assay.n != 0)
        assay_jw_kraw(w, "assay", p->assay);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}
