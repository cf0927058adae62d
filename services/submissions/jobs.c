/*
 * assay.jobs: leases out, ends and returns in.  And what becomes of leases that nobody holds.
 *
 * An end is decided here from what the lease said (its attempt, its fence); the row's guard makes that
 * safe, since neither can change while the fence stands.  A death of one box or warden is charged to
 * the job; a death of the whole process is an interruption, counted apart, so that a machine that is
 * restarted often never turns a good program into an IE.
 */
#include "repo_turns.h"

#define SWEEP_MS 1000
#define SWEEP_MAX 64
#define STRAYS_MS 10000
#define STRAYS_MAX 1000
#define COUNT_MS 2000
#define COUNT_SHARE 50 /* a count may take this part of the time */

static int64_t mono_ms(struct submissions *s)
{
    return s->host->mono_ns(s->host->ctx) / 1000000;
}

static struct held held_of(const struct assay_job *job)
{
    return (struct held){.id = job->submission_id,
                         .owner_id = job->owner_id,
                         .benchmark_id = job->benchmark_id,
                         .problem_id = job->problem_id,
                         .agent_id = job->agent_id,
                         .state = ASSAY_STR("running"),
                         .fence = job->fence,
                         .attempts = job->attempt - 1,
                         .interruptions = job->interruptions,
                         .created_ms = job->created_ms};
}

/* Adds to tx what becomes of h, which comes back without an end. */
static int take_back(struct submissions *s, struct assay_tx *tx, const struct held *h, bool charge, bool interrupted,
                     struct assay_str reason, struct assay_err *err)
{
    int64_t now = s->host->now_ms(s->host->ctx);
    struct ending e = {.reason = reason};
    switch (job_returns(charge, interrupted, h->cancel_requested, h->attempts, h->interruptions, s->max_attempts,
                        s->max_interruptions)) {
    case RETURN_QUEUED:
        return repo_requeue(s, tx, h, charge, interrupted, reason, now, err);
    case RETURN_ERROR:
        e.state = ASSAY_STR("error");
        e.verdict = ASSAY_STR("IE");
        e.charge = charge;
        assay_log(s->host, ASSAY_LOG_ERROR, "submission_error", ASSAY_KS("submission_id", h->id), ASSAY_KS("reason", reason),
                  ASSAY_KI("attempts", h->attempts + (charge ? 1 : 0)), ASSAY_KI("interruptions", h->interruptions));
        break;
    case RETURN_CANCELLED:
        e.state = ASSAY_STR("cancelled");
        break;
    }
    return repo_end(s, tx, h, &e, now, err);
}

static int lease(void *self, struct assay_str worker, size_t max, int64_t lease_ms, struct assay_arena *arena,
                 struct assay_job **out, size_t *n, struct assay_err *err)
{
    struct submissions *s = self;
    /* between a row's lease and its entry nobody looks for rows without one */
    pthread_mutex_lock(&s->leasing);
    struct assay_lease_ask ask = {.holder = worker, .kinds = assay_str(s->local_kinds), .max = max, .lease_ms = lease_ms};
    int rc = repo_lease(s, &ask, assay_str(s->host->instance_id), arena, out, n, err);
    int64_t deadline = mono_ms(s) + lease_ms;
    size_t kept = 0;
    for (size_t i = 0; rc >= 0 && i < *n; i++) {
        /* without an entry the job could never expire: it is not handed out, and goes back with the strays */
        if (live_lease(s->live, (*out)[i].submission_id, (*out)[i].fence, deadline) >= 0)
            (*out)[kept++] = (*out)[i];
        else
            atomic_store(&s->strays, true);
    }
    pthread_mutex_unlock(&s->leasing);
    if (rc < 0)
        atomic_store(&s->strays, true); /* a commit whose answer was lost may have leased */
    else
        *n = kept;
    return rc < 0 ? rc : ASSAY_OK;
}

static void drop(void *self, struct assay_str submission_id, int64_t fence)
{
    struct submissions *s = self;
    live_forget(s->live, submission_id, fence);
    atomic_store(&s->strays, true);
}

static int renew(void *self, struct assay_str submission_id, int64_t fence, int64_t lease_ms, struct assay_err *err)
{
    struct submissions *s = self;
    int rc = live_renew(s->live, submission_id, fence, mono_ms(s) + lease_ms);
    return rc < 0 ? assay_err_set(err, rc, "the lease of %.*s is over", ASSAY_FMT(submission_id)) : ASSAY_OK;
}

static int finish(void *self, const struct assay_job *job, const struct assay_job_end *end, struct assay_tx *tx,
                  struct assay_err *err)
{
    struct submissions *s = self;
    if (!end->cancelled && !verdict_known(end->verdict))
        return assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is not a verdict", ASSAY_FMT(end->verdict));
    struct held h = held_of(job);
    struct ending e = {.state = end->cancelled                     ? ASSAY_STR("cancelled")
                                : assay_str_is(end->verdict, "IE") ? ASSAY_STR("error")
                                                                   : ASSAY_STR("done"),
                       .verdict = end->verdict,
                       .score = end->score,
                       .summary = end->summary,
                       .output = end->output,
                       .reason = end->cancelled ? ASSAY_STR("asked for") : ASSAY_STR_NULL,
                       .charge = !end->cancelled,
                       .whole = job->kind >= ASSAY_JOB_SCRIPT};
    live_ending(s->live, job->submission_id, job->fence);
    return repo_end(s, tx, &h, &e, s->host->now_ms(s->host->ctx), err);
}

static int come_back(struct submissions *s, const struct assay_job *job, bool charge, bool interrupted, struct assay_str reason,
                     struct assay_tx *tx, struct assay_err *err)
{
    struct held h = held_of(job);
    h.cancel_requested = live_cancelled(s->live, job->submission_id);
    live_ending(s->live, job->submission_id, job->fence);
    return take_back(s, tx, &h, charge, interrupted, reason, err);
}

static int give_back(void *self, const struct assay_job *job, bool charge, struct assay_str reason, struct assay_tx *tx,
                     struct assay_err *err)
{
    return come_back(self, job, charge, !charge, reason, tx, err);
}

static int put_back(void *self, const struct assay_job *job, struct assay_str reason, struct assay_tx *tx, struct assay_err *err)
{
    return come_back(self, job, false, false, reason, tx, err);
}

static int progress(void *self, const struct assay_job *job, const char *topic, struct assay_str payload,
                    struct assay_tx *tx, struct assay_err *err)
{
    struct submissions *s = self;
    struct held h = held_of(job);
    return repo_progress(s, tx, &h, topic, payload, s->host->now_ms(s->host->ctx), err);
}

static bool cancelled(void *self, struct assay_str submission_id)
{
    struct submissions *s = self;
    return live_cancelled(s->live, submission_id);
}

static void set_languages(void *self, const struct assay_languages_ops *ops, void *ops_self)
{
    struct submissions *s = self;
    pthread_mutex_lock(&s->lock);
    s->languages = ops;
    s->languages_self = ops_self;
    pthread_mutex_unlock(&s->lock);
}

/* ---- held outside of this process ----------------------------------------------------------------- */

static int lease_away(void *self, const struct assay_lease_ask *ask, struct assay_arena *arena, struct assay_job **out, size_t *n,
                      struct assay_err *err)
{
    return repo_lease(self, ask, ASSAY_STR(LEASE_AWAY), arena, out, n, err);
}

static int renew_away(void *self, struct assay_str holder, struct assay_lease *list, size_t n, struct assay_err *err)
{
    return repo_away_renew(self, holder, list, n, err);
}

static int held_away(void *self, struct assay_str holder, struct assay_str submission_id, int64_t fence,
                     struct assay_arena *arena, struct assay_job *out, struct assay_err *err)
{
    return repo_away_held(self, holder, submission_id, fence, arena, out, err);
}

static int keep_local(void *self, const char *kinds, struct assay_err *err)
{
    struct submissions *s = self;
    if (strlen(kinds) >= sizeof s->local_kinds)
        return assay_err_set(err, ASSAY_E_INVALID, "too many kinds of jobs");
    memcpy(s->local_kinds, kinds, strlen(kinds) + 1);
    return ASSAY_OK;
}

const struct assay_jobs_ops submissions_jobs = {.size = sizeof(struct assay_jobs_ops),
                                                .lease = lease,
                                                .renew = renew,
                                                .finish = finish,
                                                .give_back = give_back,
                                                .put_back = put_back,
                                                .drop = drop,
                                                .progress = progress,
                                                .cancelled = cancelled,
                                                .set_languages = set_languages,
                                                .lease_away = lease_away,
                                                .renew_away = renew_away,
                                                .held_away = held_away,
                                                .keep_local = keep_local};

static bool listed(const struct assay_strs *list, struct assay_str word)
{
    for (size_t i = 0; i < list->n; i++) {
        if (assay_str_eq(list->items[i], word))
            return true;
    }
    return false;
}

int languages_options(struct submissions *s, struct assay_str language, const struct assay_strs *asked,
                      const struct assay_json_array *problem, struct assay_err *err)
{
    pthread_mutex_lock(&s->lock);
    const struct assay_languages_ops *ops = s->languages;
    int rc = ASSAY_E_UNSUPPORTED;
    if (ops != NULL && ops->size >= offsetof(struct assay_languages_ops, options) + sizeof ops->options)
        rc = ops->options(s->languages_self, language, asked, problem, err);
    pthread_mutex_unlock(&s->lock);
    if (rc != ASSAY_E_UNSUPPORTED)
        return rc;
    const struct assay_manifest_options *o = problem->items;
    for (size_t i = 0; i < asked->n; i++) {
        struct assay_str shown = {asked->items[i].p, asked->items[i].n > 40 ? 40 : asked->items[i].n};
        bool refused = !assay_option_valid(asked->items[i]);
        for (size_t k = 0; k < problem->n; k++)
            refused = refused || (assay_str_eq(o[k].language, language) && o[k].has_allowed && !listed(&o[k].allowed, asked->items[i]));
        if (refused)
            return assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is not taken: GET /languages says which are, and the problem which of them",
                                 ASSAY_FMT(shown));
    }
    return ASSAY_OK;
}

int filters_resolve(struct submissions *s, struct assay_str json, struct assay_arena *arena, struct assay_json_faults *faults,
                    struct assay_str *canonical, struct assay_err *err)
{
    int rc = ASSAY_OK;
    *canonical = json;
    pthread_mutex_lock(&s->lock);
    if (s->languages != NULL && s->languages->size >= offsetof(struct assay_languages_ops, filter) + sizeof s->languages->filter)
        rc = s->languages->filter(s->languages_self, json, arena, faults, canonical, err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int languages_resolve(struct submissions *s, struct assay_str name, struct assay_str *canonical, struct assay_err *err)
{
    int rc = ASSAY_OK;
    *canonical = name;
    pthread_mutex_lock(&s->lock);
    if (s->languages != NULL)
        rc = s->languages->resolve(s->languages_self, name, canonical, err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* One row in a transaction of its own: rows that come back are few, and one bad row must not hold the rest. */
static int take_back_now(struct submissions *s, const struct held *h, bool charge, bool interrupted, const char *reason,
                         struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.take_back") : NULL;
    int rc = take_back(s, tx, h, charge, interrupted, assay_str(reason), err);
    if (rc >= 0)
        rc = assay_store_exec(s->host->store, tx, err);
    if (rc >= 0)
        assay_log(s->host, ASSAY_LOG_WARN, "submission_taken_back", ASSAY_KS("submission_id", h->id),
                  ASSAY_KZ("reason", reason), ASSAY_KI("fence", h->fence));
    return rc == ASSAY_E_GUARD ? ASSAY_OK : rc; /* somebody else has ended it meanwhile */
}

/* Rows that this life has leased and nobody holds: for want of memory, or since the answer of a commit was lost. */
static void look_for_strays(struct submissions *s)
{
    int64_t now = mono_ms(s);
    if (!atomic_load(&s->strays) && now < s->next_strays_ms)
        return;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_err err;
    struct held *list = NULL;
    size_t n = 0;
    bool found = false;
    if (arena == NULL || pthread_mutex_trylock(&s->leasing) != 0)
        return; /* another time */
    atomic_store(&s->strays, false);
    int rc = repo_leased_here(s, STRAYS_MAX, arena, &list, &n, &err);
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        /* an entry that has gone since then was of an end: the row is guarded by its fence */
        list[i].stray = !live_has(s->live, list[i].id, list[i].fence);
        found = found || list[i].stray;
    }
    pthread_mutex_unlock(&s->leasing);
    for (size_t i = 0; rc >= 0 && found && i < n; i++)
        if (list[i].stray)
            rc = take_back_now(s, &list[i], false, false, "nobody held it", &err);
    if (rc < 0) {
        atomic_store(&s->strays, true);
        assay_log(s->host, ASSAY_LOG_WARN, "strays_unseen", ASSAY_KZ("error", err.msg));
    }
    s->next_strays_ms = now + STRAYS_MS;
}

int jobs_void_orphans(struct submissions *s, struct assay_err *err)
{
    for (;;) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        if (arena == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
        struct held *list;
        size_t n;
        int rc = repo_orphans(s, 100, arena, &list, &n, err);
        for (size_t i = 0; rc >= 0 && i < n; i++)
            rc = take_back_now(s, &list[i], false, true, "the server was restarted", err);
        if (rc < 0 || n == 0)
            return rc;
    }
}

int jobs_away_over(struct submissions *s, const struct watched *w, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "submission.lease_over") : NULL;
    struct held h;
    if (tx == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = repo_held(s, assay_str(w->id), arena, &h, err);
    if (rc < 0)
        return rc == ASSAY_E_NOT_FOUND ? ASSAY_OK : rc;
    if (h.fence != w->fence || !assay_str_is(h.state, "running"))
        return ASSAY_OK;
    rc = repo_away_over(tx, w, err);
    /* what was never renewed nobody may have received: the answer that gave it away was lost */
    bool charge = !w->broker && w->beat > 0;
    if (rc >= 0)
        rc = take_back(s, tx, &h, charge, !charge, ASSAY_STR("the lease expired"), err);
    if (rc >= 0)
        rc = assay_store_exec(s->host->store, tx, err);
    if (rc >= 0)
        assay_log(s->host, ASSAY_LOG_WARN, "submission_taken_back", ASSAY_KZ("submission_id", w->id),
                  ASSAY_KZ("reason", "the lease expired"), ASSAY_KI("fence", w->fence));
    return rc == ASSAY_E_GUARD ? ASSAY_OK : rc; /* renewed, ended, or another gateway was first */
}

/* ---- how much waits -------------------------------------------------------------------------------- */

int jobs_queued_again(struct submissions *s, const struct assay_event_row *ev, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct place place;
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (ev->seq <= atomic_load(&s->counted_head))
        return ASSAY_OK;
    int rc = repo_place(s, ev->ev.subject, arena, &place, err);
    if (rc >= 0)
        admission_back(s->admission, &place);
    return rc == ASSAY_E_NOT_FOUND ? ASSAY_OK : rc;
}

static void keep_levels(struct submissions *s, const struct admission_row *row, size_t n)
{
    memset(s->level_n, 0, sizeof s->level_n);
    memset(s->level_oldest_ms, 0, sizeof s->level_oldest_ms);
    for (size_t i = 0; i < n; i++) {
        int64_t *oldest = &s->level_oldest_ms[row[i].level];
        s->level_n[row[i].level] += row[i].n;
        if (*oldest == 0 || row[i].oldest_ms < *oldest)
            *oldest = row[i].oldest_ms;
    }
}

int jobs_count(struct submissions *s, bool at_start, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    const struct assay_store *store = s->host->store;
    struct admission_row *row = NULL;
    size_t n = 0;
    int64_t head = 0, off_by = 0, begun_ms = mono_ms(s);
    uint64_t begun = admission_count_begin(s->admission);
    int rc = arena != NULL ? store->ops->events_head(store->self, &head, err)
                           : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (rc >= 0)
        rc = repo_count_queued(s, arena, &row, &n, err);
    if (rc >= 0)
        keep_levels(s, row, n);
    if (rc >= 0)
        rc = turns_mend(s, row, n, err);
    if (rc >= 0 && admission_count_end(s->admission, begun, row, n, &off_by)) {
        atomic_store(&s->counted_head, head);
        if (off_by != 0 && !at_start)
            assay_log(s->host, ASSAY_LOG_WARN, "queue_count_mended", ASSAY_KI("off_by", off_by));
    }
    int64_t now = mono_ms(s), pause = COUNT_SHARE * (now - begun_ms);
    s->next_count_ms = now + (pause > COUNT_MS ? pause : COUNT_MS);
    return rc;
}

static void report(struct submissions *s)
{
    const struct assay_host *host = s->host;
    const char *const queued[] = {"queued"}, *const running[] = {"running"};
    struct assay_err err;
    if (mono_ms(s) >= s->next_count_ms && jobs_count(s, false, &err) < 0)
        assay_log(host, ASSAY_LOG_WARN, "queue_not_counted", ASSAY_KZ("error", err.msg));
    struct admission_state st = admission_state(s->admission, mono_ms(s));
    host->metric_set(host->ctx, &submissions_metrics[METRIC_OPEN], queued, (double)st.queued);
    host->metric_set(host->ctx, &submissions_metrics[METRIC_OPEN], running, (double)live_leases(s->live));
    host->metric_set(host->ctx, &submissions_metrics[METRIC_BYTES], NULL, (double)st.bytes);
    host->metric_set(host->ctx, &submissions_metrics[METRIC_SUBMITTERS], NULL, (double)st.submitters);
    host->metric_set(host->ctx, &submissions_metrics[METRIC_OLDEST], NULL,
                     st.oldest_ms != 0 ? (double)(host->now_ms(host->ctx) - st.oldest_ms) / 1e3 : 0);
    host->metric_set(host->ctx, &submissions_metrics[METRIC_DRAIN], NULL, st.drain_per_s);
    for (int i = 0; i < QUEUE_LEVELS; i++) {
        static const char *const names[QUEUE_LEVELS] = {"low", "normal", "high", "rejudge"};
        const char *const label[] = {names[i]};
        int64_t oldest = s->level_oldest_ms[i];
        host->metric_set(host->ctx, &submissions_metrics[METRIC_WAITING], label, (double)s->level_n[i]);
        host->metric_set(host->ctx, &submissions_metrics[METRIC_LONGEST], label, oldest != 0 ? (double)(host->now_ms(host->ctx) - oldest) / 1e3 : 0);
    }
}

static void sweep(void *arg)
{
    struct submissions *s = arg;
    if (atomic_load(&s->draining))
        return;
    struct live_expired gone[SWEEP_MAX];
    size_t n = live_expired(s->live, mono_ms(s), gone, SWEEP_MAX);
    for (size_t i = 0; i < n; i++) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_err err;
        struct held h;
        int rc = arena != NULL ? repo_held(s, assay_str(gone[i].id), arena, &h, &err)
                               : assay_err_set(&err, ASSAY_E_NOMEM, "no memory");
        if (rc >= 0 && h.fence == gone[i].fence && assay_str_is(h.state, "running"))
            rc = take_back_now(s, &h, true, false, "the lease expired", &err);
        if (rc >= 0 || rc == ASSAY_E_NOT_FOUND)
            live_forget(s->live, assay_str(gone[i].id), gone[i].fence);
        else /* the store is in trouble: the entry stays, the next sweep tries again */
            assay_log(s->host, ASSAY_LOG_ERROR, "sweep_failed", ASSAY_KZ("submission_id", gone[i].id),
                      ASSAY_KZ("error", err.msg));
    }
    leases_look(s);
    look_for_strays(s);
    report(s);
    struct assay_err err;
    if (jobs_sweep_start(s, &err) < 0)
        assay_log(s->host, ASSAY_LOG_ERROR, "sweep_stopped", ASSAY_KZ("error", err.msg));
}

int jobs_sweep_start(struct submissions *s, struct assay_err *err)
{
    int rc = s->host->after(s->host->ctx, SWEEP_MS, sweep, s);
    return rc < 0 ? assay_err_set(err, rc, "no timer for expired leases") : ASSAY_OK;
}
