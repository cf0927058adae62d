#include "reserve.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define STEP _Alignof(max_align_t)
#define LAID_BY 64u      /* a token's two objects, and their texts, take about 50 */
#define LAID_BY_SIZE 1024u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards used and blocks */
static _Alignas(max_align_t) unsigned char pool[ASSAY_RESERVE];
static size_t used, blocks;
static _Thread_local void *laid_by[LAID_BY];
static _Thread_local size_t n_laid_by;
static _Thread_local bool lying_by;

static bool pooled(const void *p)
{
    uintptr_t at = (uintptr_t)p, begin = (uintptr_t)pool;
    return at >= begin && at < begin + sizeof pool;
}

void *assay_reserve_block(size_t n)
{
    void *p = NULL;
    if (n > sizeof pool)
        return NULL;
    size_t whole = n == 0 ? STEP : (n + STEP - 1) / STEP * STEP;
    pthread_mutex_lock(&lock);
    if (sizeof pool - used >= whole) {
        p = pool + used;
        used += whole;
        blocks++;
    }
    pthread_mutex_unlock(&lock);
    return p;
}

void *assay_reserve_take(size_t n)
{
    void *p = malloc(n);
    if (p)
        return p;
    if (lying_by)
        return n <= LAID_BY_SIZE && n_laid_by > 0 ? laid_by[--n_laid_by] : NULL;
    return assay_reserve_block(n);
}

bool assay_reserve_lay_by(void)
{
    assert(!lying_by);
    lying_by = true;
    while (n_laid_by < LAID_BY && (laid_by[n_laid_by] = malloc(LAID_BY_SIZE)) != NULL)
        n_laid_by++;
    if (n_laid_by < LAID_BY)
        assay_reserve_let_go();
    return lying_by;
}

void assay_reserve_let_go(void)
{
    while (n_laid_by > 0)
        free(laid_by[--n_laid_by]);
    lying_by = false;
}

void assay_reserve_give(void *p)
{
    if (!pooled(p)) {
        free(p);
        return;
    }
    pthread_mutex_lock(&lock);
    assert(blocks > 0);
    if (--blocks == 0)
        used = 0;
    pthread_mutex_unlock(&lock);
}

size_t assay_reserve_used(void)
{
    pthread_mutex_lock(&lock);
    size_t n = used;
    pthread_mutex_unlock(&lock);
    return n;
}
