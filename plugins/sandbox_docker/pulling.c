/*
 * When an image is pulled, and what is told of it.  One pull is tried as soon as a box is to stand on an image that
 * the engine lacks; one that failed is tried again after a pause that doubles.  Meanwhile the image is looked for every few
 * seconds as ever, since it may come another way.
 */
#include "local.h"

#include <assay/value.h>

#include <stdio.h>

#define SECOND_NS 1000000000LL
#define TELL_NS (5 * SECOND_NS)
#define WAIT_LEAST_NS (30 * SECOND_NS)
#define WAIT_MOST_NS (600 * SECOND_NS)

void sd_pull_text(const struct sd_image *i, char *out, size_t room)
{
    const struct sd_progress *p = &i->pull;

    snprintf(out, room, "the image %.160s is being pulled: %u of %u layers, %.1f of %.1f MB", i->name, (unsigned)p->layers_done,
             (unsigned)p->layers, (double)p->bytes / 1e6, (double)p->total / 1e6);
}

bool sd_pull_due(const struct sd_driver *d, const struct sd_image *i, int64_t now)
{
    return d->pull && !d->draining && now >= i->pull_ns && sd_pull_allowed(i->name);
}

bool sd_pull_start(struct sd_driver *d, struct sd_image *i, int64_t now)
{
    struct sd_task *t = sd_pull_due(d, i, now) ? sd_task_new(SD_PULL) : NULL;

    if (t == NULL)
        return false;
    i->pull_wait_ns = i->pull_wait_ns == 0 ? WAIT_LEAST_NS : i->pull_wait_ns * 2 < WAIT_MOST_NS ? i->pull_wait_ns * 2 : WAIT_MOST_NS;
    i->busy = true;
    i->state = SD_IMAGE_PULLING;
    i->why[0] = '\0';
    i->told_ns = now;
    t->index = (size_t)(i - d->images);
    snprintf(t->u.image.name, sizeof(t->u.image.name), "%s", i->name);
    t->u.image.progress = &i->pull; /* stays while busy */
    assay_log(d->host, ASSAY_LOG_INFO, "docker_pull", ASSAY_KZ("image", i->name));
    sd_work_give(d->work, t);
    return true;
}

void sd_pull_ended(struct sd_driver *d, struct sd_image *i, const struct sd_task *t)
{
    i->pull_ns = assay_mono_ns() + i->pull_wait_ns;
    i->pull_code = t->status;
    snprintf(i->pull_why, sizeof(i->pull_why), "%.290s", t->status != 0 ? t->err.msg : "");
    if (t->status != 0) {
        assay_log(d->host, ASSAY_LOG_ERROR, "docker_pull_failed", ASSAY_KZ("image", i->name), ASSAY_KZ("reason", t->err.msg),
                  ASSAY_KI("again_s", i->pull_wait_ns / SECOND_NS));
        return;
    }
    i->pull_wait_ns = 0;
    assay_log(d->host, ASSAY_LOG_INFO, "docker_pulled", ASSAY_KZ("image", i->name), ASSAY_KI("layers", i->pull.layers),
              ASSAY_KI("bytes", i->pull.bytes));
}

void sd_pull_tell(struct sd_driver *d, struct sd_image *i, int64_t now)
{
    if (i->state != SD_IMAGE_PULLING || now - i->told_ns < TELL_NS)
        return;
    i->told_ns = now;
    assay_log(d->host, ASSAY_LOG_INFO, "docker_pull_progress", ASSAY_KZ("image", i->name), ASSAY_KI("layers_done", i->pull.layers_done),
              ASSAY_KI("layers", i->pull.layers), ASSAY_KI("bytes", i->pull.bytes), ASSAY_KI("of_bytes", i->pull.total));
}
