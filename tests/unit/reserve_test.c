/* The memory that jansson gets when malloc has nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/reserve.h"

static void blocks_are_apart_aligned_and_all_come_back(void **state)
{
    (void)state;
    unsigned char *block[64];
    for (size_t i = 0; i < 64; i++) {
        block[i] = assay_reserve_block(i * 7);
        assert_non_null(block[i]);
        assert_int_equal((uintptr_t)block[i] % _Alignof(max_align_t), 0);
        memset(block[i], (int)i, i * 7);
    }
    for (size_t i = 0; i < 64; i++)
        for (size_t k = 0; k < i * 7; k++)
            assert_int_equal(block[i][k], i);
    assert_true(assay_reserve_used() > 0);
    for (size_t i = 0; i < 64; i++)
        assay_reserve_give(block[(i * 29) % 64]);
    assert_int_equal(assay_reserve_used(), 0);
}

static void the_pool_is_bounded(void **state)
{
    (void)state;
    void *half = assay_reserve_block(ASSAY_RESERVE / 2), *rest = assay_reserve_block(ASSAY_RESERVE / 2);
    assert_non_null(half);
    assert_non_null(rest);
    assert_null(assay_reserve_block(1));
    assert_null(assay_reserve_block(ASSAY_RESERVE + 1));
    assert_null(assay_reserve_block(SIZE_MAX));
    assay_reserve_give(half);
    assert_null(assay_reserve_block(1)); /* a stack: not before all are back */
    assay_reserve_give(rest);
    assert_int_equal(assay_reserve_used(), 0);
}

static void what_is_laid_by_is_let_go(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(assay_reserve_lay_by());
        void *p = assay_reserve_take(16);
        assert_non_null(p);
        assay_reserve_let_go();
        free(p); /* as libjwt does */
    }
    assert_int_equal(assay_reserve_used(), 0);
}

static void what_malloc_gave_is_given_back_to_it(void **state)
{
    (void)state;
    void *p = assay_reserve_take(100);
    assert_non_null(p);
    assert_int_equal(assay_reserve_used(), 0);
    assay_reserve_give(p);
    assay_reserve_give(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_apart_aligned_and_all_come_back),
        cmocka_unit_test(the_pool_is_bounded),
        cmocka_unit_test(what_is_laid_by_is_let_go),
        cmocka_unit_test(what_malloc_gave_is_given_back_to_it),
    };
    return cmocka_run_group_tests_name("reserve", tests, NULL, NULL);
}
