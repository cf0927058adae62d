/*
 * Interactive problems: a program and its problem's interactor, each in a box, talk through this loop.
 *
 *   program's box ── OUTPUT ──▶ queue ── INPUT ──▶ interactor's box
 *                 ◀── INPUT ── queue ◀── OUTPUT ──
 *
 * The two stand in wardens of their own (check.c), which may be in two containers, or behind a stream that an engine copies; so
 * there is no pipe between them but two streams to the runner, which is also how the transcript is kept.  Each box has its own
 * limits and accounts, exactly as without the other.
 *
 * What each side may have printed is bounded by its output limit, and so is what waits here.  A warden is given no more than
 * ASSAY_WARDEN_INPUT_WINDOW bytes that its program has not read.  Ends travel as they do through pipes: who closes its
 * stdout, or ends, gives the other an end of file; an interactor that closes its stdin, or ends, gives the program a closed pipe.  The
 * other way round there is none: what an interactor says to a program that has gone is lost, and it finds the end of file, so that
 * no interactor has to be written with broken pipes in mind.
 *
 * Who has ended first is what the verdict hangs on (interact_verdict in checker.c).  An interactor that has ended with anything but
 * "right" has decided, and the program is ended too; else each goes on to its own end or limit.  The interactor's limit by the clock is
 * the program's and its own together, so that when both wait for each other it is the program that runs into its limit.
 */
#include "loop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <assay/warden_wire.h>

#define INTERACTOR_OUTPUT ((int64_t)64 << 20)
#define QUEUE_MAX ((size_t)66 << 20)

void talk_free(struct talk *t)
{
    if (t == NULL)
        return;
    for (int i = 0; i < TALKERS; i++)
        assay_buf_free(&t->to[i].queue);
    assay_buf_free(&t->transcript);
    assay_buf_free(&t->feedback);
    free(t);
}

static struct slot *slot_of(const struct job *j, int side)
{
    return side == TALK_PROGRAM ? j->slot : j->checker != NULL ? j->checker->slot : NULL;
}

/* Brings on what waits for this side, and tells it the end when nothing more will come. */
static void push(struct job *j, int side)
{
    struct talk *t = j->talk;
    struct talker *to = &t->to[side];
    struct slot *s = slot_of(j, side);
    struct assay_err ignored; /* a dead stream tells by itself */
    if (s == NULL || s->client == NULL || to->done || !to->begun)
        return;
    while (!to->closed && to->sent < to->queue.n && to->under_way < ASSAY_WARDEN_INPUT_WINDOW) {
        size_t n = to->queue.n - to->sent, room = ASSAY_WARDEN_INPUT_WINDOW - to->under_way;
        n = n < room ? n : room;
        if (assay_box_client_input(s->client, (struct assay_str){to->queue.p + to->sent, n}, &ignored) < 0)
            return;
        to->sent += n;
        to->under_way += n;
    }
    if (to->sent == to->queue.n || to->closed) {
        assay_buf_reset(&to->queue);
        to->sent = 0;
        if (t->to[!side].silent && !to->end_sent && !to->closed) {
            to->end_sent = true;
            (void)!assay_box_client_input(s->client, ASSAY_STR(""), &ignored);
        }
    }
    slot_arm(s);
}

/* Nobody reads what the program says. */
static void hang_up(struct job *j)
{
    struct talker *who = &j->talk->to[TALK_PROGRAM];
    struct slot *s = j->slot;
    struct assay_err ignored;
    if (who->hung || who->done || !who->begun || s == NULL || s->client == NULL)
        return;
    who->hung = true;
    if (assay_box_client_hangup(s->client, &ignored) >= 0)
        slot_arm(s);
}

/* One line for each line, with who said it before; a change in the midst of a line ends it. */
static void write_down(struct talk *t, int side, struct assay_str bytes)
{
    struct assay_buf *b = &t->transcript;
    if (t->speaker != side && !t->fresh) {
        assay_buf_putc(b, '\n');
        t->fresh = true;
    }
    t->speaker = side;
    for (size_t i = 0; i < bytes.n && b->n < STORED_MAX; i++) {
        if (t->fresh)
            assay_buf_puts(b, side == TALK_PROGRAM ? "> " : "< ");
        assay_buf_putc(b, bytes.p[i]);
        t->fresh = bytes.p[i] == '\n';
    }
}

static int side_of(const struct job *j)
{
    return j->kind == JOB_CHECKER ? TALK_INTERACTOR : TALK_PROGRAM;
}

/* The job whose talk this is; NULL: it is over. */
static struct job *talk_of(struct job *j)
{
    struct job *main = j->kind == JOB_CHECKER ? j->parent : j;
    return main != NULL && main->talk != NULL ? main : NULL;
}

/* A program that neither says nor reads anything any more has ended, or as good as that.  Had its partner done nothing to it by then, it
 * was the first to end, though the partner, who is told so by nobody but us, may be reported dead before it. */
static void gone(struct talk *t)
{
    struct talker *me = &t->to[TALK_PROGRAM];
    if (me->gone || !me->silent || !me->closed)
        return;
    me->gone = true;
    me->cut_off = me->hung || me->end_sent || t->ended;
    if (t->first < 0)
        t->first = TALK_PROGRAM;
}

void talk_said(struct job *who, struct assay_str bytes)
{
    struct job *j = talk_of(who);
    if (j == NULL)
        return;
    int side = side_of(who);
    struct talker *to = &j->talk->to[!side];
    write_down(j->talk, side, bytes);
    if (to->closed || to->done)
        return;
    assay_buf_str(&to->queue, bytes);
    push(j, !side);
}

void talk_taken(struct job *who, size_t bytes, bool closed)
{
    struct job *j = talk_of(who);
    if (j == NULL)
        return;
    int side = side_of(who);
    struct talker *me = &j->talk->to[side];
    me->under_way -= bytes < me->under_way ? bytes : me->under_way;
    if (closed && !me->closed) {
        me->closed = true;
        gone(j->talk);
        if (side == TALK_INTERACTOR)
            hang_up(j);
    }
    push(j, side);
}

void talk_silent(struct job *who)
{
    struct job *j = talk_of(who);
    if (j == NULL)
        return;
    j->talk->to[side_of(who)].silent = true;
    gone(j->talk);
    push(j, !side_of(who));
}

bool talk_begin(struct loop *l, struct job *j)
{
    struct job *c = j->checker;
    struct talk *before = j->talk, *t = calloc(1, sizeof *t);
    if (t == NULL)
        return false;
    for (int i = 0; i < TALKERS; i++)
        assay_buf_init(&t->to[i].queue, QUEUE_MAX);
    assay_buf_init(&t->transcript, STORED_MAX + 16);
    t->first = -1;
    t->fresh = true;
    if (before != NULL && j->passes > 0) /* a later pass goes on below */
        assay_buf_str(&t->transcript, assay_buf_view(&before->transcript));
    talk_free(before);
    j->talk = t;
    struct slot *its = c->slot, *own = j->slot;
    struct assay_box_limits *m = &c->limits;
    int64_t wall = m->wall_ms, out = m->stdout_bytes;
    m->wall_ms += j->limits.wall_ms;
    m->stdout_bytes = INTERACTOR_OUTPUT;
    check_run(l, c, ASSAY_BOX_CONVERSE); /* may end it all */
    if (its->job != c || !assay_box_client_busy(its->client))
        return true;
    m->wall_ms = wall;
    m->stdout_bytes = out;
    t->to[TALK_INTERACTOR].begun = true;
    job_run_test(l, j, ASSAY_BOX_CONVERSE);
    if (own->job != j || !assay_box_client_busy(own->client))
        return true;
    j->stage = STAGE_CHECKED;
    t->to[TALK_PROGRAM].begun = true;
    return true;
}

static void decide_if_over(struct loop *l, struct job *j)
{
    struct talk *t = j->talk;
    if (!t->to[TALK_PROGRAM].done || !t->to[TALK_INTERACTOR].done || !t->feedback_in)
        return;
    struct assay_buf feedback = t->feedback;
    t->feedback = (struct assay_buf)ASSAY_BUF_INIT;
    t->feedback_in = false;
    check_decided(l, j->checker, assay_buf_view(&feedback));
    assay_buf_free(&feedback);
}

void talk_done(struct loop *l, struct job *who, const struct assay_box_outcome *o)
{
    struct job *j = talk_of(who);
    if (j == NULL)
        return;
    struct talk *t = j->talk;
    int side = side_of(who);
    struct talker *me = &t->to[side];
    me->done = me->silent = me->closed = true;
    me->outcome = *o;
    if (side == TALK_PROGRAM)
        gone(t);
    if (t->first < 0)
        t->first = side;
    push(j, !side);
    if (side == TALK_INTERACTOR && !t->to[TALK_PROGRAM].gone)
        hang_up(j);
    if (side == TALK_INTERACTOR && !t->to[TALK_PROGRAM].gone && !check_says_right(j->checker->rules.kind, o)) {
        t->ended = true; /* it has decided */
        (void)slot_cancel(j->slot);
    }
    if (side == TALK_PROGRAM)
        decide_if_over(l, j);
}

void talk_feedback(struct loop *l, struct job *c, struct assay_buf *feedback)
{
    struct talk *t = c->parent->talk;
    assay_buf_free(&t->feedback);
    t->feedback = *feedback;
    *feedback = (struct assay_buf)ASSAY_BUF_INIT;
    t->feedback_in = true;
    decide_if_over(l, c->parent);
}
