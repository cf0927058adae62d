/*
 * The screen.  A program's output is an attack surface of the person who reads it: escape sequences
 * retitle terminals, rewrite what was printed before, or answer on the keyboard's behalf.  So text of
 * unknown origin is written through term_text only.
 */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

bool term_is_tty(FILE *f)
{
    return isatty(fileno(f)) == 1;
}

bool term_colour(FILE *f)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return (no == NULL || no[0] == '\0') && term != NULL && strcmp(term, "dumb") != 0 && term_is_tty(f);
}

int term_columns(void)
{
    struct winsize w;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

/* The length of the UTF-8 sequence at p and its code point; 0 when it is none (RFC 3629). */
static size_t utf8_at(const unsigned char *p, size_t n, uint32_t *cp)
{
    size_t len = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : (p[0] & 0xf8) == 0xf0 ? 4 : 0;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

    if (len == 0 || len > n)
        return 0;
    *cp = len == 1 ? p[0] : p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *cp = *cp << 6 | (p[i] & 0x3fu);
    }
    return *cp >= least[len] && *cp <= 0x10ffff && !(*cp >= 0xd800 && *cp <= 0xdfff) ? len : 0;
}

/* Not to be shown: C0, DEL, C1, line and paragraph separators, and what turns the direction of text. */
static bool harmful(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 || (cp >= 0x200e && cp <= 0x200f) ||
           (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0x061c || cp == 0xfeff;
}

void term_text(FILE *f, const char *text, size_t n, bool lines, const char *indent)
{
    const unsigned char *p = (const unsigned char *)text;
    bool begin = true;

    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t len = utf8_at(p + i, n - i, &cp);

        if (begin && indent != NULL)
            fputs(indent, f);
        begin = false;
        if (len == 1 && lines && (cp == '\n' || cp == '\t')) {
            fputc((int)cp, f);
            begin = cp == '\n';
        } else if (len == 0 || harmful(cp)) {
            size_t bytes = len == 0 ? 1 : len;

            for (size_t k = 0; k < bytes; k++)
                fprintf(f, "\\x%02X", p[i + k]);
            len = bytes;
        } else {
            fwrite(p + i, 1, len, f);
        }
        i += len;
    }
    if (lines && !begin)
        fputc('\n', f);
}

CLI_PRINTF(2, 0) static void say(const char *prefix, const char *fmt, va_list ap)
{
    char *text = NULL;
    int n = vasprintf(&text, fmt, ap);

    fflush(stdout);
    fputs(prefix, stderr);
    if (n >= 0) {
        term_text(stderr, text, (size_t)n, false, NULL);
        free(text);
    }
    fputc('\n', stderr);
}

void term_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("assay: ", fmt, ap);
    va_end(ap);
}

void term_note(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("       ", fmt, ap);
    va_end(ap);
}

void term_json(const json_t *j)
{
    bool tty = term_is_tty(stdout);

    /* on a terminal everything beyond ASCII is escaped, so nothing in it can act */
    if (json_dumpf(j, stdout, (tty ? JSON_INDENT(2) | JSON_ENSURE_ASCII : JSON_COMPACT) | JSON_ENCODE_ANY) != 0)
        term_error("the answer could not be written");
    fputc('\n', stdout);
}

void term_verdict(FILE *f, const char *verdict, int width)
{
    bool colour = term_colour(f);
    const char *on = strcmp(verdict, "OK") == 0 ? "\033[32m" : verdict[0] == '\0' || verdict[0] == '-' ? "\033[2m" : "\033[31m";
    int n = (int)strlen(verdict);

    if (colour)
        fputs(on, f);
    term_text(f, verdict, (size_t)n, false, NULL);
    if (colour)
        fputs("\033[0m", f);
    for (; n < width; n++)
        fputc(' ', f);
}

char *term_secret(const char *prompt)
{
    struct termios before, quiet;
    bool tty = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &before) == 0;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;

    if (tty) {
        fprintf(stderr, "%s: ", prompt);
        fflush(stderr);
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) != 0)
            tty = false;
    }
    n = getline(&line, &room, stdin);
    if (tty) {
        if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &before) != 0)
            term_error("the terminal's echo could not be switched on again; type: stty echo");
        fputc('\n', stderr);
    }
    if (n < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

void term_cell(struct term_table *t, const char *text)
{
    if (t->n == t->room) {
        size_t room = t->room == 0 ? 64 : t->room * 2;
        char **cell = realloc(t->cell, room * sizeof(*cell));

        if (cell == NULL) {
            term_error("no memory");
            exit(CLI_LOCAL);
        }
        t->cell = cell;
        t->room = room;
    }
    t->cell[t->n++] = cli_strdup(text);
}

void term_cell_fmt(struct term_table *t, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    term_cell(t, text);
}

/* Columns that a text takes, as term_text writes it; wide characters count as one, which only bends a line. */
static size_t width_of(const char *s)
{
    size_t n = strlen(s), w = 0;

    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t len = utf8_at((const unsigned char *)s + i, n - i, &cp);

        w += len == 0 ? 4 : harmful(cp) ? 4 * len : 1;
        i += len == 0 ? 1 : len;
    }
    return w;
}

void term_table_print(struct term_table *t, FILE *f)
{
    size_t *width = calloc(t->columns, sizeof(*width));
    bool colour = term_colour(f);

    for (size_t i = 0; width != NULL && i < t->n; i++) {
        const char *s = t->cell[i];
        size_t w = width_of(i < t->columns && s[0] == '>' ? s + 1 : s);

        if (w > width[i % t->columns])
            width[i % t->columns] = w;
    }
    for (size_t i = 0; width != NULL && i < t->n; i++) {
        size_t col = i % t->columns;
        bool head = i < t->columns;
        const char *s = t->cell[i] + (head && t->cell[i][0] == '>');
        bool right = t->cell[col][0] == '>';
        size_t pad = width[col] - width_of(s);

        if (head && col == 0 && colour)
            fputs("\033[1m", f);
        if (right)
            fprintf(f, "%*s", (int)pad, "");
        term_text(f, s, strlen(s), false, NULL);
        if (col + 1 == t->columns)
            fputs(head && colour ? "\033[0m\n" : "\n", f);
        else
            fprintf(f, "%*s", (int)(right ? 2 : pad + 2), "");
    }
    for (size_t i = 0; i < t->n; i++)
        free(t->cell[i]);
    free(t->cell);
    free(width);
    *t = (struct term_table){.columns = t->columns};
}

const char *js_str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s != NULL ? s : "";
}

double js_num(const json_t *o, const char *key, double absent)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : absent;
}

const char *js_id(const json_t *o)
{
    return js_str(o, "id");
}

void js_cell(struct term_table *t, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    if (json_is_string(v) && json_string_length(v) > 0)
        term_cell(t, json_string_value(v));
    else if (json_is_integer(v))
        term_cell_fmt(t, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        term_cell_fmt(t, "%.10g", json_real_value(v));
    else if (json_is_boolean(v))
        term_cell(t, json_is_true(v) ? "yes" : "no");
    else if (json_array_size(v) > 0 && json_is_string(json_array_get(v, 0))) {
        CLI_CLEANUP_STR char *list = cli_strdup("");
        const json_t *item;
        size_t i;

        json_array_foreach(v, i, item) {
            CLI_CLEANUP_STR char *before = list;

            list = cli_fmt("%s%s%s", before, i > 0 ? " " : "", json_is_string(item) ? json_string_value(item) : "-");
        }
        term_cell(t, list);
    } else
        term_cell(t, "-");
}

void js_table(const json_t *rows, size_t columns, const char *const *heads, const char *const *keys)
{
    struct term_table t = {.columns = columns};
    const json_t *row;
    size_t i;

    for (size_t k = 0; k < columns; k++)
        term_cell(&t, heads[k]);
    json_array_foreach(rows, i, row)
        for (size_t k = 0; k < columns; k++)
            js_cell(&t, row, keys[k]);
    term_table_print(&t, stdout);
}
