/*
 * Requests for filters, against filters of every type of parameter.
 *
 * What must hold: a refusal has a fault with a pointer; what is taken becomes words that a program can read, and a canonical text that is
 * taken again and becomes the same words.
 */
#include "fuzz.h"
#include "services/runner/filter.h"

static const char definition[] =
    "{\"name\":\"p\",\"title\":\"t\",\"program\":\"x\",\"media_type\":\"a/b\",\"filters\":[{\"name\":\"plain\",\"title\":\"t\"},"
    "{\"name\":\"mix\",\"title\":\"t\",\"any_of\":[\"i\",\"o\"],\"parameters\":["
    "{\"name\":\"n\",\"title\":\"t\",\"type\":\"number\",\"minimum\":-1e9,\"maximum\":1e9,\"default\":0.1},"
    "{\"name\":\"i\",\"title\":\"t\",\"type\":\"integer\",\"minimum\":-900000000000000,\"maximum\":900000000000000},"
    "{\"name\":\"b\",\"title\":\"t\",\"type\":\"boolean\"},"
    "{\"name\":\"c\",\"title\":\"t\",\"type\":\"choice\",\"choices\":[\"red\",\"blue\"],\"default\":\"blue\"},"
    "{\"name\":\"o\",\"title\":\"t\",\"type\":\"integer\",\"minimum\":0,\"maximum\":5}]}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *arena = assay_arena_new(0);
    struct processors_list all = {NULL, 0};
    struct processor p;
    struct assay_err err;
    struct assay_json_faults faults = {.n = 0};
    struct filter_call call, again;
    memset(&p, 0, sizeof p);
    FUZZ_CHECK(arena != NULL && assay_json_decode(assay_str(definition), processor_fields, &p, NULL, arena, &faults, &err) == 0);
    FUZZ_CHECK(processor_add(&all, &p, arena, &err) == 0);
    int rc = filter_request(&all, (struct assay_str){(const char *)data, size}, arena, &faults, &call, &err);
    FUZZ_CHECK(rc == 0 || rc == ASSAY_E_INVALID);
    FUZZ_CHECK((rc == 0) == (faults.n == 0));
    for (size_t i = 0; i < faults.n; i++)
        FUZZ_CHECK((faults.item[i].pointer.n == 0 || faults.item[i].pointer.p[0] == '/') && faults.item[i].detail.n != 0);
    if (rc == 0) {
        struct assay_str text;
        struct assay_strs words, same;
        FUZZ_CHECK(filter_canonical(&call, arena, &text, &err) == 0 && filter_arguments(&call, arena, &words, &err) == 0);
        FUZZ_CHECK(filter_request(&all, text, arena, &faults, &again, &err) == 0 && again.filter == call.filter);
        FUZZ_CHECK(filter_arguments(&again, arena, &same, &err) == 0 && same.n == words.n && words.n <= FILTER_PARAMS_MAX + 1);
        for (size_t i = 0; i < words.n; i++)
            FUZZ_CHECK(assay_str_eq(words.items[i], same.items[i]) && (i == 0) == !assay_str_starts(words.items[i], "--"));
    }
    assay_arena_free(arena);
    return 0;
}
