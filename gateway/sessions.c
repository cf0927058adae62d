#include "sessions.h"

#include <stddef.h>

#include <assay/events.h>

enum { M_LOOKUPS };
static const struct assay_metric metric[] = {
    [M_LOOKUPS] = {"assay_session_lookups_total", ASSAY_METRIC_COUNTER,
                   "Accounts looked up for tokens, by who answered: shared, old, store, store_fallback, refused.", "answer", NULL},
};

int assay_shared_accounts_count(struct assay_shared_accounts *a, struct assay_err *err)
{
    return a->metrics != NULL ? assay_metrics_register(a->metrics, (struct assay_table)ASSAY_TABLE(metric), err) : 0;
}

static void count(struct assay_shared_accounts *a, const char *answer)
{
    const char *labels[] = {answer};
    if (a->metrics != NULL)
        assay_metrics_add(a->metrics, &metric[M_LOOKUPS], labels, 1);
}

static _Atomic int64_t *floor_of(struct assay_shared_accounts *a, struct assay_str user_id)
{
    uint32_t h = 2166136261u; /* FNV-1a: ids are made here, so nobody aims */
    for (size_t i = 0; i < user_id.n; i++)
        h = (h ^ (unsigned char)user_id.p[i]) * 16777619u;
    return &a->floor[h % ASSAY_SHARED_FLOORS];
}

/* From now on this gateway believes nobody who says less: not even a state of Redis that is older than what it was itself told. */
static void floor_raise(struct assay_shared_accounts *a, struct assay_str user_id, int64_t epoch)
{
    _Atomic int64_t *floor = floor_of(a, user_id);
    int64_t was = atomic_load(floor);
    while (was < epoch && !atomic_compare_exchange_weak(floor, &was, epoch))
        continue;
}

static int get(void *self, struct assay_str user_id, struct assay_arena *arena, struct assay_account *out, struct assay_err *err)
{
    struct assay_shared_accounts *a = self;
    struct assay_session_state s;
    struct assay_err why = {0, ""};
    int rc = a->sessions.ops->get(a->sessions.self, user_id, &s, &why);
    bool old = rc == ASSAY_OK && s.epoch < atomic_load(floor_of(a, user_id));
    if (rc == ASSAY_OK && !old) {
        count(a, "shared");
        floor_raise(a, user_id, s.epoch);
        *out = (struct assay_account){.user_id = assay_arena_str(arena, user_id), .role = s.role, .epoch = s.epoch, .disabled = s.disabled};
        return out->user_id.p != NULL ? ASSAY_OK : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    bool away = rc != ASSAY_OK && rc != ASSAY_E_NOT_FOUND;
    if (away && a->refuse) {
        count(a, "refused");
        return assay_err_set(err, ASSAY_E_BUSY, "tokens cannot be checked at the moment; try again");
    }
    rc = a->store->get(a->store_self, user_id, arena, out, err);
    count(a, away ? "store_fallback" : old ? "old" : "store");
    if (rc == ASSAY_OK)
        floor_raise(a, user_id, out->epoch);
    if (rc == ASSAY_OK && !away) {
        /* a change that comes between is written with a higher epoch, and stays */
        s = (struct assay_session_state){.epoch = out->epoch, .role = out->role, .disabled = out->disabled};
        (void)a->sessions.ops->put(a->sessions.self, user_id, &s, NULL);
    }
    return rc;
}

/* Which sessions live is the store's to say: nothing of it is shared beside it. */
static int session(void *self, struct assay_str user_id, struct assay_str id, int64_t epoch, struct assay_err *err)
{
    struct assay_shared_accounts *a = self;
    bool asks = a->store->size >= offsetof(struct assay_accounts_ops, session) + sizeof a->store->session && a->store->session != NULL;
    return asks ? a->store->session(a->store_self, user_id, id, epoch, err) : ASSAY_E_NOT_FOUND;
}

const struct assay_accounts_ops assay_shared_accounts_ops = {.size = sizeof assay_shared_accounts_ops, .get = get, .session = session};

static int read_event(const struct assay_event_row *ev, struct assay_session_state *out, struct assay_err *err)
{
    struct assay_ev_user u = {.epoch = 0};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    int rc = arena != NULL ? assay_ev_user_decode(ev->ev.payload, arena, &u, err) : assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (rc == 0)
        *out = (struct assay_session_state){.epoch = u.epoch, .role = assay_role_parse(u.role), .disabled = u.disabled};
    return rc;
}

static int raise_floor(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    struct assay_shared_accounts *a = self;
    struct assay_session_state s;
    (void)tx;
    if (ev == NULL)
        return 0;
    int rc = read_event(ev, &s, err);
    if (rc != 0)
        return rc;
    floor_raise(a, ev->ev.subject, s.epoch);
    if (a->gate != NULL)
        assay_gate_account_changed(a->gate, ev->ev.subject); /* once more: what was looked up since the first may be old */
    return 0;
}

static int tell_driver(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    struct assay_shared_accounts *a = self;
    struct assay_session_state s;
    (void)tx;
    if (ev == NULL)
        return 0;
    int rc = read_event(ev, &s, err);
    return rc != 0 ? rc : a->sessions.ops->put(a->sessions.self, ev->ev.subject, &s, err);
}

static const char *const topics[] = {"user.changed", NULL};
const struct assay_subscription assay_shared_accounts_subs[2] = {
    {.group = "gate_floors", .topics = topics, .kind = ASSAY_SUB_LOCAL, .deliver = raise_floor},
    {.group = "gate_sessions", .topics = topics, .kind = ASSAY_SUB_LOCAL, .deliver = tell_driver},
};

int assay_shared_accounts_health(struct assay_shared_accounts *a, struct assay_err *err)
{
    struct assay_err why = {0, ""};
    struct assay_session_state ignored;
    int rc = a->sessions.ops->health(a->sessions.self, &why);
    if (rc != 0) { /* whoever is not ready gets no requests that would find out */
        (void)a->sessions.ops->get(a->sessions.self, ASSAY_STR("probe"), &ignored, NULL);
        rc = a->sessions.ops->health(a->sessions.self, &why);
    }
    if (rc == 0)
        return 0;
    if (a->refuse)
        return assay_err_set(err, rc, "%s; tokens are refused with 503 meanwhile (session_fallback=refuse)", why.msg);
    (void)assay_err_set(err, 0, "%s; the store answers meanwhile (session_fallback=store)", why.msg);
    return 0;
}
