/*
 * Starts a real warden for tests and for the bench: sockets on 3 and 4, a cgroup v1 leaf of its own
 * when the machine has the hierarchies and we may write there, the client on our end.
 */
#ifndef WARDEN_FIXTURE_H
#define WARDEN_FIXTURE_H

#include <assay/box.h>
#include <stdbool.h>
#include <sys/types.h>

struct fixture {
    pid_t pid;
    int control;
    unsigned uid; /* of the boxes: this process' own, since several runs of the tests may be under way */
    bool leaf; /* a leaf was made and given */
    char leaf_dir[3][128];
    struct assay_box_client *client;
};

/* extra: options for the warden, ending with NULL. ordinary: the warden is started as the user uid, and not as root. */
bool fixture_start(struct fixture *f, const char *mode, const char *const *extra, bool want_leaf, bool ordinary);
/* Ends the stream; returns the warden's wait status. Removes the leaf: false when something is left in it. */
bool fixture_stop(struct fixture *f, int *wait_status);
/* A whole file into malloc'd memory. */
struct assay_str fixture_read(const char *path);

#endif
