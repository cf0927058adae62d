/*
 * The end of the log of events, as it was told: the last events that the subscription brought, each with the text that the
 * readers of its voice were given.
 *
 * So an event is made into text once for all its readers, also for those who come back a moment later: when thousands are cut off at
 * once and return with Last-Event-ID, none of them costs a read of the store.  What is older is read from the log itself.
 *
 * An event's text goes when what it tells of has changed under it: a submission that was removed, a benchmark with another
 * feedback policy.  It is then told anew, as the log would tell it now.
 *
 * TAIL_EVENTS and TAIL_BYTES bound it.  Under the hub's lock.
 */
#include "local.h"

#define TAIL_EVENTS 1024u
#define TAIL_BYTES ((size_t)2 << 20)

struct stream_tail {
    struct tail_event *event[TAIL_EVENTS]; /* a ring, by seq */
    size_t first, n;
    int64_t from; /* all events after it are here; meaningless while there has been none */
    bool begun;
    size_t bytes;
};

static struct tail_event *at(const struct stream_tail *t, size_t i)
{
    return t->event[(t->first + i) % TAIL_EVENTS];
}

struct stream_tail *stream_tail_new(void)
{
    return calloc(1, sizeof(struct stream_tail));
}

static void clear_texts(struct tail_event *e)
{
    for (size_t v = 0; v < VOICES; v++)
        assay_buf_free(&e->said[v]);
}

static void drop_first(struct stream_tail *t)
{
    struct tail_event *e = at(t, 0);
    t->from = e->row.seq;
    t->bytes -= e->bytes;
    t->first = (t->first + 1) % TAIL_EVENTS;
    t->n--;
    clear_texts(e);
    free(e);
}

void stream_tail_free(struct stream_tail *t)
{
    while (t != NULL && t->n != 0)
        drop_first(t);
    free(t);
}

static struct assay_str put(char **p, struct assay_str s)
{
    struct assay_str out = {*p, s.n};
    if (s.n != 0)
        memcpy(*p, s.p, s.n);
    *p += s.n;
    return out;
}

static struct tail_event *copy_of(const struct assay_event_row *ev)
{
    size_t n = ev->ev.topic.n + ev->ev.subject.n + ev->ev.owner.n + ev->ev.benchmark.n + ev->ev.payload.n;
    struct tail_event *e = calloc(1, sizeof *e + n);
    if (e == NULL)
        return NULL;
    char *p = e->text;
    e->row = *ev;
    e->row.ev.topic = put(&p, ev->ev.topic);
    e->row.ev.subject = put(&p, ev->ev.subject);
    e->row.ev.owner = put(&p, ev->ev.owner);
    e->row.ev.benchmark = put(&p, ev->ev.benchmark);
    e->row.ev.payload = put(&p, ev->ev.payload);
    e->bytes = sizeof *e + n;
    return e;
}

struct tail_event *stream_tail_add(struct stream_tail *t, const struct assay_event_row *ev)
{
    struct tail_event *e = copy_of(ev);
    if (e == NULL) { /* there would be a gap */
        while (t->n != 0)
            drop_first(t);
        t->from = ev->seq;
        t->begun = true;
        return NULL;
    }
    if (!t->begun)
        t->from = ev->seq - 1;
    t->begun = true;
    while (t->n == TAIL_EVENTS || (t->n != 0 && t->bytes + e->bytes > TAIL_BYTES))
        drop_first(t);
    t->event[(t->first + t->n++) % TAIL_EVENTS] = e;
    t->bytes += e->bytes;
    return e;
}

void stream_tail_told(struct stream_tail *t, struct tail_event *e)
{
    size_t now = 0;
    for (size_t v = 0; v < VOICES; v++)
        now += e->said[v].n;
    t->bytes += now - e->texts;
    e->bytes += now - e->texts;
    e->texts = now;
}

bool stream_tail_covers(const struct stream_tail *t, int64_t seen)
{
    return t->begun && seen >= t->from;
}

struct tail_event *stream_tail_after(const struct stream_tail *t, int64_t seq)
{
    size_t low = 0, high = t->n; /* the first that comes after seq is in low..high */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at(t, middle)->row.seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->n ? at(t, low) : NULL;
}

static void forget(struct stream_tail *t, struct tail_event *e)
{
    e->asked = false;
    clear_texts(e);
    stream_tail_told(t, e);
}

void stream_tail_forget(struct stream_tail *t, struct assay_str submission, struct assay_str benchmark)
{
    for (size_t i = 0; i < t->n; i++) {
        struct tail_event *e = at(t, i);
        bool its = benchmark.n != 0 && (assay_str_eq(e->row.ev.benchmark, benchmark) || assay_str_eq(e->row.ev.subject, benchmark));
        if (its || (submission.n != 0 && assay_str_eq(e->row.ev.subject, submission)))
            forget(t, e);
    }
}

void stream_tail_forget_all(struct stream_tail *t)
{
    for (size_t i = 0; i < t->n; i++)
        forget(t, at(t, i));
}
