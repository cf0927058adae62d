/*
 * The outbox: events, the cursors of durable groups, pruning.
 *
 * Events are inserted by the one writer inside the transaction that they tell of, so their sequence
 * follows commit order, and a rolled-back savepoint takes its numbers back: there is no gap.
 *
 * Pruning keeps the newest events_keep events no older than events_keep_age, never goes past the
 * slowest durable cursor, never takes the last event, and works in small bites between groups.
 * How far it went is a row of its own, so a reader whose cursor has expired is told so
 * (ASSAY_E_GONE) whatever became of the rows.
 */
#include "local.h"

#include <errno.h>
#include <string.h>

#define PROBE_BYTES 32768

static const struct assay_stmt st_append = {
    .name = "store.event_append",
    .sql = "INSERT INTO assay_events (at_ms, id, topic, subject, owner, benchmark, payload)"
           " VALUES ($1, $2, $3, $4, $5, $6, $7)",
    .params = "itttttt",
    .columns = "",
    .write = true,
};
static const struct assay_stmt st_read = {
    .name = "store.events",
    .sql = "SELECT seq, at_ms, id, topic, subject, owner, benchmark, payload FROM assay_events"
           " WHERE seq > $1 ORDER BY seq",
    .params = "i",
    .columns = "iitttttt",
};
static const struct assay_stmt st_head = {
    .name = "store.events_head",
    .sql = "SELECT seq FROM sqlite_sequence WHERE name = 'assay_events'",
    .params = "",
    .columns = "i",
};
static const struct assay_stmt st_cursor_new = {
    .name = "store.cursor_new",
    .sql = "INSERT INTO assay_cursors (grp, seq, moved_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    .params = "tii",
    .columns = "",
    .write = true,
};
static const struct assay_stmt st_park = {
    .name = "store.dead_letter",
    .sql = "INSERT INTO assay_dead_letters"
           " (seq, grp, event_id, topic, subject, owner, benchmark, payload, error, parked_ms)"
           " SELECT seq, CAST($1 AS TEXT), id, topic, subject, owner, benchmark, payload, CAST($3 AS TEXT),"
           " CAST($4 AS BIGINT) FROM assay_events WHERE seq = $2",
    .params = "titi",
    .columns = "",
    .write = true,
};
static const struct assay_stmt st_probe = {
    .name = "store.probe",
    /* random, since an unchanged page would not be written */
    .sql = "UPDATE assay_store SET number = number + 1, filler = randomblob($1) WHERE name = 'probe'",
    .params = "i",
    .columns = "",
    .write = true,
};

int sq_events_load(struct sq_store *s, struct assay_err *err)
{
    int64_t head = 0, pruned = 0;
    int st = sq_int(&s->w, &st_head, NULL, 0, 0, &head, err);
    if (st == 0)
        st = sq_int(&s->w, &assay_st_events_pruned, NULL, 0, 0, &pruned, err);
    if (st != 0)
        return st;
    atomic_store(&s->head, head);
    atomic_store(&s->pruned_to, pruned);
    return 0;
}

int sq_events_append(struct sq_store *s, struct assay_tx *tx, struct assay_err *err)
{
    int64_t now = s->host->now_ms(s->host->ctx);
    for (size_t i = 0; i < tx->n_events; i++) {
        const struct assay_event *e = &tx->event[i];
        if (!assay_event_due(tx, e))
            continue;
        char id[ASSAY_ID_SIZE];
        assay_id_new(id);
        int st = SQ_RUN(&s->w, &st_append, NULL, err, ASSAY_VI(now), ASSAY_VZ(id), ASSAY_VT(e->topic),
                        ASSAY_VT(e->subject), ASSAY_VT(e->owner), ASSAY_VT(e->benchmark), ASSAY_VT(e->payload));
        if (st != 0)
            return st;
        tx->last_seq = sqlite3_last_insert_rowid(s->w.db);
    }
    return 0;
}

int sq_cursor_move(struct sq_store *s, const struct assay_tx *tx, struct assay_err *err)
{
    if (tx->cursor_to <= 0)
        return 0;
    if (tx->cursor_group.n == 0 || tx->cursor_to < tx->cursor_from)
        return assay_err_set(err, ASSAY_E_INTERNAL, "%s: a cursor needs a group and goes forward", tx->name);
    int64_t now = s->host->now_ms(s->host->ctx), touched = 0;
    struct assay_val group = ASSAY_VT(tx->cursor_group);
    int st = SQ_RUN(&s->w, &assay_st_cursor_move, &touched, err, group, ASSAY_VI(tx->cursor_from), ASSAY_VI(tx->cursor_to),
                    ASSAY_VI(now));
    if (st == 0 && touched == 0 && tx->cursor_from == 0)
        st = SQ_RUN(&s->w, &st_cursor_new, &touched, err, group, ASSAY_VI(tx->cursor_to), ASSAY_VI(now));
    if (st == 0 && touched != 1)
        st = assay_err_set(err, ASSAY_E_GUARD, "%s: the cursor of %.*s is no longer at %lld", tx->name,
                           ASSAY_FMT(tx->cursor_group), (long long)tx->cursor_from);
    return st;
}

int sq_dead_letter(struct sq_store *s, const struct assay_tx *tx, struct assay_err *err)
{
    const struct assay_dead_letter *d = &tx->dead_letter;
    if (d->seq <= 0)
        return 0;
    int64_t touched = 0;
    int st = SQ_RUN(&s->w, &st_park, &touched, err, ASSAY_VT(d->group), ASSAY_VI(d->seq), ASSAY_VT(d->error),
                    ASSAY_VI(s->host->now_ms(s->host->ctx)));
    if (st == 0 && touched != 1)
        st = assay_err_set(err, ASSAY_E_GUARD, "%s: there is no event %lld to park", tx->name, (long long)d->seq);
    return st;
}

/* One bite. more: there is more to take at once. */
int sq_events_prune(struct sq_store *s, bool *more, struct assay_err *err)
{
    *more = false;
    int64_t from = atomic_load(&s->pruned_to), head = atomic_load(&s->head), old = 0, slowest = 0;
    int st = 0;
    if (s->keep_age_ms > 0) {
        struct assay_val args[] = {ASSAY_VI(from), ASSAY_VI(ASSAY_PRUNE_BITE + 1),
                                   ASSAY_VI(s->host->now_ms(s->host->ctx) - s->keep_age_ms)};
        st = sq_int(&s->w, &assay_st_events_last_old, args, 3, from, &old, err);
    }
    if (st == 0)
        st = sq_int(&s->w, &assay_st_cursor_slowest, NULL, 0, head, &slowest, err);
    if (st != 0)
        return st;
    int64_t to = assay_prune_to(from, head, s->keep, old, slowest, more);
    if (to <= from)
        return 0;
    st = SQ_RUN0(&s->w, &sq_st_begin, err);
    if (st != 0)
        return st;
    int64_t touched = 0;
    st = SQ_RUN(&s->w, &assay_st_events_prune, &touched, err, ASSAY_VI(to));
    if (st == 0)
        st = SQ_RUN(&s->w, &assay_st_events_pruned_set, NULL, err, ASSAY_VI(to));
    /* before the rows vanish for readers: one that asks in between is told GONE too early, never a gap */
    if (st == 0)
        atomic_store(&s->pruned_to, to);
    if (st == 0)
        st = SQ_RUN0(&s->w, &sq_st_commit, err);
    if (st != 0) {
        atomic_store(&s->pruned_to, from);
        if (!sqlite3_get_autocommit(s->w.db))
            (void)sqlite3_exec(s->w.db, "ROLLBACK", NULL, NULL, NULL); /* the first error is the one to tell */
        return st;
    }
    s->host->metric_add(s->host->ctx, &sq_metrics[SQ_METRIC_PRUNED], NULL, (double)touched);
    return 0;
}

int sq_events_probe(struct sq_store *s, struct assay_err *err)
{
    return SQ_RUN(&s->w, &st_probe, NULL, err, ASSAY_VI(PROBE_BYTES));
}

static bool topic_wanted(struct assay_str topic, const char *const *topics)
{
    if (!topics)
        return true;
    for (; *topics; topics++) {
        size_t n = strlen(*topics);
        if (n >= 2 && (*topics)[n - 1] == '*' && (*topics)[n - 2] == '.') {
            if (topic.n >= n - 1 && memcmp(topic.p, *topics, n - 1) == 0)
                return true;
        } else if (topic.n == n && memcmp(topic.p, *topics, n) == 0) {
            return true;
        }
    }
    return false;
}

int sq_events_read(struct sq_store *s, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                   struct assay_event_row **out, size_t *n, struct assay_err *err)
{
    if (after < 0 || max == 0)
        return assay_err_set(err, ASSAY_E_INVALID, "events: after is at least 0 and max at least 1");
    struct sq_conn *c;
    int st = sq_reader_get(s, &c, err);
    if (st != 0)
        return st;
    struct assay_event_row *row = NULL;
    size_t got = 0, room = 0;
    struct sq_cached *q;
    st = sq_cached_get(c, &st_read, &q, err);
    if (st == 0)
        st = sq_bind(c, q, &ASSAY_VI(after), 1, err);
    if (st == 0) {
        while (st == 0 && got < max) {
            errno = 0;
            int rc = sqlite3_step(q->st);
            if (rc == SQLITE_DONE)
                break;
            if (rc != SQLITE_ROW) {
                st = sq_error(c->db, rc, err, st_read.name);
                break;
            }
            struct assay_str topic = {(const char *)sqlite3_column_text(q->st, 3), 0};
            topic.n = (size_t)sqlite3_column_bytes(q->st, 3);
            if (!topic.p || !topic_wanted(topic, topics))
                continue;
            if (got == room) {
                size_t more = room ? room * 2 : 16;
                struct assay_event_row *grown = assay_arena_array(arena, more, sizeof *grown);
                if (!grown) {
                    st = assay_err_set(err, ASSAY_E_NOMEM, "no memory for events");
                    break;
                }
                if (got)
                    memcpy(grown, row, got * sizeof *grown);
                row = grown;
                room = more;
            }
            struct assay_val v[8];
            for (size_t i = 0; st == 0 && i < 8; i++)
                st = sq_column(c, q, i, arena, &v[i], err);
            if (st != 0)
                break;
            struct assay_event_row *r = &row[got++];
            *r = (struct assay_event_row){.seq = v[0].i,
                                          .at_ms = v[1].i,
                                          .ev = {.topic = v[3].s,
                                                 .subject = v[4].s,
                                                 .owner = v[5].s,
                                                 .benchmark = v[6].s,
                                                 .payload = v[7].s}};
            if (v[2].s.n == sizeof r->id - 1)
                memcpy(r->id, v[2].s.p, v[2].s.n);
        }
        sq_done(q);
    }
    sq_reader_put(s, c, st);
    if (st != 0)
        return st;
    /* after the read: what was pruned since is refused, what is pruned later was seen */
    int64_t pruned = atomic_load(&s->pruned_to);
    if (after < pruned)
        return assay_err_set(err, ASSAY_E_GONE, "events up to %lld are gone, asked after %lld", (long long)pruned,
                             (long long)after);
    *out = row;
    *n = got;
    return 0;
}

int sq_cursor_get(struct sq_store *s, struct assay_str group, int64_t *seq, struct assay_err *err)
{
    struct sq_conn *c;
    int st = sq_reader_get(s, &c, err);
    if (st != 0)
        return st;
    st = sq_int(c, &assay_st_cursor, &ASSAY_VT(group), 1, 0, seq, err);
    sq_reader_put(s, c, st);
    return st;
}
