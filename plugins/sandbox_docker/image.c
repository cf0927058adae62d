/*
 * How the warden gets into any image: by a derived image, made once for each (image, warden) through the API
 * alone, so that it works with an engine on another machine and from inside a container.
 *
 *   inspect the image ─▶ is there assay-warden:<key>?  ─▶ yes: done
 *        └─ no: create a container of it (never started) ─▶ PUT an archive with the warden ─▶ commit ─▶ delete
 *
 * key is a hash of the image's id and the warden's: another build of either makes another image, and the
 * ones before are removed when a boxkeeper starts (sd_reap_all).  The image's own file system is not
 * touched otherwise: /.assay holds the warden, a place to build the boxes' root on, one for a socket and one to write.
 *
 * The archive is written here (ustar, IEEE Std 1003.1): four entries of fixed names and one size do not
 * pay for a library in the process that holds root.
 */
#include "local.h"

#include <assay/value.h>

#include <stdlib.h>

#define SHORT_MS 10000
#define LONG_MS 300000 /* committing a layer on a slow disk */

bool sd_image_name_ok(struct assay_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!plain && (i == 0 || strchr("._-/:@", c) == NULL))
            return false;
        if (c == '.' && i + 1 < name.n && name.p[i + 1] == '.')
            return false;
    }
    return name.n > 0 && name.n <= SD_NAME_MAX;
}

/* ---- the archive ---- */

struct ustar {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[6], version[2], user[32],
        group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct ustar) == 512, "a block");

static void entry(struct assay_buf *b, const char *name, unsigned mode, struct assay_str bytes, bool folder)
{
    static const char zeros[512];
    struct ustar h;
    unsigned sum = 0;

    memset(&h, 0, sizeof(h));
    snprintf(h.name, sizeof(h.name), "%s", name);
    snprintf(h.mode, sizeof(h.mode), "%07o", mode);
    snprintf(h.uid, sizeof(h.uid), "%07o", 0U);
    snprintf(h.gid, sizeof(h.gid), "%07o", 0U);
    snprintf(h.size, sizeof(h.size), "%011llo", (unsigned long long)bytes.n);
    snprintf(h.mtime, sizeof(h.mtime), "%011o", 0U);
    h.type = folder ? '5' : '0';
    memcpy(h.magic, "ustar", 6);
    memcpy(h.version, "00", 2);
    memset(h.sum, ' ', sizeof(h.sum));
    for (size_t i = 0; i < sizeof(h); i++) {
        unsigned char c;

        memcpy(&c, (const char *)&h + i, 1);
        sum += c;
    }
    snprintf(h.sum, sizeof(h.sum), "%06o", sum);
    assay_buf_add(b, &h, sizeof(h));
    if (bytes.n > 0)
        assay_buf_str(b, bytes);
    if (bytes.n % 512 != 0)
        assay_buf_add(b, zeros, 512 - bytes.n % 512);
}

void sd_image_archive(const struct sd_setup *s, struct assay_buf *out)
{
    static const char end[1024];

    entry(out, ".assay/", 0755, ASSAY_STR_NULL, true);
    entry(out, ".assay/mnt/", 0755, ASSAY_STR_NULL, true);
    entry(out, ".assay/run/", 0755, ASSAY_STR_NULL, true);
    entry(out, ".assay/tmp/", 01777, ASSAY_STR_NULL, true); /* a tmpfs there takes this mode, whatever it was asked for */
    entry(out, ".assay/warden", 0755, s->warden, false);
    assay_buf_add(out, end, sizeof(end));
}

/* ---- preparing ---- */

/* The chain of layers as one digest (OCI image specification, "Layer ChainID"): equal for equal content. */
static void chain_of(const struct assay_strs *layers, char *out, size_t room)
{
    char sum[ASSAY_SHA256_HEX];

    snprintf(out, room, "%.*s", (int)(layers->items[0].n < room ? layers->items[0].n : room - 1), layers->items[0].p);
    for (size_t i = 1; i < layers->n; i++) {
        ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;

        assay_buf_fmt(&b, "%s %.*s", out, ASSAY_FMT(layers->items[i]));
        assay_sha256_hex(assay_buf_view(&b), sum);
        snprintf(out, room, "sha256:%s", sum);
    }
}

int sd_image_inspect(const struct sd_setup *s, const char *name, struct sd_image_facts *f, struct assay_err *err)
{
    struct shape {
        struct assay_str id;
        struct {
            struct assay_strs layers;
        } root;
    } v;
    static const struct assay_json_field root_fields[] = {
        {.name = "Layers", .type = ASSAY_JSON_STRINGS, .flags = ASSAY_JSON_NULLABLE, .offset = 0, .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    static const struct assay_json_field fields[] = {
        {.name = "Id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = offsetof(struct shape, id), .min = 1,
         .max = sizeof(f->id) - 1, .has_offset = -1},
        {.name = "RootFS", .type = ASSAY_JSON_OBJECT, .flags = ASSAY_JSON_NULLABLE, .offset = offsetof(struct shape, root),
         .has_offset = -1, .fields = root_fields},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    ASSAY_CLEANUP_BUF struct assay_buf reply = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    char path[SD_NAME_MAX + 40];
    int rc;

    memset(&v, 0, sizeof(v));
    memset(f, 0, sizeof(*f));
    snprintf(path, sizeof(path), "/images/%s/json", name);
    rc = sd_want(&s->engine, "GET", path, ASSAY_STR(""), NULL, SHORT_MS, &reply, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, rc, "the Docker engine has no image %.200s: build or pull it there (docker pull %.200s), or name "
                             "another one in docker_image", name, name);
    if (rc == 0 && arena == NULL)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for the description of an image");
    if (rc == 0)
        rc = sd_decode("description of an image", assay_buf_view(&reply), fields, &v, arena, err);
    if (rc != 0)
        return rc;
    snprintf(f->id, sizeof(f->id), "%.*s", ASSAY_FMT(v.id));
    if (v.root.layers.n > 0)
        chain_of(&v.root.layers, f->digest, sizeof(f->digest));
    return 0;
}

static int created_id(struct assay_str reply, char *out, size_t room, struct assay_err *err)
{
    struct assay_str id = ASSAY_STR_NULL;
    const struct assay_json_field fields[] = {
        {.name = "Id", .type = ASSAY_JSON_STRING, .flags = ASSAY_JSON_REQUIRED, .offset = 0, .min = 1, .max = (double)(room - 1),
         .has_offset = -1},
        {.name = "*", .has_offset = -1},
        {.name = NULL},
    };
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    int rc = arena != NULL ? sd_decode("answer to a creation", reply, fields, &id, arena, err)
                           : assay_err_set(err, ASSAY_E_NOMEM, "no memory for the Docker engine's answer");

    if (rc == 0)
        snprintf(out, room, "%.*s", ASSAY_FMT(id));
    return rc;
}

int sd_create(const struct sd_setup *s, const char *name, struct assay_str body, char *id, size_t room, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf reply = ASSAY_BUF_INIT;
    char path[160];
    int rc;

    snprintf(path, sizeof(path), "/containers/create%s%s", name[0] != '\0' ? "?name=" : "", name);
    rc = sd_want(&s->engine, "POST", path, body, NULL, 60000, &reply, err);
    return rc != 0 ? rc : created_id(assay_buf_view(&reply), id, room, err);
}

void sd_labels(const struct sd_setup *s, struct assay_jw *w)
{
    assay_jw_key(w, "Labels");
    assay_jw_object(w);
    assay_jw_kz(w, "assay.data", s->data_id);
    assay_jw_kz(w, "assay.life", s->life);
    assay_jw_kz(w, "assay.warden", s->warden_hash);
    assay_jw_end(w);
}

static int derive(const struct sd_setup *s, const struct sd_image_facts *f, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new(), *c = assay_jw_new();
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT, tar = ASSAY_BUF_INIT, config = ASSAY_BUF_INIT, reply = ASSAY_BUF_INIT,
                      gone = ASSAY_BUF_INIT, put = ASSAY_BUF_INIT;
    char id[80], name[80], path[300];
    struct assay_err ignored;
    int rc;

    snprintf(name, sizeof(name), "assay-%.8s-%s-%.16s", s->data_id, s->life, strchr(f->derived, ':') + 1);
    if (w == NULL || c == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for an image's description");
    assay_jw_object(w);
    assay_jw_kz(w, "Image", f->id);
    assay_jw_key(w, "Entrypoint");
    assay_jw_array(w);
    assay_jw_z(w, "/.assay/warden");
    assay_jw_end(w);
    assay_jw_kraw(w, "Healthcheck", ASSAY_STR("{\"Test\":[\"NONE\"]}"));
    sd_labels(s, w);
    assay_jw_end(w);
    rc = assay_jw_finish(w, &body, err);
    if (rc == 0)
        rc = sd_create(s, name, assay_buf_view(&body), id, sizeof(id), err);
    if (rc == 0) {
        sd_image_archive(s, &tar);
        snprintf(path, sizeof(path), "/containers/%.80s/archive?path=/", id);
        rc = tar.failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for the warden's archive")
                        : sd_want(&s->engine, "PUT", path, assay_buf_view(&tar), "application/x-tar", LONG_MS, &put, err);
    }
    if (rc == 0) {
        assay_jw_object(c);
        sd_labels(s, c);
        assay_jw_end(c);
        rc = assay_jw_finish(c, &config, err);
    }
    if (rc == 0) {
        snprintf(path, sizeof(path), "/commit?container=%.80s&repo=assay-warden&tag=%.40s&pause=false", id,
                 strchr(f->derived, ':') + 1);
        rc = sd_want(&s->engine, "POST", path, assay_buf_view(&config), NULL, LONG_MS, &reply, err);
    }
    /* by its name, which an attempt that was cut short has left too; one that stays is found by the next start's reap */
    snprintf(path, sizeof(path), "/containers/%.80s?force=1&v=1", name);
    (void)!sd_want(&s->engine, "DELETE", path, ASSAY_STR(""), NULL, SHORT_MS, &gone, &ignored);
    return rc;
}

int sd_image_prepare(const struct sd_setup *s, const char *name, struct sd_image_facts *out, struct assay_err *err)
{
    struct sd_image_facts f;
    ASSAY_CLEANUP_BUF struct assay_buf reply = ASSAY_BUF_INIT;
    char key[200], sum[ASSAY_SHA256_HEX], path[160];
    int rc = sd_image_inspect(s, name, &f, err);

    if (rc != 0)
        return rc;
    snprintf(key, sizeof(key), "2 %.79s %.39s %.16s", f.id, s->warden_hash, s->data_id); /* 2: the archive's form */
    assay_sha256_hex(assay_str(key), sum);
    snprintf(f.derived, sizeof(f.derived), "assay-warden:%.32s", sum);
    snprintf(path, sizeof(path), "/images/%.80s/json", f.derived);
    rc = sd_want(&s->engine, "GET", path, ASSAY_STR(""), NULL, SHORT_MS, &reply, err);
    if (rc == ASSAY_E_NOT_FOUND)
        rc = derive(s, &f, err);
    if (rc == 0)
        *out = f;
    return rc;
}
