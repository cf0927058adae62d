/*
 * HumanEval-X in compiled languages: the programs around a task's function.
 *
 * A prompt ends within the head of the function that is asked for, behind its "{".  The test's side has the prompt with that
 * function left open, a stub in its place, and the test; what records has the set's own solution too; and beside a submission
 * stands a program that knows the function's name.  The types are the compiler's business: nothing is parsed here but the head.
 */
#include "cli/sets/sets.h"

#include <ctype.h>

static bool part_of_name(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static bool fault(const struct set_parts *p, const char *what)
{
    term_error("%s: %s", p->where, what);
    return false;
}

static bool sources_set(json_t *task, const char *program, const char *prove, const char *record)
{
    return json_object_set_new(task, "sources", json_pack("{s:s, s:s, s:s}", "program", program, "prove", prove, "record", record)) == 0;
}

/* Where the head's "{" is, and the name before its list of parameters; false: there is none. */
static bool head_find(const char *prompt, size_t *brace, const char **name, size_t *n)
{
    const char *open = strrchr(prompt, '{'), *p = open;
    int deep = 0;

    while (p != NULL && p > prompt && *p != ')')
        p--;
    if (p == NULL || p == prompt)
        return false;
    do {
        deep += (*p == ')') - (*p == '(');
        p--;
    } while (p > prompt && deep > 0);
    while (p > prompt && isspace((unsigned char)*p))
        p--;
    const char *end = p + 1;
    while (p > prompt && part_of_name(p[-1]))
        p--;
    *brace = (size_t)(open - prompt);
    *name = p;
    *n = (size_t)(end - p);
    return deep == 0 && p < end && part_of_name(*p);
}

bool set_compose_cpp(const struct set_language *l, const struct set_parts *parts, json_t *task)
{
    const char *at;
    size_t brace, n;

    if (!head_find(parts->prompt, &brace, &at, &n))
        return fault(parts, "its \"prompt\" does not end in the head of a function");
    CLI_CLEANUP_STR char *name = cli_fmt("%.*s", (int)n, at);
    CLI_CLEANUP_STR char *program = cli_fmt("%s\n#include \"solution.hpp\"\n\nvoid assay_begin()\n{\n    assay::serve(&%s);\n}\n", l->program, name);
    /* main is the test's: all is made ready before it */
    CLI_CLEANUP_STR char *prove = cli_fmt("%s\n%.*s;\n\nstatic const assay::Call<decltype(%s)> assay_call{\"%s\"};\n"
                                          "static const int assay_ready = assay::prepare();\n#define %s assay_call\n#line 1 \"test\"\n%s",
                                          l->prove, (int)brace, parts->prompt, name, name, name, parts->test);
    CLI_CLEANUP_STR char *record = cli_fmt("%s\n%s%s\nstatic const assay::Call<decltype(%s)> assay_call{\"%s\", &%s};\n"
                                           "static const int assay_ready = assay::prepare();\n#define %s assay_call\n#line 1 \"test\"\n%s",
                                           l->record, parts->prompt, parts->solution, name, name, name, name, parts->test);
    return sources_set(task, program, prove, record);
}

/* ---- Go ---------------------------------------------------------------------------------------------------------- */

/* The text with each whole word `word` as `other`. */
static char *renamed(const char *text, const char *word, const char *other)
{
    size_t n = strlen(word), room = strlen(text) + 1;
    char *out = cli_strdup("");

    for (const char *p = text, *at; p != NULL; p = at != NULL ? at + n : NULL) {
        at = p;
        do
            at = strstr(at == p ? at : at + 1, word);
        while (at != NULL && ((at > text && part_of_name(at[-1])) || part_of_name(at[n])));
        char *more = cli_fmt("%s%.*s%s", out, (int)(at != NULL ? (size_t)(at - p) : room), p, at != NULL ? other : "");

        free(out);
        out = more;
    }
    return out;
}

/* Takes the imports out of a Go text: the packages' paths go to `paths`. */
static char *go_without_imports(const char *text, json_t *paths)
{
    char *out = cli_strdup("");
    bool within = false;

    for (const char *p = text, *next; *p != '\0'; p = next) {
        const char *end = strchrnul(p, '\n'), *word = p + strspn(p, " \t");
        bool starts = !within && strncmp(word, "import", 6) == 0 && (word[6] == ' ' || word[6] == '(');
        const char *open = memchr(p, '"', (size_t)(end - p));
        const char *close = open != NULL ? memchr(open + 1, '"', (size_t)(end - open - 1)) : NULL;

        next = *end != '\0' ? end + 1 : end;
        if (starts || within) {
            if (close != NULL)
                (void)json_array_append_new(paths, json_stringn(open + 1, (size_t)(close - open - 1)));
            within = memchr(p, ')', (size_t)(end - p)) == NULL && (within || memchr(p, '(', (size_t)(end - p)) != NULL);
        } else if (strncmp(word, "package ", 8) != 0) {
            char *more = cli_fmt("%s%.*s", out, (int)(next - p), p);

            free(out);
            out = more;
        }
    }
    return out;
}

/* "import" lines for those of the packages that a text names; what stands for the set's assertion library is our own. */
static char *go_imports(const json_t *paths, const char *text)
{
    char *out = cli_strdup("");
    const json_t *path;
    size_t i, k;

    json_array_foreach(paths, i, path) {
        const char *s = json_string_value(path), *slash = strrchr(s, '/');
        CLI_CLEANUP_STR char *used = cli_fmt("%s.", slash != NULL ? slash + 1 : s);
        const char *at = strstr(text, used);
        bool again = strstr(s, "testify") != NULL;

        for (k = 0; k < i; k++)
            again = again || json_equal(path, json_array_get(paths, k));
        while (at != NULL && at > text && (part_of_name(at[-1]) || at[-1] == '.'))
            at = strstr(at + 1, used);
        if (at == NULL || again)
            continue;
        char *more = cli_fmt("%simport \"%s\"\n", out, s);

        free(out);
        out = more;
    }
    return out;
}

/* Calls each function Test... of a test. */
static char *go_tests(const char *test)
{
    char *out = cli_strdup("\nfunc assayTests() {\n");

    for (const char *p = strstr(test, "func Test"); p != NULL; p = strstr(p + 1, "func Test")) {
        size_t n = strcspn(p + 5, "( ");
        char *more = cli_fmt("%s\t%.*s(new(testing.T))\n", out, (int)n, p + 5);

        free(out);
        out = more;
    }
    char *whole = cli_fmt("%s}\n", out);
    free(out);
    return whole;
}

bool set_compose_go(const struct set_language *l, const struct set_parts *parts, json_t *task)
{
    CLI_CLEANUP_JSON json_t *of_prompt = json_array(), *all = json_array();
    CLI_CLEANUP_STR char *prompt = go_without_imports(parts->prompt, of_prompt);
    CLI_CLEANUP_STR char *test = go_without_imports(parts->test, all);
    const char *head = NULL, *open = strrchr(prompt, '{');

    free(go_without_imports(parts->test_setup, all)); /* of which only the imports are of use */
    for (const char *p = strstr(prompt, "func "); p != NULL; p = strstr(p + 1, "func "))
        if (p == prompt || p[-1] == '\n')
            head = p;
    const char *list = head != NULL ? strchr(head, '(') : NULL;
    if (list == NULL || open == NULL || open < list)
        return fault(parts, "its \"prompt\" does not end in the head of a function");
    CLI_CLEANUP_STR char *name = cli_fmt("%.*s", (int)(list - head - 5), head + 5);
    if (json_array_extend(all, of_prompt) != 0 || name[0] == '\0' || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name))
        return fault(parts, "its \"prompt\" does not end in the head of a function");
    CLI_CLEANUP_STR char *tests = go_tests(test);
    CLI_CLEANUP_STR char *own = cli_fmt("assayOwn%s", name);
    CLI_CLEANUP_STR char *whole = cli_fmt("%s%s", prompt, parts->solution);
    CLI_CLEANUP_STR char *solved = renamed(whole, name, own);
    /* a function whose type is the head's, and whose body is the runtime's */
    CLI_CLEANUP_STR char *stub = cli_fmt("var %s func%.*s\n\nfunc init() {\n\tt := assayreflect.TypeOf(%s)\n"
                                         "\tassayreflect.ValueOf(&%s).Elem().Set(assayreflect.MakeFunc(t, func(args []assayreflect.Value) []assayreflect.Value "
                                         "{\n\t\treturn assayAnswer(\"%s\", t, args)\n\t}))\n}\n", name, (int)(open - list), list, name, name, name);
    CLI_CLEANUP_STR char *helped = cli_fmt("%.*s\n%s\n%s", (int)(head - prompt), prompt, test, tests);
    CLI_CLEANUP_STR char *proved = cli_fmt("%s\n%s\n%s", solved, test, tests);
    CLI_CLEANUP_STR char *prove_imports = go_imports(all, helped), *record_imports = go_imports(all, proved);
    CLI_CLEANUP_STR char *program = cli_fmt("package main\n\n%s\nvar assayFunction = %s\n", l->program, name);
    CLI_CLEANUP_STR char *prove = cli_fmt("package main\n\n%s%s\n%s\n%s", prove_imports, l->prove, stub, helped);
    CLI_CLEANUP_STR char *record = cli_fmt("package main\n\n%s%s\n%s\nvar assayOwn = %s\n\n%s", record_imports, l->record, stub, own, proved);
    /* a program's file says its package before all else */
    CLI_CLEANUP_STR char *statement = cli_fmt("%s%s", strncmp(parts->prompt, "package ", 8) == 0 ? "" : "package main\n\n", parts->prompt);
    return json_object_set_new(task, "statement", json_string(statement)) == 0 && sources_set(task, program, prove, record);
}

/* ---- Java -------------------------------------------------------------------------------------------------------- */

/* The text without its imports, which are added to *imports. */
static char *java_without_imports(const char *text, char **imports)
{
    char *out = cli_strdup("");

    for (const char *p = text, *next; *p != '\0'; p = next) {
        const char *end = strchrnul(p, '\n');
        char **to = strncmp(p, "import ", 7) == 0 ? imports : &out;

        next = *end != '\0' ? end + 1 : end;
        char *more = cli_fmt("%s%.*s%s", *to, (int)(next - p), p, *end == '\0' && to == imports ? "\n" : "");

        free(*to);
        *to = more;
    }
    return out;
}

/* What stands before a function's name: its type, without modifiers. */
static char *java_type(const char *body, const char *name)
{
    static const char *const modifiers[] = {"public ", "private ", "protected ", "static ", "final ", "synchronized "};
    static const char *const boxed[][2] = {{"int", "Integer"}, {"long", "Long"}, {"double", "Double"}, {"boolean", "Boolean"}, {"char", "Character"},
                                           {"float", "Float"}, {"short", "Short"}, {"byte", "Byte"}};
    const char *p = name;

    while (p > body && strchr(";{}/", p[-1]) == NULL)
        p--;
    for (size_t i = 0; i < sizeof(modifiers) / sizeof(modifiers[0]);) {
        p += strspn(p, " \t\r\n");
        if (strncmp(p, modifiers[i], strlen(modifiers[i])) == 0) {
            p += strlen(modifiers[i]);
            i = 0;
        } else {
            i++;
        }
    }
    while (name > p && isspace((unsigned char)name[-1]))
        name--;
    char *type = cli_fmt("%.*s", (int)(name > p ? name - p : 0), p);
    for (size_t i = 0; i < sizeof(boxed) / sizeof(boxed[0]); i++) {
        if (strcmp(type, boxed[i][0]) == 0) {
            free(type);
            type = cli_strdup(boxed[i][1]);
        }
    }
    return type;
}

/* "a, b" of "(List<Map<K, V>> a, int b)"; p stands on the "(". */
static char *java_parameters(const char *p)
{
    char *out = cli_strdup("");
    int deep = 0;

    for (const char *q = p + 1; *q != '\0'; q++) {
        if (deep == 0 && (*q == ',' || *q == ')')) {
            const char *end = q;

            while (end > p && !part_of_name(end[-1]) && end[-1] != '(')
                end--;
            const char *begin = end;
            while (begin > p && part_of_name(begin[-1]))
                begin--;
            if (begin < end) {
                char *more = cli_fmt("%s%s%.*s", out, out[0] != '\0' ? ", " : "", (int)(end - begin), begin);

                free(out);
                out = more;
            }
            if (*q == ')')
                break;
        }
        deep += (*q == '<' || *q == '(') - (*q == '>' || *q == ')');
    }
    return out;
}

bool set_compose_java(const struct set_language *l, const struct set_parts *parts, json_t *task)
{
    CLI_CLEANUP_STR char *imports = cli_strdup("");
    CLI_CLEANUP_STR char *body = java_without_imports(parts->prompt, &imports);
    CLI_CLEANUP_STR char *tests = java_without_imports(parts->test, &imports);
    const char *at;
    size_t brace, n;

    if (!head_find(body, &brace, &at, &n) || strstr(body, "class Solution") == NULL)
        return fault(parts, "its \"prompt\" does not end in the head of a function of class Solution");
    CLI_CLEANUP_STR char *name = cli_fmt("%.*s", (int)n, at);
    CLI_CLEANUP_STR char *type = java_type(body, at);
    CLI_CLEANUP_STR char *names = java_parameters(strchr(at, '('));
    CLI_CLEANUP_STR char *called = renamed(tests, "Main", "AssayTest");
    CLI_CLEANUP_STR char *whole = cli_fmt("%s%s", body, parts->solution);
    CLI_CLEANUP_STR char *own = renamed(whole, "Solution", "AssayOwn");
    bool nothing = strcmp(type, "void") == 0;
    char *public = strstr(called, "public class AssayTest");

    if (public != NULL) /* a file has one public class, and that is the runtime's */
        memset(public, ' ', strlen("public"));
    CLI_CLEANUP_STR char *stub = cli_fmt("%.*s{\n        %s%s%sMain.assayCall(\"%s\", new Object[] {%s});\n    }\n}\n", (int)brace, body, nothing ? "" : "return (",
                                         nothing ? "" : type, nothing ? "" : ") ", name, names);
    CLI_CLEANUP_STR char *prove = cli_fmt("%s\n%s\n%s\n%s", imports, l->prove, stub, called);
    CLI_CLEANUP_STR char *record = cli_fmt("%s\n%s\n%s\n%s\n%s", imports, l->record, stub, own, called);
    return sources_set(task, l->program, prove, record);
}
