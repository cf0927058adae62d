/*
 * The routes of sets that are judged again: make one, look what would change, apply or cancel it.  Worker threads: these block.
 */
#include "rejudge.h"

#include <assay/audit.h>

#define F(name_, type_, flags_, member, lo, hi)                                                                        \
    {                                                                                                                  \
        .name = #name_, .type = (type_), .flags = (flags_), .offset = offsetof(struct rejudge_body, member), .min = (lo), \
        .max = (hi), .has_offset = -1                                                                                  \
    }
const struct assay_json_field rejudge_fields[] = {
    F(benchmark_id, ASSAY_JSON_STRING, ASSAY_JSON_REQUIRED | ASSAY_JSON_ID, benchmark_id, 1, 64),
    F(problem_id, ASSAY_JSON_STRING, ASSAY_JSON_ID | ASSAY_JSON_NULLABLE, problem_id, 1, 64),
    F(agent_id, ASSAY_JSON_STRING, ASSAY_JSON_ID | ASSAY_JSON_NULLABLE, agent_id, 1, 64),
    F(submission_id, ASSAY_JSON_STRING, ASSAY_JSON_ID | ASSAY_JSON_NULLABLE, submission_id, 1, 64),
    F(verdict, ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, verdict, 2, 2),
    F(language, ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, language, 1, 64),
    F(since, ASSAY_JSON_TIME, ASSAY_JSON_NULLABLE, since_ms, 0, 0),
    F(until, ASSAY_JSON_TIME, ASSAY_JSON_NULLABLE, until_ms, 0, 0),
    F(reason, ASSAY_JSON_STRING, ASSAY_JSON_NULLABLE, reason, 0, 1000),
    {.name = NULL, .has_offset = -1},
};

static void set_write(struct assay_jw *w, const struct rejudging *r, const struct rejudge_progress *p)
{
    assay_jw_object(w);
    assay_jw_kstr(w, "id", r->id);
    assay_jw_kstr(w, "benchmark_id", r->benchmark_id);
    assay_jw_kstr(w, "state", r->state);
    assay_jw_kraw(w, "filter", r->filter);
    assay_jw_kstr(w, "reason", r->reason);
    if (p != NULL) {
        assay_jw_kint(w, "submissions", r->total);
        assay_jw_kint(w, "judged", p->judged);
        assay_jw_kint(w, "changed", p->changed);
        assay_jw_kint(w, "failed", p->failed);
    }
    assay_jw_kstr(w, "created_by", r->created_by);
    assay_jw_ktime(w, "created_at", r->created_ms);
    if (r->ended_by.n != 0)
        assay_jw_kstr(w, "ended_by", r->ended_by);
    else
        assay_jw_kz(w, "ended_by", NULL);
    assay_jw_ktime(w, "ended_at", r->ended_ms);
    assay_jw_end(w);
}

static int reply_set(struct submissions *s, struct assay_request *rq, struct assay_response *rs, int status, struct assay_err *err)
{
    struct rejudging r;
    struct rejudge_progress p;
    int rc = repo_rejudging_get(s, rq->param[0], rq->arena, &r, err);
    if (rc >= 0)
        rc = repo_rejudging_progress(s, r.id, rq->arena, &p, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    set_write(w, &r, &p);
    return assay_reply_json(rs, status, w, err);
}

static int filter_encode(const struct rejudge_body *b, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf buf = ASSAY_BUF_INIT;
    const struct {
        const char *name;
        struct assay_str value;
    } text[] = {{"problem_id", b->problem_id}, {"agent_id", b->agent_id}, {"submission_id", b->submission_id}, {"verdict", b->verdict},
                {"language", b->language}};
    assay_jw_object(w);
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
        if (text[i].value.n != 0)
            assay_jw_kstr(w, text[i].name, text[i].value);
    if (b->since_ms != 0)
        assay_jw_ktime(w, "since", b->since_ms);
    if (b->until_ms != 0)
        assay_jw_ktime(w, "until", b->until_ms);
    assay_jw_end(w);
    int rc = assay_jw_finish(w, &buf, err);
    if (rc >= 0)
        *out = assay_arena_take(arena, &buf);
    return rc >= 0 && out->p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : rc;
}

/* Copies all that match, in order. */
static int fill(struct submissions *s, const struct rejudging *r, const struct rejudge_body *b, struct assay_err *err)
{
    char after[ASSAY_ID_SIZE] = "";
    for (;;) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_rows ids;
        if (arena == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        int rc = repo_rejudge_find(s, b, assay_str(after), REJUDGE_CHUNK, arena, &ids, err);
        if (rc < 0 || ids.n == 0)
            return rc;
        rc = repo_rejudge_copy(s, r, &ids, err);
        if (rc < 0)
            return rc;
        struct assay_str last = ids.row[ids.n - 1].col[0].s;
        if (last.n >= sizeof after)
            return assay_err_set(err, ASSAY_E_CORRUPT, "a submission's id is no UUID");
        memcpy(after, last.p, last.n);
        after[last.n] = '\0';
    }
}

int http_rejudgings_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct rejudge_body b;
    struct assay_rows found;
    memset(&b, 0, sizeof b);
    int rc = assay_body_json(rq, rs, rejudge_fields, &b, err);
    if (rc >= 0 && b.verdict.n != 0 && !verdict_known(b.verdict))
        rc = assay_fault(rq, rs, err, "/verdict", "is one of OK, WA, TL, ML, OL, RE, BF, IE");
    if (rc >= 0 && b.until_ms != 0 && b.until_ms <= b.since_ms)
        rc = assay_fault(rq, rs, err, "/until", "must be later than since");
    if (rc < 0)
        return rc;
    struct assay_idem idem;
    rc = assay_idem_begin(&idem, &submissions_idem, s->host->store, rq, rs, err);
    if (rc != ASSAY_OK)
        return rc < 0 ? rc : ASSAY_OK;
    rc = repo_rejudge_find(s, &b, ASSAY_STR(""), REJUDGE_MAX + 1, rq->arena, &found, err);
    if (rc < 0)
        return rc;
    if (found.n == 0)
        return assay_err_set(err, ASSAY_E_CONFLICT, "nothing that has ended matches");
    if (found.n > REJUDGE_MAX)
        return assay_err_set(err, ASSAY_E_CONFLICT, "more than %d submissions match: take a part of them, by problem, agent or time", REJUDGE_MAX);
    char id[ASSAY_ID_SIZE];
    assay_id_new(id);
    struct rejudging r = {.id = assay_arena_str(rq->arena, assay_str(id)), .benchmark_id = b.benchmark_id, .state = ASSAY_STR("judging"),
                          .reason = b.reason.p != NULL ? b.reason : ASSAY_STR(""), .created_by = rq->who->user_id,
                          .created_ms = s->host->now_ms(s->host->ctx), .total = (int64_t)found.n, .ended_by = ASSAY_STR("")};
    struct assay_str location = assay_arena_fmt(rq->arena, "/rejudgings/%s", id);
    struct assay_tx *tx = assay_tx_new(rq->arena, "submission.rejudging");
    if (r.id.p == NULL || location.p == NULL || tx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    rc = filter_encode(&b, rq->arena, &r.filter, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    set_write(w, &r, &(struct rejudge_progress){0, 0, 0});
    rc = assay_reply_json(rs, 201, w, err);
    if (rc < 0)
        return rc;
    assay_reply_header(rs, ASSAY_STR("Location"), location);
    assay_idem_add(&idem, tx, rs, false);
    repo_rejudging_add(tx, &r);
    assay_audit(tx, rq, r.id, assay_arena_fmt(rq->arena, "{\"benchmark_id\":\"%.*s\",\"submissions\":%lld}", ASSAY_FMT(r.benchmark_id), (long long)r.total));
    rc = assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
    if (rc != ASSAY_OK)
        return rc < 0 ? rc : ASSAY_OK;
    rc = fill(s, &r, &b, err);
    if (rc >= 0)
        rc = repo_rejudging_move(s, r.id, "making", "making", "judging", false, ASSAY_STR(""), NULL, err);
    if (rc >= 0)
        s->host->metric_add(s->host->ctx, &submissions_metrics[METRIC_REJUDGINGS], &(const char *){"made"}, 1);
    if (rc >= 0)
        assay_log(s->host, ASSAY_LOG_INFO, "rejudging_made", ASSAY_KS("rejudging_id", r.id), ASSAY_KS("benchmark_id", r.benchmark_id),
                  ASSAY_KI("submissions", r.total), ASSAY_KS("user_id", r.created_by));
    return rc < 0 ? rc : ASSAY_OK;
}

int http_rejudgings_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    static const char *const known[] = {"limit", "cursor", NULL};
    struct assay_str cursor, before;
    struct rejudging *list;
    int64_t limit;
    size_t n;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc >= 0)
        rc = assay_query_page(rq, rs, 50, 200, &limit, &cursor, err);
    if (rc >= 0)
        rc = assay_cursor_decode(rq, rs, cursor, &before, err);
    if (rc >= 0)
        rc = repo_rejudging_list(s, before, limit + 1, rq->arena, &list, &n, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_list_begin(w);
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    for (size_t i = 0; i < shown; i++)
        set_write(w, &list[i], NULL);
    return assay_list_end(rq, rs, w, n > shown ? list[shown - 1].id : ASSAY_STR_NULL, err);
}

int http_rejudgings_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    return reply_set(self, rq, rs, 200, err);
}

int http_rejudgings_changes(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    static const char *const known[] = {"all", "limit", "cursor", NULL};
    struct assay_str cursor, after, text;
    struct rejudging r;
    struct rejudge_change *list;
    int64_t limit;
    size_t n;
    bool all = false;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc >= 0)
        rc = assay_query_page(rq, rs, 100, 1000, &limit, &cursor, err);
    if (rc >= 0)
        rc = assay_cursor_decode(rq, rs, cursor, &after, err);
    if (rc >= 0)
        rc = assay_query(rq, "all", &text, err);
    if (rc >= 0 && text.p != NULL && assay_parse_bool(text, &all, NULL) < 0)
        rc = assay_fault(rq, rs, err, "", "the query parameter \"all\" must be true or false");
    if (rc >= 0)
        rc = repo_rejudging_get(s, rq->param[0], rq->arena, &r, err);
    if (rc >= 0)
        rc = repo_rejudging_changes(s, r.id, after, all, limit + 1, rq->arena, &list, &n, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_list_begin(w);
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    for (size_t i = 0; i < shown; i++) {
        const struct rejudge_change *c = &list[i];
        assay_jw_object(w);
        assay_jw_kstr(w, "submission_id", c->submission_id);
        assay_jw_kstr(w, "copy_id", c->copy_id);
        assay_jw_kstr(w, "agent_id", c->agent_id);
        assay_jw_kstr(w, "problem_id", c->problem_id);
        assay_jw_kstr(w, "old_verdict", c->old_verdict);
        assay_jw_key(w, "old_score");
        c->has_old ? assay_jw_real(w, c->old_score) : assay_jw_null(w);
        if (c->new_verdict.n != 0)
            assay_jw_kstr(w, "new_verdict", c->new_verdict);
        else
            assay_jw_kz(w, "new_verdict", NULL);
        assay_jw_key(w, "new_score");
        c->has_new ? assay_jw_real(w, c->new_score) : assay_jw_null(w);
        if (c->outcome.n != 0)
            assay_jw_kstr(w, "outcome", c->outcome);
        else
            assay_jw_kz(w, "outcome", NULL);
        assay_jw_end(w);
    }
    return assay_list_end(rq, rs, w, n > shown ? list[shown - 1].submission_id : ASSAY_STR_NULL, err);
}

/* A walk over the set, in transactions of some; may be asked for again when it was cut off. */
static int walk(struct submissions *s, struct assay_str id, int (*step)(struct submissions *, struct assay_str, bool *, struct assay_err *),
                struct assay_err *err)
{
    bool left = true;
    int rc = ASSAY_OK;
    while (rc >= 0 && left)
        rc = step(s, id, &left, err);
    return rc;
}

static void count(struct submissions *s, int metric, const char *label, double by)
{
    s->host->metric_add(s->host->ctx, &submissions_metrics[metric], &label, by);
}

static void count_outcomes(struct submissions *s, struct assay_request *rq, struct assay_str id)
{
    static const char *const outcomes[] = {"applied", "kept", "overtaken"};
    struct assay_rows rows = {.n = 0};
    struct assay_err err;
    if (repo_rejudge_outcomes(s, id, rq->arena, &rows, &err) < 0)
        rows.n = 0; /* a figure is missing, and nothing else */
    for (size_t i = 0; i < rows.n; i++)
        for (size_t k = 0; k < sizeof outcomes / sizeof outcomes[0]; k++)
            if (assay_str_is(rows.row[i].col[0].s, outcomes[k]))
                count(s, METRIC_REJUDGED, outcomes[k], (double)rows.row[i].col[1].i);
}

static int finish(struct submissions *s, struct assay_request *rq, struct assay_response *rs, bool apply, struct assay_err *err)
{
    struct rejudging r;
    struct assay_err why;
    const char *doing = apply ? "applying" : "cancelling", *done = apply ? "applied" : "cancelled";
    int rc = repo_rejudging_get(s, rq->param[0], rq->arena, &r, err);
    if (rc < 0)
        return rc;
    if (assay_str_is(r.state, done))
        return reply_set(s, rq, rs, 200, err);
    rc = repo_rejudging_move(s, r.id, assay_str_is(r.state, "making") && !apply ? "making" : "judging", doing, doing, apply, rq->who->user_id, rq, &why);
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_CONFLICT, apply && assay_str_is(r.state, "judging")
                                                        ? "some of it are still being judged; look at \"judged\" and come again"
                                                        : "the rejudging is %.*s",
                             ASSAY_FMT(r.state));
    if (rc < 0) {
        *err = why;
        return rc;
    }
    rc = walk(s, r.id, apply ? repo_rejudge_apply : repo_rejudge_drop, err);
    if (rc >= 0)
        rc = repo_rejudging_move(s, r.id, doing, doing, done, false, rq->who->user_id, NULL, err);
    bool first = rc >= 0;
    if (rc == ASSAY_E_GUARD) /* asked for twice, and the other was first */
        rc = ASSAY_OK;
    if (rc < 0)
        return rc;
    if (first)
        count(s, METRIC_REJUDGINGS, done, 1);
    if (first && apply)
        count_outcomes(s, rq, r.id);
    assay_log(s->host, ASSAY_LOG_INFO, apply ? "rejudging_applied" : "rejudging_cancelled", ASSAY_KS("rejudging_id", r.id),
              ASSAY_KS("user_id", rq->who->user_id));
    return reply_set(s, rq, rs, 200, err);
}

int http_rejudgings_apply(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    return finish(self, rq, rs, true, err);
}

int http_rejudgings_cancel(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    return finish(self, rq, rs, false, err);
}
