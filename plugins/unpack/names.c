/* Names in archives: what they become, and when they are refused. Pure functions; every name is hostile. */
#include "unpack.h"

enum unpack_fault unpack_path(struct assay_str name, int64_t depth, char out[UNPACK_PATH_MAX + 1], size_t *n, const char **why)
{
    int64_t parts = 0;
    *n = 0;
    out[0] = '\0';
#define REFUSE(fault, text) return *why = (text), (fault)
    if (name.n == 0)
        REFUSE(UNPACK_NAME, "an entry has no name");
    if (name.n > UNPACK_PATH_MAX)
        REFUSE(UNPACK_NAME, "a name is too long");
    if (!assay_utf8_valid(name))
        REFUSE(UNPACK_NAME, "a name is not UTF-8");
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c < ' ' || c == 127 || (c == 0xc2 && (unsigned char)name.p[i + 1] < 0xa0)) /* U+0080 to U+009F: two bytes, as it is UTF-8 */
            REFUSE(UNPACK_NAME, "a name has a control character");
        if (c == '\\')
            REFUSE(UNPACK_NAME, "a name has a backslash");
    }
    if (name.p[0] == '/')
        REFUSE(UNPACK_ESCAPE, "a name is absolute");
    if (name.n >= 2 && name.p[1] == ':' && ((name.p[0] | 0x20) >= 'a' && (name.p[0] | 0x20) <= 'z'))
        REFUSE(UNPACK_ESCAPE, "a name begins with a drive");
    for (size_t i = 0; i < name.n;) {
        size_t from = i;
        while (i < name.n && name.p[i] != '/')
            i++;
        struct assay_str part = {name.p + from, i - from};
        i++;
        if (part.n == 0 || assay_str_is(part, "."))
            continue;
        if (assay_str_is(part, ".."))
            REFUSE(UNPACK_ESCAPE, "a name leaves its folder by \"..\"");
        if (part.n > UNPACK_PART_MAX)
            REFUSE(UNPACK_NAME, "a part of a name is too long");
        if (++parts > depth)
            REFUSE(UNPACK_NAME, "folders are nested too deep");
        if (*n > 0)
            out[(*n)++] = '/';
        memcpy(out + *n, part.p, part.n);
        *n += part.n;
        out[*n] = '\0';
    }
#undef REFUSE
    return UNPACK_FINE;
}

/* One of the two-byte characters U+0080 to U+07FF. Enough of Unicode's simple folding that no alphabet of Europe is left out. */
static unsigned fold(unsigned c)
{
    if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
        return c + 32;
    if (c >= 0x400 && c <= 0x40f)
        return c + 80;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e)) /* upper case is odd here */
        return c + (c & 1);
    if (((c >= 0x100 && c <= 0x177) && c != 0x130 && c != 0x131 && c != 0x138) || (c >= 0x460 && c <= 0x481))
        return c | 1;
    return c;
}

void unpack_fold(char *path, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c >= 'A' && c <= 'Z') {
            path[i] = (char)(c + 32);
        } else if (c >= 0xc2 && c <= 0xdf && i + 1 < n) {
            unsigned to = fold(((c & 0x1fu) << 6) | ((unsigned char)path[i + 1] & 0x3fu));
            path[i] = (char)(0xc0 | (to >> 6));
            path[++i] = (char)(0x80 | (to & 0x3f));
        }
    }
}

bool unpack_is_litter(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strcmp(path, "__MACOSX") == 0 || strncmp(path, "__MACOSX/", 9) == 0 || strcmp(slash != NULL ? slash + 1 : path, ".DS_Store") == 0;
}

/* path, behind its first `skip` bytes, is `what` or lies below it. */
static bool holds(char *const *paths, size_t n, size_t skip, const char *what)
{
    size_t k = strlen(what);
    while (k > 0 && what[k - 1] == '/')
        k--;
    for (size_t i = 0; i < n && k > 0; i++) {
        if (strlen(paths[i]) < skip)
            continue;
        const char *p = paths[i] + skip;
        if (strncmp(p, what, k) == 0 && (p[k] == '\0' || p[k] == '/'))
            return true;
    }
    return false;
}

size_t unpack_top(char *const *paths, size_t n, const char *const *required, size_t n_required)
{
    bool inside = false;
    size_t top;
    if (n == 0 || n_required == 0)
        return 0;
    top = strcspn(paths[0], "/");
    for (size_t i = 0; i < n; i++) /* a file that is the only one at the top is no folder: then nothing is inside */
        if (strncmp(paths[i], paths[0], top) != 0 || (paths[i][top] != '\0' && paths[i][top] != '/'))
            return 0;
    for (size_t i = 0; i < n_required; i++) {
        if (holds(paths, n, 0, required[i]))
            return 0;
        inside = inside || holds(paths, n, top + 1, required[i]);
    }
    return inside ? top : 0;
}

void unpack_show(char *out, size_t room, struct assay_str s)
{
    size_t n = 0, i = 0;
    while (i < s.n) {
        unsigned char c = (unsigned char)s.p[i];
        size_t k = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        bool good = k <= s.n - i && c >= ' ' && c != 127 && assay_utf8_valid((struct assay_str){s.p + i, k}) &&
                    !(c == 0xc2 && (unsigned char)s.p[i + 1] < 0xa0);
        if (!good)
            k = 1;
        if (n + k + 4 > room) {
            memcpy(out + n, "...", 3);
            n += 3;
            break;
        }
        if (good)
            memcpy(out + n, s.p + i, k);
        else
            out[n] = '?';
        n += k;
        i += k;
    }
    out[n] = '\0';
}
