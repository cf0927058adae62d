/*
 * What scores and leaderboards write: the input is cut at newlines into the texts of a row.
 *
 * What must hold: whatever texts a row holds, what is written is one JSON object, and a viewer who may not see the outcome
 * finds no verdict in it.
 */
#include "fuzz.h"
#include "services/leaderboard/local.h"
#include "services/scoring/local.h"

static struct assay_str cut(struct assay_str *rest)
{
    const char *eol = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
    struct assay_str out = {rest->p, eol ? (size_t)(eol - rest->p) : rest->n};
    rest->p += out.n + (eol != NULL);
    rest->n -= out.n + (eol != NULL);
    return out;
}

static void is_json(struct assay_str text, struct assay_arena *a)
{
    static const struct assay_json_field any[] = {{.name = "*"}, {.name = NULL}};
    struct assay_err err = {0, ""};
    char none = 0;
    FUZZ_CHECK(assay_json_decode(text, any, &none, NULL, a, NULL, &err) == ASSAY_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct assay_str rest = {(const char *)data, size};
    /* the store gives out UTF-8 only: what comes in is checked when it is written */
    if (size == 0 || !assay_utf8_valid(rest) || assay_str_has_nul(rest))
        return 0;
    struct assay_arena *a = assay_arena_new((size_t)16 << 20);
    struct assay_err err = {0, ""};
    if (a == NULL)
        return 0;
    struct lb_viewer lv;
    struct lb_entry e;
    struct scoring_viewer sv;
    struct scoring_row r;
    memset(&lv, 0, sizeof lv);
    memset(&e, 0, sizeof e);
    memset(&sv, 0, sizeof sv);
    memset(&r, 0, sizeof r);
    e.agent_id = r.agent_id = cut(&rest);
    e.agent_name = cut(&rest);
    e.benchmark_id = r.benchmark_id = cut(&rest);
    e.submission_id = r.submission_id = cut(&rest);
    r.verdict = cut(&rest);
    e.owner_id = r.owner_id = cut(&rest);
    lv.user_id = cut(&rest);
    e.score = r.score = (double)size / 7;
    struct assay_buf out = ASSAY_BUF_INIT;
    for (int i = 0; i < 2; i++) {
        struct assay_jw *w = assay_jw_new();
        if (i == 0)
        {
            struct lb_benchmark b = {.rules = {.ranking = (int)(size % 6), .pass_k = 1 + (int64_t)(size % 3)}, .freezes_ms = 1};
            struct lb_cell c = {.problem_id = e.agent_name, .n = 3, .correct = 1, .pending = 1};
            lb_entry_write(w, &lv, &b, &e, 1);
            lb_cells_write(w, &b, &c, 1);
            lb_rules_write(w, &b, true);
            assay_jw_end(w);
        }
        else
            scoring_row_write(w, &sv, &r);
        FUZZ_CHECK(assay_jw_finish(w, &out, NULL) == 0);
        is_json(assay_buf_view(&out), a);
        assay_jw_free(w);
        assay_buf_reset(&out);
    }
    struct assay_str text;
    FUZZ_CHECK(lb_updated_encode(e.agent_id, e.submission_id, e.score, a, &text, &err) == 0);
    is_json(text, a);
    assay_buf_free(&out);
    assay_arena_free(a);
    return 0;
}
