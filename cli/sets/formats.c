/* What the formats call things, and the lines of their files. */
#include "cli/sets/sets.h"

#include <ctype.h>
#include <errno.h>

#include <zlib.h>

#define LINE_MAX_BYTES ((size_t)16 << 20)
#define CALLS_MAX ((size_t)16 << 20)

const char *const set_format_names[] = {"humaneval", "mbpp", "humaneval-x", NULL};

/* ---- lines ----------------------------------------------------------------------------------------------- */

/* The next line without its end; false at the end of the file. *p grows. */
static bool next_line(gzFile f, char **p, size_t *room, size_t *n, bool *fault)
{
    *n = 0;
    for (;;) {
        if (*room - *n < 2) {
            size_t more = *room * 2;
            char *q = more <= 2 * LINE_MAX_BYTES ? realloc(*p, more) : NULL;

            if (q == NULL) {
                *fault = true;
                return false;
            }
            *p = q;
            *room = more;
        }
        if (gzgets(f, *p + *n, (int)(*room - *n)) == NULL)
            return *n > 0;
        *n += strlen(*p + *n);
        if ((*p)[*n - 1] == '\n') {
            (*p)[--*n] = '\0';
            return true;
        }
    }
}

int set_lines(const char *file, int (*f)(void *arg, json_t *row, size_t line), void *arg)
{
    gzFile in = strcmp(file, "-") == 0 ? gzdopen(0, "rb") : gzopen(file, "rbe");
    size_t room = 65536, n, line = 0;
    char *p = malloc(room);
    bool fault = false;
    int rc = CLI_OK, status = Z_OK;

    if (in == NULL || p == NULL) {
        term_error("cannot read %s: %s", file, strerror(errno));
        free(p);
        return CLI_LOCAL;
    }
    while (rc == CLI_OK && next_line(in, &p, &room, &n, &fault)) {
        CLI_CLEANUP_JSON json_t *row = NULL;
        json_error_t e;

        line++;
        (void)gzerror(in, &status);
        if (status != Z_OK && status != Z_STREAM_END) /* the beginning of a line that was cut off */
            break;
        if (strspn(p, " \t\r") == n)
            continue;
        row = json_loadb(p, n, JSON_REJECT_DUPLICATES, &e);
        if (!json_is_object(row)) {
            term_error("%s:%zu: not a JSON object%s%s", file, line, row == NULL ? ": " : "", row == NULL ? e.text : "");
            rc = CLI_LOCAL;
            break;
        }
        rc = f(arg, row, line);
    }
    if (rc == CLI_OK && fault) {
        term_error("%s:%zu: the line is longer than %zu MiB, or memory is short", file, line + 1, LINE_MAX_BYTES >> 20);
        rc = CLI_LOCAL;
    }
    (void)gzerror(in, &status);
    if (rc == CLI_OK && status != Z_OK && status != Z_STREAM_END) {
        term_error("%s: its gzip data is damaged or cut off after line %zu", file, line);
        rc = CLI_LOCAL;
    }
    gzclose(in);
    free(p);
    return rc;
}

char *set_calls(const char *text)
{
    uLongf room = 65536;
    unsigned char *bytes = malloc(strlen(text) + 1);
    size_t got = bytes != NULL ? base64_decode(text, bytes) : 0;
    char *out = NULL;
    int rc = Z_BUF_ERROR;

    for (; got > 0 && rc == Z_BUF_ERROR && room <= CALLS_MAX; room *= 2) {
        uLongf size = room;
        char *q = realloc(out, room + 1);

        if (q == NULL)
            break;
        out = q;
        rc = uncompress((Bytef *)out, &size, bytes, (uLong)got);
        if (rc == Z_OK)
            out[size] = '\0';
    }
    free(bytes);
    if (rc != Z_OK) {
        free(out);
        return NULL;
    }
    return out;
}

/* ---- tasks ----------------------------------------------------------------------------------------------- */

struct where {
    const char *file;
    size_t line;
};

static const char *text_of(const json_t *row, const char *key, const char *other)
{
    const json_t *v = json_object_get(row, key);

    if (v == NULL && other != NULL)
        v = json_object_get(row, other);
    return json_string_value(v);
}

static const char *need(const struct where *w, const json_t *row, const char *key, const char *other)
{
    const char *s = text_of(row, key, other);

    if (s == NULL)
        term_error("%s:%zu: has no text \"%s\"", w->file, w->line, key);
    return s;
}

static char *task_id(const struct where *w, const json_t *row)
{
    const json_t *v = json_object_get(row, "task_id");

    if (json_is_string(v))
        return cli_strdup(json_string_value(v));
    if (json_is_integer(v))
        return cli_fmt("%lld", (long long)json_integer_value(v));
    term_error("%s:%zu: has no \"task_id\"", w->file, w->line);
    return NULL;
}

/* Lines of an array of texts, or the text itself. */
static char *joined(const json_t *v, const char *after)
{
    char *s = cli_strdup(json_is_string(v) ? json_string_value(v) : "");
    const json_t *line;
    size_t i;

    json_array_foreach(v, i, line) {
        char *more = cli_fmt("%s%s%s", s, json_is_string(line) ? json_string_value(line) : "", after);

        free(s);
        s = more;
    }
    return s;
}

/* What Python code defines at the left margin: functions and classes. */
static json_t *python_names(const char *code)
{
    json_t *names = json_array();

    for (const char *p = code; p != NULL; p = strchr(p, '\n') != NULL ? strchr(p, '\n') + 1 : NULL) {
        const char *name = strncmp(p, "def ", 4) == 0     ? p + 4
                           : strncmp(p, "class ", 6) == 0 ? p + 6
                                                          : NULL;
        size_t n = 0;

        while (name != NULL && (isalnum((unsigned char)name[n]) || name[n] == '_'))
            n++;
        if (n > 0 && json_array_append_new(names, json_stringn(name, n)) != 0)
            return names;
    }
    return names;
}

static json_t *humaneval(const struct where *w, const json_t *row)
{
    const char *prompt = need(w, row, "prompt", NULL), *entry = prompt != NULL ? need(w, row, "entry_point", NULL) : NULL;
    const char *solution = entry != NULL ? need(w, row, "canonical_solution", NULL) : NULL;
    const char *test = solution != NULL ? need(w, row, "test", NULL) : NULL;
    CLI_CLEANUP_STR char *code = NULL, *program = NULL;

    if (test == NULL)
        return NULL;
    code = cli_fmt("%s\n\ncheck(%s)\n", test, entry);
    program = cli_fmt("%s%s", prompt, solution);
    return json_pack("{s:s, s:s, s:s, s:s, s:[s], s:s, s:b}", "language", "python", "statement", prompt, "setup", prompt, "test", code,
                     "names", entry, "program", program, "whole", 0);
}

static json_t *mbpp(const struct where *w, const json_t *row)
{
    const char *text = need(w, row, "text", "prompt"), *code = text != NULL ? need(w, row, "code", NULL) : NULL;
    const json_t *imports = json_object_get(row, "test_imports"), *list = json_object_get(row, "test_list");
    const char *setup = text_of(row, "test_setup_code", NULL);
    CLI_CLEANUP_STR char *tests = NULL, *before = NULL, *all = NULL, *statement = NULL;

    if (code == NULL)
        return NULL;
    if (json_array_size(list) == 0) {
        term_error("%s:%zu: has no \"test_list\"", w->file, w->line);
        return NULL;
    }
    tests = joined(list, "\n");
    before = joined(imports, "\n");
    all = cli_fmt("%s%s\n", before, setup != NULL ? setup : "");
    /* the first test says what the function is called, and no more than a reader of the set is told */
    statement = cli_fmt("%s\n\nFor example:\n%s\n", text, json_string_value(json_array_get(list, 0)));
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:b}", "language", "python", "statement", statement, "setup", all, "test", tests,
                     "names", python_names(code), "program", code, "whole", 1);
}

/* HumanEval-X names languages in its ids: "Python/0". */
static const char *language_of(const char *id, const char *given)
{
    static const char *const names[][2] = {{"Python/", "python"}, {"CPP/", "cpp"}, {"Java/", "java"}, {"JavaScript/", "javascript"}, {"Go/", "go"}};

    for (size_t i = 0; given == NULL && i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(id, names[i][0], strlen(names[i][0])) == 0)
            given = names[i][1];
    return given;
}

/* The last function that a declaration begins, and where its name stands; NULL: none. Others before it are helpers. */
static const char *last_function(const char *declaration, const char *const *words, size_t *n)
{
    const char *found = NULL;

    for (const char *p = declaration; p != NULL; p = strchr(p, '\n') != NULL ? strchr(p, '\n') + 1 : NULL)
        for (size_t i = 0; words[i] != NULL; i++) {
            size_t k = strlen(words[i]), m = 0;

            while (strncmp(p, words[i], k) == 0 && (isalnum((unsigned char)p[k + m]) || (p[k + m] != '\0' && strchr("_$", p[k + m]) != NULL)))
                m++;
            if (m > 0) {
                found = p + k;
                *n = m;
            }
        }
    return found;
}

/* A prompt without the body of its function, made whole: in JavaScript its constant is one that a test's side may replace. */
static char *javascript_setup(const char *prompt, const char *const *words)
{
    size_t n;
    const char *name = last_function(prompt, words, &n), *line = name;

    while (line != NULL && line > prompt && line[-1] != '\n')
        line--;
    if (name == NULL || strncmp(line, "function ", 9) == 0)
        return cli_fmt("%s\n}\n", prompt);
    return cli_fmt("%.*svar %s\n}\n", (int)(line - prompt), prompt, name);
}

static json_t *humaneval_x(const struct where *w, const json_t *row, const char *id, const char *given)
{
    const char *prompt = need(w, row, "prompt", NULL), *declaration = prompt != NULL ? need(w, row, "declaration", NULL) : NULL;
    const char *solution = declaration != NULL ? need(w, row, "canonical_solution", NULL) : NULL;
    const char *test = solution != NULL ? need(w, row, "test", NULL) : NULL, *language = language_of(id, given);
    static const char *const python[] = {"def ", NULL}, *const javascript[] = {"const ", "let ", "var ", "function ", NULL};
    const char *const *words = language != NULL && strcmp(language, "javascript") == 0 ? javascript : python;
    CLI_CLEANUP_STR char *program = NULL, *setup = NULL, *entry = NULL;
    const char *name;
    size_t n = 0;

    if (test == NULL)
        return NULL;
    if (language == NULL || set_language_find(language) == NULL) {
        term_error("%s:%zu: %s%s", w->file, w->line, language == NULL ? "its language cannot be told from its id: -l LANGUAGE" : "sets are not taken in ",
                   language == NULL ? "" : language);
        return NULL;
    }
    const struct set_language *l = set_language_find(language);
    if (l->compose != NULL) {
        CLI_CLEANUP_STR char *where = cli_fmt("%s:%zu", w->file, w->line);
        const struct set_parts parts = {prompt, solution, test, text_of(row, "test_setup", NULL) != NULL ? text_of(row, "test_setup", NULL) : "", where};
        json_t *task = json_pack("{s:s, s:s, s:s, s:s, s:[], s:b}", "language", language, "statement", prompt, "setup", "", "test", test, "names", "whole", 0);

        if (task != NULL && !l->compose(l, &parts, task)) {
            json_decref(task);
            task = NULL;
        }
        return task;
    }
    name = last_function(declaration, words, &n);
    if (name == NULL) {
        term_error("%s:%zu: its \"declaration\" declares no function", w->file, w->line);
        return NULL;
    }
    entry = cli_fmt("%.*s", (int)n, name);
    program = cli_fmt("%s%s", prompt, solution);
    setup = words == javascript ? javascript_setup(prompt, words) : cli_strdup(prompt);
    return json_pack("{s:s, s:s, s:s, s:s, s:[s], s:s, s:b}", "language", language, "statement", prompt, "setup", setup, "test", test, "names",
                     entry, "program", program, "whole", 0);
}

json_t *set_task(enum set_format format, const char *language, const json_t *row, const char *file, size_t line)
{
    struct where w = {file, line};
    CLI_CLEANUP_STR char *id = task_id(&w, row);
    json_t *task;

    if (id == NULL)
        return NULL;
    task = format == SET_MBPP ? mbpp(&w, row) : format == SET_HUMANEVAL ? humaneval(&w, row) : humaneval_x(&w, row, id, language);
    if (task != NULL && json_object_set_new(task, "id", json_string(id)) != 0) {
        json_decref(task);
        return NULL;
    }
    return task;
}

/* ---- figures --------------------------------------------------------------------------------------------- */

double set_pass_at(size_t n, size_t c, size_t k)
{
    double none = 1;

    if (n - c < k)
        return 1;
    for (size_t i = n - c + 1; i <= n; i++) /* a product, so that no binomial overflows */
        none *= 1 - (double)k / (double)i;
    return 1 - none;
}
