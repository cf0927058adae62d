/*
 * Wardens: each slot's one, from its opening to its death.
 *
 *   (no client) ─▶ opening, on a worker ─▶ client ─▶ hello: the slot may have a job ─▶ dead ─▶ (no client)
 *                        └─ failed ─────────────────────────────────────────────────────────────┘
 *
 * Between two openings a slot waits, twice as long each time up to BACKOFF_MAX_MS; a warden's hello makes it
 * short again.  Opening blocks, so a worker does it and sends the stream by mail; all else is the loop's.
 *
 * What a warden says comes through the client's events: output goes to the slot's job, and an outcome, or the
 * end of a put or get, is only noted while the client reads (it may not be run again or freed from inside its own events) and is
 * told to judge.c when it has returned.
 *
 * When a warden dies its job waits LIMBO_MS, until it is known whether the process that made the warden is
 * alive: if so, the death is charged to the job (it may be what it does to wardens); if not, it is an
 * interruption.  A job whose tests a worker is loading waits for that worker instead (judge.c).
 */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPEN_TIMEOUT_MS 10000
#define BACKOFF_MAX_MS 5000
#define LIMBO_MS 300

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
    m->status = host->warden_open(host->ctx, ASSAY_STR(""), ASSAY_STR(""), OPEN_TIMEOUT_MS, &m->fd, &m->slot->opened_place,
                                   &m->err);
    mail_post(m);
}

void slot_open(struct slot *s)
{
    struct loop *l = s->loop;
    const struct assay_host *host = l->r->host;
    s->mail = (struct mail){.loop = l, .kind = MAIL_OPENED, .slot = s, .fd = -1};
    assay_buf_reset(&s->opened_place);
    if (host->offload(host->ctx, open_work, &s->mail) < 0)
        s->open_mono_ms = mono_ms(l) + 100;
    else
        s->opening = true;
}

static void say_trouble(struct loop *l, const char *text)
{
    pthread_mutex_lock(&l->lock);
    bool news = strcmp(l->look.trouble, text) != 0;
    put_text(l->look.trouble, sizeof l->look.trouble, "%s", text);
    pthread_mutex_unlock(&l->lock);
    if (news && text[0] != '\0') /* once for a state, not once for a try */
        assay_log(l->r->host, ASSAY_LOG_WARN, "warden_missing", ASSAY_KZ("error", text));
}

static void reopen_later(struct slot *s)
{
    s->backoff_ms = s->backoff_ms == 0 ? 20 : s->backoff_ms * 2;
    if (s->backoff_ms > BACKOFF_MAX_MS)
        s->backoff_ms = BACKOFF_MAX_MS;
    s->open_mono_ms = mono_ms(s->loop) + s->backoff_ms;
}

static void on_output(void *arg, int stream, struct assay_str bytes)
{
    struct slot *s = arg;
    if (s->job != NULL)
        assay_buf_str(stream == 1 ? &s->job->out : &s->job->err, bytes);
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
    assay_buf_str(&s->keep_content, bytes);
}

static void on_stored(void *arg, struct assay_str artefact, struct assay_str message)
{
    struct slot *s = arg;
    s->told = true;
    put_text(s->stored, sizeof s->stored, "%.*s", ASSAY_FMT(artefact));
    put_text(s->stored_why, sizeof s->stored_why, "%.*s", ASSAY_FMT(message));
}

void slot_opened(struct loop *l, struct mail *m)
{
    static const struct assay_box_events events = {
        .output = on_output, .done = on_done, .content = on_content, .stored = on_stored};
    struct slot *s = m->slot;
    s->opening = false;
    if (m->status < 0) {
        say_trouble(l, m->err.msg);
        reopen_later(s);
        return;
    }
    if (l->draining) {
        close(m->fd);
        return;
    }
    struct ucred who = {.pid = 0};
    socklen_t len = sizeof who;
    s->keeper = getsockopt(m->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? (int)who.pid : 0;
    s->client = assay_box_client_new(m->fd, &events, s);
    if (s->client == NULL) {
        close(m->fd);
        reopen_later(s);
        return;
    }
    s->armed = 0;
    put_text(s->place, sizeof s->place, "%.*s", ASSAY_FMT(assay_buf_view(&s->opened_place)));
    slot_arm(s);
}

bool slot_idle(const struct slot *s)
{
    return s->client != NULL && s->job == NULL && assay_box_client_hello(s->client) != NULL && !assay_box_client_busy(s->client);
}

void slot_release(struct job *j)
{
    struct slot *s = j->slot;
    j->slot = NULL;
    if (s == NULL)
        return;
    s->job = NULL;
    struct assay_err ignored;
    if (s->client == NULL || j->artefact[0] == '\0' || j->cached)
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
    if (!l->draining) {
        host->metric_add(host->ctx, &runner_metrics[METRIC_WARDEN_DEATHS], NULL, 1);
        assay_log(host, ASSAY_LOG_WARN, "warden_died", ASSAY_KI("slot", s->index), ASSAY_KZ("error", why),
                  ASSAY_KS("submission_id", j != NULL ? j->lease.submission_id : ASSAY_STR_NULL));
    }
    assay_box_client_free(s->client);
    s->client = NULL;
    s->armed = 0;
    s->done = s->told = false;
    s->job = NULL;
    slot_forget_held(s);
    reopen_later(s);
    if (j == NULL)
        return;
    j->slot = NULL;
    j->artefact[0] = '\0';
    if (j->stage == STAGE_LOAD || j->stage == STAGE_RECALL) { /* its worker still has it: see job_loaded, job_recalled */
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

void job_leave_limbo(struct loop *l, struct job *j)
{
    /* 0 cannot be asked about; a process of another user answers EPERM, and is alive */
    bool keeper_dead = j->keeper > 0 && kill(j->keeper, 0) < 0 && errno == ESRCH;
    char why[sizeof j->fault];
    memcpy(why, j->fault, sizeof why);
    job_failed(l, j, why, !keeper_dead && !l->draining);
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
        pthread_mutex_lock(&s->loop->lock);
        put_text(s->loop->look.mode, sizeof s->loop->look.mode, "%s", hello->mode);
        s->loop->look.features = hello->features;
        pthread_mutex_unlock(&s->loop->lock);
        say_trouble(s->loop, "");
    }
    if (s->done) {
        s->done = false;
        job_box_done(s->loop, s);
    }
    if (s->told) {
        s->told = false;
        if (s->job != NULL)
            job_brought(s->loop, s);
        else if (s->keep != NULL)
            slot_got(s);
    }
    if (rc < 0)
        warden_died(s, err.msg);
    else if (s->client != NULL)
        slot_arm(s);
}
