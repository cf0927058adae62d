/*
 * Endings: what of a job is written, and when it is gone.
 *
 * News of a job (running, each test) is written at most every FLUSH_MS, and what a short job did comes
 * with its end in one transaction.  A write that fails for a reason of the store is tried again while
 * the lease lasts; one that fails its guard means that the job is somebody else's now, and it is dropped.
 *
 *   boxes done ─▶ job_finish ─▶ FINISH ─▶ job_write_end ─▶ job_written ─▶ gone
 *   job_failed ──────┘                         └◀─ store in trouble ┘
 *
 * A job in FINISH has no slot: the commit of one job overlaps the run of the next.  Its end waits for the
 * flush under way, since rows are not to be written twice, and many rows go out by flushes before it.
 * announced, events_to and rows_to say what is committed; a transaction carries in its mail what they
 * become if it succeeds.
 *
 * The store's writer thread sees the transaction and its mail (on_written), never the job; it is the loop
 * that reads the mail.  A job is freed only when no transaction is under way.
 */
#include "filter.h"
#include "project.h"

#include <stdlib.h>
#include <string.h>

#define AWAY_MIN_MS 250
#define AWAY_MAX_MS 30000

#define FLUSH_MS 100
#define FLUSH_ROWS 64
#define TOLD_MOST 256 /* tests of a job that have an event of their own */
#define RETEST_MS 5000
#define TESTS_OF_LANGUAGE 3
#define RETEST_GROWTH 16 /* times language_retest: the longest pause between two trials of a language that failed */

static void on_written(struct assay_tx *tx, void *arg)
{
    struct mail *m = arg;
    m->status = tx->status;
    if (tx->status < 0)
        m->err = tx->err;
    mail_post(m);
}

/* What became of a script or a project is in its result or its feedback, which the submissions service keeps. */
static bool keeps_rows(const struct job *j)
{
    return j->lease.kind != ASSAY_JOB_SCRIPT && j->project == NULL;
}

/* News up to now, in order. */
static int add_news(struct loop *l, struct job *j, struct assay_tx *tx, struct mail *m, struct assay_err *err)
{
    const struct assay_jobs_ops *jobs = l->r->jobs;
    struct assay_str text;
    int rc = ASSAY_OK;
    m->announced = j->announced;
    m->events_to = j->events_to;
    if (!j->announced && j->started_ms != 0) {
        rc = running_event_encode(j, tx->arena, &text, err);
        if (rc >= 0)
            rc = jobs->progress(l->r->jobs_self, &j->lease, "submission.running", text, tx, err);
        m->announced = true;
    }
    bool tell = test_sight(j->feedback, false, false).verdict;
    for (; rc >= 0 && m->events_to < j->at_test; m->events_to++) {
        if (!tell || m->events_to >= TOLD_MOST || !j->test[m->events_to].ran)
            continue;
        rc = test_event_encode(j, &j->test[m->events_to], tx->arena, &text, err);
        if (rc >= 0)
            rc = jobs->progress(l->r->jobs_self, &j->lease, "submission.test", text, tx, err);
    }
    return rc;
}

static int begin_write(struct loop *l, struct job *j, const char *name, struct mail **m, struct assay_tx **tx,
                       struct assay_err *err)
{
    *m = calloc(1, sizeof **m);
    struct assay_arena *arena = *m != NULL ? assay_arena_new(0) : NULL;
    *tx = arena != NULL ? assay_tx_new(arena, name) : NULL;
    if (*tx == NULL) {
        assay_arena_free(arena);
        free(*m);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    **m = (struct mail){.loop = l, .kind = MAIL_WRITTEN, .job = j, .arena = arena};
    return ASSAY_OK;
}

static int end_write(struct job *j, struct mail *m, struct assay_tx *tx, int rc, struct assay_err *err)
{
    if (rc >= 0) {
        j->writes++;
        rc = assay_store_exec_async(m->loop->r->host->store, tx, on_written, m, err);
        if (rc >= 0)
            return rc;
        j->writes--;
    }
    assay_arena_free(m->arena);
    free(m);
    return rc;
}

static void flush(struct loop *l, struct job *j)
{
    struct mail *m;
    struct assay_tx *tx;
    struct assay_err err;
    j->flushed_mono_ms = mono_ms(l);
    int rc = begin_write(l, j, "runner.progress", &m, &tx, &err);
    if (rc < 0)
        return; /* the next one, or the end, will tell */
    rc = add_news(l, j, tx, m, &err);
    m->rows_to = j->rows_to;
    if (rc >= 0 && keeps_rows(j) && j->at_test - j->rows_to >= FLUSH_ROWS) {
        m->rows_to = j->rows_to + FLUSH_ROWS;
        rc = repo_add_tests(tx, j, j->rows_to, m->rows_to, &err);
    }
    if (rc >= 0 && tx->n_ops == 0) {
        assay_arena_free(m->arena);
        free(m);
        return;
    }
    rc = end_write(j, m, tx, rc, &err);
    if (rc < 0)
        assay_log(l->r->host, ASSAY_LOG_WARN, "progress_unwritten", ASSAY_KS("submission_id", j->lease.submission_id),
                  ASSAY_KZ("error", err.msg));
}

void job_tell_news(struct loop *l, struct job *j, int64_t now)
{
    bool news = (!j->announced && j->started_ms != 0) || j->at_test > j->events_to || (keeps_rows(j) && j->at_test - j->rows_to >= FLUSH_ROWS);
    if (news && j->writes == 0 && now - j->flushed_mono_ms >= FLUSH_MS && j->stage != STAGE_READY && j->stage != STAGE_LOAD &&
        j->stage != STAGE_RECALL && j->stage != STAGE_STORE)
        flush(l, j);
}

static int add_end(struct loop *l, struct job *j, struct assay_tx *tx, struct mail *m, struct assay_err *err)
{
    struct runner *r = l->r;
    if (j->give_back && !j->cancel) {
        struct assay_str reason = assay_arena_str(tx->arena, assay_str(j->fault));
        bool untouched = l->draining && !j->charge && j->started_ms == 0;
        int rc = untouched ? r->jobs->put_back(r->jobs_self, &j->lease, reason, tx, err)
                           : r->jobs->give_back(r->jobs_self, &j->lease, j->charge, reason, tx, err);
        /* the last attempt: the result says what went wrong, to those who can mend it */
        if (rc >= 0 && keeps_rows(j) && j->charge && j->lease.attempt >= r->max_attempts) {
            j->verdict = VERDICT_IE;
            rc = repo_add_tests(tx, j, j->rows_to, j->n_tests, err);
            if (rc >= 0)
                rc = repo_add_result(tx, j, now_ms(l), err);
        }
        return rc;
    }
    struct assay_job_end end = {.cancelled = j->cancel, .verdict = assay_str(verdict_name(j->verdict)), .score = j->score};
    if (j->cancel)
        return r->jobs->finish(r->jobs_self, &j->lease, &end, tx, err);
    int rc = summary_encode(j, tx->arena, &end.summary, err);
    if (rc < 0)
        return rc;
    if (j->lease.kind == ASSAY_JOB_SCRIPT) {
        rc = script_result(j, tx->arena, &end.output, err);
        if (rc < 0)
            return rc;
    } else if (j->project != NULL) {
        end.output = j->project->feedback;
        if (j->lease.kind == ASSAY_JOB_PROJECT_MESSAGE)
            rc = project_result(j, now_ms(l), tx->arena, &end.output, err);
        if (rc < 0)
            return rc;
    } else if (j->filtering != NULL) {
        end.output = filter_output(j);
    } else if (j->task) {
        const struct test *t = &j->test[0];
        end.output = j->verdict == VERDICT_BF                      ? j->build_output
                     : t->out.n != 0 || j->verdict == VERDICT_OK ? t->out
                                                                   : t->err;
    }
    rc = r->jobs->finish(r->jobs_self, &j->lease, &end, tx, err);
    size_t events = tx->n_events;
    struct assay_str why;
    if (rc >= 0 && j->alarm && j->lease.kind != ASSAY_JOB_SCRIPT) {
        rc = alarm_encode(assay_str(j->fault), tx->arena, &why, err);
        if (rc >= 0)
            rc = r->jobs->progress(r->jobs_self, &j->lease, "submission.checker_failed", why, tx, err);
    }
    if (rc >= 0)
        rc = add_news(l, j, tx, m, err);
    if (rc >= 0 && events == 1 && tx->n_events > 1) { /* the end is the last of the news */
        struct assay_event done = tx->event[0];
        memmove(tx->event, tx->event + 1, (tx->n_events - 1) * sizeof *tx->event);
        tx->event[tx->n_events - 1] = done;
    }
    if (rc >= 0 && keeps_rows(j))
        rc = repo_add_tests(tx, j, j->rows_to, j->n_tests, err);
    if (rc >= 0 && keeps_rows(j))
        rc = repo_add_result(tx, j, now_ms(l), err);
    return rc;
}

void job_write_end(struct loop *l, struct job *j)
{
    if (j->dead) {
        if (j->writes == 0)
            job_forget(l, j);
        return;
    }
    if (j->writes != 0) { /* rows of a flush under way are not to be written twice */
        j->retry_mono_ms = mono_ms(l);
        return;
    }
    if (keeps_rows(j) && j->n_tests - j->rows_to > 2 * FLUSH_ROWS && !j->give_back && !j->cancel) {
        j->retry_mono_ms = mono_ms(l);
        j->at_test = j->n_tests; /* what was never run has a row as well */
        flush(l, j);
        return;
    }
    struct mail *m;
    struct assay_tx *tx;
    struct assay_err err;
    j->retry_mono_ms = INT64_MAX;
    int rc = begin_write(l, j, "runner.finish", &m, &tx, &err);
    if (rc >= 0) {
        m->final = true;
        rc = add_end(l, j, tx, m, &err);
        rc = end_write(j, m, tx, rc, &err);
    }
    if (rc < 0) {
        j->retry_mono_ms = mono_ms(l) + 200;
        assay_log(l->r->host, ASSAY_LOG_ERROR, "end_unwritten", ASSAY_KS("submission_id", j->lease.submission_id),
                  ASSAY_KZ("error", err.msg));
    }
}

/* What is known to be stored is not written again: of a busy server's results nearly all are made alike. */
static bool environment_known(struct loop *l, const char *id, bool add)
{
    for (size_t i = 0; i < KNOWN_RECORDS; i++) {
        if (strcmp(l->record[i], id) == 0)
            return true;
    }
    if (add)
        memcpy(l->record[l->next_record++ % KNOWN_RECORDS], id, ASSAY_SHA256_HEX);
    return false;
}

static void ended_well(struct loop *l, struct job *j)
{
    const struct assay_host *host = l->r->host;
    if (j->give_back) {
        assay_log(host, ASSAY_LOG_WARN, "job_given_back", ASSAY_KS("submission_id", j->lease.submission_id),
                  ASSAY_KZ("reason", j->fault), ASSAY_KI("attempt", j->lease.attempt), ASSAY_KI("charged", j->charge));
        atomic_store(&l->work, true);
        return;
    }
    l->failures = 0;
    if (j->environment[0] != '\0')
        (void)environment_known(l, j->environment, true);
    const char *labels[] = {j->language != NULL ? j->language->name.p : j->project != NULL ? "project" : j->filtering != NULL ? "filter" : "", j->cancel ? "cancelled" : verdict_name(j->verdict)};
    count_judged(l->r, &j->lease, labels[0], labels[1]);
    traced_job(l->r, j, labels[0], labels[1]);
    if (j->filtering != NULL && j->filtering->call.filter != NULL)
        host->metric_add(host->ctx, &runner_metrics[METRIC_FILTERS], (const char *[]){j->filtering->call.filter->name.p, labels[1]}, 1);
    assay_log(host, ASSAY_LOG_INFO, "submission_judged", ASSAY_KS("submission_id", j->lease.submission_id),
              ASSAY_KS("request_id", j->lease.request_id), ASSAY_KZ("language", labels[0]), ASSAY_KZ("verdict", labels[1]),
              ASSAY_KR("score", j->score), ASSAY_KI("tests", j->n_tests),
              ASSAY_KI("queue_ms", j->leased_ms - j->lease.created_ms));
}

void job_written(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    j->writes--;
    if (m->status >= 0) {
        j->announced = m->announced;
        j->events_to = m->events_to;
        if (!m->final)
            j->rows_to = m->rows_to;
    }
    if (m->status == ASSAY_E_GUARD && !j->dead) {
        j->dead = true;
        assay_log(l->r->host, ASSAY_LOG_WARN, "job_fenced_off", ASSAY_KS("submission_id", j->lease.submission_id),
                  ASSAY_KI("fence", j->lease.fence));
        (void)slot_cancel(j->slot);
    }
    if (m->final && m->status >= 0) {
        ended_well(l, j);
        job_forget(l, j);
    } else if (m->final && !j->dead) {
        /* the store is in trouble: the verdict stands, and is written when it has recovered */
        int64_t delay = 100 * ((int64_t)1 << (j->finish_tries < 6 ? j->finish_tries : 6));
        j->finish_tries++;
        j->retry_mono_ms = mono_ms(l) + delay;
        assay_log(l->r->host, ASSAY_LOG_ERROR, "end_unwritten", ASSAY_KS("submission_id", j->lease.submission_id),
                  ASSAY_KZ("error", m->err.msg));
    } else if (j->dead && j->stage == STAGE_FINISH && j->writes == 0) {
        job_forget(l, j);
    } else if (j->stage == STAGE_FINISH && !m->final) {
        job_write_end(l, j);
    }
    assay_arena_free(m->arena);
    free(m);
}

/* A trial may fail for want of memory, or of time on a machine that was overloaded: it is made again, later each time. */
static void try_later(struct loop *l, size_t i)
{
    int64_t pause = l->testing[i].pause_ms, first = l->r->language_retest_ms;
    pause = pause == 0 ? first : pause >= RETEST_GROWTH * first / 2 ? RETEST_GROWTH * first : 2 * pause;
    l->testing[i].pause_ms = pause;
    l->testing[i].after_ms = mono_ms(l) + pause;
    l->testing[i].tries = 0;
}

static void finish_self_test(struct loop *l, struct job *j)
{
    struct runner *r = l->r;
    struct language *lang = j->language;
    size_t i = (size_t)(lang - r->languages.list);
    /* what came from outside (a boxkeeper or an engine that died) says nothing of the language, however often */
    bool again = j->give_back && !j->warming && !l->draining && (!j->charge || ++l->testing[i].tries < TESTS_OF_LANGUAGE);
    bool passed = !j->give_back && j->verdict == VERDICT_OK;
    l->testing[i].job = NULL;
    l->testing[i].after_ms = mono_ms(l) + (passed ? 0 : RETEST_MS);
    if (warm_tested(l, j, passed) || j->warming) {
        if (!j->warming)
            l->testing[i].after_ms = mono_ms(l);
        job_forget(l, j);
        warm_sweep(l);
        return;
    }
    if (passed) {
        l->testing[i].pause_ms = 0;
        language_decide(r, lang, LANGUAGE_OFFERED, j->version_text, "");
        assay_log(r->host, ASSAY_LOG_INFO, "language_offered", ASSAY_KS("language", lang->name),
                  ASSAY_KZ("version", j->version_text), ASSAY_KI("build_ms", j->build_end_ms - j->build_start_ms),
                  ASSAY_KI("run_ms", j->test[0].outcome.wall_us / 1000));
    } else if (!again && !l->draining) {
        char why[240];
        const struct test *t = &j->test[0];
        struct assay_str said = j->verdict == VERDICT_BF ? j->build_output : t->err;
        if (j->fault[0] != '\0')
            put_text(why, sizeof why, "%s", j->fault);
        else
            put_text(why, sizeof why, "its sample got %s (exit code %d, signal %d): %.*s", verdict_name(j->verdict),
                     t->outcome.exit_code, t->outcome.signal, (int)(said.n > 120 ? 120 : said.n), said.p != NULL ? said.p : "");
        language_decide(r, lang, LANGUAGE_UNAVAILABLE, j->version_text, why);
        enum assay_log_level level = l->testing[i].pause_ms == 0 ? ASSAY_LOG_WARN : ASSAY_LOG_DEBUG;
        try_later(l, i);
        assay_log(r->host, level, "language_not_offered", ASSAY_KS("language", lang->name), ASSAY_KZ("reason", why));
    } else {
        assay_log(r->host, ASSAY_LOG_WARN, "self_test_failed", ASSAY_KS("language", lang->name), ASSAY_KZ("reason", j->fault));
    }
    job_forget(l, j);
    warm_sweep(l);
}

/* Says with the result where and how it was made. Without memory for it the result stands, and says nothing of it. */
static void record_environment(struct loop *l, struct job *j)
{
    struct assay_err err;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    if (j->language == NULL || (j->stood[SIDE_BUILD].n == 0 && j->stood[SIDE_RUN].n == 0))
        return;
    int rc = environment_encode(j, &b, &err);
    if (rc < 0) {
        assay_log(l->r->host, ASSAY_LOG_WARN, "environment_unrecorded", ASSAY_KS("submission_id", j->lease.submission_id),
                  ASSAY_KZ("error", err.msg));
        return;
    }
    assay_sha256_hex(assay_buf_view(&b), j->environment);
    if (j->away_id.n != 0 || !environment_known(l, j->environment, false))
        j->environment_body = assay_arena_take(j->arena, &b);
}

/* A verdict that is there already, as of a build that failed, stays; its tests were not run. */
void job_decide(struct job *j)
{
    bool decided = j->verdict != VERDICT_NONE;
    struct scored *list = assay_arena_array(j->arena, j->n_tests + 1, sizeof *list);
    if (!decided)
        j->verdict = VERDICT_OK;
    for (size_t i = 0; i < j->n_tests; i++) {
        const struct test *t = &j->test[i];
        if (list != NULL)
            list[i] = (struct scored){t->def.points, t->part, decided ? VERDICT_NONE : t->verdict, t->group};
        if (j->verdict == VERDICT_OK && t->verdict != VERDICT_OK && t->verdict != VERDICT_NONE)
            j->verdict = t->verdict;
    }
    if (list != NULL)
        points_count(list, j->n_tests, j->group, j->n_groups, &j->points);
    if (!decided)
        j->score = j->points.score;
}

void job_finish(struct loop *l, struct job *j)
{
    const struct slot *s = j->slot;
    if (j->kind == JOB_CHECKER) {
        if (j->verdict == VERDICT_BF)
            check_unbuilt(l, j);
        else
            check_failed(l, j, "it was ended", true);
        return;
    }
    check_dismiss(l, j);
    if (s != NULL && s->client != NULL && assay_box_client_hello(s->client) != NULL)
        put_text(j->mode_text, sizeof j->mode_text, "%s", assay_box_client_hello(s->client)->mode);
    slot_release(j);
    j->stage = STAGE_FINISH;
    if (!j->give_back)
        job_decide(j);
    if (j->kind == JOB_SELF_TEST) {
        finish_self_test(l, j);
        return;
    }
    record_environment(l, j);
    job_write_end(l, j);
}

/* What a job needs is away (blobs that do not answer, memory): nobody's fault, so nothing is charged, and leasing waits, longer each time, since the
 * next job would fare no better. */
void job_waits(struct loop *l, struct job *j, const char *why)
{
    int64_t now = mono_ms(l);
    if (j->kind == JOB_SUBMISSION && l->lease_after_ms <= now) { /* once for all that a lease brought */
        l->failures += l->failures < 10;
        int64_t pause = (int64_t)AWAY_MIN_MS << l->failures;
        l->lease_after_ms = now + (pause < AWAY_MAX_MS ? pause : AWAY_MAX_MS);
    }
    job_failed(l, j, why, false);
}

void job_hindered(struct loop *l, struct job *j, int rc, const char *why)
{
    if (rc == ASSAY_E_BUSY || rc == ASSAY_E_NOMEM)
        job_waits(l, j, why);
    else
        job_failed(l, j, why, true);
}

bool job_output_lost(const struct job *j, const struct assay_box_outcome *o)
{
    /* a builder holds more than a box may write, so that it is not the program's doing */
    return (j->out.failed || j->err.failed) && o->end != ASSAY_BOX_OUTPUT;
}

void job_failed(struct loop *l, struct job *j, const char *why, bool charge)
{
    if (j->kind == JOB_CHECKER) {
        check_failed(l, j, why, charge);
        return;
    }
    put_text(j->fault, sizeof j->fault, "%s", why);
    j->give_back = true;
    j->charge = charge;
    if (charge && j->kind == JOB_SUBMISSION) { /* three attempts within a millisecond would prove nothing */
        l->failures += l->failures < 10;
        l->lease_after_ms = mono_ms(l) + 100 * l->failures;
    }
    job_finish(l, j);
}
