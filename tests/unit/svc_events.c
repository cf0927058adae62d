#include "svc_impl.h"

static bool topic_matches(struct assay_str topic, const char *const *patterns)
{
    if (patterns == NULL)
        return true;
    for (; *patterns != NULL; patterns++) {
        struct assay_str p = assay_str(*patterns);
        if (p.n >= 2 && assay_str_ends(p, ".*") ? topic.n > p.n - 1 && memcmp(topic.p, p.p, p.n - 1) == 0
                                                : assay_str_eq(topic, p))
            return true;
    }
    return false;
}

/* One batch of one durable group, as the host does it: what deliver adds, and the cursor, in one commit. */
static size_t deliver_durable(struct svc *h, struct loaded *l, const struct assay_subscription *s)
{
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    int64_t from = 0;
    struct assay_event_row *ev = NULL;
    size_t n = 0;
    struct assay_str group = assay_str(s->group);
    if (h->store.ops->cursor_get(h->store.self, group, &from, &err) < 0 ||
        h->store.ops->events(h->store.self, from, s->topics, s->batch != 0 ? s->batch : 64, arena, &ev, &n, &err) < 0)
        svc_die("%s: reading events: %s", s->group, err.msg);
    int64_t head = 0;
    if (n == 0 && h->store.ops->events_head(h->store.self, &head, &err) < 0)
        svc_die("events_head: %s", err.msg);
    if (n == 0) { /* what it did not ask for is not read over and over */
        struct assay_tx *skip = assay_tx_new(arena, "skip");
        skip->cursor_group = group;
        skip->cursor_from = from;
        skip->cursor_to = head;
        if (head > from + 1000 && h->store.ops->events(h->store.self, from, s->topics, 1, arena, &ev, &n, &err) == 0 && n == 0 &&
            assay_store_exec(&h->store, skip, &err) < 0)
            svc_die("%s: moving on: %s", s->group, err.msg);
        return 0;
    }
    struct assay_tx *tx;
    for (;;) { /* what does not fit is halved */
        tx = assay_tx_new(arena, "deliver");
        for (size_t i = 0; i < n; i++) {
            if (s->deliver(l->self, &ev[i], tx, &err) < 0)
                svc_die("%s: event %.*s: %s", s->group, ASSAY_FMT(ev[i].ev.topic), err.msg);
        }
        if (s->settle != NULL && s->settle(l->self, ev, n, tx, &err) < 0)
            svc_die("%s: settling: %s", s->group, err.msg);
        if (!tx->failed || n == 1)
            break;
        n /= 2;
    }
    tx->cursor_group = group;
    tx->cursor_from = from;
    tx->cursor_to = ev[n - 1].seq;
    if (assay_store_exec(&h->store, tx, &err) < 0)
        svc_die("%s: delivery: %s", s->group, err.msg);
    return n;
}

void svc_pump(struct svc *h)
{
    struct assay_err err = {0, ""};
    size_t did;
    do {
        did = 0;
        int64_t head = 0;
        if (h->store.ops->events_head(h->store.self, &head, &err) < 0)
            svc_die("events_head: %s", err.msg);
        for (size_t p = 1; p < h->n_plugins; p++) {
            const struct assay_table *t = &h->plugin[p].pl->subscriptions;
            for (uint32_t i = 0; i < t->count; i++) {
                const struct assay_subscription *s = (const void *)((const char *)t->rows + (size_t)i * t->stride);
                if (s->kind == ASSAY_SUB_DURABLE) {
                    did += deliver_durable(h, &h->plugin[p], s);
                } else if (s->kind == ASSAY_SUB_BELL) {
                    if (s->deliver(h->plugin[p].self, NULL, NULL, &err) < 0)
                        svc_die("%s: bell: %s", h->plugin[p].name, err.msg);
                } else {
                    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
                    struct assay_event_row *ev = NULL;
                    size_t n = 0;
                    if (h->store.ops->events(h->store.self, h->local_seen, s->topics, 10000, arena, &ev, &n, &err) < 0)
                        svc_die("reading events: %s", err.msg);
                    for (size_t k = 0; k < n; k++) {
                        if (s->deliver(h->plugin[p].self, &ev[k], NULL, &err) < 0)
                            svc_die("%s: local event: %s", h->plugin[p].name, err.msg);
                    }
                }
            }
        }
        h->local_seen = head;
    } while (did != 0);
}

void svc_publish(struct svc *h, const char *topic, const char *subject, const char *owner, const char *payload)
{
    struct assay_err err = {0, ""};
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = assay_tx_new(arena, "test.publish");
    assay_tx_event(tx, (struct assay_event){.topic = assay_str(topic), .subject = assay_str(subject),
                                            .owner = assay_str(owner != NULL ? owner : ""), .benchmark = ASSAY_STR(""),
                                            .payload = assay_str(payload)});
    if (assay_store_exec(&h->store, tx, &err) < 0)
        svc_die("publish: %s", err.msg);
}

static struct assay_event_row *all_events(struct svc *h, size_t *n)
{
    struct assay_err err = {0, ""};
    struct assay_event_row *ev = NULL;
    if (h->store.ops->events(h->store.self, 0, NULL, 10000, h->arena, &ev, n, &err) < 0)
        svc_die("events: %s", err.msg);
    return ev;
}

const struct assay_event_row *svc_event(struct svc *h, const char *topic, size_t skip)
{
    size_t n = 0;
    const char *const patterns[] = {topic, NULL};
    struct assay_event_row *ev = all_events(h, &n);
    while (n-- > 0) {
        if (topic_matches(ev[n].ev.topic, patterns) && skip-- == 0)
            return &ev[n];
    }
    return NULL;
}

size_t svc_count_events(struct svc *h, const char *topic)
{
    size_t n = 0, count = 0;
    const char *const patterns[] = {topic, NULL};
    struct assay_event_row *ev = all_events(h, &n);
    for (size_t i = 0; i < n; i++)
        count += topic_matches(ev[i].ev.topic, patterns);
    return count;
}
