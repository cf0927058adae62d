/* The doorbell; its protocol and proof are in the header, beside what the callers must do. */
#include "bell.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <assay/value.h>

/*
 * ThreadSanitizer does not model atomic_thread_fence, and gcc warns of it.  An exchange of `armed`
 * that writes back what it read would do as a fence on real machines too, but costs the producers a
 * cache line each time.  Nothing else depends on the fences than sleeping, so under TSan (which only
 * wants to see the happens-before edges of data) sequentially consistent accesses stand in.
 */
#if defined(__SANITIZE_THREAD__)
#define ASSAY_BELL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ASSAY_BELL_TSAN 1
#endif
#endif

static inline void full_fence(struct assay_bell *b)
{
#ifdef ASSAY_BELL_TSAN
    (void)atomic_fetch_add_explicit(&b->armed, 0, memory_order_seq_cst);
#else
    (void)b;
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

int assay_bell_init(struct assay_bell *b, struct assay_err *err)
{
    atomic_init(&b->armed, 0);
    atomic_init(&b->rings, 0);
    b->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (b->fd < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "eventfd for a doorbell");
    return 0;
}

void assay_bell_fini(struct assay_bell *b)
{
    if (b->fd >= 0)
        (void)close(b->fd);
    b->fd = -1;
}

void assay_bell_force(struct assay_bell *b)
{
    const uint64_t one = 1;
    ssize_t n;
    do
        n = write(b->fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    assert(n == (ssize_t)sizeof one);
    atomic_fetch_add_explicit(&b->rings, 1, memory_order_relaxed);
}

void assay_bell_ring(struct assay_bell *b)
{
    full_fence(b);
    if (atomic_load_explicit(&b->armed, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&b->armed, 0, memory_order_seq_cst) != 0)
        assay_bell_force(b);
}

void assay_bell_arm(struct assay_bell *b)
{
    atomic_store_explicit(&b->armed, 1, memory_order_relaxed);
    full_fence(b);
}

void assay_bell_silence(struct assay_bell *b)
{
    uint64_t count;
    ssize_t n;
    do
        n = read(b->fd, &count, sizeof count);
    while (n < 0 && errno == EINTR);
    assert(n == (ssize_t)sizeof count || errno == EAGAIN);
}

bool assay_bell_sleep(const struct assay_bell *b, int64_t timeout_ms)
{
    const int64_t end_ns = timeout_ms < 0 ? INT64_MAX : assay_mono_ns() + (timeout_ms > INT_MAX ? INT_MAX : timeout_ms) * 1000000;
    for (;;) {
        struct pollfd p = {.fd = b->fd, .events = POLLIN};
        int ms = -1;
        if (timeout_ms >= 0) {
            int64_t left = end_ns - assay_mono_ns();
            /* rounded up: poll must not spin through the last millisecond */
            ms = left <= 0 ? 0 : left / 1000000 >= INT_MAX ? INT_MAX : (int)((left + 999999) / 1000000);
        }
        int n = poll(&p, 1, ms);
        if (n > 0)
            return true;
        if (n == 0 && (timeout_ms >= 0 && assay_mono_ns() >= end_ns))
            return false;
        assert(n >= 0 || errno == EINTR);
    }
}
