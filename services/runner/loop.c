/*
 * The runner's loop: one thread that drives every box without blocking.
 *
 * What it owns: the slots (each one warden's stream), and all jobs from the moment a worker has prepared
 * them until their end is committed.  What blocks (opening a warden, leasing, reading blobs) runs on the
 * host's workers; what is written runs on the store's writer.  Both come back through the mailbox: a
 * list under a mutex and an eventfd that is written only when the list was empty.
 *
 *   leased ─▶ PREPARE ─▶ READY ─▶ [VERSION] ─▶ [BUILD] ─▶ (LOAD ⇄ TEST)… ─▶ FINISH ─▶ gone
 *                           │                      └─ warden dies ─▶ LIMBO ─▶ FINISH (given back)
 *                           └─ answers are judged by the worker and go to FINISH at once
 *
 * A slot is free again as soon as the last box of its job is done: the commit of one job overlaps the
 * run of the next.  One job per slot is leased ahead, so that a slot never waits for the disk.
 *
 * News of a job (running, each test) is written at most every FLUSH_MS, and what a short job did comes
 * with its end in one transaction.  A write that fails for a reason of the store is tried again while
 * the lease lasts; one that fails its guard means that the job is somebody else's now, and it is dropped.
 *
 * When a warden dies the job waits LIMBO_MS, until it is known whether the process that made the warden
 * is alive: if so, the death is charged to the job (it may be what it does to wardens); if not, it is an
 * interruption.
 */
#include "local.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS 50
#define IDLE_MS 1000
#define FLUSH_MS 100
#define FLUSH_ROWS 64
#define LIMBO_MS 300
#define AHEAD_MAX 64
#define POLL_MS 5000 /* looks for work without a bell, in case one was lost */
#define OPEN_TIMEOUT_MS 10000
#define BACKOFF_MAX_MS 5000
#define RETEST_MS 5000
#define TESTS_OF_LANGUAGE 3

enum mail_kind { MAIL_OPENED = 1, MAIL_JOB, MAIL_LEASED, MAIL_LOADED, MAIL_WRITTEN, MAIL_DRAIN };

struct mail {
    struct mail *next;
    struct loop *loop;
    enum mail_kind kind;
    struct slot *slot;
    struct job *job;
    struct assay_arena *arena; /* of the transaction under way */
    size_t want, rows_to, events_to;
    int fd, status;
    bool final, announced;
    struct assay_err err;
};
_Static_assert(sizeof(struct mail) <= LOOP_MAIL_SIZE, "a job carries one mail");

struct slot {
    struct loop *loop;
    int index;
    struct assay_box_client *client; /* NULL: no warden */
    bool opening;
    uint32_t armed; /* epoll events */
    int keeper;     /* process that made the warden, 0 unknown */
    int64_t open_mono_ms;
    int64_t backoff_ms;
    struct job *job;
    bool done; /* an outcome came in on_ready */
    struct assay_box_outcome outcome;
    struct mail mail; /* for opening */
};

struct loop {
    struct runner *r;
    pthread_t thread;
    bool running;
    int epoll, wake;
    atomic_bool work, stop;

    pthread_mutex_t lock; /* guards all up to the blank line */
    pthread_cond_t drained_cond;
    struct mail *first, *last;
    struct loop_state look;
    bool drained;

    struct slot *slot;
    size_t n_slots;
    struct job *jobs; /* all of them */
    size_t n_jobs;
    struct job *ready_first, *ready_last;
    size_t n_ready;
    size_t asked, ahead; /* of the lease under way; kept ahead beyond one for each slot */
    uint64_t given, given_before; /* to slots: so far, and when the lease began */
    struct mail lease_mail, drain_mail;
    bool leasing, draining;
    int failures; /* of ours, one after another: the next lease waits a little longer for each */
    int64_t tick_ms, poll_ms, lease_after_ms, drain_until_ms;
    struct {
        struct job *job;
        int64_t after_ms;
        int tries;
    } *testing; /* by language */
};

static int64_t mono_ms(const struct loop *l)
{
    return l->r->host->mono_ns(l->r->host->ctx) / 1000000;
}
static int64_t now_ms(const struct loop *l)
{
    return l->r->host->now_ms(l->r->host->ctx);
}

/* Cuts what does not fit. */
static void put(char *to, size_t room, const char *fmt, ...) ASSAY_PRINTF(3, 4);
static void put(char *to, size_t room, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(to, room, fmt, ap);
    va_end(ap);
}

/* ---- mailbox: any thread ------------------------------------------------------------------------- */

static void wake_up(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake, &one, sizeof one); /* full means awake */
    (void)n;
}

static void post(struct mail *m)
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

/* ---- the list of jobs ------------------------------------------------------------------------------ */

static void enter_job(struct loop *l, struct job *j)
{
    j->prev = NULL;
    j->next = l->jobs;
    if (l->jobs != NULL)
        l->jobs->prev = j;
    l->jobs = j;
    l->n_jobs++;
}

static void forget_job(struct loop *l, struct job *j)
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

static void push_ready(struct loop *l, struct job *j)
{
    j->next_ready = NULL;
    if (l->ready_last != NULL)
        l->ready_last->next_ready = j;
    else
        l->ready_first = j;
    l->ready_last = j;
    l->n_ready++;
}

static void unready(struct loop *l, struct job *j)
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

/* ---- wardens ------------------------------------------------------------------------------------------ */

static void arm(struct slot *s)
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
    m->status = host->warden_open(host->ctx, ASSAY_STR(""), OPEN_TIMEOUT_MS, &m->fd, &m->err);
    post(m);
}

static void open_warden(struct slot *s)
{
    struct loop *l = s->loop;
    const struct assay_host *host = l->r->host;
    s->mail = (struct mail){.loop = l, .kind = MAIL_OPENED, .slot = s, .fd = -1};
    if (host->offload(host->ctx, open_work, &s->mail) < 0)
        s->open_mono_ms = mono_ms(l) + 100;
    else
        s->opening = true;
}

static void say_trouble(struct loop *l, const char *text)
{
    pthread_mutex_lock(&l->lock);
    bool news = strcmp(l->look.trouble, text) != 0;
    put(l->look.trouble, sizeof l->look.trouble, "%s", text);
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

static void on_opened(struct loop *l, struct mail *m)
{
    static const struct assay_box_events events = {.output = on_output, .done = on_done};
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
    arm(s);
}

/* ---- running boxes --------------------------------------------------------------------------------------- */

static void job_failed(struct loop *l, struct job *j, const char *why, bool charge);
static void finish_job(struct loop *l, struct job *j);
static void next_step(struct loop *l, struct job *j);

static void release_slot(struct loop *l, struct job *j)
{
    (void)l;
    struct slot *s = j->slot;
    j->slot = NULL;
    if (s == NULL)
        return;
    s->job = NULL;
    struct assay_err ignored;
    if (s->client != NULL && j->artefact[0] != '\0') {
        if (assay_box_client_drop(s->client, assay_str(j->artefact), &ignored) >= 0)
            arm(s);
    }
}

static const char *const base_env[] = {"PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "TMPDIR=/tmp"};
#define N_BASE_ENV (sizeof base_env / sizeof base_env[0])

/* Runs one stage of the language in a fresh box. */
static void run_stage(struct loop *l, struct job *j, const struct stage *stage, struct assay_box_spec *spec)
{
    const struct language *lang = j->language;
    struct assay_err err;
    struct assay_strs argv, env;
    int64_t memory = spec->limits.memory_bytes;
    /* a scratch arena: a job of many tests must not grow by each of them */
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    int rc = arena == NULL ? assay_err_set(&err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
    if (rc >= 0)
        rc = stage_expand(lang, &stage->argv, j->path, j->n_files, memory, arena, &argv, &err);
    if (rc >= 0)
        rc = stage_expand(lang, &stage->env, j->path, j->n_files, memory, arena, &env, &err);
    struct assay_str *all = rc >= 0 ? assay_arena_array(arena, env.n + N_BASE_ENV, sizeof *all) : NULL;
    if (rc >= 0 && all == NULL)
        rc = assay_err_set(&err, ASSAY_E_NOMEM, "no memory");
    if (rc >= 0) {
        for (size_t i = 0; i < N_BASE_ENV; i++)
            all[i] = assay_str(base_env[i]);
        if (env.n != 0)
            memcpy(all + N_BASE_ENV, env.items, env.n * sizeof *all);
        spec->argv = argv.items;
        spec->n_argv = argv.n;
        spec->env = all;
        spec->n_env = env.n + N_BASE_ENV;
        spec->seccomp = l->r->seccomp;
        assay_buf_free(&j->out);
        assay_buf_free(&j->err);
        /* a little over the limit, as far as a warden may overshoot */
        assay_buf_init(&j->out, (size_t)spec->limits.stdout_bytes + ((size_t)1 << 20));
        assay_buf_init(&j->err, (size_t)spec->limits.stderr_bytes + ((size_t)1 << 20));
        rc = assay_box_client_run(j->slot->client, spec, &err);
    }
    if (rc < 0)
        job_failed(l, j, err.msg, true);
    else
        arm(j->slot);
}

static void run_version(struct loop *l, struct job *j)
{
    struct assay_box_spec spec = {.limits = {.cpu_ms = 10000,
                                             .wall_ms = 20000,
                                             .memory_bytes = l->r->build_memory,
                                             .stdout_bytes = STORED_MAX,
                                             .stderr_bytes = STORED_MAX,
                                             .processes = 256}};
    j->stage = STAGE_VERSION;
    run_stage(l, j, &j->language->version, &spec);
}

static void run_build(struct loop *l, struct job *j)
{
    const struct language *lang = j->language;
    /* a program's limits never bind its build */
    struct assay_box_spec spec = {.files = j->file,
                                  .n_files = j->n_files,
                                  .collect = lang->artefacts.items,
                                  .n_collect = lang->artefacts.n,
                                  .collect_bytes = (int64_t)64 << 20,
                                  .flags = ASSAY_BOX_STDERR_TO_STDOUT,
                                  .limits = {.cpu_ms = l->r->build_time_ms,
                                             .wall_ms = l->r->build_time_ms * 2,
                                             .memory_bytes = l->r->build_memory,
                                             .stdout_bytes = (int64_t)1 << 20,
                                             .stderr_bytes = (int64_t)1 << 20,
                                             .processes = lang->build.limits.processes != 0 ? lang->build.limits.processes : 128,
                                             .open_files = 1024,
                                             .scratch_bytes = (int64_t)512 << 20,
                                             .file_bytes = (int64_t)256 << 20,
                                             .scratch_files = lang->build.limits.scratch_files != 0
                                                                  ? lang->build.limits.scratch_files
                                                                  : 16384}};
    j->stage = STAGE_BUILD;
    j->build_start_ms = now_ms(l);
    run_stage(l, j, &lang->build, &spec);
}

static void run_check(struct loop *l, struct job *j)
{
    struct assay_box_spec spec = {.files = j->file,
                                  .n_files = j->n_files,
                                  .flags = ASSAY_BOX_STDERR_TO_STDOUT,
                                  .limits = {.cpu_ms = l->r->build_time_ms,
                                             .wall_ms = l->r->build_time_ms * 2,
                                             .memory_bytes = l->r->build_memory,
                                             .stdout_bytes = (int64_t)1 << 20,
                                             .stderr_bytes = (int64_t)1 << 20,
                                             .processes = 64}};
    j->stage = STAGE_CHECK;
    run_stage(l, j, &j->language->check, &spec);
}

static void run_test(struct loop *l, struct job *j)
{
    struct test *t = &j->test[j->at_test];
    struct assay_box_mount mount = {assay_str(j->artefact), ASSAY_STR(ARTEFACT_DIR)};
    struct assay_box_file input = {ASSAY_STR("input.txt"), t->input, 0644};
    bool harness = j->mode == ASSAY_JUDGE_HARNESS;
    struct assay_box_spec spec = {.limits = j->limits, .flags = ASSAY_BOX_STRICT_OUTPUT};
    struct assay_box_file *file = NULL;
    size_t n = 0;
    /* a harness reads the payload on stdin, and the test's input, when there is one, as a file */
    spec.stdin_bytes = harness ? j->payload : t->input;
    if (j->language->builds) {
        spec.mounts = &mount;
        spec.n_mounts = 1;
    }
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    if (arena != NULL)
        file = assay_arena_array(arena, j->n_files + 1, sizeof *file);
    if (file == NULL) {
        job_failed(l, j, "no memory", true);
        return;
    }
    for (size_t i = 0; !j->language->builds && i < j->n_files; i++)
        file[n++] = j->file[i];
    if (harness && t->input.n != 0)
        file[n++] = input;
    spec.files = file;
    spec.n_files = n;
    j->stage = STAGE_TEST;
    t->start_ms = now_ms(l);
    run_stage(l, j, &j->language->run, &spec);
}

static void load_work(void *arg)
{
    struct mail *m = arg;
    m->status = job_load(m->loop->r, m->job, &m->err);
    post(m);
}

static void load_tests(struct loop *l, struct job *j)
{
    struct mail *m = j->mail;
    const struct assay_host *host = l->r->host;
    *m = (struct mail){.loop = l, .kind = MAIL_LOADED, .job = j};
    j->stage = STAGE_LOAD;
    if (host->offload(host->ctx, load_work, m) < 0)
        job_failed(l, j, "the server's workers are busy", false);
}

/* What comes next for a job that holds a slot with an idle warden. */
static void next_step(struct loop *l, struct job *j)
{
    if (j->cancel || j->dead || j->give_back) {
        finish_job(l, j);
        return;
    }
    if (j->kind == JOB_SELF_TEST && j->version_text[0] == '\0') {
        run_version(l, j);
    } else if (j->language->builds && !j->built) {
        run_build(l, j);
    } else if (j->at_test == j->n_tests) {
        finish_job(l, j);
    } else if (j->at_test >= j->loaded_to) {
        load_tests(l, j);
    } else {
        run_test(l, j);
    }
}

static struct assay_str kept(struct job *j, const struct assay_buf *b)
{
    struct assay_str s = assay_buf_view(b);
    if (s.n > STORED_MAX)
        s.n = STORED_MAX;
    return s.n != 0 ? assay_arena_str(j->arena, s) : ASSAY_STR("");
}

static void version_done(struct job *j, const struct assay_box_outcome *o)
{
    struct assay_str text = j->out.n != 0 ? assay_buf_view(&j->out) : assay_buf_view(&j->err);
    size_t n = 0;
    while (n < text.n && text.p[n] != '\n' && n < sizeof j->version_text - 1)
        n++;
    if (o->end == ASSAY_BOX_EXITED && o->exit_code == 0 && n != 0) {
        put(j->version_text, sizeof j->version_text, "%.*s", (int)n, text.p);
        return;
    }
    put(j->version_text, sizeof j->version_text, "?");
    j->verdict = VERDICT_RE; /* what cannot say its version cannot be trusted to run */
    put(j->fault, sizeof j->fault, "its version command failed: exit code %d, signal %d, %.*s %s", o->exit_code,
             o->signal, (int)(text.n > 100 ? 100 : text.n), text.p != NULL ? text.p : "", o->message);
}

static void build_done(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    j->build = *o;
    j->built = true;
    j->build_end_ms = now_ms(l);
    const char *label[] = {j->language->name.p};
    l->r->host->metric_observe(l->r->host->ctx, &runner_metrics[METRIC_BUILD], label, (double)o->wall_us / 1e6);
    if (o->end == ASSAY_BOX_EXITED && o->exit_code == 0 && o->artefact[0] != '\0') {
        memcpy(j->artefact, o->artefact, sizeof j->artefact);
        j->build_output = kept(j, &j->out); /* warnings */
        return;
    }
    const char *why = "";
    if (o->end == ASSAY_BOX_CPU || o->end == ASSAY_BOX_WALL)
        why = "\nThe build took too long.\n";
    else if (o->end == ASSAY_BOX_MEMORY)
        why = "\nThe build needed too much memory.\n";
    else if (o->end == ASSAY_BOX_OUTPUT)
        why = "\nThe build printed too much.\n";
    else if (o->end == ASSAY_BOX_EXITED && o->exit_code == 0)
        why = "\nThe build made no program.\n";
    struct assay_str text = kept(j, &j->out);
    j->build_output = why[0] != '\0' ? assay_arena_fmt(j->arena, "%.*s%s", ASSAY_FMT(text), why) : text;
    j->verdict = VERDICT_BF;
}

static void count_test(struct job *j, const struct test *t)
{
    j->at_test++;
    if (t->verdict != VERDICT_OK && j->stop_on_failure)
        j->at_test = j->n_tests; /* the rest stays "-" */
}

static void test_done(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    struct test *t = &j->test[j->at_test];
    struct assay_str out = assay_buf_view(&j->out), err = assay_buf_view(&j->err);
    t->outcome = *o;
    t->ran = true;
    t->end_ms = now_ms(l);
    t->verdict = verdict_of_run(o, &j->language->signatures, out, err);
    if (t->verdict == VERDICT_OK && j->lease.kind != ASSAY_JOB_TASK && !output_matches(&j->compare, t->expected, out))
        t->verdict = VERDICT_WA;
    t->out = kept(j, &j->out);
    t->err = kept(j, &j->err);
    const char *label[] = {j->language->name.p};
    l->r->host->metric_observe(l->r->host->ctx, &runner_metrics[METRIC_RUN], label, (double)o->wall_us / 1e6);
    if (t->verdict == VERDICT_BF && j->checked)
        t->verdict = VERDICT_RE;
    if (t->verdict == VERDICT_BF) {
        t->ran = false; /* not news before the check has spoken */
        return;
    }
    count_test(j, t);
}

static void check_done(struct job *j, const struct assay_box_outcome *o)
{
    struct test *t = &j->test[j->at_test];
    j->checked = true;
    if (o->end == ASSAY_BOX_EXITED && o->exit_code == 0) {
        t->verdict = VERDICT_RE;
        t->ran = true;
        count_test(j, t);
        return;
    }
    j->verdict = VERDICT_BF; /* that is so for every test */
    j->build_output = kept(j, &j->out);
    t->outcome = (struct assay_box_outcome){.end = ASSAY_BOX_EXITED};
    t->verdict = VERDICT_NONE; /* not run, as with a compiler */
    t->out = t->err = ASSAY_STR("");
}
static void box_done(struct loop *l, struct slot *s)
{
    struct job *j = s->job;
    if (j == NULL)
        return;
    const struct assay_box_outcome *o = &s->outcome;
    if (j->cancel || j->dead || j->give_back) {
        finish_job(l, j);
        return;
    }
    if (o->end == ASSAY_BOX_FAILED || o->end == ASSAY_BOX_CANCELLED) {
        job_failed(l, j, o->end == ASSAY_BOX_FAILED ? o->message : "the box was ended", true);
        return;
    }
    if (j->stage == STAGE_VERSION)
        version_done(j, o);
    else if (j->stage == STAGE_BUILD)
        build_done(l, j, o);
    else if (j->stage == STAGE_CHECK)
        check_done(j, o);
    else
        test_done(l, j, o);
    if (j->verdict != VERDICT_NONE)
        finish_job(l, j);
    else if (j->stage == STAGE_TEST && j->at_test < j->n_tests && j->test[j->at_test].verdict == VERDICT_BF)
        run_check(l, j);
    else
        next_step(l, j);
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static void on_written(struct assay_tx *tx, void *arg)
{
    struct mail *m = arg;
    m->status = tx->status;
    if (tx->status < 0)
        m->err = tx->err;
    post(m);
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
    for (; rc >= 0 && m->events_to < j->n_tests && j->test[m->events_to].ran; m->events_to++) {
        if (!tell || m->events_to >= ASSAY_TX_OPS)
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
    if (rc >= 0 && j->at_test - j->rows_to >= FLUSH_ROWS) {
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

static int add_end(struct loop *l, struct job *j, struct assay_tx *tx, struct mail *m, struct assay_err *err)
{
    struct runner *r = l->r;
    if (j->give_back && !j->cancel) {
        int rc = r->jobs->give_back(r->jobs_self, &j->lease, j->charge, assay_arena_str(tx->arena, assay_str(j->fault)), tx,
                                    err);
        /* the last attempt: the result says what went wrong, to those who can mend it */
        if (rc >= 0 && j->charge && j->lease.attempt >= r->max_attempts) {
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
    if (j->lease.kind == ASSAY_JOB_TASK) {
        const struct test *t = &j->test[0];
        end.output = j->verdict == VERDICT_BF                      ? j->build_output
                     : t->out.n != 0 || j->verdict == VERDICT_OK ? t->out
                                                                   : t->err;
    }
    rc = r->jobs->finish(r->jobs_self, &j->lease, &end, tx, err);
    size_t events = tx->n_events;
    if (rc >= 0)
        rc = add_news(l, j, tx, m, err);
    if (rc >= 0 && events == 1 && tx->n_events > 1) { /* the end is the last of the news */
        struct assay_event done = tx->event[0];
        memmove(tx->event, tx->event + 1, (tx->n_events - 1) * sizeof *tx->event);
        tx->event[tx->n_events - 1] = done;
    }
    if (rc >= 0)
        rc = repo_add_tests(tx, j, j->rows_to, j->n_tests, err);
    if (rc >= 0)
        rc = repo_add_result(tx, j, now_ms(l), err);
    return rc;
}

static void write_end(struct loop *l, struct job *j)
{
    if (j->dead) {
        if (j->writes == 0)
            forget_job(l, j);
        return;
    }
    if (j->writes != 0) { /* rows of a flush under way are not to be written twice */
        j->retry_mono_ms = mono_ms(l);
        return;
    }
    if (j->n_tests - j->rows_to > 2 * FLUSH_ROWS && !j->give_back && !j->cancel) {
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
    const char *labels[] = {j->language != NULL ? j->language->name.p : "", j->cancel ? "cancelled" : verdict_name(j->verdict)};
    host->metric_add(host->ctx, &runner_metrics[METRIC_VERDICTS], labels, 1);
    assay_log(host, ASSAY_LOG_INFO, "submission_judged", ASSAY_KS("submission_id", j->lease.submission_id),
              ASSAY_KS("request_id", j->lease.request_id), ASSAY_KZ("language", labels[0]), ASSAY_KZ("verdict", labels[1]),
              ASSAY_KR("score", j->score), ASSAY_KI("tests", j->n_tests),
              ASSAY_KI("queue_ms", j->leased_ms - j->lease.created_ms));
}

static void on_mail_written(struct loop *l, struct mail *m)
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
        struct assay_err ignored;
        if (j->slot != NULL && j->slot->client != NULL && assay_box_client_busy(j->slot->client) &&
            assay_box_client_cancel(j->slot->client, &ignored) >= 0)
            arm(j->slot);
    }
    if (m->final && m->status >= 0) {
        ended_well(l, j);
        forget_job(l, j);
    } else if (m->final && !j->dead) {
        /* the store is in trouble: the verdict stands, and is written when it has recovered */
        int64_t delay = 100 * ((int64_t)1 << (j->finish_tries < 6 ? j->finish_tries : 6));
        j->finish_tries++;
        j->retry_mono_ms = mono_ms(l) + delay;
        assay_log(l->r->host, ASSAY_LOG_ERROR, "end_unwritten", ASSAY_KS("submission_id", j->lease.submission_id),
                  ASSAY_KZ("error", m->err.msg));
    } else if (j->dead && j->stage == STAGE_FINISH && j->writes == 0) {
        forget_job(l, j);
    } else if (j->stage == STAGE_FINISH && !m->final) {
        write_end(l, j);
    }
    assay_arena_free(m->arena);
    free(m);
}

/* ---- ends ----------------------------------------------------------------------------------------------------- */

static void finish_self_test(struct loop *l, struct job *j)
{
    struct runner *r = l->r;
    struct language *lang = j->language;
    size_t i = (size_t)(lang - r->languages.list);
    bool again = j->give_back && !l->draining && ++l->testing[i].tries < TESTS_OF_LANGUAGE;
    bool passed = !j->give_back && j->verdict == VERDICT_OK;
    l->testing[i].job = NULL;
    l->testing[i].after_ms = mono_ms(l) + RETEST_MS;
    if (passed) {
        language_settle(lang, LANGUAGE_OFFERED, j->version_text, "");
        assay_log(r->host, ASSAY_LOG_INFO, "language_offered", ASSAY_KS("language", lang->name),
                  ASSAY_KZ("version", j->version_text), ASSAY_KI("build_ms", j->build_end_ms - j->build_start_ms),
                  ASSAY_KI("run_ms", j->test[0].outcome.wall_us / 1000));
    } else if (!again && !l->draining) {
        char why[240];
        const struct test *t = &j->test[0];
        struct assay_str said = j->verdict == VERDICT_BF ? j->build_output : t->err;
        if (j->fault[0] != '\0')
            put(why, sizeof why, "%s", j->fault);
        else
            put(why, sizeof why, "its sample got %s (exit code %d, signal %d): %.*s", verdict_name(j->verdict),
                     t->outcome.exit_code, t->outcome.signal, (int)(said.n > 120 ? 120 : said.n), said.p != NULL ? said.p : "");
        language_settle(lang, LANGUAGE_UNAVAILABLE, j->version_text, why);
        assay_log(r->host, ASSAY_LOG_WARN, "language_not_offered", ASSAY_KS("language", lang->name), ASSAY_KZ("reason", why));
    } else {
        assay_log(r->host, ASSAY_LOG_WARN, "self_test_failed", ASSAY_KS("language", lang->name), ASSAY_KZ("reason", j->fault));
    }
    forget_job(l, j);
}

/* The job's boxes are done, or are never to be: its end goes to the store. */
static void finish_job(struct loop *l, struct job *j)
{
    const struct slot *s = j->slot;
    if (s != NULL && s->client != NULL && assay_box_client_hello(s->client) != NULL)
        put(j->mode_text, sizeof j->mode_text, "%s", assay_box_client_hello(s->client)->mode);
    release_slot(l, j);
    j->stage = STAGE_FINISH;
    if (j->verdict == VERDICT_NONE && !j->give_back) {
        struct scored *list = assay_arena_array(j->arena, j->n_tests + 1, sizeof *list);
        j->verdict = VERDICT_OK;
        for (size_t i = 0; i < j->n_tests; i++) {
            const struct test *t = &j->test[i];
            if (list != NULL)
                list[i] = (struct scored){t->def.points, t->verdict};
            if (j->verdict == VERDICT_OK && t->verdict != VERDICT_OK && t->verdict != VERDICT_NONE)
                j->verdict = t->verdict;
        }
        j->score = list != NULL ? score_of(list, j->n_tests) : 0;
    }
    if (j->kind == JOB_SELF_TEST)
        finish_self_test(l, j);
    else
        write_end(l, j);
}

/* Ours, not the program's: the job goes back to the queue. */
static void job_failed(struct loop *l, struct job *j, const char *why, bool charge)
{
    put(j->fault, sizeof j->fault, "%s", why);
    j->give_back = true;
    j->charge = charge;
    if (charge && j->kind == JOB_SUBMISSION) { /* three attempts within a millisecond would prove nothing */
        l->failures += l->failures < 10;
        l->lease_after_ms = mono_ms(l) + 100 * l->failures;
    }
    finish_job(l, j);
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
    s->done = false;
    s->job = NULL;
    reopen_later(s);
    if (j == NULL)
        return;
    j->slot = NULL;
    j->artefact[0] = '\0';
    if (j->stage == STAGE_LOAD) { /* its worker still has it: see on_loaded */
        put(j->fault, sizeof j->fault, "the warden died: %s", why);
        j->give_back = true;
        return;
    }
    if (j->cancel || j->dead || j->give_back) {
        finish_job(l, j);
        return;
    }
    j->stage = STAGE_LIMBO;
    j->keeper = s->keeper;
    j->retry_mono_ms = mono_ms(l) + LIMBO_MS;
    put(j->fault, sizeof j->fault, "the warden died: %s", why);
}

static void leave_limbo(struct loop *l, struct job *j)
{
    /* 0 cannot be asked about; a process of another user answers EPERM, and is alive */
    bool keeper_dead = j->keeper > 0 && kill(j->keeper, 0) < 0 && errno == ESRCH;
    char why[sizeof j->fault];
    memcpy(why, j->fault, sizeof why);
    job_failed(l, j, why, !keeper_dead && !l->draining);
}

static void slot_ready(struct slot *s)
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
        put(s->loop->look.mode, sizeof s->loop->look.mode, "%s", hello->mode);
        s->loop->look.features = hello->features;
        pthread_mutex_unlock(&s->loop->lock);
        say_trouble(s->loop, "");
    }
    if (s->done) {
        s->done = false;
        box_done(s->loop, s);
    }
    if (rc < 0)
        warden_died(s, err.msg);
    else if (s->client != NULL)
        arm(s);
}

/* ---- work in ---------------------------------------------------------------------------------------------------- */

static bool copy_lease(struct job *j, const struct assay_job *from)
{
    j->lease = *from;
    struct assay_str *text[] = {&j->lease.submission_id, &j->lease.benchmark_id, &j->lease.problem_id, &j->lease.agent_id,
                                &j->lease.owner_id,      &j->lease.language,     &j->lease.source,     &j->lease.source_ref,
                                &j->lease.payload,       &j->lease.payload_ref,  &j->lease.manifest_ref, &j->lease.traceparent,
                                &j->lease.request_id};
    bool ok = true;
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        *text[i] = text[i]->n != 0 ? assay_arena_str(j->arena, *text[i]) : ASSAY_STR("");
        ok = ok && text[i]->p != NULL;
    }
    return ok;
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
    for (size_t i = 0; m->status >= 0 && i < n; i++) {
        struct job *j = job_new(r);
        if (j == NULL || !copy_lease(j, &list[i])) {
            /* nobody holds it: its lease expires and it comes back */
            assay_log(host, ASSAY_LOG_ERROR, "job_dropped", ASSAY_KS("submission_id", list[i].submission_id),
                      ASSAY_KZ("error", "no memory"));
            job_free(j);
            continue;
        }
        j->leased_ms = host->now_ms(host->ctx);
        struct mail *mail = j->mail;
        *mail = (struct mail){.loop = m->loop, .kind = MAIL_JOB, .job = j};
        mail->status = job_prepare(r, j, &mail->err);
        j->prepared_ms = host->now_ms(host->ctx);
        post(mail);
    }
    m->want = n;
    post(m);
}

static void on_job(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    enter_job(l, j);
    int64_t now = mono_ms(l);
    j->renewed_mono_ms = j->flushed_mono_ms = now;
    l->r->host->metric_observe(l->r->host->ctx, &runner_metrics[METRIC_QUEUE_WAIT], NULL,
                               (double)(j->leased_ms - j->lease.created_ms) / 1e3);
    if (l->draining)
        job_failed(l, j, "the server is stopping", false);
    else if (m->status < 0)
        job_failed(l, j, m->err.msg, true);
    else if (j->stage == STAGE_FINISH)
        finish_job(l, j);
    else
        push_ready(l, j);
}

static void on_loaded(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    if (j->slot == NULL) { /* its warden died meanwhile */
        j->stage = STAGE_LIMBO;
        j->keeper = 0;
        leave_limbo(l, j);
    } else if (m->status < 0) {
        job_failed(l, j, m->err.msg, true);
    } else {
        next_step(l, j);
    }
}

/* A lease takes two commits' time, in which the slots may end many short programs: as many as they took from
 * us meanwhile, and as many again since leases differ, are kept ahead. Programs that run longer than a
 * lease takes bring it to nothing, so that no job waits here that another runner could have. */
static void leased(struct loop *l)
{
    size_t want = 2 * (size_t)(l->given - l->given_before);
    if (want > AHEAD_MAX)
        want = AHEAD_MAX;
    l->ahead = want > l->ahead ? want : l->ahead - (l->ahead - want + 3) / 4;
}

static void on_mail(struct loop *l, struct mail *m)
{
    switch (m->kind) {
    case MAIL_OPENED:
        on_opened(l, m);
        break;
    case MAIL_JOB:
        on_job(l, m);
        break;
    case MAIL_LEASED:
        l->leasing = false;
        if (m->status < 0) {
            l->lease_after_ms = mono_ms(l) + 200;
            atomic_store(&l->work, true);
            assay_log(l->r->host, ASSAY_LOG_ERROR, "lease_failed", ASSAY_KZ("error", m->err.msg));
        } else if (m->want == l->asked) {
            atomic_store(&l->work, true); /* there may be more */
        }
        leased(l);
        break;
    case MAIL_LOADED:
        on_loaded(l, m);
        break;
    case MAIL_WRITTEN:
        on_mail_written(l, m);
        break;
    case MAIL_DRAIN:
        l->draining = true;
        l->drain_until_ms = mono_ms(l) + l->r->drain_ms;
        while (l->ready_first != NULL) {
            struct job *j = l->ready_first;
            unready(l, j);
            job_failed(l, j, "the server is stopping", false);
        }
        break;
    }
}

static bool slot_idle(const struct slot *s)
{
    return s->client != NULL && s->job == NULL && assay_box_client_hello(s->client) != NULL && !assay_box_client_busy(s->client);
}

static void give_job(struct loop *l, struct slot *s, struct job *j)
{
    s->job = j;
    j->slot = s;
    j->started_ms = now_ms(l);
    l->given++;
    next_step(l, j);
}

static bool test_language(struct loop *l, struct slot *s, struct language *lang)
{
    size_t i = (size_t)(lang - l->r->languages.list);
    if (atomic_load(&lang->state) != LANGUAGE_UNTESTED || l->testing[i].job != NULL || l->testing[i].after_ms > mono_ms(l))
        return false;
    struct job *j = job_self_test(l->r, lang);
    if (j == NULL)
        return false;
    enter_job(l, j);
    l->testing[i].job = j;
    give_job(l, s, j);
    return true;
}

/* The oldest job whose language is known to work; what a waiting job needs is tested first. */
static bool fill_slot(struct loop *l, struct slot *s)
{
    for (struct job *j = l->ready_first; j != NULL; j = j->next_ready) {
        int state = atomic_load(&j->language->state);
        if (state == LANGUAGE_UNTESTED)
            continue;
        unready(l, j);
        if (state == LANGUAGE_OFFERED) {
            give_job(l, s, j);
        } else {
            j->verdict = VERDICT_IE;
            pthread_mutex_lock(&j->language->lock);
            put(j->fault, sizeof j->fault, "this runner does not offer the language: %s", j->language->reason);
            pthread_mutex_unlock(&j->language->lock);
            finish_job(l, j);
        }
        return true;
    }
    for (struct job *j = l->ready_first; j != NULL; j = j->next_ready) {
        if (test_language(l, s, j->language))
            return true;
    }
    for (size_t i = 0; i < l->r->languages.n; i++) {
        if (test_language(l, s, &l->r->languages.list[i]))
            return true;
    }
    return false;
}

static void schedule(struct loop *l)
{
    const struct assay_host *host = l->r->host;
    int64_t now = mono_ms(l);
    size_t open = 0, idle = 0;
    for (size_t i = 0; i < l->n_slots && !l->draining; i++) {
        struct slot *s = &l->slot[i];
        if (s->client == NULL && !s->opening && now >= s->open_mono_ms)
            open_warden(s);
        while (slot_idle(s) && fill_slot(l, s)) {
        }
        open += s->client != NULL && assay_box_client_hello(s->client) != NULL;
        idle += slot_idle(s);
    }
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

/* ---- time ---------------------------------------------------------------------------------------------------------- */

static void stop_box(struct loop *l, struct job *j)
{
    struct assay_err ignored;
    if (j->slot != NULL && j->slot->client != NULL && assay_box_client_busy(j->slot->client)) {
        if (assay_box_client_cancel(j->slot->client, &ignored) >= 0)
            arm(j->slot);
    } else if (j->stage == STAGE_READY) {
        unready(l, j);
        finish_job(l, j);
    }
}

static void tick_job(struct loop *l, struct job *j, int64_t now)
{
    struct runner *r = l->r;
    struct assay_err err;
    if (j->stage == STAGE_LIMBO) {
        if (now >= j->retry_mono_ms)
            leave_limbo(l, j);
        return;
    }
    if (l->draining && now >= l->drain_until_ms && j->stage != STAGE_FINISH && !j->give_back) {
        put(j->fault, sizeof j->fault, "the server is stopping");
        j->give_back = true;
        stop_box(l, j);
        return;
    }
    if (j->kind == JOB_SELF_TEST)
        return;
    if (now - j->renewed_mono_ms >= r->lease_ms / 3 && !j->dead) {
        j->renewed_mono_ms = now;
        if (r->jobs->renew(r->jobs_self, j->lease.submission_id, j->lease.fence, r->lease_ms, &err) == ASSAY_E_GUARD &&
            j->stage != STAGE_FINISH) {
            assay_log(r->host, ASSAY_LOG_WARN, "job_lease_lost", ASSAY_KS("submission_id", j->lease.submission_id));
            j->dead = true;
            stop_box(l, j);
            return;
        }
    }
    if (j->stage == STAGE_FINISH) {
        if (now >= j->retry_mono_ms)
            write_end(l, j);
        return;
    }
    if (!j->cancel && r->jobs->cancelled(r->jobs_self, j->lease.submission_id)) {
        j->cancel = true;
        stop_box(l, j);
        return;
    }
    bool news = (!j->announced && j->started_ms != 0) || j->at_test > j->events_to || j->at_test - j->rows_to >= FLUSH_ROWS;
    if (news && j->writes == 0 && now - j->flushed_mono_ms >= FLUSH_MS && j->stage != STAGE_READY && j->stage != STAGE_LOAD)
        flush(l, j);
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
    if (l->draining && l->n_jobs == 0 && !l->leasing) {
        pthread_mutex_lock(&l->lock);
        l->drained = true;
        pthread_cond_broadcast(&l->drained_cond);
        pthread_mutex_unlock(&l->lock);
    }
}

static void show(struct loop *l)
{
    int64_t ready = 0, busy = 0;
    for (size_t i = 0; i < l->n_slots; i++) {
        const struct slot *s = &l->slot[i];
        ready += s->client != NULL && assay_box_client_hello(s->client) != NULL;
        busy += s->job != NULL;
    }
    pthread_mutex_lock(&l->lock);
    bool changed = l->look.busy != busy;
    l->look.slots = (int64_t)l->n_slots;
    l->look.ready = ready;
    l->look.busy = busy;
    l->look.leased = (int64_t)l->n_jobs;
    pthread_mutex_unlock(&l->lock);
    if (changed)
        l->r->host->metric_set(l->r->host->ctx, &runner_metrics[METRIC_SLOTS_BUSY], NULL, (double)busy);
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
    for (size_t i = 0; i < l->n_slots; i++) {
        const struct slot *s = &l->slot[i];
        if (s->client == NULL && !s->opening && !l->draining && s->open_mono_ms < until)
            until = s->open_mono_ms;
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
                slot_ready(ev[i].data.ptr);
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

/* ---- beginning and end --------------------------------------------------------------------------------------------- */

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
    l->n_slots = (size_t)r->max_parallel;
    l->slot = calloc(l->n_slots, sizeof *l->slot);
    l->testing = calloc(r->languages.n + 1, sizeof *l->testing);
    if (l->slot == NULL || l->testing == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < l->n_slots; i++)
        l->slot[i] = (struct slot){.loop = l, .index = (int)i};
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
    post(&l->drain_mail);
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
    for (size_t i = 0; l->slot != NULL && i < l->n_slots; i++)
        assay_box_client_free(l->slot[i].client);
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
    free(l->testing);
    pthread_cond_destroy(&l->drained_cond);
    pthread_mutex_destroy(&l->lock);
    free(l);
    r->loop = NULL;
}
