/*
 * Judging: a job that holds a slot, from its first box to its last.
 *
 *   [VERSION] ─▶ [RECALL ─▶ BRING | BUILD] ─▶ (LOAD ⇄ TEST)… ─▶ job_finish
 *                                                     └─ looks as if it could not be loaded ─▶ CHECK ─▶ (TEST)…
 *
 * A test may be preceded by PRESTART, and a self-test is followed by WEIGH (prefork.c).
 * Each of VERSION, BUILD and TEST has its side of the language, and is preceded by place.c where that stands elsewhere.
 * job_next_step runs the next box, and job_box_done takes what came of it: a verdict that ends the job (the
 * build failed), or the next step.  VERSION is a self-test's only, and so
 * are the stages of warm.c; RECALL and BRING are in recall.c.  LOAD is a worker's, which reads the
 * blobs of as many tests as fit; until its mail is back the loop leaves the job's tests and arena alone.
 *
 * Three kinds of fault, never mixed: the program's is a verdict; a box's or the machine's is job_failed,
 * charged to the job since the job may be its cause; busy workers are nobody's, and not charged.
 */
#include "filter.h"
#include "project.h"

#include <string.h>

#include <assay/warden_wire.h>

const char *const box_base_env[N_BOX_BASE_ENV] = {"PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "TMPDIR=/tmp"};
#define FEATURE_LEAF_MEMORY (1u << 1) /* of a hello */

int job_command(const struct job *j, enum side side, const struct stage *stage, int64_t memory, struct assay_arena *arena,
                struct assay_strs *argv, struct assay_strs *env, struct assay_err *err)
{
    struct assay_strs own;
    int rc = stage_expand(j->language, side, &stage->argv, j->path, j->n_files, &j->options, memory, arena, argv, err);
    if (rc >= 0)
        rc = stage_expand(j->language, side, &stage->env, j->path, j->n_files, &j->options, memory, arena, &own, err);
    if (rc < 0)
        return rc;
    struct assay_str *all = assay_arena_array(arena, own.n + N_BOX_BASE_ENV, sizeof *all);
    if (all == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < N_BOX_BASE_ENV; i++)
        all[i] = assay_str(box_base_env[i]);
    if (own.n != 0)
        memcpy(all + N_BOX_BASE_ENV, own.items, own.n * sizeof *all);
    *env = (struct assay_strs){all, own.n + N_BOX_BASE_ENV};
    return ASSAY_OK;
}

/* The program on a test: its arguments, and the variables that its problem declares, come last. */
static int program_words(const struct job *j, struct assay_arena *arena, struct assay_strs *argv, struct assay_strs *env,
                         struct assay_err *err)
{
    const struct assay_manifest_test *t = &j->test[j->at_test].def;
    const struct assay_strs *own = t->has_arguments ? &t->arguments : &j->arguments;
    struct assay_str *word = assay_arena_array(arena, argv->n + own->n + 1, sizeof *word);
    struct assay_str *var = assay_arena_array(arena, env->n + j->variables.n + 1, sizeof *var);
    if (word == NULL || var == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < argv->n + own->n; i++)
        word[i] = i < argv->n ? argv->items[i] : own->items[i - argv->n];
    for (size_t i = 0; i < env->n + j->variables.n; i++) {
        const struct assay_json_pair *v = i < env->n ? NULL : &j->variables.items[i - env->n];
        var[i] = v == NULL ? env->items[i] : assay_arena_fmt(arena, "%.*s=%.*s", ASSAY_FMT(v->key), ASSAY_FMT(v->value));
        if (var[i].p == NULL)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    *argv = (struct assay_strs){word, argv->n + own->n};
    *env = (struct assay_strs){var, env->n + j->variables.n};
    return ASSAY_OK;
}

void job_run(struct loop *l, struct job *j, enum side side, const struct stage *stage, struct assay_box_spec *spec)
{
    struct assay_err err;
    struct assay_strs argv, env;
    struct assay_box_mount mount[3]; /* the build's files, warm material, the working directory itself */
    /* a scratch arena: a job of many tests must not grow by each of them */
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    int rc = arena == NULL ? assay_err_set(&err, ASSAY_E_NOMEM, "no memory")
                           : job_command(j, side, stage, spec->limits.memory_bytes, arena, &argv, &env, &err);
    /* what the spec has already goes behind the stage's command */
    struct assay_str *whole = rc >= 0 && spec->n_argv != 0 ? assay_arena_array(arena, argv.n + spec->n_argv, sizeof *whole) : NULL;
    if (whole != NULL) {
        memcpy(whole, argv.items, argv.n * sizeof *whole);
        memcpy(whole + argv.n, spec->argv, spec->n_argv * sizeof *whole);
        argv = (struct assay_strs){whole, argv.n + spec->n_argv};
    } else if (rc >= 0 && spec->n_argv != 0) {
        rc = assay_err_set(&err, ASSAY_E_NOMEM, "no memory");
    }
    if (rc >= 0 && j->stage == STAGE_TEST)
        rc = program_words(j, arena, &argv, &env, &err);
    if (rc >= 0) {
        spec->argv = argv.items;
        spec->n_argv = argv.n;
        spec->env = env.items;
        spec->n_env = env.n;
        bool counted = (assay_box_client_hello(j->slot->client)->features & FEATURE_LEAF_MEMORY) != 0;
        spec->seccomp = counted ? l->r->seccomp : l->r->seccomp_uncounted;
        /* a test has one processor; what is not measured may have what the lane has */
        processors_of_lane(&l->r->processors, l->n_lanes, (size_t)j->slot->lane->index, j->stage != STAGE_TEST && j->stage != STAGE_WEIGH,
                           spec->cpus);
        if (spec->n_mounts != 0)
            mount[0] = spec->mounts[0];
        if (stage->warm && j->warm[0] != '\0' && slot_shares(j->slot))
            mount[spec->n_mounts++] = (struct assay_box_mount){assay_str(j->warm), ASSAY_STR(ASSAY_WARDEN_WARM)};
        if (j->language->workdir.n != 0)
            mount[spec->n_mounts++] = (struct assay_box_mount){ASSAY_STR(ASSAY_WARDEN_SELF), j->language->workdir};
        spec->mounts = mount;
        assay_buf_free(&j->out);
        assay_buf_free(&j->err);
        /* a little over the limit, as far as a warden may overshoot */
        assay_buf_init(&j->out, (size_t)spec->limits.stdout_bytes + ((size_t)1 << 20));
        assay_buf_init(&j->err, (size_t)spec->limits.stderr_bytes + ((size_t)1 << 20));
        rc = assay_box_client_run(j->slot->client, spec, &err);
    }
    if (rc < 0)
        job_hindered(l, j, rc, err.msg);
    else
        slot_arm(j->slot);
}

/* The version is the toolchain's that builds, or that of what runs the program where nothing is built. */
static enum side version_side(const struct job *j)
{
    return j->language->builds ? SIDE_BUILD : SIDE_RUN;
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
    job_run(l, j, version_side(j), &j->language->version, &spec);
}

void build_spec(const struct runner *r, const struct job *j, struct assay_box_spec *spec)
{
    const struct language *lang = j->language;
    /* a program's limits never bind its build */
    *spec = (struct assay_box_spec){.files = j->file,
                                    .n_files = j->n_files,
                                    .collect = lang->artefacts.items,
                                    .n_collect = lang->artefacts.n,
                                    .collect_bytes = (int64_t)64 << 20,
                                    .flags = ASSAY_BOX_STDERR_TO_STDOUT,
                                    .limits = {.cpu_ms = r->build_time_ms,
                                               .wall_ms = r->build_time_ms * 2,
                                               .memory_bytes = r->build_memory,
                                               .stdout_bytes = (int64_t)1 << 20,
                                               .stderr_bytes = (int64_t)1 << 20,
                                               .processes = lang->build.limits.processes != 0 ? lang->build.limits.processes : 128,
                                               .open_files = 1024,
                                               .scratch_bytes = (int64_t)512 << 20,
                                               .file_bytes = (int64_t)256 << 20,
                                               .scratch_files = lang->build.limits.scratch_files != 0
                                                                    ? lang->build.limits.scratch_files
                                                                    : 16384}};
}

void job_build(struct loop *l, struct job *j)
{
    struct assay_box_spec spec;
    build_spec(l->r, j, &spec);
    j->stage = STAGE_BUILD;
    j->build_start_ms = now_ms(l);
    job_run(l, j, SIDE_BUILD, &j->language->build, &spec);
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
    job_run(l, j, SIDE_RUN, &j->language->check, &spec);
}

void job_run_test(struct loop *l, struct job *j, uint32_t flags)
{
    struct test *t = &j->test[j->weighing != NULL ? 0 : j->at_test];
    struct assay_box_mount mount = {assay_str(j->artefact), ASSAY_STR(ARTEFACT_DIR)};
    struct assay_box_file input = {ASSAY_STR("input.txt"), t->input, 0644};
    bool harness = j->mode == ASSAY_JUDGE_HARNESS;
    struct assay_box_spec spec = {.limits = j->limits, .flags = ASSAY_BOX_STRICT_OUTPUT | flags};
    struct assay_box_file *file = NULL;
    size_t n = 0;
    /* a harness reads the payload on stdin, and the test's input, when there is one, as a file */
    spec.stdin_bytes = flags & ASSAY_BOX_CONVERSE ? ASSAY_STR("") : harness ? j->payload : t->input;
    if (j->language->builds) {
        spec.mounts = &mount;
        spec.n_mounts = 1;
    }
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    if (arena != NULL)
        file = assay_arena_array(arena, j->n_files + 1, sizeof *file);
    if (file == NULL) {
        job_waits(l, j, "no memory");
        return;
    }
    for (size_t i = 0; !j->language->builds && i < j->n_files; i++)
        file[n++] = j->file[i];
    if (harness && t->input.n != 0)
        file[n++] = input;
    spec.files = file;
    spec.n_files = n;
    job_fork_spec(j, &spec, file);
    j->stage = j->weighing != NULL ? STAGE_WEIGH : STAGE_TEST;
    if (j->weighing == NULL)
        t->start_ms = now_ms(l);
    if (l->r->reruns_max > 0)
        t->before = disturbance_now();
    job_run(l, j, SIDE_RUN, &j->language->run, &spec);
}

static void run_test(struct loop *l, struct job *j)
{
    if (TALKS(j))
        job_check(l, j); /* which runs it, when its partner is there */
    else
        job_run_test(l, j, 0);
}

static void load_work(void *arg)
{
    struct mail *m = arg;
    m->status = job_load(m->loop->r, m->job, &m->err);
    mail_post(m);
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

void job_next_step(struct loop *l, struct job *j)
{
    if (j->kind == JOB_CHECKER) {
        check_next_step(l, j);
        return;
    }
    if (j->cancel || j->dead || j->give_back) {
        job_finish(l, j);
        return;
    }
    if (j->project != NULL) {
        project_next(l, j);
    } else if (j->filtering != NULL) {
        filter_next(l, j);
    } else if (j->kind == JOB_SELF_TEST && j->version_text[0] == '\0') {
        if (job_placed(l, j, version_side(j)))
            run_version(l, j);
    } else if (j->language->builds && !j->built) {
        if (job_placed(l, j, SIDE_BUILD) && !job_warm(l, j) && !job_recall(l, j))
            job_build(l, j);
    } else if (j->at_test == j->n_tests) {
        if (!job_weighs(l, j))
            job_finish(l, j);
        else if (j->stage != STAGE_PRESTART)
            run_test(l, j);
    } else if (j->at_test >= j->loaded_to) {
        load_tests(l, j);
    } else if (job_placed(l, j, SIDE_RUN) && !job_prestarts(l, j)) {
        run_test(l, j);
    }
}

void job_loaded(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    if (j->slot == NULL) { /* its warden died meanwhile; whose death it was is told when limbo ends */
        j->stage = STAGE_LIMBO;
    } else if (m->status < 0) {
        job_hindered(l, j, m->status, m->err.msg);
    } else {
        job_next_step(l, j);
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
        put_text(j->version_text, sizeof j->version_text, "%.*s", (int)n, text.p);
        return;
    }
    put_text(j->version_text, sizeof j->version_text, "?");
    j->verdict = VERDICT_RE; /* what cannot say its version cannot be trusted to run */
    put_text(j->fault, sizeof j->fault, "its version command failed: exit code %d, signal %d, %.*s %s", o->exit_code,
             o->signal, (int)(text.n > 100 ? 100 : text.n), text.p != NULL ? text.p : "", o->message);
}

void job_built(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    j->build = *o;
    j->built = true;
    j->build_end_ms = now_ms(l);
    count_built(l->r, j->language, o);
    if (o->end == ASSAY_BOX_EXITED && o->exit_code == 0 && o->artefact[0] != '\0') {
        memcpy(j->artefact, o->artefact, sizeof j->artefact);
        j->build_output = kept(j, &j->out); /* warnings */
        if (o->oom_kills > 0)
            j->build_key[0] = '\0'; /* part of it was killed, whatever its exit code says */
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
    if (o->end == ASSAY_BOX_EXITED && o->exit_code != 0 && o->oom_kills == 0 && l->r->failures != NULL)
        failures_note(l->r->failures, j->build_key, mono_ms(l), j->failed_once,
                      &(struct failed_build){o->exit_code, o->cpu_us, o->wall_us, o->memory_peak_bytes, text});
    j->build_output = why[0] != '\0' ? assay_arena_fmt(j->arena, "%.*s%s", ASSAY_FMT(text), why) : text;
    j->verdict = VERDICT_BF;
}

/* Whether the test is to be run again, which its row then says. */
static bool run_again(struct loop *l, struct job *j, struct test *t)
{
    if (t->verdict != VERDICT_TL || t->reruns >= l->r->reruns_max)
        return false;
    struct disturbance now = disturbance_now();
    struct disturbance d = {now.steal_us - t->before.steal_us, now.pressure_us - t->before.pressure_us};
    if (!run_was_disturbed(&t->outcome, &j->limits, &d))
        return false;
    t->reruns++;
    assay_log(l->r->host, ASSAY_LOG_INFO, "test_run_again", ASSAY_KS("submission_id", j->lease.submission_id),
              ASSAY_KI("test", t->def.number), ASSAY_KI("cpu_ms", t->outcome.cpu_us / 1000),
              ASSAY_KI("wall_ms", t->outcome.wall_us / 1000), ASSAY_KI("steal_ms", d.steal_us / 1000),
              ASSAY_KI("pressure_ms", d.pressure_us / 1000), ASSAY_KI("forced_switches", t->outcome.forced_switches));
    return true;
}

/* A test of more than one pass took what its costliest pass took: each has the limits for itself. */
static void add_pass(struct assay_box_outcome *o, const struct assay_box_outcome *before)
{
    if (before->cpu_us > o->cpu_us) {
        o->cpu_us = before->cpu_us;
        o->cpu_user_us = before->cpu_user_us;
        o->cpu_system_us = before->cpu_system_us;
    }
    o->wall_us = before->wall_us > o->wall_us ? before->wall_us : o->wall_us;
    o->memory_peak_bytes = before->memory_peak_bytes > o->memory_peak_bytes ? before->memory_peak_bytes : o->memory_peak_bytes;
    o->memory_own_bytes = before->memory_own_bytes > o->memory_own_bytes ? before->memory_own_bytes : o->memory_own_bytes;
}

/* True: its output is now with the checker. */
static bool test_done(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    struct test *t = &j->test[j->at_test];
    struct assay_str out = assay_buf_view(&j->out), err = assay_buf_view(&j->err);
    struct assay_box_outcome before = t->outcome;
    t->outcome = *o;
    job_fork_outcome(j, &t->outcome);
    if (j->passes > 0)
        add_pass(&t->outcome, &before);
    t->ran = true;
    t->end_ms = now_ms(l);
    t->verdict = verdict_of_run(o, &j->language->signatures, out, err);
    if (t->verdict == VERDICT_OK && j->checker == NULL && !j->task && !j->uncompared && !output_matches(&j->compare, t->expected, out)) {
        t->verdict = VERDICT_WA;
        const char *why = presentation_fault(&j->compare, t->expected, out);
        if (why != NULL)
            put_text(t->outcome.message, sizeof t->outcome.message, "%s", why);
    }
    t->out = kept(j, &j->out);
    t->err = kept(j, &j->err);
    count_run(l->r, j->language->name.p, t->verdict, o);
    if (t->verdict == VERDICT_BF && j->checked)
        t->verdict = VERDICT_RE;
    if (t->verdict == VERDICT_BF) {
        t->ran = false; /* not news before the check has spoken */
        return false;
    }
    if (run_again(l, j, t)) {
        t->ran = false;
        return false;
    }
    if (t->verdict == VERDICT_OK && j->checker != NULL) {
        t->ran = false;
        t->verdict = VERDICT_NONE;
        return true;
    }
    script_old_words(j, t, out);
    check_forget_passes(j);
    job_next_test(j);
    return false;
}

enum verdict job_program_ended(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    struct test *t = &j->test[j->at_test];
    struct assay_box_outcome before = t->outcome;
    t->outcome = *o;
    job_fork_outcome(j, &t->outcome);
    if (j->passes > 0)
        add_pass(&t->outcome, &before);
    t->end_ms = now_ms(l);
    t->out = kept(j, &j->out);
    t->err = kept(j, &j->err);
    enum verdict v = verdict_of_run(o, &j->language->signatures, assay_buf_view(&j->out), assay_buf_view(&j->err));
    count_run(l->r, j->language->name.p, v, o);
    return v == VERDICT_BF && j->checked ? VERDICT_RE : v;
}

void job_test_loads(struct loop *l, struct job *j)
{
    run_check(l, j);
}

void job_test_ended(struct loop *l, struct job *j)
{
    struct test *t = &j->test[j->at_test];
    t->ran = true;
    check_forget_passes(j);
    job_next_test(j);
    job_next_step(l, j);
}

static void check_done(struct job *j, const struct assay_box_outcome *o)
{
    struct test *t = &j->test[j->at_test];
    j->checked = true;
    if (o->end == ASSAY_BOX_EXITED && o->exit_code == 0) {
        t->verdict = VERDICT_RE;
        t->ran = true;
        script_old_words(j, t, t->out);
        job_next_test(j);
        return;
    }
    j->verdict = VERDICT_BF; /* that is so for every test */
    j->build_output = kept(j, &j->out);
    t->outcome = (struct assay_box_outcome){.end = ASSAY_BOX_EXITED};
    t->verdict = VERDICT_NONE; /* not run, as with a compiler */
    t->out = t->err = ASSAY_STR("");
}

void job_box_done(struct loop *l, struct slot *s)
{
    struct job *j = s->job;
    if (j == NULL)
        return;
    const struct assay_box_outcome *o = &s->outcome;
    if (slot_orphaned(s) && !(j->cancel || j->dead || j->give_back)) {
        job_failed(l, j, "the boxkeeper died while a box ran", false);
        return;
    }
    if (j->kind == JOB_CHECKER) {
        check_box_done(l, j, o);
        return;
    }
    if (j->cancel || j->dead || j->give_back) {
        job_finish(l, j);
        return;
    }
    if (j->stage == STAGE_WEIGH) {
        job_weighed(l, j, o);
        job_next_step(l, j);
        return;
    }
    if (j->talk != NULL && j->stage == STAGE_CHECKED && (o->end != ASSAY_BOX_CANCELLED || j->talk->ended) && o->end != ASSAY_BOX_FAILED) {
        talk_done(l, j, o);
        return;
    }
    if (o->end == ASSAY_BOX_FAILED || o->end == ASSAY_BOX_CANCELLED) {
        job_failed(l, j, o->end == ASSAY_BOX_FAILED ? o->message : "the box was ended", true);
        return;
    }
    if (job_output_lost(j, o)) {
        job_waits(l, j, "no memory for what the box wrote");
        return;
    }
    if (j->stage == STAGE_PROJECT) {
        project_done(l, j, o);
        return;
    }
    if (j->stage == STAGE_FILTER) {
        filter_done(l, j, o);
        return;
    }
    if (j->stage == STAGE_WARM) {
        job_warm_done(l, j, o);
        return;
    }
    if (j->stage == STAGE_TEST && job_went_cold(j, o)) { /* its figures are not those that its benchmark compares */
        job_failed(l, j, "the benchmark wants programs forked from a warm interpreter, and this one's was gone", true);
        return;
    }
    if (j->stage == STAGE_VERSION) {
        version_done(j, o);
    } else if (j->stage == STAGE_BUILD) {
        job_built(l, j, o);
    } else if (j->stage == STAGE_CHECK) {
        check_done(j, o);
    } else if (test_done(l, j, o)) {
        job_check(l, j);
        return;
    }
    if (j->verdict != VERDICT_NONE)
        job_finish(l, j);
    else if (j->stage == STAGE_TEST && j->at_test < j->n_tests && j->test[j->at_test].verdict == VERDICT_BF)
        run_check(l, j);
    else
        job_next_step(l, j);
}
