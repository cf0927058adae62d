/*
 * Mailboxes: order, the doorbell rings exactly on empty -> non-empty, nothing is lost under many
 * senders against one sleeping consumer, and closing loses nothing either.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <assay/value.h>

#include "queue/mailbox.h"

static bool readable(const struct assay_mailbox *mb)
{
    struct pollfd p = {.fd = assay_mailbox_fd(mb), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void takes_in_the_order_of_posting(void **state)
{
    (void)state;
    struct assay_mailbox *mb = assay_mailbox_new(NULL);
    assert_non_null(mb);
    struct assay_mail m[5] = {0};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(assay_mailbox_post(mb, &m[i]), 0);
    struct assay_mail *got = assay_mailbox_take(mb);
    for (size_t i = 0; i < 5; i++) {
        assert_ptr_equal(got, &m[i]);
        got = got->next;
    }
    assert_null(got);
    assert_null(assay_mailbox_take(mb));
    assay_mailbox_free(mb);
}

static void rings_only_when_it_was_empty(void **state)
{
    (void)state;
    struct assay_mailbox *mb = assay_mailbox_new(NULL);
    struct assay_mail m[3] = {0};
    assert_false(readable(mb));
    assert_int_equal(assay_mailbox_post(mb, &m[0]), 0);
    assert_true(readable(mb));
    uint64_t count = 0;
    /* read the counter by hand: two more posts must not have rung again */
    assert_int_equal(assay_mailbox_post(mb, &m[1]), 0);
    assert_int_equal(assay_mailbox_post(mb, &m[2]), 0);
    assert_int_equal(read(assay_mailbox_fd(mb), &count, sizeof count), (ssize_t)sizeof count);
    assert_int_equal(count, 1);
    assert_non_null(assay_mailbox_take(mb));
    assert_false(readable(mb));
    assert_int_equal(assay_mailbox_post(mb, &m[0]), 0);
    assert_true(readable(mb));
    assert_ptr_equal(assay_mailbox_take(mb), &m[0]);
    assert_false(readable(mb));
    assay_mailbox_free(mb);
}

struct chain {
    struct assay_mail mail;
    struct assay_mailbox *mb;
    unsigned runs;
};

static void run_again(struct assay_mail *m)
{
    struct chain *c = (struct chain *)m;
    if (++c->runs < 3)
        assert_int_equal(assay_mailbox_post(c->mb, &c->mail), 0);
}

static void what_run_posts_waits_for_the_next_round(void **state)
{
    (void)state;
    struct assay_mailbox *mb = assay_mailbox_new(NULL);
    struct chain c = {.mail = {.run = run_again}, .mb = mb};
    assert_int_equal(assay_mailbox_post(mb, &c.mail), 0);
    assert_int_equal(assay_mailbox_run(mb), 1);
    assert_int_equal(c.runs, 1);
    assert_true(readable(mb));
    assert_int_equal(assay_mailbox_run(mb), 1);
    assert_int_equal(assay_mailbox_run(mb), 1);
    assert_int_equal(c.runs, 3);
    assert_int_equal(assay_mailbox_run(mb), 0);
    assay_mailbox_free(mb);
}

static void close_returns_the_rest_and_refuses_more(void **state)
{
    (void)state;
    struct assay_mailbox *mb = assay_mailbox_new(NULL);
    struct assay_mail m[2] = {0};
    assert_int_equal(assay_mailbox_post(mb, &m[0]), 0);
    assert_int_equal(assay_mailbox_post(mb, &m[1]), 0);
    struct assay_mail *left = assay_mailbox_close(mb);
    assert_ptr_equal(left, &m[0]);
    assert_ptr_equal(left->next, &m[1]);
    assert_int_equal(assay_mailbox_post(mb, &m[0]), ASSAY_E_GONE);
    assert_null(assay_mailbox_take(mb));
    assert_null(assay_mailbox_close(mb));
    assay_mailbox_free(mb);
}

/* ---- many senders, one consumer that sleeps whenever the box is silent ---- */

enum { SENDERS = 4 };

struct letter {
    struct assay_mail mail;
    unsigned sender;
    uint64_t number;
};
struct post_office {
    struct assay_mailbox *mb;
    int64_t until_ns;
    atomic_uint_fast64_t posted;
    atomic_uint next_sender;
    atomic_bool stop;
};

static void *sender(void *arg)
{
    struct post_office *po = arg;
    unsigned me = atomic_fetch_add(&po->next_sender, 1);
    uint64_t n = 0;
    while (assay_mono_ns() < po->until_ns) {
        /* bursts with pauses, so that the box runs empty and the bell matters */
        for (unsigned i = 0; i < 1 + (n % 7); i++) {
            struct letter *l = malloc(sizeof *l);
            if (l == NULL)
                abort();
            l->mail.run = NULL;
            l->sender = me;
            l->number = n++;
            if (assay_mailbox_post(po->mb, &l->mail) != 0) {
                free(l);
                return NULL;
            }
            atomic_fetch_add(&po->posted, 1);
        }
        if (n % 64 < 8)
            (void)usleep(50);
    }
    return NULL;
}

static uint64_t receive(struct assay_mail *m, uint64_t next[SENDERS])
{
    uint64_t n = 0;
    while (m != NULL) {
        struct letter *l = (struct letter *)m;
        m = m->next;
        assert_true(l->sender < SENDERS);
        assert_int_equal(l->number, next[l->sender]); /* in order of each sender, none missing */
        next[l->sender]++;
        free(l);
        n++;
    }
    return n;
}

static void loses_no_letter_and_no_wake_up(void **state)
{
    (void)state;
    struct post_office po = {.mb = assay_mailbox_new(NULL), .until_ns = assay_mono_ns() + 1000000000};
    assert_non_null(po.mb);
    pthread_t t[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, sender, &po), 0);
    uint64_t next[SENDERS] = {0}, got = 0;
    struct pollfd p = {.fd = assay_mailbox_fd(po.mb), .events = POLLIN};
    /* A lost wake-up shows as a box that holds letters while its bell stays silent. */
    while (assay_mono_ns() < po.until_ns) {
        if (poll(&p, 1, 200) == 1)
            got += receive(assay_mailbox_take(po.mb), next);
    }
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    while (poll(&p, 1, 0) == 1)
        got += receive(assay_mailbox_take(po.mb), next);
    assert_int_equal(got, atomic_load(&po.posted));
    assert_null(assay_mailbox_close(po.mb)); /* the silent bell told the truth */
    assay_mailbox_free(po.mb);
}

static void a_racing_close_loses_no_letter(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        struct post_office po = {.mb = assay_mailbox_new(NULL), .until_ns = assay_mono_ns() + 5000000000};
        assert_non_null(po.mb);
        pthread_t t[SENDERS];
        for (unsigned i = 0; i < SENDERS; i++)
            assert_int_equal(pthread_create(&t[i], NULL, sender, &po), 0);
        uint64_t next[SENDERS] = {0};
        (void)usleep(200);
        uint64_t got = receive(assay_mailbox_take(po.mb), next);
        got += receive(assay_mailbox_close(po.mb), next);
        for (unsigned i = 0; i < SENDERS; i++)
            assert_int_equal(pthread_join(t[i], NULL), 0); /* each ended at its first refusal */
        assert_int_equal(got, atomic_load(&po.posted));
        assay_mailbox_free(po.mb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_in_the_order_of_posting),
        cmocka_unit_test(rings_only_when_it_was_empty),
        cmocka_unit_test(what_run_posts_waits_for_the_next_round),
        cmocka_unit_test(close_returns_the_rest_and_refuses_more),
        cmocka_unit_test(loses_no_letter_and_no_wake_up),
        cmocka_unit_test(a_racing_close_loses_no_letter),
    };
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
