/*
 * What a box's init says to a zygote and hears from it.  A zygote is a started interpreter that has run
 * nothing yet and is forked for each program (nursery.c has the whole story).
 *
 * The warden hears READY once on the order socket (SOCK_SEQPACKET).  Then each order is one message: struct
 * zygote_order, the filter, and the descriptors in the order of enum zygote_fd, of which those not in
 * `present` are left out.  Answers come on the order's own pipe, whose end says that the program runs (after
 * MADE) or that nobody is there any more.
 */
#ifndef WARDEN_ZYGOTE_H
#define WARDEN_ZYGOTE_H

#include <stdint.h>

#define ZYGOTE_ORDER_FD 3                          /* in the zygote */
#define ZYGOTE_PRELOAD "/dev/shm/assay-zygote.so" /* in the nursery's root, which only zygotes see */
#define ZYGOTE_READY 0x79677a72u
#define ZYGOTE_FILTER_MAX 4096u /* instructions of 8 bytes */

enum zygote_fd {
    ZYGOTE_FD_PID_NS, /* of the box */
    ZYGOTE_FD_MOUNT_NS,
    ZYGOTE_FD_IPC_NS,
    ZYGOTE_FD_IN,
    ZYGOTE_FD_OUT,
    ZYGOTE_FD_ERR,
    ZYGOTE_FD_REPLY,
    ZYGOTE_FD_LEAF_DIR, /* version 2: the directory to be born in */
    ZYGOTE_FD_JOIN,     /* and two more: files to write "0" to */
    ZYGOTE_FD_COUNT = ZYGOTE_FD_JOIN + 3,
};

struct zygote_limit {
    int32_t what; /* RLIMIT_* */
    int32_t zero;
    int64_t soft, hard;
};
#define ZYGOTE_LIMITS_MAX 8

struct zygote_order {
    uint32_t present; /* bits of enum zygote_fd */
    uint32_t n_limits;
    struct zygote_limit limit[ZYGOTE_LIMITS_MAX];
    uint32_t n_filter;
    uint32_t pin; /* 1: to these processors */
    uint64_t cpus[16];
};

enum zygote_answer {
    ZYGOTE_MADE = 1,
    ZYGOTE_REFUSED, /* nothing was made: execute it */
    ZYGOTE_PINNED,  /* it runs on the processors of the order */
    ZYGOTE_FAILED,  /* on its way to the program */
};
struct zygote_reply {
    uint32_t answer;
    int32_t error;
    int32_t program; /* MADE: its pid in the box */
    int32_t zero;
    char stage[40];
};

#endif
