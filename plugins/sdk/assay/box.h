/*
 * Boxes, from the runner's side: what to run, what came of it, and a client for a warden's stream.
 *
 * A warden runs one box at a time.  The client is non-blocking and single-threaded: the owner polls
 * its descriptor and calls on_ready.  Everything that comes out of a warden is bounded and checked;
 * a frame that breaks the protocol ends the stream with ASSAY_E_CORRUPT.
 */
#ifndef ASSAY_BOX_H
#define ASSAY_BOX_H

#include <stdbool.h>
#include <stdint.h>

#include <assay/err.h>
#include <assay/str.h>

#ifdef __cplusplus
extern "C" {
#endif

struct assay_box_limits {
    int64_t cpu_ms;        /* of the whole tree; over it the run ends as CPU; 0: none */
    int64_t cpu_hard_ms;   /* where the tree is killed; at least cpu_ms; 0: at cpu_ms */
    int64_t wall_ms;       /* 0: none */
    int64_t memory_bytes;  /* of the whole tree; 0: none */
    int64_t stdout_bytes;  /* beyond it the run ends as OUTPUT */
    int64_t stderr_bytes;  /* beyond it the rest is dropped and counted */
    int64_t processes;     /* tasks, threads included; 0: 64 */
    int64_t open_files;    /* 0: 256 */
    int64_t file_bytes;    /* largest file; 0: scratch size */
    int64_t stack_bytes;   /* 0: 64 MiB (or memory_bytes if less) */
    int64_t scratch_bytes; /* of the private scratch; 0: 64 MiB */
    int64_t scratch_files; /* inodes; 0: 4096 */
};

struct assay_box_file {
    struct assay_str path; /* relative to the box's working directory; no "..", no leading '/' */
    struct assay_str bytes;
    uint32_t mode; /* 0644 or 0755 */
};
struct assay_box_mount {
    struct assay_str artefact; /* 64 hex digits */
    struct assay_str path;     /* where it appears, read-only, relative to the working directory; or "/warm" */
};

enum assay_box_flag {
    ASSAY_BOX_STDERR_TO_STDOUT = 1 << 0,
    ASSAY_BOX_STRICT_OUTPUT = 1 << 1, /* reading stops and the tree dies at the first byte over stdout_bytes */
    ASSAY_BOX_COLLECT_ALWAYS = 1 << 3, /* what is to be collected is collected after any exit code */
    ASSAY_BOX_CONVERSE = 1 << 4, /* stdin stays open for assay_box_client_input; `taken` and `ended` tell */
    ASSAY_BOX_WARM = 1 << 2, /* fork it from the warm interpreter if that has just this argv and env; else execute it */
};

#define ASSAY_BOX_CPU_WORDS 16

struct assay_box_spec {
    const struct assay_str *argv; /* argv[0] is an absolute path, or relative to the working directory */
    size_t n_argv;
    const struct assay_str *env; /* "NAME=value" */
    size_t n_env;
    const struct assay_box_file *files;
    size_t n_files;
    const struct assay_box_mount *mounts;
    size_t n_mounts;
    struct assay_str stdin_bytes;
    const struct assay_str *collect; /* regular files to keep as one artefact after a clean exit */
    size_t n_collect;
    int64_t collect_bytes; /* most they may take together */
    int64_t warm_cpu_us, warm_memory_bytes; /* ASSAY_BOX_WARM: what a fork spares, counted as used all the same */
    struct assay_box_limits limits;
    struct assay_str seccomp; /* array of struct sock_filter, or "" */
    uint32_t flags;
    uint64_t cpus[ASSAY_BOX_CPU_WORDS]; /* the processors it may use, bit n % 64 of word n / 64; all zero: any */
};

enum assay_box_end {
    ASSAY_BOX_EXITED = 1,
    ASSAY_BOX_SIGNALLED,
    ASSAY_BOX_CPU,    /* CPU time limit */
    ASSAY_BOX_WALL,   /* wall time limit */
    ASSAY_BOX_MEMORY, /* the leaf's OOM killer struck */
    ASSAY_BOX_OUTPUT,
    ASSAY_BOX_CANCELLED,
    ASSAY_BOX_FAILED, /* ours: the box could not be made or watched; message says why */
};

struct assay_box_outcome {
    enum assay_box_end end;
    int exit_code; /* EXITED */
    int signal;    /* SIGNALLED */
    int64_t cpu_us, cpu_user_us, cpu_system_us; /* whole tree from the leaf; user/system from wait4 without one */
    int64_t wall_us;
    int64_t memory_peak_bytes; /* leaf peak, page cache and all; -1 unknown */
    int64_t memory_own_bytes;  /* most of what was the program's own: the peak without page cache; -1 unknown */
    int64_t max_rss_bytes;     /* largest process, wait4; shared libraries and mapped files included */
    int64_t oom_kills;         /* -1 unknown */
    int64_t stdout_bytes, stderr_bytes; /* produced as far as seen */
    int64_t voluntary_switches, forced_switches; /* of the main process and its waited-for children */
    uint32_t precision; /* bit 0: CPU time from the leaf; 1: memory from the leaf; 2: pids from the leaf; 3: pinned as asked */
    bool finished;      /* the program ended by itself, even when end says that it was over a limit */
    bool warm;          /* forked from the warm interpreter */
    char artefact[65];  /* "" without collect */
    char message[256];
};

struct assay_box_hello { /* what the warden says of itself once, at the start of the stream */
    uint32_t protocol;
    char version[32];
    uint32_t features; /* bit 0 leaf cpu, 1 leaf memory, 2 leaf pids, 3 seccomp, 4 user namespace, 5 own net ns, 6 root,
                        * 7 it has artefacts that all wardens of the machine share, 8 Landlock,
                        * 9 good for one job only */
    char mode[32];     /* "native", "native-userns", "docker", "reduced" */
};

struct assay_box_found {
    struct assay_str path; /* absolute, in the root that boxes see; "" when there is none */
    struct assay_str why;  /* then: why not */
};

struct assay_box_client;
struct assay_box_events {
    void (*output)(void *arg, int stream /* 1, 2 */, struct assay_str bytes);
    void (*done)(void *arg, const struct assay_box_outcome *o);
    /* of assay_box_client_get: pieces of the encoding, in order */
    void (*content)(void *arg, struct assay_str bytes);
    /* the end of a put or a get; artefact is "" when it failed, and message says why */
    void (*stored)(void *arg, struct assay_str artefact, struct assay_str message);
    /* of assay_box_client_find: as many as were asked for, in that order; they last as long as the call */
    void (*found)(void *arg, const struct assay_box_found *list, size_t n);
    /* the end of a warm; "" when the interpreter waits, else why it does not */
    void (*warmed)(void *arg, struct assay_str message);
    /* of ASSAY_BOX_CONVERSE: so many bytes of input are in the program's pipe now; closed: it takes no more */
    void (*taken)(void *arg, size_t bytes, bool closed);
    /* likewise: its stdout is at its end */
    void (*ended)(void *arg);
};

/* Takes fd (made non-blocking, closed by _free). */
struct assay_box_client *assay_box_client_new(int fd, const struct assay_box_events *ev, void *arg);
/* Other calls from now on; not from within one. */
void assay_box_client_events(struct assay_box_client *c, const struct assay_box_events *ev, void *arg);
void assay_box_client_free(struct assay_box_client *c);
int assay_box_client_fd(const struct assay_box_client *c);
bool assay_box_client_wants_write(const struct assay_box_client *c);
/* NULL until the hello has come. */
const struct assay_box_hello *assay_box_client_hello(const struct assay_box_client *c);
bool assay_box_client_busy(const struct assay_box_client *c);
/* The warden wants to be replaced: finish what belongs together, begin nothing else, then free the client. */
bool assay_box_client_worn(const struct assay_box_client *c);
/* Encodes and queues one run; the spec is copied. ASSAY_E_BUSY while one is under way. */
int assay_box_client_run(struct assay_box_client *c, const struct assay_box_spec *spec, struct assay_err *err) ASSAY_MUST_CHECK;
/* Ends the run under way; done follows with CANCELLED unless it had ended by itself. */
int assay_box_client_cancel(struct assay_box_client *c, struct assay_err *err) ASSAY_MUST_CHECK;
/* More stdin for the run under way, which is ASSAY_BOX_CONVERSE; empty: its end. At most ASSAY_WARDEN_INPUT_WINDOW bytes may be on their
 * way: what was given and not yet `taken`. */
int assay_box_client_input(struct assay_box_client *c, struct assay_str bytes, struct assay_err *err) ASSAY_MUST_CHECK;
/* Nobody reads that run's stdout any more: its program meets a closed pipe. */
int assay_box_client_hangup(struct assay_box_client *c, struct assay_err *err) ASSAY_MUST_CHECK;
/* Drops an artefact that no run will mount any more (the warden also bounds them itself, oldest first). */
int assay_box_client_drop(struct assay_box_client *c, struct assay_str artefact, struct assay_err *err) ASSAY_MUST_CHECK;
/* Brings an artefact's encoding (warden_wire.h) into the warden's store; its id comes by `stored`. The
 * bytes are copied. ASSAY_E_BUSY while something is under way. */
int assay_box_client_put(struct assay_box_client *c, struct assay_str encoding, struct assay_err *err) ASSAY_MUST_CHECK;
/* Asks for an artefact's encoding: `content` as often as needed, then `stored`. For a cache of builds. */
int assay_box_client_get(struct assay_box_client *c, struct assay_str artefact, struct assay_err *err) ASSAY_MUST_CHECK;
/* Asks where tools are in the root that boxes see; the answer comes by `found`. Each is named by its candidates, as
 * warden_wire.h has them; at most ASSAY_WARDEN_FIND_MAX. ASSAY_E_BUSY while something is under way. */
int assay_box_client_find(struct assay_box_client *c, const struct assay_str *tool, size_t n, struct assay_err *err) ASSAY_MUST_CHECK;
/* Starts an interpreter ahead for the runs with ASSAY_BOX_WARM of just this argv and env; `warmed` tells. It
 * replaces the one before. ASSAY_E_BUSY while something is under way. */
int assay_box_client_warm(struct assay_box_client *c, const struct assay_str *argv, size_t n_argv, const struct assay_str *env,
                          size_t n_env, struct assay_err *err) ASSAY_MUST_CHECK;
/* Reads and writes what the descriptor allows and makes the calls. An error means the stream is dead. */
int assay_box_client_on_ready(struct assay_box_client *c, struct assay_err *err) ASSAY_MUST_CHECK;
/* For tests and tools: run one box and wait, output into the builders. Blocks. */
int assay_box_client_run_sync(struct assay_box_client *c, const struct assay_box_spec *spec, struct assay_buf *out,
                              struct assay_buf *errout, struct assay_box_outcome *o, struct assay_err *err) ASSAY_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
