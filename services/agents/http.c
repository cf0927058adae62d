#include "local.h"

#include <assay/audit.h>

#include <assay/events.h>

#include <stdlib.h>

#define TRIES 8 /* of a change that another one overtakes */

struct service {
    const struct assay_host *host;
    const struct assay_jobs_ops *jobs; /* NULL: this process has no submissions, so nothing is leased */
    void *jobs_self;
};

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
}

static int64_t now_ms(const struct service *s)
{
    return s->host->now_ms(s->host->ctx);
}

static int reply_agent(struct assay_response *rs, int status, const struct agent *a, struct assay_err *err)
{
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    agents_write(w, a);
    return assay_reply_json(rs, status, w, err);
}

static struct assay_str new_id(struct assay_arena *a)
{
    char id[ASSAY_ID_SIZE];
    assay_id_new(id);
    return assay_arena_str(a, assay_str(id));
}

static struct assay_str or_empty(struct assay_str s)
{
    return s.p != NULL ? s : ASSAY_STR("");
}

/* The agent of the path, which the caller may change; somebody else's is there to be read (403, not 404). */
static int changeable(struct service *s, struct assay_request *rq, struct agent *a, struct assay_err *err)
{
    int rc = agents_by_id(s->host->store, rq->param[0], rq->arena, a, err);
    if (rc == ASSAY_OK && !agents_may_change(a, rq->who))
        rc = assay_err_set(err, ASSAY_E_FORBIDDEN, "the agent belongs to somebody else");
    return rc;
}

static int overtaken(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_BUSY, "the agent is being changed by others; try again");
}

/* ---- agents ------------------------------------------------------------------------------------------ */

int agents_do_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"owner_id", "limit", "cursor", NULL};
    struct service *s = self;
    int64_t limit;
    struct assay_str cursor, after, owner;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query_page(rq, rs, 50, 200, &limit, &cursor, err);
    if (rc == ASSAY_OK)
        rc = assay_cursor_decode(rq, rs, cursor, &after, err);
    if (rc == ASSAY_OK)
        rc = assay_query(rq, "owner_id", &owner, err);
    if (rc < 0)
        return rc;
    if (assay_str_is(owner, "me"))
        owner = rq->who->user_id;
    struct agent *a;
    size_t n;
    /* one more than asked for tells whether there is a next page */
    rc = agents_list(s->host->store, after, or_empty(owner), limit + 1, rq->arena, &a, &n, err);
    if (rc < 0)
        return rc;
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    for (size_t i = 0; i < shown; i++)
        agents_write(w, &a[i]);
    return assay_list_end(rq, rs, w, n > shown ? a[shown - 1].id : ASSAY_STR_NULL, err);
}

int agents_do_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct agents_create_in in = {.has_id = false};
    int rc = assay_body_json(rq, rs, agents_create_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        agents_check_create(&in, rq->who, assay_faults(rq, rs), rq->arena);
    if (rc == ASSAY_OK && !in.has_id && !in.has_name)
        rc = assay_fault(rq, rs, err, "/name", "is required unless an id is given");
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    struct assay_idem idem;
    rc = assay_idem_begin(&idem, &agents_idem, s->host->store, rq, rs, err);
    if (rc != ASSAY_OK)
        return rc < 0 ? rc : ASSAY_OK;

    struct agent a = {.id = in.has_id ? in.id : new_id(rq->arena),
                      .owner_id = in.has_owner ? in.owner_id : rq->who->user_id,
                      .name = in.has_name ? in.name : in.id,
                      .description = or_empty(in.description),
                      .version = 1,
                      .created_ms = now_ms(s)};
    a.updated_ms = a.created_ms;
    struct assay_str location = assay_arena_fmt(rq->arena, "/agents/%.*s", ASSAY_FMT(a.id));
    struct assay_tx *tx = assay_tx_new(rq->arena, "agents.create");
    if (tx == NULL || a.id.p == NULL || location.p == NULL)
        return no_memory(err);
    rc = reply_agent(rs, 201, &a, err);
    if (rc < 0)
        return rc;
    assay_reply_header(rs, ASSAY_STR("Location"), location);
    assay_idem_add(&idem, tx, rs, false);
    int guard = agents_add(tx, &a);
    rc = agents_add_changed(tx, &a, false, err);
    if (rc == ASSAY_OK)
        rc = assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
    if (rc == ASSAY_E_GUARD && tx->failed_op == guard)
        return assay_err_set(err, ASSAY_E_CONFLICT, "the id \"%.*s\" is taken", ASSAY_FMT(a.id));
    return rc < 0 ? rc : ASSAY_OK;
}

int agents_do_get(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct agent a;
    int rc = agents_by_id(s->host->store, rq->param[0], rq->arena, &a, err);
    return rc < 0 ? rc : reply_agent(rs, 200, &a, err);
}

int agents_do_update(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct agents_create_in in = {.has_id = false};
    int rc = assay_body_json(rq, rs, agents_patch_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        agents_check_create(&in, rq->who, assay_faults(rq, rs), rq->arena);
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < TRIES; i++) {
        struct agent a;
        rc = changeable(s, rq, &a, err);
        if (rc < 0)
            return rc;
        if (in.has_name)
            a.name = in.name;
        if (in.has_description)
            a.description = or_empty(in.description);
        if (in.has_owner)
            a.owner_id = in.owner_id;
        a.updated_ms = now_ms(s);
        struct assay_tx *tx = assay_tx_new(rq->arena, "agents.update");
        (void)agents_add_update(tx, &a);
        assay_audit(tx, rq, a.id, in.has_owner ? assay_arena_fmt(rq->arena, "{\"owner_id\":\"%.*s\"}", ASSAY_FMT(a.owner_id)) : ASSAY_STR(""));
        rc = agents_add_changed(tx, &a, false, err);
        if (rc == ASSAY_OK && in.has_owner)
            agents_add_token_changed(tx, &a); /* its tokens now stand for somebody else */
        if (rc == ASSAY_OK)
            rc = assay_store_exec(s->host->store, tx, err);
        if (rc != ASSAY_E_GUARD)
            return rc < 0 ? rc : reply_agent(rs, 200, &a, err);
    }
    return overtaken(err);
}

int agents_do_remove(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    for (int i = 0; i < TRIES; i++) {
        struct agent a;
        int rc = changeable(s, rq, &a, err);
        if (rc < 0)
            return rc;
        a.updated_ms = now_ms(s);
        struct assay_tx *tx = assay_tx_new(rq->arena, "agents.delete");
        (void)agents_add_remove(tx, &a);
        assay_audit(tx, rq, a.id, ASSAY_STR(""));
        rc = agents_add_changed(tx, &a, true, err);
        if (rc == ASSAY_OK) {
            agents_add_token_changed(tx, &a);
            rc = assay_store_exec(s->host->store, tx, err);
        }
        if (rc == ASSAY_E_GUARD)
            continue;
        if (rc == ASSAY_OK)
            rs->status = 204;
        return rc;
    }
    return overtaken(err);
}

/* ---- tokens ------------------------------------------------------------------------------------------- */

int agents_do_token_create(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static struct assay_str usual[] = {
        {"submissions:write", 17}, {"submissions:read", 16}, {"results:read", 12},
        {"agents:read", 11},       {"benchmarks:read", 15},  {"scores:read", 11},   {"leaderboard:read", 16},
    };
    struct service *s = self;
    struct agent a;
    int rc = changeable(s, rq, &a, err);
    if (rc < 0)
        return rc;
    struct agents_token_in in = {.has_scopes = false};
    int64_t now = now_ms(s);
    rc = assay_body_json(rq, rs, agents_token_fields, &in, err);
    if (rc == ASSAY_OK || rc == ASSAY_E_INVALID)
        agents_check_token(&in, rq->who, now, assay_faults(rq, rs), rq->arena);
    rc = assay_faults_end(rq, rs, rc, err);
    if (rc < 0)
        return rc;
    if (!in.has_scopes)
        in.scopes = (struct assay_strs){usual, sizeof usual / sizeof usual[0]};
    struct assay_idem idem;
    rc = assay_idem_begin(&idem, &agents_idem, s->host->store, rq, rs, err);
    if (rc != ASSAY_OK)
        return rc < 0 ? rc : ASSAY_OK;

    char secret[AGENTS_TOKEN_SIZE], hash[ASSAY_SHA256_HEX];
    agents_token_make(secret, hash);
    struct agent_token t = {.id = new_id(rq->arena),
                            .agent_id = a.id,
                            .name = or_empty(in.name),
                            .scopes = agents_scopes_join(rq->arena, &in.scopes),
                            .created_ms = now,
                            .expires_ms = in.has_expires_at   ? in.expires_ms
                                          : in.has_expires_in ? now + in.expires_in_s * 1000
                                                              : 0};
    struct assay_str location = assay_arena_fmt(rq->arena, "/agents/%.*s/tokens/%.*s", ASSAY_FMT(a.id), ASSAY_FMT(t.id));
    struct assay_tx *tx = assay_tx_new(rq->arena, "agents.token");
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL || tx == NULL || t.id.p == NULL || t.scopes.p == NULL || location.p == NULL)
        return no_memory(err);
    agents_write_token(w, &t, secret);
    rc = assay_reply_json(rs, 201, w, err);
    if (rc < 0)
        return rc;
    assay_reply_header(rs, ASSAY_STR("Location"), location);
    assay_reply_header(rs, ASSAY_STR("Cache-Control"), ASSAY_STR("no-store"));
    assay_idem_add(&idem, tx, rs, true);
    int guard = agents_add_token(tx, &t, assay_str(hash));
    agents_add_token_changed(tx, &a);
    assay_audit(tx, rq, a.id, assay_arena_fmt(rq->arena, "{\"token_id\":\"%.*s\",\"scopes\":\"%.*s\"}", ASSAY_FMT(t.id), ASSAY_FMT(t.scopes)));
    rc = assay_idem_commit(&idem, s->host->store, tx, rq, rs, err);
    if (rc == ASSAY_E_GUARD && tx->failed_op == guard)
        return assay_err_set(err, ASSAY_E_CONFLICT, "the agent has %d live tokens already; revoke one first",
                             AGENTS_TOKENS_MAX);
    return rc < 0 ? rc : ASSAY_OK;
}

int agents_do_token_list(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static const char *const known[] = {"limit", "cursor", NULL};
    struct service *s = self;
    int64_t limit;
    struct assay_str cursor, after;
    struct agent a;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc == ASSAY_OK)
        rc = assay_query_page(rq, rs, 50, 200, &limit, &cursor, err);
    if (rc == ASSAY_OK)
        rc = assay_cursor_decode(rq, rs, cursor, &after, err);
    if (rc == ASSAY_OK)
        rc = changeable(s, rq, &a, err);
    if (rc < 0)
        return rc;
    struct agent_token *t;
    size_t n;
    rc = agents_tokens(s->host->store, a.id, after, now_ms(s), limit + 1, rq->arena, &t, &n, err);
    if (rc < 0)
        return rc;
    size_t shown = n > (size_t)limit ? (size_t)limit : n;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    assay_list_begin(w);
    for (size_t i = 0; i < shown; i++)
        agents_write_token(w, &t[i], NULL);
    return assay_list_end(rq, rs, w, n > shown ? t[shown - 1].id : ASSAY_STR_NULL, err);
}

int agents_do_token_revoke(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct agent a;
    int rc = changeable(s, rq, &a, err);
    if (rc < 0)
        return rc;
    struct assay_tx *tx = assay_tx_new(rq->arena, "agents.token_revoke");
    (void)agents_add_token_revoke(tx, a.id, rq->param[1], now_ms(s));
    agents_add_token_changed(tx, &a);
    assay_audit(tx, rq, a.id, assay_arena_fmt(rq->arena, "{\"token_id\":\"%.*s\"}", ASSAY_FMT(rq->param[1])));
    rc = assay_store_exec(s->host->store, tx, err);
    if (rc == ASSAY_E_GUARD)
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "the agent has no such token");
    if (rc == ASSAY_OK)
        rs->status = 204;
    return rc;
}

/* ---- workers -------------------------------------------------------------------------------------------- */

/* Renews what the heartbeat names, and says of each what it is now. Only the agent's own token speaks for its leases. */
static int renew(struct service *s, struct assay_request *rq, const struct agent *a, const struct agents_heartbeat_in *in,
                 struct assay_lease **out, struct assay_err *err)
{
    const struct agents_lease_in *given = in->leases.items;
    size_t n = in->leases.n;
    struct assay_lease *list = assay_arena_array(rq->arena, n + 1, sizeof *list);
    struct assay_str holder = assay_arena_fmt(rq->arena, "agent:%.*s", ASSAY_FMT(a->id));
    if (list == NULL || holder.p == NULL)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct assay_lease){given[i].submission_id, given[i].fence, ASSAY_LEASE_LOST};
    *out = list;
    bool able = s->jobs != NULL && s->jobs->size >= sizeof *s->jobs;
    return able && n != 0 ? s->jobs->renew_away(s->jobs_self, holder, list, n, err) : ASSAY_OK;
}

int agents_do_heartbeat(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct service *s = self;
    struct agent a;
    struct agents_heartbeat_in in = {.status = 0};
    int rc = agents_by_id(s->host->store, rq->param[0], rq->arena, &a, err);
    if (rc == ASSAY_OK && !agents_may_report(&a, rq->who))
        rc = assay_err_set(err, ASSAY_E_FORBIDDEN, "only the agent itself, its owner and staff may report for it");
    if (rc == ASSAY_OK && rq->body.n != 0)
        rc = assay_body_json(rq, rs, agents_heartbeat_fields, &in, err);
    struct assay_lease *lease = NULL;
    if (rc == ASSAY_OK && in.leases.n != 0 && !assay_str_eq(rq->who->agent_id, a.id))
        rc = assay_fault(rq, rs, err, "/leases", "only the agent itself renews its leases, with its own token");
    if (rc == ASSAY_OK && in.has_leases)
        rc = renew(s, rq, &a, &in, &lease, err);
    if (rc < 0)
        return rc;
    a.worker_status = assay_str(agents_worker_status_names[in.status]);
    a.worker_version = or_empty(in.version);
    a.worker_capacity = in.capacity;
    a.worker_running = in.running;
    a.seen_ms = now_ms(s);
    struct assay_tx *tx = assay_tx_new(rq->arena, "agents.heartbeat");
    agents_add_heartbeat(tx, &a);
    rc = assay_store_exec(s->host->store, tx, err);
    if (rc < 0 || !in.has_leases)
        return rc < 0 ? rc : reply_agent(rs, 200, &a, err);
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    if (w == NULL)
        return no_memory(err);
    agents_write_heartbeat(w, &a, lease, in.leases.n);
    return assay_reply_json(rs, 200, w, err);
}

/* ---- for the auth gate, and from auth ------------------------------------------------------------------- */

static int token_get(void *self, struct assay_str hash_hex, struct assay_arena *arena, struct assay_agent_token *out,
                     struct assay_err *err)
{
    struct service *s = self;
    return agents_token_by_hash(s->host->store, hash_hex, now_ms(s), arena, out, err);
}

const struct assay_agent_tokens_ops agents_token_ops = {.size = sizeof agents_token_ops, .get = token_get};

int agents_deliver(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    (void)self;
    struct assay_ev_user user = {.epoch = 0};
    int rc = assay_ev_user_decode(ev->ev.payload, tx->arena, &user, err);
    if (rc == ASSAY_OK)
        agents_add_user(tx, ev->ev.subject, user.disabled, ev->seq);
    if (rc == ASSAY_OK && user.erased)
        agents_add_owner_erased(tx, ev->ev.subject, ev->at_ms);
    return rc;
}

int agents_init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL)
        return no_memory(err);
    s->host = host;
    s->jobs = host->need(host->ctx, ASSAY_JOBS_INTERFACE, &s->jobs_self);
    *self = s;
    return ASSAY_OK;
}

void agents_fini(void *self)
{
    free(self);
}
