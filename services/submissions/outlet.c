/*
 * The outlet: results of what the intake took, back to where the messages came from.  Its steps are those of an entry
 * (intake.h), on worker threads.
 */
#include "intake.h"

#include <stdio.h>

static struct submissions *service(const struct entry *e)
{
    return e->from->in->s;
}

static void trouble(const struct entry *e, const char *event, const struct assay_err *err)
{
    const struct assay_host *host = service(e)->host;
    assay_log(host, ASSAY_LOG_WARN, event, ASSAY_KZ("broker", e->from->name), ASSAY_KS("message", e->name),
              ASSAY_KZ("submission_id", e->submission_id), ASSAY_KZ("error", err->msg));
}

static int keep_answer(struct entry *e, struct assay_buf *b, struct assay_err *err)
{
    e->answer = assay_arena_take(e->arena, b);
    return e->answer.p == NULL ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : ASSAY_OK;
}

static int error_result(struct entry *e, struct assay_str id, struct assay_str why, bool status, struct assay_err *err)
{
    const struct assay_host *host = service(e)->host;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_script_result r = {.id = id, .status = status ? ASSAY_STR("IE") : ASSAY_STR(""), .error = why,
                                    .timestamp_ms = host->now_ms(host->ctx), .event_id = assay_str(e->event_id)};
    int rc = assay_script_result_encode(&r, e->from->in->result_max, &b, err);
    return rc < 0 ? rc : keep_answer(e, &b, err);
}

int outlet_error(struct entry *e, struct assay_str id, const char *why, struct assay_err *err)
{
    e->reason = assay_arena_str(e->arena, assay_str(why));
    e->id = assay_arena_str(e->arena, id);
    if (e->reason.p == NULL || e->id.p == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    return error_result(e, id, e->reason, false, err);
}

/* The runner's result, which is an object that is not empty, and the message's event id in it. */
static int runner_result(struct entry *e, struct assay_str output, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_add(&b, output.p, output.n - 1);
    assay_buf_fmt(&b, ",\"event_id\":\"%s\"}", e->event_id);
    return keep_answer(e, &b, err);
}

enum next outlet_look(struct entry *e)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_err err = {0, ""};
    struct looked l;
    int rc = arena != NULL ? repo_message_look(service(e), e, arena, &l, &err) : assay_err_set(&err, ASSAY_E_NOMEM, "no memory");
    if (rc == ASSAY_E_NOT_FOUND) { /* somebody has deleted it: as if it had never come */
        trouble(e, "intake_submission_gone", &err);
        return NEXT_DROP;
    }
    if (rc >= 0 && l.answered)
        return NEXT_SETTLE;
    if (rc >= 0 && !state_ended(l.state))
        return NEXT_WAIT;
    if (rc >= 0 && (e->id = assay_arena_str(e->arena, l.id)).p == NULL)
        rc = assay_err_set(&err, ASSAY_E_NOMEM, "no memory");
    bool failed = rc >= 0 && assay_str_is(l.state, "error"), whole = l.output.n > 2 && l.output.p[0] == '{' && l.output.p[l.output.n - 1] == '}';
    if (rc >= 0 && !assay_str_is(l.state, "cancelled") && whole)
        rc = runner_result(e, l.output, &err);
    else if (rc >= 0)
        rc = error_result(e, l.id, failed || l.reason.n != 0 ? l.reason : ASSAY_STR("cancelled"), failed && !e->from->in->strict, &err);
    if (rc >= 0 && failed) {
        e->dead = true;
        e->reason = assay_arena_str(e->arena, l.reason.n != 0 ? l.reason : ASSAY_STR("it could not be judged"));
    }
    if (rc < 0) {
        trouble(e, "intake_unanswered", &err);
        return NEXT_LATER;
    }
    intake_stage(e, STAGE_PUBLISH);
    return NEXT_NOW;
}

void outlet_confirmed(void *arg, int status, const struct assay_err *err)
{
    struct entry *e = arg;
    const struct assay_host *host = service(e)->host;
    const char *label[] = {e->from->name};
    host->metric_observe(host->ctx, &submissions_metrics[METRIC_PUBLISH_SECONDS], label,
                         (double)(host->mono_ns(host->ctx) - e->published_ns) / 1e9);
    struct assay_err why = {status, "no reason given"};
    if (err != NULL && err->msg[0] != '\0')
        why = *err;
    if (status == ASSAY_OK || (status == ASSAY_E_GONE && e->refused)) {
        intake_confirmed(e, STAGE_MARK);
    } else if (status == ASSAY_E_GONE) {
        /* it can never be told as it is: at least that it cannot */
        trouble(e, "intake_result_refused", &why);
        char text[300];
        struct assay_err ignored;
        (void)snprintf(text, sizeof text, "the broker refused the result: %.250s", why.msg);
        e->refused = true;
        bool again = e->answer.n > 1000 && outlet_error(e, e->id, text, &ignored) >= 0;
        intake_confirmed(e, again ? STAGE_PUBLISH : STAGE_MARK);
    } else {
        trouble(e, "intake_unconfirmed", &why);
        intake_confirmed(e, STAGE_CONFIRM);
    }
}

enum next outlet_publish(struct entry *e)
{
    const struct assay_host *host = service(e)->host;
    const struct assay_broker *b = &e->from->broker;
    struct assay_err err = {0, ""};
    struct assay_publication p = {.channel = ASSAY_CHANNEL_RESULTS,
                                  .key = e->id,
                                  .body = e->answer,
                                  .reply_to = e->reply_to,
                                  .correlation = e->correlation,
                                  .traceparent = e->traceparent};
    pthread_mutex_lock(&e->from->in->lock);
    p.answers = e->n_tags != 0 ? e->tag[0] : 0;
    e->stage = STAGE_CONFIRM;
    pthread_mutex_unlock(&e->from->in->lock);
    if (p.answers == 0) /* lost a moment ago */
        return NEXT_DROP;
    e->published_ns = host->mono_ns(host->ctx);
    int rc = b->ops->publish(b->self, &p, outlet_confirmed, e, &err);
    if (rc >= 0)
        return NEXT_CALLBACK;
    intake_stage(e, rc == ASSAY_E_UNSUPPORTED ? STAGE_MARK : STAGE_PUBLISH);
    if (rc == ASSAY_E_UNSUPPORTED) /* a broker without a place for results: it is in our store */
        return NEXT_NOW;
    if (rc != ASSAY_E_BUSY)
        trouble(e, "intake_unpublished", &err);
    return NEXT_LATER;
}

enum next outlet_mark(struct entry *e)
{
    struct assay_err err = {0, ""};
    int rc = e->poison ? ASSAY_OK : repo_message_answered(service(e), e, &err);
    if (rc >= 0)
        return NEXT_SETTLE;
    trouble(e, "intake_unmarked", &err);
    return NEXT_LATER;
}
