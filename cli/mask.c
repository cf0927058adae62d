/*
 * Masking.  Text goes through line by line: values known to be secret first, longest first, then patterns.  Bytes that are no text
 * (NUL) end a line's match and are replaced, so that nothing hides behind one.
 */
#include "mask.h"

#include <ctype.h>
#include <regex.h>

#include "cli.h"

#define HIDDEN "[hidden]"
#define SHORTEST 6 /* of a value that is looked for */

struct pattern {
    const char *text;
    int keep; /* group that stays in front of what is hidden, 0: none */
    bool names, any_case;
};
#define NAME "(pass(word|wd|phrase)?|secret|token|authorization|cookie|signature|credentials?|api[_-]?key|access[_-]?key(_id)?|private[_-]?key|dsn)"
static const struct pattern patterns[] = {
    {"((bearer|basic)[[:space:]]+)[A-Za-z0-9._~+/=-]{6,}", 1, false, true},
    {"([a-z][a-z0-9+.-]*://[^/@:[:space:]\"'<>]*:)[^/@[:space:]\"'<>]+@", 1, false, true},
    {"eyJ[A-Za-z0-9_-]{4,}\\.[A-Za-z0-9_-]{4,}\\.[A-Za-z0-9_-]*", 0, false, false},
    {"asy_[A-Za-z0-9_-]{8,}", 0, false, false},
    {"(AKIA|ASIA)[A-Z0-9]{12,}", 0, false, false},
    /* name=value, name: value, "name":"value"; a name may go on after the word: password_hash */
    {"([\"']?" NAME "[A-Za-z0-9_.-]*[\"']?[[:space:]]*[=:][[:space:]]*)(\"([^\"\\\\]|\\\\.)*\"?|'[^']*'?|[^][:space:],;&}\"']+)", 1, true, true},
};
#define PATTERNS (sizeof patterns / sizeof patterns[0])

struct mask {
    char **secret; /* longest first */
    size_t n, room;
    regex_t pattern[PATTERNS];
};

struct mask *mask_new(void)
{
    struct mask *m = calloc(1, sizeof *m);
    for (size_t i = 0; m != NULL && i < PATTERNS; i++) {
        int rc = regcomp(&m->pattern[i], patterns[i].text, REG_EXTENDED | (patterns[i].any_case ? REG_ICASE : 0));
        if (rc != 0) { /* a constant of ours */
            fputs("assay: a pattern cannot be compiled\n", stderr);
            exit(CLI_LOCAL);
        }
    }
    if (m == NULL) {
        fputs("assay: no memory\n", stderr);
        exit(CLI_LOCAL);
    }
    return m;
}

void mask_free(struct mask *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->secret[i]);
    for (size_t i = 0; i < PATTERNS; i++)
        regfree(&m->pattern[i]);
    free(m->secret);
    free(m);
}

static void add(struct mask *m, const char *p, size_t n)
{
    while (n > 0 && isspace((unsigned char)*p))
        p++, n--;
    while (n > 0 && isspace((unsigned char)p[n - 1]))
        n--;
    if (n >= 2 && (*p == '"' || *p == '\'') && p[n - 1] == *p)
        p++, n -= 2;
    if (n < SHORTEST)
        return;
    for (size_t i = 0; i < m->n; i++)
        if (strlen(m->secret[i]) == n && memcmp(m->secret[i], p, n) == 0)
            return;
    if (m->n == m->room) {
        m->room = m->room == 0 ? 16 : 2 * m->room;
        char **grown = realloc(m->secret, m->room * sizeof *grown);
        if (grown == NULL) {
            fputs("assay: no memory\n", stderr);
            exit(CLI_LOCAL);
        }
        m->secret = grown;
    }
    size_t at = m->n++;
    while (at > 0 && strlen(m->secret[at - 1]) < n) {
        m->secret[at] = m->secret[at - 1];
        at--;
    }
    m->secret[at] = cli_fmt("%.*s", (int)n, p);
}

void mask_secret(struct mask *m, const char *value)
{
    const char *scheme = strstr(value, "://"), *at = scheme != NULL ? strrchr(scheme, '@') : NULL;
    if (at != NULL) { /* of a URL the password, and where there is none the name: some put a token there */
        const char *user = scheme + 3, *colon = memchr(user, ':', (size_t)(at - user));
        const char *from = colon != NULL ? colon + 1 : user;
        add(m, from, (size_t)(at - from));
        return;
    }
    if (scheme != NULL)
        return; /* an address */
    const char *eq = strchr(value, '=');
    if (eq != NULL) /* name=value,name=value: headers; libpq's "host=a password=b" */
        for (const char *p = value; *p != '\0';) {
            size_t n = strcspn(p, ", ");
            const char *e = memchr(p, '=', n);
            if (e != NULL)
                add(m, e + 1, n - (size_t)(e + 1 - p));
            const char *scheme_end = e != NULL ? memmem(e, n - (size_t)(e - p), "%20", 3) : NULL; /* Bearer%20… */
            if (scheme_end != NULL)
                add(m, scheme_end + 3, n - (size_t)(scheme_end + 3 - p));
            p += n + (p[n] != '\0');
        }
    add(m, value, strlen(value));
}

static bool sounds_secret(const char *name, size_t n)
{
    static const char *const words[] = {"PASS", "SECRET", "TOKEN", "KEY", "DSN", "CREDENTIAL", "HEADERS", "_URL", "AUTH", "COOKIE", "SIGNATURE", "PROPERTIES"};
    static const char *const not[] = {"_FILE", "_PATH", "_DIR", "_TTL", "_SIZE", "_URLS"};
    char upper[128];
    if (n >= sizeof upper)
        n = sizeof upper - 1;
    for (size_t i = 0; i < n; i++)
        upper[i] = (char)toupper((unsigned char)name[i]);
    upper[n] = '\0';
    for (size_t i = 0; i < sizeof not / sizeof not[0]; i++)
        if (n > strlen(not[i]) && strcmp(upper + n - strlen(not[i]), not[i]) == 0)
            return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(upper, words[i]) != NULL)
            return true;
    return false;
}

void mask_environment(struct mask *m, char *const *env)
{
    for (; *env != NULL; env++) {
        const char *eq = strchr(*env, '=');
        if (eq != NULL && sounds_secret(*env, (size_t)(eq - *env)))
            mask_secret(m, eq + 1);
    }
}

bool mask_file_secrets(struct mask *m, const char *path)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (f == NULL)
        return false;
    while ((n = getline(&line, &room, f)) >= 0) {
        char *eq = strchr(line, '=');
        if (eq == NULL)
            continue;
        size_t name = (size_t)(eq - line);
        while (name > 0 && isspace((unsigned char)line[name - 1]))
            name--;
        while (n > 0 && isspace((unsigned char)line[n - 1]))
            line[--n] = '\0';
        char *value = eq + 1;
        while (isspace((unsigned char)*value))
            value++;
        if (sounds_secret(line, name))
            mask_secret(m, value);
    }
    free(line);
    (void)fclose(f);
    return true;
}

/* ---- one line --------------------------------------------------------------------------------------- */

struct out {
    char *p;
    size_t n, room;
};

static void put(struct out *o, const char *p, size_t n)
{
    if (o->n + n + 1 > o->room) {
        o->room = 2 * (o->n + n + 1) + 256;
        char *grown = realloc(o->p, o->room);
        if (grown == NULL) {
            fputs("assay: no memory\n", stderr);
            exit(CLI_LOCAL);
        }
        o->p = grown;
    }
    memcpy(o->p + o->n, p, n);
    o->n += n;
    o->p[o->n] = '\0';
}

static void known(const char *secret, const char *line, struct out *o)
{
    const char *at;
    o->n = 0;
    put(o, "", 0);
    for (; (at = strstr(line, secret)) != NULL; line = at + strlen(secret)) {
        put(o, line, (size_t)(at - line));
        put(o, HIDDEN, strlen(HIDDEN));
    }
    put(o, line, strlen(line));
}

static void looks(const regex_t *re, const struct pattern *p, const char *line, struct out *o)
{
    regmatch_t g[2];
    int flags = 0;
    o->n = 0;
    put(o, "", 0);
    while (regexec(re, line, 2, g, flags) == 0 && g[0].rm_eo > g[0].rm_so) {
        size_t keep = (size_t)(p->keep > 0 ? g[1].rm_eo : g[0].rm_so), end = (size_t)g[0].rm_eo;
        put(o, line, keep);
        put(o, HIDDEN, strlen(HIDDEN));
        if (p->keep > 0 && line[end - 1] == '@') /* of a URL */
            put(o, "@", 1);
        line += end;
        flags = REG_NOTBOL;
    }
    put(o, line, strlen(line));
}

/* A private key is many lines: all between its head and its foot. */
static bool in_key(const char *line, bool inside)
{
    if (strstr(line, "PRIVATE KEY-----") == NULL)
        return inside;
    return strstr(line, "-----BEGIN") != NULL && strstr(line, "-----END") == NULL;
}

char *mask_text(const struct mask *m, const char *text, size_t *n, bool names)
{
    struct out all = {NULL, 0, 0}, a = {NULL, 0, 0}, b = {NULL, 0, 0};
    bool key = false;
    put(&all, "", 0);
    for (size_t at = 0; at < *n;) {
        const char *end = memchr(text + at, '\n', *n - at);
        size_t len = end != NULL ? (size_t)(end - (text + at)) : *n - at;
        a.n = 0;
        put(&a, text + at, len);
        for (size_t i = 0; i < len; i++)
            if (a.p[i] == '\0')
                a.p[i] = '?';
        at += len + (end != NULL);
        bool was = key;
        key = in_key(a.p, key);
        if (was || key || strstr(a.p, "PRIVATE KEY-----") != NULL) {
            put(&all, HIDDEN, strlen(HIDDEN));
        } else {
            for (size_t i = 0; i < m->n; i++) {
                if (strstr(a.p, m->secret[i]) == NULL)
                    continue;
                known(m->secret[i], a.p, &b);
                struct out t = a;
                a = b;
                b = t;
            }
            for (size_t i = 0; i < PATTERNS; i++) {
                if (patterns[i].names && !names)
                    continue;
                looks(&m->pattern[i], &patterns[i], a.p, &b);
                struct out t = a;
                a = b;
                b = t;
            }
            put(&all, a.p, a.n);
        }
        if (end != NULL)
            put(&all, "\n", 1);
    }
    free(a.p);
    free(b.p);
    *n = all.n;
    return all.p;
}
