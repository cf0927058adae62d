/*
 * Event streams: GET /events and GET /submissions/{id}/events.
 *
 * Theory of operation.  The log of events is the truth; a stream is a place in it, `seen`.  One subscription of this
 * process brings each event once, in order, and writes it to every stream that is LIVE, which means that it has seen all
 * that came before.  Everything else is BEHIND: a stream that resumes with Last-Event-ID, and one whose client did
 * not read fast enough.  Those that have missed no more than the last events, which are kept (stream_tail.c), are told them at once.
 * The others are brought forward by reading the log itself, a page at a time, CATCHING_MAX of them
 * at once so that they cannot take all worker threads, and become LIVE under the lock when they have reached what
 * the subscription has brought.  So nothing is kept in memory for a slow reader, there is no gap, and no event is
 * told twice.
 *
 *   open ─▶ BEHIND ─▶ (the last events, or the log) ─▶ LIVE ─▶ (no room) ─▶ STUCK ─▶ (room) ─▶ BEHIND
 *
 * A STUCK stream whose client takes nothing for stuck_ms is cut off.  A stream ends by itself with its submission, after
 * age_max_ms (access tokens live as long: the client comes back with Last-Event-ID), and when the server stops.
 *
 * The hub's lock guards the lists, one for each state.  `owned`: a worker reads for the stream, and nobody else calls the
 * host for its ticket.  The host calls on_room on an event loop, when there is room and when the client has left: it only sets
 * a flag and leaves the rest to a worker, one for all that are flagged by then.
 */
#include "local.h"

#include <stdio.h>
#include <unistd.h>

#define PAGE 200
#define CATCHING_MAX 4
#define TICK_MS 1000
#define POSITIONS 1000 /* places of the queue that are told; beyond it is "more than that" */
#define POSITION_TICKS 2
#define STOP_MS 5000
#define TAIL_AGE_MS 600000

enum stream_state { STREAM_BEHIND, STREAM_LIVE, STREAM_STUCK, STREAM_STATES };

struct stream {
    struct stream *next, **link; /* of its state's list */
    struct submissions *s;
    assay_ticket ticket;
    struct stream_filter filter;
    enum stream_state state;
    bool owned, ending;
    atomic_bool room;
    int64_t seen;
    int64_t began_ms, spoke_ms, stuck_ms; /* monotonic */
    bool queued;                          /* a single submission that was last said to be queued */
    int64_t position;
};

struct stream_hub {
    pthread_mutex_t lock; /* guards all below */
    struct stream *list[STREAM_STATES];
    size_t n, max, n_catching;
    int64_t last; /* the last event that the subscription brought */
    int64_t heartbeat_ms, stuck_ms, age_max_ms;
    bool stopping;
    unsigned ticks;
    struct known_benchmark {
        struct known_benchmark *next;
        struct stream_benchmark b;
        char id[STREAM_SLUG], owner[STREAM_SLUG];
    } *benchmarks;
    size_t n_benchmarks;
    struct assay_buf said[VOICES]; /* the event under way, when it is not in the tail: told once per voice */
    struct stream_tail *tail;
    int64_t changed; /* the change of a benchmark that our projection may not show yet; 0: none */
    atomic_bool looking; /* after_room is under way, and will look at all that are flagged */
};

static int64_t mono_ms(const struct submissions *s)
{
    return s->host->mono_ns(s->host->ctx) / 1000000;
}

static void count(struct submissions *s, const char *how)
{
    const char *label[] = {how};
    s->host->metric_add(s->host->ctx, &submissions_metrics[METRIC_STREAM_ENDS], label, 1);
}

static void show(struct submissions *s)
{
    s->host->metric_set(s->host->ctx, &submissions_metrics[METRIC_STREAMS], NULL, (double)s->hub->n);
}

/* ---- the list ------------------------------------------------------------------------------------ */

static void list_in(struct stream_hub *h, struct stream *st)
{
    struct stream **first = &h->list[st->state];
    st->next = *first;
    st->link = first;
    if (st->next != NULL)
        st->next->link = &st->next;
    *first = st;
}

static void list_out(struct stream *st)
{
    *st->link = st->next;
    if (st->next != NULL)
        st->next->link = st->link;
}

static void set_state(struct stream *st, enum stream_state state)
{
    if (st->state == state)
        return;
    list_out(st);
    st->state = state;
    list_in(st->s->hub, st);
}

/* With the lock; the stream is nobody's. how: for the metric. */
static void end(struct stream *st, int status, const char *how)
{
    struct submissions *s = st->s;
    list_out(st);
    s->hub->n--;
    s->host->stream_end(s->host->ctx, st->ticket, status);
    count(s, how);
    show(s);
    free(st);
}

/* With the lock. True: it has gone. */
static bool wrote(struct stream *st, int rc)
{
    if (rc == ASSAY_E_GONE) {
        end(st, ASSAY_OK, "left");
        return true;
    }
    if (rc < 0) { /* from the log, later: when there is room, or at the next tick when something else is wrong */
        set_state(st, STREAM_STUCK);
        st->stuck_ms = mono_ms(st->s);
        if (rc != ASSAY_E_BUSY)
            atomic_store(&st->room, true);
    } else {
        st->spoke_ms = mono_ms(st->s);
    }
    return false;
}

static int write_all(struct stream *st, struct assay_str text)
{
    const struct assay_host *host = st->s->host;
    /* in one piece, so that an event is there as a whole or not at all; stream_tell keeps it under the bound */
    return host->stream_write(host->ctx, st->ticket, text.p, text.n, 0);
}

/* ---- what is known of benchmarks -------------------------------------------------------------------- */

#define BENCHMARKS_MAX 4096

static struct known_benchmark *benchmark_entry(struct stream_hub *h, struct assay_str id)
{
    for (struct known_benchmark *k = h->benchmarks; k != NULL; k = k->next) {
        if (assay_str_is(id, k->id))
            return k;
    }
    return NULL;
}

static void benchmark_keep(struct stream_hub *h, struct assay_str id, struct assay_str owner, int64_t visibility)
{
    struct known_benchmark *k = benchmark_entry(h, id);
    if (k == NULL && h->n_benchmarks < BENCHMARKS_MAX && id.n < sizeof k->id && (k = calloc(1, sizeof *k)) != NULL) {
        k->next = h->benchmarks;
        h->benchmarks = k;
        h->n_benchmarks++;
    }
    if (k == NULL)
        return;
    snprintf(k->id, sizeof k->id, "%.*s", ASSAY_FMT(id));
    snprintf(k->owner, sizeof k->owner, "%.*s", ASSAY_FMT(owner));
    k->b = (struct stream_benchmark){.known = true, .owner_id = assay_str(k->owner), .visibility = visibility};
}

/* Of the event's benchmark, with the lock; unknown to the store, it is nobody's and private. */
static struct stream_benchmark benchmark_of(struct submissions *s, const struct assay_event_row *ev, struct assay_arena *arena)
{
    struct assay_str id = assay_str_is(ev->ev.topic, "leaderboard.updated") ? ev->ev.subject : ev->ev.benchmark;
    struct known_benchmark *k = id.n != 0 ? benchmark_entry(s->hub, id) : NULL;
    struct stream_benchmark b = {.known = false};
    if (k != NULL || id.n == 0)
        return k != NULL ? k->b : b;
    if (repo_stream_benchmark(s, id, arena, &b, NULL) < 0 || !b.known)
        return (struct stream_benchmark){.known = false};
    benchmark_keep(s->hub, id, b.owner_id, b.visibility);
    return b;
}

static void benchmark_changed(struct submissions *s, const struct assay_event_row *ev, struct assay_arena *arena)
{
    struct assay_ev_benchmark b = {.visibility = ASSAY_VISIBLE_PRIVATE};
    /* its feedback policy may be another; kept also when it is new to us, for our projection may still show the old one */
    s->hub->changed = ev->seq;
    stream_tail_forget(s->hub->tail, ASSAY_STR(""), ev->ev.subject);
    if (assay_ev_benchmark_decode(ev->ev.payload, arena, &b, NULL) == 0)
        benchmark_keep(s->hub, ev->ev.subject, b.deleted ? ASSAY_STR("") : b.owner_id, b.deleted ? ASSAY_VISIBLE_PRIVATE : b.visibility);
}

/* ---- one event to one stream ------------------------------------------------------------------------- */

/* With the lock. Tells it in the stream's voice, into said; NULL: it is not for this stream (or cannot be told now: rc). */
static const struct assay_buf *tell(struct stream *st, const struct assay_event_row *ev, const struct stream_benchmark *b,
                                    struct assay_buf said_in[VOICES], struct assay_arena *arena, int *rc)
{
    struct submissions *s = st->s;
    *rc = ASSAY_OK;
    enum voice voice = stream_wants(&st->filter, ev) ? stream_voice(&st->filter, b, ev) : VOICE_NONE;
    if (voice == VOICE_NONE)
        return NULL;
    struct assay_buf *said = &said_in[voice];
    if (said->n == 0) {
        struct viewer v = {.user_id = ev->ev.owner, .agent_id = ASSAY_STR(""), .staff = voice == VOICE_ALL};
        *rc = stream_tell(s, ev, &v, arena, said, NULL);
        if (*rc < 0)
            assay_buf_reset(said);
    }
    return *rc < 0 ? NULL : said;
}

static void new_event(struct stream_hub *h)
{
    for (size_t v = 0; v < VOICES; v++)
        assay_buf_reset(&h->said[v]);
}

/* What the stream remembers of what it has said. True: its submission has ended, and so has the stream. */
static bool note(struct stream *st, const struct assay_event_row *ev)
{
    if (st->filter.submission[0] == '\0')
        return false;
    st->queued = strcmp(stream_name(ev->ev.topic), "queued") == 0;
    st->position = -1;
    return stream_ends(ev->ev.topic);
}

/* With the lock. One event, to a stream that has seen all before it; said: of that event. True: the stream has gone. */
static bool bring(struct stream *st, const struct assay_event_row *ev, struct assay_buf said_in[VOICES], struct stream_benchmark *b, bool *asked,
                  struct assay_arena *arena)
{
    int rc = ASSAY_OK;
    const struct assay_buf *said = NULL;
    if (stream_wants(&st->filter, ev)) {
        if (!*asked)
            *b = benchmark_of(st->s, ev, arena);
        *asked = true;
        said = tell(st, ev, b, said_in, arena, &rc);
    }
    if (said != NULL)
        rc = write_all(st, assay_buf_view(said));
    if (rc >= 0)
        st->seen = ev->seq;
    bool over = said != NULL && rc >= 0 && note(st, ev);
    if ((said != NULL || rc < 0) && wrote(st, rc))
        return true;
    if (over)
        end(st, ASSAY_OK, "ended");
    return over;
}

int stream_on_event(void *self, const struct assay_event_row *ev, struct assay_tx *tx, struct assay_err *err)
{
    struct submissions *s = self;
    struct stream_hub *h = s->hub;
    (void)tx;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    if (arena == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    pthread_mutex_lock(&h->lock);
    if (assay_str_is(ev->ev.topic, "benchmark.changed")) {
        benchmark_changed(s, ev, arena);
        pthread_mutex_unlock(&h->lock);
        return ASSAY_OK;
    }
    if (assay_str_is(ev->ev.topic, "submission.deleted"))
        stream_tail_forget(h->tail, ev->ev.subject, ASSAY_STR(""));
    new_event(h);
    struct tail_event *kept = ev->seq > h->last ? stream_tail_add(h->tail, ev) : NULL;
    struct stream_benchmark b = {.known = false};
    bool asked = false;
    for (struct stream *st = h->list[STREAM_LIVE], *next; st != NULL; st = next) {
        next = st->next;
        if (!st->owned && st->seen < ev->seq)
            (void)bring(st, ev, kept != NULL ? kept->said : h->said, kept != NULL ? &kept->benchmark : &b, kept != NULL ? &kept->asked : &asked,
                        arena);
    }
    if (kept != NULL)
        stream_tail_told(h->tail, kept);
    if (ev->seq > h->last)
        h->last = ev->seq;
    pthread_mutex_unlock(&h->lock);
    return ASSAY_OK;
}

/* ---- from the last events --------------------------------------------------------------------------------- */

/* With the lock. Whether texts that are made now show each benchmark as the last event of it has it: what was made before does not. */
static bool settled(struct submissions *s)
{
    struct stream_hub *h = s->hub;
    const struct assay_store *store = s->host->store;
    int64_t shown = 0;
    struct assay_err err;
    if (h->changed == 0)
        return true;
    if (store->ops->cursor_get(store->self, ASSAY_STR(SUBMISSIONS_GROUP), &shown, &err) < 0 || shown < h->changed)
        return false;
    h->changed = 0;
    stream_tail_forget_all(h->tail);
    return true;
}

/* With the lock, a stream that is BEHIND and nobody's. False: it needs the log. Else it is LIVE, STUCK or gone.  Old events are told from
 * the log, so that none outlives there what retention has taken away. */
static bool from_the_tail(struct stream *st, struct assay_arena *arena)
{
    struct stream_hub *h = st->s->hub;
    const struct tail_event *next = stream_tail_after(h->tail, st->seen);
    if (!stream_tail_covers(h->tail, st->seen) || (next != NULL && next->row.at_ms < assay_now_ms() - TAIL_AGE_MS) || !settled(st->s))
        return false;
    set_state(st, STREAM_LIVE);
    for (struct tail_event *e; st->state == STREAM_LIVE && (e = stream_tail_after(h->tail, st->seen)) != NULL;) {
        bool gone = bring(st, &e->row, e->said, &e->benchmark, &e->asked, arena);
        stream_tail_told(h->tail, e);
        if (gone)
            return true;
    }
    return true;
}

/* ---- from the log ------------------------------------------------------------------------------------- */

static void catch_up(void *arg);

/* With the lock, a stream that is nobody's: if it was flagged, whether its client has left, which only a write tells. True: it has gone. */
static bool look(struct stream *st)
{
    if (!atomic_exchange(&st->room, false))
        return false;
    if (wrote(st, write_all(st, ASSAY_STR(":\n\n"))))
        return true;
    if (st->state == STREAM_STUCK && !atomic_load(&st->room))
        set_state(st, STREAM_BEHIND);
    return false;
}

/* With the lock: all that were flagged. */
static void look_at_all(struct stream_hub *h)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    for (int state = 0; state < STREAM_STATES; state++) {
        for (struct stream *st = h->list[state], *next; st != NULL; st = next) {
            next = st->next;
            if (!st->owned && !look(st) && st->state == STREAM_BEHIND && arena != NULL)
                (void)from_the_tail(st, arena);
        }
    }
}

/* With the lock: brings forward those that are behind, or gives them workers as far as there are any to give. */
static void send_workers(struct submissions *s)
{
    struct stream_hub *h = s->hub;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = h->list[STREAM_BEHIND] != NULL ? assay_arena_new(0) : NULL;
    for (struct stream *st = h->list[STREAM_BEHIND], *next; st != NULL && h->n_catching < CATCHING_MAX && !h->stopping; st = next) {
        next = st->next;
        if (st->owned || (arena != NULL && from_the_tail(st, arena)))
            continue;
        st->owned = true;
        h->n_catching++;
        if (s->host->offload(s->host->ctx, catch_up, st) < 0) { /* the next tick tries again */
            st->owned = false;
            h->n_catching--;
            return;
        }
    }
}

/* One page, without the lock but for telling. n: events read. */
static int one_page(struct stream *st, struct assay_arena *arena, size_t *n, bool *over)
{
    struct submissions *s = st->s;
    const struct assay_store *store = s->host->store;
    struct assay_event_row *ev = NULL;
    struct assay_err err;
    *n = 0;
    int rc = store->ops->events(store->self, st->seen, stream_topics, PAGE, arena, &ev, n, &err);
    if (rc == ASSAY_E_GONE) {
        /* what came between has been pruned: said, and then on from now */
        static const char reset[] = "event: reset\ndata: {\"reason\":\"events after the last one you saw are no longer kept\"}\n\n";
        int64_t head = 0;
        rc = store->ops->events_head(store->self, &head, &err);
        if (rc >= 0)
            rc = write_all(st, ASSAY_STR(reset));
        if (rc >= 0)
            st->seen = head;
        return rc;
    }
    for (size_t i = 0; rc >= 0 && i < *n && !*over; i++) {
        pthread_mutex_lock(&s->hub->lock);
        new_event(s->hub);
        struct stream_benchmark b = {.known = false};
        if (stream_wants(&st->filter, &ev[i]))
            b = benchmark_of(s, &ev[i], arena);
        const struct assay_buf *said = tell(st, &ev[i], &b, s->hub->said, arena, &rc);
        if (said != NULL)
            rc = write_all(st, assay_buf_view(said));
        pthread_mutex_unlock(&s->hub->lock);
        if (rc >= 0) {
            st->seen = ev[i].seq;
            *over = said != NULL && note(st, &ev[i]);
        }
    }
    return rc;
}

static void catch_up(void *arg)
{
    struct stream *st = arg;
    struct submissions *s = st->s;
    struct stream_hub *h = s->hub;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    size_t n = 0;
    bool over = false;
    int rc = arena != NULL ? one_page(st, arena, &n, &over) : ASSAY_E_NOMEM;
    pthread_mutex_lock(&h->lock);
    st->owned = false;
    h->n_catching--;
    if (st->ending || h->stopping)
        end(st, ASSAY_OK, "stopped");
    else if (wrote(st, rc))
        ;
    else if (over)
        end(st, ASSAY_OK, "ended");
    else if ((rc >= 0 || rc == ASSAY_E_BUSY) && !look(st) && st->state == STREAM_BEHIND && !from_the_tail(st, arena) && n < PAGE &&
             st->seen >= h->last)
        set_state(st, STREAM_LIVE); /* all that was in the log when it was read, and nothing has come since */
    send_workers(s);
    pthread_mutex_unlock(&h->lock);
}

/* The flagged streams read on, or have gone. */
static void after_room(void *arg)
{
    struct submissions *s = arg;
    struct stream_hub *h = s->hub;
    atomic_store(&h->looking, false); /* who is flagged from here on asks for another round */
    pthread_mutex_lock(&h->lock);
    look_at_all(h);
    send_workers(s);
    pthread_mutex_unlock(&h->lock);
}

/* On an event loop. When no worker is to be had the next tick looks. */
static void on_room(void *arg)
{
    struct stream *st = arg;
    struct submissions *s = st->s;
    atomic_store(&st->room, true);
    if (!atomic_exchange(&s->hub->looking, true) && s->host->offload(s->host->ctx, after_room, s) < 0)
        atomic_store(&s->hub->looking, false);
}

/* ---- once a second --------------------------------------------------------------------------------------- */

/* Where the queued ones stand that somebody watches. */
static void tell_positions(struct submissions *s)
{
    struct stream_hub *h = s->hub;
    bool any = false;
    for (const struct stream *st = h->list[STREAM_LIVE]; st != NULL && !any; st = st->next)
        any = !st->owned && st->queued;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = any ? assay_arena_new(0) : NULL;
    struct queue_head head;
    if (arena == NULL || repo_queue_head(s, POSITIONS, arena, &head, NULL) < 0)
        return;
    for (struct stream *st = h->list[STREAM_LIVE], *next; st != NULL; st = next) {
        next = st->next;
        if (st->owned || !st->queued)
            continue;
        size_t at = 0;
        while (at < head.n && !assay_str_is(head.id[at], st->filter.submission))
            at++;
        if (at == head.n && !head.more)
            continue; /* it has just left the queue */
        if (st->position == (int64_t)at)
            continue;
        char data[80];
        ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
        if (at < head.n)
            snprintf(data, sizeof data, "{\"ahead\":%zu}", at);
        else
            snprintf(data, sizeof data, "{\"ahead\":%zu,\"or_more\":true}", at);
        st->position = (int64_t)at;
        if (stream_frame(&text, 0, "position", assay_str(data)) >= 0) {
            int rc = write_all(st, assay_buf_view(&text));
            if (rc == ASSAY_E_GONE)
                (void)wrote(st, rc);
        }
    }
}

static void tick(void *arg)
{
    struct submissions *s = arg;
    struct stream_hub *h = s->hub;
    int64_t now = mono_ms(s);
    pthread_mutex_lock(&h->lock);
    if (h->stopping) {
        pthread_mutex_unlock(&h->lock);
        return;
    }
    (void)settled(s);
    look_at_all(h);
    for (int state = 0; state < STREAM_STATES; state++) {
        for (struct stream *st = h->list[state], *next; st != NULL; st = next) {
            next = st->next;
            if (st->owned)
                continue;
            if (st->state == STREAM_STUCK && now - st->stuck_ms >= h->stuck_ms)
                end(st, ASSAY_E_TIMEOUT, "slow");
            else if (now - st->began_ms >= h->age_max_ms)
                end(st, ASSAY_OK, "aged");
            else if (st->state == STREAM_LIVE && now - st->spoke_ms >= h->heartbeat_ms)
                (void)wrote(st, write_all(st, ASSAY_STR(": still here\n\n")));
        }
    }
    if (h->ticks++ % POSITION_TICKS == 0)
        tell_positions(s);
    send_workers(s);
    pthread_mutex_unlock(&h->lock);
    (void)s->host->after(s->host->ctx, TICK_MS, tick, s);
}

/* ---- opening --------------------------------------------------------------------------------------------- */

static int last_event_id(struct assay_request *rq, struct assay_response *rs, int64_t *seq, struct assay_err *err)
{
    struct assay_str z = rq->header(rq, "last-event-id");
    *seq = -1;
    if (z.n == 0)
        return ASSAY_OK;
    *seq = 0;
    for (size_t i = 0; i < z.n; i++) {
        if (z.p[i] < '0' || z.p[i] > '9' || z.n > 18)
            return assay_fault(rq, rs, err, "", "the header Last-Event-ID is the id of an event of this server: a decimal number");
        *seq = *seq * 10 + (z.p[i] - '0');
    }
    return ASSAY_OK;
}

static int begin(struct stream *st, struct assay_request *rq, struct assay_str first, struct assay_err *err)
{
    const struct assay_host *host = st->s->host;
    struct assay_response rs = {.status = 200, .content_type = "text/event-stream"};
    assay_reply_header(&rs, ASSAY_STR("cache-control"), ASSAY_STR("no-store"));
    assay_reply_header(&rs, ASSAY_STR("x-accel-buffering"), ASSAY_STR("no")); /* nginx passes it on as it comes */
    assay_buf_puts(&rs.body, "retry: 2000\n\n");
    assay_buf_add(&rs.body, first.p, first.n);
    st->ticket = host->defer(host->ctx, rq);
    int rc = host->stream_begin(host->ctx, st->ticket, &rs, on_room, st, err);
    if (rc < 0)
        host->resume(host->ctx, st->ticket, rc, NULL, err);
    return rc;
}

/* The stream is the hub's from here on. over: everything has been said. */
static void enter(struct stream *st, bool over)
{
    struct submissions *s = st->s;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    pthread_mutex_lock(&s->hub->lock);
    list_in(s->hub, st);
    s->hub->n++;
    show(s);
    if (over || s->hub->stopping)
        end(st, ASSAY_OK, over ? "ended" : "stopped");
    else if (!look(st) && (arena == NULL || !from_the_tail(st, arena)))
        send_workers(s);
    pthread_mutex_unlock(&s->hub->lock);
}

static int open_stream(struct submissions *s, struct assay_request *rq, int64_t after, const struct stream_filter *filter,
                       struct assay_str first, bool queued, bool over, struct assay_err *err)
{
    pthread_mutex_lock(&s->hub->lock);
    if (s->hub->n >= s->hub->max)
        look_at_all(s->hub); /* those whose clients have left make room */
    bool full = s->hub->n >= s->hub->max || s->hub->stopping;
    pthread_mutex_unlock(&s->hub->lock);
    if (full)
        return assay_err_set(err, ASSAY_E_BUSY, "there are as many event streams as this server holds (event_streams_max); ask again later");
    struct stream *st = calloc(1, sizeof *st);
    if (st == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    *st = (struct stream){.s = s, .filter = *filter, .seen = after, .queued = queued, .position = -1};
    st->began_ms = st->spoke_ms = mono_ms(s);
    int rc = begin(st, rq, first, err);
    if (rc < 0) { /* answered */
        free(st);
        return ASSAY_DEFERRED;
    }
    enter(st, over);
    return ASSAY_DEFERRED;
}

static void copy(char *to, size_t room, struct assay_str from)
{
    snprintf(to, room, "%.*s", ASSAY_FMT(from));
}

static void filter_for(struct stream_filter *f, const struct assay_principal *who)
{
    memset(f, 0, sizeof *f);
    struct viewer v = viewer_of(who);
    f->staff = v.staff;
    copy(f->user_id, sizeof f->user_id, v.user_id);
}

int http_events_stream(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    static const char *const known[] = {"benchmark_id", NULL};
    struct assay_str benchmark;
    int64_t after;
    int rc = assay_query_only(rq, rs, known, err);
    if (rc >= 0)
        rc = assay_query(rq, "benchmark_id", &benchmark, err);
    if (rc >= 0)
        rc = last_event_id(rq, rs, &after, err);
    struct stream_filter f;
    filter_for(&f, rq->who);
    if (rc >= 0 && benchmark.n >= sizeof f.benchmark)
        rc = assay_fault(rq, rs, err, "", "the query parameter \"benchmark_id\" is too long for an id");
    if (rc >= 0 && after < 0)
        rc = s->host->store->ops->events_head(s->host->store->self, &after, err);
    if (rc < 0)
        return rc;
    copy(f.benchmark, sizeof f.benchmark, benchmark);
    return open_stream(s, rq, after, &f, ASSAY_STR(""), false, false, err);
}

/* How it stands now, as the first event: whoever comes late need not ask twice. */
static int first_of(const struct view *v, int64_t seq, struct assay_buf *out, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf data = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    assay_jw_object(w);
    assay_jw_kstr(w, "submission_id", v->id);
    assay_jw_key(w, "submission");
    view_write(w, v, true);
    assay_jw_end(w);
    int rc = assay_jw_finish(w, &data, err);
    if (rc >= 0 && stream_frame(out, seq, "state", assay_buf_view(&data)) < 0)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    return rc;
}

/* Whether the event at seq is the one that the submission ended with. */
static bool was_the_end(struct submissions *s, int64_t seq, const struct view *v, struct assay_arena *arena)
{
    struct assay_event_row *ev = NULL;
    size_t n = 0;
    const struct assay_store *store = s->host->store;
    return seq > 0 && store->ops->events(store->self, seq - 1, stream_topics, 1, arena, &ev, &n, NULL) >= 0 && n == 1 &&
           ev->seq == seq && assay_str_eq(ev->ev.subject, v->id) && stream_ends(ev->ev.topic);
}

int http_submissions_events(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct submissions *s = self;
    struct viewer v = viewer_of(rq->who);
    struct stream_filter f;
    struct view view;
    int64_t after, head = 0;
    filter_for(&f, rq->who);
    int rc = last_event_id(rq, rs, &after, err);
    /* the head before the row: what changes in between is told again, never left out */
    if (rc >= 0)
        rc = s->host->store->ops->events_head(s->host->store->self, &head, err);
    if (rc >= 0)
        rc = repo_get(s, &v, rq->param[0], rq->arena, &view, err);
    if (rc < 0)
        return rc;
    copy(f.submission, sizeof f.submission, view.id);
    copy(f.user_id, sizeof f.user_id, view.owner_id); /* it is the caller's, or the caller is staff */
    bool resumes = after >= 0, over = !resumes && state_ended(view.state);
    if (resumes && state_ended(view.state) && was_the_end(s, after, &view, rq->arena)) {
        rs->status = 204; /* which tells an EventSource not to come back */
        return ASSAY_OK;
    }
    ASSAY_CLEANUP_BUF struct assay_buf first = ASSAY_BUF_INIT;
    if (!resumes)
        rc = first_of(&view, head, &first, err);
    return rc < 0 ? rc : open_stream(s, rq, resumes ? after : head, &f, assay_buf_view(&first), assay_str_is(view.state, "queued"), over, err);
}

/* ---- beginning and end -------------------------------------------------------------------------------- */

int stream_hub_new(struct submissions *s, struct assay_err *err)
{
    const struct assay_host *host = s->host;
    struct stream_hub *h = calloc(1, sizeof *h);
    if (h == NULL || (h->tail = stream_tail_new()) == NULL) {
        free(h);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    pthread_mutex_init(&h->lock, NULL);
    h->max = (size_t)host->option_int(host->ctx, "event_streams_max");
    h->heartbeat_ms = host->option_int(host->ctx, "event_stream_heartbeat");
    h->stuck_ms = host->option_int(host->ctx, "event_stream_patience");
    h->age_max_ms = host->option_int(host->ctx, "event_stream_age");
    s->hub = h;
    return ASSAY_OK;
}

int stream_hub_start(struct submissions *s, struct assay_err *err)
{
    int rc = s->host->after(s->host->ctx, TICK_MS, tick, s);
    return rc < 0 ? assay_err_set(err, rc, "no timer for event streams") : ASSAY_OK;
}

/* Ends all of them; those that a worker has, the worker ends. */
void stream_hub_stop(struct submissions *s)
{
    struct stream_hub *h = s->hub;
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    for (int state = 0; state < STREAM_STATES; state++) {
        for (struct stream *st = h->list[state], *next; st != NULL; st = next) {
            next = st->next;
            if (st->owned)
                st->ending = true;
            else
                end(st, ASSAY_OK, "stopped");
        }
    }
    for (int i = 0; h->n != 0 && i < STOP_MS; i++) { /* a page is short */
        pthread_mutex_unlock(&h->lock);
        (void)usleep(1000);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
}

void stream_hub_free(struct submissions *s)
{
    struct stream_hub *h = s->hub;
    if (h == NULL)
        return;
    for (int state = 0; state < STREAM_STATES; state++) {
        while (h->list[state] != NULL) {
            struct stream *st = h->list[state];
            list_out(st);
            free(st);
        }
    }
    stream_tail_free(h->tail);
    while (h->benchmarks != NULL) {
        struct known_benchmark *k = h->benchmarks;
        h->benchmarks = k->next;
        free(k);
    }
    for (size_t v = 0; v < VOICES; v++)
        assay_buf_free(&h->said[v]);
    pthread_mutex_destroy(&h->lock);
    free(h);
    s->hub = NULL;
}
