/*
 * Calls of the engine, off the boxkeeper's thread: a list of tasks, a few workers, a list of results and
 * an eventfd.  Pulls, which take minutes, have a list and a worker for themselves, so they come one after another.  A task belongs to its giver, then to the worker that took it, then to who takes the result.
 */
#include "local.h"

#include <assay/value.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BRISK, SLOW, DONE, LISTS };

struct list {
    struct sd_task *first, *last;
};

struct sd_work {
    const struct sd_setup *setup;
    pthread_t thread[SD_WORKERS + 1];
    size_t n_threads;
    int event;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t more[DONE];
    struct list list[LISTS];
    struct sd_engine engine;
    bool stop;
};

static void push(struct list *l, struct sd_task *t)
{
    t->next = NULL;
    if (l->first == NULL)
        l->first = t;
    else
        l->last->next = t;
    l->last = t;
}

static struct sd_task *pop(struct list *l)
{
    struct sd_task *t = l->first;

    if (t != NULL)
        l->first = t->next;
    return t;
}

static void perform(const struct sd_setup *s, struct sd_task *t)
{
    switch (t->kind) {
    case SD_GREET:
        t->status = sd_engine_greet(&t->u.engine, 5000, &t->err);
        break;
    case SD_IMAGE:
        t->status = sd_image_prepare(s, t->u.image.name, &t->u.image.facts, &t->err);
        break;
    case SD_PULL:
        t->status = sd_image_pull(s, t->u.image.name, t->u.image.progress, &t->err);
        break;
    case SD_START:
        t->status = sd_container_start(s, &t->u.start, &t->err);
        break;
    case SD_END:
        t->status = sd_container_end(s, &t->u.end, &t->err);
        break;
    case SD_REAP:
        t->status = sd_reap_all(s, &t->u.reap.containers, &t->u.reap.images, &t->err);
        break;
    }
}

static void *serve(struct sd_work *w, int which)
{
    struct sd_setup setup = *w->setup; /* all but the engine stays as it is */

    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct sd_task *t;
        uint64_t one = 1;

        while (w->list[which].first == NULL && !w->stop)
            pthread_cond_wait(&w->more[which], &w->lock);
        if (w->stop)
            break;
        t = pop(&w->list[which]);
        setup.engine = w->engine;
        pthread_mutex_unlock(&w->lock);
        if (t != NULL)
            perform(&setup, t);
        pthread_mutex_lock(&w->lock);
        if (t == NULL)
            continue;
        push(&w->list[DONE], t);
        if (write(w->event, &one, sizeof(one)) < 0 && errno != EAGAIN) /* full means readable */
            break;
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void *worker(void *arg)
{
    return serve(arg, BRISK);
}

static void *puller(void *arg)
{
    return serve(arg, SLOW);
}

int sd_work_new(const struct sd_setup *s, struct sd_work **out, struct assay_err *err)
{
    struct sd_work *w = calloc(1, sizeof(*w));
    int e = 0;

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the Docker driver's workers");
    w->setup = s;
    w->engine = s->engine;
    w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->event < 0) {
        e = errno;
        free(w);
        return assay_err_errno(err, ASSAY_E_INTERNAL, e, "eventfd");
    }
    pthread_mutex_init(&w->lock, NULL);
    for (int i = 0; i < DONE; i++)
        pthread_cond_init(&w->more[i], NULL);
    while (w->n_threads <= SD_WORKERS && (e = pthread_create(&w->thread[w->n_threads], NULL, w->n_threads == 0 ? puller : worker, w)) == 0)
        w->n_threads++;
    if (w->n_threads < 2) {
        sd_work_free(w);
        return assay_err_errno(err, ASSAY_E_INTERNAL, e, "cannot start the Docker driver's workers");
    }
    *out = w;
    return 0;
}

void sd_work_free(struct sd_work *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    for (int i = 0; i < DONE; i++)
        pthread_cond_broadcast(&w->more[i]);
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->n_threads; i++)
        pthread_join(w->thread[i], NULL);
    for (int i = 0; i < LISTS; i++)
        for (struct sd_task *t; (t = pop(&w->list[i])) != NULL;)
            free(t);
    for (int i = 0; i < DONE; i++)
        pthread_cond_destroy(&w->more[i]);
    pthread_mutex_destroy(&w->lock);
    close(w->event);
    free(w);
}

struct sd_task *sd_task_new(enum sd_task_kind kind)
{
    struct sd_task *t = calloc(1, sizeof(*t));

    if (t != NULL)
        t->kind = kind;
    return t;
}

void sd_work_engine(struct sd_work *w, const struct sd_engine *e)
{
    pthread_mutex_lock(&w->lock);
    w->engine = *e;
    pthread_mutex_unlock(&w->lock);
}

void sd_work_give(struct sd_work *w, struct sd_task *t)
{
    int which = t->kind == SD_PULL ? SLOW : BRISK;

    pthread_mutex_lock(&w->lock);
    push(&w->list[which], t);
    pthread_cond_signal(&w->more[which]);
    pthread_mutex_unlock(&w->lock);
}

struct sd_task *sd_work_take(struct sd_work *w)
{
    struct sd_task *t;
    uint64_t n;

    pthread_mutex_lock(&w->lock);
    t = pop(&w->list[DONE]);
    if (t == NULL && read(w->event, &n, sizeof(n)) < 0 && errno != EAGAIN)
        t = NULL; /* what is readable stays readable: the next turn looks again */
    pthread_mutex_unlock(&w->lock);
    return t;
}

int sd_work_fd(const struct sd_work *w)
{
    return w->event;
}
