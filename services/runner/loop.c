/*
 * The runner's loop: one thread that drives every box without blocking.
 *
 * What it owns: the lanes with their slots (each one warden's stream), and all jobs from the moment a worker has prepared
 * them until their end is committed.  What blocks (opening a warden, leasing, reading blobs) runs on the
 * host's workers; what is written runs on the store's writer.  Both come back through the mailbox: a
 * list under a mutex and an eventfd that is written only when the list was empty.
 *
 *   leased ─▶ PREPARE ─▶ READY ─▶ [VERSION] ─▶ [RECALL | BUILD] ─▶ (LOAD ⇄ TEST)… ─▶ FINISH ─▶ gone
 *                           │                      └─ warden dies ─▶ LIMBO ─▶ FINISH (given back)
 *                           └─ answers are judged by the worker and go to FINISH at once
 *
 *   lease.c   up to a lane         judge.c        in a slot, box by box
 *   warden.c  the slots, LIMBO     place.c        from slot to slot of a lane: PLACE, CARRY
 *   finish.c  FINISH               environment.c  what the places have
 *   recall.c  builds that were done before           warm.c  what makes builds faster
 *   project.c  projects: LOAD, PROJECT, STORE in place of BUILD and TEST
 *   filter.c   filters: FILTER, STORE in place of them
 *
 * Here is the rest: the thread itself, its mailbox, the list of all jobs, and time (each TICK_MS every job
 * is looked at: leases renewed, cancellations seen, news written, what failed tried again).
 */
#include "filter.h"
#include "project.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 50
#define IDLE_MS 1000

void put_text(char *to, size_t room, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(to, room, fmt, ap);
    va_end(ap);
}

static void wake_up(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake, &one, sizeof one); /* full means awake */
    (void)n;
}

void mail_post(struct mail *m)
{
    struct loop *l = m->loop;
    m->next = NULL;
    pthread_mutex_lock(&l->lock);
    bool was_empty = l->first == NULL;
    if (was_empty)
        l->first = m;
    else
        l->last->next = m;
    l->last = m;
    pthread_mutex_unlock(&l->lock);
    if (was_empty)
        wake_up(l);
}

void loop_ring(struct runner *r)
{
    if (r->loop != NULL && !atomic_exchange(&r->loop->work, true))
        wake_up(r->loop);
}

void job_enter(struct loop *l, struct job *j)
{
    j->prev = NULL;
    j->next = l->jobs;
    if (l->jobs != NULL)
        l->jobs->prev = j;
    l->jobs = j;
    l->n_jobs++;
}

void job_forget(struct loop *l, struct job *j)
{
    assert(j->slot == NULL && j->writes == 0);
    if (j->prev != NULL)
        j->prev->next = j->next;
    else
        l->jobs = j->next;
    if (j->next != NULL)
        j->next->prev = j->prev;
    l->n_jobs--;
    job_free(j);
}

static void on_mail(struct loop *l, struct mail *m)
{
    switch (m->kind) {
    case MAIL_OPENED:
        slot_opened(l, m);
        break;
    case MAIL_JOB:
        job_leased(l, m);
        break;
    case MAIL_LEASED:
        lease_ended(l, m);
        break;
    case MAIL_LOADED:
        job_loaded(l, m);
        break;
    case MAIL_WRITTEN:
        job_written(l, m);
        break;
    case MAIL_RECALLED:
        job_recalled(l, m);
        break;
    case MAIL_FATE:
        job_fate(l, m);
        break;
    case MAIL_WARMED:
        job_warmed(l, m);
        break;
    case MAIL_STORED:
        if (m->job->project != NULL)
            project_stored(l, m);
        else
            filter_stored(l, m);
        break;
    case MAIL_KEPT:
        keep_ended(l, m);
        break;
    case MAIL_DRAIN:
        l->draining = true;
        l->drain_until_ms = mono_ms(l) + l->r->drain_ms;
        while (l->ready_first != NULL) {
            struct job *j = l->ready_first;
            ready_remove(l, j);
            job_failed(l, j, "the server is stopping", false);
        }
        break;
    }
}

static void stop_job(struct loop *l, struct job *j)
{
    if (slot_cancel(j->slot))
        return;
    if (j->stage == STAGE_READY)
        ready_remove(l, j);
    if (j->stage == STAGE_READY || j->stage == STAGE_PLACE || j->stage == STAGE_REFUSED || j->stage == STAGE_CHECKED)
        job_finish(l, j);
}

static void tick_job(struct loop *l, struct job *j, int64_t now)
{
    struct runner *r = l->r;
    /* A checker's limbo ends with its parent's turn, which may end both: it comes before its parent in the list, so that
     * the next job is neither of them. */
    if (j->kind == JOB_CHECKER) {
        if (j->stage == STAGE_LIMBO && j->parent == NULL && !j->fate_asked)
            check_free(l, j);
        return;
    }
    if (j->checker != NULL && j->checker->stage == STAGE_LIMBO && now >= j->checker->retry_mono_ms) {
        job_leave_limbo(l, j->checker);
        return;
    }
    if (j->stage == STAGE_LIMBO) {
        if (now >= j->retry_mono_ms)
            job_leave_limbo(l, j);
        return;
    }
    if (l->draining && now >= l->drain_until_ms && j->stage != STAGE_FINISH && !j->give_back) {
        put_text(j->fault, sizeof j->fault, "the server is stopping");
        j->give_back = true;
        stop_job(l, j);
        return;
    }
    if (j->kind == JOB_SELF_TEST)
        return;
    if (!lease_keep(l, j, now)) {
        stop_job(l, j);
        return;
    }
    if (j->stage == STAGE_FINISH) {
        if (now >= j->retry_mono_ms)
            job_write_end(l, j);
        return;
    }
    if (j->stage == STAGE_REFUSED && now >= j->retry_mono_ms) {
        char why[sizeof j->fault];
        memcpy(why, j->fault, sizeof why);
        job_failed(l, j, why, false);
        return;
    }
    if (!j->cancel && r->jobs->cancelled(r->jobs_self, j->lease.submission_id)) {
        j->cancel = true;
        stop_job(l, j);
        return;
    }
    job_tell_news(l, j, now);
}

static void tick(struct loop *l)
{
    int64_t now = mono_ms(l);
    l->tick_ms = now + TICK_MS;
    struct job *next;
    for (struct job *j = l->jobs; j != NULL; j = next) {
        next = j->next; /* a job ends only itself here */
        tick_job(l, j, now);
    }
    if (l->draining && l->n_jobs == 0 && !l->leasing && l->keeping == 0) {
        pthread_mutex_lock(&l->lock);
        l->drained = true;
        pthread_cond_broadcast(&l->drained_cond);
        pthread_mutex_unlock(&l->lock);
    }
}

static void schedule(struct loop *l)
{
    int64_t now = mono_ms(l);
    size_t open = 0, idle = 0;
    for (size_t i = 0; i < l->n_lanes && !l->draining; i++) {
        struct lane *la = &l->lane[i];
        lane_keep(la);
        while (lane_idle(la) && lane_fill(l, la)) {
        }
        open += lane_stands(la);
        idle += lane_idle(la);
        check_seat(l, la);
        lane_keep(&l->lane[l->n_lanes + i]);
    }
    lease_more(l, now, open, idle);
}

static void show(struct loop *l)
{
    int64_t ready = 0, busy = 0;
    for (size_t i = 0; i < l->n_lanes; i++) {
        ready += lane_stands(&l->lane[i]);
        busy += l->lane[i].job != NULL;
    }
    pthread_mutex_lock(&l->lock);
    bool changed = l->look.busy != busy, moved = l->look.ready != ready || l->look.slots != (int64_t)l->n_lanes;
    l->look.slots = (int64_t)l->n_lanes;
    l->look.ready = ready;
    l->look.busy = busy;
    l->look.leased = (int64_t)(l->n_jobs - l->n_checkers);
    pthread_mutex_unlock(&l->lock);
    if (changed)
        l->r->host->metric_set(l->r->host->ctx, &runner_metrics[METRIC_SLOTS_BUSY], NULL, (double)busy);
    if (moved) {
        l->r->host->metric_set(l->r->host->ctx, &runner_metrics[METRIC_SLOTS], NULL, (double)l->n_lanes);
        l->r->host->metric_set(l->r->host->ctx, &runner_metrics[METRIC_SLOTS_READY], NULL, (double)ready);
    }
}

void loop_look(struct runner *r, struct loop_state *out)
{
    pthread_mutex_lock(&r->loop->lock);
    *out = r->loop->look;
    pthread_mutex_unlock(&r->loop->lock);
}

static int timeout_of(const struct loop *l)
{
    int64_t until = mono_ms(l) + IDLE_MS;
    if (l->n_jobs != 0 || l->draining)
        until = l->tick_ms;
    for (size_t i = 0; i < l->n_lanes && !l->draining; i++) {
        const struct slot *s = &l->lane[i].slot[l->lane[i].home];
        int64_t retry = l->r->environments.list[s->env].retry_mono_ms;
        if (lane_stands(&l->lane[i]) || s->client != NULL || s->opening)
            continue;
        if (s->open_mono_ms > retry)
            retry = s->open_mono_ms;
        if (retry < until)
            until = retry;
    }
    if (atomic_load(&l->work) && l->lease_after_ms > 0 && l->lease_after_ms < until && !l->leasing)
        until = l->lease_after_ms;
    int64_t left = until - mono_ms(l);
    return left < 1 ? 1 : left > IDLE_MS ? IDLE_MS : (int)left;
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    while (!atomic_load(&l->stop)) {
        struct epoll_event ev[64];
        int n = epoll_wait(l->epoll, ev, 64, timeout_of(l));
        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr != NULL) {
                slot_on_ready(ev[i].data.ptr);
                continue;
            }
            uint64_t drop;
            ssize_t got = read(l->wake, &drop, sizeof drop);
            (void)got;
        }
        pthread_mutex_lock(&l->lock);
        struct mail *m = l->first;
        l->first = l->last = NULL;
        pthread_mutex_unlock(&l->lock);
        while (m != NULL) {
            struct mail *next = m->next; /* on_mail may free it with its job */
            on_mail(l, m);
            m = next;
        }
        if (mono_ms(l) >= l->tick_ms)
            tick(l);
        schedule(l);
        show(l);
    }
    return NULL;
}

int loop_start(struct runner *r, struct assay_err *err)
{
    struct loop *l = calloc(1, sizeof *l);
    if (l == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    r->loop = l;
    l->r = r;
    l->epoll = l->wake = -1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->drained_cond, NULL);
    atomic_init(&l->work, true);
    atomic_init(&l->stop, false);
    size_t places = r->environments.n;
    l->n_lanes = (size_t)r->max_parallel;
    l->n_slots = 2 * l->n_lanes * places;
    l->lane = calloc(2 * l->n_lanes, sizeof *l->lane);
    l->slot = calloc(l->n_slots, sizeof *l->slot);
    l->testing = calloc(r->languages.n + 1, sizeof *l->testing);
    if (l->lane == NULL || l->slot == NULL || l->testing == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < 2 * l->n_lanes; i++)
        l->lane[i] = (struct lane){.index = (int)(i % l->n_lanes), .twin = i >= l->n_lanes, .slot = l->slot + i * places};
    for (size_t i = 0; i < l->n_slots; i++)
        l->slot[i] = (struct slot){.loop = l, .lane = &l->lane[i / places], .env = i % places, .opened_place = ASSAY_BUF_INIT};
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (l->epoll < 0 || l->wake < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &ev) < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "the runner's loop");
    int rc = pthread_create(&l->thread, NULL, loop_main, l);
    if (rc != 0)
        return assay_err_errno(err, ASSAY_E_IO, rc, "the runner's thread");
    l->running = true;
    return ASSAY_OK;
}

void loop_drain(struct runner *r)
{
    struct loop *l = r->loop;
    if (l == NULL || !l->running)
        return;
    l->drain_mail = (struct mail){.loop = l, .kind = MAIL_DRAIN};
    mail_post(&l->drain_mail);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += r->drain_ms / 1000 + 5; /* the boxes' end, and the writes */
    pthread_mutex_lock(&l->lock);
    int rc = 0;
    while (!l->drained && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&l->drained_cond, &l->lock, &until);
    pthread_mutex_unlock(&l->lock);
}

void loop_stop(struct runner *r)
{
    struct loop *l = r->loop;
    if (l == NULL)
        return;
    if (l->running) {
        atomic_store(&l->stop, true);
        wake_up(l);
        pthread_join(l->thread, NULL);
    }
    for (size_t i = 0; l->slot != NULL && i < l->n_slots; i++) {
        assay_box_client_free(l->slot[i].client);
        slot_forget_held(&l->slot[i]);
        assay_buf_free(&l->slot[i].opened_place);
    }
    for (struct job *j = l->jobs; j != NULL; j = j->next) {
        if (j->checker != NULL && j->checker->entered)
            j->checker = NULL; /* it is in the list itself */
    }
    while (l->jobs != NULL) { /* what could not be given back in time is void at the next start */
        struct job *j = l->jobs;
        l->jobs = j->next;
        job_free(j);
    }
    if (l->epoll >= 0)
        close(l->epoll);
    if (l->wake >= 0)
        close(l->wake);
    free(l->slot);
    free(l->lane);
    free(l->testing);
    pthread_cond_destroy(&l->drained_cond);
    pthread_mutex_destroy(&l->lock);
    free(l);
    r->loop = NULL;
}
