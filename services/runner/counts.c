/* What the runner counts in more than one place. Any thread. */
#include "local.h"

#include <stdio.h>

static const char *word(const struct assay_str *s)
{
    return s->p != NULL ? s->p : "";
}

void count_waited(struct runner *r, const struct assay_job *lease, int64_t now_ms)
{
    const char *label[] = {lease->kind == ASSAY_JOB_PROJECT || lease->kind == ASSAY_JOB_PROJECT_MESSAGE ? "project"
                           : lease->kind == ASSAY_JOB_FILTER ? "filter" : word(&lease->language)};
    int64_t waited = now_ms > lease->created_ms ? now_ms - lease->created_ms : 0; /* created by another machine's clock */
    r->host->metric_observe(r->host->ctx, &runner_metrics[METRIC_QUEUE_WAIT], label, (double)waited / 1e3);
}

void count_built(struct runner *r, const struct language *l, const struct assay_box_outcome *o)
{
    bool ok = o->end == ASSAY_BOX_EXITED && o->exit_code == 0 && o->artefact[0] != '\0';
    const char *labels[] = {l->name.p, ok ? "ok" : "failed"};
    r->host->metric_observe(r->host->ctx, &runner_metrics[METRIC_BUILD], labels, (double)o->wall_us / 1e6);
}

void count_run(struct runner *r, const char *language, enum verdict v, const struct assay_box_outcome *o)
{
    const char *labels[] = {language, verdict_name(v)};
    r->host->metric_observe(r->host->ctx, &runner_metrics[METRIC_RUN], labels, (double)o->wall_us / 1e6);
}

void count_judged(struct runner *r, const struct assay_job *lease, const char *language, const char *verdict)
{
    const char *labels[] = {language, verdict};
    int64_t now = r->host->now_ms(r->host->ctx);
    int64_t took = now > lease->created_ms ? now - lease->created_ms : 0;
    r->host->metric_add(r->host->ctx, &runner_metrics[METRIC_VERDICTS], labels, 1);
    r->host->metric_observe(r->host->ctx, &runner_metrics[METRIC_VERDICT], labels, (double)took / 1e3);
}

void language_decide(struct runner *r, struct language *l, enum language_state state, const char *version, const char *reason)
{
    char before[sizeof l->version_text], now[sizeof l->version_text];
    pthread_mutex_lock(&l->lock);
    memcpy(before, l->version_text, sizeof before);
    pthread_mutex_unlock(&l->lock);
    language_settle(l, state, version, reason);
    (void)snprintf(now, sizeof now, "%s", version != NULL ? version : before);
    const char *was[] = {l->name.p, before}, *is[] = {l->name.p, now};
    if (before[0] != '\0' && strcmp(before, now) != 0)
        r->host->metric_set(r->host->ctx, &runner_metrics[METRIC_LANGUAGE], was, 0);
    if (now[0] != '\0')
        r->host->metric_set(r->host->ctx, &runner_metrics[METRIC_LANGUAGE], is, state == LANGUAGE_OFFERED ? 1 : 0);
}
