/*
 * Containers: how one is made, how it ends, and who killed it.
 *
 * A container has no network, a read-only root, no capability and none to gain, an unprivileged uid,
 * limits of processes, memory and CPU, our seccomp profile and (where the engine has it) our AppArmor
 * profile; no log, no restart, no health check.  Its kernel paths are unmasked (systempaths=unconfined): a user
 * namespace may mount a proc only where a whole one is visible, and each box mounts its own, of which it shows the
 * process directories alone.  The engine's socket is never in it.
 *
 * Who killed it.  The warden is pid 1 of its container, and the kernel delivers no SIGKILL to pid 1 from
 * inside: so an end by SIGKILL that was no OOM kill came from outside (an engine that stops or is
 * restarted, a person), and is no fault of what ran.
 */
#include "local.h"

#include <assay/value.h>

#include <stdlib.h>
#include <unistd.h>

#define SHORT_MS 10000
#define START_MS 60000
#define DEATH_MS 3000

static void strings(struct assay_jw *w, const char *key, const char *const *list)
{
    assay_jw_key(w, key);
    assay_jw_array(w);
    for (; *list != NULL; list++)
        assay_jw_z(w, *list);
    assay_jw_end(w);
}

static void command(const struct sd_setup *s, const struct sd_start *q, struct assay_jw *w)
{
    /* what of an image a box sees beyond usr, bin and lib: there is nothing in an image that its boxes should not */
    static const char *const plain[] = {"--stay-attached", "--bind-try=/usr/local",
                                        "--bind-try=/opt", "--bind-try=/etc/alternatives", "--bind-try=/etc/ld.so.conf",
                                        "--bind-try=/etc/ld.so.conf.d", "--bind-try=/etc/ssl/certs", "--bind-try=/etc/perl",
                                        "--bind-try=/etc/python3", "--bind-try=/etc/python3.11", "--bind-try=/etc/python3.13",
                                        "--bind-try=/etc/java-17-openjdk", "--bind-try=/etc/java-21-openjdk",
                                        "--bind-try=/etc/mono", "--bind-try=/etc/ghc"};
    char text[80];

    assay_jw_key(w, "Cmd");
    assay_jw_array(w);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        assay_jw_z(w, plain[i]);
    snprintf(text, sizeof(text), "--name=%.60s", q->name);
    assay_jw_z(w, text);
    snprintf(text, sizeof(text), "--boxes=%lld", (long long)s->boxes);
    assay_jw_z(w, text);
    assay_jw_z(w, q->single ? "--mode=reduced" : "--mode=docker");
    assay_jw_z(w, q->single ? "--mount-at=/.assay/tmp" : "--mount-at=/.assay/mnt");
    if (q->single)
        assay_jw_z(w, "--one-job");
    assay_jw_z(w, q->leaf ? "--leaf=required" : "--leaf=none");
    if (q->attach) {
        assay_jw_z(w, "--stdio");
    } else {
        assay_jw_z(w, "--connect=/.assay/run/s");
        snprintf(text, sizeof(text), "--token=%s", q->token);
        assay_jw_z(w, text);
    }
    assay_jw_end(w);
}

static void host_config(const struct sd_setup *s, const struct sd_start *q, struct assay_jw *w)
{
    ASSAY_CLEANUP_BUF struct assay_buf seccomp = ASSAY_BUF_INIT;
    int64_t percent = s->cpu_percent > 0 ? s->cpu_percent : 200;
    char apparmor[80];

    if (s->engine.cpus > 0 && percent > s->engine.cpus * 100) /* more than there are is refused */
        percent = s->engine.cpus * 100;
    assay_jw_key(w, "HostConfig");
    assay_jw_object(w);
    assay_jw_kz(w, "NetworkMode", "none");
    assay_jw_kz(w, "IpcMode", "private");
    assay_jw_kbool(w, "ReadonlyRootfs", true);
    strings(w, "CapDrop", (const char *const[]){"ALL", NULL});
    assay_buf_puts(&seccomp, "seccomp=");
    assay_buf_puts(&seccomp, s->seccomp);
    snprintf(apparmor, sizeof(apparmor), "apparmor=%.60s", s->apparmor);
    strings(w, "SecurityOpt", (const char *const[]){"no-new-privileges", seccomp.p != NULL ? seccomp.p : "seccomp=",
                                                    s->engine.apparmor && s->apparmor[0] != '\0' ? apparmor : NULL, NULL});
    strings(w, "MaskedPaths", (const char *const[]){NULL});
    strings(w, "ReadonlyPaths", (const char *const[]){NULL});
    assay_jw_kint(w, "PidsLimit", s->pids);
    assay_jw_kint(w, "Memory", s->memory);
    assay_jw_kint(w, "MemorySwap", s->memory); /* no swap */
    assay_jw_kint(w, "NanoCpus", percent * 10000000);
    assay_jw_kraw(w, "LogConfig", ASSAY_STR("{\"Type\":\"none\"}"));
    assay_jw_kraw(w, "RestartPolicy", ASSAY_STR("{\"Name\":\"no\"}"));
    if (s->cgroup_parent[0] != '\0')
        assay_jw_kz(w, "CgroupParent", s->cgroup_parent);
    if (q->single) { /* a box without namespaces needs a place to write */
        assay_jw_key(w, "Tmpfs");
        assay_jw_object(w);
        assay_jw_kz(w, "/.assay/tmp", "rw,nosuid,nodev,exec,size=1g");
        assay_jw_end(w);
    }
    if (!q->attach) {
        assay_jw_key(w, "Mounts");
        assay_jw_array(w);
        assay_jw_object(w);
        assay_jw_kz(w, "Type", "bind");
        assay_jw_kz(w, "Source", s->socket_dir);
        assay_jw_kz(w, "Target", "/.assay/run");
        assay_jw_kbool(w, "ReadOnly", true);
        assay_jw_end(w);
        assay_jw_end(w);
    }
    assay_jw_end(w);
}

static int describe(const struct sd_setup *s, const struct sd_start *q, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a container's description");
    assay_jw_object(w);
    assay_jw_kz(w, "Image", q->derived);
    assay_jw_kz(w, "User", "65534:65534");
    assay_jw_kz(w, "WorkingDir", "/");
    assay_jw_kz(w, "Hostname", "box");
    assay_jw_kbool(w, "NetworkDisabled", true);
    assay_jw_kz(w, "StopSignal", "SIGKILL"); /* pid 1 has no handler, so another would only be waited for in vain */
    assay_jw_kraw(w, "Healthcheck", ASSAY_STR("{\"Test\":[\"NONE\"]}"));
    if (q->attach)
        for (const char *const *k = (const char *const[]){"OpenStdin", "StdinOnce", "AttachStdin", "AttachStdout", "AttachStderr",
                                                          NULL}; *k != NULL; k++)
            assay_jw_kbool(w, *k, true);
    strings(w, "Entrypoint", (const char *const[]){"/.assay/warden", NULL});
    command(s, q, w);
    sd_labels(s, w);
    host_config(s, q, w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int sd_container_start(const struct sd_setup *s, struct sd_start *q, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT, reply = ASSAY_BUF_INIT;
    char path[160];
    int stream = q->stream, life = q->life;
    int rc = describe(s, q, &body, err);

    q->stream = q->life = -1;
    /* until its id is known, so that one whose making was cut short by the engine's end is found again */
    snprintf(q->container, sizeof(q->container), "%s", q->name);
    if (rc == 0)
        rc = sd_create(s, q->name, assay_buf_view(&body), q->container, sizeof(q->container), err);
    if (rc == 0 && q->attach) {
        rc = sd_attach(s, q->container, stream, life, err);
        stream = life = -1;
    }
    if (stream >= 0)
        close(stream);
    if (life >= 0)
        close(life);
    if (rc != 0)
        return rc;
    snprintf(path, sizeof(path), "/containers/%.80s/start", q->container);
    return sd_want(&s->engine, "POST", path, ASSAY_STR(""), NULL, START_MS, &reply, err);
}

/* ---- the end ---- */

static void find_cause(const struct sd_setup *s, struct sd_end *q)
{
    struct shape {
        struct {
            int64_t code;
            bool oom, running;
            struct assay_str error;
        } state;
    } v;
    static const struct assay_json_field state_fields[] = {
        {.name = "ExitCode", .type = ASSAY_JSON_INT, .offset = offsetof(struct shape, state.code), .has_offset = -1},
        {.name = "OOMKilled", .type = ASSAY_JSON_BOOL, .offset = offsetof(struct shape, state.oom), .has_offset = -1},
        {.name = "Running", .type = ASSAY_JSON_BOOL, .offset = offsetof(struct shape, state.running), .has_offset = -1},
        {.name = "Error", .type = ASSAY_JSON_STRING, .offset = offsetof(struct shape, state.error), .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    struct assay_json_field fields[] = {
        {.name = "State", .type = ASSAY_JSON_OBJECT, .flags = ASSAY_JSON_REQUIRED, .offset = 0, .has_offset = -1, .fields = state_fields},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    ASSAY_CLEANUP_BUF struct assay_buf waited = ASSAY_BUF_INIT, reply = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_err err = {0, ""};
    char path[160];
    int rc;

    memset(&v, 0, sizeof(v));
    q->outside = true;
    snprintf(path, sizeof(path), "/containers/%.80s/wait", q->container);
    rc = sd_want(&s->engine, "POST", path, ASSAY_STR(""), NULL, DEATH_MS, &waited, &err);
    if (rc == 0) {
        snprintf(path, sizeof(path), "/containers/%.80s/json", q->container);
        rc = sd_want(&s->engine, "GET", path, ASSAY_STR(""), NULL, DEATH_MS, &reply, &err);
    }
    if (rc == 0 && arena != NULL)
        rc = sd_decode("description of a container", assay_buf_view(&reply), fields, &v, arena, &err);
    if (rc != 0 || arena == NULL) {
        snprintf(q->why, sizeof(q->why), "its container is gone: %.150s", err.msg);
    } else if (v.state.oom) {
        q->outside = false;
        snprintf(q->why, sizeof(q->why), "its container used up its memory (docker_memory)");
    } else if (v.state.code == 137) {
        snprintf(q->why, sizeof(q->why), "its container was killed from outside");
    } else {
        q->outside = false;
        q->clean = v.state.code == 0;
        snprintf(q->why, sizeof(q->why), "its container ended with status %lld", (long long)v.state.code);
    }
}

int sd_container_end(const struct sd_setup *s, struct sd_end *q, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf reply = ASSAY_BUF_INIT;
    char path[160];
    int rc;

    if (q->ask)
        find_cause(s, q);
    snprintf(path, sizeof(path), "/containers/%.80s?force=1&v=1", q->container);
    rc = sd_want(&s->engine, "DELETE", path, ASSAY_STR(""), NULL, START_MS, &reply, err);
    return rc == ASSAY_E_NOT_FOUND ? 0 : rc;
}

/* ---- what earlier lives left ---- */

struct listed {
    struct assay_str id;
    struct assay_json_map labels;
};

static struct assay_str label(const struct listed *l, const char *name)
{
    for (size_t i = 0; i < l->labels.n; i++)
        if (assay_str_is(l->labels.items[i].key, name))
            return l->labels.items[i].value;
    return ASSAY_STR_NULL;
}

/* {"items": [...]} around the engine's bare array: what is decoded is an object. */
static int list(const struct sd_setup *s, const char *what, struct assay_json_array *out, struct assay_arena *arena, struct assay_err *err)
{
    static const struct assay_json_field row[] = {
        {.name = "Id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct listed, id), .has_offset = -1},
        {.name = "Labels", .type = ASSAY_JSON_MAP, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct listed, labels), .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    static const struct assay_json_field fields[] = {
        {.name = "items", .type = ASSAY_JSON_ARRAY, .offset = 0, .has_offset = -1, .fields = row, .elem_size = sizeof(struct listed)},
        {.name = NULL},
    };
    ASSAY_CLEANUP_BUF struct assay_buf reply = ASSAY_BUF_INIT, wrapped = ASSAY_BUF_INIT;
    char path[200];
    int rc;

    /* filters={"label":["assay.data=ID"]}, escaped */
    snprintf(path, sizeof(path), "/%s/json?all=1&filters=%%7B%%22label%%22%%3A%%5B%%22assay.data%%3D%s%%22%%5D%%7D", what, s->data_id);
    rc = sd_want(&s->engine, "GET", path, ASSAY_STR(""), NULL, SHORT_MS, &reply, err);
    if (rc != 0)
        return rc;
    assay_buf_puts(&wrapped, "{\"items\":");
    assay_buf_str(&wrapped, assay_buf_view(&reply));
    assay_buf_putc(&wrapped, '}');
    if (wrapped.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a list of %s", what);
    return sd_decode(what, assay_buf_view(&wrapped), fields, out, arena, err);
}

int sd_reap_all(const struct sd_setup *s, size_t *containers, size_t *images, struct assay_err *err)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_json_array found = {NULL, 0};
    size_t left = 0;
    int rc;

    *containers = *images = 0;
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a list of containers");
    rc = list(s, "containers", &found, arena, err);
    for (size_t i = 0; rc == 0 && i < found.n; i++) {
        const struct listed *l = (const struct listed *)found.items + i;
        struct sd_end q = {.ask = false};

        if (assay_str_is(label(l, "assay.life"), s->life))
            continue;
        snprintf(q.container, sizeof(q.container), "%.*s", (int)(l->id.n < 79 ? l->id.n : 79), l->id.p);
        if (sd_container_end(s, &q, NULL) == 0)
            (*containers)++;
        else
            left++;
    }
    if (rc == 0 && left > 0)
        rc = assay_err_set(err, ASSAY_E_BUSY, "%zu old containers could not be removed", left);
    if (rc != 0)
        return rc;
    found = (struct assay_json_array){NULL, 0};
    rc = list(s, "images", &found, arena, err);
    for (size_t i = 0; rc == 0 && i < found.n; i++) {
        const struct listed *l = (const struct listed *)found.items + i;
        ASSAY_CLEANUP_BUF struct assay_buf reply = ASSAY_BUF_INIT;
        char path[160];

        if (assay_str_is(label(l, "assay.warden"), s->warden_hash))
            continue;
        snprintf(path, sizeof(path), "/images/%.*s?force=0", (int)(l->id.n < 100 ? l->id.n : 100), l->id.p);
        if (sd_want(&s->engine, "DELETE", path, ASSAY_STR(""), NULL, SHORT_MS, &reply, NULL) == 0)
            (*images)++; /* one that is in use, or has children, stays: it is a file system layer, no more */
    }
    return rc;
}
