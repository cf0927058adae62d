/*
 * sandbox_docker: wardens in warm, unprivileged containers.
 *
 * Theory of operation.  The boxkeeper has one thread, and a call of the engine takes from milliseconds to
 * minutes; so all calls are tasks of a few workers (work.c), and this file and pool.c only keep states:
 *
 *   the engine  asked who it is; a silent connection to its socket tells at once when it goes down, and
 *               then it is asked again until it answers
 *   images      each name that was asked for: inspected, pulled when it is missing (pulling.c, pull.c), given a warden
 *               (image.c), looked at again every ten seconds, since a name may come to mean another image
 *   wardens     slots with a container each (pool.c); some wait warm for each image, by demand
 *
 * How runner and warden meet.  Tried were: (a) a socket of ours in a folder that is bind-mounted into
 * the container; (b) entering the container's network namespace to find an abstract socket there;
 * (c) the API's attach.  (a) passes descriptors, so the runner's stream is a plain socketpair and the cgroup
 * leaves are the same files that native wardens get: a box costs what it costs natively.  It needs an engine
 * on this machine that sees our files, and no privilege.  (b) would need root and the engine's pids as
 * well, so it is nowhere better.  (c) works with any engine, remote or seen from inside a container, and cannot
 * pass descriptors: the slower stream, and no leaf.  So (a) where it works, which the first container
 * tries, and else (c), with the lost precision in doctor, log and every result's place.
 *
 * A restart of the engine kills containers, in the order that suits it, and often only when it is up again.
 * A warden that dies while it was alive in such a time, or by a SIGKILL that was no OOM kill, died from
 * outside: `fate` tells the runner, which then charges the job with nothing.
 */
#include "local.h"

#include <assay/value.h>

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL
#define WINDOW_NS (10 * SECOND_NS)
#define LOOK_NS (10 * SECOND_NS)   /* an image's name, again */
#define GREET_UP_NS (10 * SECOND_NS)
#define GREET_DOWN_NS (1 * SECOND_NS)
#define IMAGE_RETRY_NS (5 * SECOND_NS)
#define REFILL_PER_TICK 4
#define FAILURES_MAX 3
#define PULL_MS 3600000            /* gigabytes over a slow line */
#define PULL_IDLE_MS 180000        /* a registry that hangs; the engine itself tries again in this time */
#define DRAIN_TURNS 500            /* of 10 ms */

/* ---- the engine ---- */

static void engine_greet(struct sd_driver *d, int64_t now)
{
    struct sd_task *t = d->greeting ? NULL : sd_task_new(SD_GREET);

    d->greet_ns = now + (d->engine_up ? GREET_UP_NS : GREET_DOWN_NS);
    if (t == NULL)
        return;
    t->u.engine = d->setup.engine;
    d->greeting = true;
    sd_work_give(d->work, t);
}

static void watch_engine(struct sd_driver *d)
{
    if (d->watch < 0)
        d->watch = sd_engine_watch(&d->setup.engine);
    else
        return;
    if (d->watch >= 0 && sd_watch_add(d, d->watch, SD_WATCH_ENGINE, 0) != 0) {
        close(d->watch);
        d->watch = -1;
    }
}

static void engine_lost(struct sd_driver *d)
{
    if (d->watch >= 0) {
        sd_watch_remove(d, d->watch);
        close(d->watch);
        d->watch = -1;
    }
    d->lost_ns = assay_mono_ns();
    if (d->engine_up) {
        sd_metric(d, SD_M_ENGINE_LOSSES, NULL, 1);
        assay_log(d->host, ASSAY_LOG_WARN, "docker_engine_down", ASSAY_KZ("host", d->setup.engine.host));
    }
    d->engine_up = false;
    d->engine_code = ASSAY_E_IO;
    snprintf(d->engine_why, sizeof(d->engine_why), "the Docker engine at %.200s went down", d->setup.engine.host);
    d->greet_ns = 0;
}

static void engine_answered(struct sd_driver *d, struct sd_task *t)
{
    bool was_up = d->engine_up;

    d->greeting = false;
    if (t->status != 0) {
        if (was_up) /* over TCP nothing else tells */
            engine_lost(d);
        d->engine_code = t->status;
        snprintf(d->engine_why, sizeof(d->engine_why), "%.390s", t->err.msg);
        return;
    }
    d->setup.engine = t->u.engine;
    sd_work_engine(d->work, &d->setup.engine);
    d->engine_up = true;
    watch_engine(d);
    if (!was_up) {
        struct sd_task *reap = sd_task_new(SD_REAP);

        assay_log(d->host, ASSAY_LOG_INFO, "docker_engine_up", ASSAY_KZ("host", d->setup.engine.host),
                  ASSAY_KZ("version", d->setup.engine.version));
        d->failures = 0;
        d->retry_ns = 0;
        for (size_t i = 0; i < SD_IMAGES_MAX; i++) { /* it may be another engine, or have lost what it had */
            d->images[i].checked_ns = 0;
            d->images[i].retry_ns = 0;
            d->images[i].pull_ns = 0;
        }
        if (reap != NULL)
            sd_work_give(d->work, reap);
    }
}

/* ---- images ---- */

static void image_look(struct sd_driver *d, struct sd_image *i, int64_t now)
{
    struct sd_task *t = i->busy ? NULL : sd_task_new(SD_IMAGE);

    if (t == NULL)
        return;
    i->busy = true;
    i->checked_ns = now;
    if (i->state != SD_IMAGE_READY)
        i->state = SD_IMAGE_PREPARING;
    t->index = (size_t)(i - d->images);
    snprintf(t->u.image.name, sizeof(t->u.image.name), "%s", i->name);
    sd_work_give(d->work, t);
}

static void image_looked(struct sd_driver *d, struct sd_task *t)
{
    struct sd_image *i = &d->images[t->index];

    i->busy = false;
    if (t->status != 0) {
        if (t->status == ASSAY_E_IO || t->status == ASSAY_E_TIMEOUT) {
            i->checked_ns = 0; /* the engine's trouble, not the image's */
            if (i->state == SD_IMAGE_READY)
                return;
        }
        if (t->status == ASSAY_E_NOT_FOUND && sd_pull_start(d, i, assay_mono_ns())) {
            i->generation++;
            return;
        }
        if (t->status == ASSAY_E_NOT_FOUND && i->pull_code != 0)
            t->status = assay_err_set(&t->err, i->pull_code, "%s", i->pull_why);
        if (i->state != SD_IMAGE_FAILED && strcmp(i->why, t->err.msg) != 0)
            assay_log(d->host, ASSAY_LOG_ERROR, "docker_image_missing", ASSAY_KZ("image", i->name), ASSAY_KZ("reason", t->err.msg));
        i->state = SD_IMAGE_FAILED;
        i->generation++;
        i->why_code = t->status;
        snprintf(i->why, sizeof(i->why), "%.290s", t->err.msg);
        i->retry_ns = assay_mono_ns() + IMAGE_RETRY_NS;
        return;
    }
    if (strcmp(i->facts.derived, t->u.image.facts.derived) != 0) {
        i->generation++;
        assay_log(d->host, ASSAY_LOG_INFO, "docker_image_ready", ASSAY_KZ("image", i->name), ASSAY_KZ("digest", t->u.image.facts.digest));
    }
    i->facts = t->u.image.facts;
    i->state = SD_IMAGE_READY;
    i->why[0] = '\0';
    i->pull_code = 0;
}

static void image_pulled(struct sd_driver *d, struct sd_task *t)
{
    struct sd_image *i = &d->images[t->index];
    int64_t now = assay_mono_ns();

    i->busy = false;
    sd_pull_ended(d, i, t);
    if (t->status == 0) {
        image_look(d, i, now);
        return;
    }
    i->state = SD_IMAGE_FAILED;
    i->why_code = t->status;
    snprintf(i->why, sizeof(i->why), "%.290s", t->err.msg);
    i->retry_ns = now + IMAGE_RETRY_NS;
}

static bool image_in_use(const struct sd_driver *d, size_t image)
{
    for (size_t i = 0; i < d->max_wardens; i++)
        if (d->w[i].state != SD_FREE && d->w[i].image == image)
            return true;
    return false;
}

/* The one of that name; a free place, or that of the one that was not asked for for the longest time. */
static struct sd_image *image_of(struct sd_driver *d, struct assay_str name)
{
    struct sd_image *old = NULL;

    for (size_t i = 0; i < SD_IMAGES_MAX; i++) {
        struct sd_image *c = &d->images[i];

        if (assay_str_is(name, c->name))
            return c;
        if (!c->busy && !image_in_use(d, i) && (old == NULL || c->used_ns < old->used_ns) &&
            (c->name[0] == '\0' || strcmp(c->name, d->image) != 0))
            old = c;
    }
    if (old != NULL) {
        uint64_t generation = old->generation + 1;

        *old = (struct sd_image){.generation = generation};
        snprintf(old->name, sizeof(old->name), "%.*s", ASSAY_FMT(name));
    }
    return old;
}

/* ---- the driver's operations ---- */

static int being_pulled(const struct sd_image *i, struct assay_err *err)
{
    char text[300];

    sd_pull_text(i, text, sizeof(text));
    return assay_err_set(err, ASSAY_E_BUSY, "%s", text);
}

int sd_usable(void *self, struct assay_err *err)
{
    const struct sd_driver *d = self;
    const struct sd_image *i = NULL;

    if (d->trouble[0] != '\0')
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "%s (%s)", d->trouble, d->remedy);
    if (!d->engine_up)
        return assay_err_set(err, d->engine_code != 0 ? d->engine_code : ASSAY_E_IO, "%s", d->engine_why);
    for (size_t k = 0; k < SD_IMAGES_MAX; k++)
        if (strcmp(d->images[k].name, d->image) == 0)
            i = &d->images[k];
    if (i != NULL && i->state == SD_IMAGE_FAILED)
        return assay_err_set(err, i->why_code, "%s", i->why);
    if (i != NULL && i->state == SD_IMAGE_PULLING)
        return being_pulled(i, err);
    if (d->failures >= FAILURES_MAX && assay_mono_ns() < d->retry_ns)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "containers do not come up: %s", d->failure);
    return 0;
}

static bool waits(const struct sd_driver *d, const struct sd_warden *w, size_t image)
{
    return (w->state == SD_MAKING || w->state == SD_LIVE) && !w->out && !w->doomed && w->image == image &&
           w->generation == d->images[image].generation;
}

static struct sd_warden *from_pool(struct sd_driver *d, size_t image)
{
    struct sd_warden *best = NULL;

    for (size_t k = 0; k < d->max_wardens; k++) {
        struct sd_warden *w = &d->w[k];

        if (!waits(d, w, image))
            continue;
        if (w->greeted)
            return w;
        if (best == NULL || w->born_ns < best->born_ns)
            best = w;
    }
    return best;
}

static int open_image(struct sd_driver *d, struct sd_image *i, struct assay_err *err)
{
    int64_t now = assay_mono_ns();

    i->used_ns = now;
    if (i->state == SD_IMAGE_READY)
        return 0;
    if (i->state == SD_IMAGE_PULLING)
        return being_pulled(i, err);
    if (i->state != SD_IMAGE_PREPARING && now >= i->retry_ns)
        image_look(d, i, now);
    if (i->why[0] != '\0' && !(i->why_code == ASSAY_E_NOT_FOUND && sd_pull_due(d, i, now)))
        return assay_err_set(err, i->why_code, "%s", i->why);
    return assay_err_set(err, ASSAY_E_BUSY, "the image %.200s is being prepared", i->name);
}

static int sd_open(void *self, struct assay_str image, struct assay_warden *out, struct assay_buf *place, struct assay_err *err)
{
    struct sd_driver *d = self;
    struct assay_str name = image.n > 0 ? image : assay_str(d->image);
    struct sd_warden *w;
    struct sd_image *i;
    size_t k;
    int rc = 0;

    if (d->trouble[0] != '\0' || !d->engine_up || (d->failures >= FAILURES_MAX && assay_mono_ns() < d->retry_ns))
        rc = sd_usable(d, err);
    if (rc == 0 && !sd_image_name_ok(name))
        rc = assay_err_set(err, ASSAY_E_INVALID, "\"%.*s\" is no name of an image", (int)(name.n < 100 ? name.n : 100), name.p);
    if (rc != 0)
        return rc;
    i = image_of(d, name);
    if (i == NULL)
        return assay_err_set(err, ASSAY_E_BUSY, "more than %d images are in use at once", SD_IMAGES_MAX);
    rc = open_image(d, i, err);
    if (rc != 0)
        return rc;
    k = (size_t)(i - d->images);
    w = from_pool(d, k);
    if (w == NULL || !w->greeted)
        sd_metric(d, SD_M_POOL_MISSES, NULL, 1);
    if (w == NULL)
        rc = sd_warden_make(d, k, &w, err);
    if (rc == 0)
        rc = sd_place(d, i, place, err);
    if (rc != 0)
        return rc;
    i->opens_now++;
    sd_watch_remove(d, w->ours);
    out->fd = w->ours;
    out->id = w->id;
    w->ours = -1;
    w->out = true;
    return 0;
}

static void sd_close(void *self, uint64_t id)
{
    struct sd_driver *d = self;

    for (size_t i = 0; i < d->max_wardens; i++)
        if (d->w[i].out && (id == 0 || d->w[i].id == id))
            sd_warden_end(d, &d->w[i]);
}

static int sd_fate(void *self, uint64_t stream, bool *outside, struct assay_buf *why, struct assay_err *err)
{
    const struct sd_driver *d = self;
    size_t n = d->n_fates < SD_FATES_MAX ? d->n_fates : SD_FATES_MAX;

    for (size_t i = 0; i < d->max_wardens; i++)
        if (d->w[i].state != SD_FREE && d->w[i].stream == stream) {
            const struct sd_warden *w = &d->w[i];
            bool known = false;

            for (size_t k = 0; k < n; k++)
                known = known || d->fate[k].stream == stream;
            if (!known && !(w->state == SD_GONE || (w->state == SD_ENDING && !w->busy)))
                return assay_err_set(err, ASSAY_E_AGAIN, "it is not known yet");
        }
    for (size_t k = 1; k <= n; k++) { /* the newest first: inodes may come again */
        const struct sd_fate *f = &d->fate[(d->n_fates - k) % SD_FATES_MAX];

        if (f->stream != stream)
            continue;
        *outside = f->outside;
        assay_buf_puts(why, f->why);
        return 0;
    }
    return assay_err_set(err, ASSAY_E_NOT_FOUND, "no warden of that stream is known");
}

static int sd_pollfd(void *self)
{
    return ((struct sd_driver *)self)->epoll;
}

static bool sd_reaped(void *self, pid_t pid, int status)
{
    (void)self; /* the engine's children, not ours */
    (void)pid;
    (void)status;
    return false;
}

static int sd_reap(void *self, struct assay_err *err)
{
    struct sd_driver *d = self;
    size_t left = 0, leaves = assay_leaves_reap(&d->leaves, &left);
    struct sd_task *t;

    sd_metric(d, SD_M_REAPED, "leaf", (double)leaves);
    if (leaves > 0)
        assay_log(d->host, ASSAY_LOG_INFO, "reaped", ASSAY_KI("leaves", leaves));
    if (left > 0)
        return assay_err_set(err, ASSAY_E_BUSY, "%zu old cgroup leaves of %s do not empty", left, d->leaves.name);
    if (d->work == NULL || !d->engine_up)
        return 0; /* containers are looked for when the engine answers */
    t = sd_task_new(SD_REAP);
    if (t == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to look for old containers");
    sd_work_give(d->work, t);
    return 0;
}

static void reaped_all(struct sd_driver *d, const struct sd_task *t)
{
    sd_metric(d, SD_M_REAPED, "container", (double)t->u.reap.containers);
    sd_metric(d, SD_M_REAPED, "image", (double)t->u.reap.images);
    if (t->u.reap.containers + t->u.reap.images > 0)
        assay_log(d->host, ASSAY_LOG_INFO, "reaped", ASSAY_KI("containers", t->u.reap.containers),
                  ASSAY_KI("images", t->u.reap.images));
    if (t->status != 0)
        assay_log(d->host, ASSAY_LOG_WARN, "reap_incomplete", ASSAY_KZ("driver", "docker"), ASSAY_KZ("reason", t->err.msg));
}

void sd_count(const struct sd_driver *d, size_t by_state[SD_GONE + 1], size_t *waiting, size_t *out)
{
    for (int s = SD_FREE; s <= SD_GONE; s++)
        by_state[s] = 0;
    *waiting = *out = 0;
    for (size_t i = 0; i < d->max_wardens; i++) {
        const struct sd_warden *w = &d->w[i];

        by_state[w->state]++;
        *waiting += w->state == SD_LIVE && !w->out;
        *out += w->state == SD_LIVE && w->out;
    }
}

static void pool_adapt(struct sd_driver *d, struct sd_image *i, int64_t now)
{
    size_t least = strcmp(i->name, d->image) == 0 || now - i->used_ns < 60 * SECOND_NS ? d->pool_min : 0;

    if (i->opens_now > i->opens_peak)
        i->opens_peak = i->opens_now;
    i->target = i->opens_peak < least ? least : i->opens_peak > d->pool_max ? d->pool_max : i->opens_peak;
    if (now - i->window_ns >= WINDOW_NS) {
        i->opens_peak = i->opens_now > i->opens_peak / 2 ? i->opens_now : i->opens_peak / 2;
        i->opens_now = 0;
        i->window_ns = now;
    }
}

static void pool_fill(struct sd_driver *d, size_t image, int64_t now)
{
    struct sd_image *i = &d->images[image];
    size_t waiting = 0;

    for (size_t k = 0; k < d->max_wardens; k++)
        waiting += waits(d, &d->w[k], image);
    for (int n = 0; n < REFILL_PER_TICK && waiting < i->target && now >= d->retry_ns; n++, waiting++) {
        struct sd_warden *w;

        if (sd_warden_make(d, image, &w, NULL) != 0) /* all in use, or no memory: the next tick tries again */
            return;
        if (d->transport == SD_BY_UNKNOWN) /* the first one finds out */
            return;
    }
    if (waiting > i->target + 1) { /* the idle ones go, one at a time */
        struct sd_warden *w = from_pool(d, image);

        if (w != NULL)
            sd_warden_end(d, w);
    }
}

static void take_events(struct sd_driver *d)
{
    struct epoll_event ev[64];
    int n = epoll_wait(d->epoll, ev, (int)(sizeof(ev) / sizeof(ev[0])), 0);

    for (int i = 0; i < n; i++) {
        size_t index = (size_t)(ev[i].data.u64 & 0xffffffffU);

        switch ((enum sd_watch)(ev[i].data.u64 >> 32)) {
        case SD_WATCH_WORK:
            break; /* results are taken below in any case */
        case SD_WATCH_ENGINE:
            engine_lost(d);
            break;
        case SD_WATCH_LISTENER:
            sd_listen_ready(d);
            break;
        case SD_WATCH_JOINING:
            sd_joining_ready(d, index);
            break;
        case SD_WATCH_CONTROL:
            sd_control_ready(d, &d->w[index]);
            break;
        case SD_WATCH_STREAM:
            sd_stream_ready(d, &d->w[index]);
            break;
        }
    }
}

static void take_results(struct sd_driver *d)
{
    for (struct sd_task *t; (t = sd_work_take(d->work)) != NULL; free(t)) {
        switch (t->kind) {
        case SD_GREET:
            engine_answered(d, t);
            break;
        case SD_IMAGE:
            image_looked(d, t);
            break;
        case SD_PULL:
            image_pulled(d, t);
            break;
        case SD_START:
            sd_warden_started(d, t);
            break;
        case SD_END:
            sd_warden_ended(d, t);
            break;
        case SD_REAP:
            reaped_all(d, t);
            break;
        }
    }
}

static void say_figures(const struct sd_driver *d)
{
    static const char *const state_names[] = {"free", "making", "waiting", "ending", "emptying"};
    size_t count[SD_GONE + 1], waiting, out;
    const struct assay_host *h = d->host;

    sd_count(d, count, &waiting, &out);
    count[SD_LIVE] = waiting;
    for (int s = SD_FREE; s <= SD_GONE; s++)
        h->metric_set(h->ctx, &sd_metrics[SD_M_WARDENS], (const char *const[]){state_names[s], NULL}, (double)count[s]);
    h->metric_set(h->ctx, &sd_metrics[SD_M_WARDENS], (const char *const[]){"in_use", NULL}, (double)out);
    h->metric_set(h->ctx, &sd_metrics[SD_M_LEAVES], NULL, (double)d->leaves.count);
    h->metric_set(h->ctx, &sd_metrics[SD_M_ENGINE_UP], NULL, d->engine_up ? 1 : 0);
}

static void sd_tick(void *self)
{
    struct sd_driver *d = self;
    int64_t now = assay_mono_ns();

    if (d->work == NULL)
        return;
    take_events(d);
    take_results(d);
    if (now >= d->greet_ns && (!d->engine_up || d->watch < 0))
        engine_greet(d, now);
    sd_wardens_tick(d, now);
    for (size_t i = 0; i < SD_IMAGES_MAX && d->engine_up && !d->draining; i++) {
        struct sd_image *im = &d->images[i];

        if (im->name[0] == '\0')
            continue;
        sd_pull_tell(d, im, now);
        if ((im->state == SD_IMAGE_READY && now - im->checked_ns > LOOK_NS) ||
            (im->state != SD_IMAGE_READY && now >= im->retry_ns && now - im->used_ns < 60 * SECOND_NS))
            image_look(d, im, now);
        if (im->state == SD_IMAGE_READY) {
            pool_adapt(d, im, now);
            pool_fill(d, i, now);
        }
    }
    say_figures(d);
}

const struct assay_sandbox_ops sd_ops = {
    .size = sizeof(struct assay_sandbox_ops),
    .reap = sd_reap,
    .open = sd_open,
    .close = sd_close,
    .pollfd = sd_pollfd,
    .tick = sd_tick,
    .reaped = sd_reaped,
    .doctor = sd_doctor,
    .usable = sd_usable,
    .info = sd_info,
    .fate = sd_fate,
};

/* ---- life ---- */

static int read_file(const char *path, size_t most, struct assay_buf *out, struct assay_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    if (fd < 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "cannot read %.300s", path);
    assay_buf_init(out, most);
    do {
        char *to = assay_buf_reserve(out, 65536);

        n = to != NULL ? read(fd, to, 65536) : -1;
        out->n += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    close(fd);
    return n < 0 || out->failed ? assay_err_set(err, ASSAY_E_CONFIG, "cannot read %.300s, or it is over %zu bytes", path, most) : 0;
}

static void trouble(struct sd_driver *d, const struct assay_err *err, const char *remedy)
{
    snprintf(d->trouble, sizeof(d->trouble), "%.390s", err->msg);
    snprintf(d->remedy, sizeof(d->remedy), "%s", remedy);
}

static bool load_files(struct sd_driver *d)
{
    const struct assay_host *h = d->host;
    const char *own = h->option_str(h->ctx, "docker_warden_path"), *profile = h->option_str(h->ctx, "docker_seccomp");
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT, p = ASSAY_BUF_INIT;
    char path[SD_PATH + 40], sum[ASSAY_SHA256_HEX];
    struct assay_err err = {0, ""};
    char *bytes;

    if (own[0] != '\0')
        snprintf(d->warden_path, sizeof(d->warden_path), "%.500s", own);
    else
        assay_sandbox_find_warden(h, d->warden_path, sizeof(d->warden_path));
    if (read_file(d->warden_path, (size_t)64 << 20, &b, &err) != 0) {
        trouble(d, &err, "install assay-warden beside assay-boxkeeper, or name it in docker_warden_path");
        return false;
    }
    assay_sha256_hex(assay_buf_view(&b), sum);
    snprintf(d->setup.warden_hash, sizeof(d->setup.warden_hash), "%.32s", sum);
    bytes = assay_buf_steal(&b, &d->setup.warden.n);
    d->setup.warden.p = bytes;
    if (profile[0] != '\0')
        snprintf(path, sizeof(path), "%.500s", profile);
    else
        snprintf(path, sizeof(path), "%.500s/docker-seccomp.json", h->option_str(h->ctx, "share_dir"));
    if (read_file(path, (size_t)1 << 20, &p, &err) != 0) {
        trouble(d, &err, "it is installed with Assay; or name the profile in docker_seccomp");
        return false;
    }
    assay_buf_putc(&p, '\0');
    d->setup.seccomp = assay_buf_steal(&p, NULL);
    return true;
}

static void name_places(struct sd_driver *d)
{
    const struct assay_host *h = d->host;
    const char *data_dir = h->option_str(h->ctx, "data_dir"), *folder = h->option_str(h->ctx, "docker_socket_dir");
    char real[PATH_MAX], key[PATH_MAX + 16], hex[ASSAY_SHA256_HEX];

    if (realpath(data_dir, real) == NULL)
        snprintf(real, sizeof(real), "%s", data_dir);
    snprintf(key, sizeof(key), "docker %s", real);
    assay_sha256_hex(assay_str(key), hex);
    snprintf(d->setup.data_id, sizeof(d->setup.data_id), "%.16s", hex);
    assay_random_hex(d->setup.life, 4);
    if (folder[0] != '\0')
        snprintf(d->setup.socket_dir, sizeof(d->setup.socket_dir), "%.500s", folder);
    else if (geteuid() == 0) /* not in the data directory: that is the server's, who could put something else there */
        snprintf(d->setup.socket_dir, sizeof(d->setup.socket_dir), "/run/assay-%.16s", hex);
    else
        snprintf(d->setup.socket_dir, sizeof(d->setup.socket_dir), "%.450s/docker-%.8s", real, hex);
    assay_leaves_open(&d->leaves, h, hex, h->option_str(h->ctx, "docker_leaf_parent"), "docker_leaf_parent", d->max_wardens);
}

/* What is known before the first OPEN, so that sandbox=auto can choose: waits a few seconds at most. */
static void first_look(struct sd_driver *d)
{
    struct assay_err err = {0, ""};
    struct sd_image *i = image_of(d, assay_str(d->image));
    const char *sandbox = d->host->option_str(d->host->ctx, "sandbox");
    int rc = sd_engine_greet(&d->setup.engine, 3000, &err);

    if (rc != 0) {
        d->engine_code = rc;
        snprintf(d->engine_why, sizeof(d->engine_why), "%.390s", err.msg);
        return;
    }
    d->engine_up = true;
    if (i == NULL)
        return;
    rc = sd_image_inspect(&d->setup, i->name, &i->facts, &err);
    i->facts.derived[0] = '\0';
    if (rc != 0) {
        i->state = SD_IMAGE_FAILED;
        i->why_code = rc;
        snprintf(i->why, sizeof(i->why), "%.290s", err.msg);
    }
    if (rc == 0 ? strcmp(sandbox, "native") != 0 : strcmp(sandbox, "docker") == 0) /* auto takes what is there */
        i->used_ns = assay_mono_ns(); /* tick prepares it, or pulls it */
}

int sd_init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct sd_driver *d = calloc(1, sizeof(*d));
    const char *by;
    int rc;

    if (d == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the driver");
    *self = d;
    d->host = host;
    d->epoll = d->listener = d->socket_dir_fd = d->watch = -1;
    for (size_t i = 0; i < sizeof(d->joining) / sizeof(d->joining[0]); i++)
        d->joining[i].fd = -1;
    d->next_id = 1;
    d->image = host->option_str(host->ctx, "docker_image");
    d->max_wardens = (size_t)host->option_int(host->ctx, "docker_max_wardens");
    d->pool_min = (size_t)host->option_int(host->ctx, "docker_pool_min");
    d->pool_max = (size_t)host->option_int(host->ctx, "docker_pool_max");
    if (d->pool_max < d->pool_min)
        return assay_err_set(err, ASSAY_E_CONFIG, "docker_pool_max (%zu) is under docker_pool_min (%zu)", d->pool_max, d->pool_min);
    if (!sd_image_name_ok(assay_str(d->image)))
        return assay_err_set(err, ASSAY_E_CONFIG, "docker_image is \"%.100s\", which is no name of an image", d->image);
    d->setup.memory = host->option_int(host->ctx, "docker_memory");
    d->setup.pids = host->option_int(host->ctx, "docker_pids");
    d->setup.cpu_percent = host->option_int(host->ctx, "docker_cpu_percent");
    d->setup.boxes = host->option_int(host->ctx, "docker_boxes");
    d->setup.pull_ms = PULL_MS;
    d->setup.pull_idle_ms = PULL_IDLE_MS;
    d->setup.stop = &d->stop;
    d->pull = strcmp(host->option_str(host->ctx, "docker_pull"), "auto") == 0;
    d->setup.cgroup_parent = host->option_str(host->ctx, "docker_cgroup_parent");
    d->setup.apparmor = host->option_str(host->ctx, "docker_apparmor");
    by = host->option_str(host->ctx, "docker_stream");
    d->transport_wanted = strcmp(by, "socket") == 0 ? SD_BY_SOCKET : strcmp(by, "attach") == 0 ? SD_BY_ATTACH : SD_BY_UNKNOWN;
    d->transport = d->transport_wanted;
    if (d->transport == SD_BY_ATTACH)
        snprintf(d->transport_why, sizeof(d->transport_why), "configured: docker_stream=attach");
    rc = sd_engine_address(&d->setup.engine, host->option_str(host->ctx, "docker_host"),
                           host->option_int(host->ctx, "docker_tls_verify") != 0, host->option_str(host->ctx, "docker_cert_path"), err);
    if (rc != 0)
        return rc;
    d->w = calloc(d->max_wardens, sizeof(*d->w));
    if (d->w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for %zu containers", d->max_wardens);
    for (size_t i = 0; i < d->max_wardens; i++)
        d->w[i] = (struct sd_warden){.ours = -1, .theirs = -1, .control = -1};
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (d->epoll < 0)
        return assay_err_errno(err, ASSAY_E_INTERNAL, errno, "epoll_create1");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return assay_err_set(err, ASSAY_E_INTERNAL, "libcurl does not start");
    name_places(d);
    if (!load_files(d))
        return 0; /* not usable, and doctor says why */
    first_look(d);
    if (d->transport != SD_BY_ATTACH) {
        struct assay_err why = {0, ""};

        if (sd_listen_open(d, &why) != 0) {
            if (d->transport_wanted == SD_BY_SOCKET)
                trouble(d, &why, "or let docker_stream be auto");
            d->transport = SD_BY_ATTACH;
            snprintf(d->transport_why, sizeof(d->transport_why), "%.290s", why.msg);
        }
    }
    rc = sd_work_new(&d->setup, &d->work, err);
    if (rc == 0 && sd_watch_add(d, sd_work_fd(d->work), SD_WATCH_WORK, 0) != 0)
        rc = assay_err_errno(err, ASSAY_E_INTERNAL, errno, "epoll for the workers");
    if (rc == 0 && d->engine_up)
        watch_engine(d);
    return rc;
}

void sd_drain(void *self)
{
    struct sd_driver *d = self;

    d->draining = true;
    d->stop = true;
    sd_listen_close(d); /* first: the next boxkeeper waits for it */
    for (size_t i = 0; i < d->max_wardens; i++)
        sd_warden_end(d, &d->w[i]);
    for (int turn = 0; turn < DRAIN_TURNS && d->work != NULL && d->engine_up; turn++) {
        bool all = true;

        take_events(d);
        take_results(d);
        sd_wardens_tick(d, assay_mono_ns());
        for (size_t i = 0; i < d->max_wardens; i++)
            all = all && d->w[i].state == SD_FREE;
        if (all)
            break;
        usleep(10000);
    }
    if (d->leaves.count > 0)
        assay_log(d->host, ASSAY_LOG_WARN, "leaves_stay", ASSAY_KI("count", d->leaves.count));
    assay_leaves_close(&d->leaves);
}

void sd_fini(void *self)
{
    struct sd_driver *d = self;
    union {
        const char *in;
        void *out;
    } warden;

    if (d == NULL)
        return;
    d->stop = true;
    sd_work_free(d->work);
    sd_listen_close(d);
    if (d->watch >= 0)
        close(d->watch);
    if (d->epoll >= 0)
        close(d->epoll);
    warden.in = d->setup.warden.p;
    free(warden.out);
    free(d->setup.seccomp);
    free(d->w);
    free(d);
}
