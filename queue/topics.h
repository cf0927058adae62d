/*
 * Topics with consumer groups: the doorbells between the store and what works from it.
 *
 * Publishing an item (64 bits, usually the outbox's last seq) to a topic puts it on the ring of each
 * group that subscribed to it; the consumers of one group share its items, each item going to one of
 * them.  There is no acknowledgement and no redelivery: rows in the store say what is to be done, an
 * item only says that it is worth looking.
 *
 * A full ring never blocks and never loses work: the group's rescan flag is set, publish answers
 * ASSAY_E_BUSY (the other groups have got the item), and the consumer that drains what was on the
 * ring at that moment is told to look at the rows again.
 *
 * Threads: publish, take, wait and stats from any thread; subscribe at any time, from one thread at
 * a time; free when nobody uses the topics any more.
 */
#ifndef ASSAY_QUEUE_TOPICS_H
#define ASSAY_QUEUE_TOPICS_H

#include <stddef.h>
#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

struct assay_topics;
struct assay_group;

#define ASSAY_TOPICS_GROUPS 128 /* most groups */

/* ring_size: items of each group's ring, rounded up to a power of two (2 .. 2^20). */
struct assay_topics *assay_topics_new(size_t ring_size, struct assay_err *err) ASSAY_MUST_CHECK;
void assay_topics_free(struct assay_topics *t); /* with its groups; NULL is fine */

/* patterns: NULL-terminated exact names or "prefix.*" ("*" for all); copied.  The group belongs to t.
 * ASSAY_E_CONFLICT for a name that is taken, ASSAY_E_BUSY beyond ASSAY_TOPICS_GROUPS. */
int assay_topics_subscribe(struct assay_topics *t, const char *group, const char *const *patterns, struct assay_group **ret,
                           struct assay_err *err) ASSAY_MUST_CHECK;
bool assay_topic_matches(const char *pattern, struct assay_str topic);

/* 0, or ASSAY_E_BUSY when the ring of at least one group was full. Never blocks. */
int assay_topics_publish(struct assay_topics *t, struct assay_str topic, uint64_t item) ASSAY_MUST_CHECK;

/* Takes up to max items without waiting.  *rescan becomes true when the flag was due: look at the
 * rows whatever the items say.  When it returns 0 (and no rescan), the doorbell is armed: sleep on
 * assay_group_fd and call again when it is readable.  After any other answer call again before sleeping.
 * A loop that sleeps on the descriptor is the only one of its group; any number of threads may wait. */
size_t assay_group_take(struct assay_group *g, uint64_t *items, size_t max, bool *rescan);
int assay_group_fd(const struct assay_group *g);

/* As take, but sleeps up to timeout_ms (-1: for ever) for the first item, the rescan flag or
 * assay_group_interrupt. */
size_t assay_group_wait(struct assay_group *g, uint64_t *items, size_t max, int64_t timeout_ms, bool *rescan);
/* Ends all present and future waits of the group at once (they still take what is there). */
void assay_group_interrupt(struct assay_group *g);

struct assay_group_stats {
    size_t depth, size;
    uint64_t published; /* items put on the ring */
    uint64_t refused;   /* items that found it full */
    uint64_t taken;
    uint64_t rescans;   /* times the flag was handed to a consumer */
    uint64_t rings;     /* writes of the doorbell */
    /* waiting time on the ring, of a sample: one item in flight at a time is timed */
    uint64_t timed;
    uint64_t wait_ns, wait_ns_max; /* sum and longest over the sample */
};
void assay_group_stats(const struct assay_group *g, struct assay_group_stats *out);
const char *assay_group_name(const struct assay_group *g);
/* Groups are numbered in the order of subscribing; NULL beyond the last. */
struct assay_group *assay_topics_group(struct assay_topics *t, size_t i);

#endif
