/*
 * What this engine lets boxes be: for each layer whether it is there, what its absence costs, and what
 * mends it, in words for the person who runs the machine.
 */
#include "local.h"

#include <assay/value.h>

#include <stdlib.h>
#include <unistd.h>

static void check(struct assay_jw *w, const char *name, bool ok, const char *detail, const char *cost, const char *remedy)
{
    assay_jw_object(w);
    assay_jw_kz(w, "name", name);
    assay_jw_kbool(w, "ok", ok);
    assay_jw_kz(w, "detail", detail);
    assay_jw_kz(w, "cost", ok ? NULL : cost);
    assay_jw_kz(w, "remedy", ok ? NULL : remedy);
    assay_jw_end(w);
}

/* What a reader of results must know is missing. */
static void lacks(const struct sd_driver *d, struct assay_jw *w)
{
    assay_jw_array(w);
    if (d->single)
        assay_jw_z(w, "namespaces inside containers (a container for each submission; its tests share the container)");
    if (d->transport == SD_BY_ATTACH)
        assay_jw_z(w, "cgroup (streams go through the engine, which cannot pass a leaf)");
    else if (d->leaves.version == 0)
        assay_jw_z(w, "cgroup");
    else if (d->leaves.trouble[0] != '\0')
        assay_jw_z(w, "part of cgroup");
    assay_jw_end(w);
}

int sd_place(const struct sd_driver *d, const struct sd_image *i, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the warden's place");
    assay_jw_object(w);
    assay_jw_kz(w, "driver", "docker");
    assay_jw_kz(w, "mode", d->single ? "docker-single" : "docker");
    assay_jw_kz(w, "image", i->name);
    assay_jw_kz(w, "digest", i->facts.digest[0] != '\0' ? i->facts.digest : NULL);
    assay_jw_key(w, "notes");
    lacks(d, w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

static void check_leaves(const struct sd_driver *d, struct assay_jw *w)
{
    char detail[1100];

    if (d->transport == SD_BY_ATTACH || d->leaves.version == 0) {
        check(w, "cgroup", false, d->transport == SD_BY_ATTACH ? "streams go through the engine, so leaves cannot be passed" : d->leaves.trouble,
              "memory is limited for each process and for the container, CPU time of children that a program hides is not counted, "
              "peak memory is that of the largest process; each result says so",
              d->transport == SD_BY_ATTACH ? "see stream" : d->leaves.remedy);
        return;
    }
    snprintf(detail, sizeof(detail), "version %d, %s, %zu leaves%s%s", d->leaves.version, d->leaves.group[ASSAY_LEAVES_MEMORY],
             d->leaves.count, d->leaves.trouble[0] != '\0' ? "; " : "", d->leaves.trouble);
    check(w, "cgroup", d->leaves.trouble[0] == '\0', detail,
          "what the missing controller measures or limits falls back to rlimits and wait4", d->leaves.remedy);
}

static void check_images(const struct sd_driver *d, struct assay_jw *w)
{
    for (size_t k = 0; k < SD_IMAGES_MAX; k++) {
        const struct sd_image *i = &d->images[k];
        char name[80], detail[900];

        if (i->name[0] == '\0')
            continue;
        snprintf(name, sizeof(name), "image %.60s", i->name);
        if (i->state == SD_IMAGE_PULLING)
            sd_pull_text(i, detail, sizeof(detail));
        else
            snprintf(detail, sizeof(detail), "%s%s", i->state == SD_IMAGE_READY ? "ready, layers " : i->state == SD_IMAGE_FAILED ? "" : "being prepared",
                     i->state == SD_IMAGE_READY ? i->facts.digest : i->state == SD_IMAGE_FAILED ? i->why : "");
        check(w, name, i->state != SD_IMAGE_FAILED && i->state != SD_IMAGE_PULLING, detail, "boxes on this image cannot be opened",
              i->state == SD_IMAGE_PULLING ? "wait for the end of the pull"
              : d->pull && sd_pull_allowed(i->name)
                  ? "it is pulled when a box is to stand on it; or load one (docker load), or name another in docker_image"
                  : "build the images (assay-images) or pull one, or name another in docker_image");
    }
}

int sd_doctor(void *self, struct assay_buf *out, struct assay_err *err)
{
    static const char *const state_names[] = {"free", "making", "waiting", "ending", "emptying"};
    const struct sd_driver *d = self;
    const struct sd_engine *e = &d->setup.engine;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    struct assay_err why = {0, ""};
    size_t count[SD_GONE + 1], waiting, in_use;
    char detail[1100];

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the doctor's report");
    assay_jw_object(w);
    assay_jw_kz(w, "driver", "docker");
    assay_jw_kbool(w, "usable", sd_usable(self, &why) == 0);
    assay_jw_kz(w, "why", why.msg[0] != '\0' ? why.msg : NULL);
    assay_jw_kz(w, "mode", d->single ? "docker-single" : "docker");
    assay_jw_key(w, "checks");
    assay_jw_array(w);
    if (d->trouble[0] != '\0')
        check(w, "configuration", false, d->trouble, "no box can be opened in Docker", d->remedy);
    snprintf(detail, sizeof(detail), "%.200s%s%s%s%.300s", e->host, d->engine_up ? ": Docker " : ": ", d->engine_up ? e->version : d->engine_why,
             d->engine_up ? ", API " : "", d->engine_up ? e->api + 2 : "");
    check(w, "engine", d->engine_up, detail, "no box can be opened in Docker",
          "start dockerd, give this user the right to its socket (root or the group docker), or name another engine in docker_host");
    if (d->engine_up) {
        check_images(d, w);
        check(w, "containers_start", d->failures == 0, d->failures == 0 ? (d->features_known ? "the last warden said hello" : "none was started yet") : d->failure,
              "no box can be opened in Docker",
              "the detail says what the engine or the warden said");
        check(w, "namespaces", !d->single, d->single ? d->single_why : "wardens make them inside their containers",
              "a container for each submission, whose start is paid each time; in it reduced boxes, which share processes and files "
              "of their container",
              "allow user namespaces on the engine's machine (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1), "
              "and the unshare and mount calls in the profiles that docker_seccomp and docker_apparmor name");
        snprintf(detail, sizeof(detail), "%s%s%s", d->transport == SD_BY_SOCKET ? "by a socket in " : d->transport == SD_BY_ATTACH ? "through the engine: " : "not tried yet",
                 d->transport == SD_BY_SOCKET ? d->setup.socket_dir : "", d->transport == SD_BY_ATTACH ? d->transport_why : "");
        check(w, "stream", d->transport != SD_BY_ATTACH, detail, "each byte is copied twice more, and boxes have no cgroup leaf",
              "run assayd on the engine's machine, outside of containers, with docker_socket_dir where the engine sees it too");
        check_leaves(d, w);
        snprintf(detail, sizeof(detail), "%s", e->apparmor ? d->setup.apparmor[0] != '\0' ? d->setup.apparmor : "the engine's own profile"
                                                          : "the engine has no AppArmor");
        check(w, "apparmor", !e->apparmor || d->setup.apparmor[0] != '\0', detail, "the engine's own profile forbids mounts, so no box can be made",
              "load the profile that is installed with Assay (apparmor_parser -r /etc/apparmor.d/assay-warden)");
    }
    assay_jw_end(w);
    sd_count(d, count, &waiting, &in_use);
    count[SD_LIVE] = waiting;
    assay_jw_key(w, "wardens");
    assay_jw_object(w);
    for (int s = SD_FREE; s <= SD_GONE; s++)
        assay_jw_kint(w, state_names[s], (int64_t)count[s]);
    assay_jw_kint(w, "in_use", (int64_t)in_use);
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int sd_info(void *self, struct assay_buf *out, struct assay_err *err)
{
    const struct sd_driver *d = self;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    struct assay_err why = {0, ""};

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the driver's description");
    assay_jw_object(w);
    assay_jw_kz(w, "driver", "docker");
    assay_jw_kbool(w, "usable", sd_usable(self, &why) == 0);
    assay_jw_kz(w, "why", why.msg[0] != '\0' ? why.msg : NULL);
    assay_jw_kz(w, "mode", d->single ? "docker-single" : "docker");
    assay_jw_kz(w, "image", d->image);
    assay_jw_kint(w, "cgroup_version", d->transport == SD_BY_ATTACH ? 0 : d->leaves.version);
    assay_jw_kint(w, "max_wardens", (int64_t)d->max_wardens);
    assay_jw_key(w, "lacks");
    lacks(d, w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}
