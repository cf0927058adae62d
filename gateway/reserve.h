/*
 * Memory for jansson, which does not stand an allocation that fails.
 *
 * Its lexer goes on one byte short when the text of a token cannot grow: a lost closing quote sends it past the end of its
 * buffer, a lost digit into an assertion.  So jansson allocates
 * through these: malloc, and where that has nothing, a pool of ASSAY_RESERVE bytes, which is a stack of blocks that is empty
 * again once all of them have been freed.  errno stays ENOMEM then, by which the callers see that there was no memory, and
 * fail; the pool lets the library come to its end unharmed.  It is touched only when malloc fails, so that it costs address
 * space and nothing else.  When the pool is used up too, jansson gets NULL.  Any thread; the pool has a lock.
 */
#ifndef ASSAY_GATEWAY_RESERVE_H
#define ASSAY_GATEWAY_RESERVE_H

#include <stdbool.h>
#include <stddef.h>

#define ASSAY_RESERVE ((size_t)4 << 20)

void *assay_reserve_take(size_t n); /* free with assay_reserve_give */
void assay_reserve_give(void *p);
/* For libjwt, which takes a text that jansson could not make for one, and frees with free() what jansson made: until
 * assay_reserve_let_go jansson gets on this thread, where malloc has nothing, blocks of it that were laid by before, and none
 * of the pool. False: there was no memory to lay by. */
bool assay_reserve_lay_by(void);
void assay_reserve_let_go(void);
/* Bytes of the pool in use. */
size_t assay_reserve_used(void);
/* A block of the pool, whatever malloc has: the second half of assay_reserve_take. */
void *assay_reserve_block(size_t n);

#endif
