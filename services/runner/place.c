/*
 * Places: how a job comes to stand where its language's build, and then its tests, are to run.
 *
 *   (another slot of the lane) ─▶ [CARRY: get] ─▶ PLACE: its warden is being opened ─▶ [CARRY: put] ─▶ stands
 *
 * Without images a language has one place and nothing happens here.  When the tests run in another image than the
 * build, what the build made is read out of the one warden and put into the other; it is named by its content,
 * so what arrives is what left, or the job fails.
 *
 * A place that cannot be opened is ours: after OPENINGS_MAX refusals the job goes back, charged, with the cause.
 * One that is only not there yet (an image that is being fetched, a boxkeeper that starts again) is waited for;
 * the lease is renewed meanwhile, and a cancel ends the wait.
 */
#include "filter.h"
#include "project.h"

#include <string.h>

#define OPENINGS_MAX 3

static void move(struct job *j, struct slot *to)
{
    j->slot->job = NULL;
    to->job = j;
    j->slot = to;
}

static bool transfer(struct loop *l, struct job *j, int rc, const struct assay_err *err)
{
    if (rc < 0) {
        job_hindered(l, j, rc, err->msg);
    } else {
        j->stage = STAGE_CARRY;
        slot_arm(j->slot);
    }
    return false;
}

size_t job_environment(const struct job *j, enum side side)
{
    return j->project != NULL ? j->project->env : j->filtering != NULL ? 0 : j->language->env[side];
}

bool job_placed(struct loop *l, struct job *j, enum side side)
{
    struct slot *to = &j->slot->lane->slot[job_environment(j, side)];
    struct assay_err err;
    if (to != j->slot && j->artefact[0] != '\0' && !j->carried)
        return transfer(l, j, assay_box_client_get(j->slot->client, assay_str(j->artefact), &err), &err);
    if (to != j->slot)
        move(j, to);
    if (!slot_stands(to) || assay_box_client_busy(to->client)) { /* it is opened or it surveys */
        j->stage = STAGE_PLACE;
        slot_want(to);
        return false;
    }
    to->used = ++to->lane->clock;
    if (j->stood[side].n == 0 && to->place[0] != '\0')
        j->stood[side] = assay_arena_str(j->arena, assay_str(to->place));
    if (j->carry.n != 0)
        return transfer(l, j, assay_box_client_put(to->client, assay_buf_view(&j->carry), &err), &err);
    return true;
}

void job_carried(struct loop *l, struct slot *s)
{
    struct job *j = s->job;
    struct assay_err ignored;
    char why[sizeof j->fault];
    if (j->cancel || j->dead || j->give_back) {
        job_finish(l, j);
        return;
    }
    if (strcmp(s->stored, j->artefact) != 0 || j->carry.failed) {
        put_text(why, sizeof why, "what the build made did not come from its environment to the tests': %s",
                 s->stored_why[0] != '\0' ? s->stored_why : "it is too large, or memory is short");
        job_failed(l, j, why, true);
        return;
    }
    if (!j->carried) {
        j->carried = true; /* and the place it left forgets it, unless it is to serve again */
        if (!slot_holds(s, j->artefact) && assay_box_client_drop(s->client, assay_str(j->artefact), &ignored) >= 0)
            slot_arm(s);
    } else {
        assay_buf_free(&j->carry);
    }
    job_next_step(l, j);
}

void job_unplaced(struct loop *l, struct job *j, int status, const char *why)
{
    bool refused = status != ASSAY_E_BUSY && status != ASSAY_E_AGAIN && status != ASSAY_E_TIMEOUT && status != ASSAY_E_GONE;
    char text[sizeof j->fault];
    const char *image = l->r->environments.list[j->slot->env].image;
    if (!refused || ++j->place_tries < OPENINGS_MAX)
        return; /* the lane tries again */
    put_text(text, sizeof text, "%s%s%s", image, image[0] != '\0' ? ": " : "", why);
    job_failed(l, j, text, true);
}
