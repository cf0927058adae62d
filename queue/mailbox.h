/*
 * A mailbox: how any thread hands work to one thread that sleeps in poll, epoll or an event base.
 *
 * Many producers, one consumer, unbounded, first in first out per producer.  The messages are
 * intrusive (a struct assay_mail inside the sender's object), so posting allocates nothing and
 * fails only after the box was closed.  What bounds the number of messages is whoever makes them:
 * a request, a ticket, a connection.
 *
 * Threads: post from any thread, also from the consumer; fd, take, run and close from the one
 * consumer; free when no post can be under way any more (join or count the senders first: a post may
 * still be ringing after its mail was taken).
 * Ownership: the sender's object belongs to the box from a successful post until take or run hands
 * it to the consumer.
 */
#ifndef ASSAY_QUEUE_MAILBOX_H
#define ASSAY_QUEUE_MAILBOX_H

#include <stddef.h>

#include <assay/err.h>

struct assay_mailbox;

struct assay_mail {
    struct assay_mail *next;             /* the box's while posted; the consumer's list after take */
    void (*run)(struct assay_mail *m);   /* what assay_mailbox_run calls; may free or post m again */
};

/* NULL on failure (no memory, no descriptor). */
struct assay_mailbox *assay_mailbox_new(struct assay_err *err) ASSAY_MUST_CHECK;
void assay_mailbox_free(struct assay_mailbox *mb); /* NULL is fine; the box must be closed or empty */

/* The doorbell, an eventfd: readable when there may be mail.  Register it for reading
 * (level-triggered); never read it, take and run do that. */
int assay_mailbox_fd(const struct assay_mailbox *mb);

/* 0, or ASSAY_E_GONE after close: then m is still the caller's.  Writes the doorbell only when the
 * box was empty, so a burst costs one system call. */
int assay_mailbox_post(struct assay_mailbox *mb, struct assay_mail *m) ASSAY_MUST_CHECK;

/* Silences the doorbell and empties the box: the messages oldest first, linked by next; NULL when
 * there were none. */
struct assay_mail *assay_mailbox_take(struct assay_mailbox *mb);

/* Takes all and calls run of each; returns how many.  What they post meanwhile waits for the next
 * round, so one box cannot starve the loop's other descriptors. */
unsigned assay_mailbox_run(struct assay_mailbox *mb);

/* Refuses all further posts and returns what was still inside, as take does.  Every post either
 * came before (and is in the returned list) or answers ASSAY_E_GONE: nothing is lost between. */
struct assay_mail *assay_mailbox_close(struct assay_mailbox *mb);

static inline void assay_mailbox_freep(struct assay_mailbox **mb)
{
    assay_mailbox_free(*mb);
    *mb = NULL;
}
#define ASSAY_CLEANUP_MAILBOX __attribute__((cleanup(assay_mailbox_freep)))

#endif
