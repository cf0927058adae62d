/* Projects in the runner: what is read before and written after, on workers, and their one box, on the loop. */
#include "project.h"

#include "remote.h"

#include <stdio.h>
#include <string.h>

#define UNPACK_MS 60000
#define SLACK_MS 30000 /* what the box may take beyond what its steps may */
#define SCRATCH_BYTES (INT64_C(1) << 30)
#define SCRATCH_FILES 200000
#define PROCESSES 1024
#define OPEN_FILES 8192
#define FEATURE_LEAF_MEMORY (1u << 1) /* of a hello */

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

/* ---- the programs that go into the box -------------------------------------------------------------------------- */

int project_tools(struct runner *r, struct assay_err *err)
{
    struct assay_err why = {0, ""};
    int rc = assay_pit_dirs(r->host->option_str(r->host->ctx, "share_dir"), r->host->option_str(r->host->ctx, "pits_path"), r->arena, &r->pit_dirs, err);
    if (rc < 0)
        return rc;
    if (!r->judges)
        return rc;
    if (tool_read(r, "assay-project", &r->project_tool, &why) < 0 || tool_read(r, "assay-unpack", &r->unpack_tool, &why) < 0) {
        r->project_tool = ASSAY_STR(""); /* projects end as IE, and say so; all else works */
        put_text(r->project_lacks, sizeof r->project_lacks, "%.250s", why.msg);
        assay_log(r->host, ASSAY_LOG_WARN, "projects_not_offered", ASSAY_KZ("error", r->project_lacks));
    }
    return ASSAY_OK;
}

/* ---- workers: before -------------------------------------------------------------------------------------------- */

/* It cannot be run, here or elsewhere. */
static int refuse(struct job *j, enum verdict v, const char *step, const char *why, struct assay_err *err)
{
    int rc = project_fault(step, why, j->arena, &j->project->feedback, err);
    if (rc < 0)
        return rc;
    j->verdict = v;
    j->stage = STAGE_FINISH;
    put_text(j->fault, sizeof j->fault, "%s: %s", step, why);
    return ASSAY_OK;
}

/* A row of this server's or a file of its folders, or else default.json, as the older runner had it. */
static int find_pit(struct runner *r, struct assay_str id, struct assay_arena *arena, struct assay_pit *out, struct assay_err *err)
{
    int rc = r->pits != NULL ? r->pits->get(r->pits_self, id, arena, out, err) : assay_pit_load(&r->pit_dirs, id, arena, out, err);
    if (rc == ASSAY_E_NOT_FOUND)
        rc = assay_pit_load(&r->pit_dirs, assay_str(r->host->option_str(r->host->ctx, "default_pit_id")), arena, out, err);
    return rc;
}

int project_prepare(struct runner *r, struct job *j, struct assay_err *err)
{
    struct project *p = assay_arena_alloc(j->arena, sizeof *p);
    struct project_away away = {.pit = ASSAY_STR("")};
    if (p == NULL)
        return no_memory(err);
    j->project = p;
    j->feedback = ASSAY_FEEDBACK_NONE; /* there are no tests to tell of */
    p->outcome.end = ASSAY_BOX_EXITED;
    int rc = assay_project_decode(j->lease.payload, j->arena, &p->message, err);
    if (rc < 0)
        return rc == ASSAY_E_INVALID || rc == ASSAY_E_NOT_FOUND ? refuse(j, VERDICT_IE, "message", err->msg, err) : rc;
    if (p->message.assay.n != 0)
        rc = project_away_decode(p->message.assay, j->arena, &away, err);
    p->fence = away.fence;
    if (rc >= 0)
        rc = away.pit.n != 0 ? assay_pit_decode(away.pit, j->arena, &p->pit, err) : find_pit(r, p->message.pit_id, j->arena, &p->pit, err);
    char why[sizeof err->msg];
    put_text(why, sizeof why, "%s", rc < 0 ? err->msg : "");
    if (rc == ASSAY_E_NOT_FOUND || rc == ASSAY_E_CONFIG || rc == ASSAY_E_INVALID)
        return refuse(j, VERDICT_IE, "pit", why, err);
    if (rc < 0)
        return rc;
    if (p->pit.max_timeout_ms == 0)
        p->pit.max_timeout_ms = r->project_timeout_ms;
    if (p->pit.test_command.n == 0)
        return refuse(j, VERDICT_IE, "pit", "the PIT has no testCommand, and there is no default.json that says one", err);
    if (r->project_tool.n == 0)
        return refuse(j, VERDICT_IE, "runner", r->project_lacks, err);
    if (p->pit.tests_key.n == 0)
        p->pit.tests_key = assay_arena_fmt(j->arena, "pits/%.*s/tests.zip", ASSAY_FMT(p->message.pit_id));
    const struct language *lang = p->pit.language.n != 0 ? languages_find(&r->languages, p->pit.language) : NULL;
    p->env = lang != NULL ? lang->env[SIDE_BUILD] : 0;
    j->limits.memory_bytes = r->project_memory;
    j->limits.wall_ms = 2 * UNPACK_MS + r->project_timeout_ms + p->pit.max_timeout_ms + 2 * r->project_grace_ms + SLACK_MS;
    j->stage = STAGE_READY;
    return p->pit.tests_key.p == NULL ? no_memory(err) : ASSAY_OK;
}

int project_load(struct runner *r, struct job *j, struct assay_err *err)
{
    struct project *p = j->project;
    const struct assay_blobs *b = r->host->blobs;
    struct assay_err why = {0, ""};
    assay_arena_free(j->test_arena);
    j->test_arena = assay_arena_new(2 * PROJECT_ARCHIVE_MAX + ((size_t)1 << 20));
    if (j->test_arena == NULL)
        return no_memory(err);
    j->loaded_to = 1;
    int rc = b->ops->get(b->self, p->message.file_key, PROJECT_ARCHIVE_MAX, j->test_arena, &p->zip, &why);
    if (rc == ASSAY_E_NOT_FOUND)
        return refuse(j, VERDICT_IE, "fetch", "there is no uploaded file of that fileKey", err);
    if (rc == ASSAY_E_TOO_LARGE)
        return refuse(j, VERDICT_BF, "fetch", "the archive has more than 64 MiB", err);
    if (rc >= 0)
        rc = b->ops->get(b->self, p->pit.tests_key, PROJECT_ARCHIVE_MAX, j->test_arena, &p->tests, &why);
    if (rc == ASSAY_E_NOT_FOUND) {
        p->tests = ASSAY_STR_NULL;
        rc = ASSAY_OK;
    }
    if (rc == ASSAY_E_TOO_LARGE)
        return refuse(j, VERDICT_IE, "fetch", "the instructor's tests have more than 64 MiB", err);
    return rc < 0 ? assay_err_set(err, rc, "the project's archive: %.400s", why.msg) : ASSAY_OK;
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void load_work(void *arg)
{
    struct mail *m = arg;
    m->status = project_load(m->loop->r, m->job, &m->err);
    mail_post(m);
}

/* A worker has the job until its mail is back. */
static void send(struct loop *l, struct job *j, enum job_stage stage, enum mail_kind kind, void (*fn)(void *arg))
{
    struct mail *m = j->mail;
    *m = (struct mail){.loop = l, .kind = kind, .job = j};
    j->stage = stage;
    if (l->r->host->offload(l->r->host->ctx, fn, m) < 0)
        job_failed(l, j, "the server's workers are busy", false);
}

static void start(struct loop *l, struct job *j)
{
    struct runner *r = l->r;
    struct project *p = j->project;
    struct assay_err err;
    struct assay_box_file file[4] = {{ASSAY_STR("assay-project"), r->project_tool, 0755},
                                     {ASSAY_STR("assay-unpack"), r->unpack_tool, 0755},
                                     {ASSAY_STR("submission.zip"), p->zip, 0644},
                                     {ASSAY_STR("tests.zip"), p->tests, 0644}};
    struct assay_str argv = ASSAY_STR("./assay-project"), env = ASSAY_STR("PATH=/usr/bin:/bin");
    ASSAY_CLEANUP_BUF struct assay_buf plan = ASSAY_BUF_INIT;
    project_plan(&p->pit, box_base_env, N_BOX_BASE_ENV, p->tests.n != 0, r->project_timeout_ms, r->project_grace_ms, r->project_log_bytes, &plan);
    struct assay_box_spec spec = {.argv = &argv,
                                  .n_argv = 1,
                                  .env = &env,
                                  .n_env = 1,
                                  .files = file,
                                  .n_files = p->tests.n != 0 ? 4 : 3,
                                  .stdin_bytes = assay_buf_view(&plan),
                                  .limits = {.wall_ms = j->limits.wall_ms,
                                             .memory_bytes = j->limits.memory_bytes,
                                             .stdout_bytes = r->project_log_bytes + 4096,
                                             .stderr_bytes = (int64_t)PROJECT_ANSWER_MAX,
                                             .processes = PROCESSES,
                                             .open_files = OPEN_FILES,
                                             .scratch_bytes = SCRATCH_BYTES,
                                             .scratch_files = SCRATCH_FILES}};
    bool counted = (assay_box_client_hello(j->slot->client)->features & FEATURE_LEAF_MEMORY) != 0;
    spec.seccomp = counted ? r->seccomp : r->seccomp_uncounted;
    processors_of_lane(&r->processors, l->n_lanes, (size_t)j->slot->lane->index, true, spec.cpus);
    assay_buf_free(&j->out);
    assay_buf_free(&j->err);
    assay_buf_init(&j->out, (size_t)spec.limits.stdout_bytes + ((size_t)1 << 20));
    assay_buf_init(&j->err, (size_t)spec.limits.stderr_bytes + ((size_t)1 << 20));
    j->stage = STAGE_PROJECT;
    int rc = plan.failed ? no_memory(&err) : assay_box_client_run(j->slot->client, &spec, &err);
    assay_arena_free(j->test_arena); /* the client has a copy */
    j->test_arena = NULL;
    if (rc < 0)
        job_hindered(l, j, rc, err.msg);
    else
        slot_arm(j->slot);
}

void project_next(struct loop *l, struct job *j)
{
    if (j->loaded_to == 0)
        send(l, j, STAGE_LOAD, MAIL_LOADED, load_work);
    else if (j->verdict != VERDICT_NONE)
        job_finish(l, j);
    else if (job_placed(l, j, SIDE_BUILD))
        start(l, j);
}

static void store_work(void *arg)
{
    struct mail *m = arg;
    struct job *j = m->job;
    struct runner *r = m->loop->r;
    struct project *p = j->project;
    const struct assay_blobs *b = r->host->blobs;
    struct project_end end = {.verdict = VERDICT_NONE};
    struct project_answer *answer = assay_arena_alloc(j->arena, sizeof *answer);
    struct assay_str log = assay_buf_view(&j->out);
    bool answered = answer != NULL && project_answer_read(assay_buf_view(&j->err), answer);
    int rc = answer == NULL ? no_memory(&m->err) : ASSAY_OK;
    if (rc >= 0)
        rc = project_judge(&p->outcome, answered ? answer : NULL, log, j->limits.memory_bytes, j->arena, &end, &p->feedback, &m->err);
    struct assay_str key = assay_arena_fmt(j->arena, "logs/%.*s/run.log", ASSAY_FMT(p->message.submission_id));
    if (rc >= 0 && key.p == NULL)
        rc = no_memory(&m->err);
    if (rc >= 0)
        rc = b->ops->put(b->self, key, log.p != NULL ? log : ASSAY_STR(""), &m->err);
    if (rc >= 0) {
        p->log_key = key;
        j->score = end.score;
        j->verdict = end.verdict;
    }
    m->status = rc;
    mail_post(m);
}

void project_done(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    struct assay_str said = assay_buf_view(&j->err);
    count_run(l->r, "project", VERDICT_NONE, o); /* what it came to is in its report, which is not read yet */
    j->project->outcome = *o;
    if (o->end == ASSAY_BOX_EXITED && o->exit_code != 0) { /* our own program says why it could not do its work */
        char why[sizeof j->fault];
        put_text(why, sizeof why, "assay-project ended with exit status %d: %.*s", o->exit_code, said.n > 200 ? 200 : (int)said.n, said.p != NULL ? said.p : "");
        job_failed(l, j, why, true);
        return;
    }
    const struct slot *s = j->slot;
    if (s->client != NULL && assay_box_client_hello(s->client) != NULL)
        put_text(j->mode_text, sizeof j->mode_text, "%s", assay_box_client_hello(s->client)->mode);
    slot_release(j); /* another may use it meanwhile */
    send(l, j, STAGE_STORE, MAIL_STORED, store_work);
}

void project_stored(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    if (m->status < 0)
        job_hindered(l, j, m->status, m->err.msg);
    else
        job_finish(l, j);
}

/* ---- through brokers -------------------------------------------------------------------------------------------- */

int project_export(struct runner *r, const struct assay_job *lease, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    struct assay_project m;
    struct assay_pit pit;
    struct assay_buf b = ASSAY_BUF_INIT;
    int rc = assay_project_decode(lease->payload, arena, &m, err);
    if (rc >= 0)
        rc = find_pit(r, m.pit_id, arena, &pit, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kint(w, "fence", lease->fence);
    assay_jw_key(w, "pit");
    assay_jw_object(w);
    assay_pit_write(w, &pit);
    assay_jw_end(w);
    assay_jw_end(w);
    rc = assay_jw_finish(w, &b, err);
    m.assay = rc >= 0 ? assay_arena_take(arena, &b) : ASSAY_STR_NULL;
    if (rc >= 0 && m.assay.p == NULL)
        rc = no_memory(err);
    if (rc >= 0)
        rc = assay_project_encode(&m, &b, err);
    *out = rc >= 0 ? assay_arena_take(arena, &b) : ASSAY_STR_NULL;
    assay_buf_free(&b);
    return rc < 0 ? rc : out->p == NULL ? no_memory(err) : ASSAY_OK;
}

int project_import(struct runner *r, struct assay_str holder, const struct assay_job *lease, struct assay_str text, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "runner.project_finish") : NULL;
    struct project_told told;
    if (tx == NULL)
        return no_memory(err);
    int rc = project_told_decode(text, arena, &told, err);
    if (rc < 0)
        return rc;
    if (!assay_str_eq(told.submission_id, lease->submission_id) || told.fence != lease->fence)
        return assay_err_set(err, ASSAY_E_INVALID, "the result is of another lease");
    if (told.verdict == VERDICT_IE && told.feedback.n == 0)
        return away_return(r, holder, lease->submission_id, lease->fence, true, told.fault.n != 0 ? told.fault : ASSAY_STR("the worker could not judge it"), err);
    struct assay_job_end end = {.verdict = assay_str(verdict_name((enum verdict)told.verdict)), .score = told.score, .output = told.feedback,
                                .summary = ASSAY_STR("{}")};
    rc = r->jobs->finish(r->jobs_self, lease, &end, tx, err);
    if (rc >= 0)
        rc = assay_store_exec(r->host->store, tx, err);
    if (rc >= 0) {
        const char *labels[] = {"project", end.verdict.p};
        count_judged(r, lease, labels[0], labels[1]);
        traced_away(r, lease, labels[0], labels[1], holder);
        assay_log(r->host, ASSAY_LOG_INFO, "submission_judged", ASSAY_KS("submission_id", lease->submission_id), ASSAY_KS("verdict", end.verdict),
                  ASSAY_KR("score", told.score), ASSAY_KS("runner", holder));
    }
    return rc;
}
