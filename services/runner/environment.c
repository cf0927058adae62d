/*
 * Environments: the places in which languages stand.
 *
 * An environment is an image of the configured sandbox driver, "" being that driver's default place.  Which
 * there are is decided at the start, from options and language files; languages that name the same image share it,
 * and with it the wardens.  What an environment holds is not known before a warden stands in it:
 *
 *   unknown ─▶ a warden says hello ─▶ survey: FIND, language by language ─▶ known
 *      ▲                                                                      │
 *      └────────── another digest (the image's name points to another now) ◀──┘
 *
 * One slot surveys, and nothing runs in it meanwhile; a survey takes a few milliseconds.  A language whose tools
 * are not there is unavailable, with the reason; the others are tried with their sample once all their
 * environments are known.
 */
#include "loop.h"

#include <string.h>

static int choose(struct environments *e, size_t room, struct assay_str image, size_t *out, struct assay_err *err)
{
    if (image.n >= IMAGE_MAX)
        return assay_err_set(err, ASSAY_E_CONFIG, "an image's name is longer than %d bytes: %.*s", IMAGE_MAX - 1, ASSAY_FMT(image));
    for (size_t i = 0; i < e->n; i++) {
        if (assay_str_is(image, e->list[i].image)) {
            *out = i;
            return ASSAY_OK;
        }
    }
    if (e->n == room)
        return assay_err_set(err, ASSAY_E_CONFIG, "more than %zu different images", room);
    put_text(e->list[e->n].image, IMAGE_MAX, "%.*s", ASSAY_FMT(image));
    *out = e->n++;
    return ASSAY_OK;
}

/* The option of that name, where there is one: languages that an operator adds have none, and say it in their file. */
static struct assay_str option_of(const struct assay_host *host, const struct language *l, const char *suffix)
{
    char name[96];
    put_text(name, sizeof name, "%.*s_%s", ASSAY_FMT(l->name), suffix);
    for (char *c = name; *c != '\0'; c++) {
        if (*c == '-')
            *c = '_';
    }
    for (size_t i = 0; i < runner_image_options.n; i++) {
        if (strcmp(runner_image_options.name[i], name) == 0)
            return assay_str(host->option_str(host->ctx, name));
    }
    return ASSAY_STR("");
}

static bool workdir_ok(struct assay_str dir)
{
    if (dir.n < 2 || dir.n > 255 || dir.p[0] != '/' || dir.p[dir.n - 1] == '/' || memmem(dir.p, dir.n, "//", 2) != NULL)
        return false;
    return memmem(dir.p, dir.n, "/./", 3) == NULL && memmem(dir.p, dir.n, "..", 2) == NULL;
}

/* Another working directory than /box. What a definition says of "/box/" in messages is said of it, and a program that was
 * forked would find itself in /box: so it is executed. */
static int move_workdir(struct language *lang, struct assay_str dir, struct assay_arena *arena, struct assay_err *err)
{
    struct assay_str prefix = lang->signatures.load_prefix;
    const char *at = prefix.n != 0 ? memmem(prefix.p, prefix.n, "/box/", 5) : NULL;
    if (!workdir_ok(dir))
        return assay_err_set(err, ASSAY_E_CONFIG, "the working directory \"%.*s\" is not an absolute path like /tmp or /workspace", ASSAY_FMT(dir));
    lang->workdir = dir;
    lang->forks = false;
    if (at == NULL)
        return ASSAY_OK;
    lang->signatures.load_prefix = assay_arena_fmt(arena, "%.*s%.*s%.*s", (int)(at - prefix.p), prefix.p, ASSAY_FMT(dir),
                                                   (int)(prefix.n - (size_t)(at - prefix.p) - 4), at + 4);
    return lang->signatures.load_prefix.p != NULL ? ASSAY_OK : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

int environments_choose(const struct assay_host *host, struct languages *l, struct environments *out, struct assay_arena *arena,
                        struct assay_err *err)
{
    size_t room = 2 * l->n + 1;
    pthread_mutex_init(&out->lock, NULL);
    out->list = assay_arena_array(arena, room, sizeof *out->list);
    if (out->list == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    for (size_t i = 0; i < l->n; i++) {
        struct language *lang = &l->list[i];
        struct assay_str image = option_of(host, lang, "image"), run = option_of(host, lang, "run_image");
        if (image.n == 0)
            image = lang->image;
        if (run.n == 0)
            run = lang->run_image.n != 0 ? lang->run_image : image;
        struct assay_str workdir = option_of(host, lang, "workdir");
        int rc = workdir.n != 0 ? move_workdir(lang, workdir, arena, err) : ASSAY_OK;
        if (rc >= 0)
            rc = choose(out, room, lang->builds ? image : run, &lang->env[SIDE_BUILD], err);
        if (rc >= 0)
            rc = choose(out, room, run, &lang->env[SIDE_RUN], err);
        if (rc < 0)
            return assay_err_prefix(err, "language %.*s", ASSAY_FMT(lang->name));
    }
    return ASSAY_OK;
}

void environments_free(struct environments *e)
{
    if (e->list != NULL)
        pthread_mutex_destroy(&e->lock);
    e->list = NULL;
    e->n = 0;
}

bool language_known(const struct runner *r, const struct language *l)
{
    return r->environments.list[l->env[SIDE_BUILD]].known && r->environments.list[l->env[SIDE_RUN]].known;
}

static bool stands_in(const struct language *l, size_t env)
{
    return l->env[SIDE_BUILD] == env || l->env[SIDE_RUN] == env;
}

/* All is known of where these languages stand: those that lack something are unavailable. */
static void judge_tools(struct loop *l, size_t env)
{
    struct runner *r = l->r;
    for (size_t i = 0; i < r->languages.n; i++) {
        struct language *lang = &r->languages.list[i];
        if (!stands_in(lang, env) || !language_known(r, lang))
            continue;
        const char *lacks = lang->lacks[SIDE_BUILD][0] != '\0' ? lang->lacks[SIDE_BUILD] : lang->lacks[SIDE_RUN];
        if (lacks[0] == '\0')
            continue;
        language_decide(r, lang, LANGUAGE_UNAVAILABLE, "", lacks);
        assay_log(r->host, ASSAY_LOG_INFO, "language_unavailable", ASSAY_KS("language", lang->name),
                  ASSAY_KZ("image", r->environments.list[lang->env[SIDE_BUILD]].image),
                  ASSAY_KZ("run_image", r->environments.list[lang->env[SIDE_RUN]].image), ASSAY_KZ("reason", lacks));
    }
}

bool survey_next(struct slot *s)
{
    struct runner *r = s->loop->r;
    struct environment *e = &r->environments.list[s->env];
    struct assay_err err;
    if (e->surveyor != s)
        return false;
    for (; s->survey_at < r->languages.n; s->survey_at++) {
        const struct language *lang = &r->languages.list[s->survey_at];
        struct assay_str ask[16];
        if (!stands_in(lang, s->env) || lang->tools.n == 0 || lang->tools.n > sizeof ask / sizeof ask[0])
            continue;
        for (size_t i = 0; i < lang->tools.n; i++)
            ask[i] = lang->tools.items[i].value;
        if (assay_box_client_find(s->client, ask, lang->tools.n, &err) >= 0) {
            slot_arm(s);
            return true;
        }
        assay_log(r->host, ASSAY_LOG_ERROR, "survey_failed", ASSAY_KS("language", lang->name), ASSAY_KZ("error", err.msg));
    }
    e->surveyor = NULL;
    e->known = true;
    judge_tools(s->loop, s->env);
    return false;
}

void survey_found(struct slot *s, const struct assay_box_found *list, size_t n)
{
    struct runner *r = s->loop->r;
    struct assay_err err;
    if (r->environments.list[s->env].surveyor != s || s->survey_at >= r->languages.n)
        return;
    struct language *lang = &r->languages.list[s->survey_at++];
    for (int side = 0; side < SIDES; side++) {
        if (lang->env[side] == s->env && language_found(&r->languages, lang, (enum side)side, list, n, &err) < 0)
            put_text(lang->lacks[side], sizeof lang->lacks[side], "%s", err.msg);
    }
}

static int digest_of(const char *place, char *out, size_t room)
{
    struct assay_arena *arena = assay_arena_new(0);
    struct place p;
    struct assay_err err;
    int rc = arena != NULL ? place_decode(assay_str(place), arena, &p, &err) : ASSAY_E_NOMEM;
    if (rc >= 0)
        put_text(out, room, "%.*s", ASSAY_FMT(p.digest));
    else
        out[0] = '\0';
    assay_arena_free(arena);
    return rc;
}

void environment_digest(const struct environment *e, char *out, size_t room)
{
    (void)digest_of(e->place, out, room);
}

void environment_opened(struct slot *s)
{
    struct runner *r = s->loop->r;
    struct environment *e = &r->environments.list[s->env];
    char before[160], now[160];
    (void)digest_of(e->place, before, sizeof before);
    (void)digest_of(s->place, now, sizeof now);
    bool moved = e->place[0] != '\0' && strcmp(before, now) != 0;
    pthread_mutex_lock(&r->environments.lock);
    put_text(e->place, sizeof e->place, "%s", s->place);
    e->trouble[0] = '\0';
    pthread_mutex_unlock(&r->environments.lock);
    e->failures = e->tries = 0;
    e->retry_mono_ms = 0;
    if (moved) {
        assay_log(r->host, ASSAY_LOG_WARN, "environment_changed", ASSAY_KZ("image", e->image), ASSAY_KZ("before", before),
                  ASSAY_KZ("now", now));
        e->known = false;
        e->surveyor = NULL;
        for (size_t i = 0; i < r->languages.n; i++) {
            if (stands_in(&r->languages.list[i], s->env))
                language_decide(r, &r->languages.list[i], LANGUAGE_UNTESTED, NULL, "");
        }
    }
    if (!e->known && e->surveyor == NULL) {
        e->surveyor = s;
        s->survey_at = 0;
        (void)survey_next(s);
    }
}

void environment_failed(struct slot *s, int status, const char *why)
{
    struct runner *r = s->loop->r;
    struct environment *e = &r->environments.list[s->env];
    int64_t now = mono_ms(s->loop), wait = (int64_t)20 << (e->tries < 8 ? e->tries : 8);
    bool refused = status != ASSAY_E_BUSY && status != ASSAY_E_AGAIN && status != ASSAY_E_TIMEOUT && status != ASSAY_E_GONE;
    if (now >= e->retry_mono_ms) { /* the slots that try together are one try */
        e->tries++;
        e->failures += refused;
    }
    e->retry_mono_ms = now + (wait > 5000 ? 5000 : wait);
    pthread_mutex_lock(&r->environments.lock);
    bool news = strcmp(e->trouble, why) != 0;
    put_text(e->trouble, sizeof e->trouble, "%s", why);
    pthread_mutex_unlock(&r->environments.lock);
    if (news) /* once for a state, not once for a try */
        assay_log(r->host, ASSAY_LOG_WARN, "warden_missing", ASSAY_KZ("image", e->image), ASSAY_KZ("error", why));
}
