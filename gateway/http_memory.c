/*
 * libevent's memory.
 *
 * bufferevent_setwatermark() of libevent 2.1 does not look at what its allocation gave and writes through a NULL.  So libevent
 * allocates through us, and that call finds a block that was set aside for it before: who cannot get the block
 * refuses the connection.  Everything else is malloc.
 */
#include "http_impl.h"

#include <pthread.h>
#include <stdlib.h>

#include <event2/event.h>

#define RESERVE 128 /* an entry of a buffer's list of callbacks has 40 */

static _Thread_local void *reserve;

static void *take(size_t n)
{
    void *p = malloc(n);
    if (!p && n <= RESERVE) {
        p = reserve;
        reserve = NULL;
    }
    return p;
}

static void install(void)
{
    event_set_mem_functions(take, realloc, free);
}

void assay_libevent_memory(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install);
}

bool assay_bound_input(struct bufferevent *bev, size_t most)
{
    reserve = malloc(RESERVE);
    if (!reserve)
        return false;
    bufferevent_setwatermark(bev, EV_READ, 0, most);
    free(reserve);
    reserve = NULL;
    return true;
}
