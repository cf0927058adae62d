/* Blobs in memory, for tests of services. They outlive a restart of the service under test: memory_blobs_move. Thread-safe. */
#ifndef MEMORY_BLOBS_H
#define MEMORY_BLOBS_H

#include <pthread.h>

#include <assay/blob.h>

struct memory_blobs {
    struct assay_blobs blobs; /* what is lent */
    pthread_mutex_t lock;     /* guards list */
    struct memory_blob *list;
};

void memory_blobs_init(struct memory_blobs *m);
void memory_blobs_fini(struct memory_blobs *m);
void memory_blobs_move(struct memory_blobs *to, struct memory_blobs *from); /* to is empty; from is afterwards */

#endif
