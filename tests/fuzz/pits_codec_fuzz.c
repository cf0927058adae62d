/*
 * What comes to the pits service and to whoever takes project messages: the first byte picks a body of PITs, a PIT file, a message
 * or an upload of tests, the rest is the text.
 *
 * What must hold: refused texts say why; a PIT that passes is written and read again as the same; a key that passes has its user
 * and PIT in it; what is cut out of an upload lies inside it.
 */
#include "fuzz.h"
#include "services/pits/local.h"

static void a_pit(struct assay_str text, struct assay_arena *a)
{
    struct assay_err err = {0, ""};
    struct assay_pit p, again;
    struct assay_str once, twice;
    int rc = assay_pit_decode(text, a, &p, &err);
    FUZZ_CHECK(rc == ASSAY_OK || (rc == ASSAY_E_INVALID && err.msg[0] != '\0'));
    if (rc != ASSAY_OK || pits_definition(&p, a, &once, &err) < 0 || once.n > ASSAY_PIT_FILE_MAX)
        return;
    FUZZ_CHECK(assay_pit_decode(once, a, &again, &err) == ASSAY_OK);
    FUZZ_CHECK(pits_definition(&again, a, &twice, &err) == ASSAY_OK && assay_str_eq(once, twice));
    for (size_t i = 0; i < p.required_files.n; i++)
        FUZZ_CHECK(p.required_files.items[i].p[0] != '/');
}

static void a_body(struct assay_str text, bool create, struct assay_arena *a)
{
    struct assay_json_faults f = {.n = 0};
    struct assay_err err = {0, ""};
    struct pits_body in = {.active = true};
    struct pit p = {.id = ASSAY_STR("p"), .owner_id = ASSAY_STR("o")};
    int rc = assay_json_decode(text, pits_body_fields, &in, NULL, a, &f, &err);
    FUZZ_CHECK((rc == ASSAY_OK) == (f.n == 0));
    if (rc != ASSAY_OK)
        return;
    pits_check(&in, create, &f, a);
    if (f.n != 0)
        return;
    pits_apply(&p, &in);
    struct assay_buf out = ASSAY_BUF_INIT;
    struct assay_jw *w = assay_jw_new();
    pits_write(w, &p, true);
    FUZZ_CHECK(assay_jw_finish(w, &out, NULL) == 0 && assay_utf8_valid(assay_buf_view(&out)));
    assay_jw_free(w);
    assay_buf_free(&out);
}

static void a_message(struct assay_str text, struct assay_arena *a)
{
    struct assay_err err = {0, ""};
    struct assay_project p, again;
    struct assay_str user, pit;
    struct assay_buf out = ASSAY_BUF_INIT;
    if (assay_project_decode(text, a, &p, &err) != ASSAY_OK) {
        FUZZ_CHECK(err.msg[0] != '\0');
        return;
    }
    FUZZ_CHECK(assay_project_key(p.file_key, &user, &pit) && assay_str_eq(user, p.user_id) && assay_str_eq(pit, p.pit_id));
    FUZZ_CHECK(memmem(p.file_key.p, p.file_key.n, "..", 2) == NULL || memmem(p.file_key.p, p.file_key.n, "/..", 3) == NULL);
    FUZZ_CHECK(assay_project_encode(&p, &out, &err) == ASSAY_OK);
    FUZZ_CHECK(assay_project_decode(assay_buf_view(&out), a, &again, &err) == ASSAY_OK && assay_str_eq(again.file_key, p.file_key));
    assay_buf_free(&out);
}

/* The first line is the content type. */
static void an_upload(struct assay_str text)
{
    const char *nl = text.n != 0 ? memchr(text.p, '\n', text.n) : NULL;
    struct assay_err err = {0, ""};
    struct pits_upload up;
    if (nl == NULL)
        return;
    struct assay_str type = {text.p, (size_t)(nl - text.p)}, body = {nl + 1, text.n - type.n - 1};
    if (pits_multipart(type, body, "file", &up, &err) != ASSAY_OK) {
        FUZZ_CHECK(err.msg[0] != '\0');
        return;
    }
    FUZZ_CHECK(up.bytes.p >= body.p && up.bytes.p + up.bytes.n <= body.p + body.n);
    FUZZ_CHECK(up.filename.n == 0 || (up.filename.p >= body.p && up.filename.p + up.filename.n <= body.p + body.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_arena *a = assay_arena_new((size_t)64 << 20);
    if (a == NULL || size == 0) {
        assay_arena_free(a);
        return 0;
    }
    struct assay_str text = {(const char *)data + 1, size - 1};
    switch (data[0] % 5) {
    case 0:
        a_pit(text, a);
        break;
    case 1:
    case 2:
        a_body(text, data[0] % 5 == 1, a);
        break;
    case 3:
        a_message(text, a);
        break;
    default:
        an_upload(text);
        break;
    }
    assay_arena_free(a);
    return 0;
}
