/* The rules of a leaderboard. No I/O. */
#include "local.h"

#include <assay/value.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int lb_order(const struct lb_entry *a, const struct lb_entry *b)
{
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    if (a->created_ms != b->created_ms)
        return a->created_ms < b->created_ms ? -1 : 1;
    return assay_str_cmp(a->submission_id, b->submission_id);
}

struct lb_viewer lb_viewer_of(const struct assay_principal *who, int64_t now_ms)
{
    return (struct lb_viewer){
        .user_id = who->user_id.p ? who->user_id : ASSAY_STR(""),
        .agent_id = who->agent_id.p ? who->agent_id : ASSAY_STR(""),
        .staff = assay_is_staff(who),
        .now_ms = now_ms,
    };
}

static bool owns(const struct lb_viewer *v, const struct lb_benchmark *b)
{
    return v->agent_id.n == 0 && v->user_id.n > 0 && assay_str_eq(v->user_id, b->owner_id);
}

bool lb_visible(const struct lb_viewer *v, const struct lb_benchmark *b, bool enters)
{
    return !b->deleted && (b->visibility == ASSAY_VISIBLE_PUBLIC || v->staff || owns(v, b) || enters);
}

bool lb_scores_visible(const struct lb_viewer *v, const struct lb_benchmark *b)
{
    return v->staff || owns(v, b) || b->feedback >= ASSAY_FEEDBACK_VERDICT;
}

bool lb_is_jury(const struct lb_viewer *v, const struct lb_benchmark *b)
{
    return v->staff || owns(v, b);
}

bool lb_frozen(const struct lb_benchmark *b, int64_t now_ms)
{
    return b->freezes_ms > 0 && b->freezes_ms <= now_ms && (b->rules.thaws_ms == 0 || b->rules.thaws_ms > now_ms);
}

struct assay_str lb_place_text(const struct lb_place *p, struct assay_arena *arena)
{
    /* hexadecimal: the very score again, whatever the locale */
    return assay_arena_fmt(arena, "%lld %a %lld %.*s", (long long)p->rank, p->score, (long long)p->created_ms,
                           ASSAY_FMT(p->submission_id));
}

static bool word(struct assay_str *rest, struct assay_str *out)
{
    const char *space = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;
    size_t n = space ? (size_t)(space - rest->p) : rest->n;
    *out = (struct assay_str){rest->p, n};
    rest->p += n + (space ? 1 : 0);
    rest->n -= n + (space ? 1 : 0);
    return n > 0;
}

int lb_place_parse(struct assay_str text, struct lb_place *out, struct assay_err *err)
{
    struct lb_place p = {.rank = 0};
    struct assay_str rank, score, created;
    char number[64], *end = number;
    bool ok = word(&text, &rank) && word(&text, &score) && word(&text, &created) && word(&text, &p.submission_id) &&
              text.n == 0 && score.n < sizeof number && assay_id_valid(p.submission_id) &&
              assay_parse_i64(rank, 1, INT64_MAX / 2, &p.rank, NULL) == 0 &&
              assay_parse_i64(created, 0, INT64_MAX, &p.created_ms, NULL) == 0;
    if (ok) {
        memcpy(number, score.p, score.n);
        number[score.n] = '\0';
        p.score = strtod(number, &end);
    }
    if (!ok || *end != '\0' || !isfinite(p.score))
        return assay_err_set(err, ASSAY_E_INVALID, "not a place on a leaderboard");
    *out = p;
    return 0;
}
