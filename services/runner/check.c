/*
 * Checks: a problem's own program judges what a submission's program printed.
 *
 *   the job      … TEST ─▶ CHECKED ────────────────────────────────────────▶ the next test, or the next pass of this one
 *                             │                                            ▲
 *   its checker   [SEAT] ─▶ [PLACE ─▶ RECALL ─▶ BUILD] ─▶ JUDGE ─▶ [FEEDBACK] ─┘ READY
 *
 * A checker is a job of its own (JOB_CHECKER), so that whatever builds, recalls, places and runs a program does so
 * for it too.  It never enters the queue and writes nothing: all that it comes to is its parent's.  It stands in the twin of its
 * parent's lane, which has wardens of its own: no program of a submission was ever in one of them.  It is begun when the
 * first output is to be judged, and keeps its seat until its parent ends; each check is a fresh box there.
 *
 * A checker that fails is tried once more, in another box: machines fail as well.  When it fails again the test is IE and
 * with it the submission, at once, since no third attempt would tell more; the log, a metric and an event say so, and staff
 * can judge again when it is mended.  What is no fault of the checker (its box could not be made, its warden died) fails the
 * parent's attempt, as it would for the program's own box.
 *
 * A parent that ends does not wait for its checker: that is an orphan then (parent NULL), and goes when what was under way for it
 * (a box, a transfer, a worker) has come back.
 */
#include "loop.h"

#include <math.h>
#include <string.h>

#include <assay/warden_wire.h>

#define FEEDBACK_BYTES ((int64_t)64 << 20)
#define SCRATCH_BYTES ((int64_t)64 << 20)

static void leave(struct job *c)
{
    if (c->slot != NULL)
        c->slot->lane->used_mono_ms = mono_ms(c->slot->loop);
    slot_release(c);
}

void check_free(struct loop *l, struct job *c)
{
    leave(c);
    l->n_checkers--;
    job_forget(l, c);
}

void check_dismiss(struct loop *l, struct job *j)
{
    struct job *c = j->checker;
    j->checker = NULL;
    if (c == NULL)
        return;
    c->parent = NULL;
    if (!c->entered) {
        job_free(c);
        return;
    }
    if (c->stage == STAGE_READY || c->stage == STAGE_SEAT || c->stage == STAGE_PLACE)
        check_free(l, c);
    else
        (void)slot_cancel(c->slot); /* and what else is under way comes back by itself */
}

void check_forget_passes(struct job *j)
{
    assay_arena_free(j->pass_arena);
    j->pass_arena = NULL;
    j->pass_feedback = ASSAY_STR("");
    j->passes = 0;
}

/* ---- a seat --------------------------------------------------------------------------------------------- */

void check_seat(struct loop *l, struct lane *la)
{
    struct lane *twin = &l->lane[l->n_lanes + (size_t)la->index];
    struct job *c = la->job != NULL ? la->job->checker : NULL;
    if (c == NULL || c->stage != STAGE_SEAT || twin->job != NULL)
        return;
    twin->job = c;
    c->slot = &twin->slot[c->language->env[SIDE_BUILD]];
    c->slot->job = c;
    check_next_step(l, c);
}

void job_check(struct loop *l, struct job *j)
{
    struct job *c = j->checker;
    j->stage = STAGE_CHECKED;
    if (!c->entered) {
        c->entered = true;
        job_enter(l, c);
        l->n_checkers++;
        c->started_ms = now_ms(l);
    }
    c->faults = 0;
    if (c->slot != NULL) {
        check_next_step(l, c);
        return;
    }
    c->stage = STAGE_SEAT;
    if (j->slot != NULL)
        check_seat(l, j->slot->lane);
}

/* ---- one check ------------------------------------------------------------------------------------------- */

static bool add_file(struct assay_box_file *file, size_t room, size_t *n, const char *path, struct assay_str bytes)
{
    if (*n == room)
        return false;
    file[(*n)++] = (struct assay_box_file){assay_str(path), bytes, 0644};
    return true;
}

/* The feedback directory as the pass before left it, but for what asked for this pass. */
static bool add_feedback(struct assay_box_file *file, size_t room, size_t *n, struct assay_str encoding)
{
    struct assay_box_file f;
    size_t at = 0;
    bool ok, keep = false;
    while (artefact_file_next(encoding, &at, &f, &ok)) {
        if (assay_str_is(f.path, CHECK_FEEDBACK "nextpass.in"))
            continue;
        keep = keep || assay_str_is(f.path, CHECK_KEEP);
        if (*n == room)
            return false;
        file[(*n)++] = f;
    }
    return keep || add_file(file, room, n, CHECK_KEEP, ASSAY_STR(""));
}

void check_run(struct loop *l, struct job *c, uint32_t flags)
{
    static const struct assay_str collect[] = {{"judge/feedback", sizeof "judge/feedback" - 1}};
    struct job *j = c->parent;
    const struct test *t = &j->test[j->at_test];
    const struct assay_manifest_checker *r = &c->rules;
    struct assay_str printed = assay_buf_view(&j->out);
    struct assay_str argument[4 + 64];
    size_t n = 0, room = c->n_files + ASSAY_WARDEN_FILES_MAX / 2, n_argument = check_arguments(r->kind, argument);
    for (size_t i = 0; i < r->flags.n && n_argument < sizeof argument / sizeof argument[0]; i++)
        argument[n_argument++] = r->flags.items[i];
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_box_file *file = arena != NULL ? assay_arena_array(arena, room, sizeof *file) : NULL;
    if (file == NULL) {
        check_failed(l, c, "no memory", false);
        return;
    }
    for (size_t i = 0; !c->language->builds && i < c->n_files; i++)
        file[n++] = c->file[i];
    bool output = r->kind != ASSAY_CHECKER_VALIDATOR && !r->interactive;
    bool fits = add_file(file, room, &n, CHECK_INPUT, t->input) && add_file(file, room, &n, CHECK_ANSWER, t->expected) &&
                (!output || add_file(file, room, &n, CHECK_OUTPUT, printed)) && add_feedback(file, room, &n, j->pass_feedback);
    if (!fits) {
        check_failed(l, c, "it left too many files in its feedback directory", true);
        return;
    }
    struct assay_box_mount mount = {assay_str(c->artefact), ASSAY_STR(ARTEFACT_DIR)};
    struct assay_box_spec spec = {.argv = argument,
                                  .n_argv = n_argument,
                                  .files = file,
                                  .n_files = n,
                                  .mounts = &mount,
                                  .n_mounts = c->language->builds ? 1 : 0,
                                  .stdin_bytes = output || r->interactive ? ASSAY_STR("") : printed,
                                  .collect = collect,
                                  .n_collect = 1,
                                  .collect_bytes = FEEDBACK_BYTES,
                                  .flags = ASSAY_BOX_COLLECT_ALWAYS | ASSAY_BOX_STRICT_OUTPUT | flags,
                                  .limits = c->limits};
    for (size_t i = 0; i < n; i++)
        spec.limits.scratch_bytes += (int64_t)file[i].bytes.n + 4096;
    spec.limits.scratch_bytes += SCRATCH_BYTES;
    c->stage = STAGE_JUDGE;
    job_run(l, c, SIDE_RUN, &c->language->run, &spec);
}

void check_next_step(struct loop *l, struct job *c)
{
    struct job *j = c->parent;
    if (j == NULL) {
        check_free(l, c);
        return;
    }
    if (j->cancel || j->dead || j->give_back) {
        c->stage = STAGE_READY;
        job_finish(l, j);
        return;
    }
    if (c->language->builds && !c->built) {
        if (job_placed(l, c, SIDE_BUILD) && !job_recall(l, c))
            job_build(l, c);
    } else if (job_placed(l, c, SIDE_RUN)) {
        if (j->stage != STAGE_CHECKED)
            c->stage = STAGE_READY; /* its warden died meanwhile */
        else if (!c->rules.interactive)
            check_run(l, c, 0);
        else if (!talk_begin(l, j))
            check_failed(l, c, "no memory", false);
    }
}

/* ---- what came of it -------------------------------------------------------------------------------------- */

void check_failed(struct loop *l, struct job *c, const char *why, bool charge)
{
    struct job *j = c->parent;
    char text[sizeof j->fault];
    c->stage = STAGE_READY;
    if (j == NULL) {
        check_free(l, c);
        return;
    }
    put_text(text, sizeof text, "the checker: %s", why);
    if (j->talk != NULL)
        (void)slot_cancel(j->slot);
    job_failed(l, j, text, charge);
}

/* The checker has failed for good: the test and the submission are IE, and somebody has to know. */
static void alarm(struct loop *l, struct job *c, const struct check_says *says)
{
    struct job *j = c->parent;
    struct test *t = &j->test[j->at_test];
    const struct assay_host *host = l->r->host;
    const char *label[] = {says->kind};
    host->metric_add(host->ctx, &runner_metrics[METRIC_CHECKER_FAULTS], label, 1);
    assay_log(host, ASSAY_LOG_ERROR, "checker_failed", ASSAY_KS("submission_id", j->lease.submission_id),
              ASSAY_KS("problem_id", j->lease.problem_id), ASSAY_KI("test", t->def.number), ASSAY_KZ("fault", says->kind),
              ASSAY_KZ("reason", says->fault), ASSAY_KS("said", says->judge));
    put_text(j->fault, sizeof j->fault, "the checker failed on test %lld: %s", (long long)t->def.number, says->fault);
    j->alarm = true;
    t->verdict = VERDICT_IE;
    t->ran = true;
    c->stage = STAGE_READY;
    j->verdict = VERDICT_IE;
    j->at_test++;
    job_finish(l, j);
}

static struct assay_str stored(struct job *j, struct assay_str s)
{
    return s.n != 0 ? assay_arena_str(j->arena, s) : ASSAY_STR("");
}

/* An interactor's answer, with what the program made of the talk. False: it looks as if the program could not be loaded at all. */
static bool take_talk(struct loop *l, struct job *j, struct check_says *says)
{
    struct talk *k = j->talk;
    struct test *t = &j->test[j->at_test];
    struct talker *p = &k->to[TALK_PROGRAM];
    enum assay_box_end how = p->outcome.end;
    bool limit = how == ASSAY_BOX_CPU || how == ASSAY_BOX_WALL || how == ASSAY_BOX_MEMORY || how == ASSAY_BOX_OUTPUT;
    if (k->ended && !limit) { /* by us: it was running, and had not failed */
        p->outcome.end = ASSAY_BOX_EXITED;
        p->outcome.exit_code = 0;
        p->outcome.finished = false;
    }
    const struct talk_end end = {.program = job_program_ended(l, j, &p->outcome),
                                 .waited = p->outcome.end == ASSAY_BOX_WALL,
                                 .limit = limit,
                                 .stuck = says->verdict == VERDICT_IE && strcmp(says->kind, "time") == 0,
                                 .interactor_first = k->first == TALK_INTERACTOR,
                                 .cut_off = p->cut_off};
    t->transcript = stored(j, assay_buf_view(&k->transcript));
    if (end.program == VERDICT_BF && !j->checked)
        return false;
    enum verdict v = interact_verdict(&end, says->verdict);
    if (v != says->verdict) {
        says->verdict = v;
        says->part = NAN;
        says->again = false;
    }
    return true;
}

/* Its answer is in: exit code, outputs, feedback. */
void check_decided(struct loop *l, struct job *c, struct assay_str feedback)
{
    struct job *j = c->parent;
    struct check_says says;
    c->stage = STAGE_READY;
    if (j == NULL) {
        check_free(l, c);
        return;
    }
    if (j->stage != STAGE_CHECKED) /* its own warden died meanwhile, and that is looked into */
        return;
    struct test *t = &j->test[j->at_test];
    bool loads = true;
    check_decide(c->rules.kind, &c->check_outcome, j->talk != NULL ? ASSAY_STR("") : assay_buf_view(&c->out), assay_buf_view(&c->err), feedback, t->def.points, &says);
    if (says.again && j->passes + 1 >= c->rules.passes) {
        says = (struct check_says){.verdict = VERDICT_IE, .kind = "passes", .judge = says.judge, .team = says.team};
        put_text(says.fault, sizeof says.fault, "it wanted another pass after %lld, which is all that the problem has",
                 (long long)c->rules.passes);
    }
    if (j->talk != NULL)
        loads = take_talk(l, j, &says);
    if (!loads) {
        t->verdict = VERDICT_BF;
        job_test_loads(l, j);
        return;
    }
    if (says.verdict == VERDICT_IE && c->faults++ == 0) {
        check_next_step(l, c);
        return;
    }
    t->judge_message = stored(j, says.judge);
    t->team_message = stored(j, says.team);
    if (says.verdict == VERDICT_IE) {
        alarm(l, c, &says);
        return;
    }
    if (says.again) {
        struct assay_arena *arena = assay_arena_new(0);
        struct assay_str input = arena != NULL ? assay_arena_str(arena, says.next) : ASSAY_STR_NULL;
        struct assay_str left = arena != NULL ? assay_arena_str(arena, feedback) : ASSAY_STR_NULL;
        if (input.p == NULL || left.p == NULL) {
            assay_arena_free(arena);
            check_failed(l, c, "no memory for the next pass", false);
            return;
        }
        int passes = j->passes + 1;
        check_forget_passes(j);
        j->pass_arena = arena;
        j->pass_feedback = left;
        j->passes = passes;
        t->input = input;
        job_next_step(l, j);
        return;
    }
    t->verdict = says.verdict;
    t->part = says.part;
    job_test_ended(l, j);
}

void check_unbuilt(struct loop *l, struct job *c)
{
    struct job *j = c->parent;
    struct check_says says = {.verdict = VERDICT_IE, .kind = "build", .judge = c->build_output};
    if (j == NULL) {
        check_free(l, c);
        return;
    }
    put_text(says.fault, sizeof says.fault, "it does not build");
    if (says.judge.n > MESSAGE_MAX)
        says.judge.n = MESSAGE_MAX;
    j->test[j->at_test].judge_message = stored(j, says.judge);
    alarm(l, c, &says);
}

/* Its feedback is in, which it takes. */
static void answered(struct loop *l, struct job *c, struct assay_buf *feedback)
{
    if (c->parent != NULL && c->parent->talk != NULL) {
        c->stage = STAGE_JUDGE; /* until the program has ended too */
        talk_feedback(l, c, feedback);
        return;
    }
    check_decided(l, c, assay_buf_view(feedback));
    assay_buf_free(feedback);
}

void check_box_done(struct loop *l, struct job *c, const struct assay_box_outcome *o)
{
    struct assay_err err;
    struct job *j = c->parent;
    if (j == NULL) {
        check_free(l, c);
        return;
    }
    if (slot_orphaned(c->slot)) { /* what ended it is not known */
        check_failed(l, c, "the boxkeeper died while a box ran", false);
        return;
    }
    if (o->end == ASSAY_BOX_FAILED || o->end == ASSAY_BOX_CANCELLED) {
        check_failed(l, c, o->end == ASSAY_BOX_FAILED ? o->message : "its box was ended", true);
        return;
    }
    if (job_output_lost(c, o)) {
        check_failed(l, c, "no memory for what its box wrote", false);
        return;
    }
    if (c->stage == STAGE_BUILD) {
        job_built(l, c, o);
        if (c->verdict == VERDICT_NONE) {
            check_next_step(l, c);
            return;
        }
        check_unbuilt(l, c);
        return;
    }
    const char *label[] = {assay_checker_kind_names[c->rules.kind]};
    l->r->host->metric_observe(l->r->host->ctx, &runner_metrics[METRIC_CHECK], label, (double)o->wall_us / 1e6);
    c->check_outcome = *o;
    if (j->talk != NULL)
        talk_done(l, c, o);
    if (o->artefact[0] == '\0') { /* there is a directory at least, so that nothing means that it could not be taken */
        struct assay_buf none = ASSAY_BUF_INIT;
        if (o->end == ASSAY_BOX_EXITED)
            assay_buf_puts(&none, "unreadable");
        answered(l, c, &none);
        return;
    }
    assay_buf_free(&c->carry);
    assay_buf_init(&c->carry, (size_t)FEEDBACK_BYTES + ((size_t)1 << 20));
    c->stage = STAGE_FEEDBACK;
    if (assay_box_client_get(c->slot->client, assay_str(o->artefact), &err) < 0)
        check_failed(l, c, err.msg, true);
    else
        slot_arm(c->slot);
}

void check_got(struct loop *l, struct slot *s)
{
    struct job *c = s->job;
    struct assay_err ignored;
    struct assay_buf content = c->carry;
    c->carry = (struct assay_buf)ASSAY_BUF_INIT;
    bool came = strcmp(s->stored, c->check_outcome.artefact) == 0 && !content.failed;
    if (assay_box_client_drop(s->client, assay_str(c->check_outcome.artefact), &ignored) >= 0)
        slot_arm(s);
    if (came) {
        answered(l, c, &content);
    } else {
        assay_buf_free(&content);
        check_failed(l, c, "its feedback directory could not be fetched", true);
    }
}
