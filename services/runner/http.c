/* The routes of the runner: results under the feedback policy, languages, and its own state. */
#include "local.h"

#include <stdio.h>
/* What a box costs here without a program: nothing of it is subtracted from results. */
static void calibration_write(struct assay_jw *w, const struct calibration *c)
{
    assay_jw_object(w);
    assay_jw_kint(w, "runs", c->runs);
    assay_jw_kz(w, "trouble", c->trouble[0] != '\0' ? c->trouble : NULL);
    if (c->runs > 0) {
        assay_jw_kint(w, "cpu_us", c->cpu_us);
        assay_jw_kint(w, "cpu_us_max", c->cpu_us_max);
        assay_jw_kint(w, "wall_us", c->wall_us);
        assay_jw_kint(w, "wall_us_max", c->wall_us_max);
        assay_jw_kint(w, "memory_own_bytes", c->memory_own_bytes);
        assay_jw_kint(w, "memory_peak_bytes", c->memory_peak_bytes);
        assay_jw_kint(w, "clock_ns", c->clock_ns);
        assay_jw_kint(w, "tick_us", c->tick_us);
        assay_jw_kbool(w, "pinned", c->pinned);
    }
    assay_jw_end(w);
}

static struct result_filter filter_of(const struct assay_principal *who)
{
    return (struct result_filter){.user_id = who->user_id,
                                  .agent_only = who->agent_id,
                                  .staff = assay_is_staff(who) && who->agent_id.n == 0,
                                  .limit = 1};
}

int http_results_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct runner *r = self;
    static const char *const known[] = {"benchmark_id", "problem_id", "agent_id", "verdict", "since", "limit", "cursor", NULL};
    struct result_filter f = filter_of(rq->who);
    struct assay_str cursor, since = ASSAY_STR_NULL;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc >= 0)
        rc = assay_query_page(rq, rs, 50, 500, &f.limit, &cursor, err);
    if (rc >= 0)
        rc = assay_cursor_decode(rq, rs, cursor, &f.before, err);
    const struct {
        const char *name;
        struct assay_str *to;
    } text[] = {{"benchmark_id", &f.benchmark_id},
                {"problem_id", &f.problem_id},
                {"agent_id", &f.agent_id},
                {"verdict", &f.verdict},
                {"since", &since}};
    for (size_t i = 0; rc >= 0 && i < sizeof text / sizeof text[0]; i++)
        rc = assay_query(rq, text[i].name, text[i].to, err);
    if (rc < 0)
        return rc;
    bool known_verdict = f.verdict.n == 0;
    for (int v = VERDICT_OK; v <= VERDICT_IE; v++)
        known_verdict = known_verdict || assay_str_is(f.verdict, verdict_name((enum verdict)v));
    if (!known_verdict)
        return assay_fault(rq, rs, err, "", "the query parameter \"verdict\" is one of OK, WA, TL, ML, OL, RE, BF, IE");
    struct assay_err why;
    if (since.p != NULL && assay_time_parse(since, &f.since_ms, &why) < 0)
        return assay_fault(rq, rs, err, "", "the query parameter \"since\": %s", why.msg);
    int64_t limit = f.limit++; /* one more tells whether there is a next page */
    struct result *list;
    size_t n;
    rc = repo_results(r, &f, ASSAY_STR_NULL, rq->arena, &list, &n, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_list_begin(w);
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    for (size_t i = 0; i < shown; i++)
        result_write(w, &list[i], NULL, 0, false);
    return assay_list_end(rq, rs, w, n > shown ? list[shown - 1].submission_id : ASSAY_STR_NULL, err);
}

int http_results_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct runner *r = self;
    struct result_filter f = filter_of(rq->who);
    struct result *res;
    struct result_test *test = NULL;
    size_t n = 0, n_tests = 0;
    int rc = repo_results(r, &f, rq->param[0], rq->arena, &res, &n, err);
    if (rc < 0)
        return rc;
    if (n == 0)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no result yet, or no such submission of yours");
    rc = repo_tests(r, res, rq->arena, &test, &n_tests, err);
    if (rc >= 0)
        rc = repo_environment(r, res->environment_id, rq->arena, &res->environment, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    result_write(w, res, test, n_tests, true);
    return assay_reply_json(rs, 200, w, err);
}

/* Where the language builds and where its programs run, as the driver says it; null before a warden stood there, and
 * to strangers: what the machine looks like is the operator's business. Also why one of them cannot be opened. */
static void language_places(struct assay_jw *w, struct runner *r, const struct language *l, bool staff, char *trouble, size_t room)
{
    static const char *const key[] = {[SIDE_BUILD] = "build_place", [SIDE_RUN] = "run_place"};
    pthread_mutex_lock(&r->environments.lock);
    (void)snprintf(trouble, room, "%s", "");
    for (int side = 0; side < SIDES; side++) {
        const struct environment *e = &r->environments.list[l->env[side]];
        assay_jw_kraw(w, key[side], staff && e->place[0] != '\0' ? assay_str(e->place) : ASSAY_STR("null"));
        if (e->trouble[0] != '\0')
            (void)snprintf(trouble, room, "%s", e->trouble);
    }
    pthread_mutex_unlock(&r->environments.lock);
}

static void options_write(struct assay_jw *w, const struct language *l)
{
    assay_jw_key(w, "compiler_options");
    assay_jw_array(w);
    for (size_t i = 0; i < l->options.n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "group", l->options.items[i].key);
        assay_options_write(w, "options", l->options.items[i].value);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

int http_languages(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const words[] = {"testing", "offered", "unavailable"};
    struct runner *r = self;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_list_begin(w);
    for (size_t i = 0; i < r->languages.n; i++) {
        struct language *l = &r->languages.list[i];
        int state = atomic_load(&l->state);
        assay_jw_object(w);
        assay_jw_kstr(w, "name", l->name);
        assay_jw_kstr(w, "title", l->title);
        assay_jw_key(w, "aliases");
        assay_jw_array(w);
        for (size_t k = 0; k < l->aliases.n; k++)
            assay_jw_str(w, l->aliases.items[k]);
        assay_jw_end(w);
        assay_jw_kz(w, "state", words[state]);
        assay_jw_kbool(w, "offered", state == LANGUAGE_OFFERED);
        bool staff = assay_is_staff(rq->who);
        char trouble[sizeof r->environments.list->trouble];
        language_places(w, r, l, staff, trouble, sizeof trouble);
        pthread_mutex_lock(&l->lock);
        assay_jw_kz(w, "version", l->version_text[0] != '\0' ? l->version_text : NULL);
        const char *reason = state == LANGUAGE_UNAVAILABLE ? l->reason : trouble;
        assay_jw_kz(w, "reason", staff && state != LANGUAGE_OFFERED && reason[0] != '\0' ? reason : NULL);
        pthread_mutex_unlock(&l->lock);
        assay_jw_kstr(w, "source_name", l->source);
        assay_jw_kstr(w, "unit_name", l->unit);
        options_write(w, l);
        assay_jw_end(w);
    }
    return assay_list_end(rq, rs, w, ASSAY_STR_NULL, err);
}

int http_runners(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } features[] = {{"cpu_accounting", 1},   {"memory_limit", 2},    {"process_limit", 4}, {"seccomp", 8},
                    {"user_namespace", 16}, {"own_network", 32}, {"started_as_root", 64},
                    {"shared_artefacts", 128}};
    struct runner *r = self;
    struct loop_state st;
    loop_look(r, &st);
    struct assay_buf info = ASSAY_BUF_INIT;
    struct assay_err ignored;
    if (r->host->sandbox_info(r->host->ctx, &info, &ignored) < 0)
        assay_buf_reset(&info);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_list_begin(w);
    assay_jw_object(w);
    assay_jw_kz(w, "id", r->host->instance_id);
    assay_jw_kint(w, "slots", st.slots);
    assay_jw_kint(w, "slots_ready", st.ready);
    assay_jw_kint(w, "slots_busy", st.busy);
    assay_jw_kint(w, "jobs", st.leased);
    assay_jw_kz(w, "mode", st.mode[0] != '\0' ? st.mode : NULL);
    assay_jw_key(w, "features");
    assay_jw_object(w);
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
        assay_jw_kbool(w, features[i].name, (st.features & features[i].bit) != 0);
    assay_jw_end(w);
    assay_jw_key(w, "calibration");
    calibration_write(w, &st.calibration);
    assay_jw_kint(w, "processors", (int64_t)r->processors.n);
    assay_jw_kint(w, "cores", (int64_t)r->processors.n_cores);
    assay_jw_kz(w, "trouble", st.trouble[0] != '\0' ? st.trouble : NULL);
    assay_jw_kraw(w, "sandbox", assay_buf_view(&info));
    assay_jw_end(w);
    int rc = assay_list_end(rq, rs, w, ASSAY_STR_NULL, err);
    assay_buf_free(&info);
    return rc;
}
