/*
 * Warm material: what a toolchain makes once and every build or program may read (a precompiled header, a
 * class-data archive).  Which, the language's file says; here is where it lies and how it gets there.
 *
 *   DATA/warm/<id>/…       an unpacked artefact, which wardens show to boxes read-only (--shared, warden_wire.h)
 *   DATA/warm/<key>.key    the id of what was made under a key: toolchain, machine, place, command, files
 *
 * A self-test looks whether there is some already and is judged with it; that costs one hash of it per start.
 * If there is none the language is offered without, and one slot at a time that has nothing else to do makes it:
 *
 *   FIND (a worker) ─▶ WARM (a box) ─▶ GET (its artefact) ─▶ KEEP (a worker) ─▶ BUILD, TEST: the sample
 *
 * Only when the sample gets its verdict with it do jobs see it.  Whatever goes wrong costs speed and nothing
 * else: the language goes on without, and the log says why.
 *
 * What is there is read by all boxes and written by none: made in a box of its own, from our files alone, checked
 * against its id, mounted read-only.  What no language uses any more is removed when all are tested.
 */
#include "loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <assay/warden_wire.h>

#define WARM_BYTES ((int64_t)192 << 20)
#define DEPTH_MAX 64
#define BLOCK 65536
#define TRIES 3
#define QUIET_MS 3000 /* without a new job: who has just started a server wants to see it work */

/* ---- on disk; workers ---------------------------------------------------------------------------------------- */

int warm_open(const struct assay_host *host, int *ret_dir, struct assay_err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/warm", host->option_str(host->ctx, "data_dir"));
    bool made = mkdir(path, 0750) == 0 || errno == EEXIST;
    *ret_dir = made ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return *ret_dir < 0 ? assay_err_errno(err, ASSAY_E_IO, errno, "the folder of warm material %s", path) : ASSAY_OK;
}

static void remove_tree(int dir, const char *name, int depth)
{
    if (unlinkat(dir, name, 0) == 0 || depth > DEPTH_MAX)
        return;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            remove_tree(fd, e->d_name, depth + 1);
    }
    closedir(d);
    (void)unlinkat(dir, name, AT_REMOVEDIR);
}

struct files {
    char *path[ASSAY_WARDEN_FILES_MAX];
    size_t n;
    bool failed;
};

static void list_files(int dir, const char *above, int depth, struct files *f)
{
    int fd = openat(dir, above[0] != '\0' ? above : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 && depth < DEPTH_MAX ? fdopendir(fd) : NULL;
    if (d == NULL) {
        if (fd >= 0)
            close(fd);
        f->failed = true;
        return;
    }
    for (const struct dirent *e; !f->failed && (e = readdir(d)) != NULL;) {
        struct stat st;
        char *path = NULL;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (asprintf(&path, "%s%s%s", above, above[0] != '\0' ? "/" : "", e->d_name) < 0 ||
            fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || f->n == ASSAY_WARDEN_FILES_MAX) {
            free(path);
            f->failed = true;
        } else if (S_ISDIR(st.st_mode)) {
            list_files(dir, path, depth + 1, f);
            free(path);
        } else {
            f->path[f->n++] = path;
            f->failed = f->failed || !S_ISREG(st.st_mode);
        }
    }
    closedir(d);
}

static int by_path(const void *a, const void *b)
{
    char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static bool add_bytes(struct assay_sha256 *sha, int dir, const char *path, char *block)
{
    char head[ASSAY_WARDEN_PATH_MAX + 64];
    struct stat st;
    int fd = openat(dir, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &st) == 0 && strlen(path) <= ASSAY_WARDEN_PATH_MAX;
    if (ok) {
        int n = snprintf(head, sizeof head, "%s%c%s%c%lld%c", path, 0, (st.st_mode & 0111) != 0 ? "755" : "644", 0,
                         (long long)st.st_size, 0);
        assay_sha256_add(sha, (struct assay_str){head, (size_t)n});
    }
    ssize_t n = 1;
    while (ok && (n = read(fd, block, BLOCK)) > 0)
        assay_sha256_add(sha, (struct assay_str){block, (size_t)n});
    close(fd);
    return ok && n == 0;
}

/* Whether the folder still is what its name says. */
static bool intact(int dir, const char *id)
{
    char now[ASSAY_SHA256_HEX] = "";
    int fd = openat(dir, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct files *f = fd >= 0 ? calloc(1, sizeof *f) : NULL;
    struct assay_sha256 *sha = f != NULL ? assay_sha256_new() : NULL;
    char *block = malloc(BLOCK);
    if (sha != NULL && block == NULL)
        f->failed = true;
    if (sha != NULL) {
        list_files(fd, "", 0, f);
        qsort(f->path, f->n, sizeof *f->path, by_path);
        assay_sha256_add(sha, ASSAY_STR(ASSAY_ARTEFACT_MAGIC));
        for (size_t i = 0; i < f->n; i++) {
            f->failed = f->failed || !add_bytes(sha, fd, f->path[i], block);
            free(f->path[i]);
        }
        assay_sha256_end(sha, now);
    }
    bool ok = sha != NULL && !f->failed && strcmp(now, id) == 0;
    free(f);
    free(block);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool read_key(int dir, const char *name, char id[BUILD_KEY])
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, id, BUILD_KEY - 1) : -1;
    if (fd >= 0)
        close(fd);
    id[n == BUILD_KEY - 1 ? BUILD_KEY - 1 : 0] = '\0';
    return strspn(id, "0123456789abcdef") == BUILD_KEY - 1;
}

static bool warm_find(struct runner *r, const char *key, char id[BUILD_KEY])
{
    char name[80];
    snprintf(name, sizeof name, "%s.key", key);
    if (!read_key(r->warm_dir, name, id))
        return false;
    if (intact(r->warm_dir, id))
        return true;
    assay_log(r->host, ASSAY_LOG_ERROR, "warm_damaged", ASSAY_KZ("id", id),
              ASSAY_KZ("effect", "it is removed and made again when there is nothing else to do"));
    (void)unlinkat(r->warm_dir, name, 0);
    remove_tree(r->warm_dir, id, 0);
    return false;
}

static const char *piece(const char **p, size_t *n, size_t max)
{
    const char *start = *p, *nul = memchr(start, 0, *n < max + 1 ? *n : max + 1);
    if (nul == NULL)
        return NULL;
    *n -= (size_t)(nul - start) + 1;
    *p = nul + 1;
    return start;
}

static bool plain(const char *path)
{
    for (const char *part = path;; part++) {
        size_t n = strcspn(part, "/");
        if (n == 0 || n > 255 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += n;
        if (*part == '\0')
            return true;
    }
}

/* The parts of path but the last are made; all is created anew, so there is no link to follow. */
static int create_file(int dir, const char *path, mode_t mode)
{
    char part[ASSAY_WARDEN_PATH_MAX + 1];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        /* whatever the umask is: boxes are other users */
        if ((mkdirat(dir, part, 0755) != 0 && errno != EEXIST) || fchmodat(dir, part, 0755, 0) != 0)
            return -1;
        *slash = '/';
    }
    int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd >= 0 && fchmod(fd, mode) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int unpack(int dir, struct assay_str e, struct assay_err *err)
{
    size_t magic = sizeof ASSAY_ARTEFACT_MAGIC - 1;
    if (e.n < magic || memcmp(e.p, ASSAY_ARTEFACT_MAGIC, magic) != 0)
        return assay_err_set(err, ASSAY_E_CORRUPT, "an artefact of another kind");
    const char *p = e.p + magic;
    for (size_t n = e.n - magic, files = 0; n != 0; files++) {
        const char *path = piece(&p, &n, ASSAY_WARDEN_PATH_MAX), *mode = path != NULL ? piece(&p, &n, 3) : NULL;
        const char *text = mode != NULL ? piece(&p, &n, 19) : NULL;
        int64_t size = 0;
        if (text == NULL || !plain(path) || files == ASSAY_WARDEN_FILES_MAX ||
            assay_parse_i64(assay_str(text), 0, (int64_t)n, &size, err) < 0)
            return assay_err_set(err, ASSAY_E_CORRUPT, "file %zu of the artefact is malformed", files);
        int fd = create_file(dir, path, mode[0] == '7' ? 0555 : 0444);
        bool ok = fd >= 0;
        for (int64_t done = 0; ok && done < size;) {
            ssize_t k = write(fd, p + done, (size_t)(size - done));
            ok = k > 0;
            done += k > 0 ? k : 0;
        }
        int e2 = errno;
        if (fd >= 0)
            close(fd);
        if (!ok)
            return assay_err_errno(err, ASSAY_E_IO, e2, "cannot keep %s", path);
        p += size;
        n -= (size_t)size;
    }
    return ASSAY_OK;
}

/* id is the warden's word for the encoding's hash; the next start computes it anew. */
static int warm_keep(struct runner *r, const char *key, const char *id, struct assay_str encoding, struct assay_err *err)
{
    char random[17], tmp[32], name[80], now[ASSAY_SHA256_HEX];
    assay_sha256_hex(encoding, now);
    if (strcmp(now, id) != 0)
        return assay_err_set(err, ASSAY_E_CORRUPT, "it came out of the warden as something else");
    assay_random_hex(random, 8);
    snprintf(tmp, sizeof tmp, "tmp.%s", random);
    int fd = mkdirat(r->warm_dir, tmp, 0755) == 0 ? openat(r->warm_dir, tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "the folder of warm material");
    int rc = fchmod(fd, 0755) != 0 ? assay_err_errno(err, ASSAY_E_IO, errno, "the folder of warm material") : unpack(fd, encoding, err);
    close(fd);
    if (rc >= 0 && renameat(r->warm_dir, tmp, r->warm_dir, id) != 0 && errno != ENOTEMPTY && errno != EEXIST)
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "the folder of warm material");
    remove_tree(r->warm_dir, tmp, 0); /* it failed, or the same is there */
    if (rc < 0)
        return rc;
    snprintf(name, sizeof name, "%s.key", key);
    fd = openat(r->warm_dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, id, BUILD_KEY - 1) == BUILD_KEY - 1 && renameat(r->warm_dir, tmp, r->warm_dir, name) == 0;
    if (!ok)
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "the folder of warm material");
    if (fd >= 0)
        close(fd);
    return rc;
}

static bool in_use(struct runner *r, const char *id)
{
    bool yes = false;
    for (size_t i = 0; i < r->languages.n && !yes; i++) {
        struct language *l = &r->languages.list[i];
        pthread_mutex_lock(&l->lock);
        yes = strcmp(l->warm_id, id) == 0;
        pthread_mutex_unlock(&l->lock);
    }
    return yes;
}

static void sweep_work(void *arg)
{
    struct mail *m = arg;
    struct runner *r = m->loop->r;
    int fd = openat(r->warm_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char id[BUILD_KEY] = "";
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        bool key = assay_str_ends(assay_str(e->d_name), ".key") && read_key(r->warm_dir, e->d_name, id);
        if (!in_use(r, key ? id : e->d_name))
            remove_tree(r->warm_dir, e->d_name, 0);
    }
    if (d != NULL)
        closedir(d);
    mail_post(m);
}

void warm_sweep(struct loop *l)
{
    struct runner *r = l->r;
    if (r->warm_dir < 0 || l->swept || l->draining)
        return;
    for (size_t i = 0; i < r->languages.n; i++) {
        const struct language *lang = &r->languages.list[i];
        if (atomic_load(&lang->state) == LANGUAGE_UNTESTED || lang->warm_wanted || l->testing[i].job != NULL)
            return;
    }
    l->sweep_mail = (struct mail){.loop = l, .kind = MAIL_KEPT};
    l->swept = r->host->offload(r->host->ctx, sweep_work, &l->sweep_mail) >= 0;
    l->keeping += l->swept;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

/* What is shown to boxes must have been made by the toolchain of now. Any thread. */
int warm_print(const struct runner *r, struct language *lang, const char *version, char out[BUILD_KEY], struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    toolchain_look(r, lang, version, &b);
    return build_key_end(&b, out, err);
}

static int warm_key(struct job *j, char key[BUILD_KEY], struct assay_err *err)
{
    struct runner *r = j->runner;
    struct language *lang = j->language;
    struct assay_strs argv, env;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    int rc = warm_print(r, lang, j->version_text, j->warm_print, err);
    if (rc >= 0)
        rc = job_command(j, SIDE_BUILD, &lang->warm, r->build_memory, j->arena, &argv, &env, err);
    if (rc < 0)
        return rc;
    build_key_add(&b, "assay-warm", ASSAY_STR("1"));
    build_key_add(&b, "place", j->place);
    build_key_add(&b, "machine", assay_str(r->machine));
    build_key_add(&b, "toolchain", assay_str(j->warm_print));
    build_key_list(&b, "argv", argv.items, argv.n);
    build_key_list(&b, "env", env.items, env.n);
    build_key_list(&b, "collect", lang->warm_artefacts.items, lang->warm_artefacts.n);
    for (size_t i = 0; i < lang->warm_files.n; i++) {
        build_key_add(&b, "file", lang->warm_files.items[i].key);
        build_key_add(&b, "bytes", lang->warm_files.items[i].value);
    }
    return build_key_end(&b, key, err);
}

static void find_work(void *arg)
{
    struct mail *m = arg;
    struct job *j = m->job;
    m->status = warm_key(j, j->warm_key, &m->err);
    m->final = m->status >= 0 && warm_find(j->runner, j->warm_key, j->warm);
    if (!m->final)
        j->warm[0] = '\0';
    mail_post(m);
}

static void keep_work(void *arg)
{
    struct mail *m = arg;
    struct job *j = m->job;
    m->status = warm_keep(j->runner, j->warm_key, j->warm, assay_buf_view(&j->kept.encoding), &m->err);
    assay_buf_free(&j->kept.encoding);
    m->final = m->status >= 0;
    if (!m->final)
        j->warm[0] = '\0';
    mail_post(m);
}

/* ---- the loop's part ---------------------------------------------------------------------------------------------- */

bool slot_shares(const struct slot *s)
{
    const struct assay_box_hello *hello = s->client != NULL ? assay_box_client_hello(s->client) : NULL;
    return hello != NULL && (hello->features & 128) != 0;
}

static bool to_worker(struct loop *l, struct job *j, enum job_stage stage, void (*work)(void *))
{
    struct mail *m = j->mail;
    *m = (struct mail){.loop = l, .kind = MAIL_WARMED, .job = j};
    enum job_stage before = j->stage;
    j->stage = stage;
    if (l->r->host->offload(l->r->host->ctx, work, m) >= 0)
        return true;
    j->stage = before;
    return false;
}

bool job_warm(struct loop *l, struct job *j)
{
    struct slot *s = j->slot;
    if (j->kind != JOB_SELF_TEST || !j->language->warms || j->warm_asked || l->r->warm_dir < 0 || !slot_shares(s) ||
        j->language->warm_failed)
        return false;
    j->warm_asked = true;
    j->place = slot_place(s, j->arena);
    return j->place.p != NULL && to_worker(l, j, STAGE_WARM_FIND, find_work);
}

static void warm_fails(struct loop *l, struct job *j, const char *why)
{
    j->language->warm_wanted = false;
    j->language->warm_failed = true;
    assay_log(l->r->host, ASSAY_LOG_WARN, "warm_failed", ASSAY_KS("language", j->language->name), ASSAY_KZ("reason", why),
              ASSAY_KZ("effect", "its builds work and are slower"));
}

static void run_warm(struct loop *l, struct job *j)
{
    const struct language *lang = j->language;
    struct runner *r = l->r;
    struct assay_box_file *file = assay_arena_array(j->arena, lang->warm_files.n + 1, sizeof *file);
    if (file == NULL) {
        job_failed(l, j, "no memory", false);
        return;
    }
    for (size_t i = 0; i < lang->warm_files.n; i++)
        file[i] = (struct assay_box_file){lang->warm_files.items[i].key, lang->warm_files.items[i].value, 0644};
    struct assay_box_spec spec;
    build_spec(r, j, &spec);
    spec.files = file;
    spec.n_files = lang->warm_files.n;
    spec.collect = lang->warm_artefacts.items;
    spec.n_collect = lang->warm_artefacts.n;
    spec.collect_bytes = WARM_BYTES;
    spec.limits.cpu_ms = 4 * r->build_time_ms; /* once for a toolchain */
    spec.limits.wall_ms = 8 * r->build_time_ms;
    j->stage = STAGE_WARM;
    job_run(l, j, SIDE_BUILD, &lang->warm, &spec);
}

void job_warmed(struct loop *l, struct mail *m)
{
    struct job *j = m->job;
    if (j->slot == NULL) { /* its warden died meanwhile; whose death it was is told when limbo ends */
        j->stage = STAGE_LIMBO;
    } else if (m->status < 0) {
        warm_fails(l, j, m->err.msg);
        if (j->warming)
            job_finish(l, j);
        else
            job_next_step(l, j);
    } else if (!m->final && j->warming && !j->cancel && !j->give_back) {
        run_warm(l, j);
    } else {
        job_next_step(l, j);
    }
}

void job_warm_done(struct loop *l, struct job *j, const struct assay_box_outcome *o)
{
    struct slot *s = j->slot;
    struct assay_err err;
    if (o->end != ASSAY_BOX_EXITED || o->exit_code != 0 || o->artefact[0] == '\0') {
        struct assay_str said = assay_buf_view(&j->out);
        char why[300];
        put_text(why, sizeof why, "end %d, exit code %d, signal %d: %s %.*s", (int)o->end, o->exit_code, o->signal, o->message,
                 (int)(said.n > 150 ? 150 : said.n), said.p != NULL ? said.p : "");
        warm_fails(l, j, why);
        job_finish(l, j);
        return;
    }
    memcpy(j->warm, o->artefact, sizeof j->warm);
    assay_buf_init(&s->keep_content, (size_t)WARM_BYTES + ((size_t)1 << 20));
    j->stage = STAGE_WARM_GET;
    if (assay_box_client_get(s->client, assay_str(j->warm), &err) < 0)
        job_failed(l, j, err.msg, false);
    else
        slot_arm(s);
}

void job_warm_got(struct loop *l, struct slot *s)
{
    struct job *j = s->job;
    struct assay_err ignored;
    j->kept.encoding = s->keep_content;
    s->keep_content = (struct assay_buf)ASSAY_BUF_INIT;
    if (assay_box_client_drop(s->client, assay_str(j->warm), &ignored) >= 0)
        slot_arm(s);
    if (strcmp(s->stored, j->warm) != 0 || j->kept.encoding.failed || !to_worker(l, j, STAGE_WARM_KEEP, keep_work))
        job_failed(l, j, s->stored_why[0] != '\0' ? s->stored_why : "the server's workers are busy, or its memory short", false);
}

bool warm_tested(struct loop *l, struct job *j, bool passed)
{
    struct language *lang = j->language;
    struct assay_err ignored;
    char now[BUILD_KEY];
    size_t i = (size_t)(lang - l->r->languages.list);
    if (j->warming)
        l->warming = NULL;
    if (passed && j->warm[0] != '\0' && warm_print(l->r, lang, j->version_text, now, &ignored) >= 0 && strcmp(now, j->warm_print) == 0) {
        pthread_mutex_lock(&lang->lock);
        memcpy(lang->warm_id, j->warm, sizeof lang->warm_id);
        memcpy(lang->warm_print, j->warm_print, sizeof lang->warm_print);
        pthread_mutex_unlock(&lang->lock);
        lang->warm_wanted = false;
        assay_log(l->r->host, ASSAY_LOG_INFO, "language_warm", ASSAY_KS("language", lang->name), ASSAY_KZ("id", j->warm),
                  ASSAY_KI("build_ms", j->build_end_ms - j->build_start_ms));
    } else if (passed && !j->warming) {
        lang->warm_wanted = lang->warms && !lang->warm_failed && l->r->warm_dir >= 0;
        l->testing[i].tries = 0;
    } else if (j->warming && j->give_back) { /* ours */
        if (++l->testing[i].tries >= TRIES)
            warm_fails(l, j, j->fault);
    } else if (!passed && j->warm[0] != '\0' && !lang->warm_failed) {
        warm_fails(l, j, "its sample does not get its verdict with it");
        return !j->warming; /* it is tested again without */
    }
    return false;
}

bool lane_warm(struct loop *l, struct lane *la)
{
    int64_t now = mono_ms(l);
    if (l->warming != NULL || now - l->given_mono_ms < QUIET_MS)
        return false;
    for (size_t i = 0; i < l->r->languages.n; i++) {
        struct language *lang = &l->r->languages.list[i];
        if (!lang->warm_wanted || l->testing[i].job != NULL || l->testing[i].after_ms > now ||
            atomic_load(&lang->state) != LANGUAGE_OFFERED || !slot_shares(&la->slot[lang->env[SIDE_BUILD]]))
            continue;
        struct job *j = job_self_test(l->r, lang);
        if (j == NULL)
            return false;
        j->warming = true;
        l->testing[i].job = l->warming = j;
        job_enter(l, j);
        lane_give(l, la, j);
        return true;
    }
    return false;
}
