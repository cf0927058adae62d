/*
 * Recall: a build that was done before is not done again.
 *
 *   job_recall ─▶ RECALL (a worker: key, files) ─▶ job_recalled ─┬─ hit, the warden holds it ──────────▶ next step
 *                                                                ├─ hit ─▶ BRING (put) ─▶ job_brought ─▶ next step
 *                                                                └─ miss ─▶ BUILD … slot_release ─▶ (get) ─▶ a worker writes
 *
 * The key covers all that a build can see: the warden's place and ways, the language's version, what is known of
 * the installed toolchain, the machine, command line, environment, files, limits, the seccomp filter, warm material.
 * Time is not in it, so that the C languages are given a fixed one (SOURCE_DATE_EPOCH), or __DATE__ would tell a
 * hit from a build.
 *
 * What is kept: builds that ended by themselves with exit code 0 and an artefact, without an OOM kill.  Never a
 * failure: a compiler that was short of memory, tasks or disk says so by an exit code as well, and a wrong BF
 * would then be everybody's for ever.  One that came twice alike is believed for some minutes (failures.c).
 *
 * Two equal builds at once are both made, and the first to end is kept: waiting would hold a slot idle and tie
 * one submission's fate to another's, to save at most one build for each slot.
 *
 * A slot remembers what its warden holds, within less than the warden itself keeps, so that what is believed to
 * be there is there.  Reading an artefact out of the warden comes after the job's last box: it delays no
 * verdict, only the slot's next job.
 */
#include "loop.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define HELD_BYTES ((size_t)32 << 20)
#define KEEP_MAX ((size_t)128 << 20)

/* ---- keys; on workers --------------------------------------------------------------------------------------- */

/* Who installs, removes or upgrades something leaves a trace in one of these. */
static const char *const installed[] = {
    "/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages", "/lib/apk/db/installed",
    "/var/lib/pacman/local", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/include", "/usr/lib/gcc", "/usr/lib/jvm",
    "/etc/ld.so.cache", "/etc/alternatives",
};

static void add_file(struct assay_buf *b, const char *root, const char *path)
{
    struct stat st;
    char whole[IMAGE_MAX + 1100];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    char text[128] = "none";
    if (stat(whole, &st) == 0)
        snprintf(text, sizeof text, "%lld %lld.%09ld %lld.%09ld", (long long)st.st_size, (long long)st.st_mtim.tv_sec,
                 st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    build_key_add(b, path, assay_str(text));
}

void toolchain_look(const struct runner *r, struct language *l, const char *version, struct assay_buf *b)
{
    /* what an image holds its digest says, which is in the place; a rootfs is a folder of this machine */
    const char *image = r->environments.list[l->env[SIDE_BUILD]].image;
    const char *root = image[0] == '/' ? image : "";
    pthread_mutex_lock(&l->lock);
    build_key_add(b, "version", assay_str(version[0] != '\0' ? version : l->version_text));
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < sizeof installed / sizeof installed[0]; i++)
        add_file(b, root, installed[i]);
    struct assay_json_map found = language_tools(l, SIDE_BUILD);
    for (size_t i = 0; i < found.n; i++) {
        char path[1100];
        snprintf(path, sizeof path, "%.*s", ASSAY_FMT(found.items[i].value));
        add_file(b, root, path);
    }
}

void machine_look(char out[ASSAY_SHA256_HEX])
{
    static const char *const wanted[] = {"vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer",
                                         "CPU part"};
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    char line[8192];
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL && line[0] != '\n') { /* the first processor */
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
            if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
                assay_buf_puts(&b, line);
        }
    }
    if (f != NULL)
        fclose(f);
    assay_sha256_hex(assay_buf_view(&b), out);
}

void machine_names(char *kernel, size_t kernel_room, char *cpu, size_t cpu_room)
{
    struct utsname u;
    char line[512];
    put_text(kernel, kernel_room, "%s %s", uname(&u) == 0 ? u.sysname : "?", uname(&u) == 0 ? u.release : "?");
    put_text(cpu, cpu_room, "%s", uname(&u) == 0 ? u.machine : "?");
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        put_text(cpu, cpu_room, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (f != NULL)
        fclose(f);
}

/* Warm material that another toolchain made is not shown: what is installed has changed since the start. */
static void drop_stale_warm(struct job *j)
{
    char now[BUILD_KEY];
    struct assay_err ignored;
    if (j->warm[0] != '\0' && (warm_print(j->runner, j->language, j->version_text, now, &ignored) < 0 || strcmp(now, j->warm_print) != 0))
        j->warm[0] = '\0';
}

static int key_of(struct job *j, struct assay_err *err)
{
    struct runner *r = j->runner;
    struct language *lang = j->language;
    struct assay_box_spec spec;
    struct assay_strs argv, env;
    char limits[400];
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    build_spec(r, j, &spec);
    const struct assay_box_limits *m = &spec.limits;
    int rc = job_command(j, SIDE_BUILD, &lang->build, m->memory_bytes, j->arena, &argv, &env, err);
    if (rc < 0)
        return rc;
    build_key_add(&b, "assay-build", ASSAY_STR("1"));
    build_key_add(&b, "place", j->place);
    build_key_add(&b, "machine", assay_str(r->machine));
    toolchain_look(r, lang, j->version_text, &b);
    build_key_add(&b, "warm", assay_str(lang->build.warm ? j->warm : ""));
    build_key_list(&b, "argv", argv.items, argv.n);
    build_key_list(&b, "env", env.items, env.n);
    build_key_list(&b, "collect", spec.collect, spec.n_collect);
    snprintf(limits, sizeof limits, "%lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %u", (long long)m->cpu_ms,
             (long long)m->wall_ms, (long long)m->memory_bytes, (long long)m->stdout_bytes, (long long)m->stderr_bytes,
             (long long)m->processes, (long long)m->open_files, (long long)m->file_bytes, (long long)m->stack_bytes,
             (long long)m->scratch_bytes, (long long)m->scratch_files, (long long)spec.collect_bytes, spec.flags);
    build_key_add(&b, "workdir", lang->workdir);
    build_key_add(&b, "limits", assay_str(limits));
    build_key_add(&b, "seccomp", r->seccomp);
    for (size_t i = 0; i < j->n_files; i++) {
        build_key_add(&b, "file", j->file[i].path);
        build_key_add(&b, j->file[i].mode == 0755 ? "755" : "644", j->file[i].bytes);
    }
    return build_key_end(&b, j->build_key, err);
}

static void recall_work(void *arg)
{
    struct mail *m = arg;
    struct job *j = m->job;
    drop_stale_warm(j);
    struct runner *r = j->runner;
    m->status = r->builds != NULL ? key_of(j, &m->err) : ASSAY_OK;
    m->final = false;
    if (m->status >= 0 && j->build_key[0] != '\0') {
        int64_t now = r->host->mono_ns(r->host->ctx) / 1000000;
        j->known_failure = failures_find(r->failures, j->build_key, now, j->arena, &j->failed, &j->failed_once);
        m->final = !j->known_failure && builds_read(r->builds, j->build_key, &j->want, j->arena, &j->kept);
    }
    mail_post(m);
}

/* One build on its way to the disk. */
struct keep {
    struct mail mail;
    char key[BUILD_KEY];
    struct kept_build build;
};

static void keep_free(struct keep *k)
{
    if (k == NULL)
        return;
    assay_buf_free(&k->build.encoding);
    free((void *)(uintptr_t)k->build.output.p);
    free(k);
}

/* ---- what a warden holds ---------------------------------------------------------------------------------------- */

static void drop_held(struct slot *s, size_t i)
{
    struct assay_err ignored;
    if (s->client != NULL && assay_box_client_drop(s->client, assay_str(s->held[i].artefact), &ignored) >= 0)
        slot_arm(s);
    s->held_bytes -= s->held[i].bytes;
    memmove(&s->held[i], &s->held[i + 1], (s->n_held - i - 1) * sizeof s->held[0]);
    s->n_held--;
}

/* Last in the list is the last that was used. */
static void hold(struct slot *s, const char *artefact, size_t bytes)
{
    for (size_t i = 0; i < s->n_held; i++) {
        if (strcmp(s->held[i].artefact, artefact) == 0) {
            struct held again = s->held[i];
            memmove(&s->held[i], &s->held[i + 1], (s->n_held - i - 1) * sizeof s->held[0]);
            s->held[s->n_held - 1] = again;
            return;
        }
    }
    if (s->n_held == HELD_MAX)
        drop_held(s, 0);
    struct held *h = &s->held[s->n_held++];
    *h = (struct held){.bytes = bytes};
    memcpy(h->artefact, artefact, sizeof h->artefact);
    s->held_bytes += bytes;
    while (s->held_bytes > HELD_BYTES)
        drop_held(s, 0);
}

bool slot_holds(const struct slot *s, const char *artefact)
{
    for (size_t i = 0; i < s->n_held; i++) {
        if (strcmp(s->held[i].artefact, artefact) == 0)
            return true;
    }
    return false;
}

void slot_forget_held(struct slot *s)
{
    s->n_held = 0;
    s->held_bytes = 0;
    assay_buf_free(&s->keep_content);
    keep_free(s->keep);
    s->keep = NULL;
}

/* ---- before the build ---------------------------------------------------------------------------------------------- */

struct assay_str slot_place(const struct slot *s, struct assay_arena *arena)
{
    const struct assay_box_hello *hello = assay_box_client_hello(s->client);
    return assay_arena_fmt(arena, "%s %s %s %u", s->place, hello->mode, hello->version, hello->features);
}

bool job_recall(struct loop *l, struct job *j)
{
    struct slot *s = j->slot;
    struct mail *m = j->mail;
    const struct assay_host *host = l->r->host;
    struct language *lang = j->language;
    /* a self-test is to show that the compiler works */
    if (j->recalled || j->kind == JOB_SELF_TEST || (l->r->builds == NULL && !lang->warms))
        return false;
    j->recalled = true;
    if (slot_shares(s)) {
        pthread_mutex_lock(&lang->lock);
        memcpy(j->warm, lang->warm_id, sizeof j->warm);
        memcpy(j->warm_print, lang->warm_print, sizeof j->warm_print);
        pthread_mutex_unlock(&lang->lock);
    }
    j->place = slot_place(s, j->arena);
    j->want.held = assay_arena_alloc(j->arena, sizeof *j->want.held * (s->n_held + 1));
    if (j->place.p == NULL || j->want.held == NULL) {
        j->warm[0] = '\0';
        return false;
    }
    for (size_t i = 0; i < s->n_held; i++)
        memcpy(j->want.held[j->want.n_held++], s->held[i].artefact, BUILD_KEY);
    *m = (struct mail){.loop = l, .kind = MAIL_RECALLED, .job = j};
    j->stage = STAGE_RECALL;
    j->build_start_ms = now_ms(l);
    if (host->offload(host->ctx, recall_work, m) >= 0)
        return true;
    j->warm[0] = '\0'; /* it is built without, and not kept */
    return false;
}

static void take_kept(struct loop *l, struct job *j)
{
    const struct kept_build *k = &j->kept;
    hold(j->slot, k->artefact, k->n_encoding);
    memcpy(j->artefact, k->artefact, sizeof j->artefact);
    j->build = (struct assay_box_outcome){.end = ASSAY_BOX_EXITED,
                                          .cpu_us = k->cpu_us,
                                          .wall_us = k->wall_us,
                                          .memory_peak_bytes = k->memory_peak_bytes};
    j->build_output = k->output;
    j->built = j->cached = true;
    j->build_key[0] = '\0'; /* it is kept already */
    j->build_end_ms = now_ms(l);
}

/* It is not built again, and this is how it ended. */
static void take_failed(struct loop *l, struct job *j)
{
    const struct failed_build *b = &j->failed;
    j->build = (struct assay_box_outcome){.end = ASSAY_BOX_EXITED,
                                          .exit_code = b->exit_code,
                                          .cpu_us = b->cpu_us,
                                          .wall_us = b->wall_us,
                                          .memory_peak_bytes = b->memory_peak_bytes};
    j->kept.wall_us = b->wall_us;
    j->build_output = b->output;
    j->built = j->cached = true;
    j->build_key[0] = '\0';
    j->build_end_ms = now_ms(l);
    j->verdict = VERDICT_BF;
    l->r->host->metric_add(l->r->host->ctx, &runner_metrics[METRIC_CACHE], (const char *const[]){"failure", NULL}, 1);
}

void job_recalled(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    struct assay_err err;
    if (j->slot == NULL) { /* its warden died meanwhile; whose death it was is told when limbo ends */
        assay_buf_free(&j->kept.encoding);
        j->stage = STAGE_LIMBO;
        return;
    }
    if (m->status < 0)
        assay_log(l->r->host, ASSAY_LOG_WARN, "build_not_recalled", ASSAY_KZ("error", m->err.msg));
    if (j->known_failure && !j->cancel && !j->dead && !j->give_back) {
        take_failed(l, j);
        job_finish(l, j);
        return;
    }
    if (m->final && j->kept.encoding.n == 0) {
        take_kept(l, j);
    } else if (m->final) {
        j->stage = STAGE_BRING;
        int rc = assay_box_client_put(j->slot->client, assay_buf_view(&j->kept.encoding), &err);
        assay_buf_free(&j->kept.encoding);
        if (rc < 0) {
            job_hindered(l, j, rc, err.msg);
            return;
        }
        slot_arm(j->slot);
        return;
    }
    job_next_step(l, j);
}

void job_brought(struct loop *l, struct slot *s)
{
    struct job *j = s->job;
    struct assay_err ignored;
    if (strcmp(s->stored, j->kept.artefact) == 0) {
        take_kept(l, j);
    } else {
        builds_drop(l->r->builds, j->build_key, s->stored[0] != '\0' ? "its bytes are another artefact's" : s->stored_why);
        if (s->stored[0] != '\0' && assay_box_client_drop(s->client, assay_str(s->stored), &ignored) >= 0)
            slot_arm(s);
    }
    job_next_step(l, j);
}

/* ---- after the job ---------------------------------------------------------------------------------------------------- */

static void keep_work(void *arg)
{
    struct keep *k = arg;
    builds_keep(k->mail.loop->r->builds, k->key, &k->build);
    mail_post(&k->mail);
}

void slot_keep(struct slot *s, const struct job *j)
{
    struct assay_err err;
    struct keep *k = j->build_key[0] != '\0' && j->artefact[0] != '\0' && !s->loop->draining ? calloc(1, sizeof *k) : NULL;
    char *output = k != NULL ? malloc(j->build_output.n + 1) : NULL;
    if (output == NULL || assay_box_client_busy(s->client)) {
        free(output);
        free(k);
        return;
    }
    if (j->build_output.n != 0)
        memcpy(output, j->build_output.p, j->build_output.n);
    memcpy(k->key, j->build_key, sizeof k->key);
    memcpy(k->build.artefact, j->artefact, sizeof k->build.artefact);
    k->build.output = (struct assay_str){output, j->build_output.n};
    k->build.cpu_us = j->build.cpu_us;
    k->build.wall_us = j->build.wall_us;
    k->build.memory_peak_bytes = j->build.memory_peak_bytes;
    assay_buf_init(&s->keep_content, KEEP_MAX);
    if (assay_box_client_get(s->client, assay_str(k->build.artefact), &err) < 0) {
        keep_free(k);
        return;
    }
    s->keep = k;
    slot_arm(s);
}

void slot_got(struct slot *s)
{
    struct loop *l = s->loop;
    struct keep *k = s->keep;
    s->keep = NULL;
    k->build.encoding = s->keep_content;
    s->keep_content = (struct assay_buf)ASSAY_BUF_INIT;
    if (strcmp(s->stored, k->build.artefact) != 0 || k->build.encoding.failed) {
        assay_log(l->r->host, ASSAY_LOG_WARN, "build_not_kept",
                  ASSAY_KZ("error", k->build.encoding.failed ? "it is too large" : s->stored_why));
        keep_free(k);
        return;
    }
    hold(s, k->build.artefact, k->build.encoding.n);
    k->mail = (struct mail){.loop = l, .kind = MAIL_KEPT};
    k->mail.keep = k;
    if (l->r->host->offload(l->r->host->ctx, keep_work, k) < 0)
        keep_free(k); /* the workers have better things to do */
    else
        l->keeping++;
}

void keep_ended(struct loop *l, struct mail *m)
{
    l->keeping--;
    keep_free(m->keep);
}
