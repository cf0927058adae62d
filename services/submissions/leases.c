/*
 * Leases whose holder is gone.
 *
 * Who holds a lease shows that it lives: a gateway by the beat of its row among the instances, a holder outside (a
 * worker that leases over HTTP, or a broker that work was sent to) by the beat of each lease, which its
 * renewals count up.  Every gateway looks once a second and measures, on its own monotonic clock, for how long a
 * beat has stood still; over its lease it is dead.  So no clock is compared with another one, a changed wall clock
 * expires nothing, and who looks for the first time (a gateway that has just started) gives everybody a full
 * period.  Times in which we could not look, since the store or we ourselves stood still, do not count.
 *
 * What is done about it is guarded by the beat that was seen: of several gateways one does it, and a renewal that
 * came in between wins.  Where somebody is thought dead who is only slow, the fence keeps its results out.
 *
 * A gateway that is alone writes no beats: nobody looks for them.  A life that ended in our own data directory is
 * over at once, since only one process has that at a time; on SQLite, which is always one process, that is each.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_GAP_MS 20000 /* between two looks: more, and we have slept */
#define HOME_FILE "instance-home"

static int64_t mono_ms(struct submissions *s)
{
    return s->host->mono_ns(s->host->ctx) / 1000000;
}

/* A name for the data directory that stays the same over restarts. */
static int home_of(struct submissions *s, char home[ASSAY_ID_SIZE], struct assay_err *err)
{
    char path[4096], text[ASSAY_ID_SIZE + 1];
    snprintf(path, sizeof path, "%s/" HOME_FILE, s->host->option_str(s->host->ctx, "data_dir"));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "%s", path);
    ssize_t n = pread(fd, text, sizeof text, 0);
    if (n >= ASSAY_ID_SIZE - 1 && assay_id_valid((struct assay_str){text, ASSAY_ID_SIZE - 1})) {
        memcpy(home, text, ASSAY_ID_SIZE - 1);
        home[ASSAY_ID_SIZE - 1] = '\0';
        close(fd);
        return ASSAY_OK;
    }
    assay_id_new(home);
    int rc = ASSAY_OK;
    if (ftruncate(fd, 0) != 0 || pwrite(fd, home, ASSAY_ID_SIZE - 1, 0) != ASSAY_ID_SIZE - 1 || fsync(fd) != 0)
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "%s", path);
    close(fd);
    return rc;
}

int leases_new(struct submissions *s, struct assay_err *err)
{
    s->leases = calloc(1, sizeof *s->leases);
    if (s->leases == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    s->leases->silence_ms = s->host->option_int(s->host->ctx, "instance_silence");
    return home_of(s, s->leases->home, err);
}

void leases_free(struct submissions *s)
{
    if (s->leases == NULL)
        return;
    free(s->leases->instance);
    free(s->leases->away);
    free(s->leases);
    s->leases = NULL;
}

int leases_start(struct submissions *s, struct assay_err *err)
{
    int rc = repo_instance_beat(s, true, err);
    if (rc >= 0)
        rc = jobs_void_orphans(s, err);
    s->leases->in = rc >= 0;
    return rc;
}

void leases_leave(struct submissions *s)
{
    struct assay_err err;
    if (s->leases == NULL || !s->leases->in)
        return;
    s->leases->in = false;
    if (repo_instance_leave(s, &err) < 0) /* then the others wait until we have been silent for long enough */
        assay_log(s->host, ASSAY_LOG_WARN, "instance_left_silently", ASSAY_KZ("error", err.msg));
}

/* Takes over from the last look since when each has had its beat. fresh: all of them have it from now on. */
static void carry_over(const struct watched *old, size_t n_old, struct watched *now, size_t n, int64_t now_ms, bool fresh)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        int cmp = 1;
        while (k < n_old && (cmp = strcmp(old[k].id, now[i].id)) < 0)
            k++;
        bool same = k < n_old && cmp == 0 && old[k].fence == now[i].fence && old[k].beat == now[i].beat;
        now[i].since_ms = same && !fresh ? old[k].since_ms : now_ms;
    }
}

static int look_at_instances(struct submissions *s, int64_t now, bool fresh, struct assay_err *err)
{
    struct leases *l = s->leases;
    struct watched *list;
    size_t n;
    int rc = repo_watch(s, true, &list, &n, err);
    if (rc < 0)
        return rc;
    carry_over(l->instance, l->n_instances, list, n, now, fresh);
    bool me = false, fewer = n < l->n_instances;
    free(l->instance);
    l->instance = list;
    l->n_instances = n;
    for (size_t i = 0; i < n; i++)
        me = me || strcmp(list[i].id, s->host->instance_id) == 0;
    bool others = n > (me ? 1u : 0u);
    /* also when somebody took us for dead: then we are again */
    if ((others && now - l->beaten_ms >= l->silence_ms / 5) || !me) {
        rc = repo_instance_beat(s, false, err);
        l->beaten_ms = now;
    }
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        const struct watched *w = &list[i];
        if (strcmp(w->id, s->host->instance_id) == 0 || now - w->since_ms < w->lease_ms)
            continue;
        int gone = repo_instance_gone(s, w, err);
        if (gone >= 0)
            assay_log(s->host, ASSAY_LOG_WARN, "instance_gone", ASSAY_KZ("instance", w->id),
                      ASSAY_KI("silent_ms", now - w->since_ms));
        fewer = fewer || gone >= 0;
        rc = gone == ASSAY_E_GUARD ? ASSAY_OK : gone;
    }
    if (rc >= 0 && (others || fewer || l->unvoided)) {
        rc = jobs_void_orphans(s, err);
        l->unvoided = rc < 0;
    }
    return rc;
}

static int look_away(struct submissions *s, int64_t now, bool fresh, struct assay_err *err)
{
    struct leases *l = s->leases;
    struct watched *list;
    size_t n;
    int rc = repo_watch(s, false, &list, &n, err);
    if (rc < 0)
        return rc;
    carry_over(l->away, l->n_away, list, n, now, fresh);
    free(l->away);
    l->away = list;
    l->n_away = n;
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        if (now - list[i].since_ms >= list[i].lease_ms)
            rc = jobs_away_over(s, &list[i], err);
    }
    return rc;
}

/* A cancel that another gateway was asked for. */
static int look_for_cancels(struct submissions *s, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_str *id;
    size_t n;
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = repo_cancels(s, arena, &id, &n, err);
    for (size_t i = 0; rc >= 0 && i < n; i++)
        live_cancel(s->live, id[i]);
    return rc;
}

void leases_look(struct submissions *s)
{
    struct leases *l = s->leases;
    struct assay_err err;
    int64_t now = mono_ms(s);
    bool fresh = l->missed || now - l->looked_ms > LOOK_GAP_MS;
    int rc = look_at_instances(s, now, fresh, &err);
    if (rc >= 0)
        rc = look_away(s, now, fresh, &err);
    if (rc >= 0 && l->n_instances > 1)
        rc = look_for_cancels(s, &err);
    if (rc < 0 && !l->missed)
        assay_log(s->host, ASSAY_LOG_WARN, "leases_unseen", ASSAY_KZ("error", err.msg));
    l->missed = rc < 0;
    l->looked_ms = now;
}
