/* Operations of drivers as services get them: each is passed on as it is, and counted by what came of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/timed.h"

#include <assay/err.h>

static char fake; /* whose address is the drivers' self */
static int answer;
static const struct assay_publication *sent;
static assay_published told;
static void *told_arg;

static int blob_get(void *self, struct assay_str name, size_t max, struct assay_arena *arena, struct assay_str *out, struct assay_err *err)
{
    (void)arena, (void)err;
    assert_ptr_equal(self, &fake);
    assert_int_equal(max, 77);
    *out = name;
    return answer;
}
static int blob_put(void *self, struct assay_str name, struct assay_str bytes, struct assay_err *err)
{
    (void)name, (void)bytes, (void)err;
    assert_ptr_equal(self, &fake);
    return answer;
}
static int tx_exec(void *self, struct assay_tx *tx, struct assay_err *err)
{
    (void)tx, (void)err;
    assert_ptr_equal(self, &fake);
    return answer;
}
static int tx_exec_async(void *self, struct assay_tx *tx, assay_tx_done done, void *arg, struct assay_err *err)
{
    (void)err;
    assert_ptr_equal(self, &fake);
    if (answer < 0)
        return answer;
    tx->status = 5;
    done(tx, arg);
    return answer;
}
static int publish(void *self, const struct assay_publication *p, assay_published done, void *arg, struct assay_err *err)
{
    (void)err;
    assert_ptr_equal(self, &fake);
    sent = p;
    told = done;
    told_arg = arg;
    return answer;
}

static struct assay_metrics *metrics;
static struct assay_timed *timed;

static int set_up(void **state)
{
    struct assay_err err;
    (void)state;
    metrics = assay_metrics_new(0, &err);
    timed = metrics != NULL ? assay_timed_new(metrics, &err) : NULL;
    answer = 0;
    return timed != NULL ? 0 : -1;
}
static int tear_down(void **state)
{
    (void)state;
    assay_timed_free(timed);
    assay_metrics_free(metrics);
    return 0;
}

static bool shows(const char *line)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_metrics_expose(metrics, &text, &err), 0);
    assay_buf_putc(&text, '\0');
    return strstr(text.p, line) != NULL;
}

static void blobs_are_counted_by_what_came_of_them(void **state)
{
    static const struct assay_blob_ops ops = {.size = sizeof ops, .get = blob_get, .put = blob_put};
    struct assay_err err;
    struct assay_str out;
    (void)state;
    struct assay_blobs b = assay_timed_blobs(timed, (struct assay_blobs){&ops, &fake});
    assert_int_equal(b.ops->get(b.self, ASSAY_STR("a"), 77, NULL, &out, &err), 0);
    assert_true(assay_str_is(out, "a"));
    answer = ASSAY_E_NOT_FOUND;
    assert_int_equal(b.ops->get(b.self, ASSAY_STR("a"), 77, NULL, &out, &err), ASSAY_E_NOT_FOUND);
    answer = ASSAY_E_FULL;
    assert_int_equal(b.ops->put(b.self, ASSAY_STR("a"), ASSAY_STR("b"), &err), ASSAY_E_FULL);
    assert_true(shows("assay_blob_operation_seconds_count{operation=\"get\",outcome=\"ok\"} 1\n"));
    assert_true(shows("assay_blob_operation_seconds_count{operation=\"get\",outcome=\"absent\"} 1\n"));
    assert_true(shows("assay_blob_operation_seconds_count{operation=\"put\",outcome=\"failed\"} 1\n"));
    assert_null(b.ops->health); /* what a driver lacks, the wrapper lacks */
    assert_null(b.ops->presign);
}

static void a_driver_of_before_has_no_newer_operations(void **state)
{
    struct assay_blob_ops old = {.size = offsetof(struct assay_blob_ops, presign), .get = blob_get};
    struct assay_broker_ops older = {.size = offsetof(struct assay_broker_ops, fetch), .publish = publish};
    struct assay_broker broker;
    struct assay_err err;
    (void)state;
    memset(&old.presign, 0xff, sizeof old.presign); /* what lies behind its end */
    memset(&older.fetch, 0xff, sizeof older.fetch);
    assert_null(assay_timed_blobs(timed, (struct assay_blobs){&old, &fake}).ops->presign);
    assert_int_equal(assay_timed_broker(timed, "old", (struct assay_broker){&older, &fake}, &broker, &err), 0);
    assert_null(broker.ops->fetch);
}

static int completions;
static void completed(struct assay_tx *tx, void *arg)
{
    assert_ptr_equal(arg, &completions);
    assert_int_equal(tx->status, 5);
    completions++;
}

static void writes_are_counted_when_they_are_durable(void **state)
{
    static const struct assay_store_ops ops = {.size = sizeof ops, .exec = tx_exec, .exec_async = tx_exec_async};
    struct assay_err err;
    (void)state;
    struct assay_store st = assay_timed_store(timed, (struct assay_store){&ops, &fake});
    struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = assay_tx_new(arena, "a");
    assert_non_null(tx);
    assert_int_equal(st.ops->exec(st.self, tx, &err), 0);
    assert_int_equal(st.ops->exec_async(st.self, tx, completed, &completions, &err), 0);
    assert_int_equal(completions, 1);
    assert_true(shows("assay_store_operation_seconds_count{operation=\"write\"} 2\n"));
    answer = ASSAY_E_BUSY; /* refused: nobody is called, nothing is counted */
    assert_int_equal(st.ops->exec_async(st.self, tx, completed, &completions, &err), ASSAY_E_BUSY);
    assert_int_equal(completions, 1);
    assert_true(shows("assay_store_operation_seconds_count{operation=\"write\"} 2\n"));
    assay_arena_free(arena);
}

static int last_status;
static void confirmed(void *arg, int status, const struct assay_err *err)
{
    (void)err;
    assert_ptr_equal(arg, &last_status);
    last_status = status;
}

static void publications_are_counted_by_the_brokers_word(void **state)
{
    static const struct assay_broker_ops ops = {.size = sizeof ops, .publish = publish};
    const struct assay_publication p = {.channel = ASSAY_CHANNEL_RESULTS};
    struct assay_broker b, again;
    struct assay_err err = {0, ""};
    (void)state;
    assert_int_equal(assay_timed_broker(timed, "kafka", (struct assay_broker){&ops, &fake}, &b, &err), 0);
    assert_int_equal(assay_timed_broker(timed, "kafka", (struct assay_broker){&ops, &fake}, &again, &err), 0);
    assert_ptr_equal(b.self, again.self);
    const int word[] = {ASSAY_OK, ASSAY_E_GONE, ASSAY_E_BUSY};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(b.ops->publish(b.self, &p, confirmed, &last_status, &err), 0);
        assert_ptr_equal(sent, &p);
        last_status = 1;
        told(told_arg, word[i], &err);
        assert_int_equal(last_status, word[i]);
    }
    answer = ASSAY_E_BUSY; /* not taken: its end is not told, and what was kept for it is free */
    assert_int_equal(b.ops->publish(b.self, &p, confirmed, &last_status, &err), ASSAY_E_BUSY);
    assert_true(shows("assay_broker_publish_seconds_count{broker=\"kafka\",channel=\"results\",outcome=\"ok\"} 1\n"));
    assert_true(shows("assay_broker_publish_seconds_count{broker=\"kafka\",channel=\"results\",outcome=\"gone\"} 1\n"));
    assert_true(shows("assay_broker_publish_seconds_count{broker=\"kafka\",channel=\"results\",outcome=\"failed\"} 1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blobs_are_counted_by_what_came_of_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_driver_of_before_has_no_newer_operations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_are_counted_when_they_are_durable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(publications_are_counted_by_the_brokers_word, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("timed", tests, NULL, NULL);
}
