#include "local.h"

#include <assay/audit.h>

#include <stdlib.h>

#define TRIES 8 /* of a change that another one overtakes */

struct service {
    const struct assay_host *host;
    int64_t priority_max; /* that an owner may set */
};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static int overtaken(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_BUSY, "the benchmark is being changed by others; try again");
}

static int64_t now_ms(const struct service *s)
{
    return s->host->now_ms(s->host->ctx);
}

static struct assay_str new_id(struct assay_arena *a)
{
    char id[ASSAY_ID_SIZE];
    assay_id_new(id);
    return assay_arena_str(a, assay_str(id));
}

static struct assay_str or_empty(struct assay_str s)
{
    return s.p != NULL ? s : ASSAY_STR("");
}

/* ---- who may ------------------------------------------------------------------------------------------- */

/* A benchmark that the caller may see; any other is as if it were not there. */
static int visible(struct service *s, struct assay_request *rq, struct assay_str id, struct benchmark *b, struct assay_err *err)
{
    int rc = benchmarks_by_id(s->host->store, id, rq->who->user_id, rq->arena, b, err);
    if (rc == ASSAY_OK && !benchmarks_may_see(b, rq->who))
        rc = assay_err_set(err, ASSAY_E_NOT_FOUND, "no such benchmark");
    return rc;
}

static int changeable(struct service *s, struct assay_request *rq, struct assay_str id, struct benchmark *b,
                      struct assay_err *err)
{
    int rc = visible(s, rq, id, b, err);
    if (rc == ASSAY_OK && !benchmarks_may_change(b, rq->who))
        rc = assay_err_set(err, ASSAY_E_FORBIDDEN, "the benchmark belongs to somebody else");
    return rc;
}

static int visible_problem(struct service *s, struct assay_request *rq, struct problem *p, struct benchmark *b,
                           struct assay_err *err)
{
    int rc = benchmarks_problem_by_id(s->host->store, rq->param[0], rq->arena, p, err);
    if (rc == ASSAY_OK)
        rc = visible(s, rq, p->benchmark_id, b, err);
    /* a contest's problems are its secret until it starts */
    if (rc == ASSAY_E_NOT_FOUND ||
        (rc == ASSAY_OK && !benchmarks_has_started(b, now_ms(s)) && !benchmarks_is_judge(b, rq->who)))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such problem");
    return rc;
}

static int changeable_problem(struct service *s, struct assay_request *rq, struct problem *p, struct benchmark *b,
                              struct assay_err *err)
{
    int rc = visible_problem(s, rq, p, b, err);
    if (rc == ASSAY_OK && !benchmarks_may_change(b, rq->who))
        rc = assay_err_set(err, ASSAY_E_FORBIDDEN, "the benchmark belongs to somebody else");
    return rc;
}

/* ---- answers ---------------------------------------------------------------------------------------------- */

static int reply_benchmark(struct assay_response *rs, int status, const struct benchmark *b, const struct problem *p,
                           size_t n, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_jw_object(w);
    benchmarks_write(w, b, true);
    assay_jw_key(w, "problems");
    assay_jw_array(w);
    for (size_t i = 0; i < n; i++)
        benchmarks_write_problem_ref(w, &p[i]);
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_reply_json(rs, status, w, err);
}

static int load_source(struct service *s, struct assay_request *rq, struct assay_str ref, const char *what, struct assay_str *out,
                       struct assay_err *err)
{
    int rc = ref.n != 0 ? assay_blob_get(s->host->blobs, ref, BENCHMARKS_SOURCE_MAX, rq->arena, out, err) : ASSAY_OK;
    return rc == ASSAY_E_NOT_FOUND ? assay_err_set(err, ASSAY_E_CORRUPT, "the %s's source is lost", what) : rc;
}

/* With the sources of what judges where the caller may see them. */
static int reply_problem(struct service *s, struct assay_request *rq, struct assay_response *rs, int status,
                         const struct problem *p, const struct benchmark *b, struct assay_err *err)
{
    struct sources sources = {ASSAY_STR_NULL, ASSAY_STR_NULL};
    struct problem shown = *p;
    struct assay_manifest m;
    bool judge = benchmarks_is_judge(b, rq->who);
    int rc = benchmarks_load_manifest(s->host->blobs, &shown, rq->arena, &m, err);
    if (rc < 0)
        return rc;
    if (judge) {
        rc = load_source(s, rq, p->harness_ref, "harness", &sources.harness, err);
        if (rc >= 0)
            rc = load_source(s, rq, shown.checker.source_ref, "checker", &sources.checker, err);
        if (rc < 0)
            return rc;
    }
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    benchmarks_write_problem(w, &shown, &m, judge, &sources);
    return assay_reply_json(rs, status, w, err);
}

static int list_query(struct assay_request *rq, struct assay_response *rs, const char *const *known, int64_t dflt,
                      int64_t max, int64_t *limit, struct assay_str *after, struct assay_err *err)
{
    struct assay_str cursor;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query_page(rq, rs, dflt, max, limit, &cursor, err);
    return rc == ASSAY_OK ? assay_cursor_decode(rq, rs, cursor, after, err) : rc;
}

/* A cursor over numbers; 0 at the start. */
static int number_cursor(struct assay_request *rq, struct assay_response *rs, struct assay_str after, int64_t *out,
                         struct assay_err *err)
{
    *out = 0;
    if (after.n == 0 || assay_parse_i64(after, 0, INT64_MAX, out, NULL) == ASSAY_OK)
        return ASSAY_OK;
    return assay_fault(rq, rs, err, "", "the query parameter \"cursor\" is not one that this server gave out");
}

/* ---- benchmarks -------------------------------------------------------------------------------------------- */

int benchmarks_do_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"owner_id", "visibility", "limit", "cursor", NULL};
    struct service *s = self;
    struct benchmarks_filter filter = {.visibility = -1};
    struct assay_str owner, visibility;
    int64_t limit;
    int rc = list_query(rq, rs, known, 50, 200, &limit, &filter.after, err);
    if (rc == ASSAY_OK)
        rc = assay_query(rq, "owner_id", &owner, err);
    if (rc == ASSAY_OK)
        rc = assay_query(rq, "visibility", &visibility, err);
    if (rc < 0)
        return rc;
    for (int i = 0; visibility.p != NULL && assay_visibility_names[i] != NULL; i++) {
        if (assay_str_is(visibility, assay_visibility_names[i]))
            filter.visibility = i;
    }
    if (visibility.p != NULL && filter.visibility < 0)
        return assay_fault(rq, rs, err, "", "the query parameter \"visibility\" must be \"public\" or \"private\"");
    filter.owner = assay_str_is(owner, "me") ? rq->who->user_id : or_empty(owner);
    filter.limit = limit + 1; /* one more than asked for tells whether there is a next page */
    struct benchmark *b;
    size_t n;
    rc = benchmarks_list(s->host->store, &filter, rq->who, rq->arena, &b, &n, err);
    if (rc < 0)
        return rc;
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    for (size_t i = 0; i < shown; i++) {
        assay_jw_object(w);
        benchmarks_write(w, &b[i], false);
        assay_jw_end(w);
    }
    return assay_list_end(rq, rs, w, n > shown ? b[shown - 1].id : ASSAY_STR(""), err);
}

/* Its source goes to the blob store, unless it stays the one that it was. */
static int make_checker(struct service *s, struct assay_request *rq, const struct checker_in *in, struct assay_manifest_checker *out,
                        struct assay_err *err)
{
    char ref[ASSAY_BLOB_REF];
    if (in->language.n == 0) {
        *out = (struct assay_manifest_checker){.language = ASSAY_STR("")};
        return ASSAY_OK;
    }
    struct assay_str kept = out->source_ref;
    *out = (struct assay_manifest_checker){.kind = in->kind, .language = in->language, .source_ref = kept, .flags = in->flags,
                                           .interactive = in->interactive, .passes = in->passes,
                                           .time_limit_ms = in->time_limit_ms, .memory_limit_bytes = in->memory_limit_bytes};
    if (!in->has_source)
        return ASSAY_OK;
    int rc = assay_blob_put(s->host->blobs, in->source, ref, err);
    if (rc < 0)
        return rc;
    out->source_ref = assay_arena_str(rq->arena, assay_str(ref));
    return out->source_ref.p != NULL ? ASSAY_OK : no_memory(err);
}

/* Everything a new problem is, from what was sent; tests and harness go to the blob store here. */
static int make_problem(struct service *s, struct assay_request *rq, const struct problem_in *in, struct problem *p,
                        struct assay_err *err)
{
    struct assay_manifest held = {.arguments = in->arguments, .environment = in->environment};
    char ref[ASSAY_BLOB_REF] = "";
    p->statement = or_empty(in->statement);
    p->mode = in->mode;
    p->compare = in->compare;
    p->float_abs = in->float_abs;
    p->float_rel = in->float_rel;
    p->stop_on_failure = in->stop_on_failure;
    p->compiler_options = in->compiler_options;
    p->limits = in->limits;
    p->harness_language = or_empty(in->harness.language);
    p->version = 1;
    p->updated_ms = p->created_ms;
    if (in->harness.language.n != 0) {
        int rc = assay_blob_put(s->host->blobs, in->harness.source, ref, err);
        if (rc < 0)
            return rc;
    }
    p->harness_ref = assay_arena_str(rq->arena, assay_str(ref));
    int rc = make_checker(s, rq, &in->checker, &p->checker, err);
    if (rc >= 0)
        rc = benchmarks_store_tests(s->host->blobs, &in->tests, &in->groups, rq->arena, &held, err);
    return rc < 0 ? rc : benchmarks_store_manifest(s->host->blobs, p, &held, rq->arena, err);
}

/* had: the priority that it has without the body's saying so */
static void check_priority(const struct service *s, const struct assay_request *rq, const struct benchmark_in *in, int64_t had,
                           struct assay_json_faults *f)
{
    if (in->priority != had && !benchmarks_may_prefer(rq->who, in->priority, s->priority_max))
        assay_json_fault(f, rq->arena, "/priority", "must be at most %lld (benchmark_priority_max) unless an admin sets it",
                         (long long)s->priority_max);
}

int benchmarks_do_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct benchmark_in in = {.visibility = ASSAY_VISIBLE_PUBLIC,
                              .feedback = ASSAY_FEEDBACK_SAMPLES,
                              .rules = benchmarks_default_rules,
                              .priority = ASSAY_PRIORITY_DEFAULT,
                              .problem = {.limits = benchmarks_default_limits, .checker = benchmarks_default_checker}};
    int rc = assay_body_json(rq, rs, benchmarks_create_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID) {
        struct assay_json_faults *f = assay_faults(rq, rs);
        benchmarks_check(&in, f, rq->arena);
        check_priority(s, rq, &in, ASSAY_PRIORITY_DEFAULT, f);
        if (in.problem.has_tests)
            benchmarks_check_problem(&in.problem, f, rq->arena);
        else if (rc == ASSAY_OK) /* tests that are faulty are not there either */
            benchmarks_check_no_problem(&in.problem, f, rq->arena);
    }
    if (rc == ASSAY_OK && !in.has_id && !in.has_name)
        rc = assay_fault(rq, rs, err, "/name", "is required unless an id is given");
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    struct assay_idem idem;
    rc = assay_idem_begin(&idem, &benchmarks_idem, s->host->store, rq, rs, err);
    if (rc != ASSAY_OK)
        return rc < 0 ? rc : ASSAY_OK;

    struct benchmark b = {.id = in.has_id ? in.id : new_id(rq->arena),
                          .owner_id = rq->who->user_id,
                          .name = in.has_name ? in.name : in.id,
                          .description = or_empty(in.description),
                          .visibility = in.visibility,
                          .feedback = in.feedback,
                          .starts_ms = in.starts_ms,
                          .ends_ms = in.ends_ms,
                          .freezes_ms = in.freezes_ms,
                          .languages = in.languages,
                          .entrants = in.entrants,
                          .toolchains = in.toolchains,
                          .warm_interpreters = in.warm_interpreters,
                          .rules = in.rules,
                          .priority = in.priority,
                          .version = 1,
                          .created_ms = now_ms(s)};
    b.updated_ms = b.created_ms;
    struct problem p = {.id = new_id(rq->arena), .benchmark_id = b.id, .name = b.name, .position = 1, .created_ms = b.created_ms};
    struct assay_str location = assay_arena_fmt(rq->arena, "/benchmarks/%.*s", ASSAY_FMT(b.id));
    struct assay_tx *tx = assay_tx_new(rq->arena, "benchmarks.create");
    if (tx == NULL || b.id.p == NULL || p.id.p == NULL || location.p == NULL)
        return no_memory(err);
    if (in.problem.has_tests)
        rc = make_problem(s, rq, &in.problem, &p, err);
    if (rc == ASSAY_OK)
        rc = reply_benchmark(rs, 201, &b, &p, in.problem.has_tests ? 1 : 0, err);
    if (rc < 0)
        return rc;
    assay_reply_header(rs, ASSAY_STR("Location"), location);
    assay_idem_add(&idem, tx, rs, false);
    int guard = benchmarks_add(tx, &b);
    assay_audit(tx, rq, b.id, ASSAY_STR(""));
    rc = benchmarks_add_changed(tx, &b, false, err);
    if (rc == ASSAY_OK && in.problem.has_tests) {
        (void)benchmarks_add_problem(tx, &p);
        rc = benchmarks_add_problem_changed(tx, &p, &b, false, err);
    }
    if (rc == ASSAY_OK)
        rc = assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
    if (rc == ASSAY_E_GUARD && tx->failed_op == guard)
        return assay_err_set(err, ASSAY_E_CONFLICT, "the id \"%.*s\" is taken", ASSAY_FMT(b.id));
    return rc < 0 ? rc : ASSAY_OK;
}

int benchmarks_do_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct benchmark b;
    struct problem *p = NULL;
    size_t n = 0;
    int rc = visible(s, rq, rq->param[0], &b, err);
    if (rc == ASSAY_OK && (benchmarks_has_started(&b, now_ms(s)) || benchmarks_is_judge(&b, rq->who)))
        rc = benchmarks_problems(s->host->store, b.id, 0, BENCHMARKS_PROBLEMS_MAX, rq->arena, &p, &n, err);
    return rc < 0 ? rc : reply_benchmark(rs, 200, &b, p, n, err);
}

int benchmarks_do_update(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    for (int i = 0; i < TRIES; i++) {
        struct benchmark b;
        int rc = changeable(s, rq, rq->param[0], &b, err);
        if (rc < 0)
            return rc;
        /* what the body leaves out stays as it is */
        struct benchmark_in in = {.name = b.name, .description = b.description, .visibility = b.visibility,
                                  .feedback = b.feedback, .starts_ms = b.starts_ms, .ends_ms = b.ends_ms,
                                  .freezes_ms = b.freezes_ms, .languages = b.languages, .entrants = b.entrants,
                                  .toolchains = b.toolchains, .warm_interpreters = b.warm_interpreters, .rules = b.rules,
                                  .priority = b.priority};
        rc = assay_body_json(rq, rs, benchmarks_patch_fields, &in, err);
        if (rc == ASSAY_OK || rc == ASSAY_E_INVALID) {
            benchmarks_check(&in, assay_faults(rq, rs), rq->arena);
            check_priority(s, rq, &in, b.priority, assay_faults(rq, rs));
        }
        rc = assay_faults_end(rq, rs, rc, err);
        if (rc < 0)
            return rc;
        b.name = in.name;
        b.description = or_empty(in.description);
        b.visibility = in.visibility;
        b.feedback = in.feedback;
        b.starts_ms = in.starts_ms;
        b.ends_ms = in.ends_ms;
        b.freezes_ms = in.freezes_ms;
        b.languages = in.languages;
        b.entrants = in.entrants;
        b.toolchains = in.toolchains;
        b.warm_interpreters = in.warm_interpreters;
        b.rules = in.rules;
        b.priority = in.priority;
        b.updated_ms = now_ms(s);
        struct problem *p;
        size_t n;
        rc = benchmarks_problems(s->host->store, b.id, 0, BENCHMARKS_PROBLEMS_MAX, rq->arena, &p, &n, err);
        if (rc < 0)
            return rc;
        struct assay_tx *tx = assay_tx_new(rq->arena, "benchmarks.update");
        (void)benchmarks_add_update(tx, &b);
        assay_audit(tx, rq, b.id, assay_arena_fmt(rq->arena, "{\"visibility\":\"%s\",\"feedback\":\"%s\",\"starts_ms\":%lld,\"freezes_ms\":%lld,\"ends_ms\":%lld,\"priority\":%lld}",
                                                  assay_visibility_names[b.visibility], assay_feedback_names[b.feedback], (long long)b.starts_ms,
                                                  (long long)b.freezes_ms, (long long)b.ends_ms, (long long)b.priority));
        rc = benchmarks_add_changed(tx, &b, false, err);
        if (rc == ASSAY_OK)
            rc = assay_store_exec(s->host->store, tx, err);
        if (rc != ASSAY_E_GUARD)
            return rc < 0 ? rc : reply_benchmark(rs, 200, &b, p, n, err);
    }
    return overtaken(err);
}

int benchmarks_do_remove(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    for (int i = 0; i < TRIES; i++) {
        struct benchmark b;
        struct problem *p;
        size_t n;
        int rc = changeable(s, rq, rq->param[0], &b, err);
        if (rc == ASSAY_OK)
            rc = benchmarks_problems(s->host->store, b.id, 0, BENCHMARKS_PROBLEMS_MAX, rq->arena, &p, &n, err);
        if (rc < 0)
            return rc;
        b.updated_ms = now_ms(s);
        struct assay_tx *tx = assay_tx_new(rq->arena, "benchmarks.delete");
        (void)benchmarks_add_remove(tx, &b);
        assay_audit(tx, rq, b.id, ASSAY_STR(""));
        rc = benchmarks_add_changed(tx, &b, true, err);
        for (size_t k = 0; rc == ASSAY_OK && k < n; k++) {
            p[k].version++;
            rc = benchmarks_add_problem_changed(tx, &p[k], &b, true, err);
        }
        if (rc == ASSAY_OK)
            rc = assay_store_exec(s->host->store, tx, err);
        if (rc == ASSAY_OK)
            rs->status = 204;
        if (rc != ASSAY_E_GUARD)
            return rc;
    }
    return overtaken(err);
}

/* ---- problems ----------------------------------------------------------------------------------------------- */

int benchmarks_do_problem_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"limit", "cursor", NULL};
    struct service *s = self;
    struct benchmark b;
    struct assay_str after;
    int64_t limit, position;
    int rc = list_query(rq, rs, known, 50, BENCHMARKS_PROBLEMS_MAX, &limit, &after, err);
    if (rc == ASSAY_OK)
        rc = number_cursor(rq, rs, after, &position, err);
    if (rc == ASSAY_OK)
        rc = visible(s, rq, rq->param[0], &b, err);
    if (rc < 0)
        return rc;
    if (!benchmarks_has_started(&b, now_ms(s)) && !benchmarks_is_judge(&b, rq->who)) {
        char start[ASSAY_TIME_SIZE];
        assay_time_format(b.starts_ms, start);
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "the problems are shown when the benchmark starts, at %s", start);
    }
    struct problem *p;
    size_t n;
    rc = benchmarks_problems(s->host->store, b.id, position, limit + 1, rq->arena, &p, &n, err);
    if (rc < 0)
        return rc;
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    for (size_t i = 0; i < shown; i++)
        benchmarks_write_problem(w, &p[i], NULL, false, NULL);
    struct assay_str next = ASSAY_STR("");
    if (n > shown)
        next = assay_arena_fmt(rq->arena, "%lld", (long long)p[shown - 1].position);
    return assay_list_end(rq, rs, w, next, err);
}

/* The problem's place: where it was asked for, or behind the last. ASSAY_E_CONFLICT when that is taken. */
static int place(struct service *s, struct assay_request *rq, const struct benchmark *b, const struct problem_in *in,
                 struct problem *p, size_t *n_problems, struct assay_err *err)
{
    struct problem *other;
    size_t n;
    int rc = benchmarks_problems(s->host->store, b->id, 0, BENCHMARKS_PROBLEMS_MAX + 1, rq->arena, &other, &n, err);
    if (rc < 0)
        return rc;
    *n_problems = n;
    p->position = in->has_position ? in->position : n != 0 ? other[n - 1].position + 1 : 1;
    for (size_t i = 0; i < n; i++) {
        if (other[i].position == p->position && !assay_str_eq(other[i].id, p->id))
            return assay_err_set(err, ASSAY_E_CONFLICT, "position %lld is taken by problem %.*s", (long long)p->position,
                                 ASSAY_FMT(other[i].id));
    }
    return ASSAY_OK;
}

int benchmarks_do_problem_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct benchmark b;
    struct problem_in in = {.limits = benchmarks_default_limits, .checker = benchmarks_default_checker};
    int rc = changeable(s, rq, rq->param[0], &b, err);
    if (rc < 0)
        return rc;
    rc = assay_body_json(rq, rs, benchmarks_problem_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        benchmarks_check_problem(&in, assay_faults(rq, rs), rq->arena);
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    struct assay_idem idem;
    rc = assay_idem_begin(&idem, &benchmarks_idem, s->host->store, rq, rs, err);
    if (rc != ASSAY_OK)
        return rc < 0 ? rc : ASSAY_OK;

    struct problem p = {.id = in.has_id ? in.id : new_id(rq->arena), .benchmark_id = b.id, .name = in.name,
                        .created_ms = now_ms(s)};
    struct assay_str location = assay_arena_fmt(rq->arena, "/problems/%.*s", ASSAY_FMT(p.id));
    if (p.id.p == NULL || location.p == NULL)
        return no_memory(err);
    rc = make_problem(s, rq, &in, &p, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < TRIES; i++) {
        size_t n;
        rc = place(s, rq, &b, &in, &p, &n, err);
        if (rc < 0)
            return rc;
        if (n >= BENCHMARKS_PROBLEMS_MAX)
            return assay_err_set(err, ASSAY_E_CONFLICT, "the benchmark has %d problems already", BENCHMARKS_PROBLEMS_MAX);
        rc = reply_problem(s, rq, rs, 201, &p, &b, err);
        if (rc < 0)
            return rc;
        rs->n_headers = 0;
        assay_reply_header(rs, ASSAY_STR("Location"), location);
        struct assay_tx *tx = assay_tx_new(rq->arena, "benchmarks.problem_create");
        assay_idem_add(&idem, tx, rs, false);
        (void)benchmarks_add_bump(tx, &b);
        int guard = benchmarks_add_problem(tx, &p);
        assay_audit(tx, rq, p.id, assay_arena_fmt(rq->arena, "{\"benchmark_id\":\"%.*s\"}", ASSAY_FMT(b.id)));
        rc = benchmarks_add_problem_changed(tx, &p, &b, false, err);
        if (rc == ASSAY_OK)
            rc = assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
        if (rc != ASSAY_E_GUARD)
            return rc < 0 ? rc : ASSAY_OK;
        if (tx->failed_op == guard)
            return assay_err_set(err, ASSAY_E_CONFLICT, "the id \"%.*s\" is taken", ASSAY_FMT(p.id));
        rc = changeable(s, rq, rq->param[0], &b, err);
        if (rc < 0)
            return rc;
    }
    return overtaken(err);
}

int benchmarks_do_problem_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct problem p;
    struct benchmark b;
    int rc = visible_problem(s, rq, &p, &b, err);
    return rc < 0 ? rc : reply_problem(s, rq, rs, 200, &p, &b, err);
}

/* Commits a changed problem: manifest first, then row and event. `moved` guards the set of positions too.
 * ASSAY_E_GUARD when somebody else was first. */
static int commit_problem(struct service *s, struct assay_request *rq, struct problem *p, const struct benchmark *b,
                          const struct assay_manifest *held, bool moved, struct assay_err *err)
{
    int64_t from = p->version++;
    p->updated_ms = now_ms(s);
    int rc = benchmarks_store_manifest(s->host->blobs, p, held, rq->arena, err);
    if (rc < 0)
        return rc;
    struct assay_tx *tx = assay_tx_new(rq->arena, "benchmarks.problem_update");
    (void)benchmarks_add_problem_update(tx, p, from);
    assay_audit(tx, rq, p->id, assay_arena_fmt(rq->arena, "{\"benchmark_id\":\"%.*s\",\"version\":%lld}", ASSAY_FMT(p->benchmark_id), (long long)p->version));
    if (moved)
        (void)benchmarks_add_bump(tx, b);
    rc = benchmarks_add_problem_changed(tx, p, b, false, err);
    return rc < 0 ? rc : assay_store_exec(s->host->store, tx, err);
}

int benchmarks_do_problem_update(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    for (int i = 0; i < TRIES; i++) {
        struct problem p;
        struct benchmark b;
        struct assay_manifest held;
        int rc = changeable_problem(s, rq, &p, &b, err);
        if (rc == ASSAY_OK)
            rc = benchmarks_load_manifest(s->host->blobs, &p, rq->arena, &held, err);
        if (rc < 0)
            return rc;
        /* what the body leaves out stays as it is */
        struct problem_in in = {.name = p.name, .statement = p.statement, .position = p.position, .mode = p.mode,
                                .compare = p.compare, .float_abs = p.float_abs, .float_rel = p.float_rel,
                                .stop_on_failure = p.stop_on_failure, .limits = p.limits,
                                .harness = {.language = p.harness_language},
                                .arguments = held.arguments, .environment = held.environment,
                                .compiler_options = p.compiler_options,
                                .checker = benchmarks_default_checker};
        if (p.checker.language.n != 0)
            in.checker = (struct checker_in){.kind = p.checker.kind, .language = p.checker.language, .flags = p.checker.flags,
                                             .interactive = p.checker.interactive, .passes = p.checker.passes,
                                             .time_limit_ms = p.checker.time_limit_ms,
                                             .memory_limit_bytes = p.checker.memory_limit_bytes};
        rc = assay_body_json(rq, rs, benchmarks_problem_patch_fields, &in, err);
        if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
            benchmarks_check_problem(&in, assay_faults(rq, rs), rq->arena);
        rc = assay_faults_end(rq, rs, rc, err);
        if (rc < 0)
            return rc;
        bool moved = in.position != p.position;
        if (moved) {
            size_t n;
            rc = place(s, rq, &b, &in, &p, &n, err);
            if (rc < 0)
                return rc;
        }
        p.name = in.name;
        p.statement = or_empty(in.statement);
        p.mode = in.mode;
        p.compare = in.compare;
        p.float_abs = in.float_abs;
        p.float_rel = in.float_rel;
        p.stop_on_failure = in.stop_on_failure;
        p.compiler_options = in.compiler_options;
        p.limits = in.limits;
        if (in.has_harness) {
            char ref[ASSAY_BLOB_REF] = "";
            p.harness_language = or_empty(in.harness.language);
            if (in.harness.has_source)
                rc = assay_blob_put(s->host->blobs, in.harness.source, ref, err);
            if (rc < 0)
                return rc;
            p.harness_ref = assay_arena_str(rq->arena, assay_str(ref));
        }
        rc = make_checker(s, rq, &in.checker, &p.checker, err);
        held.arguments = in.arguments;
        held.environment = in.environment;
        if (rc == ASSAY_OK)
            rc = commit_problem(s, rq, &p, &b, &held, moved, err);
        if (rc != ASSAY_E_GUARD)
            return rc < 0 ? rc : reply_problem(s, rq, rs, 200, &p, &b, err);
    }
    return overtaken(err);
}

int benchmarks_do_problem_remove(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    for (int i = 0; i < TRIES; i++) {
        struct problem p;
        struct benchmark b;
        int rc = changeable_problem(s, rq, &p, &b, err);
        if (rc < 0)
            return rc;
        int64_t from = p.version++;
        p.updated_ms = now_ms(s);
        struct assay_tx *tx = assay_tx_new(rq->arena, "benchmarks.problem_delete");
        (void)benchmarks_add_problem_remove(tx, &p, from);
        assay_audit(tx, rq, p.id, assay_arena_fmt(rq->arena, "{\"benchmark_id\":\"%.*s\"}", ASSAY_FMT(b.id)));
        (void)benchmarks_add_bump(tx, &b);
        rc = benchmarks_add_problem_changed(tx, &p, &b, true, err);
        if (rc == ASSAY_OK)
            rc = assay_store_exec(s->host->store, tx, err);
        if (rc == ASSAY_OK)
            rs->status = 204;
        if (rc != ASSAY_E_GUARD)
            return rc;
    }
    return overtaken(err);
}

/* ---- tests ------------------------------------------------------------------------------------------------- */

int benchmarks_do_tests_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"limit", "cursor", NULL};
    struct service *s = self;
    struct problem p;
    struct benchmark b;
    struct assay_str after;
    struct assay_manifest held;
    int64_t limit, number;
    int rc = list_query(rq, rs, known, 50, 200, &limit, &after, err);
    if (rc == ASSAY_OK)
        rc = number_cursor(rq, rs, after, &number, err);
    if (rc == ASSAY_OK)
        rc = visible_problem(s, rq, &p, &b, err);
    if (rc == ASSAY_OK)
        rc = benchmarks_load_manifest(s->host->blobs, &p, rq->arena, &held, err);
    if (rc < 0)
        return rc;
    bool judge = benchmarks_is_judge(&b, rq->who);
    const struct assay_manifest_test *t = held.tests.items;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    struct assay_str next = ASSAY_STR("");
    size_t bytes = 0;
    int64_t shown = 0, last = number;
    for (size_t i = 0; i < held.tests.n; i++) {
        if (t[i].number <= number || (!t[i].sample && !judge))
            continue;
        if (shown == limit || bytes > BENCHMARKS_PAGE_BYTES) {
            next = assay_arena_fmt(rq->arena, "%lld", (long long)last);
            break;
        }
        struct assay_str input = ASSAY_STR(""), expected = ASSAY_STR("");
        if (t[i].input_ref.n != 0)
            rc = assay_blob_get(s->host->blobs, t[i].input_ref, BENCHMARKS_TEST_BYTES, rq->arena, &input, err);
        if (rc == ASSAY_OK && t[i].expected_ref.n != 0)
            rc = assay_blob_get(s->host->blobs, t[i].expected_ref, BENCHMARKS_TEST_BYTES, rq->arena, &expected, err);
        if (rc < 0)
            return rc == ASSAY_E_NOT_FOUND ? assay_err_set(err, ASSAY_E_CORRUPT, "the bytes of test %lld are lost",
                                                           (long long)t[i].number)
                                           : rc;
        benchmarks_write_test(w, &t[i], input, expected);
        bytes += input.n + expected.n;
        last = t[i].number;
        shown++;
    }
    return assay_list_end(rq, rs, w, next, err);
}

int benchmarks_do_tests_put(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct problem p;
    struct benchmark b;
    struct tests_in in = {.tests = {NULL, 0}};
    struct assay_manifest held;
    int rc = changeable_problem(s, rq, &p, &b, err);
    if (rc < 0)
        return rc;
    rc = assay_body_json(rq, rs, benchmarks_tests_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        benchmarks_check_tests(&in.tests, &in.groups, assay_faults(rq, rs), rq->arena);
    rc = assay_faults_end(rq, rs, rc, err);
    for (int i = 0; rc == ASSAY_OK && i < TRIES; i++) {
        rc = benchmarks_load_manifest(s->host->blobs, &p, rq->arena, &held, err);
        if (rc == ASSAY_OK)
            rc = benchmarks_store_tests(s->host->blobs, &in.tests, &in.groups, rq->arena, &held, err);
        if (rc == ASSAY_OK)
            rc = commit_problem(s, rq, &p, &b, &held, false, err);
        if (rc == ASSAY_OK)
            return reply_problem(s, rq, rs, 200, &p, &b, err);
        if (rc == ASSAY_E_GUARD)
            rc = changeable_problem(s, rq, &p, &b, err);
    }
    return rc < 0 ? rc : overtaken(err);
}

/* ---- from agents, and life ------------------------------------------------------------------------------------ */

int benchmarks_deliver(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)self;
    struct assay_ev_agent agent = {.deleted = false};
    int rc = assay_ev_agent_decode(ev->ev.payload, tx->arena, &agent, err);
    if (rc == ASSAY_OK)
        benchmarks_add_agent(tx, ev->ev.subject, agent.owner_id, agent.deleted, ev->seq);
    return rc;
}

int benchmarks_init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL)
        return no_memory(err);
    s->host = host;
    s->priority_max = host->option_int(host->ctx, "benchmark_priority_max");
    *self = s;
    return ASSAY_OK;
}

void benchmarks_fini(void *self)
{
    free(self);
}
