/*
 * Names of blobs and where they lie.
 *
 * A content-addressed blob sha256/<hex> lies in sha256/<first two digits>/<hex>, so that no folder
 * holds more than a 256th of them.  Any other name is a path of its own.  Nothing else may begin
 * with sha256/, so no two names share a file; the temporary folder holds a '~', which no name may.
 */
#include "local.h"

#include <string.h>

int bf_place(struct assay_str name, struct bf_place *out, struct assay_err *err)
{
    struct bf_place p = {.hashed = false};
    struct assay_str hex;
    int rc = assay_blob_name(name, &hex, err);
    if (rc != 0)
        return rc;
    if (hex.n > 0) {
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
    } else {
        /* the checked name, its slashes made ends: every part is a string in place */
        memcpy(p.text, name.p, name.n);
        p.text[name.n] = '\0';
        for (size_t i = 0; i < name.n; i++) {
            if (i == 0 || name.p[i - 1] == '/')
                p.part[p.depth++] = (uint16_t)i;
            if (name.p[i] == '/')
                p.text[i] = '\0';
        }
    }
    *out = p;
    return 0;
}
