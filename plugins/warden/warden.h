/*
 * What the files of the warden share.  One thread, three kinds of process:
 *
 *   the warden   holds the stream, the leaf and the artefact store; decides limits (watch.c)
 *   an init      pid 1 of one box's pid namespace; a fork of the warden that is trusted (init.c)
 *   the program  what the request names; trusted in nothing
 *
 * Warden and init talk through a page of shared memory (struct slot) and one eventfd.  The program
 * cannot reach either: its memory is replaced by execve and its descriptors end at 2.
 *
 * Errors: functions return 0 or -1 and leave a line in a struct note; die() ends the process and is
 * for the start only, when there is nobody to tell but stderr.
 */
#ifndef WARDEN_H
#define WARDEN_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <assay/warden_wire.h>

#define WARDEN_VERSION "0.1.0"

/* ---- the numbers of assay/box.h, which is the client's header and drags in the SDK ---- */
enum box_end { END_EXITED = 1, END_SIGNALLED, END_CPU, END_WALL, END_MEMORY, END_OUTPUT, END_CANCELLED, END_FAILED };
enum box_flag { FLAG_STDERR_TO_STDOUT = 1, FLAG_STRICT_OUTPUT = 2, FLAG_WARM = 4, FLAG_COLLECT_ALWAYS = 8, FLAG_CONVERSE = 16 };
enum precision { PRECISE_CPU = 1, PRECISE_MEMORY = 2, PRECISE_PIDS = 4, PINNED = 8 };
enum feature {
    FEATURE_LEAF_CPU = 1, FEATURE_LEAF_MEMORY = 2, FEATURE_LEAF_PIDS = 4, FEATURE_SECCOMP = 8, FEATURE_USERNS = 16,
    FEATURE_NETNS = 32, FEATURE_ROOT = 64, FEATURE_SHARED = 128, FEATURE_LANDLOCK = 256, FEATURE_ONE_JOB = 512
};

/* ---- util.c ---- */
struct note {
    char text[256];
};
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
_Noreturn void die(const char *fmt, ...) PRINTF(1, 2); /* appends errno's text when errno is set */
void die_tells(int control); /* from now on die() sends its words there too */
int note_set(struct note *n, const char *fmt, ...) PRINTF(2, 3);   /* returns -1 */
int note_errno(struct note *n, const char *fmt, ...) PRINTF(2, 3); /* with ": " and errno's text; returns -1 */
int64_t now_ns(void);
bool parse_u64(const char *s, uint64_t max, uint64_t *ret);
void close_fd(int *fd); /* closes when >= 0, leaves -1 */
#define CLEANUP_FD __attribute__((cleanup(close_fd)))
/* One message with descriptors. -1 and errno. */
int fds_send(int socket, const void *p, size_t n, const int *fd, size_t n_fd);
/* Its length; 0 at the end. What there are of n_fd descriptors goes to fd, the rest of it is left alone. */
ssize_t fds_receive(int socket, void *p, size_t n, int *fd, size_t n_fd);

/* ---- options (main.c) ---- */
enum mode { MODE_NATIVE, MODE_USERNS, MODE_DOCKER, MODE_REDUCED };
enum leaf_policy { LEAF_NONE, LEAF_OPTIONAL, LEAF_REQUIRED };
struct pair {
    const char *src, *dst;
    bool optional;
};
#define OPTION_LIST_MAX 64
struct options {
    enum mode mode;
    const char *name, *base, *mount_at, *shared;
    uid_t uid;
    gid_t gid;
    struct pair binds[OPTION_LIST_MAX], links[OPTION_LIST_MAX];
    const char *hides[OPTION_LIST_MAX];
    size_t n_binds, n_links, n_hides;
    enum leaf_policy leaf;
    uint64_t artefact_bytes, artefact_count, scratch_bytes, request_bytes;
    uint64_t boxes; /* WORN after so many; 0: never */
    const char *connect, *token; /* NULL: stream and control were inherited */
    bool stdio, one_job;
    bool stay_attached;
};

/* ---- wire.c: frames in, frames out ---- */
struct request {
    struct assay_warden_run head;
    char **argv, **env; /* NULL-terminated; point into the request's bytes */
    const uint8_t *files, *mounts, *collect; /* checked; walked with the functions below */
    const uint8_t *seccomp, *stdin_data;
    uint32_t seccomp_count;
};
struct request_file {
    const char *path;
    uint32_t mode;
    uint64_t size;
    const uint8_t *data;
};
struct request_mount {
    const char *artefact, *path;
};
/* Checks everything there is to check in a RUN's payload.  `pointers` is room for 2 * (ARGV_MAX + 1)
 * pointers.  The payload must stay where it is while the request is used. */
int request_parse(const uint8_t *p, size_t n, char **pointers, struct request *ret, struct note *why);
/* Counts and strings of a PRESTART. */
int prestart_check(const uint8_t *p, size_t n, struct note *why);
const uint8_t *request_file_next(const uint8_t *p, struct request_file *ret);
const uint8_t *request_mount_next(const uint8_t *p, struct request_mount *ret);
const char *request_workdir(const struct request *q); /* where else the working directory is to be; NULL: nowhere */
const uint8_t *request_string_next(const uint8_t *p, const char **ret);
/* The tools of a FIND, after a check of every rule; `tool` has room for ASSAY_WARDEN_FIND_MAX. */
int find_parse(const uint8_t *p, size_t n, const char **tool, size_t *count, struct note *why);
bool path_ok(const char *path); /* relative, no empty, "." or ".." part, lengths bounded */
bool hex_ok(const char *hex);   /* 64 lower-case hex digits */

/*
 * Splits the incoming stream.  A RUN's, PUT's or FIND's payload is assembled in `big` (shared memory: an init that was
 * forked before it came reads it there), all else in `small`.
 */
struct reader {
    uint8_t *big;
    size_t big_cap;
    size_t big_want, big_have; /* big_want > 0: in the midst of a RUN, PUT or FIND */
    uint16_t big_type;
    size_t n;                  /* bytes in small */
    uint8_t small[16384];
};
struct frame {
    uint16_t type;
    const uint8_t *p; /* good until the next call on the reader; a RUN's until its box is done */
    size_t n;
};
void reader_space(struct reader *r, uint8_t **p, size_t *n);
void reader_added(struct reader *r, size_t n);
int reader_next(struct reader *r, struct frame *ret, struct note *why); /* 1 a frame, 0 more is needed, -1 broken */

#define WRITER_CAP (1u << 20)
struct writer {
    size_t start, end;
    uint8_t bytes[WRITER_CAP];
};
size_t writer_room(const struct writer *w);
bool writer_frame(struct writer *w, uint16_t type, const void *p, size_t n); /* false: no room */
bool writer_aside(struct writer *w, uint16_t type, const void *p, size_t n); /* the same, and a DONE still fits behind it */
/* The same for a CONTENT frame's bytes. */
uint8_t *writer_content_space(struct writer *w, size_t *n);
void writer_content_commit(struct writer *w, size_t n);
/* Where the bytes of an OUTPUT frame may be read to, and how many; then writer_output_commit. NULL: no room. */
uint8_t *writer_output_space(struct writer *w, size_t *n);
void writer_output_commit(struct writer *w, uint32_t stream, size_t n);
int writer_flush(struct writer *w, int fd); /* 0: all gone; 1: some is left; -1: the stream is dead */

/* ---- sha256.c: FIPS 180-4 ---- */
struct sha256 {
    uint32_t h[8];
    uint64_t length;
    uint8_t block[64];
};
void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_hex(struct sha256 *s, char ret[65]);

/* ---- join.c: a warden that inherited no sockets ---- */
/* Makes stream and control, as the options say, and gives them the numbers of the wire. Dies when it cannot. */
void join_keeper(const struct options *o);
void join_stdio(void);

/* ---- root.c ---- */
#define ROOT_BOX "/root"   /* the box's root, inside the warden's own root */
#define ROOT_STORE "/store" /* artefacts */
#define ROOT_SHARED "/shared" /* artefacts that all wardens of the machine share, written by others */
#define ROOT_ANCHOR "/anchor" /* in user namespaces: a proc, so that another may be mounted */
struct root_facts {
    bool userns, netns, ipc_closed, shared, own_uid, landlock;
};
void root_make(const struct options *o, struct root_facts *ret); /* dies when it cannot */

/* ---- find.c: programs in the root that boxes see ---- */
#define FIND_TEXT (ASSAY_WARDEN_PATH_MAX + 1)
/* Looks for the first of the candidates (warden_wire.h) below `root`. True: `text` is its path; false: why not. */
bool find_tool(int root, const char *candidates, char text[FIND_TEXT]);

/* ---- reduced.c: boxes where there are no namespaces ---- */
void reduced_make(struct options *o, struct root_facts *ret); /* root_make's place; dies when it cannot */
/* Of a box, whose turn is 0 or 1. */
int reduced_scratch(unsigned turn, struct note *why); /* empties it; the descriptor of its box directory, or -1 */
void reduced_clear(unsigned turn);                    /* both change the file system's user and back */
/* "/box" and "/tmp" become the turn's own, "/warm" what is mounted there; NULL: no memory. */
char **reduced_map(unsigned turn, const struct request *q, char *const *words);
int reduced_ruleset(unsigned turn, const struct request *q, struct note *why); /* -1: no Landlock here; -2: it failed */
int reduced_confine(int ruleset);                      /* in the program's child; -1: it failed, errno says how */
size_t reduced_tree(pid_t root, pid_t *out, size_t room); /* the living descendants of root */
void reduced_kill(pid_t root, pid_t except);           /* one pass over them */
void reduced_sweep(pid_t except);                      /* the warden's own descendants, until there are none */
bool reduced_hides(const char *path);                  /* whether boxes are kept from it */
int64_t reduced_tasks(void);                           /* that count against RLIMIT_NPROC beside the box's */

/* ---- leaf.c ---- */
struct leaf {
    bool held;
    uint64_t generation; /* rises when the descriptors change: an init has those of its fork */
    uint64_t id;
    uint32_t version, flags, present;
    int fd[ASSAY_LEAF_FD_COUNT];
    int64_t set_memory, set_pids; /* what was last written, -2: nothing yet */
    int64_t base_cpu_ns, base_user_us, base_system_us, base_usage, base_oom;
};
struct leaf_figures {
    int64_t cpu_ns, user_us, system_us; /* user_us -1: no split known */
    int64_t peak; /* above what lingered */
    int64_t raw_peak; /* as the kernel says it */
    int64_t oom_kills;
};
void leaf_init(struct leaf *l);
/* Takes one control message when there is one. 1: a leaf was taken, 0: none there, -1: the control socket is dead. */
int leaf_receive(struct leaf *l, int control, struct note *why);
uint32_t leaf_precision(const struct leaf *l);
int leaf_prepare(struct leaf *l, int64_t memory, int64_t pids, struct note *why);
/* Another limit than what was prepared, from an init. */
void leaf_raise(const struct leaf *l, int64_t memory);
int64_t leaf_cpu_ns(const struct leaf *l); /* of this box so far; -1 unknown */
int64_t leaf_oom_kills(const struct leaf *l);
/* What is charged now; -1 unknown. When no process is left: page cache, and files in memory. */
int64_t leaf_usage(const struct leaf *l);
/* Anonymous and shared memory of the box now, as far as the kernel's statistics are up to date; -1 unknown. */
int64_t leaf_own_now(const struct leaf *l);
void leaf_read(const struct leaf *l, struct leaf_figures *ret);
bool leaf_empty(const struct leaf *l);
/* After a box: keeps a reusable leaf, else closes it and says SPENT. */
void leaf_finish(struct leaf *l, int control, bool dirty);
void leaf_drop(struct leaf *l);

/* ---- artefact.c ---- */
#define ARTEFACT_SLOTS 1024
struct artefact {
    char hex[65];
    int64_t bytes;
    uint64_t used; /* rises; 0: free */
};
struct store {
    int dir; /* of ROOT_STORE */
    struct artefact slot[ARTEFACT_SLOTS];
    size_t cap_count;
    int64_t cap_bytes, bytes;
    uint64_t clock;
};
void store_init(struct store *s, const struct options *o);
bool store_touch(struct store *s, const char *hex); /* false: not there */
/* Where a mount finds the artefact, store or shared: false when it is nowhere. */
#define STORE_PATH (PATH_MAX + 2 + ASSAY_WARDEN_ARTEFACT_HEX)
bool store_path(const char *hex, char ret[STORE_PATH]);
/* Evicts, oldest first, until `bytes` more fit; never what the request mounts. */
int store_reserve(struct store *s, int64_t bytes, const struct request *q, struct note *why);
void store_keep(struct store *s, const char *hex, int64_t bytes);
void store_drop(struct store *s, const char *hex);
void store_clean(struct store *s); /* removes what an unfinished collection left */
void tree_remove(int dir, const char *name);
#define STORE_FRESH "fresh" /* where a collection is built before it gets its name */

/* ---- files.c ---- */
extern const char *store_dir; /* ROOT_STORE, but for the reduced mode, */
extern bool mounts_are_links;  /* where there is no mount */
int files_write(int box, const struct request *q, struct note *why);
int files_mount(int box, const struct request *q, struct note *why);
/* Copies what the request collects into ROOT_STORE and names it. -1: nothing was kept, and why. */
int files_collect(int box, const struct request *q, char hex[65], int64_t *bytes, struct note *why);
/* How many bytes and files an encoding holds, after a check of every rule that it must keep. */
int files_measure(const uint8_t *p, size_t n, int64_t *bytes, size_t *count, struct note *why);
/* Unpacks a measured encoding into ROOT_STORE and names it. */
int files_unpack(const uint8_t *p, size_t n, char hex[65], struct note *why);
/* Gives an artefact's encoding piece by piece; `give` returns -1 to stop. */
int files_pack(const char *hex, int (*give)(void *arg, const void *p, size_t n), void *arg, struct note *why);

/* ---- init.c ---- */
enum phase {
    PHASE_FRESH = 0,
    PHASE_READY,   /* waits for its request */
    PHASE_STARTED, /* the program is being executed */
    PHASE_ENDED,   /* its wait status is in */
    PHASE_EMPTY,   /* nothing but init is left in the box, the collection is made */
};
struct slot {
    _Atomic uint32_t go; /* futex; 1: the request is there */
    _Atomic uint32_t phase;
    _Atomic int64_t started_ns, ended_ns;
    _Atomic int64_t seen_cpu_ns, seen_memory, seen_tasks; /* by the watching loop, without a leaf */
    _Atomic int64_t lingers; /* PHASE_EMPTY: charged to the leaf, without a process and not the program's own; -1 unknown */
    _Atomic uint32_t failed; /* note says why the box could not be made */
    _Atomic uint32_t warm;   /* the program was forked from the zygote */
    _Atomic uint32_t refused; /* it was to be, and was executed in the end */
    const char *stage;       /* of the program's child, when it failed before execve; NULL: in execve, or not at all */
    int error;               /* its errno */
    bool pinned;             /* it runs on the processors that the request names */
    bool starved;            /* the memory limit left no room to execute the program */
    int32_t status;          /* of the program, as wait4 gives it */
    struct rusage usage;     /* of the program and what it waited for */
    struct rusage reaped;    /* of all that init reaped */
    char artefact[72];
    int64_t artefact_bytes;
    struct note note;
};
/* What an init needs from the warden; all of it inherited by fork. */
struct box_world {
    const struct options *options;
    const struct request *request; /* shared memory */
    const struct leaf *leaf;       /* joined by the program; the descriptors are the warden's */
    bool own_ipc;                  /* each box needs an ipc namespace of its own */
    const struct slot *slots;      /* the first of them: which turn a box has */
    const struct zygote *zygote;
    const bool *warm;              /* shared memory: this request's program is to be forked */
    int event;                     /* eventfd: written once at PHASE_EMPTY or failure */
    int stream, control;           /* for init to close */
};
/* How much stack a program gets. */
int64_t request_stack(const struct assay_warden_run *h);
_Noreturn void init_main(const struct box_world *w, struct slot *s, const int ours[3], const int theirs[3]);

/* ---- nursery.c: warm interpreters ---- */
#define ZYGOTE_STACK_BYTES (INT64_C(64) << 20) /* its address space has room for no more */
struct zygote {
    int nursery;         /* socket to it; -1: there is none */
    pid_t nursery_pid;
    int order;           /* socket to the zygote, for inits; -1: there is none */
    uint64_t generation; /* rises when `order` changes: an init has that of its fork */
    bool wanted, suspect;
    uint32_t forks;
    uint32_t n_argv, n_env;
    size_t n_strings;
    char strings[ASSAY_WARDEN_PRESTART_MAX];
};
/* Before rights are dropped. The socket to it, or -1. */
int nursery_make(const struct options *o, int stream, int control, pid_t *ret);
void zygote_init(struct zygote *z, int nursery, pid_t pid);
/* When no init is left. */
void zygote_stop(struct zygote *z);
/* Replaces the zygote by one for a checked PRESTART. */
int zygote_start(struct zygote *z, const uint8_t *payload, size_t n, struct note *why);
/* Between runs: replaces one that has died, is suspect, or has made enough. */
void zygote_look_after(struct zygote *z);
bool zygote_fits(const struct zygote *z, const struct request *q);
struct zygote_order;
enum ordered { ORDER_MADE, ORDER_REFUSED /* execute it */, ORDER_FAILED };
/* From an init: fd has one for each enum zygote_fd, -1 for none; that of the reply is filled in. */
struct made {
    pid_t program; /* its pid in the box */
    bool pinned;   /* to the processors of the order */
};
enum ordered zygote_give_order(int socket, struct zygote_order *o, int *fd, const void *filter, struct made *ret, struct note *why);

/* ---- box.c ---- */
struct box {
    struct slot *slot;
    pid_t pid;
    int pidfd;         /* -1: there is none */
    int in, out, err;  /* our ends */
    bool gentle;       /* its init has to be told to end its tree: no kernel does it (reduced.c) */
    uint64_t leaf_generation, zygote_generation;
};
int box_prepare(struct box *b, const struct box_world *w, struct slot *s, struct note *why);
void box_go(struct box *b);
void box_kill(struct box *b);
bool box_reap(struct box *b, bool wait, struct rusage *ru); /* true: the init is gone and everything closed */
void box_close(struct box *b);

/* ---- seccomp.c: the filter of a box whose request brings none ---- */
struct sock_filter;
const struct sock_filter *seccomp_floor(uint16_t *count);
const struct sock_filter *seccomp_reduced(uint16_t *count); /* on top of any other in the reduced mode */

/* ---- watch.c ---- */
struct warden {
    unsigned turn; /* which slot is next */
    struct options options;
    struct root_facts facts;
    int stream, control;
    struct reader reader;
    struct writer writer;
    struct leaf leaf;
    struct store store;
    struct zygote zygote;
    bool *warm; /* shared: see struct box_world */
    size_t request_bytes;
    struct request *request; /* shared with inits, as are the bytes it points into */
    char **pointers;         /* shared: argv and env */
    struct slot *slots;      /* two, shared: one box may still be ending while the next is prepared */
    struct box_world world;
    long cpus;
    uint64_t boxes; /* that were run */
    bool worn;      /* and WORN was said */
};
int warden_serve(struct warden *w, struct note *why); /* 0: the stream ended */

#endif
