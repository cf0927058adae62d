/*
 * What the runner reads: definitions of languages, the files of a submission as they are stored, and what a
 * sandbox driver says of a place.
 *
 * What must hold: a refused definition names a fault; what is taken is within its bounds; a map of files has at least one.
 */
#include "fuzz.h"
#include "services/runner/local.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *a = assay_arena_new((size_t)64 << 20);
    struct assay_json_faults f = {.n = 0};
    struct assay_err err = {0, ""};
    if (a == NULL || size == 0) {
        assay_arena_free(a);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1};
    if (data[0] % 4 == 2) {
        struct place p;
        if (place_decode(text, a, &p, &err) == ASSAY_OK)
            FUZZ_CHECK(p.digest.n <= 512 && p.cgroup >= 0 && p.cgroup <= 2 && p.notes.n <= 64);
    } else if (data[0] % 2) {
        struct assay_json_map files = {.n = 0};
        if (files_decode(text, a, &files, &err) == ASSAY_OK) {
            FUZZ_CHECK(files.n >= 1 && files.n <= 64);
            for (size_t i = 0; i < files.n; i++)
                FUZZ_CHECK(assay_utf8_valid(files.items[i].key) && assay_utf8_valid(files.items[i].value));
        }
    } else {
        struct language_file l;
        memset(&l, 0, sizeof l);
        int rc = assay_json_decode(text, language_fields, &l, NULL, a, &f, &err);
        FUZZ_CHECK(rc == ASSAY_OK || rc == ASSAY_E_INVALID);
        FUZZ_CHECK((rc == ASSAY_OK) == (f.n == 0));
        if (rc == ASSAY_OK) {
            FUZZ_CHECK(l.name.n >= 1 && l.name.n <= 64 && l.run.argv.n >= 1);
            FUZZ_CHECK(!l.has_build || (l.build.argv.n >= 1 && l.build.artefacts.n >= 1));
            FUZZ_CHECK(l.heap.percent >= 0 && l.heap.percent <= 100);
        }
    }
    assay_arena_free(a);
    return 0;
}
