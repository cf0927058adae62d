/*
 * The ledger of a partition, without any broker: which offset is committed, what travels beside it, what is passed over.
 */
#include "plugins/broker_kafka/local.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct bk_entry *entry(int64_t offset)
{
    struct bk_entry *e = calloc(1, sizeof *e);
    assert_non_null(e);
    e->offset = offset;
    return e;
}

static struct bk_entry *add(struct bk_part *p, int64_t offset)
{
    struct bk_entry *e = entry(offset);
    assert_true(bk_part_add(p, e));
    return e;
}

static void the_offset_is_that_of_the_lowest_unsettled(void **state)
{
    (void)state;
    struct bk_part *p = bk_part_new("scripts", 0);
    assert_int_equal(bk_part_offset(p), -1);
    struct bk_entry *e5 = add(p, 5), *e6 = add(p, 6), *e9 = add(p, 9);
    assert_int_equal(bk_part_offset(p), 5);
    bk_part_settle(p, e6);
    assert_int_equal(bk_part_offset(p), 5);
    assert_true(p->dirty);
    bk_part_settle(p, e5);
    assert_int_equal(bk_part_offset(p), 9); /* 7 and 8 were never there: transactions' marks, compaction */
    bk_part_settle(p, e9);
    assert_int_equal(bk_part_offset(p), 10);
    assert_int_equal(p->n, 0);
    bk_part_free(p);
}

static void what_was_seen_is_not_taken_again(void **state)
{
    (void)state;
    struct bk_part *p = bk_part_new("scripts", 0);
    struct bk_entry *e = add(p, 5), *again = entry(5);
    assert_false(bk_part_add(p, again));
    bk_part_settle(p, e);
    assert_false(bk_part_add(p, again));
    again->offset = 4;
    assert_false(bk_part_add(p, again));
    again->offset = -1;
    assert_false(bk_part_add(p, again));
    again->offset = 6;
    assert_true(bk_part_add(p, again));
    bk_part_free(p);
}

static void the_next_owner_learns_what_is_settled_above(void **state)
{
    (void)state;
    unsigned seed = 7;
    for (int round = 0; round < 200; round++) {
        struct bk_part *p = bk_part_new("scripts", 0), *q = bk_part_new("scripts", 0);
        ASSAY_CLEANUP_BUF struct assay_buf mark = ASSAY_BUF_INIT;
        struct bk_entry *e[300];
        bool done[300] = {false};
        int64_t base = round * 1000003;
        for (int i = 0; i < 300; i++)
            e[i] = add(p, base + i);
        for (int i = 0; i < 300; i++)
            if (rand_r(&seed) % 100 < round / 2) {
                done[i] = true;
                bk_part_settle(p, e[i]);
            }
        int64_t offset = bk_part_offset(p);
        assert_int_equal(bk_part_mark(p, &mark, NULL), 0);
        assert_true(mark.n < 4096); /* the least that brokers take */
        bk_part_recall(q, offset, assay_buf_view(&mark));
        for (int i = 0; i < 300; i++)
            if (base + i < offset)
                assert_true(done[i]); /* the commit itself says so */
            else
                assert_int_equal(bk_part_known(q, base + i), done[i]);
        assert_false(bk_part_known(q, base + 300));
        assert_false(bk_part_known(q, base - 1));
        bk_part_free(p);
        bk_part_free(q);
    }
}

static void a_whole_window_fits_into_a_commit(void **state)
{
    (void)state;
    struct bk_part *p = bk_part_new("scripts", 0), *q = bk_part_new("scripts", 0);
    ASSAY_CLEANUP_BUF struct assay_buf mark = ASSAY_BUF_INIT;
    (void)add(p, 0);
    for (int i = 1; i < BK_WINDOW; i++) {
        assert_true(bk_part_room(p));
        bk_part_settle(p, add(p, i));
    }
    assert_false(bk_part_room(p));
    bk_part_settle(p, add(p, BK_WINDOW)); /* fetched before the pause: taken, but beyond what a commit tells */
    assert_int_equal(bk_part_mark(p, &mark, NULL), 0);
    assert_true(mark.n > 0 && mark.n < 4096);
    bk_part_recall(q, 0, assay_buf_view(&mark));
    assert_false(bk_part_known(q, 0));
    for (int i = 1; i < BK_WINDOW; i++)
        assert_true(bk_part_known(q, i));
    assert_false(bk_part_known(q, BK_WINDOW));
    bk_part_free(p);
    bk_part_free(q);
}

static void a_mark_of_somebody_else_says_nothing(void **state)
{
    (void)state;
    static const char *const marks[] = {"", "assay1", "assay1:", "assay1:%%%", "assay2:/w==", "committed by hand", "assay1:/w=", "assay1:\xff"};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        struct bk_part *p = bk_part_new("scripts", 0);
        bk_part_recall(p, 3, assay_str(marks[i]));
        for (int j = 0; j < 20; j++)
            assert_false(bk_part_known(p, j));
        bk_part_free(p);
    }
    struct bk_part *p = bk_part_new("scripts", 0);
    bk_part_recall(p, 3, ASSAY_STR("assay1:Ag=="));
    assert_false(bk_part_known(p, 3));
    assert_true(bk_part_known(p, 4));
    ASSAY_CLEANUP_BUF struct assay_buf big = ASSAY_BUF_INIT;
    assay_buf_puts(&big, "assay1:");
    for (int i = 0; i < 4 * BK_WINDOW; i++)
        assay_buf_putc(&big, '/');
    bk_part_recall(p, 3, assay_buf_view(&big));
    assert_false(bk_part_known(p, 4));
    bk_part_free(p);
}

static void properties_come_from_a_list_and_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/assay-kafka.XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    assert_non_null(f);
    fputs("# ours\n\nsasl.username = me\r\nsasl.password=from=file\nnonsense\ngroup.id=x\n", f);
    assert_int_equal(fclose(f), 0);
    struct bk_props p = {0};
    ASSAY_CLEANUP_BUF struct assay_buf faults = ASSAY_BUF_INIT;
    assert_int_equal(bk_props_read(&p, ASSAY_STR("sasl.password=a\\,b\\\\c, producer.linger.ms=7,,consumer.fetch.wait.max.ms=9,alone"), path, &faults, NULL), 0);
    assert_int_equal(unlink(path), 0);
    assert_string_equal(bk_props_get(&p, BK_CONSUMER, "sasl.username"), "me");
    assert_string_equal(bk_props_get(&p, BK_PRODUCER, "sasl.password"), "a,b\\c");
    assert_string_equal(bk_props_get(&p, BK_PRODUCER, "linger.ms"), "7");
    assert_null(bk_props_get(&p, BK_CONSUMER, "linger.ms"));
    assert_string_equal(bk_props_get(&p, BK_CONSUMER, "fetch.wait.max.ms"), "9");
    assay_buf_putc(&faults, '\0');
    assert_non_null(strstr(faults.p, "line 5: property 3 is not name=value"));
    assert_null(strstr(faults.p, "nonsense")); /* it may be half of a password */
    assert_non_null(strstr(faults.p, "line 6: group.id is not yours to set: set kafka_group_id"));
    assert_non_null(strstr(faults.p, "kafka_properties: property"));
    bk_props_free(&p);
    assert_int_equal(bk_props_read(&p, ASSAY_STR(""), "/nowhere/at/all", &faults, NULL), 0);
    assert_non_null(memmem(faults.p, faults.n, "/nowhere/at/all: No such file", 29));
    bk_props_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_offset_is_that_of_the_lowest_unsettled),
        cmocka_unit_test(what_was_seen_is_not_taken_again),
        cmocka_unit_test(the_next_owner_learns_what_is_settled_above),
        cmocka_unit_test(a_whole_window_fits_into_a_commit),
        cmocka_unit_test(a_mark_of_somebody_else_says_nothing),
        cmocka_unit_test(properties_come_from_a_list_and_a_file),
    };
    return cmocka_run_group_tests_name("kafka_ledger", tests, NULL, NULL);
}
