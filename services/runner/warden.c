/*
 * Wardens: each slot's one, from its opening to its death, and which slots of a lane have one.
 *
 *   (no client) ─▶ opening, on a worker ─▶ client ─▶ hello: a job may stand here ─▶ dead ─▶ (no client)
 *                        └─ failed ────────────────────────────────────────────────────────┘
 *
 * Between two openings a slot waits, twice as long each time up to BACKOFF_MAX_MS; a warden's hello makes it
 * short again.  A failed opening makes all slots of its environment wait (environment.c).  Opening blocks, so
 * a worker does it and sends the stream by mail; all else is the loop's.
 *
 * A lane without any warden opens one at its home, and has another home next time when that fails.  What a
 * job needs is opened for it; then the lane has at most wardens_of_lane, the least recently used are closed.
 *
 * What a warden says comes through the client's events: output goes to the slot's job, and how a box, a
 * transfer or a search ended is only noted while the client reads (it may not be run again or freed from inside
 * its own events) and is told to judge.c, place.c or environment.c when it has returned.
 *
 * When a warden dies its job waits LIMBO_MS, until it is known whether the process that made the warden is
 * alive: if not, it is an interruption.  If so, the boxkeeper is asked: a driver may know that the death came from
 * outside (an engine that was restarted), which is an interruption too; every other is charged to the job, since it
 * may be what the job does to wardens.  A job whose tests a worker is loading waits for that worker instead (judge.c).
 */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TWIN_IDLE_MS 60000 /* a twin's wardens are closed when no checker came for so long */
#define OPEN_TIMEOUT_MS 10000
#define BACKOFF_MAX_MS 5000
#define LIMBO_MS 300
#define FATE_TIMEOUT_MS 8000
#define FEATURE_ONE_JOB (1u << 9) /* of a hello */

static bool is_gone(int keeper)
{
    return keeper > 0 && kill(keeper, 0) < 0 && errno == ESRCH;
}

bool slot_orphaned(const struct slot *s)
{
    return is_gone(s->keeper);
}

void slot_arm(struct slot *s)
{
    uint32_t want = EPOLLIN | (assay_box_client_wants_write(s->client) ? (uint32_t)EPOLLOUT : 0);
    if (want == s->armed)
        return;
    struct epoll_event ev = {.events = want, .data.ptr = s};
    int op = s->armed == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(s->loop->epoll, op, assay_box_client_fd(s->client), &ev) == 0)
        s->armed = want;
}

static void open_work(void *arg)
{
    struct mail *m = arg;
    const struct assay_host *host = m->loop->r->host;
    const char *image = m->loop->r->environments.list[m->slot->env].image;
    m->status = host->warden_open(host->ctx, ASSAY_STR(""), assay_str(image), OPEN_TIMEOUT_MS, &m->fd, &m->slot->opened_place,
                                  &m->err);
    mail_post(m);
}

static void close_warden(struct slot *s)
{
    struct environment *e = &s->loop->r->environments.list[s->env];
    if (e->surveyor == s)
        e->surveyor = NULL;
    assay_box_client_free(s->client);
    s->client = NULL;
    s->armed = 0;
    s->done = s->told = s->found = s->prestarted = s->fork_asked = false;
    s->forks = NULL;
    calibration_lost(s->loop, s);
    slot_forget_held(s);
}

/* Another warden is coming: closes the one that was not used for longest, unless there is room. */
static void lane_make_room(struct lane *la)
{
    const struct runner *r = la->slot->loop->r;
    struct slot *oldest = NULL;
    int64_t n = 0;
    for (size_t i = 0; i < r->environments.n; i++) {
        struct slot *s = &la->slot[i];
        n += s->client != NULL || s->opening;
        if (slot_stands(s) && !assay_box_client_busy(s->client) && s->job == NULL && (oldest == NULL || s->used < oldest->used))
            oldest = s;
    }
    if (n >= r->wardens_of_lane && oldest != NULL)
        close_warden(oldest);
}

void slot_want(struct slot *s)
{
    struct loop *l = s->loop;
    const struct assay_host *host = l->r->host;
    int64_t now = mono_ms(l);
    if (s->client != NULL || s->opening || now < s->open_mono_ms || now < l->r->environments.list[s->env].retry_mono_ms)
        return;
    lane_make_room(s->lane);
    s->mail = (struct mail){.loop = l, .kind = MAIL_OPENED, .slot = s, .fd = -1};
    assay_buf_reset(&s->opened_place);
    if (host->offload(host->ctx, open_work, &s->mail) < 0)
        s->open_mono_ms = now + 100;
    else
        s->opening = true;
}

bool slot_stands(const struct slot *s)
{
    return s->client != NULL && assay_box_client_hello(s->client) != NULL;
}

bool lane_stands(const struct lane *la)
{
    for (size_t i = 0; i < la->slot->loop->r->environments.n; i++) {
        if (slot_stands(&la->slot[i]))
            return true;
    }
    return false;
}

bool lane_idle(const struct lane *la)
{
    bool stands = false;
    for (size_t i = 0; i < la->slot->loop->r->environments.n; i++) {
        const struct slot *s = &la->slot[i];
        if (slot_stands(s) && assay_box_client_busy(s->client))
            return false;
        stands = stands || slot_stands(s);
    }
    return stands && la->job == NULL;
}

/* Its warden wants to be replaced, or was good for one job; and nothing is under way there. */
static bool spent(const struct slot *s)
{
    if (!slot_stands(s) || assay_box_client_busy(s->client) || s->job != NULL || s->keep != NULL)
        return false;
    return assay_box_client_worn(s->client) || (s->had_job && (assay_box_client_hello(s->client)->features & FEATURE_ONE_JOB));
}

void lane_keep(struct lane *la)
{
    for (size_t i = 0; i < la->slot->loop->r->environments.n; i++) {
        if (spent(&la->slot[i]))
            close_warden(&la->slot[i]); /* it sees the end of its stream */
    }
    if (la->job != NULL && la->job->stage == STAGE_PLACE)
        slot_want(la->job->slot);
    bool resting = la->twin && la->job == NULL && mono_ms(la->slot->loop) - la->used_mono_ms > TWIN_IDLE_MS;
    for (size_t i = 0; i < la->slot->loop->r->environments.n; i++) {
        struct slot *s = &la->slot[i];
        if (resting && slot_stands(s) && !assay_box_client_busy(s->client) && s->keep == NULL)
            close_warden(s);
        if (!la->twin && (s->client != NULL || s->opening))
            return;
    }
    if (!la->twin)
        slot_want(&la->slot[la->home]);
}

static void say_trouble(struct loop *l, const char *text)
{
    pthread_mutex_lock(&l->lock);
    put_text(l->look.trouble, sizeof l->look.trouble, "%s", text);
    pthread_mutex_unlock(&l->lock);
}

static void reopen_later(struct slot *s)
{
    s->backoff_ms = s->backoff_ms == 0 ? 20 : s->backoff_ms * 2;
    if (s->backoff_ms > BACKOFF_MAX_MS)
        s->backoff_ms = BACKOFF_MAX_MS;
    s->open_mono_ms = mono_ms(s->loop) + s->backoff_ms;
}

/* There is no warden, and it is not one's death in the midst of work. */
static void not_opened(struct slot *s, int status, const char *why)
{
    struct loop *l = s->loop;
    struct lane *la = s->lane;
    say_trouble(l, why);
    environment_failed(s, status, why);
    if (la->home == s->env)
        la->home = (la->home + 1) % l->r->environments.n;
    if (s->job != NULL && s->job->stage == STAGE_PLACE)
        job_unplaced(l, s->job, status, why);
}

static void on_output(void *arg, int stream, struct assay_str bytes)
{
    struct slot *s = arg;
    if (s->job == NULL)
        return;
    assay_buf_str(stream == 1 ? &s->job->out : &s->job->err, bytes);
    if (stream == 1)
        talk_said(s->job, bytes);
}

static void on_taken(void *arg, size_t bytes, bool closed)
{
    struct slot *s = arg;
    if (s->job != NULL)
        talk_taken(s->job, bytes, closed);
}

static void on_ended(void *arg)
{
    struct slot *s = arg;
    if (s->job != NULL)
        talk_silent(s->job);
}

static void on_done(void *arg, const struct assay_box_outcome *o)
{
    struct slot *s = arg;
    s->outcome = *o;
    s->done = true;
}

static void on_content(void *arg, struct assay_str bytes)
{
    struct slot *s = arg;
    if (s->keep != NULL || (s->job != NULL && s->job->stage == STAGE_WARM_GET))
        assay_buf_str(&s->keep_content, bytes);
    else if (s->job != NULL)
        assay_buf_str(&s->job->carry, bytes);
}

static void on_stored(void *arg, struct assay_str artefact, struct assay_str message)
{
    struct slot *s = arg;
    s->told = true;
    put_text(s->stored, sizeof s->stored, "%.*s", ASSAY_FMT(artefact));
    put_text(s->stored_why, sizeof s->stored_why, "%.*s", ASSAY_FMT(message));
}

static void on_prestarted(void *arg, struct assay_str message)
{
    struct slot *s = arg;
    s->prestarted = true;
    put_text(s->prestart_why, sizeof s->prestart_why, "%.*s", ASSAY_FMT(message));
}

static void on_found(void *arg, const struct assay_box_found *list, size_t n)
{
    struct slot *s = arg;
    s->found = true;
    survey_found(s, list, n);
}

void slot_opened(struct loop *l, struct mail *m)
{
    static const struct assay_box_events events = {
        .output = on_output, .done = on_done, .content = on_content, .stored = on_stored,
        .found = on_found, .warmed = on_prestarted, .taken = on_taken, .ended = on_ended};
    struct slot *s = m->slot;
    s->opening = false;
    if (m->status < 0) {
        not_opened(s, m->status, m->err.msg);
        return;
    }
    if (l->draining) {
        close(m->fd);
        return;
    }
    struct ucred who = {.pid = 0};
    socklen_t len = sizeof who;
    s->keeper = getsockopt(m->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? (int)who.pid : 0;
    struct stat st;
    s->stream = fstat(m->fd, &st) == 0 ? (uint64_t)st.st_ino : 0;
    s->client = assay_box_client_new(m->fd, &events, s);
    if (s->client == NULL) {
        close(m->fd);
        reopen_later(s);
        return;
    }
    s->armed = 0;
    s->had_job = false;
    put_text(s->place, sizeof s->place, "%.*s", ASSAY_FMT(assay_buf_view(&s->opened_place)));
    slot_arm(s);
}

void slot_release(struct job *j)
{
    struct slot *s = j->slot;
    j->slot = NULL;
    if (s == NULL)
        return;
    s->job = NULL;
    s->lane->job = NULL;
    s->had_job = true;
    struct assay_err ignored;
    if (s->client == NULL || j->artefact[0] == '\0' || (j->cached && !j->carried))
        return;
    slot_keep(s, j);
    if (s->keep == NULL && !slot_holds(s, j->artefact) && assay_box_client_drop(s->client, assay_str(j->artefact), &ignored) >= 0)
        slot_arm(s);
}

bool slot_cancel(struct slot *s)
{
    struct assay_err ignored;
    if (s == NULL || s->client == NULL || !assay_box_client_busy(s->client))
        return false;
    if (assay_box_client_cancel(s->client, &ignored) >= 0)
        slot_arm(s);
    return true;
}

static void warden_died(struct slot *s, const char *why)
{
    struct loop *l = s->loop;
    struct job *j = s->job;
    const struct assay_host *host = l->r->host;
    bool greeted = slot_stands(s);
    if (!l->draining) {
        host->metric_add(host->ctx, &runner_metrics[METRIC_WARDEN_DEATHS], NULL, 1);
        assay_log(host, ASSAY_LOG_WARN, "warden_died", ASSAY_KI("lane", s->lane->index),
                  ASSAY_KZ("image", l->r->environments.list[s->env].image), ASSAY_KZ("error", why),
                  ASSAY_KS("submission_id", j != NULL ? j->lease.submission_id : ASSAY_STR_NULL));
    }
    close_warden(s);
    reopen_later(s);
    if (!greeted)
        not_opened(s, ASSAY_E_IO, why);
    if (j == NULL || !greeted)
        return;
    s->job = NULL;
    s->lane->job = NULL;
    j->slot = NULL;
    j->dead_stream = s->stream;
    j->artefact[0] = '\0';
    if (j->stage == STAGE_LOAD || j->stage == STAGE_RECALL || j->stage == STAGE_WARM_FIND || j->stage == STAGE_WARM_KEEP) {
        /* its worker still has it: see job_loaded, job_recalled, job_warmed */
        put_text(j->fault, sizeof j->fault, "the warden died: %s", why);
        j->give_back = true;
        j->keeper = s->keeper;
        j->retry_mono_ms = mono_ms(l) + LIMBO_MS;
        return;
    }
    if (j->cancel || j->dead || j->give_back) {
        job_finish(l, j);
        return;
    }
    j->stage = STAGE_LIMBO;
    j->keeper = s->keeper;
    j->retry_mono_ms = mono_ms(l) + LIMBO_MS;
    put_text(j->fault, sizeof j->fault, "the warden died: %s", why);
}

static void fate_work(void *arg)
{
    struct mail *m = arg;
    const struct assay_host *host = m->loop->r->host;
    struct job *j = m->job;
    ASSAY_CLEANUP_BUF struct assay_buf why = ASSAY_BUF_INIT;
    m->status = host->warden_fate(host->ctx, j->dead_stream, FATE_TIMEOUT_MS, &j->outside, &why, &m->err);
    if (m->status == 0)
        put_text(m->err.msg, sizeof m->err.msg, "%.*s", ASSAY_FMT(assay_buf_view(&why)));
    mail_post(m);
}

void job_fate(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    if (m->status == 0)
        put_text(j->fault, sizeof j->fault, "the warden died: %s", m->err.msg);
    else
        j->outside = false; /* nobody knows better: it may be what the job does to wardens */
    job_leave_limbo(l, j);
}

void job_leave_limbo(struct loop *l, struct job *j)
{
    const struct assay_host *host = l->r->host;
    /* 0 cannot be asked about; a process of another user answers EPERM, and is alive */
    bool keeper_dead = is_gone(j->keeper);
    char why[sizeof j->fault];
    if (!keeper_dead && !l->draining && !j->fate_asked && j->dead_stream != 0) {
        struct mail *m = j->mail;
        *m = (struct mail){.loop = l, .kind = MAIL_FATE, .job = j};
        j->fate_asked = host->offload(host->ctx, fate_work, m) >= 0;
        j->retry_mono_ms = j->fate_asked ? INT64_MAX : mono_ms(l) + 100;
        return;
    }
    memcpy(why, j->fault, sizeof why);
    job_failed(l, j, why, !keeper_dead && !l->draining && !j->outside);
}

void slot_on_ready(struct slot *s)
{
    struct assay_err err;
    if (s->client == NULL)
        return;
    bool greeted = assay_box_client_hello(s->client) != NULL;
    int rc = assay_box_client_on_ready(s->client, &err);
    if (!greeted && assay_box_client_hello(s->client) != NULL) {
        const struct assay_box_hello *hello = assay_box_client_hello(s->client);
        s->backoff_ms = 0;
        s->lane->home = s->env;
        pthread_mutex_lock(&s->loop->lock);
        put_text(s->loop->look.mode, sizeof s->loop->look.mode, "%s", hello->mode);
        s->loop->look.features = hello->features;
        pthread_mutex_unlock(&s->loop->lock);
        say_trouble(s->loop, "");
        environment_opened(s);
    }
    if (s->found) {
        s->found = false;
        (void)survey_next(s);
    }
    if (s->told) {
        s->told = false;
        if (s->job != NULL && s->job->stage == STAGE_CARRY)
            job_carried(s->loop, s);
        else if (s->job != NULL && s->job->stage == STAGE_FEEDBACK)
            check_got(s->loop, s);
        else if (s->job != NULL && s->job->stage == STAGE_WARM_GET)
            job_warm_got(s->loop, s);
        else if (s->job != NULL)
            job_brought(s->loop, s);
        else if (s->keep != NULL)
            slot_got(s);
    }
    if (s->prestarted) {
        s->prestarted = false;
        if (s->job != NULL && s->job->stage == STAGE_PRESTART)
            job_prestarted(s->loop, s);
    }
    if (s->done) {
        s->done = false;
        if (!calibration_took(s->loop, s))
            job_box_done(s->loop, s);
    }
    if (rc < 0) {
        warden_died(s, err.msg);
        return;
    }
    if (s->job != NULL && s->job->stage == STAGE_PLACE && slot_stands(s) && !assay_box_client_busy(s->client))
        job_next_step(s->loop, s->job);
    if (s->client != NULL)
        slot_arm(s);
}
