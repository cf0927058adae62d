/*
 * The outbox: events, the cursors of durable groups, pruning.
 *
 * The sequence is a row of its own ('head'), moved in the transaction whose events it numbers, as that
 * transaction's last work before COMMIT.  Its row lock is held until the commit is done, by one writer of one
 * process at a time: so sequence follows commit order whatever the number of gateways, and a rolled-back
 * transaction gives its numbers back.  A reader that sees event n sees all before it.
 *
 * Pruning keeps the newest events_keep events no older than events_keep_age, never goes past the slowest durable
 * cursor, never takes the last event, and works in small bites between groups, in one process at a time
 * (an advisory lock).  How far it went is a row in the same transaction: a reader reads events first and
 * that row after, so an expired cursor is told so (ASSAY_E_GONE) whatever became of the rows.
 */
#include "local.h"

#include <string.h>


const struct assay_stmt pg_st_head_move = {
    .name = "store.head_move",
    .sql = "UPDATE assay_store SET number = number + $1 WHERE name = 'head' RETURNING number",
    .params = "i",
    .columns = "i",
    .write = true,
};
const struct assay_stmt pg_st_append = {
    .name = "store.event_append",
    .sql = "INSERT INTO assay_events (seq, at_ms, id, topic, subject, owner, benchmark, payload)"
           " SELECT number - $1, $2, $3, $4, $5, $6, $7, $8 FROM assay_store WHERE name = 'head'",
    .params = "iitttttt",
    .columns = "",
    .write = true,
};
const struct assay_stmt pg_st_seq_of = {
    .name = "store.event_seq",
    .sql = "SELECT seq FROM assay_events WHERE seq > $1 AND id = $2",
    .params = "it",
    .columns = "i",
};
static const struct assay_stmt st_read = {
    .name = "store.events",
    .sql = "SELECT seq, at_ms, id, topic, subject, owner, benchmark, payload FROM assay_events WHERE seq > $1"
           " AND ($2 IS NULL OR topic = ANY (string_to_array($2, ',')) OR topic LIKE ANY (string_to_array($3, ',')))"
           " ORDER BY seq LIMIT $4",
    .params = "itti",
    .columns = "iitttttt",
};
static const struct assay_stmt st_head = {
    .name = "store.events_head",
    .sql = "SELECT number FROM assay_store WHERE name = 'head'",
    .params = "",
    .columns = "i",
};
const struct assay_stmt pg_st_cursor_new = {
    .name = "store.cursor_new",
    .sql = "INSERT INTO assay_cursors (grp, seq, moved_ms) VALUES ($1, $2, $3)"
           " ON CONFLICT (grp) DO UPDATE SET seq = EXCLUDED.seq, moved_ms = EXCLUDED.moved_ms WHERE assay_cursors.seq = 0",
    .params = "tii",
    .columns = "",
    .write = true,
};
const struct assay_stmt pg_st_park = {
    .name = "store.dead_letter",
    .sql = "INSERT INTO assay_dead_letters (seq, grp, event_id, topic, subject, owner, benchmark, payload, error, parked_ms)"
           " SELECT seq, $1, id, topic, subject, owner, benchmark, payload, $3, $4 FROM assay_events WHERE seq = $2",
    .params = "titi",
    .columns = "",
    .write = true,
};
static const struct assay_stmt st_only_one = {
    .name = "store.prune_lock",
    .sql = "SELECT CASE WHEN pg_try_advisory_xact_lock($1) THEN 1 ELSE 0 END",
    .params = "i",
    .columns = "i",
};
static const struct assay_stmt st_probe = {
    .name = "store.probe",
    .sql = "UPDATE assay_store SET number = number + 1 WHERE name = 'probe'",
    .params = "",
    .columns = "",
    .write = true,
};

int pg_events_load(struct pg_store *s, struct assay_err *err)
{
    int64_t head = 0;
    int st = pg_int(s, &s->w, &st_head, NULL, 0, 0, &head, err);
    if (st == 0)
        atomic_store(&s->head, head);
    return st;
}

static int prune_bite(struct pg_store *s, bool *more, int64_t *touched, struct assay_err *err)
{
    int64_t mine = 0, from = 0, head = 0, old = 0, slowest = 0;
    int st = pg_int(s, &s->w, &st_only_one, &ASSAY_VI(PG_LOCK_PRUNE), 1, 0, &mine, err);
    if (st == 0 && mine != 1)
        return 0; /* another gateway is at it */
    if (st == 0)
        st = pg_int(s, &s->w, &assay_st_events_pruned, NULL, 0, 0, &from, err);
    if (st == 0)
        st = pg_int(s, &s->w, &st_head, NULL, 0, 0, &head, err);
    if (st == 0 && s->keep_age_ms > 0) {
        struct assay_val args[] = {ASSAY_VI(from), ASSAY_VI(ASSAY_PRUNE_BITE + 1),
                                   ASSAY_VI(s->host->now_ms(s->host->ctx) - s->keep_age_ms)};
        st = pg_int(s, &s->w, &assay_st_events_last_old, args, 3, from, &old, err);
    }
    if (st == 0)
        st = pg_int(s, &s->w, &assay_st_cursor_slowest, NULL, 0, head, &slowest, err);
    if (st != 0)
        return st;
    int64_t to = assay_prune_to(from, head, s->keep, old, slowest, more);
    if (to <= from)
        return 0;
    st = PG_RUN(s, &s->w, &assay_st_events_prune, touched, err, ASSAY_VI(to));
    if (st == 0)
        st = PG_RUN(s, &s->w, &assay_st_events_pruned_set, NULL, err, ASSAY_VI(to));
    return st;
}

int pg_events_prune(struct pg_store *s, bool *more, struct assay_err *err)
{
    int64_t touched = 0;
    *more = false;
    int st = pg_text(s, &s->w, "BEGIN", "prune", err);
    if (st == 0)
        st = prune_bite(s, more, &touched, err);
    if (st == 0)
        st = pg_text(s, &s->w, "COMMIT", "prune", err);
    if (st != 0) {
        struct assay_err ignored; /* the first error is the one to tell */
        if (pg_text(s, &s->w, "ROLLBACK", "prune", &ignored) != 0)
            pg_close(&s->w);
        *more = false;
        return st;
    }
    if (touched > 0)
        s->host->metric_add(s->host->ctx, &pg_metrics[PG_METRIC_PRUNED], NULL, (double)touched);
    return 0;
}

int pg_events_probe(struct pg_store *s, struct assay_err *err)
{
    return pg_run(s, &s->w, &st_probe, NULL, 0, NULL, NULL, NULL, err);
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

struct reading {
    int64_t after, max, pruned;
    struct assay_str exact, like; /* comma-separated; exact.p NULL: all topics */
    struct assay_arena *arena;
    struct assay_rows rows;
};

/* Topics are words of [a-z_.]; "prefix.*" becomes a LIKE pattern, with the underscore taken literally. */
static int topics_split(const char *const *topics, struct reading *r, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf exact = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf like = ASSAY_BUF_INIT;
    if (!topics)
        return 0;
    for (; *topics; topics++) {
        size_t n = strlen(*topics);
        bool open = n >= 2 && strcmp(*topics + n - 2, ".*") == 0;
        struct assay_buf *b = open ? &like : &exact;
        if (strchr(*topics, ','))
            return assay_err_set(err, ASSAY_E_INVALID, "a topic with a comma");
        if (b->n)
            assay_buf_putc(b, ',');
        for (size_t i = 0; i < n - (open ? 1 : 0); i++) {
            if (open && ((*topics)[i] == '_' || (*topics)[i] == '%' || (*topics)[i] == '\\'))
                assay_buf_putc(b, '\\');
            assay_buf_putc(b, (*topics)[i]);
        }
        if (open)
            assay_buf_putc(b, '%');
    }
    r->exact = assay_arena_str(r->arena, assay_buf_view(&exact));
    r->like = assay_arena_str(r->arena, assay_buf_view(&like));
    if (exact.failed || like.failed || !r->exact.p || !r->like.p)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for topics");
    return 0;
}

static int read_events(struct pg_store *s, struct pg_conn *c, void *arg, struct assay_err *err)
{
    struct reading *r = arg;
    struct assay_val args[] = {ASSAY_VI(r->after), r->exact.p ? ASSAY_VT(r->exact) : ASSAY_VNULL,
                               r->exact.p ? ASSAY_VT(r->like) : ASSAY_VNULL, ASSAY_VI(r->max)};
    int st = pg_run(s, c, &st_read, args, 4, r->arena, &r->rows, NULL, err);
    /* after the read: what was pruned since is refused, what is pruned later was seen */
    return st == 0 ? pg_int(s, c, &assay_st_events_pruned, NULL, 0, 0, &r->pruned, err) : st;
}

int pg_events_read(struct pg_store *s, int64_t after, const char *const *topics, size_t max, struct assay_arena *arena,
                   struct assay_event_row **out, size_t *n, struct assay_err *err)
{
    struct reading r = {.after = after, .max = max > INT32_MAX ? INT32_MAX : (int64_t)max, .arena = arena};
    if (after < 0 || max == 0)
        return assay_err_set(err, ASSAY_E_INVALID, "events: after is at least 0 and max at least 1");
    int st = topics_split(topics, &r, err);
    if (st == 0)
        st = pg_read(s, read_events, &r, err);
    if (st != 0)
        return st;
    if (after < r.pruned)
        return assay_err_set(err, ASSAY_E_GONE, "events up to %lld are gone, asked after %lld", (long long)r.pruned, (long long)after);
    struct assay_event_row *row = r.rows.n ? assay_arena_array(arena, r.rows.n, sizeof *row) : NULL;
    if (r.rows.n && !row)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for events");
    for (size_t i = 0; i < r.rows.n; i++) {
        const struct assay_val *v = r.rows.row[i].col;
        row[i] = (struct assay_event_row){.seq = v[0].i,
                                          .at_ms = v[1].i,
                                          .ev = {.topic = v[3].s, .subject = v[4].s, .owner = v[5].s, .benchmark = v[6].s, .payload = v[7].s}};
        if (v[2].s.n == sizeof row[i].id - 1)
            memcpy(row[i].id, v[2].s.p, v[2].s.n);
    }
    *out = row;
    *n = r.rows.n;
    return 0;
}

static int read_head(struct pg_store *s, struct pg_conn *c, void *arg, struct assay_err *err)
{
    return pg_int(s, c, &st_head, NULL, 0, 0, arg, err);
}

int pg_events_head(struct pg_store *s, int64_t *seq, struct assay_err *err)
{
    return pg_read(s, read_head, seq, err);
}

struct cursor {
    struct assay_str group;
    int64_t seq;
};

static int read_cursor(struct pg_store *s, struct pg_conn *c, void *arg, struct assay_err *err)
{
    struct cursor *k = arg;
    return pg_int(s, c, &assay_st_cursor, &ASSAY_VT(k->group), 1, 0, &k->seq, err);
}

int pg_cursor_get(struct pg_store *s, struct assay_str group, int64_t *seq, struct assay_err *err)
{
    struct cursor k = {.group = group};
    int st = pg_read(s, read_cursor, &k, err);
    if (st == 0)
        *seq = k.seq;
    return st;
}
