/*
 * The mailbox.  Theory of operation.
 *
 * The box is a Treiber stack (R. K. Treiber, "Systems Programming: Coping with Parallelism", IBM
 * RJ 5118, 1986) of which the consumer only ever takes everything at once and then reverses it.
 * Popping single nodes is what makes such stacks suffer from ABA; nobody does that here: a post
 * compares the head only to link the new node in front of it, and a head that left and came back
 * meanwhile is still the right thing to link to.
 *
 * No wake-up is lost.  A post links its node (CAS) and, only if the head was NULL before, writes the
 * eventfd after it.  take reads the eventfd and after that exchanges the head for NULL.
 *   Let X be a posted node.  If its post found NULL, it writes the bell after linking.  If it found
 *   another node, then there is a first node F of the same filling (linked on NULL since the last
 *   exchange), whose post writes the bell after linking F.  Call that write W; F = X is allowed.
 *   W comes after the link of F, and a read that swallows W is followed by an exchange of the same
 *   consumer, which therefore takes F's whole filling as it is then.  X is either part of it, or
 *   is linked after that exchange and so belongs to a later filling, which has its own F and W.
 *   So as long as X is inside, its W is still to come or still unread: the descriptor is or becomes
 *   readable.                                                                                    QED
 * The other way round is allowed: take may find a filling whose bell is not written yet; the bell
 * then rings for an empty box, which costs one futile round and nothing else.
 *
 * Memory ordering.  The CAS releases, so what the sender wrote into its object is visible to the
 * consumer, whose exchange acquires.  The exchange must not move before the read of the eventfd nor
 * the write before the CAS: both are system calls, which the compiler cannot see through, and the
 * eventfd's own lock in the kernel orders the write before the read that sees it, so that the CAS
 * happens before the exchange.
 */
#include "mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAGIC 0x6d61696cu /* "mail" */

struct assay_mailbox {
    unsigned magic;
    int fd;
    /* on its own cache line: producers hammer it while the consumer's loop reads fd */
    _Alignas(64) _Atomic(struct assay_mail *) head;
};

/* The head of a closed box: an address that no sender has. */
static struct assay_mail closed_mark;

static void check(const struct assay_mailbox *mb)
{
    assert(mb != NULL && mb->magic == MAGIC);
}

struct assay_mailbox *assay_mailbox_new(struct assay_err *err)
{
    struct assay_mailbox *mb = aligned_alloc(_Alignof(struct assay_mailbox), sizeof *mb);
    if (mb == NULL) {
        (void)assay_err_set(err, ASSAY_E_NOMEM, "no memory for a mailbox");
        return NULL;
    }
    mb->magic = MAGIC;
    atomic_init(&mb->head, NULL);
    mb->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mb->fd < 0) {
        (void)assay_err_errno(err, ASSAY_E_IO, errno, "eventfd for a mailbox");
        free(mb);
        return NULL;
    }
    return mb;
}

void assay_mailbox_free(struct assay_mailbox *mb)
{
    if (mb == NULL)
        return;
    check(mb);
    struct assay_mail *left = atomic_load_explicit(&mb->head, memory_order_acquire);
    assert(left == NULL || left == &closed_mark); /* mail that nobody took is a leak of its owner's */
    mb->magic = 0;
    (void)close(mb->fd);
    free(mb);
}

int assay_mailbox_fd(const struct assay_mailbox *mb)
{
    check(mb);
    return mb->fd;
}

static void ring(int fd)
{
    const uint64_t one = 1;
    ssize_t n;
    do
        n = write(fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    /* EAGAIN would need 2^64 - 2 unread rings */
    assert(n == (ssize_t)sizeof one);
}

static void silence(int fd)
{
    uint64_t count;
    ssize_t n;
    do
        n = read(fd, &count, sizeof count);
    while (n < 0 && errno == EINTR);
    assert(n == (ssize_t)sizeof count || errno == EAGAIN);
}

int assay_mailbox_post(struct assay_mailbox *mb, struct assay_mail *m)
{
    check(mb);
    struct assay_mail *head = atomic_load_explicit(&mb->head, memory_order_relaxed);
    do {
        if (head == &closed_mark)
            return ASSAY_E_GONE;
        m->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&mb->head, &head, m, memory_order_release, memory_order_relaxed));
    if (head == NULL)
        ring(mb->fd);
    return 0;
}

static struct assay_mail *reversed(struct assay_mail *m)
{
    struct assay_mail *out = NULL;
    while (m != NULL) {
        struct assay_mail *next = m->next;
        m->next = out;
        out = m;
        m = next;
    }
    return out;
}

struct assay_mail *assay_mailbox_take(struct assay_mailbox *mb)
{
    check(mb);
    silence(mb->fd);
    struct assay_mail *all = atomic_load_explicit(&mb->head, memory_order_relaxed);
    /* only the consumer closes, so a closed box stays closed under its hands */
    if (all == &closed_mark)
        return NULL;
    all = atomic_exchange_explicit(&mb->head, NULL, memory_order_acquire);
    return reversed(all);
}

unsigned assay_mailbox_run(struct assay_mailbox *mb)
{
    unsigned n = 0;
    struct assay_mail *m = assay_mailbox_take(mb);
    while (m != NULL) {
        struct assay_mail *next = m->next; /* run may free m or post it again */
        assert(m->run != NULL);
        m->run(m);
        m = next;
        n++;
    }
    return n;
}

struct assay_mail *assay_mailbox_close(struct assay_mailbox *mb)
{
    check(mb);
    struct assay_mail *all = atomic_exchange_explicit(&mb->head, &closed_mark, memory_order_acquire);
    return all == &closed_mark ? NULL : reversed(all);
}
