#include "local.h"

#include <assay/audit.h>

#include <stdlib.h>

#define TRIES 8 /* of a change that another one overtakes */

struct service {
    const struct assay_host *host;
    struct assay_arena *arena;
    struct assay_strs dirs; /* of PIT files */
};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static int64_t now_ms(const struct service *s)
{
    return s->host->now_ms(s->host->ctx);
}

static int reply(struct assay_request *rq, struct assay_response *rs, int status, const struct pit *p, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    pits_write(w, p, pits_sees_all(p, rq->who));
    return assay_reply_json(rs, status, w, err);
}

/* The file that fills what a row leaves out; without one, nothing. */
static int fill(const struct service *s, struct assay_arena *arena, struct pit *p, struct assay_err *err)
{
    struct assay_pit dflt;
    int rc = assay_pit_load(&s->dirs, ASSAY_STR(ASSAY_PIT_DEFAULT), arena, &dflt, err);
    if (rc == ASSAY_OK)
        assay_pit_fill(&p->def, &dflt);
    return rc == ASSAY_E_NOT_FOUND ? ASSAY_OK : rc;
}

/* A row, or else a file. filled: with what default.json says. */
static int find(const struct service *s, struct assay_str id, bool filled, struct assay_arena *arena, struct pit *p, struct assay_err *err)
{
    int rc = pits_by_id(s->host->store, id, arena, p, err);
    if (rc == ASSAY_OK)
        return filled ? fill(s, arena, p, err) : rc;
    if (rc != ASSAY_E_NOT_FOUND)
        return rc;
    *p = (struct pit){.id = id, .owner_id = ASSAY_STR(""), .active = true, .file = true};
    if (assay_str_is(id, ASSAY_PIT_DEFAULT))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such PIT");
    rc = assay_pit_load(&s->dirs, id, arena, &p->def, err);
    if (rc == ASSAY_E_NOT_FOUND)
        return assay_err_set(err, rc, "no such PIT; GET /pits lists them");
    return rc < 0 ? rc : pits_tests_of(s->host->store, id, arena, &p->def.tests_key, err);
}

static int changeable(const struct service *s, struct assay_request *rq, struct pit *p, struct assay_err *err)
{
    int rc = find(s, rq->param[0], false, rq->arena, p, err);
    if (rc == ASSAY_OK && p->file)
        return assay_err_set(err, ASSAY_E_CONFLICT, "this PIT is a file of the server; POST /pits with its id makes one that goes before it");
    if (rc == ASSAY_OK && !pits_may_change(p, rq->who))
        return assay_err_set(err, ASSAY_E_FORBIDDEN, "the PIT belongs to somebody else");
    return rc;
}

static int overtaken(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_BUSY, "the PIT is being changed by others; try again");
}

int pits_do_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"limit", "cursor", NULL};
    const struct service *s = self;
    int64_t limit;
    struct assay_str cursor, after;
    struct assay_strs file;
    struct pit *row;
    size_t n, i = 0, k = 0, shown = 0;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query_page(rq, rs, 50, 200, &limit, &cursor, err);
    if (rc == ASSAY_OK)
        rc = assay_cursor_decode(rq, rs, cursor, &after, err);
    if (rc == ASSAY_OK)
        rc = pits_list(s->host->store, after, limit + 1, rq->arena, &row, &n, err);
    if (rc == ASSAY_OK)
        rc = assay_pit_list(&s->dirs, rq->arena, &file, err);
    if (rc < 0)
        return rc;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    struct assay_str last = ASSAY_STR_NULL;
    bool more = false;
    for (;;) { /* rows and files in the order of their ids; a row goes before a file of its id */
        while (k < file.n && ((after.n != 0 && assay_str_cmp(file.items[k], after) <= 0) ||
                              (i < n && assay_str_eq(file.items[k], row[i].id))))
            k++;
        bool take_row = i < n && (k == file.n || assay_str_cmp(row[i].id, file.items[k]) < 0);
        if (!take_row && k == file.n)
            break;
        if (shown == (size_t)limit) {
            more = true;
            break;
        }
        struct pit p;
        if (take_row) {
            p = row[i++];
            rc = fill(s, rq->arena, &p, err);
        } else {
            rc = find(s, file.items[k++], true, rq->arena, &p, err);
        }
        if (rc == ASSAY_E_CONFIG) { /* one bad file must not hide the others */
            assay_log(s->host, ASSAY_LOG_WARN, "pit_unreadable", ASSAY_KZ("error", err->msg));
            continue;
        }
        if (rc == ASSAY_E_NOT_FOUND)
            continue;
        if (rc < 0)
            return rc;
        shown++;
        last = p.id;
        pits_write(w, &p, pits_sees_all(&p, rq->who));
    }
    return assay_list_end(rq, rs, w, more ? last : ASSAY_STR_NULL, err);
}

int pits_do_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct pits_body in = {.active = true};
    int rc = assay_body_json(rq, rs, pits_body_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        pits_check(&in, true, assay_faults(rq, rs), rq->arena);
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    struct assay_idem idem;
    rc = assay_idem_begin(&idem, &pits_idem, s->host->store, rq, rs, err);
    if (rc != ASSAY_OK)
        return rc < 0 ? rc : ASSAY_OK;
    char id[ASSAY_ID_SIZE];
    assay_id_new(id);
    struct pit p = {.id = in.id.n != 0 ? in.id : in.code.n != 0 ? in.code : assay_arena_str(rq->arena, assay_str(id)),
                    .owner_id = rq->who->user_id,
                    .active = true,
                    .version = 1,
                    .created_ms = now_ms(s)};
    p.updated_ms = p.created_ms;
    pits_apply(&p, &in);
    struct assay_str location = assay_arena_fmt(rq->arena, "/pits/%.*s", ASSAY_FMT(p.id));
    struct assay_tx *tx = assay_tx_new(rq->arena, "pits.create");
    if (tx == NULL || p.id.p == NULL || location.p == NULL)
        return no_memory(err);
    struct pit shown = p;
    rc = pits_tests_of(s->host->store, p.id, rq->arena, &shown.def.tests_key, err); /* of a file that it goes before */
    if (rc == ASSAY_OK)
        rc = fill(s, rq->arena, &shown, err);
    if (rc == ASSAY_OK && shown.def.test_command.n == 0)
        rc = assay_fault(rq, rs, err, "/testCommand", "is required: the server has no default.json that says one");
    if (rc == ASSAY_OK)
        rc = reply(rq, rs, 201, &shown, err);
    if (rc < 0)
        return rc;
    assay_reply_header(rs, ASSAY_STR("Location"), location);
    assay_idem_add(&idem, tx, rs, false);
    int guard = pits_add(tx, &p, err);
    assay_audit(tx, rq, p.id, ASSAY_STR(""));
    rc = guard < 0 && !tx->failed ? guard : assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
    if (rc == ASSAY_E_GUARD && tx->failed_op == guard)
        return assay_err_set(err, ASSAY_E_CONFLICT, "the id \"%.*s\" is taken", ASSAY_FMT(p.id));
    return rc < 0 ? rc : ASSAY_OK;
}

int pits_do_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct pit p;
    int rc = find(self, rq->param[0], true, rq->arena, &p, err);
    return rc < 0 ? rc : reply(rq, rs, 200, &p, err);
}

int pits_do_update(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct pits_body in = {.active = true};
    int rc = assay_body_json(rq, rs, pits_body_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        pits_check(&in, false, assay_faults(rq, rs), rq->arena);
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < TRIES; i++) {
        struct pit p;
        rc = changeable(s, rq, &p, err);
        if (rc < 0)
            return rc;
        pits_apply(&p, &in);
        p.updated_ms = now_ms(s);
        struct assay_tx *tx = assay_tx_new(rq->arena, "pits.update");
        if (tx == NULL)
            return no_memory(err);
        rc = pits_add_update(tx, &p, err);
        assay_audit(tx, rq, p.id, ASSAY_STR(""));
        if (rc >= 0)
            rc = assay_store_exec(s->host->store, tx, err);
        if (rc == ASSAY_E_GUARD)
            continue;
        if (rc == ASSAY_OK)
            rc = fill(s, rq->arena, &p, err);
        return rc < 0 ? rc : reply(rq, rs, 200, &p, err);
    }
    return overtaken(err);
}

int pits_do_remove(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    for (int i = 0; i < TRIES; i++) {
        struct pit p;
        int rc = changeable(s, rq, &p, err);
        if (rc < 0)
            return rc;
        struct assay_tx *tx = assay_tx_new(rq->arena, "pits.delete");
        if (tx == NULL)
            return no_memory(err);
        pits_add_remove(tx, &p);
        assay_audit(tx, rq, p.id, ASSAY_STR(""));
        rc = assay_store_exec(s->host->store, tx, err);
        if (rc == ASSAY_E_GUARD)
            continue;
        if (rc < 0)
            return rc;
        struct assay_err why;
        if (p.def.tests_key.n != 0 && s->host->blobs->ops->del(s->host->blobs->self, p.def.tests_key, &why) < 0)
            assay_log(s->host, ASSAY_LOG_WARN, "pit_tests_left", ASSAY_KS("pit", p.id), ASSAY_KZ("error", why.msg));
        rs->status = 204;
        return ASSAY_OK;
    }
    return overtaken(err);
}

int pits_do_upload_tests(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct pit p;
    struct pits_upload up;
    int rc = find(s, rq->param[0], false, rq->arena, &p, err);
    if (rc == ASSAY_OK && !pits_may_put_tests(&p, rq->who))
        rc = assay_err_set(err, ASSAY_E_FORBIDDEN, "the PIT belongs to somebody else");
    if (rc == ASSAY_OK)
        rc = pits_multipart(rq->content_type, rq->body, "file", &up, err);
    if (rc < 0)
        return rc;
    if (up.bytes.n > PITS_TESTS_MAX)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "tests have at most %zu MiB", PITS_TESTS_MAX >> 20);
    if (!pits_is_zip(up.bytes))
        return assay_err_set(err, ASSAY_E_INVALID, "the file is no ZIP archive");
    struct assay_str key = assay_arena_fmt(rq->arena, "pits/%.*s/tests.zip", ASSAY_FMT(p.id));
    struct assay_tx *tx = assay_tx_new(rq->arena, "pits.tests");
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (key.p == NULL || tx == NULL || w == NULL)
        return no_memory(err);
    char sha256[ASSAY_SHA256_HEX];
    assay_sha256_hex(up.bytes, sha256);
    rc = s->host->blobs->ops->put(s->host->blobs->self, key, up.bytes, err);
    if (rc < 0)
        return rc;
    assay_audit(tx, rq, p.id, assay_arena_fmt(rq->arena, "{\"sha256\":\"%s\"}", sha256));
    pits_add_tests(tx, p.id, key, sha256, (int64_t)up.bytes.n, now_ms(s));
    rc = assay_store_exec(s->host->store, tx, err);
    if (rc < 0)
        return rc;
    assay_log(s->host, ASSAY_LOG_INFO, "pit_tests_uploaded", ASSAY_KS("pit", p.id), ASSAY_KS("user", rq->who->user_id),
              ASSAY_KI("bytes", up.bytes.n), ASSAY_KZ("sha256", sha256));
    assay_jw_object(w);
    assay_jw_kz(w, "status", "ok");
    assay_jw_kstr(w, "key", key);
    assay_jw_end(w);
    return assay_reply_json(rs, 201, w, err);
}

/* ---- for others --------------------------------------------------------------------------------------------- */

static int get(void *self, struct assay_str id, struct assay_arena *arena, struct assay_pit *out, struct assay_err *err)
{
    struct pit p;
    const struct service *s = self;
    if (assay_str_is(id, ASSAY_PIT_DEFAULT)) /* no PIT of its own, but what stands for one that nobody names */
        return assay_pit_load(&s->dirs, id, arena, out, err);
    int rc = find(self, id, true, arena, &p, err);
    if (rc == ASSAY_OK && !p.active)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the PIT is not active");
    if (rc == ASSAY_OK)
        *out = p.def;
    return rc;
}

const struct assay_pits_ops pits_ops = {.size = sizeof(struct assay_pits_ops), .get = get};

int pits_init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct service *s = calloc(1, sizeof *s);
    *self = s;
    if (s == NULL)
        return no_memory(err);
    s->host = host;
    s->arena = assay_arena_new(0);
    if (s->arena == NULL)
        return no_memory(err);
    return assay_pit_dirs(host->option_str(host->ctx, "share_dir"), host->option_str(host->ctx, "pits_path"), s->arena, &s->dirs, err);
}

void pits_fini(void *self)
{
    struct service *s = self;
    if (s == NULL)
        return;
    assay_arena_free(s->arena);
    free(s);
}
