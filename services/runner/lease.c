/*
 * Leases: how jobs come, wait for a lane, get one, and stay ours.
 *
 *   lease_more ─▶ lease_work (a worker: lease, then PREPARE each) ─▶ job_leased ─▶ READY ─▶ lane_fill
 *                                     └─ lease_ended                    └─ judged or failed already: its end
 *
 * There is one lease at a time.  Its jobs come by mail one by one as they are prepared, so that the first
 * runs while the last is still read; the lease's own mail comes after them.  Jobs are leased ahead, so that
 * a lane never waits for the disk (see keep_ahead).
 *
 * A bell (loop->work) says that there may be work; a lease that came back full rings it again, and so does
 * POLL_MS, in case one was lost.
 *
 * A free lane takes the oldest job whose language is known to work.  A language is known by its self-test, a
 * job like any other that is never leased; what a waiting job needs is tested first.  Before that all its
 * environments must be known (environment.c).
 */
#include "loop.h"

#define AHEAD_MAX 64
#define POLL_MS 5000

void ready_push(struct loop *l, struct job *j)
{
    j->next_ready = NULL;
    if (l->ready_last != NULL)
        l->ready_last->next_ready = j;
    else
        l->ready_first = j;
    l->ready_last = j;
    l->n_ready++;
}

void ready_remove(struct loop *l, struct job *j)
{
    struct job *before = NULL;
    for (struct job *k = l->ready_first; k != NULL; before = k, k = k->next_ready) {
        if (k != j)
            continue;
        if (before != NULL)
            before->next_ready = k->next_ready;
        else
            l->ready_first = k->next_ready;
        if (l->ready_last == k)
            l->ready_last = before;
        l->n_ready--;
        return;
    }
}

static bool copy_lease(struct job *j, const struct assay_job *from)
{
    j->lease = *from;
    struct assay_str *text[] = {&j->lease.submission_id, &j->lease.benchmark_id, &j->lease.problem_id, &j->lease.agent_id,
                                &j->lease.owner_id,      &j->lease.language,     &j->lease.source,     &j->lease.source_ref,
                                &j->lease.payload,       &j->lease.payload_ref,  &j->lease.manifest_ref, &j->lease.traceparent,
                                &j->lease.request_id,    &j->lease.compiler_options, &j->lease.assay};
    bool ok = true;
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        *text[i] = text[i]->n != 0 ? assay_arena_str(j->arena, *text[i]) : ASSAY_STR("");
        ok = ok && text[i]->p != NULL;
    }
    return ok;
}

static struct job *job_of_lease(struct runner *r, const struct assay_job *lease)
{
    struct job *j = job_new(r);
    if (j != NULL && copy_lease(j, lease))
        return j;
    job_free(j);
    return NULL;
}

static void lease_work(void *arg)
{
    struct mail *m = arg;
    struct runner *r = m->loop->r;
    const struct assay_host *host = r->host;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_job *list = NULL;
    size_t n = 0;
    m->status = arena != NULL ? r->jobs->lease(r->jobs_self, assay_str(host->instance_id), m->want, r->lease_ms, arena, &list,
                                               &n, &m->err)
                              : assay_err_set(&m->err, ASSAY_E_NOMEM, "no memory");
    if (m->status >= 0 && n != 0)
        repo_catch_up(r);
    for (size_t i = 0; m->status >= 0 && i < n; i++) {
        struct job *j = job_of_lease(r, &list[i]);
        if (j == NULL) {
            r->jobs->drop(r->jobs_self, list[i].submission_id, list[i].fence);
            assay_log(host, ASSAY_LOG_ERROR, "job_dropped", ASSAY_KS("submission_id", list[i].submission_id),
                      ASSAY_KZ("error", "no memory"));
            continue;
        }
        j->leased_ms = host->now_ms(host->ctx);
        struct mail *mail = j->mail;
        *mail = (struct mail){.loop = m->loop, .kind = MAIL_JOB, .job = j};
        mail->status = job_prepare(r, j, &mail->err);
        j->prepared_ms = host->now_ms(host->ctx);
        mail_post(mail);
    }
    m->want = n;
    mail_post(m);
}

void job_leased(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    job_enter(l, j);
    int64_t now = mono_ms(l);
    j->renewed_mono_ms = j->flushed_mono_ms = now;
    count_waited(l->r, &j->lease, j->leased_ms);
    if (l->draining)
        job_failed(l, j, "the server is stopping", false);
    else if (m->status < 0)
        job_hindered(l, j, m->status, m->err.msg);
    else if (j->stage == STAGE_FINISH)
        job_finish(l, j);
    else
        ready_push(l, j);
}

/* A lease takes two commits' time, in which the slots may end many short programs: as many as they took from
 * us meanwhile, and as many again since leases differ, are kept ahead. Programs that run longer than a
 * lease takes bring it to nothing, so that no job waits here that another runner could have. */
static void keep_ahead(struct loop *l)
{
    size_t want = 2 * (size_t)(l->given - l->given_before);
    if (want > AHEAD_MAX)
        want = AHEAD_MAX;
    l->ahead = want > l->ahead ? want : l->ahead - (l->ahead - want + 3) / 4;
}

void lease_ended(struct loop *l, struct mail *m)
{
    l->leasing = false;
    if (m->status < 0) {
        l->lease_after_ms = mono_ms(l) + 200;
        atomic_store(&l->work, true);
        assay_log(l->r->host, ASSAY_LOG_ERROR, "lease_failed", ASSAY_KZ("error", m->err.msg));
    } else if (m->want == l->asked) {
        atomic_store(&l->work, true); /* there may be more */
    }
    keep_ahead(l);
}

void lease_more(struct loop *l, int64_t now, size_t open, size_t idle)
{
    const struct assay_host *host = l->r->host;
    if (l->draining || l->leasing || open == 0 || now < l->lease_after_ms)
        return;
    if (now >= l->poll_ms) {
        l->poll_ms = now + POLL_MS;
        atomic_store(&l->work, true);
    }
    /* One ahead for each, at least; and another is taken along with what is needed, since each lease costs a
     * commit, however many jobs it brings. */
    size_t needed = idle + open + l->ahead;
    if (l->n_ready >= needed || !atomic_exchange(&l->work, false))
        return;
    l->asked = needed + open - l->n_ready;
    l->given_before = l->given;
    l->lease_mail = (struct mail){.loop = l, .kind = MAIL_LEASED, .want = l->asked};
    l->leasing = true;
    if (host->offload(host->ctx, lease_work, &l->lease_mail) < 0) {
        l->leasing = false;
        l->lease_after_ms = now + 20;
        atomic_store(&l->work, true);
    }
}

bool lease_keep(struct loop *l, struct job *j, int64_t now)
{
    struct runner *r = l->r;
    struct assay_err err;
    if (j->dead || now - j->renewed_mono_ms < r->lease_ms / 3)
        return true;
    j->renewed_mono_ms = now;
    if (r->jobs->renew(r->jobs_self, j->lease.submission_id, j->lease.fence, r->lease_ms, &err) != ASSAY_E_GUARD ||
        j->stage == STAGE_FINISH)
        return true;
    assay_log(r->host, ASSAY_LOG_WARN, "job_lease_lost", ASSAY_KS("submission_id", j->lease.submission_id));
    j->dead = true;
    return false;
}

#define REFUSED_MAX 3 /* openings of an environment, before the jobs that wait for it go back */

void lane_give(struct loop *l, struct lane *la, struct job *j)
{
    struct slot *s = &la->slot[job_environment(j, SIDE_BUILD)];
    la->job = j;
    s->job = j;
    j->slot = s;
    j->started_ms = now_ms(l);
    l->given++;
    l->given_mono_ms = mono_ms(l);
    job_next_step(l, j);
}

/* Opens an environment of the language that is not known yet, unless that is under way in another lane. */
static void explore(struct loop *l, struct lane *la, const struct language *lang)
{
    for (int side = 0; side < SIDES; side++) {
        size_t env = lang->env[side];
        bool coming = l->r->environments.list[env].known;
        for (size_t i = 0; i < l->n_lanes && !coming; i++)
            coming = l->lane[i].slot[env].opening || l->lane[i].slot[env].client != NULL;
        if (!coming)
            slot_want(&la->slot[env]);
    }
}

static bool test_language(struct loop *l, struct lane *la, struct language *lang)
{
    size_t i = (size_t)(lang - l->r->languages.list);
    int state = atomic_load(&lang->state);
    bool wanted = state == LANGUAGE_UNTESTED || (state == LANGUAGE_UNAVAILABLE && l->testing[i].pause_ms > 0);
    if (!wanted || l->testing[i].job != NULL || l->testing[i].after_ms > mono_ms(l))
        return false;
    if (!language_known(l->r, lang)) {
        explore(l, la, lang);
        return false;
    }
    struct job *j = job_self_test(l->r, lang);
    if (j == NULL)
        return false;
    job_enter(l, j);
    l->testing[i].job = j;
    lane_give(l, la, j);
    return true;
}

/* Why a language that is not tested yet may never be: an environment of it cannot be opened. */
static bool out_of_reach(struct runner *r, const struct language *lang, char *why, size_t room)
{
    for (int side = 0; side < SIDES; side++) {
        struct environment *e = &r->environments.list[lang->env[side]];
        if (e->failures < REFUSED_MAX)
            continue;
        pthread_mutex_lock(&r->environments.lock);
        put_text(why, room, "%s%s%s", e->image, e->image[0] != '\0' ? ": " : "", e->trouble);
        pthread_mutex_unlock(&r->environments.lock);
        return true;
    }
    return false;
}

/* Whether the toolchain here is the one that the benchmark pins: by a version, which the version line must show,
 * or by the digest of an image, which must be that of the build or of the run. And whether there is a warm interpreter, where it
 * insists on one. */
static bool pin_held(struct runner *r, const struct job *j, char *why, size_t room)
{
    struct language *lang = j->language;
    char here[2][160];
    if (j->only_warm && lang->forks && !(r->warm_interpreters && lang->fork.ready)) {
        put_text(why, room, "the benchmark wants %.*s forked from a warm interpreter, and there is none here", ASSAY_FMT(lang->name));
        return false;
    }
    if (j->pin.n == 0)
        return true;
    if (assay_str_starts(j->pin, "sha256:")) {
        for (int side = 0; side < SIDES; side++) {
            environment_digest(&r->environments.list[lang->env[side]], here[side], sizeof here[side]);
            if (assay_str_is(j->pin, here[side]))
                return true;
        }
        put_text(why, room, "the benchmark pins %.*s to %.*s, here are %s and %s", ASSAY_FMT(lang->name), ASSAY_FMT(j->pin),
                 here[0][0] != '\0' ? here[0] : "no image", here[1][0] != '\0' ? here[1] : "no image");
        return false;
    }
    pthread_mutex_lock(&lang->lock);
    put_text(here[0], sizeof here[0], "%s", lang->version_text);
    pthread_mutex_unlock(&lang->lock);
    if (version_shows(here[0], j->pin))
        return true;
    put_text(why, room, "the benchmark pins %.*s to %.*s, here is %s", ASSAY_FMT(lang->name), ASSAY_FMT(j->pin), here[0]);
    return false;
}

/* Another runner may have what is wanted. The job is kept for a moment, longer each time, so that it does not go round
 * and round between the queue and a runner that is alone; when it was refused often enough, it ends. */
static void job_refused(struct loop *l, struct job *j, const char *why)
{
    int64_t times = j->lease.interruptions, wait = (int64_t)100 << (times < 6 ? times : 6);
    put_text(j->fault, sizeof j->fault, "%s", why);
    l->r->host->metric_add(l->r->host->ctx, &runner_metrics[METRIC_REFUSED], NULL, 1);
    if (times + 1 >= l->r->pin_refusals) {
        j->verdict = VERDICT_IE;
        job_finish(l, j);
        return;
    }
    j->stage = STAGE_REFUSED;
    j->retry_mono_ms = mono_ms(l) + (wait > 5000 ? 5000 : wait);
}

/* The oldest job whose language is known to work; what a waiting job needs is tested first. */
bool lane_fill(struct loop *l, struct lane *la)
{
    if (lane_calibrate(l, la))
        return true;
    for (struct job *j = l->ready_first; j != NULL; j = j->next_ready) {
        char why[sizeof j->fault];
        if (j->project != NULL || j->filtering != NULL) { /* it brings its own tools' names: what it finds is for its commands to say */
            ready_remove(l, j);
            lane_give(l, la, j);
            return true;
        }
        int state = atomic_load(&j->language->state);
        const struct language *checks = j->checker != NULL ? j->checker->language : j->language;
        int other = atomic_load(&checks->state);
        if (state == LANGUAGE_UNTESTED && !out_of_reach(l->r, j->language, why, sizeof why))
            continue;
        if (state == LANGUAGE_OFFERED && other == LANGUAGE_UNTESTED && !out_of_reach(l->r, checks, why, sizeof why))
            continue;
        ready_remove(l, j);
        if (state == LANGUAGE_UNTESTED) {
            job_failed(l, j, why, true);
        } else if (state == LANGUAGE_OFFERED && !pin_held(l->r, j, why, sizeof why)) {
            job_refused(l, j, why);
        } else if (state == LANGUAGE_OFFERED && other != LANGUAGE_OFFERED) {
            put_text(why, sizeof why, "%.*s, the language of the problem's checker, is not offered here", ASSAY_FMT(checks->name));
            job_refused(l, j, why);
        } else if (state == LANGUAGE_OFFERED) {
            lane_give(l, la, j);
        } else {
            j->verdict = VERDICT_IE;
            pthread_mutex_lock(&j->language->lock);
            put_text(j->fault, sizeof j->fault, "this runner does not offer the language: %s", j->language->reason);
            pthread_mutex_unlock(&j->language->lock);
            job_finish(l, j);
        }
        return true;
    }
    for (struct job *j = l->ready_first; j != NULL; j = j->next_ready) {
        if (j->language == NULL)
            continue;
        if (test_language(l, la, j->language) || (j->checker != NULL && test_language(l, la, j->checker->language)))
            return true;
    }
    for (size_t i = 0; i < l->r->languages.n; i++) {
        if (test_language(l, la, &l->r->languages.list[i]))
            return true;
    }
    return l->ready_first == NULL && lane_warm(l, la);
}
