/*
 * Problem packages.  Input that begins with "PK" is the ZIP itself; anything else is a problem.yaml, behind a NUL a
 * testdata.yaml, of a small package that is otherwise sound.
 *
 * What must hold: a package is either translated or has a fault; names that were let through stay inside; what it was translated
 * to is JSON.
 */
#include "fuzz.h"

#include <string.h>

#include "services/benchmarks/package.h"

static void translate(struct package *p)
{
    struct assay_err err;
    struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_jw *w = assay_jw_new(), *jury = assay_jw_new();
    int rc = package_translate(p, ASSAY_STR("x"), true, w, &err);
    FUZZ_CHECK((rc == 0) == (p->faults->n == 0));
    if (rc == 0) {
        static const struct assay_json_field any[] = {{.name = "*", .type = ASSAY_JSON_RAW, .has_offset = -1}, {.name = NULL}};
        int nothing = 0;
        package_submissions(p, jury);
        FUZZ_CHECK(assay_jw_finish(w, &out, &err) == 0);
        FUZZ_CHECK(assay_json_decode(assay_buf_view(&out), any, &nothing, NULL, p->arena, NULL, NULL) == 0);
        assay_buf_reset(&out);
        FUZZ_CHECK(assay_jw_finish(jury, &out, &err) == 0);
    }
    assay_jw_free(w);
    assay_jw_free(jury);
    assay_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_err err;
    struct assay_json_faults faults = {.n = 0};
    struct assay_arena *a = assay_arena_new(0);
    struct package p = {.arena = a, .faults = &faults};
    if (size >= 2 && data[0] == 'P' && data[1] == 'K') {
        if (package_unzip((struct assay_str){(const char *)data, size}, &p, &err) == 0) {
            for (size_t i = 0; i < p.n; i++) {
                FUZZ_CHECK(p.file[i].path.n != 0 && p.file[i].path.p[0] != '/');
                FUZZ_CHECK(memmem(p.file[i].path.p, p.file[i].path.n, "../", 3) == NULL);
            }
            translate(&p);
        }
    } else {
        const uint8_t *cut = size != 0 ? memchr(data, 0, size) : NULL;
        size_t first = cut != NULL ? (size_t)(cut - data) : size;
        struct assay_str problem = assay_arena_str(a, (struct assay_str){(const char *)data, first});
        struct assay_str group = cut != NULL ? assay_arena_str(a, (struct assay_str){(const char *)cut + 1, size - first - 1}) : ASSAY_STR("");
        struct package_file file[] = {{ASSAY_STR("data/secret/1/1.ans"), ASSAY_STR("1\n")},
                                      {ASSAY_STR("data/secret/1/1.in"), ASSAY_STR("1\n")},
                                      {ASSAY_STR("data/secret/1/testdata.yaml"), group},
                                      {ASSAY_STR("output_validators/v.py"), ASSAY_STR("exit(42)\n")},
                                      {ASSAY_STR("problem.yaml"), problem},
                                      {ASSAY_STR("submissions/accepted/a.py"), ASSAY_STR("# @EXPECTED_RESULTS@: CORRECT\n")}};
        p.file = file;
        p.n = sizeof file / sizeof file[0];
        if (problem.p != NULL && group.p != NULL)
            translate(&p);
    }
    assay_arena_free(a);
    return 0;
}
