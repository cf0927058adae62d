/*
 * Names of blobs and where they lie.
 *
 * A content-addressed blob sha256/<hex> lies in sha256/<first two digits>/<hex>, so that no folder
 * holds more than a 256th of them.  Any other name is a path of its own.  Nothing else may begin
 * with sha256/, so no two names share a file; the temporary folder holds a '~', which no name may.
 */
#include "local.h"

#include <string.h>

bool bf_name_hash(struct assay_str name, struct assay_str *hex)
{
    if (!assay_str_starts(name, "sha256/"))
        return false;
    *hex = (struct assay_str){name.p + 7, name.n - 7};
    if (hex->n != 64)
        return false;
    for (size_t i = 0; i < hex->n; i++)
        if (!((hex->p[i] >= '0' && hex->p[i] <= '9') || (hex->p[i] >= 'a' && hex->p[i] <= 'f')))
            return false;
    return true;
}

static bool name_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

int bf_place(struct assay_str name, struct bf_place *out, struct assay_err *err)
{
    struct bf_place p = {.hashed = false};
    if (name.n == 0 || name.n > BF_NAME_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "a blob's name has 1 to %d bytes", BF_NAME_MAX);
    size_t start = 0;
    for (size_t i = 0; i <= name.n; i++) {
        if (i < name.n && name.p[i] != '/') {
            if (!name_char(name.p[i]))
                return assay_err_set(err, ASSAY_E_INVALID, "a blob's name holds only letters, digits and ._-/");
            continue;
        }
        size_t n = i - start;
        const char *part = name.p + start;
        if (n == 0 || n > 255 || (part[0] == '.' && (n == 1 || (n == 2 && part[1] == '.'))))
            return assay_err_set(err, ASSAY_E_INVALID, "a blob's name has no empty, \".\" or \"..\" part");
        if (p.depth == BF_DEPTH_MAX)
            return assay_err_set(err, ASSAY_E_INVALID, "a blob's name has at most %d parts", BF_DEPTH_MAX);
        memcpy(p.text + start, part, n);
        p.text[start + n] = '\0';
        p.part[p.depth++] = (uint16_t)start;
        start = i + 1;
    }
    struct assay_str hex;
    if (bf_name_hash(name, &hex)) {
        p.hashed = true;
        memcpy(p.text, "sha256", 7);
        memcpy(p.text + 7, hex.p, 2);
        p.text[9] = '\0';
        memcpy(p.text + 10, hex.p, 64);
        p.text[74] = '\0';
        p.part[0] = 0;
        p.part[1] = 7;
        p.part[2] = 10;
        p.depth = 3;
    } else if (assay_str_starts(name, "sha256/") || assay_str_is(name, "sha256")) {
        return assay_err_set(err, ASSAY_E_INVALID, "a blob below sha256/ is named by 64 lower-case hex digits");
    }
    *out = p;
    return 0;
}
