#include "svc_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <assay/json.h>
#include <assay/value.h>

#define PRINCIPAL(role_, name_, id_)                                                                                   \
    {.authenticated = true, .role = (role_), .role_name = {name_, sizeof(name_) - 1}, .user_id = {id_, sizeof(id_) - 1}}
const struct assay_principal svc_admin = PRINCIPAL(ASSAY_ROLE_ADMIN, "admin", "00000000-0000-7000-8000-00000000000a");
const struct assay_principal svc_instructor =
    PRINCIPAL(ASSAY_ROLE_INSTRUCTOR, "instructor", "00000000-0000-7000-8000-00000000000b");
const struct assay_principal svc_user = PRINCIPAL(ASSAY_ROLE_USER, "user", "00000000-0000-7000-8000-000000000001");
const struct assay_principal svc_user2 = PRINCIPAL(ASSAY_ROLE_USER, "user", "00000000-0000-7000-8000-000000000002");
const struct assay_principal svc_viewer = PRINCIPAL(ASSAY_ROLE_VIEWER, "viewer", "00000000-0000-7000-8000-000000000003");
static const struct assay_principal nobody;

static struct assay_str no_header(const struct assay_request *rq, const char *name)
{
    (void)rq;
    (void)name;
    return ASSAY_STR_NULL;
}

/* How many literal segments match, or -1. */
static int match(const char *pattern, const char *path, struct assay_arena *arena, struct assay_str *param)
{
    int literals = 0, n = 0;
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern != '/' || *path != '/')
            return -1;
        pattern++;
        path++;
        size_t pn = strcspn(pattern, "/"), n_path = strcspn(path, "/");
        if (pattern[0] == '{') {
            struct assay_str v = {path, n_path};
            bool uuid_only = pn > 6 && memcmp(pattern + pn - 6, ":uuid}", 6) == 0;
            if (n_path == 0 || n == ASSAY_PATH_PARAMS || !(assay_id_valid(v) || (!uuid_only && assay_slug_valid(v))))
                return -1;
            param[n++] = assay_arena_str(arena, v);
        } else {
            if (pn != n_path || memcmp(pattern, path, pn) != 0)
                return -1;
            literals++;
        }
        pattern += pn;
        path += n_path;
    }
    return *pattern == '\0' && *path == '\0' ? literals : -1;
}

static void render_problem(struct assay_buf *b, int status, const struct call *c)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kint(w, "status", status);
    assay_jw_kz(w, "detail", c->err.msg);
    assay_jw_key(w, "errors");
    assay_jw_array(w);
    for (size_t i = 0; c->rs.faults != NULL && i < c->rs.faults->n; i++) {
        assay_jw_object(w);
        assay_jw_kstr(w, "pointer", c->rs.faults->item[i].pointer);
        assay_jw_kstr(w, "detail", c->rs.faults->item[i].detail);
        assay_jw_end(w);
    }
    assay_jw_end(w);
    assay_jw_end(w);
    if (assay_jw_finish(w, b, NULL) < 0)
        svc_die("no memory");
}

struct svc_reply svc_call(struct svc *h, const struct assay_principal *who, const char *method, const char *target,
                          const char *body)
{
    return svc_call_as(h, who, method, target, body, NULL, NULL);
}

static int run(struct svc *h, struct call *c, const struct assay_principal *who, const char *method, const char *path,
               struct assay_arena *arena)
{
    static const char *const methods[] = {"", "GET", "POST", "PUT", "PATCH", "DELETE"};
    const struct assay_route *best = NULL;
    void *self = NULL;
    int best_literals = -1;
    for (size_t p = 1; p < h->n_plugins; p++) {
        const struct assay_table *t = &h->plugin[p].pl->routes;
        for (uint32_t i = 0; i < t->count; i++) {
            const struct assay_route *r = (const void *)((const char *)t->rows + (size_t)i * t->stride);
            struct assay_str param[ASSAY_PATH_PARAMS] = {{NULL, 0}};
            if (strcmp(methods[r->method], method) != 0)
                continue;
            int literals = match(r->path, path, arena, param);
            if (literals <= best_literals)
                continue;
            best_literals = literals;
            best = r;
            self = h->plugin[p].self;
            memcpy(c->rq.param, param, sizeof param);
        }
    }
    if (best == NULL)
        return assay_err_set(&c->err, ASSAY_E_NOT_FOUND, "no route %s %s", method, path);
    c->rq.route = best;
    if (best->roles != ASSAY_ROLES_PUBLIC) {
        if (!who->authenticated)
            return assay_err_set(&c->err, ASSAY_E_UNAUTHENTICATED, "sign in");
        if (who->agent_id.n != 0) {
            if (best->scope == NULL || memmem(who->scopes.p, who->scopes.n, best->scope, strlen(best->scope)) == NULL)
                return assay_err_set(&c->err, ASSAY_E_FORBIDDEN, "the token lacks the scope");
        } else if ((who->role & best->roles) == 0) {
            return assay_err_set(&c->err, ASSAY_E_FORBIDDEN, "the role may not do this");
        }
    }
    if (c->rq.body.n > best->body_max)
        return assay_err_set(&c->err, ASSAY_E_TOO_LARGE, "the body is too large");
    static const char *const none[] = {NULL};
    int rc = (best->flags & ASSAY_ROUTE_NO_QUERY) != 0 ? assay_query_only(&c->rq, &c->rs, none, &c->err) : 0;
    return rc != 0 ? rc : best->handle(self, &c->rq, &c->rs, &c->err);
}

struct svc_reply svc_call_as(struct svc *h, const struct assay_principal *who, const char *method, const char *target,
                             const char *body, const char *idempotency_key, const char *remote)
{
    if (!h->started)
        svc_die("svc_call before svc_start");
    if (who == NULL)
        who = &nobody;
    struct assay_arena *arena = assay_arena_new(0);
    if (arena == NULL)
        svc_die("no memory");
    struct call c = {.h = h};
    const char *question = strchr(target, '?');
    size_t path_n = question != NULL ? (size_t)(question - target) : strlen(target);
    char *path = assay_arena_z(arena, (struct assay_str){target, path_n});
    c.rq = (struct assay_request){
        .path = assay_str(path),
        .query = question != NULL ? assay_str(question + 1) : ASSAY_STR(""),
        .body = body != NULL ? assay_str(body) : ASSAY_STR(""),
        .content_type = body != NULL ? ASSAY_STR("application/json") : ASSAY_STR(""),
        .idempotency_key = idempotency_key != NULL ? assay_str(idempotency_key) : ASSAY_STR(""),
        .request_id = ASSAY_STR("test-request"),
        .traceparent = ASSAY_STR(""),
        .remote = assay_str(remote != NULL ? remote : "127.0.0.1"),
        .who = who,
        .arena = arena,
        .started_mono_ns = h->host.mono_ns(h),
        .header = no_header,
        .impl = &c,
    };
    pthread_mutex_lock(&h->lock);
    c.next = h->calls;
    h->calls = &c;
    pthread_mutex_unlock(&h->lock);
    int rc = run(h, &c, who, method, path, arena);
    pthread_mutex_lock(&h->lock);
    if (rc == ASSAY_DEFERRED) {
        assert(c.deferred);
        while (!c.done)
            pthread_cond_wait(&h->woken, &h->lock);
        rc = c.rc;
    } else {
        assert(!c.deferred);
    }
    for (struct call **p = &h->calls; *p != NULL; p = &(*p)->next) {
        if (*p == &c) {
            *p = c.next;
            break;
        }
    }
    pthread_mutex_unlock(&h->lock);

    struct svc_reply r = {.rc = rc};
    pthread_mutex_lock(&h->lock); /* arena and list of replies */
    if (rc < 0) {
        assert(c.err.code == rc);
        r.status = assay_err_http(rc);
        assay_buf_reset(&c.rs.body);
        render_problem(&c.rs.body, r.status, &c);
    } else {
        r.status = c.rs.status != 0 ? c.rs.status : 200;
    }
    for (size_t i = 0; i < c.rs.n_headers; i++) {
        char *v = assay_arena_z(h->arena, c.rs.header[i].value);
        if (assay_str_ieq(c.rs.header[i].key, "location"))
            r.location = v;
        else if (assay_str_ieq(c.rs.header[i].key, "retry-after"))
            r.retry_after = v;
        else if (assay_str_ieq(c.rs.header[i].key, "idempotency-replayed"))
            r.replayed = v;
    }
    r.body = assay_arena_str(h->arena, assay_buf_view(&c.rs.body));
    assay_response_clear(&c.rs);
    assay_arena_free(arena);
    if (r.body.n != 0) {
        json_error_t je;
        r.json = json_loadb(r.body.p, r.body.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
        if (r.json == NULL)
            svc_die("%s %s answered what is not JSON (%s): %.*s", method, target, je.text, ASSAY_FMT(r.body));
        if (h->n_json == MAX_REPLIES)
            svc_die("too many replies");
        h->json[h->n_json++] = r.json;
    }
    pthread_mutex_unlock(&h->lock);
    return r;
}

static json_t *at(const struct svc_reply *r, const char *pointer)
{
    json_t *j = r->json;
    while (j != NULL && *pointer == '/') {
        pointer++;
        size_t n = strcspn(pointer, "/");
        char key[128];
        assert(n < sizeof key);
        memcpy(key, pointer, n);
        key[n] = '\0';
        pointer += n;
        j = json_is_array(j) ? json_array_get(j, strtoul(key, NULL, 10)) : json_object_get(j, key);
    }
    return j;
}

const char *svc_str(const struct svc_reply *r, const char *pointer)
{
    return json_string_value(at(r, pointer));
}
int64_t svc_int(const struct svc_reply *r, const char *pointer)
{
    json_t *j = at(r, pointer);
    return json_is_integer(j) ? json_integer_value(j) : -1;
}
double svc_real(const struct svc_reply *r, const char *pointer)
{
    json_t *j = at(r, pointer);
    return json_is_number(j) ? json_number_value(j) : -1;
}
int svc_len(const struct svc_reply *r, const char *pointer)
{
    json_t *j = at(r, pointer);
    return json_is_array(j) ? (int)json_array_size(j) : json_is_object(j) ? (int)json_object_size(j) : -1;
}
int svc_bool(const struct svc_reply *r, const char *pointer)
{
    json_t *j = at(r, pointer);
    return json_is_boolean(j) ? json_is_true(j) : -1;
}
bool svc_has(const struct svc_reply *r, const char *pointer)
{
    return at(r, pointer) != NULL;
}
bool svc_faulted(const struct svc_reply *r, const char *pointer)
{
    json_t *errors = at(r, "/errors"), *e;
    size_t i;
    json_array_foreach(errors, i, e)
    {
        const char *p = json_string_value(json_object_get(e, "pointer"));
        if (p != NULL && strcmp(p, pointer) == 0)
            return true;
    }
    return false;
}
